"""The engine: exact times, independent patients, and every refusal."""

import re
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs.pharmacology import (
    Dose,
    Driven,
    Events,
    Kind,
    Linear,
    Output,
    Parameter,
    PopulationModel,
    Route,
    SolverError,
    empty,
    follow,
    outputs_now,
    simulate,
    stack,
    steady_state,
    stream,
)
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL, typical

Floats = NDArray[np.float64]


def people(n: int) -> Floats:
    rng = np.random.default_rng(3)
    covariates = {"age_y": rng.uniform(20, 95, n), "baseline": rng.normal(1.06, 0.08, n)}
    return typical(
        covariates, {"cl_s_l_h": rng.uniform(0.08, 0.35, n), "ec50_mg_l": rng.uniform(1.9, 4.1, n)}
    )


def own_doses(n: int) -> list[list[tuple[float, float]]]:
    rng = np.random.default_rng(4)
    return [[(float(t), 5.0) for t in np.sort(rng.uniform(0, 240, rng.integers(1, 12)))] for _ in range(n)]


TIMES = np.array([0.0, 3.5, 24.0, 24.0, 100.25, 240.0])


# ------------------------------------------------------------------------------------- small models of a user


def _observe(t, state, theta, output):
    return state[output]


def user_model(name: str, solver: Any, parameters: str, states: str, routes: tuple[Route, ...] = ()) -> Any:
    """A model of a user whose outputs are its states; `parameters` and `states` are names with spaces."""
    return PopulationModel(
        name=name,
        title=name,
        sources=("this file",),
        time_unit="h",
        amount_unit="mg",
        parameters=tuple(Parameter(item, "1") for item in parameters.split()),
        states=tuple(states.split()),
        initial=empty(len(states.split())),
        routes=routes or (Route("usual", states.split()[0]),),
        outputs=tuple(Output(item, "1") for item in states.split()),
        typical=lambda covariates, effects: stack(*np.ones(len(parameters.split()))),
        solver=solver,
        observe=_observe,
    )


def _decay(t, theta, matrix):
    matrix[0, 0] = -theta[0]


def _explode(t, y, x, theta, dy):
    dy[0] = theta[0] * y[0] ** 2


def _saturate(t, y, x, theta, dy):
    dy[0] = -theta[0] * y[0] / (theta[1] + y[0])


def _none(t, theta, matrix):
    pass


def _three_halves(t, y, x, theta, dy):
    dy[0] = -theta[0] * y[0] ** 1.5


def _per_volume(t, theta, matrix):
    matrix[0, 0] = -1.0 / theta[0]


def _still(t, y, x, theta, dy):
    dy[0] = 0.0


DECAY = user_model("test_decay", Linear(_decay), "k", "A", (Route("oral", "A"), Route("vein", "A")))
LATE = user_model("test_late", Linear(_decay), "k lag", "A", (Route("oral", "A", lag="lag"),))
# dy = k·y² from y0 reaches infinity at 1/(k·y0)
EXPLODING = user_model("test_exploding", Driven(_none, _explode, linear=0, scale=(1.0,)), "k", "y")
SATURABLE = user_model("test_saturable", Driven(_none, _saturate, linear=0, scale=(1.0,)), "vmax km", "A")


# ------------------------------------------------------------------------------------------- times and doses


def test_value_at_the_time_of_a_dose_is_the_value_before_it() -> None:
    times, theta = [0.0, 24.0, 24.0 + 1e-9], people(1)
    once, twice = (
        simulate(MODEL, theta, doses, times) for doses in ([(0.0, 5.0)], [(0.0, 5.0), (24.0, 500.0)])
    )
    assert once[0, 0, MODEL.output("Cs")] == 0.0  # a dose at time 0 is not seen at time 0
    assert np.array_equal(once[0, 1], twice[0, 1])
    assert twice[0, 2, MODEL.output("Cs")] > once[0, 2, MODEL.output("Cs")]


def test_doses_at_one_time_add_up() -> None:
    theta = people(1)
    together = simulate(MODEL, theta, [(0.0, 5.0), (24.0, 7.5), (48.0, 3.0)], TIMES)
    apart = simulate(MODEL, theta, [(0.0, 2.0), (0.0, 3.0), (24.0, 7.5), (48.0, 1.0), (48.0, 2.0)], TIMES)
    assert np.array_equal(together, apart)
    alone = simulate(MODEL, theta, [(0.0, 5.0), (24.0, 7.5), (48.0, 1.0)], TIMES)
    assert not np.array_equal(together, alone)


def test_a_pair_of_numbers_is_a_dose_by_the_first_route() -> None:
    named = [Dose(0.0, 5.0, route="oral"), Dose(30.0, 4.0)]
    plain = [(0.0, 5.0), (30.0, 4.0)]
    assert np.array_equal(simulate(MODEL, people(2), named, TIMES), simulate(MODEL, people(2), plain, TIMES))


def test_a_schedule_may_mix_doses_and_plain_numbers() -> None:
    for schedule in ([Dose(0.0, 5.0), (1.0, 2.0)], [(0.0, 5.0), (1.0, 2.0, 0.5)]):
        shared = simulate(DECAY, [0.1], schedule, [6.0])
        assert np.array_equal(simulate(DECAY, [0.1], [schedule], [6.0]), shared)


def test_one_schedule_for_all_is_the_same_schedule_for_each() -> None:
    theta, doses = people(5), [(0.0, 5.0), (30.0, 4.0)]
    assert np.array_equal(simulate(MODEL, theta, doses, TIMES), simulate(MODEL, theta, [doses] * 5, TIMES))


def test_first_patient_may_take_nothing() -> None:
    theta = people(2)
    got = simulate(MODEL, theta, [[], [(0.0, 5.0)]], [48.0])
    assert np.array_equal(got[1:], simulate(MODEL, theta[1], [(0.0, 5.0)], [48.0]))


def test_a_dose_after_the_last_sample_changes_nothing() -> None:
    theta = people(1)
    after = [(0.0, 5.0), (241.0, 50.0)]
    assert np.array_equal(simulate(MODEL, theta, after, TIMES), simulate(MODEL, theta, [(0.0, 5.0)], TIMES))


def test_a_lag_that_changes_during_an_infusion_loses_none_of_it() -> None:
    # nothing is eliminated (k = 0), so what is in the body at the end is what was given
    theta = [[[0.0, 2.0], [0.0, 0.0]]]
    got = simulate(LATE, theta, [Dose(0.0, 100.0, 1.0)], [5.0], changes=[0.0, 0.5])
    assert got[0, 0, 0] == pytest.approx(100.0, rel=1e-12)


# ------------------------------------------------------------------------------------- independent patients


def test_results_do_not_depend_on_order_or_batch() -> None:
    n = 37
    theta, doses = people(n), own_doses(n)
    whole = simulate(MODEL, theta, doses, TIMES)
    order = np.random.default_rng(1).permutation(n)
    assert np.array_equal(simulate(MODEL, theta[order], [doses[i] for i in order], TIMES), whole[order])
    single = np.concatenate([simulate(MODEL, theta[i], [doses[i]], TIMES) for i in range(n)])
    assert np.array_equal(single, whole)
    assert len(np.unique(whole[:, -1, 0])) == n


def on_threads(run: Callable[[], Floats]) -> list[Floats]:
    """Results on one thread and on two, or a skip."""
    # numba sets its public config at run time, unseen by type checkers
    if numba.config.NUMBA_NUM_THREADS < 2:  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]
        pytest.skip("one thread only")
    before, results = numba.get_num_threads(), []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(run())
    finally:
        numba.set_num_threads(before)
    return results


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    theta, doses = people(200), own_doses(200)
    one, two = on_threads(lambda: simulate(MODEL, theta, doses, TIMES))
    assert np.array_equal(one, two)


@pytest.mark.parametrize("block", [1, 10, 24, 25, 1000])
def test_blocks_of_patients_leave_no_seam(block: int) -> None:
    theta, doses = people(25), own_doses(25)
    whole = simulate(MODEL, theta, doses, TIMES)
    parts = list(stream(MODEL, theta, doses, TIMES, block=block))
    assert [first for first, _ in parts] == list(range(0, 25, block))
    assert np.array_equal(np.concatenate([part for _, part in parts]), whole)


def test_each_patient_begins_at_its_own_time() -> None:
    theta = people(2)
    state, begin = MODEL.initial(theta), np.array([0.0, 100.0])
    events = Events(
        np.array([[0.0, 48.0], [100.0, 148.0]]),
        np.full((2, 2), [Kind.BOLUS, Kind.READ], dtype=np.int8),
        np.array([[5.0, 0.0], [5.0, 0.0]]),
        np.array([2, 2]),
    )
    chosen = np.arange(len(MODEL.outputs))
    got = follow(MODEL, state, theta[:, None], events, chosen, 1, begin=begin)
    np.testing.assert_allclose(got, simulate(MODEL, theta, [(0.0, 5.0)], [48.0]), rtol=1e-13)


# ------------------------------------------------------------------------------------------ what is read


def test_untreated_patients_stay_at_their_baseline() -> None:
    theta, inr = people(6), np.array([MODEL.output("INR")])
    state = MODEL.initial(theta)
    assert np.array_equal(outputs_now(MODEL, state, theta, inr)[:, 0], theta[:, MODEL.column("BASE")])
    course = simulate(MODEL, theta, [], [0.0, 100.0], ["INR"])[..., 0]
    np.testing.assert_allclose(course, theta[:, [MODEL.column("BASE")] * 2], rtol=1e-14)


def test_outputs_of_now_leave_the_state_alone() -> None:
    theta = people(3)
    state = MODEL.initial(theta)
    outputs_now(MODEL, state, theta, np.array([0]))
    assert np.array_equal(state, MODEL.initial(theta))


def test_chosen_outputs_come_in_the_order_asked_for() -> None:
    theta, doses = people(2), [(0.0, 5.0)]
    everything = simulate(MODEL, theta, doses, TIMES)
    chosen = simulate(MODEL, theta, doses, TIMES, ["Cs", "INR"])
    assert np.array_equal(chosen, everything[..., [MODEL.output("Cs"), MODEL.output("INR")]])


# ------------------------------------------------------------------------------------------- bad input


BAD_INPUT: list[tuple[dict[str, Any], str]] = [
    # amounts, durations and times: which dose, of whom, what was given, what is allowed
    ({"events": [(0.0, 5.0), (24.0, -2.0)]}, r"dose 1 of patient 0: -2\.0 .* at 24\.0 h; .*not negative"),
    ({"events": [(0.0, np.nan)]}, r"dose 0 of patient 0: nan .* at 0\.0 h; .*must be finite"),
    ({"events": [(0.0, np.inf)]}, r"dose 0 of patient 0: inf .* at 0\.0 h; .*must be finite"),
    ({"events": [(-1.0, 5.0)]}, r"dose 0 of patient 0: 5\.0 .* at -1\.0 h; .*not negative"),
    ({"events": [(np.nan, 5.0)]}, r"dose 0 of patient 0: 5\.0 .* at nan h; .*must be finite"),
    ({"events": [(np.inf, 5.0)]}, r"dose 0 of patient 0: 5\.0 .* at inf h; .*must be finite"),
    ({"events": [Dose(0.0, 5.0, -2.0)]}, r"dose 0 of patient 0: 5\.0 over -2\.0 at 0\.0 h; .*not negative"),
    ({"events": [Dose(0.0, 5.0, np.nan)]}, r"dose 0 of patient 0: 5\.0 over nan at 0\.0 h; .*finite"),
    ({"events": [Dose(0.0, 5.0, np.inf)]}, r"dose 0 of patient 0: 5\.0 over inf at 0\.0 h; .*finite"),
    ({"events": [[(0.0, 5.0)], [(0.0, 5.0), (3.0, -1.0)]]}, r"dose 1 of patient 1: -1\.0 .* at 3\.0 h"),
    ({"events": [(24.0, 5.0), (3.0, 5.0)]}, r"dose 1 of patient 0: 3\.0 h is before .* 24\.0 h.*; sort"),
    (
        {"events": [Dose(0.0, 5.0, 0.0, "rectal")]},
        r"dose 0 of patient 0: unknown route 'rectal'; known: oral, vein",
    ),
    ({"events": [[(0.0, 5.0)]] * 3}, r"3 schedules for 2 patients; give one for all, or one a patient"),
    # samples
    ({"times": [-1.0, 1.0]}, r"observation at -1 h is before the start at 0; begin at 0 or later"),
    ({"times": [1.0, 5.0, 3.5]}, r"times decrease from 5 to 3\.5 h; sort them"),
    ({"times": [0.0, np.nan]}, r"time 1 is nan h; expected finite numbers"),
    ({"times": [0.0, np.inf]}, r"time 1 is inf h; expected finite numbers"),
    ({"times": [[0.0, 1.0]]}, r"times have shape \(1, 2\); expected a row of at least one time, in h"),
    ({"times": []}, r"times have shape \(0,\); expected a row of at least one time, in h"),
    ({"outputs": ["A", "pulse"]}, r"unknown output of test_decay: 'pulse'; known: A"),
    ({"rule": "sloppy"}, r"unknown rule 'sloppy' for test_decay; known: exact, belief"),
    # parameters
    ({"patients": np.ones((2, 7))}, r"shape \(2, 7\); test_decay has 1 columns: k"),
    ({"patients": [[1.0], [np.nan]]}, r"patient 1: parameter k is nan"),
    ({"patients": [[np.inf], [1.0]]}, r"patient 0: parameter k is inf"),
    ({"changes": [0.0, 5.0]}, r"changes \[0\.0, 5\.0\] for 1 parameter columns; give one rising time"),
    ({"changes": [3.0]}, r"changes \[3\.0\] .*the first 0"),
    (
        {"patients": np.ones((2, 3, 1)), "changes": [0.0, 5.0, 5.0]},
        r"changes \[0\.0, 5\.0, 5\.0\] for 3 .*rising",
    ),
    ({"patients": np.ones((2, 2, 1)), "changes": [0.0, np.nan]}, r"changes \[0\.0, nan\] for 2 .*rising"),
    ({"initial": [1.0, 2.0]}, r"initial has shape \(2,\); expected \(2, 1\): A for each patient"),
    ({"initial": [np.nan]}, r"initial|patient 0"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD_INPUT)
def test_bad_input_is_refused_with_value_place_and_remedy(wrong: dict[str, Any], message: str) -> None:
    usual = {"patients": np.ones((2, 1)), "events": [(0.0, 5.0)], "times": [0.0, 24.0]}
    with pytest.raises((ValueError, SolverError), match=message):
        simulate(DECAY, **(usual | wrong))


def test_infusion_into_a_tailored_model_is_refused() -> None:
    with pytest.raises(ValueError, match="warfarin_hamberg2010: a dose has a duration; .*, give duration 0"):
        simulate(MODEL, people(1), [Dose(0.0, 5.0, 1.0)], [24.0])


def test_unknown_parameter_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown parameter of test_saturable: 'CL'; known: vmax, km"):
        SATURABLE.column("CL")


# ---------------------------------------------------------------------------------- courses without a result


def failure(model: PopulationModel, patients: Any, events: Any, times: Any) -> tuple[str, int, float]:
    """Message of the SolverError, and the patient and time it names."""
    with pytest.raises(SolverError) as caught:
        simulate(model, patients, events, times)
    found = re.search(r"patient (\d+) after (\S+) h:", str(caught.value))
    assert found, caught.value
    return str(caught.value), int(found[1]), float(found[2])


def test_a_state_that_reaches_infinity_is_an_error_with_patient_and_time() -> None:
    # dy = y² from 3 is infinite at 1/3; the second patient's 0.001 is not within reach of 10 h
    schedules = [[(0.0, 0.001)], [(0.0, 3.0)]]
    message, patient, time = failure(EXPLODING, [[1.0], [1.0]], schedules, [0.2, 10.0])
    assert patient == 1 and "test_exploding" in message and "k 1" in message
    assert time == 0.2  # the start of the piece in which it happens


def test_patients_of_a_later_block_are_named_by_their_own_number() -> None:
    schedules = [[(0.0, 0.001)]] * 5 + [[(0.0, 3.0)]]
    with pytest.raises(SolverError, match="patient 5 after 0 h"):
        list(stream(EXPLODING, np.ones((6, 1)), schedules, [10.0], block=2))


def test_a_state_that_is_not_a_number_is_an_error_with_the_time_it_arose() -> None:
    # a state below zero to the power 1.5 is not a number from the start
    model = user_model("test_three_halves", Driven(_none, _three_halves, linear=0, scale=(1.0,)), "k", "y")
    with pytest.raises(SolverError, match="patient 0 after 0 h: the step size fell to rounding"):
        simulate(model, [1.0], [], [1.0, 2.0, 1000.0], initial=[-1.0])


def test_a_step_that_overshoots_zero_is_tried_again_shorter() -> None:
    # after a quiet 100 h the first step tried is long, and y^1.5 of a negative trial value is not a number
    model = user_model("test_three_halves", Driven(_none, _three_halves, linear=0, scale=(1.0,)), "k", "y")
    got = simulate(model, [10.0], [(0.0, 1e-4), (100.0, 100.0)], [100.0, 101.0])[0, :, 0]
    # 1/√y grows by k/2 an hour
    quiet = (1e-4**-0.5 + 5.0 * 100.0) ** -2
    assert got == pytest.approx([quiet, ((100.0 + quiet) ** -0.5 + 5.0) ** -2], rel=1e-7)


@pytest.mark.parametrize("kind", ["linear", "driven"])
def test_a_volume_of_zero_is_an_error_that_names_the_patient(kind: str) -> None:
    solver = Linear(_per_volume) if kind == "linear" else Driven(_per_volume, _still, linear=1, scale=(1.0,))
    model = user_model(f"test_volume_{kind}", solver, "V", "A" if kind == "linear" else "A y")
    patients = np.ones((12, 1))
    patients[2] = 0.0
    with pytest.raises(SolverError, match=r"patient 2 after [01] h: .*finite.*; parameters V 0"):
        simulate(model, patients, [(0.0, 1.0)], [1.0])
    # one bad patient among many does not spoil what comes after
    good = simulate(model, np.ones((12, 1)), [(0.0, 1.0)], [1.0], ["A"])
    assert good == pytest.approx(np.full((12, 1, 1), np.exp(-1.0)), rel=1e-12)


# ------------------------------------------------------------------------------------------- steady state


def test_no_steady_state_where_the_drug_accumulates_without_limit() -> None:
    # at most vmax · 24 h = 240 mg are eliminated in a cycle
    with pytest.raises(
        ValueError, match=r"test_saturable: patient 1 has no steady state: A has no limit.* 24 h; .*give less"
    ):
        steady_state(SATURABLE, [[100.0, 5.0], [10.0, 5.0]], [Dose(0.0, 241.0)], 24.0)


@pytest.mark.parametrize(
    ("doses", "every", "message"),
    [
        ([Dose(0.0, 5.0, 25.0)], 24.0, "dose 0, at 0 over 25 h, outlasts the cycle of 24 h; start"),
        ([Dose(0.0, 5.0), Dose(24.0, 5.0)], 24.0, "dose 1, at 24 over 0 h, outlasts the cycle of 24 h"),
        ([Dose(0.0, 5.0, 0.0, "rectal")], 24.0, "unknown route 'rectal'; known: oral, vein"),
        ([Dose(0.0, -5.0)], 24.0, r"dose 0 of patient 0: -5\.0 .*not negative"),
        ([Dose(0.0, 5.0)], 0.0, r"every = 0\.0; expected the length of a cycle, above 0 h"),
        ([Dose(0.0, 5.0)], np.nan, "every = nan; expected the length of a cycle, above 0 h"),
    ],
)
def test_impossible_cycle_is_refused(doses: list[Dose], every: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        steady_state(DECAY, [0.1], doses, every)


def test_steady_state_with_parameters_that_change_is_refused() -> None:
    with pytest.raises(ValueError, match="test_decay: parameters change over time"):
        steady_state(DECAY, np.ones((1, 2, 1)), [Dose(0.0, 5.0)], 24.0)
