"""Every arm against the reference, outcome by outcome, and how sure one may be with several arms.

Upper bounds are shown beside the others, but nothing is claimed of them: the family that Holm's method
adjusts for is that of the arms that compete.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.records import as_record
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    holm,
    p_value,
    paired_bootstrap_difference,
    win_probability,
)
from dosewright.evaluation.trial import TrialResult

SCORES = ("benefit", "harm", "return", "ever_harm")
RESAMPLES = 1999
# above so many patients a resampled mean is normal, and the interval Student's, to the digits shown
MOST_RESAMPLED = 10_000


def outcomes_of(result: TrialResult) -> list[str]:
    """Return the scenario's outcomes and what every scenario has."""
    return [*(outcome.name for outcome in result.scenario.outcomes), *SCORES]


def estimate(result: TrialResult, arm: str, outcome: str) -> Interval | None:
    """Return the mean of an outcome in an arm; None for fewer than two patients with a value."""
    enough = np.isfinite(result.arms[arm].values(outcome)).sum() >= 2
    return result.estimate(arm, outcome) if enough else None


def difference(
    result: TrialResult, arm: str, reference: str, outcome: str, mask: NDArray[np.bool_] | None = None
) -> Difference | None:
    """Return the paired difference of an outcome; None for fewer than two patients with values in both."""
    known = both_known(result, arm, reference, outcome)
    enough = (known if mask is None else known & mask).sum() >= 2
    return result.difference(arm, reference, outcome, mask) if enough else None


def both_known(result: TrialResult, arm: str, reference: str, outcome: str) -> NDArray[np.bool_]:
    """Return (n,) which patients have the outcome in both arms."""
    return np.isfinite(result.arms[arm].values(outcome)) & np.isfinite(result.arms[reference].values(outcome))


def others(result: TrialResult, reference: str) -> list[str]:
    """Return the arms that are compared with the reference."""
    return [name for name in result.arms if name != reference]


def adjusted(result: TrialResult, p_values: Mapping[str, float]) -> dict[str, float | None]:
    """Return arm -> p adjusted by Holm's method over the arms that compete; None for an upper bound.

    Parameters
    ----------
    p_values : arm -> p
    """
    family = [name for name in p_values if not result.arms[name].upper_bound]
    found = holm([p_values[name] for name in family]) if family else ()
    return {name: None for name in p_values} | {name: float(p) for name, p in zip(family, found, strict=True)}


def difference_records(result: TrialResult, reference: str) -> dict[str, Any]:
    """Return arm -> outcome -> paired difference from the reference."""
    return {
        name: {key: as_record(difference(result, name, reference, key)) for key in outcomes_of(result)}
        for name in others(result, reference)
    }


def benefit_records(result: TrialResult, reference: str) -> dict[str, Any]:
    """Return what more can be said of the difference of benefit of every arm from the reference.

    Arm -> "bootstrap" (BCa limits), "win_probability" (how often the same patient fares better), "p" of no
    difference, two-sided, and "p_holm". None where fewer than two patients have a benefit in both arms.
    """
    found: dict[str, Any] = {}
    p_values: dict[str, float] = {}
    for name in others(result, reference):
        known = both_known(result, name, reference, "benefit")
        if known.sum() < 2:
            found[name] = None
            continue
        a, b = result.arms[name].benefit[known], result.arms[reference].benefit[known]
        resampled = None
        if len(a) <= MOST_RESAMPLED:
            resampled = paired_bootstrap_difference(a, b, result.seed, resamples=RESAMPLES)
        p_values[name] = p_value(result.difference(name, reference, "benefit"))
        found[name] = {
            "bootstrap": as_record(resampled),
            "win_probability": as_record(win_probability(a, b)),
            "p": p_values[name],
        }
    for name, p in adjusted(result, p_values).items():
        found[name]["p_holm"] = p
    return found
