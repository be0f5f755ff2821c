"""Calls that a VCF file cannot give, from a table: CYP2D6 with its structure, HLA, or another laboratory's.

The columns are those of PharmCAT's outside calls (https://pharmcat.org/using/Outside-Call-Format/): gene,
diplotype, phenotype, activity score, between tabs, any of the last three may be empty. Lines that begin with
`#` are comments; a first line that begins with `gene` is a header.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dosewright.pharmacogenomics.alleles import CODING_STRAND, Allele, Diplotype, InvalidDiplotypeError
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.tables import TABLES, Tables, UnknownAlleleError

HLA_GENES = ("HLA-A", "HLA-B")
"""Genes without tables, of which the result for one allele is given: `*15:02 positive`."""

_COLUMNS = ("gene", "diplotype", "phenotype", "activity score")
_HLA_RESULT = re.compile(r"(\*\d{2,3}:\d{2,3}) (positive|negative)")


class OutsideCallError(ValueError):
    """A line of the table is unknown to the genetic tables, or contradicts itself or another line."""


@dataclass(frozen=True)
class OutsideCall:
    """One call from outside.

    Attributes
    ----------
    gene : as the tables name it, or one of `HLA_GENES`
    diplotype : None where only a phenotype or a score was given; alleles as the tables name them
    phenotype : as CPIC words it; of HLA the result (`"*15:02 positive"`)
    activity_score : as in CPIC's rules (`"1.25"`, `"≥3.0"`)
    line : where it stands in the file, from 1
    """

    gene: str
    diplotype: Diplotype | None
    phenotype: str | None
    activity_score: str | None
    line: int


def read_outside_calls(path: str | Path, tables: Tables = TABLES) -> tuple[OutsideCall, ...]:
    """Read the calls of one sample, in the order of the file.

    An allele with three or more copies is read as CPIC's open number where the tables have that only: `*1x3`
    as `*1x≥3`. Two equal lines of a gene count once; of HLA each allele has a line.

    Raises
    ------
    OutsideCallError : no such file; an unknown gene, allele, phenotype or score; a phenotype or score that
        does not follow from the diplotype by CPIC's rules; two lines of a gene that differ
    """
    file = str(path)
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise OutsideCallError(f"no file {file}: give a table of {', '.join(_COLUMNS)}") from None
    except UnicodeDecodeError:
        raise OutsideCallError(f"{file}: not UTF-8; write it again as UTF-8 (the sign ≥ needs it)") from None
    calls: dict[tuple[str, str], OutsideCall] = {}
    header_allowed = True
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if line.startswith("#") or not any(cells):
            continue
        if not (header_allowed and cells[0].lower() == "gene"):
            call = _call(cells, number, f"{file}, line {number}", tables)
            key = call.gene, (call.phenotype or "").split(" ")[0] if call.gene in HLA_GENES else ""
            _agree(calls.setdefault(key, call), call, file)
        header_allowed = False
    return tuple(calls.values())


def _agree(first: OutsideCall, second: OutsideCall, file: str) -> None:
    names = ("diplotype", "phenotype", "activity_score")
    for name in names:
        one, other = getattr(first, name), getattr(second, name)
        if one != other:
            raise OutsideCallError(
                f"{file}, line {second.line}, {name.replace('_', ' ')}: {other or 'nothing'} for "
                f"{second.gene}, but line {first.line} has {one or 'nothing'}; keep one of the two lines"
            )


def _call(cells: Sequence[str], number: int, where: str, tables: Tables) -> OutsideCall:
    if not 2 <= len(cells) <= len(_COLUMNS):
        raise OutsideCallError(
            f"{where}: {len(cells)} columns; give {', '.join(_COLUMNS)} between tabs, the unknown ones empty"
        )
    gene, diplotype, phenotype, score = (*cells, "", "")[: len(_COLUMNS)]
    if not (diplotype or phenotype or score):
        raise OutsideCallError(f"{where}: nothing is given for {gene}; give one of {', '.join(_COLUMNS[1:])}")
    if gene in HLA_GENES:
        return OutsideCall(gene, None, _hla(gene, diplotype, phenotype, score, where), None, number)
    if gene not in tables.genes():
        known = ", ".join((*tables.genes(), *HLA_GENES))
        raise OutsideCallError(f"{where}, gene: {gene!r} is not in {tables.version}; use one of {known}")
    pair = _diplotype(gene, diplotype, f"{where}, diplotype", tables) if diplotype else None
    call = OutsideCall(
        gene,
        pair,
        _phenotype(gene, phenotype, f"{where}, phenotype", tables) if phenotype else None,
        _score(gene, score, f"{where}, activity score", tables) if score else None,
        number,
    )
    _follow(call, where, tables)
    return call


def _hla(gene: str, diplotype: str, phenotype: str, score: str, where: str) -> str:
    result = _HLA_RESULT.fullmatch(phenotype.removeprefix(gene).strip())
    if result is None or diplotype or score:
        given = phenotype or diplotype or score
        raise OutsideCallError(
            f"{where}, phenotype: {given!r} is no result for an allele of {gene}; write '*15:02 positive' or "
            "'*15:02 negative' into the third column, a line for each allele, the others empty"
        )
    return result[0]


def _diplotype(gene: str, text: str, where: str, tables: Tables) -> Diplotype:
    on_coding_strand = {base: name for name, base in CODING_STRAND.get(gene, {}).items()}
    try:
        pair = Diplotype.parse(text)
        names = [on_coding_strand.get(name, name) for name in pair.alleles]
        return Diplotype(*(_known(gene, name, where, tables) for name in names))
    except InvalidDiplotypeError as error:
        raise OutsideCallError(f"{where}: {error}") from None


def _known(gene: str, name: str, where: str, tables: Tables) -> str:
    """Return the name that the tables have for an allele."""
    known = tables.alleles(gene)
    if name in known:
        return name
    allele = Allele.parse(name)
    if allele.kind == "combination" and all(str(unit) in known for unit in allele.units):
        return name
    open_number = f"{allele.units[0].name}x≥3"
    if len(allele.units) == 1 and allele.units[0].copies >= 3 and open_number in known:
        return open_number
    some = ", ".join(known[:5])
    raise OutsideCallError(
        f"{where}: allele {name!r} of {gene} is not in {tables.version}; name it as there ({some}, ...), "
        "or give the phenotype or the activity score alone"
    )


def _phenotype(gene: str, text: str, where: str, tables: Tables) -> str:
    known = sorted({rule.phenotype for rule in tables.phenotype_rules(gene).values()})
    if text not in known:
        allowed = (
            f"use one of {', '.join(known)}" if known else "give the diplotype: the gene has no phenotypes"
        )
        raise OutsideCallError(f"{where}: {text!r} is no phenotype of {gene}; {allowed}")
    return text


def _score(gene: str, text: str, where: str, tables: Tables) -> str:
    if not tables.scored_by_activity(gene):
        raise OutsideCallError(f"{where}: {gene} has no activity score; leave the column empty")
    known = [key for key, _ in tables.phenotype_rules(gene)]
    number = re.fullmatch(r"(≥?)(\d+(?:\.\d+)?)", text)
    score = f"{number[1]}{float(number[2])}" if number is not None else text  # CPIC writes 1.0, not 1
    if score not in known:
        raise OutsideCallError(
            f"{where}: {text!r} is no activity score of {gene}; use one of {', '.join(known)}"
        )
    return score


def _follow(call: OutsideCall, where: str, tables: Tables) -> None:
    """Raise unless phenotype and score are what CPIC's rules make of the diplotype, or of the score."""
    phenotype, score, source = None, None, ""
    if not tables.phenotype_rules(call.gene):
        return
    if call.diplotype is not None:
        if any(Allele.parse(name).kind == "combination" for name in call.diplotype.alleles):
            return  # the rules are of two alleles; which of three or more count is for the matching to say
        try:
            meaning = interpret(call.gene, call.diplotype, tables)
        except UnknownAlleleError as error:
            raise OutsideCallError(f"{where}, diplotype: {error}") from None
        phenotype, source = meaning.phenotype, str(call.diplotype)
        score = meaning.key if meaning.scored else None
    elif call.activity_score is not None:
        phenotype = tables.phenotype_rules(call.gene)[call.activity_score, ""].phenotype
        source = f"activity score {call.activity_score}"
    for name, given, right in (
        ("phenotype", call.phenotype, phenotype),
        ("activity score", call.activity_score, score),
    ):
        if given is not None and right is not None and given != right:
            raise OutsideCallError(
                f"{where}, {name}: {given} for {call.gene} {source}, but by CPIC's rules it is {right}; "
                "correct one of the two, or leave one empty"
            )
