"""The network as a regressor: it learns, repeats itself, and serves fitted Q evaluation."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from dosewright.agents.learning.q_network import QNetwork
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.fitted_q_cross_fitted import fqe_cross_fitted
from dosewright.evaluation.ope.target_doses import TargetDoses


def a_curve(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Weight in kg and a dose; a response with an optimum in dose per weight."""
    rng = np.random.default_rng(1)
    x = np.column_stack([rng.normal(70.0, 12.0, n), rng.uniform(0.0, 10.0, n)])
    return x, 500.0 + 100.0 * np.exp(-((x[:, 1] - x[:, 0] / 14.0) ** 2) / 8.0)


def test_learns_a_curve_whatever_the_units() -> None:
    x, y = a_curve(400)
    network = QNetwork(max_epochs=80, seed=3).fit(x[:300], y[:300])
    error = np.sqrt(((network.predict(x[300:]) - y[300:]) ** 2).mean())
    assert error < 0.15 * y.std()
    # in grams and thousandths it is the same problem
    scale = np.array([1000.0, 0.001])
    other = QNetwork(max_epochs=80, seed=3).fit(x[:300] * scale, y[:300] / 1000.0)
    assert 1000.0 * other.predict(x[300:] * scale) == pytest.approx(network.predict(x[300:]), rel=1e-2)


def test_repeats_by_its_seed_and_leaves_other_draws_alone() -> None:
    x, y = a_curve(100)
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = QNetwork(max_epochs=5, seed=1).fit(x, y)
    assert torch.equal(torch.rand(3), expected)
    copy = clone(first)
    assert isinstance(copy, QNetwork)
    again, other = copy.fit(x, y), QNetwork(max_epochs=5, seed=2).fit(x, y)
    assert np.array_equal(first.predict(x), again.predict(x))
    assert not np.array_equal(first.predict(x), other.predict(x))
    assert np.array_equal(first.fit(x, y).predict(x), again.predict(x))  # a second fit forgets the first


def test_stops_early_on_noise() -> None:
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(200, 5)), rng.normal(size=200)
    stopped = QNetwork(patience=3, seed=1).fit(x, y)
    memorised = QNetwork(max_epochs=100, patience=100, held_out=0.0, seed=1).fit(x, y)
    assert stopped.score(x, y) < 0.3 < memorised.score(x, y)


def test_serves_fitted_q_evaluation() -> None:
    # one decision: value 100 exp(-(dose - weight/14)^2 / 8) + 500, target dose weight / 14: 600 for everybody
    x, y = a_curve(200)
    everybody = np.ones(200, dtype=bool)
    log = Trajectories(
        observations=x[:, None, :1],
        actions=x[:, 1:],
        rewards=y[:, None],
        mask=everybody[:, None],
        terminated=everybody,
        truncated=~everybody,
    )
    target = TargetDoses.of(log, x[:, None, :1] / 14.0, np.ones((200, 1, 1)))
    values = fqe_cross_fitted(log, target, regressor=QNetwork(max_epochs=80, seed=1), folds=2)
    assert values.v[:, 0].mean() == pytest.approx(600.0, rel=0.01)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"value nan at \(0, 1\)"):
        QNetwork().fit(np.array([[1.0, np.nan]]), np.array([1.0]))
    with pytest.raises(ValueError, match=r"X has shape \(2, 1\) and y \(3,\)"):
        QNetwork().fit(np.ones((2, 1)), np.ones(3))
    alone = QNetwork(max_epochs=50).fit(np.ones((1, 2)), np.array([4.0]))
    assert alone.predict(np.ones((1, 2))) == pytest.approx([4.0], abs=0.01)


@pytest.mark.parametrize("share", [1.0, -0.1, float("nan")])
def test_a_share_held_out_that_leaves_nothing_to_fit_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"held_out = {share}; expected at least 0 and less than 1"):
        QNetwork(held_out=share).fit(*a_curve(20))


def test_a_constant_feature_counts_for_nothing_however_its_sd_is_rounded() -> None:
    x, y = a_curve(300)
    constant = np.full((300, 1), 0.1)
    assert constant.std() > 0.0  # rounding: what made it a feature with an SD of its own
    network = QNetwork(max_epochs=2, seed=1).fit(np.hstack([x, constant]), y)
    assert network.scale_[2] == 1.0
    near, far = (np.hstack([x[:5], np.full((5, 1), value)]) for value in (0.1, 0.1 + 1e-9))
    assert network.predict(far) == pytest.approx(network.predict(near), rel=1e-6)
