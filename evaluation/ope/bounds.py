"""Bounds: what a log says when it cannot say one number."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories
from dosewright.evaluation.ope.bootstrap import SumOfRatios
from dosewright.evaluation.ope.diagnostics import UnsupportedMass
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_mean, estimate_of_ratio
from dosewright.evaluation.ope.importance import per_decision_sample_size
from dosewright.evaluation.ope.weights import Weights

# Rewards that are a sum of shares may pass the end of their range by so much.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Bounds:
    """A value that the log only confines, between two estimates.

    Attributes
    ----------
    lower, upper : the smallest and the largest value that fits what was logged
    least, most : what no value can be below or above, by its definition
    """

    lower: Estimate
    upper: Estimate
    least: float = -math.inf
    most: float = math.inf

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """From the lower limit of the lower bound to the upper limit of the upper one.

        It covers the whole range that the log cannot tell apart, and so the value, at ``level`` or more. What
        is beyond the definition is cut off, and so is a limit that is none, of weights beyond a float.
        """
        low, high = self.lower.interval(level).low, self.upper.interval(level).high
        return (
            max(low, self.least) if math.isfinite(low) else self.least,
            min(high, self.most) if math.isfinite(high) else self.most,
        )


def reward_range_bounds(
    trajectories: Trajectories,
    weights: Weights,
    unsupported: UnsupportedMass | None,
    reward_range: tuple[npt.ArrayLike, npt.ArrayLike],
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    return_range: tuple[float, float] = (-math.inf, math.inf),
) -> Bounds:
    """Bounds of the value when the target gives doses that the log never has.

    Where the target would leave the log's support, nothing is known of the rewards from there on but their
    range. The weighted courses up to there are as in `pdwis`; a course that leaves at step u, which it does
    with weight ``W_i,u-1`` times the unsupported mass ``m_iu``, goes on with the smallest or the largest
    reward a step. Supported and lost weight, ``W_it + C_it`` with ``C_it = sum_{u <= t} W_i,u-1 m_iu``, have
    mean 1 together and are what is normalised by, so that no step's mean leaves the range::

        bound = sum_t gamma^t sum_i (W_it r_it + C_it r_extreme) / sum_i (W_it + C_it)

    Where the log has the probability of the doses given and of no others, nobody knows the unsupported mass
    of a decision. Then what the weights lack of their mean of 1 is what was lost, and the bound is a plain
    mean, ``sum_t gamma^t mean_i (W_it r_it + (1 - W_it) r_extreme)``: wider in a small log, as right in a
    large one. Large weights that a sample has not met widen it.

    Parameters
    ----------
    trajectories : the log
    weights : of the target on this log
    unsupported : from `unsupported_mass`; None where it is not known by decision
    reward_range : smallest and largest reward (or outcome) of one step, by its definition, one for all steps
        or (T,); courses that end early have 0 from then on, so with such courses 0 is included
    gamma, outcome : as in `pdwis`
    return_range : smallest and largest sum over a course, by its definition

    Raises
    ------
    ValueError
        For a logged reward outside of the range, or unsupported mass of another shape.
    """
    if unsupported is not None and unsupported.by_decision.shape != trajectories.mask.shape:
        raise ValueError(
            f"unsupported mass has shape {unsupported.by_decision.shape}; expected {trajectories.mask.shape}"
        )
    horizon = trajectories.horizon
    low, high = (np.broadcast_to(np.asarray(limit, dtype=np.float64), horizon) for limit in reward_range)
    outside = outside_range(trajectories, low, high, outcome)
    if outside.any():
        i, t = np.argwhere(outside)[0]
        raise ValueError(
            f"reward {discounted(trajectories, 1.0, outcome)[i, t]} of patient {i}, step {t} is outside of "
            f"{low[t]:g} to {high[t]:g}; "
            "expected the range of one step's reward by its definition"
        )
    if (trajectories.terminated & (trajectories.lengths < horizon)).any():
        low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    rewards = discounted(trajectories, gamma, outcome)
    discount: FloatArray = gamma ** np.arange(horizon, dtype=np.float64)
    if unsupported is None:
        bound = _of_means(rewards, weights, outcome)
    else:
        bound = _of_ratios(rewards, weights, unsupported, outcome)
    lower, upper = bound("lower bound", low * discount), bound("upper bound", high * discount)
    return Bounds(lower, upper, *return_range)


def _of_ratios(
    rewards: FloatArray, weights: Weights, unsupported: UnsupportedMass, outcome: str | None
) -> Callable[[str, FloatArray], Estimate]:
    """Return the bound, given its name and the extreme (T,), where the unsupported mass is known."""
    with np.errstate(divide="ignore"):
        leaves = weights.log_weight_before + np.log(unsupported.by_decision)
    lost = np.logaddexp.accumulate(leaves, axis=1)
    unit = np.maximum(weights.log_weight, lost).max(axis=0)
    unit = np.where(np.isneginf(unit), 0.0, unit)
    kept, gone = np.exp(weights.log_weight - unit), np.exp(lost - unit)
    effective = per_decision_sample_size(rewards, weights)
    last = float(weights.effective_sample_size[-1])

    def bound(name: str, extreme: FloatArray) -> Estimate:
        ratios = SumOfRatios(np.zeros(len(kept)), kept * rewards + gone * extreme, kept + gone)
        return estimate_of_ratio(
            f"pdwis, {name}", "per-decision", outcome, ratios.value, ratios.influence, effective, last
        )

    return bound


def _of_means(
    rewards: FloatArray, weights: Weights, outcome: str | None
) -> Callable[[str, FloatArray], Estimate]:
    """Return the bound, given its name and the extreme (T,), where the unsupported mass is not known."""
    effective = per_decision_sample_size(rewards, weights)

    def bound(name: str, extreme: FloatArray) -> Estimate:
        with np.errstate(over="ignore", invalid="ignore"):
            terms = (extreme + weights.weight * (rewards - extreme)).sum(axis=1)
        return estimate_of_mean(f"pdis, {name}", "per-decision", outcome, terms, effective, len(terms))

    return bound


def outside_range(
    trajectories: Trajectories, low: FloatArray, high: FloatArray, outcome: str | None
) -> BoolArray:
    """Return (n, T) where a logged reward, or outcome, is outside of ``low`` to ``high`` (T,)."""
    logged = discounted(trajectories, 1.0, outcome)
    return trajectories.mask & ((logged < low - _ROUNDING) | (logged > high + _ROUNDING))
