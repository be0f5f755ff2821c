"""From decisions to events: what a decided dose means for the engine, unit by unit.

The one place that knows how a scenario's doses are given and when its outputs are read. Patients under
treatment, the particles of a belief and the candidates of a planner all go through it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import Events, Kind, follow
from dosewright.envs.pharmacology.events import ROUTE
from dosewright.envs.scenarios.scenario import Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Reads = dict[tuple[str, str], Floats]


@dataclass(frozen=True)
class Deviations:
    """How what happens differs from what was decided, for m courses of u units.

    Attributes
    ----------
    taken : (m, u, a) bool, whether each administration is taken
    start, duration : (m, u, a) or broadcastable, added to the time of an administration, in the model's time;
        factor on the duration of an infusion
    sample : (m, u, r) or broadcastable, added to the time of a reading that varies
    """

    taken: NDArray[np.bool_]
    start: Floats | None
    duration: Floats | None
    sample: Floats | None


def prescribed(
    scenario: Scenario,
    people: Mapping[str, Floats],
    dose: Floats,
    unit: Ints,
    begins: Floats,
    count: Ints,
    column: Ints | None = None,
    deviations: Deviations | None = None,
    checks: Floats | None = None,
) -> Events:
    """Return the events of m courses over up to u units, read as the scenario says.

    Parameters
    ----------
    people : covariate -> (m,)
    dose : (m, u) decided
    unit : (m, u) numbers of the units
    begins : (m, u) model time at which each starts; where a treatment was put off there are gaps
    count : (m,) units that are passed, the first ones
    column : (m, u) column of the parameters that holds in each unit; None: the first throughout
    deviations
        None: everything happens as it was decided.
    checks : (m, c) further times at which the outputs are read, NaN for none
    """
    m, u = unit.shape
    parts: list[_Part] = []
    if column is not None:
        parts.append((begins[:, :, None], int(Kind.PARAMETERS), column[:, :, None].astype(np.float64)))
    parts += _given(scenario, people, dose, unit, begins, deviations)
    parts += _read(scenario, people, dose, unit, begins, deviations)
    slots, width = len(scenario.readings), sum(part[0].shape[2] for part in parts)
    before = 0 if checks is None else checks.shape[1]
    time, value = np.empty((m, before + u * width)), np.empty((m, before + u * width))
    code = np.full((m, before + u * width), int(Kind.READ), dtype=np.int8)
    if checks is not None:
        # first in the row, so that they are among the events that count; the engine sorts by time
        none = np.isnan(checks)
        time[:, :before] = np.where(none, begins[:, :1], checks)
        value[:, :before] = np.where(none, -1.0, u * slots + np.arange(before))
    whole = tuple(array[:, before:].reshape(m, u, width) for array in (time, code, value))
    here = 0
    for at, kind, amount in parts:
        k = at.shape[2]
        for array, content in zip(whole, (at, kind, amount), strict=True):
            array[:, :, here : here + k] = content
        here += k
    return Events(time, code, value, before + count * width)


_Part = tuple[Floats, int, Floats]  # times (m, u, k), code, and values (m, u, k)


def _given(
    scenario: Scenario,
    people: Mapping[str, Floats],
    dose: Floats,
    unit: Ints,
    begins: Floats,
    deviations: Deviations | None,
) -> list[_Part]:
    """Return the administrations of decided doses."""
    (m, u), length = unit.shape, scenario.clock.length
    parts: list[_Part] = []
    first = 0
    for item in scenario.administrations:
        which = slice(first, first + item.count)
        first += item.count
        route = [r.name for r in scenario.model.routes].index(item.route)
        given = item.give(dose, people, unit)
        amount, offset, duration = given.amount, given.offset, given.duration
        if deviations is not None:
            amount = np.where(deviations.taken[:, :, which], amount, 0.0)
            if deviations.duration is not None:
                duration = duration * deviations.duration[:, :, which]
            if deviations.start is not None:
                offset = np.maximum(offset + deviations.start[:, :, which], 0.0)
                offset = np.minimum(offset, np.maximum(length - duration, 0.0))
        amount = np.broadcast_to(amount, (m, u, item.count))
        at = begins[:, :, None] + np.broadcast_to(offset, (m, u, item.count))
        if scenario.model.routes[route].lag is not None:
            # cut where a dose is taken as well as where it enters: the same spans come back after each
            parts.append((at, int(Kind.READ), np.full((m, u, item.count), -1.0)))
        if not item.infused:
            parts.append((at, int(Kind.BOLUS) + ROUTE * route, amount))
            continue
        lasts = np.broadcast_to(duration, (m, u, item.count))
        rate = np.divide(amount, lasts, out=np.zeros(amount.shape), where=lasts > 0)
        parts.append((at, int(Kind.RATE) + ROUTE * route, rate))
        parts.append((at + lasts, int(Kind.RATE) + ROUTE * route, -rate))
    return parts


def _read(
    scenario: Scenario,
    people: Mapping[str, Floats],
    dose: Floats,
    unit: Ints,
    begins: Floats,
    deviations: Deviations | None,
) -> list[_Part]:
    """Return the readings of every unit."""
    (m, u), length, slots = unit.shape, scenario.clock.length, len(scenario.readings)
    parts: list[_Part] = []
    for slot, reading in enumerate(scenario.readings):
        at = np.asarray(reading.at if isinstance(reading.at, float | int) else reading.at(dose, people, unit))
        if reading.varies and deviations is not None and deviations.sample is not None:
            at = np.clip(at + deviations.sample[:, :, slot], 0.0, length)
        place = np.broadcast_to(np.arange(u) * slots + slot, (m, u))[:, :, None].astype(np.float64)
        parts.append((begins[:, :, None] + np.broadcast_to(at, (m, u))[:, :, None], int(Kind.READ), place))
    if not any(reading.at == length for reading in scenario.readings):
        # the last event of a unit is its end: a unit passed is passed whole
        parts.append((begins[:, :, None] + length, int(Kind.READ), np.full((m, u, 1), -1.0)))
    return parts


def run(
    scenario: Scenario,
    state: Floats,
    theta: Floats,
    events: Events,
    units: int,
    *,
    begin: Floats,
    which: Ints | None = None,
    rule: str = "exact",
    ids: Ints | None = None,
    checks: int = 0,
) -> tuple[Reads, Floats]:
    """Move states (r, s) in place through `prescribed` events of `units` units.

    Returns
    -------
    What was read: (reading, output) -> (r, u), and the outputs (r, c, k) of ``scenario.read_outputs`` at
    `checks` further times.

    Parameters
    ----------
    theta : (r, q, p)
    begin : (r,) model time at which each is now
    which : (r,) course of each; each its own by default
    rule, ids
        As in `follow`.
    """
    outputs, slots = scenario.read_outputs, len(scenario.readings)
    columns = np.array([scenario.model.output(name) for name in outputs])
    out = follow(
        scenario.model, state, theta, events, columns, units * slots + checks, which=which, begin=begin,
        rule=rule, ids=ids,
    )  # fmt: skip
    whole = out[:, : units * slots].reshape(len(state), units, slots, len(columns))
    reads = {
        (reading.name, output): whole[:, :, slot, k]
        for slot, reading in enumerate(scenario.readings)
        for k, output in enumerate(outputs)
    }
    return reads, out[:, units * slots :]


def wait(
    scenario: Scenario, state: Floats, theta: Floats, begin: Floats, until: Floats, ids: Ints | None = None
) -> None:
    """Move states (r, s) in place from one model time (r,) to another without a dose, under parameters
    (r, p)."""
    still = until <= begin
    events = Events(
        until[:, None], np.zeros((len(state), 1), dtype=np.int8), np.full((len(state), 1), -1.0),
        (~still).astype(np.int64),
    )  # fmt: skip
    nothing = np.zeros(0, dtype=np.int64)
    follow(scenario.model, state, theta[:, None], events, nothing, 1, begin=begin, ids=ids)
