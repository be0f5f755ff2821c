"""A model's own step: for structures with a faster exact or quadrature solution."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.solvers.signatures import PLAN, STEP, Floats


def _advance(plan, step, t, h, state, rate, route_state, theta, column, rule, layout, work):
    # the longest span is kept in whole units of the model's time
    left = h
    while left > 0.0:
        span = min(left, float(layout[0]))
        plan(theta, span, rule, work)
        step(state, theta, work)
        left -= span
    return 0


_ADVANCE = kernel(_advance, inline=True)


@dataclass(frozen=True)
class Tailored:
    """A model's own solution of an interval that begins with a dose.

    Attributes
    ----------
    plan
        ``plan(theta, duration, rule, work)``: fill `work` with all that depends on the duration and on slowly
        changing parameters; a call that would change nothing returns at once.
    step
        ``step(state, theta, work)``: move one patient's state, in place, over the planned duration.
    rules
        Named accuracy levels -> array handed to `plan`.
    longest
        Longest duration one `step` may cover, in whole units of the model's time.
    shape
        ``shape(rule) -> (rows, columns)`` of the work array.
    """

    plan: Callable[..., Any]
    step: Callable[..., Any]
    rules: Mapping[str, Floats]
    longest: int
    shape: Callable[[Floats], tuple[int, int]]

    @property
    def kernels(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Plan and step."""
        return self.plan, self.step

    @property
    def signatures(self) -> tuple[Any, Any]:
        """Types of `kernels`."""
        return PLAN, STEP

    @property
    def advance(self) -> Any:
        """The compiled-in step."""
        return _ADVANCE

    @property
    def infusions(self) -> bool:
        """No: the step knows doses only."""
        return False

    def jitter(self, states: int) -> tuple[float, Floats]:
        """The accuracy that a step is expected to have."""
        return 1e-8, np.zeros(states)

    def layout(self, states: int, routes: int) -> NDArray[np.int64]:
        """The longest span; the other cells are the engine's."""
        return np.array([self.longest, routes, 0])

    def work_shape(self, states: int, routes: int, rule: Floats) -> tuple[int, int]:
        """The model's own."""
        return self.shape(rule)
