"""Doubly robust forms and MAGIC: by hand, on a log of every course there is, and by their own derivative."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.doubly_robust import dm, dr, dr_os, switch_dr, wdr
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.importance import pdwis
from dosewright.evaluation.ope.magic import magic, magic_blend
from dosewright.evaluation.ope.weights import importance_weights

FORMS: dict[str, Callable[[Any, Any], Estimate]] = {
    "dr": lambda data, values: dr(data.log, data.weights, values, 0.5),
    "wdr": lambda data, values: wdr(data.log, data.weights, values, 0.5),
    "switch_dr": lambda data, values: switch_dr(data.log, data.weights, values, 0.5, tau=2.0),
    "dr_os": lambda data, values: dr_os(data.log, data.weights, values, 0.5, strength=3.0),
    "magic": lambda data, values: magic(data.log, data.weights, values, 0.5, interval=(-1.0, 1.0)),
}


def log_of(rewards: np.ndarray, behaviour: np.ndarray, mask: np.ndarray) -> Trajectories:
    lost = np.zeros(len(rewards), dtype=bool)
    return Trajectories(
        observations=np.zeros((*rewards.shape, 1)),
        actions=np.zeros(rewards.shape),
        rewards=rewards,
        mask=mask,
        terminated=~lost,
        truncated=lost,
        behaviour_log_prob=np.log(behaviour),
    )


# Patient 0: ratios 2 then 1/2, so weights 2 and 1. Patient 1: ratio 1, then ended.
TWO = log_of(
    np.array([[1.0, 4.0], [3.0, 0.0]]),
    np.array([[0.25, 0.5], [0.5, 1.0]]),
    np.array([[True, True], [True, False]]),
)
TWO_WEIGHTS = importance_weights(TWO, np.log([[0.5, 0.25], [0.5, 1.0]]))
# nan in the padding is never read
TWO_VALUES = ActionValues.of(TWO, [[2.0, 3.0], [1.0, np.nan]], [[2.5, 1.0], [1.5, np.nan]])


def test_two_patients_by_hand() -> None:
    assert dm(TWO, TWO_VALUES).value == pytest.approx(2.0, rel=1e-14)
    first = 2 * (1 - 2) + 2.5 + 0.5 * (1 * (4 - 3) + 2 * 1)
    second = 1 * (3 - 1) + 1.5
    estimate = dr(TWO, TWO_WEIGHTS, TWO_VALUES, gamma=0.5)
    assert estimate.value == pytest.approx((first + second) / 2, rel=1e-14)
    assert estimate.standard_error == pytest.approx(abs(first - second) / 2, rel=1e-14)
    # normalised: (2/3, 1/3) then (1/2, 1/2)
    steps = 2 / 3 * -1 + 1 / 3 * 2 + 2.0 + 0.5 * (0.5 * 1 + 2 / 3 * 1)
    assert wdr(TWO, TWO_WEIGHTS, TWO_VALUES, gamma=0.5).value == pytest.approx(steps, rel=1e-14)


def test_shrunken_forms_by_hand() -> None:
    # surprises r + gamma V' - Q: patient 0 has 1 + 0.5 - 2 and 4 - 3, patient 1 has 3 - 1
    first, second = np.array([1 + 0.5 * 1 - 2, 0.5 * (4 - 3)]), 3 - 1
    cut = switch_dr(TWO, TWO_WEIGHTS, TWO_VALUES, gamma=0.5, tau=1.0)
    assert cut.value == pytest.approx((2.5 + 1 * first[1] + 1.5 + 1 * second) / 2, rel=1e-14)
    shrunk = dr_os(TWO, TWO_WEIGHTS, TWO_VALUES, gamma=0.5, strength=4.0)
    by_hand = (2.5 + 4 * 2 / 8 * first[0] + 4 / 5 * first[1] + 1.5 + 4 / 5 * second) / 2
    assert shrunk.value == pytest.approx(by_hand, rel=1e-14)


def test_one_decision_is_the_form_of_bandits() -> None:
    rng = np.random.default_rng(1)
    behaviour, target = rng.uniform(0.05, 1.0, (50, 1)), rng.uniform(0.05, 1.0, (50, 1))
    log = log_of(rng.normal(size=(50, 1)), behaviour, np.ones((50, 1), dtype=bool))
    weights, w, r = importance_weights(log, np.log(target)), (target / behaviour)[:, 0], log.rewards[:, 0]
    values = ActionValues.of(log, rng.normal(size=(50, 1)), rng.normal(size=(50, 1)))
    surprise, v = w * (r - values.q[:, 0]), values.v[:, 0]
    assert wdr(log, weights, values).value == pytest.approx(v.mean() + surprise.sum() / w.sum(), rel=1e-12)
    expected = (v + (w <= 2) * surprise).mean()
    assert switch_dr(log, weights, values, tau=2.0).value == pytest.approx(expected, rel=1e-12)
    expected = (v + 10 / (w**2 + 10) * surprise).mean()
    assert dr_os(log, weights, values, strength=10.0).value == pytest.approx(expected, rel=1e-12)


def test_switch_and_shrinkage_run_from_the_model_to_dr(process: Callable[..., Any]) -> None:
    data = process(4).draw(300, 1, drop_out=True)
    whole = dr(data.log, data.weights, data.wrong, 0.5)
    for form in (
        switch_dr(data.log, data.weights, data.wrong, 0.5, tau=np.inf),
        dr_os(data.log, data.weights, data.wrong, 0.5, strength=np.inf),
    ):
        assert form.influence == pytest.approx(whole.influence, rel=1e-12)
    model = dm(data.log, data.wrong)
    for form in (
        switch_dr(data.log, data.weights, data.wrong, 0.5, tau=0.0),
        dr_os(data.log, data.weights, data.wrong, 0.5, strength=1e-14),
    ):
        assert form.value == pytest.approx(model.value, abs=1e-10)


@pytest.mark.parametrize("drop_out", [False, True])
@pytest.mark.parametrize("model", ["exact", "wrong"])
def test_on_every_course_there_is(process: Callable[..., Any], model: str, drop_out: bool) -> None:
    data = process(2).every_course(drop_out=drop_out)
    values = getattr(data, model)
    assert dr(data.log, data.weights, values, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    assert wdr(data.log, data.weights, values, 0.5).value == pytest.approx(data.truth, rel=1e-12)
    if model == "exact":
        assert dm(data.log, values).value == pytest.approx(data.truth, rel=1e-12)
        for name in ("switch_dr", "dr_os", "magic"):
            assert FORMS[name](data, values).value == pytest.approx(data.truth, rel=1e-12), name


def test_drop_out_that_nobody_corrects_is_biased(process: Callable[..., Any]) -> None:
    data = process(2).every_course(drop_out=True)
    ignored = importance_weights(data.log, data.target_log_prob)
    assert abs(wdr(data.log, ignored, data.exact, 0.5).value - data.truth) > 0.02


@pytest.mark.parametrize("drop_out", [False, True])
@pytest.mark.parametrize("name", ["dr", "wdr", "switch_dr", "dr_os"])
def test_influence_is_the_derivative(
    process: Callable[..., Any], derivative: Callable[..., float], name: str, drop_out: bool
) -> None:
    data = process(4).draw(30, 3, drop_out=drop_out)
    estimate = FORMS[name](data, data.wrong)
    assert estimate.influence.mean() == pytest.approx(0.0, abs=1e-13)
    for patient in range(0, 30, 4):
        found = derivative(lambda part: FORMS[name](part, part.wrong).value, data, patient)
        assert estimate.influence[patient] == pytest.approx(found, rel=2e-3, abs=2e-3)


def test_influence_of_magic_is_the_derivative_with_the_blend_fixed(
    process: Callable[..., Any], derivative: Callable[..., float]
) -> None:
    data = process(4).draw(30, 3)
    between = (-0.4, 0.2)
    share = magic_blend(data.log, data.weights, data.wrong, 0.5, interval=between).share
    assert np.count_nonzero(share) > 1
    estimate = magic(data.log, data.weights, data.wrong, 0.5, interval=between)

    def blended(part: Any) -> float:
        parts = magic_blend(part.log, part.weights, part.wrong, 0.5, interval=between)
        return float(parts.j_step_returns @ share)

    assert estimate.value == pytest.approx(blended(data), rel=1e-12)
    for patient in range(0, 30, 7):
        assert estimate.influence[patient] == pytest.approx(
            derivative(blended, data, patient), rel=2e-3, abs=2e-3
        )


def test_j_step_returns_run_from_the_model_to_wdr(process: Callable[..., Any]) -> None:
    data = process(4).draw(200, 5, drop_out=True)
    blend = magic_blend(data.log, data.weights, data.wrong, 0.5)
    returns = blend.j_step_returns
    assert returns[0] == pytest.approx(dm(data.log, data.wrong).value, rel=1e-12)
    assert returns[-1] == pytest.approx(wdr(data.log, data.weights, data.wrong, 0.5).value, rel=1e-12)
    # one step by weights, then the model at the states reached
    w, q, v = data.weights, data.wrong.q, data.wrong.v
    by_hand = v[:, 0].mean() + w.normalised[:, 0] @ (data.log.rewards[:, 0] - q[:, 0])
    by_hand += 0.5 * w.normalised_before[:, 1] @ v[:, 1]
    assert returns[1] == pytest.approx(by_hand, rel=1e-12)
    assert blend.share.min() >= 0.0 and blend.share.sum() == pytest.approx(1.0, rel=1e-12)
    low, high = blend.interval
    assert low < returns[-1] < high


def test_blend_is_optimal_on_the_simplex(process: Callable[..., Any]) -> None:
    data = process(6).draw(100, 7)
    blend = magic_blend(data.log, data.weights, data.wrong, 0.5, interval=(-0.2, 0.1))
    w, share = data.weights, blend.share
    residual = w.normalised * (data.log.rewards - data.wrong.q) * 0.5 ** np.arange(6)
    value = w.normalised_before * data.wrong.v * 0.5 ** np.arange(6)
    terms = [residual[:, : j + 1].sum(axis=1) + value[:, : j + 2].sum(axis=1) for j in range(-1, 6)]
    bias = blend.j_step_returns - np.clip(blend.j_step_returns, -0.2, 0.1)
    gradient = (100 * np.cov(np.array(terms)) + np.outer(bias, bias)) @ share
    # Karush-Kuhn-Tucker: one slope on the support, none smaller elsewhere
    slope = gradient @ share
    assert gradient[share > 0] == pytest.approx(np.full((share > 0).sum(), slope), rel=1e-8)
    assert (gradient >= slope * (1 - 1e-8)).all()


def test_magic_repeats_by_its_seed_and_says_when_nobody_carries(process: Callable[..., Any]) -> None:
    data = process(4).draw(100, 9)
    runs = [magic(data.log, data.weights, data.wrong, 0.5, seed=seed).value for seed in (1, 1, 2)]
    assert runs[0] == runs[1] != runs[2]
    never = importance_weights(data.log, np.full(data.states.shape, -np.inf))
    assert np.isnan(magic(data.log, never, data.wrong, 0.5).value)


def test_a_model_of_nothing_is_importance_sampling(process: Callable[..., Any]) -> None:
    data = process(4).draw(100, 11, drop_out=True)
    nothing = ActionValues.of(data.log, np.zeros(data.q.shape), np.zeros(data.q.shape))
    found, expected = wdr(data.log, data.weights, nothing, 0.5), pdwis(data.log, data.weights, 0.5)
    assert found.influence == pytest.approx(expected.influence, abs=1e-12)
    assert found.value == pytest.approx(expected.value, rel=1e-12)
    assert found.effective_sample_size == expected.effective_sample_size


@pytest.mark.parametrize("name", list(FORMS))
def test_order_of_patients_and_padding_do_not_matter(process: Callable[..., Any], name: str) -> None:
    data = process(4).draw(60, 13, drop_out=True)
    order = np.random.default_rng(0).permutation(60)
    plain, moved = FORMS[name](data, data.wrong), FORMS[name](data.select(order), data.select(order).wrong)
    assert moved.value == pytest.approx(plain.value, rel=1e-10)
    assert moved.influence == pytest.approx(plain.influence[order], abs=1e-9)
    padding = np.where(data.log.mask, 0.0, np.nan)
    values = ActionValues.of(data.log, data.wrong.q + padding, data.wrong.v + padding)
    assert FORMS[name](data, values).value == plain.value


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ValueError, match="tau = -1"):
        switch_dr(TWO, TWO_WEIGHTS, TWO_VALUES, tau=-1.0)
    with pytest.raises(ValueError, match="strength = 0"):
        dr_os(TWO, TWO_WEIGHTS, TWO_VALUES, strength=0.0)
    with pytest.raises(ValueError, match="gamma = 2"):
        dr(TWO, TWO_WEIGHTS, TWO_VALUES, gamma=2.0)
    with pytest.raises(ValueError, match="outcome 'fever'"):
        dm(TWO, TWO_VALUES, "fever")
    with pytest.raises(ValueError, match=r"interval = \(2.0, 1.0\)"):
        magic(TWO, TWO_WEIGHTS, TWO_VALUES, interval=(2.0, 1.0))
