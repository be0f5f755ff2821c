"""Simulated reads have the numbers that the assay states."""

from __future__ import annotations

import numpy as np
import pytest

from dosewright.pharmacogenomics import TABLES, Sequencing, sequence
from dosewright.pharmacogenomics.sequencing import DRAWS


def reads_of(gene: str, diplotype: str, people: int, assay: Sequencing, seed: int = 3):
    uniforms = np.random.default_rng(seed).random((people, len(TABLES.positions(gene)), DRAWS))
    return sequence(gene, np.array([diplotype] * people), uniforms, assay)


def row(gene: str, pos: int) -> int:
    return [position.pos for position in TABLES.positions(gene)].index(pos)


@pytest.mark.parametrize(
    ("diplotype", "depth", "share"),
    [  # gene copies, and those of them that carry rs3892097 T (*4)
        ("*1/*4", 20.0, 0.5),
        ("*4/*5", 10.0, 1.0),
        ("*1/*4x2", 30.0, 2 / 3),
        ("*1x2/*4", 30.0, 1 / 3),
        ("*4/*36+*10", 30.0, 1 / 3),
    ],
)
def test_depth_and_allele_balance_follow_the_gene_copies(diplotype: str, depth: float, share: float) -> None:
    n = 4000
    counts = reads_of("CYP2D6", diplotype, n, Sequencing(20.0, 1e-6, 0.0)).counts[row("CYP2D6", 42128945)]
    total = counts.sum()
    assert total / n == pytest.approx(depth, abs=4 * np.sqrt(depth / n))
    assert counts[:, 1].sum() / total == pytest.approx(share, abs=4 * np.sqrt(0.25 / total))


def test_missing_and_wrong_bases_come_as_often_as_stated() -> None:
    n = 6000
    reads = reads_of("TPMT", "*1/*1", n, Sequencing(8.0, 0.03, 0.2))
    counts = reads.counts[row("TPMT", 18130687)]  # three bases: T, C and G
    silent = (counts.sum(axis=1) == 0).mean()
    assert silent == pytest.approx(0.2 + 0.8 * np.exp(-8), abs=4 * np.sqrt(0.16 / n))
    wrong = counts[:, 1:].sum(axis=0) / counts.sum()
    assert wrong == pytest.approx([0.015, 0.015], abs=0.002)


def test_no_copy_gives_no_read_and_no_read_is_missing() -> None:
    reads = reads_of("CYP2D6", "*5/*5", 3, Sequencing(50.0, 0.01, 0.0))
    assert all(counts.sum() == 0 for counts in reads.counts)
    assert not any(site.called for site in reads.sites(0).values())


def test_a_person_depends_on_the_own_numbers_only() -> None:
    assay, gene = Sequencing(9.0, 0.01, 0.1), "CYP2C9"
    people = np.array(["*1/*2", "*3/*3", "*1/*1"])
    uniforms = np.random.default_rng(5).random((3, len(TABLES.positions(gene)), DRAWS))
    together = sequence(gene, people, uniforms, assay)
    alone = sequence(gene, people[[2]], uniforms[[2]], assay)
    for one, other in zip(together.counts, alone.counts, strict=True):
        assert one[2].tolist() == other[0].tolist()


def test_the_genotype_that_a_vcf_would_show_is_the_most_likely_one() -> None:
    # 6 + 6 reads at error e: heterozygous against homozygous is 12 ln(1/2) - 6 ln((1-e) e)
    reads = reads_of(
        "VKORC1", "rs9923231 reference (C)/rs9923231 variant (T)", 50, Sequencing(12.0, 0.01, 0.0)
    )
    for person in range(50):
        site = reads.sites(person)[31096368]
        reference, variant = reads.counts[0][person]
        assert site.depth == reference + variant
        assert site.log_likelihoods is not None
        said = {
            ("C", "C"): reference * np.log(0.99) + variant * np.log(0.01),
            ("C", "T"): (reference + variant) * np.log(0.5),
            ("T", "T"): reference * np.log(0.01) + variant * np.log(0.99),
        }
        assert dict(site.log_likelihoods) == pytest.approx(said)
        assert tuple(sorted(site.alleles)) == max(said, key=said.__getitem__)


@pytest.mark.parametrize("numbers", [(0, 0.01, 0), (10, 0, 0), (10, 0.5, 0), (10, 0.01, 1), (10, 0.01, -0.1)])
def test_an_impossible_assay_is_refused(numbers: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="expected depth above 0"):
        Sequencing(*numbers)


def test_uniforms_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(1, 3, 5\); expected \(1, 5, 5\)"):
        sequence("CYP3A5", np.array(["*1/*3"]), np.zeros((1, 3, 5)), Sequencing(5, 0.01, 0))
