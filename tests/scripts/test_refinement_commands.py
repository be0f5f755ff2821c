"""``dosewright stream``, ``serve`` and ``refine``: the loop from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from dosewright.agents.refinement import refiner
from dosewright.agents.refinement.drift import Baseline, Plan
from dosewright.agents.refinement.events import Event, parse
from dosewright.agents.refinement.gate import Gate, OffPolicy, PredictiveFit, Verdict
from dosewright.agents.refinement.registry import Registry
from dosewright.agents.refinement.shield import Limits
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.usual import Usual
from dosewright.envs import Scenario
from dosewright.scripts.cli import cli

NOTICE = "Research simulation, not for clinical use."


@pytest.fixture(autouse=True)
def no_rehearsal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A version's rehearsal takes a minute; here everything is usual."""

    def usual(scenario: Scenario, *_: object) -> Usual:
        nothing = np.zeros(0)
        limits = Limits(scenario.doses.maximum, 10.0, 1.0, 99, (), nothing, nothing)
        return Usual(limits, {}, Baseline(Plan(), {}, {}, {}))

    monkeypatch.setattr(refiner, "learn_usual", usual)
    # without features nothing can be outside of training
    monkeypatch.setattr(Limits, "outside", lambda self, features: [""] * len(features))


@pytest.fixture
def events(tmp_path: Path) -> Path:
    """Three patients on 5 mg, as a file of events."""
    done = CliRunner().invoke(cli, ["stream", "warfarin", "--dose", "5", "--patients", "3"])
    assert done.exit_code == 0, done.output
    file = tmp_path / "events.jsonl"
    file.write_text(done.stdout)
    return file


def serve(tmp_path: Path, file: Path, *more: str) -> list[dict[str, object]]:
    store, registry = tmp_path / "served.db", tmp_path / "registry"
    asked = ["serve", "warfarin", "--source", str(file), "--store", str(store), "--registry", str(registry)]
    done = CliRunner().invoke(cli, [*asked, *more], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stderr.count(NOTICE) == 1
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_stream_is_events_of_the_schema(events: Path) -> None:
    found = [parse(line, "line") for line in events.read_text().splitlines()]
    assert all(isinstance(event, Event) for event in found)
    kinds = [event.kind for event in found if isinstance(event, Event)]
    assert kinds.count("enrolled") == kinds.count("left") == 3
    assert kinds.count("visit") == kinds.count("dose") > 20


def test_every_visit_is_answered_once_and_a_restart_goes_on(tmp_path: Path, events: Path) -> None:
    lines = events.read_text().splitlines(keepends=True)
    half = tmp_path / "half.jsonl"
    half.write_text("".join(lines[:60]))
    first = serve(tmp_path, half, "--batch", "1")
    half.write_text("".join(lines))
    second = serve(tmp_path, half, "--batch", "1")
    asked = [json.loads(line)["id"] for line in lines if json.loads(line)["kind"] == "visit"]
    assert [answer["event"] for answer in first + second] == asked
    assert serve(tmp_path, half, "--batch", "1") == []
    for answer in first + second:
        assert answer["dose"] in [dose for dose, _ in answer["options"]]  # type: ignore[attr-defined]
        assert answer["regimen"] == "policy" and answer["dose_unit"] == "mg/day"


def test_what_was_decided_already_is_not_answered(tmp_path: Path, events: Path) -> None:
    assert serve(tmp_path, events) == []
    with Store.open(tmp_path / "served.db", "warfarin", 0) as store:
        assert sum(1 for _ in store.events()) == len(events.read_text().splitlines())


def test_a_clinic_is_dosed_live(tmp_path: Path) -> None:
    at = ["--store", str(tmp_path / "live.db"), "--registry", str(tmp_path / "registry")]
    done = CliRunner().invoke(cli, ["stream", "warfarin", "--patients", "12", *at])
    assert done.exit_code == 0, done.output
    assert "12 patients:" in done.output and NOTICE in done.output
    with Store.open(tmp_path / "live.db", "warfarin", 0) as store:
        answers = [note.body["event"] for _, note in store.journal("recommendation")]
        visits = [event.id for _, event in store.events() if event.kind == "visit"]
        assert sorted(answers) == sorted(visits)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--patients", "2"], "give --dose, or both --store and --registry"),
        (["--dose", "5", "--world", "moon"], "unknown world 'moon'; known: half-dose"),
        (["--dose", "5", "--realism", "dream"], "unknown realism 'dream' for warfarin"),
    ],
)
def test_bad_options_are_named(options: list[str], said: str) -> None:
    done = CliRunner().invoke(cli, ["stream", "warfarin", *options])
    assert done.exit_code != 0
    assert said in f"{done.output} {done.exception}"


def test_a_candidate_is_judged_and_the_answer_is_on_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at = ["--store", str(tmp_path / "live.db"), "--registry", str(tmp_path / "registry")]
    streamed = ["stream", "warfarin", "--patients", "20", "--world", "half-dose", *at]
    assert CliRunner().invoke(cli, streamed).exit_code == 0

    def judge(self: Gate, *_: object, attempt: int, seed: int) -> Verdict:
        nothing = OffPolicy("no log", "", 0)
        return Verdict(False, ("not shown",), attempt, 0.03, seed, (), nothing, PredictiveFit(4, 1.0))

    monkeypatch.setattr(Gate, "judge", judge)
    done = CliRunner().invoke(cli, ["refine", "warfarin", *at, "--reason", "a test"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "refused: not shown" in done.output and "CL: × 0." in done.output
    assert done.output.count(NOTICE) == 1
    audit = Registry(tmp_path / "registry").audit()
    assert [line.action for line in audit] == ["created", "promoted", "refused"]
    assert audit[-1].reason == "a test"


def test_a_version_is_affirmed(tmp_path: Path) -> None:
    registry, store = tmp_path / "registry", tmp_path / "live.db"
    streamed = ["stream", "warfarin", "--patients", "6", "--store", str(store), "--registry", str(registry)]
    assert CliRunner().invoke(cli, streamed).exit_code == 0
    asked = ["registry", "affirm", str(registry), "--store", str(store), "--by", "Ada", "--reason", "looked"]
    done = CliRunner().invoke(cli, asked, catch_exceptions=False)
    again = CliRunner().invoke(cli, streamed)  # a clinic's patients are no others the second time
    assert "holds patients of site-1 already" in str(again.exception)
    (version,) = Registry(registry).versions()
    assert done.output == f"{version.name} (policy) doses on; surveillance begins anew\n"
    with Store.open(store, "warfarin", 0) as kept:
        ((_, note),) = kept.journal("affirmation")
        assert note.body == {"version": version.name}
        assert note.time == max(event.time for _, event in kept.events())


def test_a_patient_is_erased(tmp_path: Path) -> None:
    registry, store = tmp_path / "registry", tmp_path / "live.db"
    streamed = ["stream", "warfarin", "--patients", "12", "--store", str(store), "--registry", str(registry)]
    assert CliRunner().invoke(cli, streamed).exit_code == 0
    asked = ["registry", "erase", str(registry), "site-1-7", "--store", str(store), "--by", "me", "--reason"]
    named = CliRunner().invoke(cli, [*asked, "site-1-7 asked for it"])
    assert "leave the name out" in str(named.exception)
    done = CliRunner().invoke(cli, [*asked, "asked for"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "erased; 0 versions saw the patient" in done.output
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or b"site-1-7" not in file.read_bytes(), file
    again = CliRunner().invoke(cli, [*asked, "asked for"])
    assert "nothing was erased" in str(again.exception)
