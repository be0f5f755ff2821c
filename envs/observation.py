"""What a clinician knows at a visit, as a vector, and back.

The vector holds clinical units, so that a nomogram and a person can read it; learning scales it with `centre`
and `spread`. An entry that can be missing is a pair: its value, and whether it is known. Unknown is the
entry's neutral value with 0 behind it (a NaN would fail both environment checkers); `decode` gives it back as
missing (NaN).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class Entry:
    """One thing a clinician may know.

    Attributes
    ----------
    name, unit
        Name and clinical unit ("1": none).
    low, high
        Range of the vector's value; values outside are refused by `ObservationSpec.encode`.
    neutral
        Value that stands in the vector when the entry is missing; None for what is always known.
    meaning
        One sentence for the environment's page.
    """

    name: str
    unit: str
    low: float
    high: float
    neutral: float | None = None
    meaning: str = ""


@dataclass(frozen=True)
class ObservationSpec:
    """Layout of an observation vector.

    Attributes
    ----------
    entries
        In the order of the vector.
    """

    entries: tuple[Entry, ...]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Name of every column; the known flag of ``x`` is called ``x_known``."""
        return tuple(name for entry in self.entries for name in _columns(entry))

    @cached_property
    def units(self) -> tuple[str, ...]:
        """Unit of every column."""
        return tuple(unit for entry in self.entries for unit in (entry.unit, "1")[: len(_columns(entry))])

    @cached_property
    def low(self) -> NDArray[np.float32]:
        """Lower bound of every column."""
        return np.array([v for e in self.entries for v in (e.low, 0.0)[: len(_columns(e))]], dtype=np.float32)

    @cached_property
    def high(self) -> NDArray[np.float32]:
        """Upper bound of every column."""
        return np.array(
            [v for e in self.entries for v in (e.high, 1.0)[: len(_columns(e))]], dtype=np.float32
        )

    @cached_property
    def _position(self) -> dict[str, tuple[int, Entry]]:
        column, where = 0, {}
        for entry in self.entries:
            where[entry.name] = (column, entry)
            column += len(_columns(entry))
        return where

    def write(self, vector: NDArray[np.float32], name: str, values: ArrayLike) -> None:
        """Put `values` (n,), in clinical units and NaN where missing, into their columns of `vector` (n, k).

        Raises
        ------
        ValueError
            For a missing value of an entry that is always known, or one outside the entry's range.
        """
        column, entry = self._locate(name)
        value = np.broadcast_to(np.asarray(values, dtype=np.float64), len(vector))
        known = ~np.isnan(value)
        if not known.all():
            if entry.neutral is None:
                raise ValueError(
                    f"patient {int(np.argmin(known))}: {name} is missing; it has no 'unknown' form"
                )
            value = np.where(known, value, entry.neutral)
        bad = (value < entry.low) | (value > entry.high)
        if bad.any():
            row = int(np.argmax(bad))
            raise ValueError(
                f"patient {row}: {name} = {value[row]:g} {entry.unit}; "
                f"allowed {entry.low:g} to {entry.high:g}"
            )
        vector[:, column] = value
        if entry.neutral is not None:
            vector[:, column + 1] = known

    def write_all(
        self, vector: NDArray[np.float32], names: tuple[str, ...], values: NDArray[np.float64]
    ) -> None:
        """Write several entries at once, like `write` but quicker; `values` (n, e) has a column a name."""
        columns, shown, neutral, low, high = self._layout(names)
        missing = np.isnan(values)
        filled = np.where(missing, neutral, values)
        if not np.all(
            (filled >= low) & (filled <= high)
        ):  # an entry that is always known has no neutral value
            for i, name in enumerate(names):
                self.write(vector, name, values[:, i])
        vector[:, columns] = filled
        flags = shown >= 0
        vector[:, shown[flags]] = ~missing[:, flags]

    @cache  # noqa: B019, there is one layout a scenario
    def _layout(self, names: tuple[str, ...]) -> tuple[NDArray[Any], ...]:
        """Columns of the values and of their flags (-1: none), neutral values, and ranges."""
        found = [self._locate(name) for name in names]
        return (
            np.array([column for column, _ in found]),
            np.array([-1 if entry.neutral is None else column + 1 for column, entry in found]),
            np.array([np.nan if entry.neutral is None else entry.neutral for _, entry in found]),
            np.array([entry.low for _, entry in found]),
            np.array([entry.high for _, entry in found]),
        )

    def read(self, observation: ArrayLike, name: str) -> NDArray[np.float64]:
        """Return one entry (n,) of `observation` (n, k) in clinical units, NaN where it is not known."""
        column, entry = self._locate(name)
        vector = np.asarray(observation)
        value = vector[..., column].astype(np.float64)
        return value if entry.neutral is None else np.where(vector[..., column + 1] > 0.5, value, np.nan)

    def encode(self, values: Mapping[str, ArrayLike]) -> NDArray[np.float32]:
        """Return the (n, k) vector of `values`: entry name to (n,) clinical values, NaN where missing.

        Every entry must be given, and nothing else.
        """
        if set(values) != set(self._position):
            odd = sorted(set(values) ^ set(self._position))
            raise ValueError(
                f"entries that do not match: {', '.join(odd)}; expected {', '.join(self._position)}"
            )
        n = max(np.size(value) for value in values.values())
        vector = np.empty((n, len(self.names)), dtype=np.float32)
        for name, value in values.items():
            self.write(vector, name, value)
        return vector

    def decode(self, observation: ArrayLike) -> dict[str, NDArray[np.float64]]:
        """Return every entry of `observation` (n, k) in clinical units, NaN where it is not known."""
        return {name: self.read(observation, name) for name in self._position}

    def _locate(self, name: str) -> tuple[int, Entry]:
        try:
            return self._position[name]
        except KeyError:
            raise ValueError(
                f"unknown observation entry {name!r}; known: {', '.join(self._position)}"
            ) from None


def _columns(entry: Entry) -> Sequence[str]:
    return (entry.name,) if entry.neutral is None else (entry.name, f"{entry.name}_known")
