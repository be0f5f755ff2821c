"""What the weights of a log say about whether it can answer for a target: overlap, tails, who carries it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.logged import BoolArray, FloatArray
from dosewright.evaluation.ope.estimate import Estimate
from dosewright.evaluation.ope.pareto import pareto_k_by_step
from dosewright.evaluation.ope.weights import Weights, scale
from dosewright.evaluation.statistics.interval import Interval, normal_quantile

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Overlap:
    """Diagnostics of the weights by step, each (T,).

    Attributes
    ----------
    decided : patients who were decided about
    effective_sample_size : Kish's number of the weights of the doses up to the step, patients
    one_step_effective_sample_size : the same of the ratio of the step's dose alone, over the decided
    max_weight_share : share of the total weight that one patient holds
    mean_weight : near 1 when the log covers the target and its propensities are right
    mean_weight_z : distance of the mean weight from 1 in its standard errors, see `mean_weight_z`
    pareto_k : tail shape, see `pareto_k`
    """

    decided: npt.NDArray[np.int64]
    effective_sample_size: FloatArray
    one_step_effective_sample_size: FloatArray
    max_weight_share: FloatArray
    mean_weight: FloatArray
    mean_weight_z: FloatArray
    pareto_k: FloatArray

    @classmethod
    def of(cls, weights: Weights) -> "Overlap":
        """Diagnose the weights of a target on a log."""
        return cls(
            weights.decided.sum(axis=0),
            weights.effective_sample_size,
            weights.one_step_effective_sample_size,
            weights.max_weight_share,
            weights.mean_weight,
            mean_weight_z(weights),
            pareto_k_by_step(weights),
        )


def mean_weight_z(weights: Weights) -> FloatArray:
    """Test that the weights have mean 1, as they have under right propensities with full support.

    ``z_t = (mean_i W_it - 1) / (sd_i W_it / sqrt n)``. Far above 0: the propensities are not those the doses
    were drawn with (a behaviour model without the covariate that drove the dose). Far below 0: courses of the
    target are missing from the log. With heavy tails the mean of a sample is below 1 most of the time, by
    little in standard errors; it takes |z| > 4 to refuse.

    Returns
    -------
    (T,) 0 for weights that are all 1; -inf or inf for weights that are all equal to something else.
    """
    scaled, largest = scale(weights.log_weight)
    n = len(scaled)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        # what a weight of 1 is in units of the largest: infinite beside weights below the range of a float
        one = np.exp(-np.where(np.isneginf(largest), 0.0, largest))
        away = scaled.mean(axis=0) - one
        spread = scaled.std(axis=0, ddof=1) if n > 1 else np.zeros(len(away))
        z = away / (spread / np.sqrt(n))
    return np.where(np.isfinite(one) & (np.abs(away) <= _ROUNDING * one), 0.0, z)


@dataclass(frozen=True, eq=False)
class Carriers:
    """The patients who carry the weight, heaviest first, each (k,).

    Attributes
    ----------
    patient : row of the log
    share : of the total weight, of the last step for estimates of whole courses, else averaged over steps;
        1/n for everybody when nothing is weighted
    influence : of the patient on the estimate: leaving the patient out moves it by about
        ``-influence / n``, unit of the outcome
    """

    patient: npt.NDArray[np.int64]
    share: FloatArray
    influence: FloatArray


def carriers(weights: Weights, estimate: Estimate, count: int = 10) -> Carriers:
    """Return the patients with the largest shares of the weight, and their influence on an estimate.

    Parameters
    ----------
    weights, estimate : of the target on the same log
    count : how many, at most all

    Raises
    ------
    ValueError
        For an estimate of another number of patients.
    """
    n = weights.n_patients
    if len(estimate.influence) != n:
        raise ValueError(
            f"the estimate has {len(estimate.influence)} patients and the weights {n}; expected one log"
        )
    # a step at which nobody has weight has no shares
    shares = np.nan_to_num(weights.normalised)
    share = shares[:, -1] if estimate.family == "trajectory" else shares.mean(axis=1)
    heaviest = np.argsort(-share, kind="stable")[:count]
    return Carriers(heaviest, share[heaviest], estimate.influence[heaviest])


@dataclass(frozen=True, eq=False)
class UnsupportedMass:
    """How much of the target's dosing the log can say nothing about.

    Attributes
    ----------
    by_decision : (n, T) probability that the target, at the logged state, gives a dose that the behaviour
        never gives there; 0 in the padding
    by_step : (T,) mean over the patients decided about; 0 where nobody was
    overall : mean over all decisions
    """

    by_decision: FloatArray
    by_step: FloatArray
    overall: float

    @classmethod
    def of(cls, by_decision: FloatArray, mask: BoolArray) -> "UnsupportedMass":
        """Return the means of what is unsupported at each decision (n, T), where decisions were made."""
        missing, decided = np.where(mask, by_decision, 0.0), mask.sum(axis=0)
        by_step = missing.sum(axis=0) / np.maximum(decided, 1)
        return cls(missing, by_step, float(missing.sum() / decided.sum()))


def unsupported_mass(target: npt.ArrayLike, behaviour: npt.ArrayLike, mask: BoolArray) -> UnsupportedMass:
    """Share of the target's dose mass at logged states on doses of behaviour probability 0.

    No weight can stand in for a dose that is never given: above 0.1 % of mass, bounds are the answer, see
    `reward_range_bounds`. With a behaviour estimated by counts, a dose that was never seen in a state has
    probability 0.

    Parameters
    ----------
    target, behaviour : (n, T, A) probability of each dose at the logged state; not read in the padding
    mask : (n, T) where decisions were made

    Raises
    ------
    ValueError
        For unequal shapes, or probabilities that are negative or do not sum to 1.
    """
    tables: list[FloatArray] = []
    for name, table in (("target", target), ("behaviour", behaviour)):
        values = np.asarray(table, dtype=np.float64)
        if values.ndim != 3 or values.shape[:2] != mask.shape:
            raise ValueError(f"{name} has shape {values.shape}; expected {mask.shape} as mask, and doses")
        wrong = mask & ~((values >= 0).all(axis=2) & (np.abs(values.sum(axis=2) - 1.0) <= _ROUNDING))
        if wrong.any():
            i, t = np.argwhere(wrong)[0]
            raise ValueError(
                f"{name}[{i}, {t}] = {values[i, t]} (patient {i}, step {t}); expected probabilities of each "
                "dose, which sum to 1"
            )
        tables.append(values)
    if tables[0].shape != tables[1].shape:
        raise ValueError(
            f"target has {tables[0].shape[2]} doses and behaviour {tables[1].shape[2]}; expected the same"
        )
    return UnsupportedMass.of(np.where(tables[1] == 0.0, tables[0], 0.0).sum(axis=2), mask)


def unsupported_share(weights: Weights, level: float = 0.95) -> Interval:
    """Estimate the unsupported share of the target's doses where only the given doses have a probability.

    At any state the ratio ``rho = pi_e(a) / pi_b(a)`` of a dose drawn from the log's regimen has the mean
    ``1 - m``, where m is the target's mass on doses that regimen never gives there. So 1 minus the mean ratio
    over all decisions estimates what `unsupported_mass` computes from a table. Courses are independent, the
    decisions of one are not: the standard error is that of a ratio of sums over patients. Unlike the mean of
    a product of ratios, it does not fade over a course; it can come out below 0.

    Parameters
    ----------
    weights : of a target on a log with right propensities
    level : coverage of the interval, normal
    """
    decisions = weights.decided.sum(axis=1)
    ratios = np.where(weights.decided, np.exp(weights.log_ratio), 0.0).sum(axis=1)
    n, total = len(decisions), float(decisions.sum())
    share = 1.0 - float(ratios.sum()) / total
    influence = (decisions - ratios - share * decisions) * n / total
    standard_error = float(np.sqrt(np.vdot(influence, influence))) / n
    half = normal_quantile(level) * standard_error
    return Interval(share, share - half, share + half, standard_error, n, level)
