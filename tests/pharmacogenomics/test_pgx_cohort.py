"""Cohorts have the frequencies of their groups, and nothing depends on who else is in them."""

import csv
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    NoDistributionError,
    UnknownGeneError,
    UnknownGroupError,
    draw_cohort,
    draw_diplotypes,
    interpret,
    phenotype_frequencies,
)
from dosewright.pharmacogenomics.cohort import chromosome_frequencies

SIDE = 400
SHARED_CASES = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "pgx" / "cases"
# genes whose frequencies are alleles': not per variant, not of linked variants each by itself, not absent
DRAWN_GENES = [
    gene for gene in TABLES.genes() if gene not in ("DPYD", "UGT1A1") and TABLES.biogeographic_groups(gene)
]


def stratified_uniforms() -> NDArray[np.float64]:
    """(SIDE**2, 2) midpoints of a square grid: every pair of strata once."""
    midpoints = (np.arange(SIDE) + 0.5) / SIDE
    return np.stack(np.meshgrid(midpoints, midpoints), axis=-1).reshape(-1, 2)


@pytest.mark.parametrize("gene", DRAWN_GENES)
def test_drawn_allele_frequencies_are_those_of_the_table(gene: str) -> None:
    coding = {"rs9923231 reference (C)": "G", "rs9923231 variant (T)": "A"}
    uniforms = stratified_uniforms()
    for group in TABLES.biogeographic_groups(gene):
        drawn = Counter(draw_diplotypes(gene, np.full(len(uniforms), group), uniforms).tolist())
        alleles: Counter[str] = Counter()
        for text, n in drawn.items():
            alleles.update({allele: 0 for allele in Diplotype.parse(text).alleles})
            for allele in Diplotype.parse(text).alleles:
                alleles[allele] += n
        table = {
            coding.get(allele, allele): p for allele, p in TABLES.allele_frequencies(gene, group).items()
        }
        assert set(alleles) <= {allele for allele, p in table.items() if p > 0}
        for allele, frequency in table.items():
            assert alleles[allele] / (2 * len(uniforms)) == pytest.approx(frequency, abs=1.01 / SIDE), allele


def test_diplotypes_have_hardy_weinberg_proportions() -> None:
    uniforms = stratified_uniforms()
    drawn = Counter(draw_diplotypes("CYP2C9", np.full(len(uniforms), "European"), uniforms).tolist())
    p = TABLES.allele_frequencies("CYP2C9", "European")
    for pair, expected in (
        ("*1/*1", p["*1"] ** 2),
        ("*1/*2", 2 * p["*1"] * p["*2"]),
        ("*2/*2", p["*2"] ** 2),
    ):
        assert drawn[pair] / len(uniforms) == pytest.approx(expected, abs=3 / SIDE)


@pytest.mark.parametrize(
    ("group", "a_frequency"),
    [("European", 0.4132605), ("East Asian", 0.8664911), ("Sub-Saharan African", 0.107742354)],
)
def test_vkorc1_genotypes_are_on_the_coding_strand(group: str, a_frequency: float) -> None:
    uniforms = stratified_uniforms()
    drawn = Counter(draw_diplotypes("VKORC1", np.full(len(uniforms), group), uniforms).tolist())
    assert set(drawn) == {"GG", "GA", "AA"}
    assert drawn["AA"] / len(uniforms) == pytest.approx(a_frequency**2, abs=3 / SIDE)
    assert drawn["GG"] / len(uniforms) == pytest.approx((1 - a_frequency) ** 2, abs=3 / SIDE)


@pytest.mark.parametrize("gene", DRAWN_GENES)
def test_the_ends_of_the_interval_fall_on_alleles_that_exist(gene: str) -> None:
    for group in TABLES.biogeographic_groups(gene):
        last = np.nextafter(1.0, 0.0)
        drawn = draw_diplotypes(gene, np.full(2, group), np.array([[0.0, 0.0], [last, last]]))
        assert drawn.shape == (2,) and drawn[0] != drawn[1]
        table = TABLES.allele_frequencies(gene, group)
        if gene != "VKORC1":
            assert all(table[allele] > 0 for text in drawn for allele in Diplotype.parse(text).alleles)


def test_a_uniform_equal_to_a_cumulative_frequency_falls_on_the_next_allele() -> None:
    # ABCG2 in the American group: reference 0.8, variant 0.2 exactly; u < 0.8 has probability 0.8.
    uniforms = np.array([[0.8, np.nextafter(0.8, 0.0)]])
    drawn = draw_diplotypes("ABCG2", np.array(["American"]), uniforms)
    assert drawn.tolist() == ["rs2231142 reference (G)/rs2231142 variant (T)"]


def test_a_person_is_the_same_alone_in_any_company_and_in_any_order() -> None:
    noise = np.random.default_rng(7)
    groups = noise.choice(TABLES.biogeographic_groups("CYP2D6"), size=600)
    uniforms = noise.random((600, 2))
    together = draw_diplotypes("CYP2D6", groups, uniforms)
    alone = [draw_diplotypes("CYP2D6", groups[i : i + 1], uniforms[i : i + 1])[0] for i in range(600)]
    assert together.tolist() == alone
    order = noise.permutation(600)
    assert draw_diplotypes("CYP2D6", groups[order], uniforms[order]).tolist() == together[order].tolist()
    assert len(set(alone)) > 50


def test_the_text_is_canonical_and_the_two_chromosomes_are_exchangeable() -> None:
    noise = np.random.default_rng(11)
    uniforms = noise.random((2_000, 2))
    groups = np.full(2_000, "European")
    drawn = draw_diplotypes("CYP2C9", groups, uniforms).tolist()
    assert drawn == [str(Diplotype.parse(text)) for text in drawn]
    assert drawn == draw_diplotypes("CYP2C9", groups, uniforms[:, ::-1]).tolist()
    assert "*1/*2" in drawn and "*2/*1" not in drawn


def test_nobody_is_drawn_from_nobody() -> None:
    assert draw_diplotypes("CYP2C9", np.array([], dtype=np.str_), np.empty((0, 2))).shape == (0,)


def test_what_has_no_distribution_is_refused() -> None:
    one = np.full((1, 2), 0.5)
    with pytest.raises(NoDistributionError, match=r"CYP3A4 frequencies of 'European' sum to 0.9500"):
        draw_diplotypes("CYP3A4", np.array(["European"]), one, {"European": {"*1": 0.90, "*22": 0.05}})
    with pytest.raises(
        UnknownGroupError, match="CYP3A4 has no frequencies for 'Latino'; there are some for: European"
    ):
        draw_diplotypes("CYP3A4", np.array(["Latino"]), one, {"European": {"*1": 0.95, "*22": 0.05}})
    with pytest.raises(UnknownGroupError, match="'Oceanian'"):
        draw_diplotypes("VKORC1", np.array(["Oceanian"]), one)
    with pytest.raises(UnknownGroupError, match="CYP3A4 has no frequencies .* none for any group"):
        draw_diplotypes("CYP3A4", np.array(["European"]), one)
    with pytest.raises(UnknownGeneError, match="'CYP1A2'"):
        draw_diplotypes("CYP1A2", np.array(["European"]), one)


def test_a_dpyd_chromosome_carries_one_variant_that_changes_the_function_or_none() -> None:
    # models.md 17: frequencies per variant; European *2A 0.0079, c.2846A>T 0.0037, HapB3 0.0237
    n = 40_000
    uniforms = np.random.default_rng(3).random((n, 2))
    drawn = draw_diplotypes("DPYD", np.full(n, "European"), uniforms)
    alleles = [allele for text in drawn.tolist() for allele in Diplotype.parse(text).alleles]
    for allele, frequency in (
        ("c.1905+1G>A (*2A)", 0.007917321),
        ("c.2846A>T", 0.003740031),
        ("c.1129-5923C>G, c.1236G>A (HapB3)", 0.023735587),
    ):
        share = alleles.count(allele) / (2 * n)
        assert abs(share - frequency) < 4 * np.sqrt(frequency / (2 * n))
    changed = sum(allele != "Reference" for allele in alleles) / (2 * n)
    assert 0.034 < changed < 0.040  # the sum of all variants whose function is not normal: 0.0371
    assert "c.85T>C (*9A)" not in alleles  # normal function


@pytest.mark.parametrize("value", [1.0, -1e-9, float("nan"), float("inf")])
def test_a_uniform_outside_the_interval_is_refused_with_its_place(value: float) -> None:
    with pytest.raises(ValueError, match=r"uniforms\[1, 0\]"):
        draw_diplotypes("CYP2C9", np.full(2, "European"), np.array([[0.5, 0.5], [value, 0.5]]))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3,\).*\(2, 2\)"):
        draw_diplotypes("CYP2C9", np.full(3, "European"), np.full((2, 2), 0.5))


def test_a_mixed_cohort_has_the_shares_and_frequencies_of_its_groups() -> None:
    n, ancestry = 40_000, {"European": 0.6, "East Asian": 0.4}
    cohort = draw_cohort(("CYP2C19", "VKORC1"), ancestry, n, seed=7)
    for group, share in ancestry.items():
        rows = cohort.groups == group
        assert rows.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / n))
        star2 = np.char.count(cohort.genotypes["CYP2C19"][rows], "*2").mean() / 2
        p = TABLES.allele_frequencies("CYP2C19", group)["*2"]
        assert star2 == pytest.approx(p, abs=4 * np.sqrt(p / (2 * rows.sum())) + 1e-3)
    again = draw_cohort(("CYP2C19", "VKORC1"), ancestry, n, seed=7)
    assert (again.genotypes["CYP2C19"] == cohort.genotypes["CYP2C19"]).all()
    assert set(np.unique(cohort.genotypes["VKORC1"]).tolist()) == {"GG", "GA", "AA"}


@pytest.mark.parametrize(
    ("gene", "key", "group", "frequency"),
    [  # CPIC's phenotype frequencies, tables of 1.56.0
        ("TPMT", "Poor Metabolizer", "Sub-Saharan African", 0.002971174),
        ("CYP2C19", "Poor Metabolizer", "East Asian", 0.12978691),
        ("CYP2B6", "Rapid Metabolizer", "European", 0.05357082),
        ("CYP2C9", "0.5", "European", 0.019907156),
        ("CYP2D6", "0.25", "East Asian", 0.08220821),
    ],
)
def test_exact_phenotype_frequencies_are_those_that_cpic_publishes(
    gene: str, key: str, group: str, frequency: float
) -> None:
    found = phenotype_frequencies(gene, group)
    assert found[key] == pytest.approx(frequency, abs=1e-6)
    assert sum(found.values()) == pytest.approx(1, abs=1e-4)


def test_a_sampled_cohort_agrees_with_the_exact_frequencies() -> None:
    n = 30_000
    cohort = draw_cohort(("CYP2D6",), "European", n, seed=11)
    counts: dict[str, int] = {}
    for text, number in zip(*np.unique(cohort.genotypes["CYP2D6"], return_counts=True), strict=True):
        key = interpret("CYP2D6", str(text)).key
        assert key is not None
        counts[key] = counts.get(key, 0) + int(number)
    for key, p in phenotype_frequencies("CYP2D6", "European").items():
        assert counts.get(key, 0) / n == pytest.approx(p, abs=4.5 * np.sqrt(p * (1 - p) / n) + 1e-4), key


@pytest.mark.skipif(not SHARED_CASES.is_dir(), reason="../shared is absent")
def test_every_published_phenotype_frequency_is_reached_to_1e_6() -> None:
    with (SHARED_CASES / "phenotype_frequencies.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    exact = {
        place: phenotype_frequencies(*place)
        for place in {(row["gene"], row["biogeographic_group"]) for row in rows}
    }
    for row in rows:
        found = exact[row["gene"], row["biogeographic_group"]].get(row["phenotype_or_activity_score"], 0.0)
        assert found == pytest.approx(float(row["frequency"]), abs=1e-6), row


def test_an_impossible_cohort_is_refused() -> None:
    with pytest.raises(ValueError, match="add up to 0.5"):
        draw_cohort(("CYP2C9",), {"European": 0.5}, 10, seed=1)
    with pytest.raises(ValueError, match="n is 0"):
        draw_cohort(("CYP2C9",), "European", 0, seed=1)


def test_linked_variants_of_ugt1a1_stand_on_one_chromosome() -> None:
    # Europeans: *28 0.3165 and *80 0.3142 [CPIC 1.56.0] are the same chromosomes, and *1 is two thirds
    table = chromosome_frequencies("UGT1A1", "European")
    listed = TABLES.allele_frequencies("UGT1A1", "European")
    assert table["*80+*28"] == pytest.approx(min(listed["*28"], listed["*80"]), abs=1e-12)
    assert table["*28"] + table["*80+*28"] == pytest.approx(listed["*28"], abs=1e-12)
    assert table["*80"] + table["*80+*28"] + table["*80+*37"] == pytest.approx(listed["*80"], abs=1e-12)
    assert table["*1"] == pytest.approx(0.675, abs=0.002)
    assert sum(table.values()) == pytest.approx(1, abs=1e-6) and min(table.values()) >= 0
    # where *80 was not looked for, the tables stay as they are
    assert chromosome_frequencies("UGT1A1", "East Asian") == dict(
        TABLES.allele_frequencies("UGT1A1", "East Asian")
    )
