"""Vancomycin, Goti 2018: kinetics of adult inpatients by creatinine clearance, weight and haemodialysis.

Goti V, Chaturvedula A, Fossler MJ, et al. Hospitalized patients with and without hemodialysis have markedly
different vancomycin pharmacokinetics: a population pharmacokinetic model-based analysis. Ther Drug Monit
2018;40:212-221.

Structure (time in h, amounts in mg; intravenous infusion)::

    dA1 = −(CL + Q)/V1·A1 + Q/V2·A2                     C = A1/V1 in mg/L
    dA2 =  Q/V1·A1 − Q/V2·A2                            dAUC = C

    CL = 4.5·(CrCl/120)^0.8·0.7^dialysis     Q  = 6.5
    V1 = 58.4·(WT/70)·0.5^dialysis           V2 = 38.4·(WT/70)

CrCl is that of Cockcroft and Gault in mL/min, where the serum creatinine of old people counts as at least
1 mg/dL (over 60 years; over 65 in the erratum); above 150 it counts as 150.
"""

from __future__ import annotations

from collections.abc import Mapping

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
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Goti 2018, Ther Drug Monit 40:212"

CRCL_CAP = Constant(150.0, "mL/min", "VERIFIED", f"{_PAPER}, largest creatinine clearance that counts")
DIALYSIS_ON_CL = Constant(0.7, "1", "VERIFIED", _PAPER)
DIALYSIS_ON_V1 = Constant(0.5, "1", "VERIFIED", _PAPER)

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.398)),
    Parameter("V1", "L", variance_of_cv(0.816)),
    Parameter("Q", "L/h"),
    Parameter("V2", "L", variance_of_cv(0.571)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``, ``crcl_ml_min`` (not capped), ``dialysis`` (1 or 0), (n,) each.
    effects
        None: no gene has a term.
    """
    weight, crcl, dialysis = columns(covariates, "weight_kg", "crcl_ml_min", "dialysis")
    clearance = 4.5 * (np.minimum(crcl, CRCL_CAP.value) / 120.0) ** 0.8 * DIALYSIS_ON_CL.value**dialysis
    # one of two implementations has no weight on V2 (PARTIAL)
    return stack(clearance, 58.4 * weight / 70.0 * DIALYSIS_ON_V1.value**dialysis, 6.5, 38.4 * weight / 70.0)


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the daily dose (mg) that makes the AUC of a day `target` (mg·h/L) in steady state.

    Exact, however the day's dose is split; for `theta` (..., 4) of the other vancomycin models as well.
    """
    return theta[..., 0] * target


def rates(t, theta, matrix):
    """Add the rate constants of two compartments and the AUC, as `Linear` asks for them.

    Every vancomycin model moves this way: its columns are CL, V1, Q, V2.
    """
    cl, v1, q, v2 = theta[0], theta[1], theta[2], theta[3]
    matrix[0, 0] = -(cl + q) / v1
    matrix[0, 1] = q / v2
    matrix[1, 0] = q / v1
    matrix[1, 1] = -q / v2
    matrix[2, 0] = 1.0 / v1


def observe(t, state, theta, output):
    """Return the concentration or the AUC of a state that `rates` moves."""
    return state[0] / theta[1] if output == 0 else state[2]


MODEL = PopulationModel(
    name="vancomycin_goti2018",
    title="Vancomycin, serum concentration of adult inpatients (Goti 2018)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "AUC"),
    initial=empty(3),
    routes=(Route("infusion", "A1"),),
    outputs=(
        # a second implementation has 19.7 % and 1.42 mg/L
        Output("C", "mg/L", ResidualError(proportional=0.227, additive=3.4, flag="PARTIAL", source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(rates),
    observe=observe,
    covariates=(
        Covariate("weight_kg", "kg", 70.0, least=0.0),
        Covariate("crcl_ml_min", "mL/min", 120.0, least=0.0),
        Covariate("dialysis", "1", 0.0),
    ),
)
