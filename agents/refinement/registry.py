"""The registry: immutable versions of what doses patients, the one that doses now, and what was done.

A folder::

    versions/0003-5f1c0e9a77d2/  version.json, population.json, baseline.json, verdict.json, policy/
    audit.jsonl                  what was done, a line each, in a chain of hashes
    current                      the version that doses now, and the last line that counts

A change is made in one order: the version's folder is on the disk, then the line that speaks of it is, then
`current` moves, in one step of the file system. A line beyond `current` is a change that a crash cut short:
it is completed when the registry is next opened. Half a line was never acknowledged and is cut off. What
``current`` has acknowledged can not be changed, removed or put in another order without being found; only who
writes the whole log and `current` anew is not, so keep the last hash elsewhere (the page has it).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from filelock import FileLock, Timeout

from dosewright.evaluation.result_folder import write_whole

if TYPE_CHECKING:
    from dosewright.envs import Scenario

Action = Literal[
    "created", "promoted", "refused", "affirmed", "rolled back", "erased", "listed for retraining",
    "completed",
]  # fmt: skip

_SCHEMA = 1
_VERSIONS, _AUDIT, _CURRENT, _LOCK = "versions", "audit.jsonl", "current", "lock"
_STAGED = ".new"  # a version that has no line yet
_VERSION, _POPULATION, _BASELINE, _VERDICT, _POLICY = (
    "version.json", "population.json", "baseline.json", "verdict.json", "policy",
)  # fmt: skip
_SHORT = 12  # hexadecimal digits of a hash where people read it
_RESTORE = "restore the registry from a backup"
_ROLL_BACK = "restore the folder from a backup, or dose by an earlier version: `dosewright registry rollback`"


class RegistryBusyError(ValueError):
    """Another process is writing into the registry."""


@dataclass(frozen=True)
class AuditLine:
    """One thing that was done.

    Attributes
    ----------
    number : from 1, without a gap
    time : ISO 8601, UTC
    action : what was done; "completed": a change that a crash had cut short
    version : name of the version it was done to; None for a refused candidate and an erased patient
    by, reason : who did it and why, in words
    body : what else belongs to it, as JSON has it; of patients only salted hashes
    previous : hash of the line before; None for the first
    hash : SHA-256 of everything above as canonical JSON
    """

    number: int
    time: str
    action: Action
    version: str | None
    by: str
    reason: str
    body: dict[str, Any]
    previous: str | None
    hash: str


@dataclass(frozen=True)
class Version:
    """One version of what doses patients. Its parts are read, and checked, when they are asked for.

    Attributes
    ----------
    path : its folder
    number : from 1, in the order of creation
    content_hash : SHA-256 of what `version.json` says, with the digest of every other file in it
    parent : content hash of the version whose patients it saw too; None without one
    created : ISO 8601, UTC
    scenario, scenario_version : the decision problem it was made for
    regimen : arm of the command line, such as "bayesian-adaptive" or "policy"
    reason : why it was made, in words
    saw : salted hashes of the patients it saw and its parent had not seen
    digests : SHA-256 of every file other than `version.json`, by its path in the folder
    """

    path: Path
    number: int
    content_hash: str
    parent: str | None
    created: str
    scenario: str
    scenario_version: int
    regimen: str
    reason: str
    saw: tuple[str, ...]
    digests: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> Version:
        """Read ``version.json`` of a version's folder.

        Raises
        ------
        ValueError
            If it is missing, broken, of another schema or edited by hand.
        """
        file = path / _VERSION
        try:
            told = json.loads(file.read_bytes())
            schema, known = told.pop("schema"), told.pop("hash")
            here = _content_hash(told)
            drug = told.pop("scenario")
            version = cls(
                path=path,
                content_hash=known,
                scenario=drug["name"],
                scenario_version=drug["version"],
                saw=tuple(told.pop("saw")),
                **told,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{file}: is missing or broken ({error}); {_ROLL_BACK}") from None
        if schema != _SCHEMA:
            raise ValueError(f"{file}: has schema {schema}, this dosewright reads {_SCHEMA}; use a newer one")
        if here != known:
            raise _edited(file, here, known)
        return version

    @property
    def name(self) -> str:
        """Name of the version, and of its folder."""
        return _name(self.number, self.content_hash)

    @property
    def population(self) -> dict[str, Any]:
        """The population model that it believes in."""
        return json.loads(self._part(_POPULATION))

    @property
    def baseline(self) -> dict[str, Any]:
        """What the detectors of drift compare with."""
        return json.loads(self._part(_BASELINE))

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What the gate said; None where it was not asked."""
        return json.loads(self._part(_VERDICT)) if _VERDICT in self.digests else None

    @property
    def policy(self) -> Path | None:
        """Folder of the learned policy, all of the version checked; None where it has none."""
        if not any(name.startswith(f"{_POLICY}/") for name in self.digests):
            return None
        self.check()
        return self.path / _POLICY

    def check(self) -> None:
        """Refuse a version of which a file is missing, changed or too many; the message names the file."""
        there = {file.relative_to(self.path).as_posix() for file in self.path.rglob("*") if file.is_file()}
        for name in sorted(there - {_VERSION, *self.digests}):
            raise ValueError(f"{self.path / name}: is no file of version {self.name}; move it away")
        for name in self.digests:
            self._part(name)

    def check_for(self, scenario: Scenario) -> None:
        """Refuse to dose another decision problem, or another version of it, than it was made for."""
        if (self.scenario, self.scenario_version) != (scenario.name, scenario.version):
            raise ValueError(
                f"version {self.name}: made for {self.scenario} version {self.scenario_version}, this is "
                f"{scenario.name} version {scenario.version}; begin a registry of its own for that"
            )

    def _part(self, name: str) -> bytes:
        file = self.path / name
        if not file.is_file():
            raise ValueError(f"{file}: is missing; {_ROLL_BACK}")
        content = file.read_bytes()
        if _sha256(content) != self.digests[name]:
            raise _edited(file, _sha256(content), self.digests[name])
        return content


@dataclass(frozen=True)
class _Pointer:
    """What ``current`` says: the version that doses (None: none yet), number and hash of the last line that
    counts."""

    version: str | None = None
    line: int = 0
    hash: str | None = None


@dataclass(frozen=True)
class _Log:
    """The audit log as it was at one moment: its whole lines, how many of them count, and their bytes."""

    lines: tuple[AuditLine, ...]
    counted: int
    size: int


class Registry:
    """A folder of versions; whoever opens it may read, one process at a time may write.

    A change that ends in an `OSError`, such as that of a full disk, is as one that a crash cut short: it is
    made whole, or was never there, when the registry is next opened or written.

    Parameters
    ----------
    path
        The folder; the first version makes it.

    Raises
    ------
    ValueError
        If `current` or the audit log was edited by hand; the message names the line.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        log = self._read()
        # who may only read sees the state before the change that was cut short
        if log.counted < len(log.lines) and os.access(self.path, os.W_OK):
            with suppress(RegistryBusyError), self._writing():  # a writer at work completes it itself
                pass

    def create(
        self,
        scenario: Scenario,
        population: Mapping[str, Any],
        baseline: Mapping[str, Any],
        *,
        parent: Version | None,
        regimen: str,
        by: str,
        reason: str,
        saw: Iterable[str] = (),
        verdict: Mapping[str, Any] | None = None,
        policy_folder: str | Path | None = None,
    ) -> Version:
        """Add a version; it doses nobody before it is promoted.

        Parameters
        ----------
        scenario
            The decision problem it is for.
        population, baseline
            The population model it believes in, and what the detectors of drift compare with, as JSON has it.
        parent
            The version whose patients it saw too: the one that doses now, or, for one that was made again
            after an erasure, the last that had not seen the patient.
        regimen
            Arm of the command line: "policy" for the policy in `policy_folder`.
        by, reason
            Who makes it and why.
        saw
            Salted hashes (SHA-256, hexadecimal) of the patients it saw and the parent had not.
        verdict
            What the gate said; the first version has none.
        policy_folder
            Folder of a learned policy, to be copied.

        Raises
        ------
        ValueError
            If a parent, hash or folder is wrong, or the place is no registry.
        RegistryBusyError
            If another process writes.
        """
        files = _files(population, baseline, verdict, policy_folder, regimen)
        seen = sorted({_salted(patient) for patient in saw})
        with self._writing() as log:
            if parent is not None:
                self._known(parent.name, log.lines)
            told = {
                "number": 1 + len(_created(log.lines)),
                "parent": None if parent is None else parent.content_hash,
                "created": _now(),
                "scenario": {"name": scenario.name, "version": scenario.version},
                "regimen": regimen,
                "reason": reason,
                "saw": seen,
                "digests": {name: _sha256(content) for name, content in files.items()},
            }
            known = _content_hash(told)
            name = _name(told["number"], known)
            line = _next_line(log, "created", name, by, reason, {"hash": known})
            described = _json_bytes({"schema": _SCHEMA, **told, "hash": known}, _VERSION)
            _fill(self.path / _VERSIONS / _STAGED, {**files, _VERSION: described})
            log = self._append(log, line)
            self._place(name)
            self._count(log)
        return self.version(name)

    def promote(self, version: Version, by: str, reason: str, body: Mapping[str, Any]) -> None:
        """Let a version dose.

        Raises
        ------
        ValueError
            If the gate did not pass it (the first version that doses needs no verdict), it was promoted
            before, or a file of it was edited by hand.
        RegistryBusyError
            If another process writes.
        """
        with self._writing() as log:
            found = self._version(version.name, log.lines)
            found.check()
            if found.name in _promoted(log.lines):
                raise ValueError(
                    f"version {found.name}: was promoted before; go back to it with `dosewright registry "
                    f"rollback --to {found.name}`"
                )
            verdict = found.verdict
            said = "nothing" if verdict is None else verdict.get("verdict")
            if said != "promoted" and (verdict is not None or _dosing(log.lines)):
                raise ValueError(
                    f"version {found.name}: the gate said {said}; promote a version whose {_VERDICT} says "
                    "promoted"
                )
            self._done(log, _next_line(log, "promoted", found.name, by, reason, body))

    def refuse(self, candidate: str, by: str, reason: str, body: Mapping[str, Any]) -> None:
        """Log that a candidate was not let dose.

        Parameters
        ----------
        candidate
            What it was, in words: it has no version.
        by, reason
            Who refused it and why.
        body
            What belongs to it; the page shows its "verdict".
        """
        with self._writing() as log:
            told = {**body, "candidate": candidate}
            self._done(log, _next_line(log, "refused", None, by, reason, told))

    def affirm(self, by: str, reason: str) -> Version:
        """Log that the version which doses was looked at and stays, and return it.

        Raises
        ------
        ValueError
            If none doses yet.
        """
        with self._writing() as log:
            found = self._current(log.lines)
            self._done(log, _next_line(log, "affirmed", found.name, by, reason, {}))
        return found

    def rollback(self, by: str, reason: str, to: str | None = None) -> Version:
        """Let an earlier version dose again and return it: its files are those that dosed before.

        Parameters
        ----------
        by, reason
            Who goes back and why.
        to
            Name of the version. Default: the one that dosed before the current one, so that going back twice
            goes back two versions.

        Raises
        ------
        ValueError
            If there is none before, the version was never promoted or doses already, or a file of it was
            edited by hand.
        RegistryBusyError
            If another process writes.
        """
        with self._writing() as log:
            dosing = _dosing(log.lines)
            if to is None and len(dosing) < 2:
                raise ValueError(
                    f"registry {self.path}: no version dosed before {dosing[0] if dosing else 'any'}; "
                    "name one that was promoted with --to"
                )
            target = self._version(dosing[-2] if to is None else to, log.lines)
            if target.name not in _promoted(log.lines):
                raise ValueError(
                    f"version {target.name}: was never promoted; promoted were: "
                    f"{', '.join(_promoted(log.lines)) or 'none'}"
                )
            if target.name == dosing[-1]:
                raise ValueError(f"version {target.name}: doses already; name another")
            target.check()
            told = {"from": dosing[-1]}
            self._done(log, _next_line(log, "rolled back", target.name, by, reason, told))
        return target

    def erase(self, patient: str, by: str, reason: str) -> list[Version]:
        """List the versions that saw a patient for retraining, and return them.

        They stay as they are: what erases is that the factor is deleted from the store, and the salt of the
        hash. Asked again, it completes what a crash cut short and repeats nothing.

        Parameters
        ----------
        patient
            Salted hash of the patient.
        by, reason
            Who erases and why.
        """
        told = {"patient": _salted(patient)}
        with self._writing() as log:
            saw = _that_saw(patient, [self._version(name, log.lines) for name in _created(log.lines)])
            done = {(line.action, line.version) for line in log.lines if line.body == told}
            for version in saw:
                if ("listed for retraining", version.name) not in done:
                    line = _next_line(log, "listed for retraining", version.name, by, reason, told)
                    log = self._done(log, line)
            if ("erased", None) not in done:
                self._done(log, _next_line(log, "erased", None, by, reason, told))
        return saw

    def current(self) -> Version:
        """Return the version that doses now; an error where none was promoted yet."""
        return self._current(self._counted())

    def _current(self, lines: Sequence[AuditLine]) -> Version:
        dosing = _dosing(lines)
        if not dosing:
            raise ValueError(f"registry {self.path}: no version was promoted yet; promote the first")
        return self._version(dosing[-1], lines)

    def versions(self) -> list[Version]:
        """Return all versions in the order of creation; none where nothing is at the path."""
        lines = self._counted()
        return [self._version(name, lines) for name in _created(lines)]

    def version(self, name: str) -> Version:
        """Return the version of a name; an error that lists the names there are."""
        return self._version(name, self._counted())

    def audit(self) -> list[AuditLine]:
        """Return what was done, from the first line."""
        return list(self._counted())

    def verify(self) -> tuple[int, int]:
        """Check the chain of the log and every file of every version; return how many versions and lines.

        Raises
        ------
        ValueError
            For the first line or file that is wrong, by its name.
        """
        # before the log is read: a line is written before its folder comes to its place
        folders = sorted(path.name for path in (self.path / _VERSIONS).glob("*") if path.name != _STAGED)
        log = self._read()
        for name in folders:
            if name not in _created(log.lines):
                raise ValueError(
                    f"{self.path / _VERSIONS / name}: no line of {_AUDIT} created it; move it away"
                )
        counted = log.lines[: log.counted]
        names = _created(counted)
        for name in names:
            self._version(name, counted).check()
        return len(names), len(counted)

    def _counted(self) -> tuple[AuditLine, ...]:
        log = self._read()
        return log.lines[: log.counted]

    def _known(self, name: str, lines: Sequence[AuditLine]) -> str:
        """Return the content hash by which the log knows a version."""
        created = _created(lines)
        if name not in created:
            raise ValueError(
                f"registry {self.path}: has no version {name!r}; there are: {', '.join(created) or 'none'}"
            )
        return created[name]

    def _version(self, name: str, lines: Sequence[AuditLine]) -> Version:
        known = self._known(name, lines)
        version = Version.read(self.path / _VERSIONS / name)
        if version.content_hash != known:
            raise _edited(version.path / _VERSION, version.content_hash, known)
        return version

    def _read(self) -> _Log:
        """Return the log, checked against `current`, as one of them was while the other was read."""
        file, before = self.path / _AUDIT, self._pointer()
        pieces = file.read_bytes().splitlines(keepends=True) if file.is_file() else []
        after = self._pointer()
        lines: list[AuditLine] = []
        for place, piece in enumerate(pieces):
            try:
                lines.append(_parsed(piece, lines[-1] if lines else None, f"{file}, line {place + 1}"))
            except ValueError:
                if place < before.line or place + 1 < len(pieces):
                    raise
                break  # the last, and never acknowledged: a crash cut it off
        if len(lines) < before.line:
            raise ValueError(
                f"{file}, line {len(lines) + 1}: is missing, of {before.line} that {_CURRENT} "
                f"acknowledged; {_RESTORE}"
            )
        # a writer is one line ahead, and after a crash the next one says so in another
        if any(line.action != "completed" for line in lines[after.line + 1 :]):
            raise ValueError(
                f"{file}, line {after.line + 2}: {_CURRENT} has acknowledged {after.line} lines only, so "
                f"that either it was edited or removed, or lines were added by hand; {_RESTORE}"
            )
        self._agrees(before, lines[: before.line])
        return _Log(tuple(lines), before.line, sum(map(len, pieces[: len(lines)])))

    def _agrees(self, pointer: _Pointer, lines: Sequence[AuditLine]) -> None:
        """Refuse a `current` that says something else than the lines it acknowledged."""
        file, dosing = self.path / _CURRENT, _dosing(lines)
        known = lines[-1].hash if lines else None
        if pointer.hash != known:
            raise ValueError(
                f"{file}: line {pointer.line} has hash {known} in {_AUDIT}, {pointer.hash} here; {_RESTORE}"
            )
        doses = dosing[-1] if dosing else None
        if pointer.version != doses:
            raise ValueError(
                f"{file}: names version {pointer.version}, by {_AUDIT} {doses} doses: it was edited by hand; "
                f"{_RESTORE}"
            )

    def _pointer(self) -> _Pointer:
        file = self.path / _CURRENT
        if not file.is_file():
            return _Pointer()
        try:
            return _Pointer(**json.loads(file.read_bytes()))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{file}: is broken ({error}); {_RESTORE}") from None

    @contextmanager
    def _writing(self) -> Iterator[_Log]:
        """Keep other writers out, complete what a crash cut short, and give the log."""
        self._check_place()
        (self.path / _VERSIONS).mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / _LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RegistryBusyError(
                f"registry {self.path}: another process is writing there; wait until it has ended"
            ) from None
        try:
            yield self._completed()
        finally:
            lock.release()

    def _check_place(self) -> None:
        ours = {_VERSIONS, _AUDIT, _CURRENT, f"{_CURRENT}.new", _LOCK}
        others = {file.name for file in self.path.iterdir()} - ours if self.path.is_dir() else set()
        if others and not (self.path / _AUDIT).is_file():
            raise ValueError(
                f"registry {self.path}: is no registry, {min(others)} is there; name another folder"
            )

    def _completed(self) -> _Log:
        """Return a log of which every line counts."""
        log, file = self._read(), self.path / _AUDIT
        if file.is_file() and file.stat().st_size > log.size:
            with file.open("r+b") as opened:
                opened.truncate(log.size)
                os.fsync(opened.fileno())
        if log.counted < len(log.lines):
            cut = log.lines[log.counted]
            if cut.action == "created" and cut.version is not None:
                self._place(cut.version)
            words = f"line {cut.number}, {cut.action}, was written before a crash and {_CURRENT} was not"
            line = _next_line(log, "completed", cut.version, "dosewright", words, {"line": cut.number})
            log = self._done(log, line)
        staged = self.path / _VERSIONS / _STAGED
        if staged.exists():  # of a version that has no line: nobody was told of it
            shutil.rmtree(staged)
        return log

    def _done(self, log: _Log, line: AuditLine) -> _Log:
        return self._count(self._append(log, line))

    def _append(self, log: _Log, line: AuditLine) -> _Log:
        """Put a line at the end of the log, onto the disk."""
        content = _text(line)
        with (self.path / _AUDIT).open("ab") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
        _sync(self.path)
        return replace(log, lines=(*log.lines, line), size=log.size + len(content))

    def _place(self, name: str) -> None:
        """Bring the version whose line is written to its place; after a crash it may be there."""
        versions = self.path / _VERSIONS
        if not (versions / name).is_dir():
            (versions / _STAGED).rename(versions / name)
            _sync(versions)

    def _count(self, log: _Log) -> _Log:
        """Acknowledge the lines: `current` moves."""
        dosing, last = _dosing(log.lines), log.lines[-1]
        pointer = _Pointer(dosing[-1] if dosing else None, last.number, last.hash)
        write_whole(self.path / _CURRENT, lambda new: new.write(_json_bytes(asdict(pointer), _CURRENT)))
        _sync(self.path)
        return replace(log, counted=len(log.lines))


def _created(lines: Iterable[AuditLine]) -> dict[str, str]:
    """Return the content hash of every version by its name, in the order of creation."""
    return {str(line.version): line.body["hash"] for line in lines if line.action == "created"}


def _promoted(lines: Iterable[AuditLine]) -> list[str]:
    """Return the names of the versions that were ever promoted."""
    return [str(line.version) for line in lines if line.action == "promoted"]


def _dosing(lines: Iterable[AuditLine]) -> list[str]:
    """Return the versions that dosed, the one that doses now last; a rollback takes away those after its own,
    or adds it where another had taken it away."""
    names: list[str] = []
    for line in lines:
        if line.action not in ("promoted", "rolled back"):
            continue
        name = str(line.version)
        names = names[: names.index(name)] if name in names else names
        names.append(name)
    return names


def _that_saw(patient: str, versions: Iterable[Version]) -> list[Version]:
    """Return the versions that saw a patient, themselves or by their parents."""
    saw: dict[str, Version] = {}
    for version in versions:  # a parent comes before its children
        if patient in version.saw or version.parent in saw:
            saw[version.content_hash] = version
    return list(saw.values())


def _next_line(
    log: _Log, action: Action, version: str | None, by: str, reason: str, body: Mapping[str, Any]
) -> AuditLine:
    """Return the line that follows a log."""
    for what, words in (("by", by), ("reason", reason)):
        if not words.strip():
            raise ValueError(f"{action}: {what} is empty; the audit log says who did it and why")
    line = AuditLine(
        number=len(log.lines) + 1,
        time=_now(),
        action=action,
        version=version,
        by=by,
        reason=reason,
        body=json.loads(_json_bytes(body, f"{action}: body")),
        previous=log.lines[-1].hash if log.lines else None,
        hash="",
    )
    return replace(line, hash=_line_hash(line))


def _parsed(piece: bytes, before: AuditLine | None, where: str) -> AuditLine:
    """Return a line of the log that follows another; an error that names it."""
    try:
        line = AuditLine(**json.loads(piece))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{where}: is cut off or broken ({error}); {_RESTORE}") from None
    number, previous = (1, None) if before is None else (before.number + 1, before.hash)
    if line.number != number:
        raise ValueError(
            f"{where}: has number {line.number}; lines were removed or put in another order; {_RESTORE}"
        )
    if line.previous != previous:
        raise ValueError(
            f"{where}: follows a line of hash {line.previous}, the line before has {previous}; {_RESTORE}"
        )
    if line.hash != _line_hash(line) or piece != _text(line):
        raise ValueError(
            f"{where}: says hash {line.hash}, its content has {_line_hash(line)}: it was changed; {_RESTORE}"
        )
    return line


def _line_hash(line: AuditLine) -> str:
    told = asdict(line)
    del told["hash"]
    return _content_hash(told)


def _text(line: AuditLine) -> bytes:
    return _canonical(asdict(line)) + b"\n"


def _files(
    population: Mapping[str, Any],
    baseline: Mapping[str, Any],
    verdict: Mapping[str, Any] | None,
    policy_folder: str | Path | None,
    regimen: str,
) -> dict[str, bytes]:
    """Return the content of every file of a version other than `version.json`."""
    files = {
        _POPULATION: _json_bytes(population, _POPULATION),
        _BASELINE: _json_bytes(baseline, _BASELINE),
    }
    if verdict is not None:
        files[_VERDICT] = _json_bytes(verdict, _VERDICT)
    if (regimen.partition("@")[0] == "policy") != (policy_folder is not None):
        raise ValueError(
            f"regimen {regimen!r}, policy folder {policy_folder}: the regimen is 'policy' where a version "
            "holds one, and only there"
        )
    if policy_folder is None:
        return files
    folder = Path(policy_folder)
    policy = {
        f"{_POLICY}/{file.relative_to(folder).as_posix()}": file.read_bytes()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    if not policy:
        raise ValueError(f"policy folder {folder}: no file is there; give one that `dosewright train` made")
    return files | policy


def _fill(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a new folder, onto the disk."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.write(content)
            opened.flush()
            os.fsync(opened.fileno())
    for each in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync(each)


def _sync(folder: Path) -> None:
    """Bring the names in a folder onto the disk: a file that is safe under no name is lost."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


def _salted(patient: str) -> str:
    """Refuse what is no salted hash: a registry never holds the id of a patient."""
    if len(patient) != 64 or not set(patient) <= set("0123456789abcdef"):
        raise ValueError(
            f"patient of {len(patient)} characters: expected a salted SHA-256, 64 hexadecimal digits; never "
            "the id itself"
        )
    return patient


def _edited(file: Path, here: str, known: str) -> ValueError:
    return ValueError(
        f"{file}: has digest {here[:_SHORT]}, the registry wrote {known[:_SHORT]}: it was edited by hand; "
        f"{_ROLL_BACK}"
    )


def _name(number: int, content_hash: str) -> str:
    return f"{number:04d}-{content_hash[:_SHORT]}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _content_hash(values: Mapping[str, Any]) -> str:
    return _sha256(_canonical(values))


def _canonical(values: Mapping[str, Any]) -> bytes:
    """Return the one JSON text of values, in one line."""
    return json.dumps(
        values, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def _json_bytes(values: Mapping[str, Any], what: str) -> bytes:
    """Return a JSON text that people can read; an error names what cannot be one."""
    try:
        return (json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: cannot be JSON ({error}); give plain values and finite numbers") from None
