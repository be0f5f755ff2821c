"""Mercaptopurine: Gebhard 2023 and Hawwa 2008 against models.md 5 and SciPy's integrator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import Constant, PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.models import mercaptopurine_gebhard2023 as gebhard
from dosewright.envs.pharmacology.models import mercaptopurine_hawwa2008 as hawwa

Floats = NDArray[np.float64]
Slope = Callable[[Floats, Floats], list[float]]

NORMAL = {"tpmt_variant": 0.0, "nudt15_phenotype": 0.0}
FILES = sorted(
    (Path(__file__).resolve().parents[3].parent / "shared/reference/trajectories").glob(
        "mercaptopurine_*.csv"
    )
)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_reference_trajectory_is_met(shared: Path, path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


def typical(model: PopulationModel = gebhard.MODEL, **effects: float) -> Floats:
    return model.typical({"tgn_umol_l": 0.83, "bsa_m2": 1.0}, NORMAL | effects)[0]


def with_values(model: PopulationModel, theta: Floats, **values: float) -> Floats:
    theta = theta.copy()
    for name, value in values.items():
        theta[model.column(name)] = value
    return theta


# ---------------------------------------------------------------------------------------- checks of models.md


def test_check_of_models_md_5_4() -> None:
    # drug-naive, 50 mg/m²/d × 182 d: TGN 0.9235 µmol/L, ANC 1.8788 at day 182, nadir 1.632 at day 137
    times, doses = np.arange(183.0), [(float(day), 50.0) for day in range(182)]
    anc, tgn = simulate(gebhard.MODEL, typical(), doses, times, ["ANC", "TGN"])[0].T
    assert tgn[182] == pytest.approx(0.9235, abs=5e-5)
    assert anc[182] == pytest.approx(1.8788, abs=5e-5)
    assert anc.min() == pytest.approx(1.632, abs=5e-4)
    assert times[anc.argmin()] == 137


def test_typical_values_are_those_of_models_md_5_1() -> None:
    printed = [21.07, 15.4, 20.1911, 0.12, 0.21, 0.14, 0.050, 2.17, 0.15, 2.3765, 0.16, 0.79, 1.0, 0.0]
    np.testing.assert_array_equal(typical(), printed)
    on_treatment = typical(gebhard.MID_THERAPY)
    np.testing.assert_array_equal(on_treatment, [*printed[:-2], 0.87, 0.83])


def test_mid_therapy_takes_the_measured_tgn_of_each_child() -> None:
    tgn = np.array([0.2, 0.83, 7.6])
    theta = gebhard.typical_mid_therapy({"tgn_umol_l": tgn}, NORMAL)
    assert theta.shape == (3, 14)
    start = simulate(gebhard.MID_THERAPY, theta, [], [0.0], ["TGN", "ANC", "Prol"])[:, 0]
    np.testing.assert_array_equal(start[:, 0], tgn)
    np.testing.assert_allclose(start[:, 1], 0.87 * 2.17, rtol=1e-15)
    np.testing.assert_allclose(start[:, 2], 0.87 * 2.17 * 2.3765 / 0.15, rtol=1e-15)


def test_untreated_children_stay_at_their_baseline() -> None:
    anc = simulate(gebhard.MODEL, typical(), [], np.linspace(0, 364, 9), ["ANC"])
    np.testing.assert_allclose(anc, 2.17, rtol=1e-7)  # an equilibrium of a step tolerance of 1e-8


@pytest.mark.parametrize(
    ("name", "cv"),
    [("Vmm", 56), ("Keff", 54), ("base", 27), ("ktr", 72), ("SLOPE", 81), ("gamma", 11), ("inieff", 54)],
)
def test_variances_give_the_published_cvs(name: str, cv: float) -> None:
    model = gebhard.MID_THERAPY
    variance = model.parameters[model.column(name)].variance
    assert 100 * np.sqrt(np.exp(variance) - 1) == pytest.approx(cv, rel=1e-12)
    assert len(model.random_effects) == 7  # none on Kmm
    assert gebhard.MODEL.column("inieff") not in gebhard.MODEL.random_effects


def test_residual_errors_are_roots_of_the_published_variances() -> None:
    anc, tgn = gebhard.MODEL.outputs[:2]
    assert anc.error.proportional**2 == pytest.approx(0.25)
    assert tgn.error.proportional**2 == pytest.approx(0.061)
    assert tgn.error.additive**2 == pytest.approx(0.024)


# -------------------------------------------------------------------------------------------------- genotypes

TPMT = {"*1/*1": 0, "*1/*3A": 1, "*3A/*1": 1, "*3A/*3A": 1, "*1/*2": 1, "*3A/*3C": 1, "*1/*8": 1, "*1/*9": 0}
# CPIC's phenotypes by function: *5 decreased, *2 as *3 none, *11 uncertain
NUDT15 = {
    "*1/*1": 0,
    "*1/*3": 1,
    "*3/*3": 2,
    "*3/*1": 1,
    "*1/*5": 0,
    "*5/*5": 1,
    "*3/*5": 2,
    "*1/*4": 1,
    "*1/*11": 0,
}


@pytest.mark.parametrize(
    ("term", "expected"), [(hawwa.TPMT, TPMT), (gebhard.NUDT15, NUDT15)], ids=lambda x: getattr(x, "gene", "")
)
def test_diplotypes_are_read_as_phenotypes(term: object, expected: dict[str, int]) -> None:
    assert term in gebhard.MODEL.genotype_terms
    terms = [item for item in gebhard.MODEL.genotype_terms if item is term]
    effects, _ = genotype_effects(terms, {terms[0].gene: np.array(list(expected))})
    np.testing.assert_array_equal(effects[terms[0].effect], list(expected.values()))


def test_a_tpmt_variant_multiplies_formation_by_2_56() -> None:
    assert typical(tpmt_variant=1.0)[gebhard.MODEL.column("Vmm")] == pytest.approx(0.21 * 2.56, rel=1e-15)
    assert gebhard.TPMT_ON_VMM.flag == "PARTIAL"
    fm3 = hawwa.MODEL.column("FM3")
    assert typical(hawwa.MODEL, tpmt_variant=1.0)[fm3] == pytest.approx(0.0191 * 2.56, rel=1e-15)


def test_nudt15_makes_the_effect_stronger() -> None:
    slope = [typical(nudt15_phenotype=float(p))[gebhard.MODEL.column("SLOPE")] / 0.16 for p in range(3)]
    assert slope == pytest.approx([1.0, 1.5, 7.5], rel=1e-15)
    assumed: list[Constant] = [gebhard.INTERMEDIATE_ON_SLOPE, gebhard.POOR_ON_SLOPE]
    assert {constant.flag for constant in assumed} == {"ASSUMPTION"}


def test_effects_are_of_each_child_of_its_own() -> None:
    effects = {"tpmt_variant": np.array([0.0, 1.0, 0.0]), "nudt15_phenotype": np.array([0.0, 0.0, 2.0])}
    theta = gebhard.typical({}, effects)
    np.testing.assert_allclose(theta[:, gebhard.MODEL.column("Vmm")], [0.21, 0.5376, 0.21], rtol=1e-14)
    np.testing.assert_allclose(theta[:, gebhard.MODEL.column("SLOPE")], [0.16, 0.16, 1.2], rtol=1e-14)


# ----------------------------------------------------------------------------------- the equations themselves


def gebhard_written_out(state: Floats, theta: Floats) -> list[float]:
    """Right-hand side as models.md 5.1 prints it."""
    a0, a1, tgn, prol, t1, t2, t3, circ = state
    ka, ke, v, _, vmm, kmm, keff, base, ktr, kcirc, slope, gamma, _, _ = theta
    c = a1 / v
    return [
        -ka * a0,
        ka * a0 - ke * a1,
        vmm * c / (kmm + c) - keff * tgn,
        ktr * prol * (1 - slope * tgn) * (base / circ) ** gamma - ktr * prol,
        ktr * (prol - t1),
        ktr * (t1 - t2),
        ktr * (t2 - t3),
        ktr * t3 - kcirc * circ,
    ]


def hawwa_written_out(state: Floats, theta: Floats) -> list[float]:
    """Right-hand side as models.md 5.2 prints it."""
    a0, a1, tgn, mmpn = state
    _, _, _, kme, fm3, cl_tgn, cl_mmpn = theta
    return [
        -1.3 * a0,
        1.3 * a0 - 0.53 * a1,
        fm3 * kme * a1 - cl_tgn * tgn,
        (1 - fm3) * kme * a1 - cl_mmpn * mmpn,
    ]


def integrated(
    slope: Slope, start: Floats, theta: Floats, entering: list[tuple[float, float]], times: Floats
) -> Floats:
    """(m, s) states by SciPy's DOP853, stopping at every dose and sample; values before a dose."""
    state, now, out = start.copy(), 0.0, {}
    stops = sorted([(t, 0, 0.0) for t in times] + [(t, 1, amount) for t, amount in entering])
    for time, is_dose, amount in stops:
        if time > now:
            solution = solve_ivp(
                lambda _, y: slope(y, theta), (now, time), state, "DOP853", rtol=1e-11, atol=1e-13
            )
            state, now = solution.y[:, -1].copy(), time
        if is_dose:
            state[0] += amount
        else:
            out[time] = state.copy()
    return np.array([out[t] for t in times])


def random_person(model: PopulationModel, rng: np.random.Generator, typical_values: Floats) -> Floats:
    return model.individual(typical_values[None], 0.7 * rng.normal(size=(1, len(model.random_effects))) @ (
        np.linalg.cholesky(model.omega).T
    ))[0]  # fmt: skip


def agree(ours: Floats, theirs: Floats) -> None:
    assert np.all(np.abs(ours - theirs).max(axis=0) <= 1e-6 * np.abs(theirs).max(axis=0))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_gebhard_agrees_with_an_independent_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    effects = {"tpmt_variant": 1.0 * (seed == 2), "nudt15_phenotype": 1.0 * (seed == 3)}
    theta = random_person(gebhard.MID_THERAPY, rng, typical(gebhard.MID_THERAPY, **effects))
    doses = [(float(t), float(rng.uniform(20, 110))) for t in np.sort(rng.uniform(0, 35, 20))]
    times = np.unique(np.append(rng.uniform(0, 40, 12), 40.0))
    ours = simulate(gebhard.MID_THERAPY, theta, doses, times, ["C", "TGN", "Prol", "ANC"])[0]
    v, f, base, ktr, kcirc, inieff, tgn0 = (
        theta[gebhard.MODEL.column(name)] for name in ("V", "F", "base", "ktr", "kcirc", "inieff", "tgn0")
    )
    start = np.array([0.0, 0.0, tgn0, *[inieff * base * kcirc / ktr] * 4, inieff * base])
    entering = [(t, f * amount * 1000 / 152.18) for t, amount in doses]
    states = integrated(gebhard_written_out, start, theta, entering, times)
    agree(ours, states[:, [1, 2, 3, 7]] / np.array([v, 1.0, 1.0, 1.0]))


@pytest.mark.parametrize("seed", [1, 2])
def test_hawwa_agrees_with_an_independent_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    children = hawwa.typical({"bsa_m2": rng.uniform(0.6, 1.8)}, {"tpmt_variant": seed - 1.0})
    theta = random_person(hawwa.MODEL, rng, children[0])
    doses = [(float(t), float(rng.uniform(20, 110))) for t in np.sort(rng.uniform(0, 400, 20))]
    times = np.unique(np.append(rng.uniform(0, 480, 12), 480.0))
    ours = simulate(hawwa.MODEL, theta, doses, times)[0]
    entering = [(t, 0.22 * amount) for t, amount in doses]
    agree(ours, integrated(hawwa_written_out, np.zeros(4), theta, entering, times)[:, 2:])


@pytest.mark.parametrize("rule", ["exact", "belief"])
def test_loss_of_all_cells_stays_finite(rule: str) -> None:
    # SLOPE·TGN above 1 for months: the published equations end in a division by 0
    rng = np.random.default_rng(4)
    theta = np.array(
        [
            random_person(gebhard.MODEL, rng, typical(nudt15_phenotype=2.0, tpmt_variant=1.0))
            for _ in range(40)
        ]
    )
    doses, times = [(float(day), 112.5) for day in range(182)], np.arange(0.0, 364.0, 7.0)
    anc, tgn, _, prol = np.moveaxis(simulate(gebhard.MODEL, theta, doses, times, rule=rule), 2, 0)
    assert np.all(np.isfinite(anc)) and anc.min() > 0 and prol.min() > 0
    # they did leave the domain: more than half have fewer than 10 cells per µL some day
    assert (anc.min(axis=1) < 0.01).mean() > 0.5
    assert (theta[:, gebhard.MODEL.column("SLOPE")] * tgn.max(axis=1) > 1).mean() > 0.5


def test_hawwa_typical_values_are_those_of_models_md_5_2() -> None:
    theta = hawwa.typical({"bsa_m2": [1.0, 0.7]}, {"tpmt_variant": 0.0})
    np.testing.assert_allclose(theta[0], [1.3, 0.22, 0.53, 0.78 * 0.53, 0.0191, 0.00914, 0.0228], rtol=1e-15)
    # a small child loses TGN more slowly: 0.00914·0.7^1.16
    assert theta[1, 5] == pytest.approx(0.00914 * 0.7**1.16, rel=1e-15) and theta[1, 5] < theta[0, 5]
    assert [hawwa.PARAMETERS[i].variance for i in hawwa.MODEL.random_effects] == [0.113, 0.11]
    assert [output.error.additive for output in hawwa.MODEL.outputs] == [0.177, 8.42]


# ----------------------------------------------------------------------------------------------- steady state


def daily_average(model: PopulationModel, theta: Floats, dose: float, day: float) -> float:
    """Average TGN over a day of the steady state that the engine finds, by Simpson's rule."""
    start = steady_state(model, theta, [(0.0, dose)], day)
    times = np.linspace(0, day, 481)
    tgn = simulate(model, theta, [(0.0, dose)], times, ["TGN"], initial=start)[0, :, 0]
    return float((tgn[0] + tgn[-1] + 4 * tgn[1:-1:2].sum() + 2 * tgn[2:-1:2].sum()) / 3 / 480)


@pytest.mark.parametrize("dose", [5.0, 50.0, 175.0])
def test_steady_tgn_is_the_average_that_simulated_doses_reach(dose: float) -> None:
    # no effect on the cells: their slow swings would keep `steady_state` busy
    theta = with_values(gebhard.MODEL, typical(), SLOPE=0.0, Vmm=0.3, Keff=0.04)
    reached = daily_average(gebhard.MODEL, theta, dose, 1.0)
    assert gebhard.steady_tgn(theta, dose) == pytest.approx(reached, rel=1e-6)
    assert gebhard.dose_for_tgn(theta, reached) == pytest.approx(dose, rel=1e-5)


def test_formation_saturates() -> None:
    low, high = (float(gebhard.steady_tgn(typical(), dose)) for dose in (25.0, 100.0))
    assert 1.2 < high / low < 2.0
    # 0.21/0.05 = 4.2 µmol/L would need a concentration above Kmm day and night
    assert np.isinf(gebhard.dose_for_tgn(typical(), 4.3))
    assert gebhard.dose_for_tgn(typical(), 0.0) < 1e-12


def test_doses_of_many_children_and_targets_at_once() -> None:
    theta = gebhard.typical({}, {"tpmt_variant": np.array([0.0, 1.0]), "nudt15_phenotype": 0.0})
    targets = np.array([0.5, 0.9])
    doses = gebhard.dose_for_tgn(theta, targets)
    np.testing.assert_allclose(gebhard.steady_tgn(theta, doses), targets, rtol=1e-9)


def test_equilibrium_of_the_neutrophils() -> None:
    theta, model = typical(), gebhard.MODEL
    tgn = float(gebhard.tgn_for_anc(theta, 1.5))
    assert gebhard.steady_anc(theta, tgn) == pytest.approx(1.5, rel=1e-14)
    # held there by a constant TGN all derivatives of the cells are 0
    cells = [1.5 * 2.3765 / 0.15] * 4 + [1.5]
    derivative = gebhard_written_out(np.array([0.0, 0.0, tgn, *cells]), theta)
    np.testing.assert_allclose(derivative[3:], 0.0, atol=1e-13)
    assert gebhard.tgn_for_anc(theta, 3.0) == 0
    assert gebhard.steady_anc(with_values(model, theta, SLOPE=2.0), 0.9) == 0


def test_hawwa_maintenance_dose_reaches_its_target() -> None:
    theta = typical(hawwa.MODEL)
    dose = float(hawwa.maintenance_dose(theta, 2.0))
    assert daily_average(hawwa.MODEL, theta, dose, 24.0) == pytest.approx(2.0, rel=1e-4)
    carrier = typical(hawwa.MODEL, tpmt_variant=1.0)
    assert hawwa.maintenance_dose(carrier, 2.0) == pytest.approx(dose / 2.56, rel=1e-14)
