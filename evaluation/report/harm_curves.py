"""The figure of the time to the first harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dosewright.evaluation.report.figures import BLUE, GREEN, GREY, ORANGE, WIDTH, svg

Floats = NDArray[np.float64]
_COLOURS = (BLUE, ORANGE, GREEN)


def harm_curves(summary: Mapping[str, Any]) -> str:
    """Return the share of patients who have had the harm, over time, with those still at risk below.

    Rising, from 0: a curve of those free of a rare harm would hide it at the top of the picture.
    """
    scenario, found = summary["scenario"], summary["first_harm"]
    curves, horizon = found["curves"], float(scenario["horizon"])

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.5 + 0.24 * len(curves)), layout="constrained")
        axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(10, 0.9 * len(curves)))
        for (name, curve), colour in zip(curves.items(), _COLOURS, strict=False):
            time, harmed = _step(curve["time"], curve["harmed"])
            _, low = _step(curve["time"], curve["low"])
            _, high = _step(curve["time"], curve["high"])
            axes.fill_between(time, low, high, step="post", color=colour, alpha=0.16, lw=0)
            axes.step(time, harmed, where="post", color=colour, lw=1.8, label=name)
            axes.step(*_step(curve["time"], curve["beside_leaving"]), where="post", color=colour, lw=1,
                      ls=(0, (3, 2)))  # fmt: skip
        axes.set(xlim=(0, horizon), ylabel=f"patients {scenario['event']}, %", xlabel=scenario["unit"])
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.tick_params(labelbottom=True)
        handles, labels = axes.get_legend_handles_labels()
        handles.append(Line2D([], [], color=GREY, lw=1, ls=(0, (3, 2))))
        labels.append("dashed: where people leave")
        axes.legend(handles, labels, frameon=False, fontsize=8.5, loc="lower left", ncols=len(labels),
                    bbox_to_anchor=(0.0, 1.0), borderaxespad=0.2)  # fmt: skip
        _at_risk(below, curves, [tick for tick in axes.get_xticks() if 0 <= tick <= horizon])
        return figure

    return svg(draw, "first-harm", "Share of patients who have had the harm over time, by arm")


def _step(time: list[float], shares: list[float | None]) -> tuple[Floats, Floats]:
    """Return times and shares in per cent from 0 on; a limit that is not defined is missing."""
    values = np.array([np.nan if share is None else share for share in shares], dtype=np.float64)
    return np.array([0.0, *time]), 100.0 * np.array([0.0, *values])


def _at_risk(axes: Axes, curves: Mapping[str, Any], ticks: list[float]) -> None:
    """Write how many are followed and still free of the harm, a line an arm."""
    axes.set_title("at risk", fontsize=8.5, fontweight="normal")
    axes.set_ylim(len(curves) - 0.5, -0.5)
    axes.set_yticks(range(len(curves)), list(curves))
    axes.tick_params(length=0, labelbottom=False)
    axes.tick_params(axis="y", pad=26)  # the first number stands at 0, half of it to the left
    axes.spines[:].set_visible(False)
    for line, (label, curve) in enumerate(zip(axes.get_yticklabels(), curves.values(), strict=True)):
        label.set_color(_COLOURS[line])
        for tick in ticks:
            later = np.searchsorted(curve["time"], tick)
            left = curve["at_risk"][later] if later < len(curve["time"]) else 0
            axes.text(tick, line, f"{left:,}", fontsize=8.5, ha="center", va="center")
