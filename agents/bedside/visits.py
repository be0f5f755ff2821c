"""Visits as a scenario's rules see them: when samples count as drawn, and what an observation shows.

Both a table that is read at the bedside and a stream of events are told here, so a rule sees the same of one
patient either way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs import Scenario
from dosewright.envs.measurement import Measurement

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Sample:
    """A measurement as a visit sees it: number of the measurement, value, and the time it counts as."""

    measurement: int
    value: float
    drawn: float


@dataclass(frozen=True)
class Visit:
    """A decision: the unit that it is for, its model time, how often it was put off, and the samples that
    came in since the visit before."""

    unit: int
    clock: float
    delays: int = 0
    samples: tuple[Sample, ...] = ()


def drawn_at(
    scenario: Scenario,
    item: Measurement,
    people: Mapping[str, Floats],
    dose: float,
    unit: int,
    begin: float,
    visit: float,
) -> float:
    """Return the model time at which a measurement's sample of one unit counts as drawn.

    Parameters
    ----------
    item
        The measurement.
    people : covariate -> (1,)
    dose
        Decided dose of the unit.
    unit, begin
        Its number, and the model time at which it begins.
    visit
        Model time of the visit after it: the sample that a rule of delays looks at is drawn then.
    """
    if scenario.delay is not None and item.name == scenario.delay.measurement:
        return visit
    at = next(reading.at for reading in scenario.readings if reading.name == item.reading)
    if isinstance(at, float | int):
        return begin + at
    return begin + float(at(np.nan_to_num([[dose]]), people, np.array([[unit]]))[0, 0])


def observed(
    scenario: Scenario,
    visits: Sequence[Visit],
    dose: Sequence[float],
    people: Callable[[float], Mapping[str, ArrayLike]],
    ahead: Sequence[int],
) -> Iterator[dict[str, ArrayLike]]:
    """Yield what is seen at every visit, entry of the observation -> value, NaN where it is not known.

    Parameters
    ----------
    dose
        Dose in force before each visit; that before the first one is not looked at.
    people
        ``people(clock) -> covariate -> value``: what is known of the patient at a model time.
    ahead
        Units from each visit until the next one.
    """
    shown = scenario.clock.shown / scenario.clock.length
    newest: dict[int, Sample] = {}
    for number, visit in enumerate(visits):
        newest |= {sample.measurement: sample for sample in visit.samples}
        known = people(visit.clock)
        values: dict[str, ArrayLike] = {entry.name: known[entry.name] for entry in scenario.covariates}
        before = visits[number - 1] if number else None
        values |= {
            scenario.clock.entry: visit.clock * shown,
            "interval": 0.0 if before is None else (visit.clock - before.clock) * shown,
            "next_interval": min(ahead[number], scenario.horizon) * scenario.clock.shown,
            "last_dose": math.nan if before is None else dose[number],
        }
        if scenario.delay is not None:
            values |= {"delays": visit.delays, "omitted": 0.0}
        fresh = {sample.measurement for sample in visit.samples}
        for i, item in enumerate(scenario.measurements):
            sample = newest.get(i)
            values |= {
                item.name: math.nan if sample is None else min(sample.value, item.high),
                f"{item.name}_age": math.nan if sample is None else (visit.clock - sample.drawn) * shown,
                f"{item.name}_new": float(i in fresh),
                f"late_{item.name}": math.nan,
                f"late_{item.name}_age": math.nan,
            }
        yield values
