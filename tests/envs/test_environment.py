"""The environments: Gymnasium's contract, one truth for scalar and vector, and nothing that is not known."""

import hashlib
import os
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from numpy.typing import NDArray
from stable_baselines3.common.env_checker import check_env as sb3_check_env

from dosewright.envs import AutoresetMode, DosingEnv, DosingVectorEnv, environment_id, scenario
from dosewright.pharmacogenomics import Diplotype

ID = "dosewright/Warfarin-v0"
WARFARIN = scenario("warfarin")
SPEC = WARFARIN.observation
VISITS = len(WARFARIN.calendar)
NORMALISE = ".*we recommend .*symmetric and normalized.*"  # the action is a dose, in mg/day


def doses(n: int, steps: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).uniform(0, 15, (steps, n, 1)).astype(np.float32)


def follow(env: DosingVectorEnv, actions: NDArray[np.float32], **reset: Any) -> list[tuple[Any, ...]]:
    """Every answer of the environment."""
    answers: list[tuple[Any, ...]] = [env.reset(**reset)]
    return answers + [env.step(action) for action in actions]


# ----------------------------------------------------------------------------------------------- conventions


@pytest.mark.parametrize("arguments", [{}, {"realism": "textbook"}, {"genotype": "unknown"}])
def test_gymnasiums_checker_has_no_complaint(arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID, disable_env_checker=True, **arguments).unwrapped
        warnings.filterwarnings("ignore", message=NORMALISE)
        check_env(env, skip_render_check=True)


def test_stable_baselines3s_checker_only_recommends_another_action_scale() -> None:
    env = DosingEnv("warfarin")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=NORMALISE)
        sb3_check_env(env)


def test_make_and_make_vec_are_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gymnasium.make(ID)
        env.reset(seed=1)
        env.step(np.array([5.0], np.float32))
        env.close()
        envs = gymnasium.make_vec(ID, num_envs=4)
        envs.reset(seed=1)
        envs.step(np.full((4, 1), 5.0, np.float32))
        envs.close()
    assert isinstance(env.unwrapped, DosingEnv) and isinstance(envs.unwrapped, DosingVectorEnv)
    assert envs.num_envs == 4 and environment_id("warfarin") == ID


def test_gymnasiums_vector_wrapper_records_episodes() -> None:
    envs = gymnasium.wrappers.vector.RecordEpisodeStatistics(gymnasium.make_vec(ID, 3, realism="textbook"))
    _, info = envs.reset(seed=2)
    for _ in range(VISITS):
        *_, info = envs.step(np.full((3, 1), 5.0, np.float32))
    assert info["episode"]["l"].tolist() == [VISITS] * 3


def test_observations_lie_in_their_space_and_are_single_precision() -> None:
    env = DosingVectorEnv("warfarin", 300)
    for answer in follow(env, doses(300, 3 * VISITS), seed=4):
        assert answer[0].dtype == np.float32 and answer[0] in env.observation_space


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"drug": "aspirin"}, "unknown drug 'aspirin'; known: "),
        ({"num_envs": 0}, "num_envs = 0; expected at least 1"),
        ({"realism": "messy"}, "unknown realism 'messy' for warfarin; known: textbook, clinic"),
        (
            {"genotype": "phased"},
            "unknown genotype mode 'phased'; known: diplotype, phenotype, posterior, unknown",
        ),
        ({"action": "spoon"}, "unknown action 'spoon'; known: dose, tablet"),
        ({"namespace": "test"}, "unknown seed namespace 'test'"),
        ({"render_mode": "human"}, "render_mode 'human': nothing is rendered"),
        ({"autoreset_mode": "sometimes"}, "sometimes"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DosingVectorEnv(**({"drug": "warfarin", "num_envs": 2} | arguments))


def test_an_episode_cannot_be_cut_short_by_make_vec() -> None:
    with pytest.raises(ValueError, match="max_episode_steps = 5"):
        gymnasium.make_vec(ID, num_envs=2, max_episode_steps=5)


# ----------------------------------------------------------------------------------- scalar and vector, seeds


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_scalar_equals_vector_bit_for_bit_over_whole_episodes(realism: str) -> None:
    n = 24
    envs = DosingVectorEnv("warfarin", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    actions = doses(n, VISITS)
    vector, over = [envs.reset(seed=3)], np.zeros(n, dtype=bool)
    lanes = [DosingEnv("warfarin", realism=realism) for _ in range(n)]
    for i, env in enumerate(lanes):
        observation, info = env.reset(seed=3, options={"patient": i})
        assert np.array_equal(observation, vector[0][0][i]) and info == {"patient": i}
    for action in actions:
        if over.any():  # lanes that are over would have to be reset: begin them anew to keep the others going
            envs.reset(options={"reset_mask": over})
        observation, reward, terminated, truncated, info = envs.step(action)
        for i in np.flatnonzero(~over):
            one = lanes[i].step(action[i])
            assert np.array_equal(one[0], observation[i])
            assert one[1:4] == (reward[i], terminated[i], truncated[i])
            for name in ("dose", "benefit", "cost", "event"):
                assert one[4][name] == info[name][i]
            assert one[4]["outcomes"]["highest"] == info["outcomes"]["highest"][i]
            assert one[4]["outcomes"]["days"] == info["outcomes"]["days"][i]
        over |= terminated | truncated
    assert over.all()


def test_mean_response_does_not_depend_on_other_lanes() -> None:
    n = 200
    envs, rng = (
        DosingVectorEnv("warfarin", n, autoreset_mode=AutoresetMode.NEXT_STEP),
        np.random.default_rng(0),
    )
    envs.reset(seed=3)
    alone = DosingVectorEnv("warfarin", 1, autoreset_mode=AutoresetMode.NEXT_STEP)
    alone.reset(seed=3, options={"patient": [17]})
    for action in rng.uniform(0, 15, (VISITS, n)):
        together, single = envs.step(action)[4], alone.step(action[17:18])[4]
        assert together["outcomes"]["mean"][17] == single["outcomes"]["mean"][0]


def digest(seed: int, namespace: str = "train") -> str:
    env, sha = DosingVectorEnv("warfarin", 8, namespace=namespace), hashlib.sha256()
    for answer in follow(env, doses(8, 2 * VISITS + 1), seed=seed):
        sha.update(answer[0].tobytes())
        if len(answer) == 5:
            sha.update(answer[1].tobytes() + answer[2].tobytes() + answer[3].tobytes())
    return sha.hexdigest()


def test_same_seed_in_another_process_is_the_same_trajectory_and_another_seed_another() -> None:
    code = (
        "import importlib.util as u\n"
        f"s = u.spec_from_file_location('t', {__file__!r}); m = u.module_from_spec(s)\n"
        "s.loader.exec_module(m)\n"
        "print(m.digest(11))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "99"}
    elsewhere = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout.strip()
    assert elsewhere == digest(11)
    assert len({digest(11), digest(12), digest(11, "select")}) == 3


def test_reset_with_a_seed_begins_again_and_without_one_goes_on() -> None:
    env = DosingVectorEnv("warfarin", 3)
    first, info = env.reset(seed=5)
    assert info["patient"].tolist() == [0, 1, 2]
    second, info = env.reset()
    assert info["patient"].tolist() == [3, 4, 5] and not np.array_equal(first, second)
    again, info = env.reset(seed=5)
    assert np.array_equal(first, again) and info["patient"].tolist() == [0, 1, 2]


def test_scalar_reset_honours_its_seed() -> None:
    env = DosingEnv("warfarin")
    first, other = env.reset(seed=5)[0], env.reset(seed=6)[0]
    assert np.array_equal(env.reset(seed=5)[0], first) and not np.array_equal(first, other)
    assert env.reset()[1] == {"patient": 1}


def test_stepping_before_a_reset_is_refused() -> None:
    for env in (DosingEnv("warfarin"), DosingVectorEnv("warfarin", 2)):
        with pytest.raises(gymnasium.error.ResetNeeded):
            env.step(np.array([5.0, 5.0][: getattr(env, "num_envs", 1)], np.float32))


def test_info_is_a_fresh_dictionary_each_call() -> None:
    env = DosingVectorEnv("warfarin", 2)
    (_, first), *later = follow(env, doses(2, 4), seed=1)
    infos = [first, *(answer[4] for answer in later)]
    assert len({id(info) for info in infos}) == len(infos)
    shown = ("dose", "benefit", "cost", "event", "patient")
    before = {name: infos[1][name].copy() for name in shown}
    highest = infos[1]["outcomes"]["highest"].copy()
    env.step(np.full((2, 1), 15.0))
    assert all(np.array_equal(infos[1][name], value) for name, value in before.items())
    assert np.array_equal(infos[1]["outcomes"]["highest"], highest)
    arrays = [info[name] for info in infos[1:] for name in shown]
    assert not any(np.shares_memory(a, b) for i, a in enumerate(arrays) for b in arrays[:i])


def test_observations_already_given_are_not_changed_later() -> None:
    env = DosingVectorEnv("warfarin", 2)
    first, _ = env.reset(seed=1)
    kept = first.copy()
    env.step(np.full((2, 1), 5.0))
    assert np.array_equal(first, kept)


# -------------------------------------------------------------------------------------------------- autoreset


def over_at(answers: list[tuple[Any, ...]]) -> int:
    """First step at which some lanes are over and some are not (somebody dropped out)."""
    for i, answer in enumerate(answers[1:], start=1):
        if 0 < (answer[2] | answer[3]).sum() < len(answer[2]):
            return i
    raise AssertionError("nobody dropped out; choose another seed")


def test_next_step_ignores_the_action_of_a_finished_lane_and_begins_anew() -> None:
    n = 60
    env = DosingVectorEnv("warfarin", n)
    answers = follow(env, doses(n, VISITS), seed=2)
    at = over_at(answers)
    over = answers[at][2] | answers[at][3]
    observation, reward, terminated, truncated, info = answers[at + 1]
    seen = SPEC.decode(observation)
    assert np.all(reward[over] == 0) and not np.any((terminated | truncated)[over])
    assert np.all(seen["day"][over] == 0) and np.all(seen["day"][~over] > 0)
    assert np.all(np.isnan(seen["last_dose"][over]))
    assert "final_obs" not in info


def test_same_step_gives_the_last_observation_and_begins_anew() -> None:
    n = 60
    actions = doses(n, VISITS)
    expected = follow(DosingVectorEnv("warfarin", n), actions, seed=2)
    at = over_at(expected)
    got = follow(DosingVectorEnv("warfarin", n, autoreset_mode=AutoresetMode.SAME_STEP), actions[:at], seed=2)
    observation, reward, terminated, truncated, info = got[at]
    over = terminated | truncated
    assert np.array_equal(over, expected[at][2] | expected[at][3]) and np.array_equal(reward, expected[at][1])
    assert np.array_equal(info["_final_obs"], over)
    assert np.array_equal(info["final_obs"][over], expected[at][0][over])
    assert np.array_equal(observation[~over], expected[at][0][~over])
    assert np.array_equal(observation[over], expected[at + 1][0][over])  # the same next patients
    assert np.array_equal(info["final_info"]["dose"], expected[at][4]["dose"])
    assert all("final_obs" not in answer[4] for answer in got[1:at])


def test_disabled_leaves_a_finished_lane_to_its_user() -> None:
    n = 60
    env = DosingVectorEnv("warfarin", n, autoreset_mode=AutoresetMode.DISABLED)
    actions = doses(n, VISITS)
    env.reset(seed=2)
    over = np.zeros(n, dtype=bool)
    for action in actions:
        *_, terminated, truncated, _ = env.step(action)
        over = terminated | truncated
        if over.any():
            break
    with pytest.raises(
        gymnasium.error.ResetNeeded, match=f"lane {np.argmax(over)} is over; reset it with reset_mask"
    ):
        env.step(actions[0])
    kept = env.treatment.day[~over].copy()
    observation, info = env.reset(options={"reset_mask": over})
    assert np.all(env.treatment.day[over] == 0) and np.array_equal(env.treatment.day[~over], kept)
    assert info["patient"].tolist() == [i + n if over[i] else i for i in range(n)]
    env.step(actions[1])


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_lane_i_meets_patient_i_plus_episode_times_lanes(mode: AutoresetMode) -> None:
    n = 20
    env = DosingVectorEnv("warfarin", n, autoreset_mode=mode)
    env.reset(seed=2)
    met: list[list[int]] = [[i] for i in range(n)]
    for action in doses(n, 5 * VISITS):
        env.step(action)
        for lane, patient in enumerate(env.treatment.ids.tolist()):
            if patient != met[lane][-1]:
                met[lane].append(patient)
    assert min(map(len, met)) >= 4
    assert all(
        patients == [lane + episode * n for episode in range(len(patients))]
        for lane, patients in enumerate(met)
    )


def test_info_of_a_reset_step_names_the_patient_who_is_seen() -> None:
    env = DosingVectorEnv("warfarin", 4, realism="textbook")
    again = follow(env, doses(4, VISITS + 1), seed=2)[-1]
    assert SPEC.read(again[0], "day").tolist() == [0] * 4
    assert again[4]["patient"].tolist() == [4, 5, 6, 7]


def test_final_info_names_the_patient_who_has_left() -> None:
    env = DosingVectorEnv("warfarin", 4, realism="textbook", autoreset_mode=AutoresetMode.SAME_STEP)
    last = follow(env, doses(4, VISITS), seed=2)[-1]
    assert last[4]["final_info"]["patient"].tolist() == [0, 1, 2, 3]


def test_a_patient_is_the_same_in_any_lane_and_episode() -> None:
    env = DosingVectorEnv("warfarin", 3)
    late = follow(env, doses(3, 30), seed=8)
    start = next(i for i, answer in enumerate(late[1:], start=1) if SPEC.read(answer[0], "day")[1] == 0)
    chosen, _ = DosingVectorEnv("warfarin", 3).reset(seed=8, options={"patient": [4, 4, 0]})
    assert np.array_equal(chosen[0], late[start][0][1]) and np.array_equal(chosen[0], chosen[1])
    assert np.array_equal(chosen[2], late[0][0][0])


# ---------------------------------------------------------------------------------------------------- options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"patients": [1, 2]}, "unknown reset option 'patients'; known: patient, reset_mask"),
        ({"patient": [1]}, "option patient: expected 2 non-negative identifiers"),
        ({"patient": [1, -2]}, "option patient: expected 2 non-negative identifiers"),
        ({"reset_mask": [True]}, r"reset_mask has shape \(1,\); expected \(2,\)"),
        ({"reset_mask": [True, False]}, "seed and first reset concern all lanes"),
    ],
)
def test_bad_reset_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DosingVectorEnv("warfarin", 2).reset(seed=0, options=options)


def test_scalar_reset_names_one_patient() -> None:
    env = DosingEnv("warfarin")
    observation, info = env.reset(seed=8, options={"patient": 6})
    assert info["patient"] == 6
    assert np.array_equal(observation, DosingVectorEnv("warfarin", 7).reset(seed=8)[0][6])


# ------------------------------------------------------------------------------------------- dose and scoring


@pytest.mark.parametrize("dose", [np.nan, -0.5, -np.inf])
def test_missing_or_negative_dose_names_the_patient(dose: float) -> None:
    env = DosingVectorEnv("warfarin", 3)
    env.reset(seed=0)
    with pytest.raises(
        ValueError, match=rf"dose of patient 1: {dose} mg/day; expected a number from 0 to 15 mg/day"
    ):
        env.step(np.array([[5.0], [dose], [5.0]]))


def test_bad_dose_is_named_by_the_patients_own_number() -> None:
    env = DosingVectorEnv("warfarin", 2)
    env.reset(seed=0, options={"patient": [70, 80]})
    with pytest.raises(ValueError, match="patient 80"):
        env.step(np.array([[5.0], [-1.0]]))


def test_refused_dose_changes_nothing() -> None:
    env, other = DosingEnv("warfarin"), DosingEnv("warfarin")
    env.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(ValueError, match="expected a number from 0 to 15"):
        env.step(np.array([np.nan]))
    assert np.array_equal(env.step(np.array([5.0]))[0], other.step(np.array([5.0]))[0])


def test_dose_is_capped_and_rounded_to_half_a_milligram_halves_upwards() -> None:
    wanted = np.array([0.0, 0.24, 0.25, 0.74, 0.75, 5.1, 5.25, 14.76, 15.0, 99.0, np.inf])
    given = [0.0, 0.0, 0.5, 0.5, 1.0, 5.0, 5.5, 15.0, 15.0, 15.0, 15.0]
    env = DosingVectorEnv("warfarin", len(wanted), realism="textbook")
    env.reset(seed=0)
    observation, *_, info = env.step(wanted[:, None])
    assert info["dose"].tolist() == given
    assert SPEC.read(observation, "last_dose").tolist() == given


def test_visits_are_on_their_days_and_day_90_terminates() -> None:
    env = DosingEnv("warfarin", realism="textbook")
    observation, _ = env.reset(seed=0)
    days, gaps, ends = [], [], []
    while not ends or not ends[-1]:
        days.append(int(SPEC.read(observation, "day")))
        gaps.append(int(SPEC.read(observation, "next_interval")))
        observation, _, terminated, truncated, _ = env.step(np.array([5.0]))
        ends.append(terminated)
        assert not truncated
    assert tuple(days) == WARFARIN.calendar == (0, 3, 5, 7, 10, 14, 21, 28, 42, 56, 70)
    assert np.cumsum(gaps).tolist() == [3, 5, 7, 10, 14, 21, 28, 42, 56, 70, 90]
    assert SPEC.read(observation, "day") == 90 and SPEC.read(observation, "next_interval") == 0


def test_drop_out_truncates_and_is_no_end_of_follow_up() -> None:
    n = 400
    env = DosingVectorEnv("warfarin", n, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=3)
    left, over = np.zeros(n, dtype=bool), np.zeros(n, dtype=bool)
    life = env.treatment._life
    leaves = life.leaves.copy()
    for action in doses(n, VISITS):
        if over.any():
            env.reset(options={"reset_mask": over})
        observation, _, terminated, truncated, info = env.step(action)
        assert not np.any(terminated & truncated)
        mine = truncated & ~left & ~over
        assert np.array_equal(SPEC.read(observation, "day")[mine], leaves[mine])
        assert np.all(SPEC.read(observation, "day")[terminated & ~over] == 90)
        left |= mine
        over |= terminated | truncated
    assert 0 < left.sum() < n / 4
    assert np.array_equal(left, leaves <= 90)


@pytest.mark.parametrize("realism", ["clinic", "textbook"])
def test_reward_is_benefit_minus_twice_the_cost_on_the_latent_inr(realism: str) -> None:
    n = 100
    env = DosingVectorEnv("warfarin", n, realism=realism, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1)
    total, benefit, cost = np.zeros(n), np.zeros(n), np.zeros(n)
    running, truth = np.ones(n, dtype=bool), env.treatment.truth
    for action in doses(n, VISITS):
        if not running.all():
            break
        _, reward, terminated, truncated, info = env.step(action)
        np.testing.assert_array_equal(reward, info["benefit"] - 2 * info["cost"])
        total, benefit, cost = total + reward, benefit + info["benefit"], cost + info["cost"]
        running = ~(terminated | truncated)
        truth = env.treatment.truth
        np.testing.assert_allclose(
            info["outcomes"]["highest"][0],
            truth[0][~np.isnan(truth[0])][1:][-info["outcomes"]["days"][0] :].max(),
        )
    inside = ((truth[:, 1:] >= 2) & (truth[:, 1:] <= 3)).sum(axis=1) / 90
    above = (truth[:, 1:] > 4).sum(axis=1) / 90
    np.testing.assert_allclose(benefit, inside, atol=1e-12)
    np.testing.assert_allclose(cost, above, atol=1e-12)
    np.testing.assert_allclose(total, inside - 2 * above, atol=1e-12)
    assert inside.max() > 0 and above.max() > 0


# ------------------------------------------------------------------------------------------- what is not seen


def test_latent_inr_stands_in_no_column_of_the_observation() -> None:
    n = 200
    env = DosingVectorEnv("warfarin", n, realism="textbook", autoreset_mode=AutoresetMode.DISABLED)
    observation, _ = env.reset(seed=1)
    for action in doses(n, VISITS):
        truth = env.treatment.truth[np.arange(n), env.treatment.day]
        concentration = env.treatment.state[:, 1] / env.treatment.theta[:, 1]
        for secret in (truth, concentration, *env.treatment.theta.T[[0, 1, 3]]):
            near = np.isclose(observation, secret[:, None], rtol=1e-4, atol=0) & (secret[:, None] > 0)
            assert near.mean(axis=0).max() < 0.05
        observation, *_ = env.step(action)
    # and it is no rescaled copy: the measured INR has the assay's error of log-SD 0.19
    error = np.log(SPEC.read(observation, "inr") / env.treatment.truth[:, 90])
    assert error.std() == pytest.approx(0.19, rel=4 / np.sqrt(2 * n))


def test_unknown_genotype_is_hidden_and_nothing_else_changes() -> None:
    actions = doses(50, VISITS)
    shown, hidden = (
        follow(DosingVectorEnv("warfarin", 50, genotype=g), actions, seed=6) for g in ("diplotype", "unknown")
    )
    genes = [i for i, name in enumerate(SPEC.names) if name.startswith(("cyp2c9", "vkorc1"))]
    assert len(genes) == 6
    rest = np.setdiff1d(np.arange(len(SPEC.names)), genes)
    for one, other in zip(shown, hidden, strict=True):
        assert np.all(other[0][:, genes] == 0)
        assert np.array_equal(one[0][:, rest], other[0][:, rest])
    known = [i for i in genes if SPEC.names[i].endswith("_known")]
    assert np.all(shown[0][0][:, known] == 1) and shown[0][0][:, genes].std() > 0


def test_genotype_counts_are_those_of_the_diplotype() -> None:
    env = DosingVectorEnv("warfarin", 300)
    observation, _ = env.reset(seed=1)
    assert env._noise is not None
    people = WARFARIN.population.draw(WARFARIN.model, WARFARIN.base, np.arange(300), env._noise)
    for column, gene, allele in (
        ("cyp2c9_*2", "CYP2C9", "*2"),
        ("cyp2c9_*3", "CYP2C9", "*3"),
        ("vkorc1_A", "VKORC1", "A"),
    ):
        pairs = [Diplotype.parse(text).alleles for text in people.genotypes[gene].tolist()]
        plain = np.array([set(pair) <= {"*1", "*2", "*3", "G", "A"} for pair in pairs])
        expected = np.array([pair.count(allele) for pair in pairs])
        assert np.array_equal(SPEC.read(observation, column)[plain], expected[plain])
        assert plain.mean() > 0.9 and expected.max() >= 1


def test_late_result_comes_at_the_next_visit_with_its_sampling_day() -> None:
    n = 500
    env = DosingVectorEnv("warfarin", n, autoreset_mode=AutoresetMode.DISABLED)
    env.reset(seed=1)
    life, counted = env.treatment._life, {"late": 0, "late and newest": 0, "missing": 0}
    before = None
    for visit, action in enumerate(doses(n, 4)[:, :, :]):
        observation, _, terminated, truncated, _ = env.step(action)
        if (terminated | truncated).any():
            env.reset(options={"reset_mask": terminated | truncated})
        seen, day = SPEC.decode(observation), int(WARFARIN.calendar[visit + 1])
        here = SPEC.read(observation, "day") == day
        late, missing = life.late[:, day, 0], life.missing[:, day, 0]
        measured = env.treatment.measured
        # on time: today's value, age 0
        now = here & ~late & ~missing & (env.treatment.visit == visit + 1)
        assert np.all(seen["inr_age"][now] == 0) and np.all(seen["inr_new"][now] == 1)
        np.testing.assert_allclose(seen["inr"][now], measured[now, visit + 1], rtol=1e-6)
        # late: not yet seen, so what is newest was drawn earlier
        waiting = here & (late | missing) & (env.treatment.visit == visit + 1)
        assert np.all(seen["inr_age"][waiting] > 0)
        counted["missing"] += int((waiting & missing).sum())
        if before is not None:
            previous, previous_day = before
            gap = day - previous_day
            came = now & previous
            np.testing.assert_allclose(seen["late_inr"][came], measured[came, visit], rtol=1e-6)
            assert np.all(seen["late_inr_age"][came] == gap)
            newest = waiting & previous
            np.testing.assert_allclose(seen["inr"][newest], measured[newest, visit], rtol=1e-6)
            assert np.all(seen["inr_age"][newest] == gap) and np.all(seen["inr_new"][newest] == 1)
            assert np.all(np.isnan(seen["late_inr"][newest]))
            assert np.all(np.isnan(seen["late_inr"][here & ~previous]))
            assert np.all(seen["inr_new"][waiting & ~previous] == 0)
            counted["late"] += int(came.sum())
            counted["late and newest"] += int(newest.sum())
        before = (late & (env.treatment.visit == visit + 1), day)
    assert min(counted.values()) > 0, counted
