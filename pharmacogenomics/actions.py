"""What CPIC's recommendations say, as structure in this project's own terms; read by hand from their text."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Literal, cast, get_args

from dosewright.pharmacogenomics.tables import TABLES, TablesError

NO_RESULT = "No Result"
"""CPIC's key for a gene that was not tested; only the rows of drugs with several genes have it."""

ActionKind = Literal[
    "avoid",
    "alternative",
    "consider alternative",
    "reduce",
    "increase",
    "limit",
    "titrate",
    "usual",
    "caution",
    "monitor",
    "no recommendation",
]


@dataclass(frozen=True)
class Action:
    """What to do, without the drug's name. A text field is "" and a number None where the source is silent.

    Attributes
    ----------
    kind : `avoid` the drug; take an `alternative`, or consider it; `reduce` or `increase` the dose; `limit`
        it; `titrate` from one dose to another; `usual` dose; use with `caution`; `monitor` (no dose follows);
        `no recommendation`. Numbers beside the first three hold if the drug is used all the same
    instead, instead_when : what to take instead; "" where `kind` says when, and beside `avoid` where it is
        only to be considered, `or` if it is as good a choice, or when it holds
    reason : why the drug is avoided
    fraction : part of the usual dose, dimensionless, from low to high; high None: open upwards
    fraction_of : the dose that `fraction` is of, or, without a number, that `kind` changes: `starting`,
        `maintenance`, `starting and maintenance` or `daily`
    days_a_week : days on which a dose is given instead of daily; `fraction` is then of the weekly dose
    absolute_min, absolute_max : doses in `absolute_unit`, for `absolute_of`: `starting`,
        `starting, one of the two`, `maximum`, or `starting, then titrated`
    below : whether `absolute_max` itself is too much
    condition : what the action or its numbers hold for; of `titrate` when the dose is raised, or how long it
        is kept
    usual_dose : the dose that CPIC calls usual
    starting, maintenance : direction of that dose against the usual one (`lower`, `higher`, `usual`)
    titration : `slower` or `usual` pace, or what it goes by
    watch : what to monitor
    if_not_enough : what to do when the dose is not enough
    note : remark in own words
    """

    kind: ActionKind
    instead: str
    instead_when: str
    reason: str
    fraction: tuple[float, float | None] | None
    fraction_of: str
    days_a_week: int | None
    absolute_min: float | None
    absolute_max: float | None
    absolute_unit: str
    absolute_of: str
    below: bool
    condition: str
    usual_dose: str
    starting: str
    maintenance: str
    titration: str
    watch: tuple[str, ...]
    if_not_enough: str
    note: str

    @property
    def flags(self) -> frozenset[Literal["alternative", "monitor", "titrate"]]:
        """Whether another drug comes into question, something is to be monitored, the dose to be titrated."""
        held: dict[Literal["alternative", "monitor", "titrate"], bool] = {
            "alternative": bool(self.instead) or self.kind == "avoid",
            "monitor": bool(self.watch),
            "titrate": bool(self.titration),
        }
        return frozenset(flag for flag, holds in held.items() if holds)


@dataclass(frozen=True)
class Guideline:
    """Where the rows of a drug come from.

    Attributes
    ----------
    drug, name, url : the drug in lower case, the guideline's title and page
    genes : genes that its rows are looked up by, in alphabetical order
    citations : PubMed identifiers with the year
    version, version_date : CPIC's database, and the month of it; rows changed later have their own date
    note : remark on the state of the rows
    """

    drug: str
    name: str
    url: str
    genes: tuple[str, ...]
    citations: tuple[str, ...]
    version: str
    version_date: str
    note: str


@dataclass(frozen=True)
class SourceRow:
    """One recommendation of CPIC's database.

    Attributes
    ----------
    guideline : the guideline that it belongs to
    number : its place among the rows of the drug, from 1
    population : as CPIC names it
    lookups : gene to key; any of them leads here
    classification : CPIC's strength: Strong, Moderate, Optional, No Recommendation, n/a
    changed : ISO date of a change after `guideline.version`, "" if there was none
    action : what it says
    """

    guideline: Guideline
    number: int
    population: str
    lookups: tuple[Mapping[str, str], ...]
    classification: str
    changed: str
    action: Action

    @property
    def date(self) -> str:
        """Month or day of the row's last change."""
        return self.changed or self.guideline.version_date

    def __str__(self) -> str:
        guideline = self.guideline
        return (
            f"CPIC guideline {guideline.name}, {guideline.drug} row {self.number} ({self.population}), "
            f"database {guideline.version}, {self.date}; {', '.join(guideline.citations)}"
        )


@cache
def guidelines() -> Mapping[str, Guideline]:
    """Drug to guideline, in CPIC's order; all drugs with rows."""
    return MappingProxyType(
        {
            row["drug"]: Guideline(
                row["drug"],
                row["guideline"],
                row["url"],
                tuple(row["genes"].split(";")),
                tuple(row["citations"].split(";")),
                row["cpic_db_version"],
                row["version_date"],
                row["note"],
            )
            for _, row in _rows("recommendation_guidelines.csv")
        }
    )


@cache
def source_rows(drug: str) -> tuple[SourceRow, ...]:
    """Rows of a drug in CPIC's order; none for a drug without a guideline."""
    return tuple(row for row in _source_rows() if row.guideline.drug == drug)


@cache
def row_index(drug: str, population: str) -> Mapping[frozenset[tuple[str, str]], SourceRow]:
    """Row by look-up, as a set of (gene, key); empty for a drug or population without rows."""
    return MappingProxyType(
        {
            frozenset(lookup.items()): row
            for row in source_rows(drug)
            if row.population == population
            for lookup in row.lookups
        }
    )


@cache
def _source_rows() -> tuple[SourceRow, ...]:
    return tuple(
        SourceRow(
            guidelines()[row["drug"]],
            int(row["source_row"]),
            row["population"],
            tuple(_lookup(cell) for cell in row["lookup"].split("|")),
            row["classification"],
            row["changed"],
            _action(place, row),
        )
        for place, row in _rows("recommendation_actions.csv")
    )


def _lookup(cell: str) -> Mapping[str, str]:
    pairs = (pair.partition("=") for pair in cell.split(";"))
    return MappingProxyType({gene: key for gene, _, key in pairs})


def _action(place: str, row: Mapping[str, str]) -> Action:
    if row["action"] not in get_args(ActionKind):
        raise TablesError(
            f"{place}: action {row['action']!r} is not one of {', '.join(get_args(ActionKind))}"
        )
    low, high, least, most = (
        float(row[name]) if row[name] else None
        for name in ("fraction_low", "fraction_high", "absolute_min", "absolute_max")
    )
    return Action(
        kind=cast(ActionKind, row["action"]),
        instead=row["instead"],
        instead_when=row["instead_when"],
        reason=row["reason"],
        fraction=None if low is None else (low, high),
        fraction_of=row["fraction_of"],
        days_a_week=int(row["days_a_week"]) if row["days_a_week"] else None,
        absolute_min=least,
        absolute_max=most,
        absolute_unit=row["absolute_unit"],
        absolute_of=row["absolute_of"],
        below=row["below"] == "yes",
        condition=row["condition"],
        usual_dose=row["usual_dose"],
        starting=row["starting"],
        maintenance=row["maintenance"],
        titration=row["titration"],
        watch=tuple(row["watch"].split("|")) if row["watch"] else (),
        if_not_enough=row["if_not_enough"],
        note=row["note"],
    )


def _rows(name: str) -> list[tuple[str, dict[str, str]]]:
    text = TABLES.folder.joinpath("cpic", name).read_text(encoding="utf-8")
    reader = csv.DictReader(text.splitlines())
    return [(f"{name}, line {reader.line_num}", row) for row in reader]
