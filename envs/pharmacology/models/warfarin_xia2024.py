"""Warfarin, Xia 2024: the structure of Hamberg 2010, the INR response estimated anew in Han Chinese patients.

Xia X, Cai X, Chen J, et al. Construction of warfarin population pharmacokinetics and pharmacodynamics model
in Han population based on Bayesian method. Sci Rep 2024;14:14894.

Equations, columns of parameters and solver are those of `warfarin_hamberg2010`, and so are the clearances by
CYP2C9 allele and their fall with age. New are γ, MTT1, MTT2, BASE, and EC50, a sum over both VKORC1 alleles::

    EC50 = (EC50_1 + EC50_2)·(weight/60)^1.34·(1 − 0.602·amiodarone)

Only EC50 varies between patients: no concentration was measured. Of the cohort 94.3 % were CYP2C9 *1/*1 and
5.7 % *1/*3, none carried *2; VKORC1 was AA in 80.3 %, GA in 18.7 %, GG in 0.9 %.

The fit has no absorption; that of Hamberg 2010 is kept (ASSUMPTION). The whole dose enters, not half of it as
in Hamberg 2010 (PARTIAL): the daily doses by weight and age in the paper's supplement 1.6 (read second-hand)
exceed `maintenance_dose` by up to a quarter; if half the dose entered they would be 0.5 to 0.6 of it. Its
doses for *1/*3 and for amiodarone fit neither reading: 0.75 to 0.79 of the usual dose, where the printed
effects on CL and EC50 have 0.62 and 0.40.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from numpy.typing import ArrayLike

from dosewright.envs.pharmacology.model import (
    Constant,
    Covariate,
    Floats,
    Output,
    Parameter,
    ResidualError,
    Route,
    columns,
    stack,
    variance_of_cv,
)
from dosewright.envs.pharmacology.models import warfarin_hamberg2010 as hamberg2010

_PAPER = "Xia 2024, Sci Rep 14:14894"

GAMMA = Constant(1.39, "1", "VERIFIED", _PAPER)
MTT1 = Constant(27.2, "h", "VERIFIED", _PAPER)
MTT2 = Constant(110.9, "h", "VERIFIED", _PAPER)
BASE = Constant(1.13, "1", "VERIFIED", f"{_PAPER}, mean")
WEIGHT_ON_EC50 = Constant(1.34, "exponent of weight/60 kg", "VERIFIED", _PAPER)
AMIODARONE_ON_EC50 = Constant(-0.602, "1 with amiodarone", "VERIFIED", _PAPER)
DOSE_FRACTION = Constant(1.0, "1", "PARTIAL", "agrees with the doses of the paper's supplement 1.6")

CYP2C9 = hamberg2010.CYP2C9
VKORC1 = replace(hamberg2010.VKORC1, per_allele={"G": 4.3, "A": 1.14}, source=_PAPER)

PARAMETERS = tuple(
    Parameter(item.name, item.unit, variance_of_cv(0.558) if item.name == "EC50" else 0.0)
    for item in hamberg2010.PARAMETERS
)


def typical(covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
    """Return (n, 8) typical parameters.

    Parameters
    ----------
    covariates
        ``age_y`` (n,) years; ``weight_kg`` (n,); ``amiodarone`` (n,) 1 where it is taken, else 0;
        ``baseline`` (n,) baseline INR.
    effects
        ``cl_s_l_h`` (n,) sum of the clearances of both CYP2C9 alleles at 71 years; ``ec50_mg_l`` (n,) sum of
        the EC50 of both VKORC1 alleles.
    """
    age, weight, amiodarone, base = columns(covariates, "age_y", "weight_kg", "amiodarone", "baseline")
    clearance, ec50 = columns(effects, "cl_s_l_h", "ec50_mg_l")
    return stack(
        clearance * (1 + hamberg2010.AGE_ON_CL.value * (age - 71)),
        hamberg2010.V.value,
        hamberg2010.KA.value,
        ec50 * (weight / 60) ** WEIGHT_ON_EC50.value * (1 + AMIODARONE_ON_EC50.value * amiodarone),
        GAMMA.value,
        3 / MTT1.value,
        3 / MTT2.value,
        base,
    )


def maintenance_dose(theta: Floats, target: float) -> Floats:
    """Return the daily dose (mg) whose average concentration holds the INR at `target` in steady state.

    Parameters
    ----------
    theta : (..., 8) individual parameters.
    target : INR; where it is not above BASE, no drug is needed and the dose is 0.
    """
    amount = hamberg2010.maintenance_dose(theta, target) * hamberg2010.S_FRACTION.value
    return amount / DOSE_FRACTION.value


MODEL = replace(
    hamberg2010.MODEL,
    name="warfarin_xia2024",
    title="Warfarin, INR of Han Chinese patients (Xia 2024)",
    sources=(f"{_PAPER}, doi:10.1038/s41598-024-65048-7",),
    parameters=PARAMETERS,
    routes=(Route("oral", "A0", DOSE_FRACTION.value),),
    outputs=(
        Output("INR", "1", ResidualError(proportional=0.365, source=_PAPER)),
        Output("Cs", "mg/L"),
        Output("X3", "1"),
        Output("Y3", "1"),
    ),
    typical=typical,
    covariates=(
        Covariate("age_y", "years", 71.0),
        Covariate("weight_kg", "kg", 60.0, least=0.0),
        Covariate("amiodarone", "1", 0.0, 0.0, 1.0),
        Covariate("baseline", "1", BASE.value, least=0.0),
    ),
    genotype_terms=(CYP2C9, VKORC1),
)
