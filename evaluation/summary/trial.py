"""Every number of a trial's report, in one dictionary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from dosewright.envs import Scenario
from dosewright.envs.realism import Realism
from dosewright.evaluation.answer import answer, main_comparison, question
from dosewright.evaluation.records import as_record
from dosewright.evaluation.report.checklists import TRIAL, checklist
from dosewright.evaluation.sensitivity import Sensitivity, sensitivity_record
from dosewright.evaluation.summary.differences import (
    benefit_records,
    difference_records,
    estimate,
    outcomes_of,
)
from dosewright.evaluation.summary.first_harm import first_harm_records
from dosewright.evaluation.summary.harms import harm_records
from dosewright.evaluation.summary.patients import example, patients, shown_arms
from dosewright.evaluation.summary.subgroups import subgroup_records
from dosewright.evaluation.summary.training_seeds import training_seed_records
from dosewright.evaluation.trial import ArmResult, TrialResult

NOTICE = "Research simulation, not for clinical use"


def summarise(
    result: TrialResult,
    reference: str,
    policy: str | None = None,
    *,
    sensitivity: Sensitivity | None = None,
    trained: Mapping[str, Sequence[str]] | None = None,
    fronts: Mapping[str, Mapping[str, float]] | None = None,
    explained: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return everything that a report says in numbers, ready for JSON.

    Parameters
    ----------
    result
        The trial.
    reference
        Arm that the table of differences compares with.
    policy
        The learned arm that the trial is about; None: the best arm that is not an upper bound.
    sensitivity
        The main comparison in other worlds (`dosewright.evaluation.sensitivity`), where it was run.
    trained
        Name of a training -> its arms, which differ in the training seed only.
    fronts
        Policy -> its arms, which differ in the weight of safety against benefit only -> that weight.
    explained
        The policy explained, as `dosewright.evaluation.report.explanation` shows it.

    Raises
    ------
    ValueError
        For an unknown arm, a policy that is the reference or an upper bound, a sensitivity analysis of
        another comparison, or as `training_seed_records`.
    """
    result.arm(reference)
    if policy == reference:
        raise ValueError(f"policy arm {policy!r} is also the reference arm; name another reference")
    scenario, found = result.scenario, answer(result, policy)
    arm, against = main_comparison(found, reference)
    if sensitivity is not None and (sensitivity.arm, sensitivity.against) != (arm, against):
        raise ValueError(
            f"sensitivity analysis of {sensitivity.arm} against {sensitivity.against}; this trial compares "
            f"{arm} with {against}"
        )
    shown = shown_arms(result, found, reference)
    summary = {
        "notice": NOTICE,
        "kind": TRIAL,
        "scenario": _scenario(scenario),
        "realism": result.realism,
        "conditions": _conditions(scenario.preset(result.realism)),
        "genotype": result.genotype,
        "namespace": result.namespace,
        "seed": result.seed,
        "reference": reference,
        "question": question(result, found),
        "answer": found,
        "patients": patients(result),
        "outcomes": [
            {
                "name": o.name,
                "label": o.label,
                "unit": o.unit,
                "kind": o.kind,
                "better": o.better,
                "flag": o.flag,
            }
            for o in scenario.outcomes
        ],
        "arms": {name: _arm(result, item) for name, item in result.arms.items()},
        "differences": difference_records(result, reference),
        "benefit": benefit_records(result, reference),
        "harms": harm_records(result, reference),
        "first_harm": first_harm_records(result, reference, shown),
        "subgroups": subgroup_records(result, arm, against),
        "fronts": {name: _front(result, arms) for name, arms in (fronts or {}).items()},
        "training_seeds": training_seed_records(result, reference, trained or {}),
        "sensitivity": None if sensitivity is None else sensitivity_record(sensitivity, scenario.margin),
        "explanation": None if explained is None else dict(explained),
        "example": example(result, shown),
        "precision": None if result.precision is None else asdict(result.precision),
        "provenance": dict(result.provenance),
    }
    return {**summary, "checklists": [asdict(item) for item in checklist(summary)]}


def _front(result: TrialResult, weights: Mapping[str, float]) -> list[dict[str, Any]]:
    """The arms of one policy in the order of the weight of safety."""
    for name in weights:
        result.arm(name)
    return [{"arm": name, "weight": weight} for name, weight in sorted(weights.items(), key=lambda p: p[1])]


def _scenario(scenario: Scenario) -> dict[str, Any]:
    return {
        "name": scenario.name,
        "title": scenario.title,
        "version": scenario.version,
        "model": scenario.model.title,
        "horizon": scenario.horizon,
        "unit": scenario.clock.unit,
        "units": scenario.clock.units,
        "calendar": list(scenario.calendar),
        "doses": {
            "unit": scenario.doses.unit,
            "maximum": scenario.doses.maximum,
            "step": scenario.doses.step,
        },
        "benefit": scenario.benefit.label,
        "harm": scenario.harm.label,
        "event": scenario.event.label,
        "weight": scenario.weight,
        "margin": scenario.margin,
        "assumptions": list(scenario.assumptions),
        "sources": list(scenario.sources),
    }


def _conditions(realism: Realism) -> dict[str, Any]:
    """What goes wrong besides the doses, as shares."""
    return {
        "missed_dose": realism.missed_dose,
        "late": realism.late,
        "missing": realism.missing,
        "dropout_per_month": realism.dropout_per_month,
        "flag": realism.flag,
        "source": realism.source,
    }


def _arm(result: TrialResult, arm: ArmResult) -> dict[str, Any]:
    return {
        "upper_bound": arm.upper_bound,
        **{key: as_record(estimate(result, arm.name, key)) for key in outcomes_of(result)},
        "decisions": arm.decisions,
        "seconds": arm.seconds,
        "ms_per_decision": 1000 * arm.seconds / arm.decisions,
    }
