"""How an allele is read by a model that was fitted without it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.tables import TABLES

_UNCERTAIN_FUNCTIONS = ("Uncertain function", "Unknown function")


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
