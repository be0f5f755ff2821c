"""``dosewright export``: a policy's network for a runtime without PyTorch."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("what", metavar="DRUG|policy:PATH")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, ending in .onnx.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def export(what: str, out: Path, overwrite: bool) -> None:
    """Write the actor of the policy that ships for DRUG, or of a trained policy's folder, as ONNX, and a
    table of its features beside it.

    Features go in as the policy's input makes them; out comes the action: a departure from the anchor, or the
    index of a tablet. The model's metadata say how it becomes a dose. Needs the extra dosewright[onnx].
    """
    if out.suffix != ".onnx":
        raise ValueError(f"--out {out}: expected a name that ends in .onnx")
    from dosewright.agents import load
    from dosewright.agents.learning import LearnedPolicy
    from dosewright.agents.learning.export import export_onnx, features_table

    there = next((file for file in (out, features_table(out)) if file.exists()), None)
    if there is not None and not overwrite:
        raise ValueError(f"--out {out}: {there} exists already; choose another, or give --overwrite")
    if what.startswith("policy:"):
        policy = LearnedPolicy.load(what.removeprefix("policy:"))
    else:
        policy = load(what)
    path = export_onnx(policy, out)
    click.echo(f"network: {path}")
    click.echo(f"features: {features_table(path)}")
    click.echo("Research simulation, not for clinical use.")


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(export)
