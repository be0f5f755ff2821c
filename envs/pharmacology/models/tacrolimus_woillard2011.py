"""Tacrolimus, Woillard 2011: whole-blood kinetics of two formulations after kidney transplantation by CYP3A5.

Woillard JB, de Winter BCM, Kamar N, et al. Population pharmacokinetic model and Bayesian estimator for two
tacrolimus formulations: twice daily Prograf and once daily Advagraf. Br J Clin Pharmacol 2011;71:391-402.

Structure (time in h, amounts in mg; Prograf every 12 h, Advagraf every 24 h)::

    dD1 = −ktr·D1                                       a dose enters D1
    dD2 =  ktr·(D1 − D2), dD3 = ktr·(D2 − D3)
    dA1 =  ktr·D3 − (CL + Q)/Vc·A1 + Q/Vp·A2            C = 1000·A1/Vc in ng/mL, whole blood
    dA2 =  Q/Vc·A1 − Q/Vp·A2                            dAUC = C

All clearances and volumes are apparent (over bioavailability). Variability between occasions was not read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

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
from dosewright.envs.pharmacology.models import tacrolimus_andrews2019
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Woillard 2011, Br J Clin Pharmacol 71:391"

CL = Constant(21.2, "L/h", "VERIFIED", f"{_PAPER}, haematocrit 35 %, no expresser")
HAEMATOCRIT_ON_CL = Constant(-1.14, "exponent of haematocrit/0.35", "VERIFIED", _PAPER)
EXPRESSER_ON_CL = Constant(2.00, "1", "VERIFIED", _PAPER)
VC = Constant(486.0, "L", "VERIFIED", f"{_PAPER}, Advagraf")
PROGRAF_ON_VC = Constant(0.29, "1", "VERIFIED", _PAPER)
Q = Constant(79.0, "L/h", "VERIFIED", _PAPER)
VP = Constant(271.0, "L", "VERIFIED", _PAPER)
KTR = Constant(3.34, "1/h", "VERIFIED", f"{_PAPER}, Advagraf")
PROGRAF_ON_KTR = Constant(1.53, "1", "VERIFIED", _PAPER)

CYP3A5 = replace(tacrolimus_andrews2019.CYP3A5, source=_PAPER)

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.28)),
    Parameter("Vc", "L", variance_of_cv(0.31)),
    Parameter("Q", "L/h", variance_of_cv(0.54)),
    Parameter("Vp", "L", variance_of_cv(0.60)),
    Parameter("ktr", "1/h", variance_of_cv(0.24)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 5) typical parameters.

    Parameters
    ----------
    covariates
        ``haematocrit`` (n,) a fraction; ``prograf`` (n,) 1 for Prograf, 0 for Advagraf.
    effects
        ``cyp3a5_expresser`` (n,) 1 for carriers of a *1, 0 for others.
    """
    haematocrit, prograf = columns(covariates, "haematocrit", "prograf")
    (expresser,) = columns(effects, "cyp3a5_expresser")
    return stack(
        CL.value * (haematocrit / 0.35) ** HAEMATOCRIT_ON_CL.value * EXPRESSER_ON_CL.value**expresser,
        VC.value * PROGRAF_ON_VC.value**prograf,
        Q.value,
        VP.value,
        KTR.value * PROGRAF_ON_KTR.value**prograf,
    )


def maintenance_dose(theta: Floats, auc: float) -> Floats:
    """Return the dose (mg) whose area under the curve over one dosing interval is `auc` (ng·h/mL) in steady
    state, whatever the interval.

    Parameters
    ----------
    theta : (..., 5) individual parameters.
    """
    return theta[..., 0] * auc / 1000.0


def _rates(t, theta, matrix):
    cl, vc, q, vp, ktr = theta[0], theta[1], theta[2], theta[3], theta[4]
    for i in range(3):
        matrix[i, i] = -ktr
        matrix[i + 1, i] = ktr
    matrix[3, 3] = -(cl + q) / vc
    matrix[3, 4] = q / vp
    matrix[4, 3] = q / vc
    matrix[4, 4] = -q / vp
    matrix[5, 3] = 1000.0 / vc


def _observe(t, state, theta, output):
    return 1000.0 * state[3] / theta[1] if output == 0 else state[5]


MODEL = PopulationModel(
    name="tacrolimus_woillard2011",
    title="Tacrolimus, whole blood after kidney transplantation (Woillard 2011, Prograf and Advagraf)",
    sources=(f"{_PAPER}, doi:10.1111/j.1365-2125.2010.03837.x",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("D1", "D2", "D3", "A1", "A2", "AUC"),
    initial=empty(6),
    routes=(Route("oral", "D1"),),
    outputs=(
        Output("C", "ng/mL", ResidualError(proportional=0.113, additive=0.71, source=_PAPER)),
        Output("AUC", "ng·h/mL"),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    covariates=(
        Covariate("haematocrit", "1", 0.35, least=0.0),
        Covariate("prograf", "1", 1.0, 0.0, 1.0),
    ),
    genotype_terms=(CYP3A5,),
)
