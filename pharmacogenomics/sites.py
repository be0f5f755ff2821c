"""What was seen of one person at the positions of the tables.

A VCF gives it, `matching` and `posterior` read it. A position that was not seen stays missing: it is never
read as the reference unless the caller has asked for that, and then the site says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Origin(StrEnum):
    """Where the knowledge of a site comes from."""

    RECORD = "record"
    GVCF_BLOCK = "gVCF block"
    ASSUMED_REFERENCE = "assumed reference"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class Site:
    """What was seen at one position.

    Attributes
    ----------
    alleles : bases in the form of `Position.ref` and `Position.alts`, one for each chromosome, in the order
        of the record; a base that no definition knows stays as it is in the record. Empty: nothing is known
    phased : whether the order of `alleles` means something
    phase_set : name of the set within which the order holds; None with `phased`: the whole chromosome
    depth : reads at the position
    quality : phred-scaled confidence in the genotype (GQ): 10^(-quality/10) is the chance that it is wrong
    log_likelihoods : natural log of P(reads | genotype) up to a constant, by sorted pair of alleles (from
        PL); None where the record has none
    origin : where this comes from
    note : why the site is missing, or what was done to read it ("no record", "filter LowQual")
    glimpsed : of a missing site, alleles that an incomplete genotype shows (`./1`, `1`, `0/0/1`)
    """

    alleles: tuple[str, ...] = ()
    phased: bool = False
    phase_set: str | None = None
    depth: int | None = None
    quality: float | None = None
    log_likelihoods: Mapping[tuple[str, str], float] | None = None
    origin: Origin = Origin.MISSING
    note: str = "no record"
    glimpsed: tuple[str, ...] = ()

    @property
    def called(self) -> bool:
        """Whether the genotype is known."""
        return bool(self.alleles)

    @property
    def heterozygous(self) -> bool:
        """Whether two different bases were seen."""
        return len(set(self.alleles)) > 1


@dataclass(frozen=True)
class Genotypes:
    """One sample at every position of the tables.

    Attributes
    ----------
    sample : its name in the file
    sites : gene -> VCF position -> site; every position of every gene is there
    warnings : what a reader of the result must know, in sentences
    file : what was read
    missing_policy : how positions without a record were read
    structural : gene -> structural variants over it that the sample carries, with POS and end
        (`<DEL> chr22:42120000-42132000`, `<CNV> chr22:42120000-42132000 (CN 3)`); nothing interprets them
    """

    sample: str
    sites: Mapping[str, Mapping[int, Site]]
    warnings: tuple[str, ...]
    file: str
    missing_policy: str
    structural: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
