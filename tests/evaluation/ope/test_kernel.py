"""Kernels around the dose of a deterministic target: densities, references, and the choice of a width."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import (
    ActionValues,
    importance_sampling,
    importance_weights,
    pdwis,
    wis,
)
from dosewright.evaluation.ope.doubly_robust import dr
from dosewright.evaluation.ope.kernel import Kernel, choose_bandwidth, kernel_log_prob

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "reference" / "ope"
KERNELS: tuple[Kernel, ...] = ("gaussian", "epanechnikov")


def bandit(n: int, seed: int = 0) -> tuple[Trajectories, np.ndarray, np.ndarray, np.ndarray]:
    """One decision: dose N(0, 1), response -(dose - 1)^2 + noise. Target: always 1/2, worth -1/4; with a
    Gaussian kernel of width h, -1/4 - h^2. Also the true response at the logged and at the target's dose."""
    rng = np.random.default_rng(seed)
    dose = rng.normal(size=(n, 1))
    one = np.ones((n, 1), dtype=bool)
    log = Trajectories(
        observations=np.zeros((n, 1, 1)), actions=dose, mask=one,
        rewards=-((dose - 1) ** 2) + rng.normal(0, 0.3, (n, 1)), terminated=one[:, 0], truncated=~one[:, 0],
        behaviour_log_prob=stats.norm.logpdf(dose), propensity="density",
    )  # fmt: skip
    return log, np.full((n, 1), 0.5), -((dose - 1) ** 2), np.full((n, 1), -0.25)


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_kernel_is_a_density(kernel: Kernel) -> None:
    log, target, _, _ = bandit(1)

    def density(dose: float) -> float:
        return float(np.exp(kernel_log_prob(replace(log, actions=[[dose]]), target, 0.7, kernel))[0, 0])

    total, spread = (
        integrate.quad(lambda x, power=power: (x - 0.5) ** power * density(x), -5, 6, points=[-0.2, 1.2])[0]
        for power in (0, 2)
    )
    assert total == pytest.approx(1.0, abs=1e-9)
    # variances h^2 and h^2 / 5
    assert spread == pytest.approx({"gaussian": 0.49, "epanechnikov": 0.49 / 5}[kernel], abs=1e-8)


def test_epanechnikov_gives_no_weight_beyond_its_width() -> None:
    log, target, _, _ = bandit(400)
    inside = np.abs(log.actions - target) < 0.3
    weight = kernel_log_prob(log, target, 0.3, "epanechnikov")
    np.testing.assert_array_equal(np.isfinite(weight), inside)


def test_a_gaussian_kernel_answers_for_the_blurred_target() -> None:
    log, target, at_logged, at_target = bandit(200_000)
    for h in (0.3, 0.6):
        weights = importance_weights(log, kernel_log_prob(log, target, h))
        blurred, se = -0.25 - h**2, pdwis(log, weights).standard_error
        assert abs(pdwis(log, weights).value - blurred) < 4 * se
        # the residual at the logged dose takes out what the width brings in, the one at the target's does not
        sharp = dr(log, weights, ActionValues.of(log, at_logged, at_target))
        blunt = dr(log, weights, ActionValues.of(log, at_target, at_target))
        assert abs(sharp.value - -0.25) < 4 * sharp.standard_error
        assert abs(blunt.value - blurred) < 4 * blunt.standard_error
        assert sharp.standard_error < blunt.standard_error


def test_the_chosen_width_is_neither_the_narrowest_nor_the_most_biased() -> None:
    log, target, _, _ = bandit(20_000)
    choice = choose_bandwidth(log, target, lambda weights: pdwis(log, weights), kernel="gaussian")
    assert choice.bandwidths[-1] == pytest.approx(np.std(log.actions - target))
    assert np.allclose(np.diff(np.log2(choice.bandwidths)), 1.0)
    assert (np.diff(choice.effective_sample_size) > 0)[:-1].all()
    assert (
        choice.estimate.value
        == pdwis(log, importance_weights(log, kernel_log_prob(log, target, choice.bandwidth))).value
    )
    assert 0 < choice.chosen < 6
    # bias h^2 is less than the two half-widths that are allowed for, and so is the error
    assert abs(choice.estimate.value + 0.25) < 6 * choice.estimate.standard_error + choice.bandwidth**2
    assert choice.bandwidth**2 < 4 * 2 * 1.96 * choice.estimates[0].standard_error


def test_more_patients_choose_a_narrower_width() -> None:
    chosen = []
    for n in (300, 30_000):
        log, target, _, _ = bandit(n, seed=5)
        chosen.append(choose_bandwidth(log, target, lambda w, log=log: pdwis(log, w)).bandwidth)
    assert chosen[1] < chosen[0]


def test_refusals() -> None:
    log, target, _, _ = bandit(50)
    with pytest.raises(ValueError, match="propensity='mass'.*needs no kernel"):
        mass = replace(log, behaviour_log_prob=np.full((50, 1), -1.0), propensity="mass")
        kernel_log_prob(mass, target, 0.5)
    with pytest.raises(ValueError, match="bandwidth = 0.0; expected a width above 0"):
        kernel_log_prob(log, target, 0.0)
    with pytest.raises(ValueError, match="kernel = 'box'; expected 'gaussian' or 'epanechnikov'"):
        kernel_log_prob(log, target, 0.5, "box")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match=r"target_dose has shape \(50,\); expected \(50, 1\)"):
        kernel_log_prob(log, target[:, 0], 0.5)
    missing = np.array(target)
    missing[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"target_dose\[3, 0\] = nan \(patient 3, step 0\)"):
        kernel_log_prob(log, missing, 0.5)
    with pytest.raises(ValueError, match="leave at most .* effective patients; expected 30"):
        choose_bandwidth(log, target + 9.0, lambda weights: pdwis(log, weights), [0.1, 0.2])


def shared_bandit() -> tuple[Trajectories, Mapping[str, np.ndarray], dict[str, Any]]:
    folder = SHARED / "bandit_continuous"
    if not folder.is_dir():
        pytest.skip("shared reference data absent")
    data, reference = np.load(folder / "data.npz"), json.loads((folder / "reference.json").read_text())
    one = np.ones((len(data["reward"]), 1), dtype=bool)
    log = Trajectories(
        observations=data["context"][:, None], actions=data["action"][:, None],
        rewards=data["reward"][:, None], mask=one, terminated=one[:, 0], truncated=~one[:, 0],
        behaviour_log_prob=np.log(data["behaviour_pdf"])[:, None], propensity="density",
    )  # fmt: skip
    return log, data, reference["estimates"]


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("h", [0.05, 0.3, 0.8])
def test_shared_continuous_bandit(kernel: Kernel, h: float) -> None:
    log, data, expected = shared_bandit()
    weights = importance_weights(log, kernel_log_prob(log, data["target_action"][:, None], h, kernel))
    name = f"[{kernel},h={h:g}]"
    for form, estimator in (("kipw", importance_sampling), ("ksnipw", wis)):
        assert estimator(log, weights).value == pytest.approx(expected[form + name], rel=1e-8)
    assert weights.effective_sample_size[0] == pytest.approx(expected[f"kess{name}"], rel=1e-8)
    at_target = data["q_exact_target_action"][:, None]
    for residual, q in (("target", at_target), ("logged", data["q_exact_logged_action"][:, None])):
        robust = dr(log, weights, ActionValues.of(log, q, at_target))
        key = f"kdr[{kernel},h={h:g},q_at_{residual}]"
        assert robust.value == pytest.approx(expected[key], rel=1e-8)


def test_shared_choice_of_a_width_comes_near_the_truth() -> None:
    log, data, _ = shared_bandit()
    choice = choose_bandwidth(log, data["target_action"][:, None], lambda weights: wis(log, weights))
    # 1.665 by truth.json; with the narrowest width it is 0.066 +- 0.066 off, with the widest 0.8
    assert abs(choice.estimate.value - 1.6650415) < 0.05
