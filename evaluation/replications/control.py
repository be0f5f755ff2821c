"""How well participants were anticoagulated: time in range between measured INRs, high INRs, first times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from dosewright.envs.scenarios import Band
from dosewright.envs.scenarios.warfarin import IN_RANGE
from dosewright.evaluation.outcomes import rosendaal
from dosewright.evaluation.replications.course import Course

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

BELOW_2 = Band("INR below 2", below=2.0)
AT_LEAST_4 = Band("INR 4 or more", at_least=4.0)


@dataclass(frozen=True, eq=False)
class Control:
    """n participants under one arm.

    Attributes
    ----------
    in_range, below_2, at_least_4 : (n,) per cent of the time of the window, the measured INR moving in a
        straight line between results (Rosendaal 1993); NaN for fewer than two results in the window
    ever_at_least_4 : (n,) bool, whether any INR after the first dose was 4 or more
    therapeutic : (n,) study day of the first INR in range after the first dose; NaN where there is none
    confirmed : (n,) study day of the second of two results in a row in range; NaN where there is none
    last : (n,) study day of the last result
    """

    in_range: Floats
    below_2: Floats
    at_least_4: Floats
    ever_at_least_4: Bools
    therapeutic: Floats
    confirmed: Floats
    last: Floats

    def __len__(self) -> int:
        return len(self.in_range)


def control(course: Course, from_day: int) -> Control:
    """Return what a course comes to.

    Parameters
    ----------
    course
        Under one arm.
    from_day
        First day, counted from 0, of the window of the shares of time; it ends with the last result.
    """
    measured, days = course.measured, np.arange(course.measured.shape[1])
    known = ~np.isnan(measured)
    after = known & (days > 0)
    inside = after & IN_RANGE.contains(measured)
    return Control(
        in_range=100 * rosendaal(IN_RANGE, measured, days, from_day),
        below_2=100 * rosendaal(BELOW_2, measured, days, from_day),
        at_least_4=100 * rosendaal(AT_LEAST_4, measured, days, from_day),
        ever_at_least_4=np.any(after & AT_LEAST_4.contains(measured), axis=1),
        therapeutic=_first_study_day(inside),
        confirmed=_first_study_day(inside & _previous_result(inside, after)),
        last=np.where(known, days + 1.0, 0.0).max(axis=1),
    )


def joined(parts: Sequence[Control]) -> Control:
    """Return the participants of several blocks as one, in their order."""
    names = [field.name for field in fields(Control)]
    return Control(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def median_day(event: Floats, last: Floats) -> float | None:
    """Return the median study day of an event after Kaplan and Meier; None where less than half have it.

    Parameters
    ----------
    event : (n,) study day; NaN: not until `last`
    last : (n,) study day until which it was looked for
    """
    without = np.isnan(event)
    sample = stats.CensoredData.right_censored(np.where(without, last, event), without)
    staying = stats.ecdf(sample).sf
    reached = staying.quantiles[staying.probabilities <= 0.5]
    return float(reached[0]) if len(reached) else None


def _first_study_day(here: Bools) -> Floats:
    """Return (n,) the first study day, counted from 1, that is marked in `here` (n, d + 1)."""
    return np.where(here.any(axis=1), here.argmax(axis=1) + 1.0, np.nan)


def _previous_result(inside: Bools, known: Bools) -> Bools:
    """Return (n, d + 1) whether the result before each day was inside."""
    days = np.arange(known.shape[1])
    newest = np.maximum.accumulate(np.where(known, days, -1), axis=1)
    before = np.pad(newest, ((0, 0), (1, 0)), constant_values=-1)[:, :-1]
    rows = np.arange(len(known))[:, None]
    return (before >= 0) & inside[rows, np.maximum(before, 0)]
