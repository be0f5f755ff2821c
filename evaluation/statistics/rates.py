"""Event rates per patient-year, and how two of them compare.

A rate counts every event of a patient, a proportion only whether there was one. All intervals here take
events as independent (Poisson). Several events of the same patient rarely are: when many patients have more
than one, the intervals are too narrow, and the paired difference of each patient's own rate
(`paired_difference`, `paired_bootstrap_difference`) is the safer number.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.statistics.interval import Difference, Ratio, normal_quantile, upper_tail
from dosewright.evaluation.statistics.per_patient import one_per_patient, refuse
from dosewright.evaluation.statistics.proportions import wilson


@dataclass(frozen=True)
class Rate:
    """Events per patient-year with their exact Poisson interval.

    Attributes
    ----------
    events : number of events, over all patients
    patient_years : years followed, over all patients
    rate : events per patient-year
    low, high : limits, per patient-year
    n : number of patients
    level : coverage aimed at
    """

    events: int
    patient_years: float
    rate: float
    low: float
    high: float
    n: int
    level: float

    def __str__(self) -> str:
        return (
            f"{self.rate:.4g} per patient-year ({100 * self.level:g} % interval {self.low:.4g} to "
            f"{self.high:.4g}, {self.events} events in {self.patient_years:.4g} patient-years)"
        )


def event_rate(events: npt.ArrayLike, patient_years: npt.ArrayLike, level: float = 0.95) -> Rate:
    """Event rate with exact Poisson limits from chi-square quantiles (Garwood 1936, Biometrika 28:437-442).

    ``low = chi2_{alpha/2, 2x} / 2Y`` and ``high = chi2_{1 - alpha/2, 2x + 2} / 2Y`` for x events in Y years;
    the lower limit of no event is 0.

    Parameters
    ----------
    events : (n,) number of events of each patient
    patient_years : (n,) years that each patient was followed
    level : coverage of the interval

    Raises
    ------
    ValueError
        For unequal lengths, a count that is not a whole number >= 0, negative years, an event of a patient
        who was not followed, or nobody followed.
    """
    counts, years = one_per_patient("events", events), one_per_patient("patient_years", patient_years)
    if len(counts) != len(years):
        raise ValueError(
            f"events has {len(counts)} patients and patient_years {len(years)}; expected the same patients"
        )
    refuse("events", counts, (counts < 0.0) | (counts != np.floor(counts)), "a whole number of events, >= 0")
    refuse("patient_years", years, years < 0.0, "years of follow-up, >= 0")
    refuse("events", counts, (counts > 0.0) & (years == 0.0), "0 events of a patient followed for 0 years")
    total, followed = int(counts.sum()), float(years.sum())
    if followed == 0.0:
        raise ValueError("patient_years are all 0; expected at least one patient who was followed")
    tail = upper_tail(level)
    low = float(stats.chi2.ppf(1.0 - tail, 2 * total)) / 2.0 / followed if total else 0.0
    high = float(stats.chi2.ppf(tail, 2 * total + 2)) / 2.0 / followed
    return Rate(total, followed, total / followed, low, high, len(counts), level)


def rate_ratio(a: Rate, b: Rate) -> Ratio:
    """Ratio of two rates, ``a / b``, with the score interval.

    The ratios that the score test does not reject: given the total number of events, those of ``a`` are
    binomial, and Wilson's limits of that proportion become limits of the ratio (Graham, Mengersen and
    Morton 2003, Stat Med 22:2071-2083). Works with no event in one arm; with none in either, the ratio is
    NaN and the limits are 0 and infinity. The arms count as separate groups: conservative for paired
    patients whose events go together.

    Raises
    ------
    ValueError
        For rates of different levels.
    """
    level, total = _same_level(a, b), a.events + b.events
    if total == 0:
        return Ratio(math.nan, 0.0, math.inf, level)
    z, scale = normal_quantile(level), b.patient_years / a.patient_years
    low, high = 0.0, math.inf
    if a.events:
        share, _ = wilson(a.events / total, total, z)
        low = share / (1.0 - share) * scale
    if b.events:
        share, _ = wilson(b.events / total, total, z)
        high = (1.0 - share) / share * scale
    return Ratio(a.events / b.events * scale if b.events else math.inf, low, high, level)


def rate_difference(a: Rate, b: Rate) -> Difference:
    """Difference of two rates, ``a - b``, per patient-year, with the MOVER interval.

    Square and add of the score limits of each rate, ``(x + z^2/2 +- z sqrt(x + z^2/4)) / Y`` (Zou and Donner
    2008, Stat Med 27:1693-1702): keeps its width when there is no event. ``standard_error`` is
    ``sqrt(x_a/Y_a^2 + x_b/Y_b^2)``, ``n`` counts the patients of both. The arms count as separate groups, as
    in `rate_ratio`.

    Raises
    ------
    ValueError
        For rates of different levels.
    """
    level = _same_level(a, b)
    z = normal_quantile(level)
    (low_a, high_a), (low_b, high_b) = _score_limits(a, z), _score_limits(b, z)
    mean = a.rate - b.rate
    low = mean - math.hypot(a.rate - low_a, high_b - b.rate)
    high = mean + math.hypot(high_a - a.rate, b.rate - low_b)
    standard_error = math.hypot(math.sqrt(a.events) / a.patient_years, math.sqrt(b.events) / b.patient_years)
    return Difference(mean, low, high, standard_error, a.n + b.n, level)


def _score_limits(rate: Rate, z: float) -> tuple[float, float]:
    centre, spread = rate.events + z**2 / 2.0, z * math.sqrt(rate.events + z**2 / 4.0)
    return (centre - spread) / rate.patient_years, (centre + spread) / rate.patient_years


def _same_level(a: Rate, b: Rate) -> float:
    if a.level != b.level:
        raise ValueError(f"level {a.level} of the first rate and {b.level} of the second; expected the same")
    return a.level
