"""Statistics of a virtual trial against statsmodels and lifelines, on random data.

These need the `oracles` extra; `make test-extras` installs it and runs them.
"""

import warnings

import numpy as np
import pytest

from dosewright.evaluation.statistics import (
    FollowUp,
    cumulative_incidence,
    event_rate,
    exact_proportion_interval,
    holm,
    interaction,
    kaplan_meier,
    mcnemar_exact,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
    rate_difference,
    rate_ratio,
    restricted_mean,
    risk_ratio,
    unpaired_difference,
    unpaired_proportion_difference,
)

pytestmark = pytest.mark.oracles
proportion = pytest.importorskip("statsmodels.stats.proportion")
weightstats = pytest.importorskip("statsmodels.stats.weightstats")
contingency = pytest.importorskip("statsmodels.stats.contingency_tables")
rates = pytest.importorskip("statsmodels.stats.rates")
multitest = pytest.importorskip("statsmodels.stats.multitest")
oneway = pytest.importorskip("statsmodels.stats.oneway")
survfunc = pytest.importorskip("statsmodels.duration.survfunc")
lifelines = pytest.importorskip("lifelines")
lifelines_utils = pytest.importorskip("lifelines.utils")


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


@pytest.mark.parametrize(("events", "n"), [(0, 12), (1, 12), (12, 12), (37, 4000)])
def test_clopper_pearson_interval(events: int, n: int) -> None:
    mine = exact_proportion_interval(np.arange(n) < events)
    theirs = proportion.proportion_confint(events, n, method="beta")
    assert (mine.low, mine.high) == pytest.approx(theirs, abs=1e-12)


@pytest.mark.parametrize(("x_a", "n_a", "x_b", "n_b"), [(3, 20, 9, 35), (40, 41, 1, 60), (80, 500, 114, 500)])
def test_two_separate_proportions(x_a: int, n_a: int, x_b: int, n_b: int) -> None:
    a, b, theirs = np.arange(n_a) < x_a, np.arange(n_b) < x_b, proportion.confint_proportions_2indep
    difference, ratio = unpaired_proportion_difference(a, b, 0.9), risk_ratio(a, b, 0.9)
    newcombe = theirs(x_a, n_a, x_b, n_b, compare="diff", method="newcomb", alpha=0.1)
    katz = theirs(x_a, n_a, x_b, n_b, compare="ratio", method="log", alpha=0.1)
    assert (difference.low, difference.high) == pytest.approx(newcombe, rel=1e-12)
    assert (ratio.low, ratio.high) == pytest.approx(katz, rel=1e-12)


def test_welch_interval() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.gamma(2.0, 1.0, 9), rng.gamma(1.0, 5.0, 30)
    compared = weightstats.CompareMeans(weightstats.DescrStatsW(a), weightstats.DescrStatsW(b))
    mine = unpaired_difference(a, b, 0.9)
    assert (mine.low, mine.high) == pytest.approx(compared.tconfint_diff(0.1, usevar="unequal"), rel=1e-12)


def test_exact_mcnemar() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.random(300) < 0.1, rng.random(300) < 0.07
    table = np.array([[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]])
    assert mcnemar_exact(a, b) == pytest.approx(contingency.mcnemar(table, exact=True).pvalue, rel=1e-12)


@pytest.mark.parametrize(("x_a", "x_b"), [(3, 12), (150, 90), (1, 2)])
def test_rates(x_a: int, x_b: int) -> None:
    a, b = event_rate([x_a, 0], [10.0, 4.0]), event_rate([x_b, 0], [20.0, 3.5])
    exact = rates.confint_poisson(x_a, 14.0, method="exact-c")
    assert (a.low, a.high) == pytest.approx(exact, rel=1e-12)
    score = rates.confint_poisson_2indep(x_a, 14.0, x_b, 23.5, method="score", compare="ratio")
    ratio, apart = rate_ratio(a, b), rate_difference(a, b)
    # statsmodels inverts the test by a simplex search that stops at 1e-8 of a squared distance
    assert (ratio.low, ratio.high) == pytest.approx(score, rel=1e-6)
    mover = rates.confint_poisson_2indep(x_a, 14.0, x_b, 23.5, method="mover", compare="diff")
    assert (apart.low, apart.high) == pytest.approx(mover, rel=1e-10)


def test_holm() -> None:
    p = np.random.default_rng(7).random(20) ** 3
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1], rel=1e-12)


def test_interaction_is_welchs_analysis_of_variance() -> None:
    rng = np.random.default_rng(8)
    group = rng.integers(0, 4, 120)
    a, b = rng.normal(group * 0.2, 1.0 + group), rng.normal(0.0, 1.0, 120)
    mine = interaction(a, b, group, smallest=5)
    theirs = oneway.anova_oneway([(a - b)[group == g] for g in range(4)], use_var="unequal")
    assert (mine.f, mine.p) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-10)
    assert (mine.df, mine.df_within) == pytest.approx(theirs.df, rel=1e-10)


def visits(n: int = 250) -> tuple[np.ndarray, np.ndarray]:
    """Tied visits; censored, harm, drop-out."""
    rng = np.random.default_rng(9)
    return rng.integers(1, 13, n).astype(float), rng.integers(0, 3, n)


def test_kaplan_meier_with_ties() -> None:
    time, cause = visits()
    mine = kaplan_meier(FollowUp(time, cause), 0.9)
    theirs = lifelines.KaplanMeierFitter(alpha=0.1).fit(time, cause == 1)
    assert mine.probability == pytest.approx(theirs.survival_function_.to_numpy()[1:, 0], abs=1e-14)
    limits = theirs.confidence_interval_.to_numpy()[1:]
    assert mine.low == pytest.approx(limits[:, 0], abs=1e-12)
    assert mine.high == pytest.approx(limits[:, 1], abs=1e-12)
    greenwood = survfunc.SurvfuncRight(time, (cause == 1).astype(int)).surv_prob_se
    assert mine.standard_error == pytest.approx(greenwood, rel=1e-12)


def test_restricted_mean() -> None:
    time, cause = visits()
    fitted = lifelines.KaplanMeierFitter().fit(time, cause == 1)
    theirs = lifelines_utils.restricted_mean_survival_time(fitted, t=8.5)
    assert restricted_mean(FollowUp(time, cause), 8.5).mean == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("cause", [1, 2])
def test_incidence_with_ties(cause: int) -> None:
    time, causes = visits()
    mine = cumulative_incidence(FollowUp(time, causes), cause)
    theirs = survfunc.CumIncidenceRight(time, causes)
    assert mine.probability == pytest.approx(theirs.cinc[cause - 1], rel=1e-12)
    assert mine.standard_error == pytest.approx(theirs.cinc_se[cause - 1], rel=1e-10)


def test_incidence_and_its_interval_without_ties() -> None:
    _, causes = visits()
    time = np.random.default_rng(10).exponential(5.0, len(causes))
    mine = cumulative_incidence(FollowUp(time, causes), level=0.9)
    with warnings.catch_warnings():  # log of 0 before the first event
        warnings.simplefilter("ignore", RuntimeWarning)
        theirs = lifelines.AalenJohansenFitter(alpha=0.1).fit(time, causes, event_of_interest=1)
    assert mine.probability == pytest.approx(theirs.cumulative_density_.to_numpy()[1:, 0], abs=1e-14)
    limits = theirs.confidence_interval_.to_numpy()[1:]
    # lifelines divides by zero where nobody is left
    known = np.isfinite(mine.low) & (np.arange(len(causes)) < len(causes) - 1)
    assert mine.low[known] == pytest.approx(limits[known, 0], abs=1e-10)
    assert mine.high[known] == pytest.approx(limits[known, 1], abs=1e-10)
