"""Propofol: BIS 40 to 60 over an hour of anaesthesia, an infusion decided every 15 seconds.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry
from dosewright.envs.patients import DEFAULT_ANCESTRIES, RACE_GROUPS, Spread, Stratum, VirtualPopulation
from dosewright.envs.pharmacology.models.propofol_eleveld2018 import MODEL, bis_delay_s
from dosewright.envs.realism import TEXTBOOK, Drift, Interaction, Realism
from dosewright.envs.scenarios.dosing import DoseGrid, People, Reading, Units, split
from dosewright.envs.scenarios.scenario import (
    AdjustmentRow,
    AdjustmentTable,
    Clock,
    Monitoring,
    Outcome,
    PIDRule,
    Response,
    Scenario,
    Seen,
    fixed_start,
)
from dosewright.envs.scenarios.scoring import Band, Event

Floats = NDArray[np.float64]

_UNIT_MIN = 0.25
_UNIT_S = 60.0 * _UNIT_MIN
_UNITS_AN_HOUR = 240

# ---------------------------------------------------------------------------------------------------- people


def _analgesia(known: dict[str, Floats]) -> dict[str, Floats]:
    """Everybody has remifentanil."""
    return {"opiates": np.ones(len(known["age_y"]))}


_BODY = {"age": Spread(48, 16, 18, 85), "male": 0.5, "height_male": Spread(177, 7),
         "height_female": Spread(164, 6.5), "weight": Spread(77, 15, 42, 140)}  # fmt: skip
POPULATION = VirtualPopulation(
    strata=tuple(Stratum(group, share, group, race, **_BODY) for group, share, race in DEFAULT_ANCESTRIES),
    races=tuple(RACE_GROUPS),
    groups=RACE_GROUPS,
    absent=(),
    flag="ASSUMPTION",
    source="Eleveld 2018 spans newborns to 88 years and up to 160 kg (RECALLED); adults to 85 years only, "
    "spread assumed",
    derive=_analgesia,
)

# --------------------------------------------------------------------------------------------------- monitor


def _whole_units_late(people: People) -> NDArray[np.int64]:
    """Return the whole units by which the monitor is late: 1 to 6 at 18 to 85 years."""
    return np.floor(bis_delay_s(people["age_y"]) / _UNIT_S).astype(np.int64)


def _within_unit(dose: Floats, people: People, unit: Units) -> Floats:
    """Return the time in a unit (min) of what the monitor shows at its end, or whole units later."""
    rest = np.mod(bis_delay_s(people["age_y"]), _UNIT_S) / 60.0
    return np.broadcast_to((_UNIT_MIN - rest)[:, None], unit.shape)


# ---------------------------------------------------------------------------------------------------- target

IN_RANGE = Band("BIS 40 to 60, from minute 3 on", at_least=40.0, at_most=60.0, since=12)
BELOW_30 = Band("BIS below 30", below=30.0)
BELOW_40 = Band("BIS below 40", below=40.0)
ABOVE_60 = Band("BIS above 60", above=60.0)

# -------------------------------------------------------------------------------------------- clinics' rules

# An induction is a minute at a high rate, in mg/kg/h: 120 are 2 mg/kg, 100 are 1.7 mg/kg
INDUCTION_MIN = 1.0
LABEL_INDUCTION, MANUAL_INDUCTION, MAINTENANCE, MOST = 120.0, 100.0, 6.0, 10.0
LABEL = fixed_start(
    LABEL_INDUCTION, "2 mg/kg over a minute", "RECALLED", "label: induction 1 to 2.5 mg/kg"
)  # fmt: skip
MANUAL = fixed_start(
    MANUAL_INDUCTION, "1.7 mg/kg over a minute", "PARTIAL",
    "Anesthesiology, April 2006, manual arm: 1.8 mg/kg (VERIFIED), here the nearest rate of the grid",
)  # fmt: skip


def _induced(seen: Seen) -> NDArray[np.bool_]:
    """Whether the last dose was an induction and the minute is over."""
    return (seen["last_dose"] > 20.0) & (seen["minute"] >= INDUCTION_MIN)


SCHEDULE = AdjustmentTable(
    name="maintenance by the clock",
    rows=(
        AdjustmentRow(Band("induction or maintenance goes on", at_most=0.0)),
        AdjustmentRow(Band("end of induction", above=0.0), add=MAINTENANCE - LABEL_INDUCTION),
    ),
    wait_days=0,
    resume_below=np.inf,
    hold_days=0,
    early=None,
    flag="RECALLED",
    source="label: maintenance 4 to 12 mg/kg/h, 6 with remifentanil; no reaction to BIS",
    value=lambda seen: _induced(seen).astype(np.float64),
)


def _monitor(seen: Seen) -> Floats:
    """Return the newest BIS from minute 3 on; −1 at the end of induction; NaN where nothing is new."""
    bis = np.where((seen["bis_new"] > 0.5) & (seen["minute"] >= 3.0), seen["bis"], np.nan)
    return np.where(_induced(seen), -1.0, bis)


TITRATION = AdjustmentTable(
    name="titration to BIS",
    rows=(
        AdjustmentRow(Band("end of induction", below=0.0), add=MAINTENANCE - MANUAL_INDUCTION),
        AdjustmentRow(Band("BIS below 30", at_least=0.0, below=30.0), add=-2.0, hold="stop"),
        AdjustmentRow(Band("BIS 30 to 40", at_least=30.0, below=40.0), add=-1.0),
        AdjustmentRow(Band("BIS 40 to 60", at_least=40.0, at_most=60.0)),
        AdjustmentRow(Band("BIS 60 to 70", above=60.0, at_most=70.0), add=1.0),
        # the clinic gives a bolus of 0.3 to 0.5 mg/kg, which a table of doses cannot say
        AdjustmentRow(Band("BIS above 70", above=70.0), add=2.0),
    ),
    wait_days=1,
    resume_below=np.inf,
    resume_above=40.0,
    hold_days=_UNIT_MIN,
    early=None,
    flag="RECALLED",
    source="BIS above 60 or below 40: ± 1 to 2 mg/kg/h, below 30 a pause until above 40 "
    "(RECALLED); at most one change a minute, from minute 3 on, up to 10 mg/kg/h (ASSUMPTION)",
    value=_monitor,
    most=MOST / MANUAL_INDUCTION,
)

CLOSED_LOOP_INDUCTION = fixed_start(
    80.0, "1.3 mg/kg over a minute", "PARTIAL",
    "Anesthesiology, April 2006, closed loop: 1.4 mg/kg (VERIFIED), here the nearest rate of the grid",
)  # fmt: skip
CLOSED_LOOP = PIDRule(
    name="closed loop on BIS",
    induction=CLOSED_LOOP_INDUCTION,
    ends=INDUCTION_MIN,
    value=lambda seen: np.where(seen["bis_new"] > 0.5, seen["bis"], np.nan),
    target=50.0,
    bias=MAINTENANCE,
    gain=0.0375 * 3600.0 / 70.0,  # mg/s at 70 kg, in mg/kg/h: 1.93 for a unit of BIS
    integral_time=300.0 / 60.0,
    derivative_time=13.5 / 60.0,
    # chosen on the namespace `select`, as the limit is that of titration: docs/decisions.md has the sweep
    filter_time=0.5,
    least=0.0,
    most=MOST,
    flag="PARTIAL",
    source="gain 0.0375 mg/s for a unit of BIS, integral time 300 s, derivative time 13.5 s: optimised in "
    "simulated adults with remifentanil, by the method of Merigo 2019, Commun Nonlinear Sci Numer Simul "
    "72:194 (read in github.com/BobAubouin/TIVA_Drug_Control, scripts/optimal_parameters_PID.csv); "
    "per kg at 70 kg, filter and limits ASSUMPTION; induction of 1.3 mg/kg",
)

# ----------------------------------------------------------------------------------------------- the problem

CLINIC = Realism(
    "clinic",
    drifts=(Drift("Ce50", 0.05, per=40.0),),
    interactions=(Interaction("Ce50", share=1.0, factors=((0.85, 1.0),), units=None),),
    missing=0.05,
    pause=(0.10, 2),
    source="assumed: remifentanil in everybody, a monitor that loses 5 % of its values, a pump that stops "
    "for 30 s",
)

SCENARIO = Scenario(
    name="propofol",
    title="Propofol, BIS 40 to 60 over an hour of anaesthesia",
    version=0,
    description="A patient is put to sleep and kept asleep for an hour, with remifentanil. Every quarter of "
    "a minute the anaesthetist sees the bispectral index (BIS), noisy and late by 18 s in the young and 96 "
    "s in the old, and sets the rate of the propofol infusion until the next look. Kinetics, effect site "
    "and BIS follow Eleveld 2018 with age, weight, height and sex.",
    model=MODEL,
    alternative=None,
    misspecified=(("ke0", 0.7),),  # ASSUMPTION
    no_alternative="No second model of BIS has been read; Marsh 1991 and Schnider 1999 exist.",
    clock=Clock(
        unit="quarter minute", units="quarter minutes", length=_UNIT_MIN, entry="minute", symbol="min",
        shown=_UNIT_MIN, days=_UNIT_MIN / 1440.0,
    ),
    calendar=tuple(range(240)),
    horizon=240,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/kg/h", 0.5, 120.0, even_to=10.0, beyond=(20.0, 40.0, 60.0, 80.0, 100.0, 120.0)),
    administrations=(
        split("infusion", (0.0,), per_unit=_UNITS_AN_HOUR, amount=lambda people: people["weight_kg"],
              duration=_UNIT_MIN),
    ),
    readings=(Reading("end", _UNIT_MIN), Reading("monitor", _within_unit)),
    responses=(Response("BIS", "1", lambda reads: reads["end", "BIS"], before="BIS"),),
    measurements=(
        Measurement(
            "bis", "BIS", "monitor", "1", MODEL.outputs[0].error, high=100.0, neutral=93.0,
            meaning="what the monitor shows, newest value in hand", units_ago=_whole_units_late,
        ),
    ),
    benefit=IN_RANGE,
    harm=BELOW_30,  # from the first minute on
    weight=2.0,
    scored=228,
    # "any minute": four quarters in all, which need not follow each other (ASSUMPTION)
    event=Event("with BIS below 30 for a minute or more in all", BELOW_30, more_than=3),
    margin=0.05,
    target=50.0,
    # three minutes: the effect site follows the plasma with a delay
    monitoring=Monitoring(after=12, fade=0.97),
    constants={"opiates": 1.0},
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    label_adjustment=SCHEDULE,
    guideline=None,
    no_guideline="no gene has a dosing recommendation for propofol, and the model has no genotype term",
    controller=CLOSED_LOOP,
    clinical_start=MANUAL,
    adjustment=TITRATION,
    outcomes=(
        Outcome("in_range", "time with BIS 40 to 60", "share", "daily", "higher", IN_RANGE),
        Outcome("below_40", "time with BIS < 40", "share", "daily", "lower", BELOW_40),
        Outcome("below_30", "time with BIS < 30", "share", "daily", "lower", BELOW_30),
        Outcome("ever_below_30", "patients ever with BIS < 30", "share", "ever", "lower", BELOW_30),
        Outcome("above_60", "time with BIS > 60", "share", "daily", "lower", ABOVE_60),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("height_cm", "cm", 100, 230, meaning="height"),
        Entry("weight_kg", "kg", 25, 300, meaning="weight"),
    ),
    discriminates="A uniform random dose says nothing here: over the whole grid it is ten times what is "
    "needed (−1.93), and from 0 to 10 mg/kg/h the body averages it, so that it scores like 5 mg/kg/h "
    "all the time, the best fixed dose (0.27 in `clinic`). Compare with the label (−0.07), which induces and "
    "does not look, with titration to BIS (0.69), the closed loop (0.86) and Bayesian monitoring (0.94).",
    assumptions=(
        "Weight of harm, the event and all numbers of the clinic preset are assumptions, set before any "
        "training.",
        "Everybody has remifentanil, under `textbook` too: its terms in the model grow with age and need it "
        "as a covariate; that it lowers Ce50 by 15 % is added under `clinic`.",
        "People of one age have the same Ce50: the model has no variance for it, and open implementations "
        "have one of 52 %.",
        "Blood pressure is not in the model: a BIS below 30 stands for too deep.",
        "The BIS delay is recalled, and BIS is cut off at 100 as monitors do.",
        "No rule gives a bolus between the rates of the grid; an induction is a minute at 100 or 120 "
        "mg/kg/h.",
        "Age, weight and height are those of assumed adults.",
    ),
    sources=(*MODEL.sources, TITRATION.source, CLOSED_LOOP.source, POPULATION.source),
)  # fmt: skip
