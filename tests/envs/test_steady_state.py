"""The state to which a repeated schedule leads, against closed forms, long runs and fixed points."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs.pharmacology import (
    Dose,
    Driven,
    Linear,
    Output,
    Parameter,
    PopulationModel,
    Route,
    empty,
    simulate,
    stack,
    steady_state,
)

Floats = NDArray[np.float64]


def _observe(t, state, theta, output):
    return state[output]


def _one(t, theta, matrix):
    matrix[0, 0] = -theta[0]


def _two(t, theta, matrix):
    """Absorption ka, elimination k, a deep compartment that exchanges at k12 and k21, and the area."""
    ka, k, k12, k21 = theta[0], theta[1], theta[2], theta[3]
    matrix[0, 0], matrix[1, 0] = -ka, ka
    matrix[1, 1], matrix[1, 2] = -k - k12, k21
    matrix[2, 1], matrix[2, 2] = k12, -k21
    matrix[3, 1] = 1.0


def _none(t, theta, matrix):
    pass


def _saturate(t, y, x, theta, dy):
    dy[0] = -theta[0] * y[0] / (theta[1] + y[0])


def _turnover(t, y, x, theta, dy):
    dy[0] = theta[1] * (1.0 - x[0] / (theta[2] + x[0])) - theta[1] * y[0]


def model(name: str, solver: Any, parameters: str, states: str, lag: str | None = None) -> PopulationModel:
    """A model of a user whose outputs are its states; names are given with spaces between."""
    return PopulationModel(
        name=name,
        title=name,
        sources=("this file",),
        time_unit="h",
        amount_unit="mg",
        parameters=tuple(Parameter(item, "1") for item in parameters.split()),
        states=tuple(states.split()),
        initial=empty(len(states.split())),
        routes=(Route("usual", states.split()[0], lag=lag),),
        outputs=tuple(Output(item, "1") for item in states.split()),
        typical=lambda covariates, effects: stack(*np.ones(len(parameters.split()))),
        solver=solver,
        observe=_observe,
    )


ONE = model("test_one", Linear(_one), "k", "A")
LATE = model("test_one_late", Linear(_one), "k lag", "A", lag="lag")
TWO = model("test_two", Linear(_two), "ka k k12 k21", "A0 A1 A2 AUC")
SATURABLE = model("test_saturable_ss", Driven(_none, _saturate, linear=0, scale=(1.0,)), "vmax km", "A")
RESPONSE = model("test_response_ss", Driven(_one, _turnover, linear=1, scale=(1.0,)), "k kout ic50", "A R")


def cycled(of: PopulationModel, theta: Any, doses: list[Dose], every: float, cycles: int) -> Floats:
    """(s,) states after so many cycles from the drug-free state."""
    schedule = [dose._replace(time=dose.time + every * i) for i in range(cycles) for dose in doses]
    return simulate(of, theta, schedule, [every * cycles])[0, 0]


@pytest.mark.parametrize("k", [1.0, 0.1, 1e-3, 1e-5, 1e-7])
def test_one_compartment_has_the_closed_form(k: float) -> None:
    # trough after infinitely many doses: a geometric series
    got = steady_state(ONE, [k], [Dose(0.0, 100.0)], 24.0)[0, 0]
    assert got == pytest.approx(100.0 * np.exp(-24 * k) / -np.expm1(-24 * k), rel=1e-9)


def test_constant_infusion_ends_where_input_is_output() -> None:
    got = steady_state(ONE, [0.1], [Dose(0.0, 240.0, 24.0)], 24.0)[0, 0]
    assert got == pytest.approx(10.0 / 0.1, rel=1e-9)


def test_deep_compartment_is_reached_too() -> None:
    # k21 = 1e-4 an hour: a half-life of 0.8 years; the average of a cycle obeys A2/A1 = k12/k21
    theta = [1.0, 0.1, 0.01, 1e-4]
    state = steady_state(TWO, theta, [Dose(0.0, 240.0, 24.0)], 24.0)[0]
    assert state[:3] == pytest.approx([10.0, 100.0, 10_000.0], rel=1e-9)


def test_area_starts_at_zero_in_steady_state() -> None:
    assert steady_state(TWO, [1.0, 0.1, 0.01, 1e-3], [Dose(0.0, 100.0)], 24.0)[0, 3] == 0.0


CYCLES = {
    "once": [Dose(0.0, 100.0)],
    "several": [Dose(0.0, 100.0), Dose(6.0, 30.0), Dose(18.5, 5.0)],
    "infusion": [Dose(2.0, 100.0, 3.5)],
    "infusion to the end of the cycle": [Dose(20.0, 100.0, 4.0)],
    "overlapping infusions": [Dose(0.0, 100.0, 12.0), Dose(6.0, 50.0, 12.0)],
}


@pytest.mark.parametrize("name", CYCLES)
def test_linear_steady_state_is_a_fixed_point_and_what_repeated_dosing_leads_to(name: str) -> None:
    theta, doses = [1.0, 0.1, 0.05, 0.02], CYCLES[name]
    state = steady_state(TWO, theta, doses, 24.0)[0]
    after = simulate(TWO, theta, doses, [24.0], initial=state)[0, 0]
    np.testing.assert_allclose(after[:3], state[:3], rtol=1e-9)
    np.testing.assert_allclose(cycled(TWO, theta, doses, 24.0, 120)[:3], state[:3], rtol=1e-9)


@pytest.mark.parametrize("lag", [0.4, 3.0])
@pytest.mark.parametrize("duration", [0.0, 20.9, 23.9])
def test_what_enters_late_is_not_lost(lag: float, duration: float) -> None:
    # a lag carries the end of an infusion over the end of the cycle: refused, or right
    doses = [Dose(0.0, 100.0, duration)]
    try:
        state = steady_state(LATE, [0.1, lag], doses, 24.0)[0]
    except ValueError as refused:
        assert lag + duration > 24.0
        assert f"dose 0, at 0 over {duration:g} h, entering up to {lag:g} h later, outlasts" in str(refused)
        return
    np.testing.assert_allclose(state, cycled(LATE, [0.1, lag], doses, 24.0, 60), rtol=1e-9)


@pytest.mark.parametrize("dose", [1.0, 60.0, 120.0, 200.0, 230.0, 239.0, 239.9, 239.99, 239.999])
def test_saturable_elimination_balances_the_dose(dose: float) -> None:
    # of the integrated Michaelis-Menten equation over a cycle: km·ln((A + D)/A) + D = vmax·every; the last of
    # these doses would take a million cycles
    vmax, km = 10.0, 5.0
    got = steady_state(SATURABLE, [vmax, km], [Dose(0.0, dose)], 24.0)[0, 0]
    expected = dose / np.expm1((vmax * 24.0 - dose) / km)
    assert got == pytest.approx(expected, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("rate", [0.5, 5.0, 9.5])
def test_saturable_elimination_balances_an_infusion(rate: float) -> None:
    # vmax·A/(km + A) = rate
    got = steady_state(SATURABLE, [10.0, 5.0], [Dose(0.0, 24.0 * rate, 24.0)], 24.0)[0, 0]
    assert got == pytest.approx(5.0 * rate / (10.0 - rate), rel=1e-6)


def test_driven_response_settles_with_its_kinetics() -> None:
    theta, doses = [0.1, 0.02, 20.0], [Dose(0.0, 100.0), Dose(8.0, 20.0, 2.0)]
    state = steady_state(RESPONSE, theta, doses, 24.0)[0]
    np.testing.assert_allclose(cycled(RESPONSE, theta, doses, 24.0, 80), state, rtol=1e-6)


@pytest.mark.parametrize("dose", [240.0, 240.001, 240.1, 241.0, 300.0])
def test_more_than_is_eliminated_is_refused_before_the_cycles_run_out(dose: float) -> None:
    # vmax·every = 240; at 240 itself the amount grows as the root of time
    with pytest.raises(ValueError, match="test_saturable_ss: patient 0 has no steady state: A has no limit"):
        steady_state(SATURABLE, [10.0, 5.0], [Dose(0.0, dose)], 24.0, most_cycles=10**9)


@pytest.mark.parametrize("rates", [[1.0, 0.1, 0.01, 0.0], [1.0, 0.0, 0.0, 0.0]])
def test_a_compartment_that_nothing_leaves_is_refused(rates: list[float]) -> None:
    with pytest.raises(ValueError, match=r"test_two: patient 1 .* A[12] has no limit, .* name .* AUC"):
        steady_state(TWO, [[1.0, 0.1, 0.05, 0.02], rates], [Dose(0.0, 100.0)], 24.0)


@pytest.mark.parametrize("kout", [0.02, 1e-3, 1e-4, 1e-5])
def test_slow_response_is_followed_to_its_end(kout: float) -> None:
    # a cycle moves the last of these by 1e-4 of the way that is left; the mean of 1 − C/(C + ic50) is R's
    theta, doses = [0.1, kout, 20.0], [Dose(0.0, 24.0 * 3.0, 24.0)]
    state = steady_state(RESPONSE, theta, doses, 24.0)[0]
    assert state == pytest.approx([30.0, 1.0 - 30.0 / 50.0], rel=1e-8)


def _feedback(t, y, x, theta, dy):
    """Cells that hold back what makes them, by two stages in between; theta[1] is how strongly."""
    dy[0] = 0.05 * ((1.0 + x[0]) / y[3] ** theta[1] - y[0])
    dy[1] = 0.05 * (y[0] - y[1])
    dy[2] = 0.05 * (y[1] - y[2])
    dy[3] = 0.05 * (y[2] - y[3])


CELLS = replace(
    model("test_cells_ss", Driven(_one, _feedback, linear=1, scale=(1.0,) * 4), "k n", "A P T1 T2 C"),
    initial=lambda theta: np.tile([0.0, 1.0, 1.0, 1.0, 1.0], (len(theta), 1)),
)


def test_feedback_that_swings_for_long_settles_where_it_would() -> None:
    # four equal stages swing for ever from n = 4 on; with 3.9 they take hundreds of cycles to settle
    theta, doses = [0.2, 3.9], [Dose(0.0, 5.0)]
    state = steady_state(CELLS, theta, doses, 24.0)[0]
    late = cycled(CELLS, theta, doses, 24.0, 400)
    assert np.abs(late / state - 1).max() > 1e-4  # it is still on its way
    np.testing.assert_allclose(cycled(CELLS, theta, doses, 24.0, 4000), state, rtol=1e-6)


def test_feedback_that_swings_for_ever_has_no_steady_state() -> None:
    # the state at which nothing moves is there, but everything leads away from it
    message = "test_cells_ss: patient 0 has no steady state after 600 cycles of 24 h: .* still swings"
    with pytest.raises(ValueError, match=message):
        steady_state(CELLS, [0.2, 6.0], [Dose(0.0, 5.0)], 24.0, most_cycles=600)


def test_a_patient_is_the_same_alone_and_beside_others() -> None:
    # one of them needs many more cycles
    for of, patients, doses in (
        (TWO, [[1.0, 0.5, 0.01, 0.5], [1.0, 0.05, 0.01, 1e-4]], [Dose(0.0, 100.0)]),
        (SATURABLE, [[10.0, 5.0], [20.0, 5.0], [10.0005, 5.0]], [Dose(0.0, 239.99)]),
    ):
        together = steady_state(of, patients, doses, 24.0)
        for i, theta in enumerate(patients):
            assert np.array_equal(steady_state(of, theta, doses, 24.0)[0], together[i])


def test_nothing_given_leaves_the_drug_free_state() -> None:
    assert np.array_equal(steady_state(TWO, np.ones((2, 4)), [], 24.0), np.zeros((2, 4)))
