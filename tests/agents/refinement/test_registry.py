"""The registry: crashes leave it whole, edits are named, and going back gives the very doses of before."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from filelock import FileLock

from dosewright.agents import load
from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement.registry import Registry, RegistryBusyError, Version
from dosewright.envs import Scenario

SHIPPED = Path(str(files("dosewright.agents.pretrained") / "warfarin"))
PASSED = {"verdict": "promoted", "reason": "better", "alpha": 0.0125, "attempt": 1}


def salted(patient: str) -> str:
    return hashlib.sha256(f"salt{patient}".encode()).hexdigest()


def add(registry: Registry, scenario: Scenario, parent: Version | None = None, **what: Any) -> Version:
    """A version as refinement makes it; the gate passed it, unless it is the first."""
    told: dict[str, Any] = {
        "regimen": "bayesian-adaptive",
        "by": "refiner",
        "reason": "refit",
        "verdict": None if parent is None else PASSED,
    }
    return registry.create(scenario, {"cl": 0.1 + 0.2}, {"psi": [1, 2]}, parent=parent, **{**told, **what})


def promoted(registry: Registry, version: Version) -> Version:
    registry.promote(version, "gate", "it passed", {"attempt": 1})
    return version


@pytest.fixture
def two(tmp_path: Path, warfarin: Scenario) -> Registry:
    """Two versions, both promoted, of which the second doses: four lines."""
    registry = Registry(tmp_path / "registry")
    first = promoted(registry, add(registry, warfarin))
    promoted(registry, add(registry, warfarin, first))
    return registry


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_version_gives_back_what_was_put_in(tmp_path: Path, warfarin: Scenario) -> None:
    registry = Registry(tmp_path / "registry")
    population = {"mean": [0.1 + 0.2, 1e-300], "groups": {"a": {"Größe": None}}}
    made = registry.create(
        warfarin, population, {"psi": 0.2}, parent=None, regimen="policy", by="session", reason="begin",
        saw=[salted("b"), salted("a"), salted("a")], policy_folder=SHIPPED,
    )  # fmt: skip
    found = Registry(tmp_path / "registry").version(made.name)
    assert found == made and made.number == 1 and made.name == f"0001-{made.content_hash[:12]}"
    assert (found.population, found.baseline, found.verdict) == (population, {"psi": 0.2}, None)
    assert found.saw == tuple(sorted((salted("a"), salted("b"))))
    assert (found.scenario, found.scenario_version) == ("warfarin", warfarin.version)
    assert found.policy is not None and contents(found.policy) == contents(SHIPPED)
    for name, digest in found.digests.items():
        assert hashlib.sha256((found.path / name).read_bytes()).hexdigest() == digest
    assert registry.verify() == (1, 1)
    assert registry.audit()[0].body == {"hash": made.content_hash}


def test_content_hash_is_that_of_what_is_written(two: Registry) -> None:
    version = two.current()
    told = json.loads((version.path / "version.json").read_text())
    del told["hash"], told["schema"]
    text = json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert hashlib.sha256(text.encode()).hexdigest() == version.content_hash
    assert told["parent"] == two.versions()[0].content_hash


def test_doses_after_a_rollback_are_those_of_before(
    tmp_path: Path, warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    registry = Registry(tmp_path / "registry")
    first = promoted(registry, add(registry, warfarin, regimen="policy", policy_folder=SHIPPED))
    before = contents(first.path)
    seen = observed(age_y=np.array([30.0, 65.0, 88.0]), vkorc1_A=np.array([0.0, 1.0, 2.0]))

    def doses(policy: LearnedPolicy) -> bytes:
        dose, _ = policy.predict(seen, None, np.ones(len(seen), dtype=bool))
        return np.asarray(dose).tobytes()

    folder = registry.current().policy
    assert folder is not None
    given = doses(LearnedPolicy.load(folder))
    assert given == doses(load("warfarin"))
    second = promoted(registry, add(registry, warfarin, first))
    assert registry.current() == second and second.policy is None
    back = Registry(registry.path).rollback("session", "the second did harm")
    assert back == first and registry.current() == first
    assert contents(registry.current().path) == before
    again = registry.current().policy
    assert again is not None and doses(LearnedPolicy.load(again)) == given
    assert registry.audit()[-1].body == {"from": second.name}


def test_going_back_twice_goes_back_two_versions(two: Registry, warfarin: Scenario) -> None:
    first, second = two.versions()
    third = promoted(two, add(two, warfarin, second))
    assert two.rollback("session", "harm") == second
    assert two.rollback("session", "harm too") == first
    with pytest.raises(ValueError, match=f"no version dosed before {first.name}"):
        two.rollback("session", "more")
    # what was rolled away may be named, and it is what was before afterwards
    assert two.rollback("session", "the third after all", third.name) == third
    assert two.rollback("session", "not") == first
    with pytest.raises(ValueError, match=f"{first.name}: doses already"):
        two.rollback("session", "again", first.name)
    never = add(two, warfarin, first)
    with pytest.raises(ValueError, match=f"{never.name}: was never promoted; promoted were: {first.name}"):
        two.rollback("session", "try it", never.name)
    with pytest.raises(ValueError, match="has no version 'nine'"):
        two.rollback("session", "try it", "nine")
    assert two.current() == first and two.verify() == (4, 11)


def test_only_what_the_gate_passed_doses(two: Registry, warfarin: Scenario) -> None:
    current = two.current()
    for verdict, said in ((None, "nothing"), ({"verdict": "refused"}, "refused"), ({}, "None")):
        made = add(two, warfarin, current, verdict=verdict)
        with pytest.raises(ValueError, match=f"{made.name}: the gate said {said}"):
            promoted(two, made)
    with pytest.raises(ValueError, match="was promoted before; .* --to"):
        promoted(two, current)
    assert two.current() == current


def test_first_version_that_the_gate_refused_does_not_dose(tmp_path: Path, warfarin: Scenario) -> None:
    registry = Registry(tmp_path / "registry")
    with pytest.raises(ValueError, match="no version was promoted yet"):
        registry.current()
    made = add(registry, warfarin, verdict={"verdict": "refused"})
    with pytest.raises(ValueError, match="the gate said refused"):
        promoted(registry, made)
    assert registry.versions() == [made] and len(registry.audit()) == 1


def test_a_refused_candidate_is_in_the_log_with_its_verdict(two: Registry) -> None:
    two.refuse("refit to 300 patients", "gate", "harm not excluded", {"verdict": {"alpha": 0.05}})
    line = Registry(two.path).audit()[-1]
    assert (line.action, line.version, line.by) == ("refused", None, "gate")
    assert line.body == {"verdict": {"alpha": 0.05}, "candidate": "refit to 300 patients"}


def test_versions_that_saw_an_erased_patient_are_listed_once(
    tmp_path: Path, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry(tmp_path / "registry")
    first = promoted(registry, add(registry, warfarin, saw=[salted("a")]))
    second = promoted(registry, add(registry, warfarin, first, saw=[salted("b")]))
    third = add(registry, warfarin, second, saw=[salted("c")])
    made_again = add(registry, warfarin, first, saw=[salted("c")])
    crash_at(monkeypatch, 7)  # three of the log, four of `current`: one version is listed
    with pytest.raises(Crash):
        registry.erase(salted("b"), "session", "asked for")
    monkeypatch.undo()
    assert registry.erase(salted("b"), "session", "asked for") == [second, third]
    listed = [line for line in registry.audit() if line.action == "listed for retraining"]
    assert [line.version for line in listed] == [second.name, third.name]
    assert all(line.body == {"patient": salted("b")} for line in listed)
    assert registry.audit()[-1].action == "erased"
    lines = len(registry.audit())
    assert registry.erase(salted("b"), "session", "asked again") == [second, third]
    assert len(registry.audit()) == lines
    assert registry.erase(salted("nobody"), "session", "asked for") == []
    assert registry.erase(salted("a"), "session", "asked for") == [first, second, third, made_again]
    registry.verify()


def test_ids_of_patients_are_refused(two: Registry, warfarin: Scenario) -> None:
    for patient in ("patient-17", "A" * 64):
        with pytest.raises(ValueError, match=f"patient of {len(patient)} characters: .*SHA-256") as error:
            add(two, warfarin, two.current(), saw=[patient])
        assert patient not in str(error.value)
        with pytest.raises(ValueError, match="salted SHA-256"):
            two.erase(patient, "session", "asked for")
    assert two.verify() == (2, 4)


def test_a_version_of_another_scenario_is_refused(two: Registry, warfarin: Scenario) -> None:
    two.current().check_for(warfarin)
    newer = replace(warfarin, version=warfarin.version + 1)
    with pytest.raises(
        ValueError,
        match=f"made for warfarin version {warfarin.version}, this is warfarin version {newer.version}",
    ):
        two.current().check_for(newer)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"regimen": "policy"}, "regimen 'policy', policy folder None"),
        ({"policy_folder": SHIPPED}, "regimen 'bayesian-adaptive', policy folder"),
        ({"regimen": "policy", "policy_folder": "/nowhere"}, "/nowhere: no file is there"),
        ({"verdict": {"alpha": float("nan")}}, "verdict.json: cannot be JSON"),
        ({"verdict": {"n": np.int64(3)}}, "verdict.json: cannot be JSON"),
        ({"by": " "}, "by is empty"),
        ({"reason": ""}, "reason is empty"),
    ],
)
def test_wrong_input_leaves_nothing_behind(
    two: Registry, warfarin: Scenario, what: dict[str, Any], words: str
) -> None:
    before = contents(two.path)
    with pytest.raises(ValueError, match=words):
        add(two, warfarin, two.current(), **what)
    assert contents(two.path) == before


def test_a_parent_of_another_registry_is_refused(two: Registry, tmp_path: Path, warfarin: Scenario) -> None:
    stranger = add(Registry(tmp_path / "other"), warfarin, reason="another")
    with pytest.raises(ValueError, match=f"has no version '{stranger.name}'; there are: 0001-"):
        add(two, warfarin, stranger)


def test_a_folder_of_something_else_is_no_registry(tmp_path: Path, warfarin: Scenario) -> None:
    (tmp_path / "letters.txt").write_text("mine")
    with pytest.raises(ValueError, match="is no registry, letters.txt is there"):
        add(Registry(tmp_path), warfarin)
    assert [path.name for path in tmp_path.iterdir()] == ["letters.txt"]


# crashes


class Crash(BaseException):
    """The process ended here."""


def crash_at(monkeypatch: pytest.MonkeyPatch, step: int) -> list[str]:
    """Crash in place of the step-th thing (from 0) that changes or secures what is on the disk."""
    done: list[str] = []

    def counted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def act(*arguments: Any, **named: Any) -> Any:
            if len(done) >= step:  # a process that ended does nothing more
                raise Crash
            done.append(name)
            return real(*arguments, **named)

        return act

    opened, write = Path.open, counted("open", Path.open)

    def open_(path: Path, mode: str = "r", *arguments: Any, **named: Any) -> Any:
        return (opened if mode in ("r", "rb") else write)(path, mode, *arguments, **named)

    monkeypatch.setattr(Path, "open", open_)
    monkeypatch.setattr(os, "fsync", counted("fsync", os.fsync))
    monkeypatch.setattr(Path, "replace", counted("replace", Path.replace))
    monkeypatch.setattr(Path, "rename", counted("rename", Path.rename))
    return done


def crashed_everywhere(
    monkeypatch: pytest.MonkeyPatch, start: Callable[[], Registry], act: Callable[[Registry], Any]
) -> list[Registry]:
    """Return, opened anew, a registry for each step of an act at which the process ended."""
    found = []
    for step in range(100):
        registry = start()
        with monkeypatch.context() as patch:
            done = crash_at(patch, step)
            try:
                act(registry)
            except Crash:
                pass
            else:
                assert {"open", "fsync", "replace"} <= set(done)
                return found
        found.append(Registry(registry.path))
    raise AssertionError("never ended")


def test_crash_at_every_step_of_create(
    tmp_path: Path, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = iter(range(1000))

    def start() -> Registry:
        registry = Registry(tmp_path / f"{next(starts)}")
        promoted(registry, add(registry, warfarin))
        return registry

    def act(registry: Registry) -> Version:
        return add(registry, warfarin, registry.current(), regimen="policy", policy_folder=SHIPPED)

    made = 0
    for registry in crashed_everywhere(monkeypatch, start, act):
        versions, lines = registry.verify()
        first = registry.current()
        assert first.number == 1 and versions in (1, 2)
        said = [line.action for line in registry.audit()]
        if versions == 2:
            # the line was on the disk: the version is whole, and the log says that it was completed
            made += 1
            assert said[:3] == ["created", "promoted", "created"] and said[3:] in ([], ["completed"])
            assert registry.versions()[1].policy is not None
        else:
            assert said == ["created", "promoted"] and lines == 2
        again = add(registry, warfarin, first)  # takes nothing over from what was being written
        assert (
            again.policy is None
            and again.number == versions + 1
            and promoted(registry, again) == registry.current()
        )
        assert registry.verify()[0] == versions + 1
        assert sorted(path.name for path in (registry.path / "versions").iterdir()) == [
            version.name for version in registry.versions()
        ]
    assert 0 < made < next(starts) - 1


def test_crash_at_every_step_of_promote_and_rollback(
    tmp_path: Path, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = iter(range(1000))

    def start() -> Registry:
        registry = Registry(tmp_path / f"{next(starts)}")
        first = promoted(registry, add(registry, warfarin))
        add(registry, warfarin, first)
        return registry

    found = crashed_everywhere(monkeypatch, start, lambda r: promoted(r, r.versions()[1]))
    said = [_agree(registry, ["created", "promoted", "created"], "promoted", (1, 2)) for registry in found]
    assert said[0] == [] and ["promoted", "completed"] in said and said[-1] == ["promoted"]

    def second() -> Registry:
        registry = start()
        promoted(registry, registry.versions()[1])
        return registry

    found = crashed_everywhere(monkeypatch, second, lambda r: r.rollback("session", "harm"))
    before = ["created", "promoted", "created", "promoted"]
    said = [_agree(registry, before, "rolled back", (2, 1)) for registry in found]
    assert said[0] == [] and ["rolled back", "completed"] in said and said[-1] == ["rolled back"]


def _agree(registry: Registry, before: list[str], action: str, numbers: tuple[int, int]) -> list[str]:
    """The move was made and said, or was not made; return what was said of it."""
    said = [line.action for line in registry.audit()]
    assert said[: len(before)] == before
    moved = said[len(before) :]
    assert moved in ([], [action], [action, "completed"])
    assert registry.current().number == numbers[bool(moved)]
    if moved[1:]:
        assert registry.audit()[-1].body == {"line": len(before) + 1}
    assert registry.verify() == (2, len(said))
    return moved


def test_crash_while_a_crash_is_completed(
    two: Registry, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = add(two, warfarin, two.current())
    with monkeypatch.context() as patch:
        crash_at(patch, 3)  # open and fsync of the log, fsync of its folder
        with pytest.raises(Crash):
            promoted(two, third)  # line 6 is written, and `current` is not
    for _ in range(3):
        with monkeypatch.context() as patch:
            crash_at(patch, 4)  # after another line
            with pytest.raises(Crash):
                Registry(two.path)
    registry = Registry(two.path)
    assert registry.current() == third and len(registry.audit()) == 10
    said = [line.action for line in registry.audit()]
    assert said[5] == "promoted" and set(said[6:]) == {"completed"} and registry.verify() == (3, len(said))


def test_killed_between_line_and_pointer(two: Registry, warfarin: Scenario) -> None:
    third = add(two, warfarin, two.current())
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dosewright.agents.refinement.registry import Registry\n"
        "Path.replace = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "registry = Registry(sys.argv[1])\n"
        "registry.promote(registry.version(sys.argv[2]), 'gate', 'it passed', {})\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(two.path), third.name], capture_output=True)
    assert done.returncode == -9, done.stderr
    assert two.current().number == 2  # as one sees it that was open
    assert Registry(two.path).current() == third == two.current()
    assert [line.action for line in two.audit()[-2:]] == ["promoted", "completed"]


def test_half_a_line_is_cut_off(two: Registry, warfarin: Scenario) -> None:
    log = two.path / "audit.jsonl"
    whole = log.read_bytes()
    for half in (whole.splitlines()[-1][:40], b'{"number":5', b"\0" * 300):
        log.write_bytes(whole + half)
        registry = Registry(two.path)
        assert registry.verify() == (2, 4) and registry.current().number == 2
    add(registry, warfarin, registry.current())
    assert log.read_bytes().startswith(whole) and Registry(two.path).verify() == (3, 5)


def test_a_full_disk_leaves_the_version_that_dosed(
    two: Registry, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    before = two.current()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space"):
            add(two, warfarin, before)
    assert two.current() == before and two.verify() == (2, 4)
    assert add(two, warfarin, before).number == 3


# edits by hand


def _lines(registry: Registry, change: Callable[[list[bytes]], list[bytes]]) -> None:
    log = registry.path / "audit.jsonl"
    log.write_bytes(b"".join(change(log.read_bytes().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda ls: [ls[0], ls[1].replace(b"it passed", b"it failed"), *ls[2:]], "line 2: says .* changed"),
        (lambda ls: [ls[0], ls[1].replace(b'":"', b'": "'), *ls[2:]], "line 2: .* changed"),
        (lambda ls: [*ls[:3], ls[3].replace(b"gate", b"Gate")], "line 4: says hash .* changed"),
        (lambda ls: [ls[0], b"\n", *ls[1:]], "line 2: is cut off or broken"),
        (lambda ls: ls[1:], "line 1: has number 2; lines were removed"),
        (lambda ls: [*ls[:2], ls[3]], "line 3: has number 4; lines were removed"),
        (lambda ls: [ls[0], ls[2], ls[1], ls[3]], "line 2: has number 3; .* another order"),
        (lambda ls: ls[:3], "line 4: is missing, of 4 that current acknowledged"),
        (lambda ls: [*ls[:3], ls[3][:-20]], "line 4: is cut off or broken"),
        (lambda ls: [*ls[:3], ls[3][:-1]], "line 4: .* changed"),
        (lambda ls: [], "line 1: is missing"),
        (lambda ls: [*ls, ls[3], ls[3]], "line 5: has number 4"),
    ],
)  # fmt: skip
def test_an_edited_log_names_the_line(
    two: Registry, change: Callable[[list[bytes]], list[bytes]], words: str
) -> None:
    _lines(two, change)
    for ask in (lambda: Registry(two.path), two.current, two.versions, two.audit, two.verify):
        with pytest.raises(ValueError, match=rf"audit\.jsonl, {words}.*restore the registry"):
            ask()


def test_a_line_forged_with_its_hash_is_found_by_the_next(two: Registry) -> None:
    def forge(lines: list[bytes]) -> list[bytes]:
        told = json.loads(lines[1])
        del told["hash"]
        told["reason"] = "it failed"
        text = json.dumps(told, sort_keys=True, separators=(",", ":"))
        told["hash"] = hashlib.sha256(text.encode()).hexdigest()
        lines[1] = json.dumps(told, sort_keys=True, separators=(",", ":")).encode() + b"\n"
        return lines

    _lines(two, forge)
    with pytest.raises(ValueError, match="line 3: follows a line of hash"):
        two.verify()


def test_an_edited_pointer_is_named(two: Registry) -> None:
    pointer = two.path / "current"
    told = json.loads(pointer.read_bytes())
    first = two.versions()[0].name
    for change, words in (
        ({"version": first}, f"names version {first}, by audit.jsonl {told['version']} doses"),
        ({"hash": "0" * 64}, "line 4 has hash"),
        ({"line": 2}, "line 4: current has acknowledged 2 lines only"),
        ({"line": 9}, "line 5: is missing, of 9"),
        ({"more": 1}, "current: is broken"),
    ):
        pointer.write_text(json.dumps({**told, **change}))
        with pytest.raises(ValueError, match=words):
            two.current()
    pointer.unlink()
    with pytest.raises(ValueError, match="line 2: current has acknowledged 0 lines only"):
        two.current()


def test_edited_files_are_named_with_both_digests(two: Registry) -> None:
    version = two.current()
    population = version.path / "population.json"
    known = version.digests["population.json"][:12]
    population.write_text('{"cl": 99}')
    here = hashlib.sha256(population.read_bytes()).hexdigest()[:12]
    words = f"{population}: has digest {here}, the registry wrote {known}.*rollback"
    for ask in (two.verify, version.check, lambda: version.population):
        with pytest.raises(ValueError, match=words):
            ask()
    assert version.baseline == {"psi": [1, 2]}  # the others are what they were
    population.unlink()
    with pytest.raises(ValueError, match=f"{population}: is missing; .*rollback"):
        two.verify()
    # the way out that the message names is open
    assert two.rollback("session", "its folder is damaged").number == 1
    assert two.current().population == {"cl": 0.1 + 0.2}


def test_a_damaged_version_neither_doses_nor_is_gone_back_to(two: Registry, warfarin: Scenario) -> None:
    first, second = two.versions()
    third = add(two, warfarin, second)
    for version in (first, third):
        (version.path / "baseline.json").write_text("{}")
    with pytest.raises(ValueError, match=r"baseline\.json: has digest"):
        promoted(two, third)
    with pytest.raises(ValueError, match=r"baseline\.json: has digest"):
        two.rollback("session", "harm")
    assert two.current() == second and len(two.audit()) == 5


def test_an_edited_policy_is_refused(tmp_path: Path, warfarin: Scenario) -> None:
    registry = Registry(tmp_path / "registry")
    version = add(registry, warfarin, regimen="policy", policy_folder=SHIPPED)
    weights = version.path / "policy" / "weights.zip"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")
    with pytest.raises(ValueError, match=f"{weights}: has digest"):
        _ = version.policy
    weights.write_bytes((SHIPPED / "weights.zip").read_bytes())
    (version.path / "policy" / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=f"notes.txt: is no file of version {version.name}"):
        _ = version.policy


def test_an_edited_description_is_named(two: Registry) -> None:
    version = two.current()
    file = version.path / "version.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps({**told, "reason": "another"}))
    with pytest.raises(
        ValueError, match=f"{file}: has digest .*the registry wrote {version.content_hash[:12]}"
    ):
        two.current()
    file.write_text(json.dumps({**told, "schema": 2}))
    with pytest.raises(ValueError, match="has schema 2, this dosewright reads 1"):
        two.current()
    file.write_text("{")
    with pytest.raises(ValueError, match=f"{file}: is missing or broken"):
        two.current()
    # whole, but of another version
    file.write_bytes((two.version(two.audit()[0].version or "").path / "version.json").read_bytes())
    with pytest.raises(ValueError, match=f"{file}: has digest"):
        two.verify()


def test_a_folder_that_no_line_created_is_named(two: Registry) -> None:
    (two.path / "versions" / "0003-abcdefabcdef").mkdir()
    with pytest.raises(ValueError, match="0003-abcdefabcdef: no line of audit.jsonl created it"):
        two.verify()


# writers


def test_one_writer_at_a_time_and_readers_always(two: Registry, warfarin: Scenario) -> None:
    current = two.current()
    other = Registry(two.path)
    with FileLock(two.path / "lock"):
        for write in (
            lambda: add(other, warfarin, current),
            lambda: other.rollback("session", "harm"),
            lambda: other.refuse("it", "gate", "harm", {}),
            lambda: other.erase(salted("a"), "session", "asked for"),
        ):
            with pytest.raises(RegistryBusyError, match=f"registry {two.path}: another process is writing"):
                write()
        assert Registry(two.path).current() == current and other.verify() == (2, 4)
    assert other.rollback("session", "harm").number == 1


def test_a_reader_beside_a_writer_sees_the_state_before_its_change(
    two: Registry, warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    third = add(two, warfarin, two.current())
    real, seen = Path.replace, []

    def look(path: Path, target: Path) -> Path:
        reader = Registry(two.path)  # the line is written, `current` is not, and the writer holds the lock
        seen.append((reader.current().number, reader.verify()))
        return real(path, target)

    monkeypatch.setattr(Path, "replace", look)
    promoted(two, third)
    assert seen == [(2, (3, 5))] and two.current() == third and len(two.audit()) == 6
