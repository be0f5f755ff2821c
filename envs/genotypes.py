"""Genotypes as a model and an observation see them: alleles read by the terms of a population model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import GenotypeTerm
from dosewright.pharmacogenomics import (
    AlleleReading,
    UnknownAlleleError,
    UnknownGeneError,
    allele_distribution,
    allele_sum,
    phenotype,
    represent,
)

Floats = NDArray[np.float64]


def genotype_effects(
    terms: Sequence[GenotypeTerm], genotypes: Mapping[str, NDArray[np.str_]]
) -> tuple[dict[str, Floats], dict[str, int]]:
    """Return the effects that `PopulationModel.typical` needs, and how many alleles were read as another.

    Raises
    ------
    ValueError
        For a pair of alleles that the model has no value for.
    """
    effects, substituted = {}, Counter[str]()
    for term in terms:
        modelled = _modelled(term)
        values, counts = allele_sum(genotypes[term.gene], term.gene, modelled, term.by_function)
        effects[term.effect] = _pair_values(term, genotypes[term.gene]) if term.pairs else values
        for reading, number in counts.items():
            if reading is not AlleleReading.MODELLED and number:
                substituted[f"{term.gene}: {reading.value}"] += number
    return effects, dict(substituted)


def _modelled(term: GenotypeTerm) -> dict[str, float]:
    """Return the contribution of every allele the model has a value for."""
    return {**term.per_allele, **{alias: term.per_allele[name] for alias, name in term.same_as.items()}}


def _carried(term: GenotypeTerm, allele: str, diplotypes: NDArray[np.str_]) -> Floats:
    """Return how many alleles (n,), 0 to 2, count as `allele` in the model."""
    indicator = {name: float(name == allele or term.same_as.get(name) == allele) for name in _modelled(term)}
    return allele_sum(diplotypes, term.gene, indicator, term.by_function)[0]


def _pair_values(term: GenotypeTerm, diplotypes: NDArray[np.str_]) -> Floats:
    """Return the value (n,) of each pair of alleles."""
    carried = {allele: _carried(term, allele, diplotypes) for allele in term.per_allele}
    values = np.full(len(diplotypes), np.nan)
    for (a, b), value in term.pairs.items():
        here = (carried[a] == 2) if a == b else (carried[a] == 1) & (carried[b] == 1)
        values[here] = value
    if np.isnan(values).any():
        where = int(np.argmax(np.isnan(values)))
        known = ", ".join(f"{a}/{b}" for a, b in term.pairs)
        raise ValueError(
            f"person {where}: {term.gene} {diplotypes[where]} has no value in the model; it has: {known}"
        )
    return values


def allele_counts(
    terms: Sequence[GenotypeTerm], genotypes: Mapping[str, NDArray[np.str_]]
) -> dict[str, Floats]:
    """Return, by observation entry, how many alleles of each modelled kind but the first a person carries (0
    to 2).

    An allele the model has no value for counts as the one that stands in for it.
    """
    return {
        allele_entry(term.gene, allele): _carried(term, allele, genotypes[term.gene])
        for term in terms
        for allele in list(term.per_allele)[1:]
    }


def expected_counts(terms: Sequence[GenotypeTerm], groups: NDArray[np.str_]) -> dict[str, Floats]:
    """Return, by observation entry, the expected number of alleles in each person's biogeographic group:
    what is known of a genotype that was not tested."""
    counts = {}
    for term in terms:
        table = {str(group): group_frequencies(term, str(group)) for group in np.unique(groups)}
        for i, allele in enumerate(term.per_allele):
            if i:
                counts[allele_entry(term.gene, allele)] = np.array([2 * table[str(g)][i] for g in groups])
    return counts


def group_frequencies(term: GenotypeTerm, group: str) -> Floats:
    """Return the frequencies (a,) of the modelled alleles in a biogeographic group, other alleles read
    by their function."""
    return np.array(_read_group(_Hashable(term), group))


@dataclass(frozen=True)
class _Hashable:
    """A genotype term as a key: terms hold mappings."""

    term: GenotypeTerm

    def __hash__(self) -> int:
        return id(self.term)


@lru_cache
def _read_group(key: _Hashable, group: str) -> tuple[float, ...]:
    term = key.term
    modelled = _modelled(term)
    total = dict.fromkeys(term.per_allele, 0.0)
    for allele, frequency in allele_distribution(term.gene, group, term.frequencies).items():
        if frequency > 0:
            stands_for = represent(term.gene, allele, modelled, term.by_function).stands_for
            total[term.same_as.get(stands_for, stands_for)] += frequency
    return tuple(total.values())


# CPIC's phenotypes on an ordinal scale, as an observation shows them
PHENOTYPE_CODES = (
    (0, "poor"),
    (1, "intermediate"),
    (2, "normal"),
    (3, "rapid"),
    (4, "ultrarapid metabolizer"),
)


def phenotyped(terms: Sequence[GenotypeTerm]) -> tuple[str, ...]:
    """Return the genes of `terms` for which CPIC has phenotypes; of the others the alleles themselves
    are seen."""
    known = []
    for term in terms:
        first = next(iter(term.per_allele))
        try:
            if phenotype(term.gene, f"{first}/{first}") is not None:
                known.append(term.gene)
        except (UnknownGeneError, UnknownAlleleError):
            continue
    return tuple(dict.fromkeys(known))


def phenotype_entry(gene: str) -> str:
    """Name of the observation entry that holds the phenotype of `gene`."""
    return f"{gene.lower()}_phenotype"


def phenotype_codes(gene: str, diplotypes: NDArray[np.str_]) -> Floats:
    """Return (n,) the codes of `PHENOTYPE_CODES`; NaN where CPIC's phenotype is indeterminate."""
    codes = {}
    for text in np.unique(diplotypes).tolist():
        words = (phenotype(gene, text) or "").lower()
        order = ((4, "ultrarapid"), (3, "rapid"), (1, "intermediate"), (0, "poor"), (2, "normal"))
        codes[text] = next((float(code) for code, word in order if word in words), math.nan)
    return np.array([codes[text] for text in diplotypes.tolist()])


def allele_entry(gene: str, allele: str) -> str:
    """Name of the observation entry that counts `allele`."""
    return f"{gene.lower()}_{allele}"
