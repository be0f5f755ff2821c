"""What no log can hold: checks that name the value, the patient and the step."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Propensity = Literal["mass", "density"]

# A probability of 1 stored as the log of a float sum may come out a few ulp above 0.
LOG_PROB_ROUNDING = 1e-9
# Times are sums of intervals, and intervals are stored in binary.
TIME_ROUNDING = 1e-6


def check_log_prob(name: str, log_prob: FloatArray, mask: BoolArray, propensity: Propensity) -> None:
    """Refuse log-probabilities that no regimen can have where a decision was made.

    Parameters
    ----------
    name : what the array is called in the message
    log_prob : (n, T) natural logarithm of a probability, or of a density (1/unit of the dose)
    mask : (n, T) where decisions were made; the rest is not looked at
    propensity : a ``"mass"`` must be <= 0, a ``"density"`` may be positive

    Raises
    ------
    ValueError
        For a shape other than the mask's, NaN, +inf, or the log of a probability above 1. -inf is allowed
        here (a target regimen may never give a dose); a logged dose cannot have it.
    """
    if log_prob.shape != mask.shape:
        raise ValueError(f"{name} has shape {log_prob.shape}; expected {mask.shape} as in mask")
    bad = np.isnan(log_prob) | np.isposinf(log_prob)
    expected = "the logarithm of a density below infinity"
    if propensity == "mass":
        bad |= log_prob > LOG_PROB_ROUNDING
        expected = (
            "the logarithm of a probability, <= 0; take the log, "
            "or set propensity='density' when the dose is continuous"
        )
    refuse(name, log_prob, bad & mask, expected)


def check_times(times: FloatArray, mask: BoolArray, step_length: float | None) -> None:
    """Refuse times of decisions (n, T) that run backwards, or that are not as evenly spaced as is claimed.

    Steps that were put together from shorter ones, or cut from longer ones, hide doses: nothing computed from
    them is about the doses that were given.

    Raises
    ------
    ValueError
        For a time that is not after that of the decision before, or a gap other than ``step_length``.
    """
    gap = np.diff(times, axis=1, prepend=-np.inf)
    refuse("times", times, ~(gap > 0) & mask, "a time after that of the step before, in one unit throughout")
    if step_length is None:
        return
    later = mask.copy()
    later[:, 0] = False
    off = np.abs(gap - step_length) > TIME_ROUNDING * np.maximum(1.0, np.abs(times))
    refuse(
        "times",
        times,
        off & later,
        f"{step_length:g} after the step before, as step_length says; steps that were re-binned hide doses: "
        "log every decision, or leave step_length out where intervals differ",
    )


def refuse(name: str, array: npt.NDArray[Any], bad: BoolArray, expected: str) -> None:
    """Raise a ValueError that names the first bad value of an array (n, T, ...), its patient and step."""
    if bad.any():
        patient, step = first_place(bad)
        value = array[patient, step]
        raise ValueError(
            f"{name}[{patient}, {step}] = {value} (patient {patient}, step {step}); expected {expected}"
        )


def first_place(bad: BoolArray) -> tuple[int, int]:
    """Return patient and step of the first True of an array (n, T)."""
    patient, step = np.argwhere(bad)[0]
    return int(patient), int(step)


def labels(name: str, given: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return labels or identifiers as text or as int64, one type whatever the width they came in.

    Raises
    ------
    ValueError
        For labels that are neither text nor whole numbers: a measurement is no name, and a missing label must
        be called something.
    """
    array = np.asarray(given)
    if array.dtype.kind in "iu":
        return array.astype(np.int64)
    if array.dtype.kind == "b":
        return array.astype(np.str_)
    if array.dtype.kind == "O" and all(isinstance(item, str) for item in array.flat):
        return array.astype(np.str_)
    if array.dtype.kind != "U":
        odd = next((item for item in array.ravel().tolist() if not isinstance(item, str)), array.dtype)
        raise ValueError(f"{name} holds {odd!r}; expected text or whole numbers, 'unknown' where not known")
    return array
