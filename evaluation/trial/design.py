"""What a virtual trial asks: who is treated by what, in which world."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from numpy import int64
from numpy.typing import NDArray

from dosewright.envs import Noise, Population, Regimen, Scenario, Treatment
from dosewright.envs.genotypes import allele_entry, phenotyped
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import GenotypeMode
from dosewright.evaluation.worlds import HiddenShift


@runtime_checkable
class AttachedRegimen(Regimen, Protocol):
    """A regimen that is shown the truth: an upper bound, never a competitor. Only the oracle is one."""

    def attach(self, treatment: Treatment) -> None:
        """Be shown the patients of the next course, before its first visit."""
        ...


@dataclass(frozen=True, eq=False)
class TrialDesign:
    """Everything about a trial but how many patients it has.

    Attributes
    ----------
    scenario, realism
        The decision problem, and how messy the world is.
    arms
        Regimens by name, in the order of the report. One with `attach` is shown the truth before each block.
    population
        Who is treated: a virtual population, or a cohort of real people.
    noise
        Namespace and seed.
    genotype
        What the regimens see of the genotype.
    world
        What differs for the patients without anybody being told; None: nothing.

    Raises
    ------
    ValueError
        For no arm, a policy trained on the namespace of the trial, or an arm that needs the genotype where it
        is hidden.
    """

    scenario: Scenario
    arms: Mapping[str, Regimen]
    population: Population
    noise: Noise
    realism: Realism
    genotype: GenotypeMode = "diplotype"
    world: HiddenShift | None = None

    def __post_init__(self) -> None:
        if not self.arms:
            raise ValueError("a trial without arms; give at least one")
        hidden = self._hidden()
        for name, regimen in self.arms.items():
            if getattr(regimen, "seed_namespace", None) == self.noise.namespace:
                raise ValueError(
                    f"arm {name!r}: its card says that it was trained on seed namespace "
                    f"{self.noise.namespace!r}, which this trial draws its patients from; train it on "
                    "'train', or use another namespace"
                )
            if regimen.needs & hidden:
                raise ValueError(
                    f"arm {name!r} needs {min(regimen.needs & hidden)}, which this genotype mode hides; "
                    "leave the arm out"
                )

    def _hidden(self) -> frozenset[str]:
        """Return the observation entries that nobody sees."""
        terms = self.scenario.model.genotype_terms
        hidden = phenotyped(terms) if self.genotype == "phenotype" else [term.gene for term in terms]
        if self.genotype in ("diplotype", "posterior"):
            hidden = ()
        return frozenset(
            allele_entry(term.gene, allele)
            for term in terms
            for allele in term.per_allele
            if term.gene in hidden
        )

    def described(self) -> dict[str, str]:
        """Return the design in words, part by part: two that differ in a word are not the same trial.

        Of the arms it has the names only: whoever made them knows what is in them.
        """
        numbers = hashlib.sha256(repr(self.realism).encode()).hexdigest()
        return {
            "scenario": f"{self.scenario.name} version {self.scenario.version}",
            "model": self.scenario.model.name,
            "realism": f"{self.realism.name}, SHA-256 {numbers[:16]}",
            "genotype seen": self.genotype,
            "seed": f"{self.noise.seed} of namespace {self.noise.namespace}",
            "arms": ", ".join(self.arms),
            **({} if self.world is None else {"world": str(self.world)}),
        }

    def people(self, ids: NDArray[int64]) -> str:
        """Return in words who is treated: how many, and a digest of everything that is drawn of them."""
        drawn = self.population.draw(self.scenario.model, self.scenario.base, ids, self.noise)
        digest = hashlib.sha256(ids.tobytes() + drawn.theta.tobytes())
        for values in (*drawn.covariates.values(), *drawn.genotypes.values(), *drawn.labels.values()):
            digest.update(values.tobytes())
        return f"{len(ids)}, SHA-256 {digest.hexdigest()[:16]}"
