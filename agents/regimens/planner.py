"""The planner: of all candidate doses, the one with the least expected loss under the posterior. No learning.

Every candidate is simulated in particles of the belief until the next visit, and further where the scenario
says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief
from dosewright.agents.estimation.outlook import blocks
from dosewright.agents.regimens.bayesian import Bayesian
from dosewright.envs import Scenario

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Candidates as multiples of the monitoring dose
MULTIPLES = np.array([0.0, 0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.35, 1.6, 2.0, 2.6])


def loss(scenario: Scenario, responses: Mapping[str, Floats], unit: Ints) -> Floats:
    """Return the loss (n, k, c): weight × harm − benefit, summed over units.

    Parameters
    ----------
    responses : name -> (n, k, c, u) latent responses, the dosed-to one first
    unit : (n, u) numbers of the units
    """
    shape = next(iter(responses.values())).shape
    flat = {name: values.reshape(-1, shape[3]) for name, values in responses.items()}
    number = np.broadcast_to(unit[:, None, None], shape).reshape(-1, shape[3])
    score = scenario.weight * scenario.harm.of(flat, number) - scenario.benefit.of(flat, number)
    return score.reshape(shape).sum(axis=-1)


@dataclass(frozen=True)
class Planner(Bayesian):
    """Minimise the expected loss until the next visit (or as far as ``scenario.monitoring`` looks), among
    multiples of the dose of `Bayesian`."""

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
        centre, reach = self.dose(belief), self.filter.reach(belief)
        dose = np.empty(len(observation))
        for units in np.unique(reach):
            courses = self.particles * len(MULTIPLES) * int(units)
            for some in blocks(self.scenario, np.flatnonzero(reach == units), courses):
                dose[some] = self._best(belief.select(some), centre[some], int(units))
        return dose, belief

    def _best(self, belief: Belief, centre: Floats, units: int) -> Floats:
        candidates = self.scenario.doses.snap(centre[:, None] * MULTIPLES)
        responses = self.filter.predict(belief, np.repeat(candidates[:, :, None], units, axis=2))
        unit = np.minimum(belief.unit[:, None] + np.arange(units), self.scenario.horizon - 1)
        expected = np.einsum("nk,nkc->nc", belief.weight, loss(self.scenario, responses, unit))
        return candidates[np.arange(len(centre)), np.argmin(expected, axis=1)]


def planner(scenario: Scenario) -> Planner:
    """Planner on the exact posterior of constant parameters."""
    return Planner(scenario)


def planner_adaptive(scenario: Scenario) -> Planner:
    """Planner on a belief that follows drift."""
    return Planner(scenario, "planner-adaptive", scenario.monitoring.fade)
