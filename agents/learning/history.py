"""What a policy sees without a belief: the last observations as they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.observation import ObservationSpec

Observation = NDArray[np.float32]


@dataclass(frozen=True)
class History:
    """The last v visits of n patients.

    Attributes
    ----------
    seen : (n, v, k) observations, the newest first; 0 where there was no visit
    """

    seen: Observation

    def select(self, rows: NDArray[np.int64]) -> History:
        """Return the history of some patients."""
        return History(self.seen[rows])

    def replace_rows(self, rows: NDArray[np.int64], other: History) -> History:
        """Return this history with `rows` taken from `other`, in order."""
        seen = self.seen.copy()
        seen[rows] = other.seen
        return History(seen)


class HistoryFeatures:
    """The policy's input is what was observed at the last visits; it departs from the clinic's first dose
    without genotype, at every visit that for the person as they are then (a child grows).

    Parameters
    ----------
    scenario
        The decision problem, as it is seen.
    visits
        How many visits are remembered, the present one included. 1 leaves memory to a recurrent network.

    Attributes
    ----------
    names
        Name of every feature.
    """

    def __init__(self, scenario: Scenario, visits: int) -> None:
        self.scenario, self.visits = scenario, visits
        seen = scenario.observation.names
        # what is known of the person comes first and hardly changes between visits: it is shown once
        self._course = len(ObservationSpec(scenario.covariates).names)
        past = (f"{name}, {ago} visits ago" for ago in range(1, visits) for name in seen[self._course :])
        self.names: tuple[str, ...] = (*seen, *past)

    def update(
        self,
        history: History | None,
        observation: Observation,
        episode_start: NDArray[np.bool_] | None = None,
    ) -> History:
        """Return the history after a visit."""
        n, k = observation.shape
        before = np.zeros((n, self.visits, k), np.float32) if history is None else history.seen
        if episode_start is not None:
            before = np.where(np.asarray(episode_start, dtype=bool)[:, None, None], np.float32(0), before)
        return History(np.concatenate([observation[:, None], before[:, :-1]], axis=1))

    def __call__(self, history: History, observation: Observation) -> tuple[Observation, NDArray[np.float64]]:
        """Return the features (n, f) and the clinic's first dose (n,)."""
        past = history.seen[:, 1:, self._course :].reshape(len(observation), -1)
        start = self.scenario.clinical_start.dose(self.scenario.observation.decode(observation))
        return np.concatenate([observation, past], axis=1), np.asarray(start, dtype=np.float64)
