"""How many more patients a virtual trial needs before its interval is as narrow as wanted."""

import math

from dosewright.evaluation.statistics.interval import normal_quantile, student_half_width, student_quantile


def additional_pairs(n: int, half_width: float, wanted: float, level: float = 0.95) -> int:
    """How many more pairs bring a paired difference's t interval to a wanted half-width.

    The present half-width gives the standard deviation of the differences,
    ``s = half_width sqrt(n) / t_{n-1}``; the answer is the smallest N with ``t_{N-1} s / sqrt(N) <= wanted``,
    less n. It is a forecast: s is itself estimated, and the larger sample may come out a little wider, so
    treat a batch, look again, and ask again. Stopping on the width, not on the difference, leaves the
    estimate unbiased for symmetrical differences and the coverage close to its level (Chow and Robbins 1965,
    Ann Math Stat 36:457-462).

    Parameters
    ----------
    n : pairs so far, >= 2
    half_width : of the present interval, >= 0
    wanted : half-width wanted, > 0, same unit
    level : coverage of both intervals

    Returns
    -------
    int
        0 when the present interval is narrow enough.

    Raises
    ------
    ValueError
        For fewer than two pairs, or a width that is missing, infinite or (the wanted one) not positive.
    """
    if n < 2:
        raise ValueError(f"n = {n}; expected at least two pairs")
    if not 0.0 <= half_width < math.inf:
        raise ValueError(f"half_width = {half_width}; expected the half-width of an interval, >= 0")
    if not 0.0 < wanted < math.inf:
        raise ValueError(f"wanted = {wanted}; expected a half-width > 0")
    if half_width <= wanted:
        return 0
    deviation = half_width * math.sqrt(n) / student_quantile(n - 1.0, level)
    # Student's quantile is above the normal one, so the answer lies beyond the normal answer, by a few pairs.
    needed = max(n + 1, math.ceil((normal_quantile(level) * deviation / wanted) ** 2))
    while student_half_width(deviation / math.sqrt(needed), needed - 1.0, level) > wanted:
        needed += 1
    return needed - n
