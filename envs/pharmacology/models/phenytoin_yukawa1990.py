"""Phenytoin, Yukawa 1990: saturable elimination in Japanese patients, with other antiepileptics.

Yukawa E, Higuchi S, Aoyama T. Population pharmacokinetics of phenytoin from routine clinical data in Japan:
an update. Chem Pharm Bull 1990;38:1973-1976.

The equations are those of `phenytoin_grasela1983`, with other typical values and variability. Its volume and
absorption rate (the paper has steady states only) and its terms of CYP2C9 and CYP2C19 are taken over.
"""

from __future__ import annotations

from collections.abc import Mapping

from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Floats,
    Parameter,
    columns,
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.models.phenytoin_grasela1983 import (
    KA,
    V,
    genotype_factors,
    maintenance_dose,
    saturable,
)

__all__ = ["MODEL", "maintenance_dose", "typical"]

_PAPER = "Yukawa 1990, Chem Pharm Bull 38:1973"

VMAX = Constant(325.0, "mg/day at 60 kg", "VERIFIED", _PAPER)
WEIGHT_ON_VMAX = Constant(0.737, "exponent of weight/60 kg", "VERIFIED", _PAPER)
KM = Constant(2.41, "mg/L", "VERIFIED", _PAPER)
CHILD_ON_KM = Constant(0.752, "1", "VERIFIED", f"{_PAPER}, below 15 years")
OTHERS_ON_VMAX = Constant(1.08, "1", "VERIFIED", f"{_PAPER}, with other antiepileptics")
OTHERS_ON_KM = Constant(1.32, "1", "VERIFIED", f"{_PAPER}, with other antiepileptics")


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 4) typical parameters.

    Parameters
    ----------
    covariates
        ``weight_kg``, ``age_y``, ``other_antiepileptics`` (1 or 0), (n,) each.
    effects
        As in `phenytoin_grasela1983`.
    """
    weight, age, others = columns(covariates, "weight_kg", "age_y", "other_antiepileptics")
    on_vmax, on_km = genotype_factors(effects)
    return stack(
        VMAX.value / 24.0 * (weight / 60.0) ** WEIGHT_ON_VMAX.value * OTHERS_ON_VMAX.value**others * on_vmax,
        KM.value * CHILD_ON_KM.value ** (age < 15.0) * OTHERS_ON_KM.value**others * on_km,
        V.value * weight,
        KA.value,
    )


MODEL = saturable(
    "phenytoin_yukawa1990",
    "Phenytoin, total level with saturable elimination in Japanese patients (Yukawa 1990)",
    (_PAPER, "Mamiya 1998, Epilepsia 39:1317"),
    (Parameter("Vmax", "mg/h", variance_of_cv(0.193)), Parameter("Km", "mg/L", variance_of_cv(0.631))),
    typical,
    (
        Covariate("weight_kg", "kg", 60.0, least=0.0),
        Covariate("age_y", "years", 40.0, flag="RECALLED"),
        Covariate("other_antiepileptics", "1", 0.0),
    ),
)
