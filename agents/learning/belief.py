"""What a policy sees of the belief: features of an observation and of the belief after it.

Training sees them through `dosewright.agents.learning.environment`, a policy in use and live dosing directly.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter, UnderOneDose
from dosewright.agents.estimation.prior import names
from dosewright.envs.scenarios import Band

# Doses, as multiples of the monitoring dose, under which the features look ahead to the next visit
_LOOK_AHEAD = (0.0, 0.75, 1.0, 1.35, 2.0)
AHEAD, STEADY = "ahead at the last dose given", "in steady state at the last dose"  # P(harm), one of the two
_LEAST = 1e-3  # of the target: what is below it is as far below as it gets


class BeliefFeatures:
    """The policy's input: the belief, in units of its own uncertainty, and where the patient stands in the
    calendar.

    Parameters
    ----------
    belief_filter
        Keeps the belief; its scenario is the decision problem.

    Attributes
    ----------
    names
        Name of every feature. Together with the scenario's version they are the layout that a saved policy
        checks.
    """

    def __init__(self, belief_filter: BeliefFilter) -> None:
        self.filter, self.scenario = belief_filter, belief_filter.scenario
        scenario = self.scenario
        settles = scenario.maintenance_dose is not None
        # what is harm in steady state; None where that is not known by a formula
        self._band = scenario.harm if settles and isinstance(scenario.harm, Band) else None
        unknowns = names(scenario)
        put_off = () if scenario.delay is None else ("times this treatment was put off", "it is left out")
        self.names: tuple[str, ...] = (
            "mean log maintenance dose",
            "SD log maintenance dose",
            *(f"mean {name}, from the prior, in prior SD" for name in unknowns),
            *(f"SD {name}, in prior SD" for name in unknowns),
            "mean log response over target",
            "SD log response",
            *(f"mean {state}" for state in scenario.model.states),
            *(f"log response over target at the next visit, {m:g} x maintenance dose" for m in _LOOK_AHEAD),
            "last innovation",
            "innovation before it",
            f"P(harm) {AHEAD if self._band is None else STEADY}",
            "last dose over maintenance dose",
            "newest result in hand is new",
            "its log over target",
            "its age over a week",
            "day over horizon",
            "log days since the previous visit",
            "log days until the next visit",
            "log days until the end",
            *put_off,
        )

    def update(
        self,
        belief: Belief | None,
        observation: NDArray[np.float32],
        episode_start: NDArray[np.bool_] | None = None,
    ) -> Belief:
        """Return the beliefs after a visit, as `BeliefFilter.step`."""
        return self.filter.step(belief, observation, episode_start)

    def __call__(
        self, belief: Belief, observation: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Return the features (n, f) and the anchor, the monitoring dose (n,)."""
        scenario, spec = self.scenario, self.scenario.observation
        name, before, clock = scenario.measurement.name, belief.prior, scenario.clock
        under = None if self._band is not None else self.filter.under_last_dose(belief)
        log_dose, log_dose_sd = self.filter.maintenance_dose(belief, under)
        mean, sd = belief.mean_sd(belief.x)
        target = scenario.target_at(belief.unit)
        # before the first unit there is no response to some drugs: nothing is known of it
        log_response, log_response_sd = np.nan_to_num(
            belief.mean_sd(np.log(np.maximum(belief.response / target[:, None], _LEAST)))
        )
        doses = np.minimum(np.exp(log_dose)[:, None] * np.array(_LOOK_AHEAD), scenario.doses.maximum)
        ahead = np.nan_to_num(self.filter.predict_mean(belief, doses, belief.ahead), nan=1.0)
        ahead /= scenario.target_at(belief.unit + np.maximum(belief.ahead - 1, 0))[:, None]
        last = np.nan_to_num(spec.read(observation, "last_dose"))
        day, end = spec.read(observation, clock.entry), scenario.horizon * clock.shown
        value = np.nan_to_num(spec.read(observation, name), nan=scenario.target) / scenario.target
        put_off = [] if scenario.delay is None else ["delays", "omitted"]
        columns = [
            log_dose,
            log_dose_sd,
            *((mean - before.mean[:, 0]) / before.sd).T,
            *(sd / before.sd).T,
            log_response,
            log_response_sd,
            *belief.mean(belief.state).T,
            *np.log(np.maximum(ahead, _LEAST)).T,
            *belief.innovation.T,
            self._harm(belief, last, under),
            last / np.exp(log_dose),
            spec.read(observation, f"{name}_new"),
            np.log(np.maximum(value, _LEAST)),
            np.nan_to_num(spec.read(observation, f"{name}_age")) / 7,
            day / end,
            np.log1p(spec.read(observation, "interval")),
            np.log1p(spec.read(observation, "next_interval")),
            np.log1p(np.maximum(end - day, 0.0)),
            *(spec.read(observation, entry) for entry in put_off),
        ]
        return np.stack(columns, axis=1).astype(np.float32), np.exp(log_dose)

    def _harm(
        self, belief: Belief, dose: NDArray[np.float64], under: UnderOneDose | None
    ) -> NDArray[np.float64]:
        """Return P(harm) (n,): in steady state at a constant dose (n,) by the scenario's formula, else in the
        units that monitoring looks ahead, under the dose that was foreseen."""
        scenario = self.scenario
        if under is None:
            assert scenario.maintenance_dose is not None
            assert self._band is not None
            # the response is monotone in the dose: harm in steady state means a dose above the one that leads
            # to its edge
            edge = scenario.maintenance_dose(belief.theta, self._band.above)
            return belief.mean((dose[:, None] > edge).astype(np.float64))
        n, k, units = under.responses[scenario.output].shape
        responses = {name: values.reshape(n * k, units) for name, values in under.responses.items()}
        unit = np.repeat(belief.unit[:, None] + np.arange(units), k, axis=0)
        within = np.arange(units) < np.repeat(self.filter.reach(belief), k)[:, None]
        harmed = (scenario.harm.of(responses, np.minimum(unit, scenario.horizon - 1)) > 0) & within
        return belief.mean(harmed.any(axis=1).reshape(n, k).astype(np.float64))
