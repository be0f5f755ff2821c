"""Busulfan, McCune 2014: kinetics at all ages by size, body composition and maturation.

McCune JS, Bemer MJ, Barrett JS, et al. Busulfan in infant to adult hematopoietic cell transplant recipients:
a population pharmacokinetic model for initial and Bayesian dose personalization. Clin Cancer Res
2014;20:754-763.

Structure (time in h from the start of the first dose, amounts in mg; intravenous infusion)::

    dA1 = −(F·CL + Q)/V·A1 + Q/V2·A2         C = A1/V in mg/L
    dA2 =  Q/V·A1 − Q/V2·A2                  dAUC = C
    F = 1 before 6 h, 0.932 from 6 h, 0.919 from 36 h

    CL = 11.4·(NFM_CL/70)^0.75·Fmat          Q  = 135.2·(NFM_CL/70)^0.75
    V  = 13.9·(NFM_V/70)·(1.07 female)       V2 = 29.9·(NFM_V/70)·(1.07 female)
    NFM_CL = FFM + 0.509·(WT − FFM)          NFM_V = FFM + 0.203·(WT − FFM)
    Fmat = 1/(1 + (PMA/45.7)^−2.3)           PMA = 52.1775·age + 40 weeks

`MODEL` is the published model. `COMPOSITE` adds the factor of GSTA1 from Yuan 2021, found in Chinese children
with another model; the sum of both is nobody's fit (PARTIAL).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

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
from dosewright.envs.pharmacology.models import busulfan_yuan2021 as yuan2021
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "McCune 2014, Clin Cancer Res 20:754"

CL_FROM_6H = Constant(0.932, "1", "VERIFIED", f"{_PAPER}, clearance relative to the first 6 h")
CL_FROM_36H = Constant(0.919, "1", "VERIFIED", f"{_PAPER}, clearance relative to the first 6 h")
FEMALE_ON_V = Constant(1.07, "1", "VERIFIED", _PAPER)

_FROM_6H, _FROM_36H = CL_FROM_6H.value, CL_FROM_36H.value

# The published block of variances does not name its rows; this order is the one of the implementation
PARAMETERS = (
    Parameter("CL", "L/h", 0.0459, "PARTIAL", occasion_variance=variance_of_cv(0.113)),
    Parameter("V", "L", 0.152, "PARTIAL", occasion_variance=variance_of_cv(0.224)),
    Parameter("Q", "L/h", 0.814, "PARTIAL"),
    Parameter("V2", "L", 0.00932, "PARTIAL"),
)

GSTA1 = replace(
    yuan2021.GSTA1, flag="PARTIAL", source=f"{yuan2021.GSTA1.source}, on the clearance of McCune 2014"
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters; CL is the clearance of the first 6 h.

    Parameters
    ----------
    covariates
        ``age_y``, ``weight_kg``, ``height_cm``, ``male`` (1 or 0), (n,) each.
    effects
        None: no gene has a term.
    """
    age, weight, height, male = columns(covariates, "age_y", "weight_kg", "height_cm", "male")
    lean = fat_free_mass(weight, height, male)
    flow = ((lean + 0.509 * (weight - lean)) / 70.0) ** 0.75
    volume = (lean + 0.203 * (weight - lean)) / 70.0 * FEMALE_ON_V.value ** (1.0 - male)
    return stack(11.4 * flow * maturation(age), 13.9 * volume, 135.2 * flow, 29.9 * volume)


def typical_gsta1(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters of the composite: those of `typical`, with a lower clearance in
    carriers of *B.

    Parameters
    ----------
    covariates
        As in `typical`.
    effects
        ``gsta1_b``: (n,) 1 for carriers of *B, 0 for others.
    """
    clearance, v, q, v2 = typical(covariates, {}).T
    (variant,) = columns(effects, "gsta1_b")
    return stack(clearance * np.exp(yuan2021.GSTA1_ON_LOG_CL.value * variant), v, q, v2)


def fat_free_mass(weight_kg: Floats, height_cm: Floats, male: Floats) -> Floats:
    """Return the fat-free mass (kg) as McCune 2014 has it at every age: Janmahasatian 2005, with height."""
    most, half = np.where(male > 0, 42.92, 37.99), np.where(male > 0, 30.93, 35.98)
    square = (height_cm / 100.0) ** 2
    return most * square * weight_kg / (half * square + weight_kg)


def maturation(age_y: ArrayLike) -> Floats:
    """Return the clearance at `age_y` years as a share of a grown person's of the same size."""
    weeks = np.asarray(age_y, dtype=np.float64) * 52.1775 + 40.0
    return 1.0 / (1.0 + (weeks / 45.7) ** -2.3)


def _rates(t, theta, matrix):
    v, q, v2 = theta[1], theta[2], theta[3]
    cl = theta[0]
    if t >= 36.0:
        cl *= _FROM_36H
    elif t >= 6.0:
        cl *= _FROM_6H
    matrix[0, 0] = -(cl + q) / v
    matrix[0, 1] = q / v2
    matrix[1, 0] = q / v
    matrix[1, 1] = -q / v2
    matrix[2, 0] = 1.0 / v


def _observe(t, state, theta, output):
    return state[0] / theta[1] if output == 0 else state[2]


MODEL = PopulationModel(
    name="busulfan_mccune2014",
    title="Busulfan, plasma concentration at all ages (McCune 2014)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "AUC"),
    initial=empty(3),
    routes=(Route("infusion", "A1"),),
    outputs=(
        # published in ng/mL: 27
        Output("C", "mg/L", ResidualError(proportional=0.0387, additive=0.027, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    # the published values hold for a normal fat mass of 70 kg; this is an ordinary adult
    covariates=(
        Covariate("age_y", "years", 40.0, flag="ASSUMPTION"),
        Covariate("weight_kg", "kg", 70.0, flag="ASSUMPTION", least=0.0),
        Covariate("height_cm", "cm", 175.0, flag="ASSUMPTION", least=0.0),
        Covariate("male", "1", 1.0),
    ),
    covariances={
        ("CL", "V"): 0.0172, ("CL", "Q"): 0.0681, ("V", "Q"): 0.097,
        ("CL", "V2"): 0.0115, ("V", "V2"): -0.00924, ("Q", "V2"): 0.069,
    },
    breaks=(6.0, 36.0),
)  # fmt: skip

COMPOSITE = replace(
    MODEL,
    name="busulfan_mccune2014_gsta1",
    title="Busulfan, plasma concentration at all ages (McCune 2014) with GSTA1 (Yuan 2021)",
    sources=MODEL.sources + yuan2021.MODEL.sources,
    typical=typical_gsta1,
    genotype_terms=(GSTA1,),
)
