"""Search for the dose, the interval or the time that brings a patient to a target.

What a plan does is simulated in draws of one patient: a single estimate, or a weighted posterior. The
question is a `Quantity` of the course (a level, trough, peak, area, average), and either its mean, or the
probability with which it lies above or below a value. A linear model's levels are affine in the dose: two
simulations give every dose, and a third one, at the answer, shows whether they do. Where not, every dose that
is tried is simulated. A target out of reach is a result that says so and names the bounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.regimens.quantities import Plan, Quantity
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate, steady_state
from dosewright.envs.scenarios.dosing import DoseGrid

Floats = NDArray[np.float64]
Side = Literal["above", "below"]

_LINEAR = 1e-7  # relative difference of an affine level and a simulated one that is rounding
_DOUBLINGS = 40  # of a first amount of 1, or of a first interval, before a search without a bound gives up
_ROUNDS, _CANDIDATES = 4, 33  # of a search for the best dose: each round between the best one's neighbours


class Levels(Protocol):
    """What a schedule does to every draw."""

    def __call__(
        self, doses: Sequence[Dose], times: Floats, output: str | None, every: float | None
    ) -> Floats:
        """Return the levels (k, m) at rising `times` (m,) under the history and `doses`.

        With `every`, under `doses` repeated every so often for ever, `times` counting from a cycle's start.
        """
        ...


@dataclass(frozen=True, eq=False)
class Draws:
    """Draws of one patient, and what a schedule does to them.

    Attributes
    ----------
    levels
        The simulator.
    weight : (k,) weights that sum to 1
    breaks
        Times at which the history's doses begin and end: an area is integrated from one to the next.
    """

    levels: Levels
    weight: Floats
    breaks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        weight = self.weight
        if weight.ndim != 1 or not np.all(weight >= 0) or not math.isclose(weight.sum(), 1.0, rel_tol=1e-9):
            raise ValueError(
                f"weights of shape {weight.shape} with sum {weight.sum():g}; expected (k,), none negative, "
                "that sum to 1"
            )

    @classmethod
    def of_model(
        cls,
        model: PopulationModel,
        theta: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        history: Sequence[Dose] = (),
        output: str | None = None,
        changes: ArrayLike = (0.0,),
    ) -> Draws:
        """Return draws whose levels a model simulates.

        Parameters
        ----------
        model, changes
            As in `simulate`.
        theta : (p,), (k, p) or (k, q, p)
            Parameters of an estimate, or of draws.
        weight : (k,)
            Weights of the draws, equal by default; they need not sum to 1.
        history
            Doses given so far; none is an empty system.
        output
            The model's output that is meant by a level; its first one by default.
        """
        parameters = np.atleast_2d(np.asarray(theta, dtype=np.float64))
        given = np.ones(len(parameters)) if weight is None else np.asarray(weight, dtype=np.float64)
        past, usual = [Dose(*dose) for dose in history], output or model.outputs[0].name

        def levels(doses: Sequence[Dose], times: Floats, output: str | None, every: float | None) -> Floats:
            outputs = [output or usual]
            if every is None:
                schedule = sorted([*past, *doses], key=lambda dose: dose.time)
                return simulate(model, parameters, schedule, times, outputs, changes=changes)[..., 0]
            return _steady_levels(model, parameters, doses, times, outputs[0], every)

        breaks = {dose.time for dose in past} | {dose.time + dose.duration for dose in past}
        return cls(levels, given / given.sum(), tuple(sorted(breaks)))

    @classmethod
    def of_courses(
        cls,
        courses: Courses,
        patient: int,
        eta: ArrayLike,
        weight: ArrayLike | None = None,
        *,
        history: bool = True,
        output: str | None = None,
    ) -> Draws:
        """Return draws of a patient whose doses were recorded, with the last recorded covariates.

        Parameters
        ----------
        courses, patient
            Records, and the number of the patient in them.
        eta : (d,) or (k, d)
            Random effects: a MAP estimate's ``fit.eta[patient]``, or a posterior's ``eta[patient]``.
        weight : (k,)
            Weights of the draws, such as a posterior's ``weight[patient]``; equal by default.
        history
            Whether the recorded doses count; False is an empty system with the patient's parameters.
        output
            As in `of_model`.
        """
        own, effects = courses.select([patient]), np.atleast_2d(np.asarray(eta, dtype=np.float64))[None]
        model, usual = courses.model, output or courses.model.outputs[0].name
        given = np.ones(effects.shape[1]) if weight is None else np.asarray(weight, dtype=np.float64)
        last = own.theta(effects)[0, :, int(own.last[0])]

        def levels(doses: Sequence[Dose], times: Floats, output: str | None, every: float | None) -> Floats:
            if every is None:
                seen = own.simulate(effects, [doses], times, [output or usual], history=history)
                return seen[0, ..., 0]
            return _steady_levels(model, last, doses, times, output or usual, every)

        return cls(levels, given / given.sum(), _recorded_breaks(own) if history else ())

    def read(self, plan: Plan, amount: float, quantity: Quantity) -> Floats:
        """Return the quantity (k,) in every draw under doses of `amount`."""
        return quantity.value(self.course(plan, amount, quantity), self.times(plan, quantity))

    def times(self, plan: Plan, quantity: Quantity) -> Floats:
        """Return the times (m,) at which a quantity reads levels.

        Raises
        ------
        ValueError
            For a time after the cycle of a plan at steady state.
        """
        mine = [time for dose in plan.doses(0.0) for time in (dose.time, dose.time + dose.duration)]
        times = quantity.times(plan, np.unique([*mine, *(() if plan.steady else self.breaks)]))
        if plan.steady and times.max(initial=0.0) > plan.interval * (1 + 1e-9):
            raise ValueError(
                f"{_name(quantity)} reads a level at {times.max():g}; a plan at steady state is one cycle, "
                f"0 to {plan.interval:g}: ask for a part of that (AUC24 is the cycle's × 24 / interval)"
            )
        return times

    def course(self, plan: Plan, amount: float, quantity: Quantity) -> Floats:
        """Return the levels (k, m) that a quantity reads, under doses of `amount`."""
        every = plan.interval if plan.steady else None
        return self.levels(plan.doses(amount), self.times(plan, quantity), quantity.output, every)

    def mean(self, values: Floats) -> float:
        """Return the posterior mean of values (k,)."""
        return float(self.weight @ values)

    def chance(self, values: Floats, side: Side, limit: float) -> float:
        """Return the probability that values (k,) lie above or below a limit."""
        return float(self.weight[values > limit if side == "above" else values < limit].sum())

    def quantile(self, values: Floats, share: float) -> float:
        """Return the smallest of values (k,) that more than `share` of the weight does not exceed."""
        order = np.argsort(values, kind="stable")
        place = np.searchsorted(np.cumsum(self.weight[order]), share * (1 + 1e-12), side="right")
        return float(values[order[min(int(place), len(order) - 1)]])


@dataclass(frozen=True)
class Option:
    """A dose that can be given, and what it is likely to do.

    Attributes
    ----------
    dose
        Of the grid.
    mean
        Posterior mean of the quantity.
    in_target, harm
        Probability that the quantity lies in the target range, and above the limit of harm; NaN without one.
    """

    dose: float
    mean: float
    in_target: float
    harm: float


@dataclass(frozen=True)
class Found:
    """The answer of a search.

    Attributes
    ----------
    value
        Dose, interval or time; NaN where the target is out of reach.
    mean, low, high
        Posterior mean of the quantity there, and the ends of the middle 90 % of its draws.
    probability
        That the quantity there is above or below the value, as asked, or in the range; NaN where neither
        was asked.
    unreached
        Empty, or why there is no answer, bounds included.
    options
        The neighbouring doses of a grid, where one was given.
    """

    value: float
    mean: float = math.nan
    low: float = math.nan
    high: float = math.nan
    probability: float = math.nan
    unreached: str = ""
    options: tuple[Option, ...] = ()

    @property
    def reached(self) -> bool:
        """Whether there is an answer."""
        return not self.unreached


@dataclass(frozen=True)
class Snap:
    """A grid of doses, and what makes one good or bad.

    Attributes
    ----------
    grid
        Doses that can be given.
    target
        Range of the quantity, ends included.
    harm
        Limit above which the quantity harms.
    """

    grid: DoseGrid
    target: tuple[float, float] | None = None
    harm: float | None = None

    def options(self, draws: Draws, curve: Callable[[float], Floats], dose: float) -> tuple[Option, ...]:
        """Return the grid's doses on both sides of `dose`, and itself where it is on the grid."""
        doses = self.grid.doses
        same = self.grid.same(doses, dose)
        near = [*doses[(doses < dose) & ~same][-1:], *doses[same], *doses[(doses > dose) & ~same][:1]]
        return tuple(self._option(draws, curve(float(one)), float(one)) for one in near)

    def _option(self, draws: Draws, values: Floats, dose: float) -> Option:
        inside = math.nan
        if self.target is not None:
            inside = float(draws.weight[_within(values, *self.target)].sum())
        harm = math.nan if self.harm is None else draws.chance(values, "above", self.harm)
        return Option(dose, draws.mean(values), inside, harm)


def find_dose(
    draws: Draws,
    plan: Plan,
    quantity: Quantity,
    value: float,
    *,
    probability: float | None = None,
    side: Side = "above",
    bounds: tuple[float, float] = (0.0, math.inf),
    snap: Snap | None = None,
) -> Found:
    """Return the dose at which a quantity, rising with the dose, has a value.

    Parameters
    ----------
    draws
        The patient.
    plan
        When and how the dose is given.
    quantity, value
        What is to be reached, in the output's unit (times time for an area).
    probability
        None: the posterior mean is `value`. Otherwise, with `side` "above", the smallest dose at which the
        quantity exceeds `value` with at least this probability; with "below" the largest dose at which it
        stays under `value` with at least this probability.
    side
        See `probability`.
    bounds
        Smallest and largest dose, in the model's unit of amount.
    snap
        A grid whose neighbouring doses are described in the answer.

    Raises
    ------
    ValueError
        For a value, probability or bounds that no dose can have.
    """
    _check(value, probability, bounds)
    statistic = _statistic(draws, probability, side)
    curve, answer, why = _solve(
        draws, plan, quantity, lambda values: statistic(values) - value, bounds, probability, side
    )
    if why:
        return Found(math.nan, unreached=f"{_name(quantity)} {value:g} is out of reach: {why}")
    options = () if snap is None else snap.options(draws, curve, answer)
    values = draws.read(plan, answer, quantity)
    return _found(draws, answer, values, draws.chance(values, side, value), options)


def find_interval(
    draws: Draws,
    plan: Plan,
    amount: float,
    quantity: Quantity,
    value: float,
    *,
    probability: float | None = None,
    side: Side = "above",
    bounds: tuple[float, float],
) -> Found:
    """Return the interval between doses of `amount` at which a quantity has a value; it falls with the
    interval.

    Parameters
    ----------
    plan
        Its interval is replaced; its count, or steady, stays.
    probability
        None: the posterior mean is `value`. Otherwise, with `side` "above", the longest interval at which the
        quantity exceeds `value` with at least this probability; with "below" the shortest at which it stays
        under it.
    bounds
        Shortest and longest interval, in the model's unit of time.

    Other parameters are those of `find_dose`.
    """
    _check(value, probability, bounds)
    statistic = _statistic(draws, probability, side)

    def curve(interval: float) -> Floats:
        every = Plan(plan.start, interval, plan.count, plan.duration, plan.route, plan.steady)
        return draws.read(every, amount, quantity)

    answer, why = _root(
        lambda interval: value - statistic(curve(interval)), bounds, probability, side == "below"
    )
    if why:
        return Found(math.nan, unreached=f"{_name(quantity)} {value:g} is out of reach: interval {why}")
    values = curve(answer)
    return _found(draws, answer, values, draws.chance(values, side, value))


def first_time(
    draws: Draws,
    plan: Plan,
    amount: float,
    value: float,
    times: ArrayLike,
    *,
    probability: float | None = None,
    side: Side = "below",
    output: str | None = None,
) -> Found:
    """Return the first of rising `times` (m,) at which the level is below, or above, a value.

    Parameters
    ----------
    plan, amount
        Doses to come; an amount of 0 leaves the history alone.
    value
        Of the level.
    probability
        Of the draws that must be on that side; None: the posterior mean must be.
    """
    _check(value, probability, (0.0, math.inf))
    grid = np.asarray(times, dtype=np.float64)
    every = plan.interval if plan.steady else None
    levels = draws.levels(plan.doses(amount), grid, output, every)
    if probability is None:
        mean = draws.weight @ levels
        holds = mean < value if side == "below" else mean > value
    else:
        sides = levels < value if side == "below" else levels > value
        holds = draws.weight @ sides >= probability - 1e-12
    if not holds.any():
        ends = ", ".join(f"{draws.mean(levels[:, i]):g} at {grid[i]:g}" for i in (0, -1))
        return Found(
            math.nan,
            unreached=f"the level is not {side} {value:g} at any of {len(grid)} times; on average {ends}",
        )
    place = int(np.argmax(holds))
    values = levels[:, place]
    return _found(draws, float(grid[place]), values, draws.chance(values, side, value))


def best_dose(
    draws: Draws,
    plan: Plan,
    quantity: Quantity,
    loss: Callable[[Floats], Floats],
    *,
    bounds: tuple[float, float],
    snap: Snap | None = None,
) -> Found:
    """Return the dose with the least posterior expected loss.

    Doses are compared in rounds, each between the neighbours of the best one so far; of equal ones in a row
    the middle one is taken. With a grid, all its doses within the bounds are compared instead.

    Parameters
    ----------
    loss
        ``loss(values (k,)) -> (k,)`` of the quantity.
    bounds
        Smallest and largest dose, finite.
    """
    _check(0.0, None, bounds)
    if not math.isfinite(bounds[1]):
        raise ValueError(f"bounds {bounds}: the best dose is looked for between two finite ones")
    curve = _curve(draws, plan, quantity, bounds[1])
    if snap is not None:
        doses = snap.grid.doses[(snap.grid.doses >= bounds[0]) & (snap.grid.doses <= bounds[1])]
        if not len(doses):
            raise ValueError(f"no dose of the grid lies between {bounds[0]:g} and {bounds[1]:g}")
        best = _least(doses, [draws.mean(loss(curve(float(dose)))) for dose in doses])[1]
    else:
        low, high = bounds
        best = low
        for _ in range(_ROUNDS):
            doses = np.linspace(low, high, _CANDIDATES)
            low, best, high = _least(doses, [draws.mean(loss(curve(float(dose)))) for dose in doses])
    options = () if snap is None else snap.options(draws, curve, best)
    return _found(draws, best, draws.read(plan, best, quantity), math.nan, options)


def most_likely_dose(
    draws: Draws,
    plan: Plan,
    quantity: Quantity,
    target: tuple[float, float],
    *,
    bounds: tuple[float, float],
    snap: Snap | None = None,
) -> Found:
    """Return the dose that most probably brings the quantity into a target range, ends included.

    Parameters are those of `best_dose`.
    """
    if not target[0] <= target[1]:
        raise ValueError(f"target {target}: expected its lower end first")
    found = best_dose(
        draws,
        plan,
        quantity,
        lambda values: np.where(_within(values, *target), 0.0, 1.0),
        bounds=bounds,
        snap=snap,
    )
    inside = _within(draws.read(plan, found.value, quantity), *target)
    chance = float(draws.weight[inside].sum())
    if chance == 0.0:
        return Found(
            math.nan,
            unreached=f"{_name(quantity)} is in {target[0]:g} to {target[1]:g} in no draw at any dose "
            f"compared between {bounds[0]:g} and {bounds[1]:g}",
        )
    return Found(found.value, found.mean, found.low, found.high, chance, "", found.options)


@dataclass
class _Affine:
    """A quantity as a function of the dose, from levels at doses 0 and `unit`."""

    draws: Draws
    plan: Plan
    quantity: Quantity
    unit: float = 1.0
    base: Floats = field(init=False)
    slope: Floats = field(init=False)
    moments: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.moments = self.draws.times(self.plan, self.quantity)
        self.base = self.draws.course(self.plan, 0.0, self.quantity)
        course = self.draws.course(self.plan, self.unit, self.quantity)
        self.slope = (course - self.base) / self.unit

    def __call__(self, amount: float) -> Floats:
        return self.quantity.value(self.base + amount * self.slope, self.moments)

    def holds(self, amount: float) -> bool:
        """Whether a simulation at `amount` gives the same levels."""
        course = self.draws.course(self.plan, amount, self.quantity)
        if not (np.isfinite(course).all() and np.isfinite(self.slope).all()):
            return False
        apart = np.abs(self.base + amount * self.slope - course)
        return bool(np.all(apart <= _LINEAR * np.abs(course).max(axis=1, keepdims=True)))


def _curve(draws: Draws, plan: Plan, quantity: Quantity, most: float) -> Callable[[float], Floats]:
    """Return the quantity as a function of the dose up to `most`: affine where that holds in the middle."""
    affine = _Affine(draws, plan, quantity, most)
    return affine if affine.holds(most / 2) else lambda amount: draws.read(plan, amount, quantity)


def _solve(
    draws: Draws,
    plan: Plan,
    quantity: Quantity,
    above: Callable[[Floats], float],
    bounds: tuple[float, float],
    probability: float | None,
    side: Side,
) -> tuple[Callable[[float], Floats], float, str]:
    """Return the curve that was used, the dose at which `above` of its values is 0, and why there is none."""
    affine = _Affine(draws, plan, quantity)
    answer, why = _root(lambda amount: above(affine(amount)), bounds, probability, side == "above")
    tried = answer if not why else bounds[1] if math.isfinite(bounds[1]) else 1e3
    if affine.holds(tried):
        return affine, answer, why

    def curve(amount: float) -> Floats:
        return draws.read(plan, amount, quantity)

    return curve, *_root(lambda amount: above(curve(amount)), bounds, probability, side == "above")


def _root(
    rising: Callable[[float], float], bounds: tuple[float, float], probability: float | None, least: bool
) -> tuple[float, str]:
    """Return where a rising function is 0, and why there is no such place.

    With a probability the function need not be 0: the least place at which it is not negative (`least`), or
    the last at which it is not positive.
    """
    low, high = bounds
    at_low = rising(low)
    if at_low >= 0:
        if at_low == 0 or (probability is not None and least):
            return low, ""
        return math.nan, f"at {low:g}, the lower bound, it is already exceeded by {at_low:g}"
    last, at_last = low, at_low
    end = high if math.isfinite(high) else max(1.0, 2 * low)
    for _ in range(_DOUBLINGS):
        at_end = rising(end)
        if at_end >= 0 or end == high:
            break
        last, at_last, end = end, at_end, min(2 * end, high)
    else:
        return math.nan, f"at {last:g} it is still {-at_last:g} short, and no bound was given"
    if at_end < 0:
        if probability is not None and not least:
            return end, ""
        return math.nan, f"at {high:g}, the upper bound, it is still {-at_end:g} short"
    root: Any = brentq(rising, last, end, xtol=1e-13 * end)
    if probability is not None:  # the side on which the condition holds
        root *= 1 + 1e-11 if least else 1 - 1e-11
    return float(root), ""


def _least(doses: Floats, losses: Sequence[float]) -> tuple[float, float, float]:
    """Return the best of rising doses, the middle of a row of equal ones, between its neighbours."""
    loss = np.asarray(losses)
    first = last = int(np.argmin(loss))
    while last + 1 < len(loss) and loss[last + 1] <= loss[first] + 1e-12:
        last += 1
    middle = (first + last) // 2
    return float(doses[max(first - 1, 0)]), float(doses[middle]), float(doses[min(last + 1, len(loss) - 1)])


def _statistic(draws: Draws, probability: float | None, side: Side) -> Callable[[Floats], float]:
    """Return what of the draws must have the value: their mean, or the quantile that a probability means."""
    if probability is None:
        return draws.mean
    if side == "above":
        return lambda values: draws.quantile(values, 1.0 - probability)
    # the mirror image: as much weight below the value as above it in the other case
    return lambda values: -draws.quantile(-values, 1.0 - probability)


def _found(
    draws: Draws, answer: float, values: Floats, chance: float, options: tuple[Option, ...] = ()
) -> Found:
    low, high = (draws.quantile(values, share) for share in (0.05, 0.95))
    return Found(answer, draws.mean(values), low, high, chance, "", options)


def _steady_levels(
    model: PopulationModel, theta: Floats, doses: Sequence[Dose], times: Floats, output: str, every: float
) -> Floats:
    """Return levels (k, m) in a cycle of the steady state; infinite for draws that have none."""
    state = _steady_states(model, theta, doses, every)
    steady = np.isfinite(state).all(axis=1)
    out = np.full((len(theta), len(times)), np.inf)
    if steady.any():
        seen = simulate(model, theta[steady], doses, times, [output], initial=state[steady])
        out[steady] = seen[..., 0]
    return out


def _recorded_breaks(courses: Courses) -> tuple[float, ...]:
    """Times at which the recorded doses of one patient, since the last reset, begin and end."""
    doses = courses.segments[-1].doses
    with np.errstate(divide="ignore", invalid="ignore"):
        end = doses.time + np.where(doses.rate > 0, doses.amount / doses.rate, doses.duration)
    both = np.concatenate([doses.time.ravel(), end.ravel()])
    return tuple(np.unique(both[np.isfinite(both)]).tolist())


def _steady_states(model: PopulationModel, theta: Floats, doses: Sequence[Dose], every: float) -> Floats:
    """Return steady states (k, s); infinite for draws that have none, their levels grow without limit."""
    try:
        return steady_state(model, theta, doses, every)
    except ValueError:
        # a plan that no patient can have fails without drug too
        steady_state(model, theta[:1], [dose._replace(amount=0.0) for dose in doses], every)
        if len(theta) == 1:
            return np.full((1, len(model.states)), np.inf)
        half = len(theta) // 2
        parts = theta[:half], theta[half:]
        return np.concatenate([_steady_states(model, part, doses, every) for part in parts])


def _within(values: Floats, low: float, high: float) -> NDArray[np.bool_]:
    return (values >= low) & (values <= high)


def _name(quantity: Quantity) -> str:
    return type(quantity).__name__.lower()


def _check(value: float, probability: float | None, bounds: tuple[float, float]) -> None:
    if not math.isfinite(value):
        raise ValueError(f"value = {value}; expected a finite number")
    if probability is not None and not 0 < probability < 1:
        raise ValueError(f"probability = {probability}; expected a number between 0 and 1")
    if not 0 <= bounds[0] < bounds[1]:
        raise ValueError(f"bounds {bounds}; expected two numbers from 0 on, the smaller one first")
