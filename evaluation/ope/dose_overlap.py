"""Which doses the log has and which the target wants, dose by dose and stratum by stratum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray, Trajectories
from dosewright.evaluation.ope.target_doses import TargetDoses

if TYPE_CHECKING:
    import polars

# Multiples of a tablet's strength that were added up differently are one dose.
_SAME_DOSE = 1e-9


@dataclass(frozen=True, eq=False)
class DoseOverlap:
    """How often each dose was given, and how often the target would give it, over all decisions of a stratum.

    Attributes
    ----------
    stratum : name of the stratum; "all" where there is none
    labels : (S,) of its groups
    doses : (A,) doses logged or wanted, ascending, in the unit of ``trajectories.actions``
    decisions : (S,) decisions in each group
    logged : (S, A) decisions at which the dose was given
    wanted : (S, A) decisions at which the target would give it, by probability
    """

    stratum: str
    labels: npt.NDArray[np.str_]
    doses: FloatArray
    decisions: npt.NDArray[np.int64]
    logged: npt.NDArray[np.int64]
    wanted: FloatArray

    @property
    def never_logged(self) -> FloatArray:
        """(S,) share of the target's doses that the log never has in that group: nothing is known of them."""
        return np.where(self.logged == 0, self.wanted, 0.0).sum(axis=1) / self.decisions

    def table(self) -> polars.DataFrame:
        """Return one row a group and dose: the group, ``dose``, and shares ``logged`` and ``wanted``."""
        import polars  # slow to import, and only this needs it

        groups, doses = self.logged.shape
        share = np.repeat(self.decisions, doses)
        return polars.DataFrame(
            {
                self.stratum: np.repeat(self.labels, doses),
                "dose": np.tile(self.doses, groups),
                "logged": self.logged.ravel() / share,
                "wanted": self.wanted.ravel() / share,
            }
        )


def dose_overlap(trajectories: Trajectories, target: TargetDoses, stratum: str | None = None) -> DoseOverlap:
    """Count the doses of a log and those its target would give.

    A dose may be there over all decisions and still be missing where it is wanted: the table shows the plain
    gaps, the weights show the rest.

    Parameters
    ----------
    trajectories : the log
    target : doses of the target at its decisions
    stratum : name in ``trajectories.strata``; None for all patients together

    Raises
    ------
    ValueError
        For a stratum that the log does not have, or a target of another log.
    """
    if stratum is not None and stratum not in trajectories.strata:
        known = ", ".join(sorted(trajectories.strata)) or "none"
        raise ValueError(f"stratum {stratum!r} is not in the log; its strata: {known}; None is all patients")
    n, horizon = trajectories.mask.shape
    if len(target.doses) != n or target.doses.shape[1] < horizon:
        raise ValueError(f"target has doses of shape {target.doses.shape}; expected ({n}, {horizon}, m)")
    row, step = np.nonzero(trajectories.mask)
    chance, choices = target.probability[row, step], target.doses[row, step]
    given = trajectories.actions[row, step].astype(np.float64)
    asked, place = np.nonzero(chance > 0)
    dose, number = distinct_doses(np.concatenate([given, choices[asked, place]]))
    text = np.full(n, "all") if stratum is None else trajectories.strata[stratum]
    labels, group = np.unique(text, return_inverse=True)
    group = group[row]
    shape = (len(labels), len(dose))
    logged, wanted = np.zeros(shape, dtype=np.int64), np.zeros(shape)
    np.add.at(logged, (group, number[: len(given)]), 1)
    np.add.at(wanted, (group[asked], number[len(given) :]), chance[asked, place])
    return DoseOverlap(stratum or "all", labels, dose, np.bincount(group), logged, wanted)


def distinct_doses(given: npt.ArrayLike) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Return the distinct doses (A,), ascending, and which of them each of `given` (m,) is."""
    values, place = np.unique(np.asarray(given, dtype=np.float64), return_inverse=True)
    new = np.concatenate([[True], ~same_dose(values[:-1], values[1:])])
    return values[new], (np.cumsum(new) - 1)[place.reshape(-1)]


def same_dose(a: FloatArray, b: FloatArray) -> BoolArray:
    """Return whether doses are one dose, but for the rounding of their sums."""
    return np.abs(b - a) <= _SAME_DOSE * np.maximum(1.0, np.abs(b))
