"""Mercaptopurine: Gebhard 2023 and Hawwa 2008."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import mercaptopurine_gebhard2023 as gebhard2023
from dosewright.envs.pharmacology.models import mercaptopurine_hawwa2008 as hawwa2008

# key of the individual value -> parameter
_INDIVIDUAL = {
    "tgn0": "tgn0", "inieff": "inieff", "base": "base", "ktr": "ktr", "slope": "SLOPE", "gam": "gamma",
    "keff": "Keff",
}  # fmt: skip


def _gebhard2023_theta(inputs: Mapping[str, Any]) -> Floats:
    model = gebhard2023.MODEL
    theta = model.typical({}, {"tpmt_variant": 0, "nudt15_phenotype": 0})[0]
    theta[model.column("Vmm")] *= inputs["vmm_mult"]
    for key, parameter in _INDIVIDUAL.items():
        theta[model.column(parameter)] = inputs[key]
    return theta


def _gebhard2023_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    model = gebhard2023.MODEL
    names = ("ka_1_day", "ke_1_day", "V_L_m2", "F", "Vmm", "Kmm_umol_L", "Keff_1_day", "base_1e9_L",
             "ktr_1_day", "kcirc_1_day", "SLOPE_L_umol", "gamma", "inieff")  # fmt: skip
    rest = {
        "mg_per_mmol": gebhard2023.MG_PER_MMOL.value,
        "p0": np.exp(model.initial(theta[None])[0, model.states.index("lnProl")]),
    }
    return dict(zip(names, theta[: len(names)].tolist(), strict=True)) | rest


def _hawwa2008_theta(inputs: Mapping[str, Any]) -> Floats:
    return hawwa2008.MODEL.typical({"bsa_m2": inputs["BSA"]}, {"tpmt_variant": inputs["TPMT_variant"]})[0]


def _hawwa2008_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("ka_1_h", "F", "k20_1_h", "kme_1_h", "FM3", "CL_TGN", "CL_MMPN")
    return dict(zip(names, theta.tolist(), strict=True))


CASES = {
    "mercaptopurine_gebhard2023": Case(
        model=gebhard2023.MODEL,
        keys={"doses_day_mg_m2": [], "tgn0": 0.0, "inieff": 1.0, "vmm_mult": 1.0, "base": 2.17, "ktr": 0.15,
              "slope": 0.16, "gam": 0.79, "keff": 0.05},
        theta=_gebhard2023_theta,
        doses=lambda inputs: doses(inputs["doses_day_mg_m2"]),
        derived=_gebhard2023_derived,
        outputs={"C6MP_umol_L": "C", "E_TGN_umol_L": "TGN", "prol": "Prol", "ANC_1e9_L": "ANC"},
    ),
    "mercaptopurine_hawwa2008": Case(
        model=hawwa2008.MODEL,
        keys={"doses_h_mg": [], "BSA": 1.0, "TPMT_variant": 0},
        theta=_hawwa2008_theta,
        doses=lambda inputs: doses(inputs["doses_h_mg"]),
        derived=_hawwa2008_derived,
        outputs={"TGN_mg_L": "TGN", "mMPN_mg_L": "MMPN"},
    ),
}  # fmt: skip
