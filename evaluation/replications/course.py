"""Participants under one arm, day by day: who is asked for an INR when, what comes back, and what is given.

The trial's calendar is kept here, the rules of an arm are the regimen's that is handed in. Days count from 0,
the day of the first dose, which is study day 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Regimen, Scenario, Treatment
from dosewright.envs.observation import ObservationSpec
from dosewright.evaluation.replications.cohort import GENOTYPE_ENTRIES

Floats = NDArray[np.float64]


@runtime_checkable
class AsksForVisits(Protocol):
    """The state of a regimen that chooses visits itself.

    Attributes
    ----------
    next_visit : (n,) day on which it wants an INR besides those of the trial's calendar; infinite: none
    """

    @property
    def next_visit(self) -> Floats: ...


@dataclass(frozen=True, eq=False)
class Course:
    """n participants under one arm over d days.

    Attributes
    ----------
    measured : (n, d + 1) INR of the sample of each day, the end of follow-up included; NaN where none was
        drawn, or its result was lost. A result that came late is here on the day of its sample
    truth : (n, d + 1) latent INR of each day; NaN after drop-out
    wanted, given : (n, d) dose that the arm asked for, and the dose after cap and grid, mg; NaN after
        drop-out
    """

    measured: Floats
    truth: Floats
    wanted: Floats
    given: Floats


class _Laboratory:
    """Results of the samples that were asked for: in hand at once, a day late, or never."""

    def __init__(self, late: NDArray[np.bool_]) -> None:
        n = len(late)
        self._is_late = late
        self._newest, self._drawn = np.full(n, np.nan), np.zeros(n)
        self._pending = np.full(n, np.nan)

    def report(self, spec: ObservationSpec, vector: NDArray[np.float32], day: int, sample: Floats) -> None:
        """Write into `vector` what is known on the morning of a day on which `sample` (n,) was drawn, NaN
        where none was or it is lost."""
        late = self._is_late[:, day]
        prompt, older = np.where(late, np.nan, sample), self._pending
        self._pending = np.where(late, sample, np.nan)
        today = ~np.isnan(prompt)
        new = np.where(today, prompt, older)
        fresh = ~np.isnan(new)
        self._newest = np.where(fresh, new, self._newest)
        self._drawn = np.where(fresh, np.where(today, day, day - 1), self._drawn)
        beside = np.where(today, older, np.nan)
        age = np.where(np.isnan(self._newest), np.nan, day - self._drawn)
        late_age = np.where(np.isnan(beside), np.nan, 1.0)
        names = ("inr", "inr_age", "inr_new", "late_inr", "late_inr_age")
        spec.write_all(vector, names, np.stack([self._newest, age, fresh, beside, late_age], axis=1))


def follow(
    scenario: Scenario,
    regimen: Regimen,
    intake: Intake,
    inr_days: tuple[int, ...],
    days: int,
    genotype_known: Floats,
) -> Course:
    """Take participants through one arm.

    Parameters
    ----------
    scenario
        A decision every day (`trial_scenario`).
    regimen
        The arm. Where its state has a `next_visit`, samples are drawn on those days, too.
    intake
        The participants.
    inr_days
        Days on whose morning blood is drawn from everybody.
    days
        Length of follow-up; blood is drawn at its end, too.
    genotype_known : (n,) first day on which the genotype is in hand

    Raises
    ------
    ValueError
        For a scenario without a decision every day, follow-up beyond its horizon, or a dose that is missing
        or negative.
    """
    if scenario.calendar != tuple(range(scenario.horizon)) or days > scenario.horizon:
        raise ValueError(
            f"{scenario.title}: {days} days of decisions in units {scenario.calendar[:4]} and so on, of "
            f"{scenario.horizon}; a replication needs one every day, as trial_scenario makes it"
        )
    treatment = Treatment(scenario, intake)
    n = len(treatment)
    laboratory = _Laboratory(intake.life.late[:, :, 0])
    measured, wanted = np.full((n, days + 1), np.nan), np.full((n, days), np.nan)
    state: Any = None
    asked_for = np.full(n, np.inf)
    for day in range(days):
        drawn = treatment.active & ((day in inr_days) | (asked_for == day))
        measured[:, day] = np.where(drawn, treatment.measured[:, day], np.nan)
        observation = treatment.observe()
        laboratory.report(scenario.observation, observation, day, measured[:, day])
        _hide_genotype(scenario.observation, observation, day < genotype_known)
        dose, state = regimen.predict(observation, state, np.full(n, day == 0))
        wanted[treatment.active, day] = dose[treatment.active]
        treatment.give(dose)
        if isinstance(state, AsksForVisits):
            asked_for = state.next_visit
    measured[:, days] = treatment.measured[:, days]
    return Course(measured, treatment.truth[:, : days + 1], wanted, treatment.given[:, :days])


def _hide_genotype(spec: ObservationSpec, vector: NDArray[np.float32], unknown: NDArray[np.bool_]) -> None:
    if unknown.any():
        for name in GENOTYPE_ENTRIES:
            spec.write(vector, name, np.where(unknown, np.nan, spec.read(vector, name)))
