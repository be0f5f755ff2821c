"""Laboratory measurement: which sample is seen when, and with what assay error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.pharmacology import ResidualError

Floats = NDArray[np.float64]

MONITOR_QUEUE = 8  # results that a monitor with a delay can hold back


@dataclass(frozen=True)
class Measurement:
    """A measured output.

    Attributes
    ----------
    name
        Name of its observation entries, lower case.
    output, reading
        The model's output, and the scenario's reading (the moment of the sample) in the unit before a visit.
    unit
        Its unit.
    error
        The assay's.
    high
        Largest value an observation can show.
    neutral
        What stands in the observation where it is not known.
    meaning
        One sentence for the environment's page.
    baseline
        Whether it is also drawn before the first dose.
    units : numbers of the visits' units at which it has been drawn; None: every visit
    units_ago
        ``units_ago(people) -> (n,)`` units by which the result lags behind its visit, for monitors with a
        delay; None: none.
    """

    name: str
    output: str
    reading: str
    unit: str
    error: ResidualError
    high: float
    neutral: float = 0.0
    meaning: str = "newest result in hand"
    baseline: bool = True
    units: tuple[int, ...] | None = None
    units_ago: Callable[[Mapping[str, Floats]], NDArray[np.int64]] | None = None

    @property
    def log_sd(self) -> float:
        """SD of the error on the log scale; 0 where the error is not of that kind."""
        return self.error.log_sd

    def read(self, truth: Floats, error: Floats, factor: Floats | float = 1.0) -> Floats:
        """Return the measured values of `truth` (n,) with standard normal `error` (n,), by an assay that
        shows `factor` times (n,) what is there; at most `high`."""
        return np.minimum(factor * self.error.apply(truth, error), self.high)
