"""What a scenario is: everything about one drug's decision problem, as data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.measurement import Measurement
from dosewright.envs.observation import Entry, ObservationSpec
from dosewright.envs.patients import CohortTable, VirtualPopulation
from dosewright.envs.pharmacology import Flag, PopulationModel
from dosewright.envs.realism import Realism

GenotypeMode = Literal["diplotype", "unknown"]


@dataclass(frozen=True)
class DoseGrid:
    """Doses that tablets allow: 0 to `maximum` in steps of `step`, in `unit`."""

    unit: str
    step: float
    maximum: float

    @property
    def doses(self) -> NDArray[np.float64]:
        """All doses of the grid, ascending."""
        return np.asarray(np.arange(round(self.maximum / self.step) + 1) * self.step, dtype=np.float64)

    def snap(self, dose: ArrayLike, patients: NDArray[np.int64] | None = None) -> NDArray[np.float64]:
        """Return the dose really given: capped, then rounded to the grid, halves upwards.

        `patients` (n,) are the numbers that an error names; positions by default.

        Raises
        ------
        ValueError
            For a negative or missing dose: no cap can mend those.
        """
        wanted = np.asarray(dose, dtype=np.float64)
        bad = ~(wanted >= 0)
        if bad.any():
            lane = int(np.argmax(bad))
            raise ValueError(
                f"dose of patient {lane if patients is None else patients[lane]}: "
                f"{wanted.flat[lane]} {self.unit}; "
                f"expected a number from 0 to {self.maximum:g} {self.unit}"
            )
        return np.asarray(np.floor(np.minimum(wanted, self.maximum) / self.step + 0.5) * self.step)

    def same(self, a: ArrayLike, b: ArrayLike) -> NDArray[np.bool_]:
        """Whether doses are equal, up to rounding of multiples of the step; a missing dose equals none."""
        return np.isclose(a, b, rtol=0.0, atol=1e-6 * self.step)


@dataclass(frozen=True)
class Band:
    """A range of the response. `above` and `below` are strict, `at_least` and `at_most` are not."""

    label: str
    at_least: float = -np.inf
    at_most: float = np.inf
    above: float = -np.inf
    below: float = np.inf

    def contains(self, response: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether each value lies in the band; a missing value does not."""
        return (
            (response >= self.at_least)
            & (response <= self.at_most)
            & (response > self.above)
            & (response < self.below)
        )


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
        "daily": share of days of the latent response in `band`; "rosendaal": share of time of the linearly
        interpolated measured response in `band` from `from_day`; "ever": whether the daily latent response
        ever enters `band`; "hazard": expected events per 100 patient-years.
    better
        Whether higher or lower is better for the patient.
    flag
        ASSUMPTION marks what is no published measure.
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


@dataclass(frozen=True)
class AdjustmentRow:
    """One line of an adjustment table: while the response is in `band`, the dose is multiplied by `factor`.

    `hold`: "no": change at once; "skip": skip doses first; "stop": stop until the response is back at
    `resume_below`.
    """

    band: Band
    factor: float
    hold: Literal["no", "skip", "stop"] = "no"


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
    """

    name: str
    rows: tuple[AdjustmentRow, ...]
    wait_days: int
    resume_below: float
    hold_days: int
    early: tuple[int, float, float] | None
    flag: Flag
    source: str


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


@dataclass(frozen=True, eq=False)
class Scenario:
    """One drug's decision problem. Frozen; a change of any number that scores a regimen is a new `version`.

    Attributes
    ----------
    name, title, version
        Key of the command line, words, version (the ``-v0`` of the environment).
    model, output
        Population model, and the output that is dosed to.
    maintenance_dose
        ``maintenance_dose(theta, target) -> dose``: constant dose that holds the output at `target`.
    target
        Value that monitoring aims at.
    population, cohort
        The default virtual population; how a table of real people is read.
    base
        (mean, SD) of the individual baseline.
    calendar, horizon
        Decision days and the day on which follow-up ends.
    measurement, doses
        Assay, and tablet grid with cap.
    benefit, harm, weight, margin
        Return = share of days in `benefit` − `weight` × share of days in `harm`; `margin` is the largest rise
        of the share of patients ever in `harm` that counts as non-inferior.
    realism
        Presets by name.
    label, guideline, clinical_equation, label_table, nomogram_table
        The rules of clinics, as data: start dose and table of the label, dose equations with and without
        genotype, the clinic's table.
    outcomes
        What a trial reports.
    covariates
        Observation entries of what is known about the person before the first dose, and the genotype.
    response_range
        Range of a measured response in the observation.
    assumptions
        Sentences that must stand wherever results are shown.
    sources
        Publications.
    """

    name: str
    title: str
    version: int
    model: PopulationModel
    output: str
    maintenance_dose: Callable[[NDArray[np.float64], float], NDArray[np.float64]]
    target: float
    population: VirtualPopulation
    cohort: CohortTable
    base: tuple[float, float]
    calendar: tuple[int, ...]
    horizon: int
    measurement: Measurement
    doses: DoseGrid
    benefit: Band
    harm: Band
    weight: float
    margin: float
    realism: Mapping[str, Realism]
    label_dose: float
    label_table: AdjustmentTable
    guideline: DoseEquation
    clinical_equation: DoseEquation
    nomogram_table: AdjustmentTable
    outcomes: tuple[Outcome, ...]
    covariates: tuple[Entry, ...]
    response_range: tuple[float, float]
    assumptions: tuple[str, ...]
    sources: tuple[str, ...]

    @property
    def observation(self) -> ObservationSpec:
        """Layout of what is seen at a visit: covariates and genotype, then the course of treatment."""
        low, high = self.response_range
        unit, top = self.measurement.unit, self.doses.maximum
        response = self.output.lower()
        course = (
            Entry("day", "d", 0, self.horizon, meaning="day of treatment, 0 at the first dose"),
            Entry("interval", "d", 0, self.horizon, meaning="days since the previous visit, 0 at the first"),
            Entry("next_interval", "d", 0, self.horizon, meaning="days until the next visit, 0 at the last"),
            Entry("last_dose", self.doses.unit, 0, top, 0.0, "dose given since the previous visit"),
            Entry(response, unit, low, high, 1.0, "newest result in hand"),
            Entry(f"{response}_age", "d", 0, self.horizon, 0.0, "days since its sample was drawn"),
            Entry(f"{response}_new", "1", 0, 1, meaning="1 if it was not in hand at the previous visit"),
            Entry(
                f"late_{response}", unit, low, high, 1.0, "older result that came in after the previous visit"
            ),
            Entry(f"late_{response}_age", "d", 0, self.horizon, 0.0, "days since that sample was drawn"),
        )
        return ObservationSpec(self.covariates + course)

    @property
    def days(self) -> NDArray[np.int64]:
        """Decision days and, last, the day on which follow-up ends."""
        return np.array([*self.calendar, self.horizon])

    def preset(self, name: str) -> Realism:
        """Return a realism preset; an unknown name is an error that lists the known ones."""
        if name not in self.realism:
            raise ValueError(f"unknown realism {name!r} for {self.name}; known: {', '.join(self.realism)}")
        return self.realism[name]
