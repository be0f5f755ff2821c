"""A closed loop, interpreted: an induction, then a PID controller.

The positional form with the derivative of the filtered response, and conditional integration against windup
(Åström and Hägglund 2006, Advanced PID Control, chapter 3; RECALLED). The scenario holds the gains as data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.regimens.nomogram import first_visits
from dosewright.envs import Scenario
from dosewright.envs.scenarios import PIDRule

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class PIDState:
    """Memory of n patients.

    Attributes
    ----------
    level : (n,) filtered response; NaN before the first value
    slope : (n,) its change per time, at the last value
    read : (n,) time of the last value; NaN before the first
    integral : (n,) what the integral adds to the dose
    """

    level: Floats
    slope: Floats
    read: Floats
    integral: Floats


@dataclass(frozen=True)
class PID:
    """Induce, then control.

    Where nothing new is seen, late or lost, level, slope and integral are held, and so is the dose. The
    integral is kept without rounding: what the dose's grid swallows adds up. It rests while the dose is at a
    limit and the error would push it further: a pump that stops, or a response that no allowed dose reaches,
    leaves no debt.

    Attributes
    ----------
    scenario
        The decision problem.
    name
        Name of the arm.

    Raises
    ------
    ValueError
        For a scenario without a controller.
    """

    scenario: Scenario
    name: str = "pid"

    def __post_init__(self) -> None:
        _ = self.rule  # refuses a drug without one

    @property
    def rule(self) -> PIDRule:
        """The scenario's controller."""
        if self.scenario.controller is None:
            guided = "" if self.scenario.guideline is None else ", guideline, nomogram"
            raise ValueError(
                f"{self.scenario.name}: a closed loop is no practice for it, so there is no PID controller; "
                f"it has label, clinical-nomogram{guided}"
            )
        return self.scenario.controller

    @property
    def needs(self) -> frozenset[str]:
        """What the induction asks for."""
        return self.rule.induction.needs

    def predict(
        self,
        observation: NDArray[np.float32],
        state: PIDState | None = None,
        episode_start: Bools | None = None,
        deterministic: bool = True,
    ) -> tuple[Floats, PIDState]:
        """Return the dose (n,) and the memory of the patients."""
        seen, rule, n = self.scenario.observation.decode(observation), self.rule, len(observation)
        first = first_visits(n, state, episode_start)
        if state is None:
            state = PIDState(np.full(n, np.nan), np.zeros(n), np.full(n, np.nan), np.zeros(n))
        state = PIDState(
            level=np.where(first, np.nan, state.level),
            slope=np.where(first, 0.0, state.slope),
            read=np.where(first, np.nan, state.read),
            integral=np.where(first, 0.0, state.integral),
        )
        now = seen[self.scenario.clock.entry]
        inducing = now < rule.ends
        value = np.where(inducing, np.nan, rule.value(seen))
        dose, state = _controlled(rule, _tracked(rule, state, value, now), ~np.isnan(value), seen["interval"])
        return np.where(inducing, rule.induction.dose(seen), dose), state


def _tracked(rule: PIDRule, state: PIDState, value: Floats, now: Floats) -> PIDState:
    """Return the memory after new values (n,), NaN where there is none: the filter is exact for any gap."""
    new, begun = ~np.isnan(value), ~np.isnan(state.level)
    elapsed = np.where(new & begun, now - state.read, np.inf)  # the first value is taken as it is
    level = np.where(begun, state.level, value)
    change = np.where(new, -np.expm1(-elapsed / rule.filter_time) * (value - level), 0.0)
    return PIDState(
        level=level + change,
        slope=np.where(new, change / elapsed, state.slope),
        read=np.where(new, now, state.read),
        integral=state.integral,
    )


def _controlled(rule: PIDRule, state: PIDState, new: Bools, interval: Floats) -> tuple[Floats, PIDState]:
    """Return the dose (n,) within the limits and the memory; the integral moves where a value is `new` (n,),
    over the time since the previous visit (n,)."""
    error = np.where(np.isnan(state.level), 0.0, state.level - rule.target)
    rest = rule.bias + rule.gain * (error + rule.derivative_time * state.slope)
    step = np.where(new, rule.gain * error * interval / rule.integral_time, 0.0)
    wanted = rest + state.integral + step
    outwards = ((wanted > rule.most) & (step > 0)) | ((wanted < rule.least) & (step < 0))
    integral = state.integral + np.where(outwards, 0.0, step)
    dose = np.clip(rest + integral, rule.least, rule.most)
    return dose, PIDState(state.level, state.slope, state.read, integral)
