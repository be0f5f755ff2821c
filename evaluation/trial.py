"""A virtual trial: every arm treats the same patients, who meet the same errors, missed doses and drift.

The arms are given to it; it does not know how any of them was made.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs import Intake, Noise, Patients, Population, RealCohort, Regimen, Scenario, Treatment
from dosewright.envs.genotypes import allele_counts, allele_entry, phenotyped
from dosewright.envs.pharmacology.model import GenotypeTerm
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios import Score
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.outcomes import outcome_values
from dosewright.evaluation.provenance import provenance
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
)

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@runtime_checkable
class AttachedRegimen(Regimen, Protocol):
    """A regimen that is shown the truth: an upper bound, never a competitor. Only the oracle is one."""

    def attach(self, treatment: Treatment) -> None:
        """Be shown the patients of the next course, before its first visit."""
        ...


@dataclass(frozen=True, eq=False)
class ArmResult:
    """What one arm did to the n patients of a trial, in the order of `TrialResult.ids`.

    Attributes
    ----------
    name
        The arm.
    upper_bound
        Whether it was shown the truth.
    outcomes : name -> (n,) the scenario's outcomes; bool for "ever", NaN where one is not defined
    benefit, harm : (n,) the scenario's benefit and harm, averaged over the followed units that score
    returns : (n,) benefit − weight × harm
    ever_harm : (n,) bool, whether the scenario's event happened
    doses : (n, visits) doses given, NaN after drop-out
    measured : (n, visits + 1) measured responses, NaN where there is none
    truth : (n, horizon + 1) float32, latent response of every unit, NaN after drop-out
    followed : (n,) units followed
    seconds
        Time spent in `predict`.
    decisions
        Doses decided, over all patients.
    """

    name: str
    upper_bound: bool
    outcomes: Mapping[str, Floats | Flags]
    benefit: Floats
    harm: Floats
    returns: Floats
    ever_harm: Flags
    doses: Floats
    measured: Floats
    truth: NDArray[np.float32]
    followed: NDArray[np.int64]
    seconds: float
    decisions: int

    @property
    def scores(self) -> dict[str, Floats | Flags]:
        """What every scenario has, by name: "benefit", "harm", "return" and "ever_harm", (n,) each."""
        return {
            "benefit": self.benefit,
            "harm": self.harm,
            "return": self.returns,
            "ever_harm": self.ever_harm,
        }

    def values(self, outcome: str) -> Floats | Flags:
        """Return an outcome (n,) by its name, or "benefit", "harm", "return" or "ever_harm".

        Raises
        ------
        ValueError
            For a name that is neither.
        """
        known = {**self.scores, **self.outcomes}
        if outcome not in known:
            raise ValueError(f"unknown outcome {outcome!r}; known: {', '.join(known)}")
        return known[outcome]


@dataclass(frozen=True, eq=False)
class TrialResult:
    """A virtual trial, patient by patient. Everything in a report is derived from it.

    Attributes
    ----------
    scenario, realism, genotype
        What was asked.
    namespace, seed
        Of the noise.
    ids : (n,) patients
    followed_days : (n,) days followed, the same in every arm
    covariates, genotypes, labels : name -> (n,), as in `Patients`
    substituted
        Reading -> number of alleles that the model has no value for.
    source
        Where the patients come from: publications, or the name of the file of real people.
    rows
        Rows in the file of real people; None for virtual ones.
    refused
        Reason -> number of rows that could not be used.
    arms
        By name, in the order given.
    provenance
        Command, versions, times.
    """

    scenario: Scenario
    realism: str
    genotype: GenotypeMode
    namespace: str
    seed: int
    ids: NDArray[np.int64]
    followed_days: NDArray[np.int64]
    covariates: Mapping[str, Floats]
    genotypes: Mapping[str, NDArray[np.str_]]
    labels: Mapping[str, NDArray[np.str_]]
    substituted: Mapping[str, int]
    source: str
    rows: int | None
    refused: Mapping[str, int]
    arms: Mapping[str, ArmResult]
    provenance: Mapping[str, Any]

    def arm(self, name: str) -> ArmResult:
        """Return an arm; an unknown name is an error that lists the known ones."""
        if name not in self.arms:
            raise ValueError(f"unknown arm {name!r}; arms of this trial: {', '.join(self.arms)}")
        return self.arms[name]

    def estimate(self, arm: str, outcome: str, mask: Flags | None = None) -> Interval:
        """Return the mean of an outcome with its 95 % interval, Student's t or, for a proportion, Wilson's.

        Parameters
        ----------
        arm, outcome
            As in `ArmResult.values`.
        mask : (n,) bool, optional
            Patients that count; those without a value of the outcome are left out, so `Interval.n` may be
            smaller.

        Raises
        ------
        ValueError
            For an unknown name, or fewer than two patients with a value.
        """
        values = self.arm(arm).values(outcome)
        keep = np.isfinite(values) if mask is None else np.isfinite(values) & mask
        return (proportion_interval if values.dtype == np.bool_ else mean_interval)(values[keep])

    def difference(self, arm: str, reference: str, outcome: str, mask: Flags | None = None) -> Difference:
        """Return the paired difference `arm` − `reference` with its 95 % interval.

        Student's t on the differences or, for a proportion, Newcombe's square-and-add. Patients without a
        value in one of the two arms are left out of both; parameters and errors as in `estimate`.
        """
        a, b = self.arm(arm).values(outcome), self.arm(reference).values(outcome)
        keep = np.isfinite(a) & np.isfinite(b)
        if mask is not None:
            keep &= mask
        paired = paired_proportion_difference if a.dtype == np.bool_ else paired_difference
        return paired(a[keep], b[keep])

    def variant_alleles(self) -> dict[str, NDArray[np.int64]]:
        """Return gene -> (n,) alleles (0 to 2) that the model does not read as the gene's first one."""
        terms = self.scenario.model.genotype_terms
        counts = allele_counts(terms, self.genotypes)
        variants = {term.gene: np.zeros(len(self.ids), dtype=np.int64) for term in terms}
        for term in terms:
            for allele in list(term.per_allele)[1:]:
                variants[term.gene] += counts[allele_entry(term.gene, allele)].astype(np.int64)
        return variants

    def subgroups(self) -> dict[str, dict[str, Flags]]:
        """Return kind of subgroup -> label -> (n,) mask, without empty groups.

        Genotype (the genes of the model, crossed), age, sex and ancestry, as far as they are known.
        """
        groups = {"genotype": self._genotype_groups()}
        if "age_y" in self.covariates:
            age = self.covariates["age_y"]
            groups["age"] = {
                "under 65 years": age < 65,
                "65 to 74 years": (age >= 65) & (age < 75),
                "75 years and over": age >= 75,
            }
        if "male" in self.covariates:
            male = self.covariates["male"]
            groups["sex"] = {"women": male == 0, "men": male == 1, "not recorded": np.isnan(male)}
        if "ancestry" in self.labels:
            ancestry = self.labels["ancestry"]
            groups["ancestry"] = {str(name): ancestry == name for name in np.unique(ancestry)}
        return {
            kind: {label: mask for label, mask in masks.items() if mask.any()}
            for kind, masks in groups.items()
            if masks
        }

    def _genotype_groups(self) -> dict[str, Flags]:
        variants = self.variant_alleles()
        groups: dict[str, Flags] = {}
        for term in self.scenario.model.genotype_terms:
            words = _variant_words(term)
            own = {f"{term.gene} {words[k]}": variants[term.gene] == k for k in range(3)}
            groups = {f"{a}, {b}": groups[a] & own[b] for a in groups for b in own} if groups else own
        return groups

    def patient_table(self) -> Any:
        """Return a `polars.DataFrame`: one row per patient and arm, doses as a list, missing values null."""
        import polars  # slow to import, and only this needs it

        who: dict[str, Any] = {
            **self.covariates,
            **self.genotypes,
            **self.labels,
            "followed_days": self.followed_days,
        }
        frames = []
        for name, arm in self.arms.items():
            doses = [row[~np.isnan(row)].tolist() for row in arm.doses]
            columns = {"id": self.ids, "arm": [name] * len(self.ids), **who, **arm.scores, **arm.outcomes}
            frames.append(polars.DataFrame({**columns, "doses": doses}, nan_to_null=True))
        return polars.concat(frames)


@dataclass(frozen=True, eq=False)
class _Course:
    """One arm, one block of patients."""

    responses: Mapping[str, Floats]
    benefit: Floats
    harm: Floats
    measured: Floats
    doses: Floats
    seconds: float
    decisions: int


def run_trial(
    scenario: Scenario,
    arms: Mapping[str, Regimen],
    population: Population,
    ids: ArrayLike,
    noise: Noise,
    realism: Realism,
    genotype: GenotypeMode = "diplotype",
    block: int = 1000,
    progress: Callable[[str, int], None] | None = None,
) -> TrialResult:
    """Treat the same patients by every arm.

    Parameters
    ----------
    scenario, realism
        The decision problem, and how messy the world is.
    arms
        Regimens by name, in the order of the report. One with `attach` is shown the truth before each block.
    population
        Who is treated: a virtual population, or a cohort of real people.
    ids : (n,) int
        Patients of `population`, each once.
    noise
        Namespace and seed.
    genotype
        Whether the regimens see the genotype.
    block
        Patients simulated together; bounds the memory, does not change a number.
    progress
        Called with an arm and how many of its patients were just finished.

    Raises
    ------
    ValueError
        For no arm, a policy trained on the namespace of the trial, an arm that needs the genotype where it is
        unknown, fewer than two patients, one listed twice, or a dose that is missing or negative.
    """
    chosen = _checked_patients(ids, block)
    _check_arms(arms, noise, _hidden(scenario, genotype))
    started, clock = datetime.now(UTC), time.perf_counter()
    people: list[Patients] = []
    courses: dict[str, list[_Course]] = {name: [] for name in arms}
    for first in range(0, len(chosen), block):
        patients = population.draw(scenario.model, scenario.base, chosen[first : first + block], noise)
        intake = Intake.prepare(scenario, patients, noise, realism, genotype)
        people.append(patients)
        for name, regimen in arms.items():
            courses[name].append(_treat(name, regimen, scenario, intake))
            if progress is not None:
                progress(name, len(patients))
    results = {name: _arm_result(scenario, name, arms[name], blocks) for name, blocks in courses.items()}
    real = population if isinstance(population, RealCohort) else None
    return TrialResult(
        scenario=scenario,
        realism=realism.name,
        genotype=genotype,
        namespace=noise.namespace,
        seed=int(noise.seed),
        ids=chosen,
        followed_days=next(iter(results.values())).followed,
        covariates=_join([p.covariates for p in people]),
        genotypes=_join([p.genotypes for p in people]),
        labels=_join([p.labels for p in people]),
        substituted=dict(sum((Counter(p.substituted) for p in people), Counter[str]())),
        source=str(getattr(population, "source", "population")) if real is None else Path(real.path).name,
        rows=None if real is None else real.rows,
        refused={} if real is None else real.reasons,
        arms=results,
        provenance=provenance(started, time.perf_counter() - clock),
    )


def _checked_patients(ids: ArrayLike, block: int) -> NDArray[np.int64]:
    chosen = np.asarray(ids, dtype=np.int64)
    if chosen.ndim != 1 or len(chosen) < 2:
        raise ValueError(
            f"patients: shape {chosen.shape}; expected at least two identifiers, an interval needs them"
        )
    if len(np.unique(chosen)) < len(chosen):
        values, counts = np.unique(chosen, return_counts=True)
        raise ValueError(f"patient {values[counts > 1][0]} is listed twice; expected each identifier once")
    if block < 1:
        raise ValueError(f"block = {block}; expected a positive number of patients")
    return chosen


def _hidden(scenario: Scenario, genotype: GenotypeMode) -> frozenset[str]:
    """Return the observation entries that nobody sees."""
    terms = scenario.model.genotype_terms
    hidden = phenotyped(terms) if genotype == "phenotype" else [term.gene for term in terms]
    if genotype in ("diplotype", "posterior"):
        hidden = ()
    return frozenset(
        allele_entry(term.gene, allele) for term in terms for allele in term.per_allele if term.gene in hidden
    )


def _check_arms(arms: Mapping[str, Regimen], noise: Noise, hidden: frozenset[str]) -> None:
    if not arms:
        raise ValueError("a trial without arms; give at least one")
    for name, regimen in arms.items():
        if getattr(regimen, "seed_namespace", None) == noise.namespace:
            raise ValueError(
                f"arm {name!r}: its card says that it was trained on seed namespace {noise.namespace!r}, "
                "which this trial draws its patients from; train it on 'train', or use another namespace"
            )
        if regimen.needs & hidden:
            raise ValueError(
                f"arm {name!r} needs {min(regimen.needs & hidden)}, which this genotype mode hides; "
                "leave the arm out"
            )


def _treat(name: str, regimen: Regimen, scenario: Scenario, intake: Intake) -> _Course:
    """Take one block of patients through one arm."""
    treatment = Treatment(scenario, intake)
    if isinstance(regimen, AttachedRegimen):
        regimen.attach(treatment)
    state, start = None, np.ones(len(treatment), dtype=bool)
    seconds, decisions = 0.0, 0
    while treatment.active.any():
        observation = treatment.observe()
        clock = time.perf_counter()
        dose, state = regimen.predict(observation, state, start)
        seconds += time.perf_counter() - clock
        decisions += int(treatment.active.sum())
        try:
            treatment.give(dose)
        except ValueError as error:
            raise ValueError(f"arm {name!r}, patients from {intake.patients.ids[0]} on: {error}") from error
        start = np.zeros(len(treatment), dtype=bool)
    return _Course(
        responses=treatment.responses,
        benefit=treatment.benefit,
        harm=treatment.harm,
        measured=treatment.measured,
        doses=treatment.given,
        seconds=seconds,
        decisions=decisions,
    )


def _arm_result(scenario: Scenario, name: str, regimen: Regimen, blocks: Sequence[_Course]) -> ArmResult:
    responses = _join([course.responses for course in blocks])
    measured = np.concatenate([course.measured for course in blocks])
    scored = {key: np.concatenate([getattr(course, key) for course in blocks]) for key in ("benefit", "harm")}
    followed = ~np.isnan(scored["benefit"])
    # units that score, of those followed: all of them in most scenarios
    counted = scenario.scored * followed.sum(axis=1) / scenario.horizon
    benefit, harm = (np.nansum(values, axis=1) / counted for values in scored.values())
    after = {name: values[:, 1:] for name, values in responses.items()}
    return ArmResult(
        name=name,
        upper_bound=isinstance(regimen, AttachedRegimen),
        outcomes={
            o.name: _scored(o.score, after, followed)
            if o.score is not None
            else outcome_values(o, responses[o.response or scenario.output], measured, scenario.days)
            for o in scenario.outcomes
        },
        benefit=benefit,
        harm=harm,
        returns=benefit - scenario.weight * harm,
        ever_harm=scenario.event.happened(after, followed),
        doses=np.concatenate([course.doses for course in blocks]),
        measured=measured,
        truth=responses[scenario.output].astype(np.float32),
        followed=followed.sum(axis=1),
        seconds=sum(course.seconds for course in blocks),
        decisions=sum(course.decisions for course in blocks),
    )


def _scored(score: Score, responses: Mapping[str, Floats], followed: Flags) -> Floats:
    """Return (n,) the mean of a score over the followed units."""
    values = np.where(followed, score.of(responses, np.arange(followed.shape[1])), 0.0)
    return values.sum(axis=1) / np.maximum(followed.sum(axis=1), 1)


def _join(parts: Sequence[Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _variant_words(term: GenotypeTerm) -> tuple[str, str, str]:
    """Words for 0, 1 and 2 alleles other than the gene's first."""
    first, *others = term.per_allele
    if len(others) == 1:
        return f"{first}{first}", f"{first}{others[0]}", f"{others[0]}{others[0]}"
    return f"{first}/{first}", "one variant", "two variants"
