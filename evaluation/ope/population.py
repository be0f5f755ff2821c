"""Population effective sample size: what the weights of a log of this size are worth, seen or not.

The effective sample size of a log counts the weights that are in it. Where the target often gives what the
behaviour rarely does, the heaviest courses are too rare to be in the log, and it looks better than it is: one
log shows 128 effective patients of 1000 where its population holds 14. With finite states and doses the
second moment of the weights follows from one pass forward over the steps instead.
"""

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray, Trajectories

_ROUNDING = 1e-9


def population_effective_sample_size(
    trajectories: Trajectories,
    states: npt.ArrayLike,
    next_states: npt.ArrayLike,
    behaviour: npt.ArrayLike,
    target: npt.ArrayLike,
) -> FloatArray:
    """Population effective sample size of a log of finite states and doses, by step.

    `effective_share` times n, with the start shares and transitions of the log: transitions counted over all
    steps, and uniform from a state and dose that the log does not have. A course that terminated before the
    horizon keeps its weight from then on, as in `importance_weights`.

    Parameters
    ----------
    trajectories : the log; ``actions`` are dose indices 0 .. A - 1
    states, next_states : (n, T) int, index 0 .. S - 1 of the state at the decision and after it; not read in
        the padding
    behaviour, target : (S, A) probability of each dose in each state

    Returns
    -------
    (T,) patients, after the dose of each step.

    Raises
    ------
    ValueError
        For an index outside of the tables, or rows of a table that are no probabilities.
    """
    tables = [_probabilities(name, table) for name, table in (("behaviour", behaviour), ("target", target))]
    size, doses = tables[0].shape
    if tables[1].shape != tables[0].shape:
        raise ValueError(f"target has shape {tables[1].shape}; expected {tables[0].shape} as behaviour")
    mask, horizon = trajectories.mask, trajectories.horizon
    given: list[npt.NDArray[np.int64]] = []
    for name, array, limit in (
        ("states", states, size),
        ("actions", trajectories.actions, doses),
        ("next_states", next_states, size),
    ):
        values = np.asarray(array)
        if values.shape != mask.shape:
            raise ValueError(f"{name} has shape {values.shape}; expected {mask.shape} as in mask")
        index = np.where(mask, values, 0).astype(np.int64)
        bad = mask & ((index != values) | (index < 0) | (index >= limit))
        if bad.any():
            i, t = np.argwhere(bad)[0]
            raise ValueError(
                f"{name}[{i}, {t}] = {values[i, t]} (patient {i}, step {t}); "
                f"expected an index 0 to {limit - 1}"
            )
        given.append(index)
    state, dose, following = given
    # a course that stops before the horizon goes to a state of its own, of which the tables know nothing
    length = trajectories.lengths
    stops = trajectories.terminated & (length < horizon)
    following[stops, length[stops] - 1] = size
    counts = np.zeros((size, doses, size + 1))
    np.add.at(counts, (state[mask], dose[mask], following[mask]), 1.0)
    seen = counts.sum(axis=2, keepdims=True)
    transition = np.where(seen > 0, counts / np.where(seen > 0, seen, 1.0), 1.0 / size)[:, :, :size]
    start = np.bincount(state[:, 0], minlength=size) / len(state)
    return trajectories.n_patients * effective_share(start, transition, tables[0], tables[1], horizon)


def effective_share(
    start: npt.ArrayLike,
    transition: npt.ArrayLike,
    behaviour: npt.ArrayLike,
    target: npt.ArrayLike,
    horizon: int,
) -> FloatArray:
    """Population effective sample size as a share of the patients, of a known model, by step.

    ``(E W_t)^2 / E W_t^2`` under the behaviour. The second moment goes forward over the steps,
    ``d_{t+1}(s') = sum_s d_t(s) sum_a pi_e(a|s)^2 / pi_b(a|s) P(s'|s, a)`` from ``d_0`` the start: mass that
    grows with every dose that the target prefers. A dose that the behaviour never gives is in no log and
    counts for nothing.

    Parameters
    ----------
    start : (S,) probability of each first state
    transition : (S, A, S) probability of each next state; what a row lacks to 1 ends the course
    behaviour, target : (S, A) probability of each dose
    horizon : number of steps

    Returns
    -------
    (horizon,) after the dose of each step, 0 to 1.
    """
    moves = np.asarray(transition, dtype=np.float64)
    given, wanted = np.asarray(behaviour, dtype=np.float64), np.asarray(target, dtype=np.float64)
    supported = given > 0
    first = np.where(supported, wanted, 0.0)
    second = np.where(supported, wanted**2 / np.where(supported, given, 1.0), 0.0)
    log_first, log_second = (
        _log_totals(start, moves, first, horizon),
        _log_totals(start, moves, second, horizon),
    )
    with np.errstate(invalid="ignore"):
        share = np.exp(2.0 * log_first - log_second)
    return np.where(np.isneginf(log_second), 0.0, share)


def _log_totals(start: npt.ArrayLike, transition: FloatArray, weight: FloatArray, horizon: int) -> FloatArray:
    """Log of the total mass (horizon,) after each step, when a dose multiplies mass by ``weight`` (S, A)."""
    mass, ended, log_unit = np.asarray(start, dtype=np.float64), 0.0, 0.0
    step = np.einsum("sa,sap->sp", weight, transition)
    stop = np.einsum("sa,sa->s", weight, 1.0 - transition.sum(axis=2))
    totals = np.empty(horizon)
    for t in range(horizon):
        mass, ended = mass @ step, ended + mass @ stop
        total = float(mass.sum() + ended)
        if total <= 0.0:
            totals[t:] = -np.inf
            break
        log_unit += np.log(total)
        totals[t] = log_unit
        mass, ended = mass / total, ended / total
    return totals


def _probabilities(name: str, table: npt.ArrayLike) -> FloatArray:
    values = np.asarray(table, dtype=np.float64)
    if values.ndim != 2:
        raise ValueError(f"{name} has shape {values.shape}; expected (states, doses)")
    wrong = ~((values >= 0).all(axis=1) & (np.abs(values.sum(axis=1) - 1.0) <= _ROUNDING))
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"{name}[{row}] = {values[row]} sums to {values[row].sum()}; "
            "expected probabilities of each dose, which sum to 1"
        )
    return values
