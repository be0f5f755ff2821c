"""The folder of a trial: `result.json`, `patients.parquet` and `report.html`, whole or not there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dosewright.evaluation.result_folder import REPORT_FILE, new_folder, write_summary
from dosewright.evaluation.sensitivity import Sensitivity
from dosewright.evaluation.summary import summarise
from dosewright.evaluation.trial.result import TrialResult

PATIENTS_FILE = "patients.parquet"


def write_trial(
    result: TrialResult,
    folder: str | Path,
    reference_arm: str,
    policy_arm: str | None = None,
    overwrite: bool = False,
    *,
    sensitivity: Sensitivity | None = None,
    trained: Mapping[str, Sequence[str]] | None = None,
    fronts: Mapping[str, Mapping[str, float]] | None = None,
    explained: Mapping[str, Any] | None = None,
) -> Path:
    """Write a trial into a new folder, by way of `new_folder`, and return it.

    Parameters
    ----------
    result
        The trial.
    folder
        Where to; its parents are made.
    reference_arm, policy_arm, sensitivity, trained, fronts, explained
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

    summary = summarise(
        result,
        reference_arm,
        policy_arm,
        sensitivity=sensitivity,
        trained=trained,
        fronts=fronts,
        explained=explained,
    )
    with new_folder(folder, overwrite) as new:
        write_summary(summary, new)
        result.patient_table().write_parquet(new / PATIENTS_FILE)
        write_report(result, new / REPORT_FILE, summary)
    return Path(folder)
