"""An estimate with its interval, and the quantiles that intervals are made of."""

import math
from dataclasses import dataclass

from scipy import stats


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
    """A difference, first arm minus second; fields as `Interval`.

    Over the same patients, ``n`` counts them once; of separate groups, it counts the patients of both.

    Attributes
    ----------
    degrees_of_freedom : of the Student t quantile behind the limits; infinite where it is a normal quantile
    """

    degrees_of_freedom: float = math.inf


@dataclass(frozen=True)
class Ratio:
    """A ratio, first arm over second, with its interval.

    Attributes
    ----------
    ratio : the estimate; infinite when only the second arm has no event, NaN when neither has one
    low, high : limits, 0 and infinity where the data set none
    level : coverage aimed at
    """

    ratio: float
    low: float
    high: float
    level: float

    def __str__(self) -> str:
        return f"{self.ratio:.4g} ({100 * self.level:g} % interval {self.low:.4g} to {self.high:.4g})"


def student_half_width(standard_error: float, df: float, level: float) -> float:
    """Half the width of a Student t interval, ``t_{(1 + level)/2, df} * standard_error``.

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1.
    """
    return student_quantile(df, level) * standard_error


def student_quantile(df: float, level: float) -> float:
    """Return ``t_{(1 + level)/2, df}``; infinite degrees of freedom give the normal quantile."""
    return float(stats.t.ppf(upper_tail(level), df))


def normal_quantile(level: float) -> float:
    """Return ``z_{(1 + level)/2}``, 1.96 for 0.95."""
    return float(stats.norm.ppf(upper_tail(level)))


def upper_tail(level: float) -> float:
    """Return the probability below the upper limit of a two-sided interval, ``(1 + level)/2``.

    Raises
    ------
    ValueError
        When ``level`` is not between 0 and 1.
    """
    if not 0.0 < level < 1.0:
        raise ValueError(f"level = {level}; expected a coverage between 0 and 1, e.g. 0.95")
    return 0.5 + level / 2.0
