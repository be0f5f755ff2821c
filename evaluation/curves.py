"""The course of a drug under a fixed schedule: the typical person, and the spread of a population."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Scenario, individual_parameters
from dosewright.envs.patients import enrol
from dosewright.envs.pharmacology import Dose, simulate

Floats = NDArray[np.float64]

_PER_DAY = {"h": 24.0, "min": 1440.0, "day": 1.0}
_UNITS = {"d": 1.0, "h": 1 / 24, "min": 1 / 1440, "s": 1 / 86400}
_POINTS = 400
# a curve rises within minutes of a dose: besides the even grid it is read soon after every one
_AFTER = (0.01, 0.03, 0.06, 0.1, 0.2, 0.35)


@dataclass(frozen=True)
class Curve:
    """One output over time.

    Attributes
    ----------
    output, unit
        What it is.
    days : (m,) time
    typical : (m,) the person without random effects
    low, high : (m,) 5th and 95th percentile of the population
    amounts : (u,) for a response that is an exposure, typical exposure of each unit (or up to its end); None
        where the response is the output itself
    people
        Number behind the percentiles.
    """

    output: str
    unit: str
    days: Floats
    typical: Floats
    low: Floats
    high: Floats
    amounts: Floats | None
    people: int


def duration_in_days(text: str) -> float:
    """Return a duration such as ``12h``, ``21d``, ``15s`` in days.

    Raises
    ------
    ValueError
        For a text that is none.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(d|h|min|s)", text.strip())
    if found is None or float(found[1]) <= 0:
        raise ValueError(f"duration {text!r}; expected a positive number and d, h, min or s, as in 12h")
    return float(found[1]) * _UNITS[found[2]]


def reference_genotypes(scenario: Scenario, genotypes: Mapping[str, str]) -> dict[str, str]:
    """Return a diplotype for every gene of the model: the given one, else the model's first allele twice.

    Raises
    ------
    ValueError
        For a gene that the model does not use.
    """
    terms = scenario.model.genotype_terms
    unknown = sorted(set(genotypes) - {term.gene for term in terms})
    if unknown:
        known = ", ".join(term.gene for term in terms) or "none"
        raise ValueError(f"{scenario.name} has no term for {unknown[0]}; genes of the model: {known}")
    made = {}
    for term in terms:
        first = next(iter(term.per_allele))
        pair = f"{first}/{first}" if first.startswith("*") or len(first) > 1 else first * 2
        made[term.gene] = genotypes.get(term.gene, pair)
    return made


def curve(
    scenario: Scenario,
    dose: float,
    every_days: float,
    days: float,
    *,
    duration_days: float = 0.0,
    genotypes: Mapping[str, str] | None = None,
    covariates: Mapping[str, float] | None = None,
    people: int = 500,
    seed: int = 1,
) -> Curve:
    """Simulate a dose given again and again.

    Parameters
    ----------
    scenario
        The drug.
    dose
        In the model's unit of amount.
    every_days, days, duration_days
        Interval, length of the course, and duration of an infusion.
    genotypes, covariates
        Of the typical person, and of everybody in the population; what is not given is the model's
        reference for the typical person, and as it varies in the scenario's population for the others.
    people, seed
        Size of the population, and its seed.

    Raises
    ------
    ValueError
        For a dose, interval or length that is not positive, or an unknown gene or covariate.
    """
    for name, value in (("dose", dose), ("interval", every_days), ("length", days)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} {value:g}; expected a number above 0")
    if every_days > days:
        raise ValueError(f"one dose every {every_days:g} days in a course of {days:g}; give a longer course")
    model, scale = scenario.model, _PER_DAY[scenario.model.time_unit]
    starts = np.arange(math.ceil(days / every_days - 1e-9)) * every_days
    schedule = [Dose(start * scale, dose, duration_days * scale) for start in starts]
    after = (starts[:, None] + every_days * np.array(_AFTER)).ravel()
    units = np.arange(1, math.floor(days / scenario.clock.days + 1e-9) + 1) * scenario.clock.days
    grid = np.concatenate([np.linspace(0, days, _POINTS), after[after < days], units])
    times = np.asarray(np.unique(grid), dtype=np.float64)
    chosen, given = dict(genotypes or {}), dict(covariates or {})
    pairs = reference_genotypes(scenario, chosen)
    reference = {item.name: item.reference for item in model.covariates}
    typical = individual_parameters(
        model, {**reference, **given}, {gene: [pair] for gene, pair in pairs.items()}
    )
    shown = scenario.measurement.output
    read = [shown, "AUC"] if any(item.name == "AUC" for item in model.outputs) else [shown]
    path = simulate(model, typical, schedule, times * scale, read)[0]
    spread = simulate(
        model, _population(scenario, chosen, given, people, seed), schedule, times * scale, [shown], "belief"
    )[..., 0]
    low, high = np.quantile(spread, [0.05, 0.95], axis=0)
    output = model.outputs[model.output(shown)]
    amounts = None
    if scenario.responses[0].unit != output.unit and len(read) == 2 and len(units):
        upto = np.interp(units, times, path[:, 1])
        whole_course = scenario.benefit.band(0) is None
        amounts = upto if whole_course else np.diff(upto, prepend=0.0)
    return Curve(shown, output.unit, times, path[:, 0], low, high, amounts, people)


def _population(
    scenario: Scenario, genotypes: Mapping[str, str], covariates: Mapping[str, float], people: int, seed: int
) -> Floats:
    """Return the parameters (n, p) of virtual people who all have the given genotypes and covariates."""
    noise, ids = Noise("trial", seed), np.arange(people)
    drawn = scenario.population.draw(scenario.model, scenario.base, ids, noise)
    if not genotypes and not covariates:
        return drawn.theta
    known = {name: np.asarray(values) for name, values in drawn.covariates.items()}
    known |= {name: np.full(people, value) for name, value in covariates.items()}
    pairs = {
        gene: np.full(people, genotypes[gene]) if gene in genotypes else values
        for gene, values in drawn.genotypes.items()
    }
    base = None if "baseline" in covariates else scenario.base
    return enrol(scenario.model, base, ids, known, pairs, drawn.labels, noise).theta
