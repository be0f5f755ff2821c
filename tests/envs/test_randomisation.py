"""Domain randomisation: other worlds for a share of the patients, as drawn, and nothing else changes."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dosewright.envs import (
    AutoresetMode,
    DosingVectorEnv,
    Intake,
    Noise,
    Randomisation,
    RealCohort,
    VirtualPopulation,
    names,
    scenario,
)
from dosewright.envs.realism import Worlds

each_drug = pytest.mark.parametrize("drug", names())
WARFARIN = scenario("warfarin")
CLINIC = WARFARIN.preset("clinic")
NOISE = Noise("train", 4)
WIDE = Randomisation(
    share=0.4, variability=(0.5, 2.0), missed_dose=(0.1, 0.3), drift=(0.0, 3.0), genotype_unknown=0.25
)


def worlds_of(n: int, **changed: Any) -> Worlds:
    """n equal worlds, as the clinic's but for what is named."""
    usual = {
        "spread": 1.0,
        "missed_dose": CLINIC.missed_dose,
        "drift": 1.0,
        "hidden": False,
        "other": False,
    } | changed
    return Worlds(**{name: np.full(n, value) for name, value in usual.items()})


# ---------------------------------------------------------------------------------------------- what is drawn


def test_worlds_are_a_pure_function_of_patient_and_seed() -> None:
    ids = np.arange(500)
    whole, again = WIDE.draw(ids, NOISE, CLINIC), WIDE.draw(ids, NOISE, CLINIC)
    few, other = WIDE.draw(ids[[70, 8, 431]], NOISE, CLINIC), WIDE.draw(ids, Noise("train", 5), CLINIC)
    for name in ("spread", "missed_dose", "drift", "hidden"):
        values = getattr(whole, name)
        assert np.array_equal(values, getattr(again, name))
        assert np.array_equal(values[[70, 8, 431]], getattr(few, name))
        assert not np.array_equal(values, getattr(other, name))


def test_a_share_of_the_patients_lives_elsewhere_uniformly_in_the_ranges() -> None:
    n = 20_000
    drawn = WIDE.draw(np.arange(n), NOISE, CLINIC)
    other = drawn.other
    assert np.array_equal(other, drawn.drift != 1.0)
    assert abs(other.mean() - 0.4) < 4 * math.sqrt(0.4 * 0.6 / n)
    for name, low, high, usual in (
        ("spread", 0.5, 2.0, 1.0),
        ("missed_dose", 0.1, 0.3, CLINIC.missed_dose),
        ("drift", 0.0, 3.0, 1.0),
    ):
        values = getattr(drawn, name)
        assert np.all(values[~other] == usual)
        assert low <= values[other].min() and values[other].max() <= high
        for quarter in (0.25, 0.5, 0.75):
            share = np.mean(values[other] < low + quarter * (high - low))
            assert abs(share - quarter) < 4 * math.sqrt(quarter * (1 - quarter) / other.sum())
    # each is drawn by itself
    drawn_together = np.corrcoef([drawn.spread[other], drawn.missed_dose[other], drawn.drift[other]])
    assert np.abs(drawn_together - np.eye(3)).max() < 4 / math.sqrt(other.sum())
    assert not drawn.hidden[~other].any()
    assert abs(drawn.hidden[other].mean() - 0.25) < 4 * math.sqrt(0.25 * 0.75 / other.sum())


def test_a_range_of_one_number_is_that_number() -> None:
    fixed = replace(WIDE, share=1.0, variability=(1.5, 1.5), missed_dose=(0.2, 0.2), drift=(0.0, 0.0))
    drawn = fixed.draw(np.arange(50), NOISE, CLINIC)
    assert np.all(drawn.spread == 1.5) and np.all(drawn.missed_dose == 0.2) and np.all(drawn.drift == 0.0)


# ------------------------------------------------------------------------------------------- who is not in it


def courses(drug: str, n: int, randomisation: Randomisation | None, visits: int) -> list[tuple[Any, ...]]:
    """Everything that a few visits show."""
    env = DosingVectorEnv(drug, n, randomisation=randomisation, autoreset_mode=AutoresetMode.NEXT_STEP)
    grid = env.scenario.doses.doses
    shown: list[tuple[Any, ...]] = [(env.reset(seed=4)[0],)]
    for dose in np.random.default_rng(0).choice(grid, (visits, n)):
        observation, reward, terminated, truncated, info = env.step(dose)
        shown.append((observation, reward, terminated, truncated, info["event"], info["outcomes"]["mean"]))
    return shown


@each_drug
def test_the_others_are_bit_for_bit_who_they_were(drug: str) -> None:
    n, known = 24, scenario(drug)
    visits = min(len(known.calendar), 12)
    other = WIDE.draw(np.arange(n), NOISE, known.preset("clinic")).drift != 1.0
    assert 0 < other.sum() < n
    plain, mixed = courses(drug, n, None, visits), courses(drug, n, WIDE, visits)
    differs, running = np.zeros(n, dtype=bool), np.ones(n, dtype=bool)
    for before, after in zip(plain, mixed, strict=True):
        mine = running & ~other
        for one, two in zip(before, after, strict=True):
            assert np.array_equal(one[mine], two[mine])
            differs |= running & np.any(np.reshape(one != two, (n, -1)), axis=1)
        if len(before) > 1:
            running &= ~(before[2] | before[3])
    assert differs[other].mean() > 0.8  # whoever is elsewhere shows it, but for one who leaves at once


def test_no_share_is_no_randomisation() -> None:
    none = replace(WIDE, share=0.0)
    for before, after in zip(
        courses("warfarin", 20, None, 25), courses("warfarin", 20, none, 25), strict=True
    ):
        for one, two in zip(before, after, strict=True):
            assert np.array_equal(one, two)


def test_later_courses_have_their_own_worlds() -> None:
    n = 6
    env = DosingVectorEnv("warfarin", n, randomisation=WIDE, autoreset_mode=AutoresetMode.SAME_STEP)
    env.reset(seed=4)
    for _ in range(3 * len(WARFARIN.calendar)):
        env.step(np.full(n, 3.0))
    ids = env.treatment.ids
    assert ids.min() >= n
    drawn = WIDE.draw(ids, NOISE, CLINIC)
    alone = WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, ids, NOISE, drawn.spread)
    expected = Intake.prepare(WARFARIN, alone, NOISE, CLINIC, worlds=drawn)
    assert np.array_equal(env.treatment._life.theta, expected.life.theta)
    assert np.array_equal(env.treatment._life.taken, expected.life.taken)


# --------------------------------------------------------------------------------------- what a world changes


def logit(share: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.log(share / (1 - share))


@each_drug
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_variability_scales_the_random_effects_exactly(drug: str, factor: float) -> None:
    known, ids = scenario(drug), np.arange(30)

    def drawn(spread: float) -> NDArray[np.float64]:
        population = known.population
        assert isinstance(population, VirtualPopulation)
        return population.draw(known.model, known.base, ids, NOISE, np.full(len(ids), spread)).theta

    typical, usual, scaled = drawn(0.0), drawn(1.0), drawn(factor)
    vary = list(known.model.random_effects)
    for column in range(usual.shape[1]):
        if column not in vary:
            np.testing.assert_array_equal(scaled[:, column], usual[:, column])
            continue
        kind = known.model.parameters[column].effect
        scale = logit if kind == "logit" else np.log
        start = scale(typical[:, column])
        effect, other = scale(usual[:, column]) - start, scale(scaled[:, column]) - start
        np.testing.assert_allclose(other, factor * effect, rtol=1e-7, atol=1e-12)
        assert np.abs(effect).max() > 0.01
    without = known.population.draw(known.model, known.base, ids, NOISE).theta
    np.testing.assert_array_equal(without, usual)


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.7, 1.0])
def test_doses_are_missed_at_the_rate_drawn(rate: float) -> None:
    n = 400
    people = WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, np.arange(n), NOISE)
    life = Intake.prepare(WARFARIN, people, NOISE, CLINIC, worlds=worlds_of(n, missed_dose=rate)).life
    missed = ~life.taken
    assert abs(missed.mean() - rate) <= 4 * math.sqrt(rate * (1 - rate) / missed.size)
    if rate == 0.2:
        # whoever misses more misses those doses too that are missed in the clinic
        assert np.all(missed[~Intake.prepare(WARFARIN, people, NOISE, CLINIC).life.taken])


def test_drift_scales_with_its_factor_exactly() -> None:
    n = 50
    people = WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, np.arange(n), NOISE)
    still, usual, thrice = (
        np.log(Intake.prepare(WARFARIN, people, NOISE, CLINIC, worlds=worlds_of(n, drift=factor)).life.theta)
        for factor in (0.0, 1.0, 3.0)
    )
    np.testing.assert_allclose(thrice - still, 3.0 * (usual - still), atol=1e-10)
    moved = np.abs(usual - still).max(axis=(0, 1))
    assert [WARFARIN.model.parameters[i].name for i in np.flatnonzero(moved > 0.01)] == ["EC50"]


@pytest.mark.parametrize("genotype", ["diplotype", "phenotype", "posterior"])
def test_a_hidden_genotype_is_unknown_to_the_observer_and_the_same_in_the_patient(genotype: Any) -> None:
    n = 200
    usual = DosingVectorEnv("warfarin", n, genotype=genotype)
    mixed = DosingVectorEnv("warfarin", n, genotype=genotype, randomisation=replace(WIDE, variability=(1, 1)))
    spec = usual.scenario.observation
    (plain, _), (shown, _) = usual.reset(seed=4), mixed.reset(seed=4)
    hidden = WIDE.draw(np.arange(n), NOISE, CLINIC).hidden
    assert 5 < hidden.sum() < n / 2
    genes = [i for i, name in enumerate(spec.names) if name.startswith(("cyp2c9", "vkorc1"))]
    known = [i for i in genes if spec.names[i].endswith("_known")]
    assert np.all(shown[hidden][:, known] == 0) and np.all(shown[~hidden][:, known] == 1)
    rest = np.setdiff1d(np.arange(len(spec.names)), genes)
    np.testing.assert_array_equal(shown[:, rest], plain[:, rest])
    np.testing.assert_array_equal(shown[~hidden], plain[~hidden])
    decoded = spec.decode(shown)
    for column in (spec.names[i] for i in genes if i not in known):
        np.testing.assert_array_equal(np.isnan(decoded[column]), hidden)
    np.testing.assert_array_equal(mixed.treatment.theta[:, 0], usual.treatment.theta[:, 0])


# --------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": 1.2}, "randomisation: share = 1.2; expected 0 to 1"),
        ({"share": -0.1}, "randomisation: share = -0.1; expected 0 to 1"),
        ({"share": math.nan}, "randomisation: share = nan; expected 0 to 1"),
        ({"genotype_unknown": 2.0}, "randomisation: genotype_unknown = 2.0; expected 0 to 1"),
        (
            {"variability": (1.5, 0.7)},
            r"variability = \[1.5, 0.7\]; expected the smaller number first, both 0 or more and finite$",
        ),
        (
            {"variability": (-0.5, 0.7)},
            r"variability = \[-0.5, 0.7\]; expected .* both 0 or more and finite$",
        ),
        ({"drift": (-1.0, 2.0)}, r"drift = \[-1.0, 2.0\]; expected .* both 0 or more and finite$"),
        (
            {"variability": (1.0, math.inf)},
            r"variability = \[1.0, inf\]; expected .* both 0 or more and finite$",
        ),
        ({"drift": (0.0, math.nan)}, r"drift = \[0.0, nan\]; expected"),
        ({"missed_dose": (0.0, 1.5)}, r"missed_dose = \[0.0, 1.5\]; expected .* or more and at most 1$"),
    ],
)
def test_a_share_or_range_that_is_none_is_refused(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(WIDE, **changed)


def test_real_people_are_not_randomised() -> None:
    cohort = RealCohort("people.csv", 1, np.array([1]), (), {}, {}, {})
    with pytest.raises(
        ValueError, match="randomisation: random effects of real people are not scaled; leave it out"
    ):
        DosingVectorEnv("warfarin", 2, population=cohort, randomisation=WIDE)
