"""The page of one person's genotype: everything on it is in the record that `genotype.json` holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

from dosewright.envs import scenario
from dosewright.evaluation.report.curves import axis_label, shade_target
from dosewright.evaluation.report.figures import BLUE, INK, svg
from dosewright.evaluation.report.layout import page

_LINES = {
    "this person": {"color": BLUE, "lw": 2.2, "zorder": 4},
    "reference": {"color": INK, "lw": 1.4, "ls": (0, (4, 2)), "zorder": 3},
    "lowest": {"color": "#56B4E9", "lw": 1.2, "zorder": 2},
    "highest": {"color": "#CC79A7", "lw": 1.2, "zorder": 2},
}
_HEADROOM = 4.5  # the extremes may leave the picture above so many times what this person reaches


def genotype_page(record: Mapping[str, Any]) -> str:
    """Return the page of a record (`genotype_record`) as one self-contained HTML text."""
    return page(
        "genotype.html",
        r=record,
        figure={
            item["drug"]: Markup(_exposure(item["drug"], item["model"]))
            for item in record["drugs"]
            if item["model"]
        },
        number=number,
        probability=probability,
        between=between,
        genotype=genotype,
        sentence=sentence,
    )  # fmt: skip


def number(value: float | None) -> str:
    """Three significant figures; a dash for None."""
    if value is None:
        return "–"
    if 0 < abs(value) < 1e-4:
        return "< 0.0001"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"


def probability(value: float | None) -> str:
    """Three decimals; what rounds to 0 or 1 says that it is neither."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.0005 else "> 0.999" if value > 0.9995 else f"{value:.3f}"


def between(values: Sequence[float] | None) -> str:
    """A range in words, one number where both ends are shown alike."""
    if values is None:
        return "–"
    low, high = map(number, values)
    return low if low == high else f"{low} to {high}"


def sentence(text: str) -> str:
    """A note as a sentence: it begins with a capital and ends with a full stop."""
    return f"{text[:1].upper()}{text[1:].removesuffix('.')}."


def genotype(pairs: Mapping[str, str]) -> str:
    """Genes with their diplotypes, in words."""
    return ", ".join(f"{gene} {pair}" for gene, pair in pairs.items())


def _exposure(drug: str, model: Mapping[str, Any]) -> str:
    """Course of the response under the usual dose, by genotype, against the target."""
    known, days = scenario(drug), np.array(model["days"])
    values = [np.array(course["values"], dtype=np.float64) for course in model["courses"]]

    def draw() -> Figure:
        figure = Figure(figsize=(6.4, 2.9), layout="constrained")
        axes = figure.subplots()
        top = min(_top(values), _HEADROOM * _top(values[:2]))
        same = model["courses"][0]["genotype"] == model["courses"][1]["genotype"]
        for course, line in zip(model["courses"], values, strict=True):
            role = course["role"]
            if same and role == "reference":
                continue
            who = "this person = reference" if same and role == "this person" else role
            above = " (above the picture)" if np.nanmin(line) > top else ""
            axes.plot(days, line, label=f"{who}: {genotype(course['genotype'])}{above}", **_LINES[role])
        axes.set_ylim(0, top)
        shade_target(axes, known, float(days[-1]))
        axes.set_xlim(0, float(days[-1]))
        axes.set_xlabel("time, days")
        axes.set_ylabel(axis_label(model["output"], model["output_unit"]))
        axes.legend(frameon=False, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=2)
        return figure

    words = f"{model['output']} of {drug} over time under the usual dose, by genotype"
    return svg(draw, f"exposure-{drug}", words)


def _top(lines: Sequence[np.ndarray]) -> float:
    return 1.08 * max(float(np.nanmax(line)) for line in lines)
