"""``dosewright log``: simulated patients whose clinician cannot be predicted, for off-policy evaluation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from dosewright.scripts.choices import GENOTYPE

if TYPE_CHECKING:
    from dosewright.envs.scenarios.scenario import GenotypeMode


@click.command()
@click.argument("drug")
@click.option(
    "--clinician",
    default="nomogram",
    show_default=True,
    help="Who doses. One arm: its dose is moved by a step of the grid at random. Several, separated by "
    "commas: one of them is followed, drawn anew at every visit.",
)
@click.option(
    "--moved",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.2,
    show_default=True,
    help="One arm: how often the dose is a step lower or higher.",
)
@click.option("--patients", type=click.IntRange(2), default=1000, show_default=True, help="Virtual patients.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
@click.option("--realism", default="clinic", show_default=True, help="clinic or textbook.")
@click.option(
    "--genotype",
    type=GENOTYPE,
    default="diplotype",
    show_default=True,
    help="What the clinician sees of the genotype.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="File to write, ending in .parquet."
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def log(
    drug: str,
    clinician: str,
    moved: float,
    patients: int,
    seed: int,
    realism: str,
    genotype: GenotypeMode,
    out: Path,
    overwrite: bool,
) -> None:
    """Treat patients of DRUG by a clinician who cannot be predicted; log every dose with its probability."""
    import numpy as np

    from dosewright.agents import arm
    from dosewright.agents.regimens import Clinician
    from dosewright.agents.regimens.noisy import Noisy, Steps
    from dosewright.envs import Noise, scenario
    from dosewright.evaluation.logs import write_log
    from dosewright.evaluation.ope.eligibility import check_regimen
    from dosewright.evaluation.recording import record

    if out.exists() and not overwrite:
        raise ValueError(f"--out {out}: exists already; choose another, or give --overwrite")
    known = scenario(drug).seen_as(genotype)
    arms = [arm(name.strip(), known) for name in clinician.split(",") if name.strip()]
    for each in arms:
        check_regimen(each)
    called = [each.name for each in arms]
    if twice := [name for name in called if called.count(name) > 1]:
        raise ValueError(f"--clinician {clinician}: {twice[0]!r} is there twice; give each arm once")
    if len(arms) == 1:
        doctor = Noisy(known, arms[0], Steps({-1: moved / 2, 0: 1 - moved, 1: moved / 2}))
    else:
        doctor = Clinician(known, arms, np.full(len(arms), 1 / len(arms)), name=" or ".join(called))
    made = record(
        known,
        doctor,
        known.population,
        np.arange(patients),
        Noise("select", seed),
        known.preset(realism),
        genotype,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_log(made, out)
    click.echo(
        f"{out}: {made.n_patients} patients, {int(made.mask.sum())} decisions by {doctor.name}; "
        f"{int(made.censored.sum())} dropped out"
    )
    click.echo("Research simulation, not for clinical use.")


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(log)
