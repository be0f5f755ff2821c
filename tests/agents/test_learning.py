"""The environment of learning: it shows what a policy in use sees, acts as that acts, and puts a price on the
event."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy, LearningVectorEnv, read_preset
from dosewright.agents.regimens import Bayesian
from dosewright.envs import AutoresetMode, DosingVectorEnv, Intake, Regimen, Treatment, names, scenario

WARFARIN = scenario("warfarin")
SPEC = WARFARIN.observation
Treat = Callable[[Regimen, Intake], tuple[Treatment, NDArray[np.float64]]]
both_modes = pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])


def lanes(n: int, mode: AutoresetMode, **arguments: Any) -> DosingVectorEnv:
    return DosingVectorEnv("warfarin", n, namespace="select", autoreset_mode=mode, **arguments)


def learning(
    n: int, mode: AutoresetMode = AutoresetMode.SAME_STEP, particles: int = 16, **arguments: Any
) -> LearningVectorEnv:
    return LearningVectorEnv(
        lanes(n, mode), BeliefFeatures(BeliefFilter(WARFARIN, particles, 0.9)), **arguments
    )


def nothing(n: int) -> NDArray[np.float32]:
    return np.zeros((n, 1), np.float32)


# -------------------------------------------------------------------------------------- as a policy in use


@both_modes
def test_doing_nothing_is_bayesian_monitoring(
    admitted: Callable[..., Intake], treated: Treat, mode: AutoresetMode
) -> None:
    n = 100
    env = learning(n, mode, particles=64)
    env.reset(seed=2)
    expected = treated(Bayesian(WARFARIN, fade=0.9, particles=64), admitted(n, "clinic", seed=2))[0].given
    first = np.ones(n, dtype=bool)  # lanes still at their first patient
    for visit in range(11):
        np.testing.assert_array_equal(WARFARIN.doses.snap(env.anchor)[first], expected[first, visit])
        _, _, terminated, truncated, info = env.step(nothing(n))
        assert np.array_equal(info["dose"][first], expected[first, visit])
        first &= ~(terminated | truncated)
    assert not first.any()


@both_modes
def test_environment_and_predict_agree_over_several_episodes(
    policy: Callable[..., LearnedPolicy], mode: AutoresetMode
) -> None:
    n, arm = 30, policy()
    wrapped, plain = learning(n, mode), lanes(n, mode)
    features, _ = wrapped.reset(seed=2)
    observation, _ = plain.reset(seed=2)
    state, start = None, np.ones(n, dtype=bool)
    for step in range(25):
        dose, state = arm.predict(observation, state, start)
        action = arm.act(features)
        features, _, terminated, truncated, info = wrapped.step(action[:, None].astype(np.float32))
        observation, _, *ends, details = plain.step(dose)
        ignored = start & (step > 0) if mode is AutoresetMode.NEXT_STEP else np.zeros(n, dtype=bool)
        assert np.array_equal(info["dose"][~ignored], details["dose"][~ignored])
        # who leaves is over too: a trial scores nobody beyond that
        assert np.array_equal(terminated, ends[0] | ends[1]) and not truncated.any()
        done = terminated | truncated
        # NEXT_STEP shows the new patient one step later
        start = (
            done
            if mode is AutoresetMode.SAME_STEP
            else SPEC.read(observation, "interval") + SPEC.read(observation, "day") == 0
        )


def test_last_observation_of_a_finished_episode_is_taken_in() -> None:
    n = 40
    same, other = learning(n, AutoresetMode.SAME_STEP), learning(n, AutoresetMode.NEXT_STEP)
    assert np.array_equal(same.reset(seed=1)[0], other.reset(seed=1)[0])
    first, ended = np.ones(n, dtype=bool), 0
    for _ in range(11):
        shown, _, terminated, truncated, info = same.step(nothing(n))
        expected = other.step(nothing(n))[0]
        done = (terminated | truncated) & first
        if done.any():
            assert np.array_equal(info["final_obs"][done], expected[done])
            ended += int(done.sum())
        first &= ~(terminated | truncated)
        assert np.array_equal(shown[first], expected[first])
    assert ended == n


def test_some_lanes_are_reset_and_the_others_go_on() -> None:
    n, mask = 6, np.array([True, False, False, True, False, False])
    env, plain = learning(n, AutoresetMode.NEXT_STEP), learning(n, AutoresetMode.NEXT_STEP)
    for each in (env, plain):
        each.reset(seed=1)
        each.step(nothing(n))
    shown, _ = env.reset(options={"reset_mask": mask})
    after, expected = env.step(nothing(n))[0], plain.step(nothing(n))[0]
    np.testing.assert_array_equal(after[~mask], expected[~mask])
    names = env.inputs.names
    assert np.all(shown[mask, names.index("day over horizon")] == 0)
    # whoever is new is shown as on a first day alone
    alone, _ = learning(n).reset(seed=1, options={"patient": [6, 1, 2, 9, 4, 5]})
    np.testing.assert_array_equal(shown[mask], alone[mask])


@both_modes
def test_features_have_names_and_are_finite_in_every_visit(mode: AutoresetMode) -> None:
    env = learning(200, mode)
    names, shape = env.inputs.names, env.single_observation_space.shape
    assert shape is not None and len(names) == len(set(names)) == shape[0] == env.seen == env.width
    features = [env.reset(seed=1)[0]] + [env.step(nothing(200))[0] for _ in range(12)]
    assert all(np.isfinite(f).all() and f.dtype == np.float32 for f in features)
    day = np.array([f[:, names.index("day over horizon")] for f in features[:11]])
    assert set(np.round(day[:, 0] * 90).astype(int)) <= set(WARFARIN.calendar)


@pytest.mark.parametrize("drug", names())
def test_features_are_finite_in_the_worlds_of_every_preset(drug: str) -> None:
    n, known, worlds = 6, scenario(drug), read_preset(drug).randomisation
    assert worlds is not None
    env = LearningVectorEnv(
        DosingVectorEnv(
            drug, n, randomisation=replace(worlds, share=1.0, genotype_unknown=0.5),
            autoreset_mode=AutoresetMode.SAME_STEP,
        ),
        BeliefFeatures(BeliefFilter(known, 8, 0.9)),
    )  # fmt: skip
    seen = [env.reset(seed=1)[0]] + [env.step(nothing(n))[0] for _ in known.calendar[:4]]
    assert np.isfinite(seen).all() and np.isfinite(env.anchor).all()


# ---------------------------------------------------------------------------------------------- the reward


@both_modes
def test_reward_is_benefit_less_the_price_of_the_event(mode: AutoresetMode) -> None:
    n = 100
    env, plain = learning(n, mode), lanes(n, mode)
    env.reset(seed=1)
    plain.reset(seed=1)
    env.multiplier = price = 2.0
    events = np.zeros(n)
    for step in range(13):
        if step == 6:
            env.multiplier = price = 0.25
        _, reward, *_, info = env.step(np.full((n, 1), 0.4, np.float32))
        *_, expected = plain.step(info["dose"])
        np.testing.assert_array_equal(info["benefit"], expected["benefit"])
        np.testing.assert_array_equal(info["event"], expected["event"])
        np.testing.assert_array_equal(reward, expected["benefit"] - price * expected["event"])
        events += expected["event"]
    assert 10 < events.sum() < 2 * n


def test_events_are_free_until_they_have_a_price() -> None:
    env, events = learning(60), 0.0
    env.reset(seed=1)
    for _ in range(5):
        _, reward, *_, info = env.step(np.ones((60, 1), np.float32))
        np.testing.assert_array_equal(reward, info["benefit"])
        events += info["event"].sum()
    assert events > 10


# -------------------------------------------------------------------------------------------------- the truth


def test_truth_stands_behind_what_is_seen() -> None:
    n, parameters = 40, len(WARFARIN.model.parameters)
    env, plain = learning(n, truth=True), learning(n)
    assert env.seen == plain.width and env.width == env.seen + parameters + 2
    shown, features = env.reset(seed=1)[0], plain.reset(seed=1)[0]
    near = np.zeros(n)
    for _ in range(25):
        treatment = env.treatment
        np.testing.assert_array_equal(shown[:, : env.seen], features)
        truth = shown[:, env.seen :]
        np.testing.assert_allclose(truth[:, :parameters], np.log(treatment.theta), rtol=1e-5, atol=1e-5)
        response = treatment.truth[np.arange(n), treatment.day]
        np.testing.assert_allclose(truth[:, parameters], np.log(response / 2.5), atol=1e-5)
        np.testing.assert_allclose(truth[:, -1], near, atol=1e-6)
        action = np.full((n, 1), 0.5, np.float32)
        before = truth
        shown, _, terminated, truncated, info = env.step(action)
        features, *_, expected = plain.step(action)
        done = terminated | truncated
        near = np.where(done, 0.0, near + info["event"])
        if done.any():
            # of whoever is over, the truth is that of the visit before
            final = info["final_obs"][done]
            np.testing.assert_array_equal(final[:, env.seen :], before[done])
            np.testing.assert_array_equal(final[:, : env.seen], expected["final_obs"][done])
    assert near.max() == 1.0


# ---------------------------------------------------------------------------------------------------- tablets


def test_tablets_are_the_environments_own() -> None:
    n, tablets = 20, lanes(20, AutoresetMode.SAME_STEP, action="tablet")
    env = LearningVectorEnv(tablets, BeliefFeatures(BeliefFilter(WARFARIN, 16)), action="tablet")
    assert env.single_action_space == tablets.single_action_space
    env.reset(seed=1)
    number = np.arange(n) % len(WARFARIN.doses.doses)
    *_, info = env.step(number)
    np.testing.assert_array_equal(info["dose"], WARFARIN.doses.doses[number])
    np.testing.assert_array_equal(env.action_masks(), tablets.action_masks())


# -------------------------------------------------------------------------------------------------- refusals


def test_input_of_another_scenario_is_refused() -> None:
    other = BeliefFeatures(BeliefFilter(replace(WARFARIN, name="other"), 16))
    with pytest.raises(ValueError, match="environment of warfarin, input of other: they must be the same"):
        LearningVectorEnv(lanes(2, AutoresetMode.SAME_STEP), other)


@pytest.mark.parametrize(("taken", "given"), [("dose", "tablet"), ("tablet", "anchored")])
def test_another_action_than_the_environments_is_refused(taken: Any, given: Any) -> None:
    env, inputs = (
        lanes(2, AutoresetMode.SAME_STEP, action=taken),
        BeliefFeatures(BeliefFilter(WARFARIN, 16)),
    )
    with pytest.raises(
        ValueError, match=f"environment with action '{taken}', wrapper with '{given}': choose"
    ):
        LearningVectorEnv(env, inputs, action=given)


def test_an_event_of_many_units_happens_once() -> None:
    # above 4 mg/L on more than a quarter of the days: nearness grows day by day, the event comes once
    known, n = scenario("efavirenz"), 30
    env = LearningVectorEnv(
        DosingVectorEnv("efavirenz", n, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP),
        BeliefFeatures(BeliefFilter(known, 4, 0.9)),
    )
    env.reset(seed=1)
    nearness, happened, parts = np.zeros(n), np.zeros(n), 0
    for _ in range(len(known.calendar)):
        # as much as the grid has, for everybody
        *_, terminated, truncated, info = env.step(np.ones((n, 1), np.float32))
        parts += int(((info["event"] > 0) & ~info["happened"]).sum())
        nearness += info["event"]
        happened += info["happened"]
        over = terminated | truncated
        np.testing.assert_array_equal(happened[over], nearness[over] >= 1 - 1e-9)
        nearness[over] = happened[over] = 0
    assert parts > 0
