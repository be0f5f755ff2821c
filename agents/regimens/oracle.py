"""The oracle: a planner that knows the truth. An upper bound on what knowledge can buy, never a
competitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.planner import expected_loss
from dosewright.envs import Scenario, Treatment
from dosewright.envs.pharmacology import daily_response

Floats = NDArray[np.float64]

_TAIL_DAYS = 5  # a load is judged also by the days after the next visit, at the true maintenance dose
_CENTRE = 10.0  # weight of the squared log distance from the target, per day


@dataclass(eq=False)
class Oracle:
    """Of all doses on the grid, give the best one for this very patient as he is today.

    It knows the true parameters and the true state, doses missed so far included, but not the future: what
    will drift, be missed or interact.

    Attributes
    ----------
    scenario
        The decision problem.
    """

    scenario: Scenario
    name: str = "oracle"
    needs: frozenset[str] = frozenset()
    _treatment: Treatment | None = None

    def __post_init__(self) -> None:
        _ = self.scenario.bands  # refuses a scenario that it cannot dose yet

    def attach(self, treatment: Treatment) -> None:
        """Look into these patients from now on."""
        self._treatment = treatment

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, None]:
        """Return the dose (n,).

        Raises
        ------
        RuntimeError
            If it is attached to no patients: it cannot dose from an observation.
        """
        if self._treatment is None:
            raise RuntimeError(
                "oracle: call attach(treatment) first; it doses from the truth, not from an observation"
            )
        treatment, spec = self._treatment, self.scenario.observation
        theta, kinetics = treatment.theta, treatment.state
        interval = spec.read(observation, "next_interval").astype(np.int64)
        dose = np.zeros(len(observation))
        for days in np.unique(interval[interval > 0]):
            rows = np.flatnonzero(interval == days)
            remaining = self.scenario.horizon - int(spec.read(observation[rows[:1]], "day")[0])
            dose[rows] = self._best(
                theta[rows], kinetics[rows], int(days), min(int(days) + _TAIL_DAYS, remaining)
            )
        return dose, None

    def _best(self, theta: Floats, kinetics: Floats, days: int, until: int) -> Floats:
        scenario, model = self.scenario, self.scenario.model
        grid = scenario.doses.doses
        n, c = len(theta), len(grid)
        steady = scenario.doses.snap(scenario.steady_dose(theta, scenario.target))
        amount = np.repeat(np.tile(grid, n)[:, None], until, axis=1)
        amount[:, days:] = np.repeat(steady, c)[:, None]
        response = daily_response(
            model, scenario.output, np.repeat(kinetics, c, axis=0), np.repeat(theta, c, axis=0),
            amount, np.full(n * c, until),
        ).reshape(n, 1, c, until)  # fmt: skip
        loss = expected_loss(scenario, response, np.ones((n, 1)))
        # many doses keep the next days in range; drift and missed doses punish those that keep them at its
        # edge
        loss += _CENTRE * np.mean(np.log(response[:, 0] / scenario.target) ** 2, axis=-1) * until
        return grid[np.argmin(loss, axis=1)]
