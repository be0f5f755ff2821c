"""Weighted estimates of a log that grows, updated by what is appended."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray
from dosewright.evaluation.ope.sequences import sequence_quantile
from dosewright.evaluation.ope.stream_sums import IntArray, RunningSums, Summary
from dosewright.evaluation.statistics.interval import Interval, student_half_width


@dataclass(frozen=True)
class StreamEstimate:
    """An estimate of a log as it stands; fields as in `Estimate`, without the influences.

    Attributes
    ----------
    estimator : ``"pdwis"`` or ``"wis"``
    value, standard_error, effective_sample_size, degrees_of_freedom : those of the batch
    n_patients : patients so far
    n_open : of these, patients whose course is not closed
    """

    estimator: str
    value: float
    standard_error: float
    effective_sample_size: float
    degrees_of_freedom: float
    n_patients: int
    n_open: int

    def interval(self, level: float = 0.95) -> Interval:
        """As `Estimate.interval`: right at one look that was planned, not at every look."""
        return self._around(student_half_width(self.standard_error, self.degrees_of_freedom, level), level)

    def sequence(self, first_look: int, level: float = 0.95) -> Interval:
        """Interval that holds at all looks from the first one on, see `sequence_quantile`.

        It takes patients as independent and their courses as complete: look when the courses that were
        begun are closed, or append each course when it is.

        Parameters
        ----------
        first_look : patients at the first look, stated beforehand and the same at every look
        """
        quantile = sequence_quantile(self.n_patients, self.degrees_of_freedom, first_look, level)
        return self._around(self.standard_error * float(quantile), level)

    def _around(self, half: float, level: float) -> Interval:
        low, high = self.value - half, self.value + half
        return Interval(self.value, low, high, self.standard_error, self.n_patients, level)


class EstimateStream:
    """WIS and PDWIS of a growing log, equal to `wis` and `pdwis` of the whole log at every moment.

    Patients are numbered 0, 1, 2, ... in the order in which they enter, the rows of the log. Every course
    counts as it stands, an open one too, exactly as a truncated course does in the batch without correction
    for drop-out: its last weight is carried to later steps and its rewards to come count as 0. While many
    courses are open, that is not yet the value of whole courses; `StreamEstimate.n_open` tells.

    Appending costs by the steps appended, and a look by the open courses, whatever the length of the log.

    Parameters
    ----------
    gamma : discount a step, 0 to 1

    Raises
    ------
    ValueError
        For a discount out of range.
    """

    def __init__(self, gamma: float = 1.0) -> None:
        if not 0.0 <= gamma <= 1.0:
            raise ValueError(f"gamma = {gamma}; expected a discount a step between 0 and 1")
        self._gamma = gamma
        self._sums = RunningSums()

    def append(
        self,
        patient: npt.ArrayLike,
        step: npt.ArrayLike,
        log_ratio: npt.ArrayLike,
        reward: npt.ArrayLike,
        ended: npt.ArrayLike,
    ) -> None:
        """Take in decisions, in any order within one call; all of them or, on an error, none.

        Parameters
        ----------
        patient : (m,) int, row of the log; new patients take the next numbers
        step : (m,) int from 0, following the patient's last one without a gap
        log_ratio : (m,) ``log pi_e - log pi_b`` of the dose given; -inf where the target never gives it
        reward : (m,) reward (or an outcome) of the interval that followed, not discounted
        ended : (m,) bool, True at the last decision of a course, whatever ended it

        Raises
        ------
        ValueError
            For unequal lengths, a missing or impossible value, a step that is a duplicate or leaves a gap, a
            decision after the end, or a new patient out of turn; the message names patient and step.
        """
        who, when = _whole("patient", patient), _whole("step", step)
        ratio, gain = np.asarray(log_ratio, dtype=np.float64), np.asarray(reward, dtype=np.float64)
        last = np.asarray(ended)
        for name, array in (("step", when), ("log_ratio", ratio), ("reward", gain), ("ended", last)):
            if array.shape != who.shape or who.ndim != 1:
                raise ValueError(
                    f"{name} has shape {array.shape}, patient {who.shape}; expected (m,) in both"
                )
        if not len(who):
            return
        order = np.lexsort((when, who))
        who, when, ratio, gain, last = who[order], when[order], ratio[order], gain[order], last[order] != 0
        first = np.r_[True, who[1:] != who[:-1]]
        self._check_patients(who, when, first)
        self._check_steps(who, when, first, last)
        _refuse_rows("log_ratio", ratio, np.isnan(ratio) | np.isposinf(ratio), who, when)
        _refuse_rows("reward", gain, ~np.isfinite(gain), who, when)
        self._sums.add(who, when, ratio, gain * self._gamma**when, first, last)

    def pdwis(self) -> StreamEstimate:
        """`pdwis` of the log so far.

        Raises
        ------
        ValueError
            When nothing was appended yet.
        """
        return self._estimate("pdwis", self._sums.per_decision)

    def wis(self) -> StreamEstimate:
        """`wis` of the log so far; errors as `pdwis`."""
        return self._estimate("wis", self._sums.whole_courses)

    def _estimate(self, estimator: str, summarise: Callable[[], Summary]) -> StreamEstimate:
        n = self._sums.n_patients
        if not n:
            raise ValueError("the stream is empty; append decisions before asking for an estimate")
        found = summarise()
        return StreamEstimate(
            estimator, found.value, found.standard_error, found.effective, max(found.last - 1.0, 1.0), n,
            self._sums.n_open,
        )  # fmt: skip

    def _check_patients(self, who: IntArray, when: IntArray, first: BoolArray) -> None:
        known, ids = self._sums.n_patients, who[first]
        new = ids[ids >= known]
        if ids[0] < 0 or (new != known + np.arange(len(new))).any():
            wrong = ids[0] if ids[0] < 0 else new[new != known + np.arange(len(new))][0]
            raise ValueError(
                f"patient {wrong} is out of turn: the log has patients 0 to {known - 1}; "
                f"expected the next new patient to be {known}"
            )
        old = ids[ids < known]
        closed = self._sums.ended(old)
        if closed.any():
            patient = old[closed][0]
            raise ValueError(
                f"patient {patient}, step {when[who == patient][0]}: the course ended at step "
                f"{self._sums.length(old[closed][:1])[0] - 1}; expected no decision after the end"
            )

    def _check_steps(self, who: IntArray, when: IntArray, first: BoolArray, last: BoolArray) -> None:
        expected = np.empty(len(when), dtype=np.int64)
        expected[first] = self._sums.length(who[first])
        expected[1:][~first[1:]] = when[:-1][~first[1:]] + 1
        wrong = when != expected
        if wrong.any():
            k = int(np.argmax(wrong))
            raise ValueError(
                f"patient {who[k]}, step {when[k]}; expected step {expected[k]}: "
                "each step once, without a gap"
            )
        early = last[:-1] & ~first[1:]
        if early.any():
            k = int(np.argmax(early))
            raise ValueError(
                f"ended is True for patient {who[k]} at step {when[k]} but step {when[k + 1]} follows; "
                "expected True at the last decision only"
            )


def _whole(name: str, numbers: npt.ArrayLike) -> IntArray:
    array = np.asarray(numbers)
    if array.size and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} has type {array.dtype}; expected whole numbers")
    return array.astype(np.int64)


def _refuse_rows(name: str, values: FloatArray, bad: BoolArray, who: IntArray, when: IntArray) -> None:
    if bad.any():
        k = int(np.argmax(bad))
        raise ValueError(f"{name} = {values[k]} (patient {who[k]}, step {when[k]}); expected a finite number")
