"""Sweeps: repeatable, resumable, judged by one yardstick, and never mixed with another's.

Most of it with a training that only pretends; they need Optuna (`make test-extras` installs it).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from dosewright.agents.learning import Preset, read_preset
from dosewright.agents.learning import study as study_module
from dosewright.agents.learning import tune as tune_module
from dosewright.agents.learning.preset import PPOPart
from dosewright.agents.learning.search_space import SearchSpace, changed
from dosewright.agents.learning.selection import Score, Selection
from dosewright.agents.learning.tune import SweepResult, tune

pytestmark = pytest.mark.oracles
optuna = pytest.importorskip("optuna")

BASE = changed(
    Preset.shipped("busulfan"),
    {"evaluation.patients": 20, "evaluation.every": 100, "ppo.timesteps": 400, "belief.particles": 16},
    "base",
)
SPACE = """
[ppo.learning_rate]
low = 1e-5
high = 1e-3
log = true
[ppo.epochs]
low = 1
high = 9
[policy.hidden]
choices = [[8], [8, 8], [16, 16]]
"""
Report = Callable[[int, Score], None]


def part(preset: Preset) -> PPOPart:
    assert isinstance(preset.algorithm, PPOPart)
    return preset.algorithm


def benefit(preset: Preset) -> float:
    """Of the pretended training: best at a learning rate of 3e-4 and 5 epochs."""
    return 0.9 - abs(part(preset).learning_rate - 3e-4) * 300 - 0.01 * abs(part(preset).epochs - 5)


class Pretended:
    """A training that only says how good it is: it rises to `benefit`, a twentieth an evaluation."""

    def __init__(self) -> None:
        self.seeds: list[int] = []
        self.steps: dict[str, list[int]] = {}
        self.benefit = benefit
        self.before: Callable[[int], None] = lambda number: None  # called with the trainings so far

    def __call__(self, preset: Preset, seed: int, folder: Path, progress: bool, report: Report) -> Path:
        self.before(len(self.seeds))
        self.seeds.append(seed)
        (folder / "policy").mkdir()
        heard = self.steps[folder.name] = []
        for steps in range(0, 401, 100):
            heard.append(steps)
            score = Score(0.0, self.benefit(preset) - 0.05 * (4 - steps / 100), 0.0, 0.3)
            card = {"select": {"policy": asdict(score)}}
            (folder / "policy" / "card.json").write_text(json.dumps(card))
            report(steps, score)
        return folder / "policy"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    made = Pretended()
    monkeypatch.setattr(tune_module, "train", made)
    return made


def database(place: Path) -> str:
    return f"sqlite:///{place}.db"


def sweep(
    place: Path, trials: int = 3, preset: Preset = BASE, space: str = SPACE, **others: Any
) -> SweepResult:
    asked: dict[str, Any] = {"storage": "sqlite://", "study_name": "busulfan", "seed": 1, "folder": place}
    varied = SearchSpace.parse(space, "space", preset)
    return tune(preset, varied, trials, **{**asked, "progress": False, **others})


def kept_sweep(place: Path, *arguments: Any, **others: Any) -> SweepResult:
    """A sweep that another can go on with."""
    return sweep(place, *arguments, **{"storage": database(place), **others})


def numbers(found: SweepResult) -> list[Any]:
    return [(trial.outcome, trial.values, trial.seed, trial.rank) for trial in found.trials]


def test_the_same_seed_gives_the_same_sweep(tmp_path: Path, training: Pretended) -> None:
    one, again = sweep(tmp_path / "one"), sweep(tmp_path / "again")
    other = sweep(tmp_path / "other", seed=2)
    assert numbers(one) == numbers(again)
    assert not {trial.seed for trial in one.trials} & {trial.seed for trial in other.trials}
    assert one.trials[0].values["ppo.learning_rate"] != other.trials[0].values["ppo.learning_rate"]
    assert len({trial.seed for trial in one.trials}) == 3


def test_the_best_trial_is_the_first_and_its_preset_is_a_file(tmp_path: Path, training: Pretended) -> None:
    found = sweep(tmp_path / "s", 12)
    finished = [trial for trial in found.trials if trial.outcome == "finished"]
    best = finished[0]
    assert best.rank == max(trial.rank or 0.0 for trial in finished)
    assert isinstance(best.values["policy.hidden"], list)
    preset = read_preset(str(found.best_preset))
    assert found.best_preset == tmp_path / "s" / "best.toml"
    assert preset == changed(BASE, best.values, "best")
    assert best.score is not None and best.score.benefit == pytest.approx(benefit(preset))
    assert best.folder == tmp_path / "s" / f"trial-{best.number}" and best.folder.is_dir()


def test_a_looser_budget_in_training_is_no_better_rank(tmp_path: Path, training: Pretended) -> None:
    space = "[harm.budget]\nlow = 0.1\nhigh = 50.0"
    found, judge = sweep(tmp_path / "s", 4, space=space), Selection(BASE)
    assert len({trial.values["harm.budget"] for trial in found.trials}) == 4
    assert judge.budget < 0.3  # the share with the event of every pretended policy
    expected = benefit(BASE) - (0.3 - judge.budget)
    assert [trial.rank for trial in found.trials] == pytest.approx([expected] * 4)
    assert found.baseline == judge.baseline and found.baseline_rank == judge.rank(judge.baseline)


def test_trainings_that_are_behind_are_cut_short(tmp_path: Path, training: Pretended) -> None:
    found = sweep(tmp_path / "s", 16)
    outcomes = {f"trial-{trial.number}": trial.outcome for trial in found.trials}
    assert 2 <= sum(outcome == "pruned" for outcome in outcomes.values()) <= 11  # the first five never are
    for name, steps in training.steps.items():
        assert (steps[-1] == 400) == (outcomes[name] == "finished"), name
    ranks = {
        kind: [t.rank or 0.0 for t in found.trials if t.outcome == kind] for kind in ("finished", "pruned")
    }
    assert max(ranks["pruned"]) < max(ranks["finished"])
    order = [trial.outcome for trial in found.trials]
    assert order == sorted(order)  # finished ones first


def test_a_sweep_that_was_stopped_comes_to_what_it_would_have_come_to(
    tmp_path: Path, training: Pretended
) -> None:
    whole = sweep(tmp_path / "whole", 14)
    training.seeds.clear()

    def stop(number: int) -> None:
        if number in (4, 11):  # before and after TPE has learned from its first ten trials
            training.seeds.append(-1)
            raise KeyboardInterrupt

    training.before = stop
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            kept_sweep(tmp_path / "parts", 14, resume=resume)
    stored = optuna.load_study(study_name="busulfan", storage=database(tmp_path / "parts"))
    states = [trial.state.name for trial in stored.trials]
    assert states.count("FAIL") == 2 and states.count("RUNNING") == 0
    parts = kept_sweep(tmp_path / "parts", 14, resume=True)
    assert numbers(parts) == numbers(whole)
    assert {trial.number for trial in parts.trials} == set(range(16)) - {4, 11}
    assert training.seeds.count(-1) == 2 and len(training.seeds) == 16
    # nothing is left to do
    assert (
        numbers(kept_sweep(tmp_path / "parts", 14, resume=True)) == numbers(whole)
        and len(training.seeds) == 16
    )


def test_a_trial_whose_process_was_killed_does_not_count(tmp_path: Path, training: Pretended) -> None:
    whole = sweep(tmp_path / "whole", 4)
    kept_sweep(tmp_path / "s", 2)
    stored = optuna.load_study(study_name="busulfan", storage=database(tmp_path / "s"))
    stored.ask()
    assert numbers(kept_sweep(tmp_path / "s", 4, resume=True)) == numbers(whole)
    assert stored.trials[2].state.name == "FAIL"


def test_a_training_that_breaks_is_kept_with_its_reason(tmp_path: Path, training: Pretended) -> None:
    def diverge(number: int) -> None:
        if number == 1:
            training.seeds.append(-1)
            raise ValueError("the network is\nnot a number")

    training.before = diverge
    told: list[tuple[int, str, str]] = []
    found = sweep(
        tmp_path / "s", 4, told=lambda trial: told.append((trial.number, trial.outcome, trial.reason))
    )
    assert [outcome for _, outcome, _ in told] == ["finished", "failed", "finished", "finished"]
    assert told[1] == (1, "failed", "the network is not a number")
    assert found.trials[-1].number == 1 and found.trials[-1].rank is None and len(found.trials) == 4
    # its draw is not repeated
    assert len({trial.values["ppo.learning_rate"] for trial in found.trials}) == 4


def test_a_rank_that_is_no_number_is_a_training_that_broke(tmp_path: Path, training: Pretended) -> None:
    training.benefit = lambda preset: float("nan")
    with pytest.raises(
        ValueError, match=r"no training of 2 finished; trial 0 \(policy.hidden = .*rank .* nan"
    ):
        sweep(tmp_path / "s", 2)
    assert not (tmp_path / "s" / "best.toml").exists()


def test_what_is_not_a_failure_of_the_training_ends_the_sweep(tmp_path: Path, training: Pretended) -> None:
    def full(number: int) -> None:
        raise OSError(28, "No space left on device")

    training.before = full
    with pytest.raises(OSError, match="No space left"):
        kept_sweep(tmp_path / "s")
    training.before = lambda number: None
    assert len(kept_sweep(tmp_path / "s", resume=True).trials) == 3


def test_an_existing_study_is_gone_on_with_only_if_told_to(tmp_path: Path, training: Pretended) -> None:
    with pytest.raises(ValueError, match=r"--resume: no study 'busulfan' in sqlite.*leave --resume out"):
        kept_sweep(tmp_path / "s", resume=True)
    assert list(tmp_path.iterdir()) == []
    kept_sweep(tmp_path / "s", 1)
    with pytest.raises(ValueError, match=r"study 'busulfan' is in sqlite.*s.db already; .*--resume.*--study"):
        kept_sweep(tmp_path / "s", 1, folder=tmp_path / "elsewhere")
    with pytest.raises(
        ValueError, match=r"folder .*s is not empty, but study 'second' is not in sqlite.*--study"
    ):
        kept_sweep(tmp_path / "s", 1, study_name="second")
    assert len(kept_sweep(tmp_path / "s", 1, study_name="second", folder=tmp_path / "second").trials) == 1
    with pytest.raises(ValueError, match="0 trials; expected at least one"):
        kept_sweep(tmp_path / "s", 0, resume=True)


TACROLIMUS = changed(Preset.shipped("tacrolimus"), {"evaluation.patients": 20}, "tacrolimus")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"preset": TACROLIMUS}, "sweep: preset scenario.drug 'busulfan' there, 'tacrolimus' here; "),
        (
            {"preset": changed(BASE, {"ppo.batches": 2}, "")},
            "sweep: preset ppo.batches '4' there, '2' here; ask",
        ),
        ({"preset": BASE.changed(timesteps=500)}, "sweep: preset ppo.timesteps '400' there, '500' here; ask"),
        ({"preset": replace(BASE, randomisation=None)}, "'0.25' there, 'absent' here"),
        ({"seed": 2}, "sweep: seed '1' there, '2' here; ask the same, or name another --study"),
        (
            {"space": SPACE.replace("high = 9", "high = 8")},
            "sweep: space ppo.epochs '1 to 9' there, '1 to 8' here; ask",
        ),
        (
            {"space": SPACE.replace("[8, 8], ", "")},
            "sweep: space policy.hidden '[8], [8, 8], [16, 16]' there, '[8], [16, 16]' here; ask",
        ),
    ],
)
def test_another_sweeps_study_is_refused_by_what_differs(
    asked: dict[str, Any], words: str, tmp_path: Path, training: Pretended
) -> None:
    kept_sweep(tmp_path / "s", 1)
    with pytest.raises(ValueError, match="study 'busulfan' in sqlite:.* is another sweep: ") as refused:
        kept_sweep(tmp_path / "s", 2, resume=True, **asked)
    assert words in str(refused.value) and len(str(refused.value)) < 900
    assert len(training.seeds) == 1


def test_another_version_of_the_scenario_is_refused(
    tmp_path: Path, training: Pretended, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_sweep(tmp_path / "s", 1)
    known = study_module.scenario("busulfan")
    monkeypatch.setattr(study_module, "scenario", lambda name: replace(known, version=known.version + 1))
    with pytest.raises(
        ValueError, match=rf"scenario version '{known.version}' there, '{known.version + 1}' here"
    ):
        kept_sweep(tmp_path / "s", 2, resume=True)


def test_a_study_of_something_else_is_refused(tmp_path: Path, training: Pretended) -> None:
    optuna.create_study(storage=database(tmp_path / "s"), study_name="busulfan")
    with pytest.raises(ValueError, match="study 'busulfan' in .* is no sweep of dosewright"):
        kept_sweep(tmp_path / "s", resume=True)


@pytest.mark.parametrize("resume", [False, True])
def test_a_database_of_something_else_is_left_as_it_is(
    resume: bool, tmp_path: Path, training: Pretended
) -> None:
    with closing(sqlite3.connect(tmp_path / "s.db")) as other:
        other.execute("CREATE TABLE patients (id TEXT)")
    before = (tmp_path / "s.db").read_bytes()
    with pytest.raises(ValueError, match="is a database of something else, with table 'patients'; name anot"):
        sweep(tmp_path / "s", storage=f"sqlite:///{tmp_path / 's.db'}", resume=resume)
    assert (tmp_path / "s.db").read_bytes() == before


@pytest.mark.parametrize(
    "storage", ["sqlite:////nowhere/at/all.db", "runs/tune.db", "nosuch://x", "sqlite:///{text}"]
)
def test_a_storage_that_cannot_be_opened_is_named(storage: str, tmp_path: Path, training: Pretended) -> None:
    (tmp_path / "text").write_text(
        "this is no database, only words that fill a header of a hundred bytes" * 3
    )
    storage = storage.format(text=tmp_path / "text")
    with pytest.raises(ValueError, match=r"cannot be opened .*sqlite:///runs/tune.db") as refused:
        sweep(tmp_path / "s", storage=storage)
    assert str(refused.value).startswith(f"storage {storage}: ") and "\n" not in str(refused.value)


def test_optuna_is_as_talkative_afterwards_as_before(tmp_path: Path, training: Pretended) -> None:
    before = optuna.logging.get_verbosity()
    sweep(tmp_path / "s", 1)
    assert optuna.logging.get_verbosity() == before
