"""Which features a policy's dose depends on: each is permuted, and the most important ones are taken away."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.explanation.choice import capped_dose, multiple
from dosewright.agents.explanation.visits import Visits
from dosewright.agents.learning import LearnedPolicy

Floats = NDArray[np.float64]

TAKEN_AWAY = (1, 2, 5, 10)
_PERMUTATIONS = 5
_RANDOM_SETS = 20


def permutation_importance(policy: LearnedPolicy, visits: Visits, seed: int) -> list[dict[str, Any]]:
    """Return how much the policy's choice changes when one feature is that of another patient.

    A feature is permuted among visits at the same place of the calendar, so that nobody gets the first day's
    uncertainty in the last week; one that is the same for all at each visit, such as the day, counts 0. The
    anchor stays the patient's own. Features that say nearly the same share their importance.

    Parameters
    ----------
    policy
        Whose choice.
    visits
        Of its patients.
    seed
        Of the permutations.

    Returns
    -------
    One record a feature, the most important first: "feature", its "column", the mean absolute change of the
    "multiple" of the anchor and of the "dose", and the share of visits at which another "tablet" is given.
    """
    rng, doses = np.random.default_rng(seed), policy.scenario.doses
    usual = capped_dose(visits.multiple, visits.unit, doses)
    places = [np.flatnonzero(visits.visit == visit) for visit in np.unique(visits.visit)]
    records = []
    for column, name in enumerate(policy.inputs.names):
        changes = np.zeros(3)
        for _ in range(_PERMUTATIONS):
            features = visits.features.copy()
            for rows in places:
                features[rows, column] = features[rng.permutation(rows), column]
            other = multiple(policy, features, visits.unit)
            dose = capped_dose(other, visits.unit, doses)
            same = doses.same(doses.snap(dose), doses.snap(usual))
            shifts = np.abs(other - visits.multiple), np.abs(dose - usual)
            changes += (*(shift.mean() for shift in shifts), 1 - same.mean())
        by_multiple, by_dose, tablets = (changes / _PERMUTATIONS).tolist()
        records.append(
            {"feature": name, "column": column, "multiple": by_multiple, "dose": by_dose, "tablet": tablets}
        )
    return sorted(records, key=lambda record: -record["multiple"])


def deletion_check(
    policy: LearnedPolicy, visits: Visits, ranked: list[int], seed: int
) -> list[dict[str, Any]]:
    """Return how much of the departure from the anchor is left without the most important features.

    A feature is taken away by giving everybody its mean at the same place of the calendar. What is left is 1
    less the mean absolute change of the multiple over its mean absolute distance from 1: 1 where nothing
    changed, 0 where the policy is as far from its own choice as the anchor is, or below 0. What is left
    without any feature is what everybody gets at a visit.

    Parameters
    ----------
    policy
        Whose choice.
    visits
        Of its patients.
    ranked
        Columns of the features, the most important first.
    seed
        Of the random sets.

    Returns
    -------
    One record for each number in `TAKEN_AWAY`, and for all features: "features" taken away, what is "left",
    and of as many "random" features the "mean", least ("low") and most ("high") over sets drawn. None
    where the policy never departs.
    """
    rng, width = np.random.default_rng(seed), visits.features.shape[1]
    _, place = np.unique(visits.visit, return_inverse=True)
    sums = np.zeros((int(place.max()) + 1, width))
    np.add.at(sums, place, visits.features.astype(np.float64))
    means = (sums / np.bincount(place)[:, None])[place].astype(np.float32)

    def left(columns: NDArray[np.int64]) -> float | None:
        features = visits.features.copy()
        features[:, columns] = means[:, columns]
        departure = float(np.abs(visits.multiple - 1).mean())
        change = float(np.abs(multiple(policy, features, visits.unit) - visits.multiple).mean())
        return 1 - change / departure if departure > 0 else None

    records = []
    for number in (*(k for k in TAKEN_AWAY if k < width), width):
        drawn = [left(rng.choice(width, number, replace=False)) for _ in range(_RANDOM_SETS)]
        known = [value for value in drawn if value is not None]
        records.append(
            {
                "features": number,
                "left": left(np.array(ranked[:number])),
                "random": {
                    "mean": float(np.mean(known)) if known else None,
                    "low": min(known, default=None),
                    "high": max(known, default=None),
                },
            }
        )
    return records
