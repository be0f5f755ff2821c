"""Tacrolimus, Andrews 2019 (final and starting-dose model) and Woillard 2011, against models.md 2.1 to 2.3,
trajectories, and an independent integrator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import GenotypeTerm, PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.models import tacrolimus_andrews2019 as andrews2019
from dosewright.envs.pharmacology.models import tacrolimus_woillard2011 as woillard2011

Floats = NDArray[np.float64]

TRAJECTORIES = Path(__file__).resolve().parents[4] / "shared" / "reference" / "trajectories"
FINAL, START, WOILLARD = andrews2019.MODEL, andrews2019.START, woillard2011.MODEL

REFERENCE = {
    model.name: {covariate.name: covariate.reference for covariate in model.covariates}
    for model in (FINAL, START, WOILLARD)
}


def person(model: PopulationModel, expresser: float = 0, star22: float = 0, **known: float) -> Floats:
    """(p,) parameters without random effects, of the reference person but for `known`."""
    effects = {"cyp3a5_expresser": expresser, "cyp3a4_star22": star22}
    return model.typical(REFERENCE[model.name] | known, effects)[0]


@pytest.mark.parametrize("path", sorted(TRAJECTORIES.glob("tacrolimus_*.csv")), ids=lambda p: p.stem)
def test_reference_trajectory_is_met_within_1e_6_of_the_column_maximum(shared: Path, path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


# ---------------------------------------------------------------------- typical values, models.md 2.1, 2.2


def test_reference_persons_have_the_printed_values() -> None:
    np.testing.assert_allclose(person(FINAL), [23.0, 692, 11.6, 5340, 3.58, 0.38], rtol=1e-15)
    np.testing.assert_allclose(person(START), [22.5, 685, 10.6, 6590, 3.70, 0.39], rtol=1e-15)
    np.testing.assert_allclose(person(WOILLARD, prograf=0), [21.2, 486, 79, 271, 3.34], rtol=1e-15)


@pytest.mark.parametrize(
    ("model", "name", "value", "column", "factor"),
    [
        (FINAL, "age_y", 30.0, "CL", (30 / 55.72) ** -0.43),
        (FINAL, "bsa_m2", 1.5, "CL", (1.5 / 1.93) ** 0.88),
        (FINAL, "albumin_g_l", 30.0, "CL", (30 / 42) ** 0.43),
        (FINAL, "creatinine_umol_l", 300.0, "CL", (300 / 134.98) ** -0.14),
        (FINAL, "haematocrit", 0.25, "CL", (0.25 / 0.34) ** -0.76),
        (FINAL, "lean_mass_kg", 45.0, "V1", (45 / 58.94) ** 1.52),
        (START, "age_y", 30.0, "CL", (30 / 55.72) ** -0.50),
        (START, "bsa_m2", 1.5, "CL", (1.5 / 1.93) ** 0.72),
        (WOILLARD, "haematocrit", 0.25, "CL", (25 / 35) ** -1.14),
        (WOILLARD, "prograf", 0.0, "Vc", 1 / 0.29),
        (WOILLARD, "prograf", 0.0, "ktr", 1 / 1.53),
    ],
)
def test_covariates_act_as_printed(
    model: PopulationModel, name: str, value: float, column: str, factor: float
) -> None:
    i = model.column(column)
    ratio = person(model, **{name: value}) / person(model)
    assert ratio[i] == pytest.approx(factor, rel=1e-12)
    if name != "prograf":  # the only one that acts on two parameters
        assert np.all(np.delete(ratio, i) == 1)


@pytest.mark.parametrize(
    ("model", "expresser", "star22"), [(FINAL, 1.631, 0.80), (START, 1.62, 0.814), (WOILLARD, 2.00, 1.0)],
    ids=lambda item: getattr(item, "name", str(item)),
)  # fmt: skip
def test_genotypes_act_on_clearance_as_printed(
    model: PopulationModel, expresser: float, star22: float
) -> None:
    wild = person(model)[0]
    assert person(model, expresser=1)[0] == pytest.approx(wild * expresser, rel=1e-12)
    assert person(model, star22=1)[0] == pytest.approx(wild * star22, rel=1e-12)
    assert person(model, 1, 1)[0] == pytest.approx(wild * expresser * star22, rel=1e-12)


def number(term: GenotypeTerm, diplotype: str) -> float:
    effects, _ = genotype_effects([term], {term.gene: np.array([diplotype])})
    return float(effects[term.effect][0])


@pytest.mark.parametrize(
    ("diplotype", "expresser"),
    # models.md 17: *6 and *7 as *3
    [("*1/*1", 1), ("*1/*3", 1), ("*3/*3", 0), ("*1/*6", 1), ("*3/*6", 0), ("*6/*7", 0)],
)
def test_carriers_of_cyp3a5_star1_are_expressers(diplotype: str, expresser: int) -> None:
    assert number(andrews2019.CYP3A5, diplotype) == expresser
    assert number(woillard2011.CYP3A5, diplotype) == expresser


@pytest.mark.parametrize(("diplotype", "carrier"), [("*1/*1", 0), ("*1/*22", 1), ("*22/*22", 1)])
def test_one_cyp3a4_star22_is_enough(diplotype: str, carrier: int) -> None:
    assert number(andrews2019.CYP3A4, diplotype) == carrier


def test_frequency_of_star22_gives_the_carriers_of_rotterdam() -> None:
    # models.md 2.1: 9.3 % carriers
    q = andrews2019.CYP3A4.frequencies["European"]["*22"]
    assert 1 - (1 - q) ** 2 == pytest.approx(0.093, abs=5e-5)


# models.md 2.1 and 2.2, coefficients of variation between subjects; between occasions on CL
VARIATION = [
    (FINAL, {"CL": 0.386, "V1": 0.492, "V2": 0.530, "Q": 0.787}, 0.136),
    (START, {"CL": 0.394, "V1": 0.540, "V2": 0.537, "Q": 0.796}, 0.146),
    (WOILLARD, {"ktr": 0.24, "CL": 0.28, "Vc": 0.31, "Q": 0.54, "Vp": 0.60}, 0.0),
]


@pytest.mark.parametrize(("model", "cv", "occasion"), VARIATION, ids=lambda item: getattr(item, "name", ""))
def test_variability_is_the_printed_one(
    model: PopulationModel, cv: dict[str, float], occasion: float
) -> None:
    got = {
        model.parameters[i].name: float(np.sqrt(np.expm1(variance)))
        for i, variance in zip(model.random_effects, np.diag(model.omega), strict=True)
    }
    assert got == pytest.approx(cv, rel=1e-12)
    assert np.count_nonzero(model.omega) == len(cv)
    between = {item.name: float(np.sqrt(np.expm1(item.occasion_variance))) for item in model.parameters}
    expected = dict.fromkeys(between, 0.0) | {"CL": occasion}
    assert between == pytest.approx(expected, rel=1e-12)


def test_residual_errors_are_the_printed_ones() -> None:
    # models.md 2.1, immunoassay, and 2.2
    errors = [model.outputs[0].error for model in (FINAL, START, WOILLARD)]
    assert [(e.proportional, e.additive) for e in errors] == [(0.177, 0.88), (0.169, 1.02), (0.113, 0.71)]


# ----------------------------------------------------------------------------------- the equations themselves


def andrews_written_out(t: float, state: Floats, theta: Floats) -> list[float]:
    """Right-hand side of models.md 2.1."""
    cl, v1, q, v2, ka, _ = theta
    a0, a1, a2, _ = state
    return [
        -ka * a0,
        ka * a0 - cl / v1 * a1 - q / v1 * a1 + q / v2 * a2,
        q / v1 * a1 - q / v2 * a2,
        1000 * a1 / v1,
    ]


def woillard_written_out(t: float, state: Floats, theta: Floats) -> list[float]:
    """Right-hand side of models.md 2.2."""
    cl, vc, q, vp, ktr = theta
    d1, d2, d3, a1, a2, _ = state
    return [
        -ktr * d1,
        ktr * d1 - ktr * d2,
        ktr * d2 - ktr * d3,
        ktr * d3 - cl / vc * a1 - q / vc * a1 + q / vp * a2,
        q / vc * a1 - q / vp * a2,
        1000 * a1 / vc,
    ]


def integrated(
    slope: Any, states: int, theta: Floats, doses: list[tuple[float, float]], times: Floats
) -> Floats:
    """(m, s) states by SciPy's DOP853, stopping at every dose (when it enters) and sample; values before a
    dose."""
    state, now, out = np.zeros(states), 0.0, []
    for stop in sorted({*(t for t, _ in doses), *times.tolist()}):
        if stop > now:
            done = solve_ivp(slope, (now, stop), state, "DOP853", args=(theta,), rtol=1e-11, atol=1e-13)
            state, now = done.y[:, -1], stop
        out += [state.copy()] * int(np.sum(times == stop))
        state[0] += sum(amount for t, amount in doses if t == stop)
    return np.array(out)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("model", [FINAL, START, WOILLARD], ids=lambda model: model.name)
def test_any_schedule_agrees_with_an_adaptive_integrator(model: PopulationModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = person(model, expresser=seed % 2)
    theta *= np.exp(rng.normal(0, 0.6, len(theta)))
    clock = np.sort(rng.uniform(0, 96, 9))
    doses = [(float(t), float(rng.uniform(0.5, 10))) for t in clock]
    doses = doses[:1] + doses  # two capsules at once
    times = np.sort(np.concatenate([rng.uniform(0, 120, 20), clock[:2], [0.0]]))
    lag = 0.0 if model is WOILLARD else theta[model.column("tlag")]
    entering = [(t + lag, amount) for t, amount in doses]
    slope, central = (woillard_written_out, 3) if model is WOILLARD else (andrews_written_out, 1)
    state = integrated(slope, len(model.states), theta, entering, times)
    expected = np.column_stack([1000 * state[:, central] / theta[1], state[:, -1]])
    got = simulate(model, theta, doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


# ------------------------------------------------------------------------- printed doses and concentrations


@pytest.mark.parametrize(("expresser", "dose", "trough"), [(0, 5.0, 11.20), (1, 8.0, 10.71)])
def test_trough_after_14_days_is_the_printed_one(expresser: int, dose: float, trough: float) -> None:
    # models.md 2.3
    doses = [(12.0 * i, dose) for i in range(28)]
    got = simulate(FINAL, person(FINAL, expresser), doses, [336.0], ["C"])[0, 0, 0]
    assert got == pytest.approx(trough, abs=5e-3)


def exposure(model: PopulationModel, theta: Floats, dose: float, every: float) -> float:
    """Area under the curve over one dosing interval in steady state."""
    begun = steady_state(model, theta, [(0.0, dose)], every)
    return float(simulate(model, theta, [(0.0, dose)], [every], ["AUC"], initial=begun)[0, 0, 0])


def test_starting_dose_of_the_paper_gives_an_area_of_222() -> None:
    # models.md 2.1: CL/F × 222 / 1000 mg every 12 h
    theta = person(START, expresser=1, age_y=63, bsa_m2=1.75)
    theta[START.column("tlag")] = 0.0  # an area from dose to dose
    assert exposure(START, theta, theta[0] * 0.222, 12.0) == pytest.approx(222, rel=1e-6)


@pytest.mark.parametrize(("prograf", "every"), [(1, 12.0), (0, 24.0)])
def test_woillard2011_maintenance_dose_gives_the_area_it_is_for(prograf: int, every: float) -> None:
    theta = person(WOILLARD, expresser=1, prograf=prograf, haematocrit=0.32)
    # models.md 2.3: the target of the first six weeks
    dose = float(woillard2011.maintenance_dose(theta, 210.0))
    assert dose == pytest.approx(2 * 21.2 * (32 / 35) ** -1.14 * 0.21, rel=1e-12)
    assert exposure(WOILLARD, theta, dose, every) == pytest.approx(210, rel=1e-9)


def test_prograf_peaks_earlier_and_higher() -> None:
    times = np.arange(0, 12, 0.1)
    prograf, advagraf = (
        simulate(WOILLARD, person(WOILLARD, prograf=kind), [(0.0, 5.0)], times, ["C"])[0, :, 0]
        for kind in (1, 0)
    )
    assert prograf.argmax() < advagraf.argmax()
    assert prograf.max() > 1.5 * advagraf.max()
