"""Off-policy evaluation by importance weights: what the log says about a regimen that did not make it.

A logged trajectory is weighted by how much more likely the target regimen would have given its doses than the
regimen that did. Weights are products over decisions, so everything here is done with their logarithms: a
product of 100 ratios leaves the range of a float long before it leaves the range of its logarithm.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories, check_log_prob
from dosewright.evaluation.statistics import student_half_width

# Below 30 effective patients the ratio's own bias (relative order 1/ESS) is no longer small beside its
# standard error, the delta method is not to be trusted, and one patient may carry 1/sqrt(30) = 18 % of the
# answer.
MINIMUM_EFFECTIVE_PATIENTS = 30.0

# The mean weight is 1 whenever the log covers the target and the propensities are right. Its test is read
# only where the effective sample is a quarter of the log: later the weights are too skewed for a z value.
# Simulated logs of 1000 patients: 3.5 standard errors refuse 1 % of those with full support (population ESS
# of 14 at the last step), and find 44 % of those whose target doses where the log never does.
MEAN_WEIGHT_STANDARD_ERRORS = 3.5
MEAN_WEIGHT_MINIMUM_ESS_FRACTION = 0.25
MEAN_WEIGHT_ROUNDING = 1e-6


class LowOverlapWarning(UserWarning):
    """The logged doses say too little about the target regimen; the estimate is not identifiable."""


class DropOutIgnoredWarning(UserWarning):
    """Patients dropped out and no probability of follow-up was given; the estimate is not identifiable."""


@dataclass(frozen=True, eq=False)
class Weights:
    """Cumulative importance weights of a log, and what they say about overlap.

    Attributes
    ----------
    log_weight : (n, T) ``L_it = sum_{u <= t} log pi_e(a_iu) - log pi_b(a_iu)``, constant after the end;
        -inf where the target never gives a logged dose, or after drop-out that is corrected for
    normalised : (n, T) ``w_it = W_it / sum_j W_jt``, sums to 1 over patients; NaN where every weight is 0
    effective_sample_size : (T,) Kish: ``(sum_i W_it)^2 / sum_i W_it^2``, patients
    max_weight_share : (T,) largest ``w_it``
    mean_weight : (T,) ``mean_i W_it``, near 1 when log and propensities are adequate
    """

    log_weight: FloatArray
    normalised: FloatArray
    effective_sample_size: FloatArray
    max_weight_share: FloatArray
    mean_weight: FloatArray


@dataclass(frozen=True, eq=False)
class Estimate:
    """An off-policy estimate with its uncertainty, its overlap, and whether it may be used at all.

    Attributes
    ----------
    estimator : name of the estimator
    outcome : ``"reward"`` or the name of the outcome
    value : expected discounted sum under the target regimen, unit of the outcome. Kept for comparison of
        software even when ``identifiable`` is False; do not report it then.
    influence : (n,) influence of each patient, mean 0, unit of the outcome
    standard_error : delta method from ``influence``, unit of the outcome
    interval : (low, high); (-inf, inf) when not identifiable
    level : coverage aimed at
    degrees_of_freedom : of the Student t quantile
    effective_sample_size, max_weight_share, mean_weight : (T,) as in `Weights`
    identifiable : False when the log cannot answer
    reason : why not; empty when identifiable
    """

    estimator: str
    outcome: str
    value: float
    influence: FloatArray
    standard_error: float
    interval: tuple[float, float]
    level: float
    degrees_of_freedom: float
    effective_sample_size: FloatArray
    max_weight_share: FloatArray
    mean_weight: FloatArray
    identifiable: bool
    reason: str

    def __str__(self) -> str:
        n = len(self.influence)
        overlap = (
            f"effective sample {self.effective_sample_size[-1]:.1f} of {n} at the last step, "
            f"largest weight {100 * self.max_weight_share[-1]:.1f} %, mean weight {self.mean_weight[-1]:.3g}"
        )
        if not self.identifiable:
            return f"{self.estimator} of {self.outcome}: not identifiable: {self.reason} ({overlap})"
        low, high = self.interval
        return (
            f"{self.estimator} of {self.outcome}: {self.value:.4g} "
            f"({100 * self.level:g} % interval {low:.4g} to {high:.4g}; {overlap})"
        )


def importance_weights(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Weights:
    """Weights that turn the log into one of the target regimen, shared by all estimators of this file.

    ``W_it = prod_{u <= t} pi_e(a_iu | s_iu) / pi_b(a_iu | s_iu)``. A patient who has ended keeps the last
    weight at all later steps: the ended course is as much a part of the target's population as the others.
    Leaving ended patients out of the normaliser would pay the survivors' later rewards to everyone.

    With ``follow_up_log_prob``, ``W_it`` is also divided by the probability of still being followed (inverse
    probability of censoring weights, Robins & Rotnitzky 1992): those who dropped out leave at their drop-out
    and those still seen stand in for them, while ended patients keep the weight of their last step.

    Parameters
    ----------
    trajectories : the log, with ``behaviour_log_prob``
    target_log_prob : (n, T) log propensity of the *logged* dose under the target regimen, a mass or a
        density as in the log; -inf where the target never gives it. Not read where ``mask`` is False.
    follow_up_log_prob : (n, T) log probability that a patient is still followed at the step (cumulative over
        steps, not a hazard), given the history; ``<= 0``

    Raises
    ------
    ValueError
        When the log has no propensities, or an array has a wrong shape or an impossible value.
    """
    if trajectories.behaviour_log_prob is None:
        raise ValueError(
            "trajectories.behaviour_log_prob is None; expected (n, T) log propensities of the doses given: "
            "log them when serving, or fit a behaviour model first"
        )
    mask = trajectories.mask
    target = np.asarray(target_log_prob, dtype=np.float64)
    check_log_prob("target_log_prob", target, mask, trajectories.propensity)
    log_ratio = np.zeros(mask.shape)
    log_ratio[mask] = target[mask] - trajectories.behaviour_log_prob[mask]
    log_weight = np.cumsum(log_ratio, axis=1)
    if follow_up_log_prob is not None:
        followed = np.asarray(follow_up_log_prob, dtype=np.float64)
        check_log_prob("follow_up_log_prob", followed, mask, "mass")
        if np.isneginf(followed[mask]).any():
            raise ValueError("follow_up_log_prob is -inf at a step that was seen; expected a probability > 0")
        log_weight = log_weight - _carry_last(followed, trajectories.lengths)
        log_weight[trajectories.dropped_out[:, None] & ~mask] = -np.inf
    return _weights(log_weight)


def _carry_last(values: FloatArray, lengths: npt.NDArray[np.int64]) -> FloatArray:
    step = np.minimum(np.arange(values.shape[1]), lengths[:, None] - 1)
    return np.take_along_axis(values, step, axis=1)


def _weights(log_weight: FloatArray) -> Weights:
    largest = log_weight.max(axis=0)
    # Subtracting the largest makes the sum at least 1: nothing to guard the division with, nothing collapses.
    scaled = np.exp(log_weight - np.where(np.isneginf(largest), 0.0, largest))
    total = scaled.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        normalised = scaled / total
        mean_weight = np.exp(largest + np.log(total / len(log_weight)))
        ess = total**2 / (scaled**2).sum(axis=0)
    return Weights(
        log_weight=log_weight,
        normalised=normalised,
        effective_sample_size=np.nan_to_num(ess, nan=0.0),
        max_weight_share=normalised.max(axis=0),
        mean_weight=np.where(np.isneginf(largest), 0.0, mean_weight),
    )


def pdwis(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    level: float = 0.95,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Per-decision weighted importance sampling, the estimator to start with.

    ``value = sum_t gamma^t sum_i w_it r_it``: each step's reward is weighted by the doses up to that step
    only and normalised over patients (Precup, Sutton & Singh 2000; the consistent form of Thomas & Brunskill
    2016, not Precup's ratio of sums over steps, which estimates a mean reward a step). Biased by order 1/ESS,
    with far less variance than `pdis`; no step's mean leaves the range of the logged rewards.

    Influence ``IF_i = sum_t gamma^t (W_it / mean_j W_jt) (r_it - m_t)``, ``m_t = sum_i w_it r_it``; standard
    error ``sqrt(sum_i IF_i^2) / n`` (delta method for a sum of ratios). The interval uses Student's t with
    ``max(ESS_last - 1, 1)`` degrees of freedom: the effective number of patients carries it, not n.

    Parameters
    ----------
    trajectories : the log, with ``behaviour_log_prob``
    target_log_prob : (n, T) log propensity of the logged dose under the target regimen
    gamma : discount a step, 0 to 1; outcomes in clinical units are usually asked for with 1
    outcome : name in ``trajectories.outcomes``; the reward when None
    level : coverage of the interval
    follow_up_log_prob : (n, T) log probability of still being followed, see `importance_weights`; needed when
        patients dropped out

    Returns
    -------
    Estimate
        ``identifiable`` is False, with a reason and without an interval, when the effective sample size is
        under 30 patients at some step, when the mean weight is further from 1 than chance allows (the target
        gives doses the log lacks, or the propensities are wrong), or when drop-out is not corrected for. True
        is no proof of support: doses that were never logged show only once the mean weight is visibly below
        1, and the effective sample size of a log may be far above that of its population.

    Warns
    -----
    LowOverlapWarning, DropOutIgnoredWarning
        Together with ``identifiable = False``.

    Raises
    ------
    ValueError
        As `importance_weights`; for ``gamma`` or ``level`` out of range; for an unknown outcome.
    """
    return _evaluate("pdwis", trajectories, target_log_prob, gamma, outcome, level, follow_up_log_prob)


def wis(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    level: float = 0.95,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Weighted importance sampling of whole trajectories: ``value = sum_i w_iT' G_i``, T' the last step.

    ``G_i = sum_t gamma^t r_it``. Standard error ``sqrt(sum_i W_i^2 (G_i - value)^2) / sum_i W_i``. The form
    for outcomes of the whole course that are not a sum over steps, such as any adverse reaction (put it at
    the last decision). Everything else, parameters and errors included, as `pdwis`; overlap is judged at the
    last step. With one step this is the self-normalised estimator of bandits (Hajek 1971).
    """
    return _evaluate("wis", trajectories, target_log_prob, gamma, outcome, level, follow_up_log_prob)


def pdis(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    level: float = 0.95,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Per-decision importance sampling: ``value = mean_i sum_t gamma^t W_it r_it`` (Precup et al. 2000).

    Unbiased, not normalised, and of large variance. A plain mean over patients, so the standard error is the
    sample standard deviation over sqrt(n) and the interval Student's t with n - 1 degrees of freedom.
    Everything else, parameters and errors included, as `pdwis`.
    """
    return _evaluate("pdis", trajectories, target_log_prob, gamma, outcome, level, follow_up_log_prob)


def importance_sampling(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    level: float = 0.95,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Estimate:
    """Importance sampling of whole trajectories: ``value = mean_i W_iT' G_i``, T' the last step.

    Unbiased, and the most variable of the four: use it to compare software, not regimens. Interval as `pdis`;
    everything else, parameters and errors included, as `pdwis`; overlap is judged at the last step.
    """
    return _evaluate("is", trajectories, target_log_prob, gamma, outcome, level, follow_up_log_prob)


@dataclass(frozen=True)
class _Form:
    """What tells the four estimators apart: which steps carry a weight of their own, and the divisor."""

    per_decision: bool
    self_normalised: bool


_FORMS = {
    "pdwis": _Form(per_decision=True, self_normalised=True),
    "wis": _Form(per_decision=False, self_normalised=True),
    "pdis": _Form(per_decision=True, self_normalised=False),
    "is": _Form(per_decision=False, self_normalised=False),
}


def _evaluate(
    estimator: str,
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    gamma: float,
    outcome: str | None,
    level: float,
    follow_up_log_prob: npt.ArrayLike | None,
) -> Estimate:
    form = _FORMS[estimator]
    weights = importance_weights(trajectories, target_log_prob, follow_up_log_prob)
    rewards = _discounted(trajectories, gamma, outcome)
    used = slice(None)
    if not form.per_decision:
        rewards, used = rewards.sum(axis=1, keepdims=True), slice(-1, None)
    n, ess = trajectories.n_patients, weights.effective_sample_size
    if form.self_normalised:
        value, influence = _ratio_of_sums(weights.normalised[:, used], rewards)
        df, divisor = max(float(ess[-1]) - 1.0, 1.0), float(n)
    else:
        value, influence = _plain_mean(weights.log_weight[:, used], rewards)
        df = divisor = max(n - 1.0, 1.0)
    with np.errstate(over="ignore"):
        standard_error = float(np.sqrt((influence**2).sum() / n / divisor))
    half_width = student_half_width(standard_error, df, level)
    dropped_out = 0 if follow_up_log_prob is not None else int(trajectories.dropped_out.sum())
    reason = _why_not(weights, float(ess[used].min()), dropped_out)
    return Estimate(
        estimator=estimator,
        outcome="reward" if outcome is None else outcome,
        value=value,
        influence=influence,
        standard_error=standard_error,
        interval=(-math.inf, math.inf) if reason else (value - half_width, value + half_width),
        level=level,
        degrees_of_freedom=df,
        effective_sample_size=ess,
        max_weight_share=weights.max_weight_share,
        mean_weight=weights.mean_weight,
        identifiable=not reason,
        reason=reason,
    )


def _discounted(trajectories: Trajectories, gamma: float, outcome: str | None) -> FloatArray:
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma = {gamma}; expected a discount a step between 0 and 1")
    if outcome is None:
        rewards = trajectories.rewards
    elif outcome in trajectories.outcomes:
        rewards = trajectories.outcomes[outcome]
    else:
        known = ", ".join(sorted(trajectories.outcomes)) or "none"
        raise ValueError(f"outcome {outcome!r} is not in the log; its outcomes: {known}; None is the reward")
    return rewards * gamma ** np.arange(trajectories.horizon)


def _ratio_of_sums(share: FloatArray, rewards: FloatArray) -> tuple[float, FloatArray]:
    step_mean = (share * rewards).sum(axis=0)
    influence = len(rewards) * (share * (rewards - step_mean)).sum(axis=1)
    return float(step_mean.sum()), influence


def _plain_mean(log_weight: FloatArray, rewards: FloatArray) -> tuple[float, FloatArray]:
    # A weight beyond exp(709) overflows to inf, honestly; the estimate is refused for its overlap anyway.
    with np.errstate(over="ignore", invalid="ignore"):
        terms = (np.exp(log_weight) * rewards).sum(axis=1)
        value = terms.mean()
        influence = terms - value
    return float(value), influence


def _why_not(weights: Weights, ess: float, dropped_out: int) -> str:
    n = len(weights.log_weight)
    reasons: list[str] = []
    if dropped_out:
        reasons.append(
            f"{dropped_out} of {n} patients dropped out and their unseen rewards count as 0; "
            "give follow_up_log_prob"
        )
        warnings.warn(reasons[-1], DropOutIgnoredWarning, stacklevel=4)
    overlap: list[str] = []
    if ess < MINIMUM_EFFECTIVE_PATIENTS:
        overlap.append(
            f"effective sample size {ess:.1f} of {n} patients, {MINIMUM_EFFECTIVE_PATIENTS:g} needed"
        )
    off = _mean_weight_off(weights)
    if off.any():
        step = int(np.argmax(off))
        overlap.append(
            f"mean weight {weights.mean_weight[step]:.3g} at step {step}, not 1 within chance: the target "
            "gives doses that the log lacks, or a propensity is wrong"
        )
    if overlap:
        warnings.warn("; ".join(overlap), LowOverlapWarning, stacklevel=4)
    return "; ".join(reasons + overlap)


def _mean_weight_off(weights: Weights) -> BoolArray:
    n = len(weights.log_weight)
    ess = weights.effective_sample_size
    readable = ess >= MEAN_WEIGHT_MINIMUM_ESS_FRACTION * n
    # Kish's ESS is n / (1 + cv^2), so the relative standard error of the mean weight follows from it alone.
    relative_error = np.sqrt(np.maximum(n / np.maximum(ess, 1.0) - 1.0, 0.0) / n)
    with np.errstate(divide="ignore"):
        distance = np.abs(1.0 - 1.0 / weights.mean_weight)
    return readable & (distance > MEAN_WEIGHT_STANDARD_ERRORS * relative_error + MEAN_WEIGHT_ROUNDING)
