"""Which doses the log has and which are wanted: counted by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.dose_overlap import distinct_doses, dose_overlap
from dosewright.evaluation.ope.target_doses import TargetDoses

MASK = np.array([[True, True], [True, False], [True, True]])
LOG = Trajectories(
    observations=np.zeros((3, 2, 1)),
    actions=np.array([[5.0, 2.5], [5.0, 99.0], [7.5, 5.0]]),
    rewards=np.zeros((3, 2)),
    mask=MASK,
    terminated=np.ones(3, dtype=bool),
    truncated=np.zeros(3, dtype=bool),
    strata={"sex": np.array(["f", "f", "m"])},
)
# half 5 and half 10 everywhere, but the last decision of patient 2: always 7.5
TARGET = TargetDoses.of(
    LOG,
    np.array([[[5.0, 10.0], [5.0, 10.0]], [[5.0, 10.0], [0.0, 0.0]], [[5.0, 10.0], [7.5, 3.0]]]),
    np.array([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.0, 0.0]], [[0.5, 0.5], [1.0, 0.0]]]),
)


def test_all_patients() -> None:
    found = dose_overlap(LOG, TARGET)
    assert found.doses.tolist() == [2.5, 5.0, 7.5, 10.0]  # 3 has probability 0, 99 stands in the padding
    assert found.decisions.tolist() == [5]
    assert found.logged.tolist() == [[1, 3, 1, 0]]
    assert found.wanted.tolist() == [[0.0, 2.0, 1.0, 2.0]]
    assert found.never_logged.tolist() == [2 / 5]
    assert found.table().rows() == [
        ("all", 2.5, 1 / 5, 0.0),
        ("all", 5.0, 3 / 5, 2 / 5),
        ("all", 7.5, 1 / 5, 1 / 5),
        ("all", 10.0, 0.0, 2 / 5),
    ]


def test_by_stratum() -> None:
    found = dose_overlap(LOG, TARGET, "sex")
    assert (found.labels.tolist(), found.decisions.tolist()) == (["f", "m"], [3, 2])
    assert found.logged.tolist() == [[1, 2, 0, 0], [0, 1, 1, 0]]
    assert found.wanted.tolist() == [[0.0, 1.5, 0.0, 1.5], [0.0, 0.5, 1.0, 0.5]]
    assert found.never_logged.tolist() == [0.5, 0.25]
    assert found.table().columns == ["sex", "dose", "logged", "wanted"]


def test_a_target_of_one_more_state_is_counted_at_the_decisions() -> None:
    everyone = np.ones(3, dtype=bool)
    going_on = replace(LOG, mask=np.ones((3, 2), bool), truncated=everyone, terminated=~everyone)
    doses = np.full((3, 3, 1), 5.0)
    found = dose_overlap(going_on, TargetDoses.of(going_on, doses, np.ones((3, 3, 1))))
    assert found.wanted.sum() == 6


def test_sums_of_tablets_are_one_dose() -> None:
    doses, place = distinct_doses([0.1 + 0.2, 0.3, 5.0, 0.3])
    assert len(doses) == 2
    assert place.tolist() == [0, 0, 1, 0]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="stratum 'age' is not in the log; its strata: sex"):
        dose_overlap(LOG, TARGET, "age")
    with pytest.raises(ValueError, match=r"target has doses of shape \(3, 2, 2\); expected \(2, 2, m\)"):
        dose_overlap(LOG.select([0, 1]), TARGET)
