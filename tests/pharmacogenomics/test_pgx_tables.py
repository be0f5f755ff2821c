"""CPIC's numbers are carried unchanged, and what is missing is refused."""

from importlib.resources import files
from pathlib import Path

import pytest

from dosewright.pharmacogenomics import (
    TABLES,
    Tables,
    TablesError,
    UnknownAlleleError,
    UnknownGeneError,
    UnknownGroupError,
)
from dosewright.pharmacogenomics.tables_diff import differences

SHARED_PGX = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx"
DATA = files("dosewright.pharmacogenomics.data")


@pytest.mark.parametrize(
    ("gene", "group", "allele", "frequency"),
    [  # CPIC 1.56.0, allele frequency tables
        ("VKORC1", "European", "rs9923231 variant (T)", 0.4132605),
        ("VKORC1", "East Asian", "rs9923231 variant (T)", 0.8664911),
        ("VKORC1", "Sub-Saharan African", "rs9923231 variant (T)", 0.107742354),
        ("CYP2C9", "European", "*2", 0.1273007),
        ("ABCG2", "African American/Afro-Caribbean", "rs2231142 reference (G)", 0.9651338),
        ("DPYD", "Central/South Asian", "c.1129-5923C>G, c.1236G>A (HapB3)", 0.019658487),
    ],
)
def test_a_frequency_is_the_published_one(gene: str, group: str, allele: str, frequency: float) -> None:
    assert TABLES.allele_frequencies(gene, group)[allele] == frequency


@pytest.mark.parametrize("gene", [gene for gene in TABLES.genes() if gene != "DPYD"])
def test_the_alleles_of_a_gene_and_group_sum_to_one(gene: str) -> None:
    for group in TABLES.biogeographic_groups(gene):
        frequencies = TABLES.allele_frequencies(gene, group)
        assert sum(frequencies.values()) == pytest.approx(1, abs=1e-3), group
        assert min(frequencies.values()) >= 0


def test_the_tables_have_the_genes_and_groups_that_the_reference_counts() -> None:
    assert len(TABLES.genes()) == 14 and TABLES.biogeographic_groups("CYP3A4") == ()
    counts = {gene: len(TABLES.biogeographic_groups(gene)) for gene in TABLES.genes()}  # models.md section 17
    expected = {"CYP2C9": 9, "VKORC1": 8, "CYP4F2": 8, "CYP3A5": 7, "CYP2C19": 9, "CYP2B6": 8, "TPMT": 7}
    assert expected.items() <= counts.items() and (counts["NUDT15"], counts["DPYD"]) == (4, 6)
    assert "Oceanian" not in TABLES.biogeographic_groups("VKORC1")


def test_every_frequency_has_its_sample_size() -> None:
    sizes = {
        (gene, group): TABLES.sample_size(gene, group)
        for gene in TABLES.genes()
        for group in TABLES.biogeographic_groups(gene)
    }
    assert len(sizes) == 100 and min(sizes.values()) > 0
    assert sizes["DPYD", "African American/Afro-Caribbean"] == 314  # models.md section 17


@pytest.mark.parametrize(
    ("gene", "allele", "function", "value"),
    [  # CPIC 1.56.0, allele functionality tables
        ("CYP2C9", "*1", "Normal function", 1.0),
        ("CYP2C9", "*2", "Decreased function", 0.5),
        ("CYP2C9", "*3", "No function", 0.0),
        ("CYP2C9", "*7", "Uncertain function", None),
        ("CYP2D6", "*36+*10", "Decreased function", 0.25),
        ("CYP2D6", "*1x2", "Increased function", 2.0),
        ("CYP2D6", "*1x≥3", "Increased function", 3.0),
        ("CYP2C19", "*17", "Increased function", None),
    ],
)
def test_function_and_activity_of_an_allele(
    gene: str, allele: str, function: str, value: float | None
) -> None:
    assert TABLES.clinical_function(gene, allele) == function
    activity = TABLES.allele_activity(gene, allele)
    assert (None if activity is None else activity.value) == value


def test_an_open_copy_number_keeps_its_sign() -> None:
    assert str(TABLES.allele_activity("CYP2D6", "*1x≥3")) == "≥3.0"
    assert str(TABLES.allele_activity("CYP2D6", "*1x2")) == "2.0"


def test_a_missing_group_is_refused_and_the_existing_ones_are_listed() -> None:
    with pytest.raises(UnknownGroupError) as caught:
        TABLES.allele_frequencies("VKORC1", "Oceanian")
    message = str(caught.value)
    assert "VKORC1" in message and "'Oceanian'" in message
    assert all(group in message for group in TABLES.biogeographic_groups("VKORC1"))
    with pytest.raises(UnknownGroupError, match="'Martian'"):
        TABLES.sample_size("CYP2C9", "Martian")


def test_a_gene_without_tables_is_refused() -> None:
    looked_up = (
        TABLES.biogeographic_groups,
        TABLES.function_alleles,
        TABLES.phenotype_rules,
        TABLES.positions,
    )
    for look_up in looked_up:
        with pytest.raises(UnknownGeneError, match="'CYP1A2'.*CYP2C9"):
            look_up("CYP1A2")


def test_an_unlisted_allele_is_never_read_as_reference() -> None:
    with pytest.raises(UnknownAlleleError, match=r"'\*999' of CYP2C9.*\*1, \*2"):
        TABLES.clinical_function("CYP2C9", "*999")
    with pytest.raises(UnknownAlleleError, match="VKORC1 has no function table"):
        TABLES.allele_activity("VKORC1", "A")


def test_a_caller_cannot_change_the_tables() -> None:
    with pytest.raises(TypeError):
        TABLES.allele_frequencies("CYP2C9", "European")["*2"] = 0.9  # pyright: ignore[reportIndexIssue]
    assert TABLES.allele_frequencies("CYP2C9", "European")["*2"] == 0.1273007


def test_content_under_another_licence_stands_in_a_folder_of_its_own_with_its_notice() -> None:
    for file in DATA.joinpath("cpic").iterdir():
        if file.name.endswith(".csv"):
            assert "CYP3A4," not in file.read_text(encoding="utf-8"), file.name
    for folder, licence in (
        ("cpic", "CC0 1.0"),
        ("clinpgx", "CC BY-SA 4.0"),
        ("pharmcat", "Mozilla Public License"),
    ):
        assert licence in DATA.joinpath(folder, "NOTICE.md").read_text(encoding="utf-8")
    assert TABLES.version in DATA.joinpath("cpic", "NOTICE.md").read_text(encoding="utf-8").replace("**", "")
    assert TABLES.source("CYP3A4").startswith("ClinPGx and PharmVar as in PharmCAT 3.1.1")
    assert TABLES.source("CYP2C9") == "CPIC 1.56.0 (2026-05-01), CYP2C9 definitions changed 2025-06-16"


def test_insertions_and_deletions_are_anchored_as_they_stand_in_a_vcf() -> None:
    repeat = next(position for position in TABLES.positions("UGT1A1") if position.rsid == "rs3064744")
    assert (repeat.pos, repeat.ref, repeat.alts) == (233760233, "CAT", ("C", "CATAT", "CATATAT"))
    definitions = {definition.name: definition for definition in TABLES.definitions("UGT1A1")}
    assert definitions["*80+*28"].core == {233759924: "T", 233760233: "CATAT"}
    # CPIC names the deleted bases of TPMT *47, no table the base before them: any base may stand there
    deletion = next(position for position in TABLES.positions("TPMT") if position.pos == 18149103)
    assert (deletion.ref, deletion.alts, deletion.is_indel) == ("NAAGT", ("N",), True)


def test_the_reference_allele_stands_first_and_open_positions_are_kept() -> None:
    assert [TABLES.definitions(gene)[0].name for gene in ("CYP2C19", "DPYD", "CYP2D6")] == [
        "*38",
        "Reference",
        "*1",
    ]
    # CYP2D6*1 leaves two positions open; CYP2C19*1 is *38 with rs3758581 G [data/pgx/README.md]
    assert TABLES.definitions("CYP2D6")[0].either == {42128813: {"A", "G"}, 42129130: {"C", "G"}}
    first = next(definition for definition in TABLES.definitions("CYP2C19") if definition.name == "*1")
    assert first.core == {94842866: "G"}


def folder_of_tables(path: Path) -> Path:
    """Copy the tables that ship into one flat folder without version.toml."""
    for name in ("cpic", "clinpgx", "pharmcat"):
        for file in DATA.joinpath(name).iterdir():
            if file.name.endswith(".csv"):
                target, text = path / file.name, file.read_text(encoding="utf-8")
                target.write_text(
                    target.read_text(encoding="utf-8") + text.split("\n", 1)[1] if target.exists() else text,
                    encoding="utf-8",
                )
    return path


def test_a_folder_of_newer_tables_is_read_and_named_as_the_source(tmp_path: Path) -> None:
    folder = folder_of_tables(tmp_path)
    frequencies = folder / "allele_frequencies.csv"
    text = frequencies.read_text(encoding="utf-8")
    frequencies.write_text(
        text.replace("CYP2C9,*2,European,0.1273007", "CYP2C9,*2,European,0.125"), encoding="utf-8"
    )
    newer = Tables.read(folder)
    assert newer.allele_frequencies("CYP2C9", "European")["*2"] == 0.125
    assert newer.genes() == TABLES.genes() and newer.definitions("TPMT") == TABLES.definitions("TPMT")
    assert str(folder) in newer.source("CYP2C9") and "sha256" in newer.version
    changes = differences(TABLES, newer)
    assert [str(change) for change in changes] == ["CYP2C9 frequency of *2 in European: 0.1273007 -> 0.125"]


def test_differences_of_two_snapshots_are_named_allele_by_allele(tmp_path: Path) -> None:
    folder = folder_of_tables(tmp_path)
    functions = folder / "allele_function.csv"
    lines = functions.read_text(encoding="utf-8").splitlines()
    lines = [
        line.replace("Decreased function", "No function") if line.startswith("CYP2C9,*2,") else line
        for line in lines
        if not line.startswith("TPMT,*46,")
    ]
    functions.write_text("\n".join(lines) + "\n", encoding="utf-8")
    said = [str(change) for change in differences(TABLES, Tables.read(folder))]
    assert said == [
        "CYP2C9 function of *2: Decreased function, 0.5 -> No function, 0.5",
        "TPMT function of *46: No function -> absent",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (
            "allele_function.csv",
            "clinical_function",
            "function",
            r"allele_function.csv has no column 'clinical_fun",
        ),
        (
            "allele_frequencies.csv",
            "0.1273007",
            "12 %",
            r"allele_frequencies.csv, line \d+: .*'12 %' is no number",
        ),
        ("allele_frequencies.csv", "0.1273007", "1.2", r"allele_frequencies.csv, line \d+: .*outside 0 to 1"),
        ("variant_positions.csv", "94981296", "9498129x", r"variant_positions.csv, line \d+: '9498129x'"),
        ("variant_positions.csv", ",94981296,A,C,", ",94981296,A,?,", r"'\?' is no sequence"),
        ("genes.csv", "CYP2C9,chr10,+", "CYP2C9,chr10,plus", r"genes.csv, line \d+: strand 'plus' of CYP2C9"),
        ("allele_frequencies.csv", "CYP2C9,*3,European", "CYP2C9,*2,European", r"CYP2C9 has '\*2' twice"),
        (
            "allele_function.csv",
            "CYP2C9,*2,0.5",
            "CYP2C9,*2,0.25",
            r"no rule for CYP2C9 [\d.]+ .*add it, or correct",
        ),
        (  # CPIC 1.56.0: rs1799853 is C>T
            "allele_definitions.csv",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,C,T",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,C,G",
            r"definitions.csv, line \d+: CYP2C9 \*2 carries 'G' at 94942290, .* C, T only; correct vcf_al",
        ),
        (
            "allele_definitions.csv",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,",
            "CYP2C9,*2,0,rs1799853,chr10,94942299,",
            r"definitions.csv, line \d+: CYP2C9 \*2 stands at 94942299, .* correct vcf_pos, or add",
        ),
        (
            "allele_definitions.csv",
            "rs150163869,chr22,42128813,G,A|G",
            "rs150163869,chr22,42128813,G,C|G",
            r"definitions.csv, line \d+: CYP2D6 \*1 carries 'C' at 42128813, .* G, A only",
        ),
        (
            "allele_definitions.csv",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,C,T",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,A,T",
            r"definitions.csv, line \d+: CYP2C9 \*2 has the reference 'A' at 94942290, .* has 'C'; corr",
        ),
        (
            "vcf_anchoring.csv",
            "g.94949283del,*6,94949281,GA,G",
            "g.94949283del,*6,94949281,GAA,G",
            r"definitions.csv, line \d+: CYP2C9 \*6 has the reference 'GAA' at 94949281, .* has 'GA'",
        ),
        (
            "allele_definitions.csv",
            "CYP2C9,*3,0,rs1057910,chr10,94981296,A,C,",
            "CYP2C9,*2,0,rs1799853,chr10,94942290,C,C,",
            r"definitions.csv, line \d+: CYP2C9 \*2 has position 94942290 twice; keep one row",
        ),
        (
            "allele_definitions.csv",
            "CYP2C9,*3,0,rs1057910,chr10,94981296,A,C,",
            "CYP2C99,*3,0,rs1057910,chr10,94981296,A,C,",
            r"definitions.csv, line \d+: gene 'CYP2C99' is not in genes.csv; correct it, or add it",
        ),
        (
            "allele_definitions.csv",
            "DPYD,Reference,1,,,,,,,reference,CPIC\n",
            "",
            r"genes.csv, line \d+: the reference allele 'Reference' of DPYD has no definition; correct",
        ),
        (
            "genes.csv",
            "NC_000022.11,*1,",
            "NC_000022.11,*1.001,",
            r"definitions.csv, line \d+: CYP2D6 \*1 is of the kind ref.* is '\*1.001'; correct",
        ),
        (  # *1 is *38 with rs3758581 G [data/pgx/README.md]
            "genes.csv",
            "NC_000010.11,*38,",
            "NC_000010.11,*1,",
            r"definitions.csv, line \d+: CYP2C19 \*38 is of the kind reference, .* is '\*1'; correct",
        ),
        (
            "allele_definitions.csv",
            "CYP2D6,*1,1,rs150163869,chr22,42128813,G,A|G",
            "CYP2D6,*1,1,rs150163869,chr22,42128813,G,A",
            r"genes.csv, line \d+: the reference allele '\*1' of CYP2D6 carries A at 42128813, .* has G; na",
        ),
        (
            "variant_positions.csv",
            "CYP2C9,chr10,94981296",
            "CYP2C9,chr11,94981296",
            r"positions.csv, line \d+: position 94981296 of CYP2C9 lies on 'chr11', .* 'chr10' by genes.csv",
        ),
        (
            "variant_positions.csv",
            "CYP2C9,chr10,94981296",
            "CYP1A2,chr10,94981296",
            r"positions.csv, line \d+: gene 'CYP1A2' is not in genes.csv; correct it, or add it there",
        ),
        (  # 0.127 of *2 is replaced: the others sum to 0.873
            "allele_frequencies.csv",
            "CYP2C9,*2,European,0.1273007",
            "CYP2C9,*2,European,0.1293007",
            r"frequencies.csv, line \d+: the frequencies of CYP2C9 in European, .* sum to 1.002; correct",
        ),
        (
            "genes.csv",
            "\nCYP2C9,",
            "\nCYP2C19,",
            r"genes.csv, line \d+: CYP2C19 has 'CYP2C19' twice; keep one",
        ),
        (
            "frequency_sample_sizes.csv",
            "CYP2C9,East Asian",
            "CYP2C9,European",
            r"frequency_sample_sizes.csv, line \d+: CYP2C9 has 'European' twice; keep one row",
        ),
    ],
)
def test_a_broken_table_is_refused_with_the_place(
    tmp_path: Path, file: str, old: str, new: str, message: str
) -> None:
    folder = folder_of_tables(tmp_path)
    text = (folder / file).read_text(encoding="utf-8")
    assert old in text
    (folder / file).write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(TablesError, match=message):
        Tables.read(folder)


@pytest.mark.parametrize("text", ["version = 3", "version = ", 'name = "x"', 'version = "x"\nothers = 1'])
def test_a_version_that_cannot_be_read_is_refused(tmp_path: Path, text: str) -> None:
    folder = folder_of_tables(tmp_path)
    (folder / "version.toml").write_text(text, encoding="utf-8")
    with pytest.raises(TablesError, match="version.toml"):
        Tables.read(folder)


def test_a_gene_without_definitions_needs_no_definition_of_its_reference(tmp_path: Path) -> None:
    genes = folder_of_tables(tmp_path) / "genes.csv"
    text = genes.read_text(encoding="utf-8")
    row = next(line for line in text.splitlines() if line.startswith("CYP2C9,"))
    genes.write_text(text + row.replace("CYP2C9,chr10", "CYP1A2,chr15") + "\n", encoding="utf-8")
    read = Tables.read(tmp_path)
    assert read.definitions("CYP1A2") == () and len(read.genes()) == len(TABLES.genes()) + 1


@pytest.mark.parametrize(
    ("gene", "row", "frequency"),
    [  # DPYD's are per variant [data/pgx/README.md]; *80 and *28 stand on one chromosome, each counted
        ("DPYD", "DPYD,c.85T>C (*9A),European,", 0.9),
        ("UGT1A1", "UGT1A1,*80,European,", 0.9),
    ],
)
def test_variants_that_are_counted_apart_may_sum_to_more_than_one(
    tmp_path: Path, gene: str, row: str, frequency: float
) -> None:
    file = folder_of_tables(tmp_path) / "allele_frequencies.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith(row) for line in lines) == 1
    lines = [f"{row}{frequency}" if line.startswith(row) else line for line in lines]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert sum(Tables.read(tmp_path).allele_frequencies(gene, "European").values()) > 1.2


def test_a_byte_order_mark_as_excel_writes_it_is_no_part_of_a_table(tmp_path: Path) -> None:
    folder = folder_of_tables(tmp_path)
    (folder / "version.toml").write_text('version = "CPIC 9"', encoding="utf-8")
    for file in folder.iterdir():
        file.write_text(file.read_text(encoding="utf-8"), encoding="utf-8-sig")
    read = Tables.read(folder)
    assert differences(TABLES, read) == () and read.version == "CPIC 9"


@pytest.mark.parametrize("name", ["allele_function.csv", "sub/allele_function.csv", "version.toml"])
def test_a_file_that_is_not_utf8_is_refused_with_its_line(tmp_path: Path, name: str) -> None:
    file = folder_of_tables(tmp_path) / name
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"gene,allele\n\nCYP2D6,*1x\xb3\n")  # the sign of an open number, in Mac Roman
    with pytest.raises(TablesError, match=rf"{name}, line 3: not UTF-8; save it again as UTF-8"):
        Tables.read(tmp_path)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TablesError, match="has no genes.csv"):
        Tables.read(tmp_path)
    with pytest.raises(TablesError, match="no folder"):
        Tables.read(tmp_path / "nowhere")


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="../shared is absent")
def test_the_tables_that_ship_are_the_reference_tables() -> None:
    assert differences(TABLES, Tables.read(SHARED_PGX)) == ()
