"""How probable each diplotype is, given what was sequenced and where a person's ancestors lived.

P(diplotype | reads, ancestry) is proportional to P(reads | diplotype) times the product of two allele
frequencies (Hardy-Weinberg, and a little inbreeding), summed over the groups of a mixed ancestry. A position
without data says nothing and leaves the frequencies to speak; a call counts by its quality; gene copies that
short reads cannot see (CYP2D6 deletions, duplications, hybrids) are alleles like others, so that what a
homozygous call may hide stays in the answer instead of being guessed away.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import combinations, permutations, product

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Allele, Diplotype, table_allele
from dosewright.pharmacogenomics.cohort import (
    REFERENCE_OF_VARIANTS,
    allele_distribution,
    ancestry_shares,
    chromosome_frequencies,
)
from dosewright.pharmacogenomics.haplotypes import Copies, Haplotypes, haplotypes
from dosewright.pharmacogenomics.matching import lookup_pair
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.sequencing import Reads
from dosewright.pharmacogenomics.sites import Site
from dosewright.pharmacogenomics.tables import TABLES, Position, Tables

Floats = NDArray[np.float64]

# Chance that one of the two bases of a genotype is wrong whatever the quality says, by reads that are placed
# wrongly or an allele that drops out; that both are has its square (ASSUMPTION)
LEAST_ERROR = 1e-6
# The same for a call that comes without a quality (ASSUMPTION)
ERROR_WITHOUT_QUALITY = 1e-5
# Chance that a phased pair of bases is the wrong way round: phased over the whole chromosome, as statistical
# phasing does, and within a phase set, as reads show it (ASSUMPTION)
SWITCH_ERROR, SWITCH_ERROR_IN_SET = 1e-2, 1e-4
# Chance that the two alleles of a person are one by descent: parents are a little related (ASSUMPTION)
INBREEDING = 1e-3
# P(a genotype is called | the person has no copy of the gene to be read): artefacts only (ASSUMPTION)
CALLED_WITHOUT_COPY = 1e-3
# Share of chromosomes with an allele that the tables name without a frequency in the group: nobody looked for
# it there, or it was counted as *1 (ASSUMPTION)
UNLISTED = 0.01
# No allele is rarer on a chromosome than this: it has a name because someone carries it, and a study that did
# not find it must not outweigh a call of good quality (ASSUMPTION)
LEAST_FREQUENCY = 1e-5
# Two variants of DPYD stand on one chromosome this much more seldom than chance would bring them there: rare
# ones arose on different chromosomes, and recombination between them is slow (ASSUMPTION)
TOGETHER = 0.1
_TRIED_TOGETHER = 4  # variants of one person
# Alleles that the frequencies still count as another one, and their share of it (ASSUMPTION): *38 is the
# GRCh38 sequence, and was named after the studies were made; *28 and *37 of UGT1A1 mostly stand on one
# chromosome with *80, where that was not looked for
COUNTED_AS = {
    ("CYP2C19", "*38"): ("*1", 0.05),
    ("UGT1A1", "*80+*28"): ("*28", 0.95),
    ("UGT1A1", "*80+*37"): ("*37", 0.95),
}
# Diplotypes less probable than this are left out of a result
_NEGLIGIBLE = 1e-9
NO_PHENOTYPE = "not assigned"
"""Phenotype of a diplotype with an allele to which no function is assigned at all."""


@dataclass(frozen=True)
class Posterior:
    """What is known of one gene of one person.

    Attributes
    ----------
    gene : its symbol
    ancestry : biogeographic group -> share, as given
    diplotypes : diplotype -> probability, the most probable first; those below 1e-9 are left out
    phenotypes : phenotype -> probability, the most probable first; empty for CYP4F2 and VKORC1. The key
        `not assigned` holds diplotypes with an allele that has no function in the tables
    copies : number of readable gene copies -> probability; deletions give 1 or 0, duplications 3 or more
    positions_read, positions : positions with a genotype, and all of the gene
    source : curator, version and date of the tables
    """

    gene: str
    ancestry: Mapping[str, float]
    diplotypes: Mapping[Diplotype, float]
    phenotypes: Mapping[str, float]
    copies: Mapping[int, float]
    positions_read: int
    positions: int
    source: str

    @property
    def best(self) -> Diplotype:
        """The most probable diplotype; see its probability before it is used."""
        return next(iter(self.diplotypes))

    def probability(self, diplotype: Diplotype | str) -> float:
        """Return P(diplotype); 0 for one that the prior does not have."""
        pair = diplotype if isinstance(diplotype, Diplotype) else Diplotype.parse(diplotype)
        return self.diplotypes.get(pair, 0.0)


@dataclass(frozen=True, eq=False)
class AllelePrior:
    """Alleles of a gene and their probability on one chromosome, group by group.

    Attributes
    ----------
    gene, names : the gene, and (k,) alleles
    shares : (g,) shares of the groups
    frequencies : (g, k) frequencies in each group
    """

    gene: str
    names: tuple[str, ...]
    shares: Floats
    frequencies: Floats

    @cached_property
    def log_pairs(self) -> Floats:
        """Log probability (k, k) of the ordered pair of alleles; -inf where one has frequency 0."""
        pairs = (1 - INBREEDING) * np.einsum("g,gi,gj->ij", self.shares, self.frequencies, self.frequencies)
        pairs[np.diag_indices(len(self.names))] += INBREEDING * (self.shares @ self.frequencies)
        with np.errstate(divide="ignore"):
            return np.log(pairs)


def allele_prior(gene: str, ancestry: Mapping[str, float] | str, tables: Tables = TABLES) -> AllelePrior:
    """Return allele frequencies as a prior.

    The tables say 0 for an allele that was not found among N people, and nothing for one that was not looked
    for. As a prior both would be certainty. So one chromosome's worth of doubt is spread over the listed
    alleles, (2N f + 1/k) / (2N + 1), the unlisted ones share 1 % alike, and none has less than 1e-5
    (ASSUMPTION). CYP2C19*38, which the frequencies count as *1, has a twentieth of it (ASSUMPTION).

    Parameters
    ----------
    gene : a gene with frequencies
    ancestry : biogeographic group, or groups with shares that add up to 1

    Raises
    ------
    UnknownGeneError, UnknownGroupError : there are no frequencies; none are borrowed
    ValueError : the shares are no distribution
    """
    shares = ancestry_shares(ancestry)
    rows = [_told_apart(gene, chromosome_frequencies(gene, group, tables)) for group in shares]
    names = tuple(
        name
        for name in tables.alleles(gene)
        if gene not in REFERENCE_OF_VARIANTS
        or name == REFERENCE_OF_VARIANTS[gene]
        or tables.clinical_function(gene, name) != "Normal function"
    )
    table = np.array([[row.get(name, 0.0) for name in names] for row in rows])
    table /= table.sum(axis=1, keepdims=True)
    listed = np.array([[name in row for name in names] for row in rows])
    people = np.array([tables.sample_size(gene, group) for group in shares])[:, None]
    doubt = listed / listed.sum(axis=1, keepdims=True)
    table = (2 * people * table + doubt) / (2 * people + 1)
    others = np.where(listed, 0.0, 1 / np.maximum((~listed).sum(axis=1, keepdims=True), 1))
    table = np.where((~listed).any(axis=1, keepdims=True), 1 - UNLISTED, 1.0) * table + UNLISTED * others
    table = np.maximum(table, LEAST_FREQUENCY)
    table /= table.sum(axis=1, keepdims=True)
    return AllelePrior(gene, names, np.array(list(shares.values())), table)


def _with_combinations(prior: AllelePrior, sites: Mapping[int, Site], tables: Tables) -> AllelePrior:
    """Return the prior with the variants of DPYD that were seen in a person also on one chromosome, a tenth
    as common as chance would make that (ASSUMPTION)."""
    if prior.gene not in REFERENCE_OF_VARIANTS:
        return prior
    shown = {pos: {*site.alleles, *site.glimpsed} for pos, site in sites.items()}
    seen = [
        item
        for item in tables.definitions(prior.gene)
        if item.name in prior.names
        and not item.is_reference
        and any(base in shown.get(pos, ()) for pos, base in item.core.items())
    ][:_TRIED_TOGETHER]
    groups = [
        [item.name for item in group]
        for size in range(2, len(seen) + 1)
        for group in combinations(seen, size)
        # HapB3 has both of its variants, each of which has a name of its own
        if not any(one.core.items() < other.core.items() for one, other in permutations(group, 2))
    ]
    if not groups:
        return prior
    names = tuple(str(Allele.parse(f"[{' + '.join(group)}]")) for group in groups)
    column = {name: prior.frequencies[:, i] for i, name in enumerate(prior.names)}
    together = [
        np.prod([column[name] for name in group], axis=0) * TOGETHER ** (len(group) - 1) for group in groups
    ]
    frequencies = np.concatenate([prior.frequencies, np.stack(together, axis=1)], axis=1)
    return AllelePrior(prior.gene, (*prior.names, *names), prior.shares, frequencies)


def _told_apart(gene: str, row: Mapping[str, float]) -> dict[str, float]:
    """Return frequencies in which an allele that was counted as another has its share of it."""
    found = dict(row)
    for (of, name), (other, share) in COUNTED_AS.items():
        if of == gene and name not in found and other in found:
            found[name] = share * found[other]
            found[other] *= 1 - share
    return found


def posterior(
    gene: str, sites: Mapping[int, Site], ancestry: Mapping[str, float] | str, tables: Tables = TABLES
) -> Posterior:
    """Return P(diplotype | what was seen, ancestry) and P(phenotype | …) of one person.

    A call of quality Q is wrong in one base with probability 10^(-Q/10), in both with its square; genotype
    likelihoods (PL) are used instead where there are any. No position speaks against a base by more than 1e-6
    (ASSUMPTION: reads placed wrongly). Of an incomplete genotype (`./1`) the allele that was seen counts.
    Bases that no allele has say nothing. Phased calls count as ordered within their phase set, with one
    switch in ten thousand, over the whole chromosome in a hundred (ASSUMPTION). A position that an allele
    leaves open is taken as the base that fits. DPYD: variants of normal function are left out, and those that
    were seen may stand on one chromosome (`[a + b]`).

    Parameters
    ----------
    gene : a gene with frequencies
    sites : VCF position -> what was seen there; positions that are not listed are missing
    ancestry : biogeographic group, or groups with shares that add up to 1

    Raises
    ------
    UnknownGeneError, UnknownGroupError : there are no frequencies; none are borrowed
    ValueError : the shares are no distribution, or a position is none of the gene
    """
    shares = ancestry_shares(ancestry)
    prior = _with_combinations(_prior(gene, tuple(shares.items()), tables), sites, tables)
    known = haplotypes(gene, prior.names, tables)
    foreign = sites.keys() - {position.pos for position in known.positions}
    if foreign:
        raise ValueError(
            f"position {min(foreign)} is in no definition of {gene} in {tables.version}; "
            "give the sites of this gene, as Genotypes.sites[gene] holds them"
        )
    by_phase: dict[str | None, dict[int, Floats]] = {}
    read = 0
    for row, position in enumerate(known.positions):
        site = sites.get(position.pos, Site())
        if site.called or site.glimpsed:
            read += site.called
            phase = (site.phase_set or "") if site.phased and site.heterozygous else None
            by_phase.setdefault(phase, {})[row] = _evidence(position, site)[None]
    total = prior.log_pairs[None]
    for phase, evidence in by_phase.items():
        seen = log_likelihood(known, evidence)
        # which chromosome of a phase set came from which parent is not known: either way round
        total = total + (seen if phase is None else np.logaddexp(seen, seen.transpose(0, 2, 1)) - math.log(2))
    return _summary(known, _normalised(total)[0], shares, read, tables)


def expected_alleles(
    reads: Reads,
    groups: NDArray[np.str_],
    frequencies: Mapping[str, Mapping[str, float]] | None = None,
    tables: Tables = TABLES,
) -> tuple[tuple[str, ...], Floats]:
    """Expected number of copies of each allele that each virtual person carries, given reads and ancestry.

    The prior is the law that `draw_diplotypes` draws from, as it is: no allele that it does not have is
    possible.

    Parameters
    ----------
    reads : of n people
    groups : (n,) biogeographic group of each
    frequencies : group to allele to frequency, instead of the tables'

    Returns
    -------
    names : (k,) alleles with a frequency in any of the groups, as the tables name them
    numbers : (n, k), 0 to 2, each row adds up to 2

    Raises
    ------
    UnknownGeneError, UnknownGroupError, NoDistributionError : as `draw_diplotypes`
    """
    evidence = reads.evidence
    found: dict[str, Floats] = {}
    for group in np.unique(groups).tolist():
        rows = groups == group
        law = {
            table_allele(reads.gene, allele): frequency
            for allele, frequency in allele_distribution(reads.gene, group, frequencies).items()
            if frequency > 0
        }
        prior = AllelePrior(reads.gene, tuple(law), np.ones(1), np.array([list(law.values())]))
        known = haplotypes(reads.gene, prior.names, tables)
        seen = {row: values[rows] for row, values in evidence.items()}
        pairs = _normalised(prior.log_pairs[None] + log_likelihood(known, seen))
        for name, expected in zip(prior.names, 2 * pairs.sum(axis=2).T, strict=True):
            found.setdefault(name, np.zeros(len(groups)))[rows] = expected
    return tuple(found), np.stack(list(found.values()), axis=1)


@lru_cache(maxsize=256)
def _prior(gene: str, shares: tuple[tuple[str, float], ...], tables: Tables) -> AllelePrior:
    return allele_prior(gene, dict(shares), tables)


def log_likelihood(known: Haplotypes, evidence: Mapping[int, Floats]) -> Floats:
    """Return log P(reads | ordered pair of alleles), (n, k, k), up to a constant for each person.

    Parameters
    ----------
    known : the alleles
    evidence : row of a position -> (n, b²) log P(reads | ordered pair of bases) of n people, over all ordered
        pairs of the b bases of the position; a person without data has zeros, and rows may be absent
    """
    n = len(next(iter(evidence.values()))) if evidence else 1
    k = len(known.names)
    total = np.zeros((n, k, k))
    for stack in _stacks(known):
        if not any(row in evidence for row in stack.rows):
            continue
        silent = np.zeros((n, stack.weights.shape[2]))
        table = _pair_tables(stack, np.stack([evidence.get(row, silent) for row in stack.rows], axis=1))
        # Most alleles show the same at a position, and only the others need a term of their own: with T the
        # table of a position, T[i, j] = T[0, 0] + (T[i, 0] - T[0, 0]) + (T[0, j] - T[0, 0]) + rest[i, j].
        base = table[:, :, :1, :1]
        total += np.einsum("nsi,isk->nk", table[:, :, :, 0] - base[..., 0], stack.carried)[:, :, None]
        total += np.einsum("nsi,isk->nk", table[:, :, 0] - base[..., 0], stack.carried)[:, None, :]
        rest = table - table[:, :, :, :1] - table[:, :, :1, :] + base
        for i, j in product(range(1, table.shape[2]), repeat=2):
            (rows, left), (columns, right) = stack.carriers[i], stack.carriers[j]
            total[:, rows[:, None], columns] += left.T @ (rest[:, :, i, j, None] * right)
    return total


def _floor(evidence: Floats) -> Floats:
    """Return (n, s, b²): chance of each pair of bases if the likeliest one is wrong in one or in both."""
    squared = evidence.shape[2]
    floor = _distances(squared)[evidence.argmax(axis=2)]
    return np.where(np.ptp(evidence, axis=2, keepdims=True) == 0, 0.0, floor)


@lru_cache(maxsize=8)
def _distances(squared: int) -> Floats:
    """Return (b², b²): `LEAST_ERROR` to the number of bases by which two unordered pairs differ, 1 or 2."""
    b = math.isqrt(squared)
    pairs = [sorted(pair) for pair in product(range(b), repeat=2)]
    different = [[(Counter(one) - Counter(other)).total() for other in pairs] for one in pairs]
    return LEAST_ERROR ** np.maximum(np.array(different, dtype=np.float64), 1)


@dataclass(frozen=True, eq=False)
class _Stack:
    """Positions of a gene that are worked out together, because their tables have one shape.

    Attributes
    ----------
    rows : (s,) rows of the positions
    weights : (s, m, b²), starts : (c²,), none : (c, c) as `_shown_pairs`
    carried : (c, s, k) whether an allele shows content c, as 0 or 1
    carriers : for each content, the alleles that show it at any of the positions, and their part (s, ·) of
        `carried`
    """

    rows: tuple[int, ...]
    weights: Floats
    starts: NDArray[np.intp]
    none: NDArray[np.bool_]
    carried: Floats
    carriers: tuple[tuple[NDArray[np.intp], Floats], ...]


@lru_cache(maxsize=64)
def _stacks(known: Haplotypes) -> tuple[_Stack, ...]:
    alike: dict[tuple[object, ...], list[int]] = {}
    tables: list[tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]] = []
    which = np.empty_like(known.which)
    for row, (position, shown) in enumerate(zip(known.positions, known.shown, strict=True)):
        # copies that show the same base are one to a genotype call
        distinct = [tuple(dict.fromkeys(content)) for content in shown]
        kinds = list(dict.fromkeys(distinct))
        which[row] = np.array([kinds.index(content) for content in distinct])[known.which[row]]
        tables.append(_shown_pairs(position, tuple(kinds)))
        weights, starts, none = tables[row]
        if len(kinds) > 1:  # a position at which all alleles show the same tells nothing
            alike.setdefault((weights.shape, starts.tobytes(), none.tobytes()), []).append(row)
    made: list[_Stack] = []
    for rows in alike.values():
        _, starts, none = tables[rows[0]]
        carried = np.stack([which[rows] == content for content in range(len(none))]).astype(np.float64)
        who = [np.flatnonzero(here.any(axis=0)) for here in carried]
        carriers = tuple((names, here[:, names]) for names, here in zip(who, carried, strict=True))
        weights = np.stack([tables[row][0] for row in rows])
        made.append(_Stack(tuple(rows), weights, starts, none, carried, carriers))
    return tuple(made)


def _pair_tables(stack: _Stack, evidence: Floats) -> Floats:
    """Return log P(reads at a position | contents of the two chromosomes), (n, s, c, c)."""
    top = evidence.max(axis=2, keepdims=True)
    # a likelihood knows nothing of reads that are placed wrongly
    heard = np.exp(evidence - top) + _floor(evidence)
    likelihood = np.einsum("nsb,smb->nsm", heard, stack.weights)
    with np.errstate(divide="ignore"):
        table = np.log(np.maximum.reduceat(likelihood, stack.starts, axis=2)) + top
    table = table.reshape(*evidence.shape[:2], *stack.none.shape)
    if stack.none.any():
        # two chromosomes without a copy give no reads, so that only a call speaks against them
        silent = np.ptp(evidence, axis=2) == 0
        table[:, :, stack.none] += np.where(silent, 0.0, math.log(CALLED_WITHOUT_COPY))[:, :, None]
    return table


def _shown_pairs(
    position: Position, kinds: tuple[Copies, ...]
) -> tuple[Floats, NDArray[np.intp], NDArray[np.bool_]]:
    """Return what two chromosomes may show at a position.

    Returns
    -------
    weights : (m, b²) probability of each ordered pair of bases, one row for each way to fill in open bases
    starts : (c²,) first row of each pair of contents
    none : (c, c) whether there is no copy at all
    """
    bases = (position.ref, *position.alts)
    rows: list[Floats] = []
    starts: list[int] = []
    for first, second in product(kinds, repeat=2):
        starts.append(len(rows))
        if not first and not second:
            rows.append(np.full(len(bases) ** 2, 1 / len(bases) ** 2))
            continue
        # A base that is left open counts as the one that fits best: how common the sub-alleles are is not
        # known, and to average over each open base would charge CYP2D6*4 for eighteen of them.
        for chosen in product(*(sorted(copy) for copy in (*first, *second))):
            one = sorted(set(chosen[: len(first)] or chosen))
            other = sorted(set(chosen[len(first) :] or chosen))
            table = np.zeros((len(bases), len(bases)))
            for a, b in product(one, other):
                table[bases.index(a), bases.index(b)] += 1 / (len(one) * len(other))
            rows.append(table.ravel())
    none = np.array([[not a and not b for b in kinds] for a in kinds])
    return np.array(rows), np.array(starts), none


def _evidence(position: Position, site: Site) -> Floats:
    """Return (b²,): log P(what was seen | ordered pair of bases)."""
    bases = (position.ref, *position.alts)
    if site.glimpsed:
        return _glimpse(bases, site)
    known = len(site.alleles) == 2 and set(site.alleles) <= set(bases)
    called = tuple(bases.index(allele) for allele in site.alleles) if known else (0, 0)
    if site.log_likelihoods is not None:
        lowest = min(site.log_likelihoods.values(), default=0.0)
        given = [[site.log_likelihoods.get((min(a, b), max(a, b)), lowest) for b in bases] for a in bases]
        table = np.array(given).ravel()
    elif known:
        table = _call(len(bases), called, _error(site))
    else:
        return np.zeros(len(bases) ** 2)
    if site.phased and site.heterozygous and known:
        switch = SWITCH_ERROR if site.phase_set is None else SWITCH_ERROR_IN_SET
        table = table + _order(len(bases), called, switch)
    return table


def _error(site: Site) -> float:
    return ERROR_WITHOUT_QUALITY if site.quality is None else min(10 ** (-site.quality / 10), 0.5)


def _glimpse(bases: tuple[str, ...], site: Site) -> Floats:
    """Return (b²,): log P(alleles that an incomplete genotype shows | ordered pair): each that is not carried
    is wrong."""
    error = _error(site)
    wrong = [len(set(site.glimpsed) - set(pair)) for pair in product(bases, repeat=2)]
    return np.array([math.log(error) * number if number else math.log1p(-error) for number in wrong])


@lru_cache(maxsize=4096)
def _call(n: int, called: tuple[int, ...], error: float) -> Floats:
    """Return (n²,): log P(call | ordered pair) of a call that is wrong in one base with probability `error`,
    and in both with its square."""
    pairs = [tuple(sorted(pair)) for pair in product(range(n), repeat=2)]
    wrong = {pair: (Counter(called) - Counter(pair)).total() for pair in pairs}
    near = max(sum(number == 1 for number in wrong.values()), 1)
    chance = {0: math.log1p(-error), 1: math.log(error / near), 2: 2 * math.log(error)}
    return np.array([chance[wrong[pair]] for pair in pairs])


@lru_cache(maxsize=256)
def _order(n: int, called: tuple[int, ...], switch: float) -> Floats:
    """Return (n²,): log P(this order was reported | ordered pair) of a phased call of two different bases. Of
    any other pair the order is as likely as the reverse."""
    table = np.full((n, n), math.log(0.5))
    table[called], table[called[::-1]] = math.log1p(-switch), math.log(switch)
    return table.ravel()


def _normalised(total: Floats) -> Floats:
    weight = np.exp(total - total.max(axis=(1, 2), keepdims=True))
    return weight / weight.sum(axis=(1, 2), keepdims=True)


def _summary(
    known: Haplotypes, pairs: Floats, shares: Mapping[str, float], read: int, tables: Tables
) -> Posterior:
    k = len(known.names)
    both = np.triu(pairs + np.where(np.eye(k, dtype=bool), 0.0, pairs.T))
    first, second = np.nonzero(both > _NEGLIGIBLE)
    order = np.argsort(-both[first, second], kind="stable")
    diplotypes = {
        _diplotype(known.names[i], known.names[j]): float(both[i, j])
        for i, j in zip(first[order].tolist(), second[order].tolist(), strict=True)
    }
    copies = np.bincount((known.copies[:, None] + known.copies).ravel(), weights=pairs.ravel())
    return Posterior(
        known.gene,
        dict(shares),
        diplotypes,
        _phenotypes(known, pairs, tables),
        {number: float(p) for number, p in enumerate(copies) if p > _NEGLIGIBLE},
        read,
        len(known.positions),
        tables.source(known.gene),
    )


def _phenotypes(known: Haplotypes, pairs: Floats, tables: Tables) -> dict[str, float]:
    if not tables.phenotype_rules(known.gene):
        return {}
    kind, table, names = _phenotype_table(known, tables)
    total = np.bincount(table[kind[:, None], kind].ravel(), weights=pairs.ravel(), minlength=len(names))
    found = {name: float(p) for name, p in zip(names, total, strict=True) if p > _NEGLIGIBLE}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


@lru_cache(maxsize=64)
def _phenotype_table(
    known: Haplotypes, tables: Tables
) -> tuple[NDArray[np.intp], NDArray[np.intp], tuple[str, ...]]:
    """Return (k,) kind of each allele, (m, m) phenotype of two kinds as an index, and the phenotypes.

    Alleles of the same function and activity are of one kind: their pairs have one phenotype.
    """
    functions = set(tables.function_alleles(known.gene))
    names = [lookup_pair(known.gene, Diplotype(name, name), tables).allele1 for name in known.names]
    keys = [
        (tables.clinical_function(known.gene, name), str(tables.allele_activity(known.gene, name)))
        if name in functions
        else None
        for name in names
    ]
    kinds = list(dict.fromkeys(keys))
    example = {key: name for key, name in zip(keys, names, strict=True)}
    words: dict[str, int] = {}
    table = np.zeros((len(kinds), len(kinds)), dtype=np.intp)
    for (i, one), (j, other) in product(enumerate(kinds), repeat=2):
        word = NO_PHENOTYPE
        if one is not None and other is not None:
            word = interpret(known.gene, Diplotype(example[one], example[other]), tables).phenotype or word
        table[i, j] = words.setdefault(word, len(words))
    return np.array([kinds.index(key) for key in keys]), table, tuple(words)


@lru_cache(maxsize=65536)
def _diplotype(one: str, other: str) -> Diplotype:
    return Diplotype(one, other)
