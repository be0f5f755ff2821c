"""Anzabi Zadeh 2023: warfarin over 90 days on virtual patients of the Aurora population.

Anzabi Zadeh S, Street WN, Thomas BW. Optimizing warfarin dosing using deep reinforcement learning. J Biomed
Inform 2023;137:104267. The patients are those of Ravvaz 2017 (Circ Cardiovasc Genet,
doi:10.1161/circgenetics.117.001804). What the paper does not say was read in the authors' program
(github.com/anzabizadeh/ReiL).

The program draws every random effect from the middle half of its distribution. Both readings are here:
``warfarin-anzabi-zadeh`` leaves the random effects whole, ``warfarin-anzabi-zadeh-cut`` cuts them so.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.patients import Share, Spread, Stratum
from dosewright.envs.pharmacology import PopulationModel, ResidualError
from dosewright.envs.pharmacology.model import Route
from dosewright.envs.pharmacology.models import warfarin_hamberg2007, warfarin_hamberg2010
from dosewright.envs.scenarios.dosing import DoseGrid
from dosewright.envs.scenarios.protocols.people import (
    MIDDLE_HALF_VARIANCE,
    PublishedPopulation,
    genotyped,
    mosteller,
)
from dosewright.envs.scenarios.scenario import Scenario
from dosewright.envs.scenarios.warfarin import AURORA, SCENARIO

Floats = NDArray[np.float64]

_PAPER = "Anzabi Zadeh 2023, J Biomed Inform 137:104267"
_PROGRAM = "github.com/anzabizadeh/ReiL"

# the program's factors
_KG, _CM = 0.454, 2.54

DIPLOTYPES = {
    "CYP2C9": {
        "*1/*1": 0.6739, "*1/*2": 0.1486, "*1/*3": 0.0925, "*2/*2": 0.0651, "*2/*3": 0.0197, "*3/*3": 0.0002,
    },
    "VKORC1": {"GG": 0.3837, "GA": 0.4418, "AA": 0.1745},
}  # fmt: skip

# (race, share, biogeographic group). The program has 0.0001 of Pacific Islanders besides, so that the shares
# add up to 1; no equation has a term for them or for American Indians
_RACES = (
    ("White", 0.9522, "European"),
    ("Black", 0.0419, "African American/Afro-Caribbean"),
    ("Asian", 0.0040, "East Asian"),
    ("American Indian or Pacific Islander", 0.0018 + 0.0001, "American"),
)
# height and weight do not depend on sex; what lies outside is set to the limit (the program's limits)
_HEIGHT = Spread(66.78 * _CM, 4.31 * _CM, 45 * _CM, 85 * _CM)
_WEIGHT = Spread(199.24 * _KG, 54.71 * _KG, 70 * _KG, 500 * _KG)

BIOAVAILABILITY = 0.9  # the program's; Hamberg 2007 has 1
# The program reads Hamberg 2007's tables as variances on the log scale; this library's model reads them as
# coefficients of variation
_VARIANCES = {"CL": 0.310, "V1": 0.262, "V2": 0.991, "EC50": 0.409, "MTT1": 0.141, "MTT2": 1.02}
# The program lets an error of SD 0.301 act on the concentration of every hour and one of 0.0325 on the INR of
# every day; together they move the log of a day's INR by 0.042 (docs/peers.md)
_INR_ERROR = ResidualError(0.042, flag="ASSUMPTION", source=f"{_PROGRAM}; two terms of Hamberg 2007 joined")

# the program's is 1 for everybody; a belief cannot be about a quantity without a spread
_BASELINE = (1.0, 0.001)

CALENDAR = (0, 2, *range(5, 90, 7))


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the racemic daily dose (mg) that holds the INR at `target` in steady state.

    Parameters
    ----------
    theta : (..., 11) individual parameters of Hamberg 2007.
    target : INR.
    """
    return warfarin_hamberg2007.maintenance_dose(theta, target) / BIOAVAILABILITY


def _model(cut: bool) -> PopulationModel:
    scale = MIDDLE_HALF_VARIANCE if cut else 1.0
    absorbed = warfarin_hamberg2007.S_FRACTION.value * BIOAVAILABILITY
    model = replace(
        warfarin_hamberg2007.TOTAL,
        name="warfarin_anzabi_zadeh2023",
        title="Warfarin, S-warfarin and INR (Hamberg 2007 as read by Anzabi Zadeh 2023)",
        sources=(*warfarin_hamberg2007.TOTAL.sources, _PROGRAM),
        parameters=tuple(
            replace(item, variance=scale * _VARIANCES.get(item.name, 0.0))
            for item in warfarin_hamberg2007.PARAMETERS
        ),
        routes=(Route("oral", "A0", absorbed),),
    )
    return genotyped(model, DIPLOTYPES, tuple(group for _, _, group in _RACES))


def _population(cut: bool) -> PublishedPopulation:
    return PublishedPopulation(
        strata=tuple(
            Stratum(race, share, group, race, Spread(67.3, 13.43, 18, 100), 1 - 0.5314, _HEIGHT, _HEIGHT,
                    _WEIGHT)
            for race, share, group in _RACES
        ),
        races=SCENARIO.population.races,
        groups=SCENARIO.population.groups,
        # not published, so nobody has it (ASSUMPTION)
        absent=("inducer", "stroke", "diabetes", "dvt_or_pe"),
        flag="VERIFIED",
        source=f"{_PAPER}: the Aurora population of Ravvaz 2017",
        extra=(("amiodarone", Share(0.1151)), ("smoker", Share(0.0933)), ("fluvastatin", Share(0.0002))),
        derive=mosteller,
        diplotypes=DIPLOTYPES,
        middle_half=cut,
    )  # fmt: skip


def _protocol(name: str, cut: bool) -> Scenario:
    how = "cut to the middle half of their distributions" if cut else "whole"
    return replace(
        SCENARIO,
        name=name,
        title=f"Warfarin, Anzabi Zadeh 2023: INR 2 to 3 over 90 days, random effects {how}",
        version=0,
        description="A person of the Aurora population starts warfarin. The dose is decided on days 0, 2 and "
        "5, then weekly; follow-up ends on day 90. Kinetics and INR follow Hamberg 2007, random effects "
        f"{how}.",
        model=_model(cut),
        alternative=genotyped(warfarin_hamberg2010.MODEL, DIPLOTYPES, tuple(group for _, _, group in _RACES)),
        calendar=CALENDAR,
        population=_population(cut),
        base=_BASELINE,
        cohort=None,
        doses=DoseGrid("mg/day", 0.5, 15.0),
        measurements=(replace(SCENARIO.measurement, error=_INR_ERROR),),
        maintenance_dose=maintenance_dose,
        # Aurora's first check is on day 3, which is two days after the first dose
        adjustment=replace(AURORA, early=(2, 2.0, 5.0)),
        discriminates="dosewright replicate anzabi-zadeh",
        assumptions=(
            f"Random effects are {how}; the program cuts them.",
            "Bioavailability 0.9, baseline INR 1 for everybody, and variances read on the log scale are the "
            "program's.",
            "A day's INR has a log error of SD 0.042, which stands for the program's errors of concentration "
            "and INR.",
            "Age is limited to 18 to 100 years, height to 45 to 85 inches, weight to 70 to 500 pounds.",
        ),
        sources=(_PAPER, _PROGRAM, *SCENARIO.sources),
    )


PROTOCOLS = (
    _protocol("warfarin-anzabi-zadeh", cut=False),
    _protocol("warfarin-anzabi-zadeh-cut", cut=True),
)
