"""Patients under treatment: n simulated courses, moved from visit to visit by the doses they are given.

This is the one place where prescriptions meet patients. The scalar and the vector environment, the virtual
trial and the oracle all stand on it, so they agree bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.genotypes import (
    allele_counts,
    expected_counts,
    genotype_effects,
    phenotype_codes,
    phenotype_entry,
    phenotyped,
)
from dosewright.envs.measurement import MONITOR_QUEUE
from dosewright.envs.noise import Noise
from dosewright.envs.patients import Patients, genotype_ratio
from dosewright.envs.pharmacology import outputs_now
from dosewright.envs.prescription import Deviations, prescribed, run, wait
from dosewright.envs.realism import Life, Realism, Worlds
from dosewright.envs.scenarios.scenario import GenotypeMode, Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """What happened between two visits, for n patients (0 and False for those who were not active).

    Attributes
    ----------
    dose : (n,) dose really given, after cap and grid
    benefit, harm : (n,) the scenario's benefit and harm, summed over the interval, as shares of the
        units scored
    event : (n,) by how much the event that a trial counts came nearer: its units in the interval as a share
        of those that make it happen, 1 in all once it has
    days : (n,) units followed
    mean, highest, lowest : (n,) of the latent response over the units
    finished, left : (n,) bool, follow-up ended; the patient dropped out
    """

    dose: Floats
    benefit: Floats
    harm: Floats
    event: Floats
    days: Ints
    mean: Floats
    highest: Floats
    lowest: Floats
    finished: NDArray[np.bool_]
    left: NDArray[np.bool_]


@dataclass(frozen=True)
class Intake:
    """Patients ready to be admitted: what will happen to them, and what is known of them beforehand.

    Attributes
    ----------
    patients : m of them
    life : their lives
    realism : what made them
    vector : (m, k) observation with covariates and genotype filled in
    before : output -> (m,) before any drug
    grown : covariate that an observation shows -> (m, u), where it changes over time
    elsewhere : (m,) bool, they live in a world that is not the preset's
    """

    patients: Patients
    life: Life
    realism: Realism
    vector: NDArray[np.float32]
    before: Mapping[str, Floats]
    grown: Mapping[str, Floats]
    elsewhere: NDArray[np.bool_]

    @classmethod
    def prepare(
        cls,
        scenario: Scenario,
        patients: Patients,
        noise: Noise,
        realism: Realism,
        genotype: GenotypeMode = "diplotype",
        worlds: Worlds | None = None,
    ) -> Intake:
        """Realise the lives of `patients`, in their own `worlds` where they have one each, and encode what is
        known of them."""
        model, m = scenario.model, len(patients)
        spec = scenario.seen_as(genotype).observation
        stretch, grown = scenario.stretches(patients.covariates)
        trend = _trend(scenario, patients, grown)[:, stretch] if grown else None
        ratios = {
            (item.enzyme.gene, item.parameter): genotype_ratio(
                model, patients, item.enzyme.gene, item.parameter
            )
            for item in realism.interactions
            if item.enzyme is not None
        }
        life = Life.realise(
            realism, model, patients.ids, patients.theta, noise, scenario.span, trend, ratios, worlds
        )
        alleles = _shown_genotype(scenario, patients, genotype, noise)
        if worlds is not None:
            alleles = {name: np.where(worlds.hidden, np.nan, shown) for name, shown in alleles.items()}
        known = {**patients.covariates, **alleles}
        vector = np.zeros((m, len(spec.names)), dtype=np.float32)
        for entry in scenario.seen_as(genotype).covariates:
            spec.write(vector, entry.name, known[entry.name])
        shown = {
            name: np.stack([now[name] for now in grown], axis=1)[:, stretch]
            for name in (grown[0] if grown else ())
            if name in {entry.name for entry in scenario.covariates}
        }
        elsewhere = np.zeros(m, dtype=bool) if worlds is None else worlds.other
        return cls(patients, life, realism, vector, _before(scenario, life), shown, elsewhere)

    def living(self, scenario: Scenario, life: Life) -> Intake:
        """Return the same people with other lives ahead, of whom the same is known."""
        return replace(self, life=life, before=_before(scenario, life))


def _before(scenario: Scenario, life: Life) -> dict[str, Floats]:
    """Return every output (n,) before any drug."""
    model = scenario.model
    now = outputs_now(model, model.initial(life.theta[:, 0]), life.theta[:, 0], np.arange(len(model.outputs)))
    return {output.name: now[:, i] for i, output in enumerate(model.outputs)}


def _shown_genotype(
    scenario: Scenario, patients: Patients, genotype: GenotypeMode, noise: Noise
) -> dict[str, Floats]:
    """Return what a genotype mode shows, by observation entry."""
    terms = scenario.model.genotype_terms
    if not terms:
        return {}
    counts = allele_counts(terms, patients.genotypes)
    if genotype == "unknown":
        return {name: np.full(len(patients), np.nan) for name in counts}
    if genotype == "posterior":
        # of real people the race is known, which stands for a group where the population says so
        known = scenario.population.groups
        groups = np.array([known.get(label, label) for label in patients.labels["ancestry"].tolist()])
        return expected_counts(terms, patients.genotypes, groups, patients.ids, noise)
    if genotype == "phenotype":
        for gene in phenotyped(terms):
            counts[phenotype_entry(gene)] = phenotype_codes(gene, patients.genotypes[gene])
    return counts


def _trend(scenario: Scenario, patients: Patients, grown: Sequence[Mapping[str, Floats]]) -> Floats:
    """Return (m, g, p) factors on the parameters of people whose covariates are those `grown` in g
    stretches."""
    model = scenario.model
    effects, _ = genotype_effects(model.genotype_terms, patients.genotypes)
    first = model.typical(patients.covariates, effects)
    factors = [model.typical({**patients.covariates, **now}, effects) / first for now in grown]
    return np.stack(factors, axis=1)


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
    responses : name -> (n, horizon + 1) latent responses: of unit u in column u + 1, before treatment in
        column
        0; NaN where not (yet) followed or not defined
    benefit, harm : (n, horizon) scores of every unit; NaN where not (yet) followed
    given : (n, visits) dose given after each visit; NaN where none
    measured : (n, visits + 1) result of the first measurement's sample drawn for each visit, the end of
        follow-up
        included; NaN where there is none. A late result is here too.
    day, visit : (n,) present unit (day, cycle, …) and number of decisions taken
    active : (n,) bool, still followed
    counted : (n,) units so far that count towards the scenario's event
    ids : (n,) who is treated
    elsewhere : (n,) bool, who lives in a world that is not the preset's
    """

    def __init__(self, scenario: Scenario, intake: Intake) -> None:
        self.scenario = scenario
        n, horizon, visits = len(intake.patients), scenario.horizon, len(scenario.calendar)
        m = len(scenario.measurements)
        self.responses = {item.name: np.full((n, horizon + 1), np.nan) for item in scenario.responses}
        self.benefit, self.harm = np.full((n, horizon), np.nan), np.full((n, horizon), np.nan)
        self.given = np.full((n, visits), np.nan)
        self.measured = np.full((n, visits + 1), np.nan)
        self.day, self.visit = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
        self.active = np.zeros(n, dtype=bool)
        self.counted = np.zeros(n, dtype=np.int64)
        self.ids, self.elsewhere = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        self._days, self._realism = scenario.days, intake.realism
        model = scenario.model
        self._outputs = scenario.read_outputs
        self._columns = np.array([model.output(name) for name in self._outputs])
        self._state = np.zeros((n, len(model.states)))
        self._clock, self._visited = np.zeros(n), np.zeros(n)  # model time now, and at the previous visit
        self._delays, self._omitted = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=bool)
        self._people = {name: np.zeros(n) for name in intake.patients.covariates}
        # newest result in hand of each kind (value, time of its sample), and whether it came in since the
        # previous visit; one on its way; one that came in late
        self._result, self._result_at = np.full((n, m), np.nan), np.zeros((n, m))
        self._fresh = np.zeros((n, m), dtype=bool)
        self._pending, self._pending_at = np.full((n, m), np.nan), np.zeros((n, m))
        self._late, self._late_at = np.full((n, m), np.nan), np.zeros((n, m))
        # results of a monitor with a delay, the newest first (value, time of its sample)
        self._queue = np.full((n, m, MONITOR_QUEUE, 2), np.nan)
        self._vector = np.zeros((n, intake.vector.shape[1]), dtype=np.float32)
        # layouts differ between genotype modes by the covariates only
        self.spec = next(
            spec
            for mode in ("diplotype", "phenotype")
            if len((spec := scenario.seen_as(mode).observation).names) == intake.vector.shape[1]
        )
        self._grown = {name: values.copy() for name, values in intake.grown.items()}
        self._life = copy.deepcopy(intake.life)
        self.admit(np.arange(n), intake, np.arange(n))

    def __len__(self) -> int:
        return len(self.day)

    @property
    def truth(self) -> Floats:
        """(n, horizon + 1) latent course of the response that is dosed to."""
        return self.responses[self.scenario.output]

    @property
    def event(self) -> Floats:
        """(n,) how near the scenario's event is, by the units that counted so far; 1 where it has happened.
        Truth, not seen."""
        return np.minimum(self.counted / self.scenario.event.limit(self.scenario.horizon), 1.0)

    @property
    def theta(self) -> Floats:
        """(n, p) individual parameters today (drift and interacting drugs included). Truth, not seen."""
        path = self._life.theta
        return path[np.arange(len(self)), np.minimum(self.day, path.shape[1] - 1)]

    def theta_until(self, unit: Ints) -> Floats:
        """Return (n, p) individual parameters as they are today, those that differ between occasions averaged
        (geometrically) from today until a unit (n,). Truth, not seen.

        Where an occasion is a dose or a day, today's says little about the days to come.
        """
        path, theta = self._life.theta, self.theta
        units = np.arange(path.shape[1])
        ahead = (units >= self.day[:, None]) & (units < np.maximum(unit, self.day + 1)[:, None])
        for occasion in self._realism.occasions:
            column = self.scenario.model.column(occasion.parameter)
            total = np.sum(np.where(ahead, np.log(path[:, :, column]), 0.0), axis=1)
            theta[:, column] = np.exp(total / np.maximum(ahead.sum(axis=1), 1))
        return theta

    @property
    def state(self) -> Floats:
        """(n, s) state of the model today. Truth, not seen."""
        return self._state.copy()

    @property
    def clock(self) -> Floats:
        """(n,) model time now; not that of the units passed where treatments were put off."""
        return self._clock.copy()

    @property
    def people(self) -> Mapping[str, Floats]:
        """Covariate -> (n,), as on enrolment. Truth, more than is seen."""
        return dict(self._people)

    def admit(self, lanes: Ints, intake: Intake, rows: Ints) -> None:
        """Begin new courses in `lanes` (m,) with patients `rows` (m,) of `intake`."""
        for field in fields(Life):
            getattr(self._life, field.name)[lanes] = getattr(intake.life, field.name)[rows]
        for array in (
            *self.responses.values(), self.benefit, self.harm, self.given, self.measured, self._result,
            self._pending, self._late, self._queue,
        ):  # fmt: skip
            array[lanes] = np.nan
        for array in (
            self.day, self.visit, self.counted, self._clock, self._visited, self._delays, self._omitted,
            self._result_at, self._pending_at, self._late_at, self._fresh,
        ):  # fmt: skip
            array[lanes] = 0
        self.active[lanes] = True
        self._state[lanes] = self.scenario.model.initial(intake.life.theta[rows, 0])
        for item in self.scenario.responses:
            if item.before is not None:
                self.responses[item.name][lanes, 0] = intake.before[item.before][rows]
        self.elsewhere[lanes] = intake.elsewhere[rows]
        self.ids[lanes] = intake.patients.ids[rows]
        self._vector[lanes] = intake.vector[rows]
        for name, values in self._people.items():
            values[lanes] = intake.patients.covariates[name][rows]
        for name, values in self._grown.items():
            values[lanes] = intake.grown[name][rows]
        first = np.zeros(len(self), dtype=bool)
        first[lanes] = True
        self._sample(first, {key: self._spread(values[rows], lanes) for key, values in intake.before.items()})
        if self._days[0] > 0:  # what is given to everybody before the first decision
            self._advance(np.zeros(len(self)), first, np.where(first, self._days[0], self.day))
            self._visited[lanes] = self._clock[lanes]

    def _spread(self, values: Floats, lanes: Ints) -> Floats:
        full = np.full(len(self), np.nan)
        full[lanes] = values
        return full

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
        given = np.where(self._omitted, 0.0, given)
        stop = self._days[np.minimum(self.visit + 1, len(self._days) - 1)]
        leaving = self.active & (life.leaves <= stop)
        stop = np.where(self.active, np.minimum(stop, life.leaves), self.day)
        lanes = np.flatnonzero(self.active)
        self.given[lanes, self.visit[lanes]] = given[lanes]
        start, active, before = self.day.copy(), self.active.copy(), self.event
        self._fresh[:] = False
        self._late[:] = np.nan
        self._visited[lanes] = self._clock[lanes]
        self.visit = self.visit + self.active
        self.active = active & (stop < scenario.horizon) & ~leaving
        scores = self._advance(given, active & ~leaving, stop, leaving)
        return self._summarise(given, start, stop, active, leaving, scores, self.event - before)

    def _advance(
        self,
        dose: Floats,
        here: NDArray[np.bool_],
        stop: Ints,
        leaving: NDArray[np.bool_] | None = None,
    ) -> tuple[Floats, Floats, Floats]:
        """Move the patients to the start of unit `stop` (n,), and draw the samples of those who are `here`.

        Returns
        -------
        Response that is dosed to, benefit and harm (n, u) of the units passed; NaN, 0 and 0 of the others.
        """
        moving = here if leaving is None else here | leaving
        start = np.where(moving, self.day, stop)
        units = np.arange(int((stop - start).max(initial=0)))
        within = units < (stop - start)[:, None]
        unit = np.minimum(start[:, None] + units, self.scenario.horizon - 1)
        reads = self._course(dose[:, None] * np.ones(len(units)), unit, within, self._state, "exact", None)
        passed = {item.name: np.where(within, item.of(reads), np.nan) for item in self.scenario.responses}
        # a score may look at what came before, so it is given the units as they are numbered
        benefit = np.where(within, self.scenario.benefit.of(passed, unit), 0.0)
        harm = np.where(within, self.scenario.harm.of(passed, unit), 0.0)
        self.counted += np.sum((self.scenario.event.score.of(passed, unit) > 0) & within, axis=1)
        rows, columns = np.nonzero(within)
        numbers = unit[rows, columns]
        for name, values in passed.items():
            self.responses[name][rows, numbers + 1] = values[rows, columns]
        self.benefit[rows, numbers], self.harm[rows, numbers] = benefit[rows, columns], harm[rows, columns]
        self.day = np.where(moving, stop, self.day)
        self._clock = np.where(
            moving, self._clock + within.sum(axis=1) * self.scenario.clock.length, self._clock
        )
        if here.any():
            last = np.maximum(within.sum(axis=1) - 1, 0)
            everyone = np.arange(len(self))
            values = {key: value[everyone, last] for key, value in reads.items()}
            self._sample(here, values)
            if self.scenario.delay is not None:
                self._put_off(here & self.active)
        return passed[self.scenario.output], benefit, harm

    def _course(
        self,
        dose: Floats,
        unit: Ints,
        within: NDArray[np.bool_],
        state: Floats,
        rule: str,
        repeat: int | None,
    ) -> dict[tuple[str, str], Floats]:
        """Move states in place through units, and return what was read: (reading, output) -> (n, u).

        Parameters
        ----------
        dose : (m, u) decided, m = n · repeat
        unit : (m, u) numbers of the units
        within : (m, u) those that are passed, the first ones
        state : (m, s)
        repeat : patients are repeated so often, one after the other; None: once
        """
        scenario, life, realism = self.scenario, self._life, self._realism
        lane = np.arange(len(unit)) if repeat is None else np.repeat(np.arange(len(self)), repeat)
        people = self._people if repeat is None else {k: v[lane] for k, v in self._people.items()}
        clock, rows = self._clock[lane], lane[:, None]
        deviations = Deviations(
            taken=life.taken[rows, unit],
            start=realism.start_sd * life.start[rows, unit] if realism.start_sd else None,
            duration=np.maximum(1 + realism.duration_sd * life.duration[rows, unit], 0.1)
            if realism.duration_sd
            else None,
            sample=realism.sample_sd * life.sample[rows, unit] if realism.sample_sd else None,
        )
        begins = clock[:, None] + np.arange(unit.shape[1]) * scenario.clock.length
        events = prescribed(scenario, people, dose, unit, begins, within.sum(axis=1), unit, deviations)
        theta = life.theta if repeat is None else life.theta[lane]
        return run(scenario, state, theta, events, unit.shape[1], begin=clock, rule=rule, ids=self.ids[lane])[
            0
        ]

    def _put_off(self, here: NDArray[np.bool_]) -> None:
        """Apply the scenario's rule that puts a treatment off, to those who are `here`."""
        rule, model = self.scenario.delay, self.scenario.model
        assert rule is not None
        which = [item.name for item in self.scenario.measurements].index(rule.measurement)
        item = self.scenario.measurements[which]
        output = np.array([model.output(item.output)])
        self._delays[here], self._omitted[here] = 0, False
        # the sample is looked at on the day itself: a result that is late for the record is not late for this
        life, unit = self._life, np.minimum(self.day, self.scenario.horizon)
        rows = np.arange(len(self))
        value = item.read(
            outputs_now(model, self._state, self.theta, output)[:, 0],
            life.residual[rows, unit, which, 0],
            life.assay[rows, unit],
        )
        low = here & (value < rule.below)
        for check in range(1, rule.at_most + 1):
            if not low.any():
                return
            theta = self.theta
            stop = np.where(low, self._clock + rule.by, self._clock)
            wait(self.scenario, self._state, theta, self._clock, stop, self.ids)
            self._clock = stop
            self._delays[low] = check
            value = item.read(
                outputs_now(model, self._state, theta, output)[:, 0],
                life.residual[rows, unit, which, check],
                life.assay[rows, unit],
            )
            self._result[low, which], self._result_at[low, which] = value[low], stop[low]
            self._fresh[low, which] = True
            low = low & (value < rule.below)
        self._omitted[low] = True

    def foresee(self, dose: Floats, after: Floats, ahead_days: int) -> dict[str, Floats]:
        """Return what would happen under other doses: name -> latent response (n, c, horizon + 1), laid out
        as `responses`, NaN up to today and where nothing is foreseen.

        Truth, for training in the simulator: the patient's own missed doses, drift and interacting drugs are
        met, drop-out is not. Nothing changes.

        Parameters
        ----------
        dose : (n, c) c alternatives until the next visit, not rounded to the grid
        after : (n,) dose from the next visit on
        ahead_days : units foreseen at least, within the horizon; never fewer than until the next visit
        """
        (n, c), horizon, maximum = dose.shape, self.scenario.horizon, self.scenario.doses.maximum
        coming = self._days[np.minimum(self.visit + 1, len(self._days) - 1)]
        until = np.where(
            self.active, np.minimum(np.maximum(coming, self.day + ahead_days), horizon), self.day
        )
        units = np.arange(int((until - self.day).max(initial=0)))
        unit = self.day[:, None] + units
        daily = np.where(
            (unit < coming[:, None])[:, None],
            np.minimum(dose, maximum)[:, :, None],
            np.minimum(after, maximum)[:, None, None],
        )
        within = units < (until - self.day)[:, None]
        clipped = np.minimum(unit, horizon - 1)
        reads = self._course(
            daily.reshape(n * c, len(units)), np.repeat(clipped, c, axis=0), np.repeat(within, c, axis=0),
            np.repeat(self._state, c, axis=0), "belief", c,
        )  # fmt: skip
        rows, columns = np.nonzero(within)
        courses: dict[str, Floats] = {}
        for item in self.scenario.responses:
            response = item.of(reads).reshape(n, c, len(units))
            courses[item.name] = np.full((n, c, horizon + 1), np.nan)
            courses[item.name][rows, :, unit[rows, columns] + 1] = response[rows, :, columns]
        return courses

    def observe(self) -> NDArray[np.float32]:
        """Return what a clinician knows now: (n, k), laid out by the scenario's `ObservationSpec`."""
        vector, spec, clock = self._vector, self.spec, self.scenario.clock
        day, last = self.day, len(self._days) - 1
        coming = np.where(self.active, self._days[np.minimum(self.visit + 1, last)] - day, 0)
        rows = np.arange(len(self))
        dose = np.where(self.visit > 0, self.given[rows, np.maximum(self.visit - 1, 0)], np.nan)
        for name, values in self._grown.items():
            spec.write(vector, name, values[rows, np.minimum(day, values.shape[1] - 1)])
        names = [clock.entry, "interval", "next_interval", "last_dose"]
        values = [
            self._shown(self._clock),
            np.where(self.visit > 0, self._shown(self._clock - self._visited), 0.0),
            coming * clock.shown,
            dose,
        ]
        if self.scenario.delay is not None:
            names += ["delays", "omitted"]
            values += [self._delays, self._omitted]
        since = self._shown(np.maximum(self._clock[:, None] - self._result_at, 0.0))
        late_since = self._shown(np.maximum(self._clock[:, None] - self._late_at, 0.0))
        for i, item in enumerate(self.scenario.measurements):
            result, late = self._result[:, i], self._late[:, i]
            names += [item.name, f"{item.name}_age", f"{item.name}_new", f"late_{item.name}"]
            names.append(f"late_{item.name}_age")
            values += [result, np.where(np.isnan(result), np.nan, since[:, i]), self._fresh[:, i], late]
            values.append(np.where(np.isnan(late), np.nan, late_since[:, i]))
        spec.write_all(vector, tuple(names), np.stack(values, axis=1).astype(np.float64))
        return vector.copy()

    def _shown(self, time: Floats) -> Floats:
        """Return model time in the unit that an observation shows."""
        return time / self.scenario.clock.length * self.scenario.clock.shown

    def action_masks(self) -> NDArray[np.bool_]:
        """Return (n, g) which doses of the grid can be given now: none but 0 where a treatment is left
        out."""
        masks = np.ones((len(self), len(self.scenario.doses.doses)), dtype=bool)
        masks[self._omitted, 1:] = False
        return masks

    def _sample(self, here: NDArray[np.bool_], values: Mapping[Any, Floats]) -> None:
        """Draw the samples of a visit from those who are `here`, and hand over the results that are ready by
        now.

        Parameters
        ----------
        values
            Output, before treatment, or (reading, output), afterwards -> (n,) latent value.
        """
        life, unit = self._life, self.day
        rows = np.flatnonzero(here)
        for i, item in enumerate(self.scenario.measurements):
            first = item.output in values
            if first and not item.baseline:
                continue
            lanes = rows
            if not first and item.units is not None:
                lanes = rows[np.isin(unit[rows], item.units)]
            truth = values[item.output] if first else values[item.reading, item.output]
            at = unit[lanes]
            value = item.read(truth[lanes], life.residual[lanes, at, i, 0], life.assay[lanes, at])
            drawn = self._clock[lanes] - (0.0 if first else self._age(item.reading, lanes))
            if item.units_ago is not None:
                value, drawn = self._delayed(lanes, i, value, drawn)
            self._hand_over(rows, lanes, i, value, drawn, life.missing[lanes, at, i], life.late[lanes, at, i])

    def _delayed(self, lanes: Ints, i: int, value: Floats, drawn: Floats) -> tuple[Floats, Floats]:
        """Put results into a monitor's queue and return those that it shows now; at first it shows the
        oldest."""
        ago = self.scenario.measurements[i].units_ago
        assert ago is not None
        queue = self._queue[lanes, i]
        queue[:, 1:] = queue[:, :-1].copy()
        queue[:, 0, 0], queue[:, 0, 1] = value, drawn
        self._queue[lanes, i] = queue
        people = {key: values[lanes] for key, values in self._people.items()}
        held = (~np.isnan(queue[:, :, 0])).sum(axis=1) - 1
        shown = queue[np.arange(len(lanes)), np.minimum(np.minimum(ago(people), held), MONITOR_QUEUE - 1)]
        return shown[:, 0], shown[:, 1]

    def _age(self, name: str, lanes: Ints) -> float | Floats:
        """Return how long ago, in the model's time, the samples of a reading were drawn."""
        reading = next(item for item in self.scenario.readings if item.name == name)
        if isinstance(reading.at, float | int):
            return self.scenario.clock.length - reading.at
        people = {key: value[lanes] for key, value in self._people.items()}
        before = np.maximum(self.visit[lanes] - 1, 0)
        dose = np.nan_to_num(self.given[lanes, before])[:, None]
        return self.scenario.clock.length - reading.at(dose, people, self.day[lanes][:, None] - 1)[:, 0]

    def _hand_over(
        self,
        rows: Ints,
        lanes: Ints,
        i: int,
        value: Floats,
        drawn: Floats,
        missing: NDArray[np.bool_],
        late: NDArray[np.bool_],
    ) -> None:
        """Put results where a clinician finds them: in hand, on their way, or nowhere."""
        if i == 0:
            self.measured[lanes, self.visit[lanes]] = np.where(missing, np.nan, value)
        # a result of the previous visit has come in
        waiting = rows[~np.isnan(self._pending[rows, i])]
        self._late[waiting, i], self._late_at[waiting, i] = (
            self._pending[waiting, i],
            self._pending_at[waiting, i],
        )
        self._pending[waiting, i] = np.nan
        prompt = ~missing & ~late
        now = lanes[prompt]
        self._result[now, i], self._result_at[now, i] = value[prompt], drawn[prompt]
        self._fresh[now, i] = True
        # without a result of today the late one is the newest in hand
        newest = waiting[~self._fresh[waiting, i]]
        self._result[newest, i], self._result_at[newest, i] = self._late[newest, i], self._late_at[newest, i]
        self._fresh[newest, i], self._late[newest, i] = True, np.nan
        postponed = lanes[late]
        self._pending[postponed, i], self._pending_at[postponed, i] = value[late], drawn[late]

    def _summarise(
        self,
        given: Floats,
        start: Ints,
        stop: Ints,
        active: NDArray[np.bool_],
        leaving: NDArray[np.bool_],
        scores: tuple[Floats, Floats, Floats],
        event: Floats,
    ) -> Interval:
        response, benefit, harm = scores
        scenario, days = self.scenario, np.where(active, stop - start, 0)
        seen = ~np.isnan(response)
        followed = seen.any(axis=1)
        # a running sum adds in the order of days: the last bit does not depend on how far other lanes go
        total = np.cumsum(np.where(seen, response, 0.0), axis=1)[:, -1] if seen.size else np.zeros(len(days))
        highest = np.where(seen, response, -np.inf).max(axis=1, initial=-np.inf)
        lowest = np.where(seen, response, np.inf).min(axis=1, initial=np.inf)
        count = seen.sum(axis=1)
        return Interval(
            dose=given,
            benefit=benefit.sum(axis=1) / scenario.scored,
            harm=harm.sum(axis=1) / scenario.scored,
            event=event,
            days=days,
            mean=np.divide(total, count, out=np.zeros(len(days)), where=followed),
            highest=np.where(followed, highest, 0.0),
            lowest=np.where(followed, lowest, 0.0),
            finished=active & (stop >= scenario.horizon) & ~leaving,
            left=leaving,
        )
