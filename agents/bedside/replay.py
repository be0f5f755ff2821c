"""What every regimen would give now, and why: each is shown the patient's visits one by one.

A rule's dose in force is the one on record, not the one that the rule would have given: its table is read
for this patient as treated. Beliefs are kept by the filter that the regimen always has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.agents import arm
from dosewright.agents.bedside.digits import digits
from dosewright.agents.bedside.timeline import Timeline
from dosewright.agents.estimation import Belief
from dosewright.agents.estimation.prior import names as unknown_names
from dosewright.agents.regimens import PID, Bayesian, Guideline, Nomogram, PIDState, Proportional, regimen
from dosewright.agents.regimens.nomogram import NomogramState, ProportionalState
from dosewright.agents.regimens.planner import MULTIPLES
from dosewright.envs import Regimen, Scenario
from dosewright.envs.scenarios import AdjustmentRow, AdjustmentTable

Floats = NDArray[np.float64]
Seen = Mapping[str, Floats]

NAMES = (
    "label", "guideline", "clinical-nomogram", "nomogram", "pid", "bayesian", "bayesian-adaptive", "planner",
    "planner-adaptive", "policy",
)  # fmt: skip
_CHANGED = 0.005  # relative change of a dose that is worth a word
_SHIFTED = 0.1  # prior SDs by which a parameter's mean has to move to be worth a word


@dataclass(frozen=True)
class Advised:
    """What a regimen would give now.

    Attributes
    ----------
    name
        As on the command line.
    dose, given
        As the regimen says it, and as it is given, of the grid; None where it says nothing.
    why
        In words and numbers: why this dose, or why none.
    doubt
        What throws doubt on it, in a sentence; empty where nothing does.
    """

    name: str
    dose: float | None
    given: float | None
    why: str
    doubt: str = ""


@dataclass(frozen=True)
class _Moment:
    """The last visit of a replay: what is seen, and the regimen's memory before and after."""

    seen: Seen
    observation: NDArray[np.float32]
    before: Any
    after: Any
    dose: float
    in_force: float


def replay(timeline: Timeline, policy: str | None = None) -> list[Advised]:
    """Return what every regimen of `NAMES` would give, those without an answer with the reason.

    Parameters
    ----------
    timeline
        The patient.
    policy
        Folder of a trained policy; None: the one that ships for the drug.

    Raises
    ------
    ValueError
        For a policy that is broken or made for another drug.
    """
    scenario = timeline.case.scenario
    # what was asked for by name is not passed over where it is broken
    named = None if policy is None else arm(f"policy:{policy}", scenario)
    try:
        if timeline.case.no_replay:
            raise ValueError(timeline.case.no_replay)
        observations = timeline.observations()
    except ValueError as error:
        return [Advised(name, None, None, f"visits cannot be replayed: {error}") for name in NAMES]
    own = replace(scenario, calendar=timeline.calendar)
    made: dict[str, Callable[[], Regimen]] = {name: _maker(name, own) for name in NAMES[:-1]}
    made["policy"] = lambda: arm("policy", scenario) if named is None else named
    return [_advised(name, made[name], timeline, observations) for name in NAMES]


def _maker(name: str, scenario: Scenario) -> Callable[[], Regimen]:
    return lambda: regimen(name, scenario)


def _advised(
    name: str, make: Callable[[], Regimen], timeline: Timeline, observations: list[NDArray[np.float32]]
) -> Advised:
    scenario = timeline.case.scenario
    try:
        found = make()
        if name == "policy" and len(timeline.visits) > len(scenario.days) + 1:
            raise ValueError(f"{len(timeline.visits)} visits, and it was made for {len(scenario.calendar)}")
        seen = scenario.observation.decode(observations[-1])
        unknown = sorted(entry for entry in found.needs if np.isnan(seen[entry][0]))
        if unknown:
            raise ValueError(f"it needs {', '.join(unknown)}, not known")
        moment = _replayed(found, timeline, observations)
    except ValueError as error:
        return Advised(name, None, None, str(error).removeprefix(f"{scenario.name}: ").split("; ")[0])
    if not moment.dose >= 0:
        return Advised(name, None, None, "it has no dose for this patient")
    given = float(scenario.doses.snap(moment.dose))
    return Advised(name, moment.dose, given, _why(found, moment, timeline), _doubt(found, timeline))


def _replayed(found: Regimen, timeline: Timeline, observations: list[NDArray[np.float32]]) -> _Moment:
    """Show a regimen all visits."""
    scenario, state, before = timeline.case.scenario, None, None
    dose, last = np.zeros(1), timeline.last_dose
    for number, (visit, observation) in enumerate(zip(timeline.visits, observations, strict=True)):
        before = state
        dose, state = found.predict(observation, state, np.array([number == 0]))
        if number + 1 < len(timeline.visits):
            given = float(timeline.dose[visit.unit])
            advised = float(scenario.doses.snap(np.nan_to_num(dose))[0])
            if not scenario.doses.same(advised, given):
                earlier = float(timeline.dose[visit.unit - 1]) if number else np.nan
                clock = scenario.observation.read(observation, scenario.clock.entry)
                state = in_force(state, before, given, not scenario.doses.same(given, earlier), clock)
    seen = scenario.observation.decode(observations[-1])
    return _Moment(seen, observations[-1], before, state, float(dose[0]), last)


def in_force(state: Any, before: Any, given: float, changed: bool, clock: Floats) -> Any:
    """Return a rule's memory after a visit at which another dose was given than it advised.

    Parameters
    ----------
    state, before
        Its memory after and before the visit; None before the first.
    given
        Dose on record; 0 is a pause, during which the dose in force stays what it was.
    changed
        Whether that is another dose than before the visit.
    clock : (1,) time of the visit, as an observation shows it
    """
    dose = np.array([given])
    if isinstance(state, ProportionalState):
        kept = state.dose if before is None else before.dose
        return ProportionalState(np.where(dose > 0, dose, kept), state.omitted & (dose == 0))
    if isinstance(state, NomogramState):
        earlier = state if before is None else before
        return NomogramState(
            maintenance=np.where(dose > 0, dose, earlier.maintenance),
            first=np.where(dose > 0, dose, state.first) if before is None else state.first,
            changed=clock if changed and before is not None else earlier.changed,
            held=state.held & (dose == 0),
            stopped=state.stopped & (dose == 0),
        )
    return state


# --------------------------------------------------------------------------------------------------- in words


def _why(found: Regimen, moment: _Moment, timeline: Timeline) -> str:
    if isinstance(found, Guideline):
        rule = timeline.case.scenario.guideline
        return f"{'' if rule is None else rule.name}; nothing that is measured changes it"
    if isinstance(found, Nomogram):
        return _nomogram(found, moment, timeline)
    if isinstance(found, Proportional):
        return _proportional(found, moment, timeline)
    if isinstance(found, PID):
        return _pid(found, moment)
    if isinstance(found, Bayesian):
        return _bayesian(found, moment.after, timeline)
    from dosewright.agents.learning import LearnedPolicy  # PyTorch

    assert isinstance(found, LearnedPolicy)
    anchor = float(found.anchor(moment.after, moment.observation)[0])
    ratio = moment.dose / anchor if anchor > 0 else np.nan
    what = "its monitoring dose" if found.departs_from_monitoring else "the clinic's first dose"
    return f"learned: {ratio:.2f} × {what} of {_dose(timeline, anchor)}"


def _doubt(found: Regimen, timeline: Timeline) -> str:
    """What was learned holds between the shortest and the longest time to a next visit that training had."""
    from dosewright.agents.learning import LearnedPolicy  # PyTorch

    if not isinstance(found, LearnedPolicy) or not found.card.get("trained", True):
        return ""
    apart, clock = np.diff(found.scenario.days), timeline.case.scenario.clock
    least, most = int(apart.min()), int(apart.max())
    if least <= timeline.ahead <= most:
        return ""
    words = f"{least}" if least == most else f"{least} to {most}"
    units, ahead = clock.unit if most == 1 else clock.units, timeline.ahead
    return f"the policy learned with visits {words} {units} apart: its dose for {ahead} is an extrapolation"


def _nomogram(found: Nomogram, moment: _Moment, timeline: Timeline) -> str:
    if found.table is None:
        return f"{found.start.name}; nothing that is measured changes it"
    if moment.before is None:
        return f"start: {found.start.name}"
    scenario, table = timeline.case.scenario, found.table
    read = scenario.measurement
    if table.value is None:
        value = float(moment.seen[read.name][0]) if moment.seen[f"{read.name}_new"][0] > 0.5 else np.nan
        what = f"{read.name} {digits(value)} is in "
    else:
        value, what = float(table.value(moment.seen)[0]), ""
    if np.isnan(value):
        in_force = float(moment.before.maintenance[0])
        return f"nothing new was measured: {_dose(timeline, in_force)} in force is kept"
    row = next((row for row in table.rows if row.band.contains(np.array([np.round(value, 5)]))[0]), None)
    where = "no row" if row is None else f"'{row.band.label}'"
    return f"{what}{where} of {table.name}: {_action(table, row, moment, timeline)}"


def _action(table: AdjustmentTable, row: AdjustmentRow | None, moment: _Moment, timeline: Timeline) -> str:
    was, now = float(moment.before.maintenance[0]), float(moment.after.maintenance[0])
    if moment.after.held[0]:
        return "nothing until the next visit"
    if abs(now - was) > _CHANGED * max(was, now):
        ratio = f"dose × {now / was:.2f}" if was > 0 else "a dose again"
        return f"{ratio}, {digits(was)} → {_dose(timeline, now)}"
    scenario = timeline.case.scenario
    day = float(moment.seen[scenario.clock.entry][0])
    since = day - float(moment.before.changed[0])
    if row is not None and (row.factor != 1 or row.add != 0) and since < table.wait_days:
        return (
            f"{_dose(timeline, was)} is kept (changed {since:g} {scenario.clock.symbol} ago, the rule waits "
            f"{table.wait_days:g})"
        )
    return f"{_dose(timeline, was)} is kept"


def _proportional(found: Proportional, moment: _Moment, timeline: Timeline) -> str:
    if moment.before is None:
        return f"start: {found.start.name}"
    value, target = float(found.rule.value(moment.seen)[0]), float(found.rule.target(moment.seen)[0])
    was, now = float(moment.before.dose[0]), float(moment.after.dose[0])
    if np.isnan(value):
        # a rule may ask for more than the first measurement
        measured = [item.name for item in timeline.case.scenario.measurements]
        new = [name for name in measured if moment.seen[f"{name}_new"][0] > 0.5]
        lacks = (
            f"of the levels that the rule reads only {', '.join(new)} is new"
            if new
            else "nothing new was measured"
        )
        return f"{lacks}: {_dose(timeline, was)} in force is kept"
    unit = timeline.case.scenario.responses[0].unit
    read = f"{timeline.case.scenario.output} {digits(value)}, its target {digits(target)}{_unit(unit)}"
    if moment.after.omitted[0]:
        return f"{read}: nothing until the next visit"
    if abs(now - was) <= _CHANGED * max(was, now):
        return f"{read}: {_dose(timeline, was)} is kept"
    bound = "" if abs(now / was - target / value) < 1e-6 else ", as far as one change goes"
    return f"{read}: dose × {now / was:.2f}{bound}, {digits(was)} → {_dose(timeline, now)}"


def _pid(found: PID, moment: _Moment) -> str:
    state: PIDState = moment.after
    if moment.seen[found.scenario.clock.entry][0] < found.rule.ends:
        return f"induction: {found.rule.induction.name}"
    error = float(state.level[0]) - found.rule.target
    if np.isnan(error):
        return f"nothing measured yet: bias of {found.rule.bias:g}"
    return (
        f"filtered response {digits(error + found.rule.target)} against {found.rule.target:g}: bias "
        f"{found.rule.bias:g}, proportional {found.rule.gain * error:+.3g}, integral {state.integral[0]:+.3g}"
    )


def _bayesian(found: Bayesian, belief: Belief, timeline: Timeline) -> str:
    """Say what the belief knows of the patient that the population is not, and what the dose is for."""
    own, unit = found.scenario, timeline.unit
    if own.maintenance_dose is not None:
        aim = f"{own.output} {own.target:g} in steady state"
    else:
        last = unit + int(found.filter.reach(belief)[0]) - 1
        target = float(own.target_at(np.array([last]))[0])
        aim = f"{own.output} {digits(target)} at the end of {own.clock.unit} {last}"
    goal = f"for {aim}"
    if type(found) is not Bayesian:
        goal = f"least expected loss of {len(MULTIPLES)} multiples of the dose {goal}"
    fading = "" if found.fade == 1 else f", each result counting {found.fade:g} × at every later one"
    if not np.any(belief.credit > 0):
        return f"nothing measured yet, the population's parameters; {goal}"
    mean, _ = belief.mean_sd(belief.x)
    before = np.exp(belief.prior.log_weight[0]) @ belief.prior.mean[0]
    shift = (mean[0] - before) / belief.prior.sd
    j = int(np.argmax(np.abs(shift)))
    name = unknown_names(own)[j]
    if abs(shift[j]) < _SHIFTED:
        return f"parameters like the population's{fading}; {goal}"
    if name.startswith("log "):
        moved = f"{name[4:]} {np.exp(mean[0, j] - before[j]):.2f} × the population's"
    else:
        moved = f"{name} {shift[j]:+.1f} SD from the population's"
    return f"{moved}{fading}; {goal}"


def _dose(timeline: Timeline, dose: float) -> str:
    return f"{digits(dose)} {timeline.case.scenario.doses.unit}"


def _unit(unit: str) -> str:
    return "" if unit == "1" else f" {unit}"
