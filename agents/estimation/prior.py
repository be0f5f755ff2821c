"""What is believed about a patient before the first measurement: the population model, given covariates and
genotype.

The unknowns x are the logarithms of the parameters with random effects, and the baseline. Given the genotype
their prior is normal; where the genotype is not known it is a mixture over genotypes, weighted by the allele
frequencies of the patient's ancestry.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from dosewright.envs.genotypes import allele_entry, group_frequencies
from dosewright.envs.pharmacology import GenotypeTerm
from dosewright.envs.scenarios import Scenario

Floats = NDArray[np.float64]

_WHOLE = 1e-4  # an observation is single precision: how far a number of alleles may be from a whole one


@dataclass(frozen=True)
class Prior:
    """Normal mixtures over x for n patients, all with the same standard deviations.

    Attributes
    ----------
    mean : (n, c, d) component means
    log_weight : (n, c) log weights; -inf for components that a patient does not have
    sd : (d,) standard deviations
    theta : (n, p) typical parameters of the first component; the columns that x stands for are overwritten
    """

    mean: Floats
    log_weight: Floats
    sd: Floats
    theta: Floats

    def log_density(self, x: Floats) -> Floats:
        """Return the log density, up to a constant, of x (n, k, d): (n, k)."""
        z = (x[:, :, None, :] - self.mean[:, None]) / self.sd
        return np.asarray(
            logsumexp(self.log_weight[:, None] - 0.5 * np.einsum("nkcd,nkcd->nkc", z, z), axis=-1)
        )

    def at(self, z: Floats, u: Floats) -> Floats:
        """Return points of the prior from standard normal z (k, d) and uniform u (k,), the same for all
        patients."""
        if self.mean.shape[1] == 1:
            return self.mean + self.sd * z
        cumulative = np.cumsum(np.exp(self.log_weight), axis=1)
        which = np.minimum((u[None, :, None] >= cumulative[:, None]).sum(axis=-1), self.mean.shape[1] - 1)
        return np.take_along_axis(self.mean, which[:, :, None], axis=1) + self.sd * z

    def select(self, rows: NDArray[np.int64]) -> Prior:
        """Return the prior of some patients."""
        return Prior(self.mean[rows], self.log_weight[rows], self.sd, self.theta[rows])

    def replace(self, rows: NDArray[np.int64], other: Prior) -> Prior:
        """Return this prior with `rows` taken from `other`, in order."""
        c = max(self.mean.shape[1], other.mean.shape[1])
        mean, weight = _padded(self, c)
        theirs, their_weight = _padded(other, c)
        mean[rows], weight[rows] = theirs, their_weight
        theta = self.theta.copy()
        theta[rows] = other.theta
        return Prior(mean, weight, self.sd, theta)


def _padded(prior: Prior, components: int) -> tuple[Floats, Floats]:
    """Return copies of mean and log weight with at least `components` components."""
    extra = components - prior.mean.shape[1]
    mean = np.concatenate([prior.mean, np.repeat(prior.mean[:, :1], extra, axis=1)], axis=1)
    return mean, np.pad(prior.log_weight, ((0, 0), (0, extra)), constant_values=-np.inf)


def prior(scenario: Scenario, observation: NDArray[np.float32]) -> Prior:
    """Return the prior of n patients from what their observation (n, k) says about covariates and
    genotype."""
    model, spec = scenario.model, scenario.observation
    seen = {entry.name: spec.read(observation, entry.name) for entry in scenario.covariates}
    mean, base_sd = _base(scenario)
    seen["baseline"] = np.full(len(observation), mean)
    known = {term.gene: ~np.isnan(_counts(term, seen).sum(axis=1)) for term in model.genotype_terms}
    options = [_options(scenario, term, seen, known[term.gene]) for term in model.genotype_terms]
    means, weights, first = [], [], None
    for combination in itertools.product(*(range(option[0].shape[1]) for option in options)):
        effects = {
            term.effect: value[:, i]
            for term, (value, _), i in zip(model.genotype_terms, options, combination, strict=True)
        }
        theta = model.typical(seen, effects)
        first = theta if first is None else first
        means.append(unknowns(scenario, theta))
        weights.append(sum(weight[:, i] for (_, weight), i in zip(options, combination, strict=True)))
    assert first is not None
    variances = [model.parameters[i].variance for i in model.random_effects]
    sd = np.append(np.sqrt(variances), base_sd)
    return Prior(np.stack(means, axis=1), np.stack(weights, axis=1), sd, first)


def _base(scenario: Scenario) -> tuple[float, float]:
    """Mean and SD of the baseline."""
    if scenario.base is None:
        raise ValueError(f"{scenario.name}: the prior needs a baseline response; it has none")
    return scenario.base


def _baseline_column(scenario: Scenario) -> int:
    """Column of the parameter that is the baseline."""
    assert scenario.model.baseline is not None
    return scenario.model.column(scenario.model.baseline)


def unknowns(scenario: Scenario, theta: Floats) -> Floats:
    """Return x (..., d) of parameters theta (..., p)."""
    model = scenario.model
    return np.concatenate(
        [np.log(theta[..., list(model.random_effects)]), theta[..., [_baseline_column(scenario)]]], axis=-1
    )


def parameters(scenario: Scenario, theta: Floats, x: Floats) -> Floats:
    """Return parameters (n, k, p) of x (n, k, d), the rest of them from `theta` (n, p)."""
    model = scenario.model
    full = np.repeat(theta[:, None, :], x.shape[1], axis=1)
    full[..., list(model.random_effects)] = np.exp(x[..., :-1])
    full[..., _baseline_column(scenario)] = x[..., -1]
    return full


def _counts(term: GenotypeTerm, seen: dict[str, Floats]) -> Floats:
    """(n, a − 1) alleles of each kind but the first; NaN where only their expectation is known."""
    counts = np.stack([seen[allele_entry(term.gene, allele)] for allele in list(term.per_allele)[1:]], axis=1)
    return np.where(np.abs(counts - np.round(counts)) > _WHOLE, np.nan, counts)


def _options(
    scenario: Scenario, term: GenotypeTerm, seen: dict[str, Floats], known: NDArray[np.bool_]
) -> tuple[Floats, Floats]:
    """Return the values (n, c) that the term may take, and their log probabilities (n, c)."""
    values = np.array(list(term.per_allele.values()))
    counts = _counts(term, seen)
    exact = values[0] * 2 + counts @ (values[1:] - values[0])
    if known.all():
        return exact[:, None], np.zeros((len(known), 1))
    pairs = list(itertools.combinations_with_replacement(range(len(values)), 2))
    sums = np.array([values[i] + values[j] for i, j in pairs])
    frequency = _frequencies(scenario, term, seen)
    chance = np.stack([frequency[:, i] * frequency[:, j] * (1 if i == j else 2) for i, j in pairs], axis=1)
    value, log_weight = np.tile(sums, (len(known), 1)), np.log(np.maximum(chance, 1e-300))
    # a known genotype is one component; the others have no weight
    value[known, 0], log_weight[known] = exact[known], [0.0] + [-np.inf] * (len(pairs) - 1)
    return value, log_weight


def _frequencies(scenario: Scenario, term: GenotypeTerm, seen: dict[str, Floats]) -> Floats:
    """(n, a) frequencies of the modelled alleles in each patient's ancestry, other alleles read by their
    function."""
    population = scenario.population
    mixture = sum(s.share * group_frequencies(term, s.group) for s in population.strata)
    result = np.tile(np.asarray(mixture), (len(seen["baseline"]), 1))
    for race, group in population.groups.items():
        result[seen[f"race_{race.lower()}"] == 1] = group_frequencies(term, group)
    return result
