"""Docetaxel (Ozawa 2007, Kloft 2006, Friberg 2002) against models.md 4, shared trajectories, and an
independent integrator."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate
from dosewright.envs.pharmacology.models import docetaxel_friberg2002 as friberg2002
from dosewright.envs.pharmacology.models import docetaxel_kloft2006 as kloft2006
from dosewright.envs.pharmacology.models import docetaxel_ozawa2007 as ozawa2007

Floats = NDArray[np.float64]

TRAJECTORIES = Path(__file__).resolve().parents[4] / "shared" / "reference" / "trajectories"
OZAWA, KLOFT, FRIBERG = ozawa2007.MODEL, kloft2006.MODEL, friberg2002.MODEL
# models.md 4.1, typed here a second time: CL, V1, Q2, V2, Q3, V3
KINETICS = (35.7, 6.94, 5.58, 7.39, 12.5, 225.0)


def ozawa(neutrophils: float = 4.0, aag: float = 0.94) -> Floats:
    return ozawa2007.typical({"neutrophils_1e9_l": neutrophils, "aag_g_l": aag}, {})[0]


def kloft(male: float = 1.0, ecog1: float = 0.0, prior: float = 0.0, aag: float = 1.34) -> Floats:
    covariates = {"male": male, "ecog1": ecog1, "prior_chemotherapy": prior, "aag_g_l": aag}
    return kloft2006.typical(covariates, {})[0]


def friberg() -> Floats:
    return friberg2002.typical({}, {})[0]


@pytest.mark.parametrize("path", sorted(TRAJECTORIES.glob("docetaxel_*.csv")), ids=lambda path: path.stem)
def test_reference_trajectories_are_met(path: Path) -> None:
    trajectory = read(path)
    worst, where = compare(trajectory, CASES[trajectory.header["model_id"]])
    assert worst <= 1e-6, where


# ----------------------------------------------------------------------------------------------- parameters


def test_ozawa_has_the_published_values() -> None:
    columns = ("CL", "V1", "Q2", "V2", "Q3", "V3", "Circ0", "SLOPE", "MTT", "gamma", "kin", "IP0")
    assert tuple(item.name for item in OZAWA.parameters) == columns
    expected = (*KINETICS, 4.0, 17.9, 113.0, 0.196, 1 / 35.5, 5.19)
    np.testing.assert_allclose(ozawa(), expected, rtol=1e-14)
    np.testing.assert_allclose(ozawa(neutrophils=6.5), (*KINETICS, 6.5, *expected[7:]), rtol=1e-14)


@pytest.mark.parametrize(("aag", "factor"), [(0.51, 2.3253), (0.94, 1.0), (1.88, 0.38422), (2.41, 0.27271)])
def test_ozawa_slope_falls_with_aag_to_the_power_minus_1_38(aag: float, factor: float) -> None:
    # (AAG/0.94)^−1.38; doubling gives 2^−1.38 = 0.38422
    theta, reference = ozawa(aag=aag), ozawa()
    assert theta[7] / reference[7] == pytest.approx(factor, rel=2e-4)
    np.testing.assert_array_equal(np.delete(theta, 7), np.delete(reference, 7))


def test_kloft_has_the_published_values() -> None:
    columns = ("CL", "V1", "Q2", "V2", "Q3", "V3", "BASE", "SLOPE", "MTT", "gamma")
    assert tuple(item.name for item in KLOFT.parameters) == columns
    # 15.5711 L/µmol is 19.271 L/mg
    np.testing.assert_allclose(kloft(), (*KINETICS, 5.21965, 19.271, 84.1791, 0.144543), rtol=1e-5)


@pytest.mark.parametrize(
    ("changes", "base", "slope"),
    [
        ({"male": 0}, 1 - 0.121451, 1.0),
        ({"ecog1": 1}, 1 + 0.130406, 1.0),
        ({"prior": 1}, 1 - 0.146837, 1.0),
        # below 1.34 g/L one slope of the baseline, above another
        ({"aag": 0.84}, 1 - 0.5 * 0.174677, 1 + 0.5 * 0.350693),
        ({"aag": 1.84}, 1 + 0.5 * 0.494618, 1 - 0.5 * 0.350693),
        ({"male": 0, "ecog1": 1, "prior": 1, "aag": 2.34},
         (1 - 0.121451) * (1 + 0.130406) * (1 - 0.146837) * (1 + 0.494618), 1 - 0.350693),
    ],
)  # fmt: skip
def test_kloft_covariates_act_on_baseline_and_slope(
    changes: dict[str, float], base: float, slope: float
) -> None:
    expected = np.array([*KINETICS, 5.21965 * base, 15.5711 / 0.808 * slope, 84.1791, 0.144543])
    np.testing.assert_allclose(kloft(**changes), expected, rtol=1e-12)


def test_kloft_baseline_does_not_jump_where_its_aag_slope_changes() -> None:
    assert kloft(aag=1.34 + 1e-9)[6] == pytest.approx(kloft(aag=1.34)[6], rel=1e-8)


def test_kloft_refuses_an_aag_that_turns_the_drug_effect_round() -> None:
    # 1 − 0.350693·d is 0 at d = 2.8515, AAG 4.1915 g/L
    assert 0 < kloft(aag=4.19)[7] < 0.02
    covariates = {"male": 1.0, "ecog1": 0.0, "prior_chemotherapy": 0.0, "aag_g_l": [1.0, 4.2]}
    with pytest.raises(ValueError, match=r"patient 1: AAG 4\.2 g/L .* below 4\.19 g/L"):
        kloft2006.typical(covariates, {})


def test_friberg_has_the_published_values() -> None:
    columns = ("k10", "k12", "k21", "k13", "k31", "V1", "Circ0", "SLOPE", "MTT", "gamma")
    assert tuple(item.name for item in FRIBERG.parameters) == columns
    expected = (5.2, 1.06, 1.51, 1.26, 0.084, 7.4, 5.05, 8.58, 88.7, 0.161)
    np.testing.assert_array_equal(friberg(), expected)


def test_friberg_gives_every_person_a_row() -> None:
    rows = friberg2002.typical({"age_y": np.arange(5.0), "aag_g_l": np.ones(5)}, {})
    np.testing.assert_array_equal(rows, np.tile(friberg(), (5, 1)))
    with_effects = FRIBERG.individual(rows, np.ones((5, len(FRIBERG.random_effects))))
    assert with_effects.shape == (5, 10)


@pytest.mark.parametrize(
    ("model", "variances"),
    [
        # models.md 4.1 as coefficients of variation, 4.2 as variances for Kloft; section 0: ω² = ln(1 + CV²)
        (OZAWA, {"CL": np.log1p(0.399**2), "V1": np.log1p(0.264**2), "SLOPE": np.log1p(0.682**2),
                 "MTT": np.log1p(0.111**2), "IP0": np.log1p(1.10**2)}),
        (KLOFT, {"CL": np.log1p(0.399**2), "V1": np.log1p(0.264**2), "BASE": 0.0639703, "SLOPE": 0.128412,
                 "MTT": 0.0191785}),
        (FRIBERG, {"Circ0": np.log1p(0.42**2), "MTT": np.log1p(0.16**2), "gamma": np.log1p(0.039**2)}),
    ],
    ids=lambda item: getattr(item, "name", ""),
)  # fmt: skip
def test_random_effects_have_the_published_variances(
    model: PopulationModel, variances: dict[str, float]
) -> None:
    assert [model.parameters[i].name for i in model.random_effects] == list(variances)
    np.testing.assert_allclose(model.omega, np.diag(list(variances.values())), rtol=1e-12, atol=1e-300)


def test_assay_errors_are_the_published_ones() -> None:
    for model, log_sd in ((OZAWA, 0.291), (KLOFT, 0.424)):
        errors = {output.name: output.error for output in model.outputs}
        assert (errors["C"].proportional, errors["C"].log_sd) == (0.268, 0.0)
        assert (errors["ANC"].proportional, errors["ANC"].log_sd) == (0.0, log_sd)


# ------------------------------------------------------------------------------------------------- equations

Derivative = Callable[[Sequence[float], Floats], list[float]]


def chain_written_out(
    cells: Sequence[float], effect: float, base: float, mtt: float, gamma: float
) -> list[float]:
    """The chain as models.md 0 prints it."""
    prol, t1, t2, t3, circ = cells
    ktr = 4 / mtt
    growth = ktr * prol * (1 - effect) * (base / circ) ** gamma - ktr * prol
    return [growth, ktr * (prol - t1), ktr * (t1 - t2), ktr * (t2 - t3), ktr * (t3 - circ)]


def clearances_written_out(amounts: Sequence[float], theta: Floats) -> list[float]:
    """Three compartments with clearances and volumes."""
    (a1, a2, a3), (cl, v1, q2, v2, q3, v3) = amounts, theta[:6].tolist()
    to2, to3 = q2 * (a1 / v1 - a2 / v2), q3 * (a1 / v1 - a3 / v3)
    return [-cl * a1 / v1 - to2 - to3, to2, to3]


def ozawa_written_out(state: Sequence[float], theta: Floats) -> list[float]:
    base, slope, mtt, gamma, kin = theta[6:11].tolist()
    cells = chain_written_out(state[4:], slope * state[0] / theta[1], base, mtt, gamma)
    cells[4] += kin * state[3]
    return [*clearances_written_out(state[:3], theta), -kin * state[3], *cells]


def kloft_written_out(state: Sequence[float], theta: Floats) -> list[float]:
    base, slope, mtt, gamma = theta[6:10].tolist()
    cells = chain_written_out(state[3:], slope * state[0] / theta[1], base, mtt, gamma)
    return [*clearances_written_out(state[:3], theta), *cells]


def friberg_written_out(state: Sequence[float], theta: Floats) -> list[float]:
    k10, k12, k21, k13, k31, v1, base, slope, mtt, gamma = theta.tolist()
    a1, a2, a3 = state[:3]
    cells = chain_written_out(state[3:], slope * a1 / v1 / 0.808, base, mtt, gamma)
    amounts = [k21 * a2 + k31 * a3 - (k10 + k12 + k13) * a1, k12 * a1 - k21 * a2, k13 * a1 - k31 * a3]
    return [*amounts, *cells]


MODELS = [
    pytest.param(OZAWA, ozawa(), ozawa_written_out, id="ozawa2007"),
    pytest.param(KLOFT, kloft(), kloft_written_out, id="kloft2006"),
    pytest.param(FRIBERG, friberg(), friberg_written_out, id="friberg2002"),
]


def random_theta(rng: np.random.Generator, typical: Floats) -> Floats:
    return typical * np.exp(rng.uniform(-0.6, 0.6, len(typical)))


@pytest.mark.parametrize(("model", "typical", "written_out"), MODELS)
def test_right_hand_side_is_the_printed_one(
    model: PopulationModel, typical: Floats, written_out: Derivative
) -> None:
    rng = np.random.default_rng(1)
    rates, rhs = model.solver.kernels
    for _ in range(20):
        theta, state = random_theta(rng, typical), rng.uniform(0.5, 10, len(model.states))
        matrix, driven = np.zeros((3, 3)), np.empty(len(state) - 3)
        rates(0.0, theta, matrix)
        # the model's state is lnProl: dProl = Prol·dlnProl
        y, at = state[3:].copy(), model.states.index("lnProl") - 3
        prol, y[at] = y[at], np.log(y[at])
        rhs(0.0, y, state[:3], theta, driven)
        driven[at] *= prol
        got = np.concatenate([matrix @ state[:3], driven])
        np.testing.assert_allclose(got, written_out(state.tolist(), theta), rtol=1e-12, atol=1e-12)


def integrated(
    written_out: Derivative, theta: Floats, start: list[float], doses: list[Dose], times: Floats
) -> Floats:
    """(m, s) states by SciPy's DOP853, stopping at every dose, end of an infusion and sample; values before a
    dose."""
    stops = sorted({0.0, *times, *(d.time for d in doses), *(d.time + d.duration for d in doses)})
    state, at = np.array(start), {}
    for now, stop in zip(stops, [*stops[1:], None], strict=True):
        at[now] = state.copy()
        for dose in doses:
            if dose.time == now and dose.duration == 0:
                # premedication releases IP0 into state In
                place, amount = (
                    (3, theta[11] * dose.amount) if dose.route == "premedication" else (0, dose.amount)
                )
                state[place] += amount
        if stop is not None:
            inflow = np.zeros(len(state))
            inflow[0] = sum(d.amount / d.duration for d in doses if d.time <= now < d.time + d.duration)
            state = solve_ivp(
                lambda t, y, rate=inflow: written_out(y.tolist(), theta) + rate,
                (now, stop), state, "DOP853", rtol=1e-11, atol=1e-13,
            ).y[:, -1]  # fmt: skip
    return np.array([at[time] for time in times])


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(("model", "typical", "written_out"), MODELS)
def test_any_schedule_agrees_with_an_adaptive_integrator(
    model: PopulationModel, typical: Floats, written_out: Derivative, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    theta = random_theta(rng, typical)
    starts = np.sort(rng.uniform(0, 200, 3)).tolist()
    doses = [Dose(starts[0], 120.0, 1.3), Dose(starts[1], 90.0), Dose(starts[2], 70.0, 30.0)]
    if model is OZAWA:
        doses = sorted(
            [*doses, Dose(starts[0], 1.0, 0.0, "premedication"), Dose(150.0, 0.5, 0.0, "premedication")]
        )
    times = np.sort(np.concatenate([rng.uniform(0, 400, 15), starts]))
    start = [0.0] * (len(model.states) - 5) + [float(theta[6])] * 5
    state = integrated(written_out, theta, start, doses, times)
    level = state[:, 0] / (theta[5] * 0.808 if model is FRIBERG else theta[1])
    got = simulate(model, theta, doses, times)[0]
    # Ozawa's also has In, Prol, T1, T2, T3
    expected = np.column_stack([level, state[:, -1], *(state[:, 3:8].T if model is OZAWA else ())])
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


# Ozawa's first cell is In, which is 0 where no premedication is given
@pytest.mark.parametrize(("model", "typical", "written_out"), MODELS[1:])
def test_the_few_cells_that_too_large_doses_leave_are_right_to_their_own_size(
    model: PopulationModel, typical: Floats, written_out: Derivative
) -> None:
    def in_logarithms(state: Sequence[float], theta: Floats) -> list[float]:
        # the same with the logarithms of the cells, which cannot turn negative however few they are
        cells = np.exp(state[3:]).tolist()
        slopes = written_out([*state[:3], *cells], theta)
        return [*slopes[:3], *(slope / n for slope, n in zip(slopes[3:], cells, strict=True))]

    # four times the effect, and the largest dose of 120 mg/m² at 2 m² (models.md 4.3) without a delay
    theta, times = typical.copy(), np.arange(0, 2017, 168.0)
    theta[7] *= 4
    doses = [Dose(504.0 * cycle, 240.0, 1.0) for cycle in range(4)]
    start = [0.0] * 3 + [float(np.log(theta[6]))] * 5
    expected = np.exp(integrated(in_logarithms, theta, start, doses, times)[:, 7])
    assert 0 < expected.min() < 0.05
    got = simulate(model, theta, doses, times, ["ANC"])[0, :, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-6)


EXTREME = [
    # the least AAG of the paper, and an AAG that makes the slope of Kloft's patients steeper still
    pytest.param(OZAWA, ozawa(aag=0.51), 2e-3, id="ozawa2007"),
    pytest.param(KLOFT, kloft(aag=0.3), 1e-4, id="kloft2006"),
    pytest.param(FRIBERG, friberg(), 1e-5, id="friberg2002"),
]


@pytest.mark.parametrize(("model", "typical", "within"), EXTREME)
def test_patients_whom_too_large_doses_leave_hardly_a_cell_are_computed(
    model: PopulationModel, typical: Floats, within: float
) -> None:
    # one in seven of Ozawa's could not be while Prol was a state of its own
    rng = np.random.default_rng(1)
    width = np.sqrt(np.diag(model.omega))
    theta = model.individual(np.tile(typical, (300, 1)), width * rng.normal(size=(300, len(width))))
    # the largest dose of 120 mg/m² at 2 m² (models.md 4.3)
    doses, times = [Dose(504.0 * cycle, 240.0, 1.0) for cycle in range(4)], np.arange(0, 2017, 24.0)
    if model is OZAWA:
        doses = sorted([*doses, *(Dose(504.0 * cycle, 1.0, 0.0, "premedication") for cycle in range(4))])
    exact, belief = (
        simulate(model, theta, doses, times, ["ANC"], rule)[..., 0] for rule in ("exact", "belief")
    )
    assert exact.min() > 0 and belief.min() > 0
    assert np.isfinite(exact).all() and exact.max() < 100
    if model is not FRIBERG:  # whose slope does not vary
        assert (exact.min(axis=1) < 0.01).mean() > 0.05
    np.testing.assert_array_less(np.abs(belief - exact).max(axis=1), within * exact.max(axis=1))


# -------------------------------------------------------------------------------------- published behaviour


def test_ozawa_check_of_96_mg() -> None:
    # models.md 4.3: ANC 4.0, AAG 0.94, 96 mg in 1 h with premedication: nadir 0.97 at 234 h, peak 1.88 mg/L
    doses = [Dose(0.0, 1.0, 0.0, "premedication"), Dose(0.0, 96.0, 1.0, "infusion")]
    times = np.arange(0, 505, 1.0)
    level, cells = simulate(OZAWA, ozawa(), doses, times, ["C", "ANC"])[0].T
    assert level.max() == level[1] == pytest.approx(1.88, abs=5e-3)
    assert cells.min() == pytest.approx(0.97, abs=5e-3)
    assert times[cells.argmin()] == pytest.approx(234, abs=3)


def test_premedication_raises_neutrophils_at_once_and_its_store_decays_with_35_5_h() -> None:
    times = np.array([0.0, 1e-9, 24.0, 35.5])
    doses = [Dose(0.0, 1.0, 0.0, "premedication")]
    released, cells = simulate(OZAWA, ozawa(), doses, times, ["In", "ANC"])[0].T
    np.testing.assert_allclose(released, [0.0, 5.19, 5.19 * np.exp(-24 / 35.5), 5.19 / np.e], rtol=1e-8)
    assert cells[0] == 4.0
    assert cells[2] > 5.0


def test_bolus_of_180_mg_begins_at_30_1_micromol_per_litre() -> None:
    # 180/7.4/0.808; so Edrug is 258 there
    level = simulate(FRIBERG, friberg(), [Dose(0.0, 180.0)], [1e-9], ["C"])[0, 0, 0]
    assert level == pytest.approx(30.104, abs=1e-3)
    assert level * 8.58 == pytest.approx(258.3, abs=0.1)


def test_kloft_has_the_kinetics_of_ozawa() -> None:
    doses, times = [Dose(0.0, 150.0, 1.0), Dose(30.0, 80.0, 1.0)], np.linspace(0, 60, 31)
    levels = [
        simulate(model, theta, doses, times, ["C"]) for model, theta in ((OZAWA, ozawa()), (KLOFT, kloft()))
    ]
    np.testing.assert_allclose(levels[0], levels[1], rtol=1e-12)


@pytest.mark.parametrize(
    ("model", "theta", "base"), [(OZAWA, ozawa(), 4.0), (KLOFT, kloft(), 5.21965), (FRIBERG, friberg(), 5.05)]
)
def test_untreated_neutrophils_stay_at_their_baseline(
    model: PopulationModel, theta: Floats, base: float
) -> None:
    # Prol is the exponential of a logarithm, equal to the baseline but for rounding, which long steps amplify
    np.testing.assert_allclose(simulate(model, theta, [], [0.0, 500.0], ["ANC"]), base, rtol=1e-7)


@pytest.mark.parametrize(("model", "theta"), [(OZAWA, ozawa()), (KLOFT, kloft()), (FRIBERG, friberg())])
def test_more_drug_means_a_deeper_nadir_and_neutrophils_come_back(
    model: PopulationModel, theta: Floats
) -> None:
    times = np.arange(0, 1009, 6.0)
    courses = [
        simulate(model, theta, [Dose(0.0, dose, 1.0)], times, ["ANC"])[0, :, 0] for dose in (60, 120, 180)
    ]
    nadirs = [course.min() for course in courses]
    assert nadirs[0] > nadirs[1] > nadirs[2] > 0
    assert courses[2][-1] > 0.9 * theta[6]
