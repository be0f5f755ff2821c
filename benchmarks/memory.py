"""How much memory a million patients need when their course is streamed.

``python -m benchmarks.memory``: warfarin, 5 mg a day for 90 days, every output at the end of every day.
Patients are drawn and simulated block by block; only running sums are kept.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.drugs import load
from dosewright.envs import Noise, scenario
from dosewright.envs.pharmacology import stream

DAYS = 90
_DOSE_MG = 5.0
_DRAWN = 50_000  # patients whose parameters are held at a time
_GIB = 2**30
Floats = NDArray[np.float64]


def peak_gib() -> float:
    """Return the most memory that this process has had so far, as Linux counts it."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def parameters(patients: int, drawn: int = _DRAWN) -> Iterator[Floats]:
    """Yield the parameters (b, p) of the first virtual patients, block by block."""
    known, noise = scenario("warfarin"), Noise("trial", 1)
    for first in range(0, patients, drawn):
        ids = np.arange(first, min(first + drawn, patients))
        yield known.population.draw(known.model, known.base, ids, noise).theta


@dataclass
class Summary:
    """Running sums of the outputs on every day.

    Attributes
    ----------
    count
        Patients so far.
    total, squares : (days, k)
    """

    count: int = 0
    total: Floats = field(default_factory=lambda: np.zeros(0))
    squares: Floats = field(default_factory=lambda: np.zeros(0))

    def add(self, outputs: Floats) -> None:
        """Take in the outputs (b, days, k) of more patients."""
        if not self.count:
            self.total, self.squares = np.zeros(outputs.shape[1:]), np.zeros(outputs.shape[1:])
        self.count += len(outputs)
        self.total += outputs.sum(axis=0)
        self.squares += (outputs**2).sum(axis=0)

    @property
    def mean(self) -> Floats:
        """Mean (days, k)."""
        return self.total / self.count

    @property
    def sd(self) -> Floats:
        """Standard deviation (days, k)."""
        return np.sqrt(np.maximum(self.squares / self.count - self.mean**2, 0.0))


def summarise(patients: int, drawn: int = _DRAWN) -> Summary:
    """Stream the patients' course into a summary."""
    model, summary = scenario("warfarin").model, Summary()
    doses = [(24.0 * day, _DOSE_MG) for day in range(DAYS)]
    times = 24.0 * np.arange(1, DAYS + 1)
    for theta in parameters(patients, drawn):
        for _, outputs in stream(model, theta, doses, times):
            summary.add(outputs)
    return summary


@click.command()
@click.option("--patients", default=1_000_000, show_default=True, help="Virtual patients.")
def memory(patients: int) -> None:
    """Peak memory and time of many warfarin patients for 90 days."""
    click.echo(load())
    before, begun = peak_gib(), time.perf_counter()
    summary = summarise(patients)
    seconds = time.perf_counter() - begun
    known = scenario("warfarin")
    inr = known.model.output("INR")
    whole = patients * DAYS * len(known.model.outputs) * 8 / _GIB
    click.echo(f"{patients:,} patients, {DAYS} days, {len(known.model.outputs)} outputs: {seconds:.1f} s")
    click.echo(f"INR on day {DAYS}: mean {summary.mean[-1, inr]:.4f}, SD {summary.sd[-1, inr]:.4f}")
    click.echo(
        f"peak resident memory {peak_gib():.2f} GiB ({before:.2f} before the first patient); "
        f"the outputs alone would be {whole:.2f} GiB unstreamed"
    )


if __name__ == "__main__":
    memory()
