"""One block of a trial's patients, treated by every arm, from enrolment to the end of follow-up.

What a block comes to depends on its own patients alone, so it can be treated anywhere, in any order, and
kept; joined in the order of the patients, blocks of any size are the same trial.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Regimen, Scenario, Treatment
from dosewright.envs.scenarios import Score
from dosewright.evaluation.outcomes import outcome_values
from dosewright.evaluation.trial.design import AttachedRegimen, TrialDesign
from dosewright.evaluation.trial.result import ArmResult, Flags, Floats

PER_PATIENT = (
    "benefit", "harm", "returns", "ever_harm", "first_harm", "doses", "measured", "truth", "followed",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Block:
    """Patients of a trial, and what every arm did to them.

    Attributes
    ----------
    ids : (n,) patients
    covariates, genotypes, labels : name -> (n,), as in `Patients`
    substituted
        Reading -> number of alleles that the model has no value for.
    arms
        Results by name.
    """

    ids: NDArray[np.int64]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]
    substituted: Mapping[str, int]
    arms: Mapping[str, ArmResult]

    @classmethod
    def joined(cls, blocks: Sequence[Block]) -> Block:
        """Return several blocks as one, their patients in the order given."""
        return cls(
            ids=np.concatenate([block.ids for block in blocks]),
            covariates=_join([block.covariates for block in blocks]),
            genotypes=_join([block.genotypes for block in blocks]),
            labels=_join([block.labels for block in blocks]),
            substituted=dict(sum((Counter(block.substituted) for block in blocks), Counter[str]())),
            arms={name: _join_arm([block.arms[name] for block in blocks]) for name in blocks[0].arms},
        )


def treat(
    design: TrialDesign, ids: NDArray[np.int64], progress: Callable[[str, int], None] | None = None
) -> Block:
    """Treat patients by every arm.

    Parameters
    ----------
    ids : (n,) patients of the design's population
    progress
        Called with an arm and the number of patients when it has finished with them.

    Raises
    ------
    ValueError
        For a dose that is missing or negative.
    """
    scenario = design.scenario
    patients = design.population.draw(scenario.model, scenario.base, ids, design.noise)
    intake = Intake.prepare(scenario, patients, design.noise, design.realism, design.genotype)
    if design.world is not None:
        intake = design.world.alter(scenario, intake, design.noise)
    arms: dict[str, ArmResult] = {}
    for name, regimen in design.arms.items():
        arms[name] = _course(name, regimen, scenario, intake)
        if progress is not None:
            progress(name, len(patients))
    return Block(
        patients.ids, patients.covariates, patients.genotypes, patients.labels, patients.substituted, arms
    )


def _course(name: str, regimen: Regimen, scenario: Scenario, intake: Intake) -> ArmResult:
    """Take the patients through one arm."""
    treatment = Treatment(scenario, intake)
    if isinstance(regimen, AttachedRegimen):
        regimen.attach(treatment)
    state, start = None, np.ones(len(treatment), dtype=bool)
    seconds, decisions = 0.0, 0
    while treatment.active.any():
        observation = treatment.observe()
        clock = time.perf_counter()
        dose, state = regimen.predict(observation, state, start)
        seconds += time.perf_counter() - clock
        decisions += int(treatment.active.sum())
        try:
            treatment.give(dose)
        except ValueError as error:
            raise ValueError(f"arm {name!r}, patients from {intake.patients.ids[0]} on: {error}") from error
        start = np.zeros(len(treatment), dtype=bool)
    return _arm_result(name, isinstance(regimen, AttachedRegimen), treatment, seconds, decisions)


def _arm_result(
    name: str, upper_bound: bool, treatment: Treatment, seconds: float, decisions: int
) -> ArmResult:
    scenario, responses, measured = treatment.scenario, treatment.responses, treatment.measured
    followed = ~np.isnan(treatment.benefit)
    # units that score, of those followed: all of them in most scenarios
    counted = scenario.scored * followed.sum(axis=1) / scenario.horizon
    benefit, harm = (np.nansum(values, axis=1) / counted for values in (treatment.benefit, treatment.harm))
    after = {key: values[:, 1:] for key, values in responses.items()}
    first_harm = scenario.event.first(after, followed)
    return ArmResult(
        name=name,
        upper_bound=upper_bound,
        outcomes={
            o.name: _scored(o.score, after, followed)
            if o.score is not None
            else outcome_values(
                o, responses[o.response or scenario.output], treatment.measured, scenario.days
            )
            for o in scenario.outcomes
        },
        benefit=benefit,
        harm=harm,
        returns=benefit - scenario.weight * harm,
        ever_harm=~np.isnan(first_harm),
        first_harm=first_harm,
        doses=treatment.given,
        measured=measured,
        truth=treatment.truth.astype(np.float32),
        followed=followed.sum(axis=1),
        seconds=seconds,
        decisions=decisions,
    )


def _scored(score: Score, responses: Mapping[str, Floats], followed: Flags) -> Floats:
    """Return (n,) the mean of a score over the followed units."""
    values = np.where(followed, score.of(responses, np.arange(followed.shape[1])), 0.0)
    return values.sum(axis=1) / np.maximum(followed.sum(axis=1), 1)


def _join(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _join_arm(parts: Sequence[ArmResult]) -> ArmResult:
    return ArmResult(
        name=parts[0].name,
        upper_bound=parts[0].upper_bound,
        outcomes=_join([part.outcomes for part in parts]),
        **{key: np.concatenate([getattr(part, key) for part in parts]) for key in PER_PATIENT},
        seconds=sum(part.seconds for part in parts),
        decisions=sum(part.decisions for part in parts),
    )
