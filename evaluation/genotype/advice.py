"""What CPIC says of a drug, for every result that a person's calls leave possible.

A result that stays open is never looked up as `No Result`, CPIC's key for a gene that was not tested: it is
looked up by each of its keys. Where they lead to different recommendations none of them is chosen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from dosewright.pharmacogenomics import (
    Diplotype,
    GeneCall,
    MissingGeneError,
    Possibility,
    Recommendation,
    Tables,
    UnlistedKeyError,
    lookup_genes,
    lookup_keys,
    populations,
    recommend,
)

_NEARLY_SURE = 0.99  # a call as probable as this is not held up by a rare allele at a missing position
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
        """Gene -> the keys of all look-ups, in words."""
        genes = self.lookups[0]
        return {gene: " or ".join(dict.fromkeys(item[gene] for item in self.lookups)) for gene in genes}


@dataclass(frozen=True)
class Advice:
    """What CPIC says for one population. Not for clinical use.

    Attributes
    ----------
    population : as CPIC names it
    answers : one where the calls settle it; several where they leave results open that differ in it; none
        where there is none
    otherwise : what else it could be, with results that only missing positions leave possible
        (`not_excluded`)
    reasons : why there is none, or none for a result that is left open, one sentence each
    """

    population: str
    answers: tuple[Answer, ...]
    otherwise: tuple[Answer, ...]
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
    groups = populations(drug)
    genes = lookup_genes(drug)
    blocked = [why for gene in genes if (why := no_lookup(called.get(gene)))]
    if blocked:
        return tuple(Advice(group, (), (), tuple(blocked)) for group in groups)
    open_keys = {gene: _keys(drug, gene, called.get(gene)) for gene in genes}
    further = {gene: _further(called.get(gene)) for gene in genes}
    diplotypes = {
        gene: call.lookup
        for gene, call in called.items()
        if gene in genes and call.lookup is not None and call.keys
    }
    made = []
    for group in groups:
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
        made.append(Advice(group, tuple(found.values()), otherwise, tuple(reasons)))
    return tuple(made)


def no_lookup(call: GeneCall | None) -> str:
    """Why a gene that was tested has no result to look anything up by; "" where it has one, or no test."""
    if call is None or not call.tested:
        return ""
    if call.doubt or call.keys:
        return call.doubt
    if call.origin == "not called":
        why = "" if call.match is None or call.match.reason is None else f": {call.match.reason}"
        return f"{call.gene} was not called{why}"
    # of an allele without function the last note says so
    return next(reversed(call.notes), f"{call.gene} has no phenotype")


def _keys(drug: str, gene: str, call: GeneCall | None) -> _Keys:
    if call is None or not call.tested:
        return (None,)
    if call.match is None:
        # of the HLA results the one that the drug's rows ask for; another allele's is no result for it
        return tuple(key for key in call.keys if key in lookup_keys(drug, gene)) or (None,)
    return call.keys


def not_excluded(call: GeneCall) -> tuple[Possibility, ...]:
    """What only missing positions leave possible beside a call, unless that is less than 1 % probable."""
    p = call.probability
    return call.could_be if p is None or p < _NEARLY_SURE else ()


def _further(call: GeneCall | None) -> _Keys:
    return () if call is None else tuple(item.key for item in not_excluded(call))


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
            words = item.classification, item.text
            before = found.get(words, Answer(item, ()))
            found[words] = replace(before, lookups=(*before.lookups, item.lookup))
    return found, list(reasons)
