"""Off-policy evaluation: the value of a regimen from a log that another regimen made."""

from dosewright.evaluation.ope.comparison import compare
from dosewright.evaluation.ope.importance import (
    DropOutIgnoredWarning,
    Estimate,
    LowOverlapWarning,
    Weights,
    importance_sampling,
    importance_weights,
    pdis,
    pdwis,
    wis,
)
from dosewright.evaluation.ope.target import share_changed, target_log_prob

__all__ = [
    "DropOutIgnoredWarning",
    "Estimate",
    "LowOverlapWarning",
    "Weights",
    "compare",
    "importance_sampling",
    "importance_weights",
    "pdis",
    "pdwis",
    "share_changed",
    "target_log_prob",
    "wis",
]
