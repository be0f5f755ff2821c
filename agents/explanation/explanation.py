"""Everything that is said about how a policy doses, as one dictionary."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from dosewright.agents.explanation.dependence import dependence_records
from dosewright.agents.explanation.differences import difference_records
from dosewright.agents.explanation.importance import deletion_check, permutation_importance
from dosewright.agents.explanation.surrogate import surrogate_records
from dosewright.agents.explanation.visits import collect
from dosewright.agents.learning import LearnedPolicy, Preset
from dosewright.agents.learning.meanings import meanings
from dosewright.envs import Noise, Scenario
from dosewright.evaluation.answer import graded
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.summary.trial import NOTICE

_NAMESPACE = "select"


def explain(policy: LearnedPolicy, patients: int, seed: int) -> dict[str, Any]:
    """Explain a policy on patients of the `select` namespace whom it treats, as its card says it is used.

    Doses are compared over as many units of the calendar as the drug's warm start looks ahead, at least until
    the next visit.

    Parameters
    ----------
    policy
        Not recurrent.
    patients
        At least 2.
    seed
        Of the patients, permutations and samples.

    Returns
    -------
    Plain numbers and words, ready for JSON and for `dosewright.evaluation.report.explanation`, whose
    `explanation_part` makes a fragment of a page of them: "question", "answer", "differences", "surrogate",
    "importance", "deletion", "dependence", "features", and what they are about.

    Raises
    ------
    ValueError
        For a recurrent policy, fewer than two patients, or a card that does not say for which patients the
        policy is.
    """
    started = datetime.now(UTC)
    known, described = policy.scenario, meanings(policy.inputs)
    missing = [key for key in ("realism", "genotype") if key not in policy.card]
    if missing:
        raise ValueError(
            f"policy card: {missing[0]} is missing; explain a folder that `dosewright train` made"
        )
    if patients < 2:
        raise ValueError(f"{patients} patients: an interval needs two; give more")
    realism, ahead = known.preset(policy.card["realism"]), _ahead(known)
    visits = collect(
        policy, np.arange(patients), Noise(_NAMESPACE, seed), realism, policy.card["genotype"], ahead
    )
    ranked = permutation_importance(policy, visits, seed)
    order = [record["column"] for record in ranked]
    first, second = order[0], order[1]
    found = {
        "notice": NOTICE,
        "kind": "explanation",
        "scenario": {
            "name": known.name,
            "title": known.title,
            "version": known.version,
            "units": known.clock.units,
            "unit": known.clock.unit,
            "gain": _gain(known),
            "event": _event(known),
            "event_limit": known.event.limit(known.horizon),
            "dose_unit": known.doses.unit,
        },
        "policy": {
            "name": policy.name,
            **{key: policy.card.get(key) for key in ("algorithm", "seed", "steps", "weights")},
        },
        "anchor": "Bayesian monitoring" if policy.departs_from_monitoring else "the clinic's first dose",
        "patients": patients,
        "visits": len(visits),
        "namespace": _NAMESPACE,
        "seed": seed,
        "realism": realism.name,
        "genotype": policy.card["genotype"],
        "ahead": ahead,
        "differences": difference_records(visits, known),
        "surrogate": surrogate_records(visits, described, known.doses, seed),
        "importance": [
            {
                **record,
                "words": described[record["column"]].words,
                "meaning": described[record["column"]].meaning,
            }
            for record in ranked
        ],
        "deletion": deletion_check(policy, visits, order, seed),
        "dependence": dependence_records(policy, visits, (described[first], described[second]), seed),
        "features": [{"name": item.name, "unit": item.unit, "meaning": item.meaning} for item in described],
    }
    return {
        **found,
        "question": f"How does the policy dose, and where does it depart from {found['anchor']}?",
        "answer": _answer(found),
        "provenance": provenance(started, (datetime.now(UTC) - started).total_seconds()),
    }


def _ahead(known: Scenario) -> int:
    """Return how many units the drug's warm start looks ahead; of a drug of one's own, without a preset, how
    many monitoring does."""
    try:
        part = Preset.shipped(known.name).warm_start
    except ValueError:
        part = None
    return known.monitoring.after if part is None else part.ahead


def _gain(known: Scenario) -> str:
    """What a dose gains, as it stands behind a number."""
    return f"{known.clock.units} {'of the score for' if graded(known) else 'with'} {known.benefit.label}"


def _event(known: Scenario) -> str:
    """What a dose avoids, as it stands behind a number: where several units make an event, every one of them
    is a part of the way there."""
    whole = "patients" if known.event.limit(known.horizon) == 1 else "full ways to a patient"
    return f"{whole} {known.event.label}"


def _answer(found: Mapping[str, Any]) -> list[str]:
    """Return the answer in sentences."""
    scenario, anchor = found["scenario"], found["anchor"]
    everything = found["differences"]["all"]
    benefit, event = everything["benefit"], everything["event"]
    tree = found["surrogate"]
    ranked = found["importance"]
    sentences = [
        f"At {_percent(everything['lower'])} of {found['visits']:,} visits the policy gives at least 5 % "
        f"less than {anchor}, at {_percent(everything['higher'])} at least 5 % more.",
        f"Over the {scenario['units']} ahead that brings, per visit, {_signed(benefit, 1, 3)} "
        f"{scenario['gain']}, and, per 1,000 visits, {_signed(event, 1000, 1)} {scenario['event']}.",
        f"Its dose depends most on {ranked[0]['words']} and {ranked[1]['words']}.",
        f"A tree of depth {tree['depth']} gives the same dose of the grid at "
        f"{_percent(tree['fidelity']['same_tablet'])} of visits of patients that it was not fitted to, "
        f"{anchor} at {_percent(tree['anchor']['same_tablet'])}; the tree's dose is off by "
        f"{tree['fidelity']['dose_error']:.3g} {scenario['dose_unit']} on average.",
    ]
    five = [record for record in found["deletion"] if record["features"] == 5 and record["left"] is not None]
    sentences += [
        f"Without its five most important features {_percent(record['left'])} of its departure from {anchor} "
        f"is left, without five at random {_percent(record['random']['mean'])}."
        for record in five
    ]
    return sentences


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %".replace("-", "−")


def _signed(record: Mapping[str, Any], factor: float, digits: int) -> str:
    if record["low"] is None:
        return f"{factor * record['mean']:.{digits}f}".replace("-", "−")
    mean, low, high = (f"{factor * record[key]:+.{digits}f}" for key in ("mean", "low", "high"))
    return f"{mean} (95 % interval {low} to {high})".replace("-", "−")
