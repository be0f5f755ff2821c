"""How long a virtual trial takes, here and in several processes.

``python -m benchmarks.trial [--patients N] [--arms A,B,…] [--processes P]``

The same trial in one process and in several, in the same run: seconds in all, in `predict` (of arms that keep
a belief mostly its updates), and besides; then whether both came to the same, and the ratio. Processes count
from nothing: their start and imports are in it. Run it on a quiet machine; the load is printed first.
"""

from __future__ import annotations

import time
from functools import partial

import click
import numba
import numpy as np

from benchmarks.drugs import load
from dosewright.evaluation import TrialResult
from dosewright.evaluation.trial import run_design
from dosewright.scripts.trial_arms import design, labelled

ARMS = "label,guideline,clinical-nomogram,nomogram,bayesian-adaptive,policy,oracle"


def report(name: str, result: TrialResult, seconds: float, processes: int) -> None:
    """Print a line of seconds, and one of those of each arm that takes any."""
    inside = {arm.name: arm.seconds / processes for arm in result.arms.values()}
    total = sum(inside.values())
    print(f"{name:32s}{seconds:8.1f} s, {total:.1f} in predict, {max(seconds - total, 0.0):.1f} besides")
    print("  " + ", ".join(f"{arm} {spent:.1f}" for arm, spent in inside.items() if spent >= 0.05))


def same(first: TrialResult, second: TrialResult) -> bool:
    """Whether every number of every patient is the same."""
    return first.patient_table().equals(second.patient_table(), null_equal=True) and all(
        np.array_equal(arm.truth, second.arms[name].truth, equal_nan=True) for name, arm in first.arms.items()
    )


@click.command()
@click.option("--drug", default="warfarin", show_default=True)
@click.option("--arms", default=ARMS, show_default=True)
@click.option("--patients", type=click.IntRange(2), default=4000, show_default=True)
@click.option("--processes", type=click.IntRange(2), default=max(2, numba.get_num_threads()))
def trial(drug: str, arms: str, patients: int, processes: int) -> None:
    """Print both."""
    recipe = partial(design, drug, labelled(arms), 1, "clinic", "diplotype", None)
    asked, ids = recipe(), np.arange(patients)
    run_design(asked, ids[:2], processes=1)  # loads compiled kernels
    print(f"{load()}; {drug}, {len(asked.arms)} arms x {patients} patients")
    begun = time.perf_counter()
    alone = run_design(asked, ids, processes=1)
    middle = time.perf_counter()
    shared = run_design(asked, ids, recipe=recipe, processes=processes)
    end = time.perf_counter()
    report(f"one process, {numba.get_num_threads()} threads", alone, middle - begun, 1)
    report(f"{processes} processes", shared, end - middle, processes)
    print(f"same numbers: {'yes' if same(alone, shared) else 'NO'}; {load()}")
    print(f"ratio {(middle - begun) / (end - middle):.2f}")


if __name__ == "__main__":
    trial()
