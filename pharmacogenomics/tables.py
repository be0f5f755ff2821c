"""The genetic tables as typed look-ups: positions, definitions, function, phenotype rules, frequencies.

The tables that ship are `TABLES`. `Tables.read(folder)` reads newer ones: the same CSV files, in the folder
or in sub-folders of it (rows of files with the same name are put together, so that content under another
licence can stand in a file of its own). Nothing is guessed: an unlisted gene, group or allele is an error.
"""

from __future__ import annotations

import csv
import hashlib
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import combinations_with_replacement
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

NO_SCORE = "n/a"
"""CPIC's own value for "no activity score assigned"; a key of the phenotype rules."""

_T = TypeVar("_T")
_AT_LEAST = "≥"  # CPIC's sign for an open copy number, as in *1x≥3
# The columns that are read of each file; a folder may have more files and more columns.
_COLUMNS = {
    "genes.csv": ("gene", "chrom", "strand", "refseq", "reference_allele", "definitions_changed",
                  "functions_changed", "frequencies_changed", "source"),
    "variant_positions.csv": ("gene", "chrom", "vcf_pos", "vcf_ref", "vcf_alts", "rsid", "hgvs_grch38",
                              "cpic_reference_value"),
    "allele_definitions.csv": ("gene", "allele", "vcf_pos", "vcf_ref", "vcf_allele", "hgvs_grch38", "kind"),
    "structural_alleles.csv": ("gene", "allele"),
    "allele_function.csv": ("gene", "allele", "activity_value", "clinical_function"),
    "phenotype_rules.csv": ("gene", "key1", "key2", "phenotype", "ehr_priority"),
    "allele_frequencies.csv": ("gene", "allele", "biogeographic_group", "frequency"),
    "frequency_sample_sizes.csv": ("gene", "biogeographic_group", "n_subjects_total"),
    "vcf_anchoring.csv": ("gene", "hgvs_grch38", "allele", "vcf_pos", "vcf_ref", "vcf_alleles"),
}  # fmt: skip
SUM_TOLERANCE = 1e-3
"""By how much frequencies of one group may miss 1: CPIC's are rounded, and miss it by 2e-7 at most."""
# Variants of which one chromosome may carry several, each counted by itself: those of DPYD, and rs887829 of
# UGT1A1 (*80) beside the long TA repeats (*28, *37). Their frequencies may sum to more than 1.
_COUNTED_APART = frozenset({"DPYD", "UGT1A1"})
_DELETION = re.compile(r"[^:]+:g\.(?P<first>\d+)(?:_(?P<last>\d+))?del")
_OPTIONAL = (
    "vcf_anchoring.csv",
)  # a folder may anchor its insertions and deletions in the tables themselves


class UnknownGeneError(ValueError):
    """The tables have no such gene."""


class UnknownGroupError(ValueError):
    """The tables have no frequencies of this gene for this biogeographic group."""


class UnknownAlleleError(ValueError):
    """The tables do not list this allele of the gene."""


class TablesError(ValueError):
    """A table is missing, or cannot be read."""


@dataclass(frozen=True)
class ActivityScore:
    """An activity value of one allele, or the sum of two.

    Attributes
    ----------
    value : the score, dimensionless (CYP2C9 and DPYD 0 to 2, CYP2D6 0 to 6)
    at_least : True when an allele has an open copy number (`*1x≥3`), so that `value` is a lower bound
    """

    value: float
    at_least: bool = False

    def __add__(self, other: ActivityScore) -> ActivityScore:
        return ActivityScore(self.value + other.value, self.at_least or other.at_least)

    def __str__(self) -> str:
        return f"{_AT_LEAST if self.at_least else ''}{self.value}"


@dataclass(frozen=True)
class Gene:
    """What the tables say about a gene as a whole.

    Attributes
    ----------
    name, chrom, strand, refseq : symbol, GRCh38 chromosome (`chr10`), `+` or `-`, RefSeq accession
    reference_allele : the allele that carries the GRCh38 base everywhere; of CYP2C19 this is *38, not *1
    definitions_changed, functions_changed, frequencies_changed : ISO dates of the last change, "" if unknown
    source : who curates the gene (CPIC or ClinPGx)
    """

    name: str
    chrom: str
    strand: Literal["+", "-"]
    refseq: str
    reference_allele: str
    definitions_changed: str
    functions_changed: str
    frequencies_changed: str
    source: str


@dataclass(frozen=True)
class Position:
    """A place of the genome that tells alleles apart, as it stands in a VCF file (GRCh38, 1-based, forward).

    Attributes
    ----------
    gene, chrom, pos : pos is that of the VCF record; of insertions and deletions the base before
    ref, alts : bases of the record. An `N` in front is any base: a deletion of which no table says what is
        before it (TPMT *47)
    rsid, hgvs : other names of the variant; rsid is "" where there is none
    """

    gene: str
    chrom: str
    pos: int
    ref: str
    alts: tuple[str, ...]
    rsid: str
    hgvs: str

    @property
    def is_indel(self) -> bool:
        """Whether some allele has another length than the reference."""
        return any(len(alt) != len(self.ref) for alt in self.alts)


@dataclass(frozen=True)
class AlleleDefinition:
    """What a chromosome with an allele carries.

    Attributes
    ----------
    gene, name : as the tables name them
    is_reference : whether it is the reference allele of the gene
    core : VCF position to the base that the allele must carry
    either : VCF position to the bases of which any one fits
    """

    gene: str
    name: str
    is_reference: bool
    core: Mapping[int, str]
    either: Mapping[int, frozenset[str]]


@dataclass(frozen=True)
class PhenotypeRule:
    """Phenotype and CPIC's priority for the health record (`"Abnormal/Priority/High Risk"`)."""

    phenotype: str
    ehr_priority: str


@dataclass(frozen=True)
class _Function:
    clinical: str
    activity: ActivityScore | None


@dataclass(frozen=True, eq=False)
class Tables:
    """All tables of one snapshot; read on first use.

    Attributes
    ----------
    folder : where the files are
    name : how the folder is called in messages and sources
    """

    folder: Traversable = field(repr=False)
    name: str

    @classmethod
    def read(cls, folder: str | Path) -> Tables:
        """Read the tables of a folder, all of them, so that an error shows here.

        Raises
        ------
        TablesError : the folder, a file or a column is missing; a file or a cell cannot be read; the tables
            contradict each other: a definition and its position, a gene and its chromosome or its reference
            allele, alleles without a rule, frequencies of alleles that sum to more than 1
        """
        path = Path(folder)
        if not path.is_dir():
            raise TablesError(f"no folder {path}: give the folder that holds genes.csv and the other tables")
        tables = cls(path, str(path))
        for name in _COLUMNS:
            tables._rows(name)
        _ = (tables._genes, tables._positions, tables._definitions, tables._structural)
        _ = (tables._functions, tables._rules, tables._frequencies, tables._sample_sizes, tables._versions)
        tables._check_references()
        for gene in tables.genes():
            tables._check_rules(gene)
            tables._check_frequencies(gene)
        return tables

    @cached_property
    def version(self) -> str:
        """What the tables are a snapshot of: `version.toml` of the folder, else its name, newest change and
        a digest of its content."""
        if "version" in self._versions:
            return str(self._versions["version"])
        newest = max((gene.definitions_changed for gene in self._genes.values()), default="")
        digest = hashlib.sha256()
        for name in _COLUMNS:
            for _, text in self._texts(name):
                digest.update(text.encode())
        when = newest or "at an unknown date"
        return f"tables of {self.name} (changed {when}, sha256 {digest.hexdigest()[:12]})"

    def source(self, gene: str) -> str:
        """Where what is said about a gene comes from, with version and the date of its last change.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        row = self.gene(gene)
        curated = self.version if self.version.startswith(row.source) else f"{row.source}, {self.version}"
        curated = self._versions.get("others", {}).get(row.source, curated)
        dated = f", {gene} definitions changed {row.definitions_changed}" if row.definitions_changed else ""
        return f"{curated}{dated}"

    def genes(self) -> tuple[str, ...]:
        """Every gene of the tables, in alphabetical order."""
        return tuple(sorted(self._genes))

    def gene(self, gene: str) -> Gene:
        """What is said about a gene as a whole.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        if gene not in self._genes:
            raise UnknownGeneError(
                f"gene {gene!r} is not in the tables of {self.version}; use one of {', '.join(self.genes())}"
            )
        return self._genes[gene]

    def positions(self, gene: str) -> tuple[Position, ...]:
        """The positions of a gene's definitions, in order along the chromosome.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return self._positions.get(self.gene(gene).name, ())

    def definitions(self, gene: str) -> tuple[AlleleDefinition, ...]:
        """The alleles that small variants define, the reference allele first.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return self._definitions.get(self.gene(gene).name, ())

    def structural_alleles(self, gene: str) -> tuple[str, ...]:
        """Alleles that no list of small variants defines: deletions, hybrids, tandems.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return self._structural.get(self.gene(gene).name, ())

    def alleles(self, gene: str) -> tuple[str, ...]:
        """Every allele that some table of the gene names: defined, structural, with function or frequency.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        named = [definition.name for definition in self.definitions(gene)]
        named += [*self.structural_alleles(gene), *self.function_alleles(gene)]
        for table in self._frequencies.get(gene, {}).values():
            named += table
        return tuple(dict.fromkeys(named))

    def function_alleles(self, gene: str) -> tuple[str, ...]:
        """Alleles to which a function is assigned, in the tables' order; none for CYP4F2 and VKORC1.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return tuple(self._functions.get(self.gene(gene).name, {}))

    def clinical_function(self, gene: str, allele: str) -> str:
        """Clinical function of an allele, such as `"Decreased function"`.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        UnknownAlleleError : the allele has no function; an unlisted allele is never read as the reference
        """
        return self._function(gene, allele).clinical

    def allele_activity(self, gene: str, allele: str) -> ActivityScore | None:
        """Activity value of an allele, dimensionless, with its `≥`; None where none is assigned.

        Raises
        ------
        UnknownGeneError, UnknownAlleleError : as `clinical_function`
        """
        return self._function(gene, allele).activity

    def scored_by_activity(self, gene: str) -> bool:
        """Whether the phenotype of this gene rests on an activity score (CYP2C9, CYP2D6, DPYD).

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return any(not key2 for _, key2 in self.phenotype_rules(gene))

    def phenotype_rules(self, gene: str) -> Mapping[tuple[str, str], PhenotypeRule]:
        """Rule by key: `(activity score or "n/a", "")`, or the two clinical functions in alphabetical order.

        Empty for CYP4F2 and VKORC1, where the genotype itself is used.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return MappingProxyType(self._rules.get(self.gene(gene).name, {}))

    def rule(self, gene: str, one: str, other: str) -> PhenotypeRule | None:
        """The rule for two alleles; None for a gene without phenotypes.

        Raises
        ------
        UnknownGeneError, UnknownAlleleError : as `clinical_function`
        TablesError : the tables have no rule for the score, or for the pair of functions
        """
        rules = self.phenotype_rules(gene)
        if not rules:
            return None
        if self.scored_by_activity(gene):
            first, second = self.allele_activity(gene, one), self.allele_activity(gene, other)
            key = NO_SCORE if first is None or second is None else str(first + second), ""
        else:
            functions = sorted((self.clinical_function(gene, one), self.clinical_function(gene, other)))
            key = functions[0], functions[1]
        if key not in rules:
            named = " and ".join(part for part in key if part)
            raise TablesError(
                f"phenotype_rules.csv of {self.version} has no rule for {gene} {named} ({one}/{other}); "
                "add it, or correct allele_function.csv"
            )
        return rules[key]

    def _check_rules(self, gene: str) -> None:
        """Raise unless every pair of alleles has a rule; alleles of one function and score are one kind."""
        kinds = {
            (self.clinical_function(gene, name), str(self.allele_activity(gene, name))): name
            for name in self.function_alleles(gene)
        }
        for one, other in combinations_with_replacement(kinds.values(), 2):
            self.rule(gene, one, other)

    def _check_references(self) -> None:
        """Raise unless the reference allele of every gene with definitions has one, and can carry the GRCh38
        base everywhere."""
        for row in self._rows("genes.csv"):
            gene, reference = row["gene"], row["reference_allele"]
            definition = next(iter(self.definitions(gene)), None)  # the reference allele stands first
            if definition is None:
                continue
            if not definition.is_reference:
                raise TablesError(
                    f"{row['_place']}: the reference allele {reference!r} of {gene} has no definition; "
                    "correct it, or add a row of kind reference to allele_definitions.csv"
                )
            for position in self.positions(gene):
                bases = definition.either.get(position.pos, {definition.core.get(position.pos, position.ref)})
                if position.ref not in bases:
                    raise TablesError(
                        f"{row['_place']}: the reference allele {reference!r} of {gene} carries "
                        f"{'|'.join(sorted(bases))} at {position.pos}, where GRCh38 has {position.ref}; name "
                        "the allele that carries the GRCh38 base everywhere"
                    )

    def _check_frequencies(self, gene: str) -> None:
        """Raise if the frequencies of alleles that exclude each other sum to more than 1."""
        for group in () if gene in _COUNTED_APART else self.biogeographic_groups(gene):
            total = sum(self._frequencies[gene][group].values())
            if total > 1 + SUM_TOLERANCE:
                place = next(
                    row["_place"]
                    for row in self._rows("allele_frequencies.csv")
                    if (row["gene"], row["biogeographic_group"]) == (gene, group)
                )
                raise TablesError(
                    f"{place}: the frequencies of {gene} in {group}, of which this row is the first, sum to "
                    f"{total:.4g}; correct them to a sum of 1, the reference allele included"
                )

    def biogeographic_groups(self, gene: str) -> tuple[str, ...]:
        """Groups for which the gene has frequencies, in alphabetical order; none for CYP3A4.

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        """
        return tuple(sorted(self._frequencies.get(self.gene(gene).name, {})))

    def allele_frequencies(self, gene: str, group: str) -> Mapping[str, float]:
        """Frequency (0 to 1) of each allele in a biogeographic group.

        They sum to 1 within rounding, the reference allele included, except for DPYD, whose frequencies are
        per variant (no distribution over haplotypes).

        Raises
        ------
        UnknownGeneError : the gene is not in the tables
        UnknownGroupError : the gene has no frequencies for this group; no other group's are borrowed
        """
        return MappingProxyType(self._of_group(self._frequencies, gene, group))

    def sample_size(self, gene: str, group: str) -> int:
        """Number of subjects behind the frequencies of a gene in a group.

        Raises
        ------
        UnknownGeneError, UnknownGroupError : as `allele_frequencies`
        """
        return self._of_group(self._sample_sizes, gene, group)

    def _of_group(self, table: Mapping[str, Mapping[str, _T]], gene: str, group: str) -> _T:
        self.gene(gene)
        known = table.get(gene, {})
        if group not in known:
            allowed = f"use one of {', '.join(sorted(known))}" if known else "it has none for any group"
            raise UnknownGroupError(
                f"{gene} has no frequencies for the group {group!r} in {self.version}; {allowed}"
            )
        return known[group]

    def _function(self, gene: str, allele: str) -> _Function:
        known = self._functions.get(self.gene(gene).name, {})
        if allele not in known:
            allowed = f"use one of {', '.join(known)}" if known else f"{gene} has no function table"
            raise UnknownAlleleError(
                f"allele {allele!r} of {gene} has no function in {self.version}; {allowed}"
            )
        return known[allele]

    # ------------------------------------------------------------------------------------- reading the files

    def _texts(self, name: str) -> list[tuple[str, str]]:
        """Return (place, text) of every file of this name, in the folder and its sub-folders."""
        found = [(f"{self.name}: {name}", self.folder.joinpath(name))]
        found += [
            (f"{self.name}: {sub.name}/{name}", sub.joinpath(name))
            for sub in sorted(self.folder.iterdir(), key=lambda item: item.name)
            if sub.is_dir()
        ]
        return [(place, _text(file, place)) for place, file in found if file.is_file()]

    def _rows(self, name: str) -> Iterator[dict[str, str]]:
        texts = self._texts(name)
        if not texts and name not in _OPTIONAL:
            raise TablesError(f"{self.name} has no {name}; a folder of tables needs {', '.join(_COLUMNS)}")
        rows: list[dict[str, str]] = []
        for place, text in texts:
            reader = csv.DictReader(text.splitlines())
            missing = [column for column in _COLUMNS[name] if column not in (reader.fieldnames or ())]
            if missing:
                raise TablesError(
                    f"{place} has no column {missing[0]!r}; expected {', '.join(_COLUMNS[name])}"
                )
            for row in reader:
                if None in row.values() or None in row:
                    raise TablesError(f"{place}, line {reader.line_num}: wrong number of cells")
                rows.append(row | {"_place": f"{place}, line {reader.line_num}"})
        return iter(rows)

    @cached_property
    def _versions(self) -> dict[str, Any]:
        """What `version.toml` says; nothing where there is none."""
        file = self.folder.joinpath("version.toml")
        if not file.is_file():
            return {}
        try:
            found = tomllib.loads(_text(file, f"{self.name}/version.toml"))
        except tomllib.TOMLDecodeError as error:
            raise TablesError(f"{self.name}/version.toml: {error}") from None
        if not isinstance(found.get("version"), str) or not isinstance(found.get("others", {}), dict):
            raise TablesError(
                f'{self.name}/version.toml: write version = "CPIC 1.56.0 (2026-05-01)", and under [others] '
                "a line for each curator of single genes"
            )
        return found

    @cached_property
    def _genes(self) -> dict[str, Gene]:
        found: dict[str, Gene] = {}
        for row in self._rows("genes.csv"):
            _once(found, row["gene"], row)
            found[row["gene"]] = Gene(
                row["gene"], row["chrom"], _strand(row), row["refseq"],
                row["reference_allele"], row["definitions_changed"], row["functions_changed"],
                row["frequencies_changed"], row["source"],
            )  # fmt: skip
        return found

    def _gene_of(self, row: Mapping[str, str]) -> Gene:
        if row["gene"] not in self._genes:
            raise TablesError(
                f"{row['_place']}: gene {row['gene']!r} is not in genes.csv; correct it, or add it there"
            )
        return self._genes[row["gene"]]

    @cached_property
    def _anchoring(self) -> dict[tuple[str, str, str], tuple[str, str, str]]:
        """(gene, HGVS, allele or "") to position, reference and alleles in VCF form."""
        return {
            (row["gene"], row["hgvs_grch38"], row["allele"]): (
                row["vcf_pos"], row["vcf_ref"], row["vcf_alleles"]
            )
            for row in self._rows("vcf_anchoring.csv")
        }  # fmt: skip

    @cached_property
    def _positions(self) -> dict[str, tuple[Position, ...]]:
        found: dict[str, dict[int, Position]] = {}
        for row in self._rows("variant_positions.csv"):
            pos, ref, alts = row["vcf_pos"], row["vcf_ref"], row["vcf_alts"]
            if not pos:
                pos, ref, alts = self._anchor(row, "")
            place = _whole(row, pos)
            _bases(row, [ref, *alts.split("|")])
            chrom = self._gene_of(row).chrom
            if row["chrom"] != chrom:
                raise TablesError(
                    f"{row['_place']}: position {place} of {row['gene']} lies on {row['chrom']!r}, the gene "
                    f"on {chrom!r} by genes.csv; correct one of the two"
                )
            if place in found.setdefault(row["gene"], {}):
                raise TablesError(f"{row['_place']}: {row['gene']} has position {place} twice; keep one row")
            found[row["gene"]][place] = Position(
                row["gene"], row["chrom"], place, ref, tuple(alts.split("|")), row["rsid"], row["hgvs_grch38"]
            )
        return {gene: tuple(here[pos] for pos in sorted(here)) for gene, here in found.items()}

    @cached_property
    def _definitions(self) -> dict[str, tuple[AlleleDefinition, ...]]:
        positions = {(item.gene, item.pos): item for here in self._positions.values() for item in here}
        core: dict[tuple[str, str], dict[int, str]] = {}
        either: dict[tuple[str, str], dict[int, frozenset[str]]] = {}
        for row in self._rows("allele_definitions.csv"):
            key = row["gene"], row["allele"]
            core.setdefault(key, {})
            either.setdefault(key, {})
            if self._names_reference(row):
                continue
            place, bases = self._carried(row, positions)
            if place in core[key] or place in either[key]:
                raise TablesError(
                    f"{row['_place']}: {row['gene']} {row['allele']} has position {place} twice; keep one row"
                )
            if row["kind"] == "core" and len(bases) == 1:
                core[key][place] = bases[0]
            elif row["kind"] == "either":
                either[key][place] = frozenset(bases)
            else:
                raise TablesError(
                    f"{row['_place']}: kind {row['kind']!r} with {'|'.join(bases)!r}; expected core or either"
                )
        made: dict[str, list[AlleleDefinition]] = {}
        for gene, allele in core:
            reference = allele == self.gene(gene).reference_allele
            definition = AlleleDefinition(
                gene,
                allele,
                reference,
                MappingProxyType(core[gene, allele]),
                MappingProxyType(either[gene, allele]),
            )
            made.setdefault(gene, []).insert(0 if reference else len(made.get(gene, [])), definition)
        return {gene: tuple(items) for gene, items in made.items()}

    def _names_reference(self, row: Mapping[str, str]) -> bool:
        """Whether a row of the definitions is there to name the gene's reference allele."""
        reference = self._gene_of(row).reference_allele
        if row["kind"] == "reference" and row["allele"] != reference:
            raise TablesError(
                f"{row['_place']}: {row['gene']} {row['allele']} is of the kind reference, but by genes.csv "
                f"the reference allele is {reference!r}; correct one of the two"
            )
        return row["kind"] == "reference"

    def _carried(
        self, row: Mapping[str, str], positions: Mapping[tuple[str, int], Position]
    ) -> tuple[int, list[str]]:
        """Return the position of a row of the definitions, and the bases that the allele may carry there."""
        pos, ref, allele = row["vcf_pos"], row["vcf_ref"], row["vcf_allele"]
        if not pos or "?" in allele:
            pos, ref, allele = self._anchor(row, row["allele"])
        place, bases = _whole(row, pos), allele.split("|")
        what = f"{row['_place']}: {row['gene']} {row['allele']}"
        position = positions.get((row["gene"], place))
        if position is None:
            raise TablesError(
                f"{what} stands at {place}, which is no position of the gene in variant_positions.csv; "
                "correct vcf_pos, or add the position there"
            )
        _bases(row, bases)
        if ref != position.ref:
            raise TablesError(
                f"{what} has the reference {ref!r} at {place}, variant_positions.csv has {position.ref!r}; "
                "correct vcf_ref of one of the two"
            )
        listed = position.ref, *position.alts
        strange = [base for base in bases if base not in listed]
        if strange:
            raise TablesError(
                f"{what} carries {strange[0]!r} at {place}, variant_positions.csv has {', '.join(listed)} "
                "only; correct vcf_allele, or add it to vcf_alts there"
            )
        return place, bases

    def _anchor(self, row: Mapping[str, str], allele: str) -> tuple[str, str, str]:
        """Return position, reference and alleles of a row that lacks them."""
        hgvs = row["hgvs_grch38"]
        if (row["gene"], hgvs, allele) in self._anchoring:
            return self._anchoring[row["gene"], hgvs, allele]
        deletion = _DELETION.fullmatch(hgvs)
        deleted = self._deleted.get((row["gene"], hgvs), "")
        if deletion is not None and deleted:
            first, last = int(deletion["first"]), int(deletion["last"] or deletion["first"])
            if len(deleted) == last - first + 1:
                return str(first - 1), f"N{deleted}", "N"
        raise TablesError(
            f"{row['_place']}: {row['gene']} {hgvs} has no VCF position; "
            "fill vcf_pos, vcf_ref and the alleles, or give them in vcf_anchoring.csv"
        )

    @cached_property
    def _deleted(self) -> dict[tuple[str, str], str]:
        """Gene and HGVS of a position to the bases that CPIC writes for the reference."""
        return {
            (row["gene"], row["hgvs_grch38"]): row["cpic_reference_value"]
            for row in self._rows("variant_positions.csv")
            if re.fullmatch(r"[ACGT]+", row["cpic_reference_value"])
        }

    @cached_property
    def _structural(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, list[str]] = {}
        for row in self._rows("structural_alleles.csv"):
            found.setdefault(row["gene"], []).append(row["allele"])
        return {gene: tuple(names) for gene, names in found.items()}

    @cached_property
    def _functions(self) -> dict[str, dict[str, _Function]]:
        table: dict[str, dict[str, _Function]] = {}
        for row in self._rows("allele_function.csv"):
            entry = _Function(row["clinical_function"], _activity(row))
            _once(table.setdefault(row["gene"], {}), row["allele"], row)
            table[row["gene"]][row["allele"]] = entry
        return table

    @cached_property
    def _rules(self) -> dict[str, dict[tuple[str, str], PhenotypeRule]]:
        table: dict[str, dict[tuple[str, str], PhenotypeRule]] = {}
        for row in self._rows("phenotype_rules.csv"):
            rule = PhenotypeRule(row["phenotype"], row["ehr_priority"])
            _once(table.setdefault(row["gene"], {}), (row["key1"], row["key2"]), row)
            table[row["gene"]][row["key1"], row["key2"]] = rule
        return table

    @cached_property
    def _frequencies(self) -> dict[str, dict[str, dict[str, float]]]:
        table: dict[str, dict[str, dict[str, float]]] = {}
        for row in self._rows("allele_frequencies.csv"):
            group = table.setdefault(row["gene"], {}).setdefault(row["biogeographic_group"], {})
            _once(group, row["allele"], row)
            try:
                group[row["allele"]] = float(row["frequency"])
            except ValueError:
                raise TablesError(f"{row['_place']}: frequency {row['frequency']!r} is no number") from None
            if not 0 <= group[row["allele"]] <= 1:
                raise TablesError(f"{row['_place']}: frequency {row['frequency']} lies outside 0 to 1")
        return table

    @cached_property
    def _sample_sizes(self) -> dict[str, dict[str, int]]:
        table: dict[str, dict[str, int]] = {}
        for row in self._rows("frequency_sample_sizes.csv"):
            _once(table.setdefault(row["gene"], {}), row["biogeographic_group"], row)
            table[row["gene"]][row["biogeographic_group"]] = _whole(row, row["n_subjects_total"])
        return table


def _text(file: Traversable, place: str) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")  # Excel puts a byte-order mark in front
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise TablesError(
            f"{place}, line {line}: not UTF-8; save it again as UTF-8 (in Excel: 'CSV UTF-8')"
        ) from None


def _once(known: Collection[object], key: object, row: Mapping[str, str]) -> None:
    if key in known:
        raise TablesError(f"{row['_place']}: {row['gene']} has {key!r} twice; keep one row")


def _strand(row: Mapping[str, str]) -> Literal["+", "-"]:
    if row["strand"] == "+":
        return "+"
    if row["strand"] == "-":
        return "-"
    raise TablesError(f"{row['_place']}: strand {row['strand']!r} of {row['gene']}; expected + or -")


def _whole(row: Mapping[str, str], cell: str) -> int:
    try:
        return int(cell)
    except ValueError:
        raise TablesError(f"{row['_place']}: {cell!r} is no whole number") from None


def _bases(row: Mapping[str, str], alleles: list[str]) -> None:
    for allele in alleles:
        if not re.fullmatch(r"N?[ACGT]*", allele) or not allele:
            raise TablesError(f"{row['_place']}: {allele!r} is no sequence of A, C, G and T")


def _activity(row: Mapping[str, str]) -> ActivityScore | None:
    cell = row["activity_value"]
    if cell in ("", NO_SCORE):
        return None
    try:
        return ActivityScore(float(cell.removeprefix(_AT_LEAST)), at_least=cell.startswith(_AT_LEAST))
    except ValueError:
        raise TablesError(
            f"{row['_place']}: activity value {cell!r} is no number, {NO_SCORE} or empty"
        ) from None


TABLES = Tables(files("dosewright.pharmacogenomics.data"), "the tables that ship")
"""The tables that ship with the package; licences in the NOTICE.md of each folder of `data/`."""
