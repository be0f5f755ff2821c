"""A virtual trial: every arm treats the same patients, who meet the same errors, missed doses and drift.

The arms are given to it; it does not know how any of them was made.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numba
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs import Noise, Population, RealCohort, Regimen, Scenario
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.trial.block import Block, treat
from dosewright.evaluation.trial.design import TrialDesign
from dosewright.evaluation.trial.on_ray import treated_on_ray
from dosewright.evaluation.trial.precision import Precision, check_wanted, look
from dosewright.evaluation.trial.result import TrialResult
from dosewright.evaluation.trial.store import TrialStore
from dosewright.evaluation.trial.workers import Recipe, treated_by_workers
from dosewright.evaluation.worlds import HiddenShift

Progress = Callable[[str, int], None]
Backend = Literal["processes", "ray"]

BLOCK = 500  # patients treated together: bounds the memory, changes no number
BATCH = 1000  # patients added between two looks at the precision
# Seconds of work left from which workers pay. They save a quarter of it, and need five to eight to import and
# to load compiled kernels, more on a busy machine.
_WORTH = 60.0


def run_trial(
    scenario: Scenario,
    arms: Mapping[str, Regimen],
    population: Population,
    ids: ArrayLike,
    noise: Noise,
    realism: Realism,
    genotype: GenotypeMode = "diplotype",
    block: int = BLOCK,
    progress: Progress | None = None,
    world: HiddenShift | None = None,
) -> TrialResult:
    """Treat the same patients by every arm, here; `run_design` can do it in several processes.

    Parameters
    ----------
    scenario, arms, population, noise, realism, genotype, world
        As in `TrialDesign`.
    ids : (n,) int
        Patients of `population`, each once.
    block
        Patients simulated together; bounds the memory, does not change a number.
    progress
        Called with an arm and how many of its patients were just finished.

    Raises
    ------
    ValueError
        As `TrialDesign`; for fewer than two patients, one listed twice, or a dose that is missing or
        negative.
    """
    design = TrialDesign(scenario, arms, population, noise, realism, genotype, world)
    return run_design(design, ids, block=block, progress=progress)


def run_design(
    design: TrialDesign,
    ids: ArrayLike,
    *,
    recipe: Recipe | None = None,
    processes: int | None = None,
    backend: Backend = "processes",
    half_width: float | None = None,
    references: Sequence[str] = (),
    store: TrialStore | None = None,
    block: int = BLOCK,
    batch: int = BATCH,
    progress: Progress | None = None,
) -> TrialResult:
    """Treat the same patients by every arm: on several cores, until a precision is reached, resumable.

    No number depends on the processes, on the order in which blocks are finished, or on whether the trial was
    stopped in between.

    Parameters
    ----------
    design
        What is asked.
    ids : (n,) int
        Patients of the design's population, each once; with `half_width` the most that may be treated, in
        random order.
    recipe
        An importable function without arguments (bind them with `functools.partial`) that makes the same
        design in a worker; None: everything is done here. A program that gives one must be importable itself:
        ``if __name__ == "__main__":``.
    processes
        None: as many as Numba has threads (the cores), where the second block says that the rest takes longer
        than a minute, else one. The simulator uses all cores in one process as well, the belief is mostly
        NumPy on one: seven arms and 4000 patients of warfarin took 18.7 s in one process on two quiet cores
        and 21.9 s in two, eight of them start-up (`python -m benchmarks.trial`). A trial of rules alone is
        over before a worker is there. The first block is always treated here: it leaves compiled kernels to
        the workers.
    backend
        "processes": here, and in spawned processes. "ray": every block on Ray
        (`dosewright.evaluation.trial.on_ray`), on as many workers as `processes`, by default the cores; it
        needs the recipe.
    half_width, references
        Add patients until every other arm's paired difference of benefit from each of these arms has a 95 %
        interval of at most this half-width, a share. See `dosewright.evaluation.trial.precision`.
    store
        Where finished blocks are kept, and found again.
    block
        Patients simulated together; bounds the memory, does not change a number.
    batch
        Patients added between two looks at the precision, a multiple of `block`.
    progress
        Called with an arm and how many of its patients were just finished.

    Raises
    ------
    ValueError
        For fewer than two patients, one listed twice, a precision that means nothing, more than one process
        without a recipe, or a recipe of another design; and as `treat`.
    """
    chosen = _checked_patients(ids, block)
    if processes is not None and (processes < 1 or (processes > 1 and recipe is None)):
        raise ValueError(f"processes = {processes}; expected 1, or more with the recipe of the design")
    if backend == "ray" and recipe is None:
        raise ValueError("backend ray: give the recipe of the design, workers make their own")
    if half_width is not None:
        check_wanted(half_width, list(design.arms), references)
        if batch < 1 or batch % block:
            raise ValueError(f"batch = {batch}; expected a multiple of the block, {block} patients")
    started, clock = datetime.now(UTC), time.perf_counter()
    parts = [chosen[first : first + block] for first in range(0, len(chosen), block)]
    blocks = {} if store is None else store.blocks(parts)
    for done in blocks.values():
        _report(progress, done)
    looks = _Looks(half_width, references, batch // block, len(parts), len(chosen))
    left = {number: ids for number, ids in enumerate(parts) if number not in blocks}
    with closing(_treated(design, recipe, left, processes, backend, progress)) as treated:
        while (needed := looks.enough(blocks)) is None:
            number, found = next(treated)
            blocks[number] = found
            if store is not None:
                store.keep(number, found)
    everybody = Block.joined([blocks[number] for number in range(needed)])
    return _result(design, everybody, looks.precision, started, time.perf_counter() - clock)


class _Looks:
    """When a trial has enough patients."""

    def __init__(
        self, wanted: float | None, references: Sequence[str], step: int, blocks: int, patients: int
    ) -> None:
        self._wanted, self._references, self._step = wanted, references, step
        self._blocks, self._patients = blocks, patients
        self._next = blocks if wanted is None else min(step, blocks)
        self.precision: Precision | None = None

    def enough(self, blocks: Mapping[int, Block]) -> int | None:
        """Return how many of the leading blocks are enough; None while more are needed."""
        while all(number in blocks for number in range(self._next)):
            if self._wanted is not None:
                leading = [blocks[number].arms for number in range(self._next)]
                benefit = {
                    name: np.concatenate([arms[name].benefit for arms in leading]) for name in leading[0]
                }
                self.precision = look(self._wanted, self._references, benefit, self._patients)
            if self._next == self._blocks or (self.precision is not None and self.precision.reached):
                return self._next
            self._next = min(self._next + self._step, self._blocks)
        return None


def workers_wanted(asked: int | None, cores: int, seconds: Sequence[float], left: int) -> int:
    """Return how many processes should go on with a trial; 1: this one alone.

    Parameters
    ----------
    asked
        Processes asked for; None: as the time says.
    cores
        Processes at most, where none are asked for.
    seconds
        What each of the blocks treated here took; the first loads or compiles kernels.
    left
        Blocks left.
    """
    most = min(cores if asked is None else asked, left)
    if not seconds or most < 2:
        return 1
    if asked is None and (len(seconds) < 2 or seconds[-1] * left < _WORTH):
        return 1
    return most


def _treated(
    design: TrialDesign,
    recipe: Recipe | None,
    parts: Mapping[int, NDArray[np.int64]],
    processes: int | None,
    backend: Backend,
    progress: Progress | None,
) -> Generator[tuple[int, Block]]:
    """Yield the parts of a trial as they are finished, here or by workers."""
    left, seconds = dict(parts), list[float]()
    on_ray = backend == "ray"
    while left:
        cores = numba.get_num_threads()
        wanted = processes or cores if on_ray else workers_wanted(processes, cores, seconds, len(left))
        if recipe is not None and (on_ray or wanted > 1):
            by = treated_on_ray if on_ray else treated_by_workers
            with closing(by(recipe, design, left, wanted)) as treated:
                for number, found in treated:
                    _report(progress, found)
                    yield number, found
            return
        number = next(iter(left))
        clock = time.perf_counter()
        found = treat(design, left.pop(number), progress)
        seconds.append(time.perf_counter() - clock)
        yield number, found


def _report(progress: Progress | None, block: Block) -> None:
    if progress is not None:
        for name in block.arms:
            progress(name, len(block.ids))


def _result(
    design: TrialDesign, everybody: Block, precision: Precision | None, started: datetime, seconds: float
) -> TrialResult:
    population = design.population
    real = population if isinstance(population, RealCohort) else None
    return TrialResult(
        scenario=design.scenario,
        realism=design.realism.name,
        genotype=design.genotype,
        namespace=design.noise.namespace,
        seed=int(design.noise.seed),
        ids=everybody.ids,
        followed_days=next(iter(everybody.arms.values())).followed,
        covariates=everybody.covariates,
        genotypes=everybody.genotypes,
        labels=everybody.labels,
        substituted=everybody.substituted,
        source=str(getattr(population, "source", "population")) if real is None else Path(real.path).name,
        rows=None if real is None else real.rows,
        refused={} if real is None else real.reasons,
        arms=everybody.arms,
        provenance=provenance(started, seconds),
        precision=precision,
    )


def _checked_patients(ids: ArrayLike, block: int) -> NDArray[np.int64]:
    chosen = np.asarray(ids, dtype=np.int64)
    if chosen.ndim != 1 or len(chosen) < 2:
        raise ValueError(
            f"patients: shape {chosen.shape}; expected at least two identifiers, an interval needs them"
        )
    if len(np.unique(chosen)) < len(chosen):
        values, counts = np.unique(chosen, return_counts=True)
        raise ValueError(f"patient {values[counts > 1][0]} is listed twice; expected each identifier once")
    if block < 1:
        raise ValueError(f"block = {block}; expected a positive number of patients")
    return chosen
