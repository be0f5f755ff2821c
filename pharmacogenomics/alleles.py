"""Names of alleles, and the unordered pair of them that one person carries."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

_STAR = r"\*[1-9]\d*[A-Z]?(?:\.\d+)?(?:x≥?[1-9]\d*)?"  # *3A, *1.002, *1x2, *2x≥3
_NAMES = {
    "star": re.compile(rf"{_STAR}(?:\+{_STAR})*"),  # a tandem such as *36+*10 is one allele
    "base": re.compile(r"[ACGT]"),
    "variant": re.compile(r"Reference|c\.[^/\s](?:[^/\n]*[^/\s])?|rs\d+ (?:reference|variant) \([ACGT]+\)"),
}
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
    """The text does not name two alleles."""


@dataclass(frozen=True)
class Diplotype:
    """The two alleles of a gene that one person carries, without order: `*2/*1` equals `*1/*2`.

    The alleles are put in natural order (`*2` before `*10`, as CPIC writes them; coding-strand bases as the
    models write them: GG, GA, AA), so that equal diplotypes have equal text. An allele is a star name with
    copies and tandems (`*1x2`, `*36+*10`), a DPYD variant, a CPIC rs name, or one base.

    Attributes
    ----------
    allele1, allele2 : names of the alleles, in canonical order

    Raises
    ------
    InvalidDiplotypeError : an allele's name has no known form, or the two are named in different ways
    """

    allele1: str
    allele2: str

    def __post_init__(self) -> None:
        kinds = {_kind(self.allele1), _kind(self.allele2)}
        if len(kinds) > 1:
            raise InvalidDiplotypeError(
                f"alleles {self.allele1!r} and {self.allele2!r} are named in different ways; "
                "name both by star, both by variant or both by base"
            )
        first, second = sorted((self.allele1, self.allele2), key=_natural_key)
        object.__setattr__(self, "allele1", first)
        object.__setattr__(self, "allele2", second)

    @classmethod
    def parse(cls, text: str) -> "Diplotype":
        """Read `"*1/*3"`, `"*36+*10/*1x2"`, or two bases, where `"GA"`, `"A/G"` and `"G/A"` are the same.

        Raises
        ------
        InvalidDiplotypeError : the text does not name two alleles
        """
        names = text.split("/")
        if len(names) == 1 and len(text) == 2:
            names = list(text)
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
        return ("" if _kind(self.allele1) == "base" else "/").join(self.alleles)


def coding_strand_allele(gene: str, allele: str) -> str:
    """Allele of a table as models write it: the coding-strand base for VKORC1, else the name unchanged.

    Parameters
    ----------
    gene, allele : as in the tables; VKORC1 has `rs9923231 reference (C)` and `rs9923231 variant (T)`
    """
    return CODING_STRAND.get(gene, {}).get(allele, allele)


def _kind(allele: str) -> str:
    for kind, pattern in _NAMES.items():
        if pattern.fullmatch(allele):
            return kind
    raise InvalidDiplotypeError(
        f"{allele!r} is no allele name; write a star allele ('*1', '*1x2', '*36+*10'), a base (A, C, G, T), "
        "or a variant as the tables name it ('c.1905+1G>A (*2A)', 'rs9923231 variant (T)')"
    )


def _natural_key(allele: str) -> tuple[list[str | int], str]:
    if len(allele) == 1:
        return [_BASE_ORDER.index(allele)], allele
    # re.split with a group alternates text and number, so that keys always compare like with like.
    parts = re.split(r"(\d+)", allele.casefold())
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], allele
