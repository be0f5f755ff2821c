"""The made-up genome is a whole one, and the readers agree on it."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.genotypes import READERS, SAMPLE, genome, genotypes
from dosewright.pharmacogenomics.sites import Origin
from dosewright.pharmacogenomics.tables import TABLES
from dosewright.pharmacogenomics.vcf import read_vcf

LINES = 5000
ALL = sum(len(TABLES.positions(gene)) for gene in TABLES.genes())


def test_a_genome_has_its_lines_and_every_position_of_the_tables(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text("".join(genome(LINES, 1)))
    records = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    assert len(records) == LINES and len({line.split("\t")[0] for line in records}) == 22
    found = read_vcf(path)
    sites = [site for here in found.genotypes[SAMPLE].sites.values() for site in here.values()]
    assert {site.origin for site in sites} == {Origin.RECORD} and found.warnings == ()
    variants = sum(site.heterozygous for site in sites) / ALL
    assert variants == pytest.approx(0.1, abs=4 * (0.1 * 0.9 / ALL) ** 0.5)  # four standard errors


def test_the_same_seed_gives_the_same_genome() -> None:
    assert list(genome(1000, 1)) == list(genome(1000, 1)) != list(genome(1000, 2))


@pytest.mark.parametrize("name", ["x.vcf", "x.vcf.gz"])
def test_the_readers_count_what_was_written(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    result = CliRunner().invoke(genotypes, ["write", path, "--lines", str(LINES)])
    assert result.exit_code == 0 and f"{LINES:,} records" in result.output
    assert READERS["ours"][0](path) == ALL
    header = sum(line.startswith("#") for line in genome(LINES, 1))
    assert READERS["lines"][0](path) == LINES + header


def test_every_sample_is_called(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_text("".join(genome(1000, 1)))
    result = CliRunner().invoke(genotypes, ["call", str(path)])
    assert result.exit_code == 0 and f"{len(TABLES.genes())} genes read and called" in result.output
