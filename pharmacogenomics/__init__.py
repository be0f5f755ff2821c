"""Genotype to diplotype to phenotype, and to what it does to a drug.

`tables` holds CPIC's numbers by gene, allele and biogeographic group; `alleles` names alleles and pairs them;
`phenotype` applies CPIC's rules; `effects` reads an allele that a population model was fitted without, and
says that this is an assumption; `cohort` draws diplotypes of virtual people from random numbers given to it.
Nothing is borrowed or guessed: an unlisted gene, group or allele is an error. Not for clinical use.
"""

from dosewright.pharmacogenomics.alleles import (
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    coding_strand_allele,
)
from dosewright.pharmacogenomics.cohort import (
    Cohort,
    NoDistributionError,
    allele_distribution,
    draw_cohort,
    draw_diplotypes,
    phenotype_frequencies,
)
from dosewright.pharmacogenomics.effects import (
    AlleleReading,
    Represented,
    UncertainAlleleWarning,
    UnrepresentedAlleleError,
    allele_sum,
    represent,
)
from dosewright.pharmacogenomics.matching import Candidate, Match, match
from dosewright.pharmacogenomics.phenotype import Interpretation, activity_score, interpret, phenotype
from dosewright.pharmacogenomics.posterior import Posterior, expected_alleles, posterior
from dosewright.pharmacogenomics.sequencing import Reads, Sequencing, sequence
from dosewright.pharmacogenomics.sites import Genotypes, Origin, Site
from dosewright.pharmacogenomics.tables import (
    TABLES,
    ActivityScore,
    Tables,
    TablesError,
    UnknownAlleleError,
    UnknownGeneError,
    UnknownGroupError,
)

__all__ = [
    "ActivityScore",
    "Allele",
    "AlleleReading",
    "Candidate",
    "Cohort",
    "Diplotype",
    "Genotypes",
    "Interpretation",
    "InvalidDiplotypeError",
    "Match",
    "NoDistributionError",
    "Origin",
    "Posterior",
    "Reads",
    "Represented",
    "Sequencing",
    "Site",
    "TABLES",
    "Tables",
    "TablesError",
    "UncertainAlleleWarning",
    "UnknownAlleleError",
    "UnknownGeneError",
    "UnknownGroupError",
    "UnrepresentedAlleleError",
    "activity_score",
    "allele_distribution",
    "allele_sum",
    "coding_strand_allele",
    "draw_cohort",
    "draw_diplotypes",
    "expected_alleles",
    "interpret",
    "match",
    "phenotype",
    "phenotype_frequencies",
    "posterior",
    "represent",
    "sequence",
]
