"""The five arms of Ravvaz 2017, which Anzabi Zadeh 2023 compares a learned policy with.

Ravvaz K, Weissert JA, Ruff CT, Chi CL, Tonellato PJ. Personalized anticoagulation: optimizing warfarin
management using genetics and simulated clinical trials. Circ Cardiovasc Genet 2017,
doi:10.1161/circgenetics.117.001804. The names have three parts, initial doses, adjustment and maintenance: A
Aurora, C clinical, PG pharmacogenetic, I Intermountain. An arm doses day by day and asks for its next INR
itself. Research simulation, not for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.initiation import EU_PACT_GENOTYPE, FirstDoses, Initiation
from dosewright.agents.regimens.titration import AURORA, INTERMOUNTAIN, Titration
from dosewright.agents.regimens.trial_arm import TrialArm, TrialArmState
from dosewright.agents.regimens.warfarin_doses import Seen
from dosewright.envs import Scenario
from dosewright.envs.scenarios import DoseEquation
from dosewright.envs.scenarios.warfarin import IWPC_CLINICAL, IWPC_PHARMACOGENETIC

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

_SOURCE = "Ravvaz 2017, doi:10.1161/circgenetics.117.001804; read in github.com/anzabizadeh/ReiL"
_THIRD_DAY = 2  # counted from 0
_THERAPEUTIC, _THEN_MG = 2.0, 5.0


@dataclass(frozen=True)
class AuroraFirstCheck(TrialArm):
    """An arm whose INR of day 3 changes the dose of days 3 and 4: 5 mg from an INR of 2 on, whatever the dose
    before, by Aurora's table below it."""

    def _refined(
        self, seen: dict[str, Floats], dose: Floats, state: TrialArmState, inr: Floats, drawn: Floats
    ) -> tuple[Floats, Bools]:
        here = drawn == _THIRD_DAY
        factor = np.ones(len(dose))
        for zone in self.titration.table.zones:
            factor = np.where(zone.band.contains(inr), zone.factor, factor)
        revised = np.where(inr >= _THERAPEUTIC, _THEN_MG, dose * factor)
        return np.where(here, revised, dose), state.changed | here


def _aurora_doses(seen: Seen) -> FirstDoses:
    """10 mg, from 65 years on 5 mg."""
    dose = np.where(seen["age_y"] < 65, 10.0, 5.0)
    return dose, dose, dose, dose


def _same_every_day(equation: DoseEquation) -> Callable[[Seen], FirstDoses]:
    def doses(seen: Seen) -> FirstDoses:
        dose = equation.dose(seen)
        return dose, dose, dose, dose

    return doses


def _start(name: str, doses: Callable[[Seen], FirstDoses], needs: frozenset[str]) -> Initiation:
    return Initiation(name, doses, None, needs, "VERIFIED", _SOURCE)


_CHECKED = {
    "AAA": _start("Aurora: 10 mg, from 65 years on 5 mg", _aurora_doses, frozenset({"age_y"})),
    "CAA": _start("IWPC, clinical", _same_every_day(IWPC_CLINICAL), IWPC_CLINICAL.needs),
    "PGAA": _start(
        "IWPC, pharmacogenetic", _same_every_day(IWPC_PHARMACOGENETIC), IWPC_PHARMACOGENETIC.needs
    ),
}
# Aurora's maintenance reads the INR of day 5 first; where Lenzini doses days 4 and 5, that of day 6
_FROM_DAY_5 = Titration(replace(AURORA, first_day=4), "of the rule")
_FROM_DAY_6 = {
    "PGPGA": Titration(replace(AURORA, first_day=5), "of the rule"),
    "PGPGI": Titration(replace(INTERMOUNTAIN, first_day=5, averaged=None), "of the rule"),
}


def ravvaz_arms(scenario: Scenario) -> dict[str, TrialArm]:
    """Return the arms by name.

    Parameters
    ----------
    scenario
        The decision problem, with a decision every day and everything that the equations ask for.
    """
    checked = {name: AuroraFirstCheck(scenario, name, start, _FROM_DAY_5) for name, start in _CHECKED.items()}
    loaded = {
        name: TrialArm(scenario, name, EU_PACT_GENOTYPE, titration) for name, titration in _FROM_DAY_6.items()
    }
    return {**checked, **loaded}
