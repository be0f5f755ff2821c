"""How well estimates order candidate regimens: what matters when the best of several is to be chosen.

An estimate that is refused is NaN. A refused regimen cannot be chosen and has no error; how many there were
is part of the result, since an estimator that refuses all but one cannot rank wrongly.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from dosewright.evaluation.logged import FloatArray


@dataclass(frozen=True)
class Ranking:
    """Agreement of estimates with the true values of m regimens, over those with an estimate.

    Attributes
    ----------
    rmse, mae : root mean squared and mean absolute error, unit of the value
    spearman : rank correlation, ties share their mean rank; NaN when either side is constant
    kendall_tau_b : rank correlation that corrects for ties; NaN likewise
    n_refused : regimens without an estimate, left out of the above
    """

    rmse: float
    mae: float
    spearman: float
    kendall_tau_b: float
    n_refused: int


@dataclass(frozen=True)
class TopK:
    """What is gained and risked by trying the k regimens that are estimated best.

    Attributes
    ----------
    k : how many are tried
    regret : largest true value of all regimens, refused ones too, minus the best among the k
    normalised_regret : over the range of true values, 0 to 1; 0 when all values are equal
    best, worst, mean, std : of the true values among the k; ``std`` is the population's
    sharpe_ratio : ``(best - behaviour value) / std``, best and population standard deviation among the k
        (Kiyohara et al. 2024, SharpeRatio@k with the behaviour as the safe choice); infinite with its sign
        when the k have one value, NaN for 0/0
    sharpe_ratio_ddof1 : with the sample standard deviation, as some software has it; NaN for k = 1
    """

    k: int
    regret: float
    normalised_regret: float
    best: float
    worst: float
    mean: float
    std: float
    sharpe_ratio: float
    sharpe_ratio_ddof1: float


def ranking(estimates: npt.ArrayLike, values: npt.ArrayLike) -> Ranking:
    """Compare estimates with true values.

    Parameters
    ----------
    estimates : (m,) one a regimen, NaN where refused
    values : (m,) true values, same unit

    Raises
    ------
    ValueError
        For unequal lengths, a value that is missing, or fewer than two regimens with an estimate.
    """
    guessed, true = _checked(estimates, values)
    answered = ~np.isnan(guessed)
    if answered.sum() < 2:
        raise ValueError(f"{answered.sum()} of {len(guessed)} regimens have an estimate; expected at least 2")
    a, b = guessed[answered], true[answered]
    constant = (a == a[0]).all() or (b == b[0]).all()
    return Ranking(
        rmse=float(np.sqrt(np.mean((a - b) ** 2))),
        mae=float(np.abs(a - b).mean()),
        spearman=math.nan if constant else float(np.asarray(stats.spearmanr(a, b))[0]),
        kendall_tau_b=math.nan if constant else float(np.asarray(stats.kendalltau(a, b))[0]),
        n_refused=int((~answered).sum()),
    )


def top_k(estimates: npt.ArrayLike, values: npt.ArrayLike, k: int, behaviour_value: float) -> TopK:
    """Judge the choice of the k regimens with the largest estimates.

    Of regimens with equal estimates those with the smallest true values are taken first: luck in the order of
    the list must not help.

    Parameters
    ----------
    estimates : (m,) one a regimen, larger is better; NaN where refused, which is never chosen
    values : (m,) true values, same unit
    k : how many are chosen
    behaviour_value : true value of the regimen that made the log, the choice without any change

    Raises
    ------
    ValueError
        For unequal lengths, a value that is missing, or ``k`` beyond the regimens with an estimate.
    """
    guessed, true = _checked(estimates, values)
    answered = np.flatnonzero(~np.isnan(guessed))
    if not 1 <= k <= len(answered):
        raise ValueError(f"k = {k}; expected 1 to {len(answered)}, the regimens with an estimate")
    chosen = true[answered[np.lexsort((true[answered], -guessed[answered]))[:k]]]
    best, span = float(chosen.max()), float(np.ptp(true))
    regret = float(true.max()) - best
    gain = best - behaviour_value
    # equal values may have a standard deviation of an ulp
    varies = float(np.ptp(chosen) > 0.0)
    std, sample = varies * float(chosen.std()), varies * float(chosen.std(ddof=1)) if k > 1 else math.nan
    return TopK(
        k=k,
        regret=regret,
        normalised_regret=regret / span if span > 0.0 else 0.0,
        best=best,
        worst=float(chosen.min()),
        mean=float(chosen.mean()),
        std=std,
        sharpe_ratio=_over(gain, std),
        sharpe_ratio_ddof1=_over(gain, sample),
    )


def _over(gain: float, std: float) -> float:
    if std == 0.0:
        return math.copysign(math.inf, gain) if gain else math.nan
    return gain / std


def _checked(estimates: npt.ArrayLike, values: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    guessed, true = np.asarray(estimates, dtype=np.float64), np.asarray(values, dtype=np.float64)
    if guessed.ndim != 1 or guessed.shape != true.shape:
        raise ValueError(
            f"estimates have shape {guessed.shape} and values {true.shape}; expected (m,), one a regimen"
        )
    bad = ~np.isfinite(true) | np.isinf(guessed)
    if bad.any():
        regimen = int(np.argmax(bad))
        raise ValueError(
            f"regimen {regimen} has estimate {guessed[regimen]} and value {true[regimen]}; "
            "expected a finite value, and a finite estimate or NaN"
        )
    return guessed, true
