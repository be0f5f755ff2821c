"""Figures of a trial's report, as SVG text that stands inside a page.

Text stays text, so that it can be selected and searched; nothing is loaded from elsewhere. Colours: Okabe and
Ito's palette, told apart by colour-blind readers.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from dosewright.evaluation.trial import ArmResult, TrialResult

Floats = NDArray[np.floating]

BLUE, ORANGE, GREEN, GREY, INK = "#0072B2", "#D55E00", "#009E73", "#8A8F98", "#1D232B"
BAND_COLOUR = "#D9EFE6"
STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "dosewright",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#6B727C",
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "lines.solid_capstyle": "butt",
}
WIDTH = 9.6  # inches; the page is about 1000 pixels wide


def ribbons(result: TrialResult) -> str:
    """Daily response of every arm: median and central 90 % of the patients still followed, target shaded."""
    scenario = result.scenario
    days = np.arange(scenario.horizon + 1)
    bands = {name: _quantiles(arm.truth) for name, arm in result.arms.items()}
    top = max(float(np.nanmax(band[2])) for band in bands.values())

    def panel(axes: Axes, arm: ArmResult) -> None:
        low, median, high = bands[arm.name]
        _target(axes, result)
        axes.fill_between(days, low, high, color=BLUE, alpha=0.22, lw=0)
        axes.plot(days, median, color=BLUE, lw=1.8)
        axes.set_ylim(0, 1.05 * top)

    return svg(
        lambda: _small_multiples(result, panel, f"{scenario.output}{_unit(scenario.measurement.unit)}"),
        "ribbons",
        f"{scenario.output} over days for each arm: 5th, 50th and 95th percentile, target band shaded",
    )


def doses(result: TrialResult) -> str:
    """Dose of every arm: median and central 90 % of the patients still followed, held from visit to visit."""
    scenario = result.scenario
    bands = {name: _quantiles(arm.doses) for name, arm in result.arms.items()}
    top = max(float(np.nanmax(band[2])) for band in bands.values())

    def panel(axes: Axes, arm: ArmResult) -> None:
        low, median, high = (np.append(line, line[-1]) for line in bands[arm.name])
        axes.fill_between(scenario.days, low, high, step="post", color=ORANGE, alpha=0.20, lw=0)
        axes.step(scenario.days, median, where="post", color=ORANGE, lw=1.8)
        axes.set_ylim(0, 1.08 * max(top, scenario.doses.step))

    label = f"dose, {scenario.doses.unit}"
    return svg(
        lambda: _small_multiples(result, panel, label),
        "doses",
        "Dose over days for each arm: median and central 90 per cent",
    )


def one_patient(result: TrialResult, example: dict[str, Any]) -> str:
    """One patient's course under a few arms: truth, measured points, and the doses below."""
    scenario, row, names = result.scenario, example["row"], example["arms"]
    arms = [result.arms[name] for name in names]
    response_top = 1.08 * max(float(np.nanmax(v[row])) for a in arms for v in (a.truth, a.measured))
    dose_top = 1.15 * max(scenario.doses.step, *(float(np.nanmax(a.doses[row])) for a in arms))

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
        panels = figure.subplots(
            2, len(arms), sharex=True, sharey="row", squeeze=False, height_ratios=(2.2, 1)
        )
        for i, arm in enumerate(arms):
            upper, lower = panels[0, i], panels[1, i]
            _target(upper, result)
            upper.plot(np.arange(scenario.horizon + 1), arm.truth[row], color=BLUE, lw=1.6)
            upper.plot(
                scenario.days, arm.measured[row], "o", color=INK, ms=4.2, mfc="white", mew=1.2, clip_on=False
            )
            upper.set_title(arm.name)
            given = np.append(arm.doses[row], arm.doses[row, -1])
            lower.fill_between(scenario.days, 0, given, step="post", color=ORANGE, alpha=0.35, lw=0)
            lower.step(scenario.days, given, where="post", color=ORANGE, lw=1.4)
            lower.set_xlabel(result.scenario.clock.unit)
        panels[0, 0].set(
            xlim=(0, scenario.horizon),
            ylim=(0, response_top),
            ylabel=f"{scenario.output}{_unit(scenario.measurement.unit)}",
        )
        panels[1, 0].set(ylim=(0, dose_top), ylabel=f"dose, {scenario.doses.unit}")
        _legend_of_course(panels[0, 0], result)
        return figure

    return svg(draw, "patient", f"Course of patient {example['id']} under {', '.join(names)}")


def _legend_of_course(axes: Axes, result: TrialResult) -> None:
    """Say once what line and points are, above the band, where the first days leave room."""
    handles = [
        Line2D([], [], color=BLUE, lw=1.6, label="truth"),
        Line2D([], [], marker="o", ls="", color=INK, mfc="white", mew=1.2, ms=4.2, label="measured"),
        Patch(color=BAND_COLOUR, label=result.scenario.benefit.label),
    ]
    axes.legend(handles=handles, frameon=False, fontsize=8.5, loc="best", handlelength=1.4, borderaxespad=0.2)


def _small_multiples(result: TrialResult, panel: Callable[[Axes, ArmResult], None], label: str) -> Figure:
    """One panel an arm, at most four in a row, all with the same axes."""
    arms = list(result.arms.values())
    columns = min(4, len(arms)) if len(arms) != 5 else 3
    rows = math.ceil(len(arms) / columns)
    figure = Figure(figsize=(WIDTH, 0.5 + 1.95 * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    for axes, arm in zip(panels.flat, arms, strict=False):
        panel(axes, arm)
        axes.set_title(f"{arm.name} (upper bound)" if arm.upper_bound else arm.name)
        axes.set_xlim(0, result.scenario.horizon)
        axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axes in panels.flat[len(arms) :]:
        axes.set_visible(False)
    for place in range(len(arms)):
        # the last panel of each column carries the days, also where the last row is not full
        if place + columns >= len(arms):
            panels.flat[place].set_xlabel(result.scenario.clock.unit)
            panels.flat[place].tick_params(labelbottom=True)
    figure.supylabel(label, fontsize=9.5)
    return figure


def _target(axes: Axes, result: TrialResult) -> None:
    """Shade the benefit band, as it is in each unit, and draw the limit of harm."""
    scenario = result.scenario
    bands = [scenario.benefit.band(unit) for unit in range(scenario.horizon)]
    for band in dict.fromkeys(band for band in bands if band is not None):
        units = [unit for unit, now in enumerate(bands) if now is band]
        low, high = max(band.at_least, band.above, 0.0), min(band.at_most, band.below)
        axes.fill_between(
            [units[0], units[-1] + 1], low, high if math.isfinite(high) else 10 * low, color=BAND_COLOUR,
            lw=0, zorder=0,
        )  # fmt: skip
    harm = scenario.harm.band(scenario.horizon - 1)
    for limit in () if harm is None else (harm.at_least, harm.above, harm.at_most, harm.below):
        if math.isfinite(limit):
            axes.axhline(limit, color=ORANGE, lw=0.9, ls=(0, (4, 2)), zorder=1)


def _quantiles(values: Floats) -> Floats:
    """5th, 50th and 95th percentile (3, k) of the patients still followed; NaN where nobody is."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN slice encountered", RuntimeWarning)
        return np.nanquantile(values, [0.05, 0.5, 0.95], axis=0)


def _unit(unit: str) -> str:
    return "" if unit == "1" else f", {unit}"


def svg(draw: Callable[[], Figure], prefix: str, words: str) -> str:
    """Return the figure as an ``<svg>`` element: ids of its own, scalable, described in words."""
    with matplotlib.rc_context(STYLE):
        figure, text = draw(), io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None})
    body = text.getvalue()
    body = re.sub(r"<metadata>.*?</metadata>", "", body[body.index("<svg") :], flags=re.DOTALL)
    # several figures share one page, so every id gets the figure's name
    body = re.sub(r'(\bid="|"#|url\(#)', rf"\g<1>{prefix}-", body)
    body = re.sub(r' xmlns(:\w+)?="[^"]*"| (width|height)="[\d.]+pt"', "", body, count=4)
    return body.replace("<svg", f'<svg role="img" aria-label="{_escaped(words)}"', 1).strip()


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
