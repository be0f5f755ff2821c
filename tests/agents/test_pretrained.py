"""The policies that ship: each loads, is of today's scenario, says how it was made, and doses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dosewright.agents import arm, load, shipped
from dosewright.agents.learning import read_preset
from dosewright.envs import AutoresetMode, DosingVectorEnv, Noise, names, scenario
from dosewright.evaluation import run_trial

POLICIES = shipped()
BOARD = json.loads((Path(__file__).parents[2] / "docs/leaderboard/result.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("drug", names())
def test_every_drug_has_one(drug: str) -> None:
    assert drug in POLICIES


@pytest.mark.parametrize("drug", BOARD["training"])
def test_what_ships_is_of_the_board_or_monitoring_where_that_is_not_surpassed(drug: str) -> None:
    card = load(drug).card
    if drug in BOARD["not_surpassed"]:
        assert not card["trained"]  # doses as monitoring does
    else:
        assert card["weights"] in [entry["weights"] for entry in BOARD["training"][drug]]


def test_what_is_not_there_is_refused_with_what_is() -> None:
    with pytest.raises(
        ValueError, match=f"no policy ships for 'aspirin'; there is one for: {', '.join(POLICIES)}"
    ):
        load("aspirin")


@pytest.mark.parametrize("name", POLICIES)
def test_a_card_says_what_must_be_known(name: str) -> None:
    policy, preset = load(name), read_preset(name)
    card = policy.card
    assert card["scenario"] == policy.scenario.name == preset.scenario.drug
    assert card["seed_namespace"] == policy.seed_namespace == "train"
    assert card["notice"] == "Research simulation, not for clinical use."
    assert card["changes_with"] and card["weights"] and card["versions"]["torch"]
    # what ships is a policy of the curve or, where none surpassed it, the untrained one
    chosen, monitoring = card["select"]["policy"], card["select"]["bayesian, same fading"]
    if card["trained"]:
        assert any(chosen["benefit"] == point["benefit"] for point in card["curve"])
    else:
        assert chosen == monitoring
    # what a policy ships with is what the preset of its name says, but for budgets of training
    assert (policy.action, card["realism"]) == (preset.policy.action, preset.scenario.realism)


@pytest.mark.parametrize("name", POLICIES)
def test_no_feature_is_measured_in_roundings(name: str) -> None:
    # what never varied in training, such as the days until the next visit, has no SD of its own: single
    # precision gives it one of 1e-7 to 1e-5, by which another visit interval would be off the scale
    scaling = load(name).scaling
    assert (scaling.sd > 1e-3 * np.abs(scaling.mean)).all()


@pytest.mark.parametrize("name", POLICIES)
def test_it_doses_every_patient_within_the_grid_and_the_same_twice(name: str) -> None:
    policy, n = load(name), 12
    known = policy.scenario
    env = DosingVectorEnv(known.name, n, namespace="select", autoreset_mode=AutoresetMode.SAME_STEP)
    observation, _ = env.reset(seed=4)
    dose, state = policy.predict(observation)
    again, _ = arm("policy" if name == known.name else "policy@0.5", known).predict(observation)
    np.testing.assert_array_equal(dose, again)
    given = known.doses.snap(dose)
    assert np.isfinite(dose).all() and dose.min() >= 0 and 0 < given.max()
    observation, *_ = env.step(dose)
    assert np.isfinite(policy.predict(observation, state)[0]).all()


def test_harm_falls_as_safety_weighs_more() -> None:
    known, weights = scenario("warfarin"), (0.2, 0.5, 0.8)
    arms = {f"{weight}": arm(f"policy@{weight}", known) for weight in weights}
    clinic, noise = known.preset("clinic"), Noise("select", 7)
    found = run_trial(known, arms, known.population, np.arange(1000), noise, clinic)
    events = [found.arm(f"{weight}").ever_harm.mean() for weight in weights]
    benefit = [found.arm(f"{weight}").benefit.mean() for weight in weights]
    # one policy: fewer patients ever above INR 4, and fewer days in range, from weight to weight
    assert events[0] > events[1] > events[2]
    assert benefit[0] > benefit[1] > benefit[2]
