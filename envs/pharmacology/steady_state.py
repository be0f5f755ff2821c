"""Steady state: the states that a repeated schedule leaves unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.engine import SolverError, follow, parameter_array
from dosewright.envs.pharmacology.events import Dose, schedule_events
from dosewright.envs.pharmacology.model import Floats, PopulationModel

_FIRST_CYCLES, _CYCLES_AT_ONCE = 8, 256  # before Newton's first steps, and between later ones
_NEWTON_STEPS = 40  # from one state; close to the maximal elimination each doubles it
_SINGULAR = 1e-14  # added to the slope: where it is 0 the way is long, not infinite
_HORIZON = 1e4  # changes ahead at which growth is looked at


def steady_state(
    model: PopulationModel,
    patients: ArrayLike,
    doses: Sequence[Any],
    every: float,
    *,
    relative: float = 1e-12,
    most_cycles: int = 20_000,
) -> Floats:
    """Return the states (n, s) to which a repeated schedule leads, just before its first dose.

    Cycles are run from the drug-free state; from where they lead, Newton's method looks for the state that a
    cycle leaves as it is. The change over one cycle, there and at states beside it, tells the way that is
    left: for one state Aitken's change · pace / (1 − pace), for several the same as a matrix, so that slow
    compartments and feedback that swings for years take few cycles. A step holds only if a cycle then changes
    the states at most half as much; if not, more cycles are run as though it had not been tried.

    Steady is a state with no way left, to `relative` or to the solver's jitter, and to which cycles lead back
    (no eigenvalue beyond 1). How little one cycle changes is no measure: a slow compartment moves little, far
    from its limit. States that only add up, named AUC…, stay at their start.

    Parameters
    ----------
    model, patients
        As in `simulate`, with parameters that do not change.
    doses
        One cycle, as in `simulate`.
    every
        Length of the cycle, in ``model.time_unit``.
    relative
        Way that may be left, relative to the size of a state.
    most_cycles
        Cycles run until there is none.

    Raises
    ------
    ValueError
        If there is none: a state grows without limit, as above the maximal elimination of a saturable model,
        or swings for ever. Growth is found where a state moves away from zero, and would as fast after ten
        thousand such changes. Also for doses that outlast the cycle, and as in `simulate`.
    """
    theta = parameter_array(model, patients)
    if theta.shape[1] != 1 or model.breaks:
        raise ValueError(f"{model.name}: parameters change over time; a steady state needs constant ones")
    if not (np.isfinite(every) and every > 0):
        raise ValueError(f"every = {every}; expected the length of a cycle, above 0 {model.time_unit}")
    cycle = _Cycle(model, theta, [Dose(*item) for item in doses], every)
    cycle.check()
    state, left, swings = model.initial(theta[:, 0]), np.arange(len(theta)), np.zeros(len(theta), dtype=bool)
    number, count = 0, _FIRST_CYCLES
    while True:
        count = min(count, _CYCLES_AT_ONCE, most_cycles - number)
        number += count
        state[left] = cycle.run(state[left], left, count)
        reached, steady, repels = _approach(cycle, state[left], left, relative)
        state[left[steady]] = cycle.run(reached[steady], left[steady])
        swings[left] |= repels
        left, count = left[~steady], 2 * count
        if not len(left):
            return state
        if number > _FIRST_CYCLES:
            cycle.refuse_growth(state[left], left, swings[left])
        if number >= most_cycles:
            cycle.refuse(state[left[:1]], int(left[0]), bool(swings[left[0]]), number)


class _Look(NamedTuple):
    """What a cycle does at states `at` (k, s): their sizes, and relative to these the change (k, s), its
    slope (k, m, m) over the m states that can be steady, and the way (k, s) to where it is 0."""

    at: Floats
    size: Floats
    change: Floats
    slope: Floats
    way: Floats

    def rows(self, chosen: NDArray[np.bool_]) -> _Look:
        """The same of some states."""
        return _Look(*(part[chosen] for part in self))

    def beyond(self) -> Floats:
        """The states after the way; one that is above zero stays so."""
        then = self.at + self.way * self.size
        return np.where((self.at > 0) & (then <= 0), 0.5 * self.at, then)

    def attracts(self, chosen: NDArray[np.bool_], margin: float) -> NDArray[np.bool_]:
        """Whether cycles lead back to those chosen, by the eigenvalues of a cycle."""
        found, slope = chosen.copy(), self.slope[chosen]
        found[chosen] = np.abs(np.linalg.eigvals(slope + np.eye(slope.shape[1]))).max(axis=1) <= 1.0 + margin
        return found


@dataclass(frozen=True, eq=False)
class _Cycle:
    """A cycle of doses that repeats. `who` are the patients (k,) whose states (k, s) are given."""

    model: PopulationModel
    theta: Floats
    doses: list[Dose]
    every: float

    @cached_property
    def moving(self) -> NDArray[np.int64]:
        """States that can be steady."""
        return np.setdiff1d(np.arange(len(self.model.states)), _accumulators(self.model))

    def check(self) -> None:
        """Refuse doses that have not entered at the end of the cycle."""
        model, unit = self.model, self.model.time_unit
        lags = {model.column(route.lag) for route in model.routes if route.lag is not None}
        late = max((float(self.theta[..., column].max()) for column in lags), default=0.0)
        for number, dose in enumerate(self.doses):
            if dose.time + dose.duration + late > self.every or dose.time + late >= self.every:
                entering = f", entering up to {late:g} {unit} later" if late > 0 else ""
                raise ValueError(
                    f"dose {number}, at {dose.time:g} over {dose.duration:g} {unit}{entering}, outlasts "
                    f"the cycle of {self.every:g} {unit}; start the cycle at another dose"
                )

    def run(self, state: Floats, who: NDArray[np.int64], count: int = 1) -> Floats:
        """Return the states after so many cycles."""
        model, after, same = self.model, state.copy(), np.zeros(len(who), dtype=np.int64)
        many = [dose._replace(time=dose.time + self.every * k) for k in range(count) for dose in self.doses]
        routes, end = [route.name for route in model.routes], np.array([self.every * count])
        events = schedule_events([many], routes, end, np.zeros(1), model.time_unit)
        follow(model, after, self.theta[who], events, np.zeros(0, dtype=np.int64), 1, which=same, ids=who)
        grows = _accumulators(model)
        after[:, grows] = state[:, grows]
        return after

    def change(self, state: Floats, who: NDArray[np.int64]) -> Floats:
        """Return the change over one cycle; not a number where it cannot be computed."""
        try:
            return self.run(state, who) - state
        except SolverError:
            if len(who) == 1:
                return np.full_like(state, np.nan)
            return np.concatenate([self.change(state[[i]], who[[i]]) for i in range(len(who))])

    def sizes(self, state: Floats) -> Floats:
        """Return sizes (k, s) to which changes are relative: at least the solver's scale, or very little."""
        jitter, absolute = self.model.solver.jitter(state.shape[1])
        scale, size = absolute / (jitter or 1.0), np.abs(state)
        least = 1e-9 * size[:, self.moving].max(axis=1, keepdims=True) + 1e-300
        return np.maximum(size, np.where(scale > 0, scale, least))

    def look(self, state: Floats, who: NDArray[np.int64]) -> _Look:
        """Return what a cycle does at states, from it and as many neighbours of each as states move."""
        (k, s), size, m = state.shape, self.sizes(state), len(self.moving)
        # apart as far as errors of both kinds allow; exact solvers are linear ones
        width = self.model.solver.jitter(s)[0] ** 0.5 or 1.0
        beside, number = np.repeat(state[:, None], m + 1, axis=1), np.arange(m)
        beside[:, number + 1, self.moving] += width * size[:, self.moving]
        apart = (beside[:, number + 1, self.moving] - state[:, self.moving]) / size[:, self.moving]
        changes = self.change(beside.reshape(-1, s), np.repeat(who, m + 1)).reshape(beside.shape)
        changes /= size[:, None]
        here, there = changes[:, :1, self.moving], changes[:, 1:, self.moving]
        way = np.zeros((k, s))
        with np.errstate(all="ignore"):
            slope = ((there - here) / apart[..., None]).swapaxes(1, 2)
            way[:, self.moving] = np.linalg.solve(_SINGULAR * np.eye(m) - slope, here.swapaxes(1, 2))[..., 0]
        return _Look(state, size, changes[:, 0], slope, way)

    def refuse_growth(self, state: Floats, who: NDArray[np.int64], swings: NDArray[np.bool_]) -> None:
        """Refuse patients whose states move away from zero, and would as fast far ahead, and do not swing."""
        change = self.change(state, who)
        away = change * state > 0
        ahead = self.change(np.where(away, state + _HORIZON * change, state), who)
        pace = np.abs(change) / self.sizes(state)
        # all that move to speak of: what drives the others may turn back
        moves = pace > 0.01 * pace.max(axis=1, keepdims=True)
        keeps = np.where(moves, away & (ahead * np.sign(change) > 0.5 * np.abs(change)), True).all(axis=1)
        grows = keeps & moves.any(axis=1) & ~swings
        if grows.any():
            i = int(np.argmax(grows))
            j = int(pace[i].argmax())
            name, unit = self.model.states[j], self.model.time_unit
            raise ValueError(
                f"{self.model.name}: patient {who[i]} has no steady state: {name} has no limit, it changes "
                f"by {change[i, j]:g} in a cycle of {self.every:g} {unit}; where the doses exceed what is "
                "eliminated give less, and name a state that only adds up AUC…"
            )

    def refuse(self, state: Floats, patient: int, swings: bool, number: int) -> NoReturn:
        """Refuse a patient whose states still move."""
        change = self.change(state, np.array([patient]))[0]
        j = int(np.argmax(np.abs(change) / self.sizes(state)[0]))
        raise ValueError(
            f"{self.model.name}: patient {patient} has no steady state after {number} cycles of "
            f"{self.every:g} {self.model.time_unit}: {self.model.states[j]} still "
            f"{'swings' if swings else 'moves'}, now by {change[j]:g} in a cycle; simulate the time that "
            "matters, or raise most_cycles"
        )


def _approach(
    cycle: _Cycle, state: Floats, who: NDArray[np.int64], relative: float
) -> tuple[Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Newton's method from states (k, s): return where it ends, whether that is steady, or repels."""
    jitter, _ = cycle.model.solver.jitter(state.shape[1])
    enough, finest, margin = max(relative, jitter), max(0.02 * jitter, 1e-14), jitter**0.5
    reached, steady, repels = state.copy(), np.zeros(len(who), dtype=bool), np.zeros(len(who), dtype=bool)
    rows, here = np.arange(len(who)), cycle.look(state, who)
    for _ in range(_NEWTON_STEPS):
        finite = np.isfinite(here.slope.sum(axis=(1, 2)) + here.way.sum(axis=1))
        rows, here = rows[finite], here.rows(finite)
        if not len(rows):
            break
        then, way = here.beyond(), np.abs(here.way).max(axis=1)
        there = cycle.look(then, who[rows])
        change = np.abs(here.change).max(axis=1)
        nearer = np.abs(there.change * there.size / here.size).max(axis=1) <= 0.5 * change
        # the way is over; or no step comes nearer, at the accuracy of the solver
        ends = (way <= enough) | (~nearer & (change <= finest) & (way <= 1e-3))
        back = here.attracts(ends, margin)
        reached[rows[ends]] = np.where(nearer[:, None], then, here.at)[ends]
        steady[rows[ends]], repels[rows[ends]] = back[ends], ~back[ends]
        rows, here = rows[nearer & ~ends], there.rows(nearer & ~ends)
    return reached, steady, repels


def _accumulators(model: PopulationModel) -> list[int]:
    """States that only integrate: named AUC…, they leave no compartment."""
    return [i for i, name in enumerate(model.states) if name.startswith("AUC")]
