"""What a person's genotype means for a drug: guidelines, published effects, interacting drugs, our model."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from dosewright.envs import names, scenario
from dosewright.evaluation.genotype.advice import Advice, cpic_advice, cyp2d6_left, not_excluded, remaining
from dosewright.evaluation.genotype.interactions import GeneInteraction, gene_interactions
from dosewright.evaluation.genotype.model_dose import (
    ModelDose,
    OpenGenotypeError,
    model_dose,
    modelled_genotype,
)
from dosewright.evaluation.genotype.warfarin_chart import ChartDose, chart_doses
from dosewright.pharmacogenomics import (
    TABLES,
    Diplotype,
    DpwgDose,
    Effect,
    GeneCall,
    NoGuidelineError,
    Tables,
    UnknownAlleleError,
    UnknownDrugError,
    cyp2d6_score,
    dpwg_doses,
    drug_names,
    effects,
    lookup_genes,
    published_rows,
    recommended_drugs,
    without_effect,
)

_ABBREVIATIONS = {
    "UM": "Ultrarapid Metabolizer",
    "NM": "Normal Metabolizer",
    "IM": "Intermediate Metabolizer",
    "PM": "Poor Metabolizer",
}
# DPWG names the pairs of these alleles one by one; its "other IM" and "other PM" have another allele
_DPWG_NAMES = {"CYP2C9": {"*1", "*2", "*3"}}


@dataclass(frozen=True)
class DrugMeaning:
    """What the calls of one person mean for a drug. Not for clinical use.

    Attributes
    ----------
    drug : generic name, lower case
    genes : those that anything here rests on, in alphabetical order
    open_genes : gene -> why it has no result, or no single one, for those without
    unsettled : genes of which another result is not excluded, the open ones among them
    advice : CPIC's, one for each population
    no_guideline : why CPIC has none for the drug; "" where it has one, and for warfarin
    chart : of warfarin, CPIC's flow chart for a stated person; empty for all others
    dpwg : doses of the Dutch guidelines for these genotypes
    no_dpwg : genes that DPWG has doses of the drug for, but none for this genotype, one sentence each
    published : published multipliers for these genotypes
    unpublished : genes without one, one sentence each
    interactions : what the interacting drugs do to the genes' enzymes
    no_interaction : interacting drugs that nothing links with the genes, one sentence each
    model : what the drug's own model says; None where there is none
    no_model : why there is none; "" where there is one
    """

    drug: str
    genes: tuple[str, ...]
    open_genes: Mapping[str, str]
    unsettled: tuple[str, ...]
    advice: tuple[Advice, ...]
    no_guideline: str
    chart: tuple[ChartDose, ...]
    dpwg: tuple[DpwgDose, ...]
    no_dpwg: tuple[str, ...]
    published: tuple[Effect, ...]
    unpublished: tuple[str, ...]
    interactions: tuple[GeneInteraction, ...]
    no_interaction: tuple[str, ...]
    model: ModelDose | None
    no_model: str


def known_drugs() -> tuple[str, ...]:
    """Every drug that anything is known of by genotype, in alphabetical order, and every scenario's."""
    return tuple(sorted({*names(), *recommended_drugs(), *(row.drug for row in published_rows())}))


def default_drugs() -> tuple[str, ...]:
    """The scenarios' drugs that a pharmacogene matters to."""
    return tuple(drug for drug in names() if drug_genes(drug))


def named_drug(drug: str) -> str:
    """Name of a drug as it is listed: lower case.

    Raises
    ------
    UnknownDrugError : nothing is known of it by genotype, and it is no scenario's
    """
    name, known = drug.strip().lower(), known_drugs()
    if name not in known:
        near = get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
        raise UnknownDrugError(f"unknown drug {drug!r}; {hint}")
    return name


def drug_genes(drug: str) -> tuple[str, ...]:
    """Genes that a guideline, a published effect or the drug's own model looks at, in alphabetical order."""
    genes = {row.gene for row in dpwg_doses(drug)}
    genes |= {row.gene for row in published_rows() if row.drug == drug and row.gene}
    if drug in recommended_drugs():
        genes |= set(lookup_genes(drug))
    if drug in names():
        genes |= {term.gene for term in scenario(drug).model.genotype_terms}
    return tuple(sorted(genes | ({"CYP4F2"} if drug == "warfarin" else set())))


def drug_meaning(
    drug: str,
    calls: Sequence[GeneCall],
    inhibitors: Sequence[str] | str = (),
    ancestry: Mapping[str, float] | str | None = None,
    tables: Tables = TABLES,
) -> DrugMeaning:
    """What the calls mean for a drug.

    Parameters
    ----------
    drug : one of `known_drugs`, any case
    calls : of one person, as `call_genes` gives them
    inhibitors : generic names of drugs that are taken too, inducers also; a text is one name
    ancestry : as it was given to `call_genes`; warfarin's flow chart branches on it
    tables : those by which the genes were called

    Raises
    ------
    UnknownDrugError : the drug is not known, or the table of interacting drugs lacks one of them
    """
    name = named_drug(drug)
    others = tuple(other for other in drug_names(inhibitors) if other != name)
    cyp2d6_score(None, others)  # refuses an unknown name, whatever the drug's genes are
    genes = drug_genes(name)
    called = {call.gene: call for call in calls if call.gene in genes}
    chart = chart_doses(called, others, ancestry, tables) if name == "warfarin" else ()
    open_genes = {gene: why for gene in genes if (why := _why_open(gene, called.get(gene)))}
    open_genes |= {gene: why for dose in chart for gene, why in dose.unknown.items()}
    advice, no_guideline = _advice(name, called, drug_names(inhibitors), tables)
    dpwg, no_dpwg = _dpwg(name, called, others)
    published, unpublished = _published(name, called, tables)
    model, no_model = _model(name, called, open_genes)
    acting, idle = gene_interactions([called[gene] for gene in genes if gene in called], others, model)
    return DrugMeaning(
        name,
        genes,
        open_genes,
        tuple(gene for gene in genes if gene in open_genes or _leaves_others(called[gene])),
        advice,
        no_guideline,
        chart,
        dpwg,
        no_dpwg,
        published,
        unpublished,
        acting,
        tuple(text for other, text in idle.items() if not any(other in dose.counted for dose in chart)),
        model,
        no_model,
    )


def _leaves_others(call: GeneCall) -> bool:
    return bool(not_excluded(call) or remaining(call))


def _why_open(gene: str, call: GeneCall | None) -> str:
    """Why a gene has no result, or no single one; "" where it has one."""
    if call is None:
        return f"{gene} was not tested: a VCF does not show it; it can be given as an outside call"
    if call.match is None or (len(call.keys) == 1 and not call.doubt):
        return ""
    try:
        modelled_genotype(call)
    except OpenGenotypeError as error:
        return str(error)
    # CYP4F2 and VKORC1 have no phenotype; elsewhere an allele without function leaves it open, as a note says
    return next((note for note in reversed(call.notes) if "has no function" in note), "")


# ------------------------------------------------------------------------------------------------ guidelines


def _advice(
    drug: str, called: Mapping[str, GeneCall], inhibitors: Sequence[str], tables: Tables
) -> tuple[tuple[Advice, ...], str]:
    try:
        return cpic_advice(drug, called, inhibitors, tables), ""
    except NoGuidelineError as error:
        return (), "" if drug == "warfarin" else str(error).partition(";")[0]


def _dpwg(
    drug: str, called: Mapping[str, GeneCall], inhibitors: Sequence[str]
) -> tuple[tuple[DpwgDose, ...], tuple[str, ...]]:
    rows = dpwg_doses(drug)
    known = {
        gene: call for gene, call in called.items() if (call.phenotype or _pair(call)) and not call.doubt
    }
    without = []
    if "CYP2D6" in known and any(row.gene == "CYP2D6" for row in rows) and cyp2d6_left(inhibitors) < 1:
        del known["CYP2D6"]
        without.append(f"DPWG's percentages of {drug} are for CYP2D6 without an inhibitor: none is given")
    found = tuple(row for row in rows if row.gene in known and _in_dpwg_group(row, known[row.gene]))
    without += [
        f"DPWG has no percentage of {drug} for {gene} {_pair(known[gene]) or shown_result(known[gene])} here"
        for gene in dict.fromkeys(row.gene for row in rows)
        if gene in known and gene not in {row.gene for row in found}
    ]
    return found, tuple(without)


def _pair(call: GeneCall) -> Diplotype | None:
    """The pair that a call leaves, as studies write it; None where it leaves several, none, or is doubted."""
    return None if call.lookup is None or call.doubt else modelled_genotype(call)


def _in_dpwg_group(row: DpwgDose, call: GeneCall) -> bool:
    """Whether a call is in the group of a row: `*1/*3`, `PM`, `other IM`, `activity score 1.0`, `-1639 A/A`;
    what follows a comma is a condition of another kind, and stays part of what is shown."""
    pair = _pair(call)
    return any(
        test(found, call, pair)
        for part in re.split(r" or (?=other )", row.group.partition(",")[0])
        for pattern, test in _DPWG_GROUPS
        if (found := pattern.fullmatch(part)) is not None
    )


def _has_phenotype(found: re.Match[str], call: GeneCall, pair: Diplotype | None) -> bool:
    return call.phenotype == _ABBREVIATIONS[found[1]]


def _has_other_alleles(found: re.Match[str], call: GeneCall, pair: Diplotype | None) -> bool:
    named = _DPWG_NAMES.get(call.gene)
    if named is not None and (pair is None or set(pair.alleles) <= named):
        return False
    return _has_phenotype(found, call, pair)


def _has_score(found: re.Match[str], call: GeneCall, pair: Diplotype | None) -> bool:
    return call.score is not None and not call.score.startswith("≥") and float(call.score) == float(found[1])


def _is_pair(found: re.Match[str], call: GeneCall, pair: Diplotype | None) -> bool:
    return pair == Diplotype.parse(found[1])


_DPWG_GROUPS: tuple[
    tuple[re.Pattern[str], Callable[[re.Match[str], GeneCall, Diplotype | None], bool]], ...
] = (
    (re.compile(r"(UM|NM|IM|PM)(?: \(\*\d+/\*\d+\))?"), _has_phenotype),
    (re.compile(r"other (IM|PM)"), _has_other_alleles),
    (re.compile(r"activity score ([\d.]+)"), _has_score),
    (re.compile(r"(?:-1639 )?(\*\d+/\*\d+|[ACGT]/[ACGT])"), _is_pair),
)


# --------------------------------------------------------------------------------------- effects and model


def _published(
    drug: str, called: Mapping[str, GeneCall], tables: Tables
) -> tuple[tuple[Effect, ...], tuple[str, ...]]:
    found: list[Effect] = []
    without: list[str] = []
    genes = dict.fromkeys(row.gene for row in published_rows() if row.drug == drug and row.gene)
    for gene in genes:
        if gene not in called:
            continue
        pair = _pair(called[gene])
        if pair is None:
            without.append(f"{gene} has no single diplotype: no published effect is looked up")
            continue
        try:
            here = effects(drug, {gene: pair}, tables)
            found += here
            without += [] if here else without_effect(drug, {gene: pair}, tables)
        except UnknownAlleleError as error:
            without.append(str(error).partition(";")[0])
    if not genes:
        without.append(f"no published effect of a genotype on {drug} is in the tables")
    return tuple(found), tuple(without)


def _model(
    drug: str, called: Mapping[str, GeneCall], open_genes: Mapping[str, str]
) -> tuple[ModelDose | None, str]:
    if drug not in names():
        return None, f"there is no model of {drug} here"
    known = scenario(drug)
    genes = [term.gene for term in known.model.genotype_terms]
    if not genes:
        return None, f"the model of {drug} ({known.model.name}) has no genotype term"
    pairs: dict[str, Diplotype] = {}
    for gene in genes:
        if gene not in called:
            return None, f"the model of {drug} needs {gene}, which was not tested"
        if gene in open_genes:
            return None, f"the model of {drug} needs {gene}. {open_genes[gene]}"
        try:
            pairs[gene] = modelled_genotype(called[gene])
        except OpenGenotypeError as error:
            return None, f"the model of {drug} needs {gene}. {error}"
    try:
        return model_dose(known, pairs), ""
    except ValueError as error:
        # what comes after the semicolon is for whoever writes a model
        why = str(error).removeprefix("patient 0: ").partition(";")[0]
        return None, f"the model of {drug}: {why}"


def shown_result(call: GeneCall) -> str:
    """The result of a call in words: its diplotypes, the variants found, or what was given."""
    if call.diplotypes:
        return " or ".join(map(str, call.diplotypes))
    if call.match is not None and call.match.variants and call.origin == "VCF":
        return ", ".join(call.match.variants)
    return call.phenotype or call.score or "no call"
