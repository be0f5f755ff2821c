"""Bayesian monitoring: the posterior mean of the log dose that puts the response on target."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.envs import Scenario


@dataclass(frozen=True)
class Bayesian:
    """Dose to the target from the posterior.

    Attributes
    ----------
    scenario
        Prior, model, target.
    name
        "bayesian" (static) or "bayesian-adaptive".
    fade
        Factor on earlier log likelihoods at each result; 1 is static.
    particles
        Particles a patient.
    """

    scenario: Scenario
    name: str = "bayesian"
    fade: float = 1.0
    particles: int = 128
    needs: frozenset[str] = frozenset()

    @cached_property
    def filter(self) -> BeliefFilter:
        """The filter that keeps the belief."""
        return BeliefFilter(self.scenario, self.particles, self.fade)

    def dose(self, belief: Belief) -> NDArray[np.float64]:
        """Return the dose (n,) for beliefs about n patients."""
        return np.exp(self.filter.maintenance_dose(belief)[0])

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Belief | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Belief]:
        """Return the dose (n,) and the beliefs."""
        belief = self.filter.step(state, observation, episode_start)
        return self.dose(belief), belief


def bayesian(scenario: Scenario) -> Bayesian:
    """Static Bayesian monitoring: the exact posterior of constant parameters."""
    return Bayesian(scenario)


def bayesian_adaptive(scenario: Scenario) -> Bayesian:
    """Adaptive Bayesian monitoring: earlier results fade, so that the belief follows drift."""
    return Bayesian(scenario, "bayesian-adaptive", scenario.monitoring.fade)
