"""Phenotypes and activity scores are CPIC's own."""

import csv
import itertools
from collections import defaultdict
from pathlib import Path

import pytest

from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    UnknownAlleleError,
    UnknownGeneError,
    activity_score,
    phenotype,
)

CASES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx" / "cases"
needs_shared = pytest.mark.skipif(not CASES.is_dir(), reason="../shared is absent")


@pytest.mark.parametrize(
    ("gene", "diplotype", "score", "expected"),
    [  # CPIC 1.56.0, diplotype-phenotype tables
        ("CYP2C9", "*1/*1", "2.0", "Normal Metabolizer"),
        ("CYP2C9", "*3/*1", "1.0", "Intermediate Metabolizer"),
        ("CYP2C9", "*2/*3", "0.5", "Poor Metabolizer"),
        ("CYP2C9", "*1/*7", "None", "Indeterminate"),
        ("CYP2D6", "*10/*1x≥3", "≥3.25", "Ultrarapid Metabolizer"),
        ("CYP2D6", "*1x2/*4x≥3", "2.0", "Normal Metabolizer"),
        ("DPYD", "Reference/c.868A>G", "1.5", "Intermediate Metabolizer"),
        ("CYP2C19", "*17/*36", "None", "Intermediate Metabolizer"),
        ("CYP3A5", "*1/*9", "None", "Possible Intermediate Metabolizer"),
        ("NUDT15", "*1/*3", "None", "Intermediate Metabolizer"),
        ("VKORC1", "GA", "None", None),
        ("CYP4F2", "*1/*3", "None", None),
    ],
)
def test_known_diplotypes(gene: str, diplotype: str, score: str, expected: str | None) -> None:
    assert str(activity_score(gene, diplotype)) == score
    assert phenotype(gene, Diplotype.parse(diplotype)) == expected


def test_an_unlisted_allele_or_gene_is_refused() -> None:
    with pytest.raises(UnknownAlleleError, match=r"\*999"):
        phenotype("CYP2C9", "*1/*999")
    with pytest.raises(UnknownAlleleError, match=r"\*999"):
        activity_score("CYP2C9", "*1/*999")
    with pytest.raises(UnknownGeneError, match="CYP1A2"):
        phenotype("CYP1A2", "*1/*2")
    with pytest.raises(UnknownGeneError, match="CYP1A2"):
        activity_score("CYP1A2", "*1/*2")


@pytest.mark.parametrize("gene", [gene for gene in TABLES.genes() if TABLES.function_alleles(gene)])
def test_every_pair_of_functions_has_a_rule(gene: str) -> None:
    # One allele of each function and score is enough to meet every rule.
    kinds = {
        (TABLES.clinical_function(gene, a), str(activity_score(gene, f"{a}/{a}"))): a
        for a in TABLES.function_alleles(gene)
    }
    pairs = list(itertools.combinations_with_replacement(kinds.values(), 2))
    assert len(pairs) >= 3
    assert None not in {phenotype(gene, Diplotype(*pair)) for pair in pairs}


@needs_shared
def test_every_published_diplotype_has_its_phenotype_and_score() -> None:
    with (CASES / "diplotype_phenotype.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["gene"] != "CYP3A4"]
    wrong = []
    for row in rows:
        score = activity_score(row["gene"], row["diplotype"])
        got = ("n/a" if score is None else str(score), phenotype(row["gene"], row["diplotype"]))
        if got != (row["activity_score"], row["phenotype"]):
            wrong.append((row, got))
    assert len(rows) > 16_000 and {"CYP2C9", "CYP2D6", "DPYD"} <= {row["gene"] for row in rows}
    assert not wrong, wrong[:5]


@needs_shared
def test_published_diplotypes_are_already_in_canonical_order() -> None:
    with (CASES / "diplotype_phenotype.csv").open(encoding="utf-8", newline="") as file:
        published = [row["diplotype"] for row in csv.DictReader(file)]
    assert [text for text in published if str(Diplotype.parse(text)) != text] == []


@needs_shared
@pytest.mark.parametrize(
    "gene", ["ABCG2", "CYP2B6", "CYP2C19", "CYP2C9", "CYP3A5", "NUDT15", "SLCO1B1", "TPMT"]
)
def test_hardy_weinberg_gives_the_published_phenotype_frequencies(gene: str) -> None:
    with (CASES / "phenotype_frequencies.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["gene"] == gene]
    by_score = gene == "CYP2C9"  # the file's key is the activity score there
    enumerated: dict[str, dict[str, float]] = {}
    for group in TABLES.biogeographic_groups(gene):
        mass: dict[str, float] = defaultdict(float)
        present = {allele: p for allele, p in TABLES.allele_frequencies(gene, group).items() if p > 0}
        for (one, p), (other, q) in itertools.product(present.items(), repeat=2):
            pair = Diplotype(one, other)
            key = str(activity_score(gene, pair) or "n/a") if by_score else str(phenotype(gene, pair))
            mass[key] += p * q
        enumerated[group] = mass
    assert len(rows) >= 10
    for row in rows:
        got = enumerated[row["biogeographic_group"]][row["phenotype_or_activity_score"]]
        assert got == pytest.approx(float(row["frequency"]), abs=1e-6), row
