"""What doses would do for the very same patients, scored as a trial scores them.

It is the simulator's counterfactual, which no clinic has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Treatment

Floats = NDArray[np.float64]


def foreseen_scores(treatment: Treatment, dose: Floats, after: Floats, ahead: int) -> tuple[Floats, Floats]:
    """Return what doses would bring: the scenario's benefit, and how much nearer its event would come.

    The same patient, on the same day and with the same life ahead, is given one dose after the other. The
    event counts as a trial counts it; `dosewright.agents.learning.counterfactual` softens its edge to learn.

    Parameters
    ----------
    treatment
        Patients at a visit; they are not touched.
    dose : (n, c) doses until the next visit, in the drug's unit, not rounded to the grid
    after : (n,) dose from the next visit on
    ahead
        Units of the calendar that are scored at least, never fewer than until the next visit.

    Returns
    -------
    benefit, event : (n, c) benefit summed over the units foreseen, in units of the calendar; the event's
        units as a share of those that make it happen, 1 in all once it has; where that is a share of the
        course, of the whole one, also for who leaves before its end. 0 for who is not followed.
    """
    scenario, unit = treatment.scenario, np.arange(treatment.scenario.horizon)
    coming, whole, benefit = foreseen_courses(treatment, dose, after, ahead)
    limit = scenario.event.limit(scenario.horizon)
    counted = ((scenario.event.score.of(whole, unit) > 0) & coming).sum(axis=-1).reshape(dose.shape)
    event = np.minimum((treatment.counted[:, None] + counted) / limit, 1.0) - treatment.event[:, None]
    return benefit, event


def foreseen_courses(
    treatment: Treatment, dose: Floats, after: Floats, ahead: int
) -> tuple[NDArray[np.bool_], dict[str, Floats], Floats]:
    """Return whole courses under other doses; parameters as in `foreseen_scores`.

    Returns
    -------
    coming : (n·c, horizon) bool, the units foreseen
    whole : name -> (n·c, horizon) latent responses, of the past as they were; NaN beyond
    benefit : (n, c) summed over the units foreseen
    """
    scenario, (n, c) = treatment.scenario, dose.shape
    # where a treatment is left out, nothing is given whatever is wanted
    possible = treatment.action_masks()[:, -1:]
    courses = treatment.foresee(np.where(possible, dose, 0.0), after, ahead)
    coming = ~np.isnan(courses[scenario.output]).reshape(n * c, -1)[:, 1:]
    # a score may look at what came before
    whole = {
        name: np.where(
            coming, course.reshape(n * c, -1)[:, 1:], np.repeat(treatment.responses[name][:, 1:], c, axis=0)
        )
        for name, course in courses.items()
    }
    each = np.where(coming, scenario.benefit.of(whole, np.arange(scenario.horizon)), 0.0)
    return coming, whole, each.sum(axis=-1).reshape(n, c)
