"""Mixtures of multivariate t and normal densities, one for each patient: points are drawn from them, and they
are fitted to points.

The fit is expectation maximisation for t densities of fixed freedom (Peel D, McLachlan GJ. Stat Comput
2000;10:339-348), which for importance sampling is the choice of Cappé O, Douc R, Guillin A, Marin JM, Robert
CP (Stat Comput 2008;18:447-459).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp, ndtri
from scipy.stats import chi2, qmc

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

FREEDOM = 5.0  # of fitted t densities: their tails are heavier than any posterior's

_INSIDE = 1e-12  # uniforms stay this far from 0 and 1
_PASSES = 12  # of expectation and maximisation
_PRIOR_POINTS = 1.0  # points' worth of the covariance of all points that a component's own is mixed with
_THIN = 1e-5  # variance added to a fitted one, over that of the scale that is given
_NOTHING = 1e-6  # points' worth of a component that is left where it is
_LEAST_SHARE = 1e-3  # of a fitted component


@dataclass(frozen=True, eq=False)
class Mixture:
    """Mixtures of j components for each of n patients.

    Attributes
    ----------
    share : (n, j) of the components; they sum to 1
    centres : (n, j, d)
    factor : (n, j, d, d) lower Cholesky factors of the scale matrices
    freedom : (j,) degrees of freedom of t densities; infinite for normal ones, whose scale matrix is their
        covariance
    """

    share: Floats
    centres: Floats
    factor: Floats
    freedom: Floats

    @classmethod
    def normal(cls, n: int, mean: Floats, covariance: Floats) -> Mixture:
        """Return one normal density (d,), (d, d) for each of n patients."""
        factor = np.tile(np.asarray(np.linalg.cholesky(covariance), dtype=np.float64), (n, 1, 1, 1))
        return cls(np.ones((n, 1)), np.tile(mean, (n, 1, 1)), factor, np.array([math.inf]))

    @classmethod
    def joined(cls, parts: Sequence[tuple[Floats | float, Mixture]]) -> Mixture:
        """Return mixtures of mixtures, each with its share: a number, or one a patient (n, 1)."""
        return cls(
            np.concatenate([share * part.share for share, part in parts], axis=1),
            np.concatenate([part.centres for _, part in parts], axis=1),
            np.concatenate([part.factor for _, part in parts], axis=1),
            np.concatenate([part.freedom for _, part in parts]),
        )

    @classmethod
    def fitted(cls, points: Floats, count: int, scale: Floats) -> Mixture:
        """Return mixtures of `count` t densities fitted to points (n, m, d).

        `scale` (d, d) is the covariance of what the points are a part of: distances are in its SDs, and no
        component becomes infinitely thin beside it.
        """
        n, m, d = points.shape
        centred = points - points.mean(axis=1, keepdims=True)
        whole = np.einsum("nmi,nmj->nij", centred, centred) / m + _THIN * scale
        centres = _scattered(points, count, np.sqrt(np.diag(scale)))
        covariance = np.repeat((whole * count ** (-2.0 / d))[:, None], count, axis=1)
        ridge = _PRIOR_POINTS * covariance
        share, freedom = np.full((n, count), 1.0 / count), np.full(count, FREEDOM)
        for _ in range(_PASSES):
            now = cls(share, centres, np.linalg.cholesky(covariance), freedom)
            square = now.squares(points)
            each = now.log_parts(square)
            part = np.exp(each - np.asarray(logsumexp(each, axis=1, keepdims=True)))  # (n, j, m)
            pull = part * (FREEDOM + d) / (FREEDOM + square)
            number, pulled = part.sum(axis=2), pull.sum(axis=2)
            share = np.maximum(number / m, _LEAST_SHARE)
            share /= share.sum(axis=1, keepdims=True)
            moved = np.matmul(pull, points) / np.maximum(pulled, _NOTHING)[..., None]
            centres = np.where((pulled > _NOTHING)[..., None], moved, centres)
            apart = points[:, None] - centres[:, :, None]  # (n, j, m, d)
            spread = np.matmul(np.swapaxes(apart * pull[..., None], 2, 3), apart)
            covariance = (spread + ridge) / (number + _PRIOR_POINTS)[..., None, None] + _THIN * scale
        return cls(share, centres, np.linalg.cholesky(covariance), freedom)

    def at(self, u: Floats) -> Floats:
        """Return the points (n, k, d) of uniforms u (k, d + 2): the same ones give every patient's points.

        The last column tells the component, the one before it a t density's chi square.
        """
        u = np.clip(u, _INSIDE, 1 - _INSIDE)
        z, d = ndtri(u[:, :-2]), u.shape[1] - 2
        wide = np.ones((len(self.freedom), len(u)))
        for nu in np.unique(self.freedom[np.isfinite(self.freedom)]):
            wide[self.freedom == nu] = np.sqrt(nu / chi2.ppf(u[:, -2], nu))
        eta = np.empty((len(self.share), len(u), d))
        for i, share in enumerate(self.share):
            chosen = np.minimum(np.searchsorted(np.cumsum(share), u[:, -1], side="right"), len(share) - 1)
            step = np.einsum("kij,kj->ki", self.factor[i, chosen], z)
            eta[i] = self.centres[i, chosen] + wide[chosen, np.arange(len(u))][:, None] * step
        return eta

    def log_density(self, eta: Floats) -> Floats:
        """Return the log density (n, k) at eta (n, k, d)."""
        return np.asarray(logsumexp(self.log_parts(self.squares(eta)), axis=1))

    def select(self, rows: Indices) -> Mixture:
        """Return the mixtures of some patients."""
        return Mixture(self.share[rows], self.centres[rows], self.factor[rows], self.freedom)

    def squares(self, eta: Floats) -> Floats:
        """Return squared Mahalanobis distances (n, j, k) of eta (n, k, d) from the centres."""
        inverse = np.linalg.inv(self.factor)
        out = np.empty((*self.share.shape, eta.shape[1]))
        for j in range(len(self.freedom)):
            z = np.matmul(eta - self.centres[:, j, None], np.swapaxes(inverse[:, j], 1, 2))
            out[:, j] = np.einsum("nkd,nkd->nk", z, z)
        return out

    def log_parts(self, square: Floats) -> Floats:
        """Return log densities (n, j, k) of the components times their shares, at such distances."""
        d, nu = self.centres.shape[2], self.freedom
        t = np.isfinite(nu)
        some = np.where(t, nu, 1.0)
        constant = np.where(
            t,
            gammaln((some + d) / 2) - gammaln(some / 2) - 0.5 * d * np.log(some * math.pi),
            -0.5 * d * math.log(2 * math.pi),
        )
        scale = np.log(np.diagonal(self.factor, axis1=2, axis2=3)).sum(axis=2)
        out = -0.5 * square
        for j in np.flatnonzero(t):
            out[:, j] = -0.5 * (nu[j] + d) * np.log1p(square[:, j] / nu[j])
        return out + (np.log(self.share) + constant - scale)[..., None]


def quasi_random(k: int, columns: int, *seed: int) -> Floats:
    """Return k scrambled Sobol points (k, columns) in the unit cube, k a power of two."""
    sobol = qmc.Sobol(columns, scramble=True, rng=np.random.default_rng([*seed, columns]))
    return sobol.random(k)


def _scattered(points: Floats, count: int, scale: Floats) -> Floats:
    """Return `count` of the points (n, m, d), each drawn by its squared distance from those before."""
    n, m, _ = points.shape
    at = points / scale
    u = np.random.default_rng(count).random(count)
    chosen, apart = np.zeros((n, count), dtype=np.int64), np.full((n, m), 1.0)
    for j in range(count):
        ends = np.cumsum(apart + 1e-12, axis=1)
        chosen[:, j] = np.minimum((ends < u[j] * ends[:, -1:]).sum(axis=1), m - 1)
        new = np.take_along_axis(at, chosen[:, j, None, None], axis=1)
        square = ((at - new) ** 2).sum(axis=2)
        apart = square if j == 0 else np.minimum(apart, square)
    return np.take_along_axis(points, chosen[..., None], axis=1)
