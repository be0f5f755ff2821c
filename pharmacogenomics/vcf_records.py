"""What one record of a VCF file says of one sample at one position, and several records together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dosewright.pharmacogenomics.anchoring import Reading, read_alleles
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import Position

ON_REQUEST = "read as reference"
"""In the note of a site that is reference only because the caller asked for it."""

CONTRADICTION = "records contradict each other"
"""In the note of a site at which they do."""

_NO_GT = "no GT"
_FLAT = "every genotype equally likely by PL"
# DeepVariant's FILTER where the reference is the likeliest genotype; a failure of any other genotype
_REFERENCE_CALL = "RefCall"
# VCF 4.3, section 1.4.5: symbolic ALT of structural variants; <CN0> and the like are of 1000 Genomes, phase 3
_STRUCTURAL = re.compile(r"<(?:DEL|DUP|INS|INV|CNV|CN\d+)(?::[^<>]*)?>")
_DIPLOID = 2
_GENOTYPE = re.compile(r"[/|]?(?:\d+|\.)(?:[/|](?:\d+|\.))*")
_LN_PHRED = -math.log(10) / 10


# --------------------------------------------------------------------------------- the genotype of a sample


class MalformedError(ValueError):
    """A field of a sample cannot be read; the arguments are its name and what is wrong."""


@dataclass(frozen=True, slots=True)
class Call:
    """One sample in one record.

    Attributes
    ----------
    alleles : two numbers of alleles of the record (0 = REF), or () where `missing` says why
    missing : why there is no genotype, or ""
    named : every allele that GT names, also of a half call and of one chromosome; () for a filtered record
    phased, phase_set : GT and PS, or PGT and PID (GATK's physical phase)
    depth, quality : MIN_DP or DP, GQ or RGQ
    likelihoods : PL, phred-scaled, in the order of the specification
    copies : CN, copies of the stretch on both chromosomes together; None for a filtered record
    """

    alleles: tuple[int, ...]
    missing: str
    named: frozenset[int]
    phased: bool
    phase_set: str | None
    depth: int | None
    quality: float | None
    likelihoods: tuple[float, ...] | None
    copies: float | None

    @property
    def flat(self) -> bool:
        """Whether the likelihoods say that the reads prefer no genotype."""
        phred = self.likelihoods
        return phred is not None and len(phred) > 1 and len(set(phred)) == 1

    def carried(self, structural: Mapping[int, str]) -> tuple[str, ...]:
        """Which structural variants of a record the sample has: those that GT names; if none, all where CN is
        not 2.

        Parameters
        ----------
        structural : number of the allele -> ALT, as `structural_alts` gives them
        """
        named = tuple(alt for index, alt in structural.items() if index in self.named)
        return tuple(structural.values()) if not named and self.copies not in (None, _DIPLOID) else named


def structural_alts(alts: Sequence[str]) -> dict[int, str]:
    """Structural variants among the ALT of a record, by the number of the allele."""
    return {index: alt for index, alt in enumerate(alts, 1) if _STRUCTURAL.fullmatch(alt)}


@lru_cache(maxsize=1024)
def _genotype(text: str) -> tuple[tuple[int | None, ...], bool] | None:
    """Return alleles and whether they are phased; None where the text is no genotype."""
    if not _GENOTYPE.fullmatch(text):
        return None
    alleles = re.split(r"[/|]", text.lstrip("/|"))
    return tuple(None if allele == "." else int(allele) for allele in alleles), "/" not in text[1:]


@lru_cache(maxsize=4096)  # a few texts are most of the columns of a file
def read_call(text: str, keys: tuple[str, ...], alleles: int, failed: str) -> Call:
    """Read one column of a sample.

    Parameters
    ----------
    text, keys : the column, and FORMAT
    alleles : number of alleles of the record, REF included
    failed : FILTER of the record

    Raises
    ------
    MalformedError : a field cannot be read
    """
    values = text.split(":")
    if len(values) > len(keys):
        raise MalformedError("FORMAT", f"{text!r} has {len(values)} values, FORMAT names {len(keys)}")
    fields = dict(zip(keys, values, strict=False))
    named, phased = _named(fields.get("GT"), alleles)
    called, why = _called(fields.get("GT"), named)
    phase_set = fields.get("PS", ".")
    physical = None if phased or phase_set != "." else _physical(fields, called)
    if physical is not None:
        called, phased, phase_set = physical, True, fields["PID"]
    filtered = _filtered(fields.get("FT", "."), called) or _filtered(failed, called)
    return Call(
        () if filtered else called,
        filtered or why,
        frozenset() if filtered else frozenset(index for index in named if index is not None),
        phased,
        phase_set if phased and phase_set != "." else None,
        _whole(fields, "MIN_DP", "DP"),
        _number(fields, "GQ", "RGQ"),
        _likelihoods(fields, alleles, len(named)),
        None if filtered else _number(fields, "CN"),
    )


def _filtered(failed: str, called: Sequence[int]) -> str:
    """Return why FILTER or FT forbids to use a genotype; "" where they do not."""
    reference = bool(called) and not any(called)
    if failed in (".", "PASS") or (failed == _REFERENCE_CALL and reference):
        return ""
    return f"filter {failed}"


def _named(text: str | None, alleles: int) -> tuple[tuple[int | None, ...], bool]:
    """Return the alleles of GT, None for an unknown one, and whether they are phased; () without GT."""
    if text is None:
        return (), False
    read = _genotype(text)
    if read is None:
        raise MalformedError("GT", f"{text!r} is no genotype, such as 0/1, 0|1 or ./.")
    last = max((index for index in read[0] if index is not None), default=0)
    if last >= alleles:
        raise MalformedError("GT", f"{text!r} names allele {last}, the last one is {alleles - 1}")
    return read


def _called(text: str | None, named: Sequence[int | None]) -> tuple[tuple[int, ...], str]:
    """Return the two alleles, and why there are none."""
    if text is None:
        return (), _NO_GT
    indices = [index for index in named if index is not None]
    if not indices:
        return (), f"no call ({text})"
    if len(named) != _DIPLOID:
        return (), f"{len(named)} allele{'s' * (len(named) > 1)} ({text}) of an autosomal gene"
    if len(indices) < _DIPLOID:
        return (), f"half call ({text})"
    return (indices[0], indices[1]), ""


def _physical(fields: Mapping[str, str], called: Sequence[int]) -> tuple[int, ...] | None:
    """Return the alleles in the order of PGT; None where there is none, or it is not of this genotype."""
    text = fields.get("PGT", ".")
    if fields.get("PID", ".") == "." or "|" not in text:
        return None
    read = _genotype(text)
    if read is None:
        raise MalformedError("PGT", f"{text!r} is no genotype, such as 0|1")
    # of several ALT, GATK numbers those of PGT 0 and 1 whatever their number in GT
    order = tuple(index for index in read[0] if index is not None)
    return order if called and sorted(order) == sorted(called) else None


def _number(fields: Mapping[str, str], *keys: str) -> float | None:
    for key in keys:
        text = fields.get(key, ".")
        if text != ".":
            try:
                value = float(text)
            except ValueError:
                value = math.nan
            if not 0 <= value < math.inf:
                raise MalformedError(key, f"{text!r} is no number of 0 or more")
            return value
    return None


def _whole(fields: Mapping[str, str], *keys: str) -> int | None:
    value = _number(fields, *keys)
    return None if value is None else int(value)


def _likelihoods(fields: Mapping[str, str], alleles: int, ploidy: int) -> tuple[float, ...] | None:
    """Return PL; None where a value is unknown, or it is not of two chromosomes."""
    text = fields.get("PL", ".")
    values = text.split(",")
    if "." in values:
        return None
    try:
        phred = tuple(map(float, values))
    except ValueError:
        raise MalformedError("PL", f"{text!r} is no list of numbers") from None
    if not all(0 <= value < math.inf for value in phred):
        raise MalformedError("PL", f"{text!r} has a value that is no number of 0 or more")
    # VCF 4.3, section 1.6.2: one for each multiset of alleles
    pairs, of_ploidy = (math.comb(alleles + n - 1, n) for n in (_DIPLOID, ploidy or _DIPLOID))
    if len(phred) not in (pairs, of_ploidy):
        raise MalformedError("PL", f"{text!r} has {len(phred)} values, not the {pairs} of {alleles} alleles")
    return phred if len(phred) == pairs else None


# -------------------------------------------------------------------------------- what a record tells of it

_DIRECT, _ELSEWHERE, _SPANNING = range(3)  # of several records the lower one counts


@dataclass(frozen=True, slots=True)
class Seen:
    """One sample at one position, in one record of it.

    Attributes
    ----------
    site : what the record says
    rank : which record counts where there are several
    alts : alleles other than the reference that the record could have shown
    """

    site: Site
    rank: int
    alts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Told:
    """What one record says of one position.

    Attributes
    ----------
    reading : its alleles in the form of the tables
    rank : which record counts where there are several
    block : whether it is a gVCF block
    alts : alleles other than the reference
    """

    reading: Reading
    rank: int
    block: bool
    alts: frozenset[str]

    @classmethod
    def of(cls, pos: int, end: int | None, ref: str, alts: Sequence[str], position: Position) -> Told | None:
        """What a record says of a position; None where it cannot say anything.

        Parameters
        ----------
        pos, ref, alts : POS, REF and ALT (without `.`) of the record
        end : last base of a gVCF block, None for another record
        position : of the tables
        """
        last = pos + len(ref) - 1
        if end is not None:
            if not pos <= position.pos <= max(end, last):
                return None
            why = tuple(f"an allele that the record does not name ({alt})" for alt in alts)
            reading = Reading(position, True, (position.ref, *[""] * len(alts)), ("", *why), False)
            return cls(reading, _SPANNING, True, frozenset())
        reading = read_alleles(pos, ref, alts, position)
        rank = _DIRECT if reading.direct else _ELSEWHERE
        return cls(reading, rank, False, frozenset(reading.forms) - {"", position.ref})

    def seen(self, call: Call, trust_blocks: bool) -> Seen | None:
        """What is seen of a sample; None where the record says nothing of the position.

        Parameters
        ----------
        call : the sample in the record
        trust_blocks : whether a gVCF block without reads or without GT is reference
        """
        site = self._site(call, self.block and trust_blocks)
        return None if site is None else Seen(site, self.rank, self.alts)

    def _site(self, call: Call, trusted: bool) -> Site | None:
        reading = self.reading
        glimpsed = tuple(sorted({reading.forms[index] for index in call.named} - {""}))
        if not call.alleles:
            if trusted and call.missing == _NO_GT:
                pair = (reading.position.ref,) * 2
                return Site(pair, origin=Origin.GVCF_BLOCK, note=f"gVCF block without GT, {ON_REQUEST}")
            if not reading.tells:
                return None
            return Site(note=call.missing, quality=call.quality, glimpsed=glimpsed)
        spoiled = next((reading.unread[index] for index in call.alleles if reading.unread[index]), "")
        if spoiled or not reading.tells:
            return Site(note=spoiled, quality=call.quality, glimpsed=glimpsed) if spoiled else None
        empty = call.depth == 0 and not any(call.alleles)
        if not trusted and (empty or call.flat):
            return Site(note="reference genotype without reads (DP 0)" if empty else _FLAT)
        return Site(
            tuple(reading.forms[index] for index in call.alleles),
            call.phased,
            call.phase_set,
            call.depth,
            call.quality,
            None if self.block else _log_likelihoods(call.likelihoods, reading.forms),
            Origin.GVCF_BLOCK if self.block else Origin.RECORD,
            self._on_request(call, empty),
        )

    def _on_request(self, call: Call, empty: bool) -> str:
        """Return the note of a block that is read as reference on request."""
        if empty:
            return f"gVCF block without reads, {ON_REQUEST}"
        return f"gVCF block with {_FLAT}, {ON_REQUEST}" if call.flat else ""


def inside(alt: str, pos: int, end: int) -> Seen:
    """What is seen at a position inside a structural variant that the sample carries: nothing."""
    return Seen(Site(note=f"lies in {alt} from {pos} to {end}"), _SPANNING, frozenset())


def _log_likelihoods(
    phred: tuple[float, ...] | None, forms: Sequence[str]
) -> Mapping[tuple[str, str], float] | None:
    """Return the likelihoods by pair of alleles; None where two alleles of the record are one of the tables,
    as the chance of their union is not known."""
    known = [form for form in forms if form]
    if phred is None or len(known) < 2 or len(set(known)) < len(known):
        return None
    found: dict[tuple[str, str], float] = {}
    for second, b in enumerate(forms):
        for first, a in enumerate(forms[: second + 1]):
            if a and b:
                found[min(a, b), max(a, b)] = _LN_PHRED * phred[second * (second + 1) // 2 + first]
    return found


def resolve(seen: Sequence[Seen], reference: str) -> Site:
    """Return what several records of one position say together.

    Parameters
    ----------
    seen : one or more
    reference : `Position.ref`
    """
    rank = min(item.rank for item in seen)
    best = [item for item in seen if item.rank == rank]
    site = best[0].site if len(best) == 1 else _together(best, reference)
    # a variant counts wherever it stands, a reference only in the record that counts
    for item in seen:
        alleles = item.site.alleles
        if item.rank > rank and site.called and not item.alts.isdisjoint(alleles):
            if sorted(alleles) != sorted(site.alleles):
                return _contradiction([site, item.site])
    return site


def _together(best: Sequence[Seen], reference: str) -> Site:
    """Return what records at the same place say: all the same, or each one ALT of several."""
    sites = [item.site for item in best]
    unknown = [site for site in sites if not site.called]
    if unknown:
        return unknown[0]
    if len({tuple(sorted(site.alleles)) for site in sites}) == 1:
        return sites[0]
    carriers = [item for item in best if not item.alts.isdisjoint(item.site.alleles)]
    phased = (
        all(item.site.phased for item in carriers) and len({item.site.phase_set for item in carriers}) == 1
    )
    if sum(len(item.alts) for item in best) > len(frozenset[str]().union(*(item.alts for item in best))):
        return _contradiction(sites)
    alleles: dict[int, str] = {}
    for item in carriers:
        for slot, allele in enumerate(item.site.alleles):
            if allele in item.alts:
                place = slot if phased else len(alleles)
                if place in alleles or place > 1:
                    return _contradiction(sites)
                alleles[place] = allele
    return replace(
        carriers[0].site,
        alleles=(alleles.get(0, reference), alleles.get(1, reference)),
        phased=phased,
        quality=min((site.quality for site in sites if site.quality is not None), default=None),
        log_likelihoods=None,
        note="put together from records split by ALT",
    )


def _contradiction(sites: Iterable[Site]) -> Site:
    said = dict.fromkeys("/".join(site.alleles) for site in sites)
    return Site(note=f"{CONTRADICTION}: {' and '.join(said)}")
