"""The ward: what is believed of streamed patients is, bit for bit, what the filter believes of them in the
simulator; it depends on the events and not on their order; what looks like another unit is not believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.refinement import usual
from dosewright.agents.refinement import ward as module
from dosewright.agents.refinement.events import Event, understood
from dosewright.agents.refinement.factors import most_visits
from dosewright.agents.refinement.simulated import BEGIN, SimulatedClinic
from dosewright.agents.refinement.ward import (
    ORDINARY,
    SURPRISING,
    Aside,
    Surprise,
    Ward,
    p_values,
    surprises,
    tenfold,
)
from dosewright.envs import Intake, Noise, Scenario, Treatment, names, scenario
from dosewright.envs.pharmacology.units import factor
from dosewright.evaluation.worlds import world


def kept(known: Scenario, particles: int = 32, visits: int | None = None) -> BeliefFilter:
    return BeliefFilter(known, particles, known.monitoring.fade, visits=visits or most_visits(known))


def clinic(known: Scenario, realism: str, patients: int, seed: int = 3, together: int = 5) -> SimulatedClinic:
    return SimulatedClinic(
        known, known.preset(realism), world("none", known), Noise("select", seed), patients, together=together
    )


def arrays(belief: Belief) -> dict[str, np.ndarray]:
    """Return all numbers of a belief; of its prior the components that have a probability: beside patients
    whose genotype is not known the others carry empty ones."""
    before, whole = (
        belief.prior,
        {f.name: getattr(belief, f.name) for f in fields(Belief) if f.name != "prior"},
    )
    likely = before.log_weight > -np.inf
    return whole | {"prior mean": before.mean[likely], "prior weight": before.log_weight[likely]}


def differing(one: Belief | None, other: Belief | None) -> list[str]:
    """Return which numbers of two beliefs differ by a bit."""
    assert one is not None and other is not None
    a, b = arrays(one), arrays(other)
    assert len(a) > 20
    return [name for name in a if a[name].tobytes() != b[name].tobytes()]


def assert_alike(one: Ward, other: Ward) -> None:
    """Assert that two wards know, saw and believe the same of the same patients."""
    assert set(one.patients) == set(other.patients)
    for name, patient in one.patients.items():
        there = other.patients[name]
        assert patient.rows == there.rows and patient.innovations == there.innovations, name
        assert patient.aside == there.aside and patient.unbelieved == there.unbelieved, name
        assert patient.chart.course == there.chart.course, name
        assert (patient.belief is None) == (there.belief is None), name
        if patient.belief is not None:
            assert differing(patient.belief, there.belief) == [], name


# ------------------------------------------------------------------------------- against the direct path


class _EnoughError(Exception):
    """Ends a course early."""


@pytest.mark.parametrize("drug", names())
def test_what_is_streamed_is_believed_as_the_filter_believes_it_in_the_simulator(drug: str) -> None:
    known = scenario(drug)
    # an hour of propofol is 240 visits, each of which tells the chart anew: the first minutes will do
    patients, most = (2, 25) if drug == "propofol" else (5, known.horizon + 1)
    site = clinic(known, "textbook", patients)
    drawn = known.population.draw(known.model, known.base, np.arange(patients), site.noise)
    same = Treatment(known, Intake.prepare(known, drawn, site.noise, site.realism))
    # without the doubts, which are no part of the filter
    rng, ward = np.random.default_rng(7), Ward(kept(known), {item.name: 100.0 for item in known.measurements})
    # that a treatment is left out is the scenario's own rule; a monitor's first result is shown again until
    # its delay is over, where a stream tells it once. The filter looks at neither.
    untold = [i for i, name in enumerate(known.observation.names) if name in ("omitted", "bis_new")]
    middle = len(known.doses.doses) // 3
    believed: list[Belief] = []

    def tell(events: Sequence[Event]) -> Mapping[str, float]:
        ward.take(events)
        asking = [event.patient for event in events if event.kind == "visit"]
        if asking:
            observation = same.observe()
            believed.append(ward.filter.step(believed[-1] if believed else None, observation))
            for row, name in enumerate(site_names):
                seen = np.frombuffer(ward.patients[name].rows[-1], np.float32).copy()
                seen[untold] = observation[row, untold]
                assert seen.tobytes() == observation[row].tobytes()
                assert differing(ward.patients[name].belief, believed[-1].select(np.array([row]))) == []
        if len(believed) == most:
            raise _EnoughError
        chosen = known.doses.doses[rng.integers(middle, 2 * middle, len(asking))]
        if asking:
            same.give(chosen)
        return dict(zip(asking, chosen.tolist(), strict=True))

    site_names = [f"{site.site}-{i}" for i in range(patients)]
    try:
        site.run(tell)
    except _EnoughError:
        assert drug == "propofol"
    else:
        assert len(believed) == len(known.calendar)
    assert ward.aside(ward.patients) == []
    assert sum(len(patient.innovations) for patient in ward.patients.values()) >= 3 * patients


# ------------------------------------------------------------------------------------ order of delivery


def _messy(drug: str, seed: int) -> list[Event]:
    """Return a clinic's events, late and missing results among them, and two in another unit."""
    known = scenario(drug)
    events = clinic(known, "clinic", 12, seed).under(float(known.doses.doses[len(known.doses.doses) // 3]))
    results = [i for i, event in enumerate(events) if event.kind == "measurement"]
    for i in (results[len(results) // 2], results[-4]):
        assert isinstance(events[i].value, float)
        events[i] = events[i].model_copy(update={"value": 12.0 * float(events[i].value or 0.0)})
    return events


@pytest.mark.parametrize("drug", ["warfarin", "tacrolimus", "vancomycin", "docetaxel"])
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_no_order_and_no_split_of_the_events_changes_what_is_believed(drug: str, seed: int) -> None:
    events, known = _messy(drug, seed), scenario(drug)
    clean = Ward(kept(known))
    for event in events[:200]:
        clean.take([event])
    for first in range(200, len(events), 10):
        clean.take(events[first : first + 10])
    rng, shuffled = np.random.default_rng(seed), Ward(clean.filter)
    order = [events[i] for i in rng.permutation(len(events))]
    cuts = [0, *sorted(rng.integers(0, len(events), 12).tolist()), len(events)]
    for begin, end in zip(cuts, cuts[1:], strict=False):
        shuffled.take(order[begin:end])
    assert_alike(clean, shuffled)
    at_once = Ward(clean.filter)
    at_once.take(events)
    assert_alike(clean, at_once)
    assert sum(len(patient.rows) for patient in clean.patients.values()) >= 3 * 12
    if drug == "warfarin":
        assert clean.aside(clean.patients)


def test_a_late_result_is_believed_as_if_it_had_been_there_in_time(warfarin: Scenario) -> None:
    events = clinic(warfarin, "textbook", 5).under(5.0)
    late = [
        event for event in events if event.kind == "measurement" and event.id.endswith("01-10T08:00:00+00:00")
    ]
    assert len(late) == 5
    prompt, behind = Ward(kept(warfarin)), Ward(kept(warfarin))
    prompt.take(events)
    behind.take([event for event in events if event not in late])
    assert all(differing(behind.patients[n].belief, prompt.patients[n].belief) for n in prompt.patients)
    behind.take(late)
    assert_alike(prompt, behind)


def test_beliefs_wait_until_they_are_asked_for(warfarin: Scenario) -> None:
    events = clinic(warfarin, "clinic", 10).under(5.0)
    eager, lazy = Ward(kept(warfarin)), Ward(kept(warfarin))
    eager.take(events)
    assert sorted(lazy.add(events)) == sorted(eager.patients)
    assert all(patient.belief is None and not patient.rows for patient in lazy.patients.values())
    some = list(eager.patients)[:3]
    lazy.refresh(some)
    assert [name for name, patient in lazy.patients.items() if patient.rows] == some
    lazy.refresh(lazy.patients)
    assert_alike(eager, lazy)


def test_how_many_are_stepped_together_changes_no_bit(
    warfarin: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = clinic(warfarin, "clinic", 10).under(5.0)
    together = Ward(kept(warfarin))
    together.take(events)
    monkeypatch.setattr(module, "TOGETHER", 3)
    apart = Ward(together.filter)
    apart.take(events)
    assert_alike(together, apart)


def _wild(known: Scenario, rng: np.random.Generator, patient: str) -> list[Event]:
    """Return whatever a source may send of a patient that is no nonsense event by event."""
    day, span = known.clock.length * factor(known.model.time_unit, "h"), min(known.horizon, 12) + 2
    found: list[Event] = []

    def say(units: float, kind: Any, code: str | None = None, value: Any = None, unit: Any = None) -> None:
        event = Event(
            schema=1, id=f"{patient}/{len(found)}", patient=patient, kind=kind, code=code, value=value,
            unit=unit, time=BEGIN + timedelta(hours=units * day),
        )  # fmt: skip
        read = understood(event, known, "")
        assert isinstance(read, Event), read
        found.append(read)

    say(0.0, "enrolled", known.name)
    genes = tuple(f"{term.gene.lower()}_" for term in known.model.genotype_terms)
    for entry in known.covariates:
        if entry.name in known.unseen or entry.name.startswith(genes):
            continue
        value = float(rng.choice([entry.low, entry.high]))
        if (entry.low, entry.high) != (0, 1) and rng.random() < 0.8:
            value = entry.low + 0.3 * (entry.high - entry.low)
        say(
            0.0 if rng.random() < 0.9 else float(rng.uniform(-1, span)),
            "covariate",
            entry.name,
            value,
            entry.unit,
        )
    if rng.random() < 0.8:
        say(float(known.days[0]), "dose", known.name, float(rng.choice(known.doses.doses)), known.doses.unit)
    for _ in range(int(rng.integers(2, 14))):
        chance = rng.random()
        units = float(rng.uniform(-1, span)) if rng.random() < 0.4 else float(rng.integers(0, span))
        if chance < 0.3:
            ahead = float(rng.integers(1, min(6, known.horizon + 1)))
            say(units, "visit", value=None if rng.random() < 0.7 else ahead)
        elif chance < 0.6:
            dose = float(rng.choice(known.doses.doses)) * (2.0 if rng.random() < 0.1 else 1.0)
            say(units, "dose", known.name, dose, known.doses.unit)
        elif chance < 0.95:
            item = known.measurements[int(rng.integers(len(known.measurements)))]
            value = float(np.exp(rng.normal(np.log(max(item.neutral, 2.0)), 1.2)))
            value = min(value, item.high) * float(rng.random() > 0.1)
            say(units, "measurement", item.name, value, item.unit)
        else:
            say(units, "left", "moved")
    return found


@pytest.mark.parametrize("seeds", [4, pytest.param(100, marks=pytest.mark.slow)])
@pytest.mark.parametrize("drug", names())
def test_no_stream_stops_the_ward_and_none_depends_on_its_order(drug: str, seeds: int) -> None:
    known = scenario(drug)
    believer, taken = kept(known, 8), 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        events = [event for number in range(4) for event in _wild(known, rng, f"P{number}")]
        at_once, shuffled = Ward(believer), Ward(believer)
        at_once.take(events)
        order = [events[i] for i in rng.permutation(len(events))]
        for first in range(0, len(order), 5):
            shuffled.take(order[first : first + 5])
        assert_alike(at_once, shuffled)
        taken += sum(len(patient.rows) for patient in at_once.patients.values())
    assert taken >= 6 * seeds


def test_a_patient_who_must_not_be_given_the_drug_does_not_stop_the_others() -> None:
    known = scenario("fluorouracil")
    events = clinic(known, "textbook", 3).under(2000.0)
    null = "c.1905+1G>A (*2A)"
    events = [
        event.model_copy(update={"value": f"{null}/{null}"})
        if event.kind == "genotype" and event.patient == "site-1-1"
        else event
        for event in events
    ]
    ward, without = Ward(kept(known)), Ward(kept(known))
    ward.take(events)
    without.take(event for event in events if event.patient != "site-1-1")
    refused = ward.patients["site-1-1"]
    assert refused.rows == [] and refused.belief is None
    assert refused.unbelieved == (
        "DPYD activity 0 leaves no clearance of fluorouracil: it must not be given (CPIC: avoid)"
    )
    genotype = next(event for event in events if event.kind == "genotype" and event.patient == "site-1-1")
    right = next(event.value for event in events if event.kind == "genotype" and event.patient == "site-1-0")
    ward.take([genotype.model_copy(update={"id": "typed again", "value": right})])  # the later of two counts
    assert refused.unbelieved == "" and len(refused.rows) == len(refused.chart.course.visits) >= 6
    ward.forget("site-1-1")
    assert_alike(ward, without)
    assert all(patient.unbelieved == "" and patient.rows for patient in ward.patients.values())


def test_a_forgotten_patient_is_new_when_they_come_again(warfarin: Scenario) -> None:
    events = clinic(warfarin, "textbook", 2).under(5.0)
    ward, other = Ward(kept(warfarin)), Ward(kept(warfarin))
    ward.take(events)
    ward.forget("site-1-0")
    ward.forget("nobody")
    assert list(ward.patients) == ["site-1-1"]
    first = [event for event in events if event.patient == "site-1-0"][:12]
    ward.take(first)
    other.take([*first, *(event for event in events if event.patient == "site-1-1")])
    assert_alike(ward, other)


def test_another_population_is_believed_as_if_it_had_been_there_from_the_start(warfarin: Scenario) -> None:
    events = clinic(warfarin, "clinic", 8).under(5.0)
    refitted = kept(replace(warfarin, base=(1.3, 0.08)))
    moved, always = Ward(kept(warfarin)), Ward(refitted)
    for ward in (moved, always):
        ward.take(events[:150])
    before = {name: patient.belief for name, patient in moved.patients.items()}
    moved.believe(refitted)
    assert_alike(moved, always)
    assert all(differing(before[name], patient.belief) for name, patient in moved.patients.items())
    for ward in (moved, always):
        ward.take(events[150:])
    assert_alike(moved, always)


# ---------------------------------------------------------------------------------------------- surprises


@pytest.fixture
def steady(warfarin: Scenario) -> Callable[..., tuple[list[Event], Event]]:
    """``steady(value, visit)``: events of a patient on one dose, the result of one visit by hand; and that
    one."""

    def told(value: float | None, visit: int = 6) -> tuple[list[Event], Event]:
        events = clinic(warfarin, "textbook", 1).under(4.0)
        results = [i for i, event in enumerate(events) if event.kind == "measurement"]
        i = results[visit]
        times = 1.0 if value is None else value
        events[i] = events[i].model_copy(update={"value": times * float(events[i].value or 0.0)})
        return events, events[i]

    return told


@pytest.mark.parametrize(("times", "doubted"), [(10.0, True), (0.1, True), (2.0, False), (0.5, False)])
def test_a_result_ten_times_off_is_set_aside_and_an_extreme_one_is_not(
    warfarin: Scenario,
    steady: Callable[..., tuple[list[Event], Event]],
    times: float,
    doubted: bool,
) -> None:
    events, changed = steady(times)
    ward, without = Ward(kept(warfarin)), Ward(kept(warfarin))
    ward.take(events)
    asides = ward.aside(["site-1-0", "nobody"])
    assert [(aside.id, aside.patient) for aside in asides] == [(changed.id, "site-1-0")] * doubted
    if not doubted:
        return
    (aside,) = asides
    value = float(changed.value or 0.0)
    assert isinstance(aside, Aside) and aside.reason.startswith(f"inr of {value:g} 1: as far from what was")
    assert f"{value / times:g} in 0." in aside.reason and "Send it anew under another id" in aside.reason
    # the belief goes on as if nothing had been measured
    without.take([event for event in events if event.id != changed.id])
    mine, other = ward.patients["site-1-0"], without.patients["site-1-0"]
    assert mine.rows == other.rows and differing(mine.belief, other.belief) == []
    assert ward.patients["site-1-0"].innovations == without.patients["site-1-0"].innovations


def test_a_result_sent_anew_under_another_id_takes_the_place_of_the_doubted_one(
    warfarin: Scenario, steady: Callable[..., tuple[list[Event], Event]]
) -> None:
    events, wrong = steady(10.0)
    right = wrong.model_copy(update={"id": "again", "value": float(wrong.value or 0.0) / 10.0})
    ward, clean = Ward(kept(warfarin)), Ward(kept(warfarin))
    clean.take([right if event is wrong else event for event in events])
    ward.take(events)
    ward.take([right])
    mine, other = ward.patients["site-1-0"], clean.patients["site-1-0"]
    assert mine.rows == other.rows and differing(mine.belief, other.belief) == []


def test_a_result_is_believed_again_when_an_earlier_one_makes_it_plausible(warfarin: Scenario) -> None:
    events = [event for event in clinic(warfarin, "textbook", 1).under(5.0) if event.kind != "measurement"]
    visits = [event for event in events if event.kind == "visit"]

    def inr(number: int, value: float) -> Event:
        return visits[number].model_copy(
            update={"id": f"inr {number}", "kind": "measurement", "code": "inr", "value": value, "unit": "1"}
        )

    high = inr(3, 15.0)
    ward, ordered = Ward(kept(warfarin)), Ward(kept(warfarin))
    ward.take([*events, inr(0, 1.1), high])
    assert [aside.id for aside in ward.aside(ward.patients)] == [high.id]
    earlier = inr(2, 12.0)
    late = Ward(kept(warfarin), {"inr": 1.0})
    late.take([*events, inr(0, 1.1), earlier])
    if late.aside(late.patients):  # then it would not be believed either
        earlier = inr(2, 6.5)
    ward.take([earlier])
    assert ward.aside(ward.patients) == []
    ordered.take([*events, inr(0, 1.1), earlier, high])
    assert_alike(ward, ordered)


def test_results_that_scatter_more_than_the_model_says_are_set_aside_less_easily(
    warfarin: Scenario, steady: Callable[..., tuple[list[Event], Event]]
) -> None:
    events, changed = steady(10.0)
    narrow, wide = Ward(kept(warfarin), {"inr": 1.0}), Ward(kept(warfarin), {"inr": 4.0})
    for ward in (narrow, wide):
        ward.take(events)
    assert [aside.id for aside in narrow.aside(narrow.patients)] == [changed.id]
    assert wide.aside(wide.patients) == []


def test_a_result_is_tenfold_only_where_the_moved_one_is_ordinary(warfarin: Scenario) -> None:
    item, sd = warfarin.measurements[0], 0.19

    def said(times: float, spread: float = 1.0) -> str:
        return Surprise(0, 0, 2.5 * times, np.log(times) / sd, sd).tenfold(item, spread)

    # p-values of the normal law: 3.891 SD are 1e-4, 1.960 are 0.05
    assert SURPRISING == 1e-4 and ORDINARY == 0.05
    for times in (10.0, 0.1):
        assert said(times * np.exp(1.95 * sd)) and not said(times * np.exp(1.97 * sd))
        assert said(times / np.exp(1.95 * sd)) and not said(times / np.exp(1.97 * sd))
        # a times of ten is no surprise where results scatter so much
        assert said(times, np.log(10) / sd / 3.895) and not said(times, np.log(10) / sd / 3.885)
    assert said(10.0).startswith("inr of 25 1: as far from what was expected in ")
    assert "; 2.5 in 1; is it another unit" in said(10.0).replace(" cases, 2.5", " cases; 2.5")


def test_results_with_long_tails_are_not_taken_for_tenfold_ones() -> None:
    """Student's t of 3 degrees of freedom, where a factor of ten is 4 SD: one in a thousand at most of the
    sample that the spread is learned from, and not so many less that nothing would be found; of a normal
    sample the spread is its SD."""
    rng = np.random.default_rng(1)
    t, sd = rng.standard_t(3, size=40_000) / np.sqrt(3.0), np.full(40_000, np.log(10.0) / 4.0)
    assert 0.0005 < tenfold(p_values(t, sd, usual._spread(t, sd))).mean() <= 0.001
    assert tenfold(p_values(t, sd, 1.0)).mean() > 0.004
    normal = rng.standard_normal(40_000)
    assert usual._spread(normal, sd) == max(normal.std(), 1.0)


def test_surprises_are_results_against_what_all_particles_predict(warfarin: Scenario) -> None:
    ward = Ward(kept(warfarin))
    events = clinic(warfarin, "textbook", 3).under(4.0)
    ward.take(event for event in events if event.time <= events[0].time)
    before = [ward.patients[name] for name in ward.patients]
    belief = Belief.joined([patient.belief for patient in before if patient.belief is not None])
    ward.take(event for event in events if event.time > events[0].time)
    rows = ward.observation([patient.chart.course.visits[1].values for patient in before])
    moved, arrived = ward.filter.expect(belief, rows)
    found = surprises(warfarin, moved, arrived)
    assert [(item.row, item.measurement) for item in found] == [(0, 0), (1, 0), (2, 0)]
    for item in found:
        log = np.log(moved.predicted[item.row, 0, :, 0])
        mean, weight = np.sum(moved.weight[item.row] * log), moved.weight[item.row]
        sd = np.sqrt(np.sum(weight * (log - mean) ** 2) + 0.19**2)
        assert item.sd == pytest.approx(sd, rel=1e-12)
        assert item.z == pytest.approx((np.log(item.value) - mean) / sd, rel=1e-9)
        assert before[item.row].innovations[1] == (1, 0, item.value, item.z, item.sd)


@pytest.mark.parametrize("drug", ["warfarin", "docetaxel"])
def test_innovations_of_patients_as_the_model_says_are_standard_normal(drug: str) -> None:
    known = scenario(drug)  # with an error on the log scale
    ward = Ward(BeliefFilter(known, 64, 1.0, visits=most_visits(known)), {"inr": 100.0, "anc": 100.0})
    dose = float(known.doses.doses[len(known.doses.doses) // 3])
    ward.take(clinic(known, "textbook", 120, together=60).under(dose))
    told = [item for patient in ward.patients.values() for item in patient.innovations]
    values = np.array([item.z for item in told])
    assert len(values) >= 1000 and {item.visit for item in told} == set(range(len(known.calendar) + 1))
    assert {item.measurement for item in told} == set(range(len(known.measurements)))
    # within four standard errors, and what the filter's approximation may add
    assert abs(values.mean()) < 4 / np.sqrt(len(values)) + 0.02
    assert abs(values.std() - 1) < 4 / np.sqrt(2 * len(values)) + 0.02
