"""The folder of a result: whole, or not there."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
        As `check_folder`.
    """
    target = Path(folder)
    check_folder(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as beside:
        new = Path(beside) / "new"
        new.mkdir()
        yield new
        if target.exists():
            target.rename(Path(beside) / "old")
        new.rename(target)


def write_summary(summary: Mapping[str, Any], folder: Path) -> None:
    """Write a summary as `result.json`."""
    write_json(summary, folder / RESULT_FILE)


def write_json(values: Mapping[str, Any], file: Path) -> None:
    """Write a JSON file, whole or not at all; a number that is not finite is an error, not invalid JSON."""
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    new = file.with_name(f"{file.name}.new")
    new.write_text(text + "\n", encoding="utf-8")
    new.replace(file)
