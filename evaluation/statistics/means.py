"""Means and their differences: the same patients under two regimens, or two separate groups."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import FloatArray
from dosewright.evaluation.statistics.interval import Difference, Interval, student_half_width, upper_tail
from dosewright.evaluation.statistics.per_patient import one_per_patient, pairs

# Values held at a time by the bootstrap; bounds the memory, does not change a number.
BOOTSTRAP_BLOCK = 2_000_000


def mean_interval(x: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Mean with Student's t interval: ``mean +- t_{n-1} s / sqrt(n)``, s the sample standard deviation.

    Parameters
    ----------
    x : (n,) one value a patient, n >= 2
    level : coverage of the interval

    Raises
    ------
    ValueError
        For fewer than two patients or a value that is not finite, naming the patient.
    """
    values = one_per_patient("x", x)
    return Interval(*_student(values, level))


def paired_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Mean of ``a - b`` over patients with the paired t interval, n - 1 degrees of freedom (Student 1908).

    Parameters
    ----------
    a, b : (n,) the outcome of the same patients, in the same order, under the two regimens, same unit
    level : coverage of the interval

    Raises
    ------
    ValueError
        For unequal lengths, fewer than two patients, or a missing or infinite value in either arm: a patient
        is not dropped silently from one arm.

    Examples
    --------
    >>> print(paired_difference([0.8, 0.7, 0.9], [0.6, 0.7, 0.8]))
    0.1 (95 % interval -0.1484 to 0.3484, n = 3)
    """
    first, second = pairs(a, b)
    return Difference(*_student(first - second, level), degrees_of_freedom=len(first) - 1.0)


def unpaired_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference of the means of two separate groups, ``mean(a) - mean(b)``, with Welch's t interval.

    The groups may differ in size and in spread: ``se^2 = s_a^2/n_a + s_b^2/n_b``, degrees of freedom by
    Welch (1947), Biometrika 34:28-35. On paired patients it is right too, but ignores what pairing gains:
    the squared ratio of the paired standard error to this one is the share of the variance that is left.

    Parameters
    ----------
    a, b : (n_a,) and (n_b,) one value a patient, same unit
    level : coverage of the interval

    Returns
    -------
    Difference
        ``n`` is ``n_a + n_b``.

    Raises
    ------
    ValueError
        For fewer than two patients in a group, or a value that is missing or infinite.
    """
    first, second = one_per_patient("a", a), one_per_patient("b", b)
    parts = [float(x.var(ddof=1)) / len(x) for x in (first, second)]
    variance = sum(parts)
    slack = sum(part**2 / (len(x) - 1) for part, x in zip(parts, (first, second), strict=True))
    df = variance**2 / slack if slack > 0.0 else math.inf
    mean, standard_error = float(first.mean() - second.mean()), math.sqrt(variance)
    half = student_half_width(standard_error, df, level)
    n = len(first) + len(second)
    return Difference(mean, mean - half, mean + half, standard_error, n, level, degrees_of_freedom=df)


def paired_bootstrap_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 9999
) -> Difference:
    """Mean of ``a - b`` over patients with the BCa bootstrap interval (Efron 1987, JASA 82:171-185).

    Patients are drawn with replacement, each with both of its outcomes. The limits are quantiles of the
    resampled means, shifted for bias and skewness; they follow a skewed outcome where Student's symmetrical
    interval cannot. With fewer than some 20 patients the resamples are too few to be trusted: prefer
    `paired_difference`.

    Parameters
    ----------
    a, b : (n,) the outcome of the same patients, in the same order, under the two regimens, same unit
    seed : of the resampling; the same seed gives the same limits
    level : coverage of the interval
    resamples : number of resamples

    Raises
    ------
    ValueError
        As `paired_difference`, and for fewer than two resamples.
    """
    first, second = pairs(a, b)
    values, n = first - second, len(first)
    upper_tail(level)
    if resamples < 2:
        raise ValueError(f"resamples = {resamples}; expected at least 2, e.g. 9999")
    mean = float(values.mean())
    if np.ptp(values) == 0.0:  # every resample is the sample
        return Difference(mean, mean, mean, 0.0, n, level)
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        confidence_level=level,
        method="BCa",
        batch=max(1, BOOTSTRAP_BLOCK // n),
        rng=np.random.default_rng(seed),
    )
    low, high = found.confidence_interval
    return Difference(mean, float(low), float(high), float(found.standard_error), n, level)


def wilcoxon_signed_rank(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided p of Wilcoxon's (1945) signed-rank test that ``a - b`` is symmetric about 0.

    Patients without a difference are left out of the ranks, as Wilcoxon did. `scipy.stats.wilcoxon`: exact
    for few patients without ties, else the normal approximation without continuity correction. 1 when no
    patient differs.

    Parameters
    ----------
    a, b : (n,) the outcome of the same patients, in the same order, under the two regimens

    Raises
    ------
    ValueError
        As `paired_difference`.
    """
    first, second = pairs(a, b)
    differences = first - second
    if not differences.any():
        return 1.0
    found: Any = stats.wilcoxon(differences)
    return float(found.pvalue)


def _student(values: FloatArray, level: float) -> tuple[float, float, float, float, int, float]:
    n, mean = len(values), float(values.mean())
    standard_error = float(values.std(ddof=1)) / math.sqrt(n)
    half = student_half_width(standard_error, n - 1.0, level)
    return mean, mean - half, mean + half, standard_error, n, level
