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
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.estimation.likelihood import residual_variance
from dosewright.agents.refinement.chart import Chart, Course, Seen
from dosewright.agents.refinement.events import Event
from dosewright.envs import Scenario
from dosewright.envs.measurement import Measurement

Floats = NDArray[np.float64]

SURPRISING, ORDINARY = 1e-4, 0.05
"""Predictive p-values: below the first a result is a surprise, above the second a moved one is none."""
_TENFOLD = (0.1, 10.0)
_NOTHING = 1e-9  # of a level, and of an SD
TOGETHER = 256
"""Patients whose beliefs are stepped at a time: bounds the memory, changes no number."""


@dataclass(frozen=True)
class Aside:
    """An event that is kept and not believed: its id, whose it is, and why."""

    id: str
    patient: str
    reason: str


class Innovation(NamedTuple):
    """A result that was taken in: number of the visit and of the measurement, value, standardised innovation
    on the log scale, and SD of the logarithm that was expected."""

    visit: int
    measurement: int
    value: float
    z: float
    sd: float


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
        Of each result taken in.
    aside
        Results that are not believed: event's id -> reason.
    followed
        What the belief follows: a chart that comes to the very same has nothing new.
    unbelieved
        Why the visit after the last of `rows` cannot be taken in, such as a genotype with which the drug must
        not be given; empty where it can.
    """

    chart: Chart
    belief: Belief | None = None
    rows: list[bytes] = field(default_factory=list[bytes])
    innovations: list[Innovation] = field(default_factory=list[Innovation])
    aside: dict[str, str] = field(default_factory=dict[str, str])
    followed: Course | None = None
    unbelieved: str = ""

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
        behind = [self.patients[name] for name in names]
        behind = [patient for patient in behind if patient.chart.course is not patient.followed]
        for patient in behind:
            patient.unbelieved = ""
            self._begin_where_changed(patient)
        waiting = behind
        while waiting:
            step = [
                patient
                for patient in waiting
                if len(patient.rows) < len(patient.chart.course.visits) and not patient.unbelieved
            ]
            new = [patient for patient in step if patient.belief is None]
            for some in (new, [patient for patient in step if patient.belief is not None]):
                for first in range(0, len(some), TOGETHER):
                    self._step(some[first : first + TOGETHER])
            waiting = step
        for patient in behind:
            patient.followed = patient.chart.course

    def observation(self, seen: Sequence[Mapping[str, ArrayLike]]) -> NDArray[np.float32]:
        """Return what is seen at visits, as observations (n, k)."""
        names = tuple(seen[0])
        values = np.array([[visit[name] for name in names] for visit in seen], dtype=np.float64)
        vector = np.zeros((len(seen), len(self._spec.names)), dtype=np.float32)
        self._spec.write_all(vector, names, values)
        return vector

    def _begin_where_changed(self, patient: Patient) -> None:
        """Begin a belief anew where a visit that it has taken in is not what it was, or may be what was set
        aside is not to be any more."""
        visits = patient.chart.course.visits
        done = len(patient.rows)
        if done and (patient.aside or len(visits) < done or self._rows(visits[:done]) != patient.rows):
            patient.begin_anew()

    def _rows(self, visits: Sequence[Seen]) -> list[bytes]:
        try:
            return [row.tobytes() for row in self.observation([visit.values for visit in visits])]
        except ValueError:  # said of the visit that cannot be shown, when it is taken in
            return []

    def _step(self, patients: Sequence[Patient]) -> None:
        """Take in one more visit of each; of whom it cannot be, it is said why, and the others go on."""
        try:
            self._take_in(patients)
        except ValueError as error:
            if len(patients) == 1:
                patients[0].unbelieved = str(error).removeprefix("patient 0: ")
                return
            for patient in patients:
                self._step([patient])

    def _take_in(self, patients: Sequence[Patient]) -> None:
        """Take in one more visit of each, but for those whose results are set aside."""
        visits = [patient.chart.course.visits[len(patient.rows)] for patient in patients]
        observation = self.observation([visit.values for visit in visits])
        before = [patient.belief for patient in patients if patient.belief is not None]
        belief = Belief.joined(before) if before else None
        moved, arrived = self.filter.expect(belief, observation)
        results = surprises(self.scenario, moved, arrived)
        again = self._set_aside(patients, visits, results)
        sure = np.array([row for row in range(len(patients)) if row not in again], dtype=np.int64)
        if not len(sure):
            return
        if again:
            # without its result a visit shows something else, or is none: it is stepped anew
            moved, observation = moved.select(sure), observation[sure]
        after = self.filter.weigh(moved, observation)
        for item in results:
            if item.row not in again:
                patient = patients[item.row]
                patient.innovations.append(
                    Innovation(len(patient.rows), item.measurement, item.value, item.z, item.sd)
                )
        for place, row in enumerate(sure.tolist()):
            patients[row].belief = after.select(np.array([place]))
            patients[row].rows.append(observation[place].tobytes())

    def _set_aside(
        self, patients: Sequence[Patient], visits: Sequence[Seen], results: Sequence[Surprise]
    ) -> set[int]:
        """Set aside what looks like another unit; return whose, by number."""
        found = set[int]()
        for result in results:
            item = self.scenario.measurements[result.measurement]
            said = result.tenfold(item, self.spread.get(item.name, 1.0))
            event = visits[result.row].samples.get(result.measurement)
            if said and event is not None:
                patients[result.row].aside[event.id] = said
                found.add(result.row)
        for row in found:
            patients[row].chart.set_aside(patients[row].aside)
        return found


@dataclass(frozen=True)
class Surprise:
    """A result against what was expected of it before it was taken in.

    Attributes
    ----------
    row, measurement
        Number of the patient, and of the scenario's measurement.
    value
        The result.
    z
        Its standardised innovation on the log scale, where a factor is what counts.
    sd
        SD of the logarithm that was expected.
    """

    row: int
    measurement: int
    value: float
    z: float
    sd: float

    def tenfold(self, item: Measurement, spread: float) -> str:
        """Say that it looks like one in another unit, or with the decimal point elsewhere; empty where it
        does not. The SD counts `spread` times."""
        chances = p_values(self.z, self.sd, spread)
        if not tenfold(chances):
            return ""
        p, *others = chances.tolist()
        best = int(np.argmax(others))
        return (
            f"{item.name} of {self.value:g} {item.unit}: as far from what was expected in {p:.1g} of cases, "
            f"{self.value * _TENFOLD[best]:g} in {others[best]:.2g}; is it another unit, or the decimal "
            "point? Send it anew under another id"
        )


def p_values(z: ArrayLike, sd: ArrayLike, spread: float) -> Floats:
    """Return predictive p-values (..., 3) of results, and of them ten times smaller and larger.

    Parameters
    ----------
    z, sd : (...) standardised innovations, and the SD of the logarithm that they are counted in
    spread
        Times that the SD counts.
    """
    step = np.log(10.0) / np.asarray(sd)
    apart = np.stack(np.broadcast_arrays(z, z - step, z + step), axis=-1)
    return np.asarray(2.0 * ndtr(-np.abs(apart / spread)))


def tenfold(p: Floats) -> NDArray[np.bool_]:
    """Return which results look like ten times too much or too little, by `p_values` (..., 3)."""
    return np.asarray((p[..., 0] < SURPRISING) & (p[..., 1:].max(axis=-1) > ORDINARY))


def surprises(scenario: Scenario, moved: Belief, arrived: Floats) -> list[Surprise]:
    """Return the results that came in at a visit, against their predictions.

    Parameters
    ----------
    moved, arrived
        From `BeliefFilter.expect`: beliefs about n patients before the results, and the results.
    """
    found: list[Surprise] = []
    for number, item in enumerate(scenario.measurements):
        rows, offsets = np.nonzero(arrived[:, :, number] > 0)
        if not len(rows):
            continue
        value, weight = arrived[rows, offsets, number], moved.weight[rows]
        truth = np.maximum(moved.predicted[rows, offsets, :, number], _NOTHING)
        variance = residual_variance(item.error, truth)
        if not item.error.log_sd:
            variance = variance / truth**2
        log = np.log(truth)
        mean = np.einsum("rk,rk->r", weight, log)
        sd = np.sqrt(np.einsum("rk,rk->r", weight, (log - mean[:, None]) ** 2 + variance))
        z = (np.log(value) - mean) / np.maximum(sd, _NOTHING)
        found += [
            Surprise(row, number, *numbers)
            for row, *numbers in zip(rows.tolist(), value.tolist(), z.tolist(), sd.tolist(), strict=True)
        ]
    return found
