"""Patients who respond to doses, as Gymnasium environments.

Importing this package registers one environment a drug, scalar and native vector::

    import gymnasium, dosewright.envs
    env = gymnasium.make("dosewright/Warfarin-v0", realism="clinic")
    envs = gymnasium.make_vec("dosewright/Warfarin-v0", num_envs=256)
"""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.vector import AutoresetMode

from dosewright.envs.cohort_table import RealCohort, read_cohort
from dosewright.envs.dosing import SCALAR_ENVIRONMENTS, DosingEnv
from dosewright.envs.genotypes import genotype_effects
from dosewright.envs.noise import NAMESPACES, Noise, Stream
from dosewright.envs.nonmem import read_nonmem, write_nonmem
from dosewright.envs.patients import Patients, Population, VirtualPopulation, individual_parameters
from dosewright.envs.realism import Randomisation
from dosewright.envs.records import PatientRecords, converted
from dosewright.envs.regimen import DrawKeys, Regimen, StochasticRegimen
from dosewright.envs.scenarios import Scenario, names, scenario
from dosewright.envs.treatment import Intake, Treatment
from dosewright.envs.vector import DosingVectorEnv


def _vector(
    drug: str, num_envs: int = 1, max_episode_steps: int | None = None, **arguments: Any
) -> DosingVectorEnv:
    """Entry point of `gymnasium.make_vec`, which passes `max_episode_steps` on; episodes end by
    themselves."""
    if max_episode_steps is not None:
        raise ValueError(
            f"max_episode_steps = {max_episode_steps}: an episode ends with the scenario's follow-up"
        )
    return DosingVectorEnv(drug, num_envs, **arguments)


def environment_id(drug: str) -> str:
    """Return the Gymnasium id of a drug's environment."""
    return f"dosewright/{drug.capitalize()}-v{scenario(drug).version}"


def _scalar(drug: str, **arguments: Any) -> DosingEnv:
    return SCALAR_ENVIRONMENTS[drug](drug, **arguments)


for _drug in SCALAR_ENVIRONMENTS:
    gymnasium.register(
        id=environment_id(_drug),
        entry_point=_scalar,
        vector_entry_point=_vector,
        kwargs={"drug": _drug},
    )

__all__ = [
    "NAMESPACES",
    "AutoresetMode",
    "DosingEnv",
    "DosingVectorEnv",
    "DrawKeys",
    "Intake",
    "Noise",
    "PatientRecords",
    "Patients",
    "Population",
    "Randomisation",
    "RealCohort",
    "Regimen",
    "Scenario",
    "StochasticRegimen",
    "Stream",
    "Treatment",
    "VirtualPopulation",
    "converted",
    "environment_id",
    "genotype_effects",
    "individual_parameters",
    "names",
    "read_cohort",
    "read_nonmem",
    "scenario",
    "write_nonmem",
]
