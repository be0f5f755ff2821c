"""A regimen whose doses are moved at random on the grid, each with a known probability.

It is what makes logs that can be evaluated off-policy: a clinician who wants what a regimen wants and does
not always give it. It is also how served doses are randomised between neighbouring tablets, and as such a
target like any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from dosewright.agents.regimens.draws import visit_uniforms
from dosewright.envs import DrawKeys, Regimen, Scenario, StochasticRegimen
from dosewright.envs.scenarios.dosing import DoseGrid

Floats = NDArray[np.float64]


class DoseNoise(Protocol):
    """How an advised dose is moved."""

    def table(self, grid: DoseGrid) -> Floats:
        """Return (A, A) the probability of giving each of the grid's A doses (column) for one advised (row).

        Rows sum to 1. An advised dose of 0 is given as it is: withholding a drug is not a matter of degree.
        """
        ...


@dataclass(frozen=True)
class Steps:
    """The dose is moved by whole steps of the grid.

    What would leave the grid is given at its end: the cap above, no dose below.

    Attributes
    ----------
    probabilities
        Steps, as a whole number -> probability above 0, with sum 1. By default the dose stays with 0.8, and
        is one step lower or higher with 0.1 each.

    Raises
    ------
    ValueError
        For probabilities that are none, or a part of a step.
    """

    probabilities: Mapping[int, float] = field(default_factory=lambda: {-1: 0.1, 0: 0.8, 1: 0.1})

    def __post_init__(self) -> None:
        chances, total = list(self.probabilities.values()), math.fsum(self.probabilities.values())
        if not all(chance > 0 for chance in chances) or not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(
                f"probabilities {dict(self.probabilities)} with sum {total:g}; expected numbers above 0 with "
                "sum 1"
            )
        parts = [step for step in self.probabilities if step != int(step)]
        if parts:
            raise ValueError(f"step {parts[0]}; expected whole steps of the grid, such as -1, 0 and 1")

    def table(self, grid: DoseGrid) -> Floats:
        """As `DoseNoise.table`."""
        size = len(grid.doses)
        table = np.zeros((size, size))
        advised = np.arange(1, size)
        for step, chance in self.probabilities.items():
            table[advised, np.clip(advised + int(step), 0, size - 1)] += chance
        table[0, 0] = 1.0
        return table


@dataclass(frozen=True)
class Relative:
    """The dose is multiplied by a log-normal factor of median 1, capped, and rounded to the grid.

    The probability of a dose of the grid is that of all doses which are rounded to it. On a fine grid this is
    a spread over many doses, on a coarse one mostly the advised dose itself. The advised dose is the median,
    to within the rounding; with a wide spread the likeliest single dose lies below it.

    Attributes
    ----------
    log_sd
        Standard deviation of the logarithm of the factor; 0.1 is about 10 %.

    Raises
    ------
    ValueError
        For a spread that is not a number above 0.
    """

    log_sd: float

    def __post_init__(self) -> None:
        if not 0 < self.log_sd < math.inf:
            raise ValueError(f"log_sd = {self.log_sd}; expected a number above 0, such as 0.1")

    def table(self, grid: DoseGrid) -> Floats:
        """As `DoseNoise.table`."""
        doses = grid.doses
        table = np.zeros((len(doses), len(doses)))
        # what lies between two neighbours' middles is rounded to the dose between them
        edges = np.log((doses[1:] + doses[:-1]) / 2)
        z = (edges - np.log(doses[1:, None])) / self.log_sd
        below, above = ndtr(z), ndtr(-z)
        # of each tail the smaller numbers: a difference from 1 would lose them
        inner = np.where(z[:, 1:] < 0, below[:, 1:] - below[:, :-1], above[:, :-1] - above[:, 1:])
        table[1:] = np.concatenate([below[:, :1], inner, above[:, -1:]], axis=1)
        table[0, 0] = 1.0
        return table


@dataclass(frozen=True, eq=False)
class NoisyState:
    """Memory about n patients, and this visit's advice.

    Attributes
    ----------
    keys
        What the draws are functions of, besides the visit.
    visit : (n,) number of visits so far
    memory
        Of the regimen behind it; None before the first visit.
    advised : (n,) place on the grid of the dose it advised at the last visit; -1 before the first
    """

    keys: DrawKeys
    visit: NDArray[np.int64]
    memory: Any
    advised: NDArray[np.int64]


class Noisy:
    """Give what a deterministic regimen advises, moved at random on the scenario's grid.

    Parameters
    ----------
    scenario
        The decision problem, with grid and cap.
    regimen
        Who advises.
    noise
        How the advised dose, snapped to the grid, is moved: `Steps` or `Relative`.
    name
        Name of the arm; by default the regimen's with ``-noisy``.

    Raises
    ------
    ValueError
        For a regimen that is stochastic itself.
    """

    def __init__(
        self, scenario: Scenario, regimen: Regimen, noise: DoseNoise | None = None, name: str | None = None
    ) -> None:
        if isinstance(regimen, StochasticRegimen):
            raise ValueError(f"regimen {regimen.name!r} is stochastic itself; give a deterministic one")
        self.scenario, self.regimen, self.noise = scenario, regimen, Steps() if noise is None else noise
        self.name = f"{regimen.name}-noisy" if name is None else name
        self._doses = scenario.doses.doses

    @property
    def needs(self) -> frozenset[str]:
        """What the regimen behind it asks for."""
        return self.regimen.needs

    @property
    def seed_namespace(self) -> str | None:
        """Namespace of the patients that the regimen behind it was trained on, None where it was not."""
        return getattr(self.regimen, "seed_namespace", None)

    @cached_property
    def table(self) -> Floats:
        """(A, A) probability of giving each dose of the grid (column) for each advised one (row)."""
        table = self.noise.table(self.scenario.doses)
        return table / table.sum(axis=1, keepdims=True)

    @cached_property
    def _cumulative(self) -> Floats:
        cumulative = np.cumsum(self.table, axis=1)
        # a sum that ends a bit below 1 must not let a draw fall on a dose without probability
        last = self.table.shape[1] - 1 - np.argmax(self.table[:, ::-1] > 0, axis=1)
        return np.where(np.arange(self.table.shape[1]) >= last[:, None], 1.0, cumulative)

    def initial_state(self, keys: DrawKeys) -> NoisyState:
        """Return the state to hand in at the first visit; draws are functions of `keys` and the visit."""
        n = len(keys.patients)
        return NoisyState(keys, np.zeros(n, dtype=np.int64), None, np.full(n, -1))

    def predict(
        self,
        observation: NDArray[np.float32],
        state: NoisyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, NoisyState]:
        """Return the dose (n,), and a state for `log_prob` at this visit and for `predict` at the next.

        Parameters
        ----------
        observation : (n, k)
            What is known at this visit.
        state
            From `initial_state` at the first visit, then what the previous call returned.
        episode_start : (n,) bool
            Patients who begin anew, with the same keys and so the same draws.
        deterministic
            True: the advised dose, unmoved. False: a draw.

        Raises
        ------
        ValueError
            For ``state=None``, or patients other than those of the state.
        """
        if state is None:
            raise ValueError(
                f"{self.name}: state is None; begin with initial_state(keys), it has the keys of the draws"
            )
        if len(state.visit) != len(observation):
            raise ValueError(
                f"{self.name}: {len(observation)} observations for a state of {len(state.visit)} patients"
            )
        start = state.visit == 0
        if episode_start is not None:
            start = start | np.asarray(episode_start, dtype=bool)
        wanted, memory = self.regimen.predict(observation, state.memory, start)
        advised, visit = self._place(self.scenario.doses.snap(wanted)), np.where(start, 0, state.visit)
        chosen = advised
        if not deterministic:
            uniform = visit_uniforms(state.keys, visit)
            chosen = (self._cumulative[advised] <= uniform[:, None]).sum(axis=1)
        return self._doses[chosen], replace(state, visit=visit + 1, memory=memory, advised=advised)

    def probabilities(self, state: NoisyState) -> Floats:
        """Return (n, A) the probability of every dose of the grid at the visit of `state`, from `predict`.

        Raises
        ------
        ValueError
            For a state that has not been through `predict`.
        """
        if state.advised.min(initial=0) < 0:
            raise ValueError(f"{self.name}: no visit yet; give the state that predict returned")
        return self.table[state.advised]

    def log_prob(self, observation: NDArray[np.float32], state: NoisyState, dose: ArrayLike) -> Floats:
        """Return (n,) the log probability of the dose really given at the visit of `state`, from `predict`.

        -inf for a dose that the noise cannot reach, or that is none of the grid's. Errors as
        `probabilities`.
        """
        given = np.asarray(dose, dtype=np.float64)
        place = self._place(given)
        mass = self.probabilities(state)[np.arange(len(place)), place]
        with np.errstate(divide="ignore"):
            return np.log(np.where(self.scenario.doses.same(self._doses[place], given), mass, 0.0))

    def _place(self, dose: Floats) -> NDArray[np.int64]:
        """Return (n,) the place of the dose of the grid next to each of `dose` (n,)."""
        middle = (self._doses[1:] + self._doses[:-1]) / 2
        return np.searchsorted(middle, dose, side="right")
