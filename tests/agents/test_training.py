"""Training: a run leaves what it promises, is repeatable, and can be stopped and taken up again."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO

from dosewright.agents.learning import LearnedPolicy, Preset, read_preset, train
from dosewright.agents.learning.counterfactual import _WarmStart
from dosewright.agents.learning.environment import LearningVectorEnv
from dosewright.agents.learning.preset import BeliefPart, PPOPart
from dosewright.agents.learning.selection import Selection
from dosewright.agents.learning.train import time_shares
from dosewright.envs import DosingVectorEnv
from dosewright.evaluation.provenance import code_digest
from dosewright.scripts.train import _time

MODULE = importlib.import_module("dosewright.agents.learning.train")  # the name is the function's too
VISITS = 11  # of a course of warfarin
UPDATE = 32 * VISITS  # steps: 32 lanes, one course
ROUNDS = 2  # of the warm start, the first untrained


def tiny(updates: int = 4, **algorithm: Any) -> Preset:
    preset = read_preset("warfarin")
    assert isinstance(preset.algorithm, PPOPart) and preset.warm_start is not None
    ppo = replace(
        preset.algorithm, timesteps=updates * UPDATE, environments=32, courses_per_update=1, batches=2,
        epochs=2, initial_log_sd=-1.0, final_log_sd=-2.5, critic_first=1 / updates,
    )  # fmt: skip
    warm = replace(
        preset.warm_start, patients=8, rounds=ROUNDS, untrained=1, batch_size=32, steps_per_round=2,
        final_steps=2,
    )  # fmt: skip
    return replace(
        preset,
        input=BeliefPart(particles=8, training_particles=8, fade=0.9),
        policy=replace(preset.policy, hidden=[16]),
        warm_start=warm,
        algorithm=replace(ppo, **algorithm),
        evaluation=replace(preset.evaluation, every=2 * UPDATE, patients=40),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished tiny run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(), 3, path, progress=False)
    yield path


def progress_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "progress.json").read_text())


def card_of(path: Path) -> dict[str, Any]:
    return json.loads((path / "policy" / "card.json").read_text())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return PPO.load(path / "checkpoint.zip", device="cpu").policy.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


# --------------------------------------------------------------------------------------------- what it leaves


def test_a_run_leaves_what_it_promises(run: Path) -> None:
    assert Preset.parse((run / "preset.toml").read_text(), "run") == tiny()
    assert list((run / "tensorboard").glob("events*"))
    progress = progress_of(run)
    assert progress["steps"] == 4 * UPDATE and progress["seed"] == 3
    assert [point["steps"] for point in progress["curve"]] == [0, 2 * UPDATE, 4 * UPDATE]
    arm = LearnedPolicy.load(run / "policy")
    assert arm.card["notice"] == "Research simulation, not for clinical use."
    assert arm.card["seed"] == 3 and arm.card["realism"] == "clinic" and arm.card["seed_namespace"] == "train"
    assert arm.card["select"]["patients"] == 40 and arm.card["scenario_version"] == 0
    assert arm.card["algorithm"] == "ppo" and arm.card["action"] == "anchored" and arm.card["warm_start"]
    assert arm.card["sees"] == {"belief": {"particles": 8, "training_particles": 8, "fade": 0.9}}
    assert arm.card["versions"]["torch"] == torch.__version__
    assert arm.card["code"] == code_digest()
    assert not list(run.glob("*.new.*"))


def test_the_policy_kept_is_the_best_of_the_curve(run: Path) -> None:
    progress, kept = progress_of(run), card_of(run)
    budget = kept["select"]["harm_budget"]
    # benefit, less whatever more than the budget has the event
    ranks = {
        point["steps"]: point["benefit"] - max(0.0, point["ever_harm"] - budget)
        for point in progress["curve"]
    }
    monitoring = kept["select"]["bayesian, same fading"]
    untrained = monitoring["benefit"] - max(0.0, monitoring["ever_harm"] - budget)
    assert progress["best"] == max(*ranks.values(), untrained)
    if kept["trained"]:
        assert ranks[kept["steps"]] == progress["best"]
    else:
        assert untrained == progress["best"] and kept["select"]["policy"] == monitoring


@pytest.mark.parametrize("better", [True, False])
def test_monitoring_is_kept_unless_it_is_surpassed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, better: bool
) -> None:
    class Ranked(MODULE.Selection):
        def score(self, arm: Any) -> Any:
            score = super().score(arm)
            trained = isinstance(arm, LearnedPolicy)
            return replace(score, benefit=score.benefit + (0.5 if better else -0.5) * trained)

    monkeypatch.setattr(MODULE, "Selection", Ranked)
    train(tiny(2), 3, tmp_path / "run", progress=False)
    card = card_of(tmp_path / "run")
    assert card["trained"] == better
    network = LearnedPolicy.load(tmp_path / "run" / "policy").network
    assert isinstance(network.action_net, torch.nn.Linear)
    # monitoring never departs from its own dose
    assert bool(network.action_net.weight.abs().max() > 0) == better


def test_budget_of_the_selection_is_a_share_of_monitorings_events(run: Path) -> None:
    select = card_of(run)["select"]
    monitoring = select["bayesian, same fading"]["ever_harm"]
    assert select["harm_budget"] == max(tiny().harm.budget * monitoring, 0.001)


def test_training_changes_the_network_from_monitoring(run: Path) -> None:
    assert weights(run)["action_net.weight"].abs().max() > 0


def test_same_seed_gives_the_same_weights_and_another_seed_others(run: Path, tmp_path: Path) -> None:
    train(tiny(), 3, tmp_path / "again", progress=False)
    train(tiny(2), 4, tmp_path / "other", progress=False)
    assert equal(weights(run), weights(tmp_path / "again"))
    ends = [card_of(path)["weights_at_the_end"] for path in (run, tmp_path / "again", tmp_path / "other")]
    assert ends[0] == ends[1] != ends[2]
    assert not equal(weights(run), weights(tmp_path / "other"))


@pytest.mark.slow
def test_two_runs_of_5000_steps_give_the_same_weights(tmp_path: Path) -> None:
    preset = tiny(15)
    assert preset.algorithm.timesteps >= 5000
    first, again = (card_of(train(preset, 3, tmp_path / name, progress=False).parent) for name in "ab")
    assert first["weights"] == again["weights"] and first["weights_at_the_end"] == again["weights_at_the_end"]


# ---------------------------------------------------------------------------------------------- how it learns


@pytest.mark.parametrize("critic_first", [1.0, 0.0])
def test_at_first_only_the_critic_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critic_first: float
) -> None:
    states, evaluate = [], MODULE._Run.evaluate

    def spy(self: Any, steps: int) -> None:
        states.append({name: value.clone() for name, value in self.model.policy.state_dict().items()})
        evaluate(self, steps)

    monkeypatch.setattr(MODULE._Run, "evaluate", spy)
    train(tiny(1, critic_first=critic_first), 3, tmp_path / "run", False, False)
    before, after = states
    same = {name for name in after if torch.equal(before[name], after[name])} - {"log_std"}
    actor = {name for name in after if "policy_net" in name or "action_net" in name}
    assert len(actor) == 4 and same == (actor if critic_first else set())


def test_exploration_falls_along_its_schedule(run: Path, tmp_path: Path) -> None:
    def last_log_sd(folder: Path) -> float:
        return float(PPO.load(folder / "checkpoint.zip").policy.log_std.detach())

    # of four updates the last explores with a quarter of the way to go
    assert last_log_sd(run) == pytest.approx(-2.5 + 0.25 * (-1.0 + 2.5))
    shutil.copytree(run, tmp_path / "run")
    train(tiny(8), 3, tmp_path / "run", resume=True, progress=False)
    assert last_log_sd(tmp_path / "run") == pytest.approx(-2.5 + 0.125 * (-1.0 + 2.5))


class Steps:
    """Everything that the training lanes of a run step through: prices, events and ends."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.prices: list[float] = []
        self.events: list[float] = []
        self.happened: list[int] = []
        self.ends: list[int] = []
        step = LearningVectorEnv.step

        def spy(env: LearningVectorEnv, actions: Any) -> Any:
            price = env.multiplier
            answer = step(env, actions)
            if env.num_envs == 32 and env.scaling is not None:  # not those of the warm start
                self.prices.append(float(price))
                counts = answer[4]["counts"]
                self.events.append(float(answer[4]["event"][counts].sum()))
                self.happened.append(int(answer[4]["happened"][counts].sum()))
                self.ends.append(int((answer[2] | answer[3])[counts].sum()))
            return answer

        monkeypatch.setattr(LearningVectorEnv, "step", spy)


def test_the_card_has_the_whole_curve_and_the_whole_time(run: Path) -> None:
    card, progress = card_of(run), progress_of(run)
    assert card["curve"] == progress["curve"] and len(card["curve"]) == 3
    # the checkpoint was written before the end
    assert card["seconds"]["all"] >= progress["seconds"]["all"]
    assert card["minutes"] == round(card["seconds"]["all"] / 60, 1)


def test_the_time_is_split_between_environment_belief_trials_and_networks(run: Path) -> None:
    seconds = card_of(run)["seconds"]
    shares = time_shares(seconds)
    assert list(shares) == ["environment", "input", "trials on select", "networks"]
    assert shares["environment"] == seconds["environment"] / seconds["all"]
    assert sum(shares.values()) == pytest.approx(1.0) and min(shares.values()) > 0
    # as the command prints it
    said = _time(run / "policy")
    assert re.fullmatch(r"\d+\.\d minutes: environment \d+ %, belief .*, networks \d+ %", said)


def test_price_is_learnt_from_the_events_of_every_update_in_the_presets_own_world(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, preset = Steps(monkeypatch), tiny()
    train(preset, 3, tmp_path / "run", progress=False)
    budget = progress_of(tmp_path / "run")["budget"]
    prices, events, ends = np.array(steps.prices), np.array(steps.happened), np.array(steps.ends)
    assert len(prices) == 4 * VISITS
    assert preset.harm.rate > 0
    # in the first update only the critic learns: its events are the warm start's, and set the budget
    assert len(set(prices[: 2 * VISITS])) == 1
    for update in range(2, 4):
        before, here = slice(VISITS * (update - 1), VISITS * update), slice(VISITS * update, None)
        rate = events[before].sum() / ends[before].sum()
        excess = np.clip(rate / budget - 1.0, -1.0, 1.0)
        expected = prices[before][0] * np.exp(preset.harm.rate * excess)
        np.testing.assert_allclose(prices[here][:VISITS], expected, rtol=1e-9)
    assert len(set(prices)) == 3
    assert [point["price"] for point in progress_of(tmp_path / "run")["curve"]] == [
        prices[0],
        prices[2 * VISITS],
        prices[-1],
    ]


def test_without_a_warm_start_the_first_events_are_the_anchors_and_set_the_budget(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, steps = replace(tiny(), warm_start=None), Steps(monkeypatch)
    train(preset, 3, tmp_path / "run", progress=False)
    # the first update is the critic's: the anchor treats, exploring
    first = slice(0, VISITS)
    of_anchor = sum(steps.happened[first]) / sum(steps.ends[first])
    assert progress_of(tmp_path / "run")["budget"] == pytest.approx(preset.harm.budget * of_anchor)
    assert of_anchor > Selection(preset).baseline.ever_harm  # exploring harms by itself


def test_the_baseline_is_the_untrained_policy() -> None:
    preset = tiny()
    run = MODULE._Run(preset, 3, Path("nowhere"))
    run.begin()
    selection = Selection(preset)
    assert selection.score(run.policy()) == selection.baseline
    usual = replace(preset, input=BeliefPart(particles=128, training_particles=8, fade=0.9))
    assert Selection(usual).baseline != selection.baseline


def test_a_finished_run_that_is_resumed_has_no_point_twice(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    train(tiny(), 3, tmp_path / "run", resume=True, progress=False)
    assert progress_of(tmp_path / "run")["curve"] == progress_of(run)["curve"]


def test_steps_are_those_of_the_model(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "run")
    # killed between the model and progress.json, which says what it said before
    progress = progress_of(run) | {"steps": 2 * UPDATE}
    (tmp_path / "run" / "progress.json").write_text(json.dumps(progress))
    train(tiny(6), 3, tmp_path / "run", resume=True, progress=False)
    assert progress_of(tmp_path / "run")["steps"] == 6 * UPDATE


def test_without_a_rate_the_price_is_the_presets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preset, steps = tiny(2), Steps(monkeypatch)
    train(replace(preset, harm=replace(preset.harm, rate=0.0)), 3, tmp_path / "run", progress=False)
    assert set(steps.prices) == {preset.harm.multiplier}


def test_every_training_environment_has_the_worlds_of_the_preset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, init = [], DosingVectorEnv.__init__

    def spy(self: DosingVectorEnv, *arguments: Any, **named: Any) -> None:
        init(self, *arguments, **named)
        made.append(self)

    monkeypatch.setattr(DosingVectorEnv, "__init__", spy)
    preset = tiny(1)
    train(preset, 3, tmp_path / "run", progress=False)
    assert len(made) == 3  # for the scaling, for the warm start, for PPO
    assert all(env.randomisation == preset.randomisation and env.namespace == "train" for env in made)


# --------------------------------------------------------------------------------------------- taken up again


def test_resumed_run_goes_on_where_it_stopped(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path)
    train(tiny(6), 3, path, resume=True, progress=False)
    progress, before = progress_of(path), progress_of(run)
    assert progress["steps"] == 6 * UPDATE
    assert [point["steps"] for point in progress["curve"]][:3] == [0, 2 * UPDATE, 4 * UPDATE]
    assert progress["curve"][-1]["steps"] == 6 * UPDATE
    assert progress["scaling"] == before["scaling"] and progress["budget"] == before["budget"]
    assert progress["seconds"]["all"] > before["seconds"]["all"]
    assert not equal(weights(path), weights(run))
    LearnedPolicy.load(path / "policy")


def patients_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the noise under which training lanes are reset, from now on."""
    seeds: list[int] = []
    begin = DosingVectorEnv._begin

    def spy(self: DosingVectorEnv, mine: Any, chosen: Any) -> None:
        if self.namespace == "train" and self._noise is not None:
            seeds.append(int(self._noise.seed))
        begin(self, mine, chosen)

    monkeypatch.setattr(DosingVectorEnv, "_begin", spy)
    return seeds


def test_resumed_run_meets_other_patients_at_the_price_of_its_checkpoint(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(run, tmp_path / "run")
    seeds, steps = patients_seen(monkeypatch), Steps(monkeypatch)
    train(tiny(5), 3, tmp_path / "run", resume=True, progress=False)
    assert set(seeds) == {3 + 4 * UPDATE}  # as train.py says; the first run had seed 3
    price = progress_of(run)["price"]
    assert steps.prices[0] == price != tiny().harm.multiplier


def test_the_largest_seed_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seed = 2**32 - 1
    train(tiny(2), seed, tmp_path / "run", progress=False)
    seeds = patients_seen(monkeypatch)
    train(tiny(3), seed, tmp_path / "run", resume=True, progress=False)
    assert set(seeds) == {2 * UPDATE - 1}  # beyond 2^32, which NumPy's seeds end below, it begins anew


class Stop:
    """Ctrl-C after so many steps of all lanes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        original = MODULE._Progress._on_step

        def stop(progress: Any) -> bool:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return original(progress)

        monkeypatch.setattr(MODULE._Progress, "_on_step", stop)


def test_ctrl_c_leaves_a_policy_and_a_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, after=15)  # before the first evaluation
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")
    assert UPDATE < progress_of(tmp_path / "run")["steps"] < 2 * UPDATE
    train(tiny(), 3, tmp_path / "run", resume=True, progress=False)
    assert progress_of(tmp_path / "run")["steps"] >= 4 * UPDATE


def test_ctrl_c_in_the_warm_start_leaves_a_checkpoint_that_begins_it_anew(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fits, fit = [0], _WarmStart.fit

    def interrupted(self: _WarmStart, *arguments: Any) -> None:
        fit(self, *arguments)
        fits[0] += 1
        if fits[0] == 1:  # the network departs from monitoring, and the price has learned
            raise KeyboardInterrupt

    monkeypatch.setattr(_WarmStart, "fit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")
    progress = progress_of(tmp_path / "run")
    assert progress["steps"] == 0 and not progress["warm"]
    train(tiny(), 3, tmp_path / "run", resume=True, progress=False)
    # as if it had never been interrupted
    same = ("weights", "weights_at_the_end", "trained", "steps", "curve")
    interrupted_card, card = card_of(tmp_path / "run"), card_of(run)
    assert {key: interrupted_card[key] for key in same} == {key: card[key] for key in same}
    progress, budget = (
        progress_of(tmp_path / "run"),
        card_of(tmp_path / "run")["select"]["harm_budget"],
    )
    assert progress["warm"]
    # what the interruption left is no rival of the finished warm start
    assert [point["steps"] for point in progress["curve"]] == [0, 2 * UPDATE, 4 * UPDATE]
    monitoring = card_of(tmp_path / "run")["select"]["bayesian, same fading"]
    assert progress["best"] == max(
        point["benefit"] - max(0.0, point["ever_harm"] - budget) for point in (*progress["curve"], monitoring)
    )


def test_ctrl_c_while_a_policy_is_written_leaves_a_loadable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = LearnedPolicy.save, []

    def interrupted(self: LearnedPolicy, folder: Any, preset: Preset) -> None:
        calls.append(folder)
        if len(calls) == 1:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.network.save(str(Path(folder) / "weights.zip"))
            raise KeyboardInterrupt
        save(self, folder, preset)

    monkeypatch.setattr(LearnedPolicy, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")


# --------------------------------------------------------------------------------------------------- refusals


def test_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=f"run folder {tmp_path} is not empty; name another, or go on with --resume"
    ):
        train(tiny(), 3, tmp_path, progress=False)
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint to resume"):
        train(tiny(), 3, tmp_path / "none", resume=True, progress=False)


@pytest.fixture
def more_threads() -> Iterator[int]:
    """One thread of torch more than training uses, so that a change would be seen."""
    before, wanted = torch.get_num_threads(), tiny().machine.threads + 1
    torch.set_num_threads(wanted)
    yield wanted
    torch.set_num_threads(before)


def test_training_uses_the_presets_threads_and_gives_torchs_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_threads: int
) -> None:
    used, evaluate = [], MODULE._Run.evaluate

    def spy(self: Any, steps: int) -> None:
        used.append(torch.get_num_threads())
        evaluate(self, steps)

    monkeypatch.setattr(MODULE._Run, "evaluate", spy)
    train(tiny(1), 3, tmp_path / "whole", progress=False)
    assert set(used) == {tiny().machine.threads} and torch.get_num_threads() == more_threads
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, after=1)
        train(tiny(1), 3, tmp_path / "cut", progress=False)
    assert torch.get_num_threads() == more_threads


def test_refused_resume_leaves_nothing_behind(tmp_path: Path, more_threads: int) -> None:
    with pytest.raises(ValueError, match="no checkpoint to resume"):
        train(tiny(), 3, tmp_path / "none", resume=True, progress=False)
    assert torch.get_num_threads() == more_threads and not (tmp_path / "none").exists()
