"""The exported graph chooses what the network chooses, from features as they are made."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.sac.policies import SACPolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning import BeliefFeatures, LearnedPolicy, Scaling, anchored_dose
from dosewright.agents.learning.export import export_onnx, features_table
from dosewright.agents.learning.networks import RecurrentPolicy, TruthCriticPolicy
from dosewright.envs import Intake, Scenario, Treatment

Made = Callable[[str], LearnedPolicy]
KINDS = ("ppo", "truth", "maskable_ppo", "sac", "tqc")
ROWS = 10_000


def untrained(kind: str, width: int, tablets: int) -> BasePolicy:
    seen = spaces.Box(-np.inf, np.inf, (width + 5 * (kind == "truth"),), np.float32)
    box, rate = spaces.Box(-1.0, 1.0, (1,), np.float32), lambda _: 1e-3  # noqa: E731
    if kind == "truth":
        return TruthCriticPolicy(seen, box, rate, net_arch=[32, 32], seen=width)
    if kind == "maskable_ppo":
        return MaskableActorCriticPolicy(seen, spaces.Discrete(tablets), rate, net_arch=[32, 32])
    if kind == "recurrent_ppo":
        return RecurrentPolicy(seen, box, rate, net_arch=[32], lstm_hidden_size=8)
    classes: dict[str, Any] = {"ppo": ActorCriticPolicy, "sac": SACPolicy, "tqc": TQCPolicy}
    return classes[kind](seen, box, rate, net_arch=[32, 32])


@pytest.fixture
def made(warfarin: Scenario) -> Made:
    """``made(kind)``: an untrained policy that departs from its anchor visibly."""
    inputs = BeliefFeatures(BeliefFilter(warfarin, 16, 0.9))
    width = len(inputs.names)

    def make(kind: str) -> LearnedPolicy:
        torch.manual_seed(0)
        network = untrained(kind, width, len(warfarin.doses.doses))
        with torch.no_grad():
            last: Any = network.actor if kind in ("sac", "tqc") else network.action_net
            getattr(last, "mu", last).weight.mul_(20.0)
        network.set_training_mode(False)
        rng = np.random.default_rng(1)
        scaling = Scaling(
            rng.normal(size=width).astype(np.float32), rng.uniform(0.1, 2, width).astype(np.float32)
        )
        card = {"seed_namespace": "train", "algorithm": kind, "weights": "abc"}
        action = "tablet" if kind == "maskable_ppo" else "anchored"
        return LearnedPolicy(warfarin, inputs, network, scaling, card, action)

    return make


@pytest.fixture(scope="module")
def met(admitted: Callable[..., Intake], warfarin: Scenario) -> NDArray[np.float32]:
    """Features of patients under monitoring, and random ones beyond what standardisation keeps."""
    inputs = BeliefFeatures(BeliefFilter(warfarin, 16, 0.9))
    treatment, belief, seen = Treatment(warfarin, admitted(300)), None, []
    while treatment.active.any():
        observation = treatment.observe()
        belief = inputs.update(belief, observation)
        features, anchor = inputs(belief, observation)
        seen.append(features)
        treatment.give(anchor)
    real = np.concatenate(seen)
    rng = np.random.default_rng(0)
    drawn = rng.normal(real.mean(axis=0), 3 * real.std(axis=0) + 0.1, (ROWS - len(real), real.shape[1]))
    return np.concatenate([real, drawn]).astype(np.float32)


@pytest.mark.oracles
@pytest.mark.parametrize("kind", KINDS)
def test_the_graph_chooses_what_the_network_chooses(
    made: Made, kind: str, met: NDArray[np.float32], tmp_path: Path
) -> None:
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    policy = made(kind)
    path = export_onnx(policy, tmp_path / "policy.onnx")
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (action,) = session.run(None, {"features": met})
    expected = policy.act(met)
    assert len(met) == ROWS and np.ptp(expected) > 0.5
    if kind == "maskable_ppo":
        assert action.dtype == np.int64 and set(action) <= set(range(len(policy.scenario.doses.doses)))
        # two tablets that the network likes equally, to rounding, may change places
        assert (action == expected).mean() > 0.9995
    else:
        assert action.dtype == np.float32 and np.abs(action).max() <= 1.0
        np.testing.assert_allclose(action, np.clip(expected, -1.0, 1.0), atol=1e-5, rtol=0)
    assert session.run(None, {"features": met[:1]})[0].shape == (1,)  # any number of patients


@pytest.mark.oracles
def test_the_metadata_are_all_that_is_needed_to_dose(
    made: Made, met: NDArray[np.float32], tmp_path: Path
) -> None:
    onnx = pytest.importorskip("onnx")
    policy = made("ppo")
    path = export_onnx(policy, tmp_path / "deep" / "policy.onnx")
    known = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    assert known["notice"] == "Research simulation, not for clinical use."
    assert (known["scenario"], known["scenario_version"]) == ("warfarin", str(policy.scenario.version))
    features = json.loads(known["features"])
    assert tuple(item["name"] for item in features) == policy.inputs.names
    with features_table(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [{key: row[key] for key in ("name", "unit", "meaning")} for row in rows] == features
    assert [int(row["column"]) for row in rows] == list(range(len(features)))
    assert json.loads(known["doses"]) == policy.scenario.doses.doses.tolist()
    # the formula that stands there, and the anchor that it names, are those of the policy
    formula = known["dose"].partition(", in mg/day")[0]
    assert known["anchor"].startswith("exp(feature 'mean log maintenance dose')")
    anchor = np.exp(met[:50, policy.inputs.names.index("mean log maintenance dose")].astype(float))
    action = np.clip(policy.act(met[:50]), -1, 1)
    dose = eval(formula, {"anchor": anchor, "action": action})
    np.testing.assert_allclose(dose, anchored_dose(anchor, action), rtol=1e-9)


@pytest.mark.oracles
def test_a_tablet_is_named_by_its_index(made: Made, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    path = export_onnx(made("maskable_ppo"), tmp_path / "policy.onnx")
    known = {item.key: item.value for item in onnx.load(str(path)).metadata_props}
    assert known["dose"] == "doses[action], in mg/day" and known["action"].startswith("index of a dose")


def test_a_recurrent_policy_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recurrent network.*LearnedPolicy.predict"):
        export_onnx(made("recurrent_ppo"), tmp_path / "policy.onnx")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named_with_the_remedy(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r'pip install "dosewright\[onnx\]"'):
        export_onnx(made("ppo"), tmp_path / "policy.onnx")
