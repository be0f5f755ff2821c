"""The engine: any population model, any number of patients, doses and samples at exact times.

A patient's course is a row of `Events`. Between two events the model's solver moves the state; doses and
samples are therefore hit exactly, never stepped over, and a value read at the time of a dose is the value
before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from types import FunctionType
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numba import prange, types
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.compilation import Pointer, compiled, kernel
from dosewright.envs.pharmacology.events import ROUTE, Dose, Events, Kind, schedule_events
from dosewright.envs.pharmacology.model import Floats, PopulationModel
from dosewright.envs.pharmacology.solvers.signatures import CUBE, INDICES, MATRIX, OBSERVE, VECTOR

# Patients per block of `stream`: bounds the memory, results do not depend on it.
_BLOCK = 20_000

_READ, _PARAMETERS, _RATE, _BOLUS = (
    int(kind) for kind in (Kind.READ, Kind.PARAMETERS, Kind.RATE, Kind.BOLUS)
)
_REASONS = {
    1: "the step size fell to rounding",
    2: "too many steps",
    3: "the rate matrix is not finite, or has no real rates that differ; put three equal rates in a row "
    "into the "
    "right-hand side",
    4: "an input into a compartment that nothing leaves; make it one of the states of the right-hand side",
    5: "the state is not finite",
    6: "the course was not run",
}


class SolverError(RuntimeError):
    """A patient's course could not be computed. Nothing is returned in its place."""


def _in_order(times, codes, values, events, lags, theta, at, order):
    """Sort a patient's events by time and kind, lags included: write their times and places.

    Return the number of readings.

    Schedules come nearly sorted, so insertion is enough.
    """
    column, reads, late = 0, 0, np.zeros(events)
    for e in range(events):
        kind, route = codes[e] % ROUTE, codes[e] // ROUTE
        if kind == _PARAMETERS:
            column = min(int(values[e]), theta.shape[0] - 1)
        due = times[e]
        if kind >= _RATE and lags[route] >= 0:
            late[e] = theta[column, lags[route]]
            if kind == _RATE and values[e] < 0.0:  # an infusion ends as late as it began
                for earlier in range(e - 1, -1, -1):
                    if codes[earlier] == codes[e] and values[earlier] == -values[e]:
                        late[e] = late[earlier]
                        break
            due += late[e]
        if kind == _READ:
            reads += 1
        j = e
        while j > 0 and (at[j - 1] > due or (at[j - 1] == due and codes[order[j - 1]] % ROUTE > kind)):
            at[j], order[j] = at[j - 1], order[j - 1]
            j -= 1
        at[j], order[j] = due, e
    return reads


_in_order = kernel(_in_order)


def _share(route, theta, fractions, parameters):
    """Share of a prescribed amount that enters by a route."""
    share = fractions[route]
    if parameters[route] >= 0:
        share *= theta[parameters[route]]
    return share


_share = kernel(_share, inline=True)


def _course(  # noqa: C901, the event loop is one story
    first, second, observe, state, theta, begin, which, time, code, value, count, route_state, route_lag,
    route_fraction, route_parameter, breaks, rule, layout, shape, outputs, out, status, stuck,
):  # fmt: skip
    """Move every patient through its events, and read its outputs."""
    for i in prange(state.shape[0]):
        row, mine, sizes, work = which[i], state[i].copy(), layout.copy(), np.zeros(shape)
        events, routes = count[row], route_state.shape[0]
        prescribed, rate = np.zeros(routes), np.zeros(routes)
        at, order = np.empty(events), np.empty(events, dtype=np.int64)
        reads = _in_order(time[row], code[row], value[row], events, route_lag, theta[i], at, order)
        column, t, passed, trouble = 0, begin[i], 0, 0
        for k in range(events):
            if reads == 0 or trouble != 0:
                break
            while t < at[k] and trouble == 0:
                stop = at[k]
                while passed < breaks.shape[0] and breaks[passed] <= t:
                    passed += 1
                if passed < breaks.shape[0]:
                    stop = min(stop, breaks[passed])
                if breaks.shape[0] > 0:
                    sizes[2] = passed
                trouble = _advance(
                    first, second, t, stop - t, mine, rate, route_state, theta[i, column], column, rule,
                    sizes, work,
                )  # fmt: skip
                if trouble == 0:
                    t = stop
            e = order[k]
            kind, route, amount = code[row, e] % ROUTE, code[row, e] // ROUTE, value[row, e]
            if kind == _READ:
                reads -= 1
                for o in range(outputs.shape[0] if amount >= 0.0 else 0):
                    out[i, int(amount), o] = observe(t, mine, theta[i, column], outputs[o])
                continue
            if kind == _BOLUS:
                mine[route_state[route]] += amount * _share(
                    route, theta[i, column], route_fraction, route_parameter
                )
                continue
            if kind == _PARAMETERS:
                later = min(int(amount), theta.shape[1] - 1)
                # what a solver prepared for equal parameters still holds
                if not np.array_equal(theta[i, later], theta[i, column]):
                    column = later
            else:
                prescribed[route] += amount
                if abs(prescribed[route]) < 1e-12 * abs(amount):
                    prescribed[route] = 0.0
            for r in range(routes):
                rate[r] = prescribed[r] * _share(r, theta[i, column], route_fraction, route_parameter)
        if trouble == 0 and not np.all(np.isfinite(mine)):
            trouble = 5
        status[i], stuck[i] = trouble, t
        state[i] = mine


# stands for the solver's step while the file is read; `_kernel` binds the real one
_advance: Any = None


@cache
def _kernel(advance: Any, signatures: tuple[Any, Any], label: str) -> Any:
    """Compile the engine for one solver."""
    scope = dict(_course.__globals__)
    scope["_advance"] = advance
    bound = FunctionType(_course.__code__, scope, "_course")
    codes = types.Array(types.int8, 2, "C")
    signature = types.void(
        *(types.FunctionType(item) for item in (*signatures, OBSERVE)),
        MATRIX, CUBE, VECTOR, INDICES, MATRIX, codes, MATRIX, INDICES, INDICES, INDICES, VECTOR, INDICES,
        VECTOR, MATRIX, INDICES, types.UniTuple(types.int64, 2), INDICES, CUBE, INDICES, VECTOR,
    )  # fmt: skip
    return compiled(bound, signature, label=label, parallel=True)


@dataclass(frozen=True, eq=False)
class _Machine:
    """A model ready to run: compiled kernels, and its routes as arrays."""

    model: PopulationModel

    @cached_property
    def pointers(self) -> tuple[Any, Any, Any]:
        """The model's compiled kernels."""
        solver, label = self.model.solver, self.model.name
        first, second = (
            Pointer(function, signature, label)
            for function, signature in zip(solver.kernels, solver.signatures, strict=True)
        )
        return first, second, Pointer(self.model.observe, OBSERVE, label)

    @cached_property
    def run(self) -> Any:
        """The engine for the model's solver."""
        solver = self.model.solver
        return _kernel(
            solver.advance, solver.signatures, f"the engine for {type(solver).__name__.lower()} models"
        )

    @cached_property
    def routes(self) -> tuple[Any, ...]:
        """State, lag column, constant share, and share's column of every route; then the breaks."""
        model = self.model
        shares = [
            route.fraction if isinstance(route.fraction, tuple)
            else (1.0, route.fraction) if isinstance(route.fraction, str)
            else (route.fraction, None)
            for route in model.routes
        ]  # fmt: skip
        return (
            np.array([model.states.index(route.state) for route in model.routes]),
            np.array([-1 if route.lag is None else model.column(route.lag) for route in model.routes]),
            np.array([share for share, _ in shares], dtype=np.float64),
            np.array([-1 if name is None else model.column(name) for _, name in shares]),
            np.array(model.breaks, dtype=np.float64),
        )


@cache
def _machine(model: PopulationModel) -> _Machine:
    return _Machine(model)


def follow(
    model: PopulationModel,
    state: Floats,
    theta: Floats,
    events: Events,
    outputs: NDArray[np.int64],
    slots: int,
    *,
    which: NDArray[np.int64] | None = None,
    begin: Floats | None = None,
    rule: str = "exact",
    ids: NDArray[np.int64] | None = None,
) -> Floats:
    """Move n patients through their events and return what was read: (n, slots, k), 0 where nothing was.

    Patients are independent: results do not depend on the batch, its order, or the number of threads.

    Parameters
    ----------
    model
        The population model.
    state : (n, s), moved in place, to the time of each patient's last reading
    theta : (n, q, p), parameters; which column holds is an event, the first one at the start
    events
        Schedules of r kinds of patients.
    outputs : (k,) indices of the outputs to read
    slots
        Readings of a patient.
    which : (n,) schedule of each patient; each its own by default
    begin : (n,) time at which each patient is now; 0 by default
    rule
        Accuracy level of ``model.rules``.
    ids : (n,) numbers that an error names; positions by default

    Raises
    ------
    SolverError
        If a course cannot be computed.
    ValueError
        For an infusion into a model whose solver takes none.
    """
    machine, solver, n = _machine(model), model.solver, len(state)
    infuses = bool(np.any(events.code % ROUTE == Kind.RATE))
    if infuses and not solver.infusions:
        raise ValueError(
            f"{model.name}: a dose has a duration; its solver takes doses that enter at once, give duration 0"
        )
    accuracy = solver.rules[rule]
    out = np.zeros((n, slots, len(outputs)))
    status, stuck = np.full(n, 6, dtype=np.int64), np.zeros(n)
    machine.run(
        *machine.pointers, state, np.ascontiguousarray(theta), np.zeros(n) if begin is None else begin,
        np.arange(n) if which is None else which, events.time, events.code, events.value, events.count,
        *machine.routes, accuracy, solver.layout(len(model.states), len(model.routes) if infuses else 0),
        solver.work_shape(len(model.states), len(model.routes), accuracy), outputs, out, status, stuck,
    )  # fmt: skip
    if status.any():
        i = int(np.argmax(status != 0))
        names = [item.name for item in model.parameters]
        values = ", ".join(f"{name} {value:g}" for name, value in zip(names, theta[i, 0], strict=True))
        raise SolverError(
            f"{model.name}: patient {i if ids is None else ids[i]} after {stuck[i]:g} {model.time_unit}: "
            f"{_REASONS[int(status[i])]}; parameters {values}"
        )
    return out


def outputs_now(model: PopulationModel, state: Floats, theta: Floats, outputs: NDArray[np.int64]) -> Floats:
    """Return the (n, k) outputs of patients in `state` (n, s) with parameters `theta` (n, p)."""
    n = len(state)
    now = Events(
        np.zeros((1, 1)), np.zeros((1, 1), dtype=np.int8), np.zeros((1, 1)), np.ones(1, dtype=np.int64)
    )
    return follow(model, state.copy(), theta[:, None], now, outputs, 1, which=np.zeros(n, dtype=np.int64))[
        :, 0
    ]


def daily_response(
    model: PopulationModel,
    output: str,
    state: Floats,
    theta: Floats,
    dose: Floats,
    count: NDArray[np.int64],
    which: NDArray[np.int64] | None = None,
) -> Floats:
    """Move m patients in place over daily doses and return their response (m, d) at the end of each day.

    For what is foreseen or believed: parameters constant, every dose taken, accuracy level "belief".

    Parameters
    ----------
    state : (m, s), moved in place
    theta : (m, p) parameters
    dose : (r, d) prescribed, of r courses
    count : (r,) days that each course is followed; the response after them is 0
    which : (m,) course of each patient; each its own by default
    """
    courses, days = dose.shape
    time, code, value = (
        np.zeros((courses, 2 * days)),
        np.zeros((courses, 2 * days), np.int8),
        np.zeros((courses, 2 * days)),
    )
    day = np.arange(days)
    time[:, ::2], time[:, 1::2] = day * 24.0, (day + 1) * 24.0
    code[:, ::2] = Kind.BOLUS
    value[:, ::2], value[:, 1::2] = dose, day
    events = Events(time, code, value, 2 * count)
    chosen = np.array([model.output(output)])
    return follow(model, state, theta[:, None], events, chosen, days, which=which, rule="belief")[..., 0]


def simulate(
    model: PopulationModel,
    patients: ArrayLike,
    events: Sequence[Any],
    times: ArrayLike,
    outputs: Sequence[str] | None = None,
    rule: str = "exact",
    *,
    changes: ArrayLike = (0.0,),
    initial: ArrayLike | None = None,
) -> NDArray[np.float64]:
    """Simulate patients from time 0 under given doses and return their outputs at given times.

    Parameters
    ----------
    model
        The population model.
    patients : (p,), (n, p) or (n, q, p)
        Individual parameters, columns as in ``model.parameters``; `individual_parameters` makes them from
        covariates and genotypes. With q columns they change over time, as `changes` says: covariates that
        change, or variability between occasions.
    events
        Either one schedule that every patient takes, or one a patient: a sequence of `Dose`, or of
        ``(time, amount)``, sorted by time, several at one time allowed. Times in ``model.time_unit``, amounts
        as prescribed.
    times : (m,)
        Sampling times, not decreasing.
    outputs
        Names of outputs, all by default.
    rule
        Accuracy level of ``model.rules``.
    changes : (q,)
        Times from which each of the q parameter columns holds; the first is 0.
    initial : (s,) or (n, s)
        States at time 0, such as a steady state from `steady_state`; the drug-free state by default.

    Returns
    -------
    (n, m, k) outputs. A value at the time of a dose is the value before it.

    Raises
    ------
    ValueError
        For a negative or non-finite dose or time, a schedule or times out of order, an observation before the
        start, a parameter array of the wrong width or with values that are not finite, or an unknown output,
        route or rule.
    SolverError
        If a patient's course cannot be computed.
    """
    parts = [
        part
        for _, part in stream(model, patients, events, times, outputs, rule, changes=changes, initial=initial)
    ]
    return np.concatenate(parts)


def stream(
    model: PopulationModel,
    patients: ArrayLike,
    events: Sequence[Any],
    times: ArrayLike,
    outputs: Sequence[str] | None = None,
    rule: str = "exact",
    *,
    changes: ArrayLike = (0.0,),
    initial: ArrayLike | None = None,
    block: int = _BLOCK,
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """Simulate as `simulate` does, block by block: a million patients in the memory of one block.

    Parameters
    ----------
    block
        Patients a block.

    Yields
    ------
    Number of the block's first patient, and the (b, m, k) outputs of the block.
    """
    theta = _theta(model, patients)
    if rule not in model.rules:
        raise ValueError(f"unknown rule {rule!r} for {model.name}; known: {', '.join(model.rules)}")
    if block < 1:
        raise ValueError(f"block = {block}; expected a positive number of patients")
    sample, change = _times(times, model.time_unit), np.asarray(changes, dtype=np.float64)
    if change.shape != theta.shape[1:2] or change[0] != 0 or not np.all(np.diff(change) > 0):
        raise ValueError(
            f"changes {change.tolist()} for {theta.shape[1]} parameter columns; "
            "give one rising time for each, the first 0"
        )
    schedules = _schedules(events, len(theta))
    routes = [route.name for route in model.routes]
    chosen = np.array([model.output(name) for name in outputs or [item.name for item in model.outputs]])
    start = model.initial(theta[:, 0]) if initial is None else np.asarray(initial, dtype=np.float64)
    if start.shape not in ((len(model.states),), (1, len(model.states)), (len(theta), len(model.states))):
        raise ValueError(
            f"initial has shape {start.shape}; expected ({len(theta)}, {len(model.states)}): "
            f"{', '.join(model.states)} for each patient"
        )
    start = np.broadcast_to(start, (len(theta), len(model.states)))
    shared = (
        schedule_events(schedules, routes, sample, change, model.time_unit) if len(schedules) == 1 else None
    )
    for first in range(0, len(theta), block):
        rows = slice(first, min(first + block, len(theta)))
        n = rows.stop - rows.start
        mine = shared or schedule_events(schedules[rows], routes, sample, change, model.time_unit)
        which = np.arange(n) if shared is None else np.zeros(n, dtype=np.int64)
        yield first, follow(
            model, start[rows].copy(), theta[rows], mine, chosen, len(sample), which=which, rule=rule,
            ids=np.arange(rows.start, rows.stop),
        )  # fmt: skip


_FIRST_CYCLES, _CYCLES_AT_ONCE = 8, 256  # before Newton's first steps, and between later ones
_NEWTON_STEPS = 40  # from one state; close to the maximal elimination each doubles it
_SINGULAR = 1e-14  # added to the slope: where it is 0 the way is long, not infinite
_HORIZON = 1e4  # changes ahead at which growth is looked at


def steady_state(
    model: PopulationModel,
    patients: ArrayLike,
    doses: Sequence[Any],
    every: float,
    *,
    relative: float = 1e-12,
    most_cycles: int = 20_000,
) -> Floats:
    """Return the states (n, s) to which a repeated schedule leads, just before its first dose.

    Cycles are run from the drug-free state; from where they lead, Newton's method looks for the state that a
    cycle leaves as it is. The change over one cycle, there and at states beside it, tells the way that is
    left: for one state Aitken's change · pace / (1 − pace), for several the same as a matrix, so that slow
    compartments and feedback that swings for years take few cycles. A step holds only if a cycle then changes
    the states at most half as much; if not, more cycles are run as though it had not been tried.

    Steady is a state with no way left, to `relative` or to the solver's jitter, and to which cycles lead back
    (no eigenvalue beyond 1). How little one cycle changes is no measure: a slow compartment moves little, far
    from its limit. States that only add up, named AUC…, stay at their start.

    Parameters
    ----------
    model, patients
        As in `simulate`, with parameters that do not change.
    doses
        One cycle, as in `simulate`.
    every
        Length of the cycle, in ``model.time_unit``.
    relative
        Way that may be left, relative to the size of a state.
    most_cycles
        Cycles run until there is none.

    Raises
    ------
    ValueError
        If there is none: a state grows without limit, as above the maximal elimination of a saturable model,
        or swings for ever. Growth is found where a state moves away from zero, and would as fast after ten
        thousand such changes. Also for doses that outlast the cycle, and as in `simulate`.
    """
    theta = _theta(model, patients)
    if theta.shape[1] != 1 or model.breaks:
        raise ValueError(f"{model.name}: parameters change over time; a steady state needs constant ones")
    if not (np.isfinite(every) and every > 0):
        raise ValueError(f"every = {every}; expected the length of a cycle, above 0 {model.time_unit}")
    cycle = _Cycle(model, theta, [Dose(*item) for item in doses], every)
    cycle.check()
    state, left, swings = model.initial(theta[:, 0]), np.arange(len(theta)), np.zeros(len(theta), dtype=bool)
    number, count = 0, _FIRST_CYCLES
    while True:
        count = min(count, _CYCLES_AT_ONCE, most_cycles - number)
        number += count
        state[left] = cycle.run(state[left], left, count)
        reached, steady, repels = _approach(cycle, state[left], left, relative)
        state[left[steady]] = cycle.run(reached[steady], left[steady])
        swings[left] |= repels
        left, count = left[~steady], 2 * count
        if not len(left):
            return state
        if number > _FIRST_CYCLES:
            cycle.refuse_growth(state[left], left, swings[left])
        if number >= most_cycles:
            cycle.refuse(state[left[:1]], int(left[0]), bool(swings[left[0]]), number)


class _Look(NamedTuple):
    """What a cycle does at states `at` (k, s): their sizes, and relative to these the change (k, s), its
    slope (k, m, m) over the m states that can be steady, and the way (k, s) to where it is 0."""

    at: Floats
    size: Floats
    change: Floats
    slope: Floats
    way: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> _Look:
        """The same of some states."""
        return _Look(*(part[chosen] for part in self))

    def beyond(self) -> Floats:
        """The states after the way; one that is above zero stays so."""
        then = self.at + self.way * self.size
        return np.where((self.at > 0) & (then <= 0), 0.5 * self.at, then)

    def attracts(self, chosen: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
        """Whether cycles lead back to those chosen, by the eigenvalues of a cycle."""
        found, slope = chosen.copy(), self.slope[chosen]
        found[chosen] = np.abs(np.linalg.eigvals(slope + np.eye(slope.shape[1]))).max(axis=1) <= 1.0 + margin
        return found


@dataclass(frozen=True, eq=False)
class _Cycle:
    """A cycle of doses that repeats. `who` are the patients (k,) whose states (k, s) are given."""

    model: PopulationModel
    theta: Floats
    doses: list[Dose]
    every: float

    @cached_property
    def moving(self) -> NDArray[np.int64]:
        """States that can be steady."""
        return np.setdiff1d(np.arange(len(self.model.states)), _accumulators(self.model))

    def check(self) -> None:
        """Refuse doses that have not entered at the end of the cycle."""
        model, unit = self.model, self.model.time_unit
        lags = {model.column(route.lag) for route in model.routes if route.lag is not None}
        late = max((float(self.theta[..., column].max()) for column in lags), default=0.0)
        for number, dose in enumerate(self.doses):
            if dose.time + dose.duration + late > self.every or dose.time + late >= self.every:
                entering = f", entering up to {late:g} {unit} later" if late > 0 else ""
                raise ValueError(
                    f"dose {number}, at {dose.time:g} over {dose.duration:g} {unit}{entering}, outlasts "
                    f"the cycle of {self.every:g} {unit}; start the cycle at another dose"
                )

    def run(self, state: Floats, who: NDArray[np.int64], count: int = 1) -> Floats:
        """Return the states after so many cycles."""
        model, after, same = self.model, state.copy(), np.zeros(len(who), dtype=np.int64)
        many = [dose._replace(time=dose.time + self.every * k) for k in range(count) for dose in self.doses]
        routes, end = [route.name for route in model.routes], np.array([self.every * count])
        events = schedule_events([many], routes, end, np.zeros(1), model.time_unit)
        follow(model, after, self.theta[who], events, np.zeros(0, dtype=np.int64), 1, which=same, ids=who)
        grows = _accumulators(model)
        after[:, grows] = state[:, grows]
        return after

    def change(self, state: Floats, who: NDArray[np.int64]) -> Floats:
        """Return the change over one cycle; not a number where it cannot be computed."""
        try:
            return self.run(state, who) - state
        except SolverError:
            if len(who) == 1:
                return np.full_like(state, np.nan)
            return np.concatenate([self.change(state[[i]], who[[i]]) for i in range(len(who))])

    def sizes(self, state: Floats) -> Floats:
        """Return sizes (k, s) to which changes are relative: at least the solver's scale, or very little."""
        jitter, absolute = self.model.solver.jitter(state.shape[1])
        scale, size = absolute / (jitter or 1.0), np.abs(state)
        least = 1e-9 * size[:, self.moving].max(axis=1, keepdims=True) + 1e-300
        return np.maximum(size, np.where(scale > 0, scale, least))

    def look(self, state: Floats, who: NDArray[np.int64]) -> _Look:
        """Return what a cycle does at states, from it and as many neighbours of each as states move."""
        (k, s), size, m = state.shape, self.sizes(state), len(self.moving)
        # apart as far as errors of both kinds allow; exact solvers are linear ones
        width = self.model.solver.jitter(s)[0] ** 0.5 or 1.0
        beside, number = np.repeat(state[:, None], m + 1, axis=1), np.arange(m)
        beside[:, number + 1, self.moving] += width * size[:, self.moving]
        apart = (beside[:, number + 1, self.moving] - state[:, self.moving]) / size[:, self.moving]
        changes = self.change(beside.reshape(-1, s), np.repeat(who, m + 1)).reshape(beside.shape)
        changes /= size[:, None]
        here, there = changes[:, :1, self.moving], changes[:, 1:, self.moving]
        way = np.zeros((k, s))
        with np.errstate(all="ignore"):
            slope = ((there - here) / apart[..., None]).swapaxes(1, 2)
            way[:, self.moving] = np.linalg.solve(_SINGULAR * np.eye(m) - slope, here.swapaxes(1, 2))[..., 0]
        return _Look(state, size, changes[:, 0], slope, way)

    def refuse_growth(self, state: Floats, who: NDArray[np.int64], swings: NDArray[np.bool_]) -> None:
        """Refuse patients whose states move away from zero, and would as fast far ahead, and do not swing."""
        change = self.change(state, who)
        away = change * state > 0
        ahead = self.change(np.where(away, state + _HORIZON * change, state), who)
        pace = np.abs(change) / self.sizes(state)
        # all that move to speak of: what drives the others may turn back
        moves = pace > 0.01 * pace.max(axis=1, keepdims=True)
        keeps = np.where(moves, away & (ahead * np.sign(change) > 0.5 * np.abs(change)), True).all(axis=1)
        grows = keeps & moves.any(axis=1) & ~swings
        if grows.any():
            i = int(np.argmax(grows))
            j = int(pace[i].argmax())
            name, unit = self.model.states[j], self.model.time_unit
            raise ValueError(
                f"{self.model.name}: patient {who[i]} has no steady state: {name} has no limit, it changes "
                f"by {change[i, j]:g} in a cycle of {self.every:g} {unit}; where the doses exceed what is "
                "eliminated give less, and name a state that only adds up AUC…"
            )

    def refuse(self, state: Floats, patient: int, swings: bool, number: int) -> NoReturn:
        """Refuse a patient whose states still move."""
        change = self.change(state, np.array([patient]))[0]
        j = int(np.argmax(np.abs(change) / self.sizes(state)[0]))
        raise ValueError(
            f"{self.model.name}: patient {patient} has no steady state after {number} cycles of "
            f"{self.every:g} {self.model.time_unit}: {self.model.states[j]} still "
            f"{'swings' if swings else 'moves'}, now by {change[j]:g} in a cycle; simulate the time that "
            "matters, or raise most_cycles"
        )


def _approach(
    cycle: _Cycle, state: Floats, who: NDArray[np.int64], relative: float
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Newton's method from states (k, s): return where it ends, whether that is steady, or repels."""
    jitter, _ = cycle.model.solver.jitter(state.shape[1])
    enough, finest, margin = max(relative, jitter), max(0.02 * jitter, 1e-14), jitter**0.5
    reached, steady, repels = state.copy(), np.zeros(len(who), dtype=bool), np.zeros(len(who), dtype=bool)
    rows, here = np.arange(len(who)), cycle.look(state, who)
    for _ in range(_NEWTON_STEPS):
        finite = np.isfinite(here.slope.sum(axis=(1, 2)) + here.way.sum(axis=1))
        rows, here = rows[finite], here.rows(finite)
        if not len(rows):
            break
        then, way = here.beyond(), np.abs(here.way).max(axis=1)
        there = cycle.look(then, who[rows])
        change = np.abs(here.change).max(axis=1)
        nearer = np.abs(there.change * there.size / here.size).max(axis=1) <= 0.5 * change
        # the way is over; or no step comes nearer, at the accuracy of the solver
        ends = (way <= enough) | (~nearer & (change <= finest) & (way <= 1e-3))
        back = here.attracts(ends, margin)
        reached[rows[ends]] = np.where(nearer[:, None], then, here.at)[ends]
        steady[rows[ends]], repels[rows[ends]] = back[ends], ~back[ends]
        rows, here = rows[nearer & ~ends], there.rows(nearer & ~ends)
    return reached, steady, repels


def _accumulators(model: PopulationModel) -> list[int]:
    """States that only integrate: named AUC…, they leave no compartment."""
    return [i for i, name in enumerate(model.states) if name.startswith("AUC")]


def _theta(model: PopulationModel, patients: ArrayLike) -> Floats:
    """Return parameters as (n, q, p)."""
    values = np.asarray(patients, dtype=np.float64)
    values = values[None] if values.ndim == 1 else values
    values = values[:, None] if values.ndim == 2 else values
    if not values.size or values.ndim != 3 or values.shape[-1] != len(model.parameters):
        names = ", ".join(item.name for item in model.parameters)
        raise ValueError(
            f"parameters have shape {np.shape(patients)}; {model.name} has {len(model.parameters)} "
            f"columns: {names}"
        )
    bad = ~np.isfinite(values)
    if bad.any():
        i, _, j = np.argwhere(bad)[0]
        raise ValueError(f"patient {i}: parameter {model.parameters[j].name} is {values[bad][0]}")
    return values


def _times(times: ArrayLike, unit: str) -> Floats:
    sample = np.asarray(times, dtype=np.float64)
    if sample.ndim != 1 or not len(sample):
        raise ValueError(f"times have shape {sample.shape}; expected a row of at least one time, in {unit}")
    if not np.all(np.isfinite(sample)):
        place = int(np.argmin(np.isfinite(sample)))
        raise ValueError(f"time {place} is {sample[place]} {unit}; expected finite numbers")
    if sample.min() < 0:
        raise ValueError(
            f"observation at {sample.min():g} {unit} is before the start at 0; begin at 0 or later"
        )
    if np.any(np.diff(sample) < 0):
        place = int(np.argmax(np.diff(sample) < 0))
        raise ValueError(f"times decrease from {sample[place]:g} to {sample[place + 1]:g} {unit}; sort them")
    return sample


def _schedules(events: Any, n: int) -> list[Sequence[Any]]:
    """Return one schedule for all patients, or one a patient."""
    # a dose begins with a number, a schedule with a dose; a list of schedules may begin with an empty one
    if all(len(item) and np.isscalar(item[0]) for item in events):
        return [events]
    if len(events) != n:
        raise ValueError(f"{len(events)} schedules for {n} patients; give one for all, or one a patient")
    return list(events)
