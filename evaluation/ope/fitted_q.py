"""Fitted Q evaluation with values linear in features: exact, fast, and with an honest standard error.

Fitted Q evaluation (Le, Voloshin & Yue 2019) regresses, backwards from the last step, ``r_t + gamma V_{t+1}``
on state and dose of step t, where ``V_{t+1}`` is the fit of the step after, averaged over the doses that the
target would give. Linear in features phi, a step is ordinary least squares::

    beta_t = A_t^-1 mean_i phi_it (r_it + gamma psi_i,t+1' beta_{t+1}),   A_t = mean_i phi_it phi_it'
    value = mean_i psi_i0' beta_0

``phi`` are features of the logged dose and ``psi`` their mean under the target's doses. It needs no weights
and so survives long courses. What it needs is a state that holds what matters of the past, features that can
hold the values, and at each step logged doses like the target's (``Weights.one_step_effective_sample_size``):
elsewhere it extrapolates.

The influence is that of the whole recursion, not of the last mean alone (Hao et al. 2021). With ``omega_it =
phi_it' alpha_t``, ``alpha_t = A_t^-1 eta_t``, ``eta_0 = mean psi_i0``, ``eta_{t+1} = gamma mean_i omega_it
psi_i,t+1``::

    IF_i = psi_i0' beta_0 - value + sum_t omega_it (r_it + gamma psi_i,t+1' beta_{t+1} - phi_it' beta_t)

omega is ``gamma^t`` times the ratio of state-dose distributions that is linear in the same features: linear
fitted Q evaluation is doubly robust estimation with it (`drl`). The residuals are those of the fit, so with
p features and n patients a step the standard error is too small by about ``sqrt(1 - p/n)``.

Nothing follows the last decision of a patient who ended. Where patients were lost, ``psi_i,t+1`` is divided
by the probability of still being followed (`inverse_staying`) and 0 for the lost, whose last reward counts.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.basis import Basis, Features
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_ratio, shares_of_steps
from dosewright.evaluation.ope.follow_up import inverse_staying
from dosewright.evaluation.ope.least_squares import pseudo_inverse
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.ope.weights import kish


@dataclass(frozen=True, eq=False)
class FittedQ:
    """What fitted Q evaluation found.

    Attributes
    ----------
    values : of the target regimen at the logged states and doses
    estimate : of its value, with the influence of the whole recursion
    rank : (T,) number of independent features in the fit of each step
    n_features : number of features. Where the rank is lower, coefficients that nothing speaks for are 0: a
        pair of state and dose that was never logged is worth 0.
    """

    values: ActionValues
    estimate: Estimate
    rank: npt.NDArray[np.int64]
    n_features: int


def fqe_per_step(
    trajectories: Trajectories,
    target: TargetDoses,
    basis: Basis,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    ridge: float = 0.0,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> FittedQ:
    """Fitted Q evaluation with a fit of its own for each step.

    Parameters
    ----------
    trajectories : the log
    target : the target's doses at each decision, from `TargetDoses`
    basis : features of state and dose, `Monomials` or `Table` or a function like them
    gamma : discount a step, 0 to 1
    outcome : name in ``trajectories.outcomes``; the reward when None
    ridge : added to the diagonal of ``A_t``, >= 0, for many features and few patients
    follow_up_log_prob : (n, T) as in `importance_weights`; needed when patients dropped out

    Raises
    ------
    ValueError
        For ``gamma`` out of range, an unknown outcome, a negative ridge, or drop-out without its probability.
    """
    rewards = undiscounted(trajectories, gamma, outcome)
    staying = staying_to_next(trajectories, follow_up_log_prob)
    n, horizon = rewards.shape
    steps = [FeaturesOfStep.of(trajectories, target, basis, t) for t in range(horizon)]
    q, v = np.zeros((n, horizon)), np.zeros((n, horizon + 1))
    inverse: list[FloatArray] = []
    error: list[FloatArray] = []
    rank: list[int] = []
    for t in range(horizon - 1, -1, -1):
        step, at = steps[t], steps[t].decided
        goal = rewards[at, t] + gamma * staying[at, t] * v[at, t + 1]
        inverse_here, rank_here = pseudo_inverse(with_ridge(step.gram / n, ridge))
        beta = inverse_here @ (step.phi.T @ goal) / n
        q[at, t], v[at, t] = step.phi @ beta, step.psi @ beta
        inverse.insert(0, inverse_here)
        rank.insert(0, rank_here)
        error.insert(0, goal - q[at, t])
    influence, following, effective = v[:, 0].copy(), np.full(n, 1.0 / n), np.zeros(horizon)
    for t, step in enumerate(steps):
        at = step.decided
        omega = step.phi @ (inverse[t] @ (step.psi.T @ following[at]))
        effective[t] = kish(omega)
        influence[at] += omega * error[t]
        following = np.zeros(n)
        following[at] = gamma * staying[at, t] * omega / n
    return fitted_q(
        trajectories, "fqe_per_step", outcome, q, v[:, :-1], influence, np.array(rank), len(inverse[0]),
        float(effective @ shares_of_steps(rewards * gamma ** np.arange(horizon))),
    )  # fmt: skip


@dataclass(frozen=True, eq=False)
class FeaturesOfStep:
    """Features at one step.

    Attributes
    ----------
    decided : (d,) patients under decision
    phi : (d, p) features of state and logged dose
    psi : (d, p) mean features under the target's doses
    """

    decided: npt.NDArray[np.int64]
    phi: Features
    psi: Features

    @classmethod
    def of(cls, trajectories: Trajectories, target: TargetDoses, basis: Basis, t: int) -> "FeaturesOfStep":
        """Return the features of step t."""
        decided = np.flatnonzero(trajectories.mask[:, t])
        observations = trajectories.observations[decided, t]
        phi = basis(observations, trajectories.actions[decided, t])
        psi = expected_features(basis, observations, target.doses[decided, t], target.probability[decided, t])
        return cls(decided, phi, psi)

    @property
    def gram(self) -> FloatArray:
        """(p, p) ``sum phi phi'``."""
        return dense(self.phi.T @ self.phi)


def expected_features(
    basis: Basis, observations: npt.NDArray[np.generic], doses: FloatArray, probability: FloatArray
) -> Features:
    """Return the mean features (r, p) of states (r, k) under doses (r, m) of given probabilities."""
    rows, choices = doses.shape
    of_each = basis(np.repeat(observations, choices, axis=0), doses.ravel())
    entries = (probability.ravel(), np.arange(rows * choices), np.arange(0, rows * choices + 1, choices))
    return sparse.csr_array(entries, shape=(rows, rows * choices)) @ of_each


def staying_to_next(trajectories: Trajectories, follow_up_log_prob: npt.ArrayLike | None) -> FloatArray:
    """Return (n, T) what the value of the next decision is multiplied by: 1, or `inverse_staying` of t + 1.

    Raises
    ------
    ValueError
        For patients who dropped out without ``follow_up_log_prob``, or a step that nobody is followed to.
    """
    lost, mask = trajectories.dropped_out, trajectories.mask
    if follow_up_log_prob is None and lost.any():
        raise ValueError(
            f"{int(lost.sum())} patients dropped out and what followed is unknown; give follow_up_log_prob, "
            "the probability of being followed"
        )
    for t in np.unique(trajectories.lengths[lost]):
        if not mask[:, t].any():
            raise ValueError(f"nobody is followed to step {t}, some are lost before; shorten the horizon")
    staying = inverse_staying(trajectories, follow_up_log_prob)
    return np.concatenate([staying[:, 1:], np.ones((len(staying), 1))], axis=1)


def undiscounted(trajectories: Trajectories, gamma: float, outcome: str | None) -> FloatArray:
    """Return (n, T) of the outcome, having refused a discount out of range."""
    discounted(trajectories, gamma, outcome)
    return discounted(trajectories, 1.0, outcome)


def with_ridge(gram: FloatArray, ridge: float) -> FloatArray:
    """Return a Gram matrix with a ridge on its diagonal.

    Raises
    ------
    ValueError
        For a negative ridge.
    """
    if not 0.0 <= ridge < np.inf:
        raise ValueError(f"ridge = {ridge}; expected a number >= 0")
    return gram + ridge * np.eye(len(gram))


def dense(matrix: Features) -> FloatArray:
    """Return a dense array."""
    return matrix.toarray() if isinstance(matrix, sparse.sparray) else matrix


def fitted_q(
    trajectories: Trajectories,
    estimator: str,
    outcome: str | None,
    q: FloatArray,
    v: FloatArray,
    influence: FloatArray,
    rank: npt.NDArray[np.int64],
    n_features: int,
    effective: float,
) -> FittedQ:
    """Return the result of a linear fit. ``influence`` need not have mean 0: with a ridge it has not."""
    estimate = estimate_of_ratio(
        estimator, "model", outcome, float(v[:, 0].mean()), influence - influence.mean(), effective, effective
    )
    return FittedQ(ActionValues(q, v), estimate, rank, n_features)
