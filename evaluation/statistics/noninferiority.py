"""Is a regimen better, or at least not worse by more than a stated margin?"""

import math
from dataclasses import dataclass
from typing import Literal

from scipy import stats

from dosewright.evaluation.statistics.interval import Difference, student_quantile

Alternative = Literal["two-sided", "greater", "less"]
Verdict = Literal["superior", "non-inferior", "inconclusive", "inferior"]


@dataclass(frozen=True)
class NonInferiority:
    """A difference held against a margin, and what follows.

    Attributes
    ----------
    difference : first arm minus second
    margin : how much worse is still acceptable, >= 0, unit of the difference
    higher_is_better : True for a benefit, False for a harm
    p_noninferior : one-sided p of "worse by the margin or more"
    p_superior : one-sided p of "not better"
    verdict : ``"superior"``, the interval lies on the better side of 0; ``"non-inferior"``, on the better
        side of the margin; ``"inferior"``, on its worse side; else ``"inconclusive"``
    """

    difference: Difference
    margin: float
    higher_is_better: bool
    p_noninferior: float
    p_superior: float
    verdict: Verdict

    def __str__(self) -> str:
        found = self.difference
        aim = "higher" if self.higher_is_better else "lower"
        return (
            f"{self.verdict}: {found.mean:.4g} ({100 * found.level:g} % interval {found.low:.4g} to "
            f"{found.high:.4g}; {aim} is better, margin {self.margin:g}, "
            f"p non-inferior {self.p_noninferior:.2g}, p superior {self.p_superior:.2g})"
        )


def p_value(difference: Difference, null: float = 0.0, alternative: Alternative = "two-sided") -> float:
    """p of a difference against a value, read from its interval, so that the two never disagree.

    The side of the interval that faces the value, divided by the quantile it was made with, is a standard
    error; the p follows from Student's t with the difference's degrees of freedom, or from the normal. For a
    t or Wald interval that is the usual test. For the asymmetrical intervals of proportions and rates it
    is the p that falls below ``1 - level`` exactly when the interval excludes the value (Altman and Bland
    2011, BMJ 343:d2304), and it stays honest when no patient had the event.

    Parameters
    ----------
    difference : first arm minus second
    null : value tested, unit of the difference
    alternative : ``"greater"`` asks whether the difference is above the value, ``"less"`` whether below

    Raises
    ------
    ValueError
        For a difference without limits, or an unknown alternative.
    """
    if alternative not in ("two-sided", "greater", "less"):
        raise ValueError(f"alternative = {alternative!r}; expected 'two-sided', 'greater' or 'less'")
    if math.isnan(difference.low) or math.isnan(difference.high):
        raise ValueError(
            f"difference {difference.mean} has the interval {difference.low} to {difference.high}; "
            "expected limits: without them there is no test"
        )
    distance = difference.mean - null
    above = alternative == "greater" or (alternative == "two-sided" and distance > 0.0)
    side = difference.mean - difference.low if above else difference.high - difference.mean
    df = difference.degrees_of_freedom
    if side <= 0.0:
        statistic = math.copysign(math.inf, distance) if distance else 0.0
    else:
        statistic = distance / side * student_quantile(df, difference.level)
    if alternative == "two-sided":
        return 2.0 * float(stats.t.sf(abs(statistic), df))
    return float(stats.t.sf(statistic if alternative == "greater" else -statistic, df))


def noninferiority(difference: Difference, margin: float, higher_is_better: bool) -> NonInferiority:
    """Judge non-inferiority with a stated margin, then superiority.

    Non-inferior when the interval excludes a loss of the margin: ``low > -margin`` for a benefit,
    ``high < margin`` for a harm. With a 95 % interval that is a one-sided test at 2.5 %. Superiority is
    looked at only after non-inferiority; it is the same interval held against 0, and whoever is superior is
    non-inferior. That is a closed test: both claims stand at the same level, no p is adjusted for the other
    (Morikawa and Yoshida 1995, J Biopharm Stat 5:297-306). Several arms or harms are adjusted by `holm`.

    Parameters
    ----------
    difference : first arm minus second
    margin : fixed before the trial, >= 0, unit of the difference
    higher_is_better : True for a benefit, False for a harm

    Raises
    ------
    ValueError
        For a margin that is negative or missing, or a difference without limits.
    """
    if not 0.0 <= margin < math.inf:
        raise ValueError(f"margin = {margin}; expected how much worse is acceptable, >= 0, whatever the sign")
    better: Alternative = "greater" if higher_is_better else "less"
    sign = 1.0 if higher_is_better else -1.0
    # limits of the gain: positive is better
    worst, best = sorted((sign * difference.low, sign * difference.high))
    verdict: Verdict = "inconclusive"
    if worst > 0.0:
        verdict = "superior"
    elif worst > -margin:
        verdict = "non-inferior"
    elif best < -margin:
        verdict = "inferior"
    return NonInferiority(
        difference=difference,
        margin=margin,
        higher_is_better=higher_is_better,
        p_noninferior=p_value(difference, -sign * margin, better),
        p_superior=p_value(difference, 0.0, better),
        verdict=verdict,
    )
