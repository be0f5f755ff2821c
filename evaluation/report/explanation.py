"""The page of an explained policy, and the same as part of another page; every number is in the record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from dosewright.evaluation.report.figures import BLUE, GREY, INK, ORANGE, WIDTH, svg
from dosewright.evaluation.report.forests import Panel, Row, forest
from dosewright.evaluation.report.layout import page
from dosewright.evaluation.result_folder import new_folder, write_summary

Explained = Mapping[str, Any]

PAGE_FILE = "explain.html"
_SHOWN = 15  # features in the figure


def write_explanation(record: Explained, folder: str | Path, overwrite: bool = False) -> Path:
    """Write ``explain.html`` and ``result.json`` into a new folder and return it.

    Parameters
    ----------
    record
        Of `dosewright.agents.explanation.explain`: every number on the page.
    folder
        Where to.
    overwrite
        Replace an earlier result.

    Raises
    ------
    ExistingResultError
        As `check_folder`.
    """
    text = page("explanation.html", e=record, part=explanation_part(record))
    with new_folder(folder, overwrite) as new:
        write_summary(record, new)
        (new / PAGE_FILE).write_text(text, encoding="utf-8")
    return Path(folder)


def explanation_part(record: Explained) -> Markup:
    """Return what a page says about how a policy doses, from its sections to its figures, as HTML.

    The page around it brings the style and the notice.
    """
    figures = {name: Markup(drawn) for name, drawn in _figures(record).items()}
    return Markup(page("explanation_part.html", e=record, figure=figures, gain=gain_cell))


def gain_cell(record: Mapping[str, Any], factor: float, digits: int, better: str) -> tuple[str, str, str]:
    """Return a mean gain, its interval if any, and "better" or "worse" where that does not cover 0."""
    if record["mean"] is None:
        return "–", "", ""
    if record["low"] is None:
        return f"{factor * record['mean']:.{digits}f}".replace("-", "−"), "", ""
    mean, low, high = (
        f"{factor * record[key]:+.{digits}f}".replace("-", "−") for key in ("mean", "low", "high")
    )
    sign = (record["low"] > 0) - (record["high"] < 0)
    shows = "" if sign == 0 else "better" if (sign > 0) == (better == "higher") else "worse"
    return mean, f"{low} to {high}", shows


def _figures(record: Explained) -> dict[str, str]:
    found = record["differences"]
    return {
        "curves": _curves(record),
        "map": _map(record),
        "kinds": _gains(record, "kinds", found["kinds"]),
        "visits": _gains(record, "visits", found["by_visit"]),
        "importance": _importance(record),
        # of a policy that never departs nothing can be left
        **({} if record["deletion"][0]["left"] is None else {"deletion": _deletion(record)}),
    }


def _curves(record: Explained) -> str:
    """Multiple and dose against each of the two features: mean and spread over the visits."""
    unit = record["scenario"]["dose_unit"]
    curves = record["dependence"]["curves"]

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 4.8), layout="constrained")
        panels = figure.subplots(2, 2, sharex="col", sharey="row")
        for column, curve in enumerate(curves):
            for axes, key, colour in zip(
                panels[:, column], ("multiple", "dose"), (BLUE, ORANGE), strict=True
            ):
                found = curve[key]
                axes.fill_between(curve["values"], found["low"], found["high"], color=colour, alpha=0.2, lw=0)
                axes.plot(curve["values"], found["mean"], "o-", ms=3, color=colour, lw=1.6)
                axes.set_ylim(bottom=0)
            panels[0, column].axhline(1, color=GREY, lw=0.9, ls=(0, (4, 2)))
            panels[1, column].set_xlabel(_axis(curve))
        panels[0, 0].set_ylabel("dose, × the anchor")
        panels[1, 0].set_ylabel(f"dose, {unit}")
        return figure

    return svg(draw, "explain-curves", "Dose against the two most important features")


def _map(record: Explained) -> str:
    """Multiple against both features at once, where patients were."""
    found, curves = record["dependence"]["map"], record["dependence"]["curves"]
    values = np.array([[np.nan if v is None else v for v in row] for row in found["multiple"]])
    rows, columns = values.shape

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 1.3 + 0.42 * rows), layout="constrained")
        axes = figure.subplots()
        top, bottom = max(float(np.nanmax(values)), 1.01), min(float(np.nanmin(values)), 0.99)
        drawn = axes.pcolormesh(
            np.arange(columns + 1), np.arange(rows + 1), np.ma.masked_invalid(values), cmap="PuOr_r",
            norm=TwoSlopeNorm(1.0, bottom, top), edgecolors="white", lw=0.8,
        )  # fmt: skip
        for i, j in np.argwhere(~np.isnan(values)).tolist():
            axes.text(
                j + 0.5, i + 0.5, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=8, color=INK,
                bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none", "alpha": 0.75},
            )  # fmt: skip
        for axis, edges, curve in zip((axes.xaxis, axes.yaxis), found["edges"], curves, strict=True):
            axis.set_ticks(range(len(edges)), [f"{edge:.4g}".replace("-", "−") for edge in edges])
            axis.set_label_text(_axis(curve))
        figure.colorbar(drawn, ax=axes, label="dose, × the anchor", pad=0.01)
        return figure

    return svg(
        draw, "explain-map", "Dose as a multiple of the anchor against the two most important features"
    )


def _gains(record: Explained, name: str, listed: list[dict[str, Any]]) -> str:
    """What the policy's dose brings over the anchor's, by kind of visit or by time."""
    scenario = record["scenario"]
    panels = [
        Panel(
            scenario["gain"],
            f"gain of {scenario['units']} a visit\n(more is better)",
        ),
        Panel(scenario["event"], "change per 1,000 visits\n(fewer is better)", 1000.0),
    ]
    rows = [Row("all visits", _both(record["differences"]["all"]), "about")]
    rows += [
        Row(f"{item['name']}  ({100 * item['share']:.0f} %)", _both(item), "", place == 0)
        for place, item in enumerate(listed)
    ]
    words = "Gain in benefit and in events of the policy's dose over the anchor's, 95 per cent intervals"
    return forest(f"explain-{name}", words, panels, rows)


def _both(item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [item["benefit"], item["event"]]


def _importance(record: Explained) -> str:
    """Change of the multiple when a feature is another patient's."""
    shown = record["importance"][:_SHOWN]

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 0.8 + 0.27 * len(shown)), layout="constrained")
        axes = figure.subplots()
        axes.barh(range(len(shown)), [item["multiple"] for item in shown], color=BLUE, height=0.65)
        axes.set_yticks(range(len(shown)), [item["words"] for item in shown])
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlabel("mean change of the dose, × the anchor")
        return figure

    return svg(draw, "explain-importance", "Permutation importance of the features")


def _deletion(record: Explained) -> str:
    """Departure from the anchor that is left without features."""
    *rows, everything = record["deletion"]

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 2.8), layout="constrained")
        axes = figure.subplots()
        counts = [row["features"] for row in rows]
        low, mean, high = ([100 * row["random"][key] for row in rows] for key in ("low", "mean", "high"))
        axes.fill_between(counts, low, high, color=GREY, alpha=0.25, lw=0)
        axes.plot(counts, mean, "o-", color=GREY, ms=4, label="at random: mean, least and most")
        axes.plot(
            counts, [100 * row["left"] for row in rows], "o-", color=ORANGE, ms=4, label="the most important"
        )
        axes.axhline(100 * everything["left"], color=INK, lw=0.9, ls=(0, (4, 2)), label="all features")
        axes.set_xticks(counts)
        axes.set_ylim(top=102)
        axes.set(xlabel="features replaced by their mean", ylabel="departure left, %")
        axes.legend(frameon=False, fontsize=8.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure

    return svg(draw, "explain-deletion", "Departure from the anchor left without features")


def _axis(curve: Mapping[str, Any]) -> str:
    return curve["words"] if curve["unit"] == "1" else f"{curve['words']}, {curve['unit']}"
