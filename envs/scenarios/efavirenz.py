"""Efavirenz: mid-dose level of 1 to 4 mg/L over 48 weeks, in African children with HIV.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology.body import median_body
from dosewright.envs.pharmacology.models.efavirenz_bienczak2016 import CYP2B6, MODEL
from dosewright.envs.realism import TEXTBOOK, Enzyme, Interaction, Occasion, Realism
from dosewright.envs.scenarios.dosing import DoseGrid, People, Reading, split
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
)
from dosewright.envs.scenarios.scoring import Band, Event

Floats = NDArray[np.float64]

# Days in which a child's rates stay the same. Each change of one costs exponentials of 30 compartments, so
# weight and the occasions of CL, MTT and ka move in steps, not from day to day (ASSUMPTION). F is no rate.
_STEP = 28
_YEAR = 365.25

# ----------------------------------------------------------------------------------------------------- people


def _body(known: dict[str, Floats]) -> dict[str, Floats]:
    """Height and weight: drawn as shares of the median of healthy children of the same age and sex."""
    height, weight = median_body(known["age_y"], known["male"])
    return {
        "height_cm": height * known["height_cm"],
        "weight_kg": np.clip(weight * known["weight_kg"], 7.8, 30.0),
    }


_TALL = Spread(0.94, 0.04, 0.8, 1.1)

POPULATION = VirtualPopulation(
    strata=(
        Stratum(
            "Uganda and Zambia", 1.0, "Sub-Saharan African", "Black",
            Spread(4.7, 0.40, 2.1, 13.8, log=True), 0.473, _TALL, _TALL,
            Spread(0.87, 0.15, 0.55, 1.4, log=True),
        ),
    ),
    races=("Black",),
    groups={"Black": "Sub-Saharan African"},
    absent=(),
    flag="PARTIAL",
    source="Bienczak 2016: 169 children, age 4.7 (2.1 to 13.8) years, 15.5 (7.8 to 30.0) kg, 52.7 % girls "
    "(PARTIAL: read in nlmixr2lib); spread, and body size about shares of the CDC 2000 medians, assumed; "
    "alleles: CPIC, Sub-Saharan African",
    derive=_body,
)  # fmt: skip


def growing(people: People, units: int) -> list[dict[str, Floats]]:
    """Return the weight on each day: every child keeps its share of the median of its age and sex."""
    age, male, weight = people["age_y"], people["male"], people["weight_kg"]
    first = median_body(age, male)[1]
    path: list[dict[str, Floats]] = []
    for day in range(0, units, _STEP):
        now = {"weight_kg": weight * median_body(age + day / _YEAR, male)[1] / first}
        path += [now] * min(_STEP, units - day)
    return path


# ----------------------------------------------------------------------------------------------------- target

ON_TARGET = Band("mid-dose level 1 to 4 mg/L", at_least=1.0, at_most=4.0)
ABOVE_4 = Band("mid-dose level above 4 mg/L", above=4.0)
BELOW_1 = Band("mid-dose level below 1 mg/L", below=1.0)

# --------------------------------------------------------------------------------------------- clinics' rules

_STAR6, _STAR18 = allele_entry("CYP2B6", "*6"), allele_entry("CYP2B6", "*18")

# Weight (kg) below which each of the label's daily doses (mg) holds
_BANDS = ((15.0, 200.0), (20.0, 250.0), (25.0, 300.0), (32.5, 350.0), (40.0, 400.0), (np.inf, 600.0))


def band_dose(weight: Floats) -> Floats:
    """Return the label's daily dose (mg) at a weight (kg)."""
    below = [weight < limit for limit, _ in _BANDS]
    return np.select(below, [dose for _, dose in _BANDS], np.nan)


LABEL = DoseRule(
    "weight band", lambda seen: band_dose(seen["weight_kg"]), frozenset({"weight_kg"}), "VERIFIED",
    "label, once a day: up to 15 kg 200 mg, 20 kg 250, 25 kg 300, 32.5 kg 350, 40 kg 400, heavier 600 (FDA "
    "2013)",
)  # fmt: skip


def _cpic(seen: Seen) -> Floats:
    """CPIC's share of the adult dose, of the weight band's dose.

    Alleles other than *1 have decreased or no function: one makes an intermediate, two a poor metaboliser.
    """
    slow = seen[_STAR6] + seen[_STAR18]
    share = np.select([slow < 0.5, slow < 1.5, slow >= 1.5], [1.0, 400 / 600, 200 / 600], np.nan)
    return share * band_dose(seen["weight_kg"])


GUIDELINE = DoseRule(
    "CPIC by CYP2B6", _cpic, frozenset({"weight_kg", _STAR6, _STAR18}), "ASSUMPTION",
    "CPIC 2019 for adults: 600 mg, intermediate metabolisers 400, poor ones 400 or 200 mg, the lower taken "
    "(VERIFIED); below 40 kg there is no recommendation: the same shares of the weight band (ASSUMPTION)",
)  # fmt: skip

STEPS = AdjustmentTable(
    name="steps by level",
    rows=(
        AdjustmentRow(BELOW_1, add=50.0),
        AdjustmentRow(ON_TARGET),
        AdjustmentRow(ABOVE_4, factor=0.7),
    ),
    wait_days=14,
    resume_below=np.inf,
    hold_days=0,
    early=None,
    flag="ASSUMPTION",
    source="above 4 mg/L 25 to 33 % less (ASSUMPTION, here 30 %); below 1 mg/L one weight "
    "band, 50 mg, more (RECALLED), without the second level that the clinic asks for first",
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.08,
    # the paper has new draws with each dose: so F; the others by _STEP
    occasions=tuple(
        Occasion(parameter.name, parameter.occasion_variance**0.5, 1 if parameter.name == "F" else _STEP)
        for parameter in MODEL.parameters
        if parameter.occasion_variance
    ),
    # treatment of tuberculosis, 24 weeks
    interactions=(
        Interaction(
            "CL",
            share=0.10,
            factors=((1.2, 1.0),),
            units=168,
            enzyme=Enzyme(
                "CYP2B6",
                fm=1 - CYP2B6.pairs["*18", "*18"] / CYP2B6.pairs["*1", "*1"],
                flag="ASSUMPTION",
                source="Bienczak 2016: *18/*18 keeps 11 % of the clearance, so the enzyme has 89 % or more; "
                "taken as 89 %, *18 without activity (CPIC: no function); rifampicin is taken to act on "
                "CYP2B6 alone",
            ),
        ),
    ),
    # a result that takes 7 days is seen at the next visit, two weeks later or more
    late=0.20,
    missing=0.10,
    dropout_per_month=0.02,
    source="assumed; occasions Bienczak 2016 (VERIFIED), those of CL, MTT and ka drawn every 28 days "
    "(ASSUMPTION); 92 % of doses given: electronic caps, children in South Africa (PMC3032912)",
)

SCENARIO = Scenario(
    name="efavirenz",
    title="Efavirenz, mid-dose level of 1 to 4 mg/L over 48 weeks in African children",
    version=0,
    description="A child with HIV starts efavirenz once a day. At seven visits, from the second on with a "
    "level drawn 14 hours after a dose, the clinic prescribes until the next visit; follow-up ends on day "
    "336, and the child grows meanwhile. Kinetics follow Bienczak 2016 with weight and CYP2B6, whose "
    "genotypes 516G>T and 983T>C make a nine-fold difference in clearance between the extremes.",
    model=MODEL,
    alternative=None,
    misspecified=(("ka", 0.5),),  # ASSUMPTION
    no_alternative="There is no second model of children. In adults clearance is 9.50 L/h, with CYP2B6 516 "
    "ratios of 1, 0.5 and 0.25 (Cabrera 2009; no variability read): vary the model's own parameters instead.",
    clock=Clock(),
    calendar=(0, 14, 28, 56, 84, 168, 252),
    horizon=336,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/day", 50.0, 600.0),
    administrations=(split("oral", (0.0,)),),
    # the middle of 12 to 16 h (ASSUMPTION), in both presets: a time of its own each day would be a new
    # exponential each day
    readings=(Reading("mid-dose", 14.0),),
    responses=(Response("level", "mg/L", lambda reads: reads["mid-dose", "C"], before="C"),),
    measurements=(
        Measurement(
            "level", "C", "mid-dose", "mg/L", MODEL.outputs[0].error, high=200.0,
            meaning="newest level in hand, 14 h after a dose", baseline=False,
        ),
    ),
    benefit=ON_TARGET,
    harm=ABOVE_4,
    weight=1.0,
    scored=336,
    event=Event("above 4 mg/L on more than 25 % of days", ABOVE_4, more_than=0.25, as_share=True),
    margin=0.05,
    target=2.0,
    monitoring=Monitoring(after=14),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=STEPS,
    outcomes=(
        Outcome("time_in_range", "time with level 1 to 4 mg/L", "share", "daily", "higher", ON_TARGET),
        Outcome("above_4", "time with level > 4 mg/L", "share", "daily", "lower", ABOVE_4),
        Outcome("below_1", "time with level < 1 mg/L", "share", "daily", "lower", BELOW_1),
    ),
    covariates=(
        Entry("age_y", "years", 0, 25, meaning="age at the start"),
        Entry("male", "1", 0, 1, meaning="1 boy, 0 girl"),
        Entry("weight_kg", "kg", 2, 150, meaning="weight today"),
        Entry(_STAR6, "1", 0, 2, 0.8, "CYP2B6 alleles with 516T, counted as *6"),
        Entry(_STAR18, "1", 0, 2, 0.1, "CYP2B6 alleles with 983C, counted as *18"),
    ),
    discriminates="Yes. In `clinic` the return is about 0.71 by Bayesian monitoring, 0.53 by the rule (0.59"
    " with a start by CYP2B6), 0.44 by the dose by CYP2B6 alone, 0.33 by the best fixed dose "
    "(150 mg/day), 0.29 by the label, which overdoses poor metabolisers, and 0.12 by uniform "
    "random doses. F differs from dose to dose by a log-SD of 0.48, so nobody is on target "
    "every day.",
    assumptions=(
        "Calendar, weight of harm, event and all numbers of the clinic preset but the size of its "
        "occasions are assumptions, set before any training.",
        "A lower limit of 1 mg/L is disputed; neither virological failure nor adverse reactions are "
        "simulated.",
        "Efavirenz's induction of its own elimination is not in the model, which is of steady state: "
        "levels of the first two weeks are too low.",
        "Children grow along the CDC 2000 medians, in steps of 28 days; clearance, transit time and "
        "absorption differ between occasions of 28 days, bioavailability from dose to dose.",
        "Genotypes follow CPIC's frequencies in Sub-Saharan Africa, which have fewer 516GG|983TT (27 %) and "
        "more 516GT|983TT (44 %) than the paper's 169 children (33 and 35 %).",
        "Absorption is that of the CHAPAS-3 trial.",
    ),
    sources=(*MODEL.sources, LABEL.source, GUIDELINE.source, STEPS.source, POPULATION.source),
    trend=growing,
)  # fmt: skip
