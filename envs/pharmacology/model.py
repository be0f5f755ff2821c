"""What a population model is: typical values, variability, and how one patient's state moves in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Flag = Literal["VERIFIED", "PARTIAL", "RECALLED", "ASSUMPTION"]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Constant:
    """A published number with what is needed to trust it.

    Attributes
    ----------
    value
        The number, in `unit`.
    unit
        Unit, "1" for none.
    flag
        How well it is known, as in the reference: VERIFIED, PARTIAL, RECALLED or ASSUMPTION.
    source
        Paper, table or section.
    """

    value: float
    unit: str
    flag: Flag
    source: str


@dataclass(frozen=True)
class Parameter:
    """One column of the parameter array.

    Attributes
    ----------
    name, unit
        Name as in the model's equations, and unit.
    variance
        Variance of its log-normal random effect (0: none).
    flag
        How well that variance is known.
    """

    name: str
    unit: str
    variance: float = 0.0
    flag: Flag = "VERIFIED"


@dataclass(frozen=True)
class Output:
    """A quantity that can be observed, its unit, and the log-scale SD of its published residual error."""

    name: str
    unit: str
    log_sd: float
    flag: Flag


@dataclass(frozen=True)
class GenotypeTerm:
    """How the two alleles of one gene add up to a typical value.

    Attributes
    ----------
    gene
        Gene symbol.
    effect
        Name under which the sum is handed to `PopulationModel.typical`.
    per_allele
        Allele -> contribution.
    by_function
        CPIC clinical function -> modelled allele that stands in for an allele the model has no value for
        (an ASSUMPTION wherever it is used). Empty: such an allele is refused.
    unit, flag, source
        As in `Constant`.
    """

    gene: str
    effect: str
    per_allele: Mapping[str, float]
    by_function: Mapping[str, str]
    unit: str
    flag: Flag
    source: str


@dataclass(frozen=True, eq=False)
class PopulationModel:
    """A published population model. Frozen; the engine knows nothing about any particular drug.

    Attributes
    ----------
    name
        Identifier, the `model_id` of the reference trajectories.
    title, sources
        Publication.
    time_unit
        Unit of every duration handed to the kernels.
    parameters
        Columns of the parameter array `theta` (n, p).
    states, initial
        Names of the state variables and their values at time 0.
    dose_state, dose_fraction
        Index of the state that a bolus enters, and the share of the prescribed amount that enters it.
    outputs
        Observable quantities, in the order of `observe`.
    genotype_terms
        Sums over alleles that `typical` needs, by gene.
    baseline
        Parameter that is the individual's response without drug, handed to `typical` as covariate "baseline".
    typical
        ``typical(covariates, effects) -> (n, p)``: parameters of a patient without random effects.
    plan_shape
        Shape of the work array in which `plan` keeps what an interval needs.
    plan
        Kernel ``plan(theta, duration, rule, work)``: fill `work` with all that depends on the duration and on
        slowly changing parameters; a call that would change nothing returns at once.
    step
        Kernel ``step(state, theta, work)``: move one patient's state, in place, over the planned duration.
    observe
        Kernel ``observe(state, theta, output) -> float``.
    rhs
        Kernel ``rhs(t, state, theta) -> (s,)`` derivative: the definition that `step` must reproduce.
    rules
        Named accuracy levels -> node array handed to `plan`.
    longest
        Longest duration one `step` may cover; the engine cuts longer intervals.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    time_unit: str
    parameters: tuple[Parameter, ...]
    states: tuple[str, ...]
    initial: tuple[float, ...]
    dose_state: int
    dose_fraction: float
    outputs: tuple[Output, ...]
    genotype_terms: tuple[GenotypeTerm, ...]
    baseline: str
    typical: Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats]
    plan_shape: Callable[[Floats], tuple[int, int]]
    plan: Any
    step: Any
    observe: Any
    rhs: Any
    rules: Mapping[str, Floats]
    longest: float

    def column(self, parameter: str) -> int:
        """Return the column of `parameter` in `theta`; an unknown name is an error that lists the known
        ones."""
        return _index([item.name for item in self.parameters], parameter, f"parameter of {self.name}")

    def output(self, name: str) -> int:
        """Return the index of output `name`; an unknown name is an error that lists the known ones."""
        return _index([item.name for item in self.outputs], name, f"output of {self.name}")

    @property
    def random_effects(self) -> tuple[int, ...]:
        """Columns of `theta` that carry a log-normal random effect."""
        return tuple(i for i, item in enumerate(self.parameters) if item.variance > 0)

    @property
    def omega(self) -> Floats:
        """Covariance (r, r) of the random effects on the log scale, diagonal."""
        return np.diag([self.parameters[i].variance for i in self.random_effects])

    def individual(self, typical: Floats, eta: Floats) -> Floats:
        """Apply random effects: ``typical · exp(eta)`` on the columns of `random_effects`.

        Parameters
        ----------
        typical : (n, p)
        eta : (n, r) log-scale effects in the order of `random_effects`.

        Returns
        -------
        theta : (n, p)
        """
        theta = typical.copy()
        theta[:, list(self.random_effects)] *= np.exp(eta)
        return theta


def _index(names: Sequence[str], name: str, kind: str) -> int:
    if name not in names:
        raise ValueError(f"unknown {kind}: {name!r}; known: {', '.join(names)}")
    return list(names).index(name)
