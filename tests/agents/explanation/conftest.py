"""Policies whose dose is a known function of two features."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.explanation.visits import Visits, collect
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy, Scaling
from dosewright.envs import Noise, Scenario

Linear = Callable[[Mapping[str, float]], LearnedPolicy]


@pytest.fixture(scope="session")
def linear(warfarin: Scenario) -> Linear:
    """``linear({feature: weight})``: a warfarin policy whose action is the weighted sum of the features."""
    inputs = BeliefFeatures(BeliefFilter(warfarin, 16, 0.9))
    width = len(inputs.names)

    def made(weights: Mapping[str, float]) -> LearnedPolicy:
        network = ActorCriticPolicy(
            spaces.Box(-np.inf, np.inf, (width,), np.float32),
            spaces.Box(-1.0, 1.0, (1,), np.float32),
            lambda _: 1e-3,
            net_arch=[],
        )
        assert isinstance(network.action_net, torch.nn.Linear)
        with torch.no_grad():
            network.action_net.weight.zero_()
            network.action_net.bias.zero_()
            for name, weight in weights.items():
                network.action_net.weight[0, inputs.names.index(name)] = weight
        network.set_training_mode(False)
        card = {
            "scenario": "warfarin",
            "seed_namespace": "train",
            "realism": "clinic",
            "genotype": "diplotype",
        }
        scaling = Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
        return LearnedPolicy(warfarin, inputs, network, scaling, card)

    return made


@pytest.fixture(scope="session")
def visited(warfarin: Scenario) -> Callable[[LearnedPolicy, int], Visits]:
    """``visited(policy, n)``: the visits of n patients."""

    def treat(policy: LearnedPolicy, n: int) -> Visits:
        return collect(
            policy, np.arange(n), Noise("select", 1), warfarin.preset("clinic"), "diplotype", ahead=5
        )

    return treat
