"""The event that a trial counts, as something to learn from.

Whether a patient was ever harmed is a step: a dose changes it not at all, or wholly. Near the edge of the
harm band it counts in part here, so that a dose a little lower is a little better.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.scenarios import AllOf, AnyOf, Band, Score
from dosewright.envs.scenarios.scoring import Responses

Floats = NDArray[np.float64]

_EDGE = 0.08  # half the width of a band's edge, on the log scale


def nearness(score: Score, responses: Responses, unit: NDArray[np.int64]) -> Floats:
    """Return how far a score counts in each unit (n, u): 0 outside its bands, 1 inside, in part around an
    edge; a missing response does not count."""
    if isinstance(score, AnyOf):
        return np.maximum.reduce([nearness(part, responses, unit) for part in score.parts])
    if isinstance(score, AllOf):
        return np.minimum.reduce([nearness(part, responses, unit) for part in score.parts])
    if not isinstance(score, Band):
        return (score.of(responses, unit) > 0).astype(np.float64)
    value = responses[score.response] if score.response else next(iter(responses.values()))
    log = np.log(np.maximum(value, 1e-9))
    inside = np.ones(np.shape(value))
    for low in (score.at_least, score.above):
        if low > 0:
            inside = np.minimum(inside, 0.5 + (log - np.log(low)) / (2 * _EDGE))
    for high in (score.at_most, score.below):
        if 0 < high < np.inf:
            inside = np.minimum(inside, 0.5 - (log - np.log(high)) / (2 * _EDGE))
    counts = (unit >= score.since) & (unit < score.until) & ~np.isnan(value)
    return np.where(counts, np.clip(inside, 0.0, 1.0), 0.0)


def event_so_far(scenario: Scenario, responses: Responses) -> Floats:
    """Return how near the scenario's event is (n,) after courses of responses, name -> (n, horizon), NaN
    where not followed; 1 where it has happened."""
    score, limit = scenario.event.score, scenario.event.limit(scenario.horizon)
    near = nearness(score, responses, np.arange(scenario.horizon))
    return near.max(axis=-1) if limit == 1 else np.minimum(near.sum(axis=-1) / limit, 1.0)
