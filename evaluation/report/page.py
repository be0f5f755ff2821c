"""The page of a trial: its numbers are those of `summarise`, its figures come from them and the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from markupsafe import Markup

from dosewright.evaluation.report import figures
from dosewright.evaluation.report.benefit_and_harm import benefit_and_harm_plane
from dosewright.evaluation.report.comparisons import (
    arms_forest,
    harms_forest,
    sensitivity_forest,
    subgroup_forest,
)
from dosewright.evaluation.report.explanation import explanation_part
from dosewright.evaluation.report.harm_curves import harm_curves
from dosewright.evaluation.report.layout import page
from dosewright.evaluation.summary.differences import MOST_RESAMPLED
from dosewright.evaluation.trial import TrialResult

RETURN = {
    "name": "return",
    "label": "return",
    "unit": "return",
    "better": "higher",
    "flag": "VERIFIED",
}


def write_report(result: TrialResult, path: str | Path, summary: dict[str, Any]) -> Path:
    """Write the report of a trial and return its path.

    Parameters
    ----------
    result
        The trial, for the courses of its patients.
    path
        HTML file to write; nothing else is needed to read it.
    summary
        Of `summarise`: every number on the page.
    """
    target = Path(path)
    text = page(
        "trial.html",
        title=f"Virtual trial: {summary['scenario']['title']}",
        scenario=result.scenario,
        realism=result.scenario.preset(result.realism),
        summary=summary,
        columns=[*summary["outcomes"], RETURN],
        most_resampled=MOST_RESAMPLED,
        figure={name: Markup(svg) for name, svg in _figures(result, summary).items()},
        explanation=explanation_part(summary["explanation"]) if summary["explanation"] else None,
    )
    target.write_text(text, encoding="utf-8")
    return target


def _figures(result: TrialResult, summary: dict[str, Any]) -> dict[str, str]:
    drawn = {
        "ribbons": figures.ribbons(result),
        "doses": figures.doses(result),
        "patient": figures.one_patient(result, summary["example"]),
        "first_harm": harm_curves(summary),
        "plane": benefit_and_harm_plane(summary),
    }
    groups, scenario = summary["subgroups"], summary["scenario"]
    if summary["differences"]:
        drawn["forest"] = arms_forest(summary)
        if len(summary["harms"]["listed"]) > 1:
            drawn["harms"] = harms_forest(summary)
    if groups["against"] and summary["patients"]["used"] >= groups["smallest"]:
        drawn["subgroups"] = subgroup_forest(groups, scenario)
    if summary["sensitivity"] is not None:
        drawn["sensitivity"] = sensitivity_forest(summary["sensitivity"], scenario)
    return drawn
