"""Bounds: what a log says when it cannot say one number."""

from dataclasses import dataclass

import numpy as np

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.bootstrap import SumOfRatios
from dosewright.evaluation.ope.diagnostics import UnsupportedMass
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_ratio
from dosewright.evaluation.ope.importance import per_decision_sample_size
from dosewright.evaluation.ope.weights import Weights


@dataclass(frozen=True)
class Bounds:
    """A value that the log only confines, between two estimates.

    Attributes
    ----------
    lower, upper : the smallest and the largest value that fits what was logged
    """

    lower: Estimate
    upper: Estimate

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """From the lower limit of the lower bound to the upper limit of the upper one.

        It covers the whole range that the log cannot tell apart, and so the value, at ``level`` or more.
        """
        return self.lower.interval(level).low, self.upper.interval(level).high


def reward_range_bounds(
    trajectories: Trajectories,
    weights: Weights,
    unsupported: UnsupportedMass,
    reward_range: tuple[float, float],
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Bounds:
    """Bounds of the value when the target gives doses that the log never has.

    Where the target would leave the log's support, nothing is known of the rewards from there on but their
    range. The weighted courses up to there are as in `pdwis`; a course that leaves at step u, which it does
    with weight ``W_i,u-1`` times the unsupported mass ``m_iu``, goes on with the smallest or the largest
    reward a step. Supported and lost weight, ``W_it + C_it`` with ``C_it = sum_{u <= t} W_i,u-1 m_iu``, have
    mean 1 together and are what is normalised by, so that no step's mean leaves the range::

        bound = sum_t gamma^t sum_i (W_it r_it + C_it r_extreme) / sum_i (W_it + C_it)

    Parameters
    ----------
    trajectories : the log
    weights : of the target on this log
    unsupported : from `unsupported_mass`
    reward_range : smallest and largest reward (or outcome) of one step, by its definition; courses that end
        early have 0 from then on, so with such courses 0 is included
    gamma, outcome : as in `pdwis`

    Raises
    ------
    ValueError
        For a logged reward outside of the range, or unsupported mass of another shape.
    """
    if unsupported.by_decision.shape != trajectories.mask.shape:
        raise ValueError(
            f"unsupported mass has shape {unsupported.by_decision.shape}; expected {trajectories.mask.shape}"
        )
    low, high = reward_range
    logged = discounted(trajectories, 1.0, outcome)
    outside = trajectories.mask & ((logged < low) | (logged > high))
    if outside.any():
        i, t = np.argwhere(outside)[0]
        raise ValueError(
            f"reward {logged[i, t]} of patient {i}, step {t} is outside of {low} to {high}; "
            "expected the range of one step's reward by its definition"
        )
    if (trajectories.terminated & (trajectories.lengths < trajectories.horizon)).any():
        low, high = min(low, 0.0), max(high, 0.0)
    with np.errstate(divide="ignore"):
        leaves = weights.log_weight_before + np.log(unsupported.by_decision)
    lost = np.logaddexp.accumulate(leaves, axis=1)
    unit = np.maximum(weights.log_weight, lost).max(axis=0)
    unit = np.where(np.isneginf(unit), 0.0, unit)
    kept, gone = np.exp(weights.log_weight - unit), np.exp(lost - unit)
    rewards = discounted(trajectories, gamma, outcome)
    discount = gamma ** np.arange(trajectories.horizon)
    effective = per_decision_sample_size(rewards, weights)
    last = float(weights.effective_sample_size[-1])

    def bound(name: str, extreme: float) -> Estimate:
        numerator: FloatArray = kept * rewards + gone * (extreme * discount)
        ratios = SumOfRatios(np.zeros(len(kept)), numerator, kept + gone)
        return estimate_of_ratio(
            f"pdwis, {name}", "per-decision", outcome, ratios.value, ratios.influence, effective, last
        )

    return Bounds(bound("lower bound", low), bound("upper bound", high))
