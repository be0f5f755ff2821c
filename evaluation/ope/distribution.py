"""The distribution of a course's return under a target, not only its mean: quantiles, tails, spread."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dosewright.evaluation.logged import FloatArray, Trajectories
from dosewright.evaluation.ope.estimate import Estimate, discounted, estimate_of_mean, estimate_of_ratio
from dosewright.evaluation.ope.weights import Weights, scale
from dosewright.evaluation.statistics.interval import Interval, student_quantile

# A cumulated sum of shares may reach p a little late, as 20 shares of 1/20 against 0.25, or 1 from a million.
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class ReturnDistribution:
    """Weighted distribution of the returns of whole courses, self-normalised unless it says otherwise.

    A logged course stands for ``w_i = W_iT' / sum_j W_jT'`` of the target's, T' the last step (Chandak et
    al. 2021, universal off-policy evaluation; Huang et al. 2021). Everything here is of the family
    "trajectory", judged by the effective sample size of the last step.

    Attributes
    ----------
    returns : (n,) ``G_i``, discounted sum of each course, unit of the outcome
    log_weight : (n,) of the last step
    effective_sample_size : Kish's number of the last step's weights
    outcome : name of the outcome, None for the reward
    """

    returns: FloatArray
    log_weight: FloatArray
    effective_sample_size: float
    outcome: str | None

    @classmethod
    def of(
        cls, trajectories: Trajectories, weights: Weights, gamma: float = 1.0, outcome: str | None = None
    ) -> "ReturnDistribution":
        """Weigh the returns of a log; parameters and errors as `wis`.

        Raises
        ------
        ValueError
            As `wis`, and when every weight is 0.
        """
        returns = discounted(trajectories, gamma, outcome).sum(axis=1)
        effective = float(weights.effective_sample_size[-1])
        if effective == 0.0:
            raise ValueError("every weight is 0; expected a log with courses that the target may give")
        return cls(returns, weights.log_weight[:, -1], effective, outcome)

    @cached_property
    def share(self) -> FloatArray:
        """(n,) ``w_i``, sums to 1."""
        scaled = scale(self.log_weight[:, None])[0][:, 0]
        return scaled / scaled.sum()

    def mean(self) -> Estimate:
        """Mean, the same as `wis`."""
        return self._ratio("mean", self.returns)

    def variance(self) -> Estimate:
        """Variance ``sum_i w_i (G_i - mean)^2``; the error of the mean in it is of second order.

        With heavy weights its delta interval is too narrow, as that of `cvar_lower`: where an effective 1.4 %
        of 200 to 1000 patients carries the weight, they hold in 0.78 to 0.86 (`benchmarks.coverage`).
        """
        mean = float(self.share @ self.returns)
        return self._ratio("variance", (self.returns - mean) ** 2)

    def cdf(self, x: float) -> Estimate:
        """Probability of a return of at most x: ``sum_i w_i 1[G_i <= x]``."""
        return self._ratio(f"cdf at {x:g}", (self.returns <= x).astype(np.float64))

    def cdf_unnormalised(self, x: float) -> Estimate:
        """The same as a plain mean, ``mean_i W_i 1[G_i <= x]``: unbiased, but it need not end at 1."""
        with np.errstate(over="ignore"):
            weight = np.exp(self.log_weight)
        terms = np.where(self.returns <= x, weight, 0.0)
        return estimate_of_mean(
            f"unnormalised cdf at {x:g}", "trajectory", self.outcome, terms,
            self.effective_sample_size, self.effective_sample_size,
        )  # fmt: skip

    def cdf_interval(self, x: float, level: float = 0.95) -> Interval:
        """Probability of a return of at most x, with Wilson's (1927) interval of the effective patients.

        The delta interval of `cdf` fails for rare returns: while no heavy patient had one, its standard error
        is far too small. Here the number behind the proportion is the effective sample size, or
        ``cdf (1 - cdf) / se^2`` where that is smaller, and Student's t stands in the place of z. Where an
        effective 1.4 % of 200 to 1000 patients carries the weight, it holds in 0.96 to 0.98 for
        probabilities between 0.02 and 0.9, the delta interval in 0.54 to 0.91.
        """
        below = self.returns <= x
        share = self.share
        cdf, squared = float(share[below].sum()), float((share[below] ** 2).sum())
        variance = squared * (1.0 - 2.0 * cdf) + cdf**2 * float(share @ share)
        low, high = self._limits(np.array([cdf]), np.array([variance]), level)
        spread = float(np.sqrt(max(variance, 0.0)))
        return Interval(cdf, float(low[0]), float(high[0]), spread, len(share), level)

    def quantile(self, p: float, level: float = 0.95) -> Interval:
        """Smallest logged return x with ``cdf(x) >= p``, with the interval of the cdf turned around.

        A quantile has no influence that one could trust without a density. So the limits are the smallest
        returns at which the upper and the lower limit of the cdf, as in `cdf_interval`, reach p (Woodruff
        1952).

        Parameters
        ----------
        p : probability, 0 to 1, exclusive
        level : coverage of the interval

        Returns
        -------
        Interval
            ``standard_error`` is NaN. The upper limit is infinite when the lower limit of the cdf stays below
            p: the log is too small for so extreme a quantile.

        Raises
        ------
        ValueError
            For p or level out of range.
        """
        if not 0.0 < p < 1.0:
            raise ValueError(f"p = {p}; expected a probability between 0 and 1, e.g. 0.5")
        order = np.argsort(self.returns, kind="stable")
        returns, share = self.returns[order], self.share[order]
        # ties share the cdf at their last one
        last = np.r_[returns[1:] != returns[:-1], True]
        cdf, squared = np.cumsum(share)[last], np.cumsum(share**2)[last]
        variance = squared * (1.0 - 2.0 * cdf) + cdf**2 * squared[-1]
        lower, upper = self._limits(cdf, variance, level)
        low, value, high = (_reached(returns[last], curve, p) for curve in (upper, cdf, lower))
        return Interval(value, low, high, np.nan, len(returns), level)

    def cvar_lower(self, a: float) -> Estimate:
        """Mean of the worst share a of the courses (conditional value at risk, lower tail).

        Sort the returns and take weight a from below, the last course in part. It equals
        ``max_q {q - sum_i w_i (q - G_i)^+ / a}`` (Rockafellar & Uryasev 2000), reached at the a-quantile,
        whose own error therefore does not matter to first order:
        ``IF_i = n w_i (q - (q - G_i)^+ / a - cvar)``. A tail is seen through few patients: see `variance`.

        Parameters
        ----------
        a : share, above 0 and at most 1

        Raises
        ------
        ValueError
            For a out of range.
        """
        if not 0.0 < a <= 1.0:
            raise ValueError(f"a = {a}; expected a share of the courses, above 0 and at most 1, e.g. 0.1")
        order = np.argsort(self.returns, kind="stable")
        quantile = _reached(self.returns[order], np.cumsum(self.share[order]), a)
        return self._ratio(
            f"cvar of the lower {a:g}", quantile - np.maximum(quantile - self.returns, 0.0) / a
        )

    def _limits(self, cdf: FloatArray, variance: FloatArray, level: float) -> tuple[FloatArray, FloatArray]:
        """Wilson's limits of probabilities (k,)."""
        effective = self.effective_sample_size
        inside = (variance > 0.0) & (cdf > 0.0) & (cdf < 1.0)
        number = np.where(inside, cdf * (1.0 - cdf) / np.where(inside, variance, 1.0), effective)
        number = np.minimum(number, effective)
        squared = student_quantile(max(effective - 1.0, 1.0), level) ** 2 / number
        centre, spread = cdf + squared / 2.0, np.sqrt(squared * (cdf * (1.0 - cdf) + squared / 4.0))
        # rounding must not move a limit past the probability it belongs to (0 and 1)
        low, high = (centre - spread) / (1.0 + squared), (centre + spread) / (1.0 + squared)
        return np.minimum(low, cdf), np.maximum(high, cdf)

    def _ratio(self, name: str, values: FloatArray) -> Estimate:
        share = self.share
        value = float(share @ values)
        influence = len(share) * share * (values - value)
        effective = self.effective_sample_size
        return estimate_of_ratio(name, "trajectory", self.outcome, value, influence, effective, effective)


def _reached(returns: FloatArray, curve: FloatArray, p: float) -> float:
    """Return the smallest return (k,), ascending, at which a curve reaches p; infinity when none does."""
    reached = curve >= p - _ROUNDING
    return float(returns[np.argmax(reached)]) if reached.any() else np.inf
