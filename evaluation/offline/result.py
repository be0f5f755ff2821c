"""One log, several regimens: what off-policy evaluation has to say, with what it stands on.

The log is made ready once (drop-out, propensities), every regimen is asked once what it would have done, and
each outcome is estimated by several estimators and decided by `dosewright.evaluation.ope.decide`. Nothing
here looks at an estimate to choose how it is made.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dosewright.envs import Regimen, Scenario
from dosewright.evaluation.dose_models import DoseModel
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.offline.ready import ReadyLog, make_ready
from dosewright.evaluation.offline.support import Support
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.basis import Monomials
from dosewright.evaluation.ope.comparison import compare
from dosewright.evaluation.ope.decide import Decision, decide
from dosewright.evaluation.ope.diagnostics import Overlap
from dosewright.evaluation.ope.doubly_robust import dm, dr, wdr
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.fitted_q import FittedQ, fqe_per_step
from dosewright.evaluation.ope.fitted_q_cross_fitted import Regressor, fqe_cross_fitted
from dosewright.evaluation.ope.importance import importance_sampling, pdis, pdwis, wis
from dosewright.evaluation.ope.survival import TimeToEvent, weighted_kaplan_meier
from dosewright.evaluation.ope.target import Target, ask_target
from dosewright.evaluation.ope.weights import Weights, importance_weights
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.recording import EVER_IN_HARM
from dosewright.evaluation.statistics import Difference, Interval

RETURN = "return"


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a log says about one regimen.

    Attributes
    ----------
    regimen : its name
    target : what it would have done
    weights : of it on the log
    overlap : diagnostics of the weights by step
    support : how many of its doses the log cannot speak about
    decisions : outcome -> estimates, grounds and answer
    harm : Kaplan-Meier of the first harm; None when the log does not have that outcome
    """

    regimen: str
    target: Target
    weights: Weights
    overlap: Overlap
    support: Support
    decisions: Mapping[str, Decision]
    harm: TimeToEvent | None

    def shown(self, outcome: str, level: float = 0.95) -> Interval:
        """The answer's interval as a reader should see it: a share has limits between 0 and 1.

        As `Decision.interval`, but the limits of a Kaplan-Meier estimate are those of
        `TimeToEvent.probability_interval`, and others are cut, see `possible`.
        """
        decision = self.decisions[outcome]
        if self.harm is not None and decision.answer is not None and decision.answer.estimator == "km":
            return self.harm.probability_interval(level=level)
        return possible(outcome, decision.interval(level))

    @property
    def carried(self) -> bool:
        """Whether somebody in the log was dosed as the regimen doses, at every step."""
        return bool(np.isfinite(self.weights.log_weight).any(axis=0).all())


def possible(outcome: str, interval: Interval) -> Interval:
    """Return an interval without what cannot be: a recorded outcome is a share. That changes no coverage."""
    if outcome not in ("benefit", "harm", EVER_IN_HARM):
        return interval
    return replace(interval, low=max(interval.low, 0.0), high=min(interval.high, 1.0))


@dataclass(frozen=True, eq=False)
class OfflineResult:
    """An off-policy evaluation. Everything in its report is derived from it.

    Attributes
    ----------
    scenario, gamma, seed
        What was asked.
    raw, ready
        The log as it came, and as it was used.
    evidence
        Name -> evidence, the policy first, then its baseline if there is one.
    provenance
        Command, versions, times.
    """

    scenario: Scenario
    gamma: float
    seed: int
    raw: Trajectories
    ready: ReadyLog
    evidence: Mapping[str, Evidence]
    provenance: Mapping[str, Any]

    @property
    def outcomes(self) -> tuple[str, ...]:
        """ "return" and the outcomes of the log."""
        return (RETURN, *self.ready.log.outcomes)

    def difference(self, outcome: str, level: float = 0.95) -> Difference | None:
        """Policy minus baseline from the same patients; None without a baseline, or without both answers.

        Both are estimated by the policy's answer's estimator: two estimators differ by more than regimens do.
        """
        if len(self.evidence) < 2:
            return None
        policy, baseline = (one.decisions[outcome] for one in list(self.evidence.values())[:2])
        answer = policy.answer
        if answer is None or not baseline.grounds[answer.family].passed:
            return None
        same = next(e for e in baseline.estimates if e.estimator == answer.estimator)
        return compare(answer, same, level)


def evaluate_offline(
    log: Trajectories,
    scenario: Scenario,
    policy: Regimen,
    baseline: Regimen | None = None,
    gamma: float = 1.0,
    *,
    behaviour: DoseModel | None = None,
    regressor: Regressor | None = None,
    folds: int = 5,
    seed: int = 0,
    least_patients: int = 1,
    visit_window: float = 0.0,
) -> OfflineResult:
    """Score a policy, and a baseline beside it, from a log that neither of them made.

    Estimators, preferred first: for the risk of harm the end of the weighted Kaplan-Meier curve; then `wdr`
    with values from `fqe_cross_fitted`, `pdwis`, `dr`, `pdis`, `wis`, `is`, and models alone: `fqe_per_step`,
    whose interval includes the fit, and, for comparison, `dm` of the cross-fitted values. The order is fixed;
    what the log cannot carry is struck out by `decide`.

    Parameters
    ----------
    log : of the scenario's observations and doses
    scenario : the decision problem; of the log
    policy, baseline : regimens with another name each; a learned one not trained on the log's patients
    gamma : discount a step; clinical outcomes are asked for with 1
    behaviour : model of the regimen that made the log, where it has no propensities
    regressor : of the values; gradient-boosted trees when None
    folds, seed : of all cross-fitting
    least_patients : of the behaviour model, see `make_ready`
    visit_window : by how much visits may miss the scenario's calendar, in the unit of ``log.times``

    Raises
    ------
    ValueError
        As `make_ready` and `ask_target`; for two regimens of one name.
    """
    started, clock = datetime.now(UTC), time.perf_counter()
    regimens = [policy] if baseline is None else [policy, baseline]
    if len({regimen.name for regimen in regimens}) < len(regimens):
        raise ValueError(f"policy and baseline are both called {policy.name!r}; compare two regimens")
    ready = make_ready(log, scenario, behaviour, folds, seed, least_patients)
    evidence = {
        regimen.name: _evidence(
            ready,
            ask_target(ready.log, regimen, scenario, visit_window),
            regimen.name,
            scenario,
            gamma,
            regressor,
            folds,
            seed,
        )
        for regimen in regimens
    }
    return OfflineResult(
        scenario, gamma, seed, log, ready, evidence, provenance(started, time.perf_counter() - clock)
    )


def _evidence(
    ready: ReadyLog,
    target: Target,
    name: str,
    scenario: Scenario,
    gamma: float,
    regressor: Regressor | None,
    folds: int,
    seed: int,
) -> Evidence:
    log = ready.log
    weights = importance_weights(log, target.log_prob, ready.follow_up)
    modelled = ready.behaviour and ready.behaviour.unsupported(target.doses, log.mask)
    support = Support.of(weights, modelled)
    harm = weighted_kaplan_meier(log, weights, EVER_IN_HARM) if EVER_IN_HARM in log.outcomes else None
    decisions: dict[str, Decision] = {}
    for outcome in (None, *log.outcomes):
        values = fqe_cross_fitted(
            log, target.doses, gamma, outcome, regressor=regressor, folds=folds, seed=seed,
            follow_up_log_prob=ready.follow_up,
        )  # fmt: skip
        linear = fqe_per_step(
            log, target.doses, _basis(log), gamma, outcome, follow_up_log_prob=ready.follow_up
        )
        found = estimates(log, weights, values, linear, gamma, outcome)
        if harm is not None and outcome == EVER_IN_HARM:
            # a risk: the curve keeps it between 0 and 1
            found.insert(0, replace(harm.probability(), estimator="km"))
        decisions[outcome or RETURN] = decide(
            log, found, gamma, weights=weights, values=(values, linear.values), unsupported=support.lacking,
            bounds=support.bounds(log, weights, scenario, gamma, outcome),
        )  # fmt: skip
    return Evidence(name, target, weights, Overlap.of(weights), support, decisions, harm)


def estimates(
    log: Trajectories,
    weights: Weights,
    values: ActionValues,
    linear: FittedQ,
    gamma: float,
    outcome: str | None,
) -> list[Estimate]:
    """Return the estimates of one outcome, the preferred first."""
    weighed = (pdis, wis, importance_sampling)
    return [
        wdr(log, weights, values, gamma, outcome),
        pdwis(log, weights, gamma, outcome),
        dr(log, weights, values, gamma, outcome),
        *(estimator(log, weights, gamma, outcome) for estimator in weighed),
        linear.estimate,
        dm(log, values, outcome),
    ]


def _basis(log: Trajectories) -> Monomials:
    """Squares and products where there are ten patients for each, else what was seen and the dose alone."""
    quantities = log.observations.shape[2] + 1
    features = (quantities + 1) * (quantities + 2) // 2
    return Monomials.of(log, 2 if log.n_patients >= 10 * features else 1)
