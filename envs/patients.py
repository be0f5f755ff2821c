"""Who is treated: people with covariates, genotypes and individual parameters, and virtual populations.

Real people come from `cohort_table`; their random effects are not known, so they are drawn like those of
virtual ones.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dosewright.envs.genotypes import genotype_effects
from dosewright.envs.noise import Noise, Stream
from dosewright.envs.pharmacology import Flag, PopulationModel
from dosewright.pharmacogenomics import (
    Diplotype,
    draw_diplotypes,
)

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Patients:
    """n people and their individual parameters.

    Attributes
    ----------
    ids : (n,) identifiers; the noise of a person depends on it alone
    covariates : name -> (n,), clinical units, NaN where not recorded
    genotypes : gene -> (n,) canonical diplotypes as text
    labels : name -> (n,) words for subgroups
    theta : (n, p) individual parameters
    substituted : reading -> number of alleles, for alleles the model has no value for
    """

    ids: NDArray[np.int64]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]
    theta: Floats
    substituted: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.ids)


class Population(Protocol):
    """A source of people."""

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the patients with these identifiers."""
        ...


@dataclass(frozen=True)
class Spread:
    """A normal distribution, clipped to a stated range where the publication is.

    With `log` it is log-normal: `mean` is the geometric mean, `sd` that of the logarithm.
    """

    mean: float
    sd: float
    low: float = -math.inf
    high: float = math.inf
    log: bool = False

    def at(self, z: Floats) -> Floats:
        """Return the values at standard normal deviates `z`."""
        value = self.mean * np.exp(self.sd * z) if self.log else self.mean + self.sd * z
        return np.clip(value, self.low, self.high)


@dataclass(frozen=True)
class Share:
    """A flag that a share of the people have."""

    share: float

    def at(self, z: Floats) -> Floats:
        """Return 1 or 0 at standard normal deviates `z`."""
        return (ndtr(z) < self.share).astype(np.float64)


@dataclass(frozen=True)
class Stratum:
    """One part of a virtual population.

    Attributes
    ----------
    name, share
        Name and share of the population.
    group
        CPIC biogeographic group whose allele frequencies apply.
    race
        The race that dosing equations ask for.
    age, height_male, height_female, weight
        Distributions in years, cm and kg, independent of each other apart from sex and height.
    male
        Share of men.
    """

    name: str
    share: float
    group: str
    race: str
    age: Spread
    male: float
    height_male: Spread
    height_female: Spread
    weight: Spread


# (biogeographic group, share, race): who is treated where a model's source names no ancestry (ASSUMPTION)
DEFAULT_ANCESTRIES = (
    ("European", 0.60, "White"),
    ("African American/Afro-Caribbean", 0.15, "Black"),
    ("East Asian", 0.10, "Asian"),
    ("Latino", 0.10, "Latino"),
    ("Central/South Asian", 0.05, "South Asian"),
)
# the groups of people of whom only the race is known
RACE_GROUPS = {"White": "European", "Black": "African American/Afro-Caribbean", "Asian": "East Asian"}


@dataclass(frozen=True)
class VirtualPopulation:
    """A mixture of strata with published marginals.

    Attributes
    ----------
    strata
        Parts; their shares add up to 1.
    races
        Every race an observation tells apart, as ``race_<name>`` entries.
    groups
        Race -> biogeographic group, for people of whom only the race is known; another race: the strata's
        mixture.
    absent
        Covariates that nobody in this population has (0 for all), such as interacting drugs on enrolment.
    flag, source
        Where the marginals come from.
    extra
        Further covariates with their distributions, alike in all strata.
    derive
        ``derive(covariates) -> covariates``: those that follow from others, such as body surface area;
        None where none do.
    """

    strata: tuple[Stratum, ...]
    races: tuple[str, ...]
    groups: Mapping[str, str]
    absent: tuple[str, ...]
    flag: Flag
    source: str
    extra: tuple[tuple[str, Spread | Share], ...] = ()
    derive: Callable[[dict[str, Floats]], dict[str, Floats]] | None = None

    def draw(
        self,
        model: PopulationModel,
        base: tuple[float, float] | None,
        ids: NDArray[np.int64],
        noise: Noise,
        spread: Floats | None = None,
    ) -> Patients:
        """Return the virtual patients with these identifiers: a pure function of `ids`, `noise` and `spread`,
        factors (n,) on their random effects (None: 1)."""
        ids = np.asarray(ids, dtype=np.int64)
        shares = np.cumsum([stratum.share for stratum in self.strata])
        mixing = noise.uniforms(ids, Stream.STRATUM)[:, 0]
        which = np.minimum(np.searchsorted(shares, mixing[:, 0], side="right"), len(self.strata) - 1)
        z = noise.normals(ids, Stream.COVARIATES, np.arange(2)).reshape(len(ids), 4)
        male = mixing[:, 1] < np.array([stratum.male for stratum in self.strata])[which]
        covariates = {name: np.zeros(len(ids)) for name in ("age_y", "height_cm", "weight_kg")}
        for i, stratum in enumerate(self.strata):
            rows = which == i
            covariates["age_y"][rows] = stratum.age.at(z[rows, 0])
            height = np.where(male, stratum.height_male.at(z[:, 1]), stratum.height_female.at(z[:, 1]))
            covariates["height_cm"][rows] = height[rows]
            covariates["weight_kg"][rows] = stratum.weight.at(z[rows, 2])
        race = np.array([stratum.race for stratum in self.strata])[which]
        covariates |= {"male": male.astype(float), **race_columns(race, self.races)}
        covariates |= {name: np.zeros(len(ids)) for name in self.absent}
        if self.extra:
            count = (len(self.extra) + 1) // 2
            more = noise.normals(ids, Stream.COVARIATES, 2 + np.arange(count)).reshape(len(ids), -1)
            covariates |= {name: law.at(more[:, i]) for i, (name, law) in enumerate(self.extra)}
        if self.derive is not None:
            covariates |= self.derive(covariates)
        groups = np.array([stratum.group for stratum in self.strata])[which]
        alleles = noise.uniforms(ids, Stream.GENOTYPE, np.arange(len(model.genotype_terms)))
        genotypes = {
            term.gene: draw_diplotypes(term.gene, groups, alleles[:, i], term.frequencies)
            for i, term in enumerate(model.genotype_terms)
        }
        labels = {"stratum": np.array([stratum.name for stratum in self.strata])[which], "ancestry": groups}
        return enrol(model, base, ids, covariates, genotypes, labels, noise, spread)


def enrol(
    model: PopulationModel,
    base: tuple[float, float] | None,
    ids: NDArray[np.int64],
    covariates: Mapping[str, Floats],
    genotypes: Mapping[str, NDArray[np.str_]],
    labels: Mapping[str, NDArray[np.str_]],
    noise: Noise,
    spread: Floats | None = None,
) -> Patients:
    """Draw baseline and random effects, times `spread` (n,), of people with known covariates and
    genotypes."""
    if base is not None:
        baseline = base[0] + base[1] * noise.normals(ids, Stream.BASELINE)[:, 0, 0]
        covariates = {**covariates, "baseline": baseline}
    effects, substituted = genotype_effects(model.genotype_terms, genotypes)
    typical = model.typical(covariates, effects)
    if len(typical) < len(ids):  # a model without covariates
        typical = np.repeat(typical, len(ids), axis=0)
    n_effects = len(model.random_effects)
    z = noise.normals(ids, Stream.RANDOM_EFFECTS, np.arange((n_effects + 1) // 2)).reshape(len(ids), -1)
    # not a matrix product: its last bit would depend on how many people are drawn together
    factor = np.linalg.cholesky(model.omega)
    eta = sum((z[:, [j]] * factor[:, j] for j in range(n_effects)), np.zeros((len(ids), n_effects)))
    if spread is not None:
        eta = eta * spread[:, None]
    known = {name: values for name, values in covariates.items() if name != "baseline"}
    return Patients(ids, known, genotypes, labels, model.individual(typical, eta), substituted)


class CovariateRangeWarning(UserWarning):
    """A covariate lies outside the range of the people that a model was made from."""


def individual_parameters(
    model: PopulationModel,
    covariates: Mapping[str, ArrayLike],
    genotypes: Mapping[str, Sequence[str]] | None = None,
    eta: Floats | None = None,
) -> Floats:
    """Return the parameters (n, p) of people, for `dosewright.envs.pharmacology.simulate`.

    Parameters
    ----------
    model
        The population model.
    covariates
        Name -> scalar or (n,), everything in ``model.covariates``, in its unit.
    genotypes
        Gene -> (n,) diplotypes ("*1/*2"), for every gene of ``model.genotype_terms``.
    eta : (n, r), optional
        Random effects; typical people by default.

    Raises
    ------
    ValueError
        For a covariate that is missing, unknown, not finite, or at a value that breaks the equations, or a
        genotype that is missing or that the model has no value for.

    Warns
    -----
    CovariateRangeWarning
        For a covariate outside the published range.
    """
    known = {item.name: item for item in model.covariates}
    unknown = sorted(set(covariates) - set(known))
    if unknown:
        near = get_close_matches(unknown[0], list(known), 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(
            f"{model.name} does not use covariate {unknown[0]!r}{hint}; it uses: {', '.join(known) or 'none'}"
        )
    for name, item in known.items():
        if name not in covariates:
            raise ValueError(
                f"{model.name} needs covariate {name!r} ({item.unit}); the reference is {item.reference:g}"
            )
        values = np.atleast_1d(np.asarray(covariates[name], dtype=np.float64))
        broken = ~np.isfinite(values) | (values <= item.least)
        if broken.any():
            where = int(np.argmax(broken))
            limit = "" if item.least == -math.inf else f" above {item.least:g}"
            raise ValueError(
                f"person {where}: {name} is {values[where]:g} {item.unit}; {model.name} needs a number{limit}"
            )
        outside = (values < item.low) | (values > item.high)
        if outside.any():
            where = int(np.argmax(outside))
            warnings.warn(
                f"person {where}: {name} = {values[where]:g} {item.unit} lies outside the published range "
                f"{item.low:g} to {item.high:g} of {model.name}: an extrapolation",
                CovariateRangeWarning,
                stacklevel=2,
            )
    given = {} if genotypes is None else dict(genotypes)
    for term in model.genotype_terms:
        if term.gene not in given:
            first = next(iter(term.per_allele))
            raise ValueError(
                f"{model.name} needs the {term.gene} genotype; give a diplotype such as '{first}/{first}'"
            )
    effects, _ = genotype_effects(
        model.genotype_terms, {gene: np.atleast_1d(np.asarray(value)) for gene, value in given.items()}
    )
    typical = model.typical(covariates, effects)
    if eta is None:
        return model.individual(typical, np.zeros((len(typical), len(model.random_effects))))
    return model.individual(np.repeat(typical, len(eta) // len(typical), axis=0), eta)


def genotype_ratio(model: PopulationModel, patients: Patients, gene: str, parameter: str) -> Floats:
    """Return (n,) the typical parameter of each person over that of the reference genotype of one gene, all
    else equal.

    The reference genotype is the first allele of the model's term, twice.

    Raises
    ------
    ValueError
        If the model has no term of the gene.
    """
    terms = {item.gene: item for item in model.genotype_terms}
    if gene not in terms:
        known = ", ".join(terms) or "none"
        raise ValueError(
            f"{model.name} has no term of {gene}, through which a drug interacts; it has: {known}"
        )
    covariates = dict(patients.covariates)
    if model.baseline is not None:
        covariates["baseline"] = patients.theta[:, model.column(model.baseline)]
    first = next(iter(terms[gene].per_allele))
    reference = np.full(len(patients), str(Diplotype(first, first)))
    people = (patients.genotypes, {**patients.genotypes, gene: reference})
    column = model.column(parameter)
    own, other = (
        model.typical(covariates, genotype_effects(model.genotype_terms, genotypes)[0])[:, column]
        for genotypes in people
    )
    return own / other


def race_columns(race: NDArray[np.str_], races: Sequence[str]) -> dict[str, Floats]:
    """Return the covariates that tell races apart: `race_<name>` -> (n,) 1 or 0."""
    return {f"race_{name.lower()}": (race == name).astype(float) for name in races}
