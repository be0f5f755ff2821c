"""Every number of an off-policy evaluation's report, in one dictionary: what `result.json` holds."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from dosewright.evaluation.answer import change, number
from dosewright.evaluation.logged import BoolArray, Trajectories
from dosewright.evaluation.offline.result import RETURN, Evidence, OfflineResult, possible
from dosewright.evaluation.ope.bounds import Bounds
from dosewright.evaluation.ope.decide import decide
from dosewright.evaluation.ope.diagnostics import carriers
from dosewright.evaluation.ope.dose_overlap import dose_overlap
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.importance import pdwis
from dosewright.evaluation.ope.sensitivity import confounding_bounds_per_decision, flipping_odds_ratio
from dosewright.evaluation.ope.target import share_changed
from dosewright.evaluation.ope.weights import importance_weights
from dosewright.evaluation.recording import EVER_IN_HARM
from dosewright.evaluation.records import as_record
from dosewright.evaluation.report.checklists import OFF_POLICY, checklist
from dosewright.evaluation.statistics import Difference, Interval
from dosewright.evaluation.summary import NOTICE, SMALLEST_SUBGROUP

HEAVIEST = 10
"""Patients that are listed because they carry the weight."""


def summarise_offline(result: OfflineResult) -> dict[str, Any]:
    """Return everything that the report says in numbers, ready for JSON; what is not finite is None."""
    scenario, names = result.scenario, list(result.evidence)
    baseline = names[1] if len(names) > 1 else None
    summary = {
        "notice": NOTICE,
        "kind": OFF_POLICY,
        "question": _question(result, names[0], baseline),
        "scenario": {
            "name": scenario.name,
            "title": scenario.title,
            "version": scenario.version,
            "dose_unit": scenario.doses.unit,
            "benefit": scenario.benefit.label,
            "harm": scenario.harm.label,
            "event": scenario.event.label,
            "weight": scenario.weight,
            "margin": scenario.margin,
        },
        "gamma": result.gamma,
        "seed": result.seed,
        "policy": names[0],
        "baseline": baseline,
        "answer": _answer(result, names[0], baseline),
        "log": _log(result),
        "outcomes": [_outcome(result, name) for name in result.outcomes],
        "regimens": {name: _regimen(result, one) for name, one in result.evidence.items()},
        "contrasts": {name: _contrast(result.difference(name)) for name in result.outcomes},
        "subgroups": _subgroups(result, names),
        "confounding": _confounding(result, names),
        "provenance": dict(result.provenance),
    }
    summary = _finite(summary)
    return {**summary, "checklists": [asdict(item) for item in checklist(summary)]}


def _contrast(found: Difference | None) -> dict[str, Any] | None:
    return None if found is None else as_record(found)


def _question(result: OfflineResult, policy: str, baseline: str | None) -> str:
    log, made = result.raw, result.raw.provenance.get("regimen")
    who = f"{log.n_patients:,} patients dosed by {made}" if made else f"{log.n_patients:,} logged patients"
    against = f", and how does it compare with {baseline}?" if baseline else "?"
    return f"What would {policy} do for patients like these: {who}{against}"


def _outcome(result: OfflineResult, name: str) -> dict[str, Any]:
    scenario = result.scenario
    known = {
        RETURN: (_return_label(result), "return", "higher"),
        "benefit": (f"share of {scenario.clock.units} with {scenario.benefit.label}", "share", "higher"),
        "harm": (f"share of {scenario.clock.units} with {scenario.harm.label}", "share", "lower"),
        EVER_IN_HARM: (f"patients ever with {scenario.harm.label}", "share", "lower"),
    }
    label, unit, better = known.get(name, (name, "return", "higher"))
    return {"name": name, "label": label, "unit": unit, "better": better}


def _return_label(result: OfflineResult) -> str:
    """Say what the log's reward is, where its own outcomes say that it is the scenario's."""
    log, weight = result.ready.log, result.scenario.weight
    if {"benefit", "harm"} <= log.outcomes.keys():
        scored = log.outcomes["benefit"] - weight * log.outcomes["harm"]
        if np.allclose(log.rewards, scored, rtol=1e-5, atol=1e-6):
            return f"return: benefit − {weight:g} × harm"
    return "return: sum of the rewards in the log"


def _answer(result: OfflineResult, policy: str, baseline: str | None) -> dict[str, Any]:
    decisions = result.evidence[policy].decisions
    benefit = RETURN if "benefit" not in decisions else "benefit"
    sentences = [_said(result, policy, baseline, benefit, "In benefit")]
    if EVER_IN_HARM in decisions:
        sentences.append(_said(result, policy, baseline, EVER_IN_HARM, "In harm"))
    return {"sentences": sentences, "verdict": decisions[benefit].verdict}


def _said(result: OfflineResult, policy: str, baseline: str | None, name: str, start: str) -> str:
    """One sentence about one outcome, whatever the decision was."""
    outcome, one = _outcome(result, name), result.evidence[policy]
    decision = one.decisions[name]
    unit, label = outcome["unit"], outcome["label"]
    if decision.answer is None:
        if decision.bounds is not None:
            low, high = (number(limit, unit) for limit in decision.bounds.interval())
            lacking = number(one.support.share.mean, "share")
            return (
                f"{start}, the log only confines {policy}: {label} between {low} and {high}, as {lacking} of "
                "its doses are never given at such visits."
            )
        return f"{start}, this log cannot say what {policy} would do ({decision.reason})."
    shown = one.shown(name)
    limits = f"{number(shown.low, unit)} to {number(shown.high, unit)}"
    flag = ", by a model alone" if decision.verdict == "model-based" else ""
    text = (
        f"{start}, {policy} is expected to give {number(shown.mean, unit)} "
        f"({label}; 95 % interval {limits}{flag})"
    )
    if baseline is None:
        return text + "."
    difference = result.difference(name)
    if difference is None:
        return f"{text}; of {baseline} the log cannot say as much."
    points = " points" if unit == "share" else ""
    low, high = change(difference.low, unit), change(difference.high, unit)
    return f"{text}: {change(difference.mean, unit)}{points} against {baseline} ({low} to {high})."


def _log(result: OfflineResult) -> dict[str, Any]:
    raw, ready = result.raw, result.ready
    behaviour = ready.behaviour
    return {
        "patients": raw.n_patients,
        "used": ready.log.n_patients,
        "left_out": ready.left_out,
        "decisions": int(raw.mask.sum()),
        "most_decisions": raw.horizon,
        "terminated": int(raw.terminated.sum()),
        "truncated": int((raw.truncated & ~raw.terminated).sum()),
        "censored": int(raw.censored.sum()),
        "follow_up": ready.follow_up_source,
        "content_hash": raw.content_hash,
        "origin": dict(raw.provenance),
        "mean_return": float((ready.log.rewards.sum(axis=1)).mean()),
        "propensities": "logged" if behaviour is None else str(behaviour),
    }


def _regimen(result: OfflineResult, one: Evidence) -> dict[str, Any]:
    log = result.ready.log
    preferred = one.decisions[RETURN].answer or one.decisions[RETURN].estimates[0]
    heaviest = carriers(one.weights, preferred, HEAVIEST) if one.carried else None
    ids = log.patients if log.patients is not None else np.arange(log.n_patients)
    overlap = dose_overlap(log, one.target.doses)
    return {
        "changed": share_changed(log, one.target.log_prob),
        "unsupported": _limits_of(one.support.share),
        "outcomes": {name: _decision(one, name) for name in one.decisions},
        "harm_curve": _curve(one),
        "overlap": [
            {key: values[step] for key, values in asdict(one.overlap).items()} for step in range(log.horizon)
        ],
        "doses": {
            "dose": overlap.doses,
            "logged": overlap.logged[0] / overlap.decisions[0],
            "wanted": overlap.wanted[0] / overlap.decisions[0],
        },
        "carriers": []
        if heaviest is None
        else [
            {"patient": ids[row], "share": share, "influence": influence}
            for row, share, influence in zip(
                heaviest.patient, heaviest.share, heaviest.influence, strict=True
            )
        ],
    }


def _decision(one: Evidence, name: str) -> dict[str, Any]:
    decision = one.decisions[name]
    answer = decision.answer
    return {
        "verdict": decision.verdict,
        "reason": decision.reason,
        "answer": None if answer is None else {"estimator": answer.estimator, **_limits_of(one.shown(name))},
        "bounds": None if decision.bounds is None else _limits(decision.bounds),
        "self_check_z": decision.self_check_z,
        "estimates": [
            {
                "estimator": e.estimator,
                "family": e.family,
                **_interval(e),
                "standard_error": e.standard_error,
                "effective_sample_size": e.effective_sample_size,
                "passed": decision.grounds[e.family].passed,
                "reasons": list(decision.grounds[e.family].reasons),
            }
            for e in decision.estimates
        ],
        "grounds": {
            family: {
                "effective_sample_size": grounds.effective_sample_size,
                "mean_weight_z": grounds.mean_weight_z,
                "pareto_k": grounds.pareto_k,
                "reasons": list(grounds.reasons),
            }
            for family, grounds in decision.grounds.items()
        },
    }


def _interval(estimate: Estimate) -> dict[str, float]:
    return _limits_of(estimate.interval())


def _limits_of(found: Interval) -> dict[str, float]:
    return {"mean": found.mean, "low": found.low, "high": found.high}


def _limits(bounds: Bounds) -> dict[str, float]:
    low, high = bounds.interval()
    return {"low": low, "high": high}


def _curve(one: Evidence) -> dict[str, Any] | None:
    """Cumulative probability of a first harm by decision, only where its family may answer."""
    if one.harm is None or not one.decisions[EVER_IN_HARM].grounds["per-decision"].passed:
        return None
    steps = range(1, len(one.harm.hazard) + 1)
    found = [one.harm.probability_interval(step) for step in steps]
    free = one.harm.restricted_mean().interval()
    return {
        "mean": [i.mean for i in found],
        "low": [i.low for i in found],
        "high": [i.high for i in found],
        "restricted_mean_steps": {"mean": free.mean, "low": free.low, "high": free.high},
    }


def _subgroups(result: OfflineResult, names: list[str]) -> dict[str, Any]:
    """The policy's return and harm by stratum of the log, each judged on its own patients."""
    one, log = result.evidence[names[0]], result.ready.log
    rows = []
    for kind, labels in log.strata.items():
        for label in np.unique(labels):
            chosen: BoolArray = labels == label
            row: dict[str, Any] = {"kind": kind, "label": str(label), "n": int(chosen.sum())}
            if row["n"] < SMALLEST_SUBGROUP:
                row |= dict.fromkeys((RETURN, EVER_IN_HARM), None)
                row["reason"] = f"fewer than {SMALLEST_SUBGROUP} patients"
            else:
                row |= _subgroup(result, one, log, chosen)
            rows.append(row)
    return {"smallest": SMALLEST_SUBGROUP, "rows": rows}


def _subgroup(result: OfflineResult, one: Evidence, log: Trajectories, chosen: BoolArray) -> dict[str, Any]:
    part, follow_up = log.select(chosen), result.ready.follow_up
    weights = importance_weights(
        part, one.target.log_prob[chosen], None if follow_up is None else follow_up[chosen]
    )
    lacking = one.support.of_some(weights, chosen).lacking
    found: dict[str, Any] = {}
    reasons: list[str] = []
    for name in [outcome for outcome in (RETURN, EVER_IN_HARM) if outcome in one.decisions]:
        estimate = pdwis(part, weights, result.gamma, None if name == RETURN else name)
        decision = decide(part, [estimate], result.gamma, weights=weights, unsupported=lacking)
        found[name] = _limits_of(possible(name, estimate.interval())) if decision.answer else None
        reasons += [decision.reason] if decision.reason not in reasons else []
    return found | {"reason": "; ".join(reason for reason in reasons if reason)}


def _confounding(result: OfflineResult, names: list[str]) -> dict[str, Any] | None:
    """How strong an unlogged reason for the doses would have to be to overturn the claim of more return."""
    log = result.ready.log
    first = result.evidence[names[0]]
    answered = [result.evidence[name].decisions[RETURN].verdict == "answered" for name in names]
    if log.propensity != "mass" or not all(answered):
        return None

    def bounds(one: Evidence, odds_ratio: float) -> Bounds:
        return confounding_bounds_per_decision(log, one.target.log_prob, odds_ratio, result.gamma)

    if len(names) < 2:
        made = float((log.rewards * result.gamma ** np.arange(log.horizon)).sum(axis=1).mean())
        claim = f"return above {made:.3f}, the mean of the log"
        flip = flipping_odds_ratio(lambda g: bounds(first, g).lower.value, made)
    else:
        second = result.evidence[names[1]]
        claim = f"more return than {names[1]}"
        flip = flipping_odds_ratio(lambda g: bounds(first, g).lower.value - bounds(second, g).upper.value)
    rows = []
    for odds_ratio in (1.0, 1.1, 1.25, 1.5, 2.0):
        own = bounds(first, odds_ratio)
        rows.append({"odds_ratio": odds_ratio, "lower": own.lower.value, "upper": own.upper.value})
    return {"claim": claim, "flips_at": flip, "corrected_for_drop_out": False, "rows": rows}


def _finite(value: Any) -> Any:
    """Return a value that JSON can hold: arrays as lists, and None for what is not finite."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return _finite(value.tolist())
    if isinstance(value, str):
        return value
    if isinstance(value, Iterable):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
