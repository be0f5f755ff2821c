"""Arrays of one value a patient: what is refused before a number is made of them."""

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray


def one_per_patient(name: str, x: npt.ArrayLike) -> FloatArray:
    """Return (n,) finite numbers, n >= 2.

    Raises
    ------
    ValueError
        For another shape, or a value that is missing or infinite, naming the patient.
    """
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"{name} has shape {values.shape}; expected (n,) with n >= 2, one value a patient")
    refuse(
        name,
        values,
        ~np.isfinite(values),
        "a finite number: leave the patient out of both arms and report it, or give the value",
    )
    return values


def flags(name: str, events: npt.ArrayLike) -> BoolArray:
    """Return (n,) bool of values that are all 0 or 1; errors as in `one_per_patient`."""
    values = one_per_patient(name, events)
    refuse(name, values, (values != 0.0) & (values != 1.0), "0 or 1, event or no event")
    return values == 1.0


def pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the values of the same patients in two arms; errors as in `one_per_patient`."""
    first, second = one_per_patient("a", a), one_per_patient("b", b)
    check_same_length(len(first), len(second))
    return first, second


def flag_pairs(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[BoolArray, BoolArray]:
    """Return the events of the same patients in two arms; errors as in `flags`."""
    first, second = flags("a", a), flags("b", b)
    check_same_length(len(first), len(second))
    return first, second


def check_same_length(first: int, second: int) -> None:
    """Refuse arms that cannot be the same patients."""
    if first != second:
        raise ValueError(
            f"a has {first} patients and b {second}; expected the same patients, in the same order"
        )


def refuse(name: str, values: npt.NDArray[np.generic], bad: BoolArray, expected: str) -> None:
    """Raise a ValueError that names the first bad one of the values (n,) and its patient, if there is one."""
    if bad.any():
        patient = int(np.argmax(bad))
        raise ValueError(f"{name}[{patient}] = {values[patient]} (patient {patient}); expected {expected}")
