"""Ranking of candidate regimens: by hand, with ties, and with refused ones."""

import math

import numpy as np
import pytest

from dosewright.evaluation.ope.ranking import ranking, top_k

VALUES = [1.0, 2.0, 3.0, 4.0]
GUESSES = [1.5, 3.0, 2.0, 5.0]  # the middle two are swapped


def test_by_hand() -> None:
    found = ranking(GUESSES, VALUES)
    assert found.rmse == pytest.approx(math.sqrt((0.25 + 1.0 + 1.0 + 1.0) / 4.0))
    assert found.mae == pytest.approx((0.5 + 1.0 + 1.0 + 1.0) / 4.0)
    assert found.spearman == pytest.approx(1.0 - 6.0 * 2.0 / (4.0 * 15.0))
    assert found.kendall_tau_b == pytest.approx((5.0 - 1.0) / 6.0)


def test_the_best_by_estimate() -> None:
    found = top_k([1.0, 9.0, 8.0, 2.0], VALUES, k=2, behaviour_value=1.5)
    assert (found.best, found.worst, found.mean, found.std) == (3.0, 2.0, 2.5, 0.5)
    assert found.regret == 1.0 and found.normalised_regret == pytest.approx(1.0 / 3.0)
    assert found.sharpe_ratio == pytest.approx(1.5 / 0.5)
    assert found.sharpe_ratio_ddof1 == pytest.approx(1.5 / math.sqrt(0.5))


def test_everything_chosen_has_no_regret() -> None:
    assert top_k(GUESSES, VALUES, k=4, behaviour_value=0.0).regret == 0.0


def test_ties_do_not_profit_from_the_order_of_the_list() -> None:
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        values = np.array(VALUES)[order]
        assert top_k(np.zeros(4), values, k=1, behaviour_value=0.0).best == 1.0
    found = ranking([1.0, 1.0, 2.0], [1.0, 2.0, 3.0])
    assert found.kendall_tau_b == pytest.approx(2.0 / math.sqrt(3.0 * 2.0))  # one tie on one side
    assert found.spearman == pytest.approx(math.sqrt(3.0) / 2.0)


def test_refused_regimens_are_counted_and_not_chosen() -> None:
    found = ranking([math.nan, 3.0, 2.0, 5.0], VALUES)
    assert found.n_refused == 1 and found.mae == 1.0
    best = top_k([1.0, 2.0, 3.0, math.nan], VALUES, k=1, behaviour_value=0.0)
    assert best.best == 3.0 and best.regret == 1.0  # the refused one was the best


def test_nothing_to_choose_between() -> None:
    assert math.isnan(ranking([1.0, 1.0], VALUES[:2]).spearman)
    assert math.isnan(ranking([1.0, 2.0], [1.0, 1.0]).kendall_tau_b)
    one = top_k(GUESSES, VALUES, k=1, behaviour_value=1.0)
    assert one.sharpe_ratio == math.inf and math.isnan(one.sharpe_ratio_ddof1)
    equal = top_k([1.0, 2.0, 3.0], [0.1, 0.1, 0.1], k=3, behaviour_value=0.1)
    assert math.isnan(equal.sharpe_ratio) and equal.normalised_regret == 0.0
    assert top_k([1.0, 2.0], [0.1, 0.1], k=2, behaviour_value=0.2).sharpe_ratio_ddof1 == -math.inf


def test_refusals() -> None:
    for call, message in (
        (
            lambda: ranking([math.nan, 1.0], VALUES[:2]),
            "1 of 2 regimens have an estimate; expected at least 2",
        ),
        (lambda: ranking([1.0, 2.0], [1.0, math.nan]), "regimen 1 has estimate 2.0 and value nan"),
        (lambda: ranking([1.0, math.inf], [1.0, 2.0]), "regimen 1 has estimate inf"),
        (lambda: ranking([1.0], VALUES), r"estimates have shape \(1,\) and values \(4,\)"),
        (lambda: top_k([1.0, math.nan], VALUES[:2], 2, 0.0), "k = 2; expected 1 to 1"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
