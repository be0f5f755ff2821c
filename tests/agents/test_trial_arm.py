"""Arms of the two trials, day by day, from what is seen: loading, refinement, late results, titration."""

from typing import Any

import numpy as np
import pytest

from dosewright.agents.regimens.initiation import (
    COAG_CLINICAL,
    COAG_GENOTYPE,
    EU_PACT_ACTS,
    EU_PACT_GENOTYPE,
    EU_PACT_KEEPS,
    Initiation,
)
from dosewright.agents.regimens.titration import AURORA, INTERMOUNTAIN, Titration, TitrationTable
from dosewright.agents.regimens.trial_arm import TrialArm
from dosewright.agents.regimens.warfarin_doses import (
    GAGE_BY_GENOTYPE,
    GAGE_WITHOUT,
    LENZINI_BY_GENOTYPE,
    LENZINI_WITHOUT,
    eu_pact_loading_doses,
    refined,
    without_cyp2c9,
)
from dosewright.envs import Regimen
from dosewright.evaluation.replications import coag

SCENARIO = coag.SCENARIO
PERSON: dict[str, Any] = {
    "age_y": 60.0, "male": 1.0, "height_cm": 175.0, "weight_kg": 85.0, "race_white": 1.0, "bsa_m2": 2.0,
    "cyp2c9_*2": 1.0, "cyp2c9_*3": 0.0, "vkorc1_A": 1.0, "smoker": 0.0, "dvt_or_pe": 1.0,
}  # fmt: skip


class Visitor:
    """One person under an arm, morning by morning."""

    def __init__(self, initiation: Initiation, table: TitrationTable = AURORA, **person: float) -> None:
        self.arm = TrialArm(SCENARIO, "arm", initiation, Titration(table, "and while stopped"))
        self.person = person  # over what is known of the person
        self.state: Any = None
        self.given = np.nan

    def entries(self, day: int, inr: float | None, drawn: int, known: dict[str, float]) -> dict[str, Any]:
        blank = {e.name: 0.0 if e.neutral is None else np.nan for e in SCENARIO.observation.entries}
        course: dict[str, Any] = {"day": day, "last_dose": self.given}
        if inr is not None:
            course |= {"inr": inr, "inr_age": day - drawn, "inr_new": 1.0}
        return blank | known | self.person | course

    def day(
        self, day: int, inr: float | None = None, drawn: int = -1, known: dict[str, float] = PERSON
    ) -> float:
        """Return the dose asked for on a day, counted from 0, with a result drawn that day unless said."""
        entries = self.entries(day, inr, day if drawn < 0 else drawn, known)
        observation = SCENARIO.observation.encode({k: np.atleast_1d(float(v)) for k, v in entries.items()})
        dose, self.state = self.arm.predict(observation, self.state, np.array([day == 0]))
        self.given = float(SCENARIO.doses.snap(dose)[0])
        return float(dose[0])

    @property
    def seen(self) -> dict[str, np.ndarray]:
        return SCENARIO.observation.decode(
            SCENARIO.observation.encode(
                {k: np.atleast_1d(v) for k, v in self.entries(0, None, 0, PERSON).items()}
            )
        )


def test_arms_are_regimens() -> None:
    assert isinstance(Visitor(EU_PACT_KEEPS).arm, Regimen)
    assert "bsa_m2" in Visitor(COAG_CLINICAL).arm.needs


@pytest.mark.parametrize(("age", "first"), [(75.0, 10.0), (76.0, 5.0)])
def test_standard_start_and_the_clinic_that_keeps_5_mg(age: float, first: float) -> None:
    visitor = Visitor(EU_PACT_KEEPS, age_y=age)
    assert [visitor.day(0), visitor.day(1), visitor.day(2)] == [first, 5, 5]
    assert [visitor.day(3, 3.5), visitor.day(4)] == [5, 5]  # study days 4 and 5
    assert visitor.day(5, 1.6) == pytest.approx(5.5)  # day 6: Aurora
    assert visitor.day(6) == pytest.approx(5.5)


@pytest.mark.parametrize(
    ("inr", "factor"), [(1.4, 1.1), (1.5, 1.0), (1.99, 1.0), (2.0, 0.8), (2.5, 0.6), (2.99, 0.6), (3.0, 0.3)]
)
def test_clinic_that_acts_on_day_4(inr: float, factor: float) -> None:
    visitor = Visitor(EU_PACT_ACTS)
    for day in range(3):
        visitor.day(day)
    assert visitor.day(3, inr) == pytest.approx(5 * factor)
    assert visitor.day(4) == pytest.approx(5 * factor)
    assert visitor.day(5, 1.9) == pytest.approx(5 * factor * 1.075)


def test_eu_pact_loads_and_refines_by_the_doses_given() -> None:
    visitor = Visitor(EU_PACT_GENOTYPE)
    first, second, third, _ = (float(dose[0]) for dose in eu_pact_loading_doses(visitor.seen))
    assert [visitor.day(0), visitor.day(1), visitor.day(2)] == pytest.approx([first, second, third])
    # the INR of day 4: 2 and 3 days before it are days 2 and 1, and before that there was no dose
    before = SCENARIO.doses.snap([[second, first, 0.0]])
    expected = float(refined(LENZINI_BY_GENOTYPE, visitor.seen, np.array([1.6]), before)[0])
    assert visitor.day(3, 1.6) == pytest.approx(expected)
    assert visitor.day(4) == pytest.approx(expected)
    assert visitor.day(5, 2.5) == pytest.approx(expected)


def test_a_late_result_of_day_4_refines_on_day_5_with_the_doses_before_it_was_drawn() -> None:
    prompt, late = Visitor(EU_PACT_GENOTYPE), Visitor(EU_PACT_GENOTYPE)
    for day in range(3):
        prompt.day(day)
        late.day(day)
    daily = float(eu_pact_loading_doses(late.seen)[3][0])
    refined_dose = prompt.day(3, 1.6)
    assert late.day(3) == pytest.approx(daily)  # no result: the predicted daily dose
    assert late.day(4, 1.6, drawn=3) == pytest.approx(refined_dose)


def test_coag_leaves_cyp2c9_out_of_the_first_dose_only() -> None:
    visitor = Visitor(COAG_GENOTYPE)
    first = float(GAGE_BY_GENOTYPE.dose(without_cyp2c9(visitor.seen))[0])
    daily = float(GAGE_BY_GENOTYPE.dose(visitor.seen)[0])
    assert first / daily == pytest.approx(np.exp(0.2066))
    assert [visitor.day(0), visitor.day(1), visitor.day(2)] == pytest.approx([first, daily, daily])


def test_coag_doses_clinically_while_the_genotype_is_not_back() -> None:
    unknown = {"cyp2c9_*2": np.nan, "cyp2c9_*3": np.nan, "vkorc1_A": np.nan}
    visitor = Visitor(COAG_GENOTYPE)
    clinical, guided = (
        float(equation.dose(visitor.seen)[0]) for equation in (GAGE_WITHOUT, GAGE_BY_GENOTYPE)
    )
    assert visitor.day(0, known={**PERSON, **unknown}) == pytest.approx(clinical)
    assert visitor.day(1) == pytest.approx(guided)


def test_coag_refines_on_days_4_and_5_and_then_leaves_it_to_the_clinic() -> None:
    visitor = Visitor(COAG_CLINICAL)
    daily = [visitor.day(day) for day in range(3)][0]
    given = float(SCENARIO.doses.snap(daily))
    on_4 = refined(LENZINI_WITHOUT, visitor.seen, np.array([1.2]), np.array([[given, given, 0.0]]))[0]
    assert visitor.day(3, 1.2) == pytest.approx(on_4)
    on_5 = refined(LENZINI_WITHOUT, visitor.seen, np.array([1.5]), np.array([[given, given, given]]))[0]
    assert visitor.day(4, 1.5) == pytest.approx(on_5)
    assert visitor.day(5) == visitor.day(6) == pytest.approx(on_5)
    assert visitor.day(7, 1.9) == pytest.approx(on_5 * 1.075)


def test_intermountain_starts_on_day_8_from_the_mean_dose_of_days_5_to_7() -> None:
    visitor = Visitor(EU_PACT_KEEPS, INTERMOUNTAIN)
    for day in range(7):
        visitor.day(day, 1.2 if day in (3, 5) else None)  # the INR of day 6 changes nothing
    assert visitor.given == 5.0
    assert visitor.day(7, 1.7) == pytest.approx(7.5)
    assert visitor.day(8) == pytest.approx(5.25)


def test_dose_in_force_stays_between_0_25_and_15_mg() -> None:
    high, low = Visitor(EU_PACT_KEEPS), Visitor(EU_PACT_KEEPS)
    for day in range(40):
        high.day(day, 1.1)
        low.day(day, 3.9)
    assert (high.given, low.given) == (15.0, 0.25)
    # no debt: one step down from the cap is a step down of the dose
    assert high.state.dose == pytest.approx([15.0]) and low.state.dose == pytest.approx([0.25])


def test_patients_begin_anew_one_by_one() -> None:
    arm = Visitor(EU_PACT_KEEPS).arm
    blank = {e.name: 0.0 if e.neutral is None else np.nan for e in SCENARIO.observation.entries} | PERSON
    state: Any = None
    for day in range(8):
        new = {
            "day": day,
            "inr": 1.4,
            "inr_age": 0.0,
            "inr_new": float(day == 7),
            "last_dose": 5.0 if day else np.nan,
        }
        values = {k: np.full(2, float(v)) for k, v in (blank | new).items()}
        _, state = arm.predict(SCENARIO.observation.encode(values), state, np.full(2, day == 0))
    assert state.dose == pytest.approx([5.75, 5.75])
    values = {k: np.full(2, float(v)) for k, v in (blank | {"day": 0.0}).items()}
    values["day"], values["last_dose"] = np.array([0.0, 8.0]), np.array([np.nan, 5.75])
    dose, state = arm.predict(SCENARIO.observation.encode(values), state, np.array([True, False]))
    assert dose == pytest.approx([10.0, 5.75])
    assert not state.changed[0] and state.given[0].sum() == 0
