"""How fast off-policy evaluation is: estimators, resampling, linear fitted Q evaluation, a growing log.

``python -m benchmarks.off_policy``: CPU seconds on one core, 10,000 patients with 50 decisions. Estimators
stand beside their textbook formulas in plain NumPy, with linear weights and no care for patients who end or
for large weights. The load is printed first.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import ActionValues, importance_sampling, importance_weights, pdis, pdwis, wis
from dosewright.evaluation.ope.basis import Monomials
from dosewright.evaluation.ope.bootstrap import bca_interval, percentile_interval, ratios_of_pdwis, resample
from dosewright.evaluation.ope.doubly_robust import dr, wdr
from dosewright.evaluation.ope.fitted_q import fqe_per_step
from dosewright.evaluation.ope.stream import EstimateStream
from dosewright.evaluation.ope.target_doses import TargetDoses

Floats = NDArray[np.float64]
GAMMA = 0.99
_NORMAL = 1.959963984540054


def cpu_seconds(run: Callable[[], object], repeats: int) -> float:
    """Return the median CPU seconds of some runs after one that is not counted."""
    run()
    times: list[float] = []
    for _ in range(repeats):
        begun = time.process_time()
        run()
        times.append(time.process_time() - begun)
    return statistics.median(times)


def draw(patients: int, decisions: int, seed: int = 1) -> tuple[Trajectories, Floats, Floats, Floats]:
    """Return a log of a continuous dose, the target's mean doses and log-densities, and a model's values."""
    rng = np.random.default_rng(seed)
    shape = (patients, decisions)
    state = rng.normal(size=(*shape, 2))
    dose = 0.3 * state[..., 0] + rng.normal(size=shape)
    mean = 0.35 * state[..., 0]
    reward = state[..., 1] - dose**2 + rng.normal(size=shape)
    everybody = np.ones(patients, dtype=bool)
    log = Trajectories(
        observations=state,
        actions=dose,
        rewards=reward,
        mask=np.ones(shape, dtype=bool),
        terminated=everybody,
        truncated=~everybody,
        behaviour_log_prob=-0.5 * (dose - 0.3 * state[..., 0]) ** 2,
        propensity="density",
    )
    return log, mean, -0.5 * (dose - mean) ** 2, state[..., 1] - dose**2


def six_estimators(log: Trajectories, target: Floats, values: ActionValues) -> list[float]:
    """Every estimate with its interval, weights included."""
    weights = importance_weights(log, target)
    estimates = (
        importance_sampling(log, weights, GAMMA),
        wis(log, weights, GAMMA),
        pdis(log, weights, GAMMA),
        pdwis(log, weights, GAMMA),
        dr(log, weights, values, GAMMA),
        wdr(log, weights, values, GAMMA),
    )
    return [limit for each in estimates for limit in (each.value, each.interval().low, each.interval().high)]


def in_plain_numpy(log: Trajectories, target: Floats, values: ActionValues) -> list[float]:
    """The same estimates by their formulas, with normal intervals."""
    assert log.behaviour_log_prob is not None
    n, horizon = log.rewards.shape
    discount = GAMMA ** np.arange(horizon)
    weight = np.cumprod(np.exp(target - log.behaviour_log_prob), axis=1)
    share = weight / weight.sum(axis=0)
    before = np.hstack([np.ones((n, 1)), weight[:, :-1]])
    share_before = before / before.sum(axis=0)
    rewards, returns = discount * log.rewards, (discount * log.rewards).sum(axis=1)
    residual, value = discount * (log.rewards - values.q), discount * values.v
    found: list[float] = []
    for terms in (
        weight[:, -1] * returns,
        (weight * rewards).sum(axis=1),
        (weight * residual + before * value).sum(axis=1),
    ):
        mean, half = terms.mean(), _NORMAL * terms.std(ddof=1) / np.sqrt(n)
        found += [mean, mean - half, mean + half]
    for mean, influence in (
        (share[:, -1] @ returns, share[:, -1] * (returns - share[:, -1] @ returns)),
        ((share * rewards).sum(), (share * (rewards - (share * rewards).sum(axis=0))).sum(axis=1)),
        (
            (share * residual + share_before * value).sum(),
            (
                share * (residual - (share * residual).sum(axis=0))
                + share_before * (value - (share_before * value).sum(axis=0))
            ).sum(axis=1),
        ),
    ):
        half = _NORMAL * np.sqrt((influence**2).sum())
        found += [mean, mean - half, mean + half]
    return found


def stream(patients: int, decisions: int, appended: int, looks: int) -> tuple[float, float, float, float]:
    """Seconds of an append with a look at estimate and interval (median, slowest), of the batch, and error.

    One patient in ten is under treatment: each append brings their next decision and new patients.
    """
    rng = np.random.default_rng(1)
    length = np.where(rng.random(patients) < 0.1, rng.integers(1, decisions, patients), decisions)
    log_ratio, reward = 0.05 * rng.normal(size=(2, 2 * patients, decisions))
    course = np.repeat(np.arange(patients), length)
    step = np.concatenate([np.arange(last) for last in length])
    growing = EstimateStream(GAMMA)
    growing.append(course, step, log_ratio[course, step], reward[course, step], step == decisions - 1)
    length = np.concatenate([length, np.zeros(patients, dtype=np.int64)])
    entered, times = patients, []
    for _ in range(looks):
        waiting = np.flatnonzero(length[:entered] < decisions)
        seen = rng.choice(waiting, min(len(waiting), appended * 9 // 10), replace=False)
        new = np.arange(entered, entered + appended - len(seen))
        entered += len(new)
        who = np.concatenate([seen, new])
        now = length[who]
        begun = time.process_time()
        growing.append(who, now, log_ratio[who, now], reward[who, now], now == decisions - 1)
        found = growing.pdwis()
        found.interval()
        times.append(time.process_time() - begun)
        length[who] += 1
    mask = np.arange(decisions) < length[:entered, None]

    def batch() -> tuple[float, float]:
        log = Trajectories(
            observations=np.zeros((*mask.shape, 1)),
            actions=np.zeros(mask.shape),
            rewards=np.where(mask, reward[:entered], 0.0),
            mask=mask,
            terminated=mask[:, -1],
            truncated=~mask[:, -1],
            behaviour_log_prob=np.zeros(mask.shape),
            propensity="density",
        )
        whole = pdwis(log, importance_weights(log, log_ratio[:entered]), GAMMA)
        return whole.value, whole.standard_error

    found = growing.pdwis()
    again = batch()
    error = max(abs(found.value / again[0] - 1.0), abs(found.standard_error / again[1] - 1.0))
    return statistics.median(times), max(times), cpu_seconds(batch, 3), error


@click.command()
@click.option("--patients", default=10_000, show_default=True)
@click.option("--decisions", default=50, show_default=True)
@click.option("--repeats", default=9, show_default=True, help="Runs of which the median counts.")
def main(patients: int, decisions: int, repeats: int) -> None:
    """Print everything."""
    log, mean, target, q = draw(patients, decisions)
    values = ActionValues.of(log, q, q + 0.1)
    print(f"{load()}; {patients:,} patients, {decisions} decisions; median CPU seconds of {repeats} runs")
    ours = cpu_seconds(lambda: six_estimators(log, target, values), repeats)
    plain = cpu_seconds(lambda: in_plain_numpy(log, target, values), repeats)
    agreed = np.allclose(
        sorted(six_estimators(log, target, values)[::3]), sorted(in_plain_numpy(log, target, values)[::3])
    )
    print(
        f"six estimators with intervals {ours:.4f}; plain NumPy {plain:.4f}, ratio {ours / plain:.2f}, "
        f"values {'agree' if agreed else 'DIFFER'}"
    )
    described = ratios_of_pdwis(log, importance_weights(log, target), GAMMA)

    def bootstrap() -> None:
        replicates = resample(described, seed=1, resamples=2000)
        percentile_interval(described, replicates)
        bca_interval(described, replicates)

    print(f"2000 renormalising resamples of PDWIS {cpu_seconds(bootstrap, 3):.3f}")
    doses = TargetDoses.normal(log, mean, 1.0)
    basis = Monomials.of(log, degree=1)
    linear = cpu_seconds(lambda: fqe_per_step(log, doses, basis, GAMMA), 3)
    print(f"linear fitted Q evaluation, a fit each step {linear:.3f}")
    median, slowest, batch, error = stream(2 * patients, decisions, 1000, 30)
    print(
        f"stream: 1000 steps onto {2 * patients * decisions:,}, with estimate and interval, "
        f"{1000 * median:.2f} ms (slowest of 30 {1000 * slowest:.2f}); the batch {1000 * batch:.0f} ms, "
        f"ratio {batch / median:.0f}; relative difference {error:.0e}"
    )


if __name__ == "__main__":
    if os.environ.get("OMP_NUM_THREADS") != "1":  # read when NumPy is imported, so start anew
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.off_policy", *sys.argv[1:]],
            {**os.environ, **threads},
        )
    main()
