"""Averaging over models that may each describe a patient: each counts as far as it predicted the records.

The posterior probability of a model is its prior probability times its marginal likelihood, the density that
it gives to the records before they are seen (Hoeting JA, Madigan D, Raftery AE, Volinsky CT. Stat Sci
1999;14:382-417). A prediction is then the mixture of the models' own. Weights compare models; whether any of
them describes the patient is asked of each by itself, as Box GEP does (J R Stat Soc A 1980;143:383-430): how
often do records simulated from the model fit it as badly as those that are there?
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax
from scipy.stats import chi2

from dosewright.agents.estimation.likelihood import SampleErrors, standardised
from dosewright.agents.estimation.particles import Posterior, weighted_mean, weighted_quantile

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

DECIDED = 0.99  # weight from which one model has it all
UNEXPLAINED = 0.01  # predictive p-value under which a model does not explain a patient


@dataclass(frozen=True, eq=False)
class Average:
    """The posteriors of the same n patients under m models, weighted.

    Attributes
    ----------
    names : (m,) of the models
    posteriors : (m,) each of the same patients
    prior_weight : (m,) probabilities of the models before the records
    """

    names: tuple[str, ...]
    posteriors: tuple[Posterior, ...]
    prior_weight: Floats

    @cached_property
    def log_marginal(self) -> Floats:
        """(n, m) log marginal likelihoods."""
        return np.stack([posterior.log_marginal for posterior in self.posteriors], axis=1)

    @cached_property
    def weight(self) -> Floats:
        """(n, m) posterior probabilities of the models."""
        with np.errstate(divide="ignore"):
            return np.asarray(softmax(self.log_marginal + np.log(self.prior_weight), axis=1))

    @property
    def weight_error(self) -> Floats:
        """(n, m) Monte Carlo standard errors of the weights, to first order in those of `log_marginal`."""
        error = np.stack([posterior.log_marginal_error for posterior in self.posteriors], axis=1)
        slope = self.weight[:, :, None] * (np.eye(len(self.names)) - self.weight[:, None])
        return np.sqrt(np.einsum("nab,nb->na", slope**2, error**2))

    @cached_property
    def p_value(self) -> Floats:
        """(n, m) prior predictive p-values, as of `predictive_p_value`."""
        return np.stack([predictive_p_value(posterior) for posterior in self.posteriors], axis=1)

    @property
    def decided(self) -> Mask:
        """(n,) whether one model has all the weight: the average is that model's own prediction."""
        return np.any(self.weight >= DECIDED, axis=1)

    @property
    def unexplained(self) -> Mask:
        """(n,) whether no model explains the records: weights then tell what is wrong from what is worse."""
        return np.all(self.p_value < UNEXPLAINED, axis=1)

    def warnings(self) -> tuple[str, ...]:
        """Return in words what to know of patients before their average is used."""
        found: list[str] = []
        for i, patient in enumerate(self.posteriors[0].courses.ids):
            if self.unexplained[i]:
                each = zip(self.names, self.p_value[i], strict=True)
                said = ", ".join(f"{name} {p:.2g}" for name, p in each)
                found.append(f"patient {patient}: no model explains the records, p-values {said}")
            if self.decided[i]:
                best = int(self.weight[i].argmax())
                found.append(f"patient {patient}: {self.names[best]} has weight {self.weight[i, best]:.3f}")
        return tuple(found)

    def pooled(self, values: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Return values (n, k·m, …) of every model's particles (n, k, …) side by side, and their weights
        (n, k·m): the predictive mixture."""
        if len(values) != len(self.posteriors):
            raise ValueError(f"values of {len(values)} models; expected those of {len(self.posteriors)}")
        weight = [self.weight[:, [j]] * one.weight for j, one in enumerate(self.posteriors)]
        return np.concatenate(values, axis=1), np.concatenate(weight, axis=1)

    def mean_sd(self, values: Sequence[Floats]) -> tuple[Floats, Floats]:
        """Return mean and SD (n, …) of the mixture of every model's values (n, k, …)."""
        every, weight = self.pooled(values)
        mean = weighted_mean(every, weight)
        return mean, np.sqrt(np.maximum(weighted_mean((every - mean[:, None]) ** 2, weight), 0.0))

    def quantile(self, values: Sequence[Floats], share: float) -> Floats:
        """Return a quantile (n, …) of the mixture of every model's values (n, k, …)."""
        return weighted_quantile(*self.pooled(values), share)

    def probability(self, conditions: Sequence[Mask]) -> Floats:
        """Return the probability (n, …) of a condition, given (n, k, …) for every model."""
        return weighted_mean(*self.pooled([one.astype(np.float64) for one in conditions]))


def average(posteriors: Mapping[str, Posterior], prior_weight: Mapping[str, float] | None = None) -> Average:
    """Return the posteriors of the same patients under several models, weighted by what the records say.

    Parameters
    ----------
    posteriors
        Model's name -> posterior of the same records.
    prior_weight
        Model's name -> probability before the records, up to a factor; equal by default.

    Raises
    ------
    ValueError
        For posteriors of other patients or other measurements, whose marginal likelihoods do not compare, and
        for a prior weight that is missing, negative or not finite.
    """
    if not posteriors:
        raise ValueError("no posterior: give that of at least one model")
    names = tuple(posteriors)
    prior = dict.fromkeys(names, 1.0) if prior_weight is None else prior_weight
    if set(prior) != set(names):
        raise ValueError(f"prior weights of {', '.join(prior)}; expected those of {', '.join(names)}")
    weights = np.array([float(prior[name]) for name in names])
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
        raise ValueError(f"prior weights {weights.tolist()}; expected numbers from 0 on, not all 0")
    first = _measured(posteriors[names[0]])
    for name in names[1:]:
        if _measured(posteriors[name]) != first:
            raise ValueError(
                f"models {names[0]} and {name} were given other patients or measurements; their likelihoods "
                "compare on the same records only"
            )
    return Average(names, tuple(posteriors.values()), weights / weights.sum())


def predictive_p_value(posterior: Posterior) -> Floats:
    """Return how probable records as badly predicted by the prior are (n,), 1 without a measured value.

    To first order in the effects the least of ``Σ (y − f)²/v + (η − mean)'·Ω⁻¹·(η − mean)`` over η follows,
    before the records are seen, a chi square distribution with as many degrees of freedom as there are
    values: it is the squared distance of the records from their prior mean. The least is looked for among the
    particles; values below a limit and other intervals are left out.
    """
    courses = posterior.courses
    value = courses.observed & (courses.low == courses.high)
    errors = SampleErrors.of([item.error for item in courses.model.outputs], courses.sample_output).expand(1)
    low = np.where(value, courses.low, 0.0)[:, None]
    residual = standardised(errors, courses.predict(posterior.eta), low)
    square = np.where(value[:, None], residual**2, 0.0).sum(axis=-1)
    centred = posterior.eta - posterior.mean
    square += np.einsum("nki,ij,nkj->nk", centred, np.linalg.inv(posterior.omega), centred)
    best = np.where(np.isfinite(square), square, np.inf).min(axis=1)
    count = value.sum(axis=1)
    return np.where(count > 0, chi2.sf(best, np.maximum(count, 1)), 1.0)


def _measured(posterior: Posterior) -> list[tuple[str, list[tuple[float, float, float]]]]:
    """What was measured in whom: time, and the value's or interval's ends."""
    courses = posterior.courses
    parts = zip(courses.ids, courses.observed, courses.sample_time, courses.low, courses.high, strict=True)
    return [
        (one, list(zip(time[seen].tolist(), low[seen].tolist(), high[seen].tolist(), strict=True)))
        for one, seen, time, low, high in parts
    ]
