"""Drift: whether the patients who are treated still are those that the version which doses was made for.

Every result, covariate, override and harm of a site is a *signal*. What is usual of them is learned from
simulated patients of the very version that doses (`Baseline`). `watch` is a pure function of all signals
since the last promotion: neither the order in which they arrive nor a restart changes what it says. Charts:

- **changes**, of standardised innovations. Supposed that what a patient needs changed on a date, a result
  lies off by so many SD as the simulation says: little just after, more later, less once the belief has
  learned. So the results of one patient give a likelihood ratio L for each date; 1 − π + π·L is that of
  somebody out of a population of whom a share π changed, nobody knows who; and the product over patients is
  the site's. Summed over all dates (Shiryaev, Theory Probab Appl 1963;8:22-46; Roberts, Technometrics
  1966;8:411-430) and over who changed (those followed by then, those who come later, or both) it is
  compared with its threshold every week. There is one chart a direction.
- **levels**, Page's CUSUM (Biometrika 1954;41:100-115) of log likelihood ratios: of a shift of the mean for
  innovations, and for covariates at enrolment; of an odds ratio (Steiner, Biostatistics 2000;1:441-452) for
  what happens or not, results inside their predictive interval, overrides, harm and adverse reactions, of all
  patients and by group. For a known shift no rule detects sooner at the same rate of false alarms (Lorden,
  Ann Math Stat 1971;42:1897-1908; Moustakides, Ann Stat 1986;14:1379-1387). The last zero dates the change.

Thresholds are set jointly. Whole patients, whose signals depend on each other, are resampled into runs with
new dates of enrolment. In a run without any change *some* chart says something with probability `Plan.alpha`,
and something that asks for action with half of that. The baseline's own patients are a sample as well, so
thresholds allow for means that are off as far as those of nine of ten samples are (Gandy and Kvaløy, Scand J
Stat 2013;40:647-668): the fewer, the higher the thresholds.
Each site is a run of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import root_scalar
from scipy.special import ndtr, ndtri

from dosewright.envs.pharmacology.compilation import kernel
from dosewright.evaluation.statistics import Interval

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

STEP = 7.0
"""Days between the dates of supposed changes, and between the reviews of their charts."""
FEWEST_PATIENTS = 1000
"""Patients without whom a baseline is not learned: rare runs of 1000 are judged by them."""
_FEWEST_SIGNALS = 50  # of a stream that is charted, in the baseline
_BINS = 8  # of a course, and of the time since a change, with as many signals each
_FEWEST_IN_BIN = 30  # signals below which a mean is that of all courses
_SCHEMA = 1
_TAIL = 0.2  # share of the runs to whose maxima an exponential tail is fitted
_MOST = 0.75  # share of the false alarms that is spent on charts of changes
_SURE = 1.6448536269514722  # standard errors: of ten baselines, the means of nine are nearer to the truth
_POWER = 0.8  # at which rises and falls are to ask for as many patients
_NORMAL = 1.959963984540054


# ------------------------------------------------------------------------------------------------- signals


@dataclass(frozen=True, eq=False)
class Signals:
    """What was seen, n signals in any order.

    Attributes
    ----------
    time : (n,) when, in days on the site's calendar
    course : (n,) days since the patient's enrolment
    patient : (n,) whole number, the same for the same patient of all sites
    site, stream : (n,) number in `sites`, `streams`
    value : (n,) of ``innovation:…`` in SD; of ``covariate:…`` in its unit, once a patient, at enrolment; of
        ``covered:…``, ``override``, ``harm:…`` and ``adverse:…`` 1 where it happened, 0 where it might have
    sites, streams : names

    Raises
    ------
    ValueError
        For arrays of different lengths, values that are not finite, a negative course, or a stream of a kind
        that no chart is for.
    """

    time: Floats
    course: Floats
    patient: Ints
    site: Ints
    stream: Ints
    value: Floats
    sites: tuple[str, ...]
    streams: tuple[str, ...]

    def __post_init__(self) -> None:
        for name in ("time", "course", "value"):
            array = getattr(self, name)
            if not np.isfinite(array).all():
                at = int(np.argmin(np.isfinite(array)))
                raise ValueError(f"signal {at}: {name} {array[at]}; leave out what is missing")
        lengths = {name: len(getattr(self, name)) for name in _COLUMNS}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"signals of different lengths: {lengths}")
        if (self.course < 0).any():
            at = int(np.argmax(self.course < 0))
            raise ValueError(
                f"signal {at}: course {self.course[at]:g} days; nothing is seen before enrolment"
            )
        for name in self.streams:
            _kind(name)

    def __len__(self) -> int:
        return len(self.time)

    @classmethod
    def of(
        cls,
        time: ArrayLike,
        course: ArrayLike,
        patient: ArrayLike,
        site: str | Sequence[str],
        stream: str | Sequence[str],
        value: ArrayLike,
    ) -> Signals:
        """Return signals (n,) with sites and streams by name, each one for all or (n,)."""
        at = np.asarray(time, dtype=np.float64)
        sites, of_site = _coded(site, len(at))
        streams, of_stream = _coded(stream, len(at))
        return cls(
            time=at,
            course=np.asarray(course, dtype=np.float64),
            patient=np.asarray(patient, dtype=np.int64),
            site=of_site,
            stream=of_stream,
            value=np.asarray(value, dtype=np.float64),
            sites=sites,
            streams=streams,
        )

    @classmethod
    def joined(cls, parts: Sequence[Signals]) -> Signals:
        """Return all signals of several tables."""
        sites = tuple(sorted({name for part in parts for name in part.sites}))
        streams = tuple(sorted({name for part in parts for name in part.streams}))
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
        columns["site"] = np.concatenate([_codes(part.sites, sites)[part.site] for part in parts])
        columns["stream"] = np.concatenate([_codes(part.streams, streams)[part.stream] for part in parts])
        return cls(**columns, sites=sites, streams=streams)

    def select(self, which: NDArray[Any]) -> Signals:
        """Return some signals, by number or mask."""
        return replace(self, **{name: getattr(self, name)[which] for name in _COLUMNS})


_COLUMNS = ("time", "course", "patient", "site", "stream", "value")


def _coded(names: str | Sequence[str], n: int) -> tuple[tuple[str, ...], Ints]:
    """Return the different ones of n names, or of one for all, and the number of each."""
    if isinstance(names, str):
        return (names,), np.zeros(n, dtype=np.int64)
    different, number = np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)
    return tuple(different.tolist()), number


def _codes(names: Sequence[str], among: Sequence[str]) -> Ints:
    """Return the places of names among others, -1 for who is not there."""
    place = {name: number for number, name in enumerate(among)}
    return np.array([place.get(name, -1) for name in names], dtype=np.int64)


# ------------------------------------------------------------------------------------ what follows from what


class Stage(StrEnum):
    """What an alarm asks for, in order: notice; doses by Bayesian monitoring; a population refitted to the
    newest patients; the gate for what comes of it."""

    WARN = "warn"
    FALLBACK = "fallback"
    REFINE = "refine"
    GATE = "gate"


@dataclass(frozen=True)
class _Kind:
    """How streams of a kind are charted, and what their alarms ask for.

    Attributes
    ----------
    odds
        Name of a chart -> odds ratio that it is for, of what happens or not; empty for numbers.
    shifted
        Name of a chart -> shift of the mean that it is for, in SD, of numbers.
    bins
        Stretches of the course in which the usual mean and SD may differ.
    asks
        Stages, of an alarm that acts.
    human
        Whether somebody has to look at it.
    """

    odds: Mapping[str, float] = field(default_factory=dict[str, float])
    shifted: Mapping[str, float] = field(default_factory=dict[str, float])
    bins: int = 1
    asks: tuple[Stage, ...] = (Stage.WARN,)
    human: bool = False


# Steiner 2000 charts odds ratios of 2; coverage has many more results a patient
_DOUBLE = {"odds twice as high": 2.0}
_HARM = _Kind(odds=_DOUBLE, asks=(Stage.WARN, Stage.FALLBACK), human=True)
_KINDS = {
    "innovation": _Kind(
        shifted={"mean 0.25 SD lower": -0.25, "mean 0.25 SD higher": 0.25}, bins=_BINS, asks=tuple(Stage)
    ),
    "covered": _Kind(odds={"odds 1.5 times lower": 1 / 1.5}, bins=_BINS, asks=tuple(Stage)),
    "covariate": _Kind(shifted={"mean 0.5 SD lower": -0.5, "mean 0.5 SD higher": 0.5}),
    "override": _Kind(odds=_DOUBLE),
    "harm": _HARM,
    "adverse": _HARM,
}


def _kind(stream: str) -> _Kind:
    """Return how a stream is charted; an unknown kind is an error that lists them."""
    kind = stream.partition(":")[0]
    if kind not in _KINDS:
        raise ValueError(f"stream {stream!r}; expected one of {', '.join(_KINDS)}, and what after a colon")
    return _KINDS[kind]


# ------------------------------------------------------------------------------------------ what is usual


@dataclass(frozen=True)
class Usual:
    """What is usual of a stream.

    Attributes
    ----------
    edges : (b - 1,) days of the course between its b stretches
    mean, sd : (b,) of the values in each; of 0 and 1 the share, and the SD that goes with it
    error : (b,) standard error of each mean, over the patients of the baseline
    """

    edges: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    error: tuple[float, ...]

    def standardised(self, course: Floats, value: Floats) -> Floats:
        """Return values (n,) in SD from the mean."""
        place = np.searchsorted(self.edges, course, side="right")
        return (value - np.array(self.mean)[place]) / np.array(self.sd)[place]

    def chance(self, course: Floats) -> Floats:
        """Return how probable a 1 is (n,)."""
        return np.array(self.mean)[np.searchsorted(self.edges, course, side="right")]

    @classmethod
    def learned(cls, kind: _Kind, course: Floats, patient: Ints, value: Floats) -> Usual:
        """Learn it from signals (n,)."""
        edges = _quantiles(course, kind.bins)
        place = np.searchsorted(edges, course, side="right")
        count = np.bincount(place, minlength=len(edges) + 1)
        mean = np.bincount(place, weights=value, minlength=len(count)) / count
        if kind.odds:
            # what never happened in the simulation may happen: half an event more, on either side
            mean = (mean * count + 0.5) / (count + 1.0)
            sd = np.sqrt(mean * (1.0 - mean))
        else:
            sd = np.sqrt(np.bincount(place, weights=(value - mean[place]) ** 2, minlength=len(count)) / count)
        error = [
            _mean_by_patient(value[here], patient[here]).standard_error
            for here in (place == number for number in range(len(count)))
        ]
        columns = (each.tolist() for each in (edges, mean, sd, np.array(error)))
        return cls(*(tuple(column) for column in columns))

    def missed(self, by: float, share: bool) -> Usual:
        """Return what would have been learned from other patients, whose mean of all results is so many
        standard errors away; of a share of 0 and 1 it stays one."""
        mean = np.array(self.mean)
        moved = mean + by * np.array(self.error) / np.sqrt(len(mean))
        if share:
            moved = np.clip(moved, 0.1 * mean, 1.0 - 0.1 * (1.0 - mean))
        return replace(self, mean=tuple(moved.tolist()))


def _quantiles(value: Floats, bins: int) -> Floats:
    """Return at most bins - 1 edges with about as many values (n,) between them; no bin is empty."""
    edges = np.unique(np.quantile(value, np.arange(1, bins) / bins, method="higher"))
    return edges[edges > value.min()]


@dataclass(frozen=True)
class Template:
    """Where results of a stream lie after a change of the patients' need.

    Attributes
    ----------
    name
        The change, such as ``needs more``.
    course, elapsed : edges of the stretches of the course, and of the time since the change, days
    shift : (c, e) expected standardised innovation
    information
        Squared mean over variance of a patient's log likelihood ratio, of a population of whom `Plan.share`
        changed, at a known date.
    """

    name: str
    course: tuple[float, ...]
    elapsed: tuple[float, ...]
    shift: tuple[tuple[float, ...], ...]
    information: float

    @classmethod
    def learned(cls, name: str, course: Floats, elapsed: Floats, z: Floats) -> Template:
        """Learn the shifts from standardised innovations (n,) of patients of whom all changed."""
        of_course, of_elapsed = _quantiles(course, _BINS), _quantiles(elapsed, _BINS)
        row = np.searchsorted(of_course, course, side="right")
        column = np.searchsorted(of_elapsed, elapsed, side="right")
        shape = (len(of_course) + 1, len(of_elapsed) + 1)
        cell = np.ravel_multi_index((row, column), shape)
        count = np.bincount(cell, minlength=shape[0] * shape[1]).reshape(shape)
        total = np.bincount(cell, weights=z, minlength=shape[0] * shape[1]).reshape(shape)
        everywhere = total.sum(axis=0) / np.maximum(count.sum(axis=0), 1)
        shift = np.where(count >= _FEWEST_IN_BIN, total / np.maximum(count, 1), everywhere)
        rows = tuple(tuple(part) for part in shift.tolist())
        return cls(name, tuple(of_course.tolist()), tuple(of_elapsed.tolist()), rows, 0.0)

    def evidence(self, course: Floats, elapsed: Floats, z: Floats) -> Floats:
        """Return what each result (n,) adds to its patient's log likelihood ratio."""
        row = np.searchsorted(self.course, course, side="right")
        shift = np.array(self.shift)[row, np.searchsorted(self.elapsed, elapsed, side="right")]
        return shift * z - 0.5 * shift**2


@dataclass(frozen=True)
class Plan:
    """What thresholds are set for.

    Attributes
    ----------
    patients
        Of a run.
    span
        Days over which they are enrolled.
    alpha
        Probability that some chart says something in a run without a change; that it asks for action has half
        of it. Set for 0.07 it is at most 0.1 in truth, though 1000 runs know it to 0.009 only: of five
        baselines of 2000 patients for runs of 1000, 0.04 to 0.10 in runs of patients none had seen.
    runs
        Resampled for the calibration.
    share
        Of the patients who change, as the charts of changes suppose.
    """

    patients: int = 1000
    span: float = 200.0
    alpha: float = 0.07
    runs: int = 1000
    share: float = 0.2

    def __post_init__(self) -> None:
        for name, value in (("alpha", self.alpha), ("share", self.share)):
            if not 0 < value < 1:
                raise ValueError(f"plan: {name} = {value}; expected a number between 0 and 1")
        for name, value in (("patients", self.patients), ("span", self.span), ("runs", self.runs)):
            if not value > 0:
                raise ValueError(f"plan: {name} = {value}; expected a number above 0")


@dataclass(frozen=True)
class Baseline:
    """What is usual for a version, and from where on a chart says that it no longer is.

    Attributes
    ----------
    plan
        What the thresholds are for.
    usual
        Stream -> mean and SD.
    templates
        Stream of innovations -> its changes.
    thresholds
        Stream, chart -> level above which it warns, and above which it asks for action.
    """

    plan: Plan
    usual: Mapping[str, Usual]
    templates: Mapping[str, tuple[Template, ...]]
    thresholds: Mapping[tuple[str, str], tuple[float, float]]

    @classmethod
    def learn(
        cls,
        usual: Signals,
        changed: Mapping[str, Signals],
        since: float,
        plan: Plan | None = None,
        seed: int = 0,
    ) -> Baseline:
        """Learn a baseline from simulated patients of the version that is going to dose.

        Parameters
        ----------
        usual
            Of at least `FEWEST_PATIENTS`, in the world that the version was made for, at one site.
        changed
            Name of a change -> the signals of patients of whom all changed on one date: some in the course of
            follow-up, early and late, some before they came.
        since
            That date.
        plan
            What the thresholds are for.
        seed
            Of the resampled runs.

        Raises
        ------
        ValueError
            For too few patients, or a change that hardly anybody was followed after.
        """
        plan = Plan() if plan is None else plan
        pool = Pool.of(usual)
        if len(pool.first) < FEWEST_PATIENTS:
            raise ValueError(
                f"a baseline from {len(pool.first)} patients; simulate at least {FEWEST_PATIENTS}: its "
                "thresholds are passed in rare runs only"
            )
        moments = {
            name: Usual.learned(_kind(name), usual.course[mine], usual.patient[mine], usual.value[mine])
            for number, name in enumerate(usual.streams)
            if (mine := usual.stream == number).sum() >= _FEWEST_SIGNALS and np.ptp(usual.value[mine]) > 0
        }
        templates = {
            name: tuple(_template(usual, signals, name, moments[name], change, since, plan.share)
                        for change, signals in changed.items())
            for name in moments if name.startswith("innovation:")
        }  # fmt: skip
        baseline = cls(plan, moments, templates, {})
        return replace(baseline, thresholds=_calibrated(baseline, pool, np.random.default_rng(seed)))

    def record(self) -> dict[str, Any]:
        """Return it as JSON has it; `parse` reads it."""
        return {
            "schema": _SCHEMA,
            "plan": asdict(self.plan),
            "usual": {name: asdict(each) for name, each in self.usual.items()},
            "templates": {name: [asdict(each) for each in some] for name, some in self.templates.items()},
            "thresholds": [[*chart, *levels] for chart, levels in self.thresholds.items()],
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Baseline:
        """Read what `record` returned.

        Raises
        ------
        ValueError
            For another schema, or what is broken.
        """
        schema = record.get("schema")
        if schema != _SCHEMA:
            raise ValueError(
                f"baseline: schema {schema!r}; expected {_SCHEMA}, learn it anew with this version"
            )
        try:
            baseline = cls(
                Plan(**record["plan"]),
                {name: Usual(**_tuples(each)) for name, each in record["usual"].items()},
                {
                    name: tuple(Template(**_tuples(each)) for each in some)
                    for name, some in record["templates"].items()
                },
                {
                    (stream, chart): (float(warn), float(act))
                    for stream, chart, warn, act in record["thresholds"]
                },
            )
            baseline._check()
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"baseline: broken ({error!r}); learn it anew") from None
        return baseline

    def _check(self) -> None:
        """Refuse numbers that no baseline has."""
        for name, each in self.usual.items():
            _kind(name)
            sizes = {len(each.mean), len(each.sd), len(each.error), len(each.edges) + 1}
            if len(sizes) > 1 or not np.isfinite(each.mean).all() or not (np.array(each.sd) > 0).all():
                raise ValueError(f"usual {name}: {each}")
        for name, some in self.templates.items():
            for each in some:
                shift = np.array(each.shift, dtype=np.float64)
                if (
                    shift.shape != (len(each.course) + 1, len(each.elapsed) + 1)
                    or not np.isfinite(shift).all()
                ):
                    raise ValueError(f"template {name} {each.name}: shifts {shift.shape}")
        missing = set(_charts(self)) ^ set(self.thresholds)
        if missing or not np.isfinite(list(self.thresholds.values())).all():
            raise ValueError(f"thresholds: of {missing or 'not finite'}")


def _tuples(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record with its lists as tuples."""

    def frozen(value: Any) -> Any:
        return tuple(frozen(each) for each in value) if isinstance(value, list) else value

    return {name: frozen(value) for name, value in record.items()}


def _template(
    usual: Signals, changed: Signals, stream: str, moments: Usual, name: str, since: float, share: float
) -> Template:
    """Learn what a change does to a stream, and how much of it one patient tells at a known date."""

    def after(signals: Signals) -> tuple[Ints, Floats, Floats, Floats]:
        code = int(_codes((stream,), signals.streams)[0])
        some = signals.select((signals.stream == code) & (signals.time > since))
        z = moments.standardised(some.course, some.value)
        return some.patient, some.course, np.minimum(some.time - since, some.course), z

    _, *seen = after(changed)
    if len(seen[0]) < _FEWEST_SIGNALS:
        raise ValueError(
            f"change {name!r}: {len(seen[0])} signals {stream} after {since:g}; "
            f"simulate at least {_FEWEST_SIGNALS}"
        )
    template = Template.learned(name, *seen)
    scores: list[Floats] = []
    for patient, *each in (after(usual), after(changed)):
        _, row = np.unique(patient, return_inverse=True)
        ratio = np.bincount(row, weights=template.evidence(*each))
        scores.append(np.log1p(share * np.expm1(ratio)))
    gain = share * (scores[1].mean() - scores[0].mean())
    return replace(template, information=float(gain**2 / scores[0].var()))


# -------------------------------------------------------------------------------------------------- charts


@dataclass(frozen=True, eq=False)
class _Run:
    """Signals of one site in order: time, then patient, then stream; patients by number from 0, streams as
    in `names`."""

    time: Floats
    course: Floats
    patient: Ints
    stream: Ints
    value: Floats
    names: tuple[str, ...]

    @classmethod
    def ordered(cls, signals: Signals) -> _Run:
        """Put the signals of a site in order; what is the same in all that, by value."""
        order = np.lexsort((signals.value, signals.stream, signals.patient, signals.time))
        _, patient = np.unique(signals.patient, return_inverse=True)
        some = signals.select(order)
        return cls(some.time, some.course, patient[order], some.stream, some.value, signals.streams)

    def of(self, name: str) -> tuple[Floats, Floats, Ints, Floats]:
        """Return time, course, patient and value of a stream."""
        mine = np.flatnonzero(self.stream == _codes((name,), self.names)[0])
        return self.time[mine], self.course[mine], self.patient[mine], self.value[mine]


Whom = Literal["followed", "new", "all"]


@dataclass(frozen=True, eq=False)
class _Path:
    """How a chart went.

    Attributes
    ----------
    stream, chart : which one
    time, level : (m,) after each signal, or at each review
    since : (m,) date of the change, if there was one
    whom : (m,) number in `_WHOM` of who changed
    """

    stream: str
    chart: str
    time: Floats
    level: Floats
    since: Floats
    whom: Ints


_WHOM: tuple[Whom, ...] = ("followed", "new", "all")


def _charts(baseline: Baseline) -> Iterator[tuple[str, str]]:
    """Yield stream and name of every chart."""
    for stream in baseline.usual:
        yield from ((stream, template.name) for template in baseline.templates.get(stream, ()))
        yield from ((stream, name) for name in (*_kind(stream).shifted, *_kind(stream).odds))


def _paths(baseline: Baseline, run: _Run, now: float) -> Iterator[_Path]:
    """Yield the paths of all charts of a run, in the order of `_charts`."""
    for stream, usual in baseline.usual.items():
        time, course, patient, value = run.of(stream)
        z = usual.standardised(course, value)
        for template in baseline.templates.get(stream, ()):
            yield _of_change(stream, template, baseline.plan.share, (time, course, patient, z), now)
        for name, size in _kind(stream).shifted.items():
            yield _cusum(stream, name, time, size * z - 0.5 * size**2)
        for name, ratio in _kind(stream).odds.items():
            gain = value * np.log(ratio) - np.log1p(usual.chance(course) * (ratio - 1.0))
            yield _cusum(stream, name, time, gain)


def _cusum(stream: str, chart: str, time: Floats, gain: Floats) -> _Path:
    """Page's CUSUM of log likelihood ratios (n,): how far their sum is above its least value so far."""
    total = np.concatenate([[0.0], np.cumsum(gain)])
    least = np.minimum.accumulate(total)
    zero = np.maximum.accumulate(np.where(total <= least, np.arange(len(total)), 0))[1:]
    since = time[np.maximum(zero - 1, 0)] if len(time) else time
    return _Path(stream, chart, time, (total - least)[1:], since, np.full(len(time), _WHOM.index("all")))


def _of_change(
    stream: str, template: Template, share: float, signals: tuple[Floats, Floats, Ints, Floats], now: float
) -> _Path:
    """The chart of a change, at every whole `STEP` from the first enrolment until `now`."""
    time, course, patient, z = signals
    if not len(time):
        nothing = np.zeros(0)
        return _Path(stream, template.name, nothing, nothing, nothing, np.zeros(0, dtype=np.int64))
    count = int(patient.max()) + 1
    enrolled = np.full(count, np.inf)
    np.minimum.at(enrolled, patient, time - course)
    enrolled = np.where(np.isfinite(enrolled), enrolled, time[0])
    first = int(np.floor(enrolled.min() / STEP))
    reviews = max(int(np.floor(now / STEP)) - first + 1, 0)
    review = np.ceil(time / STEP).astype(np.int64) - first
    row = np.searchsorted(template.course, course, side="right")
    shift, edges = np.array(template.shift), np.array(template.elapsed)
    level, date, whom = _MIXED(
        review, patient, time - first * STEP, course, row, z, shift, edges,
        enrolled - first * STEP, STEP, share, reviews,
    )  # fmt: skip
    dates = np.asarray((first + np.arange(reviews)) * STEP, dtype=np.float64)
    return _Path(stream, template.name, dates, level, (first + date) * STEP, whom)


def _mixed(
    review: Ints,
    patient: Ints,
    time: Floats,
    course: Floats,
    row: Ints,
    z: Floats,
    shift: Floats,
    edges: Floats,
    enrolled: Floats,
    step: float,
    share: float,
    reviews: int,
) -> tuple[Floats, Ints, Ints]:
    """Log of the summed likelihood ratios at each review, the likeliest date, and who changed.

    The dates are 0, step, 2 step, ...; a patient who was enrolled at a date or later has changed from the
    start, whatever the date, so one log likelihood ratio serves for all these. `review` (n,) is the first
    review at which a result is there, `row` (n,) its row of `shift`.
    """
    n = len(enrolled)
    begin = np.floor(enrolled / step).astype(np.int64) + 1  # first date after enrolment
    width = 1
    for j in range(len(review)):
        width = max(width, review[j] - begin[patient[j]])
    own, own_mixed = np.zeros((n, width)), np.zeros((n, width))  # changed in the course, by date
    whole, whole_mixed = np.zeros(n), np.zeros(n)  # changed from the start
    followed, entered = np.zeros(reviews + 1), np.zeros(reviews + 1)
    level = np.zeros(reviews)
    best, whom = np.zeros(reviews, dtype=np.int64), np.zeros(reviews, dtype=np.int64)
    j = 0
    for r in range(reviews):
        while j < len(review) and review[j] <= r:
            i = patient[j]
            off = shift[row[j], np.searchsorted(edges, course[j], side="right")]
            whole[i] += off * z[j] - 0.5 * off * off
            mixed = np.log1p(share * np.expm1(whole[i]))
            entered[begin[i] - 1] += mixed - whole_mixed[i]
            whole_mixed[i] = mixed
            for d in range(begin[i], review[j]):
                off = shift[row[j], np.searchsorted(edges, time[j] - d * step, side="right")]
                k = d - begin[i]
                own[i, k] += off * z[j] - 0.5 * off * off
                mixed = np.log1p(share * np.expm1(own[i, k]))
                followed[d] += mixed - own_mixed[i, k]
                own_mixed[i, k] = mixed
            j += 1
        top, new = -np.inf, entered[r]
        for d in range(r - 1, -1, -1):
            new += entered[d]
            for w, here in enumerate((followed[d], new, followed[d] + new)):
                if here > top:
                    top, best[r], whom[r] = here, d, w
        total, new = 0.0, entered[r]
        for d in range(r - 1, -1, -1):
            new += entered[d]
            total += np.exp(followed[d] - top) + np.exp(new - top) + np.exp(followed[d] + new - top)
        level[r] = np.log(total) + top if r else 0.0
    return level, best, whom


_MIXED = kernel(_mixed, label="charts of changes")


# --------------------------------------------------------------------------------------------- calibration


@dataclass(frozen=True, eq=False)
class Pool:
    """Patients to be resampled whole.

    Attributes
    ----------
    signals
        In the order of patients.
    first, count : (p,) place of each patient's first signal, and number of signals
    """

    signals: Signals
    first: Ints
    count: Ints

    @classmethod
    def of(cls, signals: Signals) -> Pool:
        """Put signals of one site in the order of patients."""
        ordered = signals.select(np.argsort(signals.patient, kind="stable"))
        _, first, count = np.unique(ordered.patient, return_index=True, return_counts=True)
        return cls(ordered, first, count)

    def drawn(self, rows: ArrayLike, enrolled: ArrayLike) -> Signals:
        """Return the signals of patients `rows` (m,), who become m different patients 0, 1, ..., each
        enrolled on the day `enrolled` (m,)."""
        which, begun = np.asarray(rows, dtype=np.int64), np.asarray(enrolled, dtype=np.float64)
        count = self.count[which]
        who = np.repeat(np.arange(len(which)), count)
        place = np.arange(len(who)) - np.repeat(np.cumsum(count) - count, count)
        some = self.signals.select(np.repeat(self.first[which], count) + place)
        return replace(some, time=begun[who] + some.course, patient=who)


def _calibrated(
    baseline: Baseline, pool: Pool, rng: np.random.Generator
) -> dict[tuple[str, str], tuple[float, float]]:
    """Return the thresholds: of each chart so much of the false alarms as `_budget` says, of all together
    what the plan allows."""
    plan, charts = baseline.plan, list(_charts(baseline))
    highest = np.zeros((plan.runs, len(charts)))
    for row in highest:
        drawn = rng.integers(len(pool.first), size=plan.patients)
        run = _Run.ordered(pool.drawn(drawn, rng.uniform(0.0, plan.span, plan.patients)))
        # the baseline's patients are a sample as well: the promise is for means as far off as theirs may be
        usual = {
            name: each.missed(float(rng.choice((-_SURE, _SURE))), bool(_kind(name).odds))
            for name, each in baseline.usual.items()
        }
        paths = _paths(replace(baseline, usual=usual), run, float(run.time[-1]) + STEP)
        row[:] = [path.level.max(initial=0.0) for path in paths]
    budget = _budget(baseline, charts)

    def levels(scale: float) -> Floats:
        return np.array(
            [_passed(column, scale * part) for column, part in zip(highest.T, budget, strict=True)]
        )

    def joint(alpha: float) -> Floats:
        """Bisect for the scale at which the share of runs with an alarm is what it may be."""
        low, high = 0.0, 1.0
        for _ in range(30):
            middle = 0.5 * (low + high)
            often = (highest > levels(middle)).any(axis=1).mean() > alpha
            low, high = (low, middle) if often else (middle, high)
        return levels(max(low, 1e-9))

    warn, act = joint(plan.alpha), joint(plan.alpha / 2)
    return {chart: (float(warn[i]), float(act[i])) for i, chart in enumerate(charts)}


def _passed(highest: Floats, chance: float) -> float:
    """Return the level that a run's highest (r,) passes with some chance.

    Where that is rarer than `_TAIL`, by an exponential tail: so the maxima of CUSUM and Shiryaev-Roberts
    charts are distributed (Siegmund, Sequential Analysis, 1985, ch. 2; Pollak, Ann Stat 1987;15:749-779).
    """
    if chance >= _TAIL:
        return float(np.quantile(highest, 1.0 - min(chance, 1.0)))
    begin = float(np.quantile(highest, 1.0 - _TAIL))
    above = highest[highest > begin] - begin
    excess = float(above.mean()) if len(above) else 0.0
    return begin + excess * float(np.log(_TAIL / chance))


def _budget(baseline: Baseline, charts: Sequence[tuple[str, str]]) -> Floats:
    """Return each chart's part (c,) of the false alarms, with sum 1: most for charts of changes, as much for
    each stream, and among the changes of a stream so that all take as many patients to be found."""
    parts: dict[tuple[str, str], float] = {}
    for stream, some in baseline.templates.items():
        each = _fair(np.array([template.information for template in some]), baseline.plan.alpha)
        for template, part in zip(some, each.tolist(), strict=True):
            parts[stream, template.name] = _MOST * part / len(baseline.templates)
    others = [chart for chart in charts if chart not in parts]
    parts |= dict.fromkeys(others, (1.0 - _MOST) / max(len(others), 1))
    budget = np.array([parts[chart] for chart in charts])
    return budget / budget.sum()


def _fair(information: Floats, alpha: float) -> Floats:
    """Return the parts (c,) of alpha by which tests with such information a patient need as many patients.

    A one-sided test at level a has power b with (z(1 - a) + z(b))² / information patients.
    """

    def levels(log_patients: float) -> Floats:
        drift = np.sqrt(np.exp(log_patients) * np.maximum(information, 1e-12))
        return ndtr(float(ndtri(_POWER)) - drift)

    root = root_scalar(lambda x: float(levels(x).sum()) - min(alpha, 0.5), bracket=(-20.0, 60.0)).root
    return levels(root) / levels(root).sum()


# -------------------------------------------------------------------------------------------- surveillance


@dataclass(frozen=True)
class Alarm:
    """A chart that says that something changed.

    Attributes
    ----------
    site, stream, chart
        Which one.
    time
        When it said so, in days on the site's calendar.
    acts
        When it said so beyond its second threshold; None: it only warns.
    since
        When the change is likely to have been.
    whom
        Who changed: those followed by then, those enrolled since, or all.
    direction
        Whether values are higher or lower than usual.
    size
        Shift of the mean since then, in SD, with the interval of the mean over so many patients; that the
        chart was found to be far out makes it look larger than it is.
    patients, results
        With signals since then, and signals.
    """

    site: str
    stream: str
    chart: str
    time: float
    acts: float | None
    since: float
    whom: Whom
    direction: Literal["higher", "lower"]
    size: Interval
    patients: int
    results: int

    @property
    def words(self) -> str:
        """What it says, in a sentence."""
        who = {"followed": "patients followed by then", "new": "new patients", "all": "all patients"}[
            self.whom
        ]
        size = f"{self.size.mean:+.2f} SD ({self.size.low:+.2f} to {self.size.high:+.2f})"
        site = f"{self.site}: " if self.site else ""
        return (
            f"{site}{self.stream} {self.direction} than usual ({self.chart}) since about day "
            f"{self.since:.0f} in {who}: {size}, {self.results} results of {self.patients} patients; "
            f"{'warning' if self.acts is None else 'alarm'} on day {self.time:.0f}"
        )


@dataclass(frozen=True)
class Level:
    """Where a chart of a site stands now, beside its thresholds."""

    site: str
    stream: str
    chart: str
    value: float
    warn: float
    act: float


@dataclass(frozen=True)
class Watch:
    """What surveillance says.

    Attributes
    ----------
    alarms
        In the order of their times.
    levels
        Of all charts.
    unwatched
        Streams with signals that the baseline does not know: nobody can say what is usual of them.
    """

    alarms: tuple[Alarm, ...]
    levels: tuple[Level, ...]
    unwatched: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """What alarms ask for: stages in order, whether a human has to look, and why."""

    stages: tuple[Stage, ...]
    human: bool
    reasons: tuple[str, ...]


def watch(
    signals: Signals,
    baseline: Baseline,
    now: float | None = None,
    detector: Literal["charts", "adwin"] = "charts",
) -> Watch:
    """Return what all signals since the last promotion say.

    Parameters
    ----------
    signals
        Of all sites, in any order.
    baseline
        Of the version that doses.
    now
        Day of the sites' calendar, by default that of the last signal: changes are reviewed up to it, and
        what comes later is not looked at.
    detector
        ``"adwin"`` watches innovations and coverage by `river.drift.ADWIN` instead (Bifet and Gavaldà, SIAM
        Data Mining 2007:443-448): it needs no thresholds, so that they promise nothing about its alarms.

    Raises
    ------
    ImportError
        For ``"adwin"`` without the extra ``drift``.
    """
    now = float(signals.time.max(initial=0.0)) if now is None else now
    seen = [name for number, name in enumerate(signals.streams) if (signals.stream == number).any()]
    alarms, levels = list[Alarm](), list[Level]()
    for number, site in enumerate(signals.sites):
        here = signals.select((signals.site == number) & (signals.time <= now))
        run = _Run.ordered(here)
        paths = _paths(baseline, run, now) if detector == "charts" else _by_adwin(baseline, run)
        for path in paths:
            warn, act = (
                baseline.thresholds[path.stream, path.chart] if detector == "charts" else _ADWIN_THRESHOLDS
            )
            level = float(path.level[-1]) if len(path.level) else 0.0
            levels.append(Level(site, path.stream, path.chart, level, warn, act))
            if (path.level > warn).any():
                alarms.append(_alarm(site, path, run, baseline.usual[path.stream], warn, act))
    alarms.sort(key=lambda alarm: (alarm.time, alarm.site, alarm.stream, alarm.chart))
    return Watch(tuple(alarms), tuple(levels), tuple(name for name in seen if name not in baseline.usual))


def _alarm(site: str, path: _Path, run: _Run, usual: Usual, warn: float, act: float) -> Alarm:
    """Return the alarm of a path that passed its threshold; dated by the path where it is highest."""
    time, course, patient, value = run.of(path.stream)
    at, acts = int(np.argmax(path.level > warn)), path.level > act
    top = int(np.argmax(path.level))
    since, whom = float(path.since[top]), _WHOM[int(path.whom[top])]
    enrolled = time - course
    affected = {"followed": enrolled < since, "new": enrolled >= since, "all": np.full(len(time), True)}[whom]
    mine = affected & (time >= since)
    z, who = usual.standardised(course[mine], value[mine]), patient[mine]
    size = _mean_by_patient(z, who)
    when = float(path.time[np.argmax(acts)]) if acts.any() else None
    return Alarm(
        site, path.stream, path.chart, float(path.time[at]), when, since, whom,
        "higher" if size.mean > 0 else "lower", size, size.n, len(z),
    )  # fmt: skip


def _mean_by_patient(z: Floats, patient: Ints) -> Interval:
    """Return the mean of values (n,) whose errors go together within patients (Liang and Zeger, Biometrika
    1986;73:13-22)."""
    _, row = np.unique(patient, return_inverse=True)
    count, mean = int(row.max(initial=-1)) + 1, float(z.mean())
    residual = np.bincount(row, weights=z - mean, minlength=count)
    error = float(np.sqrt((residual**2).sum() * count / max(count - 1, 1))) / len(z)
    half = _NORMAL * error
    return Interval(mean, mean - half, mean + half, error, count, 0.95)


_ADWIN_THRESHOLDS = (0.5, 0.5)  # between nothing found, 0, and a change found, 1


def _by_adwin(baseline: Baseline, run: _Run) -> Iterator[_Path]:
    """Yield the paths of river's ADWIN: 1 where it finds a change, which is where it cuts its window."""
    try:
        from river.drift import ADWIN  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise ImportError(
            "detector 'adwin' needs river; install the extra: pip install 'dosewright[drift]'"
        ) from None
    for stream, usual in baseline.usual.items():
        if Stage.REFINE not in _kind(stream).asks:
            continue
        time, course, _, value = run.of(stream)
        found, width, detector = np.zeros(len(time)), np.ones(len(time)), ADWIN()
        for j, z in enumerate(usual.standardised(course, value).tolist()):
            detector.update(z)
            found[j], width[j] = detector.drift_detected, detector.width
        begin = np.arange(len(time)) + 1 - np.maximum(width.astype(np.int64), 1)
        whom = np.full(len(time), _WHOM.index("all"))
        yield _Path(stream, "adwin", time, found, time[begin] if len(time) else time, whom)


def response(alarms: Iterable[Alarm]) -> Response:
    """Return what alarms ask for.

    Every alarm is a warning. Beyond its second threshold one of innovations or coverage, which say that the
    model no longer fits, asks for doses by Bayesian monitoring, a refitted population and the gate; one of
    harm or adverse reactions for monitoring and a human, since nobody knows yet what is wrong; and one of
    covariates or overrides for nothing else.
    """
    stages, human, reasons = set[Stage](), False, list[str]()
    for alarm in alarms:
        kind = _kind(alarm.stream)
        stages |= {Stage.WARN} if alarm.acts is None else set(kind.asks)
        human |= kind.human
        reasons.append(alarm.words)
    return Response(tuple(stage for stage in Stage if stage in stages), human, tuple(reasons))
