"""The folder of a trial: `result.json`, `patients.parquet` and `report.html`, whole or not there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from dosewright.evaluation.summary import summarise
from dosewright.evaluation.trial import TrialResult

RESULT_FILE, PATIENTS_FILE, REPORT_FILE = "result.json", "patients.parquet", "report.html"


class ExistingResultError(FileExistsError, ValueError):
    """Something is already where a result should be written."""


def write_trial(
    result: TrialResult,
    folder: str | Path,
    reference_arm: str,
    policy_arm: str | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a trial into a new folder and return it.

    The files are written beside it, into ``<folder>.partial``, which is renamed at the end: a folder of the
    right name is a whole result.

    Parameters
    ----------
    result
        The trial.
    folder
        Where to; its parents are made.
    reference_arm, policy_arm
        As in `summarise`.
    overwrite
        Replace an earlier trial.

    Raises
    ------
    ExistingResultError
        As `check_folder`.
    ValueError
        As `summarise`.
    """
    from dosewright.evaluation.report import write_report  # matplotlib is slow to import

    target = Path(folder)
    check_folder(target, overwrite)
    summary = summarise(result, reference_arm, policy_arm)
    partial = target.with_name(target.name + ".partial")
    if partial.exists():
        shutil.rmtree(partial)  # left by a run that was stopped
    partial.mkdir(parents=True)
    text = json.dumps(summary, indent=1, ensure_ascii=False, allow_nan=False)
    (partial / RESULT_FILE).write_text(text + "\n", encoding="utf-8")
    result.patient_table().write_parquet(partial / PATIENTS_FILE)
    write_report(result, partial / REPORT_FILE, reference_arm, policy_arm)
    if target.exists():
        shutil.rmtree(target)
    return partial.rename(target)


def check_folder(folder: str | Path, overwrite: bool = False) -> None:
    """Refuse to write a result where something is already: ask before a long run, not after it.

    Raises
    ------
    ExistingResultError
        If the folder is there, and `overwrite` is not set or it is not the folder of a trial; or if it cannot
        be made.
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
    # --overwrite replaces an earlier trial, never somebody's home
    if not path.is_dir() or (any(path.iterdir()) and not (path / RESULT_FILE).is_file()):
        raise ExistingResultError(
            f"output folder {path}: has no {RESULT_FILE}, so it is no trial that --overwrite may replace; "
            "choose another"
        )
