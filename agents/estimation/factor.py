"""What one patient's records say, apart from any population: the likelihood of the random effects.

A factor holds particles with their log-likelihoods and the log density that they were drawn from, a proposal
under a reference population that stays as it is when the population is refitted. Any population then weighs
the same particles anew. Factors leave a site in place of records, are summed in a refit, and are deleted with
the patient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

from dosewright.agents.estimation.belief import Belief, BeliefFilter
from dosewright.agents.estimation.courses import Courses
from dosewright.agents.estimation.map import MapFit
from dosewright.agents.estimation.mixture import quasi_random
from dosewright.agents.estimation.particles import WeightedEffects, recorded_likelihood, sample
from dosewright.agents.estimation.prior import names

Floats = NDArray[np.float64]

ARRAYS = ("eta", "log_likelihood", "log_reference", "variance", "centres", "log_share")
"""Fields of a `LikelihoodFactor` with a row a patient."""
WIDER = 4.0  # reference variance over the model's: other populations lie within
_COMPONENTS = 4  # of the mixture that particles are drawn from


@dataclass(frozen=True, eq=False)
class LikelihoodFactor:
    """Likelihood factors of n patients, as k particles each.

    Effects are counted from what the published model expects of a person with the same covariates and
    genotype. Where the genotype is not known that is one of c alternatives, and effects are counted from the
    first; what an alternative expects stands in `centres`.

    Attributes
    ----------
    names : (d,) names of the effects
    eta : (n, k, d) effects
    log_likelihood : (n, k) log density of the measurements
    log_reference : (n, k) log density that the particles were drawn from
    variance : (n,) of the log of a marginal likelihood, that `log_reference` brings with it
    centres : (n, c, d) what each alternative expects; 0 where there is one
    log_share : (n, c) log probability of each alternative before the measurements; −∞ for one that a patient
        does not have
    """

    names: tuple[str, ...]
    eta: Floats
    log_likelihood: Floats
    log_reference: Floats
    variance: Floats
    centres: Floats
    log_share: Floats

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
        """Return the factors of recorded patients, whose genotypes are known.

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
        reference = WIDER * courses.omega if omega is None else omega
        found = sample(courses, particles=particles, seed=seed, fit=fit, omega=reference)
        n, d = len(courses), len(courses.names)
        return cls(
            courses.names,
            found.eta,
            found.log_likelihood,
            found.log_proposal,
            found.variance,
            np.zeros((n, 1, d)),
            np.zeros((n, 1)),
        )

    @classmethod
    def of_beliefs(
        cls, kept: BeliefFilter, belief: Belief, patients: Sequence[str], particles: int = 128
    ) -> LikelihoodFactor:
        """Return the factors of patients about whom a belief was kept.

        Particles are drawn from a mixture that is fitted to each posterior, at quasi-random points that are
        shifted by a number of the patient's own (Cranley R, Patterson TNL. SIAM J Numer Anal
        1976;13:904-914): were they the same for everybody, their errors would be too, and a population would
        be fitted to them.

        Parameters
        ----------
        kept
            The filter that kept it: under the reference population, with ``fade`` 1, so that every result
            counts in full.
        belief
            Beliefs about n patients.
        patients : (n,) their names
        particles
            Of each factor, a power of two.

        Raises
        ------
        ValueError
            For a filter that lets results fade: what is left of them is no likelihood.
        """
        if kept.fade != 1:
            raise ValueError(
                f"a belief whose results fade by {kept.fade:g} is no likelihood factor; keep one with fade 1"
            )
        drawn = kept.refine(belief)
        mixture, before = kept.around(drawn, _COMPONENTS), drawn.prior
        n, d = len(patients), len(before.sd)
        points = quasi_random(particles, d + 2, kept.seed)
        x = np.concatenate(
            [
                mixture.select(np.array([i])).at((points + _own(name, d + 2)) % 1.0)
                for i, name in enumerate(patients)
            ]
        )
        first = before.mean[:, :1]
        return cls(
            tuple(names(kept.scenario)),
            x - first,
            kept.relive(drawn, x)[0],
            mixture.log_density(x),
            np.zeros(n),
            before.mean - first,
            before.log_weight,
        )

    @classmethod
    def joined(cls, parts: Sequence[LikelihoodFactor]) -> LikelihoodFactor:
        """Return the factors of all patients of several parts, in order.

        Raises
        ------
        ValueError
            For no part, or parts whose effects or numbers of particles differ.
        """
        if not parts:
            raise ValueError("no factors to join; give those of at least one patient")
        first = parts[0]
        for part in parts[1:]:
            if part.names != first.names or part.eta.shape[1:] != first.eta.shape[1:]:
                raise ValueError(
                    f"factors of {part.eta.shape[1]} particles over {', '.join(part.names)}, others of "
                    f"{first.eta.shape[1]} over {', '.join(first.names)}; join those of one model and size"
                )
        most = max(part.centres.shape[1] for part in parts)
        padded = [part.padded(most) for part in parts]
        return replace(
            first, **{name: np.concatenate([getattr(part, name) for part in padded]) for name in ARRAYS}
        )

    def __len__(self) -> int:
        return len(self.eta)

    def padded(self, alternatives: int) -> LikelihoodFactor:
        """Return the same with at least so many alternatives, those added without probability."""
        more = alternatives - self.centres.shape[1]
        if more <= 0:
            return self
        return replace(
            self,
            centres=np.pad(self.centres, ((0, 0), (0, more), (0, 0))),
            log_share=np.pad(self.log_share, ((0, 0), (0, more)), constant_values=-np.inf),
        )

    def log_parts(self, shift: Floats, omega: Floats) -> Floats:
        """Return the log densities (n, k, c) of the effects in each alternative, times its probability.

        Parameters
        ----------
        shift : (n, c, d) by which a population's people differ from what the published model expects
        omega : (d, d) their covariance
        """
        whitening = np.linalg.inv(np.linalg.cholesky(omega)).T
        constant = np.log(np.diagonal(whitening)).sum() - 0.5 * len(omega) * math.log(2 * math.pi)
        apart = self.eta[:, :, None] - (self.centres + shift)[:, None]
        # no matrix product: its last bit would depend on how many patients there are
        z = np.einsum("nkcd,de->nkce", apart, whitening)
        return constant - 0.5 * np.einsum("nkce,nkce->nkc", z, z) + self.log_share[:, None]

    def reweighted(self, mean: ArrayLike, omega: ArrayLike) -> WeightedEffects:
        """Return the posterior under another population, with its marginal likelihood.

        Parameters
        ----------
        mean : (d,), omega : (d, d)
            The population: effects are N(mean, omega) about what is expected of each person.

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
        reference = self.log_reference
        if self.centres.shape[1] > 1:
            parts = self.log_parts(np.broadcast_to(centre, self.centres.shape), spread)
            # the weights below have the first alternative's density above; the others' go under the line
            alone = replace(self, centres=self.centres[:, :1], log_share=np.zeros((len(self), 1)))
            one = alone.log_parts(np.broadcast_to(centre, (len(self), 1, d)), spread)[..., 0]
            reference = reference + one - np.asarray(logsumexp(parts, axis=2))
        return WeightedEffects(centre, spread, self.eta, self.log_likelihood, reference, self.variance)

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
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})


def _own(patient: str, columns: int) -> Floats:
    """Return numbers (columns,) in [0, 1) that are a patient's own, whoever else there is."""
    seed = int.from_bytes(sha256(patient.encode()).digest()[:8])
    return np.random.default_rng(seed).random(columns)
