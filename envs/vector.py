"""The native vector environment: many patients, one compiled step.

The scalar environment of `dosewright.envs.dosing` is this one with a single lane.
"""

from __future__ import annotations

from typing import Any, Literal

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from dosewright.envs.noise import Noise
from dosewright.envs.patients import Population, VirtualPopulation
from dosewright.envs.realism import Randomisation
from dosewright.envs.scenarios import scenario as scenario_named
from dosewright.envs.scenarios.scenario import GenotypeMode, Scenario
from dosewright.envs.treatment import Intake, Interval, Treatment

_BATCH_PATIENTS = 2048


class DosingVectorEnv(VectorEnv[Any, Any, Any]):
    """n patients of one scenario, dosed at its visits. The page of the drug's scalar environment says what is
    seen, done and scored; here everything has a leading axis of lanes.

    Parameters
    ----------
    drug
        Name of the scenario, or one that differs from those of the package, such as with a refitted
        population.
    num_envs
        Lanes.
    realism
        "clinic" or "textbook".
    genotype
        What the observation shows of it: "diplotype" (counts of alleles), "phenotype" (CPIC's), "posterior"
        (expected counts given low-coverage reads and ancestry) or "unknown".
    action
        "dose": a `Box`, the dose in the scenario's unit. "tablet": `Discrete`, the number of a dose of the
        grid, with `action_masks`.
    namespace
        Seed namespace of the patients and their noise: "train", "select" or "trial".
    population
        Whom to treat; the scenario's virtual population by default. Lane i meets patient
        ``i + episode × num_envs``, or those of ``reset(options={"patient": ids})``.
    randomisation
        Worlds that differ from patient to patient, for training; None: everybody lives in that of the preset.
    autoreset_mode
        `AutoresetMode.NEXT_STEP` (Gymnasium's default), `SAME_STEP` (as SB3 does) or `DISABLED`.
    render_mode
        None: nothing is rendered.

    Notes
    -----
    `reset(seed=s)` seeds all lanes together: randomness is keyed by the patient's number, so the seed need
    not differ between lanes. A reset without a seed goes on with the next patients.
    """

    metadata: dict[str, Any] = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        drug: str | Scenario,
        num_envs: int = 1,
        *,
        realism: str = "clinic",
        genotype: GenotypeMode = "diplotype",
        action: Literal["dose", "tablet"] = "dose",
        namespace: str = "train",
        population: Population | None = None,
        randomisation: Randomisation | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs = {num_envs}; expected at least 1")
        if action not in ("dose", "tablet"):
            raise ValueError(f"unknown action {action!r}; known: dose, tablet")
        if render_mode is not None:
            raise ValueError(f"render_mode {render_mode!r}: nothing is rendered; use None")
        known = scenario_named(drug) if isinstance(drug, str) else drug
        self.scenario: Scenario = known.seen_as(genotype)
        self.num_envs, self.namespace = num_envs, namespace
        self.genotype: GenotypeMode = genotype
        self.realism = self.scenario.preset(realism)
        self.population = population or self.scenario.population
        if randomisation is not None and not isinstance(self.population, VirtualPopulation):
            raise ValueError("randomisation: random effects of real people are not scaled; leave it out")
        self.randomisation = randomisation
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {**type(self).metadata, "autoreset_mode": self.autoreset_mode}
        self.render_mode = render_mode
        self.spec_of_observation = spec = self.scenario.observation
        self.single_observation_space = gymnasium.spaces.Box(spec.low, spec.high, dtype=np.float32)
        self.action: Literal["dose", "tablet"] = action
        self._tablets = self.scenario.doses.doses
        self.single_action_space: gymnasium.Space[Any] = (
            gymnasium.spaces.Box(0.0, self.scenario.doses.maximum, (1,), np.float32)
            if action == "dose"
            else gymnasium.spaces.Discrete(len(self._tablets))
        )
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        Noise(namespace, 0)  # an unknown namespace is refused here, not at the first reset
        self._treatment: Treatment | None = None
        self._noise: Noise | None = None
        self._episode = np.zeros(num_envs, dtype=np.int64)
        self._over = np.zeros(num_envs, dtype=bool)
        self._waiting: dict[int, Intake] = {}
        self._batch = max(1, _BATCH_PATIENTS // num_envs)  # episodes prepared at a time

    @property
    def treatment(self) -> Treatment:
        """The patients under treatment, truth included: for evaluation and the oracle, not for a regimen."""
        if self._treatment is None:
            raise gymnasium.error.ResetNeeded("call reset() before step()")
        return self._treatment

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin new episodes.

        Parameters
        ----------
        seed
            One non-negative integer for all lanes; None goes on under the present seed.
        options
            ``patient``: (n,) identifiers of the patients to treat. ``reset_mask``: (n,) bool, which lanes to
            reset.
        """
        options = options or {}
        odd = set(options) - {"patient", "reset_mask"}
        if odd:
            raise ValueError(f"unknown reset option {min(odd)!r}; known: patient, reset_mask")
        mask = np.asarray(options.get("reset_mask", np.ones(self.num_envs, dtype=bool)), dtype=bool)
        if mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask has shape {mask.shape}; expected ({self.num_envs},)")
        if seed is not None or self._noise is None:
            if not mask.all():
                raise ValueError("reset_mask leaves lanes out: seed and first reset concern all lanes")
            super().reset(seed=seed)
            drawn = int(self.np_random.integers(2**31)) if seed is None else seed
            self._noise, self._treatment = Noise(self.namespace, drawn), None
            self._episode[:] = 0
            self._waiting.clear()
        self._begin(np.flatnonzero(mask), options.get("patient"))
        return self.treatment.observe(), {"patient": self.treatment.ids.copy()}

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Give a dose to every patient and go to the next visit.

        Parameters
        ----------
        actions : (n, 1) or (n,) doses, in the scenario's unit; above the cap they are capped, a negative
            or missing
            one is an error. With ``action="tablet"`` (n,) numbers of doses of the grid.
        """
        treatment, again = self.treatment, self._over.copy()
        if again.any() and self.autoreset_mode is AutoresetMode.DISABLED:
            raise gymnasium.error.ResetNeeded(
                f"lane {int(np.argmax(again))} is over; reset it with reset_mask"
            )
        interval = treatment.give(self._doses(actions))
        self._over = interval.finished | interval.left
        reward = interval.benefit - self.scenario.weight * interval.harm
        info = self._info(interval)
        if again.any():  # NEXT_STEP: these lanes ignore the action and begin anew
            self._begin(np.flatnonzero(again), None)
            info["patient"] = treatment.ids.copy()
        observation = treatment.observe()
        if self._over.any() and self.autoreset_mode is AutoresetMode.SAME_STEP:
            info["final_obs"], info["_final_obs"] = observation.copy(), self._over.copy()
            info["final_info"], info["_final_info"] = dict(info), self._over.copy()
            self._begin(np.flatnonzero(self._over), None)
            observation = treatment.observe()
            finished, left = interval.finished, interval.left
            self._over = np.zeros(self.num_envs, dtype=bool)
            return observation, reward, finished, left, info
        return observation, reward, interval.finished, interval.left, info

    def action_masks(self) -> NDArray[np.bool_]:
        """Return (n, g) which doses of the grid can be given now, for a masked policy with
        ``action="tablet"``.

        Every dose can, but where a rule of the scenario leaves a treatment out.
        """
        return self.treatment.action_masks()

    def _doses(self, actions: Any) -> NDArray[np.float64]:
        """Return actions as doses (n,)."""
        if self.action == "dose":
            return np.asarray(actions, dtype=np.float64).reshape(self.num_envs)
        number = np.asarray(actions).reshape(self.num_envs)
        bad = (number != np.floor(number)) | (number < 0) | (number >= len(self._tablets))
        if bad.any():
            lane = int(np.argmax(bad))
            raise ValueError(
                f"action of patient {self.treatment.ids[lane]}: {number[lane]}; "
                f"expected a whole number from 0 to {len(self._tablets) - 1}"
            )
        return self._tablets[number.astype(np.int64)]

    def _begin(self, lanes: NDArray[np.int64], chosen: Any) -> None:
        """Admit the next, or the chosen, patients to `lanes`."""
        if chosen is None:
            self._admit_next(lanes)
        else:
            self._admit(lanes, self._prepare(self._chosen(chosen)), lanes)

    def _admit_next(self, lanes: NDArray[np.int64]) -> None:
        """Admit patient ``lane + episode × num_envs`` to each lane.

        Patients are prepared in batches: lanes fall out of step where patients drop out, and preparing two
        patients costs nearly as much as preparing hundreds.
        """
        episode = self._episode[lanes]
        # the first episode by itself, so that a reset with a new seed prepares no more than it needs
        batch = np.where(episode == 0, 0, 1 + (episode - 1) // self._batch)
        for number in np.unique(batch):
            first = 0 if number == 0 else 1 + (number - 1) * self._batch
            if number not in self._waiting:
                count = 1 if number == 0 else self._batch
                ids = np.arange(first * self.num_envs, (first + count) * self.num_envs)
                self._waiting[number] = self._prepare(ids)
            mine = lanes[batch == number]
            rows = mine + (self._episode[mine] - first) * self.num_envs
            self._admit(mine, self._waiting[number], rows)
        for number in [number for number in self._waiting if number < batch.min() - 1]:
            del self._waiting[number]

    def _admit(self, lanes: NDArray[np.int64], intake: Intake, rows: NDArray[np.int64]) -> None:
        if self._treatment is None:
            self._treatment = Treatment(self.scenario, intake)
        else:
            self._treatment.admit(lanes, intake, rows)
        self._episode[lanes] += 1
        self._over[lanes] = False

    def _prepare(self, ids: NDArray[np.int64]) -> Intake:
        assert self._noise is not None
        known, worlds = self.scenario, None
        if self.randomisation is None:
            patients = self.population.draw(known.model, known.base, ids, self._noise)
        else:
            assert isinstance(self.population, VirtualPopulation)
            worlds = self.randomisation.draw(ids, self._noise, self.realism)
            patients = self.population.draw(known.model, known.base, ids, self._noise, worlds.spread)
        return Intake.prepare(known, patients, self._noise, self.realism, self.genotype, worlds)

    def _chosen(self, ids: Any) -> NDArray[np.int64]:
        chosen = np.asarray(ids, dtype=np.int64)
        if chosen.shape != (self.num_envs,) or np.any(chosen < 0):
            raise ValueError(
                f"option patient: expected {self.num_envs} non-negative identifiers, got {ids!r}"
            )
        return chosen

    def _info(self, interval: Interval) -> dict[str, Any]:
        """Return a fresh info: scores, and clinical values with the units that the environment's page
        gives."""
        return {
            "dose": interval.dose,
            "benefit": interval.benefit,
            "cost": interval.harm,
            "event": interval.event,
            "outcomes": {
                "days": interval.days,
                "mean": interval.mean,
                "highest": interval.highest,
                "lowest": interval.lowest,
            },
            "patient": self.treatment.ids.copy(),
        }
