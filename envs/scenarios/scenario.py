"""What a scenario is: everything about one drug's decision problem, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dosewright.envs.cohort_table import CohortTable
from dosewright.envs.genotypes import PHENOTYPE_CODES, phenotype_entry, phenotyped
from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry, ObservationSpec
from dosewright.envs.patients import VirtualPopulation
from dosewright.envs.pharmacology import Flag, PopulationModel
from dosewright.envs.realism import Realism, Span
from dosewright.envs.scenarios.dosing import Administration, Delay, DoseGrid, People, Reading
from dosewright.envs.scenarios.scoring import Band, Event, Score

GenotypeMode = Literal["diplotype", "phenotype", "posterior", "unknown"]
GENOTYPE_MODES: tuple[GenotypeMode, ...] = ("diplotype", "phenotype", "posterior", "unknown")
Floats = NDArray[np.float64]
Seen = Mapping[str, Floats]  # decoded observation entry -> (n,), NaN where not known


@dataclass(frozen=True)
class Clock:
    """The unit in which a course is scored and decided.

    Attributes
    ----------
    unit, units
        Its name, singular and plural: "day", "days".
    length
        In the model's time unit.
    entry, symbol
        Name and unit of the time that an observation shows: "day", "d".
    shown
        Shown time a unit.
    days
        Days a unit, for what is stated by the month.
    """

    unit: str = "day"
    units: str = "days"
    length: float = 24.0
    entry: str = "day"
    symbol: str = "d"
    shown: float = 1.0
    days: float = 1.0


class _Asked(dict[tuple[str, str], Floats]):
    """Readings that remember which of them were asked for."""

    def __missing__(self, key: tuple[str, str]) -> Floats:
        self[key] = np.zeros((1, 1))
        return self[key]


@dataclass(frozen=True)
class Response:
    """A latent quantity of every unit, made from what was read in it.

    Attributes
    ----------
    name, unit
        Name and unit.
    of
        ``of(reads) -> (n, u)``, with ``reads[reading, output]`` (n, u).
    before
        Output whose value before treatment stands as that of unit 0; None: missing.
    """

    name: str
    unit: str
    of: Callable[[Mapping[tuple[str, str], Floats]], Floats]
    before: str | None = None

    @property
    def reads(self) -> frozenset[tuple[str, str]]:
        """What it is made of: (reading, output)."""
        asked = _Asked()
        self.of(asked)
        return frozenset(asked)


@dataclass(frozen=True)
class Hazard:
    """Rate of a clinical event as a function of the response.

    The daily hazard is ``base / 36500`` events times ``exp(slope · distance)``, where the distance is how far
    the response lies beyond `threshold` (below it for a negative slope), and the response counts as `cap`
    where it is higher.

    Attributes
    ----------
    label
        The event.
    base
        Events per 100 patient-years while the response is on the safe side of `threshold`.
    threshold, slope
        Response at which the rate starts to rise, and its rise on the log scale per unit (negative: rises
        downwards).
    cap
        Largest response at which the hazard is extrapolated.
    flag, source
        How well it is known.
    """

    label: str
    base: float
    threshold: float
    slope: float
    cap: float
    flag: Flag
    source: str

    def daily(self, response: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the expected events a day at each value of the response."""
        beyond = (np.minimum(response, self.cap) - self.threshold) * np.sign(self.slope)
        return self.base / 36_500 * np.exp(abs(self.slope) * np.maximum(beyond, 0.0))


@dataclass(frozen=True)
class Outcome:
    """One figure of a trial report, a number for each patient.

    Attributes
    ----------
    name, label, unit
        Key in ``result.json``, words for a reader, and unit ("share": shown as per cent).
    kind
        "daily": share of units (days, cycles, …) of the latent response in `band`; "rosendaal": share of "
        "time of
        the linearly interpolated measured response in `band` from `from_day`; "ever": whether the latent
        response ever enters `band`; "hazard": expected events per 100 patient-years.
    better
        Whether higher or lower is better for the patient.
    flag
        ASSUMPTION marks what is no published measure.
    response
        Latent response it is made of; empty: the one that is dosed to.
    score
        For "daily", in place of `band`, what a band cannot say: a target that changes, several responses.
    """

    name: str
    label: str
    unit: Literal["share", "per 100 patient-years"]
    kind: Literal["daily", "rosendaal", "ever", "hazard"]
    better: Literal["higher", "lower"]
    band: Band | None = None
    hazard: Hazard | None = None
    from_day: int = 0
    flag: Flag = "VERIFIED"
    response: str = ""
    score: Score | None = None


@dataclass(frozen=True)
class AdjustmentRow:
    """One line of an adjustment table: while the response is in `band`, the dose is multiplied by
    `factor`, and `add` is added.

    `hold`: "no": change at once; "skip": skip doses first; "stop": stop until the response is back at
    `resume_below` (or, where low values are the harm, at or above `resume_above`).
    """

    band: Band
    factor: float = 1.0
    hold: Literal["no", "skip", "stop"] = "no"
    add: float = 0.0


@dataclass(frozen=True)
class AdjustmentTable:
    """A clinic's rule from a measured response to a change of dose.

    Attributes
    ----------
    rows
        Bands that cover every response once.
    wait_days
        Days after a change before the dose is raised or lowered again (a skip or stop never waits).
    resume_below
        Response at or below which a stopped drug is resumed.
    hold_days
        Longest gap to the next visit for which doses are skipped; beyond it the reduced dose is given at
        once.
    early : (day, threshold, ceiling)
        First check, on that day: at or above `threshold` the dose becomes at most `ceiling` and is checked
        again at the next visit; None where the rule has no such check.
    flag, source
        Where it is published.
    resume_above
        Response at or above which a stopped drug is resumed, where the harm is a low value.
    value
        ``value(seen) -> (n,)``: what the table is read at, NaN where there is nothing new; None: the newest
        result of the scenario's first measurement.
    levels
        Doses of the rule, descending: a factor below 1 means the next lower one. Empty: doses are multiplied.
    most
        Largest dose as a multiple of the first one; None where there is none.
    """

    name: str
    rows: tuple[AdjustmentRow, ...]
    wait_days: float
    resume_below: float
    hold_days: float
    early: tuple[int, float, float] | None
    flag: Flag
    source: str
    resume_above: float = -np.inf
    value: Callable[[Seen], Floats] | None = None
    levels: tuple[float, ...] = ()
    most: float | None = None


@dataclass(frozen=True)
class ProportionalRule:
    """A clinic's rule for a response that is proportional to the dose: new dose = dose × target / response.

    Attributes
    ----------
    value
        ``value(seen) -> (n,)``: the response under the dose in force, NaN where there is nothing new.
    target
        ``target(seen) -> (n,)``.
    within
        Smallest and largest factor of one change.
    dead_band
        No change while the response is within this share of the target (0: always changed).
    omit_above
        Response above which nothing is given until the next visit, if that is at most `hold_days` away.
    flag, source
        Where it is published.
    """

    name: str
    value: Callable[[Seen], Floats]
    target: Callable[[Seen], Floats]
    within: tuple[float, float]
    flag: Flag
    source: str
    dead_band: float = 0.0
    omit_above: float = np.inf
    hold_days: float = 0.0


Adjustment = AdjustmentTable | ProportionalRule


@dataclass(frozen=True)
class DoseEquation:
    """A published dosing equation: a transformed linear predictor over observation entries.

    Attributes
    ----------
    intercept, terms
        Coefficients; a term's name is looked up in `inputs`.
    inputs
        ``inputs(decoded) -> name -> (n,)``: the equation's variables from decoded observation entries.
    transform
        From the linear predictor to the dose in the scenario's unit.
    needs
        Observation entries that must be known.
    """

    name: str
    intercept: float
    terms: Mapping[str, float]
    inputs: Callable[[Mapping[str, NDArray[np.float64]]], Mapping[str, NDArray[np.float64]]]
    transform: Callable[[NDArray[np.float64]], NDArray[np.float64]]
    needs: frozenset[str]
    flag: Flag
    source: str

    def dose(self, decoded: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        """Return the dose (n,) for decoded observation entries; NaN where an input is missing."""
        inputs = self.inputs(decoded)
        predictor = self.intercept + sum(weight * inputs[name] for name, weight in self.terms.items())
        return self.transform(np.asarray(predictor))


@dataclass(frozen=True)
class DoseRule:
    """A first dose from what is known: a fixed dose, one by weight, a table by genotype.

    Attributes
    ----------
    of
        ``of(seen) -> (n,)``: dose in the scenario's unit; NaN where an input is missing.
    needs
        Observation entries that must be known.
    """

    name: str
    of: Callable[[Seen], Floats]
    needs: frozenset[str]
    flag: Flag
    source: str

    def dose(self, decoded: Seen) -> Floats:
        """Return the dose (n,) for decoded observation entries."""
        return self.of(decoded)


StartRule = DoseEquation | DoseRule


def fixed_start(dose: float, name: str, flag: Flag, source: str) -> DoseRule:
    """Return the rule of one dose for everybody."""
    return DoseRule(
        name, lambda seen: np.full(len(next(iter(seen.values()))), dose), frozenset(), flag, source
    )


@dataclass(frozen=True)
class PIDRule:
    """A closed loop: an induction of fixed length, then a controller that holds the response at a target.

    rate = bias + gain · (e + (1/Ti) ∫ e dt + Td de/dt), with e the filtered response minus the target. All
    times are in the unit that an observation shows.

    Attributes
    ----------
    induction, ends
        Dose of the induction, and the time at which it is over and the controller takes over.
    value
        ``value(seen) -> (n,)``: the response, NaN where there is nothing new.
    target
        Response to hold.
    bias
        Dose while nothing is known of the response.
    gain
        Dose for one unit of response above the target; negative where the response rises with the dose.
    integral_time, derivative_time, filter_time
        Ti, Td, and the time constant of the first-order filter through which the response is seen.
    least, most
        Limits of the dose after the induction.
    flag, source
        Where it is published.

    Raises
    ------
    ValueError
        For times or limits that make no controller.
    """

    name: str
    induction: StartRule
    ends: float
    value: Callable[[Seen], Floats]
    target: float
    bias: float
    gain: float
    integral_time: float
    derivative_time: float
    filter_time: float
    least: float
    most: float
    flag: Flag
    source: str

    def __post_init__(self) -> None:
        if not (self.integral_time > 0 and self.filter_time > 0 and self.derivative_time >= 0):
            raise ValueError(
                f"{self.name}: integral, filter and derivative time {self.integral_time:g}, "
                f"{self.filter_time:g}, {self.derivative_time:g}; expected the first two above 0, the third "
                "at least 0"
            )
        if not self.least <= self.bias <= self.most:
            raise ValueError(
                f"{self.name}: bias {self.bias:g}; expected one from {self.least:g} to {self.most:g}, the "
                "limits of the dose"
            )


@dataclass(frozen=True)
class Monitoring:
    """How Bayesian monitoring doses a drug: set once, on patients of the `select` namespace.

    Attributes
    ----------
    after
        Units ahead, at least, at whose end a constant dose should have brought the response to the target;
        never before the next visit, never beyond follow-up. Also how far the planner looks, at least.
    target
        ``target(unit) -> target`` of a response in each unit; None: the scenario's `target` throughout.
    fade
        Adaptive monitoring: factor on all earlier log likelihoods at every visit with a result.
    """

    after: int = 0
    target: Callable[[Floats], Floats] | None = None
    fade: float = 0.9


@dataclass(frozen=True, eq=False)
class Scenario:
    """One drug's decision problem. Frozen; a change of any number that scores a regimen is a new `version`.

    Attributes
    ----------
    name, title, version
        Key of the command line, words, version (the ``-v0`` of the environment).
    description
        What happens, in a few sentences, for the environment's page.
    model, alternative
        Population model, and another one of the same response for a robustness check; None with the reason in
        `no_alternative`.
    clock, calendar, horizon
        The unit of everything below; numbers of the units at whose start a dose is decided; the unit at whose
        start follow-up ends.
    population, base
        The default virtual population; (mean, SD) of the individual baseline, None where the model has none.
    cohort
        How a table of real people is read; None where there is none.
    doses, administrations
        What can be decided, and how it is given.
    readings, responses, measurements
        When the outputs are read; the latent quantities made of them, the one that is dosed to first; what a
        laboratory measures of them, what is dosed by first.
    benefit, harm, weight, scored
        Return = sum over units of `benefit` − `weight` × `harm`, over `scored` units.
    event, margin
        What a trial counts; the largest rise of the share of patients it happens to that counts as
        non-inferior.
    target
        Value of the first response that monitoring aims at.
    realism
        Presets by name.
    label, label_adjustment
        The label's first dose and its rule, without genotype.
    guideline, clinical_start, adjustment
        First dose by genotype (None where neither CPIC nor the label has one) and without; the clinic's rule.
    no_guideline
        Why there is no first dose by genotype; empty where there is one.
    controller
        The closed loop that is the practice for this drug; None where there is none.
    outcomes
        What a trial reports.
    covariates
        Observation entries of what is known about the person before the first dose, and the genotype.
    discriminates
        Whether the target tells regimens apart, for the environment's page.
    assumptions
        Sentences that must stand wherever results are shown.
    sources
        Publications.
    maintenance_dose
        ``maintenance_dose(theta, target) -> dose``: constant dose that holds the response at `target`;
        None where Bayesian monitoring has no such formula.
    no_alternative
        Why there is no alternative model.
    misspecified
        (parameter, factor): how patients differ from the model, besides differing more among each other,
        where robustness is asked for and there is no alternative model. Assumptions.
    monitoring
        How far ahead Bayesian monitoring and the planner look.
    constants
        Covariates that are the same for everybody and that an observation does not show, the alternative
        model's included; those that nobody has (``population.absent``) are known besides.
    delay
        A rule that puts treatment off; None where there is none.
    trend
        ``trend(people, units) -> (u, covariates)``: covariates (n,) in each of u units, for people who
        change; None where they do not.
    need
        Parameter of the model to which the dose that people need is proportional, or nearly so.
    """

    name: str
    title: str
    version: int
    description: str
    model: PopulationModel
    alternative: PopulationModel | None
    clock: Clock
    calendar: tuple[int, ...]
    horizon: int
    population: VirtualPopulation
    base: tuple[float, float] | None
    cohort: CohortTable | None
    doses: DoseGrid
    administrations: tuple[Administration, ...]
    readings: tuple[Reading, ...]
    responses: tuple[Response, ...]
    measurements: tuple[Measurement, ...]
    benefit: Score
    harm: Score
    weight: float
    scored: int
    event: Event
    margin: float
    target: float
    realism: Mapping[str, Realism]
    label: StartRule
    label_adjustment: Adjustment | None
    guideline: StartRule | None
    clinical_start: StartRule
    adjustment: Adjustment
    outcomes: tuple[Outcome, ...]
    covariates: tuple[Entry, ...]
    discriminates: str
    assumptions: tuple[str, ...]
    sources: tuple[str, ...]
    maintenance_dose: Callable[[Floats, float], Floats] | None = None
    no_alternative: str = ""
    misspecified: tuple[tuple[str, float], ...] = ()
    no_guideline: str = ""
    controller: PIDRule | None = None
    monitoring: Monitoring = Monitoring()
    constants: Mapping[str, float] = field(default_factory=dict[str, float])
    delay: Delay | None = None
    trend: Callable[[People, int], list[dict[str, Floats]]] | None = None
    need: str = "CL"

    @property
    def output(self) -> str:
        """Name of the response that is dosed to."""
        return self.responses[0].name

    @property
    def measurement(self) -> Measurement:
        """What is dosed by."""
        return self.measurements[0]

    @property
    def drug(self) -> str:
        """Name of the drug, capitalised as in the environment's id."""
        return self.name.capitalize()

    @cached_property
    def observation(self) -> ObservationSpec:
        """Layout of what is seen at a visit: covariates and genotype, then the course of treatment."""
        clock, end = self.clock, self.horizon * self.clock.shown
        put_off = () if self.delay is None else (
            Entry("delays", "1", 0, self.delay.at_most, meaning="times this treatment was put off"),
            Entry("omitted", "1", 0, 1, meaning="1 if this treatment is left out"),
        )  # fmt: skip
        if self.delay is not None:
            end += self.horizon * self.delay.at_most * self.delay.by / clock.length * clock.shown
        course = (
            Entry(clock.entry, clock.symbol, 0, end, meaning="time of treatment, 0 at the first dose"),
            Entry("interval", clock.symbol, 0, end, meaning="time since the previous visit, 0 at the first"),
            Entry("next_interval", clock.symbol, 0, end, meaning="time until the next visit, 0 at the last"),
            Entry(
                "last_dose",
                self.doses.unit,
                0,
                self.doses.maximum,
                0.0,
                "dose given since the previous visit",
            ),
        )
        results = tuple(
            entry
            for item in self.measurements
            for entry in (
                Entry(item.name, item.unit, 0, item.high, item.neutral, item.meaning),
                Entry(f"{item.name}_age", clock.symbol, 0, end, 0.0, "time since its sample was drawn"),
                Entry(f"{item.name}_new", "1", 0, 1, meaning="1 if it was not in hand at the previous visit"),
                Entry(
                    f"late_{item.name}", item.unit, 0, item.high, item.neutral,
                    "older result that came in after the previous visit",
                ),
                Entry(f"late_{item.name}_age", clock.symbol, 0, end, 0.0, "time since that sample was drawn"),
            )
        )  # fmt: skip
        return ObservationSpec(self.covariates + course + put_off + results)

    @property
    def days(self) -> NDArray[np.int64]:
        """Units in which doses are decided and, last, the one at whose start follow-up ends."""
        return np.array([*self.calendar, self.horizon])

    @cached_property
    def read_outputs(self) -> tuple[str, ...]:
        """Outputs of the model that responses and measurements are made of: only these are computed."""
        used = {output for item in self.responses for _, output in item.reads} | {
            item.output for item in self.measurements
        }
        return tuple(output.name for output in self.model.outputs if output.name in used)

    @cached_property
    def span(self) -> Span:
        """What a patient's life is counted in."""
        return Span(
            units=self.horizon,
            visits=tuple(dict.fromkeys((0, *self.calendar, self.horizon))),
            days=self.clock.days,
            administrations=sum(item.count for item in self.administrations),
            measurements=len(self.measurements),
            checks=0 if self.delay is None else self.delay.at_most,
            readings=len(self.readings),
        )

    @property
    def unseen(self) -> Mapping[str, float]:
        """Covariates that are the same for everybody and that an observation does not show."""
        return {**dict.fromkeys(self.population.absent, 0.0), **self.constants}

    def reach(self, unit: NDArray[np.int64], ahead: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the units ahead at whose end the response should be on target, seen from a unit with so many
        until the next visit: as far as monitoring looks, at least until then, within follow-up."""
        wanted = np.maximum(ahead, self.monitoring.after)
        return np.maximum(np.minimum(wanted, self.horizon - unit), 1)

    def stretches(self, people: People) -> tuple[NDArray[np.int64], list[dict[str, Floats]]]:
        """Return the stretch of time (u,) that each unit of follow-up is in, and the changing covariates of
        people in every stretch; units in which nothing changes share one. Nobody changes: no stretch."""
        if self.trend is None:
            return np.zeros(0, dtype=np.int64), []
        path = self.trend(people, self.horizon)
        number = {key: i for i, key in enumerate(dict.fromkeys(id(now) for now in path))}
        return np.array([number[id(now)] for now in path]), list({id(now): now for now in path}.values())

    def target_at(self, unit: NDArray[np.int64]) -> Floats:
        """Return what the response that is dosed to should be in each unit, of any shape."""
        if self.monitoring.target is None:
            return np.full(np.shape(unit), self.target)
        return self.monitoring.target(np.asarray(unit, dtype=np.float64))

    def preset(self, name: str) -> Realism:
        """Return a realism preset; an unknown name is an error that lists the known ones."""
        if name not in self.realism:
            raise ValueError(f"unknown realism {name!r} for {self.name}; known: {', '.join(self.realism)}")
        return self.realism[name]

    def seen_as(self, genotype: GenotypeMode) -> Scenario:
        """Return the scenario as it is seen with a genotype mode: only "phenotype" has other entries.

        Raises
        ------
        ValueError
            For an unknown mode.
        """
        if genotype not in GENOTYPE_MODES:
            raise ValueError(f"unknown genotype mode {genotype!r}; known: {', '.join(GENOTYPE_MODES)}")
        return self._with_phenotypes if genotype == "phenotype" else self

    @cached_property
    def _with_phenotypes(self) -> Scenario:
        genes = phenotyped(self.model.genotype_terms)
        if not genes:
            return self
        entries: list[Entry] = []
        for entry in self.covariates:
            gene = next((g for g in genes if entry.name.startswith(f"{g.lower()}_")), None)
            if gene is None:
                entries.append(entry)
            elif phenotype_entry(gene) not in [item.name for item in entries]:
                meaning = f"{gene}: {', '.join(f'{code} {word}' for word, code in PHENOTYPE_CODES)}"
                entries.append(Entry(phenotype_entry(gene), "1", 0, 4, 2.0, meaning))
        return replace(self, covariates=tuple(entries))
