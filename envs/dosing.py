"""The scalar environment, `gymnasium.Env`: one patient of a scenario. One lane of the vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from dosewright.envs.patients import Population
from dosewright.envs.scenarios.scenario import GenotypeMode, Scenario
from dosewright.envs.treatment import Treatment
from dosewright.envs.vector import DosingVectorEnv


class DosingEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float32]]):
    """One patient of a scenario, dosed at its visits.

    Parameters
    ----------
    drug, realism, genotype, namespace, population, render_mode
        As `DosingVectorEnv`.
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(
        self,
        drug: str,
        *,
        realism: str = "clinic",
        genotype: GenotypeMode = "diplotype",
        namespace: str = "train",
        population: Population | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._lanes = DosingVectorEnv(
            drug,
            1,
            realism=realism,
            genotype=genotype,
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
        self, action: NDArray[np.float32] | float
    ) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Give a dose and go to the next visit."""
        observation, reward, terminated, truncated, info = self._lanes.step(np.atleast_1d(action))
        outcomes = {name: float(value[0]) for name, value in info["outcomes"].items()}
        scalar = {name: float(info[name][0]) for name in ("dose", "benefit", "cost")}
        patient = int(info["patient"][0])
        return (
            observation[0],
            float(reward[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {**scalar, "outcomes": outcomes, "patient": patient},
        )


class WarfarinEnv(DosingEnv):
    """Warfarin, INR 2 to 3 over the first 90 days: ``dosewright/Warfarin-v0``.

    ## Description
    A person starts warfarin. At eleven visits (days 0, 3, 5, 7, 10, 14, 21, 28, 42, 56, 70) the clinic sees
    an INR and prescribes a daily dose until the next visit; follow-up ends on day 90. Kinetics and INR follow
    Hamberg 2010 with the person's CYP2C9 and VKORC1 genotype and age. Research simulation, not for clinical
    use.

    ## Action space
    `Box(0, 15, (1,), float32)`: racemic warfarin, mg/day, capped at 15 and rounded to 0.5 mg (halves
    upwards). The dose really given is `info["dose"]`. A negative or missing dose is an error.

    ## Observation space
    `Box(float32)` in clinical units. An entry marked with a dot is followed by a column `…_known`, 1 if it is
    known; unknown stands as the neutral value.

    | entry | unit | from | to | meaning |
    |---|---|---|---|---|
    | age_y | years | 10 | 110 | age |
    | male · | 1 | 0 | 1 | 1 man, 0 woman |
    | height_cm · | cm | 100 | 230 | height |
    | weight_kg · | kg | 25 | 300 | weight |
    | race_white, race_black, race_asian | 1 | 0 | 1 | for the dosing equations; none: mixed or unknown |
    | amiodarone, inducer | 1 | 0 | 1 | drugs at the start, for the dosing equations only |
    | cyp2c9_*2 ·, cyp2c9_*3 · | 1 | 0 | 2 | CYP2C9 alleles of decreased function; without function |
    | vkorc1_A · | 1 | 0 | 2 | VKORC1 −1639 A alleles |
    | day | d | 0 | 90 | day of treatment |
    | interval, next_interval | d | 0 | 90 | days since the previous visit; until the next |
    | last_dose · | mg/day | 0 | 15 | dose given since the previous visit |
    | inr · | 1 | 0 | 100 | newest result in hand |
    | inr_age · | d | 0 | 90 | days since its sample was drawn |
    | inr_new | 1 | 0 | 1 | 1 if it was not in hand at the previous visit |
    | late_inr ·, late_inr_age · | 1, d | 0 | 100, 90 | older result that came in after the previous visit |

    ## Reward
    Days with 2 ≤ INR ≤ 3 minus 2 × days with INR > 4, both as shares of 90 days, on the latent daily INR.
    `info["benefit"]` and `info["cost"]` hold the two shares; `info["outcomes"]` the days followed (d), and
    the mean and highest daily INR.

    ## Start, end
    Day 0 with a baseline INR. Day 90 is `terminated`; a patient who drops out (`clinic`: 2 % a month) is
    `truncated`.

    ## Arguments
    `realism`: "clinic" (default: 5 % missed doses, EC50 drifts by log-SD 0.06 per square root of a week, a
    quarter of patients meet an interacting drug for 10 days, 10 % of results come late and 5 % never,
    drop-out) or "textbook" (none of that); both have an INR error of log-SD 0.19. `genotype`: "diplotype" or
    "unknown". `namespace`: "train", "select", "trial". `population`: whom to treat.
    `reset(options={"patient": id})` names the patient.

    ## Target
    Discriminates: under `clinic` a uniform random dose scores far below the best fixed dose, and that below
    Bayesian monitoring (tests/envs/test_nondegeneracy.py asserts both).

    ## Sources
    Hamberg 2010, Clin Pharmacol Ther 87:727. Target and weights: docs/decisions.md.

    ## Version
    v0: first.
    """


SCALAR_ENVIRONMENTS: dict[str, type[DosingEnv]] = {"warfarin": WarfarinEnv}
