"""What the target regimen would have done: its log-probability of the doses in a log that it did not make."""

from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.envs import DrawKeys, Noise, Regimen, Scenario, StochasticRegimen
from dosewright.evaluation.logged import FloatArray, Trajectories

# Patients asked about together; bounds the memory of regimens that keep a belief, changes no number.
_BLOCK = 1000

# No draw is used: the regimen is asked for the probability of a dose that somebody else drew.
_NO_DRAWS = Noise("select", 0)


def target_log_prob(trajectories: Trajectories, regimen: Regimen, scenario: Scenario) -> FloatArray:
    """Log-probability with which a regimen would have given each logged dose, on the logged history.

    The regimen is shown the logged observations in order, and keeps its own memory of them; it never sees
    what its own doses would have led to. A deterministic regimen gives a dose with probability 1 or 0; a
    stochastic one is asked for its `log_prob`.

    Parameters
    ----------
    trajectories : a log of clinical observations (the scenario's layout) and of doses really given
    regimen : the target
    scenario : its dose grid and cap decide which advice is the dose given

    Returns
    -------
    (n, T) natural logarithm; -inf where the target never gives the dose, 0 in the padding.

    Raises
    ------
    ValueError
        For observations of another layout, or a dose of the target that is missing or negative.
    """
    width, expected = trajectories.observations.shape[2], len(scenario.observation.names)
    if width != expected:
        raise ValueError(
            f"observations have {width} entries; expected the {expected} of scenario {scenario.name!r}, "
            "with the clinical observation at each visit"
        )
    log_prob = np.zeros(trajectories.mask.shape)
    lengths = trajectories.lengths
    # patients with the same number of visits go together: nobody is asked about after the last one
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            seen, given = trajectories.observations[some, :length], trajectories.actions[some, :length]
            log_prob[some, :length] = _along(seen, given, regimen, scenario)
    return log_prob


def _along(
    observations: npt.NDArray[np.float32], doses: FloatArray, regimen: Regimen, scenario: Scenario
) -> FloatArray:
    n, visits = doses.shape
    state: Any = None
    stochastic = regimen if isinstance(regimen, StochasticRegimen) else None
    if stochastic is not None:
        state = stochastic.initial_state(DrawKeys(_NO_DRAWS, np.arange(n), regimen.name))
    log_prob = np.empty((n, visits))
    for visit in range(visits):
        seen, given = observations[:, visit], doses[:, visit]
        wanted, state = regimen.predict(seen, state, np.full(n, visit == 0))
        if stochastic is not None:
            log_prob[:, visit] = stochastic.log_prob(seen, state, given)
        else:
            same = scenario.doses.same(scenario.doses.snap(wanted), given)
            log_prob[:, visit] = np.where(same, 0.0, -np.inf)
    return log_prob


def share_changed(trajectories: Trajectories, target_log_prob: npt.ArrayLike) -> float:
    """Share of the logged decisions whose dose the target regimen would never have given.

    For a deterministic target these are the visits at which its dose differs from the logged one by at least
    one step of the grid, a tablet. Near 0 there is little to learn about; near 1 nothing to learn from.

    Parameters
    ----------
    trajectories : the log
    target_log_prob : (n, T) from `target_log_prob`
    """
    return float(np.isneginf(np.asarray(target_log_prob))[trajectories.mask].mean())
