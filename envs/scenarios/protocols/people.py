"""Virtual patients as others have published theirs: shares of diplotypes, a variability cut short."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.patients import Patients, VirtualPopulation, enrol
from dosewright.envs.pharmacology import PopulationModel

Floats = NDArray[np.float64]

_QUARTILE = float(ndtri(0.75))
_DENSITY = float(np.exp(-(_QUARTILE**2) / 2) / np.sqrt(2 * np.pi))
MIDDLE_HALF_VARIANCE = 1 - 4 * _QUARTILE * _DENSITY
"""Variance of a standard normal deviate between its quartiles: 0.143."""


class _MiddleHalf(Noise):
    """The same noise, but for random effects, which are drawn from the middle half of a normal distribution
    and then have variance 1 again."""

    def normals(self, patient: ArrayLike, stream: Stream, event: ArrayLike = 0) -> Floats:
        z = super().normals(patient, stream, event)
        if stream != Stream.RANDOM_EFFECTS:
            return z
        return ndtri(0.25 + 0.5 * ndtr(z)) / np.sqrt(MIDDLE_HALF_VARIANCE)


@dataclass(frozen=True)
class PublishedPopulation(VirtualPopulation):
    """A population with published shares of diplotypes, which need not be Hardy and Weinberg's.

    Attributes
    ----------
    diplotypes
        Gene -> diplotype, as canonical text -> share of the people, alike in all strata. Shares that add up
        to 1 only after rounding are divided by their sum.
    middle_half
        Whether the random effects have the shape of the middle half of a normal distribution, from its 25th
        to its 75th percentile; their variances are the model's either way.
    """

    diplotypes: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])
    middle_half: bool = False

    def draw(
        self,
        model: PopulationModel,
        base: tuple[float, float] | None,
        ids: NDArray[np.int64],
        noise: Noise,
        spread: Floats | None = None,
    ) -> Patients:
        """Return the virtual patients with these identifiers, as `VirtualPopulation.draw`."""
        drawn = super().draw(model, base, ids, noise, spread)
        genes = [term.gene for term in model.genotype_terms]
        uniforms = noise.uniforms(drawn.ids, Stream.GENOTYPE, np.arange(len(genes)))[:, :, 0]
        genotypes = {gene: _picked(self.diplotypes[gene], uniforms[:, i]) for i, gene in enumerate(genes)}
        if self.middle_half:
            noise = _MiddleHalf(noise.namespace, noise.seed)
        return enrol(model, base, drawn.ids, drawn.covariates, genotypes, drawn.labels, noise, spread)


def mosteller(known: dict[str, Floats]) -> dict[str, Floats]:
    """Return the body surface area, m² (Mosteller 1987, N Engl J Med 317:1098)."""
    return {"bsa_m2": np.sqrt(known["height_cm"] * known["weight_kg"] / 3600.0)}


def _picked(shares: Mapping[str, float], uniforms: Floats) -> NDArray[np.str_]:
    """Return one name for each uniform (n,) in [0, 1)."""
    cumulative = np.cumsum(list(shares.values()))
    return np.array(list(shares))[np.searchsorted(cumulative / cumulative[-1], uniforms, side="right")]


def genotyped(
    model: PopulationModel, diplotypes: Mapping[str, Mapping[str, float]], groups: tuple[str, ...]
) -> PopulationModel:
    """Return a model whose allele frequencies, which a prior asks for where a genotype is not known, are
    those of published diplotypes.

    Parameters
    ----------
    diplotypes
        As in `PublishedPopulation`, such as "*1/*2" or "GA".
    groups
        Biogeographic groups of the population's strata.
    """
    terms = []
    for term in model.genotype_terms:
        pairs = diplotypes[term.gene]
        total = sum(pairs.values())
        frequency = {
            allele: sum(
                share * (pair.split("/") if "/" in pair else list(pair)).count(allele)
                for pair, share in pairs.items()
            )
            / (2 * total)
            for allele in term.per_allele
        }
        terms.append(replace(term, frequencies=dict.fromkeys(groups, frequency)))
    return replace(model, genotype_terms=tuple(terms))
