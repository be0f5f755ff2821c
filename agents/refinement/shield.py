"""The shield: what no dose may pass, and when the policy is not asked.

Where something speaks against the policy, Bayesian monitoring doses in its place: an alarm of drift, no new
result for too long, a patient unlike those it was trained on, an error. Whoever doses, the dose is capped,
may not rise by more than a factor at a time, and may not make harm more probable than a limit. Every
intervention is said in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.envs import Scenario

Floats = NDArray[np.float64]

LOWERED = (0.75, 0.5, 0.25, 0.0)
"""Multiples of a dose that are looked at where it is too dangerous itself."""
_SCHEMA = 1


@dataclass(frozen=True, eq=False)
class Limits:
    """What is allowed of one drug.

    Attributes
    ----------
    most
        Largest dose, in the scenario's unit.
    rise
        Largest factor on the last dose, where there was one.
    harm
        Largest probability of harm until the next visit.
    silence
        Visits in a row without a new result after which the policy is not asked.
    features, low, high : (f,) names of what a policy sees, and between which values it was trained
    """

    most: float
    rise: float
    harm: float
    silence: int
    features: tuple[str, ...]
    low: Floats
    high: Floats

    def record(self) -> dict[str, Any]:
        """Return them as JSON-ready data, for `parse`."""
        return {
            "schema": _SCHEMA,
            "most": self.most,
            "rise": self.rise,
            "harm": self.harm,
            "silence": self.silence,
            "features": list(self.features),
            "low": self.low.tolist(),
            "high": self.high.tolist(),
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Limits:
        """Return the limits of a `record`; one of another schema, or broken, is an error."""
        if record.get("schema") != _SCHEMA:
            raise ValueError(f"limits of schema {record.get('schema')!r}; this version reads {_SCHEMA}")
        try:
            names, n = tuple(record["features"]), len(record["features"])
            low, high = (np.array(record[key], dtype=np.float64).reshape(n) for key in ("low", "high"))
            most, rise, harm = (float(record[key]) for key in ("most", "rise", "harm"))
            return cls(most, rise, harm, int(record["silence"]), names, low, high)
        except (KeyError, TypeError, ValueError) as error:
            why = f"{error} is missing" if isinstance(error, KeyError) else error
            raise ValueError(f"limits are broken ({why}); make the version again") from None

    def outside(self, features: NDArray[np.float32]) -> list[str]:
        """Say of each patient which feature (n, f) lies furthest outside of training; empty where none
        does."""
        width = np.maximum(self.high - self.low, 1e-9)
        over = np.maximum(features - self.high, self.low - features) / width
        over = np.where(np.isfinite(features), over, np.inf)
        worst = over.argmax(axis=1)
        return [
            ""
            if over[i, j] <= 0
            else f"outside training: {self.features[j]} is {features[i, j]:.3g}, "
            f"{self.low[j]:.3g} to {self.high[j]:.3g} was seen"
            for i, j in enumerate(worst.tolist())
        ]


@dataclass(frozen=True)
class Foreseen:
    """What doses would do until the next visit.

    Attributes
    ----------
    benefit : (n, c) expected share of the units on target
    harm : (n, c) probability of harm in any of them
    """

    benefit: Floats
    harm: Floats


def foresee(kept: BeliefFilter, belief: Belief, dose: Floats) -> Foreseen:
    """Return what doses (n, c), each from now until the next visit, would do to patients by their beliefs."""
    scenario = kept.scenario
    benefit, harm = np.zeros(dose.shape), np.zeros(dose.shape)
    ahead = np.clip(belief.ahead, 1, np.maximum(scenario.horizon - belief.unit, 1))
    for units in np.unique(ahead):
        rows = np.flatnonzero(ahead == units)
        some = belief.select(rows)
        found = kept.predict(some, np.repeat(dose[rows][:, :, None], units, axis=2))
        r, k, c, _ = found[scenario.output].shape
        flat = {name: values.reshape(r * k * c, units) for name, values in found.items()}
        unit = np.repeat(some.unit[:, None] + np.arange(units), k * c, axis=0)
        unit = np.minimum(unit, scenario.horizon - 1)
        good = scenario.benefit.of(flat, unit).mean(axis=1).reshape(r, k, c)
        bad = (scenario.harm.of(flat, unit) > 0).any(axis=1).reshape(r, k, c)
        benefit[rows] = np.einsum("nk,nkc->nc", some.weight, good)
        harm[rows] = np.einsum("nk,nkc->nc", some.weight, bad.astype(np.float64))
    return Foreseen(benefit, harm)


@dataclass(frozen=True)
class Ruling:
    """A dose that is allowed.

    Attributes
    ----------
    dose : (n,) of the grid
    said : (n,) what was done to what was wanted, in words
    """

    dose: Floats
    said: tuple[tuple[str, ...], ...]


def ceiling(scenario: Scenario, limits: Limits, last: Floats) -> Floats:
    """Return the highest dose (n,) of the grid under the absolute and the relative cap.

    Parameters
    ----------
    last : (n,) doses in force so far; NaN or 0 where there was none
    """
    grid = scenario.doses.doses
    most = np.minimum(_risen(limits, last), limits.most)
    # a bound that is a dose of the grid but for rounding is that dose
    return grid[np.searchsorted(grid, most * (1 + 1e-9), side="right") - 1]


def _risen(limits: Limits, last: Floats) -> Floats:
    return np.where(np.nan_to_num(last) > 0, limits.rise * np.nan_to_num(last), np.inf)


def capped(scenario: Scenario, limits: Limits, wanted: Floats, last: Floats) -> Ruling:
    """Return wanted doses (n,) under the absolute and the relative cap; `last` as of `ceiling`."""
    rise, under = _risen(limits, last), np.minimum(wanted, limits.most)
    # rounding must not lift it above the cap again
    dose = np.minimum(scenario.doses.snap(np.minimum(under, rise)), ceiling(scenario, limits, last))
    unit = scenario.doses.unit
    said: list[tuple[str, ...]] = []
    for i in range(len(wanted)):
        words: list[str] = []
        if wanted[i] > limits.most:
            words.append(f"cap: {wanted[i]:.3g} {unit} was wanted, {limits.most:g} is the most")
        if under[i] > rise[i]:
            words.append(
                f"rise: {under[i]:.3g} {unit} was wanted, {limits.rise:g} × the last {last[i]:g} allowed"
            )
        said.append(tuple(words))
    return Ruling(dose, tuple(said))


def safe(kept: BeliefFilter, limits: Limits, belief: Belief, dose: Floats) -> Ruling:
    """Return doses (n,) of the grid, lowered where harm until the next visit is more probable than the limit:
    to the highest of `LOWERED` multiples that is not, or to the least harmful of them."""
    doses = kept.scenario.doses
    harm = foresee(kept, belief, dose[:, None]).harm[:, 0]
    said: list[tuple[str, ...]] = [() for _ in dose]
    lowered = dose.copy()
    rows = np.flatnonzero((harm > limits.harm) & (dose > 0))
    if len(rows):
        options = doses.snap(dose[rows, None] * np.array(LOWERED))
        found = foresee(kept, belief.select(rows), options).harm
        fine = found <= limits.harm
        # of several that are as harmful, because what will happen has begun, the lowest
        least = len(LOWERED) - 1 - found[:, ::-1].argmin(axis=1)
        best = np.where(fine.any(axis=1), fine.argmax(axis=1), least)
        for i, row in enumerate(rows.tolist()):
            lowered[row] = options[i, best[i]]
            said[row] = (
                f"P(harm) {harm[row]:.2f} at {dose[row]:g} {doses.unit}, {limits.harm:.2f} allowed: "
                f"{lowered[row]:g} instead, {found[i, best[i]]:.2f}",
            )
    return Ruling(lowered, tuple(said))


def worded(parts: Sequence[Ruling]) -> tuple[tuple[str, ...], ...]:
    """Return all that several rulings say of each patient, in order."""
    return tuple(
        tuple(word for words in mine for word in words) for mine in zip(*(p.said for p in parts), strict=True)
    )
