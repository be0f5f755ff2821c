"""Phenytoin: Grasela 1983 with the genes of Mamiya 1998."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import phenytoin_grasela1983 as grasela1983

_PHENOTYPES = {"EM": 0, "IM": 1, "PM": 2}


def _theta(inputs: Mapping[str, Any]) -> Floats:
    model = grasela1983.MODEL
    alleles = inputs["c9"].split("/")
    effects = {
        "cyp2c9_log_vmax": sum(grasela1983.CYP2C9.per_allele[allele] for allele in alleles),
        "cyp2c19_phenotype": _PHENOTYPES[inputs["c19"]],
    }
    # at the reference weight, so that the file's own population values take the place of the model's
    theta = model.typical({"weight_kg": 70.0, "age_y": 40.0, "japanese": 0.0}, effects)[0]
    heavier = (inputs["wt"] / inputs["ref"]) ** inputs["vm_exp"]
    theta[model.column("Vmax")] *= inputs["vm"] / grasela1983.VMAX.value * heavier
    theta[model.column("Km")] *= inputs["km"] / grasela1983.KM.value
    theta[model.column("V")] = inputs["v_per_kg"] * inputs["wt"]
    return theta


def _derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("Vmax_mg_h", "Km_mg_L", "V_L", "ka_1_h")
    return dict(zip(names, theta.tolist(), strict=True)) | {"F": grasela1983.MODEL.routes[0].fraction}


CASES = {
    "phenytoin_mm": Case(
        model=grasela1983.MODEL,
        keys={"doses_h_mg": [], "wt": 70.0, "vm": 415.0, "km": 5.7, "vm_exp": 0.6, "ref": 70.0,
              "v_per_kg": 0.65, "c9": "*1/*1", "c19": "EM"},
        theta=_theta,
        doses=lambda inputs: doses(inputs["doses_h_mg"]),
        derived=_derived,
        outputs={"C_mg_L": "C"},
    ),
}  # fmt: skip
