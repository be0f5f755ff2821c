"""Rows of the tables of published numbers that are not CPIC's; they ship with the package."""

from __future__ import annotations

import csv
from collections.abc import Collection, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from types import MappingProxyType

from dosewright.pharmacogenomics.tables import TABLES


class UnknownDrugError(ValueError):
    """The table that was asked has no such drug."""


def listed_drug(drug: str, known: Collection[str], file: str) -> str:
    """Name of a drug as a table writes it: lower case.

    Raises
    ------
    UnknownDrugError : `known`, the drugs of `file`, does not have it: it may be misspelt, and what an
        unlisted drug does is not known
    """
    name = drug.strip().lower()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(sorted(known))}"
        raise UnknownDrugError(f"{file} does not list {drug!r}; {hint}")
    return name


def drug_names(drugs: Sequence[str] | str) -> tuple[str, ...]:
    """Names of drugs as the tables write them: in lower case, each once. A text is one name."""
    given = (drugs,) if isinstance(drugs, str) else drugs
    return tuple(dict.fromkeys(drug.strip().lower() for drug in given))


@lru_cache
def literature_rows(name: str) -> tuple[tuple[str, Mapping[str, str]], ...]:
    """Rows of a file of `data/literature`, each with its place (`"inhibitors.csv, line 4"`).

    Parameters
    ----------
    name : file name; sources, columns and licence of each file are in the `NOTICE.md` beside it
    """
    text = TABLES.folder.joinpath("literature", name).read_text(encoding="utf-8")
    reader = csv.DictReader(text.splitlines())
    return tuple((f"{name}, line {reader.line_num}", MappingProxyType(row)) for row in reader)
