"""A learned policy's actor as ONNX: what a runtime without PyTorch needs to choose an action.

Features go in as the policy's input makes them, in clinical and belief units; standardisation is part of the
graph. What makes the features, the belief, is not: a runtime that doses brings its own.
"""

from __future__ import annotations

import csv
import io
import json
import warnings
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.tqc.policies import TQCPolicy
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.sac.policies import SACPolicy

from dosewright.agents.learning.anchored import EXPONENT
from dosewright.agents.learning.meanings import Meaning, meanings
from dosewright.agents.learning.policy import LearnedPolicy
from dosewright.evaluation.result_folder import write_whole

NOTICE = "Research simulation, not for clinical use."
_OPSET = 17


class _Actor(torch.nn.Module):
    """Features (n, f) as they are made -> action (n,)."""

    mean: torch.Tensor
    sd: torch.Tensor

    def __init__(self, policy: LearnedPolicy) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(np.array(policy.scaling.mean, np.float32)))
        self.register_buffer("sd", torch.from_numpy(np.array(policy.scaling.sd, np.float32)))
        self.tablets = policy.action == "tablet"
        network = policy.network
        if isinstance(network, SACPolicy | TQCPolicy):
            self.layers = torch.nn.Sequential(network.actor.latent_pi, network.actor.mu, torch.nn.Tanh())
        elif isinstance(network, ActorCriticPolicy | MaskableActorCriticPolicy):
            self.layers = torch.nn.Sequential(network.mlp_extractor.policy_net, network.action_net)
        else:
            raise ValueError(
                f"policy network {type(network).__name__}: cannot be exported; known: those of PPO, "
                "MaskablePPO, SAC and TQC"
            )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the action (n,)."""
        found = self.layers(((features - self.mean) / self.sd).clamp(-10.0, 10.0))
        return found.argmax(dim=1) if self.tablets else found[:, 0].clamp(-1.0, 1.0)


def export_onnx(policy: LearnedPolicy, path: str | Path) -> Path:
    """Write a policy's actor as ONNX, and beside it the table of its features, ``<name>.features.csv``.

    The graph takes ``features`` (n, f), float32, in the order of the table, and returns ``action`` (n,): a
    departure from the anchor in [−1, 1], float32, or the index of a tablet of the grid, int64. The model's
    metadata say what else must be known: "features" (JSON), "scenario", "scenario_version", "action",
    "dose", how an action becomes a dose, "anchor", "doses" (JSON), "policy" and "notice".

    Parameters
    ----------
    policy
        PPO, also with a critic that sees the truth, MaskablePPO, SAC or TQC.
    path
        File to write, by custom ending in .onnx.

    Returns
    -------
    The file's path.

    Raises
    ------
    ValueError
        For a recurrent policy, which needs states from visit to visit, or if the package onnx is missing.
    """
    if policy.recurrent:
        raise ValueError(
            "policy with a recurrent network: its action depends on states kept from visit to visit, which "
            "the exported graph, features in and action out, has no place for; export one without, or use "
            "LearnedPolicy.predict"
        )
    onnx = _onnx()
    target, described = Path(path), meanings(policy.inputs)
    actor = _Actor(policy).eval()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        # this exporter needs no further package; PyTorch recommends the other one, which does
        warnings.simplefilter("ignore")
        traced = str(Path(folder) / "actor.onnx")
        torch.onnx.export(
            actor, (torch.zeros(2, len(described)),), traced, input_names=["features"],
            output_names=["action"], dynamic_axes={"features": {0: "n"}, "action": {0: "n"}},
            opset_version=_OPSET, dynamo=False,
        )  # fmt: skip
        model = onnx.load_model(traced)
    model.doc_string = f"{NOTICE} Dosing policy for {policy.scenario.title}, made by dosewright."
    onnx.helper.set_model_props(model, _metadata(policy, described))
    onnx.checker.check_model(model)
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, lambda new: new.write(model.SerializeToString()))
    _write_table(described, features_table(target))
    return target


def features_table(path: Path) -> Path:
    """Return where the table of features of an exported policy stands."""
    return path.with_suffix(".features.csv")


def _onnx() -> ModuleType:
    try:
        import onnx
        import onnx.checker
        import onnx.helper
    except ImportError as error:
        raise ValueError(
            f'export: the package onnx is missing ({error}); pip install "dosewright[onnx]"'
        ) from None
    return onnx


def _metadata(policy: LearnedPolicy, described: list[Meaning]) -> dict[str, str]:
    """Return what a runtime must know, in words."""
    scenario, doses = policy.scenario, policy.scenario.doses
    snap = f"then at most {doses.maximum:g}, rounded to the nearest of the list doses, halves upwards"
    how = (
        f"doses[action], in {doses.unit}"
        if policy.action == "tablet"
        else f"anchor * (1 + action) ** {EXPONENT:g}, in {doses.unit}; {snap}"
    )
    anchor = (
        f"exp(feature {described[0].name!r}): the dose of Bayesian monitoring, in {doses.unit}"
        if policy.departs_from_monitoring
        else f"the clinic's first dose without genotype, in {doses.unit}"
    )
    known: dict[str, Any] = {key: policy.card.get(key) for key in ("algorithm", "weights", "seed_namespace")}
    return {
        "notice": NOTICE,
        "scenario": scenario.name,
        "scenario_version": str(scenario.version),
        "features": json.dumps(
            [{"name": item.name, "unit": item.unit, "meaning": item.meaning} for item in described],
            ensure_ascii=False,
        ),
        "action": f"index of a dose of the grid, 0 to {len(doses.doses) - 1}"
        if policy.action == "tablet"
        else "departure from the anchor, -1 to 1; 0 is the anchor",
        "dose": how,
        "anchor": anchor,
        "doses": json.dumps(doses.doses.tolist()),
        "policy": json.dumps({key: value for key, value in known.items() if value is not None}),
        "dosewright": version("dosewright"),
    }


def _write_table(described: list[Meaning], path: Path) -> None:
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(("column", "name", "unit", "meaning"))
    writer.writerows((i, item.name, item.unit, item.meaning) for i, item in enumerate(described))
    write_whole(path, lambda new: new.write(table.getvalue().encode()))
