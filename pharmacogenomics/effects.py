"""What a genotype does to a drug: published ratios, and how a model reads an allele it was fitted without."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Allele, Diplotype
from dosewright.pharmacogenomics.literature import listed_drug, literature_rows
from dosewright.pharmacogenomics.study_groups import grouping_bases, in_group
from dosewright.pharmacogenomics.tables import TABLES, Tables, UnknownAlleleError

_UNCERTAIN_FUNCTIONS = ("Uncertain function", "Unknown function")

# ---------------------------------------------------------------------- alleles a model was fitted without


class UncertainAlleleWarning(UserWarning):
    """An allele of uncertain or unknown function was given the value of another allele."""


class UnrepresentedAlleleError(ValueError):
    """Neither the model nor the substitution by function has a value for the allele."""


class AlleleReading(StrEnum):
    """Why an allele has the value that it has."""

    MODELLED = "the model has a value for the allele"
    BY_FUNCTION = "read by its CPIC function (ASSUMPTION)"
    UNCERTAIN = "function uncertain or unknown (ASSUMPTION)"


@dataclass(frozen=True)
class Represented:
    """An allele and the modelled allele whose value it takes.

    Attributes
    ----------
    gene, allele : what was asked for
    stands_for : the modelled allele whose value is used; the allele itself if the model has it
    function : CPIC's clinical function that decided, None for a modelled allele
    reason : how it was read
    """

    gene: str
    allele: str
    stands_for: str
    function: str | None
    reason: AlleleReading

    @property
    def flag(self) -> Literal["MODELLED", "ASSUMPTION"]:
        """`"ASSUMPTION"` when another allele's value is used, to be shown wherever the value is."""
        return "MODELLED" if self.reason is AlleleReading.MODELLED else "ASSUMPTION"

    @property
    def note(self) -> str:
        """One sentence for a report."""
        if self.function is None:
            return f"{self.gene} {self.allele} has its own value in the model"
        return f"{self.gene} {self.allele} ({self.function}) is read as {self.stands_for} (ASSUMPTION)"

    @property
    def warning(self) -> UncertainAlleleWarning | None:
        """The warning that the caller emits or counts; None unless the function is uncertain or unknown."""
        return UncertainAlleleWarning(self.note) if self.reason is AlleleReading.UNCERTAIN else None


def represent(
    gene: str, allele: str, modelled: Mapping[str, float], by_function: Mapping[str, str]
) -> Represented:
    """Find the modelled allele whose value an allele takes [models.md 1.1, ASSUMPTION].

    Parameters
    ----------
    gene, allele : as in the tables; for VKORC1 the base on the coding strand
    modelled : allele to its value in the model, in the model's unit; such an allele always stands for itself
    by_function : CPIC clinical function to the modelled allele that stands for it (ASSUMPTION)

    Raises
    ------
    UnknownGeneError, UnknownAlleleError : neither the model nor CPIC knows the allele
    UnrepresentedAlleleError : the function has no entry, or one that is not modelled
    """
    if allele in modelled:
        return Represented(gene, allele, allele, None, AlleleReading.MODELLED)
    function = TABLES.clinical_function(gene, allele)
    if function not in by_function:
        raise UnrepresentedAlleleError(
            f"{gene} {allele} has {function!r}, which no modelled allele stands for; "
            f"add it to by_function, which has {', '.join(by_function) or 'no entry'}"
        )
    stands_for = by_function[function]
    if stands_for not in modelled:
        raise UnrepresentedAlleleError(
            f"by_function reads {function!r} of {gene} as {stands_for!r}, which the model does not have; "
            f"use one of {', '.join(modelled)}"
        )
    uncertain = function in _UNCERTAIN_FUNCTIONS
    reason = AlleleReading.UNCERTAIN if uncertain else AlleleReading.BY_FUNCTION
    return Represented(gene, allele, stands_for, function, reason)


def allele_sum(
    diplotypes: Sequence[str] | NDArray[np.str_],
    gene: str,
    modelled: Mapping[str, float],
    by_function: Mapping[str, str],
) -> tuple[NDArray[np.float64], dict[AlleleReading, int]]:
    """Sum of a model's per-allele values over the two alleles of each person.

    Parameters
    ----------
    diplotypes : (n,) diplotypes as text, in any order of alleles
    gene, modelled, by_function : as in `represent`

    Returns
    -------
    values : (n,) sums, in the unit of `modelled`
    counts : number of alleles by how they were read, every reading listed; they add up to 2 n

    Raises
    ------
    InvalidDiplotypeError : a text does not name two alleles; the index of the first is noted on the error
    UnknownGeneError, UnknownAlleleError, UnrepresentedAlleleError : as `represent`, with the index too
    """
    labels: list[str] = np.asarray(diplotypes, dtype=np.str_).tolist()
    # A cohort has few different diplotypes: each is parsed once, whatever the number of people.
    codes = {label: code for code, label in enumerate(dict.fromkeys(labels))}
    index = np.fromiter(map(codes.__getitem__, labels), dtype=np.intp, count=len(labels))
    sums = np.zeros(len(codes))
    counts = dict.fromkeys(AlleleReading, 0)
    for (label, code), n in zip(codes.items(), np.bincount(index, minlength=len(codes)), strict=True):
        try:
            read = [
                represent(gene, allele, modelled, by_function) for allele in Diplotype.parse(label).alleles
            ]
        except ValueError as error:
            error.add_note(f"in diplotypes[{labels.index(label)}]: {label!r} of {gene}")
            raise
        sums[code] = sum(modelled[allele.stands_for] for allele in read)
        for allele in read:
            counts[allele.reason] += int(n)
    return sums[index], counts


# ----------------------------------------------------------------------------------------- published effects


class EffectParameter(StrEnum):
    """What a genotype multiplies. Clearance is apparent (CL/F) where the drug was given by mouth.

    Bioavailability is a kind of its own so that it can be asked for, and the answer is that there is none:
    no row of `pk_effects.csv` measures it. A ratio of AUC after a dose by mouth is clearance over
    bioavailability and is read as clearance.
    """

    CLEARANCE = "clearance"
    VMAX = "Vmax"
    KM = "Km"
    BIOAVAILABILITY = "bioavailability"
    EC50 = "EC50"


@dataclass(frozen=True)
class PublishedRow:
    """A row of `pk_effects.csv`.

    Attributes
    ----------
    drug, gene, group, reference_group : whom it compares
    measured : the published quantity
    ratio : `measured` in `group` over that in `reference_group`, dimensionless; None where no number is given
    n, population, study, note : as published; `n` as text ("30 vs 16"), "" where not given
    place : line of the file
    reading : how a multiplier is made of the ratio (`UsableRow`), or why it cannot be
    """

    drug: str
    gene: str
    group: str
    reference_group: str
    measured: str
    ratio: float | None
    n: str
    population: str
    study: str
    note: str
    place: str
    reading: str


@dataclass(frozen=True)
class UsableRow(PublishedRow):
    """A row of which a multiplier can be made.

    Attributes
    ----------
    parameter, multiplier : what changes in `group` over `reference_group`, by which factor, dimensionless
    """

    parameter: EffectParameter
    multiplier: float


@dataclass(frozen=True)
class Effect:
    """What one study says about one diplotype.

    Attributes
    ----------
    gene, diplotype : whose effect it is
    is_reference : the diplotype is in the row's reference group, not in its group, so that the factor is 1
    row : the source row; several studies of one parameter are several effects, and are not averaged
    source : the tables by which the diplotype was read
    """

    gene: str
    diplotype: Diplotype
    is_reference: bool
    row: UsableRow
    source: str

    @property
    def parameter(self) -> EffectParameter:
        """What changes."""
        return self.row.parameter

    @property
    def multiplier(self) -> float:
        """By which factor over the row's reference group, dimensionless."""
        return 1.0 if self.is_reference else self.row.multiplier


def published_rows(drug: str | None = None) -> tuple[PublishedRow, ...]:
    """Rows of `pk_effects.csv` in its order, usable or not; of one drug, or of all.

    Raises
    ------
    UnknownDrugError : the file has no row of the drug
    """
    if drug is None:
        return _published()
    name = listed_drug(drug, {row.drug for row in _published()}, "pk_effects.csv")
    return tuple(row for row in _published() if row.drug == name)


def effects(
    drug: str, diplotypes: Mapping[str, Diplotype | str], tables: Tables = TABLES
) -> tuple[Effect, ...]:
    """Published multipliers for the diplotypes of a person, in the order of the genes and of the file.

    Only groups that a study has are matched; a diplotype that fits none has no effect here, which does not
    mean a factor of 1 (`without_effect` says so).

    Parameters
    ----------
    drug : generic name, any case
    diplotypes : gene to diplotype; VKORC1, ABCG2 and CYP2B6 516 also as two bases of the coding strand

    Raises
    ------
    UnknownDrugError : the file has no row of the drug
    UnknownGeneError, UnknownAlleleError, InvalidDiplotypeError : a gene or allele is not in the tables, or
        the text does not name two alleles
    """
    rows = published_rows(drug)
    found: list[Effect] = []
    for gene, given in diplotypes.items():
        pair = _known_pair(gene, given, tables)
        source = tables.source(gene)
        usable = [row for row in rows if isinstance(row, UsableRow) and row.gene == gene]
        covered: set[tuple[str, str]] = set()
        for row in usable:
            if in_group(gene, row.group, pair, tables):
                covered.add((row.study, row.measured))
                found.append(Effect(gene, pair, False, row, source))
        for row in usable:
            study = row.study, row.measured
            if study not in covered and in_group(gene, row.reference_group, pair, tables):
                covered.add(study)
                found.append(Effect(gene, pair, True, row, source))
    return tuple(found)


def without_effect(
    drug: str, diplotypes: Mapping[str, Diplotype | str], tables: Tables = TABLES
) -> tuple[str, ...]:
    """Say, for each gene of which `effects` has nothing, that no row was published, one sentence each.

    Raises
    ------
    UnknownDrugError, UnknownGeneError, UnknownAlleleError, InvalidDiplotypeError : as `effects`
    """
    with_effect = {effect.gene for effect in effects(drug, diplotypes, tables)}
    said = []
    for gene, given in diplotypes.items():
        if gene not in with_effect:
            here = [row for row in published_rows(drug) if row.gene == gene]
            reasons = dict.fromkeys(row.reading for row in here if not isinstance(row, UsableRow))
            why = f"; it has rows that cannot be used: {', '.join(reasons)}" if reasons else ""
            said.append(f"no published row of {drug} for {gene} {_known_pair(gene, given, tables)}{why}")
    return tuple(said)


@dataclass(frozen=True)
class _Reading:
    parameter: EffectParameter | None
    how: str
    inverse: bool = False


_CLEARANCE = _Reading(EffectParameter.CLEARANCE, "as published")
_VMAX = _Reading(EffectParameter.VMAX, "as published")
_KM = _Reading(EffectParameter.KM, "as published")
_FROM_AUC = _Reading(
    EffectParameter.CLEARANCE, "1/ratio of the AUC at constant dose: clearance over bioavailability", True
)
_SATURABLE = _Reading(
    EffectParameter.CLEARANCE,
    "1/ratio of the AUC at constant dose: clearance at this dose only, as elimination is saturable; the Vmax "
    "and Km of the same patients say the same",
    True,
)
_ACID = _Reading(
    EffectParameter.CLEARANCE,
    "1/ratio of the AUC at constant dose: clearance of simvastatin acid over the share that is formed",
    True,
)
_NO_GENOTYPE = _Reading(None, "a typical value, of no genotype")
_SAMPLE = _Reading(None, "a concentration at one time, not an AUC at constant dose")
_METABOLITE = _Reading(None, "of a metabolite, whose formation and elimination may both change")
_READINGS: Mapping[str, _Reading] = {
    "apparent oral clearance of S-warfarin": _CLEARANCE,
    "apparent oral clearance CL/F": _CLEARANCE,
    "apparent clearance of amitriptyline": _CLEARANCE,
    "clearance": _CLEARANCE,
    "clearance (before auto-inhibition)": _Reading(
        EffectParameter.CLEARANCE, "as published: clearance before auto-inhibition"
    ),
    "S-warfarin elimination rate constant used for loading doses": _Reading(
        EffectParameter.CLEARANCE, "the elimination rate constant, CL/V, at the same volume"
    ),
    "Vmax": _VMAX,
    "Vmax (Michaelis-Menten)": _VMAX,
    "Vmax at 300 mg/m2": _VMAX,
    "Vmax at 450 mg/m2": _VMAX,
    "Km": _KM,
    "Km at 300 mg/m2": _KM,
    "Km at 450 mg/m2": _KM,
    "EC50 of S-warfarin on INR": _Reading(EffectParameter.EC50, "as published"),
    "steady-state S-warfarin concentration at target INR": _Reading(
        EffectParameter.EC50, "the concentration that has the same effect is in proportion to EC50"
    ),
    "AUC": _FROM_AUC,
    "AUC after a single dose": _FROM_AUC,
    "AUC after a single controlled-release dose": _FROM_AUC,
    "atorvastatin AUC": _FROM_AUC,
    "AUC at 300 mg/m2": _SATURABLE,
    "AUC at 450 mg/m2": _SATURABLE,
    "simvastatin acid AUC": _ACID,
    "dose-normalised trough concentration": _SAMPLE,
    "serum concentration 12 h after 300 mg": _SAMPLE,
    "dose-harmonised serum concentration": _SAMPLE,
    "serum concentration harmonised to 100 mg/day": _SAMPLE,
    "steady-state concentration, adjusted": _SAMPLE,
    "tramadol concentration": _SAMPLE,
    "O-desmethyltramadol (M1) concentration": _METABOLITE,
    "active metabolite exposure": _METABOLITE,
    "morphine AUC after 30 mg codeine (median)": _METABOLITE,
    "nortriptyline AUC 0-48 h after amitriptyline": _METABOLITE,
    "SN-38 AUC 0-24 h": _METABOLITE,
    "red-cell thioguanine nucleotides, median": _METABOLITE,
    "exposure": _Reading(None, "an exposure of a review that is not said to be an AUC at constant dose"),
    "NUDT15 nucleotide diphosphatase activity": _Reading(None, "activity in vitro, a range over variants"),
    "AUC ratio (drug-drug-gene interaction)": _Reading(
        None, "what an inhibitor does within one genotype, not what the genotype does"
    ),
}
"""Column `parameter` of pk_effects.csv -> what it says about a parameter of a model."""


@cache
def _published() -> tuple[PublishedRow, ...]:
    return tuple(_row(place, row) for place, row in literature_rows("pk_effects.csv"))


def _row(place: str, row: Mapping[str, str]) -> PublishedRow:
    reading = _READINGS[row["parameter"]] if row["gene"] else _NO_GENOTYPE
    ratio = float(row["ratio"]) if re.fullmatch(r"[\d.]+", row["ratio"]) else None
    made = PublishedRow(
        row["drug"],
        row["gene"],
        row["group"],
        row["reference_group"],
        row["parameter"],
        ratio,
        row["n"],
        row["population"],
        row["source"],
        row["note"],
        place,
        reading.how,
    )
    if reading.parameter is None or ratio is None:
        return made
    return UsableRow(
        **vars(made), parameter=reading.parameter, multiplier=1 / ratio if reading.inverse else ratio
    )


def _known_pair(gene: str, given: Diplotype | str, tables: Tables) -> Diplotype:
    """Return the diplotype, whose alleles are all in the tables, or coding-strand bases of the variant."""
    pair = given if isinstance(given, Diplotype) else Diplotype.parse(given)
    known, bases = tables.alleles(gene), grouping_bases(gene, tables)
    for allele in pair.alleles:
        parsed = Allele.parse(allele)
        parts = [str(unit) for unit in parsed.units] if parsed.kind == "combination" else [allele]
        for part in parts:
            if part not in known and part not in bases:
                raise UnknownAlleleError(
                    f"allele {part!r} of {gene} is not in {tables.version}; use one of "
                    f"{', '.join([*known, *sorted(bases)])}"
                )
    return pair
