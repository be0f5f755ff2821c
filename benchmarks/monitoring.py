"""What Bayesian monitoring gains over what clinics do, for every scenario.

``python -m benchmarks.monitoring [DRUG ...] [--patients N] [--realism clinic]``

Paired returns of the clinical rules, the best fixed dose, Bayesian monitoring and the planner (static and
adaptive), and the oracle, on the same patients of a namespace. Points are hundredths of return. Research
simulation, not for clinical use.
"""

from __future__ import annotations

import time

import click
import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens import FixedDose, Oracle, lacking, regimen
from dosewright.envs import Intake, Noise, Regimen, Scenario, Treatment, names, scenario

Floats = NDArray[np.float64]
RULES = ("label", "guideline", "clinical-nomogram", "nomogram", "pid")
BELIEVED = ("bayesian", "bayesian-adaptive", "planner", "planner-adaptive")


def returns(known: Scenario, arm: Regimen, intake: Intake) -> Floats:
    """Return (n,) the return of every patient under an arm."""
    treatment, state = Treatment(known, intake), None
    if isinstance(arm, Oracle):
        arm.attach(treatment)
    total = np.zeros(len(treatment))
    while treatment.active.any():
        dose, state = arm.predict(treatment.observe(), state)
        given = treatment.give(np.where(treatment.active, dose, 0.0))
        total += given.benefit - known.weight * given.harm
    return total


def best_fixed(known: Scenario, intake: Intake) -> tuple[float, Floats]:
    """Return the dose of the grid with the best mean return, and the returns (n,) under it."""
    tried = {dose: returns(known, FixedDose(known, dose), intake) for dose in known.doses.doses.tolist()}
    dose = max(tried, key=lambda item: float(tried[item].mean()))
    return dose, tried[dose]


@click.command()
@click.argument("drugs", nargs=-1)
@click.option("--patients", type=click.IntRange(10), default=1000, show_default=True)
@click.option("--realism", default="clinic", show_default=True)
@click.option("--namespace", default="trial", show_default=True)
@click.option("--arms", default=",".join((*RULES, *BELIEVED, "oracle")), show_default=True)
def main(drugs: tuple[str, ...], patients: int, realism: str, namespace: str, arms: str) -> None:
    """Print a block a scenario."""
    for name in drugs or names():
        known, noise = scenario(name), Noise(namespace, 0)
        drawn = known.population.draw(known.model, known.base, np.arange(patients), noise)
        intake = Intake.prepare(known, drawn, noise, known.preset(realism))
        found: dict[str, Floats] = {}
        dose, found["best fixed"] = best_fixed(known, intake)
        print(f"\n{name}, {realism}, {namespace}, {patients} patients")
        print(f"  best fixed dose {dose:g} {known.doses.unit}: {100 * found['best fixed'].mean():.1f}")
        for arm in arms.split(","):
            if arm not in lacking(known):
                begin = time.perf_counter()
                found[arm] = returns(known, regimen(arm, known), intake)
                took = time.perf_counter() - begin
                print(f"  {arm:20s}{100 * found[arm].mean():8.1f}  {took:6.1f} s", flush=True)
        monitored = [arm for arm in ("bayesian", "bayesian-adaptive") if arm in found]
        if not monitored:
            continue
        best = max(monitored, key=lambda arm: float(found[arm].mean()))
        for arm, values in found.items():
            if arm != best:
                difference = 100 * (found[best] - values)
                half = 1.96 * difference.std(ddof=1) / np.sqrt(patients)
                print(f"  {best} − {arm:20s}{difference.mean():8.2f} ± {half:.2f}")


if __name__ == "__main__":
    main()
