"""From a decision to administrations: how a dose is given within a unit, and when samples are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Units = NDArray[np.int64]
People = Mapping[str, Floats]  # covariate -> (n,)


@dataclass(frozen=True)
class DoseGrid:
    """Doses that can be given: 0 to `maximum` in steps of `step`, in `unit`.

    With `beyond` the even part ends at `even_to`, and the doses of `beyond` follow, up to `maximum`.
    """

    unit: str
    step: float
    maximum: float
    even_to: float | None = None
    beyond: tuple[float, ...] = ()

    @property
    def usual(self) -> float:
        """A dose from which a search begins, a quarter of the largest."""
        return self.maximum / 4

    @property
    def doses(self) -> Floats:
        """All doses of the grid, ascending."""
        even_to = self.maximum if self.even_to is None else self.even_to
        even = np.arange(round(even_to / self.step) + 1) * self.step
        return np.asarray(np.concatenate([even, self.beyond]), dtype=np.float64)

    def snap(self, dose: ArrayLike, patients: NDArray[np.int64] | None = None) -> Floats:
        """Return the dose really given: capped, then rounded to the grid, halves upwards.

        `patients` (n,) are the numbers that an error names; positions by default.

        Raises
        ------
        ValueError
            For a negative or missing dose: no cap can mend those.
        """
        wanted = np.asarray(dose, dtype=np.float64)
        bad = ~(wanted >= 0)
        if bad.any():
            lane = int(np.argmax(bad))
            raise ValueError(
                f"dose of patient {lane if patients is None else patients[lane]}: "
                f"{wanted.flat[lane]} {self.unit}; "
                f"expected a number from 0 to {self.maximum:g} {self.unit}"
            )
        if self.beyond:
            grid = self.doses
            middle = (grid[1:] + grid[:-1]) / 2
            return grid[np.searchsorted(middle, np.minimum(wanted, self.maximum), side="right")]
        return np.asarray(np.floor(np.minimum(wanted, self.maximum) / self.step + 0.5) * self.step)

    def same(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.bool_]:
        """Whether doses are equal, up to rounding of multiples of the step; a missing dose equals none."""
        return np.isclose(a, b, rtol=0.0, atol=1e-6 * self.step)


@dataclass(frozen=True)
class Given:
    """Administrations of one kind, for n patients and u units, up to k in each.

    Attributes
    ----------
    offset : (n, u, k) or broadcastable, time after the start of the unit
    amount : (n, u, k) in the model's unit; 0 where there is none
    duration : (n, u, k) or broadcastable; 0 for a dose that enters at once
    """

    offset: Floats
    amount: Floats
    duration: Floats


@dataclass(frozen=True)
class Administration:
    """One way in which the drug is given.

    Attributes
    ----------
    route
        Of the model.
    count
        Administrations a unit, at most.
    infused
        Whether it takes time.
    give
        ``give(dose, people, unit) -> Given``: from the decided dose (n, u), covariates (n,) and the number of
        the unit (n, u). Everything must enter before the unit ends.
    """

    route: str
    count: int
    infused: bool
    give: Callable[[Floats, People, Units], Given]


def split(
    route: str,
    offsets: tuple[float, ...],
    *,
    per_unit: float = 1.0,
    amount: Callable[[People], Floats] | None = None,
    duration: float = 0.0,
) -> Administration:
    """Return the administration of a decided dose in equal parts at fixed times.

    Parameters
    ----------
    route
        Of the model.
    offsets
        Times after the start of the unit.
    per_unit
        Number of doses among which the decided dose is divided: 1 where it is decided for each.
    amount
        ``amount(people) -> (n,)``: amount in the model's unit per unit of the decided dose, such as body
        surface area for mg/m²; 1 by default.
    duration
        Of an infusion.
    """
    times = np.asarray(offsets)

    def give(dose: Floats, people: People, unit: Units) -> Given:
        scaled = dose / per_unit if per_unit != 1.0 else dose
        if amount is not None:
            scaled = scaled * amount(people)[:, None]
        each = np.broadcast_to(scaled[:, :, None], (*scaled.shape, len(times)))
        return Given(times, each, np.asarray(duration))

    return Administration(route, len(times), duration > 0, give)


@dataclass(frozen=True)
class Reading:
    """A moment in every unit at which the outputs are read.

    Attributes
    ----------
    name
        Name for measurements and responses.
    at
        Time after the start of the unit, a number or ``at(dose, people, unit) -> (n, u)``. A reading at the
        time of a dose is the value before it.
    varies
        Whether the time of the sample varies where realism says so.
    """

    name: str
    at: float | Callable[[Floats, People, Units], Floats]
    varies: bool = False


@dataclass(frozen=True)
class Delay:
    """A rule that puts a treatment off, the same for every arm: while the measured value is below a limit.

    Attributes
    ----------
    measurement
        What is looked at, the sample drawn at the visit; then one drawn anew after each delay.
    below
        Limit.
    by
        Length of a delay, in the model's time unit.
    at_most
        Delays in a row; where the value is still too low the treatment of this unit is left out.
    """

    measurement: str
    below: float
    by: float
    at_most: int
