"""What the alleles of a VCF record are in the form of the tables.

One insertion or deletion can be written in many ways: with more or fewer bases around it, and, inside a
repeat, at any of its units. The tables have the left-most form behind the base before it. Here a record is
brought to that form without a reference genome: the bases around are known from the record's own REF, from
the tables, and from the HGVS name of the variant, which by rule is the right-most form, so that everything
between the two repeats the inserted or deleted bases (HGVS nomenclature, 3' rule; Tan 2015, Bioinformatics
31:2202, doi:10.1093/bioinformatics/btv112, for the left-most one).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from dosewright.pharmacogenomics.tables import Position

UNNAMED = frozenset({"<NON_REF>", "<*>"})
"""ALT of gVCF files: any allele that the record does not name."""

_SHOWN = 20  # bases of an allele that a note shows
_ANY = "N"
_UNKNOWN = "?"
_BASES = re.compile(r"[ACGTN]+")
_STRUCTURAL = re.compile(r"<.*>|.*[\[\]].*|\.[ACGTN]+|[ACGTN]+\.")
_LAST = re.compile(r"g\.(?:(?:\d+_)?(\d+)(?:del|dup)\b|(\d+)_\d+ins)")
_REPEAT = re.compile(r"g\.(\d+)([ACGT]+)\[(\d+)\]")


@dataclass(frozen=True, slots=True)
class Change:
    """What an allele does to the reference, without the bases that stay.

    Attributes
    ----------
    start : first base that is removed; of an insertion the base behind it
    removed, inserted : bases; one of them is "" for a deletion or an insertion
    """

    start: int
    removed: str
    inserted: str

    def removes(self, pos: int) -> bool:
        """Whether the base at a position is removed or substituted."""
        return self.start <= pos < self.start + len(self.removed)

    @property
    def keeps_length(self) -> bool:
        """Whether it only substitutes bases."""
        return len(self.removed) == len(self.inserted)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a record says of one position of the tables.

    Attributes
    ----------
    position : the position
    tells : whether the record is about the position. A record of another variant may only spoil it, by an
        allele in `unread`
    forms : by allele of the record (0 = REF) its form in the tables; an allele that they do not know stays as
        in the record, `REF>ALT` where the record's REF is another than theirs. "" where `unread` says why
    unread : by allele of the record why the position cannot be read from it; "" where it can
    direct : whether the record stands at the place of the tables
    """

    position: Position
    tells: bool
    forms: tuple[str, ...]
    unread: tuple[str, ...]
    direct: bool


def change(pos: int, ref: str, alt: str) -> Change:
    """Take away the bases that REF and ALT share, from the end first."""
    end = 0
    while end < min(len(ref), len(alt)) and ref[-1 - end] == alt[-1 - end]:
        end += 1
    ref, alt = ref[: len(ref) - end], alt[: len(alt) - end]
    front = 0
    while front < min(len(ref), len(alt)) and ref[front] == alt[front]:
        front += 1
    return Change(pos + front, ref[front:], alt[front:])


def leftmost(this: Change, known: Mapping[int, str]) -> Change:
    """Move an insertion or deletion to the left as far as the known bases allow.

    Parameters
    ----------
    this : a change
    known : position to base of the reference
    """
    if bool(this.removed) == bool(this.inserted):
        return this
    start, bases = this.start, this.removed or this.inserted
    while known.get(start - 1) == bases[-1]:
        start, bases = start - 1, bases[-1] + bases[:-1]
    return Change(start, bases, "") if this.removed else Change(start, "", bases)


@cache
def known_bases(position: Position) -> Mapping[int, str]:
    """Bases of the reference around a position: position to base, from `ref` and the HGVS name."""
    known: dict[int, str] = {}
    last = _last_of_repeat(position)
    if last is not None:
        shortest = min((change(position.pos, position.ref, alt) for alt in position.alts), key=_size)
        unit = shortest.removed or shortest.inserted
        known = {pos: unit[(pos - shortest.start) % len(unit)] for pos in range(shortest.start, last + 1)}
    for pos, base in enumerate(position.ref, position.pos):
        if base != _ANY:
            known[pos] = base
    return known


def span(position: Position) -> tuple[int, int]:
    """First and last base at which a record of this position's variants may stand."""
    return position.pos, max(known_bases(position), default=position.pos)


def mismatch(pos: int, ref: str, position: Position) -> bool:
    """Whether REF of a record has another base than the tables where they overlap; N agrees with any."""
    for at, base in enumerate(position.ref, position.pos):
        if pos <= at < pos + len(ref) and ref[at - pos] != base and _ANY not in (base, ref[at - pos]):
            return True
    return False


def read_alleles(pos: int, ref: str, alts: Sequence[str], position: Position) -> Reading:
    """Bring the alleles of a record to the form of the tables.

    Parameters
    ----------
    pos, ref, alts : of the record, in capitals; `ref` agrees with the tables (`mismatch`); no ALT (`.`) is ()
    position : of the tables, at or near the record

    Returns
    -------
    Reading : `tells` is True for a substitution when an ALT of the record substitutes that base (in a longer
        REF too), for an insertion or deletion when an ALT is one at the same place; for both when the
        record has no ALT and covers `position.pos`
    """
    return (_at_indel if position.is_indel else _at_base)(pos, ref, alts, position)


def _at_base(pos: int, ref: str, alts: Sequence[str], position: Position) -> Reading:
    tells = pos <= position.pos < pos + len(ref) and UNNAMED.issuperset(alts)
    forms, unread = [position.ref], [""]
    for alt in alts:
        form, why = position.ref, _why_unreadable(pos, ref, alt)
        this = Change(pos, "", "") if why else change(pos, ref, alt)
        if this.removes(position.pos):
            if this.keeps_length:
                form, tells = this.inserted[position.pos - this.start], True
            else:
                why = _lies_in(pos, ref, alt)
        forms.append("" if why else form)
        unread.append(why)
    return Reading(position, tells, tuple(forms), tuple(unread), pos == position.pos)


def _at_indel(pos: int, ref: str, alts: Sequence[str], position: Position) -> Reading:
    known = {**known_bases(position), **dict(enumerate(ref, pos))}
    targets = {leftmost(change(position.pos, position.ref, alt), known): alt for alt in position.alts}
    starts = {target.start for target in targets}
    same_ref = pos == position.pos and len(ref) == len(position.ref)
    tells = same_ref and len(ref) > 1
    tells = tells or (pos <= position.pos < pos + len(ref) and UNNAMED.issuperset(alts))
    forms, unread = [position.ref], [""]
    for alt in alts:
        why = _why_unreadable(pos, ref, alt)
        form = ""
        if not why:
            this = leftmost(change(pos, ref, alt), known)
            # at the same place, but another number of repeats or another length: the tables do not know it
            tells = tells or this in targets or (this.start in starts and not this.keeps_length)
            form = targets.get(this) or _beside(this, starts, position)
            if form is None:
                form, why = "", _lies_in(pos, ref, alt)
            elif form == _UNKNOWN:
                form = alt if same_ref else f"{ref}>{alt}"
        forms.append(form)
        unread.append(why)
    return Reading(position, tells, tuple(forms), tuple(unread), pos == position.pos)


def _beside(this: Change, starts: set[int], position: Position) -> str | None:
    """Return what an allele that the tables do not have is at an indel: the reference where it only changes
    bases beside it, `_UNKNOWN`, or None where it takes the place away."""
    if not this.keeps_length and this.start in starts:
        return _UNKNOWN
    if any(map(this.removes, range(position.pos, position.pos + len(position.ref)))):
        return _UNKNOWN if this.keeps_length else None
    repeat = range(position.pos + 1, span(position)[1] + 1)
    return None if not this.keeps_length and any(map(this.removes, repeat)) else position.ref


def _why_unreadable(pos: int, ref: str, alt: str) -> str:
    """Return why nothing can be read from an ALT; "" for one made of known bases."""
    if _BASES.fullmatch(alt):
        # a base that REF and ALT share may be N: it stays as it is
        return f"unknown bases in ALT {alt}" if _ANY in change(pos, ref, alt).inserted else ""
    if alt in UNNAMED:
        return f"an allele that the record does not name ({alt})"
    if alt == "*":
        return "deleted on one chromosome by a variant before it (*)"
    return f"structural allele {alt}" if _STRUCTURAL.fullmatch(alt) else f"ALT {alt} is not made of bases"


def _lies_in(pos: int, ref: str, alt: str) -> str:
    # a REF of thousands of bases would hide the rest of a message
    short = (
        text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text)} bases)" for text in (ref, alt)
    )
    return f"lies in the insertion or deletion {'>'.join(short)} at {pos}"


def _size(this: Change) -> int:
    return len(this.removed) + len(this.inserted)


def _last_of_repeat(position: Position) -> int | None:
    """Return the last base of the right-most form, as the HGVS name has it; None where it does not say."""
    if not position.is_indel:
        return None
    named = _LAST.search(position.hgvs)
    if named is not None:
        return int(named[1] or named[2])
    repeats = _REPEAT.findall(position.hgvs)
    if not repeats:
        return None
    first, unit, _ = repeats[0]
    fewest = min(int(count) for _, _, count in repeats)
    removed = max(0, len(position.ref) - min(map(len, position.alts)))
    return int(first) + len(unit) * fewest + removed - 1
