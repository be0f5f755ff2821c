"""Every algorithm on every kind of input: it trains, the same twice, and leaves a policy that doses."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sb3_contrib import RecurrentPPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from dosewright.agents import arm
from dosewright.agents.learning import LearnedPolicy, LearningVectorEnv, Preset, Scaling, read_preset, train
from dosewright.agents.learning.algorithms import algorithm_class, make
from dosewright.agents.learning.policy import inputs_of
from dosewright.agents.learning.preset import BeliefPart, SACPart
from dosewright.envs import AutoresetMode, DosingVectorEnv, Intake, Noise, Treatment, names, scenario
from dosewright.envs.sb3 import SB3VecEnv

VARIANTS = ("history", "recurrent", "sac", "tablets", "textbook", "tqc", "truth")
LEARNERS = ("busulfan", *(f"busulfan-{v}" for v in VARIANTS if v != "textbook"))
BUSULFAN = scenario("busulfan")  # four visits, and constant doses: the quickest


def tiny(name: str, lanes: int = 8) -> Preset:
    """A preset with little of everything: two updates of its algorithm."""
    preset = read_preset(name)
    part, visits = preset.algorithm, len(scenario(preset.scenario.drug).calendar)
    if isinstance(part, SACPart):
        algorithm = replace(
            part, timesteps=128, environments=lanes, buffer=500, learning_starts=32, gradient_steps=2,
            batch_size=32,
        )  # fmt: skip
    else:
        algorithm = replace(
            part, timesteps=2 * lanes * visits, environments=lanes, courses_per_update=1, batches=2, epochs=2
        )
    seen, warm = preset.input, preset.warm_start
    if isinstance(seen, BeliefPart):
        seen = replace(seen, particles=16, training_particles=16)
    if warm is not None:
        warm = replace(
            warm, patients=8, rounds=2, untrained=1, batch_size=32, steps_per_round=2, final_steps=2
        )
    return replace(
        preset,
        input=seen,
        policy=replace(preset.policy, hidden=[16]),
        warm_start=warm,
        algorithm=algorithm,
        evaluation=replace(preset.evaluation, every=10**6, patients=20),
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """``trained(name)``: the folder of a finished tiny run, each run once."""

    @cache
    def run(name: str) -> Path:
        path = tmp_path_factory.mktemp("runs") / name
        train(tiny(name), 3, path, progress=False)
        return path

    return run


def seen_by(policy: LearnedPolicy, n: int) -> list[NDArray[np.float32]]:
    """What the policy sees of n patients under a dose that is not its own."""
    known, noise = policy.scenario, Noise("select", 4)
    people = known.population.draw(known.model, known.base, np.arange(n), noise)
    treatment, seen = Treatment(known, Intake.prepare(known, people, noise, known.preset("clinic"))), []
    while treatment.active.all() and len(seen) < 4:
        seen.append(treatment.observe())
        treatment.give(np.full(n, known.doses.maximum / 3))
    return seen


def doses(
    policy: LearnedPolicy,
    seen: list[NDArray[np.float32]],
    starts: dict[int, NDArray[np.bool_]] | None = None,
) -> NDArray[np.float64]:
    """Doses (v, n) at the visits `seen`."""
    state, given = None, []
    for visit, observation in enumerate(seen):
        dose, state = policy.predict(observation, state, (starts or {}).get(visit))
        given.append(dose)
    return np.array(given)


# -------------------------------------------------------------------------------------------- every algorithm


@pytest.mark.parametrize("name", LEARNERS)
def test_a_tiny_run_leaves_a_policy_that_doses(trained: Callable[[str], Path], name: str) -> None:
    folder, preset = trained(name) / "policy", tiny(name)
    policy = LearnedPolicy.load(folder)
    assert Preset.parse((folder / "preset.toml").read_text(), "policy") == preset
    assert policy.card["algorithm"] == preset.algorithm_name and policy.action == preset.policy.action
    table = "belief" if isinstance(preset.input, BeliefPart) else "history"
    assert policy.card["sees"] == {table: asdict(preset.input)}
    # the scaling is of what a policy sees: not of the truth that its critic saw
    assert policy.scaling.mean.shape == (len(policy.inputs.names),)
    given = doses(policy, seen_by(policy, 12))
    assert given.shape == (4, 12) and np.isfinite(given).all() and given.min() >= 0.0
    grid = BUSULFAN.doses.doses
    assert np.isin(given, grid).all() == (policy.action == "tablet")
    loaded = arm(f"policy:{folder}", BUSULFAN)
    np.testing.assert_array_equal(loaded.predict(seen_by(policy, 12)[0])[0], given[0])


@pytest.mark.parametrize("name", LEARNERS)
def test_two_runs_give_the_same_weights(trained: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    first = LearnedPolicy.load(trained(name) / "policy").card
    again = LearnedPolicy.load(train(tiny(name), 3, tmp_path / "again", progress=False)).card
    assert first["weights"] == again["weights"] and first["curve"] == again["curve"]


@pytest.mark.parametrize("name", LEARNERS)
def test_splitting_the_patients_changes_no_dose(trained: Callable[[str], Path], name: str) -> None:
    policy = LearnedPolicy.load(trained(name) / "policy")
    seen, anew = seen_by(policy, 30), np.arange(30) % 3 == 0
    for visit in (2, 3):  # some begin anew, in either half
        seen[visit] = np.where(anew[:, None], seen[visit - 2], seen[visit])
    starts = {2: anew}
    whole = doses(policy, seen, starts)
    for rows in (slice(0, 15), slice(15, 30)):
        part = doses(policy, [o[rows] for o in seen], {2: starts[2][rows]})
        np.testing.assert_array_equal(part, whole[:, rows])
    assert len(np.unique(whole)) > 1


@pytest.mark.parametrize("name", LEARNERS)
def test_checkpoint_is_taken_up_again(trained: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    preset, path = tiny(name), tmp_path / "run"
    shutil.copytree(trained(name), path)
    steps = json.loads((path / "progress.json").read_text())["steps"]
    assert steps == preset.algorithm.timesteps
    train(preset.changed(timesteps=steps + 64), 3, path, resume=True, progress=False)
    assert json.loads((path / "progress.json").read_text())["steps"] == steps + 64
    LearnedPolicy.load(path / "policy")


@pytest.mark.parametrize("name", ["busulfan-sac", "busulfan-tqc"])
def test_a_run_killed_while_its_replay_buffer_is_written_can_be_taken_up_again(
    trained: Callable[[str], Path], tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, path = tiny(name), tmp_path / "run"
    shutil.copytree(trained(name), path)
    longer = preset.changed(timesteps=preset.algorithm.timesteps + 64)

    def killed(_: OffPolicyAlgorithm, file: Path) -> None:
        Path(file).write_bytes(b"half of it")
        raise OSError("killed")

    with monkeypatch.context() as patched:
        patched.setattr(OffPolicyAlgorithm, "save_replay_buffer", killed)
        with pytest.raises(OSError, match="killed"):
            train(longer, 3, path, resume=True, progress=False)
    train(longer, 3, path, resume=True, progress=False)
    assert json.loads((path / "progress.json").read_text())["steps"] == longer.algorithm.timesteps


# ------------------------------------------------------------------------------------------- as training does


def model_of(name: str, lanes: int) -> tuple[BaseAlgorithm, LearningVectorEnv]:
    """A new model of a preset, and its environment."""
    preset = tiny(name)
    known = scenario(preset.scenario.drug)
    tablets = preset.policy.action == "tablet"
    env = DosingVectorEnv(
        known.name, lanes, action="tablet" if tablets else "dose", namespace="select",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )  # fmt: skip
    learning = LearningVectorEnv(
        env, inputs_of(preset, known, training=1), None, preset.policy.action,
        preset.policy.critic == "truth",
    )  # fmt: skip
    model = make(preset, SB3VecEnv(learning), learning.seen, len(known.calendar), 1)
    assert type(model) is algorithm_class(preset)
    return model, learning


@pytest.mark.parametrize("name", LEARNERS)
def test_a_policy_in_use_acts_as_its_model_does(name: str) -> None:
    n = 20
    model, env = model_of(name, n)
    policy: Any = model.policy
    with torch.no_grad():  # so that actions differ between patients
        for key, values in policy.state_dict().items():
            if key.startswith(("action_net.weight", "actor.mu.weight")):
                values.mul_(30.0)
    plain = DosingVectorEnv(
        "busulfan", n, action=env._lanes.action, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP
    )
    preset = tiny(name)
    width = env.seen
    used = LearnedPolicy(
        BUSULFAN, inputs_of(preset, BUSULFAN), policy,
        Scaling(np.zeros(width, np.float32), np.ones(width, np.float32)), {}, preset.policy.action,
    )  # fmt: skip
    shown, _ = env.reset(seed=5)
    observation, _ = plain.reset(seed=5)
    state, memory, start, spread = None, None, np.ones(n, dtype=bool), 0.0
    for _ in range(10):
        # a standardised feature is kept within ten SD
        action, state = model.predict(np.clip(shown, -10, 10), state, start, deterministic=True)
        dose, memory = used.predict(observation, memory, start)
        if env.action == "tablet":
            np.testing.assert_array_equal(dose, BUSULFAN.doses.doses[action])
            observation, _, terminated, truncated, _ = plain.step(action)
        else:
            expected = env.anchor * (1.0 + np.clip(action[:, 0], -1.0, 1.0)) ** 2.2
            np.testing.assert_allclose(dose, expected, rtol=2e-4, atol=2e-4)
            observation, _, terminated, truncated, _ = plain.step(expected)
        shown, *_ = env.step(action)
        start, spread = terminated | truncated, max(spread, float(np.ptp(action)))
    assert spread > 0


@pytest.mark.parametrize("name", ["busulfan", "busulfan-recurrent", "busulfan-tablets"])
def test_the_learning_rate_falls_to_its_end_and_no_further(name: str) -> None:
    preset = read_preset(name).algorithm
    assert not isinstance(preset, SACPart)
    rate: Any = model_of(name, 8)[0].lr_schedule
    assert rate(1.0) == pytest.approx(preset.learning_rate)
    assert rate(0.5) == pytest.approx((preset.learning_rate + preset.learning_rate_end) / 2)
    # an update takes whole courses: with few timesteps it ends long after them
    assert rate(-3.0) == rate(0.0) == pytest.approx(preset.learning_rate_end)


@pytest.mark.parametrize("batches", [3, 9, 4, 5])
def test_no_batch_is_of_one_decision(batches: int) -> None:
    lanes = 7  # with four visits 28 decisions: batches of 9, 3, 7, 5, of which the last is of 1, 1, 7, 3
    preset = tiny("busulfan", lanes)
    assert not isinstance(preset.algorithm, SACPart)
    preset = replace(preset, algorithm=replace(preset.algorithm, batches=batches))
    env = DosingVectorEnv("busulfan", lanes, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP)
    learning = LearningVectorEnv(env, inputs_of(preset, BUSULFAN, training=1), None, "anchored")
    if batches in (3, 9):
        with pytest.raises(ValueError, match=rf"batches = {batches}; of 28 decisions .* one is left over"):
            make(preset, SB3VecEnv(learning), learning.seen, 4, 1)
    else:
        model: Any = make(preset, SB3VecEnv(learning), learning.seen, 4, 1)
        assert model.batch_size == 28 // batches


def test_memory_of_a_recurrent_network_matters(trained: Callable[[str], Path]) -> None:
    policy = LearnedPolicy.load(trained("busulfan-recurrent") / "policy")
    seen = seen_by(policy, 20)
    remembered, forgotten = doses(policy, seen), doses(policy, seen, {3: np.ones(20, dtype=bool)})
    np.testing.assert_array_equal(remembered[:3], forgotten[:3])
    assert not np.isclose(remembered[3], forgotten[3], rtol=1e-6).all()
    alone = doses(policy, seen[3:])
    np.testing.assert_array_equal(forgotten[3], alone[0])
    assert isinstance(model_of("busulfan-recurrent", 2)[0], RecurrentPPO)


# ------------------------------------------------------------------------------------------------- every drug


def test_tablets_of_a_drug_whose_treatments_are_left_out_can_be_trained_for(tmp_path: Path) -> None:
    preset = tiny("fluorouracil-tablets", lanes=4)
    few = replace(preset.evaluation, patients=4)
    _trains(replace(preset, randomisation=None, evaluation=few), tmp_path)


# as in test_learning.py, but for presets without belief or other worlds


@pytest.mark.slow
@pytest.mark.parametrize("variant", [None, *VARIANTS])
@pytest.mark.parametrize("drug", names())
def test_every_drug_can_be_trained_for_in_every_way(tmp_path: Path, drug: str, variant: str | None) -> None:
    _trains(tiny(drug if variant is None else f"{drug}-{variant}", lanes=4), tmp_path)


def _trains(preset: Preset, folder: Path) -> None:
    policy = LearnedPolicy.load(train(preset, 1, folder / "run", progress=False))
    assert np.isfinite(doses(policy, seen_by(policy, 6))).all()
    assert policy.card["scenario"] == policy.scenario.name == preset.scenario.drug
