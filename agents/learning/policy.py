"""A learned policy as a regimen, and as a folder on disk.

A policy is a folder: ``weights.zip`` (the Stable-Baselines3 policy), ``scaling.json`` (how features are
standardised), ``preset.toml`` (how it was trained) and ``card.json`` (for what, on whom, how well). It
refuses to dose another version of the scenario or another layout of the features.
"""

from __future__ import annotations

import copy
import hashlib
import json
import pickle
import shutil
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.policies import BasePolicy

from dosewright.agents.estimation import BeliefFilter
from dosewright.agents.learning.algorithms import policy_class
from dosewright.agents.learning.anchored import anchored_dose
from dosewright.agents.learning.belief import BeliefFeatures
from dosewright.agents.learning.environment import Action
from dosewright.agents.learning.history import HistoryFeatures
from dosewright.agents.learning.inputs import PolicyInput
from dosewright.agents.learning.preference import Drawn, PreferenceInput, Same
from dosewright.agents.learning.preset import HistoryPart, Preset, read_text
from dosewright.agents.learning.scaling import Scaling
from dosewright.envs import Scenario, scenario

_BLOCK = 256  # networks are evaluated in blocks of this size, padded: a split of the patients changes no bit
_FILES = ("weights.zip", "scaling.json", "preset.toml", "card.json")
_KNOWN_BY_DIGEST = ("scaling.json", "preset.toml")
_CARD = ("scenario_version", "weights", "files", "seed_namespace")  # what is read of a card


@dataclass(frozen=True)
class PolicyState:
    """What a policy remembers of n patients: its input's memory and, where its network is recurrent, the
    network's states (layers, n, units)."""

    memory: Any
    recurrent: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None


class LearnedPolicy:
    """A policy that sees an input, by default the belief, and acts by departures from its anchor or by
    tablets.

    Parameters
    ----------
    scenario
        The decision problem.
    inputs
        What it sees, made as in training.
    network
        Policy network of Stable-Baselines3 or sb3-contrib.
    scaling
        Standardisation of the features.
    card
        What is known about the policy.
    action
        "anchored" or "tablet", as in training.
    name
        Name of the arm.
    """

    needs: frozenset[str] = frozenset()

    def __init__(
        self,
        scenario: Scenario,
        inputs: PolicyInput,
        network: BasePolicy,
        scaling: Scaling,
        card: dict[str, Any],
        action: Action = "anchored",
        name: str = "policy",
    ) -> None:
        self.scenario, self.inputs, self.network, self.scaling = scenario, inputs, network, scaling
        self.card, self.action, self.name = card, action, name

    @property
    def seed_namespace(self) -> str:
        """Namespace of the patients it was trained on; a trial on the same is refused."""
        return str(self.card["seed_namespace"])

    @property
    def recurrent(self) -> bool:
        """Whether its network has states of its own from visit to visit."""
        return isinstance(self.network, RecurrentActorCriticPolicy)

    @property
    def departs_from_monitoring(self) -> bool:
        """Whether the anchor is the dose of Bayesian monitoring."""
        inputs = self.inputs.inner if isinstance(self.inputs, PreferenceInput) else self.inputs
        return isinstance(inputs, BeliefFeatures)

    @property
    def belief_filter(self) -> BeliefFilter:
        """The filter of the belief that it sees; a policy that sees none is refused."""
        if not isinstance(self.inputs, BeliefFeatures):
            raise ValueError(
                f"policy of {self.scenario.name}: it does not dose by the belief alone; train one with the "
                "preset of the drug"
            )
        return self.inputs.filter

    def predict(
        self,
        observation: NDArray[np.float32],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], PolicyState]:
        """Return the dose (n,) and what is remembered.

        Raises
        ------
        ValueError
            For ``deterministic=False``: exploration belongs to training, and a stochastic regimen needs keys.
        """
        if not deterministic:
            raise ValueError(
                "deterministic=False: the policy doses deterministically; exploration belongs to training"
            )
        memory = self.inputs.update(None if state is None else state.memory, observation, episode_start)
        if not self.recurrent:
            return self.decide(*self.inputs(memory, observation)), PolicyState(memory)
        features, anchor = self.inputs(memory, observation)
        before = None if state is None else state.recurrent
        action, recurrent = self._recur(features, before, episode_start)
        return self._dose(anchor, action), PolicyState(memory, recurrent)

    def decide(self, features: NDArray[np.float32], anchor: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the dose (n,) for what its input shows: features (n, f) and anchor (n,)."""
        return self._dose(anchor, self.act(features))

    def _dose(self, anchor: NDArray[np.float64], action: NDArray[np.float64]) -> NDArray[np.float64]:
        if self.action == "tablet":
            return self.scenario.doses.doses[action.astype(np.int64)]
        return anchored_dose(anchor, action)

    def anchor(self, state: PolicyState, observation: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the dose (n,) that it departs from, at a visit after which `state` is remembered."""
        return self.inputs(state.memory, observation)[1]

    def preferring(self, weight: float) -> LearnedPolicy:
        """Return this policy for another weight of safety against benefit; it was 0.5 so far.

        Raises
        ------
        ValueError
            For a policy that is not told one, or a weight it was not trained with.
        """
        if not isinstance(self.inputs, PreferenceInput):
            raise ValueError(
                f"preference {weight:g}: the policy of {self.scenario.name} was trained for one balance of "
                f"benefit and harm; train {self.scenario.name}-preference"
            )
        least, most = self.card["preference"]["range"]
        if not least <= weight <= most:
            raise ValueError(
                f"preference {weight:g}: the policy of {self.scenario.name} was trained for {least:g} to "
                f"{most:g}; choose one of those"
            )
        other = copy.copy(self)
        other.inputs = PreferenceInput(self.inputs.inner, Same(weight))
        return other

    def standing_on(self, kept: BeliefFilter) -> LearnedPolicy:
        """Return this policy with another belief: that of a refitted population, which moves features and
        anchor at once, or one that others use as well.

        Raises
        ------
        ValueError
            For a policy that sees no belief or has a memory besides, and for a belief about another drug or
            with other features.
        """
        if not isinstance(self.inputs, BeliefFeatures) or self.recurrent:
            raise ValueError(
                f"policy of {self.scenario.name}: it does not dose by the belief alone; train one with the "
                "preset of the drug"
            )
        inputs = BeliefFeatures(kept)
        if kept.scenario.name != self.scenario.name or inputs.names != self.inputs.names:
            raise ValueError(
                f"policy of {self.scenario.name} version {self.scenario.version}; this belief is about "
                f"{kept.scenario.name} version {kept.scenario.version}"
            )
        other = copy.copy(self)
        other.scenario, other.inputs = kept.scenario, inputs
        return other

    def act(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the network's action (n,) for features (n, f)."""
        n, padded = len(features), self._padded(features)
        with torch.no_grad():
            blocks = [
                self.network._predict(torch.from_numpy(block), deterministic=True).numpy().reshape(_BLOCK)
                for block in np.split(padded, len(padded) // _BLOCK)
            ]
        return np.concatenate(blocks)[:n].astype(np.float64)

    def _padded(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """Standardised features in whole blocks, with 0 for what only a critic sees."""
        shape = self.network.observation_space.shape
        assert shape is not None
        padded = np.zeros((-(-len(features) // _BLOCK) * _BLOCK, shape[0]), dtype=np.float32)
        padded[: len(features), : features.shape[1]] = self.scaling.apply(features)
        return padded

    def _recur(
        self,
        features: NDArray[np.float32],
        before: tuple[NDArray[np.float32], NDArray[np.float32]] | None,
        episode_start: NDArray[np.bool_] | None,
    ) -> tuple[NDArray[np.float64], tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return the actions (n,) and the states of a recurrent network after them."""
        assert isinstance(self.network, RecurrentActorCriticPolicy)
        n, padded = len(features), self._padded(features)
        layers, _, units = self.network.lstm_hidden_state_shape
        states = tuple(np.zeros((layers, len(padded), units), np.float32) for _ in range(2))
        start = np.ones(len(padded), dtype=np.float32)
        if before is not None:
            for state, old in zip(states, before, strict=True):
                state[:, :n] = old
            start[:n] = 0.0 if episode_start is None else episode_start
        actions, after = np.empty(len(padded)), tuple(np.empty_like(state) for state in states)
        with torch.no_grad():
            for first in range(0, len(padded), _BLOCK):
                here = slice(first, first + _BLOCK)
                hidden, cell = (torch.from_numpy(state[:, here].copy()) for state in states)
                action, new = self.network._predict(
                    torch.from_numpy(padded[here]), (hidden, cell), torch.from_numpy(start[here]), True
                )
                actions[here] = action.numpy().reshape(_BLOCK)
                for whole, part in zip(after, new, strict=True):
                    whole[:, here] = part.numpy()
        return actions[:n], (after[0][:, :n], after[1][:, :n])

    def save(self, folder: str | Path, preset: Preset) -> None:
        """Write the policy's folder in place of the one there; `preset` is that of its training.

        The folder is made beside its place and then moved there, so that an interruption leaves no half of
        it. The card gets what it repeats of the preset, and digests of the weights, "weights", and of the
        other "files", by which `load` knows them.
        """
        path = Path(folder)
        new, old = (path.with_name(f"{path.name}.{word}") for word in ("new", "old"))
        if old.exists() and not path.exists():  # killed between the two renames below
            old.rename(path)
        for left in (new, old):
            shutil.rmtree(left, ignore_errors=True)
        new.mkdir(parents=True)
        self.network.save(str(new / "weights.zip"))
        scaling = {"mean": self.scaling.mean.tolist(), "sd": self.scaling.sd.tolist()}
        (new / "scaling.json").write_text(json.dumps({"features": self.inputs.names, **scaling}, indent=1))
        (new / "preset.toml").write_text(preset.text())
        known = {file: _digest(new / file) for file in _KNOWN_BY_DIGEST}
        card = {**self.card, **_told_by(preset), "weights": weights_hash(self.network), "files": known}
        (new / "card.json").write_text(json.dumps(card, indent=1))
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
            If a file is missing or broken, the files are not of one training, or the policy was made for
            another scenario version or feature layout.
        """
        path = Path(folder)
        missing = [file for file in _FILES if not (path / file).is_file()]
        if missing:
            raise ValueError(
                f"policy {path}: {missing[0]} is missing; give a folder that `dosewright train` finished, "
                "such as runs/…/policy"
            )
        card, layout, known_scaling = _described(path)
        where = f"policy {path}, preset.toml"
        preset = Preset.parse(read_text(path / "preset.toml", where, "train it again"), where)
        _check_told(path, card, preset)
        known = scenario(preset.scenario.drug).seen_as(preset.scenario.genotype)
        version = card["scenario_version"]
        if version != known.version:
            raise ValueError(
                f"policy {path}: made for {known.name} version {version}, this is version {known.version}; "
                "train it again"
            )
        inputs = inputs_of(preset, known)
        if layout != inputs.names:
            raise ValueError(
                f"policy {path}: made for another observation layout ({_apart(layout, inputs.names)}); train "
                "it again"
            )
        for file in _KNOWN_BY_DIGEST:
            _check_digest(path, file, _digest(path / file), card["files"][file])
        try:
            network = policy_class(preset).load(str(path / "weights.zip"), device="cpu")
        except (
            OSError,
            RuntimeError,
            ValueError,
            KeyError,
            TypeError,
            pickle.UnpicklingError,
            zipfile.BadZipFile,
        ) as error:
            raise ValueError(f"policy {path}: weights.zip is broken ({error}); train it again") from None
        _check_digest(path, "weights.zip", weights_hash(network), card["weights"])
        network.set_training_mode(False)
        return cls(known, inputs, network, known_scaling, card, preset.policy.action, name)


def _told_by(preset: Preset) -> dict[str, Any]:
    """Return what a policy's card repeats of its preset, as JSON has it: for whom it is, what it sees and how
    it acts."""
    preference = preset.preference
    told = {
        "scenario": preset.scenario.drug,
        "realism": preset.scenario.realism,
        "genotype": preset.scenario.genotype,
        "algorithm": preset.algorithm_name,
        "warm_start": preset.warm_start is not None,
        "sees": {name: asdict(part) for name, part in preset.tables.items() if part is preset.input},
        "action": preset.policy.action,
    }
    if preference is None:
        return told
    return told | {"preference": {"share": preference.share, "range": list(preference.range)}}


def _described(path: Path) -> tuple[dict[str, Any], tuple[str, ...], Scaling]:
    """Return the card of a policy's folder, the names of its features, and how they are standardised."""
    try:
        card, scaling = (json.loads((path / file).read_text()) for file in ("card.json", "scaling.json"))
        for key in _CARD:
            card[key]
        for file in _KNOWN_BY_DIGEST:
            card["files"][file]
        layout = tuple(scaling["features"])
        known = Scaling(*(np.array(scaling[key], np.float32) for key in ("mean", "sd")))
        if not known.mean.shape == known.sd.shape == (len(layout),):
            raise ValueError(f"{len(layout)} features, means and SDs of others")
        if not (np.isfinite(known.mean).all() and (known.sd > 0).all()):
            raise ValueError("a mean that is no number, or an SD that is not positive")
    except (ValueError, KeyError, TypeError) as error:  # ValueError: of JSON, UTF-8 and numbers too
        why = f"{error} is missing" if isinstance(error, KeyError) else error
        raise ValueError(
            f"policy {path}: card.json or scaling.json is broken ({why}); train it again"
        ) from None
    return card, layout, known


def _check_told(path: Path, card: dict[str, Any], preset: Preset) -> None:
    """Refuse a card that tells something else than the preset beside it."""
    for key, value in _told_by(preset).items():
        if card.get(key) != value:
            raise ValueError(
                f"policy {path}: preset.toml says {key} {value!r}, card.json {card.get(key)!r}; take the "
                "folder as `dosewright train` left it"
            )


def _check_digest(path: Path, file: str, here: str, known: str) -> None:
    if here != known:
        raise ValueError(
            f"policy {path}: {file} has digest {here}, card.json says {known}; take the folder as "
            "`dosewright train` left it"
        )


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16]


def weights_hash(policy: torch.nn.Module) -> str:
    """Return a digest of a network's weights."""
    digest = hashlib.sha256()
    for name, values in sorted(policy.state_dict().items()):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(values.numpy()).tobytes())
    return digest.hexdigest()[:16]


def _apart(layout: tuple[str, ...], here: tuple[str, ...]) -> str:
    """Return where two layouts part, in words."""
    if len(layout) != len(here):
        return f"{len(layout)} features, here {len(here)}"
    return next(f"{old!r}, here {new!r}" for old, new in zip(layout, here, strict=True) if old != new)


def inputs_of(preset: Preset, known: Scenario, training: int | None = None) -> PolicyInput:
    """Return what a preset's policy sees of patients of a scenario, in use or in the training of a seed."""
    part, preference = preset.input, preset.preference
    if isinstance(part, HistoryPart):
        inputs: PolicyInput = HistoryFeatures(known, part.visits)
    else:
        particles = part.particles if training is None else part.training_particles
        inputs = BeliefFeatures(BeliefFilter(known, particles, part.fade))
    if preference is None:
        return inputs
    if training is None:
        return PreferenceInput(inputs, Same())
    return PreferenceInput(inputs, Drawn(preference.share, *preference.range, training))
