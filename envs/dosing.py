"""The scalar environment, `gymnasium.Env`: one patient of a scenario. One lane of the vector environment."""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dosewright.envs.page import page
from dosewright.envs.patients import Population
from dosewright.envs.scenarios import names
from dosewright.envs.scenarios import scenario as scenario_named
from dosewright.envs.scenarios.scenario import GenotypeMode, Scenario
from dosewright.envs.treatment import Treatment
from dosewright.envs.vector import DosingVectorEnv


class DosingEnv(gymnasium.Env[NDArray[np.float32], Any]):
    """One patient of a scenario, dosed at its visits.

    Parameters
    ----------
    drug, realism, genotype, action, namespace, population, render_mode
        As `DosingVectorEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        drug: str,
        *,
        realism: str = "clinic",
        genotype: GenotypeMode = "diplotype",
        action: Literal["dose", "tablet"] = "dose",
        namespace: str = "train",
        population: Population | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._lanes = DosingVectorEnv(
            drug,
            1,
            realism=realism,
            genotype=genotype,
            action=action,
            namespace=namespace,
            population=population,
            autoreset_mode=AutoresetMode.DISABLED,
            render_mode=render_mode,
        )
        self.render_mode = render_mode
        self.observation_space = self._lanes.single_observation_space
        self.action_space = self._lanes.single_action_space

    @property
    def scenario(self) -> Scenario:
        """The decision problem."""
        return self._lanes.scenario

    @property
    def treatment(self) -> Treatment:
        """The patient under treatment, truth included: for evaluation and the oracle, not for a regimen."""
        return self._lanes.treatment

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin a new episode: the next patient under the present seed, the first one under a new `seed`, or
        the one named by ``options={"patient": id}``.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        if "patient" in options:
            options["patient"] = np.atleast_1d(options["patient"])
        observation, info = self._lanes.reset(seed=seed, options=options)
        return observation[0], {"patient": int(info["patient"][0])}

    def step(
        self, action: NDArray[np.float32] | float | int
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Give a dose and go to the next visit."""
        observation, reward, terminated, truncated, info = self._lanes.step(np.atleast_1d(action))
        outcomes = {name: float(value[0]) for name, value in info["outcomes"].items()}
        scalar = {name: float(info[name][0]) for name in ("dose", "benefit", "cost", "event")}
        patient = int(info["patient"][0])
        return (
            observation[0],
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {**scalar, "outcomes": outcomes, "patient": patient},
        )

    def action_masks(self) -> NDArray[np.bool_]:
        """Return (g,) which doses of the grid can be given now, for a masked policy with
        ``action="tablet"``."""
        return self._lanes.action_masks()[0]


def _environment(scenario: Scenario) -> type[DosingEnv]:
    """Return the environment class of a scenario; its docstring is its page."""
    name = f"{scenario.drug}Env"
    made = type(name, (DosingEnv,), {"__doc__": page(scenario), "__module__": __name__})
    return made


SCALAR_ENVIRONMENTS: dict[str, type[DosingEnv]] = {
    name: _environment(scenario_named(name)) for name in names()
}
