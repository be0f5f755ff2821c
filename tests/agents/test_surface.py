"""Quantities learned at few particles against exact posteriors, quadrature and many particles."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import ndtr

from dosewright.agents.estimation import Courses, estimate, sample
from dosewright.agents.estimation.particles import recorded_likelihood
from dosewright.agents.estimation.surface import Surface, _Kriging, learn
from dosewright.envs.nonmem import PatientRecords
from dosewright.envs.pharmacology import (
    Dose,
    Linear,
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    empty,
    stack,
)


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[0] / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1]


def one_compartment(error: ResidualError, variance: float = 0.09) -> PopulationModel:
    return PopulationModel(
        name="one_compartment", title="One compartment, bolus", sources=("test",), time_unit="h",
        amount_unit="mg", parameters=(Parameter("CL", "L/h", variance), Parameter("V", "L", variance)),
        states=("CENTRAL",), initial=empty(1), routes=(Route("iv", "CENTRAL"),),
        outputs=(Output("C", "mg/L", error),),
        typical=lambda covariates, effects: stack(5.0, 50.0), solver=Linear(_rates), observe=_observe,
    )  # fmt: skip


ERRORS = {
    "log": ResidualError(log_sd=0.2),
    "proportional": ResidualError(proportional=0.2),
    "combined": ResidualError(proportional=0.15, additive=1.0),
}
TIMES = np.array([1.0, 6.0, 12.0])
AHEAD, LIMIT = [24.0], np.log(1.6)


def patient(name: str, dv: list[float], times: list[float] | None = None) -> PatientRecords:
    at = list(TIMES) if times is None else times
    missing = np.full(len(at), np.nan)
    return PatientRecords.of(
        name, [0.0, *at], amount=[1000.0, *missing], evid=[1, *[0] * len(at)], dv=[np.nan, *dv],
        limit=[np.nan, *np.where(np.isnan(dv), 0.8, np.nan)], compartment=1,
    )  # fmt: skip


PEOPLE = [
    patient("a", [17.0, 13.0, 9.0]),
    patient("b", [22.0, 8.0, 4.0]),
    patient("c", [15.0, 9.0, np.nan], [1.0, 6.0, 30.0]),
]


def log_trough(outputs):
    return np.log(outputs[..., 0, 0])


def quadrature(courses: Courses, points: int = 150) -> np.ndarray:
    """P(log concentration at 24 h < LIMIT) on a grid from -5 to 5 prior SDs, smoothed by a step of it."""
    sd = np.sqrt(np.diag(courses.omega))
    axes = [np.linspace(-5 * one, 5 * one, points) for one in sd]
    eta = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(1, -1, 2)
    eta = np.repeat(eta, len(courses), axis=0)
    log_density = recorded_likelihood(courses, eta) - 0.5 * (eta**2 / np.diag(courses.omega)).sum(axis=-1)
    weight = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    value = log_trough(courses.simulate(eta, (), AHEAD, ["C"]))
    # a cell counts by the part of it that is below
    low = np.clip(0.5 + (LIMIT - value) / (2 * 10 * sd[0] / points), 0.0, 1.0)
    return (weight * low).sum(axis=1) / weight.sum(axis=1)


@pytest.mark.parametrize("name", ERRORS)
def test_the_probability_is_that_of_quadrature_whatever_the_error(name: str) -> None:
    courses = Courses.of(one_compartment(ERRORS[name]), PEOPLE)
    exact = quadrature(courses)
    assert ((exact > 0.02) & (exact < 0.98)).any()
    surface = learn(estimate(courses), log_trough, AHEAD, ["C"])
    assert surface.fits.all()
    assert np.abs(surface.probability_below(LIMIT) - exact).max() < 0.01


def test_the_particles_of_a_posterior_serve_as_well() -> None:
    courses = Courses.of(one_compartment(ERRORS["log"]), PEOPLE)
    posterior = sample(courses, particles=64)
    surface = Surface.of(posterior, log_trough(posterior.predict(AHEAD)))
    assert surface.fits.all()
    assert np.abs(surface.probability_below(LIMIT) - quadrature(courses)).max() < 0.01


def test_intervals_hold_what_they_say() -> None:
    """Patients drawn from the prior of the model that is fitted: 90 % of the true values are inside."""
    model, n, rng = one_compartment(ERRORS["log"]), 400, np.random.default_rng(4)
    eta = rng.normal(size=(n, 1, 2)) * 0.3
    blank = Courses.of(model, [patient(str(i), [1.0, 1.0, 1.0]) for i in range(n)])
    dv = blank.predict(eta)[:, 0] * np.exp(0.2 * rng.normal(size=(n, 3)))
    courses = Courses.of(model, [patient(str(i), list(row)) for i, row in enumerate(dv)])
    truth = log_trough(courses.simulate(eta, (), AHEAD, ["C"]))[:, 0]
    surface = learn(estimate(courses), log_trough, AHEAD, ["C"])
    inside = (surface.quantile(0.05) < truth) & (truth < surface.quantile(0.95))
    assert surface.fits.all()
    assert 0.87 <= inside.mean() <= 0.93  # 2 standard errors of 400
    # and P(below) is uniform at the truth: its mean is 1/2, its variance 1/12
    below = surface.points.probability(surface.values < truth[:, None])
    assert abs(below.mean() - 0.5) < 3 * np.sqrt(1 / 12 / n)
    assert abs(below.var() - 1 / 12) < 3 * np.sqrt(1 / 180 / n)


def test_a_normal_posterior_has_its_own_moments() -> None:
    """log C = log(dose/V) at once: linear in V's effect, with an exact normal posterior."""
    courses = Courses.of(one_compartment(ERRORS["log"]), [patient("x", [15.0, 18.0], [0.0 + 1e-9, 2e-9])])
    surface = learn(estimate(courses), lambda x: np.log(x[..., 0, 0]), [3e-9], ["C"])
    precision = 1 / 0.09 + 2 / 0.04
    mean = np.log(20.0) - (-np.log(15.0 / 20.0) - np.log(18.0 / 20.0)) / 0.04 / precision
    assert surface.mean()[0] == pytest.approx(mean, abs=1e-3)
    for share in (0.05, 0.5, 0.95):
        z = (surface.quantile(share)[0] - mean) * np.sqrt(precision)
        assert ndtr(z) == pytest.approx(share, abs=3e-3)


def test_what_is_left_out_is_foretold_by_the_others() -> None:
    rng = np.random.default_rng(0)
    z = rng.normal(size=(20, 2))
    values = np.sin(z).sum(axis=1, keepdims=True)
    residual = _Kriging.of(z, z).left_out @ values
    for i in (0, 7, 19):
        others = np.arange(20) != i
        foretold = _Kriging.of(z[others], z[[i]]).at_points(values[others])
        assert residual[i, 0] == pytest.approx(values[i, 0] - foretold[0, 0], abs=1e-8)


def test_linear_quantities_are_exact_and_rough_ones_are_left_to_the_particles() -> None:
    courses = Courses.of(one_compartment(ERRORS["log"]), PEOPLE)
    posterior = sample(courses, particles=64)
    linear = Surface.of(posterior, 2.0 + posterior.eta[..., 0] - 3.0 * posterior.eta[..., 1])
    assert linear.residual.max() < 1e-6
    rough = np.sign(np.sin(200.0 * posterior.eta[..., 0]))
    surface = Surface.of(posterior, rough)
    assert not surface.fits.any() and (surface.residual > 0.25).all()
    assert surface.mean() == pytest.approx(posterior.expect(rough))
    assert surface.probability_below(0.0) == pytest.approx(posterior.probability(rough < 0))
    assert surface.points.effective_size == pytest.approx(posterior.effective_size)


def test_a_patient_does_not_depend_on_the_others() -> None:
    courses = Courses.of(one_compartment(ERRORS["combined"]), PEOPLE)
    fit = estimate(courses)
    alone = estimate(courses.select([1]))
    both, one = (learn(x, log_trough, AHEAD, ["C"]).probability_below(LIMIT) for x in (fit, alone))
    assert one[0] == both[1]


def test_further_doses_count() -> None:
    courses = Courses.of(one_compartment(ERRORS["log"]), PEOPLE)
    fit = estimate(courses)
    dosed = [[Dose(12.0, amount)] for amount in (0.0, 100.0, 1000.0)]
    means = learn(fit, log_trough, AHEAD, ["C"], dosed).mean() - learn(fit, log_trough, AHEAD, ["C"]).mean()
    assert means[0] == pytest.approx(0.0, abs=1e-12)
    assert 0 < means[1] < means[2]


def test_what_was_measured_before_a_reset_counts() -> None:
    """Measurements before and after a washout: the samples are not all read in the last stretch."""
    nan = np.nan
    records = PatientRecords.of(
        "r", [0.0, 6.0, 48.0, 48.0, 54.0], amount=[1000.0, nan, nan, 500.0, nan], evid=[1, 0, 3, 1, 0],
        dv=[nan, 13.0, nan, nan, 7.0], compartment=1,
    )  # fmt: skip
    courses = Courses.of(one_compartment(ERRORS["log"]), [records, PEOPLE[0]])
    posterior = sample(courses, particles=4096)
    value = log_trough(posterior.predict([72.0], (), ["C"]))
    surface = learn(estimate(courses), log_trough, [72.0], ["C"])
    for share in (0.1, 0.5, 0.9):
        limit = posterior.quantile(value, share)
        below = surface.points.probability(surface.values < limit[:, None])
        assert below == pytest.approx(share, abs=0.01)


def test_bad_input_is_refused() -> None:
    courses = Courses.of(one_compartment(ERRORS["log"]), PEOPLE)
    posterior = sample(courses, particles=64)
    with pytest.raises(ValueError, match=r"values have shape \(3,\); expected \(3, 64\)"):
        Surface.of(posterior, np.zeros(3))
    with pytest.raises(ValueError, match="points = 100; expected a multiple of the 64 particles"):
        Surface.of(posterior, np.zeros((3, 64)), points=100)
    with pytest.raises(ValueError, match="4 particles with 2 effects"):
        learn(estimate(courses), log_trough, AHEAD, ["C"], particles=4)
    with pytest.raises(ValueError, match="2 schedules for 3 patients"):
        learn(estimate(courses), log_trough, AHEAD, ["C"], [[Dose(12.0, 1.0)]] * 2)
    with pytest.raises(ValueError, match="effects V were held at 0"):
        learn(estimate(courses, effects=["CL"]), log_trough, AHEAD, ["C"])


def before_the_dose(limit: float) -> PatientRecords:
    """A level below the limit before the first dose, where there is a limit, and two after it."""
    return PatientRecords.of(
        "a", [0.0, 1.0, 2.0, 7.0], amount=[np.nan, 1000.0, np.nan, np.nan], evid=[0, 1, 0, 0],
        dv=[np.nan, np.nan, 17.0, 12.0], mdv=[np.isnan(limit), 1, 0, 0], limit=[limit, *[np.nan] * 3],
        compartment=1,
    )  # fmt: skip


def test_a_level_below_the_limit_before_the_first_dose_changes_nothing() -> None:
    # its probability is 1 whatever the parameters are
    model = one_compartment(ERRORS["log"])
    found = [Courses.of(model, [before_the_dose(limit)]) for limit in (0.5, np.nan)]
    fits = [estimate(courses) for courses in found]
    assert fits[0].converged.all()
    np.testing.assert_allclose(fits[0].eta, fits[1].eta, rtol=1e-9)
    marginals = [sample(courses, particles=512).log_marginal[0] for courses in found]
    assert marginals[0] == pytest.approx(marginals[1], abs=1e-9)


def test_records_that_no_particle_explains_are_refused() -> None:
    never = replace(before_the_dose(0.5), dv=np.array([5.0, np.nan, 17.0, 12.0]), limit=np.full(4, np.nan))
    fit = estimate(Courses.of(one_compartment(ERRORS["log"]), [never]))
    assert not fit.converged.any()
    with pytest.raises(ValueError, match="patient a: no draw explains the records"):
        learn(fit, lambda x: x[..., 0].min(axis=2), AHEAD, ["C"])
