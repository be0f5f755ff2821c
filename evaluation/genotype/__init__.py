"""What a person's genotype means for a drug, and the record that is written of it.

`meaning` puts together what guidelines, published effects, interacting drugs and the drug's own model say;
`advice`, `model_dose`, `interactions` and `warfarin_chart` are parts of it. `statements` says it in words,
`record` is the data of `genotype.json` and of the page.
"""

from dosewright.evaluation.genotype.meaning import (
    DrugMeaning,
    default_drugs,
    drug_meaning,
    known_drugs,
    named_drug,
)
from dosewright.evaluation.genotype.model_dose import (
    ModelDose,
    OpenGenotypeError,
    model_dose,
    modelled_genotype,
)
from dosewright.evaluation.genotype.record import genotype_record, write_genotype
from dosewright.evaluation.genotype.statements import doubts

__all__ = [
    "DrugMeaning",
    "ModelDose",
    "OpenGenotypeError",
    "default_drugs",
    "doubts",
    "drug_meaning",
    "genotype_record",
    "known_drugs",
    "model_dose",
    "modelled_genotype",
    "named_drug",
    "write_genotype",
]
