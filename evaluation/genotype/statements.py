"""What is said of a person's genotype in plain words: doubts about a call, and what it means for a drug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dosewright.evaluation.genotype.advice import Advice, Answer, not_excluded
from dosewright.evaluation.genotype.meaning import DrugMeaning, shown_result
from dosewright.evaluation.genotype.model_dose import ModelDose
from dosewright.evaluation.genotype.warfarin_chart import ChartDose
from dosewright.pharmacogenomics import (
    EVERYONE,
    DpwgDose,
    GeneCall,
    Recommendation,
    Tables,
    population_words,
)
from dosewright.pharmacogenomics.actions import ActionKind

_SURE = 0.9  # a call less probable than this is warned of
_NAMED = 4  # positions that a sentence names before it only counts
_REST = 0.01  # probability from which another phenotype is named

# Most urgent first: what a reader of a page with many drugs must see before the rest.
_SHORT: Mapping[ActionKind, str] = {
    "avoid": "avoid",
    "alternative": "another drug",
    "consider alternative": "consider another drug",
    "limit": "limit the dose",
    "reduce": "lower dose",
    "increase": "higher dose",
    "titrate": "slower titration",
    "caution": "caution",
    "monitor": "monitor",
    "usual": "usual dose",
    "no recommendation": "no recommendation",
}
_ORDER = list(_SHORT)


# ------------------------------------------------------------------------------------------------- of a call


def doubts(call: GeneCall, tables: Tables) -> list[str]:
    """What makes a result uncertain, in sentences: no call, several, missing positions, a low probability.

    Parameters
    ----------
    call : of one gene
    tables : those by which it was called
    """
    if not call.tested:
        return [f"{call.gene} was not tested: none of its positions was called"]
    if call.origin == "not called":
        why = "" if call.match is None or call.match.reason is None else f": {call.match.reason}"
        return [f"{call.gene} was not called{why}"]
    if call.origin != "VCF":
        return []
    found = []
    if len(call.diplotypes) > 1:
        same = f", all {call.phenotype}" if call.phenotype else ", with different phenotypes"
        same = same if len(call.keys) > 1 or call.phenotype else ""
        found.append(f"{call.gene}: {len(call.diplotypes)} diplotypes fit alike ({shown_result(call)}){same}")
    others = not_excluded(call)
    if others:
        decide = {pos for item in others for pos in item.missing}
        named = _listed(dict.fromkeys(item.phenotype or str(item.diplotype) for item in others), "or")
        found.append(
            f"{call.gene}: {_positions(call.gene, decide, tables)} not called, so that beside "
            f"{call.phenotype or shown_result(call)} also {named} is possible{_share(call)}"
        )
    elif (call.probability or 1) < _SURE:
        found.append(f"{call.gene}: {call.phenotype or shown_result(call)} is not certain{_share(call)}")
    if call.doubt:
        found.append(f"{call.doubt}: nothing is built on it")
    return found


def _share(call: GeneCall) -> str:
    """Probabilities of the result and of the others, in brackets."""
    p, known = call.probability, call.posterior
    if p is None or known is None:
        return ""
    if call.phenotype is not None:
        rest = {name: share for name, share in known.phenotypes.items() if name != call.phenotype}
    else:
        rest = {str(pair): share for pair, share in known.diplotypes.items() if pair != call.lookup}
    others = [f"{name} {share:.2g}" for name, share in rest.items() if share >= _REST]
    return f" (probability {p:.2g}{'; ' if others else ''}{', '.join(others[:_NAMED])})"


def _positions(gene: str, places: Iterable[int], tables: Tables) -> str:
    names = {item.pos: item.rsid or f"{item.chrom}:{item.pos}" for item in tables.positions(gene)}
    found = sorted(places)
    said = ", ".join(names[pos] for pos in found[:_NAMED])
    more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return f"{said}{more} {'was' if len(found) == 1 else 'were'}"


def _listed(items: Iterable[str], last: str) -> str:
    named = list(items)
    return f" {last} ".join([", ".join(named[:-1]), named[-1]] if len(named) > 1 else named)


# ------------------------------------------------------------------------------------------------- of a drug


def urgency(meaning: DrugMeaning) -> tuple[int, str]:
    """Rank, 0 for the most urgent, and a few words on what CPIC says: of several answers the most urgent."""
    settled = [advice.answers[0].recommendation for advice in meaning.advice if advice.settled]
    if settled:
        first = min(settled, key=_urgent)
        words = f"{_SHORT[first.action.kind]} ({first.classification})"
        return _urgent(first)[0], words if len(set(map(_answer, settled))) == 1 else f"{words}, by population"
    if meaning.chart:
        ratios = [item.ratio for item in meaning.chart if item.ratio is not None]
        words = f"× {min(ratios):.2g} by the equation" if ratios else "by the equation, without genotype"
        return _ORDER.index("reduce"), words
    if meaning.advice:
        return _ORDER.index("caution"), "open"
    return len(_ORDER), "no guideline"


def said(meaning: DrugMeaning) -> list[str]:
    """What it means, one sentence or two for each source, the most urgent first."""
    words = [*_settled(meaning), *_open(meaning.advice)]
    if meaning.no_guideline:
        words.append(f"CPIC: {meaning.no_guideline}.")
    words += [_chart_words(item) for item in meaning.chart]
    words += [f"DPWG, {item.gene} {item.group}: {dpwg_words(item)}." for item in meaning.dpwg]
    if meaning.model is not None:
        words.append(_model_words(meaning.model))
    return words


def _settled(meaning: DrugMeaning) -> list[str]:
    groups: dict[tuple[str, str], list[Recommendation]] = {}
    for advice in meaning.advice:
        if advice.settled:
            item = advice.answers[0].recommendation
            groups.setdefault(_answer(item), []).append(item)
    also = [i.drug for i in meaning.interactions if i.gene == "CYP2D6" and i.score and i.strength != "weak"]
    beside = [f"with {' and '.join(also)}"] if also else []
    words = []
    for items in sorted(groups.values(), key=lambda items: _urgent(items[0])):
        whom = [population_words(item.population) for item in items if item.population != EVERYONE]
        everybody = len(groups) == 1 < len(items)
        of = [_listed(whom, "and")] if whom and not everybody else []
        head = "; ".join([items[0].classification, *of, *beside])
        words.append(f"CPIC ({head}): {items[0].text}")
    return words


def _open(advices: Sequence[Advice]) -> list[str]:
    words: dict[str, None] = {}
    for advice in advices:
        if not advice.settled and advice.answers:
            words["CPIC: what stays open decides. " + _by_result(advice.answers)] = None
        for reason in advice.reasons:
            words[f"CPIC: no recommendation can be looked up. {reason}."] = None
        if advice.otherwise:
            words[
                "CPIC would say something else if the positions that were not called hold another result. "
                + _by_result(advice.otherwise)
            ] = None
    return list(words)


def _by_result(answers: Sequence[Answer]) -> str:
    ordered = sorted(answers, key=lambda answer: _urgent(answer.recommendation))
    return " ".join(
        f"{_words(answer.results)} ({answer.recommendation.classification}): {answer.recommendation.text}"
        for answer in ordered
    )


def _answer(item: Recommendation) -> tuple[str, str]:
    return item.classification, item.text


def _urgent(item: Recommendation) -> tuple[int, str]:
    return _ORDER.index(item.action.kind), item.population


def _chart_words(item: ChartDose) -> str:
    start = f"CPIC's flow chart for {'' if item.ancestry == 'African' else 'non-'}African ancestry"
    if item.dose is None:
        return f"{start} gives no dose: {item.why_none}."
    dose, ratio = item.dose, item.ratio
    low, high = dose.adjusted_daily_mg
    then = "" if low == high == dose.daily_mg else f", changed to {low:.3g} to {high:.3g} mg by its rules"
    against = "without genotype" if ratio is None else f"{ratio:.3g} times that of the reference genotype"
    against = "as for the reference genotype" if ratio == 1 else against
    beside = f", with {_listed(item.counted, 'and')}" if item.counted else ""
    cautions = "".join(f" {text[0].upper()}{text[1:]}." for text in (*dose.warnings, *item.notes))
    return (
        f"{start}, for the typical person below and no other{beside}: {dose.daily_mg:.3g} mg a day by the "
        f"{dose.equation} equation ({against}){then}.{cautions}"
    )


def dpwg_words(item: DpwgDose) -> str:
    """What a row of the Dutch guidelines says, without its group."""
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
    return (
        f"{start}under the usual dose a typical person with this genotype settles at {known.output} {ends} "
        f"({name})."
    )


def _words(results: Mapping[str, str]) -> str:
    return ", ".join(f"{gene} {result}" for gene, result in results.items())
