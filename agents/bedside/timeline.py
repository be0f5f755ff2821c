"""Records as a scenario's rules see them: units with one decided dose each, visits, observations.

A rule knows a calendar, a grid of doses and samples at set moments; a patient's table knows none of them.
What does not fit is read as the nearest thing that does, and said.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.bedside.case import LATE, Case, outputs_by_number
from dosewright.agents.bedside.visits import Sample, Visit, drawn_at, observed
from dosewright.envs import PatientRecords, Scenario
from dosewright.envs.scenarios import Delay

Floats = NDArray[np.float64]

_EXACT = 0.01  # relative difference of two amounts that is rounding
_NEAR = 0.05  # share of a unit by which a sample may be off without a word
_FAR = 0.5  # share of a unit beyond which it is no sample of that moment


@dataclass(frozen=True, eq=False)
class Timeline:
    """A patient's units and visits.

    Attributes
    ----------
    case
        The patient.
    start : (u,) model time at which each unit that has begun did
    dose : (u,) decided dose of each, of the grid; NaN before the first decision
    unit, begin
        The unit that is to be decided, and the model time at which it begins.
    remaining : amounts of the present unit that are still to come, at the dose in force: (time, amount,
        duration, route)
    visits
        In order, the last one now.
    ahead
        Units until the next visit.
    notes
        What the rules see otherwise than it was.
    """

    case: Case
    start: Floats
    dose: Floats
    unit: int
    begin: float
    remaining: tuple[tuple[float, float, float, str], ...]
    visits: tuple[Visit, ...]
    ahead: int
    notes: tuple[str, ...]

    @property
    def last_dose(self) -> float:
        """Decided dose of the last unit; NaN where there was none."""
        return float(self.dose[-1]) if len(self.dose) else math.nan

    @property
    def calendar(self) -> tuple[int, ...]:
        """The units in which this patient's doses are decided: those of the visits, then the scenario's."""
        mine = [visit.unit for visit in self.visits]
        later = [unit for unit in self.case.scenario.calendar if unit >= mine[-1] + self.ahead]
        coming = [mine[-1] + self.ahead] if mine[-1] + self.ahead < self.case.scenario.horizon else []
        return tuple(dict.fromkeys((*mine, *coming, *later)))

    def observations(self) -> list[NDArray[np.float32]]:
        """Return what is seen at every visit, (1, k) each.

        Raises
        ------
        ValueError
            For a visit that an observation cannot show: one beyond the scenario's follow-up.
        """
        scenario = self.case.scenario
        shown, spec = scenario.clock.shown / scenario.clock.length, scenario.observation
        end = spec.high[spec.names.index(scenario.clock.entry)]
        if self.visits[-1].clock * shown > end:
            raise ValueError(
                f"{scenario.clock.entry} {self.visits[-1].clock * shown:g} is beyond follow-up, which ends "
                f"at {end:g}"
            )
        after = [visit.unit for visit in self.visits[1:]] + [self.visits[-1].unit + self.ahead]
        seen = observed(
            scenario,
            self.visits,
            [
                float(self.dose[visit.unit - 1]) if number else math.nan
                for number, visit in enumerate(self.visits)
            ],
            self.case.people,
            [then - visit.unit for then, visit in zip(after, self.visits, strict=True)],
        )
        return [spec.encode(values) for values in seen]


def timeline(case: Case, ahead: int | None = None) -> Timeline:
    """Return a patient's units and visits.

    Parameters
    ----------
    case
        The patient.
    ahead
        Units until the next visit; by default until the next one of the scenario's calendar.

    Raises
    ------
    ValueError
        For a decision in a unit that nothing is decided for, such as that of a fixed load.
    """
    scenario = case.scenario
    begun, unit, begin = _units(case)
    first = int(scenario.days[0])
    if unit < first:
        clock = scenario.clock
        raise ValueError(
            f"{clock.unit} {unit}: what is given before {clock.unit} {first} is fixed; decide at "
            f"{first * clock.length:g} {scenario.model.time_unit} after the first dose or later"
        )
    dose, notes = _decided(case, begun, begin)
    dose[:first] = np.nan
    ahead = _until_next(scenario, unit) if ahead is None else ahead
    visits, more = _visits(case, begun, dose, unit, begin)
    return Timeline(
        case, begun, dose, unit, begin, _remaining(case, begun, dose), visits, ahead, (*notes, *more)
    )


def _units(case: Case) -> tuple[Floats, int, float]:
    """Return the start of every unit so far, and number and start of the one that is to be decided."""
    length, delay = case.scenario.clock.length, case.scenario.delay
    if not case.given:
        return np.zeros(0), 0, max(case.now, 0.0)
    if delay is None:
        # a unit of which a dose was given is decided already
        count = case.scenario.administrations[0].count
        begun = [
            math.floor(time / length + 1 / (4 * count)) + 1
            for time, _, duration, _ in case.given
            if duration <= length * (1 + _EXACT)
        ]
        unit = max(math.ceil(case.now / length - LATE), *begun, 1)
        return np.arange(float(unit)) * length, unit, max(unit * length, case.now)
    starts: list[float] = []
    for time in dict.fromkeys(time for time, *_ in case.given):
        # a gap that no delay explains is a treatment that was left out
        while starts and time - starts[-1] > length + (delay.at_most + 0.5) * delay.by:
            starts.append(starts[-1] + length + delay.at_most * delay.by)
        if not starts or time - starts[-1] > length / 2:
            starts.append(time)
    return np.array(starts), len(starts), max(starts[-1] + length, case.now)


def _until_next(scenario: Scenario, unit: int) -> int:
    """Return the units until the calendar's next visit, or until follow-up ends."""
    days = scenario.days
    later = days[days > unit]
    return int(later[0] - unit) if len(later) else int(days[-1] - days[-2])


def _decided(case: Case, start: Floats, begin: float) -> tuple[Floats, list[str]]:
    """Return the dose of the grid that comes nearest to what was given in each unit, and where it is not the
    same."""
    scenario, u = case.scenario, len(start)
    if not u:
        return np.zeros(0), []
    main = scenario.administrations[0]
    other = {item.route for item in scenario.administrations[1:]} - {main.route}
    given = np.zeros(u)
    for time, amount, duration, route in case.given:
        if route not in other:
            given += _shares(start, begin, time, duration, scenario.clock.length, main.count) * amount
    grid = scenario.doses.doses
    number = np.minimum(np.arange(u), scenario.horizon - 1)
    unit = np.repeat(number, len(grid))[None]
    made = main.give(np.tile(grid, u)[None], case.people(case.now), unit)
    shape = (1, unit.shape[1], main.count)
    amounts, offset = (
        np.broadcast_to(part, shape).reshape(u, len(grid), main.count) for part in (made.amount, made.offset)
    )
    # of the present unit only what was due by now is on record
    due = (start[:, None, None] + offset < case.now) | (offset == 0)
    totals = np.where(due, amounts, 0.0).sum(axis=-1)
    apart = np.abs(totals - given[:, None])
    nearest = apart <= apart.min(axis=1, keepdims=True) + 1e-9
    # of decided doses that are given as the same amounts the middle one
    rank = np.cumsum(nearest, axis=1) * nearest
    place = np.argmax(rank == nearest.sum(axis=1, keepdims=True) // 2 + 1, axis=1)
    dose, total = grid[place].copy(), totals[np.arange(u), place]
    off = np.abs(total - given) > _EXACT * np.maximum(total, given)
    off[: int(scenario.days[0])] = False
    notes = []
    for first, last in _runs(off, given):
        clock = scenario.clock
        when = f"{clock.unit} {first}" if first == last else f"{clock.units} {first} to {last}"
        notes.append(
            f"{when}: {given[first]:g} {scenario.model.amount_unit} a {clock.unit}, seen by the rules as "
            f"{dose[first]:g} {scenario.doses.unit}, which is {total[first]:g}"
        )
    return dose, notes


def _shares(start: Floats, begin: float, time: float, duration: float, length: float, count: int) -> Floats:
    """Return which share of a dose belongs to each unit: that of its start, or what of an infusion longer
    than a unit falls into it."""
    end = np.append(start[1:], max(begin, start[-1] + length))
    if duration > length * (1 + _EXACT):
        overlap = np.minimum(end, time + duration) - np.maximum(start, time)
        return np.maximum(overlap, 0.0) / duration
    early = length / (4 * count)  # a dose that is taken early is still the next unit's
    last = int(np.sum(start <= time + early)) - 1
    return (np.arange(len(start)) == max(last, 0)).astype(np.float64)


def _runs(off: NDArray[np.bool_], given: Floats) -> list[tuple[int, int]]:
    """Return first and last of every run of units that are off with the same amount."""
    runs: list[tuple[int, int]] = []
    for i in np.flatnonzero(off):
        if runs and runs[-1][1] == i - 1 and given[i] == given[i - 1]:
            runs[-1] = (runs[-1][0], int(i))
        else:
            runs.append((int(i), int(i)))
    return runs


def _remaining(case: Case, start: Floats, dose: Floats) -> tuple[tuple[float, float, float, str], ...]:
    """Return what of the last unit is still to be given."""
    scenario = case.scenario
    if not len(start) or math.isnan(dose[-1]):
        return ()
    people, u = case.people(case.now), min(len(start) - 1, scenario.horizon - 1)
    found = []
    for item in scenario.administrations:
        given = item.give(dose[[-1]][None], people, np.array([[u]]))
        shape = (1, 1, item.count)
        parts = (given.offset, given.amount, given.duration)
        offset, amount, duration = (np.broadcast_to(part, shape)[0, 0] for part in parts)
        early = scenario.clock.length / (4 * item.count)
        last = max((time for time, *_, route in case.given if route == item.route), default=-math.inf)
        for time, much, lasts in zip(start[-1] + offset, amount, duration, strict=True):
            if much > 0 and time >= case.now - 1e-9 and time > last + early:
                found.append((float(time), float(much), float(lasts), item.route))
    return tuple(sorted(found))


def _visits(
    case: Case, start: Floats, dose: Floats, unit: int, begin: float
) -> tuple[tuple[Visit, ...], list[str]]:
    """Return the visits: where a dose was changed, where a sample was in hand, and now."""
    scenario, first = case.scenario, int(case.scenario.days[0])
    arrived, notes = _samples(case, start, dose, unit, begin)
    units = {first, unit, *(v for v in arrived if v >= first)}
    units |= {u for u in range(first + 1, len(dose)) if not scenario.doses.same(dose[u], dose[u - 1])}
    if scenario.delay is not None or any(item.units_ago for item in scenario.measurements):
        units |= set(range(first, unit))  # every unit is decided anew
    visits = []
    for u in sorted(units):
        samples = tuple(
            sample for v in arrived if v == u or (u == first and v < first) for sample in arrived[v]
        )
        delays, clock = _put_off(scenario, start, u, begin)
        visits.append(Visit(u, clock, delays, samples))
    return tuple(visits), notes


def _put_off(scenario: Scenario, start: Floats, unit: int, begin: float) -> tuple[int, float]:
    """Return how often a unit was put off, and the model time of its decision."""
    length, delay = scenario.clock.length, scenario.delay
    if delay is None or not unit:
        return 0, unit * length
    delays = np.zeros(unit, dtype=np.int64)
    for u in range(1, unit + 1):
        gap = (start[u] if u < len(start) else begin) - start[u - 1] - length
        delays[u - 1] = _whole_delays(delay, gap)
    return int(delays[-1]), float(unit * length + delays.sum() * delay.by)


def _whole_delays(delay: Delay, gap: float) -> int:
    return int(np.clip(round(gap / delay.by), 0, delay.at_most))


def _samples(
    case: Case, start: Floats, dose: Floats, unit: int, begin: float
) -> tuple[dict[int, list[Sample]], list[str]]:
    """Return the samples that each visit's unit sees first, and what to say of them."""
    scenario, records = case.scenario, case.records
    length, time_unit = scenario.clock.length, scenario.model.time_unit
    outputs = outputs_by_number(scenario)
    moments = _moments(case, start, dose, unit, begin)
    best: dict[tuple[int, int], tuple[float, Sample]] = {}
    notes = []
    for i in np.flatnonzero(records.observation & ~records.mdv):
        output, time = outputs.get(int(records.dvid[i])), float(records.time[i])
        below = not math.isnan(records.limit[i])
        value = float(records.limit[i]) / 2 if below else float(records.dv[i])
        what = f"{output} of {time:g} {time_unit}"
        near = [m for m in moments if scenario.measurements[m[1]].output == output]
        before = [m for m in near if m[2] == 0 and m[0] == 0]
        near = before if time <= 0 and before else near
        if not near:
            notes.append(f"{what}: not seen by the rules, which have no sample of it at such a time")
            continue
        visit, number, drawn = min(near, key=lambda m: abs(m[2] - time))
        apart = abs(drawn - time) / length
        if apart > _FAR and not (time <= 0 and before):
            notes.append(f"{what}: not seen by the rules, whose nearest sample is at {drawn:g} {time_unit}")
            continue
        if (visit, number) in best and best[visit, number][0] <= apart:
            notes.append(f"{what}: not seen by the rules, another one is nearer to {drawn:g} {time_unit}")
            continue
        if apart > _NEAR:
            notes.append(f"{what}: seen by the rules as drawn at {drawn:g} {time_unit}")
        if below:
            notes.append(f"{what}: below {records.limit[i]:g}, seen by the rules as {value:g}, half of it")
        best[visit, number] = (apart, Sample(number, value, drawn))
    arrived: dict[int, list[Sample]] = {}
    for (visit, _), (_, sample) in sorted(best.items(), key=lambda item: item[1][1].drawn):
        if visit <= unit:
            arrived.setdefault(visit, []).append(sample)
    return arrived, notes


def _moments(
    case: Case, start: Floats, dose: Floats, unit: int, begin: float
) -> list[tuple[int, int, float]]:
    """Return the moments at which samples are drawn: unit of the visit that sees them, number of the
    measurement, model time."""
    scenario, people = case.scenario, case.people(case.now)
    found: list[tuple[int, int, float]] = []
    for number, item in enumerate(scenario.measurements):
        if item.baseline:
            found.append((0, number, 0.0))
        ago = 0 if item.units_ago is None else int(item.units_ago(people)[0])
        for u in range(len(start)):
            if item.units is not None and u + 1 not in item.units:
                continue
            here, then = (_put_off(scenario, start, v, begin)[1] for v in (u, u + 1))
            drawn = drawn_at(scenario, item, people, float(dose[u]), u, here, then)
            found.append((u + 1 + ago, number, drawn))
    return found


def with_remaining(case: Case, amounts: Sequence[tuple[float, float, float, str]]) -> Case:
    """Return the patient with doses (time, amount, duration, route) added that are about to be given."""
    if not amounts:
        return case
    own, model, n = case.records, case.scenario.model, len(amounts)
    times, much, lasts, routes = zip(*amounts, strict=True)
    states = {route.name: model.states.index(route.state) + 1 for route in model.routes}
    rates = [amount / duration if duration > 0 else 0.0 for amount, duration in zip(much, lasts, strict=True)]

    def column(before: NDArray[np.generic], after: Sequence[float]) -> Floats:
        return np.concatenate([before.astype(np.float64), np.asarray(after, dtype=np.float64)])

    nothing, unknown = [0.0] * n, [math.nan] * n
    grown = PatientRecords.of(
        own.id,
        column(own.time, times),
        evid=column(own.evid, [1.0] * n),
        amount=column(own.amount, much),
        rate=column(own.rate, rates),
        compartment=column(own.compartment, [states[route] for route in routes]),
        interval=column(own.interval, nothing),
        additional=column(own.additional, nothing),
        steady=column(own.steady, nothing),
        dv=column(own.dv, unknown),
        mdv=column(own.mdv, [1.0] * n),
        dvid=column(own.dvid, nothing),
        limit=column(own.limit, unknown),
        covariates={name: column(values, [values[-1]] * n) for name, values in own.covariates.items()},
        units=own.units,
        line=column(own.line, [own.line[-1]] * n).astype(np.int64),
    )
    return replace(case, records=grown)
