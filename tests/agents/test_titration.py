"""Aurora and Intermountain where every day can be a visit: rows, skipped doses, stops, and chosen visits."""

import numpy as np
import pytest

from dosewright.agents.regimens.titration import (
    AURORA,
    INTERMOUNTAIN,
    Titration,
    TitrationState,
    TitrationTable,
    Visits,
)

NAN = float("nan")


class Patient:
    """One patient at a clinic, day by day."""

    def __init__(self, table: TitrationTable, visits: Visits, dose: float = 5.0) -> None:
        self.titration = Titration(table, visits)
        self.state, self.dose = TitrationState.begin(1), np.array([dose])

    def day(self, day: int, inr: float = NAN) -> float:
        """Return the dose of a day on which an INR came in, or none."""
        self.dose, today, self.state = self.titration.titrate(
            self.state, self.dose, np.array([float(day)]), np.array([inr])
        )
        return float(today[0])

    @property
    def next_visit(self) -> float:
        return float(self.state.next_visit[0])


# trials.md 3: change of dose by INR
AURORA_ROWS = [
    (0.9, 1.15), (1.49, 1.15), (1.5, 1.10), (1.79, 1.10), (1.8, 1.075), (1.99, 1.075), (2.0, 1.0), (3.0, 1.0),
    (3.01, 0.925), (3.39, 0.925), (3.4, 0.90), (3.99, 0.90), (4.0, 0.875), (5.0, 0.875), (5.01, 0.85),
]  # fmt: skip


@pytest.mark.parametrize(("inr", "factor"), AURORA_ROWS)
def test_rows_of_aurora(inr: float, factor: float) -> None:
    patient = Patient(AURORA, "of the calendar")
    patient.day(10, inr)
    assert patient.dose[0] == pytest.approx(5 * factor)


@pytest.mark.parametrize("table", [AURORA, INTERMOUNTAIN])
def test_every_inr_lies_in_one_zone(table: TitrationTable) -> None:
    grid = np.concatenate([np.arange(0.5, 12, 0.001), [1.5, 1.6, 1.8, 2, 3, 3.4, 4, 5]])
    assert np.all(sum(zone.band.contains(grid).astype(int) for zone in table.zones) == 1)


def test_aurora_skips_two_doses_and_then_gives_the_reduced_one() -> None:
    patient = Patient(AURORA, "and while stopped")
    assert [patient.day(10, 4.5), patient.day(11), patient.day(12), patient.day(13)] == [0, 0, 4.375, 4.375]
    assert patient.next_visit == np.inf  # the calendar's visits suffice


def test_aurora_stops_above_5_and_tests_every_two_days_until_3() -> None:
    patient = Patient(AURORA, "and while stopped")
    assert patient.day(10, 6.0) == 0 and patient.next_visit == 12
    assert patient.day(11) == 0 and patient.next_visit == 12
    assert patient.day(12, 3.1) == 0 and patient.next_visit == 14
    assert patient.day(13) == 0
    assert patient.day(14) == 0 and patient.next_visit == 16  # the result is lost
    assert patient.day(16, 3.0) == pytest.approx(4.25) and patient.next_visit == np.inf
    assert patient.dose[0] == pytest.approx(4.25)  # one reduction, however long it took


def test_without_other_visits_a_stop_leaves_out_two_doses() -> None:
    patient = Patient(AURORA, "of the calendar")
    given = [patient.day(10, 6.0), patient.day(11), patient.day(12)]
    assert given == pytest.approx([0, 0, 4.25])
    assert patient.next_visit == np.inf


def test_aurora_chooses_its_visits() -> None:
    patient = Patient(AURORA, "of the rule")
    patient.day(7, 1.7)
    assert patient.next_visit == 14  # seven days after a change
    waits = []
    for _ in range(6):  # in range: 1, 5, 7, 14, then 28 days
        day = int(patient.next_visit)
        patient.day(day, 2.5)
        waits.append(patient.next_visit - day)
    assert waits == [1, 5, 7, 14, 28, 28]
    day = int(patient.next_visit)
    patient.day(day)  # no result: again the next day
    assert patient.next_visit == day + 1
    patient.day(day + 1, 3.2)
    assert patient.next_visit == day + 8
    patient.day(day + 8, 2.2)  # in range anew
    assert patient.next_visit == day + 9


# Anderson 2007: dose of the day itself, dose in force, days until the next INR
INTERMOUNTAIN_ROWS = [
    (1.5, 10.0, 5.5, 5), (1.7, 7.5, 5.25, 7), (1.9, 5.0, 5.0, 14), (2.5, 5.0, 5.0, 14), (3.2, 5.0, 5.0, 14),
    (3.6, 2.5, 4.5, 7), (4.5, 0.0, 4.5, 7), (5.0, 0.0, 4.25, 2),
]  # fmt: skip


@pytest.mark.parametrize(("inr", "today", "dose", "wait"), INTERMOUNTAIN_ROWS)
def test_rows_of_intermountain(inr: float, today: float, dose: float, wait: int) -> None:
    patient = Patient(INTERMOUNTAIN, "of the rule")
    assert patient.day(7, inr) == pytest.approx(today)
    assert patient.dose[0] == pytest.approx(dose)
    assert patient.next_visit == 7 + wait


def test_intermountain_changes_near_misses_only_when_repeated() -> None:
    low, high = Patient(INTERMOUNTAIN, "of the rule"), Patient(INTERMOUNTAIN, "of the rule")
    low.day(7, 1.9)
    high.day(7, 3.2)
    assert (low.day(21, 1.85), high.day(21, 3.3)) == pytest.approx((5.25, 4.75))
    # 3.4 to 4 and 4 to 5 are one zone: the second time in a row it is tested after 14 days
    high.day(35, 3.5)
    high.day(42, 4.2)
    assert high.next_visit == 56


def test_intermountain_restarts_at_3_4() -> None:
    patient = Patient(INTERMOUNTAIN, "of the rule")
    patient.day(7, 5.5)
    assert patient.day(9, 3.5) == 0
    assert patient.day(11, 3.4) == pytest.approx(4.25)
    assert patient.next_visit == 18
