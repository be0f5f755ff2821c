"""What doses now: a version's belief, policy and shield, and the randomisation that makes logs worth having.

The dose that a patient is served is drawn between neighbouring doses of the grid with stated probabilities:
without that nobody could ever say, from the log, what another regimen would have done. The draw is a function
of the patient, the visit and the service's seed, not of the version, so a version that is rolled back to
serves what it served.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy
from dosewright.agents.refinement.factors import most_visits
from dosewright.agents.refinement.shield import Limits, capped, ceiling, foresee, safe, worded
from dosewright.agents.regimens import Steps
from dosewright.agents.regimens.draws import visit_uniforms
from dosewright.envs import DrawKeys, Noise, Scenario

Floats = NDArray[np.float64]

MONITORING = "bayesian-adaptive"
_ARM = "served"


@dataclass(frozen=True, eq=False)
class Asked:
    """A patient who waits for a dose.

    Attributes
    ----------
    patient, event
        Name, and id of the event that asks.
    belief
        After this visit, of one patient.
    observation : (k,) what is seen
    visit
        Number of the visit, from 0.
    last
        Dose in force so far; NaN where there was none.
    silent
        Visits in a row, this one included, without a new result.
    alarm
        Why the policy is not to be trusted at this patient's site; empty where it is.
    """

    patient: str
    event: str
    belief: Belief
    observation: NDArray[np.float32]
    visit: int
    last: float
    silent: int
    alarm: str


@dataclass(frozen=True)
class Answer:
    """A dose, and all that is to be known of it.

    Attributes
    ----------
    patient, event
        Whom it is for, and which event asked.
    unit, ahead
        Unit of the scenario's clock, and units until the next visit.
    dose, propensity
        Served, and with what probability.
    options
        All doses that might have been, with their probabilities.
    wanted
        What the regimen asked for, before the shield and the grid.
    regimen
        Which one: the version's, or monitoring in its place.
    fallback
        Why it is monitoring; empty where it is the version's own.
    shield
        What the shield did, in words.
    benefit, harm
        Expected share of the time on target, and probability of harm, until the next visit under `dose`.
    monitoring
        Dose of Bayesian monitoring, before the grid.
    version
        That dosed.
    """

    patient: str
    event: str
    unit: int
    ahead: int
    dose: float
    propensity: float
    options: tuple[tuple[float, float], ...]
    wanted: float
    regimen: str
    fallback: tuple[str, ...]
    shield: tuple[str, ...]
    benefit: float
    harm: float
    monitoring: float
    version: str

    def body(self, unit: str) -> dict[str, Any]:
        """Return it as the body of a recommendation, JSON-ready; `unit` is the dose's."""
        return {
            "event": self.event,
            "unit": self.unit,
            "ahead": self.ahead,
            "dose": self.dose,
            "dose_unit": unit,
            "propensity": self.propensity,
            "options": [list(option) for option in self.options],
            "wanted": self.wanted,
            "regimen": self.regimen,
            "fallback": list(self.fallback),
            "shield": list(self.shield),
            "expected_on_target": self.benefit,
            "p_harm": self.harm,
            "monitoring_dose": self.monitoring,
            "version": self.version,
        }


@dataclass(frozen=True, eq=False)
class Dosing:
    """One version at work.

    Attributes
    ----------
    scenario
        With the version's population.
    limits
        Of the shield.
    version
        Its name.
    policy
        What doses; None: Bayesian monitoring.
    seed
        Of the draws.
    particles
        Of a belief.
    steps
        How a dose is moved on the grid, with what probability.
    """

    scenario: Scenario
    limits: Limits
    version: str
    policy: LearnedPolicy | None = None
    seed: int = 0
    particles: int = 128
    steps: Steps = field(default_factory=Steps)

    @cached_property
    def filter(self) -> BeliefFilter:
        """Keeps the beliefs that it doses by."""
        fade = self.scenario.monitoring.fade
        return BeliefFilter(self.scenario, self.particles, fade, visits=most_visits(self.scenario))

    @cached_property
    def features(self) -> BeliefFeatures:
        """What a policy sees of them."""
        return BeliefFeatures(self.filter)

    @cached_property
    def _standing(self) -> LearnedPolicy | None:
        return None if self.policy is None else self.policy.standing_on(self.filter)

    @cached_property
    def _moves(self) -> Floats:
        """(A, A) probability of serving each dose of the grid (column) for each that is allowed (row)."""
        return self.steps.table(self.scenario.doses)

    def answer(self, asked: Sequence[Asked]) -> list[Answer]:
        """Return a dose for everybody who asks, whatever the policy does."""
        if not asked:
            return []
        belief = Belief.joined([item.belief for item in asked])
        observation = np.stack([item.observation for item in asked])
        features, anchor = self.features(belief, observation)
        wanted, fallback = self._wanted(asked, features, anchor)
        last = np.array([item.last for item in asked])
        first = capped(self.scenario, self.limits, wanted, last)
        second = safe(self.filter, self.limits, belief, first.dose)
        said = worded([first, second])
        place, doses = self._place(second.dose), self.scenario.doses.doses
        chance = self._allowed(belief, place, ceiling(self.scenario, self.limits, last))
        drawn = self._drawn(asked, chance)
        served = doses[drawn]
        seen = foresee(self.filter, belief, served[:, None])
        return [
            Answer(
                patient=item.patient,
                event=item.event,
                unit=int(belief.unit[i]),
                ahead=int(belief.ahead[i]),
                dose=float(served[i]),
                propensity=float(chance[i, drawn[i]]),
                options=tuple((float(doses[j]), float(chance[i, j])) for j in np.flatnonzero(chance[i])),
                wanted=float(wanted[i]),
                regimen=MONITORING if fallback[i] or self.policy is None else "policy",
                fallback=tuple(fallback[i]),
                shield=said[i],
                benefit=float(seen.benefit[i, 0]),
                harm=float(seen.harm[i, 0]),
                monitoring=float(anchor[i]),
                version=self.version,
            )
            for i, item in enumerate(asked)
        ]

    def _wanted(
        self, asked: Sequence[Asked], features: NDArray[np.float32], anchor: Floats
    ) -> tuple[Floats, list[list[str]]]:
        """Return the dose (n,) of the regimen that may be asked about each patient, and why that is not the
        policy."""
        fallback: list[list[str]] = [[] for _ in asked]
        if self._standing is None:
            return anchor, fallback
        outside = self.limits.outside(features)
        for item, reasons, why in zip(asked, fallback, outside, strict=True):
            if item.alarm:
                reasons.append(f"drift: {item.alarm}")
            if item.silent > self.limits.silence:
                reasons.append(f"missing data: no new result in {item.silent} visits")
            if why:
                reasons.append(why)
        try:
            dose = self._standing.decide(features, anchor)
        except Exception as error:  # whatever it is, the patient gets a dose
            for reasons in fallback:
                reasons.append(f"policy error: {type(error).__name__}: {error}")
            return anchor, fallback
        for i in np.flatnonzero(~(np.isfinite(dose) & (dose >= 0))):
            fallback[i].append(f"policy error: dose {dose[i]}")
        return np.where([bool(reasons) for reasons in fallback], anchor, dose), fallback

    def _place(self, dose: Floats) -> NDArray[np.int64]:
        doses = self.scenario.doses.doses
        return np.searchsorted((doses[1:] + doses[:-1]) / 2, dose, side="right")

    def _allowed(self, belief: Belief, place: NDArray[np.int64], most: Floats) -> Floats:
        """Return the probability (n, A) of serving each dose: moved on the grid, but for what the shield
        forbids, such as more than `most` (n,), whose probability goes to the dose itself."""
        chance, doses = self._moves[place], self.scenario.doses.doses
        rows = np.arange(len(place))
        above = np.minimum(place + 1, len(doses) - 1)
        # a step above the dose must pass the shield too
        harm = foresee(self.filter, belief, doses[above][:, None]).harm[:, 0]
        forbidden = (above > place) & ((harm > self.limits.harm) | (doses[above] > most))
        chance[rows, place] += np.where(forbidden, chance[rows, above], 0.0)
        chance[rows[forbidden], above[forbidden]] = 0.0
        return chance

    def _drawn(self, asked: Sequence[Asked], chance: Floats) -> NDArray[np.int64]:
        """Draw the place (n,) of a dose of the grid."""
        noise = Noise("trial", self.seed)
        keys = DrawKeys(noise, np.array([number_of(item.patient) for item in asked]), _ARM)
        uniform = visit_uniforms(keys, np.array([item.visit for item in asked]))
        cumulative = np.cumsum(chance, axis=1)
        last = chance.shape[1] - 1 - np.argmax(chance[:, ::-1] > 0, axis=1)
        drawn = (cumulative <= uniform[:, None]).sum(axis=1)
        # a sum that ends a bit below 1 must not let a draw fall on a dose without probability
        return np.minimum(drawn, last)


def number_of(patient: str) -> int:
    """Return the number (63 bits) by which a patient's draws are known."""
    return int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8]) >> 1
