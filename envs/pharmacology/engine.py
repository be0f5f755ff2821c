"""The engine: any population model, any number of patients, doses and samples at exact times.

A patient's course is a row of *segments*. At the start of a segment its dose enters; the model's state then
moves over the segment's duration; at its end the outputs are read. Doses and samples are therefore hit
exactly, never stepped over, and a value read at the time of a dose is the value before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numba import prange
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.compilation import kernel
from dosewright.envs.pharmacology.model import Floats, PopulationModel

# Patients per call of `simulate`: bounds the memory of the segment arrays, results do not depend on it.
_BLOCK = 20_000


@cache
def follow(model: PopulationModel) -> Any:
    """Compile (once) and return the batch kernel of `model`.

    The kernel is ``follow(state, theta, bolus, duration, first, count, rule, shape, outputs, out)``:

    state : (n, s), moved in place
    theta : (n, q, p), parameters by segment; the last one holds for all later segments
    bolus : (n, m), amount that enters the dose state at the start of a segment
    duration : (n, m), in the model's time unit
    first, count : (n,), the segments ``first … first + count − 1`` of each patient are run
    rule, shape : accuracy level of `PopulationModel.rules` and its work array's shape
    outputs : (k,) indices of outputs
    out : (n, m, k), outputs at the end of each segment, written in place

    Patients are independent: results do not depend on the batch, its order, or the number of threads.
    """
    plan, step, observe = model.plan, model.step, model.observe
    dose_state, longest = model.dose_state, model.longest

    def run(state, theta, bolus, duration, first, count, rule, shape, outputs, out):
        for i in prange(state.shape[0]):
            work = np.zeros(shape)
            mine = state[i].copy()
            for j in range(first[i], first[i] + count[i]):
                values = theta[i, min(j, theta.shape[1] - 1)]
                mine[dose_state] += bolus[i, j]
                left = duration[i, j]
                while left > 0.0:
                    span = min(left, longest)
                    plan(values, span, rule, work)
                    step(mine, values, work)
                    left -= span
                for k in range(outputs.shape[0]):
                    out[i, j, k] = observe(mine, values, outputs[k])
            state[i] = mine

    return kernel(run, label=model.name, parallel=True)


def initial_state(model: PopulationModel, n: int) -> Floats:
    """Return the (n, s) state of `n` patients before the first dose."""
    return np.tile(np.asarray(model.initial, dtype=np.float64), (n, 1))


def outputs_now(model: PopulationModel, state: Floats, theta: Floats, outputs: NDArray[np.int64]) -> Floats:
    """Return the (n, k) outputs of patients in `state` (n, s) with parameters `theta` (n, p)."""
    n, nodes = len(state), next(iter(model.rules.values()))
    out, nothing, one = np.empty((n, 1, len(outputs))), np.zeros((n, 1)), np.ones(n, dtype=np.int64)
    follow(model)(
        state.copy(), theta[:, None, :], nothing, nothing,
        one - 1, one, nodes, model.plan_shape(nodes), outputs, out,
    )  # fmt: skip
    return out[:, 0]


def daily_response(
    model: PopulationModel,
    output: str,
    state: Floats,
    theta: Floats,
    dose: Floats,
    count: NDArray[np.int64],
    hours: float = 24.0,
) -> Floats:
    """Move m patients in place over daily doses and return their response (m, d) at the end of each day.

    For what is foreseen or believed: parameters constant, every dose taken, accuracy level "belief".

    Parameters
    ----------
    state : (m, s), moved in place
    theta : (m, p) parameters
    dose : (m, d) prescribed
    count : (m,) days that each patient is followed; the response after them is not set
    hours : length of a day; 0 reads the present response
    """
    rule, response = model.rules["belief"], np.empty((*dose.shape, 1))
    follow(model)(
        state, theta[:, None], dose * model.dose_fraction, np.full(dose.shape, hours),
        np.zeros(len(count), dtype=np.int64), count, rule, model.plan_shape(rule),
        np.array([model.output(output)]), response,
    )  # fmt: skip
    return response[..., 0]


def simulate(
    model: PopulationModel,
    theta: ArrayLike,
    doses: Sequence[tuple[float, float]] | Sequence[Sequence[tuple[float, float]]],
    times: ArrayLike,
    outputs: Sequence[str] | None = None,
    rule: str = "exact",
) -> NDArray[np.float64]:
    """Simulate patients from time 0 under given doses and return their outputs at given times.

    Parameters
    ----------
    model
        The population model.
    theta : (p,) or (n, p)
        Individual parameters, columns as in ``model.parameters``.
    doses
        Either one list of ``(time, amount)`` that every patient takes, or one such list a patient. Times in
        ``model.time_unit``, any order, several at one time allowed; amounts as prescribed (mg).
    times : (m,)
        Sampling times, not decreasing.
    outputs
        Names of outputs, all by default.
    rule
        Accuracy level of ``model.rules``.

    Returns
    -------
    (n, m, k) outputs. A value at the time of a dose is the value before it.

    Raises
    ------
    ValueError
        For a negative or non-finite dose or time, times that decrease, a parameter array of the wrong width,
        or an unknown output or rule.
    """
    values = np.atleast_2d(np.asarray(theta, dtype=np.float64))
    if values.shape[1] != len(model.parameters):
        names = ", ".join(item.name for item in model.parameters)
        raise ValueError(
            f"theta has {values.shape[1]} columns; {model.name} has {len(model.parameters)}: {names}"
        )
    if rule not in model.rules:
        raise ValueError(f"unknown rule {rule!r} for {model.name}; known: {', '.join(model.rules)}")
    sample = np.asarray(times, dtype=np.float64)
    if (
        sample.ndim != 1
        or not np.all(np.isfinite(sample))
        or np.any(sample < 0)
        or np.any(np.diff(sample) < 0)
    ):
        raise ValueError(f"times must be finite, not negative and not decreasing ({model.time_unit})")
    schedules = _schedules(doses, len(values), model.time_unit)
    chosen = np.array([model.output(name) for name in outputs or [item.name for item in model.outputs]])
    result = np.empty((len(values), len(sample), len(chosen)))
    for start in range(0, len(values), _BLOCK):
        stop = min(start + _BLOCK, len(values))
        part = schedules if len(schedules) == 1 else schedules[start:stop]
        result[start:stop] = _simulate_block(model, values[start:stop], part, sample, chosen, rule)
    return result


def _schedules(doses: Any, n: int, unit: str) -> list[NDArray[np.float64]]:
    """Return one (d, 2) array of time and amount for all patients, or one a patient."""
    # one schedule is a list of pairs; a list of schedules may begin with an empty one
    shared = all(np.ndim(item) == 1 and len(item) == 2 for item in doses)
    lists = [doses] if shared else list(doses)
    if not shared and len(lists) != n:
        raise ValueError(f"{len(lists)} dose lists for {n} patients; give one list for all, or one a patient")
    schedules = [np.asarray(item, dtype=np.float64).reshape(-1, 2) for item in lists]
    for patient, schedule in enumerate(schedules):
        bad = ~np.isfinite(schedule).all(axis=1) | (schedule < 0).any(axis=1)
        if bad.any():
            time, amount = schedule[np.argmax(bad)]
            raise ValueError(
                f"dose {np.argmax(bad)} of patient {patient}: {amount} at {time} {unit}; "
                "times and amounts must be finite and not negative"
            )
    return schedules


def _simulate_block(
    model: PopulationModel,
    theta: Floats,
    schedules: list[NDArray[np.float64]],
    times: Floats,
    outputs: NDArray[np.int64],
    rule: str,
) -> Floats:
    """Turn doses and times into segments that start at a dose or a sample, and run them."""
    n = len(theta)
    rows = [_segments(schedule, times) for schedule in schedules]
    width = max(len(duration) for _, duration, _ in rows)
    bolus, duration = np.zeros((len(rows), width)), np.zeros((len(rows), width))
    index = np.empty((len(rows), len(times)), dtype=np.int64)
    for i, (amount, length, where) in enumerate(rows):
        bolus[i, : len(amount)], duration[i, : len(length)], index[i] = amount, length, where
    bolus *= model.dose_fraction
    if len(rows) == 1 < n:
        bolus, duration = np.repeat(bolus, n, axis=0), np.repeat(duration, n, axis=0)
        index = np.repeat(index, n, axis=0)
    out = np.empty((n, width, len(outputs)))
    nodes = model.rules[rule]
    follow(model)(
        initial_state(model, n), theta[:, None, :], bolus, duration,
        np.zeros(n, dtype=np.int64), np.full(n, width), nodes, model.plan_shape(nodes), outputs, out,
    )  # fmt: skip
    return np.take_along_axis(out, index[:, :, None], axis=1)


def _segments(schedule: Floats, times: Floats) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Cut one patient's course at every dose and sample.

    The first segment has no dose and no length: its output is the state before anything happened at time 0.
    """
    stops = np.unique(np.concatenate([[0.0], schedule[:, 0], times]))
    amount = np.zeros(len(stops))
    np.add.at(amount, np.searchsorted(stops, schedule[:, 0]), schedule[:, 1])
    length = np.diff(stops)
    # segment j + 1 starts at stops[j] with the doses of that time and ends at stops[j + 1]
    return (
        np.concatenate([[0.0], amount[:-1]]),
        np.concatenate([[0.0], length]),
        np.searchsorted(stops, times).astype(np.int64),
    )
