"""A twelfth drug: the invented model of two_compartment.toml as a dosing problem. docs/add_a_drug.md
explains it.

The drug does not exist; every number is an ASSUMPTION and a pattern to copy, not one to use.
"""

from pathlib import Path

import numpy as np

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology import ResidualError
from dosewright.envs.pharmacology.from_toml import read_model
from dosewright.envs.realism import TEXTBOOK, Drift, Occasion, Realism
from dosewright.envs.scenarios import (
    Band,
    Clock,
    DoseGrid,
    DoseRule,
    Event,
    Outcome,
    ProportionalRule,
    Reading,
    Response,
    Scenario,
    fixed_start,
    split,
)

MODEL = read_model(Path(__file__).with_name("two_compartment.toml"))

# who is treated: published marginals of the model's cohort belong here
POPULATION = VirtualPopulation(
    strata=(
        Stratum("invented", 1.0, "European", "White", Spread(50, 12, 18, 85), 0.5, Spread(177, 7),
                Spread(164, 7), Spread(75, 12, 45, 120)),
    ),
    races=("White",),
    groups={"White": "European"},
    absent=(),
    flag="ASSUMPTION",
    source="invented; alleles: CPIC",
    extra=(("crcl_ml_min", Spread(90, 20, 20, 140)),),
)  # fmt: skip

# what counts: the trough before the next dose
ON_TARGET = Band("trough 100 to 250 ng/mL", at_least=100.0, at_most=250.0)
TOO_HIGH = Band("trough above 400 ng/mL", above=400.0)

# what clinics do
POOR = allele_entry("CYP2C19", "*2")
LABEL = fixed_start(100.0, "100 mg every 12 h", "ASSUMPTION", "invented label")
GUIDELINE = DoseRule(
    "by CYP2C19",
    lambda seen: np.select([seen[POOR] == 0, seen[POOR] == 1, seen[POOR] == 2], [120.0, 80.0, 40.0], np.nan),
    frozenset({POOR}),
    "ASSUMPTION",
    "invented guideline",
)
PROPORTIONAL = ProportionalRule(
    name="proportional to the trough",
    value=lambda seen: np.where(seen["trough_new"] > 0.5, seen["trough"], np.nan),
    target=lambda seen: np.full(len(seen["day"]), 160.0),
    within=(0.5, 2.0),
    flag="ASSUMPTION",
    source="invented rule",
)

SCENARIO = Scenario(
    name="twelfth",
    title="A twelfth drug, trough on target over four weeks",
    version=0,
    description="An invented drug is taken every 12 hours; five times a trough is seen and the dose is "
        "set anew.",
    model=MODEL,
    alternative=None,
    no_alternative="An invented drug has one model.",
    clock=Clock(),
    calendar=(0, 3, 7, 14, 21),
    horizon=28,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg every 12 h", 10.0, 400.0),
    administrations=(split("depot", (0.0, 12.0)),),
    readings=(Reading("trough", 24.0),),
    responses=(Response("trough", "ng/mL", lambda reads: reads["trough", "C"]),),
    measurements=(
        Measurement("trough", "C", "trough", "ng/mL", ResidualError(proportional=0.15, additive=2.0),
                    high=20_000.0, baseline=False),
    ),
    benefit=ON_TARGET,
    harm=TOO_HIGH,
    weight=2.0,
    scored=28,
    event=Event("ever above 400 ng/mL", TOO_HIGH),
    margin=0.03,
    target=160.0,
    realism={
        "textbook": TEXTBOOK,
        "clinic": Realism("clinic", missed_dose=0.05, drifts=(Drift("CL", 0.05),), late=0.1, missing=0.05,
                          occasions=(Occasion("CL", 0.12, 7),), dropout_per_month=0.02, source="invented"),
    },
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=PROPORTIONAL,
    outcomes=(
        Outcome("on_target", "time with the trough on target", "share", "daily", "higher", ON_TARGET),
        Outcome("ever_too_high", "patients ever above 400 ng/mL", "share", "ever", "lower", TOO_HIGH),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("weight_kg", "kg", 25, 300, meaning="weight"),
        Entry("crcl_ml_min", "mL/min", 5, 250, meaning="creatinine clearance"),
        Entry(POOR, "1", 0, 2, 0.3, "CYP2C19 alleles without function, counted as *2"),
        Entry(allele_entry("CYP2C19", "*17"), "1", 0, 2, 0.4, "CYP2C19*17 alleles"),
    ),
    discriminates="Yes: a uniform random dose scores far below the best fixed dose.",
    assumptions=("The drug is invented: every number is an assumption.",),
    sources=("invented for docs/add_a_drug.md",),
)  # fmt: skip
