"""Hold importance sampling, kernels and behaviour models against logged data with known references.

`load` turns the folder of a case (`data.npz`, `spec.json`, `reference.json`) into a log and the target's
log-probabilities. `check` returns ``(name, ours, reference, allowed)`` for each number of these estimators
that its reference.json has; ``allowed`` is the tolerance of the reference's README as an absolute difference.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.behaviour import Behaviour, fit_behaviour
from dosewright.evaluation.dose_models import Counts, MultinomialLogistic
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.logs import from_frame
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.doubly_robust import dr, wdr
from dosewright.evaluation.ope.estimate import Estimate, discounted
from dosewright.evaluation.ope.importance import importance_sampling, pdis, pdwis, wis
from dosewright.evaluation.ope.kernel import Kernel, kernel_log_prob
from dosewright.evaluation.ope.weights import Weights, importance_weights

Row = tuple[str, float, float, float]
Floats = NDArray[np.float64]
CLOSED, LOGISTIC = 1e-8, 2e-3
"""Relative, closed formulas; absolute, what follows from a logistic behaviour model."""
LOGISTIC_WEIGHTS = 1e-2
"""Relative, diagnostics of such weights. The reference's fit stops at scikit-learn's default tolerance, 1e-7
of log loss from the maximum, and an effective sample of products over eight steps shows that."""
SMALLEST = 1e-12
"""Absolute: what is 0 but for rounding."""
ESTIMATORS: Mapping[str, Callable[[Trajectories, Weights, float, str | None], Estimate]] = {
    "is": importance_sampling,
    "wis": wis,
    "pdis": pdis,
    "pdwis": pdwis,
}
_KERNEL = re.compile(r"(\w+)\[(?:(gaussian|epanechnikov),)?h=([\d.]+)(?:,q_at_(target|logged))?\]")


@dataclass(frozen=True, eq=False)
class LogCase:
    """A case of the reference.

    Attributes
    ----------
    name, kind : of the folder; of the spec
    log : the log, with all outcomes and strata that it has
    target_log_prob : (n, T) of the logged doses; None where the target is a density of width 0, or several
    gamma : discount a step
    data, spec, reference : as read
    """

    name: str
    kind: str
    log: Trajectories
    target_log_prob: Floats | None
    gamma: float
    data: Mapping[str, NDArray[Any]]
    spec: Mapping[str, Any]
    reference: Mapping[str, Any]

    def weights(self) -> Weights:
        """Weights of the case's target."""
        assert self.target_log_prob is not None
        return importance_weights(self.log, self.target_log_prob)


def load(folder: Path) -> LogCase | None:
    """Return the log of a case; None for a folder that holds no log."""
    spec, reference = (json.loads((folder / name).read_text()) for name in ("spec.json", "reference.json"))
    with np.load(folder / "data.npz") as file:
        data = {name: file[name] for name in file.files}
    if "reward" not in data:
        return None
    if "traj" in data:
        log, target = _long(data, spec)
    elif data["reward"].ndim == 1:
        log, target = _bandit(data)
    else:
        log, target = _padded(data)
    gamma = float(spec.get("gamma", 1.0))
    return LogCase(folder.name, spec["kind"], log, target, gamma, data, spec, reference)


def logged(
    observations: NDArray[Any],
    actions: NDArray[Any],
    rewards: NDArray[Any],
    behaviour_log_prob: NDArray[Any],
    density: bool = False,
    outcomes: Mapping[str, NDArray[Any]] | None = None,
) -> Trajectories:
    """Return the log of patients who are all followed to the horizon; arrays are (n, T) and (n, T, k)."""
    everybody = np.ones(len(rewards), dtype=bool)
    return Trajectories(
        observations=observations,
        actions=actions,
        rewards=rewards,
        mask=np.ones(rewards.shape, dtype=bool),
        terminated=~everybody,
        truncated=everybody,  # these processes go on; the log stops at its horizon
        behaviour_log_prob=behaviour_log_prob,
        propensity="density" if density else "mass",
        outcomes=dict(outcomes or {}),
    )


def logarithm(probability: NDArray[Any]) -> Floats:
    """Return the natural logarithm, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log(np.asarray(probability, dtype=np.float64))


def _padded(data: Mapping[str, NDArray[Any]]) -> tuple[Trajectories, Floats | None]:
    """Read n trajectories of T steps each: tables or a linear-Gaussian model."""
    reward = data["reward"]
    everyone, horizon = np.ones(reward.shape, dtype=bool), reward.shape[1]
    outcomes: dict[str, Floats] = {}
    if "in_range" in data:
        outcomes["time_in_range"] = data["in_range"] / horizon
    if "exceedance" in data:
        outcomes["exceedances"] = data["exceedance"].astype(np.float64)
    if "adr" in data:
        outcomes["adr_count"] = data["adr"].astype(np.float64)
        outcomes["any_adr"] = np.where(
            np.arange(horizon) == horizon - 1, np.any(data["adr"], axis=1, keepdims=True), 0.0
        )
    continuous = "behaviour_logpdf" in data
    state = data["state"][:, :horizon] if continuous else data["state"][..., None]
    behaviour, target = data.get("behaviour_logpdf"), data.get("target_logpdf")
    if not continuous:
        behaviour = logarithm(data["behaviour_prob"]) if "behaviour_prob" in data else None
        target = logarithm(data["target_prob"]) if "target_prob" in data else None
    log = Trajectories(
        observations=state,
        # a dose of several numbers has only its first in the log; the kernels below look at all
        actions=data["action"][..., 0] if continuous else data["action"],
        rewards=reward,
        mask=everyone,
        terminated=~everyone[:, 0],
        truncated=everyone[:, 0],  # these processes go on; the log stops at its horizon
        behaviour_log_prob=behaviour,
        outcomes=outcomes,
        strata={"genotype": data["genotype"]} if "genotype" in data else {},
        propensity="density" if continuous else "mass",
    )
    return log, target


def _long(data: Mapping[str, NDArray[Any]], spec: Mapping[str, Any]) -> tuple[Trajectories, Floats]:
    """Read trajectories that stop at the first adverse reaction or at drop-out, one row a step."""
    patient, step = data["traj"], data["step"]
    last = step == data["time"][patient] - 1
    ended = np.isin(patient, np.flatnonzero((data["event"] == 1) | (data["time"] == spec["horizon"])))
    log = from_frame(
        {
            "patient": patient,
            "step": step,
            "action": data["action"],
            "reward": data["reward"],
            "behaviour_prob": data["behaviour_prob"],
            "terminated": last & ended,
            "censored": last & ~ended,
            "observation.state": data["state"],
            "outcome.adr": data["adr"],
            "stratum.genotype": data["genotype"][patient],
        },
        horizon=spec["horizon"],
    )
    target = np.zeros(log.mask.shape)
    target[patient, step] = logarithm(data["target_prob"])
    return log, target


def _bandit(data: Mapping[str, NDArray[Any]]) -> tuple[Trajectories, Floats]:
    """Read one decision a patient."""
    n = len(data["reward"])
    one, row = np.ones((n, 1), dtype=bool), np.arange(n)
    if "behaviour_pdf" in data:
        behaviour, target = data["behaviour_pdf"], data["target_pdf_stochastic"]
    elif "target_dist" in data:
        behaviour, target = data["behaviour_prob"], data["target_dist"][row, data["action"]]
    else:
        behaviour, target = data["behaviour_prob_nominal"], data["target_prob"]
    log = Trajectories(
        observations=(data["context"] if "context" in data else data["x"]).reshape(n, 1, -1),
        actions=data["action"][:, None],
        rewards=data["reward"][:, None],
        mask=one,
        terminated=one[:, 0],
        truncated=~one[:, 0],
        behaviour_log_prob=logarithm(behaviour)[:, None],
        propensity="density" if "behaviour_pdf" in data else "mass",
    )
    return log, logarithm(target)[:, None]


def check(folder: Path) -> list[Row]:
    """Return every number of these estimators in a folder, beside its reference."""
    case = load(folder)
    if case is None:
        return []
    if case.kind == "ranking":
        return list(_ranking(case))
    blocks = {name: block for name, block in case.reference.items() if isinstance(block, dict)}
    if "estimates" not in blocks:
        return [row for name, block in blocks.items() for row in _behaviour(case, name, block)]
    rows = [*_drop_out(case), *_kernels(case)]
    if case.target_log_prob is not None:
        rows += [*_importance(case, case.reference), *_strata(case)]
    return rows


def _importance(case: LogCase, block: Mapping[str, Any], prefix: str = "") -> Iterator[Row]:
    """Compare what needs nothing but weights: values, standard errors, diagnostics."""
    weights, log = case.weights(), case.log
    found = dict(_values(case, weights, list(block["estimates"])))
    for name, value in found.items():
        yield _row(prefix + name, value, block["estimates"][name])
    for name in ESTIMATORS:
        if "std_error" in block.get("intervals", {}).get(name, {}):
            own = ESTIMATORS[name](log, weights, case.gamma, None).standard_error
            yield _row(f"{prefix}{name} std_error", own, block["intervals"][name]["std_error"])
    for name, own in (
        ("ess", weights.effective_sample_size),
        ("max_weight_share", weights.max_weight_share),
        ("mean_weight", weights.mean_weight),
    ):
        known = block.get("diagnostics", {})
        by_step = known.get(f"{name}_by_step", [known[name]] if name in known else [])
        for step, expected in enumerate(by_step):
            yield _row(f"{prefix}{name}[{step}]", float(own[step]), expected)


def _values(case: LogCase, weights: Weights, names: list[str]) -> Iterator[tuple[str, float]]:
    log, gamma = case.log, case.gamma
    form = {name: estimator(log, weights, gamma, None) for name, estimator in ESTIMATORS.items()}
    rewards = discounted(log, gamma, None)
    same = {f"{prefix}ipw": form["is"] for prefix in ("", "stochastic_")}
    same |= {f"{prefix}snipw": form["wis"] for prefix in ("", "stochastic_")}
    for name in names:
        found = re.fullmatch(r"(wis_truncated|ipw_clipped)_at_([\d.]+)", name)
        end_point = re.fullmatch(r"pdwis_(time_in_range|exceedances)", name)
        if name in form or name in same:
            yield name, {**form, **same}[name].value
        elif name.endswith("_delta_se"):
            yield name, {**form, **same}[name.removesuffix("_delta_se")].standard_error
        elif name == "behaviour_mean":
            yield name, float(rewards.sum(axis=1).mean())
        elif name == "pdwis_precup_per_step":
            yield name, float((weights.weight * rewards).sum() / weights.weight.sum())
        elif found is not None:
            cut = np.minimum(weights.log_weight, np.log(float(found[2])))
            clipped = Weights(weights.decided, weights.log_ratio, cut, weights.log_weight_before, False)
            yield (
                name,
                (wis if found[1] == "wis_truncated" else importance_sampling)(log, clipped, gamma).value,
            )
        elif end_point is not None:
            yield name, pdwis(log, weights, 1.0, end_point[1]).value


def _strata(case: LogCase) -> Iterator[Row]:
    """Compare end points, in all patients and by genotype."""
    assert case.target_log_prob is not None
    for outcome, expected in case.reference.get("end_points", {}).items():
        for name in ("wis", "pdwis"):
            if expected[name] is not None:
                own = ESTIMATORS[name](case.log, case.weights(), 1.0, outcome).value
                yield _row(f"{outcome} {name}", own, expected[name])
        for label, group in expected["by_genotype"].items():
            rows = case.log.strata["genotype"] == label
            some = case.log.select(rows)
            weights = importance_weights(some, case.target_log_prob[rows])
            prefix = f"{outcome} genotype {label}"
            yield _row(f"{prefix} wis", wis(some, weights, 1.0, outcome).value, group["wis"])
            yield _row(f"{prefix} ess", float(weights.effective_sample_size[-1]), group["ess"])


def _drop_out(case: LogCase) -> Iterator[Row]:
    """Compare per-decision forms with drop-out ignored, and corrected for at its known rate."""
    known = case.reference["estimates"]
    if "pdis_ipcw" not in known or case.target_log_prob is None:
        return
    plain, log = case.weights(), case.log
    steps = np.arange(log.horizon) * np.log(1.0 - case.spec["dropout_per_step"])
    followed = np.broadcast_to(steps, log.mask.shape)
    weights = importance_weights(log, case.target_log_prob, followed)
    for name, estimate in (
        ("pdis_ipcw", pdis(log, weights, case.gamma)),
        ("pdis_ignoring_dropout", pdis(log, plain, case.gamma)),
        ("pdwis_ignoring_dropout_weight_carried", pdwis(log, plain, case.gamma)),
    ):
        yield _row(name, estimate.value, known[name])


def _ranking(case: LogCase) -> Iterator[Row]:
    """Compare the estimates of several targets on one log."""
    state, action = case.data["state"], case.data["action"]
    for i, policy in enumerate(case.data["policies"]):
        weights = importance_weights(case.log, logarithm(policy[state, action]))
        for name, estimator in ESTIMATORS.items():
            own = estimator(case.log, weights, case.gamma, None).value
            yield _row(f"{name} of policy {i}", own, case.reference["estimates"][name][i])
        effective = float(weights.effective_sample_size[-1])
        yield _row(f"ess of policy {i}", effective, case.reference["ess_last_step"][i])


def _kernels(case: LogCase) -> Iterator[Row]:
    """Compare the kernel forms of a deterministic target."""
    data, log, gamma = case.data, case.log, case.gamma
    if "target_mean_action" in data:
        dose, target = data["action"], data["target_mean_action"]
    elif "target_action" in data:
        dose, target = data["action"][:, None, None], data["target_action"][:, None, None]
    else:
        return
    known = {**case.reference.get("diagnostics", {}), **case.reference["estimates"]}
    for name, expected in known.items():
        found = _KERNEL.fullmatch(name)
        if found is None:
            continue
        form, kernel, width, residual = found.groups()
        kind: Kernel = "epanechnikov" if kernel == "epanechnikov" else "gaussian"
        # a dose of several numbers has a product of kernels
        around = sum(
            kernel_log_prob(replace(log, actions=dose[..., j]), target[..., j], float(width), kind)
            for j in range(dose.shape[2])
        )
        weights = importance_weights(log, np.asarray(around))
        if form in ("ess", "kess"):
            own = float(weights.effective_sample_size[-1])
        elif form == "kdr":
            at_target = data["q_exact_target_action"][:, None]
            q = at_target if residual == "target" else data["q_exact_logged_action"][:, None]
            own = dr(log, weights, ActionValues.of(log, q, at_target), gamma).value
        else:
            own = ESTIMATORS[{"kipw": "is", "ksnipw": "wis"}.get(form, form)](log, weights, gamma, None).value
        yield _row(name, own, expected)


def _behaviour(case: LogCase, name: str, block: Mapping[str, Any]) -> Iterator[Row]:
    """Compare what follows from one model of the behaviour, fitted to all patients as the reference does."""
    true = case.data["true_behaviour_prob_for_scoring_only"]
    if name == "true_behaviour":
        known = replace(case, log=replace(case.log, behaviour_log_prob=logarithm(true)))
        yield from _importance(known, block, f"{name} ")
        return
    fitted, kind = _fitted(case, name)
    known = replace(case, log=replace(case.log, behaviour_log_prob=fitted.log_prob))
    estimates = block["estimates"]
    rows = [_row(f"{name} {key}", own, estimates[key]) for key, own in _robust(known) if key in estimates]
    for key, own in (
        ("log_loss_per_step", fitted.log_loss),
        ("brier", fitted.brier),
        ("expected_calibration_error_10_bins", fitted.calibration_error),
        ("mean_abs_error_of_logged_action_prob", float(np.abs(np.exp(fitted.log_prob) - true).mean())),
    ):
        rows.append(_row(f"{name} {key}", own, estimates[key]))
    diagnostics = {**block, "estimates": {}}
    for key, own, expected, allowed in (*_importance(known, {"estimates": estimates}, f"{name} "), *rows):
        yield key, own, expected, allowed if kind == "count" else LOGISTIC
    for key, own, expected, allowed in _importance(known, diagnostics, f"{name} "):
        yield key, own, expected, allowed if kind == "count" else LOGISTIC_WEIGHTS * abs(expected)


def _robust(case: LogCase) -> Iterator[tuple[str, float]]:
    """Return the doubly robust forms of a table of values, exact or wrong."""
    weights, state, step = case.weights(), case.data["state"], np.arange(case.log.horizon)
    policy = np.array(case.spec["target_policy"])
    for model in ("exact", "wrong"):
        table = case.data[f"q_{model}"].astype(np.float64)
        v = np.einsum("sa,tsa->ts", policy, table)[step, state]
        values = ActionValues.of(case.log, table[step, state, case.data["action"]], v)
        robust = dr(case.log, weights, values, case.gamma)
        yield f"dr[{model}]", robust.value
        yield f"dr[{model}]_se", robust.standard_error
        yield f"wdr[{model}]", wdr(case.log, weights, values, case.gamma).value


def _fitted(case: LogCase, name: str) -> tuple[Behaviour, Literal["count", "logistic"]]:
    """Fit the model that a block is called after: ``count[state]``, ``logistic[e,g,e^2]``."""
    found = re.fullmatch(r"(count|logistic)\[(.*)\]", name)
    if found is None:
        raise ValueError(f"{case.name}: behaviour model {name!r}; expected count[...] or logistic[...]")
    state = case.data["state"].astype(np.float64)
    bins = case.spec["n_exposure_bins"]
    known = {"state": state, "e": state % bins, "g": state // bins}
    known |= {"exposure": known["e"], "genotype": known["g"]}
    terms = [] if found[2] == "intercept only" else found[2].split(",")
    columns = [known[base] ** int(power or 1) for base, _, power in (term.partition("^") for term in terms)]
    features = np.moveaxis(np.array(columns).reshape(len(columns), *state.shape), 0, -1)
    if found[1] == "count":
        # the reference adds one decision to every count
        return fit_behaviour(case.log, Counts(pseudo_count=1.0), features, folds=None), "count"
    return fit_behaviour(case.log, MultinomialLogistic(), features, folds=None), "logistic"


def _row(name: str, own: float, expected: float) -> Row:
    return name, own, float(expected), max(CLOSED * abs(expected), SMALLEST)
