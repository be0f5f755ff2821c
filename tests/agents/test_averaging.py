"""Averages over models: weights of known cases, and what is said when one model decides or none explains."""

import numpy as np
import pytest

from dosewright.agents.estimation.averaging import average, predictive_p_value
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.particles import sample
from dosewright.envs.nonmem import PatientRecords
from dosewright.envs.pharmacology import (
    Linear,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    empty,
    simulate,
    stack,
)

TIMES = np.array([1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 36.0])


def _rates(t, theta, matrix):
    cl, v, q = theta[0], theta[1], theta[2]
    matrix[0, 0] = -(cl + q) / v
    matrix[0, 1] = q / 60.0
    matrix[1, 0] = q / v
    matrix[1, 1] = -q / 60.0


def _observe(t, state, theta, output):
    return state[0] / theta[1]


def model(q: float) -> PopulationModel:
    """Two compartments; with q = 0 one."""
    return PopulationModel(
        name=f"q_{q:g}", title="Two compartments, or one", sources=("test",), time_unit="h", amount_unit="mg",
        parameters=(Parameter("CL", "L/h", 0.09), Parameter("V", "L", 0.09), Parameter("Q", "L/h")),
        states=("CENTRAL", "PERIPH"), initial=empty(2), routes=(Route("iv", "CENTRAL"),),
        outputs=(Output("C", "mg/L", ResidualError(proportional=0.1)),),
        typical=lambda covariates, effects: stack(4.0, 20.0, q), solver=Linear(_rates), observe=_observe,
    )  # fmt: skip


ONE, TWO = model(0.0), model(6.0)


def records(levels: np.ndarray, times: np.ndarray = TIMES) -> list[PatientRecords]:
    return [
        PatientRecords.of(
            str(i), [0.0, *times], amount=[500.0, *[np.nan] * len(times)], evid=[1, *[0] * len(times)],
            dv=[np.nan, *own], compartment=1,
        )
        for i, own in enumerate(levels)
    ]  # fmt: skip


def drawn(truth: PopulationModel, n: int, seed: int, times: np.ndarray = TIMES) -> list[PatientRecords]:
    """Patients simulated from a model, its variability and error."""
    rng = np.random.default_rng(seed)
    typical = np.repeat(truth.typical({}, {}), n, axis=0)
    theta = truth.individual(typical, 0.3 * rng.normal(size=(n, 2)))
    levels = simulate(truth, theta, [(0.0, 500.0)], times)[..., 0]
    return records(levels * (1 + 0.1 * rng.normal(size=levels.shape)), times)


@pytest.mark.parametrize("truth", [ONE, TWO])
def test_the_model_that_made_the_data_gets_the_weight(truth: PopulationModel) -> None:
    patients = drawn(truth, 6, seed=11)
    found = average({m.name: sample(Courses.of(m, patients), particles=128) for m in (ONE, TWO)})
    right = found.names.index(truth.name)
    assert (found.weight[:, right] > 0.5).mean() >= 0.9
    assert found.weight[:, right].mean() > 0.9
    assert (found.p_value[:, right] > 0.01).mean() >= 0.9
    assert np.allclose(found.weight.sum(axis=1), 1.0)


@pytest.mark.parametrize("n", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_weights_are_calibrated_where_the_data_say_little(n: int) -> None:
    # one level each; half of the patients are of either model: a weight of w is right in a share w of them
    early = np.array([10.0])
    both = [drawn(truth, n, seed, early) for truth, seed in ((ONE, 1), (TWO, 2))]
    patients = records(np.array([[r.dv[1]] for half in both for r in half]), early)
    found = average({m.name: sample(Courses.of(m, patients), particles=128) for m in (ONE, TWO)})
    first = np.arange(2 * n) < n
    # twice the sum of p(1 − p) is the variance bound; 3 SD
    expected, spread = found.weight[:, 0].sum(), np.sqrt((found.weight[:, 0] * found.weight[:, 1]).sum())
    assert abs(first.sum() - expected) < 3 * spread
    sure = found.weight[:, 0] > 0.6
    assert abs(first[sure].mean() - found.weight[sure, 0].mean()) < 0.25 * np.sqrt(30 / n)
    assert found.weight[first, 0].mean() > found.weight[~first, 0].mean() + 0.05


@pytest.mark.parametrize("seeds", [4, pytest.param(20, marks=pytest.mark.slow)])
def test_error_of_the_weights_is_that_of_repeated_seeds(seeds: int) -> None:
    courses = {m.name: Courses.of(m, drawn(TWO, 3, 3, np.array([1.0, 10.0]))) for m in (ONE, TWO)}
    many = [
        average({name: sample(one, particles=64, seed=seed) for name, one in courses.items()})
        for seed in range(seeds)
    ]
    spread = np.std([one.weight[:, 0] for one in many], axis=0)
    stated = np.mean([one.weight_error[:, 0] for one in many], axis=0)
    # quasi-random points do better than the independent ones that the error is stated for
    assert (spread < 2.0 * stated).all() and (stated < 0.15).all()


def test_prior_weights_and_the_mixture_of_predictions() -> None:
    patients = drawn(TWO, 3, 5, np.array([10.0]))
    posteriors = {m.name: sample(Courses.of(m, patients), particles=512) for m in (ONE, TWO)}
    even, odd = average(posteriors), average(posteriors, {ONE.name: 3.0, TWO.name: 1.0})
    ratio = (odd.weight[:, 0] / odd.weight[:, 1]) / (even.weight[:, 0] / even.weight[:, 1])
    assert ratio == pytest.approx(np.full(3, 3.0))
    alone = average(posteriors, {ONE.name: 1.0, TWO.name: 0.0})
    levels = [one.predict([24.0], (), ["C"])[..., 0, 0] for one in posteriors.values()]
    m, s = zip(*(one.mean_sd(x) for one, x in zip(posteriors.values(), levels, strict=True)), strict=True)
    assert alone.mean_sd(levels)[0] == pytest.approx(m[0])
    mean, sd = even.mean_sd(levels)
    w = even.weight
    assert mean == pytest.approx(w[:, 0] * m[0] + w[:, 1] * m[1])
    variance = w[:, 0] * (s[0] ** 2 + m[0] ** 2) + w[:, 1] * (s[1] ** 2 + m[1] ** 2) - mean**2
    assert sd == pytest.approx(np.sqrt(variance))
    median = even.quantile(levels, 0.5)
    assert even.probability([x <= median[:, None] for x in levels]) == pytest.approx(
        np.full(3, 0.5), abs=0.02
    )


def test_what_no_model_explains_is_said() -> None:
    usual = drawn(TWO, 1, 7)[0]
    strange = np.array([[2.0, 30.0, 1.0, 40.0, 0.5, 20.0, 9.0], usual.dv[1:]])
    patients = records(strange)
    found = average({m.name: sample(Courses.of(m, patients), particles=128) for m in (ONE, TWO)})
    assert found.unexplained.tolist() == [True, False]
    assert any(text.startswith("patient 0: no model explains the records") for text in found.warnings())
    assert found.decided[1] and any("patient 1: q_6 has weight 1.000" in text for text in found.warnings())


@pytest.mark.parametrize("n", [30, pytest.param(200, marks=pytest.mark.slow)])
def test_predictive_p_values_of_the_true_model_are_uniform(n: int) -> None:
    posterior = sample(Courses.of(TWO, drawn(TWO, n, 13)), particles=128)
    p = predictive_p_value(posterior)
    # Kolmogorov–Smirnov at 0.1 %; the first-order approximation is part of what is tested
    assert np.abs(np.sort(p) - (np.arange(n) + 0.5) / n).max() < 1.95 / np.sqrt(n)


def test_other_records_and_bad_priors_are_refused() -> None:
    one, two = drawn(ONE, 1, 1), drawn(ONE, 1, 2)
    a, b = (sample(Courses.of(ONE, some), particles=64) for some in (one, two))
    with pytest.raises(ValueError, match="other patients or measurements"):
        average({"a": a, "b": b})
    with pytest.raises(ValueError, match="prior weights of a; expected those of a, b"):
        average({"a": a, "b": a}, {"a": 1.0})
    with pytest.raises(ValueError, match="expected numbers from 0 on"):
        average({"a": a}, {"a": -1.0})
