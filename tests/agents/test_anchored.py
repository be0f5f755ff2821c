"""The anchored action: nothing is exactly the anchor, and an untrained policy exactly Bayesian monitoring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.learning import LearnedPolicy, anchored_dose
from dosewright.agents.regimens import Bayesian
from dosewright.envs import Intake, Regimen, Treatment, scenario

WARFARIN = scenario("warfarin")
Treat = Callable[[Regimen, Intake], tuple[Treatment, NDArray[np.float64]]]


def test_no_departure_is_exactly_the_anchor() -> None:
    anchor = np.random.default_rng(0).uniform(0, 20, 1000)
    assert np.array_equal(anchored_dose(anchor, np.zeros(1000)), anchor)
    assert np.array_equal(anchored_dose(anchor, np.zeros(1000, np.float32)), anchor)


def test_departures_reach_from_no_drug_to_a_load() -> None:
    action = np.array([-1.0, -0.5, 0.5, 1.0, -7.0, 3.0])
    # DESIGN 6: anchor · (1 + a)^2.2; outside [−1, 1] the action is clipped
    expected = 4.0 * np.array([0.0, 0.5**2.2, 1.5**2.2, 2**2.2, 0.0, 2**2.2])
    np.testing.assert_allclose(anchored_dose(np.full(6, 4.0), action), expected, rtol=1e-12)


@pytest.mark.parametrize(("particles", "fade"), [(128, 1.0), (64, 0.9)])
def test_untrained_policy_gives_bayesian_monitorings_doses_exactly(
    admitted: Callable[..., Intake],
    treated: Treat,
    policy: Callable[..., LearnedPolicy],
    particles: int,
    fade: float,
) -> None:
    intake = admitted(100, "clinic", seed=2)
    bayesian, score = treated(Bayesian(WARFARIN, fade=fade, particles=particles), intake)
    untrained, other = treated(policy(particles, fade, zero=True), intake)
    assert np.array_equal(bayesian.given, untrained.given, equal_nan=True) and np.array_equal(score, other)
    trained, _ = treated(policy(particles, fade), intake)
    assert not np.array_equal(trained.given, bayesian.given, equal_nan=True)
