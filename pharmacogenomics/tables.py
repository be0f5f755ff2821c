"""CPIC's tables as typed look-ups: frequency, function, activity value and phenotype rules by gene."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TypeVar

SOURCE = "CPIC 1.56.0 (2026-05-01)"
"""Where every number of this module comes from; the licence is in `data/NOTICE.md`."""

NO_SCORE = "n/a"
"""CPIC's own value for "no activity score assigned"; a key of the phenotype rules."""

_T = TypeVar("_T")
_AT_LEAST = "≥"  # CPIC's sign for an open copy number, as in *1x≥3


class UnknownGeneError(ValueError):
    """The tables have no such gene."""


class UnknownGroupError(ValueError):
    """The tables have no frequencies of this gene for this biogeographic group."""


class UnknownAlleleError(ValueError):
    """CPIC gives this allele of the gene no function."""


@dataclass(frozen=True)
class ActivityScore:
    """An activity value of one allele, or the sum of two.

    Attributes
    ----------
    value : the score, dimensionless (CYP2C9 and DPYD 0 to 2, CYP2D6 0 to 6)
    at_least : True when an allele has an open copy number (`*1x≥3`), so that `value` is a lower bound
    """

    value: float
    at_least: bool = False

    def __add__(self, other: "ActivityScore") -> "ActivityScore":
        return ActivityScore(self.value + other.value, self.at_least or other.at_least)

    def __str__(self) -> str:
        return f"{_AT_LEAST if self.at_least else ''}{self.value}"


@dataclass(frozen=True)
class _AlleleRow:
    function: str
    activity: ActivityScore | None


def genes() -> tuple[str, ...]:
    """Every gene with frequencies, in alphabetical order."""
    return tuple(sorted(_frequencies()))


def biogeographic_groups(gene: str) -> tuple[str, ...]:
    """CPIC's biogeographic groups for which the gene has frequencies, in alphabetical order.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    """
    _require_gene(gene)
    return tuple(sorted(_frequencies()[gene]))


def allele_frequencies(gene: str, group: str) -> dict[str, float]:
    """Frequency of each allele in a biogeographic group [CPIC 1.56.0].

    Returns
    -------
    dict : allele, as CPIC names it, to frequency (0 to 1). They sum to 1 within rounding, the reference
        allele included, except for DPYD, whose frequencies are per variant (no distribution over haplotypes).

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownGroupError : the gene has no frequencies for this group; no other group's are borrowed
    """
    return dict(_of_group(_frequencies(), gene, group))


def sample_size(gene: str, group: str) -> int:
    """Number of subjects behind the frequencies of a gene in a group [CPIC 1.56.0].

    Raises
    ------
    UnknownGeneError, UnknownGroupError : as `allele_frequencies`
    """
    return _of_group(_sample_sizes(), gene, group)


def function_alleles(gene: str) -> tuple[str, ...]:
    """Alleles to which CPIC assigns a function, in CPIC's order; none for CYP4F2 and VKORC1.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    """
    _require_gene(gene)
    return tuple(_functions().get(gene, {}))


def clinical_function(gene: str, allele: str) -> str:
    """CPIC's clinical function of an allele, such as `"Decreased function"` [CPIC 1.56.0].

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownAlleleError : CPIC gives the allele no function; an unlisted allele is never read as the reference
    """
    return _allele_row(gene, allele).function


def allele_activity(gene: str, allele: str) -> ActivityScore | None:
    """Activity value of an allele with its `≥`; None where CPIC assigns none.

    Raises
    ------
    UnknownGeneError, UnknownAlleleError : as `clinical_function`
    """
    return _allele_row(gene, allele).activity


def activity_value(gene: str, allele: str) -> float | None:
    """Activity value of an allele, dimensionless; None where CPIC assigns none [CPIC 1.56.0].

    For an open copy number (`*1x≥3` of CYP2D6) this is the lower bound; `allele_activity` says so.

    Raises
    ------
    UnknownGeneError, UnknownAlleleError : as `clinical_function`
    """
    activity = allele_activity(gene, allele)
    return None if activity is None else activity.value


def scored_by_activity(gene: str) -> bool:
    """Whether CPIC finds the phenotype of this gene from an activity score (CYP2C9, CYP2D6, DPYD).

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    """
    return any(not key2 for _, key2 in phenotype_rules(gene))


def phenotype_rules(gene: str) -> dict[tuple[str, str], str]:
    """Phenotype by key: `(activity score or "n/a", "")`, or the two clinical functions in alphabetical order.

    Empty for CYP4F2 and VKORC1, where the genotype itself is used.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    """
    _require_gene(gene)
    return dict(_rules().get(gene, {}))


def _require_gene(gene: str) -> None:
    if gene not in _frequencies():
        raise UnknownGeneError(
            f"gene {gene!r} is not in the tables of {SOURCE}; use one of {', '.join(genes())}"
        )


def _of_group(table: dict[str, dict[str, _T]], gene: str, group: str) -> _T:
    _require_gene(gene)
    if group not in table[gene]:
        raise UnknownGroupError(
            f"{gene} has no frequencies for the group {group!r} in {SOURCE}; "
            f"use one of {', '.join(biogeographic_groups(gene))}"
        )
    return table[gene][group]


def _allele_row(gene: str, allele: str) -> _AlleleRow:
    known = function_alleles(gene)
    if allele not in known:
        allowed = f"use one of {', '.join(known)}" if known else f"{gene} has no function table"
        raise UnknownAlleleError(f"allele {allele!r} of {gene} has no function in {SOURCE}; {allowed}")
    return _functions()[gene][allele]


def _rows(name: str) -> Iterator[dict[str, str]]:
    text = files("dosewright.pharmacogenomics.data").joinpath(name).read_text(encoding="utf-8")
    return csv.DictReader(text.splitlines())


def _activity(cell: str) -> ActivityScore | None:
    if cell in ("", NO_SCORE):
        return None
    return ActivityScore(float(cell.removeprefix(_AT_LEAST)), at_least=cell.startswith(_AT_LEAST))


@cache
def _frequencies() -> dict[str, dict[str, dict[str, float]]]:
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in _rows("allele_frequencies.csv"):
        group = table.setdefault(row["gene"], {}).setdefault(row["biogeographic_group"], {})
        group[row["allele"]] = float(row["frequency"])
    return table


@cache
def _sample_sizes() -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for row in _rows("frequency_sample_sizes.csv"):
        table.setdefault(row["gene"], {})[row["biogeographic_group"]] = int(row["n_subjects_total"])
    return table


@cache
def _functions() -> dict[str, dict[str, _AlleleRow]]:
    table: dict[str, dict[str, _AlleleRow]] = {}
    for row in _rows("allele_function.csv"):
        entry = _AlleleRow(row["clinical_function"], _activity(row["activity_value"]))
        table.setdefault(row["gene"], {})[row["allele"]] = entry
    return table


@cache
def _rules() -> dict[str, dict[tuple[str, str], str]]:
    table: dict[str, dict[tuple[str, str], str]] = {}
    for row in _rows("phenotype_rules.csv"):
        table.setdefault(row["gene"], {})[row["key1"], row["key2"]] = row["phenotype"]
    return table
