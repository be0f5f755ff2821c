"""Hold phenotypes, frequencies and posteriors against CPIC's tables, GeT-RM consensus and simulated reads.

Every function takes the folder that holds the cases and returns rows for
`python -m benchmarks.conformance pgx DIR`.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pgx_cases import (
    Consensus,
    Row,
    check,
    consensus,
    consensus_label,
    consensus_name,
    sample_sites,
    score_text,
)
from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    Sequencing,
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
from dosewright.pharmacogenomics.tables import NO_SCORE
from dosewright.pharmacogenomics.vcf import VcfFile, read_vcf

FREQUENCY_TOLERANCE = 1e-6
COHORT = 40_000
UNIQUE_CALLS_BEATEN = ("CYP2B6", "CYP4F2")
"""Genes of which the posterior must name more samples than the best unique call."""
ANCESTRIES = ("European", "East Asian", "Sub-Saharan African", "Latino", "Central/South Asian")
ASSAY = Sequencing(depth=10.0, error=0.01, missing=0.15)
PEOPLE, PEOPLE_CYP2D6, BATCH = 1_000, 200, 100
"""Simulated people of a gene and an ancestry; a posterior of CYP2D6 takes as long as those of all others."""
LEAST_PREDICTED = 0.001
"""Candidates that are less probable are not counted: they would fill the lowest tenth alone."""
ENOUGH = 1_000
"""Predictions that a tenth must have: the error of its observed share is then 1.6 points at most."""
CALIBRATION_TOLERANCE = 0.03


def phenotypes(folder: Path) -> Row:
    """Diplotype to activity score, phenotype and priority, of `diplotype_phenotype.csv`, exactly."""
    rows = list(_read(folder / "diplotype_phenotype.csv"))
    return check(
        "diplotype_phenotype", rows, _phenotype_fault, lambda row: f"{row['gene']} {row['diplotype']}"
    )


def _phenotype_fault(row: Mapping[str, str]) -> str | None:
    expected = score_text(row["activity_score"]), row["phenotype"], row["ehr_priority"]
    found = interpret(row["gene"], row["diplotype"])
    score = (found.key if found.scored else expected[0]) or ""
    got = score, found.phenotype or "", found.ehr_priority or ""
    # a gene without scores has an empty cell, or CPIC's n/a
    unscored = not found.scored and expected[0] not in ("", NO_SCORE)
    return f"{got}, expected {expected}" if got != expected or unscored else None


def frequencies(folder: Path) -> tuple[Row, Row]:
    """Phenotype frequencies by exact enumeration, and of a sampled cohort within 4.5 standard errors."""
    rows = list(_read(folder / "phenotype_frequencies.csv"))
    exact, sampled = cache(phenotype_frequencies), cache(_sampled)

    def missed(row: Mapping[str, str]) -> str | None:
        place, key, published = _published(row)
        found = exact(*place).get(key, 0.0)
        inside = abs(found - published) <= FREQUENCY_TOLERANCE
        return None if inside else f"{found:.9f}, published {published}"

    def outside(row: Mapping[str, str]) -> str | None:
        place, key, published = _published(row)
        drawn = sampled(*place).get(key, 0.0)
        error = math.sqrt(max(published * (1 - published), 1 / COHORT) / COHORT)
        inside = abs(drawn - published) <= 4.5 * error
        return None if inside else f"{drawn:.5f} of {COHORT} drawn, published {published}"

    def label(row: Mapping[str, str]) -> str:
        return f"{row['gene']}, {row['biogeographic_group']}, {row['phenotype_or_activity_score']}"

    return (
        check("phenotype_frequencies, exact", rows, missed, label),
        check("phenotype_frequencies, sampled", rows, outside, label),
    )


def _published(row: Mapping[str, str]) -> tuple[tuple[str, str], str, float]:
    """Return the gene and group, the key, and the frequency."""
    place = row["gene"], row["biogeographic_group"]
    return place, score_text(row["phenotype_or_activity_score"]), float(row["frequency"])


def _sampled(gene: str, group: str) -> dict[str, float]:
    drawn = draw_cohort((gene,), group, COHORT, seed=1).genotypes[gene]
    found: dict[str, float] = {}
    for text, number in zip(*np.unique(drawn, return_counts=True), strict=True):
        key = interpret(gene, str(text)).key or ""
        found[key] = found.get(key, 0.0) + number / COHORT
    return found


def getrm_posterior(folder: Path) -> tuple[Row, ...]:
    """Samples whose consensus has a posterior above one half, one row a gene.

    Of CYP2B6 and CYP4F2 they must be more than those that the best unique call names, unless it names all.
    """
    file = read_vcf(folder / "getrm" / "genotypes.vcf")
    named = consensus(folder / "getrm" / "consensus.csv")
    return tuple(_posterior_row(gene, found, file) for gene, found in named.items())


def _posterior_row(gene: str, named: Consensus, file: VcfFile) -> Row:
    name = f"getrm posterior {gene}"
    # of such a group there is no posterior, and no frequencies are borrowed
    without = Counter(row["biogeographic_group"] for row in named.rows if _without_frequencies(row))
    rows = [row for row in named.rows if not _without_frequencies(row)]
    remarks = [
        f"{number} of {group} left out: no frequencies of {gene} for this group"
        for group, number in without.items()
    ]
    remarks += named.remarks
    if not rows:
        return Row(name, 0, without.total() + named.unreadable.total(), 0.0, (), tuple(remarks))
    unique = sum(_named_alone(row, file) for row in rows)
    needed = min(unique + 1, len(rows)) / len(rows) if gene in UNIQUE_CALLS_BEATEN else 0.0
    remarks.insert(0, f"the best unique call names {unique}")
    return check(name, rows, lambda row: _posterior_fault(row, file), consensus_label, needed, remarks)


def _without_frequencies(row: Mapping[str, str]) -> bool:
    """Whether the gene has no frequencies for the group of the sample; of an unknown gene nothing is said."""
    gene, group = row["gene"], row["biogeographic_group"]
    return gene in TABLES.genes() and group not in TABLES.biogeographic_groups(gene)


def _named_alone(row: Mapping[str, str], file: VcfFile) -> bool:
    """Whether the consensus is the only best diplotype."""
    try:
        called = match(row["gene"], sample_sites(row, file)).diplotype
    except ValueError:  # the fault of the row says why
        return False
    expected = str(Diplotype.parse(row["consensus"]))
    return called is not None and consensus_name(row["gene"], called) == expected


def _posterior_fault(row: Mapping[str, str], file: VcfFile) -> str | None:
    gene, expected = row["gene"], str(Diplotype.parse(row["consensus"]))
    found = posterior(gene, sample_sites(row, file), row["biogeographic_group"])
    named = sum(p for pair, p in found.diplotypes.items() if consensus_name(gene, pair) == expected)
    return None if named > 0.5 else f"{named:.3f}; {found.best} {found.probability(found.best):.3f}"


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
    people = PEOPLE_CYP2D6 if gene == "CYP2D6" else PEOPLE
    batch = min(BATCH, people)
    for _ in range(people // batch):
        drawn = draw_diplotypes(gene, np.array([group] * batch), generator.random((batch, 2)))
        pairs = [
            Diplotype(*(table_allele(gene, name) for name in Diplotype.parse(text).alleles))
            for text in drawn.tolist()
        ]
        uniforms = generator.random((batch, positions, DRAWS))
        reads = sequence(gene, np.array([str(pair) for pair in pairs]), uniforms, ASSAY)
        for person, pair in enumerate(pairs):
            yield reads.sites(person), pair


def _read(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)
