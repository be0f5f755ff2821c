"""A small decision tree that imitates a policy: rules that a person can read, and how faithful they are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.tree import DecisionTreeRegressor

from dosewright.agents.explanation.choice import capped_dose
from dosewright.agents.explanation.visits import Visits
from dosewright.agents.learning.meanings import Meaning
from dosewright.envs.scenarios import DoseGrid

Floats = NDArray[np.float64]

DEPTH = 4
_LEAST_SHARE = 0.01  # of the visits, in a leaf


@dataclass(frozen=True)
class _Leaf:
    """Conditions, column -> above and at most, the node, and its multiple."""

    conditions: dict[int, tuple[float, float]]
    node: int
    multiple: float


def surrogate_records(visits: Visits, features: list[Meaning], doses: DoseGrid, seed: int) -> dict[str, Any]:
    """Return a tree's rules in words and its fidelity, ready for JSON.

    The tree is fitted to the multiples of half of the patients and judged on the visits of the others. It
    sees the features that a person can read.

    Parameters
    ----------
    visits
        Of the policy's patients.
    features
        Meaning of every column.
    doses
        The scenario's grid.
    seed
        Of who is held out.

    Returns
    -------
    "rules": "when" in words, the "multiple" of the anchor, the "share" of the held-out visits, and what the
    policy gives there on average, "policy_multiple" and "dose" (None where nobody was held out).
    "fidelity" and, if the anchor were the imitation, "anchor": "r_squared" of the multiple (None where it
    never varies), mean absolute error of the dose, "dose_error", and share of visits with the same tablet,
    "same_tablet". "fitted", "held_out": visits. "depth".

    Raises
    ------
    ValueError
        For fewer than two patients.
    """
    people = np.unique(visits.patient)
    if len(people) < 2:
        raise ValueError(f"{len(people)} patients: a rule cannot be tried on others; give at least 2")
    chosen = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
    fitted = np.isin(visits.patient, chosen)
    known, held = visits.take(fitted), visits.take(~fitted)
    tree = DecisionTreeRegressor(
        max_depth=DEPTH, min_samples_leaf=math.ceil(_LEAST_SHARE * len(known)), random_state=seed
    )
    columns = [column for column, feature in enumerate(features) if feature.readable]
    tree.fit(known.features[:, columns], known.multiple)
    seen, read = held.features[:, columns], [features[column] for column in columns]
    where = np.asarray(tree.apply(seen))
    return {
        "depth": DEPTH,
        "fitted": len(known),
        "held_out": len(held),
        "rules": [_rule(leaf, read, held, doses, where) for leaf in _leaves(tree)],
        "fidelity": _fidelity(np.asarray(tree.predict(seen)), held, doses),
        "anchor": _fidelity(np.ones(len(held)), held, doses),
    }


def _leaves(tree: DecisionTreeRegressor) -> list[_Leaf]:
    """Leaves from left to right."""
    inner = tree.tree_

    def below(node: int, conditions: dict[int, tuple[float, float]]) -> list[_Leaf]:
        left, right = int(inner.children_left[node]), int(inner.children_right[node])
        if left < 0:
            return [_Leaf(conditions, node, float(inner.value[node].item()))]
        column, limit = int(inner.feature[node]), float(inner.threshold[node])
        low, high = conditions.get(column, (-math.inf, math.inf))
        return [
            *below(left, {**conditions, column: (low, limit)}),
            *below(right, {**conditions, column: (limit, high)}),
        ]

    return below(0, {})


def _rule(
    leaf: _Leaf, features: list[Meaning], held: Visits, doses: DoseGrid, where: NDArray[np.int64]
) -> dict[str, Any]:
    here = held.take(where == leaf.node)
    when = [_condition(features[column], *limits) for column, limits in leaf.conditions.items()]
    return {
        "when": " and ".join(when) or "always",
        "multiple": leaf.multiple,
        "share": len(here) / len(held),
        "policy_multiple": float(here.multiple.mean()) if len(here) else None,
        "dose": float(capped_dose(here.multiple, here.unit, doses).mean()) if len(here) else None,
    }


def _condition(feature: Meaning, low: float, high: float) -> str:
    if low == -math.inf:
        return f"{feature.words} at most {feature.said(high)}"
    if high == math.inf:
        return f"{feature.words} above {feature.said(low)}"
    return f"{feature.words} above {feature.said(low)}, at most {feature.said(high)}"


def _fidelity(multiples: Floats, held: Visits, doses: DoseGrid) -> dict[str, float | None]:
    spread = float(((held.multiple - held.multiple.mean()) ** 2).sum())
    error = float(((multiples - held.multiple) ** 2).sum())
    imitated, wanted = (capped_dose(item, held.unit, doses) for item in (multiples, held.multiple))
    same = doses.same(doses.snap(imitated), doses.snap(wanted))
    return {
        "r_squared": 1 - error / spread if spread > 0 else None,
        "dose_error": float(np.abs(imitated - wanted).mean()),
        "same_tablet": float(same.mean()),
    }
