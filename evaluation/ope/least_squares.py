"""Least squares from sufficient statistics, where features may be collinear or never seen."""

import numpy as np
from scipy import linalg

from dosewright.evaluation.logged import FloatArray

# Eigenvalues of the scaled Gram matrix below this share of the largest are rounding, not information.
_RANK_TOLERANCE = 1e-12


def pseudo_inverse(gram: FloatArray) -> tuple[FloatArray, int]:
    """Return the inverse of a Gram matrix of features, and its rank.

    Features are scaled to equal length first, so that a unit does not decide what counts as singular. In
    directions that the data do not show the inverse is 0 (Moore-Penrose): a coefficient that nothing speaks
    for is 0, such as the value of a pair of state and dose that was never logged.

    Parameters
    ----------
    gram : (p, p) ``sum_i x_i x_i'``, with a ridge added where one is wanted
    """
    length = np.sqrt(np.diagonal(gram))
    scale = 1.0 / np.where(length > 0.0, length, 1.0)
    inverse, rank = linalg.pinvh(gram * np.outer(scale, scale), rtol=_RANK_TOLERANCE, return_rank=True)
    return inverse * np.outer(scale, scale), int(rank)
