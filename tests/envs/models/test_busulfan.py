"""The busulfan models against models.md 9, shared trajectories, and an independent integrator."""

import math
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import compare, read
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate
from dosewright.envs.pharmacology.models import busulfan_mccune2014 as mccune2014
from dosewright.envs.pharmacology.models import busulfan_shukla2020 as shukla2020
from dosewright.envs.pharmacology.models import busulfan_yuan2021 as yuan2021

Floats = NDArray[np.float64]

MCCUNE, SHUKLA, YUAN = mccune2014.MODEL, shukla2020.MODEL, yuan2021.MODEL
# model -> (time, clearance relative to the first piece) of models.md 9
PIECES = {
    MCCUNE: ((0.0, 1.0), (6.0, 0.932), (36.0, 0.919)),
    SHUKLA: ((0.0, 1.0), (24.0, 0.865)),
    YUAN: ((0.0, 1.0),),
}
each_model = pytest.mark.parametrize("model", PIECES, ids=lambda model: model.name)


def usual(model: PopulationModel, effects: dict[str, float] | None = None, **other: float) -> Floats:
    """Typical parameters (p,) of the reference individual without *B, but for `other`."""
    known = {item.name: item.reference for item in model.covariates} | other
    return model.typical(known, {"gsta1_b": 0.0} if effects is None else effects)[0]


# --------------------------------------------------------------------------------- printed and shared numbers


def test_printed_check_of_mccune() -> None:
    # models.md 9.4: 70 kg, 175 cm, 40 y male, 224 mg over 3 h, four days
    doses = [Dose(24.0 * day, 224, 3.0) for day in range(4)]
    times = np.arange(0, 96.01, 0.25)
    theta = usual(MCCUNE, age_y=40, weight_kg=70, height_cm=175, male=1)
    level, auc = simulate(MCCUNE, theta, doses, times, ["C", "AUC"])[0].T
    assert level.max() == pytest.approx(4.2518, abs=5e-5)
    assert auc[-1] == pytest.approx(90.70, abs=0.005)


@pytest.mark.parametrize("model", (MCCUNE, YUAN), ids=lambda model: model.name)
def test_reference_trajectories_are_met(shared: Path, model: PopulationModel) -> None:
    found = [read(path) for path in sorted((shared / "reference" / "trajectories").glob("busulfan_*.csv"))]
    mine = [item for item in found if item.header["model_id"] == model.name]
    assert mine
    for trajectory in mine:
        worst, where = compare(trajectory, CASES[model.name])
        assert worst <= 1e-6, f"{trajectory.path.name}: {where}"


# --------------------------------------------------------------------------------------------- typical values


@pytest.mark.parametrize(
    ("age", "weight", "height", "male"),
    [
        (40, 70, 175, True),
        (40, 70, 175, False),
        (0.3, 6.2, 61, True),
        (7, 24, 122, False),
        (55, 130, 168, False),
    ],
)
def test_mccune_typical_values(age: float, weight: float, height: float, male: bool) -> None:
    most, half = (42.92, 30.93) if male else (37.99, 35.98)
    h = height / 100
    ffm = most * h**2 * weight / (half * h**2 + weight)
    nfm_cl, nfm_v = ffm + 0.509 * (weight - ffm), ffm + 0.203 * (weight - ffm)
    fmat = 1 / (1 + ((age * 52.1775 + 40) / 45.7) ** -2.3)
    sex = 1 if male else 1.07
    expected = [
        11.4 * (nfm_cl / 70) ** 0.75 * fmat,
        13.9 * nfm_v / 70 * sex,
        135.2 * (nfm_cl / 70) ** 0.75,
        29.9 * nfm_v / 70 * sex,
    ]
    got = usual(MCCUNE, age_y=age, weight_kg=weight, height_cm=height, male=float(male))
    np.testing.assert_allclose(got, expected, rtol=1e-13)


def test_mccune_clearance_matures_with_age() -> None:
    # half of the maturation at 45.7 weeks after conception
    assert mccune2014.maturation((45.7 - 40) / 52.1775) == pytest.approx(0.5, rel=1e-12)
    # 1/(1 + 1.3585), born at 40 weeks
    assert mccune2014.maturation(0.0) == pytest.approx(0.4240, abs=1e-4)
    assert 0.999 < mccune2014.maturation(20.0) < 1


def test_yuan_typical_values() -> None:
    np.testing.assert_allclose(usual(YUAN), [4.79, 14.80], rtol=1e-14)
    expected = [
        4.79 * (1.1 / 0.67) ** 0.83 * (60 / 29.1) ** -0.21 * math.exp(-0.19),
        14.8 * (1.1 / 0.67) ** 0.92,
    ]
    np.testing.assert_allclose(usual(YUAN, {"gsta1_b": 1.0}, bsa_m2=1.1, ast_u_l=60), expected, rtol=1e-14)


def shukla_parameters(age: float, weight: float, height: float, male: bool, regimen: bool) -> list[float]:
    """As models.md 9.3 and 10 print it."""
    bmi = weight / (height / 100) ** 2
    if male:
        ffm = (0.88 + 0.12 / (1 + (age / 13.4) ** -12.7)) * 9270 * weight / (6680 + 216 * bmi)
    else:
        ffm = (1.11 - 0.11 / (1 + (age / 7.1) ** -1.1)) * 9270 * weight / (8780 + 244 * bmi)
    cl = 3.96 * (0.451 + 0.549 * (1 - math.exp(-1.37 * age))) * (ffm / 12) ** 0.75 * (1 - 0.20 * regimen)
    return [cl, 10.8 * ffm / 12]


@pytest.mark.parametrize(
    ("age", "weight", "height", "male", "regimen"),
    [
        (3, 15, 96, True, False),
        (0.4, 6.5, 63, False, True),
        (9, 30, 135, False, False),
        (19, 74, 178, True, True),
    ],
)
def test_shukla_typical_values(age: float, weight: float, height: float, male: bool, regimen: bool) -> None:
    got = usual(
        SHUKLA, age_y=age, weight_kg=weight, height_cm=height, male=float(male),
        clofarabine_or_fludarabine=float(regimen),
    )  # fmt: skip
    np.testing.assert_allclose(got, shukla_parameters(age, weight, height, male, regimen), rtol=1e-13)


def test_reference_child_of_shukla_has_the_published_fat_free_mass() -> None:
    assert usual(SHUKLA)[1] == pytest.approx(10.8, rel=2e-3)


# --------------------------------------------------------------------------------------------------- genotype


@pytest.mark.parametrize(
    ("pair", "factor"), [(("*A", "*A"), 1.0), (("*A", "*B"), 0.827), (("*B", "*B"), 0.827)]
)
@pytest.mark.parametrize("model", (YUAN, mccune2014.COMPOSITE), ids=lambda model: model.name)
def test_gsta1_acts_on_clearance_alone(model: PopulationModel, pair: tuple[str, str], factor: float) -> None:
    (term,) = model.genotype_terms
    ratio = usual(model, {term.effect: term.pairs[pair]}) / usual(model, {term.effect: 0.0})
    assert ratio[0] == pytest.approx(factor, abs=5e-4)
    assert np.all(ratio[1:] == 1.0)


def test_gsta1_frequencies_are_those_of_the_cohorts() -> None:
    # models.md 9.3: 77.1, 21.7 and 1.2 % of 480 Hakka; nothing for any other ancestry
    (frequency,) = yuan2021.GSTA1.frequencies.values()
    a, b = frequency["*A"], frequency["*B"]
    assert list(yuan2021.GSTA1.frequencies) == ["East Asian"]
    assert a + b == 1.0
    np.testing.assert_allclose([a * a, 2 * a * b, b * b], [0.771, 0.217, 0.012], atol=0.007)


def test_composite_differs_from_mccune_by_the_genotype_alone() -> None:
    composite = mccune2014.COMPOSITE
    assert np.array_equal(usual(composite), usual(MCCUNE))
    assert composite.genotype_terms[0].flag == "PARTIAL"
    assert not MCCUNE.genotype_terms
    # one person of two genotypes
    known = {item.name: item.reference for item in composite.covariates}
    both = composite.typical(known, {"gsta1_b": np.array([0.0, 1.0])})
    assert both[1, 0] / both[0, 0] == pytest.approx(math.exp(-0.19), rel=1e-14)


# ------------------------------------------------------------------------------------------------ variability


def test_mccune_variances_in_the_order_of_the_implementation() -> None:
    # models.md 9.1, lower triangle, order CL, V1, Q, V2
    lower = np.zeros((4, 4))
    lower[np.tril_indices(4)] = [
        0.0459,
        0.0172,
        0.152,
        0.0681,
        0.097,
        0.814,
        0.0115,
        -0.00924,
        0.069,
        0.00932,
    ]
    assert [MCCUNE.parameters[i].name for i in MCCUNE.random_effects] == ["CL", "V", "Q", "V2"]
    assert np.array_equal(MCCUNE.omega, lower + np.tril(lower, -1).T)
    assert np.linalg.eigvalsh(MCCUNE.omega).min() > 0


def test_shukla_and_yuan_variances() -> None:
    assert np.array_equal(SHUKLA.omega, [[0.0595, 0.0323], [0.0323, 0.0293]])
    np.testing.assert_allclose(np.sqrt(np.exp(np.diag(YUAN.omega)) - 1), [0.1865, 0.2363], rtol=1e-13)
    assert YUAN.omega[0, 1] == 0.0


@pytest.mark.parametrize(
    ("model", "cv"), [(MCCUNE, (0.113, 0.224, 0, 0)), (SHUKLA, (0.1288, 0.1334)), (YUAN, (0, 0))]
)
def test_variability_between_days(model: PopulationModel, cv: tuple[float, ...]) -> None:
    variances = np.array([item.occasion_variance for item in model.parameters])
    np.testing.assert_allclose(np.sqrt(np.exp(variances) - 1), cv, rtol=1e-13)


@pytest.mark.parametrize(
    ("model", "proportional", "additive"),
    [(MCCUNE, 0.0387, 0.027), (SHUKLA, 0.106, 0.0222), (YUAN, 0.078, 0.043)],
)
def test_residual_error_in_mg_per_litre(model: PopulationModel, proportional: float, additive: float) -> None:
    error = model.outputs[model.output("C")].error
    assert model.outputs[model.output("C")].unit == "mg/L"
    assert (error.proportional, error.additive, error.log_sd) == (proportional, additive, 0.0)


# --------------------------------------------------------------------------------------------------- kinetics


def written_out(model: PopulationModel, theta: Floats, doses: list[Dose], times: Floats) -> Floats:
    """(m, 2) C and AUC by an independent integrator, restarted wherever a rate changes."""
    cl, v = theta[:2]
    # one compartment is two without exchange
    q, v2 = theta[2:] if len(theta) == 4 else (0.0, 1.0)
    pieces = PIECES[model]
    changes = {start for start, _ in pieces} | {d.time for d in doses} | {d.time + d.duration for d in doses}
    stops = sorted(changes | set(times))
    state, seen = np.zeros(3), {0.0: np.zeros(3)}
    for start, end in zip(stops, stops[1:], strict=False):
        rate = sum(d.amount / d.duration for d in doses if d.time <= start < d.time + d.duration)
        now = cl * [factor for begin, factor in pieces if begin <= start][-1]

        def rhs(t: float, y: Floats, rate: float = rate, now: float = now) -> list[float]:
            flow = q / v * y[0] - q / v2 * y[1]
            return [rate - now / v * y[0] - flow, flow, y[0] / v]

        state = solve_ivp(rhs, (start, end), state, method="DOP853", rtol=1e-11, atol=1e-13).y[:, -1]
        seen[end] = state
    return np.array([[seen[t][0] / v, seen[t][2]] for t in times])


@each_model
def test_random_people_under_random_infusions_against_an_independent_integrator(
    model: PopulationModel,
) -> None:
    rng = np.random.default_rng(12)
    typical = np.repeat(usual(model)[None], 3, axis=0)
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega, 3)
    times = np.sort(rng.uniform(0, 96, 25))
    for theta in model.individual(typical, eta):
        # the first two run across every break
        start, length = [4.5, 20.0, *np.sort(rng.uniform(30, 90, 4))], [4.0, 18.0, *rng.uniform(0.5, 5, 4)]
        doses = [Dose(t, rng.uniform(20, 250), h) for t, h in zip(start, length, strict=True)]
        got = simulate(model, theta, doses, times, ["C", "AUC"])[0]
        expected = written_out(model, theta, doses, times)
        assert np.all(np.abs(got - expected).max(axis=0) <= 1e-8 * expected.max(axis=0))


@each_model
def test_auc_of_a_dose_is_amount_over_the_clearance_of_its_time(model: PopulationModel) -> None:
    theta = usual(model)
    last, factor = PIECES[model][-1]
    # begins at the very moment of the last change
    auc = simulate(model, theta, [Dose(last, 100.0, 3.0)], [last + 300.0], ["AUC"])[0, 0, 0]
    assert auc == pytest.approx(100.0 / (theta[0] * factor), rel=1e-10)
