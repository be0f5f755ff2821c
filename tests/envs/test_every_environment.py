"""What holds for every drug there is a scenario for, those of ``DOSEWRIGHT_SCENARIOS`` included."""

import hashlib
import os
import re
import subprocess
import sys
import warnings
from functools import cache
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dosewright.agents.regimens import regimen
from dosewright.envs import (
    AutoresetMode,
    DosingEnv,
    DosingVectorEnv,
    Intake,
    Noise,
    Regimen,
    Scenario,
    Treatment,
    environment_id,
    names,
    scenario,
)
from dosewright.envs.scenarios.scenario import GENOTYPE_MODES

DRUGS = names()
NORMALISE = ".*we recommend .*symmetric and normalized.*"  # the action is a dose, in clinical units
HEADINGS = ("Description", "Action space", "Observation space", "Reward", "Start, end", "Arguments", "Target",
            "Sources", "Version")  # fmt: skip
each_drug = pytest.mark.parametrize("drug", DRUGS)


@cache
def intake(drug: str, n: int, realism: str, seed: int = 5) -> Intake:
    known, noise = scenario(drug), Noise("select", seed)
    people = known.population.draw(known.model, known.base, np.arange(n), noise)
    return Intake.prepare(known, people, noise, known.preset(realism))


def doses(drug: str, n: int, steps: int, seed: int = 0) -> NDArray[np.float64]:
    """(steps, n) doses of the grid."""
    grid = scenario(drug).doses.doses
    return np.random.default_rng(seed).choice(grid, (steps, n))


def course(
    drug: str, patients: Intake, arm: Regimen | float | NDArray[np.float64]
) -> tuple[Treatment, NDArray[Any]]:
    """A whole course under a regimen, one dose, or (steps, n) doses; and each patient's return."""
    known = scenario(drug)
    treatment, state = Treatment(known, patients), None
    total, start, visit = np.zeros(len(treatment)), np.ones(len(treatment), dtype=bool), 0
    while treatment.active.any():
        if isinstance(arm, Regimen):
            dose, state = arm.predict(treatment.observe(), state, start)
        else:
            dose = np.asarray(arm)[visit] if np.ndim(arm) else np.full(len(treatment), arm)
        interval = treatment.give(dose)
        total += interval.benefit - known.weight * interval.harm
        start, visit = np.zeros(len(treatment), dtype=bool), visit + 1
    return treatment, total


def usual_dose(known: Scenario, patients: Intake) -> float:
    """Median first dose of usual care, on the grid."""
    first = known.clinical_start.dose(known.observation.decode(Treatment(known, patients).observe()))
    return float(known.doses.snap(np.nanmedian(first)))


# ------------------------------------------------------------------------------------------------ conventions


@each_drug
@pytest.mark.parametrize("action", ["dose", "tablet"])
def test_gymnasiums_and_sb3s_checkers_have_no_complaint(drug: str, action: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=NORMALISE)
        env = gymnasium.make(environment_id(drug), disable_env_checker=True, action=action).unwrapped
        check_env(env, skip_render_check=True)
        sb3_check_env(env)


@each_drug
def test_make_and_make_vec_are_silent(drug: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one, many = gymnasium.make(environment_id(drug)), gymnasium.make_vec(environment_id(drug), num_envs=3)
        one.reset(seed=1)
        one.step(one.action_space.sample())
        many.reset(seed=1)
        many.step(many.action_space.sample())
    assert isinstance(one.unwrapped, DosingEnv) and isinstance(many.unwrapped, DosingVectorEnv)


@each_drug
def test_the_page_has_gymnasiums_headings_and_every_entry_with_its_range(drug: str) -> None:
    page = type(gymnasium.make(environment_id(drug)).unwrapped).__doc__ or ""
    assert [h for h in HEADINGS if f"\n## {h}\n" not in page] == []
    assert "not for clinical use" in " ".join(page.split())
    rows = {line.split("|")[1].strip(" ·"): line for line in page.splitlines() if line.startswith("|")}
    for entry in scenario(drug).observation.entries:
        cells = [cell.strip() for cell in rows[entry.name].split("|")]
        assert cells[2] == entry.unit and float(cells[3]) == pytest.approx(entry.low, rel=1e-5)
        assert float(cells[4]) == pytest.approx(entry.high, rel=1e-5)
        assert ("·" in cells[1]) == (entry.neutral is not None)


@each_drug
def test_numbers_and_sentences_that_must_be_there(drug: str) -> None:
    known = scenario(drug)
    assert known.alternative is not None or known.no_alternative
    assert known.assumptions and known.sources and known.description and known.discriminates
    assert 0 < known.scored <= known.horizon and known.calendar[-1] < known.horizon
    assert set(known.realism) == {"textbook", "clinic"} and 0 < known.margin < 0.2
    grid = known.doses.doses
    assert grid[0] == 0 and grid[-1] == known.doses.maximum and np.all(np.diff(grid) > 0)
    np.testing.assert_array_equal(known.doses.snap(grid), grid)


# ----------------------------------------------------------------------------------- scalar and vector, seeds


@each_drug
@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector_bit_for_bit(drug: str, realism: str) -> None:
    n, steps = 5, min(len(scenario(drug).calendar), 12)
    envs = DosingVectorEnv(drug, n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    lanes = [DosingEnv(drug, realism=realism) for _ in range(n)]
    first, _ = envs.reset(seed=3)
    for i, env in enumerate(lanes):
        observation, _ = env.reset(seed=3, options={"patient": i})
        assert np.array_equal(observation, first[i])
    over = np.zeros(n, dtype=bool)
    for action in doses(drug, n, steps):
        if over.any():
            envs.reset(options={"reset_mask": over})
        observation, reward, terminated, truncated, info = envs.step(action)
        for i in np.flatnonzero(~over):
            one = lanes[i].step(action[i])
            assert np.array_equal(one[0], observation[i])
            assert one[1:4] == (reward[i], terminated[i], truncated[i])
            assert one[4]["dose"] == info["dose"][i] and one[4]["cost"] == info["cost"][i]
        over |= terminated | truncated


def digest(drug: str, seed: int) -> str:
    """Hash of everything a short run answers."""
    env, hashed = DosingVectorEnv(drug, 8, autoreset_mode=AutoresetMode.SAME_STEP), hashlib.sha256()
    hashed.update(env.reset(seed=seed)[0].tobytes())
    for action in doses(drug, 8, min(len(scenario(drug).calendar) + 2, 20)):
        observation, reward, terminated, truncated, _ = env.step(action)
        for part in (observation, reward, terminated, truncated):
            hashed.update(np.ascontiguousarray(part).tobytes())
    return hashed.hexdigest()


def test_another_process_with_another_number_of_threads_gives_the_same_numbers() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from test_every_environment import DRUGS, digest;"
        "print(*(digest(drug, 11) for drug in DRUGS))"
    )
    other = subprocess.run(
        [sys.executable, "-c", code, os.path.dirname(__file__)], capture_output=True, text=True, check=True,
        env={**os.environ, "NUMBA_NUM_THREADS": "1"},
    ).stdout.split()  # fmt: skip
    here = [digest(drug, 11) for drug in DRUGS]
    assert other == here
    assert digest(DRUGS[0], 12) != here[0]


# ------------------------------------------------------------------------------------ what is seen and scored


@each_drug
def test_random_doses_keep_every_observation_in_its_space(drug: str) -> None:
    n = 60
    env = DosingVectorEnv(drug, n, autoreset_mode=AutoresetMode.NEXT_STEP)
    observation, _ = env.reset(seed=4)
    assert observation in env.observation_space
    for action in doses(drug, n, len(scenario(drug).calendar) + 2):
        observation, reward, *_ = env.step(action)
        assert observation.dtype == np.float32 and observation in env.observation_space
        assert np.all(np.isfinite(reward))


@each_drug
def test_reward_is_benefit_less_weighted_harm_and_both_are_shares(drug: str) -> None:
    known, patients = scenario(drug), intake(drug, 60, "clinic")
    treatment, total = course(drug, patients, doses(drug, 60, len(known.calendar)))
    benefit, harm = np.nansum(treatment.benefit, axis=1), np.nansum(treatment.harm, axis=1)
    np.testing.assert_allclose(total, (benefit - known.weight * harm) / known.scored, atol=1e-12)
    stayed = patients.life.leaves > known.horizon
    assert stayed.any() and not np.isnan(treatment.benefit[stayed]).any()
    for score in (treatment.benefit[stayed], treatment.harm[stayed]):
        assert score.min() >= 0 and score.max() <= 1
        assert score.sum(axis=1).max() <= known.horizon + 1e-12


@each_drug
def test_a_tablet_is_the_dose_of_its_number(drug: str) -> None:
    n, grid = 4, scenario(drug).doses.doses
    by_dose, by_number = (DosingVectorEnv(drug, n, action=a) for a in ("dose", "tablet"))
    assert np.array_equal(by_dose.reset(seed=2)[0], by_number.reset(seed=2)[0])
    number = np.random.default_rng(1).integers(0, len(grid), n)
    mask = by_number.action_masks()
    assert mask.shape == (n, len(grid)) and mask[:, 0].all()
    one, other = by_dose.step(grid[number][:, None]), by_number.step(number)
    assert np.array_equal(one[0], other[0]) and np.array_equal(one[1], other[1])
    with pytest.raises(ValueError, match=rf"expected a whole number from 0 to {len(grid) - 1}"):
        by_number.step(np.full(n, len(grid)))


@each_drug
def test_genotype_modes_show_more_or_less_of_the_same_patients(drug: str) -> None:
    known = scenario(drug)
    action = doses(drug, 30, 1)[0]
    shown = {}
    for mode in GENOTYPE_MODES:
        env = DosingVectorEnv(drug, 30, genotype=mode)
        first, _ = env.reset(seed=6)
        assert first in env.observation_space
        shown[mode] = env.scenario.observation.decode(first), env.step(action)[1]
    rewards = [reward for _, reward in shown.values()]
    assert all(np.array_equal(rewards[0], reward) for reward in rewards)
    genes = [term.gene.lower() for term in known.model.genotype_terms]
    hidden = [name for name in shown["unknown"][0] if name.split("_")[0] in genes]
    assert bool(genes) == bool(hidden)
    for name in hidden:
        assert np.isnan(shown["unknown"][0][name]).all()
        assert set(np.unique(shown["diplotype"][0][name])) <= {0.0, 1.0, 2.0}
        expected = shown["posterior"][0][name]  # of an ancestry, so between what people of it have
        assert np.all((expected >= 0) & (expected <= 2))
    # a phenotype is one number for a gene, 0 poor to 4 ultrarapid
    codes = [name for name in shown["phenotype"][0] if name.endswith("_phenotype")]
    for name in codes:
        values = shown["phenotype"][0][name]
        assert set(np.unique(values[~np.isnan(values)])) <= {0.0, 1.0, 2.0, 3.0, 4.0}


# ------------------------------------------------------------------------------------------------ the problem


@each_drug
@pytest.mark.parametrize("arm", ["label", "clinical-nomogram", "guideline", "nomogram"])
def test_rules_of_clinics_dose_everybody(drug: str, arm: str) -> None:
    known = scenario(drug)
    if known.guideline is None and arm in ("guideline", "nomogram"):
        with pytest.raises(
            ValueError, match="there is no genotype-guided dose; use label or clinical-nomogram"
        ):
            regimen(arm, known)
        return
    treatment, _ = course(drug, intake(drug, 60, "clinic"), regimen(arm, known))
    given = treatment.given[~np.isnan(treatment.given)]
    assert len(given) and given.max() > 0 and np.all(np.isin(given, known.doses.doses))


@each_drug
def test_response_moves_one_way_with_the_dose(drug: str) -> None:
    known, patients = scenario(drug), intake(drug, 40, "textbook")
    usual = usual_dose(known, patients)
    levels = sorted({float(known.doses.snap(share * usual)) for share in (0.0, 0.5, 1.0, 2.0, 3.0)})
    assert len(levels) >= 3
    paths = [course(drug, patients, dose)[0].truth[:, 1:] for dose in levels]
    # early in the course: some responses swing for months around what a dose leads to (mercaptopurine)
    last = np.array([path[:, known.horizon // 7] for path in paths])
    direction = np.sign(last[-1].mean() - last[0].mean())
    assert direction != 0
    steps = direction * np.diff(last, axis=0)
    scale = np.abs(last).max(axis=0)
    assert np.all(steps >= -1e-9 * scale)
    assert (steps > 0).mean() > 0.9  # not flat: doses matter to nearly everybody


@each_drug
def test_the_target_tells_a_fixed_dose_from_random_ones_or_the_page_says_that_it_does_not(drug: str) -> None:
    n, known = 150, scenario(drug)
    patients = intake(drug, n, "clinic")
    grid = known.doses.doses
    some = grid[np.unique(np.round(np.linspace(0, len(grid) - 1, 11)).astype(int))]
    best = max(float(course(drug, patients, float(dose))[1].mean()) for dose in some)
    random = float(course(drug, patients, doses(drug, n, len(known.calendar)))[1].mean())
    if best - random < 0.10:
        assert re.search("random", known.discriminates), (best, random)
    else:
        assert best > random + 0.10


@each_drug
def test_what_happens_does_not_depend_on_the_prescription(drug: str) -> None:
    known, patients = scenario(drug), intake(drug, 40, "clinic")
    low, high = (course(drug, patients, dose)[0] for dose in (0.0, known.doses.maximum))
    assert np.array_equal(np.isnan(low.benefit), np.isnan(high.benefit))
    if known.delay is None:
        assert np.array_equal(np.isnan(low.measured), np.isnan(high.measured))
