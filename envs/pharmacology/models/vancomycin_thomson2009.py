"""Vancomycin, Thomson 2009: kinetics of adults by creatinine clearance and weight.

Thomson AH, Staatz CE, Tobin CM, Gall M, Lovering AM. Development and evaluation of vancomycin dosage
guidelines designed to achieve new target concentrations. J Antimicrob Chemother 2009;63:1050-1057.

Structure: the two compartments and the AUC of `vancomycin_goti2018` (time in h, amounts in mg), with ::

    CL = 2.99·(1 + 0.0154·(CrCl − 66))       Q  = 2.28
    V1 = 0.675·WT                            V2 = 0.732·WT

CrCl is that of Cockcroft and Gault in mL/min.
"""

from __future__ import annotations

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
from dosewright.envs.pharmacology.models.vancomycin_goti2018 import observe, rates
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Thomson 2009, J Antimicrob Chemother 63:1050"

CRCL = Constant(66.0, "mL/min", "VERIFIED", f"{_PAPER}, creatinine clearance at which CL is 2.99 L/h")
CRCL_ON_CL = Constant(0.0154, "1 per mL/min", "VERIFIED", _PAPER)

# published as variances
PARAMETERS = (
    Parameter("CL", "L/h", 0.0729),
    Parameter("V1", "L", 0.0225),
    Parameter("Q", "L/h", 0.2401),
    Parameter("V2", "L", 1.69),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``, ``crcl_ml_min``, (n,) each.
    effects
        None: no gene has a term.
    """
    weight, crcl = columns(covariates, "weight_kg", "crcl_ml_min")
    clearance = 2.99 * (1.0 + CRCL_ON_CL.value * (crcl - CRCL.value))
    return stack(clearance, 0.675 * weight, 2.28, 0.732 * weight)


MODEL = PopulationModel(
    name="vancomycin_thomson2009",
    title="Vancomycin, serum concentration of adults (Thomson 2009)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "AUC"),
    initial=empty(3),
    routes=(Route("infusion", "A1"),),
    outputs=(
        Output("C", "mg/L", ResidualError(proportional=0.15, additive=1.6, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(rates),
    observe=observe,
    covariates=(
        # volumes are per kg, so no weight is the published one
        Covariate("weight_kg", "kg", 72.0, flag="ASSUMPTION", least=0.0),
        # the line of CL crosses 0 near 1 mL/min
        Covariate("crcl_ml_min", "mL/min", CRCL.value, least=CRCL.value - 1.0 / CRCL_ON_CL.value),
    ),
    covariances={("CL", "V1"): 0.01},
)
