"""Dose against two features: what a policy would give the patients it meets if only those were otherwise.

Partial dependence: Friedman, Ann Stat 2001;29:1189 (RECALLED). Curves run over values that were met; cells of
the map in which nobody was are left empty, since a policy was never asked there.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.explanation.choice import capped_dose, multiple
from dosewright.agents.explanation.visits import Visits
from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.learning.meanings import Meaning

Floats = NDArray[np.float64]

_POINTS, _CELLS = 15, 8
_SAMPLE = 400  # visits that are asked again
_SPREAD = (0.1, 0.9)


def dependence_records(
    policy: LearnedPolicy, visits: Visits, pair: tuple[Meaning, Meaning], seed: int
) -> dict[str, Any]:
    """Return curves and a map of the dose, ready for JSON.

    Parameters
    ----------
    policy
        Whose dose.
    visits
        Of its patients.
    pair
        The two features.
    seed
        Of the visits that are asked again.

    Returns
    -------
    "curves": for each of the two its "feature", its name in "words", its "unit", "values" in that unit, and
    of the "multiple" of the anchor and the "dose" the "mean", and the tenth ("low") and ninetieth ("high") of
    a hundred visits. "map": "edges" of the cells of both features, the "visits" in each cell, and the mean
    "multiple" there, None where nobody was; rows are the second feature. "sample": visits asked again.
    """
    columns = [policy.inputs.names.index(meaning.name) for meaning in pair]
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(len(visits), min(_SAMPLE, len(visits)), replace=False))
    asked = visits.take(rows)

    def answer(changes: dict[int, float]) -> Floats:
        features = asked.features.copy()
        for column, value in changes.items():
            features[:, column] = value
        return multiple(policy, features, asked.unit)

    curves = []
    for column, meaning in zip(columns, pair, strict=True):
        values = np.unique(
            np.quantile(visits.features[:, column], np.linspace(0.02, 0.98, _POINTS), method="nearest")
        )
        found = np.stack([answer({column: float(value)}) for value in values])
        curves.append(
            {
                "feature": meaning.name,
                "words": meaning.words,
                "unit": meaning.natural_unit,
                "values": [meaning.natural(float(value)) for value in values],
                "multiple": _spread(found),
                "dose": _spread(capped_dose(found, asked.unit, policy.scenario.doses)),
            }
        )
    edges, middle = zip(*(_cells(visits.features[:, column]) for column in columns), strict=True)
    met, _, _ = np.histogram2d(
        visits.features[:, columns[1]], visits.features[:, columns[0]], bins=(edges[1], edges[0])
    )
    cells = [
        [
            float(answer({columns[0]: float(x), columns[1]: float(y)}).mean()) if met[i, j] else None
            for j, x in enumerate(middle[0])
        ]
        for i, y in enumerate(middle[1])
    ]
    natural = [[meaning.natural(float(v)) for v in edge] for edge, meaning in zip(edges, pair, strict=True)]
    return {
        "curves": curves,
        "map": {"edges": natural, "visits": met.astype(int).tolist(), "multiple": cells},
        "sample": len(asked),
    }


def _spread(found: Floats) -> dict[str, list[float]]:
    """Mean and spread over the visits of answers (points, visits)."""
    low, high = np.quantile(found, _SPREAD, axis=1)
    return {"mean": found.mean(axis=1).tolist(), "low": low.tolist(), "high": high.tolist()}


def _cells(values: NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Return the edges of cells, and where each is asked: a few values, as a flag has, get a cell each; many
    are cut where cells hold about as many visits each."""
    met = np.unique(values.astype(np.float64))
    if len(met) <= _CELLS:
        between = (met[1:] + met[:-1]) / 2
        half = (met[1] - met[0], met[-1] - met[-2]) if len(met) > 1 else (1.0, 1.0)
        return np.array([met[0] - half[0] / 2, *between, met[-1] + half[1] / 2]), met
    edges = np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, _CELLS + 1)))
    return edges, (edges[1:] + edges[:-1]) / 2
