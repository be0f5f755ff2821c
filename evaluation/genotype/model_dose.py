"""What a drug's own model says about a genotype: the course under the usual dose, and the relative dose.

Everything is of one typical person: the medians of the scenario's virtual population, no random effects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations_with_replacement, product

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Noise, Patients, Scenario, Treatment, individual_parameters, scenario
from dosewright.envs.pharmacology import GenotypeTerm
from dosewright.pharmacogenomics import (
    AlleleReading,
    Diplotype,
    GeneCall,
    Represented,
    coding_strand_pair,
    populations,
    recommend,
    recommended_drugs,
    represent,
)

Floats = NDArray[np.float64]

_DRAWN = 999  # people behind the medians; an odd number, so that the median of a flag is 0 or 1
_LEAST = 0.01  # smallest multiple of the usual dose that is looked at
_HALVINGS = 26  # of the logarithm of the multiple: leaves 1e-7
_APART = 1.25  # factor on the usual dose, up and down, between which the elasticity is taken
LEAST_ELASTICITY = 0.25
"""Where the response follows the dose less than this, no dose is said to bring two genotypes together."""


class OpenGenotypeError(ValueError):
    """A call does not leave one pair of alleles, so that no model can use it."""


@dataclass(frozen=True)
class TypicalPerson:
    """Whom a course is of.

    Attributes
    ----------
    covariates : name -> value, clinical units: medians of the virtual population, three significant figures
    source : in words
    """

    covariates: Mapping[str, float]
    source: str


@dataclass(frozen=True)
class ParameterChange:
    """A parameter that the genotype changes.

    Attributes
    ----------
    name, unit : as the model names it
    value, reference : in the genotype, and in the reference genotype
    """

    name: str
    unit: str
    value: float
    reference: float

    @property
    def ratio(self) -> float:
        """`value` over `reference`, dimensionless."""
        return self.value / self.reference


@dataclass(frozen=True)
class Course:
    """A typical person with one genotype under the usual dose.

    Attributes
    ----------
    role : what the genotype is here: "this person", "reference", "lowest", "highest"
    genotypes : gene -> diplotype, as the model writes it
    values : (u + 1,) response of every unit, before treatment first; NaN where there is none
    settled : mean of `values` over the second half of the course
    multiplier : multiple of the usual dose with which this genotype settles where the usual dose leads the
        reference genotype, dimensionless; None where no dose up to the largest one does, and where the
        response hardly follows the dose (`ModelDose.elasticity`)
    """

    role: str
    genotypes: Mapping[str, str]
    values: Floats
    settled: float
    multiplier: float | None


@dataclass(frozen=True)
class ModelDose:
    """What a model says about a genotype.

    Attributes
    ----------
    scenario : the drug's decision problem
    person : whom it is said of
    usual : the dose that is called usual, in `scenario.doses.unit`, as it is given
    reference : gene -> diplotype of the reference genotype
    reference_reason : why that one
    changes : parameters that differ from the reference genotype's
    courses : this person's genotype first, the reference, then the genotypes that settle lowest and highest,
        where they are others
    days : (u + 1,) time of the courses
    readings : alleles that the model has no value for, and what they were read as (ASSUMPTION)
    indistinct : what the model does not tell apart in this genotype, in sentences
    elasticity : relative change of what the response settles at over that of the dose, around the usual dose
        of the reference genotype, dimensionless
    """

    scenario: Scenario
    person: TypicalPerson
    usual: float
    reference: Mapping[str, str]
    reference_reason: str
    changes: tuple[ParameterChange, ...]
    courses: tuple[Course, ...]
    days: Floats
    readings: tuple[Represented, ...]
    indistinct: tuple[str, ...]
    elasticity: float

    @property
    def multiplier(self) -> float | None:
        """Multiple of the usual dose for this person's genotype, as in `Course`."""
        return self.courses[0].multiplier

    def ratio(self, gene: str, parameter: str) -> float:
        """A parameter in this genotype over that in the model's first genotype of one gene, all else equal,
        dimensionless."""
        table = _table(self.scenario.name)
        own = self.courses[0].genotypes
        first = {**own, gene: _pairs(_term(self.scenario, gene))[0]}
        column = self.scenario.model.column(parameter)
        return float(table.theta[table.row(own), column] / table.theta[table.row(first), column])


def modelled_genotype(call: GeneCall) -> Diplotype:
    """The pair of alleles that a call leaves, as models write it: VKORC1 by its coding strand.

    Raises
    ------
    OpenGenotypeError : several pairs fit alike, only a phenotype is known, the call is doubted, or none is
        there
    """
    if call.doubt:
        raise OpenGenotypeError(call.doubt)
    if call.lookup is not None:
        return coding_strand_pair(call.gene, call.lookup)
    if len(call.diplotypes) > 1:
        fit = " or ".join(str(pair) for pair in call.diplotypes)
        raise OpenGenotypeError(f"{call.gene} stays open: {fit} fit alike")
    if call.origin == "outside call":
        raise OpenGenotypeError(f"{call.gene}: only {call.phenotype or call.score} is given, no diplotype")
    raise OpenGenotypeError(call.absence)


def model_dose(known: Scenario, genotypes: Mapping[str, Diplotype]) -> ModelDose:
    """What the scenario's model says about a genotype.

    Parameters
    ----------
    known : the drug's scenario, with genotype terms
    genotypes : gene -> diplotype as the model writes it, for every gene of the model

    Raises
    ------
    UnrepresentedAlleleError, UnknownAlleleError : the model has no value for an allele, nor for its function
    ValueError : the model has no genotype term, a gene is not given, or the model refuses the genotype, as of
        people whom the drug must not be given
    """
    terms = known.model.genotype_terms
    if not terms:
        raise ValueError(f"{known.model.name} has no genotype term; choose a drug whose model has one")
    missing = [term.gene for term in terms if term.gene not in genotypes]
    if missing:
        raise ValueError(f"{known.model.name} needs the {missing[0]} genotype; give its diplotype")
    own: dict[str, str] = {}
    readings: list[Represented] = []
    for term in terms:
        read = [_represented(term, allele) for allele in genotypes[term.gene].alleles]
        own[term.gene] = str(Diplotype(*(_standing(term, item) for item in read)))
        readings += [item for item in read if item.reason is not AlleleReading.MODELLED]
    table = _table(known.name)
    if own not in table.genotypes:
        _parameters(known, table.person, own)  # raises, with the reason
    here, reference = table.row(own), table.row(table.reference)
    ends = _settled(table.values)
    chosen = {"this person": here, "reference": reference}
    for role, row in (("lowest", int(np.nanargmin(ends))), ("highest", int(np.nanargmax(ends)))):
        if not any(np.isclose(ends[row], ends[other], rtol=1e-6) for other in chosen.values()):
            chosen[role] = row
    changes = tuple(
        ParameterChange(
            item.name, item.unit, float(table.theta[here, i]), float(table.theta[reference, i])
        )
        for i, item in enumerate(known.model.parameters)
        if not np.isclose(table.theta[here, i], table.theta[reference, i], rtol=1e-9)
    )  # fmt: skip
    return ModelDose(
        known,
        table.person,
        table.usual,
        table.reference,
        table.reference_reason,
        changes,
        tuple(
            Course(role, table.genotypes[row], table.values[row], float(ends[row]), table.multiplier(row))
            for role, row in chosen.items()
        ),
        np.arange(known.horizon + 1, dtype=np.float64) * known.clock.days,
        tuple(dict.fromkeys(readings)),
        _indistinct(terms, table, own),
        table.elasticity,
    )


def _indistinct(terms: Sequence[GenotypeTerm], table: _Table, own: Mapping[str, str]) -> tuple[str, ...]:
    """Return a sentence for each gene of which two changed alleles count in the model as one of them does."""
    found = []
    for term in terms:
        first = next(iter(term.per_allele))
        pair = Diplotype.parse(own[term.gene])
        halves = [str(Diplotype(first, allele)) for allele in pair.alleles if allele != first]
        rows = [{**own, term.gene: half} for half in halves]
        if len(rows) == 2 and all(
            row in table.genotypes
            and np.allclose(table.theta[table.row(row)], table.theta[table.row(own)], rtol=1e-9)
            for row in rows
        ):
            found.append(f"the model does not tell {term.gene} {pair} from {halves[0]}")
    return tuple(found)


def typical_person(known: Scenario) -> TypicalPerson:
    """The medians of a scenario's virtual population.

    A median of several values that follow from each other (height, weight, body surface) is that of each.
    """
    drawn = known.population.draw(known.model, known.base, np.arange(_DRAWN), Noise("trial", 1))
    values = {name: float(f"{np.median(column):.3g}") for name, column in drawn.covariates.items()}
    return TypicalPerson(
        values,
        f"medians of {known.name}-v{known.version}'s virtual population ({known.population.source})",
    )


# ------------------------------------------------------------------------------- every genotype of a model


@dataclass(frozen=True, eq=False)
class _Table:
    """All genotypes that a model tells apart, computed once a drug."""

    person: TypicalPerson
    usual: float
    genotypes: tuple[Mapping[str, str], ...]
    reference: Mapping[str, str]
    reference_reason: str
    theta: Floats
    values: Floats
    multipliers: Floats
    elasticity: float

    def row(self, genotypes: Mapping[str, str]) -> int:
        return self.genotypes.index(genotypes)

    def multiplier(self, row: int) -> float | None:
        found = float(self.multipliers[row])
        return None if np.isnan(found) else found


@lru_cache
def _table(drug: str) -> _Table:
    known = scenario(drug)
    terms = known.model.genotype_terms
    person, rows = typical_person(known), {}
    for pairs in product(*(_pairs(term) for term in terms)):
        genotype = dict(zip((term.gene for term in terms), pairs, strict=True))
        try:
            rows[pairs] = genotype, _parameters(known, person, genotype)
        except ValueError:  # one that must not be given the drug: asked for, `model_dose` says so
            continue
    genotypes = tuple(genotype for genotype, _ in rows.values())
    theta, n = np.concatenate([found for _, found in rows.values()]), len(rows)
    covariates = {name: np.full(n, value) for name, value in person.covariates.items()}
    columns = {term.gene: np.array([item[term.gene] for item in genotypes]) for term in terms}
    people = Patients(np.arange(n), covariates, columns, {}, theta, {})
    treatment = Treatment(known, Intake.prepare(known, people, Noise("trial", 1), known.preset("textbook")))
    seen = known.observation.decode(treatment.observe())
    usual = float(known.doses.snap(known.label.dose(seen))[0])
    reference, reason = _reference(known, genotypes)
    values = _course(treatment, np.full(n, usual))
    first = genotypes.index(reference)
    around = [_settled(_course(treatment, np.full(n, usual * by)))[first] for by in (1 / _APART, _APART)]
    elasticity = float(np.log(around[1] / around[0]) / (2 * np.log(_APART)))
    multipliers = np.full(n, np.nan)
    if abs(elasticity) >= LEAST_ELASTICITY:
        multipliers = _multipliers(treatment, usual, float(_settled(values)[first]))
    return _Table(person, usual, genotypes, reference, reason, theta, values, multipliers, elasticity)


def _parameters(known: Scenario, person: TypicalPerson, genotypes: Mapping[str, str]) -> Floats:
    """Parameters (1, p) of the typical person with a genotype."""
    given = dict(person.covariates)
    if known.base is not None:
        given["baseline"] = known.base[0]
    covariates = {item.name: given[item.name] for item in known.model.covariates}
    return individual_parameters(known.model, covariates, {gene: [pair] for gene, pair in genotypes.items()})


def _course(treatment: Treatment, dose: Floats) -> Floats:
    """Response (n, u + 1) under one dose (n,) for the whole course."""
    foreseen = treatment.foresee(dose[:, None], dose, treatment.scenario.horizon)
    ahead = foreseen[treatment.scenario.output][:, 0]
    return np.where(np.isnan(ahead), treatment.truth, ahead)


def _settled(values: Floats) -> Floats:
    """Mean (n,) over the second half of a course: a count of cells swings for longer than a course lasts."""
    return np.nanmean(values[:, -(values.shape[1] // 2) :], axis=1)


def _multipliers(treatment: Treatment, usual: float, aim: float) -> Floats:
    """Multiple (n,) of the usual dose that settles at `aim`; NaN where none up to the largest dose does."""
    n = len(treatment)
    low, high = (np.full(n, np.log(value)) for value in (_LEAST, treatment.scenario.doses.maximum / usual))
    ends = [_settled(_course(treatment, usual * np.exp(limit))) for limit in (low, high)]
    rises = ends[1] > ends[0]
    within = (np.minimum(*ends) <= aim) & (aim <= np.maximum(*ends) * (1 + 1e-9))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        more = (_settled(_course(treatment, usual * np.exp(middle))) < aim) == rises
        low, high = np.where(more, middle, low), np.where(more, high, middle)
    return np.where(within, np.exp((low + high) / 2), np.nan)


def _reference(known: Scenario, genotypes: Sequence[Mapping[str, str]]) -> tuple[Mapping[str, str], str]:
    """The genotype that the usual dose is meant for: the model's first one for which CPIC says so."""
    if known.name in recommended_drugs():
        for item in genotypes:
            said = recommend(known.name, item, populations(known.name)[0])
            if said.action.kind == "usual":
                return item, f"CPIC: usual dose ({said.row.guideline.name}, row {said.row.number})"
    return genotypes[0], f"the reference of the model {known.model.name}"


def _term(known: Scenario, gene: str) -> GenotypeTerm:
    return next(term for term in known.model.genotype_terms if term.gene == gene)


def _pairs(term: GenotypeTerm) -> list[str]:
    """Every pair of modelled alleles, the first allele twice first."""
    return [str(Diplotype(*pair)) for pair in combinations_with_replacement(term.per_allele, 2)]


def _represented(term: GenotypeTerm, allele: str) -> Represented:
    equal = {alias: term.per_allele[name] for alias, name in term.same_as.items()}
    return represent(term.gene, allele, {**term.per_allele, **equal}, term.by_function)


def _standing(term: GenotypeTerm, read: Represented) -> str:
    return term.same_as.get(read.stands_for, read.stands_for)
