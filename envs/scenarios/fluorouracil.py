"""Fluorouracil: six infusions with the AUC on target, by DPYD.

Every number of the decision problem that is no published value is an ASSUMPTION, set before any training.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.genotypes import allele_entry, genotype_effects
from dosewright.envs.measurement import Measurement
from dosewright.envs.noise import Noise
from dosewright.envs.observation import Entry
from dosewright.envs.patients import (
    DEFAULT_ANCESTRIES,
    RACE_GROUPS,
    Patients,
    Spread,
    Stratum,
    VirtualPopulation,
)
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.models.fluorouracil_arshad2020 import DPYD, MODEL
from dosewright.envs.realism import TEXTBOOK, Occasion, Realism
from dosewright.envs.scenarios.dosing import Delay, DoseGrid, Reading, split
from dosewright.envs.scenarios.scenario import (
    Clock,
    DoseRule,
    Monitoring,
    Outcome,
    ProportionalRule,
    Response,
    Scenario,
    Seen,
    fixed_start,
)
from dosewright.envs.scenarios.scoring import AnyOf, Band, Event

Floats = NDArray[np.float64]

_CYCLE_DAYS = 14
_INFUSION = 46.0  # h

# ----------------------------------------------------------------------------------------------------- people

_NEXT = 2**40  # apart from every patient's number


@dataclass(frozen=True)
class TreatablePopulation(VirtualPopulation):
    """People with some DPYD activity. Without any, one in 20,000, fluorouracil must not be given (CPIC:
    avoid) and the model has no clearance: whoever is drawn so is replaced by another person."""

    def draw(
        self,
        model: PopulationModel,
        base: tuple[float, float] | None,
        ids: NDArray[np.int64],
        noise: Noise,
        spread: Floats | None = None,
    ) -> Patients:
        """Return the virtual patients with these identifiers: a pure function of `ids`, `noise` and `spread`,
        as of any population."""
        ids = np.asarray(ids, dtype=np.int64)
        # the genotypes alone: of any activity, every parameter 1
        any_activity = replace(
            model, typical=lambda covariates, effects: np.ones((len(ids), len(model.parameters)))
        )
        person = ids
        while True:
            drawn = super().draw(any_activity, base, person, noise)
            effects, _ = genotype_effects(model.genotype_terms, drawn.genotypes)
            without = effects[DPYD.effect] <= 0
            if not without.any():
                return replace(super().draw(model, base, person, noise, spread), ids=ids)
            person = np.where(without, person + _NEXT, person)


def _surface(known: dict[str, Floats]) -> dict[str, Floats]:
    """Body surface area (Du Bois: the paper does not say which formula, ASSUMPTION), in the cohort's
    range."""
    area = 0.007184 * known["weight_kg"] ** 0.425 * known["height_cm"] ** 0.725
    return {"bsa_m2": np.clip(area, 1.48, 2.33)}


_PEOPLE = {"age": Spread(59.5, 9, 37, 73), "male": 25 / 30, "height_male": Spread(177, 7),
           "height_female": Spread(164, 6), "weight": Spread(76, 0.18, 46, 111, log=True)}  # fmt: skip
POPULATION = TreatablePopulation(
    strata=tuple(Stratum(group, share, group, race, **_PEOPLE) for group, share, race in DEFAULT_ANCESTRIES),
    races=tuple(RACE_GROUPS),
    groups=RACE_GROUPS,
    # with cisplatin the effect on the leukocytes is 2.4 times as strong; the regimen is one without
    absent=("cisplatin",),
    flag="PARTIAL",
    source="Arshad 2020: 30 patients, 25 of them men, age 59.5 (37 to 73) years, weight 76 (46 to 111) kg, "
    "body surface 1.95 (1.48 to 2.33) m² (PARTIAL: read in nlmixr2lib), spread assumed; alleles: CPIC, per "
    "variant, African American from 314 people",
    derive=_surface,
)

# ----------------------------------------------------------------------------------------------------- course


def _days(reads: Mapping[tuple[str, str], Floats]) -> Floats:
    """Return (days, n, u) leukocytes on every day of a cycle."""
    return np.stack([reads[f"day {day}", "WBC"] for day in range(1, _CYCLE_DAYS + 1)])


ON_TARGET = Band("AUC of the cycle 20 to 30 mg·h/L", at_least=20.0, at_most=30.0)
BELOW_20 = Band("AUC of the cycle below 20 mg·h/L", below=20.0)
ABOVE_35 = Band("AUC of the cycle above 35 mg·h/L", above=35.0)
LEUKOPENIA = Band("leukocytes below 1.0 ×10⁹/L", below=1.0, response="nadir")
TOO_MUCH = AnyOf("AUC above 35 mg·h/L, or leukocytes below 1.0 ×10⁹/L", (ABOVE_35, LEUKOPENIA))

# --------------------------------------------------------------------------------------------- clinics' rules

TARGET = 25.0  # mg·h/L
_TIMES = (20.0, 30.0, 40.0)  # h after the start of the infusion
_LEVELS = tuple(f"level_{time:g}_h" for time in _TIMES)
_DECREASED, _NONE = allele_entry("DPYD", "c.2846A>T"), allele_entry("DPYD", "c.1905+1G>A (*2A)")

STANDARD = 2400.0  # mg/m² over 46 h
LABEL = fixed_start(
    STANDARD, "2400 mg/m²", "VERIFIED",
    "mFOLFOX6: 2400 mg/m² over 46 h every two weeks; neither bolus nor oxaliplatin is in the model",
)  # fmt: skip


def _cpic(seen: Seen) -> Floats:
    """Half of the standard dose at a DPYD activity score of 1 and 1.5, a fifth at 0.5, nothing at 0."""
    score = 2.0 - 0.5 * seen[_DECREASED] - seen[_NONE]
    # thresholds between the scores: what is expected of an ancestry, with no test done, reads as normal
    share = np.select([score > 1.75, score > 0.75, score > 0.25, score <= 0.25], [1.0, 0.5, 0.2, 0.0], np.nan)
    return STANDARD * share


GUIDELINE = DoseRule(
    "CPIC by DPYD", _cpic, frozenset({_DECREASED, _NONE}), "VERIFIED",
    "CPIC 2017, update of 2018: activity score 1 or 1.5 half of the dose, 0.5 avoid or below 25 %, 0 avoid "
    "(VERIFIED); here 20 % at 0.5 (ASSUMPTION)",
)  # fmt: skip


def auc_of_levels(seen: Seen) -> Floats:
    """Return the AUC of the last infusion (mg·h/L): the mean of its levels times its 46 hours.

    A constant rate makes all three levels the steady state, so their mean has less error than a trapezoid
    through them. Levels of an earlier infusion that came in late do not count. NaN without a level, and where
    nothing was given.
    """
    level = np.stack([seen[name] for name in _LEVELS])
    age = np.stack([seen[f"{name}_age"] for name in _LEVELS])
    new = np.stack([seen[f"{name}_new"] for name in _LEVELS]) > 0.5
    usable = new & (age < seen["interval"]) & (seen["last_dose"] > 0)
    count, total = usable.sum(axis=0), np.where(usable, level, 0.0).sum(axis=0)
    return _INFUSION * np.where(count > 0, total, np.nan) / np.maximum(count, 1)


PROPORTIONAL = ProportionalRule(
    name="proportional to the AUC",
    value=auc_of_levels,
    target=lambda seen: np.full(len(seen["day"]), TARGET),
    within=(0.7, 1.3),
    flag="RECALLED",
    source="outside 20 to 30 mg·h/L the next dose = dose × 25/AUC, changed by at most 30 % (target VERIFIED, "
    "rule RECALLED), AUC from the mean of the levels (ASSUMPTION); carriers of a DPYD variant are raised by "
    "the same rule, not by 10 % a cycle",
    dead_band=0.2,
)

# ------------------------------------------------------------------------------------------------ the problem

CLINIC = Realism(
    "clinic",
    occasions=(Occasion("CL", 0.20, 1),),
    late=0.05,
    missing=0.10,
    dropout_per_month=0.02,
    duration_sd=0.10,
    source="assumed; each sample has a fate of its own, leukocytes too, and only the count that decides "
    "about a delay is always there",
)

_ASSAY, _COUNT = MODEL.outputs[MODEL.output("C")].error, MODEL.outputs[MODEL.output("WBC")].error


def _level(time: float) -> Measurement:
    return Measurement(
        f"level_{time:g}_h", "C", f"{time:g} h", "mg/L", _ASSAY, high=100.0, baseline=False,
        meaning=f"level {time:g} h after the start of the last infusion",
    )  # fmt: skip


SCENARIO = Scenario(
    name="fluorouracil",
    title="Fluorouracil, AUC on target over six cycles",
    version=0,
    description="A patient with gastrointestinal cancer receives fluorouracil over 46 hours, every two "
    "weeks, six times. Before each cycle the clinic sees three levels of the last infusion, the leukocytes "
    "of day 10 and of today, and chooses the dose per body surface. While the leukocytes are below 3.0 the "
    "cycle is put off by a week, at most twice, then left out. Kinetics and leukocytes follow Arshad 2020 "
    "with body surface area, and clearance goes with the activity of DPYD.",
    model=MODEL,
    alternative=None,
    misspecified=(("SLOPE", 1.25),),  # ASSUMPTION
    no_alternative="There is no second model of levels and leukocytes: vary this one's parameters instead. "
    "Of van Kuilenburg 2012, by DPYD genotype, the volumes could not be read.",
    clock=Clock(
        unit="cycle", units="cycles", length=24.0 * _CYCLE_DAYS, shown=float(_CYCLE_DAYS),
        days=float(_CYCLE_DAYS),
    ),
    calendar=(0, 1, 2, 3, 4, 5),
    horizon=6,
    population=POPULATION,
    base=None,
    cohort=None,
    doses=DoseGrid("mg/m²", 100.0, 3600.0),
    administrations=(
        split("infusion", (0.0,), amount=lambda people: people["bsa_m2"], duration=_INFUSION),
    ),
    readings=(
        Reading("start", 0.0),
        *(Reading(f"{time:g} h", time) for time in _TIMES),
        *(Reading(f"day {day}", 24.0 * day) for day in range(1, _CYCLE_DAYS + 1)),
    ),
    responses=(
        Response("AUC", "mg·h/L", lambda reads: reads[f"day {_CYCLE_DAYS}", "AUC"] - reads["start", "AUC"]),
        Response("nadir", "10⁹/L", lambda reads: _days(reads).min(axis=0), before="WBC"),
    ),
    measurements=(
        *(_level(time) for time in _TIMES),
        Measurement("wbc", "WBC", f"day {_CYCLE_DAYS}", "10⁹/L", _COUNT, high=100.0, neutral=6.9,
                    meaning="leukocytes on the day of the cycle"),
        Measurement("wbc_day_10", "WBC", "day 10", "10⁹/L", _COUNT, high=100.0, neutral=6.9, baseline=False,
                    meaning="leukocytes on day 10 of the last cycle"),
    ),
    benefit=ON_TARGET,
    harm=TOO_MUCH,
    weight=1.0,
    scored=6,
    event=Event("with an AUC above 35 mg·h/L or leukocytes below 1.0 ×10⁹/L in two or more cycles", TOO_MUCH,
                more_than=1),
    margin=0.03,
    target=TARGET,
    monitoring=Monitoring(after=1),
    realism={"textbook": TEXTBOOK, "clinic": CLINIC},
    label=LABEL,
    # the infusion of mFOLFOX6 stays when neutrophils are low; its other reductions are for what is not in the
    # model
    label_adjustment=None,
    guideline=GUIDELINE,
    clinical_start=LABEL,
    adjustment=PROPORTIONAL,
    outcomes=(
        Outcome("on_target", "cycles with the AUC on target", "share", "daily", "higher", ON_TARGET),
        Outcome("below_20", "cycles with an AUC < 20 mg·h/L", "share", "daily", "lower", BELOW_20),
        Outcome("above_35", "cycles with an AUC > 35 mg·h/L", "share", "daily", "lower", ABOVE_35),
        Outcome("ever_above_35", "patients with an AUC > 35 mg·h/L", "share", "ever", "lower", ABOVE_35),
        Outcome("leukopenia", "patients with leukocytes < 1.0 ×10⁹/L", "share", "ever", "lower", LEUKOPENIA,
                response="nadir"),
    ),
    covariates=(
        Entry("age_y", "years", 10, 110, meaning="age"),
        Entry("male", "1", 0, 1, meaning="1 man, 0 woman"),
        Entry("bsa_m2", "m²", 0.8, 3.0, meaning="body surface area"),
        Entry(_DECREASED, "1", 0, 2, 0.05, "DPYD alleles of decreased function, counted as c.2846A>T"),
        Entry(_NONE, "1", 0, 2, 0.02, "DPYD alleles without function, counted as *2A"),
    ),
    discriminates="Yes: uniform random doses return 0.16 in `clinic`, where the best fixed dose (2800 mg/m²) "
    "returns 0.37 and the label 0.31. The rule, 0.37, gains nothing there over that dose: a level's error is "
    "57 % and clearance changes from cycle to cycle. In `textbook` it does: 0.60 against 0.55, 0.39 by the "
    "label and 0.20 at random.",
    assumptions=(
        "Weight of harm, event, the rule of delay and all numbers of the clinic preset are assumptions, set "
        "before any training.",
        "The published model has no term for DPYD: clearance × half the activity score is a composite "
        "(PARTIAL), and people without activity are left out.",
        "Fluorouracil is given alone, without the bolus and the oxaliplatin of the usual regimen; with "
        "cisplatin the effect on leukocytes would be 2.4 times as strong.",
        "The model was made from the first cycle of infusions over five days; six cycles of 46 h are an "
        "extrapolation.",
        "A cycle is left out where leukocytes are below 3.0 after two delays; it counts as one with an AUC "
        "of 0.",
        "Diarrhoea, mucositis and hand-foot syndrome are not in the model: an AUC above 35 mg·h/L stands for "
        "them.",
        "The residual error of a level is large: 57 % (published variance 0.32).",
    ),
    sources=(*MODEL.sources, "IATDMCT 2019 (target)", LABEL.source, GUIDELINE.source, PROPORTIONAL.source,
             POPULATION.source),
    # by a week, at most twice, then left out, as with docetaxel (ASSUMPTION: nothing was read of what comes
    # after the second delay)
    delay=Delay("wbc", below=3.0, by=168.0, at_most=2),
)  # fmt: skip
