"""Statistics as they stand in `result.json`: plain numbers that say what they are.

JSON has no infinity: it is written as the word. What the data do not determine is null, never 0.
"""

from __future__ import annotations

import math
from typing import Any

from dosewright.evaluation.statistics import (
    Difference,
    GroupGap,
    Interaction,
    Interval,
    NonInferiority,
    NumberNeeded,
    Rate,
    Ratio,
)

INFINITY = "infinity"


def plain(value: float) -> float | str | None:
    """Return a number as JSON can hold it: infinity by name, None for NaN."""
    if math.isnan(value):
        return None
    if math.isinf(value):
        return INFINITY if value > 0 else f"-{INFINITY}"
    return float(value)


def as_record(interval: Interval | None) -> dict[str, Any]:
    """Return an interval; None everywhere where there was too little to estimate it from."""
    if interval is None:
        return {"mean": None, "low": None, "high": None, "n": 0}
    limits = {key: plain(getattr(interval, key)) for key in ("mean", "low", "high")}
    return {**limits, "n": interval.n}


def ratio_record(ratio: Ratio) -> dict[str, Any]:
    """Return a ratio with its limits."""
    return {key: plain(getattr(ratio, key)) for key in ("ratio", "low", "high")}


def rate_record(rate: Rate) -> dict[str, Any]:
    """Return a rate per patient-year with its exact limits, and what it is made of."""
    keys = ("events", "patient_years", "rate", "low", "high", "n")
    return {key: getattr(rate, key) for key in keys}


def needed_record(needed: NumberNeeded) -> dict[str, Any]:
    """Return a number needed; its limits exclude what lies between them where it crosses infinity."""
    first, second = needed.limits
    return {
        "number": plain(needed.number),
        "limits": [plain(first), plain(second)],
        "kind": needed.kind,
        "words": str(needed),
    }


def verdict_record(found: NonInferiority) -> dict[str, Any]:
    """Return a verdict against a margin; the difference itself stands elsewhere."""
    return {"margin": found.margin, "verdict": found.verdict, "p": found.p_noninferior}


def interaction_record(found: Interaction) -> dict[str, Any]:
    """Return a test of interaction, or why there is none."""
    return {
        "p": plain(found.p),
        "f": plain(found.f),
        "df": found.df,
        "df_within": plain(found.df_within),
        "q": plain(found.q),
        "i_squared": plain(found.i_squared),
        "left_out": dict(found.left_out),
        "reason": found.reason,
    }


def gap_record(found: GroupGap) -> dict[str, Any]:
    """Return how far apart the best and the worst served subgroup are, or why that is not known."""
    return {
        "gap": plain(found.gap),
        "low": plain(found.low),
        "high": plain(found.high),
        "highest": found.highest,
        "lowest": found.lowest,
        "left_out": dict(found.left_out),
        "reason": found.reason,
    }


def difference_record(difference: Difference, shows: str) -> dict[str, Any]:
    """Return a difference together with what it shows, in words."""
    return {**as_record(difference), "shows": shows}
