"""Policies with an untrained network, for what does not depend on training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy, Scaling
from dosewright.envs import Scenario


@pytest.fixture(scope="session")
def network() -> Callable[..., ActorCriticPolicy]:
    """``network(width, zero, seed)``: departs from its anchor visibly; with `zero` not at all, as training
    begins."""

    def made(width: int, zero: bool = False, seed: int = 0) -> ActorCriticPolicy:
        torch.manual_seed(seed)
        policy = ActorCriticPolicy(
            spaces.Box(-np.inf, np.inf, (width,), np.float32),
            spaces.Box(-1.0, 1.0, (1,), np.float32),
            lambda _: 1e-3,
            net_arch=[32, 32],
        )
        assert isinstance(policy.action_net, torch.nn.Linear)
        with torch.no_grad():
            if zero:
                policy.action_net.weight.zero_()
                policy.action_net.bias.zero_()
            else:
                policy.action_net.weight.mul_(100.0)
        policy.set_training_mode(False)
        return policy

    return made


@pytest.fixture(scope="session")
def scaling() -> Callable[[int], Scaling]:
    """``scaling(width)``: not the identity."""

    def made(width: int) -> Scaling:
        rng = np.random.default_rng(1)
        mean, sd = rng.normal(size=width), rng.uniform(0.5, 2, width)
        return Scaling(mean.astype(np.float32), sd.astype(np.float32))

    return made


@pytest.fixture(scope="session")
def policy(
    warfarin: Scenario, network: Callable[..., ActorCriticPolicy], scaling: Callable[[int], Scaling]
) -> Callable[..., LearnedPolicy]:
    """``policy(particles, fade, zero)``: of warfarin, on the belief."""

    def made(particles: int = 16, fade: float = 0.9, zero: bool = False) -> LearnedPolicy:
        inputs = BeliefFeatures(BeliefFilter(warfarin, particles, fade))
        width = len(inputs.names)
        card: dict[str, Any] = {
            "scenario": "warfarin",
            "scenario_version": warfarin.version,
            "genotype": "diplotype",
            "seed_namespace": "train",
        }
        return LearnedPolicy(warfarin, inputs, network(width, zero), scaling(width), card)

    return made
