"""The stochastic clinician draws as it says, and a draw depends on key and visit only."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.regimens import Clinician, ClinicianState, regimen
from dosewright.envs import DrawKeys, Intake, Noise, Regimen, Scenario, StochasticRegimen, Treatment
from dosewright.evaluation import record

NOISE = Noise("select", 31)
ARMS = ("nomogram", "clinical-nomogram", "fixed-5mg")
PROBABILITIES = (0.5, 0.2, 0.3)


@pytest.fixture(scope="module")
def clinician(warfarin: Scenario) -> Clinician:
    return Clinician(warfarin, [regimen(name, warfarin) for name in ARMS], PROBABILITIES)


def keys(n: int, arm: int | str = "clinician", first: int = 0) -> DrawKeys:
    return DrawKeys(NOISE, np.arange(first, first + n), arm)


def repeated(intake: Intake, scenario: Scenario, n: int) -> NDArray[np.float32]:
    """The first visit of one patient, n times."""
    return np.repeat(Treatment(scenario, intake).observe()[:1], n, axis=0)


def test_it_is_a_stochastic_regimen(clinician: Clinician, warfarin: Scenario) -> None:
    assert isinstance(clinician, StochasticRegimen)
    assert not isinstance(regimen("nomogram", warfarin), StochasticRegimen)
    assert clinician.needs >= {"height_cm", "weight_kg"}


def test_log_prob_is_the_frequency_of_the_dose(
    clinician: Clinician, warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    n = 40_000
    observation = repeated(admitted(1), warfarin, n)
    dose, state = clinician.predict(observation, clinician.initial_state(keys(n)), deterministic=False)
    given = warfarin.doses.snap(dose)
    probability = np.exp(clinician.log_prob(observation, state, given))
    assert len(np.unique(given)) > 1
    for value in np.unique(given):
        p = float(probability[given == value][0])
        assert np.mean(given == value) == pytest.approx(p, abs=4 * np.sqrt(p * (1 - p) / n))


def test_probabilities_sum_to_one_over_the_grid_at_every_visit(
    clinician: Clinician, warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    treatment = Treatment(warfarin, admitted(40))
    state = clinician.initial_state(keys(40))
    while treatment.active.any():
        observation = treatment.observe()
        dose, state = clinician.predict(observation, state, deterministic=False)
        grid = [
            clinician.log_prob(observation, state, np.full(40, tablet)) for tablet in warfarin.doses.doses
        ]
        np.testing.assert_allclose(np.exp(grid).sum(axis=0), 1.0, rtol=0, atol=1e-12)
        given = treatment.give(dose).dose
        going = treatment.active
        assert np.isfinite(clinician.log_prob(observation, state, given)[going]).all()


def test_components_that_agree_add_up(warfarin: Scenario, admitted: Callable[..., Intake]) -> None:
    twins = Clinician(
        warfarin,
        [regimen(name, warfarin) for name in ("fixed-5mg", "fixed-5mg", "fixed-3mg")],
        (0.3, 0.3, 0.4),
    )
    observation = repeated(admitted(1), warfarin, 2)
    likeliest, state = twins.predict(observation, twins.initial_state(keys(2)))
    assert likeliest.tolist() == [5.0, 5.0]
    np.testing.assert_allclose(twins.log_prob(observation, state, [5.0, 3.0]), np.log([0.6, 0.4]))
    assert np.isneginf(twins.log_prob(observation, state, [4.0, 5.25])).all()
    alike = Clinician(warfarin, [regimen("fixed-5mg", warfarin)] * 3, (0.1, 0.2, 0.7))
    _, state = alike.predict(observation, alike.initial_state(keys(2)))
    assert alike.log_prob(observation, state, [5.0, 5.0]).tolist() == [0.0, 0.0]


class Choosy:
    """Advises `dose`, but the cap is below it."""

    needs: frozenset[str] = frozenset()

    def __init__(self, dose: float) -> None:
        self.name, self.dose = "choosy", dose

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[NDArray[np.float64], Any]:
        return np.full(len(observation), self.dose), state


def test_the_mass_is_that_of_the_dose_really_given(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    arms: list[Regimen] = [Choosy(40.0), Choosy(15.2), Choosy(4.9)]
    clinician = Clinician(warfarin, arms, (0.2, 0.3, 0.5))
    observation = repeated(admitted(1), warfarin, 3)
    _, state = clinician.predict(observation, clinician.initial_state(keys(3)))
    log_prob = clinician.log_prob(observation, state, [15.0, 5.0, 4.9])
    np.testing.assert_allclose(np.exp(log_prob), [0.5, 0.5, 0.0])


def doses(clinician: Clinician, warfarin: Scenario, ids: NDArray[np.int64], **arguments: Any) -> NDArray[Any]:
    log = record(warfarin, clinician, warfarin.population, ids, NOISE, warfarin.preset("clinic"), **arguments)
    return np.where(log.mask, log.actions, -1.0)


def test_draws_depend_on_key_and_visit_only(clinician: Clinician, warfarin: Scenario) -> None:
    ids = np.arange(60)
    whole = doses(clinician, warfarin, ids)
    np.testing.assert_array_equal(whole, doses(clinician, warfarin, ids, block=7))
    np.testing.assert_array_equal(whole[::-1], doses(clinician, warfarin, ids[::-1]))
    np.testing.assert_array_equal(whole[20:30], doses(clinician, warfarin, ids[20:30]))
    assert not np.array_equal(whole, doses(clinician, warfarin, ids, arm=2))


def test_visits_and_arms_draw_independently(warfarin: Scenario, admitted: Callable[..., Intake]) -> None:
    n = 20_000
    pair = Clinician(warfarin, [regimen(name, warfarin) for name in ("fixed-5mg", "fixed-3mg")], (0.5, 0.5))
    observation = repeated(admitted(1), warfarin, n)

    def choices(arm: int | str) -> list[NDArray[np.bool_]]:
        state, chosen = pair.initial_state(keys(n, arm)), []
        for _ in range(2):
            dose, state = pair.predict(observation, state, deterministic=False)
            chosen.append(dose == 5.0)
        return chosen

    columns = np.array([*choices("a"), *choices("b"), *choices(7)], dtype=float)
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 4.5 / np.sqrt(n)


def test_a_patient_who_begins_anew_draws_as_at_first(
    warfarin: Scenario, admitted: Callable[..., Intake]
) -> None:
    n = 200
    pair = Clinician(warfarin, [regimen(name, warfarin) for name in ("fixed-5mg", "fixed-3mg")], (0.5, 0.5))
    observation = repeated(admitted(1), warfarin, n)
    first, state = pair.predict(observation, pair.initial_state(keys(n)), deterministic=False)
    second, _ = pair.predict(observation, state, deterministic=False)
    again = np.arange(n) % 2 == 0
    mixed, state = pair.predict(observation, state, again, deterministic=False)
    np.testing.assert_array_equal(mixed, np.where(again, first, second))
    assert state.visit.tolist() == np.where(again, 1, 2).tolist()


def test_refusals(clinician: Clinician, warfarin: Scenario, admitted: Callable[..., Intake]) -> None:
    observation = repeated(admitted(1), warfarin, 2)
    with pytest.raises(ValueError, match=r"clinician: state is None; begin with initial_state"):
        clinician.predict(observation)
    state: ClinicianState = clinician.initial_state(keys(3))
    with pytest.raises(ValueError, match="2 observations for a state of 3 patients"):
        clinician.predict(observation, state)
    with pytest.raises(ValueError, match="log_prob before the first visit"):
        clinician.log_prob(observation, state, [5.0, 5.0, 5.0])
    five = regimen("fixed-5mg", warfarin)
    for probabilities in ((0.5, 0.6), (1.0, 0.0), (np.nan, 1.0)):
        with pytest.raises(ValueError, match="expected numbers above 0 with sum 1"):
            Clinician(warfarin, [five, five], probabilities)
    with pytest.raises(ValueError, match="one probability for each"):
        Clinician(warfarin, [five], (0.5, 0.5))
    with pytest.raises(ValueError, match="component 'clinician' of 'clinician' is stochastic"):
        Clinician(warfarin, [clinician, five], (0.5, 0.5))
