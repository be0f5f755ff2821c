"""``dosewright registry``: what doses patients, version by version, and the way back."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dosewright.agents.refinement.registry import Registry, Version

_FOLDER = click.argument("folder", type=click.Path(path_type=Path))
_STORE = click.option(
    "--store", type=click.Path(path_type=Path, exists=True), required=True, help="File of the events."
)
_NOTICE = "Research simulation, not for clinical use."


@click.group()
def registry() -> None:
    """Versions of what doses patients: which one does, what the gate said, and the way back.

    FOLDER is a registry, as refinement keeps it.
    """


@registry.command("list")
@_FOLDER
def list_versions(folder: Path) -> None:
    """List the versions, the one that doses marked."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE, pad_edge=False, header_style="bold")
    for heading in ("", "version", "state", "scenario", "regimen", "created", "gate", "reason"):
        table.add_column(heading, overflow="fold")
    for row in change_control(_opened(folder))["versions"]:
        table.add_row(
            str(row["number"]),
            row["name"],
            row["state"] + (", listed for retraining" if row["retrain"] else ""),
            f"{row['scenario']}-v{row['scenario_version']}",
            row["regimen"],
            row["created"],
            _word(row["verdict"]),
            row["reason"],
        )
    console = Console()
    # a pipe has no width: keep one line a version there
    (console if console.is_terminal else Console(width=400)).print(table)
    click.echo(_NOTICE)


@registry.command()
@_FOLDER
@click.argument("version")
def show(folder: Path, version: str) -> None:
    """Print what a VERSION is, its files with their digests, and what the gate said."""
    import json

    opened = _opened(folder)
    found = opened.version(version)
    found.check()
    (row,) = (row for row in change_control(opened)["versions"] if row["name"] == found.name)
    for what, words in (
        ("version", found.name),
        ("hash", found.content_hash),
        ("state", row["state"] + (", listed for retraining" if row["retrain"] else "")),
        ("scenario", f"{found.scenario}-v{found.scenario_version}"),
        ("regimen", found.regimen),
        ("created", found.created),
        ("reason", found.reason),
        ("made from", row["parent"] or "–"),
        ("new patients", len(found.saw)),
        ("gate", _word(row["verdict"])),
    ):
        click.echo(f"{what}: {words}")
    for name, digest in found.digests.items():
        click.echo(f"  {digest}  {name}")
    if row["verdict"] is not None:
        click.echo(json.dumps(row["verdict"], indent=1, ensure_ascii=False))
    click.echo(_NOTICE)


@registry.command()
@_FOLDER
def verify(folder: Path) -> None:
    """Check the chain of the audit log and every file of every version."""
    versions, lines = _opened(folder).verify()
    click.echo(f"{versions} versions, {lines} audit lines, all digests hold")


@registry.command()
@_FOLDER
@click.option("--reason", required=True, help="Why, for the audit log.")
@click.option("--to", help="Version to go back to. Default: the one that dosed before.")
@click.option("--by", default=getpass.getuser, help="Who goes back. Default: the user of this machine.")
def rollback(folder: Path, reason: str, to: str | None, by: str) -> None:
    """Let an earlier version dose again, from the files that dosed before."""
    found = _opened(folder).rollback(by, reason, to)
    click.echo(f"{found.name} ({found.regimen}) doses from now on")


@registry.command()
@_FOLDER
@_STORE
@click.option("--reason", required=True, help="Why, for the audit log.")
@click.option("--by", default=getpass.getuser, help="Who looked. Default: the user of this machine.")
def affirm(folder: Path, store: Path, reason: str, by: str) -> None:
    """Let the version that doses dose on after an alarm: somebody looked, and it is right.

    Its policy doses again where monitoring did in its place, and surveillance begins anew.
    """
    from dosewright.agents.refinement.live import opened
    from dosewright.agents.refinement.usual import Rehearsal

    drug = _opened(folder).current().scenario
    with opened(drug, store, folder, 0, click.echo, Rehearsal()) as refiner:
        found = refiner.affirm(by, reason)
    click.echo(f"{found.name} ({found.regimen}) doses on; surveillance begins anew")


@registry.command()
@_FOLDER
@click.argument("patient")
@_STORE
@click.option("--reason", required=True, help="Why, for the audit log: without the patient's name.")
@click.option("--by", default=getpass.getuser, help="Who erases. Default: the user of this machine.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of what is made again.")
def erase(folder: Path, patient: str, store: Path, reason: str, by: str, seed: int) -> None:
    """Erase a PATIENT from the store and from what was learned; it cannot be undone.

    Versions that saw the patient are listed for retraining and made again from the others' events.
    """
    from dosewright.agents.refinement.live import opened
    from dosewright.agents.refinement.usual import Rehearsal

    if patient in reason:
        raise ValueError("--reason: holds the patient's name, and the audit log keeps it; leave the name out")
    drug = _opened(folder).current().scenario
    with opened(drug, store, folder, seed, click.echo, Rehearsal(seed=seed)) as refiner:
        refiner.service.ward.refresh(refiner.service.ward.patients)
        done = refiner.erase(patient, by, reason)
    click.echo(
        f"erased; {len(done.listed)} versions saw the patient"
        + "".join(f"\n  {version.name}, listed for retraining" for version in done.listed)
    )
    for version in done.again:
        click.echo(f"{version.name}: {version.reason}")
    click.echo(f"{done.now.name} ({done.now.regimen}) doses from now on")


@registry.command()
@_FOLDER
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, ending in .html.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
def page(folder: Path, out: Path, overwrite: bool) -> None:
    """Check everything and write the change-control page."""
    if out.suffix != ".html":
        raise ValueError(f"--out {out}: expected a name that ends in .html")
    if out.exists() and not overwrite:
        raise ValueError(f"--out {out}: exists already; choose another, or give --overwrite")
    from dosewright.evaluation.report.registry import registry_page
    from dosewright.evaluation.result_folder import write_whole

    text = registry_page(change_control(_opened(folder)))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(out, lambda new: new.write(text.encode()))
    click.echo(f"page: {out}")
    click.echo(_NOTICE)


def change_control(registry: Registry) -> dict[str, Any]:
    """Return everything that the change-control page says, as plain data, from a registry that was checked.

    Raises
    ------
    ValueError
        If a line or file of the registry is wrong; as `Registry.verify`.
    """
    from datetime import UTC, datetime
    from time import perf_counter

    from dosewright.evaluation.provenance import provenance
    from dosewright.evaluation.summary import NOTICE

    started, clock = datetime.now(UTC), perf_counter()
    registry.verify()
    versions, audit = registry.versions(), registry.audit()
    moves = [line for line in audit if line.action in ("promoted", "rolled back")]
    moved = {str(line.version) for line in moves}
    retrain = {str(line.version) for line in audit if line.action == "listed for retraining"}
    names = {version.content_hash: version.name for version in versions}
    last = moves[-1] if moves else None
    dosing = versions[-1] if last is None else registry.version(str(last.version))
    return {
        "notice": NOTICE,
        "registry": str(registry.path),
        "scenario": {"name": dosing.scenario, "version": dosing.scenario_version},
        "current": last
        and {
            "name": last.version,
            "since": last.time,
            "action": last.action,
            "by": last.by,
            "why": last.reason,
        },
        "versions": [
            {
                **_plain(version),
                "parent": None if version.parent is None else names[version.parent],
                "state": _state(version.name, last and last.version, moved),
                "retrain": version.name in retrain,
            }
            for version in versions
        ],
        "audit": [
            {
                key: getattr(line, key)
                for key in ("number", "time", "action", "version", "by", "reason", "body", "hash")
            }
            for line in audit
        ],
        "checked": {"versions": len(versions), "lines": len(audit), "hash": audit[-1].hash},
        "provenance": provenance(started, perf_counter() - clock),
    }


def _plain(version: Version) -> dict[str, Any]:
    return {
        "number": version.number,
        "name": version.name,
        "created": version.created,
        "scenario": version.scenario,
        "scenario_version": version.scenario_version,
        "regimen": version.regimen,
        "reason": version.reason,
        "saw": len(version.saw),
        "verdict": version.verdict,
    }


def _state(name: str, dosing: str | None, moved: set[str]) -> str:
    if name == dosing:
        return "doses now"
    return "dosed before" if name in moved else "never dosed"


def _word(verdict: dict[str, Any] | None) -> str:
    return "not asked" if verdict is None else str(verdict.get("verdict", "–"))


def _opened(folder: Path) -> Registry:
    """Open a registry that is there."""
    from dosewright.agents.refinement.registry import Registry

    opened = Registry(folder)
    if not opened.versions():
        raise ValueError(f"registry {folder}: no version is there; give the folder of a registry")
    return opened


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(registry)
