"""Incidence of a harm among patients who may drop out or die before it."""

import numpy as np

from dosewright.evaluation.logged import FloatArray
from dosewright.evaluation.statistics.interval import normal_quantile
from dosewright.evaluation.statistics.survival import EventCurve, FollowUp, risk_table


def cumulative_incidence(follow_up: FollowUp, cause: int = 1, level: float = 0.95) -> EventCurve:
    """Probability that an event has happened by a time, in a world with its competing events.

    Aalen and Johansen (1978, Scand J Stat 5:141-150): ``F(t) = sum_{t_j <= t} S(t_{j-1}) d_j / Y_j``, S the
    probability of being free of *any* event. One minus Kaplan-Meier with drop-out counted as censored is
    larger: it lets patients who are gone have the event. Incidences of all causes and S add up to 1.

    Variance of the Greenwood type, by the delta method from multinomial hazards: with h and ``h_c`` the
    hazards of any event and of this cause,

    ``sum_j {(F(t) - F_j)^2 h/(1 - h) + S_{j-1}^2 h_c (1 - h_c) - 2 (F(t) - F_j) S_{j-1} h_c} / Y_j``

    (Gaynor et al. 1993, JASA 88:400-409; Greenwood's own when nothing competes). Right for tied discrete
    visits. Limits on the log-log scale.

    Parameters
    ----------
    follow_up : of n patients, who are censored or had one of several events
    cause : the event of interest, 1 or more
    level : coverage of the interval at each single time, not of the whole curve

    Raises
    ------
    ValueError
        For a cause below 1.
    """
    if cause < 1:
        raise ValueError(f"cause = {cause}; expected the code of an event, 1 or more (0 is censored)")
    z = normal_quantile(level)
    time, at_risk, events = risk_table(follow_up, follow_up.cause == cause)
    _, _, any_event = risk_table(follow_up, follow_up.cause > 0)
    hazard, own = any_event / at_risk, events / at_risk
    survival = np.cumprod(1.0 - hazard)
    before = np.concatenate([[1.0], survival[:-1]])
    # the complement is exact where nothing competed, and reaches 1 without rounding
    alone = np.cumsum(any_event - events) == 0
    incidence = np.where(alone, 1.0 - survival, np.cumsum(before * own))
    variance = _variance(incidence, before, hazard, own, at_risk.astype(np.float64))
    standard_error = np.where(incidence < 1.0, np.sqrt(variance), np.nan)
    inside = (incidence > 0.0) & (incidence < 1.0)
    cut = np.where(inside, incidence, 0.5)
    width = z * standard_error / (cut * np.abs(np.log(cut)))
    nobody_left = any_event[-1] == at_risk[-1]
    return EventCurve(
        time=time,
        probability=incidence,
        low=np.where(inside, cut ** np.exp(width), np.nan),
        high=np.where(inside, cut ** np.exp(-width), np.nan),
        standard_error=standard_error,
        at_risk=at_risk,
        events=events,
        start=0.0,
        known_until=np.inf if nobody_left else float(time[-1]),
        level=level,
    )


def _variance(
    incidence: FloatArray, before: FloatArray, hazard: FloatArray, own: FloatArray, at_risk: FloatArray
) -> FloatArray:
    """Return (k,) the variance, its sums over past times as running sums."""
    # a time at which everybody leaves has no later one for its first term to enter
    odds = np.where(hazard < 1.0, hazard / np.where(hazard < 1.0, 1.0 - hazard, 1.0), 0.0) / at_risk
    cross = before * own / at_risk
    own_part = np.cumsum(before**2 * own * (1.0 - own) / at_risk)
    squared = (
        incidence**2 * np.cumsum(odds)
        - 2.0 * incidence * np.cumsum(odds * incidence)
        + np.cumsum(odds * incidence**2)
    )
    mixed = incidence * np.cumsum(cross) - np.cumsum(cross * incidence)
    return np.maximum(squared + own_part - 2.0 * mixed, 0.0)  # rounding
