"""The worlds that refinement has to prove itself in, by name, for any scenario."""

from __future__ import annotations

from collections.abc import Callable

from dosewright.envs import Scenario
from dosewright.evaluation.worlds.shift import HiddenShift


def half_dose(scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return the world whose patients need half the dose."""
    return HiddenShift("half-dose", "patients need half the dose", {scenario.need: 0.5}, since=since)


def faster(scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return the world in which a fifth of the patients begins to need 30 % more."""
    return HiddenShift(
        "faster",
        f"{scenario.need} is 30 % higher in 20 % of the patients",
        {scenario.need: 1.3},
        share=0.2,
        since=since,
    )


def assay(scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return the world whose laboratory measures 15 % too much."""
    return HiddenShift("assay", "the assay shows 15 % more than there is", assay=1.15, since=since)


def adherence(scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return the world whose patients take fewer and fewer of their doses: none are missed besides at first,
    30 % at the end."""
    return HiddenShift(
        "adherence", "30 % of the doses are missed by the end of follow-up", missed=(0.0, 0.3), since=since
    )


def none(scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return the world in which nothing changes."""
    return HiddenShift("none", "the world that the models describe", since=since)


WORLDS: dict[str, Callable[..., HiddenShift]] = {
    "half-dose": half_dose,
    "faster": faster,
    "assay": assay,
    "adherence": adherence,
    "none": none,
}


def world(name: str, scenario: Scenario, since: float | None = None) -> HiddenShift:
    """Return a world of `WORLDS`, from a moment on where one is given; another name is an error that lists
    them."""
    if name not in WORLDS:
        raise ValueError(f"unknown world {name!r}; known: {', '.join(WORLDS)}")
    return WORLDS[name](scenario, since=since)
