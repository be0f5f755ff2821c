"""What a sweep varies: keys of a preset and what each may be, as a TOML file, read strictly.

A file has a table for every key, ``[ppo.learning_rate]``, with ``low`` and ``high``, and ``log = true`` where
the range is to be searched on the log scale, or else with ``choices``.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from itertools import combinations, product
from pathlib import Path
from typing import Any

from dosewright.agents.learning.preset import Preset, read_text

# What makes trials comparable: the patients, how often they are asked, the machine
_SAME_IN_ALL = ("scenario", "evaluation", "machine")


@dataclass(frozen=True)
class Range:
    """Every number from `low` to `high`, both included; whole ones if both are. `log`: on the log scale."""

    low: float
    high: float
    log: bool

    @property
    def extremes(self) -> tuple[Any, ...]:
        """The ends of the range."""
        return self.low, self.high

    def __str__(self) -> str:
        return f"{self.low} to {self.high}" + (", log" if self.log else "")


@dataclass(frozen=True)
class Choices:
    """One of several values of any kind."""

    values: tuple[Any, ...]

    @property
    def extremes(self) -> tuple[Any, ...]:
        """All values: they have no order."""
        return self.values

    def __str__(self) -> str:
        return ", ".join(map(str, self.values))


@dataclass(frozen=True)
class SearchSpace:
    """Keys of a preset, such as ``ppo.learning_rate``, and what each may be; in alphabetical order, so that
    the order of a file changes no draw."""

    axes: Mapping[str, Range | Choices]

    @classmethod
    def read(cls, path: str | Path | None, preset: Preset) -> SearchSpace:
        """Read the space of a file; None: the one that ships, less the warm start where the preset has none,
        and less the learning of the price where that is fixed.

        Errors as in `parse`, and for a file that is not there or no text in UTF-8.
        """
        if path is None:
            shipped = files("dosewright.agents.learning.sweeps") / "default.toml"
            tables = tomllib.loads(shipped.read_text())
            if preset.warm_start is None:
                del tables["warm_start"]
            if preset.harm.rate == 0:
                del tables["harm"]
            return cls._of(tables, "the shipped search space", preset)
        if not Path(path).is_file():
            raise ValueError(f"search space {path}: file not found")
        where = f"search space {path}"
        return cls.parse(read_text(Path(path), where, "save it as that"), where, preset)

    @classmethod
    def parse(cls, text: str, where: str, preset: Preset) -> SearchSpace:
        """Read a space for `preset` from TOML text; `where` names it in errors.

        Raises
        ------
        ValueError
            For text that is no TOML, a key that the preset does not have or that must be the same in all
            trials, a range that is none, and values that the preset refuses, alone or two of them together.
        """
        try:
            tables = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ValueError(f"{where}: no valid TOML: {error}") from None
        return cls._of(tables, where, preset)

    @classmethod
    def _of(cls, tables: dict[str, Any], where: str, preset: Preset) -> SearchSpace:
        known = tomllib.loads(preset.text())
        axes = {}
        for table, keys in sorted(tables.items()):
            _check_table(where, table, keys, known)
            for key, entry in sorted(keys.items()):
                _check_key(where, table, key, known[table])
                axes[f"{table}.{key}"] = _axis(f"{where}, [{table}.{key}]", entry)
        if not axes:
            raise ValueError(
                f"{where}: empty; expected tables such as [{preset.algorithm_name}.learning_rate]"
            )
        axes = {key: _like_the_preset(key, axis, preset, where) for key, axis in axes.items()}
        # no rule of a preset ties more than two keys
        for (one, first), (other, second) in combinations(axes.items(), 2):
            for a, b in product(first.extremes, second.extremes):
                changed(preset, {one: a, other: b}, f"{where}, {one} = {a!r} with {other} = {b!r}")
        return cls(axes)

    def described(self) -> dict[str, str]:
        """Return the space in words, key by key."""
        return {key: str(axis) for key, axis in self.axes.items()}


def changed(preset: Preset, values: Mapping[str, Any], where: str) -> Preset:
    """Return a preset with other values at keys such as ``ppo.learning_rate``; `where` names them in errors.

    Raises
    ------
    ValueError
        For values that the preset refuses.
    """
    tables = tomllib.loads(preset.text())
    for name, value in values.items():
        table, _, key = name.partition(".")
        tables[table][key] = value
    return Preset.of(tables, where)


def _check_table(where: str, table: str, keys: Any, known: Mapping[str, Any]) -> None:
    if table not in known:
        raise ValueError(
            f"{where}: the preset has no table [{table}]; it has {', '.join(known)}; name a space for this "
            "preset with --space"
        )
    if table in _SAME_IN_ALL:
        raise ValueError(f"{where}: [{table}] must be the same in all trials; change the base preset instead")
    if not isinstance(keys, dict):
        raise ValueError(f"{where}: {table} = {keys!r}; expected a table for a key, [{table}.key]")


def _check_key(where: str, table: str, key: str, known: Mapping[str, Any]) -> None:
    if key not in known:
        raise ValueError(f"{where}: [{table}] of the preset has no {key!r}; it has {', '.join(known)}")
    if key == "timesteps":
        raise ValueError(
            f"{where}: [{table}.timesteps] must be the same in all trials; give it as --timesteps, or change "
            "the base preset"
        )


def _axis(where: str, entry: Any) -> Range | Choices:
    if not isinstance(entry, dict) or set(entry) not in (
        {"choices"},
        {"low", "high"},
        {"low", "high", "log"},
    ):
        raise ValueError(f"{where}: {entry!r}; expected low and high, and log if wanted, or choices")
    if "choices" in entry:
        values = entry["choices"]
        if not isinstance(values, list) or len(values) < 2:
            raise ValueError(f"{where}: choices = {values!r}; expected a list of at least two")
        return Choices(tuple(values))
    low, high, log = entry["low"], entry["high"], entry.get("log", False)
    numbers = all(type(end) in (int, float) and math.isfinite(end) for end in (low, high))
    if not numbers or not low < high:
        raise ValueError(f"{where}: low = {low!r}, high = {high!r}; expected numbers, the smaller first")
    if not isinstance(log, bool) or (log and low <= 0):
        raise ValueError(f"{where}: log = {log!r}, low = {low!r}; expected true with a low above 0, or false")
    return Range(low, high, log)


def _like_the_preset(key: str, axis: Range | Choices, preset: Preset, where: str) -> Range | Choices:
    """Return an axis whose ends are of the kind that the preset has at the key; refuse what it refuses."""
    table, _, name = key.partition(".")
    made = [
        tomllib.loads(changed(preset, {key: value}, f"{where}, {key} = {value!r}").text())[table][name]
        for value in axis.extremes
    ]
    if isinstance(axis, Range):
        return Range(made[0], made[1], axis.log)
    if len(set(map(str, made))) < len(made):
        raise ValueError(f"{where}, [{key}]: choices = {list(axis.values)!r}; expected each once")
    return Choices(tuple(made))
