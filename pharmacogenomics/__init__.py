"""Genotype to diplotype to phenotype, and to what it does to a drug.

`tables` holds CPIC's numbers by gene, allele and biogeographic group; `alleles` names alleles and pairs them;
`phenotype` applies CPIC's rules; `effects` reads an allele that a population model was fitted without, and
says that this is an assumption; `cohort` draws diplotypes of virtual people from random numbers given to it.
Nothing is borrowed or guessed: an unlisted gene, group or allele is an error. Not for clinical use.
"""

from dosewright.pharmacogenomics.alleles import Diplotype, InvalidDiplotypeError, coding_strand_allele
from dosewright.pharmacogenomics.cohort import NoDistributionError, allele_distribution, draw_diplotypes
from dosewright.pharmacogenomics.effects import (
    AlleleReading,
    Represented,
    UncertainAlleleWarning,
    UnrepresentedAlleleError,
    allele_sum,
    represent,
)
from dosewright.pharmacogenomics.phenotype import activity_score, phenotype
from dosewright.pharmacogenomics.tables import (
    SOURCE,
    ActivityScore,
    UnknownAlleleError,
    UnknownGeneError,
    UnknownGroupError,
    activity_value,
    allele_frequencies,
    biogeographic_groups,
    clinical_function,
    function_alleles,
    genes,
    sample_size,
)

__all__ = [
    "SOURCE",
    "ActivityScore",
    "AlleleReading",
    "Diplotype",
    "InvalidDiplotypeError",
    "NoDistributionError",
    "Represented",
    "UncertainAlleleWarning",
    "UnknownAlleleError",
    "UnknownGeneError",
    "UnknownGroupError",
    "UnrepresentedAlleleError",
    "activity_score",
    "activity_value",
    "allele_distribution",
    "allele_frequencies",
    "allele_sum",
    "biogeographic_groups",
    "clinical_function",
    "coding_strand_allele",
    "draw_diplotypes",
    "function_alleles",
    "genes",
    "phenotype",
    "represent",
    "sample_size",
]
