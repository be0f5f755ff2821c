"""Efavirenz against models.md 7 and 17, shared trajectories, and an independent integrator."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.linalg import expm

from benchmarks.cases import CASES
from benchmarks.conformance import RELATIVE, compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import Dose, simulate
from dosewright.envs.pharmacology.models.efavirenz_bienczak2016 import (
    CYP2B6,
    MODEL,
    maintenance_dose,
    typical,
)
from dosewright.pharmacogenomics import TABLES

Floats = NDArray[np.float64]

# models.md 7, typed here a second time: CL/F in L/h at 15.4 kg by 516|983
CLEARANCE = {"GG|TT": 6.94, "GT|TT": 4.90, "GG|TC": 3.93, "TT|TT": 1.92, "GT|TC": 1.36, "GG|CC": 0.74}
# haplotypes that make up each
DIPLOTYPE = {
    "GG|TT": "*1/*1", "GT|TT": "*1/*6", "GG|TC": "*1/*18", "TT|TT": "*6/*6", "GT|TC": "*6/*18",
    "GG|CC": "*18/*18",
}  # fmt: skip


def child(genotype: str = "GG|TT", weight: float = 15.4) -> Floats:
    """(7,) parameters of a child without random effects."""
    return typical({"weight_kg": weight}, {"cl_l_h": CLEARANCE[genotype]})[0]


def written_out(state: Floats, theta: Floats) -> Floats:
    """Right-hand side as models.md 7 describes it: 26 compartments at ktr, a depot, two compartments."""
    cl, vc, q, vp, mtt, ka, _ = theta
    ktr, chain, (a0, a1, a2) = 26 / mtt, state[:26], state[26:29]
    slope = np.empty(30)
    slope[0] = -ktr * chain[0]
    slope[1:26] = ktr * (chain[:25] - chain[1:])
    slope[26] = ktr * chain[25] - ka * a0
    slope[27] = ka * a0 - cl * a1 / vc - q * (a1 / vc - a2 / vp)
    slope[28] = q * (a1 / vc - a2 / vp)
    slope[29] = a1 / vc
    return slope


def individual(rng: np.random.Generator) -> Floats:
    """(7,) parameters of a random child, with an effect between occasions on top."""
    theta = child(str(rng.choice(list(CLEARANCE))), rng.uniform(8, 35))
    return theta * np.exp(rng.normal(0, [0.45, 0.2, 0.2, 0.2, 0.7, 0.5, 0.6]))


def integrated(theta: Floats, doses: list[Dose], times: Floats) -> Floats:
    """(m, 2) concentration and AUC by SciPy's DOP853, stopping at every dose and sample."""
    state, now, out = np.zeros(30), 0.0, []
    for stop in sorted({*(dose.time for dose in doses), *times.tolist()}):
        if stop > now:
            state = solve_ivp(
                lambda _, y: written_out(y, theta), (now, stop), state, "DOP853", rtol=1e-11, atol=1e-13
            ).y[:, -1]
            now = stop
        out += [[state[27] / theta[1], state[29]]] * int(np.sum(times == stop))
        state[0] += theta[6] * sum(dose.amount for dose in doses if dose.time == stop)
    return np.array(out)


# -------------------------------------------------------------------------------------------- values in print


@pytest.mark.parametrize(
    ("genotype", "days", "every", "peak", "trough"),
    [("GG|TT", 14, 1.0, 3.371, 1.017), ("TT|TT", 28, 2.0, 7.899, 5.542)],
)
def test_levels_on_300_mg_are_those_of_models_md_7(
    genotype: str, days: int, every: float, peak: float, trough: float
) -> None:
    # the printed maxima are those of values every hour, and every two hours
    times = np.arange(0, 24.0 * days + 1, every)
    doses = [Dose(24.0 * day, 300.0) for day in range(days)]
    level = simulate(MODEL, child(genotype), doses, times, ["C"])[0, :, 0]
    assert level.max() == pytest.approx(peak, abs=6e-4)
    assert level[-1] == pytest.approx(trough, abs=6e-4)


def test_reference_child_has_the_published_parameters() -> None:
    # models.md 7: CL, Vc, Q, Vp at 15.4 kg, MTT and ka of CHAPAS-3, F relative
    assert child().tolist() == [6.94, 64.1, 17.1, 92.2, 0.82, 0.79, 1.0]


def test_clearances_grow_with_weight_to_the_three_quarters_and_volumes_in_proportion() -> None:
    ratio = child(weight=30.8) / child(weight=15.4)
    np.testing.assert_allclose(ratio, [2**0.75, 2, 2**0.75, 2, 1, 1, 1], rtol=1e-14)


def test_variances_give_back_the_published_coefficients_of_variation() -> None:
    # models.md 7: BSV CL 36.9, F 42.2 %; BOV CL 26.6, F 50.5, MTT 78, ka 57.7 %
    def cv(variance: float) -> float:
        return 100 * float(np.sqrt(np.expm1(variance)))

    between = {p.name: cv(p.variance) for p in MODEL.parameters if p.variance}
    occasion = {p.name: cv(p.occasion_variance) for p in MODEL.parameters if p.occasion_variance}
    assert between == pytest.approx({"CL": 36.9, "F": 42.2})
    assert occasion == pytest.approx({"CL": 26.6, "F": 50.5, "MTT": 78, "ka": 57.7})
    np.testing.assert_allclose(MODEL.omega, np.diag([np.log(1 + 0.369**2), np.log(1 + 0.422**2)]))


def test_residual_error_has_the_published_parts() -> None:
    # models.md 7: 0.101 mg/L + 6.72 %, independent
    error = MODEL.outputs[0].error
    measured = error.apply(np.full(2, 2.0), np.array([0.0, 1.0]))
    assert measured[1] - measured[0] == pytest.approx(np.hypot(0.0672 * 2, 0.101))


# --------------------------------------------------------------------------------------------------- genotype


def test_every_pair_of_genotypes_has_its_clearance() -> None:
    effects, substituted = genotype_effects((CYP2B6,), {"CYP2B6": np.array(list(DIPLOTYPE.values()))})
    assert dict(zip(DIPLOTYPE, effects["cl_l_h"].tolist(), strict=True)) == CLEARANCE
    assert not substituted


@pytest.mark.parametrize(
    ("diplotype", "genotype"),
    [("*9/*13", "TT|TT"), ("*7/*18", "GT|TC"), ("*2/*5", "GG|TT"), ("*4/*43", "GT|TT"), ("*18/*22", "GG|TC")],
)
def test_other_alleles_count_by_the_two_variants(diplotype: str, genotype: str) -> None:
    effects, substituted = genotype_effects((CYP2B6,), {"CYP2B6": np.array([diplotype])})
    assert effects["cl_l_h"].tolist() == [CLEARANCE[genotype]]
    assert not substituted


def test_only_the_two_hybrids_are_read_by_their_function() -> None:
    known = {*CYP2B6.per_allele, *CYP2B6.same_as}
    assert set(TABLES.function_alleles("CYP2B6")) - known == {"*29", "*30"}
    effects, substituted = genotype_effects((CYP2B6,), {"CYP2B6": np.array(["*1/*29", "*1/*30"])})
    assert effects["cl_l_h"].tolist() == [CLEARANCE["GT|TT"], CLEARANCE["GG|TC"]]
    assert sum(substituted.values()) == 2


@pytest.mark.parametrize(
    ("group", "t516", "c983"),
    [
        ("Sub-Saharan African", 0.423, 0.058), ("African American/Afro-Caribbean", 0.363, 0.033),
        ("European", 0.272, 0.000), ("East Asian", 0.209, 0.000), ("Central/South Asian", 0.244, 0.0),
        ("Latino", 0.292, 0.015), ("Near Eastern", 0.357, 0.0), ("Oceanian", 0.640, 0.0),
    ],
)  # fmt: skip
def test_alleles_read_as_516t_and_983c_have_the_summed_frequencies(
    group: str, t516: float, c983: float
) -> None:
    # models.md 17, sums over the alleles that carry the variants
    frequencies = TABLES.allele_frequencies("CYP2B6", group)
    read_as = {allele: CYP2B6.same_as.get(allele, allele) for allele in frequencies}
    assert sum(f for a, f in frequencies.items() if read_as[a] == "*6") == pytest.approx(t516, abs=6e-4)
    assert sum(f for a, f in frequencies.items() if read_as[a] == "*18") == pytest.approx(c983, abs=6e-4)


# ---------------------------------------------------------------------------------------------- the equations


def test_rates_are_the_printed_equations(rate_matrix: Callable[[Floats], Floats]) -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        theta, state = individual(rng), rng.uniform(0, 100, 30)
        slope = rate_matrix(theta) @ state
        np.testing.assert_allclose(slope, written_out(state, theta), rtol=1e-12, atol=1e-12)


@pytest.fixture
def rate_matrix() -> Callable[[Floats], Floats]:
    """``rate_matrix(theta)``: the model's rates as a matrix."""

    def matrix(theta: Floats) -> Floats:
        made = np.zeros((30, 30))
        MODEL.solver.kernels[0](0.0, theta, made)
        return made

    return matrix


def test_one_dose_is_the_matrix_exponential(rate_matrix: Callable[[Floats], Floats]) -> None:
    theta = individual(np.random.default_rng(2))
    hours = np.array([0.05, 0.8, 3.0, 14.0, 100.0])
    first = np.zeros(30)
    first[0] = 200 * theta[6]
    states = np.array([expm(rate_matrix(theta) * h) @ first for h in hours])
    expected = np.column_stack([states[:, 27] / theta[1], states[:, 29]])
    got = simulate(MODEL, theta, [Dose(0.0, 200.0)], hours)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-12 * expected.max(axis=0))


@pytest.mark.parametrize("seed", range(4))
def test_any_schedule_agrees_with_an_adaptive_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = individual(rng)
    clock = np.sort(rng.uniform(0, 120, 6))
    doses = [Dose(float(t), float(rng.uniform(50, 600))) for t in clock]
    doses = doses[:1] + doses  # two tablets at once
    times = np.sort(np.concatenate([rng.uniform(0, 160, 10), clock[:2], [0.0]]))
    expected = integrated(theta, doses, times)
    got = simulate(MODEL, theta, doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


def test_maintenance_dose_has_the_wanted_average_in_steady_state() -> None:
    theta = individual(np.random.default_rng(3))
    dose = float(maintenance_dose(theta, 2.0))
    days = 400
    schedule = [Dose(24.0 * day, dose) for day in range(days)]
    area = simulate(MODEL, theta, schedule, [24.0 * (days - 1), 24.0 * days], ["AUC"])[0, :, 0]
    assert (area[1] - area[0]) / 24 == pytest.approx(2.0, rel=1e-6)


# ---------------------------------------------------------------------------------------- shared trajectories


def test_shared_trajectories_are_met_within_1e_6(shared: Path) -> None:
    files = [read(path) for path in sorted((shared / "reference" / "trajectories").glob("efavirenz_*.csv"))]
    worst = {file.path.name: compare(file, CASES[file.header["model_id"]])[0] for file in files}
    assert worst and max(worst.values()) <= RELATIVE, worst
