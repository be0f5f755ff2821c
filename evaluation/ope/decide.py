"""Whether a log can answer, and which estimate is the answer: fixed rules, read before any estimate.

An off-policy estimate from a log that says too little looks like any other number. So every family of
estimators has to pass tests that do not look at the value: enough patients who carry it, weights whose mean
is what it must be, a tail that has a variance, doses that were given at all, a model that agrees with the log
on the regimen that made it. What fails gives no point. Where no family passes, the question is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories
from dosewright.evaluation.ope.action_values import ActionValues
from dosewright.evaluation.ope.bounds import Bounds
from dosewright.evaluation.ope.diagnostics import mean_weight_z
from dosewright.evaluation.ope.doubly_robust import residual_and_value
from dosewright.evaluation.ope.estimate import Estimate, Family, discounted, shares_of_steps
from dosewright.evaluation.ope.pareto import pareto_k_by_step
from dosewright.evaluation.ope.weights import Weights, kish
from dosewright.evaluation.statistics import Interval

# Below 30 effective patients the ratio's own bias (relative order 1/ESS) is no longer small beside its
# standard error, the delta method is not to be trusted, and one patient may carry 1/sqrt(30) = 18 % of the
# answer.
MINIMUM_EFFECTIVE_PATIENTS = 30.0
# The mean weight is 1 whenever the log covers the target and the propensities are right.
LARGEST_MEAN_WEIGHT_Z = 4.0
# A single step's mean is read only where its effective sample is a quarter of the log: later the weights are
# too skewed for a z value.
READABLE_SHARE = 0.25
# Above 0.7 a generalised Pareto tail has so little of a variance that no usual sample shows the mean
# (Vehtari et al. 2024, "Pareto smoothed importance sampling").
LARGEST_PARETO_K = 0.7
# Share of the target's doses, at the logged states, that the log's regimen never gives.
LARGEST_UNSUPPORTED = 0.001
LARGEST_SELF_CHECK_Z = 4.0
# Share of the patients that single decisions must keep for a model to answer alone. No weight shows what a
# model gets wrong away from the log's doses: of 2000 patients dosed by a good policy, 50 effective for a
# nomogram, linear fitted Q put 0.1 % in harm where 9 % are.
MODEL_SHARE = 0.25
# Share of the outcome, by step, over which the weights can show the target at all (30 effective patients),
# for a model to be checked on. Past that a model that takes what was observed for a whole state goes its own
# way unseen: on logs of two mixed rules, where weights carried half of the visits, 6 of 7 linear fits missed
# the truth, which the answers by weights held 28 times of 29.
MODEL_CHECKED = 0.9

Verdict = Literal["answered", "model-based", "bounds only", "refused"]


@dataclass(frozen=True)
class Grounds:
    """What one family of estimators stands on, and why it may not answer.

    Attributes
    ----------
    family
    effective_sample_size : patients. Whole courses: Kish's number at the last step, or that of the population
        where it is known and smaller. Per decision and marginal: the numbers of the steps (population
        likewise), averaged over steps with weights ``gamma^t sd(r_t)``. A model: the least of Kish's numbers
        of one decision's ratio alone, averaged in the same way, and of the weights that a linear fit implies.
    mean_weight_z : distance of the mean weight from 1, in standard errors; NaN for a model
    pareto_k : tail index of the weights; NaN for a model
    reasons : why it may not answer; empty if it may
    """

    family: Family
    effective_sample_size: float
    mean_weight_z: float
    pareto_k: float
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether the family may answer."""
        return not self.reasons


@dataclass(frozen=True, eq=False)
class Decision:
    """All estimates of one question, which of them may be believed, and the answer.

    Attributes
    ----------
    estimates : everything that was computed, the preferred first: an order fixed beforehand, so that nobody
        picks the estimate that suits
    grounds : family -> what it stands on
    unsupported : share of the target's doses that the log's regimen never gives; None where unknown
    self_check_z : distance between the log's own mean and what the model says of it, in standard errors, the
        largest of several models; NaN without a model
    bounds : what the log says when doses are unsupported; None where nobody gave them
    """

    estimates: tuple[Estimate, ...]
    grounds: Mapping[Family, Grounds]
    unsupported: float | None
    self_check_z: float
    bounds: Bounds | None

    @property
    def answer(self) -> Estimate | None:
        """The preferred estimate whose family may answer, and that is a number; None: refused, or bounds
        only."""
        able = (e for e in self.estimates if self.grounds[e.family].passed)
        return next((e for e in able if math.isfinite(e.value)), None)

    @property
    def verdict(self) -> Verdict:
        """What may be said: a model's answer where only a model answers, "refused" where nothing does."""
        found = self.answer
        if found is not None:
            return "model-based" if found.family == "model" else "answered"
        return "refused" if self.bounds is None else "bounds only"

    def interval(self, level: float = 0.95) -> Interval:
        """The answer's interval, or the bounds; ``-inf`` to ``inf`` around NaN when refused."""
        if self.answer is not None:
            return self.answer.interval(level)
        low, high = (-math.inf, math.inf) if self.bounds is None else self.bounds.interval(level)
        return Interval(math.nan, low, high, math.inf, len(self.estimates[0].influence), level)

    @property
    def reason(self) -> str:
        """Why the families that may not answer may not, one clause a family; empty when all may."""
        return "; ".join(
            f"{family}: {', '.join(grounds.reasons)}"
            for family, grounds in self.grounds.items()
            if grounds.reasons
        )

    def __str__(self) -> str:
        found = self.answer
        if found is None:
            limits = self.interval()
            start = self.verdict if self.bounds is None else f"between {limits.low:.4g} and {limits.high:.4g}"
            return f"{self.estimates[0].outcome}: {start} ({self.reason})"
        flag = " (model-based: rests on the model alone)" if found.family == "model" else ""
        return f"{found}{flag}"


def decide(
    trajectories: Trajectories,
    estimates: Sequence[Estimate],
    gamma: float = 1.0,
    *,
    weights: Weights | None = None,
    marginal: Weights | None = None,
    values: ActionValues | Sequence[ActionValues] = (),
    population_sample_size: FloatArray | None = None,
    unsupported: float | None = None,
    bounds: Bounds | None = None,
) -> Decision:
    """Judge estimates of one outcome of one target regimen by what they stand on.

    Parameters
    ----------
    trajectories : the log
    estimates : of the same outcome, preferred first
    gamma : discount a step that they were made with
    weights : of whole courses and decisions; needed by the families "trajectory" and "per-decision". A model
        is judged by them too, at each decision alone.
    marginal : weights of state and dose, needed by the family "marginal"
    values : of the model, or of several: their accounts of the log's own regimen and of the target's first
        decisions are checked, and none answers where one fails
    population_sample_size : (T,) effective sample size that a log of this size has in expectation, from
        `population_effective_sample_size`: a log shows more while its largest weights are yet to come
    unsupported : share of the target's doses at the logged states with behaviour probability 0, from
        `unsupported_mass`
    bounds : of the value when doses are unsupported, from `reward_range_bounds`

    Raises
    ------
    ValueError
        For no estimate, estimates of several outcomes or sizes, or a family whose weights are not given.
    """
    outcome = _checked(trajectories, estimates, weights, marginal)
    share = shares_of_steps(discounted(trajectories, gamma, outcome))
    everywhere: list[str] = []
    if unsupported is not None and unsupported > LARGEST_UNSUPPORTED:
        everywhere.append(
            f"{100 * unsupported:.3g} % of the target's doses are never given at such states "
            f"(at most {100 * LARGEST_UNSUPPORTED:g} % allowed)"
        )
    lost = int(trajectories.dropped_out.sum())
    models = [values] if isinstance(values, ActionValues) else list(values)
    checks = [self_check(trajectories, model, gamma, outcome) for model in models]
    check = max(checks, key=abs, default=math.nan)
    on_target = [
        target_check(trajectories, weights, model, gamma, outcome) for model in models if weights is not None
    ]
    grounds: dict[Family, Grounds] = {}
    families: list[Family] = list(dict.fromkeys(e.family for e in estimates))
    for family in families:
        if family == "model":
            own = [e for e in estimates if e.family == "model"]
            found = _of_model(weights, share, check, max(on_target, key=abs, default=math.nan), own)
        elif family == "marginal":
            assert marginal is not None  # checked
            found = _of_weights(family, marginal, share, None, lost)
        else:
            assert weights is not None  # checked
            found = _of_weights(family, weights, share, population_sample_size, lost)
        grounds[family] = Grounds(family, *found[:3], (*everywhere, *found[3]))
    supported = unsupported is None or unsupported <= LARGEST_UNSUPPORTED
    return Decision(tuple(estimates), grounds, unsupported, check, None if supported else bounds)


def self_check(
    trajectories: Trajectories, values: ActionValues, gamma: float = 1.0, outcome: str | None = None
) -> float:
    """How far the model's account of the log's own regimen is from what the log shows, in standard errors.

    By the performance-difference lemma (Kakade & Langford 2002) the value of the regimen that made the log is
    ``E[V_0 + sum_t gamma^t (Q_t - V_t)]`` over its own courses, for the true Q and V of any target. The log's
    mean return minus the model's mean is the mean of the temporal-difference errors
    ``sum_t gamma^t (r_t + gamma V_{t+1} - Q_t)``, which is 0 for a right model and needs no weight. Where a
    patient was lost the state that followed is not known, and that one error is left out.

    A model that was fitted to this very log makes these errors 0 whatever its form; `target_check` is the one
    that finds those.

    Returns
    -------
    z value; 0 where the errors vanish for everybody.
    """
    return _z(_temporal_differences(trajectories, values, gamma, outcome).sum(axis=1))


def target_check(
    trajectories: Trajectories,
    weights: Weights,
    values: ActionValues,
    gamma: float = 1.0,
    outcome: str | None = None,
) -> float:
    """How far the model is from what the log shows of the target itself, in standard errors.

    On the courses of the target, too, the temporal-difference errors of a right model have mean 0: it is what
    a doubly robust estimate adds to the model. The weights show them for the first decisions, as long as 30
    patients are effective. A model that fits the log's own doses on average, and is wrong about the target's,
    is found here. The weights are those of the doses alone: drop-out given the history changes no mean.

    Returns
    -------
    z value; 0 where no decision is carried, or the errors vanish for everybody.
    """
    carried = _carried(weights)
    errors = _temporal_differences(trajectories, values, gamma, outcome)[:, carried]
    weight = weights.of_doses[:, carried]
    return _z((weight / weight.sum(axis=0) * errors).sum(axis=1))


def _carried(weights: Weights) -> BoolArray:
    """Return the steps (T,) at which enough patients were dosed as the target doses."""
    return kish(weights.of_doses) >= MINIMUM_EFFECTIVE_PATIENTS


def _temporal_differences(
    trajectories: Trajectories, values: ActionValues, gamma: float, outcome: str | None
) -> FloatArray:
    """Return (n, T) ``gamma^t (r_t + gamma V_{t+1} - Q_t)``, 0 where nobody knows what followed."""
    residual, value = residual_and_value(discounted(trajectories, gamma, outcome), values, gamma)
    errors = residual + np.column_stack([value[:, 1:], np.zeros(len(value))])
    last = np.arange(trajectories.horizon) == trajectories.lengths[:, None] - 1
    unknown = last & trajectories.dropped_out[:, None]
    return np.where(trajectories.mask & ~unknown, errors, 0.0)


def _z(x: FloatArray) -> float:
    spread = float(x.std(ddof=1)) / math.sqrt(len(x)) if len(x) > 1 else 0.0
    mean = float(x.mean())
    if spread == 0.0:
        return 0.0 if mean == 0.0 else math.copysign(math.inf, mean)
    return mean / spread


def _checked(
    trajectories: Trajectories,
    estimates: Sequence[Estimate],
    weights: Weights | None,
    marginal: Weights | None,
) -> str | None:
    """Return the outcome as estimators are asked for it, None for the reward."""
    if not estimates:
        raise ValueError("no estimate to decide about; give at least one")
    outcomes = {e.outcome for e in estimates}
    if len(outcomes) > 1:
        raise ValueError(
            f"estimates of several outcomes, {', '.join(sorted(outcomes))}; decide about one a time"
        )
    for e in estimates:
        if len(e.influence) != trajectories.n_patients:
            raise ValueError(
                f"{e.estimator} is of {len(e.influence)} patients and the log of {trajectories.n_patients}; "
                "expected estimates from this log"
            )
        needed = {"trajectory": weights, "per-decision": weights, "marginal": marginal}
        if e.family in needed and needed[e.family] is None:
            name = "marginal" if e.family == "marginal" else "weights"
            raise ValueError(f"{e.estimator} is judged by its weights; give {name}=")
    (outcome,) = outcomes
    return None if outcome == "reward" else outcome


def _of_weights(
    family: Family, weights: Weights, share: FloatArray, population: FloatArray | None, lost: int
) -> tuple[float, float, float, list[str]]:
    effective = weights.effective_sample_size
    if population is not None:
        effective = np.minimum(effective, population)
    share = np.eye(len(share))[-1] if family == "trajectory" else share
    size, used = float(effective @ share), _pooled(weights, share)
    k = float(pareto_k_by_step(used)[0])
    reasons: list[str] = []
    nobody = np.isneginf(weights.log_weight).all(axis=0)
    if nobody.any():
        reasons.append(f"nobody was dosed as the target doses up to decision {int(np.argmax(nobody)) + 1}")
    if lost and not weights.corrected:
        reasons.append(f"{lost} patients dropped out and nothing corrects for it; give follow_up_log_prob")
    if not size >= MINIMUM_EFFECTIVE_PATIENTS:
        reasons.append(f"effective sample size {size:.1f}, {MINIMUM_EFFECTIVE_PATIENTS:g} needed")
    z = mean_weight_z(weights)[weights.effective_sample_size >= READABLE_SHARE * weights.n_patients]
    worst = max((*mean_weight_z(used).tolist(), *z.tolist()), key=abs)
    if abs(worst) > LARGEST_MEAN_WEIGHT_Z:
        far = f"mean weight {abs(worst):.1f} standard errors" if math.isfinite(worst) else "every weight"
        reasons.append(
            f"{far} {'above' if worst > 0 else 'below'} 1: the target gives doses that the log lacks, or a "
            "propensity is wrong"
        )
    if k > LARGEST_PARETO_K:
        reasons.append(f"Pareto k {k:.2f}, at most {LARGEST_PARETO_K:g} allowed")
    return size, worst, k, reasons


def _pooled(weights: Weights, share: FloatArray) -> Weights:
    """Return one weight a patient: those of the steps, averaged with shares (T,)."""
    counted = share > 0
    pooled = np.logaddexp.reduce(weights.log_weight[:, counted] + np.log(share[counted]), axis=1)[:, None]
    return replace(
        weights, decided=np.ones(pooled.shape, dtype=bool), log_ratio=pooled, log_weight=pooled,
        log_weight_before=np.zeros(pooled.shape),
    )  # fmt: skip


def _of_model(
    weights: Weights | None,
    share: FloatArray,
    check: float,
    on_target: float,
    estimates: Sequence[Estimate],
) -> tuple[float, float, float, list[str]]:
    reasons: list[str] = []
    size, n = min(e.effective_sample_size for e in estimates), len(estimates[0].influence)
    if weights is not None:
        size = min(size, float(weights.one_step_effective_sample_size @ share))
        shown = float(share[_carried(weights)].sum())
        if shown < MODEL_CHECKED:
            reasons.append(
                f"the weights show the target over {100 * shown:.0f} % of the outcome, "
                f"{100 * MODEL_CHECKED:.0f} % needed to check a model"
            )
    needed = max(MINIMUM_EFFECTIVE_PATIENTS, MODEL_SHARE * n)
    if not size >= needed:
        reasons.append(
            f"{size:.1f} effective patients at single decisions, {needed:.0f} of {n} needed: the model would "
            "extrapolate"
        )
    if abs(check) > LARGEST_SELF_CHECK_Z:
        reasons.append(f"the model is {abs(check):.1f} standard errors off on the regimen that made the log")
    if abs(on_target) > LARGEST_SELF_CHECK_Z:
        reasons.append(
            f"the model is {abs(on_target):.1f} standard errors off on the target's first decisions, as the "
            "weights show them"
        )
    apart = _largest_distance(estimates)
    if apart > LARGEST_SELF_CHECK_Z:
        reasons.append(f"models differ by {apart:.1f} standard errors")
    return size, math.nan, math.nan, reasons


def _largest_distance(estimates: Sequence[Estimate]) -> float:
    """How far two models are apart, in the standard errors of both; 0 for one model."""
    distance = 0.0
    for i, one in enumerate(estimates):
        for other in estimates[:i]:
            error = math.hypot(one.standard_error, other.standard_error)
            gap = abs(one.value - other.value)
            distance = max(distance, gap / error if error > 0.0 else math.inf if gap > 0.0 else 0.0)
    return distance
