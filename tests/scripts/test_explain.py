"""`dosewright explain` and `dosewright export` on a policy's folder."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from gymnasium import spaces
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.learning import LearnedPolicy, Scaling, read_preset
from dosewright.agents.learning.policy import inputs_of
from dosewright.agents.learning.preset import BeliefPart, ScenarioPart
from dosewright.envs import scenario
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.scripts.cli import cli


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warfarin policy with an untrained network."""
    return untrained(tmp_path_factory.mktemp("run") / "policy", "diplotype")


def untrained(path: Path, genotype: GenotypeMode) -> Path:
    """A warfarin policy with an untrained network, for patients whose genotype is known so."""
    preset = replace(
        read_preset("warfarin"),
        scenario=ScenarioPart("warfarin", "clinic", genotype),
        input=BeliefPart(16, 16, 0.9),
    )
    known = scenario("warfarin").seen_as(genotype)
    inputs = inputs_of(preset, known)
    width = len(inputs.names)
    torch.manual_seed(0)
    network = ActorCriticPolicy(
        spaces.Box(-np.inf, np.inf, (width,), np.float32),
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        lambda _: 1e-3,
        net_arch=[16],
    )
    with torch.no_grad():
        assert isinstance(network.action_net, torch.nn.Linear)
        network.action_net.weight.mul_(30.0)
    card = {
        "scenario": "warfarin", "scenario_version": known.version, "seed_namespace": "train",
        "realism": "clinic", "genotype": genotype,
    }  # fmt: skip
    scaling = Scaling(np.zeros(width, np.float32), np.ones(width, np.float32))
    LearnedPolicy(known, inputs, network, scaling, card).save(path, preset)
    return path


def test_explain_prints_what_the_page_says(folder: Path, tmp_path: Path) -> None:
    arguments = ["explain", "warfarin", "--policy", str(folder), "--patients", "20", "--out"]
    done = CliRunner().invoke(cli, [*arguments, str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert done.output.count("not for clinical use") == 1
    record = json.loads((tmp_path / "out" / "result.json").read_text())
    assert (tmp_path / "out" / "explain.html").is_file() and record["patients"] == 20
    assert all(sentence in done.output for sentence in record["answer"])
    assert all(rule["when"] in done.output for rule in record["surrogate"]["rules"])
    # rules that hardly explain the policy are not shown as what it does
    told = record["surrogate"]["fidelity"]["r_squared"]
    assert f"(R² {told:.2f} of its multiple, on other patients)" in done.output
    page = (tmp_path / "out" / "explain.html").read_text()
    assert f"explain {100 * max(told, 0):.0f} % of the variance" in page
    assert ("do not describe it well" in page) == (told < 0.5)
    again = CliRunner().invoke(cli, [*arguments, str(tmp_path / "out")])
    assert isinstance(again.exception, ValueError) and "--overwrite" in str(again.exception)


def test_a_policy_that_sees_phenotypes_is_of_the_same_drug(tmp_path: Path) -> None:
    policy = untrained(tmp_path / "run" / "policy", "phenotype")
    arguments = ["explain", "warfarin", "--policy", str(policy), "--patients", "4"]
    done = CliRunner().invoke(cli, [*arguments, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.exception
    assert json.loads((tmp_path / "out" / "result.json").read_text())["genotype"] == "phenotype"


def test_explain_refuses_a_policy_of_another_drug(folder: Path, tmp_path: Path) -> None:
    arguments = ["explain", "tacrolimus", "--policy", str(folder), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(cli, arguments)
    assert "a policy for warfarin, this is tacrolimus" in str(done.exception)
    assert not (tmp_path / "out").exists()


@pytest.mark.oracles
def test_export_writes_the_network_and_its_features(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    out = tmp_path / "policy.onnx"
    done = CliRunner().invoke(cli, ["export", f"policy:{folder}", "--out", str(out)])
    assert done.exit_code == 0, done.output
    assert out.is_file() and (tmp_path / "policy.features.csv").is_file()
    assert str(out) in done.output and done.output.count("not for clinical use") == 1
    again = CliRunner().invoke(cli, ["export", f"policy:{folder}", "--out", str(out)])
    assert f"{out} exists already" in str(again.exception)
    out.unlink()
    again = CliRunner().invoke(cli, ["export", f"policy:{folder}", "--out", str(out)])
    assert "policy.features.csv exists already" in str(again.exception) and not out.exists()


def test_export_names_what_is_wrong(tmp_path: Path) -> None:
    done = CliRunner().invoke(cli, ["export", "warfarin", "--out", str(tmp_path / "policy.pt")])
    assert "ends in .onnx" in str(done.exception)
    done = CliRunner().invoke(cli, ["export", "aspirin", "--out", str(tmp_path / "policy.onnx")])
    assert "no policy ships for 'aspirin'" in str(done.exception)


def test_the_page_of_a_trial_explains_its_policy(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [
        "trial",
        "warfarin",
        "--arms",
        f"label,policy:{folder}",
        "--patients",
        "20",
        "--out",
        str(out),
    ]
    done = CliRunner().invoke(cli, [*arguments, "--sensitivity", "0", "--explain", "12"])
    assert done.exit_code == 0, done.output
    result, page = json.loads((out / "result.json").read_text()), (out / "report.html").read_text()
    assert result["explanation"]["patients"] == 12 and result["explanation"]["policy"]["name"] == "policy"
    for head in (
        "Which features decide",
        "Rules that imitate the policy",
        "Dose against the two most important",
    ):
        assert head in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    left_out = CliRunner().invoke(cli, [*arguments, "--sensitivity", "0", "--explain", "0", "--overwrite"])
    assert left_out.exit_code == 0, left_out.output
    assert json.loads((out / "result.json").read_text())["explanation"] is None
    assert "Which features decide" not in (out / "report.html").read_text()
