"""Phenytoin: Grasela 1983 with Mamiya's genes and Yukawa 1990 against models.md 11 and SciPy's integrator."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.models import phenytoin_grasela1983 as grasela
from dosewright.envs.pharmacology.models import phenytoin_yukawa1990 as yukawa

Floats = NDArray[np.float64]

MODELS = (grasela.MODEL, yukawa.MODEL)
NORMAL = {"cyp2c9_log_vmax": 0.0, "cyp2c19_phenotype": 0.0}
VMAX, KM, V, KA = range(4)
FILES = sorted(
    (Path(__file__).resolve().parents[3].parent / "shared/reference/trajectories").glob("phenytoin_*.csv")
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reference_trajectory_is_met(shared: Path, path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


def typical(
    model: PopulationModel = grasela.MODEL, effects: dict[str, float] | None = None, **covariates: float
) -> Floats:
    known = {item.name: item.reference for item in model.covariates} | covariates
    return model.typical(known, NORMAL | (effects or {}))[0]


# ---------------------------------------------------------------------------------------- checks of models.md


def test_check_of_models_md_11() -> None:
    # 150 mg every 12 h, 70 kg: 13.443 mg/L at 60 d
    doses = [(12.0 * i, 150.0) for i in range(120)]
    level = simulate(grasela.MODEL, typical(), doses, [1440.0])[0, 0, 0]
    assert level == pytest.approx(13.443, abs=5e-4)


def test_typical_values_are_those_of_models_md_11() -> None:
    np.testing.assert_allclose(typical(), [415 / 24, 5.7, 45.5, 1.5], rtol=1e-15)
    light = typical(weight_kg=50.0)
    np.testing.assert_allclose(light, [415 / 24 * (50 / 70) ** 0.6, 5.7, 32.5, 1.5], rtol=1e-14)
    assert typical(age_y=14.9)[KM] == pytest.approx(5.7 * 0.57, rel=1e-14)
    assert typical(age_y=15.0)[KM] == 5.7
    assert typical(japanese=1.0)[KM] == pytest.approx(5.7 * 0.77, rel=1e-14)
    assert typical(japanese=1.0)[VMAX] == typical()[VMAX]


def test_yukawas_typical_values_are_those_of_models_md_11() -> None:
    np.testing.assert_allclose(typical(yukawa.MODEL), [325 / 24, 2.41, 39.0, 1.5], rtol=1e-15)
    child = typical(yukawa.MODEL, weight_kg=30.0, age_y=10.0, other_antiepileptics=1.0)
    expected = [325 / 24 * 0.5**0.737 * 1.08, 2.41 * 0.752 * 1.32, 19.5, 1.5]
    np.testing.assert_allclose(child, expected, rtol=1e-14)


@pytest.mark.parametrize(("model", "cvs"), [(grasela.MODEL, (15.0, 50.0)), (yukawa.MODEL, (19.3, 63.1))])
def test_variances_give_the_published_cvs(model: PopulationModel, cvs: tuple[float, float]) -> None:
    assert model.random_effects == (VMAX, KM)
    assert 100 * np.sqrt(np.exp(np.diag(model.omega)) - 1) == pytest.approx(cvs, rel=1e-12)
    assert model.outputs[0].error.proportional == 0.103


# -------------------------------------------------------------------------------------------------- genotypes

# models.md 11 and 17: 0.58 is published, the rest assumed (printed with two digits there)
ON_VMAX = {
    "*1/*1": 1.0, "*1/*3": 0.58, "*3/*1": 0.58, "*1/*2": 0.80, "*2/*2": 0.64, "*2/*3": 0.46, "*3/*3": 0.34,
    "*1/*8": 0.80, "*1/*6": 0.58, "*1/*7": 1.0,
}  # fmt: skip
# CPIC's phenotypes by function: *3 none, *17 increased, *9 decreased, *12 uncertain
ON_KM = {
    "*1/*1": 1.0, "*1/*17": 1.0, "*17/*17": 1.0, "*1/*2": 1.22, "*2/*17": 1.22, "*1/*3": 1.22, "*2/*2": 1.54,
    "*2/*3": 1.54, "*1/*9": 1.22, "*9/*9": 1.22, "*2/*9": 1.54, "*1/*12": 1.0,
}  # fmt: skip


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_genotypes_change_vmax_and_km_as_printed(model: PopulationModel) -> None:
    n, m = len(ON_VMAX), len(ON_KM)
    genotypes = {
        "CYP2C9": np.array([*ON_VMAX, *["*1/*1"] * m]),
        "CYP2C19": np.array([*["*1/*1"] * n, *ON_KM]),
    }
    effects, _ = genotype_effects(model.genotype_terms, genotypes)
    known = {item.name: item.reference for item in model.covariates}
    ratio = model.typical(known, effects) / typical(model)
    np.testing.assert_allclose(ratio[:n, VMAX], list(ON_VMAX.values()), atol=0.005)
    np.testing.assert_allclose(ratio[n:, KM], list(ON_KM.values()), rtol=1e-14)
    np.testing.assert_allclose(ratio[:n, KM], 1.0, rtol=1e-14)
    np.testing.assert_allclose(ratio[n:, VMAX], 1.0, rtol=1e-14)
    assert ratio[1, VMAX] == pytest.approx(0.58, rel=1e-14)
    assert ratio[5, VMAX] == pytest.approx(0.80 * 0.58, rel=1e-14)


# ----------------------------------------------------------------------------------- the equations themselves


def written_out(state: Floats, theta: Floats) -> list[float]:
    """Right-hand side as models.md 11 prints it."""
    a0, a1 = state
    vmax, km, v, ka = theta
    c = a1 / v
    return [-ka * a0, ka * a0 - vmax * c / (km + c)]


def integrated(theta: Floats, doses: list[tuple[float, float]], times: Floats) -> Floats:
    """(m,) levels by SciPy's DOP853, stopping at every dose and sample; values before a dose."""
    state, now, out = np.zeros(2), 0.0, []
    stops = sorted([(t, 0, 0.0) for t in times] + [(t, 1, amount) for t, amount in doses])
    for time, is_dose, amount in stops:
        if time > now:
            solution = solve_ivp(
                lambda _, y: written_out(y, theta), (now, time), state, "DOP853", rtol=1e-11, atol=1e-13
            )
            state, now = solution.y[:, -1].copy(), time
        if is_dose:
            state[0] += amount
        else:
            out.append(state[1] / theta[V])
    return np.array(out)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_agrees_with_an_independent_integrator(model: PopulationModel, seed: int) -> None:
    rng = np.random.default_rng(seed)
    eta = rng.normal(size=(1, 2)) * np.sqrt(np.diag(model.omega))
    theta = model.individual(typical(model, weight_kg=rng.uniform(40, 100))[None], eta)[0]
    doses = [(float(t), float(rng.uniform(50, 250))) for t in np.sort(rng.uniform(0, 400, 30))]
    times = np.unique(np.append(rng.uniform(0, 480, 20), 480.0))
    expected = integrated(theta, doses, times)
    ours = simulate(model, theta, doses, times)[0, :, 0]
    assert np.abs(ours - expected).max() <= 1e-6 * expected.max()


# ----------------------------------------------------------------------------------------------- steady state


def test_maintenance_dose_is_the_inverse_of_the_michaelis_menten_equation() -> None:
    # 415·15/(5.7 + 15) mg/day
    assert grasela.maintenance_dose(typical(), 15.0) == pytest.approx(6225 / 20.7, rel=1e-14)
    # a poor CYP2C19, *1/*3 person needs about half of it
    slow = typical(effects={"cyp2c9_log_vmax": np.log(0.58), "cyp2c19_phenotype": 2.0})
    assert grasela.maintenance_dose(slow, 15.0) == pytest.approx(
        415 * 0.58 * 15 / (5.7 * 1.54 + 15), rel=1e-14
    )
    many = grasela.maintenance_dose(np.stack([typical(), slow]), 15.0)
    assert many.shape == (2,) and np.all(many < np.array([415, 415 * 0.58]))


def test_hourly_doses_reach_the_target() -> None:
    theta = typical()
    hourly = float(grasela.maintenance_dose(theta, 15.0)) / 24
    start = steady_state(grasela.MODEL, theta, [(0.0, hourly)], 1.0)
    times = np.linspace(0, 1, 41)
    level = simulate(grasela.MODEL, theta, [(0.0, hourly)], times, initial=start)[0, :, 0]
    assert level.mean() == pytest.approx(15.0, rel=1e-3)


def test_a_dose_above_vmax_has_no_steady_state() -> None:
    with pytest.raises(ValueError, match="no steady state"):
        steady_state(grasela.MODEL, typical(), [(0.0, 210.0)], 12.0, most_cycles=200)
