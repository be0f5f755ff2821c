"""The command line: quick to start, and one line for wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from dosewright.envs.scenarios.scenario import GENOTYPE_MODES
from dosewright.scripts.choices import GENOTYPE
from dosewright.scripts.cli import run

SLOW_TO_IMPORT = ("torch", "numba", "gymnasium", "polars", "stable_baselines3", "numpy", "matplotlib")


def dosewright(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dosewright.scripts.cli", *arguments], capture_output=True, text=True, cwd=cwd
    )


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    message = [line for line in done.stderr.splitlines() if "compiling" not in line]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert len(message) == 1, message
    assert all(word in message[0] for word in words), message


def test_help_imports_nothing_that_is_slow() -> None:
    code = (
        "import sys\nfrom dosewright.scripts.cli import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        f"print('LOADED', [m for m in {SLOW_TO_IMPORT!r} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("LOADED []")
    assert all(command in done.stdout for command in ("demo", "train", "trial"))


def test_the_commands_know_every_genotype_mode() -> None:
    assert tuple(GENOTYPE.choices) == GENOTYPE_MODES


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "aspirin"), ("unknown drug 'aspirin'", "warfarin")),
        (("trial", "aspirin", "--out", "x"), ("unknown drug 'aspirin'", "warfarin")),
        (("trial", "warfarin", "--arms", "label,gess", "--out", "x"), ("unknown arm 'gess'", "nomogram")),
        (("trial", "warfarin", "--arms", "label,label", "--out", "x"), ("'label' is listed twice",)),
        (("trial", "warfarin", "--arms", "fixed-5.3mg", "--out", "x"), ("5.3", "steps of 0.5")),
        (("trial", "warfarin", "--arms", "policy:nowhere", "--out", "x"), ("nowhere", "is missing")),
        (("trial", "warfarin", "--realism", "lab", "--out", "x"), ("unknown realism 'lab'", "textbook")),
        (
            ("trial", "warfarin", "--cohort", "none.csv", "--arms", "label", "--out", "x"),
            ("none.csv", "not found"),
        ),
        (("trial", "warfarin", "--reference", "nomogram", "--arms", "label", "--out", "x"), ("--reference",)),
        (("train", "warfarin", "--config", "none.toml"), ("none.toml", "not found")),
        (("train", "warfarin", "--resume", "none"), ("--resume none", "no checkpoint")),
        (("train", "warfarin", "--resume", "none", "--seed", "7"), ("--seed",)),
        (("train", "warfarin", "--resume", "none", "-f", "runs"), ("-f",)),
        (("trial", "warfarin", "--patients", "0", "--out", "x"), ("--patients", "0")),
        (("trial", "warfarin", "--out", "/dev/null/x"), ("/dev/null", "no folder")),
        (("trial", "warfarin"), ("--out", "trial --help")),
        (("trial", "warfarin", "--cohort", ".", "--arms", "label", "--out", "x"), ("is a folder", "CSV")),
        (("train", "warfarin", "-f", "/dev/null/runs", "-n", "1"), ("/dev/null", "choose another path")),
        (("train", "warfarin", "--seed", "-1"), ("seed",)),
    ],
)
def test_wrong_input_is_one_message_and_exit_code_2(
    arguments: tuple[str, ...], words: tuple[str, ...], tmp_path: Path
) -> None:
    assert_refused(dosewright(*arguments, cwd=tmp_path), *words)
    assert not (tmp_path / "x").exists()


def test_trial_writes_a_result_and_refuses_to_overwrite_it(tmp_path: Path) -> None:
    arguments = ("trial", "warfarin", "--arms", "fixed-5mg,label", "--patients", "50", "--out", "out")
    first = dosewright(*arguments, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("not for clinical use") == 1
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "result.json",
        "patients.parquet",
        "report.html",
    }
    before = (tmp_path / "out" / "result.json").read_bytes()
    assert_refused(dosewright(*arguments, cwd=tmp_path), "out", "--overwrite")
    assert (tmp_path / "out" / "result.json").read_bytes() == before
    again = dosewright(*arguments, "--overwrite", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    old, new = json.loads(before), json.loads((tmp_path / "out" / "result.json").read_text())
    # the same command gives the same numbers; only times and the command differ
    for arm, figures in old["arms"].items():
        assert _timeless(figures) == _timeless(new["arms"][arm])


def _timeless(figures: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in figures.items() if key not in ("seconds", "ms_per_decision")}


def test_unknown_cohort_column_is_named_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("age_group,sexx\n60 - 69,male\n")
    done = dosewright(
        "trial", "warfarin", "--cohort", "people.csv", "--arms", "label", "--out", "x", cwd=tmp_path
    )
    assert_refused(done, "unknown column 'sexx'", "did you mean 'sex'")


@pytest.mark.parametrize(
    ("said", "expected"), [("", "stopped"), ("go on with --resume", "go on with --resume")]
)
def test_ctrl_c_says_how_to_go_on(
    said: str, expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @click.command()
    def stopping() -> None:
        raise KeyboardInterrupt(said) if said else KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["stopping"])
    with pytest.raises(SystemExit) as stop:
        run(stopping)
    assert stop.value.code == 130
    assert capsys.readouterr().err.strip() == f"dosewright: {expected}"
