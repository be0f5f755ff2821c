"""Outcomes of a course against sums by hand; Rosendaal's interpolation against its invariants."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.envs.scenarios.scenario import Band, Outcome
from dosewright.envs.scenarios.warfarin import ABOVE_4, BELOW_1_5, BLEEDING, IN_RANGE, OUTCOMES, STROKE
from dosewright.evaluation.outcomes import (
    event_rate,
    ever_in,
    followed_days,
    outcome_values,
    rosendaal,
    share_of_days,
)

# day 0 is before the first dose; the second patient left after day 2
TRUTH = np.array([[1.0, 2.0, 3.0, 4.0, 5.0], [2.5, 2.5, 4.5, np.nan, np.nan]])


def share(values: list[float], days: list[int], band: Band = IN_RANGE, from_day: int = 0) -> float:
    return float(rosendaal(band, np.array([values]), np.array(days), from_day)[0])


def test_shares_are_of_the_followed_days_from_day_1() -> None:
    assert followed_days(TRUTH).tolist() == [4, 2]
    assert share_of_days(IN_RANGE, TRUTH).tolist() == [0.5, 0.5]
    assert share_of_days(ABOVE_4, TRUTH).tolist() == [0.25, 0.5]
    # day 0 of the first patient is below 1.5 and does not count
    assert share_of_days(BELOW_1_5, TRUTH).tolist() == [0.0, 0.0]
    assert ever_in(ABOVE_4, TRUTH).tolist() == [True, True]
    assert not ever_in(BELOW_1_5, TRUTH).any()


def test_a_patient_without_a_followed_day_has_no_share() -> None:
    assert np.isnan(share_of_days(IN_RANGE, np.array([[1.0, np.nan]]))).all()


def test_event_rate_is_the_base_while_the_response_is_safe() -> None:
    # models.md 1.5: 1.36 strokes and 1.75 bleeds per 100 patient-years in range; models.md 19: 1 - exp(-sum)
    truth = np.full((1, 91), 2.5)
    for hazard, base in ((STROKE, 1.36), (BLEEDING, 1.75)):
        expected = 100 * (1 - math.exp(-base * 90 / 36_500)) / (90 / 365)
        assert event_rate(hazard, truth)[0] == pytest.approx(expected, rel=1e-12)
        assert event_rate(hazard, truth)[0] == pytest.approx(base, rel=0.01)


def test_event_rate_by_hand_for_a_patient_who_leaves() -> None:
    # stroke at INR 1.55 is 3.72 times the base (ATRIA, Singer 2009); two days followed
    truth = np.array([[1.0, 1.55, 2.0, np.nan]])
    expected = 100 * (1 - math.exp(-1.36 * (3.72 + 1) / 36_500)) / (2 / 365)
    assert event_rate(STROKE, truth)[0] == pytest.approx(expected, rel=1e-12)


def test_event_rate_is_capped_at_inr_6() -> None:
    low, high = (event_rate(BLEEDING, np.full((1, 31), inr))[0] for inr in (6.0, 12.0))
    assert low == high > event_rate(BLEEDING, np.full((1, 31), 5.9))[0]


def test_rosendaal_by_hand() -> None:
    assert share([2.5, 2.5], [0, 7]) == 1.0
    assert share([1.5, 2.5], [0, 7]) == pytest.approx(0.5, abs=1e-15)
    assert share([1.0, 4.0], [0, 9]) == pytest.approx(1 / 3, abs=1e-15)
    assert share([4.0, 1.0], [0, 9]) == pytest.approx(1 / 3, abs=1e-15)
    # half of 4 days, then all of 12 days
    assert share([1.5, 2.5, 2.0], [0, 4, 16]) == pytest.approx(14 / 16, abs=1e-15)
    # a missing result is passed over: a straight line from day 0 to day 10
    assert share([1.5, math.nan, 2.5], [0, 4, 10]) == pytest.approx(0.5, abs=1e-15)


def test_rosendaal_on_the_limits() -> None:
    # INR 2 and 3 belong to the range 2 to 3, INR 4 does not belong to "above 4"
    assert share([2.0, 2.0], [0, 5]) == 1.0
    assert share([3.0, 3.0], [0, 5]) == 1.0
    assert share([4.0, 4.0], [0, 5], ABOVE_4) == 0.0
    assert share([3.0, 5.0], [0, 5], ABOVE_4) == pytest.approx(0.5, abs=1e-15)


def test_rosendaal_from_a_day_on() -> None:
    # 1 to 3 passes 2.0 on day 5, so days 5 to 10 are in range; so are days 10 to 20, and days 20 to 30 not
    assert share([1.0, 3.0], [0, 10], from_day=5) != share([1.0, 3.0], [0, 10])
    assert share([1.0, 3.0, 3.0, 5.0], [0, 10, 20, 30], from_day=5) == pytest.approx(15 / 25, abs=1e-15)


def test_rosendaal_needs_two_results_in_the_window() -> None:
    assert math.isnan(share([2.5, math.nan], [0, 7]))
    assert math.isnan(share([2.5, 2.5, math.nan], [0, 7, 14], from_day=5))
    assert share([2.5, 2.5, 2.5], [0, 7, 14], from_day=5) == 1.0


values = st.floats(0.8, 8.0)


@given(st.lists(st.tuples(values, st.integers(1, 20)), min_size=2, max_size=8), st.integers(0, 30), st.data())
def test_rosendaal_does_not_change_with_points_on_the_line(
    course: list[tuple[float, int]], from_day: int, data: st.DataObject
) -> None:
    inr, days = np.array([v for v, _ in course]), np.cumsum([gap for _, gap in course])
    before = rosendaal(IN_RANGE, inr[None], days, from_day)[0]
    extra = data.draw(st.integers(int(days[0]), int(days[-1])))
    more = np.union1d(days, [extra])
    after = rosendaal(IN_RANGE, np.interp(more, days, inr)[None], more, from_day)[0]
    if not math.isnan(before):
        assert 0.0 <= before <= 1.0
        assert after == pytest.approx(before, abs=1e-9)


@given(st.lists(values, min_size=2, max_size=8))
def test_rosendaal_bands_that_cover_everything_add_up(course: list[float]) -> None:
    days = np.arange(len(course)) * 7
    bands = (Band("low", below=2.0), IN_RANGE, Band("high", above=3.0))
    assert sum(rosendaal(band, np.array([course]), days)[0] for band in bands) == pytest.approx(1.0, abs=1e-9)


def test_every_outcome_of_the_scenario_has_one_number_a_patient() -> None:
    measured, days = np.array([[1.0, 2.5, 2.5], [1.0, 2.5, np.nan]]), np.array([0, 2, 14])
    for outcome in OUTCOMES:
        found = outcome_values(outcome, TRUTH, measured, days)
        assert found.shape == (2,)
        assert (found.dtype == np.bool_) == (outcome.kind == "ever")


def test_an_outcome_without_its_band_or_hazard_is_refused() -> None:
    band, hazard = OUTCOMES[0], OUTCOMES[-1]
    for outcome, word in ((replace(band, band=None), "band"), (replace(hazard, hazard=None), "hazard")):
        assert isinstance(outcome, Outcome)
        with pytest.raises(ValueError, match=f"needs a {word}"):
            outcome_values(outcome, TRUTH, TRUTH, np.arange(5))
