"""The vancomycin models against models.md 3, shared trajectories, and an independent integrator."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.models import vancomycin_colin2019 as colin2019
from dosewright.envs.pharmacology.models import vancomycin_goti2018 as goti2018
from dosewright.envs.pharmacology.models import vancomycin_thomson2009 as thomson2009

Floats = NDArray[np.float64]

GOTI, THOMSON, COLIN = goti2018.MODEL, thomson2009.MODEL, colin2019.MODEL
MODELS = (GOTI, THOMSON, COLIN)
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)


def usual(model: PopulationModel, **other: float) -> Floats:
    """(4,) typical parameters of the reference individual, but for `other`."""
    return model.typical({item.name: item.reference for item in model.covariates} | other, {})[0]


# --------------------------------------------------------------------------------- printed and shared numbers


def test_printed_check_of_goti() -> None:
    # models.md 3.3: 70 kg, CrCl 90; 1750 mg, then 1000 mg every 12 h at 1 g/h
    doses = [Dose(0, 1750, 1.75)] + [Dose(12.0 * i, 1000, 1.0) for i in range(1, 8)]
    level, auc = simulate(GOTI, usual(GOTI, crcl_ml_min=90), doses, [96.0], ["C", "AUC"])[0, 0]
    assert level == pytest.approx(17.15, abs=0.005)
    assert auc == pytest.approx(1944.5, abs=0.05)


@each_model
def test_reference_trajectories_are_met(shared: Path, model: PopulationModel) -> None:
    found = [read(path) for path in sorted((shared / "reference" / "trajectories").glob("vancomycin_*.csv"))]
    mine = [item for item in found if item.header["model_id"] == model.name]
    assert mine
    for trajectory in mine:
        worst, where = compare(trajectory, CASES[model.name])
        assert worst <= 1e-6, f"{trajectory.path.name}: {where}"


# --------------------------------------------------------------------------------------------- typical values


def test_goti_typical_values() -> None:
    np.testing.assert_allclose(usual(GOTI), [4.5, 58.4, 6.5, 38.4], rtol=1e-14)
    expected = [4.5 * (20 / 120) ** 0.8 * 0.7, 58.4 * 64 / 70 * 0.5, 6.5, 38.4 * 64 / 70]
    np.testing.assert_allclose(usual(GOTI, weight_kg=64, crcl_ml_min=20, dialysis=1), expected, rtol=1e-14)


def test_goti_creatinine_clearance_above_150_counts_as_150() -> None:
    assert usual(GOTI, crcl_ml_min=400)[0] == usual(GOTI, crcl_ml_min=150)[0] == 4.5 * 1.25**0.8
    assert usual(GOTI, crcl_ml_min=149)[0] < usual(GOTI, crcl_ml_min=150)[0]


def test_thomson_typical_values() -> None:
    np.testing.assert_allclose(usual(THOMSON), [2.99, 48.6, 2.28, 52.704], rtol=1e-14)
    expected = [2.99 * (1 + 0.0154 * 54), 0.675 * 90, 2.28, 0.732 * 90]
    np.testing.assert_allclose(usual(THOMSON, weight_kg=90, crcl_ml_min=120), expected, rtol=1e-14)


def test_thomson_clearance_is_positive_just_above_the_least_creatinine_clearance() -> None:
    least = next(item.least for item in THOMSON.covariates if item.name == "crcl_ml_min")
    assert usual(THOMSON, crcl_ml_min=least)[0] == pytest.approx(0, abs=1e-12)
    assert usual(THOMSON, crcl_ml_min=least + 0.1)[0] == pytest.approx(2.99 * 0.0154 * 0.1, rel=1e-9)


def colin_clearance(weight: float, weeks: float, creatinine: float, cancer: bool) -> float:
    """As models.md 3.2 prints it."""

    def s(x: float, x50: float, g: float) -> float:
        return x**g / (x50**g + x**g)

    pma, reference = weeks / 52, 35 + 40 / 52
    mat = s(pma, 0.8932, 2.8864) / s(reference, 0.8932, 2.8864)
    age = s(pma, 61.559, -2.241) / s(reference, 61.559, -2.241)
    standard = math.exp(-1.22839 + 0.67190 * math.log10(pma) + 6.27017 * math.exp(-3.1094 * pma))
    return (
        5.312
        * (42.52 * weight / 70 / 42.52) ** 0.75
        * mat
        * age
        * math.exp(-0.64856 * (creatinine - standard))
        * (1.294 if cancer else 1)
    )


@pytest.mark.parametrize(
    ("weight", "weeks", "creatinine", "cancer"),
    [(70, 1860, 0.83, False), (1.2, 30, 0.7, False), (3.5, 40, 0.5, False), (12, 144, 0.25, True),
     (95, 4500, 1.9, True)],
)  # fmt: skip
def test_colin_typical_values(weight: float, weeks: float, creatinine: float, cancer: bool) -> None:
    got = usual(COLIN, weight_kg=weight, pma_weeks=weeks, creatinine_mg_dl=creatinine, cancer=float(cancer))
    v2 = 41.68 * weight / 70
    clearance = colin_clearance(weight, weeks, creatinine, cancer)
    expected = [clearance, 42.52 * weight / 70, 3.222 * (v2 / 41.68) ** 0.75, v2]
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_colin_clearance_matures_declines_and_falls_with_creatinine() -> None:
    def clearance(**other: float) -> float:
        return float(usual(COLIN, **other)[0])

    # at the usual creatinine of each age, so that only age acts
    newborn, child, grown, old = (
        clearance(pma_weeks=weeks, creatinine_mg_dl=float(colin2019.standard_creatinine(weeks)))
        for weeks in (40.0, 300.0, 1860.0, 80 * 52.0)
    )
    assert newborn < child and old < grown < child
    assert grown == pytest.approx(5.312, rel=1e-14)
    assert clearance(creatinine_mg_dl=1.83) / clearance() == pytest.approx(math.exp(-0.64856), rel=1e-14)


# ------------------------------------------------------------------------------------------------ variability


def test_goti_variances_are_those_of_its_coefficients_of_variation() -> None:
    assert [GOTI.parameters[i].name for i in GOTI.random_effects] == ["CL", "V1", "V2"]
    np.testing.assert_allclose(np.sqrt(np.exp(np.diag(GOTI.omega)) - 1), [0.398, 0.816, 0.571], rtol=1e-13)
    assert np.count_nonzero(GOTI.omega) == 3


def test_thomson_and_colin_variances() -> None:
    block = [[0.0729, 0.01, 0, 0], [0.01, 0.0225, 0, 0], [0, 0, 0.2401, 0], [0, 0, 0, 1.69]]
    assert np.array_equal(THOMSON.omega, block)
    assert [COLIN.parameters[i].name for i in COLIN.random_effects] == ["CL", "V1", "V2"]
    assert np.array_equal(COLIN.omega, np.diag([0.0746, 0.0716, 0.684]))


@pytest.mark.parametrize(
    ("model", "proportional", "additive"), [(GOTI, 0.227, 3.4), (THOMSON, 0.15, 1.6), (COLIN, 0.2145, 1.23)]
)
def test_residual_error(model: PopulationModel, proportional: float, additive: float) -> None:
    error = model.outputs[model.output("C")].error
    assert (error.proportional, error.additive, error.log_sd) == (proportional, additive, 0.0)


# --------------------------------------------------------------------------------------------------- kinetics


def written_out(theta: Floats, doses: list[Dose], times: Floats) -> Floats:
    """(m, 2) C and AUC by an independent integrator, restarted wherever an infusion begins or ends."""
    cl, v1, q, v2 = theta
    stops = sorted({0.0, *times, *(d.time for d in doses), *(d.time + d.duration for d in doses)})
    state, seen = np.zeros(3), {0.0: np.zeros(3)}
    for start, end in zip(stops, stops[1:], strict=False):
        rate = sum(d.amount / d.duration for d in doses if d.time <= start < d.time + d.duration)

        def rhs(t: float, y: Floats, rate: float = rate) -> list[float]:
            flow = q / v1 * y[0] - q / v2 * y[1]
            return [rate - cl / v1 * y[0] - flow, flow, y[0] / v1]

        state = solve_ivp(rhs, (start, end), state, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
        seen[end] = state
    return np.array([[seen[t][0] / v1, seen[t][2]] for t in times])


@each_model
def test_random_people_under_random_infusions_against_an_independent_integrator(
    model: PopulationModel,
) -> None:
    rng = np.random.default_rng(11)
    typical = np.repeat(usual(model)[None], 4, axis=0)
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, 4)
    times = np.sort(rng.uniform(0, 120, 25))
    for theta in model.individual(typical, eta):
        # up to three of them at once
        start = np.sort(rng.uniform(0, 100, 8))
        doses = [Dose(t, rng.uniform(250, 2000), rng.uniform(0.5, 12)) for t in start]
        got, expected = (
            simulate(model, theta, doses, times, ["C", "AUC"])[0],
            written_out(theta, doses, times),
        )
        assert np.all(np.abs(got - expected).max(axis=0) <= 1e-8 * expected.max(axis=0))


@each_model
def test_maintenance_dose_gives_the_target_auc_in_steady_state(model: PopulationModel) -> None:
    theta = np.stack([usual(model), usual(model, weight_kg=40.0)])
    theta[1, 0] *= 0.6
    for patient, dose in zip(theta, goti2018.maintenance_dose(theta, 500.0), strict=True):
        # an uneven split of the day
        day = [Dose(0, dose / 3, 1.0), Dose(8, dose * 2 / 3, 1.5)]
        state = steady_state(model, patient, day, 24.0)
        (before,), (after,) = simulate(model, patient, day, [0.0, 24.0], ["AUC"], initial=state)[0]
        assert after - before == pytest.approx(500.0, rel=1e-6)
