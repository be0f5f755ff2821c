"""The belief of every scenario: it lives the course that the patient lives, and it is calibrated."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.calibration import calibrate, p_values
from dosewright.agents.estimation import Belief, BeliefFilter, known_people, prior
from dosewright.agents.estimation.resample_move import moments
from dosewright.agents.learning import BeliefFeatures, LearningVectorEnv
from dosewright.agents.regimens import lacking, regimen
from dosewright.envs import (
    AutoresetMode,
    DosingVectorEnv,
    Intake,
    Noise,
    Scenario,
    Treatment,
    names,
    scenario,
)

ALIKE = 1e-10  # variance of every random effect where everybody is alike


def alike(known: Scenario) -> Scenario:
    """The scenario with a model in which people differ by covariates and genotype only."""
    parameters = tuple(
        replace(item, variance=ALIKE if item.variance else 0.0) for item in known.model.parameters
    )
    base = None if known.base is None else (known.base[0], 1e-6)
    model = replace(known.model, parameters=parameters, covariances={})
    return replace(known, model=model, base=base)


def intake_of(known: Scenario, patients: int, realism: str = "textbook") -> Intake:
    noise = Noise("select", 3)
    drawn = known.population.draw(known.model, known.base, np.arange(patients), noise)
    return Intake.prepare(known, drawn, noise, known.preset(realism))


@pytest.mark.parametrize("name", names())
def test_particles_of_a_known_patient_live_his_course(name: str) -> None:
    # whoever has no variability is known in advance: the response that is believed is the true one, through
    # loads, infusions, growth, delays and cycles left out
    known = alike(scenario(name))
    treatment, kept, belief = Treatment(known, intake_of(known, 6)), BeliefFilter(known, 2), None
    doses = known.doses.doses
    visits = min(len(known.calendar), 12)
    for visit in range(visits):
        belief = kept.step(belief, treatment.observe())
        if treatment.day[0] > 0:
            truth = treatment.truth[np.arange(6), treatment.day]
            np.testing.assert_allclose(belief.response[:, 0], truth, rtol=2e-3, atol=1e-4 * known.target)
        state = treatment.state
        np.testing.assert_allclose(
            belief.state[:, 0], state, rtol=5e-3, atol=1e-3 * np.abs(state).max() + 1e-9
        )
        np.testing.assert_allclose(belief.clock, treatment.clock, rtol=1e-6)
        treatment.give(np.full(6, doses[(visit * 5 + 3) % len(doses)]))
    assert belief is not None and belief.visit.max() >= visits - 1
    # the whole course at once is the course in steps
    again = kept.refine(belief)
    np.testing.assert_allclose(again.state, belief.state, rtol=5e-3, atol=1e-3 * np.abs(belief.state).max())
    # and memory lives in the belief: a filter that never saw the patient goes on with it
    assert np.array_equal(BeliefFilter(known, 2).refine(belief).state, again.state)


def test_docetaxel_is_put_off_in_the_belief_as_in_the_patient() -> None:
    known = alike(scenario("docetaxel"))
    assert known.delay is not None
    known = replace(known, delay=replace(known.delay, below=4.0))  # low for half of the typical patients
    treatment, kept, belief = Treatment(known, intake_of(known, 40)), BeliefFilter(known, 2), None
    for _ in range(4):
        belief = kept.step(belief, treatment.observe())
        treatment.give(np.full(40, 120.0))
    belief = kept.step(belief, treatment.observe())
    assert belief.delays.sum() > 10 and belief.delays.max() == 2
    np.testing.assert_allclose(belief.clock, treatment.clock, rtol=1e-6)
    # a look before a delay says that the count was too low and no more
    put_off = belief.delays > 0
    looks = belief.high[:, :, 3:][np.nonzero(put_off)]
    assert np.nanmax(looks) == 4.0 and np.isneginf(belief.low[:, :, 3][put_off]).all()
    assert np.array_equal(~np.isnan(looks).all(axis=1), belief.delays[put_off] > 0)


def after(visits: int, kept: BeliefFilter, intake: Intake) -> Belief:
    """The beliefs about patients whom usual care doses, after so many visits."""
    known = kept.scenario
    treatment, rule, state, belief = Treatment(known, intake), regimen("clinical-nomogram", known), None, None
    for _ in range(visits):
        observation = treatment.observe()
        belief = kept.step(belief, observation)
        dose, state = rule.predict(observation, state)
        if treatment.active.any():
            treatment.give(dose)
    assert belief is not None
    return belief


def test_moved_particles_agree_with_brute_force() -> None:
    # propofol's seven unknowns make a bent posterior, which no Student's t is like: a ridge of first volume
    # and the delay of the effect
    known = scenario("propofol")
    kept = BeliefFilter(known, 256)
    belief = after(24, kept, intake_of(known, 3))
    rng = np.random.default_rng(1)
    x = belief.prior.at(rng.normal(size=(2**15, 7)), rng.random(2**15))
    fit = kept.relive(belief, x)[0]
    weight = np.exp(fit - fit.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    assert (1.0 / (weight**2).sum(axis=1) > 900).all()  # the yardstick's own error is then below 0.04 SD
    mean, covariance = moments(x, weight)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2))
    moved = kept.refine(belief)
    np.testing.assert_allclose(moved.weight, 1 / 256, rtol=1e-9)
    got, got_sd = moved.mean_sd(moved.x)
    assert np.sqrt(np.mean(((got - mean) / sd) ** 2)) < 0.12
    assert np.exp(np.mean(np.log(got_sd / sd))) == pytest.approx(1.0, abs=0.08)


def test_particles_are_moved_where_no_redraw_fits() -> None:
    known = scenario("propofol")
    kept = BeliefFilter(known, 64)
    belief = after(140, kept, intake_of(known, 1))
    assert np.ptp(belief.weight) > 0.01
    np.testing.assert_allclose(kept.refine(belief).weight, 1 / 64, rtol=1e-9)


def test_the_search_for_a_mode_stays_where_somebody_may_be() -> None:
    # from far ends of the prior, Newton's steps would leave for where mercaptopurine's solver gives up
    known = scenario("mercaptopurine")
    kept = BeliefFilter(known, 16)
    belief = after(8, kept, intake_of(known, 1))
    corners = np.array(list(itertools.product((-3.0, 3.0), repeat=6)))
    copies = belief.select(np.zeros(len(corners), dtype=np.int64))
    x, covariance, score = kept.mode(copies, copies.prior.mean[:, 0] + corners * belief.prior.sd)
    away = (x - copies.prior.mean[:, 0]) / belief.prior.sd
    assert (np.sum(away**2, axis=1) < 64.0).all()
    assert np.isfinite(score).all() and np.isfinite(covariance).all()


def small(name: str) -> tuple[np.ndarray, np.ndarray]:
    return calibrate(scenario(name), 150, 128, 5, 256)


@pytest.mark.parametrize("name", ["busulfan", "vancomycin", "tacrolimus"])
def test_ranks_of_the_truth_are_uniform_and_intervals_hold_what_they_say(name: str) -> None:
    # Talts 2018, arXiv:1804.06788; the long form, for every scenario, is benchmarks/calibration.py
    rank, share = small(name)
    p = p_values(rank)
    assert min(p) * len(p) > 1e-3
    covered = int(np.sum((share > 0.05) & (share < 0.95)))
    # results of one patient are not independent of each other: counted as a third of them
    third = len(share) // 3
    assert binom.sf(covered // 3, third, 0.9) > 1e-4 and binom.cdf(covered // 3, third, 0.9) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_every_scenario_is_calibrated(name: str) -> None:
    rank, share = calibrate(scenario(name), 1000, 128, 0, 128 if name == "propofol" else 256)
    p = p_values(rank)
    assert min(p) * len(p) > 0.01
    assert 0.87 <= np.mean((share > 0.05) & (share < 0.95)) <= 0.93


@pytest.mark.parametrize("genotype", ["unknown", "phenotype", "posterior"])
@pytest.mark.parametrize("name", ["tacrolimus", "efavirenz", "phenytoin", "mercaptopurine", "voriconazole"])
def test_prior_without_the_diplotype_holds_the_true_one(name: str, genotype) -> None:
    known = scenario(name).seen_as(genotype)
    noise = Noise("select", 3)
    drawn = known.population.draw(known.model, known.base, np.arange(300), noise)
    intake = Intake.prepare(known, drawn, noise, known.preset("textbook"), genotype)
    seen = Treatment(known, intake).observe()
    before = prior(known, known_people(known, seen))
    with_it = Intake.prepare(scenario(name), drawn, noise, known.preset("textbook"))
    exact = prior(scenario(name), known_people(scenario(name), Treatment(scenario(name), with_it).observe()))
    weight = np.exp(before.log_weight)
    np.testing.assert_allclose(weight.sum(axis=1), 1.0)
    # the component of the true genotype is among them, and on average as likely as the frequencies say
    same = np.all(np.isclose(before.mean, exact.mean), axis=2)
    assert (same & (weight > 0)).any(axis=1).all()
    given = np.sum(weight * same, axis=1)
    chosen = np.sum(weight**2, axis=1)  # expected weight of a component drawn by the weights
    assert abs(given.mean() - chosen.mean()) < 4 * given.std() / np.sqrt(300) + 0.01
    # spread between components: the mean of the mixture is that of the truth over people
    gap = np.einsum("nc,ncd->nd", weight, before.mean) - exact.mean[:, 0]
    error = gap.std(axis=0) / np.sqrt(300) + 1e-9
    assert np.all(np.abs(gap.mean(axis=0)) < 4 * error + 1e-3)


@pytest.mark.parametrize("name", ["fluorouracil", "docetaxel", "vancomycin"])  # late results; cycles put off
def test_faded_results_weigh_the_same_in_passing_and_over_the_whole_history(name: str) -> None:
    known = scenario(name)
    kept = BeliefFilter(known, 64, fade=0.8)
    belief = after(5, kept, intake_of(known, 30, "clinic"))
    again = belief.log_ratio + kept.relive(belief, belief.x)[0]
    weight = np.exp(again - again.max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(belief.weight, weight, atol=1e-3)


def test_features_of_a_patient_do_not_depend_on_how_far_others_are() -> None:
    # the first visits of tacrolimus look three days ahead, later ones two weeks
    known = scenario("tacrolimus")
    treatment, kept, seen = Treatment(known, intake_of(known, 2)), BeliefFilter(known, 64), []
    for _ in range(8):
        seen.append(treatment.observe())
        treatment.give(np.full(2, 20.0))
    features, early, late = BeliefFeatures(kept), None, None
    for observation in seen:
        late = kept.step(late, observation[[0]])
    for observation in seen[:2]:
        early = kept.step(early, observation[[1]])
    assert early is not None and late is not None
    assert (kept.reach(early)[0], kept.reach(late)[0]) == (3, 14)
    both = late.select(np.array([0, 0])).replace_rows(np.array([1]), early)
    shown, _ = features(both, np.stack([seen[7][0], seen[1][1]]))
    alone, _ = features(early, seen[1][[1]])
    harm = next(i for i, name in enumerate(features.names) if name.startswith("P(harm)"))
    assert 0 < alone[0, harm] < 1
    np.testing.assert_array_equal(shown[1], alone[0])


def test_some_lanes_are_reset_while_others_wait_for_their_next_episode() -> None:
    env = DosingVectorEnv("docetaxel", 3, autoreset_mode=AutoresetMode.NEXT_STEP, namespace="select")
    wrapped = LearningVectorEnv(env, BeliefFeatures(BeliefFilter(env.scenario, 8)))
    wrapped.reset(seed=1)
    done = np.zeros(3, dtype=bool)
    while not done.all():
        _, _, terminated, truncated, _ = wrapped.step(np.zeros((3, 1), np.float32))
        done = terminated | truncated
    wrapped.reset(options={"reset_mask": np.array([True, False, False])})
    shown, *_ = wrapped.step(np.zeros((3, 1), np.float32))
    cycle = shown[:, wrapped.inputs.names.index("day over horizon")]
    assert cycle[0] > 0 and np.all(cycle[1:] == 0)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
@pytest.mark.parametrize("name", names())
def test_wrapper_shows_finite_features_of_every_scenario(name: str, mode: AutoresetMode) -> None:
    env = DosingVectorEnv(name, 3, autoreset_mode=mode, namespace="select")
    wrapped = LearningVectorEnv(env, BeliefFeatures(BeliefFilter(env.scenario, 8)))
    shown, _ = wrapped.reset(seed=2)
    episodes, actions = 0, np.random.default_rng(0)
    for _ in range(min(len(env.scenario.calendar) + 2, 16)):
        assert shown.shape == (3, len(wrapped.inputs.names)) and np.isfinite(shown).all()
        assert np.all(wrapped.anchor > 0)
        shown, reward, terminated, truncated, info = wrapped.step(
            actions.uniform(-1, 1, (3, 1)).astype(np.float32)
        )
        over = terminated | truncated
        episodes += int(over.sum())
        if mode is AutoresetMode.SAME_STEP and over.any():
            assert np.isfinite(info["final_obs"][over]).all()
            # the last look is at the end of an episode, the new one at the start of the next
            day = wrapped.inputs.names.index("day over horizon")
            assert np.all(info["final_obs"][over, day] > shown[over, day])
    assert episodes > 0 or len(env.scenario.calendar) > 16


@pytest.mark.parametrize("name", names())
def test_monitoring_and_planning_dose_every_scenario(name: str) -> None:
    known = scenario(name)
    believed = {"bayesian", "bayesian-adaptive", "planner", "planner-adaptive", "oracle"}
    assert not believed & set(lacking(known))
    treatment = Treatment(known, intake_of(known, 2, "clinic"))
    arms = {arm: (regimen(arm, known), None) for arm in ("bayesian-adaptive", "planner")}
    for _ in range(2):
        seen = treatment.observe()
        dose = np.zeros(2)
        for arm, (rule, memory) in arms.items():
            dose, memory = rule.predict(seen, memory)
            arms[arm] = (rule, memory)
            assert np.all(dose >= 0) and np.all(known.doses.snap(dose) <= known.doses.maximum)
        treatment.give(dose)
