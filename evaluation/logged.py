"""Logged patients: who was given which dose, with what probability, and what came of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from dosewright.evaluation.content_hash import content_hash
from dosewright.evaluation.log_checks import (
    BoolArray,
    FloatArray,
    Propensity,
    check_log_prob,
    check_times,
    first_place,
    labels,
    refuse,
)

_NOBODY = np.zeros(0, dtype=np.bool_)
_OWN_REWARD = ("reward", "return")  # names that estimates and reports give to the log's reward


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """A log of n patients with at most T decisions each, as padded arrays.

    Patient ``i`` was under decision at steps ``0 .. lengths[i] - 1``; ``mask`` is True there, and whatever
    stands in the padding of observations, actions, times and log-probabilities is never read. Rewards and
    outcomes in the padding must be 0: a patient who has ended gains nothing more.

    A course stops in one of three ways, and they are told apart because they mean different things for what
    was not seen. *Terminated*: nothing is left to happen, all later rewards are 0. *Truncated*: a limit that
    has nothing to do with the patient cut a course that goes on (the end of a study, the day the data were
    locked). *Censored*: the patient was lost to follow-up, possibly for a reason that has to do with the
    doses, and the last interval may be cut short. A time limit that falls on the end sets terminated and
    truncated, as Gymnasium allows; nothing is left, so it counts as terminated.

    Arrays are kept as read-only views of what was given.

    Parameters
    ----------
    observations : (n, T, k) what the prescriber knew, in the scenario's clinical or encoded units
    actions : (n, T) the dose really given (after snapping, cap and shield), in the drug's unit or as an index
    rewards : (n, T) reward of the interval that followed the decision
    mask : (n, T) bool, True where the decision was made; contiguous from step 0, at least one a patient
    terminated : (n,) bool, True when nothing is left to happen after the last logged step
        (end of follow-up, a first adverse reaction that ends the episode)
    truncated : (n,) bool, True when a limit cut a course that goes on
    censored : (n,) bool, True when the patient was lost after, or during the interval of, the last decision;
        nobody by default
    behaviour_log_prob : (n, T) optional, log propensity of the dose given under the regimen that made the log
    outcomes : name -> (n, T), per-decision outcomes beside the reward, e.g. the share of days with INR > 4;
        not called "reward" or "return", as the log's own is
    strata : name -> (n,) labels of subgroups, text or whole numbers; kept as text
    patients : (n,) identifiers, each once, whole numbers or text; None for an anonymous log
    times : (n, T) optional, times of the decisions since the first dose, e.g. in days
    step_length : optional claim that all steps are equally long, in the unit of ``times``
    observation_names : name of each observed quantity; empty where they have none
    propensity : ``"mass"`` for doses on a grid (log-probabilities are <= 0), ``"density"`` for a continuous
        dose (log-densities, 1/unit of the dose, may be positive)
    provenance : where the log comes from, as JSON would have it: scenario, regimen that made it, namespace
        and seed of the noise

    Raises
    ------
    ValueError
        When a shape, a flag or a value is impossible; the message names value, patient, step and remedy.
    """

    observations: npt.NDArray[Any]
    actions: npt.NDArray[Any]
    rewards: FloatArray
    mask: BoolArray
    terminated: BoolArray
    truncated: BoolArray
    censored: BoolArray = field(default_factory=lambda: _NOBODY)
    behaviour_log_prob: FloatArray | None = None
    outcomes: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    strata: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict[str, npt.NDArray[Any]])
    patients: npt.NDArray[Any] | None = None
    times: FloatArray | None = None
    step_length: float | None = None
    observation_names: tuple[str, ...] = ()
    propensity: Propensity = "mass"
    provenance: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.propensity not in ("mass", "density"):
            raise ValueError(f"propensity = {self.propensity!r}; expected 'mass' (dose grid) or 'density'")
        self._freeze()
        self._check_shapes()
        self._check_names()
        self._check_mask()
        self._check_ends()
        self._check_values()

    def _freeze(self) -> None:
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the one way to normalise a field of a frozen dataclass

        keep("observations", _read_only(self.observations))
        keep("actions", _read_only(self.actions))
        keep("rewards", _read_only(np.asarray(self.rewards, dtype=np.float64)))
        if np.shape(self.censored) == (0,):
            keep("censored", np.zeros(len(self.mask), dtype=np.bool_))
        for name in ("mask", "terminated", "truncated", "censored"):
            keep(name, _read_only(_as_bool(name, getattr(self, name))))
        for name in ("behaviour_log_prob", "times"):
            if getattr(self, name) is not None:
                keep(name, _read_only(np.asarray(getattr(self, name), dtype=np.float64)))
        keep("outcomes", {k: _read_only(np.asarray(v, dtype=np.float64)) for k, v in self.outcomes.items()})
        named = {k: labels(f"strata[{k!r}]", v).astype(np.str_) for k, v in self.strata.items()}
        keep("strata", {k: _read_only(v) for k, v in named.items()})
        if self.patients is not None:
            keep("patients", _read_only(labels("patients", self.patients)))
        keep("observation_names", tuple(self.observation_names))
        keep("provenance", dict(self.provenance))

    def _check_shapes(self) -> None:
        if self.mask.ndim != 2 or 0 in self.mask.shape:
            raise ValueError(
                f"mask has shape {self.mask.shape}; expected (n, T) with n >= 1 patients and T >= 1"
            )
        n, horizon = self.mask.shape
        if self.observations.ndim != 3 or self.observations.shape[:2] != (n, horizon):
            raise ValueError(
                f"observations has shape {self.observations.shape}; expected ({n}, {horizon}, k) as in mask; "
                "a single observed quantity needs a last axis of length 1"
            )
        for name, array in self._per_decision():
            if array.shape != (n, horizon):
                raise ValueError(f"{name} has shape {array.shape}; expected ({n}, {horizon}) as in mask")
        for name, array in self._per_patient():
            if array.shape != (n,):
                raise ValueError(f"{name} has shape {array.shape}; expected ({n},), one a patient")

    def _check_names(self) -> None:
        k = self.observations.shape[2]
        if self.observation_names and len(self.observation_names) != k:
            raise ValueError(
                f"observation_names has {len(self.observation_names)} names; expected {k}, one for each "
                "observed quantity"
            )
        for name in self.outcomes:
            if name in _OWN_REWARD:
                raise ValueError(
                    f"outcomes[{name!r}] has the name of the log's own reward; expected another name"
                )
        if self.patients is not None:
            values, counts = np.unique(self.patients, return_counts=True)
            if len(values) < self.n_patients:
                raise ValueError(
                    f"patient {values[counts > 1][0].item()!r} is there twice; expected each identifier "
                    "once: join the steps of one patient, or make the log anonymous with patients=None"
                )
        try:
            json.dumps(self.provenance, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"provenance {self.provenance} cannot be written as JSON ({error}); expected text, numbers "
                "and lists of them"
            ) from None

    def _check_mask(self) -> None:
        if not self.mask[:, 0].all():
            patient = int(np.argmin(self.mask[:, 0]))
            raise ValueError(
                f"mask[{patient}, 0] is False (patient {patient}, step 0): a patient starts at step 0; "
                "shift the row to the left, or leave out a patient without decisions"
            )
        resumed = self.mask[:, 1:] & ~self.mask[:, :-1]
        if resumed.any():
            patient, step = first_place(resumed)
            raise ValueError(
                f"mask[{patient}, {step + 1}] is True after a False (patient {patient}, step {step + 1}): "
                "decisions are contiguous; a skipped dose is a decision with dose 0"
            )

    def _check_ends(self) -> None:
        for name, why in (("terminated", "nothing was left to lose"), ("truncated", "one reason is enough")):
            both = self.censored & getattr(self, name)
            if both.any():
                raise ValueError(
                    f"patient {int(np.argmax(both))} is censored and {name}: {why}; keep censored for those "
                    f"who were lost to follow-up, {name} for the others"
                )
        unexplained = (self.lengths < self.horizon) & ~self.terminated & ~self.truncated & ~self.censored
        if unexplained.any():
            patient = int(np.argmax(unexplained))
            raise ValueError(
                f"patient {patient} stops after {self.lengths[patient]} of {self.horizon} steps with "
                "terminated, truncated and censored all False; set terminated (nothing left to happen), "
                "truncated (cut by a limit) or censored (lost to follow-up)"
            )

    def _check_values(self) -> None:
        refuse(
            "observations",
            self.observations,
            ~np.isfinite(self.observations).all(axis=2) & self.mask,
            "finite numbers where mask is True; encode a missing value as (neutral value, known = 0)",
        )
        for name, array in self._per_decision():
            remedy = "a finite number where mask is True; give the recorded value or leave the patient out"
            refuse(name, array, ~np.isfinite(array) & self.mask, remedy)
        if self.behaviour_log_prob is not None:
            check_log_prob("behaviour_log_prob", self.behaviour_log_prob, self.mask, self.propensity)
        if self.step_length is not None and not self.step_length > 0:
            raise ValueError(f"step_length = {self.step_length}; expected a length above 0, or None")
        if self.times is not None:
            check_times(self.times, self.mask, self.step_length)
        for name, array in (("rewards", self.rewards), *self._named_outcomes()):
            refuse(
                name,
                array,
                (array != 0.0) & ~self.mask,
                "0 where mask is False; move it to the last decision made, or extend the mask",
            )

    def _named_outcomes(self) -> list[tuple[str, FloatArray]]:
        return [(f"outcomes[{name!r}]", array) for name, array in self.outcomes.items()]

    def _per_decision(self) -> list[tuple[str, npt.NDArray[Any]]]:
        optional = [(name, getattr(self, name)) for name in ("behaviour_log_prob", "times")]
        given = [(name, array) for name, array in optional if array is not None]
        return [("actions", self.actions), ("rewards", self.rewards), *self._named_outcomes(), *given]

    def _per_patient(self) -> list[tuple[str, npt.NDArray[Any]]]:
        ends = [(name, getattr(self, name)) for name in ("terminated", "truncated", "censored")]
        strata = [(f"strata[{name!r}]", array) for name, array in self.strata.items()]
        return [*ends, *strata, *([] if self.patients is None else [("patients", self.patients)])]

    @property
    def n_patients(self) -> int:
        """Number of patients n."""
        return self.mask.shape[0]

    @property
    def horizon(self) -> int:
        """Number of steps T of the padded arrays."""
        return self.mask.shape[1]

    @cached_property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) number of decisions made for each patient."""
        return _read_only(self.mask.sum(axis=1, dtype=np.int64))

    @property
    def dropped_out(self) -> BoolArray:
        """(n,) True for patients whose later rewards, up to the horizon, exist but were not seen.

        Lost to follow-up, or cut off by a limit before the horizon: a sum over the horizon has to be
        corrected for both, see ``follow_up_log_prob`` of `importance_weights`.
        """
        unseen = self.censored | (self.truncated & ~self.terminated)
        return unseen & (self.lengths < self.horizon)

    @property
    def identifiers(self) -> npt.NDArray[Any]:
        """(n,) what the patients are called: ``patients``, or their row where the log is anonymous."""
        return np.arange(self.n_patients) if self.patients is None else self.patients

    @cached_property
    def content_hash(self) -> str:
        """SHA-256 of what was logged, 64 hexadecimal digits; see `content_hash`.

        The same data have the same hash, whatever the padding, the width of the numbers, the order of the
        patients and of names; any other value changes it. The horizon and the provenance are not part of it:
        the first is what is asked, the second what is said about the data.
        """
        step_length = None if self.step_length is None else float(self.step_length)
        seen = list(self.observation_names) or self.observations.shape[2]
        return content_hash(
            self.mask,
            dict(self._per_decision()),
            self.observations,
            dict(self._per_patient()),
            {"propensity": self.propensity, "step_length": step_length, "observations": seen},
        )

    def select(self, patients: npt.ArrayLike) -> "Trajectories":
        """The same log restricted to some patients, e.g. one genotype.

        Parameters
        ----------
        patients : (n,) bool, or (m,) row numbers in the wanted order

        Raises
        ------
        ValueError
            For a patient chosen twice, other than in an anonymous log.
        """
        rows = np.asarray(patients)
        log_prob, times, names = self.behaviour_log_prob, self.times, self.patients
        return replace(
            self,
            observations=self.observations[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            mask=self.mask[rows],
            terminated=self.terminated[rows],
            truncated=self.truncated[rows],
            censored=self.censored[rows],
            behaviour_log_prob=None if log_prob is None else log_prob[rows],
            outcomes={name: array[rows] for name, array in self.outcomes.items()},
            strata={name: array[rows] for name, array in self.strata.items()},
            patients=None if names is None else names[rows],
            times=None if times is None else times[rows],
        )


def _as_bool(name: str, flags: npt.ArrayLike) -> BoolArray:
    array = np.asarray(flags)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} holds values other than True and False; expected a boolean array")
    return array.astype(np.bool_)


def _read_only(array: npt.ArrayLike) -> npt.NDArray[Any]:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
