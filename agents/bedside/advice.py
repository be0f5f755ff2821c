"""One patient at the bedside: records in, posterior, candidate doses and every regimen's advice out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.bedside.case import Case
from dosewright.agents.bedside.digits import digits
from dosewright.agents.bedside.posterior import Person, person, quantiles
from dosewright.agents.bedside.prospects import DRAWS, Interval, Prospect, Prospects, Target
from dosewright.agents.bedside.replay import Advised, replay
from dosewright.agents.bedside.timeline import Timeline, timeline, with_remaining

Floats = NDArray[np.float64]

SCHEMA = 1
NOTE = "Research simulation, not for clinical use."
_ENDS = (0.05, 0.5, 0.95)
_FEW = 50.0  # effective particles below which a posterior is doubted
_RESIDUAL = 3.0  # SDs of a residual from which a level is doubted
_REACHES = 0.05  # probability that no dose is enough, from which it is said


@dataclass(frozen=True)
class ParameterRow:
    """A parameter: median and middle 90 % of the patient, and of people with the same covariates and
    genotype; `ratio` of the medians."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    population_median: float
    population_low: float
    population_high: float

    @property
    def ratio(self) -> float:
        """The patient's median over the population's."""
        return self.median / self.population_median if self.population_median else math.nan


@dataclass(frozen=True)
class LevelRow:
    """A measurement against its predictions.

    Attributes
    ----------
    time
        Model time after the first dose.
    output, unit
        What was measured.
    measured, limit
        The value, or the limit that it is below; NaN for the other.
    population, individual
        Predictions for the typical person and for this one (posterior mean).
    residual
        Of the individual prediction, over the SD of the assay's error; NaN below a limit.
    """

    time: float
    output: str
    unit: str
    measured: float
    limit: float
    population: float
    individual: float
    residual: float


@dataclass(frozen=True)
class ModelRow:
    """A model of the same levels: its share of the posterior probability where both are as likely beforehand
    (NaN where it was not asked, with the reason), and what it says of the monitoring dose."""

    name: str
    weight: float
    prospect: Prospect | None
    reason: str = ""


@dataclass(frozen=True)
class RegimenRow:
    """A regimen's advice, and what the dose that it gives would do by the posterior; None without one."""

    advised: Advised
    prospect: Prospect | None
    why: str


@dataclass(frozen=True, eq=False)
class Advice:
    """All that is known of a patient's next dose.

    Attributes
    ----------
    timeline
        The patient's units and visits.
    person
        The posterior.
    prospects
        What comes, to be asked about more doses.
    parameters, levels, candidates, models, regimens
        See the rows.
    monitoring
        What the monitoring dose would do, snapped to the grid.
    flags
        What throws doubt on the numbers, in sentences.
    summary
        How the regimens differ, in sentences.
    """

    timeline: Timeline
    person: Person
    prospects: Prospects
    parameters: tuple[ParameterRow, ...]
    levels: tuple[LevelRow, ...]
    candidates: tuple[Prospect, ...]
    monitoring: Prospect
    models: tuple[ModelRow, ...]
    regimens: tuple[RegimenRow, ...]
    flags: tuple[str, ...]
    summary: tuple[str, ...]

    @property
    def case(self) -> Case:
        """The patient, with what of the present unit is still to be given."""
        return self.person.case

    @property
    def target(self) -> Target:
        """What is dosed to."""
        return self.prospects.target

    def record(self) -> dict[str, Any]:
        """Return every number as JSON-ready data; what is missing or infinite is null.

        Keys: ``schema`` (this layout, 1), ``note``, ``drug``, ``scenario_version``, ``model``, ``patient``,
        ``genotypes``, ``covariates``; ``now`` (``time`` in the model's ``time_unit`` after the first dose,
        ``unit`` that is decided, ``clock``, ``units_ahead``, ``reach``); ``last_dose`` and ``dose_unit``;
        ``target`` (``name``, ``unit``, ``low``, ``high``, ``aim``, ``own``, ``label``), ``harm`` (label);
        ``genotype_probabilities`` (``genotypes``, ``probability``); ``posterior`` (``particles``,
        ``effective_size``, ``log_marginal``, ``converged``); ``parameters`` (name, unit, median, low, high,
        ``population_…``, ``ratio``); ``levels`` (time, output, unit, measured, limit, population, individual,
        residual); ``monitoring_dose`` (``exact``, then a prospect); ``candidates``, prospects: ``dose``,
        ``given``, ``in_target``, ``harm``, ``benefit``, ``loss``, ``response`` and ``level``, these with
        mean, low and high (5 and 95 %); ``models`` (name, weight, reason, prospect); ``regimens`` (name,
        dose, given, why, doubt, prospect); ``flags``, ``notes``, ``seen_by_rules``, ``summary``.
        """
        line, scenario, person = self.timeline, self.case.scenario, self.person
        found = {
            "schema": SCHEMA,
            "note": NOTE,
            "drug": scenario.name,
            "scenario_version": scenario.version,
            "model": scenario.model.name,
            "patient": self.case.records.id,
            "genotypes": dict(self.case.genotypes),
            "covariates": {name: float(v[-1]) for name, v in self.case.records.covariates.items()},
            "now": {
                "time": self.case.now,
                "time_unit": scenario.model.time_unit,
                "unit": line.unit,
                "clock": scenario.clock.unit,
                "units_ahead": line.ahead,
                "reach": self.prospects.reach,
            },
            "last_dose": line.last_dose,
            "dose_unit": scenario.doses.unit,
            "target": asdict(self.target),
            "harm": scenario.harm.label,
            "genotype_probabilities": [
                {"genotypes": dict(genes), "probability": float(p)}
                for genes, p in zip(person.genotypes, person.genotype_weight, strict=True)
            ],
            "posterior": {
                "particles": int(person.weight.size),
                "effective_size": person.effective_size,
                "log_marginal": person.log_marginal,
                "converged": person.converged,
            },
            "parameters": [{**asdict(row), "ratio": row.ratio} for row in self.parameters],
            "levels": [asdict(row) for row in self.levels],
            "monitoring_dose": {"exact": self.prospects.monitoring_dose, **asdict(self.monitoring)},
            "candidates": [asdict(item) for item in self.candidates],
            "models": [asdict(item) for item in self.models],
            "regimens": [
                {**asdict(row.advised), "why": row.why, "prospect": row.prospect and asdict(row.prospect)}
                for row in self.regimens
            ],
            "flags": list(self.flags),
            "notes": list(self.case.notes),
            "seen_by_rules": list(line.notes),
            "summary": list(self.summary),
        }
        return _plain(found)


def advise(
    case: Case,
    *,
    target: str | None = None,
    policy: str | None = None,
    ahead: int | None = None,
    seed: int = 0,
) -> Advice:
    """Return what is known of a patient's next dose.

    Parameters
    ----------
    case
        The patient, from `read_case`.
    target
        ``name=low..high`` of a response or measurement; the scenario's own band by default.
    policy
        Folder of a trained policy; None: the one that ships for the drug.
    ahead
        Units until the next visit; by default by the scenario's calendar.
    seed
        Of all random numbers.

    Raises
    ------
    ValueError
        For a target or policy that is none, a moment at which nothing is decided, and records that no
        parameters explain.
    """
    line = timeline(case, ahead)
    case = with_remaining(case, line.remaining)
    known = person(case, seed=seed)
    prospects = Prospects.of(known.draw(DRAWS), line, target, seed)
    advised = replay(line, policy)
    wanted = [float(dose) for dose in prospects.candidates]
    wanted.append(float(case.scenario.doses.snap(prospects.monitoring_dose)))
    wanted += [item.given for item in advised if item.given is not None]
    doses = list(dict.fromkeys(round(dose, 9) for dose in wanted))
    found = dict(zip(doses, prospects.prospects(doses), strict=True))
    monitoring = found[round(wanted[len(prospects.candidates)], 9)]
    regimens = _regimens(advised, found)
    return Advice(
        timeline=line,
        person=known,
        prospects=prospects,
        parameters=_parameters(known, seed),
        levels=_levels(known),
        candidates=tuple(found[round(float(dose), 9)] for dose in prospects.candidates),
        monitoring=monitoring,
        models=_models(known, prospects, monitoring, target, seed),
        regimens=regimens,
        flags=_flags(known, prospects, advised),
        summary=_summary(regimens, monitoring, case.scenario.doses.unit),
    )


def _parameters(known: Person, seed: int) -> tuple[ParameterRow, ...]:
    model, theta, typical = known.courses.model, known.now(known.posterior.parameters()), known.typical(seed)
    k = typical.shape[1]
    before = np.repeat(np.exp(known.log_prior)[:, None] / k, k, axis=1)
    rows = []
    for column in model.random_effects:
        low, median, high = known.quantiles(theta[..., column], _ENDS)
        below, middle, above = quantiles(typical[..., column], before, _ENDS)
        item = model.parameters[column]
        rows.append(ParameterRow(item.name, item.unit, median, low, high, middle, below, above))
    return tuple(rows)


def _levels(known: Person) -> tuple[LevelRow, ...]:
    courses = known.courses
    population, individual, residual = known.predictions()
    rows = []
    for i in np.flatnonzero(courses.observed[0]):
        output = courses.model.outputs[courses.sample_output[0, i]]
        below = math.isinf(courses.low[0, i])
        value, limit = float(courses.low[0, i]), float(courses.high[0, i])
        rows.append(
            LevelRow(
                float(courses.sample_time[0, i]),
                output.name,
                output.unit,
                math.nan if below else value,
                limit if below else math.nan,
                float(population[i]),
                float(individual[i]),
                float(residual[i]),
            )  # fmt: skip
        )
    return tuple(rows)


def _models(
    known: Person, prospects: Prospects, monitoring: Prospect, target: str | None, seed: int
) -> tuple[ModelRow, ...]:
    """Return the scenario's models with their weights, the alternative one where it can be asked.

    Where the genotype is not known both are asked about the most probable one.
    """
    best = int(np.argmax(known.genotype_weight))
    case = replace(known.case, genotypes=known.genotypes[best])
    scenario = case.scenario
    model, other = scenario.model, scenario.alternative
    if other is None:
        return (ModelRow(model.name, 1.0, monitoring),)
    try:
        _check_alike(case)
        second = person(case, model=other, seed=seed)
    except ValueError as error:
        why = str(error)
        return ModelRow(model.name, 1.0, monitoring), ModelRow(other.name, math.nan, None, why)
    weight = 1.0 / (
        1.0 + math.exp(min(second.log_marginal - float(known.posterior.log_marginal[best]), 700.0))
    )
    return (
        ModelRow(model.name, weight, monitoring),
        ModelRow(other.name, 1.0 - weight, _by_other(second, prospects, monitoring.dose, target, seed)),
    )


def _check_alike(case: Case) -> None:
    """Refuse an alternative model that cannot be asked about a patient."""
    model, other = case.scenario.model, case.scenario.alternative
    assert other is not None
    if (other.time_unit, other.amount_unit) != (model.time_unit, model.amount_unit):
        raise ValueError(f"it is in {other.time_unit} and {other.amount_unit}")
    missing = [c.name for c in other.covariates if c.name not in (*case.records.covariates, "baseline")]
    if missing:
        raise ValueError(f"it asks for {', '.join(missing)}, not known")
    routes = {route for *_, route in case.given} - {route.name for route in other.routes}
    if routes:
        raise ValueError(f"it has no route {', '.join(sorted(routes))}")
    genes = {term.gene for term in model.genotype_terms}
    more = [term.gene for term in other.genotype_terms if term.gene not in genes]
    if more:
        raise ValueError(f"it asks for {', '.join(more)}")
    theirs = {item.name: item.unit for item in other.outputs}
    apart = [item.name for item in model.outputs if theirs.get(item.name, item.unit) != item.unit]
    if apart:
        raise ValueError(f"its {apart[0]} is in {theirs[apart[0]]}")


def _by_other(
    second: Person, prospects: Prospects, dose: float, target: str | None, seed: int
) -> Prospect | None:
    """Return what a dose would do by another model; None where it lacks an output that the scenario reads."""
    scenario, other = second.case.scenario, second.courses.model
    if not {*scenario.read_outputs} <= {item.name for item in other.outputs}:
        return None
    if not {item.route for item in scenario.administrations} <= {route.name for route in other.routes}:
        return None
    swapped = replace(scenario, model=other, trend=None)
    case = replace(second.case, scenario=swapped)
    line = replace(prospects.timeline, case=case)
    draws = replace(second.draw(DRAWS), case=case)
    return Prospects.of(draws, line, target, seed).prospects([dose])[0]


def _regimens(advised: list[Advised], found: Mapping[float, Prospect]) -> tuple[RegimenRow, ...]:
    """Return the regimens with their prospects; the planners with what they gain on monitoring."""
    given = {item.name: found[round(item.given, 9)] for item in advised if item.given is not None}
    rows = []
    for item in advised:
        mine, why = given.get(item.name), item.why
        rival = given.get(item.name.replace("planner", "bayesian"))
        if item.name.startswith("planner") and mine is not None and rival is not None:
            why = f"{why}; {_against(mine, rival, item.name.replace('planner', 'bayesian'))}"
        rows.append(RegimenRow(item, mine, why))
    return tuple(rows)


def _against(mine: Prospect, rival: Prospect, name: str) -> str:
    if mine.dose == rival.dose:
        return f"that is the dose of {name} itself"
    if mine.given == rival.given:
        return f"by {name}'s {rival.dose:g} the same is given"
    return (
        f"against {name}'s {rival.dose:g}: P(harm) {rival.harm:.0%} → {mine.harm:.0%}, P(in target) "
        f"{rival.in_target:.0%} → {mine.in_target:.0%}, benefit a unit {rival.benefit:.2f} → "
        f"{mine.benefit:.2f}"
    )


def _flags(known: Person, prospects: Prospects, advised: Sequence[Advised]) -> tuple[str, ...]:
    flags = []
    courses, line = known.courses, prospects.timeline
    if not courses.observed.any():
        flags.append("nothing was measured: the posterior is the population's")
    elif courses.below_limit[0]:
        flags.append("all measurements are below the limit of quantification: they only rule parameters out")
    if not known.converged:
        assert known.fit is not None
        at = int(np.argmax(known.genotype_weight))
        flags.append(f"the estimate did not converge ({known.fit.messages[at]}); particles stand without it")
    if known.effective_size < _FEW:
        flags.append(f"only {known.effective_size:.0f} effective particles: the intervals are rough")
    if known.case.unknown_genes:
        flags.append(
            f"{', '.join(known.case.unknown_genes)} not known: averaged over the genotypes by their "
            "frequency and by how well each explains the measurements"
        )
    flags += [
        f"{row.output} at {row.time:g} {courses.model.time_unit} is {row.residual:+.1f} SD from its "
        "prediction"
        for row in _levels(known)
        if abs(row.residual) >= _RESIDUAL
    ]
    if prospects.out_of_reach >= _REACHES:
        scenario = prospects.scenario
        flags.append(
            f"with probability {prospects.out_of_reach:.0%} no dose up to {scenario.doses.maximum:g} "
            f"{scenario.doses.unit} reaches {digits(prospects.target.aim)}"
        )
    if line.unit >= line.case.scenario.horizon:
        flags.append(
            f"{line.case.scenario.clock.unit} {line.unit} is beyond the scenario's follow-up: target and "
            "harm of its last unit are used"
        )
    flags += [item.doubt for item in advised if item.doubt]
    return tuple(flags)


def _summary(regimens: tuple[RegimenRow, ...], monitoring: Prospect, unit: str) -> tuple[str, ...]:
    """Say how the regimens differ."""
    rows = [(row.advised.name, row.prospect) for row in regimens if row.prospect is not None]
    if not rows:
        return (f"no regimen could be replayed; by the posterior {monitoring.dose:g} {unit}",)
    groups: dict[str, list[str]] = {}
    for name, prospect in sorted(rows, key=lambda row: row[1].dose):
        groups.setdefault(prospect.given, []).append(name)
    spread = ", ".join(f"{given} ({', '.join(names)})" for given, names in groups.items())
    sentences = [f"{len(groups)} different doses: {spread}"] if len(groups) > 1 else [
        f"all regimens give {next(iter(groups))}"
    ]  # fmt: skip
    by_target = max(rows, key=lambda row: row[1].in_target)[1]
    safest = min(rows, key=lambda row: (row[1].harm, -row[1].in_target))[1]
    sentences.append(
        f"of the regimens' doses, in target most often with {by_target.dose:g} ({by_target.in_target:.0%}, "
        f"harm {by_target.harm:.0%}); "
        f"least harm with {safest.dose:g} ({safest.harm:.0%}, in target {safest.in_target:.0%})"
    )
    return tuple(sentences)


def _plain(value: Any) -> Any:
    """Return data that JSON has: no NaN, no infinity, no NumPy."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.integer):
        return int(value)
    return value


__all__ = ["Advice", "Interval", "LevelRow", "ModelRow", "ParameterRow", "RegimenRow", "advise"]
