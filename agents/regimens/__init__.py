"""Regimens that are not learned, from one fixed dose to the oracle, all through `predict`."""

from __future__ import annotations

import re
from collections.abc import Callable

from dosewright.agents.regimens.bayesian import Bayesian, bayesian, bayesian_adaptive
from dosewright.agents.regimens.clinician import Clinician, ClinicianState
from dosewright.agents.regimens.fixed import FixedDose, suffix
from dosewright.agents.regimens.guideline import Guideline
from dosewright.agents.regimens.noisy import Noisy, NoisyState, Relative, Steps
from dosewright.agents.regimens.nomogram import Nomogram, Proportional, clinical_nomogram, label, nomogram
from dosewright.agents.regimens.oracle import Oracle
from dosewright.agents.regimens.pid import PID, PIDState
from dosewright.agents.regimens.planner import Planner, planner, planner_adaptive
from dosewright.envs import Regimen, Scenario

_RULES: dict[str, Callable[[Scenario], Regimen]] = {
    "label": label,
    "guideline": Guideline,
    "clinical-nomogram": clinical_nomogram,
    "nomogram": nomogram,
    "pid": PID,
    "bayesian": bayesian,
    "bayesian-adaptive": bayesian_adaptive,
    "planner": planner,
    "planner-adaptive": planner_adaptive,
    "oracle": Oracle,
}


def names() -> tuple[str, ...]:
    """Return the names that `regimen` knows, besides ``fixed-<dose>``."""
    return tuple(_RULES)


def lacking(scenario: Scenario) -> dict[str, str]:
    """Return the names that a scenario has no regimen for, each with the reason."""
    reasons: dict[str, str] = {}
    for name, rule in _RULES.items():
        try:
            rule(scenario)
        except ValueError as error:
            reasons[name] = str(error).removeprefix(f"{scenario.name}: ").split("; ")[0]
    return reasons


def regimen(name: str, scenario: Scenario) -> Regimen:
    """Return the regimen called `name` for a scenario.

    Raises
    ------
    ValueError
        For an unknown name; the message lists the known ones. For a fixed dose in another unit than the
        scenario's.
    """
    fixed = re.fullmatch(r"fixed-(\d+(?:\.\d+)?)(mg)?", name)
    behind = suffix(scenario)
    if fixed:
        if (fixed[2] or "") != behind:
            raise ValueError(
                f"arm {name}: doses of {scenario.name} are in {scenario.doses.unit}; write "
                f"fixed-{fixed[1]}{behind}"
            )
        return FixedDose(scenario, float(fixed[1]))
    if name not in _RULES:
        raise ValueError(
            f"unknown arm {name!r}; known: fixed-<dose>{behind}, {', '.join(_RULES)}, policy, policy:PATH, "
            "policy@WEIGHT"
        )
    return _RULES[name](scenario)


__all__ = [
    "PID",
    "Bayesian",
    "Clinician",
    "ClinicianState",
    "FixedDose",
    "Guideline",
    "Noisy",
    "NoisyState",
    "Nomogram",
    "Oracle",
    "PIDState",
    "Planner",
    "Proportional",
    "Relative",
    "Steps",
    "lacking",
    "names",
    "regimen",
]
