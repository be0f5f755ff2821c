"""Hold estimators that use a model or marginal ratios against logged data with known references.

`check` takes one folder of a case and returns ``(name, ours, reference, allowed)`` for each number of these
estimators that its reference.json has: direct method, doubly robust forms, MAGIC, marginal importance
sampling, fitted Q evaluation and the doubly robust forms of bandits. ``allowed`` is the tolerance of the
reference's README as an absolute difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.ope_logs import logarithm, logged
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.basis import Monomials, Table
from dosewright.evaluation.ope.doubly_robust import dm, dr, dr_os, switch_dr, wdr
from dosewright.evaluation.ope.fitted_q import FittedQ, fqe_per_step
from dosewright.evaluation.ope.fitted_q_pooled import fqe_pooled
from dosewright.evaluation.ope.magic import magic, magic_blend
from dosewright.evaluation.ope.marginal import drl, marginal_weights, mis, wmis
from dosewright.evaluation.ope.marginal_recursion import mis_counted
from dosewright.evaluation.ope.target_doses import TargetDoses
from dosewright.evaluation.ope.weights import Weights, importance_weights

Row = tuple[str, float, float, float]
Floats = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]
CLOSED, SINGLE_PRECISION, REGRESSION = 1e-8, 1e-5, 1e-6
"""Relative: closed formulas, those with values stored as float32, and quadratic fits."""
MAGIC = 1e-5
"""Absolute, with the reference's interval given."""


def check(folder: Path) -> list[Row]:
    """Return every number of these estimators in a folder, beside its reference."""
    spec, reference = (json.loads((folder / name).read_text()) for name in ("spec.json", "reference.json"))
    with np.load(folder / "data.npz") as file:
        data = {name: file[name] for name in file.files}
    kinds: dict[str, Callable[[Arrays, Any, Any], Iterator[Row]]] = {
        "tabular": _tabular,
        "linear_gaussian": _linear_gaussian,
        "one decision, discrete dose": _bandit_discrete,
        "one decision, continuous dose": _bandit_continuous,
        "ranking": _ranking,
    }
    read = kinds.get(spec["kind"])
    return [] if read is None else list(read(data, spec, reference))


@dataclass(frozen=True)
class _Case:
    """A log, the weights of its target, and the reference's numbers, whose names are given a prefix."""

    log: Trajectories
    weights: Weights
    gamma: float
    expected: Mapping[str, Any]
    prefix: str = ""

    def rows(
        self, name: str, ours: Callable[[], Any], relative: float, absolute: float = 0.0
    ) -> Iterator[Row]:
        """Compare a number, or a list of them, when the reference has it."""
        expected = self.expected.get(name)
        if expected is None:
            return
        listed = isinstance(expected, list)
        mine, theirs = np.atleast_1d(ours()), np.atleast_1d(np.array(expected, dtype=np.float64))
        for place, (one, other) in enumerate(zip(mine, theirs, strict=True)):
            label = f"{self.prefix}{name}[{place}]" if listed else f"{self.prefix}{name}"
            yield label, float(one), float(other), relative * abs(float(other)) + absolute


def _tabular(data: Arrays, spec: Any, reference: Any) -> Iterator[Row]:
    if "q_exact" not in data:  # the long format of time_to_adr
        return
    known = "behaviour_prob" in data
    behaviour = data["behaviour_prob" if known else "true_behaviour_prob_for_scoring_only"]
    expected = (reference if known else reference["true_behaviour"])["estimates"]
    state, policy = data["state"], np.array(spec["target_policy"])
    log = logged(state[..., None], data["action"], data["reward"], logarithm(behaviour))
    weights = importance_weights(log, logarithm(data["target_prob"]))
    case = _Case(log, weights, spec["gamma"], expected, "" if known else "true_behaviour ")
    marginal = None
    if "state_action_ratio_exact" in data:
        marginal = marginal_weights(log, logarithm(data["state_action_ratio_exact"]))
        yield from _with_ratios(case, marginal, reference)
    step = np.arange(log.horizon)
    for model in ("exact", "wrong"):
        table = data[f"q_{model}"]
        of_state = np.einsum("sa,tsa->ts", policy, table.astype(np.float64))
        values = ActionValues.of(log, table[step, state, data["action"]], of_state[step, state])
        tolerance = SINGLE_PRECISION if table.dtype == np.float32 else CLOSED
        yield from _with_values(case, model, values, marginal, tolerance)
    yield from case.rows("mis_counted", lambda: mis_counted(log, weights, state, case.gamma).value, CLOSED)
    tables = Table(spec["n_states"], spec["n_actions"])
    pooled = _model_based(log, data, policy, tables, case.gamma)
    yield from case.rows("model_based_ml", lambda: pooled.estimate.value, CLOSED)
    per_step = fqe_per_step(log, from_table(log, state, policy), tables, case.gamma)
    yield from case.rows("fqe_tabular_per_step", lambda: per_step.estimate.value, CLOSED)


def _model_based(log: Trajectories, data: Arrays, policy: Floats, tables: Table, gamma: float) -> FittedQ:
    final = data["next_state"][:, -1:]
    target = from_table(log, np.hstack([data["state"], final]), policy)
    return fqe_pooled(log, target, tables, gamma, final_observations=final)


def from_table(log: Trajectories, state: NDArray[Any], policy: Floats) -> TargetDoses:
    """Return the doses of a policy (states, doses) at states (n, T) or (n, T + 1)."""
    probability = policy[state]
    doses = np.broadcast_to(np.arange(policy.shape[1], dtype=np.float64), probability.shape)
    return TargetDoses.of(log, doses, probability)


def _linear_gaussian(data: Arrays, spec: Any, reference: Any) -> Iterator[Row]:
    state, action = data["state"][:, :-1], data["action"]
    one_dose = action.shape[2] == 1
    log = logged(state, action[..., 0], data["reward"], data["behaviour_logpdf"], density=True)
    gamma, expected = spec["gamma"], reference["estimates"]
    # without a density the target is deterministic, and what needs weights is left to kernels
    own = data.get("target_logpdf", data["behaviour_logpdf"])
    case = _Case(log, importance_weights(log, own), gamma, expected)
    marginal = None
    if "log_state_ratio_exact" in data:
        marginal = marginal_weights(log, data["log_state_ratio_exact"] + case.weights.log_ratio)
        yield from _with_ratios(case, marginal, reference)
    for model in ("exact", "wrong"):
        values = ActionValues.of(log, data[f"q_{model}_logged_action"], data[f"v_{model}"])
        yield from _with_values(case, model, values, marginal, CLOSED)
    sd = spec["target"]["sd"]
    if one_dose and sd[0] > 0.0:
        target = TargetDoses.normal(log, data["target_mean_action"][..., 0], sd[0])
        fitted = fqe_per_step(log, target, Monomials.of(log), gamma)
        yield from case.rows("fqe_quadratic_per_step", lambda: fitted.estimate.value, REGRESSION)


def _with_values(
    case: _Case, model: str, values: ActionValues, marginal: Weights | None, tolerance: float
) -> Iterator[Row]:
    """The forms that take a model's values."""
    log, weights, gamma, expected = case.log, case.weights, case.gamma, case.expected
    yield from case.rows(f"dm[{model}]", lambda: dm(log, values).value, tolerance)
    doubly = dr(log, weights, values, gamma)
    yield from case.rows(f"dr[{model}]", lambda: doubly.value, tolerance)
    yield from case.rows(f"dr[{model}]_se", lambda: doubly.standard_error, tolerance)
    yield from case.rows(f"wdr[{model}]", lambda: wdr(log, weights, values, gamma).value, tolerance)
    given = expected.get(f"magic[{model}]_interval_used")
    blend = magic_blend(log, weights, values, gamma, interval=given)
    yield from case.rows(f"j_step_returns[{model}]", lambda: blend.j_step_returns, tolerance)
    if given is not None:
        value = magic(log, weights, values, gamma, interval=given).value
        yield from case.rows(f"magic[{model}]", lambda: value, 0.0, MAGIC)
        yield from case.rows(f"magic[{model}]_blend", lambda: blend.share, 0.0, MAGIC)
    if marginal is not None:
        double = drl(log, marginal, values, gamma)
        yield from case.rows(f"drl_exact_ratio[{model}]", lambda: double.value, tolerance)
        yield from case.rows(f"drl_exact_ratio[{model}]_se", lambda: double.standard_error, tolerance)


def _with_ratios(case: _Case, marginal: Weights, reference: Any) -> Iterator[Row]:
    """The forms that take marginal ratios alone."""
    log, gamma = case.log, case.gamma
    yield from case.rows("mis_exact_ratio", lambda: mis(log, marginal, gamma).value, CLOSED)
    yield from case.rows("wmis_exact_ratio", lambda: wmis(log, marginal, gamma).value, CLOSED)
    diagnostics = _Case(log, marginal, gamma, reference.get("diagnostics", {}))
    yield from diagnostics.rows("marginal_ess_by_step", lambda: marginal.effective_sample_size, CLOSED)


def _bandit_discrete(data: Arrays, spec: Any, reference: Any) -> Iterator[Row]:
    action, target = data["action"][:, None], data["target_dist"]
    log = logged(
        data["context"][:, None], action, data["reward"][:, None], logarithm(data["behaviour_prob"])[:, None]
    )
    weights = importance_weights(log, logarithm(np.take_along_axis(target, action, axis=1)))
    case = _Case(log, weights, 1.0, reference["estimates"])
    for model in (name for name in data if name.startswith("q_")):
        table = data[model]
        values = ActionValues.of(
            log, np.take_along_axis(table, action, axis=1), (target * table).sum(axis=1, keepdims=True)
        )
        yield from _one_decision(case, f"[{model}]", values)


def _bandit_continuous(data: Arrays, spec: Any, reference: Any) -> Iterator[Row]:
    log = logged(
        data["context"][:, None], data["action"][:, None], data["reward"][:, None],
        logarithm(data["behaviour_pdf"])[:, None], density=True,
    )  # fmt: skip
    weights = importance_weights(log, logarithm(data["target_pdf_stochastic"])[:, None])
    values = ActionValues.of(
        log, data["q_exact_logged_action"][:, None], data["q_exact_stochastic_value"][:, None]
    )
    case = _Case(log, weights, 1.0, reference["estimates"])
    estimate = dr(log, weights, values)
    yield from case.rows("stochastic_dr_exact", lambda: estimate.value, CLOSED)
    yield from _standard_error(case, "stochastic_dr_exact_intervals", estimate.standard_error)
    yield from case.rows("stochastic_dm_exact", lambda: dm(log, values).value, CLOSED)
    yield from case.rows("stochastic_sndr_exact", lambda: wdr(log, weights, values).value, CLOSED)


def _one_decision(case: _Case, model: str, values: ActionValues) -> Iterator[Row]:
    """The forms of bandits; ``tau`` and ``lambda`` are read from the reference's names."""
    log, weights = case.log, case.weights
    estimate = dr(log, weights, values)
    yield from case.rows(f"dm{model}", lambda: dm(log, values).value, CLOSED)
    yield from case.rows(f"dr{model}", lambda: estimate.value, CLOSED)
    yield from _standard_error(case, f"dr{model}_intervals", estimate.standard_error)
    yield from case.rows(f"sndr{model}", lambda: wdr(log, weights, values).value, CLOSED)
    for name in case.expected:
        form = re.fullmatch(r"(switch_dr\[tau|dr_os\[lambda)=([^]]+)\]" + re.escape(model), name)
        if form is None:
            continue
        number = float(form[2])
        if form[1].startswith("switch"):
            value = switch_dr(log, weights, values, tau=number).value
        else:
            value = dr_os(log, weights, values, strength=number).value
        yield from case.rows(name, lambda value=value: value, CLOSED)


def _standard_error(case: _Case, name: str, ours: float) -> Iterator[Row]:
    intervals = _Case(case.log, case.weights, case.gamma, case.expected.get(name, {}), f"{name}.")
    yield from intervals.rows("std_error", lambda: ours, CLOSED)


def _ranking(data: Arrays, spec: Any, reference: Any) -> Iterator[Row]:
    state, action, gamma = data["state"], data["action"], spec["gamma"]
    log_prob = logarithm(data["behaviour_prob"])
    log = logged(state[..., None], action, data["reward"], log_prob)
    tables = Table(spec["n_states"], spec["n_actions"])
    direct, doubly = [], []
    for policy in data["policies"]:
        model = _model_based(log, data, policy, tables, gamma)
        weights = importance_weights(log, logarithm(policy[state, action]))
        direct.append(model.estimate.value)
        doubly.append(dr(log, weights, model.values, gamma).value)
    case = _Case(log, importance_weights(log, log_prob), gamma, reference["estimates"])
    yield from case.rows("dm_ml", lambda: direct, CLOSED)
    yield from case.rows("dr_ml", lambda: doubly, CLOSED)
