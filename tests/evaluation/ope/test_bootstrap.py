"""Resampling of whole patients: by hand, against SciPy's bootstrap, and what it must not change."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.ope.bootstrap import (
    SumOfRatios,
    bca_interval,
    percentile_interval,
    ratios_of_mean,
    ratios_of_pdwis,
    ratios_of_wdr,
    ratios_of_wis,
    resample,
)
from dosewright.evaluation.ope.doubly_robust import dr, wdr
from dosewright.evaluation.ope.importance import pdwis, wis

# two ratios: (1 + 4)/(1 + 2) and 6/3, on top of the mean of (3, 5)
TWO = SumOfRatios(
    np.array([3.0, 5.0]), np.array([[1.0, 6.0], [4.0, 0.0]]), np.array([[1.0, 1.0], [2.0, 2.0]])
)


def test_value_and_influence_by_hand() -> None:
    assert TWO.value == pytest.approx(4.0 + 5.0 / 3.0 + 2.0)
    # n (N - ratio D)/sum D: 2 (1 - 5/3)/3 + 2 (6 - 2)/3, on top of 3 - 4; the other patient balances it
    assert TWO.influence == pytest.approx([-1.0 - 4.0 / 9.0 + 8.0 / 3.0, 1.0 + 4.0 / 9.0 - 8.0 / 3.0])


def test_a_resample_of_one_patient_twice_is_that_patient() -> None:
    replicates = resample(TWO, seed=1, resamples=200)
    expected = {4.0 + 5.0 / 3.0 + 2.0, 3.0 + 1.0 + 6.0, 5.0 + 2.0 + 0.0}
    assert set(np.round(replicates, 12)) == {round(value, 12) for value in expected}


@pytest.mark.parametrize("drop_out", [False, True])
def test_descriptions_are_the_estimators(process: Callable, drop_out: bool) -> None:
    logged = process(4, 0.9).draw(60, 1, drop_out=drop_out)
    log, weights = logged.log, logged.weights
    for described, estimate in (
        (ratios_of_wis(log, weights, 0.9), wis(log, weights, 0.9)),
        (ratios_of_pdwis(log, weights, 0.9), pdwis(log, weights, 0.9)),
        (ratios_of_wdr(log, weights, logged.wrong, 0.9), wdr(log, weights, logged.wrong, 0.9)),
        (ratios_of_mean(dr(log, weights, logged.wrong, 0.9)), dr(log, weights, logged.wrong, 0.9)),
    ):
        assert described.value == pytest.approx(estimate.value, rel=1e-12)
        assert described.influence == pytest.approx(estimate.influence, rel=1e-9, abs=1e-12)


def test_every_resample_is_normalised_anew(process: Callable) -> None:
    # with a reward of 1 a step every resample is worth exactly the number of steps
    logged = process(3, 1.0).draw(40, 2)
    described = ratios_of_pdwis(logged.log, logged.weights)
    constant = SumOfRatios(described.linear, described.denominator, described.denominator)
    assert resample(constant, seed=1, resamples=50) == pytest.approx(np.full(50, 3.0))


def test_limits_agree_with_scipy(process: Callable) -> None:
    logged = process(2, 1.0).draw(80, 3)
    described = ratios_of_wis(logged.log, logged.weights)
    columns = described.columns

    def value(rows: np.ndarray, axis: int) -> np.ndarray:
        return np.take(columns[:, 1] / 1.0, rows).sum(axis) / np.take(columns[:, 2], rows).sum(axis)

    replicates = resample(described, seed=1, resamples=20_000)
    for name, limits in (("percentile", percentile_interval), ("BCa", bca_interval)):
        ours = limits(described, replicates)
        theirs = stats.bootstrap(
            (np.arange(80),), value, n_resamples=20_000, method=name, rng=np.random.default_rng(2)
        ).confidence_interval
        # two bootstraps of 20,000 agree in a limit to about 2 % of the width
        width = theirs.high - theirs.low
        assert (ours.low, ours.high) == pytest.approx(tuple(theirs), abs=0.03 * width)


def test_bca_of_a_symmetric_mean_is_the_percentile_interval() -> None:
    terms = np.r_[np.arange(-10.0, 11.0)]
    none = np.zeros((len(terms), 0))
    mean = SumOfRatios(terms, none, none)
    replicates = resample(mean, seed=3, resamples=20_000)
    plain, moved = percentile_interval(mean, replicates), bca_interval(mean, replicates)
    assert (moved.low, moved.high) == pytest.approx(
        (plain.low, plain.high), abs=0.05 * (plain.high - plain.low)
    )


def test_patients_who_are_all_alike_leave_no_width() -> None:
    none = np.zeros((5, 0))
    same = SumOfRatios(np.full(5, 2.0), none, none)
    found = bca_interval(same, resample(same, seed=1, resamples=100))
    assert (found.low, found.high, found.standard_error) == (2.0, 2.0, 0.0)


def test_seed_decides_and_blocks_do_not(process: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    logged = process(2, 1.0).draw(50, 4)
    described = ratios_of_pdwis(logged.log, logged.weights)
    once, again = resample(described, seed=1, resamples=64), resample(described, seed=1, resamples=64)
    assert np.array_equal(once, again)
    assert not np.array_equal(once, resample(described, seed=2, resamples=64))
    monkeypatch.setattr("dosewright.evaluation.ope.bootstrap._BLOCK", 7 * 50)
    assert resample(described, seed=1, resamples=64) == pytest.approx(once, rel=1e-12)


def test_too_few_carriers_are_refused() -> None:
    alone = np.zeros((20, 1))
    alone[3] = 1.0
    with pytest.raises(ValueError, match="of 50 resamples have no value"):
        resample(SumOfRatios(np.zeros(20), alone, alone), seed=1, resamples=50)
    with pytest.raises(ValueError, match="denominator of ratio 0 sums to 0"):
        SumOfRatios(np.zeros(20), alone, 0.0 * alone)
