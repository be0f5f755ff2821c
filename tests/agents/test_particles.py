"""Posteriors of recorded patients against quadrature, published chains, and each other."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.factor import LikelihoodFactor
from dosewright.agents.estimation.importance import Points, _pooled
from dosewright.agents.estimation.mixture import Mixture, quasi_random
from dosewright.agents.estimation.particles import Posterior, recorded_likelihood, sample
from dosewright.agents.estimation.resample_move import resample_move
from dosewright.agents.regimens.quantities import Area, Level, Plan
from dosewright.agents.regimens.search import Draws, find_dose, first_time
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
from dosewright.envs.pharmacology.equations import equation_model


def _rates(t, theta, matrix):
    matrix[0, 0] = -theta[0] / theta[1]


def _observe(t, state, theta, output):
    return state[0] / theta[1]


def one_compartment(variance: float, error: float) -> PopulationModel:
    return PopulationModel(
        name="one_compartment", title="One compartment, bolus", sources=("test",), time_unit="h",
        amount_unit="mg", parameters=(Parameter("CL", "L/h", variance), Parameter("V", "L", variance)),
        states=("CENTRAL",), initial=empty(1), routes=(Route("iv", "CENTRAL"),),
        outputs=(Output("C", "mg/L", ResidualError(proportional=error)),),
        typical=lambda covariates, effects: stack(5.0, 50.0), solver=Linear(_rates), observe=_observe,
    )  # fmt: skip


def patient(
    name: str, times: list[float], dv: list[float], limit: list[float] | None = None
) -> PatientRecords:
    m = len(times)
    return PatientRecords.of(
        name, [0.0, *times], amount=[1000.0, *[np.nan] * m], evid=[1, *[0] * m], dv=[np.nan, *dv],
        limit=[np.nan, *(limit or [np.nan] * m)], compartment=1,
    )  # fmt: skip


MODEL, WIDE = one_compartment(0.09, 0.15), one_compartment(1.0, 0.05)
PEOPLE = [
    patient("a", [1.0, 6.0, 12.0], [17.0, 13.0, 9.0]),
    patient("b", [4.0], [20.0]),
    patient("c", [24.0, 30.0], [np.nan, np.nan], [0.8, 0.8]),
]


class Grid:
    """Posterior of two effects by quadrature on a grid from -6 to 6 prior SDs."""

    def __init__(self, courses: Courses, points: int = 400) -> None:
        sd = float(np.sqrt(courses.omega[0, 0]))
        axis = np.linspace(-6 * sd, 6 * sd, points)
        self.eta = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(1, -1, 2)
        log_prior = -0.5 * (self.eta**2).sum(axis=-1) / sd**2 - np.log(2 * np.pi * sd**2)
        eta = np.repeat(self.eta, len(courses), axis=0)
        log_density = log_prior + recorded_likelihood(courses, eta)
        top = log_density.max(axis=1, keepdims=True)
        density = np.exp(log_density - top)
        self.log_marginal = top[:, 0] + np.log(density.sum(axis=1) * (axis[1] - axis[0]) ** 2)
        weight = density / density.sum(axis=1, keepdims=True)
        self.mean = weight @ self.eta[0]
        self.sd = np.sqrt(weight @ self.eta[0] ** 2 - self.mean**2)


def agrees(posterior: Posterior, grid: Grid, mean: float, sd: float, marginal: float) -> None:
    found, spread = posterior.mean_sd()
    assert np.abs((found - grid.mean) / grid.sd).max() < mean
    assert np.abs(spread / grid.sd - 1).max() < sd
    assert np.abs(posterior.log_marginal - grid.log_marginal).max() < marginal


# ------------------------------------------------------------------------------------------------ quadrature


@pytest.fixture(scope="module")
def courses() -> Courses:
    return Courses.of(MODEL, PEOPLE)


def test_moments_and_marginal_likelihood_are_those_of_quadrature(courses: Courses) -> None:
    posterior = sample(courses, particles=2048)
    assert not posterior.moved.any()
    agrees(posterior, Grid(courses), mean=0.04, sd=0.04, marginal=0.03)
    assert (posterior.log_marginal_error < 0.03).all()


def test_a_thin_bent_posterior() -> None:
    # one accurate level of a patient who may be anyone: CL and V on a curve, the prior everywhere along it
    wide = Courses.of(WIDE, [patient("x", [8.0], [4.0]), patient("y", [24.0], [0.5])])
    posterior = sample(wide, particles=2048)
    assert (posterior.effective_size > 0.25 * 2048).all()
    agrees(posterior, Grid(wide, 600), mean=0.1, sd=0.15, marginal=0.08)


def test_moved_particles_count_as_their_ancestors() -> None:
    # from the prior to a posterior with a hundredth of its volume: 1 in 30 particles at best has descendants
    n, k, rng = 1, 4096, np.random.default_rng(4)
    omega = np.eye(2)
    prior = Mixture.normal(n, np.zeros(2), omega)

    def wanted(eta: np.ndarray, rows: np.ndarray) -> np.ndarray:
        near = -0.5 * (((eta - 1.5) / 0.1) ** 2).sum(axis=-1)
        far = -0.5 * (((eta + 1.5) / 0.1) ** 2).sum(axis=-1) + np.log(0.25)
        return np.logaddexp(near, far)

    def fit(eta: np.ndarray, weight: np.ndarray, rows: np.ndarray) -> Mixture:
        return Mixture.fitted(eta, 4, omega)

    moved = resample_move(
        rng.normal(size=(n, k, 2)), np.full((n, k), -np.log(k)),
        lambda eta, rows: prior.log_density(eta), wanted, fit, 0, ["one"],
    )  # fmt: skip
    error = np.sqrt(moved.variance[0])
    # the integral is 2π·0.01·1.25, a fifth of it in the far mode
    assert abs(moved.log_ratio[0] - np.log(2 * np.pi * 0.0125)) < 3 * error
    assert abs((moved.eta[0, :, 0] < 0).mean() - 0.2) < 0.1
    assert 0.03 < error < 0.4 and (moved.acceptance > 0.1).all()


def test_fitted_mixture_covers_its_points() -> None:
    # two clusters of 3:1; a mixture of t densities has the points' mean and shares
    rng = np.random.default_rng(2)
    points = 0.1 * rng.normal(size=(1, 1024, 2)) + np.where(np.arange(1024) % 4 == 0, 3.0, -1.0)[:, None]
    mixture = Mixture.fitted(points, 5, np.eye(2))
    right = mixture.centres[0, :, 0] > 1.0
    assert mixture.share[0, right].sum() == pytest.approx(0.25, abs=0.02)
    drawn = mixture.at(quasi_random(4096, 4, 1))
    assert drawn[0].mean(axis=0) == pytest.approx(points[0].mean(axis=0), abs=0.05)
    # its density integrates to 1: importance weights of the prior's draws have mean 1 over it
    prior = Mixture.normal(1, np.zeros(2), 9.0 * np.eye(2))
    eta = prior.at(quasi_random(2**14, 4, 3))
    assert np.exp(mixture.log_density(eta) - prior.log_density(eta)).mean() == pytest.approx(1.0, abs=0.05)


def test_points_of_a_larger_round_count_for_more() -> None:
    # all points are draws of the mixture of the proposals, each with its share of the points: of a density
    # that integrates to 1 their importance weights have mean 1
    wide, thin = (
        Mixture.normal(1, np.array([centre]), np.array([[variance]]))
        for centre, variance in ((0.0, 4.0), (2.0, 0.25))
    )

    def drawn(proposal: Mixture, count: int) -> Points:
        eta = proposal.at(quasi_random(count, 3, 5))
        nothing = np.zeros((1, count))
        return Points(eta, nothing, nothing, proposal.log_density(eta))

    pooled = _pooled(drawn(wide, 256), drawn(thin, 2048), [(0.0, wide), (math.log(8.0), thin)])
    density = np.exp(-0.5 * (pooled.eta[..., 0] - 1.0) ** 2) / math.sqrt(2 * math.pi)
    assert np.mean(density / np.exp(pooled.log_proposal - math.log(9.0))) == pytest.approx(1.0, abs=0.01)


def test_without_measurements_the_posterior_is_the_prior() -> None:
    nobody = Courses.of(MODEL, [PEOPLE[0], patient("n", [], [])])
    posterior = sample(nobody, particles=1024)
    mean, sd = posterior.mean_sd()
    assert np.abs(mean[1]).max() < 0.01 and np.abs(sd[1] / 0.3 - 1).max() < 0.02
    assert posterior.log_marginal[1] == pytest.approx(0.0, abs=0.02)


def test_results_depend_on_the_seed_and_on_nobody_else(courses: Courses) -> None:
    three, one = sample(courses, particles=256, seed=5), sample(courses.select([2]), particles=256, seed=5)
    np.testing.assert_allclose(three.eta[2], one.eta[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(three.eta, sample(courses, particles=256, seed=5).eta)
    assert not np.array_equal(three.eta, sample(courses, particles=256, seed=6).eta)
    with pytest.raises(ValueError, match="particles = 100; expected a power of two"):
        sample(courses, particles=100)


# --------------------------------------------------------------------------------------------------- new data


def test_extending_equals_sampling_anew() -> None:
    before = Courses.of(MODEL, [patient("a", [1.0], [17.0]), patient("b", [1.0], [17.0])])
    # the second patient's next levels are far from what the first one said
    after = Courses.of(
        MODEL, [patient("a", [1.0, 12.0], [17.0, 6.5]), patient("b", [1.0, 24.0, 30.0], [17.0, 0.06, 0.02])]
    )
    extended = sample(before, particles=2048).extend(after)
    assert not extended.moved.any()
    agrees(extended, Grid(after, 600), mean=0.05, sd=0.05, marginal=0.05)
    with pytest.raises(ValueError, match="cannot extend"):
        extended.extend(after.select([0]))


def test_predictions_of_future_levels(courses: Courses) -> None:
    posterior = sample(courses, particles=1024)
    times, doses = [24.0, 36.0], [Dose(24.0, 500.0)]
    truth = posterior.predict(times, doses, ["C"])[..., 0]
    theta = posterior.parameters()[:, :, 0]
    k, v = theta[..., 0] / theta[..., 1], theta[..., 1]
    by_hand = 1000 / v * np.exp(-k * 36) + 500 / v * np.exp(-k * 12)
    np.testing.assert_allclose(truth[..., 1], by_hand, rtol=1e-9)
    fresh = posterior.predict([36.0], doses, ["C"], history=False)[..., 0, 0]
    np.testing.assert_allclose(fresh, 500 / v * np.exp(-k * 12), rtol=1e-9)
    # an assay of 15 % adds to the spread: var = var f + 0.15² E f²
    seen = posterior.predict(times, doses, ["C"], measured=True)[..., 0]
    f, sd = posterior.mean_sd(truth[..., 1])
    expected = np.sqrt(sd**2 + 0.15**2 * (f**2 + sd**2))
    assert posterior.mean_sd(seen[..., 1])[1] == pytest.approx(expected, rel=0.1)
    low, high = (posterior.quantile(truth[..., 1], q) for q in (0.05, 0.95))
    inside = posterior.probability((truth[..., 1] >= low[:, None]) & (truth[..., 1] <= high[:, None]))
    assert inside == pytest.approx(np.full(3, 0.9), abs=0.01)


def test_a_search_in_recorded_courses_is_that_in_the_model(courses: Courses) -> None:
    posterior = sample(courses, particles=256)
    theta, weight = posterior.parameters()[0, :, 0], posterior.weight[0]
    recorded = Draws.of_courses(courses, 0, posterior.eta[0], weight)
    by_model = Draws.of_model(MODEL, theta, weight, history=[Dose(0.0, 1000.0)])
    plan = Plan(start=24.0, interval=12.0, count=4)
    one, two = (find_dose(x, plan, Area(24.0, 72.0), 800.0, probability=0.8) for x in (recorded, by_model))
    assert one.value == pytest.approx(two.value, rel=1e-9) and one.probability >= 0.8
    # at steady state the area of an interval is dose over clearance
    steady = Plan(interval=12.0, steady=True)
    found = find_dose(recorded, steady, Area(0.0, 12.0), 100.0)
    assert found.value == pytest.approx(100.0 / (weight @ (1 / theta[:, 0])), rel=1e-6)


# ---------------------------------------------------------------------------------------------------- factors


def test_a_factor_under_another_population_is_its_posterior(courses: Courses) -> None:
    mean, omega = np.array([0.2, -0.1]), np.array([[0.05, 0.02], [0.02, 0.12]])
    factor = LikelihoodFactor.of(courses, particles=4096)
    again, anew = factor.reweighted(mean, omega), sample(courses, particles=4096, mean=mean, omega=omega)
    (m, s), (m_new, s_new) = again.mean_sd(), anew.mean_sd()
    assert np.abs((m - m_new) / s_new).max() < 0.06 and np.abs(s / s_new - 1).max() < 0.05
    assert again.log_marginal == pytest.approx(anew.log_marginal, abs=0.05)
    with pytest.raises(ValueError, match="population with mean"):
        factor.reweighted(mean[:1], omega)


def test_factors_of_independent_records_multiply_and_one_patient_can_leave() -> None:
    both = Courses.of(MODEL, [patient("a", [1.0, 12.0], [17.0, 6.5]), patient("b", [2.0, 6.0], [25.0, 11.0])])
    first = Courses.of(MODEL, [patient("a", [1.0], [17.0]), patient("b", [2.0], [25.0])])
    second = Courses.of(MODEL, [patient("a", [12.0], [6.5]), patient("b", [6.0], [11.0])])
    one = LikelihoodFactor.of(first, particles=2048)
    product = one * one.at(second)
    zero, omega = np.zeros(2), both.omega
    whole = LikelihoodFactor.of(both, particles=2048).reweighted(zero, omega)
    assert product.reweighted(zero, omega).log_marginal == pytest.approx(whole.log_marginal, abs=0.05)
    left = product.select([1]).reweighted(zero, omega)
    assert left.log_marginal[0] == product.reweighted(zero, omega).log_marginal[1]
    with pytest.raises(ValueError, match="different particles"):
        _ = one * LikelihoodFactor.of(second, particles=2048)


# ------------------------------------------------------------------------------------------- published chains


def reference(shared: Path, name: str) -> tuple[Courses, list[str], Path]:
    """The simulated patients of a reference model, with the error of the published posteriors."""
    pl = pytest.importorskip("polars")
    folder = shared / "reference" / "mapbayes"
    if not folder.is_dir():
        pytest.skip(f"no reference at {folder}")
    files = json.loads((folder / "models.json").read_text())
    file: Mapping[str, Any] = next(item for item in files if item["id"] == name)
    model = equation_model(
        f"reference_{name}", states=file["states"], theta=file["theta"], omega=file["omega"],
        parameters=file["params"], ode=file["ode"], outputs={"C": file["outputs"]["2"]},
        errors={"C": ResidualError(proportional=0.05)},
        routes=(Route("oral", "DEPOT", lag=file.get("lag", {}).get("1")), Route("iv", "CENTRAL")),
    )  # fmt: skip
    table = pl.read_csv(
        folder / "events.csv", schema_overrides={"model": pl.String}, infer_schema_length=None
    )
    records = []
    for (number,), rows in table.filter(pl.col("model") == name).group_by("id", maintain_order=True):
        column = {item: rows[item].to_numpy().astype(float) for item in
                  ("time", "evid", "amt", "cmt", "ii", "addl", "ss", "rate", "mdv", "dv")}  # fmt: skip
        records.append(
            PatientRecords.of(
                str(number), column["time"], evid=column["evid"], amount=column["amt"],
                compartment=column["cmt"], interval=column["ii"], additional=column["addl"],
                steady=column["ss"], rate=column["rate"], mdv=column["mdv"], dv=column["dv"],
            )
        )  # fmt: skip
    return Courses.of(model, records, outputs={2: "C"}), file["eta"], folder


def rows_of(folder: Path, file: str, name: str) -> list[dict[str, Any]]:
    import polars as pl

    table = pl.read_csv(folder / file, schema_overrides={"model": pl.String})
    return list(table.filter(pl.col("model") == name).iter_rows(named=True))


def check_moments(
    posterior: Posterior, etas: list[str], rows: list[dict[str, Any]], limits: tuple[float, float]
) -> int:
    """Number of published moments that are missed."""
    mean, sd = posterior.mean_sd()
    missed = 0
    for row in rows:
        i, j = posterior.courses.ids.index(str(row["id"])), etas.index(row["param"])
        off = abs(mean[i, j] - row["posterior_mean"]) / row["posterior_sd"]
        missed += off > limits[0] or abs(sd[i, j] / row["posterior_sd"] - 1) > limits[1]
    return missed


def check_doses(posterior: Posterior, rows: list[dict[str, Any]]) -> None:
    """Doses and times at which 89 % of the draws reach a target are the published ones, within 5 %."""
    patients = {
        name: Draws.of_courses(posterior.courses, i, posterior.eta[i], posterior.weight[i], history=False)
        for i, name in enumerate(posterior.courses.ids)
    }
    plan = Plan(route="oral")
    for row in rows:
        draws = patients[str(row["id"])]
        published = np.mean([row[sampler] for sampler in ("monolix", "mcmc", "sir")])
        if row["target"] == "time_below_0.5_after_100":
            times = 3.0 + 0.1 * np.arange(max(int(12 * published) - 30, 1) + 10)
            found = first_time(draws, plan, 100.0, 0.5, times, probability=0.89)
        elif row["target"] == "dose_c3h_30":
            found = find_dose(draws, plan, Level(3.0), 30.0, probability=0.89)
        else:
            found = find_dose(draws, plan, Area(0.0, 12.0, total="AUC_C"), 500.0, probability=0.89)
        # a grid time may fall on either side
        assert found.value == pytest.approx(published, rel=0.05, abs=0.1), row


# patients of model 504: mean and SD of CL, VC, KA and log marginal by quadrature, midpoints on a grid from
# −6 to 6 that is refined where the density is, to cells of 0.006 (of 0.02: the same digits). Patients 1, 7
# and 9 have a far second mode, of slow absorption, with 2, 0.1 and 2 % of the mass; 17 is bent.
QUADRATURE = {
    "1": ([0.8999, 0.1507, -0.1244], [0.0256, 0.2723, 0.3027], -18.5166),
    "7": ([0.5190, 0.0083, 0.7756], [0.0257, 0.0990, 0.3955], -23.0396),
    "9": ([0.4968, -0.4882, -0.1548], [0.0282, 0.2190, 0.2318], -25.2250),
    "15": ([1.0023, 0.0602, -1.0586], [0.0299, 0.3582, 0.3727], -24.9686),
    "17": ([0.3505, 0.5533, -1.6843], [0.1161, 0.3011, 0.3301], -26.2026),
}


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_far_and_narrow_modes_have_the_mass_that_quadrature_finds(shared: Path, seed: int) -> None:
    courses, etas, _ = reference(shared, "504")
    order = [etas.index(name) for name in ("CL", "VC", "KA")]
    posterior = sample(courses.select([courses.ids.index(name) for name in QUADRATURE]), seed=seed)
    mean, sd = posterior.mean_sd()
    want_mean, want_sd, marginal = (np.array(part) for part in zip(*QUADRATURE.values(), strict=True))
    assert np.abs((mean[:, order] - want_mean) / want_sd).max() < 0.12
    assert np.abs(sd[:, order] / want_sd - 1).max() < 0.25
    assert (np.abs(posterior.log_marginal - marginal) < 3.5 * posterior.log_marginal_error).all()
    assert (posterior.effective_size > 0.15 * 4096).all()


def test_published_posteriors_and_doses(shared: Path) -> None:
    courses, etas, folder = reference(shared, "101")
    few = courses.select(np.arange(4))
    rows = [row for row in rows_of(folder, "posterior_moments.csv", "101") if str(row["id"]) in few.ids]
    doses = [row for row in rows_of(folder, "posterior_doses.csv", "101") if str(row["id"]) in few.ids]
    posterior = sample(few)
    assert check_moments(posterior, etas, rows, (0.15, 0.10)) == 0
    check_doses(posterior, doses[::3])


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, limits", [("001", (0.05, 0.04)), ("003", (0.15, 0.10)), ("101", (0.15, 0.10))]
)
def test_published_posteriors_within_their_own_tolerance(
    shared: Path, name: str, limits: tuple[float, float]
) -> None:
    courses, etas, folder = reference(shared, name)
    posterior = sample(courses, particles=2**15)
    assert check_moments(posterior, etas, rows_of(folder, "posterior_moments.csv", name), limits) <= (
        name == "003"
    )
    check_doses(posterior, rows_of(folder, "posterior_doses.csv", name))
