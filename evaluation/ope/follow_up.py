"""Drop-out in recursions: who stands in, step by step, for those no longer followed."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.weights import Weights, importance_weights


def follow_up_weights(trajectories: Trajectories, follow_up_log_prob: npt.ArrayLike | None) -> Weights:
    """Return the weights of the regimen that made the log: 1, or what corrects for drop-out alone.

    Parameters
    ----------
    follow_up_log_prob : (n, T) as in `importance_weights`, which names what is wrong with it
    """
    certain = np.zeros(trajectories.mask.shape)
    unchanged = replace(trajectories, behaviour_log_prob=certain, propensity="mass")
    return importance_weights(unchanged, certain, follow_up_log_prob)


def inverse_staying(trajectories: Trajectories, follow_up_log_prob: npt.ArrayLike | None) -> FloatArray:
    """Return (n, T) ``1 / P(still followed at step t, given that at t - 1)``, and 0 for those lost by then.

    What a recursion multiplies by when it looks one step ahead: those still seen stand in for those lost, and
    in expectation nothing is missing. Patients who ended are not lost; they have 1. (Leaving the last
    decision of the lost out of a fit instead would keep every end of a course but not every continuation.)
    Without ``follow_up_log_prob`` all are 1: nothing is corrected, as in `importance_weights`.
    """
    followed = follow_up_weights(trajectories, follow_up_log_prob)
    there = ~np.isneginf(followed.log_weight_before)
    staying = followed.log_weight_before.copy()
    np.subtract(staying[:, 1:], followed.log_weight[:, :-1], out=staying[:, 1:], where=there[:, 1:])
    return np.exp(staying)
