"""Doubly robust estimation: a model's values, corrected by weighted residuals of what was observed.

The direct method believes a model; importance sampling believes the weights. Doubly robust forms add the
weighted residuals of the model to its values, and are near the truth when either is right: with exact weights
any model leaves the mean in place and a good one takes out variance; with a good model the residuals are
noise around 0, whatever the weights.

Notation: ``g_t = gamma^t``; ``W_it`` and ``W_i,t-1`` are ``weights.weight`` and ``weights.weight_before``,
``w_it`` and ``w_i,t-1`` their normalised forms; ``Q_it`` and ``V_it`` the model's values of the logged dose
and of the target, 0 after the end. Patients who ended, and drop-out, are the weights' business.

The values are taken as given: the influences here hold no error of the model's own fit. For residual forms
that costs nothing to first order as long as the weights are right; for `dm` it is everything, see there.
"""

import numpy as np

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_mean, estimate_of_ratio
from dosewright.evaluation.ope.importance import per_decision_sample_size
from dosewright.evaluation.ope.weights import Weights, shifted


def dm(trajectories: Trajectories, values: ActionValues, outcome: str | None = None) -> Estimate:
    """Direct method: ``value = mean_i V_i0``, what the model expects of the patients who entered the log.

    The influence ``V_i0 - value`` holds the draw of patients only. A model that was fitted to this log
    errs as well, and this interval does not know: `fqe_per_step` and `fqe_pooled` return the estimate whose
    influence includes the fit.

    Parameters
    ----------
    trajectories : the log
    values : of the target regimen, for this outcome and discount
    outcome : name in ``trajectories.outcomes`` that the values are of; the reward when None

    Raises
    ------
    ValueError
        For an unknown outcome.
    """
    discounted(trajectories, 1.0, outcome)  # refuses an unknown outcome
    n = float(trajectories.n_patients)
    return estimate_of_mean("dm", "model", outcome, values.v[:, 0], n, n)


def dr(
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Estimate:
    """Doubly robust estimation per decision (Jiang & Li 2016).

    ``value = mean_i sum_t g_t [W_it (r_it - Q_it) + W_i,t-1 V_it]``, unbiased for any model that was not
    fitted to the same patients. A plain mean, so each patient's influence is the own term minus the mean.

    Parameters
    ----------
    trajectories : the log
    weights : of the target regimen on this log, from `importance_weights`
    values : of the target regimen, for this outcome and discount
    gamma : discount a step, 0 to 1
    outcome : name in ``trajectories.outcomes``; the reward when None

    Raises
    ------
    ValueError
        For ``gamma`` out of range or an unknown outcome.
    """
    rewards = discounted(trajectories, gamma, outcome)
    residual, value = residual_and_value(rewards, values, gamma)
    with np.errstate(over="ignore", invalid="ignore"):
        terms = np.einsum("it,it->i", weights.weight, residual)
        terms += np.einsum("it,it->i", weights.weight_before, value)
    return _estimate_of_mean("dr", outcome, terms, rewards, weights)


def wdr(
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Estimate:
    """Weighted doubly robust estimation (Thomas & Brunskill 2016), with weights that sum to 1 at each step.

    ``value = sum_it g_t [w_it (r_it - Q_it) + w_i,t-1 V_it]``. Biased by order 1/ESS, with less variance
    than `dr` where weights vary much. With one decision it is the self-normalised doubly robust form of
    bandits.

    Each step is a ratio of sums, so with ``m_t = sum_i w_it (r_it - Q_it)`` and ``v_t = sum_i w_i,t-1 V_it``
    the influence is ``n sum_t g_t [w_it (r_it - Q_it - m_t) + w_i,t-1 (V_it - v_t)]``.

    Parameters and errors as `dr`.
    """
    rewards = discounted(trajectories, gamma, outcome)
    residual, value = residual_and_value(rewards, values, gamma)
    return self_normalised("wdr", outcome, residual, value, rewards, weights)


def switch_dr(
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    tau: float,
) -> Estimate:
    """Doubly robust estimation that leaves steps of large weight to the model (Wang, Agarwal & Dudik 2017).

    Their form has one decision. With many, the estimate is a sum of the model's surprises along the course,
    and a surprise counts only while the weight of the doses so far is at most ``tau``::

        V_i0 + sum_t g_t 1[W_it <= tau] W_it (r_it + gamma V_i,t+1 - Q_it)

    At one decision that is ``mean_i (V_i + 1[w_i <= tau] w_i (r_i - Q_i))``; ``tau = inf`` is `dr`, 0 is
    `dm`. What is left out is bias, as large as the model is wrong there, and no part of the interval; the
    effective sample size is that of the whole weights.

    Parameters
    ----------
    tau : largest weight that is used, >= 0

    Other parameters as `dr`.

    Raises
    ------
    ValueError
        As `dr`, and for a negative or missing ``tau``.
    """
    if not tau >= 0.0:
        raise ValueError(f"tau = {tau}; expected the largest weight to use, 0 (model only) to inf (all)")
    kept = np.where(weights.weight <= tau, 1.0, 0.0)
    return _damped("switch_dr", trajectories, weights, values, gamma, outcome, kept)


def dr_os(
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    strength: float,
) -> Estimate:
    """Doubly robust estimation with optimistic shrinkage of the weights (Su et al. 2020).

    As `switch_dr`, with the weight of a surprise shrunk instead of cut: ``lambda W / (W^2 + lambda)`` for
    ``W``. Nearly the weight itself while it is far below ``sqrt(lambda)``, and falling towards 0 far above.
    At one decision that is ``mean_i (V_i + lambda w_i / (w_i^2 + lambda) (r_i - Q_i))``.

    Parameters
    ----------
    strength : lambda, > 0; towards 0 the model alone is left, inf is `dr`

    Other parameters as `dr`.

    Raises
    ------
    ValueError
        As `dr`, and for a ``strength`` that is not positive.
    """
    if not strength > 0.0:
        raise ValueError(f"strength = {strength}; expected lambda > 0, the square of a weight worth halving")
    with np.errstate(over="ignore"):
        factor = 1.0 / (1.0 + weights.weight * (weights.weight / strength))
    return _damped("dr_os", trajectories, weights, values, gamma, outcome, factor)


def residual_and_value(
    rewards: FloatArray, values: ActionValues, gamma: float
) -> tuple[FloatArray, FloatArray]:
    """Return ``g_t (r_it - Q_it)`` and ``g_t V_it``, both (n, T), from discounted rewards ``g_t r_it``."""
    if gamma == 1.0:
        return rewards - values.q, values.v
    discount = gamma ** np.arange(rewards.shape[1])
    return rewards - values.q * discount, values.v * discount


def self_normalised(
    estimator: str,
    outcome: str | None,
    residual: FloatArray,
    value: FloatArray,
    rewards: FloatArray,
    weights: Weights,
) -> Estimate:
    """Return ``sum_it [w_it residual_it + w_i,t-1 value_it]``, arrays (n, T), with influence as in `wdr`."""
    share, before = weights.normalised, weights.normalised_before
    step_residual = np.einsum("it,it->t", share, residual)
    step_value = np.einsum("it,it->t", before, value)
    influence = np.einsum("it,it->i", share, residual) - share @ step_residual
    influence += np.einsum("it,it->i", before, value) - before @ step_value
    total = float(step_residual.sum() + step_value.sum())
    return estimate_of_ratio(
        estimator, "per-decision", outcome, total, weights.n_patients * influence,
        per_decision_sample_size(rewards, weights), float(weights.effective_sample_size[-1]),
    )  # fmt: skip


def _damped(
    estimator: str,
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float,
    outcome: str | None,
    factor: FloatArray,
) -> Estimate:
    """`dr` with the surprise of each step multiplied by a factor (n, T) between 0 and 1."""
    rewards = discounted(trajectories, gamma, outcome)
    residual, value = residual_and_value(rewards, values, gamma)
    # the value of step t + 1 belongs to the surprise of step t
    factor_before = shifted(factor, 1.0)
    with np.errstate(over="ignore", invalid="ignore"):
        # an infinite weight that is cut is a 0, not an unknown
        used = np.where(factor > 0.0, factor * weights.weight, 0.0)
        used_before = np.where(factor_before > 0.0, factor_before * weights.weight_before, 0.0)
        terms = np.einsum("it,it->i", used, residual) + np.einsum("it,it->i", used_before, value)
    return _estimate_of_mean(estimator, outcome, terms, rewards, weights)


def _estimate_of_mean(
    estimator: str, outcome: str | None, terms: FloatArray, rewards: FloatArray, weights: Weights
) -> Estimate:
    return estimate_of_mean(
        estimator, "per-decision", outcome, terms,
        per_decision_sample_size(rewards, weights), float(weights.effective_sample_size[-1]),
    )  # fmt: skip
