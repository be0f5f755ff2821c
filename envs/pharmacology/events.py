"""What happens to a patient, as a schedule: doses and infusions by a route, at exact times.

A schedule is what a person writes, a sequence of `Dose`; `Events` is the same for many patients as arrays the
engine runs, with the samples that are read and the times from which other parameters hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Dose(NamedTuple):
    """One administration.

    Attributes
    ----------
    time
        Start, in the model's time unit.
    amount
        As prescribed, in the model's unit of amount; a route's bioavailability applies to it.
    duration
        0 for a dose that enters at once; otherwise the amount enters at a constant rate over this time (an
        infusion, or zero-order absorption where the route leads into a depot).
    route
        Name of one of the model's routes; None is the first.
    """

    time: float
    amount: float
    duration: float = 0.0
    route: str | None = None


class Kind(IntEnum):
    """What an event does. Events of one time happen in this order: a value at a dose is the value before
    it."""

    READ = 0
    PARAMETERS = 1
    RATE = 2
    BOLUS = 3


ROUTE = 8  # a power of two: the code of an event is its kind plus ROUTE times the number of its route


@dataclass(frozen=True)
class Events:
    """Schedules of r kinds of patients, up to e events each.

    Attributes
    ----------
    time : (r, e) in the model's time unit, from the start; lag is not in it
    code : (r, e) int8, `Kind` + `ROUTE` × route
    value : (r, e) amount of a bolus; change of a rate; column of the parameters; slot of a reading (-1: none,
        the patient is only moved to that time)
    count : (r,) number of events
    """

    time: Floats
    code: NDArray[np.int8]
    value: Floats
    count: NDArray[np.int64]


def schedule_events(
    schedules: Sequence[Sequence[Dose]], routes: Sequence[str], times: Floats, changes: Floats, unit: str
) -> Events:
    """Return the events of written schedules that are all read at `times` (m,).

    Parameters
    ----------
    schedules
        One a kind of patient; each sorted by time.
    routes
        Names of the model's routes.
    times : (m,) sampling times
    changes : (q,) times from which parameter column 0, 1, … holds; the first is 0
    unit
        Unit of time, for messages.

    Raises
    ------
    ValueError
        For a dose that is not finite, negative, out of order, or of an unknown route.
    """
    rows = [
        _row(_checked(schedule, number, routes, unit), routes, times, changes)
        for number, schedule in enumerate(schedules)
    ]
    width = max(len(row) for row in rows)
    time, code = np.zeros((len(rows), width)), np.zeros((len(rows), width), dtype=np.int8)
    value, count = np.zeros((len(rows), width)), np.array([len(row) for row in rows])
    for i, row in enumerate(rows):
        time[i, : len(row)], code[i, : len(row)], value[i, : len(row)] = row.T
    return Events(time, code, value, count)


def _row(schedule: list[Dose], routes: Sequence[str], times: Floats, changes: Floats) -> Floats:
    """Return (e, 3) time, code and value of one schedule, sorted."""
    events: list[tuple[float, float, float]] = [
        (time, Kind.READ, slot) for slot, time in enumerate(times.tolist())
    ]
    events += [(time, Kind.PARAMETERS, column) for column, time in enumerate(changes.tolist()) if column]
    for dose in schedule:
        which = ROUTE * (0 if dose.route is None else routes.index(dose.route))
        if dose.duration > 0:
            rate = dose.amount / dose.duration
            events.append((dose.time, Kind.RATE + which, rate))
            events.append((dose.time + dose.duration, Kind.RATE + which, -rate))
        else:
            events.append((dose.time, Kind.BOLUS + which, dose.amount))
    table = np.array(events, dtype=np.float64).reshape(-1, 3)
    return table[np.lexsort((table[:, 1] % ROUTE, table[:, 0]))]


def _checked(schedule: Sequence[Any], number: int, routes: Sequence[str], unit: str) -> list[Dose]:
    doses: list[Dose] = []
    for position, item in enumerate(schedule):
        dose = Dose(*item)
        where = f"dose {position} of patient {number}"
        numbers = (dose.time, dose.amount, dose.duration)
        if not all(np.isfinite(x) and x >= 0 for x in numbers):
            raise ValueError(
                f"{where}: {dose.amount} over {dose.duration} at {dose.time} {unit}; "
                "times, amounts and durations must be finite and not negative"
            )
        if dose.route is not None and dose.route not in routes:
            raise ValueError(f"{where}: unknown route {dose.route!r}; known: {', '.join(routes)}")
        if doses and dose.time < doses[-1].time:
            raise ValueError(
                f"{where}: {dose.time} {unit} is before the dose at {doses[-1].time} {unit} that precedes "
                f"it; "
                "sort the schedule by time"
            )
        doses.append(dose)
    return doses
