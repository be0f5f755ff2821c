"""What refinement comes to: the whole loop, once or again and again, in a world that nobody told it of.

``python -m benchmarks.refinement [DRUG] [--world NAME] [--loops N] [--fine-tune] [--out DIR]``

In every loop patients are streamed and dosed live; the population is refitted from all patients so far, the
policy is learned further in its simulator where that is asked for, and the candidate is judged and promoted,
or refused. Afterwards new virtual patients of the same world are treated by the first version, by every
version that was promoted, and by what was learned further in the last loop whether it was taken or not:
arms on the same patients, with paired intervals.

- ``--world half-dose --fine-tune`` has the arms frozen, refitted, and refitted and fine-tuned;
- ``--world none --loops 10 --fine-tune`` asks whether ten loops where nothing has changed do any harm.

Research simulation, not for clinical use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import click
import numpy as np

from benchmarks.drugs import load
from dosewright.agents.estimation.population import Refit
from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement.demonstration import StreamedClinic
from dosewright.agents.refinement.drift import Plan
from dosewright.agents.refinement.gate import Gate
from dosewright.agents.refinement.refiner import Candidate, Refiner, as_arm, begin, in_use
from dosewright.agents.refinement.registry import Registry
from dosewright.agents.refinement.serve import Service
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.usual import Rehearsal
from dosewright.envs import Noise, Regimen, scenario
from dosewright.evaluation.statistics import Interval
from dosewright.evaluation.trial import TrialResult, run_trial
from dosewright.evaluation.worlds import WORLDS, world

REFITTED, TUNED = "refitted", "fine-tuned"
FIRST_NEW = 100_000
"""Number of the first of the new patients: none of them was streamed."""


@dataclass(frozen=True)
class Loops:
    """How the loop is run.

    Attributes
    ----------
    refiner
        At work on a store and a registry.
    clinic
        Streams patients to it.
    patients, times
        Of each loop, and loops.
    fine_tune
        Whether the policy is learned further.
    folder
        Of the trainings.
    """

    refiner: Refiner
    clinic: StreamedClinic
    patients: int
    times: int
    fine_tune: bool
    folder: Path

    def run(self) -> Iterator[tuple[str, Regimen]]:
        """Run the loops, print what becomes of each, and yield arms by name."""
        for loop in range(1, self.times + 1):
            began = perf_counter()
            streamed = self.clinic.treat(self.patients)
            candidate = refitted = self.refiner.propose()
            arms = {f"{REFITTED} {loop}": refitted.policy}
            if self.fine_tune:
                candidate = self.refiner.learn_further(refitted, self.folder / f"training-{loop}")
                arms[f"{TUNED} {loop}"] = self._tuned(loop, refitted)
            verdict = self.refiner.judge(candidate)
            version = self.refiner.settle(candidate, verdict, f"loop {loop}")
            day, further = self.clinic.alarmed, candidate.learned_further
            words = (
                f"event in {100 * streamed.harmed.mean():.1f} % of {self.patients}",
                "no alarm so far" if day is None else f"alarm on day {day:.0f}",
                ", ".join(f"{name} {moved}" for name, moved in candidate.moved.items()),
                *(("policy learned further",) if further else ()),
                f"refused: {'; '.join(verdict.reasons)}" if version is None else f"promoted: {version.name}",
            )
            print(f"loop {loop} ({perf_counter() - began:.0f} s): " + "; ".join(words), flush=True)
            if version is not None:
                self.clinic.alarmed = None  # it spoke of the version before
            if version is not None or loop == self.times:
                scenario = candidate.scenario
                yield from ((name, as_arm(policy, scenario, name)) for name, policy in arms.items())

    def _tuned(self, loop: int, refitted: Candidate) -> LearnedPolicy:
        assert refitted.policy is not None
        learned = LearnedPolicy.load(self.folder / f"training-{loop}" / "policy")
        return learned.standing_on(refitted.policy.belief_filter)


def compared(result: TrialResult, first: str) -> None:
    """Print what new patients came to in every arm, and the differences to the first one."""
    label = result.scenario.event.label
    print(f"\n{len(result.ids)} new patients of the same world; differences to {first}, paired, 95 %")
    print(f"  {'':16s}{'return':>8s}  {'difference':26s}{label}")
    for arm in result.arms:
        returned, event = (result.estimate(arm, name).mean for name in ("return", "ever_harm"))
        gain, more = "", ""
        if arm != first:
            gain = _words(result.difference(arm, first, "return"), 1.0, 3)
            more = _words(result.difference(arm, first, "ever_harm"), 100.0, 1)
        print(f"  {arm:16s}{returned:8.3f}  {gain:26s}{100 * event:5.1f} %  {more}")
    for arm in result.arms:
        if arm.startswith(TUNED):
            refitted = arm.replace(TUNED, REFITTED)
            apart = _words(result.difference(arm, refitted, "return"), 1.0, 3)
            print(f"  return of {arm} less that of {refitted}: {apart}")


def _words(found: Interval, scale: float, digits: int) -> str:
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (found.mean, found.low, found.high))
    return f"{mean} ({low} to {high})"


@click.command()
@click.argument("drug", default="warfarin")
@click.option("--world", "where", type=click.Choice(list(WORLDS)), default="half-dose", show_default=True)
@click.option("--loops", type=click.IntRange(1), default=1, show_default=True)
@click.option("--patients", type=click.IntRange(10), default=300, show_default=True, help="Of each loop.")
@click.option("--pairs", type=click.IntRange(100), default=4000, show_default=True, help="Of each trial.")
@click.option("--new", type=click.IntRange(100), default=4000, show_default=True, help="Patients afterwards.")
@click.option("--fine-tune", is_flag=True, help="Learn the policy further in each loop.")
@click.option("--seed", default=1, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="New folder to keep it in.")
def main(
    drug: str,
    where: str,
    loops: int,
    patients: int,
    pairs: int,
    new: int,
    fine_tune: bool,
    seed: int,
    out: Path | None,
) -> None:
    """Run the loops and print the tables."""
    known = scenario(drug)
    hidden = world(where, known)
    if out is not None and out.exists():
        raise click.UsageError(f"--out {out}: exists already; name a new folder")
    print(f"{load()}; {drug}, world {where}: {hidden.words}; seed {seed}")
    with ExitStack() as stack:
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        registry = Registry(folder / "registry")
        rehearsal = Rehearsal(plan=Plan(patients=patients, runs=300), seed=seed)
        use = in_use(begin(registry, known, rehearsal), known)
        store = stack.enter_context(Store.open(folder / "events.db", drug, known.version))
        service = Service(store, known, use.dosing(seed), use.usual.spread)
        refiner = Refiner(service, registry, Refit(known), Gate(patients=pairs), rehearsal, seed)
        clinic = StreamedClinic(refiner, hidden, seed)
        arms = {"frozen": as_arm(use.policy, use.scenario, "frozen")}
        arms |= dict(Loops(refiner, clinic, patients, loops, fine_tune, folder).run())
        result = run_trial(
            known,
            arms,
            known.population,
            np.arange(FIRST_NEW, FIRST_NEW + new),
            Noise("trial", seed),
            known.preset("clinic"),
            world=hidden,
        )
        compared(result, "frozen")


if __name__ == "__main__":
    main()
