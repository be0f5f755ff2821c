"""Scenarios, one file per drug: the decision problem as data."""

from __future__ import annotations

from dosewright.envs.scenarios import warfarin
from dosewright.envs.scenarios.scenario import (
    AdjustmentRow,
    AdjustmentTable,
    Band,
    DoseEquation,
    DoseGrid,
    Hazard,
    Outcome,
    Scenario,
)

_SCENARIOS = {module.SCENARIO.name: module.SCENARIO for module in (warfarin,)}


def names() -> tuple[str, ...]:
    """Return the drugs there is a scenario for."""
    return tuple(_SCENARIOS)


def scenario(name: str) -> Scenario:
    """Return the scenario of a drug; an unknown drug is an error that lists the known ones."""
    if name not in _SCENARIOS:
        raise ValueError(f"unknown drug {name!r}; known: {', '.join(_SCENARIOS)}")
    return _SCENARIOS[name]


__all__ = [
    "AdjustmentRow",
    "AdjustmentTable",
    "Band",
    "DoseEquation",
    "DoseGrid",
    "Hazard",
    "Outcome",
    "Scenario",
    "names",
    "scenario",
]
