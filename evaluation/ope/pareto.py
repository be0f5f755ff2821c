"""Pareto k: how heavy the tail of the importance weights is, from the largest of them.

A mean of weights with a tail like ``w^(-1/k)`` has a finite variance for k < 1/2 and a finite mean for k < 1.
Above 0.7 no sample of practical size is enough (Vehtari, Simpson, Gelman, Yao & Gabry 2024, JMLR 25:72). A
small k clears nothing: the heaviest courses may not have been seen, see `population_effective_sample_size`.
"""

import math

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import FloatArray
from dosewright.evaluation.ope.weights import Weights

# Fewest excesses that a shape is fitted to.
_FEWEST = 5
_LOG_SMALLEST = math.log(np.finfo(np.float64).tiny)


def pareto_k_by_step(weights: Weights) -> FloatArray:
    """Return (T,) `pareto_k` of the cumulative weights of each step."""
    columns = weights.log_weight.T
    return np.array([pareto_k(one) if np.isfinite(one).any() else np.nan for one in columns])


def pareto_k(log_weight: npt.ArrayLike) -> float:
    """Shape of a generalised Pareto distribution fitted to the largest weights.

    The largest ``min(0.2 n, 3 sqrt n)`` weights (rounded down), as excesses over the next one. The fit is
    Zhang & Stephens' (2009) with the weakly informative prior of Pareto-smoothed importance sampling, ten
    observations of k = 0.5.

    Parameters
    ----------
    log_weight : (n,) natural logarithms, in any unit; -inf for a weight of 0

    Returns
    -------
    float
        ``-inf`` when no weight exceeds the threshold: many share the largest, there is no tail. ``inf`` when
        fewer than 5 do, too few to judge by: with less than 25 patients, or with a few alone above ties; when
        every weight is 0; and when the weights differ by more than a float can hold.

    Raises
    ------
    ValueError
        When there is no weight, or a logarithm is missing or infinite.
    """
    logs = np.sort(np.asarray(log_weight, dtype=np.float64))
    if logs.ndim != 1 or not len(logs) or np.isnan(logs[-1]) or np.isposinf(logs[-1]):
        raise ValueError(
            f"log_weight has shape {logs.shape} and largest value {logs[-1] if logs.size else None}; "
            "expected (n,) logarithms, none NaN or inf"
        )
    if np.isneginf(logs[-1]):
        return math.inf
    logs = logs - logs[-1]
    tail = int(min(0.2 * len(logs), 3.0 * math.sqrt(len(logs))))
    # a threshold below the range of a float is 0 in the unit of the largest weight
    threshold = max(float(logs[-tail - 1]), _LOG_SMALLEST) if tail < len(logs) else _LOG_SMALLEST
    excesses = np.exp(logs[logs > threshold]) - math.exp(threshold)
    if not len(excesses):
        return -math.inf
    if len(excesses) < _FEWEST:
        return math.inf
    k = _shape(excesses)
    return k if math.isfinite(k) else math.inf


def _shape(excesses: FloatArray) -> float:
    """Posterior mean shape for excesses (m,) > 0 in ascending order.

    Profile likelihood over a grid of ``b = -k / sigma`` spread by the quartile of the data (Zhang & Stephens
    2009), averaged with its weights; then shrunk towards 0.5 as if by ten more excesses.
    """
    m = len(excesses)
    points = 30 + int(math.sqrt(m))
    quartile = excesses[int(m / 4 + 0.5) - 1]
    spread = 1.0 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        grid = 1.0 / excesses[-1] + spread / (3.0 * quartile)
        shape = np.log1p(-grid[:, None] * excesses).mean(axis=1)
        log_likelihood = m * (np.log(-grid / shape) - shape - 1.0)
        weight = np.exp(log_likelihood - log_likelihood.max())
        best = float(grid @ weight / weight.sum())
        k = float(np.log1p(-best * excesses).mean())
    return (m * k + 5.0) / (m + 10.0)
