"""NONMEM-style tables: what is read, derived, refused and converted, on invented and on published tables."""

from __future__ import annotations

import csv
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from dosewright.envs import PatientRecords, converted, read_nonmem, write_nonmem
from dosewright.envs.pharmacology.units import factor

NAN = float("nan")
Table = Callable[..., tuple[PatientRecords, ...]]


@pytest.fixture
def read(tmp_path: Path) -> Table:
    """``read(text, **arguments)``: the patients of a file with this text; a blank in it parts cells."""

    def patients(text: str, **arguments: Any) -> tuple[PatientRecords, ...]:
        path = tmp_path / "data.csv"
        path.write_text(text, encoding="utf-8")
        return read_nonmem(path, **arguments)

    return patients


def rows(*lines: str, apart: str = ",") -> str:
    return "".join(line.replace(" ", apart) + "\n" for line in lines)


def assert_same(
    got: Sequence[PatientRecords], expected: Sequence[PatientRecords], lines: bool = True
) -> None:
    """Every field of every patient, to the last bit and with its type."""
    assert [p.id for p in got] == [p.id for p in expected]
    for one, other in zip(got, expected, strict=True):
        for name in (field.name for field in fields(PatientRecords)):
            left, right = getattr(one, name), getattr(other, name)
            if name == "covariates":
                assert list(left) == list(right)
                for key in left:
                    assert_array_equal(left[key], right[key], strict=True)
            elif name in ("id", "units"):
                assert left == right
            elif name != "line" or lines:
                assert_array_equal(left, right, err_msg=name, strict=True)


# --------------------------------------------------------------------------------------- the published tables


def test_every_event_of_the_mapbayes_study_is_read(shared: Path) -> None:
    """3020 rows, 1103 observations and 412 patients, as its README counts them."""
    path = shared / "reference" / "mapbayes" / "events.csv"
    with path.open(newline="") as handle:
        models = sorted({row["model"] for row in csv.DictReader(handle)})
    cohorts = {model: read_nonmem(path, where={"model": model}) for model in models}
    patients = [patient for cohort in cohorts.values() for patient in cohort]
    assert (len(models), len(patients), sum(map(len, patients))) == (21, 412, 3020)
    assert sum(int((p.observation & ~p.mdv).sum()) for p in patients) == 1103
    assert list(cohorts["001"][0].covariates) == []  # columns in which nothing stands for this model
    assert list(cohorts["301"][0].covariates) == ["BW", "SEX"]
    first = cohorts["001"][0]
    assert (first.line[0], first.amount[5], first.interval[5], first.additional[5]) == (2, 10000, 24, 6)
    assert_array_equal(first.dv, [NAN, 91.2904, 110.826, 79.384, 20.6671, NAN])


def test_ids_that_repeat_by_model_need_rows_to_be_chosen(shared: Path) -> None:
    path = shared / "reference" / "mapbayes" / "events.csv"
    with pytest.raises(ValueError, match=r"ID = '1' comes again .* last on line 7 .*where="):
        read_nonmem(path)
    with pytest.raises(ValueError, match=r"no row with model = '1' \(where\); there are '001', '002'"):
        read_nonmem(path, where={"model": "1"})


def test_observations_alone_are_patients(shared: Path) -> None:
    patients = read_nonmem(shared / "reference" / "mapbayes" / "bolus_1cmt_nonmem.csv")
    assert len(patients) == 50 and sum(map(len, patients)) == 550
    assert not any(p.dose.any() for p in patients) and patients[0].dv[0] == 1119.1
    assert list(patients[0].covariates) == ["cl", "v", "ipred", "iwres"]


@pytest.mark.parametrize(
    ("name", "covariates", "kinds", "patients", "doses", "levels"),
    [
        ("phenobarbital_neonates", ["weight_kg", "apgar_5min"], ("dose", "conc_mg_L"), 59, 589, 155),
        ("warfarin_oreilly", ["weight_kg", "age_y"], ("dose", "conc_mg_L"), 32, 32, 251),
        ("warfarin_oreilly", ["weight_kg"], ("dose", "pca_percent"), 32, 32, 232),
    ],
)
def test_real_patients_round_trip(
    shared: Path,
    tmp_path: Path,
    name: str,
    covariates: list[str],
    kinds: tuple[str, ...],
    patients: int,
    doses: int,
    levels: int,
) -> None:
    """Counts of the data's README: 155 phenobarbital, 251 warfarin concentrations, 232 PCA values."""
    got = read_nonmem(
        shared / "data" / "clinical" / f"{name}.csv",
        columns={"time_h": "TIME", "dose_mg": "AMT", "value": "DV"},
        units={"TIME": "h", "AMT": "mg", "DV": "mg/L"},
        covariates=covariates,
        where={"type": kinds},
    )
    assert len(got) == patients
    assert sum(int(p.dose.sum()) for p in got) == doses
    assert sum(int((p.observation & ~p.mdv).sum()) for p in got) == levels
    write_nonmem(tmp_path / "again.csv", got)
    assert_same(read_nonmem(tmp_path / "again.csv"), got, lines=False)


# -------------------------------------------------------------------------------------------- the file itself

PLAIN = ("ID TIME AMT DV WT", "1 0 100 . 70", "1 1.5 . 4.25 71", "2 0 50 . 60", "2 8 . 1e-1 60")


@pytest.mark.parametrize("apart", [",", ";", "\t", "  ", " , "])
def test_any_usual_separator(read: Table, apart: str) -> None:
    one, two = read(rows(*PLAIN, apart=apart))
    assert (one.id, two.id) == ("1", "2")
    assert_array_equal(one.dv, [NAN, 4.25])
    assert_array_equal(two.time, [0, 8])
    assert_array_equal(one.covariates["WT"], [70, 71])
    assert_array_equal(two.line, [4, 5])


def test_names_in_any_case_units_in_brackets_and_windows_text(read: Table) -> None:
    text = "\ufeff" + rows("id time[h] Amt[mg] dv[ng/mL] wt[kg] OCC", "a 0 9 . 70 1", "a 1 0 3 70 2")
    (patient,) = read(text.replace("\n", "\r\n"))
    assert dict(patient.units) == {"TIME": "h", "AMT": "mg", "DV": "ng/mL", "wt": "kg"}
    assert list(patient.covariates) == ["wt", "OCC"]


@pytest.mark.parametrize("missing", ["", ".", "NA"])
def test_three_ways_to_write_a_missing_cell(read: Table, missing: str) -> None:
    (patient,) = read(
        f"ID,TIME,AMT,DV,WT\n1,0,5,{missing},70\n1,1,{missing},2,{missing}\n1,2,0,{missing},75\n"
    )
    assert_array_equal(patient.dv, [NAN, 2, NAN])
    assert_array_equal(patient.mdv, [True, False, True])
    assert_array_equal(patient.covariates["WT"], [70, NAN, 75])
    assert_array_equal(patient.covariate("WT"), [70, 70, 75])


@pytest.mark.parametrize(
    "text",
    [
        rows("# made up", "ID TIME DV", "#1 0 9", "1 0 1", "C 0 8", "ID TIME DV", "1 1 2"),
        rows("#ID TIME DV", "1 0 1", "# 1 0 9", "1 1 2"),
        rows("C ID TIME DV", ". 1 0 1", "C 1 0 9", ". 1 1 2"),
        "\n" + rows("ID TIME DV", "1 0 1") + "\n" + rows("1 1 2"),
    ],
)
def test_comments_repeated_headers_and_blank_lines_are_passed_over(read: Table, text: str) -> None:
    (patient,) = read(text)
    assert_array_equal(patient.dv, [1, 2])
    assert patient.covariates == {}


def test_line_is_that_of_the_file(read: Table) -> None:
    (patient,) = read(rows("# made up", "ID TIME DV", "1 0 1", "#", "1 1 2"))
    assert_array_equal(patient.line, [3, 5])


def test_columns_are_renamed_and_left_out(read: Table) -> None:
    text = rows("pat hours conc site", "1 0 1 Rome", "1 1 2 Oslo")
    (patient,) = read(text, columns={"pat": "ID", "hours": "TIME", "conc": "DV", "SITE": None})
    assert_array_equal(patient.dv, [1, 2])
    assert patient.covariates == {}


def test_only_covariates_asked_for_are_read(read: Table) -> None:
    (patient,) = read(rows("ID TIME DV WT SEX", "1 0 1 70 female"), covariates=["wt"])
    assert list(patient.covariates) == ["WT"]


# ----------------------------------------------------------------------------------------- derived, as NONMEM


def test_evid_and_mdv_are_derived(read: Table) -> None:
    """A dose by AMT, by a constant infusion's RATE and SS; MDV 1 without a dose is another event."""
    (patient,) = read(
        rows(
            "ID TIME AMT RATE SS MDV DV", "1 0 . 5 1 . 0", "1 1 10 . . 1 0", "1 2 0 0 0 1 7", "1 3 . . . . 7"
        )
    )
    assert_array_equal(patient.evid, [1, 1, 2, 0])
    assert_array_equal(patient.mdv, [True, True, True, False])
    assert_array_equal(patient.dv, [NAN, NAN, NAN, 7])
    assert_array_equal(patient.dose, [True, True, False, False])


def test_a_level_set_aside_keeps_its_value(read: Table) -> None:
    (patient,) = read(rows("ID TIME EVID MDV DV", "1 0 0 0 3", "1 1 0 1 4"))
    assert_array_equal(patient.dv, [3, 4])
    assert_array_equal(patient.mdv, [False, True])


def test_python_and_file_give_the_same(read: Table) -> None:
    text = rows("ID TIME AMT CMT II ADDL RATE DV WT", "7 0 100 1 12 3 -2 . 70", "7 40 . 2 . . . 4.1 72")
    records = PatientRecords.of(
        "7",
        [0, 40],
        amount=[100, NAN],
        compartment=[1, 2],
        interval=[12, 0],
        additional=[3, 0],
        rate=[-2, 0],
        dv=[NAN, 4.1],
        covariates={"WT": [70, 72]},
        line=[2, 3],
    )
    assert_same(read(text), [records])


def test_time_may_begin_anew_at_a_reset(read: Table) -> None:
    (patient,) = read(
        rows("ID TIME EVID AMT DV", "1 9 1 5 .", "1 0 4 5 .", "1 2 0 0 1", "1 0 3 0 .", "1 1 1 5 .")
    )
    assert_array_equal(patient.dose, [True, True, False, False, True])


# ------------------------------------------------------------------------------------------------ clock times


def test_clock_times_are_hours_from_the_first_record(read: Table) -> None:
    """NM-TRAN's own example: 8:00, 14:45 and 14.75 are 0, 6.75 and 6.75 h (NONMEM help, TIME data item)."""
    (patient,) = read(rows("ID TIME DV", "1 8:00 1", "1 14:45 2", "1 14.75 3"))
    assert_array_equal(patient.time, [0, 6.75, 6.75])
    assert patient.units["TIME"] == "h"


@pytest.mark.parametrize("dates", [("2024-02-28", "2024-03-01"), ("2024/2/28", "2024/3/1"), ("58", "60")])
def test_dates_count_a_leap_day(read: Table, dates: tuple[str, str]) -> None:
    first, last = dates
    one, two = read(
        rows(
            "ID DATE TIME DV",
            f"1 {first} 23:30 1",
            f"1 {last} 00:15:36 2",
            f"2 {last} 7:00 1",
            f"2 {last} 8:30 1",
        )
    )
    assert_array_equal(one.time, [0, 24.76])
    assert_array_equal(two.time, [0, 1.5])


# -------------------------------------------------------------------------- below the limit of quantification


@pytest.mark.parametrize(
    "text",
    [
        rows("ID TIME DV CENS", "1 0 3 0", "1 1 0.5 1", "1 2 0.4 0"),
        rows("ID TIME DV CENS LLOQ", "1 0 3 0 0.5", "1 1 . 1 0.5", "1 2 0.4 0 0.5"),
        rows("ID TIME DV BLQ LLOQ", "1 0 3 0 0.5", "1 1 0.25 1 0.5", "1 2 0.4 0 0.5"),
        rows("ID TIME DV LLOQ", "1 0 3 0.5", "1 1 0.1 0.5", "1 2 0.4 ."),
    ],
)
def test_below_the_limit_there_is_a_limit_and_no_level(read: Table, text: str) -> None:
    (patient,) = read(text)
    assert_array_equal(patient.dv, [3, NAN, 0.4])
    assert_array_equal(patient.limit, [NAN, 0.5, NAN])
    assert not patient.mdv.any()  # it is to be fitted


def test_a_limit_down_the_column_makes_no_dose_a_level(read: Table) -> None:
    (patient,) = read(rows("ID TIME AMT DV LLOQ", "1 0 100 0 0.5", "1 1 0 0.2 0.5"))
    assert_array_equal(patient.limit, [NAN, 0.5])


# --------------------------------------------------------------------------------------------------- refusals

HEAD = "ID TIME EVID AMT II ADDL SS RATE CMT DV MDV"
REFUSED = {
    "times backwards": (
        [HEAD, "1 2 1 5 . . . . . . .", "1 1 0 . . . . . . 3 ."],
        "line 3, patient '1', record 2: TIME = 1; less",
    ),
    "a reset is no licence": (
        [HEAD, "1 2 1 5 . . . . . . .", "1 0 3 . . . . . . . .", "1 -1 0 . . . . . . 3 ."],
        "line 4.*TIME = -1",
    ),
    "time missing": ([HEAD, "1 . 1 5 . . . . . . ."], "TIME = missing; expected a number"),
    "evid": ([HEAD, "1 0 5 5 . . . . . . ."], "EVID = 5; expected 0, 1, 2, 3 or 4"),
    "evid half": ([HEAD, "1 0 0.5 5 . . . . . . ."], "EVID = 0.5; expected a whole"),
    "dvid beyond counting": (["ID TIME DV DVID", "1 0 1 1e20"], "DVID = 1e\\+20; expected a whole"),
    "compartment": ([HEAD, "1 0 1 5 . . . . -1 . ."], "CMT = -1"),
    "amount missing": ([HEAD, "1 0 1 . . . . . . . ."], "AMT = missing; expected the amount"),
    "amount negative": ([HEAD, "1 0 1 -5 . . . . . . ."], "AMT = -5"),
    "amount zero": ([HEAD, "1 0 1 0 . . . . . . ."], "AMT = 0; a dose of 0 .*EVID 2"),
    "amount of an observation": (
        [HEAD, "1 0 0 5 . . . . . 1 ."],
        "AMT = 5; expected 0 where there is no dose",
    ),
    "interval of an observation": ([HEAD, "1 0 0 0 12 . . . . 1 ."], "II = 12; expected 0 where"),
    "infusion of nothing": ([HEAD, "1 0 1 0 . . . 10 . . ."], "RATE = 10; an infusion of amount 0.*SS 1"),
    "rate": ([HEAD, "1 0 1 5 . . . -3 . . ."], "RATE = -3; expected above 0"),
    "addl without ii": ([HEAD, "1 0 1 5 . 3 . . . . ."], "ADDL = 3; .*II"),
    "addl negative": ([HEAD, "1 0 1 5 12 -1 . . . . ."], "ADDL = -1"),
    "interval negative": ([HEAD, "1 0 1 5 -12 3 . . . . ."], "II = -12"),
    "ss without ii": ([HEAD, "1 0 1 5 . . 1 . . . ."], "SS = 1; .*II"),
    "ss": ([HEAD, "1 0 1 5 12 . 3 . . . ."], "SS = 3; expected 0, 1 or 2"),
    "constant infusion with ii": ([HEAD, "1 0 1 0 12 . 1 10 . . ."], "II = 12; expected 0 for a constant"),
    "dose with a level": ([HEAD, "1 0 1 5 . . . . . 3 ."], "DV = 3; on a record that is no observation"),
    "dose with mdv 0": ([HEAD, "1 0 1 5 . . . . . . 0"], "MDV = 0; expected 1"),
    "level negative": ([HEAD, "1 0 0 . . . . . . -3 ."], "DV = -3; expected 0 or more"),
    "level missing": ([HEAD, "1 0 0 . . . . . . . 0", "1 0 0 . . . . . . 1 0"], "DV = missing; with MDV 0"),
    "mdv": ([HEAD, "1 0 0 . . . . . . 1 2"], "MDV = 2; expected 0 or 1"),
    "nothing that counts": (
        [HEAD, "1 0 0 . . . . . . 1 .", "2 0 2 . . . . . . . ."],
        "line 3, patient '2'.*no dose and no",
    ),
    "no number": ([HEAD, "1 0 1 5mg . . . . . . ."], "line 2, patient '1': AMT = '5mg' is no number"),
    "infinite": ([HEAD, "1 0 1 inf . . . . . . ."], "AMT = 'inf' is no number"),
    "underscore": ([HEAD, "1 0 1 1_000 . . . . . . ."], "AMT = '1_000' is no number"),
    "row too short": ([HEAD, "1 0 1 5 . . . . . ."], "line 2: 10 cells .*expected 11"),
    "id missing": ([HEAD, ". 0 1 5 . . . . . . ."], "line 2: ID is missing"),
    "id again": (["ID TIME DV", "a 0 1", "b 0 1", "a 1 1"], "line 4: ID = 'a' .*last on line 2"),
    "no id": (["TIME DV", "0 1"], "line 1: no column ID; there are TIME, DV"),
    "no time": (["ID time_h DV", "1 0 1"], r"no column TIME; is it 'time_h'\? .*columns="),
    "neither dv nor amt": (["ID TIME CONC", "1 0 1"], "no column DV or AMT; is it 'CONC'"),
    "twice": (["ID TIME DV WT wt", "1 0 1 2 2"], "column 'wt' is there twice, 4 and 5"),
    "dvid and ytype": (["ID TIME DV DVID YTYPE", "1 0 1 1 1"], "columns DVID and YTYPE are one thing"),
    "blq and cens": (["ID TIME DV BLQ CENS", "1 0 1 1 1"], "columns BLQ and CENS are one thing"),
    "nearly": (["ID TIME DV ADL", "1 0 1 1"], r"column 'ADL' looks like ADDL.*columns=\{'ADL': 'ADDL'\}"),
    "another word": (["ID TIME DV DOSE", "1 0 1 1"], "column 'DOSE' looks like AMT"),
    "reserved elsewhere": (["ID TIME DV CALL", "1 0 1 1"], "column 'CALL' has a meaning in NONMEM"),
    "text": (["ID TIME DV SEX", "1 0 1 f"], "line 2, patient '1': SEX = 'f' is no number.*covariates="),
    "no name": (["ID,TIME,DV,", "1,0,1,1"], "column 4 has no name"),
    "covariate missing": (
        ["ID TIME DV WT", "1 0 1 7", "2 0 1 .", "2 1 1 7"],
        "line 3, patient '2', record 1: WT = missing",
    ),
    "blq without limit": (["ID TIME DV BLQ", "1 0 . 1"], "BLQ = 1 without a limit.*LLOQ"),
    "cens without limit": (["ID TIME DV CENS", "1 0 . 1"], "CENS = 1 without a limit.*DV, or in LLOQ"),
    "cens with two limits": (["ID TIME DV CENS LLOQ", "1 0 2 1 1"], "DV = 2 and LLOQ = 1"),
    "above a range": (["ID TIME DV CENS", "1 0 2 -1"], "CENS = -1; expected 0 or 1"),
    "limit of zero": (["ID TIME DV BLQ LLOQ", "1 0 . 1 0"], "LLOQ = 0; expected a limit"),
    "blq on a dose": (["ID TIME AMT DV BLQ LLOQ", "1 0 5 . 1 1"], "LLOQ = 1; below the limit is only"),
    "midnight": (["ID TIME DV", "1 23:00 1", "1 1:00 1"], "TIME = -22; .*DATE"),
    "no clock": (["ID TIME DV", "1 24:10 1"], "TIME = '24:10' is no clock time"),
    "date of two orders": (
        ["ID DATE TIME DV", "1 03/04/2024 8:00 1"],
        "DATE = '03/04/2024'; write year-month-day",
    ),
    "dates mixed": (
        ["ID DATE TIME DV", "1 2024-01-01 8:00 1", "1 2 8:00 1"],
        "line 3.*DATE = '2'; .*all alike",
    ),
    "no such day": (["ID DATE TIME DV", "1 2023-02-29 8:00 1"], "DATE = '2023-02-29' is no date"),
    "clock in days": (["ID TIME[day] DV", "1 8:00 1"], "TIME has the unit 'day' and clock times"),
    "ii in another unit": (["ID TIME[h] AMT DV II[day]", "1 0 5 . 1"], "II is in 'day', TIME in 'h'"),
    "header only": (["ID TIME DV"], "has a header and no records"),
    "nothing": ([], "empty; expected a header"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_place_and_remedy(read: Table, name: str) -> None:
    lines, message = REFUSED[name]
    with pytest.raises(ValueError, match=r"data\.csv.*" + message):
        read(rows(*lines))


def test_decimal_commas_are_named(read: Table) -> None:
    with pytest.raises(ValueError, match="DV = '1,5' is no number; write a decimal point"):
        read("ID;TIME;DV\n1;0;1,5\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"covariates": ["WTT"]}, r"no column 'WTT' \(covariates\); did you mean 'WT'"),
        ({"covariates": ["DV"]}, "column DV is no covariate"),
        ({"columns": {"X": "DV"}}, r"no column 'X' \(columns\)"),
        ({"where": {"X": "1"}}, r"no column 'X' \(where\)"),
        ({"units": {"X": "h"}}, r"no column 'X' \(units\)"),
        ({"units": {"DV": "mg/L"}}, "DV is in 'ng/mL' by the header and in 'mg/L' by units"),
    ],
)
def test_wrong_arguments(read: Table, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read(rows("ID TIME DV[ng/mL] WT", "1 0 1 70"), **arguments)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none.csv: not found"):
        read_nonmem(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="is a folder"):
        read_nonmem(tmp_path)
    (tmp_path / "latin.csv").write_bytes("ID,TIME,DV[µg/L]\n1,0,1\n".encode("latin-1"))
    with pytest.raises(ValueError, match="not UTF-8"):
        read_nonmem(tmp_path / "latin.csv")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dv": [1, 2, 3]}, r"dv has shape \(3,\); expected \(2,\)"),
        ({"dv": 1, "covariates": {"AMT": 1}}, "covariate 'AMT' is already 'AMT'"),
        ({"dv": 1, "covariates": {"WT": 1, "wt": 1}}, "covariate 'wt' is already 'WT'"),
        ({"dv": 1, "covariates": {"a,b": 1}}, "covariate 'a,b'"),
        ({"dv": 1, "units": {"WT": "kg"}}, "unit of no column 'WT'"),
        ({"dv": 1, "units": {"DV": "m]"}}, r"unit 'm\]' of DV"),
        ({"dv": 1, "dvid": -1}, "DVID = -1"),
        ({"dv": 1, "limit": 2}, "DV = 1; beside a limit"),
    ],
)
def test_records_made_in_python_are_checked_too(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="patient 'x'.*" + message):
        PatientRecords.of("x", [0, 1], **arguments)


@pytest.mark.parametrize("id", ["", ".", "NA", "C", "#1", " 1", 'a"b'])
def test_an_id_that_no_file_could_hold(id: str) -> None:
    with pytest.raises(ValueError, match="no usable ID"):
        PatientRecords.of(id, 0, dv=1)


def test_a_covariate_that_is_not_there_is_named() -> None:
    with pytest.raises(ValueError, match=r"no covariate 'WGT'; did you mean 'WT'\?"):
        PatientRecords.of("1", 0, dv=1, covariates={"WT": 70}).covariate("WGT")


# ---------------------------------------------------------------------------------------------------- writing

_positive = st.floats(1e-300, 1e300)


@st.composite
def _patients(draw: st.DrawFn) -> list[PatientRecords]:
    """Any patients that share their columns, with numbers of every size."""
    found = []
    for id in draw(st.lists(st.sampled_from(["1", "2.0", "P 3", "a,b", "é;"]), min_size=1, unique=True)):
        r = draw(st.integers(1, 6))
        kinds = draw(
            st.lists(st.sampled_from(["dose", "level", "below", "aside", "other"]), min_size=r, max_size=r)
        )
        kinds[0] = draw(st.sampled_from(["dose", "level", "below"]))
        is_ = {
            kind: np.array([k == kind for k in kinds])
            for kind in ("dose", "level", "below", "aside", "other")
        }

        def some(where: np.ndarray, otherwise: float, r: int = r) -> np.ndarray:
            values = draw(st.lists(_positive, min_size=r, max_size=r))
            return np.where(where, values, otherwise)

        found.append(
            PatientRecords.of(
                id,
                np.sort(some(np.ones(r, dtype=bool), 0.0)),
                evid=np.select([is_["dose"], is_["other"]], [1, 2], 0),
                amount=some(is_["dose"], 0.0),
                rate=some(is_["dose"], 0.0),
                interval=some(is_["dose"], 0.0),
                additional=np.where(is_["dose"], draw(st.integers(0, 9)), 0),
                steady=np.where(is_["dose"], draw(st.integers(0, 2)), 0),
                compartment=draw(st.integers(0, 3)),
                dv=some(is_["level"] | is_["aside"], NAN),
                mdv=~(is_["level"] | is_["below"]),
                dvid=draw(st.integers(0, 2)),
                limit=some(is_["below"], NAN),
                covariates={"WT": some(np.arange(r) != 2, NAN), "ADL": 1, "dose": 0.1},
                units={"TIME": "h", "DV:1": "ng/mL", "DV:2": "%", "WT": "kg"},
            )
        )
    return found


@given(patients=_patients())
def test_what_is_written_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, patients: list[PatientRecords]
) -> None:
    path = tmp_path_factory.mktemp("round") / "data.csv"
    write_nonmem(path, patients)
    again = read_nonmem(path)
    assert_same(again, patients, lines=False)
    write_nonmem(path, again)
    assert_same(read_nonmem(path), again)  # lines as well


def test_a_written_table_in_full(tmp_path: Path) -> None:
    records = PatientRecords.of(
        "7",
        [0, 1],
        amount=[100, 0],
        limit=[NAN, 0.05],
        covariates={"WT": 70},
        units={"TIME": "h", "DV": "mg/L"},
    )
    write_nonmem(tmp_path / "data.csv", [records])
    assert (tmp_path / "data.csv").read_text() == (
        "ID,TIME[h],EVID,AMT,CMT,II,ADDL,SS,RATE,DV[mg/L],MDV,DVID,BLQ,LLOQ,WT\n"
        "7,0,1,100,0,0,0,0,0,.,1,0,0,.,70\n"
        "7,1,0,0,0,0,0,0,0,.,0,0,1,0.05,70\n"
    )
    assert os.listdir(tmp_path) == ["data.csv"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.csv"
    write_nonmem(path, [PatientRecords.of("1", 0, dv=1)])
    before = path.read_bytes()
    broken = PatientRecords.of("2", [0, 1], dv=1)
    object.__setattr__(broken, "rate", broken.rate[:1])  # as if the disk were full in the middle
    with pytest.raises(IndexError):
        write_nonmem(path, [PatientRecords.of("1", 0, dv=2), broken])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["data.csv"]


@pytest.mark.parametrize(
    ("patients", "message"),
    [
        ([], "no patients to write"),
        ([PatientRecords.of("1", 0, dv=1)] * 2, "two patients with ID '1'"),
        (
            [PatientRecords.of("1", 0, dv=1), PatientRecords.of("2", 0, dv=1, covariates={"WT": 1})],
            "'1' and '2' differ in covariates",
        ),
        (
            [PatientRecords.of("1", 0, dv=1), PatientRecords.of("2", 0, dv=1, units={"TIME": "h"})],
            "differ in units",
        ),
        ([PatientRecords.of("1", 0, dv=1, units={"DV": "mg/L", "DV:1": "%"})], "units of DV"),
    ],
)
def test_what_no_table_can_hold(tmp_path: Path, patients: list[PatientRecords], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_nonmem(tmp_path / "data.csv", patients)
    assert os.listdir(tmp_path) == []


# ------------------------------------------------------------------------------------------------------ units


@pytest.mark.parametrize(
    ("unit", "into", "expected"),
    [
        ("ng/mL", "mg/L", 1e-3),
        ("ug/mL", "mg/L", 1.0),
        ("μg/L", "ng/mL", 1.0),  # Greek letter, and micro sign below
        ("mg/dL", "µg/mL", 10.0),
        ("g", "mg", 1e3),
        ("µM", "nmol/mL", 1.0),
        ("mmol/L", "µmol/L", 1e3),
        ("day", "h", 24.0),
        ("min", "h", 1 / 60),
        ("week", "days", 7.0),
        ("mg/h", "mg/day", 24.0),
        ("IU/L", "IU/L", 1.0),
    ],
)
def test_factors(unit: str, into: str, expected: float) -> None:
    assert factor(unit, into) == expected


@pytest.mark.parametrize(
    ("unit", "into", "message"),
    [
        ("mg/L", "µmol/L", "molar mass"),
        ("nM", "ng/mL", "molar mass"),
        ("mg", "mg/L", r"\(mass\) cannot become 'mg/L' \(mass/volume\)"),
        ("h", "mg", "cannot become"),
        ("mg/kg", "mg", "cannot become"),
        ("IU/L", "mg/L", "'IU/L' is not known"),
        ("mg/L/h", "mg/L", "not known"),
    ],
)
def test_units_that_measure_other_things(unit: str, into: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        factor(unit, into)


def test_data_in_other_units_are_converted_and_the_factor_is_logged(
    read: Table, caplog: pytest.LogCaptureFixture
) -> None:
    text = rows("ID TIME[day] AMT[g] II ADDL RATE[g/day] DV[ng/mL] CENS", "1 0 0.5 0.5 3 24 . 0")
    text += rows("1 1 0 0 0 0 4100 0", "1 2 0 0 0 0 100 1", "2 0 1 0 0 -2 . 0")
    with caplog.at_level(logging.INFO, logger="dosewright.envs.records"):
        one, two = converted(read(text), time="h", amount="mg", dv="mg/L")
    assert_array_equal(one.time, [0, 24, 48])
    assert_array_equal(one.interval, [12, 0, 0])
    assert_array_equal(one.amount, [500, 0, 0])
    assert_array_equal(one.rate, [1000, 0, 0])
    assert_array_equal(two.rate, [-2])  # a code, no rate
    np.testing.assert_allclose(one.dv, [NAN, 4.1, NAN], rtol=1e-15)
    np.testing.assert_allclose(one.limit, [NAN, NAN, 0.1], rtol=1e-15)
    assert dict(one.units) == dict(two.units) == {"TIME": "h", "AMT": "mg", "DV": "mg/L"}
    assert caplog.messages == [
        "AMT: 1 g = 1000 mg",
        "DV: 1 ng/mL = 0.001 mg/L",
        "TIME: 1 day = 24 h",
    ]


def test_without_a_unit_a_column_stays() -> None:
    records = PatientRecords.of("1", [0, 1], amount=[5, 0], dv=[NAN, 3], units={"DV": "mg/L"})
    (same,) = converted([records], time="h", amount="mg", dv="mg/L")
    assert_same([same], [records])


def test_mass_against_moles_names_patient_and_column() -> None:
    records = PatientRecords.of("p", 0, dv=1, units={"DV": "mg/L"})
    with pytest.raises(ValueError, match="patient 'p', DV: unit 'mg/L'.*molar mass"):
        converted([records], dv="µmol/L")


def test_each_measurement_has_its_unit(read: Table) -> None:
    text = rows("ID TIME DV[1=ng/mL|2=%] YTYPE", "1 0 4000 1", "1 0 98 2")
    patients = read(text)
    with pytest.raises(ValueError, match=r"DVID 1, 2; name the unit of each.*dv=\{1: 'mg/L'\}"):
        converted(patients, dv="mg/L")
    (patient,) = converted(patients, dv={1: "mg/L"})
    assert_array_equal(patient.dv, [4, 98])
    assert dict(patient.units) == {"DV:1": "mg/L", "DV:2": "%"}
