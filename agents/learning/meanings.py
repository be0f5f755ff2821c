"""What every feature of a policy means: a unit and a sentence, and how to say its values in natural units.

Features are what a network likes: logarithms, standardised by the prior. People read doses, responses and
days, so a `Meaning` also turns a value back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dosewright.agents.estimation.prior import names as unknowns_of
from dosewright.agents.learning.belief import AHEAD, STEADY, BeliefFeatures
from dosewright.agents.learning.history import HistoryFeatures
from dosewright.agents.learning.inputs import PolicyInput
from dosewright.agents.learning.preference import NAME, PreferenceInput
from dosewright.envs import Scenario

_PREFERENCE = (
    "weight w of safety against benefit: an event has w / (1 − w) times the price that holds the budget; 0.5 "
    "unless another is asked for"
)

Turn = Callable[[float], float]


def _as_it_is(value: float) -> float:
    return value


def _exponential(value: float) -> float:
    return float(np.exp(value))


def _less_one(value: float) -> float:
    return float(np.expm1(value))


@dataclass(frozen=True)
class Meaning:
    """What one feature means.

    Attributes
    ----------
    name
        As in the input's `names`.
    unit
        Of the feature as the policy sees it; "1": none.
    meaning
        One sentence.
    words, natural_unit
        What `natural` makes of it, in a few words, and its unit.
    natural
        Turns a value of the feature into that quantity; it rises where the feature rises.
    readable
        Whether a person can picture it; states of the model nobody can.
    """

    name: str
    unit: str
    meaning: str
    words: str
    natural_unit: str
    natural: Turn = _as_it_is
    readable: bool = True

    def said(self, value: float) -> str:
        """Return a value of the feature in natural units, as "4.2 mg/day"."""
        number = f"{self.natural(value):.3g}".replace("-", "−")
        return number if self.natural_unit == "1" else f"{number} {self.natural_unit}"


def meanings(inputs: PolicyInput) -> list[Meaning]:
    """Return what the features of an input mean, in their order.

    Raises
    ------
    ValueError
        For an input, or a feature of one, that is not described here.
    """
    if isinstance(inputs, PreferenceInput):
        return [*meanings(inputs.inner), Meaning(NAME, "1", _PREFERENCE, "weight of safety", "1")]
    if isinstance(inputs, BeliefFeatures):
        known = {item.name: item for item in _belief(inputs.scenario)}
    elif isinstance(inputs, HistoryFeatures):
        known = {item.name: item for item in _history(inputs)}
    else:
        raise ValueError(f"input {type(inputs).__name__}: its features are not described in {__name__}")
    missing = [name for name in inputs.names if name not in known]
    if missing:
        raise ValueError(f"feature {missing[0]!r} is not described in {__name__}; describe it there")
    return [known[name] for name in inputs.names]


def _belief(scenario: Scenario) -> Iterator[Meaning]:
    dose, output = scenario.doses.unit, scenario.output
    yield Meaning(
        "mean log maintenance dose", f"ln({dose})",
        "posterior mean of the logarithm of the dose that keeps the response on target; its exponential is "
        "the anchor, the dose of Bayesian monitoring",
        "maintenance dose (the anchor)", dose, _exponential,
    )  # fmt: skip
    yield Meaning(
        "SD log maintenance dose", "1", "posterior SD of the logarithm of that dose: 0.2 is about 20 %",
        "SD of the log maintenance dose", "1",
    )  # fmt: skip
    for name in unknowns_of(scenario):
        yield Meaning(
            f"mean {name}, from the prior, in prior SD", "prior SD",
            f"how far the posterior mean of {name} lies above this patient's prior mean, which knows "
            "covariates and genotype", f"{name} from its prior", "prior SD",
        )  # fmt: skip
        yield Meaning(
            f"SD {name}, in prior SD", "prior SD", f"posterior SD of {name}; 1: nothing was learned of it",
            f"SD of {name}", "prior SD",
        )  # fmt: skip
    yield Meaning(
        "mean log response over target", "1",
        f"posterior mean of the logarithm of the present {output} over its target",
        f"present {output}", "× target", _exponential,
    )  # fmt: skip
    yield Meaning(
        "SD log response", "1", f"posterior SD of the logarithm of the present {output}",
        f"SD of the log {output}", "1",
    )  # fmt: skip
    for state in scenario.model.states:
        yield Meaning(
            f"mean {state}", "the model's", f"posterior mean of the model's present state {state}",
            f"state {state}", "1", readable=False,
        )  # fmt: skip
    yield from _belief_and_dose(scenario)
    yield from _belief_and_calendar(scenario)


def _belief_and_dose(scenario: Scenario) -> Iterator[Meaning]:
    output = scenario.output
    for multiple in ("0", "0.75", "1", "1.35", "2"):
        yield Meaning(
            f"log response over target at the next visit, {multiple} x maintenance dose", "1",
            f"logarithm of the {output} over its target at the next visit, of the posterior-mean patient "
            f"under {multiple} × the maintenance dose",
            f"{output} at the next visit under {multiple} × the anchor", "× target", _exponential,
        )  # fmt: skip
    for name, which in (("last innovation", "last"), ("innovation before it", "last but one")):
        yield Meaning(
            name, "SD", f"{which} result less what was expected of it, in SD of that expectation",
            f"surprise of the {which} result", "SD",
        )  # fmt: skip
    for when, otherwise in ((AHEAD, "; where there was none, at a usual dose"), (STEADY, "")):
        yield Meaning(
            f"P(harm) {when}", "probability",
            f"probability of harm ({scenario.harm.label}) {when}, if it goes on{otherwise}",
            f"P(harm) {when}", "1",
        )  # fmt: skip
    yield Meaning(
        "last dose over maintenance dose", "1",
        "dose since the previous visit over the maintenance dose as it is believed now; 0 at the first visit",
        "last dose", "× the anchor",
    )  # fmt: skip


def _belief_and_calendar(scenario: Scenario) -> Iterator[Meaning]:
    name, clock = scenario.measurement.name, scenario.clock
    units = dict(zip(scenario.observation.names, scenario.observation.units, strict=True))
    end = scenario.horizon * clock.shown
    yield Meaning(
        "newest result in hand is new", "1", f"1 if the {name} in hand was not there at the previous visit",
        f"{name} result is new", "1",
    )  # fmt: skip
    yield Meaning(
        "its log over target", "1", f"logarithm of the newest {name} in hand over the target; 0: none yet",
        f"newest {name} result", "× target", _exponential,
    )  # fmt: skip
    age = units[f"{name}_age"]
    yield Meaning(
        "its age over a week", f"7 {age}", "time since its sample was drawn; 0: there is none",
        f"age of the newest {name} result", age, lambda value: 7 * value,
    )  # fmt: skip
    yield Meaning(
        "day over horizon", "1", f"time of treatment as a share of the follow-up of {end:g} {clock.symbol}",
        "time of treatment", clock.symbol, lambda value: end * value,
    )  # fmt: skip
    for feature, words in (
        ("log days since the previous visit", "time since the previous visit"),
        ("log days until the next visit", "time until the next visit"),
        ("log days until the end", "time until the end of follow-up"),
    ):
        yield Meaning(
            feature,
            f"ln(1 + {clock.symbol})",
            f"logarithm of 1 + the {words}",
            words,
            clock.symbol,
            _less_one,
        )
    put_off = "times this treatment was put off"
    yield Meaning(put_off, "1", "how often the present treatment was put off", put_off, "1")
    yield Meaning("it is left out", "1", "1 if the treatment is left out", "treatment is left out", "1")


def _history(inputs: HistoryFeatures) -> Iterator[Meaning]:
    entries = {entry.name: entry for entry in inputs.scenario.observation.entries}
    for name in inputs.names:
        column, _, past = name.partition(", ")
        entry = entries.get(column.removesuffix("_known")) or entries[column]
        flag = column not in entries
        meaning = f"1 if {entry.name} is known" if flag else entry.meaning
        unit = "1" if flag else entry.unit
        yield Meaning(name, unit, f"{meaning}; {past}" if past else meaning, name, unit)
