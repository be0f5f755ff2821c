"""``dosewright trial``: a virtual trial of several regimens on the same patients."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.envs import Scenario
    from dosewright.envs.scenarios.scenario import GenotypeMode
    from dosewright.evaluation import TrialResult

DEFAULT_ARMS = (
    "label,guideline,clinical-nomogram,nomogram,pid,bayesian-adaptive,planner-adaptive,policy,oracle"
)
# Arms against which the others are compared, the first that is there
_REFERENCES = ("bayesian-adaptive", "bayesian", "clinical-nomogram", "label")


def conduct(
    drug: str,
    arms: str | None,
    patients: int | None,
    seed: int,
    realism: str,
    genotype: GenotypeMode,
    cohort: str | None,
    out: Path,
    reference: str | None,
    overwrite: bool,
) -> TrialResult:
    """Run a trial, write its folder, and print one table."""
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from dosewright.agents import arm
    from dosewright.envs import Noise, Regimen, read_cohort, scenario
    from dosewright.evaluation import check_folder, run_trial, write_trial

    known = scenario(drug).seen_as(genotype)
    preset = known.preset(realism)
    check_folder(out, overwrite)  # before any work
    wanted = _default_arms(known) if arms is None else arms
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    regimens: dict[str, Regimen] = {}
    for name in names:
        label = "policy" if name.startswith("policy:") and names.count("policy") == 0 else name
        if label in regimens:
            raise ValueError(f"arm {name!r} is listed twice, or there are two policies; name each once")
        regimens[label] = arm(name, known)
    if reference is not None and reference not in regimens:
        raise ValueError(f"--reference {reference!r} is no arm of this trial: {', '.join(regimens)}")
    noise = Noise("trial", seed)
    if cohort is None:
        population, ids = known.population, np.arange(4000 if patients is None else patients)
    elif known.cohort is None:
        raise ValueError(f"--cohort: there is no layout of real people for {drug} yet; leave it out")
    else:
        needs = frozenset().union(*(regimen.needs for regimen in regimens.values()))
        population = read_cohort(cohort, known.cohort, needs)
        ids = population.choose(patients, noise)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        tasks = {name: bar.add_task(name, total=len(ids)) for name in regimens}
        result = run_trial(
            known, regimens, population, ids, noise, preset, genotype,
            progress=lambda name, n: bar.advance(tasks[name], n),
        )  # fmt: skip
    against = reference or next((name for name in _REFERENCES if name in regimens), next(iter(regimens)))
    policy = "policy" if "policy" in regimens else None
    folder = write_trial(result, out, against, policy, overwrite)
    _print(result, against, policy)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo("Research simulation, not for clinical use.")
    return result


# heading, outcome, factor and digits of the terminal's table: those of warfarin, and of every other drug
_COLUMNS = (
    ("time in range, %", "time_in_range", 100, 1),
    ("Rosendaal, %", "rosendaal", 100, 1),
    ("INR > 4, % of time", "above_4", 100, 2),
    ("ever INR > 4, %", "ever_above_4", 100, 1),
    ("return", "return", 1, 3),
)


_ANY_DRUG = (
    ("benefit, %", "benefit", 100, 1),
    ("harm, %", "harm", 100, 2),
    ("patients with the event, %", "ever_harm", 100, 1),
    ("return", "return", 1, 3),
)


def _default_arms(scenario: Scenario) -> str:
    """Return the arms that a drug can be dosed by and that are quick; the planner takes minutes where no
    formula gives the maintenance dose."""
    from dosewright.agents import shipped
    from dosewright.agents.regimens import lacking

    absent = set(lacking(scenario))
    absent |= set() if scenario.name in shipped() else {"policy"}
    absent |= set() if scenario.maintenance_dose is not None else {"planner-adaptive"}
    return ",".join(name for name in DEFAULT_ARMS.split(",") if name not in absent)


def _print(result: TrialResult, reference: str, policy: str | None) -> None:
    """Print the figures that decide, one line an arm, and the answer."""
    from rich.console import Console
    from rich.table import Table

    from dosewright.evaluation import summarise

    summary = summarise(result, reference, policy)
    who = f"{len(result.ids)} patients, {result.realism}"
    if result.rows is not None:
        refused = sum(result.refused.values())
        who += f"; {result.rows} rows read, {result.rows - refused} usable, {refused} refused"
    known = {outcome.name for outcome in result.scenario.outcomes} | {"return"}
    columns = [column for column in _COLUMNS if column[1] in known]
    columns = columns if len(columns) == len(_COLUMNS) else list(_ANY_DRUG)
    table = Table(title=f"{result.scenario.title}: {who}")
    table.add_column("regimen")
    for heading, *_ in columns:
        table.add_column(heading, justify="right")
    for name in result.arms:
        cells = []
        for _, outcome, factor, digits in columns:
            estimate = result.estimate(name, outcome)
            low, high = (factor * bound for bound in (estimate.low, estimate.high))
            cells.append(f"{factor * estimate.mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        table.add_row(name, *cells)
    Console(width=144).print(table)
    for sentence in summary["answer"]["sentences"]:
        click.echo(sentence)
    for reason, number in result.refused.items():
        click.echo(f"refused: {number} rows, {reason}")


@click.command()
@click.argument("drug")
@click.option(
    "--arms",
    help="Regimens, separated by commas; policy:PATH for a trained policy, policy for the shipped one. "
    "Default: all "
    "that the drug has.",
)
@click.option(
    "--patients",
    type=click.IntRange(2),
    help="Virtual patients (default 4000), or rows of --cohort "
    "drawn without replacement (default: all usable).",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option("--realism", default="clinic", show_default=True, help="clinic or textbook.")
@click.option(
    "--genotype",
    type=click.Choice(["diplotype", "phenotype", "posterior", "unknown"]),
    default="diplotype",
    show_default=True,
    help="What the regimens see of the genotype.",
)
@click.option("--cohort", metavar="CSV", help="Treat real people: covariates and genotypes from a table.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@click.option(
    "--reference",
    help="Arm that the others are compared with. Default: the first there "
    "is of bayesian-adaptive, bayesian, clinical-nomogram, label.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def trial(
    drug: str,
    arms: str | None,
    patients: int | None,
    seed: int,
    realism: str,
    genotype: GenotypeMode,
    cohort: str | None,
    out: Path,
    reference: str | None,
    overwrite: bool,
) -> None:
    """Treat the same patients of DRUG by every arm, and write result.json, patients.parquet and
    report.html."""
    conduct(drug, arms, patients, seed, realism, genotype, cohort, out, reference, overwrite)


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(trial)
