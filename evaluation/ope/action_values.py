"""Values of doses under a target regimen, as a model says them, at the states and doses of a log."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray, Trajectories, refuse


@dataclass(frozen=True, eq=False)
class ActionValues:
    """A model's expected discounted sum from a decision on, under the target regimen, for one outcome.

    Attributes
    ----------
    q : (n, T) ``Q_it = Q_t(s_it, a_it)``, from giving the logged dose and following the target afterwards,
        discounted to step t; 0 where no decision was made
    v : (n, T) ``V_it = sum_a pi_e(a | s_it) Q_t(s_it, a)``, from following the target; 0 likewise
    """

    q: FloatArray
    v: FloatArray

    @classmethod
    def of(cls, trajectories: Trajectories, q: npt.ArrayLike, v: npt.ArrayLike) -> "ActionValues":
        """Check a model's values for a log; what stands in the padding is not read and becomes 0.

        Parameters
        ----------
        q, v : (n, T) as the attributes

        Raises
        ------
        ValueError
            For a shape other than the log's, or a value that is not finite where a decision was made.
        """
        checked: list[FloatArray] = []
        for name, values in (("q", q), ("v", v)):
            array = np.asarray(values, dtype=np.float64)
            if array.shape != trajectories.mask.shape:
                raise ValueError(
                    f"{name} has shape {array.shape}; expected {trajectories.mask.shape} as in mask"
                )
            bad = ~np.isfinite(array) & trajectories.mask
            refuse(name, array, bad, "a finite value where mask is True; the model must cover the log")
            checked.append(np.where(trajectories.mask, array, 0.0))
        return cls(*checked)
