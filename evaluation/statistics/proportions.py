"""Proportions of patients with an event: in one arm, in the same patients twice, in two separate groups.

Differences are first arm minus second, ratios first over second: with the new regimen first and a harm as
the event, a negative difference and a ratio below 1 favour the new regimen.
"""

import math

import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import BoolArray
from dosewright.evaluation.statistics.interval import Difference, Interval, Ratio, normal_quantile, upper_tail
from dosewright.evaluation.statistics.per_patient import flag_pairs, flags


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
    happened = flags("events", events)
    n, p = len(happened), float(happened.mean())
    low, high = wilson(p, n, normal_quantile(level))
    return Interval(p, low, high, math.sqrt(p * (1.0 - p) / n), n, level)


def exact_proportion_interval(events: npt.ArrayLike, level: float = 0.95) -> Interval:
    """Proportion of patients with an event, with the exact interval of Clopper and Pearson (1934).

    Covers at least at its level whatever the true proportion; wider than Wilson's for that. Parameters,
    ``standard_error`` and errors as in `proportion_interval`.
    """
    happened = flags("events", events)
    n, p = len(happened), float(happened.mean())
    upper_tail(level)
    limits = stats.binomtest(int(happened.sum()), n).proportion_ci(level, method="exact")
    return Interval(p, float(limits.low), float(limits.high), math.sqrt(p * (1.0 - p) / n), n, level)


def paired_proportion_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference of two proportions of the same patients, Newcombe's square-and-add interval.

    With Wilson limits ``(l, u)`` of each proportion and ``phi`` their correlation over patients,

    ``low = d - sqrt((p1 - l1)^2 - 2 phi (p1 - l1)(u2 - p2) + (u2 - p2)^2)`` and
    ``high = d + sqrt((p2 - l2)^2 - 2 phi (p2 - l2)(u1 - p1) + (u1 - p1)^2)``,

    method 10 of Newcombe (1998), Stat Med 17:2635-2650, with its continuity correction of ``phi``. Chosen
    over the paired Wald interval because adverse reactions are rare: with no discordant patient, Wald's
    interval is the single point 0 and would call any harm non-inferior. ``standard_error`` is Wald's, see
    `paired_wald_difference`.

    Parameters
    ----------
    a, b : (n,) bool or 0/1, the event of the same patients, in the same order, under the two regimens
    level : coverage of the interval

    Raises
    ------
    ValueError
        For unequal lengths, fewer than two patients, or a value other than 0 and 1, naming the patient.
    """
    return paired_square_and_add(*flag_pairs(a, b), level)


def paired_wald_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference of two proportions of the same patients, Wald's interval ``d +- z se``.

    ``se = sqrt(n10 + n01 - (n10 - n01)^2 / n) / n`` with ``n10`` and ``n01`` the patients with the event in
    the first and in the second arm only. For comparison with publications; `paired_proportion_difference`
    is the one to use. Parameters and errors as there.
    """
    first, second = flag_pairs(a, b)
    d, n = float(first.mean() - second.mean()), len(first)
    standard_error = _paired_standard_error(first, second)
    half = normal_quantile(level) * standard_error
    return Difference(d, d - half, d + half, standard_error, n, level)


def unpaired_proportion_difference(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Difference:
    """Difference of the proportions of two separate groups, Newcombe's square-and-add interval.

    Method 10 of Newcombe (1998), Stat Med 17:873-890, without continuity correction: the limits of
    `paired_proportion_difference` with ``phi = 0``. ``standard_error`` is Wald's.

    Parameters
    ----------
    a, b : (n_a,) and (n_b,) bool or 0/1, one a patient
    level : coverage of the interval

    Returns
    -------
    Difference
        ``n`` is ``n_a + n_b``.

    Raises
    ------
    ValueError
        For fewer than two patients in a group, or a value other than 0 and 1, naming the patient.
    """
    first, second = flags("a", a), flags("b", b)
    p1, p2 = float(first.mean()), float(second.mean())
    low, high = _square_and_add(p1, len(first), p2, len(second), 0.0, normal_quantile(level))
    standard_error = math.sqrt(p1 * (1.0 - p1) / len(first) + p2 * (1.0 - p2) / len(second))
    return Difference(p1 - p2, low, high, standard_error, len(first) + len(second), level)


def risk_ratio(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Ratio:
    """Ratio of the proportions of two separate groups, with Katz's interval on the log scale.

    ``exp(log RR +- z sqrt(1/x_a - 1/n_a + 1/x_b - 1/n_b))``, x the patients with the event (Katz et al. 1978,
    Biometrics 34:469-474). On paired patients whose events go together it is wider than need be:
    `paired_risk_ratio`.

    Without an event in one arm the log ratio has no standard error. Half an event is not added: the ratio is
    0 (none in ``a``), infinite (none in ``b``) or NaN (none at all) and the limits are 0 and infinity; read
    the difference instead, whose interval stays informative.

    Parameters
    ----------
    a, b : (n_a,) and (n_b,) bool or 0/1, one a patient
    level : coverage of the interval

    Raises
    ------
    ValueError
        For fewer than two patients in a group, or a value other than 0 and 1, naming the patient.
    """
    first, second = flags("a", a), flags("b", b)
    z, p1, p2 = normal_quantile(level), float(first.mean()), float(second.mean())
    if p1 == 0.0 or p2 == 0.0:
        ratio = 0.0 if p2 > 0.0 else math.inf if p1 > 0.0 else math.nan
        return Ratio(ratio, 0.0, math.inf, level)
    variance = sum(1.0 / int(x.sum()) - 1.0 / len(x) for x in (first, second))
    factor = math.exp(z * math.sqrt(variance))
    return Ratio(p1 / p2, p1 / p2 / factor, p1 / p2 * factor, level)


def paired_risk_ratio(a: npt.ArrayLike, b: npt.ArrayLike, level: float = 0.95) -> Ratio:
    """Ratio of two proportions of the same patients, Bonett and Price's hybrid Wilson interval.

    Among the m patients with the event in at least one arm, Wilson limits of the two shares, at a quantile
    reduced for their correlation, are divided: ``low = l_a / u_b``, ``high = u_a / l_b``. The quantile is
    ``z sqrt((n10 + n01 + 2)/((x_a + 1)(x_b + 1))) / (s_a + s_b)`` with
    ``s = sqrt((1 - (x + 1)/(m + 2))/(x + 1))``, x the patients with the event in an arm, ``n10`` and ``n01``
    those with it in one arm only (Bonett and Price 2006, Stat Med 25:3039-3047; recommended by Fagerland,
    Lydersen and Laake 2014, Stat Med 33:2850-2875). It keeps its width when every event happens in both arms
    and one finite limit when an arm has none; without any event the ratio is NaN, the limits 0 and infinity.

    Parameters
    ----------
    a, b : (n,) bool or 0/1, the event of the same patients, in the same order, under the two regimens
    level : coverage of the interval

    Raises
    ------
    ValueError
        As `paired_proportion_difference`.
    """
    first, second = flag_pairs(a, b)
    z, m = normal_quantile(level), int((first | second).sum())
    if m == 0:
        return Ratio(math.nan, 0.0, math.inf, level)
    x_a, x_b, discordant = int(first.sum()), int(second.sum()), int((first != second).sum())
    spread = sum(math.sqrt((1.0 - (x + 1) / (m + 2)) / (x + 1)) for x in (x_a, x_b))
    z *= math.sqrt((discordant + 2) / ((x_a + 1) * (x_b + 1))) / spread
    low_a, high_a = wilson(x_a / m, m, z)
    low_b, high_b = wilson(x_b / m, m, z)
    return Ratio(
        x_a / x_b if x_b else math.inf,
        low_a / high_b if x_a else 0.0,
        high_a / low_b if x_b else math.inf,
        level,
    )


def mcnemar_exact(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Two-sided exact p of McNemar's (1947) test that the same patients have the event equally often.

    Only patients with the event in one arm alone say anything: each is as likely to have had it in the
    first arm as in the second, a binomial test with 1/2. 1 when there is no such patient.

    Parameters
    ----------
    a, b : (n,) bool or 0/1, the event of the same patients, in the same order, under the two regimens

    Raises
    ------
    ValueError
        As `paired_proportion_difference`.
    """
    first, second = flag_pairs(a, b)
    discordant = int((first != second).sum())
    return float(stats.binomtest(int((first & ~second).sum()), discordant).pvalue) if discordant else 1.0


def paired_square_and_add(first: BoolArray, second: BoolArray, level: float) -> Difference:
    """Return what `paired_proportion_difference` says, from flags (n,) that are already checked."""
    n, p1, p2 = len(first), float(first.mean()), float(second.mean())
    low, high = _square_and_add(p1, n, p2, n, _corrected_phi(first, second), normal_quantile(level))
    return Difference(p1 - p2, low, high, _paired_standard_error(first, second), n, level)


def wilson(p: float, n: int, z: float) -> tuple[float, float]:
    """Return Wilson's limits of a proportion ``p`` of ``n``."""
    centre = p + z**2 / (2.0 * n)
    spread = z * math.sqrt(p * (1.0 - p) / n + z**2 / (4.0 * n**2))
    scale = 1.0 + z**2 / n
    # Rounding must not move a limit past the proportion it belongs to (p = 0 and p = 1).
    return min((centre - spread) / scale, p), max((centre + spread) / scale, p)


def _square_and_add(p1: float, n1: int, p2: float, n2: int, phi: float, z: float) -> tuple[float, float]:
    l1, u1 = wilson(p1, n1, z)
    l2, u2 = wilson(p2, n2, z)
    below = (p1 - l1) ** 2 - 2.0 * phi * (p1 - l1) * (u2 - p2) + (u2 - p2) ** 2
    above = (p2 - l2) ** 2 - 2.0 * phi * (p2 - l2) * (u1 - p1) + (u1 - p1) ** 2
    d = p1 - p2
    return d - math.sqrt(max(below, 0.0)), d + math.sqrt(max(above, 0.0))


def _paired_standard_error(first: BoolArray, second: BoolArray) -> float:
    n = len(first)
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return math.sqrt(only_first + only_second - (only_first - only_second) ** 2 / n) / n


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
