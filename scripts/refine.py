"""``dosewright refine``: learn from the patients of a store, and have what was learned judged."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("drug")
@click.option("--store", type=click.Path(path_type=Path, exists=True), required=True, help="SQLite file.")
@click.option("--registry", type=click.Path(path_type=Path, exists=True), required=True, help="Of versions.")
@click.option(
    "--fine-tune", type=click.Path(path_type=Path), help="New folder to learn the policy further in."
)
@click.option(
    "--half-life",
    type=click.FloatRange(0, min_open=True),
    metavar="DAYS",
    help="Between enrolments, in which what a patient counts halves; by default all count alike.",
)
@click.option("--reason", required=True, help="Why, for the audit log.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of everything.")
def refine(
    drug: str,
    store: Path,
    registry: Path,
    fine_tune: Path | None,
    half_life: float | None,
    reason: str,
    seed: int,
) -> None:
    """Refit the population of DRUG from streamed patients, and let the candidate dose if the gate passes it.

    The policy goes on from its weights on the belief of the refitted population; with --fine-tune it is
    learned further in the simulator of that population first.
    """
    from dosewright.agents.bedside import NOTE
    from dosewright.agents.refinement.live import opened
    from dosewright.agents.refinement.usual import Rehearsal

    def say(words: str) -> None:
        click.echo(words, err=True)

    with opened(drug, store, registry, seed, say, Rehearsal(seed=seed)) as refiner:
        refiner.service.ward.refresh(refiner.service.ward.patients)
        candidate = refiner.propose(half_life=half_life)
        for name, moved in candidate.moved.items():
            click.echo(f"{name}: {moved}")
        if fine_tune is not None:
            candidate = refiner.learn_further(candidate, fine_tune)
            click.echo(
                "policy: learned further" if candidate.learned_further else "policy: as it was, no gain shown"
            )
        verdict = refiner.judge(candidate)
        version = refiner.settle(candidate, verdict, reason)
    click.echo(f"{'promoted' if verdict.promoted else 'refused'}: {'; '.join(verdict.reasons)}")
    if version is not None:
        click.echo(f"version {version.name} doses from now on")
    click.echo(NOTE)


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(refine)
