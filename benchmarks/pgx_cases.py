"""Hold genotype calls against results of others: PharmCAT's unit tests, GeT-RM consensus, its example sample.

Every function takes the folder that holds the cases (`genotype_calls.json`, `getrm/`, `example_sample/`) and
returns rows for `python -m benchmarks.conformance pgx DIR`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from dosewright.pharmacogenomics.alleles import (
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    coding_strand_allele,
    coding_strand_pair,
)
from dosewright.pharmacogenomics.calls import GeneCall, call_genes
from dosewright.pharmacogenomics.matching import Match, match
from dosewright.pharmacogenomics.phenotype import activity_score, interpret
from dosewright.pharmacogenomics.sites import Genotypes, Origin, Site
from dosewright.pharmacogenomics.tables import NO_SCORE, TABLES
from dosewright.pharmacogenomics.vcf import VcfFile, read_vcf

CALLS_NEEDED = 0.98
COMPLETE = ("CYP2C9", "CYP2C19", "CYP3A5", "TPMT", "VKORC1")
"""Genes whose GeT-RM consensus must be met in every sample; elsewhere its names are older than the tables."""
OTHER_NAMES = ("DPYD",)
"""Genes whose consensus uses names that the tables do not have."""
NO_CALL = "Unknown/Unknown"
_ROUNDING = 1e-9
_Case = TypeVar("_Case")


@dataclass(frozen=True)
class Row:
    """Result of one set of cases.

    Attributes
    ----------
    name : of the set
    passed, total : number of cases
    needed : share (0 to 1) that must pass; 0 for a set that is only shown
    failures : a line for each case that did not pass
    remarks : a line for each part of a case that cannot be compared
    """

    name: str
    passed: int
    total: int
    needed: float
    failures: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether there were cases, and enough of them passed."""
        # 15 / 29 * 29 is more than 15
        return self.total > 0 and self.passed >= self.needed * self.total - _ROUNDING


def check(
    name: str,
    cases: Sequence[_Case],
    fault: Callable[[_Case], str | None],
    label: Callable[[_Case], str],
    needed: float = 1.0,
    remarks: Sequence[str] = (),
) -> Row:
    """Count the cases in which `fault` finds nothing.

    A case that ends in an exception is a miss, with its message.
    """
    failures = []
    for number, case in enumerate(cases, start=1):
        place = f"case {number}"
        try:
            place = label(case)
            found = fault(case)
        except Exception as error:  # whatever it is, the cases after this one are still compared
            found = f"{type(error).__name__}: {error}"
        failures += [] if found is None else [f"{place}: {found}"]
    return Row(name, len(cases) - len(failures), len(cases), needed, tuple(failures), tuple(remarks))


def score_text(value: object) -> str:
    """Write an expected score as the tables do: `0` as `0.0`, None as nothing, other text unchanged."""
    text = "" if value is None else str(value).strip()
    number = text.removeprefix("≥")
    try:
        return f"{text[: len(text) - len(number)]}{float(number)}"
    except ValueError:
        return text


# -------------------------------------------------------------------------------------- genotype_calls.json


def genotype_calls(folder: Path) -> Row:
    """Genotype to diplotype, lookup pair and activity score, of `genotype_calls.json`."""
    cases = json.loads((folder / "genotype_calls.json").read_text(encoding="utf-8"))
    return check("genotype_calls", cases, _call_fault, lambda case: case["id"], CALLS_NEEDED, _remarks(cases))


def _call_fault(case: Mapping[str, Any]) -> str | None:
    return "; ".join(_differences(case, match(case["gene"], sites(case)))) or None


def sites(case: Mapping[str, Any]) -> dict[int, Site]:
    """Turn a case into the sites of its gene; positions without a record are what the case says they are, and
    missing where it does not say.

    A record at a position that no allele of the tables is defined by is left out.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    ValueError : a record has another reference base than the tables, or a genotype that it does not list;
        `other_positions` is no known word
    """
    positions = {position.pos: position for position in TABLES.positions(case["gene"])}
    found = {}
    if _choice(case, "other_positions", ("missing", "reference")) == "reference":
        # the case says so, nobody assumes it: an assumed reference gives way to a variant seen beside it
        found = {
            pos: Site((position.ref,) * 2, origin=Origin.RECORD, note="")
            for pos, position in positions.items()
        }
    for record in case.get("records") or ():
        pos = int(record["pos"])
        if pos in positions:
            found[pos] = _site(record, positions[pos].ref)
    return found


def _choice(case: Mapping[str, Any], field: str, known: tuple[str, ...]) -> str:
    """Return a field of few words; where a case leaves it out, the first of them."""
    value = case.get(field) or known[0]
    if value not in known:
        raise ValueError(f"{field} is {value!r}; use one of {', '.join(known)}")
    return value


def _site(record: Mapping[str, Any], ref: str) -> Site:
    if record["ref"] != ref:
        raise ValueError(f"record {record['pos']} has reference {record['ref']}, the tables have {ref}")
    genotype = str(record.get("gt") or ".")
    called = genotype.replace("|", "/").split("/")
    if "." in called or len(called) != 2:  # the genes are autosomal: one allele is no genotype
        return Site(note=f"genotype {genotype}")
    bases = {str(number): base for number, base in enumerate([ref, *(record.get("alts") or ())])}
    if any(number not in bases for number in called):
        raise ValueError(f"record {record['pos']} lists {len(bases)} alleles, its genotype is {genotype}")
    phase_set = record.get("ps")
    return Site(
        tuple(bases[number] for number in called),
        phased="|" in genotype,
        phase_set=None if phase_set is None else str(phase_set),
        origin=Origin.RECORD,
        note="",
    )


def _differences(case: Mapping[str, Any], result: Match) -> Iterator[str]:
    """Yield what differs from the expected results, a phrase for each."""
    found = _called(case, result)
    expected = {_canonical(text) for text in _expected(case)}
    also = {_canonical(text) for text in case.get("also_accepted") or ()}
    if not (expected <= found <= expected | also or (found and found <= also)):
        yield f"called {_listed(found)}, expected {_listed(expected)}" + (
            f" ({result.reason})" if result.reason else ""
        )
        return
    if found != expected:
        return  # an accepted alternative has a lookup and a score of its own
    lookup = case.get("expected_lookup_diplotype")
    if lookup and not _withdrawn(case) and not _looked_up(lookup, result):
        yield f"looked up {result.lookup}, expected {' and '.join(lookup)}"
    score = score_text(case.get("expected_activity_score"))
    scores = {_score(case["gene"], pair) for pair in _pairs(result)} or {NO_SCORE}
    if score and score not in scores:
        yield f"activity score {_listed(scores)}, expected {score}"


def _score(gene: str, pair: Diplotype) -> str:
    score = activity_score(gene, pair)
    return NO_SCORE if score is None else str(score)


def _expected(case: Mapping[str, Any]) -> list[str]:
    return [text for text in case["expected_diplotypes"] or () if text != NO_CALL]


def _called(case: Mapping[str, Any], result: Match) -> set[str]:
    shown = result.best if _choice(case, "mode", ("top", "all")) == "top" else result.candidates
    expected = _expected(case)
    if expected and not any("/" in text for text in expected):
        pairs = (_variants(case["gene"], item.diplotype) for item in shown)
        return set(result.variants) or {name for names in pairs for name in names}
    if not shown and expected:
        return {_canonical("/".join(result.variants))} if result.variants else set()
    return {str(item.diplotype) for item in shown}


def _variants(gene: str, diplotype: Diplotype) -> Iterator[str]:
    """Yield the variants of both chromosomes as a list without phase has them; the reference is none of them,
    unless there is nothing else."""
    reference = TABLES.gene(gene).reference_allele
    units = (str(unit) for allele in diplotype.alleles for unit in Allele.parse(allele).units)
    copies = Counter(name for name in units if name != reference) or {reference: 1}
    for name, number in copies.items():
        yield f"{name} (homozygous)" if number == 2 else name


def _canonical(text: str) -> str:
    """Write a diplotype in one order; what names no diplotype, as a variant alone, is ordered as text."""
    try:
        return str(Diplotype.parse(text))
    except InvalidDiplotypeError:
        return "/".join(sorted(text.split("/")))


def _looked_up(expected: list[str], result: Match) -> bool:
    """Whether the expected alleles are one of the lookup pairs.

    Some lists of the cases hold one name only; the other one is then not compared.
    """
    return any(Counter(expected) <= Counter(pair.alleles) for pair in _pairs(result))


def _pairs(result: Match) -> list[Diplotype]:
    """Return the lookup pair or, where it stays open, the best diplotypes."""
    return [result.lookup] if result.lookup else [item.diplotype for item in result.best]


def _withdrawn(case: Mapping[str, Any]) -> list[str]:
    """Return names of the expected lookup that newer tables no longer have."""
    known = TABLES.alleles(case["gene"])
    return [name for name in case.get("expected_lookup_diplotype") or () if name not in known]


def _remarks(cases: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for case in cases:
        with suppress(Exception):  # a case that cannot be read is a miss, and its message says why
            found += [f"{case['id']}: {text}" for text in _not_compared(case)]
    return found


def _not_compared(case: Mapping[str, Any]) -> Iterator[str]:
    for name in _withdrawn(case):
        yield f"lookup not compared, {name} is no allele of {TABLES.version}"
    defined = {position.pos for position in TABLES.positions(case["gene"])}
    for record in case.get("records") or ():
        if int(record["pos"]) not in defined:
            yield f"record {record['pos']} left out, it defines no allele of {TABLES.version}"


def _listed(names: set[str]) -> str:
    return " or ".join(sorted(names)) or "nothing"


# ---------------------------------------------------------------------------------------------------- getrm


def getrm(folder: Path) -> tuple[Row, ...]:
    """Consensus of the reference-material programme, unflagged rows, one row a gene.

    A case passes when the consensus is the only best diplotype; where it is one of several, the line says so.
    """
    file = read_vcf(folder / "getrm" / "genotypes.vcf")
    rows = []
    for gene, named in consensus(folder / "getrm" / "consensus.csv").items():
        rows.append(
            check(
                f"getrm {gene}",
                named.rows,
                lambda row: _consensus_fault(row, file),
                consensus_label,
                float(gene in COMPLETE),
                named.remarks,
            )
            if named.rows
            else Row(f"getrm {gene}", 0, named.unreadable.total(), 0.0, (), named.remarks)
        )
    return tuple(rows)


def _consensus_fault(row: Mapping[str, str], file: VcfFile) -> str | None:
    result = match(row["gene"], sample_sites(row, file))
    expected = _canonical(row["consensus"])
    found = {consensus_name(row["gene"], item.diplotype) for item in result.best}
    if found == {expected}:
        return None
    called = "one of several: " if expected in found else ""
    return called + (_listed(found) if found else f"no call, {result.reason}")


@dataclass(frozen=True)
class Consensus:
    """Consensus of one gene.

    Attributes
    ----------
    rows : those that name a diplotype
    unreadable : text of those that do not (`*2XN/*17`, `no consensus`), and how often it stands there
    """

    rows: list[dict[str, str]] = field(default_factory=list)
    unreadable: Counter[str] = field(default_factory=Counter)

    @property
    def remarks(self) -> tuple[str, ...]:
        """A line that counts the rows left out, if there are any."""
        texts = ", ".join(f"{text!r} ({number})" for text, number in self.unreadable.items())
        return (f"{self.unreadable.total()} left out, naming no diplotype: {texts}",) if texts else ()


def consensus(path: Path) -> dict[str, Consensus]:
    """Return the unflagged rows of a consensus file by gene, without genes named in other ways than here."""
    found: dict[str, Consensus] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["flag"] or row["gene"] in OTHER_NAMES:
                continue
            gene = found.setdefault(row["gene"], Consensus())
            try:
                Diplotype.parse(row["consensus"])
            except InvalidDiplotypeError:
                gene.unreadable[row["consensus"]] += 1
            else:
                gene.rows.append(row)
    return dict(sorted(found.items()))


def consensus_label(row: Mapping[str, str]) -> str:
    """Sample, gene and consensus, at the start of a line."""
    return f"{row['sample']} {row['gene']} {_canonical(row['consensus'])}"


def sample_sites(row: Mapping[str, str], file: VcfFile) -> Mapping[int, Site]:
    """Return what was seen of a row's gene; nothing of a gene that the tables do not have.

    Raises
    ------
    ValueError : the file does not have the sample, or it could not be read
    """
    return _sample(row["sample"], file).sites.get(row["gene"], {})


def _sample(name: str, file: VcfFile) -> Genotypes:
    if name not in file.genotypes:
        raise ValueError(file.errors.get(name, f"no sample {name} in {file.file}"))
    return file.genotypes[name]


def consensus_name(gene: str, diplotype: Diplotype) -> str:
    """Write a diplotype as the consensus does: coding-strand bases, and CYP2C19*38 still as *1."""
    names = [coding_strand_allele(gene, allele) for allele in diplotype.alleles]
    if gene == "CYP2C19":
        names = ["*1" if name == "*38" else name for name in names]
    return str(Diplotype(*names))


def structure_not_guessed(folder: Path) -> Row:
    """Samples whose CYP2D6 call names no deletion, duplication or hybrid, which a VCF of small variants
    cannot show, however probable the posterior makes one, and nothing but what the matcher found."""
    file = read_vcf(folder / "getrm" / "genotypes.vcf")
    mass = []

    def fault(sample: str) -> str | None:
        (call,) = (item for item in call_genes(_sample(sample, file)) if item.gene == "CYP2D6")
        if call.posterior is not None:
            pairs = call.posterior.diplotypes.items()
            mass.append(sum(p for pair, p in pairs if any(map(_structural, pair.alleles))))
        return next(structure_faults(call), None)

    row = check("CYP2D6 structure never guessed", [*file.genotypes, *file.errors], fault, str)
    number = sum(p >= 0.1 for p in mass)
    at_most = max(mass, default=0.0)
    remark = f"the posterior gives such alleles 10 % or more in {number} samples, at most {at_most:.0%}"
    return replace(row, remarks=(remark,))


def structure_faults(call: GeneCall) -> Iterator[str]:
    """Yield at most one phrase: which allele or diplotype of a call of CYP2D6 a VCF cannot have shown."""
    if call.origin == "outside call":
        return
    found = set() if call.match is None else {item.diplotype for item in call.match.best}
    for pair in filter(None, (*call.diplotypes, call.lookup)):
        named = [allele for allele in pair.alleles if _structural(allele)]
        if named:
            yield f"called {pair}, and a VCF does not show {named[0]}"
            return
        if pair not in found:
            yield f"called {pair}, which the matcher did not find"
            return


def _structural(allele: str) -> bool:
    """Whether small variants cannot define the allele: a hybrid, deletion, tandem or several copies."""
    return Allele.parse(allele).has_structure or allele in TABLES.structural_alleles("CYP2D6")


# ------------------------------------------------------------------------------------------- example_sample


def example_sample(folder: Path) -> Row:
    """PharmCAT's example sample: diplotype, phenotype and score, without what an outside call gives.

    Raises
    ------
    ValueError : the file does not have one sample, or it could not be read
    """
    file = read_vcf(folder / "example_sample" / "sample.vcf")
    names = [*file.genotypes, *file.errors]
    if len(names) != 1:
        raise ValueError(f"{file.file} has {len(names)} samples; give the file of one person")
    genotypes = _sample(names[0], file)
    with (folder / "example_sample" / "expected.csv").open(encoding="utf-8", newline="") as expected:
        rows = [row for row in csv.DictReader(expected) if row["from_outside_call"] != "yes"]

    def fault(row: Mapping[str, str]) -> str | None:
        found = _interpreted(row["gene"], match(row["gene"], genotypes.sites.get(row["gene"], {})))
        asked = (_canonical(row["diplotype"]), row["phenotype"], score_text(row["activity_score"]))
        return None if found == asked else f"{', '.join(found)}; expected {', '.join(asked)}"

    return check("example_sample", rows, fault, lambda row: row["gene"])


def _interpreted(gene: str, result: Match) -> tuple[str, str, str]:
    """Return diplotype, phenotype and score as the example writes them."""
    if result.diplotype is None or result.lookup is None:
        return result.reason or "", "", ""
    if gene == "VKORC1":  # the genotype on the coding strand stands for the phenotype
        bases = coding_strand_pair(gene, result.lookup)
        return str(result.diplotype), f"-1639 {bases}", ""
    meaning = interpret(gene, result.lookup)
    return (
        str(result.diplotype),
        meaning.phenotype or "",
        "" if meaning.score is None else str(meaning.score),
    )
