"""Stable-Baselines3 on a Gymnasium vector environment, and its models as arms of a trial.

SB3 has its own vector interface: it resets a finished lane in the same step and wants the last observation of
the old episode, and whether it was cut short, in that lane's `info`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Discrete
from gymnasium.vector import AutoresetMode, VectorEnv
from numpy.typing import NDArray
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecEnv

from dosewright.envs.scenarios.scenario import Scenario

SHOWN = ("dose", "benefit", "cost", "event")


class SB3VecEnv(VecEnv):
    """Give a vector environment in `SAME_STEP` mode to Stable-Baselines3.

    Parameters
    ----------
    venv
        The environment.
    shown
        What every lane's `info` has of the environment's, an array (n,) each.

    Raises
    ------
    ValueError
        In another autoreset mode: SB3 would step lanes that are over.
    """

    def __init__(self, venv: VectorEnv[Any, Any, Any], shown: Sequence[str] = SHOWN) -> None:
        if venv.metadata.get("autoreset_mode") is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"autoreset_mode is {venv.metadata.get('autoreset_mode')}; Stable-Baselines3 needs "
                "AutoresetMode.SAME_STEP"
            )
        self.venv, self.shown = venv, shown
        self._actions: np.ndarray | None = None
        self._seed: int | None = None
        self._returns, self._lengths = np.zeros(venv.num_envs), np.zeros(venv.num_envs, dtype=int)
        super().__init__(venv.num_envs, venv.single_observation_space, venv.single_action_space)

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Use `seed` for all lanes at the next reset."""
        self._seed = seed
        return [seed] * self.num_envs

    def reset(self) -> np.ndarray:
        """Begin new episodes in all lanes."""
        observation, info = self.venv.reset(seed=self._seed)
        self._seed = None
        self._returns[:], self._lengths[:] = 0.0, 0
        self.reset_infos = [{"patient": patient} for patient in info.get("patient", range(self.num_envs))]
        return observation

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
        """Step all lanes."""
        observation, reward, terminated, truncated, info = self.venv.step(self._actions)
        done = terminated | truncated
        self._returns += reward
        self._lengths += 1
        infos: list[dict[str, Any]] = [
            dict(zip(self.shown, values, strict=True))
            for values in zip(*(info[name] for name in self.shown), strict=True)
        ]
        for lane in np.flatnonzero(done):
            infos[lane]["terminal_observation"] = info["final_obs"][lane]
            infos[lane]["TimeLimit.truncated"] = bool(truncated[lane] and not terminated[lane])
            # what SB3's Monitor records
            infos[lane]["episode"] = {
                "r": float(self._returns[lane]),
                "l": int(self._lengths[lane]),
                "t": 0.0,
            }
        self._returns[done], self._lengths[done] = 0.0, 0
        return observation, reward.astype(np.float32), done, infos

    def close(self) -> None:
        """Close the environment."""
        self.venv.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of the environment, once a lane."""
        return [getattr(self.venv, attr_name)] * len(list(self._get_indices(indices)))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Lanes share one environment: an attribute is set for all."""
        setattr(self.venv, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of the environment once and return its result for every lane; of `action_masks`,
        which has a row a lane, each lane's own."""
        result = getattr(self.venv, method_name)(*method_args, **method_kwargs)
        if method_name == "action_masks":
            return [result[lane] for lane in self._get_indices(indices)]
        return [result] * len(list(self._get_indices(indices)))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Whether the environment is wrapped in `wrapper_class`."""
        return [isinstance(self.venv, wrapper_class)] * len(list(self._get_indices(indices)))


class SB3Regimen:
    """A model of Stable-Baselines3 or sb3-contrib, trained on a scenario's environments, as a regimen.

    Parameters
    ----------
    model
        With either kind of action: doses, or numbers of tablets of the grid.
    scenario
        Whose environments it was trained on.
    name
        Name of the arm.

    Raises
    ------
    ValueError
        For a model of another observation layout.
    """

    needs: frozenset[str] = frozenset()

    def __init__(self, model: BaseAlgorithm, scenario: Scenario, name: str = "sb3") -> None:
        seen, there = model.observation_space.shape, scenario.observation.low.shape
        if seen != there:
            raise ValueError(
                f"arm {name!r}: a model of observations {seen}, {scenario.name} has {there}; give one that "
                "was trained on its environments"
            )
        self.model, self.scenario, self.name = model, scenario, name

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        """Return the dose (n,) and the states of a recurrent network.

        Raises
        ------
        ValueError
            For ``deterministic=False``: SB3 draws from PyTorch's generator, not from the patients' keys.
        """
        if not deterministic:
            raise ValueError(
                f"arm {self.name!r}, deterministic=False: a model of SB3 doses deterministically; for "
                "randomised doses make it noisy (dosewright.agents.regimens.Noisy)"
            )
        action, state = self.model.predict(observation, state, episode_start, deterministic=True)
        if isinstance(self.model.action_space, Discrete):
            return self.scenario.doses.doses[action], state
        return action.reshape(len(observation)).astype(np.float64), state
