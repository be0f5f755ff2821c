"""Linear compartments, any number of them, moved exactly by the exponential of their rate matrix.

With ``dx = A·x + b`` the state after h is ``exp(A·h)·x`` plus the integral of the exponential times b;
both stand in the exponential of A with one more column for each route. Off its diagonal the rate matrix
of compartments is not negative, so with q the largest loss rate ``exp(A·h) = exp(−q·h)·exp((A +
q·I)·h)`` is a sum of positive terms: scaling, Taylor series and squaring lose no digits to cancellation,
whatever the ratio of the rates. Zeros are skipped. Where the first states are a chain of equal rates, such as
26 transit compartments, so is what becomes of them: each diagonal of that part of the exponential holds one
number, and one column of it says all (a Toeplitz matrix; products of such are such)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.solvers.signatures import RATES, Floats

_ORDER = 17  # of the Taylor series of a matrix of norm 1: 1/18! is below the rounding of the sum
_NORM = 1.0
_TINY = 1e-60  # shares and amounts below it are none: denormal numbers are slow
_SLOTS = 8  # propagators kept: a day's doses, lags and samples come back every day
_HEAD = 3  # leading cells of the first row of the work array, before the slots' durations
_SCRATCH = 3 + _SLOTS  # first of the six scratch rows of the work array
_CHAIN = 8  # states in a row of equal rates from which on they are worth a code of their own
_SAME = 1e-11  # relative difference of two durations that are one, up to rounding of the clock


def _shifted(a, h, m, begin, column, rate):
    """Write (A + q·I)·h, halved until it is small, as a list of what is not zero; q is the largest loss rate.

    `begin` is where each row begins, `column` and `rate` are what stands in it. Return q·h, halved as
    often, and how often.
    """
    loss = norm = 0.0
    for i in range(m):
        loss = max(loss, -a[i * m + i])
    for j in range(m):
        total = loss
        for i in range(m):
            total += a[i * m + j] if i == j else abs(a[i * m + j])
        norm = max(norm, total)
    halvings, scale = 0, h
    while norm * scale > _NORM:
        scale *= 0.5
        halvings += 1
    count = 0
    for i in range(m):
        begin[i] = count
        for j in range(m):
            value = (a[i * m + j] + (loss if i == j else 0.0)) * scale
            if value != 0.0:
                column[count], rate[count] = j, value
                count += 1
    begin[m] = count
    return loss * scale, halvings


shifted = kernel(_shifted, inline=True)


def _chain_length(a, m):
    """Return the number of first states that are a chain of equal rates, fed by nothing else."""
    for i in range(m):
        for j in range(m):
            if a[i * m + j] != (a[0] if j == i else a[m] if j == i - 1 else 0.0):
                return i
    return m


chain_length = kernel(_chain_length)


def _chained(a, h, m, c, begin, column, rate, now, then):  # noqa: C901, a scheme in four loops
    """As `_exponential`, of a matrix whose first `c` states are a chain.

    Their part is kept as its first column, backwards, in the first `c` cells of `now`: what state l gets from
    state j is in cell c − 1 − l + j.
    """
    lost, halvings = shifted(a, h, m, begin, column, rate)
    scale = h * 0.5**halvings
    stays, moves = a[0] * scale + lost, a[m] * scale
    for i in range(m * m):
        now[i] = 0.0
    now[c - 1] = 1.0
    for i in range(c, m):
        now[i * m + i] = 1.0
    for order in range(_ORDER, 0, -1):  # Horner's scheme
        for j in range(c):
            then[j] = (stays * now[j] + (moves * now[j + 1] if j < c - 1 else 0.0)) / order
        then[c - 1] += 1.0
        for i in range(c, m):
            row = i * m
            for j in range(m):
                then[row + j] = 0.0
            for entry in range(int(begin[i]), int(begin[i + 1])):
                other, share = int(column[entry]), rate[entry] / order
                if other < c:
                    for j in range(other + 1):
                        then[row + j] += share * now[c - 1 - other + j]
                else:
                    for j in range(m):
                        then[row + j] += share * now[other * m + j]
            then[row + i] += 1.0
        for j in range(c):
            now[j] = then[j]
        for i in range(c * m, m * m):
            now[i] = then[i]
    decay = math.exp(-lost)
    for i in range(m * m):
        now[i] *= decay
    for _ in range(halvings):
        for j in range(c):
            then[j] = 0.0
        for i in range(c):
            share = now[c - 1 - i]
            if share != 0.0:
                for j in range(i, c):
                    then[j - i] += share * now[j]
        for i in range(c, m):
            row = i * m
            for j in range(m):
                then[row + j] = 0.0
            for k in range(c):
                share = now[row + k]
                if share != 0.0:
                    for j in range(k + 1):
                        then[row + j] += share * now[c - 1 - k + j]
            for k in range(c, m):
                share = now[row + k]
                if share != 0.0:
                    for j in range(m):
                        then[row + j] += share * now[k * m + j]
        for j in range(c):
            now[j] = 0.0 if abs(then[j]) < _TINY else then[j]
        for i in range(c * m, m * m):
            now[i] = 0.0 if abs(then[i]) < _TINY else then[i]
    for i in range(c - 1, -1, -1):  # the first row, which holds the column, comes last
        for j in range(m):
            now[i * m + j] = now[c - 1 - i + j] if j <= i else 0.0


chained = kernel(_chained)


def _exponential(  # noqa: C901, a scheme in four loops
    a, h, m, begin, column, rate, now, then
):  # fmt: skip
    """Write exp(a·h) of an (m, m) matrix to `now`. All arrays are flat, row by row; the others are
    scratch."""
    chain = chain_length(a, m)
    if chain >= _CHAIN:
        chained(a, h, m, chain, begin, column, rate, now, then)
        return
    lost, halvings = shifted(a, h, m, begin, column, rate)
    for i in range(m * m):
        now[i] = 0.0
    for i in range(m):
        now[i * m + i] = 1.0
    for order in range(_ORDER, 0, -1):  # Horner's scheme
        for i in range(m):
            row = i * m
            for j in range(m):
                then[row + j] = 0.0
            for entry in range(int(begin[i]), int(begin[i + 1])):
                other, share = int(column[entry]) * m, rate[entry] / order
                for j in range(m):
                    then[row + j] += share * now[other + j]
            then[row + i] += 1.0
        for i in range(m * m):
            now[i] = then[i]
    decay = math.exp(-lost)
    for i in range(m * m):
        now[i] *= decay
    for _ in range(halvings):
        for i in range(m):
            row = i * m
            for j in range(m):
                then[row + j] = 0.0
            for k in range(m):
                share = now[row + k]
                if share != 0.0:
                    for j in range(m):
                        then[row + j] += share * now[k * m + j]
        for i in range(m * m):
            now[i] = 0.0 if abs(then[i]) < _TINY else then[i]


exponential = kernel(_exponential, inline=True)


def _prepare(rates, t, theta, column, passed, s, work):
    """Bring the rate matrix in `work` up to date; propagators of other rates are forgotten."""
    head, known = work[0], work[1]
    if head[0] == column + 1.0 and head[1] == passed:
        return
    same, matrix = head[0] != 0.0, work[_SCRATCH, : s * s].reshape((s, s))
    for i in range(s):
        for j in range(s):
            matrix[i, j] = 0.0
    rates(t, theta, matrix)
    for i in range(s):
        for j in range(s):
            same = same and known[i * s + j] == matrix[i, j]
            known[i * s + j] = matrix[i, j]
    head[0], head[1] = column + 1.0, passed
    if not same:
        head[2] = 0.0


prepare = kernel(_prepare, inline=True)


def _propagator(h, route_state, routes, s, work):
    """Return the row of `work` with the propagator over h, column by column; made if there is none."""
    head, known, m = work[0], work[1], s + routes
    filled = int(head[2])
    for k in range(min(filled, _SLOTS)):
        if abs(head[_HEAD + k] - h) <= _SAME * h:
            return 2 + k
    slot = filled % _SLOTS
    head[_HEAD + slot], head[2] = h, filled + 1.0
    a, now = work[_SCRATCH], work[_SCRATCH + 1]
    for i in range(m * m):
        a[i] = 0.0
    for i in range(s):
        for j in range(s):
            a[i * m + j] = known[i * s + j]
    for route in range(routes):
        a[route_state[route] * m + s + route] = 1.0
    exponential(
        a, h, m, work[_SCRATCH + 3], work[_SCRATCH + 4], work[_SCRATCH + 5], now, work[_SCRATCH + 2]
    )  # fmt: skip
    for j in range(m):
        for i in range(s):
            work[2 + slot, j * s + i] = now[i * m + j]
    return 2 + slot


propagator = kernel(_propagator, inline=True)


def _advance(rates, _rates, t, h, state, rate, route_state, theta, column, rule, layout, work):
    s, routes = layout[0], layout[1]
    prepare(rates, t, theta, column, layout[2], s, work)
    share, after = work[propagator(h, route_state, routes, s, work)], work[2 + _SLOTS]
    for i in range(s):
        after[i] = 0.0
    for j in range(s + routes):
        amount = state[j] if j < s else rate[j - s]
        if amount != 0.0:
            for i in range(s):
                after[i] += share[j * s + i] * amount
    for i in range(s):
        # what an absorption chain has left after hours is nothing: its columns need not be applied
        state[i] = 0.0 if abs(after[i]) < _TINY else after[i]
    return 0


_ADVANCE = kernel(_advance, inline=True)
_EXACT: Floats = np.zeros((1, 1))


@dataclass(frozen=True)
class Linear:
    """All states are linear compartments.

    Attributes
    ----------
    rates
        ``rates(t, theta, matrix)``: add the rate constants to `matrix` (s, s), which is zero:
        ``matrix[i, j]`` is the rate at which what is in state j enters state i, the diagonal holds what
        leaves. Constant between the model's breaks.
    """

    rates: Callable[..., Any]

    @property
    def kernels(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """The rates, twice: the engine hands two kernels to every solver."""
        return self.rates, self.rates

    @property
    def signatures(self) -> tuple[Any, Any]:
        """Types of `kernels`."""
        return RATES, RATES

    @property
    def advance(self) -> Any:
        """The compiled-in step."""
        return _ADVANCE

    @property
    def rules(self) -> dict[str, Floats]:
        """Exact at every level."""
        return {"exact": _EXACT, "belief": _EXACT}

    @property
    def infusions(self) -> bool:
        """A constant input is exact too."""
        return True

    def jitter(self, states: int) -> tuple[float, Floats]:
        """None: the step is exact."""
        return 0.0, np.zeros(states)

    def layout(self, states: int, routes: int) -> NDArray[np.int64]:
        """Number of states, of routes that infuse, and of breaks passed so far (kept by the engine)."""
        return np.array([states, routes, 0])

    def work_shape(self, states: int, routes: int, rule: Floats) -> tuple[int, int]:
        """Head, rate matrix, one row for each propagator, the state after, and six rows of scratch."""
        return _SCRATCH + 6, max((states + routes) ** 2 + 1, _HEAD + _SLOTS)
