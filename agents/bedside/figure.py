"""One patient's picture: what was measured and what the posterior makes of it, and what doses would do."""

from __future__ import annotations

import math

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from dosewright.agents.bedside.advice import NOTE, Advice
from dosewright.agents.bedside.posterior import Draws
from dosewright.envs.measurement import Measurement
from dosewright.envs.pharmacology import Dose
from dosewright.evaluation.report.curves import axis_label
from dosewright.evaluation.report.figures import BAND_COLOUR, BLUE, GREY, INK, ORANGE, STYLE

Floats = NDArray[np.float64]

_PEOPLE = 128  # draws that a curve is made of
_POINTS = 320
_BANDS = ((0.05, 0.95, 0.15), (0.25, 0.75, 0.28))  # 90 and 50 %: ends and opacity
_LINES = 3  # candidates whose course is drawn


def patient_figure(advice: Advice) -> Figure:
    """Return the figure of one patient.

    Left the course of what is dosed by: 90 and 50 % bands of the posterior up to now, measured points, then
    the bands under the monitoring dose and the medians under doses beside it. Right every candidate's
    response at the end of the look ahead, 90 and 50 %, with its probabilities of target and harm.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9.6, 4.0), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(1.7, 1.0))
        _course(left, advice)
        _candidates(right, advice)
        scenario = advice.case.scenario
        genes = ", ".join(f"{gene} {pair}" for gene, pair in advice.case.genotypes.items())
        left.set_title(f"{scenario.name}, patient {advice.case.records.id}{': ' if genes else ''}{genes}")
        right.set_title(f"next dose, {scenario.doses.unit}")
        figure.text(0.005, 0.005, NOTE, fontsize=7, color=GREY)
    return figure


def _course(axes: Axes, advice: Advice) -> None:
    scenario, line = advice.case.scenario, advice.timeline
    item = scenario.measurement
    shown = scenario.clock.shown / scenario.clock.length
    draws = advice.person.draw(_PEOPLE)
    start = float(advice.person.courses.segments[-1].start[0])
    end = line.begin + advice.prospects.reach * scenario.clock.length
    if line.begin > start:
        past = np.linspace(start, line.begin, _POINTS)
        _bands(axes, past * shown, _levels(draws, [], past, item.output), BLUE)
    ahead = np.linspace(line.begin, end, _POINTS)
    for dose in _drawn(advice):
        values = _levels(draws, _doses(advice, dose), ahead, item.output)
        if dose == advice.monitoring.dose:
            _bands(axes, ahead * shown, values, ORANGE, f"{dose:g} {scenario.doses.unit}")
        else:
            axes.plot(ahead * shown, np.median(values, axis=0), color=GREY, lw=1.0, ls=(0, (3, 2)))
            axes.annotate(
                f"{dose:g}", (end * shown, float(np.median(values[:, -1]))), fontsize=7.5, color=GREY
            )
    rows = [row for row in advice.levels if row.output == item.output]
    seen = [row for row in rows if not math.isnan(row.measured)]
    below = [row for row in rows if math.isnan(row.measured)]
    if seen:
        axes.plot([r.time * shown for r in seen], [r.measured for r in seen], "o", color=INK, ms=4.5,
                  zorder=5, label="measured")  # fmt: skip
    if below:
        axes.plot([r.time * shown for r in below], [r.limit for r in below], "v", color=INK, ms=5, zorder=5,
                  label="below the limit")  # fmt: skip
    axes.set_ylim(bottom=0)
    if _is_level(advice, item):
        _shade(axes, advice)
    axes.axvline(line.begin * shown, color=INK, lw=0.8, ls=(0, (1, 2)))
    unit = scenario.model.outputs[scenario.model.output(item.output)].unit
    axes.set_ylabel(axis_label(item.output, unit))
    axes.set_xlabel(f"time after the first dose, {scenario.clock.symbol}")
    axes.legend(frameon=False, fontsize=8, loc="upper left")


def _is_level(advice: Advice, item: Measurement) -> bool:
    """Tell whether the target is one of the measured output itself, at one moment of a unit."""
    reads = advice.prospects.scenario.responses[0].reads
    return len(reads) == 1 and next(iter(reads))[1] == item.output


def _drawn(advice: Advice) -> list[float]:
    """Return the candidates whose course is drawn, the monitoring dose among them."""
    doses = [item.dose for item in advice.candidates]
    chosen = [doses[i] for i in np.unique(np.linspace(0, len(doses) - 1, _LINES).round().astype(int))]
    return sorted({*chosen, advice.monitoring.dose})


def _doses(advice: Advice, dose: float) -> list[Dose]:
    """Return the administrations of a dose in the units ahead."""
    scenario, line = advice.case.scenario, advice.timeline
    people, reach = advice.case.people(line.begin), advice.prospects.reach
    number = np.minimum(line.unit + np.arange(reach), scenario.horizon - 1)[None]
    found: list[Dose] = []
    for item in scenario.administrations:
        given = item.give(np.full((1, reach), dose), people, number)
        shape = (1, reach, item.count)
        offset, amount, duration = (
            np.broadcast_to(part, shape)[0] for part in (given.offset, given.amount, given.duration)
        )
        begins = line.begin + np.arange(reach) * scenario.clock.length
        found += [
            Dose(float(begins[u] + offset[u, i]), float(amount[u, i]), float(duration[u, i]), item.route)
            for u in range(reach)
            for i in range(item.count)
            if amount[u, i] > 0
        ]
    return found


def _levels(draws: Draws, doses: list[Dose], times: Floats, output: str) -> Floats:
    """Return an output (N, t) of every draw under the records and further doses."""
    courses, case = draws.courses, draws.case
    if not case.given:
        # the records begin with the dose that is to be decided: it is not given
        shifted = [dose._replace(time=dose.time - times[0]) for dose in doses]
        return courses.simulate(draws.eta, shifted, times - times[0], [output], history=False)[:, 0, :, 0]
    return courses.simulate(draws.eta, doses, times, [output])[:, 0, :, 0]


def _bands(axes: Axes, x: Floats, values: Floats, colour: str, label: str | None = None) -> None:
    for low, high, opacity in _BANDS:
        ends = np.quantile(values, [low, high], axis=0)
        axes.fill_between(x, *ends, color=colour, alpha=opacity, lw=0)
    axes.plot(x, np.median(values, axis=0), color=colour, lw=1.3, label=label or "this patient, 50 and 90 %")


def _shade(axes: Axes, advice: Advice) -> None:
    top = axes.get_ylim()[1]
    axes.axhspan(max(advice.target.low, 0.0), min(advice.target.high, 1e6), color=BAND_COLOUR, lw=0, zorder=0)
    axes.set_ylim(0, max(top, 1.1 * advice.target.high if math.isfinite(advice.target.high) else top))


def _candidates(axes: Axes, advice: Advice) -> None:
    scenario, target = advice.case.scenario, advice.target
    last = advice.prospects.outlook.responses(
        np.repeat(np.array([[c.dose for c in advice.candidates]])[..., None], advice.prospects.reach, axis=2)
    )[target.name][0, :, :, -1]
    places = np.arange(float(len(advice.candidates)))
    for low, high, width in ((0.05, 0.95, 1.4), (0.25, 0.75, 4.0)):
        axes.vlines(places, *np.quantile(last, [low, high], axis=0), color=BLUE, lw=width, alpha=0.8)
    axes.plot(places, np.median(last, axis=0), "o", color=INK, ms=3.5)
    axes.set_ylim(bottom=0)
    _shade(axes, advice)
    top = axes.get_ylim()[1]
    axes.set_ylim(0, 1.14 * top)
    for x, item in zip(places.tolist(), advice.candidates, strict=True):
        axes.text(x, 1.12 * top, f"{item.in_target:.0%}", ha="center", va="top", fontsize=7.5, color=BLUE)
        axes.text(x, 1.055 * top, f"{item.harm:.0%}", ha="center", va="top", fontsize=7.5, color=ORANGE)
    axes.set_xticks(places, [f"{item.dose:g}" for item in advice.candidates])
    for tick, item in zip(axes.get_xticklabels(), advice.candidates, strict=True):
        tick.set_fontweight("bold" if item.dose == advice.monitoring.dose else "normal")
    clock = scenario.clock
    last_unit = advice.timeline.unit + advice.prospects.reach - 1
    name = target.name.removeprefix("sample of ")
    axes.set_ylabel(axis_label(f"{name} at the end of {clock.unit} {last_unit}", target.unit))
    axes.set_xlabel("above: P(in target), blue; P(harm), orange")
