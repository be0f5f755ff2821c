"""Efavirenz: Bienczak 2016."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmarks.cases.case import Case, Floats, doses
from dosewright.envs.pharmacology.models import efavirenz_bienczak2016 as bienczak2016

# CYP2B6 516|983 genotype -> the pair of haplotypes
_PAIRS = {
    "GG|TT": ("*1", "*1"), "GT|TT": ("*1", "*6"), "GG|TC": ("*1", "*18"), "TT|TT": ("*6", "*6"),
    "GT|TC": ("*6", "*18"), "GG|CC": ("*18", "*18"),
}  # fmt: skip


def _bienczak2016_theta(inputs: Mapping[str, Any]) -> Floats:
    clearance = bienczak2016.CYP2B6.pairs[_PAIRS[inputs["geno"]]]
    return bienczak2016.typical({"weight_kg": inputs["wt"]}, {"cl_l_h": clearance})[0]


def _bienczak2016_derived(theta: Floats, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
    model = bienczak2016.MODEL
    values = dict(zip((parameter.name for parameter in model.parameters), theta.tolist(), strict=True))
    transit = sum(state.startswith("D") for state in model.states)
    return {
        "CLF_L_h": values["CL"], "VcF_L": values["Vc"], "QF_L_h": values["Q"], "VpF_L": values["Vp"],
        "ktr_1_h": transit / values["MTT"], "ka_1_h": values["ka"], "n_transit": transit,
    }  # fmt: skip


CASES = {
    "efavirenz_bienczak2016": Case(
        model=bienczak2016.MODEL,
        keys={"doses_h_mg": [], "geno": "GG|TT", "wt": 15.4},
        theta=_bienczak2016_theta,
        doses=lambda inputs: doses(inputs["doses_h_mg"]),
        derived=_bienczak2016_derived,
        outputs={"C_mg_L": "C", "AUC_mg_h_L": "AUC"},
    ),
}
