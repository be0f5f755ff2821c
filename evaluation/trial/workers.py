"""Blocks of a trial on several cores.

A design does not travel: it is full of compiled models and functions. What a worker is sent is a recipe, an
importable function with its arguments, and it makes its own design of it. Which worker treats which block
changes no number, since nothing in a block depends on anything outside it.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import cache
from itertools import islice

import numba
import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.trial.block import Block, treat
from dosewright.evaluation.trial.design import TrialDesign

Recipe = Callable[[], TrialDesign]

_recipe: Recipe | None = None  # of this worker
_expected: Mapping[str, str] = {}  # what the trial's own design is described as


def treated_by_workers(
    recipe: Recipe, design: TrialDesign, parts: Mapping[int, NDArray[np.int64]], processes: int
) -> Generator[tuple[int, Block]]:
    """Yield the parts of a trial in the order in which they are finished.

    Workers are spawned, never forked, and share the threads that Numba has here. They end with the iterator
    and with this process, also where that is killed.

    Parameters
    ----------
    recipe
        Makes the same design in a worker.
    design
        The design, to compare with.
    parts : number -> (n,) patients, in the order in which they are begun

    Raises
    ------
    ValueError
        For a recipe that cannot be sent, or that makes another design; and as `treat`.
    """
    check_recipe(recipe)
    waiting, running = iter(parts.items()), dict[Future[Block], int]()
    executor = ProcessPoolExecutor(
        processes,
        multiprocessing.get_context("spawn"),
        _begin_process,
        (recipe, design.described(), max(1, numba.get_num_threads() // processes)),
    )
    try:
        while True:
            # one more than there are workers, so that none waits for its next
            for number, ids in islice(waiting, processes + 1 - len(running)):
                running[executor.submit(treat_in_worker, ids)] = number
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        executor.shutdown(cancel_futures=True)


def check_recipe(recipe: Recipe) -> None:
    """Refuse a recipe that cannot be sent to a worker."""
    try:
        pickle.dumps(recipe)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"recipe {recipe!r} cannot be sent to a worker ({error}); give a function that can be imported, "
            "its arguments bound with functools.partial"
        ) from None


def begin_worker(recipe: Recipe, expected: Mapping[str, str], threads: int) -> None:
    """Set up a worker: the recipe of its design, what that must be described as, and its threads."""
    global _recipe, _expected
    _recipe, _expected = recipe, expected
    numba.set_num_threads(threads)


def _begin_process(recipe: Recipe, expected: Mapping[str, str], threads: int) -> None:
    begin_worker(recipe, expected, threads)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C reaches every process: end without a traceback
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


@cache
def _design() -> TrialDesign:
    assert _recipe is not None
    design = _recipe()
    for part, words in design.described().items():
        if words != _expected.get(part):
            raise ValueError(
                f"recipe {_recipe!r} makes another design than the trial's: {part} is {words!r}, in the "
                f"trial {_expected.get(part)!r}; give the recipe that the design was made with"
            )
    return design


def treat_in_worker(ids: NDArray[np.int64]) -> Block:
    """Treat patients by the worker's own design."""
    return treat(_design(), ids)
