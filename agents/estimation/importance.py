"""Proposals for importance sampling of hard posteriors: mixtures that are fitted to them step by step.

Pilot points are drawn from the prior, weighted by the likelihood to a power γ that leaves enough of them
effective, and a mixture of t densities is fitted to them; the next points come from it, and so on until γ is
1 and the mixture's own points weigh alike. All pilots count in every fit, each under the mixture of all the
proposals so far (Cornuet J-M, Marin J-M, Mira A, Robert CP. Scand J Stat 2012;39:798-812), so that nothing
drawn is lost. Starting from the prior, and not from an estimate, finds what the estimate does not know of.

Besides the fit a proposal holds a fit to a flattened posterior, which covers tails and small modes; the ends
of many descents from draws of the prior with their Laplace covariances, modes too narrow for the pilots to
hit; and the prior, a defence against all else (Hesterberg T. Technometrics 1995;37:185-194).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from dosewright.agents.estimation.mixture import FREEDOM, Mixture, quasi_random
from dosewright.agents.estimation.resample_move import effective_size, systematic

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

DEFENCE = 0.15  # share of the prior in a proposal
_FLAT = 0.30  # of the fit to the flattened posterior
_MODES = 0.10  # of the ends of descents, once γ is 1
_NONE = 1e-12  # share that stands for none
_COMPONENTS = 12  # of a fit
_POINTS = (
    256,
    1024,
)  # that a mixture is fitted to, drawn from the weighted ones: as many as particles, between these
_PILOTS = (128, 2048)  # pilot points a round, at least and at most; else a quarter of the particles
EFFECTIVE = 4  # γ leaves one effective point in so many of a round
_BISECTIONS = 30
_ROUNDS = 10
GOOD = 0.35  # effective share of a round's points with which a proposal is accepted
_PRIOR_SERVES = 0.9  # that share of draws from the prior: the records say next to nothing
_STARTS = (4, 32)  # descents from the prior, one for 128 particles
_KEPT = 6  # modes
_FAINTEST = 12.0  # log of the mass of a mode under that of the largest one, beyond which it is left out
_LEAST_MODE = 0.05  # share of a mode over that of the largest one
_IMPOSSIBLE = -1e300


class Target(Protocol):
    """Prior and likelihood of n patients."""

    @property
    def omega(self) -> Floats:
        """(d, d) covariance of the prior."""
        ...

    def descents(self, starts: Floats, /) -> tuple[Floats, Floats, Floats]:
        """Return where searches for a mode from starts (n, s, d) end: points (n, s, d), Laplace's covariances
        (n, s, d, d), and −2 log posterior (n, s)."""
        ...

    def log_prior(self, eta: Floats, /) -> Floats:
        """Return the log density (n, k) of effects (n, k, d)."""
        ...

    def log_likelihood(self, eta: Floats, /) -> Floats:
        """Return the log density (n, k) of all measurements."""
        ...

    def prior(self) -> Mixture:
        """Return the prior, to draw from."""
        ...

    def select(self, rows: Indices) -> Target:
        """Return the same of some patients."""
        ...


@dataclass(frozen=True)
class Effort:
    """What a proposal may cost.

    Attributes
    ----------
    pilots : points of each round
    searches : descents from draws of the prior, and twice as many from its likelier draws
    points : that a mixture is fitted to
    good : effective share of a round's points with which a proposal is accepted
    """

    pilots: tuple[int, ...]
    searches: int
    points: int
    good: float = GOOD

    @classmethod
    def of(cls, particles: int) -> Effort:
        """Return what so many particles are worth."""
        return cls(
            (int(np.clip(particles // 4, *_PILOTS)),) * _ROUNDS,
            int(np.clip(particles // 128, *_STARTS)),
            int(np.clip(particles, *_POINTS)),
        )


@dataclass(frozen=True, eq=False)
class Points:
    """Points of n patients with their log densities.

    Attributes
    ----------
    eta : (n, k, d)
    log_prior, log_likelihood : (n, k)
    log_proposal : (n, k) log density that they were drawn from, up to a constant
    """

    eta: Floats
    log_prior: Floats
    log_likelihood: Floats
    log_proposal: Floats

    @classmethod
    def of(cls, target: Target, eta: Floats, log_likelihood: Floats, log_proposal: Floats) -> Points:
        """Return points eta (n, k, d); where the likelihood is 0 it is all but 0."""
        likelihood = np.where(np.isfinite(log_likelihood), log_likelihood, _IMPOSSIBLE)
        return cls(eta, target.log_prior(eta), likelihood, log_proposal)

    def log_weight(self, gamma: Floats, flatter: float = 1.0) -> Floats:
        """Return log weights (n, k) under (prior · likelihood^γ)^flatter, for γ (n,)."""
        tempered = self.log_prior + gamma[:, None] * self.log_likelihood
        return flatter * tempered - self.log_proposal

    def beside(self, other: Points) -> Points:
        """Return these points and the other ones."""
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        return Points(*(np.concatenate(pair, axis=1) for pair in pairs))

    def select(self, rows: Indices) -> Points:
        """Return the points of some patients."""
        return Points(*(part[rows] for part in vars(self).values()))

    def power(self, goal: float) -> Floats:
        """Return the largest γ (n,) up to 1 that leaves `goal` effective points."""
        low, high = np.zeros(len(self.eta)), np.ones(len(self.eta))
        whole = effective_size(self.log_weight(high)) >= goal
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            enough = effective_size(self.log_weight(middle)) >= goal
            low, high = np.where(enough, middle, low), np.where(enough, high, middle)
        return np.where(whole, 1.0, low)


@dataclass(frozen=True, eq=False)
class Proposals:
    """Makes proposals for n patients.

    Attributes
    ----------
    modes : ends of descents
    prior
    omega : (d, d) covariance of the prior
    size
        Points that a mixture is fitted to.
    """

    modes: Mixture
    prior: Mixture
    omega: Floats
    size: int

    def fitted(self, points: Points, gamma: Floats) -> Mixture:
        """Return proposals fitted to points, the likelihood taken to γ (n,)."""
        modes = np.where(gamma >= 1.0, _MODES, _NONE)[:, None]
        return Mixture.joined(
            [
                (1.0 - _FLAT - DEFENCE - modes, self._fit(points, points.log_weight(gamma))),
                (_FLAT, self._fit(points, points.log_weight(0.5 * gamma, 0.5))),
                (modes, self.modes),
                (DEFENCE, self.prior),
            ]
        )

    def around(self, eta: Floats, weight: Floats) -> Mixture:
        """Return proposals fitted to points (n, k, d) with normalised weights (n, k) as they are."""
        return Mixture.joined([(1.0 - DEFENCE, self._around(eta, weight)), (DEFENCE, self.prior)])

    def select(self, rows: Indices) -> Proposals:
        """Return those of some patients."""
        return Proposals(self.modes.select(rows), self.prior.select(rows), self.omega, self.size)

    def _fit(self, points: Points, log_weight: Floats) -> Mixture:
        return self._around(points.eta, self._balanced(points.eta, _normalised(log_weight)))

    def _around(self, eta: Floats, weight: Floats) -> Mixture:
        chosen = systematic(weight, 0.5, self.size)
        drawn = np.take_along_axis(eta, chosen[..., None], axis=1)
        return Mixture.fitted(drawn, _COMPONENTS, self.omega)

    def _balanced(self, eta: Floats, weight: Floats) -> Floats:
        """Return weights (n, k) under which a mode counts with the root of its mass: one of a hundredth would
        leave too few points to be fitted to."""
        share = np.where(self.modes.share > _NONE, self.modes.share, np.inf)[..., None]
        mode = (self.modes.log_parts(self.modes.squares(eta)) - np.log(share)).argmax(axis=1)
        for j in range(_KEPT):
            mine = mode == j
            mass = np.where(mine, weight, 0.0).sum(axis=1, keepdims=True)
            weight = np.where(mine, weight / np.sqrt(np.maximum(mass, _LEAST_MODE**4)), weight)
        return weight / weight.sum(axis=1, keepdims=True)


def proposals(
    target: Target, start: Floats, effort: Effort, seed: int
) -> Iterator[tuple[Indices, Mixture, Proposals]]:
    """Yield patients (r,) by number with their mixtures, and with what makes others, once these are good.

    Parameters
    ----------
    start : (n, s, d)
        Points that descents begin at, besides draws of the prior.
    effort
        What they may cost.
    """
    d = len(target.omega)
    rows, gamma, mixture = np.arange(len(start)), np.zeros(len(start)), target.prior()
    maker, points, used = None, None, list[tuple[float, Mixture]]()
    for number, size in enumerate(effort.pilots):
        some = target if maker is None else target.select(rows)
        eta = mixture.at(quasi_random(size, d + 2, seed, number))
        own = Points.of(some, eta, some.log_likelihood(eta), mixture.log_density(eta))
        fresh = effective_size(own.log_weight(np.ones(len(rows)))) / size
        going = np.flatnonzero(fresh < np.where(gamma >= 1.0, effort.good, _PRIOR_SERVES))
        if maker is None:
            maker = _maker(target, own, start, effort)
        last = number == len(effort.pilots) - 1
        done = np.arange(len(rows)) if last else np.setdiff1d(np.arange(len(rows)), going)
        if len(done):
            yield rows[done], mixture.select(done), maker.select(done)
        if len(done) == len(rows):
            return
        used.append((math.log(size / effort.pilots[0]), mixture))
        points = _pooled(points, own, used).select(going)
        used = [(weight, one.select(going)) for weight, one in used]
        rows, maker = rows[going], maker.select(going)
        gamma = points.power(size / EFFECTIVE)
        mixture = maker.fitted(points, gamma)


def _pooled(points: Points | None, own: Points, used: list[tuple[float, Mixture]]) -> Points:
    """Join new points to those of earlier rounds; all are drawn from the mixture of all proposals, each with
    the log of its number of points over that of the first."""
    if points is None:
        return own
    last, mixture = used[-1]
    old = np.logaddexp(points.log_proposal, last + mixture.log_density(points.eta))
    others = (weight + one.log_density(own.eta) for weight, one in used[:-1])
    new = np.logaddexp.reduce([last + own.log_proposal, *others], axis=0)
    return Points(points.eta, points.log_prior, points.log_likelihood, old).beside(
        Points(own.eta, own.log_prior, own.log_likelihood, new)
    )


def _maker(target: Target, pilots: Points, start: Floats, effort: Effort) -> Proposals:
    """Look for modes from given starts and from draws of the prior."""
    gamma = pilots.power(pilots.eta.shape[1] / EFFECTIVE)
    chosen = systematic(_normalised(gamma[:, None] * pilots.log_likelihood), 0.5, 2 * effort.searches)
    likely = np.take_along_axis(pilots.eta, chosen[..., None], axis=1)
    modes = _modes(target, np.concatenate([start, pilots.eta[:, : effort.searches], likely], axis=1))
    return Proposals(modes, target.prior(), target.omega, effort.points)


def _modes(target: Target, starts: Floats) -> Mixture:
    """Return the distinct ends of descents, each with the root of its mass by Laplace's approximation."""
    eta, covariance, objective = target.descents(starts)
    mass = 0.5 * (np.linalg.slogdet(covariance)[1] - objective)
    n, _, d = eta.shape
    share, centres = np.full((n, _KEPT), _NONE), np.zeros((n, _KEPT, d))
    factor = np.tile(np.asarray(np.linalg.cholesky(target.omega), dtype=np.float64), (n, _KEPT, 1, 1))
    for i in range(n):
        kept = _distinct(eta[i], covariance[i], mass[i])
        share[i, : len(kept)] = np.maximum(
            np.exp(0.5 * (mass[i, kept] - mass[i, kept].max(initial=-np.inf))), _LEAST_MODE
        )
        centres[i, : len(kept)] = eta[i, kept]
        factor[i, : len(kept)] = np.linalg.cholesky(covariance[i, kept])
    return Mixture(share / share.sum(axis=1, keepdims=True), centres, factor, np.full(_KEPT, FREEDOM))


def _distinct(eta: Floats, covariance: Floats, mass: Floats) -> list[int]:
    """Return the ends (s,) with most mass that are an SD or more from those with more."""
    kept: list[int] = []
    for s in np.argsort(-mass, kind="stable"):
        if not mass[s] >= mass.max() - _FAINTEST or len(kept) == _KEPT:
            break
        apart = eta[kept] - eta[s]
        squares = np.einsum("ji,ji->j", apart, np.linalg.solve(covariance[kept], apart[..., None])[..., 0])
        if (squares >= 1.0).all():
            kept.append(int(s))
    return kept


def _normalised(log_weight: Floats) -> Floats:
    """Return weights (n, k) that sum to 1."""
    return np.exp(log_weight - np.asarray(logsumexp(log_weight, axis=1, keepdims=True)))
