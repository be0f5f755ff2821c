"""Fitted Q evaluation of a process that does not change with time: one regression for all steps."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.basis import Basis, Features
from dosewright.evaluation.ope.fitted_q import (
    FeaturesOfStep,
    FittedQ,
    dense,
    expected_features,
    fitted_q,
    staying_to_next,
    undiscounted,
    with_ridge,
)
from dosewright.evaluation.ope.least_squares import pseudo_inverse
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.ope.weights import kish


def fqe_pooled(
    trajectories: Trajectories,
    target: TargetDoses,
    basis: Basis,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    ridge: float = 0.0,
    follow_up_log_prob: npt.ArrayLike | None = None,
    final_observations: npt.ArrayLike | None = None,
) -> FittedQ:
    """Fitted Q evaluation with the sufficient statistics of all steps added up.

    T backups of ``beta^(h) = A^-1 (B + gamma C beta^(h-1))``, h decisions to go, with ``A = sum_t mean_i phi
    phi'``, B likewise of ``phi r`` and C of ``phi psi_{t+1}'``; notation as in `fqe_per_step`. With a `Table`
    this is the maximum-likelihood model of the process: counted transitions, mean rewards, pairs never seen
    worth 0. Steps inform each other, so that a pair is missing only if no step has it.

    The state after the last decision is not in a log. Without it the last step of everybody is left out of
    the fit, since what followed is unknown; the value still counts all T decisions.

    The influence sums ``omega (r + gamma psi' beta^(h-1) - phi' beta^(h))`` over a patient's steps and over
    the backups h, with ``omega = phi' alpha^(h)``, ``alpha^(h) = A^-1 eta^(h)``, ``eta^(h-1) = gamma C'
    alpha^(h)`` and ``eta^(T) = mean psi_i0``, besides ``psi_i0' beta^(T) - value``.

    Parameters
    ----------
    ridge : added to the diagonal of A, >= 0
    follow_up_log_prob : (n, T) as in `importance_weights`; needed when patients dropped out
    final_observations : (n, k) the state after step T - 1; ``target`` then has T + 1 steps. Not read for
        patients who ended: where it is given, ``terminated`` at the last step means an event, not the end of
        follow-up.

    Other parameters as `fqe_per_step`.

    Raises
    ------
    ValueError
        As `fqe_per_step`; for final observations without the target's doses there, or the other way round.
    """
    rewards = undiscounted(trajectories, gamma, outcome)
    staying = gamma * staying_to_next(trajectories, follow_up_log_prob)
    n, horizon = rewards.shape
    steps = [FeaturesOfStep.of(trajectories, target, basis, t) for t in range(horizon)]
    # the rows of the regression: steps with what follows them
    rows = steps if final_observations is not None else steps[:-1]
    if not rows:
        raise ValueError("one step, and what followed is not in the log; give final_observations")
    after_last = _after_the_last(trajectories, target, basis, final_observations, steps[0])
    next_psi = [
        _psi_of(after, step.decided, staying[step.decided, t])
        for t, (step, after) in enumerate(zip(rows, [*steps[1:], after_last], strict=False))
    ]
    gram, gained, onwards = _sums(rows, next_psi, rewards)
    inverse, rank = pseudo_inverse(with_ridge(gram / n, ridge))
    start = steps[0].psi.T @ np.full(n, 1.0 / n)
    beta = np.zeros((horizon + 1, len(start)))
    for to_go in range(1, horizon + 1):
        beta[to_go] = inverse @ (gained + onwards @ beta[to_go - 1]) / n
    alpha, eta = np.zeros_like(beta), start
    for to_go in range(horizon, 0, -1):
        alpha[to_go] = inverse @ eta
        eta = onwards.T @ alpha[to_go] / n
    q, v = np.zeros((n, horizon)), np.zeros((n, horizon))
    for t, step in enumerate(steps):
        q[step.decided, t], v[step.decided, t] = step.phi @ beta[horizon - t], step.psi @ beta[horizon - t]
    # the sum over backups, gathered into three forms of phi and psi that do not grow with their number
    of_reward, of_next, of_now = alpha.sum(axis=0), alpha[1:].T @ beta[:-1], alpha.T @ beta
    influence, implied = v[:, 0].copy(), np.zeros(n)
    for t, (step, psi) in enumerate(zip(rows, next_psi, strict=True)):
        omega = step.phi @ of_reward
        implied[step.decided] += omega
        influence[step.decided] += omega * rewards[step.decided, t]
        influence[step.decided] += _row_products(psi, step.phi @ of_next)
        influence[step.decided] -= _row_products(step.phi, step.phi @ of_now)
    return fitted_q(
        trajectories, "fqe_pooled", outcome, q, v, influence, np.full(horizon, rank), len(start),
        float(kish(implied)),
    )  # fmt: skip


def _sums(
    rows: list[FeaturesOfStep], next_psi: list[Features], rewards: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the sums over the rows of ``phi phi'``, ``phi r`` and ``phi psi'`` of the next step."""
    gram = sum(step.gram for step in rows)
    gained = sum(step.phi.T @ rewards[step.decided, t] for t, step in enumerate(rows))
    onwards = sum(dense(step.phi.T @ psi) for step, psi in zip(rows, next_psi, strict=True))
    return np.asarray(gram), np.asarray(gained), np.asarray(onwards)


def _after_the_last(
    trajectories: Trajectories,
    target: TargetDoses,
    basis: Basis,
    final_observations: npt.ArrayLike | None,
    first: FeaturesOfStep,
) -> FeaturesOfStep:
    """Return the features after the last decision, of nobody when there are none."""
    n, horizon = trajectories.mask.shape
    extra = target.doses.shape[1] > horizon
    if extra != (final_observations is not None):
        raise ValueError(
            f"target has doses for {target.doses.shape[1]} steps of {horizon} and final_observations is "
            f"{'missing' if extra else 'given'}; expected both of the state after the last decision, or "
            "neither"
        )
    if final_observations is None:
        nobody = np.empty(0, dtype=np.int64)
        return replace(first, decided=nobody, psi=first.psi[:0])
    width = trajectories.observations.shape[2]
    observations = np.asarray(final_observations)
    if observations.shape != (n, width):
        raise ValueError(f"final_observations has shape {observations.shape}; expected ({n}, {width})")
    going_on = np.flatnonzero(trajectories.mask[:, -1] & ~trajectories.terminated)
    bad = ~np.isfinite(observations[going_on]).all(axis=1)
    if bad.any():
        patient = going_on[int(np.argmax(bad))]
        raise ValueError(
            f"final_observations[{patient}] = {observations[patient]}; expected finite numbers for patients "
            "whose course went on"
        )
    psi = expected_features(
        basis, observations[going_on], target.doses[going_on, horizon], target.probability[going_on, horizon]
    )
    return replace(first, decided=going_on, psi=psi)


def _psi_of(step: FeaturesOfStep, patients: npt.NDArray[np.int64], factor: FloatArray) -> Features:
    """Return psi (r, p) of some patients at a step times a factor (r,), 0 for those not under decision."""
    there = np.isin(patients, step.decided)
    place = np.searchsorted(step.decided, patients[there])
    entries = (factor[there], (np.flatnonzero(there), place))
    return sparse.csr_array(entries, shape=(len(patients), len(step.decided))) @ step.psi


def _row_products(a: Features, b: FloatArray) -> FloatArray:
    """Return (r,) the sum of the products of each row (r, p)."""
    if isinstance(a, sparse.sparray):
        return np.asarray(a.multiply(b).sum(axis=1)).ravel()
    return np.einsum("rp,rp->r", a, b)
