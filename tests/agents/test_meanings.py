"""Every feature of every scenario is described, and its values are said in natural units."""

from __future__ import annotations

import numpy as np
import pytest

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, HistoryFeatures
from dosewright.agents.learning.meanings import meanings
from dosewright.envs import names, scenario


@pytest.mark.parametrize("drug", names())
def test_every_feature_is_described(drug: str) -> None:
    known = scenario(drug)
    for inputs in (BeliefFeatures(BeliefFilter(known, 2)), HistoryFeatures(known, 3)):
        found = meanings(inputs)
        assert tuple(item.name for item in found) == inputs.names
        assert all(item.unit and item.meaning and item.words for item in found)
        grid = np.linspace(-2.0, 2.0, 9)
        for item in found:  # a threshold on the feature is one on the quantity
            assert (np.diff([item.natural(value) for value in grid]) > 0).all(), item.name


def test_values_are_said_as_people_say_them() -> None:
    known = scenario("warfarin")
    said = {item.name: item.said for item in meanings(BeliefFeatures(BeliefFilter(known, 2)))}
    assert said["mean log maintenance dose"](np.log(4.25)) == "4.25 mg/day"
    assert said["mean log response over target"](np.log(1.2)) == "1.2 × target"
    assert said["day over horizon"](0.5) == "45 d"
    assert said["its age over a week"](2.0) == "14 d"
    assert said["log days until the next visit"](np.log(8.0)) == "7 d"
    assert said["last innovation"](-1.5) == "−1.5 SD"


def test_a_feature_that_nobody_described_is_named() -> None:
    inputs = BeliefFeatures(BeliefFilter(scenario("warfarin"), 2))
    inputs.names = (*inputs.names, "phase of the moon")
    with pytest.raises(ValueError, match="'phase of the moon' is not described"):
        meanings(inputs)
