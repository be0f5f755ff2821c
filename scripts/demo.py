"""``dosewright demo``: train a warfarin policy for a few minutes, try it, show the answer."""

from __future__ import annotations

from pathlib import Path

import click

_ARMS = "label,guideline,clinical-nomogram,nomogram,bayesian-adaptive,planner-adaptive,policy:{policy},oracle"
# Of the warm start, of PPO, and of patients by whom a policy is chosen: a few minutes instead of the preset's
_ROUNDS, _TIMESTEPS, _CHOSEN_BY = 40, 90_000, 1000


@click.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("reports/demo"),
    show_default=True,
    help="Folder of the run and the report; an earlier demo there is replaced.",
)
@click.option("--patients", type=click.IntRange(2), default=1000, show_default=True, help="Virtual patients.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
def demo(out: Path, patients: int, seed: int) -> None:
    """Train a warfarin policy for a few minutes, try it against what clinics do, and write the report."""
    import shutil
    import time
    from dataclasses import replace

    from dosewright.scripts.trial import conduct

    begun = time.monotonic()
    click.echo(
        "dosewright demo: warfarin. Importing (a few seconds) and, the first time, compiling.", err=True
    )
    from dosewright.agents.learning import read_preset, train

    run = out.with_name(out.name + "-run")
    if (run / "preset.toml").is_file():  # only ever a run of this command
        shutil.rmtree(run)
    usual = read_preset("warfarin")
    assert usual.warm_start is not None
    short = replace(
        usual.changed(timesteps=_TIMESTEPS),
        warm_start=replace(usual.warm_start, rounds=_ROUNDS),
        evaluation=replace(usual.evaluation, every=_TIMESTEPS, patients=_CHOSEN_BY),
    )
    policy = train(short, seed, run)
    arms = _ARMS.format(policy=policy)
    conduct("warfarin", arms, out, patients=patients, seed=seed, overwrite=True)
    minutes = (time.monotonic() - begun) / 60
    click.echo(f"{minutes:.1f} minutes; policy: {policy}")


if __name__ == "__main__":
    from dosewright.scripts.cli import run as run_command

    run_command(demo)
