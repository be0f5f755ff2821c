"""The page of a registry: what doses now, every version and verdict, and how changes are controlled.

Change control is told in the three parts of FDA's predetermined change control plan (final guidance of
December 2024): description of modifications, modification protocol, impact assessment.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dosewright.evaluation.report.forests import Panel, Row, forest
from dosewright.evaluation.report.layout import page

Record = Mapping[str, Any]

_NO_INTERVAL = {"mean": None, "low": None, "high": None}
_NO_HARM = {"label": "harm", **_NO_INTERVAL, "margin": None, "shown": None}
_SHOWN = {True: "non-inferior", False: "not shown", None: "–"}
_WORLDS = {"refitted": "refitted simulator", "previous": "previous simulator"}


def registry_page(record: Record) -> str:
    """Return the change-control page as one self-contained HTML text.

    Parameters
    ----------
    record
        Every number on the page: "notice", "scenario" ("name", "version"), "current" (name of the version
        that doses, "since", "by", "why"; None before the first), "versions" ("name", "created", "parent",
        "regimen", "reason", "state", "saw", a count, "retrain", "verdict"), "audit" ("number", "time",
        "action", "version", "by", "reason", "hash", and "body", whose "candidate" and "verdict" are shown of
        a refusal), "checked" (counts of "versions" and "lines", the last "hash") and "provenance". A verdict
        is what the gate wrote, whatever parts it has.
    """
    judged = [_judged(name, verdict) for name, verdict in _verdicts(record) if verdict]
    dosing = record["current"] and record["current"]["name"]
    now = next((each for each in judged if each["name"] == dosing), None)
    return page(
        "registry.html",
        r=record,
        judged=judged,
        now=now,
        figure={name: Markup(drawn) for name, drawn in (_figures(now) if now else {}).items()},
        number=number,
        change=change,
    )


def number(value: float | str | None) -> str:
    """Return a number of a verdict with four significant digits; a dash where there is none."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    words = f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
    return words.replace("-", "−")


def change(interval: Record) -> tuple[str, str]:
    """Return a difference with its sign, and its interval, as a cell."""
    mean, low, high = (
        "–" if interval[key] is None else f"{interval[key]:+.4g}".replace("-", "−")
        for key in ("mean", "low", "high")
    )
    return mean, "" if interval["low"] is None and interval["high"] is None else f"{low} to {high}"


def _verdicts(record: Record) -> Iterator[tuple[str, Record | None]]:
    """Return what was judged, versions and refused candidates, and its verdict, in the order of the log."""
    versions = {each["name"]: each["verdict"] for each in record["versions"]}
    for line in record["audit"]:
        if line["action"] == "created":
            yield line["version"], versions[line["version"]]
        elif line["action"] == "refused":
            name = f"refused, line {line['number']}: {line['body'].get('candidate', '–')}"
            yield name, line["body"].get("verdict")


def _judged(name: str, verdict: Record) -> dict[str, Any]:
    """Return a verdict with every part that the page shows; what it lacks is None or empty."""
    trials = [
        {
            "world": _WORLDS.get(trial.get("world"), trial.get("world") or "world not named"),
            "patients": trial.get("patients"),
            "benefit": _interval(trial.get("benefit")),
            "harms": [_harm(harm) for harm in trial.get("harms") or ()],
            "subgroups": [
                {
                    "name": group.get("name") or "–",
                    "n": group.get("n"),
                    "benefit": _interval(group.get("benefit")),
                    "harm": _interval(group.get("harm")),
                }
                for group in trial.get("subgroups") or ()
            ],
        }
        for trial in verdict.get("trials") or ()
    ]
    told = {key: verdict.get(key) for key in ("verdict", "reason", "alpha", "attempt")}
    log = dict.fromkeys(("verdict", "reason", "patients", "low", "high"))
    return {
        "name": name,
        **told,
        "trials": trials,
        "off_policy": {**log, **verdict["off_policy"]} if verdict.get("off_policy") else None,
        "written": json.dumps(verdict, indent=1, ensure_ascii=False),
    }


def _interval(found: Record | None) -> dict[str, Any]:
    return {**_NO_INTERVAL, **(found or {})}


def _harm(found: Record) -> dict[str, Any]:
    harm = {**_NO_HARM, **found}
    shown = harm["shown"]
    return {**harm, "shown": shown if isinstance(shown, str) else _SHOWN[shown]}


def _figures(judged: Record) -> dict[str, str]:
    """Forest plots of what let the version dose: a row a simulator, and a row a subgroup."""
    trials, drawn = judged["trials"], {}
    if trials:
        harms = {harm["label"]: harm for trial in trials for harm in trial["harms"]}
        panels = [
            _panel("benefit", "more"),
            *(_panel(label, "fewer", harm["margin"]) for label, harm in harms.items()),
        ]
        rows = [
            Row(trial["world"], [trial["benefit"], *(_of(trial["harms"], label) for label in harms)], "about")
            for trial in trials
        ]
        words = "Benefit and harms of the version that doses minus those of the one before it"
        drawn["trials"] = forest("gate-trials", words, panels, rows)
    groups = [
        Row(
            f"{group['name']}, {trial['world'].removesuffix(' simulator')}",
            [group["benefit"], group["harm"]],
            gap=group is trial["subgroups"][0] and trial is not trials[0],
        )
        for trial in trials
        for group in trial["subgroups"]
    ]
    if groups:
        words = "Benefit and harm by subgroup, the version that doses minus the one before it"
        drawn["subgroups"] = forest(
            "gate-subgroups", words, [_panel("benefit", "more"), _panel("harm", "fewer")], groups
        )
    return drawn


def _panel(title: str, better: str, margin: float | None = None) -> Panel:
    return Panel(title, f"candidate − the one before\n({better} is better)", margin=margin)


def _of(harms: Sequence[Record], label: str) -> Record:
    return next((harm for harm in harms if harm["label"] == label), _NO_INTERVAL)
