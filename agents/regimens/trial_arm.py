"""An arm of a warfarin trial: how it starts, then how a clinic titrates. It doses day by day."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.initiation import Initiation
from dosewright.agents.regimens.nomogram import first_visits
from dosewright.agents.regimens.titration import Titration, TitrationState
from dosewright.envs import Scenario

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# days counted from 0: the INRs of days 4 and 5 are the trial's, later ones the clinic's
_FIRST_REFINING, _LAST_REFINING = 3, 4
_REMEMBERED = 8  # days whose doses an INR or an average may ask for


@dataclass(frozen=True)
class TrialArmState:
    """Memory of n patients.

    Attributes
    ----------
    dose : (n,) daily dose in force, mg, not rounded, so that small changes add up
    changed : (n,) bool, whether an INR has changed the planned doses
    given : (n, 8) dose given on each of the first days, mg; 0 where not yet
    titration
        The clinic's.
    """

    dose: Floats
    changed: Bools
    given: Floats
    titration: TitrationState

    @property
    def next_visit(self) -> Floats:
        """(n,) day, counted from 0, of the INR that the arm asks for; infinite: none."""
        return self.titration.next_visit

    @classmethod
    def begin(cls, n: int) -> TrialArmState:
        """Return the memory of n patients before the first dose."""
        return cls(np.zeros(n), np.zeros(n, dtype=bool), np.zeros((n, _REMEMBERED)), TitrationState.begin(n))


@dataclass(frozen=True)
class TrialArm:
    """Start, refine, titrate.

    A result that comes late is acted upon when it comes, by the rule of the day it was drawn; a visit without
    a result changes nothing. The dose in force stays between the grid's smallest and largest; planned doses
    are the equations' own, and capped by the environment.

    Attributes
    ----------
    scenario
        The decision problem, with a decision every day.
    name
        Name of the arm.
    initiation, titration
        Its two parts.
    """

    scenario: Scenario
    name: str
    initiation: Initiation
    titration: Titration

    @property
    def needs(self) -> frozenset[str]:
        """What the start asks for."""
        return self.initiation.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: TrialArmState | None = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, TrialArmState]:
        """Return the dose of the day (n,), mg, and the memory of the patients."""
        seen, n = self.scenario.observation.decode(observation), len(observation)
        state = _begun_anew(state, first_visits(n, state, episode_start))
        day, table = seen["day"], self.titration.table
        state = replace(state, given=_noted(state.given, day, seen["last_dose"]))
        # observations are single precision: 1.8 as the laboratory prints it must not read as below 1.8
        inr = np.round(np.where(seen["inr_new"] > 0.5, seen["inr"], np.nan), 5).astype(np.float64)
        drawn = np.where(np.isnan(inr), np.nan, day - seen["inr_age"])
        planned = np.stack(self.initiation.doses(seen))
        planning = ~state.changed & (day < table.first_day)
        dose = np.where(planning, planned[np.minimum(day, 3).astype(np.intp), np.arange(n)], state.dose)
        if table.averaged is not None:
            mean = state.given[:, slice(*table.averaged)].mean(axis=1)
            dose = np.where(day == table.first_day, mean, dose)
        dose, changed = self._refined(seen, dose, state, inr, drawn)
        for_clinic = np.where(drawn >= table.first_day, inr, np.nan)
        grid = self.scenario.doses
        dose, today, titration = self.titration.titrate(
            state.titration, np.maximum(dose, grid.step), day, for_clinic
        )
        in_force = np.clip(dose, grid.step, grid.maximum)
        return today, replace(state, dose=in_force, changed=changed, titration=titration)

    def _refined(
        self, seen: dict[str, Floats], dose: Floats, state: TrialArmState, inr: Floats, drawn: Floats
    ) -> tuple[Floats, Bools]:
        """Return the dose in force and who no longer follows the plan, after an INR of day 4 or 5."""
        here = (drawn >= _FIRST_REFINING) & (drawn <= _LAST_REFINING)
        if self.initiation.revised is None or not here.any():
            return dose, state.changed
        days = np.where(here, drawn, _FIRST_REFINING).astype(np.intp)[:, None] - np.array([2, 3, 4])
        before = np.take_along_axis(state.given, np.maximum(days, 0), axis=1)
        revised = self.initiation.revised(seen, inr, np.where(days < 0, 0.0, before), dose)
        return np.where(here, revised, dose), state.changed | here


def _begun_anew(state: TrialArmState | None, first: Bools) -> TrialArmState:
    """Return the memory with that of patients at their `first` (n,) visit begun anew."""
    fresh = TrialArmState.begin(len(first))
    if state is None:
        return fresh

    def mixed(new: NDArray[Any], old: NDArray[Any]) -> NDArray[Any]:
        return np.where(first.reshape(-1, *[1] * (old.ndim - 1)), new, old)

    titration = {
        field.name: mixed(getattr(fresh.titration, field.name), getattr(state.titration, field.name))
        for field in fields(TitrationState)
    }
    return TrialArmState(
        dose=mixed(fresh.dose, state.dose),
        changed=mixed(fresh.changed, state.changed),
        given=mixed(fresh.given, state.given),
        titration=TitrationState(**titration),
    )


def _noted(given: Floats, day: Floats, last_dose: Floats) -> Floats:
    """Return the doses of the first days with that of yesterday."""
    rows = np.flatnonzero((day >= 1) & (day <= _REMEMBERED))
    noted = given.copy()
    noted[rows, day[rows].astype(np.intp) - 1] = last_dose[rows]
    return noted
