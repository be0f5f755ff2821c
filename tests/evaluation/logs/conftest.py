"""One log that has everything a log can have."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.logged import Trajectories


@pytest.fixture
def full() -> Callable[..., Trajectories]:
    """``full(n, horizon, seed, **changes)``: patients of unequal length, of all ways to stop."""

    def make(n: int = 40, horizon: int = 5, seed: int = 1, **changes: Any) -> Trajectories:
        rng = np.random.default_rng(seed)
        lengths = rng.integers(1, horizon + 1, n)
        lengths[0] = horizon
        mask = np.arange(horizon) < lengths[:, None]
        end = rng.integers(0, 3, n)
        log = Trajectories(
            observations=rng.normal(size=(n, horizon, 2)).astype(np.float32),
            actions=0.5 * rng.integers(0, 11, (n, horizon)),
            rewards=np.where(mask, rng.normal(size=mask.shape), 0.0),
            mask=mask,
            terminated=end == 0,
            truncated=end == 1,
            censored=end == 2,
            behaviour_log_prob=np.log(rng.uniform(0.1, 0.9, mask.shape)),
            outcomes={"bleed": np.where(mask, rng.integers(0, 2, mask.shape), 0.0)},
            strata={"sex": rng.choice(["f", "m"], n), "genotype": rng.integers(0, 3, n)},
            patients=rng.permutation(np.arange(100, 100 + n)),
            times=np.cumsum(rng.choice([3.5, 7.0], mask.shape), axis=1),
            observation_names=("inr", "age_y"),
            provenance={"scenario": "warfarin", "namespace": "select", "seed": 3},
        )
        return replace(log, **changes)

    return make


@pytest.fixture
def same() -> Callable[[Trajectories, Trajectories], None]:
    """``same(a, b)``: two logs are equal where decisions were made, in all that they say."""

    def check(a: Trajectories, b: Trajectories) -> None:
        assert a.content_hash == b.content_hash
        for name in ("mask", "terminated", "truncated", "censored", "rewards", "identifiers"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        for name in ("observations", "actions", "behaviour_log_prob", "times"):
            one, other = getattr(a, name), getattr(b, name)
            if one is None:
                assert other is None
            else:
                np.testing.assert_array_equal(one[a.mask], other[b.mask], err_msg=name)
        for name in ("outcomes", "strata"):
            one, other = ({k: v.tolist() for k, v in getattr(log, name).items()} for log in (a, b))
            assert one == other, name
        assert (a.propensity, a.step_length) == (b.propensity, b.step_length)
        assert a.observation_names == b.observation_names
        np.testing.assert_array_equal(a.dropped_out, b.dropped_out)

    return check
