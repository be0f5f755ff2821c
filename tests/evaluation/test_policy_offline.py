"""A policy is scored from a log it did not make, and the simulator knows the truth.

A clinician follows the nomogram or the policy's advice, at random anew at every visit. From that log alone,
benefit and adverse reactions under either regimen are estimated, and compared with those of other patients,
really treated by it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files

import numpy as np
import pytest

from dosewright.agents import arm, load
from dosewright.agents.regimens import Clinician
from dosewright.envs import Noise, Regimen, Scenario, scenario
from dosewright.evaluation import (
    Difference,
    Interval,
    Trajectories,
    TrialResult,
    run_trial,
)
from dosewright.evaluation.ope import (
    compare,
    importance_weights,
    pdwis,
    share_changed,
    target_log_prob,
)
from dosewright.evaluation.ope.decide import MINIMUM_EFFECTIVE_PATIENTS, Decision, decide
from dosewright.evaluation.recording import follow_up_log_prob, record, whole_intervals

WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")
# The two regimens differ at nine visits of ten, and each such visit costs half of the effective sample: after
# the scenario's eleven visits about a thousandth is left, after five in the same 90 days a thirtieth.
FIVE_VISITS = replace(WARFARIN, calendar=(0, 5, 14, 28, 56))
NOMOGRAM = 0.5  # with any other share, one of the two regimens has a smaller effective sample
OUTCOMES = {"benefit": "benefit", "first_harm": "ever_harm"}  # in a log, in a trial
LOG_NOISE, TRUTH_NOISE = Noise("select", 2), Noise("select", 1002)


def regimens(problem: Scenario) -> dict[str, Regimen]:
    """The policy that ships, else adaptive Bayesian monitoring; and the clinic's nomogram."""
    shipped = (files("dosewright.agents.pretrained") / problem.name / "card.json").is_file()
    return {
        "policy": load(problem.name) if shipped else arm("bayesian-adaptive", problem),
        "nomogram": arm("nomogram", problem),
    }


def logged(
    problem: Scenario, targets: dict[str, Regimen], patients: int, noise: Noise = LOG_NOISE
) -> Trajectories:
    clinician = Clinician(problem, [targets["nomogram"], targets["policy"]], (NOMOGRAM, 1 - NOMOGRAM))
    return whole_intervals(record(problem, clinician, problem.population, np.arange(patients), noise, CLINIC))


def decisions(
    problem: Scenario, log: Trajectories, log_prob: dict[str, np.ndarray]
) -> dict[tuple[str, str], Decision]:
    followed = np.broadcast_to(follow_up_log_prob(problem, CLINIC), log.mask.shape)
    weights = {name: importance_weights(log, own, followed) for name, own in log_prob.items()}
    return {
        (name, outcome): decide(log, [pdwis(log, weights[name], outcome=outcome)], weights=weights[name])
        for name in log_prob
        for outcome in OUTCOMES
    }


@dataclass(frozen=True)
class Evidence:
    """A log, what it says, and how it really is."""

    log: Trajectories
    log_prob: dict[str, np.ndarray]
    decisions: dict[tuple[str, str], Decision]
    trial: TrialResult

    def truth(self, name: str, outcome: str) -> Interval:
        return self.trial.estimate(name, OUTCOMES[outcome])

    def true_difference(self, outcome: str) -> Difference:
        return self.trial.difference("policy", "nomogram", OUTCOMES[outcome])


@pytest.fixture(
    scope="module",
    params=[
        pytest.param((6_000, 4_000), id="6000"),
        pytest.param((20_000, 50_000), id="20000", marks=pytest.mark.slow),
    ],
)
def evidence(request: pytest.FixtureRequest) -> Evidence:
    patients, treated = request.param
    targets = regimens(FIVE_VISITS)
    log = logged(FIVE_VISITS, targets, patients)
    log_prob = {name: target_log_prob(log, regimen, FIVE_VISITS) for name, regimen in targets.items()}
    # other patients than those of the log, all followed to the end: what the weights for drop-out stand for
    everyone = replace(CLINIC, dropout_per_month=0.0)
    trial = run_trial(FIVE_VISITS, targets, FIVE_VISITS.population, np.arange(treated), TRUTH_NOISE, everyone)
    return Evidence(log, log_prob, decisions(FIVE_VISITS, log, log_prob), trial)


def test_the_clinician_is_another_regimen(evidence: Evidence) -> None:
    for name, log_prob in evidence.log_prob.items():
        changed = share_changed(evidence.log, log_prob)
        print(f"{name}: another dose, by a tablet or more, at {100 * changed:.1f} % of visits")
        assert changed >= 0.30


@pytest.mark.parametrize(
    ("name", "outcome"), [("policy", "benefit"), ("policy", "first_harm"), ("nomogram", "benefit")]
)
def test_the_plain_mean_of_the_log_misses_the_truth(evidence: Evidence, name: str, outcome: str) -> None:
    # only those who stayed: drop-out is no part of the miss
    courses = evidence.log.outcomes[outcome][evidence.log.terminated].sum(axis=1)
    standard_error = courses.std(ddof=1) / np.sqrt(len(courses))
    truth = evidence.truth(name, outcome)
    print(f"{outcome} in the log: {courses.mean():.4f} (SE {standard_error:.4f}); {name}: {truth}")
    assert abs(courses.mean() - truth.mean) > 4 * standard_error + 2 * truth.standard_error


@pytest.mark.parametrize("outcome", OUTCOMES)
@pytest.mark.parametrize("name", ["policy", "nomogram"])
def test_the_estimate_finds_the_truth(evidence: Evidence, name: str, outcome: str) -> None:
    decision, truth = evidence.decisions[name, outcome], evidence.truth(name, outcome)
    print(f"{name}: {decision}; truth {truth}")
    assert decision.verdict == "answered", decision.reason
    found = decision.interval()
    assert abs(found.mean - truth.mean) < 4 * np.hypot(found.standard_error, truth.standard_error)
    assert found.low < found.mean < found.high


@pytest.mark.parametrize("name", ["policy", "nomogram"])
def test_the_effective_sample_is_large_enough_and_reported(evidence: Evidence, name: str) -> None:
    for outcome in OUTCOMES:
        decision = evidence.decisions[name, outcome]
        effective = decision.grounds["per-decision"].effective_sample_size
        assert effective > 3 * MINIMUM_EFFECTIVE_PATIENTS
        assert f"effective sample {effective:.1f} of {evidence.log.n_patients}" in str(decision)


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_the_difference_is_on_the_right_side_or_covers_the_truth(evidence: Evidence, outcome: str) -> None:
    policy, nomogram = (evidence.decisions[name, outcome].estimates[0] for name in ("policy", "nomogram"))
    found = compare(policy, nomogram)
    truth = evidence.true_difference(outcome)
    print(f"policy - nomogram, {outcome}: {found}; truth {truth}")
    apart = np.sign(found.low) == np.sign(found.high) == np.sign(truth.mean)
    assert apart or found.low <= truth.mean <= found.high
    assert found.standard_error > 0


def test_eleven_visits_are_refused() -> None:
    targets = regimens(WARFARIN)
    log = logged(WARFARIN, targets, 400)
    log_prob = {"nomogram": target_log_prob(log, targets["nomogram"], WARFARIN)}
    found = decisions(WARFARIN, log, log_prob)["nomogram", "benefit"]
    assert found.verdict == "refused" and found.answer is None
    assert "effective sample size" in found.reason and "refused" in str(found)
    assert (found.interval().low, found.interval().high) == (-np.inf, np.inf)


def test_the_same_seed_gives_the_same_estimate() -> None:
    targets = regimens(FIVE_VISITS)

    def values(seed: int) -> list[float]:
        log = logged(FIVE_VISITS, targets, 150, Noise("select", seed))
        log_prob = {name: target_log_prob(log, regimen, FIVE_VISITS) for name, regimen in targets.items()}
        found = [decision.estimates[0] for decision in decisions(FIVE_VISITS, log, log_prob).values()]
        return [x for e in found for x in (e.value, e.standard_error, e.effective_sample_size)]

    assert values(5) == values(5)
    assert values(5) != values(6)
