"""The voriconazole models against models.md 8, shared trajectories, and an independent integrator."""

import math
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.cases import CASES
from benchmarks.conformance import RELATIVE, compare, read
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate
from dosewright.envs.pharmacology.models import voriconazole_friberg2012 as friberg2012
from dosewright.envs.pharmacology.models import voriconazole_kim2019 as kim2019
from dosewright.pharmacogenomics import TABLES, phenotype

Floats = NDArray[np.float64]
KIM, FRIBERG = kim2019.MODEL, friberg2012.MODEL
EM, IM, PM = 0.0, 1.0, 2.0
CHILD, ADOLESCENT, ADULT = 7.0, 14.0, 35.0  # ages in years

# models.md 8.2: oral 400 mg at 0 and 12 h, then 200 mg every 12 h
STANDARD = [Dose(12.0 * i, 400.0 if i < 2 else 200.0, 0.0, "oral") for i in range(20)]


def kim(number: float = EM, weight: float = 70, liver: float = 0) -> dict[str, float]:
    """Parameters of Kim's model for a patient without random effects."""
    covariates = {"weight_kg": weight, "liver_toxicity": liver}
    theta = kim2019.typical(covariates, {"cyp2c19_phenotype": number})[0]
    return dict(zip((parameter.name for parameter in KIM.parameters), theta.tolist(), strict=True))


def friberg(
    age: float = ADULT, number: float = EM, weight: float = 70, study1: float = 0
) -> dict[str, float]:
    """Parameters of Friberg's model for a person without random effects."""
    covariates = {"age_y": age, "weight_kg": weight, "study1": study1}
    theta = friberg2012.typical(covariates, {"cyp2c19_phenotype": number})[0]
    return dict(zip((parameter.name for parameter in FRIBERG.parameters), theta.tolist(), strict=True))


def row(parameters: dict[str, float]) -> Floats:
    return np.array(list(parameters.values()))


def expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# -------------------------------------------------------------------------------------------- values in print


@pytest.mark.parametrize(("number", "trough", "clearance"), [(EM, 1.142, 7.819), (PM, 5.285, 2.322)])
def test_kim_at_240_h_of_the_standard_regimen(number: float, trough: float, clearance: float) -> None:
    # models.md 8.3
    got = simulate(KIM, row(kim(number)), STANDARD, [240.0], ["C", "CL"])[0, 0]
    assert got == pytest.approx([trough, clearance], abs=6e-4)


@pytest.mark.parametrize(
    ("number", "trough", "peak"), [(EM, 0.2562, 1.827), (IM, 1.2312, 2.784), (PM, 1.2312, 2.784)]
)
def test_friberg_in_the_last_12_h_of_the_standard_regimen(number: float, trough: float, peak: float) -> None:
    # models.md 8.2: two integrators agree to 1e-4
    times = np.linspace(229, 240, 6601)
    level = simulate(FRIBERG, row(friberg(number=number)), STANDARD, times, ["C"])[0, :, 0]
    assert level[-1] == pytest.approx(trough, abs=1e-4)
    assert level.max() == pytest.approx(peak, abs=6e-4)


def test_kim_reference_patient() -> None:
    # models.md 8.1, typed a second time
    assert kim() == pytest.approx(
        {"CL": 45.3, "Vc": 35.7, "Vp1": 58.9, "Qp1": 10.9, "Vp2": 25.4, "Qp2": 54.6, "ka": 1.23,
         "tlag": 0.237, "F": 0.876, "RCLF": 0.162, "KIC": 0.002, "IC50": 0.01},
        rel=1e-15,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("number", "liver", "clearance", "share"),
    [(IM, 0, -0.186, -0.51), (PM, 0, -0.746, -0.44), (EM, 1, -0.75, 0), (PM, 1, -1.496, -0.44)],
)
def test_kim_phenotype_and_liver_act_on_clearance_and_its_lasting_share(
    number: float, liver: float, clearance: float, share: float
) -> None:
    changed = {name: math.log(value / kim()[name]) for name, value in kim(number, liver=liver).items()}
    assert changed.pop("CL") == pytest.approx(clearance)
    assert changed.pop("RCLF") == pytest.approx(share)
    assert set(changed.values()) == {0.0}


def test_kim_weight_acts_with_the_published_exponents() -> None:
    exponents = {name: math.log2(value / kim()[name]) for name, value in kim(weight=140).items()}
    assert exponents == pytest.approx({name: 0.0 for name in kim()} | {"CL": 0.595, "Vp1": 2.2, "Qp1": 2.56})


def test_friberg_reference_person_of_each_age() -> None:
    # models.md 8.2 at 70 kg, typed a second time
    adult = {"Km": 1.15, "Vmax1": 114, "T50": 2.41, "Vinh": expit(1.5), "CL": 6.16, "V2": 79, "Q": 15.5,
             "V3": 103, "ka": 100, "tlag": 0.949, "F": expit(0.585), "group": 2,
             "eta_Km": 0, "eta_Vmax1": 0, "eta_CL": 0, "eta_F": 0, "eta_ka": 0}  # fmt: skip
    young = {"Q": 15.5 * 1.637, "tlag": 0.949 * 0.126}
    assert friberg() == pytest.approx(adult)
    assert friberg(ADOLESCENT) == pytest.approx({**adult, **young, "ka": 0.458, "group": 1})
    assert friberg(CHILD) == pytest.approx({**adult, **young, "ka": 1.19, "Vinh": expit(1.11), "group": 0})
    assert friberg()["F"] == pytest.approx(0.642, abs=5e-4)
    assert friberg()["Vinh"] == pytest.approx(0.818, abs=5e-4)
    assert friberg(CHILD)["Vinh"] == pytest.approx(0.752, abs=5e-4)
    assert friberg(CHILD)["tlag"] == pytest.approx(0.120, abs=5e-4)


@pytest.mark.parametrize(("age", "group"), [(11.99, 0), (12, 1), (16.99, 1), (17, 2), (22, 2)])
def test_friberg_age_groups(age: float, group: int) -> None:
    # children 2 to under 12, adolescents 12 to under 17
    assert friberg(age)["group"] == group


def test_friberg_study_1_and_weight() -> None:
    factor = {name: value / friberg(CHILD)[name] for name, value in friberg(CHILD, study1=1).items() if value}
    assert {name: value for name, value in factor.items() if value != 1} == pytest.approx(
        {"Km": 0.618, "Vmax1": 0.618}
    )
    heavy = {name: value for name, value in friberg(weight=140).items() if value}
    exponents = {name: math.log2(value / friberg()[name]) for name, value in heavy.items()}
    assert {name: value for name, value in exponents.items() if value} == pytest.approx(
        {"Vmax1": 0.75, "CL": 0.75, "Q": 0.75, "V2": 1, "V3": 1}
    )


def test_friberg_phenotype_acts_in_adults_alone_and_intermediate_is_poor() -> None:
    for number in (IM, PM):
        changed = friberg(number=number)
        assert changed.pop("Vinh") == 1
        assert changed == {name: value for name, value in friberg().items() if name != "Vinh"}
        assert friberg(CHILD, number) == friberg(CHILD)
        assert friberg(ADOLESCENT, number) == friberg(ADOLESCENT)


# ------------------------------------------------------------------------------------------------ variability


def test_kim_covariance_is_the_published_block() -> None:
    # models.md 8.1, order Vc, CL, Vp1, Qp1; then ka, F on the logit scale, RCLF
    block = np.array(
        [
            [0.149802, 0.0116, -0.0117, -0.0734],
            [0.0116, 0.044778, -0.0119, 0.008],
            [-0.0117, -0.0119, 0.041560, 0.0345],
            [-0.0734, 0.008, 0.0345, 0.079683],
        ]
    )
    names = [KIM.parameters[i].name for i in KIM.random_effects]
    order = [names.index(name) for name in ("Vc", "CL", "Vp1", "Qp1", "ka", "F", "RCLF")]
    expected = np.zeros((7, 7))
    expected[:4, :4] = block
    expected[[4, 5, 6], [4, 5, 6]] = 0.571479, 0.537859, 0.259233
    np.testing.assert_array_equal(KIM.omega[np.ix_(order, order)], expected)
    assert np.linalg.eigvalsh(KIM.omega).min() > 0


def test_kim_bioavailability_varies_on_the_logit_scale() -> None:
    names = [KIM.parameters[i].name for i in KIM.random_effects]
    eta = np.zeros((2, len(names)))
    eta[:, names.index("F")] = -3.0, 3.0
    share = KIM.individual(np.tile(row(kim()), (2, 1)), eta)[:, KIM.column("F")]
    logit = math.log(0.876 / 0.124)
    assert share == pytest.approx([expit(logit - 3), expit(logit + 3)])


def test_friberg_effects_in_each_age_group() -> None:
    # models.md 8.2; order of the effects: V2, Q, V3, Km, Vmax1 of children, CL, F, ka
    eta = np.array([0.1, -0.4, 0.6, 0.9, 0.2, -0.3, 0.5, 0.7])
    shared = {"V2": 0.1, "Q": -0.4, "V3": 0.6, "Km": 0.9}
    expected = {
        CHILD: {**shared, "Vmax1": 0.2, "CL": -0.3 * 2.70, "ka": 0.7},
        ADOLESCENT: {**shared, "Vmax1": 0.208 * 0.9, "CL": -0.3 * 2.70, "ka": 0.7},
        ADULT: {**shared, "Vmax1": 0.584 * 0.9, "CL": -0.3, "ka": 0.0},
    }
    for age, shifts in expected.items():
        got = FRIBERG.individual(row(friberg(age))[None], eta[None])[0]
        for name, shift in shifts.items():
            ratio = got[FRIBERG.column(name)] / friberg(age)[name]
            assert math.log(ratio) == pytest.approx(shift), (age, name)
        f = 0.5 if age == ADULT else 0.5 * 1.67 / 0.686
        assert got[FRIBERG.column("F")] == pytest.approx(expit(0.585 + (math.exp(0.367 * f) - 1) / 0.367))


def test_friberg_spread_of_the_effects() -> None:
    # models.md 8.2: SD of Km 1.36, of Vmax1 0.239, 0.208·1.36 and 0.584·1.36, of CL 0.435 and 0.435·2.70
    n = 40_000
    z = np.random.default_rng(1).standard_normal((n, len(FRIBERG.random_effects)))
    eta = z @ np.linalg.cholesky(FRIBERG.omega).T
    for age, spread in {
        CHILD: {"Km": 1.36, "Vmax1": 0.239, "CL": 1.1745, "ka": 0.898, "V2": 0.136, "V3": 0.769, "Q": 0.424},
        ADOLESCENT: {"Km": 1.36, "Vmax1": 0.28288, "CL": 1.1745, "ka": 0.898},
        ADULT: {"Km": 1.36, "Vmax1": 0.79424, "CL": 0.435, "ka": 0.0},
    }.items():
        theta = np.log(FRIBERG.individual(np.tile(row(friberg(age)), (n, 1)), eta)[:, :11])
        for name, sd in spread.items():
            assert theta[:, FRIBERG.column(name)].std() == pytest.approx(sd, rel=0.02), (age, name)
        correlation = np.corrcoef(theta[:, :2].T)[0, 1]
        assert correlation == pytest.approx(0.81 if age == CHILD else 1.0, abs=0.01)


def test_friberg_combining_twice_changes_nothing() -> None:
    eta = np.random.default_rng(2).normal(size=(3, len(FRIBERG.random_effects)))
    typical = np.stack([row(friberg(age)) for age in (CHILD, ADOLESCENT, ADULT)])
    theta = FRIBERG.individual(typical, eta)
    np.testing.assert_allclose(friberg2012.combine(theta), theta, rtol=1e-14)


def test_residual_errors_are_those_of_patients() -> None:
    # models.md 8.1: additive 0.799 mg/L; 8.2: log-SD 0.365 for adult patients (ASSUMPTION)
    one = np.ones(1)
    assert KIM.outputs[0].error.apply(2 * one, one) == pytest.approx(2.799)
    assert FRIBERG.outputs[0].error.apply(2 * one, one) == pytest.approx(2 * math.exp(0.365))
    assert FRIBERG.outputs[0].error.flag == "ASSUMPTION"


# --------------------------------------------------------------------------------------------------- genotype


@pytest.mark.parametrize("model", [KIM, FRIBERG], ids=lambda model: model.name)
def test_every_diplotype_has_the_phenotype_of_cpic(model: PopulationModel) -> None:
    number = {
        "Normal Metabolizer": EM, "Rapid Metabolizer": EM, "Ultrarapid Metabolizer": EM,
        "Intermediate Metabolizer": IM, "Likely Intermediate Metabolizer": IM,
        "Poor Metabolizer": PM, "Likely Poor Metabolizer": PM,
    }  # fmt: skip
    alleles = [
        a
        for a in TABLES.function_alleles("CYP2C19")
        if "Uncertain" not in TABLES.clinical_function("CYP2C19", a)
    ]
    diplotypes = ["/".join(pair) for pair in combinations_with_replacement(alleles, 2)]
    effects, _ = genotype_effects(model.genotype_terms, {"CYP2C19": np.array(diplotypes)})
    expected = [number[str(phenotype("CYP2C19", diplotype))] for diplotype in diplotypes]
    assert effects["cyp2c19_phenotype"].tolist() == expected
    assert len(expected) > 300


def test_kim_classes() -> None:
    # phenotypes by CPIC; rapid as normal, and alleles of uncertain function as *1 (ASSUMPTION)
    classes = {"*1/*1": EM, "*1/*17": EM, "*1/*2": IM, "*1/*3": IM, "*2/*17": IM, "*2/*2": PM, "*2/*3": PM,
               "*3/*3": PM, "*2/*12": IM}  # fmt: skip
    effects, _ = genotype_effects((kim2019.CYP2C19,), {"CYP2C19": np.array(list(classes))})
    assert effects["cyp2c19_phenotype"].tolist() == list(classes.values())


# ---------------------------------------------------------------------------------------------- the equations


def kim_written_out(t: float, state: Floats, p: dict[str, float]) -> list[float]:
    """Right-hand side as models.md 8.1 prints it."""
    a0, a1, a2, a3, inhibition, _ = state.tolist()
    c = a1 / p["Vc"]
    cl = p["CL"] * (p["RCLF"] + (1 - p["RCLF"]) * p["IC50"] / (p["IC50"] + inhibition))
    to2, to3 = p["Qp1"] * c - p["Qp1"] / p["Vp1"] * a2, p["Qp2"] * c - p["Qp2"] / p["Vp2"] * a3
    return [-p["ka"] * a0, p["ka"] * a0 - cl * c - to2 - to3, to2, to3, p["KIC"] * c, c]


def friberg_written_out(t: float, state: Floats, p: dict[str, float]) -> list[float]:
    """Right-hand side as models.md 8.2 prints it."""
    a0, a1, a2, _ = state.tolist()
    c, tau = a1 / p["V2"], max(t - 1, 0)
    vmax = p["Vmax1"] * (1 - p["Vinh"] * tau / (tau + p["T50"] - 1))
    q, v3 = p["Q"], p["V3"]
    return [
        -p["ka"] * a0,
        p["ka"] * a0 - p["CL"] * c - vmax * c / (p["Km"] + c) - q * c + q * a2 / v3,
        q * c - q * a2 / v3,
        c,
    ]


Slope = Callable[[float, Floats, dict[str, float]], list[float]]


def integrated(
    slope: Slope, states: int, parameters: dict[str, float], doses: list[Dose], times: Floats
) -> Floats:
    """(m, s) states by SciPy's DOP853, stopping at every dose, end of an infusion, sample and at 1 h."""
    enters = {dose: dose.time + (parameters["tlag"] if dose.route == "oral" else 0) for dose in doses}
    ends = {dose: enters[dose] + dose.duration for dose in doses}
    state, now, out = np.zeros(states), 0.0, []
    for stop in sorted({1.0, *enters.values(), *ends.values(), *times.tolist()}):
        if stop > now:
            inflow = np.zeros(states)
            inflow[1] = sum(d.amount / d.duration for d in doses if d.duration and enters[d] <= now < ends[d])
            state = solve_ivp(
                lambda t, y, inflow=inflow: np.array(slope(t, y, parameters)) + inflow,
                (now, stop), state, "DOP853", rtol=1e-11, atol=1e-12,
            ).y[:, -1]  # fmt: skip
            now = stop
        out += [state.copy()] * int(np.sum(times == stop))
        state[0] += parameters["F"] * sum(d.amount for d in doses if d.route == "oral" and enters[d] == stop)
    return np.array(out)


def course(rng: np.random.Generator) -> tuple[list[Dose], Floats]:
    """Two infusions and some oral doses at odd times, and times of samples."""
    infusions = [Dose(t, rng.uniform(100, 500), rng.uniform(1, 3), "infusion") for t in (0.3, 12.0)]
    oral = [Dose(t, rng.uniform(50, 400), 0.0, "oral") for t in np.sort(rng.uniform(13, 150, 8)).tolist()]
    times = np.sort(np.concatenate([rng.uniform(0, 170, 20), [0.0, 1.0], [oral[0].time]]))
    return infusions + oral, times


def individual(model: PopulationModel, typical: Floats, rng: np.random.Generator) -> dict[str, float]:
    eta = rng.multivariate_normal(np.zeros(len(model.omega)), model.omega)
    theta = model.individual(typical[None], eta[None])[0]
    return dict(zip((parameter.name for parameter in model.parameters), theta.tolist(), strict=True))


@pytest.mark.parametrize("seed", range(4))
def test_kim_on_any_schedule_agrees_with_an_adaptive_integrator(seed: int) -> None:
    rng = np.random.default_rng(seed)
    typical = kim(float(rng.integers(3)), rng.uniform(45, 90), float(rng.integers(2)))
    p = individual(KIM, row(typical), rng)
    doses, times = course(rng)
    state = integrated(kim_written_out, 6, p, doses, times)
    cl = p["CL"] * (p["RCLF"] + (1 - p["RCLF"]) * p["IC50"] / (p["IC50"] + state[:, 4]))
    expected = np.column_stack([state[:, 1] / p["Vc"], state[:, 4], cl, state[:, 5]])
    got = simulate(KIM, row(p), doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


@pytest.mark.parametrize("age", [CHILD, ADOLESCENT, ADULT])
@pytest.mark.parametrize("seed", range(2))
def test_friberg_on_any_schedule_agrees_with_an_adaptive_integrator(seed: int, age: float) -> None:
    rng = np.random.default_rng(seed)
    p = individual(FRIBERG, row(friberg(age, float(rng.integers(3)), rng.uniform(15, 90))), rng)
    doses, times = course(rng)
    state = integrated(friberg_written_out, 4, p, doses, times)
    expected = np.column_stack([state[:, 1] / p["V2"], state[:, 3]])
    got = simulate(FRIBERG, row(p), doses, times)[0]
    assert np.all(np.abs(got - expected).max(axis=0) <= 1e-6 * expected.max(axis=0))


def test_kim_maintenance_dose_has_the_wanted_average_when_inhibition_is_complete() -> None:
    theta = row(kim(IM))
    dose = float(kim2019.maintenance_dose(theta, 3.0))
    schedule = [Dose(12.0 * i, dose, 0.0, "oral") for i in range(120)]
    inhibited = [0, 0, 0, 0, 1e9, 0]
    area = simulate(KIM, theta, schedule, [119 * 12.0, 120 * 12.0], ["AUC"], initial=inhibited)[0, :, 0]
    assert (area[1] - area[0]) / 12 == pytest.approx(3.0, rel=1e-6)


def test_friberg_maintenance_dose_holds_a_constant_level_when_inhibition_is_complete() -> None:
    p = friberg(CHILD, weight=25)
    dose = float(friberg2012.maintenance_dose(row(p), 2.0))
    hours = 100_000.0  # Vmax is within 1.5e-5 of its limit
    infusion = Dose(0.0, p["F"] * dose / 12 * hours, hours, "infusion")
    level = simulate(FRIBERG, row(p), [infusion], [hours - 1], ["C"])[0, 0, 0]
    assert level == pytest.approx(2.0, rel=1e-4)


# ---------------------------------------------------------------------------------------- shared trajectories


def test_shared_trajectories_are_met_within_1e_6(shared: Path) -> None:
    folder = shared / "reference" / "trajectories"
    files = [read(path) for path in sorted(folder.glob("voriconazole_*.csv"))]
    worst = {file.path.name: compare(file, CASES[file.header["model_id"]])[0] for file in files}
    assert worst and max(worst.values()) <= RELATIVE, worst
