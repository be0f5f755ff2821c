"""Signals of drift: of streamed patients, and of the simulated ones that what is usual is learned from.

Both are told by the same rules from the same things: what was expected of each result before it was taken in,
who was enrolled, what was overridden, and what was measured in the harm band.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.refinement.dosing import Dosing
from dosewright.agents.refinement.drift import Signals
from dosewright.agents.refinement.served import measured_response
from dosewright.agents.refinement.ward import Ward, surprises
from dosewright.envs import Noise, Scenario, Stream
from dosewright.envs.genotypes import allele_entry
from dosewright.evaluation.logged import Trajectories

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOUND = 1.6448536269514722
"""SD of an interval of 90 %, inside which a result is covered."""
OVERRIDDEN, CONCENTRATION = 0.05, 5.0
"""Share of doses that clinicians are taken to override where nobody does, in a simulation, and how much
patients differ in it: a beta distribution (ASSUMPTION)."""
SEVERE = 3
"""CTCAE grade from which an adverse reaction counts."""
_AT_ONCE = 1000  # patients whose beliefs are held in memory
_FURTHEST = 6.0  # SD of an innovation, as a belief counts it
_SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Results:
    """m results of n patients, as they came in.

    Attributes
    ----------
    patient, measurement : (m,) numbers
    course : (m,) days since enrolment
    value, z, sd : (m,) result, its standardised innovation, and the SD of the logarithm that was expected
    """

    patient: Ints
    measurement: Ints
    course: Floats
    value: Floats
    z: Floats
    sd: Floats


@dataclass(frozen=True, eq=False)
class Step:
    """A visit of a log: patients `rows` (n,) who were there, what they showed, the beliefs before and after
    the results, and the results, as `BeliefFilter.expect` has them."""

    visit: int
    rows: Ints
    observation: NDArray[np.float32]
    moved: Belief
    arrived: Floats
    after: Belief


def steps(kept: BeliefFilter, log: Trajectories) -> Iterator[Step]:
    """Walk a filter through a log, visit by visit."""
    belief: Belief | None = None
    for visit in range(log.horizon):
        rows = np.flatnonzero(log.mask[:, visit])
        observation = log.observations[rows, visit].astype(np.float32)
        moved, arrived = kept.expect(None if belief is None else belief.select(rows), observation)
        after = kept.weigh(moved, observation)
        belief = after if belief is None else belief.replace_rows(rows, after)
        yield Step(visit, rows, observation, moved, arrived, after)


def followed(dosing: Dosing, log: Trajectories) -> Results:
    """Return the results of a simulated log against what the belief of a version expected."""
    days = dosing.scenario.clock.days / dosing.scenario.clock.shown
    assert log.times is not None
    rows_of: list[tuple[int, int, float, float, float, float]] = []
    for first in range(0, log.n_patients, _AT_ONCE):
        some = log.select(np.arange(first, min(first + _AT_ONCE, log.n_patients)))
        for step in steps(dosing.filter, some):
            for item in surprises(dosing.scenario, step.moved, step.arrived):
                row = first + int(step.rows[item.row])
                at = float(log.times[row, step.visit]) * days
                rows_of.append((row, item.measurement, at, item.value, item.z, item.sd))
    return _results(rows_of)


def simulated(
    scenario: Scenario, log: Trajectories, results: Results, enrolled: ArrayLike, noise: Noise
) -> Signals:
    """Return the signals of simulated patients, at one site.

    Parameters
    ----------
    log, results
        Of n patients.
    enrolled : (n,) day of enrolment
    noise
        Of the overrides, which nobody makes in a simulation and which a clinic's baseline has to hold.
    """
    n = log.n_patients
    begun = np.broadcast_to(np.asarray(enrolled, dtype=np.float64), (n,))
    first = log.observations[:, 0].astype(np.float32)
    parts = list(_of_results(scenario, results, begun, [""] * n, _people(scenario, first)))
    row, visit = np.nonzero(log.mask)
    assert log.times is not None
    days = np.asarray(log.times[row, visit]) * scenario.clock.days / scenario.clock.shown
    # two uniforms a patient make the habit, one a visit the override
    u = noise.uniforms(np.arange(n), Stream.OVERRIDE, np.arange(log.horizon + 1))[..., 0]
    habit = _beta(u[:, 0])
    happened = u[row, 1 + visit] < habit[row]
    parts.append(Signals.of(begun[row] + days, days, row, "", "override", happened))
    return Signals.joined(parts)


def streamed(ward: Ward, overrides: Sequence[tuple[str, datetime, bool]], begin: datetime) -> Signals | None:
    """Return the signals of all patients of a ward; None where there is none yet.

    Parameters
    ----------
    overrides
        Patient, time and whether another dose was given than was recommended, of every dose that answered.
    begin
        Day 0 of the calendar.
    """
    scenario, names = ward.scenario, sorted(n for n, p in ward.patients.items() if p.rows)
    if not names:
        return None
    patients = [ward.patients[name] for name in names]
    times = [patient.chart.of("enrolled")[0].time for patient in patients]
    begun = np.array([_days(time, begin) for time in times])
    sites = [patient.chart.site for patient in patients]
    length = scenario.clock.length / scenario.clock.days
    rows: list[tuple[int, int, float, float, float, float]] = []
    for number, patient in enumerate(patients):
        visits = patient.chart.course.visits
        for visit, measurement, value, z, sd in patient.innovations:
            rows.append((number, measurement, visits[visit].visit.clock / length, value, z, sd))
    first = np.stack([np.frombuffer(patient.rows[0], dtype=np.float32) for patient in patients])
    parts = list(_of_results(scenario, _results(rows), begun, sites, _people(scenario, first)))
    place = {name: number for number, name in enumerate(names)}
    for name, time, happened in overrides:
        if name in place:
            i = place[name]
            course = max(_days(time, times[i]), 0.0)
            parts.append(Signals.of([begun[i] + course], [course], [i], sites[i], "override", [happened]))
    for i, patient in enumerate(patients):
        for event in patient.chart.of("adverse_event"):
            course = max(_days(event.time, times[i]), 0.0)
            severe = isinstance(event.value, float) and event.value >= SEVERE
            parts.append(Signals.of([begun[i] + course], [course], [i], sites[i], "adverse:all", [severe]))
    return Signals.joined(parts)


def _results(rows: Sequence[tuple[int, int, float, float, float, float]]) -> Results:
    columns = list(zip(*rows, strict=True)) or [()] * 6
    patient, measurement = (np.array(column, dtype=np.int64) for column in columns[:2])
    return Results(patient, measurement, *(np.array(column, dtype=np.float64) for column in columns[2:]))


def _of_results(
    scenario: Scenario, results: Results, begun: Floats, sites: Sequence[str], people: Mapping[str, Floats]
) -> Iterator[Signals]:
    """Yield innovations, coverage, covariates, and harm of all and by group."""
    where = np.array(sites)
    z = np.clip(results.z, -_FURTHEST, _FURTHEST)
    for number, item in enumerate(scenario.measurements):
        mine = results.measurement == number
        who, course = results.patient[mine], results.course[mine]
        for kind, value in (("innovation", z[mine]), ("covered", np.abs(z[mine]) <= BOUND)):
            yield Signals.of(
                begun[who] + course, course, who, where[who].tolist(), f"{kind}:{item.name}", value
            )
    everybody = np.arange(len(begun))
    for name, value in people.items():
        there = ~np.isnan(value)
        if there.any():
            who = everybody[there]
            yield Signals.of(
                begun[who], np.zeros(len(who)), who, where[who].tolist(), f"covariate:{name}", value[there]
            )
    measured = measured_response(scenario)
    if measured is not None:
        yield from _harm(scenario, measured, results, begun, where, people)


def _harm(
    scenario: Scenario,
    measured: str,
    results: Results,
    begun: Floats,
    where: NDArray[np.str_],
    people: Mapping[str, Floats],
) -> Iterator[Signals]:
    """Yield whether each result is the patient's first in the harm band; who had one is not asked again."""
    number = [item.name for item in scenario.measurements].index(measured)
    mine = np.flatnonzero(results.measurement == number)
    mine = mine[np.lexsort((results.course[mine], results.patient[mine]))]
    unit = np.minimum(results.course[mine] / scenario.clock.days, scenario.horizon - 1).astype(np.int64)
    bad = scenario.harm.of({scenario.output: results.value[mine][:, None]}, unit[:, None])[:, 0] > 0
    who = results.patient[mine]
    # harms of the patient up to and without this result
    total = np.cumsum(bad)
    starts = np.searchsorted(who, who)
    earlier = total - bad - np.where(starts > 0, total[starts - 1], 0)
    at_risk = earlier == 0
    mine, who, bad = mine[at_risk], who[at_risk], bad[at_risk]
    course = results.course[mine]
    for name, member in _groups(scenario, people, len(begun)):
        some = member[who]
        yield Signals.of(
            (begun[who] + course)[some], course[some], who[some], where[who[some]].tolist(), f"harm:{name}",
            bad[some],
        )  # fmt: skip


def _groups(
    scenario: Scenario, people: Mapping[str, Floats], n: int
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield who is watched apart, (n,): all, and by sex, age, ancestry and alleles."""
    alleles = {allele_entry(term.gene, a) for term in scenario.model.genotype_terms for a in term.per_allele}
    yield "all", np.ones(n, dtype=np.bool_)
    for name, value in people.items():
        if name == "male":
            yield "men", value == 1
            yield "women", value == 0
        elif name == "age_y":
            yield "65 years and over", value >= 65
            yield "under 65 years", value < 65
        elif name.startswith("race_"):
            yield name, value == 1
        elif name in alleles:
            yield f"carriers of {name}", value > 0


def _people(scenario: Scenario, first: NDArray[np.float32]) -> dict[str, Floats]:
    """Return what is known of patients at their first visit, covariate -> (n,), of those that differ."""
    spec = scenario.observation
    known = {entry.name: spec.read(first, entry.name) for entry in scenario.covariates}
    return {name: value for name, value in known.items() if not np.isnan(value).all()}


def _beta(u: Floats) -> Floats:
    """Return how often each patient's doses are overridden, from uniforms (n,)."""
    a = OVERRIDDEN * CONCENTRATION
    return np.asarray(betaincinv(a, CONCENTRATION - a, u))


def _days(time: datetime, begin: datetime) -> float:
    return (time - begin).total_seconds() / _SECONDS_PER_DAY
