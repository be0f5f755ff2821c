"""Augustin 2023: nineteen days of warfarin, an INR and a dose every day.

Augustin D, Lambert B, Robinson M, Wang K, Gavaghan D. Simulating clinical trials for model-informed precision
dosing: using warfarin treatment as a use case. Front Pharmacol 2023;14:1270443. What the paper does not say
was read in the authors' program (github.com/DavAug/mipd-warfarin).

There policies learn on the model of Hamberg 2010 and are tested on a systems model of coagulation, which this
library does not have: `alternative`, Hamberg 2007, stands in for it as another structure.
``warfarin-augustin-30`` allows the published 30 mg a day, ``warfarin-augustin-15`` half of it.
"""

from __future__ import annotations

from dataclasses import replace

from dosewright.envs.patients import Spread, Stratum
from dosewright.envs.pharmacology.models import warfarin_hamberg2007, warfarin_hamberg2010
from dosewright.envs.scenarios.dosing import DoseGrid
from dosewright.envs.scenarios.protocols.people import PublishedPopulation, genotyped, mosteller
from dosewright.envs.scenarios.scenario import Scenario
from dosewright.envs.scenarios.warfarin import SCENARIO

_PAPER = "Augustin 2023, Front Pharmacol 14:1270443"
_PROGRAM = "github.com/DavAug/mipd-warfarin"
_GROUP = "European"

DAYS = 19

DIPLOTYPES = {
    "CYP2C9": {
        "*1/*1": 0.62, "*1/*2": 0.20, "*1/*3": 0.12, "*2/*2": 0.03, "*2/*3": 0.02, "*3/*3": 0.01,
    },
    "VKORC1": {"GG": 0.35, "GA": 0.45, "AA": 0.20},
}  # fmt: skip

# the program knows age and genotype alone; sex, height and weight, which only equations ask for, are those of
# EU-PACT (ASSUMPTION)
_EU_PACT = next(item for item in SCENARIO.population.strata if item.name == "EU-PACT")
_STRATUM: Stratum = replace(
    _EU_PACT, name="Augustin 2023", share=1.0, group=_GROUP, age=Spread(50.0, 0.15, log=True)
)

_POPULATION = PublishedPopulation(
    strata=(_STRATUM,),
    races=SCENARIO.population.races,
    groups=SCENARIO.population.groups,
    absent=("amiodarone", "inducer", "stroke", "diabetes", "dvt_or_pe", "smoker", "fluvastatin"),
    flag="PARTIAL",
    source=f"{_PROGRAM}: age and diplotypes",
    derive=mosteller,
    diplotypes=DIPLOTYPES,
)


def _protocol(most: int) -> Scenario:
    return replace(
        SCENARIO,
        name=f"warfarin-augustin-{most}",
        title=f"Warfarin, Augustin 2023: {DAYS} days, up to {most} mg a day",
        version=0,
        description=f"A person starts warfarin. Every morning of {DAYS} days an INR is measured and the "
        f"day's dose decided, up to {most} mg. Kinetics and INR follow Hamberg 2010.",
        model=genotyped(warfarin_hamberg2010.MODEL, DIPLOTYPES, (_GROUP,)),
        alternative=genotyped(warfarin_hamberg2007.TOTAL, DIPLOTYPES, (_GROUP,)),
        calendar=tuple(range(DAYS)),
        horizon=DAYS,
        scored=DAYS,
        population=_POPULATION,
        cohort=None,
        doses=DoseGrid("mg/day", 0.5, float(most)),
        discriminates="dosewright replicate augustin",
        assumptions=(
            "The systems model of coagulation on which the authors test is not in this library; Hamberg 2007 "
            "is the other model.",
            "Baseline INR and its error are those of the warfarin scenario.",
            "Sex, height and weight are EU-PACT's; nobody takes an interacting drug.",
        ),
        sources=(_PAPER, _PROGRAM, *SCENARIO.sources),
    )


PROTOCOLS = (_protocol(30), _protocol(15))
