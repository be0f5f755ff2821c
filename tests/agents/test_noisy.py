"""Doses moved at random: with the probabilities that are stated, at the ends of the grid as well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from dosewright.agents.regimens import Clinician, regimen
from dosewright.agents.regimens.noisy import Noisy, Relative, Steps
from dosewright.envs import DrawKeys, Intake, Noise, Scenario, StochasticRegimen, Treatment, scenario
from dosewright.envs.scenarios.dosing import DoseGrid
from dosewright.evaluation.recording import record

NOISE = Noise("select", 31)
TABLETS = DoseGrid("mg", 0.5, 2.0)  # 0, 0.5, 1, 1.5, 2
NOISES = (Steps(), Steps({-2: 0.1, 0: 0.5, 1: 0.4}), Relative(0.05), Relative(0.7))
DRUGS = ("warfarin", "propofol", "docetaxel", "vancomycin", "mercaptopurine")


class Advises:
    """Always the same dose."""

    needs: frozenset[str] = frozenset({"weight_kg"})
    name = "advice"
    seed_namespace = "train"

    def __init__(self, dose: float) -> None:
        self.dose = dose

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], Any]:
        return np.full(len(observation), self.dose), state


def keys(n: int, arm: int | str = "noisy") -> DrawKeys:
    return DrawKeys(NOISE, np.arange(n), arm)


def test_steps_on_a_grid_by_hand() -> None:
    # rows: advised 0, 0.5, ..., 2; a step beyond the cap is given at the cap, one below 0 is 0, 0 stays 0
    np.testing.assert_allclose(
        Steps().table(TABLETS),
        [
            [1.0, 0.0, 0.0, 0.0, 0.0],
            [0.1, 0.8, 0.1, 0.0, 0.0],
            [0.0, 0.1, 0.8, 0.1, 0.0],
            [0.0, 0.0, 0.1, 0.8, 0.1],
            [0.0, 0.0, 0.0, 0.1, 0.9],
        ],
        atol=1e-15,
    )
    far = Steps({-3: 0.25, -2: 0.25, 1: 0.5}).table(TABLETS)
    np.testing.assert_allclose(far[2], [0.5, 0.0, 0.0, 0.5, 0.0], atol=1e-15)
    np.testing.assert_allclose(far[4], [0.0, 0.25, 0.25, 0.0, 0.5], atol=1e-15)


@pytest.mark.parametrize("grid", [TABLETS, scenario("propofol").doses], ids=["even", "uneven"])
def test_a_relative_spread_is_the_share_of_what_is_rounded_to_a_dose(grid: DoseGrid) -> None:
    # drawn and snapped by the environment's own rule
    table, factor = Relative(0.4).table(grid), stats.lognorm.ppf((np.arange(200_000) + 0.5) / 200_000, 0.4)
    for place in (1, len(grid.doses) // 2, len(grid.doses) - 1):
        snapped = grid.snap(grid.doses[place] * factor)
        share = np.array([grid.same(snapped, dose).mean() for dose in grid.doses])
        np.testing.assert_allclose(table[place], share, atol=2e-5)
    assert table[0].tolist() == [1.0] + [0.0] * (len(grid.doses) - 1)


def test_small_tails_are_not_lost_to_rounding() -> None:
    # 1 to 120 mg/kg/h is 16 standard deviations: a difference of numbers near 1 would give 0
    grid = scenario("propofol").doses
    table, row = Relative(0.3).table(grid), int(np.searchsorted(grid.doses, 1.0))
    expected = stats.norm.sf(np.log(110.0) / 0.3)
    assert table[row, -1] == pytest.approx(expected, rel=1e-9) and 0 < expected < 1e-50


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("drug", DRUGS)
def test_every_row_sums_to_one(drug: str, noise: Any) -> None:
    problem = scenario(drug)
    table = Noisy(problem, Advises(1.0), noise).table
    np.testing.assert_allclose(table.sum(axis=1), 1.0, rtol=1e-14)
    assert (table >= 0).all()
    assert (np.diag(table)[1:] > 0).all()  # the advised dose is in the log's support


def seen(problem: Scenario, n: int) -> NDArray[np.float32]:
    return np.zeros((n, len(problem.observation.names)), dtype=np.float32)


@pytest.mark.parametrize("noise", NOISES)
@pytest.mark.parametrize("advised", [0.0, 0.5, 5.2, 14.9, 40.0])
def test_log_prob_is_the_frequency_of_the_dose(warfarin: Scenario, noise: Any, advised: float) -> None:
    n = 40_000
    noisy, observation = Noisy(warfarin, Advises(advised), noise), seen(warfarin, n)
    dose, state = noisy.predict(observation, noisy.initial_state(keys(n)), deterministic=False)
    given = warfarin.doses.snap(dose)
    np.testing.assert_array_equal(given, dose)
    probability = np.exp(noisy.log_prob(observation, state, given))
    for value in np.unique(given):
        p = float(probability[given == value][0])
        assert np.mean(given == value) == pytest.approx(p, abs=4.5 * np.sqrt(p * (1 - p) / n) + 2 / n)
    # and the whole distribution is the same, dose by dose
    each = [noisy.log_prob(observation, state, np.full(n, tablet)) for tablet in warfarin.doses.doses]
    np.testing.assert_allclose(np.exp(each).T, noisy.probabilities(state), rtol=1e-12)


def test_deterministic_is_the_advice_itself(warfarin: Scenario) -> None:
    noisy = Noisy(warfarin, Advises(5.2), Relative(0.7))
    dose, state = noisy.predict(seen(warfarin, 3), noisy.initial_state(keys(3)))
    assert dose.tolist() == [5.0, 5.0, 5.0]
    assert np.exp(noisy.log_prob(seen(warfarin, 3), state, [5.0, 5.0, 5.25])).tolist() == pytest.approx(
        [noisy.table[10, 10]] * 2 + [0.0]
    )


def test_it_is_a_stochastic_regimen_and_says_whose(warfarin: Scenario) -> None:
    noisy = Noisy(warfarin, Advises(5.0))
    assert isinstance(noisy, StochasticRegimen)
    assert (noisy.name, noisy.needs, noisy.seed_namespace) == ("advice-noisy", {"weight_kg"}, "train")
    assert Noisy(warfarin, regimen("nomogram", warfarin), name="served").name == "served"
    assert Noisy(warfarin, regimen("nomogram", warfarin)).seed_namespace is None


def test_the_regimen_behind_it_keeps_its_memory(warfarin: Scenario, admitted: Callable[..., Intake]) -> None:
    # on one history, the advice of the noisy nomogram is that of the nomogram
    plain = regimen("nomogram", warfarin)
    noisy, memory, start = Noisy(warfarin, plain), None, np.ones(30, dtype=bool)
    treatment, state = Treatment(warfarin, admitted(30)), noisy.initial_state(keys(30))
    while treatment.active.any():
        observation = treatment.observe()
        wanted, memory = plain.predict(observation, memory, start)
        dose, state = noisy.predict(observation, state, deterministic=False)
        np.testing.assert_array_equal(warfarin.doses.doses[state.advised], warfarin.doses.snap(wanted))
        treatment.give(dose)
        start = np.zeros(30, dtype=bool)


def doses(noisy: Noisy, warfarin: Scenario, ids: NDArray[np.int64], **arguments: Any) -> NDArray[Any]:
    log = record(warfarin, noisy, warfarin.population, ids, NOISE, warfarin.preset("clinic"), **arguments)
    return np.where(log.mask, log.actions, -1.0)


def test_draws_depend_on_key_and_visit_only(warfarin: Scenario) -> None:
    noisy, ids = Noisy(warfarin, regimen("nomogram", warfarin), Relative(0.3)), np.arange(60)
    whole = doses(noisy, warfarin, ids)
    np.testing.assert_array_equal(whole, doses(noisy, warfarin, ids, block=7))
    np.testing.assert_array_equal(whole[::-1], doses(noisy, warfarin, ids[::-1]))
    np.testing.assert_array_equal(whole[20:30], doses(noisy, warfarin, ids[20:30]))
    assert not np.array_equal(whole, doses(noisy, warfarin, ids, arm=2))


def test_visits_and_arms_draw_independently(warfarin: Scenario) -> None:
    n = 20_000
    noisy, observation = Noisy(warfarin, Advises(5.0), Relative(0.3)), seen(warfarin, n)

    def course(arm: str) -> list[NDArray[np.float64]]:
        state, given = noisy.initial_state(keys(n, arm)), []
        for _ in range(2):
            dose, state = noisy.predict(observation, state, deterministic=False)
            given.append(dose)
        return given

    columns = np.array([*course("a"), *course("b")])
    assert np.abs(np.corrcoef(columns) - np.eye(4)).max() < 4.5 / np.sqrt(n)


def test_a_patient_who_begins_anew_draws_as_at_first(warfarin: Scenario) -> None:
    noisy, observation = Noisy(warfarin, Advises(5.0), Relative(0.3)), seen(warfarin, 200)
    first, state = noisy.predict(observation, noisy.initial_state(keys(200)), deterministic=False)
    second, _ = noisy.predict(observation, state, deterministic=False)
    again = np.arange(200) % 2 == 0
    mixed, state = noisy.predict(observation, state, again, deterministic=False)
    np.testing.assert_array_equal(mixed, np.where(again, first, second))
    assert state.visit.tolist() == np.where(again, 1, 2).tolist()


@pytest.mark.parametrize("drug", DRUGS)
def test_a_log_of_every_kind_of_grid(drug: str) -> None:
    problem = scenario(drug)
    noisy = Noisy(problem, regimen("label", problem), Relative(0.25))
    log = record(problem, noisy, problem.population, np.arange(20), NOISE, problem.preset("clinic"))
    assert log.behaviour_log_prob is not None
    chance = np.exp(log.behaviour_log_prob[log.mask])
    assert (chance > 0).all() and (chance <= 1 + 1e-12).all()
    assert len(np.unique(log.actions[log.mask])) > 2
    assert np.isin(log.actions[log.mask].round(9), problem.doses.doses.round(9)).all()


def test_refusals(warfarin: Scenario) -> None:
    for chances in ({0: 0.5, 1: 0.6}, {0: 1.0, 1: 0.0}, {0: np.nan}, {}):
        with pytest.raises(ValueError, match="expected numbers above 0 with sum 1"):
            Steps(chances)
    with pytest.raises(ValueError, match=r"step 0\.5; expected whole steps"):
        Steps({0: 0.5, 0.5: 0.5})  # pyright: ignore[reportArgumentType]
    for spread in (0.0, -0.1, np.inf, np.nan):
        with pytest.raises(ValueError, match=f"log_sd = {spread}; expected a number above 0"):
            Relative(spread)
    five = regimen("fixed-5mg", warfarin)
    with pytest.raises(ValueError, match="regimen 'clinician' is stochastic itself"):
        Noisy(warfarin, Clinician(warfarin, [five], (1.0,)))
    noisy = Noisy(warfarin, five)
    with pytest.raises(ValueError, match="fixed-5mg-noisy: state is None; begin with initial_state"):
        noisy.predict(seen(warfarin, 2))
    with pytest.raises(ValueError, match="2 observations for a state of 3 patients"):
        noisy.predict(seen(warfarin, 2), noisy.initial_state(keys(3)))
    with pytest.raises(ValueError, match="no visit yet; give the state that predict returned"):
        noisy.log_prob(seen(warfarin, 3), noisy.initial_state(keys(3)), [5.0, 5.0, 5.0])
