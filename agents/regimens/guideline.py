"""A published dosing equation, without feedback: the predicted dose at the first visit, kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario


@dataclass(frozen=True)
class Guideline:
    """The dose of the scenario's genotype-guided equation. Nothing that is measured changes it."""

    scenario: Scenario
    name: str = "guideline"

    @property
    def needs(self) -> frozenset[str]:
        """What the equation asks for."""
        return self.scenario.guideline.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], None]:
        """Return the dose (n,); the equation's inputs are in every observation."""
        return self.scenario.guideline.dose(self.scenario.observation.decode(observation)), None
