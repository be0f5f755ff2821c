"""Genotype to diplotype to phenotype, and to what it does to a drug.

A person's road: `vcf` reads a file, `matching` finds the diplotypes that fit, `posterior` says how probable
each is, `outside_calls` adds what a VCF cannot show, `calls` puts them together with `phenotype`;
`recommendation`, `warfarin_dose`, `dpwg` and `effects` say what it means for a drug, `phenoconversion` what
other drugs change. A population's: `cohort` draws diplotypes, `sequencing` the reads of them. All rest on
`tables`, `alleles` and `haplotypes`. Nothing is borrowed or guessed: an unlisted gene, group or allele is an
error, and what was not read is missing. Not for clinical use.
"""

from dosewright.pharmacogenomics.alleles import (
    Allele,
    Diplotype,
    InvalidDiplotypeError,
    coding_strand_allele,
    table_allele,
)
from dosewright.pharmacogenomics.calls import GeneCall, Possibility, call_genes
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
from dosewright.pharmacogenomics.matching import Candidate, Match, lookup_pair, match
from dosewright.pharmacogenomics.outside_calls import OutsideCall, OutsideCallError, read_outside_calls
from dosewright.pharmacogenomics.phenoconversion import (
    InteractingDrug,
    UnknownInteractionError,
    cyp2d6_phenotype,
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
    lookup_keys,
    populations,
    recommend,
    recommended_drugs,
)
from dosewright.pharmacogenomics.sequencing import DRAWS, Reads, Sequencing, sequence
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
from dosewright.pharmacogenomics.tables_diff import Change, differences
from dosewright.pharmacogenomics.vcf import (
    MissingPolicy,
    ReferenceMismatchError,
    UnknownSampleError,
    VcfError,
    VcfFile,
    WrongBuildError,
    read_vcf,
)
from dosewright.pharmacogenomics.warfarin_dose import NotCoveredError, WarfarinDose, warfarin_dose
from dosewright.pharmacogenomics.warfarin_equations import (
    IWPC_CLINICAL,
    IWPC_PHARMACOGENETIC,
    LATER_ALLELES,
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
    "Change",
    "Cohort",
    "DRAWS",
    "Diplotype",
    "DpwgDose",
    "Effect",
    "EffectParameter",
    "GeneCall",
    "Genotypes",
    "IWPC_CLINICAL",
    "IWPC_PHARMACOGENETIC",
    "InteractingDrug",
    "Interpretation",
    "InvalidDiplotypeError",
    "LATER_ALLELES",
    "Match",
    "MissingCovariateError",
    "MissingGeneError",
    "MissingPolicy",
    "NoDistributionError",
    "NoGuidelineError",
    "NotCoveredError",
    "Origin",
    "OutsideCall",
    "OutsideCallError",
    "Possibility",
    "Posterior",
    "Reads",
    "Recommendation",
    "ReferenceMismatchError",
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
    "UnknownSampleError",
    "UnlistedKeyError",
    "UnrepresentedAlleleError",
    "VcfError",
    "VcfFile",
    "WarfarinDose",
    "WarfarinEquation",
    "WarfarinPatient",
    "WrongBuildError",
    "activity_score",
    "allele_distribution",
    "allele_sum",
    "call_genes",
    "coding_strand_allele",
    "cyp2d6_phenotype",
    "cyp2d6_score",
    "differences",
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
    "lookup_keys",
    "lookup_pair",
    "match",
    "phenotype",
    "phenotype_frequencies",
    "populations",
    "posterior",
    "published_rows",
    "read_outside_calls",
    "read_vcf",
    "recommend",
    "recommended_drugs",
    "relative_clearance",
    "represent",
    "sequence",
    "table_allele",
    "warfarin_dose",
    "without_effect",
]
