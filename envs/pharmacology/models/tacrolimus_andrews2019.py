"""Tacrolimus, Andrews 2019: whole-blood kinetics after kidney transplantation by CYP3A5, CYP3A4*22 and more.

Andrews LM, Hesselink DA, van Schaik RHN, et al. A population pharmacokinetic model to predict the individual
starting dose of tacrolimus in adult renal transplant recipients. Br J Clin Pharmacol 2019;85:601-615.

Structure (time in h, amounts in mg; immediate-release capsules)::

    dA0 = −ka·A0                                        a dose enters A0 after tlag
    dA1 =  ka·A0 − (CL + Q)/V1·A1 + Q/V2·A2             C = 1000·A1/V1 in ng/mL, whole blood
    dA2 =  Q/V1·A1 − Q/V2·A2                            dAUC = C

All clearances and volumes are apparent (over bioavailability). Two sets of estimates: the final model,
and the starting-dose model, which uses only what is known before the transplantation.
"""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Floats,
    GenotypeTerm,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    columns,
    empty,
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Andrews 2019, Br J Clin Pharmacol 85:601"
_FINAL, _START = f"{_PAPER}, Table 2, final model", f"{_PAPER}, starting-dose model"

EXPRESSER_ON_CL = Constant(1.631, "1", "VERIFIED", _FINAL)
STAR22_ON_CL = Constant(0.80, "1", "VERIFIED", _FINAL)
START_EXPRESSER_ON_CL = Constant(1.62, "1", "VERIFIED", _START)
START_STAR22_ON_CL = Constant(0.814, "1", "VERIFIED", _START)

CYP3A5 = GenotypeTerm(
    gene="CYP3A5",
    effect="cyp3a5_expresser",
    per_allele={"*1": 1.0, "*3": 0.0},
    pairs={("*1", "*1"): 1.0, ("*1", "*3"): 1.0, ("*3", "*3"): 0.0},
    # studied for *3; *6, *7 and other alleles without function are read as *3 (ASSUMPTION)
    by_function={"Normal function": "*1", "No function": "*3", "Uncertain function": "*1",
                 "Unknown function": "*1"},
    unit="1 with at least one *1",
    flag="VERIFIED",
    source=_FINAL,
)  # fmt: skip
CYP3A4 = GenotypeTerm(
    gene="CYP3A4",
    effect="cyp3a4_star22",
    per_allele={"*1": 0.0, "*22": 1.0},
    pairs={("*1", "*1"): 0.0, ("*1", "*22"): 1.0, ("*22", "*22"): 1.0},
    by_function={},
    unit="1 with at least one *22",
    flag="VERIFIED",
    source=_FINAL,
    # Rotterdam: 9.3 % carriers, so q = 1 − sqrt(1 − 0.093); other ancestries: none (ASSUMPTION)
    frequencies={
        group: {"*1": 1.0 - star22, "*22": star22}
        for group, star22 in {
            "European": 1 - (1 - 0.093) ** 0.5,
            "African American/Afro-Caribbean": 0.0,
            "American": 0.0,
            "Central/South Asian": 0.0,
            "East Asian": 0.0,
            "Latino": 0.0,
            "Near Eastern": 0.0,
            "Oceanian": 0.0,
            "Sub-Saharan African": 0.0,
        }.items()
    },
)

_CL, _V1, _Q, _V2, _KA, _TLAG = range(6)


def _parameters(cl: float, v1: float, q: float, v2: float, occasion: float) -> tuple[Parameter, ...]:
    """Columns of theta with their coefficients of variation."""
    return (
        Parameter("CL", "L/h", variance_of_cv(cl), occasion_variance=variance_of_cv(occasion)),
        Parameter("V1", "L", variance_of_cv(v1)),
        Parameter("Q", "L/h", variance_of_cv(q)),
        Parameter("V2", "L", variance_of_cv(v2)),
        Parameter("ka", "1/h"),
        Parameter("tlag", "h"),
    )


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 6) typical parameters of the final model.

    Parameters
    ----------
    covariates
        ``age_y``, ``bsa_m2``, ``albumin_g_l``, ``creatinine_umol_l``, ``haematocrit`` (a fraction),
        ``lean_mass_kg``, (n,) each.
    effects
        ``cyp3a5_expresser``, ``cyp3a4_star22``: (n,) 1 for carriers, 0 for others.
    """
    age, bsa, albumin, creatinine, haematocrit, lean = columns(
        covariates, "age_y", "bsa_m2", "albumin_g_l", "creatinine_umol_l", "haematocrit", "lean_mass_kg"
    )
    expresser, star22 = columns(effects, "cyp3a5_expresser", "cyp3a4_star22")
    clearance = (
        23.0
        * EXPRESSER_ON_CL.value**expresser
        * STAR22_ON_CL.value**star22
        * (age / 55.72) ** -0.43
        * (bsa / 1.93) ** 0.88
        * (albumin / 42) ** 0.43
        * (creatinine / 134.98) ** -0.14
        * (haematocrit / 0.34) ** -0.76
    )
    return stack(clearance, 692.0 * (lean / 58.94) ** 1.52, 11.6, 5340.0, 3.58, 0.38)


def typical_start(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 6) typical parameters of the starting-dose model: ``age_y``, ``bsa_m2`` and the genotype."""
    age, bsa = columns(covariates, "age_y", "bsa_m2")
    expresser, star22 = columns(effects, "cyp3a5_expresser", "cyp3a4_star22")
    clearance = (
        22.5
        * START_EXPRESSER_ON_CL.value**expresser
        * START_STAR22_ON_CL.value**star22
        * (age / 55.72) ** -0.50
        * (bsa / 1.93) ** 0.72
    )
    return stack(clearance, 685.0, 10.6, 6590.0, 3.70, 0.39)


def _rates(t, theta, matrix):
    cl, v1, q, v2, ka = theta[0], theta[1], theta[2], theta[3], theta[4]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -(cl + q) / v1
    matrix[1, 2] = q / v2
    matrix[2, 1] = q / v1
    matrix[2, 2] = -q / v2
    matrix[3, 1] = 1000.0 / v1


def _observe(t, state, theta, output):
    return 1000.0 * state[1] / theta[1] if output == 0 else state[3]


_AGE = Covariate("age_y", "years", 55.72, 15.0, 79.0, least=0.0)
_BSA = Covariate("bsa_m2", "m²", 1.93, 1.24, 2.66, least=0.0)


def _model(
    name: str, title: str, parameters: tuple[Parameter, ...], typical_of, covariates, error: ResidualError
) -> PopulationModel:
    return PopulationModel(
        name=name,
        title=title,
        sources=(f"{_PAPER}, doi:10.1111/bcp.13838",),
        time_unit="h",
        amount_unit="mg",
        parameters=parameters,
        states=("A0", "A1", "A2", "AUC"),
        initial=empty(4),
        routes=(Route("oral", "A0", lag="tlag"),),
        outputs=(Output("C", "ng/mL", error), Output("AUC", "ng·h/mL")),
        typical=typical_of,
        solver=Linear(_rates),
        observe=_observe,
        covariates=covariates,
        genotype_terms=(CYP3A5, CYP3A4),
    )


MODEL = _model(
    "tacrolimus_andrews2019",
    "Tacrolimus, whole blood after kidney transplantation (Andrews 2019, final model)",
    _parameters(0.386, 0.492, 0.787, 0.530, 0.136),
    typical,
    (
        _AGE,
        _BSA,
        Covariate("albumin_g_l", "g/L", 42.0, 12.0, 57.0, least=0.0),
        Covariate("creatinine_umol_l", "µmol/L", 134.98, 38.0, 1885.0, least=0.0),
        Covariate("haematocrit", "1", 0.34, 0.15, 0.80, least=0.0),
        Covariate("lean_mass_kg", "kg", 58.94, 33.0, 85.0, least=0.0),
    ),
    ResidualError(proportional=0.177, additive=0.88, source=f"{_FINAL}, immunoassay"),
)

START = _model(
    "tacrolimus_andrews2019_start",
    "Tacrolimus, whole blood after kidney transplantation (Andrews 2019, starting-dose model)",
    _parameters(0.394, 0.540, 0.796, 0.537, 0.146),
    typical_start,
    (_AGE, _BSA),
    ResidualError(proportional=0.169, additive=1.02, source=f"{_START}, immunoassay"),
)
