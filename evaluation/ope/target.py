"""What the target regimen would have done: its doses, and its log-probability of those it did not choose."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.envs import DrawKeys, Noise, Regimen, Scenario, StochasticRegimen
from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.eligibility import check_regimen, check_scenario, refuse_training_patients
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.recording import left_out

# Patients asked about together; bounds the memory of regimens that keep a belief, changes no number.
_BLOCK = 1000

# No draw is used: the regimen is asked for the probability of a dose that somebody else drew.
_NO_DRAWS = Noise("select", 0)


@dataclass(frozen=True, eq=False)
class Target:
    """A regimen's answer at every decision of a log.

    Attributes
    ----------
    log_prob : (n, T) log-probability of the logged dose; -inf where the target never gives it, 0 in the
        padding
    doses : all doses that it may give, with their probabilities
    """

    log_prob: FloatArray
    doses: TargetDoses


def ask_target(
    trajectories: Trajectories, regimen: Regimen, scenario: Scenario, visit_window: float = 0.0
) -> Target:
    """Return what a regimen would have given at each logged decision, on the logged history.

    The regimen is shown the logged observations in order, once, and keeps its own memory of them; it never
    sees what its own doses would have led to. A deterministic regimen gives a dose with probability 1 or 0; a
    stochastic one is asked for its `log_prob` of every dose of the grid. A treatment that the scenario's own
    rule leaves out is a dose of 0 under every regimen.

    Parameters
    ----------
    trajectories : a log of clinical observations (the scenario's layout) and of doses really given
    regimen : the target
    scenario : its dose grid and cap decide which advice is the dose given
    visit_window : by how much visits may miss the calendar, see `check_scenario`

    Raises
    ------
    ValueError
        For a policy trained on the log's patients; a regimen that draws and has no ``log_prob``; a log of
        another scenario, layout or calendar; a dose of the target that is missing or negative; probabilities
        of its doses that do not sum to 1; a log of a continuous dose.
    """
    refuse_training_patients(trajectories, regimen)
    check_regimen(regimen)
    if trajectories.propensity == "density":
        raise ValueError(
            f"propensity = 'density'; expected 'mass': {regimen.name!r} gives doses of the grid, and their "
            "probabilities are not to be divided by a density. Give the log's probabilities of doses of the "
            "grid, or smooth the target's doses with kernel_log_prob"
        )
    check_scenario(trajectories, scenario, visit_window)
    lengths = trajectories.lengths
    log_prob = np.zeros(trajectories.mask.shape)
    parts: list[tuple[npt.NDArray[np.int64], FloatArray, FloatArray]] = []
    # patients with the same number of visits go together: nobody is asked about after the last one
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        for first in range(0, len(rows), _BLOCK):
            some = rows[first : first + _BLOCK]
            seen, given = trajectories.observations[some, :length], trajectories.actions[some, :length]
            asked = _along(seen, given, regimen, scenario)
            log_prob[some, :length] = asked[0]
            parts.append((some, *_few(*asked[1:])))
    most = max(doses.shape[2] for _, doses, _ in parts)
    doses, probability = (np.zeros((*log_prob.shape, most)) for _ in range(2))
    for some, own, chance in parts:
        place = (some, slice(own.shape[1]), slice(own.shape[2]))
        doses[place], probability[place] = own, chance
    return Target(log_prob, TargetDoses.of(trajectories, doses, probability))


def target_log_prob(trajectories: Trajectories, regimen: Regimen, scenario: Scenario) -> FloatArray:
    """Return (n, T) the log-probability with which a regimen would have given each logged dose.

    That of `ask_target`, with its parameters and errors.
    """
    return ask_target(trajectories, regimen, scenario).log_prob


def _along(
    observations: npt.NDArray[Any], given: npt.NDArray[Any], regimen: Regimen, scenario: Scenario
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return log-probabilities (n, T) of the doses given, doses (n, T, m) and their probabilities, along the
    courses of patients with T visits each."""
    n, visits = given.shape
    grid, state = scenario.doses, None
    stochastic = regimen if isinstance(regimen, StochasticRegimen) else None
    choices = grid.doses if stochastic is not None else np.zeros(1)
    if stochastic is not None:
        state = stochastic.initial_state(DrawKeys(_NO_DRAWS, np.arange(n), regimen.name))
    log_prob, doses = np.empty((n, visits)), np.empty((n, visits, len(choices)))
    probability = np.ones((n, visits, len(choices)))
    for visit in range(visits):
        seen, dose = observations[:, visit].astype(np.float32), given[:, visit]
        wanted, state = regimen.predict(seen, state, np.full(n, visit == 0))
        omitted = left_out(seen, scenario)
        if stochastic is not None:
            asked = np.column_stack([dose, np.tile(choices, (n, 1))])
            own = np.stack([stochastic.log_prob(seen, state, column) for column in asked.T], axis=1)
            own = np.where(omitted[:, None], np.where(grid.same(asked, 0.0), 0.0, -np.inf), own)
            log_prob[:, visit], doses[:, visit] = own[:, 0], choices
            probability[:, visit] = np.exp(own[:, 1:])
        else:
            doses[:, visit, 0] = np.where(omitted, 0.0, grid.snap(np.where(omitted, 0.0, wanted)))
            log_prob[:, visit] = np.where(grid.same(doses[:, visit, 0], dose), 0.0, -np.inf)
    return log_prob, doses, probability


def _few(doses: FloatArray, probability: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return doses and probabilities (n, T, m) with as few doses as the decisions with most choices need."""
    most = int((probability > 0).sum(axis=2).max())
    first = np.argsort(probability <= 0, axis=2, kind="stable")[..., :most]
    return np.take_along_axis(doses, first, axis=2), np.take_along_axis(probability, first, axis=2)


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
