"""What a summary answers to the items of a reporting checklist, in words.

Each fill takes a summary and returns a sentence or two; None, or a KeyError for what the summary does not
have, leaves the item to the authors. `checklists.csv` names the fill of every item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from dosewright.evaluation.answer import change, number
from dosewright.evaluation.report.cells import estimate_cell, gap_cell, ratio_cell

TRIAL, OFF_POLICY = "virtual trial", "off-policy evaluation"

Summary = Mapping[str, Any]
Fill = Callable[[Summary], str | None]


def _title(s: Summary) -> str:
    patients = " Simulated patients; nobody was randomised." if s["kind"] == TRIAL else ""
    return f"{s['kind'].capitalize()}: {s['scenario']['title']}.{patients}"


def _answer(s: Summary) -> str:
    return " ".join(s["answer"]["sentences"])


def _kind_of_model(s: Summary) -> str | None:
    answer = s["answer"]
    return f"Reinforcement learning: arm {answer['arm']}." if answer["policy"] else None


def _design(s: Summary) -> str:
    return (
        f"{len(s['arms'])} arms, every one of which treats the same {s['patients']['used']:,} patients; they "
        "meet the same errors, missed doses and drop-out in each. Differences are those of the same patient."
    )


def _source(s: Summary) -> str:
    people, reasons = s["patients"], ""
    if people["refused"]:
        reasons = f" {people['refused']:,} of {people['rows']:,} rows were refused: " + "; ".join(
            f"{words} ({n:,})" for words, n in people["reasons"].items()
        )
    return f"Source: {people['source']}.{reasons}"


def _refused(s: Summary) -> str:
    people = s["patients"]
    if people["rows"] is None:
        return "Every patient was drawn complete; no input data were refused."
    listed = "; ".join(f"{words} ({n:,})" for words, n in people["reasons"].items()) or "none"
    return f"Of {people['rows']:,} rows, {people['refused']:,} were refused, for all arms alike: {listed}."


def _world(s: Summary) -> str:
    model, realism = s["scenario"]["model"], s["realism"]
    return f"Simulated: {model}; realism {realism} ({s['conditions']['flag']})."


def _calendar(s: Summary) -> str:
    scenario = s["scenario"]
    days = scenario["calendar"]
    said = ", ".join(map(str, days)) if len(days) <= 20 else f"{days[0]} to {days[-1]}"
    return f"Every regimen decides at the start of {scenario['units']} {said}; nothing is needed on site."


def _arms(s: Summary) -> str:
    bounds = [name for name, arm in s["arms"].items() if arm["upper_bound"]]
    shown = f" Shown the truth, so no competitor: {', '.join(bounds)}." if bounds else ""
    return f"Arms: {', '.join(s['arms'])}. Each dose holds until the next decision.{shown}"


def _release(s: Summary) -> str:
    versions, commit = s["provenance"]["versions"], s["provenance"]["git"] or "not from a checkout"
    return f"dosewright {versions['dosewright']}, commit {commit}"


def _code(s: Summary) -> str:
    return f"{_release(s)}; command: {s['provenance']['command']}"


def _version(s: Summary) -> str:
    scenario = s["scenario"]
    arms = "".join(f"; {name}: {words}" for name, words in s["provenance"].get("arms", {}).items())
    return f"Scenario {scenario['name']}-v{scenario['version']}; {_release(s)}{arms}"


def _seen(s: Summary) -> str:
    return (
        f"What a clinic knows at the visit: covariates, genotype ({s['genotype']}), the results in hand with "
        "their sampling times, and the last dose. Layout and units are those of the scenario's observation."
    )


def _poor_data(s: Summary) -> str:
    said = s["conditions"]
    return (
        f"{100 * said['late']:g} % of results come late and {100 * said['missing']:g} % never; a missing "
        "entry is shown as missing. Patients count for the time that they were followed; one without a value "
        "of an outcome is left out of that comparison in both arms."
    )


def _output(s: Summary) -> str:
    doses = s["scenario"]["doses"]
    return f"A dose, 0 to {doses['maximum']:g} {doses['unit']}, rounded to steps of {doses['step']:g}."


def _outcomes(s: Summary) -> str:
    scenario = s["scenario"]
    rest = "; ".join(item["label"] for item in s["outcomes"])
    return (
        f"Benefit: {scenario['units']} with {scenario['benefit']}; harm: patients {scenario['event']}, "
        f"margin {100 * scenario['margin']:g} points; both of the latent truth over {scenario['horizon']} "
        f"{scenario['units']}. Reported: {rest}."
    )


def _sample_size(s: Summary) -> str:
    used, precision = s["patients"]["used"], s["precision"]
    if precision is None:
        return f"{used:,} patients, chosen beforehand."
    reached = "reached" if precision["reached"] else "not reached"
    short = "" if precision["reached"] else f"; about {precision['additional']:,} more are needed"
    return (
        f"Patients were added until every 95 % interval of a difference of benefit was within ± "
        f"{100 * precision['wanted']:g} points: {reached} with {used:,}, at most {precision['most']:,}"
        f"{short}."
    )


def _stopping(s: Summary) -> str:
    if s["precision"] is None:
        return "One analysis, after the last patient."
    return f"{_sample_size(s)} The rule looks at the width of the intervals, never at their sign."


def _flow(s: Summary) -> str:
    people = s["patients"]
    used, left = people["used"], people["dropped_out"]
    return f"{used:,} patients in every arm, all of them analysed; {left:,} dropped out on the way."


def _losses(s: Summary) -> str:
    return (
        f"{s['patients']['dropped_out']:,} patients dropped out at random, the same in every arm "
        f"({100 * s['conditions']['dropout_per_month']:g} % a month); nobody was excluded after enrolment."
    )


def _dates(s: Summary) -> str:
    scenario = s["scenario"]
    day = s["provenance"]["started"][:10]
    return f"Simulated on {day}; follow-up {scenario['horizon']} {scenario['units']}."


def _baseline(s: Summary) -> str:
    rows = s["patients"]["covariates"]
    said = "; ".join(
        f"{row['label']}: median {row['median']:.0f} {row['unit']} ({row['p5']:.0f} to {row['p95']:.0f})"
        for row in rows
    )
    return f"Median and central 90 %, the same in every arm: {said}." if said else "No covariates."


def _effects(s: Summary) -> str:
    rows = [
        f"{name} {change(row['benefit']['mean'], 'share')} points "
        f"({change(row['benefit']['low'], 'share')} to {change(row['benefit']['high'], 'share')})"
        for name, row in s["differences"].items()
    ]
    gain = f"{s['scenario']['units']} with {s['scenario']['benefit']}"
    return f"Difference of {gain} from {s['reference']}, 95 % interval: {'; '.join(rows)}."


def _event_of(s: Summary) -> str:
    return s["harms"]["listed"][0]["name"]


def _binary_effects(s: Summary) -> str:
    event, rows = _event_of(s), []
    for name, arm in s["harms"]["arms"].items():
        if arm[event] is not None:
            risk = change(s["differences"][name][event]["mean"], "share")
            ratio, limits = ratio_cell(arm[event]["ratio"])
            rows.append(f"{name} {risk} points, risk ratio {ratio} ({limits})")
    return f"Patients {s['scenario']['event']}, against {s['reference']}: {'; '.join(rows)}."


def _subgroups(s: Summary) -> str:
    groups = s["subgroups"]
    tests = [
        f"{kind} p = {test['benefit']['p']:.2g}"
        for kind, test in groups["interactions"].items()
        if test["benefit"] is not None and test["benefit"]["p"] is not None
    ]
    found = f"; interaction in benefit: {', '.join(tests)}, not adjusted" if tests else ""
    return f"Subgroups by {', '.join(dict.fromkeys(_kinds(groups)))}, exploratory{found}."


def _kinds(groups: Mapping[str, Any]) -> list[str]:
    return [row["kind"] for row in groups["rows"] if row["kind"] != "all"]


def _harms(s: Summary) -> str:
    event = _event_of(s)
    rows = [f"{name} {number(arm[event]['mean'], 'share')}" for name, arm in s["arms"].items()]
    return f"Patients {s['scenario']['event']}: {', '.join(rows)}. All harms stand under Harms."


def _events(s: Summary) -> str:
    rows = [f"{name} {arm['rate']['events']:,}" for name, arm in s["first_harm"]["arms"].items()]
    return (
        f"{s['patients']['used']:,} patients in every analysis of all; patients {s['scenario']['event']}: "
        f"{', '.join(rows)}."
    )


def _worst_group(s: Summary) -> str | None:
    groups, found = s["subgroups"], []
    for kind, by_arm in groups["gaps"].items():
        gap = by_arm[groups["arm"]]["benefit"]
        if gap is not None and not gap["reason"]:
            points, limits, _ = gap_cell(gap)
            found.append(f"{kind}: {gap['lowest']}, {points} points ({limits}) below {gap['highest']}")
    return f"Where {groups['arm']} gives the least benefit, by {'; by '.join(found)}." if found else None


def _fairness(s: Summary) -> str | None:
    kinds = ", ".join(dict.fromkeys(_kinds(s["subgroups"])))
    gap = ", with the worst-group gap" if s["subgroups"].get("gaps") else ""
    return f"Nothing was changed for it; results are reported by {kinds}{gap}." if kinds else None


def _assumptions(s: Summary) -> str:
    return " ".join(s["scenario"]["assumptions"])


def _sensitivity(s: Summary) -> str | None:
    found = s["sensitivity"]
    if found is None:
        return None
    rows = [
        f"{row['name']} {change(row['benefit']['mean'], 'share')} points"
        for row in found["rows"]
        if not row["reason"]
    ]
    return f"{found['arm']} against {found['against']} in benefit, in other worlds: {'; '.join(rows)}."


def _log_source(s: Summary) -> str:
    log = s["log"]
    origin = "".join(f" {key.replace('_', ' ')}: {value};" for key, value in log["origin"].items())
    return f"A log of {log['patients']:,} patients;{origin} content {log['content_hash'][:12]}."


def _log_flow(s: Summary) -> str:
    log = s["log"]
    return (
        f"{log['patients']:,} patients logged, {log['used']:,} used, {log['left_out']:,} lost in their first "
        f"interval; {log['censored']:,} dropped out in all. Follow-up: {log['follow_up']}."
    )


def _log_size(s: Summary) -> str:
    return f"{s['log']['patients']:,} patients: all that the log holds."


def _log_outcomes(s: Summary) -> str:
    return f"{'; '.join(item['label'] for item in s['outcomes'])}; sums over a course."


def _log_effects(s: Summary) -> str:
    rows = []
    for name, regimen in s["regimens"].items():
        for item in s["outcomes"]:
            found = regimen["outcomes"][item["name"]]["answer"]
            said = "not answered"
            if found is not None:
                said, limits = estimate_cell(found, item["unit"])
                said = f"{said} ({limits})" if limits else said
            rows.append(f"{name}, {item['label']}: {said}")
    return f"With 95 % intervals: {'; '.join(rows)}."


def _regimens(s: Summary) -> str:
    return f"Asked what they would have done at every logged visit: {', '.join(s['regimens'])}."


def _first(*fills: Fill) -> Fill:
    """Return the fill of the first that finds in a summary what it needs: a trial's, or a log's."""

    def fill(summary: Summary) -> str | None:
        for attempt in fills[:-1]:
            try:
                return attempt(summary)
            except KeyError:
                continue
        return fills[-1](summary)

    return fill


def _by_kind(said: Mapping[str, str]) -> Fill:
    """Return a fill whose words follow from how the evaluation works, not from its numbers."""
    return lambda summary: said.get(summary["kind"])


FILLS: Mapping[str, Fill] = {
    "title": _title,
    "answer": _answer,
    "question": lambda s: s["question"],
    "kind_of_model": _kind_of_model,
    "design": _design,
    "source": _first(_source, _log_source),
    "refused": _refused,
    "world": _world,
    "calendar": _calendar,
    "arms": _first(_arms, _regimens),
    "code": _code,
    "version": _version,
    "seen": _seen,
    "poor_data": _poor_data,
    "output": _output,
    "outcomes": _first(_outcomes, _log_outcomes),
    "sample_size": _first(_sample_size, _log_size),
    "stopping": _stopping,
    "flow": _first(_flow, _log_flow),
    "losses": _first(_losses, _log_flow),
    "dates": _dates,
    "baseline": _baseline,
    "effects": _first(_effects, _log_effects),
    "binary_effects": _binary_effects,
    "subgroups": _subgroups,
    "harms": _harms,
    "events": _events,
    "worst_group": _worst_group,
    "fairness": _fairness,
    "assumptions": _assumptions,
    "sensitivity": _sensitivity,
    "allocation": _by_kind({TRIAL: "Does not apply: every arm treats every patient."}),
    "blinding": _by_kind(
        {TRIAL: "Regimens see what a clinic sees, never the truth; those that do are named upper bounds."}
    ),
    "human_hand": _by_kind(
        {TRIAL: "None: observations come from the simulator, doses are given as decided."}
    ),
    "decisions": _by_kind(
        {TRIAL: "The dose is given as decided, after rounding and cap; nobody overrides it."}
    ),
    "judgement": _by_kind({TRIAL: "Does not apply: outcomes and predictors are computed."}),
    "partition": _by_kind(
        {
            TRIAL: "Patients of the trial's seed namespace; a policy trained on it is refused. Both come "
            "from the same simulator.",
            OFF_POLICY: "Every patient of the log; a policy trained on them is refused. Models are fitted on "
            "other patients than they are used for (cross-fitting).",
        }
    ),
    "methods": _by_kind(
        {
            TRIAL: "Differences of the same patients: Student's t and BCa bootstrap for means, Newcombe's "
            "square and add for proportions, win probability; risk ratio by Bonett and Price, number "
            "needed; Garwood's exact rates; Kaplan-Meier, restricted mean, Aalen-Johansen with drop-out; "
            "Holm over the arms.",
            OFF_POLICY: "Importance-weighted and doubly robust estimators with delta-method intervals; "
            "whether one may answer is decided by effective sample size, tail index and mean weight, by "
            "rules fixed beforehand.",
        }
    ),
    "further_methods": _by_kind(
        {
            TRIAL: "Subgroups: paired differences, Welch's test of interaction, worst-group gap with "
            "simultaneous limits; sensitivity: the main comparison in other worlds."
        }
    ),
}
