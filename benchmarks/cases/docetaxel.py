"""Docetaxel: Ozawa 2007, Kloft 2006 and Friberg 2002."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology import Dose, PopulationModel
from dosewright.envs.pharmacology.models import docetaxel_friberg2002 as friberg2002
from dosewright.envs.pharmacology.models import docetaxel_kloft2006 as kloft2006
from dosewright.envs.pharmacology.models import docetaxel_ozawa2007 as ozawa2007

_KINETICS = ("CL_L_h", "V1_L", "Q2_L_h", "V2_L", "Q3_L_h", "V3_L")


def _derived(model: PopulationModel, names: tuple[str, ...], theta: Floats) -> dict[str, Any]:
    """Columns of `theta` under the names of the files, which have ktr where the models have MTT."""
    values = theta.copy()
    values[model.column("MTT")] = 4.0 / theta[model.column("MTT")]
    return dict(zip(names, values.tolist(), strict=True))


def _ozawa2007_theta(inputs: Mapping[str, Any]) -> Floats:
    model = ozawa2007.MODEL
    theta = model.typical({"neutrophils_1e9_l": inputs["neut"], "aag_g_l": inputs["aag"]}, {})[0]
    for parameter, key in (("CL", "cl_mult"), ("SLOPE", "slope_mult"), ("MTT", "mtt_mult")):
        theta[model.column(parameter)] *= inputs[key]
    theta[model.column("IP0")] = inputs["ip0"]
    return theta


def _ozawa2007_doses(inputs: Mapping[str, Any]) -> list[Dose]:
    # the premedication of one cycle releases IP0
    released = doses([[time] for time in inputs["ip0_times"]], "premedication", each=1.0)
    return sorted(doses(inputs["infusions_h_mg_h"], "infusion") + released, key=lambda dose: dose.time)


def _ozawa2007_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("Circ0_1e9_L", "SLOPE_L_mg", "ktr_1_h", "gamma", "kin_1_h", "IP0_1e9_L")
    return _derived(ozawa2007.MODEL, (*_KINETICS, *names), theta)


def _kloft2006_theta(inputs: Mapping[str, Any]) -> Floats:
    covariates = {
        "male": 1 - inputs["sexf"], "ecog1": inputs["ecog1"], "prior_chemotherapy": inputs["prior"],
        "aag_g_l": inputs["aag"],
    }  # fmt: skip
    return kloft2006.MODEL.typical(covariates, {})[0]


def _kloft2006_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    return _derived(kloft2006.MODEL, (*_KINETICS, "BASE", "SLOPE_L_mg", "ktr_1_h", "gamma"), theta)


def _friberg2002_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    names = ("k10_1_h", "k12_1_h", "k21_1_h", "k13_1_h", "k31_1_h", "V1_L", "Circ0_1e9_L", "SLOPE_L_umol",
             "ktr_1_h", "gamma")  # fmt: skip
    return _derived(friberg2002.MODEL, names, theta) | {"mg_per_umol": friberg2002.MG_PER_UMOL.value}


CASES = {
    "docetaxel_ozawa2007": Case(
        model=ozawa2007.MODEL,
        keys={"infusions_h_mg_h": [], "neut": 4.0, "aag": 0.94, "ip0": 5.19, "ip0_times": [0.0],
              "slope_mult": 1.0, "mtt_mult": 1.0, "cl_mult": 1.0},
        theta=_ozawa2007_theta,
        doses=_ozawa2007_doses,
        derived=_ozawa2007_derived,
        outputs={"C_mg_L": "C", "prol": "Prol", "tr1": "T1", "tr2": "T2", "tr3": "T3", "input": "In",
                 "ANC_1e9_L": "ANC"},
    ),
    "docetaxel_kloft2006": Case(
        model=kloft2006.MODEL,
        keys={"infusions_h_mg_h": [], "sexf": 0, "ecog1": 0, "prior": 0, "aag": 1.34},
        theta=_kloft2006_theta,
        doses=lambda inputs: doses(inputs["infusions_h_mg_h"]),
        derived=_kloft2006_derived,
        outputs={"C_mg_L": "C", "ANC_1e9_L": "ANC"},
    ),
    "docetaxel_friberg2002": Case(
        model=friberg2002.MODEL,
        keys={"bolus_h_mg": []},
        theta=lambda inputs: friberg2002.MODEL.typical({}, {})[0],
        # a bolus is an infusion of no duration
        doses=lambda inputs: doses(inputs["bolus_h_mg"]),
        derived=_friberg2002_derived,
        outputs={"C_umol_L": "C", "ANC_1e9_L": "ANC"},
    ),
}  # fmt: skip
