"""What an agent sees of a genotype: counted alleles, phenotype, or what a few reads and ancestry say."""

from __future__ import annotations

import numpy as np
import pytest

from dosewright.envs import Noise
from dosewright.envs.genotypes import (
    SEQUENCING,
    allele_counts,
    expected_counts,
    group_frequencies,
)
from dosewright.envs.pharmacology.models import (
    busulfan_yuan2021,
    tacrolimus_andrews2019,
    warfarin_hamberg2010,
)
from dosewright.pharmacogenomics import TABLES, draw_diplotypes

NOISE = Noise("trial", 3)
TERMS = warfarin_hamberg2010.MODEL.genotype_terms


def people(n: int, group: str) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    groups, generator = np.array([group] * n), np.random.default_rng(8)
    genotypes = {term.gene: draw_diplotypes(term.gene, groups, generator.random((n, 2))) for term in TERMS}
    return genotypes, groups, np.arange(n)


@pytest.mark.parametrize("group", ["European", "East Asian", "African American/Afro-Caribbean"])
def test_what_is_expected_is_what_is_there_on_average(group: str) -> None:
    genotypes, groups, ids = people(4000, group)
    expected = expected_counts(TERMS, genotypes, groups, ids, NOISE)
    true = allele_counts(TERMS, genotypes)
    for name, values in expected.items():
        for low, high in ((0.0, 0.1), (0.1, 0.9), (0.9, 1.1), (1.1, 2.0)):
            here = (values >= low) & (values <= high)
            if here.sum() > 50:
                # a calibrated expectation: the mean of the truth among those who were shown it
                error = 4 * np.sqrt(0.5 / here.sum())
                assert true[name][here].mean() == pytest.approx(values[here].mean(), abs=error), (name, low)


def test_reads_tell_more_than_ancestry_and_less_than_the_genotype() -> None:
    genotypes, groups, ids = people(1500, "European")
    expected = expected_counts(TERMS, genotypes, groups, ids, NOISE)
    true = allele_counts(TERMS, genotypes)
    for term in TERMS:
        frequencies = group_frequencies(term, "European")
        for allele, frequency in zip(list(term.per_allele)[1:], frequencies[1:], strict=True):
            name = f"{term.gene.lower()}_{allele}"
            by_reads = np.mean((expected[name] - true[name]) ** 2)
            by_ancestry = np.mean((2 * frequency - true[name]) ** 2)
            assert 0.01 * by_ancestry < by_reads < 0.6 * by_ancestry, name
    assert SEQUENCING.depth == 4.0


def test_a_persons_reads_depend_on_the_person_alone() -> None:
    genotypes, groups, ids = people(30, "European")
    together = expected_counts(TERMS, genotypes, groups, ids, NOISE)
    some = np.array([17, 3])
    apart = expected_counts(
        TERMS, {gene: values[some] for gene, values in genotypes.items()}, groups[some], ids[some], NOISE
    )
    for name, values in together.items():
        np.testing.assert_allclose(apart[name], values[some], rtol=0, atol=1e-12)
    other = expected_counts(TERMS, genotypes, groups, ids, Noise("trial", 4))
    assert any(np.any(other[name] != values) for name, values in together.items())


def test_a_gene_that_no_table_has_is_known_by_ancestry_only() -> None:
    terms = busulfan_yuan2021.MODEL.genotype_terms
    (term,) = terms
    assert term.gene == "GSTA1" and term.gene not in TABLES.genes()
    group = next(iter(term.frequencies))
    first = next(iter(term.per_allele))
    genotypes = {term.gene: np.array([f"{first}/{first}"] * 2)}
    shown = expected_counts(terms, genotypes, np.array([group] * 2), np.arange(2), NOISE)
    (values,) = shown.values()
    assert values == pytest.approx([2 * group_frequencies(term, group)[1]] * 2)


def test_frequencies_of_a_model_are_the_prior_of_its_gene() -> None:
    # Andrews 2019: CYP3A4*22 has frequencies of its own; CPIC has none
    term = next(item for item in tacrolimus_andrews2019.MODEL.genotype_terms if item.gene == "CYP3A4")
    n, group = 3000, "European"
    diplotypes = draw_diplotypes(
        "CYP3A4", np.array([group] * n), np.random.default_rng(2).random((n, 2)), term.frequencies
    )
    shown = expected_counts((term,), {"CYP3A4": diplotypes}, np.array([group] * n), np.arange(n), NOISE)
    assert shown["cyp3a4_*22"].mean() == pytest.approx(2 * term.frequencies[group]["*22"], abs=0.02)
    assert shown["cyp3a4_*22"][diplotypes == "*1/*22"].mean() > 0.5
