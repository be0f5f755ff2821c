"""CPIC's flow chart for warfarin, by genotype, for a stated person: the equations need covariates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    drug_names,
    warfarin_dose,
    warfarin_interactions,
)

_AFRICAN = frozenset({"African American/Afro-Caribbean", "Sub-Saharan African"})
_ASIAN = frozenset({"East Asian", "Central/South Asian"})
_POOR = "CYP2C9 is a poor metaboliser's: CPIC says to consider another drug than warfarin"
_FIRST_ALLELES = ("*2", "*3")  # those that every equation counts


@dataclass(frozen=True)
class ChartDose:
    """What the flow chart gives for one stated person.

    Attributes
    ----------
    ancestry : branch of the chart: "not African" or "African"
    person : whom the doses are for, in words
    counted : other drugs that the equation counts
    dose : of this genotype; None where the chart gives none
    reference : of CYP2C9 *1/*1, VKORC1 G/G and CYP4F2 *1/*1, the same person
    why_none : why there is no dose; "" where there is one
    unknown : gene -> why the chart counts it as not known although it was called
    notes : what else must be known, in sentences
    """

    ancestry: str
    person: str
    counted: tuple[str, ...]
    dose: WarfarinDose | None
    reference: WarfarinDose
    why_none: str
    unknown: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def poor_metabolizer(self) -> bool:
        """Whether CPIC says to consider another drug."""
        return _POOR in self.notes or (self.dose is not None and self.dose.caution is not None)

    @property
    def ratio(self) -> float | None:
        """Dose of the equation over that of the reference genotype, dimensionless; None where dosed without
        genotype."""
        if self.dose is None or not self.dose.pharmacogenetic:
            return None
        return self.dose.weekly_mg / self.reference.weekly_mg


def chart_doses(
    calls: Mapping[str, GeneCall],
    drugs: Sequence[str],
    ancestry: Mapping[str, float] | str | None,
    tables: Tables,
) -> tuple[ChartDose, ...]:
    """The chart for the typical person of warfarin's scenario, on the branches that the ancestry leaves.

    Parameters
    ----------
    calls : gene -> call
    drugs : generic names of drugs that are taken too; amiodarone and enzyme inducers count in the equations
    ancestry : as it was given to `call_genes`
    tables : those by which the genes were called
    """
    typical = typical_person(scenario("warfarin"))
    values = typical.covariates
    amiodarone, inducer, others = warfarin_interactions(drugs)
    alike = WarfarinPatient(
        values["age_y"], values["height_cm"], values["weight_kg"], male=bool(values["male"]),
        enzyme_inducer=inducer, amiodarone=amiodarone,
    )  # fmt: skip
    counted = tuple(name for name in drug_names(drugs) if name not in others)
    body = (
        f"{values['age_y']:g} years, {values['height_cm']:g} cm, {values['weight_kg']:g} kg, "
        f"{'with' if amiodarone else 'no'} amiodarone, {'with an' if inducer else 'no'} enzyme inducer "
        f"({typical.source})"
    )
    cyp2c9, why_not = _cyp2c9(calls.get("CYP2C9"))
    unknown = {"CYP2C9": why_not} if why_not else {}
    notes = [_POOR] if _poor_by_phenotype(calls.get("CYP2C9")) else []
    notes += [f"no equation counts {', '.join(others)}: not adjusted for"] if others else []
    call = calls.get("CYP4F2")
    # which diplotype it is may stay open where rs2108622, the one position that counts, was called
    seen = call is not None and _excluded(call, ("*3",)) is not False
    cyp4f2 = call.diplotypes if call is not None and seen and not call.structural else ()
    made = []
    for branch, race in _branches(ancestry):
        known = replace(alike, race=race, african_ancestry=race == "Black")
        reference = replace(known, cyp2c9="*1/*1", vkorc1="GG", cyp4f2="*1/*1", late_alleles_tested=True)
        person = replace(
            known,
            cyp2c9=cyp2c9,
            vkorc1=_pair(calls.get("VKORC1")),
            late_alleles_tested=cyp2c9 is not None and _excluded(calls.get("CYP2C9"), LATER_ALLELES),
        )
        dose, why, said = None, "", ()
        try:
            dose, said = _dose(person, cyp4f2, tables)
        except (UnknownAlleleError, ValueError) as error:
            why = str(error).partition("; ")[0]
        at_reference = warfarin_dose(reference, tables=tables)
        made.append(
            ChartDose(branch, f"{race}, {body}", counted, dose, at_reference, why, unknown, (*notes, *said))
        )
    return tuple(made)


def _branches(ancestry: Mapping[str, float] | str | None) -> list[tuple[str, str]]:
    """Return branches of the chart, and the race of the equations for each; both where it is not known."""
    groups = {ancestry} if isinstance(ancestry, str) else set(ancestry or ())
    branches = []
    if not groups or groups - _AFRICAN:
        branches.append(("not African", "Asian" if groups and groups <= _ASIAN else "White"))
    if not groups or groups & _AFRICAN:
        branches.append(("African", "Black"))
    return branches


def _pair(call: GeneCall | None) -> Diplotype | None:
    return None if call is None or call.doubt else call.lookup


def _cyp2c9(call: GeneCall | None) -> tuple[Diplotype | None, str]:
    """Return the pair for the equations; none, and why, where a first allele could not be seen."""
    pair = _pair(call)
    if pair is None or _excluded(call, _FIRST_ALLELES) is not False:
        return pair, ""
    return None, f"CYP2C9 {' or '.join(_FIRST_ALLELES)} is not excluded, so that CYP2C9 counts as not known"


def _poor_by_phenotype(call: GeneCall | None) -> bool:
    """Whether only the phenotype is known, and is a poor metabolizer's: the chart sees diplotypes."""
    return (
        call is not None and not call.doubt and call.lookup is None and call.phenotype == "Poor Metabolizer"
    )


def _dose(
    person: WarfarinPatient, cyp4f2: Sequence[Diplotype], tables: Tables
) -> tuple[WarfarinDose, tuple[str, ...]]:
    """Return the dose, without CYP4F2 where the pairs that fit alike lead to different ones, and a note."""
    doses = [warfarin_dose(replace(person, cyp4f2=pair), tables=tables) for pair in cyp4f2]
    if not doses or len({dose.adjusted_daily_mg for dose in doses}) > 1:
        return warfarin_dose(person, tables=tables), ()
    fit = " or ".join(map(str, cyp4f2))
    return doses[0], (f"CYP4F2 is {fit}: the dose is the same",) if len(cyp4f2) > 1 else ()


def _excluded(call: GeneCall | None, alleles: Sequence[str]) -> bool | None:
    """Whether the VCF could have shown alleles that the call does not have; None if another test called."""
    if call is None or call.origin == "outside call" or call.match is None:
        return None
    return not set(alleles) & set(call.match.not_excluded)
