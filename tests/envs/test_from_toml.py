"""Models from TOML files: closed forms, a published model rebuilt, and every refusal."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.linalg import expm

from dosewright.envs.pharmacology import Dose, PopulationModel, simulate, steady_state
from dosewright.envs.pharmacology.from_toml import read_model
from dosewright.envs.pharmacology.models.tacrolimus_andrews2019 import MODEL as TACROLIMUS

Floats = NDArray[np.float64]
ROOT = Path(__file__).resolve().parents[2]

# one name for all: the compiled kernels are the same for every file, and so compiled once
HEAD = """
name = "toml_test"
title = "A test"
source = "invented"
flag = "ASSUMPTION"
time_unit = "h"
amount_unit = "mg"
compartments = {compartments}
depot = {depot}
concentration = {{ unit = "mg/L", scale = 1.0 }}
residual = {{ proportional = 0.1 }}

[parameters]
"""
UNITS = {
    "CL": "L/h",
    "V1": "L",
    "Q2": "L/h",
    "V2": "L",
    "Q3": "L/h",
    "V3": "L",
    "ka": "1/h",
    "tlag": "h",
    "F": "1",
}


def file_of(folder: Path, text: str) -> Path:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8")
    return path


def model_of(folder: Path, rest: str = "", /, **typical: float) -> PopulationModel:
    """A model with these typical values, in mg, L and h; its structure follows from their names."""
    head = HEAD.format(
        compartments=1 + ("V2" in typical) + ("V3" in typical), depot=str("ka" in typical).lower()
    )
    lines = [f'{name} = {{ typical = {value}, unit = "{UNITS[name]}" }}' for name, value in typical.items()]
    return read_model(file_of(folder, head + "\n".join(lines) + rest))


# ----------------------------------------------------------------------------------------------- closed forms

TIMES = np.array([0.0, 0.3, 1.0, 2.5, 7.0, 24.0, 100.0])


def test_bolus_into_one_compartment(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0)
    values = simulate(model, model.typical({}, {}), [(0.0, 500.0)], TIMES)[0]
    c = 500 / 40 * np.exp(-3 / 40 * TIMES)
    assert values[0, 0] == 0.0  # before the dose
    np.testing.assert_allclose(values[1:, 0], c[1:], rtol=1e-12)
    np.testing.assert_allclose(values[:, 1], 500 / 3 * (1 - np.exp(-3 / 40 * TIMES)), rtol=1e-12)


def test_first_order_absorption_with_lag_and_bioavailability(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0, ka=1.2, tlag=0.4, F=0.6)
    values = simulate(model, model.typical({}, {}), [(0.0, 500.0)], TIMES)[0]
    k, t = 3 / 40, np.maximum(TIMES - 0.4, 0.0)
    c = 0.6 * 500 / 40 * 1.2 / (1.2 - k) * (np.exp(-k * t) - np.exp(-1.2 * t))
    auc = 0.6 * 500 / 40 * 1.2 / (1.2 - k) * ((1 - np.exp(-k * t)) / k - (1 - np.exp(-1.2 * t)) / 1.2)
    np.testing.assert_allclose(values, np.column_stack([c, auc]), rtol=1e-12, atol=1e-14)


def test_infusion_lag_and_bioavailability_without_depot(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0, tlag=0.25, F=0.9)
    values = simulate(model, model.typical({}, {}), [Dose(0.0, 500.0, 2.0)], TIMES, ["C"])[0, :, 0]
    k, t = 3 / 40, np.maximum(TIMES - 0.25, 0.0)
    during = 0.9 * 500 / 2 / 3 * (1 - np.exp(-k * np.minimum(t, 2.0)))
    np.testing.assert_allclose(values, during * np.exp(-k * np.maximum(t - 2.0, 0.0)), rtol=1e-12, atol=1e-14)


def test_lag_and_bioavailability_belong_to_the_depot_alone(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0, ka=1.2, tlag=0.4, F=0.6)
    assert [route.name for route in model.routes] == ["depot", "central"]
    values = simulate(model, model.typical({}, {}), [Dose(0.0, 500.0, route="central")], TIMES, ["C"])
    np.testing.assert_allclose(values[0, 1:, 0], 500 / 40 * np.exp(-3 / 40 * TIMES[1:]), rtol=1e-12)


def test_bolus_into_two_compartments(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=5.0, V1=20.0, Q2=8.0, V2=50.0)
    values = simulate(model, model.typical({}, {}), [(0.0, 100.0)], TIMES, ["C"])[0, 1:, 0]
    k10, k12, k21 = 5 / 20, 8 / 20, 8 / 50
    total, product = k10 + k12 + k21, k10 * k21
    alpha = (total + np.sqrt(total**2 - 4 * product)) / 2
    beta = product / alpha
    a, b = (alpha - k21) / (alpha - beta), (k21 - beta) / (alpha - beta)
    t = TIMES[1:]
    np.testing.assert_allclose(
        values, 100 / 20 * (a * np.exp(-alpha * t) + b * np.exp(-beta * t)), rtol=1e-11
    )


@pytest.mark.parametrize("depot", [False, True])
def test_three_compartments_against_a_matrix_exponential(tmp_path: Path, depot: bool) -> None:
    cl, v1, q2, v2, q3, v3, ka = 35.7, 6.94, 5.58, 7.39, 12.5, 225.0, 0.7
    typical = {"CL": cl, "V1": v1, "Q2": q2, "V2": v2, "Q3": q3, "V3": v3} | ({"ka": ka} if depot else {})
    model = model_of(tmp_path, **typical)
    values = simulate(model, model.typical({}, {}), [(0.0, 100.0)], TIMES)[0, 1:]
    rates = np.array([  # depot, central, two peripheral ones, AUC
        [-ka, 0, 0, 0, 0],
        [ka, -(cl + q2 + q3) / v1, q2 / v2, q3 / v3, 0],
        [0, q2 / v1, -q2 / v2, 0, 0],
        [0, q3 / v1, 0, -q3 / v3, 0],
        [0, 1 / v1, 0, 0, 0],
    ])  # fmt: skip
    column = 0 if depot else 1
    states = np.array([100.0 * expm(rates * t)[:, column] for t in TIMES[1:]])
    np.testing.assert_allclose(values, np.column_stack([states[:, 1] / v1, states[:, 4]]), rtol=1e-10)


def test_steady_state_of_repeated_bolus(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0)
    state = steady_state(model, model.typical({}, {}), [(0.0, 500.0)], 12.0)
    decay = np.exp(-3 / 40 * 12)
    np.testing.assert_allclose(state, [[500 * decay / (1 - decay), 0.0]], rtol=1e-10)
    cycle = simulate(model, model.typical({}, {}), [(0.0, 500.0)], [12.0], ["AUC"], initial=state)
    assert cycle[0, 0, 0] == pytest.approx(500 / 3, rel=1e-10)  # AUC of a cycle is dose / CL


# ------------------------------------------------------------------------------------------ a published model

# Tacrolimus, Andrews 2019, final model, written as a user would: numbers of Table 2.
ANDREWS = """
name = "andrews_as_toml"
title = "Tacrolimus (Andrews 2019)"
source = "Andrews 2019, Br J Clin Pharmacol 85:601"
flag = "VERIFIED"
time_unit = "h"
amount_unit = "mg"
compartments = 2
depot = true
concentration = { unit = "ng/mL", scale = 1000.0 }
residual = { proportional = 0.177, additive = 0.88 }

[parameters]
CL = { typical = 23.0, unit = "L/h", cv = 0.386, occasion_cv = 0.136 }
V1 = { typical = 692.0, unit = "L", cv = 0.492 }
Q2 = { typical = 11.6, unit = "L/h", cv = 0.787 }
V2 = { typical = 5340.0, unit = "L", cv = 0.530 }
ka = { typical = 3.58, unit = "1/h" }
tlag = { typical = 0.38, unit = "h" }

[[genotypes]]
gene = "CYP3A5"
parameter = "CL"
pairs = { "*1/*1" = 1.631, "*1/*3" = 1.631, "*3/*3" = 1.0 }
by_function = { "Normal function" = "*1", "No function" = "*3" }

[[genotypes]]
gene = "CYP3A4"
parameter = "CL"
pairs = { "*1/*1" = 1.0, "*22/*1" = 0.80, "*22/*22" = 0.80 }
frequencies = { European = { "*1" = 0.95236, "*22" = 0.04764 } }
"""
ANDREWS_COVARIATES = {
    "age_y": ("CL", 55.72, -0.43), "bsa_m2": ("CL", 1.93, 0.88), "albumin_g_l": ("CL", 42.0, 0.43),
    "creatinine_umol_l": ("CL", 134.98, -0.14), "haematocrit": ("CL", 0.34, -0.76),
    "lean_mass_kg": ("V1", 58.94, 1.52),
}  # fmt: skip


@pytest.fixture
def andrews(tmp_path: Path) -> PopulationModel:
    text = ANDREWS
    for name, (parameter, reference, exponent) in ANDREWS_COVARIATES.items():
        text += f'[[covariates]]\nname = "{name}"\nunit = "x"\nreference = {reference}\n'
        text += f'[[effects]]\nparameter = "{parameter}"\ncovariate = "{name}"\nkind = "power"\n'
        text += f"coefficient = {exponent}\n"
    return read_model(file_of(tmp_path, text))


def test_a_published_model_rebuilt_at_reference_values(andrews: PopulationModel) -> None:
    reference = {item.name: item.reference for item in andrews.covariates}
    assert reference == {item.name: item.reference for item in TACROLIMUS.covariates}
    ours = andrews.typical(reference, {"cyp3a5_on_cl": 1.0, "cyp3a4_on_cl": 1.0})
    theirs = TACROLIMUS.typical(reference, {"cyp3a5_expresser": 0.0, "cyp3a4_star22": 0.0})
    assert ours.tolist() == [[23.0, 692.0, 11.6, 5340.0, 3.58, 0.38]]
    doses, times = (
        [(12.0 * i, 7.0) for i in range(8)],
        np.array([0.2, 0.5, 1.0, 3.0, 12.0, 47.0, 96.0, 400.0]),
    )
    np.testing.assert_allclose(
        simulate(andrews, ours, doses, times), simulate(TACROLIMUS, theirs, doses, times), rtol=1e-9
    )
    np.testing.assert_allclose(
        steady_state(andrews, ours, [(0.0, 7.0)], 12.0)[:, :3],
        1000.0 * steady_state(TACROLIMUS, theirs, [(0.0, 7.0)], 12.0)[:, :3],  # ours are scaled amounts
        rtol=1e-9,
    )


def test_a_published_model_rebuilt_for_other_people(andrews: PopulationModel) -> None:
    rng, n = np.random.default_rng(5), 40
    people = {item.name: item.reference * rng.uniform(0.6, 1.6, n) for item in andrews.covariates}
    expresser, carrier = rng.integers(0, 2, n), rng.integers(0, 2, n)
    ours = andrews.typical(people, {"cyp3a5_on_cl": 1.631**expresser, "cyp3a4_on_cl": 0.8**carrier})
    theirs = TACROLIMUS.typical(people, {"cyp3a5_expresser": expresser, "cyp3a4_star22": carrier})
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
    eta = rng.normal(size=(n, len(andrews.random_effects)))
    np.testing.assert_allclose(andrews.individual(ours, eta), TACROLIMUS.individual(theirs, eta), rtol=1e-12)


def test_variability_residual_error_and_labels_of_the_rebuilt_model(andrews: PopulationModel) -> None:
    assert andrews.random_effects == TACROLIMUS.random_effects
    np.testing.assert_allclose(andrews.omega, TACROLIMUS.omega, rtol=1e-15)
    occasion = [item.occasion_variance for item in andrews.parameters]
    assert occasion == [item.occasion_variance for item in TACROLIMUS.parameters]
    assert [(item.name, item.unit) for item in andrews.outputs] == [("C", "ng/mL"), ("AUC", "ng·h/mL")]
    error = andrews.outputs[0].error
    assert (error.proportional, error.additive, error.log_sd, error.flag) == (0.177, 0.88, 0.0, "VERIFIED")
    assert andrews.states == TACROLIMUS.states
    assert (andrews.time_unit, andrews.amount_unit) == ("h", "mg")


# ----------------------------------------------------------------------------- covariates, genes, variability

COVARIATE = """
[[covariates]]
name = "x"
unit = "1"
reference = {reference}
[[effects]]
parameter = "CL"
covariate = "x"
kind = "{kind}"
coefficient = {coefficient}
"""


@pytest.mark.parametrize(
    ("kind", "reference", "coefficient", "factors"),
    [
        ("power", 70.0, 0.75, {70.0: 1.0, 35.0: 0.5**0.75, 140.0: 2**0.75}),
        ("exponential", 40.0, -0.01, {40.0: 1.0, 60.0: np.exp(-0.2), 0.0: np.exp(0.4)}),
        ("linear", 71.0, -0.00571, {71.0: 1.0, 91.0: 0.8858, 51.0: 1.1142}),
        ("factor", 0.0, 0.7, {0.0: 1.0, 1.0: 0.7}),
    ],
)
def test_kinds_of_covariate_effects(
    tmp_path: Path, kind: str, reference: float, coefficient: float, factors: dict[float, float]
) -> None:
    rest = COVARIATE.format(kind=kind, reference=reference, coefficient=coefficient)
    model = model_of(tmp_path, rest, CL=3.0, V1=40.0)
    theta = model.typical({"x": list(factors)}, {})
    np.testing.assert_allclose(theta[:, 0], 3.0 * np.array(list(factors.values())), rtol=1e-12)
    assert (theta[:, 1] == 40.0).all()
    assert model.covariates[0].least == (0.0 if kind == "power" else -np.inf)
    assert (model.covariates[0].low, model.covariates[0].high) == (
        (0, 1) if kind == "factor" else (-np.inf, np.inf)
    )


def test_an_effect_may_have_a_reference_of_its_own(tmp_path: Path) -> None:
    rest = COVARIATE.format(kind="power", reference=82.0, coefficient=1.0) + "reference = 70.0\n"
    model = model_of(tmp_path, rest, CL=3.0, V1=40.0)
    assert model.typical({"x": 70.0}, {})[0, 0] == 3.0
    assert model.covariates[0].reference == 82.0


def test_effects_multiply(tmp_path: Path) -> None:
    rest = COVARIATE.format(kind="power", reference=70.0, coefficient=0.75)
    rest += COVARIATE.format(kind="factor", reference=0.0, coefficient=0.7).replace('"x"', '"flag"')
    model = model_of(tmp_path, rest, CL=3.0, V1=40.0)
    assert model.typical({"x": 35.0, "flag": 1.0}, {})[0, 0] == pytest.approx(
        3.0 * 0.5**0.75 * 0.7, rel=1e-12
    )


def test_as_many_rows_as_people_whatever_the_model_asks_for(tmp_path: Path) -> None:
    model = model_of(tmp_path, CL=3.0, V1=40.0)
    assert model.typical({"age_y": np.zeros(5)}, {}).shape == (5, 2)
    assert model.typical({}, {}).shape == (1, 2)


@pytest.mark.parametrize(
    ("kind", "given", "message"),
    [
        ("power", {}, "covariate or effect 'x' is missing; given: none"),
        ("power", {"x": [70.0, 0.0]}, "toml_test: x of patient 1 is 0; expected a number above 0"),
        ("power", {"x": np.nan}, "toml_test: x of patient 0 is nan; expected a number above 0"),
        ("factor", {"x": 0.5}, "toml_test: x of patient 0 is 0.5; expected 0 or 1"),
        ("linear", {"x": [1.0, -9.0]},
         "toml_test: CL of patient 1 is -12 L/h; expected above 0 (given x -9)"),
    ],
)  # fmt: skip
def test_people_the_effects_have_no_value_for(
    tmp_path: Path, kind: str, given: dict[str, Any], message: str
) -> None:
    reference = 1.0 if kind in ("power", "linear") else 0.0
    model = model_of(
        tmp_path, COVARIATE.format(kind=kind, reference=reference, coefficient=0.5), CL=3.0, V1=40.0
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        model.typical(given, {})


PAIRS = """
[[genotypes]]
gene = "CYP2C19"
parameter = "CL"
flag = "PARTIAL"
source = "Table 3"
pairs = { "*1/*1" = 1.0, "*2/*1" = 0.7, "*2/*2" = 0.3, "*17/*17" = 1.4, "*1/*17" = 1.2, "*17/*2" = 0.8 }
by_function = { "No function" = "*2" }
"""


def test_a_factor_for_each_pair_of_alleles(tmp_path: Path) -> None:
    model = model_of(tmp_path, PAIRS, CL=3.0, V1=40.0)
    (term,) = model.genotype_terms
    assert (term.gene, term.effect, term.flag, term.source) == (
        "CYP2C19",
        "cyp2c19_on_cl",
        "PARTIAL",
        "Table 3",
    )
    assert term.pairs == {
        ("*1", "*1"): 1.0, ("*1", "*2"): 0.7, ("*1", "*17"): 1.2,
        ("*2", "*2"): 0.3, ("*2", "*17"): 0.8, ("*17", "*17"): 1.4,
    }  # fmt: skip
    assert list(term.per_allele) == ["*1", "*2", "*17"]
    order = list(term.per_allele)
    assert all(order.index(a) <= order.index(b) for a, b in term.pairs)
    assert term.by_function == {"No function": "*2"}
    theta = model.typical({}, {term.effect: list(term.pairs.values())})
    np.testing.assert_allclose(theta[:, 0], [3.0, 2.1, 3.6, 0.9, 2.4, 4.2])


def test_factors_of_two_alleles_that_add_up(tmp_path: Path) -> None:
    alleles = 'alleles = { "*1" = 0.5, "*2" = 0.25, "*3" = 0.12 }'
    rest = f'\n[[genotypes]]\ngene = "CYP2C9"\nparameter = "CL"\n{alleles}\n'
    model = model_of(tmp_path, rest, CL=0.348, V1=14.3)
    (term,) = model.genotype_terms
    assert term.per_allele == {"*1": 0.5, "*2": 0.25, "*3": 0.12}
    assert not term.pairs and not term.by_function and (term.flag, term.source) == ("ASSUMPTION", "invented")
    assert model.typical({}, {term.effect: 0.5 + 0.12})[0, 0] == pytest.approx(0.62 * 0.348)


def test_own_allele_frequencies_of_a_gene_that_no_table_has(andrews: PopulationModel) -> None:
    term = andrews.genotype_terms[1]
    assert term.frequencies == {"European": {"*1": 0.95236, "*22": 0.04764}}
    assert term.pairs == {("*1", "*1"): 1.0, ("*1", "*22"): 0.8, ("*22", "*22"): 0.8}


VARYING = """
[parameters.CL]
typical = 3.0
unit = "L/h"
cv = 0.4
occasion_cv = 0.2
flag = "VERIFIED"
[parameters.V1]
typical = 40.0
unit = "L"
omega2 = 0.09
[parameters.F]
typical = 0.8
unit = "1"
effect = "logit"
omega2 = 0.5
[covariances]
"V1, CL" = 0.05
"""


def test_variances_covariances_and_kinds_of_random_effects(tmp_path: Path) -> None:
    text = HEAD.format(compartments=1, depot="false").replace("\n[parameters]\n", "") + VARYING
    model = read_model(file_of(tmp_path, text))
    variance = np.log(1.16)  # of a coefficient of variation of 0.4
    expected = [[variance, 0.05, 0.0], [0.05, 0.09, 0.0], [0.0, 0.0, 0.5]]
    np.testing.assert_allclose(model.omega, expected, rtol=1e-14)
    assert model.parameters[0].occasion_variance == pytest.approx(np.log(1.04))
    assert [item.flag for item in model.parameters] == ["VERIFIED", "ASSUMPTION", "ASSUMPTION"]
    theta = model.individual(model.typical({}, {}), np.array([[0.1, -0.2, 3.0]]))
    np.testing.assert_allclose(
        theta, [[3 * np.exp(0.1), 40 * np.exp(-0.2), 1 / (1 + 0.25 * np.exp(-3.0))]], rtol=1e-14
    )
    # what a sample of log-normal clearances shows is the coefficient of variation of the file
    eta = np.random.default_rng(1).multivariate_normal(np.zeros(3), model.omega, 200_000)
    clearance = model.individual(np.repeat(model.typical({}, {}), len(eta), axis=0), eta)[:, 0]
    assert clearance.std() / clearance.mean() == pytest.approx(0.4, abs=0.005)


@pytest.mark.parametrize(
    ("concentration", "amount", "volume"),
    [
        ('unit = "ng/mL", scale = 1000.0', "mg", "L"),
        ('unit = "µg/L", scale = 1e6', "g", "L"),
        ('unit = "mg/L", scale = 1e3', "mg", "mL"),
        ('unit = "ug/dL", scale = 0.1', "mcg", "mL"),  # mcg is not known: taken as given
        ('unit = "ug/mL", scale = 1.0', "μg", "mL"),
        ('unit = "µmol/L", scale = 3.2', "mg", "L"),  # grams to moles: taken as given
        ('unit = "nmol/L", scale = 1e3', "µmol", "L"),
        ('unit = "IU/mL", scale = 0.001', "IU", "L"),
    ],
)
def test_scales_that_fit_their_units(tmp_path: Path, concentration: str, amount: str, volume: str) -> None:
    text = HEAD.format(compartments=1, depot="false").replace('unit = "mg/L", scale = 1.0', concentration)
    text = text.replace('"mg"', f'"{amount}"') + f'CL = {{ typical = 3, unit = "{volume}/h" }}\n'
    model = read_model(file_of(tmp_path, text + f'V1 = {{ typical = 40, unit = "{volume}" }}\n'))
    scale = float(concentration.rsplit(" ", 1)[1])
    value = simulate(model, model.typical({}, {}), [(0.0, 10.0)], [1e-12], ["C"])[0, 0, 0]
    assert value == pytest.approx(scale * 10 / 40)


# -------------------------------------------------------------------------------------------- what is refused

WHOLE = """
name = "toml_test"
title = "A test"
source = "invented"
flag = "ASSUMPTION"
time_unit = "h"
amount_unit = "mg"
compartments = 2
depot = true

[concentration]
unit = "ng/mL"
scale = 1000.0

[parameters]
CL = { typical = 3.0, unit = "L/h", cv = 0.3 }
V1 = { typical = 40.0, unit = "L", cv = 0.2 }
Q2 = { typical = 5.0, unit = "L/h" }
V2 = { typical = 90.0, unit = "L" }
ka = { typical = 1.2, unit = "1/h" }
tlag = { typical = 0.4, unit = "h" }
F = { typical = 0.6, unit = "1" }

[covariances]
"CL,V1" = 0.02

[[covariates]]
name = "weight_kg"
unit = "kg"
reference = 70.0
low = 40.0
high = 120.0
[[covariates]]
name = "inhibitor"
unit = "1"
reference = 0

[[effects]]
parameter = "CL"
covariate = "weight_kg"
kind = "power"
coefficient = 0.75
[[effects]]
parameter = "CL"
covariate = "inhibitor"
kind = "factor"
coefficient = 0.6

[[genotypes]]
gene = "CYP2C19"
parameter = "CL"
pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }
by_function = { "No function" = "*2" }

[residual]
proportional = 0.1
"""

# what is replaced, by what, and how the message goes on after the path
WRONG: dict[str, tuple[str, str, str]] = {
    "no valid TOML": ('"invented"', "invented", ": no valid TOML: Invalid value"),
    "unknown key": (
        "time_unit",
        "timeunit",
        ": unknown key 'timeunit'; did you mean 'time_unit'? known: name, title, source, flag, "
        "time_unit, amount_unit, compartments, depot, concentration, parameters, covariates, effects, "
        "genotypes, covariances, residual",
    ),
    "missing key": ('title = "A test"\n', "", ": title is missing; expected words in quotes"),
    "missing choice": ('time_unit = "h"\n', "", ": time_unit is missing; expected one of min, h, day"),
    "empty text": ('"invented"', '" "', ": source = ' '; expected words in quotes"),
    "number for text": ('"invented"', "2019", ": source = 2019; expected words in quotes"),
    "name": (
        '"toml_test"',
        '"Toml test"',
        ": name = 'Toml test'; expected small letters, digits and _, a letter first, such as 'my_drug_2024'",
    ),
    "name of a published model": (
        '"toml_test"',
        '"tacrolimus_andrews2019"',
        ": name = 'tacrolimus_andrews2019' is a published model of this package; choose another, such "
        "as 'my_tacrolimus_andrews2019'",
    ),
    "unknown flag": (
        '"ASSUMPTION"',
        '"ASSUMED"',
        ": flag = 'ASSUMED'; did you mean 'ASSUMPTION'? known: VERIFIED, PARTIAL, RECALLED, ASSUMPTION",
    ),
    "missing flag": (
        'flag = "ASSUMPTION"\n',
        "",
        ": flag is missing; expected one of VERIFIED, PARTIAL, RECALLED, ASSUMPTION",
    ),
    "time unit": ('time_unit = "h"', 'time_unit = "hours"', ": time_unit = 'hours'; known: min, h, day"),
    "too many compartments": ("compartments = 2", "compartments = 4", ": compartments = 4; expected 1 to 3"),
    "compartments as text": (
        "compartments = 2",
        'compartments = "2"',
        ": compartments = '2'; expected 1 to 3",
    ),
    "compartments as truth": (
        "compartments = 2",
        "compartments = true",
        ": compartments = True; expected 1 to 3",
    ),
    "depot": ("depot = true", "depot = 1", ": depot = 1; expected true or false"),
    "parameters are no table": ("[parameters]", "parameters = 3\n[unused]", ": unknown key 'unused'"),
    "parameter is no table": (
        '{ typical = 3.0, unit = "L/h", cv = 0.3 }',
        "3.0",
        ", [parameters.CL]: is 3.0; expected a table with typical, unit, cv, omega2, effect, "
        "occasion_cv, flag",
    ),
    "needed parameter": (
        'Q2 = { typical = 5.0, unit = "L/h" }\n',
        "",
        ", [parameters]: Q2 is missing; compartments = 2 and depot = true need CL, V1, Q2, V2, ka; add "
        "[parameters.Q2]",
    ),
    "misspelt parameter": (
        "Q2 =",
        "Q =",
        ", [parameters]: unknown parameter 'Q'; did you mean 'Q2'? known: CL, V1, Q2, V2, ka, tlag, F",
    ),
    "another compartment's parameter": (
        "Q2 =",
        "Q3 =",
        ", [parameters]: Q3: compartments = 2 and depot = true have none; remove it, or set compartments = 3",
    ),
    "absorption without depot": (
        "depot = true",
        "depot = false",
        ", [parameters]: ka: depot = false has none; remove it, or set depot = true",
    ),
    "unknown key of a parameter": (
        "cv = 0.3",
        "CV = 0.3",
        ", [parameters.CL]: unknown key 'CV'; did you mean 'cv'? known: typical, unit, cv, omega2, "
        "effect, occasion_cv, flag",
    ),
    "missing typical value": (
        "typical = 3.0, ",
        "",
        ", [parameters.CL]: typical is missing; expected a number",
    ),
    "text for a number": (
        "typical = 3.0",
        'typical = "3.0"',
        ", [parameters.CL]: typical = '3.0'; expected a number",
    ),
    "truth for a number": (
        "typical = 3.0",
        "typical = true",
        ", [parameters.CL]: typical = True; expected a number",
    ),
    "not finite": ("typical = 3.0", "typical = inf", ", [parameters.CL]: typical = inf; expected a number"),
    "negative typical value": (
        "typical = 3.0",
        "typical = -3.0",
        ", [parameters.CL]: typical = -3.0; expected above 0",
    ),
    "no lag": (
        "typical = 0.4",
        "typical = 0",
        ", [parameters.tlag]: typical = 0; expected above 0; a lag of 0 is no lag: remove it",
    ),
    "percent for a share": (
        "typical = 0.6",
        "typical = 60",
        ", [parameters.F]: typical = 60; expected a share of at most 1, 0.8 for 80 %",
    ),
    "unit of a clearance": (
        'unit = "L/h", cv',
        'unit = "L/d", cv',
        ", [parameters.CL]: unit = 'L/d'; expected 'L/h' (V1 is in L, time_unit is h); convert the "
        "number, or change the unit",
    ),
    "unit of a volume": (
        '90.0, unit = "L"',
        '90.0, unit = "mL"',
        ", [parameters.V2]: unit = 'mL'; expected 'L' (V1 is in L, time_unit is h); convert the number, "
        "or change the unit",
    ),
    "missing unit": (', unit = "1/h"', "", ", [parameters.ka]: unit is missing; expected words in quotes"),
    "cv and omega2": (
        "cv = 0.3",
        "cv = 0.3, omega2 = 0.09",
        ", [parameters.CL]: cv = 0.3 and omega2 = 0.09; give one, omega2 is the variance on the log "
        "scale and cv = sqrt(exp(omega2) − 1)",
    ),
    "no cv": ("cv = 0.3", "cv = 0", ", [parameters.CL]: cv = 0; expected above 0; remove it for none"),
    "negative omega2": (
        "cv = 0.3",
        "omega2 = -0.1",
        ", [parameters.CL]: omega2 = -0.1; expected above 0; remove it for none",
    ),
    "cv in percent": (
        "cv = 0.3",
        "cv = 30",
        ", [parameters.CL]: cv = 30; expected a fraction below 5, such as 0.3 for 30 %",
    ),
    "occasion_cv in percent": (
        "cv = 0.3",
        "occasion_cv = 15",
        ", [parameters.CL]: occasion_cv = 15; expected a fraction below 5, such as 0.3 for 30 %",
    ),
    "unknown effect": (
        "cv = 0.3",
        'cv = 0.3, effect = "normal"',
        ", [parameters.CL]: effect = 'normal'; known: log, logit",
    ),
    "logit of no share": (
        "cv = 0.3",
        'omega2 = 0.3, effect = "logit"',
        ", [parameters.CL]: effect = 'logit' with typical = 3; a logit needs a share below 1",
    ),
    "logit with cv": (
        'typical = 0.6, unit = "1"',
        'typical = 0.6, unit = "1", cv = 0.2, effect = "logit"',
        ", [parameters.F]: cv = 0.2 with effect = 'logit'; give omega2, the variance on that scale",
    ),
    "flag of a parameter": (
        "cv = 0.3",
        'cv = 0.3, flag = "verified"',
        ", [parameters.CL]: flag = 'verified'; did you mean 'VERIFIED'? known: VERIFIED, PARTIAL, "
        "RECALLED, ASSUMPTION",
    ),
    "covariance key": (
        '"CL,V1"',
        '"CL V1"',
        ", [covariances]: key 'CL V1'; expected two parameters, such as \"CL,V1\"",
    ),
    "covariance with itself": (
        '"CL,V1"',
        '"CL,CL"',
        ", [covariances]: key 'CL,CL'; expected two parameters, such as \"CL,V1\"",
    ),
    "covariance without variance": (
        '"CL,V1"',
        '"CL,Q2"',
        ", [covariances]: 'CL,Q2': 'Q2' has no random effect; give it cv or omega2. With one: CL, V1",
    ),
    "covariance twice": (
        '"CL,V1" = 0.02',
        '"CL,V1" = 0.02\n"V1,CL" = 0.02',
        ", [covariances]: 'V1,CL': the pair stands there twice; remove one",
    ),
    "covariance too large": ('"CL,V1" = 0.02', '"CL,V1" = 0.2', ", [covariances]: omega = [["),
    "covariate twice": (
        'name = "inhibitor"',
        'name = "weight_kg"',
        ", [[covariates]] 2: name = 'weight_kg' stands there twice; rename it",
    ),
    "reserved covariate": (
        'name = "inhibitor"',
        'name = "baseline"',
        ", [[covariates]] 2: name = 'baseline' is reserved; rename it",
    ),
    "unknown key of a covariate": (
        "low = 40.0",
        "minimum = 40.0",
        ", [[covariates]] 1: unknown key 'minimum'; known: name, unit, reference, low, high, flag",
    ),
    "no reference": ("reference = 70.0\n", "", ", [[covariates]] 1: reference is missing; expected a number"),
    "low above high": (
        "high = 120.0",
        "high = 30.0",
        ", [[covariates]] 1: high = 30.0; expected above 40, its low",
    ),
    "low of a power": (
        "low = 40.0",
        "low = 0.0",
        ", [[covariates]] 1: low = 0 of 'weight_kg', which has a power effect; expected above 0",
    ),
    "unused covariate": (
        '[[effects]]\nparameter = "CL"\ncovariate = "inhibitor"\nkind = "factor"\ncoefficient = 0.6\n',
        "",
        ", [[covariates]] 2: 'inhibitor' is used by no effect; remove it, or add one under [[effects]]",
    ),
    "effect of what is not described": (
        'covariate = "weight_kg"',
        'covariate = "weight"',
        ", [[effects]] 1: covariate = 'weight' is not described; did you mean 'weight_kg'? known: "
        "weight_kg, inhibitor; or add it under [[covariates]]",
    ),
    "effect on an unknown parameter": (
        'parameter = "CL"\ncovariate = "weight_kg"',
        'parameter = "V"\ncovariate = "weight_kg"',
        ", [[effects]] 1: parameter = 'V'; did you mean 'V1'? known: CL, V1, Q2, V2, ka, tlag, F",
    ),
    "unknown kind": (
        '"power"',
        '"allometric"',
        ", [[effects]] 1: kind = 'allometric'; known: power, exponential, linear, factor",
    ),
    "no coefficient": (
        "coefficient = 0.75\n",
        "",
        ", [[effects]] 1: coefficient is missing; expected a number",
    ),
    "reference of a power": (
        "coefficient = 0.75",
        "coefficient = 0.75\nreference = -1",
        ", [[effects]] 1: reference = -1 with kind = 'power'; expected above 0",
    ),
    "reference of a factor": (
        "coefficient = 0.6",
        "coefficient = 0.6\nreference = 0",
        ", [[effects]] 2: reference = 0 with kind = 'factor', which has none; remove it",
    ),
    "negative factor": (
        "coefficient = 0.6",
        "coefficient = -0.4",
        ", [[effects]] 2: coefficient = -0.4; expected above 0, what the parameter is multiplied by "
        "where the flag is 1",
    ),
    "factor coded the other way": (
        "reference = 0\n",
        "reference = 1\n",
        ", [[covariates]] 2: reference = 1 of 'inhibitor', a factor; expected 0, code the others as 1",
    ),
    "range of a factor": (
        "reference = 0\n",
        "reference = 0\nlow = 0\n",
        ", [[covariates]] 2: low and high of 'inhibitor', a factor, which is 0 or 1; remove them",
    ),
    "linear effect below 0": (
        'kind = "power"\ncoefficient = 0.75',
        'kind = "linear"\ncoefficient = -0.02',
        ", [[covariates]] 1: high = 120 of 'weight_kg': its linear effect there is a factor of 0; "
        "expected above 0, narrow the range or use kind = 'exponential'",
    ),
    "unknown gene": (
        '"CYP2C19"',
        '"CYP2C91"',
        ", [[genotypes]] 1: gene = 'CYP2C91' has no frequencies in the tables; did you mean 'CYP2C9'? ",
    ),
    "gene twice": (
        "[residual]",
        '[[genotypes]]\ngene = "CYP2C19"\nparameter = "V1"\npairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, '
        '"*2/*2" = 0.3 }\n[residual]',
        ", [[genotypes]] 2: gene = 'CYP2C19' has a table already; one that acts on two parameters needs "
        "a Python model",
    ),
    "gene on an unknown parameter": (
        'gene = "CYP2C19"\nparameter = "CL"',
        'gene = "CYP2C19"\nparameter = "EC50"',
        ", [[genotypes]] 1: parameter = 'EC50'; known: CL, V1, Q2, V2, ka, tlag, F",
    ),
    "neither pairs nor alleles": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        "",
        ", [[genotypes]] 1: give either pairs (a factor for each pair of alleles) or alleles (factors "
        "that add up)",
    ),
    "pairs and alleles": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }\nalleles = { "*1" = 0.5 }',
        ", [[genotypes]] 1: give either pairs (a factor for each pair of alleles) or alleles (factors "
        "that add up)",
    ),
    "no allele": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        "alleles = {}",
        ", [[genotypes]] 1: names no allele; give each a number",
    ),
    "negative allele": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'alleles = { "*1" = -0.5 }',
        ", [[genotypes]] 1, alleles: *1 = -0.5; expected above 0",
    ),
    "one allele for a pair": (
        '"*1/*2" = 0.7',
        '"*1" = 0.7',
        ", [[genotypes]] 1, pairs: key '*1'; expected two alleles, such as \"*1/*2\"",
    ),
    "pair twice": (
        '"*2/*2" = 0.3',
        '"*2/*2" = 0.3, "*2/*1" = 0.7',
        ", [[genotypes]] 1, pairs: '*2/*1': the pair stands there twice; remove one",
    ),
    "missing pair": (
        ', "*2/*2" = 0.3',
        "",
        ", [[genotypes]] 1, pairs: the pair '*2/*2' is missing; *1, *2 make every pair possible",
    ),
    "factor of a pair": (
        '"*1/*2" = 0.7',
        '"*1/*2" = 0',
        ", [[genotypes]] 1, pairs: *1/*2 = 0; expected above 0",
    ),
    "unknown allele": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'pairs = { "*1/*1" = 1.0, "*1/*17" = 0.7, "*17/*17" = 0.3 }',
        ", [[genotypes]] 1, by_function: No function = '*2'; known: *1, *17",
    ),
    "allele of no table": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }\nby_function = { "No function" = "*2" }',
        'pairs = { "*1/*1" = 1.0, "*1/*171" = 0.7, "*171/*171" = 0.3 }',
        ", [[genotypes]] 1: allele '*171' of CYP2C19 is not in CPIC's tables; did you mean '*17'? "
        "known: *1, ",
    ),
    "unknown function": (
        '"No function"',
        '"None"',
        ", [[genotypes]] 1, by_function: unknown function 'None' of CYP2C19; ",
    ),
    "function of a gene that no table has": (
        '"CYP2C19"\n',
        '"GSTA1"\nfrequencies = { European = { "*1" = 0.9, "*2" = 0.1 } }\n',
        ", [[genotypes]] 1, by_function: unknown function 'No function' of GSTA1; known: none",
    ),
    "unknown group": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }\nfrequencies = { Europeans = { "*1" = '
        '0.9, "*2" = 0.1 } }',
        ", [[genotypes]] 1, frequencies: unknown group 'Europeans'; did you mean 'European'? known: ",
    ),
    "frequency of another allele": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }\nfrequencies = { European = { "*1" = '
        '0.9, "*3" = 0.1 } }',
        ", [[genotypes]] 1, frequencies, European: unknown key '*3'; known: *1, *2",
    ),
    "frequencies that do not add up": (
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }',
        'pairs = { "*1/*1" = 1.0, "*1/*2" = 0.7, "*2/*2" = 0.3 }\nfrequencies = { European = { "*1" = '
        '0.9, "*2" = 0.2 } }',
        ", [[genotypes]] 1, frequencies, European: frequencies {'*1': 0.9, '*2': 0.2}; expected none "
        "below 0 and a sum of 1, not 1.1",
    ),
    "no concentration": (
        '[concentration]\nunit = "ng/mL"\nscale = 1000.0\n',
        "",
        ", [concentration]: unit is missing; expected words in quotes",
    ),
    "no scale": ("scale = 1000.0\n", "", ", [concentration]: scale is missing; expected a number"),
    "scale of 0": ("scale = 1000.0", "scale = 0", ", [concentration]: scale = 0; expected above 0"),
    "scale that does not fit": (
        "scale = 1000.0",
        "scale = 1",
        ", [concentration]: scale = 1; expected 1000, since 1 mg/L is 1000 ng/mL",
    ),
    "no residual": (
        "[residual]\nproportional = 0.1\n",
        "",
        ", [residual]: proportional, additive or log_sd is missing; give 0 for a measurement without error",
    ),
    "negative residual": (
        "proportional = 0.1",
        "proportional = -0.1",
        ", [residual]: proportional = -0.1; expected an SD, 0 or more",
    ),
    "two kinds of residual": (
        "proportional = 0.1",
        "proportional = 0.1\nlog_sd = 0.1",
        ", [residual]: proportional and log_sd are given; log_sd stands alone, remove it or the others",
    ),
    "unknown residual": (
        "proportional = 0.1",
        "prop = 0.1",
        ", [residual]: unknown key 'prop'; known: proportional, additive, log_sd, flag, source",
    ),
    "genes are no list": (
        "[[genotypes]]",
        "[genotypes]",
        ": genotypes is {'gene': 'CYP2C19', 'parameter': 'CL', ",
    ),
    "a second effect": (
        'covariate = "inhibitor"',
        'covariate = "weight_kg"',
        ", [[effects]] 2: a second effect of weight_kg on CL; remove one",
    ),
}


def test_the_file_that_is_broken_below_is_read(tmp_path: Path) -> None:
    model = read_model(file_of(tmp_path, WHOLE))
    assert [item.name for item in model.parameters] == ["CL", "V1", "Q2", "V2", "ka", "tlag", "F"]


@pytest.mark.parametrize("case", WRONG)
def test_every_wrong_thing_is_an_error_that_names_it(tmp_path: Path, case: str) -> None:
    old, new, message = WRONG[case]
    assert WHOLE.count(old) >= 1
    path = file_of(tmp_path, WHOLE.replace(old, new, 1))
    with pytest.raises(ValueError, match=f"^{re.escape(str(path) + message)}"):
        read_model(path)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"^model file nowhere\.toml: not found; give a TOML file, docs/own_model\.md"
    ):
        read_model("nowhere.toml")
    with pytest.raises(ValueError, match="is a folder; give a TOML file"):
        read_model(tmp_path)
    path = tmp_path / "latin.toml"
    path.write_bytes(WHOLE.replace("A test", "Prüfung").encode("latin-1"))
    with pytest.raises(ValueError, match=r"latin\.toml: not UTF-8 \(.*\); save it as UTF-8$"):
        read_model(path)


def test_a_byte_order_mark_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "notepad.toml"
    path.write_text(WHOLE, encoding="utf-8-sig")
    assert read_model(path).name == "toml_test"
