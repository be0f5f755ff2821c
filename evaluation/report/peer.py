"""The page of a peer's virtual trial: everything on it is in the record that `result.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dosewright.evaluation.report.figures import BLUE, GREEN, GREY, INK, ORANGE, svg
from dosewright.evaluation.report.layout import page
from dosewright.evaluation.report.replication import interval, number

_COLOURS = (BLUE, ORANGE, GREEN, "#CC79A7", INK, "#56B4E9", "#E69F00", GREY)


def peer_page(record: Mapping[str, Any]) -> str:
    """Return the page of a record (`PeerTrial.record`) as one self-contained HTML text."""
    return page(
        "peer.html",
        r=record,
        courses=[Markup(_courses(i, table)) for i, table in enumerate(record["tables"])],
        interval=interval,
        number=number,
    )


def _courses(place: int, table: Mapping[str, Any]) -> str:
    """Share of the patients whose latent INR is in range, by day."""

    def draw() -> Figure:
        figure = Figure(figsize=(9.6, 3.1), layout="constrained")
        axes = figure.subplots()
        for i, (arm, share) in enumerate(table["share_in_range"].items()):
            colour, dash = _COLOURS[i % len(_COLOURS)], "-" if i < len(_COLOURS) else "--"
            axes.plot(np.arange(len(share)), 100 * np.array(share), dash, color=colour, lw=1.4, label=arm)
        axes.set(xlabel="day after the first dose", ylabel="patients in range, %", ylim=(0, 100))
        axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        return figure

    return svg(draw, f"courses-{place}", f"Share of patients with INR 2 to 3 by day, {table['name']}")
