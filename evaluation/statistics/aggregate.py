"""Several training seeds on several tasks: one number that a lucky run cannot carry."""

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.statistics.interval import Interval, upper_tail


def interquartile_mean(
    scores: npt.ArrayLike, seed: int, level: float = 0.95, resamples: int = 10_000
) -> Interval:
    """Mean of the middle half of all scores, with a stratified bootstrap interval.

    Agarwal et al. (2021), Deep RL at the edge of the statistical precipice, NeurIPS 34: as robust as the
    median, nearly as precise as the mean. Tasks are the strata: in every resample, runs are drawn with
    replacement within each task, since other runs of the same tasks is what could have come out. The interval
    (percentiles) says how much training varies, not how the method fares on other tasks; with fewer than some
    five runs it is too narrow.

    Parameters
    ----------
    scores : (runs, tasks) runs >= 2 training seeds, each scored on every task (drug), on one scale
    seed : of the resampling
    level : coverage of the interval
    resamples : number of resamples

    Returns
    -------
    Interval
        ``n`` is the number of runs, ``standard_error`` the standard deviation of the resampled means.

    Raises
    ------
    ValueError
        For another shape, a score that is not finite, naming run and task, or fewer than two resamples.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 2 or values.shape[0] < 2 or values.shape[1] < 1:
        raise ValueError(
            f"scores has shape {values.shape}; expected (runs, tasks) with at least two runs and one task"
        )
    bad = ~np.isfinite(values)
    if bad.any():
        run, task = (int(place) for place in np.argwhere(bad)[0])
        raise ValueError(
            f"scores[{run}, {task}] = {values[run, task]} (run {run}, task {task}); expected a finite "
            "number: a run that failed is reported, not left out"
        )
    if resamples < 2:
        raise ValueError(f"resamples = {resamples}; expected at least 2, e.g. 10000")
    tail, (runs, tasks) = upper_tail(level), values.shape
    rng = np.random.default_rng(seed)
    drawn = values[rng.integers(runs, size=(resamples, runs, tasks)), np.arange(tasks)]
    means = stats.trim_mean(drawn.reshape(resamples, -1), 0.25, axis=1)
    low, high = np.quantile(means, [1.0 - tail, tail])
    middle = float(stats.trim_mean(values.ravel(), 0.25))
    return Interval(middle, float(low), float(high), float(means.std(ddof=1)), runs, level)
