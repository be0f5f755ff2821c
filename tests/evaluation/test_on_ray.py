"""A trial on Ray has the numbers of a trial in one process; without Ray it says what to install."""

from __future__ import annotations

import builtins
from functools import partial
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.trial import on_ray, run_design
from dosewright.scripts.trial_arms import design

ARMS = {"label": "label", "monitoring": "bayesian-adaptive", "policy": "policy"}
RECIPE = partial(design, "warfarin", ARMS, 1, "clinic", "diplotype", None)


@pytest.mark.oracles
def test_two_workers_on_ray_give_the_numbers_of_one_process() -> None:
    pytest.importorskip("ray")
    ids = np.arange(60)
    here = run_design(RECIPE(), ids, block=20)
    there = run_design(RECIPE(), ids, recipe=RECIPE, block=20, backend="ray", processes=2)
    assert there.patient_table().equals(here.patient_table(), null_equal=True)
    for name in ARMS:
        np.testing.assert_array_equal(there.arm(name).truth, here.arm(name).truth)


def test_a_cluster_is_joined_and_otherwise_this_machine_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # Ray refuses num_cpus for a cluster that is there, and without an address joins any that runs here
    asked: dict[str, Any] = {}

    class Ray:
        exceptions = None
        is_initialized = staticmethod(lambda: False)
        shutdown = staticmethod(lambda: None)

        @staticmethod
        def init(**options: Any) -> None:
            asked.clear()
            asked.update(options)
            raise ConnectionError

    monkeypatch.setattr(on_ray, "_ray", Ray)
    for address, expected in (
        ("10.0.0.1:6379", {"address": "10.0.0.1:6379"}),
        ("", {"address": "local", "num_cpus": 2}),
    ):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(ConnectionError):
            run_design(RECIPE(), np.arange(4), recipe=RECIPE, backend="ray", processes=2)
        kept = {key: asked[key] for key in ("address", "num_cpus") if key in asked}
        assert kept == expected


def test_ray_needs_a_recipe() -> None:
    with pytest.raises(ValueError, match="backend ray: give the recipe"):
        run_design(RECIPE(), np.arange(4), backend="ray")


def test_without_ray_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "ray":
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ValueError, match=r'pip install "dosewright\[ray\]"'):
        run_design(RECIPE(), np.arange(4), recipe=RECIPE, backend="ray")
