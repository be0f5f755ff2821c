"""Voriconazole: Kim 2019."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology import Dose
from dosewright.envs.pharmacology.models import voriconazole_kim2019 as kim2019

_PHENOTYPES = {"EM": 0.0, "IM": 1.0, "PM": 2.0}


def _kim2019_theta(inputs: Mapping[str, Any]) -> Floats:
    covariates = {"weight_kg": inputs["wt"], "liver_toxicity": inputs["liver"]}
    return kim2019.typical(covariates, {"cyp2c19_phenotype": _PHENOTYPES[inputs["pheno"]]})[0]


def _kim2019_doses(inputs: Mapping[str, Any]) -> list[Dose]:
    given = doses(inputs["oral_h_mg"], "oral") + doses(inputs["iv_h_mg_h"], "infusion")
    return sorted(given, key=lambda dose: dose.time)


def _kim2019_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("CL0_L_h", "Vc_L", "Vp1_L", "Qp1_L_h", "Vp2_L", "Qp2_L_h", "ka_1_h", "tlag_h", "F", "RCLF",
             "KIC_1_h", "IC50_mg_L")  # fmt: skip
    return dict(zip(names, theta.tolist(), strict=True))


CASES = {
    "voriconazole_kim2019": Case(
        model=kim2019.MODEL,
        keys={"oral_h_mg": [], "iv_h_mg_h": [], "pheno": "EM", "wt": 70, "liver": 0},
        theta=_kim2019_theta,
        doses=_kim2019_doses,
        derived=_kim2019_derived,
        outputs={"C_mg_L": "C", "Cinh_mg_L": "Cinh", "CL_L_h": "CL", "AUC_mg_h_L": "AUC"},
    ),
}
