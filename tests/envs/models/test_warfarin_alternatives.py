"""Warfarin, Hamberg 2007 and Xia 2024, against models.md 1.1 and 1.2, trajectories, and an independent
integrator."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.models import warfarin_hamberg2007 as hamberg2007
from dosewright.envs.pharmacology.models import warfarin_xia2024 as xia2024

Floats = NDArray[np.float64]

TRAJECTORIES = Path(__file__).resolve().parents[4] / "shared" / "reference" / "trajectories"

# models.md 1.2, typed here a second time
REDUCTION = {"*1/*1": 0, "*1/*2": 0.315, "*1/*3": 0.453, "*2/*2": 0.722, "*2/*3": 0.690, "*3/*3": 0.852}
EC50 = {"GG": 4.61, "GA": 3.02, "AA": 2.20}
CL, V1, Q, V2, KA, ECC, GAMMA, MTT1, MTT2, LAMBDA, BASE = range(11)


def effects_of(model: PopulationModel, cyp2c9: str, vkorc1: str) -> dict[str, Floats]:
    genotypes = {"CYP2C9": np.array([cyp2c9]), "VKORC1": np.array([vkorc1])}
    return genotype_effects(model.genotype_terms, genotypes)[0]


def person(cyp2c9: str, vkorc1: str, age: float, base: float = 1.0) -> Floats:
    """(11,) parameters of Hamberg 2007 without random effects."""
    known = {"age_y": age, "baseline": base}
    return hamberg2007.typical(known, effects_of(hamberg2007.MODEL, cyp2c9, vkorc1))[0]


def han(
    cyp2c9: str = "*1/*1",
    vkorc1: str = "AA",
    age: float = 55,
    weight: float = 60,
    amiodarone: float = 0,
    base: float = 1.13,
) -> Floats:
    """(8,) parameters of Xia 2024 without random effects."""
    known = {"age_y": age, "weight_kg": weight, "amiodarone": amiodarone, "baseline": base}
    return xia2024.typical(known, effects_of(xia2024.MODEL, cyp2c9, vkorc1))[0]


@pytest.mark.parametrize("path", sorted(TRAJECTORIES.glob("warfarin_hamberg2007*.csv")), ids=lambda p: p.stem)
def test_reference_trajectory_is_met_within_1e_6_of_the_column_maximum(shared: Path, path: Path) -> None:
    worst, where = compare(read(path), CASES["warfarin_hamberg2007"])
    assert worst <= 1e-6, where


# ----------------------------------------------------------------------------------- the equations themselves


def hamberg2007_written_out(t: float, state: Floats, theta: Floats) -> Floats:
    """Right-hand side as models.md 1.2 prints it, both readings of MTT1."""
    cl, v1, q, v2, ka, ec50, gamma, mtt1, mtt2, _, _ = theta
    a0, a1, a2 = state[:3]
    c = max(a1, 0.0) / v1
    e = c**gamma / (ec50**gamma + c**gamma)
    slope = [-ka * a0, ka * a0 - cl / v1 * a1 - q / v1 * a1 + q / v2 * a2, q / v1 * a1 - q / v2 * a2]
    for x, rate in ((state[3:9], 6 / mtt1), (state[9:15], 1 / mtt1), (state[15:], 1 / mtt2)):
        slope += [rate * (before - after) for before, after in zip([1 - e, *x[:-1]], x, strict=True)]
    return np.array(slope)


def xia2024_written_out(t: float, state: Floats, theta: Floats) -> Floats:
    """Right-hand side as models.md 1.1 prints it."""
    a0, a1, x1, x2, x3, y1, y2, y3 = state
    cl, v, ka, ec50, gamma, k1, k2, _ = theta
    c = max(a1, 0.0) / v
    e = c**gamma / (ec50**gamma + c**gamma)
    return np.array(
        [-ka * a0, ka * a0 - cl / v * a1]
        + [k1 * (1 - e - x1), k1 * (x1 - x2), k1 * (x2 - x3)]
        + [k2 * (1 - e - y1), k2 * (y1 - y2), k2 * (y2 - y3)]
    )


def integrated(
    slope: Callable[..., Floats],
    start: Floats,
    theta: Floats,
    doses: list[tuple[float, float]],
    times: Floats,
) -> Floats:
    """(m, s) states by SciPy's DOP853, stopping at every dose (of what enters) and sample; values before a
    dose."""
    state, now, out = start.copy(), 0.0, []
    for stop in sorted({*(t for t, _ in doses), *times.tolist()}):
        if stop > now:
            done = solve_ivp(slope, (now, stop), state, "DOP853", args=(theta,), rtol=1e-11, atol=1e-14)
            state, now = done.y[:, -1], stop
        out += [state.copy()] * int(np.sum(times == stop))
        state[0] += sum(amount for t, amount in doses if t == stop)
    return np.array(out)


def course(rng: np.random.Generator) -> tuple[list[tuple[float, float]], Floats]:
    """Doses (mg as prescribed) of ten days with none to three doses each, two tablets at once, and sampling
    times."""
    clock = np.concatenate([day * 24 + np.sort(rng.uniform(0, 24, rng.integers(0, 4))) for day in range(10)])
    doses = [(float(t), float(rng.uniform(0.5, 15))) for t in clock]
    return doses[:1] + doses, np.sort(np.concatenate([rng.uniform(0, 300, 20), clock[:2], [0.0]]))


def column_errors(got: Floats, expected: Floats) -> Floats:
    return np.abs(got - expected).max(axis=0) / np.abs(expected).max(axis=0)


@pytest.mark.parametrize("seed", range(4))
def test_hamberg2007_agrees_with_an_adaptive_integrator_on_any_schedule(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = person(
        rng.choice(list(REDUCTION)), rng.choice(list(EC50)), rng.uniform(22, 87), rng.uniform(0.8, 1.3)
    )
    vary = [CL, V1, V2, ECC, MTT1, MTT2]
    theta[vary] *= np.exp(rng.normal(0, [0.4, 0.3, 0.8, 0.5, 0.3, 0.8]))
    doses, times = course(rng)
    entering = [(t, amount / 2) for t, amount in doses]
    start = np.array([0.0] * 3 + [1.0] * 13)
    state = integrated(hamberg2007_written_out, start, theta, entering, times)

    def inr(x6: Floats, y1: Floats) -> Floats:
        return theta[BASE] + 20 * np.maximum(1 - x6 * y1, 0) ** theta[LAMBDA]

    cs, total, each, y1 = state[:, 1] / theta[V1], state[:, 8], state[:, 14], state[:, 15]
    expected = np.column_stack([inr(total, y1), inr(each, y1), cs, total, each, y1])
    got = simulate(hamberg2007.MODEL, theta, doses, times)[0]
    assert np.all(column_errors(got, expected) <= 1e-6)
    for reading, columns in (("total", [0, 2, 3, 5]), ("per_compartment", [1, 2, 4, 5])):
        one = simulate(hamberg2007.model(reading), theta, doses, times)[0]  # pyright: ignore[reportArgumentType]
        assert np.all(column_errors(one, expected[:, columns]) <= 1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_xia2024_agrees_with_an_adaptive_integrator_on_any_schedule(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    theta = han(
        rng.choice(["*1/*1", "*1/*3", "*3/*3"]), rng.choice(["GG", "GA", "AA"]), rng.uniform(20, 82),
        rng.uniform(40, 106), float(seed % 2),
    )  # fmt: skip
    theta[3] *= np.exp(rng.normal(0, 0.5))
    doses, times = course(rng)
    state = integrated(xia2024_written_out, np.array([0.0, 0, 1, 1, 1, 1, 1, 1]), theta, doses, times)
    inr = theta[7] + 20 * (1 - (state[:, 4] + state[:, 7]) / 2)
    expected = np.column_stack([inr, state[:, 1] / theta[1], state[:, 4], state[:, 7]])
    assert np.all(column_errors(simulate(xia2024.MODEL, theta, doses, times)[0], expected) <= 1e-6)


def test_an_unknown_reading_of_mtt1_is_refused() -> None:
    wrong: Any = "whole"
    with pytest.raises(ValueError, match="'whole'; known: total, per_compartment"):
        hamberg2007.model(wrong)


# ----------------------------------------------------------------------------------------------- Hamberg 2007


def test_hamberg2007_typical_person_has_the_printed_values() -> None:
    expected = [0.314, 13.8, 0.131, 6.59, 2.0, 3.02, 0.424, 11.6, 120.0, 3.61, 1.0]
    np.testing.assert_allclose(person("*1/*1", "GA", 71), expected, rtol=1e-15)


def test_hamberg2007_clearance_falls_with_age_by_0_91_percent_a_year() -> None:
    assert person("*1/*1", "GG", 81)[CL] == pytest.approx(0.314 * (1 - 0.091), rel=1e-12)
    assert person("*1/*1", "GG", 61)[CL] == pytest.approx(0.314 * (1 + 0.091), rel=1e-12)


@pytest.mark.parametrize("diplotype", REDUCTION)
def test_hamberg2007_cyp2c9_takes_the_printed_share_of_clearance_away(diplotype: str) -> None:
    assert effects_of(hamberg2007.MODEL, diplotype, "GG")["cl_reduction"] == REDUCTION[diplotype]
    assert person(diplotype, "GG", 71)[CL] == pytest.approx(0.314 * (1 - REDUCTION[diplotype]), rel=1e-12)


def test_hamberg2007_reads_other_alleles_by_their_function() -> None:
    # models.md 1.1: no function as *3, decreased as *2, normal as *1
    assert person("*1/*6", "GG", 71)[CL] == person("*1/*3", "GG", 71)[CL]
    assert person("*5/*2", "GG", 71)[CL] == person("*2/*2", "GG", 71)[CL]
    assert person("*1/*9", "GG", 71)[CL] == person("*1/*1", "GG", 71)[CL]


@pytest.mark.parametrize("genotype", EC50)
def test_hamberg2007_vkorc1_has_the_printed_ec50(genotype: str) -> None:
    assert person("*1/*1", genotype, 71)[ECC] == EC50[genotype]


def test_hamberg2007_random_effects_have_the_printed_coefficients_of_variation() -> None:
    cv = {"CL": 0.310, "V1": 0.262, "V2": 0.991, "MTT1": 0.141, "MTT2": 1.02, "EC50": 0.409}
    model = hamberg2007.MODEL
    assert {model.parameters[i].name for i in model.random_effects} == set(cv)
    variances = {
        model.parameters[i].name: v for i, v in zip(model.random_effects, np.diag(model.omega), strict=True)
    }
    for name, value in cv.items():
        assert np.sqrt(np.expm1(variances[name])) == pytest.approx(value, rel=1e-12)
    assert np.count_nonzero(model.omega) == 6  # the covariance of CL and V1 is not reported


def test_hamberg2007_steady_state_of_4_2_mg_is_2_24() -> None:
    # models.md 1.2: 4.2 mg/day, GA; the median of the cohort was 2.28
    theta = person("*1/*1", "GA", 71)
    concentration = 4.2 / 2 / 24 / 0.314
    effect = concentration**0.424 / (3.02**0.424 + concentration**0.424)
    inr = 1 + 20 * (1 - (1 - effect) ** 2) ** 3.61
    assert inr == pytest.approx(2.24, abs=5e-3)
    assert hamberg2007.maintenance_dose(theta, inr) == pytest.approx(4.2, rel=1e-12)


@pytest.mark.parametrize("model", [hamberg2007.TOTAL, hamberg2007.PER_COMPARTMENT], ids=lambda m: m.name)
def test_hamberg2007_has_one_steady_state_under_either_reading(model: PopulationModel) -> None:
    theta, dose = person("*1/*1", "GA", 71), (0.0, 4.2 / 24)
    state = steady_state(model, theta, [dose], 1.0)
    inr = simulate(model, theta, [dose], [0.0], ["INR"], initial=state)[0, 0, 0]
    # hourly doses come close to the average concentration of the closed form
    assert inr == pytest.approx(2.24, abs=5e-3)


def test_hamberg2007_per_compartment_rises_later() -> None:
    times = np.array([24.0, 48.0, 96.0])
    inr = simulate(hamberg2007.MODEL, person("*1/*1", "GA", 71), [(0.0, 10.0)], times)[0]
    assert np.all(inr[:2, 0] > inr[:2, 1] + 0.01)


def test_residual_errors_are_the_printed_ones() -> None:
    # models.md 1.2 (S-warfarin in steady state) and 1.1, variant
    for model in (hamberg2007.TOTAL, hamberg2007.PER_COMPARTMENT, hamberg2007.MODEL):
        errors = {item.name.split("_")[0]: item.error.log_sd for item in model.outputs}
        assert (errors["INR"], errors["Cs"]) == (0.0325, 0.301)
    assert xia2024.MODEL.outputs[0].error.proportional == 0.365


@pytest.mark.parametrize("module", [hamberg2007, xia2024], ids=lambda m: m.MODEL.name)
def test_no_drug_leaves_the_baseline_and_none_is_needed_there(module: Any) -> None:
    theta = person("*1/*1", "GA", 60, base=1.2) if module is hamberg2007 else han(base=1.2)
    inr = simulate(module.MODEL, theta, [], np.arange(0, 240, 24.0))[0, :, 0]
    np.testing.assert_allclose(inr, 1.2, rtol=1e-12)
    assert module.maintenance_dose(theta, 1.1) == 0


# --------------------------------------------------------------------------------------------------- Xia 2024


def test_xia2024_typical_person_has_the_printed_values() -> None:
    expected = [0.348, 14.3, 2.0, 2 * 1.14, 1.39, 3 / 27.2, 3 / 110.9, 1.13]
    np.testing.assert_allclose(han(age=71), expected, rtol=1e-15)


@pytest.mark.parametrize(("genotype", "ec50"), [("GG", 8.6), ("GA", 5.44), ("AA", 2.28)])
def test_xia2024_ec50_is_the_sum_of_both_alleles(genotype: str, ec50: float) -> None:
    assert han(vkorc1=genotype)[3] == pytest.approx(ec50, rel=1e-12)


@pytest.mark.parametrize(("diplotype", "clearance"), [("*1/*1", 0.348), ("*1/*3", 0.2162), ("*3/*3", 0.0844)])
def test_xia2024_clearance_is_that_of_hamberg2010(diplotype: str, clearance: float) -> None:
    assert han(diplotype, age=71)[0] == pytest.approx(clearance, rel=1e-12)
    assert han(diplotype, age=81)[0] == pytest.approx(clearance * (1 - 0.0571), rel=1e-12)


def test_xia2024_weight_raises_and_amiodarone_lowers_ec50() -> None:
    assert han(weight=80)[3] == pytest.approx(2.28 * (4 / 3) ** 1.34, rel=1e-12)
    assert han(weight=40)[3] < 2.28 < han(weight=80)[3]
    assert han(amiodarone=1)[3] == pytest.approx(2.28 * 0.398, rel=1e-12)


def test_xia2024_has_variability_in_ec50_only() -> None:
    model = xia2024.MODEL
    assert [model.parameters[i].name for i in model.random_effects] == ["EC50"]
    assert np.sqrt(np.expm1(model.omega[0, 0])) == pytest.approx(0.558, rel=1e-12)


# Doses (mg/day) for INR 2, 2.5 and 3 in the paper's supplement 1.6, as nlmixr2lib's article on the model
# quotes them: *1/*1, AA, no amiodarone, 60 kg, 55 years unless said
SUPPLEMENT: list[tuple[dict[str, Any], tuple[float, ...]]] = [
    ({}, (2.5, 3.5, 4.625)),
    ({"weight": 80.0}, (3.5, 5.125, 6.625)),
    ({"weight": 40.0}, (1.5, 2.125, 2.875)),
    ({"age": 70.0}, (2.25, 3.25, 4.25)),
    ({"age": 40.0}, (2.625, 3.75, 5.0)),
]


@pytest.mark.parametrize(("who", "printed"), SUPPLEMENT, ids=str)
def test_xia2024_needs_the_doses_of_its_supplement_with_the_whole_dose(
    who: dict[str, Any], printed: tuple[float, ...]
) -> None:
    # with half of the dose entering, as in Hamberg 2010, these would be 1.6 to 1.9
    needed = [float(xia2024.maintenance_dose(han(**who), target)) for target in (2.0, 2.5, 3.0)]
    ratio = np.array(needed) / printed
    assert np.all((ratio > 0.8) & (ratio < 1.0))


def test_xia2024_hourly_doses_reach_the_closed_form_steady_state() -> None:
    theta = han()
    dose = float(xia2024.maintenance_dose(theta, 2.5))
    doses = [(float(h), dose / 24) for h in range(90 * 24)]
    inr = simulate(xia2024.MODEL, theta, doses, [90 * 24.0], ["INR"])[0, 0, 0]
    assert inr == pytest.approx(2.5, abs=2e-3)
