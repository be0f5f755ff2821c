"""Whom an arm serves better and whom worse: by genotype, age, sex and ancestry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.records import as_record, gap_record, interaction_record
from dosewright.evaluation.statistics import interaction, worst_group_gap
from dosewright.evaluation.summary.differences import both_known, difference
from dosewright.evaluation.trial import TrialResult

# Below this an interval of a subgroup says nothing.
SMALLEST_SUBGROUP = 20
_COMPARED = ("benefit", "ever_harm")
_RESAMPLES = 1000


def subgroup_records(result: TrialResult, arm: str, against: str | None) -> dict[str, Any]:
    """Return how an arm fares against another in every subgroup.

    Returns
    -------
    "rows"
        Kind, label, n and paired differences; everybody first.
    "interactions" : kind -> outcome ->
        Test that the difference is the same in all subgroups of the kind.
    "gaps" : kind -> arm -> outcome ->
        How far apart the best and the worst served subgroup are under one arm.
    """
    everybody = {"all patients": np.ones(len(result.ids), dtype=bool)}
    kinds = result.subgroups()
    rows = []
    for kind, masks in {"all": everybody, **kinds}.items():
        for label, mask in masks.items():
            row: dict[str, Any] = {"kind": kind, "label": label, "n": int(mask.sum())}
            compared = row["n"] >= SMALLEST_SUBGROUP
            for key in _COMPARED:
                found = difference(result, arm, against, key, mask) if compared and against else None
                row[key] = as_record(found)
            rows.append(row)
    two = {} if against is None else {kind: masks for kind, masks in kinds.items() if len(masks) > 1}
    arms = [name for name in (arm, against) if name is not None]
    return {
        "arm": arm,
        "against": against,
        "smallest": SMALLEST_SUBGROUP,
        "rows": rows,
        "interactions": {
            kind: {key: _interaction(result, arm, str(against), key, masks) for key in _COMPARED}
            for kind, masks in two.items()
        },
        "gaps": {
            kind: {name: {key: _gap(result, name, key, masks) for key in _COMPARED} for name in arms}
            for kind, masks in two.items()
        },
    }


def _interaction(
    result: TrialResult, arm: str, against: str, outcome: str, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any] | None:
    label, grouped = subgroup_of(masks)
    known = both_known(result, arm, against, outcome) & grouped
    if known.sum() < 2:
        return None
    a, b = (result.arms[name].values(outcome)[known] for name in (arm, against))
    return interaction_record(interaction(a, b, label[known], SMALLEST_SUBGROUP))


def _gap(
    result: TrialResult, arm: str, outcome: str, masks: Mapping[str, NDArray[np.bool_]]
) -> dict[str, Any] | None:
    label, grouped = subgroup_of(masks)
    values = result.arms[arm].values(outcome)
    known = np.isfinite(values) & grouped
    if known.sum() < 2:
        return None
    found = worst_group_gap(values[known], label[known], SMALLEST_SUBGROUP, result.seed, resamples=_RESAMPLES)
    # shares: where a rare harm leaves the limit open, it is still at most all against nobody
    return gap_record(replace(found, high=min(found.high, 1.0)))


def subgroup_of(masks: Mapping[str, NDArray[np.bool_]]) -> tuple[NDArray[np.str_], NDArray[np.bool_]]:
    """Return the subgroup (n,) of each patient, and whether there is one: an age may not be recorded."""
    flags = np.stack(list(masks.values()))
    return np.array(list(masks))[flags.argmax(axis=0)], np.logical_or.reduce(flags)
