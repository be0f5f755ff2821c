"""Diplotype to activity score, phenotype and priority, by CPIC's rules."""

from __future__ import annotations

from dataclasses import dataclass

from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.tables import NO_SCORE, TABLES, ActivityScore, Tables


@dataclass(frozen=True)
class Interpretation:
    """What a diplotype means.

    Attributes
    ----------
    gene, diplotype : what was asked for
    score : activity score; None where the gene has none (`scored` False) or none is assigned
    scored : whether the phenotype of the gene rests on an activity score
    phenotype : as CPIC words it, `"Indeterminate"` where CPIC says so; None for CYP4F2 and VKORC1
    ehr_priority : CPIC's priority for the health record; None where there is no phenotype
    source : curator, version and date of the tables
    """

    gene: str
    diplotype: Diplotype
    score: ActivityScore | None
    scored: bool
    phenotype: str | None
    ehr_priority: str | None
    source: str

    @property
    def key(self) -> str | None:
        """What CPIC's recommendations are looked up by: the activity score of CYP2C9, CYP2D6 and DPYD (`n/a`
        where none is assigned), else the phenotype."""
        if self.scored:
            return NO_SCORE if self.score is None else str(self.score)
        return self.phenotype


def interpret(gene: str, diplotype: Diplotype | str, tables: Tables = TABLES) -> Interpretation:
    """Activity score, phenotype and priority of a diplotype.

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownAlleleError : an allele has no function in the table of a gene that has phenotypes
    InvalidDiplotypeError : the text does not name two alleles
    TablesError : the tables have no rule for the pair
    """
    pair = diplotype if isinstance(diplotype, Diplotype) else Diplotype.parse(diplotype)
    scored = tables.scored_by_activity(gene)
    score = _score(gene, pair, tables) if scored else None
    rule = tables.rule(gene, *pair.alleles)
    return Interpretation(
        gene,
        pair,
        score,
        scored,
        None if rule is None else rule.phenotype,
        None if rule is None else rule.ehr_priority,
        tables.source(gene),
    )


def activity_score(gene: str, diplotype: Diplotype | str, tables: Tables = TABLES) -> ActivityScore | None:
    """Sum of the activity values of the two alleles, dimensionless.

    Returns
    -------
    ActivityScore or None : None where CPIC assigns no score: an allele of uncertain or unknown function, or a
        gene whose phenotype does not rest on a score (all but CYP2C9, CYP2D6 and DPYD)

    Raises
    ------
    UnknownGeneError, UnknownAlleleError, InvalidDiplotypeError : as `interpret`
    """
    return interpret(gene, diplotype, tables).score


def phenotype(gene: str, diplotype: Diplotype | str, tables: Tables = TABLES) -> str | None:
    """Phenotype of a diplotype as CPIC words it, such as `"Poor Metabolizer"`.

    Returns
    -------
    str or None : `"Indeterminate"` where CPIC says so; None for a gene without phenotypes (CYP4F2, VKORC1)

    Raises
    ------
    UnknownGeneError, UnknownAlleleError, InvalidDiplotypeError : as `interpret`
    """
    return interpret(gene, diplotype, tables).phenotype


def _score(gene: str, pair: Diplotype, tables: Tables) -> ActivityScore | None:
    first, second = (tables.allele_activity(gene, allele) for allele in pair.alleles)
    return None if first is None or second is None else first + second
