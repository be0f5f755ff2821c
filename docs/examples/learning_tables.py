"""Write the tables of docs/leaderboard/README.md and docs/learning.md: the board, and the policies that ship.

python docs/examples/learning_tables.py docs
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from dosewright.agents.learning import read_preset
from dosewright.evaluation.answer import change

Record = Mapping[str, Any]

BEGIN, END = "<!-- tables: docs/examples/learning_tables.py -->\n", "<!-- end of the tables -->\n"
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
        "–" if closed is None else f"{100 * closed['mean']:.0f} %".replace("-", "−"),
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
        median = "" if answer.get("median") is None else f": {100 * answer['median']:.0f} %"
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


def put(page: Path, text: str) -> None:
    """Put tables between the two marks of a page."""
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"{page}: expected the lines {BEGIN.strip()!r} and {END.strip()!r}; put them back")
    page.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    print(page)


def main() -> None:
    """Write them."""
    docs = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    board = json.loads((docs / "leaderboard" / "result.json").read_text(encoding="utf-8"))
    put(docs / "leaderboard" / "README.md", tables(board))
    put(docs / "learning.md", shipped())


if __name__ == "__main__":
    main()
