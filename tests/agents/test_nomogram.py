"""Label and Aurora: every row of their tables, holds on the calendar, and doses that stay when nothing is
known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens import Nomogram, regimen
from dosewright.envs import Intake, Regimen, Scenario, Treatment
from dosewright.envs.scenarios import warfarin as rules

See = Callable[..., np.ndarray]


class Clinic:
    """One patient at one regimen, visit by visit."""

    def __init__(self, arm: Nomogram, observed: See) -> None:
        self.arm, self.observed, self.state = arm, observed, None

    def visit(self, day: float, inr: float | None, until: float = 7.0) -> float:
        entries: dict[str, Any] = {"day": day, "next_interval": until}
        if inr is not None:
            entries |= {"inr": inr, "inr_age": 0.0, "inr_new": 1.0}
        if day > 0:
            entries |= {"last_dose": 5.0, "interval": 1.0}
        dose, self.state = self.arm.predict(self.observed(**entries), self.state)
        return float(dose[0])


@pytest.fixture
def label(warfarin: Scenario, observed: See) -> Clinic:
    return Clinic(regimen("label", warfarin), observed)  # pyright: ignore[reportArgumentType]


@pytest.fixture
def aurora(warfarin: Scenario, observed: See) -> Clinic:
    return Clinic(regimen("nomogram", warfarin), observed)  # pyright: ignore[reportArgumentType]


# models.md 1.4, threshold rule; the limits belong to the row as it prints them
LABEL = [
    (0.9, 1.15), (1.49, 1.15), (1.5, 1.10), (1.99, 1.10), (2.0, 1.0), (3.0, 1.0),
    (3.01, 0.90), (5.0, 0.90), (5.01, 0.85), (12.0, 0.85),
]  # fmt: skip


@pytest.mark.parametrize(("inr", "factor"), LABEL)
def test_rows_of_the_threshold_rule(label: Clinic, inr: float, factor: float) -> None:
    assert label.visit(0, 1.0) == 5.0
    assert label.visit(14, inr) == pytest.approx(5 * factor)


# models.md 1.4, Aurora; 4.0 to 5.0 skips, above 5.0 stops: far from the next visit both give the reduced dose
# at once
AURORA = [
    (0.9, 1.15), (1.49, 1.15), (1.5, 1.10), (1.79, 1.10), (1.801, 1.075), (1.99, 1.075),
    (2.0, 1.0), (3.0, 1.0), (3.01, 0.925), (3.39, 0.925), (3.4, 0.90), (3.99, 0.90),
    (4.0, 0.875), (5.0, 0.875), (5.01, 0.85), (9.0, 0.85),
]  # fmt: skip


@pytest.mark.parametrize(("inr", "factor"), AURORA)
def test_rows_of_aurora(aurora: Clinic, inr: float, factor: float) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(14, inr, until=7) == pytest.approx(start * factor)


def test_an_inr_of_exactly_1_8_as_a_laboratory_prints_it_is_in_its_row(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(14, 1.8) == pytest.approx(start * 1.075)


def test_every_response_lies_in_one_row(warfarin: Scenario) -> None:
    grid = np.concatenate([np.arange(0.5, 12, 0.001), [1.5, 1.8, 2, 3, 3.4, 4, 5]])
    for table in (rules.THRESHOLD_RULE, rules.AURORA):
        assert np.all(sum(row.band.contains(grid).astype(int) for row in table.rows) == 1)


def test_label_starts_with_5_mg_for_everybody(warfarin: Scenario, observed: See) -> None:
    dose, _ = regimen("label", warfarin).predict(
        observed(age_y=np.array([20.0, 90.0]), vkorc1_A=np.array([0.0, 2.0]))
    )
    assert dose.tolist() == [5.0, 5.0]


def test_the_baseline_inr_changes_no_dose(aurora: Clinic, label: Clinic) -> None:
    assert label.visit(0, 1.0) == 5.0
    assert aurora.visit(0, 1.0) == pytest.approx(5.99, abs=5e-3)


def test_label_acts_weekly(label: Clinic) -> None:
    label.visit(0, 1.0)
    assert label.visit(7, 1.2) == pytest.approx(5.75)
    assert label.visit(10, 1.2) == pytest.approx(5.75)  # three days after a change
    assert label.visit(13, 6.0) == pytest.approx(5.75)
    assert label.visit(14, 1.2) == pytest.approx(5.75 * 1.15)


def test_label_never_holds(label: Clinic) -> None:
    label.visit(0, 1.0)
    assert label.visit(7, 8.0, until=2) == pytest.approx(4.25)


def test_being_in_range_does_not_start_the_weeks_wait(label: Clinic) -> None:
    label.visit(0, 1.0)
    assert label.visit(7, 2.5) == 5.0
    assert label.visit(10, 3.5) == pytest.approx(4.5)


def test_aurora_acts_at_every_visit(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(5, 1.2, until=2) == pytest.approx(start * 1.15)
    assert aurora.visit(7, 1.2, until=3) == pytest.approx(start * 1.15**2)


# --------------------------------------------------------------------------------------------------- day 3


def test_an_inr_of_2_on_day_3_lowers_a_high_start_to_5_mg_and_waits(aurora: Clinic) -> None:
    assert aurora.visit(0, 1.0) > 5
    assert aurora.visit(3, 2.0, until=2) == 5.0
    assert aurora.visit(5, 2.5, until=2) == 5.0


def test_a_start_below_5_mg_is_kept_on_day_3(warfarin: Scenario, observed: See) -> None:
    patient = Clinic(regimen("nomogram", warfarin), lambda **e: observed(vkorc1_A=2.0, **e))  # pyright: ignore[reportArgumentType]
    start = patient.visit(0, 1.0)
    assert start == pytest.approx(3.26, abs=5e-3)
    assert patient.visit(3, 3.6, until=2) == start


def test_an_inr_below_2_on_day_3_follows_the_table(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(3, 1.6, until=2) == pytest.approx(start * 1.10)


def test_the_check_is_on_day_3_only(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(5, 2.5, until=2) == start


# ------------------------------------------------------------------------------------------- holding a dose


@pytest.mark.parametrize("until", [1, 2, 3])
def test_skipped_doses_are_zero_until_a_near_visit_and_the_reduced_dose_follows(
    aurora: Clinic, until: float
) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(7, 4.5, until=until) == 0.0
    assert aurora.visit(10, 3.2, until=4) == pytest.approx(start * 0.875)


def test_far_from_the_next_visit_the_reduced_dose_is_given_at_once(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(10, 4.5, until=4) == pytest.approx(start * 0.875)
    assert aurora.visit(14, 5.5, until=7) == pytest.approx(start * 0.875 * 0.85)


def test_stopped_drug_waits_for_an_inr_of_3_while_visits_are_near(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(5, 5.5, until=2) == 0.0
    assert aurora.visit(7, 3.5, until=3) == 0.0
    assert aurora.visit(10, 3.0, until=3) == pytest.approx(start * 0.85)
    assert aurora.visit(12, 2.5, until=2) == pytest.approx(start * 0.85)


def test_stopped_drug_is_resumed_at_the_last_near_visit(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(7, 5.5, until=3) == 0.0
    assert aurora.visit(10, 3.3, until=4) == pytest.approx(start * 0.85)


def test_resuming_is_no_second_change(aurora: Clinic) -> None:
    start = aurora.visit(0, 1.0)
    aurora.visit(7, 4.5, until=3)
    assert aurora.visit(10, 1.6, until=4) == pytest.approx(start * 0.875)  # not × 1.10 as well


# ------------------------------------------------------------------------------------------- nothing is known


@pytest.mark.parametrize("name", ["label", "nomogram"])
def test_without_a_new_result_the_dose_is_kept(warfarin: Scenario, observed: See, name: str) -> None:
    patient = Clinic(regimen(name, warfarin), observed)  # pyright: ignore[reportArgumentType]
    patient.visit(0, 1.0)
    changed = patient.visit(7, 1.2)
    assert patient.visit(21, None) == changed
    old = observed(day=28.0, next_interval=14.0, last_dose=5.0, inr=1.2, inr_age=21.0, inr_new=0.0)
    dose, _ = patient.arm.predict(old, patient.state)
    assert dose[0] == changed


@pytest.mark.parametrize(("day", "until"), [(10.0, 4.0), (14.0, 7.0)])
def test_skip_ends_at_the_next_visit_even_without_a_result(aurora: Clinic, day: float, until: float) -> None:
    start = aurora.visit(0, 1.0)
    assert aurora.visit(day - 3, 4.5, until=3) == 0.0
    assert aurora.visit(day, None, until=until) == pytest.approx(start * 0.875)


def test_maintenance_is_not_rounded_between_visits(aurora: Clinic, warfarin: Scenario) -> None:
    start = dose = aurora.visit(0, 1.0)
    for i, day in enumerate((14, 21, 28), start=1):
        dose = aurora.visit(day, 1.9)
        assert dose == pytest.approx(start * 1.075**i)
    assert float(warfarin.doses.snap(dose)) != dose


# ---------------------------------------------------------------------------------------------------- batches


def batch(observed: See, day: float, inr: list[float]) -> np.ndarray:
    values = np.array(inr)
    return observed(
        day=day, next_interval=3.0, inr=values, inr_age=np.where(np.isnan(values), np.nan, 0.0),
        inr_new=np.where(np.isnan(values), 0.0, 1.0), last_dose=5.0 if day else np.nan,
    )  # fmt: skip


def test_patients_of_a_batch_are_independent(warfarin: Scenario, observed: See) -> None:
    arm = regimen("nomogram", warfarin)
    courses = np.array([[1.0, 1.6, 4.5, 2.0], [1.0, np.nan, 5.5, 4.0], [1.0, 2.5, 3.6, np.nan]])
    state, together = None, []
    for day, inr in zip((0, 3, 7, 10), courses.T, strict=True):
        dose, state = arm.predict(batch(observed, day, inr.tolist()), state)
        together.append(dose)
    for i, course in enumerate(courses):
        state = None
        for visit, (day, inr) in enumerate(zip((0, 3, 7, 10), course, strict=True)):
            dose, state = arm.predict(batch(observed, day, [inr]), state)
            assert dose[0] == together[visit][i]


def test_a_patient_who_begins_in_the_middle_of_a_batch_begins_anew(warfarin: Scenario, observed: See) -> None:
    arm = regimen("nomogram", warfarin)
    _, state = arm.predict(batch(observed, 0, [1.0, 1.0]))
    held, state = arm.predict(batch(observed, 7, [4.5, 4.5]), state)
    assert held.tolist() == [0.0, 0.0]
    later = np.concatenate([batch(observed, 0, [1.0]), batch(observed, 10, [3.2])])
    dose, state = arm.predict(later, state, np.array([True, False]))
    start = arm.predict(batch(observed, 0, [1.0]))[0][0]
    assert dose.tolist() == [start, start * 0.875]


@pytest.mark.parametrize("name", ["label", "nomogram", "clinical-nomogram"])
def test_whole_courses_change_the_dose_by_the_tables_steps(
    warfarin: Scenario,
    admitted: Callable[..., Intake],
    treated: Callable[[Regimen, Intake], tuple[Treatment, np.ndarray]],
    name: str,
) -> None:
    arm = regimen(name, warfarin)
    treatment, _ = treated(arm, admitted(100))
    given = treatment.given[~np.isnan(treatment.given).any(axis=1)]
    assert np.all((given >= 0) & (given <= 15)) and (np.diff(given, axis=1) != 0).any(axis=1).mean() > 0.8
    if name == "label":
        assert np.all(given[:, 0] == 5.0) and np.all(given > 0)
