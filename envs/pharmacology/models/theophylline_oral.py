"""Theophylline after one oral dose: a two-stage fit of Upton's twelve volunteers.

Boeckmann AJ, Sheiner LB, Beal SL. NONMEM Users Guide, Part V. University of California, San Francisco, 1994
(the data, known in R as `Theoph`). No population fit of them is taken over: the typical values and
spreads are those of ordinary least squares on each volunteer, the *standard two-stage* method. It is
transparent, and it overstates the spread between people, since the error of each volunteer's own estimate
is counted in.

Structure (time in h, amounts in mg, one compartment, first-order absorption, no lag)::

    dA0 = −ka·A0                    a dose enters A0
    dA1 =  ka·A0 − (CL/V)·A1        C = A1/V in mg/L

Clearance and volume are apparent (over bioavailability) and do not depend on weight: the volunteers all had
about 320 mg.
"""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Floats,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    empty,
    stack,
)
from dosewright.envs.pharmacology.solvers import Linear

_DATA = "Upton's data in Boeckmann, Sheiner & Beal 1994, NONMEM Users Guide V"
_FITS = f"geometric mean of 12 least-squares fits of {_DATA}"

KA = Constant(1.6147, "1/h", "VERIFIED", _FITS)
CL = Constant(2.7755, "L/h", "VERIFIED", _FITS)
V = Constant(31.553, "L", "VERIFIED", _FITS)
# SDs of the logarithms of the twelve estimates, read as SDs of the population (ASSUMPTION: they hold the
# error of estimation too)
SD_KA, SD_CL, SD_V = 0.739, 0.272, 0.158
# √(47.066/96): the squared residuals of the same twelve fits over 132 values less 36 parameters. Least
# squares takes the error to be of one size; late residuals are in truth smaller (0.16 mg/L at 24 h)
RESIDUAL = ResidualError(additive=0.700, flag="ASSUMPTION", source=f"pooled residuals, {_FITS}")

PARAMETERS = (
    Parameter("ka", "1/h", SD_KA**2, flag="ASSUMPTION"),
    Parameter("CL", "L/h", SD_CL**2, flag="ASSUMPTION"),
    Parameter("V", "L", SD_V**2, flag="ASSUMPTION"),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return the (1, 3) typical parameters: no covariate and no gene has a term."""
    return stack(KA.value, CL.value, V.value)


def _rates(t, theta, matrix):
    ka, cl, v = theta[0], theta[1], theta[2]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -cl / v


def _observe(t, state, theta, output):
    return state[1] / theta[2]


MODEL = PopulationModel(
    name="theophylline_oral",
    title="Theophylline, one oral dose (two-stage fit of Upton's volunteers)",
    sources=(_DATA,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1"),
    initial=empty(2),
    routes=(Route("oral", "A0"),),
    outputs=(Output("C", "mg/L", RESIDUAL),),
    typical=typical,
    solver=Linear(_rates),
    observe=_observe,
)
