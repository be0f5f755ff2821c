"""Warfarin, Hamberg 2010: S-warfarin kinetics and INR by CYP2C9, VKORC1 and age.

Hamberg AK, Wadelius M, Lindh JD, et al. A pharmacometric model describing the relationship between warfarin
dose and INR response with respect to variations in CYP2C9, VKORC1, and age. Clin Pharmacol Ther
2010;87:727-734.

Structure (time in h, amounts of S-warfarin in mg; half of a racemic dose is S-warfarin, bioavailability 1)::

    dA0 = −ka·A0                     C = A1/V
    dA1 =  ka·A0 − (CL/V)·A1         E = C^γ / (EC50^γ + C^γ)
    chain X: dX1 = k1·(1 − E − X1), dX2 = k1·(X1 − X2), dX3 = k1·(X2 − X3), k1 = 3/MTT1
    chain Y: the same with k2 = 3/MTT2
    INR = BASE + 20·(1 − (X3 + Y3)/2)

The kinetics are exact. The chains are linear with fixed rates, so over an interval they are their own decay
plus an integral of the effect against a gamma kernel, done by Gauss–Legendre quadrature in two panels: the
absorption phase after a dose, with nodes clustered quadratically at its start (C^γ is not smooth where C
starts at 0), and the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.polynomial.legendre import leggauss
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
)
from dosewright.envs.pharmacology.solvers import Tailored

_PAPER = "Hamberg 2010, Clin Pharmacol Ther 87:727"

KA = Constant(2.0, "1/h", "VERIFIED", f"{_PAPER}, fixed")
V = Constant(14.3, "L", "VERIFIED", f"{_PAPER}, Table 2")
AGE_ON_CL = Constant(
    -0.00571, "1/year, from 71 years", "VERIFIED", f"{_PAPER}, Table 2; clearance falls with age"
)
GAMMA = Constant(1.15, "1", "VERIFIED", f"{_PAPER}, Table 4, data set C")
MTT1 = Constant(28.6, "h", "VERIFIED", f"{_PAPER}, Table 4, data set C")
MTT2 = Constant(118.3, "h", "VERIFIED", f"{_PAPER}, Table 4, data set C")
INR_MAX = Constant(20.0, "1", "VERIFIED", f"{_PAPER}, largest increment of INR")
S_FRACTION = Constant(0.5, "1", "VERIFIED", "racemic warfarin is half S-warfarin")
BASE = Constant(1.0, "1", "VERIFIED", f"{_PAPER}, typical baseline INR (individual, about 0.8 to 1.3)")

CYP2C9 = GenotypeTerm(
    gene="CYP2C9",
    effect="cl_s_l_h",
    per_allele={"*1": 0.174, "*2": 0.0879, "*3": 0.0422},
    # Hamberg's patients carried *1, *2 and *3 only; other alleles by CPIC's clinical function
    by_function={
        "Normal function": "*1",
        "Decreased function": "*2",
        "No function": "*3",
        "Uncertain function": "*1",
        "Unknown function": "*1",
    },
    unit="L/h at 71 years",
    flag="VERIFIED",
    source=f"{_PAPER}, Table 2",
)
VKORC1 = GenotypeTerm(
    gene="VKORC1",
    effect="ec50_mg_l",
    per_allele={"G": 2.05, "A": 0.96},
    by_function={},
    unit="mg/L",
    flag="VERIFIED",
    source=f"{_PAPER}, Table 4, data set C",
)

# Columns of theta. The variances are read on the log scale as variances; another implementation reads some of
# them as standard deviations: PARTIAL.
PARAMETERS = (
    Parameter("CL", "L/h", 0.089, "PARTIAL"),
    Parameter("V", "L", 0.054, "PARTIAL"),
    Parameter("ka", "1/h"),
    Parameter("EC50", "mg/L", 0.34, "PARTIAL"),
    Parameter("gamma", "1"),
    Parameter("ktr1", "1/h"),
    Parameter("ktr2", "1/h"),
    Parameter("BASE", "1"),
)
_CL, _V, _KA, _EC50, _GAMMA, _KTR1, _KTR2, _BASE = range(8)
_INCREMENT = INR_MAX.value

_ABSORPTION_H = 5.0  # after 5 h of ka = 2/h the depot is empty to 5e-5 and the effect is smooth
_HEAD = 10  # leading columns of the work array: what the plan was made for, and the decays over it


def _rule(absorption: int, rest: int) -> Floats:
    """Nodes and weights on [0, 1] of both panels: (absorption + rest, 3), the last column marks the first
    panel."""
    x, w = leggauss(absorption)
    u, w = (x + 1) / 2, w / 2
    first = np.column_stack([u**2, 2 * u * w, np.ones(absorption)])
    x, w = leggauss(rest)
    return np.concatenate([first, np.column_stack([(x + 1) / 2, w / 2, np.zeros(rest)])])


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 8) typical parameters.

    Parameters
    ----------
    covariates
        ``age_y`` (n,) years; ``baseline`` (n,) baseline INR.
    effects
        ``cl_s_l_h`` (n,) sum of the clearances of both CYP2C9 alleles at 71 years; ``ec50_mg_l`` (n,) sum of
        the EC50 of both VKORC1 alleles.
    """
    age, base = columns(covariates, "age_y", "baseline")
    clearance, ec50 = columns(effects, "cl_s_l_h", "ec50_mg_l")
    return stack(
        clearance * (1 + AGE_ON_CL.value * (age - 71)),
        V.value,
        KA.value,
        ec50,
        GAMMA.value,
        3 / MTT1.value,
        3 / MTT2.value,
        base,
    )


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the racemic daily dose (mg) whose average concentration holds the INR at `target` in steady
    state.

    Parameters
    ----------
    theta : (..., 8) individual parameters.
    target : INR; where it is not above BASE, no drug is needed and the dose is 0.
    """
    effect = np.maximum((target - theta[..., _BASE]) / _INCREMENT, 0.0)
    concentration = theta[..., _EC50] * (effect / (1 - effect)) ** (1 / theta[..., _GAMMA])
    return concentration * theta[..., _CL] * 24 / S_FRACTION.value


def _rhs(t, state, theta):
    out = np.empty(8)
    c = max(state[1], 0.0) / theta[1]
    power = c ** theta[4]
    effect = power / (theta[3] ** theta[4] + power)
    out[0] = -theta[2] * state[0]
    out[1] = theta[2] * state[0] - theta[0] / theta[1] * state[1]
    for chain in range(2):
        k, o = theta[5 + chain], 2 + 3 * chain
        out[o] = k * (1.0 - effect - state[o])
        out[o + 1] = k * (state[o] - state[o + 1])
        out[o + 2] = k * (state[o + 1] - state[o + 2])
    return out


def _plan(theta, hours, rule, work):
    """Keep, for every node, the decays of both drug pools up to it and the kernel weights from it to the
    end."""
    head = work[0]
    ka, ke, k1, k2 = theta[2], theta[0] / theta[1], theta[5], theta[6]
    if abs(ka - ke) < 1e-6 * ka:
        ke = ka * (1.0 - 1e-6)  # the two-exponential form divides by ka − ke
    if head[0] == hours and head[1] == ka and head[2] == ke and head[3] == k1 and head[4] == k2:
        return
    head[0], head[1], head[2], head[3], head[4] = hours, ka, ke, k1, k2
    head[5], head[6] = math.exp(-ka * hours), math.exp(-ke * hours)
    head[7], head[8] = math.exp(-k1 * hours), math.exp(-k2 * hours)
    n = rule.shape[0]
    head[9] = n
    first = min(hours, _ABSORPTION_H)
    for i in range(n):
        start, length = (0.0, first) if rule[i, 2] == 1.0 else (first, hours - first)
        s, w = start + length * rule[i, 0], length * rule[i, 1]
        work[1, i], work[2, i] = math.exp(-ka * s), math.exp(-ke * s)
        for chain in range(2):
            k, o = theta[5 + chain], 3 + 3 * chain
            kt = k * (hours - s)
            weight = w * k * math.exp(-kt)
            work[o, i], work[o + 1, i], work[o + 2, i] = weight, weight * kt, weight * kt * kt * 0.5


def _step(state, theta, work):
    head = work[0]
    hours, ka, ke = head[0], head[1], head[2]
    absorbed = state[0] * ka / (ka - ke)
    scale = 1.0 / (theta[1] * theta[3])  # amount to concentration over EC50
    slow, fast = (state[1] + absorbed) * scale, absorbed * scale
    gamma = theta[4]
    x1 = x2 = x3 = y1 = y2 = y3 = 0.0
    for i in range(int(head[9])):
        ratio = slow * work[2, i] - fast * work[1, i]
        if ratio > 0.0:
            power = math.exp(gamma * math.log(ratio))
            effect = power / (1.0 + power)
            x1 += effect * work[3, i]
            x2 += effect * work[4, i]
            x3 += effect * work[5, i]
            y1 += effect * work[6, i]
            y2 += effect * work[7, i]
            y3 += effect * work[8, i]
    state[1] = (state[1] + absorbed) * head[6] - absorbed * head[5]
    state[0] *= head[5]
    for chain in range(2):
        o = 2 + 3 * chain
        kt, decay = head[3 + chain] * hours, head[7 + chain]
        g1, g2, g3 = (x1, x2, x3) if chain == 0 else (y1, y2, y3)
        z1, z2, z3 = 1.0 - state[o], 1.0 - state[o + 1], 1.0 - state[o + 2]
        state[o] = 1.0 - (decay * z1 + g1)
        state[o + 1] = 1.0 - (decay * (z2 + kt * z1) + g2)
        state[o + 2] = 1.0 - (decay * (z3 + kt * z2 + 0.5 * kt * kt * z1) + g3)


def _observe(t, state, theta, output):
    if output == 0:
        return theta[7] + _INCREMENT * (1.0 - (state[4] + state[7]) / 2.0)
    if output == 1:
        return state[1] / theta[1]
    return state[4] if output == 2 else state[7]


# "exact": within 1e-7 of the column maximum, 1e-6 at the ends of what patients could be. "belief":
# within 2e-4, a
# thousandth of the assay error.
SOLVER = Tailored(
    plan=_plan,
    step=_step,
    rules={"exact": _rule(10, 6), "belief": _rule(4, 3)},
    longest=24,
    shape=lambda rule: (9, max(_HEAD, len(rule))),
)

MODEL = PopulationModel(
    name="warfarin_hamberg2010",
    title="Warfarin, S-warfarin and INR (Hamberg 2010)",
    sources=(f"{_PAPER}, doi:10.1038/clpt.2010.37",),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A0", "A1", "X1", "X2", "X3", "Y1", "Y2", "Y3"),
    initial=lambda theta: np.tile([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0], (len(theta), 1)),
    routes=(Route("oral", "A0", S_FRACTION.value),),
    outputs=(
        # one implementation reads 0.20 as an additive SD, another 0.190 on the log scale
        Output("INR", "1", ResidualError(0.19, flag="PARTIAL", source=_PAPER)),
        Output("Cs", "mg/L", ResidualError(0.099, flag="PARTIAL", source=_PAPER)),
        Output("X3", "1"),
        Output("Y3", "1"),
    ),
    typical=typical,
    solver=SOLVER,
    observe=_observe,
    covariates=(
        # Hamberg 2010 fitted the cohorts of Hamberg 2007 and one more: 22 to 87 years in the former
        Covariate("age_y", "years", 71.0, 22.0, 87.0, "PARTIAL"),
        Covariate("baseline", "1", BASE.value, 0.8, 1.3, least=0.0),
    ),
    genotype_terms=(CYP2C9, VKORC1),
    baseline="BASE",
    rhs=_rhs,
)
