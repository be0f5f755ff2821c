"""Hyperparameters as a TOML file, read strictly: an unknown or missing key is an error."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from dosewright.agents.learning.multiplier import MOST
from dosewright.envs import Randomisation, scenario
from dosewright.envs.scenarios import protocol_names
from dosewright.envs.scenarios.scenario import GenotypeMode


@dataclass(frozen=True)
class ScenarioPart:
    """What is trained for."""

    drug: str
    realism: str
    genotype: GenotypeMode


@dataclass(frozen=True)
class BeliefPart:
    """A policy that sees the belief: particles a patient in use and in training, where fewer will do, and
    fading of earlier results."""

    particles: int
    training_particles: int
    fade: float


@dataclass(frozen=True)
class HistoryPart:
    """A policy that sees the observations of so many visits, the present one included."""

    visits: int


@dataclass(frozen=True)
class PolicyPart:
    """How a policy acts and what it is made of.

    `action`: "anchored" or "tablet", as in `LearningVectorEnv`. `hidden`: widths of the layers of actor and
    critic. `critic`: "seen": it sees what the actor sees; "truth": true parameters as well.
    """

    action: Literal["anchored", "tablet"]
    hidden: list[int]
    critic: Literal["seen", "truth"]


@dataclass(frozen=True)
class HarmPart:
    """The constraint: patients with the event that a trial counts, at most `budget` times as many as under
    the anchor, Bayesian monitoring. The price of an event begins at `multiplier` and is learned at `rate`
    (`dosewright.agents.learning.multiplier`); 0 leaves it as it is."""

    budget: float
    multiplier: float
    rate: float

    def __post_init__(self) -> None:
        if self.rate > 0 and self.multiplier == 0:
            raise ValueError(
                f"multiplier = 0 with rate = {self.rate:g}; a price of 0 cannot rise: begin above 0"
            )


@dataclass(frozen=True)
class PreferencePart:
    """A policy that is told the weight w of safety against benefit (`dosewright.agents.learning.preference`):
    an event costs w / (1 − w) times the price that holds the budget. In training a share of the patients has
    a weight drawn evenly from `range`, the others 0.5."""

    share: float
    range: tuple[float, float]

    def __post_init__(self) -> None:
        if not 0 < self.range[0] <= 0.5 <= self.range[1] < 1:
            raise ValueError(f"range = {list(self.range)}; expected 0 < smallest <= 0.5 <= largest < 1")
        if not self.share < 1:
            raise ValueError(f"share = {self.share:g}; expected less than 1: the others tell the price")


@dataclass(frozen=True)
class WarmStartPart:
    """The warm start of `dosewright.agents.learning.counterfactual`: rounds of one visit after the other
    through a whole calendar with so many patients, the first `untrained` of them under the anchor, units of
    the calendar that are scored at least, SD of exploration, and the fit: batch size, steps after each round
    and at the end, learning rate, weight decay."""

    patients: int
    rounds: int
    untrained: int
    ahead: int
    exploration_sd: float
    batch_size: int
    steps_per_round: int
    final_steps: int
    learning_rate: float
    weight_decay: float


@dataclass(frozen=True)
class OnPolicyPart:
    """What the kinds of proximal policy optimisation have in common, as in Stable-Baselines3. An update takes
    whole courses of every environment, and goes through them in so many batches an epoch; the learning rate
    falls linearly."""

    timesteps: int
    environments: int
    courses_per_update: int
    batches: int
    epochs: int
    discount: float
    gae_lambda: float
    learning_rate: float
    learning_rate_end: float
    clip_range: float
    entropy: float


@dataclass(frozen=True)
class PPOPart(OnPolicyPart):
    """Proximal policy optimisation, with two things of our own.

    Exploration is a schedule: the log SD of the action falls from `initial_log_sd` to `final_log_sd`; left to
    itself it collapses long before the policy is good. In the share `critic_first` of the `timesteps`, their
    first part, only the critic learns: its first guesses would undo the warm start.
    """

    critic_first: float
    initial_log_sd: float
    final_log_sd: float


@dataclass(frozen=True)
class RecurrentPPOPart(PPOPart):
    """PPO with an LSTM of so many units before actor and critic (sb3-contrib)."""

    lstm: int


@dataclass(frozen=True)
class MaskablePPOPart(OnPolicyPart):
    """PPO on tablets, of which only those are tried that can be given (sb3-contrib)."""


@dataclass(frozen=True)
class SACPart:
    """Soft actor-critic, as in Stable-Baselines3; `entropy` is the fixed weight of the entropy."""

    timesteps: int
    environments: int
    buffer: int
    learning_starts: int
    steps_per_update: int
    gradient_steps: int
    batch_size: int
    discount: float
    learning_rate: float
    entropy: float


@dataclass(frozen=True)
class TQCPart(SACPart):
    """Truncated quantile critics (sb3-contrib): SAC without the largest of each critic's quantiles."""

    quantiles_dropped: int


@dataclass(frozen=True)
class EvaluationPart:
    """How often, in decision steps, the policy is tried on `select` patients, and on how many."""

    every: int
    patients: int


@dataclass(frozen=True)
class MachinePart:
    """Threads of PyTorch: part of what a run's numbers depend on. The simulator's are not."""

    threads: int


Algorithm = PPOPart | RecurrentPPOPart | MaskablePPOPart | SACPart | TQCPart
ALGORITHMS: dict[str, type[Algorithm]] = {
    "ppo": PPOPart,
    "recurrent_ppo": RecurrentPPOPart,
    "maskable_ppo": MaskablePPOPart,
    "sac": SACPart,
    "tqc": TQCPart,
}
INPUTS: dict[str, type[BeliefPart | HistoryPart]] = {"belief": BeliefPart, "history": HistoryPart}


@dataclass(frozen=True)
class Preset:
    """Everything that decides a training run, apart from its seed.

    A file has a table for every attribute; of the inputs `belief` and `history`, and of the algorithms `ppo`,
    `recurrent_ppo`, `maskable_ppo`, `sac` and `tqc`, exactly one each. `preference`, `randomisation` and
    `warm_start` may be left out.
    """

    scenario: ScenarioPart
    input: BeliefPart | HistoryPart
    policy: PolicyPart
    harm: HarmPart
    preference: PreferencePart | None
    randomisation: Randomisation | None
    warm_start: WarmStartPart | None
    algorithm: Algorithm
    evaluation: EvaluationPart
    machine: MachinePart

    @property
    def tables(self) -> dict[str, Any]:
        """Table of the file -> part."""
        chosen = {"input": INPUTS, "algorithm": ALGORITHMS}
        found = {}
        for item in fields(self):
            part = getattr(self, item.name)
            kinds = chosen.get(item.name)
            name = item.name if kinds is None else next(k for k, kind in kinds.items() if kind is type(part))
            if part is not None:
                found[name] = part
        return found

    @property
    def algorithm_name(self) -> str:
        """Name of the algorithm's table."""
        return next(name for name, kind in ALGORITHMS.items() if kind is type(self.algorithm))

    @classmethod
    def parse(cls, text: str, where: str) -> Preset:
        """Read a preset from TOML text; `where` names it in errors.

        Raises
        ------
        ValueError
            For text that is no TOML, an unknown or missing table or key, a value of another kind or range, or
            parts that do not go together.
        """
        try:
            table = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{where}: no valid TOML: {error}") from None
        return cls.of(table, where)

    @classmethod
    def of(cls, table: dict[str, Any], where: str) -> Preset:
        """Return the preset of tables as a file has them; errors as in `parse`."""
        hints = {name: hint for name, hint in get_type_hints(cls).items() if isinstance(hint, type)}
        optional = {"preference": PreferencePart, "randomisation": Randomisation, "warm_start": WarmStartPart}
        _known_keys(where, table, [*hints, *optional, *INPUTS, *ALGORITHMS])
        parts = {name: _part(f"{where}, [{name}]", kind, table[name]) for name, kind in
                 _required(where, table, hints).items()}  # fmt: skip
        for name, kind in optional.items():
            parts[name] = _part(f"{where}, [{name}]", kind, table[name]) if name in table else None
        for name, kinds in (("input", INPUTS), ("algorithm", ALGORITHMS)):
            chosen = _one_of(where, table, list(kinds))
            parts[name] = _part(f"{where}, [{chosen}]", kinds[chosen], table[chosen])
        made = cls(**parts)
        made._check(where)
        return made

    def _check(self, where: str) -> None:
        """Refuse a scenario that is not known, and parts that do not go together."""
        try:
            scenario(self.scenario.drug).preset(self.scenario.realism)
        except ValueError as error:
            raise ValueError(f"{where}, [scenario]: {error}") from None
        tablets = isinstance(self.algorithm, MaskablePPOPart)
        if tablets != (self.policy.action == "tablet"):
            raise ValueError(
                f"{where}: action {self.policy.action!r} with [{self.algorithm_name}]; maskable_ppo takes "
                "'tablet', every other algorithm 'anchored'"
            )
        plain = type(self.algorithm) is PPOPart
        if self.policy.critic == "truth" and not plain:
            raise ValueError(f"{where}: critic 'truth' with [{self.algorithm_name}]; only ppo has that")
        anchored = isinstance(self.input, BeliefPart) and self.policy.action == "anchored"
        if self.harm.rate > 0 and not (plain and anchored):
            raise ValueError(
                f"{where}, [harm]: rate = {self.harm.rate:g}; a price is learned by [ppo] that departs from "
                "Bayesian monitoring ([belief], action 'anchored'), elsewhere it is not known how much "
                "exploring harms by itself: give 0"
            )
        if self.harm.rate > 0 and self.randomisation is not None and self.randomisation.share == 1:
            raise ValueError(
                f"{where}, [randomisation]: share = 1 with [harm] rate = {self.harm.rate:g}; the price is "
                "learned from the patients of the preset's own world, of whom there are none: give a smaller "
                "share, or rate = 0"
            )
        if self.warm_start is not None and not (plain and isinstance(self.input, BeliefPart)):
            raise ValueError(f"{where}: [warm_start] needs [belief] and [ppo]; leave it out")
        if self.warm_start is not None and self.warm_start.untrained >= self.warm_start.rounds:
            raise ValueError(
                f"{where}, [warm_start]: untrained = {self.warm_start.untrained}; expected fewer than the "
                f"rounds, {self.warm_start.rounds}"
            )

    @classmethod
    def shipped(cls, name: str) -> Preset:
        """Read the preset that ships under `name`: a drug, or ``<drug>-<variant>``.

        A variant is the drug's preset with some tables left out, and some keys or tables added or changed; it
        is the same for every drug. A published protocol for a drug, such as ``warfarin-anzabi-zadeh``, stands
        in the drug's place; its patients do not drift, so its preset is the drug's textbook one, with what
        ``presets/protocols/`` changes for names that begin like the file's.

        Raises
        ------
        ValueError
            For an unknown name; it lists the known ones.
        """
        protocols = [item for item in protocol_names() if f"{name}-".startswith(f"{item}-")]
        known = max(protocols, key=len, default=name.partition("-")[0])
        variant = name.removeprefix(known).removeprefix("-")
        drug, drugs, variants = known.partition("-")[0], _files("presets"), _files("presets.variants")
        if drug not in drugs or (variant and variant not in variants):
            raise ValueError(
                f"unknown preset {name!r}; known: {', '.join([*drugs, *protocol_names()])}, each also with "
                f"-{', -'.join(variants)}, or a path to a .toml file"
            )
        preset = cls.parse(drugs[drug].read_text(), f"preset {drug}")
        tables = {name: _as_table(part) for name, part in preset.tables.items()}
        changes_of = [variants["textbook"]] if known != drug else []
        changes_of += [item for name, item in _files("presets.protocols").items() if known.startswith(name)]
        changes_of += [variants[variant]] if variant else []
        overlays = [{"scenario": {"drug": known}}, *(tomllib.loads(item.read_text()) for item in changes_of)]
        for changes in overlays:
            for table in changes.pop("without", []):
                tables.pop(table, None)
            for table, keys in changes.items():
                tables[table] = {**tables.get(table, {}), **keys}
        return cls.of(tables, f"preset {name}")

    def changed(self, timesteps: int | None = None, realism: str | None = None) -> Preset:
        """Return the preset with what the command line gave in its place; None leaves it."""
        algorithm = self.algorithm if timesteps is None else replace(self.algorithm, timesteps=timesteps)
        part = self.scenario if realism is None else replace(self.scenario, realism=realism)
        return replace(self, algorithm=algorithm, scenario=part)

    def differences(self, other: Preset) -> list[str]:
        """Return where the preset is not the other one, table by table: "no ppo", "sac" or
        "harm budget 0.8"."""
        ours, theirs = ({name: _as_table(part) for name, part in it.tables.items()} for it in (self, other))
        found = [f"no {name}" for name in theirs if name not in ours]
        found += [name for name in ours if name not in theirs]
        both = [name for name in ours if name in theirs]
        return found + [
            f"{name} {key} {value}"
            for name in both
            for key, value in ours[name].items()
            if theirs[name][key] != value
        ]

    def text(self) -> str:
        """Return the preset as TOML."""
        lines = []
        for name, part in self.tables.items():
            lines.append(f"[{name}]")
            lines += [f"{key} = {_toml(value)}" for key, value in _as_table(part).items()]
            lines.append("")
        return "\n".join(lines)


def read_preset(name_or_path: str) -> Preset:
    """Return the preset of a shipped name, or of a TOML file."""
    if name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        if not path.is_file():
            raise ValueError(f"preset {path}: file not found")
        return Preset.parse(read_text(path, f"preset {path}", "save it as that"), str(path))
    return Preset.shipped(name_or_path)


def preset_for(drug: str, name_or_path: str) -> Preset:
    """Return the preset of a shipped name, or of a TOML file, for a drug; one of another drug is refused."""
    preset = read_preset(name_or_path)
    if preset.scenario.drug != drug:
        raise ValueError(
            f"preset {name_or_path}, [scenario]: drug = {preset.scenario.drug!r}, asked for {drug}; name the "
            f"drug of the preset, or a preset such as {drug}-sac"
        )
    return preset


def read_text(file: Path, what: str, remedy: str) -> str:
    """Return a text; `what` the file is and the `remedy` stand in the error.

    Raises
    ------
    ValueError
        For a file that is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{what}: no text in UTF-8 ({error}); {remedy}") from None


def _as_table(part: Any) -> dict[str, Any]:
    return {
        item.name: list(value) if isinstance(value := getattr(part, item.name), tuple) else value
        for item in fields(part)
    }


def _files(package: str) -> dict[str, Traversable]:
    folder = files(f"dosewright.agents.learning.{package}")
    found = {
        item.name.removesuffix(".toml"): item for item in folder.iterdir() if item.name.endswith(".toml")
    }
    return dict(sorted(found.items()))


def _part(where: str, kind: Any, table: Any) -> Any:
    if not isinstance(table, dict):
        raise ValueError(f"{where}: expected a table")
    hints = get_type_hints(kind)
    _known_keys(where, table, list(hints))
    values = {name: _value(where, name, hint, table[name]) for name, hint in
              _required(where, table, hints).items()}  # fmt: skip
    try:
        return kind(**values)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _value(where: str, name: str, hint: Any, value: Any) -> Any:
    """Return a value of the file as the part has it."""
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            raise ValueError(f"{where}: {name} = {value!r}; known: {', '.join(get_args(hint))}")
        return value
    if get_origin(hint) is tuple:
        pair = isinstance(value, list) and len(value) == 2
        if not pair or not all(
            isinstance(item, int | float) and not isinstance(item, bool) for item in value
        ):
            raise ValueError(f"{where}: {name} = {value!r}; expected two numbers, [smallest, largest]")
        return tuple(float(item) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if hint == list[int]:
        if not isinstance(value, list) or not all(type(item) is int and item >= 1 for item in value):
            raise ValueError(f"{where}: {name} = {value!r}; expected whole numbers from 1, such as [64, 64]")
        return value
    expected = hint if hint in (float, int) else str
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ValueError(f"{where}: {name} = {value!r}; expected {expected.__name__}")
    if not isinstance(value, str):
        _check_range(where, name, hint, value)
    return value


def _check_range(where: str, name: str, hint: Any, value: float) -> None:
    least, most = _LEAST.get(name, 1 if hint is int else 0.0), _MOST.get(name, math.inf)
    if not (least <= value <= most and math.isfinite(value)):
        above = "a finite number" if math.isinf(least) else f"at least {least:g}"
        raise ValueError(
            f"{where}: {name} = {value!r}; expected {above}"
            + (f" and at most {most:g}" if most < math.inf else "" if math.isfinite(value) else ", finite")
        )


# Smallest values; 1 for other whole numbers, 0 for other decimals
_LEAST = {
    "ahead": 0, "steps_per_round": 0, "final_steps": 0, "batch_size": 2, "learning_starts": 0,
    "quantiles_dropped": 0, "initial_log_sd": -math.inf, "final_log_sd": -math.inf, "clip_range": 1e-6,
}  # fmt: skip
# Largest values
_MOST = {
    "fade": 1.0, "discount": 1.0, "gae_lambda": 1.0, "critic_first": 1.0,
    "learning_rate": 1.0, "learning_rate_end": 1.0, "multiplier": MOST,
    "quantiles_dropped": 24,  # of the 25 that a critic of TQC has
}  # fmt: skip


def _known_keys(where: str, table: dict[str, Any], known: list[str]) -> None:
    for name in table:
        if name not in known:
            raise ValueError(f"{where}: unknown key {name!r}; known: {', '.join(known)}")


def _required(where: str, table: dict[str, Any], hints: dict[str, Any]) -> dict[str, Any]:
    for name in hints:
        if name not in table:
            raise ValueError(f"{where}: {name} is missing")
    return hints


def _one_of(where: str, table: dict[str, Any], names: list[str]) -> str:
    there = [name for name in names if name in table]
    if len(there) != 1:
        found = " and ".join(there) or "none"
        raise ValueError(f"{where}: {found} of [{'], ['.join(names)}] given; expected exactly one")
    return there[0]


def _toml(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
