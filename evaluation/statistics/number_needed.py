"""Number needed to treat: how many patients must change regimen for one event less, or one more."""

import math
from dataclasses import dataclass
from typing import Literal

from dosewright.evaluation.statistics.interval import Difference

NumberNeededKind = Literal["benefit", "harm", "crosses infinity"]


@dataclass(frozen=True)
class NumberNeeded:
    """A number needed to treat for one patient to benefit (NNTB) or to be harmed (NNTH).

    Signed as the difference of proportions that it is the inverse of, first arm minus second: where the
    event is a harm, a negative number is a benefit of the first arm.

    Attributes
    ----------
    number : ``1 / difference``, patients; infinite when the difference is 0
    limits : ``(1 / low, 1 / high)`` of the difference
    kind : ``"benefit"`` or ``"harm"`` of the first arm when the interval of the difference excludes 0. Else
        ``"crosses infinity"``: the interval runs from the benefit limit through infinity to the harm limit,
        and the numbers *between* the two limits are the ones that the data exclude
    higher_is_better : whether the event is a good one
    level : coverage of the interval
    """

    number: float
    limits: tuple[float, float]
    kind: NumberNeededKind
    higher_is_better: bool
    level: float

    def __str__(self) -> str:
        if self.kind == "crosses infinity":
            benefit, harm = sorted(self.limits, key=lambda limit: not self._benefits(limit))
            limits = f"{self._named(benefit)} to ∞ to {self._named(harm)}"
        else:
            near, far = sorted(self.limits, key=abs)
            limits = f"{self._named(near)} to {self._named(far)}"
        middle = "number needed ∞" if math.isinf(self.number) else self._named(self.number)
        return f"{middle} ({100 * self.level:g} % interval {limits})"

    def _benefits(self, number: float) -> bool:
        return (number > 0.0) == self.higher_is_better

    def _named(self, number: float) -> str:
        size = "∞" if math.isinf(number) else f"{abs(number):.1f}"
        return f"{'NNTB' if self._benefits(number) else 'NNTH'} {size}"


def number_needed(difference: Difference, higher_is_better: bool = False) -> NumberNeeded:
    """Number needed to treat from a difference of proportions, as Altman (1998), BMJ 317:1309-1312.

    The limits are the inverses of the limits of the difference. When those lie on both sides of 0, the
    number needed does not lie between them: a treatment without effect has an infinite one, so the interval
    runs from the benefit limit up to infinity and back down to the harm limit.

    Parameters
    ----------
    difference : of two proportions, first arm minus second
    higher_is_better : False when the event is a harm (a negative difference is a benefit)

    Raises
    ------
    ValueError
        For a difference outside [-1, 1]: it is not one of proportions.

    Examples
    --------
    >>> print(number_needed(Difference(-0.06, -0.11, 0.02, 0.03, 200, 0.95)))
    NNTB 16.7 (95 % interval NNTB 9.1 to ∞ to NNTH 50.0)
    """
    if not -1.0 <= difference.mean <= 1.0:
        raise ValueError(f"difference {difference.mean}; expected a difference of proportions, from -1 to 1")
    low, high = difference.low, difference.high
    number = 1.0 / difference.mean if difference.mean else math.inf
    limits = (1.0 / low if low else math.inf, 1.0 / high if high else -math.inf)
    kind: NumberNeededKind = "crosses infinity"
    if low > 0.0 or high < 0.0:
        kind = "benefit" if (low > 0.0) == higher_is_better else "harm"
    return NumberNeeded(number, limits, kind, higher_is_better, difference.level)
