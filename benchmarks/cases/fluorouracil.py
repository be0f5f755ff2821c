"""Fluorouracil: Arshad 2020."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import fluorouracil_arshad2020 as arshad2020


def _arshad2020_theta(inputs: Mapping[str, Any]) -> Floats:
    covariates = {"bsa_m2": inputs["bsa"], "cisplatin": inputs["cis"]}
    return arshad2020.MODEL.typical(covariates, {"dpd": inputs["dpd"]})[0]


def _arshad2020_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("CL_L_h", "V1_L", "Q_L_h", "V2_L", "CLm_L_h", "Vm_L", "Circ0_1e9_L", "slope", "ktr_1_h", "gamma")
    values = theta.copy()
    values[names.index("ktr_1_h")] = 4.0 / theta[arshad2020.MODEL.column("MTT")]
    return dict(zip(names, values.tolist(), strict=True)) | {"fm": arshad2020.FM.value}


CASES = {
    "fluorouracil_arshad2020": Case(
        model=arshad2020.MODEL,
        keys={"infusions_h_mg_h": [], "bsa": 1.95, "cis": 0, "dpd": 1.0},
        theta=_arshad2020_theta,
        doses=lambda inputs: doses(inputs["infusions_h_mg_h"]),
        derived=_arshad2020_derived,
        outputs={"C5FU_mg_L": "C", "C5FUH2_mg_L": "FUH2", "WBC_1e9_L": "WBC", "AUC5FU_mg_h_L": "AUC"},
    ),
}
