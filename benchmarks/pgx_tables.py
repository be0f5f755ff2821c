"""Hold phenotypes, frequencies and posteriors against CPIC's tables, GeT-RM consensus and simulated reads.

Every function takes the folder that holds the cases and returns rows for
`python -m benchmarks.conformance pgx DIR`.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
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
from dosewright.pharmacogenomics.sequencing import DRAWS
from dosewright.pharmacogenomics.sites import Site
from dosewright.pharmacogenomics.vcf import read_vcf

FREQUENCY_TOLERANCE = 1e-6
COHORT = 40_000
UNIQUE_CALLS_BEATEN = ("CYP2B6", "CYP4F2")
"""Genes of which the posterior must name more samples than the best unique call."""
ANCESTRIES = ("European", "East Asian", "Sub-Saharan African", "Latino", "Central/South Asian")
ASSAY = Sequencing(depth=10.0, error=0.01, missing=0.15)
PEOPLE, PEOPLE_CYP2D6, BATCH = 1_000, 200, 10
"""Simulated people of a gene and an ancestry; a posterior of CYP2D6 takes as long as those of all others."""
LEAST_PREDICTED = 0.001
"""Candidates that are less probable are not counted: they would fill the lowest tenth alone."""
ENOUGH = 1_000
"""Predictions that a tenth must have: the error of its observed share is then 1.6 points at most."""
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
    without: dict[str, dict[str, int]] = {}
    for row in consensus(folder / "getrm" / "consensus.csv"):
        gene, sites = row["gene"], genotypes[row["sample"]].sites[row["gene"]]
        expected = str(Diplotype.parse(row["consensus"]))
        try:
            found = posterior(gene, sites, row["biogeographic_group"])
        except UnknownGroupError:  # there is no posterior, and no frequencies are borrowed
            group = without.setdefault(gene, {})
            group[row["biogeographic_group"]] = group.get(row["biogeographic_group"], 0) + 1
            continue
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
            (
                f"the best unique call names {unique[gene]}",
                *(
                    f"{number} of {group} left out: no frequencies of {gene} for this group"
                    for group, number in without.get(gene, {}).items()
                ),
            ),
        )
        for gene, n in sorted(total.items())
    ) + tuple(
        Row(
            f"getrm posterior {gene}",
            0,
            sum(groups.values()),
            0.0,
            (),
            (f"all left out: no frequencies of {gene}",),
        )
        for gene, groups in sorted(without.items())
        if gene not in total
    )


@dataclass
class Tenths:
    """Predictions by tenth of the probability: their number, sum, and how many were right."""

    number: NDArray[np.float64] = field(default_factory=lambda: np.zeros(10))
    said: NDArray[np.float64] = field(default_factory=lambda: np.zeros(10))
    right: NDArray[np.float64] = field(default_factory=lambda: np.zeros(10))

    def add(self, predicted: Mapping[Diplotype, float], truth: Diplotype) -> None:
        """Count what was predicted of one person."""
        for pair, probability in predicted.items():
            if probability > LEAST_PREDICTED:
                tenth = min(int(10 * probability), 9)
                self.number[tenth] += 1
                self.said[tenth] += probability
                self.right[tenth] += pair == truth

    def row(self, name: str) -> Row:
        """Judge the tenths that have enough predictions."""
        judged = np.flatnonzero(self.number >= ENOUGH)
        said, right = (values[judged] / self.number[judged] for values in (self.said, self.right))
        lines = [
            f"predicted {p:.3f}, observed {o:.3f} of {n:.0f}"
            for p, o, n in zip(said, right, self.number[judged], strict=True)
        ]
        inside = np.abs(said - right) <= CALIBRATION_TOLERANCE
        return Row(
            name,
            int(inside.sum()),
            len(judged),
            1.0,
            tuple(line for line, ok in zip(lines, inside, strict=True) if not ok),
            (f"{len(judged)} of 10 tenths have at least {ENOUGH} predictions", *lines),
        )


def calibration() -> tuple[Row, Row]:
    """Tenths of the predicted probability in which the observed share is within 3 points of it.

    `posterior` of `PEOPLE` people of each of five ancestries (of CYP2D6 `PEOPLE_CYP2D6`), for every gene with
    frequencies there, from what a VCF would say of reads sequenced as `ASSAY`: with genotype likelihoods, and
    with the called genotype and its quality only.
    """
    likelihoods, quality = Tenths(), Tenths()
    for gene in TABLES.genes():
        for group in ANCESTRIES:
            if group in TABLES.biogeographic_groups(gene):
                for sites, truth in _people(gene, group):
                    likelihoods.add(posterior(gene, sites, group).diplotypes, truth)
                    called = {pos: replace(site, log_likelihoods=None) for pos, site in sites.items()}
                    quality.add(posterior(gene, called, group).diplotypes, truth)
    return likelihoods.row("posterior calibration, PL"), quality.row("posterior calibration, GQ only")


def _people(gene: str, group: str) -> Iterator[tuple[Mapping[int, Site], Diplotype]]:
    """Yield what was seen of simulated people, and their diplotypes."""
    generator = np.random.default_rng(1)
    positions = len(TABLES.positions(gene))
    for _ in range((PEOPLE_CYP2D6 if gene == "CYP2D6" else PEOPLE) // BATCH):
        drawn = draw_diplotypes(gene, np.array([group] * BATCH), generator.random((BATCH, 2)))
        people = [
            Diplotype(*(table_allele(gene, name) for name in Diplotype.parse(text).alleles))
            for text in drawn.tolist()
        ]
        uniforms = generator.random((BATCH, positions, DRAWS))
        reads = sequence(gene, np.array([str(pair) for pair in people]), uniforms, ASSAY)
        for person, pair in enumerate(people):
            yield reads.sites(person), pair


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
