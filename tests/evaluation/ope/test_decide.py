"""When a log may answer: every rule, on a log that breaks that rule alone."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import (
    ActionValues,
    Decision,
    counted_weights,
    decide,
    dm,
    importance_weights,
    mis_counted,
    pdwis,
    wis,
)
from dosewright.evaluation.ope.bounds import reward_range_bounds
from dosewright.evaluation.ope.decide import self_check, target_check
from dosewright.evaluation.ope.diagnostics import UnsupportedMass

N, STEPS = 1000, 4
EVEN = np.full((N, STEPS), math.log(0.5))  # behaviour: a coin at every step


def logged(seed: int = 0, censored: int = 0) -> Trajectories:
    """N courses of STEPS coin-toss doses; the reward is the dose plus noise, so a target's value is known."""
    rng = np.random.default_rng(seed)
    doses = rng.integers(0, 2, size=(N, STEPS)).astype(np.float64)
    mask = np.ones((N, STEPS), dtype=bool)
    mask[:censored, -1] = False
    lost = np.arange(N) < censored
    return Trajectories(
        observations=np.zeros((N, STEPS, 1)), actions=doses,
        rewards=np.where(mask, doses + rng.normal(0, 0.5, size=doses.shape), 0.0), mask=mask,
        terminated=~lost, truncated=np.zeros(N, dtype=bool), censored=lost, behaviour_log_prob=EVEN,
    )  # fmt: skip


def prefers_one(log: Trajectories, chance: float) -> np.ndarray:
    """Log-probability of the logged doses under a target that gives dose 1 with this chance."""
    with np.errstate(divide="ignore"):
        return np.log(np.where(log.actions == 1.0, chance, 1.0 - chance))


def decision(log: Trajectories, target: np.ndarray, **known: object) -> Decision:
    weights = importance_weights(log, target)
    return decide(log, [pdwis(log, weights), wis(log, weights)], weights=weights, **known)  # type: ignore[arg-type]


def exact_values(log: Trajectories, chance: float) -> ActionValues:
    """Q and V of the target: what the step gives, and ``chance`` for each step after it."""
    after = chance * np.arange(STEPS - 1, -1, -1)
    return ActionValues.of(log, log.actions + after, np.broadcast_to(chance + after, log.mask.shape))


# --- what passes -------------------------------------------------------------------------------------------


def test_a_log_that_covers_the_target_answers() -> None:
    log = logged()
    found = decision(log, prefers_one(log, 0.7))
    assert found.verdict == "answered" and found.reason == ""
    assert found.answer is found.estimates[0]
    assert abs(found.interval().mean - 0.7 * STEPS) < 4 * found.interval().standard_error
    assert found.bounds is None and math.isnan(found.self_check_z)


def test_the_ground_of_a_family_is_its_own_sample() -> None:
    # ratios are 1.4 and 0.6 with chance 1/2 each: second moment 1.16 a step
    log = logged()
    grounds = decision(log, prefers_one(log, 0.7)).grounds
    by_step = N / 1.16 ** np.arange(1, STEPS + 1)
    assert grounds["trajectory"].effective_sample_size == pytest.approx(by_step[-1], rel=0.05)
    # all steps have the same spread of rewards: a plain mean over steps
    assert grounds["per-decision"].effective_sample_size == pytest.approx(by_step.mean(), rel=0.05)


# --- what refuses ------------------------------------------------------------------------------------------


def test_too_few_patients_carry_whole_courses_but_not_single_decisions() -> None:
    # always dose 1: one course in 16, of 400 patients
    log = logged().select(np.arange(400))
    found = decision(log, prefers_one(log, 1.0))
    assert not found.grounds["trajectory"].passed
    assert "effective sample size" in found.grounds["trajectory"].reasons[0]
    assert found.grounds["per-decision"].passed
    assert found.answer is not None and found.answer.estimator == "pdwis"
    assert found.verdict == "answered" and found.reason.startswith("trajectory:")


def test_wrong_propensities_show_in_the_mean_weight() -> None:
    log = logged()
    halved = replace(log, behaviour_log_prob=np.full((N, STEPS), math.log(0.4)))
    found = decision(halved, prefers_one(log, 0.7))
    assert found.verdict == "refused" and found.answer is None
    # E W_t = (0.5/0.4)^t
    assert found.grounds["per-decision"].mean_weight_z > 4
    assert "a propensity is wrong" in found.reason
    assert (found.interval().low, found.interval().high) == (-math.inf, math.inf)
    assert "refused" in str(found)


def test_a_heavy_tail_refuses() -> None:
    log = logged()
    ratio = np.zeros((N, STEPS))
    # quantiles of a Pareto distribution of shape 1.2 with mean moved to 1 as far as a sample shows
    ratio[:, -1] = np.log(((np.arange(N) + 0.5) / N) ** -1.2)
    ratio[:, -1] -= np.log(np.exp(ratio[:, -1]).mean())
    target = np.minimum(EVEN + ratio, 700.0)
    loose = replace(log, propensity="density")
    found = decision(loose, target)
    assert found.grounds["trajectory"].pareto_k > 0.7
    assert any("Pareto k" in reason for reason in found.grounds["trajectory"].reasons)


def test_drop_out_that_nothing_corrects_for_refuses() -> None:
    log = logged(censored=100)
    found = decision(log, prefers_one(log, 0.7))
    assert found.verdict == "refused" and "100 patients dropped out" in found.reason
    followed = np.log(np.where(np.arange(STEPS) < STEPS - 1, 1.0, 0.9)) * np.ones((N, 1))
    weights = importance_weights(log, prefers_one(log, 0.7), followed)
    assert decide(log, [pdwis(log, weights)], weights=weights).verdict == "answered"


def test_the_population_counts_where_it_is_smaller_than_the_log() -> None:
    log = logged()
    target = prefers_one(log, 0.7)
    small = decision(log, target, population_sample_size=np.full(STEPS, 14.0))
    assert small.verdict == "refused"
    assert small.grounds["trajectory"].effective_sample_size == 14.0
    assert decision(log, target, population_sample_size=np.full(STEPS, 2000.0)).verdict == "answered"


@pytest.mark.parametrize(("share", "verdict"), [(0.0005, "answered"), (0.002, "bounds only")])
def test_unsupported_doses_leave_bounds(share: float, verdict: str) -> None:
    log = logged()
    weights = importance_weights(log, prefers_one(log, 0.7))
    missing = UnsupportedMass(np.full((N, STEPS), share), np.full(STEPS, share), share)
    bounds = reward_range_bounds(log, weights, missing, (-10.0, 10.0))
    found = decide(log, [pdwis(log, weights)], weights=weights, unsupported=share, bounds=bounds)
    assert found.verdict == verdict
    if verdict == "bounds only":
        low, high = bounds.interval()
        assert (found.interval().low, found.interval().high) == (low, high)
        assert low < 0.7 * STEPS < high and "never given" in found.reason
        assert decide(log, [pdwis(log, weights)], weights=weights, unsupported=share).verdict == "refused"


# --- models ------------------------------------------------------------------------------------------------


def test_a_model_answers_only_where_nothing_else_does_and_is_flagged() -> None:
    # 200 patients are lost and the weights do not correct for it; the model needs no correction
    log = logged(censored=200)
    weights, values = importance_weights(log, prefers_one(log, 0.7)), exact_values(log, 0.7)
    found = decide(log, [wis(log, weights), dm(log, values)], weights=weights, values=values)
    assert found.verdict == "model-based" and found.answer is not None
    assert found.answer.estimator == "dm" and "rests on the model alone" in str(found)
    # ratios of a decision are 1.4 and 0.6: second moment 1.16
    assert found.grounds["model"].effective_sample_size == pytest.approx(1000 / 1.16, rel=0.1)


def test_a_model_is_not_believed_beyond_what_the_weights_show() -> None:
    # with dose 1 for certain 60, 30, 15 and 8 of 120 patients follow
    log = logged().select(np.arange(120))
    weights, values = importance_weights(log, prefers_one(log, 1.0)), exact_values(log, 1.0)
    found = decide(log, [wis(log, weights), dm(log, values)], weights=weights, values=values)
    assert found.verdict == "refused"
    assert any(
        "% of the outcome, 90 % needed to check" in reason for reason in found.grounds["model"].reasons
    )


def test_a_model_extrapolates_where_single_decisions_do_not_overlap() -> None:
    log = logged().select(np.arange(50))
    target = prefers_one(log, 1.0)
    weights, values = importance_weights(log, target), exact_values(log, 1.0)
    found = decide(log, [dm(log, values)], weights=weights, values=values)
    assert found.verdict == "refused" and "would extrapolate" in found.reason


def test_a_model_needs_a_quarter_of_the_log() -> None:
    # doses 0 to 9, one in ten what the target gives: 100 effective patients of 1000
    rng = np.random.default_rng(5)
    doses = rng.integers(0, 10, size=(N, 1)).astype(np.float64)
    log = replace(
        logged(), observations=np.zeros((N, 1, 1)), actions=doses, rewards=doses,
        mask=np.ones((N, 1), dtype=bool), behaviour_log_prob=np.full((N, 1), math.log(0.1)),
    )  # fmt: skip
    with np.errstate(divide="ignore"):
        weights = importance_weights(log, np.log(doses == 9.0))
    values = ActionValues.of(log, doses, np.full((N, 1), 9.0))
    alone = decide(log, [dm(log, values)], weights=weights, values=values)
    assert alone.verdict == "refused" and "250 of 1000 needed" in alone.reason
    assert decide(log, [wis(log, weights)], weights=weights).verdict == "answered"


def test_the_self_check_is_a_z_value_for_the_right_model_and_finds_a_wrong_one() -> None:
    z = np.array([self_check(log, exact_values(log, 0.7)) for log in map(logged, range(40))])
    assert abs(z.mean()) < 4 / math.sqrt(40) and 0.7 < z.std(ddof=1) < 1.35
    log = logged()
    right = exact_values(log, 0.7)
    # a model that believes in 0.1 more at every step
    wrong = ActionValues.of(
        log, right.q + 0.1 * (STEPS - np.arange(STEPS)), right.v + 0.1 * (STEPS - np.arange(STEPS))
    )
    assert self_check(log, wrong) < -4
    found = decide(log, [dm(log, wrong)], values=wrong)
    assert found.verdict == "refused" and "off on the regimen that made the log" in found.reason


def test_who_is_lost_does_not_blame_a_right_model() -> None:
    # half of the patients are lost before their last decision, of whose value nothing is known
    z = np.array([self_check(log, exact_values(log, 0.7)) for log in (logged(s, 500) for s in range(40))])
    assert abs(z.mean()) < 4 / math.sqrt(40) and 0.7 < z.std(ddof=1) < 1.35


def test_a_model_of_the_log_that_is_wrong_about_the_target_is_found() -> None:
    # the mean reward of the log's doses, whatever the dose: what a fit without the dose comes to
    log = logged()
    after = np.arange(STEPS, 0, -1)
    blind = ActionValues.of(log, np.tile(0.5 * after, (N, 1)), np.tile(0.5 * after, (N, 1)))
    weights = importance_weights(log, prefers_one(log, 0.7))
    assert abs(self_check(log, blind)) < 4
    # 0.2 a step is missing; the sum of four has the standard deviation of 0.7 (1 - 0.7) + 1/4, times weights
    assert target_check(log, weights, blind) > 4
    found = decide(log, [dm(log, blind)], weights=weights, values=blind)
    assert found.verdict == "refused" and "off on the target's first decisions" in found.reason
    z = np.array(
        [
            target_check(log, importance_weights(log, prefers_one(log, 0.7)), exact_values(log, 0.7))
            for log in map(logged, range(40))
        ]
    )
    assert abs(z.mean()) < 4 / math.sqrt(40) and 0.7 < z.std(ddof=1) < 1.35


def test_the_target_check_by_hand_and_only_where_the_weights_carry() -> None:
    # with dose 1 for certain 1000/2^t patients follow, all carried to the last step; of 80 only the first is
    for n, steps in ((N, 4), (80, 1)):
        log = logged().select(np.arange(n))
        followed = np.cumprod(log.actions, axis=1)
        assert (followed.sum(axis=0) >= 30).sum() == steps
        values = ActionValues.of(log, *(each[:n] for each in vars(exact_values(logged(), 1.0)).values()))
        found = target_check(log, importance_weights(log, prefers_one(log, 1.0)), values)
        terms = ((log.rewards - 1.0) * followed / followed.sum(axis=0))[:, :steps].sum(axis=1)
        assert found == pytest.approx(terms.mean() / (terms.std(ddof=1) / math.sqrt(n)), rel=1e-9)


def test_models_that_contradict_each_other_are_no_answer() -> None:
    log = logged()
    weights, right = importance_weights(log, prefers_one(log, 0.7)), exact_values(log, 0.7)
    one = dm(log, right)
    other = replace(one, estimator="other", value=one.value + 1.0, standard_error=0.1)
    found = decide(log, [replace(one, standard_error=0.1), other], weights=weights, values=right)
    assert found.verdict == "refused" and "models differ by 7.1 standard errors" in found.reason  # 1 / 0.1414


def test_no_number_is_no_answer() -> None:
    log = logged()
    weights = importance_weights(log, prefers_one(log, 0.7))
    good = pdwis(log, weights)
    found = decide(log, [replace(good, estimator="km", value=math.nan), good], weights=weights)
    assert found.answer is good
    alone = decide(log, [replace(good, value=math.nan)], weights=weights)
    assert alone.answer is None and alone.verdict == "refused"
    # nobody has dose 1 four times
    never = log.select(log.actions.sum(axis=1) < STEPS)
    found = decision(never, prefers_one(never, 1.0))
    assert "nobody was dosed as the target doses up to decision 4" in found.reason


def test_the_self_check_by_hand() -> None:
    # two patients, two steps, gamma 1/2, Q = (2, 3), V = (1, 5); the first error is
    # r_0 + r_1 / 2 - (Q_0 - V_0) - (Q_1 - V_1) / 2 - V_0 = 1 + 2 - 1 + 1 - 1 = 2, the second 1 less
    one = np.ones((2, 2), dtype=bool)
    log = Trajectories(
        observations=np.zeros((2, 2, 1)), actions=np.zeros((2, 2)), mask=one,
        rewards=np.array([[1.0, 4.0], [0.0, 4.0]]), terminated=one[:, 0], truncated=~one[:, 0],
    )  # fmt: skip
    values = ActionValues.of(log, np.tile([2.0, 3.0], (2, 1)), np.tile([1.0, 5.0], (2, 1)))
    # mean 3/2, standard error 1/2
    assert self_check(log, values, 0.5) == pytest.approx(3.0, rel=1e-12)
    assert self_check(replace(log, rewards=np.array([[1.0, 4.0], [1.0, 4.0]])), values, 0.5) == math.inf
    assert self_check(replace(log, rewards=np.array([[0.0, 2.0], [0.0, 2.0]])), values, 0.5) == 0.0


def test_marginal_weights_answer_where_courses_are_too_long() -> None:
    rng = np.random.default_rng(3)
    n, steps = 300, 60
    doses = rng.integers(0, 2, size=(n, steps)).astype(np.float64)
    everywhere = np.ones((n, steps), dtype=bool)
    log = Trajectories(
        observations=np.zeros((n, steps, 1)), actions=doses, rewards=doses, mask=everywhere,
        terminated=everywhere[:, 0], truncated=~everywhere[:, 0],
        behaviour_log_prob=np.full((n, steps), math.log(0.5)),
    )  # fmt: skip
    states = np.zeros((n, steps), dtype=np.int64)
    weights = importance_weights(log, prefers_one(log, 0.9))
    found = decide(
        log, [pdwis(log, weights), mis_counted(log, weights, states), wis(log, weights)],
        weights=weights, marginal=counted_weights(log, weights, states),
    )  # fmt: skip
    assert not found.grounds["per-decision"].passed and not found.grounds["trajectory"].passed
    assert found.answer is not None and found.answer.estimator == "mis_counted"
    assert abs(found.answer.value - 0.9 * steps) < 4 * found.answer.standard_error


# --- bad input ---------------------------------------------------------------------------------------------


def test_bad_questions_are_refused() -> None:
    log = logged()
    weights = importance_weights(log, prefers_one(log, 0.7))
    with pytest.raises(ValueError, match="at least one"):
        decide(log, [])
    with pytest.raises(ValueError, match="pdwis is judged by its weights; give weights="):
        decide(log, [pdwis(log, weights)])
    with pytest.raises(ValueError, match="of 1000 patients and the log of 10"):
        decide(log.select(np.arange(10)), [pdwis(log, weights)], weights=weights)
    other = replace(pdwis(log, weights), outcome="harm")
    with pytest.raises(ValueError, match="several outcomes, harm, reward"):
        decide(log, [pdwis(log, weights), other], weights=weights)
