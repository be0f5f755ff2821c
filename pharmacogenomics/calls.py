"""One person's genes, from what a VCF shows and what was called elsewhere, to phenotype and look-up key.

A call from outside wins over the VCF, and both are shown. Where several diplotypes fit alike none is chosen;
the phenotype is given all the same if they share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

from dosewright.pharmacogenomics.alleles import Allele, Diplotype
from dosewright.pharmacogenomics.matching import Match, lookup_pair, match
from dosewright.pharmacogenomics.outside_calls import OutsideCall, OutsideCallError
from dosewright.pharmacogenomics.phenotype import Interpretation, interpret
from dosewright.pharmacogenomics.posterior import Posterior, posterior
from dosewright.pharmacogenomics.sites import Genotypes
from dosewright.pharmacogenomics.tables import TABLES, Tables, UnknownAlleleError, UnknownGroupError

_EVEN = 0.5  # below it another result is more probable than the one reported, or all others together are
_PROBABLE = 0.9  # what missing positions leave open must be more improbable than the rest of this


@dataclass(frozen=True)
class Possibility:
    """What missing positions leave possible beside the call.

    Attributes
    ----------
    key, phenotype : look-up key and phenotype that the call does not have
    diplotype : an example of a pair that has them, and fits everything that was seen
    missing : VCF positions that would decide
    """

    key: str
    phenotype: str | None
    diplotype: Diplotype
    missing: tuple[int, ...]


@dataclass(frozen=True)
class GeneCall:
    """What is known of one gene of one person.

    Attributes
    ----------
    gene : its symbol; HLA-A and HLA-B come from outside only
    origin : where the result that counts comes from
    diplotypes : those that the result leaves possible: the one from outside, or all with the best score
    lookup : the pair by which the phenotype is found, where there is one (of DPYD the two variants of lowest
        function)
    phenotype, score, ehr_priority : None where they stay open, or the gene has none
    keys : every key for recommendations that the result leaves possible: several for a tie and for a
        phenotype that several activity scores have; of HLA one for each allele that was tested; none where
        nothing is known
    could_be : further keys that only missing positions leave possible
    match : what the VCF shows; None for a gene without allele tables
    outside : what was called elsewhere, None if nothing was
    posterior : probabilities given reads and ancestry; None where the tables have no frequencies
    structural : structural variants that the file reports over the gene, which nothing interprets
    notes : what a reader of the result must know, in sentences
    source : curator, version and date of the tables
    """

    gene: str
    origin: Literal["VCF", "outside call", "not called"]
    diplotypes: tuple[Diplotype, ...]
    lookup: Diplotype | None
    phenotype: str | None
    score: str | None
    ehr_priority: str | None
    keys: tuple[str, ...]
    could_be: tuple[Possibility, ...]
    match: Match | None
    outside: OutsideCall | None
    posterior: Posterior | None
    structural: tuple[str, ...]
    notes: tuple[str, ...]
    source: str

    @property
    def tested(self) -> bool:
        """Whether anything was looked at: an outside call, or a position of the gene in the VCF."""
        return self.origin != "not called" or (self.match is not None and bool(self.match.used))

    @property
    def absence(self) -> str:
        """Why there is no result, a sentence; "" where there is one."""
        if self.origin != "not called":
            return ""
        if not self.tested:
            return f"{self.gene} was not tested: none of its positions was called"
        why = "" if self.match is None or self.match.reason is None else f": {self.match.reason}"
        return f"{self.gene} was not called{why}"

    @property
    def probability(self) -> float | None:
        """P(the phenotype that is reported), of a gene without phenotypes P(`lookup`), given the VCF and the
        ancestry; None for what was called elsewhere, and for what the posterior does not weigh: variants on
        one chromosome of DPYD, SLCO1B1 by one variant, a gene under a structural variant."""
        unweighed = self.match is not None and (self.match.by_one_variant or self._combined)
        if self.posterior is None or self.origin != "VCF" or self.structural or unweighed:
            return None
        if self.phenotype is not None:
            return self.posterior.phenotypes.get(self.phenotype, 0.0)
        return None if self.lookup is None else self.posterior.probability(self.lookup)

    @property
    def _combined(self) -> bool:
        return any(
            Allele.parse(name).kind == "combination" for pair in self.diplotypes for name in pair.alleles
        )

    @property
    def doubt(self) -> str:
        """Why nothing should be built on the result that scores best, a sentence; "" where it may be.

        A phenotype is doubted if it has less than even probability, or less than 0.9 where missing positions
        leave others possible; a result of any gene where they do and no frequencies say how probable that is,
        or if a structural variant lies over it.
        """
        if self.origin != "VCF":
            return ""
        if self.structural:
            return f"{self.gene}: the file reports {', '.join(self.structural)}, which is not interpreted"
        p = self.probability
        shown = self.phenotype or " or ".join(map(str, self.diplotypes))
        if p is not None and self.phenotype and p < (_PROBABLE if self.could_be else _EVEN):
            return f"{self.gene}: {shown} fits best, but has probability {p:.2g} only"
        if self.could_be and self.posterior is None:
            return f"{self.gene}: {shown} fits best, but positions that decide it were not called"
        return ""


def call_genes(
    genotypes: Genotypes,
    outside: Sequence[OutsideCall] = (),
    ancestry: Mapping[str, float] | str | None = None,
    tables: Tables = TABLES,
) -> tuple[GeneCall, ...]:
    """Call every gene of the tables, and those that only come from outside.

    Parameters
    ----------
    genotypes : one sample, as `read_vcf` gives it
    outside : calls of the same person made elsewhere, as `read_outside_calls` gives them
    ancestry : biogeographic group, or groups with shares that add up to 1, for the posterior; None where it
        is not known: then every group that has frequencies of the gene counts alike (ASSUMPTION)

    Returns
    -------
    Calls in alphabetical order of the genes

    Raises
    ------
    UnknownGroupError : no gene has frequencies for a group of the ancestry
    OutsideCallError : a gene of the tables has several outside calls
    UnknownAlleleError : an outside call joins variants that the tables do not have
    ValueError : the ancestry's shares do not add up to 1
    """
    _check_ancestry(ancestry, tables)
    given = _by_gene(outside, tables)
    made = [
        _called(gene, genotypes, (given.get(gene) or [None])[0], ancestry, tables) for gene in tables.genes()
    ]
    made += [_from_outside_only(gene, calls) for gene, calls in given.items() if gene not in tables.genes()]
    return tuple(sorted(made, key=lambda call: call.gene))


def _by_gene(outside: Sequence[OutsideCall], tables: Tables) -> dict[str, list[OutsideCall]]:
    found: dict[str, list[OutsideCall]] = {}
    for item in outside:
        found.setdefault(item.gene, []).append(item)
    for gene, calls in found.items():
        if gene in tables.genes() and len(calls) > 1:
            lines = " and ".join(str(item.line) for item in calls)
            raise OutsideCallError(f"{gene} has several outside calls (lines {lines}); give one")
    return found


def _check_ancestry(ancestry: Mapping[str, float] | str | None, tables: Tables) -> None:
    known = {group for gene in tables.genes() for group in tables.biogeographic_groups(gene)}
    for group in () if ancestry is None else (ancestry,) if isinstance(ancestry, str) else ancestry:
        if group not in known:
            raise UnknownGroupError(
                f"no gene has frequencies for the ancestry {group!r}; use one of {', '.join(sorted(known))}"
            )


def _called(
    gene: str,
    genotypes: Genotypes,
    outside: OutsideCall | None,
    ancestry: Mapping[str, float] | str | None,
    tables: Tables,
) -> GeneCall:
    found = match(gene, genotypes.sites[gene], tables)
    notes = [] if found.reason is None else [found.reason]
    if found.structure_not_seen:
        notes.append(
            f"deletions, duplications and hybrids of {gene} are not seen in a VCF of small variants: "
            f"{', '.join(found.structure_not_seen)} are neither called nor excluded"
        )
    probable, why = _posterior(gene, genotypes, ancestry, tables)
    notes += [why] if why else []
    diplotypes = tuple(item.diplotype for item in found.best)
    pairs = (found.lookup,) if found.lookup is not None else diplotypes
    origin: Literal["VCF", "outside call", "not called"] = "VCF" if pairs else "not called"
    if outside is not None:
        origin = "outside call"
        diplotypes = () if outside.diplotype is None else (outside.diplotype,)
        pairs, unsaid = _lookup(gene, diplotypes, tables)
        notes += unsaid
        shown = " or ".join(str(item.diplotype) for item in found.best) or "no call"
        notes.insert(0, f"called elsewhere (line {outside.line}), which counts; the VCF shows {shown}")
    structural = genotypes.structural.get(gene, ())
    if structural:
        notes.append(f"the file reports {', '.join(structural)} over {gene}, which is not interpreted")
    meaning, unsaid = _meaning(gene, pairs, tables)
    notes += unsaid
    if outside is not None and not meaning:
        phenotype, score, priority = outside.phenotype, outside.activity_score, None
        if phenotype is None and score is not None:
            phenotype = tables.phenotype_rules(gene)[score, ""].phenotype
        keys = (score,) if score is not None else keys_of_phenotype(gene, phenotype, tables)
    else:
        phenotype = _shared(item.phenotype for item in meaning)
        score = _shared(None if item.score is None else str(item.score) for item in meaning)
        priority = _shared(item.ehr_priority for item in meaning)
        keys = tuple(dict.fromkeys(item.key for item in meaning if item.key is not None))
    return GeneCall(
        gene,
        origin,
        diplotypes,
        pairs[0] if len(pairs) == 1 else None,
        phenotype,
        score,
        priority,
        keys,
        _could_be(found, pairs, keys, tables) if origin == "VCF" else (),
        found,
        outside,
        probable,
        structural,
        tuple(notes),
        tables.source(gene),
    )


def keys_of_phenotype(gene: str, phenotype: str | None, tables: Tables = TABLES) -> tuple[str, ...]:
    """Look-up keys that a phenotype may have: itself, or every activity score that leads to it."""
    if not tables.scored_by_activity(gene):
        return () if phenotype is None else (phenotype,)
    rules = tables.phenotype_rules(gene).items()
    return tuple(key for (key, _), rule in rules if rule.phenotype == phenotype)


def _could_be(
    found: Match, pairs: Sequence[Diplotype], keys: Sequence[str], tables: Tables
) -> tuple[Possibility, ...]:
    """Return one possibility for each key that a called pair would have if alleles that differ from its own
    only at missing positions stood in their place."""
    kinds = _kinds(found, tables)
    made: dict[str, Possibility] = {}
    for pair in pairs:
        choices = [[_Kind(name, frozenset()), *kinds.get(name, ())] for name in pair.alleles]
        for one, other in product(*choices):
            if not one.missing and not other.missing:  # the pair that was called
                continue
            changed = Diplotype(one.allele, other.allele)
            meaning, _ = _meaning(found.gene, (changed,), tables)
            key = meaning[0].key if meaning else None
            if key is not None and key not in keys:
                before = made.get(key, Possibility(key, meaning[0].phenotype, changed, ()))
                places = tuple(sorted({*before.missing, *one.missing, *other.missing}))
                made[key] = replace(before, missing=places)
    return tuple(made.values())


@dataclass(frozen=True)
class _Kind:
    """Alleles of one function that stand alike: one of them, and the missing positions that decide."""

    allele: str
    missing: frozenset[int]


def _kinds(found: Match, tables: Tables) -> dict[str, list[_Kind]]:
    """Return called allele -> the kinds in `alike`: alleles of one function have one phenotype, and a gene
    may have eighty that were not excluded. A position whose anchor base the tables lack (TPMT *47) decides
    nothing: hardly any file has it."""
    valued = set(tables.function_alleles(found.gene))
    defined = {item.name: {*item.core, *item.either} for item in tables.definitions(found.gene)}
    missing = {
        item.pos for item in tables.positions(found.gene)
        if item.pos in found.missing and not item.ref.startswith("N")
    }  # fmt: skip
    made: dict[str, list[_Kind]] = {}
    for called, names in found.alike.items():
        by_function: dict[tuple[str, str], _Kind] = {}
        for name in names:
            decides = (defined.get(name, set()) ^ defined.get(called, set())) & missing
            if name in valued and decides:
                function = tables.clinical_function(found.gene, name)
                kind = function, str(tables.allele_activity(found.gene, name))
                before = by_function.get(kind, _Kind(name, frozenset()))
                by_function[kind] = replace(before, missing=before.missing | decides)
        made[called] = list(by_function.values())
    return made


def _lookup(
    gene: str, diplotypes: Sequence[Diplotype], tables: Tables
) -> tuple[tuple[Diplotype, ...], list[str]]:
    """Return the pairs that phenotypes are looked up by, and a sentence where there is no rule for one."""
    try:
        return tuple(lookup_pair(gene, pair, tables) for pair in diplotypes), []
    except UnknownAlleleError as error:
        return (), [str(error).partition(";")[0]]


def _meaning(gene: str, pairs: Sequence[Diplotype], tables: Tables) -> tuple[list[Interpretation], list[str]]:
    """Return the interpretation of every pair, and a sentence where one has none; then nothing is shared."""
    try:
        return [interpret(gene, pair, tables) for pair in pairs], []
    except UnknownAlleleError as error:
        return [], [str(error).partition(";")[0]]


def _shared(values: Iterable[str | None]) -> str | None:
    """Return what all say, None where they differ or there are none."""
    said = set(values)
    return said.pop() if len(said) == 1 else None


def _posterior(
    gene: str, genotypes: Genotypes, ancestry: Mapping[str, float] | str | None, tables: Tables
) -> tuple[Posterior | None, str]:
    groups = tables.biogeographic_groups(gene)
    if not groups:
        return None, f"the tables have no frequencies of {gene}: no probabilities"
    if ancestry is None:
        ancestry = {group: 1 / len(groups) for group in groups}
    try:
        return posterior(gene, genotypes.sites[gene], ancestry, tables), ""
    except UnknownGroupError as error:
        return None, f"no probabilities: {error}"


def _from_outside_only(gene: str, calls: Sequence[OutsideCall]) -> GeneCall:
    said = tuple(item.phenotype for item in calls if item.phenotype is not None)
    return GeneCall(
        gene, "outside call", (), None, ", ".join(said), None, None, said, (), None, calls[0], None, (), (),
        "outside call",
    )  # fmt: skip
