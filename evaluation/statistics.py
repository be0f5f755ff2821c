"""Statistics of a paired virtual trial: the same patients under two regimens.

Pairing is what virtual patients offer and real ones do not: both arms share genotype, noise and missed doses,
so the interval of the difference is that of the per-patient differences, often half as wide as that of two
separate groups.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import BoolArray, FloatArray


@dataclass(frozen=True)
class Interval:
    """A mean, proportion or probability with its interval.

    Attributes
    ----------
    mean : the estimate, unit of the data
    low, high : limits of the interval, same unit
    standard_error : same unit
    n : number of patients
    level : coverage aimed at
    """

    mean: float
    low: float
    high: float
    standard_error: float
    n: int
    level: float

    def __str__(self) -> str:
        limits = f"{100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g}"
        return f"{self.mean:.4g} ({limits}, n = {self.n})"


@dataclass(frozen=True)
class Difference(Interval):
    """A mean difference, first arm minus second, over the same patients; fields as `Interval`."""


def student_half_width(standard_error: float, df: float, level: float) -> float:
    """Half the width of a Student t interval, ``t_{(1 + level)/2, df} * standard_error``.

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1.
    """
    return float(stats.t.ppf(_upper_tail(level), df)) * standard_error


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
    values = _one_per_patient("x", x)
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
    first, second = _pairs(a, b)
    return Difference(*_student(first - second, level))


def proportion_interval(events: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Proportion of patients with an event, with Wilson's (1927) score interval.

    ``(p + z^2/2n +- z sqrt(p (1 - p)/n + z^2/4n^2)) / (1 + z^2/n)``. Unlike the Wald interval it stays inside
    [0, 1] and does not shrink to nothing when no patient had the event. ``standard_error`` is
    ``sqrt(p (1 - p)/n)``, which does.

    Parameters
    ----------
    events : (n,) bool or 0/1, one a patient
    level : coverage of the interval

    Raises
    ------
    ValueError
        For fewer than two patients or a value other than 0 and 1, naming the patient.
    """
    flags = _flags("events", events)
    n, p = len(flags), float(flags.mean())
    low, high = _wilson(p, n, _z(level))
    return Interval(p, low, high, math.sqrt(p * (1.0 - p) / n), n, level)


def paired_proportion_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference of two proportions of the same patients, Newcombe's square-and-add interval.

    With Wilson limits ``(l, u)`` of each proportion and ``phi`` their correlation over patients,

    ``low = d - sqrt((p1 - l1)^2 - 2 phi (p1 - l1)(u2 - p2) + (u2 - p2)^2)`` and
    ``high = d + sqrt((p2 - l2)^2 - 2 phi (p2 - l2)(u1 - p1) + (u1 - p1)^2)``,

    method 10 of Newcombe (1998), Stat Med 17:2635-2650, with its continuity correction of ``phi``. Chosen
    over the paired Wald interval because adverse reactions are rare: with no discordant patient, Wald's
    interval is the single point 0 and would call any harm non-inferior. ``standard_error`` is Wald's,
    ``sqrt(n10 + n01 - (n10 - n01)^2 / n) / n``, from which the Wald limits follow as ``mean +- z se``.

    Parameters
    ----------
    a, b : (n,) bool or 0/1, the event of the same patients, in the same order, under the two regimens
    level : coverage of the interval

    Raises
    ------
    ValueError
        For unequal lengths, fewer than two patients, or a value other than 0 and 1, naming the patient.
    """
    first, second = _flags("a", a), _flags("b", b)
    _check_same_length(first, second)
    return _square_and_add(first, second, level)


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
    first, second = _pairs(a, b)
    net = _square_and_add(first > second, first < second, level)
    low, high = (1.0 + net.low) / 2.0, (1.0 + net.high) / 2.0
    return Interval((1.0 + net.mean) / 2.0, low, high, net.standard_error / 2.0, net.n, level)


def _student(values: FloatArray, level: float) -> tuple[float, float, float, float, int, float]:
    n, mean = len(values), float(values.mean())
    standard_error = float(values.std(ddof=1)) / math.sqrt(n)
    half = student_half_width(standard_error, n - 1.0, level)
    return mean, mean - half, mean + half, standard_error, n, level


def _square_and_add(first: BoolArray, second: BoolArray, level: float) -> Difference:
    n, z = len(first), _z(level)
    p1, p2 = float(first.mean()), float(second.mean())
    l1, u1 = _wilson(p1, n, z)
    l2, u2 = _wilson(p2, n, z)
    phi = _corrected_phi(first, second)
    d = p1 - p2
    below = (p1 - l1) ** 2 - 2.0 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (p2 - l2) ** 2 - 2.0 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    wald = math.sqrt(only_first + only_second - (only_first - only_second) ** 2 / n) / n
    return Difference(d, d - math.sqrt(max(below, 0.0)), d + math.sqrt(max(above, 0.0)), wald, n, level)


def _corrected_phi(first: BoolArray, second: BoolArray) -> float:
    """Correlation of the two flags; a positive one is shrunk by n/2 in the cross product (Newcombe 1998)."""
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    margins = int(first.sum()) * int((~first).sum()) * int(second.sum()) * int((~second).sum())
    if margins == 0:
        return 0.0
    cross = both * neither - only_first * only_second
    corrected = max(cross - n / 2.0, 0.0) if cross > 0 else float(cross)
    return corrected / math.sqrt(margins)


def _wilson(p: float, n: int, z: float) -> tuple[float, float]:
    centre = p + z**2 / (2.0 * n)
    spread = z * math.sqrt(p * (1.0 - p) / n + z**2 / (4.0 * n**2))
    scale = 1.0 + z**2 / n
    # Rounding must not move a limit past the proportion it belongs to (p = 0 and p = 1).
    return min((centre - spread) / scale, p), max((centre + spread) / scale, p)


def _upper_tail(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level = {level}; expected a coverage between 0 and 1, e.g. 0.95")
    return 0.5 + level / 2.0


def _z(level: float) -> float:
    return float(stats.norm.ppf(_upper_tail(level)))


def _one_per_patient(name: str, x: npt.ArrayLike) -> FloatArray:
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name} has shape {values.shape}; expected (n,) with n >= 2, one value a patient")
    bad = ~np.isfinite(values)
    if bad.any():
        patient = int(np.argmax(bad))
        raise ValueError(
            f"{name}[{patient}] = {values[patient]} (patient {patient}); expected a finite number: "
            "leave the patient out of both arms and report it, or give the value"
        )
    return values


def _pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = _one_per_patient("a", a), _one_per_patient("b", b)
    _check_same_length(first, second)
    return first, second


def _check_same_length(first: npt.NDArray[np.generic], second: npt.NDArray[np.generic]) -> None:
    if len(first) != len(second):
        raise ValueError(
            f"a has {len(first)} patients and b {len(second)}; expected the same patients, in the same order"
        )


def _flags(name: str, events: npt.ArrayLike) -> BoolArray:
    values = _one_per_patient(name, events)
    bad = (values != 0.0) & (values != 1.0)
    if bad.any():
        patient = int(np.argmax(bad))
        raise ValueError(
            f"{name}[{patient}] = {values[patient]} (patient {patient}); expected 0 or 1, event or no event"
        )
    return values == 1.0
