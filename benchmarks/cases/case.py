"""What it takes to hold a model against a trajectory file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import Dose, PopulationModel

Floats = NDArray[np.float64]

REQUIRED = object()  # default of a key that must be there


@dataclass(frozen=True)
class Case:
    """How a model answers a trajectory file.

    Attributes
    ----------
    model
        The model.
    keys
        Key of `inputs` -> what its absence means, `REQUIRED` where it must be there.
    theta
        ``theta(inputs) -> (p,)`` individual parameters.
    doses
        ``doses(inputs)``: schedule as prescribed, sorted.
    derived
        ``derived(theta, inputs)``: key of `derived` -> value.
    outputs
        Column of the table -> output of the model.
    """

    model: PopulationModel
    keys: Mapping[str, Any]
    theta: Callable[[Mapping[str, Any]], Floats]
    doses: Callable[[Mapping[str, Any]], list[Dose]]
    derived: Callable[[Floats, Mapping[str, Any]], Mapping[str, Any]]
    outputs: Mapping[str, str]

    def read(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return inputs with every key; one that is unknown, or required and missing, is an error."""
        unknown = sorted(set(inputs) - set(self.keys))
        if unknown:
            raise ValueError(f"unknown input {unknown[0]!r}; known: {', '.join(self.keys)}")
        missing = [key for key, value in self.keys.items() if value is REQUIRED and key not in inputs]
        if missing:
            raise ValueError(f"input {missing[0]!r} is missing")
        return {**self.keys, **inputs}


def doses(rows: Sequence[Sequence[float]], route: str | None = None, each: float | None = None) -> list[Dose]:
    """Return ``[time, amount]`` or ``[time, amount, duration]`` rows as a schedule sorted by time.

    `each` replaces the amounts, for a list of times.
    """
    made = [
        Dose(
            float(row[0]),
            float(row[1]) if each is None else each,
            float(row[2]) if len(row) > 2 else 0.0,
            route,
        )
        for row in rows
    ]
    return sorted(made, key=lambda dose: dose.time)
