"""Five hospitals learn what one place would learn, and what it costs when they hide their patients."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.agents.estimation.population import Evidence, GroupTerm, Refit, RefittedPopulation
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.factors import FactorMaker, packed
from dosewright.agents.refinement.federated import (
    Answer,
    Federation,
    Privacy,
    contributions,
    plan_of,
    population_hash,
    read_population,
    stepped,
    stored_evidence,
)
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.agents.refinement.store import Store, StoredFactor
from dosewright.envs import Noise, Scenario
from dosewright.evaluation.worlds import world

SITES = ("north", "south", "east", "west", "centre")
WHITE = GroupTerm(("race_white",))


def streamed(known: Scenario, site: str, patients: int, seed: int) -> list[Event]:
    """Events of a clinic whose patients need half the dose and are given 5 mg."""
    clinic = SimulatedClinic(
        known, known.preset("textbook"), world("half-dose", known), Noise("select", seed), patients, site=site
    )
    return clinic.under(5.0)


@pytest.fixture(scope="module")
def sites(warfarin: Scenario) -> dict[str, Evidence]:
    """What 60 patients at each of five sites say."""
    maker, found = FactorMaker(warfarin), dict[str, Evidence]()
    for number, site in enumerate(SITES):
        _, evidence = maker.evidence(streamed(warfarin, site, 60, 10 + number))
        assert evidence is not None
        found[site] = evidence
    return found


@pytest.fixture(scope="module")
def refit(warfarin: Scenario) -> Refit:
    return Refit(warfarin, threshold=math.inf)


@pytest.fixture(scope="module")
def pooled(sites: dict[str, Evidence], refit: Refit) -> RefittedPopulation:
    """The population from all patients in one place."""
    return refit.fit([Evidence.joined(list(sites.values()))])


def scale(refit: Refit) -> NDArray[np.float64]:
    return np.sqrt(np.diag(refit.published.omega))


def rounds(
    federation: Federation, sites: dict[str, Evidence], most: int, seed: int | None = None
) -> RefittedPopulation:
    """Do rounds over the files until nothing moves; with noise, all."""
    refit, population = federation.refit, federation.population(0)
    for _ in range(most):
        for site, evidence in sites.items():
            federation.put(Answer.of(site, evidence, population, refit.published, federation.privacy, seed))
        before, population = population, federation.step()
        if federation.privacy is None and refit.moved(before, population) < 1e-5:
            break
    return population


# ------------------------------------------------------------------------------------------- without noise


def test_five_sites_are_one_place(
    tmp_path: Path, warfarin: Scenario, sites: dict[str, Evidence], refit: Refit
) -> None:
    federation = Federation.begin(tmp_path / "rounds", warfarin, SITES)
    found = rounds(federation, sites, 40)
    pooled, together = refit.published, Evidence.joined(list(sites.values()))
    for _ in range(federation.round):
        pooled = refit.step(pooled, together.moments(pooled))
    assert federation.round == 40 and found.patients == 300
    assert found.shift == pytest.approx(pooled.shift, abs=1e-9)
    assert found.omega == pytest.approx(pooled.omega, abs=1e-9)
    assert found.names == ("log CL", "log V", "log EC50", "BASE")
    # they need half the dose: it goes with clearance times EC50, and an INR tells the two apart but poorly
    assert math.exp(found.shift[0] + found.shift[2]) == pytest.approx(0.5, abs=0.08)
    assert np.argmax(np.abs(found.shift) / scale(refit)) == 0
    # who opens the folder later finds the same
    later = Federation.open(tmp_path / "rounds", warfarin)
    assert later == federation
    assert later.population(later.round).record() == found.record()
    assert len(later.answers(later.round - 1)) == 5 and later.answers(later.round) == []


def test_the_groups_of_the_population_to_begin_with_are_kept(
    tmp_path: Path, warfarin: Scenario, sites: dict[str, Evidence], refit: Refit
) -> None:
    start = replace(refit.published, terms=(WHITE,), contrasts=np.full((1, 4), 0.01), log_bayes_factor=(7.0,))
    federation = Federation.begin(tmp_path, warfarin, SITES, worth=5.0, start=start)
    found = rounds(federation, sites, 6)
    refitted, together = Refit(warfarin, worth=5.0), Evidence.joined(list(sites.values()))
    expected = start
    for _ in range(6):
        expected = refitted.step(expected, together.moments(expected))
    assert found.terms == (WHITE,) and found.log_bayes_factor == (7.0,)
    assert found.contrasts == pytest.approx(expected.contrasts, abs=1e-9)
    assert np.abs(found.contrasts - 0.01).min() > 1e-4
    assert found.omega == pytest.approx(expected.omega, abs=1e-9)


def test_an_answer_is_sums_that_come_back_exactly(sites: dict[str, Evidence], refit: Refit) -> None:
    evidence, published = sites["north"], refit.published
    answer = Answer.of("north", evidence, published, published)
    text = json.dumps(answer.record())
    assert "north-" not in text  # patients are called after their site
    again, own = Answer.parse(json.loads(text), "here"), evidence.moments(published)
    for name in ("patients", "design", "cross", "square", "log_marginal"):
        assert np.array_equal(getattr(again.moments, name), getattr(own, name))
    assert (again.site, again.drug, again.version, again.privacy) == ("north", "warfarin", 0, None)
    assert again.population == population_hash(published)
    assert sum(np.size(value) for value in (own.design, own.cross, own.square)) == 1 + 4 + 16


def test_the_hash_of_a_population_is_that_of_all_its_numbers(refit: Refit) -> None:
    first = refit.published
    assert population_hash(first) == population_hash(
        RefittedPopulation.parse(json.loads(json.dumps(first.record())))
    )
    shift, omega = first.shift.copy(), first.omega.copy()
    shift[2] = np.nextafter(shift[2], 1)
    omega[0, 0] = np.nextafter(omega[0, 0], 1)
    others = (replace(first, shift=shift), replace(first, omega=omega), replace(first, version=1))
    assert len({population_hash(item) for item in (first, *others)}) == 4


# ----------------------------------------------------------------------------------------------- hidden


def test_the_budget_is_that_of_concentrated_privacy() -> None:
    # ρ = 8 / (2 × 7²) = 0.0816327; ε = ρ + 2 √(ρ × 11.512925) = 0.0816327 + 2 × 0.9694486
    found = Privacy(2.0, 7.0).budget(8, 1e-5)
    assert (found.rounds, found.delta) == (8, 1e-5)
    assert found.rho == pytest.approx(0.0816327, rel=1e-6)
    assert found.epsilon == pytest.approx(2.0205299, rel=1e-6)
    assert Privacy(9.0, 7.0).budget(8, 1e-5) == found  # the clip scales signal and noise alike
    assert Privacy(2.0, 14.0).budget(32, 1e-5).rho == found.rho
    with pytest.raises(ValueError, match="from a seed, so it hides nobody and has no epsilon"):
        Privacy(2.0, 7.0, seeded=True).budget(8, 1e-5)
    for delta in (0.0, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"delta = {delta}"):
            Privacy(2.0, 7.0).budget(8, delta)
    for wrong in (0.0, -1.0, math.inf, math.nan):
        with pytest.raises(ValueError, match=f"clip = {wrong}; expected a number above 0"):
            Privacy(wrong, 7.0)
        with pytest.raises(ValueError, match=f"noise = {wrong}; expected a number above 0"):
            Privacy(2.0, wrong)


@pytest.mark.parametrize("clip", [0.5, 2.0, 4.0])
def test_one_patient_more_or_less_changes_the_sum_by_no_more_than_the_clip(
    clip: float, sites: dict[str, Evidence], refit: Refit, pooled: RefittedPopulation
) -> None:
    evidence = sites["east"]
    evidence = replace(evidence, weight=np.linspace(0.2, 1.0, 60))
    start = replace(pooled, terms=(WHITE,), contrasts=np.full((1, 4), 0.1), log_bayes_factor=(6.0,))
    for population in (refit.published, pooled, start):
        hidden = Privacy(clip, 1.0)
        everybody = contributions(evidence, population, scale(refit), hidden).sum(axis=0)
        g = 1 + len(population.terms)
        assert len(everybody) == g * (g + 1) // 2 + 4 * g + 10
        change = [
            np.linalg.norm(
                everybody
                - contributions(
                    evidence.select(np.delete(np.arange(60), gone)), population, scale(refit), hidden
                ).sum(axis=0)
            )
            for gone in range(60)
        ]
        assert max(change) <= clip * (1 + 1e-12)
        # a bound that some reach: below it nobody is shortened, above it all
        assert clip > 3 or max(change) == pytest.approx(clip, rel=1e-9)


def test_whoever_is_within_the_clip_is_told_as_they_are(
    sites: dict[str, Evidence], refit: Refit, pooled: RefittedPopulation
) -> None:
    """With a clip that nobody reaches and hardly any noise, hidden moments are the moments."""
    population = replace(pooled, terms=(WHITE,), contrasts=np.full((1, 4), 0.1), log_bayes_factor=(6.0,))
    faded = sites["west"].fading(np.arange(60.0), 30.0)
    open_, hidden = (
        Answer.of("west", faded, population, refit.published, privacy, 1).moments
        for privacy in (None, Privacy(1e3, 1e-15))
    )
    for name in ("patients", "design", "cross", "square"):
        assert getattr(hidden, name) == pytest.approx(getattr(open_, name), rel=1e-8, abs=1e-8)


def test_who_is_clipped_counts_for_less(sites: dict[str, Evidence], refit: Refit) -> None:
    """A vector that is shortened is a patient with a weight: memberships, effects and products alike."""
    published, evidence = refit.published, sites["west"]
    whole = contributions(evidence, published, scale(refit), Privacy(1e9, 1.0))
    cut = contributions(evidence, published, scale(refit), Privacy(2.0, 1.0))
    weight = np.minimum(1.0, 2.0 / np.linalg.norm(whole, axis=1))
    assert 0.1 < np.mean(weight < 1) < 0.9
    assert cut == pytest.approx(weight[:, None] * whole, rel=1e-12)
    hidden = Answer.of("west", evidence, published, published, Privacy(2.0, 1e-15), 1).moments
    weighed = replace(evidence, weight=weight).moments(published)
    for name in ("patients", "design", "cross", "square"):
        assert getattr(hidden, name) == pytest.approx(getattr(weighed, name), rel=1e-8, abs=1e-8)


def test_the_noise_has_the_stated_size_in_every_entry(sites: dict[str, Evidence], refit: Refit) -> None:
    published, evidence, hidden = refit.published, sites["north"], Privacy(2.0, 3.0)
    sd = scale(refit)
    exact = Answer.of("north", evidence, published, published, Privacy(2.0, 1e-12), 0).moments
    drawn = [Answer.of("north", evidence, published, published, hidden, seed).moments for seed in range(800)]
    off = np.array([
        [
            item.patients - exact.patients,
            *((item.cross - exact.cross)[0] / sd),
            *((item.square - exact.square - (item.patients - exact.patients) * published.omega)
              / np.outer(sd, sd))[np.triu_indices(4)],
        ]
        for item in drawn
    ])  # fmt: skip
    # 800 draws: SE of an SD is 2.5 %, of a correlation 0.035; 15 and 105 of them
    assert off.std(axis=0) == pytest.approx(np.full(15, 6.0), rel=0.1)
    assert off.mean(axis=0) == pytest.approx(np.zeros(15), abs=4 * 6 / math.sqrt(800))
    assert np.abs(np.corrcoef(off.T) - np.eye(15)).max() < 0.15
    assert all(np.array_equal(item.square, item.square.T) for item in drawn[:5])


def test_noise_is_new_every_time_unless_it_is_seeded(sites: dict[str, Evidence], refit: Refit) -> None:
    published, hidden = refit.published, Privacy(2.0, 3.0)

    def said(site: str, population: RefittedPopulation, seed: int | None) -> tuple[float, bool]:
        answer = Answer.of(site, sites["north"], population, published, hidden, seed)
        assert answer.privacy is not None
        assert math.isnan(answer.moments.log_marginal) and answer.record()["log_marginal"] is None
        return answer.moments.patients, answer.privacy.seeded

    moved = replace(published, shift=published.shift + 0.0, patients=1.0)
    fresh = {said("north", published, None) for _ in range(4)}
    assert len(fresh) == 4 and not any(seeded for _, seeded in fresh)
    seeded = [said("north", published, 1), said("south", published, 1), said("north", moved, 1)]
    assert said("north", published, 1) == seeded[0]
    assert len(set(seeded)) == 3 and all(flag for _, flag in seeded)


def test_the_error_shrinks_with_epsilon(
    sites: dict[str, Evidence], refit: Refit, pooled: RefittedPopulation
) -> None:
    """Eight rounds at 5 sites of 60: RMS error of the shifts, in published SD, against the pooled answer."""

    def error(epsilon: float) -> float:
        # the noise whose eight rounds have this ε, from ε = ρ + 2 √(ρ L)
        log = math.log(1e5)
        rho = (math.sqrt(log + epsilon) - math.sqrt(log)) ** 2
        hidden = Privacy(2.0, math.sqrt(8 / (2 * rho)))
        assert hidden.budget(8, 1e-5).epsilon == pytest.approx(epsilon, rel=1e-9)
        off: list[NDArray[np.float64]] = []
        for seed in range(6):
            population = refit.published
            for _ in range(8):
                population = stepped(
                    refit,
                    population,
                    [
                        Answer.of(site, evidence, population, refit.published, hidden, seed)
                        for site, evidence in sites.items()
                    ],
                )
                assert np.linalg.eigvalsh(population.omega)[0] > 0
            off.append((population.shift - pooled.shift) / scale(refit))
        return float(np.sqrt(np.mean(np.square(off))))

    found = [error(epsilon) for epsilon in (0.5, 2.0, 8.0)]
    assert found[0] > 1.5 * found[1] > 1.5 * found[2]
    # left of it: what eight rounds of EM and the clip leave, 0.2
    assert found[2] < 0.3


def test_a_covariance_that_noise_has_broken_is_repaired(sites: dict[str, Evidence], refit: Refit) -> None:
    refit = replace(refit, spread=refit.worth)  # where the published covariance hardly holds it
    published, few = refit.published, sites["north"].select(np.arange(4))
    hidden, broken = Privacy(2.0, 5.0), 0
    whitening = np.linalg.inv(np.linalg.cholesky(published.omega))
    for seed in range(20):
        answer = Answer.of("north", few, published, published, hidden, seed)
        found = stepped(refit, published, [answer])
        values = np.linalg.eigvalsh(whitening @ found.omega @ whitening.T)
        assert values[0] > 0.1 - 1e-12
        assert np.array_equal(found.omega, found.omega.T)
        assert np.all(found.omega[-1, :-1] == 0)  # the baseline is drawn apart
        assert found.patients >= hidden.sd - 1e-12  # as many as the noise in their number
        RefittedPopulation.parse(found.record())
        raw = refit.step(published, replace(answer.moments, patients=max(answer.moments.patients, 1.0)))
        broken += np.linalg.eigvalsh(raw.omega)[0] <= 0
    assert broken >= 5


def test_a_budget_counts_the_rounds_that_are_over(
    tmp_path: Path, warfarin: Scenario, sites: dict[str, Evidence]
) -> None:
    hidden = Privacy(2.0, 7.0)
    federation = Federation.begin(tmp_path / "fresh", warfarin, SITES, privacy=hidden)
    rounds(federation, sites, 3)
    assert federation.budget(1e-5) == hidden.budget(3, 1e-5)
    assert Federation.open(tmp_path / "fresh", warfarin).privacy == hidden
    seeded = Federation.begin(tmp_path / "seeded", warfarin, SITES, privacy=hidden)
    rounds(seeded, sites, 1, seed=1)
    with pytest.raises(ValueError, match="from a seed"):
        seeded.budget(1e-5)
    with pytest.raises(ValueError, match="not hidden, so there is no budget"):
        Federation.begin(tmp_path / "open", warfarin, SITES).budget(1e-5)


# -------------------------------------------------------------------------------------------- refusals


def test_answers_that_do_not_belong_are_refused(sites: dict[str, Evidence], refit: Refit) -> None:
    first, evidence = refit.published, sites["north"]
    north, south = (Answer.of(site, evidence, first, first) for site in ("north", "south"))
    later = refit.step(first, evidence.moments(first))
    with pytest.raises(ValueError, match="site 'north' answered twice"):
        stepped(refit, first, [north, south, north])
    with pytest.raises(ValueError, match=f"site 'north': moments under population {north.population[:12]}"):
        stepped(refit, later, [north])
    with pytest.raises(ValueError, match="site 'south': moments for warfarin version 1; expected warfarin"):
        stepped(refit, first, [north, replace(south, version=1)])
    wrong = replace(south.moments, cross=np.zeros((2, 4)), design=np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"site 'south': cross \(2, 4\); expected \(1, 4\): log CL"):
        stepped(refit, first, [north, replace(south, moments=wrong)])
    hidden = Answer.of("south", evidence, first, first, Privacy(2.0, 3.0))
    with pytest.raises(ValueError, match="site 'south': hidden by clip 2, noise 3, site 'north' not hidden"):
        stepped(refit, first, [north, hidden])
    with pytest.raises(ValueError, match="no site has answered"):
        stepped(refit, first, [])
    with pytest.raises(ValueError, match="population of warfarin version 1 over"):
        Answer.of("north", evidence, replace(first, version=1), first)
    for name in ("", "a b", "../a", ".a", "a" * 65):
        with pytest.raises(ValueError, match="expected letters, digits"):
            Answer.of(name, evidence, first, first)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"schema": 2}, "moments of schema 2; this version reads 1"),
        ({"patients": math.nan}, "a number is not finite; let site 'north' answer again"),
        ({"log_marginal": math.inf}, "a number is not finite"),
        ({"cross": [[0.0, 0.0, math.nan, 0.0]]}, "a number is not finite"),
        ({"cross": [0.0]}, "do not belong together"),
        ({"design": [[1.0, 0.0], [0.0, 1.0]]}, "do not belong together"),
        ({"square": [[1.0]]}, "do not belong together"),
        ({"square": [[1.0], [1.0, 2.0]]}, "broken"),
        ({"log_marginal": None}, "broken"),
        ({"privacy": {"clip": 2.0}}, "'noise' is missing"),
        ({"privacy": {"clip": -2.0, "noise": 1.0, "seeded": False}}, "clip = -2.0"),
    ],
)
def test_broken_moments_are_refused(
    change: dict[str, Any], words: str, sites: dict[str, Evidence], refit: Refit
) -> None:
    record = Answer.of("north", sites["north"], refit.published, refit.published).record()
    assert Answer.parse(record, "file").site == "north"
    with pytest.raises(ValueError, match=f"^file: .*{words}"):
        Answer.parse(record | change, "file")
    for name in record:
        with pytest.raises(
            ValueError, match=f"^file: (broken \\('{name}' is missing|moments of schema None)"
        ):
            Answer.parse({key: value for key, value in record.items() if key != name}, "file")


def test_a_round_needs_all_sites_and_no_other(
    tmp_path: Path, warfarin: Scenario, sites: dict[str, Evidence]
) -> None:
    federation = Federation.begin(tmp_path, warfarin, ["north", "south"])
    first = federation.population(0)

    def put(site: str, name: str | None = None, privacy: Privacy | None = None) -> Path:
        file = federation.put(Answer.of(site, sites["north"], first, first, privacy))
        return file if name is None else file.rename(file.with_name(name))

    put("north")
    with pytest.raises(ValueError, match="round-000: no moments of south yet"):
        federation.step()
    put("south")
    twice = put("north", "moments-other.json")
    put("north")
    with pytest.raises(ValueError, match="site 'north' answered twice"):
        federation.step()
    twice.unlink()
    stranger = put("east")
    with pytest.raises(ValueError, match="moments of east, which takes no part; sites: north, south"):
        federation.step()
    stranger.unlink()
    put("south", privacy=Privacy(2.0, 3.0))
    with pytest.raises(ValueError, match="patients of south are hidden by clip 2, noise 3; agreed was: not"):
        federation.step()
    broken = put("south")
    whole = broken.read_text()
    for text in (whole[:-40], whole.replace("60.0", "NaN", 1), "[1]"):
        broken.write_text(text)
        with pytest.raises(ValueError, match="moments-south.json: .*(no JSON|NaN is no number|JSON object)"):
            federation.step()
    assert federation.round == 0
    broken.write_text(whole)
    federation.step()
    assert federation.round == 1
    with pytest.raises(ValueError, match="round-001: no moments of north, south yet"):
        federation.step()


def test_a_federation_begins_once_and_for_one_scenario(
    tmp_path: Path, warfarin: Scenario, refit: Refit
) -> None:
    folder, first = tmp_path / "rounds", refit.published
    for names, words in (((), "no site takes part"), (("a", "a"), "'a' is named twice"), (("a/b",), "'a/b'")):
        with pytest.raises(ValueError, match=words):
            Federation.begin(folder, warfarin, names)
    with pytest.raises(ValueError, match="population to begin with of tacrolimus version 0"):
        Federation.begin(folder, warfarin, SITES, start=replace(first, drug="tacrolimus"))
    strange = replace(
        first, terms=(GroupTerm(("tall",)),), contrasts=np.zeros((1, 4)), log_bayes_factor=(6.0,)
    )
    with pytest.raises(ValueError, match="group 'tall': warfarin tells apart"):
        Federation.begin(folder, warfarin, SITES, start=strange)
    with pytest.raises(ValueError, match="has no federation.json"):
        Federation.open(folder, warfarin)
    assert not folder.exists()
    Federation.begin(folder, warfarin, SITES)
    with pytest.raises(ValueError, match="holds something already"):
        Federation.begin(folder, warfarin, SITES)
    with pytest.raises(ValueError, match="a federation for warfarin version 0; this is warfarin version 1"):
        Federation.open(folder, replace(warfarin, version=1))
    plan = plan_of(folder)
    (folder / "federation.json").write_text(json.dumps({k: v for k, v in plan.items() if k != "worth"}))
    with pytest.raises(ValueError, match="federation.json: worth missing"):
        Federation.open(folder, warfarin)
    (folder / "federation.json").write_text(json.dumps(plan | {"schema": 9}))
    with pytest.raises(ValueError, match="a federation of schema 9; this version reads 1"):
        Federation.open(folder, warfarin)
    file = folder / "round-000" / "population.json"
    file.write_text(file.read_text().replace('"shift"', '"shaft"'))
    with pytest.raises(ValueError, match="population.json: population record is broken .*'shift' is missing"):
        read_population(file)


# ---------------------------------------------------------------------------------------------- stores


def test_a_store_says_what_its_events_say(tmp_path: Path, warfarin: Scenario) -> None:
    maker, events = FactorMaker(warfarin), streamed(warfarin, "north", 6, 10)
    names, expected = maker.evidence(events)
    assert expected is not None
    with Store.open(tmp_path / "north.db", warfarin.name, warfarin.version) as store:
        assert stored_evidence(store, maker) is None
        added = store.append(events)
        found = stored_evidence(store, maker)
        assert found is not None and np.array_equal(found.factor.eta, expected.factor.eta)
        assert list(store.factors()) == []  # who answers only reads
        # stored factors are used, unless an event came later or the scenario was another
        last = {event.patient: seq for seq, event in added.new}
        other = replace(expected, factor=replace(expected.factor, eta=expected.factor.eta + 1.0))
        store.put_factors([
            StoredFactor(names[0], last[names[0]], str(warfarin.version), packed(other, 0)),
            StoredFactor(names[1], last[names[1]] - 1, str(warfarin.version), packed(other, 1)),
            StoredFactor(names[2], last[names[2]], "another", packed(other, 2)),
        ])  # fmt: skip
        found = stored_evidence(store, maker)
        assert found is not None
        apart = (found.factor.eta - expected.factor.eta).mean(axis=(1, 2))
        assert apart == pytest.approx([1.0, 0, 0, 0, 0, 0], abs=1e-12)
        # who withdraws consent is left out, with the factor
        when = max(event.time for event in events)
        store.append([
            Event(schema=1, id="w", patient=names[0], time=when, kind="consent", value="withdrawn")
        ])  # fmt: skip
        found = stored_evidence(store, maker)
        assert found is not None and np.array_equal(found.factor.eta, expected.factor.eta[1:])


# ---------------------------------------------------------------------------------------------- Flower


@pytest.mark.oracles
def test_rounds_over_flower_are_rounds_over_files(sites: dict[str, Evidence], refit: Refit) -> None:
    pytest.importorskip("flwr")
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters  # pyright: ignore
    from flwr.server.strategy import FedAvg  # pyright: ignore

    from dosewright.agents.refinement.flower import FlowerCoordinator, FlowerSite

    coordinator = FlowerCoordinator(refit, refit.published, 5)
    strategy = FedAvg(on_fit_config_fn=coordinator.config, fit_metrics_aggregation_fn=coordinator.aggregate)
    clients = [FlowerSite(name, evidence, refit.published) for name, evidence in sites.items()]
    expected = refit.published
    for number in (1, 2, 3):
        results: list[Any] = []
        for client in clients:
            arrays, count, metrics = client.fit([], coordinator.config(number))
            ok = Status(code=Code.OK, message="")
            results.append((None, FitRes(ok, ndarrays_to_parameters(arrays), count, metrics)))
        strategy.aggregate_fit(number, results, [])
        answers = [Answer.of(name, item, expected, refit.published) for name, item in sorted(sites.items())]
        expected = stepped(refit, expected, answers)
    assert coordinator.population.record() == expected.record()
    with pytest.raises(ValueError, match="4 sites answered; a round needs all 5"):
        coordinator.aggregate([(1, {})] * 4)
