"""The page of the refinement loop: what changed, what was learned, what was tested, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dosewright.evaluation.report.figures import BLUE, GREY, INK, ORANGE, WIDTH, svg
from dosewright.evaluation.report.forests import Panel, Row, forest
from dosewright.evaluation.report.layout import page
from dosewright.evaluation.result_folder import write_summary

Loop = Mapping[str, Any]

PAGE_FILE = "refinement.html"
_WINDOW = 50  # patients of a running share


def write_refinement(record: Loop, folder: Path) -> Path:
    """Write ``refinement.html`` and ``result.json`` into a folder, and return the page.

    Parameters
    ----------
    record
        Of `dosewright.agents.refinement.demonstration.demonstrate`: every number on the page.
    """
    write_summary(record, folder)
    target = folder / PAGE_FILE
    text = page(
        "refinement.html",
        r=record,
        answer=answer(record),
        courses=Markup(_courses(record)),
        trials=Markup(_trials(record)),
        factors=_factors(record),
    )
    target.write_text(text, encoding="utf-8")
    return target


def answer(record: Loop) -> list[str]:
    """Return what happened, in sentences."""
    before, after = (record["streamed"][when]["share_harmed"] for when in ("before", "after"))
    drift, later, n = record["drift"], record["afterwards"], record["patients"]
    candidate, wrong = (record["verdicts"][name]["verdict"] for name in ("candidate", "wrong way round"))
    said = [
        f"Of the {n} patients streamed before the refit {_share(before)} had the event ({record['event']}), "
        f"of the {n} who came after it {_share(after)}.",
        "The surveillance asked for a refit "
        + ("never." if drift["day"] is None else f"on day {drift['day']:.0f} of the stream."),
        f"The refitted population was {candidate}; a candidate that learned the wrong way round was {wrong}.",
    ]
    if later["patients"]:
        gain, harm = later["return"]["difference"], later["event"]
        said.append(
            f"{later['patients']:,} new virtual patients of that world: return {gain['mean']:+.3f} "
            f"({gain['low']:+.3f} to {gain['high']:+.3f}), the event in {_share(harm['after'])} instead of "
            f"{_share(harm['before'])}."
        )
    if record["rollback"] is not None:
        back = record["rollback"]
        same = "identical" if back["identical"] else "other"
        said.append(f"Rolled back to version {back['to']}: {same} doses at {back['visits']} visits.")
    return said


def _share(found: Any) -> str:
    value = found["mean"] if isinstance(found, Mapping) else found
    return f"{100 * value:.1f} %"


def _factors(record: Loop) -> list[tuple[str, str]]:
    """Return each unknown of the population, and how it moved."""
    found = record["population"]
    return [
        (name, f"× {np.exp(shift):.2f}" if name.startswith("log ") else f"{shift:+.3g}")
        for name, shift in zip(found["names"], found["shift"], strict=True)
    ]


def _courses(record: Loop) -> str:
    """Return the running share of patients with the event."""
    words = "Running share of patients with the event, in the order of enrolment, before and after the refit"

    def draw() -> Figure:
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        axes, first = figure.subplots(), 1
        for when, colour in (("before", ORANGE), ("after", BLUE)):
            harmed = np.array(record["streamed"][when]["harmed"], dtype=np.float64)
            width = min(_WINDOW, len(harmed))
            share = 100 * np.convolve(harmed, np.ones(width) / width, mode="valid")
            place = first + width // 2 + np.arange(len(share))
            axes.plot(place, share, color=colour, lw=1.8, label=f"enrolled {when} the refit")
            axes.plot([first, first + len(harmed)], [100 * harmed.mean()] * 2, color=colour, lw=0.9, ls=":")
            first += len(harmed)
        if record["drift"]["day"] is not None:
            begun = np.array(record["streamed"]["before"]["enrolled"])
            place = int((begun <= record["drift"]["day"]).sum())
            axes.axvline(place, color=INK, lw=1.0)
            axes.annotate(
                f"alarm, day {record['drift']['day']:.0f}", (place, 1.0), xycoords=("data", "axes fraction"),
                xytext=(4, -10), textcoords="offset points", fontsize=8.5,
            )  # fmt: skip
        axes.set_ylim(bottom=0)
        axes.set_xlabel("patients, in the order of enrolment")
        axes.set_ylabel(f"{record['event']}, %\nof {_WINDOW} patients")
        axes.legend(frameon=False, fontsize=8.5)
        axes.grid(axis="y", color=GREY, alpha=0.25, lw=0.6)
        return figure

    return svg(draw, "courses", words)


def _trials(record: Loop) -> str:
    """Return the gate's trials of both candidates."""
    rows = []
    margin = 0.0
    for number, (name, verdict) in enumerate(record["verdicts"].items()):
        for place, trial in enumerate(verdict["trials"]):
            event = trial["harms"][0]
            margin = event["margin"]
            rows.append(
                Row(
                    f"{name}: {trial['world']} simulator",
                    [trial["benefit"], event],
                    gap=number > 0 and place == 0,
                )
            )
    panels = (
        Panel("Benefit", "points, candidate − incumbent", scale=100),
        Panel("Patients with the event", "points, candidate − incumbent", scale=100, margin=margin),
    )
    words = "Candidates against the version that doses, in both simulators"
    return forest("trials", words, panels, rows)
