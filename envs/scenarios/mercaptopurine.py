"""Mercaptopurine: neutrophils on target in children's maintenance therapy, by TPMT and NUDT15.

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
from dosewright.envs.pharmacology.models.mercaptopurine_gebhard2023 import MODEL
from dosewright.envs.realism import TEXTBOOK, Drift, Episode, Interaction, Occasion, Realism
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
from dosewright.envs.scenarios.scoring import AllOf, AnyOf, Band, Event

Floats = NDArray[np.float64]

# ----------------------------------------------------------------------------------------------------- people


def _body(known: dict[str, Floats]) -> dict[str, Floats]:
    """Height and weight, drawn as shares of the median of healthy children of the same age and sex; weight
    goes with the square of the height. Body surface area (Du Bois)."""
    height, weight = median_body(known["age_y"], known["male"])
    tall = known["height_cm"]
    height = np.clip(height * tall, 81.5, 180.0)
    weight = np.clip(weight * tall**2 * known["weight_kg"], 10.3, 105.5)
    return {"height_cm": height, "weight_kg": weight, "bsa_m2": 0.007184 * weight**0.425 * height**0.725}


_TALL = Spread(1.0, 0.043, 0.86, 1.14)
_CHILDREN = {"age": Spread(5.9, 0.5, 2.4, 16.9, log=True), "male": 0.55, "height_male": _TALL,
             "height_female": _TALL, "weight": Spread(1.0, 0.15, 0.7, 1.8, log=True)}  # fmt: skip
# ancestry where the source names none: 60 / 15 / 10 / 10 / 5 % (ASSUMPTION). NUDT15 has no frequency in
# people of African descent, so they are left out and the others stand for them in proportion
_ANCESTRIES = (
    ("European", 0.60, "White"),
    ("East Asian", 0.10, "Asian"),
    ("Latino", 0.10, "Latino"),
    ("Central/South Asian", 0.05, "South Asian"),
)
_TOGETHER = sum(share for _, share, _ in _ANCESTRIES)

POPULATION = VirtualPopulation(
    strata=tuple(
        Stratum(group, share / _TOGETHER, group, race, **_CHILDREN) for group, share, race in _ANCESTRIES
    ),
    races=("White", "Asian"),
    groups={"White": "European", "Asian": "East Asian"},
    absent=(),
    flag="PARTIAL",
    source="Gebhard 2023: 452 children, age 5.9 (2.4 to 16.9) years, 21.5 (10.3 to 105.5) kg, 114 (81.5 to "
    "180) cm (PARTIAL: read in nlmixr2lib); spread, body size about the CDC 2000 medians, and 55 % boys "
    "assumed; alleles: CPIC",
    derive=_body,
)

# ----------------------------------------------------------------------------------------------------- target

_TGN_SINCE = 28  # day

IN_RANGE = Band("neutrophils 0.5 to 2.0 ×10⁹/L", at_least=0.5, at_most=2.0)
ENOUGH_TGN = Band("nucleotides 0.4 µmol/L and more", at_least=0.4, response="TGN", since=_TGN_SINCE)
ON_TARGET = AllOf(
    "neutrophils 0.5 to 2.0 ×10⁹/L and, from day 28, thioguanine nucleotides of 0.4 µmol/L and more",
    (
        IN_RANGE,
        AnyOf(
            "thioguanine nucleotides",
            (Band("before day 28", response="TGN", until=_TGN_SINCE), ENOUGH_TGN),
        ),
    ),
)
BELOW_HALF = Band("neutrophils below 0.5 ×10⁹/L", below=0.5)
ABOVE_2 = Band("neutrophils above 2.0 ×10⁹/L", above=2.0)

# --------------------------------------------------------------------------------------------- clinics' rules

_TPMT = allele_entry("TPMT", "*3A")
_STAR3, _STAR5 = allele_entry("NUDT15", "*3"), allele_entry("NUDT15", "*5")

STANDARD = 75.0  # mg/m²/day
LABEL = fixed_start(
    STANDARD, "75 mg/m² a day", "VERIFIED", "usual start of protocols, for normal metabolisers (CPIC)"
)


def _cpic(seen: Seen) -> Floats:
    """Start by phenotype of TPMT and NUDT15: 75 mg/m² a day, 50 with one intermediate, 25 with both, 7.5 for
    poor metabolisers by TPMT, 10 by NUDT15."""
    tpmt, none, decreased = seen[_TPMT], seen[_STAR3], seen[_STAR5]
    # halves: what is expected of an ancestry, with no test done, reads as normal
    poor = (none > 1.5) | ((none > 0.5) & (decreased > 0.5))
    intermediate = (none > 0.5) | (decreased > 1.5)
    dose = np.select(
        [tpmt > 1.5, poor, intermediate & (tpmt > 0.5), intermediate | (tpmt > 0.5)],
        [7.5, 10.0, 25.0, 50.0],
        STANDARD,
    )
    return np.where(np.isnan(tpmt + none + decreased), np.nan, dose)


GUIDELINE = DoseRule(
    "CPIC by TPMT and NUDT15", _cpic, frozenset({_TPMT, _STAR3, _STAR5}), "PARTIAL",
    "CPIC 2018, 2024: normal metabolisers 75 mg/m² a day, intermediate ones of one gene 30 to 80 %, of both "
    "20 to 50 %, poor ones of TPMT a tenth (VERIFIED), of NUDT15 10 mg/m² (RECALLED); here 67, 33 and 10 % "
    "(ASSUMPTION), every day where CPIC has three times a week; the smallest dose is 12.5 mg/m²",
)  # fmt: skip

STEPS = AdjustmentTable(
    name="steps by neutrophils",
    rows=(
        AdjustmentRow(BELOW_HALF, factor=0.5, hold="stop"),
        AdjustmentRow(Band("0.5 to 1.0", at_least=0.5, at_most=1.0), factor=0.5),
        AdjustmentRow(Band("1.0 to 1.5", above=1.0, at_most=1.5)),
        # the way back to the full dose as well: the table does not know which dose that was (ASSUMPTION)
        AdjustmentRow(Band("above 1.5", above=1.5), factor=1.25),
    ),
    wait_days=14,
    resume_below=np.inf,
    resume_above=0.75,
    # stopped until a visit, one or two weeks away, finds enough neutrophils
    hold_days=14,
    early=None,
    flag="RECALLED",
    source="below 0.5 stop until above 0.75, then half of the dose; half at 0.5 to 1.0; 25 % "
    "more above 1.5, at most 150 % of the start (RECALLED; protocols differ), by one count where clinics "
    "wait for two or three; two weeks after a change before the next (CPIC, VERIFIED)",
    most=1.5,
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.08,
    occasions=(Occasion("Vmm", 0.20, 30),),
    drifts=(Drift("SLOPE", 0.05, per=30.4),),
    # allopurinol: four times the bioavailability, as if four times the dose were given
    interactions=(Interaction("F", share=0.02, factors=((4.0, 1.0),), units=10),),
    episodes=(Episode("base", 0.7, per_month=0.10, units=7),),
    late=0.10,
    missing=0.05,
    dropout_per_month=0.02,
    source="assumed; missed doses: mean of Bhatia 2012 and 2014; a result that is a day late is seen at the "
    "next visit",
)

_ANC, _TGN = (MODEL.outputs[MODEL.output(name)].error for name in ("ANC", "TGN"))

SCENARIO = Scenario(
    name="mercaptopurine",
    title="Mercaptopurine, neutrophils on target over 182 days of maintenance therapy",
    version=0,
    description="A child with acute lymphoblastic leukaemia starts maintenance therapy with mercaptopurine "
    "once a day. Every week for a month, then every two weeks the clinic sees the neutrophils, twice the "
    "thioguanine nucleotides of the erythrocytes as well, and prescribes the daily dose per body surface "
    "until the next visit. Nucleotides and neutrophils follow Gebhard 2023; TPMT changes the formation of "
    "the nucleotides, NUDT15 their effect.",
    model=MODEL,
    alternative=None,
    misspecified=(("SLOPE", 1.25),),  # ASSUMPTION
    no_alternative="There is no second model of neutrophils: vary this one's parameters instead. Hawwa 2008 "
    "(`mercaptopurine_hawwa2008`) has thioguanine nucleotides only.",
    clock=Clock(length=1.0),
    calendar=(0, 7, 14, 21, *range(28, 169, 14)),
    horizon=182,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/m²/day", 12.5, 112.5),
    administrations=(split("oral", (0.0,)),),  # the model's amounts are per m²
    readings=(Reading("end", 1.0),),
    responses=(
        Response("ANC", "10⁹/L", lambda reads: reads["end", "ANC"], before="ANC"),
        Response("TGN", "µmol/L", lambda reads: reads["end", "TGN"], before="TGN"),
    ),
    measurements=(
        Measurement("anc", "ANC", "end", "10⁹/L", _ANC, high=200.0, neutral=2.2,
                    meaning="newest neutrophils in hand"),
        Measurement("tgn", "TGN", "end", "µmol/L", _TGN, high=100.0, neutral=0.9, baseline=False,
                    units=(_TGN_SINCE, 84),
                    meaning="newest thioguanine nucleotides of the erythrocytes, drawn on days 28 and 84"),
    ),
    benefit=ON_TARGET,
    harm=BELOW_HALF,
    weight=2.0,
    scored=182,
    event=Event("ever with neutrophils below 0.5 ×10⁹/L", BELOW_HALF),
    margin=0.03,
    target=1.25,  # the middle of the range (ASSUMPTION)
    monitoring=Monitoring(after=28),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=STEPS,
    outcomes=(
        Outcome("on_target", "time on target", "share", "daily", "higher", score=ON_TARGET),
        Outcome("in_range", "time with neutrophils in range", "share", "daily", "higher", IN_RANGE),
        Outcome("below_0_5", "time with neutrophils < 0.5 ×10⁹/L", "share", "daily", "lower", BELOW_HALF),
        Outcome("above_2", "time with neutrophils > 2.0 ×10⁹/L", "share", "daily", "lower", ABOVE_2),
        Outcome("ever_below_0_5", "patients ever below 0.5 ×10⁹/L", "share", "ever", "lower", BELOW_HALF),
    ),
    covariates=(
        Entry("age_y", "years", 0, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 boy, 0 girl"),
        Entry("weight_kg", "kg", 1, 300, meaning="weight"),
        Entry("bsa_m2", "m²", 0.1, 3.0, meaning="body surface area"),
        Entry(_TPMT, "1", 0, 2, 0.1, "TPMT alleles of decreased or no function, counted as *3A"),
        Entry(_STAR3, "1", 0, 2, 0.05, "NUDT15 alleles without function, counted as *3"),
        Entry(_STAR5, "1", 0, 2, 0.0, "NUDT15 alleles of decreased function, counted as *5"),
    ),
    discriminates="Hardly: the formation of nucleotides saturates, and much of the course is the "
    "neutrophils' own swing. In `clinic` every fixed dose from 25 to 112.5 mg/m² returns 0.37"
    " to 0.39, a uniform random dose 0.38, the label 0.37, the rule 0.41 and Bayesian "
    "monitoring 0.47; only no drug at all (0.06) and 12.5 mg/m² (0.33) stand out. Harm tells "
    "more: 7 % of the days are below 0.5 by the label, 3 % by the rule.",
    assumptions=(
        "Weight of harm, event, the limit of 0.4 µmol/L (about half of a typical steady state at 50 mg/m²) "
        "and all numbers of the clinic preset are assumptions, set before any training.",
        "The child starts without drug and with neutrophils in equilibrium; the paper's children were on "
        "treatment.",
        "TPMT's factor on the formation of nucleotides is a composite of two papers (PARTIAL), NUDT15's on "
        "their effect is assumed; poor metabolisers of TPMT are as intermediate ones.",
        "There are no people of African descent: NUDT15 has no frequency for them; the other ancestries are "
        "rescaled.",
        "Typical neutrophils swing with a period of 77 days, in a quarter of the children without end; "
        "where SLOPE × nucleotides stays above 1 the count vanishes and later overshoots absurdly (guards: "
        "ASSUMPTION).",
        "Methotrexate, which goes with mercaptopurine, is not in the model; an infection is a lower set "
        "point of the neutrophils for a week, and allopurinol, ten days of it, is not seen in an "
        "observation.",
        "The residual error of the neutrophils is large: 50 % (published variance 0.25).",
    ),
    sources=(*MODEL.sources, GUIDELINE.source, STEPS.source, POPULATION.source),
    need="Keff",
)  # fmt: skip
