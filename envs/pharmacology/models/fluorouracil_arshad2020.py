"""Fluorouracil, Arshad 2020: 5-FU, its metabolite 5-FUH2 and leukocytes, with the activity of DPYD.

Arshad U, Ploylearmsaeng SA, Karlsson MO, et al. Prediction of exposure-driven myelotoxicity of continuous
infusion 5-fluorouracil by a semi-physiological pharmacokinetic-pharmacodynamic model in gastrointestinal
cancer patients. Cancer Chemother Pharmacol 2020;85:711-722. Typical values are the bootstrap medians.

Structure (time in h, amounts in mg, cells in 10⁹/L; a continuous infusion)::

    s = 1 + 0.77·(BSA − 1.95),  CL = 249·s·dpd,  CLm = 121·s
    dA1 = −(CL + Q)/V1·A1 + Q/V2·A2                     C = A1/V1 in mg/L
    dA2 = Q/V1·A1 − Q/V2·A2                             dAUC = C
    dB  = 0.85·CL/V1·A1 − CLm/Vm·B                      5-FUH2: B/Vm in mg/L

and the chain of `myelosuppression` for leukocytes, with Edrug = SLOPE·C and ktr = 4/MTT; SLOPE is 1.17 L/mg,
with cisplatin 2.82.

The published model has no term for DPYD, the gene of the enzyme that makes 5-FUH2. The factor dpd on CL, half
the activity score, is a composite (PARTIAL).
"""

from __future__ import annotations

import math
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
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.myelosuppression import SCALE, chain
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Arshad 2020, Cancer Chemother Pharmacol 85:711"

CL = Constant(249.0, "L/h", "VERIFIED", f"{_PAPER}, at 1.95 m² and full DPYD activity")
V1 = Constant(5.56, "L", "VERIFIED", _PAPER)
Q = Constant(14.8, "L/h", "VERIFIED", _PAPER)
V2 = Constant(28.5, "L", "VERIFIED", _PAPER)
CLM = Constant(121.0, "L/h", "VERIFIED", f"{_PAPER}, clearance of 5-FUH2 at 1.95 m²")
VM = Constant(96.7, "L", "VERIFIED", f"{_PAPER}, volume of 5-FUH2")
FM = Constant(0.85, "1", "VERIFIED", f"{_PAPER}, share of CL that makes 5-FUH2")
BSA_REFERENCE = Constant(1.95, "m²", "VERIFIED", f"{_PAPER}, median")
BSA_ON_CL = Constant(0.77, "1/m²", "VERIFIED", f"{_PAPER}, on CL and CLm")
CIRC0 = Constant(6.86, "10⁹/L", "VERIFIED", f"{_PAPER}, leukocytes")
MTT = Constant(281.0, "h", "VERIFIED", _PAPER)
GAMMA = Constant(0.17, "1", "VERIFIED", f"{_PAPER}, fixed")
SLOPE = Constant(1.17, "L/mg", "VERIFIED", f"{_PAPER}, fluorouracil alone")
SLOPE_CISPLATIN = Constant(2.82, "L/mg", "VERIFIED", f"{_PAPER}, with cisplatin")

DPYD = GenotypeTerm(
    gene="DPYD",
    effect="dpd",
    # half of CPIC's activity values 1, 0.5 and 0; an allele stands for all of its class
    per_allele={"Reference": 0.5, "c.2846A>T": 0.25, "c.1905+1G>A (*2A)": 0.0},
    by_function={
        "Normal function": "Reference",
        "Decreased function": "c.2846A>T",
        "No function": "c.1905+1G>A (*2A)",
        "Uncertain function": "Reference",
        "Unknown function": "Reference",
    },
    unit="factor on CL",
    flag="PARTIAL",
    source="CPIC activity score / 2, a composite with Arshad 2020",
)

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.230)),
    Parameter("V1", "L", variance_of_cv(1.45)),
    Parameter("Q", "L/h"),
    Parameter("V2", "L"),
    Parameter("CLm", "L/h", variance_of_cv(0.289)),
    Parameter("Vm", "L", variance_of_cv(0.596)),
    Parameter("Circ0", "10⁹/L", variance_of_cv(0.164)),
    Parameter("SLOPE", "L/mg"),
    Parameter("MTT", "h"),
    Parameter("gamma", "1"),
)
_CL = 0
_FM = FM.value


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 10) typical parameters.

    Parameters
    ----------
    covariates
        ``bsa_m2`` (n,) body surface area; ``cisplatin`` (n,) 1 where it is given with fluorouracil, else 0.
    effects
        ``dpd`` (n,) factor on the clearance of 5-FU: half the DPYD activity score, 1 for normal activity.

    Raises
    ------
    ValueError
        For a person whose clearance is not positive: without DPYD activity, or of 0.65 m² or less.
    """
    bsa, cisplatin = columns(covariates, "bsa_m2", "cisplatin")
    (dpd,) = columns(effects, "dpd")
    size = 1 + BSA_ON_CL.value * (bsa - BSA_REFERENCE.value)
    for factor, given, reason in (
        (
            dpd,
            dpd,
            "DPYD activity {:g} leaves no clearance of fluorouracil: it must not be given (CPIC: avoid)",
        ),
        (size, bsa, "a body surface of {:g} m² is too small for the clearance's linear rise with it"),
    ):
        if np.any(factor <= 0):
            i = int(np.argmax(factor <= 0))
            raise ValueError(f"patient {i}: {reason.format(given[i])}")
    return stack(
        CL.value * size * dpd, V1.value, Q.value, V2.value, CLM.value * size, VM.value, CIRC0.value,
        np.where(cisplatin > 0, SLOPE_CISPLATIN.value, SLOPE.value), MTT.value, GAMMA.value,
    )  # fmt: skip


def dose_for_auc(theta: Floats, target: float) -> Floats:
    """Return the dose (mg) of one infusion after which the AUC of 5-FU is `target`.

    Parameters
    ----------
    theta : (..., 10) individual parameters.
    target : AUC in mg·h/L, from 0 to the end of elimination.
    """
    return theta[..., _CL] * target


def _rates(t, theta, matrix):
    cl, v1, q, v2, clm, vm = theta[0], theta[1], theta[2], theta[3], theta[4], theta[5]
    matrix[0, 0], matrix[0, 1] = -(cl + q) / v1, q / v2
    matrix[1, 0], matrix[1, 1] = q / v1, -q / v2
    matrix[2, 0], matrix[2, 2] = _FM * cl / v1, -clm / vm


def _rhs(t, y, x, theta, dy):
    ktr, concentration = 4.0 / theta[8], x[0] / theta[1]
    chain(y, 0, ktr, ktr, theta[7] * concentration, theta[6], theta[9], dy)
    dy[5] = concentration


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 9))
    state[:, 3:8] = theta[:, [6]]
    state[:, 3] = np.log(state[:, 3])
    return state


def _observe(t, state, theta, output):
    if output == 0:
        return state[0] / theta[1]
    if output == 1:
        return state[2] / theta[5]
    return state[7] if output == 2 else state[8]


def _error(variance: float) -> ResidualError:
    """Proportional error from its published variance."""
    return ResidualError(proportional=math.sqrt(variance), source=_PAPER)


MODEL = PopulationModel(
    name="fluorouracil_arshad2020",
    title="Fluorouracil, 5-FU, 5-FUH2 and leukocytes (Arshad 2020)",
    sources=(f"{_PAPER}",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "B", "lnProl", "T1", "T2", "T3", "Circ", "AUC"),
    initial=_initial,
    routes=(Route("infusion", "A1"),),
    outputs=(
        Output("C", "mg/L", _error(0.32)),
        Output("FUH2", "mg/L", _error(0.14)),
        Output("WBC", "10⁹/L", _error(0.08)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=3, scale=(*SCALE, 1.0)),
    observe=_observe,
    covariates=(
        Covariate("bsa_m2", "m²", BSA_REFERENCE.value, 1.48, 2.33,
                  least=BSA_REFERENCE.value - 1 / BSA_ON_CL.value),
        Covariate("cisplatin", "1", 0.0, 0.0, 1.0),
    ),
    genotype_terms=(DPYD,),
)  # fmt: skip
