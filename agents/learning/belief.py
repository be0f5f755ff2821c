"""Learning on the belief: what the policy sees, and the wrapper that shows it.

`BeliefFeatures` turns an observation and the belief after it into the policy's input; `BeliefVectorEnv` wraps
any dosing vector environment so that an algorithm sees those features and acts by the anchored action. Live
dosing uses the same objects without the wrapper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.estimation.prior import names
from dosewright.agents.learning.anchored import anchored_dose
from dosewright.envs import DosingVectorEnv, Scenario, Treatment
from dosewright.envs.scenarios import Band

# Doses, as multiples of the monitoring dose, under which the features look ahead to the next visit
_LOOK_AHEAD = (0.0, 0.75, 1.0, 1.35, 2.0)
_LEAST = 1e-3  # of the target: what is below it is as far below as it gets
_EDGE = 0.08  # half the width, on the log scale, of the harm band's edge in `share_of_harm`


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
            f"P(harm) {'ahead' if self._band is None else 'in steady state'} at the last dose",
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

    def __call__(self, belief: Belief, observation: NDArray[np.float32]) -> tuple[NDArray[np.float32], Any]:
        """Return the features (n, f) and the anchor, the monitoring dose (n,)."""
        scenario, spec = self.scenario, self.scenario.observation
        name, before, clock = scenario.measurement.name, belief.prior, scenario.clock
        log_dose, log_dose_sd = self.filter.maintenance_dose(belief)
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
            self._harm(belief, last),
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

    def _harm(self, belief: Belief, dose: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return P(harm) (n,) at a constant dose (n,): in steady state by the scenario's formula, else in the
        units that monitoring looks ahead."""
        scenario, harm = self.scenario, self.scenario.harm
        if self._band is not None:
            assert scenario.maintenance_dose is not None
            # the response is monotone in the dose: harm in steady state means a dose above the one that leads
            # to its edge
            edge = scenario.maintenance_dose(belief.theta, self._band.above)
            return belief.mean((dose[:, None] > edge).astype(np.float64))
        reach = self.filter.reach(belief)
        units = int(reach.max())
        course = np.repeat(dose[:, None, None], units, axis=2)
        foreseen = self.filter.predict(belief, course)
        responses = {key: values[:, :, 0].reshape(-1, units) for key, values in foreseen.items()}
        k = belief.x.shape[1]
        unit = np.repeat(belief.unit[:, None] + np.arange(units), k, axis=0)
        within = np.arange(units) < np.repeat(reach, k)[:, None]
        harmed = (harm.of(responses, np.minimum(unit, scenario.horizon - 1)) > 0) & within
        return belief.mean(harmed.any(axis=1).reshape(len(dose), -1).astype(np.float64))


@dataclass(frozen=True)
class Scaling:
    """Standardisation of the features: mean and SD (f,) under Bayesian monitoring."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Scaling:
        """Return the standardisation of features (n, f); one that never varies is only centred."""
        sd = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(sd > 1e-6, sd, 1.0).astype(np.float32))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the standardised features, kept within ten SD."""
        return np.clip((features - self.mean) / self.sd, -10.0, 10.0)


def share_of_harm(scenario: Scenario, highest: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far a highest response counts as having entered the harm band: 0 below its edge, 1 above,
    in part around it, which makes a smoother thing to learn from.

    Raises
    ------
    ValueError
        If the scenario's harm is no band above a level.
    """
    harm = scenario.harm
    if not (isinstance(harm, Band) and harm.above > 0):
        raise ValueError(
            f"{scenario.name}: {harm.label!r} is no band above a level; use first_harm_weight = 0"
        )
    above = np.log(np.maximum(highest, 1e-9) / harm.above)
    return np.clip(0.5 + above / (2 * _EDGE), 0.0, 1.0)


class BeliefVectorEnv(VectorWrapper[Any, Any, Any, Any, Any]):
    """Show the belief's features and act by departures from the monitoring dose.

    Works in `SAME_STEP` (the last observation of a finished episode is filtered too) and `NEXT_STEP` mode.

    Parameters
    ----------
    env
        A dosing vector environment.
    belief_filter
        The filter; its scenario must be the environment's.
    scaling
        Standardisation of the features; None shows them as they are.
    first_harm_weight
        Taken off the reward once, when a patient's response first enters the harm band: training that keeps
        patients out of it altogether, where the environment's reward only counts days. 0 keeps the
        environment's reward. `share_of_harm` says what counts.

    Attributes
    ----------
    anchor : (n,) monitoring dose at the present visit

    Raises
    ------
    ValueError
        If environment and belief are of two scenarios.
    """

    def __init__(
        self,
        env: DosingVectorEnv,
        belief_filter: BeliefFilter,
        scaling: Scaling | None = None,
        first_harm_weight: float = 0.0,
    ) -> None:
        super().__init__(env)
        if env.scenario is not belief_filter.scenario:
            raise ValueError(
                f"environment of {env.scenario.name}, belief of {belief_filter.scenario.name}: "
                "they must be the same"
            )
        self._lanes = env
        self.filter, self.scaling, self.first_harm_weight = belief_filter, scaling, first_harm_weight
        self.features = BeliefFeatures(belief_filter)
        self.single_observation_space = gymnasium.spaces.Box(
            -np.inf, np.inf, (len(self.features.names),), np.float32
        )
        self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.action_space = batch_space(self.single_action_space, env.num_envs)
        self._belief: Belief | None = None
        self.anchor = np.zeros(env.num_envs)
        self._shown = np.zeros((env.num_envs, len(self.features.names)), np.float32)
        self._start = np.zeros(env.num_envs, dtype=bool)
        self._harmed = np.zeros(env.num_envs)  # share of the event that has been counted

    @property
    def treatment(self) -> Treatment:
        """The patients under treatment, truth included: for training in the simulator."""
        return self._lanes.treatment

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin new episodes, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._belief = None
        lanes = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._start[lanes] = False
        self._harmed[lanes] = 0.0
        self._begin(lanes, observation)
        return self._scaled(), info

    def step(self, actions: NDArray[np.float32]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Give the anchored doses and take in what is seen at the next visit."""
        dose = anchored_dose(self.anchor, np.asarray(actions).reshape(self.num_envs))
        observation, reward, terminated, truncated, info = self.env.step(dose)
        done = terminated | truncated
        going = np.flatnonzero(~self._start)
        seen = observation
        if "final_obs" in info:
            seen = np.where(done[:, None], info["final_obs"], observation)
        self._go_on(going, seen)
        self._begin(np.flatnonzero(self._start), observation)
        self._start[:] = False
        if self.env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP:
            self._start = done
        elif "final_obs" in info:
            info["final_obs"] = self._scaled()
            self._begin(np.flatnonzero(done), observation)
        if self.first_harm_weight:
            reward = reward - self.first_harm_weight * self._newly_harmed(info["outcomes"]["highest"])
            self._harmed[done] = 0.0
        return self._scaled(), reward, terminated, truncated, info

    def _newly_harmed(self, highest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return how much of the event (n,) the interval's highest response adds."""
        harmed = np.maximum(self._harmed, share_of_harm(self.filter.scenario, highest))
        newly, self._harmed = harmed - self._harmed, harmed
        return newly

    def _scaled(self) -> NDArray[np.float32]:
        return self._shown.copy() if self.scaling is None else self.scaling.apply(self._shown)

    def _go_on(self, lanes: NDArray[np.int64], observation: NDArray[np.float32]) -> None:
        assert self._belief is not None
        if len(lanes) == self.num_envs:
            self._belief = self.filter.step(self._belief, observation)
            self._shown, self.anchor = self.features(self._belief, observation)
        elif len(lanes):
            self._show(lanes, self.filter.step(self._belief.select(lanes), observation[lanes]), observation)

    def _begin(self, lanes: NDArray[np.int64], observation: NDArray[np.float32]) -> None:
        if len(lanes):
            self._show(lanes, self.filter.step(None, observation[lanes]), observation)

    def _show(self, lanes: NDArray[np.int64], belief: Belief, observation: NDArray[np.float32]) -> None:
        """Put new beliefs, and what is shown of them, into `lanes`."""
        whole = self._belief is None or len(lanes) == self.num_envs
        self._belief = belief if whole or self._belief is None else self._belief.replace_rows(lanes, belief)
        self._shown[lanes], self.anchor[lanes] = self.features(belief, observation[lanes])
