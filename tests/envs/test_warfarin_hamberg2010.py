"""The warfarin model against models.md 1.1 and 1.3, shared trajectories, and an independent integrator."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numba import njit
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from dosewright.envs.pharmacology import Events, Kind, PopulationModel, follow, simulate
from dosewright.envs.pharmacology.models import warfarin_hamberg2010 as module
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL, SOLVER, maintenance_dose, typical

Floats = NDArray[np.float64]

# models.md 1.1, typed here a second time
CLEARANCE = {"*1": 0.174, "*2": 0.0879, "*3": 0.0422}
EC50 = {"G": 2.05, "A": 0.96}
FILES = ("warfarin_hamberg2010", "warfarin_hamberg2010_multipliers", "warfarin_hamberg2010_poor")
COLUMNS = {"Cs_mg_L": "Cs", "A3": "X3", "B3": "Y3", "INR": "INR"}
# factors on CL, V and EC50
CLINICAL = ((0.25, 2.5), (0.5, 2.0), (0.3, 4.0))
EXTREME = ((0.2, 6.0), (0.5, 2.0), (0.1, 5.0))
CL, V, KA, ECC, GAMMA, KTR1, KTR2, BASE = range(8)
RHS: Any = njit(MODEL.rhs)


def person(cyp2c9: str, vkorc1: str, age: float, base: float = 1.0) -> Floats:
    """(8,) parameters of a person without random effects."""
    clearance = sum(CLEARANCE[allele] for allele in cyp2c9.split("/"))
    ec50 = sum(EC50[allele] for allele in vkorc1)
    return typical({"age_y": age, "baseline": base}, {"cl_s_l_h": clearance, "ec50_mg_l": ec50})[0]


def trajectory(path: Path) -> tuple[dict[str, Any], list[str], Floats]:
    """Header, column names and data of a reference trajectory."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = [line[2:].partition(": ") for line in lines if line.startswith("# ")]
    rows = list(csv.reader(line for line in lines if not line.startswith("#")))
    return {key: value for key, _, value in head}, rows[0], np.array(rows[1:], dtype=np.float64)


def from_inputs(inputs: dict[str, Any]) -> Floats:
    theta = person(inputs["CYP2C9"], inputs["VKORC1"], inputs["age_y"], inputs["INR_base"])
    theta[[CL, V, ECC]] *= [inputs["cl_mult"], inputs["v_mult"], inputs["ec_mult"]]
    return theta


@pytest.mark.parametrize("name", FILES)
def test_reference_trajectory_is_met_within_1e_6_of_the_column_maximum(shared: Path, name: str) -> None:
    header, columns, data = trajectory(shared / "reference" / "trajectories" / f"{name}.csv")
    inputs = json.loads(header["inputs"])
    doses = [tuple(dose) for dose in inputs["racemic_doses_h_mg"]]
    got = simulate(MODEL, from_inputs(inputs), doses, data[:, 0], [COLUMNS[name] for name in columns[1:]])[0]
    allowed = np.maximum(1e-6 * np.abs(data[:, 1:]).max(axis=0), 1e-9)
    assert np.all(np.abs(got - data[:, 1:]).max(axis=0) <= allowed)


@pytest.mark.parametrize("name", FILES)
def test_derived_parameters_are_those_of_the_reference_header(shared: Path, name: str) -> None:
    header, _, _ = trajectory(shared / "reference" / "trajectories" / f"{name}.csv")
    derived = json.loads(header["derived"])
    keys = ("CL_S_L_h", "V_L", "ka_1_h", "EC50_mg_L", "gamma", "ktr1_1_h", "ktr2_1_h", "INR_base")
    np.testing.assert_allclose(
        from_inputs(json.loads(header["inputs"])), [derived[k] for k in keys], rtol=1e-15
    )
    assert MODEL.routes[0].fraction == derived["S_fraction"]
    assert module.INR_MAX.value == derived["INR_max_increment"]


# ----------------------------------------------------------------------------------- the equations themselves


def written_out(state: Floats, theta: Floats) -> Floats:
    """Right-hand side as models.md 1.1 prints it."""
    a0, a1, x1, x2, x3, y1, y2, y3 = state
    cl, v, ka, ec50, gamma, k1, k2, _ = theta
    c = a1 / v
    e = c**gamma / (ec50**gamma + c**gamma)
    return np.array(
        [-ka * a0, ka * a0 - cl / v * a1]
        + [k1 * (1 - e - x1), k1 * (x1 - x2), k1 * (x2 - x3)]
        + [k2 * (1 - e - y1), k2 * (y1 - y2), k2 * (y2 - y3)]
    )


def random_theta(rng: np.random.Generator, ranges: Any) -> Floats:
    diplotypes, genotypes = ["*1/*1", "*1/*2", "*2/*3", "*3/*3"], ["GG", "GA", "AA"]
    theta = person(rng.choice(diplotypes), rng.choice(genotypes), rng.uniform(20, 95), rng.uniform(0.8, 1.3))
    theta[[CL, V, ECC]] *= [np.exp(rng.uniform(np.log(low), np.log(high))) for low, high in ranges]
    return theta


def test_right_hand_side_is_the_printed_one() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        theta, state = random_theta(rng, EXTREME), rng.uniform(0, 1, 8) * np.array([7, 40, 1, 1, 1, 1, 1, 1])
        np.testing.assert_allclose(RHS(0.0, state, theta), written_out(state, theta), rtol=1e-13, atol=1e-15)


def integrated(theta: Floats, doses: list[tuple[float, float]], times: Floats) -> Floats:
    """(m, 8) states by SciPy's DOP853, stopping at every dose and sample; values before a dose."""
    state, now, out = MODEL.initial(theta[None])[0], 0.0, []
    stops = sorted({*(t for t, _ in doses), *times.tolist()})
    for stop in stops:
        if stop > now:
            state = solve_ivp(RHS, (now, stop), state, "DOP853", args=(theta,), rtol=1e-12, atol=1e-14).y[
                :, -1
            ]
            now = stop
        out += [state.copy()] * int(np.sum(times == stop))
        state[0] += 0.5 * sum(amount for t, amount in doses if t == stop)
    return np.array(out)


@pytest.mark.parametrize("seed", range(10))
def test_any_schedule_agrees_with_an_adaptive_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = random_theta(rng, EXTREME)
    clock = np.concatenate([day * 24 + np.sort(rng.uniform(0, 24, rng.integers(0, 4))) for day in range(20)])
    doses = [
        (float(t), float(rng.uniform(0.5, 15))) for t in clock
    ]  # days without, with one, with several doses
    doses = doses[:1] + doses  # two tablets at once
    times = np.sort(np.concatenate([rng.uniform(0, 600, 25), clock[:2], [0.0]]))
    state = integrated(theta, doses, times)
    inr = theta[BASE] + 20 * (1 - (state[:, 4] + state[:, 7]) / 2)
    expected = np.column_stack([inr, state[:, 1] / theta[V], state[:, 4], state[:, 7]])
    got = simulate(MODEL, theta, doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


# --------------------------------------------------------------------------------------------- steady state


def test_steady_state_of_5_mg_is_2_314() -> None:
    # models.md 1.1: *1/*1, GA, 71 years, 5 mg/day, average concentration
    theta = person("*1/*1", "GA", 71)
    concentration = 5 / 2 / 24 / 0.348
    inr = 1 + 20 * concentration**1.15 / (3.01**1.15 + concentration**1.15)
    assert inr == pytest.approx(2.314, abs=5e-4)
    assert maintenance_dose(theta, inr) == pytest.approx(5, rel=1e-12)


def test_hourly_doses_reach_the_closed_form_steady_state() -> None:
    theta, hours = person("*1/*1", "GA", 71), np.arange(0, 90 * 24)
    inr = simulate(MODEL, theta, [(float(h), 5 / 24) for h in hours], [90 * 24.0], ["INR"])[0, 0, 0]
    # a dose at the start of each hour instead of a constant rate moves the mean of a concave effect by 1e-5
    assert inr == pytest.approx(2.3144, abs=1e-3)
    assert maintenance_dose(theta, inr) == pytest.approx(5, rel=1e-3)


def test_day_28_trough_and_peak_of_5_mg() -> None:
    # models.md 1.1: simulated day-28 trough 2.3181, peak 2.3199 (of the reference file's values, every 6 h)
    times, doses = np.arange(27 * 24, 28 * 24 + 1, 6.0), [(24.0 * d, 5.0) for d in range(28)]
    inr = simulate(MODEL, person("*1/*1", "GA", 71), doses, times, ["INR"])[0, :, 0]
    assert inr[-1] == pytest.approx(2.3181, abs=5e-5)
    assert inr.max() == pytest.approx(2.3199, abs=5e-5)


# models.md 1.3, "Hamberg 2010 GG / GA / AA": 65 years, target 2.5 from BASE 1.0, mg/day
DIPLOTYPES = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
MAINTENANCE = {
    "GG": (7.97, 6.00, 4.95, 4.03, 2.98, 1.93),
    "GA": (5.85, 4.40, 3.64, 2.96, 2.19, 1.42),
    "AA": (3.73, 2.81, 2.32, 1.89, 1.40, 0.91),
}


@pytest.mark.parametrize("vkorc1", MAINTENANCE)
def test_maintenance_doses_are_those_of_the_reference_table(vkorc1: str) -> None:
    for diplotype, printed in zip(DIPLOTYPES, MAINTENANCE[vkorc1], strict=True):
        assert round(float(maintenance_dose(person(diplotype, vkorc1, 65), 2.5)), 2) == printed


def test_no_drug_is_needed_where_the_baseline_is_on_target() -> None:
    assert maintenance_dose(person("*1/*1", "GA", 65, base=2.6), 2.5) == 0


def test_clearance_falls_with_age_by_0_571_percent_a_year() -> None:
    old, young = person("*1/*1", "GG", 81)[CL], person("*1/*1", "GG", 61)[CL]
    assert old < 0.348 < young
    assert old == pytest.approx(0.348 * (1 - 0.0571), rel=1e-12)


# ------------------------------------------------------------------------------------------------ invariants


def test_kinetics_superpose() -> None:
    theta, times = person("*1/*2", "GA", 60), np.linspace(0, 200, 101)
    first, second = [(0.0, 5.0), (30.5, 2.0)], [(12.25, 7.5), (24.0, 1.0), (100.0, 3.0)]
    apart = sum(simulate(MODEL, theta, doses, times, ["Cs"]) for doses in (first, second))
    np.testing.assert_allclose(
        simulate(MODEL, theta, sorted(first + second), times, ["Cs"]), apart, rtol=1e-12, atol=1e-15
    )


def run_states(theta: Floats, bolus: list[float], hours: list[float]) -> tuple[Floats, Floats]:
    """State (8,) after segments, and concentration at the end of each."""
    state, ends = MODEL.initial(theta[None]), np.cumsum(hours)
    time = np.column_stack([ends - np.array(hours), ends]).reshape(1, -1)
    code = np.tile(np.array([Kind.BOLUS, Kind.READ], dtype=np.int8), (1, len(hours)))
    value = np.column_stack([bolus, np.arange(len(hours))]).reshape(1, -1)
    events = Events(time, code, value, np.array([2 * len(hours)]))
    out = follow(MODEL, state, theta[None, None], events, np.array([MODEL.output("Cs")]), len(hours))
    return state[0], out[0, :, 0]


def test_drug_taken_is_in_the_body_or_eliminated() -> None:
    theta, step = person("*1/*1", "GA", 71), 0.02
    n = round(72 / step)
    state, conc = run_states(theta, [5.0 if i == 0 else 0.0 for i in range(n)], [step] * n)
    conc = np.concatenate([[0.0], conc])
    # Simpson's rule on 0.02 h: error of order 1e-9
    area = step / 3 * (conc[0] + conc[-1] + 4 * conc[1:-1:2].sum() + 2 * conc[2:-1:2].sum())
    assert state[0] + state[1] + theta[CL] * area == pytest.approx(2.5, rel=1e-8)
    assert theta[CL] * area > 1.5  # most of it is eliminated by then, so the balance is no tautology


@pytest.mark.parametrize(("earliest", "allowed"), [(100.5, 1e-8), (124.5, 1e-11)])
def test_splitting_an_interval_changes_nothing(earliest: float, allowed: float) -> None:
    # the day of the last dose is quadrature, anew at every split; later intervals are smooth to rounding
    rng = np.random.default_rng(5)
    end, doses = np.array([240.0]), [(0.0, 10.0), (24.0, 5.0), (72.0, 5.0), (100.5, 3.0)]
    for theta in (person("*1/*1", "GA", 71), person("*3/*3", "AA", 90)):
        whole = simulate(MODEL, theta, doses, end)[0, -1]
        split = simulate(MODEL, theta, doses, np.sort(np.append(rng.uniform(earliest, 240, 60), 240.0)))[
            0, -1
        ]
        np.testing.assert_allclose(split, whole, rtol=allowed)
        np.testing.assert_allclose(split[1], whole[1], rtol=1e-13)  # the kinetics are exact


# --------------------------------------------------------------------------------------------------- accuracy


def error(model: PopulationModel, rule: str, ranges: Any, n: int = 200) -> float:
    """Largest error of INR over n patients and 30 days, as a share of the patient's highest INR."""
    rng, days = np.random.default_rng(8), np.arange(31)
    theta = np.array([random_theta(rng, ranges) for _ in range(n)])
    doses = [(24.0 * d, 5.0 + d % 3) for d in days[:-1]]
    fine = replace(MODEL, solver=replace(SOLVER, rules={"fine": module._rule(40, 40)}))
    exact = simulate(fine, theta, doses, days * 24.0, ["INR"], "fine")[..., 0]
    got = simulate(model, theta, doses, days * 24.0, ["INR"], rule)[..., 0]
    return float((np.abs(got - exact).max(axis=1) / exact.max(axis=1)).max())


def test_exact_rule_is_within_1e_6_for_patients() -> None:
    assert error(MODEL, "exact", CLINICAL) <= 1e-6


def test_exact_rule_is_within_1e_6_for_extreme_parameters() -> None:
    assert error(MODEL, "exact", EXTREME) <= 1e-6


def test_belief_rule_is_within_3e_4_of_exact_and_no_copy_of_it() -> None:
    assert 1e-6 < error(MODEL, "belief", CLINICAL) <= 3e-4


def test_quadrature_converges_with_the_number_of_nodes() -> None:
    nodes = ((2, 2), (4, 3), (6, 5), (8, 6), (12, 10), (20, 16))
    model = replace(MODEL, solver=replace(SOLVER, rules={str(n): module._rule(*n) for n in nodes}))
    errors = [error(model, str(n), EXTREME) for n in nodes]
    assert all(finer < coarser / 3 for coarser, finer in zip(errors, errors[1:], strict=False))
    assert errors[-1] < 1e-9
