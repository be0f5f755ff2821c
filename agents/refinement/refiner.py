"""The refiner: from what streamed patients show to a version that may dose, or to the reason why not.

Patients' likelihood factors give the population. It re-centres belief, anchor and simulator at once; the
policy goes on from its weights, or is learned further in the refitted simulator. The candidate is judged
by the gate, and its version, verdict included, goes into the registry, promoted or refused. A patient who is
erased is taken out of every version that saw them: those are listed for retraining, and what doses now is
made again from the others.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np

from dosewright.agents import shipped
from dosewright.agents.estimation.population import Evidence, Refit, RefittedPopulation
from dosewright.agents.learning import LearnedPolicy, read_preset, train
from dosewright.agents.refinement.dosing import MONITORING, Dosing
from dosewright.agents.refinement.drift import Response, Signals, Stage, Watch, response, watch
from dosewright.agents.refinement.factors import FactorMaker, factors_of, unpacked
from dosewright.agents.refinement.gate import Gate, PredictiveFit, Verdict
from dosewright.agents.refinement.registry import Registry, Version
from dosewright.agents.refinement.serve import OVERRIDE, RECOMMENDATION, Service
from dosewright.agents.refinement.served import served_log
from dosewright.agents.refinement.signals import streamed
from dosewright.agents.refinement.store import Note, Store
from dosewright.agents.refinement.usual import Rehearsal, Usual, learn_usual
from dosewright.agents.regimens import Bayesian
from dosewright.envs import Noise, Regimen, Scenario
from dosewright.evaluation.trial import run_trial

BY = "refiner"
ALARM, VERDICT, PROMOTION, AFFIRMATION = "alarm", "verdict", "promotion", "affirmation"
WEEK = timedelta(days=7)
"""Of the stream, between two looks at its signals."""
NEWEST = 0.2
"""Share of the patients, the newest, on whom predictions are judged: the population that is judged has not
seen them."""
_HALF_LIFE = "half_life_days"  # beside a version's population: it is made again in the same way


@dataclass(frozen=True, eq=False)
class Candidate:
    """What may dose next.

    Attributes
    ----------
    population
        Refitted.
    fit
        How well it would have predicted patients that it had not seen.
    scenario
        With that population.
    policy
        On its belief; None: Bayesian monitoring.
    folder
        Of the policy's weights; None: there are none.
    patients
        Whom it was learned from.
    learned_further
        Whether the policy was fine-tuned, or has the weights of the version before.
    half_life
        Days between enrolments in which what a patient counts halves; None: all count alike.
    """

    population: RefittedPopulation
    fit: PredictiveFit
    scenario: Scenario
    policy: LearnedPolicy | None
    folder: Path | None
    patients: tuple[str, ...]
    learned_further: bool = False
    half_life: float | None = None

    @property
    def moved(self) -> dict[str, str]:
        """Parameter -> by how much the refitted population differs from the published one in it, in words."""
        return {
            name.removeprefix("log "): f"× {np.exp(shift):.2f}"
            if name.startswith("log ")
            else f"{shift:+.3g}"
            for name, shift in zip(self.population.names, self.population.shift, strict=True)
        }


@dataclass(frozen=True, eq=False)
class Erased:
    """What an erasure led to.

    Attributes
    ----------
    listed
        Versions that saw the patient, listed for retraining.
    again
        Versions that were made again without.
    now
        The version that doses.
    """

    listed: tuple[Version, ...]
    again: tuple[Version, ...]
    now: Version


@dataclass(frozen=True, eq=False)
class InUse:
    """A version with all that it takes to dose by it.

    Attributes
    ----------
    version, population, usual
        As it stands in the registry.
    scenario
        With its population.
    policy
        On its belief; None: Bayesian monitoring.
    """

    version: Version
    population: RefittedPopulation
    usual: Usual
    scenario: Scenario
    policy: LearnedPolicy | None

    def dosing(self, seed: int, particles: int = 128) -> Dosing:
        """Return it at work."""
        return Dosing(self.scenario, self.usual.limits, self.version.name, self.policy, seed, particles)


def in_use(version: Version, published: Scenario) -> InUse:
    """Read a version.

    Raises
    ------
    ValueError
        If it was made for another scenario version, or edited by hand.
    """
    version.check_for(published)
    population = RefittedPopulation.parse(version.population)
    usual, scenario = Usual.parse(version.baseline), population.scenario(published)
    policy = None
    if version.policy is not None:
        policy = _standing(LearnedPolicy.load(version.policy), scenario, usual)
    return InUse(version, population, usual, scenario, policy)


def begin(registry: Registry, published: Scenario, rehearsal: Rehearsal) -> Version:
    """Make the first version, the published model with the policy that ships for the drug, or with Bayesian
    monitoring where none does, and let it dose."""
    population = RefittedPopulation.published(published)
    scenario, name = population.scenario(published), published.name
    with ExitStack() as stack:
        folder = None
        if name in shipped():
            folder = stack.enter_context(as_file(files("dosewright.agents.pretrained") / name))
        policy = None if folder is None else LearnedPolicy.load(folder)
        version = registry.create(
            published,
            population.record(),
            learn_usual(scenario, policy, rehearsal).record(),
            parent=None,
            regimen=MONITORING if policy is None else "policy",
            by=BY,
            reason="the published model",
            policy_folder=folder,
        )
    registry.promote(version, BY, "the first version", {})
    return version


@dataclass(eq=False)
class Refiner:
    """Learns from the patients of a service, and has what it learned tested.

    Attributes
    ----------
    service
        Whose store and ward it learns from.
    registry
        Of versions.
    refit
        How the population is learned.
    gate
        How candidates are judged.
    rehearsal
        That a promoted version goes through.
    seed
        Of fine-tuning and trials.
    """

    service: Service
    registry: Registry
    refit: Refit
    gate: Gate = field(default_factory=Gate)
    rehearsal: Rehearsal = field(default_factory=Rehearsal)
    seed: int = 0
    _looked: datetime | None = field(default=None, init=False)

    @cached_property
    def maker(self) -> FactorMaker:
        """Makes the factors."""
        return FactorMaker(self.published)

    @property
    def published(self) -> Scenario:
        """The scenario as published."""
        return self.service.published

    @property
    def store(self) -> Store:
        """Of the service."""
        return self.service.store

    # ---------------------------------------------------------------------------------- surveillance

    def look(self) -> tuple[Watch, Response]:
        """Watch the signals since the version that doses was promoted, have monitoring dose at sites where an
        alarm asks for it, and write new alarms down."""
        now = in_use(self.registry.current(), self.published)
        signals = self._signals()
        if signals is None:
            return Watch((), (), ()), response(())
        found = watch(signals, now.usual.baseline)
        known = {note.body["words"] for _, note in self.store.journal(ALARM)}
        begin, notes = self.begin_of_calendar(), list[Note]()
        for alarm in found.alarms:
            if alarm.words not in known:
                time = begin + timedelta(days=alarm.time)
                notes.append(Note(ALARM, None, time, {"words": alarm.words, "site": alarm.site}))
            if Stage.FALLBACK in response([alarm]).stages:
                self.service.alarms.setdefault(alarm.site, alarm.words)
        self.store.note(notes)
        return found, response(found.alarms)

    def look_weekly(self, now: datetime) -> tuple[Watch, Response] | None:
        """Look where a week of the stream has gone by since the last time; None: not yet."""
        if self._looked is not None and now - self._looked < WEEK:
            return None
        self._looked = now
        return self.look()

    def begin_of_calendar(self) -> datetime:
        """Day 0 of the calendar: the first enrolment."""
        return min(self._enrolments().values())

    def _signals(self) -> Signals | None:
        """Return the signals since the version that doses was promoted, or last affirmed."""
        patients = self.service.ward.patients
        if not any(patient.rows for patient in patients.values()):
            return None
        begin = self.begin_of_calendar()
        overridden = {(note.patient, note.body["event"]) for _, note in self.store.journal(OVERRIDE)}
        answered = [
            (note.patient, note.time, (note.patient, note.body["event"]) in overridden)
            for _, note in self.store.journal(RECOMMENDATION)
            if note.patient is not None and note.body["revises"] is None
        ]
        signals = streamed(self.service.ward, answered, begin)
        notes = (*self.store.journal(PROMOTION), *self.store.journal(AFFIRMATION))
        if signals is None or not notes:
            return signals
        since = max(note.time for _, note in notes)
        return signals.select(signals.time >= (since - begin).total_seconds() / 86_400)

    def affirm(self, by: str, reason: str) -> Version:
        """Have the version that doses dose on, its policy where an alarm had put monitoring in its place:
        somebody looked, and it is right. Surveillance begins anew; attempts at the gate are still counted."""
        version = self.registry.affirm(by, reason)
        if (time := self._last()) is not None:
            self.store.note([Note(AFFIRMATION, None, time, {"version": version.name})])
        self.service.alarms.clear()
        return version

    def _last(self) -> datetime | None:
        """Return the time of the stream; None before anybody has come."""
        return max((p.chart.last for p in self.service.ward.patients.values()), default=None)

    # -------------------------------------------------------------------------------------- learning

    def evidence(self) -> tuple[list[str], Evidence]:
        """Return who has said something of the population, those who enrolled first first, and what.

        Raises
        ------
        ValueError
            Where nobody has.
        """
        held, made = factors_of(self.store, self.maker)
        self.store.put_factors(made)
        blobs = {item.patient: item.blob for item in (*held, *made)}
        enrolled = self._enrolments()
        names = sorted((name for name in blobs if name in enrolled), key=lambda name: (enrolled[name], name))
        if not names:
            raise ValueError(
                f"{self.store.path}: no patient with a result; there is nothing to learn from yet"
            )
        return names, unpacked([blobs[name] for name in names])

    def propose(self, among: Collection[str] | None = None, half_life: float | None = None) -> Candidate:
        """Return the candidate of the patients so far: the refitted population, and the policy that doses now
        standing on it.

        Parameters
        ----------
        among
            The patients that count; None: all.
        half_life
            Where patients change slowly: days between enrolments in which what a patient counts halves,
            above 0, from the newest back. None: all count alike.
        """
        now = in_use(self.registry.current(), self.published)
        names, evidence = self.evidence()
        if among is not None:
            rows = [row for row, name in enumerate(names) if name in among]
            names, evidence = [names[row] for row in rows], evidence.select(rows)
        counted = evidence if half_life is None else evidence.fading(self._ages(names), half_life)
        fit = self._predicted(names, evidence, counted, now)
        population = self.refit.fit([counted])
        scenario = population.scenario(self.published)
        policy = None if now.policy is None else _standing(now.policy, scenario, now.usual)
        return Candidate(
            population, fit, scenario, policy, now.version.policy, tuple(names), half_life=half_life
        )

    def _ages(self, names: Sequence[str]) -> list[float]:
        """Return how many days before the newest of some patients each was enrolled."""
        enrolled = self._enrolments()
        newest = max(enrolled[name] for name in names)
        return [(newest - enrolled[name]).total_seconds() / 86_400 for name in names]

    def _enrolments(self) -> dict[str, datetime]:
        """Return patient -> time of enrolment."""
        return {event.patient: event.time for _, event in self.store.events() if event.kind == "enrolled"}

    def _predicted(
        self, names: Sequence[str], evidence: Evidence, counted: Evidence, now: InUse
    ) -> PredictiveFit:
        """Return how well the population of the earlier patients, as far as they count, predicts the newest
        ones, against the one in use: of patients whom neither has seen, as far as there are any."""
        seen = self._patients_of(now.version)
        unseen = [row for row, name in enumerate(names) if name not in seen]
        newest = max(1, round(NEWEST * len(names)))
        after = unseen[-newest:]
        judged_on = set(after)
        before = [row for row in range(len(names)) if row not in judged_on]
        if not after or not before:
            return PredictiveFit(0, 0.0)
        judged = evidence.select(after)
        earlier = self.refit.fit([counted.select(before)])
        gain = judged.moments(earlier).log_marginal - judged.moments(now.population).log_marginal
        return PredictiveFit(len(after), gain)

    def learn_further(self, candidate: Candidate, folder: str | Path, preset: str | None = None) -> Candidate:
        """Return the candidate with its policy fine-tuned in its simulator; as it was, where patients there
        do not show that to be better: in return, paired, 95 % interval above 0.

        Parameters
        ----------
        folder
            Of the training run.
        preset
            Name or file; None: the drug's ``-refine``.

        Raises
        ------
        ValueError
            For a candidate without a policy.
        """
        before = candidate.policy
        if before is None:
            raise ValueError(
                "the candidate doses by Bayesian monitoring; there is no policy to learn further"
            )
        recipe = read_preset(preset or f"{self.published.name}-refine")
        found = train(recipe, self.seed, folder, progress=False, start=before)
        policy = LearnedPolicy.load(found).standing_on(before.belief_filter)
        tried = run_trial(
            candidate.scenario,
            {"before": before, "after": policy},
            candidate.scenario.population,
            np.arange(self.gate.patients),
            # training chooses among its own checkpoints on patients of this namespace, of seed 0
            Noise("select", self.seed + 1),
            candidate.scenario.preset(self.gate.realism),
        )
        if not tried.difference("after", "before", "return").low > 0:
            return candidate
        return replace(candidate, policy=policy, folder=found, learned_further=True)

    # ------------------------------------------------------------------------------------------ gate

    def judge(self, candidate: Candidate) -> Verdict:
        """Have a candidate judged against what doses now."""
        now = in_use(self.registry.current(), self.published)
        return self.gate.judge(
            as_arm(candidate.policy, candidate.scenario, "candidate"),
            as_arm(now.policy, now.scenario, "incumbent"),
            {"refitted": candidate.scenario, "previous": now.scenario},
            candidate.fit,
            served_log(self.store, self.service.ward, self.published),
            self.published,
            attempt=self.attempts() + 1,
            # other virtual patients for every candidate there ever was
            seed=self.seed + sum(line.action in ("promoted", "refused") for line in self.registry.audit()),
        )

    def attempts(self) -> int:
        """Return how many candidates were refused since the last promotion."""
        count = 0
        for line in self.registry.audit():
            if line.action == "promoted":
                count = 0
            elif line.action == "refused":
                count += 1
        return count

    def settle(self, candidate: Candidate, verdict: Verdict, reason: str) -> Version | None:
        """Put a judged candidate where it belongs: promoted it doses from now on, refused it is on record;
        return the version that was promoted.

        Raises
        ------
        ValueError
            If another version doses now than the one that it was judged against.
        """
        record = verdict.record()
        time = self._last()
        if not verdict.promoted:
            self.registry.refuse(_words(candidate), BY, reason, {"verdict": record})
            if time is not None:
                self.store.note([Note(VERDICT, None, time, record)])
            return None
        version = self._create(candidate, reason, record)
        self.registry.promote(version, BY, reason, {"patients": len(candidate.patients)})
        self.service.alarms.clear()  # they spoke of the version before
        self.dose_by(version)
        if time is not None:
            self.store.note([Note(PROMOTION, None, time, {"version": version.name, "verdict": record})])
        return version

    def _create(self, candidate: Candidate, reason: str, verdict: Mapping[str, Any] | None) -> Version:
        """Add the version of a candidate, which goes through its rehearsal."""
        now = self.registry.current()
        usual = learn_usual(candidate.scenario, candidate.policy, self.rehearsal)
        seen = {patient for version in self._chain(now) for patient in version.saw}
        hashes = self.store.hashes()
        return self.registry.create(
            self.published,
            {**candidate.population.record(), _HALF_LIFE: candidate.half_life},
            usual.record(),
            parent=now,
            regimen=MONITORING if candidate.policy is None else "policy",
            by=BY,
            reason=reason,
            saw=[hashes[name] for name in candidate.patients if hashes[name] not in seen],
            verdict=verdict,
            policy_folder=candidate.folder,
        )

    def dose_by(self, version: Version) -> None:
        """Let the service dose by a version."""
        found = in_use(version, self.published)
        self.service.switch(
            found.dosing(self.service.dosing.seed, self.service.dosing.particles), found.usual.spread
        )

    # --------------------------------------------------------------------------------------- erasure

    def erase(self, patient: str, by: str, reason: str) -> Erased:
        """Erase a patient from store, ward and populations.

        The versions that saw the patient are listed for retraining. If what doses now is one of them, the
        newest version that had not seen the patient doses in its place, until the population of the same
        patients without this one, with that version's policy, has passed the gate. The other versions are
        made again as well, for the record: none of them doses.
        """
        hashed = self.service.erase(patient)
        listed = self.registry.erase(hashed, by, reason)
        names, before = {version.name for version in listed}, self.registry.current()
        if before.name in names:
            clean = next(version for version in self._chain(before) if version.name not in names)
            self.dose_by(self.registry.rollback(by, f"erasure: {reason}", clean.name))
        again: list[Version] = []
        for version in listed:
            candidate = self.propose(self._patients_of(version), version.population.get(_HALF_LIFE))
            why = f"{version.name} made again without an erased patient"
            if version.name != before.name:
                again.append(self._create(candidate, why, None))
                continue
            settled = self.settle(candidate, self.judge(candidate), why)
            again += [] if settled is None else [settled]
        return Erased(tuple(listed), tuple(again), self.registry.current())

    def _patients_of(self, version: Version) -> set[str]:
        """Return the patients that a version was learned from, of those who are still there."""
        seen = {hashed for one in self._chain(version) for hashed in one.saw}
        return {name for name, hashed in self.store.hashes().items() if hashed in seen}

    def _chain(self, version: Version) -> list[Version]:
        """Return a version and those it came from, the newest first."""
        by_hash = {item.content_hash: item for item in self.registry.versions()}
        found = [version]
        while found[-1].parent is not None:
            found.append(by_hash[found[-1].parent])
        return found


def _standing(policy: LearnedPolicy, scenario: Scenario, usual: Usual) -> LearnedPolicy:
    return policy.standing_on(Dosing(scenario, usual.limits, "", policy).filter)


def as_arm(policy: LearnedPolicy | None, scenario: Scenario, name: str) -> Regimen:
    """Return a regimen under the name of a trial's arm."""
    if policy is None:
        return Bayesian(scenario, name, scenario.monitoring.fade)
    named = policy.standing_on(policy.belief_filter)
    named.name = name
    return named


def _words(candidate: Candidate) -> str:
    """Say what a candidate is."""
    moved = [
        f"{name} {shift:+.2f}"
        for name, shift in zip(candidate.population.names, candidate.population.shift, strict=True)
    ]
    groups = [term.name for term in candidate.population.terms]
    return (
        f"population of {candidate.population.patients:g} patients, {', '.join(moved)}"
        + (f", with {', '.join(groups)}" if groups else "")
        + (f", who count half after {candidate.half_life:g} days" if candidate.half_life else "")
        + (", policy learned further" if candidate.learned_further else "")
    )
