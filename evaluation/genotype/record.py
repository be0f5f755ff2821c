"""One person's page as data: what is written to `genotype.json`, and what the page is made of.

The keys are a contract: `SCHEMA` goes up when one is renamed or removed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dosewright.evaluation.genotype.advice import Advice, Answer
from dosewright.evaluation.genotype.interactions import GeneInteraction
from dosewright.evaluation.genotype.meaning import DrugMeaning, shown_result
from dosewright.evaluation.genotype.model_dose import LEAST_ELASTICITY, ModelDose
from dosewright.evaluation.genotype.statements import doubts, dpwg_words, said, uncounted, urgency
from dosewright.evaluation.genotype.warfarin_chart import ChartDose
from dosewright.evaluation.summary import NOTICE
from dosewright.pharmacogenomics import (
    DpwgDose,
    Effect,
    GeneCall,
    Genotypes,
    Posterior,
    Tables,
    coding_strand_pair,
    lookup_genes,
    lookup_keys,
    population_words,
    recommended_drugs,
)

SCHEMA = 1
JSON_FILE, PAGE_FILE = "genotype.json", "genotype.html"
SOURCES = (
    "Alleles, functions, phenotypes, frequencies and recommendations: CPIC, CC0 1.0, "
    "https://www.clinpgx.org; a snapshot, subject to updates.",
    "CYP3A4 definitions and functions: ClinPGx, CC BY-SA 4.0, https://www.clinpgx.org; star-allele names: "
    "PharmVar, https://www.pharmvar.org.",
    "How insertions and deletions stand in a VCF file: PharmCAT, Mozilla Public License 2.0, "
    "https://github.com/PharmGKB/PharmCAT.",
    "Published effects, DPWG percentages and interacting drugs: facts of the sources named in each row.",
)
_SHOWN = 5  # alternatives of a diplotype
_LEAST = 5e-4  # probability below which none is listed

Record = dict[str, Any]


def genotype_record(
    genotypes: Genotypes,
    calls: Sequence[GeneCall],
    meanings: Sequence[DrugMeaning],
    *,
    ancestry: Mapping[str, float] | str | None,
    inhibitors: Sequence[str],
    outside_file: str | None,
    tables: Tables,
    provenance: Mapping[str, Any],
) -> Record:
    """Put everything that is known of one sample together, ready for JSON.

    Parameters
    ----------
    genotypes, calls, meanings : of one sample
    ancestry : as it was given to `call_genes`
    inhibitors, outside_file : as they were given; None where there was no file
    tables, provenance : where it comes from
    """
    genes = [_gene(call, tables) for call in calls]
    matter = {gene for meaning in meanings for gene in meaning.genes}
    return {
        "schema": SCHEMA,
        "notice": NOTICE,
        "sample": genotypes.sample,
        "file": genotypes.file,
        "missing_policy": genotypes.missing_policy,
        "outside_file": outside_file,
        "ancestry": {
            "given": ancestry is not None,
            "shares": {ancestry: 1.0} if isinstance(ancestry, str) else dict(ancestry or {}),
        },
        "inhibitors": list(inhibitors),
        "tables": tables.version,
        "warnings": [
            *genotypes.warnings,
            *(text for gene in genes if gene["gene"] in matter for text in gene["doubts"]),
            *_unused(calls, meanings),
        ],
        "summary": _summary(meanings),
        "genes": genes,
        "drugs": [_drug(meaning) for meaning in meanings],
        "sources": list(SOURCES),
        "provenance": dict(provenance),
    }


def write_genotype(record: Record, folder: str | Path) -> tuple[Path, Path]:
    """Write `genotype.json` and `genotype.html` into a folder, replacing earlier ones; return their paths.

    Both are written under other names first, and renamed when both are whole.
    """
    from dosewright.evaluation.report.genotype import genotype_page  # matplotlib is slow to import

    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    texts = {
        JSON_FILE: json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        PAGE_FILE: genotype_page(record),
    }
    for name, text in texts.items():
        (target / f"{name}.partial").write_text(text, encoding="utf-8")
    for name in texts:
        os.replace(target / f"{name}.partial", target / name)
    return target / JSON_FILE, target / PAGE_FILE


# ---------------------------------------------------------------------------------------------------- genes


def _gene(call: GeneCall, tables: Tables) -> Record:
    made: Record = {
        "gene": call.gene,
        "origin": call.origin,
        "result": shown_result(call),
        "diplotypes": [str(pair) for pair in call.diplotypes],
        "lookup": None if call.lookup is None else str(call.lookup),
        "coding_strand": _coding_strand(call),
        "phenotype": call.phenotype,
        "score": call.score,
        "keys": list(call.keys),
        "priority": call.ehr_priority,
        "probability": None if call.probability is None else _short(call.probability),
        "could_be": [
            {"key": item.key, "phenotype": item.phenotype, "diplotype": str(item.diplotype)}
            for item in call.could_be
        ],
        "doubts": doubts(call, tables),
        "structural": list(call.structural),
        "vcf": None,
        "outside": None,
        "posterior": None if call.posterior is None else _posterior(call.posterior),
        "notes": list(call.notes),
        "source": call.source,
    }
    if call.match is not None:
        seen = call.match
        made["vcf"] = {
            "diplotypes": [str(item.diplotype) for item in seen.best],
            "variants": list(seen.variants),
            "reason": seen.reason,
            "positions_called": len(seen.used),
            "positions": len(seen.used) + len(seen.missing),
            "missing": [
                {"pos": item.pos, "rsid": item.rsid or None}
                for item in tables.positions(call.gene)
                if item.pos in seen.missing
            ],
            "undefined": {str(pos): what for pos, what in seen.undefined.items()},
            "not_excluded": list(seen.not_excluded),
            "structure_not_seen": list(seen.structure_not_seen),
        }
    if call.outside is not None:
        given = call.outside
        made["outside"] = {
            "diplotype": None if given.diplotype is None else str(given.diplotype),
            "phenotype": given.phenotype,
            "score": given.activity_score,
            "line": given.line,
        }
    return made


def _unused(calls: Sequence[GeneCall], meanings: Sequence[DrugMeaning]) -> list[str]:
    """A sentence for each HLA allele that the person has and none of the drugs is looked up by."""
    used = {
        (gene, key)
        for meaning in meanings
        if meaning.drug in recommended_drugs()
        for gene in lookup_genes(meaning.drug)
        for key in lookup_keys(meaning.drug, gene)
    }
    return [
        f"{call.gene} {key}: none of these drugs is looked up by it"
        for call in calls
        if call.match is None
        for key in call.keys
        if key.endswith("positive") and (call.gene, key) not in used
    ]


def _coding_strand(call: GeneCall) -> str | None:
    """The result by its bases on the coding strand; None where studies use the tables' names."""
    if call.lookup is None:
        return None
    pair = coding_strand_pair(call.gene, call.lookup)
    return None if pair == call.lookup else str(pair)


def _posterior(known: Posterior) -> Record:
    pairs = [(str(pair), p) for pair, p in known.diplotypes.items() if p >= _LEAST]
    return {
        "diplotypes": [{"diplotype": pair, "probability": _short(p)} for pair, p in pairs[:_SHOWN]],
        "phenotypes": [
            {"phenotype": name, "probability": _short(p)}
            for name, p in known.phenotypes.items()
            if p >= _LEAST
        ],
        "copies": {str(number): _short(p) for number, p in known.copies.items() if p >= _LEAST},
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------- drugs


def _drug(meaning: DrugMeaning) -> Record:
    return {
        "drug": meaning.drug,
        "genes": list(meaning.genes),
        "open_genes": dict(meaning.open_genes),
        "said": said(meaning),
        "cpic": [row for item in meaning.advice for row in _advice(item)],
        "no_cpic": list(dict.fromkeys(why for item in meaning.advice for why in item.reasons)),
        "no_guideline": meaning.no_guideline,
        "warfarin_chart": [_chart(item) for item in meaning.chart],
        "dpwg": [_dpwg(item) for item in meaning.dpwg],
        "no_dpwg": list(meaning.no_dpwg),
        "published": [_effect(item) for item in meaning.published],
        "no_published": list(meaning.unpublished),
        "interactions": [_interaction(item) for item in meaning.interactions],
        "no_interactions": list(meaning.no_interaction),
        "model": None if meaning.model is None else _model(meaning.model),
        "no_model": meaning.no_model,
    }


def _summary(meanings: Sequence[DrugMeaning]) -> list[Record]:
    """One row for each drug, the most urgent first."""
    rows = sorted((*urgency(meaning), meaning.drug, meaning) for meaning in meanings)
    return [
        {
            "drug": drug,
            "cpic": words,
            "multiplier": None if item.model is None else _multiplier(item.model.multiplier),
            "unsettled": list(item.unsettled),
            "uncounted": list(
                dict.fromkeys(
                    other.drug
                    for other in uncounted(item)
                    if not any(other.drug in dose.counted for dose in item.chart)
                )
            ),
        }
        for _, words, drug, item in rows
    ]


def _advice(item: Advice) -> list[Record]:
    standing = "settled" if item.settled else "open"
    rows = [_answer(row, standing) for row in item.answers]
    return rows + [_answer(row, "if missing") for row in item.otherwise]


def _answer(answer: Answer, standing: str) -> Record:
    item = answer.recommendation
    guideline = item.row.guideline
    return {
        "standing": standing,
        "population": item.population,
        "population_words": population_words(item.population),
        "text": item.text,
        "strength": item.classification,
        "lookup": answer.results,
        "action": asdict(item.action),
        "notes": list(item.notes),
        "guideline": guideline.name,
        "url": guideline.url,
        "row": item.row.number,
        "citations": list(guideline.citations),
        "version": guideline.version,
        "date": item.row.date,
        "source": str(item.row),
        "tables": item.source,
    }


def _chart(item: ChartDose) -> Record:
    made: Record = {
        "ancestry": item.ancestry,
        "person": item.person,
        "equation": None,
        "pharmacogenetic": None,
        "strength": None,
        "daily_mg": None,
        "adjusted_daily_mg": None,
        "reference_daily_mg": _short(item.reference.daily_mg),
        "ratio": None if item.ratio is None else _short(item.ratio),
        "adjustments": [],
        "warnings": [],
        "source": item.reference.source,
        "why_none": item.why_none,
        "notes": list(item.notes),
    }
    if item.dose is not None:
        dose = item.dose
        made |= {
            "equation": dose.equation,
            "pharmacogenetic": dose.pharmacogenetic,
            "strength": dose.strength,
            "daily_mg": _short(dose.daily_mg),
            "adjusted_daily_mg": [_short(value) for value in dose.adjusted_daily_mg],
            "adjustments": [asdict(change) for change in dose.adjustments],
            "warnings": list(dose.warnings),
            "source": dose.source,
        }
    return made


def _dpwg(item: DpwgDose) -> Record:
    percent = None if item.percent is None else list(item.percent)
    return asdict(item) | {"percent": percent, "text": dpwg_words(item)}


def _effect(item: Effect) -> Record:
    row = item.row
    return {
        "gene": item.gene,
        "diplotype": str(item.diplotype),
        "parameter": str(item.parameter),
        "multiplier": _short(item.multiplier),
        "is_reference": item.is_reference,
        "group": row.group,
        "reference_group": row.reference_group,
        "measured": row.measured,
        "reading": row.reading,
        "n": row.n,
        "population": row.population,
        "study": row.study,
        "note": row.note,
        "place": row.place,
    }


def _interaction(item: GeneInteraction) -> Record:
    made = asdict(item)
    for key in ("inhibition", "clearance", "reference_clearance"):
        made[key] = None if made[key] is None else [_short(value) for value in made[key]]
    made["fm"] = None if item.fm is None else _short(item.fm)
    return made


def _model(model: ModelDose) -> Record:
    known = model.scenario
    response = known.responses[0]
    own = model.courses[0]
    return {
        "scenario": f"{known.name}-v{known.version}",
        "name": known.model.name,
        "title": known.model.title,
        "person": _person(model),
        "person_source": model.person.source,
        "usual_dose": _short(model.usual),
        "dose_unit": known.doses.unit,
        "usual_rule": f"{known.label.name} ({known.label.source})",
        "genotype": dict(own.genotypes),
        "reference": dict(model.reference),
        "reference_reason": model.reference_reason,
        "multiplier": _multiplier(model.multiplier),
        "elasticity": _short(model.elasticity),
        "multiplier_left_out": _multiplier_left_out(model),
        "same": f"mean {response.name} of the second half of {known.horizon} {known.clock.units}",
        "changes": [asdict(item) | {"ratio": _short(item.ratio)} for item in model.changes],
        "terms": [
            {"gene": term.gene, "unit": term.unit, "flag": term.flag, "source": term.source}
            for term in known.model.genotype_terms
        ],
        "assumptions": [*(item.note for item in model.readings), *model.indistinct],
        "output": response.name,
        "output_unit": response.unit,
        "days": [_short(day) for day in model.days],
        "courses": [
            {
                "role": course.role,
                "genotype": dict(course.genotypes),
                "multiplier": _multiplier(course.multiplier),
                "settled": _short(course.settled),
                "values": [None if np.isnan(value) else _short(float(value)) for value in course.values],
            }
            for course in model.courses
        ],
    }


def _multiplier_left_out(model: ModelDose) -> str:
    """Why no dose is given that brings two genotypes together; "" where one is looked for."""
    if abs(model.elasticity) >= LEAST_ELASTICITY:
        return ""
    change = 100 * (2**model.elasticity - 1)
    return (
        f"{model.scenario.output} hardly follows the dose, twice the dose changes it by {change:.0f} %: "
        "no dose for the same one is given; the parameters below say how the genotype changes the exposure"
    )


def _person(model: ModelDose) -> list[Record]:
    """The covariates that the model or the usual dose uses, in words."""
    known = model.scenario
    entries = {entry.name: (entry.meaning or entry.name, entry.unit) for entry in known.covariates}
    units = {item.name: (item.name, item.unit) for item in known.model.covariates}
    used = [*units, *known.label.needs]
    made = []
    for name in dict.fromkeys(used):
        if name in model.person.covariates:
            label, unit = entries.get(name) or units[name]
            flag = unit == "1" and model.person.covariates[name] in (0.0, 1.0)
            made.append(
                {"name": name, "label": name if flag else label, "unit": unit,
                 "value": model.person.covariates[name]}
            )  # fmt: skip
    return made


def _multiplier(value: float | None) -> float | None:
    return None if value is None else _short(value)


def _short(value: float) -> float:
    """Six significant figures: more is noise of the solver."""
    return float(f"{value:.6g}")
