"""CPIC's numbers are carried unchanged, and what is missing is refused."""

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from dosewright.pharmacogenomics import (
    TABLES,
    UnknownAlleleError,
    UnknownGeneError,
    UnknownGroupError,
)

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
    assert len(TABLES.genes()) == 13 and "CYP3A4" not in TABLES.genes()
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
    assert activity_value(gene, allele) == value


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
    for look_up in (biogeographic_groups, function_alleles, phenotype_rules):
        with pytest.raises(UnknownGeneError, match="'CYP3A4'.*CYP2C9"):
            look_up("CYP3A4")


def test_an_unlisted_allele_is_never_read_as_reference() -> None:
    with pytest.raises(UnknownAlleleError, match=r"'\*999' of CYP2C9.*\*1, \*2"):
        TABLES.clinical_function("CYP2C9", "*999")
    with pytest.raises(UnknownAlleleError, match="VKORC1 has no function table"):
        activity_value("VKORC1", "A")


def test_a_caller_cannot_change_the_tables() -> None:
    TABLES.allele_frequencies("CYP2C9", "European")["*2"] = 0.9
    assert TABLES.allele_frequencies("CYP2C9", "European")["*2"] == 0.1273007


def test_no_row_under_another_licence_is_carried_and_the_source_is_named() -> None:
    for name in ("allele_frequencies", "allele_function", "phenotype_rules", "frequency_sample_sizes"):
        assert "CYP3A4" not in DATA.joinpath(f"{name}.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(DATA.joinpath("allele_function.csv").read_text(encoding="utf-8").splitlines())
    assert {row["source"] for row in rows} == {"CPIC"}
    notice = DATA.joinpath("NOTICE.md").read_text(encoding="utf-8")
    assert SOURCE in notice.replace("**", "") and "CC0 1.0" in notice


@pytest.mark.skipif(not SHARED_PGX.is_dir(), reason="../shared is absent")
@pytest.mark.parametrize(
    "name", ["allele_frequencies", "allele_function", "phenotype_rules", "frequency_sample_sizes"]
)
def test_the_files_are_the_reference_files_without_cyp3a4(name: str) -> None:
    reference = (SHARED_PGX / f"{name}.csv").read_text(encoding="utf-8").splitlines()
    carried = DATA.joinpath(f"{name}.csv").read_text(encoding="utf-8").splitlines()
    assert carried == [line for line in reference if not line.startswith("CYP3A4,")]
