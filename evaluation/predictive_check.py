"""Visual predictive check: do data simulated from a model look like the data that were observed?

A fit can go through the middle of the data and still be wrong about people: too little spread, an effect
at the wrong time. The check therefore simulates the *whole study* many times, the same people, doses and
sampling times, with new random effects and new measurement errors, and compares percentiles. In every bin
of time it asks whether the 10th, 50th and 90th percentile that was observed is one that the model
produces: the band of a percentile is the central 95 % of that percentile over the replicates. The middle
one shows the typical course, the outer two the spread between people and of the assay (Holford 2005, PAGE
14 abstract 738; Post et al. 2008, J Pharmacokinet Pharmacodyn 35:185-202).

A band is about one percentile in one bin. A right model leaves it once in twenty, so the verdict allows
one bin in ten; `PredictiveCheck.pass_rate` says how often that verdict is reached by chance, and how
often it would have caught another model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs import Noise, Stream
from dosewright.envs.pharmacology import Dose, PopulationModel, simulate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Floats = NDArray[np.float64]
Indices = NDArray[np.int64]

_OUTER = (5.0, 10.0, 20.0)  # lower percentiles to choose from
ENOUGH = 0.9  # share of bins in which a percentile must be inside its band
_BLUE, _ORANGE, _INK, _GREY, _RED = "#0072B2", "#D55E00", "#1D232B", "#8A8F98", "#CC0000"


@dataclass(frozen=True)
class Design:
    """Who was given what, and when values were measured.

    Attributes
    ----------
    doses
        One schedule a subject, sorted by time.
    covariates
        Name -> (s,) value of each subject, as the model asks for.
    subject : (n,) number of the subject of each value, from 0
    time : (n,) when it was measured, in the model's time unit
    """

    doses: Sequence[Sequence[Dose]]
    covariates: Mapping[str, ArrayLike]
    subject: Indices
    time: Floats

    def __post_init__(self) -> None:
        subjects = len(self.doses)
        if self.subject.shape != self.time.shape or self.time.ndim != 1:
            raise ValueError(
                f"subject has shape {self.subject.shape}, time {self.time.shape}; expected (n,) for both"
            )
        if len(self.subject) and not (self.subject.min() >= 0 and self.subject.max() < subjects):
            raise ValueError(
                f"subjects {self.subject.min()} to {self.subject.max()}, but {subjects} schedules; "
                f"number them from 0 to {subjects - 1}"
            )
        for name, values in self.covariates.items():
            if np.shape(values) != (subjects,):
                raise ValueError(f"covariate {name} has shape {np.shape(values)}; expected ({subjects},)")


def simulate_study(
    model: PopulationModel, design: Design, output: str, replicates: int = 1000, seed: int = 0
) -> Floats:
    """Simulate a study again and again: random effects and residual errors new, everything else as it was.

    Parameters
    ----------
    model, output
        The population model, and which of its outputs was measured.
    replicates
        How often; 1000 make the limits of a 95 % band steady.
    seed
        Of all randomness. Draws belong to a subject and its n-th value, so two variants of one model meet the
        same virtual people with the same errors.

    Returns
    -------
    (replicates, n) values as they would be measured, in the output's unit.
    """
    noise, which = Noise("trial", seed), model.output(output)
    typical, subjects = _typical(model, design), len(design.doses)
    effects, error = len(model.random_effects), model.outputs[which].error
    root = np.linalg.cholesky(model.omega) if effects else np.zeros((0, 0))
    values = np.empty((replicates, len(design.time)))
    for subject, (rows, times) in enumerate(_visits(design)):
        ids = subject + subjects * np.arange(replicates)
        z = noise.normals(ids, Stream.RANDOM_EFFECTS, np.arange((effects + 1) // 2)).reshape(replicates, -1)
        theta = model.individual(np.repeat(typical[[subject]], replicates, axis=0), z[:, :effects] @ root.T)
        # the solver's error at this level is far below that of any assay
        truth = simulate(model, theta, design.doses[subject], times, [output], "belief")[..., 0]
        values[:, rows] = error.apply(
            truth, noise.normals(ids, Stream.RESIDUAL, np.arange(len(rows)))[..., 0]
        )
    return values


def predict_study(model: PopulationModel, design: Design, output: str) -> Floats:
    """Return (n,) what the model predicts for a typical person with each subject's covariates and doses:
    all random effects 0, no residual error (NONMEM's PRED)."""
    theta = model.individual(
        _typical(model, design), np.zeros((len(design.doses), len(model.random_effects)))
    )
    values = np.empty(len(design.time))
    for subject, (rows, times) in enumerate(_visits(design)):
        values[rows] = simulate(model, theta[subject], design.doses[subject], times, [output])[0, :, 0]
    return values


def _typical(model: PopulationModel, design: Design) -> Floats:
    theta = model.typical(design.covariates, {})
    return np.broadcast_to(theta, (len(design.doses), theta.shape[1]))


def _visits(design: Design) -> list[tuple[Indices, Floats]]:
    """Rows of every subject that was measured, in order of time, with their times."""
    found = []
    for subject in range(len(design.doses)):
        rows = np.flatnonzero(design.subject == subject)
        rows = rows[np.argsort(design.time[rows], kind="stable")]
        found.append((rows, design.time[rows]))
    return found


def nominal_edges(time: ArrayLike, nominal: ArrayLike, least: int = 10) -> Floats:
    """Return edges of bins around nominal sampling times, each with enough values.

    Every value belongs to the nominal time nearest to it. Then the nominal time with the fewest values,
    as long as they are fewer than `least`, is joined with that of its two neighbours which is nearer in
    time (the earlier of two as near; the earlier of two as small goes first).

    Parameters
    ----------
    time : (n,) when values were measured
    nominal : (k,) when the protocol asked for them, rising
    least
        Values a bin must hold; see `predictive_check` for how many a percentile needs.

    Returns
    -------
    (bins + 1,) edges: midway between nominal times, the outermost ones open.

    Examples
    --------
    >>> nominal_edges([0.9, 1.0, 1.1, 2.0, 7.9, 8.0], [1, 2, 8], least=2).tolist()
    [-inf, 5.0, inf]
    """
    times, centres = np.sort(np.asarray(time, dtype=np.float64)), np.asarray(nominal, dtype=np.float64)
    if not len(centres) or np.any(np.diff(centres) <= 0):
        raise ValueError(f"nominal times {centres.tolist()}; expected one or more, rising")
    if len(times) < least:
        raise ValueError(f"{len(times)} values, fewer than least = {least}")
    inner = list((centres[1:] + centres[:-1]) / 2)
    first, last = list(centres), list(centres)
    while True:
        counts = np.diff(np.concatenate([[0], np.searchsorted(times, inner), [len(times)]]))
        i = int(np.argmin(counts))
        if counts[i] >= least:
            return np.array([-np.inf, *inner, np.inf])
        before = first[i] - last[i - 1] if i > 0 else np.inf
        after = first[i + 1] - last[i] if i + 1 < len(counts) else np.inf
        left = i - 1 if before <= after else i
        del inner[left], last[left], first[left + 1]


@dataclass(frozen=True)
class _Percentiles:
    """How values of the whole study become percentiles in bins, for observed and simulated values alike."""

    percentiles: tuple[float, ...]
    bin: Indices
    factor: Floats
    limit: float

    def corrected(self, values: Floats) -> Floats:
        return np.maximum(values * self.factor, self.limit)

    def __call__(self, values: Floats) -> Floats:
        """Return percentiles (..., q, b) of values (..., n)."""
        ready, share = self.corrected(values), np.array(self.percentiles) / 100
        each = [
            np.moveaxis(np.quantile(ready[..., self.bin == b], share, axis=-1), 0, -1)
            for b in range(self.bin.max() + 1)
        ]
        return np.stack(each, axis=-1)


@dataclass(frozen=True)
class PredictiveCheck:
    """A visual predictive check, for q percentiles in b bins.

    Attributes
    ----------
    percentiles : (q,) in per cent
    time : (b,) median time of the values in each bin
    count : (b,) number of values in each bin
    observed : (q, b) observed percentiles, unit of the data
    low, median, high : (q, b) limits and middle of the band of each percentile over the replicates
    level
        Share of the replicates that a band holds.
    replicates
        How often the study was simulated.
    corrected
        Whether values are prediction-corrected.
    limit
        Limit of quantification, minus infinity for none: a percentile or limit of this value is "not
        above it".
    point_time, point : (n,) the observed values, corrected where `corrected` says so, as the plot shows them
    """

    percentiles: tuple[float, ...]
    time: Floats
    count: Indices
    observed: Floats
    low: Floats
    median: Floats
    high: Floats
    level: float
    replicates: int
    corrected: bool
    limit: float
    point_time: Floats
    point: Floats
    summary: _Percentiles

    @cached_property
    def within(self) -> NDArray[np.bool_]:
        """(q, b) whether the observed percentile is in its band; on a limit is in."""
        return (self.low <= self.observed) & (self.observed <= self.high)

    @property
    def inside(self) -> Floats:
        """(q,) share of bins in which each percentile is in its band."""
        return self.within.mean(axis=1)

    @property
    def passes(self) -> bool:
        """Whether every percentile is in its band in at least nine bins of ten."""
        return bool(np.all(self.inside >= ENOUGH - 1e-12))

    def pass_rate(self, studies: ArrayLike) -> float:
        """Return the share of simulated studies (r, n), same design, that would pass this check.

        With the model's own replicates it is the chance that a right model passes: below 95 %, for three
        percentiles are three chances to fail, and a subject who is unusual in one bin is so in the next. With
        the replicates of another model it is the chance that this check would not notice the difference.
        """
        values = np.asarray(studies, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != len(self.point):
            raise ValueError(f"studies have shape {values.shape}; expected (r, {len(self.point)})")
        got = self.summary(values)
        inside = ((self.low <= got) & (got <= self.high)).mean(axis=-1)
        return float(np.all(inside >= ENOUGH - 1e-12, axis=-1).mean())

    def __str__(self) -> str:
        shares = ", ".join(
            f"{'median' if p == 50 else f'{p:g}th percentile'} {int(w.sum())} of {len(w)}"
            for p, w in zip(self.percentiles, self.within, strict=True)
        )
        return (
            f"{'passes' if self.passes else 'fails'}; bins inside the {100 * self.level:g} % band: {shares}"
        )


def predictive_check(
    observed: ArrayLike,
    simulated: ArrayLike,
    time: ArrayLike,
    bins: int | ArrayLike = 10,
    percentiles: Sequence[float] | None = None,
    *,
    predicted: ArrayLike | None = None,
    limit: float | None = None,
    level: float = 0.95,
) -> PredictiveCheck:
    """Compare observed percentiles with the band of the same percentiles over simulated studies.

    Parameters
    ----------
    observed : (n,) measured values of all subjects together
    simulated : (r, n) the same values in r simulated studies, as from `simulate_study`
    time : (n,) when they were measured
    bins
        A number: that many bins with equally many values, for times that differ from person to person; values
        of one time stay together, so there may be fewer. Or rising edges, the last one included: for nominal
        times, see `nominal_edges`. Decide before looking: bins that are too wide hide a misfit in time, too
        narrow ones leave percentiles of a handful of values.
    percentiles
        In per cent; by default as far out as the smallest bin allows, with two values expected beyond each:
        5, 50, 95 from 40 values a bin, 10, 50, 90 from 20, 20, 50, 80 from 10. Further out a percentile
        is the extreme value or the next to it: one odd sample decides, and no residual error is normal
        that far out. Percentiles that are given need one value expected beyond each.
    predicted : (n,)
        Typical predictions, as from `predict_study`: makes it a *prediction-corrected* check. Where doses,
        covariates or times differ within a bin, most of its spread is that of the design, and hides both
        misfit and spread between people. Every value, observed or simulated, is multiplied by the bin's
        median prediction over its own: ``y · PRED_bin / PRED`` (Bergstrand et al. 2011, AAPS J
        13:143-151). It also keeps the check fair where doses were adapted to what was measured.
    limit
        Limit of quantification. Values below it, observed or simulated, count as "not above the limit": they
        keep their rank and get no invented value (Bergstrand & Karlsson 2009, AAPS J 11:371-380). Not
        together with `predicted`, since corrected values have no common limit.
    level
        Share of replicates in a band.

    Raises
    ------
    ValueError
        For shapes that do not fit, values that are not finite, too few replicates for the level, edges
        that do not rise or leave out a value, a bin with too few values, percentiles out of order, or a
        prediction that is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> hours = np.repeat([1.0, 4.0, 12.0], 30)
    >>> course = 8 * np.exp(-hours / 6)
    >>> print(predictive_check(course * np.exp(0.2 * rng.standard_normal(90)),
    ...     course * np.exp(0.2 * rng.standard_normal((400, 90))), hours, bins=3))
    passes; bins inside the 95 % band: 10th percentile 3 of 3, median 3 of 3, 90th percentile 3 of 3
    """
    got, when = _row("observed", observed), _row("time", time)
    studies = np.asarray(simulated, dtype=np.float64)
    if len(when) != len(got) or studies.ndim != 2 or studies.shape[1] != len(got):
        raise ValueError(
            f"observed has {len(got)} values, time {len(when)}, simulated shape {studies.shape}; "
            f"expected ({len(got)},) and (replicates, {len(got)})"
        )
    if not np.all(np.isfinite(studies)):
        raise ValueError(f"simulated study {np.argwhere(~np.isfinite(studies))[0][0]} has a value not finite")
    if not 0 < level < 1 or len(studies) * (1 - level) < 2 - 1e-9:
        raise ValueError(
            f"{len(studies)} replicates for a {100 * level:g} % band; expected a level between 0 and 1 and "
            "at least 2/(1 − level) replicates, better 1000"
        )
    bin_of, number = _bins(when, bins)
    count = np.bincount(bin_of, minlength=number)
    chosen = _percentiles(percentiles, count, when, bin_of)
    factor = np.ones(len(got)) if predicted is None else _correction(predicted, bin_of, limit)
    summary = _Percentiles(chosen, bin_of, factor, -np.inf if limit is None else float(limit))
    tail = (1 - level) / 2
    low, median, high = np.quantile(summary(studies), [tail, 0.5, 1 - tail], axis=0)
    return PredictiveCheck(
        percentiles=chosen,
        time=np.array([np.median(when[bin_of == b]) for b in range(len(count))]),
        count=count,
        observed=summary(got),
        low=low,
        median=median,
        high=high,
        level=level,
        replicates=len(studies),
        corrected=predicted is not None,
        limit=summary.limit,
        point_time=when,
        point=summary.corrected(got),
        summary=summary,
    )


def draw_check(axes: Axes, check: PredictiveCheck, *, x: str, y: str) -> None:
    """Draw a check: points and dark lines are observed, bands are simulated, what leaves its band is ringed.

    Parameters
    ----------
    axes
        Matplotlib axes to draw on; what is drawn is labelled for its legend.
    x, y
        Names of the axes with units, "time after dose, h"; "prediction-corrected" is put before `y` where it
        is.
    """
    outer = " and ".join(f"{p:g}th" for p in check.percentiles if p != 50)
    axes.plot(check.point_time, check.point, "o", color=_GREY, ms=2.8, mew=0, alpha=0.6, label="measured")
    rows = zip(
        check.percentiles, check.observed, check.low, check.median, check.high, check.within, strict=True
    )
    # the median last, so that its band lies on top
    for p, observed, low, middle, high, within in sorted(rows, key=lambda row: row[0] == 50):
        colour, dash = (_ORANGE, "-") if p == 50 else (_BLUE, (0, (4, 2)))
        words = "median" if p == 50 else f"{outer} percentile"
        band = f"simulated {words}, {100 * check.level:g} % band"
        axes.fill_between(check.time, low, high, color=colour, alpha=0.2, lw=0, label=band)
        axes.plot(check.time, np.stack([low, high], axis=1), color=colour, lw=0.6, ls=":", alpha=0.9)
        axes.plot(check.time, middle, color=colour, lw=0.8, alpha=0.7)
        axes.plot(check.time, observed, color=_INK, lw=1.4, ls=dash, zorder=3, label=f"observed {words}")
        axes.plot(
            check.time[~within], observed[~within], "o", color=_RED, ms=8, mfc="none", mew=1.6, zorder=4,
            label="outside its band",
        )  # fmt: skip
    if np.isfinite(check.limit):
        axes.axhline(check.limit, color=_GREY, lw=0.8, ls=":")
    axes.set(xlabel=x, ylabel=f"prediction-corrected {y}" if check.corrected else y)
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    # one entry a label: the outer percentiles share theirs
    for label in {line.get_label() for line in axes.get_children()}:
        for repeated in [item for item in axes.get_children() if item.get_label() == label][1:]:
            repeated.set_label("")


def _row(name: str, values: ArrayLike) -> Floats:
    row = np.asarray(values, dtype=np.float64)
    if row.ndim != 1 or not len(row):
        raise ValueError(f"{name} has shape {row.shape}; expected (n,) with n >= 1")
    bad = ~np.isfinite(row)
    if bad.any():
        raise ValueError(
            f"{name}[{np.argmax(bad)}] = {row[bad][0]}; expected a finite number, or leave it out"
        )
    return row


def _bins(time: Floats, bins: int | ArrayLike) -> tuple[Indices, int]:
    """Return the bin (n,) of each value, numbered from 0, and the number of bins."""
    if np.ndim(bins) == 0:
        number = int(np.asarray(bins))
        if number < 1 or number != bins:
            raise ValueError(f"bins = {bins}; expected a whole number from 1, or edges")
        return _equal_counts(time, number)
    edges = np.asarray(bins, dtype=np.float64)
    if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise ValueError(f"edges {edges.tolist()}; expected two or more, rising")
    if time.min() < edges[0] or time.max() > edges[-1]:
        raise ValueError(
            f"edges {edges[0]:g} to {edges[-1]:g} leave out times from {time.min():g} to {time.max():g}; "
            "widen them, or leave the values out and say so"
        )
    return np.searchsorted(edges[1:-1], time, side="right"), len(edges) - 1


def _equal_counts(time: Floats, number: int) -> tuple[Indices, int]:
    """Cut where the time changes, bin after bin, each time nearest to an equal share of the values left."""
    distinct, many = np.unique(time, return_counts=True)
    after, cuts, done = np.cumsum(many)[:-1], list[int](), 0
    for left in range(number, 1, -1):
        ahead = after[after > done]
        if len(ahead):
            done = int(ahead[np.abs(ahead - done - (len(time) - done) / left).argmin()])
            cuts.append(int(np.searchsorted(after, done)))
    return np.searchsorted(distinct[cuts], time, side="left"), len(cuts) + 1


def _percentiles(
    given: Sequence[float] | None, count: Indices, time: Floats, bin_of: Indices
) -> tuple[float, ...]:
    """Return the percentiles that were given, or those the smallest bin allows."""
    smallest = int(count.min())
    if given is None:
        outer = next((p for p in _OUTER if smallest * p >= 200), None)
        chosen = () if outer is None else (outer, 50.0, 100.0 - outer)
        needed = int(200 / _OUTER[-1])
    else:
        chosen = tuple(float(p) for p in given)
        if not chosen or not all(0 < p < 100 for p in chosen) or list(chosen) != sorted(set(chosen)):
            raise ValueError(
                f"percentiles {chosen}; expected per cents between 0 and 100, rising, as (10, 50, 90)"
            )
        needed = int(np.ceil(100 / min(min(p, 100 - p) for p in chosen) - 1e-9))
    if smallest < needed:
        b = int(np.argmin(count))
        where = f"{time[bin_of == b].min():g} to {time[bin_of == b].max():g}" if smallest else "empty"
        raise ValueError(
            f"bin {b} ({where}) holds {smallest} values; {chosen or 'any'} percentiles need {needed}: "
            "join bins, or take percentiles nearer to the median"
        )
    return chosen


def _correction(predicted: ArrayLike, bin_of: Indices, limit: float | None) -> Floats:
    """Median prediction of the bin over each value's own."""
    if limit is not None:
        raise ValueError(
            f"limit = {limit:g} with prediction correction: corrected values have no common limit; give one"
        )
    typical = _row("predicted", predicted)
    if len(typical) != len(bin_of):
        raise ValueError(f"predicted has {len(typical)} values; expected {len(bin_of)}")
    if typical.min() <= 0:
        raise ValueError(
            f"predicted[{np.argmin(typical)}] = {typical.min():g}; prediction correction divides by it: "
            "leave out values before the first dose, or do without correction"
        )
    medians = np.array([np.median(typical[bin_of == b]) for b in range(bin_of.max() + 1)])
    return medians[bin_of] / typical
