"""Margins, several comparisons and several seeds: by hand, against SciPy, and in agreement with intervals."""

import math
from typing import Literal

import numpy as np
import pytest
from scipy import stats

from dosewright.evaluation.statistics import (
    Difference,
    holm,
    interquartile_mean,
    noninferiority,
    p_value,
    paired_difference,
    paired_proportion_difference,
    unpaired_difference,
)


def normal(mean: float, standard_error: float) -> Difference:
    half = float(stats.norm.ppf(0.975)) * standard_error
    return Difference(mean, mean - half, mean + half, standard_error, 100, 0.95)


@pytest.mark.parametrize("null", [0.0, 0.3, -2.0])
def test_p_of_a_paired_difference_is_students(null: float) -> None:
    a, b = np.random.default_rng(1).normal(0.4, 1.0, (2, 12))
    found = paired_difference(a, b, level=0.8)
    alternatives: tuple[Literal["two-sided", "greater", "less"], ...] = ("two-sided", "greater", "less")
    for alternative in alternatives:
        _, expected = stats.ttest_1samp(a - b, null, alternative=alternative)
        assert p_value(found, null, alternative) == pytest.approx(expected, rel=1e-10)


def test_p_of_separate_groups_is_welchs() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.normal(0.5, 2.0, 8), rng.normal(0.0, 0.5, 20)
    _, expected = stats.ttest_ind(a, b, equal_var=False)
    assert p_value(unpaired_difference(a, b)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("only_a", range(0, 16, 3))
def test_p_and_interval_of_proportions_agree(only_a: int) -> None:
    a, b = np.arange(200) < only_a, np.arange(200) >= 196
    found = paired_proportion_difference(a, b)
    # the value at the limit has p 0.05, one a little inside more, one a little outside less
    assert p_value(found, found.low) == pytest.approx(0.05)
    assert p_value(found, found.low + 1e-6) > 0.05 > p_value(found, found.low - 1e-6)
    assert p_value(found, found.high, "less") == pytest.approx(0.025)


def test_no_event_is_no_certainty() -> None:
    # Wald would put p = 0 on every margin; 100 patients without an event exclude 3.7 % and more
    nobody = paired_proportion_difference(np.zeros(100), np.zeros(100))
    assert noninferiority(nobody, 0.05, higher_is_better=False).verdict == "non-inferior"
    close = noninferiority(nobody, 0.03, higher_is_better=False)
    assert close.verdict == "inconclusive"
    assert 0.025 < close.p_noninferior < 0.1


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0.30, "superior"), (0.05, "non-inferior"), (-0.15, "inconclusive"), (-0.25, "inconclusive"),
     (-0.45, "inferior")],
)  # fmt: skip
def test_verdicts_of_a_benefit_and_of_a_harm(mean: float, verdict: str) -> None:
    # margin 0.2, half-width 0.2 - a little
    benefit = noninferiority(normal(mean, 0.1), 0.2, higher_is_better=True)
    harm = noninferiority(normal(-mean, 0.1), 0.2, higher_is_better=False)
    assert benefit.verdict == harm.verdict == verdict
    assert benefit.p_noninferior == pytest.approx(stats.norm.sf((mean + 0.2) / 0.1))
    assert harm.p_noninferior == pytest.approx(benefit.p_noninferior)
    assert harm.p_superior == pytest.approx(stats.norm.sf(mean / 0.1))
    assert (benefit.p_noninferior < 0.025) == (verdict in ("superior", "non-inferior"))


def test_a_verdict_reads_as_a_sentence() -> None:
    assert str(noninferiority(normal(0.30, 0.1), 0.2, higher_is_better=True)) == (
        "superior: 0.3 (95 % interval 0.104 to 0.496; higher is better, margin 0.2, "
        "p non-inferior 2.9e-07, p superior 0.0013)"
    )


def test_an_unlimited_interval_decides_nothing() -> None:
    open_ended = Difference(0.4, -math.inf, math.inf, 0.1, 50, 0.95)
    assert p_value(open_ended) == 1.0
    assert noninferiority(open_ended, 0.1, higher_is_better=True).verdict == "inconclusive"


def test_a_difference_without_spread() -> None:
    shift, none = paired_difference([1.0, 2.0], [0.5, 1.5]), paired_difference([1.0, 2.0], [1.0, 2.0])
    assert (p_value(shift), p_value(none)) == (0.0, 1.0)


def test_holm_by_hand() -> None:
    # sorted 0.005·4, 0.01·3, 0.03·2, 0.04·1, and none below the one before
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]).tolist() == [1.0, 1.0]
    assert holm([0.2]).tolist() == [0.2]


def test_holm_keeps_its_level() -> None:
    # 4000 families of five true hypotheses that share a reference: binomial standard error 0.0034
    rng = np.random.default_rng(3)
    z = (rng.normal(size=(4000, 5)) - rng.normal(size=(4000, 1))) / math.sqrt(2)
    wrong = np.mean([holm(p).min() < 0.05 for p in 2 * stats.norm.sf(np.abs(z))])
    assert 0.02 < wrong < 0.05 + 4 * 0.0034


def test_interquartile_mean_by_hand() -> None:
    # eight scores: the mean of 3, 4, 5, 6
    scores = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 800.0]])
    assert interquartile_mean(scores, seed=1).mean == 4.5


def test_tasks_are_strata() -> None:
    # runs that agree on every task leave no doubt, however far apart the tasks are
    alike = interquartile_mean(np.tile([1.0, 5.0, 9.0, 13.0], (6, 1)), seed=1)
    assert (alike.low, alike.mean, alike.high) == (7.0, 7.0, 7.0)
    shuffled = np.random.default_rng(2).permuted(np.tile([1.0, 5.0, 9.0, 13.0], (6, 1)), axis=1)
    found, again = (interquartile_mean(shuffled, seed=3) for _ in range(2))
    assert found.low < found.mean < found.high
    assert found == again


def test_interquartile_mean_covers() -> None:
    # 300 experiments of 10 runs on 4 tasks: binomial standard error 0.0126. Normal scores around a level of
    # each task far from the others: the middle two tasks make up the middle half, so the truth is their mean
    rng = np.random.default_rng(4)
    levels = np.array([0.0, 40.0, 50.0, 90.0])
    found = [
        interquartile_mean(levels + rng.normal(size=(10, 4)), seed, resamples=400) for seed in range(300)
    ]
    covered = np.mean([f.low <= 45.0 <= f.high for f in found])
    # percentiles of 10 runs are a tenth too narrow: 0.95 becomes 0.93
    assert abs(covered - 0.93) < 4 * 0.0126


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"p_values\[1\] = 1.2"):
        holm([0.1, 1.2])
    with pytest.raises(ValueError, match=r"p_values\[0\] = nan"):
        holm([math.nan])
    with pytest.raises(ValueError, match=r"p_values has shape \(0,\)"):
        holm([])
    with pytest.raises(ValueError, match="margin = -0.1"):
        noninferiority(normal(0.0, 1.0), -0.1, higher_is_better=True)
    with pytest.raises(ValueError, match="without them there is no test"):
        p_value(Difference(0.0, math.nan, math.nan, 0.0, 10, 0.95))
    with pytest.raises(ValueError, match="alternative = 'both'"):
        p_value(normal(0.0, 1.0), alternative="both")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"scores has shape \(1, 3\)"):
        interquartile_mean([[1.0, 2.0, 3.0]], seed=1)
    with pytest.raises(ValueError, match=r"scores\[1, 0\] = nan \(run 1, task 0\)"):
        interquartile_mean([[1.0], [math.nan]], seed=1)
    with pytest.raises(ValueError, match="resamples = 1"):
        interquartile_mean([[1.0], [2.0]], seed=1, resamples=1)
