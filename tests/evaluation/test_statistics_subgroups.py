"""Interaction and the gap between subgroups: against Welch's t, by hand, and in simulated trials."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.statistics import interaction, worst_group_gap


def test_two_groups_are_welchs_t() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.0, 1.0, 50), rng.normal(0.0, 1.0, 50)
    group = np.where(np.arange(50) < 15, "poor", "normal")
    found, d = interaction(a, b, group, smallest=2), a - b
    theirs: Any = stats.ttest_ind(d[:15], d[15:], equal_var=False)
    assert found.p == pytest.approx(theirs.pvalue, rel=1e-10)
    assert found.f == pytest.approx(theirs.statistic**2, rel=1e-10)
    assert found.df_within == pytest.approx(theirs.df, rel=1e-10)


def test_cochrans_q_by_hand() -> None:
    # differences 0 ± 1, 2 ± 1, 4 ± 1 in groups of two: variances of the means 1, weights 1, mean 2
    d = [-1.0, 1.0, 1.0, 3.0, 3.0, 5.0]
    found = interaction(d, np.zeros(6), ["x", "x", "y", "y", "z", "z"], smallest=2)
    assert (found.q, found.df) == (pytest.approx(8.0), 2)
    assert found.i_squared == pytest.approx(1 - 2 / 8)
    # Welch 1951 with (1 - 1/3)²/1 in each of three groups
    slack = 3 * (2 / 3) ** 2
    assert found.f == pytest.approx(8 / 2 / (1 + 2 / 8 * slack))
    assert found.df_within == pytest.approx(8 / (3 * slack))
    assert {name: x.mean for name, x in found.differences.items()} == {"x": 0.0, "y": 2.0, "z": 4.0}


def test_interaction_keeps_its_level_in_small_groups() -> None:
    # 1000 trials, groups of 10, 20 and 40 with unequal spread: binomial standard error 0.0069 at 0.05.
    # Q against chi-square rejects too often
    rng = np.random.default_rng(2)
    group = np.repeat(["x", "y", "z"], [10, 20, 40])
    spread = np.repeat([3.0, 1.0, 2.0], [10, 20, 40])
    found = [interaction(rng.normal(0.0, spread), np.zeros(70), group, smallest=5) for _ in range(1000)]
    assert abs(np.mean([f.p < 0.05 for f in found]) - 0.05) < 4 * 0.0069
    assert np.mean([stats.chi2.sf(f.q, 2) < 0.05 for f in found]) > 0.06


def test_interaction_finds_one() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.0, 1.0, (2, 300))
    group = np.arange(300) % 3
    assert interaction(a, b, group, smallest=20).p > 0.05
    assert interaction(a + (group == 2), b, group, smallest=20).p < 1e-6


def test_small_groups_are_named_and_left_out() -> None:
    group = ["x"] * 30 + ["y"] * 30 + ["rare"] * 3
    a = np.random.default_rng(4).normal(size=63)
    found, gap = interaction(a, np.zeros(63), group, 20), worst_group_gap(a, group, 20, seed=1)
    assert found.left_out == gap.left_out == {"rare": 3}
    assert set(found.differences) == set(gap.means) == {"x", "y"}


def test_no_answer_says_why() -> None:
    a = np.random.default_rng(5).normal(size=60)
    group = np.repeat(["x", "y"], 30)
    alone = interaction(a, np.zeros(60), group, smallest=31)
    assert math.isnan(alone.p)
    assert str(alone) == "no test of interaction: no subgroup of at least 31 patients; two are needed"
    harmless = np.where(group == "x", 0.0, np.arange(60) % 2)
    flat = interaction(harmless, np.zeros(60), group, smallest=10)
    assert math.isnan(flat.p)
    assert flat.reason == "all patients of subgroup 'x' have the same value, its spread is unknown"
    gap = worst_group_gap(harmless, group, smallest=10, seed=1)
    assert (gap.gap, gap.reason) == (pytest.approx(0.5), flat.reason)
    assert math.isnan(gap.low)


def test_gap_names_both_ends_and_repeats() -> None:
    rng = np.random.default_rng(6)
    group = np.repeat(["low", "middle", "high"], 100)
    x = rng.normal(np.repeat([0.0, 1.0, 3.0], 100), 1.0)
    found = worst_group_gap(x, group, smallest=20, seed=7)
    assert (found.highest, found.lowest) == ("high", "low")
    assert found.gap == pytest.approx(found.means["high"].mean - found.means["low"].mean)
    assert found.low < 3.0 < found.high
    assert found == worst_group_gap(x, group, smallest=20, seed=7)
    # one value for all pairs lies between the quantile of a single pair and Bonferroni's for three
    c = (found.gap - found.low) / math.hypot(*(found.means[name].standard_error for name in ("high", "low")))
    assert stats.norm.ppf(1 - 0.05 / 2) < c < stats.t.ppf(1 - 0.05 / 6, 99) + 0.1


@pytest.mark.parametrize(
    ("means", "floor", "ceiling"),
    # binomial standard error of 300 trials 0.0126 at 0.95; equal groups reach the level, unequal exceed it
    [([0.0, 0.0, 0.0, 0.0], 0.95 - 4 * 0.0126, 0.99), ([0.0, 0.2, 0.4, 0.6], 0.95 - 4 * 0.0126, 1.0)],
)
def test_gap_covers(means: list[float], floor: float, ceiling: float) -> None:
    rng = np.random.default_rng(8)
    sizes, spread = [80, 40, 40, 25], np.array([1.0, 2.0, 1.0, 1.5])
    group = np.repeat(["a", "b", "c", "d"], sizes)
    truth = max(means) - min(means)
    found = [
        worst_group_gap(
            rng.normal(np.repeat(means, sizes), np.repeat(spread, sizes)), group, 20, seed, resamples=300
        )
        for seed in range(300)
    ]
    covered = np.mean([gap.low <= truth <= gap.high for gap in found])
    assert floor < covered < ceiling
    # what an interval around the picked pair alone would miss: the estimate is too large
    assert np.mean([gap.gap for gap in found]) > truth + 0.1


def test_refusals() -> None:
    x = [1.0, 2.0, 3.0, 4.0]
    with pytest.raises(ValueError, match=r"group\[2\] is missing \(patient 2\)"):
        worst_group_gap(x, np.array(["a", "a", None, "b"], dtype=object), 2, seed=1)
    with pytest.raises(ValueError, match=r"group\[0\] is missing"):
        interaction(x, x, [math.nan, 1.0, 1.0, 1.0], 2)
    with pytest.raises(ValueError, match=r"group has shape \(3,\); expected \(4,\)"):
        interaction(x, x, ["a", "a", "b"], 2)
    with pytest.raises(ValueError, match="smallest = 1"):
        worst_group_gap(x, ["a", "a", "b", "b"], 1, seed=1)
    with pytest.raises(ValueError, match="resamples = 0"):
        worst_group_gap(x, ["a", "a", "b", "b"], 2, seed=1, resamples=0)
