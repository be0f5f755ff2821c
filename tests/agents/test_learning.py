"""Learning: it starts as Bayesian monitoring, is the same in every form, and leaves folders that can be
trusted."""

import importlib
import json
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3 import PPO
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import (
    BeliefFeatures,
    BeliefVectorEnv,
    LearnedPolicy,
    Preset,
    Scaling,
    anchored_dose,
    preset_name,
    read_preset,
    train,
)
from dosewright.agents.learning import policy as policy_module
from dosewright.agents.learning.belief import share_of_harm
from dosewright.agents.regimens import Bayesian
from dosewright.envs import AutoresetMode, DosingVectorEnv, Intake, Regimen, Treatment, scenario
from dosewright.envs.scenarios.scenario import Band

WARFARIN = scenario("warfarin")
SPEC = WARFARIN.observation
Treat = Callable[[Regimen, Intake], tuple[Treatment, NDArray[np.float64]]]


def network(seed: int = 0, zero: bool = False) -> ActorCriticPolicy:
    """An untrained network; with `zero` its last layer is zero, as training begins."""
    torch.manual_seed(seed)
    width = len(BeliefFeatures(BeliefFilter(WARFARIN, 16)).names)
    made = ActorCriticPolicy(
        spaces.Box(-np.inf, np.inf, (width,), np.float32),
        spaces.Box(-1.0, 1.0, (1,), np.float32),
        lambda _: 1e-3,
        net_arch=[32, 32],
    )
    assert isinstance(made.action_net, torch.nn.Linear)
    with torch.no_grad():
        if zero:
            made.action_net.weight.zero_()
            made.action_net.bias.zero_()
        else:
            made.action_net.weight.mul_(100.0)  # so that it departs from monitoring visibly
    made.set_training_mode(False)
    return made


def card(particles: int = 16, fade: float = 0.9) -> dict[str, Any]:
    return {
        "scenario": "warfarin",
        "scenario_version": WARFARIN.version,
        "seed_namespace": "train",
        "belief": {"particles": particles, "fade": fade},
    }


def policy(particles: int = 16, fade: float = 0.9, zero: bool = False) -> LearnedPolicy:
    belief_filter, width = (
        BeliefFilter(WARFARIN, particles, fade),
        len(BeliefFeatures(BeliefFilter(WARFARIN, 2)).names),
    )
    rng = np.random.default_rng(1)
    scaling = Scaling(
        rng.normal(size=width).astype(np.float32), rng.uniform(0.5, 2, width).astype(np.float32)
    )
    return LearnedPolicy(WARFARIN, belief_filter, network(zero=zero), scaling, card(particles, fade))


def lanes(n: int, mode: AutoresetMode, realism: str = "clinic") -> DosingVectorEnv:
    return DosingVectorEnv("warfarin", n, realism=realism, namespace="select", autoreset_mode=mode)


# -------------------------------------------------------------------------------------------- anchored action


def test_no_departure_is_exactly_the_anchor() -> None:
    anchor = np.random.default_rng(0).uniform(0, 20, 1000)
    assert np.array_equal(anchored_dose(anchor, np.zeros(1000)), anchor)
    assert np.array_equal(anchored_dose(anchor, np.zeros(1000, np.float32)), anchor)


def test_departures_reach_from_no_drug_to_a_load() -> None:
    action = np.array([-1.0, -0.5, 0.5, 1.0, -7.0, 3.0])
    # DESIGN 6: anchor · (1 + a)^2.2; outside [−1, 1] the action is clipped
    expected = 4.0 * np.array([0.0, 0.5**2.2, 1.5**2.2, 2**2.2, 0.0, 2**2.2])
    np.testing.assert_allclose(anchored_dose(np.full(6, 4.0), action), expected, rtol=1e-12)


# ------------------------------------------------------------------------- untrained is Bayesian monitoring


@pytest.mark.parametrize(("particles", "fade"), [(128, 1.0), (64, 0.9)])
def test_untrained_policy_gives_bayesian_monitorings_doses_exactly(
    admitted: Callable[..., Intake], treated: Treat, particles: int, fade: float
) -> None:
    intake = admitted(100, "clinic", seed=2)
    bayesian, score = treated(Bayesian(WARFARIN, fade=fade, particles=particles), intake)
    untrained, other = treated(policy(particles, fade, zero=True), intake)
    assert np.array_equal(bayesian.given, untrained.given, equal_nan=True) and np.array_equal(score, other)
    trained, _ = treated(policy(particles, fade), intake)
    assert not np.array_equal(trained.given, bayesian.given, equal_nan=True)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_doing_nothing_in_the_wrapper_is_bayesian_monitoring(
    admitted: Callable[..., Intake], treated: Treat, mode: AutoresetMode
) -> None:
    n = 100
    env = BeliefVectorEnv(lanes(n, mode), BeliefFilter(WARFARIN, 64, 0.9))
    env.reset(seed=2)
    expected = treated(Bayesian(WARFARIN, fade=0.9, particles=64), admitted(n, "clinic", seed=2))[0].given
    first = np.ones(n, dtype=bool)  # lanes still at their first patient
    for visit in range(11):
        _, _, terminated, truncated, info = env.step(np.zeros((n, 1), np.float32))
        assert np.array_equal(info["dose"][first], expected[first, visit])
        first &= ~(terminated | truncated)
    assert not first.any()


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_wrapper_and_predict_agree_over_several_episodes(mode: AutoresetMode) -> None:
    n, arm = 30, policy()
    wrapped = BeliefVectorEnv(lanes(n, mode), BeliefFilter(WARFARIN, 16, 0.9))
    plain = lanes(n, mode)
    features, _ = wrapped.reset(seed=2)
    observation, _ = plain.reset(seed=2)
    state, start = None, np.ones(n, dtype=bool)
    for step in range(25):
        dose, state = arm.predict(observation, state, start)
        action = arm.act(features)
        features, reward, terminated, truncated, info = wrapped.step(action[:, None].astype(np.float32))
        observation, value, *ends, details = plain.step(dose)
        ignored = start & (step > 0) if mode is AutoresetMode.NEXT_STEP else np.zeros(n, dtype=bool)
        assert np.array_equal(info["dose"][~ignored], details["dose"][~ignored])
        assert (
            np.array_equal(reward, value)
            and np.array_equal(terminated, ends[0])
            and np.array_equal(truncated, ends[1])
        )
        done = terminated | truncated
        # NEXT_STEP shows the new patient one step later
        start = (
            done
            if mode is AutoresetMode.SAME_STEP
            else SPEC.read(observation, "interval") + SPEC.read(observation, "day") == 0
        )


def test_wrapper_filters_the_last_observation_of_a_finished_episode(admitted: Callable[..., Intake]) -> None:
    n = 40
    same = BeliefVectorEnv(lanes(n, AutoresetMode.SAME_STEP), BeliefFilter(WARFARIN, 16))
    other = BeliefVectorEnv(lanes(n, AutoresetMode.NEXT_STEP), BeliefFilter(WARFARIN, 16))
    assert np.array_equal(same.reset(seed=1)[0], other.reset(seed=1)[0])
    first, ended = np.ones(n, dtype=bool), 0
    for _ in range(11):
        shown, _, terminated, truncated, info = same.step(np.zeros((n, 1), np.float32))
        expected = other.step(np.zeros((n, 1), np.float32))[0]
        done = (terminated | truncated) & first
        if done.any():
            assert np.array_equal(info["final_obs"][done], expected[done])
            ended += int(done.sum())
        first &= ~(terminated | truncated)
        assert np.array_equal(shown[first], expected[first])
    assert ended == n


@pytest.mark.parametrize("mode", [AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP])
def test_first_harm_is_taken_off_once_a_patient(mode: AutoresetMode) -> None:
    n, weight = 200, 0.5
    careful = BeliefVectorEnv(lanes(n, mode), BeliefFilter(WARFARIN, 16), first_harm_weight=weight)
    careful.reset(seed=1)
    counted, highest, first = np.zeros(n), np.zeros(n), np.ones(n, dtype=bool)
    for _ in range(11):
        _, reward, terminated, truncated, info = careful.step(np.full((n, 1), 0.3, np.float32))
        taken_off = info["benefit"] - WARFARIN.weight * info["cost"] - reward
        counted += np.where(first, taken_off / weight, 0.0)
        highest = np.where(first, np.maximum(highest, info["outcomes"]["highest"]), highest)
        first &= ~(terminated | truncated)
    # linear on the log scale, from 0 at 8 % below the edge to 1 at 8 % above it
    expected = np.clip(0.5 + np.log(highest / 4) / 0.16, 0, 1)
    np.testing.assert_allclose(counted, expected, atol=1e-12)
    assert (expected == 1).sum() > 10 and (expected == 0).sum() > 10 and ((expected % 1) > 0).any()


def test_first_harm_begins_anew_with_every_patient() -> None:
    n = 60
    careful = BeliefVectorEnv(
        lanes(n, AutoresetMode.SAME_STEP), BeliefFilter(WARFARIN, 16), first_harm_weight=1.0
    )
    careful.reset(seed=1)
    counted = np.zeros(n)
    for _ in range(44):
        _, reward, *_, info = careful.step(np.ones((n, 1), np.float32))
        counted += info["benefit"] - WARFARIN.weight * info["cost"] - reward
    assert counted.max() > 3  # four patients a lane, each loaded four and a half times too high


def test_first_harm_of_another_kind_of_band_is_refused() -> None:
    low = replace(WARFARIN, harm=Band("INR below 1.5", below=1.5))
    with pytest.raises(ValueError, match="warfarin: 'INR below 1.5' is no band above a level"):
        share_of_harm(low, np.array([3.0]))


def test_features_have_names_and_are_finite_in_every_visit(admitted: Callable[..., Intake]) -> None:
    env = BeliefVectorEnv(lanes(200, AutoresetMode.SAME_STEP), BeliefFilter(WARFARIN, 16, 0.9))
    names = env.features.names
    shape = env.single_observation_space.shape
    assert shape is not None and len(names) == len(set(names)) == shape[0]
    features = [env.reset(seed=1)[0]] + [env.step(np.zeros((200, 1), np.float32))[0] for _ in range(12)]
    assert all(np.isfinite(f).all() and f.dtype == np.float32 for f in features)
    day = np.array([f[:, names.index("day over horizon")] for f in features[:11]])
    assert set(np.round(day[:, 0] * 90).astype(int)) <= set(WARFARIN.calendar)


def test_belief_of_another_scenario_is_refused() -> None:
    other = BeliefFilter(replace(WARFARIN, name="other"), 16)
    with pytest.raises(ValueError, match="environment of warfarin, belief of other: they must be the same"):
        BeliefVectorEnv(lanes(2, AutoresetMode.SAME_STEP), other)


# -------------------------------------------------------------------------------------------------- scaling


def test_scaling_standardises_and_only_centres_what_never_varies() -> None:
    features = np.random.default_rng(0).normal(3, 2, (5000, 3)).astype(np.float32)
    features[:, 2] = 7.0
    scaled = Scaling.fit(features).apply(features)
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(scaled.std(axis=0), [1, 1, 0], atol=1e-5)
    assert np.abs(Scaling.fit(features).apply(features * 1000)).max() == 10.0


# --------------------------------------------------------------------------------------------- policy folders


def visits(admitted: Callable[..., Intake], n: int) -> list[NDArray[np.float32]]:
    treatment, seen = Treatment(WARFARIN, admitted(n)), []
    for _ in range(5):
        seen.append(treatment.observe())
        treatment.give(np.full(n, 5.0))
    return seen


def doses(arm: LearnedPolicy, seen: list[NDArray[np.float32]]) -> NDArray[np.float64]:
    state, out = None, []
    for observation in seen:
        dose, state = arm.predict(observation, state)
        out.append(dose)
    return np.array(out)


def test_saved_policy_gives_the_same_doses_bit_for_bit(
    tmp_path: Path, admitted: Callable[..., Intake]
) -> None:
    arm, seen = policy(), visits(admitted, 20)
    arm.save(tmp_path / "policy", "# preset\n")
    again = LearnedPolicy.load(tmp_path / "policy", "again")
    assert again.name == "again" and again.card == arm.card and again.seed_namespace == "train"
    assert (again.filter.particles, again.filter.fade) == (16, 0.9)
    assert np.array_equal(doses(arm, seen), doses(again, seen))
    assert sorted(item.name for item in (tmp_path / "policy").iterdir()) == sorted(policy_module._FILES)


def test_splitting_the_patients_changes_no_bit(admitted: Callable[..., Intake]) -> None:
    arm, seen = policy(), visits(admitted, 300)  # more than one block of the network
    whole = doses(arm, seen)
    for rows in (slice(0, 1), slice(7, 260), slice(255, 300)):
        assert np.array_equal(doses(arm, [o[rows] for o in seen]), whole[:, rows])


def test_policy_departs_from_its_anchor(admitted: Callable[..., Intake]) -> None:
    arm, seen = policy(), visits(admitted, 50)
    anchor = doses(policy(zero=True), seen)
    assert np.mean(np.abs(doses(arm, seen) / anchor - 1) > 0.1) > 0.2


def test_exploration_is_refused(observed: Callable[..., NDArray[np.float32]]) -> None:
    with pytest.raises(ValueError, match="deterministic=False"):
        policy().predict(observed(), deterministic=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    policy().save(tmp_path / "policy", "# preset\n")
    return tmp_path / "policy"


def test_absent_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"weights.zip is missing; give a folder that `dosewright train` finished"
    ):
        LearnedPolicy.load(tmp_path / "nowhere")


@pytest.mark.parametrize("name", policy_module._FILES)
def test_half_written_folder_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"policy .*: {name} is missing"):
        LearnedPolicy.load(folder)


def rewrite(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_policy_of_another_scenario_version_is_refused(folder: Path) -> None:
    rewrite(folder / "card.json", scenario_version=7)
    with pytest.raises(ValueError, match="made for warfarin version 7, this is version 0; train it again"):
        LearnedPolicy.load(folder)


def test_policy_of_another_layout_is_refused(folder: Path) -> None:
    names = json.loads((folder / "scaling.json").read_text())["features"]
    rewrite(folder / "scaling.json", features=names[::-1])
    with pytest.raises(ValueError, match="made for another observation layout; train it again"):
        LearnedPolicy.load(folder)


def test_policy_of_an_unknown_drug_is_refused(folder: Path) -> None:
    rewrite(folder / "card.json", scenario="aspirin")
    with pytest.raises(ValueError, match="unknown drug 'aspirin'"):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize("text", ["{", "{}", '{"scenario": "warfarin"}'])
def test_broken_card_is_refused(folder: Path, text: str) -> None:
    (folder / "card.json").write_text(text)
    with pytest.raises(ValueError, match=r"card.json or scaling.json is broken \(.*\); train it again"):
        LearnedPolicy.load(folder)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("scaling.json", "{}"),
        ("scaling.json", "[]"),
        ("card.json", json.dumps(card() | {"belief": {}})),
        ("card.json", "[]"),
        ("weights.zip", "half"),
    ],
)
def test_broken_file_is_refused_by_name(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(ValueError, match="policy "):
        LearnedPolicy.load(folder)


# ----------------------------------------------------------------------------------------------------- preset


def test_realism_chooses_the_preset_where_one_ships() -> None:
    assert preset_name("warfarin", "textbook") == "warfarin-textbook"
    assert preset_name("warfarin") == preset_name("warfarin", "clinic") == "warfarin"
    # nothing drifts in `textbook`: the exact posterior
    assert read_preset("warfarin-textbook").belief.fade == 1.0
    assert read_preset("warfarin-textbook").scenario.realism == "textbook"


def test_shipped_presets_are_read_and_written_back() -> None:
    for name in ("warfarin", "warfarin-demo", "warfarin-textbook"):
        preset = read_preset(name)
        assert preset.scenario.drug == "warfarin" and preset.ppo.discount == 1.0
        assert Preset.parse(preset.text(), "again") == preset
        assert tomllib.loads(preset.text()) == asdict(preset)


def edited(old: str, new: str) -> str:
    text = read_preset("warfarin").text()
    assert text.count(old) == 1
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[belief]", "[belief", "no valid TOML"),
        ("epochs = 4", "epochs = 4\nepoch = 5", r"\[ppo\]: unknown key 'epoch'; known: timesteps"),
        ("epochs = 4\n", "", r"\[ppo\]: epochs is missing"),
        ("[evaluation]", "[evaluations]", "unknown key 'evaluations'"),
        ("epochs = 4", "epochs = 4.5", r"epochs = 4.5; expected int"),
        ("epochs = 4", "epochs = true", "epochs = True; expected int"),
        ("epochs = 4", 'epochs = "6"', "epochs = '6'; expected int"),
        ("fade = 0.9", 'fade = "0.9"', "fade = '0.9'; expected float"),
        ("hidden = [128, 128]", "hidden = 128", "hidden = 128; expected"),
        ('drug = "warfarin"', "drug = 1", "drug = 1; expected str"),
    ],
)
def test_a_preset_is_read_strictly(old: str, new: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"somewhere.*{message}"):
        Preset.parse(edited(old, new), "somewhere")


def test_whole_numbers_are_read_as_decimals_where_those_are_meant() -> None:
    assert Preset.parse(edited("fade = 0.9", "fade = 1"), "x").belief.fade == 1.0


def test_a_part_that_is_no_table_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[scenario\]: expected a table"):
        Preset.parse("scenario = 1\nbelief = 2\nwarm_start = 5\nppo = 3\nevaluation = 4", "x")


def test_unknown_preset_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown preset 'aspirin'; known: warfarin"):
        read_preset("aspirin")
    with pytest.raises(ValueError, match="none.toml: file not found"):
        read_preset(str(tmp_path / "none.toml"))


# --------------------------------------------------------------------------------------------------- training

UPDATE = 32 * 11  # steps: 32 lanes, one episode


def tiny(updates: int = 4) -> Preset:
    preset = read_preset("warfarin")
    ppo = replace(
        preset.ppo, timesteps=updates * UPDATE, environments=32, steps_per_update=11, batch_size=UPDATE // 2,
        epochs=2, hidden=[16], initial_log_sd=-1.0, final_log_sd=-2.5, critic_first=1 / updates,
    )  # fmt: skip
    return replace(
        preset,
        belief=replace(preset.belief, particles=8),
        warm_start=replace(preset.warm_start, rounds=1, batch_size=32, steps_per_round=2, final_steps=2),
        ppo=ppo,
        evaluation=replace(preset.evaluation, every_updates=2, patients=40),
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A finished tiny run."""
    path = tmp_path_factory.mktemp("runs") / "run"
    train(tiny(), 3, path, progress=False)
    yield path


def weights(run: Path, name: str = "checkpoint.zip") -> dict[str, torch.Tensor]:
    from stable_baselines3 import PPO

    return PPO.load(run / name, device="cpu").policy.state_dict()


def equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_leaves_what_it_promises(run: Path) -> None:
    assert Preset.parse((run / "preset.toml").read_text(), "run") == tiny()
    assert list((run / "tensorboard").glob("events*"))
    progress = json.loads((run / "progress.json").read_text())
    assert progress["steps"] == 4 * UPDATE and progress["seed"] == 3
    assert [point["steps"] for point in progress["curve"]] == [0, 2 * UPDATE, 4 * UPDATE]
    arm = LearnedPolicy.load(run / "policy")
    assert arm.card["seed"] == 3 and arm.card["realism"] == "clinic" and arm.card["seed_namespace"] == "train"
    assert arm.card["select"]["patients"] == 40 and arm.card["scenario_version"] == 0
    assert arm.card["versions"]["torch"] == torch.__version__
    assert not list(run.glob("*.new.*"))


def test_the_policy_kept_is_the_best_of_the_curve(run: Path) -> None:
    progress = json.loads((run / "progress.json").read_text())
    kept = json.loads((run / "policy" / "card.json").read_text())
    limit = kept["select"]["bayesian, same fading"]["ever_harm"]
    ranks = {
        point["steps"]: point["returns"] - max(0.0, point["ever_harm"] - limit) for point in progress["curve"]
    }
    assert ranks[kept["steps"]] == max(ranks.values()) == progress["best"]


@pytest.mark.parametrize("critic_first", [1.0, 0.0])
def test_at_first_only_the_critic_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, critic_first: float
) -> None:
    module, states = importlib.import_module("dosewright.agents.learning.train"), []
    evaluate = module._Run.evaluate

    def spy(self: Any, steps: int) -> None:
        states.append({name: value.clone() for name, value in self.model.policy.state_dict().items()})
        evaluate(self, steps)

    monkeypatch.setattr(module._Run, "evaluate", spy)
    preset = tiny(1)
    train(
        replace(preset, ppo=replace(preset.ppo, critic_first=critic_first)), 3, tmp_path / "run", False, False
    )
    before, after = states
    same = {name for name in after if torch.equal(before[name], after[name])} - {"log_std"}
    actor = {name for name in after if "policy_net" in name or "action_net" in name}
    assert len(actor) == 4 and same == (actor if critic_first else set())


def test_exploration_falls_along_its_schedule(run: Path, tmp_path: Path) -> None:
    def last_log_sd(folder: Path) -> float:
        return float(PPO.load(folder / "checkpoint.zip").policy.log_std.detach())

    # of four updates the last explores with a quarter of the way to go
    assert last_log_sd(run) == pytest.approx(-2.5 + 0.25 * (-1.0 + 2.5))
    shutil.copytree(run, tmp_path / "run")
    train(tiny(8), 3, tmp_path / "run", resume=True, progress=False)
    assert last_log_sd(tmp_path / "run") == pytest.approx(-2.5 + 0.125 * (-1.0 + 2.5))


def test_training_changes_the_network_from_monitoring(run: Path) -> None:
    assert weights(run)["action_net.weight"].abs().max() > 0


def test_same_seed_gives_the_same_weights_and_another_seed_others(run: Path, tmp_path: Path) -> None:
    train(tiny(), 3, tmp_path / "again", progress=False)
    train(tiny(2), 4, tmp_path / "other", progress=False)
    assert equal(weights(run), weights(tmp_path / "again"))
    assert not equal(weights(run), weights(tmp_path / "other"))


def test_resumed_run_goes_on_where_it_stopped(run: Path, tmp_path: Path) -> None:
    path = tmp_path / "run"
    shutil.copytree(run, path)
    train(tiny(6), 3, path, resume=True, progress=False)
    progress = json.loads((path / "progress.json").read_text())
    assert progress["steps"] == 6 * UPDATE
    assert [point["steps"] for point in progress["curve"]][:3] == [0, 2 * UPDATE, 4 * UPDATE]
    assert progress["curve"][-1]["steps"] == 6 * UPDATE
    before = json.loads((run / "progress.json").read_text())
    assert progress["scaling"] == before["scaling"] and progress["seconds"] > before["seconds"]
    assert not equal(weights(path), weights(run))
    LearnedPolicy.load(path / "policy")


def patients_seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Seeds of the noise under which training lanes are reset, from now on."""
    seeds: list[int] = []
    begin = DosingVectorEnv._begin

    def spy(self: DosingVectorEnv, mine: Any, chosen: Any) -> None:
        if self.namespace == "train" and self._noise is not None:
            seeds.append(int(self._noise.seed))
        begin(self, mine, chosen)

    monkeypatch.setattr(DosingVectorEnv, "_begin", spy)
    return seeds


def test_resumed_run_meets_other_patients(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(run, tmp_path / "run")
    seeds = patients_seen(monkeypatch)
    train(tiny(5), 3, tmp_path / "run", resume=True, progress=False)
    assert set(seeds) == {3 + 4 * UPDATE}  # as train.py says; the first run had seed 3


class Stop:
    """Ctrl-C after so many steps of all lanes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        module = importlib.import_module("dosewright.agents.learning.train")  # the name is the function's too
        self.left = after
        original = module._Progress._on_step

        def stop(progress: Any) -> bool:
            self.left -= 1
            if self.left == 0:
                raise KeyboardInterrupt
            return original(progress)

        monkeypatch.setattr(module._Progress, "_on_step", stop)


def test_ctrl_c_leaves_a_policy_and_a_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, after=15)  # before the first evaluation
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")
    progress = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert UPDATE < progress["steps"] < 2 * UPDATE
    train(tiny(), 3, tmp_path / "run", resume=True, progress=False)
    assert json.loads((tmp_path / "run" / "progress.json").read_text())["steps"] >= 4 * UPDATE


def test_ctrl_c_in_the_warm_start_leaves_a_checkpoint_that_begins_it_anew(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, foresee = [0], Treatment.foresee

    def interrupted(*arguments: Any) -> dict[str, NDArray[np.float64]]:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return foresee(*arguments)

    monkeypatch.setattr(Treatment, "foresee", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")
    progress = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert progress["steps"] == 0 and not progress["warm"]
    train(tiny(), 3, tmp_path / "run", resume=True, progress=False)
    assert calls[0] == 5 + 11
    progress = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert progress["warm"]
    # what the interruption left is no rival of the finished warm start
    assert [point["steps"] for point in progress["curve"]] == [0, 2 * UPDATE, 4 * UPDATE]
    card = json.loads((tmp_path / "run" / "policy" / "card.json").read_text())
    limit = card["select"]["bayesian, same fading"]["ever_harm"]
    assert progress["best"] == max(
        point["returns"] - max(0.0, point["ever_harm"] - limit) for point in progress["curve"]
    )


def test_ctrl_c_while_a_policy_is_written_leaves_a_loadable_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save, calls = LearnedPolicy.save, []

    def interrupted(self: LearnedPolicy, folder: Any, preset: str) -> None:
        calls.append(folder)
        if len(calls) == 1:
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.network.save(str(Path(folder) / "weights.zip"))
            raise KeyboardInterrupt
        save(self, folder, preset)

    monkeypatch.setattr(LearnedPolicy, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), 3, tmp_path / "run", progress=False)
    LearnedPolicy.load(tmp_path / "run" / "policy")


def test_folder_with_something_in_it_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(
        ValueError, match=f"run folder {tmp_path} is not empty; name another, or go on with --resume"
    ):
        train(tiny(), 3, tmp_path, progress=False)
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


@pytest.fixture
def more_threads() -> Iterator[int]:
    """One thread of torch more than training uses, so that a change would be seen."""
    before = torch.get_num_threads()
    wanted = importlib.import_module("dosewright.agents.learning.train").THREADS + 1
    torch.set_num_threads(wanted)
    yield wanted
    torch.set_num_threads(before)


def test_nothing_to_resume_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no checkpoint to resume"):
        train(tiny(), 3, tmp_path / "none", resume=True, progress=False)


def test_training_gives_torchs_threads_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more_threads: int
) -> None:
    train(tiny(1), 3, tmp_path / "whole", progress=False)
    assert torch.get_num_threads() == more_threads
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        Stop(patch, after=1)
        train(tiny(1), 3, tmp_path / "cut", progress=False)
    assert torch.get_num_threads() == more_threads


def test_refused_resume_leaves_nothing_behind(tmp_path: Path, more_threads: int) -> None:
    with pytest.raises(ValueError, match="no checkpoint to resume"):
        train(tiny(), 3, tmp_path / "none", resume=True, progress=False)
    assert torch.get_num_threads() == more_threads and not (tmp_path / "none").exists()
