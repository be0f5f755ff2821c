"""Is the belief calibrated? Simulation-based calibration and predictive coverage, for every scenario.

``python -m benchmarks.calibration [DRUG ...] [--patients N] [--particles K] [--fine K]``

Patients are drawn from the scenario's population, treated by the clinic's rule in `textbook`, and believed
from what is observed alone. If the filter computes the posterior, then the rank of the true parameter among
the particles is uniform over patients (Talts 2018, arXiv:1804.06788), whatever was observed, and a 90 %
predictive interval holds 90 % of the next results. Exit code 1 where the ranks of an unknown are not uniform
(χ² over ten bins, Holm over the unknowns of a scenario, p ≤ 0.01) or the coverage is outside 87 to 93 %.
"""

from __future__ import annotations

import sys
import time

import click
import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from scipy.stats import chisquare

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.estimation.likelihood import residual_variance
from dosewright.agents.estimation.prior import names as unknown_names
from dosewright.agents.estimation.prior import unknowns
from dosewright.agents.regimens import regimen
from dosewright.envs import Intake, Noise, Scenario, Treatment, names, scenario

Floats = NDArray[np.float64]
BINS, LEVEL, COVERED = 10, 0.01, (0.87, 0.93)
BLOCK = 10  # patients who share points: steps that all shared would look like ranks that are not uniform


def ranks(belief: Belief, truth: Floats) -> Floats:
    """Return (n, d) the weight of the particles below the true unknowns (n, d)."""
    below = (belief.x < truth[:, None]) + 0.5 * (belief.x == truth[:, None])
    return belief.mean(below.astype(np.float64))


def shares_below(kept: BeliefFilter, before: Belief, observation: NDArray[np.float32]) -> Floats:
    """Return the predictive probability (…,) below each result that comes in at a visit; of a result at the
    end of what can be shown the middle of its probability."""
    expected, arrived = kept.expect(before, observation)
    shares = []
    for i, item in enumerate(kept.scenario.measurements):
        rows, offsets = np.nonzero(~np.isnan(arrived[:, :, i]))
        value = arrived[rows, offsets, i]
        truth, weight = expected.predicted[rows, offsets, :, i], expected.weight[rows]
        apart = np.log(value[:, None] / truth) if item.error.log_sd else value[:, None] - truth
        z = apart / np.sqrt(residual_variance(item.error, truth))
        below = np.einsum("rk,rk->r", weight, ndtr(z))
        end = np.where(value <= 0, 0.5 * below, np.where(value >= item.high, 0.5 + 0.5 * below, below))
        shares.append(end)
    return np.concatenate(shares)


def p_values(rank: Floats) -> Floats:
    """Return the p (d,) of ranks (n, d) being uniform, by χ²."""
    counts = [np.histogram(column, BINS, (0.0, 1.0 + 1e-9))[0] for column in rank.T]
    return np.array([chisquare(count).pvalue for count in counts])


def calibrate(known: Scenario, patients: int, particles: int, seed: int, fine: int) -> tuple[Floats, Floats]:
    """Return ranks (n, d) of the true unknowns among `fine` particles at the end of follow-up, and the
    predictive probability below every result that came in."""
    noise = Noise("select", seed)
    drawn = known.population.draw(known.model, known.base, np.arange(patients), noise)
    intake = Intake.prepare(known, drawn, noise, known.preset("textbook"))
    treatment, kept = Treatment(known, intake), BeliefFilter(known, particles)
    rule, state, belief, shares = regimen("clinical-nomogram", known), None, None, []
    while True:
        observation = treatment.observe()
        if belief is not None:
            shares.append(shares_below(kept, belief, observation))
        belief = kept.step(belief, observation)
        if not treatment.active.any():
            break
        dose, state = rule.predict(observation, state)
        treatment.give(dose)
    truth = unknowns(known, intake.patients.theta)
    parts = [np.arange(first, min(first + BLOCK, patients)) for first in range(0, patients, BLOCK)]
    rank = [
        ranks(BeliefFilter(known, fine, seed=number).refine(belief.select(rows)), truth[rows])
        for number, rows in enumerate(parts)
    ]
    return np.concatenate(rank), np.concatenate(shares)


@click.command()
@click.argument("drugs", nargs=-1)
@click.option("--patients", type=click.IntRange(100), default=1000, show_default=True)
@click.option("--particles", type=click.IntRange(2), default=128, show_default=True)
@click.option("--fine", type=click.IntRange(2), default=256, show_default=True, help="Particles of a rank.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def main(drugs: tuple[str, ...], patients: int, particles: int, fine: int, seed: int) -> None:
    """Print one row a scenario."""
    failed = False
    print(f"{'scenario':16s}{'least p (Holm)':>15s}  {'of':18s}{'90 % covers':>12s}{'results':>9s}{'s':>7s}")
    for name in drugs or names():
        known, begin = scenario(name), time.perf_counter()
        rank, share = calibrate(known, patients, particles, seed, fine)
        p = p_values(rank)
        holm = float(min(1.0, p.min() * len(p)))
        covered = float(np.mean((share > 0.05) & (share < 0.95)))
        passed = holm > LEVEL and COVERED[0] <= covered <= COVERED[1]
        failed |= not passed
        print(
            f"{name:16s}{holm:15.3f}  {unknown_names(known)[int(p.argmin())]:18s}{covered:12.1%}"
            f"{len(share):9d}{time.perf_counter() - begin:7.0f}  {'ok' if passed else 'FAILED'}",
            flush=True,
        )
    sys.exit(int(failed))


if __name__ == "__main__":
    main()
