"""The virtual trial: its design, how patients are treated, in which processes, and what comes out.

`dosewright.evaluation.trial.folder` writes a trial with its report.
"""

from dosewright.evaluation.trial.design import AttachedRegimen, TrialDesign
from dosewright.evaluation.trial.precision import Precision
from dosewright.evaluation.trial.result import ArmResult, TrialResult
from dosewright.evaluation.trial.run import BLOCK, Progress, run_design, run_trial, workers_wanted
from dosewright.evaluation.trial.store import TrialStore
from dosewright.evaluation.trial.workers import Recipe

__all__ = [
    "BLOCK",
    "ArmResult",
    "AttachedRegimen",
    "Precision",
    "Progress",
    "Recipe",
    "TrialDesign",
    "TrialResult",
    "TrialStore",
    "run_design",
    "run_trial",
    "workers_wanted",
]
