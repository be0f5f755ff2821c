"""Choosing a policy: tried on patients of the `select` namespace, never on those of a trial."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dosewright.agents.learning.multiplier import LEAST
from dosewright.agents.learning.preset import BeliefPart, Preset
from dosewright.agents.regimens import Bayesian
from dosewright.envs import Noise, Regimen, Scenario, scenario
from dosewright.evaluation import run_trial

SEED = 0


@dataclass(frozen=True)
class Score:
    """Result on `select` patients: mean return, benefit and harm, and the share with the event that a trial
    counts."""

    returns: float
    benefit: float
    harm: float
    ever_harm: float


class Selection:
    """Tries policies on the same patients, Bayesian monitoring first.

    Parameters
    ----------
    preset
        Realism, genotype mode, number of patients, and the budget of harm.
    known
        The preset's scenario with another population, seen as the preset says; None: as it is published.

    Attributes
    ----------
    baseline
        Bayesian monitoring's score, with the fading and the particles of the policy's belief, where it has
        one: the untrained policy, where that departs from monitoring.
    budget
        Share of the patients that may have the event.
    """

    def __init__(self, preset: Preset, known: Scenario | None = None) -> None:
        published = scenario(preset.scenario.drug).seen_as(preset.scenario.genotype)
        self._preset, self._scenario = preset, known or published
        seen = preset.input
        self.baseline = self.score(
            Bayesian(self._scenario, fade=seen.fade, particles=seen.particles)
            if isinstance(seen, BeliefPart)
            else Bayesian(self._scenario, fade=self._scenario.monitoring.fade)
        )
        self.budget = max(preset.harm.budget * self.baseline.ever_harm, LEAST)

    def score(self, arm: Regimen) -> Score:
        """Return the score of a regimen."""
        asked, known = self._preset.scenario, self._scenario
        result = run_trial(
            known,
            {"arm": arm},
            known.population,
            np.arange(self._preset.evaluation.patients),
            Noise("select", SEED),
            known.preset(asked.realism),
            asked.genotype,
        ).arms["arm"]
        values = (result.returns, result.benefit, result.harm, result.ever_harm)
        return Score(*(float(np.mean(value)) for value in values))

    def rank(self, score: Score) -> float:
        """Order of preference: benefit, less the share of patients with the event beyond the budget."""
        return score.benefit - max(0.0, score.ever_harm - self.budget)
