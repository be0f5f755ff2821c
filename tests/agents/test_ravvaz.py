"""The five arms of Ravvaz 2017: first doses, the check of day 3, what each reads first."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.regimens.ravvaz import ravvaz_arms
from dosewright.agents.regimens.trial_arm import TrialArm, TrialArmState
from dosewright.envs import scenario
from dosewright.envs.genotypes import allele_entry
from dosewright.envs.scenarios.warfarin import IWPC_PHARMACOGENETIC
from dosewright.evaluation.replications import day_by_day

DAILY = day_by_day(scenario("warfarin-anzabi-zadeh"))
ARMS = ravvaz_arms(DAILY)
Floats = NDArray[np.float64]


def seen(day: int, inr: float, dose: float, age: float = 70.0) -> NDArray[np.float32]:
    """One patient, *1/*1 GG, 175 cm and 80 kg, with an INR of this morning (NaN: none)."""
    spec = DAILY.observation
    vector = np.zeros((1, len(spec.names)), dtype=np.float32)
    values: Mapping[str, float] = {
        "age_y": age, "height_cm": 175.0, "weight_kg": 80.0, "bsa_m2": 1.97, "race_white": 1.0,
        allele_entry("CYP2C9", "*2"): 0.0, allele_entry("CYP2C9", "*3"): 0.0,
        allele_entry("VKORC1", "A"): 0.0, "day": float(day), "last_dose": dose, "inr": inr, "inr_age": 0.0,
        "inr_new": float(not np.isnan(inr)),
    }  # fmt: skip
    for name, value in values.items():
        spec.write(vector, name, np.array([value]))
    return vector


def course(arm: TrialArm, inr: Mapping[int, float], days: int, age: float = 70.0) -> tuple[Floats, Floats]:
    """Return the doses (days,) of one patient, and the day of the INR asked for on each day (days,)."""
    state: TrialArmState | None = None
    doses, asked, last = np.zeros(days), np.zeros(days), np.nan
    for day in range(days):
        dose, state = arm.predict(seen(day, inr.get(day, np.nan), last, age), state, np.array([day == 0]))
        doses[day], asked[day] = dose[0], state.next_visit[0]
        last = float(dose[0])
    return doses, asked


def test_there_are_five() -> None:
    assert tuple(ARMS) == ("AAA", "CAA", "PGAA", "PGPGA", "PGPGI")


@pytest.mark.parametrize(("age", "first"), [(64.9, 10.0), (65.0, 5.0)])
def test_aurora_starts_by_age(age: float, first: float) -> None:
    assert course(ARMS["AAA"], {}, 2, age)[0].tolist() == [first, first]


def test_the_first_two_doses_of_pgaa_are_iwpcs() -> None:
    known = DAILY.observation.decode(seen(0, 1.0, np.nan))
    # 5.6044 − 7·0.2614 + 175·0.0087 + 80·0.0128 = 6.3211; squared, over 7
    assert IWPC_PHARMACOGENETIC.dose(known)[0] == pytest.approx(6.3211**2 / 7, abs=1e-3)
    doses, _ = course(ARMS["PGAA"], {0: 1.0}, 2)
    assert doses == pytest.approx([6.3211**2 / 7] * 2, abs=1e-3)


# by Aurora's table below 2, and 5 mg from 2 on; days 3 and 4 have the same dose
@pytest.mark.parametrize(("inr", "changed"), [(1.4, 5 * 1.15), (1.7, 5 * 1.1), (1.9, 5 * 1.075), (2.4, 5.0)])
def test_the_inr_of_day_3(inr: float, changed: float) -> None:
    doses, _ = course(ARMS["AAA"], {0: 1.0, 2: inr}, 4)
    assert doses == pytest.approx([5.0, 5.0, changed, changed])


def test_an_inr_of_2_on_day_3_sets_the_dose_to_5_mg_also_from_10() -> None:
    assert course(ARMS["AAA"], {0: 1.0, 2: 2.0}, 4, age=50.0)[0].tolist() == [10.0, 10.0, 5.0, 5.0]


def test_day_5_is_the_first_of_maintenance_and_visits_spread() -> None:
    inr = {0: 1.0, 2: 2.2, 4: 2.5, 5: 2.5, 10: 2.5, 17: 3.2}
    doses, asked = course(ARMS["AAA"], inr, 18)
    assert doses[4:17] == pytest.approx(5.0) and doses[17] == pytest.approx(5 * 0.925)
    # a day, 5 days and a week on, and a week after a change
    assert asked[[4, 5, 10, 17]].tolist() == [5, 10, 17, 24]
    assert np.isinf(asked[:4]).all()


def test_lenzini_doses_days_4_and_5_and_day_6_is_the_first_of_maintenance() -> None:
    without, _ = course(ARMS["PGPGA"], {0: 1.0}, 6)
    doses, asked = course(ARMS["PGPGA"], {0: 1.0, 3: 1.8, 5: 2.5}, 6)
    assert doses[:3] == pytest.approx(without[:3]) and doses[0] > doses[1] > doses[2]
    assert doses[3] == pytest.approx(doses[4]) and doses[3] != pytest.approx(without[3])
    assert doses[5] == pytest.approx(doses[4]) and asked[5] == 6
    # Intermountain waits two weeks where Aurora waits a day, and doubles a dose once below 1.6
    other, waits = course(ARMS["PGPGI"], {0: 1.0, 3: 1.8, 5: 2.5}, 6)
    assert other == pytest.approx(doses) and waits[5] == 19
    low, _ = course(ARMS["PGPGI"], {0: 1.0, 3: 1.8, 5: 1.5}, 7)
    assert low[5:] == pytest.approx([2 * low[4], 1.1 * low[4]])
