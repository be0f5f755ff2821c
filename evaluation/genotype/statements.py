"""What is said of a person's genotype in plain words: doubts about a call, and what it means for a drug."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dosewright.evaluation.genotype.advice import Advice, Answer, not_excluded, remaining, wording
from dosewright.evaluation.genotype.interactions import GeneInteraction
from dosewright.evaluation.genotype.meaning import DrugMeaning, shown_result
from dosewright.evaluation.genotype.model_dose import ModelDose
from dosewright.evaluation.genotype.warfarin_chart import ChartDose
from dosewright.pharmacogenomics import (
    EVERYONE,
    Allele,
    Diplotype,
    DpwgDose,
    GeneCall,
    Match,
    Recommendation,
    Tables,
    interpret,
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
    "caution": "caution",
    "monitor": "monitor",
    "titrate": "dose by steps",
    "usual": "usual dose",
    "no recommendation": "no recommendation",
}
_ORDER = list(_SHORT)
_STRENGTHS = ["strong", "moderate", "optional"]
_UNCHANGED = 0.05  # relative change of a dose below which it is called usual


# ------------------------------------------------------------------------------------------------- of a call


def doubts(call: GeneCall, tables: Tables) -> list[str]:
    """What makes a result uncertain, in sentences: no call, several, missing positions, a low probability.

    Parameters
    ----------
    call : of one gene
    tables : those by which it was called
    """
    if call.absence:
        return [call.absence]
    if call.origin != "VCF":
        return _contradicted(call, tables)
    found = []
    if len(call.diplotypes) > 1:
        all_alike = f", all {call.phenotype}" if call.phenotype else ""
        then = ", with different phenotypes" if len(call.keys) > 1 else all_alike
        found.append(f"{call.gene}: {len(call.diplotypes)} diplotypes fit alike ({shown_result(call)}){then}")
    others = not_excluded(call)
    if others:
        decide = {pos for item in others for pos in item.missing}
        named = _listed(dict.fromkeys(item.phenotype or str(item.diplotype) for item in others), "or")
        found.append(
            f"{call.gene}: {_positions(call.gene, decide, tables)} not called, so that beside "
            f"{call.phenotype or shown_result(call)} also {named} is possible{_share(call)}"
        )
    elif call.probability is not None and (call.probability < _SURE or remaining(call)):
        found.append(f"{call.gene}: {call.phenotype or shown_result(call)} is not certain{_share(call)}")
    if call.doubt:
        found.append(f"{call.doubt}: nothing is built on it")
    return found


def _contradicted(call: GeneCall, tables: Tables) -> list[str]:
    """A sentence where the VCF shows another result than the outside call that counts; none where the call
    from outside names structure, which the VCF cannot show."""
    seen = call.match
    if seen is None or call.outside is None or (seen.lookup is None and not seen.best):
        return []
    pairs = [seen.lookup] if seen.lookup is not None else [item.diplotype for item in seen.best]
    given = call.outside.diplotype
    if given is not None and any(_has_structure(name, seen) for name in given.alleles):
        return []
    if not tables.phenotype_rules(call.gene):
        same = given is None or given in pairs
    else:
        meanings = [interpret(call.gene, pair, tables) for pair in pairs if _valued(call.gene, pair, tables)]
        same = not meanings or any(item.key in call.keys for item in meanings)
    shown = " or ".join(map(str, pairs))
    return [] if same else [
        f"{call.gene}: {shown_result(call)} was called elsewhere (line {call.outside.line}) and counts, but "
        f"the VCF shows {shown}"
    ]  # fmt: skip


def _has_structure(name: str, seen: Match) -> bool:
    return Allele.parse(name).has_structure or name in seen.structure_not_seen


def _valued(gene: str, pair: Diplotype, tables: Tables) -> bool:
    return set(pair.alleles) <= set(tables.function_alleles(gene))


def _share(call: GeneCall) -> str:
    """Probabilities of the result and of the others, in brackets."""
    p, known = call.probability, call.posterior
    if p is None or known is None:
        return ""
    if call.phenotype is not None:
        rest = {name: share for name, share in known.phenotypes.items() if name != call.phenotype}
    else:
        rest = {str(pair): share for pair, share in known.diplotypes.items() if pair != call.lookup}
    others = [f"{name} {_p(share)}" for name, share in rest.items() if share >= _REST]
    return f" (probability {_p(p)}{'; ' if others else ''}{', '.join(others[:_NAMED])})"


def _p(value: float) -> str:
    return "> 0.999" if value > 0.9995 else f"{value:.3f}" if value >= 0.99 else f"{value:.2g}"


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


def urgency(meaning: DrugMeaning) -> tuple[tuple[int, int], str]:
    """Rank, lowest for the most urgent, and a few words on what CPIC says: the most urgent of all answers."""
    answers = [answer.recommendation for advice in meaning.advice for answer in advice.answers]
    if answers:
        first = min(answers, key=_urgent)
        words = f"{_SHORT[first.action.kind]} ({first.classification})"
        if not all(advice.settled for advice in meaning.advice):
            words = f"open; {words} is possible"
        elif len(set(map(wording, answers))) > 1:
            words = f"{words}, by population"
        return _urgent(first), words
    if meaning.chart:
        return _chart_urgency(meaning.chart)
    if meaning.advice:
        return (_ORDER.index("limit"), 0), "open"
    return (len(_ORDER), 0), "no guideline"


def _chart_urgency(chart: Sequence[ChartDose]) -> tuple[tuple[int, int], str]:
    doses = [(item, item.dose) for item in chart if item.dose is not None]
    ratios = [
        limit / item.reference.daily_mg
        for item, dose in doses if dose.pharmacogenetic for limit in dose.adjusted_daily_mg
    ]  # fmt: skip
    kind: ActionKind = "caution"
    words = "by the equation, without genotype" if doses else "no dose by the equation"
    if ratios:
        low, high = min(ratios), max(ratios)
        kind = "reduce" if low < 1 - _UNCHANGED else "increase" if high > 1 + _UNCHANGED else "usual"
        span = f"{low:.2g}" if f"{low:.2g}" == f"{high:.2g}" else f"{low:.2g} to {high:.2g}"
        words = f"× {span} by the equation"
    if any(item.poor_metabolizer for item in chart):
        kind, words = "consider alternative", f"{_SHORT['consider alternative']}; {words}"
    strengths = [dose.strength for _, dose in doses if dose.strength is not None]
    return (_ORDER.index(kind), min(map(_STRENGTHS.index, strengths), default=len(_STRENGTHS))), words


def said(meaning: DrugMeaning) -> list[str]:
    """What it means, one sentence or two for each source, the most urgent first."""
    words = [*_settled(meaning), *_open(meaning.advice)]
    if meaning.no_guideline:
        words.append(f"CPIC: {meaning.no_guideline}.")
    words += [_chart_words(item) for item in meaning.chart]
    words += [f"DPWG, {item.gene} {item.group}: {dpwg_words(item)}." for item in meaning.dpwg]
    if meaning.model is not None:
        words.append(_model_words(meaning.model))
    return words + _interaction_words(meaning)


def _settled(meaning: DrugMeaning) -> list[str]:
    groups: dict[tuple[str, str], list[Recommendation]] = {}
    for advice in meaning.advice:
        if advice.settled:
            item = advice.answers[0].recommendation
            groups.setdefault(wording(item), []).append(item)
    also = [i.drug for i in meaning.interactions if _converts(i)]
    beside = [f"with {' and '.join(also)}"] if also else []
    still_open = dict.fromkeys(
        gene for advice in meaning.advice if advice.settled for gene in advice.open_genes
    )
    words = []
    for items in sorted(groups.values(), key=lambda items: _urgent(items[0])):
        whom = [population_words(item.population) for item in items if item.population != EVERYONE]
        everybody = len(groups) == 1 < len(items)
        of = [_listed(whom, "and")] if whom and not everybody else []
        decided = [f"for every result that {_listed(still_open, 'and')} may have"] if still_open else []
        head = "; ".join([items[0].classification, *of, *decided, *beside])
        words.append(f"CPIC ({head}): {items[0].text}")
    return words


def _open(advices: Sequence[Advice]) -> list[str]:
    words: dict[str, None] = {}
    for advice in advices:
        of = "" if advice.population == EVERYONE else f" ({population_words(advice.population)})"
        if not advice.settled and advice.answers:
            why = "".join(f" {text}." for text in advice.open_genes.values())
            words[f"CPIC{of}: what stays open decides.{why} {_by_result(advice.answers)}"] = None
        for reason in advice.reasons:
            words[f"CPIC: no recommendation can be looked up. {reason}."] = None
        if advice.otherwise:
            words[
                f"CPIC{of} says something else for results that are not excluded. "
                f"{_by_result(advice.otherwise)}"
            ] = None
    return list(words)


def _by_result(answers: Sequence[Answer]) -> str:
    ordered = sorted(answers, key=lambda answer: _urgent(answer.recommendation))
    return " ".join(
        f"{_words(answer.results)} ({answer.recommendation.classification}): {answer.recommendation.text}"
        for answer in ordered
    )


def _converts(item: GeneInteraction) -> bool:
    """Whether a drug changes the activity score that CPIC's rows are looked up by."""
    return item.gene == "CYP2D6" and item.role == "inhibitor" and item.strength != "weak"


def uncounted(meaning: DrugMeaning) -> list[GeneInteraction]:
    """Interacting drugs that CPIC's look-up does not count; weak ones are left out."""
    return [
        item for item in meaning.interactions
        if item.strength != "weak" and not (meaning.advice and _converts(item))
    ]  # fmt: skip


def _interaction_words(meaning: DrugMeaning) -> list[str]:
    """Drugs that act on the enzymes and that nothing else that is said counts; weak ones are in the table."""
    counted = {name for dose in meaning.chart for name in dose.counted}
    words = []
    for item in uncounted(meaning):
        nothing = "only CPIC's equation counts" if item.drug in counted else "nothing above counts"
        change = ""
        if item.clearance is not None:
            low, high = (f"{value:.2g}" for value in item.clearance)
            change = (
                f": it takes the clearance of this genotype to × {low}{'' if low == high else f' to {high}'}"
            )
        words.append(f"{item.drug} is a {item.strength} {item.role} of {item.gene}, which {nothing}{change}.")
    return [f"{text[0].upper()}{text[1:]}" for text in words]


def _urgent(item: Recommendation) -> tuple[int, int]:
    strength = item.classification.lower()
    place = _STRENGTHS.index(strength) if strength in _STRENGTHS else len(_STRENGTHS)
    return _ORDER.index(item.action.kind), place


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
    notes = (*(item.note for item in model.readings), *model.indistinct)
    start = f"Our model ({known.model.title}): " + "".join(f"{note}; " for note in notes)
    if own.genotypes == reference.genotypes:
        how = "so this is read as" if model.readings else "this is"
        return f"{start}{how} its reference genotype ({name}), which changes nothing in it."
    unit = "" if known.responses[0].unit == "1" else f" {known.responses[0].unit}"
    ends = f"{own.settled:.3g}{unit} instead of {reference.settled:.3g}{unit}"
    return (
        f"{start}under the usual dose a typical person with this genotype averages {known.output} {ends} "
        f"({name}) in the second half of the course."
    )


def _words(results: Mapping[str, str]) -> str:
    return ", ".join(f"{gene} {result}" for gene, result in results.items())
