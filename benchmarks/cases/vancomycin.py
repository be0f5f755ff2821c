"""Vancomycin: Goti 2018, Thomson 2009 and Colin 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.models import vancomycin_colin2019 as colin2019
from dosewright.envs.pharmacology.models import vancomycin_goti2018 as goti2018
from dosewright.envs.pharmacology.models import vancomycin_thomson2009 as thomson2009

_COVARIATES = {
    "weight_kg": "wt", "crcl_ml_min": "crcl", "dialysis": "dial", "pma_weeks": "PMA_weeks",
    "creatinine_mg_dl": "SCR_mg_dL", "cancer": "cancer",
}  # fmt: skip


def _derived(theta: Floats, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return dict(zip(("CL_L_h", "V1_L", "Q_L_h", "V2_L"), theta.tolist(), strict=True))


def _colin2019_derived(theta: Floats, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return _derived(theta, inputs) | {"SCR_std_mg_dL": colin2019.standard_creatinine(inputs["PMA_weeks"])}


def _case(model: PopulationModel, keys: Mapping[str, Any], derived=_derived) -> Case:
    def theta(inputs: Mapping[str, Any]) -> Floats:
        known = {covariate.name: inputs[_COVARIATES[covariate.name]] for covariate in model.covariates}
        return model.typical(known, {})[0]

    return Case(
        model=model,
        keys={"infusions_h_mg_h": [], **keys},
        theta=theta,
        doses=lambda inputs: doses(inputs["infusions_h_mg_h"]),
        derived=derived,
        outputs={"C_mg_L": "C", "AUC_mg_h_L": "AUC"},
    )


CASES = {
    "vancomycin_goti2018": _case(goti2018.MODEL, {"wt": 70, "crcl": 120, "dial": 0}),
    "vancomycin_thomson2009": _case(thomson2009.MODEL, {"wt": 72, "crcl": 66}),
    "vancomycin_colin2019": _case(
        colin2019.MODEL,
        {"wt": 70, "PMA_weeks": 1860, "SCR_mg_dL": 0.83, "cancer": 0},
        _colin2019_derived,
    ),
}
