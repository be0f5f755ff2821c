"""Standardisation of what a network sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Scaling:
    """Standardisation of features: mean and SD (f,) under the untrained policy."""

    mean: NDArray[np.float32]
    sd: NDArray[np.float32]

    @classmethod
    def fit(cls, features: NDArray[np.float32]) -> Scaling:
        """Return the standardisation of features (n, f); one that never varies is only centred."""
        # the SD of equal numbers need not be 0, nor their mean be that number: both are rounded
        constant = np.ptp(features, axis=0) == 0
        mean, sd = features.mean(axis=0), features.std(axis=0)
        return cls(
            np.where(constant, features[0], mean).astype(np.float32),
            np.where(constant | (sd <= 1e-6), 1.0, sd).astype(np.float32),
        )

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the standardised features (n, f), kept within ten SD."""
        return np.clip((features - self.mean) / self.sd, -10.0, 10.0)

    def of(self, columns: int) -> Scaling:
        """Return the standardisation of the first columns."""
        return Scaling(self.mean[:columns], self.sd[:columns])

    def beginning_with(self, first: Scaling) -> Scaling:
        """Return the same with another standardisation of the first columns."""
        rest = slice(len(first.mean), None)
        return Scaling(
            np.concatenate([first.mean, self.mean[rest]]), np.concatenate([first.sd, self.sd[rest]])
        )
