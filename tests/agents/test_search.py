"""Doses, intervals and times: published answers, exact formulas, and targets out of reach."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens.quantities import Area, Level, Peak, Plan, Trough
from dosewright.agents.regimens.search import (
    Draws,
    Found,
    Snap,
    best_dose,
    find_dose,
    find_interval,
    first_time,
    most_likely_dose,
)
from dosewright.envs.pharmacology import Dose, Linear, Output, Parameter, PopulationModel, Route, empty
from dosewright.envs.pharmacology.models.phenytoin_grasela1983 import MODEL as PHENYTOIN
from dosewright.envs.scenarios.dosing import DoseGrid


def _rates(t, theta, matrix):
    cl, vc, q, vp, ka = theta[0], theta[1], theta[2], theta[3], theta[4]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -(cl + q) / vc
    matrix[1, 2] = q / vp
    matrix[2, 1] = q / vc
    matrix[2, 2] = -q / vp
    matrix[3, 1] = 1.0 / vc


def _observe(t, state, theta, output):
    return state[1] / theta[1] if output == 0 else state[3]


NAMES = ("CL", "VC", "Q", "VP", "KA", "F", "LAG")
TWO = PopulationModel(
    name="two_compartments", title="Two compartments and a depot", sources=("test",), time_unit="h",
    amount_unit="mg", parameters=tuple(Parameter(name, "1") for name in NAMES),
    states=("DEPOT", "CENTRAL", "PERIPH", "AUC"), initial=empty(4),
    routes=(Route("iv", "CENTRAL"), Route("oral", "DEPOT", "F", "LAG")),
    outputs=(Output("C", "mg/L"), Output("AUC", "mg·h/L")),
    typical=lambda covariates, effects: np.ones((1, 7)), solver=Linear(_rates), observe=_observe,
)  # fmt: skip


def two(cl: Any, vc: Any, q: Any, vp: Any, ka: Any = 1.0, f: Any = 1.0, lag: Any = 0.0) -> np.ndarray:
    return np.stack(np.broadcast_arrays(*map(np.atleast_1d, (cl, vc, q, vp, ka, f, lag))), axis=-1).astype(
        float
    )


# -------------------------------------------------------------------------------------------- published cases


def parameters(case: Mapping[str, Any], theta: Mapping[str, float]) -> np.ndarray:
    """The parameters at the published estimate, by the formulas of the case's model."""
    x, e = case["covariates"], [0.0, *(math.exp(v) for v in case["expect"]["eta"].values())]
    if case["model"] == "vancomycin_goti2018":
        return two(4.5 * (x["CLCREAT"] / 120) ** 0.8 * e[1], 58.4 * x["WT"] / 70 * e[2], 6.5, 38.4 * e[3])
    if case["model"] == "amikacin_burdet2015_combined1":
        cl = 4.3 * (x["CLCREAT4H"] / 82) ** 0.7 * e[1]
        vc = 15.9 * (x["TBW"] / 78) ** 0.9 * (x["POVERF"] / 169) ** 0.4 * e[2]
        return two(cl, vc, 12.1 * e[4], 21.4 * e[3])
    if case["model"] == "gentamicin_xuan2003":
        cl, vc, k12, k21 = 0.047 * x["CLCR"] * e[1], 0.28 * x["WT"] * e[2], 0.092 * e[3], 0.071 * e[4]
        return two(cl, vc, k12 * vc, k12 * vc / k21)
    assert case["model"] == "ganciclovir_caldes2009"
    return two(7.49 * x["CLCR"] / 57 * e[1], 31.9 * e[2], 10.2, 32.0, 0.895 * e[3], 0.825 * e[4], 0.382)


def search(case: Mapping[str, Any], ask: Mapping[str, Any], theta: np.ndarray) -> Found:
    given = [
        Dose(event["time"] + i * event.get("ii", 0), event["amt"], event["duration"], "iv")
        for event in case["events"] if event["evid"] == 1 for i in range(event.get("addl", 0) + 1)
    ]  # fmt: skip
    patient = Draws.of_model(TWO, theta, history=given if ask["history"] == "patient" else (), output="C")
    oral = case["model"].startswith("ganciclovir") and ask.get("dose_cmt") == 1
    plan = Plan(
        ask.get("dose_time", 0.0), ask.get("interval", 30.0), ask.get("n_doses", 1), ask.get("duration", 0.0),
        "oral" if oral else "iv",
    )  # fmt: skip
    if ask["find"] == "first_time_below":
        last = plan.doses(0.0)[-1].time if ask.get("count_from_last_dose") else 0.0
        times = last + ask["grid_from"] + ask["grid_step"] * np.arange(600)
        found = first_time(patient, plan, ask.get("dose", 0.0), ask["value"], times)
        return Found(found.value - last, found.mean)
    if ask["find"] == "interval":
        trough = Trough(ask["trough_before_last"])
        return find_interval(patient, plan, ask["dose"], trough, ask["value"], bounds=(4.0, 100.0))
    if ask["target"] == "auc":
        return find_dose(patient, plan, Area(*ask["window"], total="AUC" if oral else None), ask["value"])
    return find_dose(patient, plan, Level(ask["time"]), ask["value"])


def test_published_doses_intervals_and_times(shared: Path) -> None:
    path = shared / "reference" / "mapbayes" / "regimen_cases.json"
    if not path.is_file():
        pytest.skip(f"no reference at {path}")
    file, asked = json.loads(path.read_text()), 0
    models = {model["id"]: model["theta"] for model in file["models"]}
    for case in file["cases"]:
        for ask in case["expect"].get("regimens", ()):
            found = search(case, ask, parameters(case, models[case["model"]]))
            tolerance = {"rel": ask["rtol"]} if "rtol" in ask else {"abs": ask["atol"], "rel": 0.0}
            assert found.value == pytest.approx(ask["answer"], **tolerance), (case["id"], ask)
            if "value_at_answer" in ask:
                assert found.mean == pytest.approx(ask["value_at_answer"], rel=2e-4)
            asked += 1
    assert asked == 14


# --------------------------------------------------------------------------------------------- exact formulas


def test_area_of_a_single_dose_is_dose_over_clearance() -> None:
    patient = Draws.of_model(TWO, two(5.0, 30.0, 4.0, 50.0))
    plan = Plan(duration=1.0)
    # to the end, and by the model's own area where the window is short
    assert find_dose(patient, plan, Area(0.0, 400.0), 60.0).value == pytest.approx(300.0, rel=1e-6)
    own = find_dose(patient, plan, Area(0.0, 9.0, total="AUC"), 20.0).value
    assert find_dose(patient, plan, Area(0.0, 9.0), 20.0).value == pytest.approx(own, rel=1e-8)


def test_a_time_after_the_cycle_of_the_steady_state_is_refused() -> None:
    # no dose follows in a cycle, so a later level would be that of a patient who was given no more
    plan = Plan(interval=12.0, duration=1.0, steady=True)
    with pytest.raises(ValueError, match="area reads a level at 23.*one cycle, 0 to 12"):
        find_dose(Draws.of_model(TWO, two(5.0, 30.0, 4.0, 50.0)), plan, Area(0.0, 24.0), 500.0)


def test_steady_state_average_is_dose_rate_over_clearance_and_area_per_interval_the_dose_over_it() -> None:
    patient = Draws.of_model(TWO, two(5.0, 30.0, 4.0, 50.0), history=[Dose(0.0, 1e4)])
    plan = Plan(interval=12.0, duration=2.0, steady=True)
    assert find_dose(patient, plan, Area(0.0, 12.0, average=True), 10.0).value == pytest.approx(
        600.0, rel=1e-6
    )
    assert find_dose(patient, plan, Area(0.0, 12.0), 120.0).value == pytest.approx(600.0, rel=1e-6)
    # the trough of the cycle is the level at its start; the peak stands at the end of the infusion
    trough = find_dose(patient, plan, Trough(), 5.0)
    assert find_dose(patient, plan, Level(0.0), 5.0).value == pytest.approx(trough.value, rel=1e-9)
    top = find_dose(patient, plan, Peak(0.0, 12.0), 20.0)
    assert find_dose(patient, plan, Level(2.0), 20.0).value == pytest.approx(top.value, rel=1e-9)


def test_peak_of_a_bolus_and_of_an_oral_dose() -> None:
    # one compartment: D/V after a bolus; D·F/V·(ka/k)^(−k/(ka−k)) after a dose by mouth
    patient, k, ka = Draws.of_model(TWO, two(3.0, 30.0, 0.0, 1.0, 1.2, 0.7)), 0.1, 1.2
    bolus = find_dose(patient, Plan(route="iv"), Peak(0.0, 24.0), 8.0)
    assert bolus.value == pytest.approx(240.0, rel=1e-9)
    oral = find_dose(patient, Plan(route="oral"), Peak(0.0, 24.0), 8.0)
    assert oral.value == pytest.approx(240.0 / 0.7 * (ka / k) ** (k / (ka - k)), rel=1e-3)


def test_a_residual_counts_and_may_leave_nothing_to_give() -> None:
    # monoexponential: at 36 h 2^−3 of the first dose's 20 is left, at the target time half an hour later less
    patient = Draws.of_model(TWO, two(30 * math.log(2) / 12, 30.0, 0.0, 1.0), history=[Dose(0.0, 600.0)])
    found = find_dose(patient, Plan(start=36.0), Level(48.0), 5.0)
    assert found.value == pytest.approx((5.0 - 20.0 / 16) * 2 * 30, rel=1e-9)
    assert found.mean == pytest.approx(5.0, rel=1e-9)
    full = find_dose(patient, Plan(start=36.0), Level(48.0), 1.0)
    assert not full.reached and math.isnan(full.value)
    assert "at 0, the lower bound, it is already exceeded by 0.25" in full.unreached


def test_an_interval_and_a_dose_out_of_reach_name_their_bounds() -> None:
    patient = Draws.of_model(TWO, two(5.0, 30.0, 4.0, 50.0))
    found = find_dose(patient, Plan(), Level(6.0), 50.0, bounds=(0.0, 100.0))
    assert not found.reached and "at 100, the upper bound, it is still 4" in found.unreached
    found = find_interval(patient, Plan(count=11), 100.0, Trough(0.1), 40.0, bounds=(6.0, 48.0))
    assert not found.reached and "interval at 6, the lower bound" in found.unreached
    late = first_time(patient, Plan(), 1000.0, 0.001, np.arange(1.0, 5.0))
    assert not late.reached and "not below 0.001 at any of 4 times" in late.unreached


def test_saturable_elimination_is_not_taken_to_be_linear() -> None:
    # steady state of a constant input by way of a depot: in = out, R = Vmax·C/(Km + C)
    theta = np.array([[20.0, 4.0, 50.0, 0.9]])
    patient = Draws.of_model(PHENYTOIN, theta)
    plan = Plan(interval=24.0, duration=24.0, steady=True)
    found = find_dose(patient, plan, Trough(), 12.0, bounds=(0.0, 5000.0))  # 5000 has no steady state
    assert found.value == pytest.approx(24 * 20.0 * 12 / (12 + 4), rel=1e-5)
    assert found.mean == pytest.approx(12.0, rel=1e-6)
    # of two draws one has no steady state at a dose above Vmax
    draws = Draws.of_model(PHENYTOIN, np.array([[20.0, 4.0, 50.0, 0.9], [10.0, 4.0, 50.0, 0.9]]))
    assert np.isinf(draws.read(plan, 300.0, Trough())).tolist() == [False, True]
    enough = find_dose(draws, plan, Trough(), 12.0, probability=0.9, bounds=(0.0, 5000.0))
    assert enough.value == pytest.approx(24 * 20.0 * 12 / 16, rel=1e-5)
    safe = find_dose(draws, plan, Trough(), 12.0, probability=0.9, side="below", bounds=(0.0, 5000.0))
    assert safe.value == pytest.approx(24 * 10.0 * 12 / 16, rel=1e-5)


# ------------------------------------------------------------------------------------------------- posteriors


@pytest.fixture(scope="module")
def posterior() -> Draws:
    rng = np.random.default_rng(3)
    cl, weight = 5.0 * np.exp(0.3 * rng.normal(size=400)), rng.uniform(0.2, 1.0, 400)
    return Draws.of_model(TWO, two(cl, 30.0, 4.0, 50.0), weight)


def test_smallest_dose_that_is_enough_and_largest_that_is_not_too_much(posterior: Draws) -> None:
    # the area to the end is dose over clearance: exact quantiles of clearance
    plan, area = Plan(duration=1.0), Area(0.0, 2000.0, total="AUC")
    enough = find_dose(posterior, plan, area, 60.0, probability=0.89)
    safe = find_dose(posterior, plan, area, 60.0, probability=0.89, side="below")
    for found, side in ((enough, 1), (safe, -1)):
        assert found.probability >= 0.89 - 1e-9
        beyond = posterior.read(plan, found.value * (1 - side * 1e-4), area)
        chance = posterior.chance(beyond, "above" if side > 0 else "below", 60.0)
        assert chance < 0.89
    assert safe.value < 300.0 < enough.value
    assert enough.low < enough.mean < enough.high


def test_time_at_which_enough_draws_are_below(posterior: Draws) -> None:
    times = 2.0 + 0.1 * np.arange(900)
    most = first_time(posterior, Plan(), 1000.0, 2.0, times, probability=0.9)
    some = first_time(posterior, Plan(), 1000.0, 2.0, times, probability=0.1)
    assert some.value < first_time(posterior, Plan(), 1000.0, 2.0, times).value < most.value
    assert most.probability >= 0.9


def test_dose_most_likely_in_range_is_the_densest_overlap_of_the_draws_intervals(posterior: Draws) -> None:
    plan, area, target = Plan(), Area(0.0, 2000.0, total="AUC"), (40.0, 60.0)
    per_mg = posterior.read(plan, 1.0, area)
    # every draw is in range from 40 to 60 over its area per mg; the best dose is at one of these ends
    ends = target[0] / per_mg
    best = max(float(posterior.weight[(e * per_mg >= 40 - 1e-9) & (e * per_mg <= 60)].sum()) for e in ends)
    found = most_likely_dose(posterior, plan, area, target, bounds=(0.0, 1000.0))
    assert found.probability == pytest.approx(best, abs=0.01)
    assert found.probability <= best + 1e-9


def test_least_expected_squared_loss_has_a_formula(posterior: Draws) -> None:
    # E (d·a − 50)² is least at 50·E a / E a²
    plan, area = Plan(), Area(0.0, 2000.0, total="AUC")
    a = posterior.read(plan, 1.0, area)
    found = best_dose(posterior, plan, area, lambda x: (x - 50.0) ** 2, bounds=(0.0, 1000.0))
    exact = 50 * posterior.mean(a) / posterior.mean(a * a)
    assert found.value == pytest.approx(exact, rel=1e-3)


def test_a_grid_shows_the_neighbours(posterior: Draws) -> None:
    plan, area = Plan(), Area(0.0, 2000.0, total="AUC")
    snap = Snap(DoseGrid("mg", 50.0, 1000.0), (40.0, 60.0), 80.0)
    found = find_dose(posterior, plan, area, 50.0, snap=snap)
    low, high = found.options
    assert (low.dose, high.dose) == (50 * (found.value // 50), 50 * (found.value // 50) + 50)
    assert low.mean < 50.0 < high.mean and low.harm < high.harm
    values = posterior.read(plan, high.dose, area)
    assert high.in_target == pytest.approx(posterior.weight[(values >= 40) & (values <= 60)].sum())
    best = most_likely_dose(posterior, plan, area, (40.0, 60.0), bounds=(0.0, 1000.0), snap=snap)
    assert best.value % 50 == 0 and len(best.options) == 3
    assert best.probability == max(option.in_target for option in best.options)


def test_bad_questions_are_refused() -> None:
    patient = Draws.of_model(TWO, two(5.0, 30.0, 4.0, 50.0))
    with pytest.raises(ValueError, match="probability = 1.5"):
        find_dose(patient, Plan(), Level(3.0), 1.0, probability=1.5)
    with pytest.raises(ValueError, match="window 8 to 3"):
        find_dose(patient, Plan(), Area(8.0, 3.0), 1.0)
    with pytest.raises(ValueError, match="interval = nan between repeated doses"):
        find_dose(patient, Plan(count=3), Trough(), 1.0)
    with pytest.raises(ValueError, match="weights of shape"):
        Draws(patient.levels, np.array([0.5, 0.2]))
