"""`dosewright tune`: a small sweep by the command line, and what it refuses."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from dosewright.agents.learning import Preset, read_preset
from dosewright.agents.learning.search_space import changed
from dosewright.scripts.train import train
from dosewright.scripts.tune import tune

SPACE = "[ppo.learning_rate]\nlow = 1e-5\nhigh = 1e-2\nlog = true\n[policy.hidden]\nchoices = [[8], [4, 4]]\n"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Preset:
    """A preset of seconds and a space, in ``small.toml`` and ``space.toml`` of the working folder."""
    monkeypatch.chdir(tmp_path)
    small = changed(
        Preset.shipped("busulfan"),
        {
            "belief.particles": 16, "belief.training_particles": 16, "warm_start.patients": 8,
            "warm_start.rounds": 2, "warm_start.untrained": 1, "warm_start.ahead": 1,
            "warm_start.steps_per_round": 1, "warm_start.final_steps": 1, "warm_start.batch_size": 16,
            "ppo.environments": 8, "ppo.courses_per_update": 1, "evaluation.every": 32,
            "evaluation.patients": 10,
        },
        "small",
    )  # fmt: skip
    Path("small.toml").write_text(small.text())
    Path("space.toml").write_text(SPACE)
    return small


def dosewright_tune(*arguments: str, drug: str = "busulfan") -> Result:
    given = ("--config", "small.toml", "--space", "space.toml", "--timesteps", "64")
    return CliRunner().invoke(tune, [drug, *given, *arguments])


def refusal(done: Result) -> str:
    assert isinstance(done.exception, ValueError), done.output
    return str(done.exception)


@pytest.mark.oracles
def test_a_sweep_by_the_command_line(config: Preset) -> None:
    pytest.importorskip("optuna")
    done = dosewright_tune("--trials", "2")
    assert done.exit_code == 0, done.output
    best = Path("runs/tune-busulfan/best.toml")
    for words in ("trial 0: finished, rank ", "Bayesian", "policy.hidden", "2 trials: 2 finished", str(best)):
        assert words in done.output
    assert done.stdout.count("Research simulation, not for clinical use.") == 1
    assert sorted(path.name for path in Path("runs").iterdir()) == ["tune-busulfan", "tune-busulfan.db"]
    # the very same by the same command
    again = dosewright_tune("--trials", "2", "-f", "again")
    assert again.stdout == done.stdout.replace("runs/", "again/")
    assert Path("again/tune-busulfan/best.toml").read_text() == best.read_text()
    assert "study 'busulfan' is in sqlite:///runs/tune-busulfan.db already" in refusal(dosewright_tune())
    # one more trial, which leaves the others as they are
    more = dosewright_tune("--trials", "3", "--resume")
    assert more.exit_code == 0 and "3 trials: " in more.stdout, more.output
    assert "trial 2: " in more.stderr and "trial 1: " not in more.stderr
    # what is best can be trained
    preset = read_preset(str(best))
    assert preset.algorithm.timesteps == 64 and preset.policy.hidden in ([8], [4, 4])
    trained = CliRunner().invoke(train, ["busulfan", "--config", str(best)])
    assert trained.exit_code == 0 and "policy: runs/" in trained.output


@pytest.mark.oracles
def test_ctrl_c_says_how_to_go_on(config: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    from dosewright.agents.learning import tune as tune_module

    def stop(*_: Any, **__: Any) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(tune_module, "train", stop)
    done = CliRunner().invoke(tune, ["busulfan", "--config", "small.toml"], standalone_mode=False)
    # as `dosewright.scripts.cli.run` shows it
    assert isinstance(done.exception, click.Abort)
    said = str(done.exception.__cause__)
    assert "kept in sqlite:///runs/tune-busulfan.db: go on by the same command with --resume" in said


@pytest.mark.oracles
def test_a_sweep_that_is_not_there_is_not_gone_on_with(config: Preset) -> None:
    pytest.importorskip("optuna")
    words = "--resume: no study 'busulfan' in sqlite:///runs/tune-busulfan.db; leave --resume"
    assert words in refusal(dosewright_tune("--resume"))
    assert sorted(path.name for path in Path().iterdir()) == ["small.toml", "space.toml"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", "none.toml"), "preset none.toml: file not found"),
        (
            ("--config", "tacrolimus"),
            "preset tacrolimus, [scenario]: drug = 'tacrolimus', asked for busulfan; name the drug of the",
        ),
        (("--space", "none.toml"), "search space none.toml: file not found"),
        (("--config", "busulfan-sac"), "search space space.toml: the preset has no table [ppo]"),
        (("--study", "a/b"), "--study 'a/b': names a folder"),
        (("--study", ".."), "--study '..': names a folder"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_made(
    arguments: tuple[str, ...], words: str, config: Preset
) -> None:
    assert words in refusal(dosewright_tune(*arguments))
    assert sorted(path.name for path in Path().iterdir()) == ["small.toml", "space.toml"]


def test_an_unknown_drug_is_refused(config: Preset) -> None:
    assert "unknown drug 'aspirin'" in refusal(dosewright_tune(drug="aspirin"))


def test_without_optuna_the_remedy_is_said(config: Preset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    assert 'Optuna is not there; pip install "dosewright[tune]"' in refusal(dosewright_tune())
    assert not Path("runs/tune-busulfan").exists()
