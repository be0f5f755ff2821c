"""Drug and genotype to what CPIC recommends, by its own look-up keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import MappingProxyType

from dosewright.pharmacogenomics.actions import (
    NO_RESULT,
    Action,
    SourceRow,
    guidelines,
    row_index,
    source_rows,
)
from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.literature import drug_names
from dosewright.pharmacogenomics.phenoconversion import cyp2d6_phenotype, cyp2d6_score, interacting_drugs
from dosewright.pharmacogenomics.phenotype import interpret
from dosewright.pharmacogenomics.tables import NO_SCORE, TABLES, ActivityScore, Tables
from dosewright.pharmacogenomics.wording import sentences

EVERYONE = "general"
"""Population of drugs whose rows do not tell patients apart."""

_INDETERMINATE = "Indeterminate"
_NONE: Mapping[str, str] = MappingProxyType({})
_POPULATION_WORDS = {
    EVERYONE: "all patients",
    "adults": "adults",
    "pediatrics": "children and adolescents",
    "child >40kg_adult": "children of more than 40 kg and adults",
    "CVI ACS PCI": "acute coronary syndrome or percutaneous coronary intervention",
    "CVI non-ACS non-PCI": "cardiovascular disease without acute coronary syndrome or percutaneous coronary "
    "intervention, such as peripheral arterial disease",
    "NVI": "neurovascular disease, such as stroke or transient ischaemic attack",
    "PHT naive": "no phenytoin before",
    "PHT use >3mos": "phenytoin before, for more than 3 months",
}


class NoGuidelineError(ValueError):
    """No guideline is carried for the drug, or none for this population."""


class MissingGeneError(ValueError):
    """The drug's rows cannot be looked up without a result for this gene."""


class UnlistedKeyError(ValueError):
    """The drug's rows do not have this look-up key."""


@dataclass(frozen=True)
class Recommendation:
    """What CPIC recommends for a drug and a genotype. Not for clinical use.

    Attributes
    ----------
    drug, population : whose rows were looked up; `population_words` says the population in plain words
    lookup : gene to the key that the row was found by: activity score for CYP2C9, CYP2D6 and DPYD, else the
        phenotype; `No Result` for a gene that was not tested
    classification : CPIC's strength: Strong, Moderate, Optional, No Recommendation, n/a
    action : what to do, as structure
    row : the row of CPIC's database, with guideline, citations and date
    text : one or two sentences made from `action`
    notes : what else a reader must know, in sentences: an untested gene, an inhibitor, a newer guideline
    source : tables that the diplotypes were read by, one for each gene; "" if none was read
    """

    drug: str
    population: str
    lookup: Mapping[str, str]
    classification: str
    action: Action
    row: SourceRow
    text: str
    notes: tuple[str, ...]
    source: str

    @property
    def untested(self) -> tuple[str, ...]:
        """Genes of the row without a result."""
        return tuple(gene for gene, key in self.lookup.items() if key == NO_RESULT)


def recommended_drugs() -> tuple[str, ...]:
    """Every drug with recommendations, in alphabetical order. Warfarin has none: `warfarin_dose`."""
    return tuple(sorted(guidelines()))


def populations(drug: str) -> tuple[str, ...]:
    """Populations of a drug's rows, as CPIC names them, in its order.

    Raises
    ------
    NoGuidelineError : the drug has no recommendations
    """
    return tuple(dict.fromkeys(row.population for row in source_rows(_listed(drug))))


def population_words(population: str) -> str:
    """Say in plain words whom rows are for; CPIC names populations by codes (`CVI ACS PCI`).

    Raises
    ------
    NoGuidelineError : no drug has rows for the population
    """
    if population not in _POPULATION_WORDS:
        raise NoGuidelineError(
            f"no drug has recommendations for population {population!r}; "
            f"use one of {', '.join(map(repr, _POPULATION_WORDS))}"
        )
    return _POPULATION_WORDS[population]


def lookup_genes(drug: str) -> tuple[str, ...]:
    """Genes that a drug's rows are looked up by, in alphabetical order.

    Raises
    ------
    NoGuidelineError : the drug has no recommendations
    """
    return guidelines()[_listed(drug)].genes


def lookup_keys(drug: str, gene: str) -> tuple[str, ...]:
    """Keys of a gene that a drug's rows are looked up by, in CPIC's order.

    Raises
    ------
    NoGuidelineError : the drug has no recommendations
    """
    name = _listed(drug)
    return tuple(
        dict.fromkeys(lookup[gene] for row in source_rows(name) for lookup in row.lookups if gene in lookup)
    )


def recommend(
    drug: str,
    diplotypes: Mapping[str, Diplotype | str],
    population: str = EVERYONE,
    inhibitors: Sequence[str] | str = (),
    keys: Mapping[str, str] = _NONE,
    tables: Tables = TABLES,
) -> Recommendation:
    """Look up what CPIC recommends.

    Parameters
    ----------
    drug : generic name, any case
    diplotypes : gene to diplotype; a gene that was not tested is left out, and genes that the drug's rows do
        not use change nothing
    population : one of `populations(drug)`; `general` is also that of a drug that has one population only
    inhibitors : drugs that are taken too, or the name of one; of all keys only the CYP2D6 score changes with
        them. The drug itself is not counted: what it does to its own enzyme is in the evidence for its rows
    keys : gene to look-up key, for results that no diplotype gives (`{"HLA-B": "*15:02 negative"}`);
        it counts before a diplotype of the same gene
    tables : from which diplotypes get their activity score or phenotype

    Raises
    ------
    NoGuidelineError : nothing is carried for the drug, or for the population
    MissingGeneError : a diplotype is None, or CPIC has no row without a result for a gene that was not given
    UnlistedKeyError : the drug's rows do not have the score or phenotype, or an inhibitor makes of an open
        copy number a score without phenotype (`≥2.0`)
    UnknownAlleleError, InvalidDiplotypeError : as `interpret`
    UnknownDrugError : as `cyp2d6_score`

    Source
    ------
    CPIC's recommendations, database 1.30.0 (2023-08) with the changes of 2023-10 and 2024-03, read by hand.
    """
    name = _listed(drug)
    notes: list[str] = []
    population = _population(name, population, notes)
    lookup = {gene: _key(name, gene, diplotypes, keys, notes, tables) for gene in lookup_genes(name)}
    _convert(name, lookup, inhibitors, notes)
    row = _row(name, row_index(name, population), lookup)
    notes += [f"{gene} was not tested" for gene, key in lookup.items() if key == NO_RESULT]
    notes += [note for note in (row.action.note, row.guideline.note) if note]
    read = [gene for gene in lookup if gene in diplotypes]
    return Recommendation(
        name,
        population,
        MappingProxyType(lookup),
        row.classification,
        row.action,
        row,
        sentences(name, row.action),
        tuple(notes),
        "; ".join(dict.fromkeys(tables.source(gene) for gene in read)),
    )


def _listed(drug: str) -> str:
    name = drug.strip().lower()
    if name == "warfarin":
        raise NoGuidelineError("warfarin is dosed by an equation, not looked up; use warfarin_dose")
    if name not in guidelines():
        near = get_close_matches(name, guidelines(), n=3)
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else f"there are some for {', '.join(recommended_drugs())}"
        )
        raise NoGuidelineError(f"no recommendations for drug {drug!r}; {hint}")
    return name


def _population(drug: str, asked: str, notes: list[str]) -> str:
    """Return the population whose rows count: the only one of the drug where none was chosen."""
    known = populations(drug)
    if asked in known:
        return asked
    if asked == EVERYONE and len(known) == 1:
        notes.append(f"the recommendations for {drug} are for {population_words(known[0])}")
        return known[0]
    choices = "; ".join(f"{name!r}: {population_words(name)}" for name in known)
    raise NoGuidelineError(
        f"{drug} has no recommendations for population {asked!r}; give one of those it has ({choices})"
    )


def _key(
    drug: str,
    gene: str,
    diplotypes: Mapping[str, Diplotype | str],
    keys: Mapping[str, str],
    notes: list[str],
    tables: Tables,
) -> str:
    """Return the look-up key of a gene: the result given from outside, else that of the diplotype."""
    if gene in diplotypes and diplotypes[gene] is None:
        raise MissingGeneError(
            f"diplotypes[{gene!r}] is None; leave {gene} out if it was not tested, "
            f"or give its result in keys, one of {', '.join(lookup_keys(drug, gene))}"
        )
    if gene in diplotypes and gene not in tables.genes():
        raise UnlistedKeyError(
            f"{gene} {diplotypes[gene]}: {gene} has no allele tables; give its result as "
            f"keys={{{gene!r}: ...}}, one of {', '.join(lookup_keys(drug, gene))}"
        )
    read = interpret(gene, diplotypes[gene], tables).key if gene in diplotypes else None
    if gene not in keys:
        return NO_RESULT if read is None else read
    given = keys[gene]
    if given not in lookup_keys(drug, gene):
        raise UnlistedKeyError(
            f"keys[{gene!r}] is {given!r}; the rows of {drug} have {', '.join(lookup_keys(drug, gene))}"
        )
    if read not in (None, given):
        notes.append(f"{gene}: {given} was given and counts; {diplotypes[gene]} would mean {read}")
    return given


def _convert(drug: str, lookup: dict[str, str], inhibitors: Sequence[str] | str, notes: list[str]) -> None:
    """Put the CYP2D6 score under the inhibitors in place of that of the genotype."""
    given = drug_names(inhibitors)
    others = tuple(name for name in given if name != drug)
    if others != given:
        notes.append(f"{drug} itself is not counted as an inhibitor of its own look-up")
    key = lookup.get("CYP2D6", NO_RESULT)
    score = None if key in (NO_RESULT, NO_SCORE) else _score(key)
    new, changes = cyp2d6_score(score, others)
    notes += [
        f"{row.drug} is a {row.strength} {row.role} of {gene}, which the look-up does not take into account"
        for gene in lookup if gene != "CYP2D6" or key == NO_RESULT
        for row in interacting_drugs(gene) if row.drug in others and row.strength != "weak"
    ]  # fmt: skip
    if key != NO_RESULT:
        notes += changes
    if new is not None:
        lookup["CYP2D6"] = _listed_score(drug, new, notes)


def _listed_score(drug: str, score: ActivityScore, notes: list[str]) -> str:
    """Return the score as a key; of one that only an inhibitor can make, the next key of its phenotype."""
    keys = lookup_keys(drug, "CYP2D6")
    if str(score) in keys:
        return str(score)
    phenotype = cyp2d6_phenotype(score)
    if phenotype == _INDETERMINATE:
        raise UnlistedKeyError(
            f"CYP2D6 score {score} under the inhibitors leaves the phenotype open: the number of copies "
            "decides; give the diplotype with it"
        )
    values = sorted(
        _score(key).value
        for key in keys
        if key not in (NO_RESULT, NO_SCORE) and not _score(key).at_least
        and cyp2d6_phenotype(_score(key)) == phenotype
    )  # fmt: skip
    nearest = max((value for value in values if value <= score.value), default=values[0])
    notes.append(f"CYP2D6 score {score} has no row: looked up as {nearest}, {phenotype} too")
    return str(nearest)


def _score(key: str) -> ActivityScore:
    return ActivityScore(float(key.removeprefix("≥")), key.startswith("≥"))


def _row(
    drug: str, index: Mapping[frozenset[tuple[str, str]], SourceRow], lookup: Mapping[str, str]
) -> SourceRow:
    found = index.get(frozenset(lookup.items()))
    if found is not None:
        return found
    for gene, key in lookup.items():
        if key not in (*lookup_keys(drug, gene), NO_RESULT):
            known = ", ".join(lookup_keys(drug, gene))
            raise UnlistedKeyError(f"{gene} {key} has no row among those of {drug}; they have {known}")
    missing = [gene for gene, key in lookup.items() if key == NO_RESULT]
    raise MissingGeneError(
        f"{drug} cannot be looked up without a result for {' or '.join(missing)}; "
        f"give its diplotype in diplotypes, or its key in keys"
    )
