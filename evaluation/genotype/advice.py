"""What CPIC says of a drug, for every result that a person's calls leave possible.

A result that stays open is never looked up as `No Result`, CPIC's key for a gene that was not tested: it is
looked up by each key that it may have. Where they lead to different recommendations none of them is chosen,
and all are given.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from dosewright.evaluation.genotype.model_dose import OpenGenotypeError, modelled_genotype
from dosewright.pharmacogenomics import (
    NO_RESULT,
    NO_SCORE,
    ActivityScore,
    Diplotype,
    GeneCall,
    MissingGeneError,
    Possibility,
    Recommendation,
    Tables,
    UnlistedKeyError,
    cyp2d6_phenotype,
    cyp2d6_score,
    keys_of_phenotype,
    lookup_genes,
    lookup_keys,
    populations,
    recommend,
)

_NEARLY_SURE = 0.99  # a call as probable as this is not held up by an allele of unknown function
_REMAINS = 0.05  # probability from which another phenotype is looked up beside a call
_POSSIBLE = 0.01  # the same where the call itself is doubted
_NO_ACTIVITY = "0.0"
_NAMED = 2  # activity scores that are named one by one
_UNKNOWN = (NO_RESULT, NO_SCORE, "Indeterminate")  # keys that no person's enzyme has
_Keys = tuple[str | None, ...]  # of one gene; None: not tested


@dataclass(frozen=True)
class Answer:
    """A recommendation, and the results that lead to it.

    Attributes
    ----------
    recommendation : looked up by the first of them
    lookups : every look-up that leads to the same strength and words
    """

    recommendation: Recommendation
    lookups: tuple[Mapping[str, str], ...]

    @property
    def results(self) -> dict[str, str]:
        """Gene -> the keys of all look-ups, in words; of many activity scores the lowest and the highest."""
        return {gene: _joined([item[gene] for item in self.lookups]) for gene in self.lookups[0]}


def _joined(keys: Sequence[str]) -> str:
    named = list(dict.fromkeys(keys))
    scores = [key for key in named if key[0].isdigit() or key.startswith("≥")]
    if len(scores) < len(named) or len(named) <= _NAMED:
        return " or ".join(named)
    ordered = sorted(named, key=lambda key: (float(key.removeprefix("≥")), key.startswith("≥")))
    return f"{ordered[0]} to {ordered[-1]}"


@dataclass(frozen=True)
class Advice:
    """What CPIC says for one population. Not for clinical use.

    Attributes
    ----------
    population : as CPIC names it
    answers : one where the calls settle it; several where they leave results open that differ in it; none
        where there is none
    otherwise : what else it could be, with results that are not excluded beside the calls (`not_excluded`)
    open_genes : gene -> why its result stays open, of those that leave several keys
    reasons : why there is none, or none for a result that is left open, one sentence each
    """

    population: str
    answers: tuple[Answer, ...]
    otherwise: tuple[Answer, ...]
    open_genes: Mapping[str, str]
    reasons: tuple[str, ...]

    @property
    def settled(self) -> bool:
        """Whether every result that the calls leave open leads to the same recommendation."""
        return len(self.answers) == 1 and not self.reasons


def cpic_advice(
    drug: str, called: Mapping[str, GeneCall], inhibitors: Sequence[str], tables: Tables
) -> tuple[Advice, ...]:
    """Look a drug up for every population.

    Parameters
    ----------
    drug : one with recommendations
    called : gene -> call; a gene that is not there was not tested
    inhibitors : generic names of drugs that are taken too
    tables : those by which the genes were called

    Raises
    ------
    NoGuidelineError : the drug has no recommendations
    """
    genes = lookup_genes(drug)
    others = [name for name in inhibitors if name != drug]
    open_keys = {gene: _keys(drug, gene, called.get(gene), others, tables) for gene in genes}
    further = {gene: _further(drug, gene, called.get(gene), tables) for gene in genes}
    open_genes = {gene: _why_open(called[gene]) for gene, keys in open_keys.items() if len(keys) > 1}
    diplotypes = {
        gene: call.lookup
        for gene, call in called.items()
        if call.lookup is not None and open_keys.get(gene) == call.keys
    }
    made = []
    for group in populations(drug):
        found, reasons = _looked_up(
            (dict(zip(genes, keys, strict=True)) for keys in product(*open_keys.values())),
            drug, group, diplotypes, inhibitors, tables,
        )  # fmt: skip
        wider = [(*open_keys[gene], *further[gene]) for gene in genes] if any(further.values()) else []
        others, _ = _looked_up(
            (dict(zip(genes, keys, strict=True)) for keys in product(*wider) if wider),
            drug, group, {}, inhibitors, tables,
        )  # fmt: skip
        otherwise = tuple(item for words, item in others.items() if words not in found)
        made.append(Advice(group, tuple(found.values()), otherwise, open_genes, tuple(reasons)))
    return tuple(made)


def no_result(call: GeneCall | None) -> str:
    """Why a gene that was tested has no result to look anything up by; "" where it has one, or no test."""
    if call is None or not call.tested:
        return ""
    if call.doubt or call.keys:
        return call.doubt
    # of an allele without function the last note says so
    return call.absence or next(reversed(call.notes), f"{call.gene} has no phenotype")


def _why_open(call: GeneCall) -> str:
    try:
        modelled_genotype(call)
    except OpenGenotypeError as error:
        return str(error)
    return f"{call.gene} has an open number of copies"


def wording(item: Recommendation) -> tuple[str, str]:
    """Strength and words of a recommendation: two that share them are one answer."""
    return item.classification, item.text


def not_excluded(call: GeneCall) -> tuple[Possibility, ...]:
    """What only missing positions leave possible beside a call; a phenotype that is itself unknown only if
    the call is less than 99 % probable."""
    p = call.probability
    if p is None or p < _NEARLY_SURE:
        return call.could_be
    return tuple(item for item in call.could_be if item.phenotype not in _UNKNOWN)


def remaining(call: GeneCall) -> dict[str, float]:
    """Phenotypes beside that of a call that have a probability of 5 % or more."""
    if call.probability is None or call.posterior is None or call.phenotype is None:
        return {}
    found = call.posterior.phenotypes.items()
    return {name: p for name, p in found if p >= _REMAINS and name not in (call.phenotype, *_UNKNOWN)}


def _keys(drug: str, gene: str, call: GeneCall | None, inhibitors: Sequence[str], tables: Tables) -> _Keys:
    if call is not None and call.match is None:
        # of the HLA results the one that the drug's rows ask for; another allele's is no result for it
        return tuple(key for key in call.keys if key in lookup_keys(drug, gene)) or (None,)
    known = call is not None and call.tested and not no_result(call)
    if gene == "CYP2D6" and not known and cyp2d6_left(inhibitors) == 0:
        return (_NO_ACTIVITY,)
    if call is None or not call.tested:
        return (None,)
    if not known:
        return _open_keys(drug, gene, call, tables)
    return tuple(dict.fromkeys(one for key in call.keys for one in _closed(drug, gene, key, inhibitors)))


def cyp2d6_left(inhibitors: Sequence[str]) -> float:
    """Part of an activity score of CYP2D6 that inhibitors leave, whatever the genotype: 0, 0.5 or 1."""
    score, _ = cyp2d6_score(ActivityScore(1.0), inhibitors)
    return 1.0 if score is None else score.value


def _closed(drug: str, gene: str, key: str, inhibitors: Sequence[str]) -> _Keys:
    """Return the key, or the keys that an open copy number stands for if an inhibitor makes of it a score
    without phenotype: half of `≥3.0` may be a normal or an ultrarapid metabolizer's."""
    if gene != "CYP2D6" or not key.startswith("≥"):
        return (key,)
    least = float(key.removeprefix("≥"))
    score, _ = cyp2d6_score(ActivityScore(least, True), inhibitors)
    if cyp2d6_phenotype(score) not in _UNKNOWN:
        return (key,)
    numbers = [item for item in lookup_keys(drug, gene) if item not in _UNKNOWN]
    most = max((item for item in numbers if item.startswith("≥")), key=lambda item: float(item[1:]))
    return tuple(item for item in numbers if not item.startswith("≥") and float(item) >= least) + (most,)


def _open_keys(drug: str, gene: str, call: GeneCall, tables: Tables) -> _Keys:
    """Return the keys that a call without a result leaves: those of every phenotype that is probable, and
    where nothing says how probable they are every one that the drug's rows have."""
    listed = tuple(key for key in lookup_keys(drug, gene) if key not in _UNKNOWN)
    if call.structural or call.posterior is None or call.origin != "VCF":
        return listed
    probable = [name for name, p in call.posterior.phenotypes.items() if p >= _POSSIBLE]
    keys = {key for name in probable for key in keys_of_phenotype(gene, name, tables)}
    # what was matched at every position is possible however rare it is
    keys |= set() if call.could_be else set(call.keys)
    return tuple(key for key in listed if key in keys) or listed


def _further(drug: str, gene: str, call: GeneCall | None, tables: Tables) -> _Keys:
    if call is None or no_result(call):
        return ()
    keys = [item.key for item in not_excluded(call)]
    keys += [key for name in remaining(call) for key in keys_of_phenotype(gene, name, tables)]
    return tuple(key for key in dict.fromkeys(keys) if key in lookup_keys(drug, gene))


def _looked_up(
    results: Iterable[Mapping[str, str | None]],
    drug: str,
    population: str,
    diplotypes: Mapping[str, Diplotype],
    inhibitors: Sequence[str],
    tables: Tables,
) -> tuple[dict[tuple[str, str], Answer], list[str]]:
    """Return strength and words -> the answer that they are, and why there is none for a result."""
    found: dict[tuple[str, str], Answer] = {}
    reasons: dict[str, None] = {}
    for result in results:
        keys = {gene: key for gene, key in result.items() if key is not None}
        read = {gene: pair for gene, pair in diplotypes.items() if gene in keys}
        try:
            item = recommend(drug, read, population, inhibitors, keys, tables)
        except (MissingGeneError, UnlistedKeyError) as error:
            reasons[str(error).partition("; give")[0]] = None
        else:
            words = wording(item)
            before = found.get(words, Answer(item, ()))
            found[words] = replace(before, lookups=(*before.lookups, item.lookup))
    return found, list(reasons)
