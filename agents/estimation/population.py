"""The population as its patients show it: EM over stored likelihood factors.

A population model says that a patient's effects, counted from what it expects of a person with the same
covariates and genotype, are normal with mean 0 and covariance Ω. Here both are learned: the mean becomes a
shift, further shifts for groups of people where the evidence asks for them, and Ω is estimated anew. Effects
are not observed, so it is done by EM (Dempster AP, Laird NM, Rubin DB. J R Stat Soc B 1977;39:1-38): under
the present population every patient's stored particles are weighed, and the weighted moments of all patients
give the next population.

The published model counts as `worth` patients who are just as it says, with the groups of those that were
seen, where the shifts are asked for: Zellner's g-prior (Bayesian inference and decision techniques, 1986,
233-243). Where Ω is, it counts as `spread` patients: an inverse Wishart. Moments add, so hospitals may sum
theirs for one and the same answer, a patient is forgotten by leaving out a factor, and old patients may count
for less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from dosewright.agents.estimation.factor import WIDER, LikelihoodFactor
from dosewright.agents.estimation.prior import alternatives, columns, names, scales
from dosewright.envs import Scenario
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.pharmacology.model import displaced

Floats = NDArray[np.float64]

WORTH = 20.0
"""Patients that the published model counts for, where the mean is asked for."""
SPREAD = 1000.0
"""Patients that its covariance counts for: missed doses and drift look like people who differ more, so the
covariance is believed to have changed only where very many say so."""
VERY_STRONG = 5.0
"""Log Bayes factor from which a group has a shift of its own: 150 to 1, "very strong" of Kass RE, Raftery AE
(J Am Stat Assoc 1995;90:773-795)."""
ROUNDS = 400
"""Most rounds of EM."""
STILL = 1e-5
"""Change of a shift, in published SD, below which EM ends."""
_LEAST_MEMBERS = 10.0  # of a group, and of the others: fewer say nothing of a contrast
_SCHEMA = 1


@dataclass(frozen=True)
class GroupTerm:
    """A group of people whose parameters may differ from what the model expects of them.

    Attributes
    ----------
    covariates
        Names of covariates that are 0 or 1; all are 1 in the group.
    effect
        Effect of a genotype term of the model; in the group are those whose value is not that of the term's
        reference genotype, its first allele twice. Empty: whatever the genotype.
    """

    covariates: tuple[str, ...] = ()
    effect: str = ""

    @property
    def name(self) -> str:
        """Its name in tables: ``race_asian × VKORC1``."""
        return " × ".join((*self.covariates, *((self.effect,) if self.effect else ())))

    def members(
        self, model: PopulationModel, people: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]
    ) -> Floats:
        """Return 1 for who is in the group, else 0, (n,): by covariates and effects (n,)."""
        inside = np.ones(np.shape(np.atleast_1d(next(iter({**people, **effects}.values())))))
        for name in self.covariates:
            inside = inside * (np.asarray(people[name], dtype=np.float64) == 1)
        if self.effect:
            term = next(item for item in model.genotype_terms if item.effect == self.effect)
            first = next(iter(term.per_allele))
            usual = term.pairs[first, first] if term.pairs else 2 * term.per_allele[first]
            inside = inside * (np.abs(np.asarray(effects[self.effect]) - usual) > 1e-12)
        return inside


def candidates(scenario: Scenario) -> tuple[GroupTerm, ...]:
    """Return the groups that a scenario can tell apart: by sex, ancestry, gene, and ancestry × gene."""
    flags = [
        entry.name
        for entry in scenario.covariates
        if entry.unit == "1" and (entry.low, entry.high) == (0, 1) and entry.neutral is None
    ]
    genes = [term.effect for term in scenario.model.genotype_terms]
    races = [name for name in flags if name.startswith("race_")]
    return (
        *(GroupTerm((name,)) for name in flags),
        *(GroupTerm((), gene) for gene in genes),
        *(GroupTerm((race,), gene) for race in races for gene in genes),
    )


@dataclass(frozen=True, eq=False)
class _Expected:
    """``typical`` of a refitted model: what the published one expects, moved."""

    scenario: Scenario
    shift: Floats
    terms: tuple[GroupTerm, ...]
    contrasts: Floats

    def __call__(self, covariates: Mapping[str, ArrayLike], effects: Mapping[str, ArrayLike]) -> Floats:
        model = self.scenario.model
        theta = np.asarray(model.typical(covariates, effects))
        moved = np.broadcast_to(self.shift, (1, len(self.shift)))
        for term, contrast in zip(self.terms, self.contrasts, strict=True):
            moved = moved + term.members(model, covariates, effects)[:, None] * contrast
        if len(moved) > len(theta):
            theta = np.repeat(theta, len(moved), axis=0)
        return displaced(theta, columns(self.scenario), scales(self.scenario), moved)


@dataclass(frozen=True, eq=False)
class RefittedPopulation:
    """What patients have taught of a population.

    Attributes
    ----------
    drug, version
        Scenario, whose published model it departs from.
    names : (d,) unknowns of `dosewright.agents.estimation.prior.names`
    shift : (d,) of everybody, on the scale on which random effects add
    terms : (g,) groups with shifts of their own
    contrasts : (g, d) those shifts, added to `shift`
    omega : (d, d) covariance of the random effects
    patients
        How many it was learned from; with forgetting the sum of what they count.
    log_bayes_factor
        Approximate log Bayes factor for each of `terms` against a population without it.
    """

    drug: str
    version: int
    names: tuple[str, ...]
    shift: Floats
    terms: tuple[GroupTerm, ...]
    contrasts: Floats
    omega: Floats
    patients: float = 0.0
    log_bayes_factor: tuple[float, ...] = ()

    @classmethod
    def published(cls, scenario: Scenario, wider: float = 1.0) -> RefittedPopulation:
        """Return the population as published, its covariance times `wider`."""
        unknowns = tuple(names(scenario))
        omega = np.zeros((len(unknowns), len(unknowns)))
        r = len(scenario.model.random_effects)
        omega[:r, :r] = scenario.model.omega
        if scenario.base is not None:
            omega[-1, -1] = scenario.base[1] ** 2
        nothing = np.zeros((0, len(unknowns)))
        return cls(
            scenario.name, scenario.version, unknowns, np.zeros(len(unknowns)), (), nothing, wider * omega
        )

    @property
    def coefficients(self) -> Floats:
        """(1 + g, d) shift and contrasts."""
        return np.concatenate([self.shift[None], self.contrasts])

    def scenario(self, published: Scenario) -> Scenario:
        """Return the scenario with this population in place of the published one: for belief, anchor and
        simulator alike.

        Raises
        ------
        ValueError
            For another scenario, another version of it, or one whose model has other unknowns; and for a
            group that it cannot tell apart.
        """
        if (published.name, published.version) != (self.drug, self.version):
            raise ValueError(
                f"population of {self.drug} version {self.version}; this is {published.name} version "
                f"{published.version}: refit it from the stored factors"
            )
        if tuple(names(published)) != self.names:
            raise ValueError(
                f"population over {', '.join(self.names)}; the model of {published.name} has "
                f"{', '.join(names(published))}: refit it"
            )
        _check_terms(self.terms, candidates(published), published.name)
        model = published.model
        effects = [model.parameters[i].name for i in model.random_effects]
        varied = dict(zip(effects, np.diagonal(self.omega), strict=False))
        refitted = replace(
            model,
            name=f"{model.name}, refitted",
            typical=_Expected(published, self.shift, self.terms, self.contrasts),
            parameters=tuple(
                replace(item, variance=float(varied[item.name])) if item.name in varied else item
                for item in model.parameters
            ),
            covariances={
                (a, b): float(self.omega[i, j])
                for i, a in enumerate(effects)
                for j, b in enumerate(effects[:i])
            },
        )
        base = published.base
        if base is not None:
            base = (base[0], math.sqrt(self.omega[-1, -1]))
        return replace(published, model=refitted, base=base)

    def check(self) -> None:
        """Refuse numbers that are none, and an `omega` that is no covariance."""
        for name in ("coefficients", "omega", "patients"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name} is not finite")
        if not np.array_equal(self.omega, self.omega.T) or np.linalg.eigvalsh(self.omega)[0] <= 0:
            raise ValueError("omega is no covariance: it is not symmetric and positive definite")

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready data, for `parse`."""
        return {
            "schema": _SCHEMA,
            "drug": self.drug,
            "scenario_version": self.version,
            "names": list(self.names),
            "shift": self.shift.tolist(),
            "terms": [
                {"covariates": list(term.covariates), "effect": term.effect, "log_bayes_factor": factor}
                for term, factor in zip(self.terms, self.log_bayes_factor, strict=True)
            ],
            "contrasts": self.contrasts.tolist(),
            "omega": self.omega.tolist(),
            "patients": self.patients,
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> RefittedPopulation:
        """Return the population of a `record`.

        Raises
        ------
        ValueError
            For a record of another schema, or one that is broken: numbers that are none, a covariance that
            no distribution has.
        """
        if record.get("schema") != _SCHEMA:
            raise ValueError(
                f"population of schema {record.get('schema')!r}; this version reads {_SCHEMA}: refit it"
            )
        try:
            unknowns, terms = tuple(record["names"]), record["terms"]
            d, g = len(unknowns), len(terms)
            found = cls(
                drug=str(record["drug"]),
                version=int(record["scenario_version"]),
                names=unknowns,
                shift=np.array(record["shift"], dtype=np.float64).reshape(d),
                terms=tuple(GroupTerm(tuple(item["covariates"]), item["effect"]) for item in terms),
                contrasts=np.array(record["contrasts"], dtype=np.float64).reshape(g, d),
                omega=np.array(record["omega"], dtype=np.float64).reshape(d, d),
                patients=float(record["patients"]),
                log_bayes_factor=tuple(float(item["log_bayes_factor"]) for item in terms),
            )
            found.check()
            return found
        except (KeyError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"population record is broken ({why}); refit it") from None


@dataclass(frozen=True, eq=False)
class Moments:
    """What one round of EM needs of some patients: sums, so those of several places add.

    Attributes
    ----------
    patients
        Sum of what the patients count.
    design : (g, g) sum of z zᵀ, z (g,) being 1 and the memberships
    cross : (g, d) sum of z times the expected effects
    square : (d, d) sum of the expected products of effects
    log_marginal
        Sum of the log marginal likelihoods, up to a constant that no population changes.
    """

    patients: float
    design: Floats
    cross: Floats
    square: Floats
    log_marginal: float

    def __add__(self, other: Moments) -> Moments:
        return Moments(
            self.patients + other.patients,
            self.design + other.design,
            self.cross + other.cross,
            self.square + other.square,
            self.log_marginal + other.log_marginal,
        )


class Site(Protocol):
    """Where patients are: it answers with sums over them, never with a patient."""

    def moments(self, population: RefittedPopulation) -> Moments:
        """Return the moments of its patients under a population."""
        ...


@dataclass(frozen=True, eq=False)
class Evidence:
    """What n patients say of their population.

    Attributes
    ----------
    factor : of n patients
    groups : (n, c, t) 1 for who is in each of `terms`, by alternative of the genotype
    terms : (t,) groups that are told apart
    weight : (n,) what each patient counts, 1 or less
    """

    factor: LikelihoodFactor
    groups: Floats
    terms: tuple[GroupTerm, ...]
    weight: Floats

    @classmethod
    def of(cls, scenario: Scenario, people: Mapping[str, Floats], factor: LikelihoodFactor) -> Evidence:
        """Return what patients say, each in full.

        Parameters
        ----------
        scenario
            The published one.
        people : covariate -> (n,), as of `known_people`
        factor
            Of the same n patients.
        """
        terms, n = candidates(scenario), len(factor)
        groups = np.stack(
            [
                np.stack([term.members(scenario.model, people, effects) for term in terms], axis=-1)
                if terms
                else np.zeros((n, 0))
                for effects, _ in alternatives(scenario, people)
            ],
            axis=1,
        )
        return cls(factor, groups, terms, np.ones(n))

    @classmethod
    def joined(cls, parts: Sequence[Evidence]) -> Evidence:
        """Return the evidence of all patients of several parts, in order.

        Raises
        ------
        ValueError
            For no part, or parts whose effects, numbers of particles or groups differ.
        """
        factor = LikelihoodFactor.joined([part.factor for part in parts])
        for part in parts[1:]:
            if part.terms != parts[0].terms:
                raise ValueError(
                    f"evidence that tells apart {_listed(part.terms)}, other that tells apart "
                    f"{_listed(parts[0].terms)}; join that of one scenario version"
                )
        most = factor.centres.shape[1]
        groups = [np.pad(part.groups, ((0, 0), (0, most - part.groups.shape[1]), (0, 0))) for part in parts]
        return cls(
            factor,
            np.concatenate(groups),
            parts[0].terms,
            np.concatenate([part.weight for part in parts]),
        )

    def select(self, patients: ArrayLike) -> Evidence:
        """Return the evidence of some patients, by number, as if there had never been others: without the
        alternatives that only those had."""
        rows = np.asarray(patients, dtype=np.int64)
        factor = self.factor.select(rows)
        had = np.flatnonzero(np.any(factor.log_share > -np.inf, axis=0))
        last = 1 + int(had.max(initial=0))
        factor = replace(factor, centres=factor.centres[:, :last], log_share=factor.log_share[:, :last])
        return replace(self, factor=factor, groups=self.groups[rows, :last], weight=self.weight[rows])

    def fading(self, age: ArrayLike, half_life: float) -> Evidence:
        """Return the same with patients that count for less the longer ago they were seen.

        Parameters
        ----------
        age : (n,) time since each was seen, 0 or more
        half_life
            In which a patient's count halves.

        Raises
        ------
        ValueError
            For a half-life that is not above 0, and an age that is not known or below 0.
        """
        if not half_life > 0:
            raise ValueError(f"half_life = {half_life}; expected a time above 0")
        since = np.asarray(age, dtype=np.float64)
        if not np.all(since >= 0):
            row = int(np.argmin(since >= 0))
            raise ValueError(f"patient {row}: age {since[row]:g}; expected a time of 0 or more")
        return replace(self, weight=self.weight * 0.5 ** (since / half_life))

    def moments(self, population: RefittedPopulation) -> Moments:
        """Return the moments of all patients under a population: the E-step."""
        design, effects, square, log_marginal = self.expected(population)
        return Moments(
            float(self.weight.sum()),
            np.einsum("n,nij->ij", self.weight, design),
            np.einsum("n,nij->ij", self.weight, effects),
            np.einsum("n,nij->ij", self.weight, square),
            float(self.weight @ log_marginal),
        )

    def expected(self, population: RefittedPopulation) -> tuple[Floats, Floats, Floats, Floats]:
        """Return each patient's expected z zᵀ (n, g, g), z effectsᵀ (n, g, d) and effects effectsᵀ (n, d, d),
        and the log marginal likelihood (n,), whatever the patient's weight.

        Raises
        ------
        ValueError
            For a population with a group that is none of `terms`, and for a patient of whom no particle has a
            likelihood.
        """
        factor = self.factor
        z = self._design(population.terms)
        parts = factor.log_parts(z @ population.coefficients, population.omega)
        log_weight = parts + (factor.log_likelihood - factor.log_reference)[..., None]
        n, k, c = log_weight.shape
        log_marginal = np.asarray(logsumexp(log_weight.reshape(n, k * c), axis=1))
        if not np.isfinite(log_marginal).all():
            row = int(np.argmin(np.isfinite(log_marginal)))
            raise ValueError(
                f"patient {row}: no particle has a likelihood; make the factor again, or leave it"
            )
        share = np.exp(log_weight - log_marginal[:, None, None])
        of_alternative = share.sum(axis=1)
        mean = np.einsum("nkc,nkd->ncd", share, factor.eta)
        # effects are counted from what is expected in the alternative itself
        apart = mean - of_alternative[..., None] * factor.centres
        second = np.einsum("nk,nki,nkj->nij", share.sum(axis=2), factor.eta, factor.eta)
        second -= np.einsum("nci,ncj->nij", mean, factor.centres)
        second -= np.einsum("nci,ncj->nij", factor.centres, mean)
        second += np.einsum("nc,nci,ncj->nij", of_alternative, factor.centres, factor.centres)
        return (
            np.einsum("nc,nci,ncj->nij", of_alternative, z, z),
            np.einsum("nci,ncd->nid", z, apart),
            second,
            log_marginal,
        )

    def _design(self, terms: Sequence[GroupTerm]) -> Floats:
        """Return z (n, c, 1 + g) of some of the terms."""
        _check_terms(terms, self.terms, "this evidence")
        columns = [self.terms.index(term) for term in terms]
        ones = np.ones((*self.groups.shape[:2], 1))
        return np.concatenate([ones, self.groups[:, :, columns]], axis=2)


@dataclass(frozen=True)
class Refit:
    """EM over the factors of one or several places, from the published population on.

    Attributes
    ----------
    scenario
        The published one.
    worth, spread
        Patients that the published model counts for, where the shifts and where the covariance is asked for.
    threshold
        Log Bayes factor from which a group gets a shift of its own; infinite: none does.

    Raises
    ------
    ValueError
        For a `worth` or `spread` that is not above 0: the published model would be worth nothing, and the
        covariance of few patients is none.
    """

    scenario: Scenario
    worth: float = WORTH
    spread: float = SPREAD
    threshold: float = VERY_STRONG

    def __post_init__(self) -> None:
        for name, value in (("worth", self.worth), ("spread", self.spread)):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} = {value}; expected a number of patients above 0")

    @cached_property
    def published(self) -> RefittedPopulation:
        """The population that it begins with."""
        return RefittedPopulation.published(self.scenario)

    def fit(self, sites: Sequence[Site], terms: Sequence[GroupTerm] | None = None) -> RefittedPopulation:
        """Return the population that the patients of all sites show.

        Parameters
        ----------
        sites
            Places that answer with moments; one for pooled patients.
        terms
            Groups that may get shifts of their own, by default all of `candidates`. They are taken in one by
            one, that with most evidence first, while its log Bayes factor is at least `threshold`: by the
            Bayesian information criterion, half of its difference.

        Raises
        ------
        ValueError
            For no patient.
        """
        left = list(candidates(self.scenario) if terms is None else terms)
        found, score = self._em(sites, ())
        if math.isinf(self.threshold):
            return found
        factors: list[float] = []
        while left:
            tried = [(self._with(sites, found, term), term) for term in left]
            known = [(*result, term) for result, term in tried if result is not None]
            if not known:
                break
            better, new_score, term = max(known, key=lambda item: item[1])
            penalty = 0.5 * len(found.names) * math.log(max(found.patients, 1.0))
            gain = new_score - score - penalty
            if gain < self.threshold:
                break
            factors.append(gain)
            found, score = better, new_score
            # whom there are too few of now, there will be too few of later
            left = [item for _, _, item in known if item != term]
        return replace(found, log_bayes_factor=tuple(factors))

    def _with(
        self, sites: Sequence[Site], found: RefittedPopulation, term: GroupTerm
    ) -> tuple[RefittedPopulation, float] | None:
        """Return the population with one more term and its log marginal likelihood; None where too few are in
        the group, or out of it, or it is one that is told apart already."""
        terms = (*found.terms, term)
        start = replace(
            found, terms=terms, contrasts=np.concatenate([found.contrasts, np.zeros((1, len(found.names)))])
        )
        design = _summed(sites, start).design
        members = design[0, -1]
        if min(members, design[0, 0] - members) < _LEAST_MEMBERS:
            return None
        if np.linalg.matrix_rank(design, tol=1e-6 * design[0, 0]) < len(design):
            return None
        return self._em(sites, terms, start)

    def _em(
        self, sites: Sequence[Site], terms: tuple[GroupTerm, ...], start: RefittedPopulation | None = None
    ) -> tuple[RefittedPopulation, float]:
        population = self.published if start is None else start
        population = replace(population, terms=terms)
        for _ in range(ROUNDS):
            moments = _summed(sites, population)
            new = self.step(population, moments)
            change = self.moved(population, new)
            population = new
            if change < STILL:
                break
        return population, _summed(sites, population).log_marginal

    def moved(self, before: RefittedPopulation, after: RefittedPopulation) -> float:
        """Return by how much a shift or contrast differs at most, in SD of the published effect."""
        scale = np.sqrt(np.diagonal(self.published.omega))
        return float((np.abs(after.coefficients - before.coefficients) / scale).max())

    def step(self, population: RefittedPopulation, moments: Moments) -> RefittedPopulation:
        """Return the next population: the M-step."""
        if not moments.patients > 0:
            raise ValueError("no patient to learn a population from; give the factors of at least one")
        share = self.worth / moments.patients
        coefficients = np.linalg.solve((1.0 + share) * moments.design, moments.cross)
        explained = coefficients.T @ ((1.0 + share) * moments.design) @ coefficients
        omega = self.spread * self.published.omega + moments.square - explained
        omega = omega / (self.spread + moments.patients)
        omega = 0.5 * (omega + omega.T)
        if self.scenario.base is not None:  # the baseline is drawn apart from the effects
            omega[-1, :-1] = omega[:-1, -1] = 0.0
        return replace(
            population,
            shift=coefficients[0],
            contrasts=coefficients[1:],
            omega=omega,
            patients=moments.patients,
        )


def _check_terms(asked: Sequence[GroupTerm], known: Sequence[GroupTerm], where: str) -> None:
    """Refuse groups that are none of those known."""
    for term in asked:
        if term not in known:
            raise ValueError(f"group {term.name!r}: {where} tells apart {_listed(known)}; refit it")


def _listed(terms: Sequence[GroupTerm]) -> str:
    return ", ".join(term.name for term in terms) or "no groups"


def _summed(sites: Sequence[Site], population: RefittedPopulation) -> Moments:
    """Return the moments of all places."""
    if not sites:
        raise ValueError("no site to ask for moments; give at least one")
    first, *others = [site.moments(population) for site in sites]
    return sum(others, first)


def reference(scenario: Scenario) -> Scenario:
    """Return the scenario under the reference population that factors are drawn from: as published, and wide
    enough that other populations lie within."""
    return RefittedPopulation.published(scenario, WIDER).scenario(scenario)
