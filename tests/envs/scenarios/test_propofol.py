"""Propofol's decision problem: models.md 10, 18 and 19, typed a second time."""

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
from dosewright.envs import AutoresetMode, DosingEnv, DosingVectorEnv, Intake, Noise, Treatment, scenario
from dosewright.envs.patients import Patients
from dosewright.envs.pharmacology import Dose, ResidualError, simulate
from dosewright.envs.pharmacology.models.propofol_eleveld2018 import MODEL

PROPOFOL = scenario("propofol")
SPEC = PROPOFOL.observation
QUARTERS = 240
Floats = NDArray[np.float64]


def admitted(n: int, realism: str = "textbook", seed: int = 1) -> tuple[Patients, Intake]:
    noise = Noise("select", seed)
    patients = PROPOFOL.population.draw(MODEL, None, np.arange(n), noise)
    return patients, Intake.prepare(PROPOFOL, patients, noise, PROPOFOL.preset(realism))


def treated(intake: Intake, rule: Any) -> tuple[Treatment, Floats]:
    """The whole course, and each patient's return."""
    treatment, state = Treatment(PROPOFOL, intake), None
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = rule.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - PROPOFOL.weight * interval.harm
        start = np.zeros(len(treatment), dtype=bool)
    return treatment, total


def seen(**entries: Any) -> NDArray[np.float32]:
    """What is seen at a visit; what is not named is missing, or 0, or that of a person of 40."""
    values = (
        {e.name: 0.0 if e.neutral is None else np.nan for e in SPEC.entries}
        | {"age_y": 40.0, "height_cm": 170.0, "weight_kg": 70.0, "next_interval": 0.25}
        | entries
    )
    return SPEC.encode({name: np.atleast_1d(value) for name, value in values.items()})


def infused(rates: Floats, weight: float) -> list[Dose]:
    """A schedule of rates (240,) in mg/kg/h, by hand: mg over a quarter of a minute."""
    return [Dose(0.25 * i, rate * weight / 60 * 0.25, 0.25) for i, rate in enumerate(rates)]


# ------------------------------------------------------------------------------------- the decision problem


def test_decision_problem_is_that_of_models_md_19() -> None:
    assert PROPOFOL.calendar == tuple(range(QUARTERS)) and PROPOFOL.horizon == QUARTERS
    assert PROPOFOL.clock.length == PROPOFOL.clock.shown == 0.25 and MODEL.time_unit == "min"
    assert PROPOFOL.clock.days * QUARTERS == pytest.approx(1 / 24, rel=1e-12)
    np.testing.assert_array_equal(PROPOFOL.doses.doses, [*np.arange(0, 10.1, 0.5), 20, 40, 60, 80, 100, 120])
    assert PROPOFOL.doses.unit == "mg/kg/h" and PROPOFOL.target == 50.0
    assert (PROPOFOL.weight, PROPOFOL.margin) == (2.0, 0.05)
    assert PROPOFOL.scored == 4 * (60 - 3)
    assert PROPOFOL.guideline is None and PROPOFOL.alternative is None and PROPOFOL.no_alternative


def test_clinic_is_that_of_models_md_18() -> None:
    clinic = PROPOFOL.realism["clinic"]
    assert (clinic.missed_dose, clinic.late, clinic.missing, clinic.dropout_per_month) == (0, 0, 0.05, 0)
    assert clinic.pause == (0.10, 2)  # 30 s
    (drift,), (opioid,) = clinic.drifts, clinic.interactions
    assert (drift.parameter, drift.log_sd, 0.25 * drift.per) == ("Ce50", 0.05, 10)
    assert (opioid.parameter, opioid.share, opioid.factors, opioid.units) == (
        "Ce50",
        1.0,
        ((0.85, 1.0),),
        None,
    )
    assert PROPOFOL.measurement.error.additive == 8.03


def test_rate_is_by_weight_over_the_whole_quarter() -> None:
    (pump,) = PROPOFOL.administrations
    given = pump.give(np.array([[8.0, 120.0]]), {"weight_kg": np.array([70.0])}, np.array([[0, 1]]))
    # 120 mg/kg/h are 0.5 mg/kg in 15 s; 560 mg/h are 7/3 mg
    np.testing.assert_allclose(given.amount[0, :, 0], [560 / 240, 35.0], rtol=1e-14)
    assert given.offset == 0 and given.duration == 0.25 and pump.infused


def test_doses_between_the_grid_go_to_the_nearest() -> None:
    assert PROPOFOL.doses.snap([0.24, 0.25, 9.9, 14.9, 15.0, 29.9, 111.0, 500.0]).tolist() == [
        0, 0.5, 10, 10, 20, 20, 120, 120
    ]  # fmt: skip


def test_bis_is_that_of_the_model_under_the_same_infusions() -> None:
    patients, intake = admitted(5)
    treatment, rng = Treatment(PROPOFOL, intake), np.random.default_rng(0)
    plan = rng.choice(PROPOFOL.doses.doses[:22], (QUARTERS, 5))
    plan[:4] = 100.0
    for rates in plan:
        treatment.give(rates)
    for i, weight in enumerate(patients.covariates["weight_kg"]):
        times = 0.25 * np.arange(QUARTERS + 1)
        bis = simulate(MODEL, patients.theta[i], infused(plan[:, i], weight), times)[0, :, 0]
        np.testing.assert_allclose(treatment.truth[i], bis, rtol=1e-9)
        assert bis[0] == 93


def test_reference_individual_sleeps_at_6_mg_kg_h() -> None:
    # models.md 10: 2 mg/kg, 8 mg/kg/h to minute 30, then 6: BIS 42.1 in minute 4.5 and 52.16 in minute 60
    patients, _ = admitted(1)
    known = {"age_y": 35.0, "weight_kg": 70.0, "height_cm": 170.0, "male": 1.0, "opiates": 0.0}
    covariates = {**patients.covariates, **{name: np.array([value]) for name, value in known.items()}}
    reference = replace(patients, covariates=covariates, theta=MODEL.typical(known, {}))
    intake = Intake.prepare(PROPOFOL, reference, Noise("select", 1), PROPOFOL.preset("textbook"))
    treatment = Treatment(PROPOFOL, intake)
    for minute in 0.25 * np.arange(QUARTERS):
        treatment.give(120.0 if minute < 1 else 8.0 if minute < 30 else 6.0)
    # here 2 mg/kg take a minute, not 20 s: the trough of the BIS comes half a minute later
    assert treatment.truth[0, 20] == pytest.approx(42.1, abs=1.0)
    assert treatment.truth[0, 240] == pytest.approx(52.16, abs=0.1)


# -------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize(
    ("bis", "benefit", "harm"),
    [(29.99, 0, 1), (30, 0, 0), (39.99, 0, 0), (40, 1, 0), (60, 1, 0), (60.01, 0, 0), (np.nan, 0, 0)],
)
def test_edges_of_the_bands(bis: float, benefit: float, harm: float) -> None:
    response = {"BIS": np.full((1, 3), bis)}
    # benefit from minute 3 on, harm always
    unit = np.array([0, 11, 12])
    assert PROPOFOL.benefit.of(response, unit).tolist() == [[0, 0, benefit]]
    assert PROPOFOL.harm.of(response, unit).tolist() == [[harm] * 3]


def test_a_perfect_hour_scores_1() -> None:
    bis = {"BIS": np.full((1, QUARTERS), 50.0)}
    assert PROPOFOL.benefit.of(bis, np.arange(QUARTERS)).sum() == PROPOFOL.scored


def test_event_is_a_minute_below_30() -> None:
    bis = np.full((3, QUARTERS), 50.0)
    bis[0, 20:23], bis[1, 20:24], bis[2, [5, 50, 100, 200]] = 29.0, 29.0, 29.0
    happened = PROPOFOL.event.happened({"BIS": bis}, np.ones(bis.shape, dtype=bool))
    assert happened.tolist() == [False, True, True]


# ---------------------------------------------------------------------------------------------- the monitor


@pytest.mark.parametrize("age", [18.0, 35.0, 55.0, 70.0, 85.0])
def test_monitor_shows_the_bis_of_the_delay_ago(age: float) -> None:
    exact = replace(PROPOFOL, measurements=(replace(PROPOFOL.measurement, error=ResidualError()),))
    patients, _ = admitted(2)
    older = replace(patients, covariates={**patients.covariates, "age_y": np.full(2, age)})
    intake = Intake.prepare(exact, older, Noise("select", 1), exact.preset("textbook"))
    treatment, delay = Treatment(exact, intake), (15 + np.exp(0.0517 * age)) / 60  # models.md 10
    rates = np.where(np.arange(QUARTERS) < 5, 120.0, 5.0)
    shown, ages = [], []
    for rate in rates[:60]:
        treatment.give(rate)
        now = SPEC.decode(treatment.observe())
        shown.append(now["bis"])
        ages.append(now["bis_age"])
    visit = 0.25 * np.arange(1, 61)
    for i, weight in enumerate(older.covariates["weight_kg"]):
        # before the first sample comes through it shows the BIS without drug
        times = np.maximum(visit - delay, 0.0)
        bis = simulate(MODEL, older.theta[i], infused(rates, weight), times)[0, :, 0]
        np.testing.assert_allclose(np.array(shown)[:, i], bis, rtol=1e-6)
        np.testing.assert_allclose(np.array(ages)[:, i], visit - times, rtol=1e-5)


def test_a_twentieth_of_the_values_is_lost_and_none_late() -> None:
    _, intake = admitted(60, "clinic")
    treatment, new = Treatment(PROPOFOL, intake), []
    for _ in range(QUARTERS - 1):
        treatment.give(5.0)
        new.append(SPEC.decode(treatment.observe())["bis_new"])
    assert np.mean(new) == pytest.approx(0.95, abs=0.01)  # 14,340 values: 5 SD
    assert not intake.life.late.any() and treatment.active.all()


def test_error_of_the_monitor_is_8() -> None:
    _, intake = admitted(60)
    treatment, error = Treatment(PROPOFOL, intake), []
    for _ in range(100):
        treatment.give(6.0)
    for _ in range(100):  # slow by now: what was true a minute ago is nearly true now
        treatment.give(6.0)
        error.append(SPEC.decode(treatment.observe())["bis"] - treatment.truth[:, treatment.day[0]])
    assert np.std(error) == pytest.approx(8.03, abs=0.3) and abs(np.mean(error)) < 1


# ---------------------------------------------------------------------------------------------------- rules


def test_label_induces_with_2_mg_kg_and_keeps_6_mg_kg_h() -> None:
    patients, intake = admitted(3)
    treatment, _ = treated(intake, regimen("label", PROPOFOL))
    np.testing.assert_array_equal(treatment.given, [[120.0] * 4 + [6.0] * 236] * 3)
    induced = treatment.given[:, :4].sum(axis=1) * 0.25 / 60  # mg/kg
    np.testing.assert_allclose(induced, 2.0, rtol=1e-14)
    assert len(patients) == 3


def followed(*course: tuple[float, float]) -> list[float]:
    """Doses of titration: the induction, then what is given at (minute, BIS), NaN for a lost value."""
    rule = regimen("clinical-nomogram", PROPOFOL)
    dose, state = rule.predict(seen())
    doses = [float(dose[0])]
    for minute, bis in course:
        lost = np.isnan(bis)
        observation = seen(minute=minute, bis=bis, bis_new=0.0 if lost else 1.0, last_dose=doses[-1])
        dose, state = rule.predict(observation, state)
        doses.append(float(dose[0]))
    return doses


INDUCED = ((0.25, 90.0), (0.5, 90.0), (0.75, 90.0), (1.0, 80.0), (1.25, 75.0))


def test_titration_induces_for_a_minute_and_waits_for_minute_3() -> None:
    assert followed(*INDUCED, (2.75, 75.0)) == [100, 100, 100, 100, 6, 6, 6]


@pytest.mark.parametrize(
    ("bis", "dose"),
    [(29.9, 0), (30.0, 5), (39.9, 5), (40.0, 6), (60.0, 6), (60.1, 7), (70.0, 7), (70.1, 8), (np.nan, 6)],
)
def test_titration_is_that_of_models_md_10_1(bis: float, dose: float) -> None:
    assert followed(*INDUCED, (3.0, bis))[-1] == dose


def test_titration_changes_once_a_minute() -> None:
    high = [(3 + 0.25 * i, 75.0) for i in range(13)]
    assert followed(*INDUCED, *high)[6:] == [8] * 4 + [10] * 9  # the most is 10


def test_a_pause_lasts_until_bis_is_above_40_and_resumes_with_2_less() -> None:
    course = ((10.0, 25.0), (10.25, 35.0), (10.5, np.nan), (10.75, 28.0), (11.0, 40.0), (11.25, 50.0))
    assert followed(*INDUCED, *course)[6:] == [0, 0, 0, 0, 4, 4]


def test_there_is_no_genotype_to_be_guided_by() -> None:
    assert not MODEL.genotype_terms
    with pytest.raises(ValueError, match="no genotype-guided dose"):
        regimen("guideline", PROPOFOL)


# ----------------------------------------------------------------------------------------------- population


def test_population_is_adults_with_remifentanil() -> None:
    patients, _ = admitted(2000)
    known = patients.covariates
    assert known["age_y"].min() >= 18 and known["age_y"].max() <= 85
    assert np.all(known["opiates"] == 1)
    assert known["male"].mean() == pytest.approx(0.5, abs=0.035)
    assert np.median(known["weight_kg"]) == pytest.approx(77, abs=1.5)
    # the monitor's queue holds eight values: delays stay below seven quarters
    assert (15 + np.exp(0.0517 * known["age_y"].max())) / 15 < 7


def test_clinic_lowers_ce50_and_stops_some_pumps() -> None:
    patients, intake = admitted(1000, "clinic")
    column = MODEL.column("Ce50")
    ratio = intake.life.theta[:, :, column] / patients.theta[:, None, column]
    assert np.exp(np.log(ratio[:, 0]).mean()) == pytest.approx(0.85, abs=0.002)
    # 0.05 per √(10 min), an hour
    assert np.log(ratio[:, -1]).std() == pytest.approx(0.05 * np.sqrt(6), rel=0.1)
    stopped = (~intake.life.taken[:, :, 0]).sum(axis=1)
    assert set(stopped.tolist()) <= {0, 1, 2} and (stopped > 0).mean() == pytest.approx(0.10, abs=0.03)


# ------------------------------------------------------------------------------------------------- it matters


def test_bis_falls_with_the_rate_from_none_to_three_times_the_typical() -> None:
    _, intake = admitted(20)
    courses = []
    for rate in (0.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0):  # typical: 6 mg/kg/h, as on the label
        treatment = Treatment(PROPOFOL, intake)
        while treatment.active.any():
            treatment.give(rate)
        courses.append(treatment.truth[:, 1:])
    assert np.all(np.diff(courses, axis=0) < 0)  # every patient, every quarter of a minute


class Uniform:
    """Random rates from 0 to `most`."""

    def __init__(self, most: float) -> None:
        self.most, self.rng = most, np.random.default_rng(0)

    def predict(self, observation: Any, state: Any = None, start: Any = None) -> tuple[Floats, None]:
        return self.rng.uniform(0, self.most, len(observation)), None


def test_what_the_page_says_about_the_target() -> None:
    n = 150
    _, intake = admitted(n, "clinic", seed=3)
    fixed = {rate: treated(intake, FixedDose(PROPOFOL, rate))[1] for rate in (4.0, 5.0, 6.0, 7.0)}
    best = fixed[5.0]
    assert best.mean() > max(value.mean() for value in fixed.values()) - 0.02 > fixed[7.0].mean()
    whole, low = treated(intake, Uniform(120.0))[1], treated(intake, Uniform(10.0))[1]
    label = treated(intake, regimen("label", PROPOFOL))[1]
    titration = treated(intake, regimen("clinical-nomogram", PROPOFOL))[1]
    assert whole.mean() < -1.5  # asleep beyond waking
    assert abs(low.mean() - best.mean()) < 0.03  # random dosing is a fixed dose: meaningless
    assert "random dose says nothing" in PROPOFOL.discriminates
    for better, worse in ((best, label), (titration, best)):
        gain = better - worse
        assert gain.mean() - 2 * gain.std(ddof=1) / np.sqrt(n) >= 0.10


def test_titration_lies_between_manual_control_and_a_closed_loop() -> None:
    # models.md 10.1: time in 40 to 60, 70 % by hand and 89 % by a closed loop; below 40: 26 % and 8 %
    _, intake = admitted(150, "clinic", seed=3)
    treatment, _ = treated(intake, regimen("clinical-nomogram", PROPOFOL))
    bis = treatment.truth[:, 13:]
    assert 0.65 < np.mean((bis >= 40) & (bis <= 60)) < 0.89
    assert 0.06 < np.mean(bis < 40) < 0.26


# ---------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_environment_checkers_have_no_complaint(realism: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("dosewright/Propofol-v0", disable_env_checker=True, realism=realism).unwrapped
        warnings.filterwarnings("ignore", message=".*we recommend .*symmetric and normalized.*")
        check_env(env, skip_render_check=True)
        sb3_check_env(env)


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector_bit_for_bit(realism: str) -> None:
    n = 3
    envs = DosingVectorEnv("propofol", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    actions = np.random.default_rng(0).uniform(0, 12, (QUARTERS, n, 1)).astype(np.float32)
    first = envs.reset(seed=3)[0]
    lanes = [DosingEnv("propofol", realism=realism) for _ in range(n)]
    for i, env in enumerate(lanes):
        assert np.array_equal(env.reset(seed=3, options={"patient": i})[0], first[i])
    terminated = np.zeros(n, dtype=bool)
    for action in actions:
        assert not terminated.any()
        observation, reward, terminated, truncated, _ = envs.step(action)
        for i in range(n):
            one = lanes[i].step(action[i])
            assert np.array_equal(one[0], observation[i])
            assert one[1:4] == (reward[i], terminated[i], truncated[i])
    assert terminated.all()
