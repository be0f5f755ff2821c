"""Reads of people whose diplotype is known: what a sequencer would have seen.

`posterior` reasons back from such reads. They calibrate it in the tests, and environments show an agent what
is left of a genotype after sequencing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom, poisson

from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.haplotypes import Haplotypes, haplotypes
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import TABLES, Position, Tables

Floats = NDArray[np.float64]

DRAWS = 5
"""Uniforms a position: missing, depth, and at most three divisions of the reads among four bases."""


@dataclass(frozen=True)
class Sequencing:
    """How a sample is sequenced.

    Attributes
    ----------
    depth : mean number of reads at a position of which a person has two copies
    error : probability that a read shows a wrong base, each of the others alike; above 0, below 0.5
    missing : probability that a position fails altogether

    Raises
    ------
    ValueError : a number lies outside its range
    """

    depth: float
    error: float
    missing: float

    def __post_init__(self) -> None:
        if not self.depth > 0 or not 0 < self.error < 0.5 or not 0 <= self.missing < 1:
            raise ValueError(
                f"depth {self.depth}, error {self.error}, missing {self.missing}; expected depth above 0, "
                "0 < error < 0.5 and 0 <= missing < 1"
            )


@dataclass(frozen=True, eq=False)
class Reads:
    """What was seen of n people at the p positions of a gene.

    Attributes
    ----------
    gene, positions : the gene, and its positions in the tables' order
    counts : p arrays (n, b), reads of each base: the reference first, then the alternatives
    error : probability that a read shows a wrong base
    """

    gene: str
    positions: tuple[Position, ...]
    counts: tuple[NDArray[np.int64], ...]
    error: float

    @cached_property
    def evidence(self) -> dict[int, Floats]:
        """Row of a position -> (n, b²): log P(reads | ordered pair of bases), up to a constant."""
        found: dict[int, Floats] = {}
        for row, counts in enumerate(self.counts):
            bases = counts.shape[1]
            one = np.full((bases, bases), self.error / (bases - 1))
            np.fill_diagonal(one, 1 - self.error)
            pair = (one[:, None] + one[None, :]) / 2  # (a, b, read)
            found[row] = np.matmul(counts.astype(np.float64), np.log(pair).reshape(-1, bases).T)
        return found

    def sites(self, person: int) -> dict[int, Site]:
        """Return what a VCF would say of one person: the most likely genotype with its quality and the
        likelihoods of all; positions without reads are missing."""
        found: dict[int, Site] = {}
        evidence = self.evidence
        for row, position in enumerate(self.positions):
            counts = self.counts[row][person]
            if counts.sum() == 0:
                found[position.pos] = Site(note="no reads")
                continue
            bases = (position.ref, *position.alts)
            table = evidence[row][person].reshape(len(bases), len(bases))
            pairs = {(min(a, b), max(a, b)): (i, j) for i, a in enumerate(bases) for j, b in enumerate(bases)}
            likelihoods = {pair: float(table[place]) for pair, place in pairs.items()}
            order = sorted(likelihoods, key=lambda pair: -likelihoods[pair])
            margin = likelihoods[order[0]] - likelihoods[order[1]]
            called = sorted(order[0], key=bases.index)
            found[position.pos] = Site(
                alleles=tuple(called),
                depth=int(counts.sum()),
                quality=min(10 / np.log(10) * margin, 99.0),
                log_likelihoods=likelihoods,
                origin=Origin.RECORD,
                note="",
            )
        return found


def sequence(
    gene: str,
    diplotypes: NDArray[np.str_],
    uniforms: Floats,
    assay: Sequencing,
    tables: Tables = TABLES,
) -> Reads:
    """Draw reads: a Poisson number at each position, in proportion to the gene copies, of bases in proportion
    to the copies that carry them. A base that an allele leaves open is the reference if that fits.

    A pure function: all randomness is in `uniforms`, and a person's reads depend on that person's row only.

    Parameters
    ----------
    gene : one of `tables.genes()`
    diplotypes : (n,) as text, alleles as the tables name them
    uniforms : (n, p, 5) numbers in [0, 1) for p positions
    assay : how they are sequenced

    Raises
    ------
    UnknownGeneError, InvalidDiplotypeError : the gene is not in the tables; a text does not name two alleles
    ValueError : the uniforms have another shape
    """
    labels, index = np.unique(np.asarray(diplotypes, dtype=np.str_), return_inverse=True)
    pairs = [Diplotype.parse(label).alleles for label in labels.tolist()]
    names = tuple(dict.fromkeys(allele for pair in pairs for allele in pair))
    known = haplotypes(gene, names, tables)
    expected = (len(index), len(known.positions), DRAWS)
    if uniforms.shape != expected:
        raise ValueError(
            f"uniforms has shape {uniforms.shape}; expected {expected}: people, positions of {gene}, draws"
        )
    who = np.array([[names.index(allele) for allele in pair] for pair in pairs])[index]
    counts = tuple(
        _reads(_copies_of_bases(known, row)[who].sum(axis=1), uniforms[:, row], assay)
        for row in range(len(known.positions))
    )
    return Reads(gene, known.positions, counts, assay.error)


def _copies_of_bases(known: Haplotypes, row: int) -> Floats:
    """Return (k, b): copies of each base on a chromosome with each allele."""
    position = known.positions[row]
    bases = (position.ref, *position.alts)
    table = np.zeros((len(known.shown[row]), len(bases)))
    for content, copies in enumerate(known.shown[row]):
        for copy in copies:
            table[content, bases.index(min(copy, key=bases.index))] += 1
    return table[known.which[row]]


def _reads(copies: Floats, uniforms: Floats, assay: Sequencing) -> NDArray[np.int64]:
    """Return (n, b) reads of people with (n, b) copies of each base, from (n, 5) uniforms."""
    total, bases = copies.sum(axis=1), copies.shape[1]
    depth = poisson.ppf(uniforms[:, 1], assay.depth * total / 2)
    left = np.where((uniforms[:, 0] < assay.missing) | (total == 0), 0, np.nan_to_num(depth)).astype(np.int64)
    share = copies / np.maximum(total, 1)[:, None]
    seen = share * (1 - assay.error) + (1 - share) * assay.error / (bases - 1)
    counts, rest = np.zeros(copies.shape, dtype=np.int64), np.ones(len(copies))
    for base in range(bases - 1):  # one base after the other, each out of the reads that are left
        chance = np.clip(seen[:, base] / np.maximum(rest, 1e-300), 0, 1)
        counts[:, base] = np.where(left > 0, binom.ppf(uniforms[:, 2 + base], np.maximum(left, 1), chance), 0)
        left = left - counts[:, base]
        rest = rest - seen[:, base]
    counts[:, -1] = left
    return counts
