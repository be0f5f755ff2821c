"""Two arms in numbers, groups weighted together, and verdicts."""

import numpy as np
import pytest

from dosewright.evaluation.replications.acceptance import Check, Figure, Published
from dosewright.evaluation.replications.contrast import contrast, stratified, weighted
from dosewright.evaluation.replications.control import Control
from dosewright.evaluation.statistics import Difference, Interval, paired_difference


def made(in_range: list[float], high: list[bool]) -> Control:
    values, n = np.array(in_range), len(in_range)
    days = np.full(n, 8.0)
    return Control(values, 100 - values, np.zeros(n), np.array(high), days, days, np.full(n, 85.0))


FIRST = made([60, 70, 80, np.nan, 50], [True, False, False, True, False])
SECOND = made([50, 70, 60, 90, 50], [True, True, False, False, False])


def test_contrast_is_paired_and_leaves_out_of_both_who_has_no_value_in_one() -> None:
    found = contrast("x", "clinic", FIRST, SECOND)
    assert (found.n, found.left_out) == (4, 1)
    assert found.first.in_range.mean == pytest.approx(65) and found.second.in_range.mean == pytest.approx(
        57.5
    )
    assert found.difference["in_range"] == paired_difference([60, 70, 80, 50], [50, 70, 60, 50])
    assert found.difference["ever_at_least_4"].mean == pytest.approx(100 * (1 / 4 - 2 / 4))
    assert found.first.therapeutic == 8
    some = contrast("x", "clinic", FIRST, SECOND, np.array([True, True, True, True, False]))
    assert (some.n, some.left_out) == (3, 1)


def test_whole_is_weighted_by_shares() -> None:
    parts = [
        (0.73, Difference(1.0, 0.0, 2.0, 0.5, 100, 0.95)),
        (0.27, Difference(-3.0, -5.0, -1.0, 1.0, 100, 0.95)),
    ]
    whole = weighted(parts)
    assert isinstance(whole, Difference) and whole.n == 200
    assert whole.mean == pytest.approx(0.73 - 0.81)
    error = np.hypot(0.73 * 0.5, 0.27 * 1.0)
    assert whole.standard_error == pytest.approx(error)
    assert whole.high - whole.mean == pytest.approx(1.959964 * error, rel=1e-6)
    with pytest.raises(ValueError, match="add up to 0.9; expected 1"):
        weighted([(0.9, parts[0][1])])


def test_contrasts_are_weighted_in_every_figure() -> None:
    one, other = contrast("a", "clinic", FIRST, SECOND), contrast("b", "clinic", SECOND, FIRST)
    whole = stratified("all", [(0.73, one), (0.27, other)])
    assert whole.first.in_range.mean == pytest.approx(0.73 * 65 + 0.27 * 57.5)
    assert whole.difference["in_range"].mean == pytest.approx((0.73 - 0.27) * 7.5)
    assert (whole.n, whole.left_out, whole.first.therapeutic) == (8, 2, None)


def check(mean: float, rule: str, band: tuple[float, float] | None) -> Check:
    return Check(1, "x", "clinic", "points", Interval(mean, mean - 9, mean + 9, 1.0, 10, 0.95), rule, band)  # pyright: ignore


@pytest.mark.parametrize(
    ("mean", "rule", "verdict"),
    [
        (3.3, "must hold", "pass"), (10.6, "must hold", "pass"), (3.29, "must hold", "fail"),
        (10.61, "must hold", "fail"), (5.0, "flag", "inside"), (3.2, "flag", "FLAG"),
    ],
)  # fmt: skip
def test_verdicts_are_by_the_mean(mean: float, rule: str, verdict: str) -> None:
    assert check(mean, rule, (3.3, 10.6)).verdict == verdict


def test_what_is_only_reported_has_no_mark() -> None:
    assert check(99.0, "report", None).verdict == "reported"
    for rule, band in (("report", (0.0, 1.0)), ("must hold", None)):
        with pytest.raises(ValueError, match="a mark needs a band"):
            check(1.0, rule, band)


def test_reading_of_a_published_figure() -> None:
    ours = Interval(4.0, 3.0, 5.0, 0.5, 10, 0.95)
    with_interval = Figure("x", "points", Published(7.0, "A", "paper", 3.3, 10.6), {"clinic": ours})
    assert with_interval.reading("clinic") == "inside its interval"
    bare = Figure("x", "%", Published(7.0, "A", "paper"), {"clinic": ours, "textbook": 9.25, "none": None})
    assert [bare.reading(name) for name in bare.ours] == ["3.0 lower", "2.2 higher", "none here"]
