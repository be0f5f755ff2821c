"""Vancomycin, Colin 2019: kinetics from birth to old age by weight, age, serum creatinine and cancer.

Colin PJ, Allegaert K, Thomson AH, et al. Vancomycin pharmacokinetics throughout life: results from a pooled
population analysis and evaluation of current dosing recommendations. Clin Pharmacokinet 2019;58:767-780.

Structure: the two compartments and the AUC of `vancomycin_goti2018` (time in h, amounts in mg), with ::

    V1 = 42.52·WT/70     V2 = 41.68·WT/70     Q = 3.222·(V2/41.68)^0.75
    CL = 5.312·(V1/42.52)^0.75·M(PMA)/M(PMAref)·exp(−0.64856·(SCR − SCRstd))·(1.294 with cancer)
    M(x) = S(x, 0.8932, 2.8864)·S(x, 61.559, −2.241)     S(x, x50, g) = x^g/(x50^g + x^g)
    SCRstd = exp(−1.22839 + 0.67190·log10(PMA) + 6.27017·exp(−3.1094·PMA))

PMA is the postmenstrual age in years of 52 weeks, PMAref that of a person of 35 years (35 + 40/52), SCR the
serum creatinine in mg/dL.
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
    empty,
    stack,
)
from dosewright.envs.pharmacology.models.vancomycin_goti2018 import observe, rates
from dosewright.envs.pharmacology.solvers import Linear

_PAPER = "Colin 2019, Clin Pharmacokinet 58:767"

PMA_REFERENCE = Constant(35.0 + 40.0 / 52.0, "years", "VERIFIED", f"{_PAPER}, a person of 35 years")
CREATININE_ON_LOG_CL = Constant(-0.64856, "1 per mg/dL", "VERIFIED", _PAPER)
CANCER_ON_CL = Constant(1.294, "1", "VERIFIED", _PAPER)

# published as variances
PARAMETERS = (
    Parameter("CL", "L/h", 0.0746),
    Parameter("V1", "L", 0.0716),
    Parameter("Q", "L/h"),
    Parameter("V2", "L", 0.684),
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``, ``pma_weeks`` postmenstrual age, ``creatinine_mg_dl``, ``cancer`` (1 or 0), (n,) each.
    effects
        None: no gene has a term.
    """
    weight, weeks, creatinine, cancer = columns(
        covariates, "weight_kg", "pma_weeks", "creatinine_mg_dl", "cancer"
    )
    size = weight / 70.0
    clearance = (
        5.312
        * size**0.75
        * _by_age(weeks / 52.0)
        / _by_age(PMA_REFERENCE.value)
        * np.exp(CREATININE_ON_LOG_CL.value * (creatinine - standard_creatinine(weeks)))
        * CANCER_ON_CL.value**cancer
    )
    return stack(clearance, 42.52 * size, 3.222 * size**0.75, 41.68 * size)


def standard_creatinine(pma_weeks: ArrayLike) -> Floats:
    """Return the usual serum creatinine (mg/dL) at postmenstrual age `pma_weeks`: there it moves no
    clearance."""
    years = np.asarray(pma_weeks, dtype=np.float64) / 52.0
    return np.exp(-1.22839 + 0.67190 * np.log10(years) + 6.27017 * np.exp(-3.1094 * years))


def _by_age(years: ArrayLike) -> Floats:
    """Maturation of clearance after birth times its decline in old age."""
    return _share(years, 0.8932, 2.8864) * _share(years, 61.559, -2.241)


def _share(years: ArrayLike, half: float, steepness: float) -> Floats:
    power = np.asarray(years, dtype=np.float64) ** steepness
    return power / (half**steepness + power)


MODEL = PopulationModel(
    name="vancomycin_colin2019",
    title="Vancomycin, serum concentration from birth to old age (Colin 2019)",
    sources=(_PAPER,),
    time_unit="h",
    amount_unit="mg",
    parameters=PARAMETERS,
    states=("A1", "A2", "AUC"),
    initial=empty(3),
    routes=(Route("infusion", "A1"),),
    outputs=(
        Output("C", "mg/L", ResidualError(proportional=0.2145, additive=1.23, source=_PAPER)),
        Output("AUC", "mg·h/L"),
    ),
    typical=typical,
    solver=Linear(rates),
    observe=observe,
    covariates=(
        Covariate("weight_kg", "kg", 70.0, least=0.0),
        Covariate("pma_weeks", "weeks", 52.0 * PMA_REFERENCE.value, least=0.0),
        Covariate("creatinine_mg_dl", "mg/dL", 0.83),
        Covariate("cancer", "1", 0.0),
    ),
)
