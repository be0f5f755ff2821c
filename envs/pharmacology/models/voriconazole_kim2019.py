"""Voriconazole, Kim 2019: kinetics that inhibit their own clearance, by CYP2C19 phenotype, in adults.

Kim Y, Rhee SJ, Park WB, et al. A personalized CYP2C19 phenotype-guided dosing regimen of voriconazole using a
population pharmacokinetic analysis. J Clin Med 2019;8:227.

Structure (time in h, amounts in mg)::

    dA0   = −ka·A0                                              F times an oral dose enters A0 after tlag
    dA1   =  ka·A0 − CL(t)·C − Qp1·(C − A2/Vp1) − Qp2·(C − A3/Vp2)        C = A1/Vc in mg/L
    dA2   =  Qp1·(C − A2/Vp1)
    dA3   =  Qp2·(C − A3/Vp2)
    dCinh =  KIC·C                                              dAUC = C
    CL(t) =  CL·(RCLF + (1 − RCLF)·IC50/(IC50 + Cinh))

The paper prints CL(t) but not the equation of Cinh; the integral is the reading that agrees with its figures
(PARTIAL). With it inhibition does not recover when doses are left out, and clearance tends to CL·RCLF: over
more than a few weeks, or with long pauses, this is an extrapolation.
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
)
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Kim 2019, J Clin Med 8:227"

CL = Constant(45.3, "L/h", "VERIFIED", f"{_PAPER}, without inhibition, at 70 kg")
IM_ON_CL = Constant(-0.186, "log", "VERIFIED", _PAPER)
PM_ON_CL = Constant(-0.746, "log", "VERIFIED", _PAPER)
LIVER_ON_CL = Constant(-0.75, "log", "VERIFIED", f"{_PAPER}, liver toxicity CTCAE 3 or more; six people")
# the discussion of the paper has the limits of IM and PM the other way round; these follow its Table 3
RCLF = Constant(0.162, "1", "VERIFIED", f"{_PAPER}, share of clearance that cannot be inhibited")
IM_ON_RCLF = Constant(-0.51, "log", "VERIFIED", f"{_PAPER}, Table 3")
PM_ON_RCLF = Constant(-0.44, "log", "VERIFIED", f"{_PAPER}, Table 3")
VC = Constant(35.7, "L", "VERIFIED", _PAPER)
VP1 = Constant(58.9, "L", "VERIFIED", f"{_PAPER}, at 70 kg")
QP1 = Constant(10.9, "L/h", "VERIFIED", f"{_PAPER}, at 70 kg")
VP2 = Constant(25.4, "L", "VERIFIED", _PAPER)
QP2 = Constant(54.6, "L/h", "VERIFIED", _PAPER)
KA = Constant(1.23, "1/h", "VERIFIED", _PAPER)
TLAG = Constant(0.237, "h", "VERIFIED", _PAPER)
F = Constant(0.876, "1", "VERIFIED", _PAPER)
KIC = Constant(0.002, "1/h", "VERIFIED", _PAPER)
IC50 = Constant(0.01, "mg/L", "VERIFIED", f"{_PAPER}, fixed")

CYP2C19 = GenotypeTerm(
    gene="CYP2C19",
    effect="cyp2c19_phenotype",
    # phenotypes by CPIC's rules for pairs of functions, "likely" ones as the ones they are likely to be
    per_allele={"*1": 0.0, "*2": 1.0, "*9": 1.0},
    pairs={
        ("*1", "*1"): 0.0,
        ("*1", "*2"): 1.0,
        ("*1", "*9"): 1.0,
        ("*2", "*2"): 2.0,
        ("*2", "*9"): 2.0,
        ("*9", "*9"): 1.0,
    },
    same_as={"*3": "*2"},
    # rapid and ultrarapid metabolisers have no term (ASSUMPTION); *9 stands for decreased function
    by_function={
        "Increased function": "*1",
        "Normal function": "*1",
        "Decreased function": "*9",
        "No function": "*2",
        "Uncertain function": "*1",
        "Unknown function": "*1",
    },
    unit="0 normal, rapid or ultrarapid, 1 intermediate, 2 poor metaboliser",
    flag="VERIFIED",
    source=_PAPER,
)

_CL, _VC, _VP1, _QP1, _VP2, _QP2, _KA, _TLAG, _F, _RCLF, _KIC, _IC50 = range(12)

# The variances stand in the source as such; those of CL, Vc, Vp1 and Qp1 come with their covariances.
PARAMETERS = (
    Parameter("CL", "L/h", 0.044778),
    Parameter("Vc", "L", 0.149802),
    Parameter("Vp1", "L", 0.041560),
    Parameter("Qp1", "L/h", 0.079683),
    Parameter("Vp2", "L"),
    Parameter("Qp2", "L/h"),
    Parameter("ka", "1/h", 0.571479),
    Parameter("tlag", "h"),
    Parameter("F", "1", 0.537859, effect="logit"),
    Parameter("RCLF", "1", 0.259233),
    Parameter("KIC", "1/h"),
    Parameter("IC50", "mg/L"),
)
COVARIANCES = {
    ("Vc", "CL"): 0.0116,
    ("Vc", "Vp1"): -0.0117,
    ("Vc", "Qp1"): -0.0734,
    ("CL", "Vp1"): -0.0119,
    ("CL", "Qp1"): 0.008,
    ("Vp1", "Qp1"): 0.0345,
}


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 12) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``; ``liver_toxicity``, 1 with liver toxicity of CTCAE grade 3 or more; (n,) each.
    effects
        ``cyp2c19_phenotype`` (n,) 0 normal (also rapid and ultrarapid), 1 intermediate, 2 poor metaboliser.
    """
    weight, liver = columns(covariates, "weight_kg", "liver_toxicity")
    (phenotype,) = columns(effects, "cyp2c19_phenotype")
    size, im, pm = weight / 70, phenotype == 1, phenotype == 2
    on_clearance = IM_ON_CL.value * im + PM_ON_CL.value * pm + LIVER_ON_CL.value * liver
    return stack(
        CL.value * size**0.595 * np.exp(on_clearance),
        VC.value,
        VP1.value * size**2.2,
        QP1.value * size**2.56,
        VP2.value,
        QP2.value,
        KA.value,
        TLAG.value,
        F.value,
        RCLF.value * np.exp(IM_ON_RCLF.value * im + PM_ON_RCLF.value * pm),
        KIC.value,
        IC50.value,
    )


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the oral dose (mg) every 12 h whose average concentration becomes `target`, once clearance has
    fallen to CL·RCLF.

    Parameters
    ----------
    theta : (..., 12) individual parameters.
    target : mg/L
    """
    return target * theta[..., _CL] * theta[..., _RCLF] * 12 / theta[..., _F]


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[6]


def _rhs(t, y, x, theta, dy):
    # y: A1, A2, A3, Cinh, AUC
    c = y[0] / theta[1]
    clearance = theta[0] * (theta[9] + (1.0 - theta[9]) * theta[11] / (theta[11] + y[3]))
    first, second = theta[3] * (c - y[1] / theta[2]), theta[5] * (c - y[2] / theta[4])
    dy[0] = theta[6] * x[0] - clearance * c - first - second
    dy[1] = first
    dy[2] = second
    dy[3] = theta[10] * c
    dy[4] = c


def _observe(t, state, theta, output):
    if output == 0:
        return state[1] / theta[1]
    if output == 2:
        return theta[0] * (theta[9] + (1.0 - theta[9]) * theta[11] / (theta[11] + state[4]))
    return state[4] if output == 1 else state[5]


MODEL = PopulationModel(
    name="voriconazole_kim2019",
    title="Voriconazole, plasma concentration with auto-inhibition (Kim 2019)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1", "A2", "A3", "Cinh", "AUC"),
    initial=empty(6),
    routes=(Route("oral", "A0", fraction="F", lag="tlag"), Route("infusion", "A1")),
    outputs=(
        # of patients; 0.208 mg/L in healthy volunteers
        Output("C", "mg/L", ResidualError(additive=0.799, source=_PAPER)),
        Output("Cinh", "mg/L"),
        Output("CL", "L/h"),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=1, scale=(1.0, 1.0, 1.0, 0.01, 1.0), tolerance=1e-7),
    observe=_observe,
    covariates=(Covariate("weight_kg", "kg", 70.0, least=0.0), Covariate("liver_toxicity", "1", 0.0)),
    genotype_terms=(CYP2C19,),
    covariances=COVARIANCES,
)
