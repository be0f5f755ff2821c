"""Hold phenotypes, frequencies and posteriors against CPIC's tables, GeT-RM consensus and simulated reads.

Every function takes the folder that holds the cases and returns rows for
`python -m benchmarks.conformance pgx DIR`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pgx_cases import Row, consensus, consensus_name
from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    Sequencing,
    UnknownGroupError,
    draw_cohort,
    draw_diplotypes,
    interpret,
    match,
    phenotype_frequencies,
    posterior,
    sequence,
    table_allele,
)
from dosewright.pharmacogenomics.haplotypes import haplotypes
from dosewright.pharmacogenomics.posterior import allele_prior, log_likelihood
from dosewright.pharmacogenomics.sequencing import DRAWS
from dosewright.pharmacogenomics.vcf import read_vcf

FREQUENCY_TOLERANCE = 1e-6
COHORT = 40_000
UNIQUE_CALLS_BEATEN = ("CYP2B6", "CYP4F2")
"""Genes of which the posterior must name more samples than the best unique call."""
ANCESTRIES = ("European", "East Asian", "Sub-Saharan African", "Latino", "Central/South Asian")
ASSAY = Sequencing(depth=10.0, error=0.01, missing=0.15)
PEOPLE, BATCH = 2_000, 200
CALIBRATION_TOLERANCE = 0.03


def phenotypes(folder: Path) -> Row:
    """Diplotype to activity score, phenotype and priority, of `diplotype_phenotype.csv`, exactly."""
    failures, total = [], 0
    for row in _read(folder / "diplotype_phenotype.csv"):
        total += 1
        expected = row["activity_score"], row["phenotype"], row["ehr_priority"]
        try:
            found = interpret(row["gene"], row["diplotype"])
        except ValueError as error:
            failures.append(f"{row['gene']} {row['diplotype']}: {error}")
            continue
        score = (found.key if found.scored else expected[0]) or ""
        got = score, found.phenotype or "", found.ehr_priority or ""
        # a gene without scores has an empty cell, or CPIC's n/a
        unscored = not found.scored and expected[0] not in ("", "n/a")
        if got != expected or unscored:
            failures.append(f"{row['gene']} {row['diplotype']}: {got}, expected {expected}")
    return Row("diplotype_phenotype", total - len(failures), total, 1.0, tuple(failures))


def frequencies(folder: Path) -> tuple[Row, Row]:
    """Phenotype frequencies by exact enumeration, and of a sampled cohort within 4.5 standard errors."""
    rows = list(_read(folder / "phenotype_frequencies.csv"))
    places = sorted({(row["gene"], row["biogeographic_group"]) for row in rows})
    exact = {place: phenotype_frequencies(*place) for place in places}
    sampled = {place: _sampled(*place) for place in places}
    missed, outside = [], []
    for row in rows:
        place, key = (row["gene"], row["biogeographic_group"]), row["phenotype_or_activity_score"]
        published = float(row["frequency"])
        found, drawn = exact[place].get(key, 0.0), sampled[place].get(key, 0.0)
        if abs(found - published) > FREQUENCY_TOLERANCE:
            missed.append(f"{place} {key}: {found:.9f}, published {published}")
        error = math.sqrt(max(published * (1 - published), 1 / COHORT) / COHORT)
        if abs(drawn - published) > 4.5 * error:
            outside.append(f"{place} {key}: {drawn:.5f} of {COHORT} drawn, published {published}")
    n = len(rows)
    return (
        Row("phenotype_frequencies, exact", n - len(missed), n, 1.0, tuple(missed)),
        Row("phenotype_frequencies, sampled", n - len(outside), n, 1.0, tuple(outside)),
    )


def _sampled(gene: str, group: str) -> dict[str, float]:
    drawn = draw_cohort((gene,), group, COHORT, seed=1).genotypes[gene]
    found: dict[str, float] = {}
    for text, number in zip(*np.unique(drawn, return_counts=True), strict=True):
        key = interpret(gene, str(text)).key or ""
        found[key] = found.get(key, 0.0) + number / COHORT
    return found


def getrm_posterior(folder: Path) -> tuple[Row, ...]:
    """Samples whose consensus has a posterior above one half, one row a gene.

    Of CYP2B6 and CYP4F2 they must be more than those that the best unique call names.
    """
    genotypes = read_vcf(folder / "getrm" / "genotypes.vcf").genotypes
    passed: dict[str, int] = {}
    unique: dict[str, int] = {}
    total: dict[str, int] = {}
    failures: dict[str, list[str]] = {}
    for row in consensus(folder / "getrm" / "consensus.csv"):
        gene, sites = row["gene"], genotypes[row["sample"]].sites[row["gene"]]
        expected = str(Diplotype.parse(row["consensus"]))
        try:
            found = posterior(gene, sites, row["biogeographic_group"])
        except UnknownGroupError:
            continue  # no frequencies for this group: there is no posterior, and none is borrowed
        total[gene] = total.get(gene, 0) + 1
        called = match(gene, sites).diplotype
        unique[gene] = unique.get(gene, 0) + (called is not None and consensus_name(gene, called) == expected)
        named = sum(p for pair, p in found.diplotypes.items() if consensus_name(gene, pair) == expected)
        if named > 0.5:
            passed[gene] = passed.get(gene, 0) + 1
        else:
            best = f"{found.best} {found.probability(found.best):.3f}"
            failures.setdefault(gene, []).append(f"{row['sample']} {gene} {expected}: {named:.3f}; {best}")
    return tuple(
        Row(
            f"getrm posterior {gene}",
            passed.get(gene, 0),
            n,
            (unique[gene] + 1) / n if gene in UNIQUE_CALLS_BEATEN else 0.0,
            tuple(failures.get(gene, ())),
            (f"the best unique call names {unique[gene]}",),
        )
        for gene, n in sorted(total.items())
    )


def calibration() -> Row:
    """Tenths of the predicted probability in which the observed share is within 3 points of it.

    Reads of `PEOPLE` people of five ancestries and every gene with frequencies there, sequenced as `ASSAY`.
    """
    predicted, right = np.zeros(10), np.zeros(10)
    number = np.zeros(10)
    for gene in TABLES.genes():
        for group in ANCESTRIES:
            if group in TABLES.biogeographic_groups(gene):
                for probability, truth in _candidates(gene, group):
                    bins = np.minimum((probability * 10).astype(np.intp), 9)
                    number += np.bincount(bins, minlength=10)
                    predicted += np.bincount(bins, weights=probability, minlength=10)
                    right += np.bincount(bins, weights=truth, minlength=10)
    said, observed = predicted / number, right / number
    lines = [
        f"predicted {p:.3f}, observed {o:.3f} of {n:.0f}"
        for p, o, n in zip(said, observed, number, strict=True)
    ]
    inside = np.abs(said - observed) <= CALIBRATION_TOLERANCE
    return Row(
        "posterior calibration, tenths",
        int(inside.sum()),
        10,
        1.0,
        tuple(line for line, ok in zip(lines, inside, strict=True) if not ok),
        tuple(lines),
    )


def _candidates(gene: str, group: str) -> Iterator[tuple[NDArray[np.float64], NDArray[np.bool_]]]:
    """Yield the probability of every candidate diplotype of people, and whether it is the true one."""
    prior = allele_prior(gene, group)
    known = haplotypes(gene, prior.names, TABLES)
    k = len(prior.names)
    first, second = np.triu_indices(k)
    generator = np.random.default_rng(1)
    for _ in range(PEOPLE // BATCH):
        drawn = draw_diplotypes(gene, np.array([group] * BATCH), generator.random((BATCH, 2)))
        alleles = [
            [table_allele(gene, name) for name in Diplotype.parse(text).alleles] for text in drawn.tolist()
        ]
        people = np.array(["/".join(pair) for pair in alleles])
        shape = (BATCH, len(known.positions), DRAWS)
        reads = sequence(gene, people, generator.random(shape), ASSAY)
        total = prior.log_pairs + log_likelihood(known, reads.evidence())
        pairs = np.exp(total - total.max(axis=(1, 2), keepdims=True))
        pairs /= pairs.sum(axis=(1, 2), keepdims=True)
        both = pairs + np.where(np.eye(k, dtype=bool), 0.0, pairs.transpose(0, 2, 1))
        truth = np.zeros((BATCH, k, k), dtype=bool)
        for person, pair in enumerate(alleles):
            i, j = sorted(prior.names.index(name) for name in pair)
            truth[person, i, j] = True
        yield both[:, first, second].ravel(), truth[:, first, second].ravel()


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
