"""Sources: every record once, in order, going on where the store is; brokers are told after the commit."""

from __future__ import annotations

import io
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.agents.refinement import sources as module
from dosewright.agents.refinement.events import LONGEST, Event, Refused, parse
from dosewright.agents.refinement.sources import (
    Batch,
    JsonLines,
    Record,
    Source,
    SourceError,
    SqliteTable,
    source,
)
from dosewright.agents.refinement.store import Appended, Store


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_WAIT", 0.01)


def bodies(batches: list[Batch]) -> list[bytes]:
    """Return the records of batches."""
    return [record.body for batch in batches for record in batch.records]


def event(number: int) -> bytes:
    """Return an event as a source has it."""
    time = datetime(2026, 3, 1, number % 24, tzinfo=UTC)
    return (
        Event(schema=1, id=f"e{number}", patient=f"P{number % 3}", time=time, kind="left", code="moved away")
        .as_json()
        .encode()
    )


def into(store: Store, batch: Batch, name: str) -> Appended:
    """Store a batch, as a server does."""
    found = [parse(record.body, record.place) for record in batch.records]
    return store.append(
        [item for item in found if isinstance(item, Event)],
        [item for item in found if isinstance(item, Refused)],
        name,
        batch.position,
    )


def ids(store: Store) -> list[str]:
    """Return the ids of the stored events, in order."""
    return [item.id for _, item in store.events()]


# ---------------------------------------------------------------------------------------------------- lines


def test_lines_are_given_in_batches_with_their_places_and_positions(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\n\nbb\r\nc\n  \nlast")
    lines = source(str(file))
    assert isinstance(lines, JsonLines) and lines.name == str(file)
    assert list(lines.batches(2)) == [
        Batch((Record(b"a", "line 1"), Record(b"bb\r", "line 3")), "7:3"),
        Batch((Record(b"c", "line 4"), Record(b"last", "line 6")), "16:6"),
    ]
    assert list(lines.batches(2, "7:3")) == list(lines.batches(2))[1:]
    assert [batch.position for batch in lines.batches(1)] == ["2:1", "7:3", "9:4", "16:6"]
    assert list(lines.batches(2, "16:6")) == []


def test_a_line_that_is_too_long_is_cut_and_the_next_one_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "events.jsonl"
    for chunk in (1000, LONGEST, 1 << 20):
        monkeypatch.setattr(module, "_CHUNK", chunk)
        for length in (LONGEST, LONGEST + 1, 5 * LONGEST):
            file.write_bytes(event(1) + b"\n" + b"x" * length + b"\n" + event(2) + b"\n" + b"y" * length)
            batches = list(JsonLines(file).batches(10))
            first, long, second, last = bodies(batches)
            assert (first, second) == (event(1), event(2))
            assert len(long) == len(last) == min(length, LONGEST + 1)
            assert batches[-1].position == f"{file.stat().st_size}:4"
            refused = parse(long, "line 2")
            assert isinstance(refused, Refused)
            assert refused.reason.startswith("longer than" if length > LONGEST else "no JSON")


@given(
    st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=12),
    st.integers(1, 5),
    st.integers(1, 30),
    st.booleans(),
    st.data(),
)
def test_a_restart_at_any_batch_gives_every_line_once(
    lines: list[bytes], most: int, chunk: int, ended: bool, data: st.DataObject
) -> None:
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    with pytest.MonkeyPatch.context() as patch, TemporaryDirectory() as folder:
        patch.setattr(module, "_CHUNK", chunk)
        file = Path(folder) / "events.jsonl"
        file.write_bytes(content)
        whole = list(JsonLines(file).batches(most))
        stop = data.draw(st.integers(0, len(whole)))
        rest = list(JsonLines(file).batches(most, whole[stop - 1].position if stop else ""))
    assert whole[:stop] + rest == whole
    assert bodies(whole) == [line for line in lines if line.strip()]
    assert all(len(batch.records) <= most for batch in whole)


def test_a_followed_file_is_waited_for_and_half_a_line_too(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"a\nb")
    with file.open("ab", buffering=0) as writer:
        batches = JsonLines(file, follow=True).batches(10)
        assert next(batches) == Batch((Record(b"a", "line 1"),), "2:1")
        assert next(batches) == Batch((), "2:1")  # nothing for now: b may go on
        writer.write(b"bb\nc")
        assert next(batches) == Batch((Record(b"bbb", "line 2"),), "6:2")
        assert next(batches).records == ()
        writer.write(b"\n")
        assert next(batches) == Batch((Record(b"c", "line 3"),), "8:3")
    again = JsonLines(file, follow=True).batches(10, "6:2")
    assert [batch.position for batch in islice(again, 3)] == ["8:3"] * 3


def test_another_file_under_the_name_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"aaaa\nbbbb\n")
    assert [batch.position for batch in JsonLines(file).batches(1)] == ["5:1", "10:2"]
    for content, said in ((b"aa\nb\n", "has 5 bytes"), (b"aaaaaaaaaaaaaaaa\n", "has no end of a line there")):
        file.write_bytes(content)
        with pytest.raises(
            SourceError, match=f"was read up to byte 10 before, and {said}; it is another file"
        ):
            next(JsonLines(file).batches(1, "10:2"))
    followed = JsonLines(file, follow=True).batches(1)
    assert bodies(list(islice(followed, 2))) == [b"a" * 16]
    file.write_bytes(b"")
    with pytest.raises(SourceError, match="became shorter while it was followed"):
        next(followed)
    for replacing in (True, False):
        file.write_bytes(b"a\n")
        followed = JsonLines(file, follow=True).batches(1)
        assert bodies(list(islice(followed, 2))) == [b"a"]
        file.rename(tmp_path / "old.jsonl")
        if replacing:
            file.write_bytes(b"a\nb\n")
        with pytest.raises(SourceError, match="was moved away or replaced while it was followed"):
            next(followed)


def test_standard_input_is_given_as_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    end, begin = os.pipe()
    with open(end) as reader, open(begin, "wb", buffering=0) as writer:
        monkeypatch.setattr(sys, "stdin", reader)
        lines = source("-")
        assert lines.name == "-"
        batches = lines.batches(2)
        writer.write(b"a\nb")  # and the pipe stays open: waiting for more would be for ever
        assert next(batches) == Batch((Record(b"a", "line 1"),))
        writer.write(b"\nc\nd\ne")
        assert next(batches) == Batch((Record(b"b", "line 2"), Record(b"c", "line 3")))
        assert next(batches) == Batch((Record(b"d", "line 4"),))
        writer.close()
        assert list(batches) == [Batch((Record(b"e", "line 5"),))]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert list(source("-").batches(2)) == []


# --------------------------------------------------------------------------------------------------- SQLite


def test_rows_of_another_sqlite_file_are_given_by_number(tmp_path: Path) -> None:
    file = tmp_path / "feed.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("CREATE TABLE events (seq INTEGER PRIMARY KEY, body TEXT)")
        rows = [(1, "ä"), (2, None), (5, b"\xff"), (9, 2.5)]
        db.executemany("INSERT INTO events VALUES (?, ?)", rows)
        table = source(f"sqlite:{file}")
        assert isinstance(table, SqliteTable) and table.name == f"sqlite:{file}"
        batches = list(table.batches(3))
        assert bodies(batches) == ["ä".encode(), b"", b"\xff", b"2.5"]
        assert [batch.position for batch in batches] == ["5", "9"]
        assert [record.place for record in batches[0].records] == ["row 1", "row 2", "row 5"]
        assert list(table.batches(3, "5")) == batches[1:]
        followed = source(f"sqlite:{file}", follow=True).batches(3, "9")
        assert next(followed) == Batch((), "9")
        db.execute("INSERT INTO events VALUES (12, 'new')")
        assert next(followed) == Batch((Record(b"new", "row 12"),), "12")
        db.execute("DROP TABLE events")
    with pytest.raises(
        SourceError, match=r"no such table: events; expected a SQLite file with a table events"
    ):
        list(table.batches(3))


def test_a_file_goes_on_where_the_store_is(tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(event(i) + b"\n" for i in range(20)) + b"broken\n")
    lines = source(str(file))
    for _ in range(4):  # stopped after two batches, three times, when one more was read than stored
        with Store.open(tmp_path / "s.db", "warfarin", 0) as store:
            batches = lines.batches(3, store.position(lines.name))
            for batch in islice(batches, 2):
                assert into(store, batch, lines.name).duplicates == 0
            next(batches, None)
    with Store.open(tmp_path / "s.db", "warfarin", 0) as store:
        assert ids(store) == [f"e{i}" for i in range(20)]
        (broken,) = store.quarantine()
        assert (broken.source, broken.record.place) == (lines.name, "line 21")


# ---------------------------------------------------------------------------------------------- which source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("http://x/events", "--source http://x/events: scheme 'http' is unknown; known: - (standard input)"),
        ("none.jsonl", "--source none.jsonl: there is no such file"),
        ("sqlite:none.db", "--source none.db: there is no such file"),
        ("redis://:secret@h/0", "redis://…: options none; expected all of stream, group, consumer, as in"),
        ("redis://h/0?stream=s&group=g&consumer=c&x=1", "options stream, group, consumer, x; expected all"),
        ("kafka://h/topic", "kafka://…: options none; expected all of group"),
        ("kafka://h?group=g", "no broker or topic; expected kafka://host:port/topic?group=G"),
    ],
)  # fmt: skip
def test_a_source_that_cannot_be_meant_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        source(text)
    assert said in str(caught.value) and "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "package", "extra"),
    [
        ("redis://h/0?stream=s&group=g&consumer=c", "redis", "redis"),
        ("kafka://h/topic?group=g", "confluent_kafka", "kafka"),
    ],
)
def test_a_missing_package_is_named_with_its_extra(
    text: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf'is not there; pip install "dosewright\[{extra}\]"'):
        source(text)


# --------------------------------------------------------------------------------------------------- brokers


@pytest.fixture(scope="module")
def redis_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A Redis server of our own."""
    redis = pytest.importorskip("redis")
    server = shutil.which("redis-server")
    if server is None:
        pytest.skip("no redis-server")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(
        command, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL
    ) as process:
        try:
            with redis.Redis(port=port) as client:
                for _ in range(200):
                    try:
                        client.ping()
                        break
                    except redis.ConnectionError:
                        time.sleep(0.05)
                else:
                    pytest.fail("redis-server does not answer")
            yield port
        finally:
            process.terminate()


@pytest.fixture
def redis_client(redis_port: int) -> Iterator[Any]:
    redis = pytest.importorskip("redis")
    with redis.Redis(port=redis_port) as client:
        client.flushall()
        yield client


def stream(port: int, consumer: str = "one", *, follow: bool = False) -> Source:
    """Return a consumer of the stream that the tests write to."""
    url = f"redis://127.0.0.1:{port}/0?stream=events&group=dosewright&consumer={consumer}"
    return source(url, follow=follow)


def pending(client: Any) -> int:
    """Return how many entries were given and not acknowledged."""
    return client.xpending("events", "dosewright")["pending"]


@pytest.mark.oracles
def test_redis_is_acknowledged_after_the_commit_and_what_was_not_comes_again(
    redis_client: Any, redis_port: int, tmp_path: Path
) -> None:
    for i in range(10):
        redis_client.xadd("events", {"body": event(i)})
    with Store.open(tmp_path / "s.db", "warfarin", 0) as store:
        first = stream(redis_port)
        batches = first.batches(4)
        batch = next(batches)
        assert len(into(store, batch, first.name).new) == 4
        first.acknowledge(batch)
        assert pending(redis_client) == 0
        batch = next(batches)  # stored, and then the process dies before it says so
        assert len(into(store, batch, first.name).new) == 4 and pending(redis_client) == 4
        first.close()
        second = stream(redis_port)
        found = []
        for batch in second.batches(3):
            added = into(store, batch, second.name)
            second.acknowledge(batch)
            found.append((len(batch.records), len(added.new), added.duplicates))
        second.close()
        assert found == [(3, 0, 3), (1, 0, 1), (2, 2, 0)]
        assert pending(redis_client) == 0
        assert ids(store) == [f"e{i}" for i in range(10)]
        assert list(store.quarantine()) == []
        third = stream(redis_port)
        assert list(third.batches(3)) == []
        third.close()
    assert first.name == f"redis://127.0.0.1:{redis_port}/0?stream=events&group=dosewright"


@pytest.mark.oracles
def test_consumers_of_a_group_share_a_stream(redis_client: Any, redis_port: int) -> None:
    for i in range(6):
        redis_client.xadd("events", {"body": event(i)})
    with closing(stream(redis_port, "one")) as one, closing(stream(redis_port, "two")) as two:
        mine, theirs = one.batches(2), two.batches(2)
        shared = [next(mine), next(theirs), next(mine)]
        assert bodies(shared) == [event(i) for i in range(6)]
        two.acknowledge(shared[1])
        assert pending(redis_client) == 4
    with closing(stream(redis_port, "one")) as one, closing(stream(redis_port, "two")) as two:
        assert bodies(list(two.batches(9))) == []
        assert bodies(list(one.batches(9))) == [event(i) for i in (0, 1, 4, 5)]


@pytest.mark.oracles
def test_redis_is_followed_and_odd_entries_are_records_too(redis_client: Any, redis_port: int) -> None:
    with closing(stream(redis_port, follow=True)) as followed:
        batches = followed.batches(10)
        assert next(batches) == Batch(())
        entry = redis_client.xadd("events", {"body": b"\xff"}).decode()
        redis_client.xadd("events", {"id": "e1", "schema": "1"})
        gone = redis_client.xadd("events", {"body": event(1)})
        batch = next(batches)
        assert [record.body for record in batch.records[:2]] == [b"\xff", b'{"id": "e1", "schema": "1"}']
        assert batch.records[0].place == f"entry {entry}"
        assert isinstance(parse(batch.records[1].body, ""), Refused)
        redis_client.xdel("events", gone)
    with closing(stream(redis_port)) as again:  # an entry that was deleted in between is said, not lost
        assert bodies(list(again.batches(10))) == [*bodies([batch])[:2], b""]


@pytest.mark.oracles
def test_redis_that_is_not_there_or_holds_something_else_is_named(redis_client: Any, redis_port: int) -> None:
    redis_client.set("events", "text")
    with (
        closing(stream(redis_port)) as wrong,
        pytest.raises(SourceError, match=r"stream=events&group=dosewright: WRONGTYPE"),
    ):
        next(wrong.batches(1))
    with (
        closing(stream(1)) as nobody,
        pytest.raises(SourceError, match=r"redis://127\.0\.0\.1:1/0\?stream.*; is the server there"),
    ):
        next(nobody.batches(1))


@pytest.fixture
def kafka_producer() -> Iterator[tuple[Any, str]]:
    """A producer with the broker that librdkafka brings for tests, and the broker's address."""
    kafka = pytest.importorskip("confluent_kafka")
    producer = kafka.Producer({"bootstrap.servers": "none", "test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = producer.list_topics(timeout=10).brokers.values()
    yield producer, f"{broker.host}:{broker.port}"
    producer.purge()


def filled(producer: Any) -> None:
    """Send ten events to two partitions, and a message without content."""
    for i in range(10):
        producer.produce("events", value=event(i), partition=i % 2)
    producer.produce("events", value=None, partition=0)
    assert producer.flush(10) == 0


def committed(broker: str) -> dict[int, int]:
    """Return partition -> the group's offset, where it has one."""
    kafka = pytest.importorskip("confluent_kafka")
    asked = [kafka.TopicPartition("events", partition) for partition in (0, 1)]
    with closing(kafka.Consumer({"bootstrap.servers": broker, "group.id": "dosewright"})) as client:
        return {
            item.partition: item.offset for item in client.committed(asked, timeout=10) if item.offset >= 0
        }


@pytest.mark.oracles
def test_kafka_offsets_are_committed_after_the_store(kafka_producer: tuple[Any, str], tmp_path: Path) -> None:
    producer, broker = kafka_producer
    filled(producer)
    url = f"kafka://{broker}/events?group=dosewright"
    behind: dict[int, int] = {}
    with Store.open(tmp_path / "s.db", "warfarin", 0) as store, closing(source(url)) as topic:
        assert topic.name == url
        for batch in topic.batches(4):
            assert 0 < len(batch.records) <= 4
            assert into(store, batch, topic.name).duplicates == 0
            assert committed(broker) == behind  # stored, and not yet acknowledged
            topic.acknowledge(batch)
            behind |= {partition: offset + 1 for partition, offset in batch.receipts}
            assert committed(broker) == behind
        assert behind == {0: 6, 1: 5}
        assert sorted(ids(store)) == [f"e{i}" for i in range(10)]
        assert [item.record.place for item in store.quarantine()] == ["partition 0 offset 5"]


@pytest.mark.slow  # the broker waits for those who have gone
@pytest.mark.oracles
def test_what_kafka_was_not_told_of_comes_again(kafka_producer: tuple[Any, str], tmp_path: Path) -> None:
    producer, broker = kafka_producer
    filled(producer)
    url = f"kafka://{broker}/events?group=dosewright"
    with Store.open(tmp_path / "s.db", "warfarin", 0) as store:
        with closing(source(url, follow=True)) as first:
            found = (batch for batch in first.batches(4) if batch.records)
            batch = next(found)
            before = len(batch.records)
            into(store, batch, first.name)
            first.acknowledge(batch)
            batch = next(found)
            stored = len(batch.records)
            into(store, batch, first.name)
            assert before > 0 and stored > 0
        with closing(source(url)) as second:
            records = duplicates = 0
            for batch in second.batches(4):
                added = into(store, batch, second.name)
                second.acknowledge(batch)
                records, duplicates = records + len(batch.records), duplicates + added.duplicates
            assert (records, duplicates) == (11 - before, stored)
        with closing(source(url)) as third:
            assert list(third.batches(4)) == []
        assert sorted(ids(store)) == [f"e{i}" for i in range(10)]
        assert len(list(store.quarantine())) == 1
