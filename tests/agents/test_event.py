"""The event as something to learn from: hard away from an edge, in part around it, and on the same side."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.learning.event import event_so_far, nearness
from dosewright.envs import Scenario, names, scenario
from dosewright.envs.scenarios import AllOf, AnyOf, Band, Event, Ramp, Score, Weighted

UNITS = np.arange(1)
ABOVE, BELOW = Band("> 4", above=4.0), Band("< 0.5", below=0.5)
AT_LEAST, AT_MOST = Band(">= 677", at_least=677.0), Band("<= 2", at_most=2.0)


def near(score: Score, values: Any, **others: Any) -> NDArray[np.float64]:
    """Nearness (n,) of n patients in unit 0."""
    responses = {"level": np.asarray(values, float)[:, None]}
    responses |= {name: np.asarray(other, float)[:, None] for name, other in others.items()}
    return nearness(score, responses, UNITS)[:, 0]


@pytest.mark.parametrize(
    ("band", "edge", "inwards"), [(ABOVE, 4.0, 1), (AT_LEAST, 677.0, 1), (BELOW, 0.5, -1), (AT_MOST, 2.0, -1)]
)
def test_a_band_is_hard_but_for_eight_percent_around_its_edge(band: Band, edge: float, inwards: int) -> None:
    # on the log scale: 0 from −0.08 on, half at the edge, 1 from 0.08 on, and linear between
    log = inwards * np.array([-5.0, -0.081, -0.08, -0.04, 0.0, 0.06, 0.08, 0.081, 5.0])
    expected = [0.0, 0.0, 0.0, 0.25, 0.5, 0.875, 1.0, 1.0, 1.0]
    np.testing.assert_allclose(near(band, edge * np.exp(log)), expected, atol=1e-9)
    course = np.sort(edge * np.exp(np.random.default_rng(0).normal(0, 0.1, 300)))
    steps = inwards * np.diff(near(band, course))
    assert np.all(steps >= 0) and steps.max() > 0


def test_no_response_at_all_is_far_below() -> None:
    assert near(ABOVE, [0.0]).tolist() == [0.0] and near(BELOW, [0.0]).tolist() == [1.0]


def test_a_band_between_two_edges_has_both() -> None:
    between = Band("2 to 3", at_least=2.0, at_most=3.0)
    np.testing.assert_allclose(near(between, [1.0, 2.0, 2.45, 3.0, 4.0]), [0.0, 0.5, 1.0, 0.5, 0.0])


def test_it_counts_in_its_window_and_never_where_the_response_is_missing() -> None:
    band = Band("late", above=4.0, since=1, until=3)
    course = {"level": np.array([[9.0, 9.0, np.nan, 9.0], [9.0, 1.0, 4.0, 9.0]])}
    np.testing.assert_allclose(nearness(band, course, np.arange(4)), [[0, 1, 0, 0], [0, 0, 0.5, 0]])


def test_any_is_the_nearest_part_and_all_the_farthest() -> None:
    other = replace(BELOW, response="cells")
    level, cells = [4.0, 4.0, 9.0, 1.0], [9.0, 0.1, 0.5, 9.0]
    either, both = (
        near(kind("either", (ABOVE, other)), level, cells=cells).tolist() for kind in (AnyOf, AllOf)
    )
    assert either == pytest.approx([0.5, 1.0, 1.0, 0.0]) and both == pytest.approx([0.0, 0.5, 0.5, 0.0])


def test_other_scores_count_where_the_trial_counts_them() -> None:
    ramp = Ramp(Band("78 to 101", at_least=78.0, at_most=101.0), 0.25)
    grades = Weighted("grades", ((0.5, ABOVE), (1.0, Band("> 9", above=9.0))))
    assert near(ramp, [40.0, 70.0, 90.0]).tolist() == [0.0, 1.0, 1.0]
    assert near(grades, [3.9, 4.1, 10.0]).tolist() == [0.0, 1.0, 1.0]


@pytest.mark.parametrize("drug", names())
def test_more_than_half_is_where_the_trial_counts(drug: str) -> None:
    known, rng = scenario(drug), np.random.default_rng(0)
    units = np.arange(known.horizon)
    # over four decades around everything that a band of any drug has as an edge
    course = {
        item.name: np.exp(rng.uniform(np.log(0.05), np.log(1500.0), (60, known.horizon)))
        for item in known.responses
    }
    found, counted = nearness(known.event.score, course, units), known.event.score.of(course, units) > 0
    np.testing.assert_array_equal(found > 0.5, counted)
    assert counted.any() and not counted.all() and found.min() == 0.0 and found.max() == 1.0
    assert np.mean((found > 0) & (found < 1)) < 0.1


# ---------------------------------------------------------------------------------------------- over a course


def counting(more_than: float, horizon: int = 4) -> Scenario:
    """Warfarin, whose event is an INR above 4 on more than so many days of a short course."""
    return replace(
        scenario("warfarin"), horizon=horizon, calendar=(0,), event=Event("above", ABOVE, more_than=more_than)
    )


COURSES = {
    "INR": np.array(
        [
            [1.0, 1.0, 1.0, np.nan],
            [1.0, 4.0, 3.9, np.nan],
            [9.0, 1.0, 9.0, np.nan],
            [9.0, 9.0, 9.0, 9.0],
            [np.nan] * 4,
        ]
    )
}


def test_an_event_of_one_unit_is_as_near_as_its_nearest_unit() -> None:
    part = 0.5 + np.log(3.9 / 4) / 0.16
    assert part < 0.5
    np.testing.assert_allclose(event_so_far(counting(0), COURSES), [0, 0.5, 1, 1, 0], atol=1e-9)


def test_an_event_of_several_units_adds_them_up_until_it_has_happened() -> None:
    part = 0.5 + np.log(3.9 / 4) / 0.16
    expected = [0, (0.5 + part) / 3, 2 / 3, 1, 0]
    np.testing.assert_allclose(event_so_far(counting(2), COURSES), expected, atol=1e-9)


def test_more_units_never_take_an_event_away() -> None:
    course = np.exp(np.random.default_rng(1).normal(np.log(4), 0.2, (50, 4)))
    for more_than in (0, 2):
        before = np.zeros(50)
        for units in range(1, 5):
            so_far = {"INR": np.where(np.arange(4) < units, course, np.nan)}
            now = event_so_far(counting(more_than), so_far)
            assert np.all(now >= before) and np.all(now <= 1)
            before = now
        assert (before == 1).any() and (before < 1).any()
