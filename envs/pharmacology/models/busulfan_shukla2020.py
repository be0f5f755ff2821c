"""Busulfan, Shukla 2020: kinetics of children and young adults by fat-free mass, age and other drugs.

Shukla P, Goswami S, Keizer RJ, et al. Assessment of a model-informed precision dosing platform use in routine
clinical care for personalized busulfan therapy in the pediatric hematopoietic cell transplantation (HCT)
population. Front Pharmacol 2020;11:888. The numbers are those of an open implementation; the paper was not
opened.

Structure (time in h from the start of the first dose, amounts in mg; intravenous infusion)::

    dA1 = −F·CL/V·A1     C = A1/V in mg/L     dAUC = C     F = 1 before 24 h, 0.865 from 24 h
    CL = 3.96·(0.451 + 0.549·(1 − exp(−1.37·age)))·(FFM/12)^0.75·(0.80 with clofarabine or fludarabine)
    V  = 10.8·FFM/12

FFM is the fat-free mass of Al-Sallami in kg (`body`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.body import fat_free_mass
from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Floats,
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

_PAPER = "Shukla 2020, Front Pharmacol 11:888"

CL_FROM_24H = Constant(1.0 - 0.135, "1", "VERIFIED", f"{_PAPER}, clearance relative to the first 24 h")
REGIMEN_ON_CL = Constant(1.0 - 0.20, "1", "VERIFIED", f"{_PAPER}, with clofarabine or fludarabine")

_FROM_24H = CL_FROM_24H.value

# published as variances; between occasions as coefficients of variation
PARAMETERS = (
    Parameter("CL", "L/h", 0.0595, occasion_variance=variance_of_cv(0.1288)),
    Parameter("V", "L", 0.0293, occasion_variance=variance_of_cv(0.1334)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 2) typical parameters; CL is the clearance of the first 24 h.

    Parameters
    ----------
    covariates
        ``age_y``, ``weight_kg``, ``height_cm``, ``male`` (1 or 0),
        ``clofarabine_or_fludarabine`` (1 with either), (n,) each.
    effects
        None: no gene has a term.
    """
    age, weight, height, male, regimen = columns(
        covariates, "age_y", "weight_kg", "height_cm", "male", "clofarabine_or_fludarabine"
    )
    size = fat_free_mass(age, weight, height, male) / 12.0
    matured = 0.451 + 0.549 * (1.0 - np.exp(-1.37 * age))
    return stack(3.96 * matured * size**0.75 * REGIMEN_ON_CL.value**regimen, 10.8 * size)


def _rates(t, theta, matrix):
    cl = theta[0]
    if t >= 24.0:
        cl *= _FROM_24H
    matrix[0, 0] = -cl / theta[1]
    matrix[1, 0] = 1.0 / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1] if output == 0 else state[1]


MODEL = PopulationModel(
    name="busulfan_shukla2020",
    title="Busulfan, plasma concentration of children and young adults (Shukla 2020)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "AUC"),
    initial=empty(2),
    routes=(Route("infusion", "A1"),),
    outputs=(
        # published in ng/mL: 22.2
        Output("C", "mg/L", ResidualError(proportional=0.106, additive=0.0222, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    # the published values hold for a fat-free mass of 12 kg: about this child's
    covariates=(
        Covariate("age_y", "years", 3.0, flag="ASSUMPTION"),
        Covariate("weight_kg", "kg", 15.0, flag="ASSUMPTION", least=0.0),
        Covariate("height_cm", "cm", 96.0, flag="ASSUMPTION", least=0.0),
        Covariate("male", "1", 1.0, flag="ASSUMPTION"),
        Covariate("clofarabine_or_fludarabine", "1", 0.0),
    ),
    covariances={("CL", "V"): 0.0323},
    breaks=(24.0,),
)
