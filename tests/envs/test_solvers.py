"""The solvers against SciPy: matrix exponentials for linear compartments, DOP853 for what they drive.

The models are small ones of a user; what an independent integrator says is found by `integrated`, which knows
routes, lag, infusions, breaks and changing parameters from their definition only.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import mpmath
import numba
import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from dosewright.envs.pharmacology import (
    Dose,
    Driven,
    Linear,
    Output,
    Parameter,
    PopulationModel,
    Route,
    SolverError,
    empty,
    simulate,
    stack,
    stream,
)

Floats = NDArray[np.float64]


def _observe(t, state, theta, output):
    return state[output]


def user_model(
    name: str, solver: Any, parameters: Sequence[str], states: Sequence[str], routes: Sequence[Route] = ()
) -> PopulationModel:
    """A model of a user whose outputs are its states."""
    return PopulationModel(
        name=name,
        title=name,
        sources=("this file",),
        time_unit="h",
        amount_unit="mg",
        parameters=tuple(Parameter(item, "1") for item in parameters),
        states=tuple(states),
        initial=empty(len(states)),
        routes=tuple(routes) or (Route("usual", states[0]),),
        outputs=tuple(Output(item, "1") for item in states),
        typical=lambda covariates, effects: stack(*np.ones(len(parameters))),
        solver=solver,
        observe=_observe,
    )


def agree(got: Floats, expected: Floats, within: float = 1e-7) -> None:
    """Largest difference of every column, relative to its largest value (or that of all, at 0)."""
    size = np.abs(expected).max(axis=0)
    size = np.where(size > 1e-12 * size.max(), size, size.max())
    worst = (np.abs(got - expected).max(axis=0) / size).max()
    assert worst <= within, f"{worst:.2e} of the column's maximum"


# ------------------------------------------------------------------------------------------------- Linear


def _matrix(t, theta, matrix):
    """The rate matrix itself is the parameters."""
    s = matrix.shape[0]
    for i in range(s):
        for j in range(s):
            matrix[i, j] = theta[i * s + j]


@cache
def compartments(s: int) -> PopulationModel:
    names = [f"k{i}" for i in range(s * s)]
    return user_model(f"test_compartments_{s}", Linear(_matrix), names, [f"A{i}" for i in range(s)])


def random_rates(rng: np.random.Generator, s: int, decades: float = 2.0) -> Floats:
    """Rate matrix (s, s) of a random system in which everything leaks, rates over so many decades around
    0.1 an hour."""
    size = 10.0 ** rng.uniform(-1 - decades / 2, -1 + decades / 2, (s, s))
    matrix = np.where(rng.random((s, s)) < 0.6, size, 0.0)
    leak = 10.0 ** rng.uniform(-1 - decades / 2, -1 + decades / 2, s)
    np.fill_diagonal(matrix, 0.0)
    np.fill_diagonal(matrix, -(matrix.sum(axis=0) + leak))
    return matrix


def chain(s: int, ktr: float) -> Floats:
    return np.diag(np.full(s, -ktr)) + np.diag(np.full(s - 1, ktr), -1)


def moved(matrix: Floats, state: Floats, inflow: Floats, h: float) -> Floats:
    """exp(A·h)·x and the integral of the constant inflow, by one exponential of the augmented matrix."""
    s = len(state)
    whole = np.zeros((s + 1, s + 1))
    whole[:s, :s], whole[:s, s] = matrix, inflow
    return np.asarray((expm(whole * h) @ np.append(state, 1.0))[:s], dtype=np.float64)


TIMES = np.array([0.3, 1.0, 5.0, 24.0, 24.5, 60.0])


@pytest.mark.parametrize("s", range(1, 7))
def test_linear_is_the_exponential_of_the_rate_matrix(s: int) -> None:
    rng = np.random.default_rng(s)
    for _ in range(10):
        matrix, start = random_rates(rng, s), rng.uniform(0.1, 100, s)
        got = simulate(compartments(s), matrix.ravel(), [], TIMES, initial=start)[0]
        expected = np.array([expm(matrix * t) @ start for t in TIMES])
        agree(got, expected, 1e-12)


@pytest.mark.parametrize("s", range(1, 7))
def test_linear_infusion_is_the_augmented_exponential(s: int) -> None:
    rng = np.random.default_rng(10 + s)
    for _ in range(10):
        matrix = random_rates(rng, s)
        got = simulate(compartments(s), matrix.ravel(), [Dose(0.3, 100.0, 4.7)], TIMES)[0]
        inflow = np.zeros(s)
        inflow[0] = 100.0 / 4.7
        end = moved(matrix, np.zeros(s), inflow, 4.7)
        expected = [np.zeros(s), moved(matrix, np.zeros(s), inflow, 0.7), end]
        expected += [expm(matrix * (t - 5.0)) @ end for t in TIMES[3:]]
        agree(got, np.array(expected), 1e-12)


@pytest.mark.parametrize("duration", [0.0, 2.0])
def test_linear_transit_chain_of_26_compartments(duration: float) -> None:
    matrix, s, ktr = chain(26, 3.0), 26, 3.0
    got = simulate(compartments(s), matrix.ravel(), [Dose(0.0, 100.0, duration)], TIMES)[0]
    first = np.zeros(s)
    first[0] = 1.0
    if duration:
        end = moved(matrix, np.zeros(s), 50.0 * first, 2.0)
        expected = [moved(matrix, np.zeros(s), 50.0 * first, t) for t in TIMES[:2]]
        expected += [expm(matrix * (t - 2.0)) @ end for t in TIMES[2:]]
        agree(got, np.array(expected), 1e-12)
    else:
        # compartment i holds the Poisson probability of i transits
        orders = np.arange(s)
        log = orders * np.log(ktr * TIMES[:, None]) - ktr * TIMES[:, None]
        log -= np.array([float(mpmath.loggamma(i + 1)) for i in orders])
        agree(got, 100.0 * np.exp(log), 1e-12)


@pytest.mark.parametrize("length", [7, 8, 12])  # from 8 on a chain has a code of its own
@pytest.mark.parametrize("ktr", [0.05, 3.0])  # slower and faster than what it feeds
def test_linear_chain_that_feeds_other_compartments(length: int, ktr: float) -> None:
    rng = np.random.default_rng(length)
    s = length + 3
    matrix = np.zeros((s, s))
    matrix[:length, :length], matrix[length:, length:] = chain(length, ktr), random_rates(rng, 3)
    matrix[length, length - 1], matrix[s - 1, length - 1] = 0.7 * ktr, 0.3 * ktr
    start = rng.uniform(0.1, 100, s)
    got = simulate(compartments(s), matrix.ravel(), [], TIMES, initial=start)[0]
    agree(got, np.array([expm(matrix * t) @ start for t in TIMES]), 1e-12)
    infused = simulate(compartments(s), matrix.ravel(), [Dose(0.0, 100.0, 100.0)], TIMES)[0]
    inflow = np.eye(s)[0]
    agree(infused, np.array([moved(matrix, np.zeros(s), inflow, t) for t in TIMES]), 1e-12)


def test_linear_with_rates_over_six_decades() -> None:
    # scipy's exponential itself loses digits here, so the truth has 40 digits
    rng = np.random.default_rng(20)
    mpmath.mp.dps = 40
    for s in (2, 3, 4):
        for _ in range(2):
            matrix, start = random_rates(rng, s, decades=6.0), rng.uniform(0.1, 100, s)
            got = simulate(compartments(s), matrix.ravel(), [], TIMES, initial=start)[0]
            exact = [mpmath.expm(mpmath.matrix(matrix.tolist()) * t) * mpmath.matrix(start) for t in TIMES]
            expected = np.array([[float(x) for x in row] for row in exact])
            agree(got, expected, 1e-12)


# ---------------------------------------------------------------------------------------- Driven: the truth


def derivative(model: PopulationModel, theta: Floats) -> Any:
    """``f(t, state, inflow) -> (s,)`` of a model with `Linear` or `Driven`, from its own two functions."""
    solver = model.solver
    linear = solver.linear if isinstance(solver, Driven) else len(model.states)

    def f(t: float, state: Floats, inflow: Floats, at: float) -> Floats:
        matrix, dy = np.zeros((linear, linear)), np.zeros(len(state) - linear)
        solver.kernels[0](at, theta, matrix)
        if isinstance(solver, Driven):
            solver.rhs(t, state[linear:], state[:linear], theta, dy)
        return np.concatenate([matrix @ state[:linear], dy]) + inflow

    return f


def share(model: PopulationModel, route: Route, theta: Floats) -> float:
    """Bioavailability as `Route.fraction` defines it."""
    parts = route.fraction if isinstance(route.fraction, tuple) else (route.fraction,)
    return float(np.prod([theta[model.column(part)] if isinstance(part, str) else part for part in parts]))


def integrated(
    model: PopulationModel, theta: Any, doses: Sequence[Dose], times: Floats, initial: Any = None
) -> Floats:
    """(m, s) states by DOP853, stopping wherever something happens; values before a dose."""
    theta = np.asarray(theta, dtype=np.float64)
    routes = {route.name: route for route in model.routes}
    inputs: list[tuple[float, float, float, NDArray[np.float64]]] = []
    for dose in doses:
        route = model.routes[0] if dose.route is None else routes[dose.route]
        into = np.zeros(len(model.states))
        into[model.states.index(route.state)] = share(model, route, theta) * dose.amount
        begin = dose.time + (0.0 if route.lag is None else theta[model.column(route.lag)])
        inputs.append((begin, begin + dose.duration, dose.duration, into))
    f = derivative(model, theta)
    state = model.initial(theta[None])[0] if initial is None else np.array(initial, dtype=np.float64)
    now, out = 0.0, []
    stops = sorted({*times.tolist(), *model.breaks, *(t for begin, end, *_ in inputs for t in (begin, end))})
    for stop in stops:
        if stop > now:
            inflow = np.zeros(len(state))
            for begin, end, duration, into in inputs:
                if duration > 0 and begin <= now and stop <= end:
                    inflow += into / duration
            solution = solve_ivp(f, (now, stop), state, "DOP853", args=(inflow, now), rtol=1e-12, atol=1e-13)
            state, now = solution.y[:, -1].copy(), stop
        out += [state.copy()] * int(np.sum(times == stop))
        for begin, _, duration, into in inputs:
            if duration == 0 and begin == stop:
                state = state + into
    return np.array(out)


# ------------------------------------------------------------------------------- Driven: small models


def _absorption(t, theta, matrix):
    ka, ke = theta[0], theta[1]
    matrix[0, 0], matrix[1, 0], matrix[1, 1] = -ka, ka, -ke


def _turnover(t, y, x, theta, dy):
    """An indirect response: production inhibited by what is in the body."""
    dy[0] = theta[2] * (1.0 - x[1] / (theta[3] + x[1])) - theta[2] * y[0]


def _at_one(theta: Floats) -> Floats:
    return np.tile([0.0, 0.0, 1.0], (len(theta), 1))


RESPONSE = replace(
    user_model(
        "test_response",
        Driven(_absorption, _turnover, linear=2, scale=(1.0,)),
        ("ka", "ke", "kout", "ic50", "lag", "F"),
        ("A0", "A1", "R"),
        (
            Route("oral", "A0", fraction=(0.5, "F"), lag="lag"),
            Route("vein", "A1"),
            Route("patch", "A1", fraction="F"),
            Route("syrup", "A0", fraction=0.8),
        ),
    ),
    initial=_at_one,
)
USUAL = np.array([1.2, 0.1, 0.03, 20.0, 0.0, 1.0])  # ka, ke, kout, ic50, lag, F
HOURS = np.array([0.0, 0.25, 1.0, 2.5, 6.0, 12.0, 24.0, 30.0, 48.0, 100.0])


def usual(**changed: float) -> Floats:
    theta = USUAL.copy()
    for name, value in changed.items():
        theta[RESPONSE.column(name)] = value
    return theta


def check(theta: Floats, doses: list[Dose], times: Floats = HOURS, model: PopulationModel = RESPONSE) -> None:
    agree(simulate(model, theta, doses, times)[0], integrated(model, theta, doses, times))


SCHEDULES = {
    "one dose": [Dose(0.0, 100.0)],
    "doses between samples": [Dose(0.1, 100.0), Dose(3.3, 50.0), Dose(3.3, 20.0), Dose(40.0, 10.0)],
    "infusion": [Dose(0.0, 100.0, 2.0, "vein")],
    "overlapping infusions": [
        Dose(0.0, 100.0, 6.0, "vein"), Dose(1.0, 30.0, 2.0, "vein"), Dose(2.5, 10.0, 30.0, "vein"),
        Dose(12.0, 60.0, 1.0, "vein"),
    ],
    "zero-order absorption into the depot": [Dose(0.5, 100.0, 3.0, "oral")],
    "two routes at once": [
        Dose(0.0, 100.0, 0.0, "oral"), Dose(0.0, 50.0, 4.0, "vein"), Dose(24.0, 5.0, 0.0, "vein"),
    ],
}  # fmt: skip


@pytest.mark.parametrize("name", SCHEDULES)
def test_driven_schedule_agrees_with_an_adaptive_integrator(name: str) -> None:
    check(usual(), SCHEDULES[name])


@pytest.mark.parametrize("ke", [1.2, 1.2 * (1 + 1e-9), 1.2 * (1 - 1e-6), 1.2 * (1 + 1e-4)])
def test_driven_absorption_as_fast_as_elimination(ke: float) -> None:
    # A1 = ka·t·exp(−ka·t): two rates that coincide have one eigenvector
    check(usual(ke=ke), SCHEDULES["doses between samples"])


@pytest.mark.parametrize("lag", [0.4, 1.0, 7.0])
def test_lag_delays_what_enters(lag: float) -> None:
    # 1.0: a dose at 0 enters at a sample and is not seen by it; 7: later doses of another route come first
    check(usual(lag=lag), [Dose(0.0, 100.0), Dose(2.0, 20.0, 0.0, "syrup"), Dose(3.0, 30.0, 2.0)])


@pytest.mark.parametrize("route", ["oral", "vein", "patch", "syrup"])
@pytest.mark.parametrize("duration", [0.0, 3.0])
def test_bioavailability_is_a_number_a_parameter_or_both(route: str, duration: float) -> None:
    # the area under A1 is what entered over ke; by 400 h all is eliminated
    theta = usual(F=0.7)
    expected = {"oral": 0.35, "vein": 1.0, "patch": 0.7, "syrup": 0.8}[route]
    check(theta, [Dose(0.0, 100.0, duration, route)])
    assert share(RESPONSE, next(r for r in RESPONSE.routes if r.name == route), theta) == pytest.approx(
        expected
    )


def _absorbed(t, y, x, theta, dy):
    dy[0] = x[1]


AREA = user_model(
    "test_area", Driven(_absorption, _absorbed, linear=2, scale=(1.0,)), ("ka", "ke"), ("A0", "A1", "area")
)


@pytest.mark.parametrize(
    ("ka", "ke", "hours"), [(100.0, 50.0, 1000.0), (3.0, 2.0, 2000.0), (2.0, 1.0, 500.0)]
)
def test_fast_kinetics_are_not_stepped_over(ka: float, ke: float, hours: float) -> None:
    # the area under A1 of one unit is 1/ke, whatever the length of the interval that follows the dose and of
    # the quiet time before it
    got = simulate(AREA, [ka, ke], [(0.0, 1.0), (hours, 1.0)], [hours, 2 * hours], ["area"])[0, :, 0]
    np.testing.assert_allclose(got, [1 / ke, 2 / ke], rtol=1e-7)


def test_fast_kinetics_drive_a_slow_state() -> None:
    times = np.sort(np.append(HOURS, [0.001, 0.01, 0.05, 10.02, 12.6, 13.5, 13.51]))
    check(usual(ka=100.0, ke=50.0), [Dose(0.0, 1e4), Dose(10.0, 1e4), Dose(12.5, 1e4, 1.0, "vein")], times)


def _transit(t, theta, matrix):
    for i in range(matrix.shape[0]):
        matrix[i, i] = -theta[0]
        if i > 0:
            matrix[i, i - 1] = theta[0]


def _last(t, y, x, theta, dy):
    dy[0] = x[x.shape[0] - 1] - theta[0] * y[0]


@pytest.mark.parametrize("length", [2, 3, 4])
def test_driven_transit_chain_is_right_or_refused(length: int) -> None:
    # equal rates in a row: the more of them, the fewer digits eigenvectors could give
    states = [f"A{i}" for i in range(length)] + ["y"]
    model = user_model(
        f"test_transit_{length}", Driven(_transit, _last, linear=length, scale=(1.0,)), ("ktr",), states
    )
    times = np.linspace(0.5, 20, 40)
    try:
        got = simulate(model, [1.0], [(0.0, 1.0)], times)[0]
    except SolverError as refused:
        assert "rate matrix" in str(refused)
        return
    orders = np.arange(length + 1)
    factorial = np.cumprod(np.maximum(orders, 1))
    agree(got, times[:, None] ** orders * np.exp(-times[:, None]) / factorial)


def test_driven_refuses_rates_that_oscillate() -> None:
    # three compartments in a ring: complex eigenvalues
    ring = np.array([[-1.0, 0.0, 1.0], [1.0, -1.0, 0.0], [0.0, 1.0, -1.0]])
    solver = Driven(_matrix, _last, linear=3, scale=(1.0,))
    model = user_model("test_ring", solver, [f"k{i}" for i in range(9)], ("A0", "A1", "A2", "y"))
    with pytest.raises(SolverError, match="patient 0 after 0 h: the rate matrix .* has no real rates"):
        simulate(model, ring.ravel(), [(0.0, 1.0)], [1.0])


def _none(t, theta, matrix):
    pass


def _oscillator(t, y, x, theta, dy):
    dy[0] = theta[0] * y[1]
    dy[1] = -theta[0] * y[0]


def test_driven_without_linear_states() -> None:
    # a pendulum pushed at 1 and 2: cosines and sines; nothing damps the errors, so they are kept small
    model = user_model(
        "test_oscillator",
        Driven(_none, _oscillator, linear=0, scale=(1.0, 1.0), tolerance=1e-10),
        ("w",),
        ("y", "z"),
    )
    times = np.linspace(0, 20, 41)
    got = simulate(model, [3.0], [(1.0, 1.0), (2.0, 0.5)], times)[0]
    pushed = [(amount, times - start, times > start) for start, amount in ((1.0, 1.0), (2.0, 0.5))]
    y = sum(a * np.cos(3.0 * t) * on for a, t, on in pushed)
    z = sum(-a * np.sin(3.0 * t) * on for a, t, on in pushed)
    agree(got, np.column_stack([y, z]))


def test_belief_is_coarser_than_exact_and_close() -> None:
    doses = SCHEDULES["overlapping infusions"]
    exact, belief = (
        simulate(RESPONSE, usual(), doses, HOURS, ["R"], rule)[0] for rule in ("exact", "belief")
    )
    assert 0 < np.abs(belief - exact).max() <= 1e-3


# ---------------------------------------------------------------------------------------- breaks and changes


def _day_and_night(t, theta, matrix):
    """Elimination of half the rate from 20 h to 32 h."""
    matrix[0, 0], matrix[1, 0] = -theta[0], theta[0]
    matrix[1, 1] = -theta[1] * (0.5 if 20.0 <= t < 32.0 else 1.0)


def test_linear_rates_change_at_the_breaks_of_a_model() -> None:
    model = replace(
        user_model("test_day_and_night", Linear(_day_and_night), ("ka", "ke"), ("A0", "A1")),
        breaks=(20.0, 32.0),
    )
    doses = [Dose(0.0, 100.0), Dose(19.0, 40.0, 4.0), Dose(32.0, 10.0)]
    check(np.array([1.2, 0.1]), doses, model=model)


def test_driven_rates_change_at_the_breaks_of_a_model() -> None:
    model = replace(
        RESPONSE,
        name="test_day_and_night_driven",
        solver=Driven(_day_and_night, _turnover, linear=2, scale=(1.0,)),
        breaks=(20.0, 32.0),
    )
    check(usual(), [Dose(0.0, 100.0), Dose(19.0, 40.0, 4.0, "vein"), Dose(32.0, 10.0)], model=model)


@pytest.mark.parametrize("doses", [[Dose(0.0, 100.0), Dose(24.0, 50.0)], [Dose(12.0, 100.0, 24.0, "vein")]])
def test_changed_parameters_are_two_runs_chained_by_their_state(doses: list[Dose]) -> None:
    first, second, change, after = usual(), usual(ke=0.3, kout=0.1), 24.0, np.array([24.5, 30.0, 48.0])
    whole = simulate(RESPONSE, [[first, second]], doses, after, changes=[0.0, change])[0]
    state = simulate(RESPONSE, first, doses, [change])[0, 0]
    # what is still to come, with the clock at 0; an infusion under way is cut in two
    rest: list[Dose] = []
    for dose in doses:
        end = dose.time + dose.duration
        if dose.time >= change:
            rest.append(dose._replace(time=dose.time - change))
        elif end > change:
            part = (end - change) / dose.duration
            rest.append(dose._replace(time=0.0, amount=part * dose.amount, duration=end - change))
    chained = simulate(RESPONSE, second, rest, after - change, initial=state)[0]
    agree(whole, chained, 1e-8)


@pytest.mark.parametrize("model", ["linear", "driven"])
def test_a_change_to_the_same_parameters_changes_nothing(model: str) -> None:
    doses, changes = [Dose(0.0, 100.0), Dose(24.0, 50.0)], [0.0, 5.0, 24.0]
    if model == "linear":
        run, theta = compartments(3), random_rates(np.random.default_rng(30), 3).ravel()
    else:
        run, theta = RESPONSE, usual()
    once = simulate(run, theta, doses, HOURS)[0]
    agree(simulate(run, [[theta] * 3], doses, HOURS, changes=changes)[0], once, 1e-8)


def test_bioavailability_of_an_occasion_holds_for_what_enters_in_it() -> None:
    theta = [[usual(F=1.0), usual(F=0.5)]]
    got = simulate(RESPONSE, theta, [Dose(0.0, 100.0, 0.0, "patch"), Dose(24.0, 100.0, 0.0, "patch")],
                   [24.0 + 1e-9], ["A1"], changes=[0.0, 24.0])[0, 0, 0]  # fmt: skip
    assert got == pytest.approx(100.0 * np.exp(-0.1 * 24.0) + 50.0, rel=1e-8)


# ------------------------------------------------------------------------------------ many patients


@pytest.mark.parametrize("model", ["linear", "driven"])
def test_stream_is_simulate_for_any_block_and_number_of_threads(model: str) -> None:
    rng = np.random.default_rng(40)
    if model == "linear":
        run = compartments(3)
        theta = np.array([random_rates(rng, 3).ravel() for _ in range(400)])
    else:
        run, theta = RESPONSE, np.tile(USUAL, (400, 1)) * rng.lognormal(0, 0.3, (400, 6))
    doses, times = [Dose(0.0, 100.0), Dose(12.0, 50.0, 2.0), Dose(24.0, 50.0)], [6.0, 24.0, 48.0]
    whole = simulate(run, theta, doses, times)
    # numba sets its public config at run time, unseen by type checkers
    most = numba.config.NUMBA_NUM_THREADS  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]
    before = numba.get_num_threads()
    try:
        for threads in range(1, min(most, 3) + 1):
            numba.set_num_threads(threads)
            for block in (1, 7, 128, 399, 400, 1000):
                parts = [part for _, part in stream(run, theta, doses, times, block=block)]
                assert np.array_equal(np.concatenate(parts), whole)
    finally:
        numba.set_num_threads(before)
