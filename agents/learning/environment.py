"""The environment that an algorithm learns in: it sees a policy's input and acts by departures from the
anchor.

Live dosing uses the same inputs without the wrapper.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorWrapper
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dosewright.agents.learning.anchored import anchored_dose
from dosewright.agents.learning.inputs import Memory, PolicyInput
from dosewright.agents.learning.preference import BALANCED, odds, weight_of
from dosewright.agents.learning.scaling import Scaling
from dosewright.envs import DosingVectorEnv, Treatment

Action = Literal["anchored", "tablet"]
_THERE = 1.0 - 1e-9  # nearness of an event that has happened
_LEAST = 1e-3  # of the target, and of a parameter: what is below is as far below as it gets


class LearningVectorEnv(VectorWrapper[Any, Any, Any, Any, Any]):
    """Show a policy's input and act by it.

    The reward is that of constrained learning: benefit less `multiplier` times what `info["event"]` says, by
    how much the event that a trial counts came nearer; times the odds of `preference`, where the policy is
    told one. An episode is terminated when it is over, also where the patient leaves: a trial scores nobody
    beyond that. `info["happened"]` says whether the event came now, as a trial counts it, and
    `info["counts"]` by whose events the price is learned: who live in the preset's own world and have a
    preference of 0.5. Works in `SAME_STEP` (the last observation of a finished episode is taken in too) and
    `NEXT_STEP` mode.

    Parameters
    ----------
    env
        A dosing vector environment; with action "tablet" it must take tablets.
    inputs
        What is seen; its scenario must be the environment's.
    scaling
        Standardisation of what is shown; None shows it as it is.
    action
        "anchored": `Box(-1, 1)`, a departure from the anchor. "tablet": the environment's own `Discrete`.
    truth
        Whether, for a critic, what no policy can know is shown after the features: log parameters and log
        response of today, and how near the event is.

    Attributes
    ----------
    anchor : (n,) dose that a departure of 0 gives at the present visit
    seen, width : columns that a policy sees; all that are shown
    seconds : spent so far on the "environment" and on the "input"
    multiplier : price of the event, where safety weighs as much as benefit

    Raises
    ------
    ValueError
        If environment and input are of two scenarios, or take different actions.
    """

    def __init__(
        self,
        env: DosingVectorEnv,
        inputs: PolicyInput,
        scaling: Scaling | None = None,
        action: Action = "anchored",
        truth: bool = False,
    ) -> None:
        super().__init__(env)
        if env.scenario is not inputs.scenario:
            raise ValueError(
                f"environment of {env.scenario.name}, input of {inputs.scenario.name}: they must be the same"
            )
        if (env.action == "tablet") != (action == "tablet"):
            raise ValueError(f"environment with action {env.action!r}, wrapper with {action!r}: choose one")
        self._lanes = env
        self.inputs, self.scaling, self.action, self.truth = inputs, scaling, action, truth
        self.seen = len(inputs.names)
        self.multiplier = 0.0
        self.width = width = self.seen + (2 + len(env.scenario.model.parameters) if truth else 0)
        self.single_observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (width,), np.float32)
        if action == "anchored":
            self.single_action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, env.num_envs)
        self.action_space = batch_space(self.single_action_space, env.num_envs)
        self.seconds = {"environment": 0.0, "input": 0.0}
        self._memory: Memory | None = None
        self.anchor = np.zeros(env.num_envs)
        self._shown = np.zeros((env.num_envs, width), np.float32)
        self._start = np.zeros(env.num_envs, dtype=bool)

    @property
    def treatment(self) -> Treatment:
        """The patients under treatment, truth included: for training in the simulator."""
        return self._lanes.treatment

    @property
    def preference(self) -> NDArray[np.float64]:
        """(n,) weight of safety against benefit of the patients."""
        return weight_of(self._memory, self.num_envs)

    def action_masks(self) -> NDArray[np.bool_]:
        """Return (n, g) which doses of the grid can be given now."""
        return self._lanes.action_masks()

    def reset(
        self, *, seed: Any = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin new episodes, as the environment does."""
        observation, info = self.env.reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask")
        if mask is None:
            self._memory = None
        lanes = np.arange(self.num_envs) if mask is None else np.flatnonzero(mask)
        self._start[lanes] = False
        self._begin(lanes, observation)
        return self._scaled(), info

    def step(self, actions: NDArray[Any]) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Give the doses and take in what is seen at the next visit."""
        given = np.asarray(actions).reshape(self.num_envs)
        dose = anchored_dose(self.anchor, given) if self.action == "anchored" else given
        weight = self.preference
        counts, near = (weight == BALANCED) & ~self.treatment.elsewhere, self.treatment.event
        clock = time.perf_counter()
        observation, _, terminated, truncated, info = self.env.step(dose)
        self.seconds["environment"] += time.perf_counter() - clock
        info["counts"] = counts
        # an event of many units is one event: the reward tells how near it came, the price when it is there
        info["happened"] = (near < _THERE) & (near + info["event"] >= _THERE)
        reward = info["benefit"] - self.multiplier * odds(weight) * info["event"]
        done = terminated | truncated
        going = np.flatnonzero(~self._start)
        seen = observation
        if "final_obs" in info:
            seen = np.where(done[:, None], info["final_obs"], observation)
        truth = self._shown[done, self.seen :].copy()
        self._go_on(going, seen)
        # who is over was replaced in the environment: the truth known of them is that of the visit before
        self._shown[done, self.seen :] = truth
        self._begin(np.flatnonzero(self._start), observation)
        self._start[:] = False
        if self.env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP:
            self._start = done
        elif "final_obs" in info:
            info["final_obs"] = self._scaled()
            self._begin(np.flatnonzero(done), observation)
        return self._scaled(), reward, done, np.zeros_like(done), info

    def _scaled(self) -> NDArray[np.float32]:
        return self._shown.copy() if self.scaling is None else self.scaling.apply(self._shown)

    def _go_on(self, lanes: NDArray[np.int64], observation: NDArray[np.float32]) -> None:
        assert self._memory is not None
        if len(lanes):
            whole = len(lanes) == self.num_envs
            self._take_in(lanes, self._memory if whole else self._memory.select(lanes), observation)

    def _begin(self, lanes: NDArray[np.int64], observation: NDArray[np.float32]) -> None:
        if len(lanes):
            self._take_in(lanes, None, observation)

    def _take_in(
        self, lanes: NDArray[np.int64], before: Memory | None, observation: NDArray[np.float32]
    ) -> None:
        """Put what is remembered and shown of the patients in `lanes` after a visit in place."""
        clock = time.perf_counter()
        memory = self.inputs.update(before, observation[lanes])
        self._shown[lanes, : self.seen], self.anchor[lanes] = self.inputs(memory, observation[lanes])
        self.seconds["input"] += time.perf_counter() - clock
        whole = self._memory is None or len(lanes) == self.num_envs
        self._memory = memory if whole or self._memory is None else self._memory.replace_rows(lanes, memory)
        if self.truth:
            self._shown[lanes, self.seen :] = self._truth()[lanes]

    def _truth(self) -> NDArray[np.float32]:
        """What no policy can know of the patients now."""
        treatment, scenario = self._lanes.treatment, self._lanes.scenario
        response = np.nan_to_num(treatment.truth[np.arange(self.num_envs), treatment.day])
        columns = (
            np.log(np.maximum(treatment.theta, _LEAST)),
            np.log(np.maximum(response / scenario.target_at(treatment.day), _LEAST))[:, None],
            treatment.event[:, None],
        )
        return np.concatenate(columns, axis=1).astype(np.float32)
