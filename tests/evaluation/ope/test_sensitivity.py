"""Confounding bounds: against a linear program, every corner, and the shared reference's numbers."""

import math
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from scipy.optimize import linprog

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import pdwis, wis
from dosewright.evaluation.ope.sensitivity import (
    confounding_bounds,
    confounding_bounds_per_decision,
    flipping_odds_ratio,
)


def one_decision(n: int, seed: int) -> tuple[Trajectories, np.ndarray]:
    rng = np.random.default_rng(seed)
    given = rng.uniform(0.1, 0.9, (n, 1))
    log = Trajectories(
        observations=np.zeros((n, 1, 1)),
        actions=np.zeros((n, 1)),
        rewards=rng.normal(size=(n, 1)).round(1),
        mask=np.ones((n, 1), dtype=bool),
        terminated=np.ones(n, dtype=bool),
        truncated=np.zeros(n, dtype=bool),
        behaviour_log_prob=np.log(given),
    )
    return log, np.log(rng.uniform(0.1, 0.9, (n, 1)))


def extremes(log: Trajectories, target: np.ndarray, odds_ratio: float) -> tuple[np.ndarray, np.ndarray]:
    assert log.behaviour_log_prob is not None
    odds = np.exp(-log.behaviour_log_prob) - 1.0
    return np.exp(target) * (1.0 + odds / odds_ratio), np.exp(target) * (1.0 + odds * odds_ratio)


@pytest.mark.parametrize("odds_ratio", [1.0, 1.3, 4.0])
def test_one_decision_is_the_linear_program(odds_ratio: float) -> None:
    log, target = one_decision(40, 1)
    found = confounding_bounds(log, target, odds_ratio)
    low, high = (each[:, 0] for each in extremes(log, target, odds_ratio))
    # Charnes & Cooper (1962): weights v = w / sum w and scale t; low t <= v <= high t, sum v = 1
    upper = np.vstack([np.c_[np.eye(40), -high], np.c_[-np.eye(40), low]])
    gain = np.append(log.rewards[:, 0], 0.0)
    for sign, bound in ((1.0, found.lower), (-1.0, found.upper)):
        solved = linprog(
            sign * gain, A_ub=upper, b_ub=np.zeros(80), A_eq=[np.append(np.ones(40), 0.0)], b_eq=[1.0]
        )
        assert bound.value == pytest.approx(sign * solved.fun, abs=1e-9)


def test_shared_reference() -> None:
    # reference/ope/confounded_bandit, truth.json, rounded: needs the log, so a log of the same kind by hand.
    # Weights 1/p of p = 1/2 in [1 + 1/2, 1 + 2] at Gamma = 2, outcomes 0 and 1: 1.5/4.5 to 3/4.5.
    log, _ = one_decision(2, 1)
    log = Trajectories(
        **{
            name: getattr(log, name)
            for name in ("observations", "actions", "mask", "terminated", "truncated")
        },
        rewards=np.array([[0.0], [1.0]]),
        behaviour_log_prob=np.log([[0.5], [0.5]]),
    )
    found = confounding_bounds(log, np.zeros((2, 1)), 2.0)
    assert (found.lower.value, found.upper.value) == pytest.approx((1.0 / 3.0, 2.0 / 3.0))


def test_no_confounding_is_the_estimate(process: Callable) -> None:
    logged = process(3, 0.9).draw(80, 1)
    for bounds, form in ((confounding_bounds, wis), (confounding_bounds_per_decision, pdwis)):
        found = bounds(logged.log, logged.target_log_prob, 1.0, 0.9)
        point = form(logged.log, logged.weights, 0.9)
        for bound in (found.lower, found.upper):
            assert bound.value == pytest.approx(point.value)
            assert bound.influence == pytest.approx(point.influence, abs=1e-12)


def test_courses_reach_every_corner_and_no_further(process: Callable) -> None:
    # ten patients with two decisions: each course's weight is free between the products of its extremes
    logged = process(2, 1.0).draw(10, 3)
    found = confounding_bounds(logged.log, logged.target_log_prob, 1.5)
    low, high = (
        np.where(logged.log.mask, each, 1.0).prod(axis=1)
        for each in extremes(logged.log, logged.target_log_prob, 1.5)
    )
    returns = logged.log.rewards.sum(axis=1)
    means = []
    for corner in product((False, True), repeat=10):
        weight = np.where(corner, high, low)
        means.append(weight @ returns / weight.sum())
    assert (found.lower.value, found.upper.value) == pytest.approx((min(means), max(means)))


def test_bounds_widen_and_keep_the_truth_of_a_confounded_log() -> None:
    # a hidden half of the patients gets the dose with odds 2:1 instead of 1:2 and always responds; the target
    # gives it to all. Truth 1/2; the log's own odds are 1:1 in what is seen, and the odds ratio is 2.
    rng, n = np.random.default_rng(1), 20_000
    responds = rng.random(n) < 0.5
    given = rng.random(n) < np.where(responds, 2.0 / 3.0, 1.0 / 3.0)
    log = Trajectories(
        observations=np.zeros((n, 1, 1)),
        actions=given[:, None].astype(float),
        rewards=responds[:, None].astype(float),
        mask=np.ones((n, 1), dtype=bool),
        terminated=np.ones(n, dtype=bool),
        truncated=np.zeros(n, dtype=bool),
        behaviour_log_prob=np.full((n, 1), math.log(0.5)),
    )
    target = np.where(given[:, None], 0.0, -np.inf)
    assert confounding_bounds(log, target, 1.0).lower.value == pytest.approx(2.0 / 3.0, abs=0.02)
    # weights of responders and others 3/2 : 3 undo the confounding exactly
    assert confounding_bounds(log, target, 2.0).lower.value == pytest.approx(0.5, abs=0.01)
    assert flipping_odds_ratio(
        lambda g: confounding_bounds(log, target, g).lower.value, 0.5
    ) == pytest.approx(2.0, abs=0.1)


def test_influence_is_the_derivative(process: Callable, derivative: Callable) -> None:
    logged = process(3, 0.9).draw(30, 1)
    for bounds in (confounding_bounds, confounding_bounds_per_decision):

        def value(some, bounds=bounds) -> float:  # noqa: ANN001
            return bounds(some.log, some.target_log_prob, 1.7, 0.9).lower.value

        found = bounds(logged.log, logged.target_log_prob, 1.7, 0.9).lower
        for patient in (0, 7):
            moved = derivative(value, logged, patient)
            assert found.influence[patient] == pytest.approx(moved, rel=0.01, abs=1e-3)


def test_per_decision_is_no_wider_at_the_first_step(process: Callable) -> None:
    logged = process(4, 1e-9).draw(200, 1)
    whole = confounding_bounds(logged.log, logged.target_log_prob, 2.0, 1e-9)
    each = confounding_bounds_per_decision(logged.log, logged.target_log_prob, 2.0, 1e-9)
    assert whole.lower.value < each.lower.value < each.upper.value < whole.upper.value


def test_a_claim_flips_where_the_bound_meets_it() -> None:
    log, target = one_decision(300, 2)
    point = confounding_bounds(log, target, 1.0).lower.value

    def lower(odds_ratio: float) -> float:
        return confounding_bounds(log, target, odds_ratio).lower.value

    flipped = flipping_odds_ratio(lower, point - 0.2)
    assert lower(flipped) == pytest.approx(point - 0.2, abs=1e-9) and flipped > 1.0
    assert flipping_odds_ratio(lower, point + 0.1) == 1.0
    assert flipping_odds_ratio(lower, log.rewards.min() - 0.1) == math.inf


def test_refusals(process: Callable) -> None:
    log, target = one_decision(3, 1)
    with pytest.raises(ValueError, match="odds_ratio = 0.5; expected Gamma >= 1"):
        confounding_bounds(log, target, 0.5)
    with pytest.raises(ValueError, match="every weight is 0"):
        confounding_bounds(log, np.full((3, 1), -np.inf), 2.0)
