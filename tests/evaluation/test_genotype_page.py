"""The page of a genotype: its numbers are the record's, it loads nothing, and it escapes what files say."""

import html
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from dosewright.evaluation.genotype.meaning import drug_meaning
from dosewright.evaluation.genotype.record import genotype_record, write_genotype
from dosewright.evaluation.report.genotype import between, genotype_page, number, probability
from dosewright.pharmacogenomics import (
    TABLES,
    call_genes,
    read_outside_calls,
    read_vcf,
)

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
SAMPLE = '<img src=x onerror="alert(1)">&'
DRUGS = ("warfarin", "tacrolimus", "codeine", "phenytoin")
PROVENANCE = {"command": "dosewright pgx", "started": "2026-01-01T00:00:00+00:00", "seconds": 1.0,
              "versions": {"dosewright": "0"}, "platform": "here", "git": None}  # fmt: skip


def recorded(
    path: Path, outside: Path | None = None, ancestry: str | None = None, **what: Any
) -> dict[str, Any]:
    read = read_vcf(path)
    (genotypes,) = read.genotypes.values()
    calls = call_genes(genotypes, () if outside is None else read_outside_calls(outside), ancestry)
    also = ["fluconazole", "paroxetine"]
    return genotype_record(
        genotypes, calls, [drug_meaning(drug, calls, also, ancestry) for drug in what.get("drugs", DRUGS)],
        ancestry=ancestry, inhibitors=also, outside_file=None if outside is None else str(outside),
        tables=TABLES, provenance=PROVENANCE,
    )  # fmt: skip


@pytest.fixture(scope="module")
def record(vcf_text: Callable[..., str], variants: Mapping[str, str], tmp_path_factory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("page")
    (folder / "one.vcf").write_text(vcf_text({SAMPLE: variants}))
    (folder / "calls.tsv").write_text("gene\tdiplotype\nCYP2D6\t*1/*4\n")
    return recorded(folder / "one.vcf", folder / "calls.tsv")


@pytest.fixture(scope="module")
def page(record: dict[str, Any]) -> str:
    return genotype_page(record)


def words(page: str) -> str:
    """The text a reader sees, without figures."""
    text = re.sub(r"<style>.*?</style>|<svg.*?</svg>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


def section(page: str, drug: str) -> str:
    return words(page[page.index(f'<section class="drug" id="{drug}">') :].partition("</section>")[0])


def test_numbers_of_the_page_are_those_of_the_record(record: dict[str, Any], page: str) -> None:
    saved = json.loads(json.dumps(record, allow_nan=False))
    for drug in saved["drugs"]:
        text = section(page, drug["drug"])
        assert all(sentence in text for sentence in drug["said"])
        for advice in drug["cpic"]:
            assert f"row {advice['row']}; {', '.join(advice['citations'])}" in text and advice["date"] in text
        for effect in drug["published"]:
            assert f"{number(effect['multiplier'])} " in text and effect["study"] in text
        for item in drug["interactions"]:
            assert f"{item['strength']} {item['role']} " in text and between(item["clearance"]) in text
        model = drug["model"]
        if model is not None:
            for course in model["courses"]:
                pair = ", ".join(f"{gene} {pair}" for gene, pair in course["genotype"].items())
                row = text[text.index(f"{pair} {course['role']}") :]
                assert f"{number(course['settled'])} {number(course['multiplier'])} " in row[:160]
            for change in model["changes"]:
                assert f"{change['name']} {number(change['value'])} against" in text
                assert f"(× {number(change['ratio'])})" in text
    text = words(page)
    for gene in saved["genes"]:
        row = text[text.index(f" {gene['gene']} {gene['result']} ") :]
        assert f" {gene['vcf']['positions_called']} of {gene['vcf']['positions']} " in row
        assert f" {probability(gene['probability'])} " in row
        for other in (gene["posterior"] or {"diplotypes": []})["diplotypes"]:
            assert f"{other['diplotype']} {probability(other['probability'])}" in row


def test_plain_words_carry_the_numbers_of_the_record(record: dict[str, Any]) -> None:
    warfarin = record["drugs"][0]
    model, chart = warfarin["model"], warfarin["warfarin_chart"][0]
    said = " ".join(warfarin["said"])
    assert "times the usual dose" not in said  # a dose for the same INR is the model's, and no advice
    assert f"{chart['daily_mg']:.3g} mg a day" in said and f"{chart['ratio']:.3g} times that" in said
    assert f"INR {model['courses'][0]['settled']:.3g} instead of {model['courses'][1]['settled']:.3g}" in said


def test_what_the_file_says_is_escaped(page: str) -> None:
    assert "<img" not in page and html.escape(SAMPLE, quote=False) in page.replace("&#34;", '"')
    assert f"Genotype of {SAMPLE}" in words(page)


def test_page_stands_alone_and_says_once_what_it_is_not_for(page: str) -> None:
    assert not re.search(r"<script|<link|<[a-z][^<>]*\bsrc=|@import|url\((?!#)", page)
    assert set(re.findall(r'href="(https?://[^/"]+)', page)) == {"https://cpicpgx.org"}
    assert words(page).count("not for clinical use") == 1
    assert 'name="viewport"' in page


def test_figures_have_ids_of_their_own(page: str) -> None:
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert page.count("<svg") == 3 and len(ids) == len(set(ids))


def test_call_from_outside_counts_and_the_vcf_is_shown_beside_it(record: dict[str, Any], page: str) -> None:
    gene = next(item for item in record["genes"] if item["gene"] == "CYP2D6")
    assert (gene["origin"], gene["result"], gene["score"]) == ("outside call", "*1/*4", "1.0")
    assert gene["outside"] == {"diplotype": "*1/*4", "phenotype": None, "score": None, "line": 2}
    assert gene["vcf"]["diplotypes"] == ["*1/*1"] and gene["probability"] is None
    assert "CYP2D6 *1/*4 outside call VCF: *1/*1 Intermediate Metabolizer" in words(page)
    # a strong inhibitor counts for the sentence as for the row
    codeine = next(item for item in record["drugs"] if item["drug"] == "codeine")
    assert codeine["said"][0].startswith("CPIC (Strong; with paroxetine): Avoid codeine")


def test_head_says_ancestry_policy_and_tables(record: dict[str, Any], page: str) -> None:
    text = words(page)
    assert "Ancestry: not given; every group of the tables counts alike (ASSUMPTION)" in text
    assert "positions without a call: missing" in text and f"tables: {TABLES.version}" in text
    assert record["ancestry"] == {"given": False, "shares": {}}


def test_missing_gene_doubtful_call_and_read_policy_are_warned_of(
    vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "one.vcf").write_text(vcf_text({"one": {}}, without=("CYP3A5",)))
    made = recorded(tmp_path / "one.vcf", ancestry="East Asian", drugs=("tacrolimus",))
    assert "CYP3A5 was not tested: none of its positions was called" in made["warnings"]
    # without structure CYP2D6 *1/*1 leaves a duplication or deletion as likely as in the population: that
    # is a warning where a drug is looked up by the gene, and stands with the gene everywhere else
    cyp2d6 = next(gene for gene in made["genes"] if gene["gene"] == "CYP2D6")
    (doubt,) = cyp2d6["doubts"]
    p = cyp2d6["probability"]
    assert p < 0.9 and f"is not certain (probability {p:.2g}; " in doubt and doubt not in made["warnings"]
    also = recorded(tmp_path / "one.vcf", ancestry="East Asian", drugs=("codeine",))
    assert doubt in also["warnings"]
    text = words(genotype_page(made))
    assert all(f"{warning.rstrip('.')}." in text for warning in made["warnings"])
    assert "CYP3A5 was not tested" in section(genotype_page(made), "tacrolimus")
    assert "Ancestry: East Asian ·" in text


def test_what_stands_first_is_the_most_urgent(record: dict[str, Any], page: str) -> None:
    summary = {row["drug"]: row for row in record["summary"]}
    assert list(summary)[0] == "codeine" and summary["codeine"]["cpic"] == "avoid (Strong)"
    assert "HLA-B" in summary["phenytoin"]["unsettled"]
    assert summary["warfarin"]["uncounted"] == ["fluconazole"] and summary["codeine"]["uncounted"] == []
    warfarin = next(drug for drug in record["drugs"] if drug["drug"] == "warfarin")
    assert summary["warfarin"]["multiplier"] == warfarin["model"]["multiplier"]
    text = words(page)
    assert text.index("What it means") < text.index("What was found")


def test_response_that_hardly_follows_the_dose_gives_no_dose(
    vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "one.vcf").write_text(vcf_text({"one": {}}))
    made = recorded(tmp_path / "one.vcf", drugs=("mercaptopurine",))
    model = made["drugs"][0]["model"]
    # the model's ANC falls by 5 % for twice the dose: a dose for the same ANC would be a hundredth
    assert abs(model["elasticity"]) < 0.1 and {course["multiplier"] for course in model["courses"]} == {None}
    assert "ANC hardly follows the dose" in section(genotype_page(made), "mercaptopurine")


def test_results_that_stay_open_are_marked_and_a_result_no_drug_uses_is_named(
    vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    text = [line for line in vcf_text({"one": {}}).splitlines() if "rs3918290" not in line]
    (tmp_path / "one.vcf").write_text("\n".join(text) + "\n")
    (tmp_path / "calls.tsv").write_text("HLA-B\t\t*57:01 positive\n")
    made = recorded(tmp_path / "one.vcf", tmp_path / "calls.tsv", "European", drugs=("fluorouracil",))
    drug = made["drugs"][0]
    assert {row["standing"] for row in drug["cpic"]} == {"settled", "if missing"}
    assert any(text.startswith("DPYD: rs3918290 was not called, so that beside") for text in made["warnings"])
    assert "HLA-B *57:01 positive: none of these drugs is looked up by it" in made["warnings"]
    assert "not excluded: DPYD 0.0" in section(genotype_page(made), "fluorouracil")


def test_keys_of_the_record_are_a_contract(record: dict[str, Any]) -> None:
    assert record["schema"] == 1
    assert list(record) == [
        "schema", "notice", "sample", "file", "missing_policy", "outside_file", "ancestry", "inhibitors",
        "tables", "warnings", "summary", "genes", "drugs", "sources", "provenance",
    ]  # fmt: skip
    assert list(record["genes"][0]) == [
        "gene", "origin", "result", "diplotypes", "lookup", "coding_strand", "phenotype", "score", "keys",
        "priority", "probability", "could_be", "doubts", "structural", "vcf", "outside", "posterior",
        "notes", "source",
    ]  # fmt: skip
    assert list(record["genes"][0]["vcf"]) == [
        "diplotypes", "variants", "reason", "positions_called", "positions", "missing", "undefined",
        "not_excluded", "structure_not_seen",
    ]  # fmt: skip
    warfarin = record["drugs"][0]
    assert list(warfarin) == [
        "drug", "genes", "open_genes", "said", "cpic", "no_cpic", "no_guideline", "warfarin_chart", "dpwg",
        "no_dpwg", "published", "no_published", "interactions", "no_interactions", "model", "no_model",
    ]  # fmt: skip
    assert list(warfarin["model"]) == [
        "scenario", "name", "title", "person", "person_source", "usual_dose", "dose_unit", "usual_rule",
        "genotype", "reference", "reference_reason", "multiplier", "elasticity",
        "multiplier_left_out", "same", "changes", "terms", "assumptions",
        "output", "output_unit", "days", "courses",
    ]  # fmt: skip
    assert list(warfarin["warfarin_chart"][0]) == [
        "ancestry", "person", "equation", "pharmacogenetic", "strength", "daily_mg", "adjusted_daily_mg",
        "reference_daily_mg", "ratio", "adjustments", "warnings", "source", "why_none",
        "notes",
    ]  # fmt: skip


def test_outside_call_that_the_vcf_contradicts_is_warned_of(
    vcf_text: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "one.vcf").write_text(vcf_text({"one": {"rs1799853": "1/1"}}))
    (tmp_path / "calls.tsv").write_text(
        "DPYD\tc.1905+1G>A (*2A)/Reference\nCYP2C9\t*1/*1\nCYP2D6\t*1/*1x2\nTPMT\t*1/*1\n"
    )
    made = recorded(
        tmp_path / "one.vcf", tmp_path / "calls.tsv", drugs=("warfarin", "fluorouracil", "codeine")
    )
    said = [text for text in made["warnings"] if "was called elsewhere" in text]
    # not of CYP2D6: copies are not seen in a VCF of small variants
    assert said == [
        "CYP2C9: *1/*1 was called elsewhere (line 2) and counts, but the VCF shows *2/*2",
        "DPYD: c.1905+1G>A (*2A)/Reference was called elsewhere (line 1) and counts, but the VCF shows "
        "Reference/Reference",
    ]


def test_files_are_whole_or_not_there(
    record: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, shown = write_genotype(record, tmp_path / "new" / "folder")
    assert json.loads(data.read_text(encoding="utf-8")) == json.loads(json.dumps(record))
    before = shown.read_text(encoding="utf-8")
    assert sorted(item.name for item in data.parent.iterdir()) == ["genotype.html", "genotype.json"]

    def broken(record: Mapping[str, Any]) -> str:
        raise RuntimeError("no page")

    monkeypatch.setattr("dosewright.evaluation.report.genotype.genotype_page", broken)
    with pytest.raises(RuntimeError, match="no page"):
        write_genotype({**record, "sample": "other"}, data.parent)
    assert shown.read_text(encoding="utf-8") == before
    assert json.loads(data.read_text(encoding="utf-8"))["sample"] == SAMPLE


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason=f"no genetic data at {SHARED_PGX}")
def test_example_sample_is_called_as_expected(tmp_path: Path) -> None:
    import csv

    folder = SHARED_PGX / "cases" / "example_sample"
    (tmp_path / "calls.tsv").write_text("CYP2D6\t*1/*3\n")
    made = recorded(folder / "sample.vcf", tmp_path / "calls.tsv", drugs=("warfarin", "codeine"))
    genes = {gene["gene"]: gene for gene in made["genes"]}
    for row in csv.DictReader((folder / "expected.csv").read_text().splitlines()):
        gene = genes[row["gene"]]
        assert gene["result"] == row["diplotype"]
        assert (gene["score"] or "") == row["activity_score"]
        if row["phenotype"] and row["gene"] != "VKORC1":
            assert gene["phenotype"] == row["phenotype"]
        assert (gene["origin"] == "outside call") == (row["from_outside_call"] == "yes")
    assert "*1/*3 outside call" in words(genotype_page(made))
    # the file shows the reference at every position of CYP2D6
    assert made["warnings"] == [
        "CYP2D6: *1/*3 was called elsewhere (line 1) and counts, but the VCF shows *1/*1"
    ]
