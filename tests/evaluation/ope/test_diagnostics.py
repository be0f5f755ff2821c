"""What weights say about a log: by hand, by enumeration, and where others are silent."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import Weights, importance_weights, pdis, pdwis, wis
from dosewright.evaluation.ope.bounds import reward_range_bounds
from dosewright.evaluation.ope.diagnostics import (
    Overlap,
    carriers,
    mean_weight_z,
    unsupported_mass,
    unsupported_share,
)
from dosewright.evaluation.ope.pareto import pareto_k
from dosewright.evaluation.ope.population import effective_share, population_effective_sample_size


def weights_of(log_weight: np.ndarray) -> Weights:
    everywhere = np.ones(log_weight.shape, dtype=bool)
    return Weights(everywhere, log_weight, log_weight, np.zeros(log_weight.shape), False)


# --- Pareto k ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [0.3, 1.2])
def test_pareto_k_finds_the_shape(k: float) -> None:
    # quantiles of a generalised Pareto distribution of shape k; ten observations of 0.5 pull it in
    n = 40_000
    u = (np.arange(n) + 0.5) / n
    found = pareto_k(np.log((u**-k - 1.0) / k))
    tail = int(3.0 * math.sqrt(n))
    assert found == pytest.approx((tail * k + 5.0) / (tail + 10.0), abs=0.05)


def test_pareto_k_does_not_depend_on_the_unit_or_the_order() -> None:
    logs = np.random.default_rng(1).normal(size=500)
    assert pareto_k(logs[::-1] + 3000.0) == pytest.approx(pareto_k(logs), rel=1e-9)


def test_pareto_k_without_a_tail() -> None:
    assert pareto_k(np.zeros(100)) == -math.inf  # nobody is weighted
    assert pareto_k(np.zeros(10)) == -math.inf
    assert pareto_k(np.arange(10.0)) == math.inf  # two excesses
    assert pareto_k(np.r_[np.zeros(97), 5.0, 6.0, 7.0]) == math.inf  # three alone carry the weight
    assert pareto_k(np.r_[np.full(90, -np.inf), np.zeros(10)]) < 0.0  # ten equal ones: few, but bounded
    assert pareto_k(-1e6 * np.arange(100.0)) == math.inf
    assert pareto_k(np.full(30, -np.inf)) == math.inf


def test_pareto_k_refuses_what_is_no_weight() -> None:
    for logs in (np.array([np.inf, 0.0]), np.array([0.0, np.nan]), np.array([])):
        with pytest.raises(ValueError, match="expected .n,. logarithms"):
            pareto_k(logs)


# --- mean weight, overlap, carriers -----------------------------------------------------------------------


def test_mean_weight_by_hand() -> None:
    weight = np.array([0.5, 1.5, 3.0, 1.0])
    z = mean_weight_z(weights_of(np.log(weight)[:, None]))
    assert z == pytest.approx([(weight.mean() - 1.0) / (weight.std(ddof=1) / 2.0)])


def test_mean_weight_at_the_ends_of_a_float() -> None:
    logs = np.array([[2000.0, -2000.0, 0.0, -np.inf, 1.0, 1e-17], [1999.0, -1999.0, 0.0, -np.inf, 1.0, 0.0]])
    # mean over its standard error, with weights in the ratio 1 : e
    far = (1.0 + math.e) / (math.e - 1.0)
    expected = [far, -math.inf, 0.0, -math.inf, math.inf, 0.0]
    assert mean_weight_z(weights_of(logs)) == pytest.approx(expected)


def test_mean_weight_is_a_test(process: Callable) -> None:
    # right propensities: |z| has about a normal distribution; a behaviour that is wrong shows
    z = [mean_weight_z(process(2, 1.0).draw(400, seed).weights)[-1] for seed in range(60)]
    assert np.mean(np.abs(z) > 1.96) < 0.15
    logged = process(2, 1.0).draw(400, 1)
    # as if the behaviour had given each dose more often than it did
    wrong = importance_weights(logged.log, logged.target_log_prob - 0.5 * logged.log.mask)
    assert mean_weight_z(wrong)[-1] < -4.0


def test_overlap_has_a_row_for_each_step(process: Callable) -> None:
    logged = process(5, 1.0).draw(300, 1)
    found, weights = Overlap.of(logged.weights), logged.weights
    assert found.decided.tolist() == logged.log.mask.sum(axis=0).tolist()
    assert found.pareto_k[2] == pareto_k(weights.log_weight[:, 2])
    assert found.max_weight_share[0] == pytest.approx(weights.weight[:, 0].max() / weights.weight[:, 0].sum())
    assert (found.one_step_effective_sample_size <= found.decided).all()


def test_leaving_a_carrier_out_moves_the_estimate_by_the_influence(process: Callable) -> None:
    logged = process(3, 1.0).draw(200, 1)
    for form in (wis, pdwis):
        estimate = form(logged.log, logged.weights)
        found = carriers(logged.weights, estimate, count=3)
        assert (np.diff(found.share) <= 0).all()
        for patient, share, influence in zip(found.patient, found.share, found.influence, strict=True):
            without = logged.select(np.delete(np.arange(200), patient))
            moved = form(without.log, without.weights).value - estimate.value
            assert moved == pytest.approx(-influence / 200, rel=0.15)
            of_steps = logged.weights.normalised[patient]
            assert share == pytest.approx(of_steps[-1] if form is wis else of_steps.mean())


# --- population effective sample size ---------------------------------------------------------------------


def test_population_number_is_the_second_moment_of_the_weights(process: Callable) -> None:
    # a log of every course as often as it should be: its own moments are the population's, ended ones carried
    logged = process(2, 1.0).every_course()
    log, n = logged.log, logged.log.n_patients
    following = np.roll(logged.states, -1, axis=1)
    # transitions out of the last step are nobody's business
    found = population_effective_sample_size(
        log, logged.states, np.where(log.mask, following, 0),
        np.array([[0.75, 0.25], [0.25, 0.75]]), np.array([[0.25, 0.75], [0.5, 0.5]]),
    )  # fmt: skip
    assert found[0] == pytest.approx(logged.weights.effective_sample_size[0])
    weight = logged.weights.weight
    moments = np.einsum("it->t", weight**2) / n
    assert found[0] == pytest.approx(n / moments[0])


def test_population_number_of_two_steps_by_enumeration() -> None:
    rng = np.random.default_rng(1)
    start, behaviour, target = np.array([0.3, 0.7]), rng.dirichlet([1, 1, 1], 2), rng.dirichlet([1, 1, 1], 2)
    moves = 0.9 * rng.dirichlet([1, 1], (2, 3))  # a tenth of the courses ends after each dose
    moment = 0.0
    for s in range(2):
        for a in range(3):
            ratio = target[s, a] / behaviour[s, a]
            here = start[s] * behaviour[s, a] * ratio**2
            moment += here * (1.0 - moves[s, a].sum())
            for following in range(2):
                for b in range(3):
                    again = target[following, b] / behaviour[following, b]
                    moment += here * moves[s, a, following] * behaviour[following, b] * again**2
    found = effective_share(start, moves, behaviour, target, 2)
    assert found[1] == pytest.approx(1.0 / moment, rel=1e-12)


def test_population_number_of_a_thousand_steps() -> None:
    moves = np.full((1, 2, 1), 1.0)
    found = effective_share([1.0], moves, [[0.5, 0.5]], [[1.0, 0.0]], 1000)
    assert found[9] == pytest.approx(2.0**-10) and found[999] == pytest.approx(2.0**-1000)
    assert effective_share([1.0], moves, [[1.0, 0.0]], [[0.0, 1.0]], 3).tolist() == [0.0, 0.0, 0.0]


def test_population_refusals() -> None:
    log = log_of(np.zeros((1, 1)))
    table = np.full((2, 2), 0.5)
    with pytest.raises(ValueError, match=r"states\[0, 0\] = 2 .patient 0, step 0.; expected an index 0 to 1"):
        population_effective_sample_size(log, [[2]], [[0]], table, table)
    with pytest.raises(ValueError, match=r"target\[1\] = .* sums to 0.9; expected probabilities"):
        population_effective_sample_size(log, [[0]], [[0]], table, [[0.5, 0.5], [0.5, 0.4]])


# --- support and bounds -----------------------------------------------------------------------------------


def log_of(
    rewards: np.ndarray, mask: np.ndarray | None = None, log_prob: np.ndarray | None = None
) -> Trajectories:
    shape = rewards.shape
    return Trajectories(
        observations=np.zeros((*shape, 1)),
        actions=np.zeros(shape),
        rewards=rewards,
        mask=np.ones(shape, dtype=bool) if mask is None else mask,
        terminated=np.ones(shape[0], dtype=bool),
        truncated=np.zeros(shape[0], dtype=bool),
        behaviour_log_prob=np.zeros(shape) if log_prob is None else log_prob,
    )


def test_unsupported_mass_by_hand() -> None:
    target = np.array([[[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]], [[0.0, 0.0, 1.0], [9.0, 9.0, 9.0]]])
    behaviour = np.array([[[0.0, 0.5, 0.5], [0.5, 0.5, 0.0]], [[0.5, 0.0, 0.5], [9.0, 9.0, 9.0]]])
    mask = np.array([[True, True], [True, False]])
    found = unsupported_mass(target, behaviour, mask)
    assert found.by_decision.tolist() == [[0.2, 0.0], [0.0, 0.0]]
    assert found.by_step == pytest.approx([0.1, 0.0])
    assert found.overall == pytest.approx(0.2 / 3.0)
    with pytest.raises(ValueError, match=r"target\[1, 1\] = .*which sum to 1"):
        unsupported_mass(target, behaviour, np.ones((2, 2), dtype=bool))


def test_unsupported_share_by_hand() -> None:
    # ratios 1/2 and 1 of the first patient, 3/2 of the second: mean 1, so nothing is missing
    decided = np.array([[True, True], [True, False]])
    ratio = np.log([[0.5, 1.0], [1.5, 1.0]])
    found = unsupported_share(Weights(decided, ratio, ratio, ratio, False))
    assert found.mean == pytest.approx(0.0, abs=1e-15)
    # a patient's decisions go together: influences 2/3 (2 - 3/2) and 2/3 (1 - 3/2)
    assert found.standard_error == pytest.approx(math.sqrt(2.0 / 9.0) / 2.0)
    assert found.n == 2


def test_unsupported_share_covers_what_the_log_never_gives() -> None:
    # of three doses the log has the first two, half and half; the target gives the third 5 % of the time
    target, n, steps = np.array([0.90, 0.05, 0.05]), 1000, 20
    rng, covered = np.random.default_rng(5), 0
    for _ in range(200):
        ratio = np.log(target[rng.integers(2, size=(n, steps))] / 0.5)
        found = unsupported_share(replace(weights_of(ratio.cumsum(axis=1)), log_ratio=ratio))
        covered += found.low <= 0.05 <= found.high
        assert found.mean - 4.0 * found.standard_error > 0.001
    # the truth is 1 - (0.90 + 0.05); binomial standard error 0.015
    assert abs(covered / 200 - 0.95) < 4 * 0.0154


def test_full_support_raises_no_alarm(process: Callable) -> None:
    found = [unsupported_share(process(3, 1.0).draw(200, seed).weights) for seed in range(100)]
    z = np.array([each.mean / each.standard_error for each in found])
    assert abs(z.mean()) < 4 / math.sqrt(100) and z.max() < 4.0
    assert 0.75 < z.std() < 1.25


def test_bounds_by_hand() -> None:
    # two doses; the log gives only the second, the target each with 1/2: half of the weight is lost at each
    # step. Rewards 1 and 0 of two patients at each of two steps, in a range of -1 to 2.
    log = log_of(np.array([[1.0, 0.0], [0.0, 1.0]]))
    weights = importance_weights(log, np.full((2, 2), math.log(0.5)))
    missing = unsupported_mass(np.full((2, 2, 2), 0.5), np.tile([0.0, 1.0], (2, 2, 1)), log.mask)
    found = reward_range_bounds(log, weights, missing, (-1.0, 2.0), gamma=0.5)
    kept = 0.5 * 0.5 + 0.5 * 0.25 * 0.5  # step 0: half of the weight, mean 1/2; step 1: a quarter
    assert found.lower.value == pytest.approx(kept - (0.5 + 0.5 * 0.75))
    assert found.upper.value == pytest.approx(kept + 2.0 * (0.5 + 0.5 * 0.75))
    low, high = found.interval()
    assert low == found.lower.interval().low and high == found.upper.interval().high
    # all weights alike: what they lack of 1 is what is unsupported
    without = reward_range_bounds(log, weights, None, (-1.0, [2.0, 2.0]), gamma=0.5, return_range=(-1.5, 2.5))
    assert without.lower.value == pytest.approx(found.lower.value)
    assert without.upper.value == pytest.approx(found.upper.value)
    # -1 + (1 + 1) / 2 and (-1 + (0 + 1) / 4) / 2 of the first patient, -1 + 1/2 and (-1 + 2/4) / 2
    terms = np.array([0.0 - 0.375, -0.5 - 0.25])
    assert without.lower.influence == pytest.approx(terms - terms.mean())
    assert without.interval() == (-1.5, 2.5)  # two patients leave no limit within the definition


def test_bounds_with_full_support_are_pdwis(process: Callable) -> None:
    logged = process(3, 1.0).draw(100, 1)
    nothing = unsupported_mass(logged.chance, np.full(logged.chance.shape, 0.5), logged.log.mask)
    found = reward_range_bounds(logged.log, logged.weights, nothing, (-2.0, 1.0))
    point = pdwis(logged.log, logged.weights)
    for bound in (found.lower, found.upper):
        assert bound.value == pytest.approx(point.value)
        assert bound.influence == pytest.approx(point.influence)


def test_bounds_without_a_table_cover_what_the_log_cannot_tell_apart() -> None:
    # doses 0 and 1 are given half and half, dose 2 never; the target gives them 0.2, 0.3 and 0.5 of the time
    pays, target = np.array([0.2, 0.6]), np.array([0.2, 0.3])
    rng, n, covered = np.random.default_rng(6), 200, 0
    known = float(target @ pays)
    for _ in range(300):
        dose = rng.integers(2, size=(n, 1))
        log = log_of((rng.random((n, 1)) < pays[dose]).astype(float), log_prob=np.full((n, 1), math.log(0.5)))
        found = reward_range_bounds(log, importance_weights(log, np.log(target[dose])), None, (0.0, 1.0))
        low, high = found.interval()
        covered += low <= known and known + 0.5 <= high
    # each side at 97.5 %, both about 95; binomial standard error 0.0126
    assert covered / 300 > 0.95 - 4 * 0.0126


def test_bounds_hold_the_truth_where_the_point_does_not() -> None:
    # dose 1 is never logged; the target gives it half of the time and it always pays 1, the other dose 0
    n = 400
    log = log_of(np.zeros((n, 1)))
    weights = importance_weights(log, np.full((n, 1), math.log(0.5)))
    missing = unsupported_mass(np.full((n, 1, 2), 0.5), np.tile([1.0, 0.0], (n, 1, 1)), log.mask)
    found = reward_range_bounds(log, weights, missing, (0.0, 1.0))
    assert (found.lower.value, found.upper.value) == pytest.approx((0.0, 0.5))
    assert pdwis(log, weights).value == pdis(log, weights).value == 0.0
    with pytest.raises(ValueError, match="reward 0.0 of patient 0, step 0 is outside of 0.5 to 1"):
        reward_range_bounds(log, weights, missing, (0.5, 1.0))
