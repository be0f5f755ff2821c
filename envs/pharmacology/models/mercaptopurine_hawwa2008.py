"""Mercaptopurine, Hawwa 2008: metabolites in erythrocytes of children by TPMT.

Hawwa AF, Collier PS, Millership JS, et al. Population pharmacokinetic and pharmacogenetic analysis of
6-mercaptopurine in paediatric patients with acute lymphoblastic leukaemia. Br J Clin Pharmacol
2008;66:826-837.

Structure (time in h, oral doses in mg, metabolites in mg/L of packed erythrocytes: their apparent volumes are
fixed at 1 L)::

    dA0 = −ka·A0                                        F·dose enters A0
    dA1 =  ka·A0 − k20·A1                               kme = 0.78·k20
    dTGN  = FM3·kme·A1 − CLtgn·TGN                      thioguanine nucleotides
    dMMPN = (1 − FM3)·kme·A1 − CLmmpn·MMPN              methylated metabolites

Kinetics only; the blood count is in Gebhard 2023.
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
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Hawwa 2008, Br J Clin Pharmacol 66:826"

KA = Constant(1.3, "1/h", "VERIFIED", _PAPER)
F = Constant(0.22, "1", "VERIFIED", f"{_PAPER}, oral bioavailability")
K20 = Constant(0.53, "1/h", "VERIFIED", _PAPER)
METABOLISED = Constant(0.78, "1", "VERIFIED", f"{_PAPER}, share of k20 that forms both metabolites")
FM3 = Constant(0.0191, "1", "VERIFIED", f"{_PAPER}, share of the metabolites that are TGN, no TPMT variant")
# three heterozygous children among 19 carried a variant: standard error 36 %
TPMT_ON_FM3 = Constant(2.56, "1", "VERIFIED", f"{_PAPER}, factor on FM3 in carriers of a variant")
CL_TGN = Constant(0.00914, "1/h", "VERIFIED", f"{_PAPER}, at 1 m²")
BSA_ON_CL_TGN = Constant(1.16, "exponent of body surface area in m²", "VERIFIED", _PAPER)
CL_MMPN = Constant(0.0228, "1/h", "VERIFIED", _PAPER)

TPMT = GenotypeTerm(
    gene="TPMT",
    effect="tpmt_variant",
    per_allele={"*1": 0.0, "*3A": 1.0},
    pairs={("*1", "*1"): 0.0, ("*1", "*3A"): 1.0, ("*3A", "*3A"): 1.0},
    # any variant counts, one copy as much as two; alleles that Hawwa's children did not carry are read as *3A
    # by their function (ASSUMPTION)
    by_function={"Normal function": "*1", "Decreased function": "*3A", "No function": "*3A",
                 "Uncertain function": "*1", "Unknown function": "*1"},
    unit="1 with at least one variant allele",
    flag="VERIFIED",
    source=_PAPER,
)  # fmt: skip

# The paper reads its CV as the root of the variance (33.6 and 33.2 %); the variances are given
PARAMETERS = (
    Parameter("ka", "1/h"),
    Parameter("F", "1"),
    Parameter("k20", "1/h"),
    Parameter("kme", "1/h"),
    Parameter("FM3", "1"),
    Parameter("CLtgn", "1/h", 0.113),
    Parameter("CLmmpn", "1/h", 0.11),
)
_KA, _F, _K20, _KME, _FM3, _CL_TGN, _CL_MMPN = range(7)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 7) typical parameters.

    Parameters
    ----------
    covariates
        ``bsa_m2`` (n,).
    effects
        ``tpmt_variant`` (n,) 1 with at least one variant allele, 0 for others.
    """
    (bsa,), (variant,) = columns(covariates, "bsa_m2"), columns(effects, "tpmt_variant")
    return stack(
        KA.value, F.value, K20.value, METABOLISED.value * K20.value, FM3.value * TPMT_ON_FM3.value**variant,
        CL_TGN.value * bsa**BSA_ON_CL_TGN.value, CL_MMPN.value,
    )  # fmt: skip


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the daily dose (mg) whose average TGN in steady state is `target` (mg/L).

    Parameters
    ----------
    theta : (..., 7) individual parameters.
    """
    formed = theta[..., _F] * theta[..., _FM3] * theta[..., _KME] / theta[..., _K20]
    return np.asarray(target * theta[..., _CL_TGN] * 24.0 / formed)


def _rates(t, theta, matrix):
    ka, k20, kme, share = theta[0], theta[2], theta[3], theta[4]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -k20
    matrix[2, 1] = share * kme
    matrix[2, 2] = -theta[5]
    matrix[3, 1] = (1.0 - share) * kme
    matrix[3, 3] = -theta[6]


def _observe(t, state, theta, output):
    return state[2 + output]


MODEL = PopulationModel(
    name="mercaptopurine_hawwa2008",
    title="Mercaptopurine, metabolites in erythrocytes (Hawwa 2008)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1", "TGN", "MMPN"),
    initial=empty(4),
    routes=(Route("oral", "A0", fraction="F"),),
    outputs=(
        Output("TGN", "mg/L", ResidualError(additive=0.177, source=_PAPER)),
        Output("MMPN", "mg/L", ResidualError(additive=8.42, source=_PAPER)),
    ),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
    covariates=(Covariate("bsa_m2", "m²", 1.0, least=0.0),),
    genotype_terms=(TPMT,),
)
