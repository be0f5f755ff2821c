"""Genotypes at the positions of the tables, from a VCF or gVCF file."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dosewright.pharmacogenomics.anchoring import mismatch, span
from dosewright.pharmacogenomics.sites import Genotypes, Origin, Site
from dosewright.pharmacogenomics.tables import TABLES, Position, Tables
from dosewright.pharmacogenomics.vcf_lines import (
    BUILD_REMEDY,
    FIXED,
    Line,
    Places,
    VcfError,
    WrongBuildError,
    read_lines,
)
from dosewright.pharmacogenomics.vcf_records import ON_REQUEST, MalformedError, Seen, Told, read_call, resolve

MissingPolicy = Literal["missing", "reference", "force_reference"]

_NEAR = 1000  # places as near as this are read as one
_NAMED = 5  # places, samples or lines that a message names before it only counts
_USUAL = ("no record", "no call")  # notes that need no warning
_REF = re.compile(r"[ACGTN]+")
# Where well-known variants stand in GRCh37 (dbSNP build 151): a file that has one of them there is GRCh37.
_GRCH37 = {
    ("chr1", 97915614): "rs3918290", ("chr2", 234668879): "rs3064744", ("chr4", 89052323): "rs2231142",
    ("chr6", 18130918): "rs1142345", ("chr7", 99270539): "rs776746", ("chr10", 96702047): "rs1799853",
    ("chr12", 21331549): "rs4149056", ("chr13", 48619855): "rs116855232", ("chr16", 31107689): "rs9923231",
    ("chr19", 15990431): "rs2108622", ("chr22", 42524947): "rs3892097",
}  # fmt: skip


class ReferenceMismatchError(VcfError):
    """REF differs from GRCh38 at two positions of the tables or more."""


class UnknownSampleError(VcfError):
    """The file has no such sample."""


@dataclass(frozen=True)
class VcfFile:
    """What was read of a file.

    Attributes
    ----------
    file : its path
    genotypes : sample -> genotypes, in the order asked for
    errors : sample that could not be read -> file, line, field and remedy
    warnings : what holds for the file as a whole; each sample's `warnings` begin with it
    """

    file: str
    genotypes: Mapping[str, Genotypes]
    errors: Mapping[str, str]
    warnings: tuple[str, ...]


def read_vcf(
    path: str | Path,
    samples: Sequence[str] | None = None,
    missing: MissingPolicy = "missing",
    tables: Tables = TABLES,
) -> VcfFile:
    """Read the genotypes of samples at every position of the tables.

    Parameters
    ----------
    path : VCF or gVCF on GRCh38, plain, gzip or BGZF; contigs `chr10`, `10` or `NC_000010.11`. With an index
        beside it and pysam installed only the places that matter are read
    samples : names of samples; all where None
    missing : what a position is that no genotype was called for

        `"missing"` : missing. Positions inside a gVCF block with a called 0/0 and reads are called reference
        `"reference"` : missing, but inside gVCF blocks reference also where the block has no reads (DP or
        MIN_DP of 0) or no GT at all
        `"force_reference"` : as `"reference"`, and reference wherever there is no record
        (`Origin.ASSUMED_REFERENCE`)

        A no-call (`./.`) stays missing in each. What was read as reference on request is in the warnings.

    Notes
    -----
    Missing, each with a note that says why: a record with FILTER or a genotype with FT other than PASS or `.`
    (PharmCAT reads neither); a half call; one allele or more than two, as the genes are autosomal; an allele
    `*`, `<NON_REF>`, `<*>` or structural; a reference genotype without reads (DP 0); records that contradict
    each other; a position whose REF differs from the tables.

    A substitution is read from any record in which an ALT changes that base, also of a longer REF; an
    insertion or deletion from any form that is the same allele (`anchoring`), and, if the record has no ALT,
    from the base before it. Nothing is read from a record of another variant, even where its REF covers the
    position. A record at the place of the tables counts before one elsewhere, and that before a block, except
    that a variant always counts. Records of one place that were split by ALT are put together.

    Raises
    ------
    VcfError : the file is missing, truncated, unsorted or no VCF; a record has another number of columns
    WrongBuildError : the header, a contig, or the place of a known variant shows another build than GRCh38
    ReferenceMismatchError : REF differs from the tables at two positions or more
    UnknownSampleError : a sample is not in the file
    ValueError : `missing` is no policy
    """
    if missing not in get_args(MissingPolicy):
        raise ValueError(f"missing is {missing!r}; use one of {', '.join(get_args(MissingPolicy))}")
    positions = _by_chromosome(tables)
    header, lines = read_lines(Path(path), _places(positions, tables))
    columns = _columns(str(path), header.samples, samples)
    reader = _Reader(str(path), columns, FIXED + len(header.samples), positions, missing)
    for line in lines:
        reader.read(line)
    return reader.result(header.names_build)


# -------------------------------------------------------------------------------------------- where to look


def _by_chromosome(tables: Tables) -> dict[str, list[Position]]:
    found: dict[str, list[Position]] = {}
    for gene in tables.genes():
        for position in tables.positions(gene):
            found.setdefault(position.chrom, []).append(position)
    return found


def _places(positions: Mapping[str, Sequence[Position]], tables: Tables) -> Places:
    merged: dict[str, list[tuple[int, int]]] = {}
    for chrom, here in positions.items():
        spans = [span(position) for position in here]
        spans += [(pos, pos) for named, pos in _GRCH37 if named == chrom]
        for first, last in sorted(spans):
            done = merged.setdefault(chrom, [])
            if done and first <= done[-1][1] + _NEAR:
                done[-1] = done[-1][0], max(last, done[-1][1])
            else:
                done.append((first, last))
    refseq = {tables.gene(gene).chrom: tables.gene(gene).refseq for gene in tables.genes()}
    return Places(merged, refseq)


def _columns(file: str, present: Sequence[str], asked: Sequence[str] | None) -> dict[str, int]:
    """Return the column of each sample asked for."""
    for sample in asked or ():
        if sample not in present:
            raise UnknownSampleError(f"{file}: no sample {sample!r}; it has {_some(present)}")
    return {sample: FIXED + present.index(sample) for sample in (present if asked is None else asked)}


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


# ---------------------------------------------------------------------------------------------- the reading


class _Reader:
    """Gathers what the records say, and puts it together at the end."""

    def __init__(
        self,
        file: str,
        samples: Mapping[str, int],
        width: int,
        positions: Mapping[str, Sequence[Position]],
        missing: MissingPolicy,
    ) -> None:
        self._file, self._samples, self._width = file, samples, width
        self._positions, self._missing = positions, missing
        self._seen: dict[str, dict[tuple[str, int], list[Seen]]] = {sample: {} for sample in samples}
        self._errors: dict[str, str] = {}
        self._mismatches: dict[tuple[str, int], str] = {}

    def read(self, line: Line) -> None:
        """Take in one record."""
        where = f"{self._file}, {line.where}"
        if len(line.columns) != self._width:
            raise VcfError(
                f"{where}: {len(line.columns)} columns, the header has {self._width}; the line is cut"
            )
        self._check_build(line, where)
        ref, alts = _alleles(line, where)
        last = max(line.end or 0, line.pos + len(ref) - 1)
        told: list[Told] = []
        for position in self._positions[line.chrom]:
            first_at, last_at = span(position)
            if first_at <= last and line.pos <= last_at and self._agrees(line, ref, position, where):
                item = Told.of(line.pos, line.end, ref, alts, position)
                if item is not None:
                    told.append(item)
        if told:
            self._read_samples(line, len(alts) + 1, told, where)

    def _read_samples(self, line: Line, alleles: int, told: Sequence[Told], where: str) -> None:
        keys = line.columns[FIXED - 1].split(":")
        failed = line.columns[6]
        filtered = "" if failed in (".", "PASS") else f"filter {failed}"
        trust_blocks = self._missing != "missing"
        for sample, column in self._samples.items():
            if sample in self._errors:
                continue
            try:
                call = read_call(line.columns[column], keys, alleles, filtered)
            except MalformedError as error:
                key, what = error.args
                self._errors[sample] = (
                    f"{where}, sample {sample}, field {key}: {what}; correct it, or write ./. for no call"
                )
                continue
            for item in told:
                seen = item.seen(call, trust_blocks)
                if seen is not None:
                    position = item.reading.position
                    self._seen[sample].setdefault((position.gene, position.pos), []).append(seen)

    def _check_build(self, line: Line, where: str) -> None:
        rsid = _GRCH37.get((line.chrom, line.pos))
        if rsid is not None and rsid in line.columns[2].split(";"):
            raise WrongBuildError(
                f"{where}, ID: {rsid} at {line.chrom}:{line.pos} is its place in GRCh37; {BUILD_REMEDY}"
            )

    def _agrees(self, line: Line, ref: str, position: Position, where: str) -> bool:
        if not mismatch(line.pos, ref, position):
            return True
        self._mismatches.setdefault(
            (position.gene, position.pos),
            f"{where}, REF: {ref} at {line.chrom}:{line.pos}, "
            f"but GRCh38 has {position.ref} at {position.pos} ({position.gene})",
        )
        if len(self._mismatches) > 1:
            raise ReferenceMismatchError(f"{'; '.join(self._mismatches.values())}; {BUILD_REMEDY}")
        return False

    # --------------------------------------------------------------------------------------------- the result

    def result(self, names_build: bool) -> VcfFile:
        """Put everything together."""
        warnings = []
        if not names_build:
            warnings.append(f"{self._file} does not name its build; it was read as GRCh38")
        if not any(self._seen.values()):
            warnings.append(f"{self._file} has no record at any position of the tables")
        warnings += [f"{what}: the position is missing" for what in self._mismatches.values()]
        called = {
            sample: self._genotypes(sample, tuple(warnings))
            for sample in self._samples
            if sample not in self._errors
        }
        return VcfFile(self._file, called, self._errors, tuple(warnings))

    def _genotypes(self, sample: str, warnings: tuple[str, ...]) -> Genotypes:
        sites: dict[str, dict[int, Site]] = {}
        for here in self._positions.values():
            for position in here:
                sites.setdefault(position.gene, {})[position.pos] = self._site(sample, position)
        return Genotypes(sample, sites, warnings + _warnings(sites), self._file, self._missing)

    def _site(self, sample: str, position: Position) -> Site:
        key = position.gene, position.pos
        if key in self._mismatches:
            return Site(note="REF differs from GRCh38")
        seen = self._seen[sample].get(key)
        if seen:
            return resolve(seen, position.ref)
        if self._missing == "force_reference":
            return Site((position.ref,) * 2, origin=Origin.ASSUMED_REFERENCE, note=f"no record, {ON_REQUEST}")
        return Site()


def _alleles(line: Line, where: str) -> tuple[str, tuple[str, ...]]:
    """Return REF and ALT in capitals."""
    ref, alts = line.columns[3].upper(), line.columns[4]
    if not _REF.fullmatch(ref):
        raise VcfError(
            f"{where}, REF: {line.columns[3]!r} is no sequence of A, C, G, T and N; correct the line"
        )
    if alts == ".":
        return ref, ()
    return ref, tuple(alt if alt.startswith("<") else alt.upper() for alt in alts.split(","))


def _warnings(sites: Mapping[str, Mapping[int, Site]]) -> tuple[str, ...]:
    """Return a sentence for every reason why positions are missing though there is a record, and for every
    way in which some are reference on request."""
    places: dict[str, list[str]] = {}
    for gene, here in sites.items():
        for pos, site in here.items():
            if site.note.endswith(ON_REQUEST):
                places.setdefault(f"reference on request only ({site.note})", []).append(f"{gene} {pos}")
            elif not site.called and not site.note.startswith(_USUAL):
                places.setdefault(f"missing ({site.note})", []).append(f"{gene} {pos}")
    return tuple(
        f"{len(where)} position{'s are' if len(where) > 1 else ' is'} {what}: {_some(where)}"
        for what, where in places.items()
    )
