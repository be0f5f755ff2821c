"""Weighted Kaplan-Meier: by hand, against the log's own curve, exact truths, and coverage."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import importance_weights
from dosewright.evaluation.ope.bootstrap import percentile_interval, resample
from dosewright.evaluation.ope.survival import TimeToEvent, log_log_limits, weighted_kaplan_meier
from dosewright.evaluation.statistics import FollowUp, kaplan_meier, restricted_mean


def courses(event: list[list[float]], lost: list[bool], log_ratio: list[list[float]]) -> TimeToEvent:
    """Patients by their events; a row ends where ``event`` is NaN."""
    happened = np.array(event)
    mask = ~np.isnan(happened)
    log = Trajectories(
        observations=np.zeros((*mask.shape, 1)),
        actions=np.zeros(mask.shape),
        rewards=np.zeros(mask.shape),
        mask=mask,
        terminated=~np.array(lost),
        truncated=np.zeros(len(lost), dtype=bool),
        censored=np.array(lost),
        behaviour_log_prob=np.zeros(mask.shape),
        outcomes={"bleed": np.nan_to_num(happened)},
        propensity="density",
    )
    return weighted_kaplan_meier(log, importance_weights(log, np.array(log_ratio)), "bleed")


NAN = math.nan
# ratios 2, then 2: the first patient has weight 2 and 4 and bleeds in the second step; the second bleeds at
# once; the third is lost after the first step; the fourth stays
HAND = courses(
    [[0.0, 1.0, NAN], [1.0, NAN, NAN], [0.0, NAN, NAN], [0.0, 0.0, 0.0]],
    [False, False, True, False],
    [[math.log(2.0)] * 3, [0.0] * 3, [0.0] * 3, [0.0] * 3],
)


def test_by_hand() -> None:
    assert HAND.hazard == pytest.approx([1.0 / 5.0, 4.0 / 5.0, 0.0])
    assert HAND.survival == pytest.approx([1.0, 0.8, 0.16, 0.16])
    assert HAND.probability().value == pytest.approx(0.84)
    assert HAND.probability(1).value == pytest.approx(0.2)
    assert HAND.restricted_mean().value == pytest.approx(1.96)
    assert HAND.rate(52.0).value == pytest.approx(52.0 * 0.84 / 1.96)
    assert HAND.effective_at_risk == pytest.approx([25.0 / 7.0, 25.0 / 17.0, 1.0])


def drawn(n: int, seed: int, process: Callable, drop_out: bool = True):  # noqa: ANN201
    """Courses of the process; the reward of -2 is the event."""
    logged = process(5, 1.0).draw(n, seed, drop_out=drop_out)
    return replace(logged, log=replace(logged.log, outcomes={"adr": (logged.log.rewards < 0).astype(float)}))


def curve_of(logged) -> TimeToEvent:  # noqa: ANN001
    weights = importance_weights(logged.log, logged.target_log_prob, logged.follow_up)
    log = logged.log
    return weighted_kaplan_meier(
        replace(log, outcomes={"adr": (log.rewards < 0).astype(float)}), weights, "adr"
    )


def test_without_weights_it_is_kaplan_meier_with_greenwoods_error(process: Callable) -> None:
    log = drawn(150, 1, process).log
    assert log.behaviour_log_prob is not None
    found = weighted_kaplan_meier(log, importance_weights(log, log.behaviour_log_prob), "adr")
    follow_up = FollowUp(log.lengths, log.outcomes["adr"].sum(axis=1))
    scipy = kaplan_meier(follow_up)
    assert found.survival[1:] == pytest.approx(scipy.probability)
    for step in range(1, 6):
        error = found.probability(step).standard_error
        assert error == pytest.approx(scipy.standard_error[step - 1])
        limits = log_log_limits(found.survival[step], error, math.inf)
        assert limits == pytest.approx((scipy.low[step - 1], scipy.high[step - 1]))
    # a time of t + 1 is an event in step t: the area up to 5 counts the steps begun free of it
    mean = restricted_mean(follow_up, 5.0)
    assert found.restricted_mean().value == pytest.approx(mean.mean)
    assert found.restricted_mean().standard_error == pytest.approx(mean.standard_error)


def test_the_hazard_of_a_whole_population_is_exact(process: Callable) -> None:
    # every course as often as it should be: P(adverse reaction within two steps) under the target
    logged = process(2, 1.0).every_course()
    target = np.array([[0.25, 0.75], [0.5, 0.5]])
    adverse, following = np.array([[0.0, 0.25], [0.25, 0.5]]), np.array([[0.25, 0.75], [0.5, 0.75]])
    once = (target * adverse).sum(axis=1)
    in_range = (target * (1 - adverse) * following).sum(axis=1)
    low = (target * (1 - adverse) * (1 - following)).sum(axis=1)
    truth = 0.5 * (once + in_range * once[1] + low * once[0]).sum()
    assert curve_of(logged).probability().value == pytest.approx(truth)


def test_drop_out_that_depends_on_the_state_needs_its_weights(process: Callable) -> None:
    logged = process(2, 1.0).every_course(drop_out=True)
    whole = curve_of(process(2, 1.0).every_course()).probability().value
    assert curve_of(logged).probability().value == pytest.approx(whole, rel=1e-12)
    at_random = curve_of(replace(logged, follow_up=None)).probability().value
    assert abs(at_random - whole) > 1e-5  # where the product above agrees to rounding


@pytest.mark.parametrize(
    "functional",
    [
        lambda c: c.probability(),
        lambda c: c.probability(2),
        lambda c: c.restricted_mean(),
        lambda c: c.rate(),
    ],
)
def test_influence_is_the_derivative(functional: Callable, process: Callable, derivative: Callable) -> None:
    logged = drawn(40, 2, process)
    influence = functional(curve_of(logged)).influence
    assert influence.mean() == pytest.approx(0.0, abs=1e-9 * np.abs(influence).max())
    for patient in (0, 3, 9):
        moved = derivative(lambda some: functional(curve_of(some)).value, logged, patient)
        assert influence[patient] == pytest.approx(moved, rel=0.02, abs=0.01 * np.abs(influence).max())


def test_events_after_the_first_do_not_count() -> None:
    again = courses([[1.0, 1.0], [0.0, 0.0]], [False, False], [[0.0, 0.0]] * 2)
    assert again.survival == pytest.approx([1.0, 0.5, 0.5])


def test_no_event_is_no_proof_of_safety() -> None:
    none = courses([[0.0, 0.0]] * 30, [False] * 30, [[0.0, 0.0]] * 30)
    found = none.probability_interval()
    assert (found.mean, found.low) == (0.0, 0.0)
    assert found.high == pytest.approx(1.0 - 0.025 ** (1.0 / 30.0))  # Clopper & Pearson (1934) for 0 of 30


def test_everybody_with_the_event_and_nobody_at_risk() -> None:
    everybody = courses([[1.0, NAN]] * 3, [False] * 3, [[0.0, 0.0]] * 3)
    assert everybody.survival.tolist() == [1.0, 0.0, 0.0] and not everybody.survival_influence.any()
    found = everybody.probability_interval()
    assert found.mean == 1.0 and math.isnan(found.low)
    assert everybody.restricted_mean().value == 1.0
    assert everybody.of_totals(everybody.columns.sum(axis=0)[None]) == [1.0]
    lost = courses([[1.0, NAN], [0.0, NAN]], [False, True], [[0.0, 0.0]] * 2)
    assert lost.survival[:2].tolist() == [1.0, 0.5] and math.isnan(lost.survival[2])  # nobody is left to say
    assert math.isnan(lost.probability().value) and math.isnan(lost.probability_interval().low)


def test_weights_of_any_size() -> None:
    far = courses(
        [[0.0, 1.0], [1.0, NAN], [0.0, 0.0]], [False] * 3, [[-900.0] * 2, [-901.0] * 2, [-900.0] * 2]
    )
    near = courses([[0.0, 1.0], [1.0, NAN], [0.0, 0.0]], [False] * 3, [[0.0] * 2, [-1.0] * 2, [0.0] * 2])
    assert far.survival == pytest.approx(near.survival)
    assert far.survival_influence == pytest.approx(near.survival_influence)


def test_resampled_as_one_product(process: Callable) -> None:
    found = curve_of(drawn(200, 4, process))
    assert found.of_totals(found.columns.sum(axis=0)[None]) == pytest.approx([found.value])
    spread = percentile_interval(found, resample(found, seed=1, resamples=4000)).standard_error
    assert spread == pytest.approx(found.probability().standard_error, rel=0.1)


def test_interval_covers(process: Callable) -> None:
    truth = curve_of(drawn(60_000, 7, process)).probability().value
    held = 0
    for seed in range(250):
        found = curve_of(drawn(120, 100 + seed, process)).probability_interval()
        held += found.low <= truth <= found.high
    assert 0.91 <= held / 250 <= 0.985


def test_refusals(process: Callable) -> None:
    logged = drawn(5, 1, process)
    with pytest.raises(ValueError, match="outcome 'fall' is not in the log; its outcomes: adr"):
        weighted_kaplan_meier(logged.log, logged.weights, "fall")
    with pytest.raises(ValueError, match="step = 6; expected a number of steps from 1 to 5"):
        curve_of(logged).probability(6)
    counted = replace(logged.log, outcomes={"adr": 2.0 * logged.log.mask})
    with pytest.raises(
        ValueError, match=r"outcomes\['adr'\]\[0, 0\] = 2.0 .patient 0, step 0.; expected 0 or 1"
    ):
        weighted_kaplan_meier(counted, logged.weights, "adr")
