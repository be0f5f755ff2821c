"""What one record of a VCF file says of one sample at one position, and several records together."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from dosewright.pharmacogenomics.anchoring import UNNAMED, Reading, read_alleles
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import Position

ON_REQUEST = "read as reference"
"""In the note of a site that is reference only because the caller asked for it."""

CONTRADICTION = "records contradict each other"
"""In the note of a site at which they do."""

_NO_GT = "no GT"
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
    phased, phase_set, depth, quality : GT and PS, MIN_DP or DP, GQ or RGQ
    likelihoods : PL, phred-scaled, in the order of the specification
    """

    alleles: tuple[int, ...]
    missing: str
    phased: bool
    phase_set: str | None
    depth: int | None
    quality: float | None
    likelihoods: tuple[float, ...] | None


@lru_cache(maxsize=1024)
def _genotype(text: str) -> tuple[tuple[int | None, ...], bool] | None:
    """Return alleles and whether they are phased; None where the text is no genotype."""
    if not _GENOTYPE.fullmatch(text):
        return None
    alleles = re.split(r"[/|]", text.lstrip("/|"))
    return tuple(None if allele == "." else int(allele) for allele in alleles), "/" not in text[1:]


def read_call(text: str, keys: Sequence[str], alleles: int, filtered: str) -> Call:
    """Read one column of a sample.

    Parameters
    ----------
    text, keys : the column, and FORMAT
    alleles : number of alleles of the record, REF included
    filtered : why the record as a whole is not used, or ""

    Raises
    ------
    MalformedError : a field cannot be read
    """
    values = text.split(":")
    if len(values) > len(keys):
        raise MalformedError("FORMAT", f"{text!r} has {len(values)} values, FORMAT names {len(keys)}")
    fields = dict(zip(keys, values, strict=False))
    called, phased, why = _alleles(fields.get("GT"), alleles)
    failed = fields.get("FT", ".")
    if failed not in (".", "PASS"):
        filtered = f"filter {failed}"
    phase_set = fields.get("PS", ".")
    return Call(
        () if filtered else called,
        filtered or why,
        phased,
        phase_set if phased and phase_set != "." else None,
        _whole(fields, "MIN_DP", "DP"),
        _number(fields, "GQ", "RGQ"),
        _likelihoods(fields),
    )


def _alleles(text: str | None, alleles: int) -> tuple[tuple[int, ...], bool, str]:
    """Return the two alleles, whether they are phased, and why there are none."""
    if text is None:
        return (), False, _NO_GT
    read = _genotype(text)
    if read is None:
        raise MalformedError("GT", f"{text!r} is no genotype, such as 0/1, 0|1 or ./.")
    indices = [index for index in read[0] if index is not None]
    if any(index >= alleles for index in indices):
        raise MalformedError("GT", f"{text!r} names allele {max(indices)}, the last one is {alleles - 1}")
    if not indices:
        return (), False, f"no call ({text})"
    if len(read[0]) != 2:
        return (), False, f"{len(read[0])} allele{'s' * (len(read[0]) > 1)} ({text}) of an autosomal gene"
    if len(indices) < 2:
        return (), False, f"half call ({text})"
    return (indices[0], indices[1]), read[1], ""


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


def _likelihoods(fields: Mapping[str, str]) -> tuple[float, ...] | None:
    text = fields.get("PL", ".")
    if "." in text.split(","):
        return None
    try:
        return tuple(map(float, text.split(",")))
    except ValueError:
        raise MalformedError("PL", f"{text!r} is no list of numbers") from None


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
        pos, end, ref, alts : POS, INFO END, REF and ALT (without `.`) of the record
        position : of the tables
        """
        last = pos + len(ref) - 1
        if end is not None and UNNAMED.issuperset(alts):
            if not pos <= position.pos <= max(end, last):
                return None
            why = tuple(f"an allele that the record does not name ({alt})" for alt in alts)
            reading = Reading(position, True, (position.ref, *[""] * len(alts)), ("", *why), False)
            return cls(reading, _SPANNING, True, frozenset())
        if end is not None and last < position.pos <= end:
            why = tuple(f"lies in {alt} from {pos} to {end}" for alt in alts)
            reading = Reading(position, False, (position.ref, *[""] * len(alts)), ("", *why), False)
            return cls(reading, _SPANNING, False, frozenset())
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
        if not call.alleles:
            if trusted and call.missing == _NO_GT:
                pair = (reading.position.ref,) * 2
                return Site(pair, origin=Origin.GVCF_BLOCK, note=f"gVCF block without GT, {ON_REQUEST}")
            return Site(note=call.missing) if reading.tells else None
        spoiled = next((reading.unread[index] for index in call.alleles if reading.unread[index]), "")
        if spoiled or not reading.tells:
            return Site(note=spoiled) if spoiled else None
        empty = call.depth == 0 and not any(call.alleles)
        if empty and not trusted:
            return Site(note="reference genotype without reads (DP 0)")
        return Site(
            tuple(reading.forms[index] for index in call.alleles),
            call.phased,
            call.phase_set,
            call.depth,
            call.quality,
            None if self.block else _log_likelihoods(call.likelihoods, reading.forms),
            Origin.GVCF_BLOCK if self.block else Origin.RECORD,
            f"gVCF block without reads, {ON_REQUEST}" if empty else "",
        )


def _log_likelihoods(
    phred: tuple[float, ...] | None, forms: Sequence[str]
) -> Mapping[tuple[str, str], float] | None:
    """Return the likelihoods by pair of alleles; None where two alleles of the record are one of the tables,
    as the chance of their union is not known, and where PL is not of this record's alleles."""
    known = [form for form in forms if form]
    if phred is None or len(known) < 2 or len(set(known)) < len(known):
        return None
    if len(phred) != len(forms) * (len(forms) + 1) // 2:
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
