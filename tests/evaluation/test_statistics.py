"""Intervals of a paired virtual trial against published tables, hand sums and the shared reference."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.statistics import (
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
    win_probability,
)

CASE = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "ope" / "paired_virtual_trial"
Z95 = 1.959963984540054  # standard normal quantile at 0.975


def flags(both: int, only_a: int, only_b: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, only_a, only_b, neither]
    return np.repeat([1, 1, 0, 0], counts), np.repeat([1, 0, 1, 0], counts)


def test_mean_interval_by_hand() -> None:
    # 1..5: mean 3, s^2 = 2.5, t(0.975, 4 df) = 2.776445 (any t table)
    result = mean_interval([1, 2, 3, 4, 5])
    assert result.mean == 3.0
    assert result.standard_error == pytest.approx(math.sqrt(2.5 / 5))
    assert result.high - result.mean == pytest.approx(2.7764451 * math.sqrt(0.5), rel=1e-7)


def test_paired_difference_is_the_t_interval_of_the_differences() -> None:
    a, b = np.array([5.0, 7.0, 9.0, 12.0]), np.array([4.0, 7.5, 6.0, 10.0])
    paired, plain = paired_difference(a, b, level=0.9), mean_interval(a - b, level=0.9)
    assert (paired.mean, paired.low, paired.high) == (plain.mean, plain.low, plain.high)
    swapped = paired_difference(b, a, level=0.9)
    assert (swapped.low, swapped.high) == (-paired.high, -paired.low)


def test_paired_t_covers_at_its_level() -> None:
    # Exact for normal differences: 4000 trials of 6 patients, binomial standard error 0.0047 at 0.90.
    rng = np.random.default_rng(20)
    a = rng.normal(1.0, 2.0, (4000, 6))
    shared = rng.normal(size=(4000, 6))
    results = [paired_difference(x + s, s, level=0.9) for x, s in zip(a, shared, strict=True)]
    covered = np.mean([r.low <= 1.0 <= r.high for r in results])
    assert abs(covered - 0.9) < 4 * 0.0047


def test_wilson_matches_newcombe_table() -> None:
    # Newcombe 1998, Stat Med 17:857-872, table I, method 3: 81/263 and 0/20
    events = np.repeat([1, 0], [81, 182])
    result = proportion_interval(events)
    assert (round(result.low, 4), round(result.high, 4)) == (0.2553, 0.3662)
    none = proportion_interval(np.zeros(20))
    assert (none.low, round(none.high, 4)) == (0.0, 0.1611)


@pytest.mark.parametrize(
    ("cells", "published"),
    [
        # Newcombe 1998, Stat Med 17:2635-2650, method 10
        ((36, 12, 2, 0), (0.0569, 0.3404)),
        # Cavo 2012 in Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency Tables, ch. 8
        ((59, 6, 16, 80), (-0.1186, -0.0046)),
    ],
)
def test_square_and_add_matches_published(
    cells: tuple[int, int, int, int], published: tuple[float, float]
) -> None:
    result = paired_proportion_difference(*flags(*cells))
    assert (round(result.low, 4), round(result.high, 4)) == published


def test_no_discordant_patient_leaves_doubt() -> None:
    # Nobody had the event in either arm of 100: Wald says (0, 0); Wilson's upper limit of 0/100 is 3.70 %.
    nobody = paired_proportion_difference(np.zeros(100), np.zeros(100))
    assert nobody.standard_error == 0.0
    assert nobody.high == pytest.approx(Z95**2 / (100 + Z95**2), rel=1e-9)
    assert nobody.low == -nobody.high


def test_win_probability_by_hand() -> None:
    # two wins, one loss, one tie: (2 + 0.5) / 4
    result = win_probability([3, 5, 1, 2], [1, 4, 2, 2])
    assert result.mean == 0.625
    mirrored = win_probability([1, 4, 2, 2], [3, 5, 1, 2])
    assert mirrored.low == pytest.approx(1.0 - result.high)
    always = win_probability(np.arange(1.0, 11.0), np.zeros(10))
    assert always.mean == always.high == 1.0
    # ten wins of ten: Wilson limits 10/10 and 0/10, each z^2/(10 + z^2) away, square and add, halved
    assert 1.0 - always.low == pytest.approx(Z95**2 / (10 + Z95**2) * math.sqrt(2) / 2, rel=1e-9)


def test_refusals_name_the_patient() -> None:
    with pytest.raises(ValueError, match=r"b\[1\] = nan \(patient 1\)"):
        paired_difference([1.0, 2.0], [1.0, math.nan])
    with pytest.raises(ValueError, match="a has 3 patients and b 2"):
        paired_difference([1.0, 2.0, 3.0], [1.0, 2.0])
    with pytest.raises(ValueError, match="a has 3 patients and b 2"):
        paired_proportion_difference([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match=r"events\[2\] = 0.5 \(patient 2\); expected 0 or 1"):
        proportion_interval([0, 1, 0.5])
    with pytest.raises(ValueError, match=r"x has shape \(1,\); expected \(n,\) with n >= 2"):
        mean_interval([1.0])
    with pytest.raises(ValueError, match="level = 95"):
        mean_interval([1.0, 2.0], level=95)


def test_print_reads_as_a_sentence() -> None:
    assert str(paired_difference([0.8, 0.7, 0.9], [0.6, 0.7, 0.8])) == (
        "0.1 (95 % interval -0.1484 to 0.3484, n = 3)"
    )


@pytest.mark.skipif(not CASE.is_dir(), reason="shared reference data absent")
@pytest.mark.parametrize("old", ["old_same_numbers", "old_other_numbers"])
def test_shared_paired_trial(old: str) -> None:
    data = np.load(CASE / "data.npz")
    reference: dict[str, Any] = json.loads((CASE / "reference.json").read_text())["estimates"][old]
    tir = paired_difference(data["new_tir"], data[f"{old}_tir"])
    assert tir.mean == pytest.approx(reference["time_in_range_difference"], rel=1e-8)
    assert [tir.low, tir.high] == pytest.approx(reference["paired_t_95"], rel=1e-8)
    adr = paired_proportion_difference(data["new_adr"], data[f"{old}_adr"])
    assert adr.mean == pytest.approx(reference["risk_difference"], rel=1e-8)
    wald = [adr.mean - Z95 * adr.standard_error, adr.mean + Z95 * adr.standard_error]
    assert wald == pytest.approx(reference["risk_difference_paired_wald_95"], rel=1e-8)
    # both interval methods are first-order the same; they may differ by a tenth of the width at n = 500
    assert [adr.low, adr.high] == pytest.approx(wald, abs=0.1 * (wald[1] - wald[0]))
    wilson = proportion_interval(data["new_adr"])
    assert [wilson.low, wilson.high] == pytest.approx(reference["wilson_new_95"], rel=1e-8)


@pytest.mark.skipif(not CASE.is_dir(), reason="shared reference data absent")
def test_shared_trial_interval_holds_the_truth() -> None:
    data = np.load(CASE / "data.npz")
    truth = json.loads((CASE / "truth.json").read_text())
    tir = paired_difference(data["new_tir"], data["old_same_numbers_tir"])
    assert abs(tir.mean - truth["time_in_range_difference"]) < 4 * tir.standard_error
    adr = paired_proportion_difference(data["new_adr"], data["old_same_numbers_adr"])
    assert abs(adr.mean - truth["adr_risk_difference"]) < 4 * adr.standard_error
