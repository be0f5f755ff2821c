"""What an off-policy estimator returns: a value, each patient's influence on it, and what it stands on."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.statistics import Interval, student_half_width

# What an estimator needs to be near the truth, and so what decides whether it may answer: weights of whole
# courses, weights of the doses up to a step, weights of a step's state and dose, or a model.
Family = Literal["trajectory", "per-decision", "marginal", "model"]


@dataclass(frozen=True, eq=False)
class Estimate:
    """An off-policy estimate. Intervals, differences, strata and bootstraps follow from the influences.

    The influence of a patient is how far the estimate moves, times n, when the log holds a little more of
    that patient (the estimator's influence function at the log; Hampel 1974). Influences have mean 0, and
    their spread over sqrt(n) is the standard error (delta method).

    Attributes
    ----------
    estimator : name of the estimator
    family : what decides whether it may answer
    outcome : ``"reward"`` or the name of the outcome
    value : expected discounted sum under the target regimen, unit of the outcome
    influence : (n,) mean 0, unit of the outcome
    standard_error : delta method, unit of the outcome
    effective_sample_size : patients that carry the estimate. Whole courses: Kish's number at the last step.
        Per decision: Kish's numbers averaged over steps, see `shares_of_steps`. Linear fitted Q: those of the
        weights that the fit implies. Values taken as given: n.
    degrees_of_freedom : of the Student t quantile of `interval`
    """

    estimator: str
    family: Family
    outcome: str
    value: float
    influence: FloatArray
    standard_error: float
    effective_sample_size: float
    degrees_of_freedom: float

    def interval(self, level: float = 0.95) -> Interval:
        """Delta-method interval with Student's t: ``value +- t_{(1 + level)/2, df} standard_error``.

        With weights, df is the effective sample size of the last step minus 1: the effective number of
        patients carries the estimate, not n. It decides nothing about whether the log can answer at all,
        which `dosewright.evaluation.ope.decide` does.

        Raises
        ------
        ValueError
            When ``level`` is not between 0 and 1.
        """
        half = student_half_width(self.standard_error, self.degrees_of_freedom, level)
        low, high = self.value - half, self.value + half
        return Interval(self.value, low, high, self.standard_error, len(self.influence), level)

    def __str__(self) -> str:
        return (
            f"{self.estimator} of {self.outcome}: {self.interval()}; effective sample "
            f"{self.effective_sample_size:.1f} of {len(self.influence)}"
        )


def discounted(trajectories: Trajectories, gamma: float, outcome: str | None) -> FloatArray:
    """Return (n, T) ``gamma^t r_it`` of the reward (None) or of an outcome.

    Raises
    ------
    ValueError
        For a discount outside 0 to 1, or an outcome that the log does not have.
    """
    if not 0.0 <= gamma <= 1.0:
        raise ValueError(f"gamma = {gamma}; expected a discount a step between 0 and 1")
    if outcome is None:
        rewards = trajectories.rewards
    elif outcome in trajectories.outcomes:
        rewards = trajectories.outcomes[outcome]
    else:
        known = ", ".join(sorted(trajectories.outcomes)) or "none"
        raise ValueError(f"outcome {outcome!r} is not in the log; its outcomes: {known}; None is the reward")
    return rewards if gamma == 1.0 else rewards * gamma ** np.arange(trajectories.horizon)


def shares_of_steps(rewards: FloatArray) -> FloatArray:
    """Return (T,) how much each step contributes, with sum 1: the spread of its discounted reward (n, T).

    A step whose reward is the same for everybody cannot be estimated badly. With no spread at all, alike.
    """
    spread = rewards.std(axis=0)
    return spread / spread.sum() if spread.any() else np.full(len(spread), 1.0 / len(spread))


def estimate_of_ratio(
    estimator: str, family: Family, outcome: str | None, value: float, influence: FloatArray,
    effective: float, last: float,
) -> Estimate:  # fmt: skip
    """Return the estimate of a self-normalised form: ``se = sqrt(sum_i IF_i^2) / n``, df ``last - 1``.

    Parameters
    ----------
    effective, last : effective sample size that the form is judged by, and that of its last step
    """
    standard_error = float(np.sqrt(np.vdot(influence, influence))) / len(influence)
    return Estimate(
        estimator, family, outcome or "reward", value, influence, standard_error, effective,
        max(last - 1.0, 1.0),
    )  # fmt: skip


def estimate_of_mean(
    estimator: str, family: Family, outcome: str | None, terms: FloatArray, effective: float, last: float
) -> Estimate:
    """Return the estimate that is a plain mean of one term a patient (n,): ``se = sd / sqrt(n)``."""
    n = len(terms)
    with np.errstate(over="ignore", invalid="ignore"):
        value = float(terms.mean())
        influence = terms - value
        standard_error = float(np.sqrt(np.vdot(influence, influence) / n / max(n - 1.0, 1.0)))
    return Estimate(
        estimator, family, outcome or "reward", value, influence, standard_error, effective,
        max(last - 1.0, 1.0),
    )  # fmt: skip
