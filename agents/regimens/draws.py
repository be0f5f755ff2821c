"""Uniform numbers for the draws of a stochastic regimen: functions of its keys and the visit."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import DrawKeys, Stream

# A draw's event number is 24 bits of the arm, then 8 bits of the visit: the cipher's counter has 32.
_MOST_VISITS = 256


def visit_uniforms(keys: DrawKeys, visit: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return (n,) a uniform number in [0, 1) for each patient of `keys` at the own visit (n,).

    Raises
    ------
    ValueError
        For a visit beyond the 256 that a draw's event number holds.
    """
    if visit.max(initial=0) >= _MOST_VISITS:
        raise ValueError(f"arm {keys.arm!r}: visit {visit.max()}; expected fewer than {_MOST_VISITS} visits")
    arm = int.from_bytes(hashlib.sha256(str(keys.arm).encode()).digest()[:3], "little")
    visits, which = np.unique(visit, return_inverse=True)
    uniform = keys.noise.uniforms(keys.patients, Stream.CLINICIAN, arm * _MOST_VISITS + visits)
    return uniform[np.arange(len(visit)), which, 0]
