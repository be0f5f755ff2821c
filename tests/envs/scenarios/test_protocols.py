"""Published virtual trials as decision problems: found by name, people and calendar as published, usable as
any other."""

from __future__ import annotations

import numpy as np
import pytest

from dosewright.envs import DosingVectorEnv, Noise
from dosewright.envs.pharmacology.models import warfarin_hamberg2007
from dosewright.envs.scenarios import names, protocol_names, scenario
from dosewright.envs.scenarios.protocols.people import MIDDLE_HALF_VARIANCE

N = 20_000
IDS, NOISE = np.arange(N), Noise("trial", 3)
FULL, CUT, UP_TO_30 = "warfarin-anzabi-zadeh", "warfarin-anzabi-zadeh-cut", "warfarin-augustin-30"


def test_protocols_are_found_but_are_no_drugs() -> None:
    assert protocol_names() == (FULL, CUT, UP_TO_30, "warfarin-augustin-15")
    assert not set(protocol_names()) & set(names())
    for name in protocol_names():
        assert scenario(name).name == name
    with pytest.raises(ValueError, match="published protocols: warfarin-anzabi-zadeh"):
        scenario("warfarin-augustin")


def test_calendars_and_doses_are_the_published_ones() -> None:
    assert scenario(FULL).calendar[:5] == (0, 2, 5, 12, 19) and scenario(FULL).calendar[-1] == 89
    assert scenario(UP_TO_30).calendar == tuple(range(19)) and scenario(UP_TO_30).horizon == 19
    largest = {name: scenario(name).doses.maximum for name in protocol_names()}
    assert largest == {FULL: 15.0, CUT: 15.0, UP_TO_30: 30.0, "warfarin-augustin-15": 15.0}


# stated shares of the publications; four standard errors
@pytest.mark.parametrize(
    ("name", "shares"),
    [
        (FULL, {"*1/*1": 0.6739, "*2/*2": 0.0651, "*2/*3": 0.0197, "GG": 0.3837, "AA": 0.1745}),
        (UP_TO_30, {"*1/*1": 0.62, "*1/*2": 0.20, "*3/*3": 0.01, "GG": 0.35, "AA": 0.20}),
    ],
)
def test_diplotypes_have_the_published_shares(name: str, shares: dict[str, float]) -> None:
    known = scenario(name)
    people = known.population.draw(known.model, known.base, IDS, NOISE)
    for diplotype, share in shares.items():
        drawn = people.genotypes["CYP2C9" if "*" in diplotype else "VKORC1"]
        error = np.sqrt(share * (1 - share) / N)
        assert np.mean(drawn == diplotype) == pytest.approx(share, abs=4 * error)


def test_people_of_anzabi_zadeh_are_the_aurora_population() -> None:
    known = scenario(FULL)
    people = known.population.draw(known.model, known.base, IDS, NOISE).covariates
    assert people["age_y"].mean() == pytest.approx(67.3, abs=0.5) and people["age_y"].max() <= 100
    assert people["weight_kg"].mean() / 0.454 == pytest.approx(199.24, abs=3)
    assert people["height_cm"].mean() / 2.54 == pytest.approx(66.78, abs=0.2)
    # height does not depend on sex
    by_sex = [people["height_cm"][people["male"] == sex].mean() for sex in (0, 1)]
    assert by_sex[0] == pytest.approx(by_sex[1], abs=0.7)
    listed = people["race_white"] + people["race_black"] + people["race_asian"]
    for found, share in (
        (1 - people["male"], 0.5314), (people["race_black"], 0.0419), (people["amiodarone"], 0.1151),
        (people["smoker"], 0.0933), (1 - listed, 0.0019),
    ):  # fmt: skip
        assert found.mean() == pytest.approx(share, abs=4 * np.sqrt(share * (1 - share) / N))


def test_cut_random_effects_are_the_middle_half_of_the_whole_ones() -> None:
    full, cut = scenario(FULL), scenario(CUT)
    drawn = {item.name: item.population.draw(item.model, item.base, IDS, NOISE) for item in (full, cut)}
    assert MIDDLE_HALF_VARIANCE == pytest.approx(0.1427, abs=1e-4)
    column, variance = full.model.column("EC50"), 0.409
    aa = drawn[FULL].genotypes["VKORC1"] == "AA"
    whole, middle = (np.log(drawn[name].theta[aa, column] / 2.20) for name in (FULL, CUT))
    assert whole.std() == pytest.approx(np.sqrt(variance), rel=0.05)
    assert middle.std() == pytest.approx(np.sqrt(variance * MIDDLE_HALF_VARIANCE), rel=0.05)
    limit = 0.6745 * np.sqrt(variance)
    assert np.abs(middle).max() <= limit + 1e-3 and np.abs(middle).max() > 0.99 * limit
    # the same person stays in the same place of the distribution
    assert np.array_equal(np.argsort(whole), np.argsort(middle))
    # what a belief takes for granted is as wide as the people are
    assert np.diag(cut.model.omega)[:6] == pytest.approx(MIDDLE_HALF_VARIANCE * np.diag(full.model.omega)[:6])


def test_the_model_is_read_as_the_program_reads_it() -> None:
    known = scenario(FULL)
    people = known.population.draw(known.model, known.base, IDS[:50], NOISE)
    theta = people.theta
    assert theta[:, known.model.column("BASE")] == pytest.approx(1.0, abs=0.01)
    assert known.maintenance_dose is not None
    ours = warfarin_hamberg2007.maintenance_dose(theta, 2.5)
    assert known.maintenance_dose(theta, 2.5) == pytest.approx(ours / 0.9)
    assert known.model.routes[0].fraction == pytest.approx(0.45)


def test_augustin_is_middle_aged() -> None:
    known = scenario(UP_TO_30)
    age = known.population.draw(known.model, known.base, IDS, NOISE).covariates["age_y"]
    assert np.median(age) == pytest.approx(50, abs=0.5)
    assert np.log(age).std() == pytest.approx(0.15, rel=0.03)


def test_a_spread_scales_the_random_effects_of_published_people() -> None:
    known = scenario(CUT)
    ids, half = IDS[:200], np.full(200, 0.5)
    draw = known.population.draw
    usual, narrow = (
        np.log(draw(known.model, known.base, ids, NOISE, spread).theta[:, known.model.column("V1")] / 13.8)
        for spread in (None, half)
    )
    assert narrow == pytest.approx(usual / 2)


@pytest.mark.parametrize("name", [CUT, UP_TO_30])
def test_an_environment_runs_a_protocol(name: str) -> None:
    environment = DosingVectorEnv(name, 3, realism="textbook")
    environment.reset(seed=1)
    done = np.zeros(3, dtype=bool)
    visits = 0
    while not done.all():
        _, _, terminated, truncated, _ = environment.step(np.full((3, 1), 4.0, dtype=np.float32))
        done, visits = terminated | truncated, visits + 1
    assert visits == len(scenario(name).calendar)


def test_frequencies_of_a_prior_are_those_of_the_diplotypes() -> None:
    term = next(term for term in scenario(UP_TO_30).model.genotype_terms if term.gene == "CYP2C9")
    assert term.frequencies["European"] == pytest.approx({"*1": 0.78, "*2": 0.14, "*3": 0.085}, abs=0.01)
    assert term.frequencies["European"]["*1"] == pytest.approx(0.62 + 0.10 + 0.06)
