"""A simulated clinic: patients who come, are measured, ask for a dose, and take what they are given.

It is the other side of live dosing. What it tells are events of the public schema and nothing else; the
world that its patients live in may differ from the one that the models describe.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.refinement.events import SCHEMA, Event
from dosewright.envs import Intake, Noise, Patients, Population, Scenario, Treatment
from dosewright.envs.pharmacology.units import factor
from dosewright.envs.realism import Realism
from dosewright.evaluation.worlds import HiddenShift

BEGIN = datetime(2026, 1, 5, 8, tzinfo=UTC)  # a Monday; nothing depends on it

_SECONDS_PER_DAY = 86_400.0

Tell = Callable[[Sequence[Event]], Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Treated:
    """What came of n simulated patients, by the latent truth.

    Attributes
    ----------
    names : (n,) patients
    enrolled : (n,) days after `BEGIN`
    benefit : (n,) share of the followed time on target
    harmed : (n,) whether the scenario's event happened
    """

    names: tuple[str, ...]
    enrolled: NDArray[np.float64]
    benefit: NDArray[np.float64]
    harmed: NDArray[np.bool_]

    @classmethod
    def joined(cls, parts: Sequence[Treated]) -> Treated:
        """Return several together, in the order in which they were enrolled."""
        order = sorted(parts, key=lambda part: part.enrolled[0])
        arrays = {
            name: np.concatenate([getattr(part, name) for part in order])
            for name in ("enrolled", "benefit", "harmed")
        }
        return cls(tuple(name for part in order for name in part.names), **arrays)


@dataclass(eq=False)
class _Cohort:
    """Patients who were enrolled on one day."""

    names: tuple[str, ...]
    people: Patients
    treatment: Treatment
    enrolled: datetime
    grown: tuple[str, ...]
    given: NDArray[np.float64]
    told: set[str] = field(default_factory=set[str])


@dataclass(frozen=True)
class SimulatedClinic:
    """Patients of one site.

    Attributes
    ----------
    scenario, realism
        The decision problem as it is published, and how messy the world is.
    world
        What differs without anybody being told.
    noise
        Of the patients and their lives.
    patients
        How many come.
    every
        Units of the scenario's clock between two enrolments.
    together
        How many are enrolled at a time.
    site
        Name of the clinic; patients are called after it.
    population
        Where they come from; None: the scenario's.
    first, begin
        Number of the first patient, and units of the clock after `BEGIN` at which they begin to come.
    """

    scenario: Scenario
    realism: Realism
    world: HiddenShift
    noise: Noise
    patients: int
    every: float = 1.0
    together: int = 10
    site: str = "site-1"
    population: Population | None = None
    first: int = 0
    begin: float = 0.0

    def run(self, tell: Tell) -> Treated:
        """Treat all patients, in the order of their visits; return what came of it, which nobody was told.

        Parameters
        ----------
        tell
            Called with the events of a moment: first what came in and the visits that ask for a dose, then
            what was given. Returns patient -> dose in the scenario's unit for those who asked; who gets none
            goes on with the dose in force, or, at the first visit, with none.
        """
        due: list[tuple[float, int]] = []
        cohorts = list(range(0, self.patients, self.together))
        for number in range(len(cohorts)):
            heapq.heappush(due, (self._enrolled(number) + float(self.scenario.days[0]), number))
        treated: list[Treated] = []
        running: dict[int, _Cohort] = {}
        while due:
            _, number = heapq.heappop(due)
            cohort = running.get(number)
            events: list[Event] = []
            if cohort is None:
                cohort = running[number] = self._enrol(number, cohorts[number])
                events += self._introduced(cohort)
            wanted = tell([*events, *self._visited(cohort)])
            tell(self._dosed(cohort, wanted))
            if cohort.treatment.active.any():
                when = self._enrolled(number) + float(np.max(self._clock(cohort)[cohort.treatment.active]))
                heapq.heappush(due, (when, number))
            else:
                tell(self._finished(cohort))
                treated.append(_outcome(running.pop(number)))
        return Treated.joined(treated)

    def under(self, dose: float) -> list[Event]:
        """Return all events of a clinic that gives everybody one dose."""
        found: list[Event] = []

        def tell(events: Sequence[Event]) -> dict[str, float]:
            found.extend(events)
            return {event.patient: dose for event in events if event.kind == "visit"}

        self.run(tell)
        return found

    # ------------------------------------------------------------------------------------------ people

    def _enrolled(self, number: int) -> float:
        """Moment of a cohort's enrolment, in units of the clock."""
        return self.begin + number * self.every

    def _enrol(self, number: int, first: int) -> _Cohort:
        scenario = self.scenario
        ids = self.first + np.arange(first, min(first + self.together, self.patients))
        people = (self.population or scenario.population).draw(scenario.model, scenario.base, ids, self.noise)
        begun = self._enrolled(number)
        intake = self.world.alter(
            scenario, Intake.prepare(scenario, people, self.noise, self.realism), self.noise, begun
        )
        names = tuple(f"{self.site}-{i}" for i in ids)
        enrolled = BEGIN + self._span(begun * scenario.clock.length)
        treatment, nothing = Treatment(scenario, intake), np.full(len(ids), np.nan)
        return _Cohort(names, people, treatment, enrolled, tuple(intake.grown), nothing)

    def _introduced(self, cohort: _Cohort) -> list[Event]:
        """Enrolment, covariates and genotypes."""
        found: list[Event] = []
        entries = {entry.name: entry for entry in self.scenario.covariates}
        for row, name in enumerate(cohort.names):
            at = cohort.enrolled
            found.append(self._event(name, at, "enrolled", code=self.scenario.name))
            for covariate, values in cohort.people.covariates.items():
                if covariate in entries and not np.isnan(values[row]):
                    unit = entries[covariate].unit
                    found.append(self._event(name, at, "covariate", covariate, float(values[row]), unit))
            for gene, pairs in cohort.people.genotypes.items():
                found.append(self._event(name, at, "genotype", gene, str(pairs[row])))
        return found

    # ------------------------------------------------------------------------------------------ visits

    def _clock(self, cohort: _Cohort) -> NDArray[np.float64]:
        return cohort.treatment.clock / self.scenario.clock.length

    def _span(self, time: float) -> timedelta:
        return timedelta(hours=time * factor(self.scenario.model.time_unit, "h"))

    def _results(self, cohort: _Cohort, rows: NDArray[np.int64]) -> list[Event]:
        """Results that came in by now."""
        treatment, spec, clock = cohort.treatment, cohort.treatment.spec, self.scenario.clock
        observation, found = treatment.observe(), list[Event]()
        for item in self.scenario.measurements:
            fresh = spec.read(observation, f"{item.name}_new") > 0.5
            for value, age in (
                (spec.read(observation, f"late_{item.name}"), f"late_{item.name}_age"),
                (np.where(fresh, spec.read(observation, item.name), np.nan), f"{item.name}_age"),
            ):
                ago = spec.read(observation, age) / clock.shown * clock.length
                for row in rows[~np.isnan(value[rows])]:
                    at = cohort.enrolled + self._span(float(treatment.clock[row] - ago[row]))
                    found.append(
                        self._event(
                            cohort.names[row], at, "measurement", item.name, float(value[row]), item.unit
                        )
                    )
        # a monitor goes on showing its first result until the next one is through
        found = [event for event in found if event.id not in cohort.told]
        cohort.told |= {event.id for event in found}
        return found

    def _weighed(self, cohort: _Cohort, rows: NDArray[np.int64]) -> list[Event]:
        """Covariates that are not any more what they were on enrolment."""
        if not cohort.grown or np.isnan(cohort.given).all():  # these were told on enrolment
            return []
        observation, found = cohort.treatment.observe(), list[Event]()
        units = {entry.name: entry.unit for entry in self.scenario.covariates}
        for name in cohort.grown:
            values = cohort.treatment.spec.read(observation, name)
            for row in rows:
                at = cohort.enrolled + self._span(float(cohort.treatment.clock[row]))
                found.append(
                    self._event(cohort.names[row], at, "covariate", name, float(values[row]), units[name])
                )
        return found

    def _visited(self, cohort: _Cohort) -> list[Event]:
        treatment = cohort.treatment
        rows = np.flatnonzero(treatment.active)
        found = self._results(cohort, rows) + self._weighed(cohort, rows)
        for row in rows:
            at = cohort.enrolled + self._span(float(treatment.clock[row]))
            found.append(self._event(cohort.names[row], at, "visit"))
        return found

    def _dosed(self, cohort: _Cohort, wanted: Mapping[str, float]) -> list[Event]:
        """Give what was answered."""
        treatment = cohort.treatment
        rows = np.flatnonzero(treatment.active)
        at = [cohort.enrolled + self._span(float(treatment.clock[row])) for row in rows]
        before = np.nan_to_num(cohort.given)
        dose = np.array([wanted.get(name, before[row]) for row, name in enumerate(cohort.names)])
        cohort.given = treatment.give(dose).dose
        return [
            self._event(
                cohort.names[row], when, "dose", self.scenario.name, float(cohort.given[row]),
                self.scenario.doses.unit,
            )
            for row, when in zip(rows, at, strict=True)
        ]  # fmt: skip

    def _finished(self, cohort: _Cohort) -> list[Event]:
        """The last results, and who left."""
        treatment = cohort.treatment
        stayed = treatment.day >= self.scenario.horizon
        found = self._results(cohort, np.flatnonzero(stayed))
        for row, name in enumerate(cohort.names):
            at = cohort.enrolled + self._span(float(treatment.clock[row]))
            found.append(self._event(name, at, "left", "finished" if stayed[row] else "lost"))
        return found

    def _event(
        self,
        patient: str,
        at: datetime,
        kind: Any,
        code: str | None = None,
        value: float | str | None = None,
        unit: str | None = None,
    ) -> Event:
        """Return an event whose id says what it is: told again it is the same."""
        return Event(
            schema=SCHEMA,
            id=f"{patient}/{kind}/{code or ''}/{at.isoformat()}",
            patient=patient,
            time=at,
            kind=kind,
            code=code,
            value=value,
            unit=unit,
            site=self.site,
        )


def _outcome(cohort: _Cohort) -> Treated:
    treatment = cohort.treatment
    followed = np.maximum((~np.isnan(treatment.benefit)).sum(axis=1), 1)
    days = (cohort.enrolled - BEGIN).total_seconds() / _SECONDS_PER_DAY
    return Treated(
        cohort.names,
        np.full(len(cohort.names), days),
        np.nansum(treatment.benefit, axis=1) / followed,
        treatment.event >= 1.0 - 1e-9,
    )
