"""The figure of every arm's benefit against its harm."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from dosewright.evaluation.report.figures import BLUE, GREY, INK, ORANGE, WIDTH, svg

Summary = Mapping[str, Any]

_DOT = 3  # half a point's size, in pixels
# where the name of a point may stand, in points from it, the first that is free
_PLACES = [((5, 4), "left", "bottom"), ((5, -4), "left", "top"), ((-5, 4), "right", "bottom"),
           ((-5, -4), "right", "top")]  # fmt: skip


def benefit_and_harm_plane(summary: Summary) -> str:
    """Return every arm as a point, its benefit over the patients it harms, with 95 % intervals; the arms of
    one policy at several weights of safety are joined."""
    scenario, about = summary["scenario"], summary["answer"]["arm"]

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        axes = figure.subplots()
        for front in summary["fronts"].values():
            joined = [_at(summary["arms"][item["arm"]]) for item in front]
            axes.plot(*zip(*joined, strict=True), color=ORANGE, lw=1.4, zorder=1)
        front_arms = {item["arm"] for front in summary["fronts"].values() for item in front}
        for name, arm in summary["arms"].items():
            x, y = _at(arm)
            across, along = arm["ever_harm"], arm["benefit"]
            colour = ORANGE if name == about or name in front_arms else GREY if arm["upper_bound"] else BLUE
            axes.plot([100 * across["low"], 100 * across["high"]], [y, y], color=colour, lw=1, alpha=0.5)
            axes.plot([x, x], [100 * along["low"], 100 * along["high"]], color=colour, lw=1, alpha=0.5)
            axes.plot(x, y, "o", color=colour, ms=5)
        axes.set_xlim(left=0)
        axes.margins(0.12)
        axes.set(
            xlabel=f"patients {scenario['event']}, % (fewer is better)",
            ylabel=f"{scenario['units']} with {scenario['benefit']}, %",
        )
        name_points(axes, {name: _at(arm) for name, arm in summary["arms"].items()})
        return figure

    return svg(draw, "plane", "Benefit of every arm against the patients it harms, 95 per cent intervals")


def name_points(axes: Axes, points: Mapping[str, tuple[float, float]]) -> None:
    """Write names beside their points (x, y), the highest first, so that none covers a point or another name
    where there is a free place."""
    figure = axes.get_figure(root=True)
    assert figure is not None
    figure.draw_without_rendering()  # sets the scale
    centres = axes.transData.transform([*points.values()])
    taken = [Bbox.from_bounds(x, y, 0, 0).padded(_DOT) for x, y in centres]
    for name in sorted(points, key=lambda name: -points[name][1]):
        text = axes.annotate(name, points[name], (0, 0), textcoords="offset points", fontsize=8.5, color=INK)
        for offset, across, along in (*_PLACES, _PLACES[0]):
            text.xyann = offset
            text.set(horizontalalignment=across, verticalalignment=along)
            if not text.get_window_extent().count_overlaps(taken):
                break
        taken.append(text.get_window_extent())


def _at(arm: Mapping[str, Any]) -> tuple[float, float]:
    return 100 * arm["ever_harm"]["mean"], 100 * arm["benefit"]["mean"]
