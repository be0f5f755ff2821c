"""Subgroups: does the effect differ between them, and how far apart are the best and the worst served?"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import FloatArray
from dosewright.evaluation.statistics.interval import Difference, Interval, upper_tail
from dosewright.evaluation.statistics.means import BOOTSTRAP_BLOCK, mean_interval, paired_difference
from dosewright.evaluation.statistics.per_patient import one_per_patient, pairs


@dataclass(frozen=True)
class Interaction:
    """Whether a paired difference is the same in every subgroup.

    Attributes
    ----------
    differences : subgroup -> its paired difference, first arm minus second
    left_out : subgroup -> number of patients, for those below the smallest size
    q : Cochran's Q, weighted squares of the subgroup differences around their weighted mean
    df : number of subgroups - 1
    i_squared : share of Q beyond what chance explains, ``max(0, 1 - df/Q)`` (Higgins and Thompson 2002)
    f, df_within : Welch's F and its second degrees of freedom
    p : of F
    reason : why there is no test (the numbers are NaN then); empty otherwise
    """

    differences: Mapping[str, Difference]
    left_out: Mapping[str, int]
    q: float
    df: int
    i_squared: float
    f: float
    df_within: float
    p: float
    reason: str

    def __str__(self) -> str:
        if self.reason:
            return f"no test of interaction: {self.reason}"
        return (
            f"interaction p = {self.p:.2g} (F = {self.f:.3g} on {self.df} and {self.df_within:.1f} degrees "
            f"of freedom, Q = {self.q:.3g}, I² = {100 * self.i_squared:.0f} %)"
        )


@dataclass(frozen=True)
class GroupGap:
    """How far apart the means of the best and the worst served subgroup are.

    Attributes
    ----------
    gap : largest minus smallest subgroup mean, unit of the data
    low, high : simultaneous limits of the true gap, >= 0; NaN without an answer
    highest, lowest : the two subgroups
    means : subgroup -> its own mean and interval
    left_out : subgroup -> number of patients, for those below the smallest size
    level : coverage aimed at, at least
    reason : why there are no limits; empty otherwise
    """

    gap: float
    low: float
    high: float
    highest: str
    lowest: str
    means: Mapping[str, Interval]
    left_out: Mapping[str, int]
    level: float
    reason: str

    def __str__(self) -> str:
        if self.reason:
            return f"no gap between subgroups: {self.reason}"
        limits = f"{100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}"
        return f"{self.gap:.4g} ({limits}), {self.highest} against {self.lowest}"


def interaction(
    a: npt.ArrayLike, b: npt.ArrayLike, group: npt.ArrayLike, smallest: int, level: float = 0.95
) -> Interaction:
    """Test whether the paired difference ``a - b`` differs between subgroups.

    Welch's (1951, Biometrika 38:330-336) analysis of variance of the patients' differences: subgroups may
    differ in spread. Its numerator is Cochran's Q of the subgroup estimates over k - 1; Q alone, against
    chi-square, takes the weights as known and rejects too often in small subgroups. Fit for means and for
    0/1 events. Subgroups are compared with each other: that one interval excludes 0 and another does not,
    is no interaction.

    Parameters
    ----------
    a, b : (n,) the outcome of the same patients, in the same order, under the two regimens
    group : (n,) subgroup of each patient
    smallest : patients that a subgroup needs to be compared, >= 2; smaller ones are named in the result
    level : coverage of the subgroups' own intervals

    Returns
    -------
    Interaction
        Without a test, and with the reason, when fewer than two subgroups are large enough or one has no
        spread at all (e.g. an event that none of its patients had in either arm).

    Raises
    ------
    ValueError
        For unequal lengths, a missing value or subgroup, naming the patient, or a smallest size below 2.
    """
    first, second = pairs(a, b)
    rows, left_out = _rows(len(first), group, smallest)
    found = {name: paired_difference(first[at], second[at], level) for name, at in rows.items()}
    k = len(found)
    reason = _why_not(found, smallest)
    if reason:
        none = math.nan
        return Interaction(found, left_out, none, max(k - 1, 0), none, none, none, none, reason)
    sizes = np.array([d.n for d in found.values()])
    weight = np.array([d.standard_error for d in found.values()]) ** -2.0
    mean = np.array([d.mean for d in found.values()])
    q = float((weight * (mean - np.average(mean, weights=weight)) ** 2).sum())
    slack = float(((1.0 - weight / weight.sum()) ** 2 / (sizes - 1)).sum())
    f = q / (k - 1) / (1.0 + 2.0 * (k - 2) / (k**2 - 1) * slack)
    df_within = (k**2 - 1) / (3.0 * slack)
    i_squared = max(0.0, 1.0 - (k - 1) / q) if q > 0.0 else 0.0
    p = float(stats.f.sf(f, k - 1, df_within))
    return Interaction(found, left_out, q, k - 1, i_squared, f, df_within, p, "")


def worst_group_gap(
    x: npt.ArrayLike,
    group: npt.ArrayLike,
    smallest: int,
    seed: int,
    level: float = 0.95,
    resamples: int = 2000,
) -> GroupGap:
    """Largest minus smallest subgroup mean, with limits that allow for having picked the two.

    The estimate is too large on average: even among equal subgroups one comes out best. So the limits are
    simultaneous: c is the ``level`` quantile, over bootstrap resamples of the patients within each subgroup,
    of the largest studentised deviation among all pairs of subgroups. With that chance at least every true
    difference of two means lies within ``c se`` of its estimate, whichever pair is the true extreme, hence
    the true gap between ``max(0, max_pairs(d - c se))`` and ``max_pairs(d + c se)``. Coverage is at least the
    level, more when many subgroups compete. Equal subgroups give a lower limit of 0.

    Assumed: patients are independent, sizes of subgroups are fixed, and the smallest one is large enough for
    its mean to be about normal (strong skewness in a subgroup of 20 costs a few points of coverage).

    Parameters
    ----------
    x : (n,) one value a patient: an outcome under one regimen, or its paired difference of two
    group : (n,) subgroup of each patient
    smallest : patients that a subgroup needs to count, >= 2; smaller ones are named in the result
    seed : of the resampling
    level : coverage of the interval
    resamples : number of resamples

    Returns
    -------
    GroupGap
        Without limits, and with the reason, when fewer than two subgroups are large enough or one has no
        spread at all.

    Raises
    ------
    ValueError
        For unequal lengths, a missing value or subgroup, naming the patient, a smallest size below 2, or
        fewer than one resample.
    """
    upper_tail(level)
    if resamples < 1:
        raise ValueError(f"resamples = {resamples}; expected at least 1, e.g. 2000")
    values = one_per_patient("x", x)
    rows, left_out = _rows(len(values), group, smallest)
    means = {name: mean_interval(values[at], level) for name, at in rows.items()}
    highest = max(means, key=lambda name: means[name].mean, default="")
    lowest = min(means, key=lambda name: means[name].mean, default="")
    gap = means[highest].mean - means[lowest].mean if means else math.nan
    reason = _why_not(means, smallest)
    if reason:
        return GroupGap(gap, math.nan, math.nan, highest, lowest, means, left_out, level, reason)
    rng = np.random.default_rng(seed)
    drawn = [_resampled(values[at], resamples, rng) for at in rows.values()]
    deviation, spread = np.array([d for d, _ in drawn]), np.array([s for _, s in drawn])
    i, j = np.triu_indices(len(means), 1)
    with np.errstate(divide="ignore", invalid="ignore"):  # two resamples without spread
        studentised = np.abs(deviation[i] - deviation[j]) / np.hypot(spread[i], spread[j])
    largest = np.nan_to_num(studentised, nan=0.0, posinf=np.inf).max(axis=0)
    c = float(np.quantile(largest, level, method="higher"))
    mean = np.array([m.mean for m in means.values()])
    error = np.array([m.standard_error for m in means.values()])
    distance, half = np.abs(mean[i] - mean[j]), c * np.hypot(error[i], error[j])
    low, high = max(0.0, float((distance - half).max())), float((distance + half).max())
    return GroupGap(gap, low, high, highest, lowest, means, left_out, level, "")


def _rows(
    n: int, group: npt.ArrayLike, smallest: int
) -> tuple[dict[str, npt.NDArray[np.int64]], dict[str, int]]:
    """Return the patients of each subgroup that is large enough, and the sizes of the others."""
    labels = np.asarray(group)
    if labels.shape != (n,):
        raise ValueError(f"group has shape {labels.shape}; expected ({n},), one subgroup a patient")
    if smallest < 2:
        raise ValueError(f"smallest = {smallest}; expected at least 2 patients a subgroup")
    for patient, label in enumerate(labels):
        if label is None or label != label:
            raise ValueError(
                f"group[{patient}] is missing (patient {patient}); expected a subgroup, "
                "e.g. 'not recorded', or leave the patient out"
            )
    names = labels.astype(str)
    every = {str(name): np.flatnonzero(names == name) for name in np.unique(names)}
    kept = {name: at for name, at in every.items() if len(at) >= smallest}
    return kept, {name: len(at) for name, at in every.items() if name not in kept}


def _why_not(found: Mapping[str, Interval], smallest: int) -> str:
    if len(found) < 2:
        return f"{len(found) or 'no'} subgroup of at least {smallest} patients; two are needed"
    flat = [name for name, interval in found.items() if interval.standard_error == 0.0]
    return f"all patients of subgroup {flat[0]!r} have the same value, its spread is unknown" if flat else ""


def _resampled(values: FloatArray, resamples: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Return (resamples,) deviations of the mean from that of the sample, and standard errors."""
    n = len(values)
    deviation, spread = np.empty(resamples), np.empty(resamples)
    rows = max(1, BOOTSTRAP_BLOCK // n)
    for first in range(0, resamples, rows):
        block = slice(first, min(first + rows, resamples))
        drawn = values[rng.integers(n, size=(block.stop - first, n))]
        deviation[block] = drawn.mean(axis=1) - values.mean()
        spread[block] = drawn.std(axis=1, ddof=1)
    return deviation, spread / math.sqrt(n)
