"""``dosewright scenarios``: the drugs there are."""

from __future__ import annotations

import click


@click.command()
@click.argument("drug", required=False)
def scenarios(drug: str | None) -> None:
    """List the drugs: environment, model, genes, dose, target. With DRUG, print its page."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from dosewright.envs import environment_id, names, scenario
    from dosewright.envs.page import page

    if drug is not None:
        click.echo(page(scenario(drug)))
        return
    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for heading in ("drug", "environment", "model", "genes", "dose", "course", "benefit", "harm", "rules"):
        table.add_column(heading, overflow="fold")
    for name in names():
        known = scenario(name)
        grid, clock = known.doses, known.clock
        rules = ["label", "clinical-nomogram"] + (
            [] if known.guideline is None else ["guideline", "nomogram"]
        )
        if known.can_be_believed:
            rules.append("bayesian, planner, oracle")
        table.add_row(
            name,
            environment_id(name),
            known.model.name,
            ", ".join(term.gene for term in known.model.genotype_terms) or "none",
            f"0 to {grid.maximum:g} {grid.unit}",
            f"{known.horizon} {clock.units}, {len(known.calendar)} decisions",
            known.benefit.label,
            f"{known.harm.label} (× {known.weight:g})",
            ", ".join(rules),
        )
    console = Console()
    # a pipe has no width: keep one line a drug there
    (console if console.is_terminal else Console(width=240)).print(table)
    click.echo("Research simulation, not for clinical use.")


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(scenarios)
