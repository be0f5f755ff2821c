"""Confidence sequences: the formula by hand, its limits, and that it holds at all looks together."""

import math

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.ope.estimate import estimate_of_mean
from dosewright.evaluation.ope.sequences import confidence_sequence, sequence_quantile


def test_formula_by_hand() -> None:
    # a = 0.025: s n_0 = 1 + 7.3778 + log 7.3778
    grown = 4.0 * (1.0 - 2.0 * math.log(0.025) + math.log(-2.0 * math.log(0.025)))
    expected = math.sqrt(2.0 * (1.0 + 1.0 / grown) * math.log(math.sqrt(grown + 1.0) / 0.025))
    assert float(sequence_quantile(400, 1e12, first_look=100)) == pytest.approx(expected, rel=1e-6)


def test_few_effective_patients_widen_it() -> None:
    normal = float(sequence_quantile(100, 1e12, first_look=100))
    few = float(sequence_quantile(100, 9.0, first_look=100))
    assert stats.t.sf(few, 9.0) == pytest.approx(stats.norm.sf(normal), rel=1e-6)


def test_it_is_narrowest_in_standard_errors_near_the_first_look() -> None:
    quantile = sequence_quantile(np.array([100, 1_000, 100_000]), np.full(3, 1e9), first_look=100)
    assert (np.diff(quantile) > 0).all() and quantile[0] == pytest.approx(3.28, abs=0.01)


def test_interval_around_the_estimate() -> None:
    estimate = estimate_of_mean("is", "trajectory", None, np.arange(10.0), 10.0, 10.0)
    found = confidence_sequence(estimate, first_look=5)
    half = estimate.standard_error * float(sequence_quantile(10, 9.0, 5))
    assert (found.low, found.high, found.n) == (pytest.approx(4.5 - half), pytest.approx(4.5 + half), 10)


def test_a_look_before_the_first_is_refused() -> None:
    with pytest.raises(ValueError, match="first_look = 100 and a look with 99 patients"):
        sequence_quantile([150, 99], [50.0, 50.0], first_look=100)
    with pytest.raises(ValueError, match="first_look = 0"):
        sequence_quantile(10, 5.0, first_look=0)


def replicates_held(replicates: int, looks: int) -> tuple[float, float]:
    """Share in which the sequence, and the interval of a single look, hold at every look.

    Self-normalised probability of an event that the target makes rarer. Weights are log-normal, an effective
    37 % of the patients; the event has probability Phi(-z) for a patient with weight exp(z - 1/2), so that
    its truth is P(x < -z) = Phi(-1/sqrt 2) for x from N(0, 1) and z from the weighted N(1, 1).
    """
    rng, first = np.random.default_rng(5), 100
    truth, n = stats.norm.cdf(-1.0 / math.sqrt(2.0)), np.arange(first, first + looks)
    held = np.zeros(2)
    for _ in range(replicates):
        z = rng.normal(size=(2, first + looks - 1))
        weight, event = np.exp(z[0] - 0.5), z[1] < -z[0]
        total, with_event = np.cumsum(weight), np.cumsum(weight * event)
        squares, squares_with = np.cumsum(weight**2), np.cumsum(weight**2 * event)
        mean = (with_event / total)[first - 1 :]
        squared = squares_with[first - 1 :] * (1.0 - 2.0 * mean) + mean**2 * squares[first - 1 :]
        error = np.sqrt(squared) / total[first - 1 :]
        effective = (total**2 / squares)[first - 1 :]
        away = np.abs(mean - truth) / error
        held += [(away <= sequence_quantile(n, effective - 1.0, first)).all(), (away <= 1.96).all()]
    return float(held[0] / replicates), float(held[1] / replicates)


def test_it_holds_at_all_looks_where_an_interval_does_not() -> None:
    sequence, interval = replicates_held(150, 1000)
    assert sequence >= 0.95
    assert interval < 0.7  # looked at 1000 times


@pytest.mark.slow
def test_it_holds_over_ten_thousand_looks() -> None:
    assert replicates_held(2000, 10_000)[0] >= 0.95
