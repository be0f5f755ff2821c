"""Intervals that assume a range: by hand, and numbers of the shared reference (`reference/ope`)."""

import math

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.ope.concentration import (
    empirical_bernstein_interval,
    hcope_lower_bound,
    hoeffding_interval,
    student_interval,
)
from dosewright.evaluation.ope.estimate import estimate_of_mean
from dosewright.evaluation.ope.weights import Weights

TERMS = np.array([0.0, 1.0, 1.0, 0.0, 1.0])


def weights_of(log_weight: np.ndarray) -> Weights:
    column = log_weight[:, None]
    return Weights(np.ones(column.shape, dtype=bool), column, column, np.zeros(column.shape), False)


def test_student_is_that_of_the_terms() -> None:
    found = student_interval(estimate_of_mean("is", "trajectory", None, TERMS, 5.0, 5.0))
    expected = stats.ttest_1samp(TERMS, 0.0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))


def test_hoeffding_by_hand() -> None:
    found = hoeffding_interval(TERMS, 0.0, 1.0)
    assert found.high - 0.6 == pytest.approx(math.sqrt(math.log(40.0) / 10.0), rel=1e-12)
    assert found.low == pytest.approx(1.2 - found.high)
    wider = hoeffding_interval(TERMS, -1.0, 2.0)
    assert wider.high - wider.low == pytest.approx(3.0 * (found.high - found.low))


def test_empirical_bernstein_by_hand() -> None:
    found = empirical_bernstein_interval(TERMS, 0.0, 1.0)
    half = math.sqrt(2.0 * 0.3 * math.log(80.0) / 5.0) + 7.0 * math.log(80.0) / 12.0
    assert (found.high - found.low) / 2.0 == pytest.approx(half, rel=1e-12)


def test_empirical_bernstein_holds_where_it_is_hardest() -> None:
    # rare events: 200 patients, probability 1 %; guaranteed, and so above 95 % (Maurer & Pontil 2009)
    rng = np.random.default_rng(1)
    held = [
        found.low <= 0.01 <= found.high
        for found in (
            empirical_bernstein_interval((rng.random(200) < 0.01).astype(float), 0.0, 1.0) for _ in range(300)
        )
    ]
    assert np.mean(held) >= 0.95


def test_hcope_by_hand() -> None:
    # weights 2, 1/2, 1, 3 of returns above a lowest of -1: y = min(W (G + 1), 4) = 4, 1, 2, 3
    found = hcope_lower_bound(weights_of(np.log([2.0, 0.5, 1.0, 3.0])), [2.0, 1.0, 1.0, 0.0], -1.0, cap=4.0)
    log = math.log(40.0)
    assert found == pytest.approx(2.5 - 28.0 * log / 9.0 - math.sqrt(2.0 * log * 1.25 / 3.0) - 1.0, rel=1e-12)


def test_hcope_with_weights_beyond_a_float() -> None:
    # both are capped; the lowest return adds nothing whatever its weight
    found = hcope_lower_bound(weights_of(np.array([2000.0, 2000.0, -np.inf])), [1.0, 0.0, 1.0], 0.0, cap=1.0)
    same = hcope_lower_bound(weights_of(np.zeros(3)), [1.0, 0.0, 0.0], 0.0, cap=1.0)
    assert found == same


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"term 1.0 of patient 1 is outside of 0.0 to 0.9; expected the range"
    ):
        hoeffding_interval(TERMS, 0.0, 0.9)
    with pytest.raises(ValueError, match="patient 1 is outside"):
        empirical_bernstein_interval([0.5, math.nan], 0.0, 1.0)
    with pytest.raises(ValueError, match="cap = 0"):
        hcope_lower_bound(weights_of(np.zeros(2)), [0.0, 1.0], 0.0, cap=0.0)
    with pytest.raises(ValueError, match="level = 95"):
        hoeffding_interval(TERMS, 0.0, 1.0, level=95)
    assert hoeffding_interval([-1e-13, 1.0], 0.0, 1.0).mean == pytest.approx(0.5)  # an ulp is not outside
