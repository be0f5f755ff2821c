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

from dosewright.evaluation.genotype.interactions import GeneInteraction
from dosewright.evaluation.genotype.meaning import DrugMeaning, shown_result
from dosewright.evaluation.genotype.model_dose import ModelDose, modelled_genotype
from dosewright.evaluation.genotype.warfarin_chart import ChartDose
from dosewright.evaluation.summary import NOTICE
from dosewright.pharmacogenomics import (
    DpwgDose,
    Effect,
    GeneCall,
    Genotypes,
    Posterior,
    Recommendation,
    Tables,
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
_SURE = 0.9  # a call less probable than this is warned of

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
    genes = [_gene(call) for call in calls]
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
        "warnings": [*genotypes.warnings, *(text for call in calls for text in _doubts(call))],
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


def _gene(call: GeneCall) -> Record:
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
        "probability": _probability(call),
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
            "missing": list(seen.missing),
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


def _coding_strand(call: GeneCall) -> str | None:
    """The result by its bases on the coding strand; None where studies use the tables' names."""
    if call.lookup is None:
        return None
    pair = modelled_genotype(call)
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


def _probability(call: GeneCall) -> float | None:
    """P(the phenotype that is reported), or of a gene without phenotypes P(the diplotype), given the VCF and
    the ancestry; None for what was called elsewhere, or where there is nothing to give it of."""
    if call.posterior is None or call.origin != "VCF":
        return None
    if call.phenotype is not None:
        return _short(call.posterior.phenotypes.get(call.phenotype, 0.0))
    return None if call.lookup is None else _short(call.posterior.probability(call.lookup))


def _doubts(call: GeneCall) -> list[str]:
    """Sentences for the head of the page: no call, several calls, and calls that the posterior doubts."""
    if call.origin == "not called":
        why = "" if call.match is None or call.match.reason is None else f": {call.match.reason}"
        return [f"{call.gene} was not called{why}"]
    if call.origin == "VCF" and len(call.diplotypes) > 1:
        phenotypes = call.posterior is not None and call.posterior.phenotypes
        shared = (
            f", all {call.phenotype}" if call.phenotype else ", whose phenotypes differ" if phenotypes else ""
        )
        return [f"{call.gene}: {len(call.diplotypes)} diplotypes fit alike ({shown_result(call)}){shared}"]
    p = _probability(call)
    if p is None or p >= _SURE or call.posterior is None:
        return []
    what = call.phenotype or shown_result(call)
    best, likely = next(iter(call.posterior.diplotypes.items()))
    return [
        f"{call.gene}: {what} ({shown_result(call)}) has probability {p:.2g} only; the most probable "
        f"diplotype is {best} ({likely:.2g})"
    ]


# ---------------------------------------------------------------------------------------------------- drugs


def _drug(meaning: DrugMeaning) -> Record:
    return {
        "drug": meaning.drug,
        "genes": list(meaning.genes),
        "open_genes": dict(meaning.open_genes),
        "said": _said(meaning),
        "cpic": [_recommendation(item) for item in meaning.recommendations],
        "no_cpic": list(meaning.no_recommendation),
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


def _said(meaning: DrugMeaning) -> list[str]:
    """What it means in plain words, one sentence or two for each source."""
    said: dict[tuple[str, str], list[str]] = {}
    for item in meaning.recommendations:
        said.setdefault((item.classification, item.text), []).append(item.population)
    also = [i.drug for i in meaning.interactions if i.gene == "CYP2D6" and i.score and i.strength != "weak"]
    with_drugs = [f"with {' and '.join(also)}"] if also else []
    words = []
    for (strength, text), groups in said.items():
        of = [" and ".join(groups)] if len(said) > 1 else []
        words.append(f"CPIC ({', '.join([strength, *of, *with_drugs])}): {text}")
    words += [f"CPIC: no recommendation can be looked up. {reason}." for reason in meaning.no_recommendation]
    words += [_chart_words(item) for item in meaning.chart]
    words += [f"DPWG, {item.gene} {item.group}: {_dpwg_words(item)}." for item in meaning.dpwg]
    if meaning.model is not None:
        words.append(_model_words(meaning.model))
    return words


def _chart_words(item: ChartDose) -> str:
    start = f"CPIC's flow chart for {'' if item.ancestry == 'African' else 'non-'}African ancestry"
    if item.dose is None:
        return f"{start} gives no dose: {item.why_none}."
    dose, ratio = item.dose, item.ratio
    low, high = dose.adjusted_daily_mg
    then = "" if low == high == dose.daily_mg else f", changed to {low:.3g} to {high:.3g} mg by its rules"
    against = "without genotype" if ratio is None else f"{ratio:.3g} times that of the reference genotype"
    against = "as for the reference genotype" if ratio == 1 else against
    return (
        f"{start}, for the typical person below and no other: {dose.daily_mg:.3g} mg a day by the "
        f"{dose.equation} equation ({against}){then}."
    )


def _dpwg_words(item: DpwgDose) -> str:
    if item.percent is None:
        return item.what
    low, high = item.percent
    if high == 0:
        return item.what if item.what.startswith("avoid") else f"avoid; {item.what}"
    return f"{low:g}{'' if low == high else f' to {high:g}'} % of the standard dose: {item.what}"


def _model_words(model: ModelDose) -> str:
    known = model.scenario
    own, reference = model.courses[0], model.courses[1]
    name = _words(model.reference)
    start = f"Our model ({known.model.title}): " + "".join(f"{item.note}; " for item in model.readings)
    if own.genotypes == reference.genotypes:
        how = "so this is read as" if model.readings else "this is"
        return f"{start}{how} the genotype that the usual dose is meant for ({name})."
    unit = "" if known.responses[0].unit == "1" else f" {known.responses[0].unit}"
    ends = f"{own.settled:.3g}{unit} instead of {reference.settled:.3g}{unit}"
    needs = (
        "no dose up to the largest brings both together"
        if own.multiplier is None
        else f"{own.multiplier:.3g} times the usual dose leads to the same {known.output}"
    )
    return (
        f"{start}under the usual dose a typical person with this genotype settles at {known.output} {ends} "
        f"({name}); {needs}."
    )


def _words(genotypes: Mapping[str, str]) -> str:
    return ", ".join(f"{gene} {pair}" for gene, pair in genotypes.items())


def _recommendation(item: Recommendation) -> Record:
    guideline = item.row.guideline
    return {
        "population": item.population,
        "text": item.text,
        "strength": item.classification,
        "lookup": dict(item.lookup),
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
    return asdict(item) | {"percent": percent, "text": _dpwg_words(item)}


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
        "multiplier": None if model.multiplier is None else _short(model.multiplier),
        "same": f"mean {response.name} of the second half of {known.horizon} {known.clock.units}",
        "changes": [asdict(item) | {"ratio": _short(item.ratio)} for item in model.changes],
        "terms": [
            {"gene": term.gene, "unit": term.unit, "flag": term.flag, "source": term.source}
            for term in known.model.genotype_terms
        ],
        "assumptions": [item.note for item in model.readings],
        "output": response.name,
        "output_unit": response.unit,
        "days": [_short(day) for day in model.days],
        "courses": [
            {
                "role": course.role,
                "genotype": dict(course.genotypes),
                "multiplier": None if course.multiplier is None else _short(course.multiplier),
                "settled": _short(course.settled),
                "values": [None if np.isnan(value) else _short(float(value)) for value in course.values],
            }
            for course in model.courses
        ],
    }


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


def _short(value: float) -> float:
    """Six significant figures: more is noise of the solver."""
    return float(f"{value:.6g}")
