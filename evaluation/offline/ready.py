"""A log made ready to be weighed: whole intervals, a probability for every dose, drop-out accounted for."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dosewright.envs import Scenario
from dosewright.evaluation.behaviour import Behaviour, fit_behaviour
from dosewright.evaluation.dose_models import DoseModel
from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.recording import follow_up_log_prob, whole_intervals


@dataclass(frozen=True, eq=False)
class ReadyLog:
    """A log that can be weighed: whole intervals, a probability for every dose, drop-out accounted for.

    Attributes
    ----------
    log : the log, with propensities and without intervals that drop-out cut short
    left_out : patients who dropped out in their first interval, of whom nothing can be used
    follow_up : (n, T) log probability of still being followed; None when nobody dropped out
    follow_up_source : where that comes from, in words
    behaviour : the model of the regimen that made the log; None when the log has its own propensities
    """

    log: Trajectories
    left_out: int
    follow_up: FloatArray | None
    follow_up_source: str
    behaviour: Behaviour | None


def make_ready(
    log: Trajectories,
    scenario: Scenario,
    behaviour: DoseModel | None = None,
    folds: int = 5,
    seed: int = 0,
    least_patients: int = 1,
) -> ReadyLog:
    """Prepare a log for evaluation.

    Follow-up: the probability that the log's own realism states where the log says which (a simulated log),
    else estimated from the log by step, as if drop-out had nothing to do with the doses (Kaplan-Meier of the
    drop-out), and said so. Courses that a limit cut short, as the day of a data lock does, count as lost too.

    Parameters
    ----------
    log : of the scenario
    behaviour : model of the regimen that made the log; needed where the log has no propensities, and refused
        where it has: they are better than any model of them
    folds, seed : of the cross-fitting
    least_patients : patients that a dose must have been given to, or it is modelled together with its
        neighbours, see `fit_behaviour`

    Raises
    ------
    ValueError
        For a missing or needless model, and as `fit_behaviour` and `whole_intervals`.
    """
    if log.behaviour_log_prob is not None and behaviour is not None:
        raise ValueError("the log has the probabilities of its doses; leave the behaviour model out")
    # folds go by row, and a table may have its patients in any order
    log = log.select(np.argsort(log.identifiers, kind="stable"))
    whole = whole_intervals(log) if log.censored.any() else log
    model = None
    if log.behaviour_log_prob is None:
        if behaviour is None:
            raise ValueError(
                "the log does not say with what probability its doses were given; name a behaviour model, "
                "such as MultinomialLogistic(penalty=1.0)"
            )
        model = fit_behaviour(whole, behaviour, folds=folds, seed=seed, least_patients=least_patients)
        whole = replace(whole, behaviour_log_prob=model.log_prob)
    left_out = log.n_patients - whole.n_patients
    lost = whole.dropped_out
    if not lost.any():
        return ReadyLog(whole, left_out, None, "nobody dropped out", model)
    stated = log.provenance.get("realism")
    simulated = stated in scenario.realism and log.provenance.get("scenario") == scenario.name
    if simulated and not (lost & ~whole.censored).any():
        by_step = follow_up_log_prob(scenario, scenario.preset(str(stated)))[: whole.horizon]
        source = f"as realism {stated!r} of the log states it"
    else:
        by_step = np.log(_share_followed(whole))
        source = "estimated from the log by step, as if who was lost or cut off did not depend on the doses"
    return ReadyLog(whole, left_out, np.broadcast_to(by_step, whole.mask.shape), source, model)


def _share_followed(log: Trajectories) -> FloatArray:
    """Kaplan-Meier (T,) of still being followed after the first step of `whole_intervals`.

    A course that has ended is not at risk of drop-out afterwards, where `kaplan_meier` counts who leaves at
    the time of an event as at risk of it.
    """
    steps = np.arange(log.horizon)
    lost = log.dropped_out[:, None] & (log.lengths[:, None] == steps)
    at_risk = log.mask | lost
    return np.cumprod(1.0 - lost.sum(axis=0) / np.maximum(at_risk.sum(axis=0), 1))
