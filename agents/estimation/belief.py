"""The belief: what is known about this patient, kept up to date visit by visit.

Importance-weighted particles over the unknowns of `dosewright.agents.estimation.prior`, each with its own
state of the model. At a visit the particles are moved by the doses given, and weighted by how well they
predicted the results that came in, late ones included. Where few particles carry the weight they are drawn
anew from an approximation of the posterior and re-weighted over the whole history, so a redrawn belief
carries no error from its past.

One filter serves the learner's wrapper, `predict`, and live dosing, for every scenario. It is deterministic:
its points are quasi-random and the same for every patient.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtri, ndtri
from scipy.stats import qmc

from dosewright.agents.estimation.importance import DEFENCE, Effort, proposals
from dosewright.agents.estimation.likelihood import deviance, log_likelihood, residual_variance
from dosewright.agents.estimation.mixture import Mixture, quasi_random
from dosewright.agents.estimation.outlook import Outlook, blocks, column_of
from dosewright.agents.estimation.prior import Prior, known_people, parameters, prior
from dosewright.agents.estimation.resample_move import effective_size, moments, resample_move, systematic
from dosewright.envs import Scenario
from dosewright.envs.measurement import MONITOR_QUEUE, Measurement
from dosewright.envs.pharmacology import outputs_now
from dosewright.envs.prescription import prescribed, run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

REDRAW_BELOW = 0.10  # share of the particles that carry weight, below which they are drawn anew
# Where accuracy is asked for: below which a redraw's t is not trusted, and particles of a mixture are moved
_TRUSTED, _COARSE = 0.4, 0.15
_WIDEN = 1.2  # the proposal's SD over the posterior's
_FREEDOM = 6.0  # degrees of freedom of the proposal, a Student's t: heavy enough for the posterior's tails
_FLOOR = 0.1  # smallest SD of the proposal over the prior's
_ABSURD = 6.0  # SD of prediction and assay from which a result says no more
_EFFORT = Effort((1024,) * 4 + (2048,) * 6, searches=4, points=1024, good=0.25)  # of a mixture
_MOVES, _DRAWN = 12, 1000  # rounds of moves a step; number of their random points, apart from the pilots'
_OVER, _LEAST_DRAWS = 4, 1024  # draws from a mixture for one particle, and at least
_TOGETHER = 32  # patients whose mixtures are fitted at a time: bounds memory, changes nothing
_UNHEARD_OF = 32.0  # log prior density below the most there is: eight SD
_NOTHING = 1e-9  # of a level in its unit
_ROUNDS = 3  # a posterior far out in the prior is approached in steps
# Of the search for the mode: steps at most, squared SD of the posterior from the mode that ends it, longest
# step and that by which derivatives are taken, in SD of the prior
_NEWTON_STEPS, _NEAR, _LONG, _SHORT = 6, 0.01, 3.0, 1e-3
_SOME = 32  # particles by which a dose is looked for


@dataclass(frozen=True)
class Belief:
    """Beliefs about n patients: k particles over d unknowns.

    Attributes
    ----------
    prior : the patients' prior
    people : (n, q) what is known of them, in the order of `BeliefFilter.covariates`
    trend : (n, g, p) factors on the parameters in each stretch of time, for people who change; g = 0: none do
    stretch : (n, u) stretch that each unit of follow-up is in; u = 0 where nobody changes
    x : (n, k, d) unknowns
    theta : (n, k, p) parameters, at the start where there is a trend
    state : (n, k, s) state of the model now
    log_ratio : (n, k) log of prior over proposal
    log_likelihood : (n, k) faded log likelihood of the results so far
    response : (n, k) predicted response of the last unit; NaN where there was none
    predicted : (n, w, k, m) predicted samples of the last visits, the newest first
    clock : (n,) model time now
    unit, visit, ahead : (n,) unit now; number of visits before this one; units until the next visit
    dose : (n, v) dose given after each visit
    visit_unit : (n, v) unit of each visit
    delays : (n, v) how often the treatment of each visit was put off
    sampled : (n, v, m) model time of each sample; NaN where none was drawn
    low, high : (n, v, m) what is known of it, a value or an interval; NaN where no result came in
    credit : (n, v, m) weight that fading has left to each result
    innovation : (n, 2) last two standardised innovations, newest first, 0 where there are none
    """

    prior: Prior
    people: Floats
    trend: Floats
    stretch: Ints
    x: Floats
    theta: Floats
    state: Floats
    log_ratio: Floats
    log_likelihood: Floats
    response: Floats
    predicted: Floats
    clock: Floats
    unit: Ints
    visit: Ints
    ahead: Ints
    dose: Floats
    visit_unit: Ints
    delays: Ints
    sampled: Floats
    low: Floats
    high: Floats
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

    def replace_rows(self, rows: Ints, other: Belief) -> Belief:
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

    @classmethod
    def joined(cls, parts: Sequence[Belief]) -> Belief:
        """Return the beliefs about all patients of several parts, of one filter, in order."""
        if len(parts) == 1:
            return parts[0]
        arrays = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Belief)
            if f.name != "prior"
        }
        return cls(prior=Prior.joined([part.prior for part in parts]), **arrays)

    def select(self, rows: Ints) -> Belief:
        """Return the beliefs about some patients."""
        parts = {f.name: getattr(self, f.name) for f in fields(Belief) if f.name != "prior"}
        return Belief(prior=self.prior.select(rows), **{name: value[rows] for name, value in parts.items()})


@dataclass(frozen=True)
class UnderOneDose:
    """What one dose, going on, would do to every particle of n patients.

    Attributes
    ----------
    dose : (n,)
    responses : name -> (n, k, u) in the coming units
    """

    dose: Floats
    responses: Mapping[str, Floats]


@lru_cache
def _points(k: int, d: int, seed: int) -> tuple[Floats, Floats]:
    """Return k quasi-random standard normal points (k, d) and uniforms (k,), centred and scaled exactly."""
    sobol = qmc.Sobol(d + 1, scramble=True, rng=np.random.default_rng(20100405 + seed))
    u = sobol.random(k)
    z = ndtri(np.clip(u[:, :d], 1e-9, 1 - 1e-9))
    return (z - z.mean(axis=0)) / z.std(axis=0), u[:, d]


class BeliefFilter:
    """Keep beliefs up to date from the observation stream alone.

    Parameters
    ----------
    scenario
        Prior, model and measurements, as they are seen (`Scenario.seen_as`).
    particles
        Particles a patient, a power of two.
    fade
        Factor on all earlier log likelihoods whenever results of a visit come in: 1 is the exact posterior of
        constant parameters, less follows drift.
    seed
        Of the quasi-random points, the same for every patient.
    visits
        Visits that a belief can hold; by default those of the calendar.

    Attributes
    ----------
    covariates
        Names of what is known of people, in the order of `Belief.people`.
    """

    def __init__(
        self,
        scenario: Scenario,
        particles: int = 128,
        fade: float = 1.0,
        seed: int = 0,
        visits: int | None = None,
    ) -> None:
        if particles < 2 or particles & (particles - 1):
            raise ValueError(f"particles = {particles}; expected a power of two")
        if not 0 < fade <= 1:
            raise ValueError(f"fade = {fade}; expected a number above 0, at most 1")
        self.scenario, self.particles, self.fade, self.seed = scenario, particles, fade, seed
        self.visits = len(scenario.days) if visits is None else visits
        self._spec, self._length = scenario.observation, scenario.clock.length
        seen = (entry.name for entry in scenario.covariates)
        self.covariates = tuple(dict.fromkeys((*scenario.unseen, *seen)))
        # what is sampled at a visit: the measurements; then, where a rule puts treatments off, what it looked
        # at before each delay, of which no more is known than that it was too low
        self._samples: tuple[Measurement, ...] = scenario.measurements
        if scenario.delay is not None:
            rule = scenario.delay
            self._delayed = [item.name for item in scenario.measurements].index(rule.measurement)
            self._samples += (scenario.measurements[self._delayed],) * rule.at_most
        # an error that goes with the level knows no zero: what was never given is as little as can be
        self._floor = np.array([-np.inf if item.error.additive else _NOTHING for item in self._samples])
        # visits that a result may lag behind its own
        prompt = all(item.units_ago is None for item in scenario.measurements)
        self._window = 2 if prompt else MONITOR_QUEUE + 1

    # ------------------------------------------------------------------------------------------- visits

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
            return self.weigh(self._begin(observation), observation)
        if episode_start is None or not np.any(episode_start):
            return self.weigh(self._advance(belief, observation), observation)
        new, old = np.flatnonzero(episode_start), np.flatnonzero(~np.asarray(episode_start, dtype=bool))
        begun = self.weigh(self._begin(observation[new]), observation[new])
        if not len(old):
            return begun
        going = self.step(belief.select(old), observation[old])
        return belief.replace_rows(old, going).replace_rows(new, begun)

    def expect(self, belief: Belief | None, observation: NDArray[np.float32]) -> tuple[Belief, Floats]:
        """Return the beliefs at a visit before its results are taken in, and the results (n, w, m) that came
        in, laid out as `Belief.predicted`; NaN where none did. `weigh` goes on from there."""
        moved = self._begin(observation) if belief is None else self._advance(belief, observation)
        return moved, self._arrived(moved, observation)

    def _begin(self, observation: NDArray[np.float32]) -> Belief:
        scenario, n, k = self.scenario, len(observation), self.particles
        people = known_people(scenario, observation)
        before = prior(scenario, people)
        z, u = _points(k, len(before.sd), self.seed)
        x = before.at(z, u)
        theta = parameters(scenario, before.theta, x)
        trend, stretch = self._trend(people, before)
        visits, m = self.visits + 1, len(self._samples)
        nothing, none = np.zeros((n, visits)), np.full((n, visits, m), np.nan)
        start = scenario.model.initial(theta.reshape(n * k, -1)).reshape(n, k, -1)
        sampled = none.copy()
        sampled[:, 0, : len(scenario.measurements)] = [
            0.0 if item.baseline else np.nan for item in scenario.measurements
        ]
        response, samples = self._at_start(start, theta)
        belief = Belief(
            prior=before,
            people=np.stack([people[name] for name in self.covariates], axis=1),
            trend=trend,
            stretch=stretch,
            x=x,
            theta=theta,
            state=start,
            log_ratio=np.zeros((n, k)),
            log_likelihood=np.zeros((n, k)),
            response=response,
            predicted=np.repeat(samples[:, None], self._window, axis=1),
            clock=np.zeros(n),
            unit=np.zeros(n, dtype=np.int64),
            visit=np.zeros(n, dtype=np.int64),
            ahead=np.full(n, scenario.days[0]),
            dose=nothing,
            visit_unit=np.zeros((n, visits), dtype=np.int64),
            delays=np.zeros((n, visits), dtype=np.int64),
            sampled=sampled,
            low=none,
            high=none.copy(),
            credit=np.zeros((n, visits, m)),
            innovation=np.zeros((n, 2)),
        )
        if scenario.days[0] > 0:  # what is given to everybody before the first decision
            return self._advance(belief, observation)
        return replace(belief, ahead=self._coming(observation))

    def _trend(self, people: Mapping[str, Floats], before: Prior) -> tuple[Floats, Ints]:
        """Return the factors (n, g, p) on the parameters of people whose covariates change, and the stretch
        (n, u) of every unit."""
        scenario, n = self.scenario, len(before.theta)
        stretch, grown = scenario.stretches(people)
        if not grown:
            return np.ones((n, 0, before.theta.shape[1])), np.zeros((n, 0), dtype=np.int64)
        # a factor is the same in every genotype
        alike = {term.effect: np.full(n, next(iter(term.per_allele.values()))) for term in
                 scenario.model.genotype_terms}  # fmt: skip
        first = scenario.model.typical(people, alike)
        factors = [scenario.model.typical({**people, **now}, alike) / first for now in grown]
        return np.stack(factors, axis=1), np.tile(stretch, (n, 1))

    def _at_start(self, state: Floats, theta: Floats) -> tuple[Floats, Floats]:
        """Return response (n, k) and samples (n, k, m) before treatment."""
        scenario, (n, k, s) = self.scenario, state.shape
        model = scenario.model
        outputs = np.arange(len(model.outputs))
        now = outputs_now(model, state.reshape(n * k, s), theta.reshape(n * k, -1), outputs)
        before = scenario.responses[0].before
        response = np.full((n, k), np.nan) if before is None else now[:, model.output(before)].reshape(n, k)
        samples = now[:, [model.output(item.output) for item in self._samples]]
        return response, np.maximum(samples.reshape(n, k, -1), self._floor)

    def _coming(self, observation: NDArray[np.float32]) -> Ints:
        """Return the units until the next visit."""
        shown = self._spec.read(observation, "next_interval")
        return np.rint(shown / self.scenario.clock.shown).astype(np.int64)

    def _advance(self, belief: Belief, observation: NDArray[np.float32]) -> Belief:
        """Move every particle by the dose given since the previous visit."""
        scenario, spec, (n, k) = self.scenario, self._spec, belief.log_ratio.shape
        shown, length = scenario.clock.shown, self._length
        clock = spec.read(observation, scenario.clock.entry) * length / shown
        dose = spec.read(observation, "last_dose")
        first = (belief.visit == 0) & (scenario.days[0] > 0)
        if np.any(np.isnan(dose) & ~first):
            lane = int(np.argmax(np.isnan(dose) & ~first))
            raise ValueError(
                f"patient {lane}: {scenario.clock.entry} {clock[lane] * shown / length:g} without last_dose; "
                "mark the first visit with episode_start"
            )
        dose = np.nan_to_num(dose)
        count, delays = self._passed((clock - belief.clock) / length, belief.ahead)
        rows, visit = np.arange(n), belief.visit + 1
        arrays = {name: getattr(belief, name).copy() for name in ("dose", "visit_unit", "delays", "sampled")}
        arrays["dose"][rows, belief.visit] = dose
        arrays["visit_unit"][rows, visit] = belief.unit + count
        arrays["delays"][rows, visit] = delays
        moved = replace(belief, visit=visit, **arrays)
        units = np.arange(max(int(count.max()), 1))
        unit = np.minimum(belief.unit[:, None] + units, scenario.horizon - 1)
        begins = belief.clock[:, None] + units * length
        checks = self._check_times(belief.clock + count * length, delays)
        people = self._people(belief)
        events = prescribed(
            scenario, people, np.repeat(dose[:, None], len(units), axis=1), unit, begins, count,
            column_of(belief.stretch, unit), checks=checks,
        )  # fmt: skip
        state = belief.state.reshape(n * k, -1).copy()
        reads, looked = run(
            scenario, state, self._parameters(belief), events, len(units), begin=np.repeat(belief.clock, k),
            which=np.repeat(rows, k), rule="belief", checks=0 if checks is None else checks.shape[1],
        )  # fmt: skip
        last = np.maximum(count - 1, 0)
        at_end = {key: value.reshape(n, k, -1)[rows, :, last] for key, value in reads.items()}
        response = scenario.responses[0].of({key: value[:, :, None] for key, value in at_end.items()})[..., 0]
        samples = self._samples_of(at_end, looked, delays, k)
        samples = np.where((count > 0)[:, None, None], samples, belief.predicted[:, 0])
        times = self._sample_times(people, dose, unit[rows, last], belief.clock + count * length, delays)
        moved.sampled[rows, visit] = np.where((count > 0)[:, None], times, np.nan)
        moved = replace(
            moved,
            state=state.reshape(n, k, -1),
            response=np.where((count > 0)[:, None], response, belief.response),
            predicted=np.concatenate([samples[:, None], belief.predicted[:, :-1]], axis=1),
            clock=clock,
            unit=belief.unit + count,
            ahead=self._coming(observation),
        )
        return moved if scenario.delay is None else self._put_off(moved, delays)

    def _passed(self, passed: Floats, ahead: Ints) -> tuple[Ints, Ints]:
        """Return the units (n,) of a span that was seen to pass, and how often a treatment was put off in
        it."""
        rule = self.scenario.delay
        if rule is None:
            return np.floor(passed + 1e-6).astype(np.int64), np.zeros(len(passed), dtype=np.int64)
        # who leaves does so between visits, and nothing is put off for him
        left = passed < ahead - 1e-6
        count = np.where(left, np.floor(passed + 1e-6), ahead).astype(np.int64)
        put_off = np.rint((passed - count) * self._length / rule.by).astype(np.int64)
        return count, np.where(left, 0, put_off)

    def _put_off(self, belief: Belief, delays: Ints) -> Belief:
        """Take in that what was looked at before each delay was too low."""
        rule, m = self.scenario.delay, len(self.scenario.measurements)
        assert rule is not None
        here = np.arange(rule.at_most) < delays[:, None]
        rows = np.arange(len(delays))
        lows, highs, credit = belief.low.copy(), belief.high.copy(), belief.credit.copy()
        lows[rows, belief.visit, m:] = np.where(here, -np.inf, np.nan)
        highs[rows, belief.visit, m:] = np.where(here, rule.below, np.nan)
        credit[rows, belief.visit, m:] = here
        fit = self._fit(belief.predicted[:, 0], lows[rows, belief.visit], highs[rows, belief.visit])
        log_likelihood = belief.log_likelihood + fit
        return replace(belief, low=lows, high=highs, credit=credit, log_likelihood=log_likelihood)

    def _people(self, belief: Belief) -> dict[str, Floats]:
        return dict(zip(self.covariates, belief.people.T, strict=True))

    def _parameters(self, belief: Belief) -> Floats:
        """(n·k, g, p) parameters in each stretch of time."""
        n, k, p = belief.theta.shape
        if not belief.trend.shape[1]:
            return belief.theta.reshape(n * k, 1, p)
        return (belief.theta[:, :, None] * belief.trend[:, None]).reshape(n * k, -1, p)

    def _check_times(self, clock: Floats, delays: Ints) -> Floats | None:
        """(n, c) times at which a rule looked before and after every delay; NaN for none."""
        rule = self.scenario.delay
        if rule is None:
            return None
        number = np.arange(rule.at_most + 1)
        return np.where(number <= delays[:, None], clock[:, None] + number * rule.by, np.nan)

    def _samples_of(
        self, at_end: Mapping[tuple[str, str], Floats], looked: Floats, delays: Ints, k: int
    ) -> Floats:
        """(n, k, m) samples of a visit, from what was read in its last unit (n, k) and at the rule's looks
        (n·k, c, outputs)."""
        scenario = self.scenario
        samples = [at_end[item.reading, item.output] for item in scenario.measurements]
        if scenario.delay is not None:
            item = scenario.measurements[self._delayed]
            look = looked[:, :, scenario.read_outputs.index(item.output)].reshape(len(delays), k, -1)
            samples[self._delayed] = look[np.arange(len(delays)), :, delays]
            samples += [look[:, :, c] for c in range(scenario.delay.at_most)]
        return np.maximum(np.stack(samples, axis=2), self._floor)

    def _sample_times(
        self, people: Mapping[str, Floats], dose: Floats, unit: Ints, end: Floats, delays: Ints
    ) -> Floats:
        """(n, m) model times of the samples of a visit whose last unit ended at `end`; NaN where none was
        drawn."""
        times = np.full((len(end), len(self._samples)), np.nan)
        readings = {item.name: item for item in self.scenario.readings}
        for i, item in enumerate(self.scenario.measurements):
            at = readings[item.reading].at
            if not isinstance(at, float | int):
                at = at(dose[:, None], people, unit[:, None])[:, 0]
            drawn = np.full(len(end), True) if item.units is None else np.isin(unit + 1, item.units)
            times[:, i] = np.where(drawn, end - self._length + at, np.nan)
        if self.scenario.delay is not None:
            times[:, self._delayed] = end + delays * self.scenario.delay.by
        return times

    # ------------------------------------------------------------------------------------------ results

    def weigh(self, belief: Belief, observation: NDArray[np.float32]) -> Belief:
        """Return the beliefs of `expect` with the results that came in, those of the oldest visit first;
        particles are drawn anew where that is needed."""
        arrived = self._arrived(belief, observation)
        for offset in range(self._window - 1, -1, -1):
            if not np.isnan(arrived[:, offset]).all():
                belief = self._take_in(belief, offset, arrived[:, offset])
        return self._improved(belief, REDRAW_BELOW, range(_ROUNDS))

    def _improved(self, belief: Belief, share: float, attempts: range) -> Belief:
        """Redraw patients of whom less than a share of the particles carries weight, where that is better."""
        for attempt in attempts:
            size = belief.effective_size
            poor = np.flatnonzero(size < share * self.particles)
            if not len(poor):
                break
            redrawn = self._redraw(belief.select(poor), attempt)
            better = redrawn.effective_size > size[poor]
            belief = belief.replace_rows(poor[better], redrawn.select(np.flatnonzero(better)))
        return belief

    def refine(self, belief: Belief) -> Belief:
        """Return the belief drawn anew with this filter's particles: more of them than it was kept with, for
        a question that asks for accuracy.

        Where a redraw's t fits less than well, its weights do not tell what it misses: particles are drawn
        from mixtures that are fitted to the posterior from the prior on (`importance`), and moved where these
        do not fit either.
        """
        drawn = self._improved(self._redraw(belief, 0), _TRUSTED, range(1, 2))
        doubtful = np.flatnonzero(drawn.effective_size < _TRUSTED * self.particles)
        for first in range(0, len(doubtful), _TOGETHER):
            some = drawn.select(doubtful[first : first + _TOGETHER])
            target = _Posterior(self, some)
            start = some.mean(some.x)[:, None]
            for rows, mixture, _ in proposals(target, start, _EFFORT, self.seed):
                drawn = drawn.replace_rows(doubtful[first + rows], self._from(target.select(rows), mixture))
        return drawn

    def around(self, belief: Belief, components: int) -> Mixture:
        """Return mixtures that the particles of beliefs may have been drawn from, to draw more: t densities
        fitted to them, and the prior as a defence."""
        chosen = systematic(belief.weight, 0.5, self.particles)
        points = np.take_along_axis(belief.x, chosen[..., None], axis=1)
        fitted = Mixture.fitted(points, components, belief.prior.covariance)
        return Mixture.joined([(1.0 - DEFENCE, fitted), (DEFENCE, _Posterior(self, belief).prior())])

    def _from(self, target: _Posterior, mixture: Mixture) -> Belief:
        """Draw particles that weigh alike, by way of mixtures: resampled from more draws; moved where few of
        these carry weight."""
        k, d = self.particles, len(target.omega)
        u = quasi_random(max(_OVER * k, _LEAST_DRAWS), d + 2, self.seed, _DRAWN)
        x = mixture.at(u)
        posterior = target.log_prior(x) + target.log_likelihood(x)
        log_weight = posterior - mixture.log_density(x)
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        chosen = systematic(weight, 0.5, k)
        kept = np.take_along_axis(x, chosen[..., None], axis=1)
        posterior = np.take_along_axis(posterior, chosen, axis=1)
        poor = np.flatnonzero(effective_size(log_weight) < _COARSE * len(u))
        if len(poor):
            own = mixture.select(poor)
            moved = resample_move(
                own.at(u[:k]),
                np.full((len(poor), k), -np.log(k)),
                lambda x, rows: own.select(rows).log_density(x),
                target.select(poor).log_density,
                lambda x, weight, rows: own.select(rows),
                self.seed,
                [str(row) for row in poor],
                _MOVES,
            )
            kept[poor], posterior[poor] = moved.eta, moved.log_density
        return self._weighed(target.belief, kept, posterior)

    def _weighed(self, belief: Belief, x: Floats, log_proposal: Floats) -> Belief:
        """Return the belief with particles x (n, k, d), drawn with such log densities (n, k) and weighed over
        the whole history."""
        fit, parts = self.relive(belief, x)
        log_ratio = belief.prior.log_density(x) - log_proposal
        return replace(belief, log_ratio=log_ratio, log_likelihood=fit, **parts)

    def _arrived(self, belief: Belief, observation: NDArray[np.float32]) -> Floats:
        """(n, w, m) results that came in since the previous visit, by the visit at which they were drawn,
        counted backwards; NaN where none did."""
        spec, scenario, n = self._spec, self.scenario, len(belief.clock)
        arrived = np.full((n, self._window, len(self._samples)), np.nan)
        to_model = self._length / scenario.clock.shown
        visits = belief.visit[:, None] - np.arange(self._window)
        exists, index = visits >= 0, np.maximum(visits, 0)
        rows = np.arange(n)[:, None]
        for i, item in enumerate(scenario.measurements):
            sampled = np.where(exists, belief.sampled[rows, index, i], np.nan)
            known = ~np.isnan(belief.low[rows, index, i])
            new = spec.read(observation, f"{item.name}_new") > 0.5
            for value, age, here in (
                (spec.read(observation, f"late_{item.name}"), f"late_{item.name}_age", None),
                (spec.read(observation, item.name), f"{item.name}_age", new),
            ):
                came = ~np.isnan(value) & (True if here is None else here)
                if not came.any():
                    continue
                drawn = belief.clock - spec.read(observation, age) * to_model
                apart = np.abs(np.where(came, drawn, np.nan)[:, None] - sampled)
                near = apart < 1e-3 * self._length + 1e-6 * belief.clock[:, None]
                found = near.any(axis=1)
                if np.any(came & ~found & ~self._looked_at(belief, i, drawn)):
                    lane = int(np.argmax(came & ~found))
                    raise ValueError(
                        f"patient {lane}: {item.name} of {scenario.clock.entry} {drawn[lane] / to_model:g}, "
                        f"at which none of the last {self._window} visits drew a sample"
                    )
                offset = np.argmax(near, axis=1)
                # a monitor may show the same sample again
                fresh = came & found & ~known[np.arange(n), offset]
                arrived[fresh, offset[fresh], i] = value[fresh]
        return arrived

    def _looked_at(self, belief: Belief, i: int, drawn: Floats) -> NDArray[np.bool_]:
        """Whether a result (n,) is one that a rule looked at before a delay: it counts as too low already."""
        rule = self.scenario.delay
        if rule is None or i != self._delayed:
            return np.zeros(len(drawn), dtype=bool)
        steps = (belief.sampled[:, :, i] - drawn[:, None]) / rule.by
        whole = np.abs(steps - np.rint(steps)) < 1e-3
        return np.any(whole & (steps > 0.5) & (steps < belief.delays + 0.5), axis=1)

    def _take_in(self, belief: Belief, offset: int, result: Floats) -> Belief:
        """Weigh the particles by the results (n, m) of one visit; NaN where a patient has none."""
        n, rows = len(result), np.arange(len(result))
        here = ~np.isnan(result)
        predicted, visit = belief.predicted[:, offset], belief.visit - offset
        low, high = np.full(result.shape, np.nan), np.full(result.shape, np.nan)
        z = np.full(result.shape, np.nan)
        for i, item in enumerate(self._samples):
            if here[:, i].any():
                known = self._believable(belief, item, result[:, i], predicted[..., i])
                low[:, i], high[:, i], z[:, i] = known
        any_here = here.any(axis=1)
        fade = np.where(any_here, self.fade, 1.0)[:, None]
        lows, highs, credit = belief.low.copy(), belief.high.copy(), belief.credit * fade[:, None]
        lows[rows, visit] = np.where(here, low, belief.low[rows, visit])
        highs[rows, visit] = np.where(here, high, belief.high[rows, visit])
        credit[rows, visit] = np.where(here, 1.0, credit[rows, visit])
        first = z[rows, np.argmax(here, axis=1)]
        innovation = np.where(any_here, first, belief.innovation[:, 0])
        before = np.where(any_here, belief.innovation[:, 0], belief.innovation[:, 1])
        return replace(
            belief,
            log_likelihood=fade * belief.log_likelihood + self._fit(predicted, low, high).reshape(n, -1),
            low=lows,
            high=highs,
            credit=credit,
            innovation=np.stack([innovation, before], axis=1),
        )

    def _believable(
        self, belief: Belief, item: Measurement, result: Floats, predicted: Floats
    ) -> tuple[Floats, Floats, Floats]:
        """Return what a result (n,) says, as an interval, and its standardised innovation.

        A zero or absurd result counts as one just believable; one at the end of what can be shown is known to
        lie beyond it.
        """
        error, here = item.error, ~np.isnan(result)
        truth, value = predicted, np.where(here, result, 0.0)
        if error.log_sd:
            truth, value = np.log(predicted), np.log(np.where(here, np.maximum(result, _NOTHING), 1.0))
        noise = np.sqrt(belief.mean(residual_variance(error, predicted)))
        mean, spread = belief.mean_sd(truth)
        expected = np.maximum(np.hypot(spread, noise), _NOTHING)
        shown = np.clip(value, mean - _ABSURD * expected, mean + _ABSURD * expected)
        z = np.where(here, (shown - mean) / expected, np.nan)
        low = np.exp(shown) if error.log_sd else shown
        below = (result <= 0) & (shown <= value) if not error.log_sd else np.zeros(len(result), dtype=bool)
        above = (result >= item.high) & (shown >= value)
        high = np.where(above, np.inf, low)
        low, high = np.where(below, -np.inf, low), np.where(below, 0.0, high)
        return np.where(here, low, np.nan), np.where(here, high, np.nan), z

    def _fit(self, predicted: Floats, low: Floats, high: Floats, credit: Floats | None = None) -> Floats:
        """Return the log likelihood (n, k) of samples (n, m), of which NaN is not known, under predictions
        (n, k, m); each counts as much as its credit (n, m), by default in full."""
        total = np.zeros(predicted.shape[:-1])
        credit = np.ones_like(low) if credit is None else credit
        for i, item in enumerate(self._samples):
            rows = np.flatnonzero(~np.isnan(low[:, i]))
            if len(rows):
                total[rows] += credit[rows, i, None] * log_likelihood(
                    item.error, predicted[rows, :, i], low[rows, None, i], high[rows, None, i]
                )
        return total

    # ------------------------------------------------------------------------------------- drawing anew

    def _redraw(self, belief: Belief, attempt: int) -> Belief:
        """Draw particles from a Student's t fitted to the posterior and weigh them over the whole history.

        Its centre and spread are those of the mode and the curvature there; or, where several genotypes may
        make several modes and where the first was not good enough, those of the weighted particles.
        """
        d = belief.x.shape[2]
        z, u = _points(self.particles, d, self.seed)
        before = belief.prior
        mean, covariance = moments(belief.x, belief.weight)
        covariance *= _WIDEN**2
        covariance[:, np.arange(d), np.arange(d)] += (_FLOOR * before.sd) ** 2
        # by each patient's own genotypes, in any company
        single = np.flatnonzero(np.isfinite(before.log_weight).sum(axis=1) == 1)
        if attempt == 0 and len(single):
            mean[single], curved, _ = self.mode(belief.select(single), mean[single])
            covariance[single] = curved * _WIDEN**2
        t = z * np.sqrt(_FREEDOM / chdtri(_FREEDOM, np.clip(1.0 - u, 1e-9, 1 - 1e-9)))[:, None]
        x = mean[:, None] + np.einsum("nij,kj->nki", np.linalg.cholesky(covariance), t)
        # no log determinant: the proposal's constant is the same for all particles of a patient
        log_proposal = -0.5 * (_FREEDOM + d) * np.log1p(np.einsum("kd,kd->k", t, t) / _FREEDOM)
        return self._weighed(belief, x, log_proposal)

    def mode(self, belief: Belief, x: Floats) -> tuple[Floats, Floats, Floats]:
        """Return mode (n, d) of the posterior, inverse curvature (n, d, d) and log density (n,) up to a
        constant there, by damped Gauss-Newton steps from x."""
        before, (n, d) = belief.prior, x.shape
        damping, step = np.full(n, 1e-3), _SHORT * before.sd
        beside = np.concatenate([np.zeros((1, d)), np.diag(step)])
        score, slope, curvature = self._slope(belief, x, beside)
        for _ in range(_NEWTON_STEPS):
            # how far the mode is, squared, in SD of the posterior; who is near enough stays, in any company
            far = np.einsum("nd,nde,ne->n", slope, np.linalg.inv(curvature), slope) >= _NEAR
            if not far.any():
                break
            scaled = curvature + damping[:, None, None] * np.eye(d) * np.einsum("nii->ni", curvature)[:, None]
            change = np.linalg.solve(scaled, slope[..., None])[..., 0]
            # a far step may end where no solver follows
            length = np.abs(change / before.sd).max(axis=1, keepdims=True)
            then = x + change * np.minimum(1.0, _LONG / np.maximum(length, _LONG))
            rare = before.log_density(np.stack([then, before.nearest(then)], axis=1))
            then = np.where((rare[:, 0] > rare[:, 1] - _UNHEARD_OF)[:, None], then, x)
            new = self._slope(belief, then, beside)
            better = far & (new[0] > score)
            x = np.where(better[:, None], then, x)
            score, slope = np.where(better, new[0], score), np.where(better[:, None], new[1], slope)
            curvature = np.where(better[:, None, None], new[2], curvature)
            damping = np.where(better, damping * 0.1, damping * 10.0)
        return x, np.asarray(np.linalg.inv(curvature), dtype=np.float64), score

    def _slope(self, belief: Belief, x: Floats, beside: Floats) -> tuple[Floats, Floats, Floats]:
        """Return log posterior (n,), its slope (n, d) and expected curvature (n, d, d) at x (n, d)."""
        before = belief.prior
        samples = self._samples_of_past(belief, x[:, None] + beside)
        centre = before.nearest(x)
        score = before.log_density(x[:, None])[:, 0]
        # no matrix product: its last bit depends on how many patients there are
        slope = -np.einsum("nd,de->ne", x - centre, before.precision)
        curvature = np.repeat(before.precision[None], len(x), axis=0)
        width = beside[1:].sum(axis=1)
        for i, item in enumerate(self._samples):
            here = samples[:, 0, :, i]
            low, high = belief.low[:, :, i], belief.high[:, :, i]
            known = ~np.isnan(low)
            low, high = np.where(known, low, 1.0), np.where(known, high, 1.0)
            here = np.where(known, here, 1.0)
            fit, slant, weight = deviance(item.error, here, low, high)
            credit = np.where(known, belief.credit[:, :, i], 0.0)
            score = score - 0.5 * np.sum(credit * np.where(known, fit, 0.0), axis=1)
            tangent = (samples[:, 1:, :, i] - samples[:, :1, :, i]) / width[:, None]
            tangent = np.where(known[:, None], tangent, 0.0)
            slope += np.einsum("nv,ndv->nd", -0.5 * credit * slant, tangent)
            curvature = curvature + np.einsum("nv,ndv,nev->nde", credit * weight, tangent, tangent)
        return np.nan_to_num(score, nan=-np.inf), slope, curvature

    def _samples_of_past(self, belief: Belief, x: Floats) -> Floats:
        """Return the predicted samples (n, k, v, m) of all visits so far for unknowns (n, k, d)."""
        theta = parameters(self.scenario, belief.prior.theta, x)
        return self._history(replace(belief, theta=theta))[2]

    def relive(self, belief: Belief, x: Floats) -> tuple[Floats, dict[str, Floats]]:
        """Return the log likelihood (n, k) of all results so far for unknowns (n, k, d), and the parts of the
        belief that change with them.

        Unknowns that nobody has are not tried: no solver follows them. They have no likelihood, and the
        course of the patient's likeliest particle before any result.
        """
        before = belief.prior.log_density(x)
        best = np.argmax(before, axis=1)[:, None]
        heard_of = before > np.take_along_axis(before, best, axis=1) - _UNHEARD_OF
        tried = np.where(heard_of[..., None], x, np.take_along_axis(x, best[..., None], axis=1))
        theta = parameters(self.scenario, belief.prior.theta, tried)
        state, response, samples = self._history(replace(belief, theta=theta))
        fit = sum(
            (
                self._fit(samples[:, :, v], belief.low[:, v], belief.high[:, v], belief.credit[:, v])
                for v in range(int(belief.visit.max()) + 1)
            ),
            np.zeros(x.shape[:2]),
        )
        fit = np.where(heard_of, fit, -np.inf)
        index = np.maximum(belief.visit[:, None] - np.arange(self._window), 0)
        predicted = samples.transpose(0, 2, 1, 3)[np.arange(len(x))[:, None], index]
        parts = {"x": tried, "theta": theta, "state": state, "response": response, "predicted": predicted}
        return fit, parts

    def _history(self, belief: Belief) -> tuple[Floats, Floats, Floats]:
        """Return state (n, k, s) and response (n, k) now, and the samples (n, k, v, m) of each visit so far,
        1 later."""
        units = max(int(belief.unit.max()), 1)
        k = belief.theta.shape[1]
        rows = np.arange(len(belief.unit))
        parts = [self._live(belief.select(some)) for some in blocks(self.scenario, rows, k * units)]
        state, response, samples = (np.concatenate(part) for part in zip(*parts, strict=True))
        return state, response, samples

    def _live(self, belief: Belief) -> tuple[Floats, Floats, Floats]:
        scenario, (n, k, p), visits = self.scenario, belief.theta.shape, belief.visit_unit.shape[1]
        rows, units = np.arange(n), np.arange(max(int(belief.unit.max()), 1))
        # the visit after which the dose of each unit was given
        reached = np.arange(visits) <= belief.visit[:, None]
        after = (belief.visit_unit[:, :, None] <= units) & reached[:, :, None]
        in_force = after.sum(axis=1) - 1
        dose = np.take_along_axis(belief.dose, in_force, axis=1)
        delayed = np.cumsum(belief.delays, axis=1)
        by = 0.0 if scenario.delay is None else scenario.delay.by
        begins = units * self._length + by * np.take_along_axis(delayed, in_force, axis=1)
        unit = np.broadcast_to(np.minimum(units, scenario.horizon - 1), (n, len(units)))
        end = belief.visit_unit * self._length + by * (delayed - belief.delays)
        checks = self._check_times(end.reshape(-1), belief.delays.reshape(-1))
        if checks is not None:
            checks = np.where(reached[:, :, None], checks.reshape(n, visits, -1), np.nan).reshape(n, -1)
        people = self._people(belief)
        events = prescribed(
            scenario, people, dose, unit, begins, belief.unit, column_of(belief.stretch, unit), checks=checks
        )
        start = scenario.model.initial(belief.theta.reshape(n * k, p))
        response, samples = self._at_start(start.reshape(n, k, -1), belief.theta)
        reads, looked = run(
            scenario, start, self._parameters(belief), events, len(units), begin=np.zeros(n * k),
            which=np.repeat(rows, k), rule="belief", checks=0 if checks is None else checks.shape[1],
        )  # fmt: skip
        last = np.maximum(belief.visit_unit - 1, 0)
        later = (belief.visit_unit > 0) & reached
        at_visit = {
            key: np.take_along_axis(value.reshape(n, k, -1), last[:, None], axis=2)
            for key, value in reads.items()
        }
        past = np.ones((n, k, visits, len(self._samples)))
        for v in range(int(belief.visit.max()) + 1):
            look = looked if checks is None else looked.reshape(n * k, visits, -1, looked.shape[-1])[:, v]
            at_end = {key: value[:, :, v] for key, value in at_visit.items()}
            there = self._samples_of(at_end, look, belief.delays[:, v], k)
            past[:, :, v] = np.where(later[:, v, None, None], there, samples)
        now = {key: value.reshape(n, k, -1)[rows, :, np.maximum(belief.unit - 1, 0)][:, :, None]
               for key, value in reads.items()}  # fmt: skip
        latest = scenario.responses[0].of(now)[..., 0]
        return start.reshape(n, k, -1), np.where((belief.unit > 0)[:, None], latest, response), past

    # ---------------------------------------------------------------------------------------- what comes

    def outlook(self, belief: Belief) -> Outlook:
        """Return the particles as they are now, to ask what doses would do."""
        n, k, p = belief.theta.shape
        theta = self._parameters(belief).reshape(n, k, -1, p)
        people = self._people(belief)
        return Outlook(self.scenario, people, theta, belief.stretch, belief.state, belief.clock, belief.unit)

    def predict(self, belief: Belief, dose: Floats) -> dict[str, Floats]:
        """Return every response, name -> (n, k, c, u), of every particle under c courses of doses (n, c, u),
        a dose for each of the coming units."""
        return self.outlook(belief).responses(dose)

    def predict_mean(self, belief: Belief, dose: Floats, units: Ints) -> Floats:
        """Return the response (n, c) of each posterior-mean patient after `units` (n,) at c constant doses
        (n, c).

        One patient instead of all particles: a cheap look ahead. 0 units is the present response.
        """
        theta = parameters(self.scenario, belief.prior.theta, belief.mean(belief.x)[:, None])
        mean = replace(belief, theta=theta, state=belief.mean(belief.state)[:, None])
        course = np.repeat(dose[:, :, None], max(int(units.max()), 1), axis=2)
        path = self.predict(mean, course)[self.scenario.output][:, 0]
        last = np.take_along_axis(path, np.maximum(units - 1, 0)[:, None, None], axis=2)[..., 0]
        return np.where((units > 0)[:, None], last, belief.mean(belief.response)[:, None])

    def reach(self, belief: Belief) -> Ints:
        """(n,) units ahead at whose end the response should be on target: the scenario's, at least until the
        next visit, within follow-up."""
        return self.scenario.reach(belief.unit, belief.ahead)

    def under_last_dose(self, belief: Belief) -> UnderOneDose:
        """Return what the dose given last would do if it went on until the longest `reach`; where none was
        given, or 0, a usual dose."""
        rows, scenario = np.arange(len(belief.unit)), self.scenario
        last = np.where(belief.visit > 0, belief.dose[rows, np.maximum(belief.visit - 1, 0)], 0.0)
        dose = np.where(last > 0, last, scenario.doses.usual)
        course = np.repeat(dose[:, None, None], int(self.reach(belief).max()), axis=2)
        responses = {name: values[:, :, 0] for name, values in self.predict(belief, course).items()}
        return UnderOneDose(dose, responses)

    def maintenance_dose(self, belief: Belief, under: UnderOneDose | None = None) -> tuple[Floats, Floats]:
        """Return posterior mean and SD (n,) of the log of the dose that brings the response on target and
        holds it there: by the scenario's formula for the steady state, else at the end of `reach`.

        Where it has to be searched for, the search begins with `under_last_dose`; whoever has that already
        may give it.
        """
        scenario = self.scenario
        # a particle that needs no drug at all counts as one that needs a tenth of the smallest dose
        least = scenario.doses.step / 10
        if scenario.maintenance_dose is not None:
            dose = scenario.maintenance_dose(belief.theta, scenario.target)
            return belief.mean_sd(np.log(np.maximum(dose, least)))
        if under is None:
            under = self.under_last_dose(belief)
        reach, dose = self.reach(belief), np.empty((len(belief.unit), min(_SOME, self.particles)))
        for units in np.unique(reach):
            rows = np.flatnonzero(reach == units)
            some, response = belief.select(rows), under.responses[scenario.output][rows, :, units - 1]
            # in the order of what one dose would do, systematic resampling loses hardly anything
            order = np.argsort(response, axis=1, kind="stable")
            place = systematic(np.take_along_axis(some.weight, order, axis=1), 0.5, dose.shape[1])
            which = np.take_along_axis(order, place, axis=1)
            few, reached = self.outlook(some).pick(which), np.take_along_axis(response, which, axis=1)
            dose[rows] = few.dose_to_target(int(units), under.dose[rows], reached)
        log_dose = np.log(np.maximum(dose, least))
        return log_dose.mean(axis=1), log_dose.std(axis=1)


@dataclass(frozen=True, eq=False)
class _Posterior:
    """Prior and likelihood of what is believed about some patients, in full, by their whole history."""

    kept: BeliefFilter
    belief: Belief

    @property
    def omega(self) -> Floats:
        """(d, d) covariance of the prior, given the genotype."""
        return self.belief.prior.covariance

    def log_prior(self, x: Floats) -> Floats:
        """Log density (n, k) of unknowns (n, k, d), up to a constant."""
        return self.belief.prior.log_density(x)

    def log_likelihood(self, x: Floats) -> Floats:
        """Log likelihood (n, k) of all results so far."""
        return self.kept.relive(self.belief, x)[0]

    def log_density(self, x: Floats, rows: Ints) -> Floats:
        """Log of prior times likelihood (r, k) of patients `rows`."""
        some = self.select(rows)
        return some.log_prior(x) + some.log_likelihood(x)

    def descents(self, starts: Floats) -> tuple[Floats, Floats, Floats]:
        """Ends of searches for a mode from starts (n, s, d)."""
        n, s, d = starts.shape
        copies = self.belief.select(np.repeat(np.arange(n), s))
        x, covariance, score = self.kept.mode(copies, starts.reshape(-1, d))
        return x.reshape(n, s, d), covariance.reshape(n, s, d, d), -2.0 * score.reshape(n, s)

    def prior(self) -> Mixture:
        """The prior, to draw from: a component for every genotype that a patient may have."""
        before = self.belief.prior
        share = np.maximum(np.exp(before.log_weight), np.finfo(np.float64).tiny)
        factor = np.broadcast_to(before.factor, (*before.mean.shape, before.mean.shape[2]))
        return Mixture(share, before.mean, factor, np.full(before.mean.shape[1], np.inf))

    def select(self, rows: Ints) -> _Posterior:
        """The same of some patients."""
        return _Posterior(self.kept, self.belief.select(rows))
