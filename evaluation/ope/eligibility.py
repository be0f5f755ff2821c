"""Whether a regimen may be asked about a log at all: checks that come before any number."""

from collections.abc import Iterator

import numpy as np

from dosewright.envs import Regimen, Scenario, StochasticRegimen
from dosewright.evaluation.log_checks import TIME_ROUNDING, first_place
from dosewright.evaluation.logged import Trajectories
from dosewright.evaluation.trial.design import AttachedRegimen


def refuse_training_patients(trajectories: Trajectories, regimen: Regimen) -> None:
    """Refuse to evaluate a learned policy on the patients it was trained on.

    The card of a learned policy names the seed namespace of its patients, and a recorded log names its own.
    The rule is that of a virtual trial: one namespace, no evaluation. A log that does not say whose patients
    it holds cannot be checked.

    Raises
    ------
    ValueError
        When the regimen, or one of those it consists of, was trained on the log's namespace.
    """
    namespace = trajectories.provenance.get("namespace")
    for name, trained in _trained_on(regimen):
        if namespace is not None and trained == namespace:
            raise ValueError(
                f"regimen {name!r}: its card says that it was trained on seed namespace {namespace!r}, which "
                "the patients of this log are drawn from; evaluate it on a log of another namespace"
            )


def _trained_on(regimen: Regimen) -> Iterator[tuple[str, str | None]]:
    """Yield name and namespace of a regimen and of the components of a mixture."""
    yield regimen.name, getattr(regimen, "seed_namespace", None)
    for component in getattr(regimen, "regimens", ()):
        yield from _trained_on(component)


def check_regimen(regimen: Regimen) -> None:
    """Refuse a regimen that cannot be asked what it would have done.

    Raises
    ------
    ValueError
        For one that draws its doses (it has `initial_state`) and has no `log_prob`, and for one that is shown
        the truth.
    """
    if hasattr(regimen, "initial_state") and not isinstance(regimen, StochasticRegimen):
        raise ValueError(
            f"regimen {regimen.name!r} draws its doses and has no log_prob; expected "
            "log_prob(observation, state, dose), the log probability of the dose really given"
        )
    if isinstance(regimen, AttachedRegimen):
        raise ValueError(
            f"regimen {regimen.name!r} is shown the truth, which a log does not hold; put it into a virtual "
            "trial as an upper bound"
        )


def check_scenario(trajectories: Trajectories, scenario: Scenario, visit_window: float = 0.0) -> None:
    """Refuse a log that is not one of the scenario's: other entries seen, other drug, other calendar.

    Parameters
    ----------
    visit_window : by how much a decision may be earlier or later than the calendar says, in the unit of
        ``times``; clinical protocols state such a window. Treatments that the scenario's own rule puts off
        may be later besides.

    Raises
    ------
    ValueError
        For a log recorded in another scenario or version, observations of another layout, more decisions than
        the calendar has, doses below 0 or above the scenario's cap, or decisions at other times: steps that
        were re-binned hide doses.
    """
    known = trajectories.provenance
    for key, expected in (("scenario", scenario.name), ("scenario_version", scenario.version)):
        if known.get(key, expected) != expected:
            raise ValueError(
                f"the log says {key} {known[key]!r}; expected {expected!r}, that of the regimen asked"
            )
    _check_layout(trajectories, scenario)
    _check_doses(trajectories, scenario)
    _check_calendar(trajectories, scenario, visit_window)


def _check_layout(trajectories: Trajectories, scenario: Scenario) -> None:
    width, names = trajectories.observations.shape[2], scenario.observation.names
    if width != len(names):
        given = trajectories.observation_names
        differ = [f"no {name!r}" for name in names if given and name not in given]
        differ += [f"{name!r} is not among them" for name in given if name not in names]
        raise ValueError(
            f"observations have {width} entries; expected the {len(names)} of scenario {scenario.name!r}, "
            "with the clinical observation at each visit, as its regimens see the genotype"
            + (f": {', '.join(differ)}" if differ else "")
        )
    for place, (seen, expected) in enumerate(zip(trajectories.observation_names, names, strict=False)):
        if seen != expected:
            raise ValueError(
                f"observation {place} is {seen!r}; expected {expected!r}, in the order of scenario "
                f"{scenario.name!r}: {', '.join(names)}"
            )


def _check_doses(trajectories: Trajectories, scenario: Scenario) -> None:
    grid = scenario.doses
    outside = (trajectories.actions < 0) | (trajectories.actions > grid.maximum * (1 + TIME_ROUNDING))
    outside &= trajectories.mask
    if outside.any():
        patient, step = first_place(outside)
        raise ValueError(
            f"actions[{patient}, {step}] = {trajectories.actions[patient, step]:g} (patient {patient}, step "
            f"{step}); expected a dose from 0 to {grid.maximum:g} {grid.unit}, as scenario {scenario.name!r} "
            "gives; check the unit, or leave the patient out"
        )


def _check_calendar(trajectories: Trajectories, scenario: Scenario, visit_window: float) -> None:
    clock, steps = scenario.clock, trajectories.horizon
    planned = (scenario.days[:-1] - scenario.days[0]) * clock.shown
    remedy = "log every decision once, at the step of its visit: steps that were re-binned hide doses"
    longest = int(trajectories.lengths.max())
    if longest > len(planned):
        raise ValueError(
            f"a course has {longest} decisions; expected at most the {len(planned)} visits of scenario "
            f"{scenario.name!r}; {remedy}"
        )
    claimed, gaps = trajectories.step_length, np.diff(planned)[: longest - 1]
    if claimed is not None and np.any(np.abs(gaps - claimed) > TIME_ROUNDING + visit_window):
        raise ValueError(
            f"step_length = {claimed:g}; expected the intervals of scenario {scenario.name!r}, "
            f"{', '.join(f'{gap:g}' for gap in gaps[:6])}{', ...' if len(gaps) > 6 else ''} {clock.symbol}; "
            f"{remedy}"
        )
    if trajectories.times is None:
        return
    put_off = 0.0
    if scenario.delay is not None:
        put_off = scenario.delay.at_most * scenario.delay.by / clock.length * clock.shown
    due = np.full(steps, np.inf)
    due[: len(planned)] = planned[:steps]
    since = trajectories.times - trajectories.times[:, :1]
    slack = visit_window + TIME_ROUNDING * np.maximum(1.0, due)
    early, late = since < due - slack, since > due + slack + put_off * np.arange(steps)
    wrong = (early | late) & trajectories.mask
    if wrong.any():
        patient, step = first_place(wrong)
        raise ValueError(
            f"times[{patient}, {step}] is {since[patient, step]:g} {clock.symbol} after the first decision "
            f"(patient {patient}, step {step}); expected {due[step]:g} as in the calendar of scenario "
            f"{scenario.name!r}, within a visit_window of {visit_window:g}; {remedy}"
        )
