"""Phenobarbital in newborns: intravenous doses against seizures, concentration by weight and Apgar score.

Data: Grasela TH, Donn SM. Neonatal population pharmacokinetics of phenobarbital derived from routine clinical
data. Dev Pharmacol Ther 1985;8:374-383. Estimates: the example model `pheno` of Pharmpy (FOCE with
interaction, objective function 586.2760563), whose data are the same.

Structure (time in h, amounts in mg; an injection is taken as instantaneous)::

    dA1 = −(CL/V)·A1                C = A1/V in mg/L
    CL ~ weight,  V ~ weight·(1 + 0.159 where the Apgar score at 5 minutes is below 5)
"""

from __future__ import annotations

import math
from collections.abc import Mapping

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
)
from dosewright.envs.pharmacology.solvers import Linear

_FIT = "Pharmpy example pheno_real, of the data of Grasela & Donn 1985"

CL_PER_KG = Constant(0.00469555, "L/h/kg", "VERIFIED", _FIT)
V_PER_KG = Constant(0.984258, "L/kg", "VERIFIED", _FIT)
LOW_APGAR_ON_V = Constant(0.15892, "share added with an Apgar score below 5", "VERIFIED", _FIT)
LOW_APGAR = 5.0

PARAMETERS = (Parameter("CL", "L/h", 0.0293508), Parameter("V", "L", 0.027906))


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 2) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg`` (n,) at birth; ``apgar_5min`` (n,) Apgar score five minutes after birth, 0 to 10.
    effects
        None: no gene has a term.
    """
    weight, apgar = columns(covariates, "weight_kg", "apgar_5min")
    return stack(
        CL_PER_KG.value * weight, V_PER_KG.value * weight * (1.0 + LOW_APGAR_ON_V.value * (apgar < LOW_APGAR))
    )


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[0] / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1]


MODEL = PopulationModel(
    name="phenobarbital_neonates",
    title="Phenobarbital, newborns with seizures (Grasela and Donn's data, Pharmpy's fit)",
    sources=(_FIT, "Grasela & Donn 1985, Dev Pharmacol Ther 8:374"),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1",),
    initial=empty(1),
    routes=(Route("intravenous", "A1"),),
    outputs=(Output("C", "mg/L", ResidualError(proportional=math.sqrt(0.013241), source=_FIT)),),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    covariates=(
        Covariate("weight_kg", "kg", 1.3, 0.6, 3.6, least=0.0),
        Covariate("apgar_5min", "1", 7.0, 0.0, 10.0),
    ),
)
