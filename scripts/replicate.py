"""``dosewright replicate``: a published warfarin trial again, on virtual patients."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.envs import Regimen
    from dosewright.evaluation.replications import Replication

_PRESETS = {"both": ("clinic", "textbook"), "clinic": ("clinic",), "textbook": ("textbook",)}


def eu_pact_arms() -> dict[str, Regimen]:
    """Return a regimen for each arm of the replication of EU-PACT."""
    from dosewright.agents.regimens.initiation import EU_PACT_ACTS, EU_PACT_GENOTYPE, EU_PACT_KEEPS
    from dosewright.agents.regimens.titration import AURORA, INTERMOUNTAIN, Titration
    from dosewright.agents.regimens.trial_arm import TrialArm
    from dosewright.evaluation.replications import eu_pact

    clinic = Titration(AURORA, "and while stopped")
    protocol = Titration(AURORA, "of the calendar")
    aurora, intermountain = Titration(AURORA, "of the rule"), Titration(INTERMOUNTAIN, "of the rule")
    parts = {
        "genotype": (EU_PACT_GENOTYPE, clinic),
        "standard, acts on day 4": (EU_PACT_ACTS, clinic),
        "standard, keeps 5 mg": (EU_PACT_KEEPS, clinic),
        "genotype, protocol visits": (EU_PACT_GENOTYPE, protocol),
        "standard, protocol visits": (EU_PACT_KEEPS, protocol),
        "genotype, Aurora's visits": (EU_PACT_GENOTYPE, aurora),
        "standard, Aurora's visits": (EU_PACT_KEEPS, aurora),
        "genotype, Intermountain": (EU_PACT_GENOTYPE, intermountain),
        "standard, Intermountain": (EU_PACT_KEEPS, intermountain),
    }
    return {name: TrialArm(eu_pact.SCENARIO, name, *pair) for name, pair in parts.items()}


def coag_arms() -> dict[str, Regimen]:
    """Return a regimen for each arm of the replication of COAG."""
    from dosewright.agents.regimens.initiation import (
        COAG_CLINICAL,
        COAG_GENOTYPE,
        EU_PACT_GENOTYPE,
        EU_PACT_KEEPS,
    )
    from dosewright.agents.regimens.titration import AURORA, Titration
    from dosewright.agents.regimens.trial_arm import TrialArm
    from dosewright.evaluation.replications import coag

    titration = Titration(AURORA, "and while stopped")
    starts = {
        "genotype": COAG_GENOTYPE,
        "clinical": COAG_CLINICAL,
        "EU-PACT genotype": EU_PACT_GENOTYPE,
        "EU-PACT control": EU_PACT_KEEPS,
    }
    return {name: TrialArm(coag.SCENARIO, name, start, titration) for name, start in starts.items()}


def conduct(
    trial: str, patients: int, seed: int, presets: Sequence[str], out: Path, overwrite: bool
) -> Replication:
    """Run a replication, write its folder, and print what must hold."""
    from rich.console import Console
    from rich.progress import Progress

    from dosewright.evaluation import check_folder
    from dosewright.evaluation.replications import coag, eu_pact, write_replication

    check_folder(out, overwrite)  # before any work
    module, arms = (eu_pact, eu_pact_arms()) if trial == "eu-pact" else (coag, coag_arms())
    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(trial, total=None)
        result = module.replicate(arms, patients, seed, presets, lambda name, n: bar.advance(task, n))
    folder = write_replication(result, out, overwrite)
    _print(result)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo("Research simulation, not for clinical use.")
    return result


def _print(result: Replication) -> None:
    """Print every check, one line each, and the answer."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation.replications.result import in_words

    table = Table(title=f"{result.title}: {result.patients} participants a cohort, seed {result.seed}")
    for heading in ("item", "what", "under"):
        table.add_column(heading)
    for heading in ("here, 95 % Monte Carlo", "trial", "must lie in"):
        table.add_column(heading, justify="right")
    table.add_column("verdict")
    for check in result.checks:
        digits = 2 if check.unit in ("points", "mg") else 1
        here = f"{in_words(check.estimate, digits)} {check.unit}"
        trial = "" if check.published is None else f"{check.published.value:g} ({check.published.flag})"
        band = "" if check.band is None else f"{check.band[0]:g} to {check.band[1]:g} ({check.flag})"
        table.add_row(str(check.item), check.what, check.realism, here, trial, band, check.verdict)
    Console(width=176).print(table)
    for sentence in result.answer:
        click.echo(sentence)


@click.command()
@click.argument("trial", type=click.Choice(["eu-pact", "coag"]))
@click.option(
    "--patients",
    type=click.IntRange(100),
    default=4000,
    show_default=True,
    help="Virtual participants; of COAG, of each race.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "--realism",
    type=click.Choice(list(_PRESETS)),
    default="both",
    show_default=True,
    help="What must hold is judged under clinic.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def replicate(trial: str, patients: int, seed: int, realism: str, out: Path, overwrite: bool) -> None:
    """Run a published randomised TRIAL on virtual patients, print what must hold and whether it does, and
    write result.json and report.html."""
    conduct(trial, patients, seed, _PRESETS[realism], out, overwrite)


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(replicate)
