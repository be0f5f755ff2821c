"""A policy that is told how much safety is preferred: weights, memory, reward, training and refusals."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dosewright.agents import arm
from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import (
    BeliefFeatures,
    LearnedPolicy,
    LearningVectorEnv,
    Preset,
    read_preset,
    train,
)
from dosewright.agents.learning.counterfactual import CANDIDATES, Visits
from dosewright.agents.learning.meanings import meanings
from dosewright.agents.learning.preference import BALANCED, NAME, Drawn, PreferenceInput, Same, odds
from dosewright.agents.learning.preset import BeliefPart, PPOPart
from dosewright.envs import AutoresetMode, DosingVectorEnv, Noise, scenario
from dosewright.evaluation import run_trial

WARFARIN = scenario("warfarin")


def seeing(weights: Drawn | Same) -> PreferenceInput:
    return PreferenceInput(BeliefFeatures(BeliefFilter(WARFARIN, 8, 0.9)), weights)


def lanes(n: int) -> DosingVectorEnv:
    return DosingVectorEnv("warfarin", n, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP)


def tiny() -> Preset:
    preset = read_preset("warfarin-preference")
    assert isinstance(preset.algorithm, PPOPart) and preset.warm_start is not None
    return replace(
        preset,
        input=BeliefPart(particles=8, training_particles=8, fade=0.9),
        policy=replace(preset.policy, hidden=[16]),
        warm_start=replace(
            preset.warm_start, patients=32, rounds=4, untrained=1, batch_size=64, steps_per_round=20,
            final_steps=100,
        ),
        algorithm=replace(
            preset.algorithm, timesteps=2 * 352, environments=32, courses_per_update=1, batches=2, epochs=2
        ),
        evaluation=replace(preset.evaluation, every=352, patients=40),
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        # so small a training does not surpass monitoring; it is kept all the same
        module = importlib.import_module("dosewright.agents.learning.train")
        patch.setattr(module._Run, "from_monitoring", False)
        yield train(tiny(), 3, tmp_path_factory.mktemp("runs") / "run", progress=False)


def test_odds_are_of_harm_against_benefit() -> None:
    np.testing.assert_allclose(odds(np.array([0.2, 0.5, 0.8])), [0.25, 1.0, 4.0])


def test_weights_are_drawn_for_a_share_of_the_patients_and_by_the_seed() -> None:
    drawn = Drawn(0.5, 0.1, 0.9, seed=4)(20_000)
    other = drawn[drawn != BALANCED]
    assert len(other) / 20_000 == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(20_000))
    # of a uniform from 0.1 to 0.9: mean 0.5, SD 0.8 / sqrt(12)
    assert other.mean() == pytest.approx(0.5, abs=4 * 0.231 / np.sqrt(len(other)))
    assert other.std() == pytest.approx(0.8 / np.sqrt(12), rel=0.03)
    np.testing.assert_array_equal(drawn, Drawn(0.5, 0.1, 0.9, seed=4)(20_000))


def test_a_patient_keeps_his_weight_until_the_next_one_comes() -> None:
    n = 60
    env = LearningVectorEnv(lanes(n), seeing(Drawn(0.8, 0.1, 0.9, seed=0)))
    seen, _ = env.reset(seed=2)
    changed = 0
    for _ in range(15):
        before = env.preference.copy()
        np.testing.assert_allclose(seen[:, env.seen - 1], before, rtol=1e-6)
        seen, _, terminated, truncated, info = env.step(np.zeros((n, 1), np.float32))
        np.testing.assert_array_equal(info["counts"], before == BALANCED)
        over = terminated | truncated
        np.testing.assert_array_equal(env.preference[~over], before[~over])
        changed += int((env.preference[over] != before[over]).sum())
    assert changed > n / 2


def test_harm_costs_by_the_odds_of_the_weight() -> None:
    n = 200
    env = LearningVectorEnv(lanes(n), seeing(Drawn(0.8, 0.1, 0.9, seed=0)))
    env.multiplier = 0.3
    env.reset(seed=2)
    counted = 0.0
    for _ in range(8):
        # twice to three times what monitoring gives
        weight = env.preference.copy()
        _, reward, *_, info = env.step(np.full((n, 1), 0.5, np.float32))
        cost = 0.3 * weight / (1 - weight) * info["event"]
        np.testing.assert_allclose(reward, info["benefit"] - cost, rtol=1e-12, atol=1e-12)
        counted += info["event"].sum()
    assert counted > 10


def test_visits_are_scored_at_the_odds_of_their_patients() -> None:
    visits = Visits.room(2, 3)
    shape = (2, len(CANDIDATES))
    visits.add(np.zeros((2, 3), np.float32), np.ones(shape), np.full(shape, 0.5), np.array([1.0, 4.0]))
    score = visits.score(np.array([0, 1, 1]), 0.1)
    np.testing.assert_allclose(score[:, 0], [1 - 0.05, 1 - 0.2, 1 - 0.2], rtol=1e-6)


def test_the_weight_is_the_last_feature_and_is_described(folder: Path) -> None:
    policy = LearnedPolicy.load(folder)
    assert policy.inputs.names[-1] == NAME
    assert [item.name for item in meanings(policy.inputs)] == list(policy.inputs.names)
    assert policy.departs_from_monitoring


def test_one_policy_doses_by_the_weight_it_is_told(folder: Path) -> None:
    env = lanes(100)
    observation, _ = env.reset(seed=1)
    doses = {w: arm(f"policy:{folder}@{w}", WARFARIN).predict(observation)[0] for w in (0.2, 0.5, 0.8)}
    np.testing.assert_array_equal(doses[0.5], arm(f"policy:{folder}", WARFARIN).predict(observation)[0])
    assert not np.array_equal(doses[0.2], doses[0.8])


def test_harm_falls_with_the_weight_of_safety_in_the_policy_that_ships() -> None:
    # docs/learning.md, 4,000 patients: 7.0, 2.2 and 1.1 % ever above INR 4; in range 82.7, 81.7 and 76.7 %
    arms = {str(w): arm(f"policy@{w}", WARFARIN) for w in (0.2, 0.5, 0.8)}
    result = run_trial(
        WARFARIN, arms, WARFARIN.population, range(300), Noise("trial", 1), WARFARIN.preset("clinic")
    )
    events = [result.arm(name).ever_harm.mean() for name in arms]
    assert events[0] > events[1] >= events[2]
    assert result.arm("0.2").benefit.mean() > result.arm("0.8").benefit.mean() + 0.03


def test_training_of_one_is_repeatable(folder: Path, tmp_path: Path) -> None:
    again = train(tiny(), 3, tmp_path / "run", progress=False)
    ends = [LearnedPolicy.load(path).card["weights_at_the_end"] for path in (again, folder)]
    assert ends[0] == ends[1]


def test_what_cannot_be_told_is_refused(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"preference 0.95: the policy of warfarin was trained for 0.2 to 0.8; choose"
    ):
        arm(f"policy:{folder}@0.95", WARFARIN)
    with pytest.raises(ValueError, match="policy@much: expected a number"):
        arm("policy@much", WARFARIN)
    text = tiny().text()
    for old, new, error in (
        ("range = [0.2, 0.8]", "range = [0.6, 0.8]", "expected 0 < smallest <= 0.5"),
        ("share = 0.5\nrange", "share = 1.0\nrange", "expected less than 1"),
    ):
        assert old in text
        with pytest.raises(ValueError, match=error):
            Preset.parse(text.replace(old, new), "preset")
