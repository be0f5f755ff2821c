"""The main comparison of a trial in other worlds: does the answer hang on what was assumed?

Regimens stay as they are, with the model and the prior that they believe in; what changes is the world that
they meet. Every world treats the same patients with the same random numbers, so a difference between rows of
the table is that of the worlds, not of the people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Population, RealCohort, Regimen, Scenario
from dosewright.envs.genotypes import allele_entry, phenotype_entry
from dosewright.envs.noise import Stream
from dosewright.envs.observation import ObservationSpec
from dosewright.envs.patients import Spread, VirtualPopulation
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.realism import Realism
from dosewright.evaluation.answer import benefit_shown, harm_shown
from dosewright.evaluation.records import difference_record
from dosewright.evaluation.statistics import Difference
from dosewright.evaluation.trial import Progress, TrialResult, run_design
from dosewright.evaluation.trial.design import AttachedRegimen, TrialDesign

Observation = NDArray[np.float32]

# Worse adherence: so many times the preset's missed doses, at most this share. For warfarin that is what
# electronic caps counted in clinics, 18.8 % (Kimmel 2007, Arch Intern Med 167:229).
_TIMES_MISSED, _MOST_MISSED = 4.0, 0.20
_COMPARED = ("benefit", "ever_harm")
# SD of the random effects, where there is no other model: in a sensitivity analysis, and where patients are
# misspecified besides
_WIDER, _MUCH_WIDER = 1.3, 1.5


@dataclass(frozen=True, eq=False)
class World:
    """A world that differs from the trial's in one thing.

    Attributes
    ----------
    name : short, for a table
    words : what differs
    design : the trial in that world; None where there is no such world
    reason : why there is none; empty where there is one
    """

    name: str
    words: str
    design: TrialDesign | None
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Finding:
    """What the main comparison came to in a world.

    Attributes
    ----------
    name, words, reason : as in `World`
    differences : outcome -> paired difference, arm minus the other; empty where the world was not run
    levels : outcome -> mean of the arm and of the other
    """

    name: str
    words: str
    reason: str
    differences: Mapping[str, Difference]
    levels: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The main comparison in several worlds, the trial's own first.

    Attributes
    ----------
    arm, against : the arms compared
    patients : how many, the same in every world
    findings : one a world
    """

    arm: str
    against: str
    patients: int
    findings: tuple[Finding, ...]


def analyse_sensitivity(
    design: TrialDesign,
    result: TrialResult,
    arm: str,
    against: str,
    patients: int = 500,
    progress: Progress | None = None,
) -> Sensitivity:
    """Repeat a trial's main comparison in other worlds, on some of its patients.

    Parameters
    ----------
    design, result
        The trial, and what it came to.
    arm, against
        The arms to compare.
    patients
        How many of the trial's patients, drawn at random; all of them where there are not more.
    progress
        Called with a world and the number of its patients, once for each of its two arms.

    Raises
    ------
    ValueError
        For an unknown arm, the same twice, or fewer than two patients.
    """
    if patients < 2:
        raise ValueError(f"patients = {patients}; expected at least 2, an interval needs them")
    if arm == against:
        raise ValueError(f"arm {arm!r} is to be compared with itself; name another")
    for name in (arm, against):
        result.arm(name)
    order = design.noise.uniforms(result.ids, Stream.ROWS)[:, 0, 0]
    chosen = np.sort(np.argsort(order, kind="stable")[:patients])
    mask = np.zeros(len(result.ids), dtype=bool)
    mask[chosen] = True
    words = f"the trial's own world, these {len(chosen)} patients"
    own = _compared("as in the trial", words, result, arm, against, mask)
    findings = [own]
    for world in worlds(replace(design, arms={name: design.arms[name] for name in (arm, against)})):
        findings.append(_found(world, result.ids[chosen], arm, against, progress))
    return Sensitivity(arm, against, len(chosen), tuple(findings))


def _found(
    world: World, ids: NDArray[np.int64], arm: str, against: str, progress: Progress | None
) -> Finding:
    if world.design is None:
        return Finding(world.name, world.words, world.reason, {}, {})
    told = None if progress is None else lambda _, number: progress(world.name, number)
    # one block: where a patient is shown another's genotype, it must not depend on how they are split
    found = run_design(world.design, ids, block=len(ids), progress=told)
    return _compared(world.name, world.words, found, arm, against, None)


def _compared(
    name: str, words: str, result: TrialResult, arm: str, against: str, mask: NDArray[np.bool_] | None
) -> Finding:
    return Finding(
        name,
        words,
        "",
        {key: result.difference(arm, against, key, mask) for key in _COMPARED},
        {
            key: (result.estimate(arm, key, mask).mean, result.estimate(against, key, mask).mean)
            for key in _COMPARED
        },
    )


def sensitivity_record(sensitivity: Sensitivity, margin: float) -> dict[str, Any]:
    """Return a sensitivity analysis for JSON, with what each difference shows against the margin of harm."""
    shown = {"benefit": benefit_shown, "ever_harm": partial(harm_shown, margin=margin)}
    rows = [
        {
            "name": item.name,
            "words": item.words,
            "reason": item.reason,
            **{
                key: None
                if item.reason
                else {
                    **difference_record(item.differences[key], shown[key](item.differences[key])),
                    "levels": list(item.levels[key]),
                }
                for key in _COMPARED
            },
        }
        for item in sensitivity.findings
    ]
    return {
        "arm": sensitivity.arm,
        "against": sensitivity.against,
        "patients": sensitivity.patients,
        "rows": rows,
    }


def worlds(design: TrialDesign) -> tuple[World, ...]:
    """Return the worlds in which a trial can be repeated, and those that do not exist for its drug.

    Another structural model of the same response (where none is published: patients who differ more), the
    genotype of another patient, no genotype, worse adherence, and the other realism presets.
    """
    return (
        other_model(design),
        *_genotypes(design),
        _adherence(design),
        *(
            World(f"realism {preset.name}", _realism_words(preset), replace(design, realism=preset))
            for preset in design.scenario.realism.values()
            if preset.name != design.realism.name
        ),
    )


def other_model(design: TrialDesign, misspecified: bool = False) -> World:
    """Return the world of another structural model of the same response, or, where none is published, of
    patients who differ more.

    Parameters
    ----------
    misspecified
        Where there is no other model, patients differ by half as much again, and from the model as
        ``scenario.misspecified`` says.
    """
    scenario, model = design.scenario, design.scenario.model
    other = scenario.alternative
    name = "other model" if other is not None else "patients differ more"
    attached = [key for key, regimen in design.arms.items() if isinstance(regimen, AttachedRegimen)]
    if attached:
        reason = f"{attached[0]} is shown the truth, and reads it as that of {model.name}"
        return World(name, "", None, reason)
    if other is None:
        changes = scenario.misspecified if misspecified else ()
        factor = _MUCH_WIDER if misspecified else _WIDER
        wider = replace(
            model,
            parameters=tuple(replace(p, variance=factor**2 * p.variance) for p in model.parameters),
            covariances={pair: factor**2 * value for pair, value in model.covariances.items()},
            typical=_shifted(model, changes) if changes else model.typical,
        )
        words = "".join(f"; typical {parameter} × {times:g} (ASSUMPTION)" for parameter, times in changes)
        words = f"SD of the random effects × {factor:g}{words}. {scenario.no_alternative}"
        return World(name, words, replace(design, scenario=replace(scenario, model=wider)))
    reason = _unfit(other, scenario, design.realism)
    if reason:
        return World(name, other.title, None, reason)
    routes = {route.name for route in other.routes}
    given = tuple(item for item in scenario.administrations if item.route in routes)
    dropped = sorted({item.route for item in scenario.administrations} - routes)
    words = other.title + (f", which knows of no {' or '.join(dropped)}" if dropped else "")
    changed = replace(scenario, model=_with_genes(other, model), administrations=given, maintenance_dose=None)
    population = _with_constants(design.population, scenario.unseen)
    return World(name, words, replace(design, scenario=changed, population=population))


def _shifted(
    model: PopulationModel, changes: Sequence[tuple[str, float]]
) -> Callable[[Mapping[str, Any], Mapping[str, Any]], NDArray[np.float64]]:
    """Return typical parameters, some of them times a factor."""
    factor = np.ones(len(model.parameters))
    for parameter, times in changes:
        factor[model.column(parameter)] = times
    return lambda covariates, effects: model.typical(covariates, effects) * factor


def _unfit(other: PopulationModel, scenario: Scenario, realism: Realism) -> str:
    """Return why another model cannot stand in for the scenario's; empty where it can."""
    model = scenario.model
    if (other.time_unit, other.amount_unit) != (model.time_unit, model.amount_unit):
        return f"{other.title} is in {other.time_unit} and {other.amount_unit}"
    drug = scenario.administrations[0].route
    if drug not in {route.name for route in other.routes}:
        return f"{other.title} has no {drug} route"
    units = {output.name: output.unit for output in other.outputs}
    for output in model.outputs:
        if output.name in scenario.read_outputs and units.get(output.name) != output.unit:
            return f"{other.title} has no {output.name} in {output.unit}"
    absent = sorted(_varied(realism) - {parameter.name for parameter in other.parameters})
    if absent:
        return f"{other.title} has no {', '.join(absent)}, which realism {realism.name!r} varies"
    return ""


def _varied(realism: Realism) -> set[str]:
    """Return the parameters that a preset varies."""
    items = (*realism.drifts, *realism.occasions, *realism.interactions, *realism.episodes)
    return {item.parameter for item in items} | {
        parameter for interaction in realism.interactions for parameter, _ in interaction.also
    }


def _with_genes(other: PopulationModel, model: PopulationModel) -> PopulationModel:
    """Return another model that also draws, and shows, the genes that only the first one has a term of.

    In the first one's order, so that everybody keeps their genotype.
    """
    own = {term.gene: term for term in other.genotype_terms}
    terms = [own.pop(term.gene, term) for term in model.genotype_terms]
    return replace(other, genotype_terms=(*terms, *own.values()))


def _with_constants(population: Population, constants: Mapping[str, float]) -> Population:
    """Return a population with covariates that are the same for everybody: only the other model asks."""
    if isinstance(population, VirtualPopulation):
        named = {*population.absent, *(name for name, _ in population.extra)}
        new = tuple((name, Spread(value, 0.0)) for name, value in constants.items() if name not in named)
        return replace(population, extra=population.extra + new)
    if isinstance(population, RealCohort):
        people = len(population.usable)
        same = {name: np.full(people, value) for name, value in constants.items()}
        return replace(population, covariates={**same, **population.covariates})
    return population


def _genotypes(design: TrialDesign) -> tuple[World, World]:
    scenario = design.scenario.seen_as(design.genotype)
    spec, entries = scenario.observation, _genotype_entries(scenario)
    names = "another's genotype", "genotype unknown"
    reason = ""
    if not scenario.model.genotype_terms:
        reason = "no gene enters the model"
    elif design.genotype == "unknown":
        reason = "the regimens of this trial do not see the genotype"
    if reason:
        return World(names[0], "", None, reason), World(names[1], "", None, reason)
    swapped = World(
        names[0],
        "regimens see the genotype of another patient",
        replace(design, arms=_shown(design.arms, lambda seen: _of_the_next(spec, entries, seen))),
    )
    needy = next((key for key, regimen in design.arms.items() if regimen.needs & entries), None)
    if needy is not None:
        return swapped, World(names[1], "", None, f"{needy} cannot dose without it")
    hidden = _shown(design.arms, lambda seen: _without(spec, entries, seen))
    return swapped, World(names[1], "nobody was genotyped; regimens see that", replace(design, arms=hidden))


def _genotype_entries(scenario: Scenario) -> frozenset[str]:
    """Return the observation entries that show a genotype, as alleles or as a phenotype."""
    terms = scenario.model.genotype_terms
    alleles = {allele_entry(term.gene, allele) for term in terms for allele in term.per_allele}
    named = alleles | {phenotype_entry(term.gene) for term in terms}
    return frozenset(entry.name for entry in scenario.covariates if entry.name in named)


def _of_the_next(spec: ObservationSpec, entries: frozenset[str], seen: Observation) -> Observation:
    """Return observations (n, k) with the genotype of the next patient, of the last that of the first."""
    altered = seen.copy()
    for name in entries:
        spec.write(altered, name, np.roll(spec.read(seen, name), -1))
    return altered


def _without(spec: ObservationSpec, entries: frozenset[str], seen: Observation) -> Observation:
    altered = seen.copy()
    for name in entries:
        spec.write(altered, name, np.nan)
    return altered


def _shown(arms: Mapping[str, Regimen], alter: Callable[[Observation], Observation]) -> dict[str, Regimen]:
    """Return the arms, shown something else; one that is shown the truth needs no laboratory."""
    return {
        name: regimen if isinstance(regimen, AttachedRegimen) else Misinformed(regimen, alter)
        for name, regimen in arms.items()
    }


@dataclass(frozen=True, eq=False)
class Misinformed:
    """A regimen that is shown altered observations.

    Attributes
    ----------
    regimen : who doses
    alter : ``alter(observation) -> observation``, (n, k) each
    """

    regimen: Regimen
    alter: Callable[[Observation], Observation]

    @property
    def name(self) -> str:
        """The regimen's."""
        return self.regimen.name

    @property
    def needs(self) -> frozenset[str]:
        """The regimen's."""
        return self.regimen.needs

    @property
    def seed_namespace(self) -> str | None:
        """Namespace of the patients that a policy was trained on; None of what was not trained."""
        return getattr(self.regimen, "seed_namespace", None)

    def predict(
        self,
        observation: Observation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        """Return what the regimen doses by the altered observation (n, k)."""
        return self.regimen.predict(self.alter(observation), state, episode_start, deterministic)


def _adherence(design: TrialDesign) -> World:
    name = "worse adherence"
    usual = max(preset.missed_dose for preset in design.scenario.realism.values())
    if usual == 0.0:
        return World(name, "", None, "no preset has missed doses: the drug is given by staff")
    share = max(min(_TIMES_MISSED * usual, _MOST_MISSED), usual)
    words = f"{100 * share:g} % of doses missed, not {100 * design.realism.missed_dose:g} %"
    return World(name, words, replace(design, realism=replace(design.realism, missed_dose=share)))


def _realism_words(preset: Realism) -> str:
    if preset.name == "textbook":
        return "constant parameters, every dose taken, every result on time"
    return f"{100 * preset.missed_dose:g} % of doses missed, drift, interacting drugs, late and lost results"
