"""Propofol: Eleveld 2018 against models.md 10 and SciPy's integrator."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate
from dosewright.envs.pharmacology.models import propofol_eleveld2018 as eleveld
from dosewright.envs.pharmacology.models.propofol_eleveld2018 import MODEL, VENOUS

Floats = NDArray[np.float64]

V1, V2, V3, CL, Q2, Q3, KE0, CE50, BIS0, LOW, HIGH = range(11)
FILES = sorted(
    (Path(__file__).resolve().parents[3].parent / "shared/reference/trajectories").glob("propofol_*.csv")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reference_trajectory_is_met(shared: Path, path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


def typical(model: PopulationModel = MODEL, **covariates: float) -> Floats:
    return model.typical({item.name: item.reference for item in model.covariates} | covariates, {})[0]


# ---------------------------------------------------------------------------------------- checks of models.md


def test_check_of_models_md_10() -> None:
    # 140 mg over 20 s, then 8 mg/kg/h to 30 min, then 6 mg/kg/h to 60 min; on a grid of 0.5 min
    third = 1 / 3
    doses = [
        Dose(0.0, 140.0, third), Dose(third, 560 / 60 * (30 - third), 30 - third), Dose(30.0, 210.0, 30.0)
    ]  # fmt: skip
    times = np.arange(0, 60.5, 0.5)
    bis, cp, ce = simulate(MODEL, typical(), doses, times)[0].T
    assert cp.max() == pytest.approx(17.65, abs=5e-3) and times[cp.argmax()] == 0.5
    assert ce.max() == pytest.approx(3.503, abs=5e-4) and times[ce.argmax()] == 4.5
    assert bis[times == 4.5][0] == pytest.approx(42.1, abs=0.05)
    assert bis[-1] == pytest.approx(52.16, abs=5e-3)


def test_reference_individual_is_that_of_models_md_10() -> None:
    theta = typical()
    printed = [6.28, 25.5, 273, 1.79, 1.75, 1.11, 0.146, 3.08, 93, 1.89, 1.47]
    np.testing.assert_allclose(np.delete(theta, Q2), np.delete(printed, Q2), rtol=1e-14)
    # 1.83, not 1.75: no factor of the reference individual divides the maturation in Q2
    assert theta[Q2] == pytest.approx(1.83, abs=5e-3)


def by_hand(age: float, weight: float, height: float, male: bool, opiates: bool) -> list[float]:
    """Parameters as models.md 10 prints them, for arterial samples."""

    def aging(x: float) -> float:
        return math.exp(x * (age - 35))

    def sig(x: float, e50: float, g: float) -> float:
        return x**g / (x**g + e50**g)

    def opi(x: float) -> float:
        return math.exp(x * age) if opiates else 1.0

    def ffm(age: float, weight: float, height: float, male: bool) -> float:
        bmi = weight / (height / 100) ** 2
        if male:
            return (0.88 + 0.12 / (1 + (age / 13.4) ** -12.7)) * 9270 * weight / (6680 + 216 * bmi)
        return (1.11 - 0.11 / (1 + (age / 7.1) ** -1.1)) * 9270 * weight / (8780 + 244 * bmi)

    pma, pma_ref = age * 52 + 40, 35 * 52 + 40
    v2 = 25.5 * (weight / 70) * aging(-0.0156)
    v3 = 273 * (ffm(age, weight, height, male) / ffm(35, 70, 170, True)) * opi(-0.0138)
    m3, m3_ref = sig(pma, 68.3, 1), sig(pma_ref, 68.3, 1)
    return [
        6.28 * sig(weight, 33.6, 1) / sig(70, 33.6, 1),
        v2,
        v3,
        (1.79 if male else 2.10)
        * (weight / 70) ** 0.75
        * (sig(pma, 42.3, 9.06) / sig(pma_ref, 42.3, 9.06))
        * opi(-0.00286),
        1.75 * (v2 / 25.5) ** 0.75 * (1 + 1.30 * (1 - m3)),
        1.11 * (v3 / 273) ** 0.75 * m3 / m3_ref,
        0.146 * (weight / 70) ** -0.25,
        3.08 * math.exp(-0.00635 * (age - 35)),
        93,
        1.89,
        1.47,
    ]


PEOPLE = (
    (35.0, 70.0, 170.0, True, False),
    (80.0, 55.0, 158.0, False, True),
    (52.0, 110.0, 180.0, True, True),
    (6.0, 21.0, 116.0, False, False),
    (0.2, 5.0, 58.0, True, False),
)


def person(model: PopulationModel, *values: float) -> Floats:
    return typical(
        model,
        **dict(zip(("age_y", "weight_kg", "height_cm", "male", "opiates"), map(float, values), strict=True)),
    )


@pytest.mark.parametrize("who", PEOPLE)
def test_parameters_are_those_written_out(who: tuple[float, float, float, bool, bool]) -> None:
    np.testing.assert_allclose(person(MODEL, *who), by_hand(*who), rtol=1e-13)


@pytest.mark.parametrize("who", PEOPLE)
def test_venous_samples_change_v1_q2_and_ke0_only(who: tuple[float, float, float, bool, bool]) -> None:
    weight = who[1]
    expected = by_hand(*who)
    expected[V1] *= 1 + 1.42 * (1 - weight / (weight + 33.6))
    expected[Q2] *= 0.68
    expected[KE0] = 1.24 * (weight / 70) ** -0.25
    np.testing.assert_allclose(person(VENOUS, *who), expected, rtol=1e-13)


def test_several_people_at_once() -> None:
    ages, weights, heights, male, opiates = (
        np.array(item, dtype=float) for item in zip(*PEOPLE, strict=True)
    )
    known = {
        "age_y": ages, "weight_kg": weights, "height_cm": heights, "male": male, "opiates": opiates
    }  # fmt: skip
    for model in (MODEL, VENOUS):
        np.testing.assert_array_equal(model.typical(known, {}), [person(model, *who) for who in PEOPLE])


def test_variances_are_those_of_models_md_10() -> None:
    printed = {"V1": 0.610, "V2": 0.565, "V3": 0.597, "CL": 0.265, "Q2": 0.346, "Q3": 0.209, "ke0": 0.702}
    assert {MODEL.parameters[i].name: MODEL.parameters[i].variance for i in MODEL.random_effects} == printed
    bis, cp, _ = MODEL.outputs
    assert bis.error.additive == 8.03
    assert (cp.error.log_sd, cp.error.flag) == (0.191, "PARTIAL")


def test_bis_is_late_by_20_s_or_more() -> None:
    # 15 + exp(0.0517·35) = 21.107 s
    np.testing.assert_allclose(eleveld.bis_delay_s([35, 0]), [21.107393, 16.0], atol=5e-7)


# ----------------------------------------------------------------------------------- the equations themselves


def written_out(state: Floats, theta: Floats, rate: float) -> list[float]:
    """Three compartments with an effect site, written with concentrations."""
    a1, a2, a3, ce = state
    c1, c2, c3 = a1 / theta[V1], a2 / theta[V2], a3 / theta[V3]
    return [
        rate - theta[CL] * c1 - theta[Q2] * (c1 - c2) - theta[Q3] * (c1 - c3),
        theta[Q2] * (c1 - c2),
        theta[Q3] * (c1 - c3),
        theta[KE0] * (c1 - ce),
    ]


def bis_of(ce: float, theta: Floats) -> float:
    gamma = 1.89 if ce <= theta[CE50] else 1.47
    return 93 * (1 - ce**gamma / (theta[CE50] ** gamma + ce**gamma))


def integrated(theta: Floats, doses: list[Dose], times: Floats) -> Floats:
    """(m, 3) BIS, Cp, Ce by SciPy's DOP853, stopping at every change of rate and sample."""
    ends = [dose.time + dose.duration for dose in doses]
    stops = np.unique(np.concatenate([times, [dose.time for dose in doses], ends]))
    state, now, out = np.zeros(4), 0.0, {0.0: np.zeros(4)}
    for time in stops[stops > 0]:
        middle = (now + time) / 2
        rate = sum(
            dose.amount / dose.duration
            for dose in doses
            if dose.duration and dose.time < middle < dose.time + dose.duration
        )
        state = state.copy()
        state[0] += sum(dose.amount for dose in doses if not dose.duration and dose.time == now)
        solution = solve_ivp(
            lambda _, y, rate=rate: written_out(y, theta, rate),
            (now, time), state, "DOP853", rtol=1e-11, atol=1e-13,
        )  # fmt: skip
        state, now = solution.y[:, -1], float(time)
        out[now] = state
    return np.array([[bis_of(out[t][3], theta), out[t][0] / theta[V1], out[t][3]] for t in times])


@pytest.mark.parametrize("model", [MODEL, VENOUS], ids=lambda model: model.name)
@pytest.mark.parametrize("seed", [1, 2])
def test_agrees_with_an_independent_integrator(model: PopulationModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eta = 0.7 * rng.normal(size=(1, 7)) * np.sqrt(np.diag(model.omega))
    theta = model.individual(person(model, *PEOPLE[seed])[None], eta)[0]
    starts = np.sort(rng.uniform(0, 50, 6))
    doses = [Dose(float(t), float(rng.uniform(20, 120)), float(rng.uniform(0.2, 15))) for t in starts]
    doses.insert(0, Dose(0.0, 90.0))
    times = np.concatenate([[0.0], np.sort(rng.uniform(0, 90, 15))])
    ours, expected = simulate(model, theta, doses, times)[0], integrated(theta, doses, times)
    assert np.all(np.abs(ours - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))
    assert expected[:, 2].max() > theta[CE50] > expected[1:, 2].min()  # both exponents are in use


def test_bis_is_half_at_ce50_and_falls_with_ce() -> None:
    theta = typical()
    at_half = eleveld.concentration_for_bis(theta, 46.5)
    assert at_half == pytest.approx(3.08, rel=1e-14)
    targets = np.array([92.0, 80.0, 60.0, 46.5, 46.4, 40.0, 20.0])
    ce = eleveld.concentration_for_bis(np.tile(theta, (7, 1)), targets)
    assert np.all(np.diff(ce) > 0)
    np.testing.assert_allclose([bis_of(c, theta) for c in ce], targets, rtol=1e-12)
    assert eleveld.concentration_for_bis(theta, 95.0) == 0


@pytest.mark.parametrize("target", [40.0, 50.0, 60.0])
def test_maintenance_rate_holds_bis_in_the_end(target: float) -> None:
    theta = typical(age_y=60.0)
    rate = float(eleveld.maintenance_rate(theta, target))
    days = 20 * 1440.0
    bis = simulate(MODEL, theta, [(0.0, rate * days, days)], [days], ["BIS"])[0, 0, 0]
    assert bis == pytest.approx(target, rel=1e-6)
