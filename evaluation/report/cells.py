"""Numbers of a summary as the cells of a table: the number, and its interval below."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from dosewright.evaluation.answer import change, number
from dosewright.evaluation.records import INFINITY

Cell = tuple[str, str]
NONE = "–"


def estimate_cell(record: Mapping[str, Any], unit: str) -> Cell:
    """Return a mean and its interval, as ``("74.1 %", "72.0 to 76.2")``; a dash where there is none."""
    mean, low, high = (number(record[key], unit) for key in ("mean", "low", "high"))
    if record["low"] is None:
        return mean, ""
    return mean, f"{low.removesuffix(' %')} to {high.removesuffix(' %')}"


def difference_cell(record: Mapping[str, Any], unit: str, better: str) -> tuple[str, str, str]:
    """Return a difference, its interval, and "better", "worse" or, if the interval covers 0, nothing."""
    mean, low, high = (change(record[key], unit) for key in ("mean", "low", "high"))
    if record["low"] is None:
        return mean, "", ""
    sign = (record["low"] > 0) - (record["high"] < 0)
    shows = {
        0: "",
        1: "better" if better == "higher" else "worse",
        -1: "worse" if better == "higher" else "better",
    }
    return mean, f"{low} to {high}", shows[sign]


def time_cell(record: Mapping[str, Any], signed: bool = False) -> Cell:
    """Return a time and its interval with one decimal."""
    sign = "+" if signed else ""
    mean, low, high = (
        NONE if record[key] is None else f"{record[key]:{sign}.1f}".replace("-", "−")
        for key in ("mean", "low", "high")
    )
    return mean, "" if record["low"] is None else f"{low} to {high}"


def ratio_cell(record: Mapping[str, Any]) -> Cell:
    """Return a ratio and its interval with two decimals, infinity as ∞."""
    ratio, low, high = (_ratio(record[key]) for key in ("ratio", "low", "high"))
    return ratio, f"{low} to {high}"


def _ratio(value: float | str | None) -> str:
    if value is None:
        return NONE
    return "∞" if value == INFINITY else f"{value:.2f}"


def needed_cell(record: Mapping[str, Any]) -> Cell:
    """Return a number needed and its interval, which may run through infinity."""
    middle, _, limits = record["words"].partition(" (95 % interval ")
    return middle.removeprefix("number needed "), limits.removesuffix(")")


def rate_cell(record: Mapping[str, Any]) -> Cell:
    """Return a rate and its exact limits, three significant digits of the rate and at most three decimals."""
    size = record["rate"] or record["high"]
    decimals = min(max(0, 2 - math.floor(math.log10(size))), 3)
    rate, low, high = (f"{record[key]:.{decimals}f}" for key in ("rate", "low", "high"))
    return rate, f"{low} to {high}"


def gap_cell(record: Mapping[str, Any] | None) -> tuple[str, str, str]:
    """Return how far apart two subgroups are, in points, its limits, and which two; or why not."""
    if record is None:
        return NONE, "", ""
    if record["reason"]:
        return NONE, "", record["reason"]
    gap, low, high = (number(record[key], "share").removesuffix(" %") for key in ("gap", "low", "high"))
    return gap, f"{low} to {high}", f"{record['lowest']} against {record['highest']}"


def p_words(value: float | None) -> str:
    """Return a p-value: three decimals, and what rounds to 0 or 1 says that it is neither."""
    if value is None:
        return NONE
    return "< 0.001" if value < 0.0005 else "> 0.999" if value > 0.9995 else f"{value:.3f}"
