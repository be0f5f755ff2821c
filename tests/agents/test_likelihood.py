"""Likelihoods against SciPy's distributions, and the derivatives that estimators rely on."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from dosewright.agents.estimation import event_log_likelihood, log_likelihood
from dosewright.agents.estimation.likelihood import SampleErrors, deviance, standardised
from dosewright.envs.pharmacology import ResidualError

LOG = ResidualError(log_sd=0.2)
COMBINED = ResidualError(proportional=0.1, additive=0.5)
COMBINED_1 = ResidualError(proportional=0.1, additive=0.5, adds_sd=True)
KINDS = (LOG, COMBINED, COMBINED_1, ResidualError(additive=0.7), ResidualError(proportional=0.3))
F = np.array([0.4, 3.0, 25.0])


def distribution(error: ResidualError, f: np.ndarray) -> Any:
    """What SciPy has for a measured value, given the truth."""
    if error.log_sd:
        return stats.lognorm(s=error.log_sd, scale=f)
    proportional = error.proportional * f
    sd = proportional + error.additive if error.adds_sd else np.hypot(proportional, error.additive)
    return stats.norm(f, sd)


@pytest.mark.parametrize("error", KINDS)
def test_densities_and_probabilities_are_those_of_the_distribution(error: ResidualError) -> None:
    law, y = distribution(error, F), np.array([0.5, 2.0, 31.0])
    assert log_likelihood(error, F, y, y) == pytest.approx(law.logpdf(y), rel=1e-12)
    assert log_likelihood(error, F, -np.inf, y) == pytest.approx(law.logcdf(y), rel=1e-10)
    assert log_likelihood(error, F, y, np.inf) == pytest.approx(law.logsf(y), rel=1e-10)
    inside = np.where(y > F, law.sf(y) - law.sf(1.3 * y), law.cdf(1.3 * y) - law.cdf(y))
    assert log_likelihood(error, F, y, 1.3 * y) == pytest.approx(np.log(inside), rel=1e-8)


@pytest.mark.parametrize("error", KINDS)
def test_the_grades_of_a_scale_have_probability_one_together(error: ResidualError) -> None:
    bounds = np.array([-np.inf, 0.3, 1.0, 4.0, 20.0, np.inf])
    chance = np.exp(log_likelihood(error, F[:, None], bounds[:-1], bounds[1:]))
    assert chance.sum(axis=1) == pytest.approx(1.0, rel=1e-14)


def test_far_out_in_the_tails_there_are_numbers_still() -> None:
    error = ResidualError(additive=1.0)
    assert log_likelihood(error, 100.0, -np.inf, 1.0) == pytest.approx(stats.norm.logcdf(-99.0), rel=1e-14)
    assert log_likelihood(error, 0.0, 99.0, np.inf) == pytest.approx(stats.norm.logsf(99.0), rel=1e-14)
    # what lies beyond 41 is 1e-18 of what lies beyond 40
    assert log_likelihood(error, 0.0, 40.0, 41.0) == pytest.approx(stats.norm.logsf(40.0), rel=1e-14)
    narrow = log_likelihood(error, 0.0, 2.0, 2.0 + 1e-7)
    assert narrow == pytest.approx(stats.norm.logpdf(2.0) + math.log(1e-7), abs=1e-6)
    found = deviance(error, np.array([40.0, 400.0]), -np.inf, 0.0)
    # −log Φ(−x) tends to x²/2 + log x: slope 2·(x + 1/x), curvature 1 − 1/x²
    assert found.slope == pytest.approx([2 * (40 + 1 / 40), 2 * (400 + 1 / 400)], rel=1e-5)
    assert found.weight == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("error", KINDS)
def test_the_deviance_is_nonmems_constant(error: ResidualError) -> None:
    y = np.array([0.5, 2.0, 31.0])
    found = deviance(error, F, y, y).value
    shift = 2 * np.log(y) if error.log_sd else 0.0
    expected = -2 * distribution(error, F).logpdf(y) - math.log(2 * math.pi) - shift
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("error", KINDS)
@pytest.mark.parametrize(("low", "high"), [(2.0, 2.0), (-np.inf, 1.0), (5.0, np.inf), (1.0, 6.0)])
def test_slopes_are_derivatives_of_the_deviance(error: ResidualError, low: float, high: float) -> None:
    h = 1e-5 * F
    sides = [deviance(error, f, low, high).value for f in (F + h, F - h)]
    assert deviance(error, F, low, high).slope == pytest.approx(
        (sides[0] - sides[1]) / (2 * h), rel=1e-6, abs=1e-9
    )


@pytest.mark.parametrize("error", KINDS)
def test_the_weight_of_a_value_is_its_expected_information(error: ResidualError) -> None:
    """Half of the expected second derivative is a quarter of the slope's variance (both are Fisher's)."""
    z, mass = np.polynomial.hermite_e.hermegauss(40)
    law = distribution(error, F[:, None])
    y = F[:, None] * np.exp(error.log_sd * z) if error.log_sd else law.mean() + law.std() * z
    slope = deviance(error, F[:, None], y, y).slope
    expected = 0.25 * (slope**2 @ mass) / mass.sum()
    weight = deviance(error, F, F, F).weight
    assert weight == pytest.approx(expected, rel=1e-10)


def test_the_weight_of_an_interval_is_positive_and_its_curvature_where_the_variance_is_constant() -> None:
    error, h = ResidualError(additive=1.0), 1e-4
    f = np.linspace(-6, 9, 31)
    for low, high in ((-np.inf, 1.0), (2.0, np.inf), (0.0, 3.0)):
        sides = [deviance(error, f + step, low, high).slope for step in (h, -h)]
        weight = deviance(error, f, low, high).weight
        assert weight == pytest.approx((sides[0] - sides[1]) / (4 * h), rel=1e-5, abs=1e-8)
        assert (weight >= 0).all() and (weight <= 1).all()


def test_a_prediction_of_zero_has_the_proportional_error_of_one() -> None:
    found = deviance(ResidualError(proportional=0.2), 0.0, 0.5, 0.5)
    assert found.value == pytest.approx(math.log(0.04) + 0.25 / 0.04)
    combined = deviance(COMBINED_1, 0.0, 0.5, 0.5)
    assert combined.value == pytest.approx(math.log(0.36) + 0.25 / 0.36)


def test_what_cannot_be_is_impossible_and_not_missing() -> None:
    assert log_likelihood(LOG, 2.0, 0.0, 0.0) == -np.inf
    assert log_likelihood(LOG, 0.0, 2.0, 2.0) == -np.inf
    assert np.isnan(log_likelihood(COMBINED, np.nan, 2.0, 2.0))
    # a log-normal level is always above 0
    assert log_likelihood(LOG, 2.0, -np.inf, 1.0) == pytest.approx(stats.lognorm.logcdf(1.0, 0.2, scale=2.0))


def test_nothing_is_certainly_below_the_limit_and_says_nothing_else() -> None:
    # before the first dose; the prediction's logarithm has no value there, the probability has
    found = deviance(LOG, np.zeros(2), -np.inf, [0.5, 1e-9])
    assert [part.tolist() for part in found] == [[0.0, 0.0]] * 3
    assert log_likelihood(LOG, 0.0, -np.inf, 0.5) == 0.0
    assert log_likelihood(LOG, 0.0, 0.5, np.inf) == -np.inf


def test_samples_of_several_outputs_have_their_own_errors() -> None:
    output = np.array([[0, 1, 2], [2, 2, 0]])
    errors = SampleErrors.of([LOG, COMBINED, COMBINED_1], output)
    y = np.array([0.5, 2.0, 31.0])
    found = log_likelihood(errors, F, y, y)
    residual = standardised(errors, F, y)
    for i, j in np.ndindex(2, 3):
        error = [LOG, COMBINED, COMBINED_1][output[i, j]]
        assert found[i, j] == log_likelihood(error, F[j], y[j], y[j])
        assert residual[i, j] == standardised(error, F[j], y[j])
    assert standardised(LOG, 2.0, 2.0 * math.exp(0.3)) == pytest.approx(1.5)


def test_an_event_has_happened_with_the_complement_of_survival() -> None:
    hazard = np.array([1e-12, 0.5, 40.0])
    assert np.exp(event_log_likelihood(hazard, True)) == pytest.approx(1 - np.exp(-hazard), rel=1e-4)
    assert event_log_likelihood(1e-12, True) == pytest.approx(math.log(1e-12))
    assert event_log_likelihood(hazard, False) == pytest.approx(-hazard)
    assert event_log_likelihood(0.0, [True, False]).tolist() == [-np.inf, 0.0]


def test_events_are_intervals_of_their_number_whatever_the_residual_error() -> None:
    hazard = np.array([1e-6, 0.02, 0.7, 5.0, 60.0])
    chance: Any = stats.poisson(hazard)
    for error in KINDS:
        none = log_likelihood(error, hazard, 0.0, 1.0, event=True)
        some = log_likelihood(error, hazard, 1.0, np.inf, event=True)
        assert none == pytest.approx(chance.logpmf(0), rel=1e-12)
        assert some == pytest.approx(chance.logsf(0), rel=1e-9)
        # beside a value: each is what it is alone
        both = log_likelihood(error, [2.0, 0.7], [3.0, 0.0], [3.0, 1.0], event=[False, True])
        assert both == pytest.approx([float(log_likelihood(error, 2.0, 3.0, 3.0)), -0.7], rel=1e-14)


def test_slope_and_information_of_an_event_are_those_of_a_bernoulli_trial() -> None:
    error, hazard = ResidualError(log_sd=0.2), np.array([1e-3, 0.2, 1.0, 4.0])
    p, slopes = -np.expm1(-hazard), []
    for low, high in ((0.0, 1.0), (1.0, np.inf)):
        h = 1e-5 * hazard
        sides = [deviance(error, x, low, high, event=True).value for x in (hazard + h, hazard - h)]
        found = deviance(error, hazard, low, high, event=True)
        slopes.append(found.slope)
        assert found.slope == pytest.approx((sides[0] - sides[1]) / (2 * h), rel=1e-6)
        # a quarter of the variance of the slope of −2 log P, whose mean is 0
        assert found.weight == pytest.approx(np.exp(-2 * hazard) / (p * (1 - p)), rel=1e-12)
    assert (1 - p) * slopes[0] + p * slopes[1] == pytest.approx(0.0, abs=1e-12)
    assert 0.25 * ((1 - p) * slopes[0] ** 2 + p * slopes[1] ** 2) == pytest.approx(found.weight, rel=1e-12)


def test_without_hazard_an_event_is_impossible_and_its_absence_certain() -> None:
    error = ResidualError(additive=1.0)
    # a difference of two predictions: as good as 0
    for hazard in (0.0, -1e-13):
        absent = deviance(error, hazard, 0.0, 1.0, event=True)
        assert (float(absent.value), float(absent.slope), float(absent.weight)) == (0.0, 2.0, 0.0)
        assert log_likelihood(error, hazard, 1.0, np.inf, event=True) == -np.inf
    assert np.isnan(log_likelihood(error, np.nan, 1.0, np.inf, event=True))


def test_an_assay_whose_sds_add_does_so() -> None:
    z = np.array([-1.0, 0.0, 2.0])
    assert COMBINED_1.apply(np.full(3, 10.0), z) == pytest.approx(10.0 + z * 1.5)
    assert COMBINED.apply(np.full(3, 10.0), z) == pytest.approx(10.0 + z * math.hypot(1.0, 0.5))
