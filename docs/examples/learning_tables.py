"""Write the tables of docs/leaderboard/README.md, docs/learning.md and docs/peers.md: board, policies, peers.

python docs/examples/learning_tables.py docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from dosewright.agents.learning import read_preset
from dosewright.evaluation.answer import change
from dosewright.evaluation.replications.anzabi_zadeh import ARMS

Record = Mapping[str, Any]

BEGIN, END = "<!-- {}: docs/examples/learning_tables.py -->\n", "<!-- end of the tables -->\n"
HEAD = (
    "| drug | patients | benefit, points | patients with the event, points | × monitoring's events "
    "| benefit from the better planner | gap closed | another model: benefit | another model: events |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def difference(record: Record) -> str:
    """A difference in points with its interval."""
    mean, low, high = (change(record[key], "share") for key in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def row(own: Record, other: Record) -> str:
    """A drug's line: its own model, and the other one."""
    here, there = own["against"]["monitoring"], other["against"]["monitoring"]
    closed, ratio = (own["gap_closed"] or {}).get("closed"), own["ratio_of_events"]
    cells = [
        own["drug"] + ("" if other["second_model"] else " ¹"),
        str(own["patients"]),
        difference(here["benefit"]),
        difference(here["event"]),
        "–" if ratio is None else f"{ratio['mean']:.2f}",
        difference(own["against"]["planner"]["benefit"]),
        "–" if closed is None else f"{round(100 * closed['mean'])} %".replace("-", "−"),
        difference(there["benefit"]),
        difference(there["event"]),
    ]
    return f"| {' | '.join(cells)} |"


def tables(board: Record) -> str:
    """The tables of every realism, and what was asked."""
    cells = {(cell["drug"], cell["realism"], cell["world"]): cell for cell in board["cells"]}
    parts = []
    for realism in dict.fromkeys(realism for _, realism, _ in cells):
        rows = [
            row(cells[drug, realism, "own"], cells[drug, realism, "other"])
            for drug in dict.fromkeys(drug for drug, _, _ in cells)
        ]
        parts.append("\n".join([f"`{realism}`:\n", HEAD, *rows]))
    wide = dict.fromkeys(cell["drug"] for cell in board["cells"] if not cell["second_model"])
    if wide:
        parts.append(f"¹ no second model: another one is the same, but wider ({', '.join(wide)}).")
    asked = ["| asked of the policies | met by | drugs |\n|---|---|---|"]
    for answer in board["answers"]:
        median = "" if answer.get("median") is None else f": {round(100 * answer['median'])} %"
        met = f"{len(answer['met'])} of {len(answer['asked'])}"
        asked.append(f"| {answer['question']}{median} | {met} | {', '.join(answer['met']) or 'none'} |")
    return "\n\n".join([*parts, "\n".join(asked)]) + "\n"


def shipped() -> str:
    """How the policies that ship did on the `select` patients by which their checkpoint was chosen."""
    heads = (
        *("drug", "patients", "benefit: monitoring", "policy", "events allowed, ×", "event, %: monitoring"),
        *("policy", "return: monitoring", "policy", "minutes", "warm start alone"),
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for file in sorted(Path(str(files("dosewright.agents.pretrained"))).glob("*/card.json")):
        card = json.loads(file.read_text(encoding="utf-8"))
        if "preference" in card:
            continue
        select, budget = card["select"], read_preset(str(file.parent / "preset.toml")).harm.budget
        monitoring, policy = select["bayesian, same fading"], select["policy"]
        alone = "nothing learned" if not card["trained"] else "" if card["steps"] else "yes"
        cells = [
            card["scenario"],
            str(select["patients"]),
            *(f"{100 * arm['benefit']:.1f}" for arm in (monitoring, policy)),
            f"{budget:g}",
            *(f"{100 * arm['ever_harm']:.1f}" for arm in (monitoring, policy)),
            *(f"{arm['returns']:.3f}" for arm in (monitoring, policy)),
            f"{card['minutes']:.0f}",
            alone,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def figure(row: Record, key: str) -> str:
    """A peer's figure with its interval."""
    mean, low, high = (f"{row['figures'][key][part]:.1f}" for part in ("mean", "low", "high"))
    return f"{mean} ({low} to {high})"


def by_arm(
    rows: Sequence[Record], others: Sequence[Record], heads: Sequence[str], keys: Sequence[str]
) -> str:
    """A line an arm: the figures of `keys` in two settings."""
    lines = [f"| arm | {' | '.join(heads)} |", "|---" * (1 + len(heads)) + "|"]
    for here, there in zip(rows, others, strict=True):
        cells = [figure(row, key) for row in (here, there) for key in keys]
        arm = "**learned policy**" if here["arm"] == "policy" else here["arm"]
        lines.append(f"| {arm} | {' | '.join(cells)} |")
    return "\n".join(lines)


def group(trial: Record, name: str) -> list[Record]:
    """The rows of a group in a trial's one table."""
    return [row for row in trial["tables"][0]["rows"] if row["group"] == name]


def in_settings(*figures: str) -> list[str]:
    """Column heads: every figure in both settings of the random effects."""
    return [f"{setting}: {name}" for setting in ("cut", "whole") for name in figures]


def anzabi_zadeh(cut: Record, whole: Record) -> str:
    """All patients, then group by group."""
    everybody, heads = "all patients", in_settings("latent INR", "INR with its error")
    parts = [
        "All patients, time in range, %:\n",
        by_arm(group(cut, everybody), group(whole, everybody), heads, ("in_range", "counted")),
    ]
    heads = in_settings("time in range, %", "ever above 4, %")
    for name, patients in ((at["name"], at["n"]) for at in cut["groups"]):
        parts += [
            f"\nThe {name}, {patients} of them, latent INR:\n",
            by_arm(group(cut, name), group(whole, name), heads, ("in_range", "ever_above_4")),
        ]
    parts += [
        "\nThe learned policy beside the best of the five clinical arms, latent INR:\n",
        ahead(cut, whole),
    ]
    return "\n".join(parts) + "\n"


def ahead(cut: Record, whole: Record) -> str:
    """What the policy gains on the best clinical arm, everywhere and among the highly sensitive."""
    heads = ("setting", "patients", "best clinical arm", "its time in range, %", "learned policy", "points")
    heads += ("ever above 4, %: clinical arm", "policy")
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for setting, trial in (("cut", cut), ("whole", whole)):
        for name in ("all patients", "highly sensitive"):
            clinical, learned = best_and_policy(trial, name)
            points = learned["figures"]["in_range"]["mean"] - clinical["figures"]["in_range"]["mean"]
            cells = (
                setting,
                name,
                clinical["arm"],
                figure(clinical, "in_range"),
                figure(learned, "in_range"),
            )
            cells += (f"**{points:+.1f}**", figure(clinical, "ever_above_4"), figure(learned, "ever_above_4"))
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def best_and_policy(trial: Record, name: str) -> tuple[Record, Record]:
    """The clinical arm with most time in range in a group, and the learned policy."""
    rows = {row["arm"]: row for row in group(trial, name)}
    clinical = [rows[arm] for arm in ARMS]
    return max(clinical, key=lambda row: row["figures"]["in_range"]["mean"]), rows["policy"]


def augustin(trial: Record) -> str:
    """A table a largest dose: the model that was learned on, and the other one."""
    columns, tables = trial["columns"], iter(trial["tables"])
    heads = [f"{model}: {at['label']}, %" for model in ("own model", "other model") for at in columns]
    parts = []
    for own, other in zip(tables, tables, strict=True):
        rows = by_arm(own["rows"], other["rows"], heads, [at["key"] for at in columns])
        parts.append(f"{own['name'].partition(';')[0]}:\n\n{rows}\n")
    return "\n".join(parts)


def put(page: Path, name: str, text: str) -> None:
    """Put the tables of a name between their two marks in a page."""
    mark = BEGIN.format(name)
    before, begin, rest = page.read_text(encoding="utf-8").partition(mark)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: expected the lines {mark.strip()!r} and {END.strip()!r}; put them back")
    page.write_text(f"{before}{mark}\n{text}\n{END}{after}", encoding="utf-8")
    print(page)


def main() -> None:
    """Write them."""
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    folders = ("leaderboard", "peers/anzabi-zadeh-cut", "peers/anzabi-zadeh-full", "peers/augustin")
    texts = ((docs / folder / "result.json").read_text(encoding="utf-8") for folder in folders)
    board, cut, whole, nineteen = map(json.loads, texts)
    put(docs / "leaderboard" / "README.md", "the board", tables(board))
    put(docs / "learning.md", "policies that ship", shipped())
    put(docs / "peers.md", "anzabi-zadeh", anzabi_zadeh(cut, whole))
    put(docs / "peers.md", "augustin", augustin(nineteen))


if __name__ == "__main__":
    main()
