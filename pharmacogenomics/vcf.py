"""Genotypes at the positions of the tables, from a VCF or gVCF file."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from dosewright.pharmacogenomics.anchoring import UNNAMED, mismatch, span
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
from dosewright.pharmacogenomics.vcf_records import (
    ON_REQUEST,
    Call,
    MalformedError,
    Seen,
    Told,
    inside,
    read_call,
    resolve,
    structural_alts,
)

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
    samples: Sequence[str] | str | None = None,
    missing: MissingPolicy = "missing",
    tables: Tables = TABLES,
) -> VcfFile:
    """Read the genotypes of samples at every position of the tables.

    Parameters
    ----------
    path : VCF or gVCF on GRCh38, plain, gzip or BGZF; contigs `chr10`, `10` or `NC_000010.11`. With an index
        beside it and pysam installed only the places that matter are read
    samples : names of samples, or one name; all where None
    missing : what a position is that no genotype was called for

        `"missing"` : missing. Positions inside a gVCF block with a called 0/0 and reads are called reference
        `"reference"` : missing, but inside gVCF blocks reference also where the block has no reads (DP or
        MIN_DP of 0), all PL alike, or no GT at all
        `"force_reference"` : as `"reference"`, and reference wherever there is no record
        (`Origin.ASSUMED_REFERENCE`)

        A no-call (`./.`) stays missing in each. What was read as reference on request is in the warnings.

    Notes
    -----
    Missing, each with a note that says why: a record with FILTER or a genotype with FT other than PASS or `.`
    (PharmCAT reads neither), except DeepVariant's RefCall of a reference genotype; a half call; one allele or
    more than two, as the genes are autosomal; an allele `*`, `<NON_REF>`, `<*>`, structural or with unknown
    bases; a reference genotype without reads (DP 0); a genotype whose PL are all alike; records that
    contradict each other; a position whose REF differs from the tables. A genotype of quality 0 (GQ, RGQ) is
    read, with a warning: without it calls of the GeT-RM samples that are right are lost.

    A structural variant (`<DEL>`, `<DUP>`, `<INS>`, `<INV>`, `<CNV>`, `<CN0>`, ...) is carried if GT names it
    or CN is not 2. Over a gene it is named in `Genotypes.structural` and in a warning, not interpreted;
    positions inside are missing under each policy unless a record of small variants tells them. Its end is
    INFO END, else POS and SVLEN.

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
    columns = _columns(str(path), header.samples, [samples] if isinstance(samples, str) else samples)
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


def _spans(positions: Sequence[Position]) -> dict[str, tuple[int, int]]:
    """Return the first and last base of each gene's positions."""
    found: dict[str, tuple[int, int]] = {}
    for position in positions:
        first, last = span(position)
        before = found.get(position.gene, (first, last))
        found[position.gene] = min(first, before[0]), max(last, before[1])
    return found


def _places(positions: Mapping[str, Sequence[Position]], tables: Tables) -> Places:
    """Return the genes from their first position to the last: a structural variant may lie between two."""
    merged: dict[str, list[tuple[int, int]]] = {}
    for chrom, here in positions.items():
        spans = [*_spans(here).values(), *((pos, pos) for named, pos in _GRCH37 if named == chrom)]
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
    columns = {sample: FIXED + index for index, sample in enumerate(present)}
    for sample in asked or ():
        if sample not in columns:
            raise UnknownSampleError(f"{file}: no sample {sample!r}; it has {_some(present)}")
    return columns if asked is None else {sample: columns[sample] for sample in asked}


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
        self._positions = {
            chrom: [(span(position), position) for position in here] for chrom, here in positions.items()
        }
        self._missing = missing
        self._seen: dict[str, dict[tuple[str, int], list[Seen]]] = {sample: {} for sample in samples}
        self._errors: dict[str, str] = {}
        self._mismatches: dict[tuple[str, int], str] = {}
        self._spans = {chrom: _spans(here) for chrom, here in positions.items()}
        # sample -> gene -> texts, in a dict for their order
        self._structural: dict[str, dict[str, dict[str, None]]] = {sample: {} for sample in samples}

    def read(self, line: Line) -> None:
        """Take in one record."""
        where = f"{self._file}, {line.where}"
        if len(line.columns) != self._width:
            raise VcfError(
                f"{where}: {len(line.columns)} columns, the header has {self._width}; the line is cut"
            )
        self._check_build(line, where)
        alts = _alts(line)
        structural = structural_alts(alts)
        block = line.end if UNNAMED.issuperset(alts) else None
        last = max(block or 0, line.pos + len(line.columns[3]) - 1)
        near = [item for at, item in self._positions[line.chrom] if _overlaps(at, line.pos, last)]
        if not (near or structural) or (block is not None and _of_copy_number(line)):
            return
        ref = _ref(line, where)
        told: list[Told] = []
        for position in near:
            if self._agrees(line, ref, position, where):
                item = Told.of(line.pos, block, ref, alts, position)
                if item is not None:
                    told.append(item)
        if told or structural:
            for sample, call in self._calls(line, len(alts) + 1, where):
                self._take(sample, call, told)
                for alt in call.carried(structural) if structural else ():
                    self._take_structural(sample, alt, call, line)

    def _calls(self, line: Line, alleles: int, where: str) -> Iterator[tuple[str, Call]]:
        """Yield the samples whose columns can be read."""
        keys = tuple(line.columns[FIXED - 1].split(":"))
        for sample, column in self._samples.items():
            if sample in self._errors:
                continue
            try:
                yield sample, read_call(line.columns[column], keys, alleles, line.columns[6])
            except MalformedError as error:
                key, what = error.args
                self._errors[sample] = (
                    f"{where}, sample {sample}, field {key}: {what}; correct it, or write ./. for no call"
                )

    def _take(self, sample: str, call: Call, told: Sequence[Told]) -> None:
        for item in told:
            seen = item.seen(call, self._missing != "missing")
            if seen is not None:
                position = item.reading.position
                self._seen[sample].setdefault((position.gene, position.pos), []).append(seen)

    def _take_structural(self, sample: str, alt: str, call: Call, line: Line) -> None:
        """Note a structural variant that a sample carries; the base at POS is the one before it."""
        end = max(line.end or 0, line.pos + len(line.columns[3]) - 1)
        copies = "" if call.copies in (None, 2) else f" (CN {call.copies:g})"
        for gene, gene_span in self._spans[line.chrom].items():
            if _overlaps(gene_span, line.pos, end):
                text = f"{alt} {line.chrom}:{line.pos}-{end}{copies}"
                self._structural[sample].setdefault(gene, {})[text] = None
        for _, position in self._positions[line.chrom]:
            if line.pos < position.pos <= end:
                seen = self._seen[sample].setdefault((position.gene, position.pos), [])
                seen.append(inside(alt, line.pos, end))

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
            for _, position in here:
                sites.setdefault(position.gene, {})[position.pos] = self._site(sample, position)
        structural = {gene: tuple(texts) for gene, texts in self._structural[sample].items()}
        warnings += _warnings(sites) + _structural_warning(structural)
        return Genotypes(sample, sites, warnings, self._file, self._missing, structural)

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


def _ref(line: Line, where: str) -> str:
    """Return REF in capitals."""
    ref = line.columns[3].upper()
    if not _REF.fullmatch(ref):
        raise VcfError(
            f"{where}, REF: {line.columns[3]!r} is no sequence of A, C, G, T and N; correct the line"
        )
    return ref


def _alts(line: Line) -> tuple[str, ...]:
    """Return ALT in capitals, symbols as they are."""
    if line.columns[4] == ".":
        return ()
    return tuple(alt if alt.startswith("<") else alt.upper() for alt in line.columns[4].split(","))


def _of_copy_number(line: Line) -> bool:
    """Whether a record without ALT is a segment of a copy-number file, which says nothing of bases."""
    return "CN" in line.columns[FIXED - 1].split(":")


def _overlaps(these: tuple[int, int], first: int, last: int) -> bool:
    return these[0] <= last and first <= these[1]


def _structural_warning(structural: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one sentence, where there are structural variants."""
    carried = [f"{gene} {text}" for gene, texts in structural.items() for text in texts]
    return (f"structural variants that are not interpreted: {_some(carried)}",) if carried else ()


def _warnings(sites: Mapping[str, Mapping[int, Site]]) -> tuple[str, ...]:
    """Return a sentence for every reason why positions are missing though there is a record, for every way in
    which some are reference on request, and for genotypes of quality 0."""
    places: dict[str, list[str]] = {}
    for gene, here in sites.items():
        for pos, site in here.items():
            if site.note.endswith(ON_REQUEST):
                places.setdefault(f"reference on request only ({site.note})", []).append(f"{gene} {pos}")
            elif not site.called and not site.note.startswith(_USUAL):
                places.setdefault(f"missing ({site.note})", []).append(f"{gene} {pos}")
            elif site.called and site.quality == 0:
                places.setdefault("called with a genotype quality of 0", []).append(f"{gene} {pos}")
    return tuple(
        f"{len(where)} position{'s are' if len(where) > 1 else ' is'} {what}: {_some(where)}"
        for what, where in places.items()
    )
