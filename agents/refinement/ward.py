"""The ward: one belief a patient, kept up to date by events.

A belief is stepped visit by visit through the patient's chart. Where an event changes an earlier visit, such
as a result that came late, it is stepped anew from the start, so what is believed depends on which events
there are and not on the order in which they came.

A result that would be a surprise ten times smaller or larger is not believed: its predictive p-value is tiny,
and that of the value moved by a decimal place is not. It is set aside with the reason, and the belief goes on
as if nothing had been measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.estimation.likelihood import residual_variance
from dosewright.agents.refinement.chart import Chart, Seen
from dosewright.agents.refinement.events import Event
from dosewright.envs.measurement import Measurement

Floats = NDArray[np.float64]

SURPRISING, ORDINARY = 1e-4, 0.05
"""Predictive p-values: below the first a result is a surprise, above the second a moved one is none."""
_TENFOLD = (0.1, 10.0)
TOGETHER = 256
"""Patients whose beliefs are stepped at a time: bounds the memory, changes no number."""


@dataclass(frozen=True)
class Aside:
    """An event that is kept and not believed: its id, whose it is, and why."""

    id: str
    patient: str
    reason: str


@dataclass(eq=False)
class Patient:
    """What is known of one patient.

    Attributes
    ----------
    chart
        All events.
    belief
        After the last of `rows`; None before the first visit.
    rows
        Observation (k,) of every visit that the belief has taken in.
    innovations
        Standardised innovation of each result taken in: visit, measurement, value.
    aside
        Results that are not believed: event's id -> reason.
    """

    chart: Chart
    belief: Belief | None = None
    rows: list[bytes] = field(default_factory=list[bytes])
    innovations: list[tuple[int, int, float]] = field(default_factory=list[tuple[int, int, float]])
    aside: dict[str, str] = field(default_factory=dict[str, str])

    def begin_anew(self) -> None:
        """Believe nothing; the chart stays."""
        self.belief, self.rows, self.innovations, self.aside = None, [], [], {}
        self.chart.set_aside(())


class Ward:
    """All patients of a stream.

    Parameters
    ----------
    kept
        Keeps the beliefs.
    spread
        Measurement -> by how much its results scatter more than the belief expects, 1 where nothing is said:
        missed doses and what else a clinic brings are not in the model, and must not look like wrong units.

    Attributes
    ----------
    patients
        By name.
    """

    def __init__(self, kept: BeliefFilter, spread: Mapping[str, float] | None = None) -> None:
        self.filter, self.scenario = kept, kept.scenario
        self.spread = dict(spread or {})
        self.patients: dict[str, Patient] = {}
        self._spec = self.scenario.observation

    def take(self, events: Iterable[Event]) -> list[str]:
        """Take in events, and bring the beliefs of their patients up to date; return those patients.

        Parameters
        ----------
        events
            `understood` ones, each once, in any order.
        """
        names = self.add(events)
        self.refresh(names)
        return names

    def add(self, events: Iterable[Event]) -> list[str]:
        """Write events into their patients' charts, and leave the beliefs until they are asked for; return
        those patients."""
        of: dict[str, list[Event]] = {}
        for event in events:
            of.setdefault(event.patient, []).append(event)
        for name, mine in of.items():
            if name not in self.patients:
                self.patients[name] = Patient(Chart(self.scenario, name))
            self.patients[name].chart.add(mine)
        return list(of)

    def forget(self, patient: str) -> None:
        """Drop a patient and all that was known."""
        self.patients.pop(patient, None)

    def believe(self, kept: BeliefFilter) -> None:
        """Keep beliefs by another filter from now on, those of present patients from their first visit."""
        self.filter = kept
        for patient in self.patients.values():
            patient.begin_anew()
        self.refresh(self.patients)

    def aside(self, patients: Iterable[str]) -> list[Aside]:
        """Return what is not believed of some patients."""
        return [
            Aside(id, name, why)
            for name in patients
            if name in self.patients
            for id, why in self.patients[name].aside.items()
        ]

    # -------------------------------------------------------------------------------------- beliefs

    def refresh(self, names: Iterable[str]) -> None:
        """Bring the beliefs of some patients up to date."""
        waiting = [self.patients[name] for name in names]
        for patient in waiting:
            self._begin_where_changed(patient)
        while waiting:
            step = [patient for patient in waiting if len(patient.rows) < len(patient.chart.course.visits)]
            new = [patient for patient in step if patient.belief is None]
            for some in (new, [patient for patient in step if patient.belief is not None]):
                for first in range(0, len(some), TOGETHER):
                    self._step(some[first : first + TOGETHER])
            waiting = step

    def observation(self, seen: Sequence[Mapping[str, ArrayLike]]) -> NDArray[np.float32]:
        """Return what is seen at visits, as observations (n, k)."""
        names = tuple(seen[0])
        values = np.array([[visit[name] for name in names] for visit in seen], dtype=np.float64)
        vector = np.zeros((len(seen), len(self._spec.names)), dtype=np.float32)
        self._spec.write_all(vector, names, values)
        return vector

    def _begin_where_changed(self, patient: Patient) -> None:
        """Begin a belief anew where a visit that it has taken in is not what it was."""
        visits = patient.chart.course.visits
        done = len(patient.rows)
        if done and (
            len(visits) < done
            or [row.tobytes() for row in self.observation([v.values for v in visits[:done]])] != patient.rows
        ):
            patient.begin_anew()

    def _step(self, patients: Sequence[Patient]) -> None:
        """Take in one more visit of each."""
        visits = [patient.chart.course.visits[len(patient.rows)] for patient in patients]
        observation = self.observation([visit.values for visit in visits])
        before = [patient.belief for patient in patients if patient.belief is not None]
        belief = Belief.joined(before) if before else None
        moved, arrived = self.filter.expect(belief, observation)
        doubted = self._doubted(moved, arrived)
        for row, patient in enumerate(patients):
            if doubted[row]:
                self._set_aside(patient, visits[row], doubted[row])
        again = [row for row, found in enumerate(doubted) if found]
        if again:
            # without the result the visit shows what it would have shown had nothing been measured
            changed = [patients[row].chart.course.visits[len(patients[row].rows)].values for row in again]
            observation[again] = self.observation(changed)
        after = self.filter.weigh(moved, observation)
        for row, patient in enumerate(patients):
            self._note(patient, after, row)
            patient.belief = after.select(np.array([row]))
            patient.rows.append(observation[row].tobytes())

    def _note(self, patient: Patient, after: Belief, row: int) -> None:
        """Remember the innovation of a visit's results."""
        visit = len(patient.rows)
        known = ~np.isnan(after.low[row, int(after.visit[row])])
        if known.any() and after.innovation[row, 0] != 0:
            patient.innovations.append((visit, int(np.argmax(known)), float(after.innovation[row, 0])))

    # ------------------------------------------------------------------------------------- surprises

    def _doubted(self, moved: Belief, arrived: Floats) -> list[dict[int, str]]:
        """Return for each patient which measurements of the visit are ten times what they should be."""
        found: list[dict[int, str]] = [{} for _ in range(len(arrived))]
        for number, item in enumerate(self.scenario.measurements):
            rows, offsets = np.nonzero(~np.isnan(arrived[:, :, number]))
            for row, offset in zip(rows.tolist(), offsets.tolist(), strict=True):
                value = float(arrived[row, offset, number])
                if value <= 0:
                    continue
                predicted, weight = moved.predicted[row, offset, :, number], moved.weight[row]
                said = _tenfold(item, value, predicted, weight, self.spread.get(item.name, 1.0))
                if said:
                    found[row][number] = said
        return found

    def _set_aside(self, patient: Patient, visit: Seen, doubted: Mapping[int, str]) -> None:
        for number, why in doubted.items():
            event = visit.samples.get(number)
            if event is not None:
                patient.aside[event.id] = why
        patient.chart.set_aside(patient.aside)


def log_innovation(item: Measurement, value: ArrayLike, predicted: Floats, weight: Floats) -> Floats:
    """Return standardised innovations (v,) of values (v,) on the log scale: there a factor is asked for, and
    a level has no zero.

    Parameters
    ----------
    item
        What is measured.
    predicted, weight : (k,) true values by particle, and the particles' weights
    """
    truth = np.maximum(predicted, 1e-9)
    variance = residual_variance(item.error, truth)
    if not item.error.log_sd:
        variance = variance / truth**2
    log = np.log(truth)
    mean = float(log @ weight)
    sd = float(np.sqrt(((log - mean) ** 2 + variance) @ weight))
    return (np.log(np.atleast_1d(np.asarray(value, dtype=np.float64))) - mean) / max(sd, 1e-12)


def _tenfold(item: Measurement, value: float, predicted: Floats, weight: Floats, spread: float) -> str:
    """Say that a result looks like one in another unit; empty where it does not."""
    moved = [value * by for by in _TENFOLD]
    z = log_innovation(item, [value, *moved], predicted, weight) / spread
    p, *others = (2.0 * ndtr(-np.abs(z))).tolist()
    best = int(np.argmax(others))
    if not (p < SURPRISING and others[best] > ORDINARY):
        return ""
    return (
        f"{item.name} of {value:g} {item.unit}: as far from what was expected in {p:.1g} of cases, "
        f"{moved[best]:g} in {others[best]:.2g}; is it another unit, or the decimal point? Send it anew "
        "under another id"
    )
