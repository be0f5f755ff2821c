"""Types of the kernels that a model hands to a solver, and what every solver offers the engine."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numba import types
from numpy.typing import NDArray

Floats = NDArray[np.float64]

NUMBER = types.float64
VECTOR = types.Array(types.float64, 1, "C")
MATRIX = types.Array(types.float64, 2, "C")
CUBE = types.Array(types.float64, 3, "C")
INDICES = types.Array(types.int64, 1, "C")

# rates(t, theta, matrix), rhs(t, y, x, theta, dy), plan(theta, duration, rule, work), step(state, theta,
# work),
# observe(t, state, theta, output)
RATES = types.void(NUMBER, VECTOR, MATRIX)
RHS = types.void(NUMBER, VECTOR, VECTOR, VECTOR, VECTOR)
PLAN = types.void(VECTOR, NUMBER, MATRIX, MATRIX)
STEP = types.void(VECTOR, VECTOR, MATRIX)
OBSERVE = types.float64(NUMBER, VECTOR, VECTOR, types.int64)


class Solver(Protocol):
    """What the engine needs of a solver.

    Attributes
    ----------
    kernels
        The model's two kernels, as Python functions in Numba's subset.
    signatures
        Their types.
    advance
        Kernel ``advance(first, second, t, h, state, rate, route_state, theta, column, rule, layout, work) ->
        status`` that moves one state over ``h`` from time ``t``; `column` numbers the parameters in force, so
        that what was prepared for them can be kept in `work`. Status 0 is success.
    rules
        Named accuracy levels -> array handed to `advance`.
    infusions
        Whether a constant input is supported.
    """

    @property
    def kernels(self) -> tuple[Callable[..., Any], Callable[..., Any]]: ...

    @property
    def signatures(self) -> tuple[Any, Any]: ...

    @property
    def advance(self) -> Any: ...

    @property
    def rules(self) -> Mapping[str, Floats]: ...

    @property
    def infusions(self) -> bool: ...

    def jitter(self, states: int) -> tuple[float, Floats]:
        """Return by how much states (s,) may differ between two equal cycles: relative, and absolute (s,)."""
        ...

    def layout(self, states: int, routes: int) -> NDArray[np.int64]:
        """Return the sizes that `advance` needs."""
        ...

    def work_shape(self, states: int, routes: int, rule: Floats) -> tuple[int, int]:
        """Return the shape of the work array of one patient."""
        ...
