"""Hyperparameters as a TOML file, read strictly: an unknown or missing key is an error."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, get_type_hints

from dosewright.envs.scenarios.scenario import GenotypeMode


@dataclass(frozen=True)
class ScenarioPart:
    """What is trained for."""

    drug: str
    realism: str
    genotype: GenotypeMode


@dataclass(frozen=True)
class BeliefPart:
    """The belief the policy sees: particles a patient, and fading of earlier results."""

    particles: int
    fade: float


@dataclass(frozen=True)
class WarmStartPart:
    """The warm start of `dosewright.agents.learning.counterfactual`: rounds of one visit after the other
    through a whole calendar, days scored at least, weight of a patient's first harm, SD of exploration, and
    the fit: batch size, steps after each round and at the end, learning rate. 0 rounds leave it out."""

    rounds: int
    ahead_days: int
    first_harm_weight: float
    exploration_sd: float
    batch_size: int
    steps_per_round: int
    final_steps: int
    learning_rate: float


@dataclass(frozen=True)
class PPOPart:
    """Proximal policy optimisation, as in Stable-Baselines3, except for two things.

    Exploration is a schedule: the log SD of the action falls from `initial_log_sd` to `final_log_sd`; left to
    itself it collapses long before the policy is good. In the share `critic_first` of the `timesteps`, their
    first part, only the critic learns: its first guesses would undo the warm start. `first_harm_weight` is
    that of `BeliefVectorEnv`.
    """

    timesteps: int
    critic_first: float
    environments: int
    steps_per_update: int
    batch_size: int
    epochs: int
    discount: float
    gae_lambda: float
    learning_rate: float
    learning_rate_end: float
    clip_range: float
    entropy: float
    initial_log_sd: float
    final_log_sd: float
    hidden: list[int]
    first_harm_weight: float


@dataclass(frozen=True)
class EvaluationPart:
    """How often the policy is tried on `select` patients, and on how many."""

    every_updates: int
    patients: int


@dataclass(frozen=True)
class Preset:
    """Everything that decides a training run, apart from its seed."""

    scenario: ScenarioPart
    belief: BeliefPart
    warm_start: WarmStartPart
    ppo: PPOPart
    evaluation: EvaluationPart

    @classmethod
    def parse(cls, text: str, where: str) -> Preset:
        """Read a preset from TOML text; `where` names it in errors."""
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{where}: no valid TOML: {error}") from None
        parts = get_type_hints(cls)
        _same_keys(where, table, parts)
        return cls(**{name: _part(f"{where}, [{name}]", kind, table[name]) for name, kind in parts.items()})

    @classmethod
    def shipped(cls, name: str) -> Preset:
        """Read the preset that ships under `name`, a drug or ``<drug>-<variant>``; an unknown name lists the
        known ones."""
        known = _shipped()
        if name not in known:
            raise ValueError(f"unknown preset {name!r}; known: {', '.join(known)}, or a path to a .toml file")
        return cls.parse(known[name].read_text(), f"preset {name}")

    def changed(self, timesteps: int | None = None, realism: str | None = None) -> Preset:
        """Return the preset with what the command line gave in its place; None leaves it."""
        ppo = self.ppo if timesteps is None else replace(self.ppo, timesteps=timesteps)
        part = self.scenario if realism is None else replace(self.scenario, realism=realism)
        return replace(self, ppo=ppo, scenario=part)

    def text(self) -> str:
        """Return the preset as TOML."""
        lines = []
        for part in fields(self):
            lines.append(f"[{part.name}]")
            values = getattr(self, part.name)
            lines += [f"{item.name} = {_toml(getattr(values, item.name))}" for item in fields(values)]
            lines.append("")
        return "\n".join(lines)


def preset_name(drug: str, realism: str | None = None) -> str:
    """Return the name of the shipped preset for a drug: ``<drug>-<realism>`` where there is one, else the
    drug's."""
    special = f"{drug}-{realism}"
    return special if special in _shipped() else drug


def read_preset(name_or_path: str) -> Preset:
    """Return the preset of a shipped name, or of a TOML file."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"preset {path}: file not found")
        return Preset.parse(path.read_text(), str(path))
    return Preset.shipped(name_or_path)


def _shipped() -> dict[str, Traversable]:
    folder = files("dosewright.agents.learning.presets")
    found = {
        item.name.removesuffix(".toml"): item for item in folder.iterdir() if item.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def _part(where: str, kind: Any, table: Any) -> Any:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table")
    hints = get_type_hints(kind)
    _same_keys(where, table, hints)
    values = {}
    for name, hint in hints.items():
        value = table[name]
        if hint is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        expected = {float: float, int: int, list[int]: list}.get(hint, str)
        if not isinstance(value, expected) or isinstance(value, bool):
            raise ValueError(f"{where}: {name} = {value!r}; expected {getattr(hint, '__name__', hint)}")
        least = _LEAST.get(name, 1 if hint is int else 0.0)
        if hint in (int, float) and not value >= least:
            raise ValueError(f"{where}: {name} = {value!r}; expected at least {least:g}")
        values[name] = value
    return kind(**values)


# Smallest values; 1 for other whole numbers, 0 for other decimals
_LEAST = {
    "rounds": 0, "ahead_days": 0, "steps_per_round": 0, "final_steps": 0, "batch_size": 2,
    "initial_log_sd": -math.inf, "final_log_sd": -math.inf,
}  # fmt: skip


def _same_keys(where: str, table: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in table:
        if name not in expected:
            raise ValueError(f"{where}: unknown key {name!r}; known: {', '.join(expected)}")
    for name in expected:
        if name not in table:
            raise ValueError(f"{where}: {name} is missing")


def _toml(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value}"'
    return str(value)
