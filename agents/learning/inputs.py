"""What a policy sees: an input turns the stream of observations into features and an anchor.

`BeliefFeatures` is the default, `HistoryFeatures` what a learner without pharmacology has.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario


class Memory(Protocol):
    """What is remembered of n patients from visit to visit."""

    def select(self, rows: NDArray[np.int64]) -> Any:
        """Return the memory of some patients."""
        ...

    def replace_rows(self, rows: NDArray[np.int64], other: Any) -> Any:
        """Return this memory with `rows` taken from `other`, in order."""
        ...


class PolicyInput(Protocol):
    """Features of patients, and the dose that a policy departs from."""

    scenario: Scenario
    names: tuple[str, ...]

    def update(
        self,
        memory: Any,
        /,
        observation: NDArray[np.float32],
        episode_start: NDArray[np.bool_] | None = None,
    ) -> Any:
        """Return the `Memory` after a visit; None before the first one."""
        ...

    def __call__(
        self, memory: Any, /, observation: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return features (n, f) and the anchor (n,), a dose."""
        ...
