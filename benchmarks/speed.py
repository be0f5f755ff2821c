"""How fast warfarin is, absolutely and as a ratio against a named alternative in the same run.

``python -m benchmarks.speed``; ``python -m benchmarks.drugs`` has every drug. Run it on a quiet machine; the
load is printed first.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import click
import numpy as np
from scipy.integrate import solve_ivp

from benchmarks.drugs import derivative, environment_rates, load, median_seconds
from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearningVectorEnv
from dosewright.envs import DosingVectorEnv, scenario
from dosewright.envs.pharmacology import simulate
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL, typical

_DAYS = 90


def report(name: str, work: float, unit: str, seconds: tuple[float, float, float]) -> float:
    """Print a rate and return it."""
    median, fastest, slowest = (work / value for value in seconds)
    print(f"{name:58s} {median:14,.0f} {unit} ({slowest:,.0f} to {fastest:,.0f})")
    return median


def simulator(patients: int, repeats: int) -> None:
    """Patient-days a second at 1e-6, beside a loop over SciPy's `solve_ivp`."""
    theta = np.repeat(
        typical({"age_y": 65, "baseline": 1.06}, {"cl_s_l_h": 0.348, "ec50_mg_l": 3.01}), patients, axis=0
    )
    doses = [(24.0 * day, 5.0) for day in range(_DAYS)]
    times = np.arange(_DAYS + 1) * 24.0
    ours = report(
        f"simulator, {_DAYS} days of warfarin, {patients:,} patients",
        patients * _DAYS,
        "patient-days/s",
        median_seconds(lambda: simulate(MODEL, theta, doses, times, ["INR"]), repeats),
    )
    slope, begin = derivative(MODEL), MODEL.initial(theta[:1])[0]
    arguments = theta[0], np.zeros((0, 0)), np.zeros(len(begin))
    entering = np.zeros(len(begin))
    entering[MODEL.states.index("A0")] = 2.5  # half of 5 mg of the racemate

    def loop() -> None:
        state = begin
        for _ in range(_DAYS):
            state = solve_ivp(
                slope, (0.0, 24.0), state + entering, method="DOP853", rtol=1e-7, atol=1e-9, args=arguments
            ).y[:, -1]

    theirs = report(
        "  SciPy solve_ivp (DOP853, rtol 1e-7), compiled equations",
        _DAYS,
        "patient-days/s",
        median_seconds(loop, min(repeats, 3)),
    )
    print(f"  ratio {ours / theirs:,.0f}")


def environment(realism: str, lanes: int, repeats: int) -> None:
    """Decision steps a second through the vector environment, beside the scalar one in a loop."""
    (median, slowest, fastest), scalar = environment_rates("warfarin", realism, lanes, repeats)
    name = f"vector environment, {lanes} lanes, {realism}"
    print(f"{name:58s} {median:14,.0f} steps/s ({slowest:,.0f} to {fastest:,.0f})")
    print(f"{'  the scalar environment in a loop':58s} {scalar:14,.0f} steps/s")
    print(f"  ratio {median / scalar:,.0f}")


def belief(particles: int, lanes: int, repeats: int) -> None:
    """Decision steps a second with the belief, beside the same environment without."""
    known = scenario("warfarin")
    features = BeliefFeatures(BeliefFilter(known, particles, 0.9))
    env = LearningVectorEnv(DosingVectorEnv("warfarin", lanes), features)
    env.reset(seed=1)
    nothing = np.zeros((lanes, 1), dtype=np.float32)

    def run() -> None:
        for _ in range(22):
            env.step(nothing)

    report(
        f"with belief, {particles} particles, {lanes} lanes, clinic",
        lanes * 22,
        "steps/s",
        median_seconds(run, repeats),
    )


def start_up(repeats: int) -> None:
    """Seconds of `dosewright --help`, beside the bare interpreter."""

    def command(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours = median_seconds(command("-m", "dosewright.scripts.cli", "--help"), repeats)[0]
    bare = median_seconds(command("-c", "pass"), repeats)[0]
    print(f"{'dosewright --help':58s} {ours:14.2f} s (bare Python {bare:.2f} s, ratio {ours / bare:.1f})")


@click.command()
@click.option("--patients", default=20_000, show_default=True, help="Patients simulated at once.")
@click.option("--lanes", default=256, show_default=True, help="Environments.")
@click.option("--repeats", default=7, show_default=True, help="Runs of which the median counts.")
def speed(patients: int, lanes: int, repeats: int) -> None:
    """Print everything."""
    print(f"{load()}; medians (slowest to fastest)")
    simulator(patients, repeats)
    for realism in ("textbook", "clinic"):
        environment(realism, lanes, repeats)
    for particles in (64, 128):
        belief(particles, lanes, repeats)
    start_up(repeats)


if __name__ == "__main__":
    speed()
