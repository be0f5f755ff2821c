"""Every number of a trial's report, as one dictionary: what `result.json` holds and the page prints."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.answer import answer, as_record
from dosewright.evaluation.statistics import Difference, Interval
from dosewright.evaluation.trial import ArmResult, TrialResult

NOTICE = "Research simulation, not for clinical use"

# Below this an interval of a subgroup says nothing.
SMALLEST_SUBGROUP = 20

_SCORES = ("benefit", "harm", "return", "ever_harm")


def summarise(result: TrialResult, reference: str, policy: str | None = None) -> dict[str, Any]:
    """Return everything that a report says in numbers, ready for JSON.

    Parameters
    ----------
    result
        The trial.
    reference
        Arm that the table of differences compares with.
    policy
        The learned arm that the trial is about; None: the best arm that is not an upper bound.

    Raises
    ------
    ValueError
        For an unknown arm, or a policy that is the reference or an upper bound.
    """
    result.arm(reference)
    if policy == reference:
        raise ValueError(f"policy arm {policy!r} is also the reference arm; name another reference")
    scenario, found = result.scenario, answer(result, policy)
    return {
        "notice": NOTICE,
        "scenario": {
            "name": scenario.name,
            "title": scenario.title,
            "version": scenario.version,
            "horizon": scenario.horizon,
            "unit": scenario.clock.unit,
            "units": scenario.clock.units,
            "calendar": list(scenario.calendar),
            "benefit": scenario.benefit.label,
            "harm": scenario.harm.label,
            "event": scenario.event.label,
            "weight": scenario.weight,
            "margin": scenario.margin,
        },
        "realism": result.realism,
        "genotype": result.genotype,
        "namespace": result.namespace,
        "seed": result.seed,
        "reference": reference,
        "answer": found,
        "patients": _patients(result),
        "outcomes": [
            {
                "name": o.name,
                "label": o.label,
                "unit": o.unit,
                "kind": o.kind,
                "better": o.better,
                "flag": o.flag,
            }
            for o in scenario.outcomes
        ],
        "arms": {name: _arm(result, arm) for name, arm in result.arms.items()},
        "differences": {
            name: {key: as_record(_difference(result, name, reference, key)) for key in _keys(result)}
            for name in result.arms
            if name != reference
        },
        "subgroups": _subgroups(result, found, reference),
        "example": _example(result, found, reference),
        "provenance": dict(result.provenance),
    }


def _keys(result: TrialResult) -> list[str]:
    return [*(outcome.name for outcome in result.scenario.outcomes), *_SCORES]


def _patients(result: TrialResult) -> dict[str, Any]:
    refused = sum(result.refused.values())
    return {
        "source": result.source,
        "rows": result.rows,
        "refused": refused,
        "reasons": dict(result.refused),
        "not_drawn": None if result.rows is None else result.rows - refused - len(result.ids),
        "used": len(result.ids),
        "dropped_out": int((result.followed_days < result.scenario.horizon).sum()),
        "mean_followed_days": float(result.followed_days.mean()),
        "substituted_alleles": dict(result.substituted),
        "covariates": _covariates(result),
        "subgroup_sizes": {
            kind: {label: int(mask.sum()) for label, mask in masks.items()}
            for kind, masks in result.subgroups().items()
        },
    }


def _covariates(result: TrialResult) -> list[dict[str, Any]]:
    """Median and central 90 % of what is measured in a unit."""
    rows = []
    for entry in result.scenario.covariates:
        known = result.covariates.get(entry.name, np.empty(0))
        known = known[np.isfinite(known)]
        if entry.unit != "1" and len(known):
            low, median, high = np.quantile(known, [0.05, 0.5, 0.95]).tolist()
            rows.append(
                {
                    "label": entry.meaning,
                    "unit": entry.unit,
                    "median": median,
                    "p5": low,
                    "p95": high,
                    "known": len(known),
                }
            )
    return rows


def _arm(result: TrialResult, arm: ArmResult) -> dict[str, Any]:
    return {
        "upper_bound": arm.upper_bound,
        **{key: as_record(_estimate(result, arm.name, key)) for key in _keys(result)},
        "decisions": arm.decisions,
        "seconds": arm.seconds,
        "ms_per_decision": 1000 * arm.seconds / arm.decisions,
    }


def _estimate(result: TrialResult, arm: str, outcome: str) -> Interval | None:
    enough = np.isfinite(result.arms[arm].values(outcome)).sum() >= 2
    return result.estimate(arm, outcome) if enough else None


def _difference(
    result: TrialResult, arm: str, reference: str, outcome: str, mask: NDArray[np.bool_] | None = None
) -> Difference | None:
    values = result.arms[arm].values(outcome) + result.arms[reference].values(outcome)
    known = np.isfinite(values) if mask is None else np.isfinite(values) & mask
    return result.difference(arm, reference, outcome, mask) if known.sum() >= 2 else None


def _subgroups(result: TrialResult, found: dict[str, Any], reference: str) -> dict[str, Any]:
    """The arm the trial is about against the reference, or against its rival if it is that itself."""
    arm = found["arm"]
    against = reference if reference != arm else next((rival["arm"] for rival in found["rivals"]), None)
    rows = []
    everybody = {"all patients": np.ones(len(result.ids), dtype=bool)}
    for kind, masks in {"all": everybody, **result.subgroups()}.items():
        for label, mask in masks.items():
            row: dict[str, Any] = {"kind": kind, "label": label, "n": int(mask.sum())}
            compared = row["n"] >= SMALLEST_SUBGROUP
            for key in ("benefit", "ever_harm"):
                found_here = _difference(result, arm, against, key, mask) if compared and against else None
                row[key] = as_record(found_here)
            rows.append(row)
    return {"arm": arm, "against": against, "smallest": SMALLEST_SUBGROUP, "rows": rows}


def _example(result: TrialResult, found: dict[str, Any], reference: str) -> dict[str, Any]:
    """One patient under up to three arms, picked by a rule that no result enters."""
    stayed = result.followed_days == result.scenario.horizon
    variants = result.variant_alleles()
    sensitive = stayed.copy()
    for count in variants.values():
        sensitive &= count > 0
    rule = "the lowest number among the patients followed to the end"
    if variants and sensitive.any():
        rule += f" who carry a variant of {' and of '.join(variants)}"
    pool = sensitive if sensitive.any() else stayed if stayed.any() else np.ones(len(result.ids), dtype=bool)
    row = int(np.flatnonzero(pool)[np.argmin(result.ids[pool])])
    wanted = [reference, *(rival["arm"] for rival in found["rivals"]), found["arm"], *result.arms]
    chosen = list(dict.fromkeys([found["arm"], *wanted]))[:3]
    return {
        "id": int(result.ids[row]),
        "row": row,
        "rule": rule,
        "genotype": {gene: str(diplotypes[row]) for gene, diplotypes in result.genotypes.items()},
        "arms": [name for name in result.arms if name in chosen],
    }
