"""Marginal importance sampling: by hand, on a log of every course there is, and by its own derivative."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.ope.doubly_robust import dr
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.importance import pdis
from dosewright.evaluation.ope.marginal import drl, marginal_weights, mis, wmis
from dosewright.evaluation.ope.marginal_recursion import (
    counted_weights,
    linear_weights,
    mis_counted,
    mis_linear,
)
from dosewright.evaluation.ope.weights import kish


def one_hot(data: Any) -> np.ndarray:
    return np.eye(2)[data.states]


def sloped(data: Any) -> np.ndarray:
    """Features that do not span the states and differ between patients of one state."""
    rng = np.random.default_rng(4)
    extra = rng.normal(size=data.log.n_patients)
    return np.stack([np.ones(data.states.shape), data.states + 0.3 * extra[:, None]], axis=-1)


def marginal(data: Any) -> Any:
    return marginal_weights(data.log, data.log_ratio, data.follow_up)


def counted(data: Any) -> Estimate:
    return mis_counted(data.log, data.weights, data.states, 0.5, None, data.follow_up)


def linear(data: Any, features: np.ndarray) -> Estimate:
    return mis_linear(data.log, data.weights, features, 0.5, None, data.follow_up)


@pytest.mark.parametrize("drop_out", [False, True])
def test_on_every_course_there_is(process: Callable[..., Any], drop_out: bool) -> None:
    data = process(2).every_course(drop_out=drop_out)
    ratio = marginal(data)
    assert ratio.mean_weight == pytest.approx([1.0, 1.0], rel=1e-12)
    assert mis(data.log, ratio, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    assert wmis(data.log, ratio, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    assert counted(data).value == pytest.approx(data.truth, rel=1e-12)
    assert linear(data, one_hot(data)).value == pytest.approx(data.truth, rel=1e-12)


@pytest.mark.parametrize("drop_out", [False, True])
def test_drl_is_right_when_ratios_or_values_are(process: Callable[..., Any], drop_out: bool) -> None:
    data = process(2).every_course(drop_out=drop_out)
    right = marginal(data)
    wrong = marginal_weights(data.log, data.log_ratio + 0.3 * data.states, data.follow_up)
    assert drl(data.log, right, data.wrong, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    assert drl(data.log, wrong, data.exact, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    assert abs(drl(data.log, wrong, data.wrong, 0.5).value - data.truth) > 0.1
    by_counts = counted_weights(data.log, data.weights, data.states, data.follow_up)
    assert drl(data.log, by_counts, data.wrong, 0.5).value == pytest.approx(data.truth, rel=1e-12)


def test_drl_by_its_formula(process: Callable[..., Any]) -> None:
    data = process(5, 0.9).draw(100, 2)
    ratio, log = marginal(data), data.log
    m, q, v = np.where(log.mask, np.exp(data.log_ratio), 0.0), data.wrong.q, data.wrong.v
    following = np.concatenate([v[:, 1:], np.zeros((100, 1))], axis=1)
    terms = v[:, 0] + ((m * (log.rewards + 0.9 * following - q)) @ 0.9 ** np.arange(5))
    estimate = drl(log, ratio, data.wrong, 0.9)
    assert estimate.value == pytest.approx(terms.mean(), rel=1e-12)
    assert estimate.influence == pytest.approx(terms - terms.mean(), abs=1e-12)
    assert (estimate.estimator, estimate.family) == ("drl", "marginal")


def test_counting_by_its_formula(process: Callable[..., Any]) -> None:
    # Nobody ends in these three steps: the plain recursion of counts.
    data = process(3).draw(4000, 3)
    data = data.select(data.log.mask.all(axis=1) & ~data.log.terminated)
    n, value, c = data.log.n_patients, 0.0, np.empty(0)
    share = np.bincount(data.states[:, 0], minlength=2) / n
    for t in range(3):
        state = data.states[:, t]
        c = share[state] / np.bincount(state)[state] * np.exp(data.weights.log_ratio[:, t])
        value += 0.5**t * c @ data.log.rewards[:, t]
        if t < 2:
            share = np.bincount(data.states[:, t + 1], weights=c)
            share /= share.sum()
    estimate = counted(data)
    assert estimate.value == pytest.approx(value, rel=1e-12)
    ratio = counted_weights(data.log, data.weights, data.states)
    assert ratio.log_weight[:, 2] == pytest.approx(np.log(n * c), abs=1e-12)
    assert ratio.effective_sample_size[2] == pytest.approx(kish(c), rel=1e-12)
    spread = (data.log.rewards * 0.5 ** np.arange(3)).std(axis=0)
    expected = np.average(ratio.effective_sample_size, weights=spread)
    assert estimate.effective_sample_size == pytest.approx(expected, rel=1e-12)
    assert estimate.degrees_of_freedom == pytest.approx(kish(c) - 1, rel=1e-12)


def test_linear_moments_hold(process: Callable[..., Any]) -> None:
    data = process(4).draw(500, 5)
    features = sloped(data)
    ratio = linear_weights(data.log, data.weights, features)
    # before rho: what weighs the states of a step
    state_ratio = np.exp(ratio.log_weight - ratio.log_ratio)
    mask = data.log.mask
    for t in range(1, 4):
        here, phi = mask[:, t], features[:, t]
        before = np.exp(ratio.log_weight_before[:, t])
        moved = before[here] / before.mean()
        assert phi[here].T @ state_ratio[here, t] == pytest.approx(phi[here].T @ moved, rel=1e-10)
        assert before.mean() == pytest.approx(ratio.mean_weight[t - 1], rel=1e-12)


def test_one_hot_features_count(process: Callable[..., Any]) -> None:
    data = process(6).draw(200, 6, drop_out=True)
    counts, fits = counted(data), linear(data, one_hot(data))
    assert fits.value == pytest.approx(counts.value, rel=1e-12)
    assert fits.influence == pytest.approx(counts.influence, abs=1e-11)


@pytest.mark.parametrize("drop_out", [False, True])
@pytest.mark.parametrize("form", ["counted", "linear", "wmis", "drl"])
def test_influence_is_the_derivative(
    process: Callable[..., Any], derivative: Callable[..., float], form: str, drop_out: bool
) -> None:
    data = process(5).draw(30, 7, drop_out=drop_out)
    # the features go with the patients
    data = replace(data, chance=np.concatenate([data.chance, sloped(data)], axis=-1))
    forms: dict[str, Callable[[Any], Estimate]] = {
        "counted": counted,
        "linear": lambda part: linear(part, part.chance[..., 2:]),
        "wmis": lambda part: wmis(part.log, marginal(part), 0.5),
        "drl": lambda part: drl(part.log, marginal(part), part.wrong, 0.5),
    }
    estimate = forms[form](data)
    assert estimate.influence.mean() == pytest.approx(0.0, abs=1e-13)
    for patient in range(0, 30, 3):
        found = derivative(lambda part: forms[form](part).value, data, patient)
        assert estimate.influence[patient] == pytest.approx(found, rel=3e-3, abs=3e-3)


def test_counting_needs_nothing_of_the_past(process: Callable[..., Any]) -> None:
    # A dose that the target never gives ends a course's weight, not its use at later steps.
    data = process(4).draw(2000, 8)
    impossible = data.target_log_prob.copy()
    impossible[:500, 0] = -np.inf
    data = replace(data, target_log_prob=impossible)
    ratio = counted_weights(data.log, data.weights, data.states)
    assert np.isneginf(ratio.log_weight[:500, 0]).all()
    assert np.isfinite(ratio.log_weight[:500, 1]).all()
    assert np.isneginf(data.weights.log_weight[:500, 1]).all()


@pytest.mark.filterwarnings("error")
def test_no_overlap_at_all_is_not_a_number(process: Callable[..., Any]) -> None:
    data = process(3).draw(40, 14)
    data = replace(data, target_log_prob=np.full(data.states.shape, -np.inf))
    for estimate in (counted(data), linear(data, one_hot(data))):
        assert np.isnan(estimate.value) and np.isnan(estimate.standard_error)
        assert np.isnan(estimate.effective_sample_size) or estimate.effective_sample_size == 0.0


def test_ratios_survive_where_products_do_not(process: Callable[..., Any]) -> None:
    # those who are not ended early would need products of up to 60 ratios
    data = process(60, 1.0).draw(3000, 9)
    estimate = mis_counted(data.log, data.weights, data.states)
    assert abs(estimate.value - data.truth) < 4 * estimate.standard_error
    assert estimate.effective_sample_size > pdis(data.log, data.weights).effective_sample_size


def test_ended_patients_keep_the_last_ratio(process: Callable[..., Any]) -> None:
    data = process(3).draw(50, 10)
    padded = np.where(data.log.mask, data.log_ratio, np.nan)
    ratio = marginal_weights(data.log, padded)
    assert np.array_equal(ratio.log_weight, marginal(data).log_weight)
    for i in np.flatnonzero(data.log.lengths < 3):
        last = data.log.lengths[i] - 1
        assert (ratio.log_weight[i, last:] == data.log_ratio[i, last]).all()


@pytest.mark.parametrize("form", ["counted", "mis", "wmis", "drl"])
def test_order_of_patients_does_not_matter(process: Callable[..., Any], form: str) -> None:
    data = process(4).draw(60, 11, drop_out=True)
    forms: dict[str, Callable[[Any], Estimate]] = {
        "counted": counted,
        "mis": lambda part: mis(part.log, marginal(part), 0.5),
        "wmis": lambda part: wmis(part.log, marginal(part), 0.5),
        "drl": lambda part: drl(part.log, marginal(part), part.wrong, 0.5),
    }
    order = np.random.default_rng(0).permutation(60)
    plain, moved = forms[form](data), forms[form](data.select(order))
    assert moved.value == pytest.approx(plain.value, rel=1e-10)
    assert moved.influence == pytest.approx(plain.influence[order], abs=1e-10)


def test_the_state_alone_is_enough_of_a_weight(process: Callable[..., Any]) -> None:
    """With one step a marginal ratio is the ratio of the decision."""
    data = process(1).draw(100, 12)
    log_ratio = data.target_log_prob - data.log.behaviour_log_prob
    ratio = marginal_weights(data.log, log_ratio)
    assert mis(data.log, ratio).value == pytest.approx(pdis(data.log, data.weights).value, rel=1e-14)
    assert drl(data.log, ratio, data.wrong).value == pytest.approx(
        dr(data.log, data.weights, data.wrong).value, rel=1e-14
    )


def test_bad_input_is_named(process: Callable[..., Any]) -> None:
    data = process(3).draw(20, 13, drop_out=True)
    log, weights, states = data.log, data.weights, data.states
    with pytest.raises(ValueError, match="weights.corrected is True and follow_up_log_prob is missing"):
        mis_counted(log, weights, states)
    with pytest.raises(ValueError, match="states has dtype float64"):
        mis_counted(log, weights, states.astype(float), follow_up_log_prob=data.follow_up)
    with pytest.raises(ValueError, match=r"states\[3, 0\] = -1 \(patient 3, step 0\)"):
        wrong = states.copy()
        wrong[3, 0] = -1
        mis_counted(log, weights, wrong, follow_up_log_prob=data.follow_up)
    with pytest.raises(ValueError, match=r"features has shape \(20, 3\)"):
        mis_linear(log, weights, states, follow_up_log_prob=data.follow_up)
    with pytest.raises(ValueError, match=r"features\[2, 0\]"):
        features = one_hot(data)
        features[2, 0, 1] = np.nan
        mis_linear(log, weights, features, follow_up_log_prob=data.follow_up)
    with pytest.raises(ValueError, match=r"log_ratio\[1, 0\] = inf"):
        ratio = data.log_ratio.copy()
        ratio[1, 0] = np.inf
        marginal_weights(log, ratio)
    with pytest.raises(ValueError, match=r"log_ratio has shape \(3,\)"):
        marginal_weights(log, np.zeros(3))
