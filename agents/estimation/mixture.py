"""Mixtures of multivariate t and normal densities, one for each patient, that points are drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, logsumexp, ndtri
from scipy.stats import chi2, qmc

Floats = NDArray[np.float64]

_INSIDE = 1e-12  # uniforms stay this far from 0 and 1


@dataclass(frozen=True, eq=False)
class Component:
    """Equal parts of j multivariate t densities of one shape: a single one, or a kernel estimate.

    Attributes
    ----------
    share
        Of the mixture.
    centres : (n, j, d)
    factor : (n, d, d) lower Cholesky factor of the scale matrix
    freedom
        Degrees of freedom; infinite for normal densities, whose scale matrix is their covariance.
    """

    share: float
    centres: Floats
    factor: Floats
    freedom: float = math.inf

    def at(self, z: Floats, u: Floats, v: Floats) -> Floats:
        """Return the points (n, k, d) of standard normal z (k, d), uniform u (k,) for the chi square, and
        uniform v (k,) for the centre."""
        if math.isfinite(self.freedom):
            z = z * np.sqrt(self.freedom / chi2.ppf(u, self.freedom))[:, None]
        j = self.centres.shape[1]
        chosen = np.minimum((v * j).astype(np.int64), j - 1)
        return self.centres[:, chosen] + np.einsum("nij,kj->nki", self.factor, z)

    def log_density(self, eta: Floats) -> Floats:
        """Return the log density (n, k) at eta (n, k, d)."""
        (_, j, d), nu = self.centres.shape, self.freedom
        inverse = np.linalg.inv(self.factor)
        z, at = (np.einsum("nij,nkj->nki", inverse, part) for part in (eta, self.centres))
        square = np.zeros((*z.shape[:2], j))
        for i in range(d):
            square += (z[:, :, None, i] - at[:, None, :, i]) ** 2
        log_scale = np.log(np.diagonal(self.factor, axis1=1, axis2=2)).sum(axis=1)[:, None]
        if not math.isfinite(nu):
            constant, each = -0.5 * d * math.log(2 * math.pi), -0.5 * square
        else:
            constant = gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * d * math.log(nu * math.pi)
            each = -0.5 * (nu + d) * np.log1p(square / nu)
        return constant - log_scale - math.log(j) + np.asarray(logsumexp(each, axis=2))

    def select(self, rows: NDArray[np.int64]) -> Component:
        """Return the density of some patients."""
        return Component(self.share, self.centres[rows], self.factor[rows], self.freedom)


@dataclass(frozen=True, eq=False)
class Mixture:
    """A mixture of components whose shares sum to 1."""

    components: tuple[Component, ...]

    def at(self, u: Floats) -> Floats:
        """Return the points (n, k, d) of uniforms u (k, d + 2): the same ones give every patient's points.

        The last column tells the component and its centre, the one before it the t density's chi square.
        """
        u = np.clip(u, _INSIDE, 1 - _INSIDE)
        z = ndtri(u[:, :-2])
        shares = np.array([component.share for component in self.components])
        ends = np.cumsum(shares)
        chosen = np.minimum(np.searchsorted(ends, u[:, -1], side="right"), len(ends) - 1)
        n, _, d = self.components[0].centres.shape
        eta = np.empty((n, len(u), d))
        for number, component in enumerate(self.components):
            mine = chosen == number
            within = (u[mine, -1] - (ends[number] - shares[number])) / shares[number]
            eta[:, mine] = component.at(z[mine], u[mine, -2], within)
        return eta

    def log_density(self, eta: Floats) -> Floats:
        """Return the log density (n, k) at eta (n, k, d)."""
        parts = [math.log(one.share) + one.log_density(eta) for one in self.components]
        return np.asarray(logsumexp(np.stack(parts), axis=0))

    def select(self, rows: NDArray[np.int64]) -> Mixture:
        """Return the mixtures of some patients."""
        return Mixture(tuple(one.select(rows) for one in self.components))


def quasi_random(k: int, columns: int, *seed: int) -> Floats:
    """Return k scrambled Sobol points (k, columns) in the unit cube, k a power of two."""
    sobol = qmc.Sobol(columns, scramble=True, rng=np.random.default_rng([*seed, columns]))
    return sobol.random(k)
