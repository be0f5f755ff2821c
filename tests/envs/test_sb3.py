"""The adapter gives Stable-Baselines3 what it needs to end episodes correctly."""

from typing import Literal

import numpy as np
import pytest
from sb3_contrib.common.maskable.utils import get_action_masks
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecMonitor

from dosewright.envs import AutoresetMode, DosingVectorEnv, Noise, scenario
from dosewright.envs.sb3 import SB3Regimen, SB3VecEnv
from dosewright.evaluation import run_trial

SPEC = scenario("warfarin").observation
N, VISITS = 60, 11


def lanes(realism: str = "clinic", n: int = N) -> DosingVectorEnv:
    return DosingVectorEnv("warfarin", n, realism=realism, autoreset_mode=AutoresetMode.SAME_STEP)


def test_ends_carry_their_last_observation_and_whether_they_were_cut_short() -> None:
    env, plain = SB3VecEnv(lanes()), lanes()
    env.seed(2)
    assert np.array_equal(env.reset(), plain.reset(seed=2)[0])
    ended, cut = 0, 0
    for action in np.random.default_rng(0).uniform(0, 15, (3 * VISITS, N, 1)).astype(np.float32):
        shown, reward, done, infos = env.step(action)
        observation = np.asarray(shown)  # SB3 allows dicts and tuples too
        expected, value, terminated, truncated, info = plain.step(action)
        assert np.array_equal(observation, expected) and np.array_equal(done, terminated | truncated)
        assert reward.dtype == np.float32 and np.array_equal(reward, value.astype(np.float32))
        for lane in range(N):
            assert ("terminal_observation" in infos[lane]) == done[lane]
            for name in ("dose", "benefit", "cost", "event"):
                assert infos[lane][name] == info[name][lane]
            if done[lane]:
                assert infos[lane]["TimeLimit.truncated"] == truncated[lane]
                assert np.array_equal(infos[lane]["terminal_observation"], info["final_obs"][lane])
                day = SPEC.read(infos[lane]["terminal_observation"], "day")
                assert (day == 90) or truncated[lane]
                ended, cut = ended + 1, cut + int(truncated[lane])
        assert np.all(SPEC.read(observation, "day")[done] == 0)
    assert ended > 2 * N and 0 < cut < ended / 4


def test_episode_return_and_length_are_those_of_the_whole_episode() -> None:
    env = SB3VecEnv(lanes("textbook", 5))
    env.seed(1)
    env.reset()
    total, infos = np.zeros(5), env.reset_infos
    for _ in range(VISITS):
        _, reward, _, infos = env.step(np.full((5, 1), 4.0, np.float32))
        total += reward
    for lane, info in enumerate(infos):
        assert info["episode"]["l"] == VISITS and info["episode"]["r"] == pytest.approx(total[lane], abs=1e-6)
    *_, infos = env.step(np.full((5, 1), 4.0, np.float32))
    assert all("episode" not in info for info in infos)


def test_stable_baselines3s_own_monitor_agrees() -> None:
    env = VecMonitor(SB3VecEnv(lanes("textbook", 3)))
    env.seed(1)
    env.reset()
    infos = env.reset_infos
    for _ in range(VISITS):
        *_, infos = env.step(np.full((3, 1), 4.0, np.float32))
    assert [info["episode"]["l"] for info in infos] == [VISITS] * 3


def test_seed_is_used_once_and_resets_go_on() -> None:
    env = SB3VecEnv(lanes(n=3))
    env.seed(4)
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)
    env.seed(4)
    assert np.array_equal(env.reset(), first)
    assert [info["patient"] for info in env.reset_infos] == [0, 1, 2]


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.DISABLED])
def test_another_autoreset_mode_is_refused(mode: AutoresetMode) -> None:
    with pytest.raises(ValueError, match="SAME_STEP"):
        SB3VecEnv(DosingVectorEnv("warfarin", 2, autoreset_mode=mode))


def test_attributes_and_methods_are_given_once_a_lane() -> None:
    env = SB3VecEnv(lanes(n=3))
    assert env.get_attr("namespace") == ["train"] * 3 and env.get_attr("num_envs", [0]) == [3]
    env.set_attr("mark", 7)
    assert env.get_attr("mark", 1) == [7]
    assert env.env_is_wrapped(DosingVectorEnv) == [True] * 3
    env.reset()
    assert len(env.env_method("close", indices=[0, 2])) == 2


def test_a_masked_policy_gets_each_lanes_own_row() -> None:
    venv = DosingVectorEnv("fluorouracil", 40, action="tablet", autoreset_mode=AutoresetMode.SAME_STEP)
    env, grid = SB3VecEnv(venv), len(venv.scenario.doses.doses)
    env.seed(1)
    env.reset()
    env.step(np.full(40, grid - 1))  # the highest dose: somebody's next one is left out
    masks = venv.action_masks()
    assert masks.shape == (40, grid) and sorted(set(masks.sum(axis=1))) == [1, grid]
    rows = env.env_method("action_masks")
    assert len(rows) == 40 and all(np.array_equal(row, mask) for row, mask in zip(rows, masks, strict=True))
    assert np.array_equal(get_action_masks(env), masks)  # as MaskablePPO asks
    omitted = int(np.argmin(masks.sum(axis=1)))
    own = env.env_method("action_masks", indices=[omitted, omitted - 1])
    assert [row.sum() for row in own] == [1, grid]


def test_one_update_of_ppo_changes_the_network() -> None:
    model = PPO(
        "MlpPolicy", SB3VecEnv(lanes(n=16)), n_steps=VISITS, batch_size=44, n_epochs=1, seed=0, device="cpu"
    )
    before = [p.detach().clone() for p in model.policy.parameters()]
    model.learn(16 * VISITS)
    after = list(model.policy.parameters())
    assert model.num_timesteps == 16 * VISITS
    assert any(not np.array_equal(a.detach(), b.detach()) for a, b in zip(before, after, strict=True))
    assert all(np.isfinite(p.detach().numpy()).all() for p in after)


@pytest.mark.parametrize("action", ["dose", "tablet"])
def test_a_model_of_sb3_is_an_arm_that_doses_as_the_model_says(action: Literal["dose", "tablet"]) -> None:
    warfarin = scenario("warfarin")
    env = DosingVectorEnv("warfarin", 8, action=action, autoreset_mode=AutoresetMode.SAME_STEP)
    model = PPO("MlpPolicy", SB3VecEnv(env), n_steps=VISITS, batch_size=8, seed=1, device="cpu")
    model.learn(8 * VISITS)
    noise, ids, clinic = Noise("select", 1), np.arange(20), warfarin.preset("clinic")
    arm = SB3Regimen(model, warfarin, "mine")
    trial = run_trial(warfarin, {"mine": arm}, warfarin.population, ids, noise, clinic)
    plain = DosingVectorEnv("warfarin", 20, action=action, namespace="select")
    observation, _ = plain.reset(seed=1)
    said, _ = model.predict(observation, deterministic=True)
    first = warfarin.doses.doses[said] if action == "tablet" else warfarin.doses.snap(said[:, 0])
    np.testing.assert_array_equal(trial.arm("mine").doses[:, 0], first)
    with pytest.raises(ValueError, match="'mine', deterministic=False"):
        arm.predict(observation, deterministic=False)
    with pytest.raises(ValueError, match=r"'sb3': a model of observations \(32,\), tacrolimus has"):
        SB3Regimen(model, scenario("tacrolimus"))
