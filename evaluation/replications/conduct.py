"""Arms on the same participants, block by block."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Noise, Population, Regimen, Scenario
from dosewright.envs.realism import Realism
from dosewright.evaluation.replications.cohort import GENOTYPE_IN_TIME
from dosewright.evaluation.replications.control import IN_RANGE, Control, control, joined
from dosewright.evaluation.replications.course import Course, follow

Floats = NDArray[np.float64]
Progress = Callable[[str, int], None]

_BLOCK = 5000  # participants simulated together; bounds the memory, does not change a number


@dataclass(frozen=True, eq=False)
class Treated:
    """n participants, treated by every arm.

    Attributes
    ----------
    controls : arm -> how well they were anticoagulated
    genotypes : gene -> (n,) diplotypes
    third_dose : arm -> (n,) dose that the arm asked for on day 3, mg: the predicted daily dose where an arm
        does not load
    share_in_range : arm -> (d + 1,) share of those followed whose latent INR is in range, by day
    """

    controls: Mapping[str, Control]
    genotypes: Mapping[str, NDArray[np.str_]]
    third_dose: Mapping[str, Floats]
    share_in_range: Mapping[str, Floats]


def treat(
    scenario: Scenario,
    arms: Mapping[str, Regimen],
    inr_days: Mapping[str, tuple[int, ...]],
    window: tuple[int, int],
    population: Population,
    ids: NDArray[np.int64],
    noise: Noise,
    realism: Realism,
    progress: Progress | None = None,
) -> Treated:
    """Treat the same participants, who meet the same errors, missed doses and drift, by every arm.

    Parameters
    ----------
    scenario
        A decision every day (`trial_scenario`).
    arms, inr_days
        Regimens by name, and by the same names the days, counted from 0, on which blood is drawn.
    window
        Days, counted from 0, from which on time in range counts, and on which follow-up ends.
    population, ids : (n,), noise
        Who is treated.
    realism
        How messy the world is.
    progress
        Called with an arm and how many of its participants were just finished.
    """
    controls: dict[str, list[Control]] = {name: [] for name in arms}
    third: dict[str, list[Floats]] = {name: [] for name in arms}
    inside = {name: np.zeros((2, window[1] + 1)) for name in arms}
    genotypes: list[Mapping[str, NDArray[np.str_]]] = []
    for first in range(0, len(ids), _BLOCK):
        patients = population.draw(scenario.model, scenario.base, ids[first : first + _BLOCK], noise)
        intake = Intake.prepare(scenario, patients, noise, realism)
        # a genotype that is not known before the first dose is known before the second (ASSUMPTION)
        known = np.where(patients.covariates[GENOTYPE_IN_TIME] == 1, 0.0, 1.0)
        genotypes.append(patients.genotypes)
        for name, regimen in arms.items():
            course = follow(scenario, regimen, intake, inr_days[name], window[1], known)
            controls[name].append(control(course, window[0]))
            third[name].append(course.wanted[:, 2])
            inside[name] += _followed_in_range(course)
            if progress is not None:
                progress(name, len(patients))
    return Treated(
        controls={name: joined(parts) for name, parts in controls.items()},
        genotypes={gene: np.concatenate([part[gene] for part in genotypes]) for gene in genotypes[0]},
        third_dose={name: np.concatenate(parts) for name, parts in third.items()},
        share_in_range={name: counts[0] / counts[1] for name, counts in inside.items()},
    )


def _followed_in_range(course: Course) -> Floats:
    """Return (2, d + 1) numbers of participants in range, and followed, by day."""
    truth = course.truth
    return np.stack([IN_RANGE.contains(truth).sum(axis=0), (~np.isnan(truth)).sum(axis=0)]).astype(np.float64)


def checked_arms(given: Mapping[str, Regimen], wanted: Collection[str]) -> dict[str, Regimen]:
    """Return the arms in the order of the trial.

    Parameters
    ----------
    given
        Regimens by name.
    wanted
        Name of every arm that the trial has.

    Raises
    ------
    ValueError
        For an arm that is missing or that the trial does not have.
    """
    odd = sorted(set(given) ^ set(wanted))
    if odd:
        raise ValueError(f"arm {odd[0]!r} is missing, or no arm of this trial; expected {', '.join(wanted)}")
    return {name: given[name] for name in wanted}
