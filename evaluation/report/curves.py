"""Figures of a drug's course: typical curve, spread, and target."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from dosewright.envs import Scenario
from dosewright.evaluation.curves import Curve
from dosewright.evaluation.report.figures import BAND_COLOUR, BLUE, GREEN, GREY, INK, ORANGE, STYLE

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", "#E69F00", "#56B4E9", GREY, INK)


def course_figure(scenario: Scenario, curves: Mapping[str, Curve], title: str) -> Figure:
    """Return a figure of one or several curves of a drug against its target.

    The first curve is drawn with its 90 % band. Where the response that is dosed to is an exposure, a second
    panel shows it unit by unit.

    Parameters
    ----------
    curves : label -> curve
    title : heading
    """
    exposures = {label: curve.amounts for label, curve in curves.items() if curve.amounts is not None}
    with matplotlib.rc_context(STYLE):
        rows = 2 if exposures else 1
        figure = Figure(figsize=(7.2, 3.4 if rows == 1 else 5.4), layout="constrained")
        panels = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
        first = next(iter(curves.values()))
        for (label, curve), colour in zip(curves.items(), _COLOURS, strict=False):
            if curve is first:
                panels[0].fill_between(
                    curve.days, curve.low, curve.high, color=colour, alpha=0.16, lw=0,
                    label=f"90 % of {curve.people} people",
                )  # fmt: skip
            panels[0].plot(curve.days, curve.typical, color=colour, lw=1.5, label=label)
            if curve.amounts is not None:
                ends = np.arange(1, len(curve.amounts) + 1) * scenario.clock.days
                panels[-1].plot(ends, curve.amounts, "o-", color=colour, ms=3.5, lw=1.2, label=label)
        panels[0].set_ylabel(axis_label(first.output, first.unit))
        response = scenario.responses[0]
        if exposures:
            panels[1].set_ylabel(axis_label(response.name, response.unit))
        shade_target(panels[-1] if exposures else panels[0], scenario, float(first.days[-1]))
        panels[0].set_title(title)
        for axes in panels:
            axes.set_ylim(bottom=0)
            axes.set_xlim(0, float(first.days[-1]))
        beside: Any = {"frameon": False, "fontsize": 8, "loc": "upper left", "bbox_to_anchor": (1.0, 1.0)}
        panels[0].legend(**beside)
        if exposures:  # the curves have their names above
            marks, words = panels[1].get_legend_handles_labels()
            others = [i for i, word in enumerate(words) if word not in curves]
            panels[1].legend([marks[i] for i in others], [words[i] for i in others], **beside)
        _label_time(panels[-1], float(first.days[-1]))
        figure.text(0.005, 0.005, "Simulation; not for clinical use.", fontsize=7, color=GREY)
    return figure


def shade_target(axes: Axes, scenario: Scenario, days: float) -> None:
    """Shade the target as it is in every unit, and draw the limit of harm."""
    top = axes.get_ylim()[1]
    units = range(min(scenario.horizon, max(math.ceil(days / scenario.clock.days), 1)))
    begun, said = 0, False
    for band, alike in groupby(scenario.benefit.band(unit) for unit in units):
        first, begun = begun, begun + len(list(alike))
        if band is None:
            continue
        low, high = max(band.at_least, band.above, 0.0), min(band.at_most, band.below, 1e9)
        axes.fill_between(
            [first * scenario.clock.days, begun * scenario.clock.days], low, min(high, 10 * low + top),
            color=BAND_COLOUR, lw=0, zorder=0, label=None if said else f"target, {scenario.output}",
        )  # fmt: skip
        said = True
    harm = scenario.harm.band(scenario.horizon - 1)
    for limit in () if harm is None else (harm.at_least, harm.above, harm.at_most, harm.below):
        if math.isfinite(limit):
            axes.axhline(limit, color=ORANGE, lw=0.9, ls=(0, (4, 2)), zorder=1, label="limit of harm")
            top = max(top, 1.15 * limit)
    axes.set_ylim(0, top)


def axis_label(name: str, unit: str) -> str:
    return name if unit == "1" else f"{name}, {unit}"


def _label_time(axes: Axes, days: float) -> None:
    """Label the time axis in minutes where the course is short."""
    if days >= 0.2:
        axes.set_xlabel("time, days")
        return
    ticks = np.linspace(0, days, 7)
    axes.set_xticks(ticks, [f"{tick * 1440:.0f}" for tick in ticks])
    axes.set_xlabel("time, min")
