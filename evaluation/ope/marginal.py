"""Marginal importance sampling: weights of a step's state and dose instead of the whole course before it.

A product of T ratios has a variance that grows exponentially with T. When what matters of the past is in the
state (a Markov state), the same expectation needs only ``m_t(s, a) = d_e,t(s) pi_e(a|s) / (d_b,t(s)
pi_b(a|s))``, d_e,t and d_b,t the distributions of the state at step t under the target and in the log (Liu et
al. 2018; Xie, Ma & Wang 2019). The price: the ratio must be known or estimated (`dosewright.evaluation.ope.
marginal_recursion`), and a state that leaves something out makes it wrong, which no weight shows.

Marginal weights are `Weights` like those of whole courses, with the same meaning at each step: the weighted
patients are the target's population there. So their effective sample size by step, largest share and mean are
read in the same way, and the estimators here are the per-decision ones under marginal weights.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import Trajectories, refuse
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.doubly_robust import dr
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.follow_up import follow_up_weights
from dosewright.evaluation.ope.importance import pdis, pdwis
from dosewright.evaluation.ope.weights import Weights, carry_last, shifted


def marginal_weights(
    trajectories: Trajectories,
    log_ratio: npt.ArrayLike,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Weights:
    """Weights of a log from known ratios of state and dose.

    A patient who has ended keeps the ratio of the last decision. That is exact: whether a course ends depends
    on state and dose alone, so the ended patients' ratios average to the target's share of ended courses.

    Parameters
    ----------
    trajectories : the log
    log_ratio : (n, T) ``log m_t(s_it, a_it)``; -inf where the target never comes. Not read where ``mask`` is
        False.
    follow_up_log_prob : (n, T) as in `importance_weights`

    Returns
    -------
    Weights
        ``log_ratio`` is the ratio of state and dose at the step alone.

    Raises
    ------
    ValueError
        For a wrong shape, NaN or +inf, naming patient and step.
    """
    mask = trajectories.mask
    given = np.asarray(log_ratio, dtype=np.float64)
    if given.shape != mask.shape:
        raise ValueError(f"log_ratio has shape {given.shape}; expected {mask.shape} as in mask")
    bad = (np.isnan(given) | np.isposinf(given)) & mask
    refuse(
        "log_ratio", given, bad, "the logarithm of a ratio of densities, -inf where the target never comes"
    )
    carried = carry_last(given, trajectories.lengths)
    before = shifted(carried, 0.0)
    followed = follow_up_weights(trajectories, follow_up_log_prob)
    return replace(
        followed,
        log_ratio=np.where(mask, given, 0.0),
        log_weight=carried + followed.log_weight,
        log_weight_before=before + followed.log_weight_before,
    )


def mis(
    trajectories: Trajectories, marginal: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Marginal importance sampling: ``value = mean_i sum_t gamma^t m_it r_it``.

    Unbiased with the true ratio, and a plain mean over patients: the influence is the own term minus the
    mean. An estimated ratio has an error of its own that this does not hold: `mis_counted` and `mis_linear`
    include it.

    Parameters
    ----------
    trajectories : the log
    marginal : from `marginal_weights`
    gamma : discount a step, 0 to 1
    outcome : name in ``trajectories.outcomes``; the reward when None

    Raises
    ------
    ValueError
        For ``gamma`` out of range or an unknown outcome.
    """
    return replace(pdis(trajectories, marginal, gamma, outcome), estimator="mis", family="marginal")


def wmis(
    trajectories: Trajectories, marginal: Weights, gamma: float = 1.0, outcome: str | None = None
) -> Estimate:
    """Weighted marginal importance sampling: `mis` with the ratios of each step divided by their sum.

    Influence as `pdwis`, with ``m_it`` for the weight. Parameters and errors as `mis`.
    """
    return replace(pdwis(trajectories, marginal, gamma, outcome), estimator="wmis", family="marginal")


def drl(
    trajectories: Trajectories,
    marginal: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> Estimate:
    """Double reinforcement learning (Kallus & Uehara 2020), doubly robust estimation with marginal ratios.

    ``value = mean_i {V_i0 + sum_t gamma^t m_it (r_it + gamma V_i,t+1 - Q_it)}``. Near the truth when either
    the ratios or the values are right; with both its variance is the least that any estimator can have in a
    Markov process. Its terms are the efficient influence function, so errors of ratio and values enter the
    estimate only by their product.

    Parameters
    ----------
    values : of the target regimen, for this outcome and discount; fitted to other patients, or by a simple
        model

    Other parameters and errors as `mis`.
    """
    return replace(dr(trajectories, marginal, values, gamma, outcome), estimator="drl", family="marginal")
