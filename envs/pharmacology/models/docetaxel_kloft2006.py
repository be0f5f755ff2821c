"""Docetaxel, Kloft 2006: neutrophils by sex, performance status, prior chemotherapy and AAG.

Kloft C, Wallin J, Henningsson A, et al. Population pharmacokinetic-pharmacodynamic model for neutropenia with
patient subgroup identification: comparison across anticancer drugs. Clin Cancer Res 2006;12:5481-5490. The
numbers are those of Netterberg I, Nielsen EI, Friberg LE, Karlsson MO. Model-based prediction of
myelosuppression and recovery based on frequent neutrophil monitoring. Cancer Chemother Pharmacol
2017;80:343-353 (DDMORE DDMODEL00000224), who kept them.

A model of neutrophils only: the concentration is that of Ozawa 2007, an assembly of two papers.

Structure (time in h, amounts in mg, cells in 10⁹/L): three compartments after an infusion, C = A1/V1 in mg/L;
the chain of `myelosuppression` with Edrug = SLOPE·C and ktr = 4/MTT, from BASE. With d = AAG − 1.34 g/L::

    BASE  = 5.21965·(1 − 0.121451·female)·(1 + 0.130406·[ECOG ≥ 1])·(1 − 0.146837·prior)·(1 + d·k)
            k = 0.174677 where d ≤ 0, 0.494618 where d > 0
    SLOPE = 15.5711/0.808·(1 − 0.350693·d)

There is no rise after dexamethasone.
"""

from __future__ import annotations

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
from dosewright.envs.pharmacology.models import docetaxel_ozawa2007 as ozawa2007
from dosewright.envs.pharmacology.myelosuppression import SCALE, chain
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Kloft 2006, Clin Cancer Res 12:5481"
_SOURCE = f"{_PAPER}, as in Netterberg 2017 (DDMODEL00000224)"

BASE = Constant(5.21965, "10⁹/L", "VERIFIED", f"{_SOURCE}, men with ECOG 0 and no prior chemotherapy")
FEMALE_ON_BASE = Constant(-0.121451, "1", "VERIFIED", _SOURCE)
ECOG1_ON_BASE = Constant(0.130406, "1", "VERIFIED", f"{_SOURCE}, ECOG performance status of 1 or worse")
PRIOR_ON_BASE = Constant(-0.146837, "1", "VERIFIED", _SOURCE)
AAG_REFERENCE = Constant(1.34, "g/L", "VERIFIED", _SOURCE)
LOW_AAG_ON_BASE = Constant(0.174677, "L/g", "VERIFIED", f"{_SOURCE}, AAG up to 1.34 g/L")
HIGH_AAG_ON_BASE = Constant(0.494618, "L/g", "VERIFIED", f"{_SOURCE}, AAG above 1.34 g/L")
MTT = Constant(84.1791, "h", "VERIFIED", _SOURCE)
GAMMA = Constant(0.144543, "1", "VERIFIED", _SOURCE)
SLOPE = Constant(15.5711, "L/µmol", "VERIFIED", f"{_SOURCE}, at AAG 1.34 g/L")
AAG_ON_SLOPE = Constant(-0.350693, "L/g", "VERIFIED", _SOURCE)
MG_PER_UMOL = Constant(0.808, "mg/µmol", "VERIFIED", f"{_SOURCE}, molar mass of docetaxel")

PARAMETERS = (
    *ozawa2007.PARAMETERS[:6],
    # the following variances are published as such
    Parameter("BASE", "10⁹/L", 0.0639703),
    Parameter("SLOPE", "L/mg", 0.128412),
    Parameter("MTT", "h", 0.0191785),
    Parameter("gamma", "1"),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 10) typical parameters.

    Parameters
    ----------
    covariates
        ``male`` (n,) 1 or 0; ``ecog1`` (n,) 1 where the ECOG performance status is 1 or worse, else 0;
        ``prior_chemotherapy`` (n,) 1 or 0; ``aag_g_l`` (n,) α1-acid glycoprotein.
    effects
        None: no gene has a term.

    Raises
    ------
    ValueError
        For an AAG so high (from 4.19 g/L) that the linear effect on SLOPE leaves no drug effect.
    """
    male, ecog1, prior, aag = columns(covariates, "male", "ecog1", "prior_chemotherapy", "aag_g_l")
    above = aag - AAG_REFERENCE.value
    slope = SLOPE.value / MG_PER_UMOL.value * (1 + AAG_ON_SLOPE.value * above)
    if np.any(slope <= 0):
        i = int(np.argmax(slope <= 0))
        raise ValueError(
            f"patient {i}: AAG {aag[i]:g} g/L leaves docetaxel no effect on neutrophils in "
            f"docetaxel_kloft2006; it must be below {AAG_REFERENCE.value - 1 / AAG_ON_SLOPE.value:.2f} g/L"
        )
    base = (
        BASE.value
        * (1 + FEMALE_ON_BASE.value * (1 - male))
        * (1 + ECOG1_ON_BASE.value * ecog1)
        * (1 + PRIOR_ON_BASE.value * prior)
        * (1 + np.where(above > 0, HIGH_AAG_ON_BASE.value, LOW_AAG_ON_BASE.value) * above)
    )
    return stack(
        ozawa2007.CL.value, ozawa2007.V1.value, ozawa2007.Q2.value, ozawa2007.V2.value, ozawa2007.Q3.value,
        ozawa2007.V3.value, base, slope, MTT.value, GAMMA.value,
    )  # fmt: skip


# the kinetics are Ozawa's, in the same columns of theta
_rates, _ = ozawa2007.MODEL.solver.kernels


def _rhs(t, y, x, theta, dy):
    ktr = 4.0 / theta[8]
    chain(y, 0, ktr, ktr, theta[7] * x[0] / theta[1], theta[6], theta[9], dy)


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 8))
    state[:, 3:] = theta[:, [6]]
    state[:, 3] = np.log(state[:, 3])
    return state


def _observe(t, state, theta, output):
    return state[0] / theta[1] if output == 0 else state[7]


MODEL = PopulationModel(
    name="docetaxel_kloft2006",
    title="Docetaxel, neutrophils (Kloft 2006, kinetics of Ozawa 2007)",
    sources=(
        f"{_PAPER}",
        "Netterberg 2017, Cancer Chemother Pharmacol 80:343, doi:10.1007/s00280-017-3366-x",
        *ozawa2007.MODEL.sources,
    ),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "A3", "lnProl", "T1", "T2", "T3", "Circ"),
    initial=_initial,
    routes=(Route("infusion", "A1"),),
    outputs=(
        ozawa2007.MODEL.outputs[0],
        Output("ANC", "10⁹/L", ResidualError(log_sd=0.424, source=_SOURCE)),
    ),
    typical=typical,
    solver=Driven(_rates, _rhs, linear=3, scale=SCALE),
    observe=_observe,
    covariates=(
        Covariate("male", "1", 1.0, 0.0, 1.0),
        Covariate("ecog1", "1", 0.0, 0.0, 1.0),
        Covariate("prior_chemotherapy", "1", 0.0, 0.0, 1.0),
        Covariate("aag_g_l", "g/L", AAG_REFERENCE.value, least=0.0),
    ),
)
