"""A patient's chart: what events say of one patient, and the visits that a belief is kept by.

A chart depends on which events there are, never on the order in which they came: a result that is late takes
its place at the time at which its sample was drawn, and everything after it is told anew.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.agents.bedside.visits import Sample, Visit, drawn_at, observed
from dosewright.agents.refinement.events import Event
from dosewright.envs import Scenario
from dosewright.envs.genotypes import allele_counts
from dosewright.envs.measurement import Measurement
from dosewright.envs.pharmacology.units import factor

Floats = NDArray[np.float64]

EARLY = 0.25
"""Share of a unit by which a visit or a dose may come before its unit."""
_FAR = 0.5  # share of a unit beyond which a sample is none of that moment
_SECONDS_PER_HOUR = 3600.0
# What happened first, where events have one time: a sample is drawn, then a dose is asked for, then given
_ORDER = {
    "enrolled": 0, "consent": 1, "covariate": 2, "genotype": 3, "adverse_event": 4, "measurement": 5,
    "visit": 6, "dose": 7, "left": 8,
}  # fmt: skip


@dataclass(frozen=True)
class Seen:
    """A visit of a chart.

    Attributes
    ----------
    visit
        Unit, time and samples.
    values
        What an observation of it shows, entry -> value.
    asked
        The event that asks for a decision; None where a dose was changed or a sample drawn between two such.
    samples
        Number of the measurement -> event of the sample that the visit is the first to see.
    """

    visit: Visit
    values: Mapping[str, ArrayLike]
    asked: Event | None
    samples: Mapping[int, Event]


@dataclass(frozen=True)
class Course:
    """What a chart comes to.

    Attributes
    ----------
    visits
        In order.
    problems
        Event's id -> why it is not used, or only in part; under "" why there is no further visit.
    """

    visits: tuple[Seen, ...]
    problems: Mapping[str, str]


@dataclass(eq=False)
class Chart:
    """Events of one patient, as they come.

    Attributes
    ----------
    scenario
        The decision problem.
    patient
        Who it is.
    aside
        Ids of events that are kept and not believed.
    """

    scenario: Scenario
    patient: str
    aside: set[str] = field(default_factory=set[str])
    _events: list[tuple[datetime, int, str, Event]] = field(
        default_factory=list[tuple[datetime, int, str, Event]]
    )

    def add(self, events: Iterable[Event]) -> None:
        """Take in events of this patient, in any order, each once."""
        for event in events:
            bisect.insort(self._events, (event.time, _ORDER[event.kind], event.id, event))
        for told in ("course", "_by_kind"):
            self.__dict__.pop(told, None)

    def set_aside(self, ids: Iterable[str]) -> None:
        """Do not believe these events, and all others."""
        self.aside = set(ids)
        self.__dict__.pop("course", None)

    def of(self, kind: str) -> Sequence[Event]:
        """Return the events of a kind in the order in which they happened."""
        return self._by_kind.get(kind, ())

    @cached_property
    def _by_kind(self) -> dict[str, list[Event]]:
        found: dict[str, list[Event]] = {}
        for *_, event in self._events:
            found.setdefault(event.kind, []).append(event)
        return found

    @property
    def site(self) -> str:
        """Where the patient was enrolled; empty where nobody says."""
        return next((event.site or "" for event in self.of("enrolled")), "")

    @property
    def left(self) -> bool:
        """Whether the patient is lost, or follow-up is over."""
        return bool(self.of("left"))

    @property
    def withdrawn(self) -> bool:
        """Whether consent was withdrawn, which is final."""
        return any(event.value == "withdrawn" for event in self.of("consent"))

    @property
    def last(self) -> datetime:
        """Time of the last event."""
        return self._events[-1][0]

    @cached_property
    def course(self) -> Course:
        """The visits, as far as they can be told."""
        enrolled = self.of("enrolled")
        if not enrolled:
            return Course((), {"": "not enrolled yet; send the event 'enrolled'"})
        return _Reading(self, enrolled[0].time).course()


class _Reading:
    """Reads one chart once."""

    def __init__(self, chart: Chart, begin: datetime) -> None:
        self.chart, self.scenario, self.begin = chart, chart.scenario, begin
        self.length = self.scenario.clock.length
        self.hours = factor("h", self.scenario.model.time_unit)
        self.problems: dict[str, str] = {}
        self._known: dict[int, dict[str, float]] = {}

    def time(self, event: Event) -> float:
        """Model time of an event."""
        return (event.time - self.begin).total_seconds() / _SECONDS_PER_HOUR * self.hours

    def unit(self, event: Event) -> int:
        """The unit that a visit or a dose belongs to."""
        return math.floor(self.time(event) / self.length + EARLY)

    def course(self) -> Course:
        missing = self._missing()
        if missing:
            return Course((), {"": missing})
        doses = self._used("dose")
        asked = self._asked()
        visits, dose, ahead = self._visits(asked, doses)
        samples = self._samples(visits, dose)
        cells = [
            Visit(v.unit, v.clock, v.delays, tuple(Sample(i, _number(e), at) for i, (at, e) in s.items()))
            for v, s in zip(visits, samples, strict=True)
        ]
        seen = observed(self.scenario, cells, dose, self._people, ahead)
        return Course(
            tuple(
                Seen(cell, values, at.event, {i: event for i, (_, event) in found.items()})
                for cell, values, at, found in zip(cells, seen, visits, samples, strict=True)
            ),
            self.problems,
        )

    def _used(self, kind: str) -> list[Event]:
        return [event for event in self.chart.of(kind) if event.id not in self.chart.aside]

    # ------------------------------------------------------------------------------------- who it is

    def _missing(self) -> str:
        """Which covariates are not known that a decision needs."""
        known = self._people(math.inf)
        lacking = [
            entry.name
            for entry in self.scenario.covariates
            if entry.neutral is None and math.isnan(known[entry.name])
        ]
        return f"not known: {', '.join(lacking)}; send events 'covariate'" if lacking else ""

    @cached_property
    def _alleles(self) -> Mapping[str, float]:
        pairs = {str(event.code): str(event.value) for event in self._used("genotype")}
        return _counts(self.scenario, tuple(sorted(pairs.items())))

    @cached_property
    def _covariates(self) -> list[tuple[float, str, float]]:
        return [(self.time(event), str(event.code), _number(event)) for event in self._used("covariate")]

    def _people(self, clock: float) -> Mapping[str, float]:
        """Return what is known of the patient at a model time; what was told later only holds for before
        where nothing else is known."""
        # a value of day 0 may be written down in the course of it
        until = clock + EARLY * self.length
        known = bisect.bisect_right(self._covariates, until, key=lambda told: told[0])
        if known not in self._known:
            self._known[known] = self._first(known)
        return self._known[known]

    def _first(self, known: int) -> dict[str, float]:
        """Return what is known after so many of the covariates, in the order of time."""
        scenario = self.scenario
        found: dict[str, float] = {entry.name: math.nan for entry in scenario.covariates}
        found |= dict.fromkeys((name for name in found if name.startswith("race_")), 0.0)
        found |= scenario.unseen
        found |= {name: value for _, name, value in reversed(self._covariates[known:])}
        found |= {name: value for _, name, value in self._covariates[:known]}
        derive = scenario.population.derive
        if derive is not None and any(math.isnan(value) for value in found.values()):
            try:
                derived = derive({name: np.array([value]) for name, value in found.items()})
            except KeyError:
                derived = {}
            found |= {
                name: float(value[0]) for name, value in derived.items() if math.isnan(found.get(name, 0.0))
            }
        return found | dict(self._alleles)

    # ----------------------------------------------------------------------------------------- visits

    def _asked(self) -> list[_Moment]:
        """Return the first visit, and all that ask for a decision."""
        scenario = self.scenario
        first = int(scenario.days[0])
        found = [_Moment(first, first * self.length, 0, self._until_next(first), None)]
        for event in self._used("visit"):
            place = self._place(event, found[-1])
            if place is None:
                self.problems |= {"": self._gap(found[-1]), event.id: self._gap(found[-1])}
                break
            unit, delays, clock = place
            if unit < first:
                self.problems[event.id] = (
                    f"{scenario.clock.unit} {unit}: what is given before {scenario.clock.unit} {first} is "
                    "fixed; nothing is decided"
                )
                continue
            if unit >= scenario.horizon:
                self.problems[event.id] = (
                    f"{scenario.clock.unit} {unit} is beyond follow-up, which ends with "
                    f"{scenario.clock.unit} {scenario.horizon - 1}"
                )
                continue
            ahead = self._until_next(unit) if event.value is None else max(1, round(_number(event)))
            moment = _Moment(unit, clock, delays, ahead, event)
            if found[-1].unit == unit:  # the first one, or asked again
                moment = _Moment(unit, found[-1].clock, found[-1].delays, ahead, event)
                found.pop()
            found.append(moment)
        last, left = found[-1], self.chart.of("left")
        closes = last.clock + last.ahead * self.length
        if scenario.delay is not None and left and self.time(left[-1]) >= closes - EARLY * self.length:
            # what the last treatment did is measured, though nothing is decided any more
            found.append(_Moment(last.unit + last.ahead, closes, 0, 1, None))
        return found

    def _place(self, event: Event, before: _Moment) -> tuple[int, int, float] | None:
        """Return the unit of a visit, how often it was put off, and its nominal model time; None where a
        visit before it is not on record, so that nobody can say what was put off."""
        rule, length = self.scenario.delay, self.length
        if rule is None:
            unit = self.unit(event)
            return unit, 0, unit * length
        gap = self.time(event) - before.clock
        if gap < length * (1 - EARLY):
            return before.unit, before.delays, before.clock
        late = gap - before.ahead * length
        if late > (rule.at_most + 0.5) * rule.by:
            return None
        delays = int(np.clip(round(late / rule.by), 0, rule.at_most))
        return before.unit + before.ahead, delays, before.clock + before.ahead * length + delays * rule.by

    def _gap(self, before: _Moment) -> str:
        """Say that a visit is not on record."""
        unit = self.scenario.clock.unit
        return (
            f"no visit on record for {unit} {before.unit + before.ahead}; send the events 'visit' and "
            "'dose' of every treatment, with dose 0 where one was left out"
        )

    def _until_next(self, unit: int) -> int:
        """Units until the calendar's next visit, or the end of follow-up."""
        days = self.scenario.days
        later = days[days > unit]
        return int(later[0]) - unit

    def _visits(
        self, asked: list[_Moment], doses: list[Event]
    ) -> tuple[list[_Moment], list[float], list[int]]:
        """Return all visits, the dose in force before each, and the units until the next one.

        Where a dose was changed, or a sample drawn, between two that ask for a decision, there is one as
        well: the doses of a belief change at visits only, and samples are drawn at them.
        """
        moments = list(asked)
        if self.scenario.delay is None:
            units = {item.unit for item in moments}
            begin, end = moments[0].unit, self.unit_of(self.chart.last)
            more = {unit for unit in self._changes(doses) if unit not in units}
            more |= {unit for unit in self._drawn_between(begin, end) if unit not in units}
            for unit in sorted(more):
                if begin < unit <= self.scenario.horizon:
                    before = [item for item in moments if item.unit < unit][-1]
                    planned = max(before.unit + before.ahead - unit, 1)
                    moments.append(_Moment(unit, unit * self.length, 0, planned, None))
                    moments.sort(key=lambda item: item.unit)
        kept: list[_Moment] = []
        dose: list[float] = []
        for number, item in enumerate(moments):
            given = math.nan if not number else self._in_force(doses, moments[number - 1], item)
            why = self._unknown(given, item) if number else ""
            if why:
                self.problems |= {"": why} | {
                    later.event.id: why for later in moments[number:] if later.event is not None
                }
                break
            kept.append(item)
            dose.append(given)
        return kept, dose, [item.ahead for item in kept]

    def _unknown(self, given: float, item: _Moment) -> str:
        """Say why nobody can tell what a dose led to by a visit; empty where it can be told."""
        unit, doses = self.scenario.clock.unit, self.scenario.doses
        if math.isnan(given):
            return f"no dose on record before {unit} {item.unit}; send events 'dose'"
        if given > doses.maximum:
            return (
                f"dose {given:g} {doses.unit} before {unit} {item.unit}; an observation shows up to "
                f"{doses.maximum:g}, so dose this patient by other means"
            )
        return ""

    def unit_of(self, time: datetime) -> int:
        """The last unit that has begun at a time."""
        passed = (time - self.begin).total_seconds() / _SECONDS_PER_HOUR * self.hours
        return math.floor(passed / self.length + EARLY)

    def _changes(self, doses: list[Event]) -> list[int]:
        """Units in which another dose than the one in force was begun."""
        values = np.array([_number(event) for event in doses])
        same = self.scenario.doses.same(values[1:], values[:-1])
        return [self.unit(event) for event in [*doses[:1], *np.array(doses[1:], dtype=object)[~same]]]

    def _in_force(self, doses: list[Event], before: _Moment, after: _Moment) -> float:
        """Return the dose in force from one visit to the next; NaN where there is none on record."""
        if self.scenario.delay is None:
            known = [event for event in doses if self.unit(event) <= before.unit]
        else:
            known = [event for event in doses if self.time(event) < after.clock - EARLY * self.length]
        return _number(known[-1]) if known else math.nan

    # ---------------------------------------------------------------------------------------- samples

    def _drawn_between(self, begin: int, end: int) -> list[int]:
        """Units of visits that samples ask for, of those that have passed."""
        found: list[int] = []
        people = {name: np.array([value]) for name, value in self._people(math.inf).items()}
        for event in self._used("measurement"):
            near = self._nearest(event, people, 0.0, range(begin, end))
            if near is not None and near[2] <= _FAR * self.length:
                found.append(near[0])
        return [unit for unit in found if unit <= end]

    def _nearest(
        self, event: Event, people: Mapping[str, Floats], dose: float, units: Sequence[int]
    ) -> tuple[int, int, float] | None:
        """Return the unit of the visit that sees a sample of this kind drawn next to the event, which
        measurement it is, and how far it is off; of whole units that nothing puts off."""
        time = self.time(event)
        around = math.floor(time / self.length)
        best: tuple[int, int, float] | None = None
        for number, item in self._kinds(event):
            ago = 0 if item.units_ago is None else int(item.units_ago(people)[0])
            for unit in range(around - 1, around + 2):
                if unit not in units or (item.units is not None and unit + 1 not in item.units):
                    continue
                begin = unit * self.length
                drawn = drawn_at(self.scenario, item, people, dose, unit, begin, begin + self.length)
                off = abs(drawn - time)
                if best is None or off < best[2]:
                    best = (unit + 1 + ago, number, off)
        baseline = any(item.baseline for _, item in self._kinds(event))
        if best is not None and baseline and abs(time) <= best[2]:
            return None  # that is the one before treatment
        return best

    def _kinds(self, event: Event) -> list[tuple[int, Measurement]]:
        """Return the measurements of the output that was measured."""
        items = self.scenario.measurements
        output = next(item.output for item in items if item.name == event.code)
        return [(number, item) for number, item in enumerate(items) if item.output == output]

    def _samples(self, visits: list[_Moment], dose: list[float]) -> list[dict[int, tuple[float, Event]]]:
        """Return what each visit is the first to see: number of the measurement -> when the sample counts as
        drawn, and its event."""
        people = {name: np.array([value]) for name, value in self._people(math.inf).items()}
        slots = self._slots(visits, dose, people)
        best: dict[tuple[int, int], tuple[float, float, Event]] = {}
        for event in self._used("measurement"):
            time, kinds = self.time(event), {number for number, _ in self._kinds(event)}
            first = [slot for slot in slots if slot[1] in kinds and slot[3]]
            near = first if first and time <= 0 else [slot for slot in slots if slot[1] in kinds]
            if not near:
                continue  # no visit can see it
            visit, number, drawn, baseline = min(near, key=lambda slot: abs(slot[2] - time))
            if visit == len(visits):
                continue  # its visit has not come yet
            off = abs(drawn - time)
            if off > _FAR * self.length and not (baseline and time <= 0):
                if time < visits[-1].clock:
                    self.problems[event.id] = (
                        f"{event.code} of {time:g} {self.scenario.model.time_unit} is not used: the nearest "
                        f"sample of a visit is at {drawn:g}"
                    )
                continue
            held = best.get((visit, number))
            if held is not None and held[0] <= off:
                self.problems[event.id] = f"{event.code}: another sample is nearer to {drawn:g}"
                continue
            if held is not None:
                self.problems[held[2].id] = f"{held[2].code}: another sample is nearer to {drawn:g}"
            best[visit, number] = (off, drawn, event)
        found: list[dict[int, tuple[float, Event]]] = [{} for _ in visits]
        for (visit, number), (_, drawn, event) in sorted(best.items(), key=lambda item: item[0]):
            found[visit][number] = (drawn, event)
        return found

    def _slots(
        self, visits: list[_Moment], dose: list[float], people: Mapping[str, Floats]
    ) -> list[tuple[int, int, float, bool]]:
        """Return the samples that visits may see: visit, number of the measurement, model time, and whether
        it is the one before treatment. Those of the visit to come are there too, as of one more visit."""
        scenario, found = self.scenario, list[tuple[int, int, float, bool]]()
        by = 0.0 if scenario.delay is None else scenario.delay.by
        last = visits[-1]
        coming = _Moment(last.unit + 1, last.clock + self.length, 0, 1, None)
        several = [*visits, coming]
        place = {item.unit: number for number, item in enumerate(several)}
        for number, item in enumerate(scenario.measurements):
            if item.baseline:
                found.append((0, number, 0.0, True))
            ago = 0 if item.units_ago is None else int(item.units_ago(people)[0])
            for i, visit in enumerate(several):
                if visit.unit == 0 or (item.units is not None and visit.unit not in item.units):
                    continue
                shown = i if not ago else place.get(visit.unit + ago)
                if shown is None:
                    continue
                begin = visit.clock - visit.delays * by - self.length
                given = dose[i] if 0 < i < len(dose) else 0.0
                drawn = drawn_at(scenario, item, people, given, visit.unit - 1, begin, visit.clock)
                found.append((shown, number, drawn, False))
        return found


@dataclass(frozen=True)
class _Moment:
    """A visit before its samples are known."""

    unit: int
    clock: float
    delays: int
    ahead: int
    event: Event | None


@lru_cache(maxsize=4096)
def _counts(scenario: Scenario, pairs: tuple[tuple[str, str], ...]) -> Mapping[str, float]:
    """Return the allele counts of the diplotypes (gene, pair) that are known."""
    known = {gene: np.array([pair]) for gene, pair in pairs}
    terms = [term for term in scenario.model.genotype_terms if term.gene in known]
    return {name: float(value[0]) for name, value in allele_counts(terms, known).items()}


def _number(event: Event) -> float:
    """Return the value of an event that has a number: its form says so."""
    assert isinstance(event.value, float)
    return event.value
