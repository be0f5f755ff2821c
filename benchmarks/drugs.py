"""How fast every drug is, beside other ways to the same numbers in the same run.

``python -m benchmarks.drugs``: patient-days a second (patient-hours where a unit of the course is shorter
than an hour) of the drug's model on both cores, beside SciPy's LSODA with compiled equations, by `solve_ivp`
and by `odeint`, and, where it can be imported, diffrax. All do the same work, the usual doses of the
scenario's own virtual patients, and are as exact.

``python -m benchmarks.drugs environments``: steps a second of the vector environment, beside the scalar one.

Run it on a quiet machine; the load is printed first.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from itertools import groupby
from operator import itemgetter
from types import FunctionType, SimpleNamespace
from typing import Any

import click
import gymnasium
import numpy as np
from numpy.typing import NDArray
from scipy.integrate import odeint, solve_ivp

from dosewright.agents.regimens import regimen
from dosewright.envs import Intake, Noise, Patients, Scenario, Treatment, environment_id, names, scenario
from dosewright.envs.pharmacology import (
    Driven,
    Events,
    Kind,
    Linear,
    PopulationModel,
    Route,
    SolverError,
    Tailored,
    follow,
)
from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.events import ROUTE

WITHIN = 1e-6  # of the column maximum: what "exact" promises, and what the others must reach
_TOLERANCES = (1e-5, 1e-6, 1e-7, 1e-8, 1e-9, 1e-10)
_ONE_BY_ONE = 3  # patients of the loop over LSODA
_VMAPPED = 200  # patients that diffrax moves together, fewer where their matrices would fill the memory
_MATRICES = 5_000_000  # numbers in them
_TYPICAL = 64  # patients whose median dose is the usual one
_STEPS = 110  # of one run of an environment, at least
_SEED = 1
_ALMOST_NONE = 1e-3  # a column that never exceeds it is compared on the absolute scale
_BREAK = -1  # kind of an event: the model's rates change
Floats = NDArray[np.float64]


# -------------------------------------------------------------------------------------------------- the clock


def load() -> str:
    """Return how busy the machine is, to be printed above every measurement."""
    return f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores"


def median_seconds(run: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Return median, fastest and slowest of `repeats` runs after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times), min(times), max(times)


# --------------------------------------------------------------------------------------------------- the work


def draw(known: Scenario, count: int) -> tuple[Patients, Intake]:
    """Return the first patients of the scenario, in whom nothing happens but the prescription."""
    noise, ids = Noise("trial", _SEED), np.arange(count)
    patients = known.population.draw(known.model, known.base, ids, noise)
    return patients, Intake.prepare(known, patients, noise, known.preset("textbook"))


def usual_doses(known: Scenario) -> Floats:
    """Return the dose (u,) decided for each unit: the median of what the clinic's own rule gives typical
    patients, on the grid; 0 before the first decision."""
    _, intake = draw(known, _TYPICAL)
    treatment, rule, state = Treatment(known, intake), regimen("clinical-nomogram", known), None
    first = np.ones(_TYPICAL, dtype=bool)
    while treatment.active.any():
        wanted, state = rule.predict(treatment.observe(), state, first)
        treatment.give(wanted)
        first = np.zeros(_TYPICAL, dtype=bool)
    visits = known.doses.snap(np.nanmedian(treatment.given, axis=0))
    return np.repeat([0.0, *visits], np.diff([0, *known.days]))


def as_given(known: Scenario, patients: Patients, doses: Floats) -> Events:
    """Return what happens to the patients when `doses` (u,) are decided: administrations as the environment
    makes them, none missed, the parameters of each unit, and one reading at its end."""
    model, length, people = known.model, known.clock.length, patients.covariates
    n, u = len(patients), len(doses)
    unit = np.broadcast_to(np.arange(u), (n, u))
    number: Floats = unit[:, :, None].astype(np.float64)
    begins: Floats = np.asarray(number * length, dtype=np.float64)
    parts: list[tuple[Floats, int, Floats]] = [(begins, Kind.PARAMETERS, number)]
    for item in known.administrations:
        route = ROUTE * [each.name for each in model.routes].index(item.route)
        given = item.give(np.broadcast_to(doses, (n, u)), people, unit)
        at = begins + np.broadcast_to(given.offset, (n, u, item.count))
        lasts = np.broadcast_to(given.duration, at.shape)
        if item.infused:
            rate = np.divide(given.amount, lasts, out=np.zeros(at.shape), where=lasts > 0)
            parts += [(at, Kind.RATE + route, rate), (at + lasts, Kind.RATE + route, -rate)]
        else:
            parts.append((at, Kind.BOLUS + route, given.amount))
    parts.append((begins + length, Kind.READ, number))
    at = np.concatenate([np.broadcast_to(at, value.shape) for at, _, value in parts], axis=2)
    code = np.concatenate([np.full(value.shape, code, dtype=np.int8) for _, code, value in parts], axis=2)
    values = np.concatenate([value for _, _, value in parts], axis=2)
    width = u * at.shape[2]
    return Events(at.reshape(n, width), code.reshape(n, width), values.reshape(n, width), np.full(n, width))


@dataclass(frozen=True)
class Piece:
    """A time in which nothing changes.

    Attributes
    ----------
    start, stop
        In the model's time unit.
    jump, inflow : (s,) what enters the states at the start, and steadily
    theta : (p,)
    matrix : (l, l) rates of the linear states
    reads
        Time and slot of the readings.
    """

    start: float
    stop: float
    jump: Floats
    inflow: Floats
    theta: Floats
    matrix: Floats
    reads: list[tuple[float, int]]


@dataclass(frozen=True)
class Work:
    """The usual course of a drug in n virtual patients: what is timed.

    Attributes
    ----------
    scenario
        The drug.
    theta : (n, q, p) individual parameters
    events
        What happens to each patient.
    units
        Readings of a patient.
    """

    scenario: Scenario
    theta: Floats
    events: Events
    units: int

    @classmethod
    def of(cls, drug: str, count: int, units: int | None = None) -> Work:
        """Return the work of `count` patients over the scenario's horizon, or its first units only."""
        known = scenario(drug)
        patients, intake = draw(known, count)
        doses = usual_doses(known)[:units]
        return cls(known, intake.life.theta, as_given(known, patients, doses), len(doses))

    @property
    def model(self) -> PopulationModel:
        """The drug's model."""
        return self.scenario.model

    @property
    def unit(self) -> str:
        """What is counted."""
        return "hours" if self.scenario.clock.days * 24.0 < 1.0 else "days"

    def amount(self, count: int) -> float:
        """Return the patient-days, or patient-hours, of `count` patients."""
        days = count * self.units * self.scenario.clock.days
        return days * 24.0 if self.unit == "hours" else days

    @cached_property
    def kernels(self) -> tuple[Any, Any]:
        """Compiled rates of the linear states, None where there are none, and outputs."""
        model, solver = self.model, self.model.solver
        rates = (
            None if isinstance(solver, Tailored) else kernel(solver.kernels[0], label=f"{model.name}, rates")
        )
        return rates, kernel(model.observe, label=f"{model.name}, outputs")

    def ours(self) -> Floats:
        """Return every output at the end of each unit, (n, u, k)."""
        model = self.model
        columns = np.arange(len(model.outputs))
        return follow(model, model.initial(self.theta[:, 0]), self.theta, self.events, columns, self.units)

    def pieces(self, patient: int, every_reading: bool = False) -> list[Piece]:
        """Return a patient's course, cut where something changes, and at every reading if asked."""
        model, theta, (rates, _) = self.model, self.theta[patient], self.kernels
        states = [model.states.index(route.state) for route in model.routes]
        size = (
            0
            if rates is None
            else model.solver.linear
            if isinstance(model.solver, Driven)
            else len(model.states)
        )
        order = sorted(self._due(patient))
        start, jump, inflow = 0.0, np.zeros(len(model.states)), np.zeros(len(model.states))
        column, prescribed, done = 0, np.zeros(len(states)), list[Piece]()
        reads: list[tuple[float, int]] = []
        matrix = _rates(rates, size, 0.0, theta[0])
        for due, group in groupby(order, key=itemgetter(0)):
            added, flow, before, changed = np.zeros_like(jump), np.zeros_like(jump), column, False
            for _, kind, route, value in group:
                changed |= kind == _BREAK
                if kind == Kind.READ:
                    reads.append((due, int(value)))
                elif kind == Kind.PARAMETERS:
                    column = min(int(value), len(theta) - 1)
                elif kind == Kind.RATE:
                    prescribed[route] += value
                    if abs(prescribed[route]) < 1e-12 * abs(value):
                        prescribed[route] = 0.0
                elif kind == Kind.BOLUS:
                    added[states[route]] += _share(model, model.routes[route], theta[column]) * value
            for route, state in enumerate(states):
                flow[state] += _share(model, model.routes[route], theta[column]) * prescribed[route]
            changed |= bool(added.any() or (flow != inflow).any() or (theta[column] != theta[before]).any())
            if not changed and not (every_reading and reads):
                continue
            if due > start:
                done.append(Piece(start, due, jump, inflow, theta[before], matrix, reads))
                start, jump, reads = due, np.zeros_like(jump), []
            jump, inflow = jump + added, flow
            matrix = _rates(rates, size, due, theta[column])
        if reads:
            done.append(Piece(start, reads[-1][0], jump, inflow, theta[column], matrix, reads))
        return done

    def _due(self, patient: int) -> Iterator[tuple[float, int, int, float]]:
        """Yield time, kind, route and value of what happens before the last reading, lags included."""
        model, events, column = self.model, self.events, 0
        lags = [None if route.lag is None else model.column(route.lag) for route in model.routes]
        end = self.units * self.scenario.clock.length
        for k in range(events.count[patient]):
            kind, route = events.code[patient, k] % ROUTE, events.code[patient, k] // ROUTE
            at, value, lag = events.time[patient, k], float(events.value[patient, k]), lags[route]
            if kind == Kind.PARAMETERS:
                column = min(int(value), self.theta.shape[1] - 1)
            if kind >= Kind.RATE and lag is not None:
                at = at + self.theta[patient, column, lag]
            # times that differ by the rounding of a sum are one
            at = round(float(at), 9)
            if kind == Kind.READ or at < end:
                yield at, int(kind), int(route), value
        for at in self.model.breaks:
            if at < end:
                yield at, _BREAK, 0, 0.0

    def outputs(self, states: Floats, theta: Floats) -> Floats:
        """Return the outputs (m, k) of states (m, s) with parameters (m, p)."""
        observe, count = self.kernels[1], len(self.model.outputs)
        return np.array(
            [[observe(0.0, s, p, k) for k in range(count)] for s, p in zip(states, theta, strict=True)]
        )


def _rates(rates: Any, size: int, t: float, theta: Floats) -> Floats:
    matrix = np.zeros((size, size))
    if rates is not None:
        rates(t, theta, matrix)
    return matrix


def _share(model: PopulationModel, route: Route, theta: Floats) -> float:
    """Return the share of a dose that enters."""
    fraction = route.fraction
    if isinstance(fraction, tuple):
        return fraction[0] * theta[model.column(fraction[1])]
    return theta[model.column(fraction)] if isinstance(fraction, str) else fraction


# ---------------------------------------------------------------------------------------------- SciPy's LSODA


def _linear(t, state, theta, matrix, inflow):
    out = inflow.copy()
    for i in range(matrix.shape[0]):
        for j in range(matrix.shape[0]):
            out[i] += matrix[i, j] * state[j]
    return out


def derivative(model: PopulationModel) -> Any:
    """Return the compiled derivative of all states, made from what the model hands to its solver:
    ``f(t, state, theta, matrix, inflow) -> (s,)``, with the rates of the linear states in `matrix`.
    """
    solver = model.solver
    if isinstance(solver, Linear):
        return kernel(_linear, label="the derivative of linear states")
    label = f"{model.name}, derivative"
    if isinstance(solver, Tailored):
        whole = kernel(model.rhs)  # pyright: ignore[reportArgumentType]

        def tailored(t, state, theta, matrix, inflow):
            return whole(t, state, theta) + inflow

        return kernel(tailored, label=label)
    assert isinstance(solver, Driven)
    rhs, size = kernel(solver.rhs), solver.linear

    def driven(t, state, theta, matrix, inflow):
        out = inflow.copy()
        for i in range(size):
            for j in range(size):
                out[i] += matrix[i, j] * state[j]
        slope = np.empty(state.shape[0] - size)
        rhs(t, state[size:].copy(), state[:size].copy(), theta, slope)
        for i in range(size, state.shape[0]):
            out[i] += slope[i - size]
        return out

    return kernel(driven, label=label)


def by_solve_ivp(
    f: Any, state: Floats, start: float, asked: list[float], rtol: float, atol: Any, args: Any
) -> Floats:
    """Return the states (t, s) at the times asked for, the last of them the end."""
    solution = solve_ivp(
        f, (start, asked[-1]), state, method="LSODA", t_eval=asked, rtol=rtol, atol=atol, args=args
    )
    if not solution.success:
        raise RuntimeError(f"LSODA at {start:g}: {solution.message}")
    return solution.y.T


def by_odeint(
    f: Any, state: Floats, start: float, asked: list[float], rtol: float, atol: Any, args: Any
) -> Floats:
    """As `by_solve_ivp`: the same LSODA, called once a piece instead of once a step."""
    return odeint(f, state, [start, *asked], args, tfirst=True, rtol=rtol, atol=atol, mxstep=100_000)[1:]


def lsoda(
    f: Any,
    initial: Floats,
    pieces: list[Piece],
    units: int,
    rtol: float,
    atol: Floats | float,
    way: Callable[..., Floats] = by_solve_ivp,
) -> tuple[Floats, list[Floats]]:
    """Return the states (u, s) read in one patient, and those at both ends of every piece.

    The solver is restarted where something changes; between those times its dense output is read.
    """
    read, state, ends = np.zeros((units, len(initial))), initial, list[Floats]()
    for piece in pieces:
        at = [t for t, _ in piece.reads]
        asked = at if at and at[-1] == piece.stop else [*at, piece.stop]
        state = state + piece.jump
        ends.append(state)
        moved = way(f, state, piece.start, asked, rtol, atol, (piece.theta, piece.matrix, piece.inflow))
        read[[slot for _, slot in piece.reads]] = moved[: len(at)]
        state = moved[-1].copy()
        ends.append(state)
    return read, ends


@dataclass(frozen=True)
class Rival:
    """How another program did.

    Attributes
    ----------
    name
        Which method.
    rate
        Patient-days (or -hours) a second.
    rtol
        Relative tolerance with which it came within `WITHIN`, the loosest of those tried.
    error
        Its largest difference from ours, as a share of the column maximum.
    """

    name: str
    rate: float
    rtol: float
    error: float


@dataclass(frozen=True)
class Scale:
    """Sizes in one patient: of the states (s,), for absolute tolerances, and of the outputs (k,)."""

    states: Floats
    outputs: Floats


def scale_of(work: Work, f: Any, initial: Floats, pieces: list[Piece]) -> Scale:
    """Return the largest values at the ends of the pieces, peaks of infusions among them."""
    _, ends = lsoda(f, initial, pieces, work.units, 1e-6, 1e-9)
    states = np.array(ends)
    theta = np.repeat([piece.theta for piece in pieces], 2, axis=0)
    peaks = np.abs(states).max(axis=0)
    outputs = np.abs(work.outputs(states, theta)).max(axis=0)
    return Scale(np.maximum(peaks, 1e-12), np.maximum(outputs, _ALMOST_NONE))


def _tolerance(solve: Callable[[float], Floats], error: Callable[[Floats], float]) -> tuple[float, float]:
    """Return the loosest relative tolerance that is exact enough and its error; if none is, the best one."""
    tried = []
    for rtol in _TOLERANCES:
        tried.append((error(solve(rtol)), rtol))
        if tried[-1][0] <= WITHIN:
            return tried[-1][1], tried[-1][0]
    worst, rtol = min(tried)
    return rtol, worst


def _largest(work: Work, states: Floats, reference: Floats, scales: list[Scale]) -> float:
    """Return the largest difference of read states (m, u, s) from our outputs (m, u, k)."""
    if not np.isfinite(states).all():
        return np.inf
    worst = 0.0
    for i, scale in enumerate(scales):
        column = np.minimum(np.arange(work.units), work.theta.shape[1] - 1)
        got = work.outputs(states[i], work.theta[i, column])
        worst = max(worst, float((np.abs(got - reference[i]).max(axis=0) / scale.outputs).max()))
    return worst


def scipy_lsoda(work: Work, reference: Floats, repeats: int) -> list[Rival]:
    """Time SciPy's LSODA by `solve_ivp` and by `odeint`, a few patients one after another."""
    f, count = derivative(work.model), min(_ONE_BY_ONE, len(work.theta))
    initial = work.model.initial(work.theta[:count, 0])
    courses = [work.pieces(i) for i in range(count)]
    scales = [scale_of(work, f, initial[i], courses[i]) for i in range(count)]

    def timed(way: Callable[..., Floats]) -> Rival:
        def solve(rtol: float) -> Floats:
            return np.array(
                [
                    lsoda(f, initial[i], courses[i], work.units, rtol, rtol * scales[i].states, way)[0]
                    for i in range(count)
                ]
            )

        rtol, error = _tolerance(solve, lambda states: _largest(work, states, reference, scales))
        seconds = median_seconds(lambda: solve(rtol), repeats)[0]
        return Rival(way.__name__.removeprefix("by_"), work.amount(count) / seconds, rtol, error)

    return [timed(way) for way in (by_solve_ivp, by_odeint)]


# ---------------------------------------------------------------------------------------------------- diffrax


def traced(function: Any, jnp: Any) -> Any:
    """Return a kernel in which JAX's functions stand for those of Python, `math` and NumPy.

    What a kernel writes to is then a list. A branch on a value cannot be traced, and is an error when it is.
    """
    function = getattr(function, "py_func", function)
    scope = dict(function.__globals__)
    for name in function.__code__.co_names:
        if hasattr(scope.get(name), "py_func"):
            scope[name] = traced(scope[name], jnp)
    scope |= {
        "max": jnp.maximum,
        "min": jnp.minimum,
        "abs": jnp.abs,
        "math": SimpleNamespace(
            exp=jnp.exp, log=jnp.log, sqrt=jnp.sqrt, expm1=jnp.expm1, log1p=jnp.log1p, pow=jnp.power
        ),
        "np": SimpleNamespace(empty=lambda n: [0.0] * n, zeros=lambda n: [0.0] * n),
    }
    return FunctionType(function.__code__, scope, function.__name__, None, function.__closure__)


def traced_derivative(model: PopulationModel, jnp: Any) -> Callable[[Any, Any, Any], Any]:
    """Return ``f(t, state, (theta, matrix, inflow)) -> (s,)`` as `derivative` does, for JAX."""
    solver = model.solver

    def linear(t: Any, state: Any, args: Any) -> Any:
        _, matrix, inflow = args
        return matrix @ state + inflow

    if isinstance(solver, Linear):
        return linear
    rhs = traced(model.rhs if isinstance(solver, Tailored) else solver.kernels[1], jnp)

    def tailored(t: Any, state: Any, args: Any) -> Any:
        theta, _, inflow = args
        return jnp.stack(rhs(t, state, theta)) + inflow

    def driven(t: Any, state: Any, args: Any) -> Any:
        theta, matrix, inflow = args
        x, y = state[: len(matrix)], state[len(matrix) :]
        slope: list[Any] = [0.0] * len(y)
        rhs(t, y, x, theta, slope)
        return jnp.concatenate([matrix @ x, jnp.stack(slope)]) + inflow

    return tailored if isinstance(solver, Tailored) else driven


def _stacked(courses: list[list[Piece]]) -> tuple[Floats, ...]:
    """Return start, stop, jump, inflow, theta and matrix of every piece, (m, pieces, …); the last piece of a
    patient who has fewer is followed by short ones."""
    longest = max(map(len, courses))
    full = []
    for pieces in courses:
        last, pieces = pieces[-1], list(pieces)
        step = (last.stop - last.start) * 1e-3
        while len(pieces) < longest:
            begins = pieces[-1].stop
            pieces.append(
                Piece(begins, begins + step, 0 * last.jump, last.inflow, last.theta, last.matrix, [])
            )
        full.append(pieces)
    fields = ("start", "stop", "jump", "inflow", "theta", "matrix")
    return tuple(np.array([[getattr(piece, f) for piece in pieces] for pieces in full]) for f in fields)


def _slots(courses: list[list[Piece]], units: int) -> NDArray[np.int64]:
    """Return the number (m, u) of the piece at whose end each reading is."""
    where = np.zeros((len(courses), units), dtype=np.int64)
    for i, pieces in enumerate(courses):
        for k, piece in enumerate(pieces):
            where[i, [slot for _, slot in piece.reads]] = k
    return where


def diffrax(work: Work, reference: Floats, repeats: int) -> Rival | str:
    """Time diffrax on many patients together, compilation not counted.

    Of Tsit5 and Kvaerno5 the one that is faster on a few patients is taken, each at its tolerance.

    Returns
    -------
    How it did, or why it cannot.
    """
    jax, dfx = import_module("jax"), import_module("diffrax")
    jax.config.update("jax_enable_x64", True)
    numbers = len(work.pieces(0, every_reading=True)) * len(work.model.states) ** 2
    count = min(_VMAPPED, len(work.theta), max(_MATRICES // numbers, 1))
    initial = work.model.initial(work.theta[:count, 0])
    courses = [work.pieces(i, every_reading=True) for i in range(count)]
    f, few = derivative(work.model), min(_ONE_BY_ONE, count)
    scales = [scale_of(work, f, initial[i], courses[i]) for i in range(few)]
    where, arrays = _slots(courses, work.units), _stacked(courses)
    term, sizes = dfx.ODETerm(traced_derivative(work.model, jax.numpy)), scales[0].states

    def runner(solver: Any, patients: int) -> Callable[[float], Floats]:
        def one(state: Any, pieces: Any, rtol: Any) -> Any:
            def move(state: Any, piece: Any) -> Any:
                start, stop, jump, inflow, theta, matrix = piece
                solution = dfx.diffeqsolve(
                    term, solver(), start, stop, None, state + jump, (theta, matrix, inflow),
                    saveat=dfx.SaveAt(t1=True), max_steps=100_000, throw=False,
                    stepsize_controller=dfx.PIDController(rtol=rtol, atol=rtol * sizes),
                )  # fmt: skip
                return solution.ys[0], solution.ys[0]

            return jax.lax.scan(move, state, pieces)[1]

        together = jax.jit(jax.vmap(one, in_axes=(0, 0, None)))
        begin = jax.numpy.asarray(initial[:patients])
        pieces = tuple(jax.numpy.asarray(each[:patients]) for each in arrays)
        rows = np.arange(patients)[:, None]
        return lambda rtol: np.asarray(together(begin, pieces, rtol))[rows, where[:patients]]

    def tried(solver: Any) -> tuple[bool, float, Any, float, float]:
        """Whether a few patients come out exactly enough, and how long they take."""
        solve = runner(solver, few)
        rtol, error = _tolerance(solve, lambda states: _largest(work, states, reference, scales))
        return error > WITHIN, median_seconds(lambda: solve(rtol), 1)[0], solver, rtol, error

    try:
        *_, solver, rtol, error = min(map(tried, (dfx.Tsit5, dfx.Kvaerno5)), key=itemgetter(0, 1))
    except jax.errors.TracerBoolConversionError:
        return "a branch on a value cannot be traced"
    solve = runner(solver, count)
    seconds = median_seconds(lambda: solve(rtol), repeats)[0]
    return Rival(solver.__name__, work.amount(count) / seconds, rtol, error)


# ----------------------------------------------------------------------------------------------- environments


def environment_rates(
    drug: str, realism: str, lanes: int, repeats: int, steps: int | None = None
) -> tuple[tuple[float, float, float], float]:
    """Return steps a second of the vector environment (median, slowest, fastest), episodes beginning anew
    included, and of the scalar environment in a loop."""
    known = scenario(drug)
    episode = len(known.calendar) + 1  # and the step that resets
    wanted = steps or episode * -(-_STEPS // episode)
    usual = np.median(usual_doses(known)[known.calendar[0] :])
    vector = gymnasium.make_vec(environment_id(drug), num_envs=lanes, realism=realism)
    vector.reset(seed=_SEED)
    action = np.full((lanes, 1), usual, dtype=np.float32)

    def together() -> None:
        for _ in range(wanted):
            vector.step(action)

    scalar = gymnasium.make(environment_id(drug), realism=realism).unwrapped
    scalar.reset(seed=_SEED)
    few = min(wanted, _STEPS)

    def one_by_one() -> None:
        for _ in range(few):
            _, _, terminated, truncated, _ = scalar.step(action[0])
            if terminated or truncated:
                scalar.reset()

    median, fastest, slowest = median_seconds(together, repeats)
    work = lanes * wanted
    return (work / median, work / slowest, work / fastest), few / median_seconds(one_by_one, min(repeats, 3))[
        0
    ]


# ------------------------------------------------------------------------------------------------- the tables


def _drugs(only: str | None) -> tuple[str, ...]:
    if only is not None and only not in names():
        raise click.BadParameter(f"unknown drug {only!r}; known: {', '.join(names())}")
    return names() if only is None else (only,)


def _kind(model: PopulationModel) -> str:
    return type(model.solver).__name__.lower()


def _number(rate: float) -> str:
    """Three digits are more than such a measurement has."""
    return f"{float(f'{rate:.3g}'):,.0f}" if rate >= 10 else f"{rate:.2g}"


@click.group(invoke_without_command=True)
@click.option("--only", metavar="DRUG", help="One drug.")
@click.option("--patients", default=2000, show_default=True, help="Patients simulated at once.")
@click.option("--repeats", default=7, show_default=True, help="Runs of which the median counts.")
@click.option("--units", type=int, help="Days (cycles, …) of the course; all by default. For a small try.")
@click.option("--without-diffrax", is_flag=True, help="Leave diffrax out.")
@click.pass_context
def drugs(
    context: click.Context,
    only: str | None,
    patients: int,
    repeats: int,
    units: int | None,
    without_diffrax: bool,
) -> None:
    """Patient-days a second of every drug's model, beside LSODA and diffrax."""
    if context.invoked_subcommand is not None:
        return
    chosen = _drugs(only)
    click.echo(f"{load()}; {patients:,} patients, medians of {repeats}; others within {WITHIN:g} of ours")
    beside = not without_diffrax and find_spec("diffrax") is not None
    if not beside and not without_diffrax:
        click.echo("diffrax is not installed: left out")
    head = f"{'drug':15s} {'solver':9s} {'states':>6s} {'patient-':8s} {'ours/s':>11s} ratio to"
    click.echo(
        f"{head} LSODA by solve_ivp, by odeint{', diffrax' if beside else ''} (rate, tolerance, error)"
    )
    failed = False
    for drug in chosen:
        try:
            click.echo(_model_row(drug, patients, repeats, units, beside))
        except SolverError as error:
            failed = True
            click.echo(f"{drug:15s} {error}")
    raise SystemExit(int(failed))


def _model_row(drug: str, patients: int, repeats: int, units: int | None, beside: bool) -> str:
    """Measure one drug's model."""
    work = Work.of(drug, patients, units)
    reference = work.ours()
    ours = work.amount(patients) / median_seconds(work.ours, repeats)[0]
    row = f"{drug:15s} {_kind(work.model):9s} {len(work.model.states):6d} {work.unit:8s} {_number(ours):>11s}"
    rivals: list[Rival | str] = [*scipy_lsoda(work, reference, min(repeats, 3))]
    if beside:
        rivals.append(diffrax(work, reference, min(repeats, 3)))
    for rival in rivals:
        if isinstance(rival, str):
            row += f"  {rival}"
            continue
        how = f"({rival.name} {_number(rival.rate)}, {rival.rtol:.0e}, {rival.error:.1e})"
        row += f" {_number(ours / rival.rate):>8s} {how:38s}"
    return row.rstrip()


@drugs.command()
@click.option("--only", metavar="DRUG", help="One drug.")
@click.option("--lanes", default=256, show_default=True, help="Environments.")
@click.option("--repeats", default=7, show_default=True, help="Runs of which the median counts.")
@click.option("--steps", type=int, help="Steps of a run; whole episodes by default. For a small try.")
def environments(only: str | None, lanes: int, repeats: int, steps: int | None) -> None:
    """Steps a second of every drug's vector environment, beside the scalar environment in a loop."""
    chosen = _drugs(only)
    click.echo(f"{load()}; {lanes} lanes, medians of {repeats} (slowest to fastest)")
    head = f"{'drug':15s} {'solver':9s} {'realism':9s} {'vector steps/s':>14s}"
    click.echo(f"{head} {'':23s} {'scalar':>8s} {'ratio':>6s}")
    failed = False
    for drug in chosen:
        for realism in ("textbook", "clinic"):
            row = f"{drug:15s} {_kind(scenario(drug).model):9s} {realism:9s}"
            try:
                (median, slowest, fastest), scalar = environment_rates(drug, realism, lanes, repeats, steps)
            except SolverError as error:
                failed = True
                click.echo(f"{row} {error}")
                continue
            spread = f"({_number(slowest)} to {_number(fastest)})"
            row += f" {_number(median):>14s} {spread:23s}"
            click.echo(f"{row} {_number(scalar):>8s} {_number(median / scalar):>6s}")
    raise SystemExit(int(failed))


if __name__ == "__main__":
    drugs()
