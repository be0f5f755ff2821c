"""Win probability: how often the same patient fares better under the first regimen."""

import numpy.typing as npt

from dosewright.evaluation.statistics.interval import Interval
from dosewright.evaluation.statistics.per_patient import pairs
from dosewright.evaluation.statistics.proportions import paired_square_and_add


def win_probability(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Probability that a patient fares better under the first regimen: P(a > b) + P(a = b)/2.

    A half is no difference. The pair of flags (a wins, b wins) turns it into ``(1 + d)/2`` with d the paired
    difference of two proportions, so the interval is that of `paired_proportion_difference`, transformed; it
    keeps its width when one arm wins in every patient.

    Parameters
    ----------
    a, b : (n,) the outcome of the same patients, in the same order, larger is better (negate a harm)
    level : coverage of the interval

    Raises
    ------
    ValueError
        As `paired_difference`.
    """
    first, second = pairs(a, b)
    net = paired_square_and_add(first > second, first < second, level)
    low, high = (1.0 + net.low) / 2.0, (1.0 + net.high) / 2.0
    return Interval((1.0 + net.mean) / 2.0, low, high, net.standard_error / 2.0, net.n, level)
