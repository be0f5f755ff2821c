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
        sd = features.std(axis=0)
        return cls(features.mean(axis=0), np.where(sd > 1e-6, sd, 1.0).astype(np.float32))

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the standardised features (n, f), kept within ten SD."""
        return np.clip((features - self.mean) / self.sd, -10.0, 10.0)

    def of(self, columns: int) -> Scaling:
        """Return the standardisation of the first columns."""
        return Scaling(self.mean[:columns], self.sd[:columns])
