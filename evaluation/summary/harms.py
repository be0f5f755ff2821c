"""The harms of every arm against the reference: ratio, number needed, verdict at the margin, p over the arms.

The first harm is the event that the trial's margin is about; it alone has a verdict. The others have no
margin that was stated beforehand, and none is made up here.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from dosewright.envs import Scenario
from dosewright.envs.scenarios import Outcome
from dosewright.evaluation.answer import harm_shown
from dosewright.evaluation.records import needed_record, ratio_record, verdict_record
from dosewright.evaluation.statistics import (
    Difference,
    noninferiority,
    number_needed,
    p_value,
    paired_risk_ratio,
)
from dosewright.evaluation.summary.differences import adjusted, both_known, difference, others
from dosewright.evaluation.trial import TrialResult

EVENT = "ever_harm"


@dataclass(frozen=True)
class Harm:
    """Something that should happen less.

    Attributes
    ----------
    name : key of the outcome
    label, unit : words for a reader, and unit ("share": shown as per cent)
    counts_patients : whether each patient has it or not
    margin : largest rise that counts as non-inferior, a share; None where none was stated
    flag : ASSUMPTION marks what is no published measure
    """

    name: str
    label: str
    unit: str
    counts_patients: bool
    margin: float | None
    flag: str


def harms_of(scenario: Scenario) -> tuple[Harm, ...]:
    """Return the harms of a trial: the event, the harm of the return, and outcomes of which less is better.

    An outcome that is the event or the harm of the return under another name is left out.
    """
    return (
        Harm(EVENT, f"patients {scenario.event.label}", "share", True, scenario.margin, "VERIFIED"),
        Harm("harm", f"{scenario.clock.units} with {scenario.harm.label}", "share", False, None, "VERIFIED"),
        *(
            Harm(item.name, item.label, item.unit, item.kind == "ever", None, item.flag)
            for item in scenario.outcomes
            if item.better == "lower" and not _listed_already(scenario, item)
        ),
    )


def _listed_already(scenario: Scenario, outcome: Outcome) -> bool:
    event, score = scenario.event, outcome.score or outcome.band
    if outcome.kind == "ever":
        return score == event.score and event.more_than == 0.0
    # an outcome is of all units followed, the harm of those that score
    return outcome.kind == "daily" and score == scenario.harm and scenario.scored == scenario.horizon


def harm_records(result: TrialResult, reference: str) -> dict[str, Any]:
    """Return the harms, "listed", and "arms": arm -> harm -> what is said of it against the reference.

    The risk differences themselves stand among all differences. Here: "p" of no difference, two-sided, and
    "p_holm"; of harms that count patients "ratio" and "number_needed"; of one with a margin "noninferiority"
    with its one-sided "p" and "p_holm", and what the difference "shows". None where fewer than two patients
    have a value in both arms.
    """
    listed = harms_of(result.scenario)
    found: dict[str, dict[str, Any]] = {name: {} for name in others(result, reference)}
    for harm in listed:
        known = {
            name: item
            for name in found
            if (item := difference(result, name, reference, harm.name)) is not None
        }
        two_sided = adjusted(result, {name: p_value(item) for name, item in known.items()})
        for name in found:
            item = known.get(name)
            found[name][harm.name] = None
            if item is not None:
                record = {"p": p_value(item), "p_holm": two_sided[name]}
                found[name][harm.name] = record | _counted(result, name, reference, harm, item)
        if harm.margin is not None:
            verdicts = {name: noninferiority(item, harm.margin, False) for name, item in known.items()}
            one_sided = adjusted(result, {name: item.p_noninferior for name, item in verdicts.items()})
            for name, verdict in verdicts.items():
                found[name][harm.name]["noninferiority"] = {
                    **verdict_record(verdict),
                    "p_holm": one_sided[name],
                    "shows": harm_shown(known[name], harm.margin),
                }
    return {"listed": [asdict(harm) for harm in listed], "arms": found}


def _counted(result: TrialResult, arm: str, reference: str, harm: Harm, found: Difference) -> dict[str, Any]:
    if not harm.counts_patients:
        return {}
    known = both_known(result, arm, reference, harm.name)
    a, b = (result.arms[name].values(harm.name)[known] for name in (arm, reference))
    return {
        "ratio": ratio_record(paired_risk_ratio(a, b)),
        "number_needed": needed_record(number_needed(found)),
    }
