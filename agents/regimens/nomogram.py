"""A clinic's adjustment table, interpreted: label dosing and nomograms.

The scenario holds the tables as data. On a fixed calendar a rule that skips doses or stops the drug holds it
until the next visit when that is near, and otherwise gives the reduced dose at once.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.scenarios import AdjustmentTable

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class NomogramState:
    """Memory of n patients.

    Attributes
    ----------
    maintenance : (n,) dose in force, not rounded, so that small changes add up
    changed : (n,) day of the last change; far in the past before the first
    held : (n,) bool, doses are being skipped
    stopped : (n,) bool, the drug is stopped until the response is back
    """

    maintenance: Floats
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
        ``start(decoded) -> (n,)``: first dose from decoded observation entries.
    table
        The clinic's table.
    needs
        What the start asks for.
    """

    scenario: Scenario
    name: str
    start: Callable[[dict[str, Floats]], Floats]
    table: AdjustmentTable
    needs: frozenset[str] = field(default_factory=frozenset)

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
        first = (
            ~never if state is None else never if episode_start is None else np.asarray(episode_start, bool)
        )
        if state is None:
            state = NomogramState(np.zeros(n), np.full(n, -np.inf), never, never)
        state = NomogramState(
            maintenance=np.where(first, self.start(seen), state.maintenance),
            changed=np.where(first, -np.inf, state.changed),
            held=state.held & ~first,
            stopped=state.stopped & ~first,
        )
        return self._follow(seen, state, first)

    def _follow(
        self, seen: dict[str, Floats], state: NomogramState, first: Bools
    ) -> tuple[Floats, NomogramState]:
        """Apply the table where a new result is in hand; without one the dose in force is kept."""
        name, table = self.scenario.output.lower(), self.table
        # observations are single precision: 1.8 as the laboratory prints it must not read as below 1.8
        response: Floats = np.where((seen[f"{name}_new"] > 0.5) & ~first, seen[name], np.nan)
        response = np.asarray(np.round(response, 5), dtype=np.float64)
        day, near = seen["day"], seen["next_interval"] <= table.hold_days
        waited = day - state.changed >= table.wait_days
        # skipped doses are over by now; a stopped drug waits for the response, unless the next visit is far
        resuming = state.held & (~state.stopped | (response <= table.resume_below) | ~near)
        state = replace(state, held=state.held & ~resuming, stopped=state.stopped & ~resuming)
        state, checking = self._early_check(state, day, response)
        for row in table.rows:
            here = row.band.contains(response) & ~state.held & ~checking
            urgent = row.hold != "no"
            here &= ~resuming & (waited | urgent) if not urgent else np.ones_like(here)
            if row.factor != 1:
                state = replace(
                    state,
                    maintenance=np.where(here, state.maintenance * row.factor, state.maintenance),
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
        self, state: NomogramState, day: Floats, response: Floats
    ) -> tuple[NomogramState, Bools]:
        """Apply the table's early check; return also who waits for the next visit because of it."""
        if self.table.early is None:
            return state, np.zeros(len(day), dtype=bool)
        on_day, threshold, ceiling = self.table.early
        high = (day == on_day) & (response >= threshold)
        return replace(
            state, maintenance=np.where(high, np.minimum(state.maintenance, ceiling), state.maintenance)
        ), high


def label(scenario: Scenario) -> Nomogram:
    """The label: the usual start dose, and its table."""
    return Nomogram(
        scenario, "label", lambda seen: np.full(len(seen["day"]), scenario.label_dose), scenario.label_table
    )


def nomogram(scenario: Scenario) -> Nomogram:
    """Genotype-guided start, then the clinic's table."""
    equation = scenario.guideline
    return Nomogram(scenario, "nomogram", equation.dose, scenario.nomogram_table, equation.needs)


def clinical_nomogram(scenario: Scenario) -> Nomogram:
    """Start without genotype, then the clinic's table: usual care."""
    equation = scenario.clinical_equation
    return Nomogram(scenario, "clinical-nomogram", equation.dose, scenario.nomogram_table, equation.needs)
