"""Hold the decision, whether a log can answer, against what is expected of logs with a known truth.

Each case is asked as a user would: no exact value function, no exact ratio; what a log of its kind allows
(tables and counts for finite states, quadratic fitted Q for a continuous dose, a kernel for a deterministic
one) and nothing else. A case whose truth.json has an ``expected_decision`` must be decided so, by family
where it names families; every other one must be answered, within 4 standard errors of the truth.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.ope_logs import LogCase, load
from benchmarks.ope_models import from_table
from dosewright.evaluation.behaviour import fit_behaviour
from dosewright.evaluation.dose_models import Counts
from dosewright.evaluation.ope import (
    Monomials,
    Table,
    TargetDoses,
    choose_bandwidth,
    counted_weights,
    decide,
    fqe_per_step,
    fqe_pooled,
    importance_weights,
    kernel_log_prob,
    mis_counted,
    pdwis,
    wdr,
    wis,
)
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.bounds import reward_range_bounds
from dosewright.evaluation.ope.decide import Decision
from dosewright.evaluation.ope.diagnostics import unsupported_mass
from dosewright.evaluation.ope.estimate import Family
from dosewright.evaluation.ope.population import population_effective_sample_size

STANDARD_ERRORS = 4.0
_FAMILIES: tuple[Family, ...] = ("trajectory", "per-decision", "marginal", "model")


def faults(folder: Path) -> list[str] | None:
    """Return what is wrong with the decision about a case; None for a folder without one to make."""
    case = load(folder)
    if case is None or "value" not in (truth := json.loads((folder / "truth.json").read_text())):
        return None
    decision = decided(case)
    expected = truth.get("expected_decision")
    if expected is not None:
        return _against(decision, expected)
    if decision.answer is None:
        return [f"false refusal: {decision.reason}"]
    found = decision.interval()
    # what is estimated for a hidden confounder's sake is bounded, not met
    value = truth.get("nominal_weighting_limit", _value(case, truth))
    away = abs(found.mean - value) / found.standard_error
    return [] if away <= STANDARD_ERRORS else [f"{decision}: {away:.1f} standard errors from {value:.6g}"]


def _value(case: LogCase, truth: dict[str, Any]) -> float:
    """The truth of the target that the case's densities are of."""
    stochastic = "target_pdf_stochastic" in case.data
    return float(truth["value_stochastic"] if stochastic else truth["value"])


def _against(decision: Decision, expected: str) -> list[str]:
    """Compare with words such as "refuse: …" or "trajectory … weights: refuse; marginal weights: answer"."""
    wrong: list[str] = []
    clauses = [clause for clause in expected.split(";") if any(family in clause for family in _FAMILIES)]
    for clause in clauses:
        names, _, wanted = clause.partition(":")
        for family, grounds in decision.grounds.items():
            passed = grounds.passed
            if family in names and passed is not wanted.strip().startswith("answer"):
                wrong.append(f"{family} {'answers' if passed else 'refuses'}; expected: {wanted.strip()}")
    if not clauses and expected.startswith("refuse") and decision.answer is not None:
        wrong.append(f"answered, {decision}; expected: {expected}")
    if not clauses and expected.startswith("answer") and decision.answer is None:
        wrong.append(f"{decision}; expected: {expected}")
    return wrong


def decided(case: LogCase) -> Decision:
    """Return the decision about a case."""
    if case.kind == "linear_gaussian":
        return _continuous(case)
    if "censored" in case.spec.get("episode_ends", "") or case.log.censored.any():
        return _with_drop_out(case)
    if case.kind == "tabular":
        return _tabular(case)
    return _one_decision(case)


def _one_decision(case: LogCase) -> Decision:
    weights = case.weights()
    return decide(case.log, [wis(case.log, weights)], weights=weights)


def _with_drop_out(case: LogCase) -> Decision:
    log, steps = case.log, np.arange(1, case.log.horizon + 1)
    followed = np.broadcast_to(steps * math.log1p(-case.spec["dropout_per_step"]), log.mask.shape)
    assert case.target_log_prob is not None
    weights = importance_weights(log, case.target_log_prob, followed)
    return decide(log, [pdwis(log, weights, case.gamma)], case.gamma, weights=weights)


def _tabular(case: LogCase) -> Decision:
    spec, data, gamma, log = case.spec, case.data, case.gamma, case.log
    state, policy = data["state"], np.array(spec["target_policy"])
    if log.behaviour_log_prob is None:
        model = fit_behaviour(log, Counts(pseudo_count=1.0), state[..., None])
        log = replace(log, behaviour_log_prob=model.log_prob)
    assert case.target_log_prob is not None
    weights = importance_weights(log, case.target_log_prob)
    final = data["next_state"][:, -1:]
    target = from_table(log, np.hstack([state, final]), policy)
    tables = Table(spec["n_states"], spec["n_actions"])
    fitted = fqe_pooled(log, target, tables, gamma, final_observations=final)
    marginal = counted_weights(log, weights, state)
    known: dict[str, Any] = {}
    if "behaviour_policy" in spec:
        behaviour = np.array(spec["behaviour_policy"])
        missing = unsupported_mass(policy[state], behaviour[state], log.mask)
        known["unsupported"] = missing.overall
        known["bounds"] = reward_range_bounds(log, weights, missing, (-3.0, 1.0), gamma)
        known["population_sample_size"] = population_effective_sample_size(
            log, state, data["next_state"], behaviour, policy
        )
    estimates = [
        wdr(log, weights, fitted.values, gamma),
        pdwis(log, weights, gamma),
        mis_counted(log, weights, state, gamma),
        wis(log, weights, gamma),
        fitted.estimate,
    ]
    return decide(log, estimates, gamma, weights=weights, marginal=marginal, values=fitted.values, **known)


def _continuous(case: LogCase) -> Decision:
    log, gamma, centre = case.log, case.gamma, case.data["target_mean_action"]
    if case.target_log_prob is None:
        chosen = choose_bandwidth(log, centre[..., 0], lambda weights: pdwis(log, weights, gamma)).bandwidth
        # a dose of several numbers has a product of kernels
        around = sum(
            kernel_log_prob(replace(log, actions=case.data["action"][..., j]), centre[..., j], chosen)
            for j in range(centre.shape[2])
        )
        weights = importance_weights(log, np.asarray(around))
        return decide(log, [pdwis(log, weights, gamma), wis(log, weights, gamma)], gamma, weights=weights)
    weights = case.weights()
    estimates = [pdwis(log, weights, gamma), wis(log, weights, gamma)]
    models: list[ActionValues] = []
    if centre.shape[2] == 1:
        target = TargetDoses.normal(log, centre[..., 0], case.spec["target"]["sd"][0])
        fitted = fqe_per_step(log, target, Monomials.of(log), gamma)
        models.append(fitted.values)
        estimates = [wdr(log, weights, fitted.values, gamma), *estimates, fitted.estimate]
    return decide(log, estimates, gamma, weights=weights, values=models)
