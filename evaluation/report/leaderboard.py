"""The page of the leaderboard: everything on it is in the record that `result.json` holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dosewright.evaluation.report.layout import page

RULES = ("label", "guideline", "clinical-nomogram", "nomogram", "pid")  # what clinics do


def leaderboard_page(record: Mapping[str, Any]) -> str:
    """Return the page of a record (`dosewright.evaluation.leaderboard.board`) as one self-contained HTML
    text."""
    groups = dict.fromkeys((cell["realism"], cell["world"]) for cell in record["cells"])
    return page("leaderboard.html", b=record, groups=list(groups), rule_of=_best_rule)


def _best_rule(cell: Mapping[str, Any]) -> str | None:
    """Return the rule with the most benefit; None where a cell has none."""
    there = [name for name in RULES if name in cell["arms"]]
    return max(there, key=lambda name: cell["arms"][name]["benefit"]["mean"], default=None)
