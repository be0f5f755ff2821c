"""A VCF file of a made-up person: reference everywhere but at the named variants."""

from collections.abc import Callable, Mapping

import pytest

from dosewright.pharmacogenomics import TABLES

# CYP2C9 *1/*3, VKORC1 G/A, CYP3A5 *1/*3, DPYD c.2846A>T
VARIANTS = {"rs1057910": "0/1", "rs9923231": "0/1", "rs776746": "0/1", "rs67376798": "0/1"}


@pytest.fixture(scope="session")
def vcf_text() -> Callable[..., str]:
    """``vcf_text({sample: {rsid: genotype}}, without=genes)``."""

    def write(samples: Mapping[str, Mapping[str, str]], without: tuple[str, ...] = ()) -> str:
        positions = [
            position
            for gene in TABLES.genes()
            if gene not in without
            for position in TABLES.positions(gene)
            if not position.ref.startswith("N")
        ]
        head = ["#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *samples]
        lines = ["##fileformat=VCFv4.2", "##contig=<ID=chr1,assembly=GRCh38>", "\t".join(head)]
        for item in sorted(positions, key=lambda item: (int(item.chrom.removeprefix("chr")), item.pos)):
            called = [known.get(item.rsid, "0/0") for known in samples.values()]
            fixed = (item.chrom, str(item.pos), item.rsid or ".", item.ref, ",".join(item.alts))
            lines.append("\t".join([*fixed, ".", "PASS", ".", "GT", *called]))
        return "\n".join(lines) + "\n"

    return write


@pytest.fixture(scope="session")
def variants() -> Mapping[str, str]:
    return VARIANTS
