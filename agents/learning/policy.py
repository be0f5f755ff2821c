"""A learned policy as a regimen, and as a folder on disk.

A policy is a folder: ``weights.zip`` (the Stable-Baselines3 policy), ``scaling.json`` (how features are
standardised), ``preset.toml`` (how it was trained) and ``card.json`` (for what, on whom, how well). It
refuses to dose another version of the scenario or another layout of the features.
"""

from __future__ import annotations

import json
import pickle
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from stable_baselines3.common.policies import ActorCriticPolicy

from dosewright.agents.estimation import Belief, BeliefFilter
from dosewright.agents.learning.anchored import anchored_dose
from dosewright.agents.learning.belief import BeliefFeatures, Scaling
from dosewright.envs import Scenario, scenario

_BLOCK = 256  # networks are evaluated in blocks of this size, padded: a split of the patients changes no bit
_FILES = ("weights.zip", "scaling.json", "preset.toml", "card.json")


class LearnedPolicy:
    """A policy that sees the belief and departs from Bayesian monitoring by the anchored action.

    Parameters
    ----------
    scenario
        The decision problem.
    belief_filter
        Keeps the belief, with the particles and fading the policy was trained with.
    network
        Stable-Baselines3 policy network.
    scaling
        Standardisation of the features.
    card
        What is known about the policy.
    name
        Name of the arm.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        scenario: Scenario,
        belief_filter: BeliefFilter,
        network: ActorCriticPolicy,
        scaling: Scaling,
        card: dict[str, Any],
        name: str = "policy",
    ) -> None:
        self.scenario, self.filter, self.network, self.scaling = scenario, belief_filter, network, scaling
        self.card, self.name = card, name
        self.features = BeliefFeatures(belief_filter)

    @property
    def seed_namespace(self) -> str:
        """Namespace of the patients it was trained on; a trial on the same is refused."""
        return str(self.card["seed_namespace"])

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Belief | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Belief]:
        """Return the dose (n,) and the beliefs.

        Raises
        ------
        ValueError
            For ``deterministic=False``: exploration belongs to training, and a stochastic regimen needs keys.
        """
        if not deterministic:
            raise ValueError(
                "deterministic=False: the policy doses deterministically; exploration belongs to training"
            )
        belief = self.filter.step(state, observation, episode_start)
        features, anchor = self.features(belief, observation)
        return anchored_dose(anchor, self.act(features)), belief

    def act(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the network's action (n,) for features (n, f)."""
        scaled = self.scaling.apply(features)
        n = len(scaled)
        padded = np.zeros((-(-n // _BLOCK) * _BLOCK, scaled.shape[1]), dtype=np.float32)
        padded[:n] = scaled
        with torch.no_grad():
            blocks = [
                self.network.get_distribution(torch.from_numpy(block)).mode().numpy()[:, 0]
                for block in np.split(padded, len(padded) // _BLOCK)
            ]
        return np.concatenate(blocks)[:n].astype(np.float64)

    def save(self, folder: str | Path, preset: str) -> None:
        """Write the policy's folder in place of the one there; `preset` is the text of its training preset.

        The folder is made beside its place and then moved there, so that an interruption leaves no half of
        it.
        """
        path = Path(folder)
        new, old = (path.with_name(f"{path.name}.{word}") for word in ("new", "old"))
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        new.mkdir(parents=True)
        self.network.save(str(new / "weights.zip"))
        scaling = {"mean": self.scaling.mean.tolist(), "sd": self.scaling.sd.tolist()}
        (new / "scaling.json").write_text(json.dumps({"features": self.features.names, **scaling}, indent=1))
        (new / "preset.toml").write_text(preset)
        (new / "card.json").write_text(json.dumps(self.card, indent=1))
        if path.exists():
            path.rename(old)
        new.rename(path)
        shutil.rmtree(old, ignore_errors=True)

    @classmethod
    def load(cls, folder: str | Path, name: str = "policy") -> LearnedPolicy:
        """Read a policy's folder.

        Raises
        ------
        ValueError
            If a file is missing or broken, or the policy was made for another scenario version or feature
            layout.
        """
        path = Path(folder)
        missing = [file for file in _FILES if not (path / file).is_file()]
        if missing:
            raise ValueError(
                f"policy {path}: {missing[0]} is missing; give a folder that `dosewright train` finished, "
                "such as runs/…/policy"
            )
        try:
            card, scaling = (json.loads((path / file).read_text()) for file in ("card.json", "scaling.json"))
            name_of, version, belief = card["scenario"], card["scenario_version"], card["belief"]
            particles, fade = belief["particles"], belief["fade"]
            layout = tuple(scaling["features"])
            known_scaling = Scaling(*(np.array(scaling[key], np.float32) for key in ("mean", "sd")))
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(
                f"policy {path}: card.json or scaling.json is broken ({error}); train it again"
            ) from None
        known = scenario(name_of)
        if version != known.version:
            raise ValueError(
                f"policy {path}: made for {known.name} version {version}, this is version {known.version}; "
                "train it again"
            )
        belief_filter = BeliefFilter(known, particles, fade)
        if layout != BeliefFeatures(belief_filter).names:
            raise ValueError(f"policy {path}: made for another observation layout; train it again")
        try:
            network = ActorCriticPolicy.load(str(path / "weights.zip"), device="cpu")
        except (
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(f"policy {path}: weights.zip is broken ({error}); train it again") from None
        network.set_training_mode(False)
        return cls(known, belief_filter, network, known_scaling, card, name)
