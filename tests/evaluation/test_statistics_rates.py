"""Event rates against published Poisson limits, by hand, and with no event at all."""

import math

import numpy as np
import pytest

from dosewright.evaluation.statistics import Rate, event_rate, rate_difference, rate_ratio

Z95 = 1.959963984540054  # standard normal quantile at 0.975


def rate(events: int, years: float) -> Rate:
    return event_rate([events, 0], [years / 2, years / 2])


@pytest.mark.parametrize(
    ("events", "published"),
    # Garwood 1936; tables of 95 % limits of a Poisson mean
    [(0, (0.0, 3.6889)), (1, (0.0253, 5.5716)), (5, (1.6235, 11.6683)), (10, (4.7954, 18.3904))],
)
def test_exact_limits_of_published_tables(events: int, published: tuple[float, float]) -> None:
    found = rate(events, 1.0)
    assert (found.low, found.high) == pytest.approx(published, abs=6e-5)
    tenth = rate(events, 10.0)
    assert (tenth.rate, tenth.high) == pytest.approx((found.rate / 10, found.high / 10))


def test_totals_are_over_patients() -> None:
    found = event_rate([0, 3, 1], [0.5, 1.0, 0.5])
    assert (found.events, found.patient_years, found.rate, found.n) == (4, 2.0, 2.0, 3)
    assert str(found).startswith("2 per patient-year (95 % interval 0.5449 to 5.121, 4 events")


def test_rate_ratio_solves_the_score_test() -> None:
    a, b = rate(7, 3.0), rate(20, 5.0)
    found = rate_ratio(a, b)
    assert found.ratio == pytest.approx((7 / 3) / (20 / 5))
    for limit in (found.low, found.high):
        r = limit * 3.0 / 5.0
        assert abs(7 - 20 * r) / math.sqrt((7 + 20) * r) == pytest.approx(Z95, rel=1e-12)
    back = rate_ratio(b, a)
    assert (1 / back.high, 1 / back.low) == pytest.approx((found.low, found.high))


def test_no_event_in_one_arm() -> None:
    fewer, more = rate_ratio(rate(0, 2.0), rate(6, 3.0)), rate_ratio(rate(6, 3.0), rate(0, 2.0))
    # 0 of 6 by Wilson: odds z²/6, times the ratio of years
    assert (fewer.ratio, fewer.low) == (0.0, 0.0)
    assert fewer.high == pytest.approx(Z95**2 / 6 * 3 / 2)
    assert (more.ratio, more.high) == (math.inf, math.inf)
    assert more.low == pytest.approx(1 / fewer.high)


def test_no_event_at_all() -> None:
    nobody = rate_ratio(rate(0, 2.0), rate(0, 2.0))
    assert (math.isnan(nobody.ratio), nobody.low, nobody.high) == (True, 0.0, math.inf)
    apart = rate_difference(rate(0, 2.0), rate(0, 4.0))
    # score limits of no event: 0 and z²/years
    assert apart.mean == 0.0
    assert (apart.low, apart.high) == pytest.approx((-(Z95**2) / 4, Z95**2 / 2))


def test_rate_difference_covers() -> None:
    # 500 trials of rates 0.4 and 0.7 over 30 and 50 years: binomial standard error 0.0097
    rng = np.random.default_rng(3)
    counts = zip(rng.poisson(0.4 * 30, 500), rng.poisson(0.7 * 50, 500), strict=True)
    found = [rate_difference(rate(int(x), 30.0), rate(int(y), 50.0)) for x, y in counts]
    assert abs(np.mean([d.low <= -0.3 <= d.high for d in found]) - 0.95) < 4 * 0.0097


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"events\[1\] = 0.5 \(patient 1\); expected a whole number"):
        event_rate([0, 0.5], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"events\[0\] = -1.0 \(patient 0\)"):
        event_rate([-1, 0], [1.0, 1.0])
    with pytest.raises(ValueError, match=r"patient_years\[1\] = -1.0 \(patient 1\)"):
        event_rate([0, 0], [1.0, -1.0])
    with pytest.raises(ValueError, match=r"events\[1\] = 2.0 \(patient 1\); expected 0 events"):
        event_rate([0, 2], [1.0, 0.0])
    with pytest.raises(ValueError, match="at least one patient who was followed"):
        event_rate([0, 0], [0.0, 0.0])
    with pytest.raises(ValueError, match="events has 2 patients and patient_years 3"):
        event_rate([0, 0], [1.0, 1.0, 1.0])
    with pytest.raises(ValueError, match="level 0.95 of the first rate and 0.9 of the second"):
        rate_ratio(rate(1, 1.0), event_rate([1, 0], [1.0, 1.0], level=0.9))
