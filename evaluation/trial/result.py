"""What a virtual trial found, patient by patient: one result an arm, and what is derived from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.genotypes import allele_counts, allele_entry
from dosewright.envs.pharmacology.model import GenotypeTerm
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.statistics import (
    Difference,
    Interval,
    mean_interval,
    paired_difference,
    paired_proportion_difference,
    proportion_interval,
)
from dosewright.evaluation.trial.precision import Precision

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


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
    first_harm : (n,) the unit, counted from 1, in which it happened first; NaN where it did not while the
        patient was followed. An event that is a share of the units followed is known only afterwards: its
        time is that at which the patient's own limit was passed (`Event.first`), which describes and does
        not predict. The time for Kaplan-Meier is ``np.where(ever_harm, first_harm, followed)``.
    doses : (n, visits) doses given, NaN after drop-out
    measured : (n, visits + 1) measured responses, NaN where there is none
    truth : (n, horizon + 1) float32, latent response of every unit, NaN after drop-out
    followed : (n,) units followed; fewer than the horizon: dropped out
    seconds
        Time spent in `predict`, that of several processes added up.
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
    first_harm: Floats
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
    followed_days : (n,) units followed (days, cycles, …), the same in every arm
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
    precision
        Whether the wanted precision was reached; None where none was wanted.
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
    precision: Precision | None = None

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
        """Return a `polars.DataFrame`: one row per patient and arm, missing values null.

        Besides who the patient is, the scores and the outcomes: "followed" and "first_harm" in units,
        "followed_days" in days, "dropped_out", and the doses as a list.
        """
        import polars  # slow to import, and only this needs it

        who: dict[str, Any] = {
            **self.covariates,
            **self.genotypes,
            **self.labels,
            "followed": self.followed_days,
            "followed_days": self.followed_days * self.scenario.clock.days,
            "dropped_out": self.followed_days < self.scenario.horizon,
        }
        frames = []
        for name, arm in self.arms.items():
            columns: dict[str, Any] = {"id": self.ids, "arm": [name] * len(self.ids), **who, **arm.scores}
            columns |= {"first_harm": arm.first_harm, **arm.outcomes}
            columns["doses"] = [row[~np.isnan(row)].tolist() for row in arm.doses]
            frames.append(polars.DataFrame(columns, nan_to_null=True))
        return polars.concat(frames)


def _variant_words(term: GenotypeTerm) -> tuple[str, str, str]:
    """Words for 0, 1 and 2 alleles other than the gene's first."""
    first, *others = term.per_allele
    if len(others) == 1:
        return f"{first}{first}", f"{first}{others[0]}", f"{others[0]}{others[0]}"
    return f"{first}/{first}", "one variant", "two variants"
