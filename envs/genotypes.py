"""Genotypes as a model and an observation see them: alleles read by the terms of a population model."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.pharmacology import GenotypeTerm
from dosewright.pharmacogenomics import (
    DRAWS,
    TABLES,
    AlleleReading,
    Diplotype,
    Reads,
    Sequencing,
    UnknownAlleleError,
    UnknownGeneError,
    allele_distribution,
    allele_sum,
    coding_strand_allele,
    expected_alleles,
    phenotype,
    represent,
    sequence,
    table_allele,
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


SEQUENCING = Sequencing(depth=4.0, error=0.01, missing=0.1)
"""How people are genotyped where an agent sees a posterior: low-coverage sequencing, of which a tenth of the
positions fails (ASSUMPTION)."""


def expected_counts(
    terms: Sequence[GenotypeTerm],
    genotypes: Mapping[str, NDArray[np.str_]],
    groups: NDArray[np.str_],
    ids: NDArray[np.int64],
    noise: Noise,
) -> dict[str, Floats]:
    """Return, by observation entry, the expected number (n,) of alleles of each modelled kind but the first,
    given reads of each person and the person's biogeographic group.

    Reads are as `SEQUENCING` makes them, a pure function of `ids` and `noise`. Of a gene without positions in
    the tables (GSTA1) nothing is read, and ancestry alone speaks.

    Parameters
    ----------
    terms : of the model
    genotypes : gene -> (n,) true diplotypes
    groups : (n,) biogeographic groups
    ids : (n,) whose reads they are

    Raises
    ------
    UnknownGroupError
        For a group without frequencies of a gene.
    """
    counts: dict[str, Floats] = {}
    numbers: dict[str, int] = {}
    for term in terms:
        number = numbers.setdefault(term.gene, len(numbers))
        if term.gene in TABLES.genes():
            reads = _sequenced(term.gene, genotypes[term.gene], ids, noise, number)
            names, copies = expected_alleles(reads, groups, term.frequencies)
            modelled = _modelled(term)
            for i, allele in enumerate(term.per_allele):
                if i:
                    here = [_stands_for(term, name, modelled) == allele for name in names]
                    counts[allele_entry(term.gene, allele)] = copies[:, here].sum(axis=1)
        else:
            table = {str(group): group_frequencies(term, str(group)) for group in np.unique(groups)}
            for i, allele in enumerate(term.per_allele):
                if i:
                    counts[allele_entry(term.gene, allele)] = np.array([2 * table[str(g)][i] for g in groups])
    return counts


def _sequenced(
    gene: str, diplotypes: NDArray[np.str_], ids: NDArray[np.int64], noise: Noise, number: int
) -> Reads:
    """Return the reads of a gene; `number` gives every gene event numbers of its own."""
    positions = len(TABLES.positions(gene))
    pairs = (DRAWS + 1) // 2  # two uniforms an event
    events = _EVENTS_PER_GENE * number + np.arange(pairs * positions)
    uniforms = noise.uniforms(ids, Stream.READS, events).reshape(len(ids), positions, 2 * pairs)
    in_tables = {
        text: "/".join(table_allele(gene, allele) for allele in Diplotype.parse(text).alleles)
        for text in np.unique(diplotypes).tolist()
    }
    named = np.array([in_tables[text] for text in diplotypes.tolist()])
    return sequence(gene, named, uniforms[:, :, :DRAWS], SEQUENCING)


_EVENTS_PER_GENE = 4096


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
            total[_stands_for(term, allele, modelled)] += frequency
    return tuple(total.values())


def _stands_for(term: GenotypeTerm, allele: str, modelled: Mapping[str, float]) -> str:
    """Return the allele of `per_allele` as which an allele of the tables counts."""
    name = coding_strand_allele(term.gene, allele)
    stands_for = represent(term.gene, name, modelled, term.by_function).stands_for
    return term.same_as.get(stands_for, stands_for)


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


def phenotype_shares(term: GenotypeTerm, group: str, pairs: Sequence[tuple[str, str]]) -> dict[float, Floats]:
    """Return, by code of CPIC's phenotype (NaN: indeterminate), the share (c,) of the people of a
    biogeographic group who have it and whose alleles are read as each of `pairs`."""
    return {code: np.array(shares) for code, shares in _read_phenotypes(_Hashable(term), group, tuple(pairs))}


@lru_cache
def _read_phenotypes(
    key: _Hashable, group: str, pairs: tuple[tuple[str, str], ...]
) -> tuple[tuple[float, tuple[float, ...]], ...]:
    term, gene = key.term, key.term.gene
    modelled = _modelled(term)
    held = [
        (coding_strand_allele(gene, allele), _stands_for(term, allele, modelled), frequency)
        for allele, frequency in allele_distribution(gene, group, term.frequencies).items()
        if frequency > 0
    ]
    both = [(a, b) for i, a in enumerate(held) for b in held[i:]]
    codes = phenotype_codes(gene, np.array([f"{a[0]}/{b[0]}" for a, b in both]))
    place = {frozenset(pair): i for i, pair in enumerate(pairs)}
    shares: dict[float, list[float]] = {}
    for (a, b), code in zip(both, codes.tolist(), strict=True):
        here = place.get(frozenset((a[1], b[1])))
        if here is not None:
            known = math.nan if math.isnan(code) else code
            row = shares.setdefault(known, [0.0] * len(pairs))
            row[here] += a[2] * b[2] * (1 if a is b else 2)
    return tuple((code, tuple(row)) for code, row in shares.items())


def allele_entry(gene: str, allele: str) -> str:
    """Name of the observation entry that counts `allele`."""
    return f"{gene.lower()}_{allele}"
