"""Time in range and first times, by hand, on short made-up courses."""

import numpy as np
import pytest

from dosewright.evaluation.replications.control import control, joined, median_day
from dosewright.evaluation.replications.course import Course

NAN = np.nan


def made(*rows: list[float]) -> Course:
    measured = np.array(rows)
    n, d = measured.shape
    nothing = np.zeros((n, d - 1))
    return Course(measured, measured, nothing, nothing)


# days 0, 4, 8, 10: up from 1 to 3 crosses 2 on day 2; up to 5; down to 2
COURSE = made([1.0, NAN, NAN, NAN, 3.0, NAN, NAN, NAN, 5.0, NAN, 2.0])


def test_shares_of_time_by_hand() -> None:
    found = control(COURSE, 0)
    # in range: days 2 to 4, and (3 to 2) a third of days 8 to 10: 2 + 2/3 of 10
    assert found.in_range == pytest.approx([100 * (2 + 2 / 3) / 10])
    assert found.below_2 == pytest.approx([20.0])
    # above 4: days 6 to 8, and a third of days 8 to 10
    assert found.at_least_4 == pytest.approx([100 * (2 + 2 / 3) / 10])
    assert found.ever_at_least_4.tolist() == [True]


def test_window_counts_from_its_first_day() -> None:
    # from day 6: in range 2/3 of the last two days of four
    assert control(COURSE, 6).in_range == pytest.approx([100 * (2 / 3) / 4])
    assert np.isnan(control(COURSE, 9).in_range[0])  # one result is no time


def test_first_times_are_study_days_and_leave_out_the_baseline() -> None:
    course = made(
        [2.5, NAN, 1.4, NAN, 2.2, 3.5, 2.9, 2.1],  # a baseline in range does not count
        [1.0, NAN, 3.0, NAN, 2.0, NAN, NAN, NAN],
        [1.0, 1.2, 4.0, NAN, NAN, NAN, NAN, NAN],
        [4.1, 1.2, 1.4, NAN, NAN, NAN, NAN, NAN],
    )
    found = control(course, 0)
    assert found.therapeutic == pytest.approx([5, 3, NAN, NAN], nan_ok=True)
    assert found.confirmed == pytest.approx([8, 5, NAN, NAN], nan_ok=True)
    assert found.last.tolist() == [8, 5, 3, 3]
    assert found.ever_at_least_4.tolist() == [False, False, True, False]


def test_median_after_kaplan_and_meier() -> None:
    # 5 at risk; day 3: 4/5; one leaves on day 4; day 6: 4/5 · 2/3; day 8: 4/5 · 1/3 < 1/2
    event = np.array([3.0, NAN, 6.0, 8.0, NAN])
    last = np.array([10.0, 4.0, 10.0, 10.0, 10.0])
    assert median_day(event, last) == 8
    assert median_day(np.array([3.0, NAN, NAN]), np.full(3, 10.0)) is None


def test_blocks_are_joined_in_their_order() -> None:
    one, other = control(COURSE, 0), control(made([1.0, 2.5]), 0)
    both = joined([one, other])
    assert len(both) == 2
    assert both.in_range == pytest.approx(np.concatenate([one.in_range, other.in_range]))
