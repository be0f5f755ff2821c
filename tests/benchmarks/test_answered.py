"""The study of answers: what it overhears is what the target says, and its first look is right."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import answered
from dosewright.agents import arm
from dosewright.agents.regimens import Noisy, Relative
from dosewright.envs import Noise, scenario
from dosewright.evaluation import record, target_log_prob

WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")
NOMOGRAM = arm("nomogram", WARFARIN)


def test_what_is_overheard_is_what_the_target_says() -> None:
    ear = answered.Overheard(NOMOGRAM, WARFARIN, [])
    clinician = Noisy(WARFARIN, ear, answered.moved(WARFARIN))
    log = record(
        WARFARIN, clinician, WARFARIN.population, np.arange(250), Noise("select", 1), CLINIC, block=100
    )
    heard = answered.overheard_log_prob(log, ear.heard, WARFARIN)
    np.testing.assert_array_equal(heard, target_log_prob(log, NOMOGRAM, WARFARIN))
    # two of eleven doses are moved on average
    assert np.isneginf(heard).sum(axis=1).mean() == pytest.approx(2.0, abs=0.3)


def test_the_first_look_says_what_the_whole_log_would(monkeypatch: pytest.MonkeyPatch) -> None:
    other = Noisy(WARFARIN, arm("label", WARFARIN), Relative(0.3))
    log = record(WARFARIN, other, WARFARIN.population, np.arange(200), Noise("select", 1), CLINIC)
    monkeypatch.setattr(answered, "LOGS", 1)
    first, whole = answered._asked(log, NOMOGRAM, WARFARIN), target_log_prob(log, NOMOGRAM, WARFARIN)
    np.testing.assert_array_equal(first[:, : answered.FIRST_LOOK], whole[:, : answered.FIRST_LOOK])
    late = log.mask[:, answered.FIRST_LOOK :]
    assert np.isneginf(first[:, answered.FIRST_LOOK :][late]).all()
    # where many could still be answered, everything is asked
    same = Noisy(WARFARIN, NOMOGRAM, answered.moved(WARFARIN))
    log = record(WARFARIN, same, WARFARIN.population, np.arange(200), Noise("select", 1), CLINIC)
    np.testing.assert_array_equal(
        answered._asked(log, NOMOGRAM, WARFARIN), target_log_prob(log, NOMOGRAM, WARFARIN)
    )


def test_a_small_study_is_judged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, size in (("LOGS", 2), ("PATIENTS", 150), ("TRUTH", 400)):
        monkeypatch.setattr(answered, name, size)
    monkeypatch.setattr(
        answered, "targets", lambda problem, preset: dict.fromkeys(("monitoring", "learned"), NOMOGRAM)
    )
    run = CliRunner()
    made = run.invoke(answered.answered, ["simulate", str(tmp_path), "warfarin"])
    assert made.exit_code == 0, made.output
    assert len(list(tmp_path.glob("warfarin-*.npz"))) == 6
    told = run.invoke(answered.answered, ["judge", str(tmp_path), "--csv", str(tmp_path / "lines.csv")])
    assert told.exit_code == 0, told.output
    assert "every target and outcome, on 1 of 1 drugs" in told.output
    lines = (tmp_path / "lines.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("drug,target,clinician,outcome,logs,answered,covered")
    # two targets, two clinicians, three outcomes
    assert len(lines) == 1 + 12
    again = run.invoke(answered.answered, ["simulate", str(tmp_path), "warfarin"])
    assert again.output == ""
