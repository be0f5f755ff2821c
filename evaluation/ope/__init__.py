"""Off-policy evaluation: the value of a regimen from a log that another regimen made."""

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

__all__ = [
    "DropOutIgnoredWarning",
    "Estimate",
    "LowOverlapWarning",
    "Weights",
    "importance_sampling",
    "importance_weights",
    "pdis",
    "pdwis",
    "wis",
]
