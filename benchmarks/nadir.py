"""How well the nadir of the neutrophils after docetaxel is foreseen from counts of days 0, 3 and 6.

``python -m benchmarks.nadir [--patients N] [--particles K]``

Virtual patients of the docetaxel scenario receive 75 mg/m²; each has three counts, with the published residual
error. Printed are how often a 90 % interval holds the true nadir, the difference of P(nadir below 0.5: grade 4)
from a reference of 20,000 particles drawn from the prior and weighted, and the time a patient. Not for clinical
use.
"""

from __future__ import annotations

import time

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.agents.estimation import Courses, estimate, sample
from dosewright.agents.estimation.likelihood import log_likelihood
from dosewright.envs import Noise, PatientRecords, scenario
from dosewright.envs.pharmacology import Dose, simulate

Floats = NDArray[np.float64]
DAYS, LOOK = (0.0, 3.0, 6.0), np.arange(6, 22)
DOSE, GRADE_4 = 75.0, 0.5


def records(patients: int, seed: int) -> tuple[tuple[PatientRecords, ...], Floats]:
    """Return the records of virtual patients, and their true nadirs (n,) from day 6 on."""
    known, noise = scenario("docetaxel"), Noise("select", seed)
    drawn = known.population.draw(known.model, known.base, np.arange(patients), noise)
    rng, error = np.random.default_rng(seed), known.measurement.error
    found, nadirs = [], np.empty(patients)
    for i in range(patients):
        amount = DOSE * drawn.covariates["bsa_m2"][i]
        doses = [Dose(0.0, amount, 1.0, "infusion"), Dose(0.0, 1.0, 0.0, "premedication")]
        times = 24.0 * np.concatenate([DAYS, LOOK])
        count = simulate(known.model, drawn.theta[i], doses, times, ["ANC"])[0, :, 0]
        nadirs[i] = count[3:].min()
        seen = error.apply(count[:3], rng.normal(size=3))
        infused = known.model.states.index("A1") + 1
        released = known.model.states.index("In") + 1
        rows = len(DAYS) + 2
        covariates = {c.name: np.full(rows, drawn.covariates[c.name][i]) for c in known.model.covariates}
        found.append(
            PatientRecords.of(
                id=str(i),
                time=[0.0, 0.0, *(24.0 * day for day in DAYS)],
                evid=[1, 1, 0, 0, 0],
                amount=[amount, 1.0, np.nan, np.nan, np.nan],
                rate=[amount, 0.0, 0.0, 0.0, 0.0],
                compartment=[infused, released, 0, 0, 0],
                dv=[np.nan, np.nan, *seen],
                covariates=covariates,
            )
        )
    return tuple(found), nadirs


def course(patients: tuple[PatientRecords, ...]) -> Courses:
    """Return the courses of patients whose counts are the model's ANC."""
    return Courses.of(scenario("docetaxel").model, patients, outputs={0: "ANC"})
