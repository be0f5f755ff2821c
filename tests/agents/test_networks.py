"""Networks of our own: a critic that sees the truth, and a recurrent policy that is saved whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium import spaces

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy, Scaling
from dosewright.agents.learning.networks import RecurrentPolicy, TruthCriticPolicy
from dosewright.envs import scenario

WARFARIN = scenario("warfarin")
INPUTS = BeliefFeatures(BeliefFilter(WARFARIN, 16, 0.9))
SEEN, TRUTH = len(INPUTS.names), len(WARFARIN.model.parameters) + 2


def space(width: int) -> tuple[spaces.Box, spaces.Box]:
    return spaces.Box(-np.inf, np.inf, (width,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32)


def truth_critic() -> TruthCriticPolicy:
    torch.manual_seed(0)
    policy = TruthCriticPolicy(*space(SEEN + TRUTH), lambda _: 1e-3, net_arch=[16, 16], seen=SEEN)
    assert isinstance(policy.action_net, torch.nn.Linear)
    with torch.no_grad():
        policy.action_net.weight.mul_(100.0)
    policy.set_training_mode(False)
    return policy


def shown(n: int, seed: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(n, SEEN + TRUTH)).astype(np.float32))


def test_the_truth_moves_the_critic_and_not_the_actor() -> None:
    policy, one = truth_critic(), shown(20, 0)
    other_truth, other_features = one.clone(), one.clone()
    other_truth[:, SEEN:] = shown(20, 1)[:, SEEN:]
    other_features[:, :SEEN] = shown(20, 1)[:, :SEEN]
    with torch.no_grad():
        action, value, log_prob = policy(one, deterministic=True)
        same, moved, also = policy(other_truth, deterministic=True)
        assert torch.equal(action, same) and torch.equal(log_prob, also)
        assert torch.equal(policy._predict(one, True), policy._predict(other_truth, True))
        assert torch.equal(policy.get_distribution(one).mode(), policy.get_distribution(other_truth).mode())
        assert not torch.isclose(value, moved).any()
        assert torch.equal(moved, policy.predict_values(other_truth))
        features_moved = policy(other_features, deterministic=True)
    assert not torch.isclose(action, features_moved[0]).any()
    assert not torch.isclose(value, features_moved[1]).any()


def test_no_gradient_of_the_action_reaches_the_truth() -> None:
    policy, one = truth_critic(), shown(20, 0).requires_grad_()
    policy.get_distribution(one).mode().sum().backward()
    assert one.grad is not None
    assert one.grad[:, SEEN:].abs().max() == 0 and one.grad[:, :SEEN].abs().max() > 0
    one.grad = None
    policy.predict_values(one).sum().backward()
    assert one.grad is not None and one.grad[:, SEEN:].abs().min() > 0


def test_a_policy_with_such_a_critic_doses_from_features_alone() -> None:
    policy, features = truth_critic(), shown(300, 0)[:, :SEEN].numpy()
    rng = np.random.default_rng(2)
    mean, sd = rng.normal(size=SEEN).astype(np.float32), rng.uniform(0.5, 2, SEEN).astype(np.float32)
    scaling = Scaling(mean, sd)
    arm = LearnedPolicy(WARFARIN, INPUTS, policy, scaling, {})
    anything = torch.cat([torch.from_numpy(scaling.apply(features)), shown(300, 5)[:, SEEN:]], dim=1)
    with torch.no_grad():
        expected = policy.get_distribution(anything).mode()[:, 0].numpy()
    np.testing.assert_allclose(arm.act(features), expected, rtol=1e-4, atol=1e-5)


def reloaded(policy: Any, path: Path) -> Any:
    policy.save(str(path / "weights.zip"))
    again = type(policy).load(str(path / "weights.zip"), device="cpu")
    again.set_training_mode(False)
    return again


def test_a_truth_critic_is_saved_with_what_the_actor_sees(tmp_path: Path) -> None:
    policy, one = truth_critic(), shown(10, 0)
    again = reloaded(policy, tmp_path)
    assert again.seen == SEEN
    with torch.no_grad():
        assert torch.equal(policy(one, deterministic=True)[0], again(one, deterministic=True)[0])
        assert torch.equal(policy.predict_values(one), again.predict_values(one))


def test_a_recurrent_policy_is_saved_with_the_size_of_its_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    policy = RecurrentPolicy(*space(7), lambda _: 1e-3, net_arch=[16], lstm_hidden_size=24)
    policy.set_training_mode(False)
    again = reloaded(policy, tmp_path)
    assert again.lstm_hidden_state_shape == policy.lstm_hidden_state_shape == (1, 1, 24)
    seen, start = torch.randn(5, 7), torch.zeros(5)
    states = (torch.randn(1, 5, 24), torch.randn(1, 5, 24))
    with torch.no_grad():
        one, (hidden, cell) = policy._predict(seen, states, start, True)
        two, (other_hidden, other_cell) = again._predict(seen, states, start, True)
    assert torch.equal(one, two) and torch.equal(hidden, other_hidden) and torch.equal(cell, other_cell)
