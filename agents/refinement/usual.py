"""What is usual of a version: learned from simulated patients that it doses, before it doses anybody else.

The shield needs to know what a policy has seen and how probable harm usually is, the ward how far results
scatter, the surveillance what its signals are like when nothing has changed. All of it is of the version's
own population, in the world that its realism preset describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement.dosing import Dosing
from dosewright.agents.refinement.shield import Limits, foresee
from dosewright.agents.refinement.ward import log_innovation
from dosewright.agents.regimens import Bayesian, Noisy
from dosewright.envs import Noise, Scenario
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.recording import record

Floats = NDArray[np.float64]

PATIENTS = 1000
"""Simulated patients that the usual is learned from."""
RISE = 4.6
"""Largest rise of a dose at a time: the largest load of the anchored action."""
SILENCE = 3
"""Visits in a row without a result after which a policy is not asked (ASSUMPTION)."""
_HULL = (0.0005, 0.9995)  # quantiles of a feature that bound what was seen
_WIDER = 0.25  # by so much of their distance on either side
_HARM = 0.995  # quantile of P(harm) under the doses that are usually given
_LEAST_HARM = 0.05  # limit of P(harm) where harm is rare


@dataclass(frozen=True, eq=False)
class Usual:
    """What is usual of a version.

    Attributes
    ----------
    limits
        Of the shield.
    spread
        Measurement -> SD of its standardised innovations on the log scale, 1 or more.
    """

    limits: Limits
    spread: Mapping[str, float]

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready data, for `parse`."""
        return {"limits": self.limits.record(), "spread": dict(self.spread)}

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Usual:
        """Return what a `record` says; a broken one is an error."""
        try:
            spread = {str(name): float(value) for name, value in record["spread"].items()}
            return cls(Limits.parse(record["limits"]), spread)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"what is usual of a version is broken ({error}); make the version again"
            ) from None


def learn_usual(
    scenario: Scenario,
    policy: LearnedPolicy | None,
    *,
    realism: str = "clinic",
    patients: int = PATIENTS,
    seed: int = 0,
) -> Usual:
    """Return what is usual where a policy, or Bayesian monitoring, doses patients of a scenario.

    Parameters
    ----------
    scenario
        With the version's population.
    policy
        None: monitoring.
    realism
        Preset of the simulated world.
    patients, seed
        How many, of the `select` namespace.
    """
    open_limits = Limits(scenario.doses.maximum, RISE, 1.0, SILENCE, (), np.zeros(0), np.zeros(0))
    dosing = Dosing(scenario, open_limits, "simulated", policy)
    doses = (
        Bayesian(scenario, fade=dosing.filter.fade, particles=dosing.particles)
        if policy is None
        else policy.standing_on(dosing.filter)
    )
    log = record(
        scenario,
        Noisy(scenario, doses),
        scenario.population,
        np.arange(patients),
        Noise("select", seed),
        scenario.preset(realism),
    )
    features, harm, scatter = _followed(dosing, log)
    low, high = np.quantile(features, _HULL, axis=0)
    width = _WIDER * np.maximum(high - low, 1e-6)
    limits = Limits(
        most=scenario.doses.maximum,
        rise=RISE,
        harm=max(float(np.quantile(harm, _HARM)), _LEAST_HARM),
        silence=SILENCE,
        features=dosing.features.names,
        low=low - width,
        high=high + width,
    )
    spread = {name: max(float(np.std(values)), 1.0) for name, values in scatter.items() if values}
    return Usual(limits, spread)


def _followed(
    dosing: Dosing, log: Trajectories
) -> tuple[NDArray[np.float32], Floats, dict[str, list[float]]]:
    """Return the features of all visits, P(harm) under the doses given, and the log-scale innovations of
    every measurement."""
    kept, belief = dosing.filter, None
    features: list[NDArray[np.float32]] = []
    harm: list[Floats] = []
    scatter: dict[str, list[float]] = {item.name: [] for item in dosing.scenario.measurements}
    for visit in range(log.horizon):
        rows = np.flatnonzero(log.mask[:, visit])
        observation = log.observations[rows, visit].astype(np.float32)
        moved, arrived = kept.expect(None if belief is None else belief.select(rows), observation)
        for number, item in enumerate(dosing.scenario.measurements):
            for row, offset in np.argwhere(~np.isnan(arrived[:, :, number])).tolist():
                value = float(arrived[row, offset, number])
                if value > 0:
                    predicted = moved.predicted[row, offset, :, number]
                    z = log_innovation(item, value, predicted, moved.weight[row])
                    scatter[item.name].append(float(z[0]))
        after = kept.weigh(moved, observation)
        features.append(dosing.features(after, observation)[0])
        harm.append(foresee(kept, after, log.actions[rows, visit][:, None]).harm[:, 0])
        belief = after if belief is None else belief.replace_rows(rows, after)
    return np.concatenate(features), np.concatenate(harm), scatter
