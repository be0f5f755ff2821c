"""How good a regimen is: virtual trials, off-policy estimates and their statistics.

`write_report` is imported on first use: it loads a plotting library, which a trial without a page does not
need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import compare, decide, importance_weights, pdwis, target_log_prob
from dosewright.evaluation.recording import follow_up_log_prob, record, whole_intervals
from dosewright.evaluation.result_folder import ExistingResultError, check_folder
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
    win_probability,
)
from dosewright.evaluation.summary import summarise
from dosewright.evaluation.trial import (
    ArmResult,
    AttachedRegimen,
    TrialDesign,
    TrialResult,
    run_design,
    run_trial,
)
from dosewright.evaluation.trial.folder import write_trial

if TYPE_CHECKING:
    from dosewright.evaluation.report import write_report


def __getattr__(name: str) -> Any:
    if name == "write_report":
        from dosewright.evaluation.report import write_report

        return write_report
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "ArmResult",
    "AttachedRegimen",
    "Difference",
    "ExistingResultError",
    "Interval",
    "Trajectories",
    "TrialDesign",
    "TrialResult",
    "check_folder",
    "compare",
    "decide",
    "follow_up_log_prob",
    "importance_weights",
    "mean_interval",
    "paired_difference",
    "paired_proportion_difference",
    "pdwis",
    "proportion_interval",
    "record",
    "run_design",
    "run_trial",
    "summarise",
    "target_log_prob",
    "whole_intervals",
    "win_probability",
    "write_report",
    "write_trial",
]
