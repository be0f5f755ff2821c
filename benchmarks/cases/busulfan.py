"""Busulfan: McCune 2014 and Yuan 2021."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import busulfan_mccune2014 as mccune2014
from dosewright.envs.pharmacology.models import busulfan_yuan2021 as yuan2021

_OUTPUTS = {"C_mg_L": "C", "AUC_mg_h_L": "AUC"}


def _mccune2014_theta(inputs: Mapping[str, Any]) -> Floats:
    known = {
        "age_y": inputs["age"], "weight_kg": inputs["wt"], "height_cm": inputs["ht"], "male": inputs["male"],
    }  # fmt: skip
    return mccune2014.MODEL.typical(known, {})[0]


def _mccune2014_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    lean = mccune2014.fat_free_mass(*(np.array(float(inputs[key])) for key in ("wt", "ht", "male")))
    factors = (1.0, mccune2014.CL_FROM_6H.value, mccune2014.CL_FROM_36H.value)
    return {
        "FFM_kg": lean,
        "FMAT": mccune2014.maturation(inputs["age"]),
        "CL_factor_from_h": list(zip((0.0, *mccune2014.MODEL.breaks), factors, strict=True)),
        **dict(zip(("CL_0_6h_L_h", "V_L", "Q_L_h", "V2_L"), theta.tolist(), strict=True)),
    }


def _yuan2021_theta(inputs: Mapping[str, Any]) -> Floats:
    known = {"bsa_m2": inputs["bsa"], "ast_u_l": inputs["ast"]}
    return yuan2021.MODEL.typical(known, {"gsta1_b": inputs["GSTA1_AB"]})[0]


CASES = {
    "busulfan_mccune2014": Case(
        model=mccune2014.MODEL,
        keys={"infusions_h_mg_h": [], "age": 40, "wt": 70, "ht": 175, "male": 1},
        theta=_mccune2014_theta,
        doses=lambda inputs: doses(inputs["infusions_h_mg_h"]),
        derived=_mccune2014_derived,
        outputs=_OUTPUTS,
    ),
    "busulfan_yuan2021": Case(
        model=yuan2021.MODEL,
        keys={"infusions_h_mg_h": [], "bsa": 0.67, "ast": 29.1, "GSTA1_AB": 0},
        theta=_yuan2021_theta,
        doses=lambda inputs: doses(inputs["infusions_h_mg_h"]),
        derived=lambda theta, inputs: dict(zip(("CL_L_h", "V_L"), theta.tolist(), strict=True)),
        outputs=_OUTPUTS,
    ),
}
