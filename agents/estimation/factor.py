"""What one patient's records say, apart from any population: the likelihood of the random effects.

A factor holds particles with their log-likelihoods and the log density that they were drawn from, a proposal
under a reference population that stays as it is when the population is refitted. Any population then weighs
the same particles anew. Factors leave a site in place of records, are summed in a refit, and are deleted with
the patient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.map import MapFit
from dosewright.agents.estimation.particles import WeightedEffects, recorded_likelihood, sample

Floats = NDArray[np.float64]

_WIDER = 4.0  # reference variance over the model's: other populations lie within


@dataclass(frozen=True, eq=False)
class LikelihoodFactor:
    """Likelihood factors of n patients, as k particles each.

    Attributes
    ----------
    names : (d,) names of the effects
    eta : (n, k, d) effects
    log_likelihood : (n, k) log density of the measurements
    log_reference : (n, k) log density that the particles were drawn from
    variance : (n,) of the log of a marginal likelihood, that `log_reference` brings with it
    """

    names: tuple[str, ...]
    eta: Floats
    log_likelihood: Floats
    log_reference: Floats
    variance: Floats

    @classmethod
    def of(
        cls,
        courses: Courses,
        *,
        omega: ArrayLike | None = None,
        particles: int = 4096,
        seed: int = 0,
        fit: MapFit | None = None,
    ) -> LikelihoodFactor:
        """Return the factors of recorded patients.

        Parameters
        ----------
        courses
            Their records.
        omega : (d, d)
            Covariance of the reference population, about 0; by default four times the model's. Keep it while
            factors are compared or summed.
        particles, seed, fit
            As in `sample`.
        """
        reference = _WIDER * courses.omega if omega is None else omega
        found = sample(courses, particles=particles, seed=seed, fit=fit, omega=reference)
        return cls(courses.names, found.eta, found.log_likelihood, found.log_proposal, found.variance)

    def reweighted(self, mean: ArrayLike, omega: ArrayLike) -> WeightedEffects:
        """Return the posterior under another population, with its marginal likelihood.

        Parameters
        ----------
        mean : (d,), omega : (d, d)
            The population: effects are N(mean, omega).

        Notes
        -----
        `WeightedEffects.effective_size` says whether the particles reach that population.
        """
        centre, spread = np.asarray(mean, dtype=np.float64), np.asarray(omega, dtype=np.float64)
        d = len(self.names)
        if centre.shape != (d,) or spread.shape != (d, d):
            raise ValueError(
                f"population with mean {centre.shape} and omega {spread.shape}; expected ({d},) and "
                f"({d}, {d}): {', '.join(self.names)}"
            )
        return WeightedEffects(
            centre, spread, self.eta, self.log_likelihood, self.log_reference, self.variance
        )

    def at(self, courses: Courses) -> LikelihoodFactor:
        """Return the factors of other records of the same patients, at these particles: they multiply."""
        if courses.names != self.names or len(courses) != len(self.eta):
            raise ValueError(
                f"records of {len(courses)} patients with effects {', '.join(courses.names)}; expected "
                f"{len(self.eta)} with {', '.join(self.names)}"
            )
        return replace(self, log_likelihood=recorded_likelihood(courses, self.eta))

    def __mul__(self, other: LikelihoodFactor) -> LikelihoodFactor:
        """Return the factors of both records, which are independent given the effects."""
        if self.eta is not other.eta and not np.array_equal(self.eta, other.eta):
            raise ValueError(
                "factors at different particles do not multiply; make one with `at` of the other"
            )
        return replace(self, log_likelihood=self.log_likelihood + other.log_likelihood)

    def select(self, patients: ArrayLike) -> LikelihoodFactor:
        """Return the factors of some patients, by number: those that are left after one is erased."""
        rows = np.asarray(patients, dtype=np.int64)
        parts = {
            name: getattr(self, name)[rows] for name in ("eta", "log_likelihood", "log_reference", "variance")
        }
        return replace(self, **parts)
