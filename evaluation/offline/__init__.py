"""Off-policy evaluation of regimens from one log, and its report."""

from dosewright.evaluation.offline.folder import write_offline
from dosewright.evaluation.offline.ready import ReadyLog, make_ready
from dosewright.evaluation.offline.result import Evidence, OfflineResult, evaluate_offline
from dosewright.evaluation.offline.summary import summarise_offline

__all__ = [
    "Evidence",
    "OfflineResult",
    "ReadyLog",
    "evaluate_offline",
    "make_ready",
    "summarise_offline",
    "write_offline",
]
