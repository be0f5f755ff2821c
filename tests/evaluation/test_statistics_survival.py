"""Time to the first harm against published curves, sums by hand and simulated patients."""

import math

import numpy as np
import pytest

from dosewright.evaluation.statistics import (
    FollowUp,
    cumulative_incidence,
    kaplan_meier,
    mean_interval,
    paired_restricted_mean_difference,
    restricted_mean,
)

# Freireich et al. 1963, weeks of remission under 6-mercaptopurine, 1 = relapse
WEEKS = np.array([6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35], dtype=float)
RELAPSE = np.array([1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0])
REMISSION = FollowUp(WEEKS, RELAPSE)


def test_kaplan_meier_of_published_data() -> None:
    # Klein and Moeschberger 2003, Survival Analysis, table 4.1B
    curve = kaplan_meier(REMISSION)
    at = np.isin(curve.time, [6, 7, 10, 13, 16, 22, 23])
    assert curve.probability[at].round(3).tolist() == [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    greenwood = [0.0764, 0.0869, 0.0963, 0.1068, 0.1141, 0.1282, 0.1346]
    assert curve.standard_error[at] == pytest.approx(greenwood, abs=6e-5)
    assert curve.at_risk[at].tolist() == [21, 17, 15, 12, 11, 7, 6]
    assert curve.events[at].tolist() == [3, 1, 1, 1, 1, 1, 1]


def test_curve_is_a_step_that_ends_where_follow_up_does() -> None:
    curve = kaplan_meier(REMISSION)
    assert curve.at([0.0, 5.9, 6.0, 9.9, 35.0]).round(3).tolist() == [1.0, 1.0, 0.857, 0.807, 0.448]
    assert np.isnan(curve.at(35.1))
    everybody = kaplan_meier(FollowUp([1.0, 2.0, 3.0], [1, 1, 1]))
    assert everybody.at([2.5, 100.0]) == pytest.approx([1 / 3, 0.0])
    assert np.isnan([everybody.low[-1], everybody.high[-1], everybody.standard_error[-1]]).all()


def test_censored_at_a_visit_was_at_risk_there() -> None:
    # visit 1: one event among four, one of whom leaves then; visit 2: one event among two
    curve = kaplan_meier(FollowUp([1.0, 1.0, 2.0, 2.0], [1, 0, 1, 0]))
    assert curve.at_risk.tolist() == [4, 2]
    assert curve.probability == pytest.approx([3 / 4, 3 / 8])


def test_no_event_claims_no_interval() -> None:
    nobody = FollowUp(np.full(30, 84.0), np.zeros(30, dtype=bool))
    curve = kaplan_meier(nobody)
    assert (curve.probability[0], curve.standard_error[0]) == (1.0, 0.0)
    assert np.isnan([curve.low[0], curve.high[0]]).all()
    mean = restricted_mean(nobody, 84.0)
    assert mean.mean == 84.0
    assert np.isnan([mean.low, mean.high]).all()
    found = paired_restricted_mean_difference(nobody, nobody, 84.0)
    assert found.mean == 0.0
    assert np.isnan([found.low, found.high]).all()
    assert np.isnan(cumulative_incidence(nobody).high[0])


def test_restricted_mean_by_hand() -> None:
    # S: 1 to week 1, 3/4 to week 2, 3/8 to week 4
    found = restricted_mean(FollowUp([1.0, 1.0, 2.0, 5.0], [1, 0, 1, 0]), 4.0)
    assert found.mean == pytest.approx(1 + 3 / 4 + 2 * 3 / 8)
    # areas left 3/2 and 3/4; Greenwood terms 1/(4·3) and 1/(2·1)
    assert found.standard_error == pytest.approx(math.sqrt((3 / 2) ** 2 / 12 + (3 / 4) ** 2 / 2))
    assert found.high <= 4.0


def test_restricted_mean_of_complete_data_is_the_mean() -> None:
    days = np.random.default_rng(1).integers(1, 100, 60).astype(float)
    found = restricted_mean(FollowUp(days, days <= 80), 80.0)
    plain = mean_interval(np.minimum(days, 80.0))
    assert found.mean == pytest.approx(plain.mean)
    # Greenwood divides by n where a sample standard deviation divides by n - 1
    assert found.standard_error == pytest.approx(plain.standard_error * math.sqrt(59 / 60))


def test_paired_difference_of_complete_data_is_that_of_the_times() -> None:
    rng = np.random.default_rng(2)
    own = rng.integers(1, 60, 80)
    a, b = (np.minimum(own + rng.integers(0, 30, 80), 70).astype(float) for _ in range(2))
    found = paired_restricted_mean_difference(FollowUp(a, a < 70), FollowUp(b, b < 70), 70.0)
    plain = mean_interval(a - b)
    assert found.mean == pytest.approx(plain.mean)
    assert found.standard_error == pytest.approx(plain.standard_error * math.sqrt(79 / 80))


def cohort(rng: np.random.Generator, n: int) -> tuple[FollowUp, FollowUp]:
    """Weekly visits to week 12; hazards 0.05 and 0.10 a week, frailty shared by quantile, drop-out 0.03."""
    shared = rng.random(n)
    left = rng.geometric(0.03, n)
    arms = []
    for hazard in (0.05, 0.10):
        own = np.where(rng.random(n) < 0.7, shared, rng.random(n))
        harm = np.ceil(np.log(own) / math.log(1 - hazard))
        last = np.minimum(np.minimum(harm, left), 12)
        arms.append(FollowUp(last, (harm <= left) & (harm <= 12)))
    return arms[0], arms[1]


def test_restricted_mean_difference_covers() -> None:
    # 300 trials of 150 patients, binomial standard error 0.0126. Mean weeks without harm before week 12, with
    # harms at visits: sum of (1 - h)^t, t = 0 to 11
    truth = sum(0.95**t - 0.90**t for t in range(12))
    rng = np.random.default_rng(3)
    found = [paired_restricted_mean_difference(*cohort(rng, 150), 12.0) for _ in range(300)]
    covered = np.mean([d.low <= truth <= d.high for d in found])
    assert abs(covered - 0.95) < 4 * 0.0126


def test_incidence_with_competing_events_by_hand() -> None:
    # visit 1: harm and death among five; visit 2: one harm of three, one leaves; visit 3: one dies
    follow_up = FollowUp([1.0, 1.0, 2.0, 2.0, 3.0], [1, 2, 1, 0, 2])
    harm, death = cumulative_incidence(follow_up), cumulative_incidence(follow_up, cause=2)
    assert harm.probability == pytest.approx([1 / 5, 1 / 5 + 3 / 5 / 3, 2 / 5])
    assert death.probability == pytest.approx([1 / 5, 1 / 5, 1 / 5 + 2 / 5])
    # the first visit is a proportion of five
    assert harm.standard_error[0] == pytest.approx(math.sqrt(0.2 * 0.8 / 5))
    # F = h1 + (1 - h) g: hazards of harm and of any event at visit 1 (of five), of harm at visit 2 (of three)
    g, h1, h = 1 / 3, 1 / 5, 2 / 5
    variance = (h1 * (1 - h1) + g**2 * h * (1 - h) - 2 * g * h1 * (1 - h)) / 5 + 0.36 * g * (1 - g) / 3
    assert harm.standard_error[1] == pytest.approx(math.sqrt(variance))
    assert (harm.start, harm.known_until, harm.at(99.0)) == (0.0, math.inf, pytest.approx(0.4))


def test_incidence_without_competition_is_the_complement_of_kaplan_meier() -> None:
    curve, incidence = kaplan_meier(REMISSION), cumulative_incidence(REMISSION)
    assert incidence.probability == pytest.approx(1 - curve.probability, abs=1e-15)
    assert incidence.standard_error == pytest.approx(curve.standard_error, abs=1e-12)


def test_counting_drop_out_as_censored_inflates_incidence() -> None:
    rng = np.random.default_rng(4)
    time, cause = rng.integers(1, 13, 300).astype(float), rng.integers(1, 3, 300)
    competing, ignored = cumulative_incidence(FollowUp(time, cause)), kaplan_meier(FollowUp(time, cause))
    assert competing.probability[-1] == pytest.approx(np.mean(cause == 1))
    assert 1 - ignored.probability[-1] > 0.8


def test_incidence_covers() -> None:
    # harm 0.05, drop-out 0.08 a visit, 400 trials of 100 patients to visit 10; a twentieth leaves censored
    truth = 0.05 * sum((1 - 0.13) ** t for t in range(10))
    rng = np.random.default_rng(5)
    covered = 0
    for _ in range(400):
        first, kind = rng.geometric(0.13, 100), np.where(rng.random(100) < 0.05 / 0.13, 1, 2)
        censored = rng.geometric(0.05, 100)
        time = np.minimum(np.minimum(first, censored), 11)
        cause = np.where((first <= censored) & (first <= 10), kind, 0)
        curve = cumulative_incidence(FollowUp(time, cause))
        at = np.searchsorted(curve.time, 10.0, side="right") - 1
        covered += curve.low[at] <= truth <= curve.high[at]
    assert abs(covered / 400 - 0.95) < 4 * 0.011


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"time\[1\] = -1.0 \(patient 1\); expected a time >= 0"):
        FollowUp([1.0, -1.0], [0, 0])
    with pytest.raises(ValueError, match=r"cause\[0\] = 0.5 \(patient 0\)"):
        FollowUp([1.0, 1.0], [0.5, 0])
    with pytest.raises(ValueError, match="time has 2 patients and cause 3"):
        FollowUp([1.0, 1.0], [0, 0, 1])
    with pytest.raises(ValueError, match="horizon = 40.0, but no patient was followed beyond 35.0"):
        restricted_mean(REMISSION, 40.0)
    with pytest.raises(ValueError, match="horizon = 0"):
        restricted_mean(REMISSION, 0.0)
    with pytest.raises(ValueError, match="a has 21 patients and b 2"):
        paired_restricted_mean_difference(REMISSION, FollowUp([1.0, 12.0], [1, 0]), 10.0)
    with pytest.raises(ValueError, match="cause = 0"):
        cumulative_incidence(REMISSION, cause=0)
    with pytest.raises(ValueError, match="level = 95"):
        kaplan_meier(REMISSION, level=95)
