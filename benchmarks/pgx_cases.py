"""Hold genotype calls against results of others: PharmCAT's unit tests, GeT-RM consensus, its example sample.

Every function takes the folder that holds the cases (`genotype_calls.json`, `getrm/`, `example_sample/`) and
returns rows for `python -m benchmarks.conformance pgx DIR`.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dosewright.pharmacogenomics.alleles import (
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    coding_strand_allele,
)
from dosewright.pharmacogenomics.calls import GeneCall, call_genes
from dosewright.pharmacogenomics.matching import Match, match
from dosewright.pharmacogenomics.phenotype import activity_score, interpret
from dosewright.pharmacogenomics.sites import Origin, Site
from dosewright.pharmacogenomics.tables import TABLES
from dosewright.pharmacogenomics.vcf import read_vcf

CALLS_NEEDED = 0.98
COMPLETE = ("CYP2C9", "CYP2C19", "CYP3A5", "TPMT", "VKORC1")
"""Genes whose GeT-RM consensus must be met in every sample; elsewhere its names are older than the tables."""
OTHER_NAMES = ("DPYD",)
"""Genes whose consensus uses names that the tables do not have."""
NO_CALL = "Unknown/Unknown"


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
        return self.total > 0 and self.passed >= self.needed * self.total


# -------------------------------------------------------------------------------------- genotype_calls.json


def genotype_calls(folder: Path) -> Row:
    """Genotype to diplotype, lookup pair and activity score, of `genotype_calls.json`."""
    cases = json.loads((folder / "genotype_calls.json").read_text(encoding="utf-8"))
    failures, remarks = [], []
    for case in cases:
        try:
            lines = list(_differences(case, match(case["gene"], sites(case))))
        except ValueError as error:
            lines = [str(error)]
        failures += [f"{case['id']}: {'; '.join(lines)}"] if lines else []
        remarks += [f"{case['id']}: {text}" for text in _not_compared(case)]
    return Row(
        "genotype_calls",
        len(cases) - len(failures),
        len(cases),
        CALLS_NEEDED,
        tuple(failures),
        tuple(remarks),
    )


def sites(case: Mapping[str, Any]) -> dict[int, Site]:
    """Turn a case into the sites of its gene; positions without a record are what the case says they are.

    A record at a position that no allele of the tables is defined by is left out.

    Raises
    ------
    ValueError : a record has another reference base than the tables, or a genotype that it does not list
    """
    positions = {position.pos: position for position in TABLES.positions(case["gene"])}
    found = {}
    if case["other_positions"] == "reference":
        found = {
            pos: Site((position.ref,) * 2, origin=Origin.ASSUMED_REFERENCE, note="")
            for pos, position in positions.items()
        }
    for record in case["records"]:
        if record["pos"] in positions:
            found[record["pos"]] = _site(record, positions[record["pos"]].ref)
    return found


def _site(record: Mapping[str, Any], ref: str) -> Site:
    if record["ref"] != ref:
        raise ValueError(f"record {record['pos']} has reference {record['ref']}, the tables have {ref}")
    called = record["gt"].replace("|", "/").split("/")
    if "." in called:
        return Site(note=f"genotype {record['gt']}")
    bases = dict(enumerate([ref, *record["alts"]]))
    if any(int(number) not in bases for number in called):
        raise ValueError(f"record {record['pos']} lists {len(bases)} alleles, its genotype is {record['gt']}")
    phase_set = record.get("ps")
    return Site(
        tuple(bases[int(number)] for number in called),
        phased="|" in record["gt"],
        phase_set=None if phase_set is None else str(phase_set),
        origin=Origin.RECORD,
        note="",
    )


def _differences(case: Mapping[str, Any], result: Match) -> Iterator[str]:
    """Yield what differs from the expected results, a phrase for each."""
    found = _called(case, result)
    expected = {_canonical(text) for text in case["expected_diplotypes"] if text != NO_CALL}
    also = {_canonical(text) for text in case.get("also_accepted", ())}
    if found != expected and not (found and found <= also):
        yield f"called {_listed(found)}, expected {_listed(expected)}" + (
            f" ({result.reason})" if result.reason else ""
        )
        return
    lookup = case.get("expected_lookup_diplotype")
    # an accepted alternative has a lookup of its own
    if lookup and found == expected and not _withdrawn(case) and not _looked_up(lookup, result):
        yield f"looked up {result.lookup}, expected {' and '.join(lookup)}"
    if "expected_activity_score" in case:
        score = None if result.lookup is None else activity_score(case["gene"], result.lookup)
        if str(score) != case["expected_activity_score"]:
            yield f"activity score {score}, expected {case['expected_activity_score']}"


def _called(case: Mapping[str, Any], result: Match) -> set[str]:
    shown = result.best if case["mode"] == "top" else result.candidates
    by_variant = not any("/" in text for text in case["expected_diplotypes"])
    if by_variant and case["expected_diplotypes"]:
        return set(result.variants) or {allele for item in shown for allele in item.diplotype.alleles}
    if not shown and any(text != NO_CALL for text in case["expected_diplotypes"]):
        return {_canonical("/".join(result.variants))} if result.variants else set()
    return {str(item.diplotype) for item in shown}


def _canonical(text: str) -> str:
    """Write a diplotype in one order; what names no diplotype, as a variant alone, is ordered as text."""
    try:
        return str(Diplotype.parse(text))
    except InvalidDiplotypeError:
        return "/".join(sorted(text.split("/")))


def _looked_up(expected: list[str], result: Match) -> bool:
    """Whether the expected alleles are the lookup pair or, where it stays open, one of the best diplotypes.

    Some lists of the cases hold one name only; the other one is then not compared.
    """
    pairs = [result.lookup] if result.lookup else [item.diplotype for item in result.best]
    return any(Counter(expected) <= Counter(pair.alleles) for pair in pairs)


def _withdrawn(case: Mapping[str, Any]) -> list[str]:
    """Return names of the expected lookup that newer tables no longer have."""
    known = TABLES.alleles(case["gene"])
    return [name for name in case.get("expected_lookup_diplotype", ()) if name not in known]


def _not_compared(case: Mapping[str, Any]) -> Iterator[str]:
    for name in _withdrawn(case):
        yield f"lookup not compared, {name} is no allele of {TABLES.version}"
    defined = {position.pos for position in TABLES.positions(case["gene"])}
    for record in case["records"]:
        if record["pos"] not in defined:
            yield f"record {record['pos']} left out, it defines no allele of {TABLES.version}"


def _listed(names: set[str]) -> str:
    return " or ".join(sorted(names)) or "nothing"


# ---------------------------------------------------------------------------------------------------- getrm


def getrm(folder: Path) -> tuple[Row, ...]:
    """Consensus of the reference-material programme, unflagged rows, one row a gene.

    A case passes when the consensus is the only best diplotype; where it is one of several, the line says so.
    """
    genotypes = read_vcf(folder / "getrm" / "genotypes.vcf").genotypes
    passed: Counter[str] = Counter()
    total: Counter[str] = Counter()
    failures: dict[str, list[str]] = {}
    for row in consensus(folder / "getrm" / "consensus.csv"):
        gene, sample = row["gene"], row["sample"]
        if sample not in genotypes:
            raise ValueError(f"{folder}/getrm: consensus.csv has sample {sample}, genotypes.vcf has not")
        result = match(gene, genotypes[sample].sites[gene])
        expected = _canonical(row["consensus"])
        found = {consensus_name(gene, item.diplotype) for item in result.best}
        total[gene] += 1
        if found == {expected}:
            passed[gene] += 1
        else:
            called = "one of several: " if expected in found else ""
            called += _listed(found) if found else f"no call, {result.reason}"
            failures.setdefault(gene, []).append(f"{sample} {gene} {expected}: {called}")
    return tuple(
        Row(
            f"getrm {gene}",
            passed[gene],
            total[gene],
            float(gene in COMPLETE),
            tuple(failures.get(gene, ())),
        )
        for gene in sorted(total)
    )


def consensus(path: Path) -> Iterator[dict[str, str]]:
    """Yield the unflagged rows of a consensus file whose names the tables have."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if not row["flag"] and row["gene"] not in OTHER_NAMES:
                yield row


def consensus_name(gene: str, diplotype: Diplotype) -> str:
    """Write a diplotype as the consensus does: coding-strand bases, and CYP2C19*38 still as *1."""
    names = [coding_strand_allele(gene, allele) for allele in diplotype.alleles]
    if gene == "CYP2C19":
        names = ["*1" if name == "*38" else name for name in names]
    return str(Diplotype(*names))


def structure_not_guessed(folder: Path) -> Row:
    """Samples whose CYP2D6 call names no deletion, duplication or hybrid, which a VCF of small variants
    cannot show, however probable the posterior makes one, and nothing but what the matcher found."""
    failures, mass = [], []
    genotypes = read_vcf(folder / "getrm" / "genotypes.vcf").genotypes
    for sample, seen in genotypes.items():
        (call,) = (item for item in call_genes(seen) if item.gene == "CYP2D6")
        failures += [f"{sample}: {fault}" for fault in structure_faults(call)]
        if call.posterior is not None:
            pairs = call.posterior.diplotypes.items()
            mass.append(sum(p for pair, p in pairs if any(map(_structural, pair.alleles))))
    number = sum(p >= 0.1 for p in mass)
    remark = f"the posterior gives such alleles 10 % or more in {number} samples, at most {max(mass):.0%}"
    n = len(genotypes)
    return Row("CYP2D6 structure never guessed", n - len(failures), n, 1.0, tuple(failures), (remark,))


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
    parsed = Allele.parse(allele)
    more = parsed.kind == "tandem" or any(unit.copies > 1 or unit.at_least for unit in parsed.units)
    return more or allele in TABLES.structural_alleles("CYP2D6")


# ------------------------------------------------------------------------------------------- example_sample


def example_sample(folder: Path) -> Row:
    """PharmCAT's example sample: diplotype, phenotype and score, without what an outside call gives."""
    (genotypes,) = read_vcf(folder / "example_sample" / "sample.vcf").genotypes.values()
    failures, total = [], 0
    with (folder / "example_sample" / "expected.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if row["from_outside_call"] == "yes":
                continue
            total += 1
            found = _interpreted(row["gene"], match(row["gene"], genotypes.sites[row["gene"]]))
            expected = (_canonical(row["diplotype"]), row["phenotype"], row["activity_score"])
            if found != expected:
                failures.append(f"{row['gene']}: {', '.join(found)}; expected {', '.join(expected)}")
    return Row("example_sample", total - len(failures), total, 1.0, tuple(failures))


def _interpreted(gene: str, result: Match) -> tuple[str, str, str]:
    """Return diplotype, phenotype and score as the example writes them."""
    if result.diplotype is None or result.lookup is None:
        return result.reason or "", "", ""
    if gene == "VKORC1":  # the genotype on the coding strand stands for the phenotype
        bases = Diplotype(*(coding_strand_allele(gene, allele) for allele in result.lookup.alleles))
        return str(result.diplotype), f"-1639 {bases}", ""
    meaning = interpret(gene, result.lookup)
    return (
        str(result.diplotype),
        meaning.phenotype or "",
        "" if meaning.score is None else str(meaning.score),
    )
