"""The page of a replicated trial: everything on it is in the record that `result.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dosewright.evaluation.report.figures import BAND_COLOUR, BLUE, GREEN, GREY, INK, ORANGE, svg
from dosewright.evaluation.report.layout import page

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7")
_PRESET_COLOURS = {"clinic": INK, "textbook": BLUE}


def replication_page(record: Mapping[str, Any]) -> str:
    """Return the page of a record (`Replication.record`) as one self-contained HTML text."""
    return page(
        "replication.html",
        r=record,
        forest=Markup(_forest(record)),
        courses={preset: Markup(_courses(preset, arms)) for preset, arms in record["share_in_range"].items()},
        interval=interval,
        number=number,
    )


def interval(value: Mapping[str, Any] | float | None, digits: int = 1, sign: bool = False) -> tuple[str, str]:
    """Return a mean and its interval, as ``("74.1", "72.0 to 76.2")``; a number has none, and None is a
    dash."""
    if not isinstance(value, Mapping):
        return number(value), ""
    mark = "+" if sign else ""
    # a limit of 0 may lie a rounding below it: adding 0 leaves no "−0.0"
    mean, low, high = (
        f"{round(value[key], digits) + 0.0:{mark}.{digits}f}".replace("-", "−")
        for key in ("mean", "low", "high")
    )
    return mean, f"{low} to {high}"


def number(value: float | None) -> str:
    """Return a number as it is; a dash for None."""
    return "–" if value is None else f"{value:g}".replace("-", "−")


def _forest(record: Mapping[str, Any]) -> str:
    """Differences in time in range of all comparisons, by preset, and the trial's own with its interval."""
    found = {(item["name"], item["realism"]): item["difference"]["in_range"] for item in record["contrasts"]}
    names = list(dict.fromkeys(name for name, _ in found))
    trial = next(item["published"] for item in record["figures"] if item["published"]["low"] is not None)

    def draw() -> Figure:
        figure = Figure(figsize=(9.6, 1.6 + 0.42 * len(names)), layout="constrained")
        axes = figure.subplots()
        axes.axvspan(
            trial["low"], trial["high"], color=BAND_COLOUR, zorder=0, label="the trial's 95 % interval"
        )
        axes.axvline(
            trial["value"], color=GREEN, lw=1, ls=(0, (4, 2)), zorder=1, label="the trial's difference"
        )
        axes.axvline(0, color=GREY, lw=0.9, zorder=1)
        for i, preset in enumerate(record["presets"]):
            shift = 0.16 * (2 * i - len(record["presets"]) + 1)
            colour = _PRESET_COLOURS[preset]
            for y, name in enumerate(names):
                item = found[name, preset]
                axes.plot([item["low"], item["high"]], [y + shift] * 2, color=colour, lw=1.8, zorder=2)
                label = preset if y == 0 else None
                axes.plot([item["mean"]], [y + shift], "s", color=colour, ms=4.5, zorder=3, label=label)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.set_xlabel(f"time in range, genotype minus {record['reference']}, percentage points")
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure

    return svg(draw, "forest", "Differences in time in range between the arms, with Monte Carlo intervals")


def _courses(preset: str, arms: Mapping[str, list[float]]) -> str:
    """Share of those followed whose latent INR is in range, by study day."""

    def draw() -> Figure:
        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        axes = figure.subplots()
        for (name, share), colour in zip(arms.items(), _COLOURS, strict=False):
            axes.plot(np.arange(len(share)) + 1, 100 * np.array(share), color=colour, lw=1.6, label=name)
        axes.set(xlabel="study day", ylabel="participants in range, %", ylim=(0, 100))
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure

    return svg(draw, f"courses-{preset}", f"Share of participants with INR 2 to 3 by study day, {preset}")
