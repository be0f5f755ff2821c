"""The lines of a VCF file that lie at places asked for, with the checks of the file as a whole.

A whole genome has millions of lines, of which some thousand matter. Only the contig and the position of a
line are looked at until it may reach one of the places: by its REF, by INFO END, or, of a structural variant
without END, by INFO SVLEN.
"""

from __future__ import annotations

import gzip
import io
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO, cast

FIXED = 9
"""Columns before the first sample, FORMAT included."""

CHROMOSOME_LENGTHS = {
    "chr1": (249250621, 248956422), "chr2": (243199373, 242193529), "chr3": (198022430, 198295559),
    "chr4": (191154276, 190214555), "chr5": (180915260, 181538259), "chr6": (171115067, 170805979),
    "chr7": (159138663, 159345973), "chr8": (146364022, 145138636), "chr9": (141213431, 138394717),
    "chr10": (135534747, 133797422), "chr11": (135006516, 135086622), "chr12": (133851895, 133275309),
    "chr13": (115169878, 114364328), "chr14": (107349540, 107043718), "chr15": (102531392, 101991189),
    "chr16": (90354753, 90338345), "chr17": (81195210, 83257441), "chr18": (78077248, 80373285),
    "chr19": (59128983, 58617616), "chr20": (63025520, 64444167), "chr21": (48129895, 46709983),
    "chr22": (51304566, 50818468),
}  # fmt: skip
"""Chromosome to its length in GRCh37 and GRCh38, bases (GCA_000001405.1 and .15)."""

_BUFFER = 1 << 20
_GZIP = b"\x1f\x8b"
# SAM/BAM specification, section 4.1.2: the empty block that ends every BGZF file
_BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
_BEYOND = 1 << 62  # no chromosome is as long
_BLOCK_END = re.compile(rb"[\t;]END=(\d+)")
# symbolic ALT, and SVLEN with a value for each
_SV_LENGTHS = re.compile(rb"(?:[^\t]*\t){4}(<[^\t]*)\t(?:[^\t]*\t){2}(?:[^\t]*;)?SVLEN=([^;\t]+)")
_INFO_ID = re.compile(r"##INFO=<ID=(\w+),")
_COLUMNS_REMEDY = "the columns of a VCF file stand between tabs, not spaces"
_KEY_VALUE = re.compile(r'(\w+)=("[^"]*"|[^,]*)')
_CONTIG = re.compile(r"##contig=<(.*)>")
_GRCH38 = re.compile(r"grch38|hg38|b38|hs38|gca_000001405\.(?:15|2\d)", re.IGNORECASE)
_OTHER_BUILD = re.compile(
    r"grch37|hg19|b37(?!\d)|hs37|_v37|grch36|ncbi36|hg18|chm13|t2t|gca_000001405\.(?:1|14)\b", re.IGNORECASE
)
BUILD_REMEDY = "the tables are GRCh38; give a file called on GRCh38, or lift it over and check REF"
"""Ends every message about another build."""


class VcfError(ValueError):
    """The file, or one sample of it, cannot be read."""


class WrongBuildError(VcfError):
    """The file is not on GRCh38."""


@dataclass(frozen=True)
class Header:
    """What stands before the records.

    Attributes
    ----------
    samples : names, in the order of the columns
    names_build : whether something in it says GRCh38
    lines : how many lines it has
    sv_length_only : whether it declares INFO SVLEN but not END, which an index does not know
    """

    samples: tuple[str, ...]
    names_build: bool
    lines: int
    sv_length_only: bool


@dataclass(frozen=True, slots=True)
class Line:
    """One record that may reach a place asked for.

    Attributes
    ----------
    where : how messages name it (`"line 214"`, with an index `"record chr10:94942290"`)
    chrom : chromosome as the tables name it
    pos : POS
    end : last base of a record with INFO END, or with SVLEN of an ALT that lies on the reference; else None
    columns : its columns
    """

    where: str
    chrom: str
    pos: int
    end: int | None
    columns: list[str]


@dataclass(frozen=True)
class Places:
    """Where records are wanted.

    Attributes
    ----------
    spans : chromosome -> first and last base of each place, in order and apart
    refseq : chromosome -> its RefSeq accession in GRCh38, which a file may use as its name
    """

    spans: Mapping[str, Sequence[tuple[int, int]]]
    refseq: Mapping[str, str]

    def chromosome(self, contig: str, file: str) -> str | None:
        """Return the chromosome that a file's contig name stands for; None for one without places.

        Raises
        ------
        WrongBuildError : the contig is the RefSeq accession of another build
        """
        if contig.startswith("NC_"):
            for chrom, accession in self.refseq.items():
                if contig.partition(".")[0] == accession.partition(".")[0]:
                    if contig != accession:
                        raise WrongBuildError(
                            f"{file}: contig {contig} is another build than {accession}; {BUILD_REMEDY}"
                        )
                    return chrom
        named = contig if contig.startswith("chr") else f"chr{contig}"
        return named if named in self.spans else None


def read_lines(path: Path, places: Places) -> tuple[Header, Iterator[Line]]:
    """Header of a VCF file, and the records that may reach the places.

    The file is plain, gzip or BGZF text, told by its first bytes. With an index (`.tbi`, `.csi`) beside it
    and pysam installed only the places are read; the order of the records is then not checked. A file that
    gives the ends of structural variants by SVLEN alone is read as a whole: its index has them at POS only.

    Raises
    ------
    VcfError : no such file, no VCF, BCF, no samples, a truncated file, spaces between the columns, a record
        out of order on a chromosome with places, or a POS that is no number; while the records are read, too
    WrongBuildError : the header names another build
    """
    file = str(path)
    if not path.is_file():
        raise VcfError(f"no file {file}: give a VCF file (.vcf or .vcf.gz)")
    handle = _open(path)
    try:
        header = _header(handle, file, places)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        handle.close()
        raise _truncated(file, "in the header", error) from None
    except VcfError:
        handle.close()
        raise
    index = next((name for name in (f"{path}.tbi", f"{path}.csi") if Path(name).is_file()), None)
    if index is not None and not header.sv_length_only and find_spec("pysam") is not None:
        handle.close()
        return header, _indexed(path, index, places)
    return header, _scanned(handle, file, header, places)


# -------------------------------------------------------------------------------------- the file and its head


def _open(path: Path) -> BinaryIO:
    plain = open(path, "rb", buffering=_BUFFER)
    head = plain.read(18)
    plain.seek(0)
    if not head.startswith(_GZIP):
        return plain
    if head[12:14] == b"BC":
        plain.seek(-min(len(_BGZF_END), path.stat().st_size), io.SEEK_END)
        if plain.read() != _BGZF_END:
            plain.close()
            raise VcfError(
                f"{path}: truncated, the empty block that ends a BGZF file is missing; copy or write it again"
            )
        plain.seek(0)
    return cast(BinaryIO, io.BufferedReader(cast(io.RawIOBase, gzip.GzipFile(fileobj=plain)), _BUFFER))


def _header(handle: BinaryIO, file: str, places: Places) -> Header:
    meta: list[str] = []
    for number, raw in enumerate(handle, 1):
        if number == 1 and not raw.startswith(b"##fileformat=VCF"):
            what = (
                "BCF; write it as text with 'bcftools view'"
                if raw.startswith(b"BCF")
                else repr(raw[:40].decode(errors="replace"))
            )
            raise VcfError(f"{file}, line 1: expected '##fileformat=VCFv4.x', got {what}")
        try:
            line = raw.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            raise VcfError(f"{file}, line {number}: not UTF-8; write the header again as UTF-8") from None
        if line.startswith("##"):
            meta.append(line)
            continue
        where = f"{file}, line {number}"
        if not line.startswith("#CHROM"):
            raise VcfError(
                f"{where}: expected the line '#CHROM' before the records, got {line[:40]!r}; put in one "
                "with #CHROM, POS, ID, REF, ALT, QUAL, FILTER, INFO, FORMAT and the samples, between tabs"
            )
        if not line.startswith("#CHROM\t"):
            raise VcfError(f"{where}: no tab behind '#CHROM'; {_COLUMNS_REMEDY}")
        declared = {found[1] for found in map(_INFO_ID.match, meta) if found is not None}
        sv_length_only = "SVLEN" in declared and "END" not in declared
        return Header(_samples(line, where), _names_build(meta, file, places), number, sv_length_only)
    raise VcfError(f"{file}: no line '#CHROM'; the file is truncated or no VCF file")


def _samples(line: str, where: str) -> tuple[str, ...]:
    columns = line.split("\t")
    if len(columns) <= FIXED:
        raise VcfError(f"{where}: no sample; the file needs FORMAT and a column of genotypes for each sample")
    samples = columns[FIXED:]
    twice = [name for name, number in Counter(samples).items() if number > 1]
    if twice:
        names = ", ".join(map(repr, twice))
        raise VcfError(f"{where}: more than one sample is called {names}; rename them ('bcftools reheader')")
    return tuple(samples)


def _names_build(meta: Sequence[str], file: str, places: Places) -> bool:
    """Return whether the header says GRCh38; raise where it says another build."""
    named = False
    for number, line in enumerate(meta, 1):
        contig = _CONTIG.fullmatch(line)
        if contig is not None:
            named = _right_contig(contig[1], f"{file}, line {number}", places) or named
        elif line.startswith(("##reference=", "##assembly=")):
            named = _right_name(line, f"{file}, line {number}") or named
    return named


def _right_contig(text: str, where: str, places: Places) -> bool:
    keys = {key: value for key, value in _KEY_VALUE.findall(text)}
    name = keys.get("ID", "")
    places.chromosome(name, where)
    named = name in places.refseq.values() or _right_name(keys.get("assembly", ""), where)
    old, right = CHROMOSOME_LENGTHS.get(name if name.startswith("chr") else f"chr{name}", (0, 0))
    length = keys.get("length", "")
    if right and length.isdigit():
        if int(length) != right:
            build = "GRCh37" if int(length) == old else "another build"
            raise WrongBuildError(
                f"{where}: contig {name} is {length} bases long, which is {build} ({right} in GRCh38); "
                f"{BUILD_REMEDY}"
            )
        named = True
    return named


def _right_name(text: str, where: str) -> bool:
    right, other = _GRCH38.search(text), _OTHER_BUILD.search(text)
    if other is not None and right is None:
        raise WrongBuildError(f"{where}: {text!r} names the build {other[0]}; {BUILD_REMEDY}")
    return right is not None and other is None


# ------------------------------------------------------------------------------------------------ the records


def _scanned(handle: BinaryIO, file: str, header: Header, places: Places) -> Iterator[Line]:
    """Yield from a scan of the whole file. The loop is short because it runs for every line of a genome."""
    here, spans = "", iter(())
    previous = first = last = 0
    for number, line, begin, chrom in _on_chromosomes(handle, file, header, places):
        if chrom != here:
            here, spans = chrom, iter(places.spans[chrom])
            previous, (first, last) = 0, next(spans)
        try:
            pos = int(line[begin : line.index(b"\t", begin)])
        except ValueError:
            raise _malformed(line, f"{file}, line {number}") from None
        if pos < previous:
            raise _unsorted(f"{file}, line {number}: {chrom}:{pos} comes after {chrom}:{previous} before it")
        previous = pos
        while pos > last:
            first, last = next(spans, (_BEYOND, _BEYOND))
        # REF is shorter than its line: a record without a length that begins further away does not reach it
        if pos + len(line) > first or (
            (b"END=" in line or b"SVLEN=" in line) and (_end(line, pos) or 0) >= first
        ):
            yield _line(line, f"line {number}", chrom, pos)


def _on_chromosomes(
    handle: BinaryIO, file: str, header: Header, places: Places
) -> Iterator[tuple[int, bytes, int, str]]:
    """Yield number, line, index of POS and chromosome of every line on a chromosome with places."""
    number, line = header.lines, b""
    prefix, chrom = b"\n", None
    seen: set[str] = set()
    with handle:
        try:
            for number, line in enumerate(handle, header.lines + 1):
                if not line.startswith(prefix):
                    if line.startswith(b"#") or not line.strip():
                        continue
                    prefix = line.partition(b"\t")[0] + b"\t"
                    if len(prefix) > len(line):
                        start = line[:40].decode(errors="replace")
                        raise VcfError(f"{file}, line {number}: no tab in {start!r}; {_COLUMNS_REMEDY}")
                    contig = prefix[:-1].decode(errors="replace")
                    chrom = places.chromosome(contig, f"{file}, line {number}")
                    if chrom in seen:
                        raise _unsorted(f"{file}, line {number}: {chrom} comes a second time")
                    if chrom is not None:
                        seen.add(chrom)
                if chrom is not None:
                    yield number, line, len(prefix), chrom
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise _truncated(file, f"after line {number}", error) from None
    if line.strip() and line.count(b"\t") != FIXED + len(header.samples) - 1:
        raise _truncated(file, f"in line {number}, the last one", None)


def _indexed(path: Path, index: str, places: Places) -> Iterator[Line]:
    """Yield from the places only, by the index."""
    try:
        source = import_module("pysam").TabixFile(str(path), index=index)
    except (OSError, ValueError) as error:
        raise VcfError(f"{index}: cannot be read ({error}); make the index again, or remove it") from None
    with source:
        for contig in source.contigs:
            chrom = places.chromosome(contig, str(path))
            seen: set[str] = set()  # a block reaches several places and comes once for each
            for first, last in places.spans[chrom] if chrom is not None else ():
                for text in source.fetch(contig, first - 1, last):
                    if text not in seen:
                        seen.add(text)
                        pos = text.split("\t", 2)[1]
                        yield _line(text.encode(), f"record {contig}:{pos}", str(chrom), int(pos))


def _end(line: bytes, pos: int) -> int | None:
    """Return the last base by INFO END, else by SVLEN, which of an insertion is not on the reference."""
    end = _BLOCK_END.search(line)
    if end is not None:
        return int(end[1])
    found = _SV_LENGTHS.match(line)
    if found is None:
        return None
    alts, lengths = found[1].split(b","), found[2].replace(b"-", b"").split(b",")
    return max(
        (
            pos + int(length)
            for alt, length in zip(alts, lengths, strict=False)
            if length.isdigit() and not alt.startswith(b"<INS")
        ),
        default=None,
    )


def _line(line: bytes, where: str, chrom: str, pos: int) -> Line:
    columns = line.decode(errors="replace").rstrip("\r\n").split("\t")
    return Line(where, chrom, pos, _end(line, pos), columns)


def _truncated(file: str, where: str, error: Exception | None) -> VcfError:
    detail = f" ({error})" if error is not None else ""
    return VcfError(f"{file}: truncated or damaged {where}{detail}; copy or write the file again")


def _unsorted(message: str) -> VcfError:
    return VcfError(f"{message}; the records must be in order: 'bcftools sort'")


def _malformed(line: bytes, where: str) -> VcfError:
    pos = line.decode(errors="replace").rstrip("\r\n").split("\t")[1]
    remedy = _COLUMNS_REMEDY if " " in pos else "correct it"
    return VcfError(f"{where}, POS: {pos[:40]!r} is no whole number; {remedy}")
