"""What a policy chooses, as a function of the features alone: also for states that no patient was in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.learning import LearnedPolicy, anchored_dose
from dosewright.envs.scenarios import DoseGrid

Floats = NDArray[np.float64]


def check_explainable(policy: LearnedPolicy) -> None:
    """Refuse a policy whose choice is no function of the features.

    Raises
    ------
    ValueError
        For a recurrent network.
    """
    if policy.recurrent:
        raise ValueError(
            "policy with a recurrent network: its dose also depends on states kept since the first visit, "
            "so features of one visit cannot be changed alone; explain one without"
        )


def unit_dose(policy: LearnedPolicy, anchor: Floats) -> Floats:
    """Return the dose (n,) that multiples are multiples of: the anchor (n,).

    A policy that chooses tablets may meet an anchor near 0, of which any tablet is a huge multiple; there it
    is one step of the grid.
    """
    return np.maximum(anchor, policy.scenario.doses.step) if policy.action == "tablet" else anchor


def capped_dose(multiples: Floats, unit: Floats, doses: DoseGrid) -> Floats:
    """Return doses in the drug's unit, at most the grid's maximum; arguments are broadcast."""
    return np.minimum(multiples * unit, doses.maximum)


def multiple(policy: LearnedPolicy, features: NDArray[np.float32], unit: Floats) -> Floats:
    """Return the dose that the policy wants (n,), before grid and cap, as a multiple of `unit`.

    Parameters
    ----------
    features : (n, f) as the policy's input makes them
    unit : (n,) of `unit_dose`
    """
    action = policy.act(features)
    if policy.action == "tablet":
        return policy.scenario.doses.doses[action.astype(np.int64)] / unit
    return anchored_dose(np.ones(len(features)), action)
