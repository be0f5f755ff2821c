"""Phenytoin, Grasela 1983: saturable elimination, with CYP2C9 and CYP2C19 after Mamiya 1998.

Grasela TH, Sheiner LB, Rambeck B, et al. Steady-state pharmacokinetics of phenytoin from routinely collected
patient data. Clin Pharmacokinet 1983;8:355-364. Mamiya K, Ieiri I, Shimamoto J, et al. The effects of genetic
polymorphisms of CYP2C9 and CYP2C19 on phenytoin metabolism in Japanese adult patients with epilepsy.
Epilepsia 1998;39:1317-1323.

Structure (time in h, amounts in mg)::

    dA0 = −ka·A0                                        C = A1/V in mg/L, total phenytoin
    dA1 =  ka·A0 − Vmax·C/(Km + C)

A dose at or above Vmax accumulates without limit. Grasela's patients were not genotyped: their mean Vmax is
that of all genotypes together, and stands here for *1/*1, which would have a higher one (about 470 mg/day).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

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
    empty,
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.solvers import Driven

_PAPER = "Grasela 1983, Clin Pharmacokinet 8:355"
_GENES = "Mamiya 1998, Epilepsia 39:1317"

VMAX = Constant(415.0, "mg/day at 70 kg", "VERIFIED", f"{_PAPER}, abstract; European adults")
WEIGHT_ON_VMAX = Constant(0.6, "exponent of weight/70 kg", "VERIFIED", f"{_PAPER}, abstract")
KM = Constant(5.7, "mg/L", "VERIFIED", f"{_PAPER}, abstract; European adults")
CHILD_ON_KM = Constant(0.57, "1", "VERIFIED", f"{_PAPER}, abstract; below 15 years")
JAPANESE_ON_KM = Constant(0.77, "1", "VERIFIED", f"{_PAPER}, abstract")
V = Constant(0.65, "L/kg", "PARTIAL", "usual value, not of this paper: it has steady states only")
KA = Constant(1.5, "1/h", "PARTIAL", "usual value, not of this paper")
STAR2_ON_VMAX = Constant(0.80, "1", "ASSUMPTION", "CYP2C9 *2, per allele: no published value")
STAR3_ON_VMAX = Constant(0.58, "1", "VERIFIED", f"{_GENES}, CYP2C9 *1/*3")
INTERMEDIATE_ON_KM = Constant(1.22, "1", "VERIFIED", f"{_GENES}, CYP2C19 intermediate metaboliser")
POOR_ON_KM = Constant(1.54, "1", "VERIFIED", f"{_GENES}, CYP2C19 poor metaboliser")

CYP2C9 = GenotypeTerm(
    gene="CYP2C9",
    effect="cyp2c9_log_vmax",
    # only *1/*3 was measured; the factors of two alleles multiply (ASSUMPTION)
    per_allele={"*1": 0.0, "*2": math.log(STAR2_ON_VMAX.value), "*3": math.log(STAR3_ON_VMAX.value)},
    by_function={"Normal function": "*1", "Decreased function": "*2", "No function": "*3",
                 "Uncertain function": "*1", "Unknown function": "*1"},
    unit="logarithm of the factor on Vmax",
    flag="PARTIAL",
    source=f"{_GENES}, for *1/*3; the others assumed",
)  # fmt: skip
CYP2C19 = GenotypeTerm(
    gene="CYP2C19",
    effect="cyp2c19_phenotype",
    per_allele={"*1": 0.0, "*2": 1.0, "*9": 1.0},
    # CPIC's phenotypes: two alleles of decreased function (*9) are intermediate; increased function: no term
    pairs={("*1", "*1"): 0.0, ("*1", "*2"): 1.0, ("*1", "*9"): 1.0, ("*2", "*2"): 2.0, ("*2", "*9"): 2.0,
           ("*9", "*9"): 1.0},
    by_function={"Normal function": "*1", "Increased function": "*1", "Decreased function": "*9",
                 "No function": "*2", "Uncertain function": "*1", "Unknown function": "*1"},
    unit="0 normal, 1 intermediate, 2 poor metaboliser",
    flag="VERIFIED",
    source=_GENES,
)  # fmt: skip

_VMAX, _KM, _V, _KA = range(4)


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the dose (mg/day) that holds the level at `target` (mg/L) in steady state, given evenly.

    In two doses a day the average level is a little higher, as the elimination is saturable.

    Parameters
    ----------
    theta : (..., 4) individual parameters.
    """
    return np.asarray(24.0 * theta[..., _VMAX] * target / (theta[..., _KM] + target))


def genotype_factors(effects: Mapping[str, ArrayLike]) -> tuple[Floats, Floats]:
    """Return the factors (n,) on Vmax and on Km of ``cyp2c9_log_vmax`` and ``cyp2c19_phenotype``."""
    log_vmax, phenotype = columns(effects, "cyp2c9_log_vmax", "cyp2c19_phenotype")
    on_km = np.select([phenotype == 1, phenotype == 2], [INTERMEDIATE_ON_KM.value, POOR_ON_KM.value], 1.0)
    return np.exp(log_vmax), on_km


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``, ``age_y``, ``japanese`` (1 or 0), (n,) each.
    effects
        ``cyp2c9_log_vmax`` (n,) sum over both alleles; ``cyp2c19_phenotype`` (n,) 0 for normal, rapid and
        ultrarapid, 1 for intermediate, 2 for poor metabolisers.
    """
    weight, age, japanese = columns(covariates, "weight_kg", "age_y", "japanese")
    on_vmax, on_km = genotype_factors(effects)
    return stack(
        VMAX.value / 24.0 * (weight / 70.0) ** WEIGHT_ON_VMAX.value * on_vmax,
        KM.value * CHILD_ON_KM.value ** (age < 15.0) * JAPANESE_ON_KM.value**japanese * on_km,
        V.value * weight,
        KA.value,
    )


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[3]


def _rhs(t, y, x, theta, dy):
    c = y[0] / theta[2]
    dy[0] = theta[3] * x[0] - theta[0] * c / (theta[1] + c)


def _observe(t, state, theta, output):
    return state[1] / theta[2]


def saturable(
    name: str,
    title: str,
    sources: tuple[str, ...],
    spread: tuple[Parameter, Parameter],
    typical_of: Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats],
    covariates: tuple[Covariate, ...],
) -> PopulationModel:
    """Return a model with these equations, the columns Vmax and Km of `spread`, V and ka, and both genes."""
    return PopulationModel(
        name=name,
        title=title,
        sources=sources,
        time_unit="h",
        amount_unit="mg",
        parameters=(*spread, Parameter("V", "L"), Parameter("ka", "1/h")),
        states=("A0", "A1"),
        initial=empty(2),
        routes=(Route("oral", "A0"),),
        outputs=(
            # Yukawa's is on the dose that a level predicts; on the level it is an approximation
            Output(
                "C",
                "mg/L",
                ResidualError(
                    proportional=0.103, flag="PARTIAL", source="Yukawa 1990, Chem Pharm Bull 38:1973, 10.3 %"
                ),
            ),
        ),
        typical=typical_of,
        solver=Driven(_rates, _rhs, linear=1, scale=(1.0,), tolerance=1e-7),
        observe=_observe,
        covariates=covariates,
        genotype_terms=(CYP2C9, CYP2C19),
    )


MODEL = saturable(
    "phenytoin_mm",
    "Phenytoin, total level with saturable elimination (Grasela 1983, genes after Mamiya 1998)",
    (_PAPER, _GENES),
    (
        # 10 to 20 % and about 50 % are stated
        Parameter("Vmax", "mg/h", variance_of_cv(0.15), "PARTIAL"),
        Parameter("Km", "mg/L", variance_of_cv(0.50)),
    ),
    typical,
    (
        Covariate("weight_kg", "kg", 70.0, least=0.0),
        Covariate("age_y", "years", 40.0, flag="RECALLED"),
        Covariate("japanese", "1", 0.0),
    ),
)
