"""The oracle: a planner that knows the truth. An upper bound on what knowledge can buy, never a
competitor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Outlook
from dosewright.agents.estimation.outlook import blocks
from dosewright.agents.regimens.planner import loss
from dosewright.envs import Scenario, Treatment

Floats = NDArray[np.float64]

_TAIL = 5  # a dose is judged also by the units after the next visit, at the true maintenance dose
_CENTRE = 10.0  # weight of the squared log distance from the target, per unit
_LEAST = 1e-3  # share of the target: what is below it is as far below as it gets


@dataclass(eq=False)
class Oracle:
    """Of all doses on the grid, give the best one for this very patient as he is today.

    It knows the true parameters and the true state, doses missed so far included, and what a parameter that
    differs between occasions will be on average; but not the future: what will drift, be missed or interact.

    Attributes
    ----------
    scenario
        The decision problem.
    """

    scenario: Scenario
    name: str = "oracle"
    needs: frozenset[str] = frozenset()
    _treatment: Treatment | None = None

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
        scenario, treatment = self.scenario, self._treatment
        shown = scenario.observation.read(observation, "next_interval") / scenario.clock.shown
        ahead = np.rint(shown).astype(np.int64)
        until = np.minimum(
            np.maximum(ahead + _TAIL, scenario.monitoring.after), scenario.horizon - treatment.day
        )
        dose = np.zeros(len(observation))
        for days, units in np.unique(np.stack([ahead, until])[:, ahead > 0], axis=1).T:
            rows = np.flatnonzero((ahead == days) & (until == units))
            for some in blocks(scenario, rows, len(scenario.doses.doses) * int(units)):
                dose[some] = self._best(
                    _outlook(scenario, treatment, some, int(units)), int(days), int(units)
                )
        return dose, None

    def _best(self, outlook: Outlook, days: int, until: int) -> Floats:
        scenario, grid = self.scenario, self.scenario.doses.doses
        if scenario.maintenance_dose is not None:
            steady = scenario.maintenance_dose(outlook.theta[:, 0, 0], scenario.target)
        else:
            steady = outlook.dose_to_target(until)[:, 0]
        amount = np.empty((len(steady), len(grid), until))
        amount[:, :, :days] = grid[:, None]
        amount[:, :, days:] = scenario.doses.snap(steady)[:, None, None]
        responses = outlook.responses(amount)
        unit = np.minimum(outlook.unit[:, None] + np.arange(until), scenario.horizon - 1)
        expected = loss(scenario, responses, unit)[:, 0]
        # many doses keep the next days in range; drift and missed doses punish those that keep them at its
        # edge
        share = responses[scenario.output][:, 0] / scenario.target_at(unit)[:, None]
        distance = np.log(np.maximum(share, _LEAST))
        expected += _CENTRE * np.mean(distance**2, axis=-1) * until
        return grid[np.argmin(expected, axis=1)]


def _outlook(scenario: Scenario, treatment: Treatment, rows: NDArray[np.int64], units: int) -> Outlook:
    theta = treatment.theta_until(treatment.day + units)
    people = {name: values[rows] for name, values in treatment.people.items()}
    one = np.zeros((len(rows), 0), dtype=np.int64)  # a stretch: parameters stay as they are
    return Outlook(
        scenario, people, theta[rows, None, None], one, treatment.state[rows, None], treatment.clock[rows],
        treatment.day[rows],
    )  # fmt: skip
