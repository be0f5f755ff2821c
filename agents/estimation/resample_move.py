"""Resample-move: carry weighted particles from one density to another, in tempered steps.

Between a density a that the particles follow and the density b that is wanted lie a^(1−β)·b^β. β rises as far
as leaves half of the effective particles; these are drawn anew by systematic resampling and moved by
Metropolis–Hastings steps that leave the density in between as it is: random walks on the scale of the
particles, and jumps drawn from a mixture fitted to them, which go from one mode to another as no walk does.
Moved particles are spread where b is large, which weights alone cannot do.

Gilks WR, Berzuini C. J R Stat Soc B 2001;63:127-146 (resample-move). Del Moral P, Doucet A, Jasra A. J R Stat
Soc B 2006;68:411-436 (tempering, log marginal). Jasra A, Stephens DA, Doucet A, Tsagaris T. Scand J Stat
2011;38:1-22 (the choice of β).

Moves leave the masses of far modes as the resampling made them, and particles with one ancestor are not
independent. The error is therefore that of the ancestors: with W_e the share of the particles that descend
from particle e of the first density, the relative variance of the marginal is Σ W_e² − 1/k (Lee A, Whiteley
N. Biometrika 2018;105:609-625, without its correction of order 1/k).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from dosewright.agents.estimation.mixture import Floats, Mixture

Indices = NDArray[np.int64]

_KEEP = 0.5  # share of the effective particles that a step of β leaves
_LENGTHS = 1.0  # SD of the log length of a walk's step
_ACCEPT = 0.3  # share of accepted walks that their scale is steered to
_BISECTIONS = 40
_LEAST = 1e-6  # step of β
_MOST = 60  # steps of β: each keeps half, so b would lie 2^60 times further out than any particle


class Density(Protocol):
    """Unnormalised densities of n patients."""

    def __call__(self, eta: Floats, rows: Indices, /) -> Floats:
        """Return the log density (r, k) at eta (r, k, d) of patients `rows` (r,); −∞ where it is 0."""
        ...


class Fit(Protocol):
    """Mixtures fitted to weighted particles."""

    def __call__(self, eta: Floats, weight: Floats, rows: Indices, /) -> Mixture:
        """Return those of particles (r, k, d) of patients `rows`, with normalised weights (r, k)."""
        ...


@dataclass(frozen=True, eq=False)
class Moved:
    """Particles that follow the wanted density, equally weighted.

    Attributes
    ----------
    eta : (n, k, d)
    log_density : (n, k) of b
    log_ratio : (n,) log of the integral of b over that of a
    variance : (n,) of `log_ratio`, by the ancestors that the particles have
    acceptance : (n,) share of the moves that were accepted
    """

    eta: Floats
    log_density: Floats
    log_ratio: Floats
    variance: Floats
    acceptance: Floats


def effective_size(log_weight: Floats) -> Floats:
    """Return Kish's effective number (n,) of particles with log weights (n, k)."""
    weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
    return weight.sum(axis=1) ** 2 / np.einsum("nk,nk->n", weight, weight)


def systematic(weight: Floats, u: float, count: int) -> Indices:
    """Return `count` indices (n, count) drawn by systematic resampling with normalised weights (n, k) and one
    uniform."""
    ends = np.cumsum(weight, axis=1)
    marks = (np.arange(count) + u) / count
    drawn = [np.searchsorted(row / row[-1], marks, side="right") for row in ends]
    return np.minimum(np.stack(drawn), weight.shape[1] - 1)


def resample_move(
    eta: Floats,
    log_weight: Floats,
    first: Density,
    wanted: Density,
    fit: Fit,
    seed: int,
    ids: Sequence[str],
    rounds: int = 6,
) -> Moved:
    """Carry particles from density `first` to density `wanted`.

    The same random numbers serve every patient, so none depends on who else is there.

    Parameters
    ----------
    eta : (n, k, d) particles
    log_weight : (n, k) their normalised log weights under `first`
    fit
        Gives the proposals of jumps.
    ids : (n,) names of the patients, for messages
    rounds
        After each step of β, a walk and a jump each.

    Raises
    ------
    ValueError
        For a patient of whom no particle has density under `wanted`, or whom no sequence of steps reaches.
    """
    n, k, d = eta.shape
    out = Moved(eta.copy(), np.zeros((n, k)), np.zeros(n), np.zeros(n), np.zeros(n))
    rows, beta, scale = np.arange(n), np.zeros(n), np.full(n, 2.38 / math.sqrt(d))
    cloud, weight = _Cloud.at(eta, rows, first, wanted), log_weight
    ancestor = np.tile(np.arange(k), (n, 1))
    for stage in range(_MOST):
        gain = cloud.gain
        possible = np.isfinite(weight + gain).any(axis=1)
        if not possible.all():
            raise ValueError(
                f"patient {ids[rows[np.argmin(possible)]]}: no draw explains the records; look for a dose, "
                "time or level out of all range"
            )
        step = _step(weight, gain, 1.0 - beta)
        weighted = weight + step[:, None] * gain
        out.log_ratio[rows] += np.asarray(logsumexp(weighted, axis=1))
        beta = np.where(step >= 1.0 - beta, 1.0, beta + step)
        rng, share = (
            np.random.default_rng([seed, stage]),
            np.exp(weighted - logsumexp(weighted, axis=1, keepdims=True)),
        )
        factor, jump = _spread(cloud.eta, share), fit(cloud.eta, share, rows)
        drawn = systematic(share, float(rng.random()), k)
        cloud, ancestor = cloud.take(drawn), np.take_along_axis(ancestor, drawn, axis=1)
        for _ in range(rounds):
            # steps of many lengths: a bent, thin posterior takes short ones across and long ones along
            z = rng.normal(size=(k, d)) * np.exp(_LENGTHS * rng.normal(size=(k, 1)))
            walk = scale[:, None, None] * np.einsum("nij,kj->nki", factor, z)
            other = _Cloud.at(cloud.eta + walk, rows, first, wanted)
            cloud, walked = cloud.metropolis(other, beta, 0.0, rng)
            scale = scale * np.exp(walked - _ACCEPT)
            other = _Cloud.at(jump.at(rng.random((k, d + 2))), rows, first, wanted)
            back = jump.log_density(cloud.eta) - jump.log_density(other.eta)
            cloud, jumped = cloud.metropolis(other, beta, back, rng)
            out.acceptance[rows] += walked + jumped
        out.eta[rows], out.log_density[rows] = cloud.eta, cloud.wanted
        there, going = np.flatnonzero(beta >= 1.0), np.flatnonzero(beta < 1.0)
        out.acceptance[rows[there]] /= 2.0 * (stage + 1) * rounds
        out.variance[rows[there]] = _shared(ancestor[there])
        rows, beta, scale = rows[going], beta[going], scale[going]
        cloud, ancestor = cloud.select(going), ancestor[going]
        weight = np.full((len(going), k), -math.log(k))
        if not len(rows):
            return out
    raise ValueError(
        f"patient {ids[rows[0]]}: {_MOST} steps from the draws do not reach what the records say; look for a "
        "dose, time or level out of all range"
    )


@dataclass(frozen=True, eq=False)
class _Cloud:
    """Particles (n, k, d) and their log densities (n, k) a and b."""

    eta: Floats
    first: Floats
    wanted: Floats

    @classmethod
    def at(cls, eta: Floats, rows: Indices, first: Density, wanted: Density) -> _Cloud:
        """Compute the densities at eta (r, k, d) of patients `rows`."""
        return cls(eta, first(eta, rows), wanted(eta, rows))

    @property
    def gain(self) -> Floats:
        """Log of b/a (n, k), −∞ where a is 0: such a particle has no weight."""
        possible = np.isfinite(self.first)
        return np.where(possible, self.wanted, -np.inf) - np.where(possible, self.first, 0.0)

    def between(self, beta: Floats) -> Floats:
        """Log of a^(1−β)·b^β (n, k), for β (n,) above 0."""
        rest = (1.0 - beta)[:, None]
        return np.where(rest > 0, rest * self.first, 0.0) + beta[:, None] * self.wanted

    def metropolis(
        self, other: _Cloud, beta: Floats, log_ratio: Floats | float, rng: np.random.Generator
    ) -> tuple[_Cloud, Floats]:
        """Accept other particles or keep these; return also the share (n,) that was accepted.

        `log_ratio` is that of the proposals' densities, back over forth.
        """
        here, there = self.between(beta), other.between(beta)
        # a particle without density, which can only have come from a tie, takes whatever has some
        odds = np.where(np.isfinite(there), there, -np.inf) - np.where(np.isfinite(here), here, -1e300)
        accept = np.log(rng.random(here.shape[1])) < odds + log_ratio
        return self.where(accept, other), accept.mean(axis=1)

    def take(self, which: Indices) -> _Cloud:
        """The particles (n, k) drawn."""
        parts = (np.take_along_axis(part, which, axis=1) for part in (self.first, self.wanted))
        return _Cloud(np.take_along_axis(self.eta, which[..., None], axis=1), *parts)

    def select(self, rows: Indices) -> _Cloud:
        """The particles of some patients."""
        return _Cloud(self.eta[rows], self.first[rows], self.wanted[rows])

    def where(self, accept: NDArray[np.bool_], other: _Cloud) -> _Cloud:
        """The other's particles where accepted (n, k)."""
        return _Cloud(
            np.where(accept[..., None], other.eta, self.eta),
            np.where(accept, other.first, self.first),
            np.where(accept, other.wanted, self.wanted),
        )


def _shared(ancestor: Indices) -> Floats:
    """Return Σ W_e² − 1/k (n,) of particles with ancestors (n, k)."""
    k = ancestor.shape[1]
    return np.array([((np.bincount(row) / k) ** 2).sum() for row in ancestor]) - 1.0 / k


def _step(log_weight: Floats, gain: Floats, most: Floats) -> Floats:
    """Return the steps (n,) of β, at most `most`, that keep half of the effective particles."""
    goal = _KEEP * effective_size(log_weight)
    whole = effective_size(log_weight + most[:, None] * gain) >= goal
    low, high = np.zeros_like(most), most.copy()
    for _ in range(_BISECTIONS):
        middle = 0.5 * (low + high)
        enough = effective_size(log_weight + middle[:, None] * gain) >= goal
        low, high = np.where(enough, middle, low), np.where(enough, high, middle)
    # where half of the particles are impossible no step is small enough: these are dropped at once
    return np.where(whole, most, np.where(low > 0, low, np.minimum(most, _LEAST)))


def _spread(eta: Floats, weight: Floats) -> Floats:
    """Return Cholesky factors (n, d, d) of the weighted covariances of particles."""
    mean, covariance = moments(eta, weight)
    d = mean.shape[1]
    ridge = 1e-6 * np.trace(covariance, axis1=1, axis2=2) / d + 1e-12
    return np.linalg.cholesky(covariance + ridge[:, None, None] * np.eye(d))


def moments(eta: Floats, weight: Floats) -> tuple[Floats, Floats]:
    """Return weighted means (n, d) and covariances (n, d, d) of particles (n, k, d)."""
    mean = np.einsum("nk,nkd->nd", weight, eta)
    centred = eta - mean[:, None]
    return mean, np.einsum("nk,nki,nkj->nij", weight, centred, centred)
