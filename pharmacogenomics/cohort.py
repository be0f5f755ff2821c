"""Genotypes of a virtual population: diplotypes drawn from allele frequencies, or enumerated exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Diplotype, coding_strand_allele
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.tables import SUM_TOLERANCE, TABLES, Tables, UnknownGroupError

REFERENCE_OF_VARIANTS: Mapping[str, str] = {"DPYD": "Reference"}
"""Genes whose frequencies are per variant: CPIC's name of the allele that carries none of them."""


# Alleles that the tables count each by itself though they stand on one chromosome: rs887829 (*80) and the
# long TA repeats are in nearly complete linkage (taken as complete: ASSUMPTION). The tables' *1 is what is
# left when both are subtracted, so the linked share is given back to it.
_LINKED = {"UGT1A1": (("*80", "*28", "*80+*28"), ("*80", "*37", "*80+*37"))}


class NoDistributionError(ValueError):
    """The frequencies of a gene form no distribution over alleles."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Genotypes of n virtual people.

    Attributes
    ----------
    groups : (n,) biogeographic group of each person
    genotypes : gene -> (n,) diplotypes as canonical text; of VKORC1 the genotype on the coding strand
    """

    groups: NDArray[np.str_]
    genotypes: Mapping[str, NDArray[np.str_]]


def draw_cohort(genes: Sequence[str], ancestry: Mapping[str, float] | str, n: int, seed: int) -> Cohort:
    """Draw n people from a mixture of ancestries; genes are independent of each other given the group.

    Both alleles of a person come from one group. Environments draw with `draw_diplotypes` and their own
    counter-based numbers; this is the same law for a study of genotypes alone.

    Parameters
    ----------
    genes : genes with frequencies in every group of the mixture
    ancestry : biogeographic group, or groups with shares that add up to 1
    n, seed : number of people (at least 1) and seed; the same seed gives the same people

    Raises
    ------
    UnknownGeneError, UnknownGroupError, NoDistributionError : as `draw_diplotypes`
    ValueError : the shares are no distribution, or n is not positive
    """
    if n < 1:
        raise ValueError(f"n is {n}; expected at least one person")
    shares = ancestry_shares(ancestry)
    generator = np.random.default_rng(seed)
    names = np.array(list(shares))
    groups = names[np.searchsorted(np.cumsum(list(shares.values()))[:-1], generator.random(n), side="right")]
    genotypes = {gene: draw_diplotypes(gene, groups, generator.random((n, 2))) for gene in genes}
    return Cohort(groups, genotypes)


def ancestry_shares(ancestry: Mapping[str, float] | str) -> dict[str, float]:
    """Return biogeographic group -> share of an ancestry, which may be one group's name.

    Raises
    ------
    ValueError : a share is negative, or they do not add up to 1
    """
    shares = {ancestry: 1.0} if isinstance(ancestry, str) else dict(ancestry)
    for group, share in shares.items():
        if not share >= 0:
            raise ValueError(f"ancestry {group!r} has share {share}; expected 0 to 1")
    total = sum(shares.values())
    if abs(total - 1) > 1e-6:
        raise ValueError(f"the ancestry shares {shares} add up to {total:g}; expected 1")
    return {group: share / total for group, share in shares.items() if share > 0}


def phenotype_frequencies(gene: str, group: str, tables: Tables = TABLES) -> dict[str, float]:
    """Exact frequency of each key that recommendations are looked up by, under Hardy-Weinberg proportions.

    Parameters
    ----------
    gene : a gene with frequencies and phenotypes
    group : CPIC biogeographic group

    Returns
    -------
    dict : activity score as text for CYP2C9, CYP2D6 and DPYD (`"n/a"` where none is assigned), else phenotype
        (`Interpretation.key`) -> probability; they add up to the squared sum of the frequencies, 1 but for
        rounding. For DPYD as `draw_diplotypes` assumes

    Raises
    ------
    UnknownGeneError, UnknownGroupError, UnknownAlleleError : there are no frequencies, or no functions
    """
    table = {a: f for a, f in chromosome_frequencies(gene, group, tables).items() if f > 0}
    found: dict[str, float] = {}
    for one, other in combinations_with_replacement(table, 2):
        key = interpret(gene, Diplotype(one, other), tables).key
        if key is not None:
            found[key] = found.get(key, 0.0) + table[one] * table[other] * (1 if one == other else 2)
    return found


def draw_diplotypes(
    gene: str,
    groups: NDArray[np.str_],
    uniforms: NDArray[np.float64],
    frequencies: Mapping[str, Mapping[str, float]] | None = None,
) -> NDArray[np.str_]:
    """Two independent alleles per person from the frequencies of the person's group (Hardy-Weinberg).

    A pure function: all randomness is in `uniforms`. A person's draw depends on that person's row only.

    Parameters
    ----------
    gene : one of `TABLES.genes()`. The frequencies of DPYD are per variant: a chromosome carries one of the
        variants that change the function, each with its frequency, or none (reference); that no chromosome
        carries two is an ASSUMPTION
    groups : (n,) CPIC biogeographic group of each person
    uniforms : (n, 2) numbers in [0, 1), one for each allele
    frequencies : group to allele to frequency, instead of the tables', for a gene that they lack

    Returns
    -------
    (n,) diplotypes as canonical text; of VKORC1 the genotype on the coding strand: GG, GA or AA

    Raises
    ------
    UnknownGeneError, UnknownGroupError : there are no frequencies
    NoDistributionError : the frequencies do not sum to 1
    ValueError : a shape does not fit, or a uniform lies outside [0, 1)
    """
    groups, uniforms = _checked(groups, uniforms)
    tables = {group: allele_distribution(gene, group, frequencies) for group in np.unique(groups).tolist()}
    names = list(dict.fromkeys(name for table in tables.values() for name in table))
    drawn = np.empty(uniforms.shape, dtype=np.intp)
    for group, table in tables.items():
        rows = groups == group
        # Scaled so that the last sum is exactly 1: every u < 1 then falls on an allele of positive frequency.
        cumulative = np.cumsum(list(table.values()))
        in_table = np.searchsorted(cumulative / cumulative[-1], uniforms[rows], side="right")
        # Searched in the group's own order, so that no draw depends on which other groups are present.
        drawn[rows] = np.array([names.index(name) for name in table])[in_table]
    pairs, index = np.unique(drawn[:, 0] * len(names) + drawn[:, 1], return_inverse=True)
    labels = [str(Diplotype(names[pair // len(names)], names[pair % len(names)])) for pair in pairs.tolist()]
    return np.array(labels, dtype=np.str_)[index]


def allele_distribution(
    gene: str, group: str, frequencies: Mapping[str, Mapping[str, float]] | None = None
) -> dict[str, float]:
    """Return allele to probability on one chromosome, in one group; parameters and errors as
    `draw_diplotypes`.

    Alleles are named on the coding strand.
    """
    if frequencies:
        if group not in frequencies:
            raise UnknownGroupError(
                f"{gene} has no frequencies for {group!r}; there are some for: {', '.join(frequencies)}"
            )
        table = dict(frequencies[group])
    else:
        table = chromosome_frequencies(gene, group, TABLES)
    total = sum(table.values())
    if abs(total - 1) > SUM_TOLERANCE:
        raise NoDistributionError(
            f"the {gene} frequencies of {group!r} sum to {total:.4f}: they form no distribution over "
            f"alleles; "
            "give one frequency for each allele, with sum 1"
        )
    return {coding_strand_allele(gene, allele): frequency for allele, frequency in table.items()}


def chromosome_frequencies(gene: str, group: str, tables: Tables = TABLES) -> dict[str, float]:
    """Return allele -> frequency on one chromosome; of a gene with frequencies per variant (DPYD), of the
    variants that change the function and of the reference, as if no chromosome carried two (ASSUMPTION).
    UGT1A1 *80 is on the chromosomes with *28 or *37 (ASSUMPTION).

    Raises
    ------
    UnknownGeneError, UnknownGroupError : there are no frequencies
    """
    table = dict(tables.allele_frequencies(gene, group))
    if gene in REFERENCE_OF_VARIANTS:
        normal = {allele for allele in table if tables.clinical_function(gene, allele) == "Normal function"}
        changed = {allele: frequency for allele, frequency in table.items() if allele not in normal}
        table = {REFERENCE_OF_VARIANTS[gene]: 1 - sum(changed.values()), **changed}
    for one, other, both in _LINKED.get(gene, ()):
        if one in table and other in table and both not in table:
            linked = min(table[one], table[other])
            table[one] -= linked
            table[other] -= linked
            table[both] = linked
            table["*1"] += linked
    return table


def _checked(
    groups: NDArray[np.str_], uniforms: NDArray[np.float64]
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    groups, uniforms = np.asarray(groups, dtype=np.str_), np.asarray(uniforms, dtype=np.float64)
    if groups.ndim != 1 or uniforms.shape != (groups.size, 2):
        raise ValueError(
            f"groups has shape {groups.shape} and uniforms {uniforms.shape}; expected (n,) and (n, 2)"
        )
    outside = ~((uniforms >= 0) & (uniforms < 1))  # written so that NaN is outside
    if outside.any():
        row, column = np.argwhere(outside)[0]
        raise ValueError(f"uniforms[{row}, {column}] is {uniforms[row, column]}; expected numbers in [0, 1)")
    return groups, uniforms
