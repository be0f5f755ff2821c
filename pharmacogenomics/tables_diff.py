"""What changed between two snapshots of the tables: positions, definitions, functions, rules, frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dosewright.pharmacogenomics.tables import AlleleDefinition, Position, Tables


@dataclass(frozen=True)
class Change:
    """One difference.

    Attributes
    ----------
    gene : its symbol
    what : kind of entry: `gene`, `position`, `definition`, `structural allele`, `function`, `rule`,
        `frequency` or `sample size`
    name : which one, such as `*2 in European`
    old, new : what it says, as text; None where it is absent
    """

    gene: str
    what: str
    name: str
    old: str | None
    new: str | None

    def __str__(self) -> str:
        named = f"{self.gene} {self.what}{' of ' + self.name if self.name else ''}"
        return f"{named}: {'absent' if self.old is None else self.old} -> {self.new or 'absent'}"


def differences(old: Tables, new: Tables) -> tuple[Change, ...]:
    """Every entry that is not the same in both, by gene.

    Parameters
    ----------
    old, new : two snapshots

    Returns
    -------
    () where both say the same; how the files are laid out does not matter
    """
    found: list[Change] = []
    for gene in sorted({*old.genes(), *new.genes()}):
        before, after = _entries(old, gene), _entries(new, gene)
        for what in after:
            for name in dict.fromkeys([*before[what], *after[what]]):
                one, other = before[what].get(name), after[what].get(name)
                if one != other:
                    found.append(Change(gene, what, name, one, other))
    return tuple(found)


def _entries(tables: Tables, gene: str) -> dict[str, dict[str, str]]:
    """Return what the tables say about a gene: kind -> name -> text."""
    if gene not in tables.genes():
        kinds = (
            "gene",
            "position",
            "definition",
            "structural allele",
            "function",
            "rule",
            "frequency",
            "sample size",
        )
        return {kind: {} for kind in kinds}
    about = tables.gene(gene)
    groups = tables.biogeographic_groups(gene)
    return {
        "gene": {"": f"{about.chrom}{about.strand} {about.refseq}, reference {about.reference_allele}"},
        "position": {str(position.pos): _position(position) for position in tables.positions(gene)},
        "definition": {item.name: _definition(item) for item in tables.definitions(gene)},
        "structural allele": dict.fromkeys(tables.structural_alleles(gene), "listed"),
        "function": {allele: _function(tables, gene, allele) for allele in tables.function_alleles(gene)},
        "rule": {
            " + ".join(part for part in key if part): f"{rule.phenotype}, {rule.ehr_priority}"
            for key, rule in tables.phenotype_rules(gene).items()
        },
        "frequency": {
            f"{allele} in {group}": f"{frequency:.10g}"
            for group in groups
            for allele, frequency in tables.allele_frequencies(gene, group).items()
        },
        "sample size": {group: str(tables.sample_size(gene, group)) for group in groups},
    }


def _position(position: Position) -> str:
    return (
        f"{position.chrom}:{position.pos} {position.ref}>{'|'.join(position.alts)} {position.rsid}".rstrip()
    )


def _definition(item: AlleleDefinition) -> str:
    carried: Mapping[int, str] = dict(item.core) | {
        pos: "|".join(sorted(bases)) for pos, bases in item.either.items()
    }
    return ", ".join(f"{pos} {bases}" for pos, bases in sorted(carried.items())) or "reference"


def _function(tables: Tables, gene: str, allele: str) -> str:
    activity = tables.allele_activity(gene, allele)
    return tables.clinical_function(gene, allele) + ("" if activity is None else f", {activity}")
