"""Docetaxel: four cycles with as much drug as the neutrophils bear.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology import ResidualError
from dosewright.envs.pharmacology.body import surface_m2
from dosewright.envs.pharmacology.models import docetaxel_kloft2006
from dosewright.envs.pharmacology.models.docetaxel_ozawa2007 import MODEL
from dosewright.envs.realism import TEXTBOOK, Drift, Interaction, Occasion, Realism
from dosewright.envs.scenarios.dosing import (
    Administration,
    Delay,
    DoseGrid,
    Given,
    People,
    Reading,
    Units,
    split,
)
from dosewright.envs.scenarios.scenario import (
    AdjustmentRow,
    AdjustmentTable,
    Clock,
    Monitoring,
    Outcome,
    Response,
    Scenario,
    Seen,
    fixed_start,
)
from dosewright.envs.scenarios.scoring import Band, Event

Floats = NDArray[np.float64]

_CYCLE_DAYS = 21

# ------------------------------------------------------------------------------------------------ people


def _surface(known: dict[str, Floats]) -> dict[str, Floats]:
    """Body surface area (Du Bois)."""
    return {"bsa_m2": surface_m2(known["weight_kg"], known["height_cm"])}


POPULATION = VirtualPopulation(
    strata=(
        Stratum("Ozawa 2007", 1.0, "East Asian", "Asian", Spread(57, 11, 25, 80), 0.18, Spread(166, 6),
                Spread(154, 6), Spread(54, 9, 35, 90)),
    ),
    races=("Asian",),
    groups={"Asian": "East Asian"},
    absent=(),
    flag="PARTIAL",
    source="Ozawa 2007: 62 Japanese patients, 82 % women, AAG 0.51 to 2.41 g/L; spread assumed",
    extra=(
        ("neutrophils_1e9_l", Spread(4.0, 0.30, 1.6, 12.0, log=True)),
        ("aag_g_l", Spread(0.94, 0.35, 0.51, 2.41, log=True)),
    ),
    derive=_surface,
)  # fmt: skip

# ------------------------------------------------------------------------------------------------ course


def _premedication(dose: Floats, people: People, unit: Units) -> Given:
    """Dexamethasone at the start of every cycle that is given: it releases neutrophils (PARTIAL: the
    paper follows one cycle)."""
    return Given(np.zeros(1), (dose > 0)[:, :, None].astype(np.float64), np.zeros(1))


def _days(reads: Mapping[tuple[str, str], Floats]) -> Floats:
    """Return (days, n, u) neutrophils on every day of a cycle."""
    return np.stack([reads[f"day {day}", "ANC"] for day in range(1, _CYCLE_DAYS + 1)])


IN_RANGE = Band("nadir of the neutrophils 0.5 to 2.0 ×10⁹/L", at_least=0.5, at_most=2.0)
BELOW = Band("nadir below 0.5 ×10⁹/L", below=0.5)
LONG = Band("neutrophils below 0.5 ×10⁹/L for more than 7 days", above=7.0, response="days below 0.5")

# ------------------------------------------------------------------------------------------------
# clinics' rules


def _nadir_seen(seen: Seen) -> Floats:
    """The lower of the two counts within the last cycle, NaN where neither is new."""
    counts = [np.where(seen[f"anc_day_{day}_new"] > 0.5, seen[f"anc_day_{day}"], np.nan) for day in (8, 15)]
    return np.fmin(*counts)


REDUCTION = AdjustmentTable(
    name="label reduction",
    rows=(
        AdjustmentRow(Band("below 0.5", below=0.5), factor=0.75),
        AdjustmentRow(Band("0.5 and more", at_least=0.5)),
    ),
    wait_days=0,
    resume_below=np.inf,
    hold_days=0,
    early=None,
    flag="VERIFIED",
    source="European label: 100, then 75, then 60 mg/m² after neutrophils below 0.5 for more than 7 days, "
    "again at 60 none; a count below 0.5 on day 8 or 15 stands for it (ASSUMPTION); no increase after a "
    "reduction (RECALLED)",
    value=_nadir_seen,
    levels=(100.0, 75.0, 60.0, 0.0),
)


def _too_much(seen: Seen) -> Floats:
    """1 after a cycle that was too much: neutrophils below 0.5, or too low on the day of the next; 0 after
    another; NaN where no count within the cycle is known and the next was not put off."""
    nadir = _nadir_seen(seen)
    low = np.where(np.isnan(nadir), np.nan, nadir < 0.5)
    return np.where(seen["delays"] > 0, 1.0, low)


START = 60.0  # mg/m²
PROTOCOL = AdjustmentTable(
    name="protocol of a trial",
    rows=(
        AdjustmentRow(Band("borne", below=0.5)),
        AdjustmentRow(Band("too much", at_least=0.5), factor=0.75),
    ),
    wait_days=0,
    resume_below=np.inf,
    hold_days=0,
    early=None,
    flag="PARTIAL",
    source="PMC4671866, table 1 (epirubicin and docetaxel): neutrophils below 1.5 on the day of a cycle, "
    "75 % of the dose; first febrile neutropenia 75 %, second 50 % (VERIFIED); a count below 0.5 on day 8 or "
    "15 stands for febrile neutropenia, and both count as one step (ASSUMPTION); no increase after a "
    "reduction (RECALLED)",
    value=_too_much,
    levels=(START, 0.75 * START, 0.5 * START),
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    occasions=(Occasion("CL", 0.15, 1),),
    # α1-acid glycoprotein drifts by 0.10 per √cycle; the slope goes with its power −1.38
    drifts=(Drift("SLOPE", 0.138, per=1.0),),
    interactions=(Interaction("CL", share=0.05, factors=((0.5, 1.0),), units=1),),
    late=0.10,
    missing=0.10,
    dropout_per_month=0.02,
    source="assumed; strong CYP3A4 inhibitors halve the clearance (RECALLED); cycles moved for other "
    "reasons are left out",
)

_ANC_ERROR = ResidualError(log_sd=0.291, source="Ozawa 2007")

SCENARIO = Scenario(
    name="docetaxel",
    title="Docetaxel, nadir of the neutrophils on target over four cycles",
    version=0,
    description="A patient with cancer receives docetaxel over one hour, every three weeks, four times. "
        "Before each cycle "
    "the clinic sees the neutrophils of days 8 and 15 of the last one and of today, and chooses the dose "
    "per body surface. "
    "While the neutrophils are below 1.5 the cycle is put off by a week, at most twice, then left out. "
    "Kinetics and "
    "neutrophils follow Ozawa 2007, with α1-acid glycoprotein and the rise after dexamethasone.",
    model=MODEL,
    alternative=docetaxel_kloft2006.MODEL,
    clock=Clock(
        unit="cycle", units="cycles", length=24.0 * _CYCLE_DAYS, shown=float(_CYCLE_DAYS),
        days=float(_CYCLE_DAYS),
    ),
    calendar=(0, 1, 2, 3),
    horizon=4,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/m²", 5.0, 120.0),
    administrations=(
        split("infusion", (0.0,), amount=lambda people: people["bsa_m2"], duration=1.0),
        Administration("premedication", 1, False, _premedication),
    ),
    readings=tuple(Reading(f"day {day}", 24.0 * day) for day in range(1, _CYCLE_DAYS + 1)),
    responses=(
        Response("nadir", "10⁹/L", lambda reads: _days(reads).min(axis=0), before="ANC"),
        Response("days below 0.5", "d", lambda reads: (_days(reads) < 0.5).sum(axis=0).astype(np.float64)),
    ),
    measurements=(
        Measurement("anc", "ANC", "day 21", "10⁹/L", _ANC_ERROR, high=200.0, neutral=4.0,
                    meaning="neutrophils on the day of the cycle"),
        Measurement("anc_day_8", "ANC", "day 8", "10⁹/L", _ANC_ERROR, high=200.0, neutral=4.0,
                    meaning="neutrophils on day 8 of the last cycle", baseline=False),
        Measurement("anc_day_15", "ANC", "day 15", "10⁹/L", _ANC_ERROR, high=200.0, neutral=4.0,
                    meaning="neutrophils on day 15 of the last cycle", baseline=False),
    ),
    benefit=IN_RANGE,
    harm=BELOW,
    weight=0.5,
    scored=4,
    event=Event("with neutrophils below 0.5 ×10⁹/L for more than 7 days in a cycle", LONG),
    margin=0.03,
    target=1.0,
    monitoring=Monitoring(after=1),
    # of the alternative model (ASSUMPTION)
    constants={"ecog1": 0.0, "prior_chemotherapy": 0.0},
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=fixed_start(75.0, "75 mg/m²", "VERIFIED", "label, 60 to 100 mg/m² every three weeks"),
    label_adjustment=REDUCTION,
    guideline=None,
    no_guideline="no gene has a dosing recommendation for docetaxel, and the model has no genotype term",
    clinical_start=fixed_start(START, "60 mg/m²", "VERIFIED", "Japanese label: 60 mg/m² every three weeks"),
    adjustment=PROTOCOL,
    outcomes=(
        Outcome("in_range", "cycles with the nadir in range", "share", "daily", "higher", IN_RANGE),
        Outcome("below_0_5", "cycles with a nadir < 0.5 ×10⁹/L", "share", "daily", "lower", BELOW),
        Outcome("ever_below_0_5", "patients with a nadir < 0.5 ×10⁹/L", "share", "ever", "lower", BELOW),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("bsa_m2", "m²", 0.8, 3.0, meaning="body surface area"),
        Entry("neutrophils_1e9_l", "10⁹/L", 0.5, 50, meaning="neutrophils before treatment"),
        Entry("aag_g_l", "g/L", 0.1, 5, meaning="α1-acid glycoprotein before treatment"),
    ),
    discriminates="Yes: a cycle is in range or it is not. Random doses lose to the best fixed dose (0.45 in "
        "`clinic`, 40 mg/m²), and that to Bayesian monitoring (0.72).",
    assumptions=(
        "Weight of harm, event and all numbers of the clinic preset are assumptions, set before training.",
        "The paper follows one cycle; the rise after dexamethasone is given again with each (PARTIAL).",
        "Neutrophils below 0.5 for more than 7 days stand for febrile neutropenia, which is not in the "
        "model.",
        "The model was made from 30 to 60 mg/m² in Japanese patients; larger doses are an extrapolation.",
    ),
    sources=(*MODEL.sources, REDUCTION.source, PROTOCOL.source),
    delay=Delay("anc", below=1.5, by=168.0, at_most=2),
)  # fmt: skip
