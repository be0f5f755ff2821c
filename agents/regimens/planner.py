"""The planner: of all candidate doses, the one with the least expected loss under the posterior. No learning.

Every candidate is simulated in every particle over the next interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief
from dosewright.agents.regimens.bayesian import ADAPTIVE_FADE, Bayesian
from dosewright.envs import Scenario

Floats = NDArray[np.float64]

# Candidates as multiples of the monitoring dose
MULTIPLES = np.array([0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.6, 2.0, 2.6])
_BLOCK = 64  # patients simulated at a time: bounds memory, changes nothing


def expected_loss(scenario: Scenario, response: Floats, weight: Floats) -> Floats:
    """Return the expected loss (n, c): weight × days in harm − days in benefit, over particles.

    Parameters
    ----------
    response : (n, k, c, days) daily response
    weight : (n, k)
    """
    benefit, harm = scenario.bands
    score = scenario.weight * harm.contains(response).sum(axis=-1) - benefit.contains(response).sum(axis=-1)
    return np.einsum("nk,nkc->nc", weight, score)


@dataclass(frozen=True)
class Planner(Bayesian):
    """Minimise the expected loss over the next interval, among multiples of the dose of `Bayesian`."""

    name: str = "planner"

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Belief | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, Belief]:
        """Return the dose (n,) and the beliefs."""
        belief = self.filter.step(state, observation, episode_start)
        interval = self.scenario.observation.read(observation, "next_interval").astype(np.int64)
        dose = np.empty(len(observation))
        for days in np.unique(interval):
            rows = np.flatnonzero(interval == days)
            for start in range(0, len(rows), _BLOCK):
                some = rows[start : start + _BLOCK]
                dose[some] = self._best(belief.select(some), max(int(days), 1))
        return dose, belief

    def _best(self, belief: Belief, days: int) -> Floats:
        centre = self.dose(belief)
        candidates = self.scenario.doses.snap(centre[:, None] * MULTIPLES)
        response = self.filter.predict(belief, np.repeat(candidates[:, :, None], days, axis=2))
        loss = expected_loss(self.scenario, response, belief.weight)
        return candidates[np.arange(len(centre)), np.argmin(loss, axis=1)]


def planner(scenario: Scenario) -> Planner:
    """Planner on the exact posterior of constant parameters."""
    return Planner(scenario)


def planner_adaptive(scenario: Scenario) -> Planner:
    """Planner on a belief that follows drift."""
    return Planner(scenario, "planner-adaptive", ADAPTIVE_FADE)
