"""What happens to a patient besides the prescription: missed doses, drift, interacting drugs, lost results,
drop-out.

A patient's whole `Life` is realised when the patient is enrolled, from counter-based noise alone, so no
regimen can change it and every arm of a trial meets the same one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.pharmacology import Flag, PopulationModel

_DAYS_PER_MONTH = 365.25 / 12


@dataclass(frozen=True)
class Drift:
    """A parameter that wanders: log random walk, `log_sd` per square root of a week."""

    parameter: str
    log_sd: float


@dataclass(frozen=True)
class Interaction:
    """Interacting drugs: `share` of patients meet one, once, starting uniformly over the horizon, for `days`
    days.

    `factors` holds ``(factor on the parameter, share among those who meet one)``.
    """

    parameter: str
    share: float
    factors: tuple[tuple[float, float], ...]
    days: int


@dataclass(frozen=True)
class Realism:
    """How messy the world is.

    Attributes
    ----------
    name
        "textbook" or "clinic".
    missed_dose
        Probability that a dose is missed, independently.
    drifts, interaction
        What changes a patient's parameters over time.
    late, missing
        Probability that a result comes a day late; that it never comes.
    dropout_per_month
        Probability of leaving within a month, at random.
    flag, source
        How well the numbers are known.
    """

    name: Literal["textbook", "clinic"]
    missed_dose: float = 0.0
    drifts: tuple[Drift, ...] = ()
    interaction: Interaction | None = None
    late: float = 0.0
    missing: float = 0.0
    dropout_per_month: float = 0.0
    flag: Flag = "ASSUMPTION"
    source: str = ""

    def log_staying(self, days: ArrayLike) -> NDArray[np.float64]:
        """Return the log probability of not dropping out within so many days, at any time of the course."""
        return math.log(1 - self.dropout_per_month) / _DAYS_PER_MONTH * np.asarray(days, dtype=np.float64)


TEXTBOOK = Realism(
    "textbook", source="parameters constant, doses taken, results on time; published residual error only"
)


@dataclass(frozen=True)
class Life:
    """What will happen to n patients over `days` days, whatever they are prescribed.

    Attributes
    ----------
    theta : (n, days or 1, p)
        Individual parameters on each day; one column where they are constant.
    taken : (n, days) bool
        Whether the dose of that day is taken.
    residual : (n, days + 1)
        Standard normal error of a sample drawn at the start of that day.
    late, missing : (n, days + 1) bool
        Whether the result of such a sample comes a day late, or never. The sample of day 0 is always in hand.
    leaves : (n,) int
        Day at whose start the patient is gone; ``days + 1`` for those who stay.
    """

    theta: NDArray[np.float64]
    taken: NDArray[np.bool_]
    residual: NDArray[np.float64]
    late: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    leaves: NDArray[np.int64]

    @classmethod
    def realise(
        cls,
        realism: Realism,
        model: PopulationModel,
        patients: NDArray[np.int64],
        theta: NDArray[np.float64],
        noise: Noise,
        days: int,
    ) -> Life:
        """Draw the lives of `patients` (n,) with parameters `theta` (n, p)."""
        n, calendar = len(patients), np.arange(days + 1)
        residual = noise.normals(patients, Stream.RESIDUAL, calendar)[..., 0]
        if realism.missed_dose > 0:
            taken = noise.uniforms(patients, Stream.MISSED_DOSE, calendar[:-1])[..., 0] >= realism.missed_dose
        else:
            taken = np.ones((n, days), dtype=bool)
        if realism.late + realism.missing > 0:
            fate = noise.uniforms(patients, Stream.RESULT, calendar)[..., 0]
            fate[:, 0] = 1.0
        else:
            fate = np.ones((n, days + 1))
        missing, late = fate < realism.missing, fate < realism.missing + realism.late
        leaves = np.full(n, days + 1)
        if realism.dropout_per_month > 0:
            daily = -realism.log_staying(1)
            waiting = -np.log(1 - noise.uniforms(patients, Stream.DROPOUT)[:, 0, 0]) / daily
            leaves = np.minimum(np.ceil(np.maximum(waiting, 1e-9)), days + 1).astype(np.int64)
        path = _parameter_path(realism, model, patients, theta, noise, days)
        return cls(path, taken, residual, late & ~missing, missing, leaves)


def _parameter_path(
    realism: Realism,
    model: PopulationModel,
    patients: NDArray[np.int64],
    theta: NDArray[np.float64],
    noise: Noise,
    days: int,
) -> NDArray[np.float64]:
    """Return (n, days or 1, p): parameters day by day under drift and interacting drugs."""
    if not realism.drifts and realism.interaction is None:
        return theta[:, None, :]
    path = np.repeat(theta[:, None, :], days, axis=1)
    for which, drift in enumerate(realism.drifts):
        # days * which: every drifting parameter has event numbers of its own
        steps = noise.normals(patients, Stream.DRIFT, days * which + np.arange(days))[..., 0]
        path[:, :, model.column(drift.parameter)] *= np.exp(
            drift.log_sd / math.sqrt(7) * np.cumsum(steps, axis=1)
        )
    if realism.interaction is not None:
        path[:, :, model.column(realism.interaction.parameter)] *= _interaction(
            realism.interaction, patients, noise, days
        )
    return path


def _interaction(
    interaction: Interaction, patients: NDArray[np.int64], noise: Noise, days: int
) -> NDArray[np.float64]:
    """Return (n, days) factors."""
    draws = noise.uniforms(patients, Stream.INTERACTION, np.arange(2))
    meets, which, start = draws[:, 0, 0] < interaction.share, draws[:, 0, 1], draws[:, 1, 0] * days
    values, shares = np.array(interaction.factors).T
    factor = values[np.minimum(np.searchsorted(np.cumsum(shares), which, side="right"), len(values) - 1)]
    day = np.arange(days)
    active = (
        meets[:, None]
        & (day >= np.floor(start)[:, None])
        & (day < np.floor(start)[:, None] + interaction.days)
    )
    return np.where(active, factor[:, None], 1.0)
