"""Tacrolimus: trough on target over the first 90 days after a kidney transplantation.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import DEFAULT_ANCESTRIES, RACE_GROUPS, Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology import ResidualError
from dosewright.envs.pharmacology.body import surface_m2
from dosewright.envs.pharmacology.models import tacrolimus_woillard2011
from dosewright.envs.pharmacology.models.tacrolimus_andrews2019 import MODEL
from dosewright.envs.realism import TEXTBOOK, Drift, Interaction, Occasion, Realism
from dosewright.envs.scenarios.dosing import DoseGrid, Reading, split
from dosewright.envs.scenarios.scenario import (
    Clock,
    DoseRule,
    Monitoring,
    Outcome,
    ProportionalRule,
    Response,
    Scenario,
    Seen,
)
from dosewright.envs.scenarios.scoring import AnyOf, Band, Event

Floats = NDArray[np.float64]

# ------------------------------------------------------------------------------------------------ people


def _body(known: dict[str, Floats]) -> dict[str, Floats]:
    """Body surface area (Du Bois) and lean body mass (James), from height and weight."""
    height, weight, male = known["height_cm"], known["weight_kg"], known["male"]
    ratio = (weight / height) ** 2
    lean = np.where(male == 1, 1.10 * weight - 128 * ratio, 1.07 * weight - 148 * ratio)
    return {
        "bsa_m2": np.clip(surface_m2(weight, height), 1.24, 2.66),
        "lean_mass_kg": np.clip(lean, 33.0, 85.0),
    }


_BODY = {"age": Spread(55.7, 13.0, 18, 79), "male": 0.63, "height_male": Spread(177, 8),
         "height_female": Spread(164, 7),
         "weight": Spread(80, 16, 42, 130)}  # fmt: skip
POPULATION = VirtualPopulation(
    strata=tuple(Stratum(group, share, group, race, **_BODY) for group, share, race in DEFAULT_ANCESTRIES),
    races=tuple(RACE_GROUPS),
    groups=RACE_GROUPS,
    absent=(),
    flag="PARTIAL",
    source="Andrews 2019: medians and ranges of the cohort, spread assumed; alleles: CPIC, CYP3A4*22: "
    "Rotterdam",
    extra=(
        ("albumin_g_l", Spread(42, 5, 12, 57)),
        ("creatinine_umol_l", Spread(134.98, 0.45, 38, 1885, log=True)),
        ("haematocrit", Spread(0.34, 0.05, 0.15, 0.60)),
    ),
    derive=_body,
)

# ------------------------------------------------------------------------------------------------ target

# weeks 1 and 2, weeks 3 and 4, later (Rotterdam)
WINDOWS = ((0, 14, 10.0, 15.0), (14, 28, 8.0, 12.0), (28, 90, 5.0, 10.0))
ON_TARGET = AnyOf(
    "trough 10 to 15 ng/mL to day 14, 8 to 12 to day 28, then 5 to 10",
    tuple(
        Band(f"trough {low:g} to {high:g} ng/mL", at_least=low, at_most=high, since=first, until=last)
        for first, last, low, high in WINDOWS
    ),
)
ABOVE_20 = Band("trough above 20 ng/mL", above=20.0)
BELOW_5 = Band("trough below 5 ng/mL", below=5.0)


def target_trough(day: Floats) -> Floats:
    """Return the middle of the target range (ng/mL) on a day."""
    return np.select(
        [day < last for _, last, _, _ in WINDOWS], [(low + high) / 2 for *_, low, high in WINDOWS], 7.5
    )


# ------------------------------------------------------------------------------------------------
# clinics' rules

_A5, _A4 = allele_entry("CYP3A5", "*3"), allele_entry("CYP3A4", "*22")

LABEL = DoseRule(
    "0.2 mg/kg/day in two doses", lambda seen: 0.1 * seen["weight_kg"], frozenset({"weight_kg"}), "VERIFIED",
    "label, body weight",
)  # fmt: skip


def _cpic(seen: Seen) -> Floats:
    """Expressers of CYP3A5 1.5 to 2 times the standard start, at most 0.3 mg/kg/day; others the standard."""
    expresser = np.where(np.isnan(seen[_A5]), np.nan, seen[_A5] < 2)
    return np.where(expresser == 1, 0.15, np.where(expresser == 0, 0.1, np.nan)) * seen["weight_kg"]


GUIDELINE = DoseRule(
    "CPIC by CYP3A5", _cpic, frozenset({"weight_kg", _A5}), "VERIFIED",
    "CPIC (Birdwell 2015): 1.5 to 2 times the start for expressers; 1.5 keeps the total at the limit of "
    "0.3 mg/kg/day",
)  # fmt: skip


PROPORTIONAL = ProportionalRule(
    name="proportional to the trough",
    value=lambda seen: np.where(seen["trough_new"] > 0.5, seen["trough"], np.nan),
    target=lambda seen: target_trough(seen["day"]),
    within=(0.5, 2.0),
    flag="VERIFIED",
    source="new dose = dose × target/C0 (VERIFIED), one change between × 0.5 and × 2 "
    "(ASSUMPTION), "
    "a dose omitted above 20 ng/mL (RECALLED; not rendered: the next visit is days away)",
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.03,
    # CV 13.6 % between occasions, an occasion being a trough (Andrews 2019, VERIFIED): here a new one
    # every 3 days
    occasions=(Occasion("CL", MODEL.parameters[0].occasion_variance ** 0.5, 3),),
    drifts=(Drift("CL", 0.03),),
    # No enzyme: fluconazole and rifampicin act on CYP3A4 and CYP3A5, which between them clear nearly all of
    # tacrolimus. Where both lose the same share, and fm is 1, the factor is the same in every genotype
    # (ASSUMPTION: CYP3A5 is said to be inhibited less, by how much in people is not read)
    interactions=(Interaction("CL", share=0.16, factors=((0.8, 15 / 16), (1.5, 1 / 16)), units=10),),
    late=0.10,
    missing=0.05,
    dropout_per_month=0.02,
    source="assumed; occasions Andrews 2019; size of the interactions: fluconazole (PubMed 33759619), "
    "rifampicin (label)",
)

SCENARIO = Scenario(
    name="tacrolimus",
    title="Tacrolimus, trough on target over 90 days after kidney transplantation",
    version=0,
    description="A person receives a kidney and immediate-release tacrolimus every 12 hours. At eleven "
        "visits the clinic "
    "sees a trough and prescribes the dose until the next visit; the target falls on days 14 and 28. "
    "Kinetics follow "
    "Andrews 2019 with CYP3A5, CYP3A4*22, age, body size, albumin, creatinine and haematocrit.",
    model=MODEL,
    alternative=tacrolimus_woillard2011.MODEL,
    clock=Clock(),
    calendar=(0, 2, 4, 7, 10, 14, 21, 28, 42, 56, 70),
    horizon=90,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg every 12 h", 0.5, 20.0),
    administrations=(split("oral", (0.0, 12.0)),),
    readings=(Reading("trough", 24.0),),
    responses=(Response("trough", "ng/mL", lambda reads: reads["trough", "C"]),),
    measurements=(
        Measurement(
            "trough", "C", "trough", "ng/mL",
            ResidualError(proportional=0.177, additive=0.88, source="Andrews 2019, immunoassay"), high=200.0,
            meaning="newest trough in hand, whole blood", baseline=False,
        ),
    ),
    benefit=ON_TARGET,
    harm=ABOVE_20,
    weight=2.0,
    scored=90,
    event=Event("ever above 20 ng/mL after day 3", Band("trough above 20 ng/mL", above=20.0, since=3)),
    margin=0.03,
    target=12.5,
    monitoring=Monitoring(after=3, target=target_trough),
    # of the alternative model: immediate release
    constants={"prograf": 1.0},
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=PROPORTIONAL,
    outcomes=(
        Outcome("time_on_target", "time with the trough on "
            "target", "share", "daily", "higher", score=ON_TARGET),
        Outcome("above_20", "time with trough > 20 ng/mL", "share", "daily", "lower", ABOVE_20),
        Outcome("below_5", "time with trough < 5 ng/mL", "share", "daily", "lower", BELOW_5),
        Outcome("ever_above_20", "patients ever above 20 ng/mL", "share", "ever", "lower", ABOVE_20),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("weight_kg", "kg", 25, 300, meaning="weight"),
        Entry("bsa_m2", "m²", 0.8, 3.0, meaning="body surface area"),
        Entry("albumin_g_l", "g/L", 5, 80, meaning="albumin at the start"),
        Entry("creatinine_umol_l", "µmol/L", 10, 3000, meaning="creatinine at the start"),
        Entry("haematocrit", "1", 0.1, 0.9, meaning="haematocrit at the start, a fraction"),
        Entry("lean_mass_kg", "kg", 20, 120, meaning="lean body mass"),
        Entry(_A5, "1", 0, 2, 1.6, "CYP3A5 alleles without function, counted as *3"),
        Entry(_A4, "1", 0, 2, 0.1, "CYP3A4*22 alleles"),
    ),
    discriminates="A uniform random dose says nothing here: compare with the rule (0.63 in `clinic`), the "
        "best fixed dose (0.33) and Bayesian monitoring (0.80).",
    assumptions=(
        "Calendar, weight of harm and all numbers of the clinic preset are assumptions, set before training.",
        "CYP3A4*22 is drawn in Europeans only, with the frequency of Rotterdam.",
        "Creatinine, albumin and haematocrit stay what they were at the start.",
        "Spread of the covariates is assumed around the cohort's medians, within its range.",
    ),
    sources=(*MODEL.sources, GUIDELINE.source, POPULATION.source),
    no_alternative="",
)  # fmt: skip
