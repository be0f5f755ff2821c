"""The price of harm: up above the budget, down below it, and held in bounds."""

from __future__ import annotations

import math

import pytest

from dosewright.agents.learning.multiplier import Multiplier


@pytest.mark.parametrize(
    ("events", "factor"),
    [
        (0.0, math.exp(-0.2)),  # the largest step down
        (0.05, math.exp(-0.1)),
        (0.1, 1.0),
        (0.15, math.exp(0.1)),
        (0.2, math.exp(0.2)),  # and up
        (0.9, math.exp(0.2)),
    ],
)
def test_price_follows_the_events_against_the_budget(events: float, factor: float) -> None:
    price = Multiplier(value=0.5, budget=0.1, rate=0.2)
    price.learn(events)
    assert price.value == pytest.approx(0.5 * factor, rel=1e-12)


@pytest.mark.parametrize("events", [0.0, 0.1, 1.0])
def test_without_a_rate_the_price_stays(events: float) -> None:
    price = Multiplier(0.5, 0.1, 0.0)
    for _ in range(20):
        price.learn(events)
    assert price.value == 0.5


def test_price_is_bounded_and_never_lost() -> None:
    price = Multiplier(1.0, 0.1, 1.0)
    for _ in range(50):
        price.learn(1.0)
    assert price.value == 100.0
    for _ in range(50):
        price.learn(0.0)
    assert 0.0 < price.value < 1e-15
    price.learn(1.0)  # from however little, it rises again
    assert price.value > 2.7 * 100.0 * math.exp(-50.0)


@pytest.mark.parametrize("first", [0.001, 5.0])
def test_price_settles_where_the_events_are_at_the_budget(first: float) -> None:
    price = Multiplier(first, budget=0.05, rate=0.3)
    for _ in range(200):
        price.learn(0.3 * math.exp(-price.value))  # whoever pays more is harmed less
    assert price.value == pytest.approx(math.log(0.3 / 0.05), rel=1e-6)
