"""What is usual of a version: learned from simulated patients that it doses, before it doses anybody else.

The shield needs to know what a policy has seen and how probable harm usually is, the ward how far results
scatter, the surveillance what its signals are like when nothing has changed. All of it is of the version's
own population, in the world that its realism preset describes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement.dosing import Dosing
from dosewright.agents.refinement.drift import Baseline, Plan, Signals
from dosewright.agents.refinement.shield import Limits, foresee
from dosewright.agents.refinement.signals import Results, followed, simulated, steps
from dosewright.agents.refinement.ward import p_values, tenfold
from dosewright.agents.regimens import Bayesian, Noisy
from dosewright.envs import Noise, Scenario, Stream
from dosewright.envs.realism import Realism
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.recording import record
from dosewright.evaluation.worlds import HiddenShift

Floats = NDArray[np.float64]

PATIENTS = 1000
"""Simulated patients that the limits are learned from, and what a change does."""
RISE = 4.6
"""Largest rise of a dose at a time: the largest load of the anchored action."""
SILENCE = 3
"""Visits in a row without a result after which a policy is not asked (ASSUMPTION)."""
CHANGES = {"needs more": 1.3, "needs less": 1 / 1.3}
"""Changes of the needed dose that the surveillance looks for."""
BEFORE, AFTER = 0.67, 0.22
"""Share of follow-up before and after a change in which those are enrolled from whom it is learned."""
_FALSE = 0.001  # share of right results that may look ten times off: as rare as such errors (ASSUMPTION)
_STEP = 1.05  # between two spreads that are tried
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
        Measurement -> times that the SD of its standardised innovations on the log scale counts, 1 or more:
        theirs, or more where tails are so long that results which are right would look ten times too large.
    baseline
        Of the surveillance.
    """

    limits: Limits
    spread: Mapping[str, float]
    baseline: Baseline

    def record(self) -> dict[str, Any]:
        """Return it as JSON-ready data, for `parse`."""
        return {
            "limits": self.limits.record(),
            "spread": dict(self.spread),
            "surveillance": self.baseline.record(),
        }

    @classmethod
    def parse(cls, record: Mapping[str, Any]) -> Usual:
        """Return what a `record` says; a broken one is an error."""
        try:
            spread = {str(name): float(value) for name, value in record["spread"].items()}
            return cls(Limits.parse(record["limits"]), spread, Baseline.parse(record["surveillance"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"what is usual of a version is broken ({error}); make the version again"
            ) from None


@dataclass(frozen=True)
class Rehearsal:
    """The simulated patients that a version doses before anybody else.

    Attributes
    ----------
    realism
        Preset of their world.
    patients, seed
        How many, of the `select` namespace, 1000 at least. The more, the lower are the thresholds of the
        surveillance, and the sooner it finds something.
    plan
        What the surveillance is for.
    """

    realism: str = "clinic"
    patients: int = 2000
    plan: Plan = field(default_factory=Plan)
    seed: int = 0


def learn_usual(scenario: Scenario, policy: LearnedPolicy | None, rehearsal: Rehearsal) -> Usual:
    """Return what is usual where a policy, or Bayesian monitoring where it is None, doses patients of a
    scenario with the version's population."""
    clinic = RehearsalClinic.of(scenario, policy, rehearsal.realism, rehearsal.seed)
    dosing, patients = clinic.dosing, rehearsal.patients
    enrolled = clinic.around(patients)
    log, results, signals = clinic.treated(enrolled)
    changed = {
        name: clinic.treated(enrolled[:PATIENTS], clinic.needing(factor, since=0.0))[2]
        for name, factor in CHANGES.items()
    }
    features, harm = _seen(dosing, log, min(patients, PATIENTS))
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
    spread = {
        item.name: _spread(results.z[mine], results.sd[mine])
        for number, item in enumerate(scenario.measurements)
        if (mine := results.measurement == number).any()
    }
    return Usual(limits, spread, Baseline.learn(signals, changed, 0.0, rehearsal.plan, rehearsal.seed))


@dataclass(frozen=True, eq=False)
class RehearsalClinic:
    """Simulated patients of a version, of the `select` namespace, enrolled around a day 0.

    Attributes
    ----------
    dosing
        The version.
    treats
        What doses them, drawn between neighbouring doses as live.
    realism
        Preset of their world.
    seed
        Of the patients.
    """

    dosing: Dosing
    treats: Noisy
    realism: Realism
    seed: int

    @classmethod
    def of(cls, scenario: Scenario, policy: LearnedPolicy | None, realism: str, seed: int) -> RehearsalClinic:
        """Return the clinic of a version with the population of `scenario`, dosed by a policy, or by Bayesian
        monitoring where it is None."""
        open_limits = Limits(scenario.doses.maximum, RISE, 1.0, SILENCE, (), np.zeros(0), np.zeros(0))
        dosing = Dosing(scenario, open_limits, "simulated", policy)
        doses = (
            Bayesian(scenario, fade=dosing.filter.fade, particles=dosing.particles)
            if policy is None
            else policy.standing_on(dosing.filter)
        )
        return cls(dosing, Noisy(scenario, doses), scenario.preset(realism), seed)

    @property
    def span(self) -> float:
        """Days of follow-up."""
        return self.dosing.scenario.horizon * self.dosing.scenario.clock.days

    def around(self, patients: int) -> Floats:
        """Return days of enrolment (n,) from `BEFORE` of follow-up before day 0 to `AFTER` after it."""
        when = Noise("select", self.seed).uniforms(np.arange(patients), Stream.ROWS)[:, 0, 0]
        return (when * (BEFORE + AFTER) - BEFORE) * self.span

    def needing(self, factor: float, since: float | None) -> HiddenShift:
        """Return the world in which everybody needs another dose by a factor, from a moment on."""
        return HiddenShift("changed", "", {self.dosing.scenario.need: factor}, since=since)

    def treated(
        self, enrolled: Floats, world: HiddenShift | None = None
    ) -> tuple[Trajectories, Results, Signals]:
        """Treat patients 0, 1, ..., enrolled on days (n,); in a world, or in that of the models."""
        scenario, ids = self.dosing.scenario, np.arange(len(enrolled))
        noise = Noise("select", self.seed)
        log = record(
            scenario, self.treats, scenario.population, ids, noise, self.realism, world=world,
            enrolled=enrolled / scenario.clock.days,
        )  # fmt: skip
        results = followed(self.dosing, log)
        return log, results, simulated(scenario, log, results, enrolled, noise)


def _spread(z: Floats, sd: Floats) -> float:
    """Return the spread of results (n,) that are all right: with it hardly any is held for one ten times
    off."""
    spread = max(float(np.std(z)), 1.0)
    while tenfold(p_values(z, sd, spread)).mean() > _FALSE:
        spread *= _STEP
    return spread


def _seen(dosing: Dosing, log: Trajectories, patients: int) -> tuple[NDArray[np.float32], Floats]:
    """Return the features of all visits of some patients, and P(harm) under the doses given."""
    kept, some = dosing.filter, log.select(np.arange(patients))
    features: list[NDArray[np.float32]] = []
    harm: list[Floats] = []
    for step in steps(kept, some):
        features.append(dosing.features(step.after, step.observation)[0])
        harm.append(foresee(kept, step.after, some.actions[step.rows, step.visit][:, None]).harm[:, 0])
    return np.concatenate(features), np.concatenate(harm)
