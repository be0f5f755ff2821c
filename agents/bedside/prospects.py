"""What doses would do to one patient: probability of the target and of harm, and the next level."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from dosewright.agents.bedside.digits import digits
from dosewright.agents.bedside.posterior import Draws
from dosewright.agents.bedside.timeline import Timeline
from dosewright.agents.estimation import Outlook
from dosewright.agents.regimens.planner import loss
from dosewright.envs import Scenario
from dosewright.envs.measurement import Measurement
from dosewright.envs.scenarios import Band, Response

Floats = NDArray[np.float64]

DRAWS = 512
NEIGHBOURS = 4  # doses of the grid on each side of the monitoring dose


@dataclass(frozen=True)
class Target:
    """A range that a response should lie in.

    Attributes
    ----------
    name, unit
        The response, or the measurement.
    low, high
        Ends, which belong to it; infinite for none.
    own
        Whether it is the scenario's.
    aim
        Value that monitoring doses to.
    label
        In words.
    """

    name: str
    unit: str
    low: float
    high: float
    own: bool
    aim: float
    label: str

    def contains(self, values: Floats) -> NDArray[np.bool_]:
        """Whether values lie in it."""
        return (values >= self.low) & (values <= self.high)


@dataclass(frozen=True)
class Interval:
    """Mean and middle 90 % of a predicted quantity."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Floats) -> Interval:
        """Of equally likely values (k,)."""
        low, high = np.quantile(values, [0.05, 0.95])
        return cls(float(values.mean()), float(low), float(high))


@dataclass(frozen=True)
class Prospect:
    """What a dose, given until the next visit and on, would do.

    Attributes
    ----------
    dose
        Of the grid, in the scenario's unit.
    given
        What is given of it in the coming unit, rounded as the scenario rounds: "2 × 750 mg".
    in_target
        Probability that the response lies in the target at the end of the look ahead.
    harm
        Probability of the scenario's harm in any unit until then.
    benefit, loss
        Expected benefit a unit, and what the planner minimises: weight × harm − benefit, a unit.
    response
        The response that the target is of, at the end of the look ahead.
    level
        The next level as the laboratory would report it, assay error included; None where none is planned.
    """

    dose: float
    given: str
    in_target: float
    harm: float
    benefit: float
    loss: float
    response: Interval
    level: Interval | None


def target_of(scenario: Scenario, text: str | None, unit: int) -> Target:
    """Return a target from ``name=low..high``, of which one end may be left open, or the scenario's band of a
    unit.

    Raises
    ------
    ValueError
        For a name that is neither a response nor a measurement, a range that is none, or a scenario without a
        band of its own.
    """
    if text is None:
        return _own(scenario, unit)
    found = re.fullmatch(r"([^=]+)=\s*([^=]*?)\s*\.\.\s*([^=]*)", text)
    if not found:
        raise ValueError(f"--target {text!r}; expected NAME=LOW..HIGH, as in {scenario.output}=8..12")
    names: dict[str, tuple[str, str]] = {
        item.name.lower(): (f"sample of {item.name}", item.unit) for item in scenario.measurements
    }
    names |= {item.name.lower(): (item.name, item.unit) for item in scenario.responses}
    name = found[1].strip()
    if name.lower() not in names:
        known = dict.fromkeys(
            [*(r.name for r in scenario.responses), *(m.name for m in scenario.measurements)]
        )
        raise ValueError(f"--target {name}: {scenario.name} has no such response; it has: {', '.join(known)}")
    try:
        low, high = (float(end) if end.strip() else None for end in (found[2], found[3]))
        ends = [end for end in (low, high) if end is not None]
        if not all(map(math.isfinite, ends)):
            raise ValueError
    except ValueError:
        raise ValueError(f"--target {text!r}: expected numbers, as in {name}=8..12") from None
    if not ends or (low is not None and high is not None and not low < high) or min(ends) < 0:
        raise ValueError(
            f"--target {text!r}: expected a range from a smaller to a larger number, none below 0"
        )
    key, its_unit = names[name.lower()]
    label = f"{name} {_range(low, high)}" + ("" if its_unit == "1" else f" {its_unit}")
    return Target(
        key, its_unit, -math.inf if low is None else low, math.inf if high is None else high, False,
        sum(ends) / len(ends), label,
    )  # fmt: skip


def _range(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high:g}"
    return f"{low:g} and more" if high is None else f"{low:g} to {high:g}"


def _own(scenario: Scenario, unit: int) -> Target:
    """Return the scenario's band of a unit, or of the first one after it that has one."""
    bands = (scenario.benefit.band(u) for u in range(min(unit, scenario.horizon - 1), scenario.horizon))
    band: Band | None = next((item for item in bands if item is not None), None)
    if band is None:
        raise ValueError(
            f"{scenario.name} has no band for {scenario.clock.unit} {unit}; give --target "
            f"{scenario.output}=LOW..HIGH"
        )
    response = scenario.responses[0]
    aim = float(scenario.target_at(np.array([min(unit, scenario.horizon - 1)]))[0])
    low, high = max(band.at_least, band.above), min(band.at_most, band.below)
    return Target(response.name, response.unit, low, high, True, aim, band.label)


@dataclass(frozen=True, eq=False)
class Prospects:
    """One patient's future, to be asked about doses.

    Attributes
    ----------
    draws, timeline, target
        Who, when, and what for.
    reach
        Units ahead at whose end the target is looked at: as far as the scenario's monitoring looks, at least
        until the next visit.
    seed
        Of the assay's error.
    """

    draws: Draws
    timeline: Timeline
    target: Target
    reach: int
    seed: int

    @classmethod
    def of(cls, draws: Draws, timeline: Timeline, text: str | None, seed: int) -> Prospects:
        """Return the future of a patient for a target as `target_of` reads it."""
        scenario = timeline.case.scenario
        reach = int(scenario.reach(np.array(timeline.unit), np.array(timeline.ahead)))
        target = target_of(scenario, text, timeline.unit + reach - 1)
        return cls(draws, timeline, target, reach, seed)

    @cached_property
    def scenario(self) -> Scenario:
        """The scenario with the response that the target is of first, every sample as a response besides, and
        the target's aim."""
        own = self.timeline.case.scenario
        samples = tuple(_sample(item) for item in own.measurements)
        every = (*own.responses, *samples)
        first = next(item for item in every if item.name == self.target.name)
        aim = self.target.aim
        monitoring = own.monitoring
        if not self.target.own:
            monitoring = replace(monitoring, target=lambda unit: np.full(np.shape(unit), aim))
        others = tuple(item for item in every if item is not first)
        return replace(own, responses=(first, *others), monitoring=monitoring)

    @cached_property
    def outlook(self) -> Outlook:
        """The patient when the coming unit begins."""
        return self.draws.outlook(self.scenario, self.timeline.begin, self.timeline.unit)

    @cached_property
    def doses_to_target(self) -> Floats:
        """(N,) the dose that every draw needs: by the scenario's formula for the steady state, else the one
        that is on target at the end of `reach`."""
        own = self.timeline.case.scenario
        if own.maintenance_dose is not None and self.target.name == own.output:
            return own.maintenance_dose(self.draws.theta, self.target.aim)
        return self.outlook.dose_to_target(self.reach)[0]

    @cached_property
    def monitoring_dose(self) -> float:
        """The posterior mean of the log of the dose that is needed, as Bayesian monitoring doses."""
        least = self.scenario.doses.step / 10
        return float(np.exp(np.mean(np.log(np.maximum(self.doses_to_target, least)))))

    @property
    def out_of_reach(self) -> float:
        """Probability that no dose of the grid is enough."""
        return float(np.mean(self.doses_to_target >= self.scenario.doses.maximum * (1 - 1e-9)))

    @cached_property
    def candidates(self) -> Floats:
        """(c,) doses of the grid around the monitoring dose; of those by which the same is given, one."""
        grid = self.scenario.doses
        place = int(np.argmin(np.abs(grid.doses - grid.snap(self.monitoring_dose))))
        first = max(place - NEIGHBOURS, 0)
        # the last of the same: rounding goes upwards at the half, so it is the one named after what is given
        same = {self.given(float(dose)): float(dose) for dose in grid.doses[first : place + NEIGHBOURS + 1]}
        same[self.given(float(grid.doses[place]))] = float(grid.doses[place])
        return np.array(list(same.values()))

    def given(self, dose: float) -> str:
        """Return what is given of a dose in the coming unit, as in ``2 × 750 mg``."""
        own, unit = self.timeline.case.scenario, self.timeline.unit
        said = []
        for item in own.administrations:
            made = item.give(np.array([[dose]]), self.outlook.people, np.array([[unit]]))
            amounts = np.broadcast_to(made.amount, (1, 1, item.count))[0, 0]
            for amount, each in groupby(amounts[amounts > 0].tolist()):
                number = len(list(each))
                said.append(f"{number} × {digits(amount, 4)}" if number > 1 else digits(amount, 4))
        return f"{' + '.join(said)} {own.model.amount_unit}" if said else "nothing"

    @cached_property
    def next_level(self) -> tuple[Measurement, int] | None:
        """The measurement that is dosed by, and the units ahead at which it is drawn next; None: no more."""
        own, unit, ahead = self.timeline.case.scenario, self.timeline.unit, self.timeline.ahead
        for item in own.measurements:
            coming = [unit + ahead] if item.units is None else [u for u in item.units if u > unit]
            if coming:
                return item, min(coming) - unit
        return None

    def prospects(self, doses: Sequence[float]) -> list[Prospect]:
        """Return what each of some doses would do."""
        own, level = self.timeline.case.scenario, self.next_level
        units = self.reach if level is None else max(self.reach, level[1])
        course = np.repeat(np.asarray(doses, dtype=np.float64)[None, :, None], units, axis=2)
        responses = self.outlook.responses(course)
        n, c = course.shape[1], len(doses)
        number = np.minimum(self.timeline.unit + np.arange(units), own.horizon - 1)
        within = {item.name: responses[item.name][..., : self.reach] for item in own.responses}
        flat = {name: values.reshape(-1, self.reach) for name, values in within.items()}
        rows = np.broadcast_to(number[: self.reach], (len(next(iter(flat.values()))), self.reach))
        harm = (own.harm.of(flat, rows) > 0).any(axis=1).reshape(-1, n)
        benefit = own.benefit.of(flat, rows).mean(axis=1).reshape(-1, n)
        expected = loss(own, within, number[None, : self.reach])[0].mean(axis=0) / self.reach
        last = responses[self.target.name][0, :, :, self.reach - 1]
        levels = None
        if level is not None:
            item, ahead = level
            truth = responses[_sample(item).name][0, :, :, ahead - 1]
            z = np.random.default_rng([self.seed, 3]).normal(size=len(truth))
            levels = np.minimum(item.error.apply(truth, np.repeat(z[:, None], n, axis=1)), item.high)
        return [
            Prospect(
                dose=float(doses[i]),
                given=self.given(float(doses[i])),
                in_target=float(self.target.contains(last[:, i]).mean()),
                harm=float(harm[:, i].mean()),
                benefit=float(benefit[:, i].mean()),
                loss=float(expected[i]),
                response=Interval.of(last[:, i]),
                level=None if levels is None else Interval.of(levels[:, i]),
            )
            for i in range(c)
        ]


def _sample(item: Measurement) -> Response:
    return Response(f"sample of {item.name}", item.unit, lambda reads: reads[item.reading, item.output])
