"""The store: nothing acknowledged is lost or doubled, nothing is half-written, and who is erased is gone."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.agents.refinement import store as module
from dosewright.agents.refinement.events import Event, Refused, parse
from dosewright.agents.refinement.store import (
    Note,
    Patient,
    Store,
    StoredFactor,
    StoreFullError,
    StoreRefusedError,
    UnscrubbedError,
)

START = datetime(2026, 3, 1, 8, tzinfo=UTC)
GONE = "Zöe-40417"  # the patient who is erased, in no other text


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db", "warfarin", 0) as opened:
        yield opened


def dose(id: str, patient: str = "P1", hours: float = 0, value: float = 5.0) -> Event:
    """Return a dose some hours after the start."""
    return Event(
        schema=1, id=id, patient=patient, time=START + timedelta(hours=hours), kind="dose", code="warfarin",
        value=value, unit="mg/day",
    )  # fmt: skip


def consent(id: str, value: str, patient: str = "P1", hours: float = 0) -> Event:
    """Return a statement of consent some hours after the start."""
    time = START + timedelta(hours=hours)
    return Event(schema=1, id=id, patient=patient, time=time, kind="consent", value=value)


def stored(store: Store) -> list[str]:
    """Return the ids of the stored events, in order."""
    return [event.id for _, event in store.events()]


def everything(path: Path) -> dict[str, list[Any]]:
    """Return all rows that a reader finds, numbers included."""
    with Store.open(path, "warfarin", 0, write=False) as reader:
        return {
            "events": list(reader.events()),
            "quarantine": list(reader.quarantine()),
            "journal": list(reader.journal()),
            "patients": reader.patients(),
        }


def raw(path: Path) -> bytes:
    """Return all bytes of the store's files."""
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(f"{path.name}*")))


# -------------------------------------------------------------------------------------------- events in order


def test_events_come_back_as_they_were_in_the_order_of_receipt(store: Store) -> None:
    head = {"schema": 1, "patient": "Jürg", "time": "2026-03-01T08:00:00.123456+01:00"}
    bodies = [
        {"kind": "enrolled", "code": "warfarin", "site": "ward 3"},
        {"kind": "visit"},
        {"kind": "visit", "value": 4},
        {"kind": "genotype", "code": "CYP2C9", "value": "*1/*2"},
        {"kind": "measurement", "code": "inr", "value": 2.5, "unit": ""},
        {"kind": "adverse_event", "code": "5", "value": 5},
        {"kind": "left", "code": "moved away"},
    ]
    events = [parse(json.dumps(head | {"id": f"e{i}"} | body), "") for i, body in enumerate(bodies)]
    assert all(isinstance(event, Event) for event in events)
    late, early = dose("late", hours=3), dose("early", hours=1)
    added = store.append([event for event in events if isinstance(event, Event)])
    assert [seq for seq, _ in added.new] == [1, 2, 3, 4, 5, 6, 7]
    assert store.append([late, early]).new == ((8, late), (9, early))
    found = list(store.events())
    assert [seq for seq, _ in found] == list(range(1, 10))
    assert [event for _, event in found] == [*events, late, early]
    assert [event.as_json() for _, event in found[:7]] == [
        event.as_json() for event in events if isinstance(event, Event)
    ]
    assert list(store.events(patient="P1")) == [(8, late), (9, early)]
    assert list(store.events(after=8)) == [(9, early)]
    assert list(store.events(patient="Jürg", after=6)) == [found[6]]
    assert store.patients() == [Patient("Jürg", None, None), Patient("P1", None, None)]


def test_more_events_than_a_page_are_all_given(store: Store) -> None:
    events = [dose(f"e{i}", f"P{i % 3}", i) for i in range(2 * module._PAGE + 1)]
    store.append(events)
    assert [event for _, event in store.events()] == events
    assert [event for _, event in store.events(patient="P2")] == events[2::3]


def test_an_id_that_comes_again_is_a_duplicate_or_a_conflict(store: Store) -> None:
    first, other = dose("a"), dose("a", value=6)
    added = store.append([first, dose("b"), first, other])
    assert [event.id for _, event in added.new] == ["a", "b"]
    assert (added.duplicates, added.conflicts, added.refused) == (1, 1, 1)
    again = store.append([first, other, dose("a", patient="P2")])
    assert again.new == () and (again.duplicates, again.conflicts, again.refused) == (2, 2, 1)
    assert [event for _, event in store.events()] == [first, dose("b")]
    kept = list(store.quarantine())
    assert [item.record.text for item in kept] == [other.as_json(), dose("a", patient="P2").as_json()]
    assert kept[0].record.reason.startswith("id 'a' was there before with other content")


def test_refused_records_stand_once(store: Store) -> None:
    bad, worse = Refused("{", "line 3", "", "no JSON"), Refused("[", "line 4", "x", "no object")
    added = store.append([], [bad, worse, bad], "file")
    assert (added.refused, added.duplicates) == (2, 1)
    again = store.append([dose("a")], [worse], "file")
    assert (again.refused, again.duplicates, len(again.new)) == (0, 1, 1)
    assert [(item.seq, item.source, item.record) for item in store.quarantine()] == [
        (1, "file", bad),
        (2, "file", worse),
    ]
    assert store.append([dose("x")]).new == ((2, dose("x")),)  # what was sent wrongly is sent again, mended


def test_the_position_is_committed_with_its_events_or_not_at_all(store: Store) -> None:
    store.append([dose("a")], [], "file", "10:1")
    with pytest.raises(ZeroDivisionError), store.transaction():
        store.append([dose("b")], [Refused("{", "line 3", "", "no JSON")], "file", "20:2")
        store.note([Note("alarm", None, START, {})])
        store.put_factors([StoredFactor("P1", 2, "0", b"x")])
        assert stored(store) == ["a", "b"]
        raise ZeroDivisionError
    assert stored(store) == ["a"] and store.position("file") == "10:1" and store.position("other") == ""
    assert list(store.quarantine()) == list(store.journal()) == list(store.factors()) == []
    with store.transaction():
        assert store.append([dose("b")], [], "file", "20:2").new == ((2, dose("b")),)
        store.note([Note("alarm", None, START, {"event": "b"})])
    assert stored(store) == ["a", "b"] and store.position("file") == "20:2"
    assert [seq for seq, _ in store.journal()] == [1]


def test_notes_are_given_by_kind_and_patient(store: Store) -> None:
    notes = [
        Note("recommendation", "P1", START, {"dose": 5.0, "why": ["Zürich", None, True]}),
        Note("alarm", None, START + timedelta(hours=1), {}),
        Note("recommendation", "P2", START, {"dose": 0.1}),
    ]
    store.note(notes)
    assert [note for _, note in store.journal()] == notes
    assert list(store.journal(kind="alarm")) == [(2, notes[1])]
    assert list(store.journal(kind="recommendation", patient="P2")) == [(3, notes[2])]
    assert list(store.journal(patient="P1")) == [(1, notes[0])]
    with pytest.raises(ValueError, match="note 'alarm': time 2026-03-01T08:00:00 has no time zone"):
        store.note([Note("alarm", None, START.replace(tzinfo=None), {})])
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.note([notes[0], Note("alarm", None, START, {"p": float("nan")})])
    assert len(list(store.journal())) == 3


def test_a_factor_takes_the_place_of_the_earlier_one(store: Store) -> None:
    a, b = StoredFactor("P2", 7, "0", b"\x00\xff"), StoredFactor("P1", 3, "0", b"")
    store.put_factors([a, b])
    assert list(store.factors()) == [b, a]
    newer = StoredFactor("P2", 9, "0", b"new")
    store.put_factors([newer])
    assert list(store.factors()) == [b, newer]
    store.delete_factor("P1")
    assert list(store.factors()) == [newer]


# --------------------------------------------------------------------------------------------------- consent


def test_events_after_withdrawn_consent_are_refused_whichever_came_first(store: Store) -> None:
    before, at, after = dose("before", hours=1), dose("at", hours=2), dose("after", hours=3)
    other = dose("other", patient="P2", hours=9)
    assert len(store.append([consent("yes", "given"), before, after, other]).new) == 4
    assert store.patients()[0] == Patient("P1", "given", START)
    added = store.append([at, consent("no", "withdrawn", hours=2), dose("late", hours=4)])
    assert [event.id for _, event in added.new] == ["at", "no"]
    assert added.withdrawn == ((3, after),) and added.refused == 1
    assert stored(store) == ["yes", "before", "other", "at", "no"]
    assert store.patients()[0] == Patient("P1", "withdrawn", START + timedelta(hours=2))
    again = store.append([after, consent("again", "given", hours=5), consent("never", "withdrawn", hours=6)])
    assert [event.id for _, event in again.new] == ["never"]
    assert (again.duplicates, again.refused, again.conflicts) == (1, 1, 0)
    assert store.patients()[0] == Patient("P1", "withdrawn", START + timedelta(hours=2))
    reused = [dose("after", "P3"), dose("late", "P3")]  # ids of events that are withheld are taken
    assert store.append(reused).conflicts == 2
    kept = [item.record for item in store.quarantine()]
    assert [record.id for record in kept] == ["late", "after", "again", "after", "late"]
    assert kept[0].reason.startswith("the patient withdrew consent before this time")
    assert parse(kept[1].text, "") == after


def test_duplicate_and_shuffled_delivery_end_in_the_same_events(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    events = [dose(f"e{i}", f"P{i % 5}", int(rng.integers(100)), i) for i in range(60)]
    events += [consent(f"g{i}", "given", f"P{i}", 90) for i in range(4)]
    events += [consent(f"w{i}", "withdrawn", f"P{i}", hours) for i, hours in enumerate((30, 60, 95))]
    events += [consent("w9", "withdrawn", "P0", 50)]
    bad = [Refused(text, f"line {i}", "", "no JSON") for i, text in enumerate("{[(")]
    ends = []
    for run in range(20):
        deliveries: list[Event | Refused] = [*events, *bad]
        if run:
            twice = rng.integers(len(deliveries), size=40).tolist()
            deliveries = [deliveries[i] for i in rng.permutation([*range(len(deliveries)), *twice]).tolist()]
        with Store.open(tmp_path / f"{run}.db", "warfarin", 0) as one:
            for begin in range(0, len(deliveries), size := int(rng.integers(1, 30))):
                part = deliveries[begin : begin + size]
                one.append(
                    [item for item in part if isinstance(item, Event)],
                    [item for item in part if isinstance(item, Refused)],
                )
            ends.append(
                (
                    sorted(event.as_json() for _, event in one.events()),
                    sorted(item.record.text for item in one.quarantine()),
                    sorted(one.patients(), key=lambda item: item.patient),
                )
            )
    assert all(end == ends[0] for end in ends[1:])
    texts, refused, patients = ends[0]
    assert len(texts) + len(refused) == len(events) + 3 and len(refused) > 10
    assert [item.consent for item in patients] == ["withdrawn", "withdrawn", "withdrawn", "given", None]
    assert patients[0].since == START + timedelta(hours=30)


# ------------------------------------------------------------------------------------------- whose file it is


def test_a_second_writer_is_refused_and_readers_are_not(store: Store) -> None:
    store.append([dose("a")])
    with pytest.raises(StoreRefusedError, match=rf"s\.db: process {os.getpid()} writes to it; stop that one"):
        Store.open(store.path, "warfarin", 0)
    code = (
        "import sys; from dosewright.agents.refinement.store import Store, StoreRefusedError\n"
        "try:\n Store.open(sys.argv[1], 'warfarin', 0)\n"
        "except StoreRefusedError as error:\n print(error)"
    )
    elsewhere = subprocess.run(
        [sys.executable, "-c", code, str(store.path)], capture_output=True, text=True, check=True
    )
    assert f"process {os.getpid()} writes to it" in elsewhere.stdout
    with Store.open(store.path, "warfarin", 0, write=False) as reader:
        assert stored(reader) == ["a"]
        with store.transaction():
            store.append([dose("b")])
            assert stored(reader) == ["a"]  # what is not committed is not seen
        assert stored(reader) == ["a", "b"]
        with pytest.raises(OSError, match=r"s\.db: cannot be read or written \(attempt to write a readonly"):
            reader.append([dose("c")])
    store.close()
    with Store.open(store.path, "warfarin", 0) as next_one:
        assert stored(next_one) == ["a", "b"]


def test_a_file_that_is_not_this_store_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with pytest.raises(StoreRefusedError, match="there is no store; name one that was written"):
        Store.open(path, "warfarin", 0, write=False)
    with pytest.raises(StoreRefusedError, match="is no folder; make it"):
        Store.open(tmp_path / "none" / "s.db", "warfarin", 0)
    Store.open(path, "warfarin", 0).close()
    said = "holds events of warfarin version 0, not of {}; name another file"
    for name, version, write in (("tacrolimus", 0, True), ("warfarin", 1, True), ("warfarin", 1, False)):
        with pytest.raises(StoreRefusedError, match=said.format(f"{name} version {version}")):
            Store.open(path, name, version, write=write)
    foreign, text = tmp_path / "foreign.db", tmp_path / "text.db"
    with sqlite3.connect(foreign) as db:
        db.execute("CREATE TABLE bookmarks (url TEXT)")
    db.close()
    text.write_text("not a database, but long enough to have a header of one" * 20)
    for file, words in ((foreign, "is a SQLite file, but no store of events"), (text, "is no SQLite file")):
        before = file.read_bytes()
        for write in (True, False):
            with pytest.raises(StoreRefusedError, match=words):
                Store.open(file, "warfarin", 0, write=write)
        assert file.read_bytes() == before
    Store.open(path, "warfarin", 0).close()  # a refusal leaves no lock behind


def test_an_older_file_is_brought_up_to_date_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, first = tmp_path / "s.db", module._MIGRATIONS[:1]
    monkeypatch.setattr(module, "_MIGRATIONS", first)
    with Store.open(path, "warfarin", 0) as old:
        old.append([dose("a")])
    assert everything(path)["events"] == [(1, dose("a"))]
    ward = "ALTER TABLE patients ADD COLUMN ward TEXT"
    monkeypatch.setattr(module, "_MIGRATIONS", (*first, (ward, "no SQL")))
    with pytest.raises(sqlite3.OperationalError, match="syntax error"):
        Store.open(path, "warfarin", 0)
    monkeypatch.setattr(module, "_MIGRATIONS", (*first, (ward,), ("CREATE TABLE wards (name TEXT)",)))
    with pytest.raises(StoreRefusedError, match="is of version 1, and 3 is read; open it for writing once"):
        Store.open(path, "warfarin", 0, write=False)
    with Store.open(path, "warfarin", 0) as new:
        assert stored(new) == ["a"]
        new.append([dose("b")])
        assert new._db.execute("PRAGMA user_version").fetchone() == (3,)
        assert new._db.execute("SELECT ward FROM patients").fetchall() == [(None,)]
        assert new._db.execute("SELECT * FROM wards").fetchall() == []
    monkeypatch.setattr(module, "_MIGRATIONS", first)
    for write in (True, False):
        with pytest.raises(
            StoreRefusedError, match="is of version 3, written by a newer dosewright, and 1 is"
        ):
            Store.open(path, "warfarin", 0, write=write)


def test_a_commit_is_on_the_disk(store: Store) -> None:
    settings = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1, "temp_store": 2}
    assert {name: store._db.execute(f"PRAGMA {name}").fetchone()[0] for name in settings} == settings


# ---------------------------------------------------------------------------------------------------- faults


def test_a_full_disk_loses_nothing_that_was_stored_and_half_writes_nothing(store: Store) -> None:
    events = [dose(f"e{i}", f"P{i}", i) for i in range(3000)]
    store.append(events[:100], [], "file", "100:100")
    store.note([Note("alarm", None, START, {})])
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 3}")
    before = everything(store.path)
    with pytest.raises(StoreFullError, match=r"s\.db: no space left, nothing of this was stored; make space"):
        store.append(events[100:], [Refused("{", "line 3", "", "no JSON")], "file", "3000:3000")
    with pytest.raises(StoreFullError), store.transaction():
        store.append(events[100:110])
        store.note([Note("page", None, START, {"text": "x" * 100_000})])
    assert everything(store.path) == before and store.position("file") == "100:100"
    assert [seq for seq, _ in store.append(events[100:105]).new] == list(range(101, 106))  # these fit
    store._db.execute("PRAGMA max_page_count = 100000")
    added = store.append(events, [], "file", "3000:3000")
    assert (len(added.new), added.duplicates) == (2895, 105)
    assert [event for _, event in store.events()] == events and store.position("file") == "3000:3000"


CHILD = """
import sys
from dosewright.agents.refinement.events import Event, Refused, parse
from dosewright.agents.refinement.sources import source
from dosewright.agents.refinement.store import Note, Store
lines = source(sys.argv[2])
print("begin", flush=True)
with Store.open(sys.argv[1], "warfarin", 0) as store:
    for batch in lines.batches(7, store.position(lines.name)):
        found = [parse(record.body, record.place) for record in batch.records]
        with store.transaction():
            added = store.append(
                [item for item in found if isinstance(item, Event)],
                [item for item in found if isinstance(item, Refused)],
                lines.name, batch.position,
            )
            store.note([Note("received", item.patient, item.time, {"id": item.id}) for _, item in added.new])
        lines.acknowledge(batch)
        print(*(item.id for _, item in added.new), flush=True)
"""


def _stream(file: Path, lines: int, rng: np.random.Generator) -> None:
    """Write a stream with duplicates, conflicts, broken records and withdrawals of consent."""
    texts: list[str] = []
    for i in range(lines):
        kind = rng.random()
        if kind < 0.85 or not texts:
            texts.append(dose(f"e{i}", f"P{i // 20}", i, round(float(rng.uniform(0, 15)), 1)).as_json())
        elif kind < 0.92:
            texts.append(texts[int(rng.integers(len(texts)))])
        elif kind < 0.95:
            texts.append(dose(f"e{int(rng.integers(i))}", "P0", i, 99.0).as_json())
        elif kind < 0.99:
            texts.append(f'{{"id": "broken {i}", ')
        else:
            texts.append(consent(f"w{i}", "withdrawn", f"P{i // 20}", i - 5).as_json())
    file.write_text("\n".join(texts) + "\n")


def _life(store: Path, file: Path, batches: int, seconds: float) -> tuple[list[str], bool]:
    """Run a process that stores the stream, until so many batches are acknowledged and a moment more; return
    the ids that it acknowledged, and whether it was killed before its end."""
    command = [sys.executable, "-c", CHILD, str(store), str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(1 + batches)]
        time.sleep(seconds)
        child.kill()
        said += child.stdout.readlines()
        killed = child.wait() == -9
    assert said[0] == "begin\n"
    return [id for line in said[1:] for id in line.split()], killed


@pytest.mark.parametrize("kills", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_at_any_moment_loses_and_doubles_no_acknowledged_event(tmp_path: Path, kills: int) -> None:
    rng = np.random.default_rng(kills)
    file, torn, clean = tmp_path / "events.jsonl", tmp_path / "torn.db", tmp_path / "clean.db"
    _stream(file, 400 * kills, rng)
    acknowledged: list[str] = []
    for _ in range(kills):
        ids, killed = _life(torn, file, int(rng.integers(0, 12)), float(rng.uniform(0, 0.008)))
        assert killed
        acknowledged += ids
        if torn.is_file():
            with Store.open(torn, "warfarin", 0) as store:  # the lock went with the process
                there = set(stored(store)) | {item.record.id for item in store.quarantine()}
            assert there >= set(acknowledged)
    for path in (torn, clean):
        subprocess.run([sys.executable, "-c", CHILD, str(path), str(file)], check=True, capture_output=True)
    assert Counter(acknowledged).most_common(1)[0][1] == 1 and len(acknowledged) > 10 * kills
    end = everything(torn)
    assert end == everything(clean)
    assert len(end["events"]) > 250 * kills and len(end["quarantine"]) > 10 * kills
    assert len(end["journal"]) >= len(end["events"])
    assert len({event.id for _, event in end["events"]}) == len(end["events"])


# --------------------------------------------------------------------------------------------------- erasure


def _filled(store: Store) -> None:
    """Store two patients in every table, one of whom is to be erased."""
    for begin in range(0, 300, 50):
        part = range(begin, begin + 50)
        store.append([dose(f"{GONE}/{i}", GONE, i) for i in part], [], "file", f"{begin}:0")
        store.append([dose(f"P1/{i}", "P1", i) for i in part])
    escaped = json.dumps(GONE)
    store.append(
        [],
        [
            Refused(f'{{"patient": {escaped}, "id"', "line 1", "", "no JSON"),
            Refused(f'{{"patient": " {GONE}", "id": "x"}}', "line 2", "x", "a blank"),
            Refused(escaped.replace("\\u00f6", "\\xf6"), "line 3", "", "no UTF-8"),
            Refused(json.dumps({"patient": GONE + "8"}), "line 4", "", "another patient"),
            Refused('{"patient": "P1", ', "line 5", "", "another patient"),
        ],
    )
    store.append([dose(f"{GONE}/0", GONE, value=6)])  # in conflict
    store.append([consent("w", "withdrawn", GONE, 200)])
    store.note(
        [
            Note("recommendation", GONE, START, {"text": f"{GONE} takes 5 mg"}),
            Note("recommendation", "P1", START, {"dose": 5}),
            Note("promotion", None, START, {"patients": ["P1", GONE], "n": {GONE: 3}}),
        ]
    )
    store.put_factors([StoredFactor(GONE, 100, "0", GONE.encode()), StoredFactor("P1", 100, "0", b"x")])


def _without_the_patient(store: Store, hashed: str) -> None:
    """Assert that one patient is gone, and that the other is not."""
    assert {event.patient for _, event in store.events()} == {"P1"}
    assert len(list(store.events())) == 300 and [item.patient for item in store.patients()] == ["P1"]
    assert [item.record.place for item in store.quarantine()] == ["line 4", "line 5"]
    assert [note.body for _, note in store.journal()] == [
        {"dose": 5},
        {"patients": ["P1", hashed], "n": {hashed: 3}},
    ]
    assert [item.patient for item in store.factors()] == ["P1"]


def _trace(path: Path) -> bool:
    """Whether any byte of the files names the patient, other than as the beginning of another name."""
    return re.search(rb"40417(?!8)", raw(path)) is not None


def test_no_page_of_the_files_holds_who_was_erased(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    with Store.open(path, "warfarin", 0) as store:
        _filled(store)
        salt = store._db.execute("SELECT salt FROM patients WHERE patient = ?", (GONE,)).fetchone()[0]
        assert _trace(path) and salt in raw(path)
        hashed = store.erase(GONE)
        assert hashed == sha256(salt + GONE.encode()).hexdigest() and len(salt) == 16
        assert not _trace(path) and salt not in raw(path)
        assert b"P1/299" in raw(path) and b"404178" in raw(path)
        with pytest.raises(ValueError, match="has nothing of them; nothing was erased"):
            store.erase(GONE)
        assert store.append([dose("new", GONE)]).new[0][0] == 602  # numbers are not given again
        assert store.erase(GONE) != hashed
    assert not _trace(path)


def test_others_are_left_when_a_patient_is_erased(store: Store) -> None:
    _filled(store)
    assert len(list(store.events())) == 300 + 201 + 1 and len(list(store.quarantine())) == 3 + 2 + 1 + 99
    _without_the_patient(store, store.erase(GONE))


def test_a_name_that_was_sent_as_a_number_is_found(store: Store) -> None:
    numbers = [
        '{"patient": 17, "value": 3}',
        '{"patient": 3, "value": 17}',
        '{"patient": 3, "patient": "17"}',
    ]
    store.append([dose("a", "17")], [Refused(text, "", "", "no event") for text in numbers])
    store.erase("17")
    assert [item.record.text for item in store.quarantine()] == [numbers[1]]


def test_who_is_only_noted_refused_or_a_factor_can_be_erased_too(store: Store) -> None:
    store.note([Note("alarm", "P1", START, {})])
    store.append([], [Refused('{"patient": "P2"', "", "", "no JSON")])
    store.put_factors([StoredFactor("P3", 1, "0", b"x")])
    store.note([Note("page", None, START, {"patients": ["P4"]})])
    hashes = [store.erase(f"P{i}") for i in (1, 2, 3, 4)]
    assert [note.body for _, note in store.journal()] == [{"patients": [hashes[3]]}]
    assert len(set(hashes)) == 4 and list(store.quarantine()) == list(store.factors()) == []


def test_an_erasure_that_a_reader_holds_up_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    path = tmp_path / "s.db"
    with Store.open(path, "warfarin", 0) as store:
        _filled(store)
        salt = store._db.execute("SELECT salt FROM patients WHERE patient = ?", (GONE,)).fetchone()[0]
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM events").fetchone() == (502,)
        with pytest.raises(UnscrubbedError, match="a reader is at work in it.*; close its readers") as caught:
            store.erase(GONE)
        assert caught.value.hash == sha256(salt + GONE.encode()).hexdigest()
        _without_the_patient(store, caught.value.hash)
        assert _trace(path)
        reader.execute("COMMIT")
        reader.close()
    with Store.open(path, "warfarin", 0) as store:
        _without_the_patient(store, caught.value.hash)
        assert not _trace(path)
        assert "unscrubbed" not in dict(store._db.execute("SELECT name, value FROM meta"))
