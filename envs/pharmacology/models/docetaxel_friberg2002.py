"""Docetaxel, Friberg 2002: neutrophils with a linear drug effect, on the kinetics of Bruno 1996.

Friberg LE, Henningsson A, Maas H, et al. Model of chemotherapy-induced myelosuppression with parameter
consistency across drugs. J Clin Oncol 2002;20:4713-4721, docetaxel row. Kinetics, as micro-constants:
Bruno R, Vivier N, Vergniol JC, et al. A population pharmacokinetic model for docetaxel (Taxotere): model
building and validation. J Pharmacokinet Biopharm 1996;24:153-172.

Structure (time in h, amounts in mg, cells in 10⁹/L)::

    dA1 = −(k10 + k12 + k13)·A1 + k21·A2 + k31·A3       C = A1/V1/0.808 in µmol/L
    dA2 = k12·A1 − k21·A2
    dA3 = k13·A1 − k31·A3

and the chain of `myelosuppression` with Edrug = SLOPE·C and ktr = 4/MTT. No covariate enters.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Floats,
    Output,
    Parameter,
    PopulationModel,
    Route,
    columns,
    variance_of_cv,
)
from dosewright.envs.pharmacology.myelosuppression import SCALE, chain
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Friberg 2002, J Clin Oncol 20:4713"
_KINETICS = "Bruno 1996, J Pharmacokinet Biopharm 24:153"

K10 = Constant(5.2, "1/h", "VERIFIED", _KINETICS)
K12 = Constant(1.06, "1/h", "VERIFIED", _KINETICS)
K21 = Constant(1.51, "1/h", "VERIFIED", _KINETICS)
K13 = Constant(1.26, "1/h", "VERIFIED", _KINETICS)
K31 = Constant(0.084, "1/h", "VERIFIED", _KINETICS)
V1 = Constant(7.4, "L", "VERIFIED", _KINETICS)
CIRC0 = Constant(5.05, "10⁹/L", "VERIFIED", _PAPER)
SLOPE = Constant(8.58, "L/µmol", "VERIFIED", _PAPER)
MTT = Constant(88.7, "h", "VERIFIED", _PAPER)
GAMMA = Constant(0.161, "1", "VERIFIED", _PAPER)
MG_PER_UMOL = Constant(0.808, "mg/µmol", "VERIFIED", "molar mass of docetaxel")

_MG_PER_UMOL = MG_PER_UMOL.value

# No variability was read for the linear effect. That of Circ0, MTT and gamma is of the fit with an Emax
# effect, whose typical values are nearly the same; SLOPE and the kinetics have none.
PARAMETERS = (
    Parameter("k10", "1/h"),
    Parameter("k12", "1/h"),
    Parameter("k21", "1/h"),
    Parameter("k13", "1/h"),
    Parameter("k31", "1/h"),
    Parameter("V1", "L"),
    Parameter("Circ0", "10⁹/L", variance_of_cv(0.42), "PARTIAL"),
    Parameter("SLOPE", "L/µmol"),
    Parameter("MTT", "h", variance_of_cv(0.16), "PARTIAL"),
    Parameter("gamma", "1", variance_of_cv(0.039), "PARTIAL"),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 10) typical parameters: one row for each person of `covariates`, all the same.

    Parameters
    ----------
    covariates
        None is used; their length n is that of the result, 1 where there are none.
    effects
        None: no gene has a term.
    """
    known = columns(covariates, *covariates)
    row = [item.value for item in (K10, K12, K21, K13, K31, V1, CIRC0, SLOPE, MTT, GAMMA)]
    return np.tile(row, (len(known[0]) if known else 1, 1))


def _rates(t, theta, matrix):
    k10, k12, k21, k13, k31 = theta[0], theta[1], theta[2], theta[3], theta[4]
    matrix[0, 0] = -(k10 + k12 + k13)
    matrix[0, 1], matrix[0, 2] = k21, k31
    matrix[1, 0], matrix[1, 1] = k12, -k21
    matrix[2, 0], matrix[2, 2] = k13, -k31


def _rhs(t, y, x, theta, dy):
    ktr = 4.0 / theta[8]
    chain(y, 0, ktr, ktr, theta[7] * x[0] / theta[5] / _MG_PER_UMOL, theta[6], theta[9], dy)


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 8))
    state[:, 3:] = theta[:, [6]]
    state[:, 3] = np.log(state[:, 3])
    return state


def _observe(t, state, theta, output):
    return state[0] / theta[5] / _MG_PER_UMOL if output == 0 else state[7]


MODEL = PopulationModel(
    name="docetaxel_friberg2002",
    title="Docetaxel, neutrophils (Friberg 2002, kinetics of Bruno 1996)",
    sources=(f"{_PAPER}, doi:10.1200/JCO.2002.02.140", f"{_KINETICS}, doi:10.1007/BF02353487"),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "A3", "lnProl", "T1", "T2", "T3", "Circ"),
    initial=_initial,
    routes=(Route("infusion", "A1"),),
    # no assay error was read
    outputs=(Output("C", "µmol/L"), Output("ANC", "10⁹/L")),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=3, scale=SCALE),
    observe=_observe,
)
