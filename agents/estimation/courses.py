"""Recorded courses of many patients as a function of their random effects.

`Courses.of` reads NONMEM-style records once: doses, resets, steady states, covariates that change, occasions,
measurements. `Courses.predict` then follows any number of copies of every patient, each with random effects
of its own, in one call of the engine for each stretch between resets. Estimators, filters and dose searches
are built on it.

A value at the time of a dose is the value before it, whatever the order of the two records.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.agents.estimation.readings import Graded, Happened, Reading, Readings, refuse
from dosewright.agents.estimation.segments import Doses, Segment
from dosewright.envs import PatientRecords, converted, genotype_effects
from dosewright.envs.pharmacology import Dose, PopulationModel

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]
Carried = Literal["backward", "forward"]

_BASELINE = "baseline"
_FALLS = 1e-6  # share by which a cumulative hazard may fall, from an engine with a tolerance


@dataclass(frozen=True, eq=False)
class Courses:
    """The courses of n patients: what was given, what was measured, and when parameters change.

    A patient has up to q sets of parameters, m samples, and d effects: the model's random effects, then for
    each parameter that varies between occasions one effect an occasion. What pads a shorter course is masked,
    never NaN.

    Attributes
    ----------
    model
        The population model.
    ids : (n,) names of the patients
    typical : (n, q, p) typical parameters, one set for each change of covariates or occasion
    occasion : (n, q) number of the occasion of each set, from 0 in order of appearance
    names : (d,) names of the effects: the parameter's, and the occasion's number, as in "CL, occasion 2"
    omega : (d, d) covariance of the effects
    sample_time, sample_output : (n, m) time of each sample, and index of the model's output that it is of
    low, high : (n, m) measured value, both the same; or the interval [low, high) in which it lies: low is
        minus infinity below the limit of quantification, both are limits of a grade; of an event that of
        their number, [0, 1) or [1, ∞)
    observed : (n, m) whether there is a measurement; elsewhere a value is predicted only, or the row is
        padded
    censored : (n, m) whether it was found below the limit of quantification
    since : (n, m) of whether an event happened, the sample from which on that is asked; −1 of a measurement
    sampled : (n, m) whether the sample exists at all
    last : (n,) parameter set in force at the end
    end : (n,) time of the last record
    segments
        Stretches between resets, in order.
    """

    model: PopulationModel
    ids: tuple[str, ...]
    typical: Floats
    occasion: Indices
    names: tuple[str, ...]
    omega: Floats
    sample_time: Floats
    sample_output: Indices
    low: Floats
    high: Floats
    observed: NDArray[np.bool_]
    censored: NDArray[np.bool_]
    since: Indices
    sampled: NDArray[np.bool_]
    last: Indices
    end: Floats
    segments: tuple[Segment, ...]

    @classmethod
    def of(
        cls,
        model: PopulationModel,
        patients: Sequence[PatientRecords],
        *,
        outputs: Mapping[int, str] | None = None,
        grades: Mapping[int, Graded] | None = None,
        events: Mapping[int, Happened] | None = None,
        compartments: Mapping[int, str] | None = None,
        covariates: Mapping[str, str] | None = None,
        genotypes: Mapping[str, NDArray[np.str_]] | None = None,
        occasion: str | None = None,
        carried: Carried = "backward",
    ) -> Courses:
        """Read the records of n patients.

        Parameters
        ----------
        model
            The population model.
        patients
            Records, one patient each: in the model's units, or in those that the records say (`units`), which
            are converted.
        outputs
            DVID, or compartment where a record has no DVID, -> name of the output that is measured there. By
            default every measurement is of the one output that has a residual error.
        grades
            DVID or compartment -> scale of which DV is a grade there.
        events
            DVID or compartment -> cumulative hazard of an event, of which DV says there whether it happened
            (1) or not (0) since the patient's previous observation of that number, fitted or set aside (MDV
            1), or since the start. Where the clock begins anew at a reset, that is the start.
        compartments
            Compartment of a dose -> name of the route; by default compartments are the model's states,
            counted from 1, and a dose takes the route that leads there. A dose without compartment takes the
            first route.
        covariates
            Covariate of the model -> column of the records; by default the column of the same name, in
            capitals or not. A gap takes the patient's previous value.
        genotypes
            Gene -> (n,) diplotypes, for a model with genotype terms.
        occasion
            Column that numbers occasions; None leaves variability between occasions out.
        carried
            "backward": a record's covariates hold for the interval that ends at it (NONMEM), "forward": from
            it on.

        Raises
        ------
        ValueError
            For a compartment that no route of the model leads to, a rate or duration that the model does not
            have, a measurement that is of no output, a grade that the scale does not have, an event that is
            not 0 or 1, at the time from which on it is asked or across a reset, a hazard that falls, a
            covariate without a column or with an impossible value, a unit that does not become the model's, a
            model that asks for genotypes: with patient, line and remedy.

        Examples
        --------
        Neutrophils recorded as CTCAE grades under DVID 2, and whether there was a fever under DVID 3, of a
        model with outputs C, ANC and the cumulative hazard H::

            Courses.of(
                model, patients, outputs={1: "C"},
                grades={2: Graded("ANC", (2.0, 1.5, 1.0, 0.5))}, events={3: Happened("H")},
            )
        """
        if not patients:
            raise ValueError("no patient: give the records of at least one")
        if carried not in ("backward", "forward"):
            raise ValueError(f"carried = {carried!r}; expected 'backward' (as NONMEM does) or 'forward'")
        routes = routes_by_compartment(model, compartments)
        readings = Readings.of(model, outputs, grades, events)
        reader = _Reader(model, readings, routes, dict(covariates or {}), occasion, carried)
        patients = converted(patients, time=model.time_unit, amount=model.amount_unit)
        histories = [reader.history(records) for records in patients]
        courses = _assembled(model, histories, genotypes, occasion is not None)
        courses._check_hazards(patients, histories)
        return courses

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def effects(self) -> int:
        """Number d of effects."""
        return len(self.names)

    @property
    def below_limit(self) -> NDArray[np.bool_]:
        """(n,) whether a patient has measurements, and all are below the limit of quantification."""
        other = self.observed & ~self.censored
        return np.asarray(self.observed.any(axis=1) & ~other.any(axis=1))

    @property
    def event(self) -> NDArray[np.bool_]:
        """(n, m) whether a sample is of whether an event happened, not a measurement."""
        return self.since >= 0

    @cached_property
    def read_outputs(self) -> Indices:
        """Indices of the outputs that samples are of."""
        return np.unique(self.sample_output[self.sampled])

    def select(self, patients: ArrayLike) -> Courses:
        """Return the courses of some patients, by number, in that order."""
        chosen = np.asarray(patients, dtype=np.int64)
        parts = (
            "typical", "occasion", "sample_time", "sample_output", "low", "high", "observed", "censored",
            "since", "sampled",
        )  # fmt: skip
        return replace(
            self,
            ids=tuple(self.ids[i] for i in chosen),
            last=self.last[chosen],
            end=self.end[chosen],
            segments=tuple(segment.select(chosen) for segment in self.segments),
            **{name: getattr(self, name)[chosen] for name in parts},
        )

    def theta(self, eta: ArrayLike) -> Floats:
        """Return the parameters (n, k, q, p) of effects (n, k, d)."""
        effects = self._checked(eta)
        (n, k, _), (_, q, p) = effects.shape, self.typical.shape
        r = len(self.model.random_effects)
        typical = np.repeat(self.typical[:, None], k, axis=1)
        varying = _occasion_columns(self.model) if effects.shape[2] > r else []
        for number, column in enumerate(varying):
            each = (effects.shape[2] - r) // len(varying)
            own = effects[..., r + number * each : r + (number + 1) * each]
            place = np.broadcast_to(self.occasion[:, None], (n, k, q))
            shift = np.take_along_axis(own, place, axis=2)
            typical[..., column] = _shifted(typical[..., column], shift, self.model.parameters[column].effect)
        eta_rows = np.repeat(effects[..., :r].reshape(n * k, r), q, axis=0)
        return self.model.individual(typical.reshape(n * k * q, p), eta_rows).reshape(n, k, q, p)

    def predict(self, eta: ArrayLike) -> Floats:
        """Return predictions (n, k, m) of all samples under effects (n, k, d).

        That of an event is the hazard that has accumulated since the sample from which on it is asked. 0
        where a row is padded; NaN where a course cannot be computed with such effects.
        """
        out = self._run(self.theta(eta), self.segments, self.read_outputs, self.sample_time.shape[1])
        place = np.searchsorted(self.read_outputs, self.sample_output)[:, None, :, None]
        place = np.minimum(place, len(self.read_outputs) - 1)
        chosen = np.take_along_axis(out, np.broadcast_to(place, (*out.shape[:3], 1)), axis=3)[..., 0]
        if self.event.any():
            before = np.broadcast_to(np.maximum(self.since, 0)[:, None], chosen.shape)
            before = np.take_along_axis(chosen, before, axis=2)
            chosen = np.where(self.event[:, None], chosen - before, chosen)
        return np.where(self.sampled[:, None], chosen, 0.0)

    def simulate(
        self,
        eta: ArrayLike,
        doses: Sequence[Any],
        times: ArrayLike,
        outputs: Sequence[str] | None = None,
        *,
        history: bool = True,
    ) -> Floats:
        """Return outputs (n, k, t, o) under further doses, with the last recorded covariates and occasion.

        Parameters
        ----------
        eta : (n, k, d)
        doses
            One schedule that every patient takes, or one a patient: `Dose`, or ``(time, amount)``, in the
            patient's own time and in any order; the recorded doses are given as well.
        times : (t,) or (n, t)
            Times to read, not before the patient's last reset or the start.
        outputs
            Names of outputs, all by default.
        history
            False: the doses are given to an empty system that starts at time 0, and nothing else is.

        Raises
        ------
        ValueError
            For a time or dose before the start, or an unknown route or output.
        """
        theta, n = self.theta(eta), len(self)
        names = outputs or [item.name for item in self.model.outputs]
        chosen = np.array([self.model.output(name) for name in names])
        when = np.asarray(times, dtype=np.float64)
        when = np.broadcast_to(when, (n, when.shape[-1]))
        schedules = _schedules(doses, n)
        segments = self.segments if history else (self._empty(),)
        final = np.zeros(n, dtype=np.int64)
        for level, segment in enumerate(segments):
            final[segment.who] = level
        ahead = []
        for level, segment in enumerate(segments):
            rows = np.flatnonzero(final[segment.who] == level)
            mine = segment.who[rows]
            ahead.append(self._ahead(segment, rows, [schedules[i] for i in mine], when[mine]))
        return self._run(theta, tuple(ahead), chosen, when.shape[1])

    def _check_hazards(self, patients: Sequence[PatientRecords], histories: Sequence[_History]) -> None:
        """Refuse a hazard that falls in the typical patient: whatever it is, it does not accumulate."""
        if not self.event.any():
            return
        typical = np.zeros((len(self), 1, self.effects))
        hazard = self.predict(typical)[:, 0]
        total = replace(self, since=np.full_like(self.since, -1)).predict(typical)[:, 0]
        for i, j in np.argwhere(self.event & (hazard < -_FALLS * np.abs(total))):
            sample = histories[i].samples[j]
            name = self.model.outputs[sample.reading.output].name
            refuse(
                patients[i],
                sample.record,
                f"{name!r}, said to be a cumulative hazard, falls to {total[i, j]:.6g} from "
                f"{total[i, j] - hazard[i, j]:.6g} at {self.sample_time[i, self.since[i, j]]:g}; name the "
                "output that is the integral of the hazard",
            )

    def _checked(self, eta: ArrayLike) -> Floats:
        effects = np.asarray(eta, dtype=np.float64)
        if effects.ndim != 3 or effects.shape[0] != len(self) or effects.shape[2] != self.effects:
            raise ValueError(
                f"effects have shape {effects.shape}; expected ({len(self)} patients, copies, "
                f"{self.effects}: {', '.join(self.names)})"
            )
        return effects

    def _run(self, theta: Floats, segments: Sequence[Segment], outputs: Indices, slots: int) -> Floats:
        """Follow all segments in order: readings (n, k, slots, o)."""
        n, k = theta.shape[:2]
        state = np.zeros((n, k, len(self.model.states)))
        out = np.zeros((n, k, slots, len(outputs)))
        for segment in segments:
            who = segment.who
            if not len(who):
                continue
            everybody = len(who) == n and bool((who == np.arange(n)).all())
            mine = theta if everybody else theta[who]
            read, state[who] = segment.run(self.model, mine, state[who], outputs, slots)
            out[who] += read
        return out

    def _empty(self) -> Segment:
        """A segment in which nothing is given and nothing read, with the last parameters."""
        n, q = len(self), self.typical.shape[1]
        since = np.where(np.arange(q) <= self.last[:, None], -np.inf, np.inf)
        return Segment(
            who=np.arange(n),
            start=np.zeros(n),
            since=since,
            first=self.last,
            doses=_doses_of([[] for _ in range(n)]),
            read_time=np.zeros((n, 0)),
            slot=np.zeros((n, 0), dtype=np.int64),
            steady=np.full(n, -1),
            keeps=np.zeros(n, dtype=bool),
        )

    def _ahead(
        self, segment: Segment, rows: Indices, schedules: Sequence[Sequence[Any]], when: Floats
    ) -> Segment:
        """Return a segment that is read at other times, of those rows that it is the last of, with further
        doses."""
        b, m = len(segment.who), when.shape[1]
        further: list[list[_Dose]] = [[] for _ in range(b)]
        read_time, slot = np.full((b, m), np.inf), np.full((b, m), -1)
        routes = [route.name for route in self.model.routes]
        for row, schedule, times in zip(rows, schedules, when, strict=True):
            who, start = int(segment.who[row]), float(segment.start[row])
            for item in schedule:
                dose = Dose(*item)
                self._check_dose(dose, routes, who, start)
                route = 0 if dose.route is None else routes.index(dose.route)
                column = int((segment.since[row] < dose.time).sum()) - 1
                further[row].append(_Dose(dose.time, dose.amount, route, column, duration=dose.duration))
            if not (np.isfinite(times).all() and times.min(initial=start) >= start):
                raise ValueError(
                    f"patient {self.ids[who]!r}: a time to read of {times.min():g} {self.model.time_unit}, "
                    f"before the start at {start:g}; begin there or later"
                )
            read_time[row], slot[row] = times, np.arange(m)
        # where the course goes on, it is only moved to the next segment
        moved = np.where((segment.slot < 0) & np.isfinite(segment.read_time), segment.read_time, np.inf)
        return replace(
            segment,
            doses=segment.doses.beside(_doses_of(further)),
            read_time=np.concatenate([read_time, moved], axis=1),
            slot=np.concatenate([slot, np.full(moved.shape, -1)], axis=1),
        )

    def _check_dose(self, dose: Dose, routes: Sequence[str], who: int, start: float) -> None:
        where, unit = (
            f"patient {self.ids[who]!r}: a dose of {dose.amount:g} at {dose.time:g}",
            self.model.time_unit,
        )
        if not all(map(math.isfinite, dose[:3])) or dose.amount < 0 or dose.duration < 0:
            raise ValueError(f"{where} over {dose.duration:g} {unit}; expected finite numbers, none negative")
        if dose.time < start:
            raise ValueError(f"{where} {unit}, before the start at {start:g}; give it there or later")
        if dose.route is not None and dose.route not in routes:
            raise ValueError(f"{where}: unknown route {dose.route!r}; known: {', '.join(routes)}")


@dataclass(frozen=True)
class _Dose:
    """One dose as it was recorded; fields as in `Doses`."""

    time: float
    amount: float
    route: int
    column: int
    rate: float = 0.0
    duration: float = 0.0
    timed: bool = False
    interval: float = 0.0


@dataclass
class _Stretch:
    """What one patient's records say between a start or reset and the next."""

    start: float
    record: int
    keeps: bool = False
    steady: int = -1
    doses: list[_Dose] = field(default_factory=list[_Dose])
    reads: list[tuple[float, int]] = field(default_factory=list[tuple[float, int]])
    since: Floats = field(default_factory=lambda: np.zeros(0))
    first: int = 0


@dataclass(frozen=True)
class _Sample:
    time: float
    record: int
    reading: Reading
    since: int = -1


@dataclass
class _Asked:
    """From when on the next record of each event asks whether it happened.

    Attributes
    ----------
    origin
        The start or last reset: hazards add up from there.
    since
        Event -> time of its last record; before the origin where the reset came in between.
    samples
        Event -> sample at that time, or at the origin; none before its first record after the origin.
    """

    origin: _Stretch
    since: dict[int, float]
    samples: dict[int, int] = field(default_factory=dict[int, int])

    def at(self, stretches: Sequence[_Stretch], before: float) -> _Asked:
        """Return the same after a record; where that resets, `before` is the time of the one before."""
        origin = next(stretch for stretch in reversed(stretches) if not stretch.keeps)
        if origin is self.origin:
            return self
        if origin.start < before:  # the clock begins anew: how long ago the last record was is not known
            return _Asked(origin, dict.fromkeys(self.since, origin.start))
        return _Asked(origin, self.since)


@dataclass(frozen=True)
class _History:
    """One patient's records, read."""

    id: str
    values: Mapping[str, Floats]  # covariate -> (q,)
    occasion: Indices  # (q,)
    stretches: list[_Stretch]
    samples: list[_Sample]
    end: float


@dataclass(frozen=True)
class _Reader:
    """Reads one patient's records."""

    model: PopulationModel
    readings: Readings
    routes: Mapping[int, list[int]]
    covariates: Mapping[str, str]
    occasion: str | None
    carried: Carried

    @cached_property
    def needed(self) -> list[str]:
        """Covariates that the model asks for."""
        names = [item.name for item in self.model.covariates]
        if self.model.baseline is not None and _BASELINE not in names:
            names.append(_BASELINE)
        unknown = [name for name in self.covariates if name not in names]
        if unknown:
            raise ValueError(
                f"{self.model.name} has no covariate {unknown[0]!r}; it has: {', '.join(names) or 'none'}"
            )
        return names

    def history(self, records: PatientRecords) -> _History:
        """Return what the records say."""
        columns, values, occasion = self._columns(records)
        stretches: list[_Stretch] = [_Stretch(float(records.time[0]), 0)]
        samples: list[_Sample] = []
        asked = _Asked(stretches[0], dict.fromkeys(self.readings.events, stretches[0].start))
        for i in range(len(records)):
            evid = int(records.evid[i])
            if evid in (3, 4):
                _begin(stretches, _Stretch(float(records.time[i]), i))
            if evid in (1, 4):
                self._dose(records, i, int(columns[i]), stretches)
            asked = asked.at(stretches, float(records.time[max(i - 1, 0)]))
            reading = self.readings.read(records, i) if evid in (0, 2) else None
            if reading is not None:
                since = _since(records, i, reading, asked, samples)
                stretches[-1].reads.append((float(records.time[i]), len(samples)))
                samples.append(_Sample(float(records.time[i]), i, reading, since))
        self._finish(records, columns, stretches)
        return _History(records.id, values, occasion, stretches, samples, float(records.time[-1]))

    def _columns(self, records: PatientRecords) -> tuple[Indices, Mapping[str, Floats], Indices]:
        """Parameter column of each record; covariates and occasion of each column."""
        table = [self._covariate(records, name, self.covariates.get(name, name)) for name in self.needed]
        level = np.zeros(len(records.time))
        if self.occasion is not None:
            level = self._covariate(records, self.occasion, self.occasion)
        rows = np.stack([*table, level], axis=1)
        changes = np.append(True, (np.diff(rows, axis=0) != 0).any(axis=1))
        columns = np.cumsum(changes) - 1
        appearance = {value: number for number, value in enumerate(dict.fromkeys(level.tolist()))}
        number = np.array([appearance[value] for value in level.tolist()])
        values = {name: column[changes] for name, column in zip(self.needed, table, strict=True)}
        return columns, values, number[changes]

    def _covariate(self, records: PatientRecords, name: str, column: str) -> Floats:
        """Values (r,) of a column, in the model's unit; a gap takes the previous value."""
        match = {key.lower(): key for key in records.covariates}.get(column.lower())
        if match is None:
            have = ", ".join(records.covariates) or "none"
            raise ValueError(
                f"patient {records.id!r}: {self.model.name} asks for {name!r}, and there is no column "
                f"{column!r}; columns: {have}. Name the column in `covariates`"
            )
        item = next((item for item in self.model.covariates if item.name == name), None)
        if item is None:
            return records.covariate(match)
        values = records.covariate(match, item.unit)
        if (values <= item.least).any():
            i = int(np.argmax(values <= item.least))
            refuse(records, i, f"{column} = {values[i]:g}; {self.model.name} needs it above {item.least:g}")
        return values

    def _dose(self, records: PatientRecords, i: int, column: int, stretches: list[_Stretch]) -> None:
        """Add a dose and those that follow it; begin a new stretch where it is at steady state."""
        rate, interval = float(records.rate[i]), float(records.interval[i])
        steady, route = int(records.steady[i]), self._route(records, i)
        if rate < 0 and (rate != -2 or self.model.routes[route].duration is None):
            lacks = "duration" if rate == -2 else "rate that a record could leave to it"
            name = self.model.routes[route].name
            refuse(
                records,
                i,
                f"RATE = {rate:g}, but route {name!r} of {self.model.name} has no {lacks}; give a rate above "
                "0, or 0 for a bolus",
            )
        if steady and self.model.breaks:
            refuse(records, i, f"SS = {steady}, but rates of {self.model.name} change at set times")
        dose = _Dose(
            float(records.time[i]), float(records.amount[i]), route, column, rate=max(rate, 0.0),
            timed=rate == -2, interval=interval if steady else 0.0,
        )  # fmt: skip
        if steady:
            _begin(stretches, _Stretch(dose.time, i, keeps=steady == 2, steady=0))
        stretches[-1].doses.append(dose)
        for number in range(1, int(records.additional[i]) + 1):
            # -1: the record in force then is not known yet
            later = dose.time + number * interval
            stretches[-1].doses.append(replace(dose, time=later, column=-1, interval=0.0))

    def _route(self, records: PatientRecords, i: int) -> int:
        """Route of a dose."""
        number, model = int(records.compartment[i]), self.model
        found = self.routes.get(number, []) if number else [0]
        if len(found) == 1:
            return found[0]
        known = ", ".join(f"{k}: {model.routes[v].name}" for k, routes in self.routes.items() for v in routes)
        several = "several routes lead" if found else f"no route of {model.name} leads"
        refuse(
            records,
            i,
            f"a dose into compartment {number}, where {several}; routes by compartment are {known}; say in "
            "`compartments` which is meant",
        )

    def _finish(self, records: PatientRecords, columns: Indices, stretches: list[_Stretch]) -> None:
        """Say when columns hold in each stretch, and which those of additional doses are."""
        begins = np.flatnonzero(np.append(True, np.diff(columns) > 0))
        time = np.asarray(records.time, dtype=np.float64)
        if self.carried == "backward":
            holds = np.append(-np.inf, time[np.maximum(begins[1:] - 1, 0)])
        else:
            # a moment before, so that it holds for what is measured then
            holds = np.append(-np.inf, np.nextafter(time[begins[1:]], -np.inf))
        resets = [stretch.record for stretch in stretches[1:] if not stretch.keeps] + [len(time)]
        group = begins < 0
        for number, stretch in enumerate(stretches):
            if not stretch.keeps:
                begun, end = stretch.record, next(x for x in resets if x > stretch.record)
                group = np.where(begins <= begun, -np.inf, np.where(begins < end, holds, np.inf))
            stretch.since = np.where(begins <= stretch.record, -np.inf, group)
            stretch.first = int(columns[stretch.record])
            stretch.doses = [
                replace(dose, column=int((group < dose.time).sum()) - 1) if dose.column < 0 else dose
                for dose in stretch.doses
            ]
            if stretch.keeps:  # what was given before may still have to enter
                before = stretches[number - 1].doses
                stretch.doses, stretch.steady = before + stretch.doses, stretch.steady + len(before)


def _begin(stretches: list[_Stretch], new: _Stretch) -> None:
    """Begin a stretch; one in which nothing happened need not be followed."""
    if new.keeps:
        stretches[-1].reads.append((new.start, -1))
    elif not stretches[-1].doses and not stretches[-1].reads:
        stretches.pop()
    stretches.append(new)


def _since(records: PatientRecords, i: int, reading: Reading, asked: _Asked, samples: list[_Sample]) -> int:
    """Sample from which on record `i` asks for an event, added if need be; −1 where it is a measurement."""
    event, time, start = reading.event, float(records.time[i]), asked.origin.start
    if event is None:
        return -1
    last = asked.since[event]
    if reading.observed and last < start:
        refuse(
            records,
            i,
            f"whether event {event} happened since {last:g}, but a reset or steady state at {start:g} cuts "
            "off the hazard before; give the event a record at that time, before the reset, with MDV 1 if it "
            "is not known",
        )
    if reading.observed and time <= last:
        refuse(
            records,
            i,
            f"whether event {event} happened since {last:g}, before any time has passed; leave the record "
            "out, or put it before the reset",
        )
    if event not in asked.samples:
        asked.samples[event] = len(samples)
        asked.origin.reads.append((start, len(samples)))
        samples.append(_Sample(start, i, Reading(reading.output)))
    since = asked.samples[event]
    if records.observation[i]:
        asked.since[event], asked.samples[event] = time, len(samples)
    return since


def routes_by_compartment(
    model: PopulationModel, compartments: Mapping[int, str] | None = None
) -> Mapping[int, list[int]]:
    """Return the numbers of the routes that a compartment may stand for: `compartments` says which, by
    default those that lead into the model's state of that number, from 1."""
    names = [route.name for route in model.routes]
    if compartments is None:
        return {
            number + 1: [i for i, route in enumerate(model.routes) if route.state == state]
            for number, state in enumerate(model.states)
        }
    for number, name in compartments.items():
        if name not in names:
            raise ValueError(f"compartment {number}: unknown route {name!r}; known: {', '.join(names)}")
    return {number: [names.index(name)] for number, name in compartments.items()}


def _occasion_columns(model: PopulationModel) -> list[int]:
    """Columns of theta that vary between occasions."""
    return [i for i, item in enumerate(model.parameters) if item.occasion_variance > 0]


def _shifted(typical: Floats, shift: Floats, effect: str) -> Floats:
    """Apply an occasion's effect, on the scale of the parameter's random effect."""
    if effect == "linear":
        return typical + shift
    if effect == "log":
        return typical * np.exp(shift)
    odds = typical / (1.0 - typical) * np.exp(shift)
    return odds / (1.0 + odds)


def _schedules(doses: Sequence[Any], n: int) -> Sequence[Sequence[Any]]:
    """Return one schedule a patient."""
    if all(len(item) and np.isscalar(item[0]) for item in doses):
        return [doses] * n
    if len(doses) != n:
        raise ValueError(f"{len(doses)} schedules for {n} patients; give one for all, or one a patient")
    return doses


def _doses_of(schedules: Sequence[Sequence[_Dose]]) -> Doses:
    """Return the doses (b, e) of b schedules."""
    width = max((len(schedule) for schedule in schedules), default=0)
    nothing = _Dose(np.inf, 0.0, 0, 0)
    rows = [[*schedule, *[nothing] * (width - len(schedule))] for schedule in schedules]

    def table(name: str, kind: type) -> NDArray[np.generic]:
        values = [[getattr(dose, name) for dose in row] for row in rows]
        return np.array(values, dtype=kind).reshape(len(rows), width)

    kinds = {"timed": np.bool_, "route": np.int64, "column": np.int64}
    return Doses(**{name: table(name, kinds.get(name, np.float64)) for name in Doses._fields})  # pyright: ignore[reportArgumentType]


def _assembled(
    model: PopulationModel,
    histories: Sequence[_History],
    genotypes: Mapping[str, NDArray[np.str_]] | None,
    occasions: bool,
) -> Courses:
    """Put the histories of n patients side by side."""
    n, q = len(histories), max(len(history.occasion) for history in histories)
    typical = _typical(model, histories, genotypes, q)
    m = max(len(history.samples) for history in histories)
    number = max(int(history.occasion.max()) for history in histories) + 1
    names, omega = _effects(model, number if occasions else 0)
    time, low, high = (np.zeros((n, m)) for _ in range(3))
    output, since = np.zeros((n, m), dtype=np.int64), np.full((n, m), -1)
    observed, censored, sampled = (np.zeros((n, m), dtype=bool) for _ in range(3))
    for i, history in enumerate(histories):
        sampled[i, : len(history.samples)] = True
        for j, sample in enumerate(history.samples):
            time[i, j], since[i, j], reading = sample.time, sample.since, sample.reading
            low[i, j], high[i, j], output[i, j] = reading.low, reading.high, reading.output
            observed[i, j], censored[i, j] = reading.observed, reading.censored
    levels = max(len(history.stretches) for history in histories)
    return Courses(
        model=model,
        ids=tuple(history.id for history in histories),
        typical=typical,
        occasion=np.stack([history.occasion[_padded(history, q)] for history in histories]),
        names=names,
        omega=omega,
        sample_time=time,
        sample_output=output,
        low=low,
        high=high,
        observed=observed,
        censored=censored,
        since=since,
        sampled=sampled,
        last=np.array([len(history.occasion) - 1 for history in histories]),
        end=np.array([history.end for history in histories]),
        segments=tuple(_segment(histories, level, q) for level in range(levels)),
    )


def _padded(history: _History, q: int) -> Indices:
    """Parameter sets (q,) of a patient, the last one repeated."""
    return np.minimum(np.arange(q), len(history.occasion) - 1)


def _typical(
    model: PopulationModel,
    histories: Sequence[_History],
    genotypes: Mapping[str, NDArray[np.str_]] | None,
    q: int,
) -> Floats:
    """Typical parameters (n, q, p)."""
    n, terms = len(histories), model.genotype_terms
    if terms and genotypes is None:
        raise ValueError(
            f"{model.name} asks for genotypes of {', '.join(term.gene for term in terms)}; give `genotypes`"
        )
    effects = genotype_effects(terms, genotypes)[0] if genotypes is not None else {}
    values = {
        name: np.concatenate([history.values[name][_padded(history, q)] for history in histories])
        for name in histories[0].values
    }
    theta = model.typical(values, {name: np.repeat(value, q) for name, value in effects.items()})
    typical = np.array(np.broadcast_to(theta, (n * q, theta.shape[1]))).reshape(n, q, -1)
    bad = ~np.isfinite(typical)
    if bad.any():
        i, _, j = np.argwhere(bad)[0]
        raise ValueError(
            f"patient {histories[i].id!r}: typical {model.parameters[j].name} is {typical[bad][0]}; look "
            f"at the covariates: {', '.join(values) or 'none'}"
        )
    return typical


def _effects(model: PopulationModel, occasions: int) -> tuple[tuple[str, ...], Floats]:
    """Names (d,) and covariance (d, d) of all effects."""
    names = [model.parameters[i].name for i in model.random_effects]
    variances: list[float] = []
    if occasions:
        for column in _occasion_columns(model):
            parameter = model.parameters[column]
            names += [f"{parameter.name}, occasion {number + 1}" for number in range(occasions)]
            variances += [parameter.occasion_variance] * occasions
    r, d = len(model.random_effects), len(names)
    omega = np.zeros((d, d))
    omega[:r, :r] = model.omega
    omega[np.arange(r, d), np.arange(r, d)] = variances
    return tuple(names), omega


def _segment(histories: Sequence[_History], level: int, q: int) -> Segment:
    """Put the stretches of one level side by side."""
    who = np.array([i for i, history in enumerate(histories) if len(history.stretches) > level])
    stretches = [histories[i].stretches[level] for i in who]
    width = max(len(stretch.reads) for stretch in stretches)
    read_time, slot = np.full((len(who), width), np.inf), np.full((len(who), width), -1)
    since = np.full((len(who), q), np.inf)
    for row, stretch in enumerate(stretches):
        since[row, : len(stretch.since)] = stretch.since
        for j, (time, place) in enumerate(stretch.reads):
            read_time[row, j], slot[row, j] = time, place
    return Segment(
        who=who,
        start=np.array([stretch.start for stretch in stretches]),
        since=since,
        first=np.array([stretch.first for stretch in stretches]),
        doses=_doses_of([stretch.doses for stretch in stretches]),
        read_time=read_time,
        slot=slot,
        steady=np.array([stretch.steady for stretch in stretches]),
        keeps=np.array([stretch.keeps for stretch in stretches]),
    )
