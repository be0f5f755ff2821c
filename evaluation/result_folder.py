"""The folder of a result: whole, or not there."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

RESULT_FILE, REPORT_FILE = "result.json", "report.html"


class ExistingResultError(FileExistsError, ValueError):
    """Something is already where a result should be written."""


def check_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Refuse to write a result where something is already: ask before a long run, not after it.

    Raises
    ------
    ExistingResultError
        If the folder is there, and `overwrite` is not set or it is not the folder of a result; or if it
        cannot be made.
    """
    path = Path(folder)
    parent = next(item for item in path.absolute().parents if item.exists())
    if not parent.is_dir():
        raise ExistingResultError(f"output folder {path}: {parent} is no folder; choose another")
    if not path.exists():
        return
    if not overwrite:
        raise ExistingResultError(
            f"output folder {path}: exists already; choose another, or give --overwrite"
        )
    # --overwrite replaces an earlier result, never somebody's home
    if not path.is_dir() or (any(path.iterdir()) and not (path / RESULT_FILE).is_file()):
        raise ExistingResultError(
            f"output folder {path}: has no {RESULT_FILE}, so it is no result that --overwrite may replace; "
            "choose another"
        )


@contextmanager
def new_folder(folder: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Give a place to write files into, which becomes `folder` when all of them are there.

    The place is a hidden folder beside it, renamed at the end: a folder of the right name is a whole result,
    and an earlier one stays until then.

    Raises
    ------
    ExistingResultError
        As `check_folder`; also where something came into the place while the files were written.
    """
    target = Path(folder)
    check_folder(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
        new = Path(beside) / "new"
        new.mkdir()
        yield new
        check_folder(target, overwrite)
        old = Path(beside) / "old"
        if target.exists():
            target.rename(old)
        try:
            new.rename(target)
        except OSError:
            if old.exists():
                old.rename(target)
            raise


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Write a summary as `result.json`."""
    write_json(summary, folder / RESULT_FILE)


def write_json(values: Mapping[str, Any], file: Path) -> None:
    """Write a JSON file, whole or not at all; a number that is not finite is an error, not invalid JSON."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    write_whole(file, lambda new: new.write(text.encode()))


def write_whole(file: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Write a file beside its place, onto the disk, and then move it there: one of the right name is whole.

    Parameters
    ----------
    file
        Where to; an earlier one is replaced.
    write
        Writes the content into the open file that it is given.
    """
    new = file.with_name(f"{file.name}.new")
    with new.open("wb") as opened:
        write(opened)
        opened.flush()
        os.fsync(opened.fileno())
    new.replace(file)
