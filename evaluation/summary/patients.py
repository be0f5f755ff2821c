"""Who took part in a trial, in numbers, and one of them as an example."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dosewright.evaluation.trial import TrialResult

_SHOWN = 3  # arms side by side


def patients(result: TrialResult) -> dict[str, Any]:
    """Return where patients come from, how many were refused, used and lost, and who they are."""
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


def shown_arms(result: TrialResult, found: Mapping[str, Any], reference: str) -> list[str]:
    """Return the few arms that stand side by side in a figure: what the trial is about, and its rivals.

    In the order of the trial.
    """
    wanted = [found["arm"], reference, *(rival["arm"] for rival in found["rivals"]), *result.arms]
    chosen = list(dict.fromkeys(wanted))[:_SHOWN]
    return [name for name in result.arms if name in chosen]


def example(result: TrialResult, arms: list[str]) -> dict[str, Any]:
    """Return one patient under a few arms, picked by a rule that no result enters."""
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
    return {
        "id": int(result.ids[row]),
        "row": row,
        "rule": rule,
        "genotype": {gene: str(diplotypes[row]) for gene, diplotypes in result.genotypes.items()},
        "arms": arms,
    }
