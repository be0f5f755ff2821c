"""Hold the recommendations against CPIC's own text, and the actions against a numeric reading of it.

`cases/diplotype_recommendation.json` gives diplotypes with CPIC's look-up key, text and classification;
`recommendations_cpic.json` and `dose_actions_cpic.csv` stand one folder above. The package carries none of
CPIC's text, so that a text is compared through the source row that the recommendation names. The numeric
reading was made by pattern: `dose_action_errata.csv` lists its rows that the text contradicts (`wrong`: not
compared), and those that leave out a number or direction (`incomplete`: compared as far as they go).
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.pgx_cases import Row, check, score_text
from dosewright.pharmacogenomics.actions import Action, row_index, source_rows
from dosewright.pharmacogenomics.recommendation import EVERYONE, recommend

ERRATA = Path(__file__).with_name("dose_action_errata.csv")
_TOLERANCE = 1e-4  # the reading gives five digits


def lookups(folder: Path) -> Row:
    """Diplotypes to look-up key and classification, of every case."""
    return check("look-up key and classification", _cases(folder), _case_fault, _name)


def texts(folder: Path) -> Row:
    """Text of the source row that the recommendation names, of every case."""
    cpic = _cpic(folder)
    return check("text of the source row", _cases(folder), lambda case: _text_fault(case, cpic), _name)


def carried(folder: Path) -> Row:
    """Every row of CPIC's, with population, look-ups, classification and date."""
    return check(
        "source rows carried", _carried(_cpic(folder)), _carried_fault, lambda row: f"{row[0]} row {row[1]}"
    )


def actions(folder: Path) -> Row:
    """Class and numbers of the action, of every row of the reading that the text does not contradict."""
    rows = list(csv.DictReader(_text(folder.parent / "dose_actions_cpic.csv").splitlines()))
    return check(
        "class and numbers of the action",
        _trusted(rows),
        _action_fault,
        lambda row: f"{row['drug']}, {row['population']}, {row['lookup']}",
    )


def _cases(folder: Path) -> list[Mapping[str, Any]]:
    return json.loads(_text(folder / "diplotype_recommendation.json"))


def _cpic(folder: Path) -> Mapping[str, Any]:
    return json.loads(_text(folder.parent / "recommendations_cpic.json"))


def errata() -> Mapping[tuple[str, str, frozenset[str]], Mapping[str, str]]:
    """Rows of `dose_action_errata.csv` by drug, population and look-up."""
    return {_key(row): row for row in csv.DictReader(_text(ERRATA).splitlines())}


def _case_fault(case: Mapping[str, Any]) -> str | None:
    found = recommend(case["drug"], case["diplotypes"], case.get("population") or EVERYONE)
    got = dict(found.lookup), found.classification
    keys = {gene: score_text(key) for gene, key in case["expected_lookup"].items()}
    expected = keys, case["expected_classification"]
    return None if got == expected else f"{got}, expected {expected}"


def _text_fault(case: Mapping[str, Any], cpic: Mapping[str, Any]) -> str | None:
    row = recommend(case["drug"], case["diplotypes"], case.get("population") or EVERYONE)
    guideline = cpic[row.drug]
    if guideline["guideline"] != row.row.guideline.name:
        return f"guideline {row.row.guideline.name}, expected {guideline['guideline']}"
    texts = [
        entry["recommendation"]
        for entry in guideline["recommendations"]
        if entry["population"] == row.row.population and dict(row.lookup) in entry["lookup"]
    ]
    expected = [case["expected_recommendation"]]
    return None if texts == expected else f"{texts}, expected {expected}"


def _carried(cpic: Mapping[str, Any]) -> list[tuple[str, int, Mapping[str, Any]]]:
    return [
        (drug, number, entry)
        for drug, guideline in cpic.items()
        for number, entry in enumerate(guideline["recommendations"], start=1)
    ]


def _carried_fault(case: tuple[str, int, Mapping[str, Any]]) -> str | None:
    drug, number, entry = case
    rows = source_rows(drug)
    if number > len(rows):
        return "is not carried"
    row = rows[number - 1]
    got = (
        row.number,
        row.population,
        [dict(lookup) for lookup in row.lookups],
        row.classification,
        row.changed,
    )
    expected = (
        number, entry["population"], entry["lookup"], entry["classification"], entry.get("changed", "")
    )  # fmt: skip
    return None if got == expected else f"{got}, expected {expected}"


def _trusted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    wrong = {key for key, row in errata().items() if row["verdict"] == "wrong"}
    return [row for row in rows if _key(row) not in wrong]


def _action_fault(row: Mapping[str, str]) -> str | None:
    lookup = frozenset(tuple(pair.strip().split("=", 1)) for pair in row["lookup"].split(";"))
    found = row_index(row["drug"], row["population"]).get(lookup)  # pyright: ignore[reportArgumentType]
    if found is None:
        return "no such row"
    action = found.action
    got, expected = (reading(action), found.classification), (row["action"], row["classification"])
    if got != expected:
        return f"{got}, expected {expected}"
    low, high = action.fraction or (None, None)
    numbers = {
        "multiplier_low": low,
        "multiplier_high": high,
        "absolute_min": action.absolute_min,
        "absolute_max": action.absolute_max,
    }
    for column, mine in numbers.items():
        if row[column] and (mine is None or abs(mine - float(row[column])) > _TOLERANCE):
            return f"{column} {mine}, expected {row[column]}"
    return None


def reading(action: Action) -> str:
    """Class that the numeric reading has for an action."""
    fraction = action.fraction
    match action.kind:
        case "avoid" | "alternative":
            if action.absolute_max is not None:
                return "alternative_or_limit"
            return "avoid_or_reduce" if fraction is not None and fraction[0] < 1 else "avoid_or_alternative"
        case "consider alternative":
            return "consider_alternative" if fraction is None else "reduce"
        case "usual":
            if fraction is None:
                return "standard"
            return "optional_increase" if fraction[0] > 1 else "optional_reduce"
        case "reduce":
            return "reduce" if action.absolute_min is None else "absolute"
        case "titrate":
            return "titrate_slow" if action.titration == "slower" else "titrate_fast"
        case kind:
            return kind.replace(" ", "_")


def _name(case: Mapping[str, Any]) -> str:
    return f"{case['drug']}, {case.get('population') or EVERYONE}, {case['diplotypes']}"


def _key(row: Mapping[str, str]) -> tuple[str, str, frozenset[str]]:
    return (
        row["drug"],
        row["population"],
        frozenset(pair.strip() for pair in row["lookup"].split(";")),
    )


def _text(path: Path) -> str:
    if not path.is_file():
        raise ValueError(f"no file {path}: give the folder `cases` of the genetic tables")
    return path.read_text(encoding="utf-8")
