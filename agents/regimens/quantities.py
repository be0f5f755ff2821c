"""What a regimen is asked to do: the doses that are planned, and a number that is read off their course."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import Dose

Floats = NDArray[np.float64]

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)
_PANELS = 7  # of an area after each change of rate, each twice as wide as the one before
_PEAK = 129  # moments of a peak after each change of rate, denser at its beginning


@dataclass(frozen=True)
class Plan:
    """Equal doses to come.

    Attributes
    ----------
    start
        Time of the first, on the clock of the patient's history.
    interval, count
        Time between doses, which a search for it leaves open, and how many there are.
    duration, route
        As in `Dose`.
    steady
        Whether the plan has gone on for ever: times are then those of one cycle, 0 to `interval`, and the
        history no longer matters.
    """

    start: float = 0.0
    interval: float = math.nan
    count: int = 1
    duration: float = 0.0
    route: str | None = None
    steady: bool = False

    def __post_init__(self) -> None:
        if self.count < 1 or self.start < 0 or self.duration < 0:
            raise ValueError(
                f"plan of {self.count} doses from {self.start} over {self.duration}; expected at least one, "
                "times not negative"
            )
        if self.steady and (self.count > 1 or self.start > 0):
            raise ValueError("a plan at steady state is one cycle: leave start and count at 0 and 1")

    def doses(self, amount: float) -> list[Dose]:
        """Return the doses, each of `amount`; repeated ones without an interval are refused."""
        if (self.count > 1 or self.steady) and not self.interval > 0:
            raise ValueError(f"interval = {self.interval} between repeated doses; expected a time above 0")
        step = self.interval if self.count > 1 else 0.0
        return [Dose(self.start + i * step, amount, self.duration, self.route) for i in range(self.count)]


class Quantity(Protocol):
    """A number read off a course."""

    @property
    def output(self) -> str | None:
        """The model's output that is read; None: the one that the draws mean by a level."""
        ...

    def times(self, plan: Plan, breaks: Floats) -> Floats:
        """Return the rising times (m,) of the levels that are needed; rates change at `breaks`."""
        ...

    def value(self, levels: Floats, times: Floats) -> Floats:
        """Return the quantity (k,) of levels (k, m) at `times` (m,)."""
        ...


@dataclass(frozen=True)
class Level:
    """The level at a time; at the time of a dose it is the one before it."""

    time: float
    output: str | None = None

    def times(self, plan: Plan, breaks: Floats) -> Floats:
        """The time."""
        return np.array([self.time])

    def value(self, levels: Floats, times: Floats) -> Floats:
        """The level."""
        return levels[:, 0]


@dataclass(frozen=True)
class Trough:
    """The level `before` the last dose of a plan; at steady state before the next one."""

    before: float = 0.0
    output: str | None = None

    def times(self, plan: Plan, breaks: Floats) -> Floats:
        """The time."""
        last = plan.interval if plan.steady else plan.doses(0.0)[-1].time
        if last < self.before:
            raise ValueError(f"trough {self.before:g} before a dose at {last:g}; expected a time from 0 on")
        return np.array([last - self.before])

    def value(self, levels: Floats, times: Floats) -> Floats:
        """The level."""
        return levels[:, 0]


@dataclass(frozen=True)
class Peak:
    """The highest level between two times, to about a thousandth; exact after a bolus or an infusion."""

    start: float
    end: float
    output: str | None = None

    def times(self, plan: Plan, breaks: Floats) -> Floats:
        """Moments of every piece between changes of rate, its ends and the moment after a bolus included."""
        edges = _pieces(self.start, self.end, breaks)
        square = np.linspace(0.0, 1.0, _PEAK) ** 2
        moments = edges[:-1, None] + np.diff(edges)[:, None] * square
        return np.unique(np.concatenate([moments.ravel(), np.nextafter(edges[:-1], np.inf)]))

    def value(self, levels: Floats, times: Floats) -> Floats:
        """The highest."""
        return levels.max(axis=1)


@dataclass(frozen=True)
class Area:
    """The area under the level between two times (AUC), or with `average` that area over its time.

    Gauss–Legendre panels between changes of rate. With a lag these are not known: name a `total`, an output
    that adds up the area, whose difference is then read.
    """

    start: float
    end: float
    average: bool = False
    total: str | None = None
    level: str | None = None

    @property
    def output(self) -> str | None:
        """The total, or the level."""
        return self.total or self.level

    def _edges(self, breaks: Floats) -> Floats:
        pieces = _pieces(self.start, self.end, breaks)
        widths = np.array([0.0, *0.5 ** np.arange(_PANELS - 1, -1, -1.0)])
        return np.append((pieces[:-1, None] + np.diff(pieces)[:, None] * widths[:-1]).ravel(), self.end)

    def times(self, plan: Plan, breaks: Floats) -> Floats:
        """Nodes of the panels; with a total the two ends."""
        if self.total is not None:
            return np.array([self.start, self.end])
        edges = self._edges(breaks)
        half = 0.5 * np.diff(edges)[:, None]
        return (edges[:-1, None] + half * (1.0 + _NODES)).ravel()

    def value(self, levels: Floats, times: Floats) -> Floats:
        """The area."""
        scale = 1.0 / (self.end - self.start) if self.average else 1.0
        if self.total is not None:
            return scale * (levels[:, 1] - levels[:, 0])
        nodes = times.reshape(-1, len(_NODES))
        half = (nodes[:, -1] - nodes[:, 0]) / (_NODES[-1] - _NODES[0])
        return scale * (levels @ (half[:, None] * _WEIGHTS).ravel())


def _pieces(start: float, end: float, breaks: Floats) -> Floats:
    """Return the ends of the pieces of a window between changes of rate."""
    if not 0 <= start < end:
        raise ValueError(f"window {start:g} to {end:g}; expected times from 0 on, the earlier one first")
    return np.unique([start, *breaks[(breaks > start) & (breaks < end)], end])
