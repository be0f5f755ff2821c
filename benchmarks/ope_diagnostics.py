"""Hold diagnostics, intervals and sensitivity against logged data with known references.

`check` takes one folder of a case and returns ``(name, ours, reference, allowed)`` for each such number in
its reference.json and truth.json: importance sampling and its standard errors, weights by step, Pareto k,
population effective sample size, unsupported mass and bounds, intervals, HCOPE, confounding bounds; and, from
`benchmarks.ope_outcomes`, distributions, end points, time to the adverse reaction and ranking. ``allowed`` is
the tolerance of the reference's README as an absolute difference.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.ope_logs import logarithm, logged
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope import (
    ActionValues,
    Estimate,
    Weights,
    importance_sampling,
    importance_weights,
    pdis,
    pdwis,
    wis,
)
from dosewright.evaluation.ope.bootstrap import (
    FunctionOfTotals,
    bca_interval,
    percentile_interval,
    ratios_of_mean,
    ratios_of_wis,
    resample,
)
from dosewright.evaluation.ope.bounds import reward_range_bounds
from dosewright.evaluation.ope.concentration import (
    empirical_bernstein_interval,
    hcope_lower_bound,
    hoeffding_interval,
    student_interval,
)
from dosewright.evaluation.ope.diagnostics import unsupported_mass
from dosewright.evaluation.ope.doubly_robust import dr
from dosewright.evaluation.ope.pareto import pareto_k
from dosewright.evaluation.ope.population import effective_share, population_effective_sample_size
from dosewright.evaluation.ope.sensitivity import confounding_bounds

Row = tuple[str, float, float, float]
Arrays = Mapping[str, NDArray[Any]]
CLOSED, REGRESSION = 1e-8, 1e-6
"""Relative: closed formulas, and sensitivity bounds."""
WIDTH = 0.1
"""Of a bootstrap limit, as a share of the interval's width."""
STANDARD_ERRORS = 4.0
"""Against a truth."""
RESAMPLES, SEED = 2000, 1


def check(folder: Path) -> list[Row]:
    """Return every number of these kinds in a folder, beside its reference."""
    from benchmarks import ope_outcomes  # which needs what is above

    spec, reference, truth = (
        json.loads((folder / f"{name}.json").read_text()) for name in ("spec", "reference", "truth")
    )
    with np.load(folder / "data.npz") as file:
        data = {name: file[name] for name in file.files}
    kinds: dict[str, Callable[[Arrays, Any, Any, Any], Iterator[Row]]] = {
        "tabular": ope_outcomes.time_to_event if "event" in data else _tabular,
        "linear_gaussian": _linear_gaussian,
        "one decision, discrete dose": _bandit_discrete,
        "one decision, continuous dose": _bandit_continuous,
        "one decision, two doses, hidden frailty": _confounded,
        "ranking": ope_outcomes.policies,
    }
    read = kinds.get(spec["kind"])
    return [] if read is None else list(read(data, spec, reference, truth))


@dataclass(frozen=True)
class Expected:
    """Reference numbers by name; what the reference does not have is not compared.

    Attributes
    ----------
    numbers : name -> number, list of numbers, or None
    prefix : of the names in the rows
    """

    numbers: Mapping[str, Any]
    prefix: str = ""

    def of(self, name: str, prefix: str = "") -> Expected:
        """Numbers that stand under a name, none if there is no such name."""
        return Expected(self.numbers.get(name) or {}, f"{self.prefix}{prefix or name} ")

    def rows(
        self, name: str, ours: Callable[[], Any], relative: float = CLOSED, absolute: float = 0.0
    ) -> Iterator[Row]:
        """Compare a number or a list of them."""
        expected = self.numbers.get(name)
        if expected is None:
            return
        mine, theirs = np.atleast_1d(ours()), np.atleast_1d(np.array(expected, dtype=np.float64))
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            label = f"{self.prefix}{name}[{place}]" if isinstance(expected, list) else f"{self.prefix}{name}"
            # numbers of order 1 that cancel to 0 keep their rounding
            allowed = absolute or max(relative * abs(float(other)), 1e-14)
            yield label, float(one), float(other), allowed

    def estimate(self, name: str, ours: Callable[[], Estimate]) -> Iterator[Row]:
        """Compare an estimate with a truth."""
        if self.numbers.get(name) is not None:
            found = ours()
            allowed = STANDARD_ERRORS * found.standard_error
            yield from self.rows(name, lambda: found.value, absolute=allowed)

    def bootstrap(self, name: str, statistic: FunctionOfTotals) -> Iterator[Row]:
        """Compare percentile limits."""
        if name in self.numbers:
            found = percentile_interval(statistic, resample(statistic, SEED, RESAMPLES))
            yield from self.rows(name, lambda: [found.low, found.high], absolute=self._allowed(name))

    def intervals(self, estimate: Estimate) -> Iterator[Row]:
        """Compare the intervals of an estimate that is a plain mean."""
        student = student_interval(estimate)
        yield from self.rows("mean", lambda: student.mean)
        yield from self.rows("std_error", lambda: student.standard_error)
        yield from self.rows("student_t_95", lambda: [student.low, student.high])
        terms = estimate.value + estimate.influence
        for name, form in (
            ("hoeffding_95", hoeffding_interval),
            ("empirical_bernstein_95", empirical_bernstein_interval),
        ):
            if name in self.numbers:
                found = form(terms, *self.numbers["range_used"])
                yield from self.rows(name, lambda found=found: [found.low, found.high])
        statistic = ratios_of_mean(estimate)
        replicates = resample(statistic, SEED, RESAMPLES)
        for name, limits in (
            ("bootstrap_percentile_95", percentile_interval),
            ("bootstrap_bca_95", bca_interval),
        ):
            if name in self.numbers:
                found = limits(statistic, replicates)
                allowed = self._allowed(name)
                yield from self.rows(name, lambda found=found: [found.low, found.high], absolute=allowed)

    def _allowed(self, name: str) -> float:
        low, high = self.numbers[name]
        return WIDTH * (high - low)


def _tabular(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    from benchmarks.ope_outcomes import distribution, end_points

    known = "behaviour_prob" in data
    behaviour = data["behaviour_prob" if known else "true_behaviour_prob_for_scoring_only"]
    place = Expected(reference) if known else Expected(reference).of("true_behaviour")
    state, gamma = data["state"], spec["gamma"]
    log = logged(state[..., None], data["action"], data["reward"], logarithm(behaviour))
    target = logarithm(data["target_prob"])
    weights = importance_weights(log, target)
    yield from _importance(place.of("estimates"), log, weights, gamma)
    yield from _weights(place.of("diagnostics"), weights)
    yield from _population(data, spec, log, Expected(reference).of("diagnostics"), Expected(truth))
    yield from _support(data, spec, log, weights, Expected(reference).of("diagnostics"), Expected(truth))
    yield from _intervals(reference, log, weights, gamma, spec)
    yield from distribution(log, weights, Expected(reference).of("distributional_gamma_1"), truth)
    yield from end_points(data, log, weights, Expected(reference).of("end_points"), truth)


def _importance(expected: Expected, log: Trajectories, weights: Weights, gamma: float) -> Iterator[Row]:
    none = importance_weights(log, _own(log))
    yield from expected.rows("behaviour_mean", lambda: pdwis(log, none, gamma).value)
    for name, form in (("is", importance_sampling), ("wis", wis), ("pdis", pdis), ("pdwis", pdwis)):
        found = form(log, weights, gamma)
        yield from expected.rows(name, lambda found=found: found.value)
        if weights.effective_sample_size[-1] > 1.01:  # where one patient has all the weight, rounding is left
            yield from expected.rows(f"{name}_delta_se", lambda found=found: found.standard_error)


def _weights(expected: Expected, weights: Weights) -> Iterator[Row]:
    effective, n = weights.effective_sample_size, weights.n_patients
    yield from expected.rows("ess_by_step", lambda: effective)
    yield from expected.rows("max_weight_share_by_step", lambda: weights.max_weight_share)
    yield from expected.rows("mean_weight_by_step", lambda: weights.mean_weight)
    yield from expected.rows("ess_fraction_last_step", lambda: effective[-1] / n)
    yield from expected.rows("pareto_k_last_step", lambda: pareto_k(weights.log_weight[:, -1]))
    yield from expected.rows("ess", lambda: effective[-1])
    yield from expected.rows("max_weight_share", lambda: weights.max_weight_share[-1])
    yield from expected.rows("mean_weight", lambda: weights.mean_weight[-1])
    yield from expected.rows("pareto_k", lambda: pareto_k(weights.log_weight[:, -1]))


def _population(
    data: Arrays, spec: Any, log: Trajectories, expected: Expected, truth: Expected
) -> Iterator[Row]:
    if "behaviour_policy" not in spec:
        return
    behaviour, target = spec["behaviour_policy"], spec["target_policy"]
    yield from expected.rows(
        "model_based_population_ess_by_step",
        lambda: population_effective_sample_size(log, data["state"], data["next_state"], behaviour, target),
    )
    yield from truth.rows(
        "population_ess_fraction_by_step",
        lambda: effective_share(
            spec["initial_distribution"], spec["transition"], behaviour, target, log.horizon
        ),
    )


def _support(
    data: Arrays, spec: Any, log: Trajectories, weights: Weights, expected: Expected, truth: Expected
) -> Iterator[Row]:
    if "behaviour_policy" not in spec:
        return
    state, gamma = data["state"], spec["gamma"]
    behaviour, target = np.array(spec["behaviour_policy"]), np.array(spec["target_policy"])
    missing = unsupported_mass(target[state], behaviour[state], log.mask)
    yield from expected.rows("target_mass_on_zero_behaviour_prob_at_logged_states", lambda: missing.overall)
    yield from expected.rows("by_step", lambda: missing.by_step)
    yield from expected.rows(
        "logged_actions_with_zero_behaviour_prob",
        lambda: float((behaviour[state, data["action"]] == 0.0).sum()),
    )
    seen = np.zeros(behaviour.shape)
    np.add.at(seen, (state, data["action"]), 1.0)
    counted = seen / np.maximum(seen.sum(axis=1, keepdims=True), 1.0)
    yield from expected.rows(
        "state_actions_of_target_without_data",
        lambda: unsupported_mass(target[state], counted[state], log.mask).overall,
        absolute=1e-12,
    )
    if "reward_range_bounds" in truth.numbers:
        bounds = reward_range_bounds(log, weights, missing, _range(spec), gamma)
        sides = zip(("lower", "upper"), truth.numbers["reward_range_bounds"], strict=True)
        for (name, exact), found in zip(sides, (bounds.lower, bounds.upper), strict=True):
            allowed = STANDARD_ERRORS * found.standard_error
            yield f"reward_range_bounds {name} (truth)", found.value, exact, allowed
        yield from truth.estimate("per_decision_is_limit", lambda: pdis(log, weights, gamma))


def _range(spec: Any) -> tuple[float, float]:
    """Range of a step's reward, "in_range - 3*adr"."""
    if spec["reward"] != "in_range - 3*adr":
        raise ValueError(f"reward is {spec['reward']!r}; expected 'in_range - 3*adr', whose range is known")
    return -3.0, 1.0


def _intervals(reference: Any, log: Trajectories, weights: Weights, gamma: float, spec: Any) -> Iterator[Row]:
    expected = Expected(reference).of("intervals")
    none = importance_weights(log, _own(log))
    for name, estimate in (
        ("is", importance_sampling(log, weights, gamma)),
        ("pdis", pdis(log, weights, gamma)),
        ("behaviour_mean", pdis(log, none, gamma)),
    ):
        if name in expected.numbers:
            yield from expected.of(name).intervals(estimate)
    yield from expected.bootstrap("wis_bootstrap_of_ratio_95", ratios_of_wis(log, weights, gamma))
    caps = Expected(reference).of("hcope_theorem1_lower_95")
    discount = gamma ** np.arange(log.horizon)
    for cap in caps.numbers:
        lowest = _range(spec)[0] * float(discount.sum())
        ours = hcope_lower_bound(weights, log.rewards @ discount, lowest, float(cap))
        yield from caps.rows(cap, lambda ours=ours: ours)


def _linear_gaussian(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    state, action, gamma = data["state"][:, :-1], data["action"], spec["gamma"]
    log = logged(
        state, action[..., 0], data["reward"], data["behaviour_logpdf"], density=True,
        outcomes={name: data[name].astype(np.float64) for name in ("in_range", "exceedance")},
    )  # fmt: skip
    estimates, diagnostics = Expected(reference).of("estimates"), Expected(reference).of("diagnostics")
    if "target_logpdf" in data:
        weights = importance_weights(log, data["target_logpdf"])
        yield from _importance(estimates, log, weights, gamma)
        yield from _weights(diagnostics, weights)
        for name, outcome, share in (
            ("pdwis_time_in_range", "in_range", 1.0 / log.horizon),
            ("pdwis_exceedances", "exceedance", 1.0),
        ):
            found = pdwis(log, weights, outcome=outcome).value
            yield from estimates.rows(name, lambda found=found, share=share: share * found)
    for name in diagnostics.numbers:
        if name.startswith("ess[h="):
            width = float(name.removeprefix("ess[h=").removesuffix("]"))
            kernel = stats.norm.logpdf(action, data["target_mean_action"], width).sum(axis=2)
            effective = importance_weights(log, kernel).effective_sample_size
            yield from diagnostics.rows(name, lambda effective=effective: effective[-1])


def _bandit_discrete(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    action, target = data["action"][:, None], data["target_dist"]
    log = logged(
        data["context"][:, None], action, data["reward"][:, None], logarithm(data["behaviour_prob"])[:, None]
    )
    weights = importance_weights(log, logarithm(np.take_along_axis(target, action, axis=1)))
    estimates = Expected(reference).of("estimates")
    yield from _weights(Expected(reference).of("diagnostics"), weights)
    yield from estimates.rows("ipw", lambda: importance_sampling(log, weights).value)
    yield from estimates.rows("snipw", lambda: wis(log, weights).value)
    yield from estimates.rows("snipw_delta_se", lambda: wis(log, weights).standard_error)
    yield from estimates.bootstrap("snipw_ratio_bootstrap_95", ratios_of_wis(log, weights))
    yield from estimates.of("ipw_intervals").intervals(importance_sampling(log, weights))
    for model in ("q_exact", "q_wrong"):
        table = data[model]
        logged_values = np.take_along_axis(table, action, axis=1)
        values = ActionValues.of(log, logged_values, (target * table).sum(axis=1, keepdims=True))
        yield from estimates.of(f"dr[{model}]_intervals").intervals(dr(log, weights, values))


def _bandit_continuous(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    log = logged(
        data["context"][:, None], data["action"][:, None], data["reward"][:, None],
        logarithm(data["behaviour_pdf"])[:, None], density=True,
    )  # fmt: skip
    weights = importance_weights(log, logarithm(data["target_pdf_stochastic"])[:, None])
    values = ActionValues.of(
        log, data["q_exact_logged_action"][:, None], data["q_exact_stochastic_value"][:, None]
    )
    estimates = Expected(reference).of("estimates")
    yield from _weights(Expected(reference).of("diagnostics"), weights)
    yield from estimates.rows("stochastic_ipw", lambda: importance_sampling(log, weights).value)
    yield from estimates.rows("stochastic_snipw", lambda: wis(log, weights).value)
    yield from estimates.of("stochastic_dr_exact_intervals").intervals(dr(log, weights, values))


def _confounded(data: Arrays, spec: Any, reference: Any, truth: Any) -> Iterator[Row]:
    log = logged(
        data["x"][:, None, None], data["action"][:, None], data["reward"][:, None],
        logarithm(data["behaviour_prob_nominal"])[:, None],
    )  # fmt: skip
    target = logarithm(data["target_prob"])[:, None]
    weights = importance_weights(log, target)
    estimates = Expected(reference).of("estimates")
    yield from estimates.rows("ipw", lambda: importance_sampling(log, weights).value)
    yield from estimates.rows("snipw", lambda: wis(log, weights).value)
    yield from _weights(Expected(reference).of("diagnostics"), weights)
    limit = Expected(truth, "truth: ")
    yield from limit.estimate("nominal_weighting_limit", lambda: wis(log, weights))
    bounds = limit.of("marginal_sensitivity_bounds_of_self_normalised_estimate", "bounds at Gamma")
    for odds_ratio in bounds.numbers:
        found = confounding_bounds(log, target, float(odds_ratio))
        ours = [found.lower.value, found.upper.value]
        yield from bounds.rows(odds_ratio, lambda ours=ours: ours, REGRESSION)


def _own(log: Trajectories) -> NDArray[np.float64]:
    """Propensities as those of the target: nobody is weighted."""
    assert log.behaviour_log_prob is not None
    return log.behaviour_log_prob
