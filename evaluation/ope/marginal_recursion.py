"""Marginal ratios estimated from the log, step by step: by counting states, or linear in their features.

Both carry the target's population forward (Xie, Ma & Wang 2019). If ``w_t(s)`` is the ratio of state
distributions at step t, then ``w_t rho_t``, rho_t the ratio of the one decision, weighs the logged states of
step t + 1 as the target would meet them, and ``w_{t+1}`` is its conditional mean given that state:
``w_{t+1}(s') = E[w_t(s) rho_t | s_{t+1} = s']``. Counting takes the mean of every state; the linear form
takes the least-squares fit on features phi, which is the solution of the moment equations ``E_b[w_{t+1}
phi(s_{t+1})] = E_b[w_t rho_t phi(s_{t+1})]``. On one-hot features the two agree.

Steps of the recursion, for a fit ``P_t`` of a number a patient on the states of step t::

    x_t = w_t rho_t                        state and dose of the step
    z_{t+1} = x_t (followed at t) / (followed at t + 1), 0 for those lost
    w_{t+1} = P_{t+1} z_{t+1} / U_{t+1},   U = mean z
    value = sum_t gamma^t mean_i x_it r_it

Patients who have ended form one more state, which nobody leaves and where nothing is gained.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories, refuse
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_ratio
from dosewright.evaluation.ope.follow_up import inverse_staying
from dosewright.evaluation.ope.importance import per_decision_sample_size
from dosewright.evaluation.ope.least_squares import pseudo_inverse
from dosewright.evaluation.ope.weights import Weights

# Fitted values (r,) of a number (r,) a patient, on what is known of these patients' states.
Fit = Callable[[FloatArray], FloatArray]


def mis_counted(
    trajectories: Trajectories,
    weights: Weights,
    states: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Marginal importance sampling for finitely many states, with the ratios counted in the log.

    ``d_0`` is the share of each starting state; ``c_it = d_t(s_it) / count_t(s_it) exp(l_it)``, l the log
    ratio of the one decision and count_t the patients logged in that state at step t; ``value = sum_t gamma^t
    sum_i c_it r_it``; ``d_{t+1}(s')`` is the sum of c over those who move to s', divided by the sum over all.

    The influence is the exact derivative of that recursion with respect to each patient's share in the log
    (delta method, not the efficient influence function, which would need a model of the values). With
    ``a_it = gamma^t r_it + b_i,t+1`` what a weighted patient is worth from step t on, ``h_t = P_t (rho_t
    a_t)`` its mean in each state, and ``k_t = mean x_t a_t``, ``b_t = (followed) (h_t - k_t) / U_t`` and::

        IF_i = sum_t gamma^t x_it r_it - value + sum_t [h_it (z_it / U_t - w_it) - k_t (z_it / U_t - 1)]

    Parameters
    ----------
    trajectories : the log
    weights : of the target regimen on this log, for the ratios of single decisions
    states : (n, T) whole numbers >= 0, the Markov state at each decision
    gamma : discount a step, 0 to 1
    outcome : name in ``trajectories.outcomes``; the reward when None
    follow_up_log_prob : (n, T) the one that ``weights`` were corrected with, if they were

    Raises
    ------
    ValueError
        For ``gamma`` out of range, an unknown outcome, states that are no whole numbers, or weights
        corrected for drop-out without its probability (or the other way round).
    """
    fits = _cell_means(trajectories, states)
    return _estimate("mis_counted", trajectories, weights, fits, gamma, outcome, follow_up_log_prob)


def mis_linear(
    trajectories: Trajectories,
    weights: Weights,
    features: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Marginal importance sampling with the state ratio of each step linear in features of the state.

    For continuous states, where counting is impossible. The ratio is the least-squares projection of the true
    one on the features, so what they do not span is bias; fitted ratios below 0 stay as they are, or the
    moments would not hold. Influence and other parameters as `mis_counted`.

    Parameters
    ----------
    features : (n, T, k) of the state at each decision; include a constant

    Raises
    ------
    ValueError
        As `mis_counted`; for features of a wrong shape or not finite where a decision was made.
    """
    fits = _least_squares(trajectories, features)
    return _estimate("mis_linear", trajectories, weights, fits, gamma, outcome, follow_up_log_prob)


def counted_weights(
    trajectories: Trajectories,
    weights: Weights,
    states: npt.ArrayLike,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Weights:
    """Return the marginal weights ``n c_it`` of `mis_counted`, for `drl` and to look at.

    Counting takes out part of the noise of drop-out, which the terms of `drl` still show: with drop-out its
    interval is then too wide (by 1.2 on 1000 patients of whom half were lost).
    """
    fits = _cell_means(trajectories, states)
    return _as_weights(_recursion(trajectories, weights, fits, follow_up_log_prob), weights)


def linear_weights(
    trajectories: Trajectories,
    weights: Weights,
    features: npt.ArrayLike,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Weights:
    """Return the marginal weights of `mis_linear`, those below 0 cut to 0, for `drl` and to look at."""
    fits = _least_squares(trajectories, features)
    return _as_weights(_recursion(trajectories, weights, fits, follow_up_log_prob), weights)


@dataclass(frozen=True, eq=False)
class _Recursion:
    """The forward pass; arrays (n, T) unless said.

    Attributes
    ----------
    fits : (T,) the fit ``P_t`` of each step, over all n patients
    rho : ratio of the one decision
    stays : (followed at t - 1) / (followed at t), 0 for those lost; at t = 0 of following from the start
    before : ``z_t / U_t``
    state_ratio : ``w_t``
    total : (T,) ``U_t``
    """

    fits: list[Fit]
    rho: FloatArray
    stays: FloatArray
    before: FloatArray
    state_ratio: FloatArray
    total: FloatArray

    @property
    def ratio(self) -> FloatArray:
        """``x_t``, of state and dose."""
        return self.state_ratio * self.rho


def _recursion(
    trajectories: Trajectories,
    weights: Weights,
    fits: list[Fit],
    follow_up_log_prob: npt.ArrayLike | None,
) -> _Recursion:
    if weights.corrected != (follow_up_log_prob is not None):
        raise ValueError(
            f"weights.corrected is {weights.corrected} and follow_up_log_prob is "
            f"{'missing' if follow_up_log_prob is None else 'given'}; expected weights from "
            "importance_weights with the same follow_up_log_prob"
        )
    rho, stays = np.exp(weights.log_ratio), inverse_staying(trajectories, follow_up_log_prob)
    n, horizon = rho.shape
    before, state_ratio, total = np.empty((n, horizon)), np.empty((n, horizon)), np.empty(horizon)
    reached = np.ones(n)
    whole: list[Fit] = []
    for step in range(horizon):
        moved = reached * stays[:, step]
        total[step] = moved.mean()
        # no weight left: the estimate is NaN, not an error
        with np.errstate(invalid="ignore"):
            before[:, step] = moved / total[step]
        decided = trajectories.mask[:, step]
        whole.append(_over_all(fits[step], decided, (stays[:, step] > 0.0) & ~decided))
        # at the start the ratio is known to be 1, whatever the features
        state_ratio[:, step] = before[:, step] if step == 0 else whole[step](before[:, step])
        reached = state_ratio[:, step] * rho[:, step]
    return _Recursion(whole, rho, stays, before, state_ratio, total)


def _over_all(fit: Fit, decided: BoolArray, ended: BoolArray) -> Fit:
    """Fit the patients under decision on their states, and take the mean of those who have ended."""

    def fitted(values: FloatArray) -> FloatArray:
        out = np.zeros(len(values))
        out[decided] = fit(values[decided])
        if ended.any():
            out[ended] = values[ended].mean()
        return out

    return fitted


def _estimate(
    estimator: str,
    trajectories: Trajectories,
    weights: Weights,
    fits: list[Fit],
    gamma: float,
    outcome: str | None,
    follow_up_log_prob: npt.ArrayLike | None,
) -> Estimate:
    rewards = discounted(trajectories, gamma, outcome)
    recursion = _recursion(trajectories, weights, fits, follow_up_log_prob)
    marginal = _as_weights(recursion, weights)
    worth = np.einsum("it,it->i", recursion.ratio, rewards)
    value = float(worth.mean())
    return estimate_of_ratio(
        estimator, "marginal", outcome, value, _influence(recursion, rewards, worth - value),
        per_decision_sample_size(rewards, marginal), float(marginal.effective_sample_size[-1]),
    )  # fmt: skip


def _influence(recursion: _Recursion, rewards: FloatArray, direct: FloatArray) -> FloatArray:
    """Derivative of the recursion, backwards from the last step; notation as in `mis_counted`."""
    influence, later = direct.copy(), np.zeros(len(rewards))
    for step in range(rewards.shape[1] - 1, -1, -1):
        before, state_ratio = recursion.before[:, step], recursion.state_ratio[:, step]
        worth = recursion.rho[:, step] * (rewards[:, step] + later)
        mean = float((state_ratio * worth).mean())
        influence -= mean * (before - 1.0)
        if step > 0:
            fitted = recursion.fits[step](worth)
            influence += fitted * (before - state_ratio)
            with np.errstate(invalid="ignore"):
                later = recursion.stays[:, step] * (fitted - mean) / recursion.total[step]
    return influence


def _as_weights(recursion: _Recursion, weights: Weights) -> Weights:
    ratio = recursion.ratio
    # at the next decision they sum to what they summed to at this one: `drl` adds up r + gamma V' - Q, in
    # which the sum of the ratios must cancel
    total = np.concatenate([[1.0], ratio[:, :-1].mean(axis=0)])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_weight, before = (np.log(np.maximum(x, 0.0)) for x in (ratio, recursion.before * total))
    return Weights(weights.decided, weights.log_ratio, log_weight, before, weights.corrected)


def _cell_means(trajectories: Trajectories, states: npt.ArrayLike) -> list[Fit]:
    mask = trajectories.mask
    given = np.asarray(states)
    if given.shape != mask.shape:
        raise ValueError(f"states has shape {given.shape}; expected {mask.shape} as in mask")
    if not np.issubdtype(given.dtype, np.integer):
        raise ValueError(f"states has dtype {given.dtype}; expected whole numbers, one for each state")
    refuse("states", given, (given < 0) & mask, "a whole number >= 0, one for each state")
    return [_cells(given[mask[:, step], step]) for step in range(mask.shape[1])]


def _cells(labels: npt.NDArray[np.integer]) -> Fit:
    counts = np.bincount(labels)

    def mean_of_cell(values: FloatArray) -> FloatArray:
        sums = np.bincount(labels, weights=values, minlength=len(counts))
        return (sums / np.maximum(counts, 1))[labels]

    return mean_of_cell


def _least_squares(trajectories: Trajectories, features: npt.ArrayLike) -> list[Fit]:
    mask = trajectories.mask
    given = np.asarray(features, dtype=np.float64)
    if given.ndim != 3 or given.shape[:2] != mask.shape:
        raise ValueError(f"features has shape {given.shape}; expected {(*mask.shape, 'k')} as in mask")
    bad = ~np.isfinite(given).all(axis=2) & mask
    refuse("features", given, bad, "finite numbers where mask is True")
    return [_regression(given[mask[:, step], step]) for step in range(mask.shape[1])]


def _regression(features: FloatArray) -> Fit:
    inverse, _ = pseudo_inverse(features.T @ features)

    def fitted(values: FloatArray) -> FloatArray:
        return features @ (inverse @ (features.T @ values))

    return fitted
