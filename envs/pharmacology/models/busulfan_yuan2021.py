"""Busulfan, Yuan 2021: kinetics of Chinese children by body surface area, liver enzymes and GSTA1.

Yuan J, Sun N, Feng X, et al. Optimization of busulfan dosing regimen in pediatric patients using a population
pharmacokinetic model incorporating GST mutations. Pharmgenomics Pers Med 2021;14:253-268.

Structure (time in h, amounts in mg; intravenous infusion)::

    dA1 = −CL/V·A1     C = A1/V in mg/L     dAUC = C
    CL = 4.79·(BSA/0.67)^0.83·(AST/29.1)^−0.21·exp(−0.19 with a *B of GSTA1)     V = 14.80·(BSA/0.67)^0.92
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
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

_PAPER = "Yuan 2021, Pharmgenomics Pers Med 14:253"

GSTA1_ON_LOG_CL = Constant(-0.19, "1", "VERIFIED", f"{_PAPER}, *A/*B against *A/*A")

GSTA1 = GenotypeTerm(
    gene="GSTA1",
    effect="gsta1_b",
    per_allele={"*A": 0.0, "*B": 1.0},
    # the one child with *B/*B was left out of the fit: read as *A/*B (ASSUMPTION)
    pairs={("*A", "*A"): 0.0, ("*A", "*B"): 1.0, ("*B", "*B"): 1.0},
    by_function={},
    unit="1 with at least one *B",
    flag="VERIFIED",
    source=_PAPER,
    # Hakka, South China (PubMed 17086718), and Yuan's cohort in Beijing (0.121). Others differ, by how much
    # is not known: they have no frequency
    frequencies={"East Asian": {"*A": 0.88, "*B": 0.12}},
)

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.1865)),
    Parameter("V", "L", variance_of_cv(0.2363)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 2) typical parameters.

    Parameters
    ----------
    covariates
        ``bsa_m2``, ``ast_u_l`` aspartate aminotransferase, (n,) each.
    effects
        ``gsta1_b``: (n,) 1 for carriers of *B, 0 for others.
    """
    bsa, ast = columns(covariates, "bsa_m2", "ast_u_l")
    (variant,) = columns(effects, "gsta1_b")
    clearance = 4.79 * (bsa / 0.67) ** 0.83 * (ast / 29.1) ** -0.21 * np.exp(GSTA1_ON_LOG_CL.value * variant)
    return stack(clearance, 14.80 * (bsa / 0.67) ** 0.92)


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[0] / theta[1]
    matrix[1, 0] = 1.0 / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1] if output == 0 else state[1]


MODEL = PopulationModel(
    name="busulfan_yuan2021",
    title="Busulfan, plasma concentration of children (Yuan 2021)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "AUC"),
    initial=empty(2),
    routes=(Route("infusion", "A1"),),
    outputs=(
        Output("C", "mg/L", ResidualError(proportional=0.078, additive=0.043, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    covariates=(
        Covariate("bsa_m2", "m²", 0.67, least=0.0),
        Covariate("ast_u_l", "U/L", 29.1, least=0.0),
    ),
    genotype_terms=(GSTA1,),
)
