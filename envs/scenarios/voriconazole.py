"""Voriconazole: trough of 1 to 5.5 mg/L over four weeks of oral treatment in adults.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import Share, Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology.models import voriconazole_friberg2012
from dosewright.envs.pharmacology.models.voriconazole_kim2019 import MODEL, PM_ON_CL
from dosewright.envs.realism import TEXTBOOK, Drift, Enzyme, Interaction, Occasion, Realism
from dosewright.envs.scenarios.dosing import Administration, DoseGrid, Given, People, Reading, Units
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

# ----------------------------------------------------------------------------------------------------- people

POPULATION = VirtualPopulation(
    strata=(
        Stratum(
            "Korean patients", 1.0, "East Asian", "Asian", Spread(59, 13, 18, 80), 0.71, Spread(168, 6),
            Spread(155, 6), Spread(59.4, 9, 40.8, 88.5),
        ),
    ),
    races=("Asian",),
    groups={"Asian": "East Asian"},
    # a term of the alternative model, for children of its first study
    absent=("study1",),
    flag="PARTIAL",
    source="Kim 2019: 100 Korean patients, median 59 years and 59.4 kg; with 93 volunteers 18 to 80 years, "
    "40.8 to 88.5 kg, 29 women and 6 people with liver toxicity of grade 3 or more (PARTIAL: read in "
    "nlmixr2lib); spread, and that those women and people are patients, assumed; alleles: CPIC, East Asian",
    extra=(("liver_toxicity", Share(0.06)),),
)  # fmt: skip

# ----------------------------------------------------------------------------------------------------- course

LOAD = 400.0  # mg, twice on day 0, whatever is decided later


def _tablets(dose: Floats, people: People, unit: Units) -> Given:
    """Twice a day: the load on day 0, the decided dose from then on."""
    amount = np.where(unit == 0, LOAD, dose)[:, :, None]
    return Given(np.array([0.0, 12.0]), np.repeat(amount, 2, axis=2), np.zeros(1))


# Nothing is decided for day 0, so it does not count (ASSUMPTION); the trough of a day is that at its end
IN_RANGE = Band("trough 1 to 5.5 mg/L", at_least=1.0, at_most=5.5, since=1)
ABOVE = Band("trough above 5.5 mg/L", above=5.5, since=1)
ABOVE_4 = Band("trough above 4 mg/L", above=4.0)
BELOW = Band("trough below 1 mg/L", below=1.0)

# --------------------------------------------------------------------------------------------- clinics' rules

_STAR2, _STAR9 = allele_entry("CYP2C19", "*2"), allele_entry("CYP2C19", "*9")

STANDARD = 200.0
LABEL = fixed_start(STANDARD, "200 mg every 12 h", "VERIFIED", "label, oral maintenance dose from 40 kg")


def _cpic(seen: Seen) -> Floats:
    """Half the standard dose in poor metabolisers, likely ones included: no allele with more than decreased
    function, and at most one with that."""
    lost, changed = seen[_STAR2], seen[_STAR2] + seen[_STAR9]
    poor = (lost >= 0.5) & (changed >= 1.5)
    return np.where(np.isnan(changed), np.nan, np.where(poor, STANDARD / 2, STANDARD))


GUIDELINE = DoseRule(
    "CPIC by CYP2C19", _cpic, frozenset({_STAR2, _STAR9}), "PARTIAL",
    "CPIC: standard dose in normal and intermediate metabolisers, in poor ones another drug, which is "
    "outside this environment, or a lower dose with levels (VERIFIED): half here (DPWG 2024; Kim 2019 "
    "proposes 100 mg); rapid and ultrarapid ones, whom CPIC gives another drug too, as normal (ASSUMPTION: "
    "the model has no term)",
)  # fmt: skip

STEPS = AdjustmentTable(
    name="steps by trough",
    rows=(
        AdjustmentRow(Band("below 0.7", below=0.7), add=100.0),
        AdjustmentRow(Band("0.7 to 0.9", at_least=0.7, below=1.0), add=50.0),
        AdjustmentRow(Band("1 to 4", at_least=1.0, at_most=4.0)),
        AdjustmentRow(Band("4.1 to 5.5", above=4.0, at_most=5.5), add=-50.0),
        AdjustmentRow(Band("5.6 to 7.9", above=5.5, below=8.0), add=-100.0, hold="stop"),
        AdjustmentRow(Band("8 and more", at_least=8.0), factor=0.5, hold="stop"),
    ),
    wait_days=5,
    resume_below=2.5,
    # the clinic measures every day while it holds; a week without drug would not be that rule (ASSUMPTION)
    hold_days=3,
    early=None,
    flag="PARTIAL",
    source="steps by trough, held from 5.6 mg/L until 2.5 or less, levels on day 5 of a new "
    "dose (PARTIAL: one clinical wiki, idwiki.org)",
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.03,
    occasions=(Occasion("CL", 0.25, 7),),
    drifts=(Drift("CL", 0.10),),
    # glucocorticoids and proton-pump inhibitors, ten days each. Which enzyme glucocorticoids induce is not
    # known, so everybody is affected alike
    interactions=(
        Interaction("CL", share=0.30, factors=((1.2, 1.0),), units=10),
        Interaction(
            "CL",
            share=0.30,
            factors=((0.8, 1.0),),
            units=10,
            enzyme=Enzyme(
                "CYP2C19",
                fm=1 - math.exp(PM_ON_CL.value),
                flag="ASSUMPTION",
                source="Kim 2019: poor metabolisers keep 47 % of the clearance, so the enzyme has 53 %; "
                "proton-pump inhibitors then take 38 % of it, which is FDA's weak class, where omeprazole "
                "is. CL is that before auto-inhibition; what is left after it changes alike",
            ),
        ),
    ),
    # a result that takes 2 days is seen at the next visit, three days later or more
    late=0.30,
    missing=0.10,
    dropout_per_month=0.02,
    source="assumed, each interacting drug for ten days; direction of inflammation and of glucocorticoids: "
    "doi 10.1186/s40780-016-0044-9; in Kim 2019 neither drug had a significant effect",
)

SCENARIO = Scenario(
    name="voriconazole",
    title="Voriconazole, trough of 1 to 5.5 mg/L over four weeks",
    version=0,
    description="An adult with an invasive fungal infection takes 400 mg of voriconazole twice on day 0. "
    "On days 1, 4, 7, 14 and 21 the clinic prescribes the dose every 12 hours until the next visit, from "
    "day 4 on with a trough; follow-up ends on day 28. The drug inhibits its own clearance, down to a "
    "sixth in normal metabolisers and a tenth in others. Kinetics follow Kim 2019 with CYP2C19, weight and "
    "liver toxicity.",
    model=MODEL,
    alternative=voriconazole_friberg2012.MODEL,
    clock=Clock(),
    calendar=(1, 4, 7, 14, 21),
    horizon=28,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg every 12 h", 50.0, 400.0),
    administrations=(Administration("oral", 2, False, _tablets),),
    readings=(Reading("trough", 24.0),),
    responses=(Response("trough", "mg/L", lambda reads: reads["trough", "C"], before="C"),),
    measurements=(
        Measurement(
            # patients: 0.799 mg/L, whatever the level
            "trough", "C", "trough", "mg/L", MODEL.outputs[0].error, high=100.0,
            meaning="newest trough in hand", baseline=False, units=(4, 7, 14, 21, 28),
        ),
    ),
    benefit=IN_RANGE,
    harm=ABOVE,
    weight=1.0,
    scored=27,
    event=Event("ever above 5.5 mg/L after day 3", Band("trough above 5.5 mg/L", above=5.5, since=3)),
    margin=0.05,
    target=2.5,
    monitoring=Monitoring(after=7),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=STEPS,
    outcomes=(
        Outcome("time_in_range", "time with trough 1 to 5.5 mg/L", "share", "daily", "higher", IN_RANGE),
        Outcome("above_5_5", "time with trough > 5.5 mg/L", "share", "daily", "lower", ABOVE),
        Outcome("above_4", "time with trough > 4 mg/L", "share", "daily", "lower", ABOVE_4),
        Outcome("below_1", "time with trough < 1 mg/L", "share", "daily", "lower", BELOW),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("weight_kg", "kg", 25, 200, meaning="weight"),
        Entry("liver_toxicity", "1", 0, 1, meaning="1 with liver toxicity of CTCAE grade 3 or more"),
        Entry(_STAR2, "1", 0, 2, 0.7, "CYP2C19 alleles without function, counted as *2"),
        Entry(_STAR9, "1", 0, 2, 0.0, "CYP2C19 alleles of decreased function, counted as *9"),
    ),
    discriminates="Yes. In `clinic` the return is about 0.79 by Bayesian monitoring, 0.67 by the rule (0.70"
    " with a start by CYP2C19), 0.49 by the dose by CYP2C19 alone and by the best fixed dose "
    "(150 mg), 0.42 by the label, and 0.31 by uniform random doses, whose errors "
    "average over the five decisions.",
    assumptions=(
        "Calendar, weight of harm, event and all numbers of the clinic preset are assumptions, set before "
        "any training.",
        "Inhibition does not recover when doses are left out, and deepens as long as the drug is taken "
        "(PARTIAL: the equation of the inhibition is not printed): four weeks are near the end of what the "
        "model is good for.",
        "CPIC's frequencies in East Asia make 13 % of patients poor metabolisers; Kim's subjects had 25 %.",
        "Rapid and ultrarapid metabolisers count as normal ones.",
        "Neither infection nor adverse reactions are simulated; where toxicity begins differs between "
        "reviews, in Asian cohorts from about 3 mg/L.",
        "The alternative model has a typical trough four times lower, and in adults intermediate and poor "
        "metabolisers are alike: agreement is not to be expected.",
        "Day 0, of which nothing is decided, does not count.",
    ),
    sources=(*MODEL.sources, LABEL.source, GUIDELINE.source, STEPS.source, POPULATION.source),
)  # fmt: skip
