"""How much hidden confounding it would take to overturn a claim.

Off-policy estimates believe that whatever drove the doses is in the log. The marginal sensitivity model (Tan
2006, JASA 101:1619) loosens that: given everything about the patient, the odds of the dose that was given may
have been up to Gamma times larger or smaller than the odds of the logged propensity p. The inverse propensity
then lies anywhere in ``[1 + (1/p - 1)/Gamma, 1 + (1/p - 1) Gamma]``, and an estimate between its smallest
and largest value over such weights (Zhao, Small & Bhattacharya 2019, JRSS B 81:735). A claim that holds at
Gamma = 2 would survive an unlogged reason that doubles the odds of a dose.

Gamma is called ``odds_ratio`` here; ``gamma`` is the discount.
"""

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import optimize

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.bounds import Bounds
from dosewright.evaluation.ope.estimate import Estimate, Family, discounted, estimate_of_ratio
from dosewright.evaluation.ope.weights import importance_weights, kish

# Beyond this no clinical confounder is imaginable, and the bounds are the extremes of the outcome.
LARGEST_ODDS_RATIO = 1e6


def confounding_bounds(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    odds_ratio: float,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Bounds:
    """Smallest and largest `wis` when the odds of each dose given may be wrong by a factor.

    With one decision these are the exact extremes of the self-normalised estimate over all weights that the
    model allows: at the optimum every patient above some outcome has the one extreme weight and every other
    patient the other, so sorting by outcome finds it. With several decisions each is allowed its own hidden
    confounder, as strong as stated and unrelated to the others; a course's weight lies between the products
    of the decisions' extremes. Nothing ties the decisions of a patient together, so the bounds are
    conservative, and soon as wide as the outcome itself: T decisions act like one with Gamma to the power T.

    The influence of each bound holds its extreme weights fixed (the envelope theorem), so `Bounds.interval`
    adds the sampling error to the confounding. Drop-out is not corrected for.

    Parameters
    ----------
    trajectories : the log, with ``behaviour_log_prob`` of doses on a grid
    target_log_prob : (n, T) as in `importance_weights`
    odds_ratio : Gamma of the sensitivity model, >= 1; 1 is no confounding and gives `wis`
    gamma, outcome : discount and outcome, as in `wis`

    Raises
    ------
    ValueError
        For an ``odds_ratio`` below 1, propensities that are densities (odds are of a mass), as
        `importance_weights`, or when the target gives no logged course.
    """
    low, high = _log_weight_ranges(trajectories, target_log_prob, odds_ratio)
    courses = discounted(trajectories, gamma, outcome).sum(axis=1, keepdims=True)
    return _bounds("wis", "trajectory", outcome, courses, low[:, -1:], high[:, -1:])


def confounding_bounds_per_decision(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    odds_ratio: float,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Bounds:
    """Bounds of `pdwis` when the odds of each dose given may be wrong by a factor.

    Each step's mean is bounded as in `confounding_bounds`, with the decisions up to that step, and the bounds
    of the steps are added. The worst weights of one step need not fit those of another, which makes this
    conservative once more; early steps, with few decisions, are bounded well. Parameters and errors as
    `confounding_bounds`; with one decision it is the same.
    """
    low, high = _log_weight_ranges(trajectories, target_log_prob, odds_ratio)
    rewards = discounted(trajectories, gamma, outcome)
    return _bounds("pdwis", "per-decision", outcome, rewards, low, high)


def flipping_odds_ratio(bound: Callable[[float], float], threshold: float = 0.0) -> float:
    """Gamma at which a claim flips: where a lower bound falls to a threshold.

    Parameters
    ----------
    bound : what must stay above the threshold, as a function of Gamma >= 1 that does not increase. For "the
        value is above c": ``lambda g: confounding_bounds(log, target, g).lower.value``. For "the difference
        to a baseline is above 0": its lower bound minus the baseline's upper one, which is conservative, as
        one confounder cannot be the worst for both. For "fewer adverse reactions than c": minus the upper
        bound, against -c. With the limits of `Bounds.interval` in the place of values: where the claim is no
        longer proven.
    threshold : of the claim, unit of the outcome

    Returns
    -------
    float
        1 when the claim does not hold without confounding either; ``inf`` when it still holds at 10^6, since
        every logged patient whom the target would have dosed so is above the threshold.
    """

    def above(log_odds_ratio: float) -> float:
        return bound(math.exp(log_odds_ratio)) - threshold

    largest = math.log(LARGEST_ODDS_RATIO)
    if not above(0.0) > 0.0:
        return 1.0
    if above(largest) > 0.0:
        return math.inf
    found = optimize.root_scalar(above, bracket=(0.0, largest), method="brentq", xtol=1e-12)
    return math.exp(found.root)


def _log_weight_ranges(
    trajectories: Trajectories, target_log_prob: npt.ArrayLike, odds_ratio: float
) -> tuple[FloatArray, FloatArray]:
    """Return the logs (n, T) of the smallest and the largest weight of the doses up to each step."""
    if not 1.0 <= odds_ratio < math.inf:
        raise ValueError(f"odds_ratio = {odds_ratio}; expected Gamma >= 1, e.g. 2: odds wrong by a factor 2")
    if trajectories.propensity != "mass":
        raise ValueError(
            "propensity = 'density'; expected 'mass': a dose on a continuous scale has no odds, "
            "log it on its grid"
        )
    weights = importance_weights(trajectories, target_log_prob)
    given = trajectories.behaviour_log_prob
    assert given is not None  # or there were no weights
    # a log probability may be a few ulp above 0
    probability = np.exp(np.minimum(np.where(weights.decided, given, 0.0), 0.0))

    def log_weight(factor: float) -> FloatArray:
        # 1 + (1/p - 1) x = (x + (1 - x) p) / p, and 1/p is in the log ratio already
        correction = np.log(factor + (1.0 - factor) * probability)
        return np.cumsum(weights.log_ratio + correction, axis=1)

    return log_weight(1.0 / odds_ratio), log_weight(odds_ratio)


def _bounds(
    estimator: str,
    family: Family,
    outcome: str | None,
    rewards: FloatArray,
    log_low: FloatArray,
    log_high: FloatArray,
) -> Bounds:
    """Bound each column's weighted mean, and the sum over columns, all (n, k)."""
    steps = range(rewards.shape[1])
    sides: list[Estimate] = []
    for name, sign in (("lower", -1.0), ("upper", 1.0)):
        found = [_largest_mean(sign * rewards[:, t], log_low[:, t], log_high[:, t]) for t in steps]
        value = sign * sum(mean for mean, _, _ in found)
        influence = sign * np.sum([each for _, each, _ in found], axis=0)
        effective = [size for _, _, size in found]
        sides.append(
            estimate_of_ratio(
                f"{estimator}, {name} bound", family, outcome, value, influence,
                float(np.mean(effective)), effective[-1],
            )
        )  # fmt: skip
    return Bounds(sides[0], sides[1])


def _largest_mean(
    values: FloatArray, log_low: FloatArray, log_high: FloatArray
) -> tuple[float, FloatArray, float]:
    """Return the largest weighted mean over weights in a range, its influences, and effective sample size."""
    order = np.argsort(-values, kind="stable")
    largest = float(log_high.max())
    if not math.isfinite(largest):
        raise ValueError("every weight is 0; expected a log with courses that the target may give")
    low, high = np.exp(log_low - largest), np.exp(log_high - largest)
    centre = float(values.mean())
    away = (values - centre)[order]
    # the first k in order of the outcome have the large weight, k = 0 .. n
    gained = np.r_[0.0, np.cumsum((high - low)[order] * away)] + float(low[order] @ away)
    total = np.r_[0.0, np.cumsum((high - low)[order])] + float(low.sum())
    means = gained / np.where(total > 0.0, total, 1.0)
    k = int(np.argmax(np.where(total > 0.0, means, -np.inf)))
    weight = low.copy()
    weight[order[:k]] = high[order[:k]]
    mean = centre + float(means[k])
    influence = len(values) * weight / float(weight.sum()) * (values - mean)
    return mean, influence, float(kish(weight))
