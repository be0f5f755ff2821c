"""The posterior of recorded patients: importance-weighted particles, moved where weights alone fail.

Particles are drawn from a mixture that was fitted to the posterior step by step from the prior on
(`importance`), and weighted by prior and likelihood of the whole history over the mixture's density. Where
few particles carry the weight, the mixture is fitted to them and drawn from again; where that is not enough
they are carried to the posterior in tempered steps (`resample_move`). Quasi-random points, the same ones for
every patient: results depend on the seed, and not on who else is there (with occasion effects on the largest
number of occasions in the records, which is the number of effects).

`WeightedEffects.effective_size` tells how much to trust moments, of moved particles too.

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
from dosewright.agents.estimation.importance import EFFECTIVE, Effort, Points, Proposals, proposals
from dosewright.agents.estimation.likelihood import SampleErrors, log_likelihood
from dosewright.agents.estimation.map import MapFit, descents
from dosewright.agents.estimation.mixture import Mixture, quasi_random
from dosewright.agents.estimation.resample_move import (
    Moved,
    effective_size,
    moments,
    resample_move,
)

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# shares of the particles that carry weight
FAIR = 0.25  # below it they are drawn again, from a proposal fitted to them
POOR = 0.10  # below it they are moved, or after new records drawn anew
_REDRAWS = 2
_DRAWN = 1000  # number that tells the particles' random numbers from those of pilots
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
        return np.sqrt(np.maximum(1.0 / self.effective_size - 1.0 / self.eta.shape[1], 0.0))

    @cached_property
    def log_weight(self) -> Floats:
        """(n, k) log weights, normalised; NaN for a patient of whom no particle has a likelihood."""
        with np.errstate(invalid="ignore"):
            return self._log_ratio - np.asarray(logsumexp(self._log_ratio, axis=1, keepdims=True))

    @cached_property
    def weight(self) -> Floats:
        """(n, k) weights that sum to 1."""
        return np.exp(self.log_weight)

    @property
    def effective_size(self) -> Floats:
        """(n,) Number of independent draws of the posterior that the particles are worth: Kish's, by the
        spread of their weights; of those that were moved, by the ancestors that they share."""
        return 1.0 / (self.variance + 1.0 / effective_size(self.log_weight))

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
        """Return the posterior after more records: particles re-weighted, or drawn anew where few count.

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
        after = replace(self, courses=courses, log_likelihood=recorded_likelihood(courses, self.eta))
        poor = after.below(POOR)
        if not len(poor):
            return after
        k, best = self.eta.shape[1], self.log_weight[poor].argmax(axis=1)
        anew = _sampled(
            _Target(courses, self.mean, self.omega).select(poor), self.eta[poor, best][:, None], k, self.seed
        )
        return after.replace_rows(poor, anew)

    def below(self, share: float) -> Indices:
        """Return the patients of whom less than a share of the particles carries weight."""
        return np.flatnonzero(~(self.effective_size >= share * self.eta.shape[1]))

    def replace_rows(self, rows: Indices, other: Posterior) -> Posterior:
        """Return this posterior with the particles of some patients taken from another."""
        parts = {name: getattr(self, name).copy() for name in _PER_PATIENT}
        for name, part in parts.items():
            part[rows] = getattr(other, name)
        return replace(self, **parts)

    def with_moved(self, rows: Indices, moved: Moved, target: _Target) -> Posterior:
        """Return this posterior with some patients' particles moved from a normalised density."""
        parts = {name: getattr(self, name).copy() for name in _PER_PATIENT}
        parts["eta"][rows], parts["acceptance"][rows] = moved.eta, moved.acceptance
        parts["log_likelihood"][rows] = moved.log_density - target.log_prior(moved.eta)
        # they follow the posterior: prior times likelihood over the marginal likelihood
        parts["log_proposal"][rows] = moved.log_density - moved.log_ratio[:, None]
        parts["variance"][rows] = moved.variance
        return replace(self, **parts)


def sample(
    courses: Courses,
    *,
    particles: int = 4096,
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
        MAP estimates of the same records, where there are any: modes are looked for from there as well.
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
    start = np.zeros((len(courses), 1, d)) if fit is None else fit.eta[:, None]
    parts = [
        _sampled(target.select(rows), start[rows], particles, seed)
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
    if not courses.observed.any():
        return np.zeros(eta.shape[:2])
    return predicted_likelihood(courses, courses.predict(eta))


def predicted_likelihood(courses: Courses, predicted: Floats, rows: slice = slice(None)) -> Floats:
    """Return the log density (r, k) of all measurements of some patients by their predictions (r, k, m); −∞
    where there is none."""
    outputs, observed = courses.sample_output[rows], courses.observed[rows]
    errors = SampleErrors.of([item.error for item in courses.model.outputs], outputs)
    low, high = (np.where(observed, part[rows], 0.0)[:, None] for part in (courses.low, courses.high))
    each = log_likelihood(errors.expand(1), predicted, low, high, courses.event[rows, None])
    total = np.where(observed[:, None], each, 0.0).sum(axis=-1)
    return np.where(np.isnan(total), -np.inf, total)


def refuse_unexplained(log_likelihood: Floats, ids: Sequence[str]) -> None:
    """Refuse patients of whom no particle has a likelihood (n, k)."""
    lost = np.isneginf(log_likelihood).all(axis=1)
    if lost.any():
        raise ValueError(
            f"patient {ids[int(np.argmax(lost))]}: no draw explains the records; look for a dose, time or "
            "level out of all range"
        )


def _sampled(target: _Target, start: Floats, k: int, seed: int) -> Posterior:
    """Sample patients; modes are looked for from starts (n, s, d) as well."""
    n, d = len(start), len(target.mean)
    # filled below, patient by patient as their proposals are ready
    nothing = np.full((n, k), np.nan)
    posterior = Posterior(
        target.mean, target.omega, np.full((n, k, d), np.nan), nothing, nothing, np.zeros(n),
        target.courses, np.full(n, np.nan), seed,
    )  # fmt: skip
    for rows, mixture, maker in proposals(target, start, Effort.of(k), seed):
        drawn = _settled(target.select(rows), mixture, maker, k, seed)
        posterior = posterior.replace_rows(rows, drawn)
    refuse_unexplained(posterior.log_likelihood, target.courses.ids)
    return posterior


def _settled(target: _Target, mixture: Mixture, maker: Proposals, k: int, seed: int) -> Posterior:
    """Draw from mixtures, again from better ones where few particles carry weight, and move what is left."""
    posterior = _drawn(target, mixture, k, seed, _DRAWN)
    rows, now = np.arange(len(mixture.share)), posterior
    for number in range(1, _REDRAWS + 1):
        few = now.below(FAIR)
        if not len(few):
            return posterior
        rows, some, maker = rows[few], target.select(rows[few]), maker.select(few)
        points = Points.of(some, now.eta[few], now.log_likelihood[few], now.log_proposal[few])
        mixture = maker.fitted(points, points.power(k / EFFECTIVE))
        now = _drawn(some, mixture, k, seed, _DRAWN + number)
        posterior = posterior.replace_rows(rows, now)
    poor = now.below(POOR)
    if not len(poor):
        return posterior
    return posterior.with_moved(
        rows[poor], *_moved(target.select(rows[poor]), mixture.select(poor), maker.select(poor), k, seed)
    )


def _moved(target: _Target, mixture: Mixture, maker: Proposals, k: int, seed: int) -> tuple[Moved, _Target]:
    """Carry particles from mixtures to the posterior; return also the patients."""
    eta = mixture.at(quasi_random(k, len(target.mean) + 2, seed, _DRAWN + _REDRAWS + 1))

    def first(eta: Floats, rows: Indices) -> Floats:
        return mixture.select(rows).log_density(eta)

    def fit(eta: Floats, weight: Floats, rows: Indices) -> Mixture:
        return maker.select(rows).around(eta, weight)

    alike = np.full((len(eta), k), -math.log(k))
    return resample_move(eta, alike, first, target.log_density, fit, seed, target.courses.ids), target


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

    def descents(self, starts: Floats) -> tuple[Floats, Floats, Floats]:
        """Ends of descents from starts (n, s, d)."""
        return descents(self.courses, starts)

    def prior(self) -> Mixture:
        """The prior, to draw from."""
        return Mixture.normal(len(self.courses), self.mean, self.omega)

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
