"""The same dose for everybody, always."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario


def suffix(scenario: Scenario) -> str:
    """Return what stands behind the number in the name of a fixed dose: "mg" where doses are in mg, nothing
    where they are in another unit."""
    return "mg" if scenario.doses.unit.split()[0] in ("mg", "mg/day") else ""


@dataclass(frozen=True)
class FixedDose:
    """Give `dose` to everybody, in the scenario's unit.

    Raises
    ------
    ValueError
        For a dose that the scenario's grid does not have.
    """

    scenario: Scenario
    dose: float

    def __post_init__(self) -> None:
        if not np.any(np.isclose(self.scenario.doses.doses, self.dose)):
            grid = self.scenario.doses
            raise ValueError(
                f"fixed dose {self.dose:g} {grid.unit}: allowed 0 to {grid.maximum:g} "
                f"in steps of {grid.step:g}"
            )

    needs: frozenset[str] = frozenset()

    @property
    def name(self) -> str:
        """``fixed-5mg``; ``fixed-85`` where doses are in another unit than mg."""
        return f"fixed-{self.dose:g}{suffix(self.scenario)}"

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], None]:
        """Return the dose (n,)."""
        return np.full(len(observation), self.dose), None
