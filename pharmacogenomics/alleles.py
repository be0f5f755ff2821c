"""Names of alleles, and the unordered pair of them that one person carries."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

_STAR = r"\*[1-9]\d*[A-Z]?(?:\.\d+)?"  # *3A, *1.002
_UNIT = re.compile(rf"(?P<name>{_STAR})(?:x(?P<at_least>≥?)(?P<copies>[1-9]\d*))?")
_VARIANT = re.compile(
    r"Reference|c\.[^/\s\[\]](?:[^/\n\[\]]*[^/\s\[\]])?|rs\d+ (?:reference|variant) \([ACGT]+\)"
)
_BASE = re.compile(r"[ACGT]")
_TWO_BASES = re.compile(r"[ACGT]{2}")
# The models write GA (VKORC1 -1639), GT (CYP2B6 516) and TC (CYP2B6 983): the coding reference base first.
_BASE_ORDER = "GTCA"

CODING_STRAND: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # VKORC1 lies on the reverse strand: forward C is coding G, T is coding A of -1639G>A [models.md 17].
        "VKORC1": MappingProxyType({"rs9923231 reference (C)": "G", "rs9923231 variant (T)": "A"}),
    }
)
"""Gene to allele as the tables name it (forward strand) to base as models name it (coding strand)."""


class InvalidDiplotypeError(ValueError):
    """The text does not name an allele, or not two of them."""


@dataclass(frozen=True)
class Copies:
    """One unit of an allele: a name, and how often it stands on the chromosome.

    Attributes
    ----------
    name : star name, variant or base
    copies : number of copies, 1 or more
    at_least : True for an open number, as in `*2x≥3`
    """

    name: str
    copies: int = 1
    at_least: bool = False

    def __str__(self) -> str:
        if self.copies == 1 and not self.at_least:
            return self.name
        return f"{self.name}x{'≥' if self.at_least else ''}{self.copies}"


@dataclass(frozen=True)
class Allele:
    """What one chromosome carries of a gene.

    Attributes
    ----------
    units : its parts, in the order they are written; most alleles have one
    kind : `star` (`*4`), a `tandem` of gene copies (`*36+*10`, `*68x2+*4`), a `variant` (`c.1905+1G>A (*2A)`,
        `rs9923231 variant (T)`), a `base`, or a `combination` of several on one chromosome (`[a + b]`)
    """

    units: tuple[Copies, ...]
    kind: Literal["star", "tandem", "variant", "base", "combination"]

    @classmethod
    def parse(cls, text: str) -> Allele:
        """Read `*1`, `*1x2`, `*2x≥3`, `*36+*10`, a variant with or without commas, a base, or `[a + b]`.

        Raises
        ------
        InvalidDiplotypeError : the text has no known form
        """
        return _parse(text)

    @property
    def has_structure(self) -> bool:
        """Whether it has several gene copies on one chromosome."""
        return self.kind == "tandem" or self.units[0].copies > 1 or self.units[0].at_least

    def __str__(self) -> str:
        if self.kind == "combination":
            return f"[{' + '.join(map(str, self.units))}]"
        return "+".join(map(str, self.units))


@lru_cache(maxsize=4096)
def _parse(text: str) -> Allele:
    if text.startswith("[") and text.endswith("]"):
        # variants have "+" of their own (c.1905+1G>A), so the parts are told apart by " + "
        parts = [_parse(part.strip()) for part in text[1:-1].split(" + ")]
        if len(parts) > 1 and {part.kind for part in parts} <= {"star", "variant"} and _alike(parts):
            units = sorted((part.units[0] for part in parts), key=lambda unit: _natural_key(str(unit)))
            if len(set(units)) == len(units):
                return Allele(tuple(units), "combination")
    elif text.startswith("*"):
        matches = [_UNIT.fullmatch(part) for part in text.split("+")]
        found = [match for match in matches if match is not None]
        if len(found) == len(matches):
            units = tuple(
                Copies(match["name"], int(match["copies"] or 1), bool(match["at_least"])) for match in found
            )
            # *1x1 would be a second text for *1
            if all(match["copies"] is None or match["copies"] != "1" or match["at_least"] for match in found):
                return Allele(units, "tandem" if len(units) > 1 else "star")
    elif _BASE.fullmatch(text):
        return Allele((Copies(text),), "base")
    elif _VARIANT.fullmatch(text):
        return Allele((Copies(text),), "variant")
    raise InvalidDiplotypeError(
        f"{text!r} is no allele name; write a star allele ('*1', '*1x2', '*2x≥3', '*36+*10'), a base "
        "(A, C, G, T), a variant as the tables name it ('c.1905+1G>A (*2A)', 'rs9923231 variant (T)'), or "
        "several on one chromosome ('[c.85T>C (*9A) + c.1627A>G (*5)]')"
    )


def _is_allele(text: str) -> bool:
    try:
        _parse(text)
    except InvalidDiplotypeError:
        return False
    return True


def _alike(parts: list[Allele]) -> bool:
    return len({part.kind for part in parts}) == 1


def _family(allele: Allele) -> str:
    """Which alleles may stand beside each other."""
    kind = allele.kind
    if kind == "combination":
        kind = "star" if allele.units[0].name.startswith("*") else "variant"
    return "star" if kind == "tandem" else kind


@dataclass(frozen=True)
class Diplotype:
    """The two alleles of a gene that one person carries, without order: `*2/*1` equals `*1/*2`.

    The alleles are put in natural order (`*2` before `*10`, as CPIC writes them; coding-strand bases as the
    models write them: GG, GA, AA), so that equal diplotypes have equal text.

    Attributes
    ----------
    allele1, allele2 : names of the alleles, in canonical order; `Allele.parse` takes them apart

    Raises
    ------
    InvalidDiplotypeError : an allele's name has no known form, or the two are named in different ways
    """

    allele1: str
    allele2: str

    def __post_init__(self) -> None:
        pair = _parse(self.allele1), _parse(self.allele2)
        if len({_family(allele) for allele in pair}) > 1:
            raise InvalidDiplotypeError(
                f"alleles {self.allele1!r} and {self.allele2!r} are named in different ways; "
                "name both by star, both by variant or both by base"
            )
        first, second = sorted(map(str, pair), key=_natural_key)
        object.__setattr__(self, "allele1", first)
        object.__setattr__(self, "allele2", second)

    @classmethod
    def parse(cls, text: str) -> Diplotype:
        """Read `"*1/*3"`, `"*36+*10/*1x2"`, or two bases, where `"GA"`, `"A/G"` and `"G/A"` are the same.

        Raises
        ------
        InvalidDiplotypeError : the text does not name two alleles
        """
        names = list(text) if _TWO_BASES.fullmatch(text) else text.split("/")
        if len(names) == 1 and _is_allele(text.strip()):
            name = text.strip()
            raise InvalidDiplotypeError(
                f"diplotype {text!r} names one allele, and two are needed; write '{name}/{name}' if both "
                "chromosomes carry it, or add the other one behind '/'"
            )
        if len(names) != 2:
            raise InvalidDiplotypeError(
                f"diplotype {text!r} does not name two alleles; write '*1/*3', or two bases as 'GA' or 'G/A'"
            )
        return cls(names[0].strip(), names[1].strip())

    @property
    def alleles(self) -> tuple[str, str]:
        """The two alleles in canonical order."""
        return self.allele1, self.allele2

    def __str__(self) -> str:
        return ("" if _BASE.fullmatch(self.allele1) else "/").join(self.alleles)


def coding_strand_allele(gene: str, allele: str) -> str:
    """Allele of a table as models write it: the coding-strand base for VKORC1, else the name unchanged.

    Parameters
    ----------
    gene, allele : as in the tables; VKORC1 has `rs9923231 reference (C)` and `rs9923231 variant (T)`
    """
    return CODING_STRAND.get(gene, {}).get(allele, allele)


def coding_strand_pair(gene: str, diplotype: Diplotype) -> Diplotype:
    """Diplotype of a table as models write it; alleles as in `coding_strand_allele`."""
    return Diplotype(*(coding_strand_allele(gene, allele) for allele in diplotype.alleles))


def table_allele(gene: str, allele: str) -> str:
    """Allele as the tables name it: of VKORC1 the name of a coding-strand base, else the name unchanged.

    Parameters
    ----------
    gene, allele : as `coding_strand_allele` gives them
    """
    return {base: name for name, base in CODING_STRAND.get(gene, {}).items()}.get(allele, allele)


def _natural_key(allele: str) -> tuple[list[str | int], str]:
    if len(allele) == 1:
        return [_BASE_ORDER.index(allele)], allele
    # re.split with a group alternates text and number, so that keys always compare like with like.
    parts = re.split(r"(\d+)", allele.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], allele
