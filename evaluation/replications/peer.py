"""A peer's virtual trial again: arms on the same virtual patients, and a row for every arm and group.

The peer's own figures stand beside those found here; nothing has to hold. Research simulation, not for
clinical use.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Noise, Regimen, Scenario
from dosewright.envs.scenarios.warfarin import ABOVE_4, IN_RANGE
from dosewright.evaluation.outcomes import ever_in, share_of_days
from dosewright.evaluation.replications.acceptance import CONFIDENCE, Fact, Published
from dosewright.evaluation.replications.cohort import day_by_day
from dosewright.evaluation.replications.contrast import scaled, weighted
from dosewright.evaluation.replications.course import follow
from dosewright.evaluation.replications.result import NOTICE, in_words, plain
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    proportion_interval,
)
from dosewright.evaluation.trial.block import treat
from dosewright.evaluation.trial.design import TrialDesign

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Progress = Callable[[str, int], None]

ALL = "all patients"
REALISM = "textbook"  # peers simulate neither missed doses nor lost results
_BLOCK = 500  # patients simulated together; bounds the memory, does not change a number
_FEWEST = 2  # patients of a group: an interval needs two


@dataclass(frozen=True, eq=False)
class Arms:
    """Regimens by name.

    Attributes
    ----------
    own_visits
        Those that dose day by day and choose their visits; made for `day_by_day` of the protocol.
    inr_days
        Of these, by the same names: days, counted from 0, on which blood is drawn whatever they ask for.
    calendar
        Those that decide on the protocol's days.
    """

    own_visits: Mapping[str, Regimen]
    inr_days: Mapping[str, tuple[int, ...]]
    calendar: Mapping[str, Regimen]

    @property
    def names(self) -> tuple[str, ...]:
        """Every arm."""
        return (*self.own_visits, *self.calendar)

    def check_reference(self, name: str | None) -> None:
        """Refuse a reference that is no arm; None is none."""
        if name is not None and name not in self.names:
            raise ValueError(f"reference {name!r} is no arm; expected one of {', '.join(self.names)}")


@dataclass(frozen=True, eq=False)
class Followed:
    """n patients under every arm over d days.

    Attributes
    ----------
    truth : arm -> (n, d + 1) latent INR of each day
    measured : arm -> (n, d + 1) what a laboratory would have measured on each day, the same errors in every
        arm
    genotypes : gene -> (n,) diplotypes
    """

    truth: Mapping[str, Floats]
    measured: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]


def follow_all(
    scenario: Scenario, arms: Arms, ids: NDArray[np.int64], noise: Noise, progress: Progress | None = None
) -> Followed:
    """Treat the same patients by every arm.

    Parameters
    ----------
    scenario
        The protocol's decision problem, in whose world the patients live.
    arms
        Regimens.
    ids : (n,)
        Patients of the protocol's population.
    noise
        Namespace and seed.
    progress
        Called with an arm and how many of its patients were just finished.
    """
    daily, realism = day_by_day(scenario), scenario.preset(REALISM)
    truth: dict[str, list[Floats]] = {name: [] for name in arms.names}
    errors: list[Floats] = []
    genotypes: list[Mapping[str, NDArray[np.str_]]] = []
    for first in range(0, len(ids), _BLOCK):
        here = ids[first : first + _BLOCK]
        patients = scenario.population.draw(scenario.model, scenario.base, here, noise)
        intake = Intake.prepare(daily, patients, noise, realism)
        errors.append(intake.life.residual[:, :, 0, 0])
        genotypes.append(patients.genotypes)
        for name, regimen in arms.own_visits.items():
            course = follow(
                daily, regimen, intake, arms.inr_days[name], scenario.horizon, np.zeros(len(here))
            )
            truth[name].append(course.truth)
            if progress is not None:
                progress(name, len(here))
        if arms.calendar:
            design = TrialDesign(scenario, arms.calendar, scenario.population, noise, realism, "diplotype")
            block = treat(design, here, progress)
            for name, arm in block.arms.items():
                truth[name].append(arm.truth.astype(np.float64))
    whole = {name: np.concatenate(parts) for name, parts in truth.items()}
    error = np.concatenate(errors)
    return Followed(
        truth=whole,
        measured={name: daily.measurement.read(values, error) for name, values in whole.items()},
        genotypes={gene: np.concatenate([part[gene] for part in genotypes]) for gene in genotypes[0]},
    )


# ------------------------------------------------------------------------------------------------ figures

Values = Mapping[str, Floats | Bools]


def usual_values(inr: Floats) -> dict[str, Floats | Bools]:
    """Return, of daily INRs (n, d + 1) whose first is before any drug, ``in_range`` (n,), share of the days
    from 1 on, and ``ever_above_4`` (n,)."""
    return {"in_range": share_of_days(IN_RANGE, inr), "ever_above_4": ever_in(ABOVE_4, inr)}


@dataclass(frozen=True)
class Column:
    """A figure: its key, words, and unit."""

    key: str
    label: str
    unit: str


@dataclass(frozen=True)
class Group:
    """Patients of a kind.

    Attributes
    ----------
    name
        In words.
    share
        Of the population.
    n
        How many were treated.
    """

    name: str
    share: float
    n: int


@dataclass(frozen=True)
class Row:
    """One arm in one group.

    Attributes
    ----------
    arm, group
        Names.
    figures
        Key of a column -> mean or share, per cent, with its Monte Carlo interval.
    difference
        Time in range minus that of the reference arm in the same patients, points; None for the reference
        itself, and where there is none.
    published
        Key of a column -> the peer's figure, per cent.
    """

    arm: str
    group: str
    figures: Mapping[str, Interval]
    difference: Difference | None
    published: Mapping[str, Published]


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of one world.

    Attributes
    ----------
    name
        What sets it apart.
    rows
        Arm by arm.
    share_in_range
        Arm -> (d + 1,) share of the patients with latent INR in range, by day from 0.
    """

    name: str
    rows: tuple[Row, ...]
    share_in_range: Mapping[str, Floats]

    def row(self, arm: str, group: str = ALL) -> Row:
        """Return a row by its names."""
        return next(item for item in self.rows if (item.arm, item.group) == (arm, group))


PublishedFigures = Mapping[tuple[str, str], Mapping[str, Published]]


def check_groups(groups: Iterable[Group]) -> None:
    """Refuse a group that is too small for an interval: ask before anybody is treated.

    Raises
    ------
    ValueError
        For a group with fewer than two patients.
    """
    for group in groups:
        if group.n < _FEWEST:
            raise ValueError(
                f"{group.n} patients are {group.name}; an interval needs {_FEWEST}: ask for more patients"
            )


def tabulate(
    values: Mapping[str, Values],
    groups: Mapping[Group, Bools],
    stratified: bool,
    reference: str | None,
    published: PublishedFigures,
) -> tuple[Row, ...]:
    """Return a row for every arm and group, and for all patients.

    Parameters
    ----------
    values
        Arm -> key -> (n,), shares or flags.
    groups
        Group -> (n,) who is in it; everybody is in one.
    stratified
        Whether groups were filled up: all patients are then the groups weighted by their shares of the
        population, which add up to 1.
    reference
        Arm from whose time in range the others' is subtracted; None: no difference.
    published
        (arm, group) -> key -> the peer's figure.

    Raises
    ------
    ValueError
        As `check_groups`; for shares that do not add up to 1.
    """
    check_groups(groups)
    rows: list[Row] = []
    for arm, found in values.items():
        base = None if reference in (None, arm) else values[reference]
        parts = {
            group: (_figures(found, mask), _difference(found, base, mask)) for group, mask in groups.items()
        }
        if stratified:
            figures = {
                key: _of_groups([(group.share, parts[group][0][key]) for group in groups]) for key in found
            }
            apart = [(group.share, item) for group, (_, item) in parts.items() if item is not None]
            difference = weighted(apart) if apart else None
        else:
            everybody = np.ones(len(next(iter(found.values()))), dtype=bool)
            figures, difference = _figures(found, everybody), _difference(found, base, everybody)
        rows.append(Row(arm, ALL, figures, difference, published.get((arm, ALL), {})))
        rows += [
            Row(arm, group.name, item, apart, published.get((arm, group.name), {}))
            for group, (item, apart) in parts.items()
            if len(groups) > 1
        ]
    return tuple(rows)


def _of_groups(parts: Sequence[tuple[float, Interval]]) -> Interval:
    """Return the mean of groups that each make a stated share, as `weighted`, with limits from the groups'
    own (square and add: Zou 2008, Stat Med 27:1693): one in which nobody had an event still leaves room."""
    whole = weighted(parts)
    below, above = (
        math.sqrt(sum((share * (item.mean - getattr(item, side))) ** 2 for share, item in parts))
        for side in ("low", "high")
    )
    return replace(whole, low=whole.mean - below, high=whole.mean + above)


def _figures(found: Values, mask: Bools) -> dict[str, Interval]:
    return {
        key: scaled(
            proportion_interval(item[mask]) if item.dtype == np.bool_ else mean_interval(item[mask]), 100
        )
        for key, item in found.items()
    }


def _difference(found: Values, base: Values | None, mask: Bools) -> Difference | None:
    if base is None:
        return None
    return scaled(paired_difference(found["in_range"][mask], base["in_range"][mask]), 100)


def daily_share(followed: Followed) -> dict[str, Floats]:
    """Return by arm the share of the patients in range on each day (d + 1,)."""
    return {name: IN_RANGE.contains(truth).mean(axis=0) for name, truth in followed.truth.items()}


def policy_in_words(policy: Row, reference: str | None) -> str:
    """Return what a learned policy comes to, against the reference arm where there is one."""
    apart = "" if policy.difference is None else (
        f", {in_words(policy.difference, 1, True)} points from {reference}"
    )  # fmt: skip
    return (
        f"The learned policy holds {in_words(policy.figures['in_range'])} % of the days in range{apart}; "
        f"{in_words(policy.figures['ever_above_4'])} % of its patients are ever above INR 4."
    )


# ------------------------------------------------------------------------------------------------ result


@dataclass(frozen=True, eq=False)
class PeerTrial:
    """A peer's virtual trial again.

    Attributes
    ----------
    name, title
        "anzabi-zadeh" or "augustin", and words.
    facts, sources, assumptions
        The trial as published, publications, and what was assumed here.
    arms
        Name -> what it does.
    patients, seed
        Patients drawn from the population, and seed of everything.
    groups
        Kinds of patients, with their shares and how many were treated.
    stratified
        Whether a group was filled up.
    reference
        Arm that differences are taken from; None: there is none.
    columns
        Figures of the tables.
    tables
        One a world.
    answer, remarks
        Sentences made from the numbers, and what a reader must know.
    provenance
        Command, versions, times.
    """

    name: str
    title: str
    facts: tuple[Fact, ...]
    sources: tuple[str, ...]
    assumptions: tuple[str, ...]
    arms: Mapping[str, str]
    patients: int
    seed: int
    groups: tuple[Group, ...]
    stratified: bool
    reference: str | None
    columns: tuple[Column, ...]
    tables: tuple[Table, ...]
    answer: tuple[str, ...]
    remarks: tuple[str, ...]
    provenance: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """Return every number, ready for JSON."""
        return {
            "notice": NOTICE,
            "name": self.name,
            "title": self.title,
            "patients": self.patients,
            "namespace": "trial",
            "seed": self.seed,
            "realism": REALISM,
            "groups": plain(self.groups),
            "stratified": self.stratified,
            "reference": self.reference,
            "arms": dict(self.arms),
            "columns": plain(self.columns),
            "tables": [
                {
                    "name": table.name,
                    "rows": plain(table.rows),
                    "share_in_range": {
                        arm: np.round(share, 4).tolist() for arm, share in table.share_in_range.items()
                    },
                }
                for table in self.tables
            ],
            "answer": list(self.answer),
            "remarks": list(self.remarks),
            "confidence": CONFIDENCE,
            "facts": plain(self.facts),
            "assumptions": list(self.assumptions),
            "sources": list(self.sources),
            "provenance": dict(self.provenance),
        }

    def page(self) -> str:
        """Return the page of the record."""
        from dosewright.evaluation.report.peer import peer_page  # matplotlib is slow to import

        return peer_page(self.record())
