"""Draw diplotypes of virtual people from allele frequencies."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Diplotype, coding_strand_allele
from dosewright.pharmacogenomics.tables import TABLES, UnknownGroupError

# The tables' sums differ from 1 by rounding, at most 2e-7; DPYD's per-variant frequencies by 0.14 or more.
_SUM_TOLERANCE = 1e-3
# Genes whose frequencies are per variant: CPIC's name of the allele that carries none of them
_PER_VARIANT = {"DPYD": "Reference"}


class NoDistributionError(ValueError):
    """The frequencies of a gene form no distribution over alleles."""


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
        table = dict(TABLES.allele_frequencies(gene, group))
        if gene in _PER_VARIANT:
            changed = {
                a: f for a, f in table.items() if TABLES.clinical_function(gene, a) != "Normal function"
            }
            table = {_PER_VARIANT[gene]: 1 - sum(changed.values()), **changed}
    total = sum(table.values())
    if abs(total - 1) > _SUM_TOLERANCE:
        raise NoDistributionError(
            f"the {gene} frequencies of {group!r} sum to {total:.4f}: they form no distribution over "
            f"alleles; "
            "give one frequency for each allele, with sum 1"
        )
    return {coding_strand_allele(gene, allele): frequency for allele, frequency in table.items()}


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
