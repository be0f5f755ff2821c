"""CPIC's flow chart for warfarin: which equation, what to change afterwards, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.tables import TABLES, Tables
from dosewright.pharmacogenomics.warfarin_equations import (
    GAGE_CLINICAL,
    GAGE_PHARMACOGENETIC,
    IWPC_CLINICAL,
    IWPC_PHARMACOGENETIC,
    LATER_ALLELES,
    MissingCovariateError,
    WarfarinEquation,
    WarfarinPatient,
    counted_vkorc1,
    steady_state_days,
)

GUIDELINE = (
    "CPIC guideline for warfarin, 2017 update, figure 2; Johnson 2017, Clin Pharmacol Ther 102:397, "
    "PMID 28198005"
)
_PAIRS = {
    "IWPC": (IWPC_PHARMACOGENETIC, IWPC_CLINICAL),
    "Gage": (GAGE_PHARMACOGENETIC, GAGE_CLINICAL),
}
_ADULT = 18  # the flow chart of children asks for an equation made for them, and none is carried

Strength = Literal["strong", "moderate", "optional"]


class NotCoveredError(ValueError):
    """The flow chart leads to no equation that is carried."""


@dataclass(frozen=True)
class WarfarinAdjustment:
    """A change of the calculated dose.

    Attributes
    ----------
    reason : genotype that it is for
    low, high : range of the factor on the dose, dimensionless
    strength : how sure CPIC is
    """

    reason: str
    low: float
    high: float
    strength: Strength


@dataclass(frozen=True)
class PoorMetabolizerCaution:
    """That CPIC says to consider another anticoagulant: a CYP2C9 poor metaboliser, whatever VKORC1 is.

    Attributes
    ----------
    cyp2c9 : the diplotype
    vkorc1_sensitive : whether VKORC1 A/G or A/A adds to it; None where VKORC1 is not known
    steady_state_days : until 95 % of steady state, days: how late an INR shows what a dose does; None where
        the diplotype has no published rate of elimination
    """

    cyp2c9: str
    vkorc1_sensitive: bool | None
    steady_state_days: float | None

    def __str__(self) -> str:
        more = ", and VKORC1 makes more sensitive" if self.vkorc1_sensitive else ""
        late = ""
        if self.steady_state_days is not None:
            usual = steady_state_days("*1/*1")
            late = f"; steady state takes about {self.steady_state_days:.0f} days instead of {usual:.0f}"
        return (
            f"CYP2C9 {self.cyp2c9} is a poor metaboliser{more}: CPIC says to consider another drug than "
            f"warfarin{late}"
        )


@dataclass(frozen=True)
class WarfarinDose:
    """What the flow chart gives for an INR of 2 to 3. Not for clinical use.

    Attributes
    ----------
    equation : the equation that the chart leads to
    weekly_mg, daily_mg : its dose, mg a week and mg a day
    pharmacogenetic : whether the genotype counts in it; else the chart says to dose clinically
    strength : how sure CPIC is of dosing by genotype; None when dosed clinically
    adjustments : changes after the equation
    adjusted_daily_mg : lowest and highest daily dose after all of them, mg. That several changes multiply is
        an ASSUMPTION
    caution : that CPIC says to consider another drug; None unless CYP2C9 is a poor metaboliser's
    warnings : what else a reader must know, in sentences, the caution among them
    source : guideline, equation and tables
    """

    equation: str
    weekly_mg: float
    daily_mg: float
    pharmacogenetic: bool
    strength: Strength | None
    adjustments: tuple[WarfarinAdjustment, ...]
    adjusted_daily_mg: tuple[float, float]
    caution: PoorMetabolizerCaution | None
    warnings: tuple[str, ...]
    source: str


def warfarin_dose(
    patient: WarfarinPatient, algorithm: Literal["IWPC", "Gage"] = "IWPC", tables: Tables = TABLES
) -> WarfarinDose:
    """Follow CPIC's flow chart for adults.

    Parameters
    ----------
    patient : covariates and genotypes; a missing genotype is never read as the reference: without VKORC1 or
        CYP2C9 the chart doses clinically
    algorithm : published equations with and without genotype
    tables : from which CYP2C9 alleles get their function, and CYP4F2 alleles their base at rs2108622

    Raises
    ------
    NotCoveredError : younger than 18 years
    MissingCovariateError : the chart or the equation needs a covariate that is None
    UncountedAlleleError, UnknownAlleleError, ValueError : as `WarfarinEquation.predictor`

    Source
    ------
    Johnson 2017, Clin Pharmacol Ther 102:397 (CPIC, PMID 28198005), figure 2.
    """
    if algorithm not in _PAIRS:
        raise ValueError(f"algorithm is {algorithm!r}; expected {' or '.join(_PAIRS)}")
    if patient.age_years < _ADULT:
        raise NotCoveredError(
            f"age_years is {patient.age_years}; CPIC's chart for children needs an equation made for them, "
            "and none is carried here"
        )
    genetic, clinical = _PAIRS[algorithm]
    caution = _caution(patient, tables)
    warnings = [] if caution is None else [str(caution)]
    missing = [
        gene for gene, given in (("CYP2C9", patient.cyp2c9), ("VKORC1", patient.vkorc1)) if given is None
    ]
    if missing:
        said = "neither CYP2C9 nor VKORC1 is known" if len(missing) == 2 else f"{missing[0]} is not known"
        tested = " (CYP2C9 counts as known where *2 and *3 were tested)" if "CYP2C9" in missing else ""
        warnings.append(f"{said}{tested}: CPIC says to dose clinically, without genotype")
        return _result(clinical, patient, None, (), caution, warnings, tables)
    if not _african(patient):
        changes = (*_late_alleles(patient, "optional"), *_cyp4f2(patient, warnings, tables))
        return _result(genetic, patient, "strong", changes, caution, warnings, tables)
    late = _late_alleles(patient, "moderate")
    if not late and not _tested(patient):
        warnings.append(
            f"African ancestry, and CYP2C9 {', '.join(LATER_ALLELES)} were not tested: "
            "CPIC says to dose clinically, without genotype"
        )
        return _result(clinical, patient, None, (), caution, warnings, tables)
    changes = (*late, *_rs12777823(patient, warnings))
    return _result(genetic, patient, "moderate", changes, caution, warnings, tables)


def _result(
    equation: WarfarinEquation,
    patient: WarfarinPatient,
    strength: Strength | None,
    adjustments: tuple[WarfarinAdjustment, ...],
    caution: PoorMetabolizerCaution | None,
    warnings: list[str],
    tables: Tables,
) -> WarfarinDose:
    weekly = equation.weekly_mg(patient, tables)
    low, high = (
        weekly / 7 * math.prod(factors)
        for factors in ([a.low for a in adjustments], [a.high for a in adjustments])
    )
    return WarfarinDose(
        equation.name,
        weekly,
        weekly / 7,
        strength is not None,
        strength,
        adjustments,
        (low, high),
        caution,
        tuple(warnings),
        f"{GUIDELINE}; {equation.source}; {tables.source('CYP2C9')}",
    )


def _caution(patient: WarfarinPatient, tables: Tables) -> PoorMetabolizerCaution | None:
    if patient.cyp2c9 is None:
        return None
    read = interpret("CYP2C9", patient.cyp2c9, tables)
    if read.phenotype != "Poor Metabolizer":
        return None
    sensitive = None if patient.vkorc1 is None else "A" in counted_vkorc1(patient.vkorc1)
    return PoorMetabolizerCaution(str(read.diplotype), sensitive, steady_state_days(read.diplotype))


def _african(patient: WarfarinPatient) -> bool:
    if patient.african_ancestry is not None:
        return patient.african_ancestry
    if patient.race not in ("White", "Asian", "Black"):
        raise MissingCovariateError(
            f"the flow chart needs african_ancestry: race {patient.race!r} does not say it; "
            "give True or False"
        )
    return patient.race == "Black"


def _tested(patient: WarfarinPatient) -> bool:
    if patient.late_alleles_tested is None:
        raise MissingCovariateError(
            "the flow chart needs late_alleles_tested for a person of African ancestry: could the test "
            f"have found CYP2C9 {', '.join(LATER_ALLELES)}? Give True or False"
        )
    return patient.late_alleles_tested


def _alleles(diplotype: Diplotype | str | None) -> tuple[str, ...]:
    if diplotype is None:
        return ()
    return (diplotype if isinstance(diplotype, Diplotype) else Diplotype.parse(diplotype)).alleles


def _late_alleles(patient: WarfarinPatient, strength: Strength) -> tuple[WarfarinAdjustment, ...]:
    found = [allele for allele in _alleles(patient.cyp2c9) if allele in LATER_ALLELES]
    if not found:
        return ()
    # CPIC gives the wider range for homozygotes; two different ones of these alleles are read so (ASSUMPTION)
    low, high = (0.60, 0.80) if len(found) == 2 else (0.70, 0.85)
    return (WarfarinAdjustment(f"CYP2C9 {' and '.join(found)}", low, high, strength),)


def _cyp4f2(patient: WarfarinPatient, warnings: list[str], tables: Tables) -> tuple[WarfarinAdjustment, ...]:
    if patient.cyp4f2 is None:
        warnings.append("CYP4F2 is not known: no change for rs2108622")
        return ()
    place = next(position.pos for position in tables.positions("CYP4F2") if position.rsid == "rs2108622")
    carriers = {
        definition.name
        for definition in tables.definitions("CYP4F2")
        if definition.core.get(place) == "T"
    }  # fmt: skip
    known = tables.alleles("CYP4F2")
    for allele in _alleles(patient.cyp4f2):
        if allele not in known:
            raise ValueError(f"CYP4F2 {allele} is not in the tables; use one of {', '.join(known)}")
    found = [allele for allele in _alleles(patient.cyp4f2) if allele in carriers]
    if not found:
        return ()
    return (WarfarinAdjustment(f"CYP4F2 {' and '.join(found)} (rs2108622 T)", 1.05, 1.10, "optional"),)


def _rs12777823(patient: WarfarinPatient, warnings: list[str]) -> tuple[WarfarinAdjustment, ...]:
    if patient.rs12777823_a is None:
        warnings.append("rs12777823 is not known: no change for it")
        return ()
    if patient.rs12777823_a not in (0, 1, 2):
        raise ValueError(f"rs12777823_a is {patient.rs12777823_a}; expected the number of A alleles, 0 to 2")
    if patient.rs12777823_a == 0:
        return ()
    return (WarfarinAdjustment("rs12777823 A", 0.75, 0.90, "moderate"),)
