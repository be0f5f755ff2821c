"""Patient data as NONMEM-style tables: text in, text out. What a record means stands in `records`."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import NoReturn

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.records import COLUMNS, MISSING, PatientRecords, derived_evid, instead

Floats = NDArray[np.float64]

# what the header may call them; OCC and anything else that is a number is a covariate
_READ = (*COLUMNS, "YTYPE", "CENS", "DATE")
_SAME = (("DVID", "YTYPE"), ("BLQ", "CENS"))  # two names of one thing
# words of the trade for a column that would otherwise become a covariate unnoticed
_OTHER_WORDS = {
    "SUBJECT": "ID", "SUBJID": "ID", "USUBJID": "ID", "DOSE": "AMT", "AMOUNT": "AMT", "CONC": "DV",
    "TAU": "II", "LOQ": "LLOQ", "BLOQ": "BLQ", "BQL": "BLQ", "DUR": "RATE", "COMP": "CMT",
}  # fmt: skip
# reserved by NONMEM or Monolix, with an effect on the data that is not implemented here
_REFUSED = ("ADM", "CALL", "CONT", "DAT1", "DAT2", "DAT3", "L1", "L2", "LIMIT", "PCMT", "TINF")
_CLOCK = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?")
_DAY = re.compile(r"(\d{4})[-/](\d{1,2})[-/](\d{1,2})")


def read_nonmem(
    path: str | Path,
    *,
    units: Mapping[str, str] | None = None,
    covariates: Sequence[str] | None = None,
    columns: Mapping[str, str | None] | None = None,
    where: Mapping[str, str | Collection[str]] | None = None,
) -> tuple[PatientRecords, ...]:
    """Read the patients of a table with one record a line, in the file's order.

    Parameters
    ----------
    path
        UTF-8 text with a header, parted by comma, semicolon, tab or blanks. Names of columns in any case: ID,
        TIME, DATE, EVID, AMT, CMT, II, ADDL, SS, RATE, DV, MDV, DVID (or YTYPE), BLQ (or CENS), LLOQ; a unit
        may stand in brackets, ``DV[ng/mL]``, several by DVID as ``DV[1=ng/mL|2=%]``. An empty cell, ``.`` and
        ``NA`` are missing. Rows are ignored that begin with ``#``, whose first cell is ``C``, or that repeat
        the header (NONMEM's ``IGNORE`` of # and C; with @ NONMEM also ignores rows that begin with a letter,
        which here may be an ID).
    units
        Unit of a column whose header has none; for several measurements ``{"DV:1": ..., "DV:2": ...}``.
    covariates
        Columns to be read as covariates, all others being ignored. By default every other column in which
        something stands is one, and has to be numeric.
    columns
        Other names for columns: ``{"time_h": "TIME"}``; None leaves a column out.
    where
        Rows to read, by the text of their cells: ``{"model": "001"}``, or several ``{"ID": ("1", "2")}``. A
        column used so is no covariate unless asked for.

    Returns
    -------
    tuple of PatientRecords
        With covariates by their names in the header.

    Raises
    ------
    ValueError
        With file, line, patient, column, value and remedy: for a file that is absent or has no records; a
        column that is missing (ID, TIME, and DV or AMT), twice there, nearly a known one, or not numeric; a
        row of another length; an ID that comes again after another patient (NONMEM would take it for a new
        one); a cell that is no number; BLQ or CENS without a limit; and whatever `PatientRecords` refuses.

    Notes
    -----
    *EVID and MDV*, where not given, are derived as `PatientRecords.of` says, by AMT and MDV as in NM-TRAN.

    *Clock times.* If a TIME has a colon (08:30), or there is a DATE, times become hours from the patient's
    first record that is read, as in NM-TRAN; a TIME without a colon is then hours of the day. DATE is
    year-month-day or a whole number of days; other orders of a date are refused, being ambiguous.

    *Below the limit of quantification.* CENS 1 (Monolix): the limit is DV. BLQ 1: the limit is LLOQ, and DV,
    whatever stands there, is not a value. With LLOQ alone: an observation with DV below LLOQ. With BLQ or
    CENS 0, DV is a value, even if below LLOQ.

    *Covariates* must be known at a patient's first record; later, `PatientRecords.covariate` carries the last
    value forward.
    """
    table = _Table.load(Path(path), columns or {})
    wanted = None if covariates is None else [table.find(name, "covariates") for name in covariates]
    rows = table.select(where or {})
    chosen = {table.find(name, "where") for name in where or {}}
    names = _covariates(table, rows, wanted, chosen)
    known = _units(table, names, units or {})
    clock = "DATE" in table.position or any(":" in cells[table.position["TIME"]] for _, cells in rows)
    if clock and known.setdefault("TIME", "h") != "h":
        table.fail(f"TIME has the unit {known['TIME']!r} and clock times, which become hours; expected 'h'")
    blocks = list(_patients(table, rows))  # all IDs are checked before any cell
    return tuple(_patient(table, block, names, clock, known) for block in blocks)


def write_nonmem(path: str | Path, patients: Sequence[PatientRecords]) -> None:
    """Write patients as a comma-separated table that `read_nonmem` reads back exactly.

    All columns are written, in upper case, with units in brackets, a missing value as ``.``, a level below
    the limit of quantification as BLQ 1 with LLOQ; only `line` is that of the new file. The file appears
    whole or not at all.

    Raises
    ------
    ValueError
        If there is no patient, two have one ID, or they differ in covariates or units.
    """
    if not patients:
        raise ValueError(f"{path}: no patients to write; give at least one")
    first, seen = patients[0], set[str]()
    for patient in patients:
        if patient.id in seen:
            raise ValueError(f"{path}: two patients with ID {patient.id!r}; rename one")
        seen.add(patient.id)
        for what, own, others in (
            ("covariates", list(patient.covariates), list(first.covariates)),
            ("units", dict(patient.units), dict(first.units)),
        ):
            if own != others:
                raise ValueError(
                    f"{path}: patients {first.id!r} and {patient.id!r} differ in {what}, {others} and {own}; "
                    f"a table has one of each: make them the same or write two files"
                )
    target = Path(path)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(_header(first))
            for patient in patients:
                writer.writerows(_written(patient))
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------- the table

_Row = tuple[int, list[str]]  # line of the file, cells


@dataclass(frozen=True)
class _Table:
    """Header and rows of a file.

    `names` are the columns' names, reserved ones in upper case; `position` their places, `units` from the
    header. A column that is left out has no name ("").
    """

    file: Path
    line: int
    names: list[str]
    position: dict[str, int]
    units: dict[str, str]
    rows: list[_Row]

    @classmethod
    def load(cls, file: Path, renamed: Mapping[str, str | None]) -> _Table:
        """Return a file with columns renamed and its header checked."""
        lines = _lines(file)
        header = next(((i, text) for i, (_, text) in enumerate(lines) if not _comment(text)), None)
        if header is None:
            raise ValueError(
                f"{file}: empty; expected a header with ID, TIME, DV or AMT, then one record a line"
            )
        at, text = header[0], header[1].lstrip("#@ ")
        apart = _delimiter(text)
        cells = _cells(text, apart)
        found = [_name(cell) for cell in cells]
        line = lines[at][0]
        names = _rename(f"{file}, line {line}", [name for name, _ in found], renamed)
        table = cls(
            file=file,
            line=line,
            names=names,
            position={name: i for i, name in enumerate(names) if name},
            units={name: unit for name, (_, unit) in zip(names, found, strict=True) if name and unit},
            rows=[],
        )
        table._check_header()
        for number, text in lines[at + 1 :]:
            row = _cells(text, apart)
            if text.lstrip().startswith("#") or row[0] == "C" or row == cells:
                continue
            if len(row) != len(cells):
                raise ValueError(
                    f"{file}, line {number}: {len(row)} cells ({text.strip()[:40]!r}); expected {len(cells)} "
                    f"as in the header, parted by {_WORDS[apart]}; a missing value is '.'"
                )
            table.rows.append((number, row))
        if not table.rows:
            raise ValueError(f"{file}: has a header and no records; expected one record a line")
        return table

    def fail(self, message: str) -> NoReturn:
        """Raise an error about the header."""
        raise ValueError(f"{self.file}, line {self.line}: {message}")

    def find(self, name: str, argument: str) -> str:
        """Return the column that a caller names in any case."""
        for own in self.position:
            if own.upper() == name.upper():
                return own
        self.fail(f"no column {name!r} ({argument}); {instead(name, self.position)}")

    def select(self, where: Mapping[str, str | Collection[str]]) -> list[_Row]:
        """Return the rows with these cells."""
        rows = self.rows
        for name, wanted in where.items():
            at = self.position[self.find(name, "where")]
            texts = {wanted} if isinstance(wanted, str) else set(wanted)
            there = dict.fromkeys(row[at] for _, row in rows)
            rows = [(line, row) for line, row in rows if row[at] in texts]
            if not rows:
                self.fail(
                    f"no row with {name} = {' or '.join(map(repr, sorted(texts)))} (where); there are "
                    f"{', '.join(map(repr, list(there)[:10]))}{', ...' if len(there) > 10 else ''}"
                )
        return rows

    def _check_header(self) -> None:
        first: dict[str, int] = {}
        for i, name in enumerate(self.names):
            if name and name.upper() in first:
                self.fail(
                    f"column {name!r} is there twice, {first[name.upper()] + 1} and {i + 1}; remove one"
                )
            first[name.upper()] = i
        for pair in _SAME:
            if all(name in self.position for name in pair):
                self.fail(
                    f"columns {pair[0]} and {pair[1]} are one thing; leave one out: "
                    f"columns={{{pair[1]!r}: None}}"
                )
        for needed in (("ID",), ("TIME",), ("DV", "AMT")):
            if not any(name in self.position for name in needed):
                near = _near(needed[0], self.names)
                hint = f"is it {near!r}? Then read with columns={{{near!r}: {needed[0]!r}}}; " if near else ""
                self.fail(
                    f"no column {' or '.join(needed)}; {hint}there are {', '.join(filter(None, self.names))}"
                )
        for name in self.position:
            self._check_meaning(name)

    def _check_meaning(self, name: str) -> None:
        """Refuse what looks like a reserved column and would be read as a covariate, or not at all."""
        upper = name.upper()
        leave = f"rename it (columns={{{name!r}: 'another name'}}) or leave it out ({{{name!r}: None}})"
        if upper in _REFUSED:
            self.fail(f"column {name!r} has a meaning in NONMEM or Monolix that is not read here; {leave}")
        if upper in _READ:
            return
        meant = _OTHER_WORDS.get(upper) or next((r for r in COLUMNS if _alike(upper, r)), None)
        if meant is not None and not any(same in self.position for same in _synonyms(meant)):
            self.fail(
                f"column {name!r} looks like {meant}, which is not there; read with "
                f"columns={{{name!r}: {meant!r}}} if it is, else {leave}"
            )


_WORDS = {",": "commas", ";": "semicolons", "\t": "tabs", " ": "blanks"}


def _lines(file: Path) -> list[tuple[int, str]]:
    """Return the lines that are not blank, with their numbers."""
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "not found"
        raise ValueError(f"{file}: {found}; give a text file with ID, TIME, DV or AMT")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{file}: not UTF-8 ({error.reason}); save it as UTF-8") from None
    return [(i, line) for i, line in enumerate(text.split("\n"), start=1) if line.strip()]


def _comment(text: str) -> bool:
    """Tell whether a line above the records is a comment: a header may begin with # or C as well."""
    cells = _cells(text.lstrip("#@ "), _delimiter(text))
    marked = text.lstrip().startswith("#") or cells[0] == "C"
    return marked and not any(_name(cell)[0].upper() == "ID" for cell in cells)


def _delimiter(header: str) -> str:
    bare = re.sub(r"\[[^\]]*\]", "", header)
    most = max("\t,;", key=bare.count)
    return most if most in bare else " "


def _cells(text: str, apart: str) -> list[str]:
    text = text.rstrip("\r\n")
    if apart == " ":
        return re.split(r"\s+(?![^\[\]]*\])", text.strip())
    return [cell.strip() for cell in next(csv.reader([text], delimiter=apart))]


def _name(cell: str) -> tuple[str, str]:
    """Return a column's name and its unit, "" if there is none."""
    found = re.fullmatch(r"([^\[\]]*?)\s*\[\s*([^\[\]]*?)\s*\]", cell)
    return (found[1], found[2]) if found else (cell, "")


def _rename(place: str, header: list[str], renamed: Mapping[str, str | None]) -> list[str]:
    """Return the columns' names as they are to be read."""
    to = {name.upper(): new or "" for name, new in renamed.items()}
    for name in renamed:
        if name.upper() not in {own.upper() for own in header}:
            raise ValueError(f"{place}: no column {name!r} (columns); {instead(name, header)}")
    names = [to.get(name.upper(), name) for name in header]
    if "" in header:
        raise ValueError(f"{place}: column {header.index('') + 1} has no name; name it or remove it")
    return [name.upper() if name.upper() in _READ else name for name in names]


def _synonyms(name: str) -> tuple[str, ...]:
    return next((pair for pair in _SAME if name in pair), (name,))


def _alike(name: str, reserved: str) -> bool:
    """Tell whether a letter is too many or missing, or two neighbours are swapped: ADL, TIMES, EIVD. Another
    letter in its place is no sign (RACE and RATE), nor are names of two letters."""
    short, long = sorted((name, reserved), key=len)
    if len(reserved) < 3 or len(short) < 3:
        return False
    if len(short) == len(long):
        swaps = (name[:i] + name[i + 1] + name[i] + name[i + 2 :] for i in range(len(name) - 1))
        return name != reserved and reserved in swaps
    return len(short) + 1 == len(long) and any(long[:i] + long[i + 1 :] == short for i in range(len(long)))


def _near(reserved: str, names: Sequence[str]) -> str | None:
    """Return the column that may be meant by a reserved name that is missing."""
    for name in names:
        words = re.split(r"[_.\s-]", name.upper())
        if _OTHER_WORDS.get(name.upper()) == reserved or reserved in words or _alike(name.upper(), reserved):
            return name
    return None


# ----------------------------------------------------------------------------------------- what is read of it


def _covariates(
    table: _Table, rows: Sequence[_Row], wanted: Sequence[str] | None, chosen: set[str]
) -> list[str]:
    """Return the columns that are covariates."""
    if wanted is not None:
        for name in wanted:
            if name in _READ:
                table.fail(f"column {name} is no covariate; remove it from covariates")
        return list(wanted)
    found = []
    for name, at in table.position.items():
        if name in _READ or name in chosen or all(row[at] in MISSING for _, row in rows):
            continue
        for line, row in rows:
            if row[at] not in MISSING and _number(row[at]) is None:
                patient = row[table.position["ID"]]
                raise ValueError(
                    f"{table.file}, line {line}, patient {patient!r}: {name} = {row[at]!r} is no number, and "
                    f"the column is none with a meaning ({instead(name, _READ)}); give numbers, name the "
                    f"covariates to be read (covariates=[...]) or leave it out (columns={{{name!r}: None}})"
                )
        found.append(name)
    return found


def _units(table: _Table, covariates: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    """Return the units of TIME, AMT, DV and covariates."""
    found = dict[str, str]()
    for name, unit in table.units.items():
        parts = unit.split("|") if name == "DV" and "=" in unit else []
        split = {f"DV:{kind.strip()}": part.strip() for kind, _, part in (p.partition("=") for p in parts)}
        found.update(split or {name: unit})
    for name, unit in given.items():
        own = name.upper() if re.fullmatch(r"(?i)DV:\d+", name) else table.find(name, "units")
        if found.setdefault(own, unit) != unit:
            table.fail(
                f"{own} is in {found[own]!r} by the header and in {unit!r} by units; correct one of them"
            )
    for name, like in (("II", ("TIME",)), ("LLOQ", ("DV",)), ("RATE", ("AMT", "TIME"))):
        expected = "/".join(found.get(other, "?") for other in like)
        unit = found.pop(name, expected)
        if unit != expected:
            table.fail(f"{name} is in {unit!r}, {'/'.join(like)} in {expected!r}; expected the same unit")
    read = ("TIME", "AMT", "DV", *covariates)
    return {name: unit for name, unit in found.items() if name in read or name.startswith("DV:")}


def _patients(table: _Table, rows: Sequence[_Row]) -> Iterator[list[_Row]]:
    """Yield each patient's rows, which stand together."""
    at, seen, block = table.position["ID"], dict[str, int](), list[_Row]()
    for line, row in rows:
        name = row[at]
        if name in MISSING:
            raise ValueError(f"{table.file}, line {line}: ID is missing; give the patient's ID")
        if block and block[-1][1][at] != name:
            yield block
            block = []
        if not block and name in seen:
            raise ValueError(
                f"{table.file}, line {line}: ID = {name!r} comes again after another patient, last on line "
                f"{seen[name]} (NONMEM would begin a new patient); put a patient's records together, give "
                f"patients different IDs, or select rows of one kind (where=...)"
            )
        seen[name] = line
        block.append((line, row))
    yield block


def _patient(
    table: _Table, block: Sequence[_Row], covariates: Sequence[str], clock: bool, units: Mapping[str, str]
) -> PatientRecords:
    cells = _Cells(table, block)
    events = {name: cells.numbers(name) for name in ("EVID", "AMT", "RATE", "SS", "MDV")}
    evid = derived_evid(
        events["EVID"],
        events["AMT"],
        np.nan_to_num(events["RATE"]),
        np.nan_to_num(events["SS"]),
        events["MDV"],
    )
    dv, limit = _below(cells, evid == 0)
    time = _hours(cells) if clock else cells.numbers("TIME")
    kind = "YTYPE" if "YTYPE" in table.position else "DVID"
    try:
        return PatientRecords.of(
            cells.id,
            time,
            evid=evid,
            amount=events["AMT"],
            interval=cells.numbers("II"),
            rate=events["RATE"],
            compartment=cells.numbers("CMT"),
            additional=cells.numbers("ADDL"),
            steady=events["SS"],
            dv=dv,
            mdv=events["MDV"],
            dvid=cells.numbers(kind),
            limit=limit,
            covariates={name: cells.numbers(name) for name in covariates},
            units=units,
            line=[line for line, _ in block],
        )
    except ValueError as error:
        raise ValueError(f"{table.file}, {error}") from None


class _Cells:
    """The cells of one patient, r rows."""

    def __init__(self, table: _Table, block: Sequence[_Row]) -> None:
        self.table, self.block = table, block
        self.id = block[0][1][table.position["ID"]]

    def fail(self, row: int, message: str) -> NoReturn:
        """Raise an error about a row of the patient."""
        raise ValueError(f"{self.table.file}, line {self.block[row][0]}, patient {self.id!r}: {message}")

    def texts(self, name: str) -> list[str]:
        at = self.table.position[name]
        return [row[at] for _, row in self.block]

    def numbers(self, name: str) -> Floats:
        """Return a column (r,), NaN where a cell is missing or there is no such column."""
        if name not in self.table.position:
            return np.full(len(self.block), math.nan)
        found = np.empty(len(self.block))
        for i, text in enumerate(self.texts(name)):
            value = math.nan if text in MISSING else _number(text)
            if value is None:
                hint = "a number, '.' if missing"
                if re.fullmatch(r"[+-]?\d*,\d+", text):
                    hint = "a decimal point"
                elif name == "DV" and text.startswith("<"):
                    hint = f"'.', 1 in a column BLQ, and {text[1:].strip()} in a column LLOQ"
                self.fail(i, f"{name} = {text!r} is no number; write {hint}")
            found[i] = value
        return found


def _number(text: str) -> float | None:
    """Return a finite number; None for any other text (Python also reads nan, inf and 1_000)."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _below(cells: _Cells, observation: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return DV (r,), NaN where below the limit of quantification, and the limit (r,), NaN elsewhere."""
    dv, lloq = cells.numbers("DV"), cells.numbers("LLOQ")
    name = next((name for name in ("BLQ", "CENS") if name in cells.table.position), None)
    if name is None:
        below = observation & (dv < lloq)
        return np.where(below, math.nan, dv), np.where(below, lloq, math.nan)
    flag = np.nan_to_num(cells.numbers(name))
    limit = np.where(np.isnan(dv), lloq, dv) if name == "CENS" else lloq
    for i in map(int, np.flatnonzero(flag != 0)):
        if flag[i] != 1:
            cells.fail(i, f"{name} = {flag[i]:g}; expected 0 or 1 (levels above a range are not read)")
        if np.isnan(limit[i]):
            where = "DV, or in LLOQ" if name == "CENS" else "LLOQ"
            cells.fail(i, f"{name} = 1 without a limit of quantification; give it in {where}")
        if name == "CENS" and not np.isnan(lloq[i]) and lloq[i] != limit[i]:
            cells.fail(i, f"CENS = 1 with DV = {dv[i]:g} and LLOQ = {lloq[i]:g}; expected DV to be the limit")
    return np.where(flag == 1, math.nan, dv), np.where(flag == 1, limit, math.nan)


def _hours(cells: _Cells) -> Floats:
    """Return hours (r,) from the patient's first record, of clock times and dates."""
    days = np.zeros(len(cells.block))
    if "DATE" in cells.table.position:
        texts = cells.texts("DATE")
        calendar = any(re.search("[-/.]", text[1:]) for text in texts)
        days = np.array([_day(cells, i, text, calendar) for i, text in enumerate(texts)])
    seconds = np.array([_seconds(cells, i, text) for i, text in enumerate(cells.texts("TIME"))])
    seconds = 86400.0 * (days - days[0]) + seconds
    return (seconds - seconds[0]) / 3600.0


def _day(cells: _Cells, row: int, text: str, calendar: bool) -> float:
    found = _DAY.fullmatch(text)
    if calendar and found:
        try:
            return float(date(int(found[1]), int(found[2]), int(found[3])).toordinal())
        except ValueError as error:
            cells.fail(row, f"DATE = {text!r} is no date: {error}; write 2024-01-31")
    value = _number(text)
    if calendar or value is None or value != round(value):
        cells.fail(
            row, f"DATE = {text!r}; write year-month-day (2024-01-31) or a whole number of days, all alike"
        )
    return value


def _seconds(cells: _Cells, row: int, text: str) -> float:
    found = _CLOCK.fullmatch(text)
    if found and int(found[1]) < 24 and int(found[2]) < 60 and int(found[3] or 0) < 60:
        return 3600.0 * int(found[1]) + 60.0 * int(found[2]) + int(found[3] or 0)
    hours = _number(text)
    if hours is None:
        cells.fail(
            row, f"TIME = {text!r} is no clock time; write hours and minutes as 08:30, or hours as 8.5"
        )
    return 3600.0 * hours


# ------------------------------------------------------------------------------------------------- writing it


def _header(patient: PatientRecords) -> list[str]:
    units = dict(patient.units)
    by_kind = {name[3:]: units.pop(name) for name in patient.units if name.startswith("DV:")}
    if by_kind and "DV" in units:
        raise ValueError(
            f"patient {patient.id!r}: units of DV ({units['DV']!r}) and of DV:{next(iter(by_kind))}; a table "
            f"has one or the other: give every DVID its unit"
        )
    if by_kind:
        units["DV"] = "|".join(f"{kind}={unit}" for kind, unit in by_kind.items())
    names = (*COLUMNS, *patient.covariates)
    return [f"{name}[{units[name]}]" if name in units else name for name in names]


def _written(patient: PatientRecords) -> Iterator[list[str]]:
    below = ~np.isnan(patient.limit)
    columns = (
        patient.time, patient.evid, patient.amount, patient.compartment, patient.interval, patient.additional,
        patient.steady, patient.rate, patient.dv, patient.mdv, patient.dvid, below, patient.limit,
        *patient.covariates.values(),
    )  # fmt: skip
    for i in range(len(patient)):
        yield [patient.id, *(_digits(column[i]) for column in columns)]


def _digits(value: float) -> str:
    """Return the shortest text that reads back as the same number."""
    return "." if math.isnan(value) else repr(float(value)).removesuffix(".0")
