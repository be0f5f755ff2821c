"""Separate groups, bootstrap, ranks and pairs still needed, against SciPy, published data and brute force."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.statistics import (
    additional_pairs,
    paired_bootstrap_difference,
    paired_difference,
    student_half_width,
    unpaired_difference,
    wilcoxon_signed_rank,
)

# Hollander and Wolfe 1973, p. 29: depression scale of nine patients before and after; p 0.0391 two-sided
BEFORE = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
AFTER = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]


@pytest.mark.parametrize(("n_a", "n_b"), [(2, 2), (5, 40), (60, 60)])
def test_separate_groups_are_welchs(n_a: int, n_b: int) -> None:
    rng = np.random.default_rng(n_a)
    a, b = rng.normal(1.0, 3.0, n_a), rng.normal(0.0, 1.0, n_b)
    mine = unpaired_difference(a, b, 0.9)
    theirs: Any = stats.ttest_ind(a, b, equal_var=False)
    limits = theirs.confidence_interval(0.9)
    assert (mine.low, mine.high) == pytest.approx((limits.low, limits.high), rel=1e-12)
    assert mine.degrees_of_freedom == pytest.approx(theirs.df, rel=1e-12)
    assert mine.n == n_a + n_b


def test_separate_groups_without_spread_are_a_point() -> None:
    result = unpaired_difference([2.0, 2.0, 2.0], [1.0, 1.0])
    assert (result.low, result.mean, result.high) == (1.0, 1.0, 1.0)


def test_pairing_narrows_what_patients_share() -> None:
    rng = np.random.default_rng(0)
    own, a, b = rng.normal(0.0, 3.0, 400), rng.normal(1.0, 1.0, 400), rng.normal(0.0, 1.0, 400)
    paired, apart = paired_difference(own + a, own + b), unpaired_difference(own + a, own + b)
    assert paired.mean == pytest.approx(apart.mean)
    # variances 2 against 20; over seeds the ratio has a standard deviation of 0.01
    assert (paired.standard_error / apart.standard_error) ** 2 == pytest.approx(0.1, abs=4 * 0.01)


def test_bootstrap_of_normal_differences_is_students() -> None:
    a, b = np.random.default_rng(2).normal(0.0, 1.0, (2, 500))
    boot, student = paired_bootstrap_difference(a, b, seed=3), paired_difference(a, b)
    assert boot.mean == student.mean
    # quantiles of 9999 resamples: Monte Carlo error of a limit about 0.028 standard errors
    assert boot.low == pytest.approx(student.low, abs=0.1 * student.standard_error)
    assert boot.high == pytest.approx(student.high, abs=0.1 * student.standard_error)
    assert boot.standard_error == pytest.approx(student.standard_error, rel=0.04)


def test_bootstrap_follows_skewness_and_its_seed() -> None:
    a, b = np.random.default_rng(4).lognormal(0.0, 1.5, 80), np.zeros(80)
    first, again = (paired_bootstrap_difference(a, b, seed=5, resamples=2000) for _ in range(2))
    assert (first.low, first.high) == (again.low, again.high)
    assert first.high - first.mean > 1.3 * (first.mean - first.low)
    mirrored = paired_bootstrap_difference(b, a, seed=5, resamples=2000)
    assert mirrored.mean - mirrored.low > 1.3 * (mirrored.high - mirrored.mean)


def test_bootstrap_without_spread_is_a_point() -> None:
    result = paired_bootstrap_difference([1.0, 2.0, 3.0], [0.5, 1.5, 2.5], seed=0)
    assert (result.low, result.mean, result.high, result.standard_error) == (0.5, 0.5, 0.5, 0.0)


def test_signed_ranks_of_published_data() -> None:
    assert wilcoxon_signed_rank(BEFORE, AFTER) == pytest.approx(0.0390625, rel=1e-12)
    assert wilcoxon_signed_rank(BEFORE, BEFORE) == 1.0


@pytest.mark.parametrize(("n", "wanted"), [(2, 0.9), (5, 0.1), (50, 0.03), (1000, 0.0123)])
def test_pairs_still_needed_are_the_fewest(n: int, wanted: float) -> None:
    deviation = 1.0 * math.sqrt(n) / float(stats.t.ppf(0.975, n - 1))
    total = n + additional_pairs(n, 1.0, wanted)

    def width(pairs: int) -> float:
        return student_half_width(deviation / math.sqrt(pairs), pairs - 1.0, 0.95)

    assert width(total) <= wanted < width(total - 1)


def test_a_narrow_interval_needs_no_more_pairs() -> None:
    assert additional_pairs(10, 0.5, 0.5) == 0
    assert additional_pairs(10, 0.0, 0.5) == 0


def test_pairs_still_needed_come_true() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.0, 2.0, 20_000), np.zeros(20_000)
    first = paired_difference(a[:400], b[:400])
    more = additional_pairs(400, first.high - first.mean, 0.05)
    whole = paired_difference(a[: 400 + more], b[: 400 + more])
    # the first 400 know the standard deviation within 1/sqrt(800) = 3.5 %
    assert whole.high - whole.mean == pytest.approx(0.05, rel=3 * 0.035)


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"b\[0\] = inf \(patient 0\)"):
        unpaired_difference([1.0, 2.0], [math.inf, 1.0, 2.0])
    with pytest.raises(ValueError, match="resamples = 1"):
        paired_bootstrap_difference([1.0, 2.0], [1.0, 1.0], seed=1, resamples=1)
    with pytest.raises(ValueError, match="level = 95"):
        paired_bootstrap_difference([1.0, 2.0], [1.0, 1.0], seed=1, level=95)
    with pytest.raises(ValueError, match="a has 2 patients and b 3"):
        wilcoxon_signed_rank([1.0, 2.0], [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="n = 1"):
        additional_pairs(1, 1.0, 0.5)
    with pytest.raises(ValueError, match="half_width = nan"):
        additional_pairs(10, math.nan, 0.5)
    with pytest.raises(ValueError, match="wanted = 0"):
        additional_pairs(10, 1.0, 0.0)
