"""Features of a state and a dose in which a value is linear."""

from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from dosewright.evaluation.logged import FloatArray, Trajectories

Features = FloatArray | sparse.csr_array


class Basis(Protocol):
    """Features (r, p) of r states and doses, dense or sparse."""

    def __call__(self, observations: npt.NDArray[np.generic], doses: FloatArray) -> Features:
        """Return the features of observations (r, k) and doses (r,)."""
        ...


@dataclass(frozen=True, eq=False)
class Monomials:
    """All products of at most ``degree`` of the observed quantities and the dose, with a constant.

    Each quantity is centred and scaled by its mean and standard deviation in the log. The span is that of the
    plain monomials, and so is every fit; without it, squares of a weight or an age are so nearly collinear
    that a fit would keep few digits.

    Attributes
    ----------
    centre, scale : (k + 1,) of the observed quantities and the dose, in their units
    degree : highest total degree
    """

    centre: FloatArray
    scale: FloatArray
    degree: int

    @classmethod
    def of(cls, trajectories: Trajectories, degree: int = 2) -> "Monomials":
        """Return the monomials of a log's states and doses.

        Raises
        ------
        ValueError
            For a degree below 1.
        """
        if degree < 1:
            raise ValueError(f"degree = {degree}; expected at least 1")
        seen = trajectories.mask
        both = np.column_stack([trajectories.observations[seen], trajectories.actions[seen]]).astype(
            np.float64
        )
        spread = both.std(axis=0)
        return cls(both.mean(axis=0), np.where(spread > 0.0, spread, 1.0), degree)

    def __call__(self, observations: npt.NDArray[np.generic], doses: FloatArray) -> FloatArray:
        scaled = np.empty((len(self.centre), len(doses)))
        scaled[:-1], scaled[-1] = observations.T, doses
        scaled = (scaled - self.centre[:, None]) / self.scale[:, None]
        products = [
            chosen
            for degree in range(self.degree + 1)
            for chosen in combinations_with_replacement(range(len(scaled)), degree)
        ]
        features = np.empty((len(products), len(doses)))
        place = {chosen: column for column, chosen in enumerate(products)}
        features[0] = 1.0
        for column, chosen in enumerate(products[1:], start=1):
            # one quantity less is a product that stands further to the front
            np.multiply(features[place[chosen[:-1]]], scaled[chosen[-1]], out=features[column])
        return features.T


@dataclass(frozen=True)
class Table:
    """One feature for every pair of state and dose: a value linear in them is a table.

    The state is the first observed quantity, a whole number below ``n_states``; the dose an index below
    ``n_doses``.
    """

    n_states: int
    n_doses: int

    def __call__(self, observations: npt.NDArray[np.generic], doses: FloatArray) -> sparse.csr_array:
        """Return one-hot features.

        Raises
        ------
        ValueError
            For a state or a dose that is not in the table.
        """
        state = _index("state", observations[:, 0], self.n_states)
        dose = _index("dose", doses, self.n_doses)
        rows = len(state)
        entries = (np.ones(rows), state * self.n_doses + dose, np.arange(rows + 1))
        return sparse.csr_array(entries, shape=(rows, self.n_states * self.n_doses))


def _index(name: str, given: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.int64]:
    index = given.astype(np.int64)
    bad = (index != given) | (index < 0) | (index >= size)
    if bad.any():
        raise ValueError(f"{name} {given[bad][0]} is not in the table; expected a whole number below {size}")
    return index
