"""Warfarin after one large dose: concentration and prothrombin complex activity of O'Reilly's volunteers.

Data: O'Reilly RA, Aggeler PM, Leong LS. J Clin Invest 1963;42:1542-1551; O'Reilly RA, Aggeler PM. Circulation
1968;38:169-177. Estimates: the control streams of the tutorial of Nguyen TTH, Mouksassi MS, Holford N, et
al. Model evaluation of continuous data pharmacometric models: metrics and graphics. CPT Pharmacometrics
Syst Pharmacol 2017;6:87-109. The tutorial simulates one data set with O'Reilly's design from the values
below and fits that one again. The refit (CL 0.131, V 8.06, absorption half-life 0.944, lag 1.03) is no
fit of the volunteers: on their concentrations its −2 log-likelihood is 11 higher.

Structure (time in h, amounts in mg of racemic warfarin; PCA in per cent of normal)::

    dA0 = −ka·A0                        a dose enters A0 after tlag
    dA1 =  ka·A0 − (CL/V)·A1            C = A1/V in mg/L, both enantiomers
    dPCA = E0·k·(1 − C/(C50 + C)) − k·PCA          starts at E0

The drug stops part of the synthesis of the clotting factors; their loss, at the rate k, is what delays the
response. Unlike `warfarin_hamberg2010` it knows no genotype, no enantiomer and no INR.
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
)
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Nguyen 2017, CPT Pharmacometrics Syst Pharmacol 6:87, control stream of the simulation"

# PARTIAL: the stream says what was simulated, not how it was estimated. Another stream of the folder has CL
# 0.136, V 7.98, TABS 0.582, TLAG 0.776: all streams agree on clearance and volume within 5 %, on absorption
# they do not
CL = Constant(0.135, "L/h at 70 kg", "PARTIAL", _PAPER)
V = Constant(8.03, "L at 70 kg", "PARTIAL", _PAPER)
TABS = Constant(0.588, "h, half-life of absorption", "PARTIAL", _PAPER)
TLAG = Constant(0.842, "h", "PARTIAL", _PAPER)
E0 = Constant(96.6, "% of normal", "PARTIAL", _PAPER)
C50 = Constant(1.17, "mg/L", "PARTIAL", _PAPER)
TEQ = Constant(13.0, "h, half-life of PCA", "PARTIAL", _PAPER)
REFERENCE_WEIGHT_KG = 70.0

PARAMETERS = (
    Parameter("CL", "L/h", 0.0703, flag="PARTIAL"),
    Parameter("V", "L", 0.0195, flag="PARTIAL"),
    Parameter("TABS", "h", 0.551, flag="PARTIAL"),
    Parameter("tlag", "h", 0.347, flag="PARTIAL"),
    Parameter("E0", "%", 0.00286, flag="PARTIAL"),
    Parameter("C50", "mg/L", 0.2, flag="PARTIAL"),
    Parameter("TEQ", "h", 0.0114, flag="PARTIAL"),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 7) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg`` (n,).
    effects
        None: no gene has a term.
    """
    (weight,) = columns(covariates, "weight_kg")
    size = weight / REFERENCE_WEIGHT_KG
    return stack(
        CL.value * size**0.75, V.value * size, TABS.value, TLAG.value, E0.value, C50.value, TEQ.value
    )


def _rates(t, theta, matrix):
    ka = math.log(2.0) / theta[2]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -theta[0] / theta[1]


def _rhs(t, y, x, theta, dy):
    k, c = math.log(2.0) / theta[6], x[1] / theta[1]
    dy[0] = theta[4] * k * (1.0 - c / (theta[5] + c)) - k * y[0]


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 3))
    state[:, 2] = theta[:, 4]
    return state


def _observe(t, state, theta, output):
    return state[1] / theta[1] if output == 0 else state[2]


MODEL = PopulationModel(
    name="warfarin_oreilly",
    title="Warfarin, total concentration and prothrombin complex activity (O'Reilly's volunteers)",
    sources=(f"{_PAPER}, doi:10.1002/psp4.12161",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1", "PCA"),
    initial=_initial,
    routes=(Route("oral", "A0", lag="tlag"),),
    outputs=(
        Output(
            "C",
            "mg/L",
            ResidualError(
                proportional=math.sqrt(0.00677), additive=math.sqrt(0.094), flag="PARTIAL", source=_PAPER
            ),
        ),
        Output("PCA", "%", ResidualError(additive=math.sqrt(14.6), flag="PARTIAL", source=_PAPER)),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=2, scale=(1.0,)),
    observe=_observe,
    covariates=(Covariate("weight_kg", "kg", REFERENCE_WEIGHT_KG, 40.0, 102.0, least=0.0),),
)
