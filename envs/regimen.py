"""The contract of everything that doses: SB3's `predict`, batched."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs.noise import Noise


@runtime_checkable
class Regimen(Protocol):
    """A rule from what is known to a dose; a nomogram and a neural network are interchangeable.

    Attributes
    ----------
    name
        Short name, as in ``--arms``.
    needs
        Observation entries without which the regimen cannot dose; a patient who lacks one is refused for all
        arms.
    """

    @property
    def name(self) -> str: ...

    @property
    def needs(self) -> frozenset[str]: ...

    def predict(
        self,
        observation: NDArray[np.float32],
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[NDArray[np.float64], Any]:
        """Return the dose for each patient, and the memory to hand in at the next visit.

        Parameters
        ----------
        observation : (n, k)
            What is known at this visit, laid out by the scenario's `ObservationSpec`.
        state
            What the previous call returned; None at the first visit. Memory lives here, never on the object.
        episode_start : (n,) bool
            Patients at their first visit; their part of `state` is begun anew. None: all where `state` is
            None.
        deterministic
            SB3's flag; rules ignore it.

        Returns
        -------
        dose : (n,) in the drug's unit, before the environment's grid and cap.
        state
        """
        ...


class DrawKeys(NamedTuple):
    """What the draws of a stochastic regimen are functions of, besides the visit.

    Attributes
    ----------
    noise
        Namespace and seed.
    patients : (n,) identifiers
    arm
        Whose draws they are: two arms with the same name or number draw alike.
    """

    noise: Noise
    patients: NDArray[np.int64]
    arm: int | str


@runtime_checkable
class StochasticRegimen(Regimen, Protocol):
    """A regimen that draws its dose, and says with what probability.

    Whoever runs it hands in the keys of all draws; there is no global generator. `predict` refuses
    ``state=None``, draws with ``deterministic=False``, and returns a state that still knows this visit: given
    to `log_prob` it speaks of the dose just given, given to the next `predict` it is the memory.
    """

    def initial_state(self, keys: DrawKeys) -> Any:
        """Return the state to hand in at the first visit of these patients."""
        ...

    def log_prob(self, observation: NDArray[np.float32], state: Any, dose: ArrayLike) -> NDArray[np.float64]:
        """Return (n,) the log probability with which a dose is given at a visit.

        Parameters
        ----------
        observation : (n, k)
            What `predict` was shown at the visit.
        state
            What `predict` returned at the visit.
        dose : (n,)
            Dose really given, after grid and cap; -inf where the regimen never gives it.
        """
        ...
