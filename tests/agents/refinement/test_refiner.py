"""The loop as a whole, small: streamed patients, a refit, the gate, the registry, an erasure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dosewright.agents import load
from dosewright.agents.estimation.population import Refit, RefittedPopulation
from dosewright.agents.learning import LearnedPolicy
from dosewright.agents.refinement import refiner as module
from dosewright.agents.refinement.drift import Plan, Stage, response, watch
from dosewright.agents.refinement.gate import Gate
from dosewright.agents.refinement.refiner import Refiner, begin, in_use
from dosewright.agents.refinement.registry import Registry, Version
from dosewright.agents.refinement.serve import Service
from dosewright.agents.refinement.served import measured_response, served_log
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.agents.refinement.store import Store
from dosewright.agents.refinement.usual import Rehearsal, Usual, learn_usual
from dosewright.envs import Noise, Scenario, names, scenario
from dosewright.evaluation.worlds import world

REHEARSAL = Rehearsal(patients=1000, plan=Plan(patients=60, runs=200), seed=3)
PATIENTS = 60


@pytest.fixture(scope="module")
def usual() -> Usual:
    """What is usual of the shipped policy, learned once."""
    return learn_usual(scenario("warfarin"), load("warfarin"), REHEARSAL)


@pytest.fixture(scope="module")
def loop(usual: Usual, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Refiner]:
    """A service of patients who need half the dose, before anything was refitted."""
    folder, known = tmp_path_factory.mktemp("loop"), scenario("warfarin")
    with pytest.MonkeyPatch.context() as patch:
        # a version's rehearsal takes longer than all the rest; those of a refit are like the first here
        patch.setattr(module, "learn_usual", lambda *_: usual)
        registry = Registry(folder / "registry")
        begin(registry, known, REHEARSAL)
        use = in_use(registry.current(), known)
        with Store.open(folder / "events.db", "warfarin", known.version) as store:
            service = Service(store, known, use.dosing(1, particles=64), use.usual.spread)
            streamed(service, known)
            yield Refiner(service, registry, Refit(known), Gate(patients=300), REHEARSAL, seed=1)


def streamed(service: Service, known: Scenario, first: int = 0) -> None:
    clinic = SimulatedClinic(
        known, known.preset("clinic"), world("half-dose", known), Noise("select", 8), PATIENTS, first=first
    )
    clinic.run(lambda events: service.tell(events, "clinic").doses)


def test_a_change_is_found_and_monitoring_doses_where_it_was(loop: Refiner) -> None:
    found, asked = loop.look()
    assert Stage.REFINE in asked.stages and Stage.FALLBACK in asked.stages
    assert set(loop.service.alarms) == {"site-1"}
    assert any(alarm.stream == "innovation:inr" and alarm.direction == "higher" for alarm in found.alarms)
    # told once, however often it is looked at
    written = [note.body["words"] for _, note in loop.store.journal("alarm")]
    loop.look()
    assert [note.body["words"] for _, note in loop.store.journal("alarm")] == written
    assert len(written) == len(set(written)) == len(found.alarms)
    # the same signals in another order say the same
    signals = loop._signals()
    assert signals is not None
    order = np.random.default_rng(1).permutation(len(signals))
    again = watch(signals.select(order), in_use(loop.registry.current(), loop.published).usual.baseline)
    assert response(again.alarms) == response(found.alarms)


def test_a_version_that_is_affirmed_doses_on_and_is_watched_anew(loop: Refiner) -> None:
    attempts, version = loop.attempts(), loop.registry.current()
    assert (
        loop.service.alarms
        and loop.affirm("Ada", "the laboratory had changed its reagent").name == version.name
    )
    assert loop.service.alarms == {}
    line = loop.registry.audit()[-1]
    assert (line.action, line.version, line.by) == ("affirmed", version.name, "Ada")
    found, asked = loop.look()  # all that was seen was before
    assert found.alarms == () and asked.stages == () and loop.service.alarms == {}
    assert loop.attempts() == attempts and loop.registry.verify() == (1, 3)


def test_the_log_of_served_doses_is_what_was_served(loop: Refiner) -> None:
    log = served_log(loop.store, loop.service.ward, loop.published)
    assert log is not None and log.behaviour_log_prob is not None
    assert 0.5 * PATIENTS <= log.n_patients <= PATIENTS
    answers: dict[str | None, list[Mapping[str, Any]]] = {}
    for _, note in loop.store.journal("recommendation"):
        answers.setdefault(note.patient, []).append(note.body)
    for row, name in enumerate(log.identifiers.tolist()):
        bodies = answers[name][-int(log.lengths[row]) :]
        for step, body in enumerate(bodies):
            assert log.actions[row, step] == body["dose"]
            assert log.behaviour_log_prob[row, step] == pytest.approx(np.log(body["propensity"]))
    total = log.outcomes["benefit"].sum(axis=1)[log.terminated]
    assert np.all((total >= 0) & (total <= 1)) and 0.3 < total.mean() < 0.95


def test_which_drugs_have_a_log_is_told_by_their_responses() -> None:
    logged = {drug for drug in names() if measured_response(scenario(drug)) is not None}
    assert {"warfarin", "tacrolimus", "phenytoin"} <= logged
    assert "docetaxel" not in logged  # its response is a nadir that nobody measures


def test_the_refitted_population_needs_less_and_predicts_better(loop: Refiner) -> None:
    candidate = loop.propose()
    shift = dict(zip(candidate.population.names, candidate.population.shift, strict=True))
    # the dose that is needed goes with CL × EC50; the truth is half, and 60 patients are not many
    assert shift["log CL"] + shift["log EC50"] == pytest.approx(np.log(0.5), abs=0.3)
    assert candidate.fit.patients == 12
    assert candidate.fit.log_bayes_factor > 0
    assert len(candidate.patients) == PATIENTS


def test_old_patients_count_for_less_by_their_enrolment(loop: Refiner) -> None:
    """Ten are enrolled a day: of those of day k of six, 0.5 to the power of (5 − k) / 2 counts; the shift is
    that of the weighted evidence."""
    candidate = loop.propose(half_life=2.0)
    assert candidate.half_life == 2.0
    weight = 0.5 ** ((5 - np.arange(PATIENTS) // 10) / 2.0)
    assert candidate.population.patients == pytest.approx(weight.sum())
    names_, evidence = loop.evidence()
    assert [int(name.split("-")[-1]) // 10 for name in names_] == sorted(np.arange(PATIENTS) // 10)
    weighted = loop.refit.fit([replace(evidence, weight=weight)])
    assert candidate.population.shift == pytest.approx(weighted.shift, abs=1e-12)
    assert candidate.population.shift != pytest.approx(loop.propose().population.shift, abs=1e-3)
    with pytest.raises(ValueError, match="half_life = 0"):
        loop.propose(half_life=0.0)


@pytest.mark.parametrize("better", [True, False])
def test_learning_further_counts_where_it_is_shown_to_be_better(
    loop: Refiner, better: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a training: a policy that doses as the one before, or twice as much as one that halves."""
    candidate = loop.propose()
    assert candidate.policy is not None and candidate.folder is not None
    worse = _scaled(candidate.policy, 0.5)
    begun = replace(candidate, policy=worse if better else candidate.policy)
    monkeypatch.setattr(module, "train", lambda *_, **__: candidate.folder)
    found = loop.learn_further(begun, tmp_path)
    assert found.learned_further == better
    assert (found.policy is begun.policy) == (not better)
    with pytest.raises(ValueError, match="no policy to learn further"):
        loop.learn_further(replace(candidate, policy=None), tmp_path)


def _scaled(policy: LearnedPolicy, factor: float) -> LearnedPolicy:
    """Return a policy that gives so much less."""

    class Less(LearnedPolicy):
        def decide(self, features: Any, anchor: Any) -> Any:
            return factor * super().decide(features, anchor)

    less = policy.standing_on(policy.belief_filter)
    less.__class__ = Less
    return less


def test_a_candidate_is_promoted_and_doses_less_at_once(loop: Refiner) -> None:
    known, before = loop.published, loop.registry.current()
    candidate = loop.propose(half_life=100.0)
    verdict = loop.judge(candidate)
    lenient = replace(verdict, promoted=True, reasons=("made so by the test",))
    new = loop.settle(candidate, lenient, "a test")
    assert new is not None and loop.registry.current().name == new.name != before.name
    assert loop.service.alarms == {} and loop.service.dosing.version == new.name
    assert set(new.saw) == set(loop.store.hashes().values())
    assert _first_doses(loop, new) < 0.75 * _first_doses(loop, before)
    assert RefittedPopulation.parse(new.population).record() == candidate.population.record()
    assert new.verdict == json.loads(json.dumps(lenient.record()))
    assert [note.body["version"] for _, note in loop.store.journal("promotion")] == [new.name]
    # another version's scenario is refused by name
    with pytest.raises(ValueError, match="made for warfarin version 0, this is tacrolimus"):
        in_use(new, scenario("tacrolimus"))
    assert loop.attempts() == 0 and known is loop.published


def _first_doses(loop: Refiner, version: Version) -> float:
    """Mean monitoring dose at the first visits, by the belief of a version."""
    kept = in_use(version, loop.published).dosing(1, 64).filter
    patients = loop.service.ward.patients.values()
    first = np.stack([np.frombuffer(patient.rows[0], dtype=np.float32) for patient in patients])
    return float(np.exp(kept.maintenance_dose(kept.step(None, first))[0]).mean())


def test_a_refused_candidate_is_on_record_and_changes_nothing(loop: Refiner) -> None:
    now, candidate = loop.registry.current(), loop.propose()
    verdict = replace(loop.judge(candidate), promoted=False, reasons=("no",))
    assert loop.settle(candidate, verdict, "a test") is None
    assert loop.registry.current().name == now.name and loop.attempts() == 1
    assert loop.registry.audit()[-1].action == "refused"
    assert verdict.attempt == 1


def test_erasure_is_as_if_the_patient_had_never_been_there(
    loop: Refiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last test of the loop: it takes a patient away. The gate, of 300 pairs here, lets pass."""
    judge = Refiner.judge
    monkeypatch.setattr(Refiner, "judge", lambda *asked: replace(judge(*asked), promoted=True))
    names_before, evidence = loop.evidence()
    # no name of another patient begins like this one: what stands behind a name in the file may be anything
    gone = "site-1-7"
    kept = [row for row, name in enumerate(names_before) if name != gone]
    without = loop.refit.fit([evidence.select(kept)])
    ages = np.array([5.0 - int(names_before[row].split("-")[-1]) // 10 for row in kept])
    faded = loop.refit.fit([evidence.select(kept).fading(ages, 100.0)])
    hashed, dosed = loop.store.hashes()[gone], loop.registry.current()
    done = loop.erase(gone, "tests", "asked for")
    assert [version.name for version in done.listed] == [dosed.name]
    assert all(hashed in version.saw for version in done.listed)
    left, again = loop.evidence()
    assert gone not in left and len(left) == PATIENTS - 1
    refitted = loop.refit.fit([again])
    assert refitted.shift == pytest.approx(without.shift, abs=1e-9)
    assert refitted.omega == pytest.approx(without.omega, abs=1e-9)
    # the version that saw the patient is made again as it was made: old patients counted for less
    (made,) = done.again
    assert RefittedPopulation.parse(made.population).shift == pytest.approx(faded.shift, abs=1e-9)
    assert done.now.name == made.name
    # whatever doses now has not seen the patient
    assert hashed not in {one for version in loop._chain(done.now) for one in version.saw}
    for file in loop.store.path.parent.rglob("*"):
        if file.is_file():
            assert gone.encode() not in file.read_bytes(), file
    loop.registry.verify()


def test_a_version_in_use_is_read_from_its_files(loop: Refiner, tmp_path: Path) -> None:
    found = in_use(loop.registry.versions()[0], loop.published)
    assert found.population.shift == pytest.approx(0)
    assert found.policy is not None
    assert Usual.parse(json.loads(json.dumps(found.usual.record()))).record() == found.usual.record()
    with pytest.raises(ValueError, match="make the version again"):
        Usual.parse({"spread": {}})
