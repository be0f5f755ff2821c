"""``dosewright evaluate``: score a policy from a log that it did not make."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dosewright.scripts.choices import GENOTYPE

if TYPE_CHECKING:
    from dosewright.envs.scenarios.scenario import GenotypeMode
    from dosewright.evaluation.dose_models import DoseModel

_MODELS = ("logistic", "ordinal", "boosting")


@click.command()
@click.argument("log", metavar="LOG", type=click.Path(path_type=Path))
@click.option(
    "--policy",
    required=True,
    metavar="PATH|ARM",
    help="The folder of a trained policy, policy for the one that ships, or the name of any regimen.",
)
@click.option("--baseline", metavar="ARM", help="A regimen to compare with, scored on the same patients.")
@click.option("--drug", help="Scenario of the log; needed only where the log does not say it.")
@click.option(
    "--genotype",
    type=GENOTYPE,
    help="What the log shows of the genotype; needed only where the log does not say it, and it is not the "
    "diplotype.",
)
@click.option(
    "--gamma", type=click.FloatRange(0, 1), default=1.0, show_default=True, help="Discount a visit."
)
@click.option(
    "--behaviour",
    type=click.Choice(_MODELS),
    help="Model of who dosed; needed only where the log lacks the probabilities of its doses.",
)
@click.option(
    "--least-patients",
    type=click.IntRange(1),
    default=10,
    show_default=True,
    help="Of the model of who dosed: doses given to fewer patients are modelled together with their "
    "neighbours.",
)
@click.option(
    "--visit-window",
    type=click.FloatRange(0),
    default=0.0,
    show_default=True,
    help="By how much visits may miss the scenario's calendar, in the unit of the log's times.",
)
@click.option("--folds", type=click.IntRange(2), default=5, show_default=True, help="Of the cross-fitting.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the result.")
@click.option("--overwrite", is_flag=True, help="Replace an existing result.")
def evaluate(
    log: Path,
    policy: str,
    baseline: str | None,
    drug: str | None,
    genotype: GenotypeMode | None,
    gamma: float,
    behaviour: str | None,
    least_patients: int,
    visit_window: float,
    folds: int,
    seed: int,
    out: Path,
    overwrite: bool,
) -> None:
    """Say what a policy would do for the patients of LOG, a .parquet of `dosewright log` or a .csv in long
    format, and write result.json and report.html."""
    from dosewright.agents import arm
    from dosewright.envs import scenario
    from dosewright.evaluation import check_folder
    from dosewright.evaluation.logs import read_log
    from dosewright.evaluation.offline import evaluate_offline, write_offline

    check_folder(out, overwrite)  # before any work
    logged = read_log(log)
    name = drug or logged.provenance.get("scenario")
    if name is None:
        raise ValueError(f"log file {log}: does not say which drug's scenario it is of; give --drug")
    if logged.behaviour_log_prob is None and behaviour is None:
        raise ValueError(
            f"log file {log}: does not say with what probability its doses were given; give --behaviour "
            f"{_MODELS[0]}, a model of who dosed"
        )
    stated = logged.provenance.get("genotype", genotype or "diplotype")
    if genotype not in (None, stated):
        raise ValueError(f"--genotype {genotype}: log file {log} says {stated}; leave the option out")
    known = scenario(str(name)).seen_as(stated)
    chosen = f"policy:{policy}" if Path(policy).is_dir() else policy
    result = evaluate_offline(
        logged,
        known,
        arm(chosen, known),
        None if baseline is None else arm(baseline, known),
        gamma,
        behaviour=None if behaviour is None else _model(behaviour),
        folds=folds,
        seed=seed,
        least_patients=least_patients,
        visit_window=visit_window,
    )
    summary, folder = write_offline(result, out, overwrite)
    _print(summary)
    click.echo(f"report: {folder / 'report.html'}")
    click.echo("Research simulation, not for clinical use.")


def _model(name: str) -> DoseModel:
    from dosewright.evaluation.dose_models import GradientBoosting, MultinomialLogistic, OrdinalLogistic

    models: dict[str, DoseModel] = {
        "logistic": MultinomialLogistic(penalty=1.0),
        "ordinal": OrdinalLogistic(),
        "boosting": GradientBoosting(),
    }
    return models[name]


def _print(summary: dict[str, Any]) -> None:
    """Print a line an outcome and regimen, and the answer."""
    from rich.console import Console
    from rich.table import Table

    log = summary["log"]
    table = Table(title=f"{summary['scenario']['title']}: {log['patients']} logged patients")
    compared = summary["baseline"] is not None
    for heading in ("outcome", *summary["regimens"], *(["difference"] if compared else [])):
        table.add_column(heading)
    for outcome in summary["outcomes"]:
        cells = []
        for regimen in summary["regimens"].values():
            decision = regimen["outcomes"][outcome["name"]]
            cells.append(_cell(decision, outcome["unit"]))
        if compared:
            difference = {"answer": summary["contrasts"][outcome["name"]], "verdict": "–"}
            cells.append(_cell(difference, outcome["unit"]))
        table.add_row(outcome["label"], *cells)
    Console(width=144).print(table)
    for sentence in summary["answer"]["sentences"]:
        click.echo(sentence)


def _cell(decision: dict[str, Any], unit: str) -> str:
    from dosewright.evaluation.answer import number

    answer, bounds = decision["answer"], decision.get("bounds")
    if bounds is not None and answer is None:
        return f"between {number(bounds['low'], unit)} and {number(bounds['high'], unit)}"
    if answer is None:
        return decision["verdict"]
    limits = f"{number(answer['low'], unit)} to {number(answer['high'], unit)}"
    flag = " (a model alone)" if decision["verdict"] == "model-based" else ""
    return f"{number(answer['mean'], unit)} ({limits}){flag}"


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(evaluate)
