"""``dosewright explain``: what a policy does, where it departs from Bayesian monitoring, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("drug")
@click.option("--policy", metavar="PATH", help="Folder of a trained policy. Default: the one that ships.")
@click.option("--patients", type=click.IntRange(2), default=500, show_default=True, help="Virtual patients.")
@click.option(
    "--seed", type=click.IntRange(0, 2**32 - 1), default=1, show_default=True, help="Seed of everything."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Folder of the result. Default: reports/explain-DRUG."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def explain(
    drug: str, policy: str | None, patients: int, seed: int, out: Path | None, overwrite: bool
) -> None:
    """Explain the policy that ships for DRUG, or another, on patients whom it treats: its dose against the
    most important features, what its departures from Bayesian monitoring bring, and simple rules that come
    close. Writes explain.html and result.json."""
    from dosewright.envs import scenario
    from dosewright.evaluation import check_folder

    known, folder = scenario(drug), out or Path("reports") / f"explain-{drug}"
    check_folder(folder, overwrite)  # before any work
    from dosewright.agents import load
    from dosewright.agents.explanation import explain as explained
    from dosewright.agents.learning import LearnedPolicy
    from dosewright.evaluation.report.explanation import PAGE_FILE, write_explanation

    chosen = load(drug) if policy is None else LearnedPolicy.load(policy)
    if chosen.scenario.name != known.name:
        raise ValueError(f"--policy {policy}: a policy for {chosen.scenario.name}, this is {drug}")
    record = explained(chosen, patients, seed)
    write_explanation(record, folder, overwrite)
    _print(record)
    click.echo(f"page: {folder / PAGE_FILE}")
    click.echo("Research simulation, not for clinical use.")


def _print(record: dict[str, Any]) -> None:
    """Print the answer, the kinds of visit, the most important features and the rules."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation.report.explanation import gain_cell

    console, scenario = Console(width=132, highlight=False), record["scenario"]
    for sentence in record["answer"]:
        click.echo(sentence)
    table = Table(title=f"The policy's dose against {record['anchor']}, {record['visits']} visits")
    table.add_column("policy's dose")
    for heading in ("visits, %", f"{scenario['gain']} a visit", f"{scenario['event']} per 1,000 visits"):
        table.add_column(heading, justify="right")
    for row in (*record["differences"]["kinds"], record["differences"]["all"]):
        gains = (gain_cell(row["benefit"], 1, 3, "higher"), gain_cell(row["event"], 1000, 1, "lower"))
        cells = (f"{mean} ({limits})" if limits else mean for mean, limits, _ in gains)
        table.add_row(row["name"], f"{100 * row['share']:.1f}", *cells)
    console.print(table)
    unit = scenario["dose_unit"]
    click.echo("Most important features, and how much the dose changes when they are another patient's:")
    for item in record["importance"][:10]:
        click.echo(f"  {item['multiple']:.3f} x the anchor, {item['dose']:.3g} {unit}: {item['words']}")
    tree = record["surrogate"]
    told = tree["fidelity"]
    r_squared = "–" if told["r_squared"] is None else f"{told['r_squared']:.2f}"
    click.echo(f"Rules that imitate the policy (R² {r_squared} of its multiple, on other patients):")
    for rule in tree["rules"]:
        share = f"{100 * rule['share']:.1f} % of visits"
        click.echo(f"  {rule['multiple']:.2f} x the anchor when {rule['when']} ({share})")
    click.echo(
        f"Mean error of the rules {told['dose_error']:.3g} {unit}, same tablet at "
        f"{100 * told['same_tablet']:.1f} % of visits."
    )


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(explain)
