"""A smooth quantity of the effects, learned at few expensive particles and averaged over many cheap points.

A nadir weeks ahead costs a solution of differential equations a particle, and a probability needs thousands
of particles to be exact to 0.01. But as a function of the effects it is smooth, and so are the predictions
that the likelihood is made of: what a few dozen particles say of them is interpolated, and the posterior is
integrated over points that cost a product of matrices.

Interpolation is universal kriging (the emulator of computer experiments: Sacks J et al., Stat Sci
1989;4:409-423) in effects z whitened by the posterior's covariance, with a linear trend and the covariance
exp(−|z − z'|²/2ℓ²)::

    ⎡K + D  F⎤ ⎡S⎤   ⎡I⎤        K (k, k), F = (1, z) (k, 1 + d), D: what a particle may deviate by
    ⎣F'     0⎦ ⎣T⎦ = ⎣0⎦        value at z = (K(z, ·)·S + F(z)·T)·values

The matrix does not depend on the values: it serves every prediction, and every patient whose particles are
the same whitened points. The error is known without another run: the residual at a particle that is left out
is (S·values)ᵢ/Sᵢᵢ (Dubrule O, J Int Assoc Math Geol 1983;15:687-699). Points are drawn from a normal density
and weighted by the prior and the likelihood of the interpolated predictions, whatever their error model is.
Where that is not good enough, particles are used as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.distance import cdist
from scipy.special import ndtri

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.map import MapFit
from dosewright.agents.estimation.mixture import quasi_random
from dosewright.agents.estimation.particles import (
    Posterior,
    WeightedEffects,
    predicted_likelihood,
    refuse_unexplained,
)
from dosewright.agents.estimation.resample_move import moments

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# of a posterior's SDs; by the nadir after docetaxel (``python -m benchmarks.nadir``) from 3 to 7 tried
_LENGTH = 4.0  # ℓ, how far a value says something of others
_SPREAD, _WIDER = 1.15, 1.3  # SDs of points, and of particles: no point should be far from all particles
_DEVIATION = 1e-5  # D at the centre; it grows by exp(|z|²/4), as what is far matters less
_FLOOR = 1e-6  # prior variances added to a covariance of particles, which may have none in some direction
_INSIDE = 1e-12  # uniforms stay this far from 0 and 1
_PIECE = 256  # points that are interpolated at a time
# A surface is used up to these errors
_OFF = 0.25  # of the quantity at a particle that is left out, in its posterior SDs
_OFF_LIKELIHOOD = 0.5  # of the log likelihood there
_APART = 5.0  # of the mean from that of the particles, in Monte Carlo standard errors
_CARRY = 0.02  # share of the points that have to carry weight
_MORE = 4  # times the particles of a patient whom it does not fit, in `learn`
_PER_PATIENT = ("values", "fits", "residual", "likelihood_residual")

Quantity = Callable[[Floats], Floats]


@dataclass(frozen=True, eq=False)
class Surface:
    """A quantity over the posterior of n patients, at p points each.

    Attributes
    ----------
    points
        The points, weighted as particles are; of a patient without a surface the particles, repeated.
    values : (n, p) the quantity there
    fits : (n,) whether the surface is used, not the particles
    residual : (n,) error of the quantity at particles that are left out, root mean square over the posterior,
        in posterior SDs of the quantity; NaN where a particle has no value
    likelihood_residual : (n,) the same of the log likelihood, as it is
    """

    points: WeightedEffects
    values: Floats
    fits: NDArray[np.bool_]
    residual: Floats
    likelihood_residual: Floats

    @classmethod
    def of(
        cls,
        posterior: Posterior,
        values: ArrayLike,
        *,
        predicted: ArrayLike | None = None,
        points: int = 4096,
    ) -> Surface:
        """Learn a quantity from the particles of a posterior.

        Parameters
        ----------
        posterior
            A few dozen particles a patient and more: at least twice the number of effects, and two.
        values : (n, k)
            The quantity at the particles, on a scale on which it is smooth: the logarithm of a concentration.
        predicted : (n, k, m)
            `posterior.courses.predict` at the particles, where it is there already.
        points
            Points a patient, a power of two and not fewer than particles; each takes 8·(d + 4) bytes.

        Raises
        ------
        ValueError
            For other shapes, or too few particles or points.
        """
        known = _Known.of(posterior, values, predicted)
        _check(posterior, points)
        mean, covariance = moments(posterior.eta, posterior.weight)
        factor = _factor(covariance + _FLOOR * posterior.omega)
        z = np.linalg.solve(factor, (posterior.eta - mean[:, None]).transpose(0, 2, 1)).transpose(0, 2, 1)
        u = _points(points, z.shape[2], posterior.seed, 1)
        looks = (_Kriging.of(one, _SPREAD * u) for one in z)
        return _learned(known, _proposed(posterior, mean, factor, u), looks)

    def mean(self) -> Floats:
        """Return the posterior mean (n,) of the quantity."""
        return self.points.expect(self.values)

    def probability_below(self, limit: float) -> Floats:
        """Return the posterior probability (n,) that the quantity is below a limit, on the scale it was given
        in."""
        return self.points.probability(self.values < limit)

    def quantile(self, share: float) -> Floats:
        """Return the posterior quantile (n,) of the quantity."""
        return self.points.quantile(self.values, share)

    def replace_rows(self, rows: Indices, other: Surface) -> Surface:
        """Return this surface with some patients taken from another."""
        named = ("eta", "log_likelihood", "log_proposal", "variance")
        points = {name: getattr(self.points, name).copy() for name in named}
        parts = {name: getattr(self, name).copy() for name in _PER_PATIENT}
        for whole, source in ((points, other.points), (parts, other)):
            for name, part in whole.items():
                part[rows] = getattr(source, name)
        return replace(self, points=replace(self.points, **points), **parts)


def learn(
    fit: MapFit,
    quantity: Quantity,
    times: ArrayLike,
    outputs: Sequence[str],
    doses: Sequence[Any] = (),
    *,
    particles: int = 64,
    points: int = 4096,
    seed: int = 0,
) -> Surface:
    """Learn what is ahead in one run of the engine a patient, from particles around the MAP estimate.

    The particles are the same whitened points for every patient, so that the surface costs next to nothing.
    Patients whom it does not fit get four times the particles; where it does not fit them either, these are
    used as they are: look at `Surface.fits` and `points.effective_size`, and turn to `sample` for them.

    Parameters
    ----------
    fit
        MAP estimates of all effects, under the courses' prior.
    quantity
        Outputs (n, k, t, o) at the times -> the quantity (n, k), on a scale on which it is smooth. Called for
        some of the patients again, with more particles.
    times, doses
        As in `Courses.simulate`.
    outputs : (o,)
        Names of the outputs that the quantity is of.
    particles, points
        A patient, powers of two.
    seed
        Of all random numbers.

    Raises
    ------
    ValueError
        For estimates with effects held at 0, too few particles or points, what `Courses.simulate` refuses, or
        a patient whose records no particle explains.

    Examples
    --------
    The probability of a nadir below 0.5 between days 6 and 21::

        surface = learn(fit, lambda x: np.log(x[..., 0].min(axis=2)), 24.0 * np.arange(6, 22), ["ANC"])
        surface.probability_below(np.log(0.5))
    """
    courses = fit.courses
    held = np.flatnonzero(np.any(np.diagonal(fit.covariance, axis1=1, axis2=2) <= 0, axis=0))
    if len(held):
        raise ValueError(
            f"effects {', '.join(courses.names[i] for i in held)} were held at 0 in the estimates; estimate "
            "all of them"
        )
    when = np.asarray(times, dtype=np.float64)
    when = np.broadcast_to(when, (len(courses), when.shape[-1]))
    given = list(doses) if _one_each(doses) else [doses] * len(courses)
    if len(given) != len(courses):
        raise ValueError(f"{len(given)} schedules for {len(courses)} patients; give one for all, or one each")

    def around(rows: Indices, k: int) -> Surface:
        ahead = _Ahead(courses.select(rows), quantity, [given[i] for i in rows], when[rows], outputs)
        return ahead.around(fit.eta[rows], fit.covariance[rows], k, points, seed)

    surface = around(np.arange(len(courses)), particles)
    rows = np.flatnonzero(~surface.fits)
    if len(rows) and particles * _MORE <= points:
        surface = surface.replace_rows(rows, around(rows, particles * _MORE))
    refuse_unexplained(surface.points.log_likelihood, courses.ids)
    return surface


@dataclass(frozen=True, eq=False)
class _Ahead:
    """A quantity of n patients under further doses, one schedule each, at times (n, t)."""

    courses: Courses
    quantity: Quantity
    doses: Sequence[Sequence[Any]]
    times: Floats
    outputs: Sequence[str]

    def around(self, at: Floats, covariance: Floats, k: int, points: int, seed: int) -> Surface:
        """Learn from k particles around estimates (n, d) with covariances (n, d, d)."""
        courses, (n, d) = self.courses, at.shape
        first, factor = _points(k, d, seed, 0), _factor(covariance)
        eta = at[:, None] + np.einsum("nij,kj->nki", _WIDER * factor, first)
        predicted, ahead = self._one_run(eta)
        posterior = Posterior(
            np.zeros(d), courses.omega, eta, predicted_likelihood(courses, predicted),
            _log_normal(first, _WIDER, factor), np.zeros(n), courses, np.full(n, np.nan), seed,
        )  # fmt: skip
        known = _Known.of(posterior, self.quantity(ahead), predicted)
        _check(posterior, points)
        u = _points(points, d, seed, 1)
        look = _Kriging.of(_WIDER * first, _SPREAD * u)
        return _learned(known, _proposed(posterior, at, factor, u), (look for _ in range(n)))

    def _one_run(self, eta: Floats) -> tuple[Floats, Floats]:
        """Predictions (n, k, m) of the samples, and outputs (n, k, t, o) ahead."""
        courses, outputs = self.courses, self.outputs
        if len(courses.segments) > 1 or courses.event.any():  # what was before a reset is not read later
            return courses.predict(eta), courses.simulate(eta, self.doses, self.times, outputs)
        named = [item.name for item in courses.model.outputs]
        sampled = [named[i] for i in courses.read_outputs]
        both = list(dict.fromkeys([*sampled, *outputs]))
        read = np.where(courses.sampled, courses.sample_time, courses.end[:, None])
        found = courses.simulate(eta, self.doses, np.concatenate([read, self.times], axis=1), both)
        m = read.shape[1]
        place = np.minimum(np.searchsorted(courses.read_outputs, courses.sample_output), len(sampled) - 1)
        past = np.take_along_axis(found[:, :, :m], place[:, None, :, None], axis=3)[..., 0]
        ahead = found[:, :, m:, [both.index(name) for name in outputs]]
        return np.where(courses.sampled[:, None], past, 0.0), ahead


class _Kriging(NamedTuple):
    """Weights of the values at k particles."""

    weight: Floats  # (b, p/b, k) for the values at p points
    left_out: Floats  # (k, k) for the residual at each particle from the others

    def at_points(self, values: Floats) -> Floats:
        """Values (p, m) of what is (k, m) at the particles."""
        return np.matmul(self.weight, values).reshape(-1, values.shape[1])

    @classmethod
    def of(cls, z: Floats, at: Floats) -> _Kriging:
        """Solve for particles z (k, d) and points (p, d), whitened."""
        (k, d), trend = z.shape, _trend(z)
        square = np.minimum((z**2).sum(axis=1), 100.0)
        matrix = np.zeros((k + 1 + d, k + 1 + d))
        matrix[:k, :k] = _covariance(z, z) + np.diag(_DEVIATION * np.exp(0.25 * square))
        matrix[:k, k:], matrix[k:, :k] = trend, trend.T
        solved = np.linalg.solve(matrix, np.eye(k + 1 + d, k))
        inner = solved[:k]
        weight = _covariance(at, z) @ inner + _trend(at) @ solved[k:]
        # in pieces too small for BLAS to share among threads, which costs more than it saves
        pieces = max(1, len(at) // _PIECE)
        return cls(weight.reshape(pieces, -1, k), inner / np.diag(inner)[:, None])


@dataclass(frozen=True, eq=False)
class _Known:
    """What is known at the particles."""

    posterior: Posterior
    values: Floats  # (n, k)
    predicted: Floats  # (n, k, m)

    @classmethod
    def of(cls, posterior: Posterior, values: ArrayLike, predicted: ArrayLike | None) -> _Known:
        """Check the shapes, and predict where that has not been done."""
        found = posterior.courses.predict(posterior.eta) if predicted is None else predicted
        n, k, m = *posterior.eta.shape[:2], posterior.courses.sample_time.shape[1]
        parts = []
        for name, part, shape in (("values", values, (n, k)), ("predicted", found, (n, k, m))):
            part = np.asarray(part, dtype=np.float64)
            if part.shape != shape:
                raise ValueError(f"{name} have shape {part.shape}; expected {shape}: patients, particles, …")
            parts.append(part)
        return cls(posterior, *parts)

    @cached_property
    def _positive(self) -> NDArray[np.bool_]:
        """(n, 1, m) whether a prediction is above 0 at every particle: its logarithm is smoother."""
        return np.logical_and.reduce(self.predicted > 0, axis=1, keepdims=True)

    @cached_property
    def smooth(self) -> Floats:
        """(n, k, m + 1) predictions, or their logarithms, and the quantity."""
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.where(self._positive, np.log(self.predicted), self.predicted)
        return np.concatenate([parts, self.values[..., None]], axis=2)

    def predictions(self, i: int, smooth: Floats) -> Floats:
        """Predictions (1, p, m) of patient i from what `smooth` holds, (p, m + 1)."""
        part = smooth[None, :, :-1]
        with np.errstate(over="ignore"):
            return np.where(self._positive[i], np.exp(np.where(self._positive[i], part, 0.0)), part)


def _learned(known: _Known, points: WeightedEffects, looks: Any) -> Surface:
    """Interpolate for every patient, and judge the interpolation."""
    posterior, smooth = known.posterior, known.smooth
    n, p = points.eta.shape[:2]
    log_density, values = np.full((n, p), -np.inf), np.full((n, p), np.nan)
    off = np.full((n, 2), np.nan)
    mean, sd = posterior.mean_sd(known.values)
    for i, look in enumerate(looks):
        if not np.isfinite(smooth[i]).all() or not np.isfinite(posterior.log_likelihood[i]).all():
            continue  # somewhere near a course cannot be computed, or is impossible
        own, weight = slice(i, i + 1), posterior.weight[i]
        at = look.at_points(smooth[i])
        log_density[i], values[i] = (
            predicted_likelihood(posterior.courses, known.predictions(i, at), own)[0],
            at[:, -1],
        )
        residual = look.left_out @ smooth[i]
        without = predicted_likelihood(posterior.courses, known.predictions(i, smooth[i] - residual), own)[0]
        change = without - posterior.log_likelihood[i]
        off[i] = np.sqrt(weight @ residual[:, -1] ** 2) / max(sd[i], 1e-300), np.sqrt(weight @ change**2)
    bad = np.asarray(~(np.isfinite(log_density).any(axis=1) & np.isfinite(values).all(axis=1)))
    points = replace(points, log_likelihood=np.where(bad[:, None], 0.0, log_density))
    apart = np.abs(points.expect(values) - mean) / np.maximum(sd, 1e-300) * np.sqrt(posterior.effective_size)
    fits = np.asarray(~bad & (off[:, 0] <= _OFF) & (off[:, 1] <= _OFF_LIKELIHOOD))
    fits &= (apart <= _APART) & (points.effective_size >= _CARRY * p)
    surface = Surface(points, values, fits, off[:, 0], off[:, 1])
    rows = np.flatnonzero(~fits)
    return surface.replace_rows(rows, _as_they_are(known, off, rows, p)) if len(rows) else surface


def _as_they_are(known: _Known, off: Floats, rows: Indices, p: int) -> Surface:
    """The particles of some patients, repeated to be p."""
    own = known.posterior
    values = np.where(own.weight[rows] > 0, known.values[rows], 0.0)  # what is impossible has none
    repeats, size = p // values.shape[1], own.effective_size[rows]
    eta = np.tile(own.eta[rows], (1, repeats, 1))
    log_likelihood, log_proposal = (
        np.tile(part[rows], (1, repeats)) for part in (own.log_likelihood, own.log_proposal)
    )
    points = WeightedEffects(own.mean, own.omega, eta, log_likelihood, log_proposal, np.zeros(len(rows)))
    # a particle is worth no more for being repeated
    points = replace(points, variance=1.0 / size - 1.0 / points.effective_size)
    fits = np.zeros(len(rows), dtype=np.bool_)
    return Surface(points, np.tile(values, (1, repeats)), fits, off[rows, 0], off[rows, 1])


def _proposed(posterior: Posterior, centre: Floats, factor: Floats, u: Floats) -> WeightedEffects:
    """Points (n, p, d) around centres (n, d), before their likelihood is known."""
    eta = centre[:, None] + np.einsum("nij,pj->npi", _SPREAD * factor, u)
    log_density = _log_normal(u, _SPREAD, factor)
    nothing = np.zeros(log_density.shape)
    return WeightedEffects(posterior.mean, posterior.omega, eta, nothing, log_density, np.zeros(len(eta)))


def _points(p: int, d: int, *seed: int) -> Floats:
    """Standard normal points (p, d), p a power of two."""
    return ndtri(np.clip(quasi_random(p, d, *seed), _INSIDE, 1.0 - _INSIDE))


def _factor(covariance: Floats) -> Floats:
    """Cholesky factors (n, d, d)."""
    return np.asarray(np.linalg.cholesky(covariance), dtype=np.float64)


def _log_normal(u: Floats, spread: float, factor: Floats) -> Floats:
    """Log density (n, p) of standard normal u (p, d) that are scaled by a spread and factors (n, d, d)."""
    d = u.shape[1]
    log_scale = np.log(np.diagonal(factor, axis1=1, axis2=2)).sum(axis=1) + d * np.log(spread)
    return -0.5 * (u**2).sum(axis=1) - 0.5 * d * np.log(2.0 * np.pi) - log_scale[:, None]


def _covariance(z: Floats, other: Floats) -> Floats:
    return np.exp(cdist(z, other, "sqeuclidean") / (-2.0 * _LENGTH**2))


def _trend(z: Floats) -> Floats:
    return np.concatenate([np.ones((len(z), 1)), z], axis=1)


def _one_each(doses: Sequence[Any]) -> bool:
    """Whether there is one schedule a patient, as `Courses.simulate` tells."""
    return not all(len(item) and np.isscalar(item[0]) for item in doses)


def _check(posterior: Posterior, points: int) -> None:
    """Refuse too few particles to learn from, or points."""
    k, d = posterior.eta.shape[1:]
    if k < 2 * d + 2:
        raise ValueError(f"{k} particles with {d} effects; a surface is learned from {2 * d + 2} and more")
    if points < k or points % k:
        raise ValueError(f"points = {points}; expected a multiple of the {k} particles")
