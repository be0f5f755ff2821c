"""Where a policy departs from its anchor, and what that brings the same patients."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.explanation.visits import Visits
from dosewright.envs import Scenario
from dosewright.evaluation.records import as_record
from dosewright.evaluation.statistics import Interval, student_half_width

Floats = NDArray[np.float64]

# Upper limits of the dose given over the anchor's; same: less than 5 % apart. ASSUMPTION: round numbers
KINDS = ("much lower", "lower", "same", "higher", "much higher")
LIMITS = (1 / 1.5, 1 / 1.05, 1.05, 1.5)
_MOST_GROUPS = 12  # visits shown one by one; longer calendars are grouped


def difference_records(visits: Visits, scenario: Scenario) -> dict[str, Any]:
    """Return, ready for JSON, how often a policy departs from its anchor and what that brings.

    Parameters
    ----------
    visits
        Of the policy's patients.
    scenario
        Their decision problem.

    Returns
    -------
    "limits" between the kinds of visit; "all", the visits together; "kinds", one record each: "name",
    "visits", "share" of all visits, "patients", the mean "multiple" of the anchor, the shares of visits with
    a "lower" and a "higher" dose, and "benefit" and "event", the mean gain a visit with its 95 % interval, in
    units of the calendar and in events, a part of the way to one counted as a part (`foreseen_scores`);
    "by_visit": the same by the time of the decision.
    """
    which = kinds_of(visits)
    count = len(scenario.calendar)
    groups = np.array_split(np.arange(count), min(count, _MOST_GROUPS))
    return {
        "limits": list(LIMITS),
        "all": _record("all", visits, len(visits)),
        "kinds": [_record(name, visits.take(which == i), len(visits)) for i, name in enumerate(KINDS)],
        "by_visit": [
            _record(_days(scenario, group), visits.take(np.isin(visits.visit, group)), len(visits))
            for group in groups
        ],
    }


def kinds_of(visits: Visits) -> NDArray[np.int64]:
    """Return the place (r,) in `KINDS` of every visit, by the doses given."""
    given, anchor = visits.given, visits.anchor_given
    ratio = np.divide(given, anchor, out=np.where(given > 0, math.inf, 1.0), where=anchor > 0)
    low, below, above, high = LIMITS
    return ((ratio >= low).astype(np.int64) + (ratio > below) + (ratio >= above) + (ratio > high)).astype(
        np.int64
    )


def mean_over_visits(values: Floats, patient: NDArray[np.int64]) -> Interval | None:
    """Return the mean of values (r,) over visits with a 95 % interval that knows whose visits they are.

    The visits of one patient are alike, so patients are the sample: a ratio of sums over patients, values
    over visits, with its linearised standard error and n − 1 degrees of freedom (Cochran, Sampling
    Techniques, 3rd ed. 1977, chapter 6; RECALLED). None with fewer than two patients.
    """
    _, who = np.unique(patient, return_inverse=True)
    visits = np.bincount(who)
    n, sums = len(visits), np.bincount(who, weights=values)
    if n < 2:
        return None
    mean = float(sums.sum() / visits.sum())
    residual = sums - mean * visits
    error = math.sqrt(n / (n - 1) * float(residual @ residual)) / int(visits.sum())
    half = student_half_width(error, n - 1.0, 0.95)
    return Interval(mean, mean - half, mean + half, error, n, 0.95)


def _record(name: str, visits: Visits, whole: int) -> dict[str, Any]:
    which = kinds_of(visits)
    some = len(visits) > 0
    return {
        "name": name,
        "visits": len(visits),
        "share": len(visits) / whole,
        "patients": len(np.unique(visits.patient)),
        "multiple": float(visits.multiple.mean()) if some else None,
        "lower": float((which < 2).mean()) if some else None,
        "higher": float((which > 2).mean()) if some else None,
        "benefit": _gain(visits.benefit, visits.patient),
        "event": _gain(visits.event, visits.patient),
    }


def _gain(values: Floats, patient: NDArray[np.int64]) -> dict[str, Any]:
    """Return a mean gain and its interval; none where no visit differs, which does not make it certain."""
    record = as_record(mean_over_visits(values, patient))
    if len(values) and np.ptp(values) == 0.0:
        record |= {"low": None, "high": None}
    return record


def _days(scenario: Scenario, group: NDArray[np.int64]) -> str:
    """Return when the decisions of a group are taken, as "day 7"."""
    first, last = (scenario.calendar[int(place)] for place in (group[0], group[-1]))
    return f"{scenario.clock.unit} {first}" if first == last else f"{scenario.clock.units} {first} to {last}"
