"""Visual predictive checks: the statistic where the truth is known; reference fits on real patients."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.optimize import least_squares

from dosewright.envs.pharmacology import Dose, PopulationModel, ResidualError, simulate
from dosewright.envs.pharmacology.models import phenobarbital_neonates, theophylline_oral, warfarin_oreilly
from dosewright.evaluation.predictive_check import (
    Design,
    draw_check,
    nominal_edges,
    predict_study,
    predictive_check,
    simulate_study,
)

Floats = NDArray[np.float64]

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "predictive_check.py"
CHECKS = ("Theophylline", "Warfarin", "Warfarin, response", "Phenobarbital")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("predictive_check_example", EXAMPLE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


# --------------------------------------------------------------------------------------------- the statistic

SUBJECTS, HOURS = 40, np.array([1.0, 2.0, 4.0, 8.0, 12.0, 24.0, 36.0, 48.0, 60.0, 72.0])
TIME = np.tile(HOURS, SUBJECTS)


def studies(rng: np.random.Generator, count: int, rate: float = 0.03, spread: float = 0.3) -> Floats:
    """(count, n) studies of 40 people: exponential decline, log-normal rates and levels, 10 % assay error."""
    rates = rate * np.exp(spread * rng.standard_normal((count, SUBJECTS, 1)))
    levels = 10.0 * np.exp(spread * rng.standard_normal((count, SUBJECTS, 1)))
    noise = np.exp(0.1 * rng.standard_normal((count, SUBJECTS, len(HOURS))))
    return (levels * np.exp(-rates * HOURS) * noise).reshape(count, -1)


@pytest.fixture(scope="module")
def observed_studies() -> Floats:
    return studies(np.random.default_rng(1), 300)


def share_passing(observed: Floats, simulated: Floats) -> float:
    edges = nominal_edges(TIME, HOURS)
    return float(np.mean([predictive_check(row, simulated, TIME, edges).passes for row in observed]))


def test_right_model_passes_in_most_studies_as_often_as_it_says(observed_studies: Floats) -> None:
    simulated = studies(np.random.default_rng(2), 1000)
    check = predictive_check(observed_studies[0], simulated, TIME, nominal_edges(TIME, HOURS))
    share = share_passing(observed_studies[:150], simulated)
    assert 0.6 < share < 0.95
    # the rate foretold from the model's own replicates, within three standard errors of 150 studies
    foretold = check.pass_rate(simulated)
    assert abs(share - foretold) < 3 * math.sqrt(foretold * (1 - foretold) / 150)
    # fewer bands than bins times percentiles are independent: 0.95 of each, not of all
    inside = (check.low <= check.summary(observed_studies)) & (check.summary(observed_studies) <= check.high)
    assert inside.mean() == pytest.approx(0.95, abs=0.015)


@pytest.mark.parametrize(
    "wrong",
    [{"rate": 0.045}, {"spread": 0.15}, {"spread": 0.6}],
    ids=["rate × 1.5", "spread / 2", "spread × 2"],
)
def test_wrong_model_fails(observed_studies: Floats, wrong: dict[str, float]) -> None:
    simulated = studies(np.random.default_rng(3), 400, **wrong)
    assert share_passing(observed_studies[:40], simulated) == 0.0
    check = predictive_check(observed_studies[0], simulated, TIME, nominal_edges(TIME, HOURS))
    assert check.pass_rate(observed_studies) < 0.01


@pytest.mark.parametrize("limit", [None, 5.0])
@pytest.mark.parametrize("corrected", [False, True])
def test_bands_are_those_of_plain_loops(limit: float | None, corrected: bool) -> None:
    if corrected and limit is not None:
        return
    rng = np.random.default_rng(4)
    time = rng.uniform(0, 10, 90)
    observed, simulated = rng.gamma(9.0, 1.0, 90), rng.gamma(9.0, 1.0, (200, 90))
    predicted = rng.uniform(1.0, 3.0, 90) if corrected else None
    edges = [0.0, 3.0, 6.5, 10.0]
    check = predictive_check(
        observed, simulated, time, edges, (10, 50, 90), predicted=predicted, limit=limit, level=0.9
    )
    for b in range(3):
        rows = (time >= edges[b]) & (time < edges[b + 1])
        assert check.count[b] == rows.sum()
        assert check.time[b] == np.median(time[rows])
        factor = np.ones(rows.sum())
        if predicted is not None:
            factor = np.median(predicted[rows]) / predicted[rows]
        floor = -np.inf if limit is None else limit
        for q, percent in enumerate((10, 50, 90)):
            over = [np.percentile(np.maximum(row[rows] * factor, floor), percent) for row in simulated]
            assert check.observed[q, b] == np.percentile(np.maximum(observed[rows] * factor, floor), percent)
            assert check.low[q, b] == pytest.approx(np.percentile(over, 5), rel=1e-14)
            assert check.median[q, b] == pytest.approx(np.percentile(over, 50), rel=1e-14)
            assert check.high[q, b] == pytest.approx(np.percentile(over, 95), rel=1e-14)


def test_shares_and_verdict_count_bins() -> None:
    # one value in every bin of ten is 1 in all replicates: inside is exactly 1
    time = np.repeat(np.arange(10.0), 10)
    simulated = np.ones((100, 100))
    observed = np.ones(100)
    check = predictive_check(observed, simulated, time, np.arange(11.0))
    assert check.passes and np.array_equal(check.inside, [1.0, 1.0, 1.0])
    for wrong_bins, passes in ((1, True), (2, False)):
        observed = np.where(time < wrong_bins, 2.0, 1.0)
        check = predictive_check(observed, simulated, time, np.arange(11.0))
        assert check.passes is passes
        assert check.inside == pytest.approx(np.full(3, 1 - wrong_bins / 10))
        assert f"median {10 - wrong_bins} of 10" in str(check) and str(check).startswith(
            "passes" if passes else "fails"
        )


def test_order_of_values_does_not_matter(observed_studies: Floats) -> None:
    simulated, order = studies(np.random.default_rng(5), 100), np.random.default_rng(6).permutation(len(TIME))
    a = predictive_check(observed_studies[0], simulated, TIME, 6)
    b = predictive_check(observed_studies[0][order], simulated[:, order], TIME[order], 6)
    for field in ("time", "count", "observed", "low", "high"):
        assert np.array_equal(getattr(a, field), getattr(b, field))


def test_prediction_correction_removes_doses_that_differ() -> None:
    # the same people, once all on dose 1, once on doses that differ widely: the corrected check is the same
    # up to the bin's median prediction, whatever the doses
    rng = np.random.default_rng(7)
    time, doses = np.tile(HOURS, SUBJECTS), np.repeat(np.exp(1.5 * rng.standard_normal(SUBJECTS)), len(HOURS))
    course = np.exp(-0.03 * time)
    observed, simulated = studies(rng, 1)[0], studies(rng, 300)
    one = predictive_check(observed, simulated, time, 10, predicted=course)
    many = predictive_check(doses * observed, doses * simulated, time, 10, predicted=doses * course)
    assert np.array_equal(one.within, many.within)
    ratio = many.observed / one.observed
    assert ratio == pytest.approx(np.broadcast_to(ratio[0], ratio.shape), rel=1e-12)
    assert many.low == pytest.approx(ratio * one.low, rel=1e-12)
    # uncorrected, the doses are most of the spread, and half the spread between people is hardly missed
    narrow, right = studies(rng, 300, spread=0.15), doses * studies(rng, 100)
    plain = predictive_check(doses * observed, doses * narrow, time, 10)
    corrected = predictive_check(doses * observed, doses * narrow, time, 10, predicted=doses * course)
    inside = [
        ((check.low <= check.summary(right)) & (check.summary(right) <= check.high)).mean()
        for check in (plain, corrected)
    ]
    assert inside[0] > 0.8 and inside[1] < 0.6


def test_values_below_the_limit_have_no_size() -> None:
    rng = np.random.default_rng(8)
    simulated = studies(rng, 200)
    observed = studies(rng, 1)[0]
    check = predictive_check(observed, simulated, TIME, 6, limit=3.0)
    moved = predictive_check(
        np.where(observed < 3.0, rng.uniform(0, 3.0, len(TIME)), observed),
        simulated * np.where(simulated < 3.0, 0.1, 1.0),
        TIME,
        6,
        limit=3.0,
    )
    for field in ("observed", "low", "median", "high", "point"):
        assert np.array_equal(getattr(check, field), getattr(moved, field))
    assert check.observed.min() == 3.0 and check.limit == 3.0


def test_dropping_values_below_the_limit_misleads(observed_studies: Floats) -> None:
    # the survivors of the observed study against everybody simulated; censored on both sides it is fair
    simulated, late = studies(np.random.default_rng(8), 400)[:, TIME > 40], TIME > 40
    inside = np.zeros(2)
    for observed in observed_studies[:60, late]:
        keep = observed >= 2.0
        dropped = predictive_check(observed[keep], simulated[:, keep], TIME[late][keep], 1)
        censored = predictive_check(observed, simulated, TIME[late], 1, limit=2.0)
        inside += [dropped.within[1, 0] / 60, censored.within.mean() / 60]
    assert inside[0] < 0.5 and inside[1] > 0.9


@pytest.mark.parametrize(("each", "outer"), [(10, 20), (19, 20), (20, 10), (39, 10), (40, 5)])
def test_percentiles_reach_as_far_as_the_bins_allow(each: int, outer: int) -> None:
    time = np.repeat([1.0, 2.0], each)
    check = predictive_check(np.ones(2 * each), np.ones((50, 2 * each)), time, 2)
    assert check.percentiles == (outer, 50, 100 - outer)


def test_bins_of_equal_counts_keep_one_time_together() -> None:
    time = np.concatenate([np.full(25, 2.0), np.linspace(3, 9, 35)])
    check = predictive_check(np.ones(60), np.ones((50, 60)), time, 4)
    assert check.count.tolist() == [25, 12, 11, 12]
    assert check.time[0] == 2.0
    even = predictive_check(np.ones(60), np.ones((50, 60)), np.arange(60.0), 4)
    assert even.count.tolist() == [15, 15, 15, 15]


def test_nominal_bins_join_the_smallest_with_the_nearer_neighbour() -> None:
    # counts of the warfarin study: 12 h joins 9 h, never 24 h; 0.5 to 2 h become one
    counts = {0.5: 4, 1.0: 4, 1.5: 3, 2.0: 5, 3.0: 13, 6.0: 14, 9.0: 11, 12.0: 9, 24.0: 32}
    time = np.repeat(list(counts), list(counts.values()))
    edges = nominal_edges(time + np.random.default_rng(9).uniform(-0.1, 0.1, len(time)), list(counts))
    assert edges.tolist() == [-np.inf, 2.5, 4.5, 7.5, 18.0, np.inf]
    assert nominal_edges(time, list(counts), least=1).tolist()[1:-1] == [
        0.75,
        1.25,
        1.75,
        2.5,
        4.5,
        7.5,
        10.5,
        18.0,
    ]


GOOD: dict[str, Any] = {
    "observed": np.ones(40), "simulated": np.ones((50, 40)), "time": np.arange(40.0), "bins": 2
}  # fmt: skip
WITH_NAN = np.where(np.arange(40) == 7, np.nan, 1.0)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"observed": WITH_NAN}, r"observed\[7\] = nan"),
        ({"time": WITH_NAN}, r"time\[7\] = nan"),
        ({"observed": np.ones((2, 20))}, r"observed has shape \(2, 20\)"),
        ({"observed": np.ones(39)}, "observed has 39 values, time 40"),
        ({"simulated": np.ones((50, 39))}, r"simulated shape \(50, 39\)"),
        ({"simulated": np.full((50, 40), np.inf)}, "simulated study 0 has a value not finite"),
        ({"simulated": np.ones((39, 40))}, "39 replicates for a 95 % band"),
        ({"level": 1.0}, "level between 0 and 1"),
        ({"bins": 0}, "bins = 0; expected a whole number"),
        ({"bins": 2.5}, "bins = 2.5"),
        ({"bins": 5}, r"bin 0 \(0 to 7\) holds 8 values; any percentiles need 10"),
        ({"bins": [0, 20, 20, 40]}, "expected two or more, rising"),
        ({"bins": [0, 20, 30]}, "edges 0 to 30 leave out times from 0 to 39"),
        ({"bins": [0, 20, 39, 40, 50]}, r"bin 3 \(empty\) holds 0 values"),
        ({"percentiles": (50, 10)}, "expected per cents between 0 and 100, rising"),
        ({"percentiles": (0, 50)}, "expected per cents between 0 and 100"),
        ({"percentiles": ()}, "expected per cents"),
        ({"percentiles": (4, 50, 96)}, r"holds 20 values; \(4.0, 50.0, 96.0\) percentiles need 25"),
        ({"predicted": np.ones(39)}, "predicted has 39 values; expected 40"),
        ({"predicted": np.where(np.arange(40) == 3, 0.0, 1.0)}, r"predicted\[3\] = 0; prediction correction"),
        ({"predicted": np.ones(40), "limit": 0.5}, "no common limit"),
    ],
)
def test_bad_input_is_refused_with_its_place(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predictive_check(**(GOOD | changed))


def test_bad_nominal_times_and_studies_are_refused() -> None:
    with pytest.raises(ValueError, match="rising"):
        nominal_edges(np.ones(20), [2, 1])
    with pytest.raises(ValueError, match="fewer than least"):
        nominal_edges(np.ones(5), [1.0])
    with pytest.raises(ValueError, match=r"expected \(r, 40\)"):
        predictive_check(**GOOD).pass_rate(np.ones((3, 39)))


def test_plot_shows_units_points_bands_and_what_is_outside(observed_studies: Floats) -> None:
    simulated = studies(np.random.default_rng(10), 100, rate=0.045)
    check = predictive_check(observed_studies[0], simulated, TIME, 10, predicted=np.exp(-0.045 * TIME))
    axes = Figure().subplots()
    draw_check(axes, check, x="time, h", y="level, mg/L")
    assert axes.get_xlabel() == "time, h"
    assert axes.get_ylabel() == "prediction-corrected level, mg/L"
    _, labels = axes.get_legend_handles_labels()
    assert len(labels) == len(set(labels)) == 6
    assert {"measured", "observed median", "outside its band", "simulated median, 95 % band"} <= set(labels)
    rings = [line for line in axes.lines if line.get_color() == "#CC0000"]
    assert sum(len(np.atleast_1d(line.get_xdata())) for line in rings) == (~check.within).sum() > 0


# ------------------------------------------------------------------------------------- simulating a design


def small_design(time: Floats, subjects: int = 3) -> Design:
    doses = [[Dose(0.0, 20.0 + i), Dose(12.0, 3.0), Dose(24.0, 3.0)] for i in range(subjects)]
    return Design(
        doses, {"weight_kg": 1.0 + np.arange(subjects), "apgar_5min": np.full(subjects, 7.0)},
        np.repeat(np.arange(subjects), len(time)), np.tile(time, subjects),
    )  # fmt: skip


def without_error(model: PopulationModel) -> PopulationModel:
    return replace(model, outputs=tuple(replace(output, error=ResidualError()) for output in model.outputs))


def test_typical_prediction_is_the_sum_of_exponentials_in_any_order() -> None:
    time = np.array([30.0, 2.0, 12.0, 50.0])
    design = small_design(time)
    got = predict_study(phenobarbital_neonates.MODEL, design, "C").reshape(3, 4)
    k = 0.00469555 / 0.984258
    for i in range(3):
        for j, t in enumerate(time):
            amounts = [(20.0 + i, 0.0), (3.0, 12.0), (3.0, 24.0)]
            # a sample at the time of a dose is taken before it
            expected = sum(a * math.exp(-k * (t - at)) for a, at in amounts if at < t) / (
                0.984258 * (1.0 + i)
            )
            assert got[i, j] == pytest.approx(expected, rel=1e-9)


def test_simulated_studies_have_the_model_s_spread() -> None:
    # one dose, one sample at once: log C = log(dose/V) + eta_V, then a proportional error
    subjects = 4
    design = Design(
        [[Dose(0.0, 10.0)]] * subjects,
        {"weight_kg": np.ones(subjects), "apgar_5min": np.full(subjects, 7.0)},
        np.repeat(np.arange(subjects), 2),
        np.tile([1e-9, 2e-9], subjects),
    )
    exact = simulate_study(without_error(phenobarbital_neonates.MODEL), design, "C", 4000, seed=1)
    log = np.log(exact * 0.984258 / 10.0)
    assert log.mean() == pytest.approx(0.0, abs=4 * math.sqrt(0.027906 / 16000))
    assert log[:, ::2].var() == pytest.approx(0.027906, rel=0.05)
    # one person's two samples share the random effect, two people's do not
    assert exact[:, 0] == pytest.approx(exact[:, 1], rel=1e-9)
    assert abs(np.corrcoef(exact[:, 0], exact[:, 2])[0, 1]) < 0.05
    measured = simulate_study(phenobarbital_neonates.MODEL, design, "C", 4000, seed=1)
    error = measured / exact - 1.0
    assert error.std() == pytest.approx(math.sqrt(0.013241), rel=0.03)
    assert abs(np.corrcoef(error[:, 0], error[:, 1])[0, 1]) < 0.05


def test_draws_belong_to_subject_and_value() -> None:
    model, time = phenobarbital_neonates.MODEL, np.array([2.0, 12.0, 30.0])
    few = simulate_study(model, small_design(time), "C", 50, seed=3)
    assert np.array_equal(few, simulate_study(model, small_design(time), "C", 120, seed=3)[:50])
    assert not np.any(few == simulate_study(model, small_design(time), "C", 50, seed=4))
    assert len(np.unique(few)) == few.size
    # a variant of the model meets the same people: twice the volume and clearance, half of every value
    doubled = replace(model, typical=lambda c, e: 2.0 * model.typical(c, e))
    assert simulate_study(doubled, small_design(time), "C", 50, seed=3) == pytest.approx(few / 2, rel=1e-12)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"subject": np.zeros(5, dtype=np.int64)}, r"subject has shape \(5,\), time \(6,\)"),
        ({"subject": np.full(6, 2)}, "subjects 2 to 2, but 2 schedules"),
        ({"covariates": {"weight_kg": np.ones(3)}}, r"covariate weight_kg has shape \(3,\); expected \(2,\)"),
    ],
)
def test_bad_designs_are_refused(changed: dict[str, Any], message: str) -> None:
    good: dict[str, Any] = {
        "doses": [[Dose(0.0, 1.0)]] * 2, "covariates": {}, "subject": np.repeat([0, 1], 3), "time": np.ones(6)
    }  # fmt: skip
    with pytest.raises(ValueError, match=message):
        Design(**(good | changed))


# ----------------------------------------------------------------------------------------- the three models


def test_theophylline_is_the_one_dose_formula() -> None:
    time = np.array([0.25, 1.0, 5.0, 24.0])
    got = simulate(theophylline_oral.MODEL, theophylline_oral.typical({}, {}), [Dose(0.0, 320.0)], time)[
        0, :, 0
    ]
    ka, cl, v = 1.6147, 2.7755, 31.553
    k = cl / v
    expected = 320.0 * ka / (v * (ka - k)) * (np.exp(-k * time) - np.exp(-ka * time))
    assert got == pytest.approx(expected, rel=1e-9)


def test_warfarin_response_is_that_of_an_independent_solver() -> None:
    model = warfarin_oreilly.MODEL
    (theta,) = model.typical({"weight_kg": 60.0}, {})
    cl, v, tabs, tlag, e0, c50, teq = theta
    assert (cl, v) == pytest.approx((0.135 * (60 / 70) ** 0.75, 8.03 * 60 / 70), rel=1e-12)
    ka, kout = math.log(2) / tabs, math.log(2) / teq

    def derivative(t: float, y: Floats) -> list[float]:
        return [
            -ka * y[0],
            ka * y[0] - cl / v * y[1],
            e0 * kout * (1 - y[1] / v / (c50 + y[1] / v)) - kout * y[2],
        ]

    time = np.array([3.0, 24.0, 48.0, 144.0])
    exact = solve_ivp(
        derivative, (tlag, 144.0), [90.0, 0.0, e0], t_eval=time, method="LSODA", rtol=1e-11, atol=1e-11
    )
    got = simulate(model, theta, [Dose(0.0, 90.0)], np.array([0.5, *time]))[0]
    assert got[0] == pytest.approx([0.0, e0])
    assert got[1:, 0] == pytest.approx(exact.y[1] / v, rel=1e-7)
    assert got[1:, 1] == pytest.approx(exact.y[2], rel=1e-7)


def test_phenobarbital_volume_is_larger_with_a_low_apgar_score() -> None:
    theta = phenobarbital_neonates.typical({"weight_kg": [2.0, 2.0], "apgar_5min": [4.0, 5.0]}, {})
    assert theta[:, 0] == pytest.approx([0.0093911, 0.0093911])
    assert theta[:, 1] == pytest.approx([1.968516 * 1.15892, 1.968516])


def test_theophylline_constants_are_those_of_the_twelve_fits(example: ModuleType, shared: Path) -> None:
    lines = example.read_rows(shared / "data" / "clinical" / "theophylline.csv")
    found, squares = [], 0.0
    for i in range(0, len(lines), 11):
        dose = float(lines[i]["dose_mg"])
        t, c = np.array([[float(r["time_h"]), float(r["conc_mg_L"])] for r in lines[i : i + 11]]).T

        def residuals(p: Floats, t: Floats = t, c: Floats = c, dose: float = dose) -> Floats:
            ka, cl, v = np.exp(p)
            k = cl / v
            return dose * ka / (v * (ka - k)) * (np.exp(-k * t) - np.exp(-ka * t)) - c

        fits = [least_squares(residuals, np.log([ka, 2.8, 31.0])) for ka in (0.5, 1.5, 5.0)]
        best = min(fits, key=lambda fit: fit.cost)
        found.append(best.x)
        squares += 2 * best.cost
    assert np.exp(np.mean(found, axis=0)) == pytest.approx([1.6147, 2.7755, 31.553], rel=2e-5)
    assert np.std(found, axis=0, ddof=1) == pytest.approx([0.739, 0.272, 0.158], abs=5.1e-4)
    assert math.sqrt(squares / (132 - 36)) == pytest.approx(theophylline_oral.RESIDUAL.additive, abs=5e-4)


# ------------------------------------------------------------------------------------------ the real patients


def question(example: ModuleType, title: str) -> Any:
    (found,) = [item for item in example.QUESTIONS if item.title == title]
    return found


@pytest.fixture(scope="module")
def simulated(example: ModuleType, shared: Path) -> Callable[[str, float], tuple[Any, Any, Floats]]:
    """``simulated(title, factor)``: question, study and simulated studies, each made once."""
    made: dict[tuple[str, float], tuple[Any, Any, Floats]] = {}

    def get(title: str, factor: float) -> tuple[Any, Any, Floats]:
        if (title, factor) not in made:
            asked = question(example, title)
            study = asked.read(shared / "data" / "clinical")
            made[title, factor] = asked, study, asked.simulate(study, factor)
        return made[title, factor]

    return get


@pytest.mark.parametrize("title", CHECKS)
def test_reference_fit_passes_on_real_patients(simulated: Any, title: str) -> None:
    asked, study, values = simulated(title, 1.0)
    check = asked.check(study, values)
    assert check.percentiles == (20, 50, 80)
    assert np.all(check.inside >= 0.9) and check.passes, str(check)


@pytest.mark.parametrize("title", CHECKS)
def test_clearance_half_as_large_again_fails(simulated: Any, title: str) -> None:
    asked, study, values = simulated(title, 1.5)
    check = asked.check(study, values, 1.5)
    assert not check.passes and check.inside.max() < 0.6
    # and no chance would have made it pass: studies of the right model do not
    assert check.pass_rate(simulated(title, 1.0)[2]) < 0.01


def test_designs_are_the_files(example: ModuleType, shared: Path) -> None:
    folder = shared / "data" / "clinical"
    theophylline, warfarin, response, phenobarbital = (question(example, t).read(folder) for t in CHECKS)
    assert [len(s.design.doses) for s in (theophylline, warfarin, response, phenobarbital)] == [
        12,
        32,
        32,
        59,
    ]
    # without the 12 samples before the dose; with four lost below the limit; without 30 baselines
    assert [len(s.observed) for s in (theophylline, warfarin, response, phenobarbital)] == [
        120,
        255,
        202,
        155,
    ]
    assert len(phenobarbital.design.doses[0]) == 10 and phenobarbital.design.doses[0][0] == Dose(0.0, 25.0)
    assert phenobarbital.design.covariates["weight_kg"][0] == 1.4
    lost = warfarin.observed[-4:], warfarin.design.time[-4:]
    assert np.array_equal(lost, [[0, 0, 0, 0], [96, 120, 120, 120]])


def test_example_writes_three_figures_and_the_table(
    example: ModuleType, shared: Path, tmp_path: Path
) -> None:
    folder = str(shared / "data" / "clinical")
    result = CliRunner().invoke(example.main, [folder, str(tmp_path), "--replicates", "60"])
    assert result.exit_code == 0, result.output
    assert len(result.output.splitlines()) == 2 + 2 * len(CHECKS)
    figures = sorted(tmp_path.iterdir())
    assert [path.name for path in figures] == [
        "phenobarbital_neonates.png", "theophylline.png", "warfarin_oreilly.png"
    ]  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in figures)
