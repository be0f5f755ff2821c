"""Propofol: Eleveld 2018, arterial samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import propofol_eleveld2018 as eleveld2018

_COVARIATES = {
    "age_y": "age", "weight_kg": "wt", "height_cm": "ht", "male": "male", "opiates": "opiates",
}  # fmt: skip


def _theta(inputs: Mapping[str, Any]) -> Floats:
    return eleveld2018.MODEL.typical({name: inputs[key] for name, key in _COVARIATES.items()}, {})[0]


def _derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("V1_L", "V2_L", "V3_L", "CL_L_min", "Q2_L_min", "Q3_L_min", "ke0_1_min", "Ce50", "BIS0",
             "gamma_low", "gamma_high")  # fmt: skip
    delay = float(eleveld2018.bis_delay_s(inputs["age"]))
    return dict(zip(names, theta.tolist(), strict=True)) | {"bis_delay_s": delay}


CASES = {
    "propofol_eleveld2018": Case(
        model=eleveld2018.MODEL,
        keys={"infusions_min_mg_min": [], "age": 35, "wt": 70, "ht": 170, "male": 1, "opiates": 0},
        theta=_theta,
        doses=lambda inputs: doses(inputs["infusions_min_mg_min"]),
        derived=_derived,
        outputs={"Cp_ug_mL": "Cp", "Ce_ug_mL": "Ce", "BIS_no_delay": "BIS"},
    ),
}  # fmt: skip
