"""A clinic's adjustment table, interpreted: label dosing and nomograms.

The scenario holds the tables as data. On a fixed calendar a rule that skips doses or stops the drug holds it
until the next visit when that is near, and otherwise gives the reduced dose at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.guideline import guided_start
from dosewright.envs import Scenario
from dosewright.envs.scenarios import Adjustment, AdjustmentRow, AdjustmentTable, ProportionalRule, StartRule

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class NomogramState:
    """Memory of n patients.

    Attributes
    ----------
    maintenance : (n,) dose in force, not rounded, so that small changes add up
    first : (n,) dose it began with
    changed : (n,) day of the last change; far in the past before the first
    held : (n,) bool, doses are being skipped
    stopped : (n,) bool, the drug is stopped until the response is back
    """

    maintenance: Floats
    first: Floats
    changed: Floats
    held: Bools
    stopped: Bools


@dataclass(frozen=True)
class Nomogram:
    """Start with a dose, then follow a table.

    Attributes
    ----------
    scenario
        The decision problem.
    name
        Name of the arm.
    start
        First dose.
    table
        The clinic's table; None: nothing that is measured changes the dose, and the first rule is read anew
        at every visit (a child grows out of its weight band).
    """

    scenario: Scenario
    name: str
    start: StartRule
    table: AdjustmentTable | None

    @property
    def needs(self) -> frozenset[str]:
        """What the start asks for."""
        return self.start.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, NomogramState]:
        """Return the dose (n,) and the memory of the patients."""
        seen = self.scenario.observation.decode(observation)
        n = len(observation)
        never = np.zeros(n, dtype=bool)
        first = first_visits(n, state, episode_start)
        if state is None:
            state = NomogramState(np.zeros(n), np.zeros(n), np.full(n, -np.inf), never, never)
        start = self.start.dose(seen)
        state = NomogramState(
            maintenance=np.where(first, start, state.maintenance),
            first=np.where(first, start, state.first),
            changed=np.where(first, -np.inf, state.changed),
            held=state.held & ~first,
            stopped=state.stopped & ~first,
        )
        if self.table is None:
            return start, state
        return self._follow(self.table, seen, state, first)

    def _follow(
        self, table: AdjustmentTable, seen: dict[str, Floats], state: NomogramState, first: Bools
    ) -> tuple[Floats, NomogramState]:
        """Apply the table where a new result is in hand; without one the dose in force is kept."""
        name = self.scenario.measurement.name
        value = seen[name] if table.value is None else table.value(seen)
        new = ~first if table.value is not None else (seen[f"{name}_new"] > 0.5) & ~first
        # observations are single precision: 1.8 as the laboratory prints it must not read as below 1.8
        response: Floats = np.asarray(np.round(np.where(new, value, np.nan), 5), dtype=np.float64)
        day, near = seen[self.scenario.clock.entry], seen["next_interval"] <= table.hold_days
        waited = day - state.changed >= table.wait_days
        # skipped doses are over by now; a stopped drug waits for the response, unless the next visit is far
        back = (response <= table.resume_below) & (response >= table.resume_above)
        resuming = state.held & (~state.stopped | back | ~near)
        state = replace(state, held=state.held & ~resuming, stopped=state.stopped & ~resuming)
        state, checking = self._early_check(table, state, day, response)
        for row in table.rows:
            here = row.band.contains(response) & ~state.held & ~checking
            urgent = row.hold != "no"
            if not urgent:
                here &= ~resuming & waited
            if row.factor != 1 or row.add != 0:
                state = replace(
                    state,
                    maintenance=np.where(here, _changed(table, row, state), state.maintenance),
                    changed=np.where(here, day, state.changed),
                )
            if urgent:
                state = replace(
                    state,
                    held=state.held | (here & near),
                    stopped=state.stopped | (here & near & (row.hold == "stop")),
                )
        return np.where(state.held, 0.0, state.maintenance), state

    def _early_check(
        self, table: AdjustmentTable, state: NomogramState, day: Floats, response: Floats
    ) -> tuple[NomogramState, Bools]:
        """Apply the table's early check; return also who waits for the next visit because of it."""
        if table.early is None:
            return state, np.zeros(len(day), dtype=bool)
        on_day, threshold, ceiling = table.early
        high = (day == on_day) & (response >= threshold)
        return replace(
            state, maintenance=np.where(high, np.minimum(state.maintenance, ceiling), state.maintenance)
        ), high


def _changed(table: AdjustmentTable, row: AdjustmentRow, state: NomogramState) -> Floats:
    """Return the dose (n,) after one line of a table."""
    dose = state.maintenance
    if table.levels and row.factor < 1:
        lower = np.array([*table.levels, table.levels[-1]])
        return lower[[min(int(np.sum(np.array(table.levels) >= d - 1e-9)), len(lower) - 1) for d in dose]]
    dose = np.maximum(dose * row.factor + row.add, 0.0)
    return dose if table.most is None else np.minimum(dose, table.most * state.first)


@dataclass(frozen=True)
class ProportionalState:
    """Memory of n patients: the dose in force (n,), not rounded, and whether it is left out (n,)."""

    dose: Floats
    omitted: Bools


@dataclass(frozen=True)
class Proportional:
    """Start with a dose, then hold the response at a target to which it is proportional.

    Attributes
    ----------
    scenario
        The decision problem.
    name
        Name of the arm.
    start
        First dose.
    rule
        The clinic's rule.
    """

    scenario: Scenario
    name: str
    start: StartRule
    rule: ProportionalRule

    @property
    def needs(self) -> frozenset[str]:
        """What the start asks for."""
        return self.start.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: ProportionalState | None = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, ProportionalState]:
        """Return the dose (n,) and the memory of the patients."""
        seen, rule, n = self.scenario.observation.decode(observation), self.rule, len(observation)
        first = first_visits(n, state, episode_start)
        if state is None:
            state = ProportionalState(np.zeros(n), np.zeros(n, dtype=bool))
        # a response to a dose that was left out says nothing about the dose in force
        value = np.where(first | state.omitted, np.nan, rule.value(seen))
        target = rule.target(seen)
        with np.errstate(divide="ignore", invalid="ignore"):
            factor = np.clip(target / value, *rule.within)
        outside = np.abs(value - target) > rule.dead_band * target
        dose = np.where(~np.isnan(value) & outside, state.dose * factor, state.dose)
        dose = np.minimum(np.where(first, self.start.dose(seen), dose), self.scenario.doses.maximum)
        omitted = (value > rule.omit_above) & (seen["next_interval"] <= rule.hold_days)
        return np.where(omitted, 0.0, dose), ProportionalState(dose, omitted)


def first_visits(n: int, state: object, episode_start: Bools | None) -> Bools:
    """Return (n,) which patients are at their first visit."""
    if state is None:
        return np.ones(n, dtype=bool)
    return np.zeros(n, dtype=bool) if episode_start is None else np.asarray(episode_start, dtype=bool)


def _followed(
    scenario: Scenario, name: str, start: StartRule, adjustment: Adjustment | None
) -> Nomogram | Proportional:
    if isinstance(adjustment, ProportionalRule):
        return Proportional(scenario, name, start, adjustment)
    return Nomogram(scenario, name, start, adjustment)


def label(scenario: Scenario) -> Nomogram | Proportional:
    """The label: the usual start dose, and its rule."""
    return _followed(scenario, "label", scenario.label, scenario.label_adjustment)


def nomogram(scenario: Scenario) -> Nomogram | Proportional:
    """Genotype-guided start, then the clinic's rule."""
    return _followed(scenario, "nomogram", guided_start(scenario), scenario.adjustment)


def clinical_nomogram(scenario: Scenario) -> Nomogram | Proportional:
    """Start without genotype, then the clinic's rule: usual care."""
    return _followed(scenario, "clinical-nomogram", scenario.clinical_start, scenario.adjustment)
