"""``dosewright serve``: dose streamed patients live."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from dosewright.agents.refinement.serve import Taken


@click.command()
@click.argument("drug")
@click.option(
    "--source",
    "origin",
    required=True,
    metavar="SOURCE",
    help="Where events come from: - (standard input), FILE.jsonl, sqlite:FILE, redis://…, kafka://….",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="SQLite file of the events; made where it is not there.",
)
@click.option(
    "--registry",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Registry of versions; where there is none, one is begun with the policy that ships, if one does.",
)
@click.option("--follow", is_flag=True, help="Wait for more at the end of the source.")
@click.option(
    "--view", is_flag=True, help="Show patients, alarms and state in the terminal, not the answers."
)
@click.option("--batch", type=click.IntRange(1), default=500, show_default=True, help="Events at a time.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the served doses.")
def serve(
    drug: str, origin: str, store: Path, registry: Path, follow: bool, view: bool, batch: int, seed: int
) -> None:
    """Keep a belief about every patient of DRUG, and answer each visit with a dose, as JSON lines.

    Every answer has the dose with the probability that it was served with, why it is what it is, the expected
    time on target and the probability of harm until the next visit, and which version dosed.
    """
    from contextlib import closing

    from dosewright.agents.bedside import NOTE
    from dosewright.agents.refinement.live import Live, opened
    from dosewright.agents.refinement.sources import source
    from dosewright.agents.refinement.usual import Rehearsal

    def say(words: str) -> None:
        click.echo(words, err=True)

    say(NOTE)
    with opened(drug, store, registry, seed, say, Rehearsal(seed=seed)) as refiner:
        live, service = Live(refiner), refiner.service
        with closing(source(origin, follow=follow)) as events, live.shown(view):
            for records in events.batches(batch, service.store.position(events.name)):
                taken = service.take(records, events.name)
                events.acknowledge(records)
                live.took(taken)
                if not view:
                    _print(taken, service.published.doses.unit)


def _print(taken: Taken, unit: str) -> None:
    """Print the answers, one line each."""
    import json

    for answer in taken.answers:
        click.echo(json.dumps({"patient": answer.patient, **answer.body(unit)}))


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(serve)
