"""A cell of the leaderboard: one drug in one world, every regimen on the same patients, as numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.records import as_record, gap_record
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
    student_half_width,
    worst_group_gap,
)
from dosewright.evaluation.summary.harms import harms_of
from dosewright.evaluation.summary.subgroups import subgroup_of
from dosewright.evaluation.trial import TrialResult

Floats = NDArray[np.float64]

STATIC, ADAPTIVE = "bayesian", "bayesian-adaptive"
PLANNERS = ("planner", "planner-adaptive")
RULES = ("label", "guideline", "clinical-nomogram", "nomogram", "pid")  # what clinics do
GUIDELINES = ("guideline", "label")  # what is gained is gained over the first that the drug has
_LEAST_GAP = 0.03  # oracle minus monitoring, below which a share of it says nothing
_SMALLEST_GROUP = 50  # patients of a genotype, below which its mean is no finding


@dataclass(frozen=True)
class Cell:
    """Where regimens are compared.

    Attributes
    ----------
    drug, realism
        Scenario and preset.
    world
        "own": the model that policies were trained on; "other": another one.
    """

    drug: str
    realism: str
    world: str

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.drug}-{self.realism}-{self.world}"


def cell_record(
    cell: Cell,
    result: TrialResult,
    planners: TrialResult | None,
    policies: Sequence[str],
    words: str,
) -> dict[str, Any]:
    """Return the numbers of a cell, ready for JSON.

    *Monitoring* is the better of static and adaptive in benefit, *planner* likewise. Policies are the same
    training with several seeds: what is compared is each patient's mean over the seeds, and every seed by
    itself. Differences are paired. Intervals are over patients, for the policies that these seeds gave: how
    far another training would come out, the seeds by themselves show. A share of events that is a mean over
    several seeds has Student's interval, since it is no yes or no; so have differences of events, but where
    no patient differs: there it is Newcombe's, as Student's would be the single point 0.

    Parameters
    ----------
    cell
        Which one.
    result
        All arms but the planners.
    planners
        The planners' arms, on the first patients of `result`; None where there are none.
    policies
        Names of the policies' arms, one a training seed.
    words
        What the world is.

    Raises
    ------
    ValueError
        If an arm is missing, or the planners treated other patients.
    """
    arms = {name: _arm(result, name) for name in result.arms}
    if planners is not None:
        n = len(planners.ids)
        if not np.array_equal(planners.ids, result.ids[:n]):
            raise ValueError(f"{cell.name}: the planners treated other patients than the first {n}")
        arms |= {name: _arm(planners, name) for name in planners.arms}
    best = max((STATIC, ADAPTIVE), key=lambda name: result.arm(name).benefit.mean())
    record: dict[str, Any] = {
        "drug": cell.drug,
        "realism": cell.realism,
        "world": cell.world,
        "words": words,
        "second_model": result.scenario.alternative is not None,
        "patients": len(result.ids),
        "event": result.scenario.event.label,
        "margin": result.scenario.margin,
        "monitoring": best,
        "arms": arms,
        "policies": list(policies),
        "policy": None,
        "ratio_of_events": None,
        "against": {},
        "gap_closed": None,
        "worst_genotype": None,
        "rechecked": [],  # where the patients were treated by other code: how many were treated again
    }
    if not policies:
        return record
    means = {key: _over_seeds(result, policies, key) for key in ("benefit", "event")}
    alone = arms[policies[0]] if len(policies) == 1 else None
    record["policy"] = {
        key: as_record(_mean(key, values)) if alone is None else alone[key] for key, values in means.items()
    }
    record["ratio_of_events"] = _ratio_of_events(means["event"], _values(result, best, "event"))
    guideline = next((name for name in GUIDELINES if name in result.arms), None)
    for role, name in (("monitoring", best), ("guideline", guideline)):
        if name is not None:
            record["against"][role] = _against(result, means, policies, name, result)
    if planners is not None:
        better = max(planners.arms, key=lambda name: planners.arm(name).benefit.mean())
        first = {key: values[: len(planners.ids)] for key, values in means.items()}
        record["against"]["planner"] = _against(result, first, policies, better, planners)
    oracle = next((name for name, arm in result.arms.items() if arm.upper_bound), None)
    if oracle is not None:
        record["gap_closed"] = _gap_closed(
            means["benefit"], result.arm(best).benefit, result.arm(oracle).benefit
        )
    record["worst_genotype"] = _worst_genotype(result, means["benefit"], best)
    return record


def _arm(result: TrialResult, name: str) -> dict[str, Any]:
    arm = result.arm(name)
    return {
        "benefit": as_record(result.estimate(name, "benefit")),
        "harm": as_record(result.estimate(name, "harm")),
        "event": as_record(result.estimate(name, "ever_harm")),
        "return": as_record(result.estimate(name, "return")),
        "harms": {
            item.label: {"unit": item.unit, **as_record(result.estimate(name, item.name))}
            for item in harms_of(result.scenario)[2:]  # the first two are the event and the harm
        },
        "upper_bound": arm.upper_bound,
        "patients": len(result.ids),
        "decisions": arm.decisions,
        "ms_per_decision": 1000 * arm.seconds / arm.decisions,
    }


def _values(result: TrialResult, name: str, key: str) -> Floats:
    arm = result.arm(name)
    return (arm.benefit if key == "benefit" else arm.ever_harm).astype(np.float64)


def _over_seeds(result: TrialResult, policies: Sequence[str], key: str) -> Floats:
    return np.mean([_values(result, name, key) for name in policies], axis=0)


def _against(
    result: TrialResult,
    means: Mapping[str, Floats],
    policies: Sequence[str],
    name: str,
    there: TrialResult,
) -> dict[str, Any]:
    """Differences policy minus an arm of `there`, of the mean over seeds and of every seed."""
    n = len(there.ids)
    record: dict[str, Any] = {"arm": name, "patients": n}
    for key, values in means.items():
        other = _values(there, name, key)
        record[key] = as_record(_difference(key, values, other))
        record[f"{key}_by_seed"] = {
            policy: as_record(_difference(key, _values(result, policy, key)[:n], other))
            for policy in policies
        }
    return record


def _mean(key: str, values: Floats) -> Interval:
    nobody = key == "event" and not values.any()
    return proportion_interval(values > 0) if nobody else mean_interval(values)


def _difference(key: str, policy: Floats, other: Floats) -> Difference:
    if key == "event" and np.array_equal(policy, other):
        return paired_proportion_difference(policy > 0, other > 0)
    return paired_difference(policy, other)


def _ratio(above: Floats, below: Floats) -> dict[str, float] | None:
    """Ratio of the means of the same patients with a 95 % interval by the delta method; None where the second
    mean is 0."""
    base = float(below.mean())
    if base <= 0.0:
        return None
    ratio = float(above.mean()) / base
    error = float(np.std(above - ratio * below, ddof=1)) / (math.sqrt(len(above)) * base)
    half = student_half_width(error, len(above) - 1.0, 0.95)
    return {"mean": ratio, "low": ratio - half, "high": ratio + half}


def _ratio_of_events(policy: Floats, monitoring: Floats) -> Mapping[str, float | None] | None:
    """As `_ratio`; without limits where the policy has no event, since no event is no proof of none."""
    ratio = _ratio(policy, monitoring)
    return ratio if ratio is None or policy.any() else {"mean": 0.0, "low": None, "high": None}


def _gap_closed(policy: Floats, monitoring: Floats, oracle: Floats) -> dict[str, Any]:
    """(policy − monitoring) / (oracle − monitoring) of the mean benefits; left out where there is no gap."""
    gap = paired_difference(oracle, monitoring)
    closed = None if gap.mean < _LEAST_GAP else _ratio(policy - monitoring, oracle - monitoring)
    return {"gap": as_record(gap), "closed": closed}


def _worst_genotype(result: TrialResult, policy: Floats, monitoring: str) -> dict[str, Any] | None:
    """How far the worst served genotype's mean benefit is below the best served one's, under policy and
    monitoring; None where no gene enters the model."""
    masks = result.subgroups().get("genotype", {})
    if len(masks) < 2:
        return None
    group, known = subgroup_of(masks)
    found = {"policy": policy, "monitoring": result.arm(monitoring).benefit}
    return {
        name: gap_record(worst_group_gap(values[known], group[known], _SMALLEST_GROUP, result.seed))
        for name, values in found.items()
    }
