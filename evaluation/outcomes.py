"""What a course of treatment comes to: a scenario's outcomes, a number for each patient."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.scenarios import Band, Hazard, Outcome

Floats = NDArray[np.float64]

# The year of `Hazard`, whose base is divided by 36,500: on the safe side the reported rate is then the base.
_DAYS_A_YEAR = 365.0


def outcome_values(
    outcome: Outcome, truth: Floats, measured: Floats, days: NDArray[np.int64]
) -> Floats | NDArray[np.bool_]:
    """Return one outcome for each patient.

    Parameters
    ----------
    outcome
        What is asked.
    truth : (n, horizon + 1) latent response on each day, NaN after drop-out
    measured : (n, v) measured response at the visits, NaN where there is no result
    days : (v,) day of each visit, ascending

    Returns
    -------
    (n,) in the outcome's unit; bool for kind "ever". NaN where it is not defined for a patient.

    Raises
    ------
    ValueError
        For an outcome that lacks the band or hazard which its kind needs.
    """
    if outcome.kind == "hazard":
        if outcome.hazard is None:
            raise ValueError(f"outcome {outcome.name!r}: kind 'hazard' needs a hazard, which is not given")
        return event_rate(outcome.hazard, truth)
    if outcome.band is None:
        raise ValueError(f"outcome {outcome.name!r}: kind {outcome.kind!r} needs a band, which is not given")
    if outcome.kind == "rosendaal":
        return rosendaal(outcome.band, measured, days, outcome.from_day)
    return ever_in(outcome.band, truth) if outcome.kind == "ever" else share_of_days(outcome.band, truth)


def followed_days(truth: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return (n,) days followed after the first dose: the days from 1 on that have a response."""
    return np.count_nonzero(~np.isnan(truth[:, 1:]), axis=1)


def share_of_days(band: Band, truth: Floats) -> Floats:
    """Return (n,) share of the followed days with the response in `band`; day 0 is before any drug."""
    return _ratio(band.contains(truth[:, 1:]).sum(axis=1), followed_days(truth))


def ever_in(band: Band, truth: Floats) -> NDArray[np.bool_]:
    """Return (n,) whether the response was in `band` on any followed day."""
    return np.any(band.contains(truth[:, 1:]), axis=1)


def event_rate(hazard: Hazard, truth: Floats) -> Floats:
    """Return (n,) expected events per 100 patient-years.

    ``100 · (1 − exp(−Σ daily hazard)) / followed years``: the probability of a first event while the patient
    was followed, on the scale of a rate.
    """
    daily = np.where(np.isnan(truth[:, 1:]), 0.0, hazard.daily(truth[:, 1:]))
    return _ratio(-100.0 * _DAYS_A_YEAR * np.expm1(-daily.sum(axis=1)), followed_days(truth))


def rosendaal(band: Band, measured: Floats, days: NDArray[np.int64], from_day: int = 0) -> Floats:
    """Return the share of time in `band`, the response moving in a straight line between results.

    Rosendaal 1993, Thromb Haemost 69:236. The crossings of the band's limits are solved, not sampled on whole
    days. A line that begins before `from_day` counts from there on.

    Parameters
    ----------
    band
        Range; whether a limit belongs to it matters only for a line that stays on the limit.
    measured : (n, v) results, NaN where there is none
    days : (v,) their days, ascending
    from_day
        First day that counts.

    Returns
    -------
    (n,) share of the time between the first and last result; NaN for fewer than two results on or after
    `from_day`.
    """
    inside, total = np.zeros(len(measured)), np.zeros(len(measured))
    last, last_day = np.full(len(measured), np.nan), np.zeros(len(measured))
    for value, day in zip(measured.T, days, strict=True):
        known = ~np.isnan(value)
        counted = known & ~np.isnan(last) & (day > from_day)
        begin = np.clip(from_day - last_day, 0.0, None)
        length = day - last_day
        share = _share_of_line(
            band, last[counted], value[counted], (begin / np.maximum(length, 1.0))[counted]
        )
        inside[counted] += share * length[counted]
        total[counted] += (length - begin)[counted]
        last, last_day = np.where(known, value, last), np.where(known, day, last_day)
    results = np.count_nonzero(~np.isnan(measured[:, days >= from_day]), axis=1)
    return np.where(results >= 2, _ratio(inside, total), np.nan)


def _share_of_line(band: Band, start: Floats, end: Floats, begin: Floats) -> Floats:
    """Share of the way from `start` to `end` that lies in `band`, counted from the share `begin` on."""
    low, high = max(band.at_least, band.above), min(band.at_most, band.below)
    flat = start == end
    slope = np.where(flat, 1.0, end - start)
    at_low, at_high = (low - start) / slope, (high - start) / slope
    enters = np.maximum(np.minimum(at_low, at_high), begin)
    leaves = np.minimum(np.maximum(at_low, at_high), 1.0)
    return np.where(flat, band.contains(start) * (1.0 - begin), np.maximum(leaves - enters, 0.0))


def _ratio(part: ArrayLike, whole: ArrayLike) -> Floats:
    """Return ``part / whole`` (n,); NaN where there is nothing to divide by."""
    parts, wholes = np.asarray(part, dtype=np.float64), np.asarray(whole, dtype=np.float64)
    return np.divide(parts, wholes, out=np.full(wholes.shape, np.nan), where=wholes > 0)
