"""The engine: exact times, independent patients, and every refusal."""

from typing import Any

import numba
import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs.pharmacology import outputs_now, simulate
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


def test_value_at_the_time_of_a_dose_is_the_value_before_it() -> None:
    times, theta = [0.0, 24.0, 24.0 + 1e-9], people(1)
    once, twice = (
        simulate(MODEL, theta, doses, times) for doses in ([(0.0, 5.0)], [(0.0, 5.0), (24.0, 500.0)])
    )
    assert once[0, 0, MODEL.output("Cs")] == 0.0  # a dose at time 0 is not seen at time 0
    assert np.array_equal(once[0, 1], twice[0, 1])
    assert twice[0, 2, MODEL.output("Cs")] > once[0, 2, MODEL.output("Cs")]


def test_doses_at_one_time_add_up_in_any_order() -> None:
    theta = people(1)
    together = simulate(MODEL, theta, [(0.0, 5.0), (24.0, 7.5), (48.0, 3.0)], TIMES)
    apart = simulate(MODEL, theta, [(48.0, 1.0), (24.0, 7.5), (0.0, 2.0), (48.0, 2.0), (0.0, 3.0)], TIMES)
    assert np.array_equal(together, apart)
    alone = simulate(MODEL, theta, [(0.0, 5.0), (24.0, 7.5), (48.0, 1.0)], TIMES)
    assert not np.array_equal(together, alone)


def test_results_do_not_depend_on_order_or_batch() -> None:
    n = 37
    theta, doses = people(n), own_doses(n)
    whole = simulate(MODEL, theta, doses, TIMES)
    order = np.random.default_rng(1).permutation(n)
    assert np.array_equal(simulate(MODEL, theta[order], [doses[i] for i in order], TIMES), whole[order])
    single = np.concatenate([simulate(MODEL, theta[i], [doses[i]], TIMES) for i in range(n)])
    assert np.array_equal(single, whole)
    assert len(np.unique(whole[:, -1, 0])) == n


def test_one_schedule_for_all_is_the_same_schedule_for_each() -> None:
    theta, doses = people(5), [(0.0, 5.0), (30.0, 4.0)]
    assert np.array_equal(simulate(MODEL, theta, doses, TIMES), simulate(MODEL, theta, [doses] * 5, TIMES))


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    # numba sets its public config at run time, unseen by type checkers
    if numba.config.NUMBA_NUM_THREADS < 2:  # pyright: ignore[reportPrivateImportUsage, reportAttributeAccessIssue]
        pytest.skip("one thread only")
    theta, doses, before = people(200), own_doses(200), numba.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            numba.set_num_threads(threads)
            results.append(simulate(MODEL, theta, doses, TIMES))
    finally:
        numba.set_num_threads(before)
    assert np.array_equal(*results)


def test_blocks_of_patients_leave_no_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    theta, doses = people(25), own_doses(25)
    whole = simulate(MODEL, theta, doses, TIMES)
    monkeypatch.setattr("dosewright.envs.pharmacology.engine._BLOCK", 10)
    assert np.array_equal(simulate(MODEL, theta, doses, TIMES), whole)


def test_untreated_patients_stay_at_their_baseline() -> None:
    theta, inr = people(6), np.array([MODEL.output("INR")])
    state = np.tile(MODEL.initial, (6, 1))
    assert np.array_equal(outputs_now(MODEL, state, theta, inr)[:, 0], theta[:, MODEL.column("BASE")])
    course = simulate(MODEL, theta, [], [0.0, 100.0], ["INR"])[..., 0]
    np.testing.assert_allclose(course, theta[:, [MODEL.column("BASE")] * 2], rtol=1e-14)


def test_chosen_outputs_come_in_the_order_asked_for() -> None:
    theta, doses = people(2), [(0.0, 5.0)]
    everything = simulate(MODEL, theta, doses, TIMES)
    chosen = simulate(MODEL, theta, doses, TIMES, ["Cs", "INR"])
    assert np.array_equal(chosen, everything[..., [MODEL.output("Cs"), MODEL.output("INR")]])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"theta": np.ones((2, 7))}, "theta has 7 columns; warfarin_hamberg2010 has 8: CL, V, ka"),
        ({"times": [[0.0, 1.0]]}, "times must be finite"),
        ({"times": [2.0, 1.0]}, "not decreasing"),
        ({"times": [-1.0, 1.0]}, "times must be finite, not negative"),
        ({"times": [0.0, np.nan]}, "times must be finite"),
        ({"times": [0.0, np.inf]}, "times must be finite"),
        ({"doses": [(0.0, 5.0), (24.0, -2.0)]}, r"dose 1 of patient 0: -2.0 at 24.0 h"),
        ({"doses": [(0.0, np.nan)]}, "dose 0 of patient 0: nan at 0.0 h"),
        ({"doses": [(0.0, np.inf)]}, "dose 0 of patient 0: inf at 0.0 h"),
        ({"doses": [(-1.0, 5.0)]}, r"dose 0 of patient 0: 5.0 at -1.0 h"),
        ({"doses": [[(0.0, 5.0)], [(0.0, 5.0), (3.0, -1.0)]]}, "dose 1 of patient 1: -1.0 at 3.0 h"),
        ({"doses": [[(0.0, 5.0)]] * 3}, "3 dose lists for 2 patients"),
        ({"outputs": ["INR", "pulse"]}, r"unknown output of warfarin_hamberg2010: 'pulse'; known: INR, Cs"),
    ],
)
def test_bad_input_is_refused_with_its_place(changes: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"theta": people(2), "doses": [(0.0, 5.0)], "times": [0.0, 24.0]} | changes
    with pytest.raises(ValueError, match=message):
        simulate(MODEL, **arguments)


def test_first_patient_may_take_nothing() -> None:
    theta = people(2)
    got = simulate(MODEL, theta, [[], [(0.0, 5.0)]], [48.0])
    assert np.array_equal(got[1:], simulate(MODEL, theta[1], [(0.0, 5.0)], [48.0]))


def test_unknown_accuracy_level_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="exact"):
        simulate(MODEL, people(1), [(0.0, 5.0)], [1.0], rule="sloppy")
