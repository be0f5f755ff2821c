"""Events on disk: one SQLite file that a killed process leaves whole, and from which a patient can be erased.

What is committed is on the disk (WAL, ``synchronous=FULL``); what is not leaves no trace. One process writes
at a time, any number may read. Events are kept in the order of receipt, so that reading them again is an
exact replay.
"""

from __future__ import annotations

import json
import os
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any, Literal, Self

from filelock import FileLock, Timeout

from dosewright.agents.refinement.events import Event, Refused

_APPLICATION = int.from_bytes(b"dwev")  # tells our files from other SQLite files
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        f"PRAGMA application_id = {_APPLICATION}",
        """CREATE TABLE events (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, patient TEXT NOT NULL,
            time TEXT NOT NULL, kind TEXT NOT NULL, code TEXT, value, unit TEXT, site TEXT,
            digest BLOB NOT NULL)""",
        "CREATE INDEX events_of_patient ON events (patient)",
        """CREATE TABLE quarantine (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL, text TEXT NOT NULL,
            source TEXT NOT NULL, place TEXT NOT NULL, reason TEXT NOT NULL, digest BLOB NOT NULL UNIQUE,
            withheld INTEGER NOT NULL)""",  # 1: an event, whose id is taken
        "CREATE INDEX withheld ON quarantine (id) WHERE withheld",
        """CREATE TABLE journal (
            seq INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, patient TEXT, time TEXT NOT NULL,
            body TEXT NOT NULL)""",
        "CREATE INDEX journal_of_patient ON journal (patient)",
        """CREATE TABLE factors (
            patient TEXT PRIMARY KEY, through INTEGER NOT NULL, version TEXT NOT NULL, blob BLOB NOT NULL)""",
        "CREATE TABLE positions (source TEXT PRIMARY KEY, position TEXT NOT NULL)",
        "CREATE TABLE patients (patient TEXT PRIMARY KEY, salt BLOB NOT NULL, consent TEXT, since TEXT)",
        "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
    ),
)
_PATIENCE = 5.0  # s to wait for readers
_PAGE = 1000  # rows read at once: no cursor stays open between two of them
_UNSCRUBBED = "unscrubbed"  # in meta while pages of an erased patient may be left in the files

Consent = Literal["given", "withdrawn"]


class StoreRefusedError(ValueError):
    """The file is no store, another one, of a newer version, or another process writes to it."""


class StoreFullError(OSError):
    """There is no space for what should be stored; nothing of it was."""


class UnscrubbedError(OSError):
    """A patient is erased from the tables, but raw pages may still hold what was there.

    Attributes
    ----------
    hash
        What `Store.erase` would have returned: the salt is gone, so it cannot be computed again.
    """

    def __init__(self, message: str, hash: str) -> None:
        super().__init__(message)
        self.hash = hash


@dataclass(frozen=True)
class Appended:
    """What became of a batch.

    Attributes
    ----------
    new
        Events that were not there before, with their numbers, in the order of receipt.
    duplicates
        Events and refused records that were there already.
    conflicts
        Events whose id was there with other content; they are in quarantine.
    refused
        Records new in quarantine, conflicts and events after a withdrawal of consent among them.
    withdrawn
        Events stored earlier that a withdrawal of consent took out again, with their numbers.
    """

    new: tuple[tuple[int, Event], ...]
    duplicates: int
    conflicts: int
    refused: int
    withdrawn: tuple[tuple[int, Event], ...]


@dataclass(frozen=True)
class Quarantined:
    """A refused record: its number, the source that it came from ("" for an event that was stored before),
    and what it is."""

    seq: int
    source: str
    record: Refused


@dataclass(frozen=True)
class Note:
    """An event of the server's own: a recommendation, an override, an alarm, a verdict, a promotion.

    Attributes
    ----------
    kind
        Which.
    patient
        Whom it concerns; None: nobody in particular. Prose about a patient belongs into a note of that
        patient, so that it is erased with them; where `body` lists patients, each stands as a text of its
        own.
    time
        With a time zone.
    body
        As JSON has it.
    """

    kind: str
    patient: str | None
    time: datetime
    body: Mapping[str, Any]


@dataclass(frozen=True)
class StoredFactor:
    """A patient's likelihood factor, as bytes.

    Attributes
    ----------
    patient
        Whose.
    through
        Number of the last event in it.
    version
        Of the scenario it was made with.
    blob
        Its content.
    """

    patient: str
    through: int
    version: str
    blob: bytes


@dataclass(frozen=True)
class Patient:
    """A patient of whom there are events: the name, the state of consent (None: nothing was said) and since
    when."""

    patient: str
    consent: Consent | None
    since: datetime | None


class Store:
    """The events of one scenario's patients. Made by `open`; a context manager, which closes it."""

    def __init__(self, path: Path, db: sqlite3.Connection, lock: FileLock | None) -> None:
        self.path = path
        self._db = db
        self._lock = lock

    @classmethod
    def open(
        cls, path: str | Path, scenario_name: str, scenario_version: int, *, write: bool = True
    ) -> Store:
        """Open a store; one that is not there is made.

        Parameters
        ----------
        path
            The file. Beside it stand ``-wal`` and ``-shm``, which are part of it, ``.lock``, and ``.pid``
            with the number of the process that writes.
        scenario_name, scenario_version
            Whose events it holds.
        write
            Whether it can be written to; a store that is only read must be there.

        Raises
        ------
        StoreRefusedError
            For a file that is no store, holds another scenario, was written by a newer version, or (to be
            read) by an older one; and where another process writes to it.
        StoreFullError
            If there is no space to make it.
        """
        file = Path(path)
        if not write and not file.is_file():
            raise StoreRefusedError(f"{file}: there is no store; name one that was written")
        if write and not file.absolute().parent.is_dir():
            raise StoreRefusedError(f"{file}: {file.parent} is no folder; make it, or name another file")
        lock = _locked(file) if write else None
        try:
            with _explained(file):
                db = _connected(file, write)
                store = cls(file, db, lock)
                try:
                    store._prepare(scenario_name, str(scenario_version), write)
                except BaseException:
                    db.close()
                    raise
        except BaseException:
            if lock is not None:
                _unlock(file, lock)
            raise
        return store

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave it to others."""
        self._db.close()
        if self._lock is not None:
            _unlock(self.path, self._lock)

    # ------------------------------------------------------------------------------------------- writing

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make one of all that is written inside: committed at its end, or, after an error, not there at all.

        Raises
        ------
        StoreFullError
            If there is no space. The store goes on when there is.
        OSError
            If the file cannot be read or written.
        """
        if self._db.in_transaction:
            yield
            return
        with _explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite rolls some errors back itself
                    self._db.execute("ROLLBACK")
                raise

    def append(
        self,
        events: Sequence[Event],
        refused: Sequence[Refused] = (),
        source: str = "",
        position: str = "",
    ) -> Appended:
        """Store what came from a source, in one transaction; when it returns, it can be acknowledged.

        An id that was there with the same content is a duplicate, and with other content a conflict.
        Withdrawn consent is final: events of the patient at a later time are refused, whichever came first,
        so that the order of delivery does not matter. Both go into quarantine, in which equal records stand
        once.

        Parameters
        ----------
        events, refused
            In the order of receipt.
        source
            Where they came from.
        position
            Where in the source to go on; "": not kept here.

        Raises
        ------
        StoreFullError, OSError
            As `transaction`.
        """
        with self.transaction():
            fresh, duplicates, conflicts = self._sorted_out(events)
            early = self._withdrawals(fresh)
            allowed = [event for event in fresh if not _after_withdrawal(event, early)]
            late = [_late(event) for event in fresh if _after_withdrawal(event, early)]
            new = self._insert(allowed)
            withdrawn = self._settle_consent(allowed)
            refusals = [*refused, *(_conflicting(event) for event in conflicts)]
            stored = self._quarantine(source, refusals) + self._quarantine(source, late, withheld=True)
            self._quarantine("", [_late(event) for _, event in withdrawn], withheld=True)
            if position:
                # where nothing moved nothing is written: a source that is followed says so all the time
                self._db.execute(
                    "INSERT INTO positions VALUES (?, ?) ON CONFLICT (source) "
                    "DO UPDATE SET position = excluded.position WHERE position != excluded.position",
                    (source, position),
                )
        return Appended(
            new, duplicates + len(refusals) + len(late) - stored, len(conflicts), stored, withdrawn
        )

    def note(self, notes: Sequence[Note]) -> None:
        """Store events of the server's own, in one transaction or in the one that is open.

        Raises
        ------
        ValueError
            For a time without a time zone, and for a body that JSON cannot hold.
        StoreFullError, OSError
            As `transaction`.
        """
        rows = []
        for item in notes:
            if item.time.tzinfo is None:
                raise ValueError(
                    f"note {item.kind!r}: time {item.time.isoformat()} has no time zone; give one"
                )
            body = json.dumps(item.body, ensure_ascii=False, allow_nan=False)
            rows.append((item.kind, item.patient, _text(item.time), body))
        with self.transaction():
            self._db.executemany("INSERT INTO journal (kind, patient, time, body) VALUES (?, ?, ?, ?)", rows)

    def put_factors(self, factors: Sequence[StoredFactor]) -> None:
        """Store likelihood factors, each in place of the patient's earlier one.

        Raises
        ------
        StoreFullError, OSError
            As `transaction`.
        """
        rows = [(item.patient, item.through, item.version, item.blob) for item in factors]
        with self.transaction():
            self._db.executemany("INSERT OR REPLACE INTO factors VALUES (?, ?, ?, ?)", rows)

    def delete_factor(self, patient: str) -> None:
        """Delete a patient's likelihood factor, where there is one."""
        with self.transaction():
            self._db.execute("DELETE FROM factors WHERE patient = ?", (patient,))

    def erase(self, patient: str) -> str:
        """Erase a patient: events, records in quarantine that name them, notes, factor, consent and salt; in
        others' notes that list them a hash stands for the name. No page of the files holds the name
        afterwards.

        Returns
        -------
        str
            SHA-256 of salt and name, in hexadecimal, by which a log may go on naming them: with the salt
            gone, nobody can tell whose it was. Events that are sent again make a new patient.

        Raises
        ------
        ValueError
            If nothing names the patient.
        UnscrubbedError
            If they are erased, but a reader, or want of space, keeps the files from being cleaned; that is
            made up for when the store is opened for writing, and with the next erasure.
        """
        with self.transaction():
            salt = self._db.execute("SELECT salt FROM patients WHERE patient = ?", (patient,)).fetchone()
            hashed = sha256((os.urandom(16) if salt is None else salt[0]) + patient.encode()).hexdigest()
            before = self._db.total_changes
            for table in ("events", "journal", "factors", "patients"):
                self._db.execute(f"DELETE FROM {table} WHERE patient = ?", (patient,))
            self._erase_refused(patient)
            self._rename_in_journal(patient, hashed)
            if self._db.total_changes == before:
                raise ValueError(f"patient {patient!r}: {self.path} has nothing of them; nothing was erased")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, '')", (_UNSCRUBBED,))
        try:
            self._scrub()
        except OSError as error:
            raise UnscrubbedError(
                f"{self.path}: the patient is erased, but pages of the file may still hold what was there "
                f"({error}); close its readers, make space, and open it again for writing",
                hashed,
            ) from error
        return hashed

    # ------------------------------------------------------------------------------------------- reading

    def events(self, patient: str | None = None, after: int = 0) -> Iterator[tuple[int, Event]]:
        """Give the events in the order of receipt, with their numbers: of one patient or of all, those with
        numbers above `after`."""
        for seq, id, of, time, kind, code, value, unit, site in self._rows(
            "events", "id, patient, time, kind, code, value, unit, site", {"patient": patient}, after
        ):
            # was checked when it came in
            event = Event.model_construct(
                version=1, id=id, patient=of, time=datetime.fromisoformat(time), kind=kind, code=code,
                value=value, unit=unit, site=site,
            )  # fmt: skip
            yield seq, event

    def quarantine(self) -> Iterator[Quarantined]:
        """Give the refused records in the order of receipt."""
        for seq, source, text, place, id, reason in self._rows(
            "quarantine", "source, text, place, id, reason", {}, 0
        ):
            yield Quarantined(seq, source, Refused(text, place, id, reason))

    def journal(self, kind: str | None = None, patient: str | None = None) -> Iterator[tuple[int, Note]]:
        """Give the server's own events in order, with their numbers: of a kind, of a patient, or all."""
        for seq, of, about, time, body in self._rows(
            "journal", "kind, patient, time, body", {"kind": kind, "patient": patient}, 0
        ):
            yield seq, Note(of, about, datetime.fromisoformat(time), json.loads(body))

    def patients(self) -> list[Patient]:
        """Return the patients of whom there are events, in the order in which they came."""
        rows = self._db.execute("SELECT patient, consent, since FROM patients ORDER BY rowid")
        return [
            Patient(name, consent, since and datetime.fromisoformat(since)) for name, consent, since in rows
        ]

    def factors(self) -> Iterator[StoredFactor]:
        """Give the stored likelihood factors, by patient."""
        found = [name for (name,) in self._db.execute("SELECT patient FROM factors ORDER BY patient")]
        for name in found:
            row = self._db.execute("SELECT * FROM factors WHERE patient = ?", (name,)).fetchone()
            if row is not None:
                yield StoredFactor(*row)

    def hashes(self) -> dict[str, str]:
        """Return patient -> SHA-256 of salt and name, in hexadecimal, by which a log may name them: what
        `erase` returns of who is erased."""
        rows = self._db.execute("SELECT patient, salt FROM patients ORDER BY rowid")
        return {name: sha256(salt + name.encode()).hexdigest() for name, salt in rows}

    def position(self, source: str) -> str:
        """Return where to go on in a source; "" where nothing was taken from it."""
        row = self._db.execute("SELECT position FROM positions WHERE source = ?", (source,)).fetchone()
        return "" if row is None else row[0]

    # --------------------------------------------------------------------------------------------- parts

    def _prepare(self, scenario_name: str, scenario_version: str, write: bool) -> None:
        """Check whose the file is, bring it to this version and finish an erasure that was interrupted."""
        version = self._check_kind(write)
        self._db.execute("PRAGMA temp_store = MEMORY")  # nothing of a patient in a temporary file
        if write:
            for setting in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON"):
                self._db.execute(f"PRAGMA {setting}")
            self._migrate(version)
        wanted = {"scenario": scenario_name, "scenario version": scenario_version}
        found = dict(self._db.execute("SELECT name, value FROM meta"))
        if "scenario" not in found and write:
            with self.transaction():
                self._db.executemany("INSERT INTO meta VALUES (?, ?)", list(wanted.items()))
            found |= wanted
        there = {name: found.get(name) for name in wanted}
        if there != wanted:
            raise StoreRefusedError(
                f"{self.path}: holds events of {there['scenario']} version {there['scenario version']}, not "
                f"of {scenario_name} version {scenario_version}; name another file"
            )
        if write and _UNSCRUBBED in found:
            self._scrub()

    def _check_kind(self, write: bool) -> int:
        """Return the version of the file, which is a store or, to be written, empty."""
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        ours = self._db.execute("PRAGMA application_id").fetchone()[0] == _APPLICATION
        if not ours and (self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] or not write):
            raise StoreRefusedError(
                f"{self.path}: is a SQLite file, but no store of events; name another file"
            )
        newest = len(_MIGRATIONS)
        if version > newest:
            raise StoreRefusedError(
                f"{self.path}: is of version {version}, written by a newer dosewright, and {newest} is the "
                "newest that this one reads; update dosewright"
            )
        if version < newest and not write:
            raise StoreRefusedError(
                f"{self.path}: is of version {version}, and {newest} is read; open it for writing once, "
                "which brings it up to date"
            )
        return version

    def _migrate(self, version: int) -> None:
        """Bring the file from a version to the newest, step by step, each whole or not done."""
        for number, statements in enumerate(_MIGRATIONS[version:], start=version + 1):
            with self.transaction():
                for statement in statements:
                    self._db.execute(statement)
                self._db.execute(f"PRAGMA user_version = {number}")

    def _sorted_out(self, events: Sequence[Event]) -> tuple[list[Event], int, list[Event]]:
        """Return the events whose ids are new, how many are there already, and those in conflict."""
        ids = json.dumps([event.id for event in events])
        known = dict(
            self._db.execute(
                "WITH asked AS (SELECT value FROM json_each(?)) "
                "SELECT id, digest FROM events WHERE id IN asked UNION ALL "
                "SELECT id, digest FROM quarantine WHERE withheld AND id IN asked",
                (ids,),
            )
        )
        fresh, duplicates, conflicts = [], 0, []
        for event in events:
            digest = event.digest()
            before = known.setdefault(event.id, digest)
            if before is digest:  # the very object: it was not there
                fresh.append(event)
            elif before == digest:
                duplicates += 1
            else:
                conflicts.append(event)
        return fresh, duplicates, conflicts

    def _withdrawals(self, fresh: Sequence[Event]) -> dict[str, datetime]:
        """Return patient -> when consent was withdrawn, by what is stored and by the events themselves."""
        names = json.dumps(list({event.patient for event in fresh}))
        found = {
            name: datetime.fromisoformat(since)
            for name, since in self._db.execute(
                "SELECT patient, since FROM patients WHERE consent = 'withdrawn' "
                "AND patient IN (SELECT value FROM json_each(?))",
                (names,),
            )
        }
        for event in fresh:
            if event.kind == "consent" and event.value == "withdrawn":
                found[event.patient] = min(event.time, found.get(event.patient, event.time))
        return found

    def _insert(self, events: Sequence[Event]) -> tuple[tuple[int, Event], ...]:
        """Store events, and patients who are new."""
        row = self._db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        numbered = tuple(enumerate(events, start=1 + (0 if row is None else row[0])))
        self._db.executemany(
            "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    seq, event.id, event.patient, _text(event.time), event.kind, event.code, event.value,
                    event.unit, event.site, event.digest(),
                )
                for seq, event in numbered
            ],
        )  # fmt: skip
        self._db.executemany(
            "INSERT OR IGNORE INTO patients (patient, salt) VALUES (?, ?)",
            [(patient, os.urandom(16)) for patient in dict.fromkeys(event.patient for event in events)],
        )
        return numbered

    def _settle_consent(self, stored: Sequence[Event]) -> tuple[tuple[int, Event], ...]:
        """Keep the state of consent after events that say it, and take out what a withdrawal came before."""
        out: list[tuple[int, Event]] = []
        for event in stored:
            if event.kind != "consent":
                continue
            consent, since = self._db.execute(
                "SELECT consent, since FROM patients WHERE patient = ?", (event.patient,)
            ).fetchone()
            if consent == "withdrawn" and event.value == "given":
                continue  # of before the withdrawal
            if consent == event.value and since <= _text(event.time):
                continue
            self._db.execute(
                "UPDATE patients SET consent = ?, since = ? WHERE patient = ?",
                (event.value, _text(event.time), event.patient),
            )
            if event.value == "withdrawn":
                early = {event.patient: event.time}
                out += [item for item in self.events(event.patient) if _after_withdrawal(item[1], early)]
        self._db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in out])
        return tuple(out)

    def _quarantine(self, source: str, records: Sequence[Refused], withheld: bool = False) -> int:
        """Store refused records; return how many were not there already. An event that is withheld for want
        of consent keeps its id, where one that was sent wrongly may be sent again under the same."""
        rows = [
            (
                record.id, record.text, source, record.place, record.reason,
                blake2b(record.text.encode(), digest_size=16).digest(), withheld,
            )
            for record in records
        ]  # fmt: skip
        before = self._db.total_changes
        self._db.executemany(
            "INSERT INTO quarantine (id, text, source, place, reason, digest, withheld) "
            "VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (digest) DO NOTHING",
            rows,
        )
        return self._db.total_changes - before

    def _erase_refused(self, patient: str) -> None:
        """Delete the records in quarantine that name a patient."""
        name = re.compile(rf"(?<![\w-]){re.escape(patient)}(?![\w-])")
        found = self._db.execute("SELECT seq, text FROM quarantine")
        seqs = [(seq,) for seq, text in found if _names(text, patient, name)]
        self._db.executemany("DELETE FROM quarantine WHERE seq = ?", seqs)

    def _rename_in_journal(self, patient: str, hashed: str) -> None:
        """Put a hash in place of a patient whom notes of others list."""
        written = json.dumps(patient, ensure_ascii=False)
        found = self._db.execute(
            "SELECT seq, body FROM journal WHERE instr(body, ?) > 0", (written,)
        ).fetchall()
        self._db.executemany(
            "UPDATE journal SET body = ? WHERE seq = ?",
            [(body.replace(written, json.dumps(hashed)), seq) for seq, body in found],
        )

    def _scrub(self) -> None:
        """Write the file anew without deleted rows, and empty the WAL."""
        with _explained(self.path):
            self._db.execute("VACUUM")
            if self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                raise OSError("a reader is at work in it")
            self._db.execute("DELETE FROM meta WHERE name = ?", (_UNSCRUBBED,))

    def _rows(
        self, table: str, columns: str, only: Mapping[str, str | None], after: int
    ) -> Iterator[tuple[Any, ...]]:
        """Give rows with numbers above `after`, where columns have the values of `only` that are not None."""
        fixed = {column: value for column, value in only.items() if value is not None}
        where = "".join(f" AND {column} = ?" for column in fixed)
        query = f"SELECT seq, {columns} FROM {table} WHERE seq > ?{where} ORDER BY seq LIMIT {_PAGE}"
        while rows := self._db.execute(query, (after, *fixed.values())).fetchall():
            yield from rows
            after = rows[-1][0]


def _locked(file: Path) -> FileLock:
    """Return the lock of who writes; the operating system's, which ends with its process."""
    lock, holder = FileLock(f"{file}.lock"), Path(f"{file}.pid")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        pid = holder.read_text().strip() if holder.is_file() else ""
        raise StoreRefusedError(
            f"{file}: process {pid or '(number unknown)'} writes to it; stop that one, or name another file"
        ) from None
    holder.write_text(f"{os.getpid()}\n")
    return lock


def _unlock(file: Path, lock: FileLock) -> None:
    Path(f"{file}.pid").unlink(missing_ok=True)
    lock.release()


def _connected(file: Path, write: bool) -> sqlite3.Connection:
    mode = "rwc" if write else "ro"
    return sqlite3.connect(
        f"{file.absolute().as_uri()}?mode={mode}", uri=True, timeout=_PATIENCE, isolation_level=None
    )


@contextmanager
def _explained(file: Path) -> Iterator[None]:
    """Say which file it is that SQLite has trouble with."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # without the extension
        if code == sqlite3.SQLITE_FULL:
            raise StoreFullError(
                f"{file}: no space left, nothing of this was stored; make space and send it again"
            ) from error
        if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise OSError(f"{file}: another process holds it ({error}); stop that one") from error
        if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY):
            raise OSError(f"{file}: cannot be read or written ({error}); look at the disk") from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise StoreRefusedError(
                f"{file}: is no SQLite file, or a broken one ({error}); name another file"
            ) from error
        raise


def _text(time: datetime) -> str:
    """Return a time as it is stored: UTC, of fixed length, so that text is in the order of time."""
    return time.astimezone(UTC).isoformat(timespec="microseconds")


def _after_withdrawal(event: Event, withdrawn: Mapping[str, datetime]) -> bool:
    """Whether an event is refused since consent was withdrawn before it; a withdrawal itself never is."""
    if event.patient not in withdrawn or (event.kind == "consent" and event.value == "withdrawn"):
        return False
    return event.time > withdrawn[event.patient]


def _late(event: Event) -> Refused:
    reason = (
        "the patient withdrew consent before this time; who consents again is enrolled under another name"
    )
    return Refused(event.as_json(), "", event.id, reason)


def _conflicting(event: Event) -> Refused:
    reason = f"id {event.id!r} was there before with other content; give every event an id of its own"
    return Refused(event.as_json(), "", event.id, reason)


def _names(text: str, patient: str, name: re.Pattern[str]) -> bool:
    """Whether a refused record names a patient, however that is written in JSON or what was meant as such."""
    try:
        waiting = [json.loads(text, object_pairs_hook=tuple)]
    except (ValueError, RecursionError):
        plain = re.sub(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2}))", _character, text)
        return name.search(plain.encode("utf-16", "surrogatepass").decode("utf-16", "replace")) is not None
    while waiting:
        item = waiting.pop()
        if isinstance(item, list | tuple):
            if len(item) == 2 and item[0] == "patient" and str(item[1]) == patient:  # sent as a number
                return True
            waiting += item
        elif isinstance(item, str) and name.search(item):
            return True
    return False


def _character(escape: re.Match[str]) -> str:
    return chr(int(escape[1] or escape[2], 16))
