"""Hold the statistics of a virtual trial against a reference: the same patients under a new and an old arm.

A case is a folder with `spec.json` (kind, horizon, step_length_days), `data.npz` (per patient: `genotype`,
time in range `tir`, whether there was an adverse reaction `adr`, and how many `adr_count`, under `new` and
each old arm) and `reference.json` (old arm -> name -> number). Differences are new minus old, ratios new over
old: an adverse reaction less is a negative difference, and so a negative number needed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    NumberNeeded,
    Rate,
    Ratio,
    event_rate,
    exact_proportion_interval,
    mcnemar_exact,
    number_needed,
    paired_difference,
    paired_wald_difference,
    proportion_interval,
    rate_difference,
    rate_ratio,
    risk_ratio,
    unpaired_difference,
    unpaired_proportion_difference,
    wilcoxon_signed_rank,
)

Row = tuple[str, float, float, float]
"""Name, our number, the reference's, and by how much they may differ (absolute). Two NaN agree: there is no
such number."""
KIND = "paired virtual trial"
RELATIVE = 1e-8
# The reference finds the limits of the rate ratio by a simplex search, stopped at 1e-8 of a squared distance
# of p-values. Of 300 pairs of counts from 5 to 249 it ends within 1e-8 of the closed form in 86 %, at most
# 2.1e-7 from it (statsmodels 0.15).
SEARCHED = 1e-6
NEAR_ZERO = 1e-12
# 52.1786 weeks. Cases of the longitudinal kind count 52.1775.
DAYS_PER_YEAR = 365.25


@dataclass(frozen=True, eq=False)
class Pair:
    """n patients under a new and an old arm, (n,) each, and the years that every one was followed."""

    new_tir: NDArray[Any]
    old_tir: NDArray[Any]
    new_adr: NDArray[Any]
    old_adr: NDArray[Any]
    new_count: NDArray[Any]
    old_count: NDArray[Any]
    genotype: NDArray[Any]
    years: float

    def of(self, genotype: int) -> Pair:
        """Return the patients of one genotype."""
        names = ("new_tir", "old_tir", "new_adr", "old_adr", "new_count", "old_count", "genotype")
        rows = self.genotype == genotype
        return replace(self, **{name: getattr(self, name)[rows] for name in names})

    @cached_property
    def paired(self) -> Difference:
        return paired_difference(self.new_tir, self.old_tir)

    @cached_property
    def welch(self) -> Difference:
        return unpaired_difference(self.new_tir, self.old_tir)

    @cached_property
    def risk(self) -> Difference:
        return unpaired_proportion_difference(self.new_adr, self.old_adr)

    @cached_property
    def new_rate(self) -> Rate:
        return event_rate(self.new_count, np.full(len(self.new_count), self.years))

    @cached_property
    def old_rate(self) -> Rate:
        return event_rate(self.old_count, np.full(len(self.old_count), self.years))

    def only(self, first: NDArray[Any], second: NDArray[Any]) -> float:
        """Return the number of patients with the event in the first arm only."""
        return float(((first == 1) & (second == 0)).sum())

    def variance_ratio(self) -> float:
        unpaired = self.welch.standard_error
        return (self.paired.standard_error / unpaired) ** 2 if unpaired else math.nan

    def correlation(self) -> float:
        if not np.ptp(self.new_tir) or not np.ptp(self.old_tir):
            return math.nan
        return float(np.corrcoef(self.new_tir, self.old_tir)[0, 1])


NUMBERS: Mapping[str, Callable[[Pair], float]] = {
    "n": lambda pair: len(pair.new_tir),
    "time_in_range_difference": lambda pair: pair.paired.mean,
    "wilcoxon_p": lambda pair: wilcoxon_signed_rank(pair.new_tir, pair.old_tir),
    "variance_ratio_paired_to_unpaired": Pair.variance_ratio,
    "correlation": Pair.correlation,
    "adr_new": lambda pair: float(pair.new_adr.sum()),
    "adr_old": lambda pair: float(pair.old_adr.sum()),
    "adr_only_new": lambda pair: pair.only(pair.new_adr, pair.old_adr),
    "adr_only_old": lambda pair: pair.only(pair.old_adr, pair.new_adr),
    "mcnemar_exact_p": lambda pair: mcnemar_exact(pair.new_adr, pair.old_adr),
    "risk_difference": lambda pair: pair.risk.mean,
    "number_needed": lambda pair: number_needed(pair.risk).number,
    "patient_years": lambda pair: pair.new_rate.patient_years,
    "rate_new": lambda pair: pair.new_rate.rate,
    "rate_old": lambda pair: pair.old_rate.rate,
}
INTERVALS: Mapping[str, Callable[[Pair], Interval | Ratio | Rate]] = {
    "paired_t_95": lambda pair: pair.paired,
    "unpaired_welch_95": lambda pair: pair.welch,
    "risk_difference_newcombe_unpaired_95": lambda pair: pair.risk,
    "risk_difference_paired_wald_95": lambda pair: paired_wald_difference(pair.new_adr, pair.old_adr),
    "risk_ratio_log_95": lambda pair: risk_ratio(pair.new_adr, pair.old_adr),
    "wilson_new_95": lambda pair: proportion_interval(pair.new_adr),
    "clopper_pearson_new_95": lambda pair: exact_proportion_interval(pair.new_adr),
    "rate_new_exact_poisson_95": lambda pair: pair.new_rate,
    "rate_ratio_score_95": lambda pair: rate_ratio(pair.new_rate, pair.old_rate),
    "rate_difference_mover_95": lambda pair: rate_difference(pair.new_rate, pair.old_rate),
}


def check(folder: Path) -> list[Row]:
    """Compare every number of a case's reference.json with ours; none for a case of another kind.

    Returns
    -------
    list of (name, ours, reference, tolerance)
        The tolerance is absolute. They agree when equal, when both are NaN, or when they differ by at most
        the tolerance. A word or flag is 1 against 1 when it agrees, else 0 against 1. A number of the
        reference that this file does not know is NaN on our side. Where the reference says that there is no
        number (null, NaN), ours is NaN too if it is none, or is a limit that excludes nothing (0 or
        infinite).
    """
    spec, reference = (json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "reference"))
    rows: list[Row] = []
    if spec["kind"] != KIND:
        return rows
    with np.load(folder / "data.npz") as data:
        for old, expected in reference["estimates"].items():
            pair = Pair(
                new_tir=data["new_tir"],
                old_tir=data[f"{old}_tir"],
                new_adr=data["new_adr"],
                old_adr=data[f"{old}_adr"],
                new_count=data["new_adr_count"],
                old_count=data[f"{old}_adr_count"],
                genotype=data["genotype"],
                years=spec["horizon"] * spec["step_length_days"] / DAYS_PER_YEAR,
            )
            rows += _compared(old, pair, expected)
    return rows


def _compared(place: str, pair: Pair, expected: Mapping[str, Any]) -> Iterator[Row]:
    for key, value in expected.items():
        name = f"{place}.{key}"
        if key == "by_genotype":
            for genotype, numbers in value.items():
                yield from _compared(f"{name}.{genotype}", pair.of(int(genotype)), numbers)
        elif key == "number_needed_95":
            yield from _number_needed(name, number_needed(pair.risk), value)
        elif key in INTERVALS:
            found = INTERVALS[key](pair)
            relative = SEARCHED if key == "rate_ratio_score_95" else RELATIVE
            yield from _limits(name, (found.low, found.high), value, relative)
        elif key in NUMBERS:
            yield _number(name, NUMBERS[key](pair), value)
        else:
            yield name, math.nan, float(value) if isinstance(value, (int, float)) else 1.0, 0.0


def _number_needed(name: str, ours: NumberNeeded, expected: Mapping[str, Any]) -> Iterator[Row]:
    crosses = ours.kind == "crosses infinity"
    yield f"{name}.crosses_infinity", float(crosses == expected["crosses_infinity"]), 1.0, 0.0
    # of an interval through infinity a reference may name the side of the estimate, or have words of its own
    opposite = "harm" if ours.number < 0.0 else "benefit" if math.isfinite(ours.number) else None
    agrees = expected["kind"] != opposite if crosses else expected["kind"] == ours.kind
    yield f"{name}.kind", float(agrees), 1.0, 0.0
    # whichever limit is named first, it is the inverse of a limit of the difference
    mine, theirs = (sorted(pair, key=_inverse) for pair in (ours.limits, expected["limits"]))
    yield from _limits(f"{name}.limits", mine, theirs, RELATIVE)


def _inverse(number: float | None) -> float:
    return 0.0 if number is None else 1.0 / number


def _limits(name: str, ours: Sequence[float], expected: Any, relative: float) -> Iterator[Row]:
    for side, limit, value in zip(("low", "high"), ours, expected or (None, None), strict=True):
        yield _number(f"{name}.{side}", limit, value, relative)


def _number(name: str, ours: float, expected: Any, relative: float = RELATIVE) -> Row:
    value = math.nan if expected is None else float(expected)
    if math.isnan(value):
        return name, math.nan if ours == 0.0 or not math.isfinite(ours) else ours, value, 0.0
    return name, ours, value, relative * abs(value) if value else NEAR_ZERO
