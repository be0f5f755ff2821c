"""Who takes part in a warfarin trial: published marginals, alleles by race, and variants that nobody typed.

The decision problem of a replication is the scenario's (model, target, assay) with other people, a finer
grid of doses and a decision every day: a trial's arms change the dose from day to day, and may ask for the
next INR themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Noise, Patients, Scenario, VirtualPopulation, scenario
from dosewright.envs.genotypes import allele_entry
from dosewright.envs.observation import Entry
from dosewright.envs.patients import Share, Stratum
from dosewright.envs.pharmacology import PopulationModel
from dosewright.envs.scenarios.dosing import DoseGrid
from dosewright.envs.scenarios.protocols.people import mosteller

Floats = NDArray[np.float64]

# Frequencies rounded from CPIC's tables; those of Europeans slightly lowered because not all participants who
# are not Black are European (flag C)
ALLELES = {
    "CYP2C9": {
        "European": {"*1": 0.804, "*2": 0.127, "*3": 0.069},
        "African American/Afro-Caribbean": {"*1": 0.965, "*2": 0.022, "*3": 0.013},
    },
    "VKORC1": {
        "European": {"G": 0.61, "A": 0.39},
        "African American/Afro-Caribbean": {"G": 0.90, "A": 0.10},
    },
}

# 0.25 to 15 mg (trials.md 4); steps of the smallest dose
DOSES = DoseGrid("mg/day", 0.25, 15.0)

# What no published table splits by arm: nobody has it (ASSUMPTION)
_ABSENT = ("amiodarone", "inducer", "stroke", "diabetes", "fluvastatin")

# CYP2C9 *5, *6, *8 and *11 together, and rs12777823 A: frequency in African Americans, and factor on
# clearance per allele (ASSUMPTION, trials.md 4)
_HIDDEN = {"hidden_cyp2c9": (0.093, 0.7), "rs12777823_a": (0.24, 0.87)}
_PARENTS = ("maternal", "paternal")

GENOTYPE_ENTRIES = (
    allele_entry("CYP2C9", "*2"),
    allele_entry("CYP2C9", "*3"),
    allele_entry("VKORC1", "A"),
)
"""Observation entries that are missing until the genotype is known."""

GENOTYPE_IN_TIME = "genotype_in_time"  # covariate: 1 if the genotype is known before the first dose


def people(
    stratum: str,
    source: str,
    *,
    smokers: float | None,
    thrombosis: float,
    genotype_in_time: float,
    hidden: bool,
) -> VirtualPopulation:
    """Return the participants of a trial, or those of one race.

    Parameters
    ----------
    stratum
        Name of the warfarin scenario's stratum that has age, sex, height and weight.
    source
        Where the shares come from.
    smokers
        Share who smoke; None: not published, so it is not known of anybody.
    thrombosis, genotype_in_time
        Shares who have a thrombosis or embolism, and whose genotype is known before the first dose.
    hidden
        Whether they carry alleles that the trial did not type; what these do is `HiddenVariants`'.
    """
    base = scenario("warfarin").population
    chosen: Stratum = next(item for item in base.strata if item.name == stratum)
    # two chromosomes, drawn independently: Hardy and Weinberg's proportions
    alleles = tuple(
        (f"{name}_{parent}", Share(frequency))
        for name, (frequency, _) in (_HIDDEN if hidden else {}).items()
        for parent in _PARENTS
    )
    return replace(
        base,
        strata=(replace(chosen, share=1.0),),
        absent=_ABSENT,
        source=source,
        extra=(
            *(() if smokers is None else (("smoker", Share(smokers)),)),
            ("dvt_or_pe", Share(thrombosis)),
            (GENOTYPE_IN_TIME, Share(genotype_in_time)),
            *alleles,
        ),
        derive=_derived,
    )


def _derived(known: dict[str, Floats]) -> dict[str, Floats]:
    """Return the body surface area, and what is not known."""
    derived = mosteller(known)
    if "smoker" not in known:
        derived["smoker"] = np.full(len(known["age_y"]), np.nan)
    return derived


@dataclass(frozen=True)
class HiddenVariants:
    """A population in which the alleles that nobody typed lower the clearance of S-warfarin.

    They are the people of `population`, in whom the same alleles do nothing, with the same random effects and
    lives: the difference is the alleles' alone.
    """

    population: VirtualPopulation

    def draw(
        self, model: PopulationModel, base: tuple[float, float] | None, ids: NDArray[np.int64], noise: Noise
    ) -> Patients:
        """Return the patients with these identifiers."""
        patients = self.population.draw(model, base, ids, noise)
        theta = patients.theta.copy()
        for name, (_, factor) in _HIDDEN.items():
            for parent in _PARENTS:
                theta[:, model.column("CL")] *= factor ** patients.covariates[f"{name}_{parent}"]
        return replace(patients, theta=theta)


# what equations ask of a person besides the warfarin scenario's entries
_KNOWN = (
    Entry("bsa_m2", "m²", 0.5, 4.0, meaning="body surface area, Mosteller"),
    Entry("smoker", "1", 0, 1, 0.0, meaning="1 if the person smokes"),
    Entry("dvt_or_pe", "1", 0, 1, meaning="1 if warfarin is for a thrombosis or embolism"),
    Entry("stroke", "1", 0, 1, meaning="1 after a stroke"),
    Entry("diabetes", "1", 0, 1, meaning="1 with diabetes"),
    Entry("fluvastatin", "1", 0, 1, meaning="1 if the person takes it"),
)


def day_by_day(scenario: Scenario) -> Scenario:
    """Return one of warfarin's decision problems with a decision every day, and with everything that the
    equations of a trial ask of a person; the population must have it."""
    return replace(
        scenario,
        calendar=tuple(range(scenario.horizon)),
        covariates=scenario.covariates + _KNOWN,
    )


def trial_scenario(title: str, population: VirtualPopulation) -> Scenario:
    """Return warfarin's decision problem with a decision every day and what a trial knows of its people.

    The lives of participants are the scenario's 90 days, whenever their trial ends: what a preset says of its
    horizon, such as how many meet an interacting drug, it says of these.
    """
    warfarin = scenario("warfarin")
    model = replace(
        warfarin.model,
        genotype_terms=tuple(
            replace(term, frequencies=ALLELES[term.gene]) for term in warfarin.model.genotype_terms
        ),
    )
    return replace(day_by_day(warfarin), title=title, model=model, population=population, doses=DOSES)
