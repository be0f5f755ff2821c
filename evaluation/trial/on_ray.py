"""Blocks of a trial on Ray: on this machine, or on the cluster that ``RAY_ADDRESS`` names.

As with spawned workers a recipe travels, not the design, and which worker treats which block changes no
number. The package must be installed on every machine of a cluster.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from itertools import islice
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.trial.block import Block
from dosewright.evaluation.trial.design import TrialDesign
from dosewright.evaluation.trial.workers import Recipe, begin_worker, check_recipe, treat_in_worker


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise ValueError(
            'backend ray: Ray is not installed; pip install "dosewright[ray]", or leave --backend out'
        ) from None
    return ray


def treated_on_ray(
    recipe: Recipe, design: TrialDesign, parts: Mapping[int, NDArray[np.int64]], processes: int
) -> Generator[tuple[int, Block]]:
    """Yield the parts of a trial in the order in which they are finished.

    Parameters
    ----------
    recipe, design, parts
        As for `dosewright.evaluation.trial.workers.treated_by_workers`.
    processes
        Workers, at most as many as there are processors.

    Raises
    ------
    ValueError
        If Ray is not installed; for a recipe that cannot be sent, or that makes another design; and as
        `treat`.
    """
    check_recipe(recipe)
    ray = _ray()
    own = not ray.is_initialized()
    if own:
        cluster = os.environ.get("RAY_ADDRESS")
        # a cluster has processors of its own; without an address Ray would join any that runs here
        where = (
            {"address": cluster}
            if cluster
            else {"address": "local", "num_cpus": processes, "include_dashboard": False}
        )
        ray.init(**where, log_to_driver=False, logging_level="error")
    try:
        # a worker for whom there is no processor would be waited for for ever
        processes = max(1, min(processes, int(ray.cluster_resources().get("CPU", 1))))
        worker = ray.remote(num_cpus=1)(_Worker)
        threads = max(1, numba.get_num_threads() // processes)
        workers = [worker.remote(recipe, design.described(), threads) for _ in range(processes)]
        waiting, running = iter(parts.items()), dict[Any, tuple[int, Any]]()
        for free in workers:
            for number, ids in islice(waiting, 1):
                running[free.treat.remote(ids)] = number, free
        while running:
            (done, *_), _ = ray.wait(list(running), num_returns=1)
            number, free = running.pop(done)
            try:
                found = ray.get(done)
            except ray.exceptions.RayTaskError as error:
                raise error.cause if isinstance(error.cause, ValueError) else error from None
            for following, ids in islice(waiting, 1):
                running[free.treat.remote(ids)] = following, free
            yield number, found
    finally:
        if own:
            ray.shutdown()


class _Worker:
    """Treats blocks of one design."""

    def __init__(self, recipe: Recipe, expected: Mapping[str, str], threads: int) -> None:
        begin_worker(recipe, expected, threads)

    def treat(self, ids: NDArray[np.int64]) -> Block:
        return treat_in_worker(ids)
