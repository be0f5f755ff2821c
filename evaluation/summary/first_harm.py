"""When the first harm comes, in every arm: rates, Kaplan-Meier, time without harm, and drop-out beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dosewright.evaluation.records import as_record, plain, rate_record
from dosewright.evaluation.statistics import (
    EventCurve,
    FollowUp,
    cumulative_incidence,
    event_rate,
    kaplan_meier,
    paired_restricted_mean_difference,
    restricted_mean,
)
from dosewright.evaluation.summary.differences import others
from dosewright.evaluation.trial import ArmResult, TrialResult

_DAYS_A_YEAR = 365.25
_HARM, _LEFT = 1, 2


def first_harm_records(result: TrialResult, reference: str, shown: Sequence[str]) -> dict[str, Any]:
    """Return everything about the time to the first harm.

    Parameters
    ----------
    result
        The trial.
    reference
        Arm whose time without harm the others' is compared with.
    shown
        Arms whose whole curve is wanted.

    Returns
    -------
    "until"
        Unit up to which all arms are compared: the horizon, or what the arm knows that knows least.
    "looking_back"
        Whether an event is known only at the end of follow-up, as a share of it.
    "arms" : arm ->
        "rate": first harms per patient-year at risk, exact limits; "free": mean units without harm until
        `until` (restricted mean), and "difference" from the reference; "alone": share harmed by `until` if
        nobody left (Kaplan-Meier); "beside_leaving": share harmed, and "left": share gone unharmed, in a
        world where people leave (Aalen-Johansen).
    "curves" : arm ->
        "time", "harmed", "low", "high" (Kaplan-Meier), "beside_leaving", "at_risk".
    """
    times = {name: _follow_up(result, arm) for name, arm in result.arms.items()}
    curves = {name: kaplan_meier(item) for name, item in times.items()}
    beside = {name: cumulative_incidence(_leaving(result, name, item)) for name, item in times.items()}
    gone = {name: cumulative_incidence(_leaving(result, name, item), _LEFT) for name, item in times.items()}
    until = min(float(result.scenario.horizon), *(curve.known_until for curve in curves.values()))
    years = result.scenario.clock.days / _DAYS_A_YEAR
    arms = {
        name: {
            "rate": rate_record(event_rate(item.cause == _HARM, item.time * years)),
            "free": as_record(restricted_mean(item, until)),
            "alone": _at(curves[name], until, harmed=True),
            "beside_leaving": _at(beside[name], until, harmed=False),
            "left": _at(gone[name], until, harmed=False),
        }
        for name, item in times.items()
    }
    for name in others(result, reference):
        gained = paired_restricted_mean_difference(times[name], times[reference], until)
        arms[name]["difference"] = as_record(gained)
    return {
        "until": until,
        "looking_back": result.scenario.event.as_share,
        "arms": arms,
        "curves": {name: _curve(curves[name], beside[name]) for name in shown},
    }


def _follow_up(result: TrialResult, arm: ArmResult) -> FollowUp:
    return FollowUp(np.where(arm.ever_harm, arm.first_harm, result.followed_days), arm.ever_harm)


def _leaving(result: TrialResult, arm: str, alone: FollowUp) -> FollowUp:
    """The same, with drop-out as an event that competes."""
    left = ~result.arms[arm].ever_harm & (result.followed_days < result.scenario.horizon)
    return FollowUp(alone.time, np.where(left, _LEFT, alone.cause))


def _at(curve: EventCurve, time: float, harmed: bool) -> dict[str, Any]:
    """Return an incidence at a time; `harmed`: the curve is of those free of it."""
    place = int(np.searchsorted(curve.time, time, side="right")) - 1
    if place < 0:
        return {"mean": 0.0, "low": None, "high": None}
    mean, low, high = (float(values[place]) for values in (curve.probability, curve.low, curve.high))
    if harmed:
        mean, low, high = 1.0 - mean, 1.0 - high, 1.0 - low
    return {"mean": mean, "low": plain(low), "high": plain(high)}


def _curve(alone: EventCurve, beside: EventCurve) -> Mapping[str, Any]:
    return {
        "time": alone.time.tolist(),
        "harmed": (1.0 - alone.probability).tolist(),
        "low": [plain(value) for value in 1.0 - alone.high],
        "high": [plain(value) for value in 1.0 - alone.low],
        "beside_leaving": beside.probability.tolist(),
        "at_risk": alone.at_risk.tolist(),
    }
