"""What a target regimen would give: its doses and their probabilities at the states of a log."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray, Trajectories, refuse

# Probabilities that a policy network returns in single precision sum to 1 within about 1e-7.
_SUM_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class TargetDoses:
    """The doses that a target regimen chooses from at each decision, with their probabilities.

    A deterministic target has one dose with probability 1; a target on a grid has all tablets it may give; a
    continuous one is replaced by nodes of a quadrature, `normal`.

    Attributes
    ----------
    doses : (n, T, m) in the unit (or index) of ``trajectories.actions``; 0 where no decision was made
    probability : (n, T, m) sums to 1 over m; 0 where no decision was made

    T may be one more than the log's: the last entry is then for the state after the last decision of patients
    who were followed over all T steps and whose course went on.
    """

    doses: FloatArray
    probability: FloatArray

    @classmethod
    def of(
        cls, trajectories: Trajectories, doses: npt.ArrayLike, probability: npt.ArrayLike
    ) -> "TargetDoses":
        """Check doses and probabilities for a log; what stands in the padding is not read and becomes 0.

        Parameters
        ----------
        doses, probability : (n, T, m) or (n, T + 1, m), as the attributes

        Raises
        ------
        ValueError
            For a wrong shape, a dose that is not finite, a probability outside 0 to 1, or probabilities of a
            decision that do not sum to 1.
        """
        given, chance = np.asarray(doses, dtype=np.float64), np.asarray(probability, dtype=np.float64)
        n, horizon = trajectories.mask.shape
        if given.ndim != 3 or len(given) != n or given.shape[1] not in (horizon, horizon + 1):
            raise ValueError(f"doses has shape {given.shape}; expected ({n}, {horizon} or {horizon + 1}, m)")
        if chance.shape != given.shape:
            raise ValueError(f"probability has shape {chance.shape}; expected {given.shape} as doses")
        mask = trajectories.mask
        if given.shape[1] > horizon:
            mask = np.column_stack([mask, mask[:, -1] & ~trajectories.terminated])
        refuse("doses", given, ~np.isfinite(given).all(axis=2) & mask, "finite doses where mask is True")
        bad = ~((chance >= 0.0) & (chance <= 1.0 + _SUM_TOLERANCE)).all(axis=2) & mask
        refuse("probability", chance, bad, "probabilities between 0 and 1")
        with np.errstate(invalid="ignore"):
            total = chance.sum(axis=2)
            uneven = (np.abs(total - 1.0) > _SUM_TOLERANCE) & mask
        refuse("probability.sum(axis=2)", total, uneven, "1, over all doses the target may give")
        return cls(*(np.where(mask[..., None], array, 0.0) for array in (given, chance)))

    @classmethod
    def normal(
        cls, trajectories: Trajectories, mean: npt.ArrayLike, sd: npt.ArrayLike, nodes: int = 5
    ) -> "TargetDoses":
        """Return a normally distributed target as Gauss-Hermite nodes: exact up to degree 2 * nodes - 1.

        Parameters
        ----------
        mean : (n, T) or (n, T + 1), of the dose
        sd : standard deviation, one for all or of the shape of ``mean``, > 0
        nodes : number of doses

        Raises
        ------
        ValueError
            As `of`.
        """
        # the probabilists' weights sum to sqrt(2 pi)
        points, weight = np.polynomial.hermite_e.hermegauss(nodes)
        centre = np.asarray(mean, dtype=np.float64)[..., None]
        spread = np.broadcast_to(np.asarray(sd, dtype=np.float64), centre.shape[:-1])[..., None]
        doses = centre + spread * points
        return cls.of(trajectories, doses, np.broadcast_to(weight / weight.sum(), doses.shape))
