"""Kernels from generated source, cached on disk as those of a source file are."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numba import config, types
from numba.misc.appdirs import AppDirs

from dosewright.envs.pharmacology.compilation import compiled
from dosewright.envs.pharmacology.model import Floats
from dosewright.envs.pharmacology.solvers.signatures import MATRIX

HEAD = """# Made by dosewright from the equations of a population model; it may be deleted.
import math"""
"""First lines of generated source."""


@dataclass(frozen=True, eq=False)
class Kernels:
    """Generated functions: those for one patient as they are, those for rows of `theta` compiled when they
    are first called."""

    label: str
    scope: Mapping[str, Any]
    states: int

    @property
    def rates(self) -> Callable[..., Any]:
        return self.scope["rates"]

    @property
    def rhs(self) -> Callable[..., Any]:
        return self.scope["rhs"]

    @property
    def observe(self) -> Callable[..., Any]:
        return self.scope["observe"]

    @cached_property
    def _combine(self) -> Callable[[Floats], None]:
        return compiled(self.scope["combine"], types.void(MATRIX), label=self.label)

    @cached_property
    def _initial(self) -> Callable[[Floats, Floats], None]:
        return compiled(self.scope["initial"], types.void(MATRIX, MATRIX), label=self.label)

    def combine(self, theta: Floats) -> Floats:
        """Return `theta` (n, p) with the parameters computed anew from its other columns."""
        made = np.array(theta, dtype=np.float64, order="C")
        self._combine(made)
        return made

    def initial(self, theta: Floats) -> Floats:
        """Return the states (n, s) before the first dose."""
        out = np.zeros((len(theta), self.states))
        self._initial(np.ascontiguousarray(theta, dtype=np.float64), out)
        return out


def function(name: str, arguments: str, body: Sequence[str]) -> list[str]:
    """Return the lines of a function definition."""
    return ["", "", f"def {name}({arguments}):", *(f"    {line}" for line in body or ["pass"])]


def load(source: str) -> dict[str, Any]:
    """Return the functions of generated source, written to a file of its own.

    The file is named by its content: `compilation.kernel` hashes it into the key of the cache, and no file is
    ever the source of two different kernels. So are the functions, since compiled code is linked by name.
    """
    digest = hashlib.sha256(source.encode()).hexdigest()[:32]
    file = _folder() / f"{digest}.py"
    if not file.is_file() or file.read_text(encoding="utf-8") != source:
        _write(file, source)
    scope = define(source, str(file))
    for name, item in scope.items():
        if callable(item):
            item.__qualname__ = f"{name}_{digest}"
    return scope


def define(source: str, file: str) -> dict[str, Any]:
    """Run the definitions of generated source; what was read from people is not in it but as checked
    arithmetic on array elements."""
    # numba imports the module of a cached function when it loads it
    scope: dict[str, Any] = {"__name__": __name__}
    exec(compile(source, file, "exec"), scope)
    return scope


def _write(file: Path, source: str) -> None:
    """Write a file at once, so that no other process reads half of it."""
    with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=file.parent, delete=False) as part:
        part.write(source)
    os.replace(part.name, file)


@cache
def _folder() -> Path:
    """Folder of generated sources: in numba's folder of caches where one is set, else in the user's, else in
    one that lasts as long as this process."""
    chosen = (
        Path(getattr(config, "CACHE_DIR", "") or AppDirs("dosewright", appauthor=False).user_cache_dir)
        / "equations"
    )
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=chosen):
            return chosen
    except OSError:
        return Path(tempfile.mkdtemp(prefix="dosewright-"))
