"""How many streamed events are stored and believed a second, and how long a patient waits for a dose.

``python -m benchmarks.serving [--patients N] [--particles K]``

Two measurements of live dosing of warfarin. (a) Events a second from lines of JSON to stored events and
beliefs that are up to date, in batches, beside the same without beliefs. (b) The time from one event that
asks to its answer, on the disk, in a store of many patients, none of whom was believed since the service
began. Run it on a quiet machine; the load is printed first. Research simulation, not for clinical use.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from dosewright.agents.refinement.dosing import Dosing
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.serve import Service
from dosewright.agents.refinement.shield import Limits
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.agents.refinement.sources import Batch, Record
from dosewright.agents.refinement.store import Store
from dosewright.envs import Noise, Scenario, scenario
from dosewright.evaluation.worlds import world

SIMULATED = 500
"""Patients who are simulated; more are copies of them under other names."""
_DOSE = 5.0  # mg a day, for everybody
_VISIT = 6  # number of the visit that is waited for


def dosing(known: Scenario, particles: int) -> Dosing:
    """Return Bayesian monitoring with a belief of so many particles, inside a shield that lets it dose."""
    nothing = np.zeros(0)
    limits = Limits(known.doses.maximum, 4.6, 0.2, 3, (), nothing, nothing)
    return Dosing(known, limits, "benchmark", particles=particles)


def streamed(known: Scenario, patients: int) -> list[Event]:
    """Return the events of a clinic in the order in which they come."""
    quiet = world("none", known)
    return SimulatedClinic(known, known.preset("clinic"), quiet, Noise("select", 0), patients).under(_DOSE)


def batches(events: Sequence[Event], size: int) -> list[Batch]:
    """Return events as a source gives them."""
    lines = [Record(event.as_json().encode(), f"line {i}") for i, event in enumerate(events, 1)]
    firsts = range(0, len(lines), size)
    return [Batch(tuple(lines[first : first + size]), str(first)) for first in firsts]


def throughput(path: Path, known: Scenario, parts: Sequence[Batch], particles: int, believed: bool) -> float:
    """Return the events a second that are read, checked, stored, and `believed` or not."""
    with Store.open(path, known.name, known.version) as store:
        service = Service(store, known, dosing(known, particles))
        clock, count = time.perf_counter(), 0
        for batch in parts:
            events, refused = service.understand(batch)
            new = store.append(events, refused, "stream", batch.position).new
            if believed:
                service.ward.take(event for _, event in new)
            count += len(new)
        return count / (time.perf_counter() - clock)


def filled(path: Path, known: Scenario, patients: int, size: int) -> list[Event]:
    """Store patients up to a visit; return the events that ask there."""
    of: dict[str, list[Event]] = {}
    for event in streamed(known, min(SIMULATED, patients)):
        of.setdefault(event.patient, []).append(event)
    whole = [mine for mine in of.values() if sum(event.kind == "visit" for event in mine) > _VISIT]
    asking: list[Event] = []
    with Store.open(path, known.name, known.version) as store:
        some: list[Event] = []
        for number in range(patients):
            mine = whole[number % len(whole)]
            asks = [i for i, event in enumerate(mine) if event.kind == "visit"][_VISIT]
            renamed = [
                event.model_copy(update={"patient": f"p{number}", "id": f"{number} {event.id}"})
                for event in mine[: asks + 1]
            ]
            asking.append(renamed.pop())
            some += renamed
            if len(some) >= size or number == patients - 1:
                store.append(some)
                some = []
    return asking


def latencies(
    path: Path, known: Scenario, asking: Sequence[Event], particles: int
) -> tuple[float, NDArray[np.float64]]:
    """Return the seconds to open a store, and (n,) those from each event that asks to its answer."""
    with Store.open(path, known.name, known.version) as store:
        clock = time.perf_counter()
        service = Service(store, known, dosing(known, particles))
        opened = time.perf_counter() - clock
        took = np.zeros(len(asking))
        for i, batch in enumerate(batches(asking, 1)):
            clock = time.perf_counter()
            answers = service.take(batch, "stream").answers
            took[i] = time.perf_counter() - clock
            if len(answers) != 1:
                raise RuntimeError(f"{asking[i].id}: {len(answers)} answers; expected one")
    return opened, took


@click.command()
@click.option("--patients", type=click.IntRange(100), default=10_000, show_default=True, help="In the store.")
@click.option("--asking", type=click.IntRange(20), default=1000, show_default=True, help="Events answered.")
@click.option("--particles", type=click.IntRange(2), default=64, show_default=True)
@click.option("--size", type=click.IntRange(1), default=500, show_default=True, help="Events of a batch.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
def main(patients: int, asking: int, particles: int, size: int, repeats: int) -> None:
    """Print both."""
    known = scenario("warfarin")
    print(f"{os.cpu_count()} cores, load {', '.join(f'{load:.1f}' for load in os.getloadavg())}")
    parts = batches(streamed(known, SIMULATED), size)
    events = sum(len(batch.records) for batch in parts)
    rates: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as folder:
        # compiles, and reads what was compiled
        throughput(Path(folder) / "first.db", known, parts[:2], particles, True)
        for repeat in range(repeats):
            for believed, found in rates.items():
                path = Path(folder) / f"{repeat}-{believed}.db"
                found.append(throughput(path, known, parts, particles, believed))
        for believed, name in ((True, f"stored and believed, {particles} particles"), (False, "stored only")):
            found = rates[believed]
            print(
                f"{name:40s}{np.median(found):10,.0f} events/s ({min(found):,.0f} to {max(found):,.0f}; "
                f"{events:,} events, batches of {size})"
            )
        print(f"  ratio {np.median(rates[True]) / np.median(rates[False]):.2f}")
        path = Path(folder) / "many.db"
        waiting = filled(path, known, patients, size)
        rng = np.random.default_rng(0)
        chosen = [waiting[i] for i in rng.permutation(len(waiting))[:asking]]
        opened, took = latencies(path, known, chosen, particles)
    p50, p99 = 1000 * np.quantile(took, (0.5, 0.99))
    print(
        f"one event answered, {patients:,} patients    p50 {p50:.1f} ms, p99 {p99:.1f} ms, most "
        f"{1000 * took.max():.1f} ms ({len(took):,} events; opened in {opened:.1f} s)"
    )


if __name__ == "__main__":
    main()
