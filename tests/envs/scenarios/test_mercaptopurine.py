"""The decision problem of mercaptopurine: its numbers, its course against direct simulation, its rules."""

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
from dosewright.envs.pharmacology.models.mercaptopurine_gebhard2023 import MODEL, dose_for_tgn, tgn_for_anc
from dosewright.envs.realism import TEXTBOOK, Interaction, Realism
from dosewright.envs.scenarios.mercaptopurine import GUIDELINE

Floats = NDArray[np.float64]

MERCAPTOPURINE = scenario("mercaptopurine")
SPEC = MERCAPTOPURINE.observation
ID = "dosewright/Mercaptopurine-v0"
VISITS = (0, 7, 14, 21, 28, 42, 56, 70, 84, 98, 112, 126, 140, 154, 168)
TPMT, STAR3, STAR5 = "tpmt_*3A", "nudt15_*3", "nudt15_*5"
EXACT = replace(
    MERCAPTOPURINE,
    measurements=tuple(replace(item, error=ResidualError()) for item in MERCAPTOPURINE.measurements),
)


# ----------------------------------------------------------------------------------------------------- people


def children(tpmt: list[str], nudt15: list[str]) -> Patients:
    """Children of 6 years without random effects."""
    n = len(tpmt)
    theta = individual_parameters(MODEL, {}, {"TPMT": tpmt, "NUDT15": nudt15})
    known = {"age_y": 6.0, "male": 1.0, "height_cm": 115.0, "weight_kg": 20.7, "bsa_m2": 0.81}
    covariates = {name: np.full(n, value) for name, value in known.items()}
    genotypes = {"TPMT": np.array(tpmt), "NUDT15": np.array(nudt15)}
    return Patients(np.arange(n), covariates, genotypes, {}, theta, {})


def typical(n: int = 1) -> Patients:
    return children(["*1/*1"] * n, ["*1/*1"] * n)


def begin(patients: Patients, problem: Scenario = EXACT, realism: Realism = TEXTBOOK) -> Treatment:
    return Treatment(problem, Intake.prepare(problem, patients, Noise("select", 1), realism))


def drawn(n: int, realism: str, seed: int = 3) -> Intake:
    noise = Noise("select", seed)
    patients = MERCAPTOPURINE.population.draw(MODEL, None, np.arange(n), noise)
    return Intake.prepare(MERCAPTOPURINE, patients, noise, MERCAPTOPURINE.preset(realism))


def course(arm: Regimen | None, intake: Intake) -> tuple[Treatment, Floats]:
    """The whole course under a regimen, or under uniform random doses; and each patient's return."""
    treatment, state, rng = Treatment(MERCAPTOPURINE, intake), None, np.random.default_rng(0)
    start, total = np.ones(len(treatment), dtype=bool), np.zeros(len(treatment))
    while treatment.active.any():
        if arm is None:
            dose = rng.uniform(0, 112.5, len(treatment))
        else:
            dose, state = arm.predict(treatment.observe(), state, start)
        interval = treatment.give(dose)
        total += interval.benefit - MERCAPTOPURINE.weight * interval.harm
        start[:] = False
    return treatment, total


def observed(**entries: Any) -> NDArray[np.float32]:
    """What is seen of a child of 6 years."""
    usual: dict[str, Any] = {"age_y": 6.0, "male": 1.0, "weight_kg": 20.7, "bsa_m2": 0.81}
    values = {e.name: 0.0 if e.neutral is None else np.nan for e in SPEC.entries} | usual | entries
    return SPEC.encode(dict(zip(values, np.broadcast_arrays(*values.values()), strict=True)))


def followed(counts: dict[int, float | None], first: dict[str, float] | None = None) -> list[float]:
    """Doses of a rule from day 0 on, by neutrophils at visits: day -> count, None without a new one."""
    arm = regimen("nomogram" if first else "clinical-nomogram", MERCAPTOPURINE)
    dose, state = arm.predict(observed(next_interval=7.0, anc=2.0, anc_new=1.0, **(first or {})))
    given, days = [float(dose[0])], [*VISITS, 182]
    for day, count in counts.items():
        gap = float(days[days.index(day) + 1] - day)
        new = {} if count is None else {"anc": count, "anc_new": 1.0}
        dose, state = arm.predict(
            observed(day=float(day), next_interval=gap, **new), state, np.zeros(1, bool)
        )
        given.append(float(dose[0]))
    return given


# ----------------------------------------------------------------------------------------------- the problem


def test_numbers_of_the_decision_problem_are_those_of_the_reference() -> None:
    # models.md 19, typed a second time
    s = MERCAPTOPURINE
    assert (s.calendar, s.horizon, s.scored) == (VISITS, 182, 182)
    np.testing.assert_array_equal(s.doses.doses, 12.5 * np.arange(10))
    assert s.doses.maximum == 112.5 and s.doses.unit == "mg/m²/day"
    assert (s.weight, s.margin) == (2.0, 0.03)
    assert (s.clock.length, s.clock.days, s.model.time_unit) == (1.0, 1.0, "day")
    assert [(item.name, item.units, item.baseline) for item in s.measurements] == [
        ("anc", None, True),
        ("tgn", (28, 84), False),
    ]
    assert s.alternative is None and "Hawwa 2008" in s.no_alternative and s.delay is None
    # the child starts without drug: models.md 5.1, inieff 1 and TGN 0
    theta = typical().theta[0]
    assert theta[MODEL.column("inieff")] == 1 and theta[MODEL.column("tgn0")] == 0


def test_numbers_of_the_clinic_preset_are_those_of_the_reference() -> None:
    # models.md 18
    clinic = MERCAPTOPURINE.preset("clinic")
    assert (clinic.missed_dose, clinic.late, clinic.missing, clinic.dropout_per_month) == (
        0.08,
        0.10,
        0.05,
        0.02,
    )
    (occasion,), (drift,) = clinic.occasions, clinic.drifts
    assert (occasion.parameter, occasion.log_sd, occasion.units) == ("Vmm", 0.20, 30)
    assert (drift.parameter, drift.log_sd, drift.per) == ("SLOPE", 0.05, pytest.approx(30.4, abs=0.1))
    (allopurinol,), (infection,) = clinic.interactions, clinic.episodes
    assert (allopurinol.parameter, allopurinol.share) == ("F", 0.02)
    assert (allopurinol.factors, allopurinol.units) == (((4.0, 1.0),), 10)
    assert (infection.parameter, infection.factor, infection.units) == ("base", 0.7, 7)
    assert infection.per_month == 0.10
    assert MERCAPTOPURINE.preset("textbook") is TEXTBOOK


@pytest.mark.parametrize(
    ("anc", "tgn", "benefit", "harm"),
    [
        (0.499, 0.9, (0, 0), 1), (0.5, 0.9, (1, 1), 0), (2.0, 0.9, (1, 1), 0), (2.001, 0.9, (0, 0), 0),
        (1.2, 0.4, (1, 1), 0), (1.2, 0.399, (1, 0), 0), (1.2, 0.0, (1, 0), 0),
    ],
)  # fmt: skip
def test_scores_at_the_edges(anc: float, tgn: float, benefit: tuple[int, int], harm: int) -> None:
    # before and from day 28 on
    responses = {"ANC": np.full((1, 2), anc), "TGN": np.full((1, 2), tgn)}
    unit = np.array([27, 28])
    assert MERCAPTOPURINE.benefit.of(responses, unit).tolist() == [list(benefit)]
    assert MERCAPTOPURINE.harm.of(responses, unit).tolist() == [[harm, harm]]


def test_the_event_is_any_day_below_half() -> None:
    anc = np.full((3, 182), 1.0)
    anc[1, 100], anc[2, 100] = 0.5, 0.49
    happened = MERCAPTOPURINE.event.happened({"ANC": anc, "TGN": anc}, np.ones((3, 182), dtype=bool))
    assert happened.tolist() == [False, False, True]


# ------------------------------------------------------------------------------------------------ the course


def test_a_dose_is_per_square_metre_once_a_day() -> None:
    (item,) = MERCAPTOPURINE.administrations
    dose = np.array([[75.0, 0.0, 112.5]])
    given = item.give(dose, typical().covariates, np.arange(3)[None])
    assert given.offset.tolist() == [0.0] and given.duration == 0 and item.count == 1
    np.testing.assert_array_equal(given.amount[:, :, 0], dose)
    assert MODEL.amount_unit == "mg/m²"


def test_printed_check_of_gebhard() -> None:
    # models.md 5.4, drug-naive, 50 mg/m² a day: TGN 0.9235 and ANC 1.8788 on day 182, nadir 1.632 on day 137
    treatment = begin(typical())
    while treatment.active.any():
        treatment.give(50.0)
    tgn, anc = treatment.responses["TGN"][0], treatment.truth[0]
    assert tgn[182] == pytest.approx(0.9235, abs=5e-5) and anc[182] == pytest.approx(1.8788, abs=5e-5)
    assert anc.min() == pytest.approx(1.632, abs=5e-4) and np.argmin(anc) == 137
    assert anc[0] == 2.17 and tgn[0] == 0


def test_course_equals_direct_simulation() -> None:
    patients = children(["*1/*1", "*1/*3A", "*1/*1"], ["*1/*1", "*1/*1", "*1/*3"])
    plan = np.random.default_rng(2).integers(0, 10, len(VISITS)) * 12.5
    treatment = begin(patients)
    for dose in plan:
        treatment.give(dose)
    daily = np.repeat(plan, np.diff([*VISITS, 182]))
    doses = [Dose(float(day), float(amount)) for day, amount in enumerate(daily) if amount]
    for i, theta in enumerate(patients.theta):
        direct = simulate(MODEL, theta, doses, np.arange(1.0, 183.0), ["ANC", "TGN"])[0]
        np.testing.assert_allclose(treatment.truth[i, 1:], direct[:, 0], rtol=1e-6)
        np.testing.assert_allclose(treatment.responses["TGN"][i, 1:], direct[:, 1], rtol=1e-6, atol=1e-9)


def test_neutrophils_are_new_at_every_visit_and_nucleotides_on_days_28_and_84() -> None:
    treatment = begin(typical(2))
    for day in VISITS:
        now = EXACT.observation.decode(treatment.observe())
        assert (now["day"] == day).all() and (now["anc_new"] == 1).all() and (now["anc_age"] == 0).all()
        np.testing.assert_allclose(now["anc"], treatment.truth[:, day], rtol=1e-6)
        assert (now["tgn_new"] == (day in (28, 84))).all()
        if day < 28:
            assert np.isnan(now["tgn"]).all()
        else:
            drawn_on = 28 if day < 84 else 84
            assert (now["tgn_age"] == day - drawn_on).all()
            np.testing.assert_allclose(now["tgn"], treatment.responses["TGN"][:, drawn_on], rtol=1e-6)
        treatment.give(50.0)
    assert not treatment.active.any()


def test_allopurinol_is_as_four_times_the_dose() -> None:
    always = Interaction("F", share=1.0, factors=((4.0, 1.0),), units=None)
    four = begin(typical(), realism=replace(TEXTBOOK, interactions=(always,)))
    one = begin(typical())
    for _ in range(4):
        four.give(25.0)
        one.give(100.0)
    np.testing.assert_allclose(four.responses["TGN"][:, :29], one.responses["TGN"][:, :29], rtol=1e-9)


def test_infections_lower_the_set_point_of_the_neutrophils_for_a_week() -> None:
    infections = replace(TEXTBOOK, episodes=MERCAPTOPURINE.preset("clinic").episodes)
    many = Intake.prepare(EXACT, typical(2000), Noise("select", 1), infections)
    base = many.life.theta[:, :, MODEL.column("base")]
    ill = np.isclose(base, 0.7 * 2.17)
    assert np.array_equal(ill, ~np.isclose(base, 2.17))
    # 10 % a month, so 1 − 0.9⁶ of the children in six months
    assert ill.any(axis=1).mean() == pytest.approx(1 - 0.9**6, abs=0.03)
    # lone ones last a week; the last days of the course cut some
    lone = ill[(np.diff(ill, axis=1, prepend=False) & ill).sum(axis=1) == 1]
    assert np.median(lone.sum(axis=1)) == 7
    treatment = begin(typical(60), realism=infections)
    while treatment.active.any():
        treatment.give(0.0)
    fell = treatment.truth[:, 1:].min(axis=1) < 0.98 * 2.17
    assert np.array_equal(fell, ill[:60, :-3].any(axis=1))


def test_nucleotides_rise_and_neutrophils_fall_with_the_dose() -> None:
    # 0 to the cap, 1.5 times the usual dose. The count swings, so a single day may go the other way late in
    # the course: a child's nadir never does, its average hardly ever
    few, tgn, anc = drawn(30, "textbook"), [], []
    for dose in (0.0, 25.0, 50.0, 75.0, 112.5):
        treatment, _ = course(FixedDose(MERCAPTOPURINE, dose), few)
        tgn.append(treatment.responses["TGN"][:, 1:])
        anc.append(treatment.truth[:, 1:])
    assert (np.diff(tgn, axis=0) > 0).all()
    assert (np.diff(np.min(anc, axis=2), axis=0) < 0).all()
    # on the log scale: where hardly any are left the model overshoots absurdly afterwards
    assert (np.diff(np.log(anc).mean(axis=2), axis=0) < 0).mean() > 0.97
    assert (np.diff(np.array(anc)[:, :, :28], axis=0) <= 0).all()
    assert not (np.diff(np.array(anc)[:, :, 181], axis=0) < 0).all()  # what the comment says


# ------------------------------------------------------------------------------------------------- the rules


def test_label_is_75_for_everybody_and_stays() -> None:
    arm = regimen("label", MERCAPTOPURINE)
    dose, state = arm.predict(observed())
    later, _ = arm.predict(observed(day=7.0, anc=0.1, anc_new=1.0), state, np.zeros(1, dtype=bool))
    assert dose.tolist() == later.tolist() == [75.0]


@pytest.mark.parametrize(
    ("tpmt", "star3", "star5", "share", "given"),
    # CPIC's ranges, per cent of 75 mg/m² a day, and what the grid gives
    [
        (0, 0, 0, (100, 100), 75.0), (1, 0, 0, (30, 80), 50.0), (0, 1, 0, (30, 80), 50.0),
        (0, 0, 1, (100, 100), 75.0), (0, 0, 2, (30, 80), 50.0), (1, 1, 0, (20, 50), 25.0),
        (2, 0, 0, (10, 10), 12.5), (0, 2, 0, (10, 15), 12.5), (0, 1, 1, (10, 15), 12.5),
        (2, 1, 0, (10, 10), 12.5),
    ],
)  # fmt: skip
def test_guideline_is_cpics_by_both_phenotypes(
    tpmt: float, star3: float, star5: float, share: tuple[float, float], given: float
) -> None:
    dose, _ = regimen("guideline", MERCAPTOPURINE).predict(
        observed(**{TPMT: float(tpmt), STAR3: float(star3), STAR5: float(star5)})
    )
    assert share[0] - 1e-9 <= 100 * dose[0] / 75 <= share[1] + 1e-9
    assert MERCAPTOPURINE.doses.snap(dose)[0] == given


def test_guideline_needs_both_genes_and_a_few_reads_tell_most_carriers() -> None:
    arm = regimen("guideline", MERCAPTOPURINE)
    assert GUIDELINE.needs == {TPMT, STAR3, STAR5}
    assert np.isnan(arm.predict(observed(**{TPMT: 1.0}))[0]).all()
    usual = arm.predict(DosingVectorEnv("mercaptopurine", 300).reset(seed=1)[0])[0] == 75
    env = DosingVectorEnv("mercaptopurine", 300, genotype="posterior")
    read = arm.predict(env.reset(seed=1)[0])[0] == 75
    assert 0.02 < (~usual).mean() < 0.3
    assert read[usual].mean() > 0.98 and read[~usual].mean() < 0.4


@pytest.mark.parametrize(
    ("count", "dose"),
    [
        (0.2, 0.0), (0.49, 0.0), (0.5, 37.5), (1.0, 37.5), (1.01, 75.0), (1.5, 75.0), (1.51, 93.75),
        (6.0, 93.75),
    ],
)  # fmt: skip
def test_steps_are_those_of_models_md_5_5(count: float, dose: float) -> None:
    assert followed({14: count}) == [75.0, dose]


def test_a_stop_lasts_until_the_count_is_above_0_75_and_resumes_with_half() -> None:
    assert followed({14: 0.3, 21: 0.74, 28: None, 42: 0.8, 56: 1.2}) == [75, 0, 0, 0, 37.5, 37.5]
    # still below 0.5: not halved again
    assert followed({14: 0.3, 21: 0.4, 28: 0.9}) == [75, 0, 0, 37.5]


def test_two_weeks_after_a_change_before_the_next_and_at_most_150_percent() -> None:
    assert followed({7: 1.6, 14: 1.6, 21: 1.6, 28: 1.6}) == [75, 93.75, 93.75, 112.5, 112.5]
    assert followed({7: 1.6, 14: 0.3}) == [75, 93.75, 0]  # a stop does not wait
    assert MERCAPTOPURINE.doses.snap(93.75) == 100 and MERCAPTOPURINE.doses.snap(500.0) == 112.5
    # of an intermediate metaboliser's start too
    start = {TPMT: 1.0, STAR3: 0.0, STAR5: 0.0}
    assert followed({14: 1.6, 28: 1.6, 42: 1.6}, start) == [50, 62.5, 75, 75]


# -------------------------------------------------------------------------------------------- the population


@pytest.fixture(scope="module")
def crowd() -> Patients:
    return MERCAPTOPURINE.population.draw(MODEL, None, np.arange(4000), Noise("select", 1))


def test_marginals_are_near_the_published_ones(crowd: Patients) -> None:
    # Gebhard 2023, table 1 (read in nlmixr2lib): 5.9 (2.4 to 16.9) years, 21.5 (10.3 to 105.5) kg, 114 (81.5
    # to 180) cm
    known = crowd.covariates
    for name, median, low, high in (
        ("age_y", 5.9, 2.4, 16.9), ("weight_kg", 21.5, 10.3, 105.5), ("height_cm", 114, 81.5, 180.0),
    ):  # fmt: skip
        assert np.median(known[name]) == pytest.approx(median, rel=0.08)
        assert known[name].min() >= low and known[name].max() <= high
    surface = 0.007184 * known["weight_kg"] ** 0.425 * known["height_cm"] ** 0.725
    np.testing.assert_allclose(known["bsa_m2"], surface, rtol=1e-12)


def test_only_groups_with_both_genes_in_the_proportions_of_the_default(crowd: Patients) -> None:
    group = crowd.labels["ancestry"]
    shares = {"European": 60 / 85, "East Asian": 10 / 85, "Latino": 10 / 85, "Central/South Asian": 5 / 85}
    assert set(np.unique(group)) == set(shares)
    for name, share in shares.items():
        assert np.mean(group == name) == pytest.approx(share, abs=0.025)
    assert any("African" in sentence for sentence in MERCAPTOPURINE.assumptions)


def test_alleles_are_those_of_the_tables(crowd: Patients) -> None:
    intake = Intake.prepare(MERCAPTOPURINE, crowd, Noise("select", 1), TEXTBOOK)
    count = {name: intake.vector[:, SPEC.names.index(name)] for name in (TPMT, STAR3, STAR5)}
    europe, east = (crowd.labels["ancestry"] == group for group in ("European", "East Asian"))
    # CPIC: TPMT variants 4.6 and 2.0 %, NUDT15 without function 0.7 and 7.5 %
    assert count[TPMT][europe].mean() / 2 == pytest.approx(0.046, abs=0.008)
    assert count[TPMT][east].mean() / 2 == pytest.approx(0.020, abs=0.012)
    assert count[STAR3][europe].mean() / 2 == pytest.approx(0.007, abs=0.004)
    assert count[STAR3][east].mean() / 2 == pytest.approx(0.075, abs=0.02)
    # CPIC: 3 to 14 % carry a variant of TPMT
    assert 0.03 < np.mean(count[TPMT] > 0) < 0.14


# ------------------------------------------------------------------------------------------------ it matters


def test_genotypes_differ_in_the_dose_that_holds_the_neutrophils() -> None:
    # dose that holds 1.75 ×10⁹/L in equilibrium
    patients = children(["*1/*1", "*1/*3A", "*1/*1", "*1/*1"], ["*1/*1", "*1/*1", "*1/*3", "*3/*3"])
    normal, tpmt, intermediate, poor = dose_for_tgn(patients.theta, tgn_for_anc(patients.theta, 1.75))
    # CPIC starts carriers of one variant with 30 to 80 %, poor metabolisers of NUDT15 with a seventh;
    # formation saturates, so the model wants less
    assert normal == pytest.approx(56, abs=0.5)
    assert 0.1 < tpmt / normal < 0.2 and 0.3 < intermediate / normal < 0.4 and poor / normal < 0.05


def test_carriers_are_spared_by_the_guideline() -> None:
    # of children alike but for the genotype: NUDT15 poor metabolisers lose their neutrophils at 75 mg/m²
    patients = children(["*1/*1"] * 2, ["*1/*1", "*3/*3"])
    days = {}
    for name in ("label", "guideline"):
        treatment = begin(patients)
        arm = regimen(name, MERCAPTOPURINE)
        while treatment.active.any():
            treatment.give(arm.predict(treatment.observe())[0])
        days[name] = treatment.harm.sum(axis=1)
    assert days["label"][0] == days["guideline"][0] == 0
    assert days["label"][1] > 30 and days["guideline"][1] < days["label"][1] / 2


def test_the_page_says_that_the_target_hardly_discriminates() -> None:
    # models.md 19: every fixed dose from 25 to 112.5 mg/m² scores 0.40 to 0.42, label 0.41, rule 0.44
    n = 200
    intake = drawn(n, "clinic", seed=1)
    fixed = {dose: course(FixedDose(MERCAPTOPURINE, dose), intake)[1] for dose in (0.0, 25.0, 50.0, 112.5)}
    random, (by_label, label) = course(None, intake)[1], course(regimen("label", MERCAPTOPURINE), intake)
    by_rule, rule = course(regimen("clinical-nomogram", MERCAPTOPURINE), intake)
    some = np.array([value.mean() for dose, value in fixed.items() if dose > 0])
    assert np.ptp(some) < 0.04 and abs(random.mean() - some.max()) < 0.05
    assert some.min() > fixed[0.0].mean() + 0.20
    gain = rule - label
    assert gain.mean() > 0 and np.nanmean(by_label.harm) > 2 * np.nanmean(by_rule.harm)
    assert "Hardly" in MERCAPTOPURINE.discriminates and "random dose 0.38" in MERCAPTOPURINE.discriminates


# ------------------------------------------------------------------------------------------- the environment


@pytest.mark.parametrize("arguments", [{}, {"realism": "textbook"}, {"genotype": "phenotype"}])
def test_both_environment_checkers_agree(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*we recommend .*symmetric and normalized.*")
        env = gymnasium.make(ID, disable_env_checker=True, **arguments).unwrapped
        check_env(env, skip_render_check=True)
        sb3_check_env(env)


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector_bit_for_bit(realism: str) -> None:
    n = 5
    envs = DosingVectorEnv("mercaptopurine", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    actions = np.random.default_rng(0).uniform(0, 112.5, (len(VISITS), n, 1)).astype(np.float32)
    first, over = envs.reset(seed=3)[0], np.zeros(n, dtype=bool)
    lanes = [DosingEnv("mercaptopurine", realism=realism) for _ in range(n)]
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
