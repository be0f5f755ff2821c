"""How fast it is, absolutely and as a ratio against a named alternative in the same run.

``python -m benchmarks.speed``. Run it on a quiet machine; the load is printed first.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import gymnasium
import numpy as np
from scipy.integrate import solve_ivp

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefVectorEnv
from dosewright.envs import DosingVectorEnv, scenario
from dosewright.envs.pharmacology import simulate
from dosewright.envs.pharmacology.models.warfarin_hamberg2010 import MODEL, typical

_DAYS = 90
_REPEATS = 7


def median_seconds(run: Callable[[], object], repeats: int = _REPEATS) -> tuple[float, float, float]:
    """Return median, fastest and slowest of `repeats` runs after one that is not counted."""
    run()
    times = []
    for _ in range(repeats):
        begun = time.perf_counter()
        run()
        times.append(time.perf_counter() - begun)
    return statistics.median(times), min(times), max(times)


def report(name: str, work: float, unit: str, seconds: tuple[float, float, float]) -> float:
    """Print a rate and return it."""
    median, fastest, slowest = (work / value for value in seconds)
    print(f"{name:58s} {median:14,.0f} {unit} ({slowest:,.0f} to {fastest:,.0f})")
    return median


def simulator() -> None:
    """Patient-days a second at 1e-6, beside a loop over SciPy's `solve_ivp`."""
    n = 20_000
    theta = np.repeat(
        typical({"age_y": 65, "baseline": 1.06}, {"cl_s_l_h": 0.348, "ec50_mg_l": 3.01}), n, axis=0
    )
    doses = [(24.0 * day, 5.0) for day in range(_DAYS)]
    times = np.arange(_DAYS + 1) * 24.0
    ours = report(
        "simulator, 90 days of warfarin, 20,000 patients",
        n * _DAYS,
        "patient-days/s",
        median_seconds(lambda: simulate(MODEL, theta, doses, times, ["INR"])),
    )

    def loop() -> None:
        state = np.array(MODEL.initial)
        for _ in range(_DAYS):
            state = state.copy()
            state[MODEL.dose_state] += 5.0 * MODEL.dose_fraction
            solution = solve_ivp(
                lambda t, y: MODEL.rhs(t, y, theta[0]),
                (0.0, 24.0),
                state,
                method="DOP853",
                rtol=1e-7,
                atol=1e-9,
            )
            state = solution.y[:, -1]

    theirs = report(
        "  SciPy solve_ivp (DOP853, rtol 1e-7), a compiled model",
        _DAYS,
        "patient-days/s",
        median_seconds(loop, 3),
    )
    print(f"  ratio {ours / theirs:,.0f}")


def environment(realism: str) -> None:
    """Decision steps a second through the vector environment, beside SB3's bare loop needs."""
    lanes, steps = 256, 110
    env = gymnasium.make_vec("dosewright/Warfarin-v0", num_envs=lanes, realism=realism)
    env.reset(seed=1)
    action = np.full((lanes, 1), 5.0, dtype=np.float32)

    def run() -> None:
        for _ in range(steps):
            env.step(action)

    ours = report(
        f"vector environment, {lanes} lanes, {realism}", lanes * steps, "steps/s", median_seconds(run)
    )
    scalar = gymnasium.make("dosewright/Warfarin-v0", realism=realism).unwrapped
    scalar.reset(seed=1)

    def one_by_one() -> None:
        for _ in range(steps):
            _, _, terminated, truncated, _ = scalar.step(np.array([5.0], dtype=np.float32))
            if terminated or truncated:
                scalar.reset()

    theirs = report("  the scalar environment in a loop", steps, "steps/s", median_seconds(one_by_one, 3))
    print(f"  ratio {ours / theirs:,.0f}")


def belief(particles: int) -> None:
    """Decision steps a second with the belief, beside the same environment without."""
    lanes, known = 256, scenario("warfarin")
    env = BeliefVectorEnv(DosingVectorEnv("warfarin", lanes), BeliefFilter(known, particles, 0.9))
    env.reset(seed=1)
    nothing = np.zeros((lanes, 1), dtype=np.float32)

    def run() -> None:
        for _ in range(22):
            env.step(nothing)

    report(
        f"with belief, {particles} particles, {lanes} lanes, clinic",
        lanes * 22,
        "steps/s",
        median_seconds(run),
    )


def start_up() -> None:
    """Seconds of `dosewright --help`, beside the bare interpreter."""

    def command(*arguments: str) -> Callable[[], object]:
        return lambda: subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    ours = median_seconds(command("-m", "dosewright.scripts.cli", "--help"))[0]
    bare = median_seconds(command("-c", "pass"))[0]
    print(f"{'dosewright --help':58s} {ours:14.2f} s (bare Python {bare:.2f} s, ratio {ours / bare:.1f})")


def main() -> None:
    """Print everything."""
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores; medians (slowest to fastest)")
    simulator()
    for realism in ("textbook", "clinic"):
        environment(realism)
    for particles in (64, 128):
        belief(particles)
    start_up()


if __name__ == "__main__":
    main()
