"""How probable a measurement is, given the true value: densities, intervals and events.

A sample is a value or an interval [low, high) that the measured value lies in. Below the limit of
quantification low is minus infinity (the method M3 of Beal SL, J Pharmacokinet Pharmacodyn 2001;28:481-504),
above the range high is infinity, and a grade of an ordinal scale is an interval on both sides. Whether an
event happened is an interval of the number of events, [0, 1) or [1, ∞), where the truth is the hazard H that
has accumulated: P(event) = 1 − exp(−H).

With a value the log likelihood is exact; estimators minimise minus twice of it without its constants, the
objective of NONMEM: ``log v + (y − f)²/v`` with v the variance of the residual error. Of a log-normal error
y, f and v are those of the logarithms. Where f is exactly 0 a proportional part counts as that of f = 1, as
in NONMEM's usual code: without it a sample before a lag would have no error at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr

from dosewright.envs.pharmacology import ResidualError

Floats = NDArray[np.float64]

_LOG_TWO_PI = float(np.log(2.0 * np.pi))


@dataclass(frozen=True, eq=False)
class SampleErrors:
    """Residual errors of samples of several outputs, each as `ResidualError` has it, in one shape.

    Attributes
    ----------
    log_sd, proportional, additive, adds_sd
        As in `ResidualError`.
    """

    log_sd: Floats
    proportional: Floats
    additive: Floats
    adds_sd: NDArray[np.bool_]

    @classmethod
    def of(cls, errors: Sequence[ResidualError], output: NDArray[np.int64]) -> SampleErrors:
        """Return the errors of samples of `output` (...), numbers in the order of `errors`."""
        return cls(
            **{item.name: np.array([getattr(e, item.name) for e in errors])[output] for item in fields(cls)}
        )

    def expand(self, axis: int) -> SampleErrors:
        """Return the errors with one more axis, along which they are the same."""
        return SampleErrors(
            **{item.name: np.expand_dims(getattr(self, item.name), axis) for item in fields(self)}
        )


class Deviance(NamedTuple):
    """Minus twice the log likelihood without constants, and what Gauss and Newton's method needs of it.

    Attributes
    ----------
    value
        ``log v + (y − f)²/v``, or −2 log P of an interval.
    slope
        Its derivative with respect to the prediction f.
    weight
        Half of its expected second derivative, Fisher's information on f: ``1/v + ½·(v'/v)²``, and of an
        event ``1/(exp(H) − 1)``. Of an interval the curvature of −log P at constant v, which is positive.
    """

    value: Floats
    slope: Floats
    weight: Floats


def log_likelihood(
    error: ResidualError | SampleErrors,
    truth: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    event: ArrayLike = False,
) -> Floats:
    """Return log densities where low equals high, and log probabilities of intervals elsewhere.

    Parameters
    ----------
    error
        Residual error; its parts, `truth`, `low` and `high` are broadcast.
    truth
        Predictions, in the output's unit.
    low, high
        The measured value, twice; or the interval [low, high) that it lies in.
    event
        Whether `truth` is an accumulated hazard, and the interval one of the number of events; `error` then
        does not matter.

    Returns
    -------
    Minus infinity where it is impossible, as a value of 0 with a log-normal error.
    """
    deviance = _with_events(_deviance(error, truth, low, high), truth, low, event)
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        # of a log-normal density in y, not in log y
        jacobian = np.where(np.asarray(error.log_sd) > 0, np.log(low), 0.0)
        constant = np.where(low == high, _LOG_TWO_PI + 2.0 * jacobian, 0.0)
        return np.where(np.isposinf(deviance.value), -np.inf, -0.5 * (deviance.value + constant))


def event_log_likelihood(hazard: ArrayLike, happened: ArrayLike) -> Floats:
    """Return the log probability that an event has happened or not, given its cumulative hazard H ≥ 0.

    P(event) = 1 − exp(−H).
    """
    total = np.asarray(hazard, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.where(happened, np.log(-np.expm1(-total)), -total)


def _with_events(found: Deviance, truth: ArrayLike, low: ArrayLike, event: ArrayLike) -> Deviance:
    """Return the deviance with that of events in its place.

    Its probability is p = 1 − exp(−H), with p' = exp(−H). So the slope of −2 log p is −2 p'/p =
    −2/(exp(H) − 1), and Fisher's information p'²/(p (1 − p)) = 1/(exp(H) − 1).
    """
    event = np.asarray(event, dtype=np.bool_)
    if not event.any():
        return found
    # a difference of two predictions may be below 0 by rounding
    hazard = np.maximum(np.asarray(truth, dtype=np.float64), 0.0)
    happened = np.asarray(low) >= 1
    with np.errstate(divide="ignore", over="ignore"):
        weight = 1.0 / np.expm1(hazard)
    slope = np.where(happened, -2.0 * weight, 2.0)
    # without any hazard, to which effects then add nothing, what has not happened says nothing
    weight = np.where(hazard == 0, 0.0, weight)
    own = Deviance(-2.0 * event_log_likelihood(hazard, happened), slope, weight)
    return Deviance(*(np.where(event, x, y) for x, y in zip(own, found, strict=True)))


def standardised(error: ResidualError | SampleErrors, truth: ArrayLike, value: ArrayLike) -> Floats:
    """Return residuals over their SD, ``(y − f)/√v``: NONMEM's IWRES where `truth` is the individual
    prediction."""
    f, y, _ = _scaled(error, truth, value, value)
    return (y - f) / np.sqrt(_variance(error, f)[0])


def residual_variance(error: ResidualError | SampleErrors, truth: ArrayLike) -> Floats:
    """Return the variance of a measured value about the truth; of its logarithm where the error is
    log-normal."""
    return _variance(error, np.asarray(truth, dtype=np.float64))[0]


def deviance(
    error: ResidualError | SampleErrors,
    truth: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    event: ArrayLike = False,
) -> Deviance:
    """Return minus twice the log likelihood without constants, its slope in the prediction, and its weight.

    Parameters
    ----------
    error, truth, low, high, event
        As in `log_likelihood`.
    """
    found = _deviance(error, truth, low, high)
    is_log = np.asarray(error.log_sd) > 0
    if is_log.any():
        with np.errstate(divide="ignore", invalid="ignore"):
            per = np.where(is_log, 1.0 / np.asarray(truth, dtype=np.float64), 1.0)
            # below the limit for certain, as before the first dose: no change of the prediction matters
            slope = np.where(found.slope == 0, 0.0, found.slope * per)
            weight = np.where(found.weight == 0, 0.0, found.weight * per**2)
            found = Deviance(found.value, slope, weight)
    return _with_events(found, truth, low, event)


def _scaled(
    error: ResidualError | SampleErrors, truth: ArrayLike, low: ArrayLike, high: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    """Return prediction and bounds as they are, or their logarithms."""
    parts = [np.asarray(part, dtype=np.float64) for part in (truth, low, high)]
    is_log = np.asarray(error.log_sd) > 0
    if not is_log.any():
        return parts[0], parts[1], parts[2]
    with np.errstate(divide="ignore", invalid="ignore"):
        f, a, b = (np.where(is_log, np.log(np.maximum(part, 0.0)), part) for part in parts)
    return f, a, b


def _variance(error: ResidualError | SampleErrors, f: Floats) -> tuple[Floats, Floats]:
    """Return variance and its slope, on the scale of `_scaled`."""
    proportional, additive = np.asarray(error.proportional), np.asarray(error.additive)
    size, sign = np.where(f == 0.0, 1.0, np.abs(f)), np.sign(f)
    # the logarithm of 0 where there is no such part; a prediction without bound has no finite variance
    with np.errstate(invalid="ignore", over="ignore"):
        by_sd = proportional * size + additive
        v = np.where(error.adds_sd, by_sd**2, (proportional * size) ** 2 + additive**2)
        slope = 2.0 * proportional * sign * np.where(error.adds_sd, by_sd, proportional * size)
    log_sd = np.asarray(error.log_sd)
    return np.where(log_sd > 0, log_sd**2, v), np.where(log_sd > 0, 0.0, slope)


def _deviance(
    error: ResidualError | SampleErrors, truth: ArrayLike, low: ArrayLike, high: ArrayLike
) -> Deviance:
    """Return the deviance, with slope and weight on the scale of `_scaled`."""
    f, a, b = _scaled(error, truth, low, high)
    v, change = _variance(error, f)
    point = a == b
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        residual = np.where(point, a - f, 0.0)
        relative, standard = change / v, residual**2 / v
        value = np.log(v) + standard
        slope = relative * (1.0 - standard) - 2.0 * residual / v
        weight = 1.0 / v + 0.5 * relative**2
    # a logarithm of 0, on either side
    value = np.where(np.isnan(value) & ~np.isnan(f + v), np.inf, value)
    if point.all():
        return Deviance(*np.broadcast_arrays(value, slope, weight))
    inside = _interval(f, a, b, v, change)
    return Deviance(*(np.where(point, x, y) for x, y in zip((value, slope, weight), inside, strict=True)))


def _interval(f: Floats, low: Floats, high: Floats, v: Floats, change: Floats) -> Deviance:
    """Deviance of intervals: −2 log(Φ(b) − Φ(a)) with a, b the bounds in SDs from the prediction."""
    sd = np.sqrt(v)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # a bound without end is that far from any prediction, the logarithm of 0 included
        a = np.where(np.isneginf(low), -np.inf, (low - f) / sd)
        b = np.where(np.isposinf(high), np.inf, (high - f) / sd)
        # in the upper tail both are close to 1: take the lower one
        flip = a > 0
        lower, upper = log_ndtr(np.where(flip, -b, a)), log_ndtr(np.where(flip, -a, b))
        log_p = np.where(np.isneginf(upper), -np.inf, upper + np.log(-np.expm1(lower - upper)))
        at_a, at_b = (np.exp(-0.5 * (x**2 + _LOG_TWO_PI) - log_p) for x in (a, b))
        a_part, b_part = np.where(at_a > 0, a * at_a, 0.0), np.where(at_b > 0, b * at_b, 0.0)
        rise = -(at_b - at_a) / sd - (b_part - a_part) * 0.5 * change / v
        curvature = (at_b - at_a) ** 2 + b_part - a_part
        return Deviance(-2.0 * log_p, -2.0 * rise, np.clip(curvature, 0.0, 1.0) / v)
