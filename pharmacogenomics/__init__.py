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
    table_allele,
)
from dosewright.pharmacogenomics.cohort import (
    Cohort,
    NoDistributionError,
    allele_distribution,
    draw_cohort,
    draw_diplotypes,
    phenotype_frequencies,
)
from dosewright.pharmacogenomics.dpwg import DpwgDose, dpwg_doses
from dosewright.pharmacogenomics.effects import (
    AlleleReading,
    Effect,
    EffectParameter,
    Represented,
    UncertainAlleleWarning,
    UnrepresentedAlleleError,
    allele_sum,
    effects,
    published_rows,
    represent,
    without_effect,
)
from dosewright.pharmacogenomics.literature import UnknownDrugError
from dosewright.pharmacogenomics.matching import Candidate, Match, match
from dosewright.pharmacogenomics.phenoconversion import (
    UnknownInteractionError,
    cyp2d6_score,
    individual_factor,
    inhibition,
    interacting_drugs,
    relative_clearance,
)
from dosewright.pharmacogenomics.phenotype import Interpretation, activity_score, interpret, phenotype
from dosewright.pharmacogenomics.posterior import Posterior, expected_alleles, posterior
from dosewright.pharmacogenomics.recommendation import (
    MissingGeneError,
    NoGuidelineError,
    Recommendation,
    UnlistedKeyError,
    lookup_genes,
    populations,
    recommend,
    recommended_drugs,
)
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
from dosewright.pharmacogenomics.warfarin_dose import NotCoveredError, WarfarinDose, warfarin_dose
from dosewright.pharmacogenomics.warfarin_equations import (
    IWPC_CLINICAL,
    IWPC_PHARMACOGENETIC,
    MissingCovariateError,
    UncountedAlleleError,
    WarfarinEquation,
    WarfarinPatient,
    eu_pact_loading,
)

__all__ = [
    "ActivityScore",
    "Allele",
    "AlleleReading",
    "Candidate",
    "Cohort",
    "Diplotype",
    "DpwgDose",
    "Effect",
    "EffectParameter",
    "Genotypes",
    "IWPC_CLINICAL",
    "IWPC_PHARMACOGENETIC",
    "Interpretation",
    "InvalidDiplotypeError",
    "Match",
    "MissingCovariateError",
    "MissingGeneError",
    "NoDistributionError",
    "NoGuidelineError",
    "NotCoveredError",
    "Origin",
    "Posterior",
    "Reads",
    "Recommendation",
    "Represented",
    "Sequencing",
    "Site",
    "TABLES",
    "Tables",
    "TablesError",
    "UncertainAlleleWarning",
    "UncountedAlleleError",
    "UnknownAlleleError",
    "UnknownDrugError",
    "UnknownGeneError",
    "UnknownGroupError",
    "UnknownInteractionError",
    "UnlistedKeyError",
    "UnrepresentedAlleleError",
    "WarfarinDose",
    "WarfarinEquation",
    "WarfarinPatient",
    "activity_score",
    "allele_distribution",
    "allele_sum",
    "coding_strand_allele",
    "cyp2d6_score",
    "dpwg_doses",
    "draw_cohort",
    "draw_diplotypes",
    "effects",
    "eu_pact_loading",
    "expected_alleles",
    "individual_factor",
    "inhibition",
    "interacting_drugs",
    "interpret",
    "lookup_genes",
    "match",
    "phenotype",
    "phenotype_frequencies",
    "populations",
    "posterior",
    "published_rows",
    "recommend",
    "recommended_drugs",
    "relative_clearance",
    "represent",
    "sequence",
    "table_allele",
    "warfarin_dose",
    "without_effect",
]
