"""What is logged is what happened, and a regimen gives its own log the probabilities it drew with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from dosewright.agents import arm
from dosewright.agents.regimens import Clinician
from dosewright.envs import Intake, Noise, Regimen, Scenario, Treatment, scenario
from dosewright.envs.scenarios import Band
from dosewright.evaluation import (
    Trajectories,
    compare,
    follow_up_log_prob,
    pdwis,
    record,
    target_log_prob,
    whole_intervals,
)
from dosewright.evaluation.ope import importance_weights, share_changed
from dosewright.evaluation.outcomes import ever_in, followed_days, share_of_days

N = 300
NOISE = Noise("select", 1)


def log_of(warfarin: Scenario, regimen: Regimen, patients: int = N) -> Trajectories:
    always = regimen if isinstance(regimen, Clinician) else Clinician(warfarin, [regimen], (1.0,))
    ids, realism = np.arange(patients), warfarin.preset("clinic")
    return record(warfarin, always, warfarin.population, ids, NOISE, realism)


@pytest.fixture(scope="module")
def clinician(warfarin: Scenario) -> Clinician:
    arms = [arm(name, warfarin) for name in ("nomogram", "label", "bayesian")]
    return Clinician(warfarin, arms, (0.5, 0.3, 0.2))


@pytest.fixture(scope="module")
def log(warfarin: Scenario, clinician: Clinician) -> Trajectories:
    return log_of(warfarin, clinician)


def test_a_log_is_the_course_of_the_same_regimen(
    warfarin: Scenario,
    admitted: Callable[..., Intake],
    treated: Callable[[Regimen, Intake], tuple[Treatment, np.ndarray]],
) -> None:
    regimen = arm("nomogram", warfarin)
    log, (treatment, total) = log_of(warfarin, regimen), treated(regimen, admitted(N))
    np.testing.assert_array_equal(np.where(log.mask, log.actions, np.nan), treatment.given)
    np.testing.assert_allclose(log.rewards.sum(axis=1), total, rtol=0, atol=1e-12)
    days = followed_days(treatment.truth) / warfarin.horizon
    benefit, harm = warfarin.benefit, warfarin.harm
    assert isinstance(benefit, Band) and isinstance(harm, Band)
    for name, band in (("benefit", benefit), ("harm", harm)):
        share = share_of_days(band, treatment.truth)
        np.testing.assert_allclose(log.outcomes[name].sum(axis=1), share * days, rtol=0, atol=1e-12)
    assert (log.outcomes["first_harm"].sum(axis=1) == ever_in(harm, treatment.truth)).all()
    # who drops out, whom the environment calls truncated, was lost to follow-up
    assert 0 < log.censored.sum() < N / 4
    assert (log.censored == ~log.terminated).all() and not log.truncated.any()
    assert not np.any(log.behaviour_log_prob)


def test_first_harm_is_in_the_first_interval_with_harm(log: Trajectories) -> None:
    first, harmed = log.outcomes["first_harm"], log.outcomes["harm"] > 0
    assert set(np.unique(first)) == {0.0, 1.0}
    ever = harmed.any(axis=1)
    assert (first[ever].argmax(axis=1) == harmed[ever].argmax(axis=1)).all()
    assert (first.sum(axis=1) == ever).all()
    assert harmed.sum() > ever.sum() > 0


def test_a_log_says_where_it_comes_from(log: Trajectories, warfarin: Scenario) -> None:
    assert log.provenance == {
        "scenario": "warfarin", "scenario_version": warfarin.version, "realism": "clinic",
        "genotype": "diplotype", "regimen": "clinician", "namespace": "select", "seed": 1,
    }  # fmt: skip
    assert log.identifiers.tolist() == list(range(N))
    assert log.observation_names == warfarin.observation.names
    assert log.times is not None
    day = log.observation_names.index("day")
    np.testing.assert_array_equal(log.times[log.mask], log.observations[log.mask][:, day])
    assert set(log.strata) >= {"CYP2C9", "VKORC1"}
    allele = log.observation_names.index("vkorc1_A")
    for genotype in np.unique(log.strata["VKORC1"]):
        assert len(np.unique(log.observations[log.strata["VKORC1"] == genotype, 0, allele])) == 1


def test_the_split_into_blocks_and_the_order_change_nothing(warfarin: Scenario) -> None:
    clinician, ids = Clinician(warfarin, [arm("nomogram", warfarin)], (1.0,)), np.arange(40)
    shared = (NOISE, warfarin.preset("clinic"))
    whole = record(warfarin, clinician, warfarin.population, ids, *shared)
    parts = record(warfarin, clinician, warfarin.population, ids[::-1], *shared, block=7)
    assert parts.content_hash == whole.content_hash
    other = record(warfarin, clinician, warfarin.population, ids + 1, *shared)
    assert other.content_hash != whole.content_hash


def test_a_regimen_without_probabilities_makes_no_log(warfarin: Scenario) -> None:
    with pytest.raises(ValueError, match="regimen 'nomogram' has no log_prob.*wrap it in Clinician or Noisy"):
        record(
            warfarin,
            arm("nomogram", warfarin),  # pyright: ignore[reportArgumentType]
            warfarin.population,
            [0, 1],
            NOISE,
            warfarin.preset("clinic"),
        )


def test_treatments_that_the_scenario_leaves_out_are_no_choice() -> None:
    # fluorouracil: after two delays a cycle is omitted, whatever is wanted, with probability 1
    drug, doses = scenario("fluorouracil"), (3600, 3000)
    clinician = Clinician(drug, [arm(f"fixed-{dose}", drug) for dose in doses], (0.5, 0.5))
    log = record(drug, clinician, drug.population, np.arange(200), NOISE, drug.preset("clinic"))
    omitted = (drug.observation.read(log.observations, "omitted") > 0.5) & log.mask
    assert omitted.sum() > 10
    assert (log.actions[omitted] == 0).all()
    assert log.behaviour_log_prob is not None
    assert (log.behaviour_log_prob[omitted] == 0).all()
    np.testing.assert_allclose(log.behaviour_log_prob[log.mask & ~omitted], np.log(0.5))
    for dose in doses:
        target = target_log_prob(log, arm(f"fixed-{dose}", drug), drug)
        never = (log.actions != dose) & ~omitted & log.mask
        np.testing.assert_array_equal(np.isneginf(target), never)


def test_its_own_probabilities_come_back_from_the_log(
    log: Trajectories, clinician: Clinician, warfarin: Scenario
) -> None:
    log_prob = target_log_prob(log, clinician, warfarin)
    assert log.behaviour_log_prob is not None
    np.testing.assert_array_equal(log_prob[log.mask], log.behaviour_log_prob[log.mask])
    np.testing.assert_array_equal(importance_weights(log, log_prob).mean_weight, 1.0)
    assert share_changed(log, log_prob) == 0.0


def test_components_explain_every_dose(log: Trajectories, clinician: Clinician, warfarin: Scenario) -> None:
    each = [target_log_prob(log, regimen, warfarin) for regimen in clinician.regimens]
    assert all(set(np.unique(one)) == {-np.inf, 0.0} for one in each)
    total = np.tensordot(clinician.probabilities, np.exp(each), axes=1)
    assert log.behaviour_log_prob is not None
    np.testing.assert_allclose(total[log.mask], np.exp(log.behaviour_log_prob[log.mask]), rtol=1e-12)
    followed = [share_changed(log, one) for one in each]
    assert followed[0] < followed[1] < followed[2] < 1


def test_intervals_that_drop_out_cut_short_are_left_out(log: Trajectories) -> None:
    whole = whole_intervals(log)
    gone = log.censored & (log.lengths == 1)
    assert whole.n_patients == N - gone.sum()
    kept = log.select(~gone)
    np.testing.assert_array_equal(whole.lengths, kept.lengths - kept.censored)
    assert (whole.dropped_out == whole.censored).all()
    stayed = ~kept.censored
    np.testing.assert_array_equal(whole.rewards[stayed], kept.rewards[stayed])


def test_nobody_with_a_whole_interval_is_an_error() -> None:
    lost = np.ones(2, dtype=bool)
    log = Trajectories(
        observations=np.zeros((2, 3, 1)),
        actions=np.zeros((2, 3)),
        rewards=np.zeros((2, 3)),
        mask=np.array([[True, False, False]] * 2),
        terminated=~lost,
        truncated=~lost,
        censored=lost,
    )
    with pytest.raises(ValueError, match="all 2 patients dropped out in their first interval"):
        whole_intervals(log)


def test_follow_up_is_what_the_simulator_does(warfarin: Scenario) -> None:
    log = whole_intervals(log_of(warfarin, arm("fixed-5mg", warfarin), 4000))
    expected = np.exp(follow_up_log_prob(warfarin, warfarin.preset("clinic")))
    assert expected[0] == 1.0
    seen = log.mask.mean(axis=0)
    assert seen[0] == 1.0
    np.testing.assert_allclose(seen, expected, rtol=0, atol=4 * np.sqrt(0.06 * 0.94 / 4000))
    assert expected[-1] == pytest.approx(0.98 ** (87 / 365.25 * 12), rel=1e-12)


def test_weights_for_drop_out_give_what_patients_without_it_have(warfarin: Scenario) -> None:
    log = whole_intervals(log_of(warfarin, arm("fixed-5mg", warfarin), 4000))
    followed = np.broadcast_to(follow_up_log_prob(warfarin, warfarin.preset("clinic")), log.mask.shape)
    weights = importance_weights(log, np.zeros(log.mask.shape), followed)
    estimate = pdwis(log, weights, outcome="benefit")
    # drop-out is at random, so those who stayed are a fair sample: nearly the same one, all but 6 %
    benefit = log.outcomes["benefit"].sum(axis=1)
    stayed, chance = benefit[log.terminated].mean(), 4 * estimate.standard_error * np.sqrt(0.06)
    assert abs(estimate.value - stayed) < chance
    assert stayed - benefit.mean() > chance  # in the plain mean, those who left have nothing to come


def test_a_difference_is_that_of_paired_influences(log: Trajectories) -> None:
    stayed = log.select(log.terminated)
    own = stayed.behaviour_log_prob
    assert own is not None
    weights = importance_weights(stayed, own)
    benefit, harm = (pdwis(stayed, weights, outcome=outcome) for outcome in ("benefit", "harm"))
    same = compare(benefit, benefit)
    assert (same.mean, same.standard_error, same.low, same.high) == (0.0, 0.0, 0.0, 0.0)
    other = replace(harm, outcome="benefit")
    found, n = compare(benefit, other), stayed.n_patients
    each = stayed.outcomes["benefit"].sum(axis=1) - stayed.outcomes["harm"].sum(axis=1)
    assert found.mean == pytest.approx(each.mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(each.std() / np.sqrt(n), rel=1e-12)
    assert found.high - found.mean == pytest.approx(found.mean - found.low, rel=1e-12)
    with pytest.raises(ValueError, match="outcome 'benefit' of the policy and 'harm' of the baseline"):
        compare(benefit, harm)
