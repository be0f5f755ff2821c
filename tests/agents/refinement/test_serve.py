"""Live dosing: one answer for every visit, from the belief and inside the shield, with the probability that
is stated; and a store, a memory and a stream that agree whatever stops the process, and whenever."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import chisquare

from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement import chart, dosing, serve, shield, ward
from dosewright.agents.refinement.dosing import MONITORING, Answer, Asked, Dosing, number_of
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.serve import (
    ASIDE,
    OVERRIDE,
    RECOMMENDATION,
    RELEASED,
    UNANSWERED,
    Service,
    Taken,
)
from dosewright.agents.refinement.shield import Limits, ceiling, foresee
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.agents.refinement.sources import Batch, Record, source
from dosewright.agents.refinement.store import Note, Store, StoreFullError, UnscrubbedError
from dosewright.envs import Noise, Scenario, scenario
from dosewright.envs.pharmacology import simulate
from dosewright.evaluation.worlds import world

SITE = "site-1"
Tell = Callable[[Sequence[Event]], Mapping[str, float]]


def limits(known: Scenario, **changed: Any) -> Limits:
    """Return limits that let through whatever a test does not ask for."""
    names = Dosing(known, Limits(1, 1, 1, 1, (), np.zeros(0), np.zeros(0)), "", particles=2).features.names
    wide = np.full(len(names), 1e9)
    open_ones = Limits(known.doses.maximum, 100.0, 1.0, 100, names, -wide, wide)
    return replace(open_ones, **changed)


def at_work(known: Scenario, policy: LearnedPolicy | None = None, **changed: Any) -> Dosing:
    return Dosing(known, limits(known, **changed), "v1", policy, particles=16)


def clinic(known: Scenario, realism: str = "clinic", patients: int = 6, seed: int = 3) -> SimulatedClinic:
    return SimulatedClinic(
        known, known.preset(realism), world("none", known), Noise("select", seed), patients, together=3
    )


def batch(events: Sequence[Event], position: str = "") -> Batch:
    return Batch(tuple(Record(e.as_json().encode(), f"line {i}") for i, e in enumerate(events)), position)


def everything(store: Store) -> dict[str, list[Any]]:
    return {
        "events": [(seq, event.as_json()) for seq, event in store.events()],
        "journal": list(store.journal()),
        "quarantine": list(store.quarantine()),
        "patients": list(store.patients()),
    }


def rows(service: Service) -> dict[str, list[bytes]]:
    """Return all that the beliefs have taken in, brought up to date."""
    service.ward.refresh(service.ward.patients)
    return {name: list(patient.rows) for name, patient in service.ward.patients.items()}


def bodies(store: Store, kind: str) -> list[dict[str, Any]]:
    return [dict(note.body) for _, note in store.journal(kind)]


@pytest.fixture
def store(tmp_path: Path, warfarin: Scenario) -> Iterator[Store]:
    with Store.open(tmp_path / "s.db", "warfarin", warfarin.version) as opened:
        yield opened


@pytest.fixture
def service(store: Store, warfarin: Scenario) -> Service:
    return Service(store, warfarin, at_work(warfarin), {"inr": 1.2})


@pytest.fixture(scope="module")
def stream(warfarin: Scenario) -> list[Event]:
    """Events of a clinic that gives everybody 5 mg."""
    return clinic(warfarin).under(5.0)


def one(known: Scenario, patient: str = f"{SITE}-0") -> list[Event]:
    """Return what is told of one patient on 5 mg whose results are all in time."""
    return [event for event in clinic(known, "textbook", 3).under(5.0) if event.patient == patient]


def until(events: Sequence[Event], visit: int) -> list[Event]:
    """Return the events of one patient up to a visit that asks, by number."""
    asked = [i for i, event in enumerate(events) if event.kind == "visit"]
    return list(events[: asked[visit] + 1])


# ------------------------------------------------------------------------------------- one answer a visit


def test_every_visit_is_answered_once_with_a_dose_of_the_grid(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    told: list[Event] = []
    answers: list[Answer] = []

    def tell(events: Sequence[Event]) -> Mapping[str, float]:
        told.extend(events)
        taken = service.take(batch(events), "clinic")
        assert taken.stored == len(events) and taken.duplicates == taken.refused == 0
        answers.extend(taken.answers)
        return {answer.patient: answer.dose for answer in taken.answers}

    clinic(warfarin, patients=9).run(tell)
    visits = {event.id: event for event in told if event.kind == "visit"}
    assert sorted(answer.event for answer in answers) == sorted(visits) and len(visits) > 60
    noted = [(note.patient, note.time, note.body["event"]) for _, note in store.journal(RECOMMENDATION)]
    assert noted == [(visits[a.event].patient, visits[a.event].time, a.event) for a in answers]
    assert bodies(store, UNANSWERED) == bodies(store, OVERRIDE) == []
    grid = warfarin.doses.doses
    for answer in answers:
        options = dict(answer.options)
        assert sum(options.values()) == pytest.approx(1.0, abs=1e-12)
        assert answer.propensity == options[answer.dose] and set(options) <= set(grid.tolist())
        places = np.searchsorted(grid, sorted(options))
        assert len(places) <= 3 and np.all(np.diff(places) == 1)
    assert any(len(answer.options) == 3 for answer in answers)
    revised = [body["revises"] for body in bodies(store, RECOMMENDATION)]
    assert revised == [None] * len(answers)


def test_an_answer_is_written_down_as_it_was_given(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    (answer,) = service.take(batch(until(one(warfarin), 1)), "x").answers
    (note,) = [note for _, note in store.journal(RECOMMENDATION)]
    assert note.body["dose"] == answer.dose and note.body["options"] == [list(o) for o in answer.options]
    assert (note.body["unit"], note.body["ahead"], note.body["dose_unit"]) == (3, 2, "mg/day")
    assert note.body["version"] == "v1" and note.body["regimen"] == MONITORING == answer.regimen
    patient = service.ward.patients[f"{SITE}-0"]
    seen = np.array(note.body["observation"], dtype=np.float32)
    assert seen.tobytes() == patient.rows[-1] and note.patient == f"{SITE}-0"


def test_who_asks_and_cannot_be_answered_is_told_why_and_once(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = until(one(warfarin), 0)
    age = next(event for event in events if event.code == "age_y")
    taken = service.take(batch([event for event in events if event is not age]), "x")
    why = "not known: age_y; send events 'covariate'"
    assert taken.answers == () and [(note.kind, note.body["reason"]) for note in taken.notes] == [
        (UNANSWERED, why)
    ]
    other = age.model_copy(update={"id": "height again", "code": "height_cm", "value": 171.0, "unit": "cm"})
    assert service.take(batch([other]), "x").notes == ()  # it was said
    taken = service.take(batch([age]), "x")
    assert [answer.event for answer in taken.answers] == [events[-1].id]
    assert [body["reason"] for body in bodies(store, UNANSWERED)] == [why]


def test_who_must_not_be_given_the_drug_is_told_so_and_the_others_are_dosed(tmp_path: Path) -> None:
    known, null = scenario("fluorouracil"), "c.1905+1G>A (*2A)"
    events = [
        event.model_copy(update={"value": f"{null}/{null}"})
        if event.kind == "genotype" and event.patient == f"{SITE}-1"
        else event
        for event in clinic(known, "textbook", 3).under(2000.0)
    ]
    with Store.open(tmp_path / "f.db", known.name, known.version) as store:
        service = Service(store, known, at_work(known))
        asked = {event.patient: i for i, event in reversed(list(enumerate(events))) if event.kind == "visit"}
        taken = service.take(batch(events[: max(asked.values()) + 1]), "x")
        assert {answer.patient for answer in taken.answers} == {f"{SITE}-0", f"{SITE}-2"}
        (note,) = [note for note in taken.notes if note.kind == UNANSWERED]
        assert note.patient == f"{SITE}-1" and "it must not be given (CPIC: avoid)" in note.body["reason"]


def test_duplicates_and_batches_that_come_again_give_no_second_answer(
    store: Store, service: Service, stream: list[Event]
) -> None:
    parts = [stream[i : i + 7] for i in range(0, len(stream), 7)]
    first = [service.take(batch(part, str(i)), "file") for i, part in enumerate(parts)]
    assert sum(len(taken.answers) for taken in first) > 10
    before = everything(store)
    again = [service.take(batch([*part, *part], str(i)), "file") for i, part in enumerate(parts)]
    assert all(taken.answers == taken.notes == () and taken.stored == 0 for taken in again)
    assert [taken.duplicates for taken in again] == [2 * len(part) for part in parts]
    assert everything(store) == before


# ------------------------------------------------------------------------------------------ propensities


def waiting(
    made: Dosing,
    observed: Callable[..., np.ndarray],
    inr: float | None = None,
    ahead: float = 2.0,
) -> Asked:
    """Return a patient at the first visit, or at the second after three days of 5 mg with an INR, so many
    days before the next one."""
    belief = made.filter.step(None, observed(day=0.0, next_interval=3.0))
    observation = observed(day=0.0, next_interval=3.0)
    last, visit = np.nan, 0
    if inr is not None:
        observation = observed(
            day=3.0, interval=3.0, next_interval=ahead, last_dose=5.0, inr=inr, inr_age=0.0, inr_new=1.0
        )
        belief, last, visit = made.filter.step(belief, observation), 5.0, 1
    return Asked("P", "visit of P", belief, observation[0], visit, last, 0, "")


def test_doses_are_served_as_often_as_their_probabilities_say(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = at_work(warfarin)
    template = waiting(made, observed, 1.8)
    answers = made.answer([replace(template, patient=f"P{i}") for i in range(3000)])
    options = answers[0].options
    assert all(answer.options == options for answer in answers) and len(options) == 3
    assert [chance for _, chance in options] == pytest.approx([0.1, 0.8, 0.1])
    counts = Counter(answer.dose for answer in answers)
    expected = [3000 * chance for _, chance in options]
    assert chisquare([counts[dose] for dose, _ in options], expected).pvalue > 1e-3
    later = made.answer([replace(template, patient=f"P{i}", visit=2) for i in range(3000)])
    same = np.mean([a.dose == b.dose for a, b in zip(answers, later, strict=True)])
    assert 0.6 < same < 0.72  # 0.66 where the draws of two visits have nothing to do with each other


def test_draws_are_the_patient_s_and_the_seed_s_and_not_the_version_s(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = at_work(warfarin)
    template = waiting(made, observed, 1.8)
    asked = [replace(template, patient=f"P{i}") for i in range(200)]
    served = [answer.dose for answer in made.answer(asked)]
    other = Dosing(warfarin, made.limits, "v2", particles=16)
    assert [answer.dose for answer in other.answer(asked)] == served
    assert {answer.version for answer in other.answer(asked)} == {"v2"}
    alone = [made.answer([item])[0].dose for item in asked[:20]]
    assert alone == served[:20] and [a.dose for a in made.answer(asked[::-1])][::-1] == served
    seeded = Dosing(warfarin, made.limits, "v1", seed=1, particles=16)
    assert [answer.dose for answer in seeded.answer(asked)] != served
    numbers = {number_of(f"P{i}") for i in range(1000)}
    assert len(numbers) == 1000 and 0 <= min(numbers) and max(numbers) < 2**63


def test_what_is_expected_of_a_dose_is_the_weighted_mean_over_the_particles(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = at_work(warfarin)
    for inr, before, ahead in ((None, 0, 3), (3.6, 3, 2)):
        asked = waiting(made, observed, inr)
        (answer,) = made.answer([asked])
        theta, weight = asked.belief.theta[0], asked.belief.weight[0]
        given = [(24.0 * day, 5.0) for day in range(before)]
        given += [(24.0 * (before + day), answer.dose) for day in range(ahead)]
        times = 24.0 * (before + 1 + np.arange(ahead))
        inrs = np.asarray(simulate(warfarin.model, theta, given, times, ["INR"])).reshape(len(theta), ahead)
        on_target = ((inrs >= 2) & (inrs <= 3)).mean(axis=1)
        assert answer.benefit == pytest.approx(float(weight @ on_target), abs=1e-9)
        assert answer.harm == pytest.approx(float(weight @ (inrs > 4).any(axis=1)), abs=1e-9)
        assert (answer.unit, answer.ahead) == (before, ahead)
    assert answer.benefit > 0 or answer.harm > 0


# ------------------------------------------------------------------------------------------------ shield


class Dreamt:
    """A policy that asks for whatever a test wants, or raises it."""

    def __init__(self, wanted: Any) -> None:
        self.wanted = wanted

    def standing_on(self, kept: Any) -> Dreamt:
        return self

    def decide(self, features: np.ndarray, anchor: np.ndarray) -> np.ndarray:
        if isinstance(self.wanted, Exception):
            raise self.wanted
        return np.broadcast_to(np.asarray(self.wanted, dtype=np.float64), anchor.shape).copy()


def wanting(known: Scenario, wanted: Any, **changed: Any) -> Dosing:
    return at_work(known, Dreamt(wanted), **changed)  # type: ignore[arg-type]


def test_a_policy_that_nothing_speaks_against_is_served(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = wanting(warfarin, 6.2)
    (answer,) = made.answer([waiting(made, observed)])
    assert (answer.regimen, answer.fallback, answer.shield, answer.wanted) == ("policy", (), (), 6.2)
    assert [dose for dose, _ in answer.options] == [5.5, 6.0, 6.5]
    anchor = made.features(waiting(made, observed).belief, observed(day=0.0, next_interval=3.0))
    assert answer.monitoring == anchor[1][0] != 6.2


def test_no_dose_is_above_the_absolute_cap(warfarin: Scenario, observed: Callable[..., np.ndarray]) -> None:
    made = wanting(warfarin, 9.4, most=7.2)
    answers = made.answer([replace(waiting(made, observed), patient=f"P{i}") for i in range(50)])
    assert {answer.dose for answer in answers} == {6.5, 7.0}
    assert answers[0].options == ((6.5, pytest.approx(0.1)), (7.0, pytest.approx(0.9)))
    assert answers[0].shield == ("cap: 9.4 mg/day was wanted, 7.2 is the most",)
    below = wanting(warfarin, 6.6, most=7.2)
    (answer,) = below.answer([waiting(below, observed)])
    assert [dose for dose, _ in answer.options] == [6.0, 6.5, 7.0] and answer.shield == ()


@pytest.mark.parametrize(("rise", "highest"), [(1.5, 7.5), (1.3, 6.5), (1.29, 6.0), (1.0, 5.0)])
def test_no_dose_rises_by_more_than_the_factor_and_no_step_on_the_grid_either(
    warfarin: Scenario, observed: Callable[..., np.ndarray], rise: float, highest: float
) -> None:
    made = wanting(warfarin, 12.0, rise=rise)
    (answer,) = made.answer([waiting(made, observed, 1.2)])
    assert [dose for dose, _ in answer.options] == [highest - 0.5, highest]
    assert answer.shield == (f"rise: 12 mg/day was wanted, {rise:g} × the last 5 allowed",)
    first = made.answer([waiting(made, observed)])[0]  # before which nothing was given
    assert [dose for dose, _ in first.options] == [11.5, 12.0, 12.5] and first.shield == ()
    after_none = made.answer([replace(waiting(made, observed, 1.2), last=0.0)])[0]
    assert max(dose for dose, _ in after_none.options) == 12.5


def test_the_ceiling_is_the_highest_dose_of_the_grid_under_both_caps(warfarin: Scenario) -> None:
    last = np.array([np.nan, 0.0, 5.0, 2.0, 14.0, 0.1])
    found = ceiling(warfarin, limits(warfarin, most=12.3, rise=1.1), last)
    assert found.tolist() == [12.0, 12.0, 5.5, 2.0, 12.0, 0.0]
    rise, last = 1.16, 12.5  # whose product is 14.5 but for rounding, and below it
    assert rise * last < 14.5
    assert ceiling(warfarin, limits(warfarin, rise=rise), np.array([last])).tolist() == [14.5]


def test_a_dose_with_too_probable_harm_is_lowered_to_the_highest_that_is_allowed(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = wanting(warfarin, 12.0)
    asked = waiting(made, observed, 3.0)
    doses = np.array([[12.0, 9.0, 6.0, 3.0, 0.0]])
    harm = foresee(made.filter, asked.belief, doses).harm[0]
    assert np.all(np.diff(harm) <= 0) and harm[0] > harm[2] > harm[4] >= 0
    for place in (1, 2):
        limit = float(harm[place])
        strict = wanting(warfarin, 12.0, harm=limit)
        (answer,) = strict.answer([asked])
        served = max(dose for dose, _ in answer.options)
        first = int(np.argmax(harm <= limit))
        assert served >= doses[0, first] and all(
            foresee(strict.filter, asked.belief, np.array([[dose]])).harm[0, 0] <= limit
            for dose, _ in answer.options
        )
        assert answer.shield == (
            f"P(harm) {harm[0]:.2f} at 12 mg/day, {limit:.2f} allowed: {doses[0, first]:g} instead, "
            f"{harm[first]:.2f}",
        )
        assert answer.harm <= limit and answer.wanted == 12.0


def test_where_every_dose_is_too_dangerous_the_least_harmful_is_served(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = wanting(warfarin, 8.0, harm=0.0)
    asked = waiting(made, observed, 9.0)
    assert foresee(made.filter, asked.belief, np.zeros((1, 1))).harm[0, 0] > 0
    (answer,) = made.answer([asked])
    assert answer.dose == 0.0 and answer.options == ((0.0, 1.0),)
    assert answer.shield[0].startswith("P(harm) ") and "0.00 allowed: 0 instead" in answer.shield[0]


def test_a_step_above_the_dose_passes_the_harm_limit_too(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    grid = warfarin.doses.doses
    asked = waiting(at_work(warfarin), observed, 2.0, ahead=14.0)
    harm = foresee(at_work(warfarin).filter, asked.belief, grid[None]).harm[0]
    place = int(np.flatnonzero(np.diff(harm) > 0)[0])  # the next dose of the grid is more dangerous
    below, dose, above = grid[place - 1 : place + 2].tolist()
    free = wanting(warfarin, dose)
    (answer,) = free.answer([asked])
    assert dict(answer.options) == pytest.approx({below: 0.1, dose: 0.8, above: 0.1})
    between = wanting(warfarin, dose, harm=float(harm[place : place + 2].mean()))
    (answer,) = between.answer([asked])
    assert dict(answer.options) == pytest.approx({below: 0.1, dose: 0.9}) and answer.shield == ()


@pytest.mark.parametrize(
    ("wanted", "changed", "said"),
    [
        (9.0, {"alarm": "clearance of site north"}, "drift: clearance of site north"),
        (9.0, {"silent": 4}, "missing data: no new result in 4 visits"),
        (ZeroDivisionError("no way"), {}, "policy error: ZeroDivisionError: no way"),
        (np.nan, {}, "policy error: dose nan"),
        (-1.0, {}, "policy error: dose -1.0"),
        (np.inf, {}, "policy error: dose inf"),
    ],
)
def test_monitoring_doses_where_the_policy_must_not_and_says_why(
    warfarin: Scenario,
    observed: Callable[..., np.ndarray],
    wanted: Any,
    changed: dict[str, Any],
    said: str,
) -> None:
    made = wanting(warfarin, wanted, silence=3)
    plain = at_work(warfarin)
    asked = replace(waiting(made, observed, 1.8), **changed)
    (answer,), (monitored,) = made.answer([asked]), plain.answer([asked])
    assert answer.fallback == (said,) and answer.regimen == MONITORING
    assert answer.wanted == answer.monitoring == monitored.wanted
    assert answer.dose == monitored.dose and monitored.fallback == () and monitored.regimen == MONITORING


def test_three_silent_visits_are_borne(warfarin: Scenario, observed: Callable[..., np.ndarray]) -> None:
    made = wanting(warfarin, 9.0, silence=3)
    (answer,) = made.answer([replace(waiting(made, observed, 1.8), silent=3)])
    assert answer.fallback == () and answer.regimen == "policy"


@pytest.mark.parametrize("side", ["low", "high"])
def test_a_patient_unlike_those_of_training_is_dosed_by_monitoring(
    warfarin: Scenario, observed: Callable[..., np.ndarray], side: str
) -> None:
    made = wanting(warfarin, 9.0)
    asked = waiting(made, observed, 1.8)
    features = made.features(asked.belief, asked.observation[None])[0][0].astype(np.float64)
    place, name = 4, made.limits.features[4]
    low, high = features - 1.0, features + 1.0
    inside = wanting(warfarin, 9.0, low=low, high=high)
    assert inside.answer([asked])[0].fallback == ()
    if side == "low":
        low[place] = features[place] + 0.25
    else:
        high[place] = features[place] - 0.25
    outside = wanting(warfarin, 9.0, low=low, high=high)
    (answer,) = outside.answer([asked])
    assert answer.regimen == MONITORING and answer.fallback == (
        f"outside training: {name} is {features[place]:.3g}, {low[place]:.3g} to {high[place]:.3g} was seen",
    )


def test_a_policy_that_fails_for_one_patient_doses_the_others(
    warfarin: Scenario, observed: Callable[..., np.ndarray]
) -> None:
    made = wanting(warfarin, np.array([6.0, np.nan, 7.0]))
    asked = [replace(waiting(made, observed), patient=name) for name in "ABC"]
    answers = made.answer(asked)
    assert [answer.regimen for answer in answers] == ["policy", MONITORING, "policy"]
    assert [answer.wanted for answer in answers][::2] == [6.0, 7.0]
    assert made.answer([]) == []


def test_all_reasons_are_given(warfarin: Scenario, observed: Callable[..., np.ndarray]) -> None:
    made = wanting(warfarin, ValueError("x"), silence=0, most=3.0)
    asked = replace(waiting(made, observed, 1.8), silent=1, alarm="a")
    (answer,) = made.answer([asked])
    assert answer.fallback == (
        "drift: a", "missing data: no new result in 1 visits", "policy error: ValueError: x"
    )  # fmt: skip
    assert answer.shield[0].startswith("cap: ")


def test_limits_come_back_from_their_record_and_broken_ones_are_refused(warfarin: Scenario) -> None:
    whole = limits(warfarin, most=7.0, rise=2.0, harm=0.1, silence=2)
    record = json.loads(json.dumps(whole.record()))
    back = Limits.parse(record)
    assert (back.most, back.rise, back.harm, back.silence, back.features) == (
        7.0, 2.0, 0.1, 2, whole.features
    )  # fmt: skip
    assert np.array_equal(back.low, whole.low) and np.array_equal(back.high, whole.high)
    with pytest.raises(ValueError, match="limits of schema 9; this version reads 1"):
        Limits.parse({**record, "schema": 9})
    with pytest.raises(ValueError, match=r"limits are broken \('rise' is missing\); make the version again"):
        Limits.parse({key: value for key, value in record.items() if key != "rise"})
    with pytest.raises(ValueError, match="limits are broken"):
        Limits.parse({**record, "low": [1.0]})


def test_a_learned_policy_doses_by_the_belief_of_the_service(
    warfarin: Scenario, policy: Callable[..., LearnedPolicy], observed: Callable[..., np.ndarray]
) -> None:
    learned = policy(particles=32)
    made = at_work(warfarin, learned)
    asked = waiting(made, observed, 1.8)
    (answer,) = made.answer([asked])
    standing = learned.standing_on(made.filter)
    wanted, _ = standing.predict(observed(day=0.0, next_interval=3.0))
    wanted = standing.decide(*made.features(asked.belief, asked.observation[None]))
    assert answer.wanted == wanted[0] != answer.monitoring and answer.regimen == "policy"


# ---------------------------------------------------------------------------------------- through the service


def test_silence_and_alarms_reach_the_dosing(warfarin: Scenario, store: Store) -> None:
    made = wanting(warfarin, 6.0, silence=1)
    service = Service(store, warfarin, made)
    events = [event for event in one(warfarin) if event.kind != "measurement" or event.id.count("01-05")]
    reasons: list[tuple[str, ...]] = []
    for event in events:
        reasons += [answer.fallback for answer in service.take(batch([event]), "x").answers]
    assert reasons[:4] == [
        (), (), ("missing data: no new result in 2 visits",), ("missing data: no new result in 3 visits",)
    ]  # fmt: skip
    service.alarms[SITE] = "sites differ"
    again = [event.model_copy(update={"id": f"b {event.id}", "patient": "B"}) for event in events]
    elsewhere = [
        event.model_copy(update={"id": f"c {event.id}", "patient": "C", "site": "other"}) for event in events
    ]
    (answer,) = service.take(batch(until(again, 0)), "x").answers
    assert answer.fallback == ("drift: sites differ",)
    (answer,) = service.take(batch(until(elsewhere, 0)), "x").answers
    assert answer.fallback == ()


def test_another_dose_than_the_recommended_one_is_noted(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = one(warfarin)
    head, dose = until(events, 0), events[len(until(events, 0))]
    (answer,) = service.take(batch(head), "x").answers
    given = dose.model_copy(update={"value": answer.dose + 1.0})
    taken = service.take(batch([given]), "x")
    body = {"event": answer.event, "recommended": answer.dose, "given": answer.dose + 1.0}
    assert [(note.kind, dict(note.body)) for note in taken.notes] == [(OVERRIDE, body)]
    assert bodies(store, OVERRIDE) == [body]
    (second,) = service.take(batch(until(events, 1)[len(head) + 1 :]), "x").answers
    same = dose.model_copy(
        update={"id": "second", "time": dose.time + timedelta(days=3), "value": second.dose}
    )
    assert service.take(batch([same]), "x").notes == ()


def test_a_result_that_comes_after_the_answer_revises_it_until_a_dose_is_given(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = one(warfarin)
    head = until(events, 2)
    late = next(event for event in head[::-1] if event.kind == "measurement")
    (answer,) = service.take(batch([event for event in head if event is not late]), "x").answers
    (revised,) = service.take(batch([late]), "x").answers
    assert revised.event == answer.event and revised.wanted != answer.wanted
    notes = bodies(store, RECOMMENDATION)
    assert [note["revises"] for note in notes] == [None, answer.dose]
    assert notes[0]["basis"] != notes[1]["basis"]
    # what changes nothing that was seen revises nothing
    told = late.model_copy(
        update={"id": "a", "kind": "adverse_event", "code": "x", "value": 2.0, "unit": None}
    )
    assert service.take(batch([told]), "x").answers == ()
    dose = next(event for event in events[len(head) :] if event.kind == "dose")
    service.take(batch([dose]), "x")
    again = late.model_copy(update={"id": "again", "value": 2.9, "time": late.time - timedelta(days=2)})
    assert service.take(batch([again]), "x").answers == ()
    assert len(bodies(store, RECOMMENDATION)) == 2


def test_who_withdraws_consent_is_not_answered_any_more_and_the_earlier_answers_stay(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = one(warfarin)
    (answer,) = service.take(batch(until(events, 0)), "x").answers
    gone = events[0].model_copy(
        update={
            "id": "gone", "kind": "consent", "code": None, "value": "withdrawn",
            "time": events[0].time + timedelta(days=4),
        }
    )  # fmt: skip
    known, waiting_too = len(until(events, 0)), until(events, 1)
    taken = service.take(batch([*waiting_too[known:], gone]), "x")
    # the visit before the withdrawal waits for a dose, and gets none
    assert taken.answers == () and taken.stored == len(waiting_too) - known + 1
    rest = [event for event in events[len(waiting_too) :] if event.time > gone.time]
    later = service.take(batch(rest), "x")
    assert later.answers == () and later.stored == 0 and later.refused == len(rest) > 20
    told = waiting_too[-2].model_copy(update={"id": "inr again"})  # of before the withdrawal
    assert told.kind == "measurement" and service.take(batch([told]), "x").answers == ()
    assert [body["event"] for body in bodies(store, RECOMMENDATION)] == [answer.event]


def test_a_withdrawal_takes_out_what_came_after_it_from_memory_as_well(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = one(warfarin)
    service.take(batch(until(events, 3)), "x")
    assert len(service.ward.patients[f"{SITE}-0"].rows) == 4
    gone = events[0].model_copy(
        update={
            "id": "gone", "kind": "consent", "code": None, "value": "withdrawn",
            "time": events[0].time + timedelta(days=4),
        }
    )  # fmt: skip
    service.take(batch([gone]), "x")
    assert len(service.ward.patients[f"{SITE}-0"].rows) == 2
    assert rows(Service(store, warfarin, at_work(warfarin))) == rows(service)


def test_no_trace_of_an_erased_patient_is_left(
    tmp_path: Path, warfarin: Scenario, store: Store, service: Service, stream: list[Event]
) -> None:
    secret = "Zoe-40417"
    mine = [
        event.model_copy(update={"patient": secret, "id": event.id.replace(f"{SITE}-2", secret)})
        if event.patient == f"{SITE}-2"
        else event
        for event in stream
    ]
    for first in range(0, len(mine), 40):
        service.take(batch(mine[first : first + 40]), "x")
    others = {name: seen for name, seen in rows(service).items() if name != secret}
    assert secret in service.ward.patients and secret in str(everything(store))
    hashed = service.erase(secret)
    assert len(hashed) == 64 and secret not in service.ward.patients
    raw = b"".join(file.read_bytes() for file in tmp_path.glob("s.db*"))
    assert secret.encode() not in raw and secret not in str(vars(service)) and len(raw) > 1000
    assert rows(service) == others
    with pytest.raises(ValueError, match="nothing was erased"):
        service.erase(secret)
    again = [event for event in mine if event.patient == secret]
    assert service.take(batch(until(again, 0)), "x").answers  # a new patient


def test_who_is_erased_from_the_tables_only_is_forgotten_in_memory(
    warfarin: Scenario, store: Store, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.take(batch(until(one(warfarin), 1)), "x")
    scrub = Store._scrub

    def busy(self: Store) -> None:
        raise OSError("a reader is at work in it")

    monkeypatch.setattr(Store, "_scrub", busy)
    with pytest.raises(UnscrubbedError):
        service.erase(f"{SITE}-0")
    monkeypatch.setattr(Store, "_scrub", scrub)
    assert service.ward.patients == {} and service._served == {}
    taken = service.take(batch(until(one(warfarin), 1)), "x")
    assert [body["revises"] for body in bodies(store, RECOMMENDATION)] == [None] and len(taken.answers) == 1


# ------------------------------------------------------------------------------------- results set aside


def _tenfold(known: Scenario) -> tuple[list[Event], Event]:
    """Return a patient's events up to a visit, and the last result as if the decimal point were elsewhere."""
    events = until(one(known), 6)
    result = next(event for event in events[::-1] if event.kind == "measurement")
    wrong = result.model_copy(update={"value": 10.0 * float(result.value or 0.0)})
    return [wrong if event is result else event for event in events], wrong


def test_a_result_that_is_set_aside_is_noted_once_even_after_a_restart(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events, wrong = _tenfold(warfarin)
    taken = service.take(batch(events), "x")
    assert [note.kind for note in taken.notes] == [ASIDE, RECOMMENDATION]
    assert taken.notes[0].body["event"] == wrong.id and "another unit" in taken.notes[0].body["reason"]
    told = wrong.model_copy(
        update={"id": "a", "kind": "adverse_event", "code": "x", "value": 2.0, "unit": None}
    )
    assert service.take(batch([told]), "x").notes == ()
    restarted = Service(store, warfarin, at_work(warfarin), {"inr": 1.2})
    other = told.model_copy(update={"id": "b"})
    assert restarted.take(batch([other]), "x").notes == ()
    assert len(bodies(store, ASIDE)) == 1


def test_a_result_that_is_believed_again_is_noted(warfarin: Scenario, store: Store, service: Service) -> None:
    events, wrong = _tenfold(warfarin)
    service.take(batch(events), "x")
    right = wrong.model_copy(update={"id": "right", "value": float(wrong.value or 0.0) / 10.0})
    # the two are of one sample, and of these the first by id is taken where both may be
    assert right.id > wrong.id or [note.kind for note in service.take(batch([right]), "x").notes] == [
        RELEASED, RECOMMENDATION
    ]  # fmt: skip


def test_what_another_version_believes_is_noted(warfarin: Scenario, store: Store, service: Service) -> None:
    """A version in whose world results scatter a hundred times as far finds none of them surprising."""
    events, wrong = _tenfold(warfarin)
    service.take(batch(events), "x")
    service.switch(service.dosing, {"inr": 100.0})
    reaction = wrong.model_copy(
        update={"id": "a", "kind": "adverse_event", "code": "x", "value": 2.0, "unit": None}
    )
    taken = service.take(batch([reaction]), "x")
    assert [note.kind for note in taken.notes] == [RELEASED, RECOMMENDATION]
    assert taken.notes[0].body == {"event": wrong.id}
    assert service.take(batch([reaction.model_copy(update={"id": "b"})]), "x").notes == ()


# -------------------------------------------------------------------------------------- faults and restarts


def test_a_restart_goes_on_where_it_was(tmp_path: Path, warfarin: Scenario, stream: list[Event]) -> None:
    def opened(name: str) -> Store:
        return Store.open(tmp_path / name, "warfarin", warfarin.version)

    parts = [stream[i : i + 17] for i in range(0, len(stream), 17)]
    with opened("whole.db") as whole:
        steady = Service(whole, warfarin, at_work(warfarin))
        for part in parts:
            steady.take(batch(part), "x")
        for number, part in enumerate(parts):
            with opened("torn.db") as torn:
                service = Service(torn, warfarin, at_work(warfarin))
                service.take(batch(part), "x")
                if number == len(parts) - 1:
                    assert rows(service) == rows(steady) and service._served == steady._served
                    assert everything(torn) == everything(whole)
                    assert len(rows(service)) == 6 and len(service._served) == 6


def test_an_error_in_the_middle_leaves_memory_as_the_disk_is(
    warfarin: Scenario, store: Store, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = one(warfarin)
    head = until(events, 1)
    service.take(batch(head), "x")
    before, known, served = everything(store), rows(service), dict(service._served)
    gone = events[0].model_copy(
        update={
            "id": "gone", "kind": "consent", "code": None, "value": "withdrawn",
            "time": events[0].time + timedelta(days=4),
        }
    )  # fmt: skip
    new = until(events, 2)[len(head) :]
    other = [event.model_copy(update={"id": f"b {event.id}", "patient": "B"}) for event in head]

    def broken(notes: Sequence[Note]) -> None:
        raise RuntimeError("in the middle")

    monkeypatch.setattr(store, "note", broken)
    for tried in ([*new, *other], [gone]):
        with pytest.raises(RuntimeError, match="in the middle"):
            service.take(batch(tried, "9"), "x")
        assert everything(store) == before and store.position("x") == ""
        assert {name: seen for name, seen in rows(service).items() if seen} == known
        assert service._served == served
    monkeypatch.undo()
    taken = service.take(batch([*new, *other]), "x")
    assert len(taken.answers) == 2 and taken.stored == len(new) + len(other)


def test_a_full_disk_stores_and_answers_nothing_until_there_is_space(
    warfarin: Scenario, store: Store, service: Service, stream: list[Event]
) -> None:
    service.take(batch(stream[:60], "60"), "x")
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    before, known, served = everything(store), rows(service), dict(service._served)
    with pytest.raises(StoreFullError, match="no space left, nothing of this was stored"):
        service.take(batch(stream[60:], "all"), "x")
    assert everything(store) == before and store.position("x") == "60"
    assert {name: seen for name, seen in rows(service).items() if seen} == known
    assert service._served == served
    store._db.execute("PRAGMA max_page_count = 100000")
    taken = service.take(batch(stream[60:], "all"), "x")
    assert taken.stored == len(stream) - 60 and store.position("x") == "all"
    assert rows(service) == rows(Service(store, warfarin, at_work(warfarin)))


def test_another_version_doses_at_once_by_its_own_population(
    warfarin: Scenario, store: Store, service: Service
) -> None:
    events = one(warfarin)
    head = until(events, 3)
    (before,) = service.take(batch(head), "x").answers
    refitted = replace(warfarin, base=(1.3, 0.08))
    new = replace(at_work(refitted), version="v2")
    service.switch(new, {"inr": 3.0})
    asked = head[-1].model_copy(update={"id": "asked again", "time": head[-1].time + timedelta(minutes=5)})
    (after,) = service.take(batch([asked]), "x").answers
    assert (before.version, after.version) == ("v1", "v2") and after.wanted != before.wanted
    assert service.ward.spread == {"inr": 3.0} and service.dosing is new
    always = Service(store, warfarin, new, {"inr": 3.0})
    assert rows(always) == rows(service)
    mine, theirs = (it.ward.patients[f"{SITE}-0"].belief for it in (service, always))
    assert mine is not None and theirs is not None
    assert np.array_equal(mine.x, theirs.x) and np.array_equal(mine.log_likelihood, theirs.log_likelihood)


# -------------------------------------------------------------------------------------------------- clocks

CLOCKS = {"now", "utcnow", "today", "time", "time_ns", "monotonic", "perf_counter", "localtime", "gmtime"}


def test_nobody_looks_at_a_clock(
    warfarin: Scenario, service: Service, stream: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (chart, ward, dosing, shield, serve):
        assert module.__file__ is not None
        tree = ast.parse(Path(module.__file__).read_text())
        imported = {
            alias.name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert "time" not in imported and "datetime" not in imported, module.__name__
        called = {
            ast.unparse(node.func)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in CLOCKS
        }
        assert called <= {"self.time"}, module.__name__  # the model time of an event

    def stopped() -> float:
        raise AssertionError("somebody looked at the clock")

    for name in ("time", "time_ns", "monotonic", "perf_counter"):
        monkeypatch.setattr(time, name, stopped)
    taken = service.take(batch(stream), "x")
    monkeypatch.undo()
    assert taken.stored == len(stream) and isinstance(taken, Taken)


# ------------------------------------------------------------------------------------------------- kill -9

KEEPER = """
import os, sys
from dosewright.agents.refinement.serve import Service
from dosewright.agents.refinement.sources import source
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.dosing import Dosing
from dosewright.agents.refinement.shield import Limits
from dosewright.envs import scenario
import numpy as np

def say(text):
    os.write(1, text.encode() + b"\\n")

def live(path, file):
    known = scenario("warfarin")
    none = Limits(15.0, 4.6, 0.2, 3, (), np.zeros(0), np.zeros(0))
    lines = source(file)
    with Store.open(path, "warfarin", known.version) as store:
        service = Service(store, known, Dosing(known, none, "v1", particles=16), {"inr": 1.2})
        for batch in lines.batches(7, store.position(lines.name)):
            taken = service.take(batch, lines.name)
            lines.acknowledge(batch)
            say(f"acknowledged {batch.position} {taken.stored} {len(taken.answers)}")

for line in sys.stdin:
    child = os.fork()  # no thread runs here, and importing takes longer than a life
    if not child:
        try:
            live(*line.split())
            os._exit(0)
        except BaseException as error:
            say(f"broken {error!r}")
            os._exit(1)
    say(f"born {child}")
    say(f"ended {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}")
"""


class Keeper:
    """Runs services one after the other, each a process of its own that can be killed."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", KEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Keeper:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def life(
        self, path: Path, file: Path, batches: int | None, seconds: float = 0.0
    ) -> tuple[list[str], int]:
        """Serve until so many batches are acknowledged and a moment more, None: until the end; return the
        positions that were acknowledged, and how the process ended."""
        child, stdin, stdout = 0, self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        print(path, file, file=stdin, flush=True)
        said: list[str] = []
        while True:
            word, *rest = stdout.readline().split()
            if word == "born":
                child = int(rest[0])
            elif word == "acknowledged":
                said.append(rest[0])
            elif word == "broken":
                pytest.fail(" ".join(rest))
            else:
                return said, int(rest[0])
            if batches is not None and child and len(said) >= batches:
                time.sleep(seconds)
                os.kill(child, signal.SIGKILL)
                batches = None


def _file(path: Path, patients: int, rng: np.random.Generator) -> int:
    """Write a stream with duplicates, broken records, late and tenfold results and withdrawals; return its
    lines."""
    events = clinic(scenario("warfarin"), patients=patients).under(5.0)
    lines: list[str] = []
    held: list[str] = []
    for event in events:
        chance, text = rng.random(), event.as_json()
        if event.kind == "measurement" and chance < 0.05:
            text = event.model_copy(update={"value": 10.0 * float(event.value or 0.0)}).as_json()
        if event.kind == "measurement" and 0.1 < chance < 0.2:
            held.append(text)
            continue
        lines.append(text)
        if chance > 0.95:
            lines.append(lines[int(rng.integers(len(lines)))])
        elif chance > 0.93:
            lines.append('{"id": "broken ' + str(len(lines)) + '", ')
        elif chance > 0.925:
            gone = {"kind": "consent", "code": None, "value": "withdrawn", "unit": None, "id": f"w{event.id}"}
            lines.append(event.model_copy(update=gone).as_json())
        if held and chance < 0.1:
            lines.append(held.pop(0))
    path.write_text("\n".join([*lines, *held]) + "\n")
    return len(lines) + len(held)


@pytest.mark.parametrize("kills", [4, pytest.param(200, marks=pytest.mark.slow)])
def test_kill_9_of_the_service_loses_and_doubles_nothing(
    tmp_path: Path, warfarin: Scenario, kills: int
) -> None:
    rng = np.random.default_rng(kills)
    file, torn, clean = tmp_path / "events.jsonl", tmp_path / "torn.db", tmp_path / "clean.db"
    batches = -(-_file(file, max(6, 2 * kills), rng) // 7)
    acknowledged: list[str] = []
    with Keeper() as keeper:
        for _ in range(kills):
            most = max(1, 2 * batches // (3 * kills))
            said, ended = keeper.life(
                torn, file, int(rng.integers(0, most + 1)), float(rng.uniform(0.0, 0.03))
            )
            assert ended == -9
            acknowledged += said
            with Store.open(torn, "warfarin", warfarin.version) as store:  # the lock went with the process
                if acknowledged:
                    name = source(str(file)).name
                    # what was acknowledged is stored; a batch more may be, of which nobody heard
                    reached = int((store.position(name) or "0:0").split(":")[0])
                    assert reached >= int(acknowledged[-1].split(":")[0])
        said, ended = keeper.life(torn, file, None)
        assert ended == 0 and len(acknowledged) >= kills
        acknowledged += said
        assert Counter(acknowledged).most_common(1)[0][1] == 1
        all_of_it, ended = keeper.life(clean, file, None)
        assert ended == 0 and len(all_of_it) == batches
    assert set(acknowledged) <= set(all_of_it) and acknowledged[-1] == all_of_it[-1]
    with (
        Store.open(torn, "warfarin", warfarin.version) as first,
        Store.open(clean, "warfarin", warfarin.version) as second,
    ):
        end = everything(first)
        assert end == everything(second)
        notes = [(note.kind, note.patient, str(note.body)) for _, note in first.journal()]
        assert Counter(notes).most_common(1)[0][1] == 1
        kinds = Counter(kind for kind, *_ in notes)
        assert kinds[RECOMMENDATION] > 3 * kills and kinds[ASIDE] >= 1 and len(end["quarantine"]) > kills
        ids = [json.loads(text)["id"] for _, text in end["events"]]
        assert len(set(ids)) == len(ids)
        one_service, other = (Service(it, warfarin, at_work(warfarin)) for it in (first, second))
        assert rows(one_service) == rows(other) and one_service._served == other._served
        for name, patient in one_service.ward.patients.items():
            twin = other.ward.patients[name].belief
            if patient.belief is not None and twin is not None:
                assert np.array_equal(patient.belief.x, twin.x)
                assert np.array_equal(patient.belief.log_likelihood, twin.log_likelihood)
