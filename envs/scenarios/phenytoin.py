"""Phenytoin: level 10 to 20 mg/L over the first 84 days, with saturable elimination.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import RACE_GROUPS, Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology.models.phenytoin_grasela1983 import MODEL
from dosewright.envs.realism import TEXTBOOK, Drift, Interaction, Occasion, Realism
from dosewright.envs.scenarios.dosing import DoseGrid, Reading, split
from dosewright.envs.scenarios.scenario import (
    AdjustmentRow,
    AdjustmentTable,
    Clock,
    DoseRule,
    Monitoring,
    Outcome,
    Response,
    Scenario,
    Seen,
    fixed_start,
)
from dosewright.envs.scenarios.scoring import Band, Event

Floats = NDArray[np.float64]

# ---------------------------------------------------------------------------------------------------- people


def _country(known: dict[str, Floats]) -> dict[str, Floats]:
    """Grasela's patients of East Asian ancestry were Japanese; nobody else is."""
    return {"japanese": known["race_asian"]}


_BODY = {"age": Spread(40, 15, 18, 80), "male": 0.53, "height_male": Spread(175, 7),
         "height_female": Spread(162, 7), "weight": Spread(70, 14, 40, 120)}  # fmt: skip
_JAPANESE = {"age": Spread(40, 15, 18, 80), "male": 0.53, "height_male": Spread(168, 6),
             "height_female": Spread(156, 6), "weight": Spread(59, 11, 38, 100)}  # fmt: skip
# the source names countries without numbers: 60 / 15 / 10 / 10 / 5 % (ASSUMPTION)
POPULATION = VirtualPopulation(
    strata=(
        Stratum("European", 0.60, "European", "White", **_BODY),
        Stratum("African American/Afro-Caribbean", 0.15, "African American/Afro-Caribbean", "Black", **_BODY),
        Stratum("Japanese", 0.10, "East Asian", "Asian", **_JAPANESE),
        Stratum("Latino", 0.10, "Latino", "Latino", **_BODY),
        Stratum("Central/South Asian", 0.05, "Central/South Asian", "South Asian", **_BODY),
    ),
    races=tuple(RACE_GROUPS),
    groups=RACE_GROUPS,
    # Yukawa's covariate, for whoever tries that model; in the clinic preset others come as an interaction
    absent=("other_antiepileptics",),
    flag="PARTIAL",
    source="Grasela 1983: 322 patients from Japan, Germany and England, 53 % men; their mean age is 18, "
    "adults only are drawn here, with age and weight assumed; alleles: CPIC",
    derive=_country,
)

# ---------------------------------------------------------------------------------------------------- target

IN_RANGE = Band("trough 10 to 20 mg/L", at_least=10.0, at_most=20.0)
ABOVE_20 = Band("trough above 20 mg/L", above=20.0)
ABOVE_25 = Band("trough above 25 mg/L", above=25.0)
BELOW_10 = Band("trough below 10 mg/L", below=10.0)

# -------------------------------------------------------------------------------------------- clinics' rules

_STAR2, _STAR3 = allele_entry("CYP2C9", "*2"), allele_entry("CYP2C9", "*3")
_C19_STAR2, _C19_STAR9 = allele_entry("CYP2C19", "*2"), allele_entry("CYP2C19", "*9")

STANDARD = 300.0
LABEL = fixed_start(STANDARD, "300 mg a day", "RECALLED", "label, usual adult dose")


def _cpic(seen: Seen) -> Floats:
    """Standard dose at a CYP2C9 activity score of 1.5 and more, 25 % less at 1, 50 % less below."""
    score = 2.0 - 0.5 * seen[_STAR2] - seen[_STAR3]
    share = np.select([score >= 1.5, score >= 1.0, score < 1.0], [1.0, 0.75, 0.5], np.nan)
    return STANDARD * share


GUIDELINE = DoseRule(
    "CPIC by CYP2C9", _cpic, frozenset({_STAR2, _STAR3}), "VERIFIED",
    "CPIC for CYP2C9: standard dose at an activity score of 1.5, 25 % less at 1, 50 % less in poor "
    "metabolisers",
)  # fmt: skip

STEPS = AdjustmentTable(
    name="steps by level",
    rows=(
        AdjustmentRow(Band("below 7 mg/L", below=7.0), add=100.0),
        AdjustmentRow(Band("7 to 12 mg/L", at_least=7.0, below=12.0), add=50.0),
        # "and not enough effect": seizures are not in the model, so nothing more is added (ASSUMPTION)
        AdjustmentRow(Band("12 to 20 mg/L", at_least=12.0, at_most=20.0)),
        AdjustmentRow(Band("20 to 25 mg/L", above=20.0, at_most=25.0), add=-50.0),
        AdjustmentRow(ABOVE_25, factor=0.8, hold="stop"),
    ),
    wait_days=7,
    resume_below=20.0,
    # the clinic holds for 1 to 3 days and measures again; here the next level is one or two weeks away, and
    # a stop lasts until then (ASSUMPTION: the stricter reading, and the better rule in simulation)
    hold_days=14,
    early=None,
    flag="RECALLED",
    source="+ 100, + 50 or − 25 to − 50 mg/day by level, above 25 mg/L held until below 20 "
    "and begun again with 20 % less (RECALLED); levels a week and more after a change (PARTIAL)",
)

# ----------------------------------------------------------------------------------------------- the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.08,
    occasions=(Occasion("Vmax", 0.10, 30),),
    drifts=(Drift("Vmax", 0.03),),
    # other antiepileptics, the whole time: both factors VERIFIED (Yukawa 1990). No enzyme: they are a mixture
    # of inducers (Vmax) and inhibitors (Km) of CYP2C9 and CYP2C19, and the paper has no genotypes
    interactions=(Interaction("Vmax", share=0.30, factors=((1.08, 1.0),), units=None, also=(("Km", 1.32),)),),
    late=0.20,
    missing=0.10,
    dropout_per_month=0.02,
    source="assumed; size of the interaction: Yukawa 1990",
)

SCENARIO = Scenario(
    name="phenytoin",
    title="Phenytoin, level 10 to 20 mg/L over the first 84 days",
    version=0,
    description="An adult with epilepsy starts phenytoin in two doses a day, without a load. At eight "
    "visits the clinic sees a trough and prescribes the daily dose until the next visit; follow-up ends on "
    "day 84. Elimination is saturable: near its maximum a tablet more doubles the level, and beyond it the "
    "level rises without end. Kinetics follow Grasela 1983 with weight and ancestry, and Mamiya 1998 with "
    "CYP2C9 and CYP2C19.",
    model=MODEL,
    alternative=None,
    misspecified=(("ka", 0.5),),  # ASSUMPTION
    no_alternative="There is no second model of the same population; Yukawa 1990 (`phenytoin_yukawa1990`) "
    "is one of Japanese patients, with the same equations.",
    clock=Clock(),
    calendar=(0, 7, 14, 21, 28, 42, 56, 70),
    horizon=84,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/day", 25.0, 600.0),
    administrations=(split("oral", (0.0, 12.0), per_unit=2.0),),
    readings=(Reading("trough", 24.0),),
    responses=(Response("level", "mg/L", lambda reads: reads["trough", "C"], before="C"),),
    measurements=(
        Measurement(
            # a dose above Vmax raises the level by the day, to 1500 mg/L and more in a small poor metaboliser
            "level", "C", "trough", "mg/L", MODEL.outputs[0].error, high=2000.0,
            meaning="newest trough in hand, total phenytoin", baseline=False,
        ),
    ),
    benefit=IN_RANGE,
    harm=ABOVE_25,
    weight=2.0,
    scored=84,
    event=Event("ever above 25 mg/L", ABOVE_25),
    margin=0.03,
    target=15.0,
    monitoring=Monitoring(after=14),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=STEPS,
    outcomes=(
        Outcome("time_in_range", "time with level 10 to 20 mg/L", "share", "daily", "higher", IN_RANGE),
        Outcome("above_20", "time with level > 20 mg/L", "share", "daily", "lower", ABOVE_20),
        Outcome("above_25", "time with level > 25 mg/L", "share", "daily", "lower", ABOVE_25),
        Outcome("ever_above_25", "patients ever above 25 mg/L", "share", "ever", "lower", ABOVE_25),
        Outcome("below_10", "time with level < 10 mg/L", "share", "daily", "lower", BELOW_10),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("weight_kg", "kg", 25, 300, meaning="weight"),
        Entry("japanese", "1", 0, 1, meaning="1 for Japanese ancestry"),
        Entry(_STAR2, "1", 0, 2, 0.2, "CYP2C9 alleles of decreased function, counted as *2"),
        Entry(_STAR3, "1", 0, 2, 0.1, "CYP2C9 alleles without function, counted as *3"),
        Entry(_C19_STAR2, "1", 0, 2, 0.3, "CYP2C19 alleles without function, counted as *2"),
        Entry(_C19_STAR9, "1", 0, 2, 0.0, "CYP2C19 alleles of decreased function, counted as *9"),
    ),
    discriminates="Random doses (−0.68 in `clinic`) lose to the best fixed one (175 mg/day, 0.04), but that "
    "is hardly better than none, as any dose that helps is far too much for somebody: compare with the label "
    "(−0.36) and the clinic's steps (0.26).",
    assumptions=(
        "Calendar, weight of harm and all numbers of the clinic preset are assumptions, set before any "
        "training.",
        "Grasela's mean Vmax of 415 mg/day, of all genotypes together, stands for CYP2C9 *1/*1: it is about "
        "470 if split.",
        "Of CYP2C9 only *1/*3 was measured; *2 and pairs of two variants are assumed, other alleles read by "
        "CPIC's function.",
        "East Asian patients are Japanese, as in the source, with a lower Km; other ancestries have the "
        "European one.",
        "Age and weight are those of assumed adults; half of the source's patients were children.",
        "Other antiepileptics, in 30 % under `clinic`, are not seen in an observation.",
        "Seizures are not in the model, nor is unbound phenytoin: the level stands for the effect.",
        "A stop above 25 mg/L lasts until the next visit, one or two weeks, where clinics hold for 1 to 3 "
        "days.",
    ),
    sources=(*MODEL.sources, GUIDELINE.source, STEPS.source, POPULATION.source),
    need="Vmax",
)  # fmt: skip
