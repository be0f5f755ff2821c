"""The states that a policy's own patients come to, and what its dose does there."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.explanation.choice import check_explainable, multiple, unit_dose
from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.learning.foresight import foreseen_scores
from dosewright.envs import Intake, Noise, Treatment
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.trial import BLOCK

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Visits:
    """r visits of patients that a policy treats, by patient and visit.

    Attributes
    ----------
    patient, visit : (r,) who, and the number of the decision, from 0
    features : (r, f) what the policy saw
    unit : (r,) dose that multiples are of, the anchor
    multiple : (r,) what the policy wanted, as a multiple of `unit`
    given, anchor_given : (r,) its dose and the anchor's, capped and rounded to the grid
    benefit, event : (r,) what its dose brings over the anchor's, as `foreseen_scores` counts
    """

    patient: NDArray[np.int64]
    visit: NDArray[np.int64]
    features: NDArray[np.float32]
    unit: Floats
    multiple: Floats
    given: Floats
    anchor_given: Floats
    benefit: Floats
    event: Floats

    def __len__(self) -> int:
        return len(self.visit)

    def take(self, rows: NDArray[np.int64] | NDArray[np.bool_]) -> Visits:
        """Return some of the visits."""
        return Visits(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def collect(
    policy: LearnedPolicy,
    ids: NDArray[np.int64],
    noise: Noise,
    realism: Realism,
    genotype: GenotypeMode,
    ahead: int,
) -> Visits:
    """Let a policy treat patients and return their visits.

    Parameters
    ----------
    policy
        Not recurrent.
    ids : (n,) patients of the scenario's population
    noise, realism, genotype
        Where they come from, what they live through, and what is shown of their genotype.
    ahead
        Units of the calendar over which a dose and the anchor's are compared, at least; from the next visit
        on both go on with the anchor as it is now.

    Raises
    ------
    ValueError
        For a recurrent policy.
    """
    check_explainable(policy)
    scenario, parts = policy.scenario, []
    for first in range(0, len(ids), BLOCK):
        some = ids[first : first + BLOCK]
        patients = scenario.population.draw(scenario.model, scenario.base, some, noise)
        treatment = Treatment(scenario, Intake.prepare(scenario, patients, noise, realism, genotype))
        parts += _course(policy, treatment, ahead)
    joined = Visits(
        **{
            field.name: np.concatenate([getattr(part, field.name) for part in parts])
            for field in fields(Visits)
        }
    )
    return joined.take(np.lexsort((joined.visit, joined.patient)))


def _course(policy: LearnedPolicy, treatment: Treatment, ahead: int) -> list[Visits]:
    """Take patients to the end of follow-up; one part a visit."""
    doses, memory, start, parts = policy.scenario.doses, None, np.ones(len(treatment), dtype=bool), []
    while treatment.active.any():
        observation = treatment.observe()
        memory = policy.inputs.update(memory, observation, start)
        features, anchor = policy.inputs(memory, observation)
        unit = unit_dose(policy, anchor)
        wanted = multiple(policy, features, unit)
        # where a treatment is left out, nothing is given whatever is wanted
        possible = treatment.action_masks()[:, -1]
        given, anchored = (np.where(possible, doses.snap(dose), 0.0) for dose in (wanted * unit, anchor))
        benefit, event = foreseen_scores(treatment, np.stack([given, anchored], axis=1), anchor, ahead)
        seen = Visits(
            patient=treatment.ids.copy(), visit=treatment.visit.copy(), features=features, unit=unit,
            multiple=wanted, given=given, anchor_given=anchored, benefit=benefit[:, 0] - benefit[:, 1],
            event=event[:, 0] - event[:, 1],
        )  # fmt: skip
        parts.append(seen.take(treatment.active))
        treatment.give(wanted * unit)
        start = np.zeros(len(treatment), dtype=bool)
    return parts
