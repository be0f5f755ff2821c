"""Intervals of a virtual trial and weighted means against statsmodels, on random data.

These need the `oracles` extra; `make test-extras` installs it and runs them.
"""

import numpy as np
import pytest

from dosewright.evaluation.statistics import (
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
)

pytestmark = pytest.mark.oracles
proportion = pytest.importorskip("statsmodels.stats.proportion")
weightstats = pytest.importorskip("statsmodels.stats.weightstats")
contingency = pytest.importorskip("statsmodels.stats.contingency_tables")


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("n", [3, 40, 700])
def test_mean_and_paired_t_interval(n: int, level: float) -> None:
    a, b = np.random.default_rng(n).gamma(2.0, 3.0, (2, n))
    mine, theirs = mean_interval(a, level), weightstats.DescrStatsW(a).tconfint_mean(1 - level)
    assert (mine.low, mine.high) == pytest.approx(theirs, rel=1e-12)
    paired, theirs = paired_difference(a, b, level), weightstats.DescrStatsW(a - b).tconfint_mean(1 - level)
    assert (paired.low, paired.high) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(("events", "n"), [(0, 12), (1, 12), (12, 12), (37, 4000)])
def test_wilson_interval(events: int, n: int) -> None:
    mine = proportion_interval(np.arange(n) < events)
    theirs = proportion.proportion_confint(events, n, method="wilson")
    assert (mine.low, mine.high) == pytest.approx(theirs, abs=1e-12)


def test_standard_error_of_a_paired_proportion_is_mcnemars() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(500) < 0.1, rng.random(500) < 0.05
    mine = paired_proportion_difference(a, b)
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    # McNemar's statistic uses the variance under equality, (b + c)/n²; the Wald one takes off (b − c)²/n³
    statistic = contingency.mcnemar(table, exact=False, correction=False).statistic
    under_equality = mine.mean**2 / statistic
    assert mine.standard_error**2 == pytest.approx(under_equality - mine.mean**2 / 500, rel=1e-12)
