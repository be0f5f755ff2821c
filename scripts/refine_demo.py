"""``dosewright refine-demo``: the whole loop of refinement once, in a world that nobody told it of."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("refine-demo")
@click.option(
    "--out", type=click.Path(path_type=Path), required=True, help="Folder of the result; not there yet."
)
@click.option(
    "--patients",
    type=click.IntRange(100),
    default=300,
    show_default=True,
    help="Streamed before the refit, and again after it.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="Seed of everything.")
def refine_demo(out: Path, patients: int, seed: int) -> None:
    """Stream simulated warfarin patients who need half the dose.

    The change is found, the population refitted, the candidate gated and promoted; then a bad candidate is
    refused, and a version rolled back.
    """
    import time

    from dosewright.agents.refinement.demonstration import demonstrate
    from dosewright.agents.refinement.registry import Registry
    from dosewright.evaluation import check_folder
    from dosewright.evaluation.report.refinement import answer, write_refinement
    from dosewright.evaluation.report.registry import registry_page
    from dosewright.evaluation.result_folder import new_folder
    from dosewright.scripts.registry import change_control

    check_folder(out)
    begun = time.monotonic()

    def say(words: str) -> None:
        click.echo(f"[{time.monotonic() - begun:5.0f} s] {words}", err=True)

    with new_folder(out) as folder:
        record = demonstrate(folder, patients=patients, seed=seed, say=say)
        write_refinement(record, folder)
        control = registry_page(change_control(Registry(folder / "registry")))
        (folder / "change_control.html").write_text(control, encoding="utf-8")
    for sentence in answer(record):
        click.echo(sentence)
    click.echo(f"page: {out / 'refinement.html'}; change control: {out / 'change_control.html'}")
    click.echo(record["note"])


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(refine_demo)
