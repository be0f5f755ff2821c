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
from dosewright.pharmacogenomics.cohort import NoDistributionError, allele_distribution, draw_diplotypes
from dosewright.pharmacogenomics.effects import (
    AlleleReading,
    Represented,
    UncertainAlleleWarning,
    UnrepresentedAlleleError,
    allele_sum,
    represent,
)
from dosewright.pharmacogenomics.phenotype import Interpretation, activity_score, interpret, phenotype
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
    "TABLES",
    "ActivityScore",
    "Allele",
    "AlleleReading",
    "Diplotype",
    "Interpretation",
    "InvalidDiplotypeError",
    "NoDistributionError",
    "Represented",
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
    "draw_diplotypes",
    "interpret",
    "phenotype",
    "represent",
]
