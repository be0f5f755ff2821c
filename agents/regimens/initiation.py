"""How two trials start warfarin: the doses of the first days, and what the first INRs change.

EU-PACT (Pirmohamed 2013, N Engl J Med 369:2294) loads by genotype and refines on day 4; COAG (Kimmel 2013,
N Engl J Med 369:2283) starts with the predicted dose and refines on days 4 and 5. Day 1 is the day of the
first dose. Research simulation, not for clinical use.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.warfarin_doses import (
    EU_PACT_DAILY,
    GAGE_BY_GENOTYPE,
    GAGE_WITHOUT,
    LENZINI_BY_GENOTYPE,
    LENZINI_WITHOUT,
    Seen,
    eu_pact_loading_doses,
    refined,
    without_cyp2c9,
)
from dosewright.envs.pharmacology import Flag

Floats = NDArray[np.float64]
FirstDoses = tuple[Floats, Floats, Floats, Floats]


@dataclass(frozen=True)
class Initiation:
    """The first days of an arm.

    Attributes
    ----------
    name
        In words.
    doses
        ``doses(seen)``: doses (n,) of days 1, 2 and 3, and the daily dose that follows while no INR has
        changed it, mg.
    revised
        ``revised(seen, inr, before, dose) -> (n,)``: daily dose after an INR drawn on day 4 or 5, with the
        doses (n, 3) given 2, 3 and 4 days before it and the dose (n,) in force; None: these INRs change
        nothing.
    needs
        Observation entries that must be known.
    flag, source
        How well it is known, and from where.
    """

    name: str
    doses: Callable[[Seen], FirstDoses]
    revised: Callable[[Seen, Floats, Floats, Floats], Floats] | None
    needs: frozenset[str]
    flag: Flag
    source: str


# ------------------------------------------------------------------------------------------------ EU-PACT

_EU_PACT = "EU-PACT: Pirmohamed 2013, N Engl J Med 369:2294"


def _lenzini_by_genotype(seen: Seen, inr: Floats, before: Floats, dose: Floats) -> Floats:
    return refined(LENZINI_BY_GENOTYPE, seen, inr, before)


def _standard_doses(seen: Seen) -> FirstDoses:
    """10, 5 and 5 mg; 5, 5 and 5 mg above 75 years; then 5 mg."""
    five = np.full(len(seen["age_y"]), 5.0)
    return np.where(seen["age_y"] > 75, 5.0, 10.0), five, five, five


# factor on the dose in force by the INR of day 4 (ASSUMPTION): upper limits of the rows, not included
_ACTS_BELOW = np.array([1.5, 2.0, 2.5, 3.0])
_ACTS_FACTOR = np.array([1.1, 1.0, 0.8, 0.6, 0.3])


def _acts(seen: Seen, inr: Floats, before: Floats, dose: Floats) -> Floats:
    return dose * _ACTS_FACTOR[np.searchsorted(_ACTS_BELOW, inr, side="right")]


EU_PACT_GENOTYPE = Initiation(
    name="EU-PACT loading doses by genotype, Lenzini refinement on day 4",
    doses=eu_pact_loading_doses,
    revised=_lenzini_by_genotype,
    needs=EU_PACT_DAILY.needs | LENZINI_BY_GENOTYPE.needs,
    flag="PARTIAL",
    source=_EU_PACT,
)
EU_PACT_KEEPS = Initiation(
    name="10, 5, 5 mg (5, 5, 5 mg above 75 years), then 5 mg whatever the INR of day 4",
    doses=_standard_doses,
    revised=None,
    needs=frozenset({"age_y"}),
    flag="ASSUMPTION",
    source=f"{_EU_PACT}; that the INR of day 4 changes nothing is assumed",
)
EU_PACT_ACTS = Initiation(
    name="10, 5, 5 mg (5, 5, 5 mg above 75 years), dose × 1.1 to 0.3 by the INR of day 4",
    doses=_standard_doses,
    revised=_acts,
    needs=frozenset({"age_y"}),
    flag="ASSUMPTION",
    source=f"{_EU_PACT}; the factors on day 4 are assumed",
)

# ------------------------------------------------------------------------------------------------ COAG

_COAG = "COAG: Kimmel 2013, N Engl J Med 369:2283"


def _coag_genotype_doses(seen: Seen) -> FirstDoses:
    """The predicted dose, CYP2C9 left out of the first; the clinical equation while no genotype is known."""
    clinical, guided = GAGE_WITHOUT.dose(seen), GAGE_BY_GENOTYPE.dose(seen)
    known = ~np.isnan(guided)
    first = np.where(known, GAGE_BY_GENOTYPE.dose(without_cyp2c9(seen)), clinical)
    daily = np.where(known, guided, clinical)
    return first, daily, daily, daily


def _coag_clinical_doses(seen: Seen) -> FirstDoses:
    daily = GAGE_WITHOUT.dose(seen)
    return daily, daily, daily, daily


def _lenzini_without(seen: Seen, inr: Floats, before: Floats, dose: Floats) -> Floats:
    return refined(LENZINI_WITHOUT, seen, inr, before)


_NEEDS = GAGE_WITHOUT.needs | LENZINI_WITHOUT.needs
COAG_GENOTYPE = Initiation(
    name="Gage's dose by genotype, Lenzini refinement on days 4 and 5",
    doses=_coag_genotype_doses,
    revised=_lenzini_by_genotype,
    needs=_NEEDS,
    flag="PARTIAL",
    source=_COAG,
)
COAG_CLINICAL = Initiation(
    name="Gage's clinical dose, Lenzini clinical refinement on days 4 and 5",
    doses=_coag_clinical_doses,
    revised=_lenzini_without,
    needs=_NEEDS,
    flag="PARTIAL",
    source=_COAG,
)
