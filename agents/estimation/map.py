"""Maximum a posteriori estimates of individual parameters, of many patients at once.

The estimate is the mode of the posterior of the effects η, the minimum of NONMEM's objective::

    O(η) = Σ (log v + (y − f)²/v) + w·η'·Ω⁻¹·η        f, v: prediction and residual variance at η

where intervals (below the limit of quantification, grades) and events add −2 log P, and w is 1 unless the
prior is to count for less. The posterior is taken as normal at the mode (Laplace), with Fisher's information
for its precision::

    C⁻¹ = w·Ω⁻¹ + Σ f'·f''·(1/v + ½·(v'/v)²)           f' the gradient of f in η, v' the slope of v in f

The method is that of Gauss and Newton with this C⁻¹ for half the Hessian, damped after Levenberg and
Marquardt. Derivatives are differences of the engine's exact propagator: all patients and all their perturbed
copies go through one call of the engine an iteration. What has not converged then, mostly at a kink, where a
measurement falls on the end of a lag or of an infusion, goes on patient by patient, from several starts.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.likelihood import SampleErrors, deviance, standardised
from dosewright.agents.estimation.readings import has_error

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

# differences, in prior SDs: where the engine is exact to rounding, and where it has a tolerance
_STEP, _COARSE_STEP = 3e-5, 1e-2
_ENOUGH = 1e-10  # decrease of the objective that is left at convergence
_ENOUGH_COARSE = 1e-8
_MOST_ITERATIONS = 60
_FARTHEST = 2.0  # prior SDs that one step may move an effect
_DAMPING, _MOST_DAMPING = 1e-3, 1e10
_STARTS = 4  # further ones of a patient that has not converged
_SAME = 1e-6  # difference of two objectives that is none
_LOOKS = 5  # simplices around a point, each from the end of the one before
_IMPOSSIBLE = 1e30  # objective that stands for none
_KINK = "at a kink: the gradient is not 0, and no point nearby is lower"


@dataclass(frozen=True, eq=False)
class MapFit:
    """Estimates of n patients with d effects, and how they were reached.

    Attributes
    ----------
    courses
        What was fitted.
    eta : (n, d) mode of the posterior
    covariance : (n, d, d) of the effects, by Laplace's approximation; 0 of those that were held at 0
    objective : (n,) NONMEM's objective at the mode, with the constants that NONMEM leaves out left out
    gradient_norm : (n,) length of the objective's gradient, each effect in units of its posterior SD
    converged : (n,) whether it is a minimum: no decrease left, or a kink around which there is none
    iterations : (n,) steps of all starts
    starts : (n,) starts that were tried, 1 where the first was enough
    messages : (n,) how the search ended
    all_below_limit : (n,) whether every measurement is below the limit of quantification: the estimate then
        only says what is ruled out
    """

    courses: Courses
    eta: Floats
    covariance: Floats
    objective: Floats
    gradient_norm: Floats
    converged: NDArray[np.bool_]
    iterations: Indices
    starts: Indices
    messages: tuple[str, ...]
    all_below_limit: NDArray[np.bool_]

    @cached_property
    def theta(self) -> Floats:
        """(n, q, p) individual parameters, one set for each change of covariates or occasion."""
        return self.courses.theta(self.eta[:, None])[:, 0]

    @cached_property
    def _predicted(self) -> Floats:
        return self.courses.predict(np.stack([np.zeros_like(self.eta), self.eta], axis=1))

    @property
    def population_prediction(self) -> Floats:
        """(n, m) predictions without random effects (NONMEM's PRED)."""
        return self._predicted[:, 0]

    @property
    def individual_prediction(self) -> Floats:
        """(n, m) predictions at the estimate (NONMEM's IPRED)."""
        return self._predicted[:, 1]

    @cached_property
    def residual(self) -> Floats:
        """(n, m) individual residuals over their SD (NONMEM's IWRES); NaN where there is no value."""
        courses = self.courses
        value = np.where(courses.observed & (courses.low == courses.high), courses.low, np.nan)
        return standardised(_errors(courses), self.individual_prediction, value)

    def summary(self) -> str:
        """Return in words how many estimates converged, and what to know of the others."""
        n = len(self.courses)
        lines = [f"{int(self.converged.sum())} of {n} estimates converged"]
        for i in np.flatnonzero(~self.converged):
            lines.append(f"patient {self.courses.ids[i]}: not converged, {self.messages[i]}")
        for i in np.flatnonzero(self.all_below_limit):
            lines.append(f"patient {self.courses.ids[i]}: every measurement is below the limit")
        return "\n".join(lines)


def estimate(
    courses: Courses,
    *,
    prior_weight: float = 1.0,
    effects: Sequence[str] | None = None,
    seed: int = 0,
) -> MapFit:
    """Return maximum a posteriori estimates of all patients.

    Parameters
    ----------
    courses
        Patients with their records.
    prior_weight
        Factor w on the prior's part of the objective: 1 is the posterior, less trusts the patient more than
        the population (a flattened prior).
    effects
        Names of the effects to estimate, of `courses.names`; the others stay at 0. All by default.
    seed
        Of the further starts, drawn from the prior, of patients that do not converge from 0.

    Raises
    ------
    ValueError
        For a patient without any measurement, an output that is measured but has no residual error, an
        unknown effect, or a weight that is not above 0.
    """
    if not (np.isfinite(prior_weight) and prior_weight > 0):
        raise ValueError(f"prior_weight = {prior_weight}; expected a number above 0 (1: the posterior)")
    _check(courses)
    free = _free(courses, effects)
    problem = _Problem.of(courses, free, prior_weight)
    n, d = len(courses), len(courses.names)
    found = _descend(problem, np.zeros((n, len(free))))
    for i in np.flatnonzero(~found.converged):
        # by name, so that a patient's starts do not depend on who else is estimated
        name = zlib.crc32(courses.ids[i].encode())
        _settle(problem, found, int(i), np.random.default_rng([seed, name]))
    eta, covariance = np.zeros((n, d)), np.zeros((n, d, d))
    eta[:, free] = found.x
    covariance[:, free[:, None], free] = np.linalg.inv(found.now.half_hessian)
    return MapFit(
        courses=courses,
        eta=eta,
        covariance=covariance,
        objective=found.now.objective,
        gradient_norm=np.sqrt(np.maximum(4.0 * found.now.decrease, 0.0)),
        converged=found.converged,
        iterations=found.iterations,
        starts=found.starts,
        messages=tuple(found.messages),
        all_below_limit=courses.below_limit,
    )


def conditional_covariance(courses: Courses, eta: Floats, *, prior_weight: float = 1.0) -> Floats:
    """Return Laplace's covariance (n, d, d) of the effects at any η (n, d), not only at the estimate.

    NaN where the objective cannot be computed there.
    """
    _check(courses)
    problem = _Problem.of(courses, _free(courses, None), prior_weight)
    point = problem.at(np.asarray(eta, dtype=np.float64))
    fine = np.isfinite(point.objective)[:, None, None]
    return np.where(fine, np.linalg.inv(point.half_hessian), np.nan)


def descents(courses: Courses, starts: Floats) -> tuple[Floats, Floats, Floats]:
    """Return where the search ends from each of many starts (n, s, d), so that several modes are found.

    Returns
    -------
    Points (n, s, d), Laplace's covariances (n, s, d, d), and objectives (n, s), infinite where there is none;
    mean and covariance of the prior for a patient without measurements. An end need not be a minimum: none is
    followed further, as `estimate` does.
    """
    n, s, d = starts.shape
    eta, objective = np.zeros((n, s, d)), np.zeros((n, s))
    covariance = np.tile(courses.omega, (n, s, 1, 1))
    rows = np.flatnonzero(courses.observed.any(axis=1))
    if len(rows):
        _check(courses.select(rows))
        problem = _Problem.of(courses.select(np.repeat(rows, s)), np.arange(d), 1.0)
        found = _descend(problem, starts[rows].reshape(-1, d))
        eta[rows], objective[rows] = found.x.reshape(-1, s, d), found.now.objective.reshape(-1, s)
        covariance[rows] = np.linalg.inv(found.now.half_hessian).reshape(-1, s, d, d)
    return eta, covariance, objective


def _errors(courses: Courses) -> SampleErrors:
    """Residual errors of the samples (n, m)."""
    return SampleErrors.of([item.error for item in courses.model.outputs], courses.sample_output)


def _check(courses: Courses) -> None:
    empty = ~courses.observed.any(axis=1)
    if empty.any():
        name = courses.ids[int(np.argmax(empty))]
        raise ValueError(
            f"patient {name!r} has no measurement; without one the estimate is the typical patient "
            "(η = 0): leave the patient out"
        )
    for output in np.unique(courses.sample_output[courses.observed & ~courses.event]):
        item = courses.model.outputs[output]
        if not has_error(courses.model, int(output)):
            raise ValueError(
                f"{courses.model.name}: output {item.name!r} is measured, but has no residual error; give it "
                "one"
            )


def _free(courses: Courses, effects: Sequence[str] | None) -> Indices:
    """Numbers of the effects that are estimated."""
    names = list(courses.names)
    for name in effects or ():
        if name not in names:
            raise ValueError(f"unknown effect {name!r} of {courses.model.name}; known: {', '.join(names)}")
    chosen = names if effects is None else effects
    if not chosen:
        raise ValueError(f"{courses.model.name}: no effect to estimate; its effects: {', '.join(names)}")
    return np.array(sorted(names.index(name) for name in chosen))


class _Point(NamedTuple):
    """The objective at one point of each of n patients, infinite where it cannot be computed."""

    objective: Floats  # (n,)
    half_gradient: Floats  # (n, e)
    half_hessian: Floats  # (n, e, e), expected

    @property
    def decrease(self) -> Floats:
        """Decrease of the objective (n,) that Newton's step promises."""
        step = np.linalg.solve(self.half_hessian, self.half_gradient[..., None])[..., 0]
        return np.einsum("ne,ne->n", self.half_gradient, step)

    def rows(self, chosen: NDArray[np.bool_] | Indices) -> _Point:
        """The same of some patients."""
        return _Point(*(part[chosen] for part in self))

    def put(self, rows: NDArray[np.bool_] | Indices, other: _Point) -> None:
        """Take over points of some patients."""
        for mine, theirs in zip(self, other, strict=True):
            mine[rows] = theirs


@dataclass(frozen=True, eq=False)
class _Problem:
    """The objective of n patients in the e effects that are estimated."""

    courses: Courses
    errors: SampleErrors
    free: Indices
    precision: Floats  # (e, e), weighted
    sd: Floats  # (e,) of the prior
    weight: float

    @classmethod
    def of(cls, courses: Courses, free: Indices, weight: float) -> _Problem:
        """Prepare; effects that are held at 0 leave the others' covariance as the conditional one."""
        precision = np.asarray(weight * np.linalg.inv(courses.omega)[np.ix_(free, free)], dtype=np.float64)
        sd = np.sqrt(np.diag(courses.omega)[free])
        return cls(courses, _errors(courses), free, precision, sd, weight)

    def select(self, rows: Indices) -> _Problem:
        """The same of some patients."""
        courses = self.courses.select(rows)
        return _Problem(courses, _errors(courses), self.free, self.precision, self.sd, self.weight)

    @cached_property
    def coarse(self) -> bool:
        """Whether the engine has a tolerance, not only rounding."""
        return self.courses.model.solver.jitter(len(self.courses.model.states))[0] > 0

    @property
    def enough(self) -> float:
        """Decrease of the objective that counts as none."""
        return _ENOUGH_COARSE if self.coarse else _ENOUGH

    def at(self, x: Floats) -> _Point:
        """Objective and derivatives at x (n, e): one call of the engine."""
        n, e = x.shape
        step = (_COARSE_STEP if self.coarse else _STEP) * np.minimum(self.sd, 1.0)
        sides = (1.0, -1.0, 2.0, -2.0) if self.coarse else (1.0, -1.0)
        moved = x[:, None] + np.concatenate([np.zeros((1, e)), *(side * np.diag(step) for side in sides)])
        f = self.predict(moved)
        one = f[:, 1 : e + 1] - f[:, e + 1 : 2 * e + 1]
        if self.coarse:  # Richardson: the error of second order cancels
            two = f[:, 2 * e + 1 : 3 * e + 1] - f[:, 3 * e + 1 :]
            slope = (8.0 * one - two) / (12.0 * step[:, None])
        else:
            slope = one / (2.0 * step[:, None])
        return self._assembled(x, f[:, 0], slope)

    def objective(self, x: Floats) -> Floats:
        """Objective (n, k) of k copies x (n, k, e) of each patient."""
        courses, f = self.courses, self.predict(x)
        low, high, event = (part[:, None] for part in (courses.low, courses.high, courses.event))
        found = deviance(self.errors.expand(1), f, low, high, event)
        total = np.where(courses.observed[:, None], found.value, 0.0).sum(axis=-1)
        total = total + np.einsum("nke,ef,nkf->nk", x, self.precision, x)
        return np.where(np.isfinite(total), total, np.inf)

    def predict(self, x: Floats) -> Floats:
        """Predictions (n, k, m) with effects x (n, k, e), the others 0."""
        eta = np.zeros((*x.shape[:2], len(self.courses.names)))
        eta[..., self.free] = x
        return self.courses.predict(eta)

    def _assembled(self, x: Floats, f: Floats, slope: Floats) -> _Point:
        """Objective and derivatives of predictions f (n, m) with gradients (n, e, m)."""
        courses = self.courses
        found = deviance(self.errors, f, courses.low, courses.high, courses.event)
        value, change, weight = (np.where(courses.observed, part, 0.0) for part in found)
        slope = np.where(courses.observed[:, None], slope, 0.0)
        pull = x @ self.precision
        objective = value.sum(axis=1) + np.einsum("ne,ne->n", pull, x)
        gradient = 0.5 * np.einsum("nem,nm->ne", slope, change) + pull
        hessian = np.einsum("nem,nm,nfm->nef", slope, weight, slope) + self.precision
        fine = (
            np.isfinite(objective) & np.isfinite(gradient).all(axis=1) & np.isfinite(hessian).all(axis=(1, 2))
        )
        return _Point(
            np.where(fine, objective, np.inf),
            np.where(fine[:, None], gradient, 0.0),
            np.where(fine[:, None, None], hessian, self.precision),
        )


@dataclass
class _Search:
    """Where the search stands for n patients."""

    x: Floats
    now: _Point
    converged: NDArray[np.bool_]
    iterations: Indices
    starts: Indices
    messages: list[str]


def _descend(problem: _Problem, start: Floats) -> _Search:
    """Levenberg and Marquardt's method from one start (n, e) a patient."""
    n = len(start)
    found = _Search(
        x=start.copy(),
        now=problem.at(start),
        converged=np.zeros(n, dtype=bool),
        iterations=np.zeros(n, dtype=np.int64),
        starts=np.ones(n, dtype=np.int64),
        messages=["still moving after the most iterations"] * n,
    )
    active, mine, damping = np.arange(n), problem, np.full(n, _DAMPING)
    for _ in range(_MOST_ITERATIONS):
        active, stopped = _going(problem, found, active, damping)
        if not len(active):
            break
        if stopped and len(active) < len(mine.courses):
            mine = problem.select(active)
        now, x = found.now.rows(active), found.x[active]
        step, promised = _damped(problem, now, damping[active])
        trial = mine.at(x + step)
        gain = (now.objective - trial.objective) / promised
        better = trial.objective < now.objective
        found.iterations[active] += 1
        found.x[active[better]] = (x + step)[better]
        found.now.put(active[better], trial.rows(better))
        # Nielsen's rule: by how much the gain agrees with what was promised
        good = np.maximum(1.0 / 5.0, 1.0 - (2.0 * np.clip(gain, 0.0, 1.0) - 1.0) ** 3)
        damping[active] = np.where(better, np.maximum(damping[active] * good, 1e-12), damping[active] * 8.0)
    return found


def _going(problem: _Problem, found: _Search, active: Indices, damping: Floats) -> tuple[Indices, bool]:
    """Return the patients who have not arrived, and whether any has just stopped."""
    now = found.now.rows(active)
    fine = np.isfinite(now.objective)
    arrived = fine & (now.decrease <= problem.enough)
    stuck = ~arrived & (~fine | (damping[active] > _MOST_DAMPING))
    found.converged[active[arrived]] = True
    for i in active[arrived]:
        found.messages[i] = "converged"
    for i, possible in zip(active[stuck], fine[stuck], strict=True):
        found.messages[i] = (
            "no step lowers the objective, though its gradient is not 0"
            if possible
            else "the objective cannot be computed at the start: a prediction is 0 or none, or a "
            "measurement is 0 where the error is log-normal"
        )
    stop = arrived | stuck
    return active[~stop], bool(stop.any())


def _damped(problem: _Problem, now: _Point, damping: Floats) -> tuple[Floats, Floats]:
    """Return steps (n, e), and the decrease (n,) that they promise."""
    e = now.half_gradient.shape[1]
    diagonal = np.einsum("nee->ne", now.half_hessian)[:, :, None] * np.eye(e)
    step = -np.linalg.solve(
        now.half_hessian + damping[:, None, None] * diagonal, now.half_gradient[..., None]
    )[..., 0]
    far = np.abs(step / problem.sd).max(axis=1)
    step *= np.minimum(1.0, _FARTHEST / np.maximum(far, 1e-300))[:, None]
    curved = np.einsum("ne,nef,nf->n", step, now.half_hessian, step)
    promised = -2.0 * np.einsum("ne,ne->n", now.half_gradient, step) - curved
    return step, np.maximum(promised, 1e-300)


def _settle(problem: _Problem, found: _Search, i: int, rng: np.random.Generator) -> None:
    """Search on for one patient: from where it stands, then from draws of the prior; keep the lowest end."""
    one, here = problem.select(np.array([i])), np.array([i])
    root = np.linalg.cholesky(np.linalg.inv(problem.precision))
    draws = rng.standard_normal((_STARTS, len(problem.free))) @ root.T
    lowest = float(found.now.objective[i])
    for number, start in enumerate([found.x[i], *draws]):
        found.starts[i] = number + 1
        if not np.isfinite(one.objective(start[None, None])[0, 0]):
            continue
        x, steps = _quasi_newton(one, start)
        message = "converged"
        if not _flat(one, x):
            x, further, message = _around(one, x)
            steps += further
        objective = float(one.objective(x[None, None])[0, 0])
        found.iterations[i] += steps
        if message and (objective < lowest or (objective < lowest + _SAME and not found.converged[i])):
            lowest, found.converged[i], found.messages[i] = objective, True, message
            found.x[i] = x
            found.now.put(here, one.at(x[None]))
        if found.converged[i]:
            break


def _flat(one: _Problem, x: Floats) -> bool:
    """Whether no decrease is left at a point (e,)."""
    point = one.at(x[None])
    return bool(np.isfinite(point.objective[0]) and point.decrease[0] <= one.enough)


def _quasi_newton(one: _Problem, start: Floats) -> tuple[Floats, int]:
    """BFGS in units of the prior's SDs from one start (e,)."""

    def value(z: Floats) -> tuple[float, Floats]:
        point = one.at((z * one.sd)[None])
        objective = float(point.objective[0])
        return min(objective, _IMPOSSIBLE), 2.0 * point.half_gradient[0] * one.sd

    found = minimize(value, start / one.sd, jac=True, method="BFGS", options={"gtol": 1e-6, "maxiter": 200})
    return np.asarray(found.x) * one.sd, int(found.nit)


def _around(one: _Problem, x: Floats) -> tuple[Floats, int, str]:
    """Look around a point (e,) without derivatives: the lowest point, steps, and what it is, "" if it is
    none."""

    def value(z: Floats) -> float:
        return min(float(one.objective((z * one.sd)[None, None])[0, 0]), _IMPOSSIBLE)

    steps, z, last = 0, x / one.sd, value(x / one.sd)
    for _ in range(_LOOKS):
        found = minimize(
            value, z, method="Nelder-Mead",
            options={"xatol": 1e-7, "fatol": 1e-9, "maxiter": 400 * len(z), "adaptive": True},
        )  # fmt: skip
        steps += int(found.nit)
        lower = last - float(found.fun)
        if lower > 0:
            z, last = np.asarray(found.x), float(found.fun)
        if found.success and lower <= _SAME and last < _IMPOSSIBLE:
            x = z * one.sd
            return x, steps, "converged" if _flat(one, x) else _KINK
    return z * one.sd, steps, ""
