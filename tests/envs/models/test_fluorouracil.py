"""Fluorouracil (Arshad 2020) against models.md 6 and 17, shared trajectories, and an independent
integrator."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import Dose, simulate
from dosewright.envs.pharmacology.models.fluorouracil_arshad2020 import DPYD, MODEL, dose_for_auc, typical
from dosewright.pharmacogenomics import TABLES

Floats = NDArray[np.float64]

TRAJECTORIES = Path(__file__).resolve().parents[4] / "shared" / "reference" / "trajectories"
COLUMNS = ("CL", "V1", "Q", "V2", "CLm", "Vm", "Circ0", "SLOPE", "MTT", "gamma")
# models.md 6, typed here a second time: BSA 1.95 m², without cisplatin
REFERENCE = (249.0, 5.56, 14.8, 28.5, 121.0, 96.7, 6.86, 1.17, 281.0, 0.17)


def person(bsa: float = 1.95, cisplatin: float = 0.0, dpd: float = 1.0) -> Floats:
    """(10,) parameters of a person without random effects."""
    return typical({"bsa_m2": bsa, "cisplatin": cisplatin}, {"dpd": dpd})[0]


@pytest.mark.parametrize("path", sorted(TRAJECTORIES.glob("fluorouracil_*.csv")), ids=lambda path: path.stem)
def test_reference_trajectories_are_met(path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


# ----------------------------------------------------------------------------------------------- parameters


def test_reference_person_has_the_published_values() -> None:
    assert tuple(item.name for item in MODEL.parameters) == COLUMNS
    np.testing.assert_array_equal(person(), REFERENCE)


def test_both_clearances_rise_by_0_77_per_square_metre_and_nothing_else() -> None:
    # s = 1 + 0.77·(2.25 − 1.95) = 1.231
    expected = np.array(REFERENCE)
    expected[[0, 4]] *= 1.231
    np.testing.assert_allclose(person(bsa=2.25), expected, rtol=1e-14)


def test_cisplatin_makes_the_slope_2_82() -> None:
    expected = np.array(REFERENCE)
    expected[7] = 2.82
    np.testing.assert_array_equal(person(cisplatin=1), expected)


def test_people_keep_their_rows() -> None:
    covariates = {"bsa_m2": [1.6, 1.95, 2.2], "cisplatin": [1.0, 0.0, 1.0]}
    together = typical(covariates, {"dpd": [0.5, 1.0, 0.75]})
    apart = [person(1.6, 1, 0.5), person(1.95, 0, 1.0), person(2.2, 1, 0.75)]
    np.testing.assert_array_equal(together, apart)


def test_random_effects_have_the_published_cvs() -> None:
    # models.md 6 with section 0: ω² = ln(1 + CV²), independent
    cvs = {"CL": 0.230, "V1": 1.45, "CLm": 0.289, "Vm": 0.596, "Circ0": 0.164}
    assert [MODEL.parameters[i].name for i in MODEL.random_effects] == list(cvs)
    expected = np.diag([np.log(1 + cv**2) for cv in cvs.values()])
    np.testing.assert_allclose(MODEL.omega, expected, rtol=1e-12, atol=1e-300)


def test_assay_errors_are_the_roots_of_the_published_variances() -> None:
    # σ² 0.32, 0.14, 0.08, proportional
    expected = {"C": 0.5656854, "FUH2": 0.3741657, "WBC": 0.2828427, "AUC": 0.0}
    assert {o.name: o.error.proportional for o in MODEL.outputs} == pytest.approx(expected, abs=1e-7)


# -------------------------------------------------------------------------------------------------- genotype

NORMAL, DECREASED, NONE = "Reference", "c.2846A>T", "c.1905+1G>A (*2A)"


@pytest.mark.parametrize(
    ("diplotype", "factor"),
    [
        # models.md 6: activity score 2 → 1.0, 1.5 → 0.75, 1 → 0.5
        (f"{NORMAL}/{NORMAL}", 1.0),
        (f"{NORMAL}/{DECREASED}", 0.75),
        (f"{DECREASED}/{DECREASED}", 0.5),
        (f"{NONE}/{NORMAL}", 0.5),
        (f"{DECREASED}/{NONE}", 0.25),
        (f"{NONE}/{NONE}", 0.0),
        # read by their function: HapB3 is decreased, *13 has none, *9A is normal
        (f"{NORMAL}/c.1129-5923C>G, c.1236G>A (HapB3)", 0.75),
        (f"{NORMAL}/c.1679T>G (*13)", 0.5),
        ("c.85T>C (*9A)/c.85T>C (*9A)", 1.0),
    ],
)
def test_factor_of_a_diplotype_is_half_its_activity_score(diplotype: str, factor: float) -> None:
    effects, _ = genotype_effects((DPYD,), {"DPYD": np.array([diplotype])})
    assert effects["dpd"].tolist() == [factor]


def test_every_allele_counts_half_of_its_cpic_activity_value() -> None:
    alleles = TABLES.function_alleles("DPYD")
    pairs = np.array([f"{allele}/{allele}" for allele in alleles])
    effects, _ = genotype_effects((DPYD,), {"DPYD": pairs})
    assert effects["dpd"].tolist() == [
        getattr(TABLES.allele_activity("DPYD", allele), "value", None) for allele in alleles
    ]
    assert len(alleles) > 80


def test_a_star_2a_carrier_loses_about_what_was_measured() -> None:
    # models.md 17: van Kuilenburg 2012, Vmax × 0.54 at 300 mg/m²
    effects, _ = genotype_effects((DPYD,), {"DPYD": np.array([f"{NORMAL}/{NONE}"])})
    assert effects["dpd"][0] == pytest.approx(0.54, abs=0.05)


def test_dpyd_acts_on_the_clearance_of_5_fu_only() -> None:
    expected = np.array(REFERENCE)
    expected[0] *= 0.25
    np.testing.assert_array_equal(person(dpd=0.25), expected)


def test_people_without_clearance_are_refused_by_number() -> None:
    with pytest.raises(ValueError, match=r"patient 1: DPYD activity 0 leaves no clearance"):
        typical({"bsa_m2": 1.95, "cisplatin": 0}, {"dpd": [1.0, 0.0]})
    least = {covariate.name: covariate.least for covariate in MODEL.covariates}["bsa_m2"]
    assert least == pytest.approx(0.6513, abs=1e-4)
    assert person(bsa=least + 1e-3)[0] > 0
    with pytest.raises(ValueError, match=r"patient 0: a body surface of 0\.6\d* m² is too small"):
        person(bsa=least - 1e-3)


# ------------------------------------------------------------------------------------------------- equations


def written_out(state: Sequence[float], theta: Floats) -> list[float]:
    """Right-hand side as models.md 0 and 6 print it; s and the DPYD factor are in CL and CLm."""
    a1, a2, b, prol, t1, t2, t3, circ, _ = state
    cl, v1, q, v2, clm, vm, circ0, slope, mtt, gamma = theta.tolist()
    ktr, c = 4 / mtt, a1 / v1
    return [
        -cl / v1 * a1 - q / v1 * a1 + q / v2 * a2,
        q / v1 * a1 - q / v2 * a2,
        0.85 * (cl / v1) * a1 - clm / vm * b,
        ktr * prol * (1 - slope * c) * (circ0 / circ) ** gamma - ktr * prol,
        ktr * (prol - t1),
        ktr * (t1 - t2),
        ktr * (t2 - t3),
        ktr * (t3 - circ),
        c,
    ]


def random_theta(rng: np.random.Generator) -> Floats:
    theta = person(rng.uniform(1.5, 2.3), float(rng.integers(2)), rng.choice([0.25, 0.5, 0.75, 1.0]))
    return theta * np.exp(rng.uniform(-0.5, 0.5, len(theta)))


def test_right_hand_side_is_the_printed_one() -> None:
    rng = np.random.default_rng(1)
    rates, rhs = MODEL.solver.kernels
    for _ in range(20):
        theta, state = random_theta(rng), rng.uniform(0.5, 10, 9)
        matrix, driven = np.zeros((3, 3)), np.empty(6)
        rates(0.0, theta, matrix)
        # the model's state is lnProl: dProl = Prol·dlnProl
        prol, y = state[3], state[3:].copy()
        y[0] = np.log(prol)
        rhs(0.0, y, state[:3], theta, driven)
        driven[0] *= prol
        got = np.concatenate([matrix @ state[:3], driven])
        np.testing.assert_allclose(got, written_out(state.tolist(), theta), rtol=1e-12, atol=1e-12)


def in_logarithms(state: Sequence[float], theta: Floats) -> list[float]:
    """The same with the logarithms of the cells, which cannot turn negative however few they are."""
    cells = np.exp(state[3:8]).tolist()
    slopes = written_out([*state[:3], *cells, state[8]], theta)
    return [*slopes[:3], *(slope / n for slope, n in zip(slopes[3:8], cells, strict=True)), slopes[8]]


Derivative = Callable[[Sequence[float], Floats], list[float]]


def integrated(
    derivative: Derivative, theta: Floats, cells: float, doses: list[Dose], times: Floats
) -> Floats:
    """(m, 9) states by SciPy's DOP853 from `cells`, stopping at every start and end of an infusion and at
    every sample."""
    stops = sorted({0.0, *times, *(d.time for d in doses), *(d.time + d.duration for d in doses)})
    state = np.array([0.0] * 3 + [cells] * 5 + [0.0])
    at = {0.0: state}
    for now, stop in zip(stops, stops[1:], strict=False):
        inflow = sum(d.amount / d.duration for d in doses if d.time <= now < d.time + d.duration)
        state = solve_ivp(
            lambda t, y, rate=inflow: np.array(derivative(y.tolist(), theta)) + np.array([rate] + [0.0] * 8),
            (now, stop), state, "DOP853", rtol=1e-11, atol=1e-13,
        ).y[:, -1]  # fmt: skip
        at[stop] = state
    return np.array([at[time] for time in times])


@pytest.mark.parametrize("seed", range(3))
def test_any_schedule_agrees_with_an_adaptive_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    theta = random_theta(rng)
    starts = np.sort(rng.uniform(0, 150, 3)).tolist()
    # infusions may overlap
    doses = [Dose(start, float(rng.uniform(500, 6000)), float(rng.uniform(1, 60))) for start in starts]
    times = np.sort(np.concatenate([rng.uniform(0, 250, 15), starts]))
    state = integrated(written_out, theta, theta[6], doses, times)
    expected = np.column_stack([state[:, 0] / theta[1], state[:, 2] / theta[5], state[:, 7], state[:, 8]])
    got = simulate(MODEL, theta, doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


def test_the_few_cells_that_too_large_doses_leave_are_right_to_their_own_size() -> None:
    # six cycles of 7200 mg at a quarter of the clearance with cisplatin, without a delay
    theta, times = person(dpd=0.25, cisplatin=1), np.arange(0, 2017, 168.0)
    doses = [Dose(336.0 * cycle, 7200.0, 46.0) for cycle in range(6)]
    expected = np.exp(integrated(in_logarithms, theta, np.log(theta[6]), doses, times)[:, 7])
    got = simulate(MODEL, theta, doses, times, ["WBC"])[0, :, 0]
    assert 0 < expected.min() < 1e-4
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_patients_whom_too_large_doses_leave_hardly_a_cell_are_computed() -> None:
    # six cycles of 7200 mg over 46 h with random effects, at full clearance and at a quarter with cisplatin
    rng = np.random.default_rng(1)
    width = np.sqrt(np.diag(MODEL.omega))
    typical_of = np.repeat([person(), person(dpd=0.25, cisplatin=1)], 150, axis=0)
    theta = MODEL.individual(typical_of, width * rng.normal(size=(300, len(width))))
    doses, times = [Dose(336.0 * cycle, 7200.0, 46.0) for cycle in range(6)], np.arange(0, 2353, 24.0)
    exact, belief = (
        simulate(MODEL, theta, doses, times, ["WBC"], rule)[..., 0] for rule in ("exact", "belief")
    )
    assert exact.min() > 0 and belief.min() > 0
    assert np.isfinite(exact).all() and exact.max() < 100
    assert (exact.min(axis=1) < 1e-4).any()
    # far below what a count is off by (a proportional residual error of tens of per cent)
    np.testing.assert_array_less(np.abs(belief - exact).max(axis=1), 3e-4 * exact.max(axis=1))


# ------------------------------------------------------------------------------------- published behaviour

FIVE_DAYS = [Dose(0.0, 1000 * 1.95 * 5, 120.0)]


def test_check_of_1000_mg_per_square_metre_and_day_for_five_days() -> None:
    # models.md 6: Css 0.3263 mg/L, AUC 39.157 mg·h/L = 9750/249, nadir 4.086 at 552 h
    times = np.arange(0, 1009, 6.0)
    got = simulate(MODEL, person(), FIVE_DAYS, times, ["C", "AUC", "WBC"])[0]
    assert got[times == 120, 0] == pytest.approx(0.3263, abs=5e-5)
    assert got[-1, 1] == pytest.approx(39.157, abs=5e-4)
    assert got[-1, 1] == pytest.approx(9750 / 249, rel=1e-6)
    assert got[:, 2].min() == pytest.approx(4.086, abs=5e-4)
    assert times[got[:, 2].argmin()] == 552


def test_what_leaves_as_5_fuh2_is_85_percent_of_the_dose() -> None:
    # AUC of 5-FUH2 = 0.85·dose/CLm, whatever the clearance of 5-FU; trapezoidal rule, end effects below 1e-3
    times = np.linspace(0, 200, 4001)
    for dpd in (1.0, 0.5):
        level = simulate(MODEL, person(dpd=dpd), FIVE_DAYS, times, ["FUH2"])[0, :, 0]
        assert np.trapezoid(level, times) == pytest.approx(0.85 * 9750 / 121, rel=1e-3)


def test_dose_for_auc_reaches_it() -> None:
    # mFOLFOX6's 46 h, target 25 mg·h/L (models.md 6)
    theta = np.array([person(bsa=1.6), person(dpd=0.5), person(bsa=2.2, cisplatin=1)])
    doses = [[Dose(0.0, float(dose), 46.0)] for dose in dose_for_auc(theta, 25.0)]
    np.testing.assert_allclose(simulate(MODEL, theta, doses, [150.0], ["AUC"])[:, 0, 0], 25.0, rtol=1e-7)


def test_half_the_clearance_is_the_same_as_twice_the_dose_for_the_leukocytes_to_come() -> None:
    # the infusion is long against the kinetics, so the leukocytes see the steady state
    twice = [Dose(0.0, 2 * 9750, 120.0)]
    times = np.arange(0, 1009, 24.0)
    slow = simulate(MODEL, person(dpd=0.5), FIVE_DAYS, times, ["WBC"])
    np.testing.assert_allclose(slow, simulate(MODEL, person(), twice, times, ["WBC"]), rtol=0.01)


def test_untreated_leukocytes_stay_at_their_baseline() -> None:
    got = simulate(MODEL, person(), [], [0.0, 500.0])[0]
    np.testing.assert_allclose(got, [[0.0, 0.0, 6.86, 0.0]] * 2, rtol=1e-12)
