"""Intervals of a mean of one term a patient, from assumptions instead of approximations.

The default interval of an estimate leans on the normal approximation. These lean on a range that the terms
cannot leave, which must be known, not read off the log: the largest weight that was seen is not the largest
possible one. With importance weights the honest range is so wide that the limits are rarely of use; they are
the conservative end of what can be said.
"""

import math

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.weights import Weights
from dosewright.evaluation.statistics import mean_interval
from dosewright.evaluation.statistics.interval import Interval, upper_tail

# A discounted sum of worst rewards may come out a few ulp beyond the range that was summed in another order.
_ROUNDING = 1e-9


def student_interval(estimate: Estimate, level: float = 0.95) -> Interval:
    """Student's t with n - 1 degrees of freedom on ``value + influence``, as if no patient were weighted.

    What most software reports. Too narrow when few patients carry the estimate, which is why the default,
    `Estimate.interval`, counts degrees of freedom by the effective sample size.
    """
    return mean_interval(estimate.value + estimate.influence, level)


def hoeffding_interval(terms: npt.ArrayLike, low: float, high: float, level: float = 0.95) -> Interval:
    """Interval of a mean of terms that lie in a known range (Hoeffding 1963).

    ``mean +- (high - low) sqrt(log(2/d) / (2n))``, ``d = 1 - level``; holds for every n and distribution.

    Parameters
    ----------
    terms : (n,) independent, one a patient, e.g. ``value + influence`` of an estimate that is a plain mean
    low, high : range that no term can leave, of the terms (with importance weights: of weight times return)
    level : coverage that is guaranteed, if the range is

    Raises
    ------
    ValueError
        For a term outside of the range: then the range was not one.
    """
    values = _within(terms, low, high)
    half = (high - low) * math.sqrt(math.log(2.0 / _error(level)) / (2.0 * len(values)))
    return _around_mean(values, half, level)


def empirical_bernstein_interval(
    terms: npt.ArrayLike, low: float, high: float, level: float = 0.95
) -> Interval:
    """Interval of a mean from the range and the sample variance (Maurer & Pontil 2009, theorem 4).

    ``mean +- [sqrt(2 v log(4/d) / n) + 7 (high - low) log(4/d) / (3 (n - 1))]``, v the sample variance: half
    of the error for each side. Narrower than Hoeffding's where the range is far wider than the spread.
    Parameters and errors as `hoeffding_interval`.
    """
    values = _within(terms, low, high)
    n, log = len(values), math.log(4.0 / _error(level))
    half = math.sqrt(2.0 * float(values.var(ddof=1)) * log / n) + 7.0 * (high - low) * log / (3.0 * (n - 1))
    return _around_mean(values, half, level)


def hcope_lower_bound(
    weights: Weights, returns: npt.ArrayLike, lowest_return: float, cap: float, level: float = 0.95
) -> float:
    """High-confidence lower bound of the value, conservative (Thomas, Theocharous & Ghavamzadeh 2015).

    Their theorem 1 with one cap: with ``y_i = min(W_iT' (G_i - lowest), c)``, whose mean can only be below
    the target's, the bound is ``mean y - 7 c log(2/d) / (3 (n - 1)) - sqrt(2 log(2/d) v / (n - 1)) +
    lowest``, v the population variance of y. One-sided and guaranteed, whatever the weights; so far below
    the estimate in practice that it supports few claims. A bound near ``lowest`` says nothing about the
    target.

    Parameters
    ----------
    weights : of the target on the log
    returns : (n,) discounted sum of each patient's course
    lowest_return : that no course can fall below, e.g. the worst reward of a step summed with discount
    cap : c, > 0, fixed before the log was seen or chosen on other patients; a cap chosen on the same ones
        voids the guarantee
    level : probability that the value is above

    Raises
    ------
    ValueError
        For a return below the lowest, or a cap that is not positive.
    """
    values = _within(returns, lowest_return, math.inf)
    if not 0.0 < cap < math.inf:
        raise ValueError(f"cap = {cap}; expected a number > 0, in the unit of weight times return")
    with np.errstate(divide="ignore"):
        size = weights.log_weight[:, -1] + np.log(np.maximum(values - lowest_return, 0.0))
    capped = np.exp(np.minimum(size, math.log(cap)))
    n, log = len(capped), math.log(2.0 / _error(level))
    slack = 7.0 * cap * log / (3.0 * (n - 1)) + math.sqrt(2.0 * log * float(capped.var()) / (n - 1))
    return float(capped.mean()) - slack + lowest_return


def _within(terms: npt.ArrayLike, low: float, high: float) -> FloatArray:
    values = np.asarray(terms, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"terms have shape {values.shape}; expected (n,) with n >= 2, one a patient")
    slack = _ROUNDING * max(1.0, float(np.abs(values).max()))
    outside = ~((values >= low - slack) & (values <= high + slack))
    if outside.any():
        patient = int(np.argmax(outside))
        raise ValueError(
            f"term {values[patient]} of patient {patient} is outside of {low} to {high}; expected the range "
            "that no term can leave: of the outcome by its definition, times the largest possible weight"
        )
    return values


def _around_mean(values: FloatArray, half: float, level: float) -> Interval:
    mean, n = float(values.mean()), len(values)
    return Interval(mean, mean - half, mean + half, float(values.std(ddof=1)) / math.sqrt(n), n, level)


def _error(level: float) -> float:
    """Probability of error of both sides together."""
    return 2.0 * (1.0 - upper_tail(level))
