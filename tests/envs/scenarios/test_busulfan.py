"""The decision problem of busulfan: its numbers, its course against direct simulation, its rules."""

import math
import warnings
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import (
    AutoresetMode,
    DosingEnv,
    DosingVectorEnv,
    Intake,
    Noise,
    Patients,
    Regimen,
    Scenario,
    Treatment,
    scenario,
)
from dosewright.envs.patients import individual_parameters
from dosewright.envs.pharmacology import Dose, ResidualError, simulate
from dosewright.envs.pharmacology.models.busulfan_mccune2014 import MODEL
from dosewright.envs.realism import TEXTBOOK, Realism
from dosewright.envs.scenarios.busulfan import auc_of_levels, label_mg_per_kg
from dosewright.evaluation import run_trial

Floats = NDArray[np.float64]

BUSULFAN = scenario("busulfan")
ID = "dosewright/Busulfan-v0"
TIMES = (3, 4, 6, 8)
LEVELS = tuple(f"level_{time}_h" for time in TIMES)
EXACT = replace(
    BUSULFAN, measurements=tuple(replace(item, error=ResidualError()) for item in BUSULFAN.measurements)
)


# ----------------------------------------------------------------------------------------------------- people

# an adult man, a boy of 6, a girl of half a year
AGE, WEIGHT, HEIGHT, MALE = (40.0, 6.0, 0.5), (70.0, 20.7, 7.3), (175.0, 115.0, 66.0), (1.0, 1.0, 0.0)
LABEL_MG = (224.0, 4 * 1.1 * 20.7, 4 * 1.0 * 7.3)  # a day


def three(n: int = 3) -> Patients:
    known = {"age_y": AGE[:n], "weight_kg": WEIGHT[:n], "height_cm": HEIGHT[:n], "male": MALE[:n]}
    covariates = {name: np.array(values) for name, values in known.items()}
    theta = individual_parameters(MODEL, covariates)
    covariates["clofarabine_or_fludarabine"] = np.zeros(n)
    return Patients(np.arange(n), covariates, {}, {}, theta, {})


def begin(patients: Patients, problem: Scenario = EXACT, realism: Realism = TEXTBOOK) -> Treatment:
    return Treatment(problem, Intake.prepare(problem, patients, Noise("select", 1), realism))


def drawn(n: int, realism: str, seed: int = 3) -> Intake:
    noise = Noise("select", seed)
    patients = BUSULFAN.population.draw(MODEL, None, np.arange(n), noise)
    return Intake.prepare(BUSULFAN, patients, noise, BUSULFAN.preset(realism))


def returns(arm: Regimen, intake: Intake) -> Floats:
    treatment, state = Treatment(BUSULFAN, intake), None
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - BUSULFAN.weight * interval.harm
        start[:] = False
    return total


def observed(**entries: Any) -> NDArray[np.float32]:
    """What is seen of adults of 70 kg."""
    usual: dict[str, Any] = {"age_y": 40.0, "male": 1.0, "height_cm": 175.0, "weight_kg": 70.0}
    values = {e.name: 0.0 if e.neutral is None else np.nan for e in BUSULFAN.observation.entries}
    values |= usual | entries
    return BUSULFAN.observation.encode(dict(zip(values, np.broadcast_arrays(*values.values()), strict=True)))


def levels_of(auc: Floats) -> dict[str, Floats]:
    """Levels of one compartment, 3 h of infusion, with this AUC."""
    k = 0.25
    end = auc * k / (3 * k) * -np.expm1(-3 * k)
    return {name: end * math.exp(-k * (time - 3)) for name, time in zip(LEVELS, TIMES, strict=True)}


# ----------------------------------------------------------------------------------------------- the problem


def test_numbers_of_the_decision_problem_are_those_of_the_reference() -> None:
    # models.md 19, typed a second time
    s = BUSULFAN
    assert (s.calendar, s.horizon, s.scored) == ((0, 1, 2, 3), 4, 1)
    np.testing.assert_array_equal(s.doses.doses, 5.0 * np.arange(31))
    assert s.doses.maximum == 150 and s.doses.unit == "% of label"
    assert (s.weight, s.margin, s.target) == (1.5, 0.03, 90.0)
    assert s.clock.length == 24.0 and s.model.time_unit == "h"
    assert s.guideline is None and s.maintenance_dose is None and not s.model.genotype_terms
    assert [(item.reading, item.units, item.baseline) for item in s.measurements] == [
        (f"{time} h", (1,), False) for time in TIMES
    ]


def test_numbers_of_the_clinic_preset_are_those_of_the_reference() -> None:
    # models.md 18
    clinic = BUSULFAN.preset("clinic")
    found = {item.parameter: (item.log_sd, item.units) for item in clinic.occasions}
    assert found == {
        "CL": (pytest.approx(math.sqrt(math.log(1 + 0.113**2))), 1),
        "V": (pytest.approx(math.sqrt(math.log(1 + 0.224**2))), 1),
    }
    (interaction,) = clinic.interactions
    assert (interaction.parameter, interaction.share, interaction.factors) == ("CL", 0.05, ((0.8, 1.0),))
    assert (clinic.missed_dose, clinic.dropout_per_month, clinic.drifts) == (0, 0, ())
    assert BUSULFAN.preset("textbook") is TEXTBOOK
    # a result for the third dose only in 10 % of patients, none at all in 1 %
    assert 1 - (1 - clinic.late) ** 4 == pytest.approx(0.10)
    assert 1 - (1 - clinic.missing) ** 4 == pytest.approx(0.01)
    life = drawn(3000, "clinic").life
    assert life.late[:, 1].any(axis=1).mean() == pytest.approx(0.10, abs=0.015)
    assert life.missing[:, 1].any(axis=1).mean() == pytest.approx(0.01, abs=0.005)


@pytest.mark.parametrize(
    ("auc", "benefit", "loss"),
    [
        (0, 0, 0), (78 * 0.75, 0, 0), (78 * 0.875, 0.5, 0), (78, 1, 0), (90, 1, 0), (101, 1, 0),
        (101.001, 1, 0.5), (101 * 1.125, 0.5, 0.5), (126, 1 - 25 / (0.25 * 101), 0.5), (126.3, 0, 1.5),
        (300, 0, 1.5),
    ],
)  # fmt: skip
def test_scores_at_the_edges(auc: float, benefit: float, loss: float) -> None:
    # models.md 19: falling to 0 at ± 25 % of the limits; 0.5 lost above 101, 1 more above 126
    course = np.linspace(auc / 4, auc, 4)[None]
    unit = np.arange(4)
    good, bad = BUSULFAN.benefit.of({"AUC": course}, unit), BUSULFAN.harm.of({"AUC": course}, unit)
    # only the last day counts
    assert (good[0, :3] == 0).all() and (bad[0, :3] == 0).all()
    assert good[0, 3] == pytest.approx(benefit, abs=1e-3)
    assert BUSULFAN.weight * bad[0, 3] == pytest.approx(loss)
    happened = BUSULFAN.event.happened({"AUC": course}, np.ones((1, 4), dtype=bool))
    assert happened[0] == (auc > 101)


# ------------------------------------------------------------------------------------------------ the course


@pytest.mark.parametrize(
    ("age", "weight", "per_kg"),
    [(5, 8.9, 1.0), (5, 9, 1.2), (5, 15.9, 1.2), (5, 16, 1.1), (5, 23, 1.1), (5, 23.1, 0.95), (5, 34, 0.95),
     (5, 34.1, 0.8), (17.9, 30, 0.95), (18, 30, 0.8), (60, 120, 0.8)],
)  # fmt: skip
def test_label_by_weight_in_children(age: float, weight: float, per_kg: float) -> None:
    # models.md 9.4, every 6 h
    assert label_mg_per_kg(np.array([age]), np.array([weight]))[0] == per_kg


def test_infusions_are_a_share_of_the_labels_daily_dose_over_3_h() -> None:
    (item,) = BUSULFAN.administrations
    percent = np.array([[100.0, 0.0, 65.0, 150.0]] * 3)
    given = item.give(percent, three().covariates, np.tile(np.arange(4), (3, 1)))
    assert given.offset.tolist() == [0.0] and given.duration == 3.0 and item.count == 1
    np.testing.assert_allclose(given.amount[:, :, 0], percent / 100 * np.array(LABEL_MG)[:, None], rtol=1e-12)


def test_printed_check_of_mccune() -> None:
    # models.md 9.4: man of 40 years, 70 kg, 175 cm, 224 mg over 3 h, four times: highest level 4.2518 mg/L at
    # the end of the last infusion, AUC 90.70 mg·h/L
    treatment = begin(three(1))
    for _ in range(4):
        treatment.give(100.0)
    assert treatment.truth[0, 4] == pytest.approx(90.70, abs=0.005)
    direct = simulate(MODEL, three(1).theta, [Dose(24.0 * day, 224, 3.0) for day in range(4)], [75.0], ["C"])
    assert direct[0, 0, 0] == pytest.approx(4.2518, abs=5e-5)


def test_course_equals_direct_simulation() -> None:
    patients = three()
    percent = [100.0, 135.0, 0.0, 45.0]
    treatment, levels = begin(patients), np.empty((3, 4))
    for day, dose in enumerate(percent):
        treatment.give(dose)
        if day == 0:
            now = EXACT.observation.decode(treatment.observe())
            levels[:] = np.stack([now[name] for name in LEVELS], axis=1)
    times = [3.0, 4.0, 6.0, 8.0, 24.0, 48.0, 72.0, 96.0]
    for i, daily in enumerate(LABEL_MG):
        doses = [Dose(24.0 * day, daily * dose / 100, 3.0) for day, dose in enumerate(percent)]
        direct = simulate(MODEL, patients.theta[i], doses, times, ["C", "AUC"])[0]
        np.testing.assert_allclose(levels[i], direct[:4, 0], rtol=1e-6)  # single precision
        np.testing.assert_allclose(treatment.truth[i, 1:], direct[4:, 1], rtol=1e-9)


def test_levels_are_new_on_day_1_only() -> None:
    treatment = begin(three())
    for day in range(4):
        now = BUSULFAN.observation.decode(treatment.observe())
        for name, time in zip(LEVELS, TIMES, strict=True):
            assert (now[f"{name}_new"] == (day == 1)).all()
            assert np.isnan(now[name]).all() == (day == 0)
            if day:
                np.testing.assert_allclose(now[f"{name}_age"], day - time / 24, rtol=1e-6)
        treatment.give(100.0)


def test_late_levels_are_new_on_day_2() -> None:
    treatment = begin(three(), realism=replace(TEXTBOOK, late=1.0))
    for day in range(3):
        now = BUSULFAN.observation.decode(treatment.observe())
        assert all(np.isnan(now[name]).all() == (day < 2) for name in LEVELS)
        assert all((now[f"{name}_new"] == (day == 2)).all() for name in LEVELS)
        treatment.give(100.0)


def test_auc_rises_with_the_dose() -> None:
    few, courses = drawn(60, "textbook"), []
    for dose in range(0, 151, 25):
        treatment = Treatment(BUSULFAN, few)
        while treatment.active.any():
            treatment.give(float(dose))
        courses.append(treatment.truth[:, 1:])
    assert (np.diff(courses, axis=0) > 0).all() and (courses[0] == 0).all()
    # linear kinetics: proportional
    np.testing.assert_allclose(courses[-1], 6 * courses[1], rtol=1e-9)


# ------------------------------------------------------------------------------------------------- the rules


def test_label_is_the_labels_dose_for_everybody() -> None:
    arm = regimen("label", BUSULFAN)
    assert arm.predict(observed(weight_kg=np.array([8.0, 70.0])))[0].tolist() == [100.0, 100.0]
    assert BUSULFAN.label_adjustment is None and BUSULFAN.clinical_start is BUSULFAN.label


def test_auc_of_four_levels_is_exact_in_one_compartment() -> None:
    auc = np.array([5.0, 22.5, 60.0])
    found = auc_of_levels(np.stack(list(levels_of(auc).values()), axis=1))
    np.testing.assert_allclose(found, auc, rtol=1e-12)


def test_auc_of_four_levels_of_the_model() -> None:
    # two compartments and a clearance that falls at 6 h: 2 % low for a typical adult
    patients = three(1)
    curve = simulate(MODEL, patients.theta, [Dose(0, 224, 3.0)], [3, 4, 6, 8, 24], ["C", "AUC"])[0]
    assert auc_of_levels(curve[None, :4, 0])[0] == pytest.approx(curve[4, 1], rel=0.04)


@pytest.mark.parametrize("levels", [[3, 2, np.nan, 1], [3, 2, 1, 0], [3, 1, 1, 1], [3, 1, 1.5, 2]], ids=str)
def test_unusable_levels_have_no_auc(levels: list[float]) -> None:
    assert np.isnan(auc_of_levels(np.array([levels])))


NEW = {f"{name}_new": 1.0 for name in LEVELS}


def test_remaining_doses_by_the_auc_of_the_first() -> None:
    # models.md 9.5: (90 − AUC so far)/(doses left × AUC per dose), between × 0.5 and × 1.5
    arm = regimen("clinical-nomogram", BUSULFAN)
    auc = np.array([10.0, 18.0, 22.5, 30.0, 36.0, 50.0])
    start, state = arm.predict(observed(day=np.zeros(6)))
    assert (start == 100).all()
    later = np.zeros(6, dtype=bool)
    dose, kept = arm.predict(observed(day=1.0, **NEW, **levels_of(auc)), state, later)
    expected = np.clip((90 - auc) / (3 * auc), 0.5, 1.5)
    assert expected.tolist() == [1.5, pytest.approx(4 / 3), 1.0, pytest.approx(2 / 3), 0.5, 0.5]
    np.testing.assert_allclose(dose, 100 * expected, rtol=1e-5)
    # the same levels, no longer new: the dose is kept
    again, _ = arm.predict(observed(day=2.0, **levels_of(auc)), kept, later)
    np.testing.assert_array_equal(again, dose)


def test_a_late_result_leaves_dose_2_alone_and_corrects_dose_3() -> None:
    arm = regimen("clinical-nomogram", BUSULFAN)
    auc = np.array([18.0, 22.5, 30.0])
    later = np.zeros(3, dtype=bool)
    _, state = arm.predict(observed(day=np.zeros(3)))
    early = {name: value for name, value in levels_of(auc).items() if name != "level_6_h"}
    dose, state = arm.predict(observed(day=1.0, **{**NEW, "level_6_h_new": 0.0}, **early), state, later)
    assert (dose == 100).all()
    dose, _ = arm.predict(observed(day=2.0, level_6_h_new=1.0, **levels_of(auc)), state, later)
    np.testing.assert_allclose(dose, 100 * (90 - 2 * auc) / (2 * auc), rtol=1e-5)  # × 1.5, 1, 0.5


def test_the_rule_ends_above_its_target_because_clearance_falls() -> None:
    intake = drawn(300, "textbook")
    arm = regimen("clinical-nomogram", BUSULFAN)
    treatment, state, start = Treatment(BUSULFAN, intake), None, np.ones(300, dtype=bool)
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state, start)
        treatment.give(dose)
        start[:] = False
    assert np.median(treatment.truth[:, 4]) == pytest.approx(90 * 1.06, rel=0.015)
    assert (treatment.given[:, 1:] == treatment.given[:, 1:2]).all()  # one correction


# -------------------------------------------------------------------------------------------- the population


@pytest.fixture(scope="module")
def crowd() -> Patients:
    return BUSULFAN.population.draw(MODEL, None, np.arange(3000), Noise("select", 1))


def test_ages_cover_those_of_the_cohort(crowd: Patients) -> None:
    # McCune 2014: 0.1 to 66 years
    age = crowd.covariates["age_y"]
    assert age.min() >= 0.1 and age.max() <= 66
    parts = np.histogram(age, [0, 2, 12, 18, 67])[0] / len(age)
    np.testing.assert_allclose(parts, [0.20, 0.35, 0.15, 0.30], atol=0.035)


@pytest.mark.parametrize(
    ("male", "age", "height", "weight"),
    # CDC 2000, medians of 4.5, 7.5, 10.5 and 13.5 years
    [(1, 4.5, 105.6, 17.3), (1, 7.5, 124.9, 24.3), (1, 10.5, 141.1, 33.9), (1, 13.5, 160.0, 48.3),
     (0, 4.5, 104.2, 16.8), (0, 7.5, 124.6, 24.1), (0, 10.5, 140.3, 34.7), (0, 13.5, 159.1, 47.7)],
)  # fmt: skip
def test_children_are_as_tall_and_heavy_as_others_of_their_age(
    male: float, age: float, height: float, weight: float
) -> None:
    derive = BUSULFAN.population.derive
    assert derive is not None
    typical = {"age_y": age, "male": male, "height_cm": 1.0, "weight_kg": 1.0}
    body = derive({name: np.array([value]) for name, value in typical.items()})
    assert body["height_cm"][0] == pytest.approx(height, rel=0.01)
    assert body["weight_kg"][0] == pytest.approx(weight, rel=0.02)


def test_clearance_of_children_is_near_that_of_other_cohorts(crowd: Patients) -> None:
    # Lawson 2020, a review of children: median of the typical clearances 0.22 L/h/kg, volumes 0.69 L/kg
    child = crowd.covariates["age_y"] < 18
    weight = crowd.covariates["weight_kg"][child]
    assert np.median(crowd.theta[child, 0] / weight) == pytest.approx(0.22, rel=0.2)
    assert np.median((crowd.theta[child, 1] + crowd.theta[child, 3]) / weight) == pytest.approx(0.69, rel=0.3)


# ------------------------------------------------------------------------------------ does it discriminate


class Random(FixedDose):
    """Another random dose every day."""

    def predict(self, observation: Any, state: Any = None, *_: Any, **__: Any) -> tuple[Floats, Any]:
        rng = np.random.default_rng(0) if state is None else state
        return rng.uniform(0, BUSULFAN.doses.maximum, len(observation)), rng


def test_the_page_tells_the_truth_about_the_arms() -> None:
    intake = drawn(500, "clinic", seed=1)
    rule = returns(regimen("clinical-nomogram", BUSULFAN), intake)
    fixed = {dose: returns(FixedDose(BUSULFAN, dose), intake) for dose in (75.0, 80.0, 85.0, 90.0, 100.0)}
    best = max(fixed, key=lambda dose: fixed[dose].mean())
    random = returns(Random(BUSULFAN, 0.0), intake)
    said = (rule.mean(), fixed[best].mean(), fixed[100.0].mean(), random.mean())
    np.testing.assert_allclose(said, (0.71, 0.56, 0.41, 0.28), atol=0.02)
    assert best == 85.0
    for number in ("0.71", "0.56", "85 %", "0.41", "0.28"):
        assert number in BUSULFAN.discriminates
    better = fixed[best] - random
    assert better.mean() - 2 * better.std() / np.sqrt(500) >= 0.10


def test_a_trial_reports_the_auc_of_the_course() -> None:
    noise = Noise("trial", 1)
    result = run_trial(
        BUSULFAN,
        {"label": regimen("label", BUSULFAN)},
        BUSULFAN.population,
        np.arange(200),
        noise,
        BUSULFAN.preset("clinic"),
    )
    arm = result.arm("label")
    last = arm.truth[:, -1]
    np.testing.assert_array_equal(arm.outcomes["on_target"], (last >= 78) & (last <= 101))
    np.testing.assert_array_equal(arm.outcomes["below_78"], last < 78)
    np.testing.assert_array_equal(arm.outcomes["above_101"], last > 101)
    np.testing.assert_array_equal(arm.outcomes["above_126"], last > 126)
    np.testing.assert_array_equal(arm.ever_harm, last > 101)
    assert (arm.benefit <= 1).all() and np.allclose(arm.harm[last > 126], 1)


def test_the_alternative_model_answers_alike() -> None:
    # Shukla 2020
    assert BUSULFAN.alternative is not None
    problem = replace(BUSULFAN, model=BUSULFAN.alternative)
    noise = Noise("select", 1)
    patients = problem.population.draw(problem.model, None, np.arange(200), noise)
    other = Treatment(problem, Intake.prepare(problem, patients, noise, problem.preset("clinic")))
    mine = Treatment(BUSULFAN, drawn(200, "clinic", seed=1))
    while other.active.any():
        other.give(100.0)
        mine.give(100.0)
    assert np.median(other.truth[:, 4]) == pytest.approx(np.median(mine.truth[:, 4]), rel=0.3)


# ---------------------------------------------------------------------------------------------- environments


def test_both_environment_checkers_agree() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, disable_env_checker=True).unwrapped
        warnings.filterwarnings("ignore", message=".*we recommend .*symmetric and normalized.*")
        check_env(env, skip_render_check=True)
        sb3_check_env(DosingEnv("busulfan"))


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector(realism: str) -> None:
    n = 8
    envs = DosingVectorEnv("busulfan", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    seen, _ = envs.reset(seed=3)
    lanes = [DosingEnv("busulfan", realism=realism) for _ in range(n)]
    for i, env in enumerate(lanes):
        assert np.array_equal(env.reset(seed=3, options={"patient": i})[0], seen[i])
    for action in np.random.default_rng(0).uniform(0, 150, (4, n, 1)).astype(np.float32):
        observation, reward, terminated, truncated, _ = envs.step(action)
        for i, env in enumerate(lanes):
            one = env.step(action[i])
            # correlated random effects are drawn by a matrix product, whose last bit depends on the number of
            # people
            np.testing.assert_allclose(one[0], observation[i], rtol=1e-6)
            assert one[1] == pytest.approx(reward[i], rel=1e-11, abs=1e-11)
            assert one[2:4] == (terminated[i], truncated[i])
