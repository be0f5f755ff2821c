"""Efavirenz, Bienczak 2016: plasma kinetics in African children by CYP2B6 516G>T and 983T>C.

Bienczak A, Cook A, Wiesner L, et al. The impact of genetic polymorphisms on the pharmacokinetics of efavirenz
in African children. Br J Clin Pharmacol 2016;82:185-198.

Structure (time in h, amounts in mg)::

    dD1  = −ktr·D1                                      F times a dose enters D1; ktr = 26/MTT
    dDi  =  ktr·(Di-1 − Di)                             i = 2 … 26
    dA0  =  ktr·D26 − ka·A0
    dA1  =  ka·A0 − (CL + Q)/Vc·A1 + Q/Vp·A2            C = A1/Vc in mg/L
    dA2  =  Q/Vc·A1 − Q/Vp·A2                           dAUC = C

F is relative: its typical value is 1, and clearances and volumes are apparent. The data are from steady
state, so the fall of the levels while efavirenz induces its own elimination is not in the model.
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

_PAPER = "Bienczak 2016, Br J Clin Pharmacol 82:185"

REFERENCE_WEIGHT = Constant(15.4, "kg", "VERIFIED", _PAPER)
VC = Constant(64.1, "L", "VERIFIED", f"{_PAPER}, at 15.4 kg")
Q = Constant(17.1, "L/h", "VERIFIED", f"{_PAPER}, at 15.4 kg")
VP = Constant(92.2, "L", "VERIFIED", f"{_PAPER}, at 15.4 kg")
# the children of the ARROW trial: 1.17 h and 1.27/h
MTT = Constant(0.82, "h", "VERIFIED", f"{_PAPER}, CHAPAS-3 trial")
KA = Constant(0.79, "1/h", "VERIFIED", f"{_PAPER}, CHAPAS-3 trial")

# haplotypes by CPIC's definitions; none carries both variants
_WITH_516T = (7, 9, 13, 19, 20, 26, 34, *range(36, 44))
_WITH_NEITHER = (
    *range(2, 6), 8, 10, 11, 12, 14, 15, 17, *range(21, 26), 27, 28, 31, 32, 33, 35, *range(44, 51),
)  # fmt: skip

CYP2B6 = GenotypeTerm(
    gene="CYP2B6",
    effect="cl_l_h",
    # *1 is 516G|983T, *6 is T|T, *18 is G|C; contributions are halves of the homozygotes, pairs do not add up
    per_allele={"*1": 3.47, "*6": 0.96, "*18": 0.37},
    pairs={
        ("*1", "*1"): 6.94,
        ("*1", "*6"): 4.90,
        ("*1", "*18"): 3.93,
        ("*6", "*6"): 1.92,
        ("*6", "*18"): 1.36,
        ("*18", "*18"): 0.74,
    },
    # the paper's groups are genotypes of the two variants, whatever else an allele carries
    same_as={
        **{f"*{number}": "*6" for number in _WITH_516T},
        **{f"*{number}": "*1" for number in _WITH_NEITHER},
    },
    # *29 and *30 are structural variants without a genotype of the two
    by_function={"Decreased function": "*6", "No function": "*18"},
    unit="L/h at 15.4 kg",
    flag="VERIFIED",
    source=_PAPER,
)

_TRANSIT = 26  # n = 25 of the paper, and the one that a dose enters
_A0, _A1, _A2, _AUC = range(_TRANSIT, _TRANSIT + 4)
_CL, _VC, _Q, _VP, _MTT, _KA, _F = range(7)

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.369), occasion_variance=variance_of_cv(0.266)),
    Parameter("Vc", "L"),
    Parameter("Q", "L/h"),
    Parameter("Vp", "L"),
    Parameter("MTT", "h", occasion_variance=variance_of_cv(0.78)),
    Parameter("ka", "1/h", occasion_variance=variance_of_cv(0.577)),
    Parameter("F", "1", variance_of_cv(0.422), occasion_variance=variance_of_cv(0.505)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 7) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg`` (n,).
    effects
        ``cl_l_h`` (n,) clearance at 15.4 kg of the pair of CYP2B6 alleles.
    """
    (weight,), (clearance,) = columns(covariates, "weight_kg"), columns(effects, "cl_l_h")
    size = weight / REFERENCE_WEIGHT.value
    return stack(
        clearance * size**0.75,
        VC.value * size,
        Q.value * size**0.75,
        VP.value * size,
        MTT.value,
        KA.value,
        1.0,
    )


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the daily dose (mg) whose average concentration in steady state is `target`.

    Parameters
    ----------
    theta : (..., 7) individual parameters.
    target : mg/L
    """
    return target * theta[..., _CL] * 24 / theta[..., _F]


def _rates(t, theta, matrix):
    cl, vc, q, vp, ktr, ka = theta[0], theta[1], theta[2], theta[3], _TRANSIT / theta[4], theta[5]
    for i in range(_TRANSIT):
        matrix[i, i] = -ktr
        matrix[i + 1, i] = ktr
    matrix[_A0, _A0] = -ka
    matrix[_A1, _A0] = ka
    matrix[_A1, _A1] = -(cl + q) / vc
    matrix[_A1, _A2] = q / vp
    matrix[_A2, _A1] = q / vc
    matrix[_A2, _A2] = -q / vp
    matrix[_AUC, _A1] = 1.0 / vc


def _observe(t, state, theta, output):
    return state[_A1] / theta[1] if output == 0 else state[_AUC]


MODEL = PopulationModel(
    name="efavirenz_bienczak2016",
    title="Efavirenz, plasma concentration in children (Bienczak 2016)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=(*(f"D{number}" for number in range(1, _TRANSIT + 1)), "A0", "A1", "A2", "AUC"),
    initial=empty(_TRANSIT + 4),
    routes=(Route("oral", "D1", fraction="F"),),
    outputs=(
        # the paper doubles both parts for sparse samples
        Output("C", "mg/L", ResidualError(proportional=0.0672, additive=0.101, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    covariates=(Covariate("weight_kg", "kg", REFERENCE_WEIGHT.value, least=0.0),),
    genotype_terms=(CYP2B6,),
)
