"""``dosewright train``: train a policy."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click


@click.command()
@click.argument("drug")
@click.option("--config", metavar="TOML", help="Preset: a shipped name or a .toml file. Default: the drug's.")
@click.option("-n", "--n-timesteps", type=click.IntRange(1), help="Decision steps, instead of the preset's.")
@click.option("--realism", help="clinic or textbook; chooses the preset too, unless --config names one.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option(
    "-f",
    "--log-folder",
    type=click.Path(path_type=Path),
    default=Path("runs"),
    show_default=True,
    help="Where the run's folder is made.",
)
@click.option(
    "--resume", metavar="RUN", type=click.Path(path_type=Path), help="Go on with a run that was stopped."
)
def train(
    drug: str,
    config: str | None,
    n_timesteps: int | None,
    realism: str | None,
    seed: int,
    log_folder: Path,
    resume: Path | None,
) -> None:
    """Train a policy for DRUG: PPO on the belief, acting by departures from Bayesian monitoring.

    The run's folder holds the preset, TensorBoard events, a checkpoint, and in policy/ the best policy so
    far, chosen on patients of the `select` namespace. Ctrl-C leaves it usable; --resume goes on.
    """
    from dosewright.envs import environment_id, scenario

    known = scenario(drug)  # an unknown drug is refused before PyTorch is loaded
    from dosewright.agents.learning import preset_name, read_preset
    from dosewright.agents.learning import train as run_training

    if resume is not None:
        if any(value is not None for value in (config, n_timesteps, realism)):
            raise ValueError(
                "--resume goes on with the run's own preset; leave out --config, -n and --realism"
            )
        preset = read_preset(str(resume / "preset.toml"))
        folder = resume
        seed = _seed_of(resume)
    else:
        preset = read_preset(config or preset_name(drug, realism))
        preset = preset.changed(timesteps=n_timesteps, realism=realism)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        folder = log_folder / f"{environment_id(drug).replace('/', '-')}__ppo__s{seed}__{stamp}"
    if preset.scenario.drug != known.name:
        raise ValueError(f"preset for {preset.scenario.drug}, drug {drug}: they must be the same")
    try:
        policy = run_training(preset, seed, folder, resume=resume is not None)
    except KeyboardInterrupt:
        click.echo(f"stopped; policy so far: {folder / 'policy'}; go on with --resume {folder}", err=True)
        raise
    click.echo(f"policy: {policy}")
    click.echo("Research simulation, not for clinical use.")


def _seed_of(run: Path) -> int:
    import json

    try:
        return int(json.loads((run / "progress.json").read_text())["seed"])
    except (OSError, KeyError, json.JSONDecodeError):
        raise ValueError(
            f"run {run}: no checkpoint to resume; it was stopped before the first evaluation"
        ) from None


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(train)
