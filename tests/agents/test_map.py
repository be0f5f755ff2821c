"""Estimates against NONMEM, closed forms, and what an estimate must not depend on."""

import csv
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import norm

from benchmarks.mapbayes_cases import courses_of, entries
from dosewright.agents.estimation import (
    Courses,
    Graded,
    Happened,
    conditional_covariance,
    estimate,
    log_likelihood,
    sample,
)
from dosewright.agents.estimation import map as estimation
from dosewright.envs import PatientRecords
from dosewright.envs.pharmacology import (
    Output,
    Parameter,
    PopulationModel,
    ResidualError,
    Route,
    equation_model,
    stack,
)
from dosewright.envs.pharmacology.models.theophylline_oral import MODEL as THEOPHYLLINE
from dosewright.envs.pharmacology.solvers import Linear

Floats = NDArray[np.float64]


def person(name: str, dv: list[float], time: list[float], **columns: Any) -> PatientRecords:
    """320 mg of theophylline at 0, then levels."""
    r = len(time)
    columns = {key: [math.nan, *value] for key, value in columns.items()}
    return PatientRecords.of(
        name, [0.0, *time], evid=[1] + [0] * r, amount=[320.0] + [0.0] * r, compartment=[1] + [2] * r,
        dv=[math.nan, *dv], **columns,
    )  # fmt: skip


PATIENTS = [
    person("1", [10.5, 8.6, 3.3], [1.1, 5.0, 24.4]),
    person("2", [3.1, 7.3, 5.1, 1.6], [0.5, 2.0, 9.1, 24.3]),
    person("3", [5.9], [7.0]),
]


def bateman(eta: NDArray[Any], t: Floats) -> Any:
    """Concentration after 320 mg, closed form; also of complex effects."""
    ka, cl, v = THEOPHYLLINE.typical({}, {})[0] * np.exp(eta)
    k = cl / v
    return 320 * ka / (v * (ka - k)) * (np.exp(-k * t) - np.exp(-ka * t))


# -------------------------------------------------------------------------------- closed forms


def test_a_linear_model_of_its_effects_is_estimated_in_closed_form() -> None:
    """One state that stays as it was, y = a + η: shrinkage by ω/(ω + v/m), and the covariance exactly."""
    model = PopulationModel(
        name="constant_level", title="", sources=(), time_unit="h", amount_unit="mg",
        parameters=(Parameter("a", "mg/L", 0.09, effect="linear"),), states=("A",),
        initial=lambda theta: theta[:, :1].copy(), routes=(Route("in", "A"),),
        outputs=(Output("C", "mg/L", ResidualError(additive=0.5)),),
        typical=lambda covariates, effects: stack(2.0), solver=Linear(_nothing_moves), observe=_first_state,
    )  # fmt: skip
    y = [2.9, 2.4, 3.1]
    patient = PatientRecords.of("1", [0.0, 1.0, 2.0], evid=0, dv=y)
    fit = estimate(Courses.of(model, [patient]), prior_weight=0.5)
    precision = 0.5 / 0.09 + 3 / 0.25
    eta = sum(v - 2.0 for v in y) / 0.25 / precision
    assert fit.eta[0, 0] == pytest.approx(eta, abs=1e-6)
    assert fit.covariance[0, 0, 0] == pytest.approx(1 / precision, rel=1e-8)
    assert fit.objective[0] == pytest.approx(
        sum(math.log(0.25) + (v - 2.0 - eta) ** 2 / 0.25 for v in y) + 0.5 * eta**2 / 0.09, abs=1e-9
    )
    assert fit.residual[0] == pytest.approx((np.array(y) - 2.0 - eta) / 0.5, abs=1e-6)


def _nothing_moves(t, theta, matrix):
    pass


def _first_state(t, state, theta, output):
    return state[0]


def test_gradients_are_those_of_the_closed_form() -> None:
    """The exact propagator's differences lose nothing to speak of: 1e-10 of the largest."""
    t, eta = np.array([0.5, 1.0, 4.0, 9.0, 24.0]), np.array([0.3, -0.1, 0.05])
    courses = Courses.of(THEOPHYLLINE, [person("1", [5.0] * 5, t.tolist())])
    # derivative of an analytic function by a step in the complex plane: exact to rounding
    slope = np.array([bateman(eta + 1e-30j * axis, t).imag / 1e-30 for axis in np.eye(3)])
    error = THEOPHYLLINE.outputs[0].error.additive
    point = estimation._Problem.of(courses, np.arange(3), 1.0).at(eta[None])
    precision = np.linalg.inv(THEOPHYLLINE.omega)
    f = bateman(eta, t)
    assert point.half_gradient[0] == pytest.approx(slope @ (f - 5.0) / error**2 + precision @ eta, rel=1e-8)
    assert point.half_hessian[0] == pytest.approx(slope @ slope.T / error**2 + precision, rel=1e-8, abs=1e-6)


def test_gradients_of_an_integrated_system_are_as_good_as_of_the_same_system_moved_exactly() -> None:
    written: dict[str, Any] = {
        "states": ("DEPOT", "CENTRAL"), "theta": {"TVCL": 4.0, "TVV": 70.0, "KA": 1.0}, "omega": [0.2, 0.2],
        "parameters": {"CL": "TVCL*exp(ETA1)", "V": "TVV*exp(ETA2)"}, "outputs": {"C": "CENTRAL/V"},
        "errors": {"C": ResidualError(proportional=0.2)},
    }  # fmt: skip
    exact = equation_model(
        "map_exact", ode={"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT - CL/V*CENTRAL"}, **written
    )
    integrated = equation_model(
        "map_integrated", ode={"DEPOT": "-KA*DEPOT", "CENTRAL": "KA*DEPOT - CL/V*CENTRAL*(1 + 0*CENTRAL**2)"},
        **written,
    )  # fmt: skip
    eta, points = np.array([[0.4, -0.3], [0.0, 0.0], [-0.8, 0.5]]), []
    for model in (exact, integrated):
        courses = Courses.of(model, PATIENTS)
        problem = estimation._Problem.of(courses, np.arange(2), 1.0)
        assert problem.coarse == (model is integrated)
        points.append(problem.at(eta))
    for a, b in zip(*points, strict=True):
        assert a == pytest.approx(b, rel=2e-6)


def test_the_estimate_is_the_lowest_point_of_the_written_out_objective() -> None:
    fit = estimate(Courses.of(THEOPHYLLINE, PATIENTS))
    precision, error = np.linalg.inv(THEOPHYLLINE.omega), THEOPHYLLINE.outputs[0].error.additive
    for i, patient in enumerate(PATIENTS):
        t, y = patient.time[1:], patient.dv[1:]

        def objective(eta: Floats, t: Floats = t, y: Floats = y) -> float:
            residual = y - bateman(eta, t)
            return float(np.sum(2 * math.log(error) + (residual / error) ** 2) + eta @ precision @ eta)

        found = minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
        assert fit.objective[i] == pytest.approx(found.fun, abs=1e-8)
        assert fit.eta[i] == pytest.approx(found.x, abs=1e-5)
        assert fit.individual_prediction[i, : len(t)] == pytest.approx(bateman(fit.eta[i], t), rel=1e-10)
        assert fit.population_prediction[i, : len(t)] == pytest.approx(bateman(np.zeros(3), t), rel=1e-10)
    assert fit.converged.all() and set(fit.messages) == {"converged"} and (fit.starts == 1).all()
    assert (fit.gradient_norm < 1e-4).all()
    assert fit.summary() == "3 of 3 estimates converged"


# -------------------------------------------------------------------------------- invariants


def test_an_estimate_does_not_depend_on_the_company() -> None:
    together = estimate(Courses.of(THEOPHYLLINE, PATIENTS))
    for i, patient in enumerate(PATIENTS):
        alone = estimate(Courses.of(THEOPHYLLINE, [patient]))
        assert (alone.eta[0] == together.eta[i]).all()
        assert (alone.covariance[0] == together.covariance[i]).all()


def test_effects_that_are_not_estimated_stay_at_zero() -> None:
    courses = Courses.of(THEOPHYLLINE, PATIENTS)
    fit = estimate(courses, effects=["CL", "ka"])
    assert (fit.eta[:, 2] == 0).all() and (fit.covariance[:, 2] == 0).all()
    held = replace(THEOPHYLLINE, parameters=(*THEOPHYLLINE.parameters[:2], Parameter("V", "L")))
    same = estimate(Courses.of(held, PATIENTS))
    assert same.eta == pytest.approx(fit.eta[:, :2], abs=1e-6)
    with pytest.raises(ValueError, match="unknown effect 'Q'.*ka, CL, V"):
        estimate(courses, effects=["Q"])
    with pytest.raises(ValueError, match="no effect to estimate"):
        estimate(courses, effects=[])


def test_a_prior_that_counts_for_less_trusts_the_patient_more() -> None:
    courses = Courses.of(THEOPHYLLINE, PATIENTS)
    misfit = [
        np.nansum(estimate(courses, prior_weight=weight).residual ** 2, axis=1) for weight in (3.0, 1.0, 0.2)
    ]
    assert (misfit[0] > misfit[1]).all() and (misfit[1] > misfit[2]).all()
    with pytest.raises(ValueError, match="prior_weight = 0"):
        estimate(courses, prior_weight=0.0)


def test_occasions_share_what_the_patient_has_in_common() -> None:
    """Two occasions with the same data: both effects are equal, and split the shift as the variances say."""
    ka, cl, v = THEOPHYLLINE.parameters
    model = replace(THEOPHYLLINE, parameters=(ka, replace(cl, occasion_variance=0.05), v))
    levels = [9.0, 6.0, 1.5]
    patient = PatientRecords.of(
        "1", [0.0, 2.0, 8.0, 24.0] * 2, evid=[1, 0, 0, 0, 4, 0, 0, 0], amount=[320, 0, 0, 0] * 2,
        compartment=[1, 2, 2, 2] * 2, dv=[math.nan, *levels] * 2,
        covariates={"OCC": [1.0] * 4 + [2.0] * 4},
    )  # fmt: skip
    fit = estimate(Courses.of(model, [patient], occasion="OCC"))
    assert fit.courses.names == ("ka", "CL", "V", "CL, occasion 1", "CL, occasion 2")
    _, shift, _, first, second = fit.eta[0]
    assert abs(first) > 0.01
    assert first == pytest.approx(second, abs=1e-7)
    # each occasion's effect has the prior's share of the common one: κ/0.05 twice pulls like η/ω
    assert shift / cl.variance == pytest.approx(2 * first / 0.05, rel=1e-4)


def test_occasions_that_differ_have_the_mode_of_the_written_out_objective() -> None:
    ka, cl, v = THEOPHYLLINE.parameters
    model = replace(THEOPHYLLINE, parameters=(ka, replace(cl, occasion_variance=0.05), v))
    t, levels = np.array([2.0, 8.0, 24.0]), np.array([[9.0, 6.5, 3.0], [7.5, 4.0, 0.8]])
    patient = PatientRecords.of(
        "1", [0.0, *t] * 2, evid=[1, 0, 0, 0, 4, 0, 0, 0], amount=[320, 0, 0, 0] * 2,
        compartment=[1, 2, 2, 2] * 2, dv=[math.nan, *levels[0], math.nan, *levels[1]],
        covariates={"OCC": [1.0] * 4 + [2.0] * 4},
    )  # fmt: skip
    precision = np.diag([1 / ka.variance, 1 / cl.variance, 1 / v.variance, 1 / 0.05, 1 / 0.05])
    error = model.outputs[0].error.additive

    def objective(eta: Floats) -> float:
        total = 6 * math.log(error**2) + float(eta @ precision @ eta)
        for number, y in enumerate(levels):
            shift = np.array([0.0, eta[3 + number], 0.0])
            total += float((((y - bateman(eta[:3] + shift, t)) / error) ** 2).sum())
        return total

    found = lowest(objective, 5)
    fit = estimate(Courses.of(model, [patient], occasion="OCC"))
    assert fit.eta[0] == pytest.approx(found, abs=1e-5)
    assert fit.objective[0] == pytest.approx(objective(found), abs=1e-8)
    assert fit.eta[0, 4] - fit.eta[0, 3] > 0.1  # cleared faster the second time


# ------------------------------------------------------------- several outputs, grades and events

TWO = equation_model(
    "map_two_effects",
    states=("CENTRAL", "AREA"),
    theta={"TVCL": 4.0, "TVV": 20.0, "RATE": 0.05},
    omega=[[0.09, 0.03], [0.03, 0.06]],
    parameters={"CL": "TVCL*exp(ETA1)", "V": "TVV*exp(ETA2)"},
    ode={"CENTRAL": "-CL/V*CENTRAL", "AREA": "CENTRAL/V"},
    outputs={name: "CENTRAL/V" for name in ("LOG", "ADD", "PROP", "COMB", "COMB1")} | {"H": "RATE*AREA"},
    errors={
        "LOG": ResidualError(log_sd=0.2), "ADD": ResidualError(additive=0.4),
        "PROP": ResidualError(proportional=0.15), "COMB": ResidualError(proportional=0.1, additive=0.3),
        "COMB1": ResidualError(proportional=0.1, additive=0.3, adds_sd=True),
    },
    routes=(Route("vein", "CENTRAL"),),
)  # fmt: skip
OUTPUTS = {1: "LOG", 2: "ADD", 3: "PROP", 4: "COMB", 5: "COMB1"}
OMEGA = np.array([[0.09, 0.03], [0.03, 0.06]])


def bolus(eta: Floats, t: float) -> tuple[Any, Any]:
    """Concentration and area under it after 100 mg at 0, closed form; effects (..., 2)."""
    clearance, volume = 4.0 * np.exp(eta[..., 0]), 20.0 * np.exp(eta[..., 1])
    left = np.exp(-clearance / volume * t)
    return 100.0 / volume * left, 100.0 / clearance * (1.0 - left)


def two(time: list[float], dvid: list[int], dv: list[float], **columns: Any) -> PatientRecords:
    r = len(time)
    columns = {key: [math.nan, *value] for key, value in columns.items()}
    return PatientRecords.of(
        "1", [0.0, *time], evid=[1] + [0] * r, amount=[100.0] + [0.0] * r, dvid=[0, *dvid],
        dv=[math.nan, *dv], **columns,
    )  # fmt: skip


def lowest(objective: Any, d: int) -> Floats:
    """Where a function of d effects is lowest, by Nelder and Mead's simplex and BFGS after it."""
    first = minimize(objective, np.zeros(d), method="Nelder-Mead", options={"xatol": 1e-6, "maxiter": 4000})
    return np.asarray(minimize(objective, first.x, method="BFGS", options={"gtol": 1e-9}).x)


@pytest.mark.parametrize("effects", [None, ["ETA1"], ["ETA2"]])
@pytest.mark.parametrize("prior_weight", [1.0, 0.3])
def test_every_kind_of_residual_error_counts_with_its_own_variance(
    effects: list[str] | None, prior_weight: float
) -> None:
    """In one patient, some effects or all, the prior in full or in part."""
    time, dvid = [1.0, 2.0, 3.0, 5.0, 7.0, 9.0], [1, 2, 3, 4, 5, 1]
    y = [5.6, 3.9, 2.6, 2.4, 1.6, 0.7]
    free = [0, 1] if effects is None else [int(effects[0][-1]) - 1]
    precision = prior_weight * np.linalg.inv(OMEGA)

    def objective(x: Floats) -> float:
        eta = np.zeros(2)
        eta[free] = x
        total = float(eta @ precision @ eta)
        for t, number, value in zip(time, dvid, y, strict=True):
            f = float(bolus(eta, t)[0])
            if number == 1:
                total += math.log(0.04) + (math.log(value) - math.log(f)) ** 2 / 0.04
                continue
            v = {2: 0.16, 3: (0.15 * f) ** 2, 4: (0.1 * f) ** 2 + 0.09, 5: (0.1 * f + 0.3) ** 2}[number]
            total += math.log(v) + (value - f) ** 2 / v
        return total

    found = lowest(objective, len(free))
    courses = Courses.of(TWO, [two(time, dvid, y)], outputs=OUTPUTS)
    fit = estimate(courses, prior_weight=prior_weight, effects=effects)
    assert fit.converged[0]
    assert fit.eta[0, free] == pytest.approx(found, abs=1e-6)
    assert np.delete(fit.eta[0], free).tolist() == [0.0] * (2 - len(free))
    assert fit.objective[0] == pytest.approx(objective(found), abs=1e-9)


def graded_and_asked(eta: Floats) -> Any:
    """Log likelihood of `GRADED_AND_ASKED`, written out; effects (..., 2)."""
    (early, _), (late, to_six), (_, to_twelve) = (bolus(eta, t) for t in (2.0, 6.0, 12.0))
    value = norm.logpdf(4.4, early, 0.4)
    sd = 0.15 * late
    grade = np.log(norm.cdf((1.0 - late) / sd) - norm.cdf((0.5 - late) / sd))
    absent, happened = -0.05 * to_six, np.log(1.0 - np.exp(-0.05 * (to_twelve - to_six)))
    return value + grade + absent + happened


# a value, a grade 2 (0.5 to 1), no event up to 6 h, and one from then to 12 h
GRADED_AND_ASKED = two([2.0, 6.0, 6.0, 12.0], [2, 7, 8, 8], [4.4, 2, 0, 1])
ANC = {7: Graded("PROP", (2.0, 1.0, 0.5))}
EVENT = {8: Happened("H")}


def test_grades_and_events_have_the_mode_of_the_written_out_posterior() -> None:
    precision = np.linalg.inv(OMEGA)
    courses = Courses.of(TWO, [GRADED_AND_ASKED], outputs=OUTPUTS, grades=ANC, events=EVENT)
    fit = estimate(courses)
    found = lowest(lambda eta: float(eta @ precision @ eta - 2.0 * graded_and_asked(eta)), 2)
    assert fit.converged[0]
    assert fit.eta[0] == pytest.approx(found, abs=1e-5)
    # the constant of the one value is left out
    expected = found @ precision @ found - 2.0 * graded_and_asked(found) - math.log(2 * math.pi)
    assert fit.objective[0] == pytest.approx(expected, abs=1e-9)
    assert not fit.all_below_limit[0]
    # what the search without derivatives is told
    problem = estimation._Problem.of(courses, np.arange(2), 1.0)
    assert problem.objective(fit.eta[:, None])[0, 0] == pytest.approx(fit.objective[0], abs=1e-12)
    # only the value has a residual
    assert np.isfinite(fit.residual[0]).tolist() == [True] + [False] * 4


def test_the_covariance_of_events_is_by_fishers_information() -> None:
    courses = Courses.of(TWO, [two([6.0, 12.0], [8, 8], [0, 1])], outputs=OUTPUTS, events=EVENT)
    fit = estimate(courses)
    precision, (h, step) = np.linalg.inv(OMEGA), (1e-6, np.eye(2) * 1e-6)

    def hazards(eta: Floats) -> Floats:
        to_six, to_twelve = (0.05 * bolus(eta, t)[1] for t in (6.0, 12.0))
        return np.array([to_six, to_twelve - to_six])

    for hazard, slope in zip(
        hazards(fit.eta[0]),
        np.array([(hazards(fit.eta[0] + s) - hazards(fit.eta[0] - s)) / (2 * h) for s in step]).T,
        strict=True,
    ):
        precision = precision + np.outer(slope, slope) / math.expm1(hazard)
    assert np.linalg.inv(fit.covariance[0]) == pytest.approx(precision, rel=1e-6)


def test_particles_of_grades_and_events_have_the_moments_of_quadrature() -> None:
    axis = np.linspace(-6, 6, 601)
    z = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    with np.errstate(divide="ignore"):
        eta = z @ np.linalg.cholesky(OMEGA).T
        log_density = graded_and_asked(eta) - 0.5 * (z**2).sum(axis=1) - math.log(2 * math.pi)
    weight = np.exp(log_density - log_density.max())
    mean = weight @ eta / weight.sum()
    sd = np.sqrt(weight @ (eta - mean) ** 2 / weight.sum())
    marginal = math.log(weight.sum() * (axis[1] - axis[0]) ** 2) + log_density.max()
    courses = Courses.of(TWO, [GRADED_AND_ASKED], outputs=OUTPUTS, grades=ANC, events=EVENT)
    posterior = sample(courses, particles=4096, seed=3)
    found_mean, found_sd = posterior.mean_sd()
    assert (found_mean[0] - mean) / sd == pytest.approx([0.0, 0.0], abs=0.02)
    assert found_sd[0] == pytest.approx(sd, rel=0.02)
    assert posterior.log_marginal[0] == pytest.approx(marginal, abs=0.02)


def test_the_grade_below_a_limit_is_the_method_m3() -> None:
    time, y = [2.0, 16.0], [4.4, math.nan]
    below = two(time, [2, 2], y, limit=[math.nan, 0.5])
    graded = two(time, [2, 7], [4.4, 1])
    grades = {7: Graded("ADD", [0.5], descending=True)}
    m3 = Courses.of(TWO, [below], outputs=OUTPUTS)
    same = Courses.of(TWO, [graded], outputs=OUTPUTS, grades=grades)
    expected, found = estimate(m3), estimate(same)
    assert (found.eta == expected.eta).all() and (found.covariance == expected.covariance).all()
    assert found.objective == expected.objective
    assert (sample(same, particles=64).log_marginal == sample(m3, particles=64).log_marginal).all()


def test_objective_and_log_likelihood_differ_by_the_constants_that_nonmem_leaves_out() -> None:
    fit = estimate(Courses.of(THEOPHYLLINE, PATIENTS))
    for i, patient in enumerate(PATIENTS):
        y, m = patient.dv[1:], len(patient) - 1
        error = THEOPHYLLINE.outputs[0].error
        logs = log_likelihood(error, fit.individual_prediction[i, :m], y, y)
        prior = fit.eta[i] @ np.linalg.inv(THEOPHYLLINE.omega) @ fit.eta[i]
        assert fit.objective[i] == pytest.approx(
            -2 * logs.sum() - m * math.log(2 * math.pi) + prior, rel=1e-10
        )


# ---------------------------------------------------------------------- below the limit, and other trouble


def test_below_the_limit_of_quantification_the_probability_counts() -> None:
    limit = 1.5
    courses = Courses.of(
        THEOPHYLLINE,
        [person("1", [8.0, math.nan], [2.0, 24.0], limit=[math.nan, limit])],
    )
    fit = estimate(courses)
    error = THEOPHYLLINE.outputs[0].error.additive

    def objective(eta: Floats) -> float:
        early, late = bateman(eta, np.array([2.0, 24.0]))
        seen = 2 * math.log(error) + ((8.0 - early) / error) ** 2
        hidden = -2 * norm.logcdf((limit - late) / error)
        return float(seen + hidden + eta @ np.linalg.inv(THEOPHYLLINE.omega) @ eta)

    found = minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-8})
    assert fit.objective[0] == pytest.approx(found.fun, abs=1e-7)
    assert fit.eta[0] == pytest.approx(found.x, abs=1e-4)
    assert np.isnan(fit.residual[0, 1])
    assert not fit.all_below_limit[0]
    assert conditional_covariance(courses, fit.eta) == pytest.approx(fit.covariance, rel=1e-12)


def test_a_patient_with_everything_below_the_limit_is_estimated_and_flagged() -> None:
    fit = estimate(Courses.of(THEOPHYLLINE, [person("9", [math.nan], [6.0], limit=[1.0])]))
    assert fit.all_below_limit.tolist() == [True]
    assert fit.converged[0]
    assert fit.eta[0, 1] > 0.1  # cleared faster than is typical
    assert "patient 9: every measurement is below the limit" in fit.summary()


def test_what_cannot_be_computed_is_said_and_no_prior_mean_passes_for_an_estimate() -> None:
    logarithmic = replace(
        THEOPHYLLINE, outputs=(replace(THEOPHYLLINE.outputs[0], error=ResidualError(log_sd=0.2)),)
    )
    zero = person("5", [0.0, 4.0], [0.5, 8.0])
    fit = estimate(Courses.of(logarithmic, [PATIENTS[0], zero]))
    assert fit.converged.tolist() == [True, False]
    assert fit.objective[1] == np.inf
    assert fit.starts[1] == 5
    assert "1 of 2 estimates converged" in fit.summary()
    assert "patient 5: not converged, the objective cannot be computed" in fit.summary()


def test_patients_without_measurement_and_outputs_without_error_are_refused() -> None:
    unseen = PatientRecords.of("8", [0.0, 1.0], amount=[320, 0], evid=[1, 2], compartment=1)
    with pytest.raises(ValueError, match="patient '8' has no measurement.*leave the patient out"):
        estimate(Courses.of(THEOPHYLLINE, [*PATIENTS, unseen]))
    exact = replace(THEOPHYLLINE, outputs=(replace(THEOPHYLLINE.outputs[0], error=ResidualError()),))
    with pytest.raises(ValueError, match="'C' is measured, but has no residual error"):
        estimate(Courses.of(exact, PATIENTS, outputs={2: "C"}))


# -------------------------------------------------------------------------------- against NONMEM


@pytest.mark.parametrize("model_id", ["001", "003", "006", "201", "407", "901", "951"])
def test_estimates_and_covariances_are_nonmems(shared: Path, model_id: str) -> None:
    """NONMEM 7, FOCE with interaction; at kinks (003, 006) a lower objective is right as well."""
    folder = shared / "reference" / "mapbayes"
    fit = estimate(courses_of(entries(folder / "models.json")[model_id], folder))
    assert fit.converged.all(), fit.summary()
    # a mode on the end of a lag is said to be one; elsewhere the gradient vanishes
    assert any("kink" in message for message in fit.messages) == (model_id == "003")
    assert (fit.gradient_norm[[message == "converged" for message in fit.messages]] < 1e-3).all()
    place = {name: i for i, name in enumerate(fit.courses.ids)}
    d, alike = fit.eta.shape[1], set[str]()
    for row in csv.DictReader((folder / "expected_map.csv").open()):
        if row["model"] != model_id:
            continue
        i, expected = place[row["id"]], [float(row[f"eta{j + 1}"]) for j in range(d)]
        if row["ofv"]:
            assert fit.objective[i] <= float(row["ofv"]) + 1e-3
        if np.abs(np.exp(fit.eta[i] - expected) - 1).max() < 1e-3:
            alike.add(row["id"])
    assert len(alike) >= (17 if model_id in ("003", "006") else 20)
    compared = 0
    for row in csv.DictReader((folder / "expected_covariance.csv").open()):
        if row["model"] == model_id and row["id"] in alike:
            i, j, k = place[row["id"]], int(row["i"]) - 1, int(row["j"]) - 1
            size = math.sqrt(fit.covariance[i, j, j] * fit.covariance[i, k, k])
            tolerance = 1e-2 if model_id in ("003", "006") else 1e-3
            assert fit.covariance[i, j, k] == pytest.approx(float(row["cov"]), abs=tolerance * size)
            compared += 1
    assert compared >= len(alike) * d * (d + 1) // 2


def test_fifty_patients_of_a_bolus_are_nonmems_posthoc(shared: Path) -> None:
    rows: dict[str, list[dict[str, str]]] = {}
    with (shared / "reference" / "mapbayes" / "bolus_1cmt_nonmem.csv").open() as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["id"], []).append(row)
    model = equation_model(
        "map_bolus", states=("CENTRAL",), theta={"TVCL": 7.67, "TVV": 97.7},
        omega=[[0.0406, 0.0623], [0.0623, 0.117]],
        parameters={"CL": "TVCL*exp(ETA1)", "V": "TVV*exp(ETA2)"}, ode={"CENTRAL": "-CL/V*CENTRAL"},
        outputs={"C": "CENTRAL/V*1000"}, errors={"C": ResidualError(additive=math.sqrt(17300))},
    )  # fmt: skip
    patients = []
    for name, mine in rows.items():
        times = sorted(
            [(0.0, 0, 0.0), (24.0, 0, 0.0)] + [(float(r["time"]), 1, float(r["dv"])) for r in mine]
        )
        time, seen, dv = np.array(times).T
        patients.append(
            PatientRecords.of(
                name, time, evid=1 - seen, amount=100 * (1 - seen), dv=np.where(seen == 1, dv, np.nan)
            )
        )
    fit = estimate(Courses.of(model, patients))
    assert fit.converged.all() and len(fit.eta) == 50
    for i, mine in enumerate(rows.values()):
        individual = [float(mine[0][key]) for key in ("cl", "v")]
        assert fit.theta[i, 0, :2] == pytest.approx(individual, rel=5e-3)
        place = [int(np.flatnonzero(fit.courses.sample_time[i] == float(r["time"]))[0]) for r in mine]
        assert fit.individual_prediction[i, place] == pytest.approx(
            [float(r["ipred"]) for r in mine], rel=5e-3
        )
        assert fit.residual[i, place] == pytest.approx([float(r["iwres"]) for r in mine], abs=1e-2)
