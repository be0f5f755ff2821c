"""The genetic case sets: what counts as right, and that one case or file that cannot be read ends nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from benchmarks import conformance, pgx_cases, pgx_tables
from benchmarks.pgx_cases import Row, score_text, sites
from dosewright.pharmacogenomics import TABLES

HAPB3 = "c.1129-5923C>G, c.1236G>A (HapB3)"
EXONIC = {"chrom": "chr1", "pos": 97573863, "rsid": "rs56038477", "ref": "C", "alts": ["T"], "gt": "0/1"}
INTRONIC = {"chrom": "chr1", "pos": 97579893, "rsid": "rs75017182", "ref": "G", "alts": ["C"], "gt": "0/1"}
CYP2C9_3 = {"chrom": "chr10", "pos": 94981296, "rsid": "rs1057910", "ref": "A", "alts": ["C"], "gt": "0/1"}
CYP2C9_NORMAL = 0.62845254  # frequency of activity score 2.0 in Europeans, CPIC 1.56.0
STAR_1_3 = {
    "id": "one",
    "gene": "CYP2C9",
    "other_positions": "reference",
    "records": [CYP2C9_3],
    "expected_diplotypes": ["*1/*3"],
}


def calls(folder: Path, *cases: Any) -> Row:
    (folder / "genotype_calls.json").write_text(json.dumps(cases), encoding="utf-8")
    return pgx_cases.genotype_calls(folder)


def dpyd(*records: dict[str, Any], expected: list[str], others: str = "reference") -> dict[str, Any]:
    return {
        "id": "DPYD",
        "gene": "DPYD",
        "other_positions": others,
        "records": records,
        "expected_diplotypes": expected,
    }


def pgx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(pgx_tables, "calibration", lambda: ())
    return CliRunner().invoke(conformance.conformance, ["pgx", str(folder)], catch_exceptions=False)


# ------------------------------------------------------------------------------------------- genotype calls


@pytest.mark.parametrize(
    ("others", "right", "wrong"),
    [  # PMID 28295243: the intronic variant decides; the exonic one counts only where it was not called
        ("reference", "Reference/Reference", f"Reference/{HAPB3}"),
        ("missing", f"Reference/{HAPB3}", "Reference/Reference"),
    ],
)
def test_other_positions_that_are_reference_were_seen(
    tmp_path: Path, others: str, right: str, wrong: str
) -> None:
    assert calls(tmp_path, dpyd(EXONIC, expected=[right], others=others)).passed == 1
    assert calls(tmp_path, dpyd(EXONIC, expected=[wrong], others=others)).passed == 0


@pytest.mark.parametrize(
    ("genotype", "right", "wrong"),
    [
        ("0/1", f"Reference/{HAPB3}", f"{HAPB3}/{HAPB3}"),
        ("0/1", HAPB3, f"{HAPB3} (homozygous)"),
        ("1/1", f"{HAPB3}/{HAPB3}", f"Reference/{HAPB3}"),
        ("1/1", f"{HAPB3} (homozygous)", HAPB3),
        ("0/0", "Reference", HAPB3),
    ],
)
def test_variants_are_expected_as_a_diplotype_or_as_a_list(
    tmp_path: Path, genotype: str, right: str, wrong: str
) -> None:
    records = [{**EXONIC, "gt": genotype}, {**INTRONIC, "gt": genotype}]
    assert calls(tmp_path, dpyd(*records, expected=[right])).failures == ()
    assert calls(tmp_path, dpyd(*records, expected=[wrong])).passed == 0


@pytest.mark.parametrize(
    "change",
    [
        {"expected_lookup_diplotype": None, "also_accepted": None, "expected_activity_score": None},
        {"expected_lookup_diplotype": ["*1", "*3"], "mode": "top"},
        {"expected_activity_score": 1},  # CPIC: CYP2C9 *1 is 1, *3 is 0
        {"expected_activity_score": "1.0"},
        {"expected_diplotypes": ["*1/*2"], "also_accepted": ["*3/*1"]},
        {"records": [{**CYP2C9_3, "pos": "94981296"}]},
        {"records": [{**CYP2C9_3, "gt": "1|0", "ps": None}]},
        {"records": [{**CYP2C9_3, "gt": "0/0", "alts": None}], "expected_diplotypes": ["*1/*1"]},
        {"records": [], "expected_diplotypes": ["*1/*1"]},
        {"records": None, "other_positions": None, "expected_diplotypes": None},  # nothing was seen: no call
        {
            "gene": "SLCO1B1",
            "records": [],
            "expected_diplotypes": ["*1/*1"],
            "expected_activity_score": "n/a",
        },
    ],
)
def test_what_a_case_leaves_out_is_read_as_the_readme_says(tmp_path: Path, change: dict[str, Any]) -> None:
    assert calls(tmp_path, {**STAR_1_3, **change}).failures == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gene": "CYP9Z9"}, "one: UnknownGeneError: "),
        ({"expected_activity_score": 2}, "one: activity score 1.0, expected 2.0"),
        ({"expected_activity_score": "n/a"}, "one: activity score 1.0, expected n/a"),
        ({"expected_lookup_diplotype": ["*1", "*2"]}, "one: looked up *1/*3, expected *1 and *2"),
        ({"also_accepted": ["*1/*3"], "expected_diplotypes": ["*1/*2", "*1/*5"]}, ""),
        ({"records": [{**CYP2C9_3, "alts": None}]}, "one: ValueError: record 94981296 lists 1 alleles"),
        ({"records": [{**CYP2C9_3, "ref": "G"}]}, "one: ValueError: record 94981296 has reference G"),
        ({"records": [{"pos": 94981296}]}, "one: KeyError: 'ref'"),
        ({"other_positions": "refernce"}, "one: ValueError: other_positions is 'refernce'; use one of"),
        ({"mode": "best"}, "one: ValueError: mode is 'best'; use one of top, all"),
        ({"id": None, "records": "x"}, "None: TypeError: "),
    ],
)
def test_a_case_that_cannot_be_read_is_a_miss_and_the_next_one_is_compared(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    row = calls(tmp_path, {**STAR_1_3, **change}, STAR_1_3, "no case")
    missed = row.failures[:-1]
    assert row.failures[-1].startswith("case 3: TypeError: ")
    assert (row.passed, row.total) == ((1, 3) if message else (2, 3))
    assert [text.startswith(message) for text in missed] == ([True] if message else [])


@pytest.mark.parametrize("genotype", [".", "0", "1", "./.", "0/.", ".|1", "", None, 0])
def test_a_genotype_without_two_alleles_is_missing(genotype: object) -> None:
    found = sites({**STAR_1_3, "records": [{**CYP2C9_3, "gt": genotype}]})
    assert found.pop(94981296).alleles == ()  # missing is not reference
    assert all(site.alleles for site in found.values())
    assert found.keys() == {p.pos for p in TABLES.positions("CYP2C9")} - {94981296}


def test_a_diplotype_that_also_counts_may_stand_beside_the_expected_one(tmp_path: Path) -> None:
    # CYP2C19 with rs12248560 T alone called: *17 has it, *4 may have it, *38 is the reference
    record = {"chrom": "chr10", "pos": 94761900, "rsid": "rs12248560", "ref": "C", "alts": ["T"], "gt": "0/1"}
    seen = {"id": "tie", "gene": "CYP2C19", "other_positions": "missing", "records": [record], "mode": "all"}
    one, *others = ("*17/*38", "*4/*38", "*4/*17", "*4/*4")
    assert calls(tmp_path, {**seen, "expected_diplotypes": [one]}).passed == 0
    assert calls(tmp_path, {**seen, "expected_diplotypes": [one], "also_accepted": others[1:]}).passed == 0
    assert calls(tmp_path, {**seen, "expected_diplotypes": [one], "also_accepted": others}).passed == 1


def test_scores_are_compared_as_numbers() -> None:
    written = {"0": "0.0", "0.0": "0.0", "≥3": "≥3.0", "n/a": "n/a", "": "", "Poor Function": "Poor Function"}
    assert {text: score_text(text) for text in written} == written
    assert [score_text(value) for value in (0, 0.25, None)] == ["0.0", "0.25", ""]


# ------------------------------------------------------------------------------------------------- the tables


def test_scores_and_groups_of_the_tables(tmp_path: Path) -> None:
    (tmp_path / "diplotype_phenotype.csv").write_text(
        "gene,diplotype,activity_score,phenotype,ehr_priority\n"
        "CYP2D6,*4/*4,0,Poor Metabolizer,Abnormal/Priority/High Risk\n"
        "CYP2D6,*4/*4,0.5,Poor Metabolizer,Abnormal/Priority/High Risk\n"
        "CYP9Z9,*1/*1,,Normal Metabolizer,\n",
        encoding="utf-8",
    )
    row = pgx_tables.phenotypes(tmp_path)
    assert (row.passed, row.total) == (1, 3)
    assert row.failures[1].startswith("CYP9Z9 *1/*1: UnknownGeneError: ")
    (tmp_path / "phenotype_frequencies.csv").write_text(
        "gene,phenotype_or_activity_score,biogeographic_group,frequency\n"
        "CYP3A4,Poor Metabolizer,European,0.1\n"  # no frequencies for any group
        "CYP2C9,0.0,Martian,0.1\n"
        "CYP2C9,2,European,0.5\n"
        f"CYP2C9,2,European,{CYP2C9_NORMAL}\n",
        encoding="utf-8",
    )
    exact, sampled = pgx_tables.frequencies(tmp_path)
    assert (exact.passed, exact.total, sampled.passed, sampled.total) == (1, 4, 1, 4)
    assert exact.failures[1].startswith("CYP2C9, Martian, 0.0: UnknownGroupError: ")


def test_a_share_that_is_met_exactly_passes() -> None:
    assert 15 / 29 * 29 > 15
    assert Row("", 15, 29, 15 / 29, ()).ok and not Row("", 14, 29, 15 / 29, ()).ok


# ------------------------------------------------------------------------------------------------------ getrm


def getrm(folder: Path, *rows: str) -> None:
    """Write one sample, reference everywhere, and its consensus."""
    lines = ["##fileformat=VCFv4.2", "##reference=GRCh38"]
    lines += ["#CHROM POS ID REF ALT QUAL FILTER INFO FORMAT NA1".replace(" ", "\t")]
    here = sorted((p.chrom, p.pos, p.ref) for gene in TABLES.genes() for p in TABLES.positions(gene))
    lines += [
        f"{chrom}\t{pos}\t.\t{ref}\t.\t.\tPASS\t.\tGT:GQ\t0/0:60" for chrom, pos, ref in dict.fromkeys(here)
    ]
    (folder / "getrm").mkdir()
    (folder / "getrm" / "genotypes.vcf").write_text("\n".join(lines) + "\n", encoding="utf-8")
    header = "sample,biogeographic_group,population,gene,consensus,flag"
    (folder / "getrm" / "consensus.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")


def test_consensus_that_names_no_diplotype_is_left_out_and_counted(tmp_path: Path) -> None:
    strange = ["*2XN/*17", "*1/*1XN", "no consensus", "no consensus"]
    getrm(
        tmp_path,
        "NA1,European,CEU,CYP2D6,*1/*1,",
        *(f"NA1,European,CEU,CYP2D6,{text}," for text in strange),
        "NA1,European,CEU,VKORC1,G/G | G/A,",
        "NA1,European,CEU,SLCO1B1,*1b/*14,",
        "NA1,European,CEU,TPMT,*1/*1,",
    )
    for found in (pgx_cases.getrm(tmp_path), pgx_tables.getrm_posterior(tmp_path)):
        rows = {row.name.split()[-1]: row for row in found}
        assert list(rows) == ["CYP2D6", "SLCO1B1", "TPMT", "VKORC1"]
        assert (rows["CYP2D6"].passed, rows["CYP2D6"].total) == (1, 1)
        left_out = "4 left out, naming no diplotype: '*2XN/*17' (1), '*1/*1XN' (1), 'no consensus' (2)"
        assert rows["CYP2D6"].remarks[-1] == left_out
        assert rows["VKORC1"].remarks == ("1 left out, naming no diplotype: 'G/G | G/A' (1)",)
        assert rows["SLCO1B1"].remarks == ("1 left out, naming no diplotype: '*1b/*14' (1)",)
        assert rows["TPMT"].remarks in ((), ("the best unique call names 1",))
        assert all(row.ok for row in found)


def test_consensus_of_an_unknown_gene_sample_or_group(tmp_path: Path) -> None:
    getrm(
        tmp_path,
        "NA1,European,CEU,CYP9Z9,*1/*1,",
        "NA2,European,CEU,TPMT,*1/*1,",
        "NA1,Martian,,TPMT,*1/*1,",
        "NA1,European,CEU,CYP4F2,*1/*1,",
    )
    called = {row.name.split()[-1]: row for row in pgx_cases.getrm(tmp_path)}
    assert called["CYP9Z9"].failures[0].startswith("NA1 CYP9Z9 *1/*1: UnknownGeneError: ")
    assert called["TPMT"].failures[0].startswith("NA2 TPMT *1/*1: ValueError: no sample NA2 in ")
    assert (called["TPMT"].passed, called["TPMT"].total, called["TPMT"].ok) == (1, 2, False)
    weighed = {row.name.split()[-1]: row for row in pgx_tables.getrm_posterior(tmp_path)}
    assert (weighed["CYP9Z9"].passed, weighed["TPMT"].passed, weighed["TPMT"].total) == (0, 0, 1)
    assert weighed["TPMT"].remarks[-1] == "1 of Martian left out: no frequencies of TPMT for this group"
    # all of the unique calls are right: more than all cannot be asked
    assert (weighed["CYP4F2"].passed, weighed["CYP4F2"].needed) == (1, 1.0)


# ---------------------------------------------------------------------------------------------- the command


def test_recommendations_need_no_text_of_the_guidelines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = {  # CPIC, statins and SLCO1B1 2022 (PMID 35152405)
        "drug": "simvastatin",
        "population": "general",
        "diplotypes": {"SLCO1B1": "*1/*5"},
        "expected_lookup": {"SLCO1B1": "Decreased Function"},
        "expected_recommendation": "text that is not compared",
        "expected_classification": "Strong",
    }
    file = tmp_path / "cases" / "diplotype_recommendation.json"
    file.parent.mkdir()
    file.write_text(json.dumps([case]), encoding="utf-8")
    done = pgx(file.parent, monkeypatch)
    lines = [" ".join(line.split()) for line in done.output.splitlines()]
    assert "look-up key and classification 1 of 1 100.0% asked ok" in lines
    assert "text of the source row left out: no ../recommendations_cpic.json" in lines
    assert "source rows carried left out: no ../recommendations_cpic.json" in lines
    assert "class and numbers of the action left out: no ../dose_actions_cpic.csv" in lines
    assert (done.exit_code, lines[-1]) == (0, "1 of 1 sets pass, 10 left out")
    file.write_text(json.dumps([case, {**case, "diplotypes": None}, {"drug": "x"}]), encoding="utf-8")
    (tmp_path / "recommendations_cpic.json").write_text("{}", encoding="utf-8")
    done = pgx(file.parent, monkeypatch)
    assert "1 of      3" in done.output and "case 3: KeyError: 'diplotypes'" in done.output
    assert (done.exit_code, "text of the source row                    0 of      3" in done.output) == (
        1,
        True,
    )


def test_a_set_that_cannot_be_read_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "genotype_calls.json").write_text("[", encoding="utf-8")
    header = "gene,phenotype_or_activity_score,biogeographic_group,frequency\n"
    (tmp_path / "phenotype_frequencies.csv").write_text(
        f"{header}CYP2C9,2.0,European,{CYP2C9_NORMAL}\n", encoding="utf-8"
    )
    getrm(tmp_path, "NA1,European,CEU,TPMT,*1/*1,")
    done = pgx(tmp_path, monkeypatch)
    assert "    not read: JSONDecodeError: " in done.output
    assert (done.exit_code, done.output.splitlines()[-1]) == (1, "5 of 6 sets pass, 6 left out")


def test_a_folder_without_a_whole_set_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "getrm").mkdir()
    (tmp_path / "getrm" / "consensus.csv").write_text("sample\n", encoding="utf-8")
    done = pgx(tmp_path, monkeypatch)
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith("0 sets pass: no set has all of its files in ")
