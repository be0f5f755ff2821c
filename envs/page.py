"""The page of an environment, in Gymnasium's headings, written from its scenario: what is printed is
what runs."""

from __future__ import annotations

import textwrap

from dosewright.envs.observation import Entry
from dosewright.envs.realism import Realism
from dosewright.envs.scenarios.scenario import Clock, Scenario

_WIDTH = 106
RETURNS = (
    "Returns are the environment's, in which the days after a drop-out bring nothing: they are lower than a "
    "trial's, which are of the days followed."
)


def page(scenario: Scenario) -> str:
    """Return the page of a scenario as Markdown."""
    grid, clock = scenario.doses, scenario.clock
    beyond = "" if not grid.beyond else f", then {', '.join(f'{dose:g}' for dose in grid.beyond)}"
    calendar = ", ".join(str(unit) for unit in scenario.calendar)
    if len(scenario.calendar) > 20:
        calendar = f"{scenario.calendar[0]} to {scenario.calendar[-1]}, each"
    drops_out = any(preset.dropout_per_month for preset in scenario.realism.values())
    leaving = "; a patient who drops out is `truncated`" if drops_out else "; nobody drops out"
    entries = [_row(entry) for entry in scenario.observation.entries]
    sections = [
        f"{scenario.title}: ``dosewright/{scenario.drug}-v{scenario.version}``.",
        "## Description",
        f"{scenario.description} Research simulation, not for clinical use.",
        "## Action space",
        f"`Box(0, {grid.maximum:g}, (1,), float32)`: {grid.unit}, capped at {grid.maximum:g} and rounded "
        f"to the grid in "
        f"steps of {grid.step:g}{'' if grid.even_to is None else f' to {grid.even_to:g}'}{beyond} (halves "
        f"upwards). "
        'The dose really given is `info["dose"]`. A negative or missing dose is an error. With '
        '`action="tablet"`: '
        f"`Discrete({len(grid.doses)})`, the number of a dose of the grid; `action_masks()` says which "
        f"can be given.",
        "## Observation space",
        "`Box(float32)` in clinical units. An entry marked with a dot is followed by a column `…_known`, "
        "1 if it is known; "
        "unknown stands as the neutral value.",
        "\n".join(["| entry | unit | from | to | meaning |", "|---|---|---|---|---|", *entries]),
        "## Reward",
        f"Benefit ({scenario.benefit.label}) minus {scenario.weight:g} × harm ({scenario.harm.label}), "
        f"each summed over "
        f'{clock.units} and divided by {scenario.scored}, on the latent truth. `info["benefit"]` and '
        f'`info["cost"]` hold '
        f'the two; `info["event"]` by how much the event that a trial counts ({scenario.event.label}) '
        f'came nearer, 1 in all once it has happened; `info["outcomes"]` the {clock.units} followed, '
        f"and mean, highest and lowest "
        f"{scenario.output} "
        f"({scenario.responses[0].unit}) of the interval.",
        "## Start, end",
        f"A dose is decided at the start of {clock.unit} {calendar}; follow-up ends at the start of "
        f"{clock.unit} "
        f"{scenario.horizon}, which is `terminated`{leaving}.",
        "## Arguments",
        f'`realism`: "clinic" (default: {_realism(scenario.realism["clinic"], clock)}) or '
        f'"textbook" (none of '
        'that); both have the assay\'s error. `genotype`: "diplotype", "phenotype", "posterior" (expected '
        'numbers of alleles given low-coverage reads and ancestry) or "unknown". '
        '`action`: "dose" or "tablet". `namespace`: "train", "select", "trial". `population`: whom to treat. '
        '`reset(options={"patient": id})` names the patient.',
        "## Target",
        f"Does the score tell good doses from bad ones? {scenario.discriminates} {RETURNS}",
        "## Assumptions",
        " ".join(scenario.assumptions),
        "## Sources",
        "; ".join(dict.fromkeys(scenario.sources)) + ".",
        "## Version",
        f"v{scenario.version}.",
    ]
    return "\n\n".join(_wrapped(section) for section in sections)


def _row(entry: Entry) -> str:
    dot = "" if entry.neutral is None else " ·"
    return f"| {entry.name}{dot} | {entry.unit} | {entry.low:g} | {entry.high:g} | {entry.meaning} |"


def _wrapped(section: str) -> str:
    return (
        section if section.startswith(("|", "#")) else textwrap.fill(section, _WIDTH, break_long_words=False)
    )


def _realism(realism: Realism, clock: Clock) -> str:
    """Return what a preset does, in words."""
    said: list[str] = []
    if realism.missed_dose:
        said.append(f"{_percent(realism.missed_dose)} of doses missed")
    for drift in realism.drifts:
        said.append(
            f"{drift.parameter} drifts by log-SD {drift.log_sd:g} per square root of "
            f"{_count(drift.per, clock)}"
        )
    for occasion in realism.occasions:
        said.append(
            f"{occasion.parameter} varies by log-SD {occasion.log_sd:.2g}, anew every "
            f"{_count(occasion.units, clock)}"
        )
    for item in realism.interactions:
        how = " or ".join(f"× {factor:g}" for factor, _ in item.factors)
        how += "".join(f" and {parameter} × {factor:g}" for parameter, factor in item.also)
        lasts = "all the time" if item.units is None else f"for {_count(item.units, clock)}"
        said.append(f"{_percent(item.share)} of patients have {item.parameter} {how} {lasts}")
        if item.enzyme is not None:
            said[-1] += (
                f" (through {item.enzyme.gene}: less with less of its activity, as {item.enzyme.fm:.2g} of "
                f"{item.parameter} goes through it)"
            )
    for episode in realism.episodes:
        said.append(
            f"{_percent(episode.per_month)} a month have {episode.parameter} × {episode.factor:g} for "
            f"{_count(episode.units, clock)}"
        )
    if realism.late or realism.missing:
        said.append(f"{_percent(realism.late)} of results come late and {_percent(realism.missing)} never")
    if realism.dropout_per_month:
        said.append(f"{_percent(realism.dropout_per_month)} a month drop out")
    if realism.start_sd or realism.sample_sd or realism.duration_sd:
        said.append("times of infusions or samples vary")
    if realism.pause is not None:
        said.append(
            f"in {_percent(realism.pause[0])} of patients the pump stops once for "
            f"{_count(realism.pause[1], clock)}"
        )
    return "; ".join(said)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _count(number: float, clock: Clock) -> str:
    return clock.unit if number == 1 else f"{number:g} {clock.units}"
