"""The log of served doses: what off-policy evaluation is given of streamed patients.

A served dose was drawn with a stated probability, so the log says how likely every dose was. What came of it
is what was measured: the response is taken as linear between two results, as Rosendaal does for the INR
(Thromb Haemost 1993;69:236-239), and scored unit by unit. Patients of whom a dose was overridden, or whose
visits are not those of the calendar, are left out: nobody knows with what probability they were dosed so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.refinement.chart import Chart
from dosewright.agents.refinement.serve import RECOMMENDATION
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.ward import Ward
from dosewright.envs import Scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.recording import EVER_IN_HARM

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _Course:
    """A patient's decisions and what was measured of the response in every unit."""

    patient: str
    bodies: tuple[Mapping[str, Any], ...]
    response: Floats
    finished: bool


def served_log(store: Store, ward: Ward, scenario: Scenario) -> Trajectories | None:
    """Return the log of the patients who were dosed as served to the end; None where there are fewer than
    two, or where the response that is dosed to is not what is measured.

    Parameters
    ----------
    store, ward
        Of the service.
    scenario
        The published one.
    """
    measured = measured_response(scenario)
    if measured is None:
        return None
    answers: dict[str, dict[str, Mapping[str, Any]]] = {}
    for _, note in store.journal(RECOMMENDATION):
        assert note.patient is not None
        answers.setdefault(note.patient, {})[note.body["event"]] = note.body  # a revised one is the last
    found = [
        course
        for name in sorted(answers)
        if name in ward.patients
        and (course := _course(name, ward.patients[name].chart, answers[name], scenario, measured))
    ]
    return _trajectories(found, scenario) if len(found) > 1 else None


def measured_response(scenario: Scenario) -> str | None:
    """Return the name of the measurement of the response that is dosed to; None where it is not what is
    measured."""
    reads = [item.reads for item in scenario.responses]
    return next((m.name for m in scenario.measurements if reads == [{(m.reading, m.output)}]), None)


def _course(
    name: str, chart: Chart, answers: Mapping[str, Mapping[str, Any]], scenario: Scenario, measured: str
) -> _Course | None:
    """Return a patient's course; None for one that cannot be in the log."""
    left = chart.of("left")
    if not left:
        return None
    visits = [seen for seen in chart.course.visits if seen.asked is not None]
    finished = left[-1].code == "finished"
    calendar = list(scenario.calendar)[: len(visits)]
    whole = finished and len(visits) < len(scenario.calendar)
    if whole or not visits or [seen.visit.unit for seen in visits] != calendar:
        return None
    bodies: list[Mapping[str, Any]] = []
    for seen, after in zip(visits, [*visits[1:], None], strict=True):
        assert seen.asked is not None
        body = answers.get(seen.asked.id)
        given = _given(chart, seen.asked.time, None if after is None else after.asked)
        if body is None or given is None or not scenario.doses.same(given, body["dose"]):
            return None
        bodies.append(body)
    response = _between(chart, scenario, measured)
    return None if response is None else _Course(name, tuple(bodies), response, finished)


def _given(chart: Chart, since: Any, until: Any) -> float | None:
    """Return the one dose that was given from a visit to the next; None where there is none, or several."""
    doses = [
        event.value
        for event in chart.of("dose")
        if event.time >= since and (until is None or event.time < until.time)
    ]
    return float(doses[0]) if len(set(doses)) == 1 and doses[0] is not None else None


def _between(chart: Chart, scenario: Scenario, measured: str) -> Floats | None:
    """Return the response (horizon,) at the end of every unit, linear between results, and as the nearest one
    beyond them; None without any."""
    enrolled = chart.of("enrolled")[0].time
    results = [
        ((event.time - enrolled).total_seconds() / 86_400 / scenario.clock.days, float(event.value or 0.0))
        for event in chart.of("measurement")
        if event.code == measured and event.id not in chart.aside
    ]
    if not results:
        return None
    results.sort()
    ends = np.arange(1, scenario.horizon + 1)
    return np.interp(ends, [at for at, _ in results], [value for _, value in results])


def _trajectories(courses: list[_Course], scenario: Scenario) -> Trajectories:
    n, visits, days = len(courses), len(scenario.calendar), scenario.days
    spec = scenario.observation
    log: dict[str, NDArray[Any]] = {
        "observations": np.zeros((n, visits, len(spec.names)), dtype=np.float32),
        "mask": np.zeros((n, visits), dtype=np.bool_),
    }
    log |= {
        name: np.zeros((n, visits)) for name in ("actions", "chance", "benefit", "harm", "times", "first")
    }
    unit = np.arange(scenario.horizon)[None]
    for i, course in enumerate(courses):
        response = {scenario.output: course.response[None]}
        good, bad = (score.of(response, unit)[0] for score in (scenario.benefit, scenario.harm))
        first = int(np.argmax(bad > 0)) if (bad > 0).any() else None
        for t, body in enumerate(course.bodies):
            here = slice(int(days[t]), int(days[t + 1]))
            log["mask"][i, t] = True
            log["observations"][i, t] = body["observation"]
            log["actions"][i, t] = body["dose"]
            log["chance"][i, t] = np.log(body["propensity"])
            log["benefit"][i, t] = good[here].sum() / scenario.scored
            log["harm"][i, t] = bad[here].sum() / scenario.scored
            log["times"][i, t] = days[t] * scenario.clock.shown
            log["first"][i, t] = first is not None and here.start <= first < here.stop
    finished = np.array([course.finished for course in courses])
    return Trajectories(
        observations=log["observations"],
        actions=log["actions"],
        rewards=log["benefit"] - scenario.weight * log["harm"],
        mask=log["mask"],
        terminated=finished,
        truncated=np.zeros(n, dtype=np.bool_),
        censored=~finished,
        behaviour_log_prob=log["chance"],
        outcomes={"benefit": log["benefit"], "harm": log["harm"], EVER_IN_HARM: log["first"]},
        patients=np.array([course.patient for course in courses]),
        times=log["times"],
        observation_names=spec.names,
        provenance={"scenario": scenario.name, "scenario_version": scenario.version, "regimen": "served"},
    )
