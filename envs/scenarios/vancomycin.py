"""Vancomycin: AUC of every day on target over the first week, in adults in hospital.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import DEFAULT_ANCESTRIES, RACE_GROUPS, Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology.models import vancomycin_thomson2009
from dosewright.envs.pharmacology.models.vancomycin_goti2018 import MODEL
from dosewright.envs.realism import TEXTBOOK, Drift, Occasion, Realism
from dosewright.envs.scenarios.dosing import Administration, DoseGrid, Given, People, Reading, Units
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
from dosewright.envs.scenarios.scoring import Band, Event

Floats = NDArray[np.float64]

_DAY = 24.0  # h
_VIAL = 250.0  # mg; single doses are multiples of it

# ----------------------------------------------------------------------------------------------------- people


def _renal_function(known: dict[str, Floats]) -> dict[str, Floats]:
    """Creatinine clearance after Cockcroft and Gault, with the weight as it is (the paper does not say which:
    ASSUMPTION).

    Goti 2018: the creatinine of people over 60 counts as at least 1 mg/dL, a clearance above 150 as 150. One
    below 20 counts as 20: such people, and dialysis, are outside this population (ASSUMPTION).
    """
    age, creatinine = known["age_y"], known["creatinine_mg_dl"]
    counted = np.where(age > 60, np.maximum(creatinine, 1.0), creatinine)
    clearance = (
        (140.0 - age) * known["weight_kg"] / (72.0 * counted) * np.where(known["male"] == 1, 1.0, 0.85)
    )
    return {"crcl_ml_min": np.clip(clearance, 20.0, 150.0)}


_PEOPLE = {"age": Spread(57, 17, 17, 101), "male": 0.535, "height_male": Spread(176, 7.5),
           "height_female": Spread(162, 7), "weight": Spread(79, 0.27, 33, 255, log=True)}  # fmt: skip
POPULATION = VirtualPopulation(
    strata=tuple(Stratum(group, share, group, race, **_PEOPLE) for group, share, race in DEFAULT_ANCESTRIES),
    races=tuple(RACE_GROUPS),
    groups=RACE_GROUPS,
    absent=("dialysis",),
    flag="PARTIAL",
    source="Goti 2018: median age 57 (17 to 101) years, weight 79 (33 to 255) kg, 46.5 % women; spread, "
    "height and creatinine assumed, so that creatinine clearance fits the cohort's (median 62 mL/min with "
    "18.5 % on dialysis)",
    extra=(("creatinine_mg_dl", Spread(1.05, 0.45, 0.4, 6.0, log=True)),),
    derive=_renal_function,
)

# ----------------------------------------------------------------------------------------------------- course


def interval_h(crcl: Floats) -> Floats:
    """Return the hours between infusions at a creatinine clearance (mL/min)."""
    return np.select([crcl >= 90.0, crcl >= 50.0], [8.0, 12.0], _DAY)


def load_mg(weight: Floats) -> Floats:
    """Return the loading dose (mg) at a weight (kg): 25 mg/kg by 250, at most 3000."""
    return np.minimum(np.floor(25.0 * weight / _VIAL + 0.5) * _VIAL, 3000.0)


def single_mg(daily: Floats, interval: Floats) -> Floats:
    """Return each of the infusions (mg) that a daily dose is split into, by 250, halves upwards."""
    return np.floor(daily * interval / _DAY / _VIAL + 0.5) * _VIAL


def duration_h(amount: Floats) -> Floats:
    """Return the duration (h) of an infusion: 1 g an hour, at least an hour."""
    return np.maximum(amount / 1000.0, 1.0)


def _infusions(dose: Floats, people: People, unit: Units) -> Given:
    """The load at 0 h, then the infusions of the decided dose, the first one interval after the load."""
    interval = interval_h(people["crcl_ml_min"])[:, None, None]
    offset = interval * np.arange(3)
    first = (unit[:, :, None] == 0) & (np.arange(3) == 0)
    load, single = load_mg(people["weight_kg"])[:, None, None], single_mg(dose[:, :, None], interval)
    amount = np.where(offset < _DAY, np.where(first, load, single), 0.0)
    return Given(np.minimum(offset, _DAY - interval), amount, duration_h(amount))


def _after_last_infusion(dose: Floats, people: People, unit: Units) -> Floats:
    """One hour after the end of the last infusion of the day, as scheduled."""
    interval = interval_h(people["crcl_ml_min"])[:, None]
    load = (unit == 0) & (interval == _DAY)
    amount = np.where(load, load_mg(people["weight_kg"])[:, None], single_mg(dose, interval))
    return np.minimum(_DAY - interval + duration_h(amount) + 1.0, _DAY)


def _auc24(reads: Mapping[tuple[str, str], Floats]) -> Floats:
    return reads["end", "AUC"] - reads["start", "AUC"]


ON_TARGET = Band("AUC of the day 400 to 600 mg·h/L", at_least=400.0, at_most=600.0)
ABOVE_677 = Band("AUC of the day 677 mg·h/L or more", at_least=677.0)
BELOW_400 = Band("AUC of the day below 400 mg·h/L", below=400.0)

# --------------------------------------------------------------------------------------------- clinics' rules


def auc24_of_levels(seen: Seen) -> Floats:
    """Return the AUC of a day (mg·h/L) from the two levels after its last infusion, as in steady state.

    Log-linear between the levels and back to the end of the infusion, linear during it, times the infusions a
    day. NaN without both levels of the last day, where they do not fall, where nothing was given, and where
    the infusion was the load.
    """
    interval = interval_h(seen["crcl_ml_min"])
    amount = single_mg(seen["last_dose"], interval)
    lasts = duration_h(amount)
    high, low = seen["level"], seen["trough"]
    fresh = (seen["level_new"] > 0.5) & (seen["trough_new"] > 0.5)
    fresh &= (seen["level_age"] < 1.0) & (seen["trough_age"] < 1.0)
    of_dose = (amount > 0) & ((interval < _DAY) | (seen["day"] > 1))
    usable = fresh & of_dose & (high > low) & (low > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        rate = np.log(high / low) / (interval - lasts - 1.0)
        top = high * np.exp(rate)
        auc = (top + low) / 2.0 * lasts + (top - low) / rate
    return np.where(usable, auc * _DAY / interval, np.nan)


LABEL = DoseRule(
    "15 mg/kg every 12 h", lambda seen: 30.0 * seen["weight_kg"], frozenset({"weight_kg"}), "VERIFIED",
    "Rybak 2020: 15 to 20 mg/kg every 8 to 12 h; here 30 mg/kg a day, split at this problem's intervals "
    "(ASSUMPTION)",
)  # fmt: skip

BY_RENAL_FUNCTION = DoseRule(
    "15 × creatinine clearance", lambda seen: 15.0 * seen["crcl_ml_min"], frozenset({"crcl_ml_min"}),
    "RECALLED", "US label: the daily dose in mg is about 15 times the glomerular filtration rate in mL/min",
)  # fmt: skip

PROPORTIONAL = ProportionalRule(
    name="proportional to the AUC of two levels",
    value=auc24_of_levels,
    target=lambda seen: np.full(len(seen["day"]), 500.0),
    within=(0.5, 2.0),
    flag="RECALLED",
    source="outside 400 to 600 mg·h/L the new daily dose = dose × 500/AUC (target VERIFIED, rule RECALLED), "
    "AUC from two levels (RECALLED), one change between × 0.5 and × 2 (ASSUMPTION)",
    dead_band=0.2,
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    missed_dose=0.01,
    occasions=(Occasion("CL", 0.15, 1),),
    # creatinine clearance drifts by 0.05 per √day; clearance goes with its power 0.8
    drifts=(Drift("CL", 0.04, per=1.0),),
    late=0.20,
    missing=0.05,
    start_sd=0.5,
    sample_sd=0.25,
    source="assumed; a result that is 6 h late is seen at the next decision, and the level is late as often "
    "as the trough; levels carry the time at which they were to be drawn",
)

_ASSAY = MODEL.outputs[0].error

SCENARIO = Scenario(
    name="vancomycin",
    title="Vancomycin, AUC of the day on target over a week",
    version=0,
    description="An adult in hospital starts intravenous vancomycin with a load of 25 mg/kg. Every morning "
    "for a week the clinic sees a trough, and a level one hour after the last infusion of the day before, "
    "and chooses the daily dose. It is split into infusions every 8, 12 or 24 hours by creatinine clearance "
    "(90 and more, 50 to 90, below 50 mL/min), each rounded to 250 mg and given at 1 g an hour. The first "
    "comes one interval after the load: the first decision for a person with one infusion a day gives "
    "nothing. Kinetics follow Goti 2018 with creatinine clearance and weight.",
    model=MODEL,
    alternative=vancomycin_thomson2009.MODEL,
    clock=Clock(),
    calendar=tuple(range(7)),
    horizon=7,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/day", 250.0, 4500.0),
    administrations=(Administration("infusion", 3, True, _infusions),),
    readings=(
        Reading("start", 0.0),
        Reading("level", _after_last_infusion, varies=True),
        Reading("trough", _DAY, varies=True),
        Reading("end", _DAY),
    ),
    responses=(Response("AUC24", "mg·h/L", _auc24),),
    measurements=(
        Measurement("trough", "C", "trough", "mg/L", _ASSAY, high=300.0, baseline=False,
                    meaning="newest trough in hand, drawn at the end of a day"),
        Measurement("level", "C", "level", "mg/L", _ASSAY, high=300.0, baseline=False,
                    meaning="newest level in hand, drawn one hour after the last infusion of a day"),
    ),
    benefit=ON_TARGET,
    harm=ABOVE_677,
    weight=2.0,
    scored=7,
    event=Event("with an AUC of 677 mg·h/L or more on any day", ABOVE_677),
    margin=0.03,
    target=500.0,
    monitoring=Monitoring(after=2),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=None,
    guideline=None,
    no_guideline="no gene has a dosing recommendation for vancomycin, and the model has no genotype term",
    clinical_start=BY_RENAL_FUNCTION,
    adjustment=PROPORTIONAL,
    outcomes=(
        Outcome("on_target", "days with the AUC on target", "share", "daily", "higher", ON_TARGET),
        Outcome("above_677", "days with an AUC ≥ 677 mg·h/L", "share", "daily", "lower", ABOVE_677),
        Outcome("below_400", "days with an AUC < 400 mg·h/L", "share", "daily", "lower", BELOW_400),
        Outcome("ever_above_677", "patients with an AUC ≥ 677 mg·h/L", "share", "ever", "lower", ABOVE_677),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("weight_kg", "kg", 25, 300, meaning="weight"),
        Entry("creatinine_mg_dl", "mg/dL", 0.1, 15, meaning="serum creatinine at the start"),
        Entry("crcl_ml_min", "mL/min", 20, 150,
              meaning="creatinine clearance (Cockcroft and Gault), at most 150"),
    ),
    discriminates="Yes, but not by a random dose. In `clinic` the return is about 0.59 by Bayesian "
    "monitoring, 0.36 by the rule, 0.21 by its start alone, 0.11 by the best fixed dose (750 "
    "mg/day), −0.48 by a uniform random dose and −0.55 by the label, which overdoses poor "
    "kidneys: compare with the rule.",
    assumptions=(
        "Calendar, load, intervals, weight of harm and all numbers of the clinic preset are assumptions, "
        "set before any training.",
        "Nobody is on dialysis; a creatinine clearance below 20 counts as 20.",
        "Creatinine stays what it was at the start; in the clinic preset the clearance of the drug drifts "
        "unseen.",
        "The MIC is 1 mg/L; kidney injury is not in the model, an AUC of 677 and more stands for its risk.",
        "The residual error is large: 22.7 % and 3.4 mg/L (PARTIAL: a second implementation has 19.7 % and "
        "1.42).",
    ),
    sources=(*MODEL.sources, "Rybak 2020, vancomycin guideline (target)",
             "Zasowski 2018, Antimicrob Agents Chemother 62:e01684 (harm)", BY_RENAL_FUNCTION.source),
)  # fmt: skip
