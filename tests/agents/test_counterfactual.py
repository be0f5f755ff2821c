"""The warm start: what it foresees comes true, its score is the scenario's, and fitting to it pays."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefVectorEnv, Scaling, anchored_dose
from dosewright.agents.learning.counterfactual import (
    _ACTIONS,
    CANDIDATES,
    interpolated,
    scores,
    warm_start,
)
from dosewright.agents.learning.preset import WarmStartPart
from dosewright.envs import AutoresetMode, DosingVectorEnv, Intake, Treatment, scenario

WARFARIN = scenario("warfarin")


def wrapped(n: int) -> BeliefVectorEnv:
    lanes = DosingVectorEnv("warfarin", n, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP)
    env = BeliefVectorEnv(lanes, BeliefFilter(WARFARIN, 16, 0.9))
    first, _ = env.reset(seed=1)
    env.scaling = Scaling.fit(
        np.concatenate([first, *(env.step(np.zeros((n, 1), np.float32))[0] for _ in range(10))])
    )
    return env


# ------------------------------------------------------------------------------------------------- foresight


def test_what_is_foreseen_comes_true(admitted: Callable[..., Intake]) -> None:
    n, rng = 60, np.random.default_rng(0)
    treatment = Treatment(WARFARIN, admitted(n))
    for _ in range(len(WARFARIN.calendar)):
        dose = WARFARIN.doses.snap(rng.uniform(0, 12, (n, 3)))
        day, going = treatment.day, treatment.active.copy()
        ahead = treatment.foresee(dose, np.full(n, 3.0), 0)["INR"]
        treatment.give(dose[:, 1])
        for lane in np.flatnonzero(going & treatment.active):
            span = slice(day[lane] + 1, treatment.day[lane] + 1)
            # the accuracy of the belief: see test_warfarin_hamberg2010.py
            np.testing.assert_allclose(ahead[lane, 1, span], treatment.truth[lane, span], rtol=5e-4)
            assert (
                np.isnan(ahead[lane, :, : span.start]).all() and np.isnan(ahead[lane, :, span.stop :]).all()
            )
    assert treatment.active.sum() == 0


def test_days_after_the_next_visit_are_spent_on_the_other_dose(admitted: Callable[..., Intake]) -> None:
    n = 40
    intake = admitted(n, realism="textbook")
    treatment, twin = Treatment(WARFARIN, intake), Treatment(WARFARIN, intake)
    ahead = treatment.foresee(np.full((n, 1), 8.0), np.full(n, 2.0), 5)["INR"][:, 0]
    twin.give(np.full(n, 8.0))
    twin.give(np.full(n, 2.0))
    assert twin.day.tolist() == [5] * n  # visits on days 0, 3 and 5
    np.testing.assert_allclose(ahead[:, 1:6], twin.truth[:, 1:6], rtol=5e-4)
    assert np.isnan(ahead[:, 6:]).all()


def test_foreseeing_changes_nothing(admitted: Callable[..., Intake]) -> None:
    treatment = Treatment(WARFARIN, admitted(20))
    treatment.give(np.full(20, 6.0))
    before = (treatment.state, treatment.truth.copy(), treatment.observe(), treatment.day.copy())
    treatment.foresee(np.full((20, 2), 9.0), np.full(20, 1.0), 30)
    after = (treatment.state, treatment.truth, treatment.observe(), treatment.day)
    for left, right in zip(before, after, strict=True):
        np.testing.assert_array_equal(left, right)


def test_nothing_is_foreseen_beyond_the_end(admitted: Callable[..., Intake]) -> None:
    treatment = Treatment(WARFARIN, admitted(5, realism="textbook"))
    ahead = treatment.foresee(np.full((5, 1), 5.0), np.full(5, 5.0), 500)["INR"]
    assert ahead.shape == (5, 1, WARFARIN.horizon + 1)
    assert np.isnan(ahead[:, :, 0]).all() and not np.isnan(ahead[:, :, 1:]).any()


# ---------------------------------------------------------------------------------------------------- scores


def test_candidates_are_actions() -> None:
    np.testing.assert_allclose(anchored_dose(np.full(len(CANDIDATES), 5.0), _ACTIONS), 5.0 * CANDIDATES)
    assert CANDIDATES[np.flatnonzero(_ACTIONS == 0.0)].tolist() == [1.0]
    assert _ACTIONS[0] == -1.0 and _ACTIONS[-1] <= 1.0


def test_scores_count_days_and_the_first_harm() -> None:
    env = wrapped(50)
    env.reset(seed=3)
    env.step(np.full((50, 1), 0.5, np.float32))
    days, careful = scores(env, 10, 0.0), scores(env, 10, 0.4)
    response = env.treatment.foresee(env.anchor[:, None] * CANDIDATES, env.anchor, 10)["INR"]
    for lane, candidate in ((0, 0), (7, 8), (20, 16)):
        course = response[lane, candidate, ~np.isnan(response[lane, candidate])]
        assert len(course) == 10  # days 3 to 13; the next visit is on day 5
        in_range, above = ((course >= 2) & (course <= 3)).sum(), (course > 4).sum()
        assert days[lane, candidate] == pytest.approx((in_range - 2 * above) / 90)
    entered = np.nanmax(response, axis=-1) > 4 * np.exp(0.08)
    fresh = np.nanmax(env.treatment.truth, axis=-1) < 4 * np.exp(-0.08)
    np.testing.assert_allclose((days - careful)[fresh[:, None] & entered], 0.4)
    assert (fresh[:, None] & entered).any()
    never = np.nanmax(response, axis=-1) < 4 * np.exp(-0.08)
    np.testing.assert_array_equal((days - careful)[never], 0.0)


def test_interpolation_is_exact_at_the_candidates_and_linear_between() -> None:
    score = torch.from_numpy(np.random.default_rng(0).normal(size=(len(CANDIDATES),) * 2))
    at = interpolated(score, torch.from_numpy(_ACTIONS))
    np.testing.assert_allclose(at.numpy(), np.diag(score.numpy()), atol=1e-12)
    middle = torch.from_numpy((_ACTIONS[:-1] + _ACTIONS[1:]) / 2).requires_grad_()
    value = interpolated(score[:-1], middle)
    expected = (np.diag(score.numpy())[:-1] + np.diag(score.numpy(), 1)) / 2
    np.testing.assert_allclose(value.detach().numpy(), expected, atol=1e-12)
    value.sum().backward()
    slope = (np.diag(score.numpy(), 1) - np.diag(score.numpy())[:-1]) / np.diff(_ACTIONS)
    assert middle.grad is not None
    np.testing.assert_allclose(middle.grad.numpy(), slope, rtol=1e-9)


# ------------------------------------------------------------------------------------------------- the fit

PART = WarmStartPart(
    rounds=6, ahead_days=6, first_harm_weight=0.05, exploration_sd=0.1, batch_size=256, steps_per_round=40,
    final_steps=200, learning_rate=1e-3,
)  # fmt: skip


def network(env: BeliefVectorEnv) -> ActorCriticPolicy:
    torch.manual_seed(0)
    policy = ActorCriticPolicy(
        env.single_observation_space, env.single_action_space, lambda _: 1e-3, net_arch=[32]
    )
    for name, parameter in policy.named_parameters():
        if name.startswith("action_net"):
            torch.nn.init.zeros_(parameter)
    return policy


def last_layer(policy: ActorCriticPolicy) -> torch.Tensor:
    return policy.state_dict()["action_net.weight"]


def mean_score(policy: ActorCriticPolicy, env: BeliefVectorEnv) -> float:
    """Mean score of the network's doses over a course of other patients."""
    features, total = env.reset(seed=99)[0], []
    for _ in WARFARIN.calendar:
        with torch.no_grad():
            action = policy.get_distribution(torch.from_numpy(features)).mode()[:, 0]
        score = torch.from_numpy(scores(env, PART.ahead_days, PART.first_harm_weight)).float()
        total.append(float(interpolated(score, action).mean()))
        features = env.step(action.numpy())[0]
    return float(np.mean(total))


def test_the_fit_scores_above_monitoring_on_other_patients() -> None:
    env = wrapped(128)
    policy = network(env)
    monitoring = mean_score(policy, env)
    value = [parameter.clone() for parameter in policy.value_net.parameters()]
    visits = []
    warm_start(policy, env, PART, 5, visits.append)
    assert sum(visits) == 6 * 11 * 128
    # monitoring loses about 0.09 days of each visit's score to the best policy that sees the belief
    assert mean_score(policy, env) > monitoring + 0.05 / 90
    assert all(torch.equal(a, b) for a, b in zip(value, policy.value_net.parameters(), strict=True))


def test_the_same_seed_gives_the_same_network_and_another_seed_another() -> None:
    short = replace(PART, rounds=1, final_steps=20)

    def weights(seed: int) -> torch.Tensor:
        env = wrapped(16)
        policy = network(env)
        warm_start(policy, env, short, seed, lambda _: None)
        return last_layer(policy)

    assert torch.equal(weights(5), weights(5))
    assert not torch.equal(weights(5), weights(6))


def test_no_rounds_leave_monitoring() -> None:
    env = wrapped(8)
    policy = network(env)
    warm_start(policy, env, replace(PART, rounds=0), 5, lambda _: None)
    assert last_layer(policy).abs().max() == 0
