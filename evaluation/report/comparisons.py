"""The forest plots of a trial: every arm against the reference, subgroups, other worlds.

`subgroup_forest` and `sensitivity_forest` take the part of a summary that they show, so that other pages can
use them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosewright.evaluation.report.forests import Panel, Row, forest

Summary = Mapping[str, Any]
_POINTS = 100.0


def benefit_and_harm(scenario: Mapping[str, Any], against: str) -> tuple[Panel, Panel]:
    """Return the two panels of every comparison: benefit, and the event with its margin."""
    axis = f"difference from {against},\npercentage points"
    return (
        Panel(f"{scenario['units']} with {scenario['benefit']}", f"{axis} (more is better)", _POINTS),
        Panel(
            f"patients {scenario['event']}",
            f"{axis} (fewer is better)",
            _POINTS,
            margin=scenario["margin"],
        ),
    )


def arms_forest(summary: Summary) -> str:
    """Paired differences of every arm from the reference, in benefit and in patients with the event."""
    panels = benefit_and_harm(summary["scenario"], summary["reference"])
    words = "Paired differences from the reference arm with 95 per cent intervals"
    return forest("forest", words, panels, _arms(summary, ["benefit", "ever_harm"]))


def harms_forest(summary: Summary) -> str:
    """Paired differences of every arm from the reference in each further harm."""
    further = summary["harms"]["listed"][1:]
    panels = [
        Panel(
            harm["label"],
            "percentage points" if harm["unit"] == "share" else harm["unit"],
            _POINTS if harm["unit"] == "share" else 1.0,
        )
        for harm in further
    ]
    words = "Paired differences in further harms with 95 per cent intervals; less is better"
    return forest("harms", words, panels, _arms(summary, [harm["name"] for harm in further]), across=3)


def _arms(summary: Summary, outcomes: list[str]) -> list[Row]:
    rows, about = [], summary["answer"]["arm"]
    for name, differences in summary["differences"].items():
        bound = summary["arms"][name]["upper_bound"]
        label = f"{name} (upper bound)" if bound else name
        kind = "about" if name == about else "bound" if bound else ""
        rows.append(Row(label, [differences[outcome] for outcome in outcomes], kind))
    return rows


def subgroup_forest(groups: Mapping[str, Any], scenario: Mapping[str, Any]) -> str:
    """One arm against another, by genotype, age, sex and ancestry; everybody first."""
    listed = [row for row in groups["rows"] if row["benefit"]["n"]]
    everybody = listed[0]
    panels = [
        Panel(panel.title, panel.axis, panel.scale, margin=panel.margin, line=everybody[key]["mean"])
        for panel, key in zip(
            benefit_and_harm(scenario, groups["against"]), ("benefit", "ever_harm"), strict=True
        )
    ]
    rows, kind = [], everybody["kind"]
    for item in listed:
        label = f"{item['label']}  (n = {item['n']:,})"
        about = "about" if item is everybody else ""
        rows.append(Row(label, [item["benefit"], item["ever_harm"]], about, item["kind"] != kind))
        kind = item["kind"]
    words = "Paired differences by subgroup with 95 per cent intervals"
    return forest("subgroups", words, panels, rows)


def sensitivity_forest(found: Mapping[str, Any], scenario: Mapping[str, Any]) -> str:
    """The main comparison in other worlds, the trial's own first."""
    rows = [
        Row(item["name"], [item["benefit"], item["ever_harm"]], "about" if i == 0 else "")
        for i, item in enumerate(found["rows"])
        if not item["reason"]
    ]
    words = "The main comparison in other worlds with 95 per cent intervals"
    return forest("sensitivity", words, benefit_and_harm(scenario, found["against"]), rows)
