"""How much a patient, or who treats him, prefers safety to benefit: told to one policy, which doses by it.

A policy for one price of harm is one point of the trade between benefit and harm. A policy that is told the
price learns all of them at once (Abels, Roijers, Lenaerts, Nowe and Steckelmacher, Dynamic weights in
multi-objective deep reinforcement learning, ICML 2019): the price joins its features, and every patient that
it learns from has one of his own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.learning.inputs import PolicyInput

BALANCED = 0.5  # the weight at which the price of harm is what holds the budget
NAME = "preference for safety"

Floats = NDArray[np.float64]


def odds(weight: Floats) -> Floats:
    """Return by what the price of harm is multiplied at weights of safety between 0 and 1: w of harm against
    1 − w of benefit, 1 at `BALANCED`."""
    return weight / (1.0 - weight)


@dataclass(frozen=True)
class Preferring:
    """What an input remembers of n patients, and the weight (n,) that safety has for each."""

    memory: Any
    weight: Floats

    def select(self, rows: NDArray[np.int64]) -> Preferring:
        """Return the memory of some patients."""
        return Preferring(self.memory.select(rows), self.weight[rows])

    def replace_rows(self, rows: NDArray[np.int64], other: Preferring) -> Preferring:
        """Return this memory with `rows` taken from `other`, in order."""
        weight = self.weight.copy()
        weight[rows] = other.weight
        return Preferring(self.memory.replace_rows(rows, other.memory), weight)


@dataclass
class PreferenceInput:
    """Another input, and after its features the weight that safety has.

    Attributes
    ----------
    inner
        What is seen besides.
    weights
        Called with a number of new patients: their weights (n,). A policy in use has one for everybody.
    """

    inner: PolicyInput
    weights: Callable[[int], Floats]
    names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.scenario, self.names = self.inner.scenario, (*self.inner.names, NAME)

    def update(
        self,
        memory: Preferring | None,
        observation: NDArray[np.float32],
        episode_start: NDArray[np.bool_] | None = None,
    ) -> Preferring:
        """Return what is remembered after a visit; a patient keeps his weight until his last one."""
        inner = self.inner.update(None if memory is None else memory.memory, observation, episode_start)
        if memory is None:
            return Preferring(inner, self.weights(len(observation)))
        weight = memory.weight
        if episode_start is not None and episode_start.any():
            weight = weight.copy()
            weight[episode_start] = self.weights(int(episode_start.sum()))
        return Preferring(inner, weight)

    def __call__(
        self, memory: Preferring, observation: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], Floats]:
        """Return the features (n, f) and the anchor (n,)."""
        features, anchor = self.inner(memory.memory, observation)
        return np.concatenate([features, memory.weight[:, None].astype(np.float32)], axis=1), anchor


@dataclass(frozen=True)
class Same:
    """One weight for everybody."""

    weight: float = BALANCED

    def __call__(self, n: int) -> Floats:
        """Return the weights (n,)."""
        return np.full(n, self.weight)


@contextmanager
def balanced(inputs: PolicyInput) -> Iterator[None]:
    """Within it, new patients have the weight `BALANCED`."""
    if not isinstance(inputs, PreferenceInput):
        yield
        return
    usual, inputs.weights = inputs.weights, Same()
    try:
        yield
    finally:
        inputs.weights = usual


def weight_of(memory: Any, n: int) -> Floats:
    """Return the weight (n,) of safety of patients by what is remembered of them; `BALANCED` where a policy
    is not told."""
    return memory.weight if isinstance(memory, Preferring) else np.full(n, BALANCED)


class Drawn:
    """Weights of patients to learn from: a share of them drawn evenly from a range, the others `BALANCED`.

    Parameters
    ----------
    share
        Of the patients.
    least, most
        The range.
    seed
        Of the draws.
    """

    def __init__(self, share: float, least: float, most: float, seed: int) -> None:
        self.share, self.least, self.most = share, least, most
        self._rng = np.random.default_rng(seed)

    def __call__(self, n: int) -> Floats:
        """Return the weights (n,)."""
        u = self._rng.uniform(size=(n, 2))
        return np.where(u[:, 0] < self.share, self.least + (self.most - self.least) * u[:, 1], BALANCED)
