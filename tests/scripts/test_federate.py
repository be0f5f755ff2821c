"""`dosewright federate`: five stores end to end, sites that answer alone, and what is refused."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from dosewright.agents.estimation.population import Evidence, GroupTerm, Refit, RefittedPopulation
from dosewright.agents.refinement.events import Event
from dosewright.agents.refinement.factors import FactorMaker
from dosewright.agents.refinement.federated import Privacy, read_population
from dosewright.agents.refinement.simulated import SimulatedClinic
from dosewright.agents.refinement.store import Store
from dosewright.envs import Noise, Scenario, scenario
from dosewright.evaluation.worlds import world
from dosewright.scripts.cli import cli
from dosewright.scripts.federate import in_words

NOTICE = "Research simulation, not for clinical use."
SITES = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def events(warfarin: Scenario) -> dict[str, list[Event]]:
    """Ten patients at each of five sites, who need half the dose and are given 5 mg."""
    found: dict[str, list[Event]] = {}
    for number, site in enumerate(SITES):
        clinic = SimulatedClinic(
            warfarin, warfarin.preset("textbook"), world("half-dose", warfarin), Noise("select", 20 + number),
            10, site=site,
        )  # fmt: skip
        found[site] = clinic.under(5.0)
    return found


@pytest.fixture(scope="module")
def stores(
    tmp_path_factory: pytest.TempPathFactory, warfarin: Scenario, events: dict[str, list[Event]]
) -> list[str]:
    folder = tmp_path_factory.mktemp("stores")
    for site, mine in events.items():
        with Store.open(folder / f"{site}.db", warfarin.name, warfarin.version) as store:
            store.append(mine)
    return [str(folder / f"{site}.db") for site in SITES]


def ask(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["federate", *map(str, arguments)])


def done(*arguments: str | Path) -> str:
    result = ask(*arguments)
    assert result.exit_code == 0, (result.output, result.exception)
    return result.output


def refused(words: str, *arguments: str | Path) -> None:
    result = ask(*arguments)
    assert result.exit_code != 0
    assert isinstance(result.exception, ValueError), result.exception
    assert re.search(words, str(result.exception)), result.exception


def test_five_stores_learn_what_their_patients_show(
    tmp_path: Path, warfarin: Scenario, stores: list[str], events: dict[str, list[Event]]
) -> None:
    out = tmp_path / "rounds"
    said = done("run", "warfarin", *stores, "--out", out)
    _, pooled = FactorMaker(warfarin).evidence([event for mine in events.values() for event in mine])
    assert pooled is not None
    expected = Refit(warfarin, threshold=math.inf).fit([pooled])
    found = read_population(out / "population.json")
    assert found.shift == pytest.approx(expected.shift, abs=1e-9)
    assert found.omega == pytest.approx(expected.omega, abs=1e-9)
    lines = said.splitlines()
    rounds = int(re.findall(r"(\d+) rounds, 5 sites, 50 patients", lines[0])[0])
    assert lines[1:6] == [f"  {site}: 10" for site in SITES]
    cl, v, ec50 = (f"{math.exp(value):.2f}" for value in found.shift[:3])
    assert lines[6] == f"everybody: CL × {cl}, V × {v}, EC50 × {ec50}, BASE {found.shift[3]:+.2g}"
    # they need half the dose, which goes with CL × EC50; the published model is worth 20 patients of 70
    assert 0.45 < float(cl) * float(ec50) < 0.75
    moved = float(re.findall("last round moved a shift by (.*) published SD at most", said)[0])
    assert 0 < moved < 1e-5
    assert said.count(NOTICE) == 1 and lines[-1] == NOTICE
    names = sorted(file.name for file in (out / "round-000").iterdir())
    assert names == [*(f"moments-{site}.json" for site in SITES), "population.json"]
    folders = sorted(file.name for file in out.glob("round-*"))
    assert folders == [f"round-{number:03d}" for number in range(rounds + 1)]
    assert read_population(out / folders[-1] / "population.json").record() == found.record()
    # nothing of what leaves a site names a patient
    texts = [file.read_text() for file in out.rglob("*.json")]
    assert not any(event.patient in text for text in texts for event in events["a"][:20])


def test_few_rounds_are_not_the_end(tmp_path: Path, stores: list[str]) -> None:
    said = done("run", "warfarin", *stores[:2], "--out", tmp_path / "rounds", "--rounds", "2", "--worth", "5")
    assert "2 rounds, 2 sites, 20 patients" in said and "not at rest yet" in said
    assert json.loads((tmp_path / "rounds" / "federation.json").read_text())["worth"] == 5


def test_noise_has_its_budget_printed_and_nothing_that_it_hides(tmp_path: Path, stores: list[str]) -> None:
    out, hiding = tmp_path / "rounds", ("--clip", "2", "--noise", "7")
    said = done("run", "warfarin", *stores, "--out", out, *hiding, "--delta", "1e-6")
    budget = Privacy(2.0, 7.0).budget(8, 1e-6)
    cost = f"epsilon {budget.epsilon:.3g} at delta 1e-06 (rho 0.08163, 8 rounds)"
    assert f"privacy of each patient: {cost}" in said
    assert re.search("8 rounds, 5 sites, about ", said) and "  a: about " in said
    assert "not at rest" not in said
    answer = json.loads((out / "round-003" / "moments-b.json").read_text())
    assert answer["log_marginal"] is None
    assert answer["privacy"] == {"clip": 2.0, "noise": 7.0, "seeded": False}
    assert answer["patients"] != 10
    assert np.linalg.eigvalsh(read_population(out / "population.json").omega)[0] > 0


def test_sites_that_answer_elsewhere_come_to_the_same(tmp_path: Path, stores: list[str]) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    done("run", "warfarin", *stores[:2], "--out", here, "--rounds", "3")
    said = done("begin", "warfarin", there, "--site", "a", "--site", "b")
    assert said == f"send {there / 'round-000' / 'population.json'} to a, b\n"
    for number in range(3):
        asked = there / f"round-{number:03d}"
        for store in stores[:2]:
            file = asked / f"moments-{Path(store).stem}.json"
            said = done("answer", store, "--population", asked / "population.json", "--out", file)
            assert said == f"{Path(store).stem}: 10 patients, sums in {file}\n"
        said = done("step", there)
        assert re.match(f"{number + 1} rounds?, 2 sites, 20 patients\n", said)
        assert said.count(NOTICE) == 1
        assert f"population: {there / f'round-{number + 1:03d}' / 'population.json'}" in said
    for name in ("population.json", "moments-a.json"):
        number = 3 if name == "population.json" else 2
        file = f"round-{number:03d}/{name}"
        assert (there / file).read_bytes() == (here / file).read_bytes()


def test_a_site_that_hides_its_patients_says_what_it_costs(tmp_path: Path, stores: list[str]) -> None:
    out = tmp_path / "rounds"
    hiding = ("--clip", "2", "--noise", "7")
    done("begin", "warfarin", out, "--site", "clinic", *hiding)
    asked = ("--population", out / "round-000" / "population.json", "--site", "clinic")
    file = out / "round-000" / "moments-clinic.json"
    said = done("answer", stores[0], *asked, "--out", file, *hiding)
    # 1 / (2 × 7²) = 0.010204; ε = ρ + 2 √(ρ × 11.5129)
    assert "costs rho 0.0102 (epsilon 0.696 at delta 1e-05)" in said
    assert "epsilon 0.696 at delta 1e-05 (rho 0.0102, 1 round)" in done("step", out)
    refused(
        "--clip and --noise hide patients together", "answer", stores[0], *asked, "--out", file, "--clip", "2"
    )
    refused("delta = 2.0", "answer", stores[0], *asked, "--out", file, *hiding, "--delta", "2")


def test_a_population_with_groups_is_begun_with(
    tmp_path: Path, warfarin: Scenario, stores: list[str]
) -> None:
    published = RefittedPopulation.published(warfarin)
    start = replace(
        published, terms=(GroupTerm((), "cl_s_l_h"),), contrasts=np.zeros((1, 4)), log_bayes_factor=(6.0,)
    )
    file = tmp_path / "start.json"
    file.write_text(json.dumps(start.record()))
    said = done("run", "warfarin", *stores, "--out", tmp_path / "rounds", "--rounds", "3", "--from", file)
    found = read_population(tmp_path / "rounds" / "population.json")
    assert found.terms == start.terms and np.abs(found.contrasts).min() > 0
    cl = math.exp(found.contrasts[0, 0])
    assert re.search(rf"^besides, cl_s_l_h: CL × {cl:.2f}, V × ", said, re.MULTILINE)


def test_changes_are_said_on_the_scale_of_each_parameter() -> None:
    known = scenario("voriconazole")
    published = RefittedPopulation.published(known)
    place = published.names.index("logit F")
    shift = np.where(np.arange(7) == place, math.log(2.0), math.log(0.57))
    (line,) = in_words(replace(published, shift=shift), known)
    assert line.startswith("everybody: CL × 0.57, Vc × 0.57, ") and "odds of F × 2.00" in line


def test_what_cannot_be_meant_is_refused(
    tmp_path: Path, stores: list[str], warfarin: Scenario, events: dict[str, list[Event]]
) -> None:
    out = tmp_path / "rounds"
    refused("unknown drug 'aspirin'", "run", "aspirin", stores[0], "--out", out)
    refused(
        "holds events of warfarin version 0, not of tacrolimus", "run", "tacrolimus", stores[0], "--out", out
    )
    refused("there is no store", "run", "warfarin", tmp_path / "no.db", "--out", out)
    refused("give both, or neither", "run", "warfarin", *stores, "--out", out, "--noise", "3")
    refused("noise = 0.0", "run", "warfarin", *stores, "--out", out, "--noise", "0", "--clip", "1")
    refused("worth = -1.0", "run", "warfarin", *stores, "--out", out, "--worth", "-1")
    refused("site 'a' is there already", "run", "warfarin", stores[0], stores[0], "--out", out)
    with Store.open(tmp_path / "empty.db", warfarin.name, warfarin.version) as store:
        store.append([event for event in events["a"] if event.kind == "enrolled"])
    refused("no patient with a result and consent", "run", "warfarin", tmp_path / "empty.db", "--out", out)
    refused("has no federation.json", "step", out)
    assert not out.exists()
    (out / "x").mkdir(parents=True)
    refused("holds something already", "run", "warfarin", *stores, "--out", out)
    file = tmp_path / "other.json"
    other = replace(RefittedPopulation.published(warfarin), version=3)
    file.write_text(json.dumps(other.record()))
    refused("warfarin version 3", "answer", stores[0], "--population", file, "--out", tmp_path / "m.json")
    file.write_text("{}")
    moments = tmp_path / "m.json"
    refused("other.json: population of schema", "answer", stores[0], "--population", file, "--out", moments)
    assert not moments.exists()


def test_evidence_of_a_store_is_that_of_its_events(
    stores: list[str], warfarin: Scenario, events: dict[str, list[Event]], tmp_path: Path
) -> None:
    """A site's answer under the published population is the sum over its patients, made from its events."""
    _, evidence = FactorMaker(warfarin).evidence(events["c"])
    assert isinstance(evidence, Evidence)
    published = RefittedPopulation.published(warfarin)
    done("begin", "warfarin", tmp_path / "r", "--site", "c")
    asked = tmp_path / "r" / "round-000"
    done("answer", stores[2], "--population", asked / "population.json", "--out", asked / "moments-c.json")
    answer = json.loads((asked / "moments-c.json").read_text())
    assert answer["cross"] == evidence.moments(published).cross.tolist()
    assert answer["square"] == evidence.moments(published).square.tolist()
