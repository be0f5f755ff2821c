"""``dosewright stream``: a simulated clinic, as events or dosed live."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.agents.refinement.events import Event
    from dosewright.agents.refinement.simulated import SimulatedClinic


@click.command()
@click.argument("drug")
@click.option("--world", "where", default="none", show_default=True, help="World that the patients live in.")
@click.option("--patients", type=click.IntRange(1), default=100, show_default=True, help="How many come.")
@click.option("--realism", default="clinic", show_default=True, help="How messy the world is.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Of the patients.")
@click.option("--dose", type=click.FloatRange(0), help="Everybody gets this dose; events as JSON lines.")
@click.option(
    "--store", type=click.Path(path_type=Path, dir_okay=False), help="Dose live: SQLite file of the events."
)
@click.option(
    "--registry", type=click.Path(path_type=Path, file_okay=False), help="Dose live: registry of versions."
)
def stream(
    drug: str,
    where: str,
    patients: int,
    realism: str,
    seed: int,
    dose: float | None,
    store: Path | None,
    registry: Path | None,
) -> None:
    """Let simulated patients of DRUG come, be measured and ask for doses.

    With --dose everybody gets one dose, and what happens is printed, for `dosewright serve` to read. With
    --store and --registry they are dosed by the version that doses, with a view in the terminal.
    """
    from dosewright.agents.refinement.simulated import SimulatedClinic
    from dosewright.envs import Noise, scenario
    from dosewright.evaluation.worlds import world

    known = scenario(drug)
    clinic = SimulatedClinic(
        known, known.preset(realism), world(where, known), Noise("select", seed), patients
    )
    if dose is not None and store is None and registry is None:
        for event in clinic.under(dose):
            click.echo(event.as_json())
    elif dose is None and store is not None and registry is not None:
        _live(clinic, store, registry, seed)
    else:
        raise click.UsageError("give --dose, or both --store and --registry")


def _live(clinic: SimulatedClinic, store: Path, registry: Path, seed: int) -> None:
    """Dose a clinic's patients, and say what came of them."""
    from dosewright.agents.bedside import NOTE
    from dosewright.agents.refinement.live import Live, opened
    from dosewright.agents.refinement.usual import Rehearsal

    def say(words: str) -> None:
        click.echo(words, err=True)

    say(NOTE)
    drug = clinic.scenario.name
    with opened(drug, store, registry, seed, say, Rehearsal(seed=seed)) as refiner:
        if any(item.patient.startswith(f"{clinic.site}-") for item in refiner.store.patients()):
            raise ValueError(
                f"--store {store}: holds patients of {clinic.site} already, and those who come would be "
                "taken for them; name another file, the registry may stay"
            )
        live = Live(refiner)

        def tell(events: Sequence[Event]) -> Mapping[str, float]:
            taken = refiner.service.tell(events, f"simulated clinic, seed {seed}")
            live.took(taken)
            return taken.doses

        with live.shown(True):
            treated = clinic.run(tell)
    click.echo(
        f"{len(treated.names)} patients: {100 * treated.benefit.mean():.1f} % of the time on target, "
        f"{refiner.published.event.label} {100 * treated.harmed.mean():.1f} %"
    )


if __name__ == "__main__":
    from dosewright.scripts.cli import run as run_command

    run_command(stream)
