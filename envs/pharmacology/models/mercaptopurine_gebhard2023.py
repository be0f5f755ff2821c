"""Mercaptopurine, Gebhard 2023: thioguanine nucleotides and neutrophils in maintenance therapy of children.

Gebhard A, Lilienthal P, Metzler M, et al. Pharmacokinetic-pharmacodynamic modeling of maintenance therapy for
childhood acute lymphoblastic leukemia. Sci Rep 2023;13:11749.

Structure (time in days, doses in mg/m², amounts in µmol/m², cells in 10⁹/L)::

    dA0 = −ka·A0                                        F·dose·1000/152.18 enters A0
    dA1 =  ka·A0 − ke·A1                                C = A1/V in µmol/L
    dTGN = Vmm·C/(Kmm + C) − Keff·TGN                   in erythrocytes, µmol/L
    the chain of `myelosuppression` with Edrug = SLOPE·TGN, transit rate ktr and kcirc of the neutrophils

At the start Prol = T1 = T2 = T3 = inieff·base·kcirc/ktr, Circ = inieff·base, TGN = tgn0. `MODEL` starts
without drug: inieff 1 and tgn0 0, an equilibrium. `MID_THERAPY` starts as the paper's children did, on
treatment.

The cohort was not stratified by genotype. TPMT and NUDT15 are composites: Hawwa's factor for TPMT on the
formation of the nucleotides (PARTIAL), and an assumed factor for NUDT15 on their effect. Methotrexate, which
the children took too, is not modelled.

The feedback is strong for the length of the chain: typical neutrophils swing for years around their
equilibrium, with a period of 77 days, and with γ above 0.85, as in a quarter of the patients, they never come
to rest. Where SLOPE·TGN stays above 1, as in one of 25 patients at 75 mg/m²/day, it turns round: the fewer
the cells the faster they are lost. Two guards keep such a course, which has left the model's domain, finite
(ASSUMPTION): below 10 neutrophils per µL the feedback stays at its value for 10, and one cell per litre and
transit time is added to Prol. The count overshoots absurdly after it all the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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
    variance_of_cv,
)
from dosewright.envs.pharmacology.models.mercaptopurine_hawwa2008 import TPMT, TPMT_ON_FM3
from dosewright.envs.pharmacology.myelosuppression import SCALE, chain
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Gebhard 2023, Sci Rep 13:11749"

KA = Constant(21.07, "1/day", "VERIFIED", _PAPER)
KE = Constant(15.4, "1/day", "VERIFIED", _PAPER)
V = Constant(20.1911, "L/m²", "VERIFIED", _PAPER)
F = Constant(0.12, "1", "VERIFIED", f"{_PAPER}, oral bioavailability")
MG_PER_MMOL = Constant(152.18, "mg/mmol", "VERIFIED", f"{_PAPER}, molar mass of mercaptopurine")
VMM = Constant(0.21, "µmol/L/day", "VERIFIED", _PAPER)
KMM = Constant(0.14, "µmol/L", "VERIFIED", _PAPER)
KEFF = Constant(0.050, "1/day", "VERIFIED", _PAPER)
BASE = Constant(2.17, "10⁹/L", "VERIFIED", _PAPER)
KTR = Constant(0.15, "1/day", "VERIFIED", _PAPER)
KCIRC = Constant(2.3765, "1/day", "VERIFIED", _PAPER)
SLOPE = Constant(0.16, "L/µmol", "VERIFIED", _PAPER)
GAMMA = Constant(0.79, "1", "VERIFIED", _PAPER)
INIEFF = Constant(0.87, "1", "VERIFIED", f"{_PAPER}, start of the observation, on treatment")
TPMT_ON_VMM = Constant(
    TPMT_ON_FM3.value, "1", "PARTIAL", f"{TPMT_ON_FM3.source}; on the formation of TGN, put into this model"
)
# inverse of CPIC's starting doses, about 75/50 and 75/10 mg/m²/day
INTERMEDIATE_ON_SLOPE = Constant(1.5, "1", "ASSUMPTION", "NUDT15 intermediate metaboliser")
POOR_ON_SLOPE = Constant(7.5, "1", "ASSUMPTION", "NUDT15 poor metaboliser")

NUDT15 = GenotypeTerm(
    gene="NUDT15",
    effect="nudt15_phenotype",
    per_allele={"*1": 0.0, "*3": 1.0, "*5": 0.0},
    # CPIC's phenotypes: one allele of decreased function (*5) is normal beside *1, and counts beside another
    pairs={("*1", "*1"): 0.0, ("*1", "*3"): 1.0, ("*1", "*5"): 0.0, ("*3", "*3"): 2.0, ("*3", "*5"): 2.0,
           ("*5", "*5"): 1.0},
    by_function={"Normal function": "*1", "Decreased function": "*5", "No function": "*3",
                 "Uncertain function": "*1", "Unknown function": "*1"},
    unit="0 normal, 1 intermediate, 2 poor metaboliser",
    flag="ASSUMPTION",
    source="CPIC phenotypes; their effect on SLOPE is assumed",
)  # fmt: skip

# 10⁹/L: the guards of the docstring, 10 cells per µL and one per litre
_FEW, _RESERVE = 0.01, 1e-9

_KA, _KE, _V, _F, _VMM, _KMM, _KEFF, _BASE, _KTR, _KCIRC, _SLOPE, _GAMMA, _INIEFF, _TGN0 = range(14)


def _parameters(inieff: float) -> tuple[Parameter, ...]:
    """Columns of theta; the variance of inieff is that of children on treatment."""
    return (
        Parameter("ka", "1/day"),
        Parameter("ke", "1/day"),
        Parameter("V", "L/m²"),
        Parameter("F", "1"),
        Parameter("Vmm", "µmol/L/day", variance_of_cv(0.56)),
        Parameter("Kmm", "µmol/L"),
        Parameter("Keff", "1/day", variance_of_cv(0.54)),
        Parameter("base", "10⁹/L", variance_of_cv(0.27)),
        Parameter("ktr", "1/day", variance_of_cv(0.72)),
        Parameter("kcirc", "1/day"),
        Parameter("SLOPE", "L/µmol", variance_of_cv(0.81)),
        Parameter("gamma", "1", variance_of_cv(0.11)),
        Parameter("inieff", "1", inieff),
        Parameter("tgn0", "µmol/L"),
    )


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 14) typical parameters of children without drug so far.

    Parameters
    ----------
    covariates
        None: doses are by body surface area already.
    effects
        ``tpmt_variant`` (n,) 1 with at least one variant allele, 0 for others; ``nudt15_phenotype`` (n,) 0
        for normal, 1 for intermediate, 2 for poor metabolisers.
    """
    variant, phenotype = columns(effects, "tpmt_variant", "nudt15_phenotype")
    stronger = np.select(
        [phenotype == 1, phenotype == 2], [INTERMEDIATE_ON_SLOPE.value, POOR_ON_SLOPE.value], 1.0
    )
    return stack(
        KA.value, KE.value, V.value, F.value, VMM.value * TPMT_ON_VMM.value**variant, KMM.value, KEFF.value,
        BASE.value, KTR.value, KCIRC.value, SLOPE.value * stronger, GAMMA.value, 1.0, 0.0,
    )  # fmt: skip


def typical_mid_therapy(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 14) typical parameters of children on treatment: `typical`, and ``tgn_umol_l`` (n,) measured
    at the start."""
    (tgn,) = columns(covariates, "tgn_umol_l")
    theta = typical({}, effects)
    theta = np.repeat(theta, len(tgn), axis=0) if len(theta) == 1 else theta
    theta[:, _INIEFF], theta[:, _TGN0] = INIEFF.value, tgn
    return theta


# ----------------------------------------------------------------------------------------------- steady state

# In [0, 1]: t = u² puts the nodes where C rises. The integral of a day is exact to 1e-10 with them
_U, _W = leggauss(60)
_DAY, _WEIGHT = ((_U + 1.0) / 2.0) ** 2, _W * (_U + 1.0) / 2.0
_MOST = 1e5  # mg/m², above any dose


def steady_tgn(theta: Floats, dose: ArrayLike) -> Floats:
    """Return the average TGN (µmol/L) in steady state of a dose once daily.

    Formation saturates, so it depends on the course of C within the day; its integral has no closed form and
    is done by quadrature.

    Parameters
    ----------
    theta : (..., 14) individual parameters.
    dose : (...) mg/m² a day.
    """
    ka, ke = theta[..., _KA, None], theta[..., _KE, None]
    entered = np.asarray(dose)[..., None] * theta[..., _F, None] * 1000.0 / MG_PER_MMOL.value
    shape = np.exp(-ke * _DAY) / -np.expm1(-ke) - np.exp(-ka * _DAY) / -np.expm1(-ka)
    concentration = entered / theta[..., _V, None] * ka / (ka - ke) * shape
    share = concentration / (theta[..., _KMM, None] + concentration) @ _WEIGHT
    return np.asarray(theta[..., _VMM] / theta[..., _KEFF] * share)


def dose_for_tgn(theta: Floats, target: ArrayLike) -> Floats:
    """Return the daily dose (mg/m²) whose average TGN in steady state is `target` (µmol/L): the inverse of
    `steady_tgn`, by bisection; infinite where no dose reaches it."""
    wanted = np.broadcast_to(np.asarray(target, dtype=np.float64), theta.shape[:-1])
    low, high = np.zeros(wanted.shape), np.full(wanted.shape, _MOST)
    for _ in range(80):
        middle = (low + high) / 2.0
        enough = steady_tgn(theta, middle) >= wanted
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return np.where(steady_tgn(theta, np.full(wanted.shape, _MOST)) < wanted, math.inf, high)


def steady_anc(theta: Floats, tgn: ArrayLike) -> Floats:
    """Return the neutrophils (10⁹/L) in equilibrium with a constant `tgn` (µmol/L), 0 where none is left.

    Around it the count may cycle.
    """
    left = np.maximum(1.0 - theta[..., _SLOPE] * np.asarray(tgn), 0.0)
    return np.asarray(theta[..., _BASE] * left ** (1.0 / theta[..., _GAMMA]))


def tgn_for_anc(theta: Floats, target: ArrayLike) -> Floats:
    """Return the TGN (µmol/L) that holds the neutrophils at `target` (10⁹/L) in equilibrium; 0 where they are
    at or below it without drug."""
    left = (np.asarray(target) / theta[..., _BASE]) ** theta[..., _GAMMA]
    return np.maximum((1.0 - left) / theta[..., _SLOPE], 0.0)


# -------------------------------------------------------------------------------------------------- the model


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[0]
    matrix[1, 0] = theta[0]
    matrix[1, 1] = -theta[1]


def _rhs(t, y, x, theta, dy):
    c = x[1] / theta[2]
    dy[0] = theta[4] * c / (theta[5] + c) - theta[6] * y[0]
    base = theta[7] * min(y[5] / _FEW, 1.0)  # below _FEW cells their feedback is that of _FEW
    chain(y, 1, theta[8], theta[9], theta[10] * y[0], base, theta[11], dy)
    dy[1] += theta[8] * _RESERVE * math.exp(-y[1])  # dProl += ktr·_RESERVE


def _initial(theta: Floats) -> Floats:
    state = np.zeros((len(theta), 8))
    circulating = theta[:, _INIEFF] * theta[:, _BASE]
    state[:, 2] = theta[:, _TGN0]
    state[:, 3:7] = (circulating * theta[:, _KCIRC] / theta[:, _KTR])[:, None]
    state[:, 3] = np.log(state[:, 3])  # lnProl
    state[:, 7] = circulating
    return state


def _observe(t, state, theta, output):
    if output == 0:
        return state[7]
    if output == 1:
        return state[2]
    return state[1] / theta[2] if output == 2 else math.exp(state[3])


def _model(
    name: str,
    start: str,
    parameters: tuple[Parameter, ...],
    typical_of: Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats],
    covariates: tuple[Covariate, ...],
) -> PopulationModel:
    return PopulationModel(
        name=name,
        title=f"Mercaptopurine, thioguanine nucleotides and neutrophils (Gebhard 2023, {start})",
        sources=(_PAPER, TPMT.source),
        time_unit="day",
        amount_unit="mg/m²",
        parameters=parameters,
        states=("A0", "A1", "TGN", "lnProl", "T1", "T2", "T3", "Circ"),
        initial=_initial,
        routes=(Route("oral", "A0", fraction=(1000.0 / MG_PER_MMOL.value, "F")),),
        outputs=(
            # the paper's residual numbers are read as variances: only so do its prediction errors follow
            Output("ANC", "10⁹/L", ResidualError(proportional=0.25**0.5, source=f"{_PAPER}, σ² 0.25")),
            Output(
                "TGN",
                "µmol/L",
                ResidualError(
                    proportional=0.061**0.5, additive=0.024**0.5, source=f"{_PAPER}, σ² 0.061 and 0.024"
                ),
            ),
            Output("C", "µmol/L"),
            Output("Prol", "10⁹/L"),
        ),
        typical=typical_of,
        # TGN is formed in hours and kept for weeks: errors of one sign add up over many doses
        solver=Driven(_rates, _rhs, linear=2, scale=(0.01, *SCALE), tolerance=1e-8),
        observe=_observe,
        covariates=covariates,
        genotype_terms=(TPMT, NUDT15),
    )


MODEL = _model("mercaptopurine_gebhard2023", "from the start", _parameters(0.0), typical, ())

MID_THERAPY = _model(
    "mercaptopurine_gebhard2023_mid_therapy",
    "on treatment",
    _parameters(variance_of_cv(0.54)),
    typical_mid_therapy,
    (Covariate("tgn_umol_l", "µmol/L", 0.83, 0.0, 7.6),),
)
