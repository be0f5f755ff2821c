"""The visits are those of a treated patient, and what is foreseen of a dose is what it does."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy

from dosewright.agents.explanation.choice import multiple, unit_dose
from dosewright.agents.explanation.visits import Visits
from dosewright.agents.learning import LearnedPolicy, LearningVectorEnv
from dosewright.agents.learning.counterfactual import CANDIDATES, foreseen
from dosewright.agents.learning.foresight import foreseen_scores
from dosewright.envs import DosingVectorEnv, Intake, Regimen, Scenario, Treatment

Linear = Callable[[Mapping[str, float]], LearnedPolicy]
Visited = Callable[[LearnedPolicy, int], Visits]
WEIGHTS = {"mean log response over target": -0.5, "last innovation": 0.1}


def test_the_visits_are_those_of_the_policy_as_a_regimen(
    linear: Linear,
    visited: Visited,
    admitted: Callable[..., Intake],
    treated: Callable[[Regimen, Intake], tuple[Treatment, np.ndarray]],
) -> None:
    policy = linear(WEIGHTS)
    visits = visited(policy, 20)
    given = treated(policy, admitted(20))[0].given
    assert len(visits) == (~np.isnan(given)).sum()
    np.testing.assert_array_equal(visits.given, given[visits.patient, visits.visit])
    assert (np.diff(visits.patient) >= 0).all() and (visits.given != visits.anchor_given).any()


def test_a_policy_that_never_departs_gains_nothing(linear: Linear, visited: Visited) -> None:
    visits = visited(linear({}), 20)
    np.testing.assert_array_equal(visits.multiple, 1.0)
    np.testing.assert_array_equal(visits.given, visits.anchor_given)
    assert not visits.benefit.any() and not visits.event.any()


def test_what_is_foreseen_is_what_happens(warfarin: Scenario, admitted: Callable[..., Intake]) -> None:
    n, rng = 60, np.random.default_rng(0)
    treatment, events = Treatment(warfarin, admitted(n)), 0.0
    for _ in warfarin.calendar:
        dose = warfarin.doses.snap(rng.uniform(2, 14, (n, 2)))
        benefit, event = foreseen_scores(treatment, dose, np.full(n, 5.0), 0)
        going = treatment.active.copy()
        happened = treatment.give(dose[:, 1])
        stays = going & ~happened.left
        # the latent course decides on days; the foreseen one agrees to 5e-4, so at most a rare day flips
        days = happened.benefit[stays] * warfarin.scored
        assert np.mean(np.abs(benefit[stays, 1] - days) > 1e-9) < 0.02
        np.testing.assert_allclose(event[stays, 1], happened.event[stays], atol=1e-12)
        assert not event[~going].any() and not benefit[~going].any()
        events += happened.event.sum()
    assert events > 5


def test_the_benefit_is_that_of_the_warm_start(warfarin: Scenario, linear: Linear) -> None:
    lanes = DosingVectorEnv("warfarin", 20, namespace="select")
    env = LearningVectorEnv(lanes, linear({}).inputs)
    env.reset(seed=3)
    env.step(np.full((20, 1), 0.5, np.float32))
    ours = foreseen_scores(env.treatment, env.anchor[:, None] * CANDIDATES, env.anchor, 10)
    theirs = foreseen(env, 10)
    np.testing.assert_allclose(ours[0], theirs[0] * warfarin.scored, atol=1e-9)
    # where the softened event is far from its edge the two are the same
    clear = (theirs[1] == 1.0) | (theirs[1] == 0.0)
    np.testing.assert_array_equal(ours[1][clear], theirs[1][clear])
    assert clear.mean() > 0.5


def test_multiples_of_tablets_are_of_one_step_at_least(warfarin: Scenario, linear: Linear) -> None:
    policy = linear({})
    policy.action = "tablet"
    anchor = np.array([0.0, 0.01, 4.0])
    np.testing.assert_array_equal(unit_dose(policy, anchor), [0.5, 0.5, 4.0])
    policy.action = "anchored"
    np.testing.assert_array_equal(unit_dose(policy, anchor), anchor)
    features = np.zeros((3, len(policy.inputs.names)), np.float32)
    np.testing.assert_array_equal(multiple(policy, features, anchor), 1.0)


def test_a_policy_of_tablets_gives_the_tablets_it_chose(
    warfarin: Scenario, linear: Linear, visited: Visited
) -> None:
    inputs, doses = linear({}).inputs, warfarin.doses.doses
    torch.manual_seed(0)
    network: Any = MaskableActorCriticPolicy(
        spaces.Box(-np.inf, np.inf, (len(inputs.names),), np.float32),
        spaces.Discrete(len(doses)),
        lambda _: 1e-3,
    )
    with torch.no_grad():
        network.action_net.weight.mul_(100.0)
    network.set_training_mode(False)
    one = linear({})
    policy = LearnedPolicy(warfarin, inputs, network, one.scaling, one.card, "tablet")
    visits = visited(policy, 10)
    np.testing.assert_array_equal(visits.given, doses[policy.act(visits.features).astype(int)])
    np.testing.assert_allclose(visits.multiple * visits.unit, visits.given, rtol=1e-12)
    assert len(set(visits.given)) > 2 and (visits.unit >= warfarin.doses.step).all()


def test_a_recurrent_policy_is_refused(
    visited: Visited, linear: Linear, monkeypatch: pytest.MonkeyPatch
) -> None:
    policy = linear({})
    monkeypatch.setattr(LearnedPolicy, "recurrent", True)
    with pytest.raises(ValueError, match="recurrent network.*explain one without"):
        visited(policy, 2)
