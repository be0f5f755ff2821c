"""Models of an unknown regimen: against known probabilities, other software, and their own promises."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.evaluation.behaviour import calibration_error, fit_behaviour
from dosewright.evaluation.dose_models import (
    Counts,
    DoseModel,
    GradientBoosting,
    MultinomialLogistic,
    OrdinalLogistic,
)
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import TargetDoses, importance_weights, pdwis, wis

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "reference" / "ope"
MODELS: tuple[DoseModel, ...] = (
    Counts(),
    MultinomialLogistic(),
    OrdinalLogistic(),
    GradientBoosting(iterations=30, learning_rate=0.2, smallest_leaf=20),
)
SLOPE, LIMITS = np.array([1.2, -0.6]), np.array([-1.0, 0.3, 1.5])
DOSES = np.array([0.0, 2.5, 5.0, 10.0])


def of_proportional_odds(x: np.ndarray) -> np.ndarray:
    """Probabilities (..., 4) of the doses at features (..., 2)."""
    below = 1 / (1 + np.exp(-(LIMITS - (x @ SLOPE)[..., None])))
    return np.diff(np.pad(below, [(0, 0)] * (below.ndim - 1) + [(1, 1)], constant_values=(0, 1)), axis=-1)


def drawn(n: int = 600, horizon: int = 4, seed: int = 1) -> tuple[Trajectories, np.ndarray]:
    """A log whose doses follow proportional odds of two binary features, and the true probabilities."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, horizon + 1, n)
    mask = np.arange(horizon) < lengths[:, None]
    x = rng.integers(0, 2, (n, horizon, 2)).astype(float)
    chance = of_proportional_odds(x)
    given = (rng.random((n, horizon, 1)) > chance.cumsum(axis=2)).sum(axis=2)
    log = Trajectories(
        observations=np.where(mask[..., None], x, np.nan), actions=np.where(mask, DOSES[given], -1.0),
        rewards=np.zeros(mask.shape), mask=mask, terminated=np.ones(n, bool), truncated=np.zeros(n, bool),
    )  # fmt: skip
    return log, chance


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize("folds", [5, None])
def test_known_probabilities_come_back(model: DoseModel, folds: int | None) -> None:
    log, chance = drawn(4000)
    found = fit_behaviour(log, model, folds=folds)
    np.testing.assert_array_equal(found.doses, DOSES)
    probability = np.exp(found.log_prob_of_doses)
    np.testing.assert_allclose(probability[log.mask].sum(axis=1), 1.0, rtol=1e-12)
    # 10,000 decisions in four situations: standard error of a share at most 0.011
    assert np.abs(probability - chance)[log.mask].max() < 4 * 0.011
    own = np.take_along_axis(probability, np.searchsorted(DOSES, log.actions)[..., None], axis=2)[..., 0]
    np.testing.assert_allclose(np.exp(found.log_prob[log.mask]), own[log.mask], rtol=1e-12)
    assert not found.log_prob[~log.mask].any() and not found.log_prob_of_doses[~log.mask].any()
    entropy = -(chance * np.log(chance)).sum(axis=2)[log.mask].mean()
    assert found.log_loss == pytest.approx(entropy, abs=0.03)
    assert 0 < found.brier < 1 - 1 / 4
    assert found.calibration_error < 0.015
    assert f"log loss {found.log_loss:.4g}" in str(found)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)
def test_nobody_is_asked_about_by_a_model_that_saw_them(model: DoseModel) -> None:
    # what a patient was given changes nothing about what is said of the same patient, only of others
    log, _ = drawn(200)
    whole = fit_behaviour(log, model, seed=3)
    assert whole.fold is not None
    doses = np.array(log.actions)
    doses[7] = np.where(log.mask[7], 10.0, -1.0)
    other = fit_behaviour(replace(log, actions=doses), model, seed=3)
    same = whole.fold == whole.fold[7]
    np.testing.assert_array_equal(
        whole.log_prob_of_doses[same][log.mask[same]], other.log_prob_of_doses[same][log.mask[same]]
    )
    assert (whole.log_prob_of_doses[~same] != other.log_prob_of_doses[~same]).any()
    again = fit_behaviour(log, model, seed=3)
    np.testing.assert_array_equal(again.log_prob, whole.log_prob)


def test_in_sample_flatters_a_flexible_model() -> None:
    # each patient has a feature of the own: in sample the doses are known, of others nothing is
    log, _ = drawn(80)
    named = np.repeat(np.arange(80.0)[:, None, None], log.horizon, axis=1)
    inside = fit_behaviour(log, Counts(pseudo_count=1.0), named, folds=None)
    outside = fit_behaviour(log, Counts(pseudo_count=1.0), named)
    assert outside.log_loss == pytest.approx(np.log(4), rel=1e-12)
    assert inside.log_loss < 0.9 * outside.log_loss
    assert inside.fold is None and "in sample" in str(inside)


def test_features_may_be_none() -> None:
    log, _ = drawn(300)
    nothing = np.zeros((*log.mask.shape, 0))
    share = np.array([(log.actions[log.mask] == dose).mean() for dose in DOSES])
    for model in (MultinomialLogistic(), OrdinalLogistic(), Counts(), MultinomialLogistic(penalty=5.0)):
        found = fit_behaviour(log, model, nothing, folds=None)
        np.testing.assert_allclose(np.exp(found.log_prob_of_doses[0, 0]), share, rtol=2e-6)
        assert found.calibration_error < 1e-6  # shares alone are calibrated


def test_one_dose_for_everybody_has_probability_one() -> None:
    log, _ = drawn(60)
    same = replace(log, actions=np.full(log.mask.shape, 5.0))
    for model in MODELS:
        found = fit_behaviour(same, model)
        assert not found.log_prob.any() and found.doses.tolist() == [5.0]
        assert (found.log_loss, found.brier, found.calibration_error) == (0.0, 0.0, 0.0)


def test_a_penalty_shrinks_and_makes_separation_harmless() -> None:
    # feature 0 says the dose: the likelihood has no maximum, the penalised one has
    log, _ = drawn(200)
    parted = replace(log, actions=np.where(log.observations[..., 0] > 0.5, 10.0, 0.0))
    for penalised in (MultinomialLogistic(penalty=1.0), OrdinalLogistic(penalty=1.0)):
        found = fit_behaviour(parted, penalised)
        chance = np.exp(found.log_prob[log.mask])
        assert 0.9 < chance.min() and chance.max() < 0.9999


def test_rare_doses_are_refused_or_pooled() -> None:
    log, _ = drawn(200)
    doses = np.array(log.actions)
    doses[5, 0] = 7.5
    rare = replace(log, actions=doses)
    for model in (Counts(), OrdinalLogistic()):
        message = r"dose 7.5 \(patient 5, step 0\) has probability 0 under .* nobody outside fold"
        with pytest.raises(ValueError, match=message):
            fit_behaviour(rare, model)
        pooled = fit_behaviour(rare, model, least_patients=10)
        assert pooled.doses.tolist() == [0.0, 2.5, 5.0, 7.5, 10.0]
        assert pooled.pools == 4 and "of 5 doses in 4 groups" in str(pooled)
        # 7.5 goes with the next higher dose, of which it is a share over the whole log
        share = 1 / (1 + (doses[log.mask] == 10.0).sum())
        pool = np.exp(pooled.log_prob_of_doses[log.mask])[:, 3:]
        np.testing.assert_allclose(pool[:, 0] / pool.sum(axis=1), share, rtol=1e-9)
        assert pooled.log_prob[5, 0] == pooled.log_prob_of_doses[5, 0, 3] > -np.inf
    # at the top of the grid there is no next higher one
    doses[5, 0] = 12.5
    top = fit_behaviour(replace(log, actions=doses), Counts(), least_patients=10)
    assert np.isfinite(top.log_prob).all()


def test_counts_with_a_pseudo_count() -> None:
    log, _ = drawn(100)
    found = fit_behaviour(log, Counts(pseudo_count=1.0), folds=None)
    for situation in ((0, 0), (0, 1), (1, 0), (1, 1)):
        here = (log.observations == situation).all(axis=2) & log.mask
        count = np.array([(log.actions[here] == dose).sum() for dose in DOSES])
        expected = (count + 1) / (count.sum() + 4)
        np.testing.assert_allclose(np.exp(found.log_prob_of_doses[here]), np.tile(expected, (here.sum(), 1)))
    with pytest.raises(ValueError, match="pseudo_count = -1; expected 0"):
        Counts(pseudo_count=-1)


def test_what_the_model_gives_no_probability() -> None:
    log, _ = drawn(200)
    found = fit_behaviour(log, Counts(), folds=None)
    shape = log.mask.shape
    # a quarter on a dose that nobody was given, the rest on one that everybody may have been given
    target = TargetDoses.of(
        log, np.broadcast_to([5.0, 7.5], (*shape, 2)), np.broadcast_to([0.75, 0.25], (*shape, 2))
    )
    assert found.unsupported(target, log.mask).overall == pytest.approx(0.25)
    # a dose that is given in one situation only
    doses, here = np.array(log.actions), (log.observations == (0, 1)).all(axis=2)
    doses[(doses == 0.0) & ~here] = 2.5
    some = fit_behaviour(replace(log, actions=doses), Counts(), folds=None)
    nothing = TargetDoses.of(log, np.zeros((*shape, 1)), np.ones((*shape, 1)))
    missing = some.unsupported(nothing, log.mask)
    np.testing.assert_array_equal(missing.by_decision[log.mask], (~here)[log.mask])


def test_calibration_error_by_hand() -> None:
    # dose 0: bin 0.2 holds two predictions of 0.25 of which one happened, bin 0.7 two of 0.75, both happened
    chance = np.array([[0.25, 0.75], [0.25, 0.75], [0.75, 0.25], [0.75, 0.25]])
    happened = np.array([[0, 1], [1, 0], [1, 0], [1, 0]], dtype=bool)
    # |0.25 - 0.5| / 2 + |0.75 - 1| / 2 for dose 0, the same for dose 1
    assert calibration_error(chance, happened) == pytest.approx(0.25)
    assert calibration_error(np.ones((3, 1)), np.ones((3, 1), bool)) == 0.0


def test_refusals() -> None:
    log, _ = drawn(50)
    with pytest.raises(ValueError, match="propensity='density', a continuous dose; expected doses on a grid"):
        fit_behaviour(replace(log, propensity="density"), Counts())
    with pytest.raises(ValueError, match=r"features has shape \(50, 4\); expected \(50, 4\) and k"):
        fit_behaviour(log, Counts(), np.zeros((50, 4)))
    missing = np.zeros((50, 4, 1))
    missing[3, 0] = np.nan
    with pytest.raises(ValueError, match=r"features\[3, 0\] = \[nan\] \(patient 3, step 0\)"):
        fit_behaviour(log, Counts(), missing)
    with pytest.raises(ValueError, match="folds = 51; expected 2 to 50"):
        fit_behaviour(log, Counts(), folds=51)
    for model in (MultinomialLogistic, OrdinalLogistic):
        with pytest.raises(ValueError, match="penalty = -1.0; expected 0 .maximum likelihood. or more"):
            model(penalty=-1.0)
    with pytest.raises(ValueError, match="least_patients = 0"):
        fit_behaviour(log, Counts(), least_patients=0)


@pytest.mark.oracles
def test_the_ordinal_model_is_that_of_statsmodels() -> None:
    ordinal_model = pytest.importorskip("statsmodels.miscmodels.ordinal_model")
    rng = np.random.default_rng(2)
    x = rng.normal(size=(3000, 2)) * [1.0, 5.0] + [2.0, -30.0]
    scaled = (x - [2.0, -30.0]) / [1.0, 5.0]
    given = (rng.random((3000, 1)) > of_proportional_odds(scaled).cumsum(axis=1)).sum(axis=1)
    other = ordinal_model.OrderedModel(given, x, distr="logit").fit(method="bfgs", disp=False, maxiter=500)
    mine = OrdinalLogistic().fit(x, given, 4, 0)(x)
    np.testing.assert_allclose(mine, other.predict(x), atol=2e-5)
    # ours is at the maximum, to the last digits
    likelihood = np.log(mine[np.arange(3000), given]).sum()
    assert likelihood >= other.llf - 1e-6
    assert likelihood == pytest.approx(other.llf, abs=1e-3)


# --- logged data whose regimen is withheld ----------------------------------------------------------------


def withheld() -> tuple[Trajectories, Mapping[str, np.ndarray], dict[str, Any]]:
    folder = SHARED / "tabular_unknown_behaviour"
    if not folder.is_dir():
        pytest.skip("shared reference data absent")
    data = np.load(folder / "data.npz")
    everyone = np.ones(data["reward"].shape, dtype=bool)
    log = Trajectories(
        observations=np.stack([data["state"] % 5, data["state"] // 5], axis=2), actions=data["action"],
        rewards=data["reward"], mask=everyone, terminated=everyone[:, 0], truncated=~everyone[:, 0],
    )  # fmt: skip
    return log, data, json.loads((folder / "reference.json").read_text())


@pytest.mark.parametrize(
    "block", ["count[state]", "count[exposure]", "logistic[e,g,e^2]", "logistic[intercept only]"]
)
def test_shared_blocks(block: str) -> None:
    log, data, reference = withheld()
    state = data["state"].astype(float)
    e, g = state % 5, state // 5
    features = {
        "count[state]": state[..., None], "count[exposure]": e[..., None],
        "logistic[e,g,e^2]": np.stack([e, g, e**2], axis=2),
        "logistic[intercept only]": np.zeros((*state.shape, 0)),
    }[block]  # fmt: skip
    model = Counts(pseudo_count=1.0) if block.startswith("count") else MultinomialLogistic()
    found = fit_behaviour(log, model, features, folds=None)
    weights = importance_weights(replace(log, behaviour_log_prob=found.log_prob), np.log(data["target_prob"]))
    expected = reference[block]["estimates"]
    found_numbers = {
        "pdwis": pdwis(log, weights, 0.97).value,
        "wis": wis(log, weights, 0.97).value,
        "log_loss_per_step": found.log_loss,
        "brier": found.brier,
        "expected_calibration_error_10_bins": found.calibration_error,
    }
    for name, value in found_numbers.items():
        # README: closed formulas 1e-8, logistic fits 2e-3
        allowed = 1e-8 * expected[name] if block.startswith("count") else 2e-3
        assert abs(value - expected[name]) <= allowed, name


def test_shared_cross_fitted_weights_come_near_those_of_the_true_regimen() -> None:
    log, data, _ = withheld()
    target = np.log(data["target_prob"])
    true = replace(log, behaviour_log_prob=np.log(data["true_behaviour_prob_for_scoring_only"]))
    expected = pdwis(true, importance_weights(true, target), 0.97)
    for model in (Counts(pseudo_count=1.0), MultinomialLogistic(), OrdinalLogistic()):
        known = replace(log, behaviour_log_prob=fit_behaviour(log, model).log_prob)
        value = pdwis(known, importance_weights(known, target), 0.97).value
        assert abs(value - expected.value) < 2 * expected.standard_error
        assert abs(value - 2.95125) < 4 * expected.standard_error  # truth.json
