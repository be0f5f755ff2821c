"""Tacrolimus: the decision problem of models.md 19, its rules and its people."""

import numpy as np
import pytest

from dosewright.agents.regimens import FixedDose, regimen
from dosewright.envs import Intake, Noise, Treatment, individual_parameters, scenario
from dosewright.envs.pharmacology import Dose, simulate
from dosewright.envs.scenarios.tacrolimus import MODEL, PROPORTIONAL, target_trough
from dosewright.pharmacogenomics import TABLES

TACROLIMUS = scenario("tacrolimus")
SPEC = TACROLIMUS.observation


def drawn(n: int, realism: str, seed: int = 3) -> Intake:
    noise = Noise("select", seed)
    people = TACROLIMUS.population.draw(TACROLIMUS.model, TACROLIMUS.base, np.arange(n), noise)
    return Intake.prepare(TACROLIMUS, people, noise, TACROLIMUS.preset(realism))


def course(intake: Intake, dose: float) -> tuple[Treatment, np.ndarray]:
    treatment, total = Treatment(TACROLIMUS, intake), np.zeros(len(intake.patients))
    while treatment.active.any():
        interval = treatment.give(np.full(len(treatment), dose))
        total += interval.benefit - TACROLIMUS.weight * interval.harm
    return treatment, total


def test_numbers_are_those_of_models_md_19() -> None:
    assert TACROLIMUS.calendar == (0, 2, 4, 7, 10, 14, 21, 28, 42, 56, 70) and TACROLIMUS.horizon == 90
    assert (TACROLIMUS.doses.step, TACROLIMUS.doses.maximum) == (0.5, 20.0)
    assert (TACROLIMUS.weight, TACROLIMUS.margin, TACROLIMUS.scored) == (2.0, 0.03, 90)


def test_the_target_falls_on_days_14_and_28() -> None:
    days = np.array([0, 13, 14, 27, 28, 89])
    assert target_trough(days.astype(float)).tolist() == [12.5, 12.5, 10, 10, 7.5, 7.5]
    level = {"trough": np.array([[11.0, 11.0, 11.0, 9.0, 9.0, 11.0]])}
    assert TACROLIMUS.benefit.of(level, days).tolist() == [[1, 1, 1, 1, 1, 0]]


def test_every_12_hours_a_dose_enters_after_the_lag() -> None:
    intake = drawn(6, "textbook")
    treatment, _ = course(intake, 4.0)
    doses = [Dose(12.0 * i, 4.0) for i in range(180)]
    troughs = simulate(MODEL, intake.patients.theta, doses, np.arange(1, 91) * 24.0, ["C"])[..., 0]
    np.testing.assert_allclose(treatment.truth[:, 1:], troughs, rtol=1e-9)


def test_the_rule_is_proportional_within_half_and_double() -> None:
    entries = {e.name: np.full(4, np.nan if e.neutral is not None else max(e.low, 0.0)) for e in SPEC.entries}
    known = {"age_y": 50.0, "weight_kg": 70.0, "bsa_m2": 1.9, "albumin_g_l": 42.0, "creatinine_umol_l": 130.0,
             "haematocrit": 0.34, "lean_mass_kg": 55.0, "cyp3a5_*3": 2.0, "cyp3a4_*22": 0.0}  # fmt: skip
    entries |= {name: np.full(4, value) for name, value in known.items()}
    arm = regimen("clinical-nomogram", TACROLIMUS)
    start, state = arm.predict(SPEC.encode(entries | {"next_interval": np.full(4, 2.0)}))
    np.testing.assert_allclose(start, 7.0, rtol=1e-6)  # 0.2 mg/kg/day in two doses
    seen = entries | {
        "day": np.full(4, 2.0),
        "trough": np.array([10.0, 2.0, 100.0, np.nan]),
        "trough_age": np.zeros(4),
        "trough_new": np.array([1.0, 1, 1, 0]),
        "last_dose": np.full(4, 7.0),
    }
    dose, _ = arm.predict(SPEC.encode(seen), state, np.zeros(4, dtype=bool))
    np.testing.assert_allclose(dose, [7 * 12.5 / 10, 14.0, 3.5, 7.0], rtol=1e-6)
    assert PROPORTIONAL.within == (0.5, 2.0)


def test_expressers_start_higher_by_cpic() -> None:
    intake = drawn(400, "textbook")
    seen = SPEC.decode(Treatment(TACROLIMUS, intake).observe())
    dose, _ = regimen("guideline", TACROLIMUS).predict(Treatment(TACROLIMUS, intake).observe())
    expresser = seen["cyp3a5_*3"] < 2
    np.testing.assert_allclose(dose / seen["weight_kg"], np.where(expresser, 0.15, 0.10), rtol=1e-6)


def test_genotype_extremes_differ_in_clearance_by_a_factor_of_two() -> None:
    # models.md 2.1: expresser × 1.631, CYP3A4*22 carrier × 0.80
    body = {item.name: item.reference for item in MODEL.covariates}
    most, least = (
        individual_parameters(MODEL, body, {"CYP3A5": [a5], "CYP3A4": [a4]})[0, 0]
        for a5, a4 in (("*1/*1", "*1/*1"), ("*3/*3", "*1/*22"))
    )
    assert most / least == pytest.approx(1.631 / 0.80, rel=1e-12)
    intake, gain = drawn(600, "textbook"), {}
    for dose in (3.0, 6.0):
        gain[dose] = course(intake, dose)[1]
    expresser = SPEC.decode(Treatment(TACROLIMUS, intake).observe())["cyp3a5_*3"] < 2
    better = gain[6.0] - gain[3.0]
    assert better[expresser].mean() > better[~expresser].mean() + 0.2


def test_genotypes_have_the_frequencies_of_the_tables() -> None:
    intake = drawn(6000, "textbook")
    european = intake.patients.labels["ancestry"] == "European"
    assert european.mean() == pytest.approx(0.60, abs=0.025)
    pairs = intake.patients.genotypes["CYP3A5"][european]
    share = np.mean([text.split("/").count("*1") for text in pairs.tolist()]) / 2
    assert share == pytest.approx(TABLES.allele_frequencies("CYP3A5", "European")["*1"], abs=0.012)
    # Rotterdam: 9.3 % carry CYP3A4*22; nobody is drawn with it elsewhere
    carriers = np.array(["*22" in text for text in intake.patients.genotypes["CYP3A4"].tolist()])
    assert carriers[european].mean() == pytest.approx(0.093, abs=0.02) and not carriers[~european].any()


def test_occasions_have_the_published_spread() -> None:
    # Andrews 2019: 13.6 % CV between occasions; drift and interactions are removed by looking at neighbours
    path = np.log(drawn(1500, "clinic").life.theta[:, :, MODEL.column("CL")])
    step = np.diff(path, axis=1)[:, 2::3]  # from one occasion of three days to the next
    assert np.median(np.abs(step)) / 0.6745 == pytest.approx(np.sqrt(2) * 0.1355, rel=0.05)


def test_the_page_says_that_random_doses_say_nothing() -> None:
    intake = drawn(200, "clinic")
    best = max(course(intake, dose)[1].mean() for dose in (2.0, 3.0, 4.0, 5.0, 6.0))
    assert FixedDose(TACROLIMUS, 4.0).name == "fixed-4mg"
    state, start, total, treatment = (
        None,
        np.ones(200, dtype=bool),
        np.zeros(200),
        Treatment(TACROLIMUS, intake),
    )
    arm = regimen("clinical-nomogram", TACROLIMUS)
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total, start = total + interval.benefit - 2 * interval.harm, np.zeros(200, dtype=bool)
    assert total.mean() > best + 0.10  # the rule discriminates where random doses do not
    assert "random" in TACROLIMUS.discriminates
