"""The contract of everything that doses: SB3's `predict`, batched."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray


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
