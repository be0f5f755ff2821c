"""Hold distributions, end points, time to the adverse reaction and ranking against their references.

The parts of `benchmarks.ope_diagnostics` that are about outcomes; rows as there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ope_diagnostics import Arrays, Expected, Row
from benchmarks.ope_logs import logarithm, logged
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import (
    Estimate,
    Weights,
    importance_sampling,
    importance_weights,
    pdis,
    pdwis,
    wis,
)
from dosewright.evaluation.ope.bootstrap import ratios_of_wis
from dosewright.evaluation.ope.distribution import ReturnDistribution
from dosewright.evaluation.ope.ranking import ranking, top_k
from dosewright.evaluation.ope.survival import TimeToEvent, log_log_limits, weighted_kaplan_meier
from dosewright.evaluation.statistics import FollowUp, event_rate, kaplan_meier

DAYS_PER_YEAR = 365.2425
"""52.1775 weeks."""


def distribution(log: Trajectories, weights: Weights, expected: Expected, truth: Any) -> Iterator[Row]:
    """Distribution function, quantiles and tails of the undiscounted return."""
    if not expected.numbers:
        return
    found = ReturnDistribution.of(log, weights)
    grid = expected.numbers["grid"]
    yield from expected.rows("cdf_is", lambda: [found.cdf_unnormalised(x).value for x in grid])
    yield from expected.rows("cdf_snis", lambda: [found.cdf(x).value for x in grid])
    exact = Expected(truth["target"]).of("undiscounted_return", "truth: undiscounted_return")
    for name, of_truth, estimate in (
        ("mean_snis", "mean", found.mean()),
        ("variance_snis", "variance", found.variance()),
        ("cvar_lower_10_snis", "cvar_lower_10", found.cvar_lower(0.1)),
        ("cvar_lower_25_snis", "cvar_lower_25", found.cvar_lower(0.25)),
    ):
        yield from expected.rows(name, lambda estimate=estimate: estimate.value)
        yield from exact.estimate(of_truth, lambda estimate=estimate: estimate)
    quantiles = expected.of("quantiles_snis")
    for p in quantiles.numbers:
        yield from quantiles.rows(p, lambda p=p: found.quantile(float(p)).mean, absolute=1e-9)


def end_points(
    data: Arrays, log: Trajectories, weights: Weights, expected: Expected, truth: Any
) -> Iterator[Row]:
    """Clinical end points, of everybody and by genotype."""
    any_event = np.zeros(log.mask.shape)
    any_event[:, -1] = data["adr"].any(axis=1)
    log = replace(
        log,
        outcomes={
            "time_in_range": data["in_range"] / log.horizon,
            "any_adr": any_event,
            "adr_count": data["adr"].astype(np.float64),
        },
    )
    names = {"time_in_range": "time_in_range", "any_adr": "prob_any_adr", "adr_count": "expected_adr_count"}
    for outcome in expected.numbers:
        end_point = expected.of(outcome)
        whole = wis(log, weights, outcome=outcome)
        yield from end_point.rows("wis", lambda whole=whole: whole.value)
        yield from end_point.rows("pdwis", lambda outcome=outcome: pdwis(log, weights, outcome=outcome).value)
        yield from end_point.bootstrap("wis_bootstrap_95", ratios_of_wis(log, weights, outcome=outcome))
        exact = Expected(truth["target"], f"truth: {outcome} ")
        yield from exact.estimate(names[outcome], lambda whole=whole: whole)
        strata = end_point.of("by_genotype", "genotype")
        for genotype in strata.numbers:
            rows = data["genotype"] == int(genotype)
            part = log.select(rows)
            of_part = importance_weights(part, logarithm(data["target_prob"][rows]))
            stratum = strata.of(genotype)
            yield from stratum.rows("n", lambda part=part: part.n_patients)
            yield from stratum.rows("ess", lambda of_part=of_part: of_part.effective_sample_size[-1])
            found = wis(part, of_part, outcome=outcome)
            yield from stratum.rows("wis", lambda found=found: found.value)


def time_to_event(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    """Courses that end at the first adverse reaction, with drop-out."""
    log, target = _courses(data, spec)
    weights = importance_weights(log, target)
    curve = weighted_kaplan_meier(log, weights, "adr")
    estimates = Expected(reference).of("estimates")
    yield from estimates.rows("target_weighted_kaplan_meier", lambda: curve.survival)
    yield from _of_curve(curve, spec, estimates, Expected(truth["target"], "truth: "))
    yield from estimates.bootstrap("target_prob_adr_by_end_bootstrap_95", curve)
    yield from (
        Expected(reference)
        .of("diagnostics")
        .rows("weighted_at_risk_ess_by_step", lambda: curve.effective_at_risk)
    )
    yield from _behaviour(data, spec, log, estimates, Expected(truth["behaviour"], "truth, behaviour: "))
    stay = math.log1p(-spec["dropout_per_step"]) * np.arange(log.horizon)
    corrected = importance_weights(log, target, np.broadcast_to(stay, log.mask.shape))
    exact = Expected(truth["target"], "truth: ")
    gamma = spec["gamma"]
    yield from estimates.rows("pdis_ipcw", lambda: pdis(log, corrected, gamma).value)
    yield from estimates.rows("pdis_ignoring_dropout", lambda: pdis(log, weights, gamma).value)
    yield from estimates.rows(
        "pdwis_ignoring_dropout_weight_carried", lambda: pdwis(log, weights, gamma).value
    )
    yield from exact.estimate("return_until_first_adr", lambda: pdwis(log, corrected, gamma))
    in_range = pdwis(log, corrected, outcome="in_range")
    yield from exact.estimate("in_range_steps_until_first_adr", lambda: in_range)


def _of_curve(curve: TimeToEvent, spec: Any, estimates: Expected, exact: Expected) -> Iterator[Row]:
    rate = curve.rate(DAYS_PER_YEAR / spec["step_length_days"])
    for name, of_truth, found in (
        ("target_prob_adr_by_end", "prob_adr_by_end", curve.probability()),
        (
            "target_restricted_mean_adr_free_steps",
            "restricted_mean_adr_free_steps",
            curve.restricted_mean(),
        ),
        ("target_adr_rate_per_patient_year", "adr_rate_per_patient_year", rate),
    ):
        yield from estimates.rows(name, lambda found=found: found.value)
        yield from exact.estimate(of_truth, lambda found=found: found)


def _behaviour(
    data: Arrays, spec: Any, log: Trajectories, estimates: Expected, exact: Expected
) -> Iterator[Row]:
    """The log's own curve: as a weighted one without weights, and from SciPy."""
    assert log.behaviour_log_prob is not None
    curve = weighted_kaplan_meier(log, importance_weights(log, log.behaviour_log_prob), "adr")
    limits = [
        log_log_limits(float(free), curve.probability(step).standard_error, math.inf)
        if free < 1.0
        else (1.0, 1.0)
        for step, free in enumerate(curve.survival)
    ]
    scipy = kaplan_meier(FollowUp(data["time"], data["event"]))
    yield from estimates.rows("behaviour_kaplan_meier", lambda: curve.survival)
    yield from estimates.rows("behaviour_kaplan_meier", lambda: scipy.at(np.arange(log.horizon + 1)))
    yield from estimates.rows("behaviour_km_ci_lower", lambda: [low for low, _ in limits])
    yield from estimates.rows("behaviour_km_ci_upper", lambda: [high for _, high in limits])
    yield from exact.estimate("prob_adr_by_end", curve.probability)
    years = data["time"] * spec["step_length_days"] / DAYS_PER_YEAR
    rate = event_rate(data["event"], years)
    yield from estimates.rows("behaviour_events", lambda: rate.events)
    yield from estimates.rows("behaviour_patient_years", lambda: rate.patient_years)
    yield from estimates.rows("behaviour_rate_per_patient_year", lambda: rate.rate)
    yield from estimates.rows("behaviour_rate_exact_poisson_95", lambda: [rate.low, rate.high])
    yield from estimates.rows("naive_fraction_with_event", lambda: data["event"].mean())
    strata = estimates.of("by_genotype", "genotype")
    for genotype in strata.numbers:
        rows, stratum = data["genotype"] == int(genotype), strata.of(genotype)
        part = log.select(rows)
        assert part.behaviour_log_prob is not None
        own = weighted_kaplan_meier(part, importance_weights(part, part.behaviour_log_prob), "adr")
        of_part = event_rate(data["event"][rows], years[rows])
        for name, ours in (
            ("n", part.n_patients),
            ("events", of_part.events),
            ("behaviour_prob_adr_by_end", own.probability().value),
            ("rate", of_part.rate),
        ):
            yield from stratum.rows(name, lambda ours=ours: ours)


def _courses(data: Arrays, spec: Any) -> tuple[Trajectories, NDArray[np.float64]]:
    """Return the log of a long table, and the target's log-probabilities."""
    n, horizon = len(data["time"]), spec["horizon"]
    place = data["traj"], data["step"]

    def wide(values: NDArray[Any]) -> NDArray[np.float64]:
        table = np.zeros((n, horizon))
        table[place] = values
        return table

    mask = np.zeros((n, horizon), dtype=bool)
    mask[place] = True
    ended = (data["event"] == 1) | (data["time"] == horizon)
    log = Trajectories(
        observations=wide(data["state"])[..., None],
        actions=wide(data["action"]),
        rewards=wide(data["reward"]),
        mask=mask,
        terminated=ended,
        truncated=np.zeros(n, dtype=bool),
        censored=~ended,
        behaviour_log_prob=wide(logarithm(data["behaviour_prob"])),
        outcomes={name: wide(data[name]) for name in ("adr", "in_range")},
    )
    return log, wide(logarithm(data["target_prob"]))


def policies(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    """Estimates of the candidate regimens, and how well each set of estimates ranks them."""
    state, action = data["state"], data["action"]
    log = logged(state[..., None], action, data["reward"], logarithm(data["behaviour_prob"]))
    weights = [importance_weights(log, logarithm(policy[state, action])) for policy in data["policies"]]
    forms: Mapping[str, Callable[..., Estimate]] = {
        "is": importance_sampling, "wis": wis, "pdis": pdis, "pdwis": pdwis,
    }  # fmt: skip
    estimates = Expected(reference).of("estimates")
    for name, form in forms.items():
        ours = [form(log, each, spec["gamma"]).value for each in weights]
        yield from estimates.rows(name, lambda ours=ours: ours)
    effective = [each.effective_sample_size[-1] for each in weights]
    yield from Expected(reference).rows("ess_last_step", lambda: effective)
    metrics = Expected(reference).of("ranking_metrics")
    for name in metrics.numbers:
        # of the reference's own estimates: the estimates are compared above and in `benchmarks.ope_models`
        yield from _metrics(metrics.of(name), reference["estimates"][name], truth)


def _metrics(expected: Expected, estimates: Any, truth: Any) -> Iterator[Row]:
    values = truth["values"]
    found = ranking(estimates, values)
    for name in ("rmse", "mae", "spearman", "kendall_tau_b"):
        yield from expected.rows(name, lambda name=name: getattr(found, name))
    for name in expected.numbers:
        metric, at, rest = name.partition("_at_")
        if not at:
            continue
        k, _, variant = rest.partition("_")
        of_k = top_k(estimates, values, int(k), truth["behaviour_value"])
        field = f"{metric}_ddof1" if variant == "ddof1" else metric
        yield from expected.rows(name, lambda of_k=of_k, field=field: getattr(of_k, field))
