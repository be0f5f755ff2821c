"""The decision problem of efavirenz: its numbers, its course against direct simulation, its rules."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import chisquare

from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import Intake, Noise, Patients, Regimen, Scenario, Treatment, genotype_effects, scenario
from dosewright.envs.pharmacology import Dose, ResidualError, simulate
from dosewright.envs.pharmacology.models.efavirenz_bienczak2016 import CYP2B6, MODEL, maintenance_dose
from dosewright.envs.realism import TEXTBOOK, Realism
from dosewright.envs.scenarios.efavirenz import band_dose, growing

Floats = NDArray[np.float64]

EFAVIRENZ = scenario("efavirenz")
EXACT = replace(
    EFAVIRENZ,
    measurements=tuple(replace(item, error=ResidualError()) for item in EFAVIRENZ.measurements),
)
VISITS = (0, 14, 28, 56, 84, 168, 252)
# models.md 7, typed here a second time: diplotype, CL/F at 15.4 kg, children of the paper's 169 (nlmixr2lib)
GENOTYPES = (
    ("*1/*1", 6.94, 56), ("*1/*6", 4.90, 59), ("*1/*18", 3.93, 10),
    ("*6/*6", 1.92, 31), ("*18/*6", 1.36, 12), ("*18/*18", 0.74, 1),
)  # fmt: skip


# ----------------------------------------------------------------------------------------------------- people


def children(diplotypes: list[str], weight: Any = 15.4, age: float = 5.0, male: float = 1.0) -> Patients:
    """Typical children, without random effects."""
    n, genotypes = len(diplotypes), {"CYP2B6": np.array(diplotypes)}
    known = {"age_y": age, "male": male, "weight_kg": weight, "height_cm": 100.0, "race_black": 1.0}
    covariates = {name: np.broadcast_to(np.asarray(value, float), n).copy() for name, value in known.items()}
    theta = MODEL.typical(covariates, genotype_effects((CYP2B6,), genotypes)[0])
    labels = {"ancestry": np.full(n, "Sub-Saharan African")}
    return Patients(np.arange(n), covariates, genotypes, labels, theta, {})


def begin(patients: Patients, problem: Scenario = EXACT, realism: Realism = TEXTBOOK) -> Treatment:
    return Treatment(problem, Intake.prepare(problem, patients, Noise("select", 1), realism))


def drawn(n: int, realism: str, seed: int = 3) -> Intake:
    noise = Noise("select", seed)
    patients = EFAVIRENZ.population.draw(MODEL, None, np.arange(n), noise)
    return Intake.prepare(EFAVIRENZ, patients, noise, EFAVIRENZ.preset(realism))


def returns(arm: Regimen, intake: Intake) -> Floats:
    treatment, state = Treatment(EFAVIRENZ, intake), None
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - EFAVIRENZ.weight * interval.harm
        start[:] = False
    return total


def seen(**entries: Any) -> dict[str, Floats]:
    """Decoded observations of a child of 15.4 kg on day 28, with nothing new."""
    usual: dict[str, Any] = {
        "age_y": 5.0, "male": 1.0, "weight_kg": 15.4, "cyp2b6_*6": 0.0, "cyp2b6_*18": 0.0,
        "day": 28.0, "interval": 14.0, "next_interval": 28.0, "last_dose": 250.0,
    }  # fmt: skip
    values = {e.name: 0.0 if e.neutral is None else np.nan for e in EFAVIRENZ.observation.entries}
    values |= usual | entries
    arrays = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in values.values()))
    return dict(zip(values, arrays, strict=True))


# ------------------------------------------------------------------------------------------------ the problem


def test_numbers_of_the_decision_problem_are_those_of_the_reference() -> None:
    # models.md 19, typed a second time
    s = EFAVIRENZ
    assert (s.calendar, s.horizon, s.scored) == (VISITS, 336, 336)
    np.testing.assert_array_equal(s.doses.doses, 50.0 * np.arange(13))
    assert (s.weight, s.margin) == (1.0, 0.05)
    assert s.clock.length == 24.0 and s.model.time_unit == "h"
    assert s.alternative is None and s.no_alternative and s.maintenance_dose is None


def test_numbers_of_the_clinic_preset_are_those_of_the_reference() -> None:
    # models.md 18 and 7: CV between occasions 26.6, 50.5, 78 and 57.7 %
    clinic = EFAVIRENZ.preset("clinic")
    assert (clinic.missed_dose, clinic.late, clinic.missing, clinic.dropout_per_month) == (
        0.08,
        0.2,
        0.1,
        0.02,
    )
    found = {o.parameter: (100 * np.sqrt(np.expm1(o.log_sd**2)), o.units) for o in clinic.occasions}
    assert {name: cv for name, (cv, _) in found.items()} == pytest.approx(
        {"CL": 26.6, "F": 50.5, "MTT": 78, "ka": 57.7}
    )
    assert {name: units for name, (_, units) in found.items()} == {"CL": 28, "F": 1, "MTT": 28, "ka": 28}
    (tuberculosis,) = clinic.interactions
    assert (tuberculosis.parameter, tuberculosis.share, tuberculosis.units) == ("CL", 0.10, 24 * 7)
    assert tuberculosis.factors == ((1.2, 1.0),) and not clinic.drifts
    assert EFAVIRENZ.preset("textbook") is TEXTBOOK


@pytest.mark.parametrize(
    ("level", "good", "bad"), [(0.999, 0, 0), (1, 1, 0), (2, 1, 0), (4, 1, 0), (4.001, 0, 1), (40, 0, 1)]
)
def test_scores_at_the_edges(level: float, good: float, bad: float) -> None:
    responses, day = {"level": np.full((1, 1), level)}, np.zeros(1, dtype=np.int64)
    assert EFAVIRENZ.benefit.of(responses, day) == good
    assert EFAVIRENZ.harm.of(responses, day) == bad


def test_the_event_is_more_than_a_quarter_of_the_days_followed() -> None:
    course = np.full((3, 336), 2.0)
    course[0, :84] = 5.0  # exactly a quarter
    course[1, :85] = 5.0
    course[2, :30] = 5.0  # dropped out on day 100
    followed = np.ones((3, 336), dtype=bool)
    followed[2, 100:] = False
    assert EFAVIRENZ.event.happened({"level": course}, followed).tolist() == [False, True, True]


# ------------------------------------------------------------------------------------------------- the course


def test_children_grow_along_the_median_in_steps_of_28_days() -> None:
    # CDC 2000, boys: 18.4 kg at 5, 20.7 kg at 6 years; girls: 16.0 at 4, 17.9 at 5
    people = children(["*1/*1"] * 2, [12.0, 20.0]).covariates
    people = {**people, "age_y": np.array([5.0, 4.0]), "male": np.array([1.0, 0.0])}
    path = growing(people, 336)
    assert len(path) == 336 and len({id(now) for now in path}) == 12
    np.testing.assert_array_equal(path[0]["weight_kg"], [12, 20])
    assert path[27] is path[0] and path[28] is not path[0] and path[335] is path[308]
    years = 308 / 365.25
    np.testing.assert_allclose(
        path[335]["weight_kg"], [12 * (18.4 + 2.3 * years) / 18.4, 20 * (16.0 + 1.9 * years) / 16.0]
    )


def test_parameters_follow_the_weight_and_nothing_else_in_textbook() -> None:
    patients = children(["*1/*1", "*6/*6"], [15.4, 20.0])
    treatment = begin(patients)
    for _ in VISITS:
        treatment.give(np.full(2, 200.0))
    growth = (18.4 + 2.3 * 308 / 365.25) / 18.4
    expected = patients.theta * growth ** np.array([0.75, 1, 0.75, 1, 0, 0, 0])
    np.testing.assert_allclose(treatment.theta, expected, rtol=1e-12)


def test_course_equals_direct_simulation() -> None:
    patients = children([diplotype for diplotype, *_ in GENOTYPES], [8.0, 12.0, 15.4, 20.0, 25.0, 30.0])
    doses = [200.0, 0.0, 350.0, 600.0, 50.0, 100.0, 250.0]
    treatment = begin(patients)
    shown = []
    for dose in doses:
        treatment.give(np.full(6, dose))
        shown.append(EXACT.observation.read(treatment.observe(), "level"))
    daily = np.repeat(doses, np.diff([*VISITS, 336]))
    path = growing(patients.covariates, 336)
    effects, _ = genotype_effects((CYP2B6,), patients.genotypes)
    theta = np.stack([MODEL.typical(path[day], effects) for day in range(0, 336, 28)], axis=1)
    direct = simulate(
        MODEL, theta, [Dose(24.0 * day, dose) for day, dose in enumerate(daily)],
        24.0 * np.arange(336) + 14.0, ["C"], changes=24.0 * np.arange(0, 336, 28),
    )[:, :, 0]  # fmt: skip
    np.testing.assert_allclose(treatment.truth[:, 1:], direct, rtol=1e-9)
    # what is seen at a visit was drawn on the day before, 14 h after the dose
    drawn_on = np.array([*VISITS[1:], 336]) - 1
    np.testing.assert_allclose(np.transpose(shown), direct[:, drawn_on], rtol=1e-6)


def test_a_level_is_new_at_every_visit_but_the_first_and_ten_hours_old() -> None:
    treatment = begin(children(["*1/*6"]))
    first = EXACT.observation.decode(treatment.observe())
    assert np.isnan(first["level"]) and first["level_new"] == 0
    for day in VISITS[1:]:
        treatment.give(np.array([200.0]))
        now = EXACT.observation.decode(treatment.observe())
        assert now["day"] == day and now["level_new"] == 1
        assert now["level_age"] == pytest.approx(10 / 24)


def test_levels_are_proportional_to_the_dose_on_every_day() -> None:
    # up to three times 400 mg, the dose for 2 mg/L without a variant, within the cap
    few = drawn(40, "clinic")
    courses = []
    for dose in (100.0, 300.0, 600.0):
        treatment = Treatment(EFAVIRENZ, few)
        while treatment.active.any():
            treatment.give(dose)
        courses.append(treatment.truth[:, 1:])
    here = ~np.isnan(courses[0]) & (courses[0] > 0)  # a missed first dose leaves nothing
    assert here.mean() > 0.8
    for other, factor in zip(courses[1:], (3, 6), strict=True):
        np.testing.assert_allclose(other[here], factor * courses[0][here], rtol=1e-9)


def test_rates_change_every_28_days_and_with_tuberculosis_and_bioavailability_with_every_dose() -> None:
    # 30 compartments: a rate that changes every day would cost an exponential every day
    path = drawn(100, "clinic").life.theta
    moves = np.diff(path, axis=1) != 0
    for name in ("CL", "Vc", "Q", "Vp", "MTT", "ka"):
        days = 1 + np.nonzero(moves[:, :, MODEL.column(name)])[1]
        off = days[days % 28 != 0]
        # a start and an end of treatment for tuberculosis, in 10 % of children
        assert len(off) <= (2 * 25 if name == "CL" else 0)
        assert np.sum(days % 28 == 0) == 11 * 100
    assert moves[:, :, MODEL.column("F")].all()
    spread = np.log(path[:, :, MODEL.column("F")])
    assert (spread - spread.mean(axis=1, keepdims=True)).std() == pytest.approx(
        np.sqrt(np.log1p(0.505**2)), rel=0.02
    )


def test_clearance_differs_nine_fold_between_genotypes_and_so_does_the_dose() -> None:
    # models.md 7: 6.94/0.74 L/h
    patients = children([diplotype for diplotype, *_ in GENOTYPES])
    np.testing.assert_allclose(patients.theta[:, 0], [clearance for _, clearance, _ in GENOTYPES])
    doses = maintenance_dose(patients.theta, EFAVIRENZ.target)
    assert doses[0] / doses[5] == pytest.approx(9.4, abs=0.05)
    # on the same dose: within the target with 516GT, above it with 516TT (models.md 7: trough 5.5 on 300 mg)
    treatment = begin(patients)
    while treatment.active.any():
        treatment.give(300.0)
    assert 1 < treatment.truth[1, 56] < 4 < treatment.truth[3, 56]


# -------------------------------------------------------------------------------------------------- the rules


def test_label_is_the_table_of_weight_bands() -> None:
    weight = np.array([7.5, 14.9, 15, 19.9, 20, 24.9, 25, 32.4, 32.5, 39.9, 40, 60])
    expected = [200, 200, 250, 250, 300, 300, 350, 350, 400, 400, 600, 600]
    np.testing.assert_array_equal(band_dose(weight), expected)
    np.testing.assert_array_equal(EFAVIRENZ.label.dose({"weight_kg": weight}), expected)
    assert EFAVIRENZ.label.needs == {"weight_kg"}


def test_guideline_gives_two_thirds_and_a_third_of_the_band_by_genotype() -> None:
    # CPIC: 600, 400 and 200 mg; on a grid of 50 mg
    rule = EFAVIRENZ.guideline
    assert rule is not None and rule.needs == {"weight_kg", "cyp2b6_*6", "cyp2b6_*18"}
    counts = seen(**{"weight_kg": 22.0, "cyp2b6_*6": [0, 1, 0, 2, 1, 0], "cyp2b6_*18": [0, 0, 1, 0, 1, 2]})
    np.testing.assert_allclose(rule.dose(counts), [300, 200, 200, 100, 100, 100])
    by_weight = seen(**{"weight_kg": [12.0, 17.0, 22.0, 28.0, 35.0, 50.0], "cyp2b6_*6": 2.0})
    np.testing.assert_array_equal(EFAVIRENZ.doses.snap(rule.dose(by_weight)), [50, 100, 100, 100, 150, 200])
    assert np.isnan(rule.dose(seen(**{"cyp2b6_*6": np.nan}))).all()


def test_steps_of_the_rule() -> None:
    # models.md 7.1: above 4 mg/L 25 to 33 % less, below 1 mg/L one weight band more
    arm, spec = regimen("clinical-nomogram", EFAVIRENZ), EFAVIRENZ.observation
    level = np.array([0.3, 0.99, 1.0, 2.5, 4.0, 4.1, 15.0, 15.0])
    new = np.array([1.0, 1, 1, 1, 1, 1, 1, 0])
    going = np.zeros(8, dtype=bool)
    start, state = arm.predict(spec.encode(seen(day=np.zeros(8))))
    np.testing.assert_array_equal(start, 250)
    dose, state = arm.predict(spec.encode(seen(day=14.0, level=level, level_new=new)), state, going)
    np.testing.assert_allclose(dose, [300, 300, 250, 250, 250, 175, 175, 250])
    dose, _ = arm.predict(spec.encode(seen(day=28.0, level=level, level_new=new)), state, going)
    np.testing.assert_allclose(dose, [350, 350, 250, 250, 250, 122.5, 122.5, 250])


def test_the_label_arm_follows_the_weight_band_while_the_child_grows() -> None:
    arm = regimen("label", EFAVIRENZ)
    treatment = begin(children(["*1/*1", "*6/*6"], [14.9, 24.0]), EFAVIRENZ)
    state, start, weights = None, np.ones(2, dtype=bool), []
    while treatment.active.any():
        observation = treatment.observe()
        weights.append(EFAVIRENZ.observation.decode(observation)["weight_kg"])
        dose, state = arm.predict(observation, state, start)
        treatment.give(dose)
        start[:] = False
    bands = np.where(np.array(weights) < [15.0, 25.0], [200.0, 300.0], [250.0, 350.0]).T  # models.md 7
    np.testing.assert_array_equal(treatment.given, bands)
    assert np.all(np.ptp(bands, axis=1) == 50)  # both grow out of their band


# --------------------------------------------------------------------------------------------- the population


@pytest.fixture(scope="module")
def crowd() -> Patients:
    return EFAVIRENZ.population.draw(MODEL, None, np.arange(3000), Noise("select", 1))


def test_marginals_are_near_the_published_ones(crowd: Patients) -> None:
    # Bienczak 2016: age 4.7 (2.1 to 13.8) years, weight 15.5 (7.8 to 30.0) kg, 52.7 % girls
    c = crowd.covariates
    assert np.median(c["age_y"]) == pytest.approx(4.7, abs=0.15)
    assert np.median(c["weight_kg"]) == pytest.approx(15.5, abs=0.4)
    assert (c["age_y"].min(), c["age_y"].max()) == (2.1, 13.8)
    assert (c["weight_kg"].min(), c["weight_kg"].max()) == (7.8, 30.0)
    assert 1 - c["male"].mean() == pytest.approx(0.527, abs=0.03)
    assert ((c["weight_kg"] == 30) | (c["weight_kg"] == 7.8)).mean() < 0.05
    assert np.corrcoef(np.log(c["age_y"]), np.log(c["weight_kg"]))[0, 1] > 0.8


def test_genotypes_are_those_of_the_group_and_not_unlike_the_papers(crowd: Patients) -> None:
    clearance = genotype_effects((CYP2B6,), crowd.genotypes)[0]["cl_l_h"]
    found = np.array([np.mean(clearance == value) for _, value, _ in GENOTYPES])
    # models.md 17: 516T 0.423, 983C 0.058
    t, c = 0.423, 0.058
    w = 1 - t - c
    expected = np.array([w * w, 2 * w * t, 2 * w * c, t * t, 2 * t * c, c * c])
    np.testing.assert_allclose(found, expected, atol=0.03)
    # 169 children: 33, 35, 6, 18, 7, 1 % (the last two together, for the test)
    counted = np.array([n for *_, n in GENOTYPES], dtype=float)
    joined, wanted = np.append(counted[:4], counted[4:].sum()), np.append(expected[:4], expected[4:].sum())
    assert chisquare(joined, 169 * wanted / wanted.sum()).pvalue > 0.02


def test_exposure_on_the_label_is_that_of_ugandan_children(crowd: Patients) -> None:
    # Fillekes 2011, J Acquir Immune Defic Syndr 58:392: 41 children on the same weight bands, geometric mean
    # AUC24 50.8 and 55.5 mg·h/L (CV 91 and 83 %), level at 24 h below 1 mg/L in 38 %
    dose = band_dose(crowd.covariates["weight_kg"])
    log_auc = np.log(dose * crowd.theta[:, MODEL.column("F")] / crowd.theta[:, MODEL.column("CL")])
    assert np.exp(log_auc.mean()) == pytest.approx(53, rel=0.15)
    assert np.sqrt(np.expm1(log_auc.var())) == pytest.approx(0.87, abs=0.12)
    some = np.arange(150)
    schedules = [[Dose(24.0 * day, dose[i]) for day in range(21)] for i in some]
    trough = simulate(MODEL, crowd.theta[some], schedules, [24.0 * 21], ["C"])[:, 0, 0]
    assert (trough < 1).mean() == pytest.approx(0.38, abs=0.12)


# --------------------------------------------------------------------------------------- does it discriminate


def test_the_page_tells_the_truth_about_the_arms() -> None:
    intake = drawn(500, "clinic", seed=1)
    rng = np.random.default_rng(0)

    class Random(FixedDose):
        def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Floats, Any]:
            return rng.uniform(0, EFAVIRENZ.doses.maximum, len(observation)), state

    arms = {
        name: regimen(name, EFAVIRENZ) for name in ("clinical-nomogram", "nomogram", "guideline", "label")
    }
    found = {name: returns(arm, intake) for name, arm in arms.items()}
    found["random"] = returns(Random(EFAVIRENZ, 0.0), intake)
    fixed = {dose: returns(FixedDose(EFAVIRENZ, dose), intake) for dose in (100.0, 150.0, 200.0)}
    best = max(fixed, key=lambda dose: fixed[dose].mean())
    found["fixed"] = fixed[best]
    said = {"clinical-nomogram": 0.53, "nomogram": 0.59, "guideline": 0.44, "fixed": 0.33, "label": 0.29,
            "random": 0.12}  # fmt: skip
    assert {name: value.mean() for name, value in found.items()} == pytest.approx(said, abs=0.02)
    assert best == 150.0 and "150 mg/day" in EFAVIRENZ.discriminates
    assert all(f"{value:.2f}" in EFAVIRENZ.discriminates for value in said.values())
    worse = found["fixed"] - found["random"]
    assert worse.mean() - 2 * worse.std(ddof=1) / np.sqrt(len(worse)) > 0.10
