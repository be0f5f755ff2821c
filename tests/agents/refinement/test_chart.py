"""A chart: events of one patient become the visits that a rule would have seen, whatever order they came in,
and what is not known is named and not guessed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dosewright.agents.refinement.chart import EARLY, Chart, Course
from dosewright.agents.refinement.events import Event, understood
from dosewright.envs import Scenario, names, scenario
from dosewright.envs.pharmacology.body import surface_m2
from dosewright.envs.pharmacology.units import factor

BEGIN = datetime(2026, 3, 1, 8, tzinfo=UTC)
PEOPLE: dict[str, dict[str, float]] = {
    "warfarin": {"age_y": 65, "male": 1, "height_cm": 170, "weight_kg": 75, "amiodarone": 0, "inducer": 0},
    "tacrolimus": {
        "age_y": 50, "male": 1, "weight_kg": 80, "bsa_m2": 1.95, "albumin_g_l": 40, "creatinine_umol_l": 130,
        "haematocrit": 0.34, "lean_mass_kg": 60,
    },
    "vancomycin": {
        "age_y": 57, "male": 1, "weight_kg": 80, "creatinine_mg_dl": 1.0, "crcl_ml_min": 92.0,
    },
    "docetaxel": {"age_y": 57, "male": 0, "bsa_m2": 1.5, "neutrophils_1e9_l": 4.0, "aag_g_l": 0.9},
    "busulfan": {
        "age_y": 40, "male": 1, "height_cm": 175, "weight_kg": 75, "clofarabine_or_fludarabine": 1,
    },
    "voriconazole": {"age_y": 50, "male": 1, "weight_kg": 70, "liver_toxicity": 0},
    "efavirenz": {"age_y": 5, "male": 1, "weight_kg": 16},
}  # fmt: skip


class Tale:
    """Events of one patient of a drug; hours count from enrolment."""

    def __init__(self, drug: str, people: dict[str, float] | None = None) -> None:
        self.known: Scenario = scenario(drug)
        self.events: list[Event] = []
        self.day = self.known.clock.length * factor(self.known.model.time_unit, "h")  # hours of a unit
        self.say(0, "enrolled", drug)
        entries = {entry.name: entry for entry in self.known.covariates}
        for name, value in (PEOPLE[drug] if people is None else people).items():
            self.say(0, "covariate", name, float(value), entries[name].unit)

    def say(
        self, hours: float, kind: Any, code: str | None = None, value: Any = None, unit: str | None = None
    ) -> Event:
        """Add an event and return it."""
        event = Event(
            schema=1, id=f"{kind}{len(self.events)}", patient="P", time=BEGIN + timedelta(hours=hours),
            kind=kind, code=code, value=value, unit=unit,
        )  # fmt: skip
        read = understood(event, self.known, "")
        assert isinstance(read, Event), read
        self.events.append(read)
        return read

    def visit(self, hours: float, value: float | None = None) -> Event:
        return self.say(hours, "visit", value=value)

    def dose(self, hours: float, value: float) -> Event:
        return self.say(hours, "dose", self.known.name, value, self.known.doses.unit)

    def treated(self, unit: int, dose: float) -> Event:
        """Add a visit at the start of a unit that asks and is answered at once; return the visit."""
        asked = self.visit(unit * self.day)
        self.dose(unit * self.day, dose)
        return asked

    def measure(self, hours: float, code: str, value: float) -> Event:
        unit = next(item.unit for item in self.known.measurements if item.name == code)
        return self.say(hours, "measurement", code, value, unit)

    def course(self, but: Iterable[Event] = ()) -> Course:
        chart = Chart(self.known, "P")
        chart.add(event for event in self.events if event not in list(but))
        return chart.course


def units(course: Course) -> list[int]:
    return [seen.visit.unit for seen in course.visits]


def drawn(course: Course) -> list[dict[str, tuple[float, float]]]:
    """Return of every visit code -> (value, model time) of what it is the first to see, by event."""
    found: list[dict[str, tuple[float, float]]] = []
    for seen in course.visits:
        assert {sample.measurement for sample in seen.visit.samples} == set(seen.samples)
        values = {sample.measurement: (sample.value, sample.drawn) for sample in seen.visit.samples}
        for number, event in seen.samples.items():
            assert event.value == values[number][0]
        found.append({str(seen.samples[number].id): pair for number, pair in values.items()})
    return found


def shown(course: Course, entry: str) -> list[float]:
    return [float(np.asarray(seen.values[entry])) for seen in course.visits]


# ------------------------------------------------------------------------------------------- who and when


def test_a_chart_without_enrolment_says_what_is_wanted() -> None:
    tale = Tale("warfarin")
    enrolled = tale.events[0]
    tale.treated(0, 5)
    course = tale.course(but=[enrolled])
    assert course.visits == () and course.problems == {"": "not enrolled yet; send the event 'enrolled'"}
    assert units(tale.course()) == [0]


def test_the_first_visit_is_there_before_anybody_asks() -> None:
    tale = Tale("warfarin")
    course = tale.course()
    assert units(course) == [0] and course.visits[0].asked is None
    assert shown(course, "next_interval") == [3.0]
    asked = tale.visit(1.0)
    course = tale.course()
    assert units(course) == [0] and course.visits[0].asked == asked and course.visits[0].visit.clock == 0.0


@pytest.mark.parametrize(
    ("hours", "unit"),
    [(0.0, 0), (17.9, 0), (18.0, 1), (24.0, 1), (41.9, 1), (42.0, 2), (65.9, 2), (66.0, 3), (72.0, 3)],
)
def test_a_visit_may_come_a_quarter_of_a_day_before_its_day(hours: float, unit: int) -> None:
    assert EARLY == 0.25
    tale = Tale("warfarin")
    tale.treated(0, 5)
    asked = tale.visit(hours)
    last = tale.course().visits[-1]
    assert (last.visit.unit, last.visit.clock, last.asked) == (unit, 24.0 * unit, asked)


def test_who_asks_twice_in_a_day_is_answered_by_the_last_question() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 5)
    tale.visit(72, 4)
    again = tale.visit(78, 2)
    course = tale.course()
    assert units(course) == [0, 3] and course.visits[-1].asked == again
    assert shown(course, "next_interval") == [3.0, 2.0]


def test_units_until_the_next_visit_are_what_the_visit_says_or_the_calendar() -> None:
    tale = Tale("warfarin")
    tale.visit(0, 2)
    tale.dose(0, 5)
    tale.treated(2, 5)
    tale.treated(6, 5)
    tale.treated(75, 5)
    assert shown(tale.course(), "next_interval") == [2.0, 1.0, 1.0, 15.0]
    assert shown(tale.course(), "interval") == [0.0, 2.0, 4.0, 69.0]


def test_a_visit_beyond_follow_up_is_named() -> None:
    tale = Tale("warfarin")
    for unit in (0, 3, 70):
        tale.treated(unit, 5)
    late = tale.treated(90, 5)
    course = tale.course()
    assert course.problems[late.id] == "day 90 is beyond follow-up, which ends with day 89"
    assert all(seen.asked != late for seen in course.visits)
    assert "beyond" not in str(tale.course(but=[late]).problems)


@pytest.mark.parametrize("lacking", ["age_y", "male"])
def test_a_covariate_that_is_not_known_is_named_and_not_guessed(lacking: str) -> None:
    people = {name: value for name, value in PEOPLE["tacrolimus"].items() if name != lacking}
    tale = Tale("tacrolimus", people)
    tale.treated(0, 5)
    course = tale.course()
    assert course.visits == () and course.problems == {"": f"not known: {lacking}; send events 'covariate'"}
    entry = next(item for item in tale.known.covariates if item.name == lacking)
    tale.say(100, "covariate", lacking, PEOPLE["tacrolimus"][lacking], entry.unit)
    assert units(tale.course())[0] == 0 and shown(tale.course(), lacking)[0] == PEOPLE["tacrolimus"][lacking]


def test_every_drug_names_all_that_it_needs_of_a_person() -> None:
    for drug in names():
        known = scenario(drug)
        tale = Tale(drug, {})
        tale.visit(float(known.days[0]) * tale.day)
        course = tale.course()
        needed = [
            entry.name
            for entry in known.covariates
            if entry.neutral is None and not entry.name.startswith("race_") and entry.name not in known.unseen
        ]
        assert course.visits == (), drug
        assert course.problems == {"": f"not known: {', '.join(needed)}; send events 'covariate'"}


def test_a_covariate_with_a_neutral_value_may_be_missing_and_is_shown_as_such() -> None:
    people = {name: value for name, value in PEOPLE["warfarin"].items() if name != "height_cm"}
    course = Tale("warfarin", people).course()
    assert units(course) == [0] and np.isnan(shown(course, "height_cm")[0])
    assert shown(course, "race_white") == [0.0] and shown(course, "amiodarone") == [0.0]


def test_surface_is_derived_from_height_and_weight_or_taken_as_told() -> None:
    people = {name: value for name, value in PEOPLE["tacrolimus"].items() if name != "bsa_m2"}
    tale = Tale("tacrolimus", people)
    tale.visit(0)
    assert tale.course().problems == {"": "not known: bsa_m2; send events 'covariate'"}
    event = Event(
        schema=1, id="height", patient="P", time=BEGIN, kind="covariate", code="height_cm", value=180.0,
        unit="cm",
    )  # fmt: skip
    chart = Chart(tale.known, "P")
    chart.add([*tale.events, event])
    surface = float(surface_m2(np.array([80.0]), np.array([180.0]))[0])
    assert shown(chart.course, "bsa_m2") == [surface] and shown(chart.course, "lean_mass_kg") == [60.0]
    told = Tale("tacrolimus")
    chart = Chart(told.known, "P")
    chart.add([*told.events, event])
    assert shown(chart.course, "bsa_m2") == [1.95] != [surface]


def test_busulfan_does_not_make_up_a_weight_from_a_height() -> None:
    # the population draws both as shares of a median: its rule must not be applied to measured ones
    for name in ("height_cm", "weight_kg"):
        people = {key: value for key, value in PEOPLE["busulfan"].items() if key != name}
        course = Tale("busulfan", people).course()
        assert course.visits == () and course.problems == {"": f"not known: {name}; send events 'covariate'"}


def test_what_is_told_later_holds_from_then_on_and_before_only_where_nothing_else_is_known() -> None:
    tale = Tale("efavirenz")
    for unit in (0, 14, 28):
        tale.treated(unit, 200)
    tale.say(13.9 * 24, "covariate", "weight_kg", 17.0, "kg")
    tale.say(27 * 24, "covariate", "weight_kg", 18.0, "kg")
    assert shown(tale.course(), "weight_kg") == [16.0, 17.0, 18.0]
    alone = Tale("efavirenz", {"age_y": 5, "male": 1})
    for unit in (0, 14, 28):
        alone.treated(unit, 200)
    alone.say(20 * 24, "covariate", "weight_kg", 17.0, "kg")
    alone.say(28 * 24 + 5, "covariate", "weight_kg", 18.0, "kg")  # written down in the course of the day
    assert shown(alone.course(), "weight_kg") == [17.0, 17.0, 18.0]


def test_genotypes_become_allele_counts_and_an_unknown_one_stays_unknown() -> None:
    tale = Tale("warfarin")
    unknown = tale.course()
    alleles = ("cyp2c9_*2", "cyp2c9_*3", "vkorc1_A")
    assert all(math.isnan(shown(unknown, name)[0]) for name in alleles)
    tale.say(0, "genotype", "CYP2C9", "*2/*3")
    known = tale.course()
    assert [shown(known, name)[0] for name in alleles[:2]] == [1.0, 1.0]
    assert math.isnan(shown(known, alleles[2])[0])
    tale.say(0, "genotype", "VKORC1", "A/A")
    assert shown(tale.course(), alleles[2]) == [2.0]


# ------------------------------------------------------------------------------------------------- doses


def test_the_dose_in_force_is_the_last_one_begun_by_the_visit_before() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 5)
    tale.visit(72)
    tale.dose(75, 6)  # three hours after the visit that asked: of the same day
    tale.visit(5 * 24)
    course = tale.course()
    assert units(course) == [0, 3, 5] and shown(course, "last_dose")[1:] == [5.0, 6.0]
    assert math.isnan(shown(course, "last_dose")[0])


def test_a_dose_that_is_changed_between_two_visits_makes_a_visit_of_its_own() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 5)
    tale.dose(24, 5)  # the same once more: no change
    tale.dose(48, 7.5)
    tale.treated(5, 7.5)
    course = tale.course()
    assert units(course) == [0, 2, 5] and shown(course, "last_dose")[1:] == [5.0, 7.5]
    assert [seen.asked is None for seen in course.visits] == [False, True, False]
    assert shown(course, "next_interval") == [3.0, 1.0, 2.0]


def test_a_missing_dose_is_named_for_all_visits_that_follow() -> None:
    tale = Tale("warfarin")
    tale.visit(0)
    late = [tale.visit(72), tale.visit(120)]
    course = tale.course()
    why = "no dose on record before day 3; send events 'dose'"
    assert units(course) == [0]
    assert course.problems == {"": why, late[0].id: why, late[1].id: why}
    tale.dose(0, 5)
    assert units(tale.course()) == [0, 3, 5] and tale.course().problems == {}


def test_a_dose_above_all_that_an_observation_shows_ends_the_course_and_not_the_stream() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 15)
    tale.treated(3, 15.5)
    late = [tale.visit(120), tale.visit(168)]
    course = tale.course()
    why = "dose 15.5 mg/day before day 5; an observation shows up to 15, so dose this patient by other means"
    assert units(course) == [0, 3]
    assert course.problems == {"": why, late[0].id: why, late[1].id: why}


def test_a_dose_after_the_first_visit_does_not_stand_for_one_that_nobody_told() -> None:
    tale = Tale("warfarin")
    tale.visit(0)
    tale.dose(48, 5)
    tale.visit(72)
    assert units(tale.course()) == [0]
    assert tale.course().problems[""] == "no dose on record before day 2; send events 'dose'"


# ----------------------------------------------------------------------------------------------- samples


def test_warfarin_inr_goes_to_the_visit_of_its_day() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 5)
    first = tale.measure(-2, "inr", 1.1)
    tale.treated(3, 6)
    inr = tale.measure(71, "inr", 1.8)
    course = tale.course()
    assert units(course) == [0, 3]
    assert drawn(course) == [{first.id: (1.1, 0.0)}, {inr.id: (1.8, 72.0)}]
    assert shown(course, "inr_new") == [1.0, 1.0] and shown(course, "inr_age") == [0.0, 0.0]


def test_a_visit_without_a_result_shows_the_newest_and_its_age() -> None:
    tale = Tale("warfarin")
    for unit in (0, 3, 5):
        tale.treated(unit, 5)
    tale.measure(72, "inr", 1.8)
    course = tale.course()
    assert [len(found) for found in drawn(course)] == [0, 1, 0]
    assert shown(course, "inr")[1:] == [1.8, 1.8] and shown(course, "inr_age")[1:] == [0.0, 2.0]
    assert shown(course, "inr_new") == [0.0, 1.0, 0.0]


def test_a_result_above_the_assay_s_range_is_shown_at_its_end() -> None:
    tale = Tale("warfarin")
    tale.treated(0, 5)
    tale.treated(3, 5)
    tale.measure(72, "inr", 140.0)
    assert shown(tale.course(), "inr")[-1] == 100.0


def test_a_sample_between_two_visits_makes_a_visit_that_nobody_asked_for() -> None:
    tale = Tale("tacrolimus")
    tale.treated(0, 6)
    tale.treated(2, 6)
    trough = tale.measure(5 * 24 - 1, "trough", 9.0)
    tale.treated(7, 6)
    course = tale.course()
    assert units(course) == [0, 2, 5, 7] and course.visits[2].asked is None
    assert drawn(course)[2] == {trough.id: (9.0, 120.0)}


def test_tacrolimus_has_no_trough_before_its_first_dose() -> None:
    tale = Tale("tacrolimus")
    tale.treated(0, 6)
    early = tale.measure(-3, "trough", 2.0)
    tale.treated(2, 6)
    course = tale.course()
    assert [len(found) for found in drawn(course)] == [0, 0]
    assert course.problems[early.id].startswith("trough of -3 h is not used: the nearest sample of a visit")


def test_vancomycin_levels_go_to_the_readings_of_the_day_before() -> None:
    tale = Tale("vancomycin")
    assert PEOPLE["vancomycin"]["crcl_ml_min"] >= 90  # every 8 h: the last infusion of a day begins at 16 h
    tale.treated(0, 3000)
    tale.treated(1, 3000)
    level, trough = tale.measure(18.1, "level", 30.0), tale.measure(23.5, "trough", 12.0)
    course = tale.course()
    assert units(course) == [0, 1]
    assert drawn(course) == [{}, {level.id: (30.0, 18.0), trough.id: (12.0, 24.0)}]
    assert shown(course, "level_age")[1] == pytest.approx(6 / 24) and shown(course, "trough_age")[1] == 0.0
    # a sample is told apart by when it was drawn, not by what it was called
    swapped = Tale("vancomycin")
    swapped.treated(0, 3000)
    swapped.treated(1, 3000)
    early, late = swapped.measure(18.1, "trough", 30.0), swapped.measure(23.5, "level", 12.0)
    assert drawn(swapped.course())[1] == {early.id: (30.0, 18.0), late.id: (12.0, 24.0)}


def test_a_vancomycin_level_is_nearest_to_the_reading_of_the_dose_that_was_given() -> None:
    # 4500 mg/day in three infusions of 1500 mg over 1.5 h: the level is drawn at 16 + 1.5 + 1 h
    for dose, at in ((3000, 18.0), (4500, 18.5)):
        tale = Tale("vancomycin")
        tale.treated(0, dose)
        tale.treated(1, dose)
        tale.measure(18.3, "level", 30.0)
        assert [pair[1] for pair in drawn(tale.course())[1].values()] == [at]


def test_docetaxel_counts_go_to_day_8_15_and_the_day_of_the_cycle_that_was_put_off() -> None:
    tale = Tale("docetaxel")
    day = 24.0
    tale.visit(0)
    tale.dose(0, 60)
    first = tale.measure(0, "anc", 4.2)
    low = [tale.measure(8 * day, "anc", 0.4), tale.measure(15.2 * day, "anc_day_8", 1.0)]
    late = tale.visit(28 * day)
    tale.dose(28 * day, 45)
    today = tale.measure(27.9 * day, "anc", 3.1)
    course = tale.course()
    assert units(course) == [0, 1] and course.problems == {}
    assert [seen.visit.clock for seen in course.visits] == [0.0, 28 * day]
    assert [seen.visit.delays for seen in course.visits] == [0, 1] and course.visits[1].asked == late
    assert drawn(course)[0] == {first.id: (4.2, 0.0)}
    assert drawn(course)[1] == {
        today.id: (3.1, 28 * day), low[0].id: (0.4, 8 * day), low[1].id: (1.0, 15 * day)
    }  # fmt: skip
    assert shown(course, "anc_day_8")[1] == 0.4 and shown(course, "anc_day_15")[1] == 1.0
    assert shown(course, "last_dose")[1] == 60.0 and shown(course, "delays") == [0.0, 1.0]
    # the next cycle counts from the one that was put off
    tale.visit(49 * day)
    tale.dose(49 * day, 45)
    after = tale.measure(36 * day, "anc", 0.8)
    course = tale.course()
    assert units(course) == [0, 1, 2] and course.visits[2].visit.delays == 0
    assert drawn(course)[2] == {after.id: (0.8, 36 * day)}


def test_a_docetaxel_cycle_that_is_not_on_record_is_asked_for() -> None:
    tale = Tale("docetaxel")
    day = 24.0
    tale.visit(0)
    tale.dose(0, 60)
    late = tale.visit(42 * day)
    course = tale.course()
    why = (
        "no visit on record for cycle 1; send the events 'visit' and 'dose' of every treatment, with dose 0 "
        "where one was left out"
    )
    # two weeks late are as much as a treatment is put off; three weeks are another cycle
    assert units(course) == [0] and course.problems == {"": why, late.id: why}
    tale.visit(35 * day)
    tale.dose(35 * day, 0)
    assert [seen.visit.delays for seen in tale.course().visits] == [0, 2]


def test_the_last_docetaxel_cycle_is_measured_when_the_patient_left() -> None:
    tale = Tale("docetaxel")
    day = 24.0
    for cycle in range(4):
        tale.visit(21 * cycle * day)
        tale.dose(21 * cycle * day, 60)
    low = tale.measure((63 + 8) * day, "anc", 0.3)
    assert units(tale.course()) == [0, 1, 2, 3]
    left = tale.say(84 * day, "left", "finished")
    course = tale.course()
    assert units(course) == [0, 1, 2, 3, 4] and course.visits[-1].asked is None
    assert drawn(course)[-1] == {low.id: (0.3, (63 + 8) * day)}
    tale.events.remove(left)
    tale.say(70 * day, "left", "lost")
    assert units(tale.course()) == [0, 1, 2, 3]


def test_busulfan_levels_are_of_the_first_day_only() -> None:
    tale = Tale("busulfan")
    times = (3.0, 4.0, 6.0, 8.0)
    events = [tale.measure(time + 0.1, "level_3_h", 5.0 - time / 2) for time in times]
    for unit in (0, 1, 2):
        tale.treated(unit, 100)
    other = tale.measure(30, "level_6_h", 2.0)
    course = tale.course()
    assert units(course) == [0, 1, 2]
    assert drawn(course) == [
        {}, {event.id: (5.0 - time / 2, time) for event, time in zip(events, times, strict=True)}, {}
    ]  # fmt: skip
    assert course.problems == {
        other.id: "level_6_h of 30 h is not used: the nearest sample of a visit is at 8"
    }


def test_voriconazole_is_first_decided_on_day_1() -> None:
    tale = Tale("voriconazole")
    early = tale.visit(0)
    course = tale.course()
    assert units(course) == [1]
    assert course.problems[early.id] == "day 0: what is given before day 1 is fixed; nothing is decided"
    asked = tale.treated(1, 200)
    tale.treated(4, 200)
    trough = tale.measure(4 * 24 - 0.5, "trough", 2.2)
    course = tale.course()
    assert units(course) == [1, 4] and course.visits[0].asked == asked
    assert drawn(course) == [{}, {trough.id: (2.2, 96.0)}]
    assert shown(course, "day") == [1.0, 4.0] and shown(course, "last_dose")[1] == 200.0


def test_a_voriconazole_trough_that_no_visit_can_see_is_named() -> None:
    tale = Tale("voriconazole")
    tale.treated(1, 200)
    tale.treated(4, 200)
    unseen = tale.measure(48, "trough", 2.2)
    tale.treated(7, 200)
    course = tale.course()
    assert units(course) == [1, 4, 7]
    assert course.problems == {
        unseen.id: "trough of 48 h is not used: the nearest sample of a visit is at 96"
    }
    assert all(not found for found in drawn(course))


@pytest.mark.parametrize(("offsets", "kept"), [((-3, -1), 1), ((-1, 2), 0), ((-1, 1), 0)])
def test_of_two_samples_in_one_slot_the_nearer_is_taken_and_the_other_named(
    offsets: tuple[float, float], kept: int
) -> None:
    tale = Tale("tacrolimus")
    tale.treated(0, 6)
    tale.treated(2, 6)
    events = [tale.measure(48 + off, "trough", 8.0 + number) for number, off in enumerate(offsets)]
    course = tale.course()
    assert drawn(course)[1] == {events[kept].id: (8.0 + kept, 48.0)}
    assert course.problems == {events[1 - kept].id: "trough: another sample is nearer to 48"}


def test_what_is_set_aside_leaves_the_course_as_if_it_had_not_been_told() -> None:
    tale = Tale("warfarin")
    for unit in (0, 3, 5):
        tale.treated(unit, 5)
    between = tale.measure(4 * 24, "inr", 1.9)
    with_it, without = tale.course(), tale.course(but=[between])
    assert units(with_it) == [0, 3, 4, 5] and units(without) == [0, 3, 5]
    chart = Chart(tale.known, "P")
    chart.add(tale.events)
    chart.set_aside([between.id])
    assert chart.course == without
    chart.set_aside([])
    assert chart.course == with_it


def test_site_and_leaving_are_read_off_the_events() -> None:
    tale = Tale("warfarin")
    chart = Chart(tale.known, "P")
    assert chart.site == "" and not chart.left
    chart.add(event.model_copy(update={"site": "north"}) for event in tale.events)
    assert chart.site == "north" and not chart.left and chart.last == BEGIN
    chart.add([tale.say(30, "left", "moved")])
    assert chart.left and chart.last == BEGIN + timedelta(hours=30)


# ------------------------------------------------------------------------------------- order of delivery


def _busy(drug: str) -> Tale:
    """Return a patient of whom much is told, some of it in conflict, beside the point or too late."""
    tale = Tale(drug)
    codes = [item.name for item in tale.known.measurements]
    days = [*tale.known.days[:4].tolist(), int(tale.known.days[3]) + 1]
    for number, unit in enumerate(days):
        tale.treated(unit, float(tale.known.doses.doses[3 + number]))
        for at in (-0.6, -0.1, 0.1, 0.4):
            tale.measure((unit + at) * tale.day, codes[number % len(codes)], 3.0 + at)
    tale.dose((days[1] + 0.9) * tale.day, float(tale.known.doses.doses[2]))
    tale.say((days[2] + 0.1) * tale.day, "covariate", "age_y", 40.0, "years")
    tale.visit(days[1] * tale.day + 1)
    for term in tale.known.model.genotype_terms[:1]:
        tale.say(0, "genotype", term.gene, "*1/*3" if term.gene != "VKORC1" else "A/G")
    tale.visit((tale.known.horizon + 1) * tale.day)
    return tale


@pytest.mark.parametrize("drug", ["warfarin", "vancomycin", "docetaxel", "voriconazole"])
@given(data=st.data())
def test_no_order_and_no_split_of_the_events_changes_the_course(drug: str, data: st.DataObject) -> None:
    tale = _busy(drug)
    expected = tale.course()
    assert len(expected.visits) >= 2 and expected.problems
    order = data.draw(st.permutations(tale.events))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(order)), max_size=6)))
    chart = Chart(tale.known, "P")
    for begin, end in zip([0, *cuts], [*cuts, len(order)], strict=True):
        chart.add(order[begin:end])
        _ = chart.course  # what was told early must not stay in it
    assert chart.course == expected
