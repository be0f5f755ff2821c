"""Whoever watches a training hears of every evaluation, and may end it without harm to its folder."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dosewright.agents.learning import LearnedPolicy, Preset, train
from dosewright.agents.learning.search_space import changed
from dosewright.agents.learning.selection import Score

TINY = changed(
    Preset.shipped("busulfan"),
    {
        "belief.particles": 16, "belief.training_particles": 16, "policy.hidden": [8], "ppo.timesteps": 96,
        "warm_start.patients": 8, "warm_start.rounds": 2, "warm_start.untrained": 1, "warm_start.ahead": 1,
        "warm_start.steps_per_round": 1, "warm_start.final_steps": 1, "warm_start.batch_size": 16,
        "ppo.environments": 8, "ppo.courses_per_update": 1, "evaluation.every": 32, "evaluation.patients": 10,
    },
    "tiny",
)  # fmt: skip


class Enough(Exception):
    pass


def test_every_evaluation_is_reported_and_an_exception_ends_the_training(tmp_path: Path) -> None:
    heard: list[dict[str, Any]] = []

    def report(steps: int, score: Score) -> None:
        heard.append({"steps": steps, **asdict(score)})
        assert (tmp_path / "run" / "checkpoint.zip").is_file()
        if steps > 0 and len(heard) == 2:
            raise Enough

    with pytest.raises(Enough):
        train(TINY, 1, tmp_path / "run", progress=False, report=report)
    assert [entry["steps"] for entry in heard] == [0, 32]
    LearnedPolicy.load(tmp_path / "run" / "policy")
    train(TINY, 1, tmp_path / "run", resume=True, progress=False, report=report)
    curve = json.loads((tmp_path / "run" / "progress.json").read_text())["curve"]
    assert [{name: value for name, value in entry.items() if name != "price"} for entry in curve] == heard
    assert heard[-1]["steps"] == 96


def test_an_interruption_is_not_hidden_by_the_report(tmp_path: Path) -> None:
    calls: list[int] = []

    def report(steps: int, score: Score) -> None:
        calls.append(steps)
        raise KeyboardInterrupt if len(calls) == 1 else Enough

    with pytest.raises(KeyboardInterrupt):
        train(TINY, 1, tmp_path / "run", progress=False, report=report)
    assert calls == [0] and (tmp_path / "run" / "policy" / "card.json").is_file()
