"""What interacting drugs do to the enzymes of a person's genes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from dosewright.evaluation.genotype.model_dose import ModelDose
from dosewright.pharmacogenomics import (
    ActivityScore,
    GeneCall,
    InteractingDrug,
    cyp2d6_phenotype,
    cyp2d6_score,
    individual_factor,
    inhibition,
    interacting_drugs,
)


@dataclass(frozen=True)
class GeneInteraction:
    """An interacting drug and the enzyme of one gene.

    Attributes
    ----------
    drug, gene, role, strength : as FDA classes them
    source : where that is published, and where it stands here
    inhibition : share of the enzyme's activity that is lost, low to high, as the drug's class says; None for
        an inducer, and for CYP2D6, of which the score changes
    score, phenotype : of CYP2D6 while all interacting drugs are taken; None for others, or without a score
    clearance : factor on the drug's clearance in this genotype, low to high, from the share that goes through
        the enzyme as the scenario has it; None where no scenario says it
    reference_clearance : the same in the reference genotype of the model
    fm, fm_source : that share, and its source
    note : what else must be known, a sentence or ""
    """

    drug: str
    gene: str
    role: Literal["inhibitor", "inducer"]
    strength: str
    source: str
    inhibition: tuple[float, float] | None
    score: str | None
    phenotype: str | None
    clearance: tuple[float, float] | None
    reference_clearance: tuple[float, float] | None
    fm: float | None
    fm_source: str
    note: str


def gene_interactions(
    calls: Sequence[GeneCall], drugs: Sequence[str], model: ModelDose | None
) -> tuple[tuple[GeneInteraction, ...], dict[str, str]]:
    """Interactions of drugs with the enzymes of genes, and for each drug that has none a sentence.

    Parameters
    ----------
    calls : of the genes that matter
    drugs : names as `drug_names` gives them, known to the table
    model : of the drug that is taken with them; None where there is none
    """
    found: list[GeneInteraction] = []
    idle: dict[str, str] = {}
    for drug in drugs:
        here = [
            _interaction(call, row, drugs, model)
            for call in calls
            for row in interacting_drugs(call.gene)
            if row.drug == drug
        ]
        found += here
        if not here:
            genes = ", ".join(call.gene for call in calls) or "no gene"
            idle[drug] = f"the table of interacting drugs does not link {drug} with {genes}"
    return tuple(found), idle


def _interaction(
    call: GeneCall, row: InteractingDrug, drugs: Sequence[str], model: ModelDose | None
) -> GeneInteraction:
    lost, note = None, row.note
    score = phenotype = None
    if row.role == "inducer":
        note = "; ".join(filter(None, (note, "the tables give no size of an induction")))
    elif call.gene == "CYP2D6":
        score, phenotype, note = _converted(call, drugs)
    else:
        known = inhibition(call.gene, row.drug)
        lost = known.low, known.high
    made = GeneInteraction(
        row.drug, call.gene, row.role, row.strength, f"{row.source}, {row.place}", lost, score, phenotype,
        None, None, None, "", note,
    )  # fmt: skip
    return made if model is None or lost is None else _through_enzyme(made, lost, model)


def _through_enzyme(made: GeneInteraction, lost: tuple[float, float], model: ModelDose) -> GeneInteraction:
    """Add the factor on clearance, where the scenario's clinic has an interaction through the enzyme."""
    for item in model.scenario.preset("clinic").interactions:
        if item.enzyme is not None and item.enzyme.gene == made.gene:
            fm, ratio = item.enzyme.fm, model.ratio(made.gene, item.parameter)
            low, high = (1 - fm * share for share in reversed(lost))
            own = (float(individual_factor(factor, fm, ratio)) for factor in (low, high))
            return replace(
                made,
                clearance=(next(own), next(own)),
                reference_clearance=(low, high),
                fm=fm,
                fm_source=f"{item.enzyme.flag}: {item.enzyme.source}",
            )
    return made


def _converted(call: GeneCall, drugs: Sequence[str]) -> tuple[str | None, str | None, str]:
    """Score and phenotype of CYP2D6 under all the drugs, and how they came about."""
    score = None
    if call.score is not None:
        score = ActivityScore(float(call.score.removeprefix("≥")), call.score.startswith("≥"))
    new, notes = cyp2d6_score(score, drugs)
    said = "; ".join(notes)
    return (None, None, said) if new is None else (str(new), cyp2d6_phenotype(new), said)
