"""What ``dosewright trial`` puts into its report besides the arms: other worlds, training seeds, hashes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from dosewright.scripts.trial import trial


@pytest.fixture(autouse=True)
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the page, which takes seconds."""
    monkeypatch.setattr("dosewright.evaluation.report.write_report", lambda *_: None)


def run(tmp_path: Path, *arguments: str) -> Any:
    common = ("warfarin", "--arms", "fixed-5mg,fixed-3mg,label", "--patients", "40")
    return CliRunner().invoke(trial, [*common, "--out", str(tmp_path / "out"), *arguments])


def test_other_worlds_and_training_seeds_are_in_the_result(tmp_path: Path) -> None:
    done = run(tmp_path, "--sensitivity", "12", "--same-training", "fixed = fixed-5mg, fixed-3mg")
    assert done.exit_code == 0, done.output
    found = json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))
    assert found["sensitivity"]["patients"] == 12
    assert {found["sensitivity"]["arm"], found["sensitivity"]["against"]} <= set(found["arms"])
    assert found["training_seeds"]["fixed"]["arms"] == ["fixed-5mg", "fixed-3mg"]
    # no learned policy, no hash of one; the code always has one
    assert found["provenance"]["arms"] == {} and "SHA-256" in found["provenance"]["code"]


def test_other_worlds_can_be_left_out(tmp_path: Path) -> None:
    done = run(tmp_path, "--sensitivity", "0")
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "out" / "result.json").read_text(encoding="utf-8"))["sensitivity"] is None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--same-training", "fixed-5mg,fixed-3mg"), "expected NAME=ARM,ARM, every name once"),
        (("--same-training", "a=fixed-5mg,six"), "'six' is no arm of this trial"),
        (("--same-training", "a=fixed-5mg"), "expected at least two, each once"),
        (("--same-training", "a=fixed-5mg,label"), "'label' is the reference"),
        (("--sensitivity", "1"), "--sensitivity 1: an interval needs two patients"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_work(
    arguments: tuple[str, ...], words: str, tmp_path: Path
) -> None:
    done = run(tmp_path, *arguments)
    assert isinstance(done.exception, ValueError) and words in str(done.exception)
    assert not list(tmp_path.iterdir())
