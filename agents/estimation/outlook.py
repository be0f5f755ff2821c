"""What comes: the responses of patients under doses that might be given, and the dose that meets the target.

Each of n patients may be one person, such as the truth that the oracle sees, or k particles of a belief.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dosewright.envs import Scenario
from dosewright.envs.prescription import prescribed, run

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_READINGS = 4_000_000  # simulated at a time: bounds memory, changes nothing
_STEPS, _CLOSE = 8, 0.005  # of the search for a dose; relative distance from the target that ends it


@dataclass(frozen=True)
class Outlook:
    """n patients as they are now, k particles each.

    Attributes
    ----------
    scenario
        The decision problem.
    people : covariate -> (n,)
    theta : (n, k, g, p) parameters in g stretches of time
    stretch : (n, horizon) stretch of every unit; (n, 0): there is one
    state : (n, k, s) of the model
    clock, unit : (n,) model time, and number of the coming unit
    """

    scenario: Scenario
    people: Mapping[str, Floats]
    theta: Floats
    stretch: Ints
    state: Floats
    clock: Floats
    unit: Ints

    def responses(self, dose: Floats) -> dict[str, Floats]:
        """Return every response, name -> (n, k, c, u), under c courses of doses (n, c, u), a dose for each of
        the coming units; they are as prescribed, parameters stay as they are."""
        n, k, s = self.state.shape
        c, u = dose.shape[1:]
        # particle and candidate of row i: the particles of a patient share the candidates
        which = (np.arange(n)[:, None, None] * c + np.arange(c)).repeat(k, axis=1).reshape(-1)
        state = np.repeat(self.state.reshape(n * k, s), c, axis=0)
        theta = np.repeat(self.theta.reshape(n * k, *self.theta.shape[2:]), c, axis=0)
        course = self._follow(np.repeat(np.arange(n), c), dose.reshape(n * c, u), state, theta, which)
        return {name: values.reshape(n, k, c, u) for name, values in course.items()}

    def pick(self, index: Ints) -> Outlook:
        """Return the patients with some of their particles, `index` (n, m)."""
        theta = np.take_along_axis(self.theta, index[:, :, None, None], axis=1)
        return replace(self, theta=theta, state=np.take_along_axis(self.state, index[:, :, None], axis=1))

    def dose_to_target(
        self, units: int, tried: Floats | None = None, reached: Floats | None = None
    ) -> Floats:
        """Return the constant dose (n, k) by which each particle is on target at the end of so many units;
        where no dose of the grid is, the end of it that is nearer.

        Regula falsi in the Illinois form: exact at once where the response is linear in the dose. It begins
        between no drug and a dose that was tried (n,), with the response (n, k) it leads to; by default the
        usual one.
        """
        n, k = self.state.shape[:2]
        target = np.repeat(self.scenario.target_at(self.unit + units - 1), k)
        everyone, at_end, close = np.arange(n * k), self._at_end(units), _CLOSE * np.abs(target)

        def distance(dose: Floats, some: Ints) -> Floats:
            return at_end(dose, some) - target[some]

        high = np.repeat(np.full(n, self.scenario.doses.usual) if tried is None else tried, k)
        at_high = distance(high, everyone) if reached is None else reached.reshape(-1) - target
        low, at_low = np.zeros(n * k), distance(np.zeros(n * k), everyone)
        # Beyond what was tried: first as far as the secant says, then to the end of the grid
        most = self.scenario.doses.maximum
        further = np.minimum(_secant(low, at_low, high, at_high), most)
        beyond = np.flatnonzero((at_low * at_high > 0) & (further > high) & (np.abs(at_high) > close))
        for reach in (further, np.full(n * k, most)):
            low[beyond], at_low[beyond] = high[beyond], at_high[beyond]
            high[beyond], at_high[beyond] = reach[beyond], distance(reach[beyond], beyond)
            beyond = beyond[(at_low * at_high > 0)[beyond] & (np.abs(at_high) > close)[beyond]]
            beyond = beyond[high[beyond] < most]
        dose, side = np.where(np.abs(at_low) < np.abs(at_high), low, high), np.zeros(n * k)
        going = (at_low * at_high < 0) & (np.minimum(np.abs(at_low), np.abs(at_high)) > close)
        for _ in range(_STEPS):
            if not going.any():
                break
            guess = _secant(low, at_low, high, at_high)
            dose = np.where(going & np.isfinite(guess), guess, dose)
            # who is close enough stays, in any company
            some = np.flatnonzero(going)
            here = np.zeros(n * k)
            here[some] = distance(dose[some], some)
            going &= np.abs(here) > close
            same = here * at_low > 0
            at_high = np.where(same & (side == 1), at_high / 2, at_high)
            at_low = np.where(~same & (side == -1), at_low / 2, at_low)
            side = np.where(same, 1, -1)
            low, at_low = np.where(same, dose, low), np.where(same, here, at_low)
            high, at_high = np.where(same, high, dose), np.where(same, at_high, here)
        return dose.reshape(n, k)

    def _at_end(self, units: int) -> Callable[[Floats, Ints], Floats]:
        """Return the response that is dosed to after so many units of a constant dose, as a function of the
        doses (m,) and of which particles (m,) of all n·k they are for."""
        n, k, s = self.state.shape
        rows = np.repeat(np.arange(n), k)
        state, theta = self.state.reshape(n * k, s), self.theta.reshape(n * k, *self.theta.shape[2:])

        def at_end(dose: Floats, some: Ints) -> Floats:
            course, each = np.repeat(dose[:, None], units, axis=1), np.arange(len(some))
            response = self._follow(rows[some], course, state[some], theta[some], each)[self.scenario.output]
            return response[:, -1]

        return at_end

    def _follow(
        self, rows: Ints, dose: Floats, state: Floats, theta: Floats, which: Ints
    ) -> dict[str, Floats]:
        """Move states (r, s) in place under courses (m, u) of patients `rows` (m,), and return the responses
        (r, u)."""
        scenario, units = self.scenario, np.arange(dose.shape[1])
        unit = np.minimum(self.unit[rows, None] + units, scenario.horizon - 1)
        begins = self.clock[rows, None] + units * scenario.clock.length
        people = {name: values[rows] for name, values in self.people.items()}
        column = column_of(self.stretch[rows], unit)
        count = np.full(len(rows), len(units))
        events = prescribed(scenario, people, dose, unit, begins, count, column)
        begin = self.clock[rows][which]
        reads, _ = run(scenario, state, theta, events, len(units), begin=begin, which=which, rule="belief")
        return {item.name: item.of(reads) for item in scenario.responses}


def _secant(low: Floats, at_low: Floats, high: Floats, at_high: Floats) -> Floats:
    """Return where the line through two points meets 0; not finite where it is level."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return (low * at_high - high * at_low) / (at_high - at_low)


def column_of(stretch: Ints, unit: Ints) -> Ints | None:
    """Return the column of the parameters that holds in units (n, u), of stretches (n, horizon); None where
    there is one throughout."""
    return np.take_along_axis(stretch, unit, axis=1) if stretch.shape[1] else None


def blocks(scenario: Scenario, rows: Ints, courses: int) -> Iterator[Ints]:
    """Yield patients `rows` in parts that fit into memory, where each has so many units of courses read."""
    size = max(1, _READINGS // (courses * len(scenario.readings) * len(scenario.read_outputs)))
    for first in range(0, len(rows), size):
        yield rows[first : first + size]
