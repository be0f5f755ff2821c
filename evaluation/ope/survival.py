"""Time to a first event under a target regimen: weighted Kaplan-Meier and what follows from it."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories, refuse
from dosewright.evaluation.ope.estimate import Estimate, estimate_of_ratio
from dosewright.evaluation.ope.weights import Weights, kish, scale
from dosewright.evaluation.statistics.interval import Interval, student_quantile, upper_tail

WEEKS_PER_YEAR = 52.1775


@dataclass(frozen=True, eq=False)
class TimeToEvent:
    """Kaplan-Meier curve of a target regimen, from the log of another.

    The hazard of step t is ``h_t = sum_i W_it dN_it / sum_i W_it Y_it``: of the weight of those still at risk
    at the step (Y, decided about and free of the event), the part that has the event in the interval after it
    (dN); the weight is that of the doses up to the step (Xie & Liu 2005, Stat Med 24:3089; Cole & Hernan
    2004). Survival is the product of ``1 - h_t``.

    A patient who drops out leaves the risk set after the last decision. That is right if those who drop out
    are, given the weights, no more and no less prone to the event than those who stay (drop-out at random),
    and if their last interval was seen whole (`whole_intervals` takes it out). Where drop-out depends on the
    history, give `weighted_kaplan_meier` weights with ``follow_up_log_prob``.

    Influence of a patient on the curve, by the delta method on the product:
    ``IF_i(S_t) = -S_t sum_{u <= t} n W_iu Y_iu (dN_iu - h_u) / (sum_j W_ju Y_ju (1 - h_u))``. With all
    weights 1 it gives Greenwood's standard error.

    Attributes
    ----------
    at_risk, event : (n, T) weights of the patients at risk, in units of the largest of the step; and of those
        who have the event
    effective_at_risk : (T,) Kish's number of the weights at risk
    outcome : name of the event
    """

    at_risk: FloatArray
    event: FloatArray
    effective_at_risk: FloatArray
    outcome: str

    @cached_property
    def hazard(self) -> FloatArray:
        """(T,) probability of the event in a step of those at risk; NaN where no weight is at risk."""
        with np.errstate(invalid="ignore"):
            return self.event.sum(axis=0) / self.at_risk.sum(axis=0)

    @cached_property
    def survival(self) -> FloatArray:
        """(T + 1,) probability of being free of the event at the start of each step, and at the end.

        0 from the step on at which everybody at risk has the event; NaN where all who were free of it were
        lost, and nobody knows.
        """
        return np.r_[1.0, _product(self.hazard)]

    @cached_property
    def survival_influence(self) -> FloatArray:
        """(n, T + 1) influence of each patient on `survival`."""
        # where nobody is at risk nobody has an influence; `survival` is 0 or NaN there
        hazard, total = np.nan_to_num(self.hazard), self.at_risk.sum(axis=0)
        left = total * (1.0 - hazard)
        # once everybody had the event survival is 0 and nobody moves it
        per_weight = np.divide(len(self.at_risk), left, out=np.zeros(len(left)), where=left != 0)
        each = np.cumsum((self.event - self.at_risk * hazard) * per_weight, axis=1)
        return np.hstack([np.zeros((len(each), 1)), -self.survival[1:] * each])

    def probability(self, step: int | None = None) -> Estimate:
        """Probability of the event in the first ``step`` steps, all when None.

        `probability_interval` has limits that stay between 0 and 1.

        Raises
        ------
        ValueError
            For a number of steps below 1 or above T.
        """
        at = self._step(step)
        return self._estimate(
            f"weighted Kaplan-Meier at {at}", 1.0 - self.survival[at], -self.survival_influence[:, at]
        )

    def probability_interval(self, step: int | None = None, level: float = 0.95) -> Interval:
        """Probability of the event, with limits on the log-log scale of survival.

        ``S^exp(+-t se / (S |log S|))`` (Kalbfleisch & Prentice 1980), with Student's t as in
        `Estimate.interval`. When no event was seen the upper limit is the exact binomial one of that many
        effective patients, ``1 - ((1 - level)/2)^(1/ESS)``, and not 0: rare harm is not no harm.
        """
        estimate = self.probability(step)
        free, n = 1.0 - estimate.value, len(estimate.influence)
        if free == 1.0:
            effective = float(self.effective_at_risk[: self._step(step)].min())
            high = 1.0 - (1.0 - upper_tail(level)) ** (1.0 / effective) if effective > 0 else 1.0
            return Interval(0.0, 0.0, high, estimate.standard_error, n, level)
        if free == 0.0 or math.isnan(free):
            return Interval(estimate.value, math.nan, math.nan, estimate.standard_error, n, level)
        low, high = log_log_limits(free, estimate.standard_error, estimate.degrees_of_freedom, level)
        return Interval(estimate.value, 1.0 - high, 1.0 - low, estimate.standard_error, n, level)

    def restricted_mean(self) -> Estimate:
        """Mean number of steps begun free of the event, ``sum_{t < T} S_t``."""
        return self._estimate(
            "restricted mean steps", self.survival[:-1].sum(), self.survival_influence[:, :-1].sum(axis=1)
        )

    def rate(self, steps_per_year: float = WEEKS_PER_YEAR) -> Estimate:
        """First events per patient-year under the target: probability over the restricted mean, in years.

        Parameters
        ----------
        steps_per_year : 52.1775 for weekly decisions
        """
        event, time = self.probability(), self.restricted_mean()
        value = event.value / time.value
        influence = (event.influence - value * time.influence) / time.value
        return self._estimate("first events a year", steps_per_year * value, steps_per_year * influence)

    @property
    def columns(self) -> FloatArray:
        """(n, 2T) what the probability depends on through sums, see `FunctionOfTotals`."""
        return np.hstack([self.event, self.at_risk])

    @property
    def value(self) -> float:
        """Probability of the event by the end."""
        return self.probability().value

    @property
    def influence(self) -> FloatArray:
        """(n,) on the probability of the event by the end."""
        return self.probability().influence

    def of_totals(self, totals: FloatArray) -> FloatArray:
        """(B,) probability of the event by the end from sums (B, 2T): resampled as in `resample`."""
        steps = len(self.hazard)
        with np.errstate(invalid="ignore"):
            return 1.0 - _product(totals[:, :steps] / totals[:, steps:])[:, -1]

    def _step(self, step: int | None) -> int:
        steps = len(self.hazard)
        if step is None:
            return steps
        if not 1 <= step <= steps:
            raise ValueError(f"step = {step}; expected a number of steps from 1 to {steps}")
        return step

    def _estimate(self, name: str, value: float, influence: FloatArray) -> Estimate:
        effective = float(self.effective_at_risk.mean())
        return estimate_of_ratio(
            name, "per-decision", self.outcome, float(value), influence, effective,
            float(self.effective_at_risk[-1]),
        )  # fmt: skip


def _product(hazard: FloatArray) -> FloatArray:
    """Cumulative product of ``1 - hazard`` (..., T); once 0 it stays 0."""
    survival = np.cumprod(1.0 - hazard, axis=-1)
    return np.where(np.maximum.accumulate(survival == 0.0, axis=-1), 0.0, survival)


def weighted_kaplan_meier(trajectories: Trajectories, weights: Weights, event: str) -> TimeToEvent:
    """Weighted Kaplan-Meier curve of a first event.

    For a stratum, select its patients from the log first: numerator and normaliser are then the stratum's.

    Parameters
    ----------
    trajectories : the log
    weights : of the target on this log; with ``follow_up_log_prob`` drop-out that depends on the history is
        corrected for. The behaviour's own curve has all weights 1, the log's propensities as the target's.
    event : name in ``trajectories.outcomes``, 0 or 1: whether the event happened in the interval that
        followed; only the first one counts

    Raises
    ------
    ValueError
        For an unknown outcome, or one with other values than 0 and 1.
    """
    if event not in trajectories.outcomes:
        known = ", ".join(sorted(trajectories.outcomes)) or "none"
        raise ValueError(f"outcome {event!r} is not in the log; its outcomes: {known}")
    happened, mask = trajectories.outcomes[event], trajectories.mask
    bad = (happened != 0.0) & (happened != 1.0) & mask
    refuse(f"outcomes[{event!r}]", happened, bad, "0 or 1, whether the event happened in the interval")
    before = np.cumsum(happened, axis=1) - happened
    followed: BoolArray = mask & (before == 0.0)
    at_risk = scale(np.where(followed, weights.log_weight, -np.inf))[0]
    return TimeToEvent(at_risk, at_risk * happened, kish(at_risk), event)


def log_log_limits(
    survival: float, standard_error: float, df: float, level: float = 0.95
) -> tuple[float, float]:
    """Limits of a survival probability strictly between 0 and 1, on the scale of ``log(-log S)``."""
    slope = survival * abs(math.log(survival))
    factor = math.exp(student_quantile(df, level) * standard_error / slope)
    return survival**factor, survival ** (1.0 / factor)
