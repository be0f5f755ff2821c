"""Docetaxel, Ozawa 2007: kinetics and neutrophils, with the transient rise after dexamethasone.

Ozawa K, Minami H, Sato H. Population pharmacokinetic and pharmacodynamic analysis for time courses of
docetaxel-induced neutropenia in Japanese cancer patients. Cancer Sci 2007;98:1985-1992.

Structure (time in h, amounts in mg, cells in 10⁹/L): three compartments after an infusion, C = A1/V1 in mg/L;
dexamethasone premedication adds IP0 to a state In that empties into the circulating cells at kin = 1/MIT; the
chain of `myelosuppression` with Edrug = SLOPE·C and ktr = 4/MTT, plus kin·In in the circulating cells.
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

_PAPER = "Ozawa 2007, Cancer Sci 98:1985"

CL = Constant(35.7, "L/h", "VERIFIED", _PAPER)
V1 = Constant(6.94, "L", "VERIFIED", _PAPER)
Q2 = Constant(5.58, "L/h", "VERIFIED", _PAPER)
V2 = Constant(7.39, "L", "VERIFIED", _PAPER)
Q3 = Constant(12.5, "L/h", "VERIFIED", _PAPER)
V3 = Constant(225.0, "L", "VERIFIED", _PAPER)
MTT = Constant(113.0, "h", "VERIFIED", _PAPER)
GAMMA = Constant(0.196, "1", "VERIFIED", _PAPER)
SLOPE = Constant(17.9, "L/mg", "VERIFIED", f"{_PAPER}, at AAG 0.94 g/L")
AAG_ON_SLOPE = Constant(-1.38, "exponent of AAG/0.94 g/L", "VERIFIED", _PAPER)
MIT = Constant(35.5, "h", "VERIFIED", f"{_PAPER}, mean input time of the rise after dexamethasone")
# The paper follows one cycle; giving IP0 again with each cycle is an extension (PARTIAL)
IP0 = Constant(5.19, "10⁹/L", "VERIFIED", f"{_PAPER}, neutrophils that dexamethasone releases")

PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.399)),
    Parameter("V1", "L", variance_of_cv(0.264)),
    Parameter("Q2", "L/h"),
    Parameter("V2", "L"),
    Parameter("Q3", "L/h"),
    Parameter("V3", "L"),
    Parameter("Circ0", "10⁹/L"),
    Parameter("SLOPE", "L/mg", variance_of_cv(0.682)),
    Parameter("MTT", "h", variance_of_cv(0.111)),
    Parameter("gamma", "1"),
    Parameter("kin", "1/h"),
    Parameter("IP0", "10⁹/L", variance_of_cv(1.10)),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 12) typical parameters.

    Parameters
    ----------
    covariates
        ``neutrophils_1e9_l`` (n,) before treatment, ``aag_g_l`` (n,) α1-acid glycoprotein.
    effects
        None: no gene has a term.
    """
    neutrophils, aag = columns(covariates, "neutrophils_1e9_l", "aag_g_l")
    return stack(
        CL.value, V1.value, Q2.value, V2.value, Q3.value, V3.value, neutrophils,
        SLOPE.value * (aag / 0.94) ** AAG_ON_SLOPE.value, MTT.value, GAMMA.value, 1.0 / MIT.value, IP0.value,
    )  # fmt: skip


def _rates(t, theta, matrix):
    cl, v1, q2, v2, q3, v3 = theta[0], theta[1], theta[2], theta[3], theta[4], theta[5]
    matrix[0, 0] = -(cl + q2 + q3) / v1
    matrix[0, 1], matrix[0, 2] = q2 / v2, q3 / v3
    matrix[1, 0], matrix[1, 1] = q2 / v1, -q2 / v2
    matrix[2, 0], matrix[2, 2] = q3 / v1, -q3 / v3


def _rhs(t, y, x, theta, dy):
    ktr, kin = 4.0 / theta[8], theta[10]
    dy[0] = -kin * y[0]
    chain(y, 1, ktr, ktr, theta[7] * x[0] / theta[1], theta[6], theta[9], dy)
    dy[5] += kin * y[0]


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 9))
    state[:, 4:] = theta[:, [6]]
    state[:, 4] = np.log(state[:, 4])
    return state


def _observe(t, state, theta, output):
    if output == 0:
        return state[0] / theta[1]
    if output == 1:
        return state[8]
    return math.exp(state[4]) if output == 3 else state[output + 1]


MODEL = PopulationModel(
    name="docetaxel_ozawa2007",
    title="Docetaxel, plasma concentration and neutrophils (Ozawa 2007)",
    sources=(f"{_PAPER}",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "A3", "In", "lnProl", "T1", "T2", "T3", "Circ"),
    initial=_initial,
    routes=(Route("infusion", "A1"), Route("premedication", "In", fraction="IP0")),
    outputs=(
        Output("C", "mg/L", ResidualError(proportional=0.268, source=_PAPER)),
        Output("ANC", "10⁹/L", ResidualError(log_sd=0.291, source=_PAPER)),
        Output("In", "10⁹/L"),
        Output("Prol", "10⁹/L"),
        Output("T1", "10⁹/L"),
        Output("T2", "10⁹/L"),
        Output("T3", "10⁹/L"),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=3, scale=(1.0, *SCALE)),
    observe=_observe,
    covariates=(
        Covariate("neutrophils_1e9_l", "10⁹/L", 4.0, flag="RECALLED", least=0.0),
        Covariate("aag_g_l", "g/L", 0.94, 0.51, 2.41, least=0.0),
    ),
)
