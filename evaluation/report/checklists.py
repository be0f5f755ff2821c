"""Reporting checklists, filled from a summary as far as a machine can.

CONSORT 2010 (Schulz 2010, BMJ 340:c332) with its extension for interventions of artificial intelligence,
CONSORT-AI (Liu 2020, Nat Med 26:1364, table 1), and TRIPOD+AI for prediction models (Collins 2024, BMJ
385:e078378). Numbers are theirs; what an item asks is said in our words, so a journal wants the guideline's
own form. The numbers of TRIPOD+AI were read in a public transcription of the statement, not in the statement
(PARTIAL).

A machine can say what was done; why, for whom, and what follows stays with the authors. An item is filled
only where the summary has what it needs, never with a default.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from dosewright.evaluation.report.checklist_fills import FILLS, OFF_POLICY, TRIAL

AUTHORS = "to be written by the authors"


@dataclass(frozen=True)
class ChecklistItem:
    """One item of a guideline.

    Attributes
    ----------
    guideline, number : the guideline's name with its year, and the item's number there
    what : what it asks, in our words
    filled : the answer; None where the authors must write it
    """

    guideline: str
    number: str
    what: str
    filled: str | None


def checklist(summary: Mapping[str, Any]) -> list[ChecklistItem]:
    """Return every item of the checklists, filled where the summary says enough.

    Parameters
    ----------
    summary
        Of a virtual trial or of an off-policy evaluation, told apart by "kind" (`TRIAL`, `OFF_POLICY`). Read
        are, as far as they are there: "question", "answer", "patients", "scenario", "arms", "outcomes",
        "harms", "differences", "first_harm", "subgroups", "sensitivity", "precision", "conditions",
        "genotype" and "provenance"; of an off-policy evaluation "log" and "regimens" besides.
    """
    text = (files("dosewright.evaluation.report") / "checklists.csv").read_text(encoding="utf-8")
    return [
        ChecklistItem(row["guideline"], row["number"], row["what"], _filled(row["fill"], summary))
        for row in csv.DictReader(text.splitlines())
    ]


def _filled(name: str, summary: Mapping[str, Any]) -> str | None:
    if not name:
        return None
    fill = FILLS[name]
    try:
        return fill(summary)
    except KeyError:  # the summary does not have it
        return None


__all__ = ["AUTHORS", "OFF_POLICY", "TRIAL", "ChecklistItem", "checklist"]
