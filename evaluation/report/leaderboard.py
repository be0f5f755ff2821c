"""The page of the leaderboard: everything on it is in the record that `result.json` holds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from dosewright.evaluation.answer import change
from dosewright.evaluation.leaderboard.cell import RULES
from dosewright.evaluation.report.figures import BLUE, ORANGE, WIDTH, svg
from dosewright.evaluation.report.forests import Panel, Row, forest
from dosewright.evaluation.report.layout import page

_COLUMNS = 4


def leaderboard_page(record: Mapping[str, Any]) -> str:
    """Return the page of a record (`dosewright.evaluation.leaderboard.board`) as one self-contained HTML
    text."""
    groups = dict.fromkeys((cell["realism"], cell["world"]) for cell in record["cells"])
    compared = [cell for cell in record["cells"] if cell["world"] == "own" and cell["policies"]]
    trained = {drug: entries for drug, entries in record["training"].items() if entries}
    minutes = [entry["minutes"] for entries in trained.values() for entry in entries]
    return page(
        "leaderboard.html",
        b=record,
        groups=list(groups),
        rule_of=_best_rule,
        world_of=world_of,
        change=change,
        differences=Markup(_differences(compared)) if compared else None,
        curves=Markup(_curves(trained)) if trained else None,
        minutes=sum(minutes)
        + sum(entry["minutes"] for entries in record["tried"].values() for entry in entries),
        longest=max(minutes, default=0.0),
    )


def _differences(cells: Sequence[Mapping[str, Any]]) -> str:
    """Return how the policies differ from monitoring, realism after realism."""
    rows = [
        Row(
            f"{cell['drug']}, {realism}",
            [cell["against"]["monitoring"][key] for key in ("benefit", "event")],
            gap=place > 0 and number == 0,
        )
        for place, realism in enumerate(dict.fromkeys(cell["realism"] for cell in cells))
        for number, cell in enumerate(cell for cell in cells if cell["realism"] == realism)
    ]
    panels = (
        Panel("Benefit", "points", scale=100),
        Panel("Patients with the event", "points", scale=100),
    )
    return forest(
        "differences", "Differences of policies from Bayesian monitoring, drug by drug", panels, rows
    )


def _curves(trained: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Return what the policies of every drug scored as they were trained."""

    def draw() -> Figure:
        rows = math.ceil(len(trained) / _COLUMNS)
        figure = Figure(figsize=(WIDTH, 0.4 + 2.0 * rows), layout="constrained")
        panels = figure.subplots(rows, _COLUMNS, squeeze=False).ravel()
        for number, (axes, (drug, entries)) in enumerate(zip(panels, trained.items(), strict=False)):
            other = axes.twinx()
            for side, key, colour in ((axes, "benefit", BLUE), (other, "ever_harm", ORANGE)):
                for entry in entries:
                    steps = [point["steps"] for point in entry["curve"]]
                    side.plot(steps, [100 * point[key] for point in entry["curve"]], "o-", color=colour,
                              lw=1.2, ms=2.5)  # fmt: skip
                side.axhline(100 * entries[0]["monitoring"][key], color=colour, lw=0.9, ls=(0, (4, 2)))
                side.tick_params(labelsize=7.5, colors=colour, axis="y")
            _apart(axes, other)
            if number % _COLUMNS == 0:
                axes.set_ylabel("benefit, %", color=BLUE, fontsize=8.5)
            if number % _COLUMNS == _COLUMNS - 1 or number == len(trained) - 1:
                other.set_ylabel("with the event, %", color=ORANGE, fontsize=8.5)
            axes.set_title(drug)
            axes.tick_params(labelsize=7.5, axis="x")
            axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
        for axes in panels[len(trained) :]:
            axes.set_visible(False)
        return figure

    return svg(draw, "curves", "Benefit and patients with the event on select patients over training")


def _apart(benefit: Axes, event: Axes) -> None:
    """Give benefit the upper half of a panel, five points at least, and events the lower one, from 0 on."""
    low, high = benefit.get_ylim()
    span = max(high - low, 5.0)
    top = (low + high + span) / 2
    benefit.set_ylim(top - 2 * span, top)
    event.set_ylim(0, 2.1 * max(event.get_ylim()[1], 1.0))


def world_of(cell: Mapping[str, Any]) -> str:
    """Return the world of a cell in words."""
    if cell["world"] == "own":
        return "own model"
    return "another model" if cell["second_model"] else "the same model, wider"


def _best_rule(cell: Mapping[str, Any]) -> str | None:
    """Return the rule with the most benefit; None where a cell has none."""
    there = [name for name in RULES if name in cell["arms"]]
    return max(there, key=lambda name: cell["arms"][name]["benefit"]["mean"], default=None)
