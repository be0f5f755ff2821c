"""What is believed about a patient before the first measurement: the population model, given covariates and
genotype.

The unknowns x are the parameters with random effects, each on the scale on which its effect adds (logarithm,
logit, or as it is), and the baseline where the scenario has one. Given the genotype their prior is normal;
where the genotype is not known it is a mixture over genotypes, weighted by the allele frequencies of the
patient's ancestry, and by the phenotype where that is seen.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from dosewright.envs.genotypes import (
    allele_entry,
    group_frequencies,
    phenotype_entry,
    phenotype_shares,
    phenotyped,
)
from dosewright.envs.pharmacology import GenotypeTerm, PopulationModel
from dosewright.envs.scenarios import Scenario

Floats = NDArray[np.float64]

_WHOLE = 1e-4  # an observation is single precision: how far a number of alleles may be from a whole one


@dataclass(frozen=True)
class Prior:
    """Normal mixtures over x for n patients, all with the same covariance.

    Attributes
    ----------
    mean : (n, c, d) component means
    log_weight : (n, c) log weights; -inf for components that a patient does not have
    covariance : (d, d)
    theta : (n, p) typical parameters; the columns that x stands for are overwritten
    """

    mean: Floats
    log_weight: Floats
    covariance: Floats
    theta: Floats

    @cached_property
    def factor(self) -> Floats:
        """(d, d) lower Cholesky factor of the covariance."""
        return np.asarray(np.linalg.cholesky(self.covariance), dtype=np.float64)

    @cached_property
    def precision(self) -> Floats:
        """(d, d) inverse of the covariance."""
        return np.asarray(np.linalg.inv(self.covariance), dtype=np.float64)

    @cached_property
    def _whitening(self) -> Floats:
        """(d, d) what makes centred unknowns standard normal, from the right."""
        return np.asarray(np.linalg.inv(self.factor).T, dtype=np.float64)

    @cached_property
    def sd(self) -> Floats:
        """(d,) standard deviations."""
        return np.sqrt(np.diagonal(self.covariance))

    def log_density(self, x: Floats) -> Floats:
        """Return the log density, up to a constant, of x (n, k, d): (n, k)."""
        return np.asarray(logsumexp(self._components(x), axis=-1))

    def nearest(self, x: Floats) -> Floats:
        """Return the mean (n, d) of the component to which x (n, d) belongs most."""
        which = np.argmax(self._components(x[:, None])[:, 0], axis=-1)
        return np.take_along_axis(self.mean, which[:, None, None], axis=1)[:, 0]

    def _components(self, x: Floats) -> Floats:
        centred = x[:, :, None, :] - self.mean[:, None]
        # no matrix product and no triangular solve: their last bit depends on how many patients there are,
        # and with so few columns their threads cost more than they do
        z = np.einsum("nkcd,de->nkce", centred, self._whitening)
        return self.log_weight[:, None] - 0.5 * np.einsum("nkcd,nkcd->nkc", z, z)

    def at(self, z: Floats, u: Floats) -> Floats:
        """Return points of the prior from standard normal z (k, d) and uniform u (k,), the same for all
        patients."""
        spread = z @ self.factor.T
        if self.mean.shape[1] == 1:
            return self.mean + spread
        cumulative = np.cumsum(np.exp(self.log_weight), axis=1)
        which = np.minimum((u[None, :, None] >= cumulative[:, None]).sum(axis=-1), self.mean.shape[1] - 1)
        return np.take_along_axis(self.mean, which[:, :, None], axis=1) + spread

    def select(self, rows: NDArray[np.int64]) -> Prior:
        """Return the prior of some patients."""
        return Prior(self.mean[rows], self.log_weight[rows], self.covariance, self.theta[rows])

    @classmethod
    def joined(cls, parts: Sequence[Prior]) -> Prior:
        """Return the priors of all patients of several parts, with one covariance, in order."""
        c = max(part.mean.shape[1] for part in parts)
        padded = [_padded(part, c) for part in parts]
        return cls(
            np.concatenate([mean for mean, _ in padded]),
            np.concatenate([weight for _, weight in padded]),
            parts[0].covariance,
            np.concatenate([part.theta for part in parts]),
        )

    def replace(self, rows: NDArray[np.int64], other: Prior) -> Prior:
        """Return this prior with `rows` taken from `other`, in order."""
        c = max(self.mean.shape[1], other.mean.shape[1])
        mean, weight = _padded(self, c)
        theirs, their_weight = _padded(other, c)
        mean[rows], weight[rows] = theirs, their_weight
        theta = self.theta.copy()
        theta[rows] = other.theta
        return Prior(mean, weight, self.covariance, theta)


def _padded(prior: Prior, components: int) -> tuple[Floats, Floats]:
    """Return copies of mean and log weight with at least `components` components."""
    extra = components - prior.mean.shape[1]
    mean = np.concatenate([prior.mean, np.repeat(prior.mean[:, :1], extra, axis=1)], axis=1)
    return mean, np.pad(prior.log_weight, ((0, 0), (0, extra)), constant_values=-np.inf)


def known_people(scenario: Scenario, observation: NDArray[np.float32]) -> dict[str, Floats]:
    """Return what is known about n people, covariate -> (n,): what an observation (n, k) shows, and what is
    the same for everybody in the scenario."""
    spec, n = scenario.observation, len(observation)
    seen = {entry.name: spec.read(observation, entry.name) for entry in scenario.covariates}
    return {**{name: np.full(n, value) for name, value in scenario.unseen.items()}, **seen}


def prior(scenario: Scenario, people: Mapping[str, Floats]) -> Prior:
    """Return the prior of n people from what is known of their covariates and genotype (`known_people`).

    Raises
    ------
    ValueError
        For a covariate that the model needs and the scenario does not show; or a genotype that changes a
        parameter without random effect, so that its alternatives cannot be told apart by x.
    """
    model, n = scenario.model, len(next(iter(people.values())))
    known = dict(people)
    if scenario.base is not None:
        known["baseline"] = np.full(n, scenario.base[0])
    typical, weights = [], []
    for effects, weight in alternatives(scenario, known):
        theta = _typical(model, known, effects, weight)
        typical.append(theta)
        # a genotype without any enzyme that the model cannot compute is none of the alternatives
        weights.append(np.where(np.isfinite(unknowns(scenario, theta)).all(axis=1), weight, -np.inf))
    weight = np.stack(weights, axis=1)
    _told_apart(scenario, typical, weight)
    first = typical[0].copy()
    means = np.stack([unknowns(scenario, theta) for theta in typical], axis=1)
    means = np.where(np.isfinite(means), means, 0.0)
    d = len(model.random_effects)
    covariance = np.zeros((means.shape[-1], means.shape[-1]))
    covariance[:d, :d] = model.omega
    if scenario.base is not None:
        covariance[-1, -1] = scenario.base[1] ** 2
    weight -= logsumexp(weight, axis=1, keepdims=True)
    return Prior(means, weight, covariance, first)


def alternatives(scenario: Scenario, people: Mapping[str, Floats]) -> list[tuple[dict[str, Floats], Floats]]:
    """Return the genotypes that n people may have, in the order of the prior's components: effect of the
    model's genotype terms -> (n,), and the log probability (n,)."""
    terms, n = scenario.model.genotype_terms, len(next(iter(people.values())))
    options = [_options(scenario, term, people) for term in terms]
    found: list[tuple[dict[str, Floats], Floats]] = []
    for combination in itertools.product(*(range(option[0].shape[1]) for option in options)):
        chosen = list(zip(options, combination, strict=True))
        effects = {term.effect: value[:, i] for term, ((value, _), i) in zip(terms, chosen, strict=True)}
        found.append((effects, sum((weight[:, i] for (_, weight), i in chosen), np.zeros(n))))
    return found


def _typical(
    model: PopulationModel, known: dict[str, Floats], effects: dict[str, Floats], weight: Floats
) -> Floats:
    """Return typical parameters (n, p) with one of the alternatives, whose log probability is `weight` (n,);
    NaN where the model refuses a genotype without any activity that nobody is known to have."""
    shape = (len(weight), len(model.parameters))
    try:
        return np.broadcast_to(model.typical(known, effects), shape)
    except ValueError:
        somebody = np.any(weight >= 0.0)
        if somebody or all(np.all(value > 0) for value in effects.values()):
            raise
        return np.full(shape, np.nan)


def _told_apart(scenario: Scenario, typical: list[Floats], weight: Floats) -> None:
    """Refuse genotypes that x does not tell apart."""
    model = scenario.model
    fixed = np.setdiff1d(np.arange(len(model.parameters)), columns(scenario))
    for theta, other in zip(typical[1:], weight.T[1:], strict=True):
        apart = np.any((theta != typical[0])[:, fixed] & np.isfinite(other)[:, None], axis=0)
        if apart.any():
            name = model.parameters[fixed[int(np.argmax(apart))]].name
            raise ValueError(
                f"{scenario.name}: a genotype changes {name}, which has no random effect, so a belief cannot "
                "hold it open; show the diplotype, or give the parameter a variance"
            )


def columns(scenario: Scenario) -> list[int]:
    """Return the columns of theta that x stands for, in its order."""
    model = scenario.model
    found = list(model.random_effects)
    if scenario.base is not None:
        assert model.baseline is not None
        found.append(model.column(model.baseline))
    return found


def scales(scenario: Scenario) -> list[str]:
    """Return the scale of every unknown: "log", "logit" or "linear"."""
    found: list[str] = [scenario.model.parameters[i].effect for i in scenario.model.random_effects]
    return found + (["linear"] if scenario.base is not None else [])


def names(scenario: Scenario) -> list[str]:
    """Return the name of every unknown, with its scale."""
    names = [scenario.model.parameters[i].name for i in columns(scenario)]
    return [
        name if scale == "linear" else f"{scale} {name}"
        for name, scale in zip(names, scales(scenario), strict=True)
    ]


def unknowns(scenario: Scenario, theta: Floats) -> Floats:
    """Return x (..., d) of parameters theta (..., p)."""
    x = theta[..., columns(scenario)].copy()
    with np.errstate(divide="ignore", invalid="ignore"):
        for j, scale in enumerate(scales(scenario)):
            if scale == "log":
                x[..., j] = np.log(x[..., j])
            elif scale == "logit":
                x[..., j] = np.log(x[..., j] / (1.0 - x[..., j]))
    return x


def parameters(scenario: Scenario, theta: Floats, x: Floats) -> Floats:
    """Return parameters (n, k, p) of x (n, k, d), the rest of them from `theta` (n, p)."""
    model: PopulationModel = scenario.model
    full = np.repeat(theta[:, None, :], x.shape[1], axis=1)
    for j, (column, scale) in enumerate(zip(columns(scenario), scales(scenario), strict=True)):
        value = x[..., j]
        if scale == "log":
            value = np.exp(value)
        elif scale == "logit":
            value = 1.0 / (1.0 + np.exp(-value))
        full[..., column] = value
    if model.combine is not None:
        full = model.combine(full.reshape(-1, full.shape[-1])).reshape(full.shape)
    return full


def _options(scenario: Scenario, term: GenotypeTerm, seen: Mapping[str, Floats]) -> tuple[Floats, Floats]:
    """Return the values (n, c) that the term may take, and their log probabilities (n, c).

    Of everybody whose alleles are seen there is one; else one for every pair of modelled alleles that has a
    value, by the frequencies of the ancestry and the phenotype that is seen.
    """
    alleles, n = list(term.per_allele), len(next(iter(seen.values())))
    pairs = [
        (a, b)
        for a, b in itertools.combinations_with_replacement(alleles, 2)
        if not term.pairs or (a, b) in term.pairs
    ]
    value = np.array([
        term.pairs[a, b] if term.pairs else term.per_allele[a] + term.per_allele[b] for a, b in pairs
    ])  # fmt: skip
    shown = [allele_entry(term.gene, allele) for allele in alleles[1:]]
    counts = np.stack([seen.get(name, np.full(n, np.nan)) for name in shown], axis=1)
    # only their expectation is known
    counts = np.where(np.abs(counts - np.round(counts)) > _WHOLE, np.nan, np.round(counts))
    carried = np.array([[(a == name) + (b == name) for name in alleles[1:]] for a, b in pairs])
    same: NDArray[np.bool_] = np.all(np.equal(counts[:, None], carried), axis=2)
    known: NDArray[np.bool_] = ~np.any(np.isnan(counts), axis=1)
    if np.any(known & ~same.any(axis=1)):
        row = int(np.argmax(known & ~same.any(axis=1)))
        raise ValueError(
            f"patient {row}: {', '.join(f'{c:g} {s}' for c, s in zip(counts[row], shown, strict=True))} is "
            f"no pair of alleles of {term.gene} that {scenario.model.name} has a value for"
        )
    if known.all():
        return value[np.argmax(same, axis=1)][:, None], np.zeros((n, 1))
    chance = _chances(scenario, term, pairs, seen)
    with np.errstate(divide="ignore"):
        log_weight = np.where(np.asarray(known)[:, None], np.where(same, 0.0, -np.inf), np.log(chance))
    return np.tile(value, (n, 1)), log_weight


def _chances(
    scenario: Scenario, term: GenotypeTerm, pairs: list[tuple[str, str]], seen: Mapping[str, Floats]
) -> Floats:
    """(n, c) probability of every pair of modelled alleles, given the ancestry where the race is seen (the
    scenario's population otherwise), and the phenotype where that is seen."""
    population, n = scenario.population, len(next(iter(seen.values())))
    strata = [(stratum.share, stratum.group) for stratum in population.strata]
    chance = _mixed(scenario, term, pairs, strata, seen)
    for race, group in population.groups.items():
        of_race = seen.get(f"race_{race.lower()}", np.zeros(n)) == 1
        if of_race.any():
            chance[of_race] = _mixed(scenario, term, pairs, [(1.0, group)], seen)[of_race]
    total = chance.sum(axis=1, keepdims=True)
    # a phenotype that nobody of this ancestry has says nothing about the pair
    return np.divide(chance, total, out=np.full(chance.shape, 1.0 / len(pairs)), where=total > 0)


def _mixed(
    scenario: Scenario,
    term: GenotypeTerm,
    pairs: list[tuple[str, str]],
    groups: list[tuple[float, str]],
    seen: Mapping[str, Floats],
) -> Floats:
    """(n, c) probability of every pair, up to a constant, among people of several groups (share, group)."""
    n, alleles, entry = len(next(iter(seen.values()))), list(term.per_allele), phenotype_entry(term.gene)
    chance = np.zeros((n, len(pairs)))
    for share, group in groups:
        frequency = group_frequencies(term, group)
        pair = np.array([
            frequency[alleles.index(a)] * frequency[alleles.index(b)] * (1 if a == b else 2) for a, b in pairs
        ])  # fmt: skip
        if entry in seen and term.gene in phenotyped([term]):
            # other alleles than the modelled ones have phenotypes of their own
            for code, having in phenotype_shares(term, group, pairs).items():
                same = np.isnan(seen[entry]) if np.isnan(code) else seen[entry] == code
                chance[same] += share * having
        else:
            chance += share * pair
    return chance
