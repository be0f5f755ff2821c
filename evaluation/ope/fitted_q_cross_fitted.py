"""Fitted Q evaluation with any regressor, cross-fitted by patient: values for doubly robust estimation."""

from copy import deepcopy
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.fitted_q import staying_to_next, undiscounted
from dosewright.evaluation.ope.folds import fold_numbers
from dosewright.evaluation.ope.target_doses import TargetDoses


class Regressor(Protocol):
    """An unfitted regressor by scikit-learn's convention: `fit` forgets what was fitted before."""

    def fit(self, X: FloatArray, y: FloatArray) -> Any:
        """Fit features (r, p) to values (r,)."""
        ...

    def predict(self, X: FloatArray) -> npt.NDArray[np.floating]:
        """Return predictions (r,)."""
        ...


def fqe_cross_fitted(
    trajectories: Trajectories,
    target: TargetDoses,
    gamma: float = 1.0,
    outcome: str | None = None,
    *,
    regressor: Regressor | None = None,
    folds: int = 5,
    seed: int = 0,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> ActionValues:
    """Values from fitted Q evaluation with trees, or another regressor, on observations and dose.

    One fit a step, backwards. The patients of a fold are asked of a recursion that was fitted to all other
    patients only, so that a flexible model's memory of a patient's own luck does not come back as evidence:
    `dr`, `wdr` and `drl` stay nearly unbiased and their intervals honest (Chernozhukov et al. 2018).

    No estimate is returned. The mean of such values (`dm`) has a bias of regularisation that no standard
    error shows; correct it by `dr`, `wdr` or `drl`.

    Parameters
    ----------
    trajectories : the log
    target : the target's doses at each decision, from `TargetDoses`
    gamma : discount a step, 0 to 1
    outcome : name in ``trajectories.outcomes``; the reward when None
    regressor : copied for each fit; gradient-boosted trees seeded by ``seed`` when None
    folds : number of parts that the patients are split in
    seed : of the split
    follow_up_log_prob : (n, T) as in `importance_weights`; needed when patients dropped out

    Raises
    ------
    ValueError
        For ``gamma`` out of range, an unknown outcome, an impossible number of folds, drop-out without its
        probability, or a step with patients of one fold only.
    """
    rewards = undiscounted(trajectories, gamma, outcome)
    model = _boosted_trees(seed) if regressor is None else regressor
    onwards = gamma * staying_to_next(trajectories, follow_up_log_prob)
    fold = fold_numbers(trajectories.n_patients, folds, seed)
    q, v = np.zeros(rewards.shape), np.zeros(rewards.shape)
    # many small fits: OpenMP's threads gain nothing and, beside another process, spin sixty times as long
    with threadpool_limits(1, user_api="openmp"):
        for number in range(folds):
            held_out = fold == number
            q_all, v_all = _recursion(trajectories, target, rewards, onwards, ~held_out, model)
            q[held_out], v[held_out] = q_all[held_out], v_all[held_out]
    return ActionValues(q, v)


def _boosted_trees(seed: int) -> Regressor:
    from sklearn.ensemble import HistGradientBoostingRegressor  # slow to import, and often not needed

    # a few hundred patients a step: small trees, and none of the patients spent on early stopping
    options: dict[str, Any] = {"early_stopping": False}  # annotated as a string there
    return HistGradientBoostingRegressor(max_leaf_nodes=8, random_state=seed, **options)


def _recursion(
    trajectories: Trajectories,
    target: TargetDoses,
    rewards: FloatArray,
    onwards: FloatArray,
    fitted: BoolArray,
    model: Regressor,
) -> tuple[FloatArray, FloatArray]:
    """Return q and v (n, T) at every logged decision, from fits to the patients of ``fitted`` (n,)."""
    n, horizon = rewards.shape
    q, v = np.zeros((n, horizon)), np.zeros((n, horizon + 1))
    for t in range(horizon - 1, -1, -1):
        decided, rows = (
            np.flatnonzero(trajectories.mask[:, t]),
            np.flatnonzero(trajectories.mask[:, t] & fitted),
        )
        if len(decided) == 0:
            continue
        if len(rows) == 0:
            raise ValueError(
                f"step {t} has decisions of one fold only; expected some in each: use fewer folds or shorten "
                "the horizon"
            )
        seen, doses = trajectories.observations[:, t], trajectories.actions[:, t]
        goal = rewards[rows, t] + onwards[rows, t] * v[rows, t + 1]
        fit = deepcopy(model).fit(_inputs(seen[rows], doses[rows]), goal)
        q[decided, t] = fit.predict(_inputs(seen[decided], doses[decided]))
        wanted, chance = target.doses[decided, t], target.probability[decided, t]
        asked = _inputs(np.repeat(seen[decided], wanted.shape[1], axis=0), wanted.ravel())
        v[decided, t] = (fit.predict(asked).reshape(wanted.shape) * chance).sum(axis=1)
    return q, v[:, :-1]


def _inputs(observations: npt.NDArray[np.generic], doses: FloatArray) -> FloatArray:
    return np.column_stack([observations, doses]).astype(np.float64)
