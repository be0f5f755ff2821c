"""The distribution of returns: by hand, the definition of each functional, derivatives, and intervals."""

import math
from collections.abc import Callable

import numpy as np
import pytest

from dosewright.evaluation.ope import wis
from dosewright.evaluation.ope.distribution import ReturnDistribution

# weights 1/10, 2/10, 3/10, 4/10 of returns 4, 2, 2, 7
FOUR = ReturnDistribution(np.array([4.0, 2.0, 2.0, 7.0]), np.log([1.0, 2.0, 3.0, 4.0]), 10.0 / 3.0, None)


def test_by_hand() -> None:
    mean = 0.1 * 4 + 0.5 * 2 + 0.4 * 7
    assert FOUR.mean().value == pytest.approx(mean)
    assert FOUR.variance().value == pytest.approx(0.1 * 16 + 0.5 * 4 + 0.4 * 49 - mean**2)
    assert [FOUR.cdf(x).value for x in (1.9, 2.0, 4.0, 7.0)] == pytest.approx([0.0, 0.5, 0.6, 1.0])
    assert FOUR.cdf_unnormalised(2.0).value == pytest.approx((2.0 + 3.0) / 4.0)
    # the worst 55 %: all of the twos and half of the four
    assert FOUR.cvar_lower(0.55).value == pytest.approx((0.5 * 2 + 0.05 * 4) / 0.55)
    assert FOUR.cvar_lower(0.1).value == pytest.approx(2.0)
    assert FOUR.cvar_lower(1.0).value == pytest.approx(mean)
    assert [FOUR.quantile(p).mean for p in (0.3, 0.5, 0.55, 0.6, 0.61)] == [2.0, 2.0, 4.0, 4.0, 7.0]


def test_a_return_at_the_grid_point_counts() -> None:
    # "<" instead of "<=" would move every quantile by a cell of the grid
    even = ReturnDistribution(np.arange(20.0), np.zeros(20), 20.0, None)
    assert even.cdf(4.0).value == pytest.approx(0.25)
    assert [even.quantile(p).mean for p in (0.05, 0.25, 0.5, 0.95)] == [0.0, 4.0, 9.0, 18.0]


def test_enumerated_log_has_the_exact_distribution(process: Callable) -> None:
    logged = process(2, 1.0).every_course()
    found = ReturnDistribution.of(logged.log, logged.weights)
    assert found.mean().value == pytest.approx(logged.truth)
    chances = {}
    for start in (0, 1):  # target: by the process's tables
        for a, p in enumerate(np.array([[0.25, 0.75], [0.5, 0.5]])[start]):
            adverse = [[0.0, 0.25], [0.25, 0.5]][start][a]
            chances["adverse first"] = chances.get("adverse first", 0.0) + 0.5 * p * adverse
    # -2 at once, or 0 then -2, is a return of at most -2; the first part alone is
    assert found.cdf(-2.0).value > chances["adverse first"]
    ended = logged.log.terminated & (logged.log.lengths == 1)
    assert float(found.share[ended].sum()) == pytest.approx(chances["adverse first"])


def test_mean_is_wis(process: Callable) -> None:
    logged = process(3, 0.9).draw(80, 1)
    found, expected = (
        ReturnDistribution.of(logged.log, logged.weights, 0.9).mean(),
        wis(logged.log, logged.weights, 0.9),
    )
    assert found.value == pytest.approx(expected.value)
    assert found.influence == pytest.approx(expected.influence)
    assert found.degrees_of_freedom == expected.degrees_of_freedom


@pytest.mark.parametrize(
    "functional",
    [
        ReturnDistribution.mean,
        ReturnDistribution.variance,
        lambda d: d.cdf(0.0),
        lambda d: d.cdf_unnormalised(0.0),
        lambda d: d.cvar_lower(0.3),
    ],
)
def test_influence_is_the_derivative(functional: Callable, process: Callable, derivative: Callable) -> None:
    logged = process(3, 0.9).draw(40, 2)

    def found(some):  # noqa: ANN001, ANN202
        return functional(ReturnDistribution.of(some.log, some.weights, 0.9))

    influence = found(logged).influence
    assert influence.mean() == pytest.approx(0.0, abs=1e-12)
    for patient in (0, 5, 11):
        moved = derivative(lambda some: found(some).value, logged, patient)
        assert influence[patient] == pytest.approx(moved, rel=0.01, abs=2e-3)


def test_cvar_is_its_variational_form(process: Callable) -> None:
    logged = process(4, 1.0).draw(60, 3)
    found = ReturnDistribution.of(logged.log, logged.weights)
    for a in (0.05, 0.3, 0.8):
        best = max(
            q - float(found.share @ np.maximum(q - found.returns, 0.0)) / a for q in np.unique(found.returns)
        )
        assert found.cvar_lower(a).value == pytest.approx(best, rel=1e-12)


def test_unit_of_the_weights_does_not_matter() -> None:
    far = ReturnDistribution(FOUR.returns, FOUR.log_weight - 5000.0, FOUR.effective_sample_size, None)
    assert far.cvar_lower(0.3).value == pytest.approx(FOUR.cvar_lower(0.3).value)
    assert vars(far.cdf_interval(2.0)) == pytest.approx(vars(FOUR.cdf_interval(2.0)))


def test_cdf_interval_is_wilsons_without_weights() -> None:
    # 3 of 40, Student's t with 39 degrees of freedom in the place of z: by the score equation
    even = ReturnDistribution(np.arange(40.0), np.zeros(40), 40.0, None)
    found = even.cdf_interval(2.0)
    t = 2.0226909
    for limit in (found.low, found.high):
        assert (0.075 - limit) ** 2 == pytest.approx(t**2 * limit * (1.0 - limit) / 40.0, rel=1e-6)
    nobody = even.cdf_interval(-1.0)
    assert (nobody.mean, nobody.low) == (0.0, 0.0) and nobody.high == pytest.approx(t**2 / (40.0 + t**2))


def test_rare_returns_are_covered_where_the_delta_interval_fails() -> None:
    # a return of 2 % probability among 100 patients of unequal weight
    rng, held = np.random.default_rng(1), np.zeros(2)
    for _ in range(300):
        log_weight = 0.8 * rng.normal(size=100)
        share = np.exp(log_weight) / np.exp(log_weight).sum()
        returns = (rng.random(100) > 0.02).astype(float)
        found = ReturnDistribution(returns, log_weight, float(1.0 / (share @ share)), None)
        wilson, delta = found.cdf_interval(0.0), found.cdf(0.0).interval()
        held += [wilson.low <= 0.02 <= wilson.high, delta.low <= 0.02 <= delta.high]
    assert held[0] / 300 >= 0.93 and held[1] / 300 < 0.88


def test_quantile_interval_covers() -> None:
    rng, held = np.random.default_rng(2), 0
    for _ in range(300):
        z = rng.normal(size=(2, 150))
        log_weight = 0.6 * z[0] - 0.18  # the target's z is N(0.6, 1)
        share = np.exp(log_weight) / np.exp(log_weight).sum()
        found = ReturnDistribution(z[0] + z[1], log_weight, float(1.0 / (share @ share)), None).quantile(0.25)
        truth = 0.6 - 0.6744898 * math.sqrt(2.0)
        held += found.low <= truth <= found.high
    assert (
        held / 300 >= 0.93
    )  # 0.99: low returns have small weights here, and the limits allow for large ones


def test_an_extreme_quantile_of_a_small_log_has_no_upper_limit() -> None:
    found = FOUR.quantile(0.95)
    assert found.mean == 7.0 and found.high == math.inf and math.isnan(found.standard_error)


def test_refusals(process: Callable) -> None:
    for call, message in (
        (lambda: FOUR.quantile(0.0), "p = 0.0; expected a probability"),
        (lambda: FOUR.cvar_lower(0.0), "a = 0.0; expected a share"),
        (lambda: FOUR.quantile(0.5, level=1.0), "level = 1.0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
