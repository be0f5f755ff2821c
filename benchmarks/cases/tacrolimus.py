"""Tacrolimus: Andrews 2019, final and starting-dose model, and Woillard 2011."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.models import tacrolimus_andrews2019 as andrews2019
from dosewright.envs.pharmacology.models import tacrolimus_woillard2011 as woillard2011

_COVARIATES = {
    "age_y": "age", "bsa_m2": "bsa", "albumin_g_l": "alb", "creatinine_umol_l": "creat", "haematocrit": "hct",
    "lean_mass_kg": "lbm",
}  # fmt: skip


def _andrews2019_case(model: PopulationModel, keys: Mapping[str, Any]) -> Case:
    def theta(inputs: Mapping[str, Any]) -> Floats:
        known = {covariate.name: inputs[_COVARIATES[covariate.name]] for covariate in model.covariates}
        effects = {"cyp3a5_expresser": inputs["expr"], "cyp3a4_star22": inputs["c22"]}
        return model.typical(known, effects)[0]

    names = ("CLF_L_h", "V1F_L", "QF_L_h", "V2F_L", "ka_1_h", "tlag_h")
    return Case(
        model=model,
        keys={"doses_h_mg": [], "expr": 0, "c22": 0, "age": 55.72, "bsa": 1.93, **keys},
        theta=theta,
        doses=lambda inputs: doses(inputs["doses_h_mg"]),
        derived=lambda theta, inputs: dict(zip(names, theta.tolist(), strict=True)),
        outputs={"C_ng_mL": "C", "AUC_ng_h_mL": "AUC"},
    )


def _woillard2011_theta(inputs: Mapping[str, Any]) -> Floats:
    known = {"haematocrit": inputs["HCT_pct"] / 100, "prograf": inputs["prograf"]}
    return woillard2011.typical(known, {"cyp3a5_expresser": inputs["expr"]})[0]


def _woillard2011_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("CLF_L_h", "VcF_L", "QF_L_h", "VpF_L", "Ktr_1_h")
    return dict(zip(names, theta.tolist(), strict=True))


CASES = {
    "tacrolimus_andrews2019": _andrews2019_case(
        andrews2019.MODEL, {"alb": 42, "creat": 134.98, "hct": 0.34, "lbm": 58.94}
    ),
    "tacrolimus_andrews2019_start": _andrews2019_case(andrews2019.START, {}),
    "tacrolimus_woillard2011": Case(
        model=woillard2011.MODEL,
        keys={"doses_h_mg": [], "prograf": 1, "expr": 0, "HCT_pct": 35},
        theta=_woillard2011_theta,
        doses=lambda inputs: doses(inputs["doses_h_mg"]),
        derived=_woillard2011_derived,
        outputs={"C_ng_mL": "C", "AUC_ng_h_mL": "AUC"},
    ),
}
