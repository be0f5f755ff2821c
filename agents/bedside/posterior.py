"""The posterior of one patient from the records as they stand, whatever the times of samples and doses.

An unknown diplotype is averaged over: one posterior for each pair of alleles that the model tells apart,
weighted by its frequency in the patient's ancestry and by how well it explains the measurements.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.bedside.case import Case, outputs_by_number
from dosewright.agents.estimation import Courses, MapFit, Outlook, estimate, prior
from dosewright.agents.estimation.likelihood import standardised
from dosewright.agents.estimation.particles import Posterior, sample, weighted_quantile
from dosewright.agents.estimation.resample_move import systematic
from dosewright.envs import Scenario, genotype_effects
from dosewright.envs.pharmacology import PopulationModel

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

PARTICLES = 512
_UNLIKELY = 1e-6  # probability below which a pair of alleles is left out
_COUNTS = 0.01  # probability from which a genotype's estimate has to have converged


@dataclass(frozen=True, eq=False)
class Person:
    """What the records say about one patient: a posterior for each genotype that is possible.

    Attributes
    ----------
    case
        The patient.
    courses
        The records, once for each of g genotypes.
    genotypes
        (g,) gene -> diplotype.
    log_prior : (g,) of each genotype before any measurement
    posterior
        Of every genotype.
    fit
        MAP estimates, None without a measurement.
    """

    case: Case
    courses: Courses
    genotypes: tuple[Mapping[str, str], ...]
    log_prior: Floats
    posterior: Posterior
    fit: MapFit | None

    @cached_property
    def genotype_weight(self) -> Floats:
        """(g,) posterior probability of each genotype."""
        log_weight = self.log_prior + self.posterior.log_marginal
        return np.exp(log_weight - np.logaddexp.reduce(log_weight))

    @property
    def log_marginal(self) -> float:
        """Log density of the measurements under the model."""
        return float(np.logaddexp.reduce(self.log_prior + self.posterior.log_marginal))

    @property
    def weight(self) -> Floats:
        """(g, k) weights that sum to 1."""
        return self.genotype_weight[:, None] * self.posterior.weight

    @property
    def effective_size(self) -> float:
        """Effective number of particles, of moved ones by the ancestors that they have."""
        return float(1.0 / np.sum(self.genotype_weight**2 / self.posterior.effective_size))

    @property
    def converged(self) -> bool:
        """Whether the estimates of the genotypes that count have converged."""
        return self.fit is None or bool(self.fit.converged[self.genotype_weight >= _COUNTS].all())

    def quantiles(self, values: Floats, shares: tuple[float, ...]) -> list[float]:
        """Return posterior quantiles of values (g, k)."""
        return quantiles(values, self.weight, shares)

    def draw(self, count: int) -> Draws:
        """Return particles that carry equal weight, by systematic resampling."""
        k = self.posterior.eta.shape[1]
        # shuffled: every fourth point of a Sobol sequence lies in one quarter of its first dimension
        order = np.random.default_rng([self.posterior.seed, 4]).permutation(self.weight.size)
        index = order[systematic(self.weight.reshape(1, -1)[:, order], 0.5, count)[0]]
        eta = self.posterior.eta.reshape(-1, self.courses.effects)[index]
        return Draws(self.case, self.courses.select(index // k), eta[:, None])

    def typical(self, seed: int) -> Floats:
        """Return parameters (g, k, p) of the population's people with this patient's covariates, under each
        genotype, weighted by `log_prior`."""
        d = self.courses.effects
        z = np.random.default_rng([seed, 2]).normal(size=(PARTICLES, d))
        eta = np.tile(z @ np.linalg.cholesky(self.courses.omega).T, (len(self.genotypes), 1, 1))
        return self.now(self.courses.theta(eta))

    def now(self, theta: Floats) -> Floats:
        """Return the parameters (g, k, p) in force now of (g, k, q, p)."""
        return theta[:, :, int(self.courses.last[0])]

    def predictions(self) -> tuple[Floats, Floats, Floats]:
        """Return population and individual prediction (m,) of the samples, and the individual residual over
        its SD, NaN without a value."""
        courses = self.courses
        g = len(self.genotypes)
        population = courses.predict(np.zeros((g, 1, courses.effects)))[:, 0]
        individual = np.einsum("gk,gkm->m", self.weight, courses.predict(self.posterior.eta))
        errors = [courses.model.outputs[i].error for i in courses.sample_output[0]]
        exact = courses.observed[0] & (courses.low[0] == courses.high[0])
        residual = np.full(len(individual), np.nan)
        for i in np.flatnonzero(exact):
            if errors[i].log_sd or errors[i].proportional or errors[i].additive:
                residual[i] = standardised(errors[i], individual[i], courses.low[0, i])
        return np.exp(self.log_prior) @ population, individual, residual


@dataclass(frozen=True, eq=False)
class Draws:
    """N equally likely patients, all of whom have the records.

    Attributes
    ----------
    case
        The patient.
    courses
        The records, once for each.
    eta : (N, 1, d) random effects
    """

    case: Case
    courses: Courses
    eta: Floats

    @cached_property
    def theta(self) -> Floats:
        """(N, p) parameters in force now."""
        theta = self.courses.theta(self.eta)[:, 0]
        return theta[np.arange(len(theta)), self.courses.last]

    def state(self, time: float) -> Floats:
        """Return the states (N, s) at a time, not before the last record."""
        courses, n = self.courses, len(self.eta)
        theta = courses.theta(self.eta)
        state = courses.model.initial(theta[:, 0, 0])[:, None]
        if not self.case.given:  # the records begin with the dose that is to be decided
            return state[:, 0]
        nothing = np.zeros(0, dtype=np.int64)
        for number, segment in enumerate(courses.segments):
            if number == len(courses.segments) - 1:
                segment = replace(
                    segment,
                    read_time=np.concatenate([segment.read_time, np.full((n, 1), time)], axis=1),
                    slot=np.concatenate([segment.slot, np.full((n, 1), -1)], axis=1),
                )
            _, state = segment.run(courses.model, theta, state, nothing, courses.sample_time.shape[1])
        return state[:, 0]

    def outlook(self, scenario: Scenario, begin: float, unit: int) -> Outlook:
        """Return these patients as they are at the beginning of a unit, as particles of one patient."""
        theta, people = self.theta, self.case.people(begin)
        stretch, factors = self._growth(scenario, unit)
        return Outlook(
            scenario, people, (theta[:, None] * factors)[None], stretch[None], self.state(begin)[None],
            np.array([begin]), np.array([unit]),
        )  # fmt: skip

    def _growth(self, scenario: Scenario, unit: int) -> tuple[Ints, Floats]:
        """Return the stretch of every unit, and the factors (g, p) on the parameters in each, 1 now."""
        case = self.case
        stretch, grown = scenario.stretches(case.people(-math.inf))
        if not grown:
            return stretch, np.ones((1, 1))
        latest = case.people(case.now)
        expected = grown[stretch[min(unit, len(stretch) - 1)]]
        model, alike = scenario.model, {
            term.effect: np.full(1, next(iter(term.per_allele.values())))
            for term in scenario.model.genotype_terms
        }  # fmt: skip

        def typical(now: Mapping[str, Floats]) -> Floats:
            # from the last value on record, changed as the scenario expects
            moved = {name: latest[name] * values / expected[name] for name, values in now.items()}
            return model.typical({**latest, **moved}, alike)[0]

        return stretch, np.stack([typical(now) for now in grown]) / typical(expected)


def person(
    case: Case, *, model: PopulationModel | None = None, particles: int = PARTICLES, seed: int = 0
) -> Person:
    """Return the posterior of a patient.

    Parameters
    ----------
    case
        The patient.
    model
        Another model of the same outputs; the scenario's by default.
    particles, seed
        As in `sample`, for each genotype.

    Raises
    ------
    ValueError
        For records that no random effects explain, and whatever `Courses.of` refuses.
    """
    used = believed(case.scenario, model or case.scenario.model)
    combinations, log_prior = _genotypes(case)
    g = len(combinations)
    values = dict(case.records.covariates)
    if case.scenario.base is not None:
        values["baseline"] = np.full(len(case.records), case.scenario.base[0])
    routes = {
        number: [route.name for route in case.scenario.model.routes if route.state == state]
        for number, state in enumerate(case.scenario.model.states, start=1)
    }
    known = {route.name for route in used.routes}
    outputs = outputs_by_number(case.scenario)
    courses = Courses.of(
        used,
        [replace(case.records, covariates=values, units={})] * g,
        outputs={k: name for k, name in outputs.items() if name in {item.name for item in used.outputs}},
        compartments={k: names[0] for k, names in routes.items() if len(names) == 1 and names[0] in known},
        genotypes={
            term.gene: np.array([combination[term.gene] for combination in combinations])
            for term in used.genotype_terms
        } if used.genotype_terms else None,
    )  # fmt: skip
    _check_zeros(case, courses)
    fit = estimate(courses) if courses.observed.any() else None
    posterior = sample(courses, particles=particles, seed=seed, fit=fit)
    if not np.isfinite(posterior.log_marginal).any():
        raise ValueError(
            f"patient {case.records.id!r}: no parameters of {used.name} explain the measurements; look at "
            "units, DVID and times"
        )
    return Person(case, courses, combinations, log_prior, posterior, fit)


def _check_zeros(case: Case, courses: Courses) -> None:
    """Refuse a level of 0 where the error is log-normal: it is impossible, not small."""
    model, seen = courses.model, courses.observed[0] & (courses.high[0] == 0)
    for i in np.flatnonzero(seen):
        output = model.outputs[courses.sample_output[0, i]]
        if output.error.log_sd:
            raise ValueError(
                f"patient {case.records.id!r}: {output.name} of 0 at {courses.sample_time[0, i]:g} "
                f"{model.time_unit}, impossible with the log-normal error of {model.name}; give it as below "
                "the limit of quantification (BLQ 1 with LLOQ)"
            )


def believed(scenario: Scenario, model: PopulationModel) -> PopulationModel:
    """Return a model whose baseline, where the scenario has a spread for it, is a random effect."""
    if scenario.base is None or model.baseline is None:
        return model
    column, (_, sd) = model.column(model.baseline), scenario.base
    parameters = list(model.parameters)
    parameters[column] = replace(parameters[column], variance=sd**2, effect="linear")
    return replace(model, parameters=tuple(parameters))


def _genotypes(case: Case) -> tuple[tuple[dict[str, str], ...], Floats]:
    """Return the genotypes that are possible, and their log probabilities (g,), which add up to 1."""
    scenario = case.scenario
    options = []
    for term in scenario.model.genotype_terms:
        if term.gene in case.genotypes:
            options.append([case.genotypes[term.gene]])
            continue
        pairs = itertools.combinations_with_replacement(term.per_allele, 2)
        options.append([f"{a}/{b}" for a, b in pairs if not term.pairs or (a, b) in term.pairs])
    genes = [term.gene for term in scenario.model.genotype_terms]
    combinations = [dict(zip(genes, pairs, strict=True)) for pairs in itertools.product(*options)]
    if len(combinations) == 1:
        return tuple(combinations), np.zeros(1)
    people, every = case.people(case.now), np.zeros(len(combinations), dtype=np.int64)
    try:
        # a scenario may leave out whom it does not treat; this person may have any of these genotypes, and
        # one that the model refuses is nothing to average over
        of_each = {gene: np.array([item[gene] for item in combinations]) for gene in genes}
        effects, _ = genotype_effects(scenario.model.genotype_terms, of_each)
        known = {name: values[every] for name, values in people.items()}
        if scenario.base is not None:
            known["baseline"] = np.full(len(combinations), scenario.base[0])
        scenario.model.typical(known, effects)
        log_prior = prior(scenario, people).log_weight[0]
    except ValueError as error:
        unknown = ", ".join(case.unknown_genes)
        raise ValueError(
            f"{unknown} not known, and not to be averaged over ({error}); give --genotype "
            f"{case.unknown_genes[0]}=A/B"
        ) from None
    kept = np.flatnonzero(log_prior > math.log(_UNLIKELY))
    log_prior = log_prior[kept] - np.logaddexp.reduce(log_prior[kept])
    return tuple(combinations[i] for i in kept), np.asarray(log_prior)


def quantiles(values: Floats, weight: Floats, shares: tuple[float, ...]) -> list[float]:
    """Return quantiles of weighted values of any, but the same, shape."""
    return [
        float(weighted_quantile(values.reshape(1, -1), weight.reshape(1, -1), share)[0]) for share in shares
    ]
