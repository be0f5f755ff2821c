"""What a replication is held against: the trial as published, and what must hold, written down beforehand.

No number, cohort or rule is changed after a run to bring a result into its band (`trials.md` 5, item 6).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from dosewright.evaluation.statistics import Interval

Rule = Literal["must hold", "flag", "report"]
Verdict = Literal["pass", "fail", "inside", "FLAG", "reported"]
Confidence = Literal["A", "B", "C"]

CONFIDENCE = {
    "A": "read in the paper's abstract, a registry text or a published table",
    "B": "read in a secondary source",
    "C": "general knowledge, not found in a source that could be opened: a default, never to be quoted",
}
JUDGED_UNDER = "clinic"
"""The realism preset under which what must hold is judged; the other is reported."""


@dataclass(frozen=True)
class Fact:
    """A fact about a trial's design, with how well it is known."""

    item: str
    value: str
    flag: Confidence


@dataclass(frozen=True)
class Published:
    """A figure of the trial itself.

    Attributes
    ----------
    value, low, high
        As published; limits None where none were read.
    flag
        A: read in the abstract, a registry or a table of the paper; B: in a secondary source; C: general
        knowledge, never to be quoted.
    source
        Where.
    """

    value: float
    flag: Confidence
    source: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Check:
    """One thing that is reported of a replication, and what must hold of it.

    Attributes
    ----------
    item
        Number in the list of acceptance (`trials.md` 5).
    what, realism, unit
        What was estimated, under which preset ("" where it does not matter), in which unit.
    estimate
        With its Monte Carlo interval.
    rule
        "must hold": the mean lies in `band`, else it fails; "flag": outside, a flag is set; "report": no
        mark.
    band, flag
        Limits, both included, and how well they are known; None where there is no mark.
    published
        The trial's own figure; None where there is none.
    """

    item: int
    what: str
    realism: str
    unit: str
    estimate: Interval
    rule: Rule
    band: tuple[float, float] | None = None
    flag: Confidence | None = None
    published: Published | None = None

    def __post_init__(self) -> None:
        if (self.rule == "report") != (self.band is None):
            raise ValueError(
                f"check {self.what!r}: rule {self.rule!r} with band {self.band}; a mark needs a band"
            )

    @property
    def verdict(self) -> Verdict:
        """What became of it."""
        if self.band is None:
            return "reported"
        inside = self.band[0] <= self.estimate.mean <= self.band[1]
        if self.rule == "must hold":
            return "pass" if inside else "fail"
        return "inside" if inside else "FLAG"


@dataclass(frozen=True)
class Figure:
    """A published figure beside the replication's.

    Attributes
    ----------
    what, unit
        What it is of, and its unit.
    published
        The trial's.
    ours
        Realism preset -> the replication's; a number where it has no interval, None where there is none.
        "any" stands for all presets where none matters.
    """

    what: str
    unit: str
    published: Published
    ours: Mapping[str, Interval | float | None]

    def reading(self, preset: str) -> str:
        """Say how they agree: inside the published interval or, where there is none, how far apart."""
        ours = self.ours[preset]
        if ours is None:
            return "none here"
        value = ours.mean if isinstance(ours, Interval) else ours
        if self.published.low is not None and self.published.high is not None:
            inside = self.published.low <= value <= self.published.high
            return f"{'inside' if inside else 'outside'} its interval"
        apart = value - self.published.value
        digits = 2 if self.unit == "ratio" else 1
        return f"{abs(apart):.{digits}f} {'higher' if apart > 0 else 'lower'}"
