"""The belief: what is known about this patient, kept up to date visit by visit.

Importance-weighted particles over the unknowns of `dosewright.agents.estimation.prior`, each with its own
kinetic state. At a visit the particles are moved by the doses given, and weighted by how well they predicted
the results that came in, late ones included. Where few particles carry the weight they are drawn anew from a
normal approximation of the posterior and re-weighted over the whole history, so a redrawn belief carries no
error from its past.

One filter serves the learner's wrapper, `predict`, and live dosing. It is deterministic: its points are
quasi-random and the same for every patient.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri
from scipy.stats import qmc

from dosewright.agents.estimation.prior import Prior, parameters, prior
from dosewright.envs import Scenario
from dosewright.envs.pharmacology import daily_response, outputs_now

Floats = NDArray[np.float64]

REDRAW_BELOW = 0.10  # share of the particles that carry weight, below which they are drawn anew
_WIDEN = 1.5  # the proposal's SD over the posterior's: heavy enough for its tails
_FLOOR = 0.1  # smallest SD of the proposal over the prior's
_ABSURD = 6.0  # SD of prediction and assay from which a result says no more
_ROUNDS = 3  # a posterior far out in the prior is approached in steps


@dataclass(frozen=True)
class Belief:
    """Beliefs about n patients: k particles over d unknowns.

    Attributes
    ----------
    prior : the patients' prior
    x : (n, k, d) unknowns
    theta : (n, k, p) parameters
    kinetics : (n, k, s) state of the model today
    log_ratio : (n, k) log of prior over proposal
    log_likelihood : (n, k) faded log likelihood of the results so far
    response : (n, k) predicted response today
    previous : (n, k) the same at the previous visit
    day, visit : (n,) today; number of visits before this one
    dose : (n, v) dose given after each visit
    visit_day : (n, v) day of each visit
    log_result : (n, v) log of the result drawn at each visit, NaN where none came in
    credit : (n, v) weight that fading has left to each result
    innovation : (n, 2) last two standardised innovations, newest first, 0 where there are none
    """

    prior: Prior
    x: Floats
    theta: Floats
    kinetics: Floats
    log_ratio: Floats
    log_likelihood: Floats
    response: Floats
    previous: Floats
    day: NDArray[np.int64]
    visit: NDArray[np.int64]
    dose: Floats
    visit_day: NDArray[np.int64]
    log_result: Floats
    credit: Floats
    innovation: Floats

    @cached_property
    def weight(self) -> Floats:
        """(n, k) normalised weights."""
        log_weight = self.log_ratio + self.log_likelihood
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        return weight / weight.sum(axis=1, keepdims=True)

    @property
    def effective_size(self) -> Floats:
        """(n,) Kish effective number of particles."""
        return 1.0 / np.einsum("nk,nk->n", self.weight, self.weight)

    def mean(self, quantity: Floats) -> Floats:
        """Posterior mean of a quantity (n, k) or (n, k, q)."""
        return np.einsum("nk,nk...->n...", self.weight, quantity)

    def mean_sd(self, quantity: Floats) -> tuple[Floats, Floats]:
        """Posterior mean and standard deviation of a quantity (n, k) or (n, k, q)."""
        mean = self.mean(quantity)
        return mean, np.sqrt(np.maximum(self.mean((quantity - mean[:, None]) ** 2), 0.0))

    def replace_rows(self, rows: NDArray[np.int64], other: Belief) -> Belief:
        """Return these beliefs with `rows` taken from `other`, in order."""
        changed = {}
        for field in fields(Belief):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if field.name == "prior":
                changed[field.name] = mine.replace(rows, theirs)
            else:
                changed[field.name] = mine.copy()
                changed[field.name][rows] = theirs
        return Belief(**changed)

    def select(self, rows: NDArray[np.int64]) -> Belief:
        """Return the beliefs about some patients."""
        parts = {f.name: getattr(self, f.name) for f in fields(Belief) if f.name != "prior"}
        return Belief(prior=self.prior.select(rows), **{name: value[rows] for name, value in parts.items()})


@lru_cache
def _points(k: int, d: int) -> tuple[Floats, Floats]:
    """Return k quasi-random standard normal points (k, d) and uniforms (k,), centred and scaled exactly."""
    sobol = qmc.Sobol(d + 1, scramble=True, rng=np.random.default_rng(20100405))
    u = sobol.random(k)
    z = ndtri(np.clip(u[:, :d], 1e-9, 1 - 1e-9))
    return (z - z.mean(axis=0)) / z.std(axis=0), u[:, d]


class BeliefFilter:
    """Keep beliefs up to date from the observation stream alone.

    Parameters
    ----------
    scenario
        Prior, model and measurement.
    particles
        Particles a patient, a power of two.
    fade
        Factor on all earlier log likelihoods whenever a result comes in: 1 is the exact posterior of constant
        parameters, less follows drift.
    """

    def __init__(self, scenario: Scenario, particles: int = 128, fade: float = 1.0) -> None:
        if particles < 2 or particles & (particles - 1):
            raise ValueError(f"particles = {particles}; expected a power of two")
        if not 0 < fade <= 1:
            raise ValueError(f"fade = {fade}; expected a number above 0, at most 1")
        _ = scenario.bands  # refuses a scenario that no belief can be kept about yet
        if any(entry.name.endswith("_phenotype") for entry in scenario.covariates):
            raise ValueError(
                "a belief needs alleles or nothing: use genotype diplotype, posterior or unknown"
            )
        self.scenario, self.particles, self.fade = scenario, particles, fade
        self._spec = scenario.observation

    def step(
        self,
        belief: Belief | None,
        observation: NDArray[np.float32],
        episode_start: NDArray[np.bool_] | None = None,
    ) -> Belief:
        """Return the beliefs after a visit.

        Parameters
        ----------
        belief
            Beliefs after the previous visit; None at the first.
        observation : (n, k)
            What is seen now.
        episode_start : (n,) bool
            Patients at their first visit; their part of `belief` is begun anew.
        """
        if belief is None:
            return self._weigh(self._begin(observation), observation)
        if episode_start is None or not np.any(episode_start):
            return self._weigh(self._advance(belief, observation), observation)
        new, old = np.flatnonzero(episode_start), np.flatnonzero(~np.asarray(episode_start, dtype=bool))
        begun = self._weigh(self._begin(observation[new]), observation[new])
        if not len(old):
            return begun
        going = self.step(belief.select(old), observation[old])
        return belief.replace_rows(old, going).replace_rows(new, begun)

    def predict(self, belief: Belief, dose: Floats) -> Floats:
        """Return the daily response (n, k, c, days) of every particle under c courses of daily doses (n, c,
        days)."""
        n, k, (c, days) = *belief.response.shape, dose.shape[1:]
        kinetics = np.repeat(belief.kinetics.reshape(n * k, -1), c, axis=0)
        theta = np.repeat(belief.theta.reshape(n * k, -1), c, axis=0)
        # particle and candidate of row i: patients share their candidates
        which = (np.arange(n)[:, None, None] * c + np.arange(c)).repeat(k, axis=1).reshape(-1)
        path = self._follow(kinetics, theta, dose.reshape(n * c, days), np.full(n * c, days), which)
        return path.reshape(n, k, c, days)

    def predict_mean(self, belief: Belief, dose: Floats, days: NDArray[np.int64]) -> Floats:
        """Return the response (n, c) of each posterior-mean patient after `days` (n,) at c constant doses (n,
        c).

        One patient instead of all particles: a cheap look ahead. 0 days is today's response.
        """
        n, c = dose.shape
        theta = parameters(self.scenario, belief.prior.theta, belief.mean(belief.x)[:, None])
        kinetics = np.repeat(belief.mean(belief.kinetics), c, axis=0)
        span = max(int(days.max()), 1)
        amount = np.broadcast_to(dose[:, :, None], (n, c, span)).reshape(n * c, span)
        path = self._follow(kinetics, np.repeat(theta[:, 0], c, axis=0), amount, np.repeat(days, c))
        last = np.take_along_axis(path, np.repeat(np.maximum(days - 1, 0), c)[:, None], axis=1)
        return np.where((days > 0)[:, None], last.reshape(n, c), belief.mean(belief.response)[:, None])

    def maintenance_dose(self, belief: Belief) -> tuple[Floats, Floats]:
        """Return posterior mean and SD (n,) of the log of the dose that holds the response on target."""
        dose = self.scenario.steady_dose(belief.theta, self.scenario.target)
        # a particle that needs no drug at all counts as one that needs a tenth of the smallest dose
        return belief.mean_sd(np.log(np.maximum(dose, self.scenario.doses.step / 10)))

    def _begin(self, observation: NDArray[np.float32]) -> Belief:
        scenario, n, k, visits = (
            self.scenario,
            len(observation),
            self.particles,
            len(self.scenario.calendar) + 1,
        )
        before = prior(scenario, observation)
        z, u = _points(k, len(before.sd))
        x = before.at(z, u)
        theta = parameters(scenario, before.theta, x)
        kinetics = scenario.model.initial(theta.reshape(n * k, -1))
        nothing = np.zeros((n, visits))
        response = self._now(kinetics, theta)
        return Belief(
            prior=before,
            x=x,
            theta=theta,
            kinetics=kinetics.reshape(n, k, -1),
            log_ratio=np.zeros((n, k)),
            log_likelihood=np.zeros((n, k)),
            response=response,
            previous=response,
            day=np.zeros(n, dtype=np.int64),
            visit=np.zeros(n, dtype=np.int64),
            dose=nothing,
            visit_day=np.zeros((n, visits), dtype=np.int64),
            log_result=np.full((n, visits), np.nan),
            credit=nothing.copy(),
            innovation=np.zeros((n, 2)),
        )

    def _advance(self, belief: Belief, observation: NDArray[np.float32]) -> Belief:
        """Move every particle by the dose given since the previous visit."""
        n, k = belief.response.shape
        day = self._spec.read(observation, "day").astype(np.int64)
        dose = self._spec.read(observation, "last_dose")
        if np.isnan(dose).any():
            lane = int(np.argmax(np.isnan(dose)))
            raise ValueError(
                f"patient {lane}: day {day[lane]} without last_dose; mark the first visit with episode_start"
            )
        count = day - belief.day
        kinetics = belief.kinetics.reshape(n * k, -1).copy()
        days = max(int(count.max()), 1)
        amount = np.repeat(dose[:, None], days, axis=1)
        path = self._follow(
            kinetics, belief.theta.reshape(n * k, -1), amount, count, np.repeat(np.arange(n), k)
        )
        last = path[np.arange(n * k), np.maximum(np.repeat(count, k) - 1, 0)].reshape(n, k)
        rows, doses, days_of = np.arange(n), belief.dose.copy(), belief.visit_day.copy()
        doses[rows, belief.visit] = dose
        visit = belief.visit + 1
        days_of[rows, visit] = day
        return replace(
            belief,
            kinetics=kinetics.reshape(n, k, -1),
            response=np.where((count > 0)[:, None], last, belief.response),
            previous=belief.response,
            day=day,
            visit=visit,
            dose=doses,
            visit_day=days_of,
        )

    def _weigh(self, belief: Belief, observation: NDArray[np.float32]) -> Belief:
        """Take in the results that came in: a late one first, then the newest."""
        name, spec = self.scenario.measurement.name, self._spec
        late, late_age = spec.read(observation, f"late_{name}"), spec.read(observation, f"late_{name}_age")
        value, age = spec.read(observation, name), spec.read(observation, f"{name}_age")
        value = np.where(spec.read(observation, f"{name}_new") > 0.5, value, np.nan)
        for result, days_ago in ((late, late_age), (value, age)):
            if not np.isnan(result).all():
                belief = self._take_in(belief, result, days_ago)
        poor = np.flatnonzero(belief.effective_size < REDRAW_BELOW * self.particles)
        for _ in range(_ROUNDS):
            if not len(poor):
                break
            redrawn = self._redraw(belief.select(poor))
            belief = belief.replace_rows(poor, redrawn)
            poor = poor[redrawn.effective_size < REDRAW_BELOW * self.particles]
        return belief

    def _take_in(self, belief: Belief, result: Floats, age: Floats) -> Belief:
        """Weigh the particles by one result each; NaN where a patient has none."""
        n, sd = len(result), self.scenario.measurement.log_sd
        here = ~np.isnan(result)
        drawn_on = belief.day - np.where(here, age, 0).astype(np.int64)
        drawn_at = np.where(here & (drawn_on < belief.day), belief.visit - 1, belief.visit)
        if np.any(belief.visit_day[np.arange(n), drawn_at][here] != drawn_on[here]):
            lane = int(np.argmax(here & (belief.visit_day[np.arange(n), drawn_at] != drawn_on)))
            raise ValueError(
                f"patient {lane}: a result of day {drawn_on[lane]}, which was not one of the last two visits"
            )
        predicted = np.log(np.where((drawn_at < belief.visit)[:, None], belief.previous, belief.response))
        mean, spread = belief.mean_sd(predicted)
        expected = np.hypot(spread, sd)
        # a zero or absurd result counts as one just believable
        with np.errstate(divide="ignore", invalid="ignore"):
            log_result = np.clip(np.log(result), mean - _ABSURD * expected, mean + _ABSURD * expected)
        residual = np.where(here, log_result, mean)
        innovation = np.where(here, (residual - mean) / expected, belief.innovation[:, 0])
        fade = np.where(here, self.fade, 1.0)[:, None]
        z = (residual[:, None] - predicted) / sd
        results, credit = belief.log_result.copy(), belief.credit * fade
        results[here, drawn_at[here]] = log_result[here]
        credit[here, drawn_at[here]] = 1.0
        return replace(
            belief,
            log_likelihood=fade * belief.log_likelihood - np.where(here[:, None], 0.5 * z * z, 0.0),
            log_result=results,
            credit=credit,
            innovation=np.stack(
                [innovation, np.where(here, belief.innovation[:, 0], belief.innovation[:, 1])], axis=1
            ),
        )

    def _redraw(self, belief: Belief) -> Belief:
        """Draw particles from a normal fitted to the posterior and weigh them over the whole history."""
        n, k, d = belief.x.shape
        z, _ = _points(k, d)
        mean = belief.mean(belief.x)
        centred = belief.x - mean[:, None]
        covariance = np.einsum("nk,nki,nkj->nij", belief.weight, centred, centred) * _WIDEN**2
        covariance[:, np.arange(d), np.arange(d)] += (_FLOOR * belief.prior.sd) ** 2
        factor = np.linalg.cholesky(covariance)
        x = mean[:, None] + np.einsum("nij,kj->nki", factor, z)
        # no log determinant: the proposal's constant is the same for all particles of a patient
        log_ratio = belief.prior.log_density(x) + 0.5 * np.einsum("kd,kd->k", z, z)
        theta = parameters(self.scenario, belief.prior.theta, x)
        kinetics, response = self._history(belief, theta)
        sd = self.scenario.measurement.log_sd
        with np.errstate(invalid="ignore"):
            residual = (belief.log_result[:, None] - np.log(response)) / sd
        fit = -0.5 * np.nansum(belief.credit[:, None] * residual**2, axis=-1)
        rows = np.arange(n)
        return replace(
            belief,
            x=x,
            theta=theta,
            kinetics=kinetics,
            log_ratio=log_ratio,
            log_likelihood=fit,
            response=response[rows, :, belief.visit],
            previous=response[rows, :, np.maximum(belief.visit - 1, 0)],
        )

    def _history(self, belief: Belief, theta: Floats) -> tuple[Floats, Floats]:
        """Return kinetic state today (n, k, s) and response (n, k, v) at each visit so far, NaN later."""
        n, k, _ = theta.shape
        visits, days = belief.visit_day.shape[1], max(int(belief.day.max()), 1)
        calendar = np.arange(days)
        # the visit after which the dose of each day was given
        reached = np.arange(visits) <= belief.visit[:, None]
        in_force = ((belief.visit_day[:, :, None] <= calendar) & reached[:, :, None]).sum(axis=1) - 1
        daily = np.take_along_axis(belief.dose, in_force, axis=1)
        flat = theta.reshape(n * k, -1)
        kinetics = self.scenario.model.initial(flat)
        start = self._now(kinetics, theta)[:, :, None]
        path = self._follow(kinetics, flat, daily, belief.day, np.repeat(np.arange(n), k))
        course = np.concatenate([start, path.reshape(n, k, days)], axis=2)
        where = np.broadcast_to(np.where(reached, belief.visit_day, 0)[:, None], (n, k, visits))
        response = np.where(reached[:, None], np.take_along_axis(course, where, axis=2), np.nan)
        return kinetics.reshape(n, k, -1), response

    def _now(self, kinetics: Floats, theta: Floats) -> Floats:
        """Return the response (n, k) of particles in a kinetic state (n·k, s)."""
        n, k, p = theta.shape
        output = np.array([self.scenario.model.output(self.scenario.output)])
        return outputs_now(self.scenario.model, kinetics, theta.reshape(n * k, p), output).reshape(n, k)

    def _follow(
        self,
        kinetics: Floats,
        theta: Floats,
        dose: Floats,
        count: NDArray[np.int64],
        which: NDArray[np.int64] | None = None,
    ) -> Floats:
        """Move particles (m, s) in place over the days of their courses and return their response (m,
        days)."""
        return daily_response(self.scenario.model, self.scenario.output, kinetics, theta, dose, count, which)
