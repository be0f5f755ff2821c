"""Diplotype to activity score and phenotype, by CPIC's rules."""

from dosewright.pharmacogenomics.alleles import Diplotype
from dosewright.pharmacogenomics.tables import (
    NO_SCORE,
    ActivityScore,
    allele_activity,
    clinical_function,
    phenotype_rules,
    scored_by_activity,
)


def activity_score(gene: str, diplotype: Diplotype | str) -> ActivityScore | None:
    """Sum of the activity values of the two alleles, dimensionless [CPIC 1.56.0].

    Returns
    -------
    ActivityScore or None : None where CPIC assigns no score: an allele of uncertain or unknown function, or a
        gene whose phenotype does not rest on a score (all but CYP2C9, CYP2D6 and DPYD)

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownAlleleError : an allele is not in CPIC's table of a gene that has scores
    InvalidDiplotypeError : the text does not name two alleles
    """
    pair = _as_diplotype(diplotype)
    if not scored_by_activity(gene):
        return None
    first, second = (allele_activity(gene, allele) for allele in pair.alleles)
    return None if first is None or second is None else first + second


def phenotype(gene: str, diplotype: Diplotype | str) -> str | None:
    """Phenotype of a diplotype as CPIC words it, such as `"Poor Metabolizer"` [CPIC 1.56.0].

    Returns
    -------
    str or None : `"Indeterminate"` where CPIC says so; None for a gene without phenotypes (CYP4F2, VKORC1)

    Raises
    ------
    UnknownGeneError : the gene is not in the tables
    UnknownAlleleError : an allele is not in CPIC's table of a gene that has phenotypes
    InvalidDiplotypeError : the text does not name two alleles
    """
    pair = _as_diplotype(diplotype)
    rules = phenotype_rules(gene)
    if not rules:
        return None
    if scored_by_activity(gene):
        score = activity_score(gene, pair)
        return rules[NO_SCORE if score is None else str(score), ""]
    first, second = sorted(clinical_function(gene, allele) for allele in pair.alleles)
    return rules[first, second]


def _as_diplotype(diplotype: Diplotype | str) -> Diplotype:
    return diplotype if isinstance(diplotype, Diplotype) else Diplotype.parse(diplotype)
