"""How long a whole genome takes to read, and how much memory.

``python -m benchmarks.genotypes write OUT`` makes a VCF file of one sample: variants spread over the
chromosomes as dense as they are in people, and every position of the tables. A name that ends in `.gz` is
compressed.

``python -m benchmarks.genotypes read FILE`` reads it, beside other programs in the same run: pysam and cyvcf2
where they are installed, and a loop that only takes the lines, which is the least that Python needs. Each
runs in a process of its own, whose peak memory it prints. ``python -m benchmarks.genotypes call FILE`` calls
every gene of every sample of a file. Run it on a quiet machine; the load is printed first.
"""

from __future__ import annotations

import gzip
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import click
import numpy as np

from benchmarks.drugs import load
from dosewright.pharmacogenomics import call_genes, match, read_vcf
from dosewright.pharmacogenomics.tables import TABLES, Position
from dosewright.pharmacogenomics.vcf_lines import CHROMOSOME_LENGTHS

LINES = 5_000_000
SAMPLE = "SAMPLE"
_FIRST = 10_000  # telomeres are not sequenced
_CLEAR = 100  # bases around a position of the tables without another variant
_KINDS = 4_096  # different records, which repeat
_INDELS = 0.12  # of the variants of a genome (1000 Genomes Project 2015, doi:10.1038/nature15393)
_VARIANT = 0.1  # of the positions of the tables


# ------------------------------------------------------------------------------------------------ the genome


def genome(lines: int, seed: int) -> Iterator[str]:
    """Yield the lines of a file with so many records, header first; the same for the same seed."""
    random = np.random.default_rng(seed)
    yield "##fileformat=VCFv4.2\n"
    yield '##FILTER=<ID=PASS,Description="All filters passed">\n'
    for key, number, kind in (("GT", "1", "String"), ("AD", "R", "Integer"), ("DP", "1", "Integer"),
                              ("GQ", "1", "Integer"), ("PL", "G", "Integer")):  # fmt: skip
        yield f'##FORMAT=<ID={key},Number={number},Type={kind},Description="{key}">\n'
    for key in ("AC", "AF", "AN", "DP", "FS", "MQ", "QD", "SOR"):
        yield f'##INFO=<ID={key},Number=1,Type=Float,Description="{key}">\n'
    for chrom, (_, length) in CHROMOSOME_LENGTHS.items():
        yield f"##contig=<ID={chrom},length={length},assembly=GRCh38>\n"
    yield f"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\t{SAMPLE}\n"
    known: dict[str, list[Position]] = {chrom: [] for chrom in CHROMOSOME_LENGTHS}
    for gene in TABLES.genes():
        known[TABLES.gene(gene).chrom] += TABLES.positions(gene)
    total = sum(length for _, length in CHROMOSOME_LENGTHS.values())
    others = lines - sum(map(len, known.values()))
    tails = [_other(random) for _ in range(_KINDS)]
    begun = 0
    for chrom, (_, length) in CHROMOSOME_LENGTHS.items():
        share = others * (begun + length) // total - others * begun // total
        begun += length
        yield from _chromosome(chrom, length, share, known[chrom], tails, random)


def _chromosome(
    chrom: str,
    length: int,
    count: int,
    known: list[Position],
    tails: list[str],
    random: np.random.Generator,
) -> Iterator[str]:
    ahead = sorted(known, key=lambda position: position.pos)
    draws = np.unique(random.integers(_FIRST, length, 2 * count + 1000))
    taken = np.array([-length, *(position.pos for position in ahead), 2 * length])
    nearest = np.searchsorted(taken, draws)
    clear = (draws - taken[nearest - 1] > _CLEAR) & (taken[nearest] - draws > _CLEAR)
    places = np.sort(random.choice(draws[clear], count, replace=False)).tolist()
    kinds = random.integers(0, len(tails), count).tolist()
    for place, kind in zip(places, kinds, strict=True):
        while ahead and ahead[0].pos < place:
            yield _at(ahead.pop(0), random)
        yield f"{chrom}\t{place}\t{tails[kind]}"
    for position in ahead:
        yield _at(position, random)


def _at(position: Position, random: np.random.Generator) -> str:
    ref, alt = position.ref.replace("N", "A"), position.alts[0].replace("N", "A")
    name = position.rsid or "."
    tail = _tail(ref, alt, "0/1" if random.random() < _VARIANT else "0/0", random)
    return f"{position.chrom}\t{position.pos}\t{name}\t{tail}"


def _other(random: np.random.Generator) -> str:
    ref, alt = random.choice(list("ACGT"), 2, replace=False)
    if random.random() < _INDELS:
        extra = "".join(random.choice(list("ACGT"), random.integers(1, 12)))
        ref, alt = (ref, ref + extra) if random.random() < 0.5 else (ref + extra, ref)
    name = f"rs{random.integers(1, 2_000_000_000)}"
    return f"{name}\t{_tail(ref, alt, str(random.choice(['0/1', '0/1', '1/1'])), random)}"


def _tail(ref: str, alt: str, genotype: str, random: np.random.Generator) -> str:
    depth = int(random.poisson(33)) + 1
    copies = genotype.count("1")
    second = (0, depth // 2, depth)[copies]
    likelihoods = ("0,90,1300", "600,0,620", "1300,95,0")[copies]
    quality = 30 + 10 * depth
    info = (
        f"AC={copies};AF={copies / 2:.3f};AN=2;DP={depth};FS={random.random():.3f};MQ=60.00;"
        f"QD={quality / depth:.2f};SOR={random.random():.3f}"
    )
    sample = f"{genotype}:{depth - second},{second}:{depth}:90:{likelihoods}"
    return f"{ref}\t{alt}\t{quality}.77\tPASS\t{info}\tGT:AD:DP:GQ:PL\t{sample}\n"


# ----------------------------------------------------------------------------------------------- the readers


def _ours(file: str) -> int:
    (genotypes,) = read_vcf(file).genotypes.values()
    return sum(site.called for here in genotypes.sites.values() for site in here.values())


def _lines(file: str) -> int:
    with gzip.open(file) if file.endswith(".gz") else open(file, "rb") as handle:
        return sum(1 for _ in handle)


def _pysam(file: str) -> int:
    with import_module("pysam").VariantFile(file) as records:
        return sum(1 for _ in records)


def _cyvcf2(file: str) -> int:
    return sum(1 for _ in import_module("cyvcf2").VCF(file))


READERS = {
    "ours": (_ours, "dosewright, positions of the tables", "positions called"),
    "lines": (_lines, "  a loop over the lines, nothing read", "lines"),
    "pysam": (_pysam, "  pysam, every record", "records"),
    "cyvcf2": (_cyvcf2, "  cyvcf2, every record", "records"),
}


@click.group()
def genotypes() -> None:
    """Genotypes from files: a made-up genome, how long it takes to read, and samples to call."""


@genotypes.command()
@click.argument("out", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--lines", default=LINES, show_default=True, help="Records.")
@click.option("--seed", default=1, show_default=True, help="Of the random numbers.")
def write(out: Path, lines: int, seed: int) -> None:
    """Write a whole genome of one sample."""
    compressed = out.name.endswith(".gz")
    with gzip.open(out, "wt", compresslevel=4) if compressed else open(out, "w") as handle:
        handle.writelines(genome(lines, seed))
    click.echo(f"{out}: {lines:,} records, {out.stat().st_size / 2**20:,.0f} MiB")


@genotypes.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def read(file: str) -> None:
    """Print seconds, lines a second and peak memory of every reader."""
    click.echo(f"{load()}; {Path(file).stat().st_size / 2**20:,.0f} MiB")
    lines = _lines(file)
    for name, (_, title, what) in READERS.items():
        if name not in ("ours", "lines") and find_spec(name) is None:
            click.echo(f"{title:40s} not installed")
            continue
        run = [sys.executable, "-m", "benchmarks.genotypes", "measure", name, file]
        found = json.loads(subprocess.run(run, check=True, capture_output=True, text=True).stdout)
        click.echo(
            f"{title:40s} {found['seconds']:7.1f} s {lines / found['seconds']:12,.0f} lines/s "
            f"{found['peak_mib']:7.0f} MiB  {found['count']:,} {what}"
        )


@genotypes.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
def call(file: str) -> None:
    """Print how long every sample of a file takes, all genes: read, matched, and with probabilities.

    Beside it a loop that splits the same cells and nothing else.
    """
    click.echo(load())
    begun = time.perf_counter()
    with open(file, encoding="utf-8") as handle:
        cells = sum(len([cell.split(":") for cell in line.split("\t")]) for line in handle)
    split = time.perf_counter() - begun
    begun = time.perf_counter()
    people = read_vcf(file).genotypes.values()
    read_in = time.perf_counter() - begun
    begun = time.perf_counter()
    for person in people:
        for gene, sites in person.sites.items():
            match(gene, sites)
    matched = time.perf_counter() - begun
    begun = time.perf_counter()
    called = sum(len(call_genes(person)) for person in people)
    whole = time.perf_counter() - begun
    total = read_in + whole
    click.echo(
        f"{len(people)} samples, {cells:,} cells: split {split:.2f} s; "
        f"read {read_in:.2f} s, matched {matched:.2f} s"
    )
    click.echo(
        f"{called} genes read and called with probabilities: {total:.2f} s, {total / split:.0f} splits"
    )


@genotypes.command(hidden=True)
@click.argument("name", type=click.Choice(list(READERS)))
@click.argument("file")
def measure(name: str, file: str) -> None:
    """Run one reader in this process and print its figures as JSON."""
    begun = time.perf_counter()
    count = READERS[name][0](file)
    seconds = time.perf_counter() - begun
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    click.echo(json.dumps({"seconds": seconds, "peak_mib": peak, "count": count}))


if __name__ == "__main__":
    genotypes()
