"""``dosewright train``: train a policy."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import click


@click.command()
@click.argument("drug")
@click.option("--config", metavar="TOML", help="Preset: a shipped name or a .toml file. Default: the drug's.")
@click.option(
    "-n",
    "--n-timesteps",
    type=click.IntRange(1),
    help="Decision steps of the algorithm, instead of the preset's; rounded up to whole updates.",
)
@click.option("--realism", help="clinic or textbook; chooses the preset too, unless --config names one.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Seed of everything. Default: 1.")
@click.option(
    "-f",
    "--log-folder",
    type=click.Path(path_type=Path),
    help="Where the run's folder is made.  [default: runs]",
)
@click.option(
    "--resume", metavar="RUN", type=click.Path(path_type=Path), help="Go on with a run that was stopped."
)
def train(
    drug: str,
    config: str | None,
    n_timesteps: int | None,
    realism: str | None,
    seed: int | None,
    log_folder: Path | None,
    resume: Path | None,
) -> None:
    """Train a policy for DRUG: a warm start from what every dose would have done, then PPO, on the belief,
    acting by departures from Bayesian monitoring. Variants of the preset, such as DRUG-sac, DRUG-recurrent,
    DRUG-tablets or DRUG-history, train other algorithms.

    The run's folder holds the preset, TensorBoard events, a checkpoint, and in policy/ the best policy so
    far, chosen on patients of the `select` namespace. Ctrl-C leaves it usable; --resume goes on (a warm start
    that was not finished begins anew).
    """
    from dosewright.envs import environment_id, scenario

    known = scenario(drug)  # an unknown drug is refused before PyTorch is loaded
    from dosewright.agents.learning import train as run_training
    from dosewright.agents.learning.preset import preset_for

    if resume is not None:
        if any(value is not None for value in (config, n_timesteps, realism, seed, log_folder)):
            raise ValueError(
                "--resume goes on with the run's own preset, seed and folder; leave out --config, -n, "
                "--realism, --seed and -f"
            )
        folder, seed = resume, _seed_of(resume)
        preset = preset_for(known.name, str(resume / "preset.toml"))
    else:
        seed = 1 if seed is None else seed
        asked = config or (f"{drug}-textbook" if realism == "textbook" else drug)
        preset = preset_for(known.name, asked).changed(timesteps=n_timesteps, realism=realism)
        stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
        # the preset's name, not the algorithm's: several variants are PPO
        run = (environment_id(drug).replace("/", "-"), Path(asked).stem, f"s{seed}", stamp)
        folder = (log_folder or Path("runs")) / "__".join(run)
    try:
        policy = run_training(preset, seed, folder, resume=resume is not None)
    except KeyboardInterrupt:
        if not folder.exists():
            raise
        raise KeyboardInterrupt(
            f"stopped; policy so far: {folder / 'policy'}; go on with "
            f"`dosewright train {drug} --resume {folder}`"
        ) from None
    click.echo(f"policy: {policy}")
    click.echo(_time(policy))
    click.echo("Research simulation, not for clinical use.")


def _time(policy: Path) -> str:
    """Return how long a training took and on what, in words."""
    import json

    from dosewright.agents.learning.train import time_shares

    card = json.loads((policy / "card.json").read_text())
    words = {"input": next(iter(card["sees"]))}  # belief or history
    shares = time_shares(card["seconds"])
    parts = ", ".join(f"{words.get(name, name)} {100 * share:.0f} %" for name, share in shares.items())
    return f"{card['minutes']:.1f} minutes: {parts}"


def _seed_of(run: Path) -> int:
    import json

    try:
        return int(json.loads((run / "progress.json").read_text())["seed"])
    except (OSError, KeyError, TypeError, ValueError):  # ValueError: no JSON, or no number
        raise ValueError(
            f"--resume {run}: no checkpoint there; give the folder of a run, runs/…, that reached one"
        ) from None


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(train)
