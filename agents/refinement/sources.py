"""Where events come from: a file of lines, standard input, a table of SQLite, a stream of Redis, a topic of
Kafka.

Every source gives batches of raw records, and is told when one of them is stored. What was given and not
acknowledged is given again after a restart: by the position that the store keeps (files, SQLite), or by the
broker (Redis, Kafka). Ids make that harmless.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast
from urllib.parse import parse_qsl, urlsplit

from dosewright.agents.refinement.events import LONGEST

_WAIT = 0.1  # s between two looks at what may have grown
_CHUNK = 1 << 20  # bytes read at once
_FIELD = b"body"  # of a Redis entry: the event's JSON


class SourceError(OSError):
    """A source cannot be read, or is not what was read before."""


@dataclass(frozen=True)
class Record:
    """A record as it came, and where it stood: "line 14"."""

    body: bytes
    place: str


@dataclass(frozen=True)
class Batch:
    """Records in order.

    Attributes
    ----------
    records
        None of them: nothing has come for a while.
    position
        Where to go on after these; "" for a source that keeps its position itself.
    receipts
        What the source needs to acknowledge them.
    """

    records: tuple[Record, ...]
    position: str = ""
    receipts: tuple[Any, ...] = ()


class Source(Protocol):
    """A source of events; `close` it, as ``contextlib.closing`` does."""

    @property
    def name(self) -> str:
        """Names it, the same in every run and without a password."""
        ...

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give up to `most` records at a time, from where an earlier run ended: the position of its last
        batch that was stored. A source that is followed gives an empty batch when nothing comes, and never
        ends."""
        ...

    def acknowledge(self, batch: Batch) -> None:
        """Take note that a batch is stored: to be called after the commit, never before."""
        ...

    def close(self) -> None:
        """Leave it."""
        ...


def source(text: str, *, follow: bool = False) -> Source:
    """Return the source that a command line means.

    Parameters
    ----------
    text
        ``-`` (standard input), ``events.jsonl`` (a file of JSON lines), ``sqlite:events.db`` (its table
        ``events(seq integer primary key, body text)``), ``redis://host:port/0?stream=S&group=G&consumer=C``
        (entries with the field ``body``; rediss:// too) or ``kafka://host:port/topic?group=G``.
    follow
        Wait for more at the end; else the source ends with what is there. Standard input ends when it is
        closed, either way.

    Raises
    ------
    ValueError
        For another scheme, an option that is missing or unknown, a file that is not there, and a package
        that is not installed.
    """
    if text == "-":
        return StandardInput()
    scheme, _, rest = text.partition(":")
    if scheme == "sqlite":
        return SqliteTable(rest, follow)
    if scheme in ("redis", "rediss"):
        return RedisStream(text, follow)
    if scheme == "kafka":
        return KafkaTopic(text, follow)
    if re.match(r"[a-z][a-z0-9+.-]*://", text):
        raise ValueError(
            f"--source {text}: scheme {scheme!r} is unknown; known: - (standard input), FILE, sqlite:FILE, "
            "redis://, rediss://, kafka://"
        )
    return JsonLines(text, follow)


# ---------------------------------------------------------------------------------------------------- lines


class JsonLines:
    """Lines of a file.

    A last line without its end is waited for where the file is followed, and taken where it is not. Empty
    lines are passed over. The position is ``bytes:lines``.

    Parameters
    ----------
    path
        The file.
    follow
        Wait for more at the end.

    Raises
    ------
    ValueError
        If it is not there.
    """

    def __init__(self, path: str | Path, follow: bool = False) -> None:
        self._path = _there(path)
        self._follow = follow

    @property
    def name(self) -> str:
        """The file, wherever the command is given."""
        return str(self._path.resolve())

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give lines, as `Source.batches`.

        Raises
        ------
        SourceError
            If the file is not the one that was read up to the position, or is replaced while it is followed.
        """
        offset, lines = (int(part) for part in position.split(":")) if position else (0, 0)
        with self._path.open("rb") as file:
            self._go_on(file, offset)
            yield from _batched(self._lines(file), most, offset, lines)

    def acknowledge(self, batch: Batch) -> None:
        """Do nothing: the store has the position."""

    def close(self) -> None:
        """Do nothing: the file is open only while batches are read."""

    def _lines(self, file: BinaryIO) -> Iterator[_Line | None]:
        cut = _Cutter()
        while True:
            chunk = file.read(_CHUNK)
            yield from cut.lines(chunk)
            if chunk:
                continue
            if not self._follow:
                yield from cut.rest()
                return
            yield None
            time.sleep(_WAIT)
            self._still_there(file)

    def _go_on(self, file: BinaryIO, offset: int) -> None:
        """Go to `offset`, up to which the file was read before: the end of a line."""
        size = os.fstat(file.fileno()).st_size
        file.seek(max(offset - 1, 0))
        whole = offset in (0, size) or b"\n" in file.read(2)
        if size < offset or not whole:
            what = f"has {size} bytes" if size < offset else "has no end of a line there"
            raise SourceError(
                f"{self._path}: was read up to byte {offset} before, and {what}; it is another file: give it "
                "another name"
            )
        file.seek(offset)

    def _still_there(self, file: BinaryIO) -> None:
        """Refuse to wait for what another file of the same name will hold."""
        now = os.fstat(file.fileno())
        if not self._path.exists() or not os.path.samestat(now, self._path.stat()):
            what = "was moved away or replaced"
        elif now.st_size < file.tell():
            what = "became shorter"
        else:
            return
        raise SourceError(
            f"{self._path}: {what} while it was followed; begin again, with another name for what is new"
        )


class StandardInput:
    """Lines of standard input, given as they come; no position, for nothing can be read again."""

    @property
    def name(self) -> str:
        """``-``."""
        return "-"

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give lines, as `Source.batches`, until the input is closed."""
        for batch in _batched(self._lines(), most, 0, 0):
            if batch.records:
                yield Batch(batch.records)

    def acknowledge(self, batch: Batch) -> None:
        """Do nothing: whoever writes is not told."""

    def close(self) -> None:
        """Do nothing: it is not ours."""

    def _lines(self) -> Iterator[_Line | None]:
        cut = _Cutter()
        # what is there, without waiting for more; its type knows no read1
        while chunk := cast(BufferedReader, sys.stdin.buffer).read1(_CHUNK):
            yield from cut.lines(chunk)
            yield None
        yield from cut.rest()


@dataclass(frozen=True)
class _Line:
    """A line without its end, of an over-long one the start, and how many bytes it took."""

    body: bytes
    size: int


class _Cutter:
    """Cuts what is read into lines."""

    def __init__(self) -> None:
        self._begun = b""
        self._skipped = 0  # bytes of an over-long line that are not kept

    def lines(self, chunk: bytes) -> Iterator[_Line]:
        """Give the lines that end in a chunk, with what was left of the one before."""
        *ended, begun = (self._begun + chunk).split(b"\n")
        for body in ended:
            size, self._skipped = len(body) + 1 + self._skipped, 0
            yield _Line(body[: LONGEST + 1], size)
        # one byte more than an event may have, by which it is refused
        self._skipped += len(begun[LONGEST + 1 :])
        self._begun = begun[: LONGEST + 1]

    def rest(self) -> Iterator[_Line]:
        """Give the last line, where it has no end."""
        if self._begun:
            yield _Line(self._begun, len(self._begun) + self._skipped)


def _batched(found: Iterator[_Line | None], most: int, offset: int, lines: int) -> Iterator[Batch]:
    """Put lines into batches, which are full or end where there is nothing more for now (None)."""
    records: list[Record] = []
    for line in found:
        if line is not None:
            offset, lines = offset + line.size, lines + 1
            if line.body.strip():
                records.append(Record(line.body, f"line {lines}"))
        if line is None or len(records) == most:
            yield Batch(tuple(records), f"{offset}:{lines}")
            records = []
    if records:
        yield Batch(tuple(records), f"{offset}:{lines}")


# --------------------------------------------------------------------------------------------------- SQLite


class SqliteTable:
    """Rows of the table ``events(seq integer primary key, body text)`` in a SQLite file, by `seq`, which is
    the position.

    Parameters
    ----------
    path
        The file; it is never written to.
    follow
        Wait for more rows.

    Raises
    ------
    ValueError
        If it is not there.
    """

    def __init__(self, path: str | Path, follow: bool = False) -> None:
        self._path = _there(path)
        self._follow = follow

    @property
    def name(self) -> str:
        """The file, wherever the command is given."""
        return f"sqlite:{self._path.resolve()}"

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give rows, as `Source.batches`.

        Raises
        ------
        SourceError
            If the file or the table cannot be read.
        """
        after = int(position or 0)
        with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            db.text_factory = bytes  # what is no UTF-8 is refused as a record, not an error here
            while True:
                rows = self._rows(db, after, most)
                if rows:
                    after = rows[-1][0]
                elif not self._follow:
                    return
                else:
                    time.sleep(_WAIT)
                records = tuple(Record(_bytes(body), f"row {seq}") for seq, body in rows)
                yield Batch(records, str(after))

    def acknowledge(self, batch: Batch) -> None:
        """Do nothing: the store has the position."""

    def close(self) -> None:
        """Do nothing: the file is open only while batches are read."""

    def _rows(self, db: sqlite3.Connection, after: int, most: int) -> list[tuple[int, Any]]:
        try:
            return db.execute(
                "SELECT seq, body FROM events WHERE seq > ? ORDER BY seq LIMIT ?", (after, most)
            ).fetchall()
        except sqlite3.Error as error:
            raise SourceError(
                f"{self.name}: {error}; expected a SQLite file with a table events(seq integer primary key, "
                "body text)"
            ) from error


def _bytes(body: Any) -> bytes:
    """Return a cell of any type as a record, which `parse` will refuse where it is no text."""
    return body if isinstance(body, bytes) else b"" if body is None else str(body).encode()


def _there(path: str | Path) -> Path:
    file = Path(path)
    if not file.is_file():
        raise ValueError(f"--source {path}: there is no such file; name one that is there")
    return file


# -------------------------------------------------------------------------------------------------- brokers


class RedisStream:
    """Entries of a Redis stream, read as a member of a consumer group and acknowledged after the commit.

    What this consumer was given and did not acknowledge, as when it was killed, comes first. A group that is
    not there is made, from the beginning of the stream. Of an entry without the field ``body`` the record is
    its fields, which is no event.

    Parameters
    ----------
    url
        ``redis://host:port/0?stream=S&group=G&consumer=C``; a consumer has its name for itself.
    follow
        Wait for more entries.

    Raises
    ------
    ValueError
        For an option that is missing or unknown, and without the package redis.
    """

    def __init__(self, url: str, follow: bool = False) -> None:
        options = _options(url, ("stream", "group", "consumer"))
        try:
            import redis
        except ImportError:
            raise _missing("redis", "redis") from None
        self._stream, self._group, self._consumer = (options[k] for k in ("stream", "group", "consumer"))
        address = urlsplit(url)
        self._place = f"{address.scheme}://{address.hostname}:{address.port or 6379}{address.path}"
        self._follow = follow
        self._redis = redis
        self._client = redis.Redis.from_url(url.partition("?")[0])

    @property
    def name(self) -> str:
        """Server, stream and group."""
        return f"{self._place}?stream={self._stream}&group={self._group}"

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give entries, as `Source.batches`; the position is the group's own.

        Raises
        ------
        SourceError
            If the server cannot be reached, or the stream is no stream. What was not acknowledged comes
            first when batches are asked for again.
        """
        with _named_error(self.name, self._redis.RedisError):
            self._join()
        last = "0"  # after this one among those not acknowledged; ">": none is left, give new ones
        while True:
            with _named_error(self.name, self._redis.RedisError):
                entries = self._read(most, last)
            if entries:
                last = last if last == ">" else entries[-1][0]
                records = tuple(Record(_body(fields), f"entry {id}") for id, fields in entries)
                yield Batch(records, receipts=tuple(id for id, _ in entries))
            elif last != ">":
                last = ">"
            elif self._follow:
                yield Batch(())
            else:
                return

    def acknowledge(self, batch: Batch) -> None:
        """Tell the group that a batch is stored.

        Raises
        ------
        SourceError
            If the server cannot be reached: the batch will come again, and its ids tell.
        """
        if batch.receipts:
            with _named_error(self.name, self._redis.RedisError):
                self._client.xack(self._stream, self._group, *batch.receipts)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _join(self) -> None:
        try:
            self._client.xgroup_create(self._stream, self._group, id="0", mkstream=True)
        except self._redis.ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # it is there already
                raise

    def _read(self, most: int, after: str) -> list[tuple[str, Mapping[bytes, bytes] | None]]:
        block = int(1000 * _WAIT) if self._follow and after == ">" else None
        answer: Any = self._client.xreadgroup(
            self._group, self._consumer, {self._stream: after}, count=most, block=block
        )
        return [(id.decode(), fields) for _, entries in answer or () for id, fields in entries]


def _body(fields: Mapping[bytes, bytes] | None) -> bytes:
    """Return the record of a Redis entry; of one that was deleted before it was stored nothing is left."""
    if not fields:
        return b""
    if _FIELD in fields:
        return fields[_FIELD]
    shown = {
        key.decode("utf-8", "replace"): value.decode("utf-8", "replace") for key, value in fields.items()
    }
    return json.dumps(shown, ensure_ascii=False).encode()


class KafkaTopic:
    """Messages of a Kafka topic, read as a member of a consumer group; offsets are committed after the
    store's commit.

    Parameters
    ----------
    url
        ``kafka://host:port/topic?group=G``; several brokers stand with commas between them.
    follow
        Wait for more messages; else end where every partition has ended.

    Raises
    ------
    ValueError
        For a topic or option that is missing or unknown, and without the package confluent-kafka.
    """

    def __init__(self, url: str, follow: bool = False) -> None:
        options = _options(url, ("group",))
        address = urlsplit(url)
        self._topic, self._group, self._brokers = address.path.strip("/"), options["group"], address.netloc
        if not self._topic or not self._brokers:
            raise ValueError(f"--source {url}: no broker or topic; expected kafka://host:port/topic?group=G")
        try:
            import confluent_kafka
        except ImportError:
            raise _missing("confluent-kafka", "kafka") from None
        self._follow = follow
        self._kafka = confluent_kafka
        self._consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self._brokers,
                "group.id": self._group,
                "enable.auto.commit": False,
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                # what a killed process had is given to the next one after 6 s, not after 45
                "session.timeout.ms": 6000,
                "heartbeat.interval.ms": 2000,
            }
        )

    @property
    def name(self) -> str:
        """Brokers, topic and group."""
        return f"kafka://{self._brokers}/{self._topic}?group={self._group}"

    def batches(self, most: int, position: str = "") -> Iterator[Batch]:
        """Give messages, as `Source.batches`; the position is the group's own.

        Raises
        ------
        SourceError
            If the topic cannot be read.
        """
        self._consumer.subscribe([self._topic])
        ended: set[int | None] = set()
        while True:
            with _named_error(self.name, self._kafka.KafkaException):
                messages = self._messages(most, ended)
            if messages or self._follow:
                places = [(message.partition() or 0, message.offset() or 0) for message in messages]
                records = tuple(
                    Record(message.value() or b"", f"partition {partition} offset {offset}")
                    for message, (partition, offset) in zip(messages, places, strict=True)
                )
                yield Batch(records, receipts=tuple(places))
            elif ended and ended >= {item.partition for item in self._consumer.assignment()}:
                return

    def acknowledge(self, batch: Batch) -> None:
        """Commit the offsets behind a batch.

        Raises
        ------
        SourceError
            If the broker does not take them: the batch will come again, and its ids tell.
        """
        behind = dict(sorted((partition, offset + 1) for partition, offset in batch.receipts))
        if behind:
            offsets = [
                self._kafka.TopicPartition(self._topic, partition, offset)
                for partition, offset in behind.items()
            ]
            with _named_error(self.name, self._kafka.KafkaException):
                self._consumer.commit(offsets=offsets, asynchronous=False)

    def close(self) -> None:
        """Leave the group."""
        self._consumer.close()

    def _messages(self, most: int, ended: set[int | None]) -> list[Any]:
        """Return messages, and note the partitions that have none left."""
        found = []
        for message in self._consumer.consume(most, timeout=_WAIT):
            error = message.error()
            if error is None:
                ended.discard(message.partition())
                found.append(message)
            elif error.code() == self._kafka.KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                raise self._kafka.KafkaException(error)
        return found


@contextmanager
def _named_error(name: str, kind: type[Exception]) -> Iterator[None]:
    try:
        yield
    except kind as error:
        raise SourceError(f"{name}: {error}; is the server there, and is the address right?") from error


def _options(url: str, names: tuple[str, ...]) -> dict[str, str]:
    """Return the options behind the question mark of an address: all of `names`, and no other."""
    found = dict(parse_qsl(urlsplit(url).query))
    if set(found) != set(names):
        raise ValueError(
            f"--source {urlsplit(url).scheme}://…: options {', '.join(found) or 'none'}; expected all of "
            f"{', '.join(names)}, as in ?{'&'.join(f'{name}=…' for name in names)}"
        )
    return found


def _missing(package: str, extra: str) -> ValueError:
    return ValueError(
        f'--source {extra}://…: the package {package} is not there; pip install "dosewright[{extra}]"'
    )
