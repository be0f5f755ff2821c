"""Who is in a group as a study names it: `*1/*3`, `516G>T T/T`, `PM`, `activity 0.5`, `poor function`."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeAlias

from dosewright.pharmacogenomics.alleles import Allele, Diplotype
from dosewright.pharmacogenomics.phenotype import activity_score, phenotype
from dosewright.pharmacogenomics.tables import Position, Tables

# by the bases of this variant, on the coding strand, studies group people
_GROUPING_VARIANTS = {"VKORC1": "rs9923231", "CYP2B6": "rs3745274", "ABCG2": "rs2231142"}
_COMPLEMENT = str.maketrans("ACGT", "TGCA")
_PHENOTYPES = {
    "UM": "Ultrarapid Metabolizer",
    "NM": "Normal Metabolizer",
    "IM": "Intermediate Metabolizer",
    "PM": "Poor Metabolizer",
    "poor function": "Poor Function",
    "decreased function": "Decreased Function",
}
# pairs of clinical functions, in alphabetical order. The statin studies take one increased-function allele of
# SLCO1B1 out of the normal group, which CPIC's phenotype does not; people with two are the highly increased
_FUNCTION_PAIRS = {
    "homozygous NM": ("Normal function", "Normal function"),
    "heterozygous NM": ("No function", "Normal function"),
    "heterozygous NM (IM)": ("No function", "Normal function"),
    "normal function": ("Normal function", "Normal function"),
    "highly increased function": ("Increased function", "Increased function"),
}

_Test: TypeAlias = Callable[[re.Match[str], str, Diplotype, Tables], bool]


def _is_diplotype(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return pair == Diplotype.parse(group[0])


def _has_bases(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return sorted(_base(gene, allele, tables) for allele in pair.alleles) == sorted(group.group(1, 2))


def _has_phenotype(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return phenotype(gene, pair, tables) == _PHENOTYPES[group[0]]


def _has_functions(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return _functions(gene, pair, tables) == _FUNCTION_PAIRS[group[0]]


def _has_lost_function(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return "No function" in _functions(gene, pair, tables)


def _has_lost_none(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return set(_functions(gene, pair, tables)) <= {"Normal function", "Increased function"}


def _has_score(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    score = activity_score(gene, pair, tables)
    return score is not None and not score.at_least and score.value == float(group[1])


def _has_one_variant(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    # CPIC adds the star name: c.1905+1G>A (*2A)
    names = {allele.split(" (")[0] for allele in pair.alleles}
    return names == {tables.gene(gene).reference_allele, group[1]}


def _is_wild_type(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return set(pair.alleles) == {tables.gene(gene).reference_allele}


def _has_one_of(group: re.Match[str], gene: str, pair: Diplotype, tables: Tables) -> bool:
    return any(pair == Diplotype("*1", allele) for allele in group.group(1, 2))


_GROUPS: tuple[tuple[re.Pattern[str], _Test], ...] = tuple(
    (re.compile(pattern), test)
    for pattern, test in (
        (r"\*\d+/\*\d+", _is_diplotype),
        (r"(?:rs9923231 |516G>T )?([ACGT])/([ACGT])(?: \(coding strand\))?", _has_bases),
        (r"c\.421([ACGT])([ACGT])", _has_bases),
        ("|".join(map(re.escape, _PHENOTYPES)), _has_phenotype),
        ("|".join(map(re.escape, _FUNCTION_PAIRS)), _has_functions),
        (r"one or more loss-of-function alleles", _has_lost_function),
        (r"none", _has_lost_none),
        (r"activity ([\d.]+)", _has_score),
        (r"(c\.\S+) heterozygous", _has_one_variant),
        (r"wild type", _is_wild_type),
        (r"IM \((\*\d+) or (\*\d+) heterozygote\)", _has_one_of),
    )
)


def _functions(gene: str, pair: Diplotype, tables: Tables) -> tuple[str, str]:
    first, second = sorted(tables.clinical_function(gene, allele) for allele in pair.alleles)
    return first, second


def _grouping_position(gene: str, tables: Tables) -> list[Position]:
    return [item for item in tables.positions(gene) if item.rsid == _GROUPING_VARIANTS.get(gene)]


def _base(gene: str, allele: str, tables: Tables) -> str:
    """Return the coding-strand base of an allele at the gene's variant, "" where that is left open."""
    if Allele.parse(allele).kind == "base":
        return allele
    (position,) = _grouping_position(gene, tables)
    for definition in tables.definitions(gene):
        if definition.name == allele and position.pos not in definition.either:
            base = definition.core.get(position.pos, position.ref)
            return base.translate(_COMPLEMENT) if tables.gene(gene).strand == "-" else base
    return ""


def grouping_bases(gene: str, tables: Tables) -> frozenset[str]:
    """Coding-strand bases at the gene's grouping variant; none for a gene without one.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    """
    reverse = tables.gene(gene).strand == "-"
    bases = [base for item in _grouping_position(gene, tables) for base in (item.ref, *item.alts)]
    return frozenset(base.translate(_COMPLEMENT) if reverse else base for base in bases)


def in_group(gene: str, group: str, pair: Diplotype, tables: Tables) -> bool:
    """Return whether a diplotype is in a group; False where it leaves that open.

    Raises
    ------
    UnknownGeneError, UnknownAlleleError : the gene or an allele is not in the tables
    ValueError : the group's name has no known form
    """
    for pattern, test in _GROUPS:
        found = pattern.fullmatch(group)
        if found is not None:
            return test(found, gene, pair, tables)
    raise ValueError(
        f"group {group!r} of {gene} has no known form; write a diplotype, bases (A/G), PM, IM, NM or UM, "
        "'activity 1', or one of the other forms in pk_effects.csv"
    )
