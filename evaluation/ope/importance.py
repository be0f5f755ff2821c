"""Importance sampling: four estimators that need no model, only the probabilities of the doses."""

import numpy as np

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.estimate import (
    Estimate,
    Family,
    discounted,
    estimate_of_mean,
    estimate_of_ratio,
    shares_of_steps,
)
from dosewright.evaluation.ope.weights import Weights


def pdwis(
    trajectories: Trajectories, weights: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Per-decision weighted importance sampling, the estimator to start with.

    ``value = sum_t gamma^t sum_i w_it r_it``: each step's reward is weighted by the doses up to that step
    only and normalised over patients (Precup, Sutton & Singh 2000; the consistent form of Thomas & Brunskill
    2016, not Precup's ratio of sums over steps, which estimates a mean reward a step). Biased by order 1/ESS,
    with far less variance than `pdis`; no step's mean leaves the range of the logged rewards.

    Influence ``IF_i = sum_t gamma^t (W_it / mean_j W_jt) (r_it - m_t)``, ``m_t = sum_i w_it r_it``.

    Parameters
    ----------
    trajectories : the log
    weights : of the target regimen on this log, from `importance_weights`
    gamma : discount a step, 0 to 1; outcomes in clinical units are usually asked for with 1
    outcome : name in ``trajectories.outcomes``; the reward when None

    Raises
    ------
    ValueError
        For ``gamma`` out of range or an unknown outcome.
    """
    rewards = discounted(trajectories, gamma, outcome)
    effective = per_decision_sample_size(rewards, weights)
    return _ratio_of_sums("pdwis", "per-decision", outcome, weights.normalised, rewards, effective, weights)


def wis(
    trajectories: Trajectories, weights: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Weighted importance sampling of whole courses: ``value = sum_i w_iT' G_i``, T' the last step.

    ``G_i = sum_t gamma^t r_it``. Standard error ``sqrt(sum_i W_i^2 (G_i - value)^2) / sum_i W_i``. The form
    for outcomes of the whole course that are not a sum over steps, such as any adverse reaction (put it at
    the last decision). With one step this is the self-normalised estimator of bandits (Hajek 1971).
    Parameters and errors as `pdwis`.
    """
    courses = discounted(trajectories, gamma, outcome).sum(axis=1, keepdims=True)
    effective = float(weights.effective_sample_size[-1])
    return _ratio_of_sums(
        "wis", "trajectory", outcome, weights.normalised[:, -1:], courses, effective, weights
    )


def pdis(
    trajectories: Trajectories, weights: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Per-decision importance sampling: ``value = mean_i sum_t gamma^t W_it r_it`` (Precup et al. 2000).

    Unbiased, not normalised, and of large variance: a plain mean over patients. Parameters and errors as
    `pdwis`.
    """
    rewards = discounted(trajectories, gamma, outcome)
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.einsum("it,it->i", weights.weight, rewards)
    effective = per_decision_sample_size(rewards, weights)
    return estimate_of_mean(
        "pdis", "per-decision", outcome, terms, effective, float(weights.effective_sample_size[-1])
    )


def importance_sampling(
    trajectories: Trajectories, weights: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Importance sampling of whole courses: ``value = mean_i W_iT' G_i``, T' the last step.

    Unbiased, and the most variable of the four: use it to compare software, not regimens. Parameters and
    errors as `pdwis`.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        terms = weights.weight[:, -1] * discounted(trajectories, gamma, outcome).sum(axis=1)
    last = float(weights.effective_sample_size[-1])
    return estimate_of_mean("is", "trajectory", outcome, terms, last, last)


def per_decision_sample_size(rewards: FloatArray, weights: Weights) -> float:
    """Return Kish's effective sample size averaged over steps by `shares_of_steps` of the rewards (n, T)."""
    return float(weights.effective_sample_size @ shares_of_steps(rewards))


def _ratio_of_sums(
    estimator: str,
    family: Family,
    outcome: str | None,
    share: FloatArray,
    rewards: FloatArray,
    effective: float,
    weights: Weights,
) -> Estimate:
    step_mean = np.einsum("it,it->t", share, rewards)
    # sum_t share_it (r_it - m_t), without the array of differences
    influence = len(rewards) * (np.einsum("it,it->i", share, rewards) - share @ step_mean)
    last = float(weights.effective_sample_size[-1])
    return estimate_of_ratio(estimator, family, outcome, float(step_mean.sum()), influence, effective, last)
