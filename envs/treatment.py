"""Patients under treatment: n simulated courses, moved from visit to visit by the doses they are given.

This is the one place where prescriptions meet patients. The scalar and the vector environment, the virtual
trial and the oracle all stand on it, so they agree bit for bit.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.noise import Noise
from dosewright.envs.patients import Patients, allele_counts
from dosewright.envs.pharmacology import follow, initial_state, outputs_now
from dosewright.envs.realism import Life, Realism
from dosewright.envs.scenarios.scenario import GenotypeMode, Scenario

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """What happened between two visits, for n patients (0 and False for those who were not active).

    Attributes
    ----------
    dose : (n,) dose really given, after cap and grid
    benefit, harm : (n,) days in the scenario's benefit and harm band, as shares of the horizon
    days : (n,) days followed
    mean, highest : (n,) mean and highest daily response
    finished, left : (n,) bool, follow-up ended; the patient dropped out
    """

    dose: Floats
    benefit: Floats
    harm: Floats
    days: NDArray[np.int64]
    mean: Floats
    highest: Floats
    finished: NDArray[np.bool_]
    left: NDArray[np.bool_]


@dataclass(frozen=True)
class Intake:
    """Patients ready to be admitted: what will happen to them, and what is known of them beforehand.

    Attributes
    ----------
    patients : m of them
    life : their lives
    vector : (m, k) observation with covariates and genotype filled in
    baseline : (m,) response before any drug
    """

    patients: Patients
    life: Life
    vector: NDArray[np.float32]
    baseline: Floats

    @classmethod
    def prepare(
        cls,
        scenario: Scenario,
        patients: Patients,
        noise: Noise,
        realism: Realism,
        genotype: GenotypeMode = "diplotype",
    ) -> Intake:
        """Realise the lives of `patients` and encode what is known of them."""
        model, spec, m = scenario.model, scenario.observation, len(patients)
        life = Life.realise(realism, model, patients.ids, patients.theta, noise, scenario.horizon)
        counts = allele_counts(model.genotype_terms, patients.genotypes)
        if genotype == "unknown":
            counts = {name: np.full(m, np.nan) for name in counts}
        known = {**patients.covariates, **counts}
        vector = np.zeros((m, len(spec.names)), dtype=np.float32)
        for entry in scenario.covariates:
            spec.write(vector, entry.name, known[entry.name])
        output = np.array([model.output(scenario.output)])
        return cls(
            patients, life, vector, outputs_now(model, initial_state(model, m), patients.theta, output)[:, 0]
        )


class Treatment:
    """n patients under treatment.

    Parameters
    ----------
    scenario
        The decision problem.
    intake
        Who is treated; one lane each.

    Attributes
    ----------
    truth : (n, horizon + 1) latent response at the start of each day; NaN where not (yet) followed
    given : (n, visits) dose given after each visit; NaN where none
    measured : (n, visits + 1) measured response of the sample drawn at each visit, the end of follow-up
    included; NaN
        where there is none. A late result is here too.
    day, visit : (n,) present day and number of decisions taken
    active : (n,) bool, still followed
    ids : (n,) who is treated
    """

    def __init__(self, scenario: Scenario, intake: Intake) -> None:
        self.scenario, self.spec = scenario, scenario.observation
        n, horizon, visits = len(intake.patients), scenario.horizon, len(scenario.calendar)
        self.truth = np.full((n, horizon + 1), np.nan)
        self.given = np.full((n, visits), np.nan)
        self.measured = np.full((n, visits + 1), np.nan)
        self.day, self.visit = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.active = np.zeros(n, dtype=bool)
        self.ids = np.zeros(n, dtype=np.int64)
        self._days = scenario.days
        self._run = follow(scenario.model)
        self._rule = scenario.model.rules["exact"]
        self._shape = scenario.model.plan_shape(self._rule)
        self._output = np.array([scenario.model.output(scenario.output)])
        self._bolus, self._hours = np.zeros((n, horizon)), np.full((n, horizon), 24.0)
        self._out = np.empty((n, horizon, 1))
        self._state = initial_state(scenario.model, n)
        # newest result in hand (value, day of its sample), and whether it came in since the previous visit
        self._result, self._result_day = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._fresh = np.zeros(n, dtype=bool)
        # a result on its way, and one that came in late
        self._pending, self._pending_day = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._late, self._late_day = np.full(n, np.nan), np.zeros(n, dtype=np.int64)
        self._vector = np.zeros((n, len(self.spec.names)), dtype=np.float32)
        self._life = copy.deepcopy(intake.life)
        self.admit(np.arange(n), intake, np.arange(n))

    def __len__(self) -> int:
        return len(self.day)

    @property
    def theta(self) -> Floats:
        """(n, p) individual parameters today (drift and interacting drugs included). Truth, not seen."""
        path = self._life.theta
        return path[np.arange(len(self)), np.minimum(self.day, path.shape[1] - 1)]

    @property
    def state(self) -> Floats:
        """(n, s) state of the model today. Truth, not seen."""
        return self._state.copy()

    def admit(self, lanes: NDArray[np.int64], intake: Intake, rows: NDArray[np.int64]) -> None:
        """Begin new courses in `lanes` (m,) with patients `rows` (m,) of `intake`."""
        for field in fields(Life):
            getattr(self._life, field.name)[lanes] = getattr(intake.life, field.name)[rows]
        for array in (self.truth, self.given, self.measured, self._result, self._pending, self._late):
            array[lanes] = np.nan
        for array in (self.day, self.visit, self._result_day, self._pending_day, self._late_day, self._bolus):
            array[lanes] = 0
        self.active[lanes] = True
        self._state[lanes] = self.scenario.model.initial
        self.truth[lanes, 0] = intake.baseline[rows]
        self.ids[lanes] = intake.patients.ids[rows]
        self._vector[lanes] = intake.vector[rows]
        self._sample(lanes)

    def give(self, dose: ArrayLike) -> Interval:
        """Give `dose` (n,) until each active patient's next visit, or until the patient leaves.

        Returns
        -------
        What happened. The dose is capped and rounded to the grid; lanes that are not active are not touched.

        Raises
        ------
        ValueError
            For a missing or negative dose of an active patient.
        """
        scenario, life, n = self.scenario, self._life, len(self)
        wanted = np.broadcast_to(np.asarray(dose, dtype=np.float64), (n,))
        given = scenario.doses.snap(np.where(self.active, wanted, 0.0), self.ids)
        start, stop = self.day, self._days[np.minimum(self.visit + 1, len(self._days) - 1)]
        leaving = self.active & (life.leaves <= stop)
        stop = np.where(self.active, np.minimum(stop, life.leaves), start)
        window = slice(
            int(start.min()), int(stop.max())
        )  # lanes are mostly in step: work on their common days only
        calendar = np.arange(window.start, window.stop)
        within = (calendar >= start[:, None]) & (calendar < stop[:, None])
        taken = np.where(life.taken[:, window], given[:, None] * scenario.model.dose_fraction, 0.0)
        self._bolus[:, window] = np.where(within, taken, self._bolus[:, window])
        self._run(
            self._state, life.theta, self._bolus, self._hours, start, stop - start,
            self._rule, self._shape, self._output, self._out,
        )  # fmt: skip
        response = np.where(within, self._out[:, window, 0], np.nan)
        truth = self.truth[:, window.start + 1 : window.stop + 1]
        np.copyto(truth, response, where=within)
        lanes = np.flatnonzero(self.active)
        self.given[lanes, self.visit[lanes]] = given[lanes]
        interval = self._summarise(given, response, within, stop, leaving)
        self.day = stop
        self.visit = self.visit + self.active
        self.active = self.active & ~interval.finished & ~interval.left
        self._fresh[:] = False
        self._late[:] = np.nan
        self._sample(lanes[~interval.left[lanes]])
        return interval

    def foresee(self, dose: Floats, after: Floats, ahead_days: int) -> Floats:
        """Return what would happen under other doses: the latent daily response (n, c, horizon + 1), laid out
        as `truth`, NaN up to today and where nothing is foreseen.

        Truth, for training in the simulator: the patient's own missed doses, drift and interacting drugs are
        met, drop-out is not. Nothing changes.

        Parameters
        ----------
        dose : (n, c) c alternatives until the next visit, not rounded to the grid
        after : (n,) dose from the next visit on
        ahead_days : days foreseen at least, within the horizon; never fewer than until the next visit
        """
        (n, c), horizon, model, life = dose.shape, self.scenario.horizon, self.scenario.model, self._life
        coming = self._days[np.minimum(self.visit + 1, len(self._days) - 1)]
        until = np.where(
            self.active, np.minimum(np.maximum(coming, self.day + ahead_days), horizon), self.day
        )
        calendar, maximum = np.arange(horizon), self.scenario.doses.maximum
        now = (calendar < coming[:, None])[:, None]
        daily = np.where(
            now, np.minimum(dose, maximum)[:, :, None], np.minimum(after, maximum)[:, None, None]
        )
        taken = np.where(life.taken[:, None], daily * model.dose_fraction, 0.0).reshape(n * c, horizon)
        rule, response = model.rules["belief"], np.full((n * c, horizon, 1), np.nan)
        self._run(
            np.repeat(self._state, c, axis=0), np.repeat(life.theta, c, axis=0), taken,
            np.full(taken.shape, 24.0), np.repeat(self.day, c), np.repeat(until - self.day, c),
            rule, model.plan_shape(rule), self._output, response,
        )  # fmt: skip
        return np.concatenate([np.full((n, c, 1), np.nan), response.reshape(n, c, horizon)], axis=2)

    def observe(self) -> NDArray[np.float32]:
        """Return what a clinician knows now: (n, k), laid out by the scenario's `ObservationSpec`."""
        vector, spec, name = self._vector, self.spec, self.scenario.output.lower()
        day, last = self.day, len(self._days) - 1
        previous = np.where(self.visit > 0, self._days[np.maximum(self.visit - 1, 0)], 0)
        coming = np.where(self.active, self._days[np.minimum(self.visit + 1, last)] - day, 0)
        rows = np.arange(len(self))
        dose = np.where(self.visit > 0, self.given[rows, np.maximum(self.visit - 1, 0)], np.nan)
        known, late = ~np.isnan(self._result), ~np.isnan(self._late)
        for entry, value in (
            ("day", day),
            ("interval", day - previous),
            ("next_interval", coming),
            ("last_dose", dose),
            (name, self._result),
            (f"{name}_age", np.where(known, day - self._result_day, np.nan)),
            (f"{name}_new", self._fresh),
            (f"late_{name}", self._late),
            (f"late_{name}_age", np.where(late, day - self._late_day, np.nan)),
        ):
            spec.write(vector, entry, value)
        return vector.copy()

    def _sample(self, lanes: NDArray[np.int64]) -> None:
        """Draw a sample from the patients in `lanes`, and hand over the results that are ready by now."""
        life, day = self._life, self.day[lanes]
        ready = ~np.isnan(self._pending[lanes])
        waiting = lanes[ready]
        value = self.scenario.measurement.read(self.truth[lanes, day], life.residual[lanes, day])
        missing, late = life.missing[lanes, day], life.late[lanes, day]
        self.measured[lanes, self.visit[lanes]] = np.where(missing, np.nan, value)
        # a result of the previous visit, at least two days ago, has come in
        self._late[waiting], self._late_day[waiting] = self._pending[waiting], self._pending_day[waiting]
        self._pending[waiting] = np.nan
        now = lanes[~missing & ~late]
        self._result[now], self._result_day[now] = value[~missing & ~late], day[~missing & ~late]
        self._fresh[now] = True
        # without a result of today the late one is the newest in hand
        newest = lanes[ready & (missing | late)]
        self._result[newest], self._result_day[newest] = self._late[newest], self._late_day[newest]
        self._fresh[newest], self._late[newest] = True, np.nan
        postponed = lanes[late]
        self._pending[postponed], self._pending_day[postponed] = value[late], day[late]

    def _summarise(
        self,
        given: Floats,
        response: Floats,
        within: NDArray[np.bool_],
        stop: NDArray[np.int64],
        leaving: NDArray[np.bool_],
    ) -> Interval:
        scenario, days = self.scenario, within.sum(axis=1)
        # a running sum adds in the order of days: the last bit does not depend on how far other lanes go
        total = (
            np.cumsum(np.where(within, response, 0.0), axis=1)[:, -1] if within.size else np.zeros(len(days))
        )
        highest = np.where(within, response, -np.inf).max(axis=1, initial=-np.inf)
        return Interval(
            dose=given,
            benefit=scenario.benefit.contains(response).sum(axis=1) / scenario.horizon,
            harm=scenario.harm.contains(response).sum(axis=1) / scenario.horizon,
            days=days,
            mean=np.divide(total, days, out=np.zeros(len(days)), where=days > 0),
            highest=np.where(days > 0, highest, 0.0),
            finished=self.active & (stop >= scenario.horizon) & ~leaving,
            left=leaving,
        )
