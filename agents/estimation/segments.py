"""One stretch of recorded courses, from a start or a reset to the next, as events that the engine runs.

When a dose enters, how much of it and over which time may depend on the parameters, and so on the random
effects: lag, bioavailability and duration are applied here, for every copy of a patient, and the engine is
handed amounts as they enter. What a record says about steady state becomes the state at its time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import (
    Dose,
    Events,
    Kind,
    Linear,
    PopulationModel,
    Route,
    SolverError,
    follow,
    steady_state,
)
from dosewright.envs.pharmacology.events import ROUTE

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_NEVER = np.inf  # time of what pads a row
_PARTS = 5  # events of a steady cycle: an input that never stops, one that does, its end, a bolus, the end


class Doses(NamedTuple):
    """Doses (b, e) of b patients; those that pad a row are at infinity.

    Attributes
    ----------
    time : as recorded; lag is not in it
    amount : as prescribed
    rate : rate at which the available amount enters, 0 where none is given
    duration : time over which it enters, 0 where none is given
    timed : whether the duration is the route's parameter
    route : number of the model's route
    column : parameters of the dose's own record
    interval : time between the doses of which this one is the next, at steady state; 0 where it is the first
    """

    time: Floats
    amount: Floats
    rate: Floats
    duration: Floats
    timed: NDArray[np.bool_]
    route: Indices
    column: Indices
    interval: Floats

    def rows(self, chosen: Any) -> Doses:
        """The same of some patients, or along the second axis of some doses."""
        parts = list[Any](self)
        return Doses(*(part[chosen] for part in parts))

    def beside(self, other: Doses) -> Doses:
        """These doses and others of the same patients."""
        pairs: Iterable[Any] = zip(self, other, strict=True)
        return Doses(*(np.concatenate(pair, axis=1) for pair in pairs))


class _Entries(NamedTuple):
    """What enters: (b, k, e) with k = 1 where it does not depend on random effects."""

    start: Floats
    end: Floats  # of an infusion
    amount: Floats  # of a bolus
    rate: Floats  # of an infusion


@dataclass(frozen=True)
class _Ways:
    """A model's routes as arrays, and the model without them: doses go straight into states."""

    bare: PopulationModel
    into: Indices  # route -> route of `bare`
    lag: Indices  # route -> column of theta, −1 where there is none
    share: Floats
    fraction: Indices
    duration: Indices


@cache
def ways(model: PopulationModel) -> _Ways:
    """Return where doses of a model enter, and when and how much of them."""
    states = list(dict.fromkeys(route.state for route in model.routes))
    shares = [
        route.fraction if isinstance(route.fraction, tuple) else (route.fraction,) for route in model.routes
    ]

    def columns(names: list[str | None]) -> Indices:
        return np.array([-1 if name is None else model.column(name) for name in names])

    return _Ways(
        bare=replace(model, routes=tuple(Route(state, state) for state in states)),
        into=np.array([states.index(route.state) for route in model.routes]),
        lag=columns([route.lag for route in model.routes]),
        share=np.array([next((x for x in parts if not isinstance(x, str)), 1.0) for parts in shares]),
        fraction=columns([next((x for x in parts if isinstance(x, str)), None) for parts in shares]),
        duration=columns([route.duration for route in model.routes]),
    )


@dataclass(frozen=True, eq=False)
class Segment:
    """What happens to b patients between a start or reset and the next.

    Attributes
    ----------
    who : (b,) numbers of the patients
    start : (b,) time at which it begins
    since : (b, q) time after which each parameter column holds
    first : (b,) parameter column of the record at which it begins
    doses : doses (b, e)
    read_time, slot : (b, r) times of the readings, and their places among the patient's samples, −1: none,
        the patient is only moved there
    steady : (b,) dose whose steady state is reached at the start, −1 where none is; with an interval of 0 it
        is that of an input that never stopped
    keeps : (b,) whether the state before the start stays, and steady amounts come on top
    """

    who: Indices
    start: Floats
    since: Floats
    first: Indices
    doses: Doses
    read_time: Floats
    slot: Indices
    steady: Indices
    keeps: NDArray[np.bool_]

    def select(self, patients: Indices) -> Segment:
        """Return the segment of some patients, who are numbered anew."""
        place = {int(patient): row for row, patient in enumerate(self.who)}
        chosen = [(new, place[int(old)]) for new, old in enumerate(patients) if int(old) in place]
        rows = np.array([row for _, row in chosen], dtype=np.int64)
        return Segment(
            who=np.array([new for new, _ in chosen], dtype=np.int64),
            start=self.start[rows],
            since=self.since[rows],
            first=self.first[rows],
            doses=self.doses.rows(rows),
            read_time=self.read_time[rows],
            slot=self.slot[rows],
            steady=self.steady[rows],
            keeps=self.keeps[rows],
        )

    def run(
        self, model: PopulationModel, theta: Floats, before: Floats, outputs: Indices, slots: int
    ) -> tuple[Floats, Floats]:
        """Move k copies of every patient through the segment.

        Parameters
        ----------
        theta : (b, k, q, p)
        before : (b, k, s) states before the start; used where they are kept
        outputs : (o,) indices of the outputs to read
        slots
            Samples of a patient.

        Returns
        -------
        Readings (b, k, slots, o), 0 where nothing was read and NaN where a course could not be computed; and
        the states (b, k, s) at the last reading.
        """
        (b, k, q, p), way = theta.shape, ways(model)
        doses, begin = self.doses, np.repeat(self.start, k)
        own = np.take_along_axis(theta, self.first[:, None, None, None], axis=2)[:, :, 0].reshape(b * k, p)
        state = np.where(self.keeps[:, None, None], before, model.initial(own).reshape(b, k, -1))
        rows = np.flatnonzero(self.steady >= 0)
        if len(rows):
            state[rows] = self._steady(model, theta, state, rows)
        if np.any(doses.interval > 0):
            doses = doses.beside(_earlier(way, theta, doses))
        entries = self._entries(way, theta, doses)
        events = self._events(way, entries, doses, q)
        which = np.arange(b * k) if len(events.count) == b * k else np.repeat(np.arange(b), k)
        state = np.ascontiguousarray(state.reshape(b * k, -1))
        out = _follow(way.bare, state, theta.reshape(b * k, q, p), events, outputs, slots, which, begin)
        return out.reshape(b, k, slots, len(outputs)), state.reshape(b, k, state.shape[1])

    def _column(self, time: Floats) -> Indices:
        """Parameter column (b, k, e) in force at times."""
        if self.since.shape[1] == 1:
            return np.zeros(time.shape, dtype=np.int64)
        return (self.since[:, None, None, :] < time[..., None]).sum(axis=-1) - 1

    def _entries(self, way: _Ways, theta: Floats, doses: Doses) -> _Entries:
        """When, how much and how fast doses enter, cut off at the start of the segment."""
        route, here = doses.route, np.isfinite(doses.time)
        lagged = bool(np.any(way.lag[route][here] >= 0))
        depends = lagged or bool(np.any(way.fraction[route][here] >= 0) or np.any(doses.timed[here]))
        theta = theta if depends else theta[:, :1]
        column = np.broadcast_to(doses.column[:, None], (*theta.shape[:2], route.shape[1]))
        entry = np.broadcast_to(doses.time[:, None], column.shape)
        if lagged:
            late = _gather(theta, column, way.lag[route], 0.0)
            entry = entry + late
            column = np.where(late > 0, self._column(entry), column)
        amount, rate, duration = _available(way, theta, doses, column)
        start = self.start[:, None, None]
        infused, end = _infused(doses)[:, None], entry + duration
        over = np.where(infused, end <= start, entry < start) | ~here[:, None]
        entry = np.where(over, _NEVER, np.where(infused, np.maximum(entry, start), entry))
        return _Entries(entry, np.where(over, _NEVER, end), np.where(over, 0.0, amount), rate)

    def _events(self, way: _Ways, entries: _Entries, doses: Doses, q: int) -> Events:
        """Return events of b patients, or of b·k copies."""
        b, k, infused = len(self.who), entries.start.shape[1], _infused(doses)
        into = ROUTE * way.into[doses.route]
        ends = np.flatnonzero(infused.any(axis=0))  # only infusions end
        code = [
            np.where(np.isfinite(self.read_time), Kind.READ, Kind.BOLUS),
            np.full((b, q if q > 1 else 0), Kind.PARAMETERS),
            np.where(infused, Kind.RATE, Kind.BOLUS) + into,
            np.where(infused, Kind.RATE, Kind.BOLUS)[:, ends] + into[:, ends],
        ]
        time = [
            self.read_time,
            self.since if q > 1 else self.since[:, :0],
            entries.start,
            np.where(infused[:, None, ends], entries.end[..., ends], _NEVER),
        ]
        value = [
            np.where(np.isfinite(self.read_time), self.slot, 0).astype(np.float64),
            np.broadcast_to(np.arange(q if q > 1 else 0, dtype=np.float64), (b, q if q > 1 else 0)),
            np.where(infused[:, None], entries.rate, entries.amount),
            np.where(infused[:, None, ends], -entries.rate[..., ends], 0.0),
        ]
        codes = np.concatenate(code, axis=1)
        times, values = (_joined(parts, b, k) for parts in (time, value))
        # the engine sorts; it is quick where a copy comes in the order of the first one
        order = np.lexsort((codes % ROUTE, times[:, 0]))
        codes = np.take_along_axis(codes, order, axis=1).astype(np.int8)
        times, values = (np.take_along_axis(part, order[:, None], axis=2) for part in (times, values))
        width = codes.shape[1]
        return Events(
            np.ascontiguousarray(times.reshape(b * k, width)),
            np.ascontiguousarray(np.repeat(codes, k, axis=0)),
            np.ascontiguousarray(values.reshape(b * k, width)),
            np.full(b * k, width),
        )

    def _steady(self, model: PopulationModel, theta: Floats, state: Floats, rows: Indices) -> Floats:
        """States (r, k, s) at the start, where a dose is at steady state."""
        way, k, s = ways(model), theta.shape[1], state.shape[2]
        doses, keeps = self.doses.rows((rows[:, None], self.steady[rows, None])), self.keeps[rows]
        cycle = _Cycle.of(way, theta[rows], doses)
        own = _at_column(theta[rows], doses.column[:, :1])
        moving = np.array([not name.startswith("AUC") for name in model.states])
        if isinstance(model.solver, Linear):
            found = _linear_steady_state(way.bare, own, cycle, np.flatnonzero(moving))
        elif keeps.any():
            raise ValueError(
                f"{model.name}: a steady state on top of what is there (ss 2) needs a linear model; "
                "give the doses one by one"
            )
        else:
            found = _other_steady_state(way.bare, own, cycle)
        found = found.reshape(len(rows), k, s)
        return np.where(moving, found + np.where(keeps[:, None, None], state[rows], 0.0), state[rows])


class _Cycle(NamedTuple):
    """The repeated dose of a steady state, (r, k) each, as it enters."""

    amount: Floats  # of a bolus, else 0
    rate: Floats  # of an infusion, else 0
    duration: Floats
    lag: Floats
    interval: Floats
    into: Indices

    @classmethod
    def of(cls, way: _Ways, theta: Floats, doses: Doses) -> _Cycle:
        """Read the parameters of the record of one dose (r, 1) a patient."""
        column = np.broadcast_to(doses.column[:, None], (*theta.shape[:2], 1))
        parts = _available(way, theta, doses, column)
        amount, rate, duration = (np.broadcast_to(part, column.shape)[..., 0] for part in parts)
        lag = _gather(theta, column, way.lag[doses.route], 0.0)[..., 0]
        interval, endless = np.broadcast_to(doses.interval, amount.shape), doses.interval == 0
        return cls(
            np.where(_infused(doses), 0.0, amount),
            np.where(_infused(doses), rate, 0.0),
            np.where(endless, 1.0, duration),
            np.where(endless, 0.0, lag),
            np.where(endless, 1.0, interval),
            np.broadcast_to(way.into[doses.route], amount.shape),
        )

    @property
    def since_entry(self) -> Floats:
        """Time that has passed since the last dose entered, in (0, interval]."""
        return self.interval - np.mod(self.lag, self.interval)

    def events(self, until: Floats, copies: int) -> Events:
        """Events of one cycle, read at its end; of every `copies` rows the first takes the dose."""
        # an infusion that outlasts the interval runs beside the next ones
        whole, rest = np.divmod(self.duration, self.interval)
        zero, into, rows = np.zeros_like(rest), ROUTE * self.into, until.size
        time = np.stack([zero, zero, rest, zero, until], axis=-1).reshape(rows, 1, _PARTS)
        value = np.stack([whole * self.rate, self.rate, -self.rate, self.amount, zero - 1.0], axis=-1)
        code = np.stack(
            [Kind.RATE + into] * 3 + [Kind.BOLUS + into, np.full_like(into, Kind.READ)], axis=-1
        ).reshape(rows, 1, _PARTS)
        values = np.zeros((rows, copies, _PARTS))
        values[:, 0] = value.reshape(rows, _PARTS)
        values[..., -1] = -1.0
        shape = (rows, copies, _PARTS)
        time, code = (np.broadcast_to(part, shape).reshape(-1, _PARTS) for part in (time, code))
        return Events(
            np.array(time, order="C"),
            np.array(code, dtype=np.int8, order="C"),
            values.reshape(-1, _PARTS),
            np.full(rows * copies, _PARTS),
        )


def _linear_steady_state(bare: PopulationModel, theta: Floats, cycle: _Cycle, moving: Indices) -> Floats:
    """States (r·k, s) of linear compartments under a dose that repeats, from one cycle: x = Φ·x + d.

    A cycle without drug moves unit amounts to the columns of Φ, one with the dose moves nothing to d.
    """
    rows, s, m = len(theta), len(bare.states), len(moving)
    unit = np.zeros((rows, m + 1, s))
    unit[:, np.arange(m) + 1, moving] = 1.0
    state = unit.reshape(-1, s)
    copies = np.repeat(theta[:, None], m + 1, axis=1).reshape(-1, 1, theta.shape[-1])
    events = cycle.events(cycle.interval, m + 1)
    _follow(bare, state, copies, events, np.zeros(0, dtype=np.int64), 1, np.arange(len(state)))
    after = state.reshape(rows, m + 1, s)[..., moving]
    try:
        found = np.linalg.solve(np.eye(m) - after[:, 1:].swapaxes(1, 2), after[:, 0, :, None])[..., 0]
    except np.linalg.LinAlgError:
        raise ValueError(
            f"{bare.name}: a dose at steady state, but a compartment that nothing leaves has none; name a "
            "state that only adds up AUC…"
        ) from None
    state = np.zeros((rows, s))
    state[:, moving] = found
    return _later(bare, state, theta, cycle)


def _other_steady_state(bare: PopulationModel, theta: Floats, cycle: _Cycle) -> Floats:
    """States (r·k, s) of any other model; copies with the same dose are solved together."""
    state, names = np.empty((len(theta), len(bare.states))), [route.name for route in bare.routes]
    given = np.stack([part.ravel() for part in cycle], axis=1)
    given[:, 0] += given[:, 1] * given[:, 2]
    for amount, rate, duration, _, interval, into in np.unique(given, axis=0):
        same = (given[:, [0, 1, 2, 4, 5]] == (amount, rate, duration, interval, into)).all(axis=1)
        dose = Dose(0.0, amount, duration if rate > 0 else 0.0, names[int(into)])
        state[same] = steady_state(bare, theta[same], [dose], interval)
    return _later(bare, state, theta, cycle)


def _later(bare: PopulationModel, state: Floats, theta: Floats, cycle: _Cycle) -> Floats:
    """Move steady states from just before a dose enters to the recorded time of the next, a lag before."""
    if np.any(cycle.lag > 0):
        events = cycle.events(cycle.since_entry, 1)
        nothing = np.zeros(0, dtype=np.int64)
        _follow(bare, state, theta[:, None], events, nothing, 1, np.arange(len(state)))
    return state


def _follow(
    model: PopulationModel, state: Floats, theta: Floats, events: Events, outputs: Indices, slots: int,
    which: Indices, begin: Floats | None = None,
) -> Floats:  # fmt: skip
    """Run the engine; a course that cannot be computed is NaN, and leaves the others alone."""
    begin = np.zeros(len(state)) if begin is None else begin
    before = state.copy()
    try:
        return follow(model, state, theta, events, outputs, slots, which=which, begin=begin)
    except SolverError:
        if len(state) == 1:
            state[:] = np.nan
            return np.full((1, slots, len(outputs)), np.nan)
    parts = []
    for half in np.array_split(np.arange(len(state)), 2):
        mine = before[half]
        parts.append(_follow(model, mine, theta[half], events, outputs, slots, which[half], begin[half]))
        state[half] = mine
    return np.concatenate(parts)


def _available(way: _Ways, theta: Floats, doses: Doses, column: Indices) -> tuple[Floats, Floats, Floats]:
    """What of doses (b, e) enters, with parameters in columns (b, k, e): amount, rate and duration, 0 of a
    bolus."""
    route = doses.route
    amount = (doses.amount * way.share[route])[:, None] * _gather(theta, column, way.fraction[route], 1.0)
    rate, duration = doses.rate[:, None], doses.duration[:, None]
    if np.any(doses.timed):
        parameter = _gather(theta, column, way.duration[route], 0.0)
        duration = np.where(doses.timed[:, None], parameter, duration)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_duration, by_rate = amount / duration, amount / rate
    return (
        amount,
        np.where(rate > 0, rate, np.where(_infused(doses)[:, None], by_duration, 0.0)),
        np.where(rate > 0, by_rate, duration),
    )


def _earlier(way: _Ways, theta: Floats, doses: Doses) -> Doses:
    """Doses before those at steady state: what of them has yet to enter."""
    chosen = np.flatnonzero((doses.interval > 0).any(axis=0))
    steady = doses.rows((slice(None), chosen))
    column = np.broadcast_to(steady.column[:, None], (*theta.shape[:2], len(chosen)))
    late = _gather(theta, column, way.lag[steady.route], 0.0)
    _, _, duration = _available(way, theta, steady, column)
    interval = steady.interval[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ahead = np.where(interval > 0, (late + duration) / interval, 0.0)
    back = np.repeat(np.arange(1, int(np.ceil(ahead.max(initial=0.0))) + 1), len(chosen))
    before = doses.rows((slice(None), np.resize(chosen, len(back))))
    time = np.where(before.interval > 0, before.time - back * before.interval, _NEVER)
    return before._replace(time=time, interval=np.zeros_like(time))


def _gather(theta: Floats, column: Indices, parameter: Indices, otherwise: float) -> Floats:
    """Parameters (b, k, e) of theta (b, k, q, p) in columns (b, k, e); `parameter` (b, e) is −1 where there
    is none."""
    if not np.any(parameter >= 0):
        return np.full(column.shape, otherwise)
    b, k = theta.shape[:2]
    row, copy = np.arange(b)[:, None, None], np.arange(k)[None, :, None]
    found = theta[row, copy, column, np.maximum(parameter, 0)[:, None]]
    return np.where(parameter[:, None] >= 0, found, otherwise)


def _at_column(theta: Floats, column: Indices) -> Floats:
    """Parameters (b·k, p) of theta (b, k, q, p) in column (b, 1)."""
    return np.take_along_axis(theta, column[:, :, None, None], axis=2)[:, :, 0].reshape(-1, theta.shape[-1])


def _infused(doses: Doses) -> NDArray[np.bool_]:
    return (doses.rate > 0) | (doses.duration > 0) | doses.timed


def _joined(parts: list[Floats], b: int, k: int) -> Floats:
    """Put (b, x) and (b, k, x) side by side."""
    whole = [part if part.ndim == 3 else part[:, None] for part in parts]
    return np.concatenate([np.broadcast_to(part, (b, k, part.shape[2])) for part in whole], axis=2)
