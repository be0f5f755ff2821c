"""Rows of a table of real people, as patients."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.patients import Patients, enrol, race_columns
from dosewright.envs.pharmacology import PopulationModel
from dosewright.pharmacogenomics import Diplotype

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Column:
    """How one column of a table of people is read.

    Attributes
    ----------
    name
        Column of the file.
    becomes
        Covariate, gene or label that it becomes.
    kind
        "number"; "category" (looked up in `values`); "flag" (0 or 1; blank means not taken, as in the dosing
        equations; flags of several columns may become one covariate); "diplotype"; "at_most" (refused above
        `high`, otherwise not used; blank counts as within).
    low, high
        Plausible range of a number; a value outside is refused, not clipped.
    values
        Category -> number, or word for a label.
    required
        A row in which it is blank is refused.
    """

    name: str
    becomes: str
    kind: Literal["number", "category", "flag", "diplotype", "at_most"]
    low: float = -math.inf
    high: float = math.inf
    values: Mapping[str, Any] | None = None
    required: bool = False


@dataclass(frozen=True)
class CohortTable:
    """How a table of real people is read.

    Attributes
    ----------
    columns
        Columns that are used.
    ignored
        Columns that may be there and are not used; any other column is an error.
    race, races
        Column of the race with its categories, and those that an observation tells apart.
    source
        Where the layout is documented.
    """

    columns: tuple[Column, ...]
    ignored: frozenset[str]
    race: Column
    races: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Refusal:
    """A row that cannot be used, its number in the file (1 is the first after the header), and why."""

    row: int
    reason: str


@dataclass(frozen=True)
class RealCohort:
    """Usable rows of a table of real people; `draw` gives them by row number.

    Attributes
    ----------
    path, rows
        File, and number of rows in it.
    usable : (m,) row numbers
    refused
        The others, with the reason.
    """

    path: str
    rows: int
    usable: NDArray[np.int64]
    refused: tuple[Refusal, ...]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]

    @property
    def reasons(self) -> dict[str, int]:
        """Number of refused rows by reason."""
        return dict(Counter(item.reason for item in self.refused).most_common())

    def choose(self, n: int | None, noise: Noise) -> NDArray[np.int64]:
        """Return the row numbers of `n` usable people drawn without replacement by the seed, or of all of
        them.

        Raises
        ------
        ValueError
            If fewer than `n` rows are usable.
        """
        if n is None:
            return self.usable
        if n > len(self.usable):
            most = next(iter(self.reasons.items()), None)
            why = "" if most is None else f"; most often refused: {most[0]} ({most[1]} rows)"
            raise ValueError(
                f"{self.path}: {n} patients wanted, {len(self.usable)} of {self.rows} rows are usable; "
                f"ask for at most {len(self.usable)}{why}"
            )
        order = np.argsort(noise.uniforms(self.usable, Stream.ROWS)[:, 0, 0], kind="stable")
        return np.sort(self.usable[order[:n]])

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the people of rows `ids`."""
        where = np.searchsorted(self.usable, ids)
        if len(ids) and (where.max() >= len(self.usable) or np.any(self.usable[where] != ids)):
            raise ValueError(
                f"{self.path}: row {sorted(set(ids.tolist()) - set(self.usable.tolist()))[0]} is not usable"
            )
        return enrol(
            model,
            base,
            np.asarray(ids, dtype=np.int64),
            {name: value[where] for name, value in self.covariates.items()},
            {gene: value[where] for gene, value in self.genotypes.items()},
            {name: value[where] for name, value in self.labels.items()},
            noise,
        )


def read_cohort(path: str | Path, table: CohortTable, needs: frozenset[str] = frozenset()) -> RealCohort:
    """Read a CSV of real people.

    Parameters
    ----------
    path
        UTF-8 CSV with a header row; an empty cell is not recorded.
    table
        The layout.
    needs
        Covariates that some arm needs besides what the table requires; a row that lacks one is refused for
        all arms.

    Raises
    ------
    ValueError
        For a file that is empty, an unknown column, or a column that is not there.
    """
    file = Path(path)
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "not found"
        raise ValueError(f"cohort file {file}: {found}; give a CSV file, docs/cohorts.md has its columns")
    try:
        with file.open(newline="", encoding="utf-8-sig") as handle:
            reader = csv.DictReader(handle)
            header = reader.fieldnames or []
            _check_header(file, header, table)
            records = list(reader)
    except UnicodeDecodeError as error:
        raise ValueError(f"cohort file {file}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    if not records:
        raise ValueError(f"cohort file {file}: has a header and no rows")
    columns = (*table.columns, table.race)
    parsed, usable, refused = [], [], []
    for number, record in enumerate(records, start=1):
        try:
            if None in record or None in record.values():
                raise _RefusedRow("wrong number of cells")
            parsed.append({column: _cell(column, record[column.name].strip(), needs) for column in columns})
            usable.append(number)
        except _RefusedRow as error:
            refused.append(Refusal(number, str(error)))
    genotypes = {c.becomes: _strings(parsed, c) for c in columns if c.kind == "diplotype"}
    covariates: dict[str, Floats] = {}
    for column in table.columns:
        if column.kind in ("number", "category", "flag"):
            value = np.array([row[column] for row in parsed], dtype=np.float64)
            # flags of several drugs may make one covariate
            covariates[column.becomes] = np.maximum(covariates.get(column.becomes, value), value)
    race = _strings(parsed, table.race)
    return RealCohort(
        path=str(path),
        rows=len(records),
        usable=np.array(usable, dtype=np.int64),
        refused=tuple(refused),
        covariates={**covariates, **race_columns(race, table.races)},
        genotypes=genotypes,
        labels={"ancestry": race},
    )


class _RefusedRow(Exception):
    """A row that cannot be used; the message is the reason."""


def _strings(parsed: Sequence[Mapping[Column, Any]], column: Column) -> NDArray[np.str_]:
    return np.array([row[column] for row in parsed], dtype=np.str_)


def _check_header(file: Path, header: Sequence[str], table: CohortTable) -> None:
    used = {column.name for column in (*table.columns, table.race)}
    known = used | table.ignored
    for name in header:
        if name not in known:
            near = get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"cohort file {file}: unknown column {name!r}{hint} ({table.source})")
    absent = [name for name in sorted(used) if name not in header]
    if absent:
        raise ValueError(f"cohort file {file}: column {absent[0]!r} is missing ({table.source})")


def _cell(column: Column, text: str, needs: frozenset[str]) -> Any:
    """Return one value of a row, or refuse the row."""
    if not text:
        if column.required or column.becomes in needs:
            raise _RefusedRow(f"{column.name} not recorded")
        return {"number": math.nan, "category": math.nan, "flag": 0.0, "at_most": None}[column.kind]
    if column.kind == "diplotype":
        try:
            return str(Diplotype.parse(text))
        except ValueError:
            raise _RefusedRow(f"{column.name} {text!r} cannot be read") from None
    if column.values is not None:
        if text not in column.values:
            raise _RefusedRow(f"{column.name} {text!r} is none of {', '.join(column.values)}")
        return column.values[text]
    try:
        value = float(text)
    except ValueError:
        raise _RefusedRow(f"{column.name} {text!r} is no number") from None
    if column.kind == "at_most" and value > column.high:
        raise _RefusedRow(f"{column.name} above {column.high:g}")
    if column.kind != "at_most" and not column.low <= value <= column.high:
        raise _RefusedRow(f"{column.name} outside {column.low:g} to {column.high:g}")
    return value
