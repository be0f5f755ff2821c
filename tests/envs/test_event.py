"""The event that a trial counts, step by step: what the steps say adds up to what the trial says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs import (
    AutoresetMode,
    DosingEnv,
    DosingVectorEnv,
    Intake,
    Noise,
    Treatment,
    names,
    scenario,
)
from dosewright.envs.scenarios import Band, Event
from dosewright.evaluation import run_trial

each_drug = pytest.mark.parametrize("drug", names())
ABOVE = Band("> 4", above=4.0)


# ------------------------------------------------------------------------------------------------- the limit


@pytest.mark.parametrize(
    ("event", "units", "limit"),
    [
        (Event("ever", ABOVE), 90, 1),
        (Event("in two", ABOVE, more_than=1), 6, 2),
        (Event("in more than two and a half", ABOVE, more_than=2.5), 6, 3),
        (Event("for more than a quarter", ABOVE, more_than=0.25, as_share=True), 336, 85),
        (Event("for more than a third", ABOVE, more_than=1 / 3, as_share=True), 10, 4),
        (Event("in any", ABOVE, more_than=0.0, as_share=True), 10, 1),
    ],
)
def test_limit_is_the_smallest_number_of_units_that_make_it_happen(
    event: Event, units: int, limit: int
) -> None:
    assert event.limit(units) == limit
    counted = np.arange(units) < np.arange(units + 1)[:, None]  # 0, 1, … units above
    happened = event.happened({"level": np.where(counted, 5.0, 1.0)}, np.ones_like(counted))
    assert int(np.argmax(happened)) == limit and happened[limit:].all() and not happened[:limit].any()


# --------------------------------------------------------------------------------------------- step by step


def steady(drug: str, n: int) -> NDArray[np.float64]:
    """A dose a patient (n,), from none to the cap."""
    grid = scenario(drug).doses.doses
    return np.random.default_rng(3).permutation(np.resize(grid, n))


def followed_course(
    drug: str, n: int, realism: str = "clinic"
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Sum of ``info["event"]`` over the first course of every lane, whether the event happened in it, and
    whether the patient stayed."""
    known, dose = scenario(drug), steady(drug, n)
    env = DosingVectorEnv(
        drug, n, realism=realism, namespace="select", autoreset_mode=AutoresetMode.NEXT_STEP
    )
    env.reset(seed=2)
    total, first = np.zeros(n), np.ones(n, dtype=bool)
    happened, stayed = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    for _ in known.calendar:
        *_, terminated, truncated, info = env.step(dose)
        assert np.all(info["event"] >= 0.0)
        total += np.where(first, info["event"], 0.0)
        over = first & (terminated | truncated)
        # the course is still there: in this mode the next step begins a new one
        after = {name: response[:, 1:] for name, response in env.treatment.responses.items()}
        happened[over] = known.event.happened(after, ~np.isnan(env.treatment.benefit))[over]
        stayed[over] = terminated[over]
        first &= ~over
    assert not first.any()
    return total, happened, stayed


@each_drug
def test_steps_add_up_to_one_for_those_in_whom_the_event_happened_and_for_nobody_else(drug: str) -> None:
    total, happened, stayed = followed_course(drug, 40 if drug == "propofol" else 120)  # of 240 visits
    assert 0 < happened.sum() < len(happened) and total.max() <= 1.0 + 1e-9
    whole = total > 1.0 - 1e-9
    if scenario(drug).event.as_share:
        # the trial counts a share of the units followed, a step one of the horizon: whoever leaves may pass
        # the first without the second
        assert np.all(happened[whole]) and np.array_equal(whole[stayed], happened[stayed])
    else:
        np.testing.assert_array_equal(whole, happened)


def test_a_share_is_not_reached_by_those_who_leave_early() -> None:
    total, happened, stayed = followed_course("efavirenz", 400)
    early = happened & ~stayed & (total < 1.0 - 1e-9)
    assert early.sum() >= 3 and np.all(total[early] > 0.0)


def test_a_trial_says_the_same() -> None:
    n, known = 100, scenario("warfarin")
    dose = steady("warfarin", n)

    class ToEach:
        """Each patient's own dose."""

        name = "each"
        needs: frozenset[str] = frozenset()

        def predict(
            self,
            observation: NDArray[np.float32],
            state: Any = None,
            episode_start: NDArray[np.bool_] | None = None,
            deterministic: bool = True,
        ) -> tuple[NDArray[np.float64], Any]:
            return dose, None

    result = run_trial(
        known, {"each": ToEach()}, known.population, np.arange(n), Noise("select", 2), known.preset("clinic")
    )
    total, happened, _ = followed_course("warfarin", n)
    np.testing.assert_array_equal(result.arms["each"].ever_harm, happened)
    np.testing.assert_array_equal(result.arms["each"].ever_harm, total > 1.0 - 1e-9)


def test_an_event_of_several_units_comes_nearer_by_its_share_of_them() -> None:
    known, noise = scenario("warfarin"), Noise("select", 1)
    known = replace(known, event=Event("above INR 4 for six days", ABOVE, more_than=5))
    people = known.population.draw(known.model, known.base, np.arange(40), noise)
    treatment = Treatment(known, Intake.prepare(known, people, noise, known.preset("textbook")))
    near = np.zeros(40)
    for _ in known.calendar:
        before = np.nan_to_num(treatment.truth[:, 1:]) > 4.0
        step = treatment.give(np.full(40, 9.0)).event
        days = (np.nan_to_num(treatment.truth[:, 1:]) > 4.0).sum(axis=1)
        np.testing.assert_allclose(step, np.minimum(days / 6, 1) - np.minimum(before.sum(axis=1) / 6, 1))
        np.testing.assert_array_equal(treatment.counted, days)
        near += step
    assert ((near > 0) & (near < 1)).any() and (near == 1).any()


def test_a_new_patient_begins_without_the_events_of_the_one_before() -> None:
    env = DosingVectorEnv("vancomycin", 30, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=1)
    courses = np.zeros((3, 30))
    for course in range(3):
        for _ in scenario("vancomycin").calendar:
            courses[course] += env.step(np.full(30, 4500.0))[4]["event"]
    assert np.all(courses.sum(axis=1) > 15)  # many are harmed in every course, not in the first one only


@each_drug
def test_scalar_equals_vector_bit_for_bit(drug: str) -> None:
    n, known = 4, scenario(drug)
    envs = DosingVectorEnv(drug, n, autoreset_mode=AutoresetMode.NEXT_STEP)
    lanes = [DosingEnv(drug) for _ in range(n)]
    envs.reset(seed=3)
    for i, env in enumerate(lanes):
        env.reset(seed=3, options={"patient": i})
    over, dose = np.zeros(n, dtype=bool), np.full(n, known.doses.maximum)
    seen = []
    for _ in known.calendar[:60]:
        *_, terminated, truncated, info = envs.step(dose)
        for i in np.flatnonzero(~over):
            one = lanes[i].step(dose[i])[4]["event"]
            assert isinstance(one, float) and one == info["event"][i]
            seen.append(one)
        over |= terminated | truncated
        if over.all():
            break
    assert max(seen) > 0.0
