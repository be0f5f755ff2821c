"""Calls that a VCF file cannot give, from a table: CYP2D6 with its structure, HLA, or another laboratory's.

The columns are those of PharmCAT's outside calls (https://pharmcat.org/using/Outside-Call-Format/): gene,
diplotype, phenotype, activity score, between tabs, any of the last three may be empty. Lines that begin with
`#` are comments; a first line that begins with `gene` is a header.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from dosewright.pharmacogenomics.alleles import (
    CODING_STRAND,
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    table_allele,
)
from dosewright.pharmacogenomics.matching import lookup_pair
from dosewright.pharmacogenomics.phenotype import Interpretation, interpret
from dosewright.pharmacogenomics.tables import TABLES, Tables, UnknownAlleleError

HLA_GENES = ("HLA-A", "HLA-B")
"""Genes without tables, of which the result for one allele is given: `*15:02 positive`."""

_COLUMNS = ("gene", "diplotype", "phenotype", "activity score")
_HLA_RESULT = re.compile(r"(\*\d{2,3}:\d{2,4}) (positive|negative)")
# Two fields name the protein, further ones silent and non-coding differences, G and P groups of alleles; the
# other letters tell how it is expressed (Marsh 2010, doi:10.1111/j.1399-0039.2010.01466.x).
_HLA_ALLELE = re.compile(r"(\*\d{2,3}:\d{2,4})(?::\d{2,4}){0,2}([NLSCAQ]?)[GP]?")
# Those of which CPIC's guidelines ask whether they are there: carbamazepine (doi:10.1002/cpt.1004), phenytoin
# (doi:10.1002/cpt.2008), abacavir (doi:10.1038/clpt.2014.38), allopurinol (doi:10.1002/cpt.161)
_HLA_ASKED = {"HLA-A": ("*31:01",), "HLA-B": ("*15:02", "*57:01", "*58:01")}
_NO_NUMBER = re.compile(r"(\*[^/x+\s]+)x[Nn]\b")
# PharmCAT writes Unknown/Unknown, Cyrius None, a VCF ./.
_NO_CALL = re.compile(
    r"unknown|indeterminate|no[ _-]?(?:call|result)|not called|none|n/?a|[.?]", re.IGNORECASE
)
_SUBALLELE = re.compile(r"\.\d+")
# program -> words of the head of its output, and the columns that have the alleles
_PROGRAMS = {
    "Aldy": ({"gene", "solutionid"}, "Major"),
    "Stargazer": ({"hap1_main", "hap2_main"}, "hap1_main and hap2_main"),
    "Stargazer or PyPGx": ({"haplotype1", "haplotype2"}, "Haplotype1 and Haplotype2"),
    "Cyrius": ({"sample", "genotype", "filter"}, "Genotype"),
}


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
    as `*1x≥3`; a tandem has its units in any order. The gene may stand before an allele (`CYP2D6*1`). Bases
    of VKORC1 are those of the coding strand (A, G) or of the forward strand (C, T).

    Of DPYD variants joined on one chromosome (`[a + b]`) the one of lowest function counts, as in
    `lookup_pair`. Where the rules say nothing, phenotype and score are kept as given: of an allele without
    function in the tables, and of joined star alleles of a gene without activity score.

    Lines of one gene are put together if they agree in what both fill, and by CPIC's rules in the rest. Of
    HLA each allele has a call; a pair of alleles, typed to two fields, is positive for both and negative for
    the others that CPIC's guidelines ask about (`*57:01`, `*15:02`, `*58:01` of HLA-B, `*31:01` of HLA-A).

    Raises
    ------
    OutsideCallError : no such file, or the output of another program; an unknown gene, allele, phenotype or
        score; a diplotype that says that nothing was called (`Unknown/Unknown`); a phenotype or score that
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
        where = f"{file}, line {number}"
        if header_allowed:
            _check_program(line, where)
        cells = [cell.strip() for cell in line.split("\t")]
        if line.startswith("#") or not any(cells):
            continue
        if not (header_allowed and cells[0].lower() == "gene"):
            for call in _calls(cells, number, where, tables):
                key = call.gene, (call.phenotype or "").split(" ")[0] if call.gene in HLA_GENES else ""
                before = calls.get(key)
                calls[key] = call if before is None else _together(before, call, file, tables)
        header_allowed = False
    return tuple(calls.values())


def _check_program(line: str, where: str) -> None:
    words = set(line.lower().lstrip("#").split())
    for program, (head, columns) in _PROGRAMS.items():
        if head <= words:
            raise OutsideCallError(
                f"{where}: this is the output of {program}, not a table of {', '.join(_COLUMNS)}; write a "
                f"line for each gene: its name, a tab, and the two alleles of {columns} as '*1/*4'"
            )


def _together(first: OutsideCall, second: OutsideCall, file: str, tables: Tables) -> OutsideCall:
    """Return what two lines of a gene, or of an HLA allele, say together."""
    for name in ("diplotype", "phenotype", "activity_score"):
        one, other = getattr(first, name), getattr(second, name)
        if None not in (one, other) and one != other:
            raise OutsideCallError(
                f"{file}, line {second.line}, {name.replace('_', ' ')}: {other} for {second.gene}, but line "
                f"{first.line} has {one}; keep one of the two lines"
            )
    made = replace(
        first,
        diplotype=first.diplotype or second.diplotype,
        phenotype=first.phenotype or second.phenotype,
        activity_score=first.activity_score or second.activity_score,
    )
    if made != first:
        _follow(made, f"{file}, lines {first.line} and {second.line}", tables)
    return made


def _calls(cells: Sequence[str], number: int, where: str, tables: Tables) -> list[OutsideCall]:
    if not 2 <= len(cells) <= len(_COLUMNS):
        raise OutsideCallError(
            f"{where}: {len(cells)} columns; give {', '.join(_COLUMNS)} between tabs, the unknown ones empty"
        )
    gene, diplotype, phenotype, score = (*cells, "", "")[: len(_COLUMNS)]
    if not (diplotype or phenotype or score):
        raise OutsideCallError(f"{where}: nothing is given for {gene}; give one of {', '.join(_COLUMNS[1:])}")
    if _no_call(gene, diplotype):
        raise OutsideCallError(
            f"{where}, diplotype: {diplotype!r} of {gene} is no call of two alleles; leave the line out, or, "
            "if a phenotype or score is known, the diplotype empty"
        )
    if gene in HLA_GENES:
        results = _hla(gene, diplotype, phenotype, score, where)
        return [OutsideCall(gene, None, f"{name} {sign}", None, number) for name, sign in results.items()]
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
    return [call]


# ------------------------------------------------------------------------------------------------------- HLA


def _hla(gene: str, diplotype: str, phenotype: str, score: str, where: str) -> dict[str, str]:
    """Return allele -> `positive` or `negative`."""
    if score:
        raise OutsideCallError(f"{where}, activity score: {gene} has none; leave the column empty")
    typed = _hla_pair(gene, diplotype, f"{where}, diplotype") if diplotype else ()
    results = dict.fromkeys(typed, "positive")
    if typed:
        results |= {name: "negative" for name in _HLA_ASKED[gene] if name not in typed}
    if phenotype:
        result = _HLA_RESULT.fullmatch(_without_gene(gene, phenotype))
        if result is None:
            raise OutsideCallError(
                f"{where}, phenotype: {phenotype!r} is no result for an allele of {gene}; write '*15:02 "
                "positive' or '*15:02 negative' into the third column, a line for each allele"
            )
        if typed and (result[2] == "positive") != (result[1] in typed):
            raise OutsideCallError(
                f"{where}, phenotype: {result[0]} for {gene}, but the diplotype is {diplotype}; "
                "correct one of the two, or leave one empty"
            )
        results[result[1]] = result[2]
    return results


def _hla_pair(gene: str, text: str, where: str) -> tuple[str, str]:
    """Return the two alleles of a full typing, each to two fields."""
    found = [_HLA_ALLELE.fullmatch(name.strip()) for name in _without_gene(gene, text).split("/")]
    names = [match[1] + match[2] for match in found if match is not None]
    if len(names) != 2 or len(found) != 2:
        raise OutsideCallError(
            f"{where}: {text!r} is not the typing of both chromosomes to two fields; write it as "
            "'*07:02/*15:02', or the result for one allele ('*15:02 positive') into the third column"
        )
    return names[0], names[1]


# -------------------------------------------------------------------------------------------------- diplotype


def _without_gene(gene: str, text: str) -> str:
    """Take the gene's name away before each allele: `CYP2D6*1/CYP2D6 *4`, `HLA-B*15:02`, `B*15:02`."""
    short = gene.removeprefix("HLA-")
    return re.sub(rf"(^|/)\s*(?:{re.escape(gene)}|{re.escape(short)}(?=\*))\s*", r"\1", text.strip())


def _no_call(gene: str, text: str) -> bool:
    """Whether a diplotype, or one of its alleles, says that nothing was called."""
    whole = _without_gene(gene, text)
    return any(_NO_CALL.fullmatch(name.strip()) for name in (whole, *whole.split("/")))


def _diplotype(gene: str, text: str, where: str, tables: Tables) -> Diplotype:
    no_number = _NO_NUMBER.search(text)
    if no_number is not None:
        name = no_number[1]
        raise OutsideCallError(
            f"{where}: {no_number[0]!r} has no number of copies; write '{name}x2' or '{name}x3', or "
            f"'{name}x≥3' for three or more"
        )
    try:
        pair = Diplotype.parse(_without_gene(gene, text))
        return Diplotype(*(_known(gene, name, where, tables) for name in _named(gene, pair, where)))
    except InvalidDiplotypeError as error:
        raise OutsideCallError(f"{where}: {error}") from None


def _named(gene: str, pair: Diplotype, where: str) -> list[str]:
    """Return the alleles by the names of the tables, where bases of VKORC1 are given."""
    forward = {name[-2]: name for name in CODING_STRAND.get(gene, {})}  # `rs9923231 reference (C)`
    on_forward = [name in forward for name in pair.alleles]
    if len(set(on_forward)) > 1:
        coding = ", ".join(sorted(CODING_STRAND[gene].values()))
        raise OutsideCallError(
            f"{where}: {pair} of {gene} mixes the strands; write both bases as on the coding strand "
            f"({coding}) or both as on the forward strand ({', '.join(sorted(forward))})"
        )
    return [forward[name] if name in forward else table_allele(gene, name) for name in pair.alleles]


def _known(gene: str, name: str, where: str, tables: Tables) -> str:
    """Return the name that the tables have for an allele."""
    found = _listed(gene, name, tables)
    if found is not None:
        return found
    core = _listed(gene, _SUBALLELE.sub("", name), tables)
    if core is not None:
        raise OutsideCallError(
            f"{where}: {name!r} of {gene} is a suballele, and {tables.version} has core alleles only; "
            f"write {core!r}"
        )
    some = ", ".join(tables.alleles(gene)[:5])
    raise OutsideCallError(
        f"{where}: allele {name!r} of {gene} is not in {tables.version}; name it as there ({some}, ...), "
        "or give the phenotype or the activity score alone"
    )


def _listed(gene: str, name: str, tables: Tables) -> str | None:
    """Return the name of an allele in the tables, None where they do not have it."""
    known = tables.alleles(gene)
    if name in known:
        return name
    allele = Allele.parse(name)
    if allele.kind == "combination":  # a deletion or a duplication joins no other allele
        defined = {definition.name for definition in tables.definitions(gene)}
        return name if all(str(unit) in defined for unit in allele.units) else None
    if allele.kind == "tandem":
        units = Counter(allele.units)
        return next((other for other in known if Counter(Allele.parse(other).units) == units), None)
    open_number = f"{allele.units[0].name}x≥3"
    return open_number if allele.units[0].copies >= 3 and open_number in known else None


# --------------------------------------------------------------------------------------- phenotype and score


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
    meaning = None if call.diplotype is None else _meaning(call.gene, call.diplotype, tables)
    if meaning is not None:
        phenotype, source = meaning.phenotype, str(call.diplotype)
        score = meaning.key if meaning.scored else None
        if meaning.diplotype != call.diplotype:
            source += f" (looked up as {meaning.diplotype})"
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


def _meaning(gene: str, diplotype: Diplotype, tables: Tables) -> Interpretation | None:
    """Return what CPIC's rules make of a diplotype, None where they say nothing: of an allele without
    function, and of alleles joined on one chromosome that have no activity by which one is the lowest."""
    try:
        return interpret(gene, lookup_pair(gene, diplotype, tables), tables)
    except UnknownAlleleError:
        return None
