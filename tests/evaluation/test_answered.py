"""Clinical and learned regimens of several drugs, scored from logs they did not make, against the truth.

The clinician wants what the target wants and gives another tablet now and then. From that log alone, benefit
and the risk of ever being in harm under the target are estimated, and compared with other patients, really
treated by the target and followed to the end. `python -m benchmarks.answered` does the same for all drugs and
many logs, and counts how often the intervals hold the truth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dosewright.agents import arm, load
from dosewright.agents.regimens import Bayesian, Noisy, Steps
from dosewright.envs import Noise, Regimen, Scenario, scenario
from dosewright.evaluation.ope import importance_weights, pdwis, target_log_prob
from dosewright.evaluation.ope.decide import Decision, decide
from dosewright.evaluation.recording import follow_up_log_prob, record, whole_intervals

# drug, regimen, patients logged and patients treated for the truth; a belief costs more than a rule
TARGETS = {
    "warfarin policy": ("warfarin", "policy", 600, 1000),
    "warfarin nomogram": ("warfarin", "nomogram", 1000, 2000),
    "tacrolimus nomogram": ("tacrolimus", "nomogram", 1000, 2000),
    "vancomycin label": ("vancomycin", "label", 1000, 2000),
    "busulfan Bayesian monitoring": ("busulfan", "bayesian", 300, 300),
}
OUTCOMES = ("benefit", "first_harm")


def target_of(problem: Scenario, name: str) -> Regimen:
    if name == "bayesian":
        return Bayesian(problem, particles=16)
    return load(problem.name) if name == "policy" else arm(name, problem)


def answers(problem: Scenario, target: Regimen, patients: int) -> dict[str, Decision]:
    clinic = problem.preset("clinic")
    clinician = Noisy(problem, target, Steps({-1: 0.05, 0: 0.9, 1: 0.05}))
    made = record(problem, clinician, problem.population, np.arange(patients), Noise("select", 31), clinic)
    log = whole_intervals(made) if made.censored.any() else made
    followed = np.broadcast_to(follow_up_log_prob(problem, clinic), log.mask.shape)
    weights = importance_weights(log, target_log_prob(log, target, problem), followed)
    return {
        outcome: decide(log, [pdwis(log, weights, outcome=outcome)], weights=weights) for outcome in OUTCOMES
    }


def truth(problem: Scenario, target: Regimen, patients: int) -> dict[str, np.ndarray]:
    everyone = replace(problem.preset("clinic"), dropout_per_month=0.0)
    always = Noisy(problem, target, Steps({0: 1.0}))
    made = record(problem, always, problem.population, np.arange(patients), Noise("select", 32), everyone)
    return {outcome: made.outcomes[outcome].sum(axis=1) for outcome in OUTCOMES}


@pytest.mark.parametrize("case", TARGETS)
def test_the_answer_is_the_truth_within_its_error(case: str) -> None:
    drug, name, logged, treated = TARGETS[case]
    problem = scenario(drug)
    target = target_of(problem, name)
    found, right = answers(problem, target, logged), truth(problem, target, treated)
    for outcome in OUTCOMES:
        decision, courses = found[outcome], right[outcome]
        assert decision.verdict == "answered", decision.reason
        estimate, error = decision.interval(), courses.std(ddof=1) / np.sqrt(len(courses))
        print(f"{case}, {outcome}: {decision}; truth {courses.mean():.4f} (SE {error:.4f})")
        assert abs(estimate.mean - courses.mean()) < 4 * np.hypot(estimate.standard_error, error)
        assert 0 < estimate.high - estimate.low < 0.25
