"""Two arms of a trial on the same participants, in numbers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dosewright.evaluation.replications.control import Control, median_day
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
)

Bools = NDArray[np.bool_]
AnyInterval = TypeVar("AnyInterval", bound=Interval)

SHARES = ("in_range", "below_2", "at_least_4")
LEVEL = 0.95
_MEANS = (*SHARES, "ever_at_least_4")


@dataclass(frozen=True)
class ArmFigures:
    """One arm: shares of time and of participants in per cent, median study days (None: less than half)."""

    in_range: Interval
    below_2: Interval
    at_least_4: Interval
    ever_at_least_4: Interval
    therapeutic: float | None
    confirmed: float | None


@dataclass(frozen=True)
class Contrast:
    """An arm against another on the same participants.

    Attributes
    ----------
    name, realism
        What is compared, and the realism preset.
    n, left_out
        Participants with a value in both arms, and those without.
    first, second
        Figures of the two arms.
    difference
        First minus second, percentage points: of the shares of time, and of the participants with an INR of 4
        or more.
    """

    name: str
    realism: str
    n: int
    left_out: int
    first: ArmFigures
    second: ArmFigures
    difference: Mapping[str, Difference]


def contrast(name: str, realism: str, first: Control, second: Control, mask: Bools | None = None) -> Contrast:
    """Compare two arms on the same participants.

    Those with fewer than two results in the window in either arm count in neither.

    Parameters
    ----------
    first, second
        The same participants in the same order.
    mask : (n,) participants that count

    Raises
    ------
    ValueError
        For fewer than two participants with a value in both arms.
    """
    here = np.ones(len(first), dtype=bool) if mask is None else mask
    keep = here & np.isfinite(first.in_range) & np.isfinite(second.in_range)
    difference = {
        key: paired_difference(getattr(first, key)[keep], getattr(second, key)[keep]) for key in SHARES
    }
    high = first.ever_at_least_4[keep], second.ever_at_least_4[keep]
    difference["ever_at_least_4"] = scaled(paired_proportion_difference(*high), 100)
    return Contrast(
        name=name,
        realism=realism,
        n=int(keep.sum()),
        left_out=int((here & ~keep).sum()),
        first=_figures(first, keep),
        second=_figures(second, keep),
        difference=difference,
    )


def _figures(arm: Control, keep: Bools) -> ArmFigures:
    last = arm.last[keep]
    return ArmFigures(
        **{key: mean_interval(getattr(arm, key)[keep]) for key in SHARES},
        ever_at_least_4=scaled(proportion_interval(arm.ever_at_least_4[keep]), 100),
        therapeutic=median_day(arm.therapeutic[keep], last),
        confirmed=median_day(arm.confirmed[keep], last),
    )


def scaled(interval: AnyInterval, factor: float) -> AnyInterval:
    """Return an interval in another unit, such as per cent (factor 100) instead of a share."""
    return replace(
        interval,
        mean=factor * interval.mean,
        low=factor * interval.low,
        high=factor * interval.high,
        standard_error=factor * interval.standard_error,
    )


def weighted(parts: Sequence[tuple[float, AnyInterval]]) -> AnyInterval:
    """Return the mean of a whole of which each part makes a stated share; the parts are independent.

    The mean is the weighted sum of the parts' means, its variance that of their squared standard errors times
    the squared shares (Cochran 1977, Sampling Techniques, chapter 5); its 95 % interval is normal.

    Raises
    ------
    ValueError
        For shares that do not add up to 1.
    """
    total = sum(share for share, _ in parts)
    if not math.isclose(total, 1.0, abs_tol=1e-9):
        raise ValueError(f"the shares of the parts add up to {total:g}; expected 1")
    mean = sum(share * interval.mean for share, interval in parts)
    error = math.sqrt(sum((share * interval.standard_error) ** 2 for share, interval in parts))
    half = float(stats.norm.ppf(0.5 + LEVEL / 2)) * error
    n = sum(interval.n for _, interval in parts)
    return type(parts[0][1])(mean, mean - half, mean + half, error, n, LEVEL)


def stratified(name: str, parts: Sequence[tuple[float, Contrast]]) -> Contrast:
    """Return the contrast of a whole of which each part makes a stated share, by `weighted`, without medians.

    Raises
    ------
    ValueError
        As `weighted`.
    """

    def whole(pick: Callable[[Contrast], AnyInterval]) -> AnyInterval:
        return weighted([(share, pick(part)) for share, part in parts])

    def arm(which: Literal["first", "second"]) -> ArmFigures:
        return ArmFigures(
            **{key: whole(lambda part, key=key: getattr(getattr(part, which), key)) for key in _MEANS},
            therapeutic=None,
            confirmed=None,
        )

    keys = list(parts[0][1].difference)
    return Contrast(
        name=name,
        realism=parts[0][1].realism,
        n=sum(part.n for _, part in parts),
        left_out=sum(part.left_out for _, part in parts),
        first=arm("first"),
        second=arm("second"),
        difference={key: whole(lambda part, key=key: part.difference[key]) for key in keys},
    )
