"""Hidden shifts: what changes in a world while nobody tells those who dose in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dosewright.envs import Intake, Noise, Scenario
from dosewright.envs.noise import Stream

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class HiddenShift:
    """How a world differs from the one that the models describe.

    Attributes
    ----------
    name, words
        Short name, and what changes.
    parameters
        Parameter of the model -> factor on it.
    share
        Share of the patients whose parameters change; who they are depends on the patient alone.
    assay
        Factor on every measured value.
    missed
        Probability that an administration is missed besides those of the realism preset, at the start of
        follow-up and at its end, linear in between.
    since
        Moment from which all this holds, in units of the scenario's clock on the calendar of those who are
        treated: patients who were enrolled before change on the way. None: it holds for everybody, always.

    Raises
    ------
    ValueError
        For a factor that is not above 0, or a probability that is none.
    """

    name: str
    words: str
    parameters: Mapping[str, float] = field(default_factory=dict[str, float])
    share: float = 1.0
    assay: float = 1.0
    missed: tuple[float, float] = (0.0, 0.0)
    since: float | None = None

    def __post_init__(self) -> None:
        for name, factor in {**self.parameters, "assay": self.assay}.items():
            if not 0 < factor < np.inf:
                raise ValueError(f"world {self.name}: factor {factor} on {name}; expected a number above 0")
        for name, chance in (("share", self.share), *(("missed", value) for value in self.missed)):
            if not 0 <= chance <= 1:
                raise ValueError(f"world {self.name}: {name} = {chance}; expected 0 to 1")

    def changed(self, patients: ArrayLike, noise: Noise) -> NDArray[np.bool_]:
        """Return whose parameters change, (n,), of patients (n,) by number."""
        return noise.uniforms(patients, Stream.SHIFT)[:, 0, 0] < self.share

    def alter(self, scenario: Scenario, intake: Intake, noise: Noise, enrolled: ArrayLike = 0.0) -> Intake:
        """Return the same patients in this world.

        Parameters
        ----------
        scenario
            Whose model has the parameters.
        intake
            n patients as they would be without the shift; their lives are not changed in place.
        noise
            That they were drawn with.
        enrolled : (n,) moment of each one's enrolment, on the calendar of `since`
        """
        life, ids = intake.life, intake.patients.ids
        units, n = life.taken.shape[1], len(ids)
        begun = np.broadcast_to(np.asarray(enrolled, dtype=np.float64), (n,))
        # the unit from which on it holds for each
        first = np.zeros(n) if self.since is None else np.ceil(np.maximum(self.since - begun, 0.0))
        holds = np.arange(units + 1) >= first[:, None]
        mine = holds & self.changed(ids, noise)[:, None]
        theta = life.theta
        if self.parameters:
            theta = np.repeat(theta, units, axis=1) if theta.shape[1] == 1 else theta.copy()
            for name, factor in self.parameters.items():
                theta[:, :, scenario.model.column(name)] *= np.where(mine[:, :units], factor, 1.0)
        taken = life.taken
        if any(self.missed):
            draws = noise.uniforms(ids, Stream.SHIFT, 1 + np.arange(taken[0].size))[..., 0]
            chance = np.linspace(*self.missed, units)[:, None] * mine[:, :units, None]
            taken = taken & (draws.reshape(taken.shape) >= chance)
        assay = life.assay * np.where(holds, self.assay, 1.0)
        return intake.living(scenario, replace(life, theta=theta, taken=taken, assay=assay))
