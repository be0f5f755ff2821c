"""Doses that a log cannot speak about: how many of a regimen's, and what is left to say then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dosewright.envs import Scenario
from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories
from dosewright.evaluation.ope.bounds import Bounds, outside_range, reward_range_bounds
from dosewright.evaluation.ope.decide import LARGEST_MEAN_WEIGHT_Z, LARGEST_UNSUPPORTED
from dosewright.evaluation.ope.diagnostics import UnsupportedMass, unsupported_share
from dosewright.evaluation.ope.weights import Weights
from dosewright.evaluation.recording import EVER_IN_HARM
from dosewright.evaluation.statistics import Interval


@dataclass(frozen=True, eq=False)
class Support:
    """How much of a regimen's dosing a log has no probability for.

    Attributes
    ----------
    share : of the regimen's doses at the logged visits. Estimated from the ratios of single decisions where
        the log has its own propensities, see `unsupported_share`; else what the behaviour model says.
    mass : by decision, from the behaviour model; None where the log has its own propensities
    """

    share: Interval
    mass: UnsupportedMass | None

    @classmethod
    def of(cls, weights: Weights, mass: UnsupportedMass | None) -> Support:
        """Return what the weights of a regimen on a log say, or its unsupported mass where it is known."""
        if mass is None:
            return cls(unsupported_share(weights), None)
        share = mass.overall
        return cls(Interval(share, share, share, 0.0, weights.n_patients, level=1.0), mass)

    def of_some(self, weights: Weights, chosen: BoolArray) -> Support:
        """Return that of the patients who are True in `chosen` (n,), with their weights."""
        mass = self.mass
        some = None if mass is None else UnsupportedMass.of(mass.by_decision[chosen], weights.decided)
        return Support.of(weights, some)

    @property
    def lacking(self) -> float | None:
        """The share, for `decide`; None where the log does not clearly lack more than is allowed."""
        share = self.share
        # an estimate of a mean ratio, so as far from what is allowed as a mean weight may be from 1
        clear = share.mean - LARGEST_MEAN_WEIGHT_Z * share.standard_error > LARGEST_UNSUPPORTED
        return share.mean if clear else None

    def bounds(
        self, log: Trajectories, weights: Weights, scenario: Scenario, gamma: float, outcome: str | None
    ) -> Bounds | None:
        """Return bounds of an outcome; None where nothing is lacking, or its range is not known."""
        if self.lacking is None:
            return None
        ranges = _ranges(scenario, log.horizon, outcome)
        if ranges is None or outside_range(log, *ranges[:2], outcome).any():
            return None  # somebody's own outcome, or a unit of which the scenario knows nothing
        low, high, whole = ranges
        return reward_range_bounds(log, weights, self.mass, (low, high), gamma, outcome, return_range=whole)


def _ranges(
    scenario: Scenario, horizon: int, outcome: str | None
) -> tuple[FloatArray, FloatArray, tuple[float, float]] | None:
    """Return the smallest and largest value (T,) of an outcome at each step, and those of its sum.

    Benefit and harm score each unit of time with 0 to 1 and are shares of the units scored.
    """
    share = np.minimum(np.diff(scenario.days)[:horizon] / scenario.scored, 1.0)
    nothing = np.zeros(horizon)
    if outcome is None:
        return -scenario.weight * share, share, (-scenario.weight, 1.0)
    most = {"benefit": share, "harm": share, EVER_IN_HARM: np.ones(horizon)}
    return (nothing, most[outcome], (0.0, 1.0)) if outcome in most else None
