"""Assembly of a trial's page. Its numbers are those of `summarise`, its figures come from `figures`."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dosewright.evaluation.answer import change, number
from dosewright.evaluation.report import figures
from dosewright.evaluation.summary import summarise
from dosewright.evaluation.trial import TrialResult

RETURN = {
    "name": "return",
    "label": "return",
    "unit": "return",
    "better": "higher",
    "flag": "VERIFIED",
}


def write_report(
    result: TrialResult, path: str | Path, reference_arm: str, policy_arm: str | None = None
) -> Path:
    """Write the report of a trial and return its path.

    Parameters
    ----------
    result
        The trial.
    path
        HTML file to write; nothing else is needed to read it.
    reference_arm
        Arm that the differences compare with.
    policy_arm
        The learned arm that the trial is about; None: the best arm that is not an upper bound.

    Raises
    ------
    ValueError
        As `summarise`.
    """
    summary = summarise(result, reference_arm, policy_arm)
    target = Path(path)
    target.write_text(_page(result, summary), encoding="utf-8")
    return target


def _page(result: TrialResult, summary: dict[str, Any]) -> str:
    package = files("dosewright.evaluation.report")
    pages = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = pages.from_string((package / "report.html").read_text(encoding="utf-8"))
    return template.render(
        css=Markup((package / "report.css").read_text(encoding="utf-8")),
        scenario=result.scenario,
        summary=summary,
        columns=[*summary["outcomes"], RETURN],
        estimate=estimate_cell,
        difference=difference_cell,
        count="{:,}".format,
        realism=result.scenario.realism.get(result.realism),
        figure=_figures(result, summary),
    )


def estimate_cell(record: Mapping[str, Any], unit: str) -> tuple[str, str]:
    """Return a mean and its interval, as ``("74.1 %", "72.0 to 76.2")``; a dash where there is none."""
    mean, low, high = (number(record[key], unit) for key in ("mean", "low", "high"))
    return mean, "" if record["mean"] is None else f"{low.removesuffix(' %')} to {high.removesuffix(' %')}"


def difference_cell(record: Mapping[str, Any], unit: str, better: str) -> tuple[str, str, str]:
    """Return a difference, its interval, and "better", "worse" or, if the interval covers 0, nothing."""
    mean, low, high = (change(record[key], unit) for key in ("mean", "low", "high"))
    if record["mean"] is None:
        return mean, "", ""
    sign = (record["low"] > 0) - (record["high"] < 0)
    shows = {
        0: "",
        1: "better" if better == "higher" else "worse",
        -1: "worse" if better == "higher" else "better",
    }
    return mean, f"{low} to {high}", shows[sign]


def _figures(result: TrialResult, summary: dict[str, Any]) -> dict[str, Markup]:
    drawn = {
        "ribbons": figures.ribbons(result),
        "doses": figures.doses(result),
        "patient": figures.one_patient(result, summary["example"]),
    }
    if summary["differences"]:
        drawn["forest"] = figures.forest(summary)
    if summary["subgroups"]["against"] and summary["patients"]["used"] >= summary["subgroups"]["smallest"]:
        drawn["subgroups"] = figures.subgroup_forest(summary)
    return {name: Markup(svg) for name, svg in drawn.items()}
