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
from typing import Any

import numpy as np
from numba import prange, types
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.compilation import Pointer, compiled, kernel
from dosewright.envs.pharmacology.events import ROUTE, Events, Kind, schedule_events
from dosewright.envs.pharmacology.model import Floats, PopulationModel
from dosewright.envs.pharmacology.solvers.signatures import CUBE, INDICES, MATRIX, OBSERVE, VECTOR

# Patients per block of `stream`: bounds the memory, results do not depend on it.
_BLOCK = 20_000

_READ, _PARAMETERS, _RATE, _BOLUS = (
    int(kind) for kind in (Kind.READ, Kind.PARAMETERS, Kind.RATE, Kind.BOLUS)
)
_REASONS = {
    1: "the step size fell to rounding; look for a parameter or dose that is out of all range",
    2: "too many steps",
    3: "the rate matrix is not finite, or has no real rates that differ; put three equal rates in a row "
    "into the right-hand side",
    4: "an input into a compartment that nothing leaves; make it one of the states of the right-hand side",
    5: "the state is not finite; look for a parameter that is 0 or out of all range",
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


_in_order = kernel(_in_order, inline=True)


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
    infuses = bool(np.any((events.code & (ROUTE - 1)) == Kind.RATE))
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
    theta = parameter_array(model, patients)
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


def parameter_array(model: PopulationModel, patients: ArrayLike) -> Floats:
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
