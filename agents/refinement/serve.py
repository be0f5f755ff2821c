"""Live dosing: events in, one answer for every visit that asks.

All that a batch of records leads to, stored events, recommendations, overrides, results set aside, is one
transaction; the source is told afterwards. What was given before the last commit is given again and answered
again, with the same doses. What is believed lives in memory and is a function of the stored events, so a
restart reads them once and goes on.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from dosewright.agents.refinement.chart import Seen
from dosewright.agents.refinement.dosing import Answer, Asked, Dosing
from dosewright.agents.refinement.events import Event, Refused, parse, understood
from dosewright.agents.refinement.sources import Batch, Record
from dosewright.agents.refinement.store import Note, Store, UnscrubbedError
from dosewright.agents.refinement.ward import Ward
from dosewright.envs import Scenario

RECOMMENDATION, OVERRIDE, ASIDE, RELEASED, UNANSWERED = (
    "recommendation", "override", "aside", "released", "unanswered",
)  # fmt: skip
_AT_ONCE = 5000  # events read at a time when a store is opened


@dataclass(frozen=True)
class Taken:
    """What a batch led to.

    Attributes
    ----------
    stored, duplicates, refused
        How many of its records.
    answers
        Doses for who asked.
    notes
        The server's own events, those of the answers among them.
    """

    stored: int
    duplicates: int
    refused: int
    answers: tuple[Answer, ...]
    notes: tuple[Note, ...]

    @property
    def doses(self) -> dict[str, float]:
        """Patient -> dose, of who asked."""
        return {answer.patient: answer.dose for answer in self.answers}


@dataclass
class _Served:
    """The last answer to a patient: which event asked, what was known, and what was said."""

    event: str
    basis: str
    dose: float


@dataclass(eq=False)
class Service:
    """Doses the patients of a store.

    Attributes
    ----------
    store
        Of the events, open for writing.
    published
        The scenario that events are understood by.
    dosing
        What doses now.
    spread
        Of results, as in `Ward`.
    alarms
        Site -> why no policy doses there; a site that is not there has none.
    """

    store: Store
    published: Scenario
    dosing: Dosing
    spread: Mapping[str, float] = field(default_factory=dict[str, float])
    alarms: dict[str, str] = field(default_factory=dict[str, str])
    ward: Ward = field(init=False)
    _served: dict[str, _Served] = field(default_factory=dict[str, _Served], init=False)
    _unanswered: dict[str, Mapping[str, Any]] = field(
        default_factory=dict[str, Mapping[str, Any]], init=False
    )
    _aside: dict[str, set[str]] = field(default_factory=dict[str, set[str]], init=False)

    def __post_init__(self) -> None:
        self.ward = Ward(self.dosing.filter, self.spread)
        for _, note in self.store.journal(RECOMMENDATION):
            body = note.body
            assert note.patient is not None
            self._served[note.patient] = _Served(body["event"], body["basis"], float(body["dose"]))
        for _, note in self.store.journal(UNANSWERED):
            assert note.patient is not None
            self._unanswered[note.patient] = note.body
        told = (self.store.journal(kind) for kind in (ASIDE, RELEASED))
        for _, note in sorted(chain(*told), key=itemgetter(0)):
            self._told(note)
        some: list[Event] = []
        for _, event in self.store.events():
            some.append(event)
            if len(some) == _AT_ONCE:
                self.ward.add(some)
                some = []
        self.ward.add(some)

    # ------------------------------------------------------------------------------------------- events

    def take(self, batch: Batch, source: str) -> Taken:
        """Store a batch and answer it; when it returns, the source can be told.

        Raises
        ------
        StoreFullError, OSError
            Where it cannot be stored; then nothing of it is, here or on the disk.
        """
        events, refused = self.understand(batch)
        touched = {event.patient for event in events}
        try:
            with self.store.transaction():
                appended = self.store.append(events, refused, source, batch.position)
                new = [event for _, event in appended.new]
                gone = {event.patient for _, event in appended.withdrawn}
                touched |= gone
                for name in gone:
                    self._reload(name)
                self.ward.take(event for event in new if event.patient not in gone)
                notes = self._overrides(new)
                # what is set aside is known only once a patient is believed
                self.ward.refresh(name for name in touched if name in self.ward.patients)
                changed = self._changed(touched)
                notes += changed
                asked, silent = self._asking({event.patient for event in new} | gone)
                answers = self.dosing.answer([item for item, _ in asked])
                notes += silent
                notes += [
                    self._recommendation(answer, event, item)
                    for answer, (item, event) in zip(answers, asked, strict=True)
                ]
                self.store.note(notes)
        except BaseException:
            for name in touched:  # what is in memory is what is on the disk
                self._reload(name)
            raise
        for note in silent:
            self._unanswered[str(note.patient)] = note.body
        for note in changed:
            self._told(note)
        for answer, (item, _) in zip(answers, asked, strict=True):
            self._served[answer.patient] = _Served(answer.event, _basis(item.belief_rows), answer.dose)
        return Taken(len(new), appended.duplicates, appended.refused, tuple(answers), tuple(notes))

    def tell(self, events: Sequence[Event], source: str) -> Taken:
        """Take events that are at hand: those of a simulated clinic."""
        records = (Record(e.as_json().encode(), f"event {i}") for i, e in enumerate(events, start=1))
        return self.take(Batch(tuple(records)), source)

    def understand(self, batch: Batch) -> tuple[list[Event], list[Refused]]:
        """Return the events of a batch in the scenario's names and units, and what is refused."""
        events, refused = list[Event](), list[Refused]()
        for record in batch.records:
            found = parse(record.body, record.place)
            if isinstance(found, Event):
                found = understood(found, self.published, record.place)
            (events if isinstance(found, Event) else refused).append(found)  # type: ignore[arg-type]
        return events, refused

    def erase(self, patient: str) -> str:
        """Forget a patient, here and on the disk; return the salted hash that may go on standing for them.

        Raises
        ------
        ValueError, UnscrubbedError
            As `Store.erase`; after the second they are forgotten here as well.
        """
        try:
            hashed = self.store.erase(patient)
        except UnscrubbedError:
            self._forget(patient)
            raise
        self._forget(patient)
        return hashed

    def _forget(self, patient: str) -> None:
        self.ward.forget(patient)
        self._served.pop(patient, None)
        self._unanswered.pop(patient, None)
        self._aside.pop(patient, None)

    def switch(self, dosing: Dosing, spread: Mapping[str, float]) -> None:
        """Dose by another version from now on: beliefs are kept by its population from each patient's first
        visit, at once."""
        self.dosing, self.spread = dosing, spread
        self.ward.spread = dict(spread)
        self.ward.believe(dosing.filter)

    def _reload(self, patient: str) -> None:
        """Begin a patient anew from what is stored."""
        self.ward.forget(patient)
        self.ward.take(event for _, event in self.store.events(patient))

    # ------------------------------------------------------------------------------------------ answers

    def _asking(self, names: Iterable[str]) -> tuple[list[tuple[_Asked, Event]], list[Note]]:
        """Return who of some patients waits for a dose, and notes on who asks and cannot be answered."""
        asked: list[tuple[_Asked, Event]] = []
        silent: list[Note] = []
        for name in sorted(names):
            patient = self.ward.patients.get(name)
            if patient is None or patient.chart.left or patient.chart.withdrawn:
                continue
            visits = patient.chart.of("visit")
            if not visits:
                continue
            event, course = visits[-1], patient.chart.course
            doses = patient.chart.of("dose")
            if doses and doses[-1].time >= event.time:
                continue  # decided already
            seen = course.visits[-1] if course.visits else None
            why = patient.unbelieved
            if seen is None or seen.asked is None or seen.asked.id != event.id:
                why = course.problems.get(event.id) or course.problems.get("") or "it is not the last visit"
            if why:
                body = {"event": event.id, "reason": why}
                if self._unanswered.get(name) != body:  # else it was said before
                    silent.append(Note(UNANSWERED, name, event.time, body))
                continue
            served = self._served.get(name)
            if served is None or (served.event, served.basis) != (event.id, _basis(patient.rows)):
                asked.append((self.waiting(name), event))
        return asked, silent

    def waiting(self, name: str) -> _Asked:
        """Return a patient as one who waits for a dose at the last visit, which has been taken in."""
        patient = self.ward.patients[name]
        visits = patient.chart.course.visits[: len(patient.rows)]
        if patient.belief is None:
            why = patient.unbelieved or patient.chart.course.problems.get("", "")
            raise ValueError(f"patient {name!r}: no visit yet; {why}")
        event = visits[-1].asked
        last = visits[-1].values["last_dose"]
        return _Asked(
            patient=name,
            event="" if event is None else event.id,
            belief=patient.belief,
            observation=np.frombuffer(patient.rows[-1], dtype=np.float32),
            visit=len(visits) - 1,
            last=float(np.asarray(last)) if len(visits) > 1 else math.nan,
            silent=_silent(visits),
            alarm=self.alarms.get(patient.chart.site, ""),
            belief_rows=tuple(patient.rows),
        )

    def _recommendation(self, answer: Answer, event: Event, item: _Asked) -> Note:
        served = self._served.get(answer.patient)
        body: dict[str, Any] = answer.body(self.published.doses.unit)
        body |= {
            "basis": _basis(item.belief_rows),
            "observation": [float(value) for value in item.observation],
            "revises": served.dose if served is not None and served.event == answer.event else None,
        }
        return Note(RECOMMENDATION, answer.patient, event.time, body)

    def _overrides(self, events: Iterable[Event]) -> list[Note]:
        """Say where another dose was given than was recommended."""
        found: list[Note] = []
        for event in events:
            served = self._served.get(event.patient)
            if event.kind != "dose" or served is None or event.patient not in self.ward.patients:
                continue
            asked = [e for e in self.ward.patients[event.patient].chart.of("visit") if e.time <= event.time]
            if not asked or asked[-1].id != served.event:
                continue
            if not self.published.doses.same(float(event.value or 0.0), served.dose):
                body = {"event": served.event, "recommended": served.dose, "given": event.value}
                found.append(Note(OVERRIDE, event.patient, event.time, body))
        return found

    # ----------------------------------------------------------------------------------------- set aside

    def _changed(self, names: Iterable[str]) -> list[Note]:
        """Say which results are not believed, and which are again, that was not said before: by whatever
        came since, events or another version."""
        notes: list[Note] = []
        for name in sorted(names):
            patient = self.ward.patients.get(name)
            if patient is None:
                continue
            now, told = patient.aside, self._aside.get(name, set())
            for id in [id for id in now if id not in told]:
                body = {"event": id, "reason": now[id]}
                notes.append(Note(ASIDE, name, patient.chart.last, body))
            for id in sorted(told - set(now)):
                notes.append(Note(RELEASED, name, patient.chart.last, {"event": id}))
        return notes

    def _told(self, note: Note) -> None:
        """Remember what was said of a result."""
        told = self._aside.setdefault(str(note.patient), set())
        (told.add if note.kind == ASIDE else told.discard)(str(note.body["event"]))


@dataclass(frozen=True, eq=False)
class _Asked(Asked):
    """A patient who waits, and all that was seen so far."""

    belief_rows: tuple[bytes, ...]


def _silent(visits: Sequence[Seen]) -> int:
    """Return how many visits in a row, up to the last, had no new result; before the first one there is
    none to be missed."""
    count = 0
    for seen in reversed(visits[1:]):
        if seen.samples:
            break
        count += 1
    return count


def _basis(rows: Sequence[bytes]) -> str:
    """Return a digest of all that was seen of a patient."""
    digest = blake2b(digest_size=12)
    for row in rows:
        digest.update(row)
    return digest.hexdigest()
