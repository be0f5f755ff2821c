"""A call from outside is taken as it is, or refused with its line."""

import csv
from pathlib import Path

import pytest

from dosewright.pharmacogenomics.outside_calls import OutsideCall, OutsideCallError, read_outside_calls
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.tables import TABLES

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"


@pytest.fixture
def read(tmp_path: Path):
    def run(text: str) -> tuple[OutsideCall, ...]:
        path = tmp_path / "calls.tsv"
        path.write_text(text, encoding="utf-8")
        return read_outside_calls(path)

    return run


def test_columns_comments_and_header(read) -> None:
    calls = read(
        "# from Cyrius 1.1\n"
        "gene\tdiplotype\tphenotype\tactivity score\n"
        "CYP2D6\t*10/*36+*10\n"
        "\n"
        "CYP2C9\t\t\t2\n"
        "CYP2C19\t\tPoor Metabolizer\n"
        "DPYD\tReference/c.1905+1G>A (*2A)\tIntermediate Metabolizer\t1.0\n"
        "HLA-B\t\t*15:02 positive\n"
        "HLA-B\t\tHLA-B *57:01 negative\n"
    )
    assert [
        (c.gene, c.diplotype and str(c.diplotype), c.phenotype, c.activity_score, c.line) for c in calls
    ] == [
        ("CYP2D6", "*10/*36+*10", None, None, 3),
        ("CYP2C9", None, None, "2.0", 5),
        ("CYP2C19", None, "Poor Metabolizer", None, 6),
        ("DPYD", "c.1905+1G>A (*2A)/Reference", "Intermediate Metabolizer", "1.0", 7),
        ("HLA-B", None, "*15:02 positive", None, 8),
        ("HLA-B", None, "*57:01 negative", None, 9),
    ]


def test_an_empty_table_has_no_calls(read) -> None:
    assert read("") == () and read("# nothing\n\n") == ()


@pytest.mark.parametrize(
    ("line", "diplotype"),
    [
        ("CYP2D6\t*1/*2x3", "*1/*2x≥3"),  # CPIC has *2x2 and *2x≥3 only
        ("CYP2D6\t*4/*41x3", "*4/*41x3"),
        ("VKORC1\tGA", "rs9923231 reference (C)/rs9923231 variant (T)"),  # on the coding strand
        ("VKORC1\tAA", "rs9923231 variant (T)/rs9923231 variant (T)"),
        # on the forward strand, where C and T are G and A of -1639G>A (dbSNP rs9923231: C>T)
        ("VKORC1\tC/T", "rs9923231 reference (C)/rs9923231 variant (T)"),
        ("VKORC1\tCC", "rs9923231 reference (C)/rs9923231 reference (C)"),
        ("VKORC1\tVKORC1 TT", "rs9923231 variant (T)/rs9923231 variant (T)"),
        ("CYP2D6\tCYP2D6*1/CYP2D6*4", "*1/*4"),
        ("CYP2D6\tCYP2D6 *1/*4", "*1/*4"),
        ("CYP2D6\t*1/*10+*36", "*1/*36+*10"),
        ("CYP2D6\t*4+*68x2+*13/*10+*36x2", "*13+*68x2+*4/*36x2+*10"),
        ("CYP4F2\t*1/*3", "*1/*3"),
        ("DPYD\tReference/[c.85T>C (*9A) + c.1627A>G (*5)]", "[c.85T>C (*9A) + c.1627A>G (*5)]/Reference"),
    ],
)  # fmt: skip
def test_alleles_have_the_names_of_the_tables(read, line: str, diplotype: str) -> None:
    (call,) = read(line)
    assert str(call.diplotype) == diplotype


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("CYP9Z9\t*1/*1", r"line 1, gene: 'CYP9Z9' is not in .* use one of ABCG2, .*HLA-B"),
        ("CYP2D6\t*1/*999", r"line 1, diplotype: allele '\*999' of CYP2D6 is not in CPIC"),
        ("CYP2C9\t*1/*2x3", r"line 1, diplotype: allele '\*2x3' of CYP2C9 is not in"),
        ("CYP2D6\t*1", r"line 1, diplotype: .* one allele, .* two are needed; write '\*1/\*1' if both"),
        ("CYP2D6\t*1/*x", r"line 1, diplotype: .* no allele name"),
        ("CYP2D6\t*1/*4.021", r"line 1, diplotype: '\*4.021' of CYP2D6 is a suballele, .*; write '\*4'"),
        ("CYP2D6\t*1/*10.002+*36.001", r"line 1, .* is a suballele, .*; write '\*36\+\*10'"),
        ("CYP2D6\t*1/*999.001", r"line 1, diplotype: allele '\*999.001' of CYP2D6 is not in CPIC"),
        ("CYP2D6\t*1/*2xN", r"line 1, diplotype: '\*2xN' has no number of copies; .* '\*2x≥3' for three"),
        ("CYP2D6\t*10+*10/*1", r"line 1, diplotype: allele '\*10\+\*10' of CYP2D6 is not in"),
        ("VKORC1\tG/T", r"line 1, diplotype: GT of VKORC1 mixes the strands; .*\(A, G\) .*\(C, T\)"),
        ("VKORC1\tAC", "line 1, diplotype: CA of VKORC1 mixes the strands"),
        ("CYP2C9\tC/T", "line 1, diplotype: allele 'T' of CYP2C9 is not in"),
        ("CYP2C9\t\tFast", "line 1, phenotype: 'Fast' is no phenotype of CYP2C9; use one of Indet"),
        ("VKORC1\t\tSensitive", "line 1, phenotype: 'Sensitive' .* give the diplotype: the gene has"),
        ("CYP2C9\t\t\t0.7", "line 1, activity score: '0.7' is no activity score of CYP2C9; use one of 0.0"),
        ("TPMT\t\t\t1.0", "line 1, activity score: TPMT has no activity score; leave the column empty"),
        ("CYP2D6", "line 1: 1 columns; give gene, diplotype"),
        ("CYP2D6\t*1/*1\t\t\tx", "line 1: 5 columns"),
        ("CYP2D6\t\t\t", "line 1: nothing is given for CYP2D6"),
        ("HLA-B\t*15:02", r"line 1, diplotype: '\*15:02' is not the typing of both .*'\*15:02 positive'"),
        ("HLA-B\t*07/*15:02", r"line 1, diplotype: '\*07/\*15:02' is not the typing of both .* two fields"),
        ("HLA-B\t*07:02/*15:02\t\t1", "line 1, activity score: HLA-B has none; leave the column empty"),
        ("HLA-B\t*07:02/*15:02\t*15:02 negative", r"line 1, phenotype: \*15:02 neg.* diplotype is \*07:02"),
        ("HLA-B\t*07:02/*15:02\nHLA-B\t\t*57:01 positive", r"line 2, .*: \*57:01 positive for HLA-B, but"),
        ("HLA-A\t*02:01/B*07:02", "line 1, diplotype: .* is not the typing of both"),
        ("HLA-B\t\tHLA-A *31:01 positive", "line 1, phenotype: .* is no result for an allele of HLA-B"),
        # contradictions; CPIC: *1/*4 is 1.0, Intermediate Metabolizer
        ("CYP2D6\t*1/*4\tPoor Metabolizer", r"line 1, phenotype: Poor .* CYP2D6 \*1/\*4, .* is Inter"),
        ("CYP2D6\t*1/*4\t\t2.0", r"line 1, activity score: 2.0 for CYP2D6 \*1/\*4, .* it is 1.0"),
        ("CYP2D6\t\tPoor Metabolizer\t2.0", "line 1, phenotype: Poor .* activity score 2.0, .* it is Normal"),
        ("CYP2D6\t*1/*4\nCYP2D6\t*1/*5", r"line 2, diplotype: \*1/\*5 for CYP2D6, but line 1 has \*1/\*4"),
        ("CYP2D6\t\t\t1.0\nCYP2D6\t\t\t2.0", "line 2, activity score: 2.0 for CYP2D6, but line 1 has 1.0"),
        ("CYP2D6\t*1/*4\nCYP2D6\t\t\t2.0", r"lines 1 and 2, activity score: 2.0 .* \*1/\*4, .* is 1.0"),
        (
            "CYP2D6\t\tPoor Metabolizer\nCYP2D6\t*1/*4",
            r"lines 1 and 2, phenotype: Poor .* \*1/\*4, .* Intermed",
        ),
        # CPIC: c.1905+1G>A 0, c.2846A>T 0.5, Reference 1; the lowest of a chromosome counts (PMID 29152729)
        (
            "DPYD\t[c.1905+1G>A (*2A) + c.2846A>T]/Reference\tPoor Metabolizer\t0.0",
            r"line 1, phenotype: Poor .* \(looked up as c.1905\+1G>A \(\*2A\)/Reference\), .* is Interm",
        ),
        (
            "DPYD\t[c.1905+1G>A (*2A) + c.2846A>T]/c.2846A>T\t\t0.0",
            r"line 1, activity score: 0.0 for DPYD .*, but by CPIC's rules it is 0.5; correct",
        ),
        # *5 is the deletion of the gene: nothing stands beside it
        ("CYP2D6\t[*4 + *5]/*1", r"line 1, diplotype: allele '\[\*4 \+ \*5\]' of CYP2D6 is not in CPIC .*"),
        # the score alone still decides where the diplotype says nothing
        ("CYP2D6\t*1/*185\tPoor Metabolizer\t2.0", "line 1, phenotype: Poor .* score 2.0, .* it is Normal"),
        # no calls, as PharmCAT, VCF files and laboratories write them
        ("CYP2C9\tUnknown/Unknown\tNo Result\tn/a", "line 1, diplotype: 'Unknown/Unk.* of CYP2C9 is no call"),
        ("CYP2C9\t./.", r"line 1, diplotype: '\./\.' of CYP2C9 is no call of two alleles; leave the line"),
        ("CYP2D6\tNone", "line 1, diplotype: 'None' of CYP2D6 is no call"),
        ("VKORC1\tno call", "line 1, diplotype: 'no call' of VKORC1 is no call .* leave the line out"),
        ("CYP2D6\tCYP2D6 n/a", "line 1, diplotype: 'CYP2D6 n/a' of CYP2D6 is no call"),
        ("CYP2D6\t*1/unknown", r"line 1, diplotype: '\*1/unknown' of CYP2D6 is no call of two alleles"),
        ("TPMT\tIndeterminate\tPoor Metabolizer", "line 1, diplotype: .* is known, the diplotype empty"),
        ("HLA-B\tUnknown/Unknown", "line 1, diplotype: 'Unknown/Unknown' of HLA-B is no call"),
        # heads of the programs' own output
        ("#Sample\tGene\tSolutionID\tMajor\tMinor\tCopy", "line 1: .* output of Aldy, .* of Major as"),
        ("name\tstatus\thap1_main\thap2_main", "line 1: .* output of Stargazer, .* of hap1_main and"),
        ("Sample\tHaplotype1\tHaplotype2\tPhenotype", "line 1: .* output of Stargazer or PyPGx, .* Haplo"),
        ("Sample\tGenotype\tFilter\nNA1\t*1/*4\tPASS", "line 1: .* output of Cyrius, .* alleles of Genotype"),
        ("HLA-B\t\t*15:02 positive\nHLA-B\t\t*15:02 negative", "line 2, phenotype: .*15:02 negative for HLA"),
    ],
)  # fmt: skip
def test_what_is_unknown_or_contradicts_is_refused_with_its_line(read, text: str, says: str) -> None:
    with pytest.raises(OutsideCallError, match=rf"calls\.tsv, {says}"):
        read(text)


@pytest.mark.parametrize(
    ("line", "phenotype", "score"),
    [
        ("CYP3A4\t*1/*2", None, None),  # defined by PharmVar, not in the function table of CPIC or DPWG
        ("CYP3A4\t*1/*2\tPoor Metabolizer", "Poor Metabolizer", None),
        ("CYP2C19\t*42/*1", None, None),
        ("CYP2D6\t*1/*185\tIntermediate Metabolizer\t1", "Intermediate Metabolizer", "1.0"),
        # star alleles on one chromosome: CPIC has no rule for a pair of functions and a third one
        ("CYP2C19\t[*2 + *17]/*1\tIntermediate Metabolizer", "Intermediate Metabolizer", None),
        # CPIC: 0 of c.1905+1G>A and 1 of Reference
        (
            "DPYD\t[c.1905+1G>A (*2A) + c.2846A>T]/Reference\tIntermediate Metabolizer\t1",
            "Intermediate Metabolizer",
            "1.0",
        ),
    ],
)
def test_what_the_rules_do_not_contradict_is_kept_as_given(
    read, line: str, phenotype: str | None, score: str | None
) -> None:
    (call,) = read(line)
    assert call.diplotype is not None
    assert (call.phenotype, call.activity_score) == (phenotype, score)


def test_two_equal_lines_count_once(read) -> None:
    (call,) = read("CYP2D6\t*1/*4\nCYP2D6\t*4/*1\n")
    assert call.line == 1


def test_lines_of_a_gene_that_agree_are_put_together(read) -> None:
    # CPIC: *1/*4 is 1.0, Intermediate Metabolizer
    (call,) = read("CYP2D6\t\tIntermediate Metabolizer\nCYP2D6\t*1/*4\nCYP2D6\t*1/*4\t\t1\n")
    said = (str(call.diplotype), call.phenotype, call.activity_score, call.line)
    assert said == ("*1/*4", "Intermediate Metabolizer", "1.0", 1)


@pytest.mark.parametrize(
    ("line", "results"),
    [
        ("HLA-B\t*15:02/*57:01", ["*15:02 positive", "*57:01 positive", "*58:01 negative"]),
        (
            "HLA-B\tHLA-B*07:02:01G/B*44:02:01:01",
            ["*07:02 positive", "*44:02 positive", "*15:02 negative", "*57:01 negative", "*58:01 negative"],
        ),
        ("HLA-A\t*31:01:02/*31:01", ["*31:01 positive"]),
        ("HLA-A\t*02:01/*24:09N\t", ["*02:01 positive", "*24:09N positive", "*31:01 negative"]),
        (
            "HLA-A\t*02:01/*31:01\t*03:01 negative",
            ["*02:01 positive", "*31:01 positive", "*03:01 negative"],
        ),
        ("HLA-A\t*02:01/*31:01\nHLA-A\t\t*31:01 positive", ["*02:01 positive", "*31:01 positive"]),
    ],
)
def test_a_full_typing_of_hla_is_a_result_for_each_allele(read, line: str, results: list[str]) -> None:
    calls = read(line)
    assert [call.phenotype for call in calls] == results
    assert {(call.diplotype, call.activity_score, call.line) for call in calls} == {(None, None, 1)}


def test_no_file_and_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(OutsideCallError, match="no file .*none.tsv: give a table of gene, diplotype"):
        read_outside_calls(tmp_path / "none.tsv")
    (tmp_path / "x.tsv").write_bytes("CYP2D6\t*1/*2x≥3\n".encode("utf-16"))
    with pytest.raises(OutsideCallError, match="not UTF-8"):
        read_outside_calls(tmp_path / "x.tsv")


@pytest.mark.parametrize("gene", [gene for gene in TABLES.genes() if TABLES.phenotype_rules(gene)])
def test_every_call_with_cpics_own_meaning_is_taken(read, gene: str) -> None:
    first = TABLES.function_alleles(gene)[0]
    for allele in TABLES.function_alleles(gene):
        meaning = interpret(gene, f"{first}/{allele}")
        key = meaning.key if meaning.scored else ""
        (call,) = read(f"{gene}\t{meaning.diplotype}\t{meaning.phenotype}\t{key}")
        assert (call.diplotype, call.phenotype) == (meaning.diplotype, meaning.phenotype)


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="the shared test cases are not here")
def test_the_outside_call_of_the_example_sample(read) -> None:
    with open(SHARED_PGX / "cases" / "example_sample" / "expected.csv", newline="") as handle:
        (row,) = [row for row in csv.DictReader(handle) if row["from_outside_call"] == "yes"]
    (call,) = read("\t".join(row[key] for key in ("gene", "diplotype", "phenotype", "activity_score")))
    assert (str(call.diplotype), call.phenotype, call.activity_score) == (
        "*1/*3", "Intermediate Metabolizer", "1.0",
    )  # fmt: skip
