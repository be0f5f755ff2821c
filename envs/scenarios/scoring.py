"""How a course is scored: bands of a latent response, alone or combined, and the event that a trial counts.

A score is a number from 0 to 1 for every patient and unit (a day, a cycle, a quarter of a minute).
Benefit and harm of a course are its averages over the units that count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Responses = Mapping[str, Floats]


class Score(Protocol):
    """Something that says how good, or how bad, a unit was."""

    @property
    def label(self) -> str:
        """Words for a reader."""
        ...

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """Return (n, u) scores.

        Parameters
        ----------
        responses : name -> (n, u) latent responses, the dosed-to one first; NaN where not followed
        unit : (n, u) or (u,) number of the unit
        """
        ...

    def band(self, unit: int) -> Band | None:
        """Return the band of the first response that counts in a unit, for a figure; None where it is
        none."""
        ...


@dataclass(frozen=True)
class Band:
    """A range of a response. `above` and `below` are strict, `at_least` and `at_most` are not.

    Attributes
    ----------
    response
        Name of the response; empty: the one that is dosed to.
    since, until
        Units in which it counts, `until` not included.
    """

    label: str
    at_least: float = -np.inf
    at_most: float = np.inf
    above: float = -np.inf
    below: float = np.inf
    response: str = ""
    since: int = 0
    until: float = np.inf

    def contains(self, response: Floats) -> NDArray[np.bool_]:
        """Whether each value lies in the band; a missing value does not."""
        return (
            (response >= self.at_least)
            & (response <= self.at_most)
            & (response > self.above)
            & (response < self.below)
        )

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """1 where the response lies in the band and the unit counts."""
        values = responses[self.response] if self.response else next(iter(responses.values()))
        return (self.contains(values) & (unit >= self.since) & (unit < self.until)).astype(np.float64)

    def band(self, unit: int) -> Band | None:
        """This band, in the units in which it counts, if it is one of the dosed-to response."""
        return self if self.since <= unit < self.until and not self.response else None


@dataclass(frozen=True)
class AllOf:
    """1 where every part is: the smallest of the scores."""

    label: str
    parts: tuple[Score, ...]

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """The smallest score."""
        return np.minimum.reduce([part.of(responses, unit) for part in self.parts])

    def band(self, unit: int) -> Band | None:
        """The first part's."""
        return next((band for part in self.parts if (band := part.band(unit))), None)


@dataclass(frozen=True)
class AnyOf:
    """1 where some part is: the largest of the scores. A target that changes over time is one."""

    label: str
    parts: tuple[Score, ...]

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """The largest score."""
        return np.maximum.reduce([part.of(responses, unit) for part in self.parts])

    def band(self, unit: int) -> Band | None:
        """The part's that counts now."""
        return next((band for part in self.parts if (band := part.band(unit))), None)


@dataclass(frozen=True)
class Weighted:
    """A weighted mean of parts: harms of several grades as one number from 0 to 1."""

    label: str
    parts: tuple[tuple[float, Score], ...]

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """The mean."""
        total = sum(weight for weight, _ in self.parts)
        return np.asarray(sum(weight / total * part.of(responses, unit) for weight, part in self.parts))

    def band(self, unit: int) -> Band | None:
        """The first part's."""
        return next((band for _, part in self.parts if (band := part.band(unit))), None)


@dataclass(frozen=True)
class Ramp:
    """1 inside a band, falling linearly to 0 at `share` below and above its limits."""

    inside: Band
    share: float

    @property
    def label(self) -> str:
        """The band's, with the slopes."""
        return f"{self.inside.label}, falling to 0 at ±{self.share:.0%} of its limits"

    def of(self, responses: Responses, unit: NDArray[np.int64]) -> Floats:
        """The height of the ramp."""
        band = self.inside
        values = responses[band.response] if band.response else next(iter(responses.values()))
        low, high = band.at_least, band.at_most
        below, above = (low - values) / (self.share * low), (values - high) / (self.share * high)
        height = np.clip(1.0 - np.maximum(np.maximum(below, above), 0.0), 0.0, 1.0)
        counts = (unit >= band.since) & (unit < band.until) & ~np.isnan(values)
        return np.where(counts, height, 0.0)

    def band(self, unit: int) -> Band | None:
        """The band inside."""
        return self.inside.band(unit)


@dataclass(frozen=True)
class Event:
    """What happens to a patient or does not, over a course; a trial compares how many it happens to.

    Attributes
    ----------
    label
        Words for a reader, after "patients": "ever above INR 4".
    score
        Counted where it is above 0.
    more_than
        It happens where more units than this count.
    as_share
        Whether `more_than` is a share of the units followed.
    """

    label: str
    score: Score
    more_than: float = 0.0
    as_share: bool = False

    def first(self, responses: Responses, followed: NDArray[np.bool_]) -> Floats:
        """Return (n,) the unit, counted from 1, in which it happened; NaN where it did not.

        That is the unit that made more count than may. Where the limit is a share of the units followed, it
        is known only once follow-up is over: the time is then that at which the patient's own limit was
        passed, looking back.

        Parameters
        ----------
        responses : name -> (n, u)
        followed : (n, u) units that were followed
        """
        counted = (self.score.of(responses, np.arange(followed.shape[1])) > 0) & followed
        limit = self.more_than * followed.sum(axis=1, keepdims=True) if self.as_share else self.more_than
        passed = np.cumsum(counted, axis=1) > limit
        return np.where(passed.any(axis=1), passed.argmax(axis=1) + 1.0, np.nan)

    def limit(self, units: int) -> int:
        """Return how many units must count, of so many, for it to happen."""
        return math.floor(self.more_than * units if self.as_share else self.more_than) + 1

    def happened(self, responses: Responses, followed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return (n,) whether it happened; parameters as in `first`."""
        return ~np.isnan(self.first(responses, followed))
