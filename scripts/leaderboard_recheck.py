"""Cells that other code treated: whether their first patients come out the same now.

A change of code that should change no number need not cost a night. What is compared is bit for bit, arm by
arm, and the cell's record says how many patients were, and by which code the others were treated.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dosewright.evaluation.trial import BLOCK, TrialDesign, TrialStore
from dosewright.evaluation.trial.block import PER_PATIENT, Block, treat
from dosewright.evaluation.trial.store import differences

Question = Mapping[str, str]


def only_made_otherwise(then: Question, now: Question) -> bool:
    """Whether two questions ask the same of the same patients, by other code, libraries or files."""

    def asks(question: Question) -> dict[str, str]:
        made = ("code", "libraries", "world")
        return {part: words for part, words in question.items() if part not in made and part[:4] != "arm "}

    return not differences(asks(then), asks(now))


def recheck(folder: Path, then: Question, now: Question, design: TrialDesign, patients: int) -> None:
    """Treat the first patients of a group of arms again, and let its store answer the question of now.

    Parameters
    ----------
    folder
        Of the group; its patients are beside it.
    then, now
        What was asked of it, and what is asked now.
    design
        The design of now.
    patients
        How many are treated again, at most a block; the store keeps a note of them, and of what differed.

    Raises
    ------
    ValueError
        If the first patients are not there, or one comes out otherwise; the message names arm and patient.
    """
    with TrialStore.resume(folder, then, "delete the cell's file") as store:
        first = np.arange(min(BLOCK, int(then["patients"].partition(",")[0])))
        there = store.blocks([first]).get(0)
        if there is None:
            raise ValueError(
                f"{store.path}: its first patients were not finished; delete it, they are treated"
            )
        different = _differing(there, treat(design, first[:patients]))
        if different:
            raise ValueError(
                f"{store.path}: {different} by this code: the cell is of another; name another --out, or "
                f"delete {folder.parent} and its .json"
            )
        store.ask(now, {"patients": patients, "differed": differences(then, now)})


def _differing(there: Block, here: Block) -> str:
    """Return which patient comes out otherwise in which arm, in words; empty where none does."""
    n = len(here.ids)
    for name, arm in here.arms.items():
        values = {key: (getattr(arm, key), getattr(there.arms[name], key)) for key in PER_PATIENT}
        values |= {key: (arm.outcomes[key], there.arms[name].outcomes[key]) for key in arm.outcomes}
        for key, (new, old) in values.items():
            same = _same(new, old[:n])
            if not same.all():
                return f"{key} of patient {here.ids[int(np.argmin(same))]} under {name!r} is another"
    return ""


def _same(new: NDArray[Any], old: NDArray[Any]) -> NDArray[np.bool_]:
    """Return (n,) whether the values of each patient are the same, missing ones included."""
    equal = new == old
    if new.dtype.kind == "f":
        equal |= np.isnan(new) & np.isnan(old)
    return equal.reshape(len(new), -1).all(axis=1)
