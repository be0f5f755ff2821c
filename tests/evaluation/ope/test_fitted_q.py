"""Fitted Q evaluation: exact on a log of every course, honest influences, and every way a course can stop."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.basis import Monomials, Table
from dosewright.evaluation.ope.doubly_robust import dr
from dosewright.evaluation.ope.fitted_q import FittedQ, fqe_per_step
from dosewright.evaluation.ope.fitted_q_cross_fitted import fqe_cross_fitted
from dosewright.evaluation.ope.fitted_q_pooled import fqe_pooled
from dosewright.evaluation.ope.folds import fold_numbers
from dosewright.evaluation.ope.target_doses import TargetDoses

PAIRS = Table(2, 2)


def few(observations: np.ndarray, doses: np.ndarray) -> np.ndarray:
    """Three features for four pairs: a misspecified model."""
    return np.column_stack([np.ones(len(doses)), observations[:, 0], doses + 0.2 * observations[:, 0]])


def per_step(data: Any, basis: Any = PAIRS, gamma: float = 0.5, ridge: float = 0.0) -> FittedQ:
    return fqe_per_step(data.log, data.target, basis, gamma, ridge=ridge, follow_up_log_prob=data.follow_up)


def pooled(data: Any, basis: Any = PAIRS, gamma: float = 0.5, ridge: float = 0.0) -> FittedQ:
    return fqe_pooled(data.log, data.target, basis, gamma, ridge=ridge, follow_up_log_prob=data.follow_up)


@pytest.mark.parametrize("drop_out", [False, True])
def test_a_table_is_exact_on_every_course_there_is(process: Callable[..., Any], drop_out: bool) -> None:
    data = process(2).every_course(drop_out=drop_out)
    fit = per_step(data)
    assert fit.estimate.value == pytest.approx(data.truth, rel=1e-12)
    assert np.abs(fit.values.q - data.exact.q).max() < 1e-12
    assert np.abs(fit.values.v - data.exact.v).max() < 1e-12
    assert fit.rank.tolist() == [4, 4] and fit.n_features == 4
    # all that the first step shows is the process, which is the same at the second
    assert pooled(data).estimate.value == pytest.approx(data.truth, rel=1e-12)
    assert np.abs(pooled(data).values.q - data.exact.q).max() < 1e-12


@pytest.mark.parametrize("drop_out", [False, True])
@pytest.mark.parametrize("ridge", [0.0, 0.05])
@pytest.mark.parametrize("basis", [PAIRS, few])
@pytest.mark.parametrize("form", [per_step, pooled])
def test_influence_is_the_derivative(
    process: Callable[..., Any],
    derivative: Callable[..., float],
    form: Callable[..., FittedQ],
    basis: Any,
    ridge: float,
    drop_out: bool,
) -> None:
    data = process(4, 0.9).draw(40, 1, drop_out=drop_out)
    estimate = form(data, basis, 0.9, ridge).estimate
    assert estimate.influence.mean() == pytest.approx(0.0, abs=1e-13)
    for patient in range(0, 40, 9):
        found = derivative(lambda part: form(part, basis, 0.9, ridge).estimate.value, data, patient)
        assert estimate.influence[patient] == pytest.approx(found, rel=3e-3, abs=3e-3)


def test_pooled_counts_are_the_maximum_likelihood_model(process: Callable[..., Any]) -> None:
    data = process(5, 0.9).draw(300, 2)
    log, states, doses = data.log, data.states, data.log.actions.astype(int)
    count, gained, moved = np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((2, 2, 2))
    for i in range(300):
        for t in range(min(int(log.lengths[i]), 4)):
            pair = states[i, t], doses[i, t]
            count[pair] += 1
            gained[pair] += log.rewards[i, t]
            if t + 1 < log.lengths[i]:
                moved[(*pair, states[i, t + 1])] += 1
    value = np.zeros(2)
    policy = np.array([[0.25, 0.75], [0.5, 0.5]])
    for _ in range(5):
        value = (policy * ((gained + 0.9 * moved @ value) / count)).sum(axis=1)
    assert pooled(data, gamma=0.9).estimate.value == pytest.approx(value[states[:, 0]].mean(), rel=1e-12)


def without_the_last_step(log: Trajectories) -> Trajectories:
    return Trajectories(
        observations=log.observations[:, :-1],
        actions=log.actions[:, :-1],
        rewards=log.rewards[:, :-1],
        mask=log.mask[:, :-1],
        terminated=log.lengths < log.horizon,
        truncated=log.lengths == log.horizon,
    )


def test_final_observations_add_the_last_transition(process: Callable[..., Any]) -> None:
    # Without its last step a log has the same known transitions, the final observations given: the same
    # model, asked for one decision less.
    data = process(3, 0.9).draw(200, 3)
    shorter = without_the_last_step(data.log)
    target = TargetDoses.of(shorter, data.target.doses, data.target.probability)
    fit = fqe_pooled(shorter, target, PAIRS, 0.9, final_observations=data.log.observations[:, 2])
    longer = pooled(data, gamma=0.9)
    for state in (0, 1):
        of_two = longer.values.v[data.log.mask[:, 1] & (data.states[:, 1] == state), 1]
        assert fit.values.v[data.states[:, 0] == state, 0] == pytest.approx(of_two[0], rel=1e-12)


def test_influence_with_final_observations(
    process: Callable[..., Any], derivative: Callable[..., float]
) -> None:
    data = process(3, 0.9).draw(40, 4)

    def fit(part: Any) -> FittedQ:
        log = without_the_last_step(part.log)
        target = TargetDoses.of(log, part.target.doses, part.target.probability)
        return fqe_pooled(log, target, PAIRS, 0.9, final_observations=part.log.observations[:, 2])

    influence = fit(data).estimate.influence
    for patient in range(0, 40, 9):
        found = derivative(lambda part: fit(part).estimate.value, data, patient)
        assert influence[patient] == pytest.approx(found, rel=3e-3, abs=3e-3)


def test_unseen_pairs_are_worth_nothing_and_said(process: Callable[..., Any]) -> None:
    data = process(2).draw(50, 5)
    seldom = data.select((data.states == 0).all(axis=1) | (data.log.actions == 0).all(axis=1))
    fit = per_step(seldom)
    seen = [
        len(np.unique((2 * seldom.states + seldom.log.actions)[seldom.log.mask[:, t], t])) for t in (0, 1)
    ]
    assert fit.rank.tolist() == seen and min(seen) < 4 == fit.n_features
    assert np.isfinite(fit.estimate.standard_error)


def test_linear_is_doubly_robust_with_its_own_ratio(process: Callable[..., Any]) -> None:
    # one decision: the least-squares fit plus the mean of its weighted residuals, which is 0
    data = process(1).draw(200, 6)
    fit = per_step(data, few)
    phi = few(data.log.observations[:, 0], data.log.actions[:, 0])
    of_dose = [few(data.log.observations[:, 0], np.full(200, dose)) for dose in (0, 1)]
    psi = data.chance[:, 0, [0]] * of_dose[0] + data.chance[:, 0, [1]] * of_dose[1]
    omega = phi @ np.linalg.solve(phi.T @ phi / 200, psi.mean(axis=0))
    residual = data.log.rewards[:, 0] - phi @ np.linalg.lstsq(phi, data.log.rewards[:, 0], rcond=None)[0]
    assert phi.T @ omega / 200 == pytest.approx(psi.mean(axis=0), rel=1e-10)
    assert omega @ residual == pytest.approx(0.0, abs=1e-10)
    expected = fit.values.v[:, 0] - fit.estimate.value + omega * residual
    assert fit.estimate.influence == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("form", [per_step, pooled])
def test_order_of_patients_and_padding_do_not_matter(
    process: Callable[..., Any], form: Callable[..., FittedQ]
) -> None:
    data = process(4).draw(60, 7, drop_out=True)
    order = np.random.default_rng(0).permutation(60)
    plain, moved = form(data), form(data.select(order))
    assert moved.estimate.value == pytest.approx(plain.estimate.value, rel=1e-10)
    assert moved.estimate.influence == pytest.approx(plain.estimate.influence[order], abs=1e-10)
    observations = np.where(data.log.mask[..., None], data.log.observations, np.nan)
    chance = np.where(data.log.mask[..., None], data.chance, np.nan)
    longer = np.concatenate([data.log.mask, np.zeros((60, 2), dtype=bool)], axis=1)
    nothing = np.zeros((60, 2))
    padded = Trajectories(
        observations=np.concatenate([observations, np.full((60, 2, 1), np.nan)], axis=1),
        actions=np.concatenate([data.log.actions, nothing], axis=1),
        rewards=np.concatenate([data.log.rewards, nothing], axis=1),
        mask=longer,
        terminated=~data.log.dropped_out,
        truncated=data.log.dropped_out,
    )
    target = TargetDoses.of(
        padded,
        np.broadcast_to([0.0, 1.0], (60, 6, 2)),
        np.concatenate([chance, np.full((60, 2, 2), np.nan)], axis=1),
    )
    if form is per_step:
        follow_up = np.concatenate([data.follow_up, np.full((60, 2), np.nan)], axis=1)
        found = fqe_per_step(padded, target, PAIRS, 0.5, follow_up_log_prob=follow_up)
        assert found.estimate.value == plain.estimate.value


def test_monomials_span_what_plain_products_span() -> None:
    rng = np.random.default_rng(8)
    n, horizon = 300, 3
    state, dose = rng.normal(70.0, 8.0, (n, horizon, 2)), rng.normal(5.0, 1.0, (n, horizon))
    everybody = np.ones(n, dtype=bool)
    log = Trajectories(
        observations=state,
        actions=dose,
        rewards=-((state[..., 0] - 60 - dose) ** 2) + rng.normal(size=(n, horizon)),
        mask=np.ones((n, horizon), dtype=bool),
        terminated=everybody,
        truncated=~everybody,
    )

    def plain(observations: np.ndarray, doses: np.ndarray) -> np.ndarray:
        z = (observations[:, 0] / 70, observations[:, 1] / 70, doses)
        return np.column_stack(
            [np.ones(len(doses)), *z, *(z[i] * z[j] for i in range(3) for j in range(i, 3))]
        )

    basis = Monomials.of(log)
    assert basis(state[:, 0], dose[:, 0]).shape == (n, 10)
    target = TargetDoses.normal(log, 4.0 + 0.0 * dose, 0.5)
    ours, theirs = (fqe_per_step(log, target, b, 0.9) for b in (basis, plain))
    assert ours.estimate.value == pytest.approx(theirs.estimate.value, rel=1e-6)
    assert ours.rank.tolist() == [10] * 3
    assert Monomials.of(log, degree=1)(state[:, 0], dose[:, 0]).shape == (n, 4)


def test_quadrature_is_exact_for_a_quadratic_value() -> None:
    # one decision, value -(dose - 3)^2, target N(2, 0.5^2): mean -(1 + 0.25)
    n = 50
    dose = np.linspace(0.0, 6.0, n)[:, None]
    log = Trajectories(
        observations=np.zeros((n, 1, 1)),
        actions=dose,
        rewards=-((dose - 3.0) ** 2),
        mask=np.ones((n, 1), dtype=bool),
        terminated=np.ones(n, dtype=bool),
        truncated=np.zeros(n, dtype=bool),
    )
    fit = fqe_per_step(log, TargetDoses.normal(log, np.full((n, 1), 2.0), 0.5), Monomials.of(log))
    assert fit.estimate.value == pytest.approx(-1.25, rel=1e-12)
    assert fit.estimate.standard_error == pytest.approx(0.0, abs=1e-10)


# --- cross-fitted -----------------------------------------------------------------------------------------


def test_cross_fitted_by_another_way(process: Callable[..., Any]) -> None:
    """With least squares as the regressor it is the linear form, fitted without the fold asked about."""
    data = process(3, 0.9).draw(90, 9, drop_out=True)
    values = fqe_cross_fitted(
        data.log, data.target, 0.9, regressor=LinearRegression(), folds=3, seed=4,
        follow_up_log_prob=data.follow_up,
    )  # fmt: skip
    fold = fold_numbers(90, 3, seed=4)

    def plain(observations: np.ndarray, doses: np.ndarray) -> np.ndarray:
        return np.column_stack([np.ones(len(doses)), observations[:, 0], doses])

    for number in range(3):
        rest = data.select(fold != number)
        fit = per_step(rest, plain, 0.9)
        # the state of a patient of the fold, among the others
        for t in range(3):
            for state in (0, 1):
                asked = (fold == number) & data.log.mask[:, t] & (data.states[:, t] == state)
                known = rest.log.mask[:, t] & (rest.states[:, t] == state)
                if asked.any() and known.any():
                    assert values.v[asked, t] == pytest.approx(fit.values.v[known, t][0], abs=1e-10)
    assert (values.q[~data.log.mask] == 0.0).all() and (values.v[~data.log.mask] == 0.0).all()


def test_a_patients_own_luck_does_not_come_back(process: Callable[..., Any]) -> None:
    data = process(2).draw(60, 10)
    lucky = data.log.rewards.copy()
    lucky[7, 0] += 1000.0
    changed = replace(data, log=replace(data.log, rewards=lucky))
    before, after = (
        fqe_cross_fitted(part.log, part.target, 0.5, regressor=LinearRegression(), seed=1)
        for part in (data, changed)
    )
    same_fold = fold_numbers(60, 5, seed=1) == fold_numbers(60, 5, seed=1)[7]
    assert np.array_equal(before.q[same_fold], after.q[same_fold])
    assert not np.array_equal(before.q[~same_fold], after.q[~same_fold])


def test_trees_keep_dr_unbiased(process: Callable[..., Any]) -> None:
    data = process(3, 0.9).draw(600, 11)
    values = fqe_cross_fitted(data.log, data.target, 0.9, folds=2, seed=2)
    again = fqe_cross_fitted(data.log, data.target, 0.9, folds=2, seed=2)
    assert np.array_equal(values.q, again.q)
    estimate = dr(data.log, data.weights, values, 0.9)
    assert abs(estimate.value - data.truth) < 4 * estimate.standard_error
    # the trees explain part of what the weights would have to
    plain = dr(data.log, data.weights, replace(values, q=0 * values.q, v=0 * values.v), 0.9)
    assert estimate.standard_error < plain.standard_error


def test_folds_are_even_and_of_patients() -> None:
    numbers = fold_numbers(103, 5, seed=3)
    assert sorted(np.bincount(numbers)) == [20, 20, 21, 21, 21]
    assert np.array_equal(numbers, fold_numbers(103, 5, seed=3))
    assert not np.array_equal(numbers, fold_numbers(103, 5, seed=4))
    for folds in (1, 104):
        with pytest.raises(ValueError, match=f"folds = {folds}; expected 2 to 103"):
            fold_numbers(103, folds)
    with pytest.raises(ValueError, match="the log has 1 patient; expected two or more"):
        fold_numbers(1, 2)


# --- bad input --------------------------------------------------------------------------------------------


def test_target_doses_are_checked(process: Callable[..., Any]) -> None:
    data = process(2).draw(10, 12)
    doses, chance = data.target.doses, data.chance
    with pytest.raises(ValueError, match=r"doses has shape \(10, 2\)"):
        TargetDoses.of(data.log, doses[..., 0], chance)
    with pytest.raises(ValueError, match=r"probability has shape \(10, 2, 1\); expected \(10, 2, 2\)"):
        TargetDoses.of(data.log, doses, chance[..., :1])
    for place, value, message in (
        (doses, np.inf, r"doses\[4, 0\]"),
        (chance, -0.1, r"probability\[4, 0\]"),
        (chance, 0.2, r"probability.sum\(axis=2\)\[4, 0\]"),
    ):
        wrong = place.copy()
        wrong[4, 0, 1] = value
        given = (wrong, chance) if place is doses else (doses, wrong)
        with pytest.raises(ValueError, match=message):
            TargetDoses.of(data.log, *given)


def test_impossible_settings_are_named(process: Callable[..., Any]) -> None:
    data = process(2).draw(30, 13)
    with pytest.raises(ValueError, match="ridge = -1"):
        per_step(data, ridge=-1.0)
    with pytest.raises(ValueError, match="gamma = 1.5"):
        per_step(data, gamma=1.5)
    with pytest.raises(ValueError, match="dose 1 is not in the table; expected a whole number below 1"):
        per_step(data, Table(2, 1))
    with pytest.raises(ValueError, match="degree = 0"):
        Monomials.of(data.log, degree=0)
    with pytest.raises(ValueError, match="target has doses for 2 steps of 2 and final_observations is given"):
        fqe_pooled(data.log, data.target, PAIRS, final_observations=np.zeros((30, 1)))
    one_step = process(1).draw(30, 13)
    with pytest.raises(ValueError, match="one step, and what followed is not in the log"):
        pooled(one_step)
    lost = replace(
        data.log,
        mask=np.array([[True, False]] * 30),
        rewards=data.log.rewards * [1.0, 0.0],
        terminated=np.zeros(30, dtype=bool),
        truncated=np.ones(30, dtype=bool),
    )
    with pytest.raises(ValueError, match="30 patients dropped out and what followed is unknown"):
        fqe_per_step(lost, data.target, PAIRS)
    with pytest.raises(ValueError, match="nobody is followed to step 1, some are lost before"):
        fqe_per_step(lost, data.target, PAIRS, follow_up_log_prob=np.zeros((30, 2)))
    few_stay = replace(
        data.log,
        mask=np.array([[True, i == 0] for i in range(30)]),
        rewards=data.log.rewards * [[1.0, i == 0] for i in range(30)],
        terminated=np.ones(30, dtype=bool),
        truncated=np.zeros(30, dtype=bool),
    )
    with pytest.raises(ValueError, match="step 1 has decisions of one fold only"):
        fqe_cross_fitted(few_stay, data.target, regressor=LinearRegression())
