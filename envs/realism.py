"""What happens to a patient besides the prescription: missed doses, drift, interacting drugs, lost results,
drop-out.

A patient's whole `Life` is realised when the patient is enrolled, from counter-based noise alone, so no
regimen can change it and every arm of a trial meets the same one. Time is counted in the scenario's
units: days, or cycles, or seconds of an infusion.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.noise import Noise, Stream
from dosewright.envs.pharmacology import Flag, PopulationModel
from dosewright.pharmacogenomics import individual_factor

_DAYS_PER_MONTH = 365.25 / 12
Floats = NDArray[np.float64]
_NO_RATIOS: Mapping[tuple[str, str], Floats] = MappingProxyType({})


@dataclass(frozen=True)
class Drift:
    """A parameter that wanders: log random walk, `log_sd` per square root of `per` units (a week of days by
    default)."""

    parameter: str
    log_sd: float
    per: float = 7.0


@dataclass(frozen=True)
class Occasion:
    """A parameter that differs between occasions: a new log-normal factor of `log_sd` every `units` units."""

    parameter: str
    log_sd: float
    units: int


@dataclass(frozen=True)
class Enzyme:
    """A polymorphic enzyme through which an interacting drug acts.

    Attributes
    ----------
    gene
        Its gene; the model has a term of it, whose first allele, twice, is the reference genotype.
    fm
        Share of the clearance that goes through it in the reference genotype, above 0, at most 1.
    flag, source
        How well `fm` is known.
    """

    gene: str
    fm: float
    flag: Flag
    source: str


@dataclass(frozen=True)
class Interaction:
    """Interacting drugs: `share` of patients meet one, once, starting uniformly over the horizon, for `units`
    units; None: all the time from the start.

    `factors` holds ``(factor on the parameter, share among those who meet one)``; `also` further parameters
    with their one factor. With an `enzyme` the parameter is a clearance, a factor is that of the reference
    genotype, and people with less activity of the enzyme are affected less
    (`dosewright.pharmacogenomics.phenoconversion`); without, everybody is affected alike.

    Raises
    ------
    ValueError
        For an `fm` outside 0 to 1, or too small for a factor.
    """

    parameter: str
    share: float
    factors: tuple[tuple[float, float], ...]
    units: int | None
    also: tuple[tuple[str, float], ...] = ()
    enzyme: Enzyme | None = None

    def __post_init__(self) -> None:
        if self.enzyme is not None:  # refuses here what no patient could meet
            individual_factor([factor for factor, _ in self.factors], self.enzyme.fm, 1.0)


@dataclass(frozen=True)
class Episode:
    """Something that comes and goes, such as an infection: begins on any day with the probability that makes
    `per_month` of it, and multiplies the parameter by `factor` for `units` units."""

    parameter: str
    factor: float
    per_month: float
    units: int


@dataclass(frozen=True)
class Realism:
    """How messy the world is.

    Attributes
    ----------
    name
        "textbook" or "clinic".
    missed_dose
        Probability that an administration is missed, independently.
    drifts, occasions, interactions, episodes
        What changes a patient's parameters over time.
    late, missing
        Probability that a result comes after its visit; that it never comes.
    dropout_per_month
        Probability of leaving within a month, at random.
    start_sd, sample_sd
        SD of the time of an administration and of a sample, in the model's time unit.
    duration_sd
        SD of the duration of an infusion, as a share of it; the amount stays.
    pause
        (share of patients, units): an infusion that stops once, at a random time, for so many units.
    flag, source
        How well the numbers are known.
    """

    name: Literal["textbook", "clinic"]
    missed_dose: float = 0.0
    drifts: tuple[Drift, ...] = ()
    occasions: tuple[Occasion, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    episodes: tuple[Episode, ...] = ()
    late: float = 0.0
    missing: float = 0.0
    dropout_per_month: float = 0.0
    start_sd: float = 0.0
    sample_sd: float = 0.0
    duration_sd: float = 0.0
    pause: tuple[float, int] | None = None
    flag: Flag = "ASSUMPTION"
    source: str = ""

    def log_staying(self, days: ArrayLike) -> Floats:
        """Return the log probability of not dropping out within so many days, at any time of the course."""
        return math.log(1 - self.dropout_per_month) / _DAYS_PER_MONTH * np.asarray(days, dtype=np.float64)


TEXTBOOK = Realism(
    "textbook", source="parameters constant, doses taken, results on time; published residual error only"
)


@dataclass(frozen=True)
class Worlds:
    """How the worlds of n patients differ from the one that a preset describes.

    Attributes
    ----------
    spread : (n,) factor on the patient's random effects
    missed_dose : (n,) probability that an administration is missed
    drift : (n,) factor on the SD of every drift
    hidden : (n,) bool, the genotype is not known
    other : (n,) bool, it is not the preset's world
    """

    spread: Floats
    missed_dose: Floats
    drift: Floats
    hidden: NDArray[np.bool_]
    other: NDArray[np.bool_]


@dataclass(frozen=True)
class Randomisation:
    """Domain randomisation: worlds for training that are not the one a policy will be judged in.

    Attributes
    ----------
    share
        Share of the patients who live in such a world; the others live in that of the realism preset.
    variability, missed_dose, drift
        Ranges, of a factor on the random effects, of the probability that an administration is missed, and
        of a factor on the SD of every drift. Each patient's is uniform in it.
    genotype_unknown
        Share of them whose genotype is not known.

    Raises
    ------
    ValueError
        For a share outside 0 to 1, or a range that is none.
    """

    share: float
    variability: tuple[float, float]
    missed_dose: tuple[float, float]
    drift: tuple[float, float]
    genotype_unknown: float

    def __post_init__(self) -> None:
        for name in ("share", "genotype_unknown"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"randomisation: {name} = {getattr(self, name)}; expected 0 to 1")
        for name, most in (("variability", math.inf), ("missed_dose", 1.0), ("drift", math.inf)):
            low, high = getattr(self, name)
            if not (0 <= low <= high <= most and high < math.inf):
                raise ValueError(
                    f"randomisation: {name} = [{low}, {high}]; expected the smaller number first, both 0 or "
                    "more" + (f" and at most {most:g}" if most < math.inf else " and finite")
                )

    def draw(self, patients: NDArray[np.int64], noise: Noise, realism: Realism) -> Worlds:
        """Return the worlds of patients (n,): a pure function of `patients` and `noise`."""
        u = noise.uniforms(patients, Stream.WORLD, np.arange(3)).reshape(len(patients), 6)
        other = u[:, 0] < self.share
        ranges = (self.variability, self.missed_dose, self.drift)
        as_usual = (1.0, realism.missed_dose, 1.0)
        drawn = [
            np.where(other, low + (high - low) * u[:, 1 + i], usual)
            for i, ((low, high), usual) in enumerate(zip(ranges, as_usual, strict=True))
        ]
        return Worlds(*drawn, hidden=other & (u[:, 4] < self.genotype_unknown), other=other)


@dataclass(frozen=True)
class Span:
    """What a life is counted in.

    Attributes
    ----------
    units, visits
        Units of the horizon; those at whose start samples are drawn, the end of follow-up included.
    days
        Days a unit.
    administrations
        Administrations a unit, at most.
    measurements
        Kinds of measurement.
    checks
        Further samples that a rule may ask for before the next unit.
    readings
        Samples a unit whose time may vary.
    """

    units: int
    visits: tuple[int, ...]
    days: float
    administrations: int
    measurements: int
    checks: int
    readings: int


@dataclass(frozen=True)
class Life:
    """What will happen to n patients over the u units of a horizon, whatever they are prescribed.

    Attributes
    ----------
    theta : (n, u or 1, p)
        Individual parameters in each unit; one column where they are constant.
    taken : (n, u, a) bool
        Whether each administration of a unit is taken.
    residual : (n, u + 1, m, c + 1)
        Standard normal error of each kind of sample drawn at a visit, and of c checks after it; 0 in units
        without.
    late, missing : (n, u + 1, m) bool
        Whether the result of such a sample comes after its visit, or never. Those of unit 0 are always
        in hand.
    leaves : (n,) int
        Unit at whose start the patient is gone; ``u + 1`` for those who stay.
    start, sample, duration : (n, u, a or r) or (n, 1, 1)
        Standard normal deviates of the times of administrations and samples, and of durations; all 0 where
        nothing varies.
    assay : (n, u + 1)
        Factor on every value that is measured at the start of a unit: 1, but where an assay was changed.
    """

    theta: Floats
    taken: NDArray[np.bool_]
    residual: Floats
    late: NDArray[np.bool_]
    missing: NDArray[np.bool_]
    leaves: NDArray[np.int64]
    start: Floats
    sample: Floats
    duration: Floats
    assay: Floats

    @classmethod
    def realise(
        cls,
        realism: Realism,
        model: PopulationModel,
        patients: NDArray[np.int64],
        theta: Floats,
        noise: Noise,
        span: Span,
        trend: Floats | None = None,
        ratios: Mapping[tuple[str, str], Floats] = _NO_RATIOS,
        worlds: Worlds | None = None,
    ) -> Life:
        """Draw the lives of `patients` (n,) with parameters `theta` (n, p).

        Parameters
        ----------
        trend : (n, u, p) factors on the parameters, of covariates that change for everybody, such as the
            weight of a growing child; None where there are none
        ratios : (gene, parameter) -> (n,) typical parameter over that of the gene's reference genotype, for
            every interaction with an enzyme
        worlds : what differs from patient to patient; None: nothing

        Raises
        ------
        ValueError
            If the ratios of an interaction are missing.
        """
        n, u, m = len(patients), span.units, span.measurements
        a, c = span.administrations, span.checks
        visits = np.array(span.visits)
        # the first (u + 1) event numbers are the first kind's samples; only those of visits are drawn
        events = ((u + 1) * np.arange(m * (c + 1))[:, None] + visits).ravel()
        z = noise.normals(patients, Stream.RESIDUAL, events)[..., 0]
        residual = np.zeros((n, u + 1, m, c + 1))
        residual[:, visits] = z.reshape(n, m, c + 1, len(visits)).transpose(0, 3, 1, 2)
        missed = realism.missed_dose if worlds is None else worlds.missed_dose[:, None]
        if np.any(np.greater(missed, 0.0)):
            draws = noise.uniforms(patients, Stream.MISSED_DOSE, np.arange(u * a))[..., 0]
            taken = (draws >= missed).reshape(n, u, a)
        else:
            taken = np.ones((n, u, a), dtype=bool)
        if realism.pause is not None:
            taken &= _running(realism.pause, patients, noise, u)[:, :, None]
        if realism.late + realism.missing > 0:
            events = ((u + 1) * np.arange(m)[:, None] + visits).ravel()
            draws = noise.uniforms(patients, Stream.RESULT, events)[..., 0]
            fate = np.ones((n, u + 1, m))
            fate[:, visits] = draws.reshape(n, m, len(visits)).transpose(0, 2, 1)
            fate[:, 0] = 1.0
        else:
            fate = np.ones((n, u + 1, m))
        missing, late = fate < realism.missing, fate < realism.missing + realism.late
        leaves = np.full(n, u + 1)
        if realism.dropout_per_month > 0:
            waiting = np.log(1 - noise.uniforms(patients, Stream.DROPOUT)[:, 0, 0]) / realism.log_staying(
                span.days
            )
            leaves = np.minimum(np.ceil(np.maximum(waiting, 1e-9)), u + 1).astype(np.int64)
        return cls(
            theta=_parameter_path(
                realism,
                model,
                patients,
                theta,
                noise,
                span,
                trend,
                ratios,
                1.0 if worlds is None else worlds.drift[:, None],
            ),
            taken=taken,
            residual=residual,
            late=late & ~missing,
            missing=missing,
            leaves=leaves,
            start=_deviates(realism.start_sd, patients, noise, Stream.START, u, a),
            sample=_deviates(realism.sample_sd, patients, noise, Stream.SAMPLE, u, span.readings),
            duration=_deviates(realism.duration_sd, patients, noise, Stream.DURATION, u, a),
            assay=np.ones((n, u + 1)),
        )


def _deviates(
    sd: float, patients: NDArray[np.int64], noise: Noise, stream: Stream, units: int, kinds: int
) -> Floats:
    """Return (n, u, k) standard normal deviates; zeros (n, 1, 1) where nothing varies."""
    if sd == 0:
        return np.zeros((len(patients), 1, 1))
    return noise.normals(patients, stream, np.arange(units * kinds))[..., 0].reshape(-1, units, kinds)


def _running(
    pause: tuple[float, int], patients: NDArray[np.int64], noise: Noise, units: int
) -> NDArray[np.bool_]:
    """Return (n, u): whether the pump runs."""
    share, length = pause
    draws = noise.uniforms(patients, Stream.PAUSE)[:, 0]
    begins = np.where(draws[:, 0] < share, np.floor(draws[:, 1] * units), np.inf)[:, None]
    unit = np.arange(units)
    return ~((unit >= begins) & (unit < begins + length))


def _parameter_path(
    realism: Realism,
    model: PopulationModel,
    patients: NDArray[np.int64],
    theta: Floats,
    noise: Noise,
    span: Span,
    trend: Floats | None,
    ratios: Mapping[tuple[str, str], Floats],
    wander: float | Floats,
) -> Floats:
    """Return (n, u or 1, p): parameters unit by unit under everything that changes them; `wander` (n, 1) is a
    factor on the SD of every drift."""
    units = span.units
    if trend is None and not (
        realism.drifts or realism.occasions or realism.interactions or realism.episodes
    ):
        return theta[:, None, :]
    path = np.repeat(theta[:, None, :], units, axis=1)
    if trend is not None:
        path *= trend
    for which, drift in enumerate(realism.drifts):
        # units * which: every drifting parameter has event numbers of its own
        steps = noise.normals(patients, Stream.DRIFT, units * which + np.arange(units))[..., 0]
        path[:, :, model.column(drift.parameter)] *= np.exp(
            drift.log_sd / math.sqrt(drift.per) * wander * np.cumsum(steps, axis=1)
        )
    for which, occasion in enumerate(realism.occasions):
        number = np.arange(units) // occasion.units
        draws = noise.normals(patients, Stream.OCCASION, units * which + np.unique(number))[..., 0]
        path[:, :, model.column(occasion.parameter)] *= np.exp(occasion.log_sd * draws[:, number])
    for which, interaction in enumerate(realism.interactions):
        factor, active = _interaction(interaction, which, patients, noise, units, ratios)
        path[:, :, model.column(interaction.parameter)] *= factor
        for parameter, other in interaction.also:
            path[:, :, model.column(parameter)] *= np.where(active, other, 1.0)
    for which, episode in enumerate(realism.episodes):
        chance = 1 - (1 - episode.per_month) ** (span.days / _DAYS_PER_MONTH)
        begins = noise.uniforms(patients, Stream.EPISODE, units * which + np.arange(units))[..., 0] < chance
        total = np.cumsum(begins, axis=1)
        before = np.pad(total, ((0, 0), (episode.units, 0)))[:, :units]
        path[:, :, model.column(episode.parameter)] *= np.where(total > before, episode.factor, 1.0)
    return path


def _interaction(
    interaction: Interaction,
    which: int,
    patients: NDArray[np.int64],
    noise: Noise,
    units: int,
    ratios: Mapping[tuple[str, str], Floats],
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return (n, u) factors, and whether the interacting drug is there."""
    draws = noise.uniforms(patients, Stream.INTERACTION, 2 * which + np.arange(2))
    meets, chosen, start = draws[:, 0, 0] < interaction.share, draws[:, 0, 1], draws[:, 1, 0] * units
    values, shares = np.array(interaction.factors).T
    factor = values[np.minimum(np.searchsorted(np.cumsum(shares), chosen, side="right"), len(values) - 1)]
    if interaction.enzyme is not None:
        key = interaction.enzyme.gene, interaction.parameter
        if key not in ratios:
            raise ValueError(
                f"an interaction acts on {key[1]} through {key[0]}: give ratios[{key!r}] (n,), the typical "
                f"{key[1]} of each person over that of the reference genotype"
            )
        factor = individual_factor(factor, interaction.enzyme.fm, ratios[key])
    unit, begins = np.arange(units), np.floor(start)[:, None]
    active = np.repeat(meets[:, None], units, axis=1)
    if interaction.units is not None:
        active = active & (unit >= begins) & (unit < begins + interaction.units)
    return np.where(active, factor[:, None], 1.0), active
