"""``dosewright scenarios``: the drugs there are, and the arms each can be dosed by."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.envs import Scenario


@click.command()
@click.argument("drug", required=False)
def scenarios(drug: str | None) -> None:
    """List the drugs: environment, model, genes, dose, target, arms, and why an arm is not there. With DRUG,
    print its page and its arms."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dosewright.agents.regimens import lacking
    from dosewright.agents.regimens import names as arms
    from dosewright.envs import environment_id, names, scenario
    from dosewright.envs.page import page

    if drug is not None:
        known = scenario(drug)
        click.echo("\n\n".join([page(known), "## Arms", *_rules(known), *_absent(lacking(known))]))
        return
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for heading in ("drug", "environment", "model", "genes", "dose", "course", "benefit", "harm", "arms"):
        table.add_column(heading, overflow="fold")
    without: dict[str, list[str]] = {}
    for name in names():
        known = scenario(name)
        grid, clock, absent = known.doses, known.clock, lacking(known)
        table.add_row(
            name,
            environment_id(name),
            known.model.name,
            ", ".join(term.gene for term in known.model.genotype_terms) or "none",
            f"0 to {grid.maximum:g} {grid.unit}",
            f"{known.horizon} {clock.units}, {len(known.calendar)} decisions",
            known.benefit.label,
            f"{known.harm.label} (× {known.weight:g})",
            ", ".join(arm for arm in arms() if arm not in absent),
        )
        for line in _absent(absent):
            without.setdefault(line, []).append(name)
    console = Console()
    # a pipe has no width: keep one line a drug there
    (console if console.is_terminal else Console(width=400)).print(table)
    for line, drugs in without.items():
        click.echo(f"{', '.join(drugs)}: {line[0].lower()}{line[1:]}")
    click.echo("Research simulation, not for clinical use.")


def _rules(known: Scenario) -> list[str]:
    """Return a paragraph for each clinical rule of a scenario: what it is, its flag, its source."""
    rules = (
        ("label", known.label),
        ("label, then", known.label_adjustment),
        ("guideline, and start of nomogram", known.guideline),
        ("start of clinical-nomogram", known.clinical_start),
        ("nomogram and clinical-nomogram, then", known.adjustment),
        ("pid", known.controller),
    )
    return [f"{arm}: {rule.name} ({rule.flag}). {rule.source}." for arm, rule in rules if rule is not None]


def _absent(reasons: dict[str, str]) -> list[str]:
    """Return a line for each reason why arms are not there."""
    arms: dict[str, list[str]] = {}
    for arm, reason in reasons.items():
        arms.setdefault(reason, []).append(arm)
    return [f"Without {', '.join(names)}: {reason}." for reason, names in arms.items()]


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(scenarios)
