"""Policies that are learned further: on another belief as they are, in training from their own weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import (
    BeliefFeatures,
    HistoryFeatures,
    LearnedPolicy,
    Preset,
    Scaling,
    read_preset,
    train,
)
from dosewright.agents.learning.policy import weights_hash
from dosewright.agents.learning.preset import BeliefPart, PPOPart
from dosewright.agents.learning.selection import Score, Selection
from dosewright.envs import Noise, Scenario, names, scenario
from dosewright.evaluation import run_trial

VISITS = 11  # of a course of warfarin
UPDATE = 32 * VISITS
STILL = 1e-30  # a learning rate at which nothing is learned
Network = Callable[..., ActorCriticPolicy]
Made = Callable[..., LearnedPolicy]


def tiny(warm: bool = False, rate: float = STILL) -> Preset:
    preset = read_preset("warfarin")
    assert isinstance(preset.algorithm, PPOPart) and preset.warm_start is not None
    ppo = replace(
        preset.algorithm, timesteps=2 * UPDATE, environments=32, courses_per_update=1, batches=2, epochs=2,
        initial_log_sd=-1.0, final_log_sd=-2.5, critic_first=0.0, learning_rate=rate, learning_rate_end=rate,
    )  # fmt: skip
    start = replace(
        preset.warm_start, patients=8, rounds=2, untrained=1, batch_size=32, steps_per_round=2, final_steps=2,
        learning_rate=rate, weight_decay=0.0,
    )  # fmt: skip
    return replace(
        preset,
        input=BeliefPart(particles=8, training_particles=8, fade=0.9),
        policy=replace(preset.policy, hidden=[32, 32]),
        warm_start=start if warm else None,
        algorithm=ppo,
        evaluation=replace(preset.evaluation, every=UPDATE, patients=20),
    )


class Judged:
    """Scores that a test wants, in order, the last one again and again; and what was judged."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *benefits: float) -> None:
        self.benefits, self.arms = list(benefits), list[Any]()
        self.weights: list[dict[str, torch.Tensor]] = []
        monkeypatch.setattr(Selection, "score", lambda _, arm: self.score(arm))

    def score(self, arm: Any) -> Score:
        self.arms.append(arm)
        if isinstance(arm, LearnedPolicy):
            state = arm.network.state_dict()
            self.weights.append({name: values.clone() for name, values in state.items()})
        benefit = self.benefits.pop(0) if len(self.benefits) > 1 else self.benefits[0]
        return Score(benefit, benefit, 0.0, 0.0)


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ---------------------------------------------------------------------------------------- on another belief


def test_on_the_same_filter_a_policy_doses_as_it_did(
    warfarin: Scenario, policy: Made, admitted: Callable[..., Any], treated: Callable[..., Any]
) -> None:
    mine = policy(16)
    moved = mine.standing_on(BeliefFilter(warfarin, 16, 0.9))
    assert moved is not mine and moved.network is mine.network and moved.card is mine.card
    one, other = (treated(it, admitted(40))[0].given for it in (mine, moved))
    assert one.tobytes() == other.tobytes() and np.isfinite(one).sum() > 300
    longer = mine.standing_on(BeliefFilter(warfarin, 16, 0.9, visits=warfarin.horizon + 1))
    assert treated(longer, admitted(40))[0].given.tobytes() == one.tobytes()


def test_another_population_moves_anchor_and_doses_at_once(
    warfarin: Scenario, policy: Made, observed: Callable[..., np.ndarray]
) -> None:
    mine, seen = policy(16), observed(day=0.0, next_interval=3.0)
    refitted = replace(warfarin, base=(1.3, 0.08))
    moved = mine.standing_on(BeliefFilter(refitted, 16, 0.9))
    assert moved.scenario is refitted and mine.scenario is warfarin
    (dose, state), (other, after) = mine.predict(seen), moved.predict(seen)
    assert other[0] != dose[0] and moved.anchor(after, seen)[0] != mine.anchor(state, seen)[0]
    assert mine.predict(seen)[0][0] == dose[0]  # which stays what it was
    plain = policy(16, zero=True)  # is monitoring, wherever it stands
    there = plain.standing_on(BeliefFilter(refitted, 16, 0.9))
    dose, state = there.predict(seen)
    assert dose[0] == there.anchor(state, seen)[0] == moved.anchor(after, seen)[0]


def test_more_particles_are_another_belief_with_the_same_features(warfarin: Scenario, policy: Made) -> None:
    moved = policy(16).standing_on(BeliefFilter(warfarin, 32, 0.9))
    assert isinstance(moved.inputs, BeliefFeatures) and moved.inputs.filter.particles == 32


def test_a_policy_stands_on_no_belief_of_another_drug(policy: Made) -> None:
    other = scenario("phenytoin")
    with pytest.raises(ValueError, match="policy of warfarin version 0; this belief is about phenytoin"):
        policy(16).standing_on(BeliefFilter(other, 16))


def test_a_policy_that_does_not_dose_by_the_belief_alone_stands_on_none(
    warfarin: Scenario, network: Network, policy: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = HistoryFeatures(warfarin, 2)
    width = len(inputs.names)
    scaling = Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    of_history = LearnedPolicy(warfarin, inputs, network(width), scaling, {"seed_namespace": "train"})
    kept = BeliefFilter(warfarin, 16)
    said = "policy of warfarin: it does not dose by the belief alone; train one with the preset of the drug"
    with pytest.raises(ValueError, match=said):
        of_history.standing_on(kept)
    monkeypatch.setattr(LearnedPolicy, "recurrent", True)
    with pytest.raises(ValueError, match=said):
        policy(16).standing_on(kept)


# ------------------------------------------------------------------------------------------- in training


def test_training_begins_with_the_policy_s_weights(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, start = Judged(monkeypatch, 0.5), policy(8)
    train(tiny(), 1, tmp_path / "run", progress=False, start=start)
    assert not isinstance(judged.arms[0], LearnedPolicy)  # monitoring comes first
    assert equal(judged.weights[0], start.network.state_dict())
    # nothing is learned at this rate; exploration alone changes, which is a schedule of the preset
    for found in judged.weights[1:]:
        for name in ("action_net.weight", "mlp_extractor.policy_net.0.weight", "value_net.weight"):
            assert torch.equal(found[name], start.network.state_dict()[name]), name
    scaling = judged.arms[1].scaling
    assert np.array_equal(scaling.mean, start.scaling.mean) and np.array_equal(scaling.sd, start.scaling.sd)


def test_a_warm_start_goes_on_from_the_policy_and_not_from_the_anchor(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    judged, start = Judged(monkeypatch, 0.5), policy(8)
    train(tiny(warm=True), 1, tmp_path / "run", progress=False, start=start)
    wanted = start.network.state_dict()["action_net.weight"]
    assert wanted.abs().max() > 0.1 and len(judged.weights) >= 3
    for found in judged.weights:
        assert torch.equal(found["action_net.weight"], wanted)
    again = Judged(monkeypatch, 0.5)
    train(tiny(warm=True), 1, tmp_path / "new", progress=False)
    assert all(found["action_net.weight"].abs().max() < 1e-20 for found in again.weights)


def test_where_nothing_is_better_the_policy_is_kept_as_it_was(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, 0.5, 0.6, 0.55)  # monitoring, the start, all that comes after it
    start = policy(8)
    folder = train(tiny(rate=1e-2), 1, tmp_path / "run", progress=False, start=start)
    card = json.loads((folder / "card.json").read_text())
    assert (card["steps"], card["trained"], card["select"]["policy"]["benefit"]) == (0, True, 0.6)
    assert card["weights"] == weights_hash(start.network) != card["weights_at_the_end"]
    kept = LearnedPolicy.load(folder)
    assert equal(kept.network.state_dict(), start.network.state_dict())
    assert np.array_equal(kept.scaling.mean, start.scaling.mean)


def test_a_policy_without_events_is_held_to_a_budget_all_the_same(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, 0.5)  # nobody has the event
    train(tiny(), 1, tmp_path / "run", progress=False, start=policy(8))
    budget = json.loads((tmp_path / "run" / "progress.json").read_text())["budget"]
    assert 0 < budget < 10


def test_what_is_better_takes_its_place(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, 0.5, 0.6, 0.65, 0.62)
    start = policy(8)
    folder = train(tiny(rate=1e-2), 1, tmp_path / "run", progress=False, start=start)
    card = json.loads((folder / "card.json").read_text())
    assert card["steps"] == UPDATE and card["weights"] != weights_hash(start.network)
    assert card["select"]["policy"]["benefit"] == 0.65


def test_a_policy_that_is_worse_than_monitoring_is_not_kept(
    policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, 0.5, 0.4)
    folder = train(tiny(), 1, tmp_path / "run", progress=False, start=policy(8))
    card = json.loads((folder / "card.json").read_text())
    assert card["trained"] is False and card["select"]["policy"]["benefit"] == 0.5
    assert not LearnedPolicy.load(folder).network.state_dict()["action_net.weight"].any()


def test_it_is_trained_and_chosen_in_the_simulator_of_its_population(
    warfarin: Scenario, policy: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refitted = replace(warfarin, base=(1.3, 0.08))
    judged = Judged(monkeypatch, 0.5)
    train(
        tiny(), 1, tmp_path / "run", progress=False,
        start=policy(8).standing_on(BeliefFilter(refitted, 8, 0.9)),
    )  # fmt: skip
    assert all(arm.scenario is refitted for arm in judged.arms)
    assert all(arm.inputs.filter.scenario is refitted for arm in judged.arms[1:])
    monkeypatch.undo()
    chosen, published = Selection(tiny(), refitted), Selection(tiny())
    assert chosen.baseline != published.baseline
    bayesian = judged.arms[0]
    result = run_trial(
        refitted, {"arm": bayesian}, refitted.population, np.arange(20), Noise("select", 0),
        refitted.preset("clinic"), "diplotype",
    )  # fmt: skip
    assert chosen.baseline.returns == result.arms["arm"].returns.mean()


def test_another_network_or_another_scenario_is_refused(
    warfarin: Scenario, policy: Made, network: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Judged(monkeypatch, 0.5)
    wide = replace(tiny(), policy=replace(tiny().policy, hidden=[16, 32]))
    said = (
        r"policy of warfarin to begin with: mlp_extractor\.policy_net\.0\.weight is \(32, \d+\), of the "
        r"preset's network \(16, \d+\); name the preset that the policy was trained by"
    )
    with pytest.raises(ValueError, match=said):
        train(wide, 1, tmp_path / "wide", progress=False, start=policy(8))
    deep = replace(tiny(), policy=replace(tiny().policy, hidden=[32, 32, 32]))
    with pytest.raises(ValueError, match=r"policy_net\.4\.weight is not there, of the preset's network \(32"):
        train(deep, 1, tmp_path / "deep", progress=False, start=policy(8))
    newer = policy(8)
    newer.scenario = replace(warfarin, version=7)
    with pytest.raises(
        ValueError, match="policy of warfarin version 7 to begin with; the preset is for warfarin version 0"
    ):
        train(tiny(), 1, tmp_path / "newer", progress=False, start=newer)


# -------------------------------------------------------------------------------------------- presets


@pytest.mark.parametrize("drug", [name for name in names() if name != "propofol"])
def test_every_policy_with_a_warm_start_can_be_learned_further(drug: str) -> None:
    whole, short = read_preset(drug), read_preset(f"{drug}-refine")
    assert isinstance(short.algorithm, PPOPart) and short.warm_start is not None
    assert isinstance(whole.algorithm, PPOPart) and whole.warm_start is not None
    # the same network on the same input: its weights can be taken over
    assert (short.policy, short.input, short.scenario) == (whole.policy, whole.input, whole.scenario)
    assert short.warm_start.untrained < short.warm_start.rounds
    assert short.differences(whole) and all(
        item.startswith(("warm_start ", "ppo ", "evaluation ")) for item in short.differences(whole)
    )


def test_propofol_has_no_warm_start_and_so_no_such_variant() -> None:
    assert read_preset("propofol").warm_start is None
    with pytest.raises(ValueError, match=r"preset propofol-refine, \[warm_start\]: patients is missing"):
        read_preset("propofol-refine")
