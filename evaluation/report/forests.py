"""Forest plots: differences, or values, with their intervals, row by row."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from dosewright.evaluation.report.figures import BLUE, GREY, INK, ORANGE, WIDTH, svg

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Panel:
    """One column of a forest plot.

    Attributes
    ----------
    title : words above it
    axis : words below it, with the unit
    scale : of the numbers, 100 for shares that are shown in points
    zero : whether 0, no difference, is marked
    margin : largest rise of a harm that counts as non-inferior, unscaled; None where there is none
    line : a value to compare the rows with, unscaled
    """

    title: str
    axis: str
    scale: float = 1.0
    zero: bool = True
    margin: float | None = None
    line: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of a forest plot.

    Attributes
    ----------
    label : on the left
    records : "mean", "low" and "high" for each panel; mean None: nothing is drawn
    kind : "about": what the page is about; "bound": an upper bound; "": the others
    gap : whether space is left above
    """

    label: str
    records: Sequence[Record]
    kind: Literal["about", "bound", ""] = ""
    gap: bool = False


_COLOURS = {"about": INK, "bound": GREY, "": BLUE}


def forest(name: str, words: str, panels: Sequence[Panel], rows: Sequence[Row], across: int = 2) -> str:
    """Return a forest plot as SVG.

    Parameters
    ----------
    name, words
        Name of the figure on its page, and what it shows, for those who cannot see it.
    panels
        At least one; the rows are the same in all.
    rows
        From top to bottom.
    across
        Panels side by side.
    """
    places: list[float] = []
    for row in rows:
        places.append((places[-1] + 1 if places else 0) + 0.7 * row.gap)
    columns = min(across, len(panels))
    lines = math.ceil(len(panels) / columns)
    height = 1.25 + 0.30 * (places[-1] + 1)

    def draw() -> Figure:
        # h_pad, inches: between a row's axis and the titles of the next
        figure = Figure(figsize=(WIDTH, lines * height), layout=ConstrainedLayoutEngine(h_pad=0.12))
        grid = figure.subplots(lines, columns, sharey=True, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _frame(axes, panel, places[-1] + 1, 92 // columns)
        for axes in grid.flat[len(panels) :]:
            axes.set_visible(False)
        for i, axes in enumerate(grid.flat[: len(panels)]):
            for y, row in zip(places, rows, strict=True):
                _whisker(axes, row.records[i], panels[i].scale, y, _COLOURS[row.kind])
        for axes in grid[:, 0]:
            axes.set_yticks(places, [row.label for row in rows])
            for tick, row in zip(axes.get_yticklabels(), rows, strict=True):
                tick.set_fontweight("bold" if row.kind == "about" else "normal")
        return figure

    return svg(draw, name, words)


def _frame(axes: Axes, panel: Panel, rows: float, letters: int) -> None:
    axes.set_title(textwrap.fill(panel.title, letters))
    axes.set_xlabel(panel.axis)
    if panel.zero:
        axes.axvline(0, color=INK, lw=0.9, zorder=1)
    if panel.margin is not None:
        axes.axvline(panel.scale * panel.margin, color=ORANGE, lw=1, ls=(0, (4, 2)), zorder=1)
    if panel.line is not None:
        axes.axvline(panel.scale * panel.line, color=GREY, lw=0.8, ls=(0, (2, 2)), zorder=1)
    axes.set_ylim(rows - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#E6E9ED", lw=0.8)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(6))


def _whisker(axes: Axes, record: Record, scale: float, y: float, colour: str) -> None:
    if record["mean"] is None:
        return
    axes.plot([scale * record["mean"]], [y], "s", color=colour, ms=5, zorder=3)
    if record["low"] is not None:
        low, high = scale * record["low"], scale * record["high"]
        axes.plot([low, high], [y, y], color=colour, lw=1.8, zorder=2)
