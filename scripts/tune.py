"""``dosewright tune``: search for the hyperparameters of a training."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dosewright.agents.learning.tune import SweepResult, SweepTrial

_TRIALS = 20
_SHOWN = 5  # trials in the table


@click.command()
@click.argument("drug")
@click.option(
    "--config", metavar="TOML", help="Base preset: a shipped name or a .toml file. Default: the drug's."
)
@click.option(
    "--space",
    metavar="TOML",
    type=click.Path(path_type=Path),
    help="What is varied (docs/learning.md). Default: up to nine keys of warm start, PPO, network and harm.",
)
@click.option(
    "--trials",
    type=click.IntRange(1),
    default=_TRIALS,
    show_default=True,
    help="Trainings in all, those before --resume included.",
)
@click.option("--timesteps", type=click.IntRange(1), help="Decision steps of each, instead of the preset's.")
@click.option(
    "--storage",
    metavar="URL",
    help="Database of the sweep. Default: sqlite:///runs/tune-DRUG.db, in the log folder.",
)
@click.option("--study", metavar="NAME", help="Name of the sweep in the database. Default: DRUG.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "-f",
    "--log-folder",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the sweep's folder, tune-NAME, is made.",
)
@click.option("--resume", is_flag=True, help="Go on with a sweep that was stopped, or add trials to it.")
def tune(
    drug: str,
    config: str | None,
    space: Path | None,
    trials: int,
    timesteps: int | None,
    storage: str | None,
    study: str | None,
    seed: int,
    log_folder: Path,
    resume: bool,
) -> None:
    """Search for the hyperparameters of DRUG's policy: trainings in folders of their own, chosen by Optuna on
    patients of the `select` namespace, and cut short where they are behind the others.

    The best preset so far is best.toml in the sweep's folder. Ctrl-C leaves the sweep resumable: repeat the
    command with --resume. Needs pip install "dosewright[tune]".
    """
    from dosewright.envs import scenario

    known = scenario(drug)  # an unknown drug is refused before PyTorch is loaded
    from dosewright.agents.learning.preset import preset_for
    from dosewright.agents.learning.search_space import SearchSpace
    from dosewright.agents.learning.tune import tune as run_sweep

    name = study or drug
    if not re.fullmatch(r"\w[\w.+-]*", name):
        raise ValueError(f"--study {name!r}: names a folder; expected letters, digits, and . + - _")
    preset = preset_for(known.name, config or drug).changed(timesteps=timesteps)
    varied = SearchSpace.read(space, preset)
    if storage is None:
        if not resume:
            log_folder.mkdir(parents=True, exist_ok=True)
        storage = f"sqlite:///{log_folder / f'tune-{drug}.db'}"
    folder = log_folder / f"tune-{name}"
    try:
        found = run_sweep(
            preset,
            varied,
            trials,
            storage,
            name,
            seed,
            folder,
            resume,
            told=_tell,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; finished trials are kept in {storage}: go on by the same command with --resume"
        ) from None
    _print(found, known.title)
    best = found.trials[0]
    click.echo(f"policy of the best trial: {best.folder / 'policy'} (seed {best.seed})")
    click.echo(f"its preset: {found.best_preset}; train it by")
    click.echo(f"  dosewright train {drug} --config {found.best_preset}")
    click.echo("Research simulation, not for clinical use.")


def _tell(trial: SweepTrial) -> None:
    """Say in one line how a trial ended."""
    rank = "" if trial.rank is None else f", rank {100 * trial.rank:.2f}"
    reason = f": {trial.reason}" if trial.reason else ""
    click.echo(f"trial {trial.number}: {trial.outcome}{rank}{reason}", err=True)


def _print(found: SweepResult, title: str) -> None:
    """Print the best trials, a column each, beside Bayesian monitoring."""
    from rich.console import Console
    from rich.table import Table

    finished = [trial for trial in found.trials if trial.outcome == "finished"]
    shown = finished[:_SHOWN]
    table = Table(title=f"{title}: best trials on select")
    table.add_column("")
    for heading in (*(f"trial {trial.number}" for trial in shown), "Bayesian"):
        table.add_column(heading, justify="right")
    scores = [*((trial.rank, trial.score) for trial in shown), (found.baseline_rank, found.baseline)]
    table.add_row("rank", *(f"{100 * (rank or 0.0):.2f}" for rank, _ in scores))
    for heading, part in (("benefit, %", "benefit"), ("patients with the event, %", "ever_harm")):
        table.add_row(heading, *(f"{100 * getattr(score, part):.2f}" for _, score in scores))
    table.add_section()
    for key in shown[0].values:
        table.add_row(key, *(_short(trial.values[key]) for trial in shown), "")
    Console(width=144).print(table)
    click.echo("rank: benefit less the share of patients with the event beyond the base preset's budget")
    others = {
        outcome: sum(trial.outcome == outcome for trial in found.trials) for outcome in ("pruned", "failed")
    }
    said = "".join(f", {number} {outcome}" for outcome, number in others.items() if number)
    click.echo(f"{len(found.trials)} trials: {len(finished)} finished{said}")


def _short(value: Any) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(tune)
