"""A learned policy as a regimen and as a folder: the same doses wherever it is loaded, and none that does not
fit."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents import arm
from dosewright.agents.learning import LearnedPolicy, Scaling, read_preset
from dosewright.agents.learning import policy as policy_module
from dosewright.agents.learning.policy import inputs_of
from dosewright.agents.learning.preset import BeliefPart, Preset
from dosewright.envs import Intake, Noise, Treatment, scenario

WARFARIN = scenario("warfarin")
Made = Callable[..., LearnedPolicy]


def preset_of(particles: int = 16, fade: float = 0.9, name: str = "warfarin") -> Preset:
    belief = BeliefPart(particles=particles, training_particles=8, fade=fade)
    return replace(read_preset(name), input=belief)


def visits(admitted: Callable[..., Intake], n: int) -> list[NDArray[np.float32]]:
    treatment, seen = Treatment(WARFARIN, admitted(n)), []
    for _ in range(5):
        seen.append(treatment.observe())
        treatment.give(np.full(n, 5.0))
    return seen


def doses(policy: LearnedPolicy, seen: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    state, out = None, []
    for observation in seen:
        dose, state = policy.predict(observation, state)
        out.append(dose)
    return np.array(out)


# ------------------------------------------------------------------------------------------------- dosing


def test_saved_policy_gives_the_same_doses_bit_for_bit(
    tmp_path: Path, admitted: Callable[..., Intake], policy: Made
) -> None:
    made, seen = policy(), visits(admitted, 20)
    made.save(tmp_path / "policy", preset_of())
    again = LearnedPolicy.load(tmp_path / "policy", "again")
    assert (
        again.name == "again" and again.card.items() >= made.card.items() and again.seed_namespace == "train"
    )
    assert again.action == "anchored" and again.scenario is WARFARIN
    assert np.array_equal(doses(made, seen), doses(again, seen))
    assert sorted(item.name for item in (tmp_path / "policy").iterdir()) == sorted(policy_module._FILES)


def test_the_belief_is_that_of_the_preset(
    tmp_path: Path, admitted: Callable[..., Intake], policy: Made
) -> None:
    made, seen = policy(32, 1.0), visits(admitted, 20)
    made.save(tmp_path / "policy", preset_of(32, 1.0))
    assert np.array_equal(doses(made, seen), doses(LearnedPolicy.load(tmp_path / "policy"), seen))
    made.save(tmp_path / "policy", preset_of(16, 1.0))
    assert not np.array_equal(doses(made, seen), doses(LearnedPolicy.load(tmp_path / "policy"), seen))


def test_splitting_the_patients_changes_no_bit(admitted: Callable[..., Intake], policy: Made) -> None:
    made, seen = policy(), visits(admitted, 300)  # more than one block of the network
    whole = doses(made, seen)
    for rows in (slice(0, 1), slice(7, 260), slice(255, 300)):
        assert np.array_equal(doses(made, [o[rows] for o in seen]), whole[:, rows])


def test_policy_departs_from_its_anchor(admitted: Callable[..., Intake], policy: Made) -> None:
    made, seen = policy(), visits(admitted, 50)
    anchor = doses(policy(zero=True), seen)
    assert np.mean(np.abs(doses(made, seen) / anchor - 1) > 0.1) > 0.2


def test_exploration_is_refused(observed: Callable[..., NDArray[np.float32]], policy: Made) -> None:
    with pytest.raises(ValueError, match="deterministic=False"):
        policy().predict(observed(), deterministic=False)


def test_policy_doses_the_genotype_mode_that_it_was_trained_for(
    tmp_path: Path, network: Callable[..., ActorCriticPolicy], scaling: Callable[[int], Scaling]
) -> None:
    known = WARFARIN.seen_as("phenotype")
    preset = replace(
        read_preset("warfarin-history"),
        scenario=replace(read_preset("warfarin").scenario, genotype="phenotype"),
    )
    inputs = inputs_of(preset, known)
    card = {
        "scenario": "warfarin", "scenario_version": known.version, "genotype": "phenotype",
        "seed_namespace": "train",
    }  # fmt: skip
    width = len(inputs.names)
    made = LearnedPolicy(known, inputs, network(width), scaling(width), card)
    made.save(tmp_path / "policy", preset)
    again = arm(f"policy:{tmp_path / 'policy'}", known)
    noise = Noise("select", 1)
    people = known.population.draw(known.model, known.base, np.arange(10), noise)
    seen = Treatment(
        known, Intake.prepare(known, people, noise, known.preset("clinic"), "phenotype")
    ).observe()
    np.testing.assert_array_equal(again.predict(seen)[0], made.predict(seen)[0])
    with pytest.raises(ValueError, match="a policy for warfarin; the genotype is shown to it in another way"):
        arm(f"policy:{tmp_path / 'policy'}", WARFARIN)


# ------------------------------------------------------------------------------------------------ refusals


@pytest.fixture
def folder(tmp_path: Path, policy: Made) -> Path:
    policy().save(tmp_path / "policy", preset_of())
    return tmp_path / "policy"


def test_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"weights.zip is missing; give a folder that `dosewright train` finished"
    ):
        LearnedPolicy.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", policy_module._FILES)
def test_half_written_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"policy .*: {name} is missing"):
        LearnedPolicy.load(folder)


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_policy_of_another_scenario_version_is_refused(folder: Path) -> None:
    rewrite(folder / "card.json", scenario_version=7)
    with pytest.raises(ValueError, match="made for warfarin version 7, this is version 0; train it again"):
        LearnedPolicy.load(folder)


def test_policy_of_another_layout_is_refused(folder: Path) -> None:
    names = json.loads((folder / "scaling.json").read_text())["features"]
    rewrite(folder / "scaling.json", features=names[::-1])
    apart = rf"made for another observation layout \('{names[-1]}', here '{names[0]}'\); train it again"
    with pytest.raises(ValueError, match=apart):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scenario", "tacrolimus"),
        ("scenario", "aspirin"),
        ("realism", "textbook"),
        ("genotype", "unknown"),
        ("algorithm", "sac"),
        ("action", "tablet"),
        ("warm_start", False),
        ("sees", {"history": {"visits": 4}}),
    ],
)
def test_a_card_of_another_preset_is_refused(folder: Path, key: str, value: Any) -> None:
    there = json.loads((folder / "card.json").read_text())[key]
    rewrite(folder / "card.json", **{key: value})
    words = f"policy {folder}: preset.toml says {key} {there!r}, card.json {value!r}; take the folder as"
    with pytest.raises(ValueError, match=re.escape(words)):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize("file", ["scaling.json", "preset.toml"])
def test_files_of_another_training_are_refused(folder: Path, file: str) -> None:
    """Also where they fit: the same features otherwise standardised, the same policy otherwise trained."""
    path = folder / file
    if file == "scaling.json":
        rewrite(path, mean=[value + 0.5 for value in json.loads(path.read_text())["mean"]])
    else:
        path.write_text(re.sub(r"budget = \S+", "budget = 5.0", path.read_text()))
    with pytest.raises(
        ValueError, match=f"policy {folder}: {file} has digest [0-9a-f]{{16}}, card.json says [0-9a-f]{{16}}"
    ):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"scenario": "warfarin"}'])
def test_broken_card_is_refused(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card.json or scaling.json is broken \(.*\); train it again"):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("scaling.json", "{}", "card.json or scaling.json is broken"),
        ("scaling.json", "[]", "card.json or scaling.json is broken"),
        ("preset.toml", "", "preset.toml: scenario is missing"),
        ("preset.toml", "[scenario", "preset.toml: no valid TOML"),
        ("weights.zip", "half", r"weights.zip is broken \(.*\); train it again"),
    ],
)
def test_broken_file_is_refused_by_name(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match=f"policy {folder}.*{message}"):
        LearnedPolicy.load(folder)


def test_weights_of_another_training_are_refused(folder: Path, tmp_path: Path, policy: Made) -> None:
    other = policy()
    with torch.no_grad():
        next(other.network.parameters()).add_(1.0)
    other.save(tmp_path / "other", preset_of())
    shutil.copy(tmp_path / "other" / "weights.zip", folder)
    with pytest.raises(
        ValueError, match="weights.zip has digest [0-9a-f]{16}, card.json says [0-9a-f]{16}; take"
    ):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("mean", lambda values: values[:-1]),
        ("mean", lambda values: values[:1]),
        ("sd", lambda values: [0.0, *values[1:]]),
        ("mean", lambda values: ["much", *values[1:]]),
    ],
)
def test_a_scaling_of_other_features_is_refused(folder: Path, key: str, change: Callable[..., Any]) -> None:
    file = folder / "scaling.json"
    rewrite(file, **{key: change(json.loads(file.read_text())[key])})
    with pytest.raises(ValueError, match=r"card.json or scaling.json is broken \(.*\); train it again"):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize("name", ["card.json", "preset.toml"])
def test_a_file_that_is_no_text_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\xff\xfe")
    with pytest.raises(ValueError, match=f"policy {folder}.*{name}"):
        LearnedPolicy.load(folder)


def test_a_policy_put_aside_by_a_killed_run_is_not_lost(folder: Path, policy: Made) -> None:
    folder.rename(folder.with_name("policy.old"))  # killed before the new one was in place

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    made = policy()
    made.network.save = killed  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        made.save(folder, preset_of())
    LearnedPolicy.load(folder)


def test_weights_of_another_algorithm_are_refused(folder: Path) -> None:
    preset = folder / "preset.toml"
    preset.write_text(preset_of(name="warfarin-sac").text())
    digests = json.loads((folder / "card.json").read_text())["files"]
    known = digests | {"preset.toml": policy_module._digest(preset)}
    rewrite(folder / "card.json", algorithm="sac", warm_start=False, files=known)
    with pytest.raises(ValueError, match=r"weights.zip is broken \(.*\); train it again"):
        LearnedPolicy.load(folder)
