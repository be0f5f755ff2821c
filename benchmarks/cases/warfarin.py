"""Warfarin: Hamberg 2010 and Hamberg 2007."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.cases.case import REQUIRED, Case, Floats, doses
from dosewright.envs import genotype_effects
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.models import warfarin_hamberg2007 as hamberg2007
from dosewright.envs.pharmacology.models import warfarin_hamberg2010 as hamberg2010


def _theta(model: PopulationModel, inputs: Mapping[str, Any]) -> Floats:
    genotypes = {gene: np.array([inputs[gene]]) for gene in ("CYP2C9", "VKORC1")}
    effects, _ = genotype_effects(model.genotype_terms, genotypes)
    return model.typical({"age_y": inputs["age_y"], "baseline": inputs["INR_base"]}, effects)[0]


def _hamberg2010_theta(inputs: Mapping[str, Any]) -> Floats:
    model = hamberg2010.MODEL
    theta = _theta(model, inputs)
    for parameter, key in (("CL", "cl_mult"), ("V", "v_mult"), ("EC50", "ec_mult")):
        theta[model.column(parameter)] *= inputs[key]
    return theta


def _hamberg2010_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("CL_S_L_h", "V_L", "ka_1_h", "EC50_mg_L", "gamma", "ktr1_1_h", "ktr2_1_h", "INR_base")
    constants = {
        "Emax": 1.0,
        "INR_max_increment": hamberg2010.INR_MAX.value,
        "S_fraction": hamberg2010.S_FRACTION.value,
    }
    return dict(zip(names, theta.tolist(), strict=True)) | constants


def _hamberg2007_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("CL_S_L_h", "V1_L", "Q_L_h", "V2_L", "ka_1_h", "EC50_mg_L", "gamma", "MTT1", "MTT2", "lam",
             "INR_base")  # fmt: skip
    values = dict(zip(names, theta.tolist(), strict=True))
    mtt1, mtt2 = values.pop("MTT1"), values.pop("MTT2")
    return values | {
        "ktr1_total_1_h": 6 / mtt1,
        "ktr1_percomp_1_h": 1 / mtt1,
        "ktr2_1_h": 1 / mtt2,
        "INR_max_increment": hamberg2007.INR_MAX.value,
        "S_fraction": hamberg2007.S_FRACTION.value,
    }


CASES = {
    "warfarin_hamberg2010": Case(
        model=hamberg2010.MODEL,
        keys={"racemic_doses_h_mg": [], "CYP2C9": REQUIRED, "VKORC1": REQUIRED, "age_y": REQUIRED,
              "INR_base": 1.0, "cl_mult": 1.0, "v_mult": 1.0, "ec_mult": 1.0},
        theta=_hamberg2010_theta,
        doses=lambda inputs: doses(inputs["racemic_doses_h_mg"]),
        derived=_hamberg2010_derived,
        outputs={"Cs_mg_L": "Cs", "A3": "X3", "B3": "Y3", "INR": "INR"},
    ),
    "warfarin_hamberg2007": Case(
        model=hamberg2007.MODEL,
        keys={"racemic_doses_h_mg": [], "CYP2C9": REQUIRED, "VKORC1": REQUIRED, "age_y": REQUIRED,
              "INR_base": 1.0},
        theta=lambda inputs: _theta(hamberg2007.MODEL, inputs),
        doses=lambda inputs: doses(inputs["racemic_doses_h_mg"]),
        derived=_hamberg2007_derived,
        outputs={"Cs_mg_L": "Cs", "A6_total": "X6_total", "A6_percomp": "X6_percomp", "A7": "Y1",
                 "INR_MTT1_total": "INR_total", "INR_MTT1_per_compartment": "INR_per_compartment"},
    ),
}  # fmt: skip
