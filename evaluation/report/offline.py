"""The page of an off-policy evaluation; its numbers are those of `summarise_offline`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dosewright.evaluation.report.figures import BLUE, GREY, ORANGE, WIDTH, svg
from dosewright.evaluation.report.forests import Panel, Row, forest
from dosewright.evaluation.report.layout import page

Summary = Mapping[str, Any]
_NOTHING = {"mean": None, "low": None, "high": None}
_COLOURS = (BLUE, ORANGE)


def write_offline_report(summary: Summary, path: str | Path) -> Path:
    """Write the report of an off-policy evaluation and return its path.

    Parameters
    ----------
    summary
        Of `summarise_offline`: every number on the page.
    path
        HTML file to write; nothing else is needed to read it.
    """
    target = Path(path)
    text = page(
        "offline.html",
        title=f"Off-policy evaluation: {summary['scenario']['title']}",
        summary=summary,
        outcome={item["name"]: item for item in summary["outcomes"]},
        figure={name: Markup(drawn) for name, drawn in _figures(summary).items()},
    )
    target.write_text(text, encoding="utf-8")
    return target


def _figures(summary: Summary) -> dict[str, str]:
    drawn = {"answers": _answers(summary), "overlap": _overlap(summary), "doses": _doses(summary)}
    drawn |= {f"estimators {item['name']}": _estimators(summary, item) for item in summary["outcomes"]}
    if any(regimen["harm_curve"] for regimen in summary["regimens"].values()):
        drawn["first_harm"] = _harm_curves(summary)
    return drawn


def _panel(item: Mapping[str, Any], words: str) -> Panel:
    share = item["unit"] == "share"
    better = "more is better" if item["better"] == "higher" else "fewer is better"
    return Panel(
        item["label"], f"{words}{', %' if share else ''} ({better})", 100 if share else 1, zero=False
    )


def _answers(summary: Summary) -> str:
    """What may be said of each regimen, an outcome a panel."""
    outcomes = summary["outcomes"]
    rows = [
        Row(
            name,
            [regimen["outcomes"][item["name"]]["answer"] or _NOTHING for item in outcomes],
            "about" if name == summary["policy"] else "",
        )
        for name, regimen in summary["regimens"].items()
    ]
    words = "Answers of the log for each regimen and outcome with 95 per cent intervals"
    return forest("answers", words, [_panel(item, "expected under the regimen") for item in outcomes], rows)


def _estimators(summary: Summary, item: Mapping[str, Any]) -> str:
    """Every estimator of one outcome, those that may not answer too: a panel a regimen."""
    named = list(summary["regimens"].items())
    found = [regimen["outcomes"][item["name"]] for _, regimen in named]
    rows = []
    for place, first in enumerate(found[0]["estimates"]):
        records = [one["estimates"][place] for one in found]
        answers = [one["answer"] and one["answer"]["estimator"] == first["estimator"] for one in found]
        refused = not any(record["passed"] for record in records)
        kind = "about" if any(answers) else "bound" if refused else ""
        rows.append(Row(first["estimator"], [r if r["passed"] else _NOTHING for r in records], kind))
    panels = [
        Panel(name, _panel(item, item["label"]).axis, 100 if item["unit"] == "share" else 1, zero=False)
        for name, _ in named
    ]
    return forest(f"estimators-{item['name']}", f"Estimates of {item['label']} by estimator", panels, rows)


def _small(summary: Summary, name: str, words: str, draw: Any, height: float = 2.6) -> str:
    """One panel a regimen, side by side."""

    def drawn() -> Figure:
        named = list(summary["regimens"].items())
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        panels = figure.subplots(1, len(named), sharey=True, squeeze=False)[0]
        for axes, (label, regimen) in zip(panels, named, strict=True):
            draw(axes, regimen)
            axes.set_title(label)
        return figure

    return svg(drawn, name, words)


def _overlap(summary: Summary) -> str:
    """Effective patients by decision: of the course so far, and of the one decision."""

    def draw(axes: Axes, regimen: Mapping[str, Any]) -> None:
        steps = np.arange(1, len(regimen["overlap"]) + 1)
        for key, label, colour in (
            ("decided", "under decision", GREY),
            ("one_step_effective_sample_size", "effective, this decision alone", ORANGE),
            ("effective_sample_size", "effective, course so far", BLUE),
        ):
            values = [max(row[key] or 0.0, 0.1) for row in regimen["overlap"]]
            axes.plot(steps, values, "o-", ms=3, lw=1.4, color=colour, label=label)
        axes.axhline(30, color=GREY, lw=0.9, ls=(0, (4, 2)))
        axes.set_yscale("log")
        axes.set_xlabel("decision")
        axes.set_ylabel("patients")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.legend(frameon=False, fontsize=8, loc="best")

    return _small(summary, "overlap", "Effective sample size by decision for each regimen", draw)


def _doses(summary: Summary) -> str:
    """Doses that were given, and that the regimen would give."""

    def draw(axes: Axes, regimen: Mapping[str, Any]) -> None:
        doses = np.array(regimen["doses"]["dose"])
        width = 0.42 * float(np.diff(doses).min()) if len(doses) > 1 else 0.4
        axes.bar(
            doses - width / 2, 100 * np.array(regimen["doses"]["logged"]), width, color=GREY, label="logged"
        )
        axes.bar(
            doses + width / 2, 100 * np.array(regimen["doses"]["wanted"]), width, color=BLUE, label="wanted"
        )
        axes.set_xlabel(f"dose, {summary['scenario']['dose_unit']}")
        axes.set_ylabel("% of decisions")
        axes.legend(frameon=False, fontsize=8, loc="best")

    return _small(summary, "doses", "Doses logged and doses that each regimen would give", draw)


def _harm_curves(summary: Summary) -> str:
    """Cumulative share of patients who have had the harm, by decision."""

    def drawn() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.0), layout="constrained")
        axes = figure.subplots()
        for colour, (name, regimen) in zip(_COLOURS, summary["regimens"].items(), strict=False):
            curve = regimen["harm_curve"]
            if curve is None:
                continue
            steps = np.arange(len(curve["mean"]) + 1)
            low, mean, high = (
                100 * np.array([0.0, *(np.nan if v is None else v for v in curve[key])])
                for key in ("low", "mean", "high")
            )
            axes.fill_between(steps, low, high, step="post", color=colour, alpha=0.18, lw=0)
            axes.step(steps, mean, where="post", color=colour, lw=1.8, label=name)
        axes.set_ylim(bottom=0)
        axes.set_xlim(left=0)
        axes.set_xlabel("decisions since the start")
        axes.set_ylabel("patients, %")
        axes.legend(frameon=False, loc="upper left")
        return figure

    return svg(drawn, "first-harm", "Share of patients who have had the harm, by decision")
