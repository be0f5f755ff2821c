"""A clinician who cannot be predicted: at every visit one of several regimens is followed, drawn anew.

What such a clinician leaves behind is the log that off-policy evaluation needs: every dose with its
probability.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.agents.regimens.draws import visit_uniforms
from dosewright.envs import DrawKeys, Regimen, Scenario, StochasticRegimen

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClinicianState:
    """Memory about n patients, and this visit's advice.

    Attributes
    ----------
    keys
        What the draws are functions of, besides the visit.
    visit : (n,) number of visits so far
    components
        The memory of every component regimen; None before the first visit.
    doses : (n, c) snapped dose that each component advised at the last visit; no column before the first
    """

    keys: DrawKeys
    visit: NDArray[np.int64]
    components: tuple[Any, ...]
    doses: Floats


class Clinician:
    """Follow one of several regimens, drawn at every visit with fixed probabilities, independently.

    All components see every observation, so that each one's memory is what it would be if its turn came.

    Parameters
    ----------
    scenario
        The decision problem; its grid and cap decide which advice is the same dose.
    regimens
        Deterministic regimens, the components.
    probabilities : (c,)
        Probability of following each, above 0, with sum 1.
    name
        Name of the arm.

    Raises
    ------
    ValueError
        For no regimen, one that is stochastic itself, or probabilities that are none.
    """

    def __init__(
        self,
        scenario: Scenario,
        regimens: Sequence[Regimen],
        probabilities: ArrayLike,
        name: str = "clinician",
    ) -> None:
        self.scenario, self.name = scenario, name
        self.regimens, self.probabilities = tuple(regimens), np.asarray(probabilities, dtype=np.float64)
        stochastic = [regimen.name for regimen in self.regimens if isinstance(regimen, StochasticRegimen)]
        if stochastic:
            raise ValueError(
                f"component {stochastic[0]!r} of {name!r} is stochastic; give deterministic regimens"
            )
        if not self.regimens or self.probabilities.shape != (len(self.regimens),):
            raise ValueError(
                f"{len(self.regimens)} regimens and probabilities of shape {self.probabilities.shape}; "
                "expected at least one regimen, and one probability for each"
            )
        total = float(self.probabilities.sum())
        if not np.all(self.probabilities > 0) or not math.isclose(total, 1.0, abs_tol=1e-9):
            raise ValueError(
                f"probabilities {self.probabilities.tolist()} with sum {total:g}; "
                "expected numbers above 0 with sum 1"
            )

    @property
    def needs(self) -> frozenset[str]:
        """What any component asks for."""
        return frozenset[str]().union(*(regimen.needs for regimen in self.regimens))

    def initial_state(self, keys: DrawKeys) -> ClinicianState:
        """Return the state to hand in at the first visit; draws are functions of `keys` and the visit."""
        n = len(keys.patients)
        return ClinicianState(
            keys, np.zeros(n, dtype=np.int64), (None,) * len(self.regimens), np.empty((n, 0))
        )

    def predict(
        self,
        observation: NDArray[np.float32],
        state: ClinicianState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, ClinicianState]:
        """Return the dose (n,), and a state for `log_prob` at this visit and for `predict` at the next.

        Parameters
        ----------
        observation : (n, k)
            What is known at this visit.
        state
            From `initial_state` at the first visit, then what the previous call returned.
        episode_start : (n,) bool
            Patients who begin anew, with the same keys and so the same draws. Another patient in the same
            place needs another `initial_state`.
        deterministic
            True: the most probable dose, the first component's where two are alike. False: a draw.

        Raises
        ------
        ValueError
            For ``state=None``, or patients other than those of the state.
        """
        if state is None:
            raise ValueError(
                f"{self.name}: state is None; begin with initial_state(keys), it has the keys of the draws"
            )
        n = len(observation)
        if len(state.visit) != n:
            raise ValueError(f"{self.name}: {n} observations for a state of {len(state.visit)} patients")
        start = state.visit == 0
        if episode_start is not None:
            start = start | np.asarray(episode_start, dtype=bool)
        advised = [
            regimen.predict(observation, memory, start)
            for regimen, memory in zip(self.regimens, state.components, strict=True)
        ]
        wanted = np.stack([dose for dose, _ in advised], axis=1)
        doses, visit = self.scenario.doses.snap(wanted), np.where(start, 0, state.visit)
        if deterministic:
            chosen = np.argmax(np.stack([self._mass(doses, column) for column in doses.T], axis=1), axis=1)
        else:
            chosen = self._draw(state.keys, visit)
        memory = tuple(memory for _, memory in advised)
        return wanted[np.arange(n), chosen], replace(state, visit=visit + 1, components=memory, doses=doses)

    def log_prob(
        self, observation: NDArray[np.float32], state: ClinicianState, dose: ArrayLike
    ) -> NDArray[np.float64]:
        """Return (n,) the log probability of the dose really given at the visit of `state`, from `predict`.

        The probabilities of all components whose advice, snapped, is that dose add up; -inf where none is.

        Raises
        ------
        ValueError
            For a state that has not been through `predict`.
        """
        if not state.doses.shape[1]:
            raise ValueError(
                f"{self.name}: log_prob before the first visit; give the state that predict returned"
            )
        with np.errstate(divide="ignore"):
            return np.log(self._mass(state.doses, np.asarray(dose, dtype=np.float64)))

    def _mass(self, doses: Floats, dose: Floats) -> Floats:
        """Return (n,) the probability of `dose` (n,) where the components advise `doses` (n, c)."""
        same = self.scenario.doses.same(doses, dose[..., None])
        # exactly 1 where all agree, and no more: the sum of the probabilities need not be, to the last bit
        return np.where(same.all(axis=1), 1.0, same @ self.probabilities)

    def _draw(self, keys: DrawKeys, visit: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return (n,) the component that each patient's clinician follows at a visit (n,)."""
        limits = np.cumsum(self.probabilities)[:-1]
        return np.searchsorted(limits, visit_uniforms(keys, visit), side="right")
