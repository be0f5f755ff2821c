"""What a policy without a belief sees: the last observations as they are, and the clinic's first dose."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents import arm
from dosewright.agents.learning import HistoryFeatures, LearnedPolicy, LearningVectorEnv, Scaling
from dosewright.envs import (
    AutoresetMode,
    DosingVectorEnv,
    Intake,
    Noise,
    Regimen,
    Scenario,
    Treatment,
    names,
    scenario,
)
from dosewright.envs.observation import ObservationSpec

WARFARIN = scenario("warfarin")
SPEC = WARFARIN.observation
PERSON = len(ObservationSpec(WARFARIN.covariates).names)  # columns that are the same at every visit
Treat = Callable[[Regimen, Intake], tuple[Treatment, NDArray[np.float64]]]


def seen(n: int, visits: int) -> list[NDArray[np.float32]]:
    """Observations (n, k) of some visits, each a number of its own."""
    k = len(SPEC.names)
    return [np.arange(n * k, dtype=np.float32).reshape(n, k) + 1000 * visit for visit in range(1, visits + 1)]


def read(
    inputs: HistoryFeatures,
    observations: list[NDArray[np.float32]],
    starts: dict[int, NDArray[np.bool_]] | None = None,
) -> list[NDArray[np.float32]]:
    """Features after each visit; `starts`: visit -> whose first one it is."""
    history, features = None, []
    for visit, observation in enumerate(observations):
        history = inputs.update(history, observation, (starts or {}).get(visit))
        features.append(inputs(history, observation)[0])
    return features


def test_features_are_the_last_observations_the_newest_first() -> None:
    visits = seen(4, 5)
    features = read(HistoryFeatures(WARFARIN, 3), visits)
    nothing = np.zeros((4, len(SPEC.names) - PERSON), np.float32)
    courses = [nothing, nothing, *(observation[:, PERSON:] for observation in visits)]
    for visit, observation in enumerate(visits):
        # what is known of the person is shown once, the course of every visit that is remembered
        expected = np.concatenate([observation, courses[visit + 1], courses[visit]], axis=1)
        np.testing.assert_array_equal(features[visit], expected)


def test_one_visit_is_the_observation() -> None:
    visits = seen(3, 4)
    inputs = HistoryFeatures(WARFARIN, 1)
    assert inputs.names == SPEC.names
    for features, observation in zip(read(inputs, visits), visits, strict=True):
        np.testing.assert_array_equal(features, observation)


def test_a_new_episode_forgets_and_the_others_remember() -> None:
    visits, starts = seen(4, 6), np.array([False, True, False, True])
    inputs = HistoryFeatures(WARFARIN, 3)
    features = read(inputs, visits, {3: starts})
    never, anew = read(inputs, visits), read(inputs, visits[3:])
    for after in range(3):
        np.testing.assert_array_equal(features[3 + after][~starts], never[3 + after][~starts])
        np.testing.assert_array_equal(features[3 + after][starts], anew[after][starts])
    assert not np.array_equal(anew[0][starts], never[3][starts])


def test_patients_are_taken_out_and_put_back() -> None:
    inputs, visits, rows = HistoryFeatures(WARFARIN, 3), seen(5, 3), np.array([4, 1])
    history = inputs.update(inputs.update(None, visits[0]), visits[1])
    part = inputs.update(history.select(rows), visits[2][rows])
    whole = inputs.update(history, visits[2])
    np.testing.assert_array_equal(part.seen, whole.seen[rows])
    back = history.replace_rows(rows, part)
    np.testing.assert_array_equal(back.seen[rows], part.seen)
    np.testing.assert_array_equal(back.seen[[0, 2, 3]], history.seen[[0, 2, 3]])
    assert not np.array_equal(back.seen[rows], history.seen[rows])  # and history itself is as it was


@pytest.mark.parametrize("drug", names())
def test_features_have_names_and_the_anchor_is_usual_cares_first_dose(drug: str) -> None:
    n, known = 12, scenario(drug)
    inputs = HistoryFeatures(known, 4)
    assert len(inputs.names) == len(set(inputs.names))
    assert inputs.names[: len(known.observation.names)] == known.observation.names
    env = LearningVectorEnv(DosingVectorEnv(drug, n, autoreset_mode=AutoresetMode.NEXT_STEP), inputs)
    plain = DosingVectorEnv(drug, n)
    shown, _ = env.reset(seed=3)
    first = arm("clinical-nomogram", known).predict(plain.reset(seed=3)[0])[0]
    assert shown.shape == (n, len(inputs.names)) and np.isfinite(shown).all()
    np.testing.assert_array_equal(env.anchor, first)
    running = np.ones(n, dtype=bool)
    for _ in known.calendar[:5]:
        if drug == "efavirenz":  # of children, who grow into the dose of the next weight band
            assert np.all(env.anchor[running] >= first[running])
        else:
            np.testing.assert_array_equal(env.anchor[running], first[running])
        shown, _, terminated, truncated, _ = env.step(np.zeros((n, 1), np.float32))
        assert np.isfinite(shown).all()
        running &= ~(terminated | truncated)
    assert np.any(env.anchor[running] > first[running]) == (drug == "efavirenz")


def test_untrained_policy_gives_the_clinics_first_dose_throughout(
    admitted: Callable[..., Intake],
    treated: Treat,
    network: Callable[..., ActorCriticPolicy],
    scaling: Callable[[int], Scaling],
    warfarin: Scenario,
) -> None:
    intake, inputs = admitted(60, "clinic", seed=2), HistoryFeatures(warfarin, 4)
    width = len(inputs.names)
    first = arm("clinical-nomogram", warfarin).predict(Treatment(warfarin, intake).observe())[0]
    given = treated(LearnedPolicy(warfarin, inputs, network(width, zero=True), scaling(width), {}), intake)[
        0
    ].given
    expected = np.repeat(warfarin.doses.snap(first)[:, None], given.shape[1], axis=1)
    np.testing.assert_array_equal(given[~np.isnan(given)], expected[~np.isnan(given)])
    assert len(np.unique(expected)) > 3  # it is each patient's own
    departs = treated(LearnedPolicy(warfarin, inputs, network(width), scaling(width), {}), intake)[0].given
    assert not np.array_equal(departs, given, equal_nan=True)


def test_genotype_mode_of_the_scenario_is_that_of_the_features() -> None:
    known, noise = WARFARIN.seen_as("phenotype"), Noise("select", 1)
    people = known.population.draw(known.model, known.base, np.arange(5), noise)
    intake = Intake.prepare(known, people, noise, known.preset("clinic"), "phenotype")
    observation = Treatment(known, intake).observe()
    inputs = HistoryFeatures(known, 2)
    features, _ = inputs(inputs.update(None, observation), observation)
    assert features.shape == (5, len(inputs.names)) and "cyp2c9_phenotype" in inputs.names
    assert inputs.names != HistoryFeatures(WARFARIN, 2).names
