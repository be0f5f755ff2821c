"""Proportions, their differences and ratios, and numbers needed, against published tables and by hand."""

import math

import numpy as np
import pytest

from dosewright.evaluation.statistics import (
    Difference,
    exact_proportion_interval,
    mcnemar_exact,
    number_needed,
    paired_proportion_difference,
    paired_risk_ratio,
    paired_wald_difference,
    risk_ratio,
    unpaired_proportion_difference,
)

Z95 = 1.959963984540054  # standard normal quantile at 0.975


def events(happened: int, n: int) -> np.ndarray:
    return np.arange(n) < happened


def flags(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


@pytest.mark.parametrize(
    ("happened", "n", "published"),
    # Newcombe 1998, Stat Med 17:857-872, table I, method 5
    [
        (81, 263, (0.2527, 0.3676)),
        (15, 148, (0.0578, 0.1617)),
        (0, 20, (0.0, 0.1684)),
        (1, 29, (0.0009, 0.1776)),
    ],
)
def test_clopper_pearson_of_published_data(happened: int, n: int, published: tuple[float, float]) -> None:
    result = exact_proportion_interval(events(happened, n))
    assert (result.low, result.high) == pytest.approx(published, abs=6e-5)


@pytest.mark.parametrize(
    ("a", "b", "published"),
    # Newcombe 1998, Stat Med 17:873-890, table II, method 10
    [((56, 70), (48, 80), (0.0524, 0.3339)), ((9, 10), (3, 10), (0.1705, 0.8090)),
     ((10, 10), (0, 20), (0.6791, 1.0)), ((5, 56), (0, 29), (-0.0381, 0.1926))],
)  # fmt: skip
def test_unpaired_difference_of_published_data(
    a: tuple[int, int], b: tuple[int, int], published: tuple[float, float]
) -> None:
    result = unpaired_proportion_difference(events(*a), events(*b))
    assert (result.low, result.high) == pytest.approx(published, abs=6e-5)
    mirrored = unpaired_proportion_difference(events(*b), events(*a))
    assert (mirrored.low, mirrored.high) == pytest.approx((-result.high, -result.low), abs=1e-15)


def test_paired_wald_by_hand() -> None:
    # 20 patients, 5 only in a, 1 only in b: d = 0.2, se = sqrt(6 - 16/20)/20
    result = paired_wald_difference(*flags(2, 5, 1, 12))
    standard_error = math.sqrt(5.2) / 20
    assert result.mean == pytest.approx(0.2)
    assert (result.low, result.high) == pytest.approx(
        (0.2 - Z95 * standard_error, 0.2 + Z95 * standard_error)
    )
    assert paired_proportion_difference(*flags(2, 5, 1, 12)).standard_error == result.standard_error


def test_risk_ratio_of_the_aspirin_trial() -> None:
    # Physicians' Health Study, infarctions under placebo and aspirin: 1.82 (1.43 to 2.31) in Agresti 2013,
    # Categorical Data Analysis, 3.1
    result = risk_ratio(events(189, 11034), events(104, 11037))
    assert (round(result.ratio, 2), round(result.low, 2), round(result.high, 2)) == (1.82, 1.43, 2.31)


def test_paired_risk_ratio_of_published_data() -> None:
    # Cavo et al. 2012 in Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency Tables, ch. 8
    result = paired_risk_ratio(*flags(59, 6, 16, 80))
    rounded = round(result.ratio, 4), round(result.low, 4), round(result.high, 4)
    assert rounded == (0.8667, 0.7579, 0.9910)
    inverse = paired_risk_ratio(*flags(59, 16, 6, 80))
    assert (1 / inverse.high, 1 / inverse.low) == pytest.approx((result.low, result.high))


def test_no_event_leaves_a_ratio_open() -> None:
    none, some = events(0, 50), events(5, 50)
    nobody = risk_ratio(none, none)
    assert (math.isnan(nobody.ratio), nobody.low, nobody.high) == (True, 0.0, math.inf)
    assert (risk_ratio(none, some).ratio, risk_ratio(none, some).high) == (0.0, math.inf)
    assert (risk_ratio(some, none).ratio, risk_ratio(some, none).low) == (math.inf, 0.0)
    paired = paired_risk_ratio(none, none)
    assert (math.isnan(paired.ratio), paired.low, paired.high) == (True, 0.0, math.inf)
    fewer, more = paired_risk_ratio(none, some), paired_risk_ratio(some, none)
    assert (fewer.ratio, fewer.low) == (0.0, 0.0)
    assert (more.ratio, more.high) == (math.inf, math.inf)
    assert 1 / more.low == pytest.approx(fewer.high)
    # the same five patients twice: not a certain ratio of 1
    same = paired_risk_ratio(some, some)
    assert same.low < 0.9 < 1.1 < same.high


def test_paired_risk_ratio_covers() -> None:
    # 1000 trials of 200 patients with correlated events, true ratio 0.6: binomial standard error 0.007
    rng = np.random.default_rng(8)
    frail = rng.random((1000, 200))
    a = 0.7 * frail + 0.3 * rng.random((1000, 200)) > 0.85
    b = 0.7 * frail + 0.3 * rng.random((1000, 200)) > 0.80
    # P(0.7 U + 0.3 V > c) for c >= 0.7 is (1 - c)^2 / (2 * 0.7 * 0.3)
    truth = (0.15 / 0.20) ** 2
    found = [paired_risk_ratio(x, y) for x, y in zip(a, b, strict=True)]
    assert abs(np.mean([r.low <= truth <= r.high for r in found]) - 0.95) < 4 * 0.007


def test_mcnemar_by_hand() -> None:
    assert mcnemar_exact(*flags(3, 0, 5, 9)) == pytest.approx(2 / 2**5)
    # 2 of 10: 2 (1 + 10 + 45)/1024
    assert mcnemar_exact(*flags(0, 2, 8, 0)) == pytest.approx(112 / 1024)
    assert mcnemar_exact(*flags(4, 0, 0, 9)) == 1.0


def difference(mean: float, low: float, high: float) -> Difference:
    return Difference(mean, low, high, 0.01, 100, 0.95)


def test_number_needed_of_altmans_example() -> None:
    # Altman 1998, BMJ 317:1309: reduction of 10 % (-5 % to 25 %): NNTB 10 (NNTB 4 to infinity to NNTH 20)
    wanted = number_needed(difference(0.10, -0.05, 0.25), higher_is_better=True)
    assert wanted.kind == "crosses infinity"
    assert str(wanted) == "NNTB 10.0 (95 % interval NNTB 4.0 to ∞ to NNTH 20.0)"
    # the same as a harm: first arm minus second is a reduction
    harm = number_needed(difference(-0.10, -0.25, 0.05))
    assert (harm.number, harm.limits) == (-10.0, (-4.0, 20.0))
    assert str(harm) == str(wanted)


def test_number_needed_names_its_side() -> None:
    better, worse = number_needed(difference(-0.1, -0.2, -0.05)), number_needed(difference(0.1, 0.05, 0.2))
    assert (better.kind, worse.kind) == ("benefit", "harm")
    assert str(better) == "NNTB 10.0 (95 % interval NNTB 5.0 to NNTB 20.0)"
    assert str(worse) == "NNTH 10.0 (95 % interval NNTH 5.0 to NNTH 20.0)"
    assert number_needed(difference(0.1, 0.05, 0.2), higher_is_better=True).kind == "benefit"


def test_number_needed_of_no_difference_is_infinite() -> None:
    nobody = number_needed(paired_proportion_difference(np.zeros(100), np.zeros(100)))
    assert (nobody.number, nobody.kind) == (math.inf, "crosses infinity")
    # Wilson's upper limit of 0/100 is z²/(100 + z²): 27.03 patients
    bound = (100 + Z95**2) / Z95**2
    assert nobody.limits == pytest.approx((-bound, bound))
    assert str(nobody) == "number needed ∞ (95 % interval NNTB 27.0 to ∞ to NNTH 27.0)"
    touching = number_needed(difference(0.1, 0.0, 0.2))
    assert (touching.kind, touching.limits) == ("crosses infinity", (math.inf, 5.0))


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"a\[1\] = 2.0 \(patient 1\); expected 0 or 1"):
        risk_ratio([0, 2], [0, 1])
    with pytest.raises(ValueError, match="a has 3 patients and b 2"):
        mcnemar_exact([0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="a has 3 patients and b 2"):
        paired_risk_ratio([0, 1, 1], [0, 1])
    with pytest.raises(ValueError, match="level = 0"):
        exact_proportion_interval([0, 1], level=0.0)
    with pytest.raises(ValueError, match="difference 7.0; expected a difference of proportions"):
        number_needed(difference(7.0, 3.0, 9.0))
