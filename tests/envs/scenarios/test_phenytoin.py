"""Phenytoin's decision problem: models.md 11, 17, 18 and 19, typed a second time."""

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
from dosewright.envs.pharmacology import ResidualError, simulate
from dosewright.envs.pharmacology.models.phenytoin_grasela1983 import MODEL, maintenance_dose
from dosewright.envs.scenarios.phenytoin import GUIDELINE

PHENYTOIN = scenario("phenytoin")
SPEC = PHENYTOIN.observation
VISITS = (0, 7, 14, 21, 28, 42, 56, 70)
Floats = NDArray[np.float64]


def admitted(n: int, realism: str = "textbook", seed: int = 1) -> tuple[Patients, Intake]:
    noise = Noise("select", seed)
    patients = PHENYTOIN.population.draw(MODEL, None, np.arange(n), noise)
    return patients, Intake.prepare(PHENYTOIN, patients, noise, PHENYTOIN.preset(realism))


def treated(intake: Intake, rule: Any) -> tuple[Treatment, Floats]:
    """The whole course, and each patient's return."""
    treatment, state = Treatment(PHENYTOIN, intake), None
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = rule.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - PHENYTOIN.weight * interval.harm
        start = np.zeros(len(treatment), dtype=bool)
    return treatment, total


def seen(**entries: Any) -> NDArray[np.float32]:
    """What is seen at a visit; what is not named is missing, or 0, or that of a person of 40."""
    values = (
        {e.name: 0.0 if e.neutral is None else np.nan for e in SPEC.entries}
        | {"age_y": 40.0, "weight_kg": 70.0, "next_interval": 7.0}
        | entries
    )
    return SPEC.encode(
        dict(zip(values, np.broadcast_arrays(*map(np.atleast_1d, values.values())), strict=True))
    )


# ------------------------------------------------------------------------------------- the decision problem


def test_decision_problem_is_that_of_models_md_19() -> None:
    assert PHENYTOIN.calendar == VISITS and PHENYTOIN.horizon == PHENYTOIN.scored == 84
    np.testing.assert_array_equal(PHENYTOIN.doses.doses, np.arange(0, 601, 25))
    assert PHENYTOIN.doses.unit == "mg/day" and PHENYTOIN.target == 15.0
    assert (PHENYTOIN.weight, PHENYTOIN.margin) == (2.0, 0.03)
    assert PHENYTOIN.clock.length == 24.0 and MODEL.time_unit == "h"
    assert PHENYTOIN.alternative is None and PHENYTOIN.no_alternative


def test_clinic_is_that_of_models_md_18() -> None:
    clinic = PHENYTOIN.realism["clinic"]
    assert (clinic.missed_dose, clinic.late, clinic.missing, clinic.dropout_per_month) == (
        0.08,
        0.2,
        0.1,
        0.02,
    )
    (occasion,), (drift,), (others,) = clinic.occasions, clinic.drifts, clinic.interactions
    assert (occasion.parameter, occasion.log_sd) == ("Vmax", 0.10)
    assert (drift.parameter, drift.log_sd, drift.per) == ("Vmax", 0.03, 7.0)
    assert (others.share, others.units) == (0.30, None)
    assert others.parameter == "Vmax" and others.factors == ((1.08, 1.0),) and others.also == (("Km", 1.32),)
    assert PHENYTOIN.measurement.error.proportional == 0.103


def test_dose_is_given_in_two_halves_twelve_hours_apart() -> None:
    (oral,) = PHENYTOIN.administrations
    given = oral.give(np.array([[300.0, 425.0]]), {}, np.array([[0, 1]]))
    np.testing.assert_array_equal(given.amount[0], [[150, 150], [212.5, 212.5]])
    np.testing.assert_array_equal(given.offset, [0, 12])
    assert oral.route == "oral" and not oral.infused


def test_levels_are_those_of_the_model_under_the_same_doses() -> None:
    patients, intake = admitted(6)
    treatment, rng = Treatment(PHENYTOIN, intake), np.random.default_rng(0)
    plan = rng.choice(np.arange(0, 601, 25), (len(VISITS), 6)).astype(float)
    plan[2] = 600.0  # above Vmax in all
    for dose in plan:
        treatment.give(dose)
    for i in range(6):
        daily = np.repeat(plan[:, i], np.diff([*VISITS, 84]))
        doses = [(24.0 * day + half, mg / 2) for day, mg in enumerate(daily) for half in (0.0, 12.0)]
        level = simulate(MODEL, patients.theta[i], doses, 24.0 * np.arange(1, 85))[0, :, 0]
        np.testing.assert_allclose(treatment.truth[i, 1:], level, rtol=1e-6, atol=1e-6)


def test_typical_person_on_the_labels_dose_has_the_level_of_models_md_11() -> None:
    patients, _ = admitted(1)
    known = {
        name: np.array([value]) for name, value in {"weight_kg": 70.0, "age_y": 40.0, "japanese": 0.0}.items()
    }
    theta = MODEL.typical(known, {"cyp2c9_log_vmax": np.zeros(1), "cyp2c19_phenotype": np.zeros(1)})
    typical = replace(patients, covariates={**patients.covariates, **known}, theta=theta)
    intake = Intake.prepare(PHENYTOIN, typical, Noise("select", 1), PHENYTOIN.preset("textbook"))
    treatment, _ = treated(intake, regimen("label", PHENYTOIN))
    assert treatment.truth[0, 60] == pytest.approx(13.443, abs=5e-4)


def test_a_dose_above_vmax_accumulates_and_stays_in_bounds() -> None:
    patients, _ = admitted(1)
    # 40 kg, CYP2C9 *3/*3, two SD below the mean: about 80 mg/day are eliminated at most
    theta = np.array([[415 / 24 * (40 / 70) ** 0.6 * 0.58**2 * np.exp(-0.3), 5.7, 26.0, 1.5]])
    intake = Intake.prepare(
        PHENYTOIN, replace(patients, theta=theta), Noise("select", 1), PHENYTOIN.preset("textbook")
    )
    treatment = Treatment(PHENYTOIN, intake)
    while treatment.active.any():
        treatment.give(600.0)
        observation = treatment.observe()
        assert np.all((observation >= SPEC.low) & (observation <= SPEC.high))
    a_day = np.diff(treatment.truth[0, -10:])
    vmax = 24 * theta[0, 0]
    np.testing.assert_allclose(a_day, (600 - vmax) / 26.0, rtol=1e-3)


# -------------------------------------------------------------------------------------------------- scoring


@pytest.mark.parametrize(
    ("level", "benefit", "harm"),
    [(9.99, 0, 0), (10, 1, 0), (20, 1, 0), (20.01, 0, 0), (25, 0, 0), (25.01, 0, 1), (np.nan, 0, 0)],
)
def test_edges_of_the_bands(level: float, benefit: float, harm: float) -> None:
    response, day = {"level": np.array([[level]])}, np.array([0])
    assert PHENYTOIN.benefit.of(response, day)[0, 0] == benefit
    assert PHENYTOIN.harm.of(response, day)[0, 0] == harm


def test_event_is_one_day_above_25() -> None:
    level = np.full((3, 84), 15.0)
    level[1, 70], level[2, 70] = 25.1, 25.0
    followed = np.ones(level.shape, dtype=bool)
    assert PHENYTOIN.event.happened({"level": level}, followed).tolist() == [False, True, False]
    followed[1, 60:] = False
    assert not PHENYTOIN.event.happened({"level": level}, followed).any()


# --------------------------------------------------------------------------------------------- measurements


def test_a_trough_is_seen_at_every_visit_but_the_first() -> None:
    _, intake = admitted(4)
    treatment, visit = Treatment(PHENYTOIN, intake), 0
    while treatment.active.any():
        now = SPEC.decode(treatment.observe())
        assert np.all(now["day"] == VISITS[visit])
        if visit == 0:
            assert np.isnan(now["level"]).all() and not now["level_new"].any()
        else:
            assert now["level_new"].all() and not now["level_age"].any()
            # 10.3 % of the true trough, four people, eight visits: within 4 SD
            truth = treatment.truth[:, VISITS[visit]]
            assert np.all(np.abs(now["level"] / truth - 1) < 4 * 0.103)
        treatment.give(300.0)
        visit += 1


def test_without_error_the_true_trough_is_seen() -> None:
    exact = replace(PHENYTOIN, measurements=(replace(PHENYTOIN.measurement, error=ResidualError()),))
    _, intake = admitted(4)
    treatment = Treatment(exact, intake)
    treatment.give(300.0)
    treatment.give(300.0)
    np.testing.assert_allclose(SPEC.decode(treatment.observe())["level"], treatment.truth[:, 14], rtol=1e-6)


def test_late_and_missing_results_are_a_fifth_and_a_tenth() -> None:
    _, intake = admitted(400, "clinic")
    late, missing = intake.life.late[..., 0], intake.life.missing[..., 0]
    visits = PHENYTOIN.days[1:]
    assert late[:, visits].mean() == pytest.approx(0.20, abs=0.03)  # four standard errors of 3200 results
    assert missing[:, visits].mean() == pytest.approx(0.10, abs=0.022)
    treatment = Treatment(PHENYTOIN, intake)
    treatment.give(300.0)
    waits = treatment.active & late[:, 7] & (missing | late)[:, 14]
    assert np.isnan(SPEC.decode(treatment.observe())["level"][waits]).all()
    treatment.give(300.0)
    now, waits = SPEC.decode(treatment.observe()), waits & treatment.active
    # without a result of its own, day 14 shows that of day 7
    assert waits.sum() > 10 and np.all(now["level_age"][waits] == 7) and now["level_new"][waits].all()


# ---------------------------------------------------------------------------------------------------- rules


def test_label_is_300_mg_a_day_and_stays() -> None:
    label = regimen("label", PHENYTOIN)
    dose, state = label.predict(seen())
    assert dose.tolist() == [300.0]
    assert label.predict(seen(day=14.0, level=60.0, level_new=1.0), state)[0].tolist() == [300.0]


def test_guideline_is_cpics_table_by_activity_score() -> None:
    # (*2, *3) counts: *1/*1 2, *1/*2 1.5, *1/*3 1, *2/*2 1, *2/*3 0.5, *3/*3 0
    star2, star3 = np.array([[0, 0], [1, 0], [0, 1], [2, 0], [1, 1], [0, 2]], dtype=float).T
    observation = seen(**{"cyp2c9_*2": star2, "cyp2c9_*3": star3})
    dose, _ = regimen("guideline", PHENYTOIN).predict(observation)
    assert dose.tolist() == [300, 300, 225, 225, 150, 150]
    assert np.isnan(regimen("guideline", PHENYTOIN).predict(seen())[0]).all()
    assert GUIDELINE.needs == {"cyp2c9_*2", "cyp2c9_*3"}


@pytest.mark.parametrize(
    ("level", "dose"),
    [
        (0.0, 400),
        (6.9, 400),
        (7.0, 350),
        (11.9, 350),
        (12.0, 300),
        (20.0, 300),
        (20.1, 250),
        (25.0, 250),
        (25.1, 0),
    ],
)
def test_steps_are_those_of_models_md_11_1(level: float, dose: float) -> None:
    rule = regimen("clinical-nomogram", PHENYTOIN)
    first, state = rule.predict(seen())
    now, _ = rule.predict(seen(day=7.0, level=level, level_new=1.0, last_dose=300.0), state)
    assert (first[0], now[0]) == (300, dose)


def test_a_stop_lasts_until_the_level_is_below_20_and_resumes_with_20_percent_less() -> None:
    rule, doses = regimen("clinical-nomogram", PHENYTOIN), []
    _, state = rule.predict(seen())
    for day, level in ((7.0, 30.0), (14.0, 21.0), (21.0, 19.9), (28.0, 15.0)):
        dose, state = rule.predict(seen(day=day, level=level, level_new=1.0, next_interval=14.0), state)
        doses.append(float(dose[0]))
    assert doses == [0.0, 0.0, 240.0, 240.0]
    assert PHENYTOIN.doses.snap([240.0]) == [250.0]


def test_without_a_new_level_the_dose_is_kept() -> None:
    rule = regimen("nomogram", PHENYTOIN)
    first, state = rule.predict(seen(**{"cyp2c9_*2": 0.0, "cyp2c9_*3": 1.0}))
    again, _ = rule.predict(seen(day=14.0, level=5.0, level_age=7.0), state)
    assert first.tolist() == again.tolist() == [225.0]


def test_the_cap_is_600() -> None:
    assert PHENYTOIN.doses.snap([612.0, 700.0]).tolist() == [600.0, 600.0]


# ----------------------------------------------------------------------------------------------- population


def test_population_is_that_of_the_source_and_of_cpics_tables() -> None:
    patients, intake = admitted(4000)
    group, known = patients.labels["ancestry"], patients.covariates
    shares = {"European": 0.60, "African American/Afro-Caribbean": 0.15, "East Asian": 0.10, "Latino": 0.10,
              "Central/South Asian": 0.05}  # fmt: skip
    for name, share in shares.items():
        assert np.mean(group == name) == pytest.approx(share, abs=0.025)
    assert known["male"].mean() == pytest.approx(0.53, abs=0.025)  # Grasela 1983
    assert np.array_equal(known["japanese"] == 1, group == "East Asian")
    assert known["age_y"].min() >= 18 and known["age_y"].max() <= 80
    assert not known["other_antiepileptics"].any()
    count = {name: intake.vector[:, SPEC.names.index(name)] for name in SPEC.names if name.startswith("cyp")}
    # CPIC, allele_frequencies.csv: European *2 0.127 and *3 0.076; CYP2C19*2 European 0.147, East Asian 0.284
    europe, east = group == "European", group == "East Asian"
    assert count["cyp2c9_*2"][europe].mean() / 2 == pytest.approx(0.127, abs=0.02)
    assert count["cyp2c9_*3"][europe].mean() / 2 == pytest.approx(0.076, abs=0.02)
    no_function = count["cyp2c19_*2"]
    assert no_function[east].mean() / 2 > 0.28 > 0.20 > no_function[europe].mean() / 2 > 0.12


# ------------------------------------------------------------------------------------------------- it matters


def test_level_rises_with_the_dose_from_none_to_the_cap() -> None:
    # twice the typical dose of 300 mg/day (models.md 11); three times would be above the cap
    _, intake = admitted(25)
    courses = []
    for dose in np.arange(0, 601, 100):
        treatment = Treatment(PHENYTOIN, intake)
        while treatment.active.any():
            treatment.give(dose)
        courses.append(treatment.truth[:, 1:])
    assert np.all(np.diff(courses, axis=0) > 0)  # every patient, every day


def test_genotype_extremes_differ_in_dose_by_a_factor_of_three() -> None:
    # models.md 17: *3/*3 has 0.34 of the Vmax (ASSUMPTION), *1/*3 0.58 (Mamiya 1998)
    known = {"weight_kg": 70.0, "age_y": 40.0, "japanese": 0.0}
    log_vmax = np.log([1.0, 0.58, 0.58**2])
    theta = MODEL.typical(known, {"cyp2c9_log_vmax": log_vmax, "cyp2c19_phenotype": np.zeros(3)})
    dose = maintenance_dose(theta, PHENYTOIN.target)
    np.testing.assert_allclose(dose, 415 * 15 / 20.7 * np.array([1, 0.58, 0.3364]), rtol=1e-12)
    poor = MODEL.typical(known, {"cyp2c9_log_vmax": np.zeros(2), "cyp2c19_phenotype": np.array([0.0, 2.0])})
    most, least = maintenance_dose(poor, PHENYTOIN.target)
    assert least / most == pytest.approx((5.7 + 15) / (5.7 * 1.54 + 15), rel=1e-12)


def test_what_the_page_says_about_the_target() -> None:
    n = 200
    _, intake = admitted(n, "clinic", seed=3)
    returns = {dose: treated(intake, FixedDose(PHENYTOIN, dose))[1] for dose in (0.0, 175.0, 250.0)}
    label = treated(intake, regimen("label", PHENYTOIN))[1]
    steps = treated(intake, regimen("clinical-nomogram", PHENYTOIN))[1]
    treatment, rng, random = Treatment(PHENYTOIN, intake), np.random.default_rng(0), np.zeros(n)
    while treatment.active.any():
        interval = treatment.give(rng.uniform(0, 600, n))
        random += interval.benefit - PHENYTOIN.weight * interval.harm
    best = returns[175.0]

    def at_least(better: Floats, worse: Floats, margin: float) -> None:
        gain = better - worse
        assert gain.mean() - 2 * gain.std(ddof=1) / np.sqrt(n) >= margin

    at_least(best, random, 0.10)
    at_least(best, label, 0.10)
    at_least(steps, best, 0.10)
    assert best.mean() > returns[250.0].mean() and abs(best.mean() - returns[0.0].mean()) < 0.10
    assert "hardly better than none" in PHENYTOIN.discriminates


def test_poor_metabolisers_gain_from_the_guideline() -> None:
    _, intake = admitted(200, "clinic", seed=3)
    score = (
        2
        - 0.5 * intake.vector[:, SPEC.names.index("cyp2c9_*2")]
        - intake.vector[:, SPEC.names.index("cyp2c9_*3")]
    )
    gain = (
        treated(intake, regimen("guideline", PHENYTOIN))[1] - treated(intake, regimen("label", PHENYTOIN))[1]
    )
    assert np.all(gain[score >= 1.5] == 0)
    slow = gain[score <= 1]
    assert slow.mean() - 2 * slow.std(ddof=1) / np.sqrt(len(slow)) > 0.10


# ---------------------------------------------------------------------------------------------- environment


@pytest.mark.parametrize("arguments", [{}, {"realism": "textbook"}, {"genotype": "phenotype"}])
def test_environment_checkers_have_no_complaint(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make("dosewright/Phenytoin-v0", disable_env_checker=True, **arguments).unwrapped
        warnings.filterwarnings("ignore", message=".*we recommend .*symmetric and normalized.*")
        check_env(env, skip_render_check=True)
        sb3_check_env(env)


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector_bit_for_bit(realism: str) -> None:
    n = 6
    envs = DosingVectorEnv("phenytoin", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    actions = np.random.default_rng(0).uniform(0, 600, (len(VISITS), n, 1)).astype(np.float32)
    first, over = envs.reset(seed=3)[0], np.zeros(n, dtype=bool)
    lanes = [DosingEnv("phenytoin", realism=realism) for _ in range(n)]
    for i, env in enumerate(lanes):
        assert np.array_equal(env.reset(seed=3, options={"patient": i})[0], first[i])
    for action in actions:
        if over.any():
            envs.reset(options={"reset_mask": over})
        observation, reward, terminated, truncated, _ = envs.step(action)
        for i in np.flatnonzero(~over):
            one = lanes[i].step(action[i])
            assert np.array_equal(one[0], observation[i])
            assert one[1:4] == (reward[i], terminated[i], truncated[i])
        over |= terminated | truncated
    assert over.all()
