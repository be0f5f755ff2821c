"""What a chromosome with an allele shows at every position of its gene.

The link between a hidden diplotype and what a sequencer sees: `sequencing` simulates from it, `posterior`
reasons back. Gene copies are counted: a deletion shows nothing, a duplication the same base twice, a tandem
(`*36+*10`) the bases of each of its copies.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from dosewright.pharmacogenomics.alleles import Allele
from dosewright.pharmacogenomics.tables import AlleleDefinition, Position, Tables

Copies = tuple[frozenset[str], ...]
"""Bases that each gene copy of a chromosome may have at one position; () where no copy can be seen."""


@dataclass(frozen=True, eq=False)
class Haplotypes:
    """The alleles of a gene as columns of bases.

    Attributes
    ----------
    gene : its symbol
    names : (k,) alleles
    positions : (p,) positions that the tables define
    shown : (p,) different contents at each position, as `Copies`; the first is that of most alleles
    which : (p, k) index into `shown` of each allele
    copies : (k,) gene copies that small variants can be seen on: 0 for a deletion or a hybrid with the
        pseudogene, 2 for `*1x2`, and for `*1x≥3` the least number
    """

    gene: str
    names: tuple[str, ...]
    positions: tuple[Position, ...]
    shown: tuple[tuple[Copies, ...], ...]
    which: NDArray[np.intp]
    copies: NDArray[np.intp]


@lru_cache(maxsize=64)
def haplotypes(gene: str, names: tuple[str, ...], tables: Tables) -> Haplotypes:
    """Lay out alleles by position.

    A copy whose sequence no list of small variants defines (a deletion, a CYP2D6 hybrid with CYP2D7) shows
    nothing at any position (ASSUMPTION for hybrids, whose remaining exons short reads cannot place).

    Parameters
    ----------
    gene, names : the gene, and alleles of it as the tables name them

    Raises
    ------
    UnknownGeneError, InvalidDiplotypeError : the gene is not in the tables; a name has no known form
    """
    definitions = {item.name: item for item in tables.definitions(gene)}
    positions = tables.positions(gene)
    units = [_units(name, definitions) for name in names]
    shown: list[tuple[Copies, ...]] = []
    which = np.zeros((len(positions), len(names)), dtype=np.intp)
    for row, position in enumerate(positions):
        contents = [tuple(_bases(unit, position) for unit in copies) for copies in units]
        # the commonest first, so that what tells alleles apart is sparse
        kinds = sorted(set(contents), key=lambda item: (-contents.count(item), str(item)))
        shown.append(tuple(kinds))
        which[row] = [kinds.index(content) for content in contents]
    copies = np.array([len(copies) for copies in units], dtype=np.intp)
    return Haplotypes(gene, names, positions, tuple(shown), which, copies)


def _units(name: str, definitions: dict[str, AlleleDefinition]) -> list[AlleleDefinition]:
    """Return the definition of every gene copy that can be seen."""
    if name in definitions:  # *80+*28 of UGT1A1 is two variants on one copy, not two copies
        return [definitions[name]]
    allele = Allele.parse(name)
    if allele.kind == "combination":  # variants of DPYD on one copy
        return [_joined(name, [definitions[unit.name] for unit in allele.units])]
    return [
        definitions[unit.name]
        for unit in allele.units
        if unit.name in definitions
        for _ in range(unit.copies)
    ]


def _joined(name: str, parts: list[AlleleDefinition]) -> AlleleDefinition:
    core = {pos: base for part in parts for pos, base in part.core.items()}
    either = {pos: bases for part in parts for pos, bases in part.either.items() if pos not in core}
    return AlleleDefinition(parts[0].gene, name, False, core, either)


def _bases(definition: AlleleDefinition, position: Position) -> frozenset[str]:
    if position.pos in definition.either:
        return definition.either[position.pos]
    return frozenset({definition.core.get(position.pos, position.ref)})
