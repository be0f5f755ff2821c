"""Logs from and to elsewhere: data frames, files, streams, Minari, NONMEM-style tables."""

from dosewright.evaluation.logs.file import read_log, write_log
from dosewright.evaluation.logs.frame import from_frame, to_frame
from dosewright.evaluation.logs.minari import from_minari, to_minari
from dosewright.evaluation.logs.nonmem import from_nonmem, to_nonmem
from dosewright.evaluation.logs.stream import LogStream

__all__ = [
    "LogStream",
    "from_frame",
    "from_minari",
    "from_nonmem",
    "read_log",
    "to_frame",
    "to_minari",
    "to_nonmem",
    "write_log",
]
