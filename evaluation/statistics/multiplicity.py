"""Several comparisons at once: how small a p-value must be when others were looked at too."""

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray


def holm(p_values: npt.ArrayLike) -> FloatArray:
    """Holm's adjusted p-values (1979, Scand J Stat 6:65-70): reject those below alpha.

    The k-th smallest of m is multiplied by ``m - k + 1``, and none may be smaller than one before it. The
    chance of any false rejection stays below alpha whatever the dependence, so arms that share a reference,
    or patients, need no correction of their own; never less powerful than Bonferroni.

    Parameters
    ----------
    p_values : (m,) one a comparison, e.g. of each arm with the reference

    Returns
    -------
    (m,) adjusted p-values, same order, at most 1

    Raises
    ------
    ValueError
        For another shape, or a value that is missing or outside [0, 1], naming its place.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if p.ndim != 1 or not len(p):
        raise ValueError(f"p_values has shape {p.shape}; expected (m,) with m >= 1, one a comparison")
    bad = ~((p >= 0.0) & (p <= 1.0))
    if bad.any():
        place = int(np.argmax(bad))
        raise ValueError(f"p_values[{place}] = {p[place]}; expected a probability, from 0 to 1")
    order = np.argsort(p, kind="stable")
    steps = np.arange(len(p), 0, -1) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
