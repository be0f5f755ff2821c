"""The three-day dose table: what two strategies give on days 1 to 3, on the same people.

French et al., Pharmacogenet Genomics 2016;26:445, table 3, compared EU-PACT's strategies with COAG's on
COAG's participants. It checks equations, loading doses and cohort; no response is needed for it. The same
table has the average initial dose over the maintenance dose.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Intake, Noise, Population, Regimen, Scenario, Treatment
from dosewright.envs.realism import TEXTBOOK
from dosewright.evaluation.replications.acceptance import Check, Published
from dosewright.evaluation.replications.contrast import weighted
from dosewright.evaluation.statistics import Difference, Interval, mean_interval, paired_difference

Floats = NDArray[np.float64]

SOURCE = "French 2016, Pharmacogenet Genomics 26:445, table 3"
TOLERANCE_MG = 0.5

# arm -> group -> published mean and SD of EU-PACT's three-day total minus COAG's, mg
PUBLISHED = {
    "genotype": {"all": (4.8, 1.8), "Black": (6.4, 1.5), "non-Black": (4.2, 1.5)},
    "control": {"all": (2.5, 3.4), "Black": (0.1, 3.9), "non-Black": (3.4, 2.7)},
}
# (trial, arm) -> group -> published average initial dose over maintenance dose
PUBLISHED_RATIO = {
    ("EU-PACT", "genotype"): {"all": 1.5, "Black": 1.6, "non-Black": 1.4},
    ("EU-PACT", "control"): {"all": 1.3, "Black": 1.1, "non-Black": 1.3},
    ("COAG", "genotype"): {"all": 1.1, "Black": 1.2, "non-Black": 1.1},
    ("COAG", "control"): {"all": 1.1, "Black": 1.1, "non-Black": 1.1},
}
# arm -> participants analysed by race
_ANALYSED = {
    "genotype": {"Black": 139, "non-Black": 371},
    "control": {"Black": 134, "non-Black": 366},
}


@dataclass(frozen=True)
class DoseRow:
    """One cell of the table.

    Attributes
    ----------
    arm, group
        "genotype" or "control"; "all", "Black" or "non-Black".
    estimate, sd
        Mean of EU-PACT's three-day total minus COAG's, with its interval, and SD over people, mg.
    published_mean, published_sd
        The table's.
    """

    arm: str
    group: str
    estimate: Difference
    sd: float
    published_mean: float
    published_sd: float

    @property
    def check(self) -> Check:
        """What must hold of it: the published mean within `TOLERANCE_MG`."""
        return Check(
            item=5,
            what=f"three-day dose, EU-PACT minus COAG, {self.arm} arm, {self.group} participants",
            realism="",
            unit="mg",
            estimate=self.estimate,
            rule="must hold",
            band=(self.published_mean - TOLERANCE_MG, self.published_mean + TOLERANCE_MG),
            flag="A",
            published=Published(self.published_mean, "A", SOURCE),
        )


@dataclass(frozen=True, eq=False)
class FirstDoses:
    """What strategies give on days 1 to 3 to the same n people.

    Attributes
    ----------
    total : strategy -> (n,) doses of the three days together, mg, as the regimen asks for them: neither
        capped nor rounded
    maintenance : (n,) dose that holds a person's INR at the target in the model's steady state, mg a day
    """

    total: Mapping[str, Floats]
    maintenance: Floats

    def over_maintenance(self, strategy: str) -> Interval:
        """Return the mean over people of the average dose of the three days over the maintenance dose."""
        return mean_interval(self.total[strategy] / 3 / self.maintenance)


def first_doses(
    scenario: Scenario,
    strategies: Mapping[str, Regimen],
    population: Population,
    ids: NDArray[np.int64],
    noise: Noise,
) -> FirstDoses:
    """Return what strategies give on days 1 to 3; the genotype is known from the first.

    Parameters
    ----------
    scenario
        A decision every day (`trial_scenario`).
    strategies
        Regimens by name.
    population, ids : (n,), noise
        Who is dosed.
    """
    assert scenario.maintenance_dose is not None
    patients = population.draw(scenario.model, scenario.base, ids, noise)
    intake = Intake.prepare(scenario, patients, noise, TEXTBOOK)
    totals = {}
    for name, regimen in strategies.items():
        treatment, state = Treatment(scenario, intake), None
        total = np.zeros(len(ids))
        for day in range(3):
            dose, state = regimen.predict(treatment.observe(), state, np.full(len(ids), day == 0))
            treatment.give(dose)
            total += dose
        totals[name] = total
    return FirstDoses(totals, scenario.maintenance_dose(patients.theta, scenario.target))


def dose_rows(arm: str, doses: Mapping[str, FirstDoses], eu_pact: str, coag: str) -> list[DoseRow]:
    """Return the table's cells of one arm, "all" first.

    Parameters
    ----------
    arm
        "genotype" or "control".
    doses : race -> first doses
    eu_pact, coag
        Names of the two strategies.
    """
    pairs = {race: (found.total[eu_pact], found.total[coag]) for race, found in doses.items()}
    means = {race: paired_difference(*pair) for race, pair in pairs.items()}
    spreads = {race: float(np.std(a - b, ddof=1)) for race, (a, b) in pairs.items()}
    parts = [(share, race) for race, share in analysed(arm).items()]
    everybody = weighted([(share, means[race]) for share, race in parts])
    between = sum(share * (means[race].mean - everybody.mean) ** 2 for share, race in parts)
    spread = math.sqrt(between + sum(share * spreads[race] ** 2 for share, race in parts))
    cells = [("all", everybody, spread), *((race, means[race], spreads[race]) for _, race in parts)]
    return [DoseRow(arm, group, mean, sd, *PUBLISHED[arm][group]) for group, mean, sd in cells]


def analysed(arm: str) -> dict[str, float]:
    """Return the share of each race among the participants that the table analyses in an arm."""
    count = _ANALYSED[arm]
    return {race: number / sum(count.values()) for race, number in count.items()}
