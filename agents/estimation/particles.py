"""The posterior of recorded patients: importance-weighted particles, moved where weights alone fail.

Particles are drawn from a mixture of a t density at the MAP estimate (its Laplace approximation, with heavier
tails) and the prior, a defence against modes that the estimate does not know of, and weighted by prior and
likelihood of the whole history over the mixture's density. Where few particles carry the weight, the mixture
is fitted to them and drawn from again; where that is not enough they are carried to the posterior in tempered
steps (`resample_move`). Quasi-random points, the same ones for every patient: results depend on the seed, and
not on who else is there.

This is for records that are there. `BeliefFilter` follows the observations of an environment as they come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.linalg import solve_triangular
from scipy.special import logsumexp

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.likelihood import SampleErrors, log_likelihood
from dosewright.agents.estimation.map import MapFit, estimate
from dosewright.agents.estimation.mixture import Component, Mixture, quasi_random
from dosewright.agents.estimation.resample_move import (
    Moved,
    effective_size,
    moments,
    resample_move,
    systematic,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# shares of the particles that carry weight
GOOD = 0.50  # below it the proposal is adapted
FAIR = 0.25  # particles are moved where an adapted proposal stays below it
POOR = 0.10  # and where the first one does, or new records leave less
_FREEDOM = 5.0  # of the t densities: heavier than any posterior's tails
_DEFENCE = 0.15  # share of the particles that come from the prior
_KERNELS, _OTHERS = 64, 0.1  # kernels of an adapted proposal; share of the first one in it
_ROUNDS = 2  # of adapting the proposal, before particles are moved
_FLOOR = 0.02  # variance added to that of weighted particles, in prior variances
_PER_PATIENT = ("eta", "log_likelihood", "log_proposal", "variance", "acceptance")
_BLOCK = 2**18  # copies of patients simulated at a time: bounds memory, changes nothing


def weighted_mean(values: Floats, weight: Floats) -> Floats:
    """Return means (n, …) of values (n, k, …) with normalised weights (n, k)."""
    return np.einsum("nk,nk...->n...", weight, values)


def weighted_quantile(values: Floats, weight: Floats, share: float) -> Floats:
    """Return quantiles (n, …) of values (n, k, …) with normalised weights (n, k), interpolated between
    values."""
    if not 0 <= share <= 1:
        raise ValueError(f"share = {share}; expected a number from 0 to 1")
    n, k = weight.shape
    flat, found = values.reshape(n, k, -1), np.empty((n, int(np.prod(values.shape[2:]))))
    order = np.argsort(flat, axis=1, kind="stable")
    for i, j in np.ndindex(*found.shape):
        own = weight[i, order[i, :, j]]
        found[i, j] = np.interp(share, np.cumsum(own) - 0.5 * own, flat[i, order[i, :, j], j])
    return found.reshape(n, *values.shape[2:])


@dataclass(frozen=True, eq=False)
class WeightedEffects:
    """Weighted particles of the random effects of n patients, k each, under a normal prior.

    Attributes
    ----------
    mean : (d,), omega : (d, d)
        The prior: N(mean, omega).
    eta : (n, k, d)
    log_likelihood : (n, k) log density of all measurements; −∞ where a course cannot be computed
    log_proposal : (n, k) log density that the particles were drawn from
    variance : (n,) of `log_marginal`, that `log_proposal` brings with it; 0 where it is exact
    """

    mean: Floats
    omega: Floats
    eta: Floats
    log_likelihood: Floats
    log_proposal: Floats
    variance: Floats

    @cached_property
    def _log_ratio(self) -> Floats:
        return _log_normal(self.eta, self.mean, self.omega) + self.log_likelihood - self.log_proposal

    @cached_property
    def log_marginal(self) -> Floats:
        """(n,) log of the marginal likelihood: the density of a patient's measurements under the prior."""
        return np.asarray(logsumexp(self._log_ratio, axis=1)) - math.log(self.eta.shape[1])

    @property
    def log_marginal_error(self) -> Floats:
        """(n,) Monte Carlo standard error of `log_marginal`, as of independent draws."""
        return np.sqrt(self.variance + 1.0 / self.effective_size - 1.0 / self.eta.shape[1])

    @cached_property
    def log_weight(self) -> Floats:
        """(n, k) log weights, normalised."""
        return self._log_ratio - np.asarray(logsumexp(self._log_ratio, axis=1, keepdims=True))

    @cached_property
    def weight(self) -> Floats:
        """(n, k) weights that sum to 1."""
        return np.exp(self.log_weight)

    @property
    def effective_size(self) -> Floats:
        """(n,) Kish's effective number of particles; those that were moved count fully, although neighbours
        may still be alike."""
        return effective_size(self.log_weight)

    def expect(self, values: Floats) -> Floats:
        """Return the posterior mean (n, …) of values (n, k, …)."""
        return weighted_mean(values, self.weight)

    def mean_sd(self, values: Floats | None = None) -> tuple[Floats, Floats]:
        """Return posterior mean and SD (n, …) of values (n, k, …), by default of the effects."""
        values = self.eta if values is None else values
        mean = self.expect(values)
        return mean, np.sqrt(np.maximum(self.expect((values - mean[:, None]) ** 2), 0.0))

    def covariance(self) -> Floats:
        """Return the posterior covariance (n, d, d) of the effects."""
        return moments(self.eta, self.weight)[1]

    def quantile(self, values: Floats, share: float) -> Floats:
        """Return the posterior quantile (n, …) of values (n, k, …), interpolated between particles."""
        return weighted_quantile(values, self.weight, share)

    def probability(self, condition: NDArray[np.bool_]) -> Floats:
        """Return the posterior probability (n, …) of a condition (n, k, …), such as that of harm."""
        return self.expect(condition.astype(np.float64))


@dataclass(frozen=True, eq=False)
class Posterior(WeightedEffects):
    """What the records of n patients say.

    Attributes
    ----------
    courses
        The records.
    acceptance : (n,) share of moves that were accepted; NaN for a patient whose particles were not moved
    seed
        Of all random numbers.
    """

    courses: Courses
    acceptance: Floats
    seed: int

    @property
    def moved(self) -> NDArray[np.bool_]:
        """(n,) whether the particles were moved, not only weighted."""
        return np.isfinite(self.acceptance)

    def parameters(self) -> Floats:
        """Return the parameters (n, k, q, p) of every particle, one set for each change of covariates."""
        return self.courses.theta(self.eta)

    def predict(
        self,
        times: ArrayLike,
        doses: Sequence[Any] = (),
        outputs: Sequence[str] | None = None,
        *,
        history: bool = True,
        measured: bool = False,
    ) -> Floats:
        """Return outputs (n, k, t, o) of every particle at times (t,) or (n, t), under further doses.

        Parameters
        ----------
        times, doses, outputs, history
            As in `Courses.simulate`.
        measured
            Whether an assay's error is added, the same standard normal numbers for every patient.
        """
        truth = self.courses.simulate(self.eta, doses, times, outputs, history=history)
        if not measured:
            return truth
        model = self.courses.model
        z = np.random.default_rng([self.seed, 1]).normal(size=truth.shape[1:])
        named = outputs or [item.name for item in model.outputs]
        errors = [model.outputs[model.output(name)].error for name in named]
        z = np.broadcast_to(z, truth.shape)
        return np.stack([error.apply(truth[..., o], z[..., o]) for o, error in enumerate(errors)], axis=-1)

    def extend(self, courses: Courses) -> Posterior:
        """Return the posterior after more records: particles re-weighted, and moved where few then count.

        Parameters
        ----------
        courses
            All records of the same patients, those that are in this posterior included.

        Raises
        ------
        ValueError
            For other patients or other effects.
        """
        if courses.ids != self.courses.ids or courses.names != self.courses.names:
            raise ValueError(
                f"records of {', '.join(courses.ids[:3])}… with effects {', '.join(courses.names)} cannot "
                f"extend those of {', '.join(self.courses.ids[:3])}… with {', '.join(self.courses.names)}"
            )
        new = _Target(courses, self.mean, self.omega)
        k = self.eta.shape[1]
        after = replace(self, courses=courses, log_likelihood=recorded_likelihood(courses, self.eta))
        poor = after.below(POOR)
        for block in _blocks(len(poor), k):
            rows = poor[block]
            now, old = new.select(rows), _Target(self.courses, self.mean, self.omega).select(rows)

            def fit(eta: Floats, weight: Floats, rows: Indices, now: _Target = now) -> Mixture:
                return _adapted(eta, weight, now.select(rows), ())

            moved = resample_move(
                self.eta[rows], self.log_weight[rows], old.log_density, now.log_density, fit, self.seed,
                now.courses.ids,
            )  # fmt: skip
            before = self.log_marginal[rows], self.log_marginal_error[rows] ** 2
            after = after.with_moved(rows, moved, now, *before)
        return after

    def below(self, share: float) -> Indices:
        """Return the patients of whom less than a share of the particles carries weight."""
        return np.flatnonzero(~(self.effective_size >= share * self.eta.shape[1]))

    def usable_weight(self, rows: Indices) -> Floats:
        """Return the weights (r, k) of some patients, equal where no particle has any."""
        weight = self.weight[rows]
        return np.where(np.isfinite(weight.sum(axis=1, keepdims=True)), weight, 1.0 / weight.shape[1])

    def replace_rows(self, rows: Indices, other: Posterior) -> Posterior:
        """Return this posterior with the particles of some patients taken from another."""
        parts = {name: getattr(self, name).copy() for name in _PER_PATIENT}
        for name, part in parts.items():
            part[rows] = getattr(other, name)
        return replace(self, **parts)

    def with_moved(
        self, rows: Indices, moved: Moved, target: _Target, log_first: Floats, variance: Floats
    ) -> Posterior:
        """Return this posterior with some patients' particles moved.

        `log_first` (r,) is the log integral of the density that they came from, `variance` (r,) its own.
        """
        parts = {name: getattr(self, name).copy() for name in _PER_PATIENT}
        parts["eta"][rows], parts["acceptance"][rows] = moved.eta, moved.acceptance
        parts["log_likelihood"][rows] = moved.log_density - target.log_prior(moved.eta)
        # they follow the posterior: prior times likelihood over the marginal likelihood
        parts["log_proposal"][rows] = moved.log_density - (log_first + moved.log_ratio)[:, None]
        parts["variance"][rows] = variance + moved.variance
        return replace(self, **parts)


def sample(
    courses: Courses,
    *,
    particles: int = 1024,
    seed: int = 0,
    fit: MapFit | None = None,
    mean: ArrayLike | None = None,
    omega: ArrayLike | None = None,
) -> Posterior:
    """Return the posterior of n patients.

    Parameters
    ----------
    courses
        Their records.
    particles
        Particles a patient, a power of two.
    seed
        Of all random numbers.
    fit
        MAP estimates of the same records, made here by default.
    mean, omega : (d,), (d, d)
        Another prior of the effects than N(0, ``courses.omega``).

    Raises
    ------
    ValueError
        For another number of particles, or a patient whose records no effects explain.
    """
    if particles < 2 or particles & (particles - 1):
        raise ValueError(f"particles = {particles}; expected a power of two")
    d = courses.effects
    target = _Target(
        courses,
        np.zeros(d) if mean is None else np.asarray(mean, dtype=np.float64),
        courses.omega if omega is None else np.asarray(omega, dtype=np.float64),
    )
    at, covariance = _estimates(courses) if fit is None else (fit.eta, fit.covariance)
    parts = [
        _sampled(target.select(rows), at[rows], covariance[rows], particles, seed)
        for rows in _blocks(len(courses), particles)
    ]
    joined = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _PER_PATIENT}
    return replace(parts[0], courses=courses, **joined)


def recorded_likelihood(courses: Courses, eta: Floats) -> Floats:
    """Return the log density (n, k) of all measurements under effects (n, k, d); −∞ where a course cannot be
    computed."""
    parts = [_likelihood(courses.select(rows), eta[rows]) for rows in _blocks(*eta.shape[:2])]
    return np.concatenate(parts)


def _likelihood(courses: Courses, eta: Floats) -> Floats:
    errors = SampleErrors.of([item.error for item in courses.model.outputs], courses.sample_output)
    low, high = (np.where(courses.observed, part, 0.0)[:, None] for part in (courses.low, courses.high))
    each = log_likelihood(errors.expand(1), courses.predict(eta), low, high, courses.event[:, None])
    total = np.where(courses.observed[:, None], each, 0.0).sum(axis=-1)
    return np.where(np.isnan(total), -np.inf, total)


def _estimates(courses: Courses) -> tuple[Floats, Floats]:
    """Return MAP estimates (n, d) and covariances (n, d, d); without measurements those of the prior."""
    n, d = len(courses), courses.effects
    eta, covariance = np.zeros((n, d)), np.tile(courses.omega, (n, 1, 1))
    rows = np.flatnonzero(courses.observed.any(axis=1))
    if len(rows):
        fit = estimate(courses.select(rows))
        eta[rows], covariance[rows] = fit.eta, fit.covariance
    return eta, covariance


def _sampled(target: _Target, at: Floats, covariance: Floats, k: int, seed: int) -> Posterior:
    """Sample patients with a MAP estimate (n, d) and its covariance (n, d, d)."""
    laplace = Component(1.0 - _DEFENCE, at[:, None], _factors(covariance, target.omega), _FREEDOM)
    posterior = _drawn(target, Mixture((laplace, target.prior(_DEFENCE))), k, seed, 0)
    # far from normal: a few particles say too little of where the others should be
    strange = posterior.below(POOR)
    for number in range(1, _ROUNDS + 1):
        rows = np.setdiff1d(posterior.below(GOOD), strange)
        if len(rows):
            some = target.select(rows)
            mixture = _adapted(posterior.eta[rows], posterior.weight[rows], some, (laplace.select(rows),))
            posterior = posterior.replace_rows(rows, _drawn(some, mixture, k, seed, number))
    rows = np.union1d(strange, posterior.below(FAIR))
    if not len(rows):
        return posterior
    some = target.select(rows)
    mixture = Mixture((replace(laplace.select(rows), share=0.5), some.prior(0.5)))
    eta = mixture.at(quasi_random(k, at.shape[1] + 2, seed, _ROUNDS + 1))
    alike = np.full((len(rows), k), -math.log(k))

    def first(eta: Floats, rows: Indices) -> Floats:
        return mixture.select(rows).log_density(eta)

    def fit(eta: Floats, weight: Floats, rows: Indices) -> Mixture:
        return _adapted(eta, weight, some.select(rows), ())

    moved = resample_move(eta, alike, first, some.log_density, fit, seed, some.courses.ids)
    return posterior.with_moved(rows, moved, some, np.zeros(len(rows)), np.zeros(len(rows)))


@dataclass(frozen=True, eq=False)
class _Target:
    """Prior and likelihood of some patients."""

    courses: Courses
    mean: Floats
    omega: Floats

    def log_prior(self, eta: Floats) -> Floats:
        """Log density (n, k) of effects."""
        return _log_normal(eta, self.mean, self.omega)

    def log_likelihood(self, eta: Floats) -> Floats:
        """Log density (n, k) of all measurements."""
        return recorded_likelihood(self.courses, eta)

    def log_density(self, eta: Floats, rows: Indices) -> Floats:
        """Log of prior times likelihood (r, k) of patients `rows`."""
        some = self if len(rows) == len(self.courses) else self.select(rows)
        return some.log_prior(eta) + some.log_likelihood(eta)

    def prior(self, share: float) -> Component:
        """The prior as a part of a mixture."""
        n = len(self.courses)
        omega = np.tile(self.omega, (n, 1, 1))
        return Component(share, np.tile(self.mean, (n, 1, 1)), _factors(omega, self.omega))

    def select(self, rows: Indices) -> _Target:
        """The same of some patients."""
        return _Target(self.courses.select(rows), self.mean, self.omega)


def _drawn(target: _Target, mixture: Mixture, k: int, seed: int, number: int) -> Posterior:
    """Draw k particles a patient from a mixture and weigh them; `number` tells draws of one seed apart."""
    d = len(target.mean)
    eta = mixture.at(quasi_random(k, d + 2, seed, number))
    n = len(eta)
    return Posterior(
        target.mean, target.omega, eta, target.log_likelihood(eta), mixture.log_density(eta), np.zeros(n),
        target.courses, np.full(n, np.nan), seed,
    )  # fmt: skip


def _adapted(eta: Floats, weight: Floats, target: _Target, others: tuple[Component, ...]) -> Mixture:
    """Return a kernel estimate of weighted particles, besides the prior and other components.

    Kernels follow a posterior that is bent or has several modes. Their width is Silverman's for normal data.
    """
    d = eta.shape[2]
    centres = np.take_along_axis(eta, systematic(weight, 0.5, _KERNELS)[..., None], axis=1)
    width = (4.0 / (_KERNELS * (d + 2))) ** (2.0 / (d + 4))
    # few effective particles are close together: their covariance is that of the posterior at most
    covariance = width * (moments(eta, weight)[1] + _FLOOR * target.omega)
    rest = 1.0 - _DEFENCE - _OTHERS * len(others)
    kernels = Component(rest, centres, _factors(covariance, target.omega), _FREEDOM)
    others = tuple(replace(other, share=_OTHERS) for other in others)
    return Mixture((kernels, *others, target.prior(_DEFENCE)))


def _factors(covariance: Floats, omega: Floats) -> Floats:
    """Return Cholesky factors (n, d, d); that of the prior where a covariance has none."""
    factors = np.empty_like(covariance)
    for i, one in enumerate(covariance):
        try:
            factors[i] = np.linalg.cholesky(one)
        except np.linalg.LinAlgError:
            factors[i] = np.linalg.cholesky(omega)
        if not np.isfinite(factors[i]).all():
            factors[i] = np.linalg.cholesky(omega)
    return factors


def _log_normal(eta: Floats, mean: Floats, omega: Floats) -> Floats:
    """Return the log density (n, k) of N(mean, omega) at eta (n, k, d)."""
    factor = np.linalg.cholesky(omega)
    z = solve_triangular(factor, (eta - mean).reshape(-1, len(mean)).T, lower=True)
    square = np.einsum("di,di->i", z, z).reshape(eta.shape[:2])
    log_scale = np.log(np.diag(factor)).sum()
    return -0.5 * square - log_scale - 0.5 * len(mean) * math.log(2 * math.pi)


def _blocks(n: int, k: int) -> list[Indices]:
    """Return the patients of each block."""
    size = max(1, _BLOCK // k)
    return [np.arange(first, min(first + size, n)) for first in range(0, n, size)]
