"""Published warfarin equations over what a clinician sees, for many patients at once.

The coefficients are those of `dosewright.pharmacogenomics`; here are only the variables they multiply, read
from a decoded observation. Research simulation, not for clinical use.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry
from dosewright.envs.pharmacology import Flag
from dosewright.envs.scenarios import DoseEquation
from dosewright.envs.scenarios.warfarin import iwpc_inputs, root_weekly_to_daily
from dosewright.pharmacogenomics import (
    EU_PACT_MAINTENANCE,
    EU_PACT_RATES,
    GAGE_CLINICAL,
    GAGE_PHARMACOGENETIC,
    LENZINI_CLINICAL_REFINEMENT,
    LENZINI_REFINEMENT,
    WarfarinEquation,
    loading_doses,
)

Floats = NDArray[np.float64]
Seen = Mapping[str, Floats]  # decoded observation entry -> (n,), NaN where not known

STAR2, STAR3 = allele_entry("CYP2C9", "*2"), allele_entry("CYP2C9", "*3")
VKORC1_A = allele_entry("VKORC1", "A")

_TARGET_INR = 2.5  # both trials aim at 2 to 3
# term of an equation -> observation entry that holds it; the IWPC's pairs of alleles are the scenario's
_ENTRIES = {
    "age in years": "age_y",
    "height in cm": "height_cm",
    "weight in kg": "weight_kg",
    "amiodarone": "amiodarone",
    "body surface in m2": "bsa_m2",
    "VKORC1 A alleles": VKORC1_A,
    "CYP2C9 *2 alleles": STAR2,
    "CYP2C9 *3 alleles": STAR3,
    "race Black": "race_black",
    "smoker": "smoker",
    "thrombosis or embolism": "dvt_or_pe",
    "stroke": "stroke",
    "diabetes": "diabetes",
    "fluvastatin": "fluvastatin",
}
_TO_DAILY = {
    "sqrt weekly": root_weekly_to_daily,
    "ln daily": np.exp,
    "ln weekly": lambda log_weekly: np.exp(log_weekly) / 7,
}


def _inputs(seen: Seen) -> dict[str, Floats]:
    """Return the variables (n,) of the equations by term; a term that stands in `seen` itself is taken."""
    read = {term: seen[entry] for term, entry in _ENTRIES.items() if entry in seen}
    return {**iwpc_inputs(seen), **read, "target INR": np.full(len(seen["age_y"]), _TARGET_INR), **seen}


def _over_entries(equation: WarfarinEquation, flag: Flag) -> DoseEquation:
    return DoseEquation(
        name=equation.name,
        intercept=equation.intercept,
        terms=equation.terms,
        inputs=_inputs,
        transform=_TO_DAILY[equation.output],
        needs=frozenset(entry for term, entry in _ENTRIES.items() if term in equation.terms),
        flag=flag,
        source=equation.source,
    )


GAGE_BY_GENOTYPE = _over_entries(GAGE_PHARMACOGENETIC, "VERIFIED")
GAGE_WITHOUT = _over_entries(GAGE_CLINICAL, "VERIFIED")
EU_PACT_DAILY = _over_entries(EU_PACT_MAINTENANCE, "PARTIAL")
LENZINI_BY_GENOTYPE = _over_entries(LENZINI_REFINEMENT, "PARTIAL")
LENZINI_WITHOUT = _over_entries(LENZINI_CLINICAL_REFINEMENT, "PARTIAL")


def without_cyp2c9(seen: Seen) -> Seen:
    """Return what is seen with CYP2C9 read as *1/*1, for an equation that is to leave the gene out."""
    none = np.zeros(len(seen["age_y"]))
    return {**seen, STAR2: none, STAR3: none}


def refined(equation: DoseEquation, seen: Seen, inr: Floats, before: Floats) -> Floats:
    """Return the daily dose (n,), mg, of a Lenzini equation.

    Parameters
    ----------
    equation
        `LENZINI_BY_GENOTYPE` or `LENZINI_WITHOUT`.
    seen
        Decoded observation.
    inr : (n,) of day 4 or 5; below 1 it counts as 1, which the equation begins at (ASSUMPTION)
    before : (n, 3) doses given 2, 3 and 4 days before that INR, mg; 0 before the first day
    """
    doses = {f"dose {days} days before": before[:, days - 2] for days in (2, 3, 4)}
    return equation.dose({**seen, **doses, "log of INR": np.log(np.maximum(inr, 1.0))})


def eu_pact_loading_doses(seen: Seen) -> tuple[Floats, Floats, Floats, Floats]:
    """Return EU-PACT's loading doses of days 1, 2 and 3 and its daily dose, mg, (n,) each.

    NaN where the genotype is not known, or has another CYP2C9 allele than *1, *2 and *3.
    """
    daily, rate = EU_PACT_DAILY.dose(seen), np.full(len(seen["age_y"]), np.nan)
    for diplotype, value in EU_PACT_RATES.items():
        here = (seen[STAR2] == diplotype.count("*2")) & (seen[STAR3] == diplotype.count("*3"))
        rate[here] = value
    return *loading_doses(daily, rate), daily
