"""Warfarin, Hamberg 2007: two-compartment S-warfarin kinetics and INR by CYP2C9, VKORC1 and age.

Hamberg AK, Dahl ML, Barban M, et al. A PK-PD model for predicting the impact of age, CYP2C9, and VKORC1
genotype on individualization of warfarin therapy. Clin Pharmacol Ther 2007;81:529-538. 150 Italian patients;
the INR part comes from 57 of them.

Structure (time in h, amounts of S-warfarin in mg; half of a racemic dose is S-warfarin, bioavailability 1)::

    dA0 = −ka·A0                                        C = A1/V1
    dA1 =  ka·A0 − (CL + Q)/V1·A1 + Q/V2·A2             E = C^γ / (EC50^γ + C^γ)
    dA2 =  Q/V1·A1 − Q/V2·A2
    chain X: dX1 = k1·(1 − E − X1), dX2 = k1·(X1 − X2), …, dX6 = k1·(X5 − X6)
    chain Y: dY1 = k2·(1 − E − Y1), k2 = 1/MTT2
    INR = BASE + 20·(1 − X6·Y1)^λ

The paper prints k1 = 1/MTT1, so MTT1 is the time in each of the six compartments; another implementation
reads it as the time through all of them, k1 = 6/MTT1 (PARTIAL). `MODEL` has both chains side by side, as the
reference trajectories do; `TOTAL` and `PER_COMPARTMENT`, what `model` returns, have one. All have the same
steady state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.compilation import kernel
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
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Hamberg 2007, Clin Pharmacol Ther 81:529"

CL = Constant(0.314, "L/h", "VERIFIED", f"{_PAPER}, *1/*1 at 71 years")
AGE_ON_CL = Constant(-0.0091, "1/year, from 71 years", "VERIFIED", f"{_PAPER}; clearance falls with age")
V1 = Constant(13.8, "L", "VERIFIED", _PAPER)
Q = Constant(0.131, "L/h", "VERIFIED", _PAPER)
V2 = Constant(6.59, "L", "VERIFIED", _PAPER)
KA = Constant(2.0, "1/h", "VERIFIED", f"{_PAPER}, fixed")
GAMMA = Constant(0.424, "1", "VERIFIED", _PAPER)
MTT1 = Constant(11.6, "h", "PARTIAL", f"{_PAPER}; of one compartment or of six, see above")
MTT2 = Constant(120.0, "h", "VERIFIED", _PAPER)
LAMBDA = Constant(3.61, "1", "VERIFIED", f"{_PAPER}, exponent of the INR")
INR_MAX = Constant(20.0, "1", "VERIFIED", f"{_PAPER}, largest increment of INR")
S_FRACTION = Constant(0.5, "1", "VERIFIED", "racemic warfarin is half S-warfarin")

CYP2C9 = GenotypeTerm(
    gene="CYP2C9",
    effect="cl_reduction",
    # half of what the pair of equal alleles has; the pairs below are what counts
    per_allele={"*1": 0.0, "*2": 0.361, "*3": 0.426},
    pairs={
        ("*1", "*1"): 0.0,
        ("*1", "*2"): 0.315,
        ("*1", "*3"): 0.453,
        ("*2", "*2"): 0.722,
        ("*2", "*3"): 0.690,
        ("*3", "*3"): 0.852,
    },
    # the patients carried *1, *2 and *3 only; other alleles by CPIC's clinical function (ASSUMPTION)
    by_function={
        "Normal function": "*1",
        "Decreased function": "*2",
        "No function": "*3",
        "Uncertain function": "*1",
        "Unknown function": "*1",
    },
    unit="share of the clearance of *1/*1 that is lost",
    flag="VERIFIED",
    source=_PAPER,
)
VKORC1 = GenotypeTerm(
    gene="VKORC1",
    effect="ec50_mg_l",
    per_allele={"G": 2.305, "A": 1.10},
    pairs={("G", "G"): 4.61, ("G", "A"): 3.02, ("A", "A"): 2.20},
    by_function={},
    unit="mg/L",
    flag="VERIFIED",
    source=_PAPER,
)

# Columns of theta. Coefficients of variation as one implementation reads the tables; another reads the same
# numbers as variances: PARTIAL. The covariance of CL and V1 was estimated but is not reported: none here.
PARAMETERS = (
    Parameter("CL", "L/h", variance_of_cv(0.310), "PARTIAL"),
    Parameter("V1", "L", variance_of_cv(0.262), "PARTIAL"),
    Parameter("Q", "L/h"),
    Parameter("V2", "L", variance_of_cv(0.991), "PARTIAL"),
    Parameter("ka", "1/h"),
    Parameter("EC50", "mg/L", variance_of_cv(0.409), "PARTIAL"),
    Parameter("gamma", "1"),
    Parameter("MTT1", "h", variance_of_cv(0.141), "PARTIAL"),
    Parameter("MTT2", "h", variance_of_cv(1.02), "PARTIAL"),
    Parameter("lambda", "1"),
    Parameter("BASE", "1"),
)
_CL, _V1, _Q, _V2, _KA, _EC50, _GAMMA, _MTT1, _MTT2, _LAMBDA, _BASE = range(11)
_INCREMENT = INR_MAX.value


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 11) typical parameters.

    Parameters
    ----------
    covariates
        ``age_y`` (n,) years; ``baseline`` (n,) baseline INR.
    effects
        ``cl_reduction`` (n,) share of the clearance that the pair of CYP2C9 alleles takes away; ``ec50_mg_l``
        (n,) EC50 of the pair of VKORC1 alleles.
    """
    age, base = columns(covariates, "age_y", "baseline")
    reduction, ec50 = columns(effects, "cl_reduction", "ec50_mg_l")
    return stack(
        CL.value * (1 + AGE_ON_CL.value * (age - 71)) * (1 - reduction),
        V1.value,
        Q.value,
        V2.value,
        KA.value,
        ec50,
        GAMMA.value,
        MTT1.value,
        MTT2.value,
        LAMBDA.value,
        base,
    )


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the racemic daily dose (mg) whose average concentration holds the INR at `target` in steady
    state, under either reading of MTT1.

    Parameters
    ----------
    theta : (..., 11) individual parameters.
    target : INR; where it is not above BASE, no drug is needed and the dose is 0.
    """
    rise = np.maximum((target - theta[..., _BASE]) / _INCREMENT, 0.0)
    left = np.sqrt(1 - rise ** (1 / theta[..., _LAMBDA]))  # both chains end at 1 − E
    concentration = theta[..., _EC50] * ((1 - left) / left) ** (1 / theta[..., _GAMMA])
    return concentration * theta[..., _CL] * 24 / S_FRACTION.value


def _rates(t, theta, matrix):
    cl, v1, q, v2, ka = theta[0], theta[1], theta[2], theta[3], theta[4]
    matrix[0, 0] = -ka
    matrix[1, 0] = ka
    matrix[1, 1] = -(cl + q) / v1
    matrix[1, 2] = q / v2
    matrix[2, 1] = q / v1
    matrix[2, 2] = -q / v2


def _supply(x, theta):
    """Production of the chains, 1 − E."""
    power = (max(x[1], 0.0) / theta[1]) ** theta[6]
    half = theta[5] ** theta[6]
    return half / (half + power)


def _chain(y, first, rate, supply, dy):
    """Write the derivatives of X1 to X6, the six states from `first` on, to `dy`."""
    dy[first] = rate * (supply - y[first])
    for i in range(first + 1, first + 6):
        dy[i] = rate * (y[i - 1] - y[i])


def _response(x6, y1, theta):
    """INR; what is left of both chains may pass 1 by rounding."""
    return theta[10] + _INCREMENT * max(1.0 - x6 * y1, 0.0) ** theta[9]


supply_of, chain, response = kernel(_supply), kernel(_chain), kernel(_response)


def _rhs_total(t, y, x, theta, dy):
    supply = supply_of(x, theta)
    chain(y, 0, 6.0 / theta[7], supply, dy)
    dy[6] = (supply - y[6]) / theta[8]


def _rhs_per_compartment(t, y, x, theta, dy):
    supply = supply_of(x, theta)
    chain(y, 0, 1.0 / theta[7], supply, dy)
    dy[6] = (supply - y[6]) / theta[8]


def _rhs_both(t, y, x, theta, dy):
    supply = supply_of(x, theta)
    chain(y, 0, 6.0 / theta[7], supply, dy)
    chain(y, 6, 1.0 / theta[7], supply, dy)
    dy[12] = (supply - y[12]) / theta[8]


def _observe(t, state, theta, output):
    if output == 0:
        return response(state[8], state[9], theta)
    if output == 1:
        return state[1] / theta[1]
    return state[8] if output == 2 else state[9]


def _observe_both(t, state, theta, output):
    if output == 0:
        return response(state[8], state[15], theta)
    if output == 1:
        return response(state[14], state[15], theta)
    if output == 2:
        return state[1] / theta[1]
    return state[8] if output == 3 else state[14] if output == 4 else state[15]


_INR_ERROR = ResidualError(0.0325, source=_PAPER)
# of samples in steady state; after a single dose it is 0.0908
_CS_ERROR = ResidualError(0.301, source=_PAPER)


def _model(
    name: str,
    reading: str,
    chains: tuple[str, ...],
    outputs: tuple[Output, ...],
    rhs: Callable[..., Any],
    observe: Callable[..., Any],
) -> PopulationModel:
    return PopulationModel(
        name=name,
        title=f"Warfarin, S-warfarin and INR (Hamberg 2007, {reading})",
        sources=(f"{_PAPER}, doi:10.1038/sj.clpt.6100084",),
        time_unit="h",
        amount_unit="mg",
        parameters=PARAMETERS,
        states=("A0", "A1", "A2", *chains),
        initial=lambda theta: np.tile([0.0] * 3 + [1.0] * len(chains), (len(theta), 1)),
        routes=(Route("oral", "A0", S_FRACTION.value),),
        outputs=outputs,
        typical=typical,
        solver=Driven(_rates, rhs, linear=3, scale=(1.0,) * len(chains)),
        observe=observe,
        covariates=(
            Covariate("age_y", "years", 71.0, 22.0, 87.0),
            # no range of BASE is reported; that of Hamberg 2010
            Covariate("baseline", "1", 1.0, 0.8, 1.3, "ASSUMPTION", least=0.0),
        ),
        genotype_terms=(CYP2C9, VKORC1),
        baseline="BASE",
    )


def _chain_of(suffix: str = "") -> tuple[str, ...]:
    return tuple(f"X{i}{suffix}" for i in range(1, 7))


_OUTPUTS = (
    Output("INR", "1", _INR_ERROR),
    Output("Cs", "mg/L", _CS_ERROR),
    Output("X6", "1"),
    Output("Y1", "1"),
)

TOTAL = _model(
    "warfarin_hamberg2007_total", "MTT1 through six compartments", (*_chain_of(), "Y1"), _OUTPUTS, _rhs_total,
    _observe,
)  # fmt: skip

PER_COMPARTMENT = _model(
    "warfarin_hamberg2007_per_compartment", "MTT1 in each compartment", (*_chain_of(), "Y1"), _OUTPUTS,
    _rhs_per_compartment, _observe,
)  # fmt: skip

MODEL = _model(
    "warfarin_hamberg2007",
    "both readings of MTT1",
    (*_chain_of("_total"), *_chain_of("_percomp"), "Y1"),
    (
        Output("INR_total", "1", _INR_ERROR),
        Output("INR_per_compartment", "1", _INR_ERROR),
        Output("Cs", "mg/L", _CS_ERROR),
        Output("X6_total", "1"),
        Output("X6_percomp", "1"),
        Output("Y1", "1"),
    ),
    _rhs_both,
    _observe_both,
)


def model(mtt1: Literal["total", "per_compartment"]) -> PopulationModel:
    """Return the model under one reading of MTT1: of all six compartments, or of each."""
    readings = {"total": TOTAL, "per_compartment": PER_COMPARTMENT}
    if mtt1 not in readings:
        raise ValueError(f"unknown reading of MTT1: {mtt1!r}; known: {', '.join(readings)}")
    return readings[mtt1]
