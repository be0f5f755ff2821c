"""Linear kinetics moved exactly, and what they drive by an adaptive Runge-Kutta pair.

The first states of the model are linear compartments (none to all of the kinetics); the others follow an
ordinary differential equation in which the amounts of the first may stand. The linear part is a sum of
exponentials between two events, known at every time, so its fast rates cost the integrator no steps: what is
left of a myelosuppression model turns over in days. That takes the place of an implicit step where kinetics
make a model stiff.

The pair is Dormand and Prince's of order 8 with error estimates of order 5 and 3 (Hairer, Norsett and Wanner,
Solving Ordinary Differential Equations I, section II.10); for what is believed or foreseen, where events
rather than accuracy limit the steps, theirs of order 5 and 4 (section II.5), with half the stages. The
tableaus come from SciPy. Steps end on events, never across one, and no value is interpolated.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import DOP853, RK45

from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.solvers.signatures import RATES, RHS, Floats

_STAGES, _C = DOP853.n_stages, np.ascontiguousarray(DOP853.C)
_WEIGHTS = np.vstack([DOP853.A[: DOP853.n_stages], DOP853.B])  # the last row is the step itself
_E3, _E5 = np.ascontiguousarray(DOP853.E3), np.ascontiguousarray(DOP853.E5)
# half of the tableau is zero: of row i the entries _FIRST[i] to _FIRST[i + 1], as stage and weight
_FIRST = np.concatenate([[0], np.cumsum((_WEIGHTS != 0).sum(axis=1))])
_STAGE, _WEIGHT = (
    np.ascontiguousarray(np.nonzero(_WEIGHTS)[1]),
    _WEIGHTS[_WEIGHTS != 0],
)  # numba caches those only
_ESTIMATE = np.flatnonzero((_E3 != 0) | (_E5 != 0))
# the pair of order 5 and 4
_STAGES_5, _C_5, _E_5 = RK45.n_stages, np.ascontiguousarray(RK45.C), np.ascontiguousarray(RK45.E)
_WEIGHTS_5 = np.zeros((_STAGES_5 + 1, _STAGES_5))
_WEIGHTS_5[:_STAGES_5, : _STAGES_5 - 1] = RK45.A
_WEIGHTS_5[_STAGES_5] = RK45.B  # the step itself
_SAFETY, _SHRINK, _GROW = 0.9, 0.2, 8.0
_FLOOR = 1e-5  # share of the estimate of order 3 below which that of order 5 is not believed
_JITTER = 50.0  # tolerances by which a state may differ from one cycle to the next though nothing moves
_MOST_STEPS = 200_000  # of one interval between events
_BELIEF = 2e-5  # relative tolerance of one step for what is believed or foreseen
_WORST = 1e12  # condition of the eigenvectors above which the modes are useless
_APART = 1e-8  # relative distance below which two rates count as one, and are moved apart by as much


def _modes(a):
    """Eigenvalues (k,), eigenvectors (k, k) and their inverse of a rate matrix with real eigenvalues.

    Rates that coincide (an absorption as fast as the elimination) have no full set of eigenvectors; they are
    moved apart by some 1e-8 of themselves, which moves amounts by less than 1e-7.
    """
    size, matrix = a.shape[0], a.copy()
    if not np.all(np.isfinite(matrix)):
        return False, np.zeros(size), np.zeros((size, size)), np.zeros((size, size))
    for attempt in range(4):
        values, vectors = np.linalg.eig(matrix.astype(np.complex128))
        largest, apart = np.abs(values).max(), True
        for i in range(size):
            if abs(values[i].imag) > 1e-12 * largest:
                apart = False
            for j in range(i):
                if abs(values[i] - values[j]) < _APART * max(abs(values[i]), abs(values[j])):
                    apart = False
        if apart:
            inverse = np.linalg.inv(vectors)
            if np.abs(vectors).max() * np.abs(inverse).max() > _WORST:
                break  # three rates or more in a row that coincide: no digits would be left
            return True, np.real(values).copy(), np.real(vectors).copy(), np.real(inverse).copy()
        for i in range(size):
            # to both sides, so that what leaves a pair together hardly changes
            matrix[i, i] *= 1.0 + 2.0 * _APART * (i - 0.5 * (size - 1)) * (attempt + 1)
    return False, np.zeros(size), np.zeros((size, size)), np.zeros((size, size))


modes = kernel(_modes)


def _keep_modes(rates, t, theta, column, passed, linear, work):
    """Bring the modes of the linear states in `work` up to date; return whether there are any.

    Row 2 of `work` holds the eigenvalues, then come the eigenvectors, their inverse, and the rate matrix they
    belong to, `linear` rows each.
    """
    head = work[0]
    if head[0] == column + 1.0 and head[1] == passed:
        return True
    matrix, same = np.zeros((linear, linear)), head[0] != 0.0
    rates(t, theta, matrix)
    for i in range(linear):
        for j in range(linear):
            same = same and work[3 + 2 * linear + i, j] == matrix[i, j]
    if not same:
        fine, values, vectors, inverse = modes(matrix)
        if not fine:
            return False
        for i in range(linear):
            work[2, i] = values[i]
            for j in range(linear):
                work[3 + i, j], work[3 + linear + i, j] = vectors[i, j], inverse[i, j]
                work[3 + 2 * linear + i, j] = matrix[i, j]
    head[0], head[1] = column + 1.0, passed
    return True


keep_modes = kernel(_keep_modes)


def _decompose(state, inflow, linear, work, values, vectors, weight, rest):
    """Write the linear states as modes: weights (k,) that decay from now on, and the amounts (k,) at rest.

    Where a constant input flows, the amounts tend to −A⁻¹·input. Return whether they do: not where an input
    enters a compartment that nothing leaves.
    """
    for i in range(linear):
        values[i] = work[2, i]
        for j in range(linear):
            vectors[i, j] = work[3 + i, j]
    for k in range(linear):
        flow = 0.0
        for j in range(linear):
            flow += work[3 + linear + k, j] * inflow[j]
        if flow != 0.0:
            if values[k] == 0.0:
                return False
            for i in range(linear):
                rest[i] -= vectors[i, k] * flow / values[k]
    for k in range(linear):
        for j in range(linear):
            weight[k] += work[3 + linear + k, j] * (state[j] - rest[j])
    return True


decompose = kernel(_decompose)


def _amounts_at(tau, values, vectors, weight, rest, x):
    """Write the linear states a time tau after the start of the interval to `x`."""
    size = values.shape[0]
    for i in range(size):
        x[i] = rest[i]
    for k in range(size):
        if weight[k] != 0.0:
            part = weight[k] * math.exp(values[k] * tau)
            for i in range(size):
                x[i] += vectors[i, k] * part


amounts_at = kernel(_amounts_at, inline=True)


def _attempt(
    rhs, t, done, size, y, theta, inflow, rule, values, vectors, weight, rest, x, stages, slope, new
):  # fmt: skip
    """Try one step of `size`: write the new states to `new`, and return the error over what is allowed."""
    m, linear = y.shape[0], values.shape[0]
    for stage in range(1, _STAGES + 1):
        for i in range(m):
            new[i] = y[i]
        for entry in range(_FIRST[stage], _FIRST[stage + 1]):
            share, k = size * _WEIGHT[entry], _STAGE[entry]
            for i in range(m):
                new[i] += share * stages[k, i]
        now = done + (_C[stage] * size if stage < _STAGES else size)
        if linear > 0:
            amounts_at(now, values, vectors, weight, rest, x)
        rhs(t + now, new, x, theta, slope)
        for i in range(m):
            stages[stage, i] = slope[i] + inflow[linear + i]
    fifth = third = 0.0
    for i in range(m):
        margin = rule[0, 0] * (rule[1, i] + max(abs(y[i]), abs(new[i])))
        e5 = e3 = 0.0
        for k in _ESTIMATE:
            e5 += _E5[k] * stages[k, i]
            e3 += _E3[k] * stages[k, i]
        fifth += (e5 / margin) ** 2
        third += (e3 / margin) ** 2
    denominator = fifth + 0.01 * third
    # not a number where a stage was none: that step is refused
    # where the estimate of order 5 happens to vanish, that of order 3 keeps the step from settling there
    estimate = max(fifth, _FLOOR * third)
    return 0.0 if denominator == 0.0 else size * estimate / math.sqrt(denominator * m)


attempt = kernel(_attempt, inline=True)


def _attempt_5(
    rhs, t, done, size, y, theta, inflow, rule, values, vectors, weight, rest, x, stages, slope, new
):  # fmt: skip
    """Try one step of `size` with the pair of order 5 and 4; as `_attempt`."""
    m, linear = y.shape[0], values.shape[0]
    for stage in range(1, _STAGES_5 + 1):
        for i in range(m):
            new[i] = y[i]
        for k in range(stage):
            share = size * _WEIGHTS_5[stage, k]
            for i in range(m):
                new[i] += share * stages[k, i]
        now = done + (_C_5[stage] * size if stage < _STAGES_5 else size)
        if linear > 0:
            amounts_at(now, values, vectors, weight, rest, x)
        rhs(t + now, new, x, theta, slope)
        for i in range(m):
            stages[stage, i] = slope[i] + inflow[linear + i]
    total = 0.0
    for i in range(m):
        margin = rule[0, 0] * (rule[1, i] + max(abs(y[i]), abs(new[i])))
        error = 0.0
        for k in range(_STAGES_5 + 1):
            error += _E_5[k] * stages[k, i]
        total += (size * error / margin) ** 2
    return math.sqrt(total / m)


attempt_5 = kernel(_attempt_5, inline=True)


def _first_step(y, slope, scale, h):
    """Return a first step that changes the states little (Hairer, Norsett and Wanner, section II.4)."""
    size = rise = 0.0
    for i in range(y.shape[0]):
        margin = scale[i] + abs(y[i])
        size, rise = max(size, abs(y[i]) / margin), max(rise, abs(slope[i]) / margin)
    return 0.01 * max(size, 1e-3) / rise if rise > 0.0 else 0.1 * h


first_step = kernel(_first_step)


def _advance(  # noqa: C901, the step control is one story
    rates, rhs, t, h, state, rate, route_state, theta, column, rule, layout, work
):  # fmt: skip
    s, routes, linear = layout[0], layout[1], layout[3]
    m = s - linear
    head, inflow = work[0], np.zeros(s)
    for route in range(routes):
        inflow[route_state[route]] += rate[route]
    values, weight, rest, x = np.empty(linear), np.zeros(linear), np.zeros(linear), np.empty(linear)
    vectors = np.empty((linear, linear))
    if linear > 0:
        if not keep_modes(rates, t, theta, column, layout[2], linear, work):
            return 3
        if not decompose(state, inflow, linear, work, values, vectors, weight, rest):
            return 4
    y, new, slope, stages = state[linear:].copy(), np.empty(m), np.empty(m), np.zeros((_STAGES + 1, m))
    for i in range(linear):
        x[i] = state[i]
    rhs(t, y, x, theta, slope)
    for i in range(m):
        stages[0, i] = slope[i] + inflow[linear + i]
    # head[2]: the step that would have done after the last event; it is a good first guess after this one
    step = head[2] if head[2] > 0.0 else first_step(y, stages[0], rule[1], h)
    for k in range(linear):
        # a fast mode must not be over before it is looked at: an absorption begins with an empty compartment
        if weight[k] != 0.0:
            step = min(step, 1.0 / max(abs(values[k]), 1e-300))
    done, first, fifth = 0.0, True, rule[2, 0] == 5.0
    last, power = (_STAGES_5, -1.0 / 5.0) if fifth else (_STAGES, -1.0 / 8.0)
    for _ in range(_MOST_STEPS):
        ends = done + step >= h * (1.0 - 1e-12)
        size = h - done if ends else step
        if fifth:
            error = attempt_5(
                rhs, t, done, size, y, theta, inflow, rule, values, vectors, weight, rest, x, stages,
                slope, new,
            )  # fmt: skip
        else:
            error = attempt(
                rhs, t, done, size, y, theta, inflow, rule, values, vectors, weight, rest, x, stages,
                slope, new,
            )  # fmt: skip
        if error <= 1.0:
            done = h if ends else done + size
            for i in range(m):
                y[i], stages[0, i] = new[i], stages[last, i]
            grown = size * (_GROW if error == 0.0 else min(_GROW, _SAFETY * error**power))
            if first:
                head[2], first = grown, False
            step = max(step, grown) if ends else grown
            if ends:
                amounts_at(h, values, vectors, weight, rest, x)
                for i in range(linear):
                    state[i] = x[i]
                for i in range(m):
                    state[linear + i] = y[i]
                return 0
        elif size < 1e-13 * max(abs(t), h):
            return 1
        else:
            # an error that is not a number, or infinite, shrinks the step as far as any
            step = size * (max(_SHRINK, _SAFETY * error**power) if error < 1e300 else _SHRINK)
    return 2


_ADVANCE = kernel(_advance)


@cache
def _rules(tolerance: float, scale: tuple[float, ...]) -> dict[str, Floats]:
    """Return (3, m) for every accuracy level: the tolerance, the scale of each state, and the order."""
    made = {}
    for name, relative in (("exact", tolerance), ("belief", _BELIEF)):
        rows = np.full((3, max(len(scale), 1)), relative)
        rows[2] = 8.0 if name == "exact" else 5.0
        rows[1] = 1.0
        rows[1, : len(scale)] = scale
        made[name] = rows
    return made


@dataclass(frozen=True)
class Driven:
    """The first `linear` states are linear compartments, the others follow `rhs`.

    Attributes
    ----------
    rates
        ``rates(t, theta, matrix)``: rate constants of the linear states, as in `Linear`, (l, l).
    rhs
        ``rhs(t, y, x, theta, dy)``: write the derivative `dy` (m,) of the other states `y` (m,), given the
        linear states `x` (l,).
    linear
        Number of linear states, 0 to all of the kinetics.
    scale : (m,)
        Typical size of each of the other states, in its unit: errors below the tolerance times it do not
        count.
    tolerance
        Relative tolerance of one step at level "exact". The default keeps published models within 1e-7 of the
        column maximum; a state that sums the errors of many steps needs less.
    """

    rates: Callable[..., Any]
    rhs: Callable[..., Any]
    linear: int
    scale: tuple[float, ...]
    tolerance: float = 1e-8

    @property
    def kernels(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Rates and right-hand side."""
        return self.rates, self.rhs

    @property
    def signatures(self) -> tuple[Any, Any]:
        """Types of `kernels`."""
        return RATES, RHS

    @property
    def advance(self) -> Any:
        """The compiled-in step."""
        return _ADVANCE

    @property
    def rules(self) -> dict[str, Floats]:
        """Tolerance of one step, the scale of the states, and the order of the pair."""
        return _rules(self.tolerance, self.scale)

    @property
    def infusions(self) -> bool:
        """A constant input is exact."""
        return True

    def jitter(self, states: int) -> tuple[float, Floats]:
        """A multiple of the tolerance of one step, and of it times the scale of the states."""
        absolute = np.zeros(states)
        absolute[self.linear :] = _JITTER * self.tolerance * np.asarray(self.scale)
        return _JITTER * self.tolerance, absolute

    def layout(self, states: int, routes: int) -> NDArray[np.int64]:
        """Number of states, of routes, of breaks passed so far (kept by the engine), and of linear states."""
        return np.array([states, routes, 0, self.linear])

    def work_shape(self, states: int, routes: int, rule: Floats) -> tuple[int, int]:
        """Head, scratch row, eigenvalues, eigenvectors, their inverse, and the rate matrix."""
        return 3 + 3 * self.linear, max(states, 3)
