"""How well the nadir of the neutrophils after docetaxel is foreseen from counts of days 0, 3 and 6.

``python -m benchmarks.nadir [--patients N] [--particles K] [--compared N]``

Virtual patients of the docetaxel scenario receive 75 mg/m²; each has three counts, with the published
residual error. Printed are how often a 90 % interval holds the true nadir, how far P(nadir below 0.5: grade
4) is from a reference of 20,000 particles, half of them from the prior, and the time a patient beside that of
plain weighting: 20,000 particles of the prior. The reference takes seconds a patient: the first 60 have one
unless ``--compared`` says otherwise. Exit code 1 where the coverage is outside 87 to 93 %, or a probability
differs by more than 0.02. Not for clinical use.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import click
import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Courses, MapFit, WeightedEffects, estimate
from dosewright.agents.estimation.mixture import FREEDOM, Mixture, quasi_random
from dosewright.agents.estimation.particles import recorded_likelihood
from dosewright.agents.estimation.surface import Surface, learn
from dosewright.envs import Noise, PatientRecords, scenario
from dosewright.envs.pharmacology import Dose, simulate

Floats = NDArray[np.float64]
T = TypeVar("T")
DAYS, LOOK = (0.0, 3.0, 6.0), np.arange(6, 22)
DOSE, GRADE_4 = 75.0, 0.5
COVERED, WITHIN = (0.87, 0.93), 0.02
REFERENCE = 20_000


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


def log_nadir(outputs: Floats) -> Floats:
    """Return the logarithm of the lowest count (n, k) of outputs (n, k, t, 1)."""
    with np.errstate(divide="ignore"):
        return np.log(outputs[..., 0].min(axis=2))


def foresee(fit: MapFit, particles: int, seed: int = 0) -> Surface:
    """Return the logarithm of the nadir from day 6 on."""
    return learn(fit, log_nadir, 24.0 * LOOK, ["ANC"], particles=particles, seed=seed)


def reference(
    fit: MapFit, patients: int, particles: int, share: float, seed: int = 1
) -> tuple[Floats, Floats]:
    """Return P(grade 4) and effective sizes (n,) of weighted particles of the first n patients.

    A share of them comes from the prior, the others from a t density at the MAP estimate. One patient at a
    time: none is to wait for the memory of the others.
    """
    courses, n, d = fit.courses, patients, fit.eta.shape[1]
    u = quasi_random(1 << (particles - 1).bit_length(), d + 2, seed)[:particles]
    grade_4, size = np.empty(n), np.empty(n)
    for i in range(n):
        one = courses.select([i])
        factor = np.asarray(np.linalg.cholesky(fit.covariance[[i], None]), dtype=np.float64)
        near = Mixture(np.ones((1, 1)), fit.eta[i, None, None], factor, np.array([FREEDOM]))
        prior = Mixture.normal(1, np.zeros(d), courses.omega)
        mixture = prior if share == 1 else Mixture.joined([(share, prior), (1.0 - share, near)])
        eta = mixture.at(u)
        seen, drawn_from = recorded_likelihood(one, eta), mixture.log_density(eta)
        drawn = WeightedEffects(np.zeros(d), courses.omega, eta, seen, drawn_from, np.zeros(1))
        nadir = log_nadir(one.simulate(eta, (), 24.0 * LOOK, ["ANC"]))
        grade_4[i], size[i] = drawn.probability(nadir < np.log(GRADE_4))[0], drawn.effective_size[0]
    return grade_4, size


def covered(surface: Surface, nadirs: Floats) -> float:
    """Return the share of true nadirs (n,) inside the 90 % intervals."""
    inside = (np.log(nadirs) > surface.quantile(0.05)) & (np.log(nadirs) < surface.quantile(0.95))
    return float(inside.mean())


def timed(patients: int, work: Callable[[], T]) -> tuple[T, Floats]:
    """Return a result, and wall and processor time in ms a patient."""
    begin = np.array([time.perf_counter(), time.process_time()])
    found = work()
    return found, 1e3 * (np.array([time.perf_counter(), time.process_time()]) - begin) / patients


@click.command()
@click.option("--patients", type=click.IntRange(1), default=500, show_default=True)
@click.option("--particles", type=click.IntRange(16), default=64, show_default=True, help="A power of two.")
@click.option(
    "--compared", type=click.IntRange(1), default=60, show_default=True,
    help="Patients with a reference, which takes seconds each.",
)  # fmt: skip
@click.option(
    "--plain", type=click.IntRange(1), default=3, show_default=True, help="Patients weighted plainly."
)
@click.option("--draws", type=click.IntRange(100), default=REFERENCE, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the patients.")
def main(patients: int, particles: int, compared: int, plain: int, draws: int, seed: int) -> None:
    """Print coverage, differences and times."""
    people, nadirs = records(patients, seed)
    courses = course(people)
    foresee(estimate(courses.select([0])), particles)  # compile
    fit, first = timed(patients, lambda: estimate(courses))
    surface, second = timed(patients, lambda: foresee(fit, particles))
    asked, second_asked = timed(patients, lambda: surface.probability_below(np.log(GRADE_4)))
    share = covered(surface, nadirs)
    truth, size = reference(fit, min(compared, patients), draws, 0.5)
    few = min(plain, patients)
    (_, plain_size), third = timed(few, lambda: reference(fit, few, draws, 1.0))
    off = np.abs(asked[: len(truth)] - truth)
    total = first + second + second_asked
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    print(f"{patients} patients, {particles} particles; a surface fits {int(surface.fits.sum())}")
    print(f"90 % intervals cover {share:.1%}")
    print(
        f"P(grade 4) of {len(truth)} patients against {draws} particles (effective ≥ {size.min():.0f}): "
        f"max {off.max():.4f}, rms {np.sqrt(np.mean(off**2)):.4f}, "
        f"within {WITHIN}: {np.mean(off <= WITHIN):.1%}"
    )
    for name, (wall, cpu) in (("MAP", first), ("surface", second + second_asked), ("both", total)):
        print(f"{name:8s} {wall:9.1f} ms wall {cpu:9.1f} ms processor a patient")
    print(f"{'plain':8s} {third[0]:9.1f} ms wall {third[1]:9.1f} ms processor a patient (effective "
          f"≥ {plain_size.min():.0f}): {third[1] / total[1]:.0f} times the processor")  # fmt: skip
    sys.exit(int(not (COVERED[0] <= share <= COVERED[1] and off.max() <= WITHIN)))


if __name__ == "__main__":
    main()
