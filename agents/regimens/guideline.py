"""A published first dose by genotype, without feedback: an equation or a guideline's table, kept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.scenarios import StartRule


def guided_start(scenario: Scenario) -> StartRule:
    """Return the genotype-guided first dose of a scenario; an error where neither CPIC nor the label has
    one."""
    if scenario.guideline is None:
        why = f"{scenario.no_guideline}, so " if scenario.no_guideline else ""
        raise ValueError(
            f"{scenario.name}: {why}there is no genotype-guided dose; use label or clinical-nomogram"
        )
    return scenario.guideline


@dataclass(frozen=True)
class Guideline:
    """The scenario's genotype-guided dose. Nothing that is measured changes it."""

    scenario: Scenario
    name: str = "guideline"

    def __post_init__(self) -> None:
        _ = self._rule  # refuses a drug without one

    @property
    def _rule(self) -> StartRule:
        return guided_start(self.scenario)

    @property
    def needs(self) -> frozenset[str]:
        """What the rule asks for."""
        return self._rule.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], None]:
        """Return the dose (n,); the equation's inputs are in every observation."""
        return self._rule.dose(self.scenario.observation.decode(observation)), None
