"""Standardisation of what a network sees."""

from __future__ import annotations

import numpy as np
import pytest

from dosewright.agents.learning import Scaling


def test_scaling_standardises_and_only_centres_what_never_varies() -> None:
    features = np.random.default_rng(0).normal(3, 2, (5000, 3)).astype(np.float32)
    features[:, 2] = 7.0
    scaled = Scaling.fit(features).apply(features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-5)
    assert np.abs(Scaling.fit(features).apply(features * 1000)).max() == 10.0


@pytest.mark.parametrize("constant", [7.0, 0.1, 1 / 3, 0.2857143])
def test_what_never_varied_is_seen_in_its_own_unit_not_in_that_of_rounding(constant: float) -> None:
    # in single precision the SD of so many times 0.1 comes out as 0.00027
    features = np.random.default_rng(0).normal(3, 2, (300_000, 2)).astype(np.float32)
    features[:, 1] = constant
    scaling = Scaling.fit(features)
    assert scaling.sd[1] == 1.0 and scaling.mean[1] == np.float32(constant)
    # another value later, such as of another visit interval, is as far away as it is
    assert scaling.apply(features[:1] + np.float32(0.5))[0, 1] == pytest.approx(0.5, abs=1e-6)


def test_the_first_columns_are_standardised_as_before() -> None:
    features = np.random.default_rng(0).normal(3, 2, (500, 4)).astype(np.float32)
    whole = Scaling.fit(features)
    np.testing.assert_array_equal(whole.of(3).apply(features[:, :3]), whole.apply(features)[:, :3])
