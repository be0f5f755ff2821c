"""CPIC's flow chart for warfarin, by genotype, for a stated person: the equations need covariates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from dosewright.envs import scenario
from dosewright.evaluation.genotype.model_dose import typical_person
from dosewright.pharmacogenomics import (
    LATER_ALLELES,
    Diplotype,
    GeneCall,
    Tables,
    UnknownAlleleError,
    WarfarinDose,
    WarfarinPatient,
    warfarin_dose,
)


@dataclass(frozen=True)
class ChartDose:
    """What the flow chart gives for one stated person.

    Attributes
    ----------
    ancestry : branch of the chart: "not African" or "African"
    person : whom the doses are for, in words
    dose : of this genotype; None where the chart gives none
    reference : of CYP2C9 *1/*1, VKORC1 G/G and CYP4F2 *1/*1, the same person
    why_none : why there is no dose; "" where there is one
    """

    ancestry: str
    person: str
    dose: WarfarinDose | None
    reference: WarfarinDose
    why_none: str

    @property
    def ratio(self) -> float | None:
        """Dose of the equation over that of the reference genotype, dimensionless; None where dosed without
        genotype."""
        if self.dose is None or not self.dose.pharmacogenetic:
            return None
        return self.dose.weekly_mg / self.reference.weekly_mg


def chart_doses(calls: Mapping[str, GeneCall], tables: Tables) -> tuple[ChartDose, ...]:
    """The chart for the typical person of warfarin's scenario, on both of its branches.

    Parameters
    ----------
    calls : gene -> call
    tables : those by which the genes were called
    """
    typical = typical_person(scenario("warfarin"))
    values = typical.covariates
    alike = WarfarinPatient(
        values["age_y"], values["height_cm"], values["weight_kg"], male=bool(values["male"]),
        enzyme_inducer=False, amiodarone=False,
    )  # fmt: skip
    body = (
        f"{values['age_y']:g} years, {values['height_cm']:g} cm, {values['weight_kg']:g} kg, no amiodarone, "
        f"no enzyme inducer ({typical.source})"
    )
    made = []
    for ancestry, race in (("not African", "White"), ("African", "Black")):
        known = replace(alike, race=race, african_ancestry=race == "Black")
        reference = replace(known, cyp2c9="*1/*1", vkorc1="GG", cyp4f2="*1/*1", late_alleles_tested=True)
        person = replace(
            known,
            cyp2c9=_pair(calls, "CYP2C9"),
            vkorc1=_pair(calls, "VKORC1"),
            cyp4f2=_pair(calls, "CYP4F2"),
            late_alleles_tested=_late_alleles_tested(calls.get("CYP2C9")),
        )
        dose, why = None, ""
        try:
            dose = warfarin_dose(person, tables=tables)
        except (UnknownAlleleError, ValueError) as error:
            why = str(error)
        made.append(
            ChartDose(ancestry, f"{race}, {body}", dose, warfarin_dose(reference, tables=tables), why)
        )
    return tuple(made)


def _pair(calls: Mapping[str, GeneCall], gene: str) -> Diplotype | None:
    return calls[gene].lookup if gene in calls else None


def _late_alleles_tested(call: GeneCall | None) -> bool | None:
    """Whether the VCF could have shown the alleles that the equations lack; None if another test called."""
    if call is None or call.origin == "outside call" or call.match is None:
        return None
    return call.lookup is not None and not set(LATER_ALLELES) & set(call.match.not_excluded)
