"""What a population model is: typical values, variability, and how one patient's state moves in time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.pharmacology.solvers import Solver

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
        Variance of its random effect between subjects (0: none).
    flag
        How well that variance is known.
    effect
        How the random effect enters: "log" multiplies by its exponential, "logit" adds to the logit of a
        share, "linear" adds.
    occasion_variance
        Published variance between occasions, on the log scale (0: none).
    """

    name: str
    unit: str
    variance: float = 0.0
    flag: Flag = "VERIFIED"
    effect: Literal["log", "logit", "linear"] = "log"
    occasion_variance: float = 0.0


def variance_of_cv(cv: float) -> float:
    """Return the log-scale variance of a log-normal parameter with coefficient of variation `cv` (0.3 for
    30 %)."""
    return math.log(1.0 + cv * cv)


@dataclass(frozen=True)
class Covariate:
    """Something known about a person that the model asks for.

    Attributes
    ----------
    name, unit
        Name, which ends in the unit where it has one ("weight_kg"), and unit ("1": none).
    reference
        Value at which the published typical values hold.
    low, high
        Range of the people the model was made from; outside it a value is an extrapolation.
    flag
        How well that range is known.
    least
        A value at or below it breaks the equations (0 for a weight); minus infinity where none does.
    """

    name: str
    unit: str
    reference: float
    low: float = -math.inf
    high: float = math.inf
    flag: Flag = "VERIFIED"
    least: float = -math.inf


@dataclass(frozen=True)
class ResidualError:
    """What an assay adds to a true value.

    Attributes
    ----------
    log_sd
        SD on the log scale; the measured value is ``f · exp(log_sd · z)``.
    proportional, additive
        Alternatively the SDs of a proportional and an additive part (in the output's unit), independent:
        ``f + z · sqrt((proportional · f)² + additive²)``. A value below zero is reported as 0.
    adds_sd
        Whether the SDs of the two parts add, not their variances: ``f + z · (proportional · f + additive)``,
        the "combined1" of Monolix.
    flag, source
        How well they are known.
    """

    log_sd: float = 0.0
    proportional: float = 0.0
    additive: float = 0.0
    flag: Flag = "VERIFIED"
    source: str = ""
    adds_sd: bool = False

    def __post_init__(self) -> None:
        if self.log_sd and (self.proportional or self.additive):
            raise ValueError(
                f"residual error with log_sd = {self.log_sd} and proportional or additive parts; give one "
                f"kind"
            )

    def apply(self, truth: Floats, z: Floats) -> Floats:
        """Return measured values of `truth` with standard normal `z` of the same shape."""
        if self.log_sd:
            return np.asarray(truth * np.exp(self.log_sd * z))
        if not (self.proportional or self.additive):
            return truth
        if self.adds_sd:
            sd = self.proportional * np.abs(truth) + self.additive
        else:
            sd = np.hypot(self.proportional * truth, self.additive)
        return np.maximum(truth + z * sd, 0.0)


EXACT = ResidualError()


@dataclass(frozen=True)
class Output:
    """A quantity that can be observed, its unit, and its published residual error."""

    name: str
    unit: str
    error: ResidualError = EXACT


@dataclass(frozen=True)
class Route:
    """A way into the body.

    Attributes
    ----------
    name
        Name, as in `Dose.route`.
    state
        State that a dose enters.
    fraction
        Share of the prescribed amount, in the model's unit, that enters: a number, or a parameter's name. A
        pair of both multiplies.
    lag
        Parameter that is the time until it enters; None where it enters at once.
    duration
        Parameter that is the time over which a dose enters whose record leaves that to the model (NONMEM's
        rate -2); None where no dose may. `simulate` takes durations from its doses.
    """

    name: str
    state: str
    fraction: float | str | tuple[float, str] = 1.0
    lag: str | None = None
    duration: str | None = None


@dataclass(frozen=True)
class GenotypeTerm:
    """How the two alleles of one gene become a number that `PopulationModel.typical` uses.

    Attributes
    ----------
    gene
        Gene symbol.
    effect
        Name under which the number is handed to `typical`.
    per_allele
        Allele -> contribution; the model's own alleles.
    by_function
        CPIC clinical function -> modelled allele that stands in for an allele the model has no value for
        (an ASSUMPTION wherever it is used). Empty: such an allele is refused.
    unit, flag, source
        As in `Constant`.
    pairs
        Where the contributions do not simply add up: (allele, allele), in the order of `per_allele` ->
        number.
    same_as
        Allele -> modelled allele that it equals in the model, such as haplotypes that share its variant.
    frequencies
        Biogeographic group -> allele -> frequency, for a gene that CPIC's tables lack; empty: the tables.
    """

    gene: str
    effect: str
    per_allele: Mapping[str, float]
    by_function: Mapping[str, str]
    unit: str
    flag: Flag
    source: str
    pairs: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    same_as: Mapping[str, str] = field(default_factory=dict[str, str])
    frequencies: Mapping[str, Mapping[str, float]] = field(default_factory=dict[str, Mapping[str, float]])


@dataclass(frozen=True, eq=False)
class PopulationModel:
    """A published population model. Frozen; the engine knows nothing about any particular drug.

    Attributes
    ----------
    name
        Identifier, the `model_id` of the reference trajectories.
    title, sources
        Publication.
    time_unit, amount_unit
        Units of time and of prescribed amounts.
    parameters
        Columns of the parameter array `theta` (n, p).
    states
        Names of the state variables.
    initial
        ``initial(theta) -> (n, s)``: states before the first dose.
    routes
        Ways into the body; the first is the usual one.
    outputs
        Observable quantities, in the order of `observe`.
    typical
        ``typical(covariates, effects) -> (n, p)``: parameters of a patient without random effects.
    solver
        How the state moves: `Linear`, `Driven` or `Tailored`.
    observe
        ``observe(t, state, theta, output) -> float``, in Numba's subset.
    covariates
        What `typical` asks for.
    genotype_terms
        Numbers from genotypes that `typical` asks for, by gene.
    baseline
        Parameter that is the individual's response without drug, handed to `typical` as covariate "baseline";
        None where there is none.
    covariances
        (parameter, parameter) -> covariance of their random effects.
    combine
        ``combine(theta) -> theta``: final parameters, where random effects enter in another way than
        `Parameter.effect` has; None where they do not.
    breaks
        Times from the start at which rates change for everybody.
    rhs
        ``rhs(t, state, theta) -> (s,)`` derivative of all states: the definition that a `Tailored`
        solver must reproduce. The other solvers have it.
    """

    name: str
    title: str
    sources: tuple[str, ...]
    time_unit: str
    amount_unit: str
    parameters: tuple[Parameter, ...]
    states: tuple[str, ...]
    initial: Callable[[Floats], Floats]
    routes: tuple[Route, ...]
    outputs: tuple[Output, ...]
    typical: Callable[[Mapping[str, ArrayLike], Mapping[str, ArrayLike]], Floats]
    solver: Solver
    observe: Callable[..., Any]
    covariates: tuple[Covariate, ...] = ()
    genotype_terms: tuple[GenotypeTerm, ...] = ()
    baseline: str | None = None
    covariances: Mapping[tuple[str, str], float] = field(default_factory=dict[tuple[str, str], float])
    combine: Callable[[Floats], Floats] | None = None
    breaks: tuple[float, ...] = ()
    rhs: Callable[..., Any] | None = None

    def column(self, parameter: str) -> int:
        """Return the column of `parameter` in `theta`; an unknown name is an error that lists the known
        ones."""
        return _index([item.name for item in self.parameters], parameter, f"parameter of {self.name}")

    def output(self, name: str) -> int:
        """Return the index of output `name`; an unknown name is an error that lists the known ones."""
        return _index([item.name for item in self.outputs], name, f"output of {self.name}")

    @property
    def rules(self) -> Mapping[str, Floats]:
        """Named accuracy levels of the solver: "exact" and "belief"."""
        return self.solver.rules

    @cached_property
    def random_effects(self) -> tuple[int, ...]:
        """Columns of `theta` that carry a random effect."""
        return tuple(i for i, item in enumerate(self.parameters) if item.variance > 0)

    @cached_property
    def omega(self) -> Floats:
        """Covariance (r, r) of the random effects."""
        names = [self.parameters[i].name for i in self.random_effects]
        omega = np.diag([self.parameters[i].variance for i in self.random_effects])
        for (a, b), covariance in self.covariances.items():
            i, j = _index(names, a, f"random effect of {self.name}"), names.index(b)
            omega[i, j] = omega[j, i] = covariance
        return omega

    def individual(self, typical: Floats, eta: Floats) -> Floats:
        """Apply random effects to the columns of `random_effects`, each as its `Parameter.effect` says.

        Parameters
        ----------
        typical : (n, p)
        eta : (n, r) effects in the order of `random_effects`.

        Returns
        -------
        theta : (n, p)
        """
        effects = [self.parameters[i].effect for i in self.random_effects]
        theta = displaced(typical, self.random_effects, effects, eta)
        return theta if self.combine is None else self.combine(theta)


def displaced(theta: Floats, columns: Sequence[int], effects: Sequence[str], by: Floats) -> Floats:
    """Return parameters (n, p) with some columns moved, each on the scale on which its effects add.

    Parameters
    ----------
    theta : (n, p)
    columns : (d,)
    effects : (d,) "log", "logit" or "linear", as of `Parameter.effect`
    by : (n, d) or (1, d)
    """
    moved = theta.copy()
    log = [k for k, effect in enumerate(effects) if effect == "log"]
    moved[:, [columns[k] for k in log]] *= np.exp(by[:, log])
    for k, (column, effect) in enumerate(zip(columns, effects, strict=True)):
        if effect == "linear":
            moved[:, column] += by[:, k]
        elif effect == "logit":
            odds = moved[:, column] / (1.0 - moved[:, column]) * np.exp(by[:, k])
            moved[:, column] = odds / (1.0 + odds)
    return moved


def columns(source: Mapping[str, ArrayLike], *names: str) -> tuple[Floats, ...]:
    """Return entries of `source` as float arrays (n,), scalars repeated.

    Raises
    ------
    ValueError
        For an entry that is not there.
    """
    for name in names:
        if name not in source:
            raise ValueError(f"covariate or effect {name!r} is missing; given: {', '.join(source) or 'none'}")
    return tuple(
        np.asarray(item)
        for item in np.broadcast_arrays(
            *(np.atleast_1d(np.asarray(source[n], dtype=np.float64)) for n in names)
        )
    )


def stack(*parameters: ArrayLike) -> Floats:
    """Return parameters, scalars or (n,), side by side as (n, p)."""
    arrays = [np.atleast_1d(np.asarray(item, dtype=np.float64)) for item in parameters]
    return np.ascontiguousarray(np.stack(np.broadcast_arrays(*arrays), axis=-1))


def empty(states: int) -> Callable[[Floats], Floats]:
    """Return the `initial` of a model whose states all begin at 0."""
    return lambda theta: np.zeros((len(theta), states))


def _index(names: Sequence[str], name: str, kind: str) -> int:
    if name not in names:
        raise ValueError(f"unknown {kind}: {name!r}; known: {', '.join(names)}")
    return list(names).index(name)
