"""Genotype to diplotype: every pair of alleles that fits what was seen, by number of defining positions.

A pair fits when at each position that was called the two alleles can carry the two bases, in an orientation
that is the same within a phase set. A position that is missing is dropped; it is never read as the reference.
The score of a pair is the number of called defining positions of its two alleles (PharmCAT's convention, by
which the reference allele defines every position). Ties stay ties.

DPYD alleles are single variants, several of which can stand on one chromosome; there the variants of each
chromosome are listed, and without phase the variants of the person. CPIC: the two lowest activity values
decide (PMID 29152729). HapB3 follows its intronic variant (PMID 28295243); the exonic one counts only where
the intronic one was not called.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, product
from types import MappingProxyType

from dosewright.pharmacogenomics.alleles import Allele, Diplotype
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import TABLES, AlleleDefinition, Position, Tables, UnknownAlleleError

# Where a missed variant is toxic, a base of unknown meaning must not hide the variants beside it.
_UNDEFINED_IS_REFERENCE = frozenset({"DPYD", "NUDT15", "TPMT"})
# CYP2C19*1 is the usual wild type although GRCh38 carries *38; both define every position.
_COUNTS_AS_REFERENCE = frozenset({("CYP2C19", "*1")})
_BY_VARIANT = "DPYD"
_STATIN_GENE, _STATIN_VARIANT = "SLCO1B1", "rs4149056"  # c.521T>C, enough for CPIC's statin guideline
_COPIES = {1: "", 2: " (homozygous)"}
_MOST_SPLITS = 64  # seven open phase sets; beyond that a list of splits tells a reader nothing


@dataclass(frozen=True)
class Candidate:
    """A diplotype that fits, and the number of called defining positions of its two alleles."""

    diplotype: Diplotype
    score: int


@dataclass(frozen=True)
class Match:
    """What the genotype of one gene says.

    Attributes
    ----------
    gene : symbol
    candidates : every diplotype that fits, best first
    variants : variants found that make no diplotype: of DPYD without phase (`"c.2933A>G (homozygous)"`), and
        of SLCO1B1 the two bases of rs4149056 where no star alleles fit
    lookup : the pair that the phenotype is looked up by: the diplotype, if it is the only best one; of DPYD
        the two lowest-function variants (the lowest of each chromosome, where phase is known), of SLCO1B1
        without star alleles what rs4149056 stands for. None where it stays open
    used, missing : VCF positions of the definitions that were called, and that were not
    undefined : VCF position to what was seen there that no allele defines, and what was done
    alike : called allele to those that differ from it only at missing positions
    not_excluded : all of them, and where nothing was called every allele
    structure_not_seen : alleles that small variants cannot show; never called here, and never excluded
    reason : why there is no diplotype, or no single one; None where there is one
    source : curator, version and date of the tables
    """

    gene: str
    candidates: tuple[Candidate, ...]
    variants: tuple[str, ...]
    lookup: Diplotype | None
    used: tuple[int, ...]
    missing: tuple[int, ...]
    undefined: Mapping[int, str]
    alike: Mapping[str, tuple[str, ...]]
    not_excluded: tuple[str, ...]
    structure_not_seen: tuple[str, ...]
    reason: str | None
    source: str

    @property
    def best(self) -> tuple[Candidate, ...]:
        """The candidates with the highest score."""
        return tuple(item for item in self.candidates if item.score == self.candidates[0].score)

    @property
    def by_one_variant(self) -> bool:
        """Whether no diplotype fits and `lookup` comes from one variant alone (SLCO1B1)."""
        return self.gene == _STATIN_GENE and self.lookup is not None and not self.candidates

    @property
    def diplotype(self) -> Diplotype | None:
        """The best candidate, if there is only one."""
        best = self.best
        return best[0].diplotype if len(best) == 1 else None


def match(gene: str, sites: Mapping[int, Site], tables: Tables = TABLES) -> Match:
    """Every diplotype of a gene that fits what was seen.

    Parameters
    ----------
    gene : symbol
    sites : VCF position to site. A position that is not there, and a site that does not name two bases, is
        missing
    tables : where the definitions come from

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    ValueError : a position of `sites` is none of the gene
    """
    index = _index(gene, tables)
    foreign = [pos for pos in sites if pos not in index.positions]
    if foreign:
        raise ValueError(
            f"position {foreign[0]} is in no definition of {gene} in {tables.version}; "
            "give the sites of this gene, as Genotypes.sites[gene] holds them"
        )
    seen = _look(index, _only_seen(index, sites) if gene == _BY_VARIANT else sites)
    called = _call(index, seen, tables)
    return Match(
        gene,
        called.candidates,
        called.variants,
        called.lookup,
        tuple(sorted(seen.bases)),
        tuple(pos for pos in index.positions if pos not in seen.bases),
        MappingProxyType(seen.undefined),
        MappingProxyType(called.alike),
        called.not_excluded or tuple(dict.fromkeys(chain.from_iterable(called.alike.values()))),
        tables.structural_alleles(gene),
        called.reason,
        tables.source(gene),
    )


def _only_seen(index: _Index, sites: Mapping[int, Site]) -> Mapping[int, Site]:
    """Return the sites without those that are reference by assumption only, where another variant of the same
    allele was seen: the tag of HapB3 in an exome must not be called away by an intron that was not read."""
    assumed = {pos for pos, site in sites.items() if site.origin is Origin.ASSUMED_REFERENCE}
    doubtful = {
        pos
        for allele in index.alleles
        for pos in allele.core & assumed
        if any(
            not allele.carries[other].isdisjoint(sites[other].alleles)
            for other in allele.core - assumed
            if other in sites
        )
    }
    return {pos: site for pos, site in sites.items() if pos not in doubtful}


@dataclass(frozen=True)
class _Allele:
    """An allele by what it may carry where it does not simply carry the reference."""

    name: str
    is_reference: bool
    core: frozenset[int]
    carries: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class _Index:
    """The definitions of a gene, arranged for matching."""

    gene: str
    positions: Mapping[int, Position]
    known: Mapping[int, frozenset[str]]
    alleles: tuple[_Allele, ...]

    def may_carry(self, allele: _Allele, pos: int) -> frozenset[str]:
        return allele.carries.get(pos) or frozenset((self.positions[pos].ref,))

    def position_of(self, rsid: str) -> int | None:
        return next((pos for pos, position in self.positions.items() if position.rsid == rsid), None)


@dataclass(frozen=True)
class _Seen:
    """What was called: bases by position, and to which phase set a heterozygous position belongs."""

    bases: Mapping[int, tuple[str, str]]
    phase_sets: Mapping[int, tuple[str, str | int | None]]
    undefined: dict[int, str]

    @property
    def groups(self) -> list[list[int]]:
        """Heterozygous positions whose orientation goes together; one that is not phased stands alone."""
        groups: dict[tuple[str, str | int | None], list[int]] = {}
        for pos, phase_set in self.phase_sets.items():
            groups.setdefault(phase_set, []).append(pos)
        return list(groups.values())


@dataclass(frozen=True)
class _Called:
    candidates: tuple[Candidate, ...] = ()
    variants: tuple[str, ...] = ()
    lookup: Diplotype | None = None
    alike: dict[str, tuple[str, ...]] = field(default_factory=dict)
    not_excluded: tuple[str, ...] = ()
    reason: str | None = None


@lru_cache(maxsize=64)
def _index(gene: str, tables: Tables) -> _Index:
    positions = {position.pos: position for position in tables.positions(gene)}
    alleles = tuple(_carried(definition) for definition in tables.definitions(gene))
    known = {pos: {position.ref} for pos, position in positions.items()}
    for allele in alleles:
        for pos, bases in allele.carries.items():
            known[pos] |= bases
    return _Index(gene, positions, {pos: frozenset(bases) for pos, bases in known.items()}, alleles)


def _carried(definition: AlleleDefinition) -> _Allele:
    core = {pos: frozenset((base,)) for pos, base in definition.core.items()}
    return _Allele(definition.name, definition.is_reference, frozenset(core), {**core, **definition.either})


def _look(index: _Index, sites: Mapping[int, Site]) -> _Seen:
    bases: dict[int, tuple[str, str]] = {}
    phase_sets: dict[int, tuple[str, str | int | None]] = {}
    undefined: dict[int, str] = {}
    for pos, site in sorted(sites.items()):
        if len(site.alleles) != 2:
            continue
        first, second = site.alleles
        strange = [base for base in dict.fromkeys(site.alleles) if base not in index.known[pos]]
        if strange:
            ref = index.positions[pos].ref
            as_reference = index.gene in _UNDEFINED_IS_REFERENCE
            done = f"read as the reference {ref}" if as_reference else "no call"
            undefined[pos] = f"{' and '.join(strange)} defines no allele of {index.gene}; {done}"
            if as_reference:
                first, second = (ref if base in strange else base for base in site.alleles)
        bases[pos] = first, second
        if first != second:
            phase_sets[pos] = ("set", site.phase_set) if site.phased else ("position", pos)
    return _Seen(bases, phase_sets, undefined)


def _call(index: _Index, seen: _Seen, tables: Tables) -> _Called:
    gene = index.gene
    if not seen.bases:
        return _Called(
            not_excluded=tuple(allele.name for allele in index.alleles),
            reason=f"none of the {len(index.positions)} positions of {gene} was called",
        )
    if gene == _BY_VARIANT:
        return _call_variants(index, seen, tables)
    if seen.undefined and gene not in _UNDEFINED_IS_REFERENCE:
        pos, text = next(iter(seen.undefined.items()))
        return _without_star_alleles(index, seen, f"{_place(index, pos)}: {text}")
    candidates = _fitting_pairs(index, seen)
    if not candidates:
        return _without_star_alleles(index, seen, f"no two alleles of {gene} give the genotype")
    best = [item for item in candidates if item.score == candidates[0].score]
    single = len(best) == 1
    return _Called(
        candidates,
        lookup=best[0].diplotype if single else None,
        alike=_alike(index, seen, {name for item in best for name in item.diplotype.alleles}),
        reason=None if single else f"{len(best)} diplotypes fit equally well",
    )


def _place(index: _Index, pos: int) -> str:
    position = index.positions[pos]
    return f"{position.chrom}:{pos}" + (f" ({position.rsid})" if position.rsid else "")


# ------------------------------------------------------------------------------ pairs of star alleles


def _fitting_pairs(index: _Index, seen: _Seen) -> tuple[Candidate, ...]:
    """All pairs that fit, best first, then in the order of the tables.

    Sets of heterozygous positions are bits of an integer: where an allele can carry the first base, and where
    the second. A pair fits a phase set if one allele covers all its first and the other all its second bases.
    """
    bits = {pos: 1 << number for number, pos in enumerate(seen.phase_sets)}
    groups = [sum(bits[pos] for pos in group) for group in seen.groups]
    without_reference = [pos for pos, bases in seen.bases.items() if index.positions[pos].ref not in bases]
    fitting = []
    for allele in index.alleles:
        score = _score(index, seen, allele)
        if score and _possible(seen, allele, without_reference):
            first = second = 0
            for pos, bit in bits.items():
                carried = index.may_carry(allele, pos)
                first |= bit * (seen.bases[pos][0] in carried)
                second |= bit * (seen.bases[pos][1] in carried)
            fitting.append((allele.name, score, first, second))
    pairs = []
    for number, (name1, score1, first1, second1) in enumerate(fitting):
        for name2, score2, first2, second2 in fitting[number:]:
            one_way, other_way = first1 & second2, second1 & first2
            if all(group & one_way == group or group & other_way == group for group in groups):
                pairs.append((score1 + score2, name1, name2))
    pairs.sort(key=lambda pair: -pair[0])
    return tuple(Candidate(Diplotype(name1, name2), score) for score, name1, name2 in pairs)


def _possible(seen: _Seen, allele: _Allele, without_reference: list[int]) -> bool:
    """Whether some chromosome of the person can carry this allele."""
    return all(pos in allele.carries for pos in without_reference) and not any(
        bases.isdisjoint(seen.bases.get(pos, bases)) for pos, bases in allele.carries.items()
    )


def _score(index: _Index, seen: _Seen, allele: _Allele) -> int:
    """Number of called defining positions; 0 for an allele that cannot be called.

    With every required base missing, a position where the allele may carry either base says nothing for it
    unless a variant was seen there; CYP2D6*4 without its splice variant would else beat every other allele.
    """
    required = any(pos in seen.bases for pos in allele.core)
    if allele.is_reference or (required and (index.gene, allele.name) in _COUNTS_AS_REFERENCE):
        return len(seen.bases)
    if required:
        return sum(pos in seen.bases for pos in allele.carries)
    return sum(
        any(base in bases and base != index.positions[pos].ref for base in seen.bases.get(pos, ()))
        for pos, bases in allele.carries.items()
    )


def _alike(index: _Index, seen: _Seen, called: set[str]) -> dict[str, tuple[str, ...]]:
    """Called allele to those that can carry what it carries wherever something was called."""
    found: dict[str, list[str]] = {}
    others = [allele for allele in index.alleles if allele.name not in called]
    for one in index.alleles:
        for other in others if one.name in called else ():
            told_apart_by = one.carries.keys() | other.carries.keys()
            if any(pos not in seen.bases for pos in told_apart_by) and not any(
                index.may_carry(one, pos).isdisjoint(index.may_carry(other, pos))
                for pos in told_apart_by
                if pos in seen.bases
            ):
                found.setdefault(one.name, []).append(other.name)
    return {name: tuple(names) for name, names in found.items()}


def _without_star_alleles(index: _Index, seen: _Seen, reason: str) -> _Called:
    """No diplotype; of SLCO1B1 the phenotype can still be had from the one variant that CPIC requires."""
    pos = index.position_of(_STATIN_VARIANT) if index.gene == _STATIN_GENE else None
    bases = None if pos is None else seen.bases.get(pos)
    if pos is None or bases is None or pos in seen.undefined:
        return _Called(reason=reason)
    by_base = {
        base: allele.name
        for allele in index.alleles
        if allele.is_reference or allele.carries.keys() == {pos}
        for base in index.may_carry(allele, pos)
    }
    lookup = Diplotype(*(by_base[base] for base in bases))
    return _Called(
        variants=tuple(f"{_STATIN_VARIANT} {base}" for base in bases),
        lookup=lookup,
        reason=f"{reason}; {_STATIN_VARIANT} {'/'.join(bases)} alone is looked up as {lookup}",
    )


# ----------------------------------------------------------------------------------- variants of DPYD

_Pair = tuple[tuple[str, ...], tuple[str, ...]]  # names of the variants on each of the two chromosomes
_Bases = Counter[tuple[int, str]]  # how often each base was seen at each position


def _call_variants(index: _Index, seen: _Seen, tables: Tables) -> _Called:
    ranks = _ranks(index.gene, tables)
    counts = Counter((pos, base) for pos, bases in seen.bases.items() for base in bases)
    found = _found(index, seen, counts)
    _note_unexplained(index, seen, counts, found)
    open_variants = _not_excluded_variants(index, seen, counts, found)
    groups = seen.groups
    in_sets = any(kind == "set" and name is not None for kind, name in seen.phase_sets.values())
    if len(groups) <= 1 or (in_sets and 2 ** (len(groups) - 1) <= _MOST_SPLITS):
        pairs = _splits(index, seen, groups)
    elif found.total() <= 1:
        pairs = {(tuple(found), ())}  # one copy of one variant needs no phase
    else:
        lowest = sorted(found.elements(), key=ranks.__getitem__)
        return _Called(
            variants=tuple(name + _COPIES[found[name]] for name in dict.fromkeys(lowest)),
            lookup=Diplotype(lowest[0], lowest[1]),
            alike=dict.fromkeys(lowest[:2], open_variants) if open_variants else {},
            reason="without phase the variants cannot be laid on two chromosomes; looked up are the two of "
            "lowest activity",
        )
    reference = next(allele.name for allele in index.alleles if allele.is_reference)
    diplotypes = {Diplotype(*(_joined(names, reference) for names in pair)) for pair in pairs}
    # every way of laying out the variants explains all called positions of both chromosomes
    score = 2 * len(seen.bases)
    lookup = _lowest(pairs, ranks, reference)
    return _Called(
        tuple(Candidate(diplotype, score) for diplotype in sorted(diplotypes, key=str)),
        lookup=lookup,
        alike=dict.fromkeys(lookup.alleles, open_variants) if open_variants else {},
        reason=None
        if len(diplotypes) == 1
        else f"phase sets leave {len(diplotypes)} diplotypes open; looked up is the one of lowest activity",
    )


def _note_unexplained(index: _Index, seen: _Seen, counts: _Bases, found: Mapping[str, int]) -> None:
    """Say which bases make no allele: the exonic one of HapB3, where the intronic one is reference."""
    used = Counter(
        {
            (pos, base): copies
            for allele in index.alleles
            if (copies := found.get(allele.name, 0))
            for pos, bases in allele.carries.items()
            for base in bases
        }
    )
    for (pos, base), number in counts.items():
        if base != index.positions[pos].ref and number > used[pos, base]:
            seen.undefined.setdefault(pos, f"{base} makes no allele of {index.gene} by itself")


def lookup_pair(gene: str, diplotype: Diplotype, tables: Tables = TABLES) -> Diplotype:
    """Return the two alleles that a diplotype's phenotype is looked up by: of several on one chromosome
    (`[a + b]`, as DPYD has them) the one of lowest activity.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownAlleleError : a variant is not in the tables, or the gene has no activity by which one is lowest
    """
    ranks = _ranks(gene, tables)
    names = []
    for allele in diplotype.alleles:
        units = [str(unit) for unit in Allele.parse(allele).units] if allele.startswith("[") else [allele]
        unknown = [name for name in units if len(units) > 1 and name not in ranks]
        if unknown:
            raise UnknownAlleleError(f"{unknown[0]!r} in {allele} of {gene} is not in {tables.version}")
        if len(units) > 1 and not tables.scored_by_activity(gene):
            raise UnknownAlleleError(
                f"{allele} of {gene}: no rule says which of several alleles on one chromosome counts"
            )
        names.append(min(units, key=ranks.__getitem__) if len(units) > 1 else allele)
    return Diplotype(*names)


def _lowest(pairs: set[_Pair], ranks: Mapping[str, tuple[float, int]], reference: str) -> Diplotype:
    """Return the lowest variant of each chromosome, of the way of laying them out that is lowest."""
    # the lowest variant of all is on some chromosome whichever way, so the other chromosome decides
    lowest = min(
        sorted(min(ranks[name] for name in names or (reference,)) for names in pair) for pair in pairs
    )
    names = {rank: name for name, rank in ranks.items()}
    return Diplotype(*(names[rank] for rank in lowest))


@lru_cache(maxsize=64)
def _ranks(gene: str, tables: Tables) -> Mapping[str, tuple[float, int]]:
    """Allele to activity and place along the transcript, by which the lowest is chosen.

    An allele without an activity value comes after all that have one.
    """
    along = -1 if tables.gene(gene).strand == "-" else 1
    alleles = sorted(
        _index(gene, tables).alleles,
        key=lambda item: (
            not item.is_reference,
            min((along * pos for pos in item.core), default=0),
            len(item.core),
        ),
    )
    valued = tables.function_alleles(gene)
    ranks = {}
    for number, allele in enumerate(alleles):
        activity = tables.allele_activity(gene, allele.name) if allele.name in valued else None
        ranks[allele.name] = (float("inf") if activity is None else activity.value, number)
    return ranks


def _found(index: _Index, seen: _Seen, counts: _Bases) -> Counter[str]:
    """How many copies of each variant there are, given how often each base was seen.

    The variant that explains most positions comes first and takes its bases with it; of two that explain the
    same, the one that was seen in full. So the intronic variant of HapB3 with the exonic one beside it is
    HapB3, alone it is itself; the exonic one alone is nothing, unless the intronic position is missing.
    """
    left = counts.copy()
    possible = [allele for allele in index.alleles if _copies(allele, seen, left)]
    found: Counter[str] = Counter()
    for allele in sorted(possible, key=lambda item: _explains(item, seen), reverse=True):
        copies = _copies(allele, seen, left)
        if copies:
            found[allele.name] = copies
            for pos, bases in allele.carries.items():
                for base in bases:
                    left[pos, base] -= copies
    return found


def _explains(allele: _Allele, seen: _Seen) -> tuple[int, int]:
    """Number of called positions, and with a minus of missing ones, that define an allele."""
    called = sum(pos in seen.bases for pos in allele.core)
    return called, called - len(allele.core)


def _copies(allele: _Allele, seen: _Seen, counts: _Bases) -> int:
    return min(
        (
            sum(counts[pos, base] for base in bases)
            for pos, bases in allele.carries.items()
            if pos in seen.bases
        ),
        default=0,
    )


def _splits(index: _Index, seen: _Seen, groups: list[list[int]]) -> set[_Pair]:
    """Every way of laying the variants on two chromosomes that the phase sets leave open."""
    pairs: set[_Pair] = set()
    # turning all groups round at once gives the same pair, so the first one stays
    for turns in product((False, True), repeat=max(len(groups) - 1, 0)):
        turned = {pos for group, turn in zip(groups[1:], turns, strict=True) if turn for pos in group}
        chromosomes: tuple[_Bases, _Bases] = Counter(), Counter()
        for pos, bases in seen.bases.items():
            for chromosome, base in zip(chromosomes, bases[::-1] if pos in turned else bases, strict=True):
                chromosome[pos, base] = 1
        first, second = (tuple(_found(index, seen, chromosome)) for chromosome in chromosomes)
        pairs.add((first, second))
    return pairs


def _joined(names: tuple[str, ...], reference: str) -> str:
    if len(names) > 1:
        return f"[{' + '.join(names)}]"
    return names[0] if names else reference


def _not_excluded_variants(
    index: _Index, seen: _Seen, counts: _Bases, found: Mapping[str, int]
) -> tuple[str, ...]:
    """Variants of which a position is missing, and all the called ones were seen."""
    return tuple(
        allele.name
        for allele in index.alleles
        if allele.name not in found
        and any(pos not in seen.bases for pos in allele.core)
        and (not any(pos in seen.bases for pos in allele.core) or _copies(allele, seen, counts))
    )
