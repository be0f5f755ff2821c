"""Importance weights against hand sums, exact enumeration, and logged data whose truth is known."""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import (
    Estimate,
    importance_sampling,
    importance_weights,
    pdis,
    pdwis,
    wis,
)
from dosewright.evaluation.statistics import student_half_width

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "reference" / "ope"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="shared reference data absent")
ESTIMATORS: dict[str, Callable[..., Estimate]] = {
    "is": importance_sampling,
    "wis": wis,
    "pdis": pdis,
    "pdwis": pdwis,
}


def estimated(
    name: str,
    log: Trajectories,
    target: np.ndarray,
    gamma: float = 1.0,
    outcome: str | None = None,
    followed: np.ndarray | None = None,
) -> Estimate:
    return ESTIMATORS[name](log, importance_weights(log, target, followed), gamma, outcome)


def log_of(
    rewards: np.ndarray,
    behaviour_log_prob: np.ndarray,
    mask: np.ndarray | None = None,
    truncated: np.ndarray | None = None,
    outcomes: Mapping[str, np.ndarray] | None = None,
    propensity: Literal["mass", "density"] = "mass",
) -> Trajectories:
    shape = rewards.shape
    lost = np.zeros(shape[0], dtype=bool) if truncated is None else truncated
    return Trajectories(
        observations=np.zeros((*shape, 1)),
        actions=np.zeros(shape),
        rewards=rewards,
        mask=np.ones(shape, dtype=bool) if mask is None else mask,
        terminated=~lost,
        truncated=lost,
        behaviour_log_prob=behaviour_log_prob,
        outcomes=outcomes or {},
        propensity=propensity,
    )


# --- by hand ----------------------------------------------------------------------------------------------

# Patient 0: ratios 2 then 1/2, rewards 1 then 4. Patient 1: ratio 1, reward 3, then ended, keeping weight 1.
TWO = log_of(
    np.array([[1.0, 4.0], [3.0, 0.0]]),
    np.log([[0.25, 0.5], [0.5, 1.0]]),
    mask=np.array([[True, True], [True, False]]),
)
TWO_TARGET = np.log([[0.5, 0.25], [0.5, 1.0]])


def test_two_patients_by_hand() -> None:
    # w = (2/3, 1/3) then (1/2, 1/2); gamma = 1/2
    estimate, weights = estimated("pdwis", TWO, TWO_TARGET, gamma=0.5), importance_weights(TWO, TWO_TARGET)
    assert estimate.value == pytest.approx(2 / 3 * 1 + 1 / 3 * 3 + 0.5 * (1 / 2 * 4), rel=1e-14)
    assert estimate.influence == pytest.approx([1 / 9, -1 / 9], rel=1e-12)
    assert estimate.standard_error == pytest.approx(math.sqrt(2) / 18, rel=1e-12)
    assert weights.effective_sample_size == pytest.approx([9 / 5, 2.0], rel=1e-14)
    assert weights.max_weight_share == pytest.approx([2 / 3, 1 / 2], rel=1e-14)
    assert weights.mean_weight == pytest.approx([1.5, 1.0], rel=1e-14)
    # judged by Kish's number averaged over steps with weights gamma^t sd(r_t) = (1, 1/2 * 2), df by the last
    assert estimate.effective_sample_size == pytest.approx((9 / 5 + 2.0) / 2, rel=1e-14)
    assert estimate.degrees_of_freedom == pytest.approx(1.0)
    expected = {"pdis": ((2 * 1 + 0.5 * 4) + 3) / 2, "wis": 3.0, "is": 3.0}
    for name, value in expected.items():
        assert estimated(name, TWO, TWO_TARGET, gamma=0.5).value == pytest.approx(value, rel=1e-14)


def test_ended_patient_keeps_the_last_weight() -> None:
    weights = importance_weights(TWO, TWO_TARGET)
    assert np.exp(weights.log_weight[1]) == pytest.approx([1.0, 1.0])
    assert weights.normalised[1, 1] == pytest.approx(0.5)


def test_target_equal_to_behaviour_is_the_plain_mean() -> None:
    assert TWO.behaviour_log_prob is not None
    for name in ESTIMATORS:
        own = estimated(name, TWO, TWO.behaviour_log_prob)
        assert own.value == pytest.approx((5.0 + 3.0) / 2)


def test_nothing_in_the_padding_matters() -> None:
    target = np.array(TWO_TARGET)
    target[1, 1] = np.nan
    plain, padded = importance_weights(TWO, TWO_TARGET), importance_weights(TWO, target)
    assert np.array_equal(plain.log_weight, padded.log_weight)


# --- exact enumeration of a small decision process --------------------------------------------------------

# Two states (low, in range), two doses, at most two decisions; an adverse reaction (reward -2) ends the
# course, else the reward is the next state. Every probability is a multiple of 1/4, so a log exists in which
# every course stands exactly as often as it should: unbiased estimators must return the truth on it.
BEHAVIOUR = np.array([[0.75, 0.25], [0.25, 0.75]])  # (state, dose)
TARGET = np.array([[0.25, 0.75], [0.5, 0.5]])
NEXT_IN_RANGE = np.array([[0.25, 0.75], [0.5, 0.75]])
ADVERSE = np.array([[0.0, 0.25], [0.25, 0.5]])


@dataclass(frozen=True)
class Course:
    probability: float
    doses: tuple[tuple[int, int], ...] = ()
    rewards: tuple[float, ...] = ()
    state: int = 0
    fate: str = "seen"


def one_step(course: Course, stay: float) -> list[Course]:
    if course.fate != "seen":
        return [course]
    followers: list[Course] = []
    for dose in (0, 1):
        p = course.probability * BEHAVIOUR[course.state, dose]
        doses = (*course.doses, (course.state, dose))
        adverse = ADVERSE[course.state, dose]
        followers.append(Course(p * adverse, doses, (*course.rewards, -2.0), 0, "ended"))
        for state in (0, 1):
            reach = NEXT_IN_RANGE[course.state, dose]
            q = p * (1 - adverse) * (reach if state else 1 - reach)
            rewards = (*course.rewards, float(state))
            followers.append(Course(q * stay, doses, rewards, state))
            followers.append(Course(q * (1 - stay), doses, rewards, state, "lost"))
    return [f for f in followers if f.probability > 0]


def exact_log(stay: float) -> tuple[Trajectories, np.ndarray]:
    courses = [Course(0.5, state=0), Course(0.5, state=1)]
    courses = [f for c in courses for f in one_step(c, stay)]
    courses = [f for c in courses for f in one_step(c, 1.0)]
    counts = np.array([c.probability for c in courses]) * 2**15
    assert np.array_equal(counts, np.round(counts)) and counts.sum() == 2**15
    n = len(courses)
    rewards, behaviour, target = np.zeros((n, 2)), np.zeros((n, 2)), np.zeros((n, 2))
    mask = np.zeros((n, 2), dtype=bool)
    for i, course in enumerate(courses):
        for t, (state, dose) in enumerate(course.doses):
            rewards[i, t], mask[i, t] = course.rewards[t], True
            behaviour[i, t], target[i, t] = np.log(BEHAVIOUR[state, dose]), np.log(TARGET[state, dose])
    lost = np.array([c.fate == "lost" for c in courses])
    rows = np.repeat(np.arange(n), counts.astype(int))
    return log_of(rewards, behaviour, mask, lost).select(rows), target[rows]


def exact_value(gamma: float) -> float:
    value = np.zeros(2)
    for _ in range(2):
        lives = NEXT_IN_RANGE * (1 + gamma * value[1]) + (1 - NEXT_IN_RANGE) * gamma * value[0]
        value = (TARGET * (ADVERSE * -2.0 + (1 - ADVERSE) * lives)).sum(axis=1)
    return float(value.mean())


@pytest.mark.parametrize("name", ESTIMATORS)
@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_enumerated_log_returns_the_exact_value(name: str, gamma: float) -> None:
    log, target = exact_log(stay=1.0)
    estimate = estimated(name, log, target, gamma)
    assert estimate.value == pytest.approx(exact_value(gamma), rel=1e-12)
    assert importance_weights(log, target).mean_weight == pytest.approx([1.0, 1.0], rel=1e-12)


def test_leaving_ended_patients_out_would_be_visible() -> None:
    log, target = exact_log(stay=1.0)
    weight = np.exp(importance_weights(log, target).log_weight) * log.mask
    survivors_only = float((weight / weight.sum(axis=0) * log.rewards).sum())
    assert abs(survivors_only - exact_value(1.0)) > 0.05


@pytest.mark.parametrize("name", ESTIMATORS)
def test_drop_out_is_corrected_exactly(name: str) -> None:
    log, target = exact_log(stay=0.75)
    assert log.dropped_out.sum() > 1000
    followed = np.log(np.broadcast_to([1.0, 0.75], log.mask.shape))
    estimate = estimated(name, log, target, followed=followed)
    assert estimate.value == pytest.approx(exact_value(1.0), rel=1e-12)


def test_drop_out_that_is_ignored_is_visible() -> None:
    log, target = exact_log(stay=0.75)
    assert abs(estimated("pdwis", log, target).value - exact_value(1.0)) > 0.03


# --- properties -------------------------------------------------------------------------------------------


def random_log(n: int = 200, horizon: int = 6, seed: int = 3) -> tuple[Trajectories, np.ndarray]:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, horizon + 1, n)
    mask = np.arange(horizon) < lengths[:, None]
    rewards = np.where(mask, rng.normal(size=mask.shape), 0.0)
    behaviour = np.log(rng.uniform(0.3, 0.9, mask.shape))
    target = np.minimum(behaviour + rng.normal(0.0, 0.3, mask.shape), 0.0)
    return log_of(rewards, behaviour, mask), target


@pytest.mark.parametrize("name", ESTIMATORS)
def test_order_of_patients_does_not_matter(name: str) -> None:
    log, target = random_log()
    order = np.random.default_rng(4).permutation(log.n_patients)
    plain, shuffled = estimated(name, log, target), estimated(name, log.select(order), target[order])
    assert shuffled.value == pytest.approx(plain.value, rel=1e-12)
    assert shuffled.influence == pytest.approx(plain.influence[order], rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_influence_is_the_derivative_in_a_patients_share(name: str) -> None:
    # Doubling patient 0 of n moves an estimate by IF_0 / n to first order; the remainder is of order 1/n^2.
    log, target = random_log(n=2000)
    once = estimated(name, log, target)
    i = int(np.argmax(np.abs(once.influence)))
    rows = np.append(np.arange(2000), i)
    twice = estimated(name, log.select(rows), target[rows])
    assert (twice.value - once.value) * 2000 == pytest.approx(once.influence[i], rel=0.05)
    assert once.influence.sum() == pytest.approx(0.0, abs=1e-8)


def test_log_ratios_of_minus_2000_do_not_collapse() -> None:
    log, target = random_log()
    equal_length = replace(log, mask=np.ones_like(log.mask))
    shift = np.full(log.horizon, -2000.0)
    weights = [importance_weights(equal_length, target + shift * far) for far in (0.0, 1.0)]
    for estimator in (wis, pdwis):
        near, far = (estimator(equal_length, own) for own in weights)
        assert far.value == pytest.approx(near.value, rel=1e-9)
        assert abs(far.value) > 1e-3
    near, far = weights
    assert far.effective_sample_size == pytest.approx(near.effective_sample_size, rel=1e-8)
    assert far.mean_weight[-1] == 0.0


def test_the_effective_sample_is_that_of_the_steps_whose_weights_are_used() -> None:
    # Ratio 100 for one patient and 1/100 for the others: one effective patient, until a step that undoes it.
    ratio = np.full((100, 1), -math.log(100.0))
    ratio[0] = math.log(100.0)
    behaviour = np.full((100, 2), -10.0)
    rewards = np.zeros((100, 2))
    rewards[::2] = 1.0
    undone = log_of(rewards, behaviour)
    target = behaviour + np.hstack([ratio, -ratio])
    lonely = (100.0 + 99 / 100.0) ** 2 / (100.0**2 + 99 / 100.0**2)
    assert estimated("wis", undone, target).effective_sample_size == pytest.approx(100.0, rel=1e-12)
    half = (lonely + 100.0) / 2
    assert estimated("pdwis", undone, target).effective_sample_size == pytest.approx(half, rel=1e-12)
    late = behaviour + np.hstack([np.zeros_like(ratio), ratio])
    for name in ("is", "wis"):
        assert estimated(name, undone, late).effective_sample_size == pytest.approx(lonely, rel=1e-12)


def test_no_logged_dose_of_the_target_has_no_value() -> None:
    log, target = random_log()
    weights = importance_weights(log, np.full_like(target, -np.inf))
    assert math.isnan(pdwis(log, weights).value)
    assert weights.mean_weight.tolist() == weights.effective_sample_size.tolist() == [0.0] * 6


def test_overflowing_weights_do_not_crash() -> None:
    log, target = random_log()
    assert log.behaviour_log_prob is not None
    weights = importance_weights(replace(log, behaviour_log_prob=log.behaviour_log_prob - 900.0), target)
    assert np.isinf(weights.mean_weight[0])
    assert not np.isfinite(pdis(log, weights).value)


def test_wrong_propensities_show_in_the_mean_weight() -> None:
    # Propensities half of what they were: every weight doubles, ESS does not see it, the mean does.
    log, _ = random_log(n=500, horizon=1)
    assert log.behaviour_log_prob is not None
    target = np.array(log.behaviour_log_prob)
    halved = importance_weights(
        replace(log, behaviour_log_prob=log.behaviour_log_prob - math.log(2.0)), target
    )
    assert halved.mean_weight == pytest.approx([2.0], rel=1e-12)
    assert halved.effective_sample_size[0] == pytest.approx(500.0)


def test_interval_covers_at_its_level() -> None:
    # One decision, dose 1 given to half, target gives it to 80 %; responses 0.3 and 0.7: the truth is 0.62.
    # 600 logs: binomial standard error of the coverage 0.009.
    rng = np.random.default_rng(11)
    covered = 0
    for _ in range(600):
        dose = rng.random((300, 1)) < 0.5
        reward = (rng.random((300, 1)) < np.where(dose, 0.7, 0.3)).astype(float)
        log = log_of(reward, np.full((300, 1), math.log(0.5)))
        limits = estimated("pdwis", log, np.log(np.where(dose, 0.8, 0.2))).interval()
        covered += limits.low <= 0.62 <= limits.high
    assert abs(covered / 600 - 0.95) < 4 * 0.009


def test_outcome_replaces_the_reward() -> None:
    log, target = exact_log(stay=1.0)
    adverse = replace(log, outcomes={"adverse": (log.rewards == -2.0).astype(float)})
    estimate = estimated("pdwis", adverse, target, outcome="adverse")
    by_state = (TARGET * ADVERSE).sum(axis=1)
    reach = TARGET * (1 - ADVERSE)
    later = (reach * (NEXT_IN_RANGE * by_state[1] + (1 - NEXT_IN_RANGE) * by_state[0])).sum(axis=1)
    assert estimate.value == pytest.approx(float((by_state + later).mean()), rel=1e-12)
    assert estimate.outcome == "adverse"


def test_refusals_say_what_and_how() -> None:
    log, target = random_log()
    with pytest.raises(ValueError, match="behaviour_log_prob is None.*fit a behaviour model"):
        importance_weights(replace(log, behaviour_log_prob=None), target)
    with pytest.raises(ValueError, match=r"target_log_prob has shape \(200, 5\); expected \(200, 6\)"):
        importance_weights(log, target[:, :5])
    probabilities = np.exp(target)
    with pytest.raises(ValueError, match=r"target_log_prob\[0, 0\] = 0\..*take the log"):
        importance_weights(log, probabilities)
    missing = np.array(target)
    missing[7, 0] = np.nan
    with pytest.raises(ValueError, match=r"target_log_prob\[7, 0\] = nan \(patient 7, step 0\)"):
        importance_weights(log, missing)
    with pytest.raises(ValueError, match="follow_up_log_prob is -inf at a step that was seen"):
        importance_weights(log, target, np.full_like(target, -np.inf))
    with pytest.raises(ValueError, match="outcome 'bleed' is not in the log; its outcomes: none"):
        estimated("pdwis", log, target, outcome="bleed")
    with pytest.raises(ValueError, match=r"gamma = 1\.5; expected a discount"):
        estimated("pdwis", log, target, gamma=1.5)
    with pytest.raises(ValueError, match="level = 95; expected a coverage"):
        estimated("pdwis", log, target).interval(95)


def test_print_gives_value_interval_and_effective_sample() -> None:
    log, target = exact_log(stay=1.0)
    text = str(estimated("pdwis", log, target))
    assert text.startswith(f"pdwis of reward: {exact_value(1.0):.4g} (95 % interval")
    assert f"of {2**15}" in text


# --- logged data with known truth -------------------------------------------------------------------------


def read(case: str) -> tuple[Mapping[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    folder = SHARED / case
    reference = json.loads((folder / "reference.json").read_text())
    truth = json.loads((folder / "truth.json").read_text())
    return np.load(folder / "data.npz"), reference, truth


def tabular(case: str) -> tuple[Trajectories, np.ndarray]:
    data, _, _ = read(case)
    horizon = data["reward"].shape[1]
    any_adr = np.zeros(data["reward"].shape)
    any_adr[:, -1] = data["adr"].any(axis=1)
    outcomes = {
        "time_in_range": data["in_range"] / horizon,
        "adr_count": data["adr"].astype(float),
        "any_adr": any_adr,
    }
    log = log_of(data["reward"], np.log(data["behaviour_prob"]), outcomes=outcomes)
    return log, np.log(data["target_prob"])


def lingauss(case: str) -> tuple[Trajectories, np.ndarray]:
    data, _, _ = read(case)
    outcomes = {
        "time_in_range": data["in_range"] / data["reward"].shape[1],
        "exceedances": data["exceedance"].astype(float),
    }
    log = log_of(data["reward"], data["behaviour_logpdf"], outcomes=outcomes, propensity="density")
    return log, data["target_logpdf"]


CASES: dict[str, tuple[Callable[[str], tuple[Trajectories, np.ndarray]], float]] = {
    "tabular_short": (tabular, 0.97),
    "tabular_long": (tabular, 1.0),
    "tabular_no_support": (tabular, 0.97),
    "lingauss_stochastic": (lingauss, 0.97),
    "lingauss_far_target": (lingauss, 0.97),
}
ANSWERED = ("tabular_short", "lingauss_stochastic")


@needs_shared
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_shared_values(case: str, name: str) -> None:
    load, gamma = CASES[case]
    log, target = load(case)
    _, reference, truth = read(case)
    estimate = estimated(name, log, target, gamma)
    assert estimate.value == pytest.approx(reference["estimates"][name], rel=1e-8)
    if name in ("wis", "pdwis"):
        expected = reference["estimates"][f"{name}_delta_se"]
        # far_target leaves one patient: its residual is a difference of equal numbers, ESS - 1 is 1e-16
        assert estimate.standard_error == pytest.approx(expected, rel=1e-8, abs=1e-12)
    if case in ANSWERED:
        assert abs(estimate.value - truth["value"]) < 4 * estimate.standard_error


@needs_shared
@pytest.mark.parametrize("case", CASES)
def test_shared_diagnostics(case: str) -> None:
    log, target = CASES[case][0](case)
    reference = read(case)[1]["diagnostics"]
    weights = importance_weights(log, target)
    assert weights.effective_sample_size == pytest.approx(reference["ess_by_step"], rel=1e-8)
    assert weights.max_weight_share == pytest.approx(reference["max_weight_share_by_step"], rel=1e-8)
    assert weights.mean_weight == pytest.approx(reference["mean_weight_by_step"], rel=1e-8)


@needs_shared
def test_shared_no_support_shows_in_the_mean_weight() -> None:
    weights = importance_weights(*tabular("tabular_no_support"))
    assert weights.effective_sample_size.min() > 180  # ESS alone would have let it pass
    # three standard errors of the mean of 1000 weights below 1, from Kish's number alone
    relative = np.sqrt((1000 / weights.effective_sample_size - 1) / 1000)
    assert ((weights.mean_weight - 1) / relative).min() < -3


@needs_shared
@pytest.mark.parametrize("name", ["is", "pdis"])
def test_shared_student_interval_of_plain_means(name: str) -> None:
    log, target = tabular("tabular_short")
    reference = read("tabular_short")[1]["intervals"][name]
    estimate = estimated(name, log, target, gamma=0.97)
    assert estimate.standard_error == pytest.approx(reference["std_error"], rel=1e-8)
    half = student_half_width(estimate.standard_error, log.n_patients - 1, 0.95)
    limits = [estimate.value - half, estimate.value + half]
    assert limits == pytest.approx(reference["student_t_95"], rel=1e-8)


@needs_shared
def test_shared_end_points_and_genotypes() -> None:
    log, target = tabular("tabular_short")
    data, reference, _ = read("tabular_short")
    for outcome, expected in reference["end_points"].items():
        for name in ("wis", "pdwis"):
            if expected[name] is not None:
                own = estimated(name, log, target, outcome=outcome)
                assert own.value == pytest.approx(expected[name], rel=1e-8)
        for genotype, stratum in expected["by_genotype"].items():
            rows = data["genotype"] == int(genotype)
            estimate = estimated("wis", log.select(rows), target[rows], outcome=outcome)
            assert estimate.value == pytest.approx(stratum["wis"], rel=1e-8)
            assert estimate.effective_sample_size == pytest.approx(stratum["ess"], rel=1e-8)


@needs_shared
@pytest.mark.parametrize("case", ["lingauss_stochastic", "lingauss_far_target"])
def test_shared_lingauss_outcomes(case: str) -> None:
    log, target = lingauss(case)
    reference = read(case)[1]["estimates"]
    for outcome in ("time_in_range", "exceedances"):
        value = estimated("pdwis", log, target, outcome=outcome).value
        assert value == pytest.approx(reference[f"pdwis_{outcome}"], rel=1e-8)


def time_to_adr() -> tuple[Trajectories, np.ndarray, np.ndarray]:
    data, _, _ = read("time_to_adr")
    place = (data["traj"], data["step"])
    rewards, behaviour, target = np.zeros((1200, 24)), np.zeros((1200, 24)), np.zeros((1200, 24))
    mask = np.zeros((1200, 24), dtype=bool)
    rewards[place], mask[place] = data["reward"], True
    behaviour[place], target[place] = np.log(data["behaviour_prob"]), np.log(data["target_prob"])
    followed = np.broadcast_to(np.arange(24) * math.log(0.98), (1200, 24))
    return log_of(rewards, behaviour, mask, truncated=data["event"] == 0), target, followed


@needs_shared
def test_shared_time_to_adr_carries_weights() -> None:
    log, target, _ = time_to_adr()
    reference = read("time_to_adr")[1]["estimates"]
    carried, plain = estimated("pdwis", log, target), estimated("pdis", log, target)
    assert carried.value == pytest.approx(reference["pdwis_ignoring_dropout_weight_carried"], rel=1e-8)
    assert plain.value == pytest.approx(reference["pdis_ignoring_dropout"], rel=1e-8)
    # the classic error is a third higher, and is not what comes out
    assert reference["pdwis_survivors_only_normaliser_WRONG"] - carried.value > 3.0


@needs_shared
def test_shared_time_to_adr_with_follow_up_meets_the_truth() -> None:
    log, target, followed = time_to_adr()
    _, reference, truth = read("time_to_adr")
    plain = estimated("pdis", log, target, followed=followed)
    assert plain.value == pytest.approx(reference["estimates"]["pdis_ipcw"], rel=1e-8)
    normalised = estimated("pdwis", log, target, followed=followed)
    for estimate in (plain, normalised):
        limits = estimate.interval()
        assert limits.low < truth["value"] < limits.high
    assert normalised.standard_error < plain.standard_error


@needs_shared
def test_shared_bandits() -> None:
    data, reference, _ = read("bandit_discrete")
    row = np.arange(len(data["reward"]))
    log = log_of(data["reward"][:, None], np.log(data["behaviour_prob"])[:, None])
    target = np.log(data["target_dist"][row, data["action"]])[:, None]
    expected = reference["estimates"]
    plain, normalised = estimated("is", log, target), estimated("pdwis", log, target)
    assert plain.value == pytest.approx(expected["ipw"], rel=1e-8)
    half = student_half_width(plain.standard_error, log.n_patients - 1, 0.95)
    limits = [plain.value - half, plain.value + half]
    assert limits == pytest.approx(expected["ipw_intervals"]["student_t_95"], rel=1e-8)
    assert normalised.value == pytest.approx(expected["snipw"], rel=1e-8)
    assert normalised.standard_error == pytest.approx(expected["snipw_delta_se"], rel=1e-8)


@needs_shared
@pytest.mark.parametrize("name", ESTIMATORS)
def test_shared_ranking_estimates(name: str) -> None:
    data, reference, _ = read("policy_ranking")
    log = log_of(data["reward"], np.log(data["behaviour_prob"]))
    for policy, expected in zip(data["policies"], reference["estimates"][name], strict=True):
        given = policy[data["state"], data["action"]]
        target = np.log(given, out=np.full_like(given, -np.inf), where=given > 0)
        value = estimated(name, log, target, gamma=0.97).value
        assert value == pytest.approx(expected, rel=1e-8)
