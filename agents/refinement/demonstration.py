"""The whole loop once, in a world that nobody told it of: patients who need half the dose.

Streamed patients are dosed by the policy that ships; the surveillance finds that something changed, and
monitoring doses in the policy's place; the population is refitted from what the patients show; the candidate
passes the gate and doses the patients who come next. Then a candidate that learned the wrong way round is
refused, and a version is rolled back to the very doses that it gave before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from dosewright.agents.bedside import NOTE
from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.estimation.population import Refit
from dosewright.agents.refinement.drift import Plan, Stage
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.gate import Gate, PredictiveFit
from dosewright.agents.refinement.refiner import Candidate, Refiner, begin, in_use
from dosewright.agents.refinement.registry import Registry
from dosewright.agents.refinement.serve import Service
from dosewright.agents.refinement.simulated import SimulatedClinic, Treated
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.usual import Rehearsal
from dosewright.envs import Noise, scenario
from dosewright.evaluation.statistics import Interval, paired_difference, proportion_interval
from dosewright.evaluation.statistics.proportions import paired_proportion_difference
from dosewright.evaluation.trial import run_trial
from dosewright.evaluation.worlds import HiddenShift, world

WORLD = "half-dose"
_TOLD = "simulated clinic"
_AFTERWARDS = 2000  # new virtual patients whom the versions before and after treat alike
_PROBED = 40  # visits at which a version's doses are compared with those after a rollback


def demonstrate(
    folder: Path,
    *,
    drug: str = "warfarin",
    patients: int = 300,
    pairs: int = 4000,
    seed: int = 1,
    say: Callable[[str], None] = lambda words: None,
) -> dict[str, Any]:
    """Run the loop, and return what happened as JSON-ready data.

    Parameters
    ----------
    folder
        Empty, or not there yet: gets the store and the registry.
    drug
        Of which a policy ships.
    patients
        Streamed before the refit, and again afterwards.
    pairs
        Of each of the gate's trials.
    seed
        Of everything.
    say
        Called with what is being done.
    """
    known = scenario(drug)
    registry = Registry(folder / "registry")
    rehearsal = Rehearsal(plan=Plan(patients=patients, runs=300), seed=seed)
    say(f"the first version: what is usual of it, from {rehearsal.patients} simulated patients")
    first = begin(registry, known, rehearsal)
    use = in_use(first, known)
    with Store.open(folder / "events.db", drug, known.version) as store:
        service = Service(store, known, use.dosing(seed), use.usual.spread)
        refiner = Refiner(service, registry, Refit(known), Gate(patients=pairs), rehearsal, seed)
        stream = StreamedClinic(refiner, world(WORLD, known), seed)
        say(f"{patients} patients are streamed, in a world where they need half the dose")
        before = stream.treat(patients)
        doses = stream.doses()
        say("the population is refitted, and the candidate judged")
        candidate = refiner.propose()
        verdict = refiner.judge(candidate)
        promoted = refiner.settle(candidate, verdict, "an alarm of drift")
        say(f"{patients} new patients are streamed")
        after = stream.treat(patients)
        say("a candidate that learned the wrong way round is judged")
        wrong = _wrong_way_round(candidate)
        refused = refiner.judge(wrong)
        refiner.settle(wrong, refused, "a candidate made wrong on purpose")
        again = None
        if promoted is not None:
            say("the version before is rolled back to, and forward again")
            back = registry.rollback(
                "refine-demo", "to show that it gives the same doses as before", first.name
            )
            refiner.dose_by(back)
            again = stream.doses()
            registry.rollback("refine-demo", "the refitted population doses on", promoted.name)
            refiner.dose_by(promoted)
        say(f"{_AFTERWARDS} new virtual patients are treated by both versions")
        compared = _compared(refiner, [first.name, registry.current().name], seed)
        events = sum(1 for _ in store.events())
    return {
        "schema": 1,
        "note": NOTE,
        "drug": drug,
        "scenario_version": known.version,
        "seed": seed,
        "world": {"name": WORLD, "words": world(WORLD, known).words},
        "patients": patients,
        "events": events,
        "event": known.event.label,
        "streamed": {"before": _told_of(before), "after": _told_of(after)},
        "drift": {
            "alarms": list(stream.alarms),
            "stages": [stage.value for stage in stream.stages],
            "day": stream.alarmed,
        },
        "population": {
            "names": list(candidate.population.names),
            "shift": candidate.population.shift.tolist(),
            "groups": [term.name for term in candidate.population.terms],
            "patients": candidate.population.patients,
        },
        "promoted": None if promoted is None else promoted.name,
        "verdicts": {"candidate": verdict.record(), "wrong way round": refused.record()},
        "refused_why": list(refused.reasons),
        "rollback": None
        if again is None
        else {"to": first.name, "visits": len(doses), "identical": doses == again, "digest": _digest(doses)},
        "afterwards": compared,
        "registry": dict(zip(("versions", "lines"), registry.verify(), strict=True)),
    }


@dataclass(eq=False)
class StreamedClinic:
    """A simulated clinic at the service of a refiner, watched every week until an alarm asks for a refit.

    Attributes
    ----------
    refiner
        Watches.
    world
        Of the patients.
    seed
        Of the patients.
    alarms, stages, alarmed
        What asked for a refit, what for, and on which day; None: nothing has.
    """

    refiner: Refiner
    world: HiddenShift
    seed: int
    alarms: Sequence[str] = ()
    stages: Sequence[Stage] = ()
    alarmed: float | None = None
    _came: int = 0
    _free: float = 0.0

    def treat(self, patients: int) -> Treated:
        """Stream new patients, after follow-up of those before."""
        known = self.refiner.published
        clinic = SimulatedClinic(
            known,
            known.preset("clinic"),
            self.world,
            Noise("select", self.seed),
            patients,
            first=self._came,
            begin=self._free,
        )
        self._came += patients
        self._free += patients * clinic.every / clinic.together + known.horizon
        return clinic.run(self.tell)

    def tell(self, events: Sequence[Event]) -> Mapping[str, float]:
        """Serve a moment's events."""
        taken = self.refiner.service.tell(events, _TOLD)
        if self.alarmed is None and events:
            self._look(max(event.time for event in events))
        return taken.doses

    def _look(self, now: datetime) -> None:
        looked = self.refiner.look_weekly(now)
        if looked is None:
            return
        found, asked = looked
        if Stage.REFINE in asked.stages:
            self.alarmed = (now - self.refiner.begin_of_calendar()).total_seconds() / 86_400
            self.alarms, self.stages = [alarm.words for alarm in found.alarms], asked.stages

    def doses(self) -> list[tuple[float, ...]]:
        """Return what the version that doses now would serve at the last visits of some patients."""
        names = [f"site-1-{number}" for number in range(_PROBED)]
        # an alarm is of the site, not of the version
        service = self.refiner.service
        asked = [replace(service.waiting(name), alarm="") for name in names]
        answers = service.dosing.answer(asked)
        return [(a.dose, a.propensity, a.wanted, a.benefit, a.harm) for a in answers]


def _wrong_way_round(candidate: Candidate) -> Candidate:
    """Return a candidate as if its patients needed more by as much as they need less."""
    found = candidate.population
    turned = replace(found, shift=-found.shift, contrasts=-found.contrasts)
    policy = candidate.policy
    assert policy is not None
    kept = policy.belief_filter
    other = turned.scenario(scenario(found.drug))
    standing = policy.standing_on(BeliefFilter(other, kept.particles, kept.fade, kept.seed, kept.visits))
    return replace(
        candidate,
        population=turned,
        fit=PredictiveFit(candidate.fit.patients, -abs(candidate.fit.log_bayes_factor)),
        scenario=other,
        policy=standing,
    )


def _compared(refiner: Refiner, versions: Sequence[str], seed: int) -> dict[str, Any]:
    """Return what new patients of the hidden world come to under two versions."""
    known = refiner.published
    found = [in_use(refiner.registry.version(name), known) for name in versions]
    arms = {"before": found[0].policy, "after": found[-1].policy}
    if versions[0] == versions[-1] or None in arms.values():
        return {"patients": 0}
    result = run_trial(
        known,
        {name: policy for name, policy in arms.items() if policy is not None},
        known.population,
        np.arange(10_000, 10_000 + _AFTERWARDS),
        Noise("trial", seed),
        known.preset("clinic"),
        world=world(WORLD, known),
    )
    before, after = result.arm("before"), result.arm("after")
    return {
        "patients": _AFTERWARDS,
        "return": {
            "before": float(before.returns.mean()),
            "after": float(after.returns.mean()),
            "difference": _limits(paired_difference(after.returns, before.returns)),
        },
        "event": {
            "before": float(before.ever_harm.mean()),
            "after": float(after.ever_harm.mean()),
            "difference": _limits(paired_proportion_difference(after.ever_harm, before.ever_harm)),
        },
    }


def _told_of(treated: Treated) -> dict[str, Any]:
    return {
        "enrolled": treated.enrolled.tolist(),
        "benefit": treated.benefit.tolist(),
        "harmed": treated.harmed.astype(int).tolist(),
        "share_harmed": _limits(proportion_interval(treated.harmed)),
        "mean_benefit": float(treated.benefit.mean()),
    }


def _limits(found: Interval) -> dict[str, float]:
    return {"mean": float(found.mean), "low": float(found.low), "high": float(found.high)}


def _digest(doses: Sequence[tuple[float, ...]]) -> str:
    return sha256(json.dumps(doses).encode()).hexdigest()[:16]
