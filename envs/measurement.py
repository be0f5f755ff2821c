"""Laboratory measurement: which output is seen, and with what assay error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import Flag


@dataclass(frozen=True)
class Measurement:
    """A measured output.

    Attributes
    ----------
    output
        Name of the model's output.
    unit
        Its unit.
    log_sd
        SD of the error on the log scale.
    flag, source
        How well `log_sd` is known.
    """

    output: str
    unit: str
    log_sd: float
    flag: Flag
    source: str

    def read(self, truth: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the measured values of `truth` (n,) with standard normal `error` (n,)."""
        return truth * np.exp(self.log_sd * error)
