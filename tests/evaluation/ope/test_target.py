"""What a target would have done, on the history that was logged, and which questions are not allowed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dosewright.agents import arm
from dosewright.agents.regimens import Clinician
from dosewright.agents.regimens.noisy import Noisy, Relative, Steps
from dosewright.envs import Noise, Regimen, Scenario, scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.eligibility import check_scenario, refuse_training_patients
from dosewright.evaluation.ope.target import ask_target, share_changed, target_log_prob
from dosewright.evaluation.recording import record

N = 80


@pytest.fixture(scope="module")
def clinician(warfarin: Scenario) -> Clinician:
    return Clinician(warfarin, [arm(name, warfarin) for name in ("nomogram", "label")], (0.6, 0.4))


@pytest.fixture(scope="module")
def log(warfarin: Scenario, clinician: Clinician) -> Trajectories:
    realism = warfarin.preset("clinic")
    return record(warfarin, clinician, warfarin.population, np.arange(N), Noise("select", 1), realism)


def test_order_of_patients_does_not_matter(log: Trajectories, warfarin: Scenario) -> None:
    policy = arm("nomogram", warfarin)
    order = np.random.default_rng(3).permutation(N)[:30]
    some = ask_target(log.select(order), policy, warfarin)
    whole = ask_target(log, policy, warfarin)
    np.testing.assert_array_equal(some.log_prob, whole.log_prob[order])
    np.testing.assert_array_equal(some.doses.doses, whole.doses.doses[order])


def test_a_deterministic_target_has_one_dose(log: Trajectories, warfarin: Scenario) -> None:
    target = ask_target(log, arm("nomogram", warfarin), warfarin)
    assert target.doses.doses.shape == (*log.mask.shape, 1)
    assert (target.doses.probability[log.mask] == 1).all() and not target.doses.probability[~log.mask].any()
    same = np.isclose(target.doses.doses[..., 0], log.actions) & log.mask
    np.testing.assert_array_equal(target.log_prob[log.mask] == 0, same[log.mask])
    assert share_changed(log, target.log_prob) == 1 - same[log.mask].mean()


@pytest.mark.parametrize("noise", [Steps(), Relative(0.3)])
def test_a_stochastic_target_has_all_its_doses(log: Trajectories, warfarin: Scenario, noise: Any) -> None:
    regimen = Noisy(warfarin, arm("nomogram", warfarin), noise)
    target = ask_target(log, regimen, warfarin)
    doses, probability = target.doses.doses, target.doses.probability
    np.testing.assert_allclose(probability[log.mask].sum(axis=1), 1.0, rtol=1e-12)
    # the logged dose has the probability that the list gives it
    own = np.where(np.isclose(doses, log.actions[..., None]), probability, 0.0).sum(axis=2)
    np.testing.assert_allclose(np.exp(target.log_prob[log.mask]), own[log.mask], rtol=1e-12)
    # only as many columns as any decision needs, and the advised dose is the median
    assert doses.shape[2] == (probability > 0).sum(axis=2).max()
    advised = ask_target(log, arm("nomogram", warfarin), warfarin).doses.doses
    below, above = ((probability * side).sum(axis=2) for side in (doses < advised, doses > advised))
    assert max(below[log.mask].max(), above[log.mask].max()) < 0.5
    np.testing.assert_array_equal(target_log_prob(log, regimen, warfarin), target.log_prob)


def test_the_regimen_that_made_the_log_gives_its_probabilities(
    log: Trajectories, clinician: Clinician, warfarin: Scenario
) -> None:
    target = ask_target(log, clinician, warfarin)
    assert log.behaviour_log_prob is not None
    np.testing.assert_array_equal(target.log_prob[log.mask], log.behaviour_log_prob[log.mask])
    assert target.doses.doses.shape[2] == 2


class Counted:
    """A regimen that counts how often it is asked."""

    needs: frozenset[str] = frozenset()
    name = "counted"

    def __init__(self, **attributes: Any) -> None:
        self.asked = 0
        for name, value in attributes.items():
            setattr(self, name, value)

    def predict(
        self, observation: Any, state: Any = None, episode_start: Any = None, deterministic: bool = True
    ) -> tuple[Any, Any]:
        self.asked += len(observation)
        return np.full(len(observation), 5.0), state


def test_one_pass_over_the_history(log: Trajectories, warfarin: Scenario) -> None:
    regimen = Counted()
    ask_target(log, regimen, warfarin)
    assert regimen.asked == log.mask.sum()


class Broken(Counted):
    """A stochastic regimen whose probabilities do not sum to 1."""

    def initial_state(self, keys: Any) -> Any:
        return None

    def log_prob(self, observation: Any, state: Any, dose: Any) -> Any:
        return np.where(np.asarray(dose) == 5.0, np.log(0.5), -np.inf)


def test_probabilities_that_do_not_sum_to_one_are_refused(log: Trajectories, warfarin: Scenario) -> None:
    with pytest.raises(ValueError, match=r"probability.sum\(axis=2\)\[0, 0\] = 0.5 .*expected 1"):
        ask_target(log, Broken(), warfarin)


REFUSED: list[tuple[Callable[[Scenario], Regimen], str]] = [
    (lambda _: Counted(initial_state=lambda keys: None), "'counted' draws its doses and has no log_prob"),
    (lambda warfarin: arm("oracle", warfarin), "'oracle' is shown the truth"),
    (lambda _: Counted(seed_namespace="select"), "'counted': its card says that it was trained on seed nam"),
    (lambda warfarin: Noisy(warfarin, Counted(seed_namespace="select")), "'counted-noisy': its card says"),
    (
        lambda warfarin: Clinician(warfarin, [Counted(seed_namespace="select")], (1.0,), "mix"),
        "'counted': its card says",
    ),
]


@pytest.mark.parametrize(("regimen", "message"), REFUSED, ids=[message[:30] for _, message in REFUSED])
def test_regimens_that_may_not_be_asked(
    log: Trajectories, warfarin: Scenario, regimen: Callable[[Scenario], Regimen], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        ask_target(log, regimen(warfarin), warfarin)


@pytest.mark.parametrize("dose", [-1.0, 45.0])
def test_doses_outside_the_grid_are_refused(log: Trajectories, warfarin: Scenario, dose: float) -> None:
    doses = np.array(log.actions)
    doses[3, 1] = dose
    message = rf"actions\[3, 1\] = {dose:g} \(patient 3, step 1\); expected a dose from 0 to 15 mg"
    with pytest.raises(ValueError, match=message):
        ask_target(replace(log, actions=doses), arm("nomogram", warfarin), warfarin)


def test_a_continuous_dose_is_refused(log: Trajectories, warfarin: Scenario) -> None:
    with pytest.raises(ValueError, match="propensity = 'density'; expected 'mass': 'nomogram' gives doses"):
        ask_target(replace(log, propensity="density"), arm("nomogram", warfarin), warfarin)


def test_training_patients_are_known_by_their_namespace(log: Trajectories) -> None:
    trained: Any = Counted(seed_namespace="train")
    refuse_training_patients(log, trained)
    with pytest.raises(ValueError, match="trained on seed namespace 'train', which the patients of this log"):
        refuse_training_patients(replace(log, provenance={"namespace": "train", "seed": 9}), trained)
    refuse_training_patients(replace(log, provenance={}), trained)  # nobody says whose patients they are


def test_a_log_of_another_scenario_is_refused(log: Trajectories, warfarin: Scenario) -> None:
    nomogram = arm("nomogram", warfarin)
    with pytest.raises(ValueError, match="the log says scenario 'warfarin'; expected 'tacrolimus'"):
        check_scenario(log, scenario("tacrolimus"))
    older = replace(log, provenance={**log.provenance, "scenario_version": 99})
    with pytest.raises(ValueError, match="the log says scenario_version 99; expected 0"):
        ask_target(older, nomogram, warfarin)
    narrow = replace(log, observations=log.observations[..., :3], observation_names=())
    with pytest.raises(ValueError, match="observations have 3 entries; expected the"):
        ask_target(narrow, nomogram, warfarin)
    names = list(log.observation_names)
    names[0], names[1] = names[1], names[0]
    with pytest.raises(ValueError, match=f"observation 0 is '{names[0]}'; expected '{names[1]}'"):
        ask_target(replace(log, observation_names=tuple(names)), nomogram, warfarin)


def test_steps_of_another_length_are_refused(log: Trajectories, warfarin: Scenario) -> None:
    nomogram = arm("nomogram", warfarin)
    assert log.times is not None
    late = np.array(log.times)
    late[4, 3] += 0.5
    message = r"times\[4, 3\] is 7.5 d after the first decision \(patient 4, step 3\); expected 7 as in"
    with pytest.raises(ValueError, match=message):
        ask_target(replace(log, times=late), nomogram, warfarin)
    ask_target(replace(log, times=late), nomogram, warfarin, visit_window=1.0)
    # the first day need not be 0
    ask_target(replace(log, times=log.times + 3.0), nomogram, warfarin)
    # a log that was re-binned to weeks
    weekly = replace(log, times=np.tile(7.0 * np.arange(log.horizon), (N, 1)), step_length=7.0)
    message = "step_length = 7; expected the intervals of scenario 'warfarin', 3, 2"
    for rebinned in (weekly, replace(log, times=None, step_length=7.0)):
        with pytest.raises(ValueError, match=message):
            ask_target(rebinned, nomogram, warfarin)
    short = replace(warfarin, calendar=(0, 5, 14, 28, 56))
    with pytest.raises(ValueError, match=f"has {log.horizon} decisions; expected at most the 5 visits"):
        ask_target(log, nomogram, short)


def test_what_the_scenario_puts_off_is_no_other_calendar() -> None:
    drug = scenario("fluorouracil")
    fixed = Clinician(drug, [arm("fixed-3600", drug)], (1.0,))
    log = record(drug, fixed, drug.population, np.arange(60), Noise("select", 1), drug.preset("clinic"))
    assert log.times is not None
    assert (drug.observation.read(log.observations, "delays")[log.mask] > 0).any()
    check_scenario(log, drug)
    with pytest.raises(ValueError, match="as in the calendar of scenario 'fluorouracil'"):
        check_scenario(replace(log, times=log.times * 0.5), drug)
