"""Time to the first harm: Kaplan-Meier and the restricted mean, when not everyone is followed to the end.

Visits make time discrete, so that many patients share a time. Events of one time share its patients at risk,
and a patient who is censored at a time was still at risk of the events of that time.
"""

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import BoolArray, FloatArray
from dosewright.evaluation.statistics.interval import Difference, Interval, normal_quantile, upper_tail
from dosewright.evaluation.statistics.per_patient import check_same_length, one_per_patient, refuse

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False, init=False)
class FollowUp:
    """Until when each of n patients was followed, and what ended it.

    Parameters
    ----------
    time : (n,) time of whatever came first, >= 0, any one unit (days, visits)
    cause : (n,) int or bool: 0 censored (followed until then without an event), 1 the event, 2 and more:
        competing events, e.g. death or drop-out

    Raises
    ------
    ValueError
        For unequal lengths, a time that is missing or negative, or a cause that is not a whole number >= 0,
        naming the patient.
    """

    time: FloatArray
    cause: IntArray

    def __init__(self, time: npt.ArrayLike, cause: npt.ArrayLike) -> None:
        times, causes = one_per_patient("time", time), one_per_patient("cause", cause)
        if len(times) != len(causes):
            raise ValueError(
                f"time has {len(times)} patients and cause {len(causes)}; expected one of each per patient"
            )
        refuse("time", times, times < 0.0, "a time >= 0")
        whole = "0 (censored), 1 (the event) or 2, 3, ... (competing events)"
        refuse("cause", causes, (causes < 0.0) | (causes != np.floor(causes)), whole)
        object.__setattr__(self, "time", times)
        object.__setattr__(self, "cause", causes.astype(np.int64))

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True, eq=False)
class EventCurve:
    """A probability over time as a step function, with its interval at each of the k times observed.

    Attributes
    ----------
    time : (k,) distinct times at which a patient's follow-up ended, ascending; the steps are there
    probability : (k,) from each time (included) until the next
    low, high : (k,) limits; NaN where the probability is 0 or 1 and its interval not defined
    standard_error : (k,) NaN where everybody has had the event
    at_risk : (k,) patients still followed without any event just before each time
    events : (k,) events at each time
    start : probability before the first time, 1 (survival) or 0 (incidence)
    known_until : last time that the curve says anything about, infinite when nobody was left to follow
    level : coverage aimed at, at each single time
    """

    time: FloatArray
    probability: FloatArray
    low: FloatArray
    high: FloatArray
    standard_error: FloatArray
    at_risk: IntArray
    events: IntArray
    start: float
    known_until: float
    level: float

    def at(self, times: npt.ArrayLike) -> FloatArray:
        """Return the probability at other times >= 0, same shape; NaN after `known_until`."""
        wanted = np.asarray(times, dtype=np.float64)
        steps = np.concatenate([[self.start], self.probability])
        found = steps[np.searchsorted(self.time, wanted, side="right")]
        return np.where(wanted > self.known_until, np.nan, found)


def kaplan_meier(follow_up: FollowUp, level: float = 0.95) -> EventCurve:
    """Probability of being free of the event over time (Kaplan and Meier 1958, JASA 53:457-481).

    Competing events count as censored: the curve is that of a world in which nobody drops out or dies, and
    is only that if who does is no more and no less prone to the event. `cumulative_incidence` makes no such
    assumption. Limits on the log-log scale, which keeps them inside [0, 1] (`scipy.stats.ecdf`); standard
    error by Greenwood (1926).

    Parameters
    ----------
    follow_up : of n patients
    level : coverage of the interval at each single time, not of the whole curve
    """
    upper_tail(level)
    event = follow_up.cause == 1
    curve = stats.ecdf(stats.CensoredData.right_censored(follow_up.time, ~event)).sf
    with warnings.catch_warnings():  # SciPy warns of what `EventCurve` documents as NaN
        warnings.simplefilter("ignore", RuntimeWarning)
        limits = curve.confidence_interval(level, method="log-log")
    time, at_risk, events = risk_table(follow_up, event)
    survival = curve.probabilities
    inside = (survival > 0.0) & (survival < 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):  # where nobody is left free of the event
        standard_error = survival * np.sqrt(np.cumsum(events / (at_risk * (at_risk - events))))
    return EventCurve(
        time=time,
        probability=survival,
        low=np.where(inside, limits.low.probabilities, np.nan),
        high=np.where(inside, limits.high.probabilities, np.nan),
        standard_error=standard_error,
        at_risk=at_risk,
        events=events,
        start=1.0,
        known_until=float(time[-1]) if survival[-1] > 0.0 else math.inf,
        level=level,
    )


def restricted_mean(follow_up: FollowUp, horizon: float, level: float = 0.95) -> Interval:
    """Mean time free of the event until the horizon, the area under the Kaplan-Meier curve.

    ``standard_error^2 = sum_j A_j^2 d_j / (Y_j (Y_j - d_j))`` over event times, ``A_j`` the area from there
    to the horizon, d events, Y at risk (Greenwood's; Klein and Moeschberger 2003, Survival Analysis, 4.5);
    normal limits, cut at 0 and at the horizon. In the unit of time, so it says directly how many days
    without harm a regimen gives, and needs no proportional hazards.

    Parameters
    ----------
    follow_up : of n patients; competing events count as censored, as in `kaplan_meier`
    horizon : where the mean stops, > 0, same unit as the times
    level : coverage of the interval

    Returns
    -------
    Interval
        Limits are NaN when there is no event before the horizon: the data show no variation to judge by.

    Raises
    ------
    ValueError
        For a horizon that is not positive, or beyond the last patient's follow-up.
    """
    mean, influence = _restricted_mean(follow_up, horizon)
    standard_error = _standard_error(influence)
    half = _half_width(influence, level)
    low, high = mean - half, mean + half
    if math.isfinite(half):
        low, high = max(low, 0.0), min(high, horizon)
    return Interval(mean, low, high, standard_error, len(follow_up), level)


def paired_restricted_mean_difference(
    a: FollowUp, b: FollowUp, horizon: float, level: float = 0.95
) -> Difference:
    """Difference of the restricted means, ``a - b``, of the same patients under two regimens.

    A positive difference is time free of the event gained by the first regimen. The standard error is that
    of the differences of the patients' influences on the two means, ``sqrt(sum_i (IF_a,i - IF_b,i)^2) / n``,
    so patients who are frail under both regimens do not blur it; each influence alone gives
    `restricted_mean`'s standard error. An arm without an event adds no variance; limits are NaN when no
    patient's two influences differ, as without an event in either arm.

    Parameters
    ----------
    a, b : follow-up of the same n patients, in the same order
    horizon, level : as in `restricted_mean`

    Raises
    ------
    ValueError
        As `restricted_mean`, and for unequal numbers of patients.
    """
    check_same_length(len(a), len(b))
    (mean_a, influence_a), (mean_b, influence_b) = _restricted_mean(a, horizon), _restricted_mean(b, horizon)
    influence, mean = influence_a - influence_b, mean_a - mean_b
    half = _half_width(influence, level)
    return Difference(mean, mean - half, mean + half, _standard_error(influence), len(a), level)


def risk_table(follow_up: FollowUp, event: BoolArray) -> tuple[FloatArray, IntArray, IntArray]:
    """Return distinct times, patients at risk just before each, and how many of ``event`` (n,) fall on it."""
    time, place = np.unique(follow_up.time, return_inverse=True)
    ended = np.bincount(place, minlength=len(time))
    at_risk = len(follow_up) - np.concatenate([[0], np.cumsum(ended)[:-1]])
    return time, at_risk, np.bincount(place[event], minlength=len(time))


def _restricted_mean(follow_up: FollowUp, horizon: float) -> tuple[float, FloatArray]:
    """Return the restricted mean, and (n,) the influence of each patient on it, mean 0.

    A patient's influence on the hazard of time j is ``n (dN_ij - h_j Y_ij) / Y_j``; on the log of survival
    after it, minus that over ``1 - h_j``; on the mean, that times the area that is left, ``A_j``. Influences
    of different times are orthogonal, so the sum of squares is Greenwood's formula, ties included.
    """
    if not 0.0 < horizon < math.inf:
        raise ValueError(f"horizon = {horizon}; expected a time > 0, in the unit of the follow-up")
    curve, n = kaplan_meier(follow_up), len(follow_up)
    if curve.known_until < horizon:
        raise ValueError(
            f"horizon = {horizon}, but no patient was followed beyond {curve.known_until}; "
            "expected a horizon within the follow-up of at least one patient"
        )
    inside = curve.time < horizon
    edges = np.concatenate([[0.0], curve.time[inside], [horizon]])
    areas = np.diff(edges) * np.concatenate([[1.0], curve.probability[inside]])
    left = np.cumsum(areas[::-1])[::-1][1:]
    stayed = (curve.at_risk - curve.events)[inside]
    # with nobody left the area is 0, and so is its share in the influence
    each = np.where(stayed > 0, n * left / np.maximum(stayed, 1), 0.0)
    hazard = (curve.events / curve.at_risk)[inside]
    expected = np.concatenate([[0.0], np.cumsum(hazard * each)])
    place = np.searchsorted(curve.time[inside], follow_up.time, side="right")
    happened = (follow_up.cause == 1) & (follow_up.time < horizon)
    observed = np.zeros(n)
    observed[happened] = each[place[happened] - 1]
    return float(areas.sum()), expected[place] - observed


def _standard_error(influence: FloatArray) -> float:
    return math.sqrt(float((influence**2).sum())) / len(influence)


def _half_width(influence: FloatArray, level: float) -> float:
    """Half the width of the normal interval; NaN when no patient moves the estimate."""
    return normal_quantile(level) * _standard_error(influence) if influence.any() else math.nan
