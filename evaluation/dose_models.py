"""Models of which dose is given in which situation: four ways to fit class probabilities.

Doses are classes 0 to A - 1 in ascending order. A model is fitted to m decisions with k features and returns
a function from features to probabilities. A dose that no decision had gets probability 0: nothing was learnt
about it, and `fit_behaviour` refuses a log that needs it.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from dosewright.evaluation.log_checks import FloatArray

IntArray = npt.NDArray[np.int64]
Fitted = Callable[[FloatArray], FloatArray]
"""From features (m', k) to probabilities (m', A)."""


class DoseModel(Protocol):
    """A way to model the regimen that made a log."""

    def fit(self, features: FloatArray, given: IntArray, doses: int, seed: int) -> Fitted:
        """Fit to features (m, k) and the classes (m,) of the doses given, of `doses` classes A.

        `seed` is for models that draw.
        """
        ...


@dataclass(frozen=True)
class MultinomialLogistic:
    """Multinomial logistic regression: one slope a dose and feature.

    Attributes
    ----------
    penalty
        Strength of the ridge penalty on the slopes of standardised features, ``penalty / 2 * |slopes|^2``
        added to the negative log likelihood. 0, maximum likelihood, by default; where features separate doses
        perfectly the likelihood has no maximum, and a penalty such as 1 gives one.

    Raises
    ------
    ValueError
        For a negative penalty.
    """

    penalty: float = 0.0

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)

    def fit(self, features: FloatArray, given: IntArray, doses: int, seed: int) -> Fitted:
        """As `DoseModel.fit`."""
        from sklearn.linear_model import LogisticRegression  # slow to import, and only this needs it

        scaled = _standardiser(features)
        present = np.unique(given)
        if len(present) == 1:
            return _always(int(present[0]), doses)
        strength = np.inf if self.penalty == 0 else 1.0 / self.penalty
        model = LogisticRegression(C=strength, tol=1e-8, max_iter=2000)
        model.fit(scaled(features), given)
        return lambda asked: _spread(model.predict_proba(scaled(asked)), present, doses)


@dataclass(frozen=True)
class OrdinalLogistic:
    """Proportional odds: ``P(dose <= d_j | x) = expit(threshold_j - slope . x)`` (McCullagh 1980).

    Doses are ordered, so one slope a feature moves the whole distribution up or down; a fine grid costs one
    threshold a dose and not a slope each. Fitted here by maximum likelihood: scikit-learn has no such model,
    and statsmodels, which has one, would be a dependency for this alone (a test compares the two).

    Attributes
    ----------
    penalty
        Strength of the ridge penalty on the slopes of standardised features, as in `MultinomialLogistic`.

    Raises
    ------
    ValueError
        For a negative penalty.
    """

    penalty: float = 0.0

    def __post_init__(self) -> None:
        _check_penalty(self.penalty)

    def fit(self, features: FloatArray, given: IntArray, doses: int, seed: int) -> Fitted:
        """As `DoseModel.fit`."""
        scaled = _standardiser(features)
        present, order = np.unique(given, return_inverse=True)
        if len(present) == 1:
            return _always(int(present[0]), doses)
        x = scaled(features)
        share = np.cumsum(np.bincount(order))[:-1] / len(order)
        threshold = np.log(share / (1.0 - share))
        start = np.concatenate([threshold[:1], np.log(np.diff(threshold)), np.zeros(x.shape[1])])
        fitted = minimize(
            _ordinal_loss,
            start,
            args=(x, order, len(present), self.penalty),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": 2000, "ftol": 1e-14, "gtol": 1e-8 * len(x)},
        )
        if not fitted.success and fitted.nit >= 2000:
            warnings.warn(
                "the ordinal model did not converge in 2000 iterations; penalise it (penalty=1)", stacklevel=2
            )
        limits, slope = _thresholds(fitted.x, len(present)), fitted.x[len(present) - 1 :]

        def probabilities(asked: FloatArray) -> FloatArray:
            below = expit(limits - (scaled(asked) @ slope)[:, None])
            edges = np.pad(below, ((0, 0), (1, 1)), constant_values=((0, 0), (0.0, 1.0)))
            return _spread(np.diff(edges, axis=1), present, doses)

        return probabilities


@dataclass(frozen=True)
class GradientBoosting:
    """Gradient boosted trees (scikit-learn's histogram form): nothing is assumed about the shape.

    Needs many more decisions than the logistic models. The defaults are a slow learner with small trees,
    because what matters here is the probability, not the likeliest dose.

    Attributes
    ----------
    iterations, learning_rate, leaves, smallest_leaf
        Trees a dose, how much of each is used, leaves of a tree at most, decisions in a leaf at least.
    """

    iterations: int = 100
    learning_rate: float = 0.05
    leaves: int = 8
    smallest_leaf: int = 50

    def fit(self, features: FloatArray, given: IntArray, doses: int, seed: int) -> Fitted:
        """As `DoseModel.fit`."""
        from sklearn.ensemble import HistGradientBoostingClassifier  # slow to import, only this needs it
        from threadpoolctl import threadpool_limits

        present = np.unique(given)
        if len(present) == 1:
            return _always(int(present[0]), doses)
        options: dict[str, Any] = {"early_stopping": False}  # it would hold out decisions, not patients
        model = HistGradientBoostingClassifier(
            max_iter=self.iterations,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.leaves,
            min_samples_leaf=self.smallest_leaf,
            random_state=seed,
            **options,
        )

        def probabilities(asked: FloatArray) -> FloatArray:
            with threadpool_limits(1, user_api="openmp"):
                return _spread(model.predict_proba(_filled(asked)), present, doses)

        # threads that wait for each other by spinning: sixty times slower beside other processes
        with threadpool_limits(1, user_api="openmp"):
            model.fit(_filled(features), given)
        return probabilities


@dataclass(frozen=True)
class Counts:
    """Shares of the doses in each stratum, a stratum being a combination of features.

    Attributes
    ----------
    pseudo_count
        Decisions added to every dose in each stratum: ``(count + pseudo_count) / (decisions + A
        pseudo_count)``. 0 by default, the plain shares; 1 is Laplace's rule. Above 0 no dose has probability
        0, and a new stratum has the same probability for all.

    Raises
    ------
    ValueError
        For a negative pseudo-count.
    """

    pseudo_count: float = 0.0

    def __post_init__(self) -> None:
        if not self.pseudo_count >= 0:
            raise ValueError(f"pseudo_count = {self.pseudo_count}; expected 0 (plain shares) or more")

    def fit(self, features: FloatArray, given: IntArray, doses: int, seed: int) -> Fitted:
        """As `DoseModel.fit`."""
        strata, row = np.unique(features, axis=0, return_inverse=True)
        # the last row is that of a stratum that was not there
        count = np.full((len(strata) + 1, doses), self.pseudo_count)
        np.add.at(count, (row.reshape(-1), given), 1.0)
        total = count.sum(axis=1, keepdims=True)
        table = np.divide(count, total, out=np.zeros_like(count), where=total > 0)

        def probabilities(asked: FloatArray) -> FloatArray:
            _, all_rows = np.unique(np.concatenate([strata, asked]), axis=0, return_inverse=True)
            place = np.full(all_rows.max() + 1, len(strata))
            place[all_rows.reshape(-1)[: len(strata)]] = np.arange(len(strata))
            return table[place[all_rows.reshape(-1)[len(strata) :]]]

        return probabilities


def _check_penalty(penalty: float) -> None:
    if not 0.0 <= penalty < np.inf:
        raise ValueError(f"penalty = {penalty}; expected 0 (maximum likelihood) or more, such as 1")


def _ordinal_loss(
    parameters: FloatArray, x: FloatArray, order: IntArray, classes: int, penalty: float
) -> tuple[float, FloatArray]:
    """Return the negative log likelihood of the proportional odds model, and its gradient."""
    limits, slope = _thresholds(parameters, classes), parameters[classes - 1 :]
    edges = np.concatenate([[-np.inf], limits, [np.inf]])
    eta = x @ slope
    low, high = edges[order] - eta, edges[order + 1] - eta
    # expit(high) - expit(low) = expit(high) expit(-low) (1 - exp(low - high)), without a difference
    log_prob = log_expit(high) + log_expit(-low) + np.log1p(-np.exp(low - high))
    with np.errstate(over="ignore"):
        gap = 1.0 / np.expm1(high - low)
    at_high, at_low = expit(-high) + gap, -expit(low) - gap
    by_edge = np.bincount(order + 1, at_high, classes + 1) + np.bincount(order, at_low, classes + 1)
    by_limit = by_edge[1:-1]
    later = np.cumsum(by_limit[::-1])[::-1]
    by_start = np.concatenate([later[:1], later[1:] * np.exp(parameters[1 : classes - 1])])
    by_slope = -x.T @ (at_high + at_low) - penalty * slope
    gradient = np.concatenate([by_start, by_slope]).astype(np.float64)
    return float(0.5 * penalty * slope @ slope - log_prob.sum()), -gradient


def _thresholds(parameters: FloatArray, classes: int) -> FloatArray:
    """Return the ascending thresholds (classes - 1,) from the first one and the logs of the steps up."""
    return parameters[0] + np.concatenate([[0.0], np.cumsum(np.exp(parameters[1 : classes - 1]))])


def _standardiser(features: FloatArray) -> Fitted:
    """Return the function that centres and scales; a constant feature becomes 0, and no feature one of 0."""
    mean, sd = features.mean(axis=0), features.std(axis=0)
    constant = ~(sd > 1e-12 * np.maximum(1.0, np.abs(mean)))
    scale = np.where(constant, 1.0, sd)
    return lambda asked: _filled(np.where(constant, 0.0, (asked - mean) / scale))


def _filled(features: FloatArray) -> FloatArray:
    """Return the features, or one constant where there are none: scikit-learn wants at least one."""
    return features if features.shape[1] else np.zeros((len(features), 1))


def _always(dose: int, doses: int) -> Fitted:
    return lambda asked: np.tile(np.arange(doses) == dose, (len(asked), 1)).astype(np.float64)


def _spread(probability: FloatArray, present: IntArray, doses: int) -> FloatArray:
    """Return probabilities (m, A) of all doses from those of the doses that are present."""
    whole = np.zeros((len(probability), doses))
    whole[:, present] = probability
    return whole
