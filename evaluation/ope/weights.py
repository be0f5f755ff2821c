"""Importance weights: what turns a log into one of another regimen.

A logged course is weighted by how much more likely the target regimen would have given its doses than the
regimen that did. Weights are products over decisions, so everything here is done with their logarithms: a
product of 100 ratios leaves the range of a float long before it leaves the range of its logarithm.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories, check_log_prob


@dataclass(frozen=True, eq=False)
class Weights:
    """Cumulative importance weights of a log, and what they say about overlap.

    Attributes
    ----------
    decided : (n, T) bool, where a decision was made
    log_ratio : (n, T) ``log pi_e(a_it) - log pi_b(a_it)`` of one decision, 0 where none was made
    log_weight : (n, T) ``L_it = sum_{u <= t} log_ratio_iu``, constant after the end; -inf where the target
        never gives a logged dose, or after drop-out that is corrected for
    log_weight_before : (n, T) the same up to the decision before, of the patients still seen at step t: what
        the value of a state is weighted by; 0 at the first step
    corrected : whether drop-out is corrected for
    """

    decided: BoolArray
    log_ratio: FloatArray
    log_weight: FloatArray
    log_weight_before: FloatArray
    corrected: bool

    @property
    def n_patients(self) -> int:
        """Number of patients n."""
        return len(self.log_weight)

    @cached_property
    def _scaled(self) -> tuple[FloatArray, FloatArray]:
        return scale(self.log_weight)

    @cached_property
    def of_doses(self) -> FloatArray:
        """(n, T) weights of the doses alone, drop-out left out, as multiples of the largest of their step."""
        return scale(np.cumsum(self.log_ratio, axis=1))[0]

    @cached_property
    def normalised(self) -> FloatArray:
        """(n, T) ``w_it = W_it / sum_j W_jt``, sums to 1 over patients; NaN where every weight is 0."""
        return _shares(self._scaled[0])

    @cached_property
    def normalised_before(self) -> FloatArray:
        """(n, T) as `normalised`, of `log_weight_before`."""
        if self.corrected:
            return _shares(scale(self.log_weight_before)[0])
        return shifted(self.normalised, 1.0 / self.n_patients)

    @cached_property
    def weight(self) -> FloatArray:
        """(n, T) ``W_it``; inf beyond exp(709), where an estimate is refused for its overlap anyway."""
        scaled, largest = self._scaled
        with np.errstate(over="ignore", invalid="ignore"):
            return scaled * np.exp(largest)

    @cached_property
    def weight_before(self) -> FloatArray:
        """(n, T) as `weight`, of `log_weight_before`."""
        if self.corrected:
            with np.errstate(over="ignore"):
                return np.exp(self.log_weight_before)
        return shifted(self.weight, 1.0)

    @cached_property
    def effective_sample_size(self) -> FloatArray:
        """(T,) Kish's ``(sum_i W_it)^2 / sum_i W_it^2``, patients; 0 where every weight is 0."""
        return kish(self._scaled[0])

    @cached_property
    def one_step_effective_sample_size(self) -> FloatArray:
        """(T,) Kish's number for the ratio of one decision alone, over the patients who were decided about.

        Small at a step where the target's doses are rare in the log whatever came before: a model that
        answers there extrapolates.
        """
        return kish(scale(np.where(self.decided, self.log_ratio, -np.inf))[0])

    @cached_property
    def max_weight_share(self) -> FloatArray:
        """(T,) largest ``w_it``."""
        return self.normalised.max(axis=0)

    @cached_property
    def mean_weight(self) -> FloatArray:
        """(T,) ``mean_i W_it``, near 1 when the log covers the target and the propensities are right."""
        scaled, largest = self._scaled
        with np.errstate(divide="ignore", over="ignore"):
            return np.exp(largest + np.log(scaled.sum(axis=0) / self.n_patients))


def importance_weights(
    trajectories: Trajectories,
    target_log_prob: npt.ArrayLike,
    follow_up_log_prob: npt.ArrayLike | None = None,
) -> Weights:
    """Weights of a log under a target regimen, shared by all estimators that weigh.

    ``W_it = prod_{u <= t} pi_e(a_iu | s_iu) / pi_b(a_iu | s_iu)``. A patient who has ended keeps the last
    weight at all later steps: the ended course is as much a part of the target's population as the others.
    Leaving ended patients out of the normaliser would pay the survivors' later rewards to everyone.

    With ``follow_up_log_prob``, ``W_it`` is also divided by the probability of still being followed (inverse
    probability of censoring weights, Robins & Rotnitzky 1992): those who dropped out leave at their drop-out
    and those still seen stand in for them, while ended patients keep the weight of their last step.

    Parameters
    ----------
    trajectories : the log, with ``behaviour_log_prob``
    target_log_prob : (n, T) log propensity of the *logged* dose under the target regimen, a mass or a
        density as in the log; -inf where the target never gives it. Not read where ``mask`` is False.
    follow_up_log_prob : (n, T) log probability that a patient is still followed at the step (cumulative over
        steps, not a hazard), given the history; ``<= 0``

    Raises
    ------
    ValueError
        When the log has no propensities, or an array has a wrong shape or an impossible value.
    """
    if trajectories.behaviour_log_prob is None:
        raise ValueError(
            "trajectories.behaviour_log_prob is None; expected (n, T) log propensities of the doses given: "
            "log them when serving, or fit a behaviour model first"
        )
    mask = trajectories.mask
    target = np.asarray(target_log_prob, dtype=np.float64)
    check_log_prob("target_log_prob", target, mask, trajectories.propensity)
    log_ratio = np.zeros(mask.shape)
    np.subtract(target, trajectories.behaviour_log_prob, out=log_ratio, where=mask)
    log_weight = np.cumsum(log_ratio, axis=1)
    before = shifted(log_weight, 0.0)
    if follow_up_log_prob is not None:
        followed = np.asarray(follow_up_log_prob, dtype=np.float64)
        check_log_prob("follow_up_log_prob", followed, mask, "mass")
        if np.isneginf(followed[mask]).any():
            raise ValueError("follow_up_log_prob is -inf at a step that was seen; expected a probability > 0")
        carried = carry_last(followed, trajectories.lengths)
        gone = trajectories.dropped_out[:, None] & ~mask
        log_weight, before = (np.where(gone, -np.inf, weight - carried) for weight in (log_weight, before))
    return Weights(mask, log_ratio, log_weight, before, follow_up_log_prob is not None)


def scale(log_weight: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return weights (n, T) as multiples of the largest of their step, and the log (T,) of that largest.

    With the largest at 1 the sum is at least 1: nothing to guard a division with, nothing collapses to 0.
    """
    largest = log_weight.max(axis=0)
    return np.exp(log_weight - np.where(np.isneginf(largest), 0.0, largest)), largest


def kish(weight: npt.ArrayLike) -> FloatArray:
    """Return Kish's effective sample size ``(sum w)^2 / sum w^2`` over the first axis; 0 for no weight."""
    given = np.asarray(weight, dtype=np.float64)
    squares = np.einsum("i...,i...->...", given, given)
    return np.divide(given.sum(axis=0) ** 2, squares, out=np.zeros(given.shape[1:]), where=squares > 0)


def _shares(scaled: FloatArray) -> FloatArray:
    with np.errstate(invalid="ignore"):
        return scaled / scaled.sum(axis=0)


def shifted(values: FloatArray, first: float) -> FloatArray:
    """Return the values (n, T) of one step earlier, and `first` at the first."""
    shifted = np.empty_like(values)
    shifted[:, 0], shifted[:, 1:] = first, values[:, :-1]
    return shifted


def carry_last(values: FloatArray, lengths: npt.NDArray[np.int64]) -> FloatArray:
    """Return values (n, T) that keep their last one after a course of so many decisions (n,)."""
    step = np.minimum(np.arange(values.shape[1]), lengths[:, None] - 1)
    return np.take_along_axis(values, step, axis=1)
