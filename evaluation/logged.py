"""Logged patients: who was given which dose, with what probability, and what came of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from dosewright.envs import DrawKeys, Intake, Noise, Population, Scenario, StochasticRegimen, Treatment
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import GenotypeMode

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

# A probability of 1 stored as the log of a float sum may come out a few ulp above 0.
LOG_PROB_ROUNDING = 1e-9


@dataclass(frozen=True, kw_only=True, eq=False)
class Trajectories:
    """A log of n patients with at most T decisions each, as padded arrays.

    Patient ``i`` was under decision at steps ``0 .. lengths[i] - 1``; ``mask`` is True there, and whatever
    stands in the padding of observations, actions and log-probabilities is never read. Rewards and outcomes
    in the padding must be 0: a patient who has ended gains nothing more.

    Arrays are kept as read-only views of what was given.

    Parameters
    ----------
    observations : (n, T, k) what the prescriber knew, in the scenario's clinical or encoded units
    actions : (n, T) the dose really given (after snapping, cap and shield), in the drug's unit or as an index
    rewards : (n, T) reward of the interval that followed the decision
    mask : (n, T) bool, True where the decision was made; contiguous from step 0, at least one a patient
    terminated : (n,) bool, True when nothing is left to happen after the last logged step
        (end of follow-up, a first adverse reaction that ends the episode)
    truncated : (n,) bool, True when the log stops although the patient's course goes on
    behaviour_log_prob : (n, T) optional, log propensity of the dose given under the regimen that made the log
    outcomes : name -> (n, T), per-decision outcomes beside the reward, e.g. the share of days with INR > 4
    propensity : ``"mass"`` for doses on a grid (log-probabilities are <= 0), ``"density"`` for a continuous
        dose (log-densities, 1/unit of the dose, may be positive)

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
    behaviour_log_prob: FloatArray | None = None
    outcomes: Mapping[str, FloatArray] = field(default_factory=dict[str, FloatArray])
    propensity: Literal["mass", "density"] = "mass"

    def __post_init__(self) -> None:
        if self.propensity not in ("mass", "density"):
            raise ValueError(f"propensity = {self.propensity!r}; expected 'mass' (dose grid) or 'density'")
        self._freeze()
        self._check_shapes()
        self._check_mask()
        self._check_values()

    def _freeze(self) -> None:
        def keep(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the one way to normalise a field of a frozen dataclass

        keep("observations", _read_only(self.observations))
        keep("actions", _read_only(self.actions))
        keep("rewards", _read_only(np.asarray(self.rewards, dtype=np.float64)))
        for name in ("mask", "terminated", "truncated"):
            keep(name, _read_only(_as_bool(name, getattr(self, name))))
        if self.behaviour_log_prob is not None:
            keep("behaviour_log_prob", _read_only(np.asarray(self.behaviour_log_prob, dtype=np.float64)))
        keep("outcomes", {k: _read_only(np.asarray(v, dtype=np.float64)) for k, v in self.outcomes.items()})

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
        for name in ("terminated", "truncated"):
            shape = getattr(self, name).shape
            if shape != (n,):
                raise ValueError(f"{name} has shape {shape}; expected ({n},), one flag a patient")

    def _check_mask(self) -> None:
        if not self.mask[:, 0].all():
            patient = int(np.argmin(self.mask[:, 0]))
            raise ValueError(
                f"mask[{patient}, 0] is False (patient {patient}, step 0): a patient starts at step 0; "
                "shift the row to the left, or leave out a patient without decisions"
            )
        resumed = self.mask[:, 1:] & ~self.mask[:, :-1]
        if resumed.any():
            patient, step = _first(resumed)
            raise ValueError(
                f"mask[{patient}, {step + 1}] is True after a False (patient {patient}, step {step + 1}): "
                "decisions are contiguous; a skipped dose is a decision with dose 0"
            )
        unexplained = (self.lengths < self.horizon) & ~self.terminated & ~self.truncated
        if unexplained.any():
            patient = int(np.argmax(unexplained))
            raise ValueError(
                f"patient {patient} stops after {self.lengths[patient]} of {self.horizon} steps with "
                "terminated and truncated both False; set terminated (nothing left to happen) "
                "or truncated (dropped out)"
            )

    def _check_values(self) -> None:
        _refuse(
            "observations",
            self.observations,
            ~np.isfinite(self.observations).all(axis=2) & self.mask,
            "finite numbers where mask is True; encode a missing value as (neutral value, known = 0)",
        )
        for name, array in self._per_decision():
            remedy = "a finite number where mask is True; give the recorded value or leave the patient out"
            _refuse(name, array, ~np.isfinite(array) & self.mask, remedy)
        if self.behaviour_log_prob is not None:
            check_log_prob("behaviour_log_prob", self.behaviour_log_prob, self.mask, self.propensity)
        for name, array in (("rewards", self.rewards), *self._named_outcomes()):
            _refuse(
                name,
                array,
                (array != 0.0) & ~self.mask,
                "0 where mask is False; move it to the last decision made, or extend the mask",
            )

    def _named_outcomes(self) -> list[tuple[str, FloatArray]]:
        return [(f"outcomes[{name!r}]", array) for name, array in self.outcomes.items()]

    def _per_decision(self) -> list[tuple[str, npt.NDArray[Any]]]:
        arrays = [("actions", self.actions), ("rewards", self.rewards), *self._named_outcomes()]
        if self.behaviour_log_prob is not None:
            arrays.append(("behaviour_log_prob", self.behaviour_log_prob))
        return arrays

    @property
    def n_patients(self) -> int:
        """Number of patients n."""
        return self.mask.shape[0]

    @property
    def horizon(self) -> int:
        """Number of steps T of the padded arrays."""
        return self.mask.shape[1]

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """(n,) number of decisions made for each patient."""
        return self.mask.sum(axis=1, dtype=np.int64)

    @property
    def dropped_out(self) -> BoolArray:
        """(n,) True for patients lost before the horizon: their later rewards exist but were not seen."""
        return self.truncated & ~self.terminated & (self.lengths < self.horizon)

    def select(self, patients: npt.ArrayLike) -> "Trajectories":
        """The same log restricted to some patients, e.g. one genotype.

        Parameters
        ----------
        patients : (n,) bool, or (m,) integer indices in the wanted order
        """
        rows = np.asarray(patients)
        log_prob = self.behaviour_log_prob
        return Trajectories(
            observations=self.observations[rows],
            actions=self.actions[rows],
            rewards=self.rewards[rows],
            mask=self.mask[rows],
            terminated=self.terminated[rows],
            truncated=self.truncated[rows],
            behaviour_log_prob=None if log_prob is None else log_prob[rows],
            outcomes={name: array[rows] for name, array in self.outcomes.items()},
            propensity=self.propensity,
        )


def record(
    scenario: Scenario,
    regimen: StochasticRegimen,
    population: Population,
    ids: npt.ArrayLike,
    noise: Noise,
    realism: Realism,
    genotype: GenotypeMode = "diplotype",
    *,
    arm: int | str | None = None,
    block: int = 1000,
) -> Trajectories:
    """Treat a cohort by a stochastic regimen: log the doses, their probabilities, and what came of them.

    Parameters
    ----------
    scenario, realism : the decision problem, and how messy the world is
    regimen : who doses; its draws are functions of noise, patient, arm and visit
    population : who is treated
    ids : (n,) patients of ``population``
    noise : namespace and seed, of the patients and of the regimen's draws
    genotype : whether the regimen sees the genotype
    arm : whose draws they are; the regimen's name when None
    block : patients simulated together; bounds the memory, does not change a number

    Returns
    -------
    Trajectories
        T visits of the scenario's calendar; doses after grid and cap, in the drug's unit. The reward is the
        environment's, benefit - weight * harm. Outcomes: ``benefit`` and ``harm``, days in the scenario's
        bands as shares of the horizon, and ``first_harm``, 1 in the interval in which the daily latent
        response is in the harm band for the first time, so that its sum over a course is "ever in harm".
        Patients who drop out are truncated; their last interval counts the days up to then, see
        `whole_intervals`.

    Raises
    ------
    ValueError
        For a dose that is missing or negative.
    """
    patients = np.asarray(ids, dtype=np.int64)
    name = regimen.name if arm is None else arm
    parts: list[dict[str, npt.NDArray[Any]]] = []
    for first in range(0, len(patients), block):
        people = population.draw(scenario.model, scenario.base, patients[first : first + block], noise)
        intake = Intake.prepare(scenario, people, noise, realism, genotype)
        parts.append(_record_block(scenario, regimen, intake, DrawKeys(noise, people.ids, name)))
    whole = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    outcomes = {key: whole[key] for key in ("benefit", "harm", "first_harm")}
    return Trajectories(
        observations=whole["observations"],
        actions=whole["actions"],
        rewards=outcomes["benefit"] - scenario.weight * outcomes["harm"],
        mask=whole["mask"],
        terminated=whole["terminated"],
        truncated=whole["truncated"],
        behaviour_log_prob=whole["behaviour_log_prob"],
        outcomes=outcomes,
    )


def _record_block(
    scenario: Scenario, regimen: StochasticRegimen, intake: Intake, keys: DrawKeys
) -> dict[str, npt.NDArray[Any]]:
    treatment, state = Treatment(scenario, intake), regimen.initial_state(keys)
    shape = (len(treatment), len(scenario.calendar))
    log: dict[str, npt.NDArray[Any]] = {
        "observations": np.zeros((*shape, len(scenario.observation.names)), dtype=np.float32),
        "actions": np.zeros(shape),
        "behaviour_log_prob": np.zeros(shape),
        "mask": np.zeros(shape, dtype=np.bool_),
        "benefit": np.zeros(shape),
        "harm": np.zeros(shape),
        "terminated": np.zeros(shape[0], dtype=np.bool_),
        "truncated": np.zeros(shape[0], dtype=np.bool_),
    }
    visit = 0
    while treatment.active.any():
        active, observation = treatment.active.copy(), treatment.observe()
        start = np.full(shape[0], visit == 0)
        dose, state = regimen.predict(observation, state, start, deterministic=False)
        interval = treatment.give(dose)
        log_prob = regimen.log_prob(observation, state, interval.dose)
        log["observations"][active, visit] = observation[active]
        log["mask"][:, visit] = active
        for key, values in (
            ("actions", interval.dose),
            ("behaviour_log_prob", log_prob),
            ("benefit", interval.benefit),
            ("harm", interval.harm),
        ):
            log[key][active, visit] = values[active]
        log["terminated"] |= interval.finished
        log["truncated"] |= interval.left
        visit += 1
    log["first_harm"] = _first_harm(treatment.harm, scenario.days)
    return log


def _first_harm(harm: FloatArray, days: npt.NDArray[np.int64]) -> FloatArray:
    """1 in the interval (n, T) with the first unit that was scored as harm (n, u), NaN where not followed."""
    inside = np.nan_to_num(harm) > 0
    ever = np.flatnonzero(inside.any(axis=1))
    first = np.zeros((len(harm), len(days) - 1))
    # the response at the start of a visit's day is what the doses before that visit led to
    first[ever, np.searchsorted(days, inside[ever].argmax(axis=1) + 1) - 1] = 1.0
    return first


def whole_intervals(trajectories: Trajectories) -> Trajectories:
    """The same log without intervals that drop-out cut short: what correction for drop-out needs.

    The rewards of half an interval are no sample of the rewards of a whole one. So the last decision of each
    truncated patient is taken out, and a patient left without any decision is left out. Step t is then seen
    exactly where the patient was still there at visit t + 1, see `follow_up_log_prob`.

    Raises
    ------
    ValueError
        When nobody is left.
    """
    stays = ~trajectories.truncated | (trajectories.lengths > 1)
    if not stays.any():
        raise ValueError(
            f"all {trajectories.n_patients} patients dropped out in their first interval; log more of them"
        )
    kept = trajectories.select(stays)
    last = np.arange(kept.horizon) == kept.lengths[:, None] - 1
    mask = kept.mask & ~(last & kept.truncated[:, None])
    return replace(
        kept,
        mask=mask,
        rewards=np.where(mask, kept.rewards, 0.0),
        outcomes={name: np.where(mask, values, 0.0) for name, values in kept.outcomes.items()},
    )


def follow_up_log_prob(scenario: Scenario, realism: Realism) -> FloatArray:
    """Log probability (T,) of still being there at visit t + 1: that step t of `whole_intervals` is seen.

    Given that the first interval was seen: those who left in it are not in the log. Drop-out is at random, as
    `realism` states it; broadcast it to the (n, T) of a log for `pdwis`.
    """
    return realism.log_staying(scenario.days[1:] - scenario.days[1])


def check_log_prob(
    name: str, log_prob: FloatArray, mask: BoolArray, propensity: Literal["mass", "density"]
) -> None:
    """Refuse log-probabilities that no regimen can have where a decision was made.

    Parameters
    ----------
    name : what the array is called in the message
    log_prob : (n, T) natural logarithm of a probability, or of a density (1/unit of the dose)
    mask : (n, T) where decisions were made; the rest is not looked at
    propensity : a ``"mass"`` must be <= 0, a ``"density"`` may be positive

    Raises
    ------
    ValueError
        For a shape other than the mask's, NaN, +inf, or the log of a probability above 1. -inf is allowed
        here (a target regimen may never give a dose); a logged dose cannot have it.
    """
    if log_prob.shape != mask.shape:
        raise ValueError(f"{name} has shape {log_prob.shape}; expected {mask.shape} as in mask")
    bad = np.isnan(log_prob) | np.isposinf(log_prob)
    expected = "the logarithm of a density below infinity"
    if propensity == "mass":
        bad |= log_prob > LOG_PROB_ROUNDING
        expected = (
            "the logarithm of a probability, <= 0; take the log, "
            "or set propensity='density' when the dose is continuous"
        )
    _refuse(name, log_prob, bad & mask, expected)


def _refuse(name: str, array: npt.NDArray[Any], bad: BoolArray, expected: str) -> None:
    if bad.any():
        patient, step = _first(bad)
        value = array[patient, step]
        raise ValueError(
            f"{name}[{patient}, {step}] = {value} (patient {patient}, step {step}); expected {expected}"
        )


def _first(bad: BoolArray) -> tuple[int, int]:
    patient, step = np.argwhere(bad)[0]
    return int(patient), int(step)


def _as_bool(name: str, flags: npt.ArrayLike) -> BoolArray:
    array = np.asarray(flags)
    if array.dtype != np.bool_ and not np.isin(array, (0, 1)).all():
        raise ValueError(f"{name} holds values other than True and False; expected a boolean array")
    return array.astype(np.bool_)


def _read_only(array: npt.ArrayLike) -> npt.NDArray[Any]:
    view = np.asarray(array).view()
    view.flags.writeable = False
    return view
