"""The answer of a trial in two sentences, made from its numbers: who beats whom, in benefit and in harm.

An interval that covers 0 is never called a win, whatever the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosewright.envs import Scenario
from dosewright.envs.scenarios import Ramp
from dosewright.evaluation.records import as_record, difference_record
from dosewright.evaluation.statistics import Difference, noninferiority
from dosewright.evaluation.trial import TrialResult


def number(value: float | None, unit: str) -> str:
    """Return an outcome as words: a share in per cent with one decimal, a rate with two, a return with three.

    Parameters
    ----------
    value
        None where there is none.
    unit
        "share", "per 100 patient-years" or "return".
    """
    if value is None:
        return "–"
    words = f"{100 * value:.1f} %" if unit == "share" else f"{value:.{_decimals(unit)}f}"
    return words.replace("-", "−")


def change(value: float | None, unit: str) -> str:
    """Return a difference as words: points, rate or return, with its sign even where it rounds to 0."""
    if value is None:
        return "–"
    scaled = 100 * value if unit == "share" else value
    words = f"{scaled:+.{_decimals(unit)}f}"
    return words[1:] if value == 0 else words.replace("-", "−")


def answer(result: TrialResult, policy: str | None = None) -> dict[str, Any]:
    """Compare the arm that a trial is about with its strongest rivals.

    With a learned `policy` those are the better of the Bayesian arms and the better of the planners; without
    one, the best arm that is not an upper bound meets the runner-up.

    Returns
    -------
    "arm", "policy" (whether it is learned), "rivals" (arm, why, paired differences and what they show) and
    "sentences".

    Raises
    ------
    ValueError
        For an unknown policy, or one that is an upper bound.
    """
    if policy is not None and result.arm(policy).upper_bound:
        raise ValueError(
            f"policy arm {policy!r} is shown the truth: an upper bound, which competes with nobody"
        )
    ranked = _by_return(result)
    focus = policy if policy is not None else (ranked or list(result.arms))[0]
    rivals = [_rival(result, focus, name, why) for name, why in _rivals(ranked, focus, policy is not None)]
    return {
        "arm": focus,
        "policy": policy is not None,
        "rivals": rivals,
        "sentences": list(_sentences(result, focus, policy is not None, rivals)),
    }


def main_comparison(found: Mapping[str, Any], reference: str) -> tuple[str, str | None]:
    """Return the arm that a trial is about and the one it is held against wherever only two are compared.

    That is the reference, or the rival where the arm is the reference itself; None where nothing competes.

    Parameters
    ----------
    found
        What `answer` returned.
    reference
        The reference arm.
    """
    arm = found["arm"]
    rival = next((item["arm"] for item in found["rivals"]), None)
    return arm, reference if reference != arm else rival


def question(result: TrialResult, found: Mapping[str, Any]) -> str:
    """Return what a trial asks, as one sentence.

    Parameters
    ----------
    result
        The trial.
    found
        What `answer` returned.
    """
    scenario = result.scenario
    gain = _gain(scenario)
    harm = f"patients {scenario.event.label} (margin {_points(scenario.margin)})"
    rivals = " and ".join(rival["arm"] for rival in found["rivals"])
    if found["policy"] and rivals:
        return f"Does {found['arm']} give more {gain} than {rivals}, without more {harm}?"
    competing = sum(not arm.upper_bound for arm in result.arms.values())
    if competing < 2:
        much = "much" if graded(scenario) else "many"
        return f"How {much} {gain} does {found['arm']} give, and how many patients {scenario.event.label}?"
    return f"Which of {competing} regimens gives the most {gain}, and are there more {harm}?"


def graded(scenario: Scenario) -> bool:
    """Whether a unit is more or less on target, not in range or out of it."""
    return isinstance(scenario.benefit, Ramp)


def _gain(scenario: Scenario) -> str:
    """What there is to gain, as it stands behind "more" or "most"."""
    what = "of the score for" if graded(scenario) else f"{scenario.clock.units} with"
    return f"{what} {scenario.benefit.label}"


def benefit_shown(difference: Difference) -> str:
    """Return what a difference of benefit shows: "better", "worse", or "no difference shown"."""
    if difference.low > 0:
        return "better"
    return "worse" if difference.high < 0 else "no difference shown"


def harm_shown(difference: Difference, margin: float) -> str:
    """Return what a difference of harm shows against the largest rise that counts as non-inferior.

    `noninferiority`'s verdict in words, which also say whether there is more harm: "less", "non-inferior",
    "more, within the margin", "more, beyond the margin", "more" or "not shown to be non-inferior".
    """
    verdict = noninferiority(difference, margin, higher_is_better=False).verdict
    more = difference.low > 0
    words = {
        "superior": "less",
        "non-inferior": "more, within the margin" if more else "non-inferior",
        "inferior": "more, beyond the margin",
        "inconclusive": "more" if more else "not shown to be non-inferior",
    }
    return words[verdict]


_BENEFIT_WORDS = {
    "better": "beats",
    "worse": "is worse than",
    "no difference shown": "is not shown to beat",
}
_HARM_WORDS = {
    "less": "does less than {}",
    "non-inferior": "is non-inferior to {}",
    "more, within the margin": "does more than {}, within the margin",
    "more, beyond the margin": "does more than {}, beyond the margin",
    "more": "does more than {}, not shown to stay within the margin",
    "not shown to be non-inferior": "is not shown to be non-inferior to {}",
}


def _by_return(result: TrialResult) -> list[str]:
    """Names of the arms that compete, best mean return first."""
    competing = [arm for arm in result.arms.values() if not arm.upper_bound]
    return [arm.name for arm in sorted(competing, key=lambda arm: -float(arm.returns.mean()))]


def _rivals(ranked: list[str], focus: str, learned: bool) -> list[tuple[str, str]]:
    others = [name for name in ranked if name != focus]
    if not learned:
        return [(name, "the runner-up") for name in others[:1]]
    families = {"bayesian": "the better of the Bayesian arms", "planner": "the better of the planners"}
    found = []
    for family, words in families.items():
        members = [name for name in others if name.startswith(family)]
        if members:
            found.append((members[0], words if len(members) > 1 else ""))
    return found or [(name, "the best of the other arms") for name in others[:1]]


def _rival(result: TrialResult, focus: str, rival: str, why: str) -> dict[str, Any]:
    differences = {name: result.difference(focus, rival, name) for name in ("benefit", "ever_harm", "return")}
    benefit, harm = differences["benefit"], differences["ever_harm"]
    return {
        "arm": rival,
        "why": why,
        "benefit": difference_record(benefit, benefit_shown(benefit)),
        "ever_harm": difference_record(harm, harm_shown(harm, result.scenario.margin)),
        "return": as_record(differences["return"]),
    }


def _sentences(
    result: TrialResult, focus: str, learned: bool, rivals: list[dict[str, Any]]
) -> tuple[str, str]:
    scenario = result.scenario
    in_range = number(result.estimate(focus, "benefit").mean, "share")
    harmed = number(result.estimate(focus, "ever_harm").mean, "share")
    who = focus if learned or not rivals else f"{focus}, the arm with the highest return,"
    days = f"{in_range} {'' if graded(scenario) else 'of '}{_gain(scenario)}"
    ever = f"{harmed} of patients {scenario.event.label}"
    if not rivals:
        return f"{who} gives {days}; no other arm competes with it.", f"In harm: {ever}."
    gains = [f"{_BENEFIT_WORDS[r['benefit']['shows']]} {_named(r)} {_interval(r['benefit'])}" for r in rivals]
    harms = [
        f"{_HARM_WORDS[r['ever_harm']['shows']].format(r['arm'])} {_interval(r['ever_harm'])}" for r in rivals
    ]
    return (
        f"In benefit, {who} {', and '.join(gains)}: {days}.",
        f"In harm, it {', and '.join(harms)}: {ever} (margin {_points(scenario.margin)}).",
    )


def _named(rival: dict[str, Any]) -> str:
    return f"{rival['arm']}, {rival['why']}" if rival["why"] else rival["arm"]


def _interval(record: dict[str, Any]) -> str:
    mean, low, high = (change(record[key], "share") for key in ("mean", "low", "high"))
    return f"({mean} points, 95 % interval {low} to {high})"


def _points(share: float) -> str:
    return f"{number(share, 'share').removesuffix(' %')} points"


def _decimals(unit: str) -> int:
    return {"share": 1, "per 100 patient-years": 2, "return": 3}[unit]
