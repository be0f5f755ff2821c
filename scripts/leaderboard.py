"""``dosewright leaderboard``: every regimen on every drug, in its own world and in another, on one page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from dosewright.evaluation.leaderboard import Cell
    from dosewright.evaluation.trial.run import Backend

_PATIENTS, _ELSEWHERE, _PLANNED = 4000, 1000, 0.25
_BLOCK = 500  # patients of a block, `dosewright.evaluation.trial.BLOCK`, without its imports
_WORLDS = ("own", "other")
_PAGE = "leaderboard.html"
_CARDS = "*/policy/card.json"  # in a folder of training runs
_CURVE = ("benefit", "ever_harm")


def _learned(folder: Path | None, drugs: Iterable[str]) -> dict[str, dict[str, Path]]:
    """Return drug -> `_policies`; one that cannot dose, or is of another training than the other seeds of its
    drug, is refused here, before anybody is treated."""
    from dosewright.agents.learning import LearnedPolicy, read_preset

    found = {drug: _policies(folder, drug) for drug in drugs}
    for drug, policies in found.items():
        paths = list(policies.values())
        for path in paths:
            LearnedPolicy.load(path)
        presets = [read_preset(str(path / "preset.toml")) for path in paths]
        for path, preset in zip(paths, presets, strict=True):
            if different := preset.differences(presets[0]):
                raise ValueError(
                    f"--policies {folder}: {path.parent.name} and {paths[0].parent.name} are of {drug}, but "
                    f"not of one preset: {', '.join(different)}; what is compared is the mean over the seeds "
                    "of one, other presets are for --tried"
                )
    return found


def _policies(folder: Path | None, drug: str) -> dict[str, Path]:
    """Return label -> folder of the policies of a drug: of every training seed, or the one that ships."""
    from importlib.resources import files

    from dosewright.agents import shipped

    if folder is not None:
        found: dict[str, Path] = {}
        for path, card in _cards(folder, drug):
            label = f"policy s{card.get('seed')}"
            if label in found:
                raise ValueError(
                    f"--policies {folder}: {found[label].parent.name} and {path.parent.name} are both "
                    f"of {drug} and seed {card.get('seed')}; one policy a seed: leave one out of the folder"
                )
            found[label] = path
        if not found:
            raise ValueError(
                f"--policies {folder}: none is of {drug}; expected RUN/policy/ as `dosewright train {drug}` "
                f"leaves it, or name the drugs of the board"
            )
        return found
    if drug not in shipped():
        return {}
    return {"policy": Path(str(files("dosewright.agents.pretrained") / drug))}


def _tried(folder: Path, drugs: Iterable[str]) -> dict[str, list[dict[str, Any]]]:
    """Return drug -> what the cards of other trainings say; of the drugs of the board."""
    if not any(folder.glob(_CARDS)):
        raise ValueError(
            f"--tried {folder}: holds no RUN/policy/ as `dosewright train` leaves it; name another folder"
        )
    found = {drug: _training(path for path, _ in _cards(folder, drug)) for drug in drugs}
    return {drug: entries for drug, entries in found.items() if entries}


def _cards(folder: Path, drug: str) -> list[tuple[Path, dict[str, Any]]]:
    """Return the policies of a drug in a folder of training runs, with their cards."""
    found = [(file.parent, _card(file)) for file in sorted(folder.glob(_CARDS))]
    return [(path, card) for path, card in found if card.get("scenario") == drug]


def _card(file: Path) -> dict[str, Any]:
    import json

    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{file}: is no JSON ({error}); train the policy again") from None
    if not isinstance(card, dict):
        raise ValueError(f"{file}: is no card of a policy; train the policy again")
    return card


def _training(policies: Iterable[Path]) -> list[dict[str, Any]]:
    """Return what the cards of policies say of their training, and how its preset differs from the drug's."""
    entries = []
    for path in policies:
        card = _card(path / "card.json")
        if "trained" not in card:
            raise ValueError(f"policy {path}: its card does not say whether it was trained; train it again")
        if not card.get("curve"):
            raise ValueError(f"policy {path}: its training was not tried on patients yet; let it finish")
        try:
            entries.append(_entry(path, card))
        except KeyError as error:
            raise ValueError(f"policy {path}: its card does not say {error}; train it again") from None
    return entries


def _entry(path: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    from dosewright.agents.learning import read_preset
    from dosewright.agents.learning.train import time_shares

    spent = time_shares(card["seconds"])
    preset = [card["algorithm"], *["warm start"] * card["warm_start"], *card["sees"], card["action"]]
    return {
        "seed": card["seed"],
        "preset": ", ".join(preset),
        "differs": read_preset(str(path / "preset.toml")).differences(read_preset(card["scenario"])),
        "trained": card["trained"],
        "patients": card["select"]["patients"],
        "policy": {key: card["select"]["policy"][key] for key in _CURVE},
        "minutes": card["minutes"],
        "environment": spent["environment"],
        "belief": spent["input"],
        "networks": spent["networks"],
        "weights": card["weights"],
        "curve": [{key: point[key] for key in ("steps", *_CURVE)} for point in card["curve"]],
        "monitoring": {key: card["select"]["bayesian, same fading"][key] for key in _CURVE},
    }


@click.command()
@click.argument("drugs", nargs=-1)
@click.option("--out", type=click.Path(path_type=Path), help="Folder of the board.")
@click.option(
    "--policies",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of training runs, one a drug and seed, as `dosewright train` leaves them. Default: the "
    "policies that ship.",
)
@click.option(
    "--tried",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of training runs with other presets: shown beside the policies, not compared.",
)
@click.option("--realism", default="clinic,textbook", show_default=True)
@click.option(
    "--worlds",
    default=",".join(_WORLDS),
    show_default=True,
    help="own: the model that was trained on; other: another one.",
)
@click.option(
    "--patients",
    type=click.IntRange(2),
    default=_PATIENTS,
    show_default=True,
    help="At most; fewer where the difference of benefit is known to half a point.",
)
@click.option(
    "--elsewhere",
    type=click.IntRange(2),
    default=_ELSEWHERE,
    show_default=True,
    help="At most, in `textbook` and in other models.",
)
@click.option(
    "--planned",
    type=click.FloatRange(0.0, 1.0),
    default=_PLANNED,
    show_default=True,
    help="The first patients, this share of the most, are treated by the planner as well; 0: none.",
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True)
@click.option("--processes", type=click.IntRange(1), help="Default: as in `dosewright trial`.")
@click.option("--backend", type=click.Choice(["processes", "ray"]), default="processes", show_default=True)
@click.option(
    "--recheck",
    type=click.IntRange(1, _BLOCK),
    metavar="PATIENTS",
    help="Keep finished cells of other code, libraries or files of policies if so many of their first "
    "patients come out the same now, bit for bit; the page says so.",
)
@click.option(
    "--comparators",
    type=click.Path(path_type=Path),
    help="What Bayesian monitoring and the planner were when they were frozen. Default: as shipped.",
)
@click.option("--freeze", is_flag=True, help="Write that file from what they are now, and stop.")
def leaderboard(
    drugs: tuple[str, ...],
    out: Path | None,
    policies: Path | None,
    tried: Path | None,
    realism: str,
    worlds: str,
    patients: int,
    elsewhere: int,
    planned: float,
    seed: int,
    processes: int | None,
    backend: Backend,
    recheck: int | None,
    comparators: Path | None,
    freeze: bool,
) -> None:
    """Compare every regimen on DRUGS (default: all) and write result.json and leaderboard.html.

    What is finished stays in OUT/cells and is read again: a board that was stopped goes on.
    """
    import time
    from datetime import UTC, datetime

    from dosewright.envs import names, scenario
    from dosewright.evaluation.leaderboard import Cell, board
    from dosewright.evaluation.provenance import code_digest, provenance
    from dosewright.evaluation.report.leaderboard import leaderboard_page
    from dosewright.evaluation.result_folder import write_summary, write_whole
    from dosewright.scripts.leaderboard_cells import check_frozen, freeze_comparators, shipped_comparators
    from dosewright.scripts.leaderboard_cells import comparators as comparators_of
    from dosewright.scripts.leaderboard_runs import CellRuns

    chosen = {drug: scenario(drug) for drug in drugs or names()}
    now = {drug: comparators_of(known) for drug, known in chosen.items()}
    fixed = comparators or shipped_comparators()
    if freeze:
        freeze_comparators(fixed, now)
        click.echo(f"frozen: {fixed}")
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.", click.get_current_context())
    presets, there = _listed("--realism", realism), _listed("--worlds", worlds)
    for world in there:
        if world not in _WORLDS:
            raise ValueError(f"--worlds {world!r}: known: {', '.join(_WORLDS)}")
    for known in chosen.values():
        for preset in presets:
            known.preset(preset)
    _check_board(out)
    frozen = check_frozen(fixed, now)
    started, clock = datetime.now(UTC), time.perf_counter()

    def most(cell: Cell) -> int:
        return patients if (cell.realism, cell.world) == ("clinic", "own") else elsewhere

    runs = CellRuns(out, seed, most, planned, processes, backend, recheck)
    learned = _learned(policies, chosen)
    training = {drug: _training(found.values()) for drug, found in learned.items() if found}
    others = {} if tried is None else _tried(tried, chosen)
    records = []
    for drug in chosen:
        arms = {label: f"policy:{path}" for label, path in learned[drug].items()}
        for preset in presets:
            for world in there:
                cell = Cell(drug, preset, world)
                records.append(runs.cell(cell, arms))
                click.echo(_line(records[-1]))
    record = board(records, training, others)
    seconds = time.perf_counter() - clock
    record |= {
        "comparators": frozen,
        "code": code_digest(),
        "hours": sum(
            arm["ms_per_decision"] * arm["decisions"] / 3.6e6
            for cell in records
            for arm in cell["arms"].values()
        ),
        "provenance": provenance(started, seconds),
    }
    # the page first: a folder that holds only the numbers would be taken for another result
    text = leaderboard_page(record).encode()
    write_whole(out / _PAGE, lambda new: new.write(text))
    write_summary(record, out)
    for answer in record["answers"]:
        median = "" if answer.get("median") is None else f" {round(100 * answer['median'])} %;"
        met = f"{len(answer['met'])} of {len(answer['asked'])}" if answer["asked"] else "no drug to ask"
        click.echo(f"{answer['question']}:{median} {met}")
    click.echo(f"board: {out / _PAGE}")
    click.echo("Research simulation, not for clinical use.")


def _listed(option: str, text: str) -> list[str]:
    """Return the parts of a list such as ``clinic,textbook``, each of which may be there once."""
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not part or parts.count(part) > 1:
            raise ValueError(f"{option} {text!r}: {part!r} is {'listed twice' if part else 'no name'}")
    return parts


def _check_board(out: Path) -> None:
    """Refuse a folder that holds another result: a board may only take the place of a board."""
    from dosewright.evaluation.result_folder import RESULT_FILE

    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out}: is no folder; name another")
    if (out / RESULT_FILE).exists() and not (out / _PAGE).exists():
        raise ValueError(f"--out {out}: holds another result; name another folder")


def _line(cell: Mapping[str, Any]) -> str:
    """A cell in one line."""
    from dosewright.evaluation.report.leaderboard import world_of

    head = f"{cell['drug']}, {cell['realism']}, {world_of(cell)}, {cell['patients']} patients: "
    if not cell["policies"]:
        return head + "no policy"
    benefit, event = (cell["against"]["monitoring"][key] for key in ("benefit", "event"))
    return head + (
        f"policy − {cell['monitoring']} {100 * benefit['mean']:+.1f} "
        f"({100 * benefit['low']:+.1f} to {100 * benefit['high']:+.1f}) points of benefit, "
        f"{100 * event['mean']:+.1f} of events"
    )


if __name__ == "__main__":
    from dosewright.scripts.cli import run

    run(leaderboard)
